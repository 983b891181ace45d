//! Parameters of REST requests: from the query, from a form body or from a JSON body.
//!
//! Owns: how they are read and their limits. The query wins over the body. A body is read as JSON when it looks like
//! JSON, whatever its content type says: the hosted API's own curl example sends JSON as a form (and with shell
//! backslashes and a trailing comma, which are forgiven).
//!
//! Never does: give meaning to a parameter. Invariant: what is refused names the parameter and the rule.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use super::error::{ApiError, ErrorCode};
use crate::model::{Id, Timestamp};

/// Most parameters of one request.
pub const MAX_PARAMS: usize = 100;
/// Longest name of a parameter, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest value of a parameter, in bytes.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Largest REST request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The parameters of one request.
#[derive(Clone, Debug, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
    json: Map<String, Value>,
}

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// `InvalidArgument` past [`MAX_PARAMS`], [`MAX_NAME_BYTES`] or [`MAX_VALUE_BYTES`], and for what is not UTF-8.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut params = Self::default();
        params.add_form(query.as_bytes())?;
        Ok(params)
    }

    /// Adds the parameters of a body behind those already here.
    ///
    /// # Errors
    /// `InvalidArgument` when it is neither a form nor a JSON object, or past the limits.
    pub fn add_body(&mut self, body: &[u8]) -> Result<(), ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(());
        }
        if !matches!(body.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return self.add_form(body);
        }
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::invalid("The body", "must be UTF-8."))?;
        match parse_forgiving(text) {
            Ok(Value::Object(members)) => self.json = members,
            Ok(_) => return Err(ApiError::invalid("The body", "must be a JSON object.")),
            Err(why) => {
                return Err(ApiError::invalid(
                    "The body",
                    format!("is not valid JSON: {why}."),
                ));
            }
        }
        Ok(())
    }

    fn add_form(&mut self, form: &[u8]) -> Result<(), ApiError> {
        for pair in form
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            if self.pairs.len() >= MAX_PARAMS {
                return Err(ApiError::invalid(
                    "The request",
                    format!("must have at most {MAX_PARAMS} parameters."),
                ));
            }
            self.pairs.push(form_pair(pair)?);
        }
        Ok(())
    }

    /// The members of a JSON body below the envelope key, for example `upload`; the members themselves when there is no
    /// envelope.
    pub fn resource(&self, envelope: &str) -> &Map<String, Value> {
        self.json
            .get(envelope)
            .and_then(Value::as_object)
            .unwrap_or(&self.json)
    }

    /// The text of a parameter: from the query, a form body, or a scalar of the JSON body (within the envelope or not).
    /// JSON null is absent.
    ///
    /// # Errors
    /// `InvalidArgument` for a JSON array or object: to ignore it would be to do something else than was asked.
    pub fn text(&self, envelope: &str, name: &str) -> Result<Option<String>, ApiError> {
        if let Some(value) = self.query(name) {
            return Ok(Some(value.to_owned()));
        }
        let member = self.resource(envelope).get(name);
        match member.or_else(|| self.json.get(name)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(Value::Array(_) | Value::Object(_)) => {
                Err(ApiError::invalid(name, "must be a text or a number."))
            }
        }
    }

    /// A parameter of the query or of a form body, not of JSON.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All parameters of the query and of a form body, in order, repeated ones too.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A flag: `true`/`1` or `false`/`0`, absent is false.
    ///
    /// # Errors
    /// `InvalidArgument` for any other text.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        // Python writes True.
        match self.query(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0" | "") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(ApiError::invalid(name, "must be true or false.")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not one, or out of the range of `i64`.
    pub fn integer(&self, envelope: &str, name: &str) -> Result<Option<i64>, ApiError> {
        let parse = |text: String| {
            text.trim()
                .parse()
                .map_err(|_| ApiError::invalid(name, "must be a whole number."))
        };
        self.text(envelope, name)?.map(parse).transpose()
    }

    /// An id of 24 hex digits.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not one.
    pub fn id(&self, envelope: &str, name: &str) -> Result<Option<Id>, ApiError> {
        let parse = |text: String| {
            Id::parse(&text).ok_or_else(|| ApiError::invalid(name, "must be 24 hex digits."))
        };
        self.text(envelope, name)?.map(parse).transpose()
    }

    /// A moment in epoch seconds; values above 10^11 are taken as milliseconds. `Some(None)` is 0: never.
    ///
    /// # Errors
    /// `InvalidArgument` when it is negative or no whole number.
    pub fn epoch(&self, envelope: &str, name: &str) -> Result<Option<Option<Timestamp>>, ApiError> {
        Ok(match self.integer(envelope, name)? {
            None => None,
            Some(0) => Some(None),
            Some(millis @ 100_000_000_001..) => Some(Some(Timestamp::from_millis(millis))),
            Some(seconds @ 1..) => Some(Some(Timestamp::from_seconds(seconds))),
            Some(_) => {
                return Err(ApiError::invalid(
                    name,
                    "must be 0 (never) or an epoch time in seconds.",
                ));
            }
        })
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// `InvalidArgument` that names it.
    pub fn required<T>(value: Option<T>, name: &str) -> Result<T, ApiError> {
        value.ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidArgument, format!("{name} is required."))
        })
    }
}

