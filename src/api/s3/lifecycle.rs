//! Lifecycle rules of a bucket: GetBucketLifecycleConfiguration, PutBucketLifecycleConfiguration, DeleteBucketLifecycle.
//!
//! Owns: their documents, in the old form (`Prefix` of its own) and the new one (`Filter`); which parts of a rule are true here; and the
//! headers that say when an object or an unfinished upload goes.
//! Never does: remove anything; the store's sweep does, once a day, after a start and after rules were set.
//!
//! Invariants: what a rule says and we would not do is `NotImplemented`, by its name. A rule is given back as it was set.
//!
//! Sources: Amazon S3 API Reference, the operations of these names; Amazon S3 User Guide, "Lifecycle configuration elements".

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName};
use percent_encoding::utf8_percent_encode;

use super::super::call::{Call, Reply, new_id};
use super::super::conditional::http_date;
use super::super::disposition::ENCODED;
use super::super::error::{ApiError, ErrorCode};
use super::super::post_refusal::policy_error;
use super::super::stored_headers;
use super::access::Access;
use super::settings::{self, done};
use super::xml::{self, Document, Element};
use crate::model::{
    Bucket, Expiration, LifecycleFilter, LifecycleRule, NewUpload, ObjectMeta, SettingKind,
    SettingValue, Timestamp,
};
use crate::policy::checked_tags;

/// Largest `LifecycleConfiguration`, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Most elements of one, of all rules together.
const MAX_ELEMENTS: usize = 20_000;
const EXPIRATION: HeaderName = HeaderName::from_static("x-amz-expiration");
const ABORT_DATE: HeaderName = HeaderName::from_static("x-amz-abort-date");
const ABORT_RULE: HeaderName = HeaderName::from_static("x-amz-abort-rule-id");
/// One day, in seconds.
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Actions of a rule that do not exist here.
const NOT_HERE: [&str; 3] = [
    "Transition",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransition",
];

/// The rules of a bucket.
///
/// # Errors
/// `NoSuchLifecycleConfiguration`; what the store says.
pub(super) async fn get(call: &Call<'_>, bucket: &Bucket) -> Result<Reply, ApiError> {
    let rules = settings::lifecycle(call.app, bucket).await?;
    if rules.is_empty() {
        let message = "The lifecycle configuration does not exist";
        let error = ApiError::new(ErrorCode::NoSuchLifecycleConfiguration, message);
        return Err(error.with("BucketName", bucket.as_str()));
    }
    let mut document = Document::new("LifecycleConfiguration");
    for rule in rules.iter() {
        document.within("Rule", |inner| write(inner, rule));
    }
    Ok(Reply::Raw(document.answer()))
}

/// Sets the rules of a bucket.
///
/// # Errors
/// `MalformedXML`, `InvalidArgument`, `InvalidRequest` for what is no rule, `NotImplemented` for what is true at Amazon only; what the store
/// says.
pub(super) async fn put(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: &Bucket,
) -> Result<Reply, ApiError> {
    let body = settings::body(call, &mut access, MAX_BYTES).await?;
    let document = xml::read(&body, "LifecycleConfiguration", MAX_ELEMENTS)?;
    if document.children.is_empty() || document.children.len() > LifecycleRule::MAX_RULES {
        return Err(xml::malformed());
    }
    let mut rules = Vec::with_capacity(document.children.len());
    for element in &document.children {
        let mut rule = read(element)?;
        if rule.id.is_empty() {
            rule.id = new_id(call.now)?.to_string();
        }
        rules.push(rule);
    }
    let mut ids = rules.iter().map(|rule| &rule.id).collect::<Vec<_>>();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(argument(
            "Rule ID must be unique. Found same ID for more than one rule",
        ));
    }
    settings::set(call, bucket, SettingValue::Lifecycle(rules.into())).await?;
    Ok(done())
}

/// Removes the rules of a bucket.
///
/// # Errors
/// What the store says.
pub(super) async fn delete(call: &Call<'_>, bucket: &Bucket) -> Result<Reply, ApiError> {
    settings::remove(call, bucket, SettingKind::Lifecycle).await
}

/// Says when an object goes, and by which rule, if one of these lets it go.
pub(super) fn put_expiration(headers: &mut HeaderMap, rules: &[LifecycleRule], meta: &ObjectMeta) {
    if let Some((rule, end)) = LifecycleRule::first(rules, meta) {
        let id = utf8_percent_encode(&rule.id, ENCODED);
        let value = format!("expiry-date=\"{}\", rule-id=\"{id}\"", http_date(end));
        stored_headers::put(headers, EXPIRATION, &value);
    }
}

