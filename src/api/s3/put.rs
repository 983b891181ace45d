//! PutObject: the bytes of a body become an object.
//!
//! Owns: the order of its checks and its answer. The bytes take the road of every upload: `write_object`, then commit.
//! Never does: say that something is stored before it is.
//!
//! Invariants: nothing is committed before the body was seen whole and all that was claimed of it is true. A checksum that came behind
//! the body is stored as one that came before it.
//!
//! Source: Amazon S3 API Reference, "PutObject".

use http::header::ETAG;
use http::{HeaderName, HeaderValue, Response};

use super::super::body::{ResponseBody, empty};
use super::super::call::{Call, Reply, new_id};
use super::super::error::{ApiError, ErrorCode};
use super::super::post_refusal::policy_error;
use super::super::stored_headers::{self, CHECKSUM_TYPE, WHOLE};
use super::access::Access;
use super::condition;
use super::payload::Payload;
use super::{lifecycle, settings};
use crate::model::{
    AnswerStyle, Attributes, Bucket, Checksum, ChecksumAlgorithm, ETag, HeaderSet, MAX_CHUNK_BYTES,
    NewUpload, ObjectKey,
};
use crate::policy::PutHeaders;
use crate::store::{Expected, StoreError};

const PROMISE: &str = "x-amz-sdk-checksum-algorithm";

/// Stores an object.
///
/// # Errors
/// Amazon's refusals, in the order of its checks; what the store says.
pub(super) async fn put(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let condition = condition::of_write(&access)?;
    let headers = put_headers(&access)?;
    let claimed = headers.attributes.checksum.clone();
    let rules = settings::lifecycle_to_tell(call.app, &bucket).await;
    let upload = new_upload(call, bucket, key, (headers.stored, headers.attributes))?;
    let app = call.app;
    let promise = promise(call);
    let pace = call.body.pace();
    let mut payload = Payload::new(call, &mut access, claimed)?;
    check_promise(promise.as_deref(), payload.algorithm())?;
    check_length(payload.announced())?;
    let begin = || app.store.write_object(upload.clone());
    let (_place, mut writer) = app.admission.begin(&pace, begin).await?;
    while let Some(bytes) = payload.next().await? {
        writer.write(bytes).await?;
    }
    let (length, checksum) = payload.finish()?;
    if let Some(checksum) = &checksum {
        writer.keep_checksum(checksum.clone());
    }
    let expected = Expected {
        length: Some(length),
        md5: headers.md5,
        condition: condition.clone(),
        ..Expected::default()
    };
    // The object is as old as its last byte, however long the body took.
    let committed = writer.commit(expected, app.clock.now()).await;
    let committed = committed.map_err(|error| condition::refusal(error, condition.as_ref()))?;
    let etag = ETag::of_whole(committed.receipt.digests.md5);
    let mut response = Response::new(empty());
    put_tag(&mut response, &etag);
    if let Some(checksum) = &checksum {
        put_checksum(&mut response, checksum);
    }
    if let Some(meta) = &committed.object {
        if checksum.is_none() {
            // Nobody named one, so it is the one that every object has.
            stored_headers::put_checksum(response.headers_mut(), meta);
        }
        lifecycle::put_expiration(response.headers_mut(), &rules, meta);
    }
    Ok(Reply::Raw(response))
}

/// What the headers say of the object.
pub(super) fn put_headers(access: &Access<'_>) -> Result<PutHeaders, ApiError> {
    let headers = access.headers().map(|(n, v)| (n, v.to_owned()));
    PutHeaders::read(headers).map_err(policy_error)
}

/// Which checksum the SDK of the client says that it sends. In a URL the same word says what was computed of the empty body that there was
/// when it was signed, and counts for nothing.
pub(super) fn promise(call: &Call<'_>) -> Option<String> {
    call.header(HeaderName::from_static(PROMISE))
        .map(str::to_owned)
}

/// Whether the checksum that comes, before or behind the body, is the one that was promised.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn check_promise(
    promised: Option<&str>,
    comes: Option<ChecksumAlgorithm>,
) -> Result<(), ApiError> {
    let message = match (promised, comes) {
        (None, _) => return Ok(()),
        (Some(promised), Some(comes)) if comes.as_str().eq_ignore_ascii_case(promised) => {
            return Ok(());
        }
        (_, Some(_)) => format!("Value for {PROMISE} header is invalid."),
        (_, None) => format!(
            "{PROMISE} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
        ),
    };
    Err(ApiError::new(ErrorCode::InvalidRequest, message))
}

/// An object of nobody's pipeline that never expires.
pub(super) fn new_upload(
    call: &Call<'_>,
    bucket: Bucket,
    key: ObjectKey,
    (headers, attributes): (HeaderSet, Attributes),
) -> Result<NewUpload, ApiError> {
    Ok(NewUpload {
        id: new_id(call.now)?,
        bucket,
        key,
        pipeline: None,
        expires_at: None,
        headers,
        attributes,
        application: None,
        created_at: call.now,
        abandoned_at: call.now.plus(call.app.options.session_lifetime),
        form_post_url: String::new(),
        answer: AnswerStyle::default(),
    })
}

/// A length that is known, and not over the limit.
///
/// # Errors
/// `MissingContentLength`, `EntityTooLarge`.
pub(super) fn check_length(announced: Option<u64>) -> Result<(), ApiError> {
    match announced {
        None => {
            let message = "You must provide the Content-Length HTTP header.";
            Err(ApiError::new(ErrorCode::MissingContentLength, message))
        }
        Some(length) if length > MAX_CHUNK_BYTES => {
            let max_bytes = MAX_CHUNK_BYTES;
            let error = ApiError::from(StoreError::TooLarge { max_bytes });
            let error = error.with("ProposedSize", length.to_string());
            Err(error.with("MaxSizeAllowed", max_bytes.to_string()))
        }
        Some(_) => Ok(()),
    }
}

/// Writes an entity tag.
pub(super) fn put_tag(response: &mut Response<ResponseBody>, etag: &ETag) {
    if let Ok(value) = HeaderValue::from_str(&etag.quoted()) {
        response.headers_mut().insert(ETAG, value);
    }
}

fn put_checksum(response: &mut Response<ResponseBody>, checksum: &Checksum) {
    if let Ok(value) = HeaderValue::try_from(checksum.base64()) {
        let name = HeaderName::from_static(checksum.algorithm().field());
        response.headers_mut().insert(name, value);
        response.headers_mut().insert(CHECKSUM_TYPE, WHOLE);
    }
}
