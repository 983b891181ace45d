//! The likely cause of a refusal, in one sentence that says what to change.
//!
//! Owns: what is known of the mistakes that people make with signed forms, most of them collected from their complaints.
//! Never does: decide or compute a signature; it may ask whether a signature fits a slightly different text, which tells nothing to
//! anybody who could not sign.
//! Invariant: no sentence holds a secret, a signature or the signed text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{PostPolicy, Test, decode};
use super::error::{PolicyError, PolicyErrorKind as Kind};
use super::evaluate::{Context, Judged, own_session};
use super::explain::shown_value;
use super::form::PostForm;
use super::signature::{Claim, SignatureClaim, claim};
use crate::model::AccessKey;

/// A difference of clocks up to this many milliseconds is more likely than an old form.
const LIKELY_CLOCK_ERROR_MS: i64 = 15 * 60 * 1000;

/// Fields that uploaders add by themselves: the name, or its beginning and `*`, and who does it.
const UPLOADER_FIELDS: [(&str, &str); 9] = [
    ("dz*", "Dropzone adds its dz fields to each chunk"),
    ("qq*", "FineUploader adds its qq fields to each chunk"),
    ("resumable*", "Resumable.js adds its fields to each chunk"),
    ("flow*", "Flow.js adds its fields to each chunk"),
    ("name", "Plupload and Flash uploaders add it"),
    ("filename", "Plupload and Flash uploaders add it"),
    ("chunk", "Plupload adds it when chunk_size is set"),
    ("chunks", "Plupload adds it when chunk_size is set"),
    (
        "submit",
        "the form's submit button comes before the file input",
    ),
];

pub(super) fn likely_cause(
    form: &PostForm,
    policy: Option<&PostPolicy>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
    error: &PolicyError,
) -> String {
    match error.kind() {
        Kind::InvalidArgument => argument_cause(form, error),
        Kind::AccessDenied => anonymous_cause(form),
        Kind::InvalidAccessKeyId => unknown_key_cause(error),
        Kind::SignatureDoesNotMatch => signature_cause(form, key),
        Kind::InvalidPolicyDocument => document_cause(form),
        Kind::PolicyExpired => expiration_cause(policy, context),
        Kind::ConditionFailed => condition_cause(form, policy, key, context),
        Kind::ExtraField => extra_field_cause(form, policy, key, context),
        Kind::InvalidToken => token_cause(form, key),
        Kind::ExpiredToken => {
            "The temporary access key has had its time; make another one and sign with that."
                .to_owned()
        }
        _ => format!(
            "A field of the form has a value that is refused: {}",
            error.message()
        ),
    }
}

fn argument_cause(form: &PostForm, error: &PolicyError) -> String {
    let name = error.extra("ArgumentName").unwrap_or_default();
    if form.iter().next().is_none() {
        return "No field came before the file: the file must be the last field, and Dropzone 6 takes its params only as a function.".to_owned();
    }
    if !error.message().starts_with("Bucket POST must contain") {
        return format!(
            "The field '{name}' has a value that is refused: {}",
            error.message()
        );
    }
    format!("The field '{name}' is missing, or it comes after the file, where fields are ignored.")
}

fn anonymous_cause(form: &PostForm) -> String {
    match form.get("policy") {
        Some(_) => "The form has a policy and no signature; the signature fields are missing, or they come after the file, where fields are ignored.",
        None => "The form has neither policy nor signature and this bucket is not open to everybody; the fields are missing, or they come after the file, where fields are ignored.",
    }
    .to_owned()
}

fn token_cause(form: &PostForm, key: Option<&AccessKey>) -> String {
    let is_temporary = key.is_some_and(|key| key.session_token.is_some());
    match (is_temporary, form.get("x-amz-security-token")) {
        (false, _) => "The form was made with temporary credentials of another service; sign with an access key of this server.",
        (true, None) => "The access key is temporary: the form needs its session token in a field 'x-amz-security-token' before the file, and a condition on it.",
        (true, Some(_)) => "The session token is not the one that was issued with this access key.",
    }
    .to_owned()
}

fn unknown_key_cause(error: &PolicyError) -> String {
    let id = error.extra("AWSAccessKeyId").unwrap_or_default();
    if id.starts_with("AKIA") || id.starts_with("ASIA") {
        return "The form was signed with an access key of Amazon, which this server does not know; sign with one of this server's keys.".to_owned();
    }
    "This server has no such access key, or the key has expired; the form may have been signed for another server, or long ago.".to_owned()
}

fn signature_cause(form: &PostForm, key: Option<&AccessKey>) -> String {
    let (Ok(claim), Some(key)) = (claim(form, None), key) else {
        return "The signature does not fit the policy.".to_owned();
    };
    let is_v2 = matches!(claim.signature(), SignatureClaim::V2 { .. });
    let is_hex =
        claim.provided().len() == 64 && claim.provided().bytes().all(|b| b.is_ascii_hexdigit());
    if is_v2 && is_hex {
        return "The signature looks like Signature Version 4, but the fields are those of Version 2.".to_owned();
    }
    altered_text_cause(&claim, key).unwrap_or_else(|| {
        "The policy was signed with another secret than this access key's, or it was changed after it was signed.".to_owned()
    })
}

