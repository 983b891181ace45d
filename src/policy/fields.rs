//! The fields that act: their kinds, and what is refused although it was signed.
//!
//! Owns: key, stored headers and attributes (acl, tags, checksum), Content-MD5, success action, chunk fields; each parsed from a form
//! that was already allowed.
//! Never does: judge whether a field was allowed.
//! Invariants: nothing here that may reach a header holds a control character. A field that asks for what we would have to pretend
//! (encryption with the client's or a managed key, object lock) is refused with `NotImplemented`.
//!
//! Source: Amazon S3 API Reference, "POST Object", form fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checksum;
use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;
use super::tagging::parse_tagging;
use super::uploader::uploader_fields;
use crate::model::{Attributes, CannedAcl, HeaderSet, Md5, ObjectKey};

/// Fields that are stored and given back with the object, besides `x-amz-meta-*`.
const STORED_FIELDS: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];

const ENCRYPTION: &str = "x-amz-server-side-encryption";
/// Values of [`ENCRYPTION`] that Amazon knows and that need a service for keys.
const MANAGED_KEYS: [&str; 3] = ["aws:kms", "aws:kms:dsse", "aws:fsx"];

const STORAGE_CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];

/// How the form wants success to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SuccessAction {
    /// 200 with an empty body.
    Status200,
    /// 201 with a `PostResponse`.
    Status201,
    /// 204; also for any other or no wish.
    #[default]
    Status204,
    /// 303 to this absolute http or https URL, which holds neither controls nor blanks. Bucket, key and etag are to be appended.
    Redirect(String),
}

impl SuccessAction {
    pub(super) fn of(form: &PostForm) -> Self {
        let redirect = form
            .get("success_action_redirect")
            .or_else(|| form.get("redirect"));
        if let Some(url) = redirect.filter(|url| is_absolute_http_url(url)) {
            return Self::Redirect(url.to_owned());
        }
        match form.get("success_action_status") {
            Some("200") => Self::Status200,
            Some("201") => Self::Status201,
            _ => Self::Status204,
        }
    }
}

/// The fields from which chunks are told apart, as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChunkFields {
    /// `name`: the file's name on the uploader's side.
    pub name: Option<String>,
    /// `filename`: a placeholder that carries no data today.
    pub filename: Option<String>,
    /// `chunk`: the index from 0.
    pub chunk: Option<String>,
    /// `chunks`: how many there are.
    pub chunks: Option<String>,
    /// What other uploaders add: lower-case name and value, in the order of arrival.
    pub others: Vec<(String, String)>,
}

impl ChunkFields {
    /// Those of a form, whether it is granted or not.
    pub fn of(form: &PostForm) -> Self {
        let field = |name| form.get(name).map(str::to_owned);
        Self {
            name: field("name"),
            filename: field("filename"),
            chunk: field("chunk"),
            chunks: field("chunks"),
            others: uploader_fields(form),
        }
    }

    /// One of [`ChunkFields::others`] by its lower-case name.
    pub fn other(&self, name: &str) -> Option<&str> {
        let found = self.others.iter().find(|(held, _)| held == name);
        found.map(|(_, value)| value.as_str())
    }
}

pub(super) fn object_key(form: &PostForm) -> Result<ObjectKey, PolicyError> {
    let key = form.get("key").unwrap_or_default();
    ObjectKey::parse(key).map_err(|_| {
        PolicyError::new(PolicyErrorKind::KeyTooLong, "Your key is too long")
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", ObjectKey::MAX_BYTES.to_string())
    })
}

/// What is stored with the object besides its headers.
pub(super) fn attributes(form: &PostForm) -> Result<Attributes, PolicyError> {
    Ok(Attributes {
        acl: acl(form)?,
        tags: form
            .get("tagging")
            .map(parse_tagging)
            .transpose()?
            .unwrap_or_default(),
        checksum: checksum::claimed_checksum(form)?,
    })
}

fn acl(form: &PostForm) -> Result<CannedAcl, PolicyError> {
    match form.get("acl") {
        None => Ok(CannedAcl::default()),
        Some(name) => CannedAcl::parse(name).ok_or_else(|| {
            PolicyError::argument("acl", name, "The canned ACL you provided is not valid.")
        }),
    }
}

