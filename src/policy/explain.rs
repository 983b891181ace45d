//! Why a form was refused, in full: every failing condition and every uncovered field, not only the first.
//!
//! Owns: the [`Explanation`], which a developer reads beside his form: the policy decoded, each condition with the value it met, the
//! clocks, the signature, the refusal, and the likely cause in one sentence.
//! Never does: decide anything. The refusal in it is the one that `authorize` gives; an explanation never grants.
//! Invariants: no secret, signature or token is in it (`mask` has them out); what is shown of the policy is what the client sent.
//! `Debug` shows none of it, as an explanation goes to the client and not to the log.

use std::cell::OnceCell;

use serde::Serialize;
use serde_json::Value;

use super::cause::{Facts, likely_cause, tried_signatures};
use super::date::parse_moment;
use super::document::{Condition, PostPolicy, Test, decode};
use super::error::{PolicyError, PolicyErrorKind as Kind};
use super::evaluate::{Context, Judged, own_session, refusal};
use super::form::PostForm;
use super::mask::{Mask, is_hidden, length_of, shown, shown_policy};
use super::signature::{claim, scope_of};
use crate::model::{AccessKey, KeyPurpose, Timestamp, opaque};

/// Most conditions that are shown: whoever may post a form can have it explained again and again.
const MAX_SHOWN_CONDITIONS: usize = 200;
/// Most bytes of a value that is shown beside a condition; the field shows all of it.
const MAX_COMPARED_BYTES: usize = 200;
/// The verdict on a signature that is not the one we compute.
const WRONG: &str = "wrong";

/// What is known of a form besides its fields and its key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// How many bytes the file has, when that is known.
    pub file_bytes: Option<u64>,
    /// Whether it may have more, since it was refused before its end.
    pub may_be_larger: bool,
    /// The Content-Type of the file part itself, which counts for nothing.
    pub file_type: Option<&'a str>,
    /// Names of the fields that come after the file, where they are ignored, as far as that was read.
    pub after_file: &'a [String],
    /// Whether all that follows the file was read.
    pub read_to_end: bool,
    /// Whether the signature is taken as right because nobody has the secret here.
    pub unchecked: bool,
}

/// One field of the form.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct FieldFinding {
    /// Its name, lower-case.
    pub name: String,
    /// Its value as the policy sees it, after `${filename}` was replaced; a signature or a token only as its length.
    pub value: String,
    /// Whether a condition names it, or none needs to; none when the policy cannot be read.
    pub covered: Option<bool>,
}

/// One condition beside the value that it met.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ConditionFinding {
    /// The condition as Amazon prints it.
    pub condition: String,
    /// The field that it names, lower-case; none for a length range, or when the name lacks its `$`.
    pub field: Option<String>,
    /// What it asks for, in words.
    pub expected: String,
    /// The form's value after `${filename}` was replaced, or the file's bytes; none when it is absent or not known.
    pub got: Option<String>,
    /// Whether it holds. A length range holds here as long as the file's size is not known.
    pub holds: bool,
}

/// The clocks.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ClockFinding {
    /// The time here when the form was judged, by RFC 3339.
    pub server_time: String,
    /// When the policy ends, by RFC 3339; none when it does not parse.
    pub expiration: Option<String>,
    /// Milliseconds until the policy ends; negative when it has ended.
    pub remaining_ms: Option<i64>,
    /// The form's `x-amz-date`: the signer's clock when the form was signed.
    pub signed_at: Option<String>,
    /// Milliseconds from then until the server's time; negative when the signer's clock is ahead.
    pub signed_ago_ms: Option<i64>,
}

/// The signature.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SignatureFinding {
    /// `Signature Version 2` or `Signature Version 4`; none for a form without one.
    pub version: Option<&'static str>,
    /// The key that is said to have signed.
    pub access_key_id: Option<String>,
    /// The day of the scope of Version 4, `yyyyMMdd`.
    pub day: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Its service.
    pub service: Option<String>,
    /// `right`, `wrong`, `not checked`; none when it never came to that.
    pub verdict: Option<&'static str>,
    /// What was signed, as we see it: the policy as it was sent. Shown when the signature is wrong.
    pub string_to_sign: Option<String>,
    /// What the signature was tried against besides, when it is wrong, up to what fits; nothing when the form shows by itself that none can.
    pub tried: Vec<&'static str>,
}

/// The buckets.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct BucketFinding {
    /// The bucket that the form was posted to.
    pub posted_to: String,
    /// The bucket that the policy was signed for.
    pub signed_for: Option<String>,
}

