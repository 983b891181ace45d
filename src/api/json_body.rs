//! JSON in the body of a REST request.
//!
//! Owns: what is taken for JSON, and which leftovers of a shell example are forgiven.
//! Never does: give meaning to a member. Invariant: no object has a member twice: readers differ in which of the two they take, so
//! nobody can tell which one was meant.
//!
//! Source: RFC 8259, section 4.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::ApiError;

/// Longest member name that a refusal repeats, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// The members of an object.
///
/// # Errors
/// `InvalidArgument` for any other text.
pub(super) fn members(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| invalid("must be UTF-8."))?;
    match parse_forgiving(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(invalid("must be a JSON object.")),
        Err(why) => Err(invalid(format!("is not valid JSON: {why}."))),
    }
}

/// Whether a body is a JSON text of any kind.
pub(super) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// A member's name as a refusal repeats it.
pub(super) fn shown_name(name: &str) -> String {
    name.chars().take(MAX_SHOWN_CHARS).collect()
}

fn invalid(rule: impl fmt::Display) -> ApiError {
    ApiError::invalid("The body", rule)
}

/// Strict JSON, or else JSON after taking out what a shell example leaves in: backslashes before blanks outside strings, and
/// trailing commas.
fn parse_forgiving(text: &str) -> Result<Value, serde_json::Error> {
    let parse = |text: &str| serde_json::from_str::<Untwinned>(text).map(|parsed| parsed.0);
    parse(text).or_else(|strict| parse(&without_shell_leftovers(text)).map_err(|_| strict))
}

fn without_shell_leftovers(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '\\' {
            continue;
        } else if matches!(c, '}' | ']') {
            let kept = clean.trim_end().trim_end_matches(',').len();
            clean.truncate(kept);
        } else {
            in_string = c == '"';
        }
        clean.push(c);
    }
    clean
}

/// A value in which no object has a member twice.
struct Untwinned(Value);

impl<'de> Deserialize<'de> for Untwinned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UntwinnedVisitor).map(Self)
    }
}

struct UntwinnedVisitor;

impl<'de> Visitor<'de> for UntwinnedVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::from(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Untwinned(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Untwinned(value))) = entries.next_entry::<String, _>()? {
            if members.contains_key(&name) {
                let name = shown_name(&name);
                return Err(A::Error::custom(format_args!("{name} is there twice")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why(body: &str) -> String {
        members(body.as_bytes()).unwrap_err().message
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_stands() {
        let body = r#"{"a":[null,true,-1,18446744073709551615,1.5,"x\u00fc"],"b":{"a":{}},"$serde_json::private::RawValue":"1"}"#;
        let expected: Value = json!({
            "a": [null, true, -1, u64::MAX, 1.5, "x\u{fc}"], "b": { "a": {} }, "$serde_json::private::RawValue": "1",
        });
        assert_eq!(Value::Object(members(body.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_by_name_wherever_it_stands() {
        for (body, name) in [
            (r#"{"a":1,"a":2}"#, "a"),
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"upload":{"key":"a","b":1,"\u006bey":"b"}}"#, "key"),
            (r#"{"a":[{"b":{"c":1,"c":null}}]}"#, "c"),
            (r#"{"a":1,"a":2,}"#, "a"),
        ] {
            let (why, words) = (why(body), format!("JSON: {name} is there twice"));
            assert!(why.contains(&words), "{body}: {why}");
        }
        assert!(members(br#"{"a":{"a":[{"a":1},{"a":1}]},"b":{"a":1}}"#).is_ok());
        let long = "n".repeat(9999);
        let why = why(&format!(r#"{{"{long}":1,"{long}":1}}"#));
        assert!(why.len() < 200, "{why}");
    }

    #[test]
    fn a_body_that_nests_without_end_is_refused() {
        let why = why(&"{\"a\":".repeat(10_000));
        assert!(why.contains("recursion limit"), "{why}");
    }
}