/// Says when an upload that is still not finished goes, and by which rule, if one of these lets it go before every upload goes. A name that a header cannot hold is
/// percent-encoded.
pub(super) fn put_abort(headers: &mut HeaderMap, rules: &[LifecycleRule], upload: &NewUpload) {
    let first = LifecycleRule::first_to_abort(rules, upload);
    if let Some((rule, end)) = first.filter(|(_, end)| *end <= upload.abandoned_at) {
        let is_plain = rule.id.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let id = match is_plain {
            true => rule.id.clone(),
            false => utf8_percent_encode(&rule.id, ENCODED).to_string(),
        };
        stored_headers::put(headers, ABORT_DATE, &http_date(end).to_string());
        stored_headers::put(headers, ABORT_RULE, &id);
    }
}

/// Writes what is in a `Rule`.
pub(super) fn write(document: &mut Document, rule: &LifecycleRule) {
    document.element("ID", &rule.id);
    match rule.filter.is_old_form {
        true => document.element("Prefix", rule.filter.prefix()),
        false => document.within("Filter", |filter| write_filter(filter, &rule.filter)),
    }
    let status = if rule.enabled { "Enabled" } else { "Disabled" };
    document.element("Status", status);
    if let Some(expiration) = rule.expiration {
        document.within("Expiration", |inner| match expiration {
            Expiration::Days(days) => inner.element("Days", &days.to_string()),
            Expiration::Date(date) => inner.element("Date", &date.rfc3339()),
        });
    }
    if let Some(days) = rule.abort_days {
        document.within("AbortIncompleteMultipartUpload", |inner| {
            inner.element("DaysAfterInitiation", &days.to_string());
        });
    }
}

fn write_filter(document: &mut Document, filter: &LifecycleFilter) {
    let sizes = [filter.larger_than, filter.smaller_than];
    let members =
        usize::from(filter.prefix.is_some()) + filter.tags.len() + sizes.iter().flatten().count();
    match members {
        0 | 1 => write_members(document, filter),
        _ => document.within("And", |and| write_members(and, filter)),
    }
}

fn write_members(document: &mut Document, filter: &LifecycleFilter) {
    if let Some(prefix) = &filter.prefix {
        document.element("Prefix", prefix);
    }
    for (key, value) in filter.tags.iter() {
        document.within("Tag", |tag| {
            tag.element("Key", key);
            tag.element("Value", value);
        });
    }
    for (name, size) in [
        ("ObjectSizeGreaterThan", filter.larger_than),
        ("ObjectSizeLessThan", filter.smaller_than),
    ] {
        if let Some(size) = size {
            document.element(name, &size.to_string());
        }
    }
}

/// Reads a `Rule`.
///
/// # Errors
/// As [`put`].
pub(super) fn read(element: &Element) -> Result<LifecycleRule, ApiError> {
    if element.name != "Rule" {
        return Err(xml::malformed());
    }
    let (mut id, mut enabled, mut filter) = (String::new(), None, None);
    let (mut expiration, mut abort_days) = (None, None);
    for child in &element.children {
        let again = match child.name.as_str() {
            "ID" => {
                id = read_id(&child.text)?;
                false
            }
            "Status" => enabled.replace(read_status(&child.text)?).is_some(),
            "Prefix" => filter.replace(old_form(&child.text)).is_some(),
            "Filter" => filter.replace(read_filter(child)?).is_some(),
            "Expiration" => expiration.replace(read_expiration(child)?).is_some(),
            "AbortIncompleteMultipartUpload" => abort_days.replace(read_abort(child)?).is_some(),
            name if NOT_HERE.contains(&name) => return Err(not_here(name)),
            _ => true,
        };
        if again {
            return Err(xml::malformed());
        }
    }
    let rule = LifecycleRule {
        id,
        enabled: enabled.ok_or_else(xml::malformed)?,
        filter: filter.ok_or_else(xml::malformed)?,
        expiration,
        abort_days,
    };
    check(rule)
}

/// What the parts of a rule must be together.
fn check(rule: LifecycleRule) -> Result<LifecycleRule, ApiError> {
    let filter = &rule.filter;
    let is_of_uploads =
        filter.tags.is_empty() && filter.larger_than.or(filter.smaller_than).is_none();
    if rule.expiration.is_none() && rule.abort_days.is_none() {
        return Err(request(
            "At least one action needs to be specified in a rule",
        ));
    }
    if rule.abort_days.is_some() && !is_of_uploads {
        return Err(request(
            "AbortIncompleteMultipartUpload cannot be specified with Tags or object sizes",
        ));
    }
    match (filter.larger_than, filter.smaller_than) {
        (Some(least), Some(most)) if most <= least => Err(request(
            "ObjectSizeLessThan must be larger than ObjectSizeGreaterThan",
        )),
        _ => Ok(rule),
    }
}

