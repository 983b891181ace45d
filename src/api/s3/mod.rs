//! The S3 dialect: whatever is kept here is read and written as S3 objects, by boto3, the aws cli and the SDKs.
//!
//! Owns: which operation a request asks for: its method and the one subresource in its query. One file for each family of operations.
//! Never does: take a form; `post_object.rs` does, and none comes here (`form_gate.rs`).
//!
//! Invariants: nothing is done, and nothing is told, before the signature was proven and the key was found to reach that far
//! (`access.rs`), but for what is public (`anonymous.rs`); what is not matched is refused: a subresource that Amazon has and we do not is
//! `NotImplemented`, and never taken for a plain read or write of the object.
//!
//! Source: Amazon S3 API Reference, "Actions".

mod access;
mod acl;
mod anonymous;
mod attributes;
mod aws_chunked;
mod bucket_cors;
mod buckets;
mod complete;
mod condition;
mod copy;
mod delete;
#[cfg(fuzzing)]
pub mod fuzzing;
mod get;
mod get_part;
mod keep_alive;
mod lifecycle;
mod list;
mod multipart;
mod part;
mod payload;
mod put;
mod query;
mod settings;
mod tagging;
mod trailer;
mod uploads;
mod xml;

use http::Method;

use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
use crate::model::{Bucket, ObjectKey};
use access::Place;
pub(super) use xml::push_text;

/// Parameters that say what is asked for, besides the method.
const SUBRESOURCES: [&str; 32] = [
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
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];
/// Says whose bucket it must be.
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
/// What only Amazon has.
const FOREIGN: [&str; 3] = ["session", "append", "renameObject"];
/// Says which part: of an upload, when it is written, or of an object, when it is read. It stands beside what is asked for.
const PART_NUMBER: &str = "partNumber";

/// Requests to the service itself.
///
/// # Errors
/// What authentication and the operation say.
pub(super) async fn service(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let access = access::authenticate(call, Place::Service).await?;
    query::check(call, query::OF_SERVICE)?;
    if let Some(other) = subresource(call)? {
        return Err(settings::unknown(other));
    }
    match call.head.method.as_str() {
        "GET" | "HEAD" => buckets::list(call, &access).await,
        _ => Err(ApiError::method("GET, HEAD, OPTIONS")),
    }
}

/// Requests to a bucket.
///
/// # Errors
/// What authentication and the operation say.
pub(super) async fn bucket(call: &mut Call<'_>, name: &str) -> Result<Reply, ApiError> {
    let done = in_bucket(call, name).await;
    match call.head.method {
        // Who may not see the bucket is told where it is, too: clients ask so for the region that they are to sign for.
        Method::HEAD | Method::GET => done.map_err(|error| located(error, buckets::region(call))),
        _ => done,
    }
}

/// A refusal that tells the region, once.
fn located(error: ApiError, region: &str) -> ApiError {
    match error.extras.iter().any(|(name, _)| *name == "Region") {
        true => error,
        false => error.with("Region", region),
    }
}

async fn in_bucket(call: &mut Call<'_>, name: &str) -> Result<Reply, ApiError> {
    if let Some(public) = anonymous::bucket(call, name).await? {
        return Ok(public);
    }
    let access = access::authenticate(call, Place::Bucket(name)).await?;
    let method = call.head.method.clone();
    let lists = matches!(method.as_str(), "GET" | "HEAD");
    query::check(call, if lists { query::OF_BUCKET } else { &[] })?;
    let asked = subresource(call)?;
    if let ("PUT", None) = (method.as_str(), asked) {
        return buckets::create(call, access, name).await;
    }
    let bucket = buckets::existing(call, name).await?;
    access.check_owner(EXPECTED_OWNER)?;
    match (method.as_str(), asked) {
        ("HEAD", None) => Ok(buckets::head(call)),
        ("GET", None) => list::objects(call, Some(&access), bucket).await,
        ("GET", Some("uploads")) => uploads::uploads(call, bucket).await,
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
    access: access::Access<'_>,
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
        ("PUT", other) => settings::put_unchanged(call, access, other).await,
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
    if let Some(public) = anonymous::object(call, bucket, key).await? {
        return Ok(public);
    }
    let access = access::authenticate(call, Place::Object(bucket, key)).await?;
    let method = call.head.method.clone();
    query::check(call, query::OF_OBJECT)?;
    let asked = subresource(call)?;
    let bucket = buckets::existing(call, bucket).await?;
    access.check_owner(EXPECTED_OWNER)?;
    let names = (bucket.clone(), key);
    let key = object_key(key)?;
    check_version(call)?;
    let at = (bucket, key);
    let done = match (method.as_str(), asked) {
        ("POST", Some("uploads")) => multipart::create(call, access, at).await,
        ("PUT", Some("uploadId")) if access.header(copy::SOURCE).is_some() => {
            part::copy(call, access, at).await
        }
        ("PUT", Some("uploadId")) => part::upload(call, access, at).await,
        ("GET", Some("uploadId")) => uploads::parts(call, at).await,
        ("POST", Some("uploadId")) => complete::complete(call, access, at).await,
        ("DELETE", Some("uploadId")) => multipart::abort(call, &access, at).await,
        _ => whole_object(call, access, at, asked).await,
    };
    done.map_err(|error| named(error, &names.0, names.1))
}

/// Requests to an object as a whole.
async fn whole_object(
    call: &mut Call<'_>,
    access: access::Access<'_>,
    (bucket, key): (Bucket, ObjectKey),
    asked: Option<&str>,
) -> Result<Reply, ApiError> {
    let method = call.head.method.clone();
    if call.params.query(PART_NUMBER).is_some() && !matches!(method.as_str(), "GET" | "HEAD") {
        let message = "A part number needs the upload that the part is of.";
        let error = ApiError::new(ErrorCode::InvalidArgument, message);
        return Err(error.with("ArgumentName", PART_NUMBER));
    }
    match (method.as_str(), asked) {
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
        ("GET", Some("retention" | "legal-hold")) => Err(settings::without_object_lock()),
        ("GET", Some("uploads")) => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            "Key is not expected for the GET method ?uploads subresource",
        )),
        ("GET", Some("versions")) => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            "There is no such thing as the ?versions sub-resource for a key",
        )),
        (_, Some(other)) => Err(settings::unknown(other)),
        _ => Err(ApiError::method("GET, HEAD, PUT, POST, DELETE, OPTIONS")),
    }
}

/// What is not there is named, unless it is something else than what the path names.
fn named(error: ApiError, bucket: &Bucket, key: &str) -> ApiError {
    let (element, name) = match error.code {
        ErrorCode::NoSuchKey => ("Key", key),
        ErrorCode::NoSuchBucket => ("BucketName", bucket.as_str()),
        _ => return error,
    };
    match error.extras.iter().any(|(named, _)| *named == element) {
        true => error,
        false => error.with(element, name),
    }
}

/// The one subresource that the query names.
fn subresource(call: &Call<'_>) -> Result<Option<&'static str>, ApiError> {
    let known = SUBRESOURCES.into_iter().chain(FOREIGN);
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
        Some(other) => Err(invalid_version(other)),
    }
}

/// What no version of a bucket without versions is called.
fn invalid_version(version: &str) -> ApiError {
    let message = "Invalid version id specified";
    ApiError::new(ErrorCode::InvalidArgument, message)
        .with("ArgumentName", "versionId")
        .with("ArgumentValue", version)
}
