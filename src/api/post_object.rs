//! The form post: multipart in, chunk or object out.
//!
//! Owns: the road from a form to the store. Fields first: they become a `PostForm`, `authorize` makes a `Grant` of it, and
//! only then is a byte of the file kept. Bytes are pushed down as they come; nothing is buffered.
//!
//! Never does: decide what is allowed (the policy floor), where bytes go (the store), or parse (`form_reader.rs`). Header
//! `Authorization` plays no part here.
//!
//! Invariants: nothing is committed before the closing delimiter was seen; a failure of the network is never a failure of
//! the store; every refusal is S3 XML with Amazon's status and code.
//!
//! Source: Amazon S3 API Reference, "POST Object".

use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;

use super::app::App;
use super::body::{RequestBody, ResponseBody};
use super::call::{Call, Reply, new_id};
use super::checksum::Verifier;
use super::chunk_target::chunk_spec;
use super::error::{ApiError, ErrorCode};
use super::explain::Seen;
use super::form_reader::FormReader;
use super::framing::MAX_OUTSIDE_BYTES;
use super::guard;
use super::post_answer::Posted;
use super::post_refusal::{malformed, no_bucket, policy_error};
use crate::model::{AccessKey, Bucket, BucketConfig, ETag, NewUpload, Timestamp};
use crate::policy::{Context, Grant, PostForm, authorize, claim};
use crate::store::embedded::faults::{self, Bug};
use crate::store::{CatalogEntry, CatalogKey, ChunkWriter, Committed, Expected, StoreError};

/// Takes one form post to `bucket`.
///
/// # Errors
/// Amazon's refusals, in the order of its checks; what the store says.
pub async fn receive(call: &mut Call<'_>, bucket: &str) -> Result<Reply, ApiError> {
    let mut seen = Seen::at(call.now);
    let received = receive_seen(call, bucket, &mut seen).await;
    received.map_err(|mut error| {
        error.seen = Some(Box::new(seen));
        error
    })
}

async fn receive_seen(
    call: &mut Call<'_>,
    bucket: &str,
    seen: &mut Seen,
) -> Result<Reply, ApiError> {
    let boundary = preconditions(call.head)?.to_owned();
    refuse_without_body(call)?;
    let mut call = Reception {
        app: call.app,
        now: call.now,
        base_url: &call.base_url,
        body: call.body,
        announced: announced_length(call.head),
        seen,
    };
    call.receive(bucket, &boundary).await
}

/// What the head of a form post must be before its body is looked at; gives the boundary.
///
/// # Errors
/// As [`receive`].
pub(super) fn preconditions(head: &Parts) -> Result<&str, ApiError> {
    let boundary = boundary(head)?;
    refuse_query(head)?;
    Ok(boundary)
}

fn refuse_query(head: &Parts) -> Result<(), ApiError> {
    match head.uri.query() {
        None | Some("") => Ok(()),
        // `POST /bucket?delete` and its like are other operations; a form never acts for them.
        Some(_) => Err(ApiError::method("OPTIONS")),
    }
}

fn refuse_without_body(call: &Call<'_>) -> Result<(), ApiError> {
    if !call.body.ended() || call.head.headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    let message = "You must provide the Content-Length HTTP header.";
    Err(ApiError::new(ErrorCode::MissingContentLength, message))
}

fn announced_length(head: &Parts) -> Option<u64> {
    let length = head.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The boundary of the form; one parsed value decides, whatever else the header says.
fn boundary(head: &Parts) -> Result<&str, ApiError> {
    let not_a_form = || {
        ApiError::new(
            ErrorCode::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        )
        .with(
            "Condition",
            "Bucket POST must be of the enclosure-type multipart/form-data",
        )
    };
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return Err(not_a_form());
    };
    let found = content_type
        .to_str()
        .ok()
        .and_then(guard::boundary)
        .ok_or_else(not_a_form)?;
    found.map_err(malformed)
}

/// One form on its way in.
struct Reception<'a> {
    app: &'a App,
    now: Timestamp,
    base_url: &'a str,
    body: &'a mut RequestBody,
    announced: Option<u64>,
    seen: &'a mut Seen,
}

impl Reception<'_> {
    async fn receive(&mut self, bucket: &str, boundary: &str) -> Result<Reply, ApiError> {
        let (app, now, base_url, announced) = (self.app, self.now, self.base_url, self.announced);
        let mut reader = FormReader::new(self.body, boundary);
        let file_name = reader.fields(self.seen).await?;
        let grant = match grant(app, self.seen.form(), bucket, now).await {
            Ok(grant) => grant,
            Err(error) => {
                reader.look_ahead(self.seen);
                return Err(error);
            }
        };
        if let Some(length) = announced {
            // The form around the file is at most twice the guard's limit, so this much of the body must be the file.
            grant
                .check_max(length.saturating_sub(2 * MAX_OUTSIDE_BYTES as u64))
                .map_err(policy_error)?;
        }
        let mut writer = open_writer(app, &grant, now).await?;
        let size = take_file(&mut reader, writer.as_mut(), &grant).await?;
        self.seen.file_has(size);
        let finished = reader.finish(self.seen).await;
        if !faults::is_planted(Bug::NoClosingDelimiter) {
            finished?;
        }
        grant.check_size(size).map_err(policy_error)?;
        let expected = Expected {
            length: Some(size),
            md5: grant.content_md5(),
            crc64: None,
        };
        let committed = writer
            .commit(expected, now)
            .await
            .map_err(|error| chunk_error(error, &grant, file_name.as_deref()))?;
        Ok(Reply::Raw(answer(base_url, &grant, &committed)))
    }
}

