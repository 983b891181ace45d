//! A policy by itself: is it one, and what must a form contain that is to be sent with it?
//!
//! Owns: the [`PolicyExplanation`], which a developer reads before he has a form: the policy decoded, whether it follows the grammar
//! and still lives, and what each field must be.
//! Never does: judge a form. Invariants: as for an `Explanation`, no token is shown; an obstacle is in the policy alone, and names the
//! condition or the field.

use std::cell::OnceCell;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::cause::{Facts, RANGE_AS_FIELD, likely_cause, reversed_range};
use super::document::{PostPolicy, Test, decode};
use super::error::{PolicyError, PolicyErrorKind};
use super::evaluate::{Context, Judged, SESSION_FIELD_PREFIX, size_range};
use super::explain::Surroundings;
use super::form::PostFormBuilder;
use super::mask::{shown, shown_policy};

/// One part that a form must have.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The field's name, or `file`.
    pub field: String,
    /// What it must be, in words.
    pub value: String,
}

/// All that can be said about a policy without a form.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// Why it is refused by itself; none when it follows the grammar and lives.
    #[serde(skip)]
    pub error: Option<PolicyError>,
    /// Why every form with it is refused; none when one can be granted.
    pub refusal: Option<String>,
    /// The likely cause of that.
    pub likely_cause: Option<String>,
    /// The policy: its JSON, or its text when it is no JSON.
    pub policy: Option<Value>,
    /// When it ends, by RFC 3339.
    pub expiration: Option<String>,
    /// Milliseconds until then; negative when it has ended.
    pub remaining_ms: Option<i64>,
    /// What a form must contain, in the order of the policy, the file last.
    pub requirements: Vec<Requirement>,
    /// Why no form with it can be granted, although it follows the grammar.
    pub obstacles: Vec<String>,
}

impl fmt::Debug for PolicyExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyExplanation(..)")
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requirement(..)")
    }
}

/// Explains a policy as the field `policy` would carry it: base64 of JSON.
pub fn explain_policy(base64_text: &str, context: &Context<'_>) -> PolicyExplanation {
    let parsed = PostPolicy::parse(base64_text);
    let policy = parsed.as_ref().ok();
    let refused = match &parsed {
        Err(error) => Some(error.clone()),
        Ok(policy) => (context.now >= policy.expiration()).then(expired),
    };
    let remaining = |end: i64| end.saturating_sub(context.now.millis());
    PolicyExplanation {
        likely_cause: refused
            .as_ref()
            .map(|error| cause(base64_text, policy, context, error)),
        refusal: refused.as_ref().map(|error| error.message().to_owned()),
        error: refused,
        policy: decode(base64_text).ok().map(|json| shown_policy(&json)),
        expiration: policy.map(|policy| policy.expiration().rfc3339()),
        remaining_ms: policy.map(|policy| remaining(policy.expiration().millis())),
        requirements: policy.map(requirements).unwrap_or_default(),
        obstacles: policy.map(obstacles).unwrap_or_default(),
    }
}

fn expired() -> PolicyError {
    PolicyError::not_allowed(PolicyErrorKind::PolicyExpired, "Policy expired.")
}

fn cause(
    base64_text: &str,
    policy: Option<&PostPolicy>,
    context: &Context<'_>,
    error: &PolicyError,
) -> String {
    let mut builder = PostFormBuilder::default();
    let form = builder
        .push("policy", base64_text.as_bytes())
        .and_then(|()| builder.finish(None));
    let form = match form {
        Ok(form) => form,
        Err(error) => {
            return format!(
                "The policy is larger than a form may be: {}",
                error.message()
            );
        }
    };
    let facts = Facts {
        form: &form,
        policy,
        key: None,
        context,
        around: &Surroundings::default(),
        judged: &Judged::new(&form, context, false),
        is_own: false,
        json: OnceCell::new(),
        tries: OnceCell::new(),
    };
    likely_cause(&facts, error)
}

/// Names that conditions use and no form can send.
const NO_FIELDS: [&str; 2] = ["content-length-range", "file"];

