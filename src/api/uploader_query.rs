//! What Resumable.js and Flow.js put into the query of the form's URL.
//!
//! Owns: the test request, a GET by which they ask before each chunk whether it is here already; and the query of Resumable.js's
//! POST, which repeats fields of the form.
//!
//! Never does: take the query of a POST for the form. There it may only repeat what the form says, and any other query of a POST
//! stays another operation, which a form never is.
//!
//! Invariants: a test is judged as the form would be, signature first, and stores nothing; "not here" is 204 and never 404, which
//! both uploaders take for a failure that lasts; nobody but our own sessions is answered.
//!
//! Sources: the sources of Resumable.js 1.1 and Flow.js 2.14.

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use super::answer_style;
use super::body::{ResponseBody, empty};
use super::call::{Call, Reply};
use super::chunk_target;
use super::error::{ApiError, ErrorCode};
use super::params::Params;
use super::post_answer::Posted;
use super::post_object::grant;
use super::post_refusal::policy_error;
use super::post_target::SessionPost;
use crate::model::{Checksum, ChecksumAlgorithm, ChunkReceipt, Digests, ETag, Md5, UploadState};
use crate::policy::{Grant, PostForm, PostFormBuilder};

/// How the names begin that both uploaders put into a query.
const PREFIXES: [&str; 2] = ["resumable", "flow"];
/// The parameters that make a GET a test request.
const NUMBERS: [&str; 2] = ["resumableChunkNumber", "flowChunkNumber"];

/// Whether a GET of a bucket asks for a chunk.
pub(super) fn asks_for_a_chunk(params: &Params) -> bool {
    let is_number = |name: &str| {
        NUMBERS
            .iter()
            .any(|number| number.eq_ignore_ascii_case(name))
    };
    params.pairs().any(|(name, _)| is_number(name))
}

/// Answers a test request: 200 when the chunk is on stable storage with the sizes and digests that are said,
/// else 204.
///
/// # Errors
/// Those of the form post; `MethodNotAllowed` for a form that is not of one of our own sessions.
pub(super) async fn test_chunk(call: &Call<'_>, bucket: &str) -> Result<Reply, ApiError> {
    let mut form = PostFormBuilder::default();
    for (name, value) in call.params.pairs() {
        form.push(name, value.as_bytes()).map_err(policy_error)?;
    }
    let form = form.finish(None).map_err(policy_error)?;
    let grant = grant(call.app, &form, bucket, call.now).await?;
    if grant.session().is_none() {
        return Err(ApiError::method("POST, OPTIONS"));
    }
    let post = match SessionPost::of(call.app, &grant).await {
        Ok(Some(post)) => post,
        // The POST that follows will say that the upload is gone; a 404 here would be taken for an answer about the chunk.
        Ok(None) => return Ok(not_here()),
        Err(error) if error.code == ErrorCode::NoSuchUpload => return Ok(not_here()),
        Err(error) => return Err(error),
    };
    let found = find_chunk(call, &grant, &post).await;
    found.map_err(|error| error.in_style(post.style))
}

async fn find_chunk(call: &Call<'_>, grant: &Grant, post: &SessionPost) -> Result<Reply, ApiError> {
    let (store, session) = (call.app.store.as_ref(), &post.session);
    let target = chunk_target::find(store, session, grant.key(), grant.chunk()).await?;
    let counts = session.nb_chunks.zip(target.spec.nb_chunks);
    let same_file = counts.is_none_or(|(known, said)| known == said)
        && session.known_sizes().agree(target.spec.sizes)
        && target.check_first().is_ok();
    if session.state == UploadState::Failed || !same_file {
        return Ok(not_here());
    }
    let receipt = store.receipt(session.upload.id, target.spec.index).await?;
    let fits = |receipt: &ChunkReceipt| {
        target.check_size(receipt.length).is_ok()
            && has_digests(receipt.digests, grant.content_md5(), grant.checksum())
    };
    let Some(receipt) = receipt.filter(fits) else {
        return Ok(not_here());
    };
    let posted = Posted {
        base_url: &call.base_url,
        bucket: grant.bucket(),
        key: &session.upload.key,
        etag: ETag::of_whole(receipt.digests.md5),
        crc64: receipt.digests.crc64,
        // No bytes came with this request, so none were compared with a checksum that it claims.
        checksum: None,
    };
    let complete = session.state == UploadState::Completed;
    let chunk = post.chunk(target.spec, receipt.length, complete);
    let styled = answer_style::success(post.style, &posted, chunk);
    Ok(uncached(styled.unwrap_or_else(|| {
        posted.created(StatusCode::OK, empty())
    })))
}

