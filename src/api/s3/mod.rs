//! The S3 read-back dialect: what was uploaded is an S3 object, for boto3, the aws cli and the SDKs.
//!
//! Owns: which operation a request asks for: its method and the one subresource in its query. One file for each family of operations.
//! Never does: take a form; `post_object.rs` does, and a form is refused here before anything else is looked at.
//!
//! Invariants: nothing is done, and nothing is told, before the signature was proven (`access.rs`), but for what is public
//! (`anonymous.rs`); what is not matched is refused: a
//! subresource that Amazon has and we do not is `NotImplemented`, and never taken for a plain read or write of the object.
//!
//! Source: Amazon S3 API Reference, "Actions".

mod access;
mod acl;
mod anonymous;
mod attributes;
mod aws_chunked;
mod bucket_cors;
mod buckets;
mod condition;
mod copy;
mod delete;
mod get;
mod keep_alive;
mod lifecycle;
mod list;
mod payload;
mod put;
mod settings;
mod tagging;
mod xml;

use http::header::CONTENT_TYPE;

use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
use crate::model::{Bucket, ObjectKey};

/// Parameters that say what is asked for, besides the method.
const SUBRESOURCES: [&str; 31] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];
/// Says whose bucket it must be.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
/// Of an upload in parts, which come with others; and what only Amazon has.
const QUALIFIERS: [&str; 5] = [
    "uploadId",
    "partNumber",
    "session",
    "append",
    "renameObject",
];

/// Whether a POST to a bucket takes the road of forms: all but DeleteObjects, the only operation of that method there.
pub(super) fn is_for_form(call: &Call<'_>) -> bool {
    has_form(call) || call.params.query("delete").is_none()
}

/// Whether the body says that it is a form; one line that says so is enough.
fn has_form(call: &Call<'_>) -> bool {
    let types = call.head.headers.get_all(CONTENT_TYPE).iter();
    let mut types = types.map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    types.any(|media_type| media_type.contains("multipart/form-data"))
}

/// Requests to the service itself.
///
/// # Errors
/// What authentication and the operation say.
pub(super) async fn service(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    refuse_form(call)?;
    access::authenticate(call).await?;
    match call.head.method.as_str() {
        "GET" | "HEAD" => buckets::list(call).await,
        _ => Err(ApiError::method("GET, HEAD, OPTIONS")),
    }
}

/// Requests to a bucket.
///
/// # Errors
/// What authentication and the operation say.
pub(super) async fn bucket(call: &mut Call<'_>, name: &str) -> Result<Reply, ApiError> {
    refuse_form(call)?;
    if let Some(public) = anonymous::bucket(call, name).await? {
        return Ok(public);
    }
    let access = access::authenticate(call).await?;
    let method = call.head.method.clone();
    let asked = subresource(call)?;
    if let ("PUT", None) = (method.as_str(), asked) {
        return buckets::create(call, access, name).await;
    }
    let bucket = buckets::existing(call, name).await?;
    access.check_owner(EXPECTED_OWNER)?;
    match (method.as_str(), asked) {
        ("HEAD", None) => Ok(buckets::head(call)),
        ("GET", None) => list::objects(call, bucket).await,
        ("GET", Some("location")) => Ok(buckets::location(call)),
        ("GET", Some("versions")) => list::versions(call, bucket).await,
        ("POST", Some("delete")) => delete::many(call, access, bucket).await,
        ("DELETE", None) => buckets::remove(call, bucket).await,
        (_, Some(setting)) => bucket_setting(call, access, &bucket, setting).await,
        _ => Err(ApiError::method("GET, HEAD, PUT, POST, DELETE, OPTIONS")),
    }
}

/// Requests to a setting of a bucket.
async fn bucket_setting(
    call: &mut Call<'_>,
    access: access::Access,
    bucket: &Bucket,
    setting: &str,
) -> Result<Reply, ApiError> {
    let method = call.head.method.clone();
    match (method.as_str(), setting) {
        ("GET", "acl") => acl::get_bucket(call, bucket).await,
        ("PUT", "acl") => acl::put_bucket(call, access, bucket).await,
        ("GET", "cors") => bucket_cors::get(call, bucket).await,
        ("PUT", "cors") => bucket_cors::put(call, access, bucket).await,
        ("DELETE", "cors") => bucket_cors::delete(call, bucket).await,
        ("GET", "lifecycle") => lifecycle::get(call, bucket).await,
        ("PUT", "lifecycle") => lifecycle::put(call, access, bucket).await,
        ("DELETE", "lifecycle") => lifecycle::delete(call, bucket).await,
        ("GET", other) => settings::get_absent(other),
        ("DELETE", other) => settings::remove_absent(other),
        (_, other) => Err(settings::unknown(other)),
    }
}

