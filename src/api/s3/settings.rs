//! The settings of a bucket as the catalog holds them, and what is said of those that no bucket has here.
//!
//! Owns: finding, storing and removing one setting; the small body of a request that sets something; the right "there is none" for
//! every setting of Amazon's that does not exist here, 204 for who removes one, and 200 for who sets one to what it is.
//! Never does: pretend. A setting that cannot be made is refused with `NotImplemented`, also the default encryption by `AES256`: the bytes of
//! most disks are not encrypted. The version state of a bucket is told as that of one that never had versions, also when it was set to
//! `Suspended`, which comes to the same: each key has one object, and what is overwritten or deleted is gone.
//!
//! Invariant: a setting counts for every request that begins after it was answered, and it is durable then.
//!
//! Source: Amazon S3 API Reference, the operations on buckets.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::super::app::App;
use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::payload::Payload;
use super::put::put_headers;
use super::xml::{self, Document, Element};
use crate::model::{Bucket, BucketSetting, LifecycleRule, SettingKind, SettingValue, SharedRules};
use crate::store::{CatalogEntry, CatalogKey, StoreError};

/// Largest document of a setting that no bucket has, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Most elements of one.
const MAX_ELEMENTS: usize = 1000;

/// What a bucket's setting is set to.
///
/// # Errors
/// What the store says.
pub(super) async fn find(
    app: &App,
    bucket: &Bucket,
    kind: SettingKind,
) -> Result<Option<SettingValue>, ApiError> {
    let key = CatalogKey::Setting(bucket.clone(), kind);
    Ok(match app.store.find(&key).await? {
        Some(CatalogEntry::Setting(setting)) => Some(setting.value),
        _ => None,
    })
}

/// A bucket's lifecycle rules; none when it has none.
///
/// # Errors
/// What the store says.
pub(super) async fn lifecycle(
    app: &App,
    bucket: &Bucket,
) -> Result<SharedRules<LifecycleRule>, ApiError> {
    Ok(match find(app, bucket, SettingKind::Lifecycle).await? {
        Some(SettingValue::Lifecycle(rules)) => rules,
        _ => SharedRules::default(),
    })
}

/// As [`lifecycle`], for headers that say what becomes of an object: where the rules cannot be read, nothing is said, for nothing goes by
/// them, and no upload is to fail for a header.
pub(super) async fn lifecycle_to_tell(app: &App, bucket: &Bucket) -> SharedRules<LifecycleRule> {
    let rules = lifecycle(app, bucket).await;
    rules.unwrap_or_else(|error| {
        tracing::error!(%bucket, %error, "the lifecycle rules of a bucket cannot be read");
        SharedRules::default()
    })
}

/// Sets a bucket's setting.
///
/// # Errors
/// `NoSuchBucket` when it was removed meanwhile, `EntityTooLarge` for more than the catalog takes; what the store says.
pub(super) async fn set(
    call: &Call<'_>,
    bucket: &Bucket,
    value: SettingValue,
) -> Result<(), ApiError> {
    let bucket = bucket.clone();
    let entry = CatalogEntry::Setting(BucketSetting { bucket, value });
    call.app
        .store
        .insert(entry)
        .await
        .map_err(|error| match error {
            StoreError::RecordTooLarge => {
                let message = "Your configuration is larger than the maximum allowed size.";
                ApiError::new(ErrorCode::EntityTooLarge, message)
            }
            other => other.into(),
        })
}

/// Removes a bucket's setting, if it is set, and answers.
///
/// # Errors
/// What the store says.
pub(super) async fn remove(
    call: &Call<'_>,
    bucket: &Bucket,
    kind: SettingKind,
) -> Result<Reply, ApiError> {
    let key = CatalogKey::Setting(bucket.clone(), kind);
    call.app.store.remove(&key).await?;
    Ok(removed())
}

/// 204: it is not there, whether it was or not.
pub(super) fn removed() -> Reply {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Reply::Raw(response)
}

/// 200 without a body.
pub(super) fn done() -> Reply {
    Reply::Raw(Response::new(empty()))
}

/// The body of a request that sets something, at most `max_bytes`, compared with all that is claimed of it.
///
/// # Errors
/// As for every body; `NotImplemented` for headers that ask for what we would have to pretend.
pub(super) async fn body(
    call: &mut Call<'_>,
    access: &mut Access<'_>,
    max_bytes: usize,
) -> Result<Bytes, ApiError> {
    let headers = put_headers(access)?;
    let payload = Payload::new(call, access, headers.attributes.checksum)?;
    payload.collected(max_bytes, headers.md5).await
}

