//! The policy document: base64 of a JSON text that says when it ends and what must hold.
//!
//! Owns: the grammar and the text in which each condition is echoed when it fails.
//! Never does: check a signature (the caller has, before it comes here) or compare a condition with a form.
//! Invariants: parsing never panics and never recurses on its input; everything in a [`PostPolicy`] was read from one text with no
//! member twice and nothing behind it. What Amazon answers with "condition failed" although it is a mistake of the document
//! becomes [`Test::Never`], so that the answer is the same.
//!
//! Source: Amazon S3 User Guide, "Creating a POST policy" (Signature Version 4) and "HTML form upload" (Version 2).

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::date::parse_expiration;
use super::error::PolicyError;
use super::form::PostForm;
use crate::model::Timestamp;

/// Standard base64; a missing padding is no mistake, as the signature covers the text itself.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What one condition asks for. Names are lower-case and without the `$`.
#[derive(Clone, PartialEq, Eq)]
pub enum Test {
    /// The field has exactly this value.
    Equals {
        /// The field's name.
        name: String,
        /// The value, byte for byte.
        value: String,
    },
    /// The field's value begins with this prefix.
    StartsWith {
        /// The field's name.
        name: String,
        /// The prefix, byte for byte; empty for any value.
        prefix: String,
    },
    /// The file has at least `min` and at most `max` bytes.
    Length {
        /// Fewest bytes.
        min: u64,
        /// Most bytes.
        max: u64,
    },
    /// Nothing meets it: a name without `$`, a bound that is no number.
    Never,
}

/// One condition and the text in which Amazon echoes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Condition {
    test: Test,
    echo: String,
}

impl Condition {
    /// What is asked for.
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// The condition as Amazon prints it: a list as it was written, an object as `["eq", "$name", "value"]`.
    pub fn echo(&self) -> &str {
        &self.echo
    }

    /// The field that this condition covers.
    pub fn field(&self) -> Option<&str> {
        match &self.test {
            Test::Equals { name, .. } | Test::StartsWith { name, .. } => Some(name),
            Test::Length { .. } | Test::Never => None,
        }
    }
}

/// A policy document.
#[derive(Clone, PartialEq, Eq)]
pub struct PostPolicy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
}

impl PostPolicy {
    /// Parses the `policy` field as it was sent, at most [`PostForm::MAX_BYTES`] bytes of base64.
    ///
    /// # Errors
    /// `InvalidPolicyDocument` with Amazon's words for what is wrong.
    pub fn parse(base64_text: &str) -> Result<Self, PolicyError> {
        let json = decode(base64_text)?;
        if json.trim_ascii().is_empty() {
            return invalid("Expecting '{' but found End-of-Input");
        }
        let json = plain_escapes(&json);
        let (expiration, conditions) = top_level(&json)?;
        Ok(Self {
            expiration: expiration_of(expiration)?,
            conditions: parse_conditions(conditions)?,
        })
    }

    /// From this moment on the policy allows nothing.
    pub fn expiration(&self) -> Timestamp {
        self.expiration
    }

    /// The conditions in the order of the document.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
}

impl fmt::Debug for PostPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostPolicy(..)")
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(..)")
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Test(..)")
    }
}

fn invalid<T>(detail: impl fmt::Display) -> Result<T, PolicyError> {
    Err(PolicyError::invalid_policy(detail))
}

fn invalid_json<E>(_: E) -> PolicyError {
    PolicyError::invalid_policy("Invalid JSON.")
}

/// The JSON text inside the base64 text.
pub(super) fn decode(base64_text: &str) -> Result<String, PolicyError> {
    String::from_utf8(decode_bytes(base64_text)?).map_err(invalid_json)
}

/// What the base64 text holds, text or not.
pub(super) fn decode_bytes(base64_text: &str) -> Result<Vec<u8>, PolicyError> {
    if base64_text.len() > PostForm::MAX_BYTES {
        return invalid(format_args!("longer than {} bytes.", PostForm::MAX_BYTES));
    }
    // MIME encoders wrap lines; the signature covers the text as sent, so unwrapping it allows nothing new. Hardly anybody does,
    // so the text is taken as it is first.
    let unwrapped = || {
        let is_kept = |byte: &u8| !b" \t\r\n".contains(byte);
        BASE64.decode(base64_text.bytes().filter(is_kept).collect::<Vec<_>>())
    };
    BASE64
        .decode(base64_text)
        .or_else(|_| unwrapped())
        .map_err(|_| PolicyError::invalid_policy("invalid Base64 encoding."))
}

/// Rewrites the two escapes that Amazon documents for policies and JSON does not know: `\$` and `\v`.
pub(super) fn plain_escapes(json: &str) -> Cow<'_, str> {
    if !json.contains("\\$") && !json.contains("\\v") {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 16);
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        match (c, escaped) {
            ('\\', Some('$')) => plain.push('$'),
            ('\\', Some('v')) => plain.push_str("\\u000b"),
            _ => {
                plain.push(c);
                plain.extend(escaped);
            }
        }
    }
    Cow::Owned(plain)
}

fn top_level(json: &str) -> Result<(&RawValue, &RawValue), PolicyError> {
    let Members(members) = serde_json::from_str(json).map_err(invalid_json)?;
    let (mut expiration, mut conditions) = (None, None);
    for (name, value) in members {
        let slot = match name.as_str() {
            "expiration" => &mut expiration,
            "conditions" => &mut conditions,
            _ => return invalid(format_args!("Unexpected: \"{name}\"")),
        };
        if slot.replace(value).is_some() {
            return invalid(format_args!("Duplicate: \"{name}\""));
        }
    }
    match (expiration, conditions) {
        (None, _) => invalid("Policy missing expiration."),
        (_, None) => invalid("Policy missing conditions."),
        (Some(expiration), Some(conditions)) => Ok((expiration, conditions)),
    }
}