/// One `name=value` of a form. Strict where the usual decoders put U+FFFD for what is not UTF-8: two names that differ
/// would become one.
fn form_pair(pair: &[u8]) -> Result<(String, String), ApiError> {
    let equals = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = match equals {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &b""[..]),
    };
    let name = form_text(name).filter(|name| name.len() <= MAX_NAME_BYTES);
    let name = name.ok_or_else(|| {
        let rule = format!("must be UTF-8, at most {MAX_NAME_BYTES} bytes.");
        ApiError::invalid("A parameter's name", rule)
    })?;
    let value = form_text(value).ok_or_else(|| ApiError::invalid(&name, "must be UTF-8."))?;
    if value.len() > MAX_VALUE_BYTES {
        let rule = format!("must be at most {MAX_VALUE_BYTES} bytes.");
        return Err(ApiError::invalid(&name, rule));
    }
    Ok((name, value))
}

/// Decodes `application/x-www-form-urlencoded` (URL standard, section 5.1): a plus sign is a blank.
fn form_text(encoded: &[u8]) -> Option<String> {
    let mut encoded = Cow::Borrowed(encoded);
    if encoded.contains(&b'+') {
        let pluses = encoded.to_mut().iter_mut().filter(|byte| **byte == b'+');
        pluses.for_each(|byte| *byte = b' ');
    }
    let decoded = percent_decode(&encoded).decode_utf8();
    decoded.ok().map(Cow::into_owned)
}

/// Strict JSON, or else JSON after taking out what a shell example leaves in: backslashes before blanks outside strings, and
/// trailing commas.
fn parse_forgiving(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
        .or_else(|strict| serde_json::from_str(&without_shell_leftovers(text)).map_err(|_| strict))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn with_body(query: &str, body: &str) -> Result<Params, ApiError> {
        let mut params = Params::from_query(query)?;
        params.add_body(body.as_bytes())?;
        Ok(params)
    }

    #[test]
    fn the_query_wins_over_the_body_and_both_bodies_are_read() {
        let params = with_body("a=1&b=2", "b=3&c=4").unwrap();
        assert_eq!(params.text("", "b").unwrap().unwrap(), "2");
        assert_eq!(params.text("", "c").unwrap().unwrap(), "4");
        let params = with_body("a=1", r#"{"upload":{"nb_chunks":7,"x":null},"y":true}"#).unwrap();
        assert_eq!(params.integer("upload", "nb_chunks").unwrap(), Some(7));
        assert_eq!(params.text("upload", "x").unwrap(), None);
        assert_eq!(params.text("upload", "y").unwrap().unwrap(), "true");
    }

    #[test]
    fn the_hosted_apis_own_example_is_read_with_its_backslashes_and_trailing_comma() {
        let body = "{ \\\n  \"upload\": { \\\n    \"nb_chunks\": 1, \\\n  } \\\n}";
        assert_eq!(
            with_body("", body)
                .unwrap()
                .integer("upload", "nb_chunks")
                .unwrap(),
            Some(1)
        );
    }

    #[test]
    fn broken_bodies_are_refused_with_the_reason() {
        for body in ["{", "{\"a\":}", "{]"] {
            assert!(
                with_body("", body)
                    .unwrap_err()
                    .message
                    .contains("not valid JSON"),
                "{body}"
            );
        }
        assert!(with_body("", "{\"a\\\\\": \"},\"}").is_ok());
    }

    #[test]
    fn epochs_are_seconds_or_milliseconds_or_never() {
        let epoch = |text: &str| {
            Params::from_query(&format!("e={text}"))
                .unwrap()
                .epoch("", "e")
        };
        assert_eq!(epoch("0").unwrap(), Some(None));
        assert_eq!(
            epoch("1403257566").unwrap(),
            Some(Some(Timestamp::from_seconds(1_403_257_566)))
        );
        assert_eq!(
            epoch("1403257566279").unwrap(),
            Some(Some(Timestamp::from_millis(1_403_257_566_279)))
        );
        for bad in ["-1", "soon", "1.5", ""] {
            assert_eq!(
                epoch(bad).unwrap_err().code,
                ErrorCode::InvalidArgument,
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused_and_never_becomes_another_text() {
        for (query, named) in [
            ("a=%ff", "a "),
            ("a=+%ff", "a "),
            ("%ff=1", "A parameter's name"),
            ("a+b%ff=1", "A parameter's name"),
        ] {
            let error = Params::from_query(query).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{query}");
            assert!(error.message.starts_with(named), "{}", error.message);
        }
        let params = Params::from_query("a=%c3%bc+x%2B&a+%2B=%zz+b&b").unwrap();
        assert_eq!(params.query("a"), Some("\u{fc} x+"));
        assert_eq!(params.query("a +"), Some("%zz b"));
    }

    #[test]
    fn a_list_or_an_object_where_a_text_belongs_is_refused_by_name() {
        for body in [r#"{"a":[1]}"#, r#"{"upload":{"a":{}}}"#] {
            let error = with_body("", body)
                .unwrap()
                .integer("upload", "a")
                .unwrap_err();
            assert!(error.message.starts_with("a must be"), "{}", error.message);
        }
        let error = with_body("", "[1]").unwrap_err();
        assert_eq!(error.message, "The body must be a JSON object.");
    }

    #[test]
    fn too_many_parameters_are_refused() {
        let query = "a=1&".repeat(MAX_PARAMS + 1);
        assert!(Params::from_query(&query).is_err());
        assert!(
            Params::from_query(&format!("a={}", "x".repeat(MAX_VALUE_BYTES + 1)))
                .unwrap_err()
                .message
                .starts_with("a ")
        );
    }
}