/// The fields that conditions name, each once and in order.
fn named(policy: &PostPolicy) -> Vec<&str> {
    let mut names = Vec::new();
    for name in policy
        .conditions()
        .iter()
        .filter_map(|condition| condition.field())
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn requirements(policy: &PostPolicy) -> Vec<Requirement> {
    let mut required: Vec<_> = named(policy)
        .into_iter()
        .filter(|name| !NO_FIELDS.contains(name))
        .filter_map(|name| field_requirement(policy, name))
        .collect();
    let is_v4 = named(policy).contains(&"x-amz-credential");
    let signed: &[(&str, &str)] = match is_v4 {
        true => &[(
            "x-amz-signature",
            "64 hexadecimal digits: the signature over the field policy",
        )],
        false => &[
            ("awsaccesskeyid", "the id of the key that signed"),
            ("signature", "base64 of the HMAC-SHA1 over the field policy"),
        ],
    };
    required.push(requirement(
        "policy",
        "this policy's base64 text, exactly as it was signed",
    ));
    required.extend(
        signed
            .iter()
            .map(|(field, value)| requirement(field, value)),
    );
    let (min, max) = size_range(policy);
    let size = format!("the last part of the form: a file of {min} to {max} bytes");
    required.push(requirement("file", &size));
    required
}

fn requirement(field: &str, value: &str) -> Requirement {
    Requirement {
        field: field.to_owned(),
        value: value.to_owned(),
    }
}

fn field_requirement(policy: &PostPolicy, name: &str) -> Option<Requirement> {
    if let Some(session) = name.strip_prefix(SESSION_FIELD_PREFIX) {
        let value = format!("names the upload session {session}; the form has no such field");
        return Some(requirement(name, &value));
    }
    let mut words: Vec<_> = policy
        .conditions()
        .iter()
        .filter_map(|condition| match condition.test() {
            Test::Equals { name: n, value } if n == name => {
                Some(format!("exactly '{}'", shown(name, value)))
            }
            Test::StartsWith { name: n, prefix } if n == name && !prefix.is_empty() => Some(
                format!("a value that begins with '{}'", shown(name, prefix)),
            ),
            _ => None,
        })
        .collect();
    words.dedup();
    let value = match (name, words.is_empty()) {
        ("bucket", _) => format!(
            "the bucket that the form is posted to: {}",
            words.join(" and ")
        ),
        (_, true) => "any value, but the field must be there".to_owned(),
        _ => words.join(" and "),
    };
    Some(requirement(name, &value))
}

fn obstacles(policy: &PostPolicy) -> Vec<String> {
    let names = named(policy);
    let mut found = Vec::new();
    if !names.contains(&"bucket") {
        found.push(
            "No condition names the bucket, and every form needs one: add {\"bucket\": \"NAME\"}."
                .to_owned(),
        );
    }
    if !names.contains(&"key") {
        found.push("No condition names the key, and every form has one: add [\"starts-with\", \"$key\", \"PREFIX\"].".to_owned());
    }
    found.extend(reversed_range(policy).map(|echo| {
        format!("No file has a size that {echo} allows: the smaller bound comes first.")
    }));
    found.extend(names.iter().filter_map(|name| contradiction(policy, name)));
    found.extend(
        policy
            .conditions()
            .iter()
            .filter(|condition| *condition.test() == Test::Never)
            .map(|condition| format!("No form can meet the condition {}.", condition.echo())),
    );
    if names.contains(&"content-length-range") {
        found.push(RANGE_AS_FIELD.to_owned());
    }
    if names.contains(&"file") {
        found.push("The file is no field, so no form can meet a condition on it.".to_owned());
    }
    let ignored = names.iter().filter(|name| name.starts_with("x-ignore-"));
    found.extend(ignored.map(|name| {
        format!("The field '{name}' counts as not sent, so no form can meet a condition on it.")
    }));
    found
}

/// Two conditions on one field that no value meets.
pub(super) fn contradiction(policy: &PostPolicy, name: &str) -> Option<String> {
    let tests = policy.conditions().iter().map(|condition| condition.test());
    let mut exact = tests.clone().filter_map(|test| match test {
        Test::Equals { name: n, value } if n == name => Some(value),
        _ => None,
    });
    let first = exact.next()?;
    let clashes = |test: &Test| match test {
        Test::Equals { name: n, value } => n == name && value != first,
        Test::StartsWith { name: n, prefix } => n == name && !first.starts_with(prefix.as_str()),
        Test::Length { .. } | Test::Never => false,
    };
    tests.clone().any(clashes).then(|| {
        format!("The conditions on the field '{name}' contradict each other: no value meets all of them.")
    })
}
