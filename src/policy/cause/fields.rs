//! Clues to fields that are missing, late, or not of their kind.
//!
//! Owns: the tables for `InvalidArgument`, for a form that nobody signed, and for values that are refused.
//! Never does: look at the policy. Invariant: the first clue that applies is the one to act on first: what is missing may be missing
//! because nothing came, or because it came after the file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::date::has_shape;
use super::super::error::{PolicyError, PolicyErrorKind};
use super::{Clue, Facts, percent_decoded, uploaders, when};

pub(super) const ARGUMENT: &[Clue] = &[
    late_field,
    no_fields,
    only_uploaders_fields,
    missing_field,
    both_versions,
    empty_key,
    credential_of_a_url,
    credential,
    value_refused,
];

pub(super) const ANONYMOUS: &[Clue] = &[
    late_signature,
    only_uploaders_fields,
    policy_without_signature,
    neither,
];

pub(super) const VALUE: &[Clue] = &[
    hex_md5,
    hex_checksum,
    tags_without_xml,
    too_long,
    unsupported,
    any_value,
];

fn argument(error: &PolicyError) -> &str {
    error.extra("ArgumentName").unwrap_or_default()
}

fn is_missing(error: &PolicyError) -> bool {
    error.message().starts_with("Bucket POST must contain")
}

fn late(names: &[String]) -> String {
    let names: Vec<_> = names
        .iter()
        .take(10)
        .map(|name| format!("'{name}'"))
        .collect();
    format!(
        "The file comes before the fields {}, and whatever follows the file is ignored: send the file as the last part of the form.",
        names.join(", ")
    )
}

fn late_field(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let is_late = is_missing(error) && facts.is_late(argument(error));
    is_late.then(|| late(facts.around.after_file))
}

fn late_signature(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let members = ["policy", "signature", "x-amz-signature"];
    let is_late = members.iter().any(|name| facts.is_late(name));
    is_late.then(|| late(facts.around.after_file))
}

fn no_fields(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        facts.form.iter().next().is_none(),
        "No field came before the file: the file must be the last field, and Dropzone 6 takes its params only as a function.",
    )
}

fn only_uploaders_fields(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    uploaders::alone(facts.form).map(str::to_owned)
}

fn missing_field(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let name = argument(error);
    is_missing(error).then(|| match facts.around.read_to_end {
        true => format!(
            "The field '{name}' is missing: the form has no such part, before the file or after it."
        ),
        false => format!(
            "The field '{name}' is missing, or it comes after the file, where fields are ignored."
        ),
    })
}

fn both_versions(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        error
            .message()
            .contains("Signature Version 2 and 4 at once"),
        "The form mixes two signatures: keep AWSAccessKeyId and signature, or the x-amz- fields of Version 4, and leave the others out.",
    )
}

fn empty_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        argument(error) == "key",
        "The field 'key' is there and empty: what the page puts into it is not set when the form is sent.",
    )
}

fn credential_of_a_url(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let sent = facts.form.get("x-amz-credential")?;
    let slashes = percent_decoded(sent)?.matches('/').count();
    when(
        argument(error) == "x-amz-credential" && slashes > sent.matches('/').count(),
        "x-amz-credential is percent-encoded (%2F), as in a presigned URL; a form field takes it as it is: KEYID/20291231/us-east-1/s3/aws4_request.",
    )
}

fn credential(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let name = argument(error);
    let is_of_v4 = ["x-amz-credential", "x-amz-algorithm", "x-amz-date"].contains(&name);
    let parts = facts
        .form
        .get("x-amz-credential")
        .map_or(0, |text| text.split('/').count());
    let date = facts.form.get("x-amz-date").unwrap_or_default();
    is_of_v4.then(|| match (name, parts) {
        ("x-amz-date", _) if has_shape(date, "00000000T000000Z") => "x-amz-date is written as it should be and names no moment that exists: its day is none of its month, or its hour, minute or second is too large.".to_owned(),
        ("x-amz-date", _) => "x-amz-date is not written as 20291231T120000Z: no hyphens, no colons, no fraction, and in UTC.".to_owned(),
        ("x-amz-credential", 5..) => format!(
            "x-amz-credential does not fit this form: {} It must be KEYID/DAY/REGION/s3/aws4_request, with the day of x-amz-date.",
            error.message()
        ),
        ("x-amz-credential", _) => format!(
            "x-amz-credential has {parts} part(s) between slashes and needs 5: KEYID/20291231/us-east-1/s3/aws4_request."
        ),
        _ => "x-amz-algorithm must be AWS4-HMAC-SHA256; for Signature Version 2 leave every x-amz- field of the signature out.".to_owned(),
    })
}

