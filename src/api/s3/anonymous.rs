//! Requests that nobody signed: what everybody may do.
//!
//! Owns: which requests those are, and that they read an object whose access control list says so, or list a bucket whose list says so,
//! with its unfinished uploads.
//! Never does: take a subresource, a write, or a header that replaces one of the answer.
//!
//! Invariants: whoever signs something is not anonymous, whether the signature is right or not. What is not public is answered as if it
//! were not there to be asked for: `AccessDenied`, by [`super::access`], also for what does not exist.
//!
//! Source: Amazon S3 User Guide, "Access control list overview" (READ on a bucket is s3:ListBucket, s3:ListBucketVersions and
//! s3:ListBucketMultipartUploads); Amazon S3 API Reference, "GetObject".

use http::header::AUTHORIZATION;

use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::access::KEY_OF_CLIENT;
use super::{
    EXPECTED_OWNER, acl, buckets, check_version, get, list, object_key, query, subresource, uploads,
};
use crate::model::Bucket;
use crate::store::{ObjectName, StoreError};

/// Parameters by which a URL is signed.
const SIGNATURES: [&str; 3] = ["X-Amz-Algorithm", "Signature", "AWSAccessKeyId"];

/// Answers a request to an object if anybody may have it; `None` leaves it to who must sign.
///
/// # Errors
/// What reading the object says; `NoSuchKey` only where everybody may know what is there.
pub(super) async fn object(
    call: &Call<'_>,
    bucket: &str,
    key: &str,
) -> Result<Option<Reply>, ApiError> {
    // The first is cheap, and most requests are signed.
    let is_plain = || {
        query::check(call, query::OF_OBJECT).is_ok()
            && matches!(subresource(call), Ok(None))
            && check_version(call).is_ok()
    };
    if !only_reads(call) || !is_plain() {
        return Ok(None);
    }
    let Some(bucket) = public_bucket(call, bucket).await? else {
        return Ok(None);
    };
    let listed = acl::may_be_listed(call, &bucket).await?;
    let Ok(key) = object_key(key) else {
        return Ok(None);
    };
    let name = ObjectName::Key(bucket.clone(), key.clone());
    match call.app.store.object(&name, call.now).await {
        Ok(meta) if acl::is_public(meta.attributes.acl) => {
            get::get(call, None, bucket, key).await.map(Some)
        }
        Err(StoreError::NoSuchObject) if listed => Err(StoreError::NoSuchObject.into()),
        Ok(_) | Err(StoreError::NoSuchObject) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Answers a request to a bucket if everybody may list it; `None` leaves it to who must sign.
///
/// # Errors
/// What the list says.
pub(super) async fn bucket(call: &Call<'_>, name: &str) -> Result<Option<Reply>, ApiError> {
    if !only_reads(call) || query::check(call, query::OF_BUCKET).is_err() {
        return Ok(None);
    }
    let Some(bucket) = public_bucket(call, name).await? else {
        return Ok(None);
    };
    if !acl::may_be_listed(call, &bucket).await? {
        return Ok(None);
    }
    match (call.head.method.as_str(), subresource(call)?) {
        ("HEAD", None) => Ok(Some(buckets::head(call))),
        ("GET", None) => list::objects(call, None, bucket).await.map(Some),
        ("GET", Some("versions")) => list::versions(call, bucket).await.map(Some),
        ("GET", Some("uploads")) => uploads::uploads(call, bucket).await.map(Some),
        _ => Ok(None),
    }
}

/// Whether nobody signed it, it changes nothing, and wants nothing that only a signer may.
fn only_reads(call: &Call<'_>) -> bool {
    let signed = SIGNATURES
        .iter()
        .any(|name| call.params.query(name).is_some());
    let special = KEY_OF_CLIENT.iter().chain(&[EXPECTED_OWNER]);
    let mut special = special.map(|name| call.head.headers.contains_key(*name));
    !signed
        && !special.any(|sent| sent)
        && !call.head.headers.contains_key(AUTHORIZATION)
        && matches!(call.head.method.as_str(), "GET" | "HEAD")
}

/// The bucket, if there is one: that there is none is not for everybody to know.
async fn public_bucket(call: &Call<'_>, name: &str) -> Result<Option<Bucket>, ApiError> {
    match buckets::existing(call, name).await {
        Err(error) if error.code == ErrorCode::NoSuchBucket => Ok(None),
        found => found.map(Some),
    }
}
