//! DeleteObject and DeleteObjects.
//!
//! Owns: their answers: 204 whether there was something or not; for many at once, one line for each key.
//! Never does: keep versions; `null` is the only one.
//!
//! Invariants: an answer of success means that the object is gone, durably. A list of keys is taken only when its bytes were vouched for,
//! and it is read whole before the first object goes. What is asked for a key and cannot be done is an error of that key.
//!
//! Source: Amazon S3 API Reference, "DeleteObject", "DeleteObjects".

use futures_util::future::join_all;
use http::{Response, StatusCode};

use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::dispatch::log_failure;
use super::super::error::{ApiError, ErrorCode};
use super::access::{Access, not_implemented};
use super::payload::Payload;
use super::put::put_headers;
use super::xml::{self, Document, Element};
use super::{condition, no_such_version, object_key};
use crate::model::Bucket;
use crate::store::{ObjectName, StoreError, WriteCondition};

/// Most keys of one request.
const MAX_KEYS: usize = 1000;
/// Largest list of keys, in bytes.
const MAX_LIST_BYTES: usize = 1 << 20;
/// Objects that are removed at the same time, so that they share a sync.
const AT_ONCE: usize = 32;

/// Removes an object, if its condition holds.
///
/// # Errors
/// `PreconditionFailed`; `NoSuchKey` for a condition on what is not there; `NotImplemented` for one that is not known.
pub(super) async fn one(
    call: &Call<'_>,
    access: &Access,
    bucket: Bucket,
    key: &str,
) -> Result<Reply, ApiError> {
    let condition = condition::of_delete(access)?;
    remove(call, &bucket, key, condition).await?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Reply::Raw(response))
}

/// Removes the objects that the body lists.
///
/// # Errors
/// `InvalidRequest` for a list that nothing vouches for, `MalformedXML` for one that is none or too long.
pub(super) async fn many(
    call: &mut Call<'_>,
    mut access: Access,
    bucket: Bucket,
) -> Result<Reply, ApiError> {
    let headers = put_headers(&access)?;
    let vouched = headers.md5.is_some() || headers.attributes.checksum.is_some();
    if !vouched && access.header("x-amz-trailer").is_none() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    let body = payload.collected(MAX_LIST_BYTES, headers.md5).await?;
    let list = xml::read(&body, "Delete")?;
    let objects = list.children.iter().filter(|child| child.name == "Object");
    let objects = objects.collect::<Vec<_>>();
    if objects.is_empty() || objects.len() > MAX_KEYS {
        return Err(xml::malformed());
    }
    let quiet = list
        .child("Quiet")
        .is_some_and(|quiet| quiet.trim() == "true");
    let call = &*call;
    let mut results = Vec::with_capacity(objects.len());
    for batch in objects.chunks(AT_ONCE) {
        let removals = batch.iter().map(|object| listed(call, &bucket, object));
        results.extend(join_all(removals.collect::<Vec<_>>()).await);
    }
    let mut document = Document::new("DeleteResult");
    for (object, result) in objects.iter().zip(results) {
        let key = object.child("Key").unwrap_or_default();
        match result {
            Ok(()) if quiet => {}
            Ok(()) => document.within("Deleted", |inner| inner.element("Key", key)),
            Err(error) => document.within("Error", |inner| {
                log_failure(&error, call.request_id);
                inner.element("Key", key);
                inner.element("Code", error.code.name());
                inner.element("Message", &error.message);
            }),
        }
    }
    Ok(Reply::Raw(document.answer()))
}

async fn listed(call: &Call<'_>, bucket: &Bucket, object: &Element) -> Result<(), ApiError> {
    for child in &object.children {
        match (child.name.as_str(), child.text.as_str()) {
            ("Key", _) | ("VersionId", "null" | "") => {}
            ("VersionId", other) => return Err(no_such_version(other)),
            // A condition that is passed over would remove what was to stay.
            (other, _) => return Err(not_implemented(other)),
        }
    }
    remove(call, bucket, object.child("Key").unwrap_or_default(), None).await
}

async fn remove(
    call: &Call<'_>,
    bucket: &Bucket,
    key: &str,
    condition: Option<WriteCondition>,
) -> Result<(), ApiError> {
    let name = ObjectName::Key(bucket.clone(), object_key(key)?);
    let store = &call.app.store;
    let removed = store.delete_object_if(&name, condition.clone(), call.now);
    match removed.await {
        Ok(()) => Ok(()),
        Err(StoreError::NoSuchObject) if condition.is_none() => Ok(()),
        Err(error) => Err(condition::refusal(error, condition.as_ref())),
    }
}
