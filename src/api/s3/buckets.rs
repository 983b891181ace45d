//! Buckets: listed, made, looked at, removed.
//!
//! Owns: ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation. Never does: settings; `settings.rs`, `acl.rs`,
//! `bucket_cors.rs` and `lifecycle.rs` do.
//!
//! Invariants: a bucket that the configuration names stays: the next start would make it again. The store removes a bucket only when no
//! live object is in it, in one step and with its settings, and names no object in a bucket that is gone.
//!
//! Source: Amazon S3 API Reference, the operations of these names.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::super::app::DEFAULT_REGION;
use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::dialect::BUCKET_REGION;
use super::super::error::{ApiError, ErrorCode};
use super::access::{Access, not_implemented};
use super::acl;
use super::list::{parse_token, token};
use super::payload::Payload;
use super::put::put_headers;
use super::xml::{self, Document};
use crate::model::{Action, Bucket, BucketConfig, CannedAcl, Target};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, StoreError};

/// Says whether the name is that of an access point; there are none.
const ACCESS_POINT: HeaderName = HeaderName::from_static("x-amz-access-point-alias");
/// Largest `CreateBucketConfiguration`, in bytes.
const MAX_CONFIGURATION_BYTES: usize = 64 * 1024;
/// Most elements of it: 50 tags are what Amazon allows, of three elements each.
const MAX_CONFIGURATION_ELEMENTS: usize = 200;
/// Largest `max-buckets`.
const MAX_BUCKETS: usize = 10_000;
/// Who owns what others put into a bucket: with one owner, all mean the same.
const OWNERSHIPS: [&str; 3] = [
    "BucketOwnerEnforced",
    "BucketOwnerPreferred",
    "ObjectWriter",
];
/// Whose everything is; there is one owner.
pub(super) const OWNER: &str = "pillarbox";

/// The bucket of a request, which must exist.
///
/// # Errors
/// `NoSuchBucket`.
pub(super) async fn existing(call: &Call<'_>, name: &str) -> Result<Bucket, ApiError> {
    let Ok(bucket) = Bucket::parse(name) else {
        return Err(no_such_bucket(name));
    };
    match find(call, &bucket).await? {
        Some(_) => Ok(bucket),
        None => Err(no_such_bucket(name)),
    }
}

fn no_such_bucket(name: &str) -> ApiError {
    let message = "The specified bucket does not exist";
    ApiError::new(ErrorCode::NoSuchBucket, message).with("BucketName", name)
}

async fn find(call: &Call<'_>, bucket: &Bucket) -> Result<Option<BucketConfig>, ApiError> {
    let key = CatalogKey::Bucket(bucket.clone());
    match call.app.store.find(&key).await? {
        Some(CatalogEntry::Bucket(config)) => Ok(Some(config)),
        _ => Ok(None),
    }
}

/// Whether anybody may post a form without a policy.
///
/// # Errors
/// What the store says.
pub(super) async fn is_open_to_forms(call: &Call<'_>, bucket: &Bucket) -> Result<bool, ApiError> {
    let configured = call.app.options.bucket_options(bucket.as_str());
    let stored = find(call, bucket).await?;
    Ok(configured.is_some_and(|bucket| bucket.public_write)
        || stored.is_some_and(|bucket| bucket.public_write))
}

/// A page of the buckets that the key reaches, by name; all of them when no `max-buckets` is given, as Amazon does.
///
/// # Errors
/// `InvalidArgument` for parameters that are not of their kind.
pub(super) async fn list(call: &Call<'_>, access: &Access<'_>) -> Result<Reply, ApiError> {
    let prefix = call.params.query("prefix").unwrap_or_default();
    let given = |name| call.params.query(name).filter(|text| !text.is_empty());
    let most = max_buckets(given("max-buckets"))?;
    let after = given("continuation-token");
    let after = after.map(parse_token).transpose()?.unwrap_or_default();
    let asked = call.params.query("bucket-region");
    // Who asks for all of them, as clients always did, is answered as they always were.
    let asks = [
        "prefix",
        "max-buckets",
        "continuation-token",
        "bucket-region",
    ];
    let tells_region = asks.iter().any(|name| call.params.query(name).is_some());
    let is_here = asked.is_none_or(|asked| asked == region(call));
    let app = Arc::clone(call.app);
    let reading = async move { app.store.list(CatalogKind::Bucket).await };
    let (entries, _turn) = call.app.lists.keys.take(reading).await?;
    let entries = entries?;
    let found = entries.iter().filter_map(|entry| match entry {
        CatalogEntry::Bucket(bucket) => Some(bucket),
        _ => None,
    });
    let wanted = |bucket: &&BucketConfig| {
        let name = bucket.name.as_str();
        let reaches = access.check(Action::Read, Target::In(name)).is_ok();
        is_here && reaches && name.starts_with(prefix) && name > after.as_str()
    };
    let mut found = found.filter(wanted).peekable();
    let mut document = Document::new("ListAllMyBucketsResult");
    owner(&mut document, "Owner");
    let mut last = None;
    document.within("Buckets", |buckets| {
        for bucket in found.by_ref().take(most) {
            last = Some(bucket.name.as_str());
            buckets.within("Bucket", |document| {
                document.element("Name", bucket.name.as_str());
                let created = bucket.created_at.whole_second();
                document.element("CreationDate", &created.rfc3339());
                if tells_region {
                    document.element("BucketRegion", region(call));
                }
            });
        }
    });
    if let Some(last) = last.filter(|_| found.peek().is_some()) {
        document.element("ContinuationToken", &token(last));
    }
    if !prefix.is_empty() {
        document.element("Prefix", prefix);
    }
    Ok(Reply::Raw(document.answer()))
}

