//! The headers of a request that stores an object: the rules are those of a form's fields.
//!
//! Owns: [`PutHeaders`], what headers say of the object and of its bytes.
//! Never does: judge who may store it, or hash.
//!
//! Invariants: whatever a form must not ask for, a request must not either, with the same answer. `aws-chunked` says how bytes travel,
//! not what they are, and is never stored.
//!
//! Source: Amazon S3 API Reference, "PutObject".

use std::collections::BTreeSet;

use super::error::{PolicyError, PolicyErrorKind};
use super::fields;
use super::form::{PostForm, PostFormBuilder};
use super::tagging;
use crate::model::{Attributes, CannedAcl, HeaderSet, Md5, Tags};

/// How bytes travel in signed chunks or with a trailer.
const AWS_CHUNKED: &str = "aws-chunked";

/// What the headers of a request say of the object it stores.
#[derive(Clone, Debug, Default)]
pub struct PutHeaders {
    /// To be stored and given back.
    pub stored: HeaderSet,
    /// What else it is to have; the checksum in it is what the bytes must hash to.
    pub attributes: Attributes,
    /// The MD5 that the bytes must have.
    pub md5: Option<Md5>,
}

impl PutHeaders {
    /// Reads lower-case names and their values, each name once.
    ///
    /// # Errors
    /// As for a form's fields: `InvalidDigest`, `InvalidRequest` (checksums), `InvalidStorageClass`, `InvalidArgument`,
    /// `MetadataTooLarge`; `NotImplemented` for what we would have to pretend.
    pub fn read<'a>(headers: impl Iterator<Item = (&'a str, String)>) -> Result<Self, PolicyError> {
        Self::of_fields(headers).map_err(|error| match error.kind() {
            // The limits are those of a form; the words are not.
            PolicyErrorKind::FieldsTooLarge => fields::metadata_too_large(),
            _ => error,
        })
    }

    fn of_fields<'a>(
        headers: impl Iterator<Item = (&'a str, String)>,
    ) -> Result<Self, PolicyError> {
        let of_interest = |name: &str| is_of_object(name) || name == "content-encoding";
        let headers: Vec<_> = headers.filter(|(name, _)| of_interest(name)).collect();
        if headers.len() > PostForm::MAX_FIELDS {
            return Err(fields::metadata_too_large());
        }
        let mut fields = PostFormBuilder::default();
        let mut tags = Tags::default();
        for (name, value) in headers {
            match name {
                "content-encoding" => {
                    let value = without_chunked(&value);
                    if !value.is_empty() {
                        fields.push(name, value.as_bytes())?;
                    }
                }
                "x-amz-acl" => {
                    check_acl(&value)?;
                    fields.push("acl", value.as_bytes())?;
                }
                "x-amz-tagging" => tags = parse_tags(&value)?,
                // Of a form. Beside an object's bytes Amazon passes over both: the checksum itself says which it is.
                "x-amz-checksum-algorithm" | "x-amz-checksum-type" => {}
                _ if is_refused(name, &value) => return Err(not_implemented(name)),
                _ => fields.push(name, value.as_bytes())?,
            }
        }
        let form = fields.finish(None)?;
        fields::refuse_what_we_cannot_do(&form)?;
        Ok(Self {
            stored: fields::stored_headers(&form)?,
            attributes: Attributes {
                tags,
                ..fields::attributes(&form)?
            },
            md5: fields::content_md5(&form)?,
        })
    }
}

/// `key=value&key=value`, encoded as a form (Amazon S3 API Reference, "PutObject", `x-amz-tagging`).
fn parse_tags(text: &str) -> Result<Tags, PolicyError> {
    let pairs = form_urlencoded::parse(text.as_bytes());
    let pairs = pairs.map(|(key, value)| (key.into_owned(), value.into_owned()));
    let pairs: Vec<_> = pairs.collect();
    let keys: BTreeSet<_> = pairs.iter().map(|(key, _)| key).collect();
    // A comma is in no tag, so it is taken for a mistaken separator.
    let is_mistaken = keys.len() < pairs.len() || text.contains(',');
    if is_mistaken {
        let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.";
        return Err(PolicyError::argument("x-amz-tagging", text, message));
    }
    tagging::checked_tags(pairs)
}

fn without_chunked(codings: &str) -> String {
    let codings = codings.split(',').map(str::trim);
    let kept = codings.filter(|coding| !coding.eq_ignore_ascii_case(AWS_CHUNKED));
    kept.collect::<Vec<_>>().join(", ")
}

/// The owner always has everything, and everybody may read what is public; no list that says something else is taken. That everybody
/// may write is nothing that an object's list decides, at Amazon neither.
fn check_acl(name: &str) -> Result<(), PolicyError> {
    use CannedAcl as A;
    match A::parse(name) {
        Some(A::AwsExecRead | A::AuthenticatedRead) => Err(not_implemented("x-amz-acl")),
        Some(_) => Ok(()),
        None => {
            let message = "The canned ACL you provided is not valid.";
            Err(PolicyError::argument("x-amz-acl", name, message))
        }
    }
}

fn is_of_object(name: &str) -> bool {
    const PLAIN: [&str; 6] = [
        "cache-control",
        "content-disposition",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
    ];
    PLAIN.contains(&name) || name.starts_with("x-amz-")
}

fn is_refused(name: &str, value: &str) -> bool {
    match name {
        "x-amz-write-offset-bytes" => true,
        "x-amz-bucket-object-lock-enabled" => !value.eq_ignore_ascii_case("false"),
        _ => name.starts_with("x-amz-grant-"),
    }
}

fn not_implemented(header: &str) -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::NotImplemented,
        "A header you provided implies functionality that is not implemented",
    )
    .with("Header", header)
}