/// Requests to an object.
///
/// # Errors
/// What authentication and the operation say.
pub(super) async fn object(
    call: &mut Call<'_>,
    bucket: &str,
    key: &str,
) -> Result<Reply, ApiError> {
    refuse_form(call)?;
    if let Some(public) = anonymous::object(call, bucket, key).await? {
        return Ok(public);
    }
    let access = access::authenticate(call).await?;
    let method = call.head.method.clone();
    let asked = subresource(call)?;
    let bucket = buckets::existing(call, bucket).await?;
    access.check_owner(EXPECTED_OWNER)?;
    let name = key;
    let key = object_key(name)?;
    check_version(call)?;
    let done = match (method.as_str(), asked) {
        ("GET" | "HEAD", None) => get::get(call, Some(&access), bucket, key).await,
        ("PUT", None) if access.header(copy::SOURCE).is_some() => {
            copy::copy(call, access, bucket, key).await
        }
        ("PUT", None) => put::put(call, access, bucket, key).await,
        ("DELETE", None) => delete::one(call, &access, bucket, key.as_str()).await,
        ("GET", Some("acl")) => acl::get_object(call, bucket, key).await,
        ("PUT", Some("acl")) => acl::put_object(call, access, bucket, key).await,
        ("GET", Some("tagging")) => tagging::get(call, bucket, key).await,
        ("PUT", Some("tagging")) => tagging::put(call, access, bucket, key).await,
        ("DELETE", Some("tagging")) => tagging::delete(call, bucket, key).await,
        ("GET", Some("attributes")) => attributes::get(call, &access, bucket, key).await,
        (_, Some(other)) => Err(settings::unknown(other)),
        _ => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
    };
    done.map_err(|error| named(error, name))
}

/// What is not there is named, unless it is something else than what the path names.
fn named(error: ApiError, key: &str) -> ApiError {
    let is_named = error.extras.iter().any(|(element, _)| *element == "Key");
    match error.code {
        ErrorCode::NoSuchKey if !is_named => error.with("Key", key),
        _ => error,
    }
}

/// A form is a form wherever it is sent, and its signature is for the form post only.
fn refuse_form(call: &Call<'_>) -> Result<(), ApiError> {
    match call.head.method == http::Method::POST && has_form(call) {
        true => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
        false => Ok(()),
    }
}

/// The one subresource that the query names.
fn subresource(call: &Call<'_>) -> Result<Option<&'static str>, ApiError> {
    let known = SUBRESOURCES.into_iter().chain(QUALIFIERS);
    let mut named = known.filter(|name| call.params.query(name).is_some());
    match (named.next(), named.next()) {
        (first, None) => Ok(first),
        (_, Some(second)) => {
            let message =
                format!("Conflicting query string parameters: {second} must stand alone.");
            Err(ApiError::new(ErrorCode::InvalidArgument, message))
        }
    }
}

fn object_key(key: &str) -> Result<ObjectKey, ApiError> {
    ObjectKey::parse(key).map_err(|_| {
        ApiError::new(ErrorCode::KeyTooLongError, "Your key is too long")
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", ObjectKey::MAX_BYTES.to_string())
    })
}

/// There is one version of each object, and its name is `null`.
fn check_version(call: &Call<'_>) -> Result<(), ApiError> {
    match call.params.query("versionId") {
        None | Some("null") => Ok(()),
        Some("") => {
            let message = "Version id cannot be the empty string";
            let error = ApiError::new(ErrorCode::InvalidArgument, message);
            Err(error.with("ArgumentName", "versionId"))
        }
        Some(other) => Err(no_such_version(other)),
    }
}

fn no_such_version(version: &str) -> ApiError {
    let message = "The specified version does not exist.";
    ApiError::new(ErrorCode::NoSuchVersion, message).with("VersionId", version)
}