/// Tries the texts that are signed or sent by mistake.
fn altered_text_cause(claim: &Claim<'_>, key: &AccessKey) -> Option<String> {
    let (policy, signature) = (claim.policy(), claim.provided());
    let unwrapped: String = policy.split_ascii_whitespace().collect();
    let plus = |text: &str| text.replace(' ', "+");
    let json = decode(policy).unwrap_or_default();
    let sentence = if claim.matches(key, &plus(policy), &plus(signature)) {
        "Plus signs in the policy or the signature became blanks on their way; encode them, or send the form as multipart/form-data."
    } else if claim.matches(key, policy, signature.trim()) {
        "The signature has blanks or a line end around it; send it without."
    } else if claim.matches(key, &unwrapped, signature) {
        "The policy was sent with line ends or blanks that were not there when it was signed; send the text exactly as signed."
    } else if claim.matches(key, &json, signature) {
        "The JSON text was signed; sign its base64 text, exactly as it is sent."
    } else if claim.matches(key, &STANDARD.encode(policy), signature) {
        "The policy was sent as JSON; send the base64 text that was signed."
    } else {
        return None;
    };
    Some(sentence.to_owned())
}

fn document_cause(form: &PostForm) -> String {
    let policy = form.get("policy").unwrap_or_default();
    let json = decode(policy).unwrap_or_default();
    let compact: String = json.split_ascii_whitespace().collect();
    if policy.trim_start().starts_with('{') {
        "The policy was sent as JSON; send its base64 text."
    } else if compact.contains(",]") || compact.contains(",}") {
        "The policy has a comma behind its last element, which JSON does not allow."
    } else if json.contains('\'') && !json.contains('"') {
        "The policy is written with single quotes; JSON wants double quotes."
    } else if json.is_empty() {
        "The policy is empty or not base64 of a text."
    } else {
        "The policy does not follow the grammar of S3 POST policies; the message says where."
    }
    .to_owned()
}

fn expiration_cause(policy: Option<&PostPolicy>, context: &Context<'_>) -> String {
    let end = policy.map_or(context.now, PostPolicy::expiration);
    let late_ms = context.now.millis().saturating_sub(end.millis());
    let late_s = late_ms / 1000;
    if late_ms <= LIKELY_CLOCK_ERROR_MS {
        return format!(
            "The policy ended {late_s} s ago by this server's clock; the signer's clock may be wrong, or the form lives too short."
        );
    }
    format!("The policy ended {late_s} s ago; ask for a fresh form before each upload.")
}

fn condition_cause(
    form: &PostForm,
    policy: Option<&PostPolicy>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> String {
    let judged = Judged::new(form, context, is_own(policy, key));
    let Some(failed) = policy.and_then(|policy| judged.failed(policy).next()) else {
        let url = context.bucket;
        return format!(
            "The field 'bucket' names another bucket than the URL, which names '{url}'."
        );
    };
    match failed.test() {
        Test::Equals {
            name,
            value: wanted,
        }
        | Test::StartsWith {
            name,
            prefix: wanted,
        } => mismatch_cause(name, wanted, shown_value(form, name, context).as_deref()),
        _ if failed
            .echo()
            .to_ascii_lowercase()
            .contains("content-length-range") =>
        {
            "A bound of the length range is not a number.".to_owned()
        }
        _ => "The condition names its field without the '$' that must stand before it.".to_owned(),
    }
}

fn mismatch_cause(name: &str, wanted: &str, value: Option<&str>) -> String {
    match (name, value) {
        ("bucket", Some(url)) => {
            format!("The form was signed for the bucket '{wanted}' and posted to '{url}'.")
        }
        ("content-type", None) => {
            "The form has no Content-Type field before the file; the file part's own Content-Type does not count.".to_owned()
        }
        (_, None) => format!(
            "The policy wants a field '{name}', and the form has none before the file; send it, if need be empty."
        ),
        (_, Some(value)) if wanted.contains("${filename}") && !value.contains("${filename}") => format!(
            "The condition on '{name}' holds ${{filename}} literally, but the form's is replaced before conditions are judged; sign the part before it as a prefix."
        ),
        (_, Some(value)) if value.eq_ignore_ascii_case(wanted) => {
            format!("The field '{name}' differs from the condition in upper and lower case.")
        }
        (_, Some(value)) if value.trim() == wanted => {
            format!("The field '{name}' has blanks or a line end around its value.")
        }
        _ => format!("The field '{name}' has another value than was signed; form and policy must be made from the same values."),
    }
}

/// Whether it is a policy of one of our own sessions.
fn is_own(policy: Option<&PostPolicy>, key: Option<&AccessKey>) -> bool {
    policy
        .zip(key)
        .is_some_and(|(policy, key)| own_session(policy, key.purpose).is_some())
}

fn extra_field_cause(
    form: &PostForm,
    policy: Option<&PostPolicy>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> String {
    let judged = Judged::new(form, context, is_own(policy, key));
    let name = policy
        .and_then(|policy| judged.uncovered(policy).next())
        .unwrap_or_default();
    if name == "bucket" {
        return "The policy has no condition on the bucket; every policy needs one, also when the form has no such field.".to_owned();
    }
    let is_named = |(pattern, _): &&(&str, &str)| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == *pattern,
    };
    let known = UPLOADER_FIELDS.iter().find(is_named);
    let who = known.map_or("the form has it and the policy does not", |(_, who)| who);
    format!(
        "No condition names the field '{name}' ({who}): add [\"starts-with\", \"${name}\", \"\"] to the policy before it is signed, or do not send the field."
    )
}
