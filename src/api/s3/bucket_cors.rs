//! Cross-origin rules of a bucket: GetBucketCors, PutBucketCors, DeleteBucketCors.
//!
//! Owns: their documents, and the rules for what a rule may say. They count at once for preflights and for every other answer
//! (`cors.rs`), in place of `[cors] origins`.
//! Never does: overrule the configuration. Where it gives a bucket rules, or says that it has none, these are shown, and can neither be
//! replaced nor removed here; rules that were set before count again when the configuration says nothing any more.
//!
//! Source: Amazon S3 API Reference, the operations of these names; Amazon S3 User Guide, "Elements of a CORS configuration".

use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::settings::{self, done};
use super::xml::{self, Document, Element};
use crate::model::{Bucket, CorsRule, SettingKind, SettingValue, SharedRules};

/// Largest `CORSConfiguration`, in bytes; Amazon's limit.
const MAX_BYTES: usize = 64 * 1024;
/// Most elements of one, of all rules together.
const MAX_ELEMENTS: usize = 10_000;

/// The rules of a bucket.
///
/// # Errors
/// `NoSuchCORSConfiguration`; what the store says.
pub(super) async fn get(call: &Call<'_>, bucket: &Bucket) -> Result<Reply, ApiError> {
    let rules = match configured(call, bucket) {
        Some(rules) => rules.clone(),
        None => match settings::find(call.app, bucket, SettingKind::Cors).await? {
            Some(SettingValue::Cors(rules)) => rules,
            _ => SharedRules::default(),
        },
    };
    if rules.is_empty() {
        let message = "The CORS configuration does not exist";
        let error = ApiError::new(ErrorCode::NoSuchCORSConfiguration, message);
        return Err(error.with("BucketName", bucket.as_str()));
    }
    let mut document = Document::new("CORSConfiguration");
    for rule in rules.iter() {
        document.within("CORSRule", |inner| write(inner, rule));
    }
    Ok(Reply::Raw(document.answer()))
}

/// Sets the rules of a bucket.
///
/// # Errors
/// `MalformedXML`, `InvalidRequest`, `InvalidArgument` for what is no rule; `AccessDenied` where the configuration has rules; what the store
/// says.
pub(super) async fn put(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: &Bucket,
) -> Result<Reply, ApiError> {
    let body = settings::body(call, &mut access, MAX_BYTES).await?;
    refuse_configured(call, bucket)?;
    let document = xml::read(&body, "CORSConfiguration", MAX_ELEMENTS)?;
    if document.children.is_empty() || document.children.len() > CorsRule::MAX_RULES {
        return Err(xml::malformed());
    }
    let rules = document.children.iter().map(read);
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    settings::set(call, bucket, SettingValue::Cors(rules.into())).await?;
    Ok(done())
}

/// Removes the rules of a bucket.
///
/// # Errors
/// `AccessDenied` where the configuration has rules; what the store says.
pub(super) async fn delete(call: &Call<'_>, bucket: &Bucket) -> Result<Reply, ApiError> {
    refuse_configured(call, bucket)?;
    settings::remove(call, bucket, SettingKind::Cors).await
}

fn configured<'a>(call: &'a Call<'_>, bucket: &Bucket) -> Option<&'a SharedRules<CorsRule>> {
    let options = call.app.options.bucket_options(bucket.as_str())?;
    options.cors.as_ref()
}

fn refuse_configured(call: &Call<'_>, bucket: &Bucket) -> Result<(), ApiError> {
    match configured(call, bucket) {
        None => Ok(()),
        Some(_) => {
            let message =
                "The configuration gives this bucket its cross-origin rules, so they stay.";
            Err(ApiError::new(ErrorCode::AccessDenied, message))
        }
    }
}

/// Writes what is in a `CORSRule`.
pub(super) fn write(document: &mut Document, rule: &CorsRule) {
    if !rule.id.is_empty() {
        document.element("ID", &rule.id);
    }
    for (name, values) in [
        ("AllowedOrigin", &rule.origins),
        ("AllowedMethod", &rule.methods),
        ("AllowedHeader", &rule.headers),
        ("ExposeHeader", &rule.expose),
    ] {
        values
            .iter()
            .for_each(|value| document.element(name, value));
    }
    if let Some(seconds) = rule.max_age {
        document.element("MaxAgeSeconds", &seconds.to_string());
    }
}

/// Reads a `CORSRule`.
///
/// # Errors
/// As [`put`].
pub(super) fn read(element: &Element) -> Result<CorsRule, ApiError> {
    if element.name != "CORSRule" {
        return Err(xml::malformed());
    }
    let mut rule = CorsRule {
        id: String::new(),
        origins: Vec::new(),
        methods: Vec::new(),
        headers: Vec::new(),
        expose: Vec::new(),
        max_age: None,
    };
    for child in &element.children {
        let text = child.text.trim();
        match child.name.as_str() {
            "ID" => rule.id = id(&child.text)?,
            "AllowedOrigin" => rule.origins.push(pattern("AllowedOrigin", text)?),
            "AllowedMethod" => rule.methods.push(method(text)?),
            "AllowedHeader" => rule.headers.push(pattern("AllowedHeader", text)?),
            "ExposeHeader" => rule.expose.push(exposed(text)?),
            "MaxAgeSeconds" => rule.max_age = Some(text.parse().map_err(|_| xml::malformed())?),
            _ => return Err(xml::malformed()),
        }
    }
    match rule.origins.is_empty() || rule.methods.is_empty() {
        true => Err(xml::malformed()),
        false => Ok(rule),
    }
}

fn id(text: &str) -> Result<String, ApiError> {
    if text.chars().count() > CorsRule::MAX_ID_CHARS {
        let message = format!(
            "The ID of a rule must have at most {} characters.",
            CorsRule::MAX_ID_CHARS
        );
        return Err(ApiError::new(ErrorCode::InvalidArgument, message));
    }
    Ok(text.to_owned())
}

fn pattern(name: &str, text: &str) -> Result<String, ApiError> {
    if text.matches('*').count() > 1 {
        let message = format!("{name} \"{text}\" can not have more than one wildcard.");
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    if !CorsRule::is_pattern(text) {
        let message = format!(
            "{name} must be 1 to {} visible characters.",
            CorsRule::MAX_PATTERN_BYTES
        );
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<String, ApiError> {
    if CorsRule::METHODS.contains(&text) {
        return Ok(text.to_owned());
    }
    let message =
        format!("Found unsupported HTTP method in CORS config. Unsupported method is {text}");
    Err(ApiError::new(ErrorCode::InvalidRequest, message))
}

fn exposed(text: &str) -> Result<String, ApiError> {
    if text.contains('*') {
        let message = format!(
            "ExposeHeader \"{text}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        );
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    match text.parse::<http::HeaderName>() {
        Ok(_) if text.len() <= CorsRule::MAX_PATTERN_BYTES => Ok(text.to_owned()),
        _ => {
            let message = format!("ExposeHeader \"{text}\" is no name of a header.");
            Err(ApiError::new(ErrorCode::InvalidRequest, message))
        }
    }
}