fn expiration_of(raw: &RawValue) -> Result<Timestamp, PolicyError> {
    let text = Scalar::of(raw)?.shown();
    match parse_expiration(&text) {
        Some(moment) => Ok(moment),
        None => invalid(format_args!("Invalid 'expiration' value: '{text}'")),
    }
}

fn parse_conditions(raw: &RawValue) -> Result<Vec<Condition>, PolicyError> {
    if !raw.get().starts_with('[') {
        return invalid("Invalid 'conditions' value: must be a List.");
    }
    elements(raw)?.into_iter().map(parse_condition).collect()
}

fn parse_condition(raw: &RawValue) -> Result<Condition, PolicyError> {
    match raw.get().as_bytes().first() {
        Some(b'{') => simple_condition(raw),
        Some(b'[') => list_condition(raw),
        _ => {
            let shown = Scalar::of(raw)?.shown();
            invalid(format_args!(
                "Invalid condition {shown}: must be a List or Object."
            ))
        }
    }
}

/// `{"name": "value"}`
fn simple_condition(raw: &RawValue) -> Result<Condition, PolicyError> {
    let Members(members) = serde_json::from_str(raw.get()).map_err(invalid_json)?;
    let [(name, value)] = members.as_slice() else {
        return invalid(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        );
    };
    let Scalar::Text(value) = Scalar::of(value)? else {
        return invalid("Invalid Simple-Condition: value must be a string.");
    };
    let echo = format!(
        "[\"eq\", {}, {}]",
        serde_json::Value::from(format!("${name}")),
        serde_json::Value::from(value.as_str())
    );
    let name = name.to_ascii_lowercase();
    let test = Test::Equals { name, value };
    Ok(Condition { test, echo })
}

/// `["operator", argument, argument]`
fn list_condition(raw: &RawValue) -> Result<Condition, PolicyError> {
    let elements = elements(raw)?;
    let Some((operator, arguments)) = elements.split_first() else {
        return invalid("Invalid Condition: missing operation identifier.");
    };
    let Scalar::Text(written) = Scalar::of(operator)? else {
        return invalid("Invalid Condition: missing operation identifier.");
    };
    let operator = written.to_ascii_lowercase();
    if !["eq", "starts-with", "content-length-range"].contains(&operator.as_str()) {
        return invalid(format_args!(
            "Invalid Condition: unknown operation '{written}'."
        ));
    }
    let [first, second] = arguments else {
        return invalid(format_args!(
            "Invalid {operator}: wrong number of arguments."
        ));
    };
    let test = if operator == "content-length-range" {
        length_test(first, second)?
    } else {
        match_test(&operator, first, second)?
    };
    Ok(Condition {
        test,
        echo: raw.get().to_owned(),
    })
}

fn match_test(operator: &str, name: &RawValue, value: &RawValue) -> Result<Test, PolicyError> {
    let Scalar::Text(name) = Scalar::of(name)? else {
        return invalid(format_args!(
            "Invalid {operator}: field name must be a string."
        ));
    };
    let value = match Scalar::of(value)? {
        Scalar::Text(text) => text,
        // Some SDKs write metadata values as numbers; the form sends them as their decimal text.
        Scalar::Number(digits) => digits.to_owned(),
        Scalar::Other(_) => {
            return invalid(format_args!("Invalid {operator}: value must be a string."));
        }
    };
    let Some(name) = name.strip_prefix('$').map(str::to_ascii_lowercase) else {
        return Ok(Test::Never);
    };
    if operator == "eq" {
        return Ok(Test::Equals { name, value });
    }
    let prefix = value;
    Ok(Test::StartsWith { name, prefix })
}

fn length_test(min: &RawValue, max: &RawValue) -> Result<Test, PolicyError> {
    match (parse_bound(min)?, parse_bound(max)?) {
        (Some(min), Some(max)) => Ok(Test::Length { min, max }),
        _ => Ok(Test::Never),
    }
}

/// A bound in bytes: an integer, or its decimal digits in quotes; `None` for other text, which Amazon counts as failed.
fn parse_bound(raw: &RawValue) -> Result<Option<u64>, PolicyError> {
    let parse = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    match Scalar::of(raw)? {
        Scalar::Text(text) => Ok(parse(&text)),
        Scalar::Number(digits) if parse(digits).is_some() => Ok(parse(digits)),
        Scalar::Number(_) | Scalar::Other(_) => {
            invalid("Invalid content-length-range: bounds must be non-negative integers.")
        }
    }
}

fn elements(raw: &RawValue) -> Result<Vec<&RawValue>, PolicyError> {
    serde_json::from_str(raw.get()).map_err(invalid_json)
}

/// A JSON value as far as a policy may use it.
enum Scalar<'a> {
    Text(String),
    Number(&'a str),
    Other(&'a str),
}

impl<'a> Scalar<'a> {
    fn of(raw: &'a RawValue) -> Result<Self, PolicyError> {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text)
                .map(Self::Text)
                .map_err(invalid_json),
            Some(b'-' | b'0'..=b'9') => Ok(Self::Number(text)),
            _ => Ok(Self::Other(text)),
        }
    }

    /// As a message shows it: a string without its quotes.
    fn shown(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(text) | Self::Other(text) => text.to_owned(),
        }
    }
}

/// The members of a JSON object in order, duplicates kept, values not yet parsed.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor(std::marker::PhantomData))
    }
}

struct MembersVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for MembersVisitor<'a> {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