/// All that can be said about a form.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The refusal; none when the form is granted.
    #[serde(skip)]
    pub error: Option<PolicyError>,
    /// Amazon's sentence; none when the form is granted.
    pub refusal: Option<String>,
    /// The likely cause, in one sentence; none when the form is granted.
    pub likely_cause: Option<String>,
    /// The fields before the file, in the order of arrival.
    pub fields: Vec<FieldFinding>,
    /// The policy: its JSON, or the text as the client wrote it when it is no JSON; none when there is none or it is no base64.
    pub policy: Option<Value>,
    /// Every condition in the order of the document; of more than 200 those that do not hold come first, and 200 are shown.
    pub conditions: Vec<ConditionFinding>,
    /// How many conditions are not shown, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions_left_out: Option<usize>,
    /// Every field that no condition covers.
    pub uncovered: Vec<String>,
    /// The upload session of ours whose form this is.
    pub session: Option<String>,
    /// The buckets.
    pub bucket: BucketFinding,
    /// The clocks.
    pub clock: ClockFinding,
    /// The signature.
    pub signature: SignatureFinding,
}

opaque!(
    Explanation,
    FieldFinding,
    ConditionFinding,
    ClockFinding,
    SignatureFinding,
    BucketFinding
);

/// Explains a form within its surroundings. `key` is what was found for the access key id that the form names; `region` is as for
/// [`claim`].
pub fn explain_within(
    form: &PostForm,
    region: Option<&str>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
    around: &Surroundings<'_>,
) -> Explanation {
    let assumed = around.unchecked.then_some(KeyPurpose::Forms);
    let claimed = claim(form, region);
    let refused = match &claimed {
        Ok(claim) => refusal(claim, key, assumed, context, around.file_bytes),
        Err(error) => Some(error.clone()),
    };
    let text = form.get("policy");
    let policy = text.and_then(|text| PostPolicy::parse(text).ok());
    let purpose = key.map(|key| key.purpose).or(assumed);
    let session = policy
        .as_ref()
        .zip(purpose)
        .and_then(|(policy, purpose)| own_session(policy, purpose));
    let judged = Judged::new(form, context, session.is_some());
    let facts = Facts {
        form,
        policy: policy.as_ref(),
        key,
        context,
        around,
        judged: &judged,
        is_own: session.is_some(),
        json: OnceCell::new(),
        tries: OnceCell::new(),
    };
    let (conditions, left_out) = chosen(&facts);
    let uncovered = policy.iter().flat_map(|policy| judged.uncovered(policy));
    let uncovered: Vec<_> = uncovered.map(str::to_owned).collect();
    Explanation {
        likely_cause: refused.as_ref().map(|error| likely_cause(&facts, error)),
        fields: fields(form, policy.is_some().then_some(&uncovered)),
        policy: text
            .and_then(|text| decode(text).ok())
            .map(|json| shown_policy(&json)),
        conditions: conditions
            .into_iter()
            .map(|condition| finding(&facts, condition))
            .collect(),
        conditions_left_out: Some(left_out).filter(|count| *count > 0),
        uncovered,
        session: session.map(|id| id.to_string()),
        bucket: buckets(&facts),
        clock: clocks(&facts),
        signature: signature(&facts, claimed.is_ok(), refused.as_ref()),
        refusal: refused.as_ref().map(|error| error.message().to_owned()),
        error: refused,
    }
}

fn fields(form: &PostForm, uncovered: Option<&Vec<String>>) -> Vec<FieldFinding> {
    let finding = |(name, value): (&str, &str)| FieldFinding {
        name: name.to_owned(),
        value: match name {
            "policy" => length_of(value),
            _ => shown(name, value).into_owned(),
        },
        covered: uncovered.map(|uncovered| uncovered.iter().all(|other| other != name)),
    };
    form.iter().map(finding).collect()
}

/// The conditions that are shown, and how many are not.
fn chosen<'p>(facts: &Facts<'p>) -> (Vec<&'p Condition>, usize) {
    let all = facts.policy.into_iter().flat_map(PostPolicy::conditions);
    let all: Vec<_> = all.collect();
    let left_out = all.len().saturating_sub(MAX_SHOWN_CONDITIONS);
    if left_out == 0 {
        return (all, 0);
    }
    let (held, failed): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|condition| facts.holds(condition.test()));
    let first = failed.into_iter().chain(held).take(MAX_SHOWN_CONDITIONS);
    (first.collect(), left_out)
}

fn size_shown(around: &Surroundings<'_>) -> Option<String> {
    let bytes = around.file_bytes?;
    Some(match around.may_be_larger {
        true => format!("at least {bytes}"),
        false => bytes.to_string(),
    })
}