fn read_id(text: &str) -> Result<String, ApiError> {
    match text.chars().count() <= LifecycleRule::MAX_ID_CHARS {
        true => Ok(text.to_owned()),
        false => Err(argument("ID length should not exceed allowed limit of 255")),
    }
}

fn read_status(text: &str) -> Result<bool, ApiError> {
    match text.trim() {
        "Enabled" => Ok(true),
        "Disabled" => Ok(false),
        _ => Err(xml::malformed()),
    }
}

fn old_form(prefix: &str) -> LifecycleFilter {
    LifecycleFilter {
        is_old_form: true,
        prefix: Some(prefix.to_owned()),
        ..LifecycleFilter::default()
    }
}

/// One member, or several within `And`, or none at all.
fn read_filter(element: &Element) -> Result<LifecycleFilter, ApiError> {
    match element.children.as_slice() {
        [and] if and.name == "And" => read_members(&and.children),
        members if members.len() <= 1 => read_members(members),
        _ => Err(xml::malformed()),
    }
}

fn read_members(members: &[Element]) -> Result<LifecycleFilter, ApiError> {
    let mut filter = LifecycleFilter::default();
    let mut tags = Vec::new();
    for member in members {
        let again = match member.name.as_str() {
            "Prefix" => filter.prefix.replace(member.text.clone()).is_some(),
            "ObjectSizeGreaterThan" => filter.larger_than.replace(number(member)?).is_some(),
            "ObjectSizeLessThan" => filter.smaller_than.replace(number(member)?).is_some(),
            "Tag" => {
                let tag = member.child("Key").zip(member.child("Value"));
                let (key, value) = tag.ok_or_else(xml::malformed)?;
                tags.push((key.to_owned(), value.to_owned()));
                false
            }
            _ => true,
        };
        if again {
            return Err(xml::malformed());
        }
    }
    let keys = tags.iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
    if keys.len() < tags.len() {
        return Err(request("Duplicate Tag Keys are not allowed."));
    }
    filter.tags = checked_tags(tags).map_err(policy_error)?;
    Ok(filter)
}

fn read_expiration(element: &Element) -> Result<Expiration, ApiError> {
    match element.children.as_slice() {
        [marker] if marker.name == "ExpiredObjectDeleteMarker" => {
            Err(not_here("ExpiredObjectDeleteMarker"))
        }
        [days] if days.name == "Days" => {
            let rule = "'Days' for Expiration action must be a positive integer";
            Ok(Expiration::Days(positive(days, rule)?))
        }
        [date] if date.name == "Date" => {
            let moment = Timestamp::parse(date.text.trim()).ok_or_else(xml::malformed)?;
            let seconds = moment.millis().rem_euclid(DAY_SECONDS * 1000);
            match seconds {
                0 => Ok(Expiration::Date(moment)),
                _ => Err(argument("'Date' must be at midnight GMT")
                    .with("ArgumentName", "Date")
                    .with("ArgumentValue", date.text.trim())),
            }
        }
        _ => Err(xml::malformed()),
    }
}

fn read_abort(element: &Element) -> Result<u32, ApiError> {
    match element.children.as_slice() {
        [days] if days.name == "DaysAfterInitiation" => positive(
            days,
            "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer",
        ),
        _ => Err(xml::malformed()),
    }
}

fn number(element: &Element) -> Result<u64, ApiError> {
    element.text.trim().parse().map_err(|_| xml::malformed())
}

/// A whole number of days from 1 on; `rule` says so.
fn positive(element: &Element, rule: &str) -> Result<u32, ApiError> {
    let text = element.text.trim();
    let number = text.parse::<i64>().map_err(|_| xml::malformed())?;
    let days = u32::try_from(number).ok().filter(|days| *days > 0);
    days.filter(|days| *days <= i32::MAX.unsigned_abs())
        .ok_or_else(|| argument(rule))
}

fn not_here(action: &str) -> ApiError {
    let message = format!("The lifecycle action {action} is not implemented here.");
    ApiError::new(ErrorCode::NotImplemented, message)
}

fn argument(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message)
}

fn request(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}