/// The answer to the question for a setting that no bucket has.
///
/// # Errors
/// That there is none, in Amazon's words; `NotImplemented`.
pub(super) fn get_absent(name: &str) -> Result<Reply, ApiError> {
    let mut document = Document::new(root(name).ok_or_else(|| absent(name))?);
    if name == "requestPayment" {
        document.element("Payer", "BucketOwner");
    }
    Ok(Reply::Raw(document.answer()))
}

/// What the document of a setting is called which every bucket has at Amazon, be it an empty one.
fn root(name: &str) -> Option<&'static str> {
    Some(match name {
        "versioning" => "VersioningConfiguration",
        "logging" => "BucketLoggingStatus",
        "notification" => "NotificationConfiguration",
        "accelerate" => "AccelerateConfiguration",
        "requestPayment" => "RequestPaymentConfiguration",
        _ => return None,
    })
}

/// Takes a setting that no bucket can have otherwise than it is, where the request wants just that.
///
/// # Errors
/// `NotImplemented` where it wants anything else; `MalformedXML`; as for every body.
pub(super) async fn put_unchanged(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    name: &str,
) -> Result<Reply, ApiError> {
    let root = root(name).ok_or_else(|| unknown(name))?;
    let body = body(call, &mut access, MAX_BYTES).await?;
    let document = xml::read(&body, root, MAX_ELEMENTS)?;
    match is_so(name, &document) {
        true => Ok(done()),
        false => {
            let message =
                format!("The subresource {name} cannot be set to anything but what it is here.");
            Err(ApiError::new(ErrorCode::NotImplemented, message))
        }
    }
}

/// Whether a document says what is true of every bucket here: no versions and no log are kept, nobody is notified, nothing is
/// accelerated, and nobody but the owner pays.
fn is_so(name: &str, document: &Element) -> bool {
    let is_leaf = |element: &Element| element.children.is_empty();
    if !document.children.iter().all(is_leaf) {
        return false;
    }
    let said = document.children.iter();
    let said: Vec<_> = said
        .map(|element| (element.name.as_str(), element.text.trim()))
        .collect();
    match name {
        "versioning" => {
            let is_true = |said: &(&str, &str)| {
                matches!(said, ("Status", "Suspended") | ("MfaDelete", "Disabled"))
            };
            said.contains(&("Status", "Suspended")) && said.iter().all(is_true)
        }
        "accelerate" => said == [("Status", "Suspended")],
        "requestPayment" => said == [("Payer", "BucketOwner")],
        _ => said.is_empty() && document.text.trim().is_empty(),
    }
}

/// The answer to who removes a setting that no bucket has.
///
/// # Errors
/// `NotImplemented` for what Amazon does not let anybody remove, and for what we do not know.
pub(super) fn remove_absent(name: &str) -> Result<Reply, ApiError> {
    const REMOVABLE: [&str; 7] = [
        "encryption",
        "ownershipControls",
        "policy",
        "publicAccessBlock",
        "replication",
        "tagging",
        "website",
    ];
    match REMOVABLE.contains(&name) {
        true => Ok(removed()),
        false => Err(unknown(name)),
    }
}

fn absent(name: &str) -> ApiError {
    use ErrorCode as C;
    let (code, message) = match name {
        "policy" | "policyStatus" => (C::NoSuchBucketPolicy, "The bucket policy does not exist"),
        "tagging" => (C::NoSuchTagSet, "The TagSet does not exist"),
        "website" => (
            C::NoSuchWebsiteConfiguration,
            "The specified bucket does not have a website configuration",
        ),
        "encryption" => (
            C::ServerSideEncryptionConfigurationNotFoundError,
            "The server side encryption configuration was not found",
        ),
        "object-lock" => (
            C::ObjectLockConfigurationNotFoundError,
            "Object Lock configuration does not exist for this bucket",
        ),
        "replication" => (
            C::ReplicationConfigurationNotFoundError,
            "The replication configuration was not found",
        ),
        "publicAccessBlock" => (
            C::NoSuchPublicAccessBlockConfiguration,
            "The public access block configuration was not found",
        ),
        "ownershipControls" => (
            C::OwnershipControlsNotFoundError,
            "The bucket ownership controls were not found",
        ),
        _ => return unknown(name),
    };
    ApiError::new(code, message)
}

/// The answer to the question how an object is locked: no bucket here lets any be.
pub(super) fn without_object_lock() -> ApiError {
    let message = "Bucket is missing Object Lock Configuration";
    ApiError::new(ErrorCode::InvalidRequest, message)
}

/// A subresource that is Amazon's and not ours.
pub(super) fn unknown(name: &str) -> ApiError {
    let message = format!("The subresource {name} is not implemented here.");
    ApiError::new(ErrorCode::NotImplemented, message)
}