fn finding(facts: &Facts<'_>, condition: &Condition) -> ConditionFinding {
    let hidden = |text: &str| {
        let name = condition.field().unwrap_or_default();
        shortened(&shown(name, text))
    };
    let (expected, got) = match condition.test() {
        Test::Equals { value, .. } => (format!("exactly '{}'", hidden(value)), None),
        Test::StartsWith { prefix, .. } if prefix.is_empty() => ("any value".to_owned(), None),
        Test::StartsWith { prefix, .. } => (
            format!("a value that begins with '{}'", hidden(prefix)),
            None,
        ),
        Test::Length { min, max } => (
            format!("a file of {min} to {max} bytes"),
            size_shown(facts.around),
        ),
        Test::Never => ("what no form can meet".to_owned(), None),
    };
    let value = condition.field().and_then(|name| facts.value(name));
    let echo = match condition.field().filter(|name| is_hidden(name)) {
        None => condition.echo().to_owned(),
        Some(name) => format!("a condition on {name}"),
    };
    ConditionFinding {
        condition: echo,
        field: condition.field().map(str::to_owned),
        expected,
        got: got.or_else(|| value.map(hidden)),
        holds: facts.holds(condition.test()),
    }
}

/// A value beside a condition: a policy may hold the same long one hundreds of times.
fn shortened(text: &str) -> String {
    match text.len() {
        0..=MAX_COMPARED_BYTES => text.to_owned(),
        _ => format!(
            "{}...",
            &text[..text.floor_char_boundary(MAX_COMPARED_BYTES)]
        ),
    }
}

fn buckets(facts: &Facts<'_>) -> BucketFinding {
    let conditions = facts.policy.into_iter().flat_map(PostPolicy::conditions);
    let mut signed = conditions.filter_map(|condition| match condition.test() {
        Test::Equals { name, value } if name == "bucket" => Some(value.clone()),
        _ => None,
    });
    BucketFinding {
        posted_to: facts.context.bucket.as_str().to_owned(),
        signed_for: signed.next(),
    }
}

fn clocks(facts: &Facts<'_>) -> ClockFinding {
    let now = facts.context.now;
    let until = |end: Timestamp| end.millis().saturating_sub(now.millis());
    let expiration = facts.policy.map(PostPolicy::expiration);
    let signed_at = facts.form.get("x-amz-date").and_then(parse_moment);
    ClockFinding {
        server_time: now.rfc3339(),
        expiration: expiration.map(Timestamp::rfc3339),
        remaining_ms: expiration.map(until),
        signed_at: signed_at.map(Timestamp::rfc3339),
        signed_ago_ms: signed_at.map(|moment| until(moment).saturating_neg()),
    }
}

fn signature(
    facts: &Facts<'_>,
    is_claimed: bool,
    refused: Option<&PolicyError>,
) -> SignatureFinding {
    let form = facts.form;
    let version = match (form.get("signature"), form.get("x-amz-signature")) {
        (None, None) => None,
        (Some(_), None) => Some("Signature Version 2"),
        (_, Some(_)) => Some("Signature Version 4"),
    };
    let verdict = match refused.map(PolicyError::kind) {
        _ if version.is_none() || !is_claimed => None,
        Some(Kind::SignatureDoesNotMatch) => Some(WRONG),
        _ if facts.around.unchecked && facts.key.is_none() => Some("not checked"),
        Some(Kind::InvalidAccessKeyId) => None,
        _ => Some("right"),
    };
    let is_wrong = verdict == Some(WRONG);
    let scope = form.get("x-amz-credential").and_then(scope_of);
    let [id, day, region, service] = scope.map(|scope| scope.map(Some)).unwrap_or_default();
    let owned = |part: Option<&str>| part.map(str::to_owned);
    SignatureFinding {
        version,
        access_key_id: owned(form.get("awsaccesskeyid").or(id)),
        day: owned(day),
        region: owned(region),
        service: owned(service),
        verdict,
        string_to_sign: is_wrong.then(|| string_to_sign(facts)),
        tried: match is_wrong {
            true => tried_signatures(facts),
            false => Vec::new(),
        },
    }
}

/// The policy as it was sent, unless it holds what must not be shown.
fn string_to_sign(facts: &Facts<'_>) -> String {
    let policy = facts.form.get("policy").unwrap_or_default();
    let mask = Mask::new(Some(facts.form), facts.key);
    let json = facts.json();
    let names_hidden = facts.policy.into_iter().flat_map(PostPolicy::conditions);
    let mut names_hidden = names_hidden.filter_map(Condition::field);
    if names_hidden.any(is_hidden) || mask.text(json) != json {
        return length_of(policy);
    }
    mask.text(policy).into_owned()
}
