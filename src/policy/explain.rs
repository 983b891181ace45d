//! Why a form was refused, in full: every failing condition and every uncovered field, not only the first.
//!
//! Owns: the [`Explanation`], which a developer reads beside his form: the policy decoded, each condition with the value it met, the time
//! left, the refusal, and the likely cause in one sentence.
//! Never does: decide anything. The refusal in it is the one that `authorize` gives; an explanation never grants.
//! Invariants: no secret and no signature is in it; what is shown of the policy is what the client sent. `Debug` shows none of it, as
//! an explanation goes to the client and not to the log.

use std::fmt;

use serde::Serialize;

use super::cause::likely_cause;
use super::document::{PostPolicy, decode};
use super::error::PolicyError;
use super::evaluate::{Context, Judged, authorize, own_session};
use super::form::PostForm;
use super::signature::claim;
use crate::model::{AccessKey, Timestamp};

/// One condition beside the value that it met.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ConditionFinding {
    /// The condition as Amazon prints it.
    pub condition: String,
    /// The field that it names, lower-case; none for a length range, or when the name lacks its `$`.
    pub field: Option<String>,
    /// The form's value after `${filename}` was replaced; none when the field is absent.
    pub value: Option<String>,
    /// Whether it holds. A length range is judged with the bytes and holds here.
    pub holds: bool,
}

/// All that can be said about a form.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Amazon's sentence; none when the form is granted.
    pub refusal: Option<String>,
    /// The likely cause, in one sentence; none when the form is granted.
    pub likely_cause: Option<String>,
    /// The names of the fields before the file, lower-case, in the order of arrival.
    pub fields: Vec<String>,
    /// The policy as the client wrote it; none when there is none or it is no base64 of text.
    pub policy: Option<String>,
    /// When the policy ends, by RFC 3339; none when it does not parse.
    pub expiration: Option<String>,
    /// The time here when the form was judged, by RFC 3339.
    pub server_time: String,
    /// Milliseconds until the policy ends; negative when it has ended.
    pub remaining_ms: Option<i64>,
    /// Every condition in the order of the document.
    pub conditions: Vec<ConditionFinding>,
    /// Every field that no condition covers.
    pub uncovered: Vec<String>,
}

impl fmt::Debug for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Explanation(..)")
    }
}

impl fmt::Debug for ConditionFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConditionFinding(..)")
    }
}

/// Explains a form. `key` is what was found for the access key id that the form names; `region` is as for [`claim`].
pub fn explain(
    form: &PostForm,
    region: Option<&str>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> Explanation {
    let refusal = refusal(form, region, key, context);
    let text = form.get("policy");
    let policy = text.and_then(|text| PostPolicy::parse(text).ok());
    let (conditions, uncovered) = match &policy {
        None => (Vec::new(), Vec::new()),
        Some(policy) => findings(form, policy, key, context),
    };
    let expiration = policy.as_ref().map(PostPolicy::expiration);
    let cause = refusal
        .as_ref()
        .map(|error| likely_cause(form, policy.as_ref(), key, context, error));
    Explanation {
        refusal: refusal.map(|error| error.message().to_owned()),
        likely_cause: cause,
        fields: form.iter().map(|(name, _)| name.to_owned()).collect(),
        policy: text.and_then(|text| decode(text).ok()),
        expiration: expiration.map(Timestamp::rfc3339),
        server_time: context.now.rfc3339(),
        remaining_ms: expiration.map(|end| end.millis().saturating_sub(context.now.millis())),
        conditions,
        uncovered,
    }
}

fn refusal(
    form: &PostForm,
    region: Option<&str>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> Option<PolicyError> {
    let claim = match claim(form, region) {
        Ok(claim) => claim,
        Err(error) => return Some(error),
    };
    authorize(&claim, key, context).err()
}

fn findings(
    form: &PostForm,
    policy: &PostPolicy,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> (Vec<ConditionFinding>, Vec<String>) {
    let is_own = key.is_some_and(|key| own_session(policy, key.purpose).is_some());
    let judged = Judged::new(form, context, is_own);
    let conditions = policy
        .conditions()
        .iter()
        .map(|condition| ConditionFinding {
            condition: condition.echo().to_owned(),
            field: condition.field().map(str::to_owned),
            value: condition
                .field()
                .and_then(|name| shown_value(form, name, context)),
            holds: judged.holds(condition.test()),
        });
    let uncovered = judged.uncovered(policy).map(str::to_owned);
    (conditions.collect(), uncovered.collect())
}

/// What the form says, with the URL's bucket for `bucket`.
pub(super) fn shown_value(form: &PostForm, name: &str, context: &Context<'_>) -> Option<String> {
    match name {
        "bucket" => Some(context.bucket.as_str().to_owned()),
        _ => form.get(name).map(str::to_owned),
    }
}