fn max_buckets(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else {
        return Ok(usize::MAX);
    };
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MAX_BUCKETS).contains(number))
        .ok_or_else(|| {
            let message =
                format!("Argument max-buckets must be an integer between 1 and {MAX_BUCKETS}");
            ApiError::new(ErrorCode::InvalidArgument, message).with("ArgumentName", "max-buckets")
        })
}

/// Writes the one owner.
pub(super) fn owner(document: &mut Document, element: &str) {
    document.within(element, |owner| {
        owner.element("ID", OWNER);
        owner.element("DisplayName", OWNER);
    });
}

/// Makes a bucket. One that is there already is answered as Amazon does: 200 in its first region, a conflict elsewhere.
pub(super) async fn create(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    name: &str,
) -> Result<Reply, ApiError> {
    let prefix = call.app.path_prefix();
    let reserved = prefix.split('/').nth(1) == Some(name);
    let is_free = |bucket: &Bucket| !reserved && !bucket.is_reserved();
    let bucket = Bucket::parse(name).ok().filter(is_free);
    let bucket = bucket.ok_or_else(|| {
        let message = "The specified bucket is not valid.";
        ApiError::new(ErrorCode::InvalidBucketName, message).with("BucketName", name)
    })?;
    check_ownership(&access)?;
    let headers = put_headers(&access)?;
    let asked = headers.attributes.acl;
    if asked == CannedAcl::PublicReadWrite {
        return Err(not_implemented("x-amz-acl"));
    }
    if acl::is_public(asked) {
        access.check(Action::Read, Target::Whole(name))?;
    }
    let (app, now) = (call.app, call.now);
    let payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    let body = payload
        .collected(MAX_CONFIGURATION_BYTES, headers.md5)
        .await?;
    check_configuration(&body, app.options.region.as_deref())?;
    if find(call, &bucket).await?.is_some() {
        return already_there(call, &bucket, asked).await;
    }
    let config = BucketConfig::new(bucket.clone(), now);
    app.store.insert(CatalogEntry::Bucket(config)).await?;
    if acl::is_public(asked) {
        acl::set_bucket(call, &bucket, asked).await?;
    }
    Ok(made(&bucket))
}

fn check_ownership(access: &Access<'_>) -> Result<(), ApiError> {
    const OWNERSHIP: &str = "x-amz-object-ownership";
    match access.header(OWNERSHIP) {
        Some(other) if !OWNERSHIPS.contains(&other) => {
            let message = format!("Invalid {OWNERSHIP} header: {other}");
            Err(ApiError::new(ErrorCode::InvalidArgument, message)
                .with("ArgumentName", OWNERSHIP)
                .with("ArgumentValue", other))
        }
        _ => Ok(()),
    }
}

/// In the default region Amazon makes a bucket again that is there, and its access control list with it: so does the repetition of a
/// request of which only the first half was done.
async fn already_there(
    call: &Call<'_>,
    bucket: &Bucket,
    asked: CannedAcl,
) -> Result<Reply, ApiError> {
    match call.app.options.region.as_deref() {
        None | Some(DEFAULT_REGION) => {
            if acl::may_be_listed(call, bucket).await? != acl::is_public(asked) {
                acl::set_bucket(call, bucket, asked).await?;
            }
            Ok(made(bucket))
        }
        Some(_) => {
            let message = "Your previous request to create the named bucket succeeded and you already own it.";
            let error = ApiError::new(ErrorCode::BucketAlreadyOwnedByYou, message);
            Err(error.with("BucketName", bucket.as_str()))
        }
    }
}

fn made(bucket: &Bucket) -> Reply {
    let mut response = Response::new(empty());
    if let Ok(place) = HeaderValue::from_str(&format!("/{bucket}")) {
        response.headers_mut().insert(LOCATION, place);
    }
    Reply::Raw(response)
}