/// Whether a chunk has what the form says that its bytes hash to. What a receipt does not hold cannot be told, and so is not had.
fn has_digests(has: Digests, md5: Option<Md5>, checksum: Option<&Checksum>) -> bool {
    let is_crc64 = |claimed: &Checksum| {
        claimed.algorithm() == ChecksumAlgorithm::Crc64Nvme
            && claimed.value() == has.crc64.to_bytes()
    };
    md5.is_none_or(|md5| md5 == has.md5) && checksum.is_none_or(is_crc64)
}

fn not_here() -> Reply {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    uncached(response)
}

/// What is not here now may be here in a moment.
fn uncached(mut response: Response<ResponseBody>) -> Reply {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Reply::Raw(response)
}

/// The query of a POST, which repeats fields of its form.
pub(super) struct RepeatedFields(Vec<(String, String)>);

impl RepeatedFields {
    /// Takes a query that holds parameters of Resumable.js or Flow.js; none is fine.
    ///
    /// # Errors
    /// `MethodNotAllowed` for any other query: `POST /bucket?delete` and its like are other operations; a form never acts for
    /// them.
    pub(super) fn of(head: &Parts) -> Result<Self, ApiError> {
        let query = head.uri.query().unwrap_or_default();
        let params = Params::from_query(query)?;
        let theirs = |name: &str| {
            let name = name.to_ascii_lowercase();
            PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        if !query.is_empty() && !params.pairs().any(|(name, _)| theirs(name)) {
            return Err(ApiError::method("OPTIONS"));
        }
        let owned = |(name, value): (&str, &str)| (name.to_ascii_lowercase(), value.to_owned());
        Ok(Self(params.pairs().map(owned).collect()))
    }

    /// Holds the query against the form, once the form is granted.
    ///
    /// # Errors
    /// `MethodNotAllowed` for a form that is not of one of our own sessions; `InvalidArgument` for a parameter that is no field
    /// of the form, or has another value there.
    pub(super) fn check(&self, form: &PostForm, grant: &Grant) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        if grant.session().is_none() {
            return Err(ApiError::method("OPTIONS"));
        }
        let differs = |(name, value): &&(String, String)| form.get(name) != Some(value.as_str());
        match self.0.iter().find(differs) {
            None => Ok(()),
            Some((name, _)) => {
                let rule = "may stand in the query only as the form has it: the query of a form post repeats fields and adds none.";
                Err(ApiError::invalid(name, rule).with("ArgumentName", name.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Crc64;

    #[test]
    fn a_chunk_has_only_the_digests_that_its_receipt_shows() {
        let (md5, crc64) = (Md5::of(b"chunk"), Crc64::of(b"chunk"));
        let has = Digests { md5, crc64 };
        let crc = |crc: Crc64| {
            let value = crc.to_bytes().to_vec();
            Checksum::new(ChecksumAlgorithm::Crc64Nvme, value)
        };
        let sha256 = Checksum::new(ChecksumAlgorithm::Sha256, vec![0; 32]);
        for (claimed_md5, checksum, expected) in [
            (None, None, true),
            (Some(md5), None, true),
            (Some(Md5::of(b"other")), None, false),
            (None, crc(crc64), true),
            (None, crc(Crc64::of(b"other")), false),
            (Some(md5), sha256, false),
        ] {
            let found = has_digests(has, claimed_md5, checksum.as_ref());
            assert_eq!(found, expected, "{claimed_md5:?} {checksum:?}");
        }
    }
}
