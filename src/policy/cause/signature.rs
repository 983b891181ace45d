//! Clues to a key that nobody has and a signature that does not fit.
//!
//! Owns: whose key it may be, and what a signature is that can be none of this form. What it was made of by mistake, `guesses.rs` tries.
//! Never does: try other keys of this server: a form names its key. Or show a text that was signed.
//! Invariant: that the secret is another one is said last, when nothing else explains the signature.

use super::super::error::PolicyError;
use super::super::signature::claim;
use super::super::signing::Scheme;
use super::guesses::{tag_of, tried};
use super::{Clue, Facts, when};

pub(super) const KEY: &[Clue] = &[
    amazon_key,
    dev_key,
    whole_credential,
    blanks_around_id,
    expired_key,
    former_key,
    other_server,
    no_such_key,
];

pub(super) const SIGNATURE: &[Clue] = &[
    |facts, _| no_policy(facts),
    |facts, _| other_version_shape(facts),
    tried,
    not_a_signature,
    other_secret,
];

fn id(error: &PolicyError) -> &str {
    error.extra("AWSAccessKeyId").unwrap_or_default()
}

fn amazon_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let is_amazons = ["AKIA", "ASIA"]
        .iter()
        .any(|start| id(error).starts_with(start));
    when(
        is_amazons,
        "The form was signed with an access key of Amazon, which this server does not know; sign with one of this server's keys.",
    )
}

fn dev_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        id(error) == "PILLARBOXDEVACCESS00",
        "The form was signed with the key of pillarbox dev, which opens nothing elsewhere; sign with a key of this server.",
    )
}

fn whole_credential(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        id(error).contains("/aws4_request"),
        "AWSAccessKeyId holds a whole credential scope; it must be the key's id alone, or the form must be of Signature Version 4.",
    )
}

fn blanks_around_id(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let id = id(error);
    when(
        id.trim() != id || id.trim_matches(['"', '\'']) != id,
        "The access key id has blanks, a line end or quotation marks around it.",
    )
}

fn expired_key(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let end = facts.key?.expires_at?;
    when(
        end <= facts.context.now,
        "The access key has expired: it was rotated, and the forms that it signed are over; ask for a fresh form.",
    )
}

/// Our own keys begin with `PB` and have 20 characters of base32.
fn former_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let id = id(error);
    let is_base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    when(
        id.len() == 20 && id.starts_with("PB") && id.chars().all(is_base32),
        "This server has no such access key: it was revoked or has expired, or the form comes from another installation; ask for a fresh form.",
    )
}

fn other_server(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let known = [
        ("minioadmin", "MinIO"),
        ("test", "LocalStack"),
        ("accessKey1", "Zenko"),
        ("GK", "Garage"),
        ("rustfsadmin", "RustFS"),
    ];
    let id = id(error);
    let (_, whose) = known.iter().find(|(name, _)| match *name {
        "GK" => id.len() == 26 && id.starts_with(name),
        _ => id == *name,
    })?;
    Some(format!(
        "The form was signed with a key as {whose} has it, which this server does not know; sign with one of this server's keys."
    ))
}

fn no_such_key(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    Some("This server has no such access key, or the key has expired; the form may have been signed for another server, or long ago.".to_owned())
}

pub(super) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether the form shows by itself why its signature does not fit, so that no guess need be tried.
pub(super) fn shows_by_itself(facts: &Facts<'_>) -> bool {
    no_policy(facts).is_some() || other_version_shape(facts).is_some()
}

/// No signature fits what is no policy.
fn no_policy(facts: &Facts<'_>) -> Option<String> {
    const UNSET: [&str; 5] = ["undefined", "null", "None", "NaN", "[object Object]"];
    let held = match facts.form.get("policy")?.trim() {
        "" => "empty".to_owned(),
        text if UNSET.contains(&text) => format!("'{text}'"),
        _ => return None,
    };
    Some(format!(
        "The policy is {held}: the field is there, and what the page puts into it is not set when the form is sent."
    ))
}

fn other_version_shape(facts: &Facts<'_>) -> Option<String> {
    let claim = claim(facts.form, None).ok()?;
    let provided = claim.provided().trim();
    match claim.scheme()? {
        Scheme::V2 if is_hex(provided) && provided.len() == 64 => Some(
            "The signature looks like Signature Version 4, but the fields are those of Version 2: send x-amz-algorithm, x-amz-credential, \
             x-amz-date and x-amz-signature."
                .to_owned(),
        ),
        Scheme::V4 { .. } if tag_of(provided).is_some_and(|tag| tag.len() == 20) => Some(
            "The signature looks like Signature Version 2, but the fields are those of Version 4: sign the policy with the key derived \
             for day, region and service, by HMAC-SHA256, in hexadecimal digits."
                .to_owned(),
        ),
        _ => None,
    }
}

fn not_a_signature(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let claim = claim(facts.form, None).ok()?;
    let (provided, bytes) = (
        claim.provided(),
        tag_of(claim.provided()).map_or(0, |tag| tag.len()),
    );
    let (fits, wanted) = match claim.scheme()? {
        Scheme::V2 => (bytes == 20, "the base64 text of 20 bytes (28 characters)"),
        _ => (bytes == 32 && is_hex(provided), "64 hexadecimal digits"),
    };
    (!fits).then(|| {
        format!(
            "What came as the signature is none: it must be {wanted} and has {} characters.",
            provided.chars().count()
        )
    })
}

fn other_secret(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let derived = match facts.form.get("x-amz-signature") {
        Some(_) => {
            "; or its key was derived otherwise than from \"AWS4\" and the secret, day, region, s3 and aws4_request"
        }
        None => "",
    };
    Some(format!(
        "The policy was signed with another secret than this access key's, or it was changed after it was signed{derived}."
    ))
}