/// A bucket is made where we are; whoever wants it elsewhere is told so. Amazon's first region has no name here, as in [`location`].
fn check_configuration(body: &[u8], region: Option<&str>) -> Result<(), ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let wanted = xml::read(
        body,
        "CreateBucketConfiguration",
        MAX_CONFIGURATION_ELEMENTS,
    )?;
    let mut others = wanted.branch()?.iter();
    if let Some(other) = others.find(|child| child.name != "LocationConstraint") {
        return Err(xml::unknown_element(&other.name));
    }
    let constraint = wanted.child("LocationConstraint").map(str::trim);
    match (constraint, region) {
        (Some(wanted), Some(region)) if wanted.is_empty() || region == DEFAULT_REGION => {
            let message = "The specified location-constraint is not valid";
            let error = ApiError::new(ErrorCode::InvalidLocationConstraint, message);
            Err(error.with("LocationConstraint", wanted))
        }
        (Some(wanted), Some(region)) if wanted != region => {
            let message = format!(
                "The {wanted} location constraint is incompatible for the region specific endpoint this request was sent to."
            );
            let code = ErrorCode::IllegalLocationConstraintException;
            Err(ApiError::new(code, message))
        }
        _ => Ok(()),
    }
}

/// Says that a bucket exists.
pub(super) fn head(call: &Call<'_>) -> Reply {
    let mut response = Response::new(empty());
    let headers = response.headers_mut();
    put_region(call, headers);
    headers.insert(ACCESS_POINT, HeaderValue::from_static("false"));
    let kind = HeaderValue::from_static("application/xml");
    headers.insert(CONTENT_TYPE, kind);
    Reply::Raw(response)
}

/// Says where the bucket is, as an answer about it and its lists do.
pub(super) fn put_region(call: &Call<'_>, headers: &mut HeaderMap) {
    if let Ok(region) = HeaderValue::from_str(region(call)) {
        headers.insert(BUCKET_REGION, region);
    }
}

/// Where a bucket is; Amazon's first region has no name here.
pub(super) fn location(call: &Call<'_>) -> Reply {
    let mut document = Document::new("LocationConstraint");
    if region(call) != DEFAULT_REGION {
        document.text(region(call));
    }
    Reply::Raw(document.answer())
}

/// The region of all buckets.
pub(super) fn region<'a>(call: &'a Call<'_>) -> &'a str {
    call.app.options.region.as_deref().unwrap_or(DEFAULT_REGION)
}

/// Removes a bucket that is empty.
pub(super) async fn remove(call: &Call<'_>, bucket: Bucket) -> Result<Reply, ApiError> {
    let options = &call.app.options;
    if bucket == options.bucket || options.bucket_options(bucket.as_str()).is_some() {
        let message = "The configuration names this bucket, so it stays.";
        return Err(ApiError::new(ErrorCode::AccessDenied, message));
    }
    match call.app.store.remove_bucket(&bucket, call.now).await {
        Ok(true) => {}
        // Somebody else was faster.
        Ok(false) => return Err(no_such_bucket(bucket.as_str())),
        Err(StoreError::InUse) => {
            let message = "The bucket you tried to delete is not empty";
            let error = ApiError::new(ErrorCode::BucketNotEmpty, message);
            return Err(error.with("BucketName", bucket.as_str()));
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Reply::Raw(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_may_be_wanted_in_our_region_by_name_unless_it_is_amazons_first() {
        let (invalid, illegal) = (
            Some(ErrorCode::InvalidLocationConstraint),
            Some(ErrorCode::IllegalLocationConstraintException),
        );
        for (wanted, region, refused) in [
            ("", Some("us-east-1"), invalid),
            ("us-east-1", Some("us-east-1"), invalid),
            ("eu-west-3", Some("us-east-1"), invalid),
            ("eu-west-3", Some("eu-west-3"), None),
            ("", Some("eu-west-3"), invalid),
            ("eu-central-1", Some("eu-west-3"), illegal),
            ("us-east-1", Some("eu-west-3"), illegal),
            ("us-east-1", None, None),
            ("", None, None),
        ] {
            let body = format!(
                "<CreateBucketConfiguration><LocationConstraint>{wanted}</LocationConstraint></CreateBucketConfiguration>"
            );
            let checked = check_configuration(body.as_bytes(), region);
            let error = checked.err();
            if refused == illegal {
                let message = error.as_ref().map_or("", |error| error.message.as_str());
                let expected = format!("The {wanted} location constraint is incompatible");
                assert!(message.starts_with(&expected), "{message}");
            }
            let code = error.map(|error| error.code);
            assert_eq!(code, refused, "{wanted} in {region:?}");
        }
    }
}