fn value_refused(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let name = argument(error);
    let message = error.message();
    Some(format!(
        "The field '{name}' has a value that is refused: {message}"
    ))
}

fn policy_without_signature(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        facts.form.get("policy").is_some(),
        "The form has a policy and no signature; the signature fields are missing, or they come after the file, where fields are ignored.",
    )
}

fn neither(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    Some("The form has neither policy nor signature and this bucket is not open to everybody; the fields are missing, or they come after the file, where fields are ignored.".to_owned())
}

fn hex_md5(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let value = error
        .extra("Content-MD5")
        .or_else(|| facts.form.get("content-md5"))?;
    let is_hex = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    when(
        is_hex && error.message().contains("MD5"),
        "Content-MD5 is written as 32 hexadecimal digits; it must be the base64 text of the 16 bytes.",
    )
}

fn hex_checksum(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let is_hex = |value: &str| {
        [8, 16, 40, 64].contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut claimed = facts
        .form
        .iter()
        .filter(|(name, value)| name.starts_with("x-amz-checksum-") && is_hex(value));
    let (name, _) = claimed.next()?;
    error.message().contains("x-amz-checksum").then(|| {
        format!("The field '{name}' is written in hexadecimal digits; it must be the base64 text of the checksum's bytes.")
    })
}

const TAGS: &str =
    "<Tagging><TagSet><Tag><Key>name</Key><Value>value</Value></Tag></TagSet></Tagging>";

/// Tags that are no XML at all: what they are instead.
fn tags_without_xml(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let tags = facts.form.get("tagging")?.trim();
    if error.kind() != PolicyErrorKind::MalformedXml || tags.starts_with('<') {
        return None;
    }
    let is_base64 = STANDARD.decode(tags).is_ok_and(|xml| xml.starts_with(b"<"));
    let fault = match tags {
        "" => "is empty; leave it out, or give it",
        _ if is_base64 => "is in base64, and takes the XML as it is:",
        _ if tags.contains('=') => "is written as for a header (name=value); in a form it is XML:",
        _ => "is no XML; it must be",
    };
    Some(format!("The field 'tagging' {fault} {TAGS}."))
}

fn unsupported(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let name = error.extra("Header")?;
    Some(format!(
        "The field '{name}' asks for what this server does not do, and it does not pretend; leave the field and its condition out."
    ))
}

/// Values that are right but for their length.
fn too_long(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let most = error.extra("MaxSizeAllowed")?;
    Some(match error.extra("Size") {
        Some(bytes) => format!(
            "The field 'key' has {bytes} bytes, and a key may have {most}; the file's name is a part of it where the form says ${{filename}}."
        ),
        None => format!(
            "The fields x-amz-meta-* and those that are stored as headers, such as Content-Type, may have {most} bytes in all, names and values together."
        ),
    })
}

/// The field that a refusal is about, where its code is that of one field.
fn field_of(error: &PolicyError) -> &'static str {
    use PolicyErrorKind as Kind;
    match error.kind() {
        Kind::InvalidDigest => "The field 'Content-MD5'",
        Kind::InvalidStorageClass => "The field 'x-amz-storage-class'",
        Kind::InvalidRedirectLocation => "The field 'x-amz-website-redirect-location'",
        Kind::MalformedXml | Kind::InvalidTag | Kind::TooManyTags => "The field 'tagging'",
        Kind::InvalidRequest => "A field 'x-amz-checksum-...'",
        _ => "A field of the form",
    }
}

fn any_value(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let (field, message) = (field_of(error), error.message());
    Some(format!("{field} has a value that is refused: {message}"))
}