/// What the form may do, if its bucket exists and its signature and policy say so.
async fn grant(
    app: &App,
    form: &PostForm,
    bucket: &str,
    now: Timestamp,
) -> Result<Grant, ApiError> {
    let name = Bucket::parse(bucket).map_err(|_| no_bucket(bucket))?;
    let claim = claim(form, app.options.region.as_deref()).map_err(policy_error)?;
    let key = match claim.access_key_id() {
        None => None,
        Some(id) => access_key(app, id).await?,
    };
    let config = bucket_config(app, &name).await?;
    let configured = app.options.bucket_options(bucket);
    let public_write = configured.is_some_and(|bucket| bucket.public_write)
        || config.as_ref().is_some_and(|config| config.public_write);
    let context = Context {
        bucket: &name,
        public_write,
        now,
        rules: &app.options.rules,
    };
    let grant = authorize(&claim, key.as_ref(), &context).map_err(policy_error)?;
    if grant.tagging().is_some() {
        let message = "Tags are not stored here; a form with the field tagging would lose them.";
        return Err(ApiError::new(ErrorCode::NotImplemented, message));
    }
    // Only who may write learns whether the bucket exists.
    config.map(|_| grant).ok_or_else(|| no_bucket(bucket))
}

async fn access_key(app: &App, id: &str) -> Result<Option<AccessKey>, ApiError> {
    match app
        .store
        .find(&CatalogKey::AccessKey(id.to_owned()))
        .await?
    {
        Some(CatalogEntry::AccessKey(key)) => Ok(Some(key)),
        _ => Ok(None),
    }
}

async fn bucket_config(app: &App, name: &Bucket) -> Result<Option<BucketConfig>, ApiError> {
    match app.store.find(&CatalogKey::Bucket(name.clone())).await? {
        Some(CatalogEntry::Bucket(config)) => Ok(Some(config)),
        _ => Ok(None),
    }
}

/// A chunk of one of our sessions, or, for a policy that somebody else signed, an object of its own.
async fn open_writer(
    app: &App,
    grant: &Grant,
    now: Timestamp,
) -> Result<Box<dyn ChunkWriter>, ApiError> {
    if let Some(id) = grant.session() {
        let session = app.store.upload(id).await?;
        let spec = chunk_spec(&session.upload.key, grant.key(), grant.chunk())?;
        return Ok(app.store.write_chunk(id, spec).await?);
    }
    let upload = NewUpload {
        id: new_id(now)?,
        bucket: grant.bucket().clone(),
        key: grant.key().clone(),
        pipeline: None,
        expires_at: None,
        headers: grant.headers().clone(),
        application: None,
        created_at: now,
        abandoned_at: now.plus(app.options.session_lifetime),
        form_post_url: String::new(),
    };
    Ok(app.store.write_object(upload).await?)
}

/// Pushes the file's bytes down; returns how many there were, once they hash to what the form claims.
async fn take_file(
    reader: &mut FormReader<'_>,
    writer: &mut dyn ChunkWriter,
    grant: &Grant,
) -> Result<u64, ApiError> {
    let mut size = 0_u64;
    let mut checksum = grant.checksum().map(Verifier::new);
    while let Some(bytes) = reader.file_bytes().await? {
        size += bytes.len() as u64;
        grant.check_max(size).map_err(policy_error)?;
        checksum
            .iter_mut()
            .for_each(|verifier| verifier.update(&bytes));
        writer.write(bytes).await?;
    }
    checksum.map_or(Ok(()), Verifier::finish)?;
    Ok(size)
}

fn answer(base_url: &str, grant: &Grant, committed: &Committed) -> Response<ResponseBody> {
    let digests = committed.receipt.digests;
    let posted = Posted {
        base_url,
        bucket: grant.bucket(),
        key: grant.key(),
        etag: ETag::of_whole(digests.md5),
        crc64: digests.crc64,
    };
    posted.answer(grant.success())
}

/// The silent mistake: Plupload lays `multipart_params` over its own fields, so that a session's params passed whole make
/// every chunk claim to be chunk 0 of 1. The second one has other bytes than the first, and the name of a sliced file.
fn chunk_error(error: StoreError, grant: &Grant, file_name: Option<&str>) -> ApiError {
    let fields = grant.chunk();
    let verbatim = fields.chunk.as_deref() == Some("0") && fields.chunks.as_deref() == Some("1");
    let differs = matches!(
        error,
        StoreError::ChunkDiffers {
            index: 0,
            nb_chunks: 1
        }
    );
    if !(differs && verbatim && file_name == Some("blob")) {
        return error.into();
    }
    let message = "Every chunk of this upload says that it is chunk 0 of 1, so each would replace the one before. Most likely \
        form_post_params was passed whole as the uploader's multipart_params, where its members name, chunk and chunks \
        overwrite the uploader's own. Delete these three members when chunk_size is set, and start a new upload.";
    ApiError::new(ErrorCode::InvalidRequest, message).caused_by(error)
}
