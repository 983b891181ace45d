//! What an explanation must not show: signatures, session tokens, customer keys, secrets.
//!
//! Owns: which fields are shown only as their length, and the search for their values wherever else they may stand: SDKs repeat a
//! session token in the policy, and Amazon's messages repeat conditions.
//! Never does: hide what the client may read without them; names and all other values are shown.
//! Invariants: a value is masked by its field's name, whatever its length; elsewhere it is found when it has at least
//! [`MIN_NEEDLE_BYTES`] bytes, in the spellings that JSON has for it.

use std::borrow::Cow;

use serde_json::Value;

use super::document::{PostPolicy, Test};
use super::form::PostForm;
use crate::model::AccessKey;

/// Fewest bytes of a hidden value that is searched for in other texts; a shorter one would be found in words.
const MIN_NEEDLE_BYTES: usize = 8;
/// Most hidden values that are searched for; a form has five such fields, a policy may name more.
const MAX_NEEDLES: usize = 32;

/// Names of fields that are shown as their length, and parts of names that say the same.
const HIDDEN_FIELDS: [&str; 3] = [
    "signature",
    "x-amz-signature",
    "x-amz-server-side-encryption-customer-key",
];
const HIDDEN_PARTS: [&str; 3] = ["token", "secret", "password"];

/// Whether a field's value is shown only as its length.
pub(super) fn is_hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HIDDEN_FIELDS.contains(&name.as_str()) || HIDDEN_PARTS.iter().any(|part| name.contains(part))
}

/// What stands for a hidden value.
pub(super) fn length_of(value: &str) -> String {
    format!("({} characters)", value.chars().count())
}

/// A field's value as it may be shown.
pub(super) fn shown<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    match is_hidden(name) {
        true => Cow::Owned(length_of(value)),
        false => Cow::Borrowed(value),
    }
}

/// The hidden values of one form, to be taken out of every text about it.
#[derive(Default)]
pub struct Mask {
    /// Spelling and what stands for it, the longest first.
    needles: Vec<(String, String)>,
}

impl Mask {
    /// Collects what must not be shown of a form, its policy and the key that it names.
    pub fn new(form: Option<&PostForm>, key: Option<&AccessKey>) -> Self {
        let policy = form.and_then(|form| PostPolicy::parse(form.get("policy")?).ok());
        let mut mask = Self::default();
        if let Some(key) = key {
            mask.hide(key.secret.reveal(), "(a secret)");
        }
        let fields = form.into_iter().flat_map(PostForm::iter);
        let conditions = policy.iter().flat_map(PostPolicy::conditions);
        let wanted = conditions.filter_map(|condition| match condition.test() {
            Test::Equals { name, value } => Some((name.as_str(), value.as_str())),
            Test::StartsWith { name, prefix } => Some((name.as_str(), prefix.as_str())),
            Test::Length { .. } | Test::Never => None,
        });
        for (name, value) in fields.chain(wanted) {
            if is_hidden(name) {
                mask.hide(value, &length_of(value));
            }
        }
        mask.needles
            .sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        mask
    }

    fn hide(&mut self, value: &str, instead: &str) {
        let json = Value::from(value).to_string();
        let escaped = json.trim_matches('"').to_owned();
        // PHP writes a slash as `\/`.
        let slashed = escaped.replace('/', "\\/");
        for spelling in [value.to_owned(), escaped, slashed] {
            let is_new = self.needles.iter().all(|(needle, _)| *needle != spelling);
            if is_new && spelling.len() >= MIN_NEEDLE_BYTES && self.needles.len() < MAX_NEEDLES {
                self.needles.push((spelling, instead.to_owned()));
            }
        }
    }

    /// The text without the hidden values.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for (needle, instead) in &self.needles {
            if shown.contains(needle.as_str()) {
                shown = Cow::Owned(shown.replace(needle.as_str(), instead));
            }
        }
        shown
    }

    /// The same for every text of a JSON value, names of members included.
    pub fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text).into_owned()),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (self.text(&name).into_owned(), self.value(value)))
                .collect(),
            other => other,
        }
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask(..)")
    }
}

/// A policy as it may be shown: its JSON with hidden values taken out, or its text when it is no JSON.
pub(super) fn shown_policy(json: &str) -> Value {
    let Ok(mut policy) = serde_json::from_str::<Value>(json) else {
        return Value::from(json);
    };
    if let Some(conditions) = policy.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.iter_mut().for_each(hide_in_condition);
    }
    policy
}

fn hide_in_condition(condition: &mut Value) {
    match condition {
        Value::Object(members) => {
            let hidden = members.iter_mut().filter(|(name, _)| is_hidden(name));
            hidden.for_each(|(_, value)| hide_value(value));
        }
        Value::Array(parts) => {
            if let [_, Value::String(name), values @ ..] = parts.as_mut_slice()
                && is_hidden(name)
            {
                values.iter_mut().for_each(hide_value);
            }
        }
        _ => {}
    }
}

fn hide_value(value: &mut Value) {
    if let Value::String(text) = value
        && !text.is_empty()
    {
        *text = length_of(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PostFormBuilder;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const TOKEN: &str = "FwoGZXIvYXdzEJr/tok+en==";

    fn form(fields: &[(&str, &str)]) -> PostForm {
        let mut builder = PostFormBuilder::default();
        for (name, value) in fields {
            builder.push(name, value.as_bytes()).unwrap();
        }
        builder.finish(None).unwrap()
    }

    #[test]
    fn fields_that_prove_something_are_shown_as_their_length() {
        for name in [
            "Signature",
            "x-amz-signature",
            "X-Amz-Security-Token",
            "csrf_token",
            "AWSSecretAccessKey",
        ] {
            assert_eq!(shown(name, "abc"), "(3 characters)", "{name}");
        }
        for name in ["key", "policy", "awsaccesskeyid", "x-amz-credential"] {
            assert_eq!(shown(name, "abc"), "abc", "{name}");
        }
    }

    #[test]
    fn a_token_is_found_wherever_it_is_repeated_in_any_spelling_of_json() {
        let form = form(&[("x-amz-security-token", TOKEN)]);
        let mask = Mask::new(Some(&form), None);
        for text in [TOKEN.to_owned(), TOKEN.replace('/', "\\/")] {
            let told = mask.text(&text).into_owned();
            assert_eq!(told, "(24 characters)", "{text}");
        }
        let value = serde_json::json!({ "a": [format!("x{TOKEN}y")] });
        assert_eq!(mask.value(value)["a"][0], "x(24 characters)y");
    }

    #[test]
    fn a_token_that_only_the_policy_has_is_hidden_too() {
        let json = format!(
            r#"{{"expiration":"2030-01-01T00:00:00Z","conditions":[{{"x-amz-security-token":"{TOKEN}"}},["eq","$X-Amz-Security-Token","{TOKEN}"]]}}"#
        );
        let form = form(&[("policy", &STANDARD.encode(&json))]);
        let mask = Mask::new(Some(&form), None);
        assert!(!mask.text(&json).contains("FwoGZXIv"));
        let shown = shown_policy(&json).to_string();
        assert!(
            !shown.contains("FwoGZXIv") && shown.contains("(24 characters)"),
            "{shown}"
        );
    }

    #[test]
    fn a_short_value_is_not_searched_for_in_other_words() {
        let form = form(&[("signature", "e")]);
        assert_eq!(Mask::new(Some(&form), None).text("refused"), "refused");
    }
}