pub(super) fn content_md5(form: &PostForm) -> Result<Option<Md5>, PolicyError> {
    let Some(text) = form.get("content-md5") else {
        return Ok(None);
    };
    let bytes = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    match bytes {
        Some(bytes) => Ok(Some(Md5::from_bytes(bytes))),
        None => Err(PolicyError::new(
            PolicyErrorKind::InvalidDigest,
            "The Content-MD5 you specified was invalid.",
        )
        .with("Content-MD5", text)),
    }
}

pub(super) fn stored_headers(form: &PostForm) -> Result<HeaderSet, PolicyError> {
    let mut headers = HeaderSet::default();
    for (name, value) in form.iter() {
        let is_meta = name.starts_with("x-amz-meta-");
        match name {
            "x-amz-storage-class" if value == "STANDARD" => continue,
            "x-amz-storage-class" => check_storage_class(value)?,
            "x-amz-website-redirect-location" => check_website_redirect(value)?,
            _ if is_meta || STORED_FIELDS.contains(&name) => {}
            _ => continue,
        }
        if !is_header_name(name) || value.chars().any(|c| c.is_control() && c != '\t') {
            let message =
                "A stored header must not hold control characters, and its name must be a token.";
            return Err(PolicyError::argument(name, value, message));
        }
        if !headers.set(name, value) {
            return Err(metadata_too_large());
        }
    }
    Ok(headers)
}

pub(super) fn metadata_too_large() -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::MetadataTooLarge,
        "Your metadata headers exceed the maximum allowed metadata size",
    )
    .with("MaxSizeAllowed", HeaderSet::MAX_BYTES.to_string())
}

fn check_storage_class(class: &str) -> Result<(), PolicyError> {
    if STORAGE_CLASSES.contains(&class) {
        return Ok(());
    }
    Err(PolicyError::new(
        PolicyErrorKind::InvalidStorageClass,
        "The storage class you specified is not valid",
    )
    .with("StorageClassRequested", class))
}

fn check_website_redirect(target: &str) -> Result<(), PolicyError> {
    if target.starts_with('/') || target.starts_with("http://") || target.starts_with("https://") {
        return Ok(());
    }
    Err(PolicyError::new(
        PolicyErrorKind::InvalidRedirectLocation,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ))
}

/// Encryption with the client's or a managed key, and object lock: to accept the field and not do it would be a lie. Plain `AES256`
/// passes: it names what Amazon always does at rest, so forms carry it everywhere; here bytes lie on the operator's disk as that is,
/// and no answer claims that they are encrypted.
pub(super) fn refuse_what_we_cannot_do(form: &PostForm) -> Result<(), PolicyError> {
    let pretended = |(name, value): &(&str, &str)| match *name {
        ENCRYPTION => *value != "AES256",
        _ => {
            name.starts_with("x-amz-server-side-encryption-")
                || name.starts_with("x-amz-object-lock-")
        }
    };
    match form.iter().find(pretended) {
        None => Ok(()),
        Some((ENCRYPTION, value)) if !MANAGED_KEYS.contains(&value) => {
            let message = "The encryption method specified is not supported";
            Err(PolicyError::argument(ENCRYPTION, value, message))
        }
        Some((name, _)) => Err(PolicyError::new(
            PolicyErrorKind::NotImplemented,
            "A header you provided implies functionality that is not implemented",
        )
        .with("Header", name)),
    }
}

fn is_absolute_http_url(url: &str) -> bool {
    let scheme_end = url.find("://").map_or(0, |at| at + 3);
    let Some((scheme, rest)) = url.split_at_checked(scheme_end) else {
        return false;
    };
    let is_http = ["http://", "https://"]
        .iter()
        .any(|s| scheme.eq_ignore_ascii_case(s));
    let has_host = rest.chars().next().is_some_and(|c| !"/?#:@\\".contains(c));
    is_http && has_host && !url.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// A token of RFC 9110 section 5.6.2.
fn is_header_name(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
