//! Parameters of REST requests: from the query, from a form body or from a JSON body.
//!
//! Owns: how they are read and their limits. A body is read as JSON when it looks like JSON, whatever its content type says:
//! the hosted API's own curl example sends JSON as a form (`json_body.rs`).
//!
//! Never does: give meaning to a parameter. Invariants: what is refused names the parameter and the rule; of two values for one
//! parameter, in one place or in two, none is taken, unless they are equal.

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use super::error::{ApiError, ErrorCode};
use super::json_body::{self, shown_name};
use crate::model::{Id, Timestamp};

/// Most parameters of one request.
pub const MAX_PARAMS: usize = 100;
/// Longest name of a parameter, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest value of a parameter, in bytes.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Largest REST request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// What any request may say, of whatever resource; a form may repeat it, where it changes nothing.
const OF_ANY_REQUEST: [&str; 7] = [
    "access_token",
    "bin_data",
    "expand",
    "expand_all",
    "format",
    "human",
    "show_null",
];

/// Where name and value of a parameter lie.
#[derive(Clone, Debug)]
struct Pair {
    name: Range<usize>,
    value: Range<usize>,
}

/// The parameters of one request.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// All names and values, decoded, one behind the other: two pieces of memory for a query instead of two for each parameter.
    text: String,
    pairs: Vec<Pair>,
    /// How many of the pairs are the query's; the others are a form's.
    of_query: usize,
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
        params.of_query = params.pairs.len();
        Ok(params)
    }

    /// Adds the parameters of a body behind those already here.
    ///
    /// # Errors
    /// `InvalidArgument` when it is neither a form nor a JSON object, or past the limits.
    pub fn add_body(&mut self, body: &[u8]) -> Result<(), ApiError> {
        let text = body.trim_ascii();
        match text.first() {
            None => {}
            Some(b'{' | b'[') => self.json = json_body::members(text)?,
            Some(b'<') => {
                let rule = "must be a JSON object or application/x-www-form-urlencoded; XML is only answered.";
                return Err(ApiError::invalid("The body", rule));
            }
            Some(_) if json_body::is_json(text) => {
                return Err(ApiError::invalid("The body", "must be a JSON object."));
            }
            Some(_) => self.add_form(body)?,
        }
        Ok(())
    }

    fn add_form(&mut self, form: &[u8]) -> Result<(), ApiError> {
        // What is decoded is never longer.
        self.text.reserve(form.len());
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
            let (name, value) = form_pair(pair)?;
            let pair = Pair {
                name: self.keep(&name),
                value: self.keep(&value),
            };
            self.pairs.push(pair);
        }
        Ok(())
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let begin = self.text.len();
        self.text.push_str(text);
        begin..self.text.len()
    }

    fn kept(&self, place: &Range<usize>) -> &str {
        self.text.get(place.clone()).unwrap_or_default()
    }

    /// The members of a JSON body.
    pub fn members(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The members of a JSON body below the envelope key, for example `upload`; the members themselves when there is no
    /// envelope.
    ///
    /// # Errors
    /// `InvalidArgument` for an envelope that is no object.
    pub fn resource(&self, envelope: &str) -> Result<&Map<String, Value>, ApiError> {
        let wrapped = self.json.get(envelope);
        match wrapped.filter(|_| !envelope.is_empty()) {
            None => Ok(&self.json),
            Some(Value::Object(members)) => Ok(members),
            Some(_) => Err(ApiError::invalid(envelope, "must be an object.")),
        }
    }

    /// The names beside the envelope of a JSON body, where no member of the resource belongs.
    pub fn beside(&self, envelope: &str) -> impl Iterator<Item = &str> {
        let names = self.json.keys().map(String::as_str);
        let is_wrapped = self.json.contains_key(envelope);
        names.filter(move |name| is_wrapped && *name != envelope && !OF_ANY_REQUEST.contains(name))
    }

    /// The names in a form body, but for those that any request may have.
    pub fn form_names(&self) -> impl Iterator<Item = &str> {
        let form = self.pairs.iter().skip(self.of_query);
        let names = form.map(|pair| self.kept(&pair.name));
        names.filter(|name| !OF_ANY_REQUEST.contains(name))
    }

    /// The text of a parameter: from the query, a form body, or a scalar of the JSON body (within the envelope or not).
    /// JSON null is absent.
    ///
    /// # Errors
    /// `InvalidArgument` for a JSON array or object: to ignore it would be to do something else than was asked. And for two
    /// values that differ.
    pub fn text(&self, envelope: &str, name: &str) -> Result<Option<String>, ApiError> {
        let mut said = self.once(name)?.map(str::to_owned);
        let members = [self.resource(envelope)?.get(name), self.json.get(name)];
        for member in members.into_iter().flatten() {
            let text = match member {
                Value::Null => continue,
                Value::Array(_) | Value::Object(_) => {
                    return Err(ApiError::invalid(name, "must be a text or a number."));
                }
                scalar => text_of(scalar),
            };
            if said.as_ref().is_some_and(|said| *said != text) {
                return Err(said_twice(name));
            }
            said = Some(text);
        }
        Ok(said)
    }

    /// A parameter of the query or of a form body, not of JSON; the first where it is repeated.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// A parameter of the query or of a form body, not of JSON.
    ///
    /// # Errors
    /// `InvalidArgument` for two values that differ.
    pub fn once(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.values(name);
        let first = values.next();
        match values.all(|value| Some(value) == first) {
            true => Ok(first),
            false => Err(said_twice(name)),
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.pairs().filter(move |(n, _)| *n == name);
        named.map(|(_, value)| value)
    }

    /// All parameters of the query and of a form body, in order, repeated ones too.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter();
        pairs.map(|pair| (self.kept(&pair.name), self.kept(&pair.value)))
    }

    /// A flag: `true`/`1` or `false`/`0`, absent is false.
    ///
    /// # Errors
    /// `InvalidArgument` for any other text, and for two that differ.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        // Python writes True.
        match self.once(name)?.map(str::to_ascii_lowercase).as_deref() {
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
        let read = |number| match number {
            0 => Ok(None),
            number => moment_of(number).map(Some).ok_or_else(|| {
                ApiError::invalid(name, "must be 0 (never) or an epoch time in seconds.")
            }),
        };
        self.integer(envelope, name)?.map(read).transpose()
    }

    /// The same where there must be a moment.
    ///
    /// # Errors
    /// `InvalidArgument` when it is 0, negative or no whole number.
    pub fn moment(&self, envelope: &str, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let read = |number| {
            moment_of(number).ok_or_else(|| {
                ApiError::invalid(name, "must be an epoch time in seconds that lies ahead.")
            })
        };
        self.integer(envelope, name)?.map(read).transpose()
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
fn form_pair(pair: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), ApiError> {
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
fn form_text(encoded: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr2(b'%', b'+', encoded).is_none() {
        return std::str::from_utf8(encoded).ok().map(Cow::Borrowed);
    }
    let mut encoded = Cow::Borrowed(encoded);
    if encoded.contains(&b'+') {
        let pluses = encoded.to_mut().iter_mut().filter(|byte| **byte == b'+');
        pluses.for_each(|byte| *byte = b' ');
    }
    let decoded = percent_decode(&encoded).decode_utf8();
    decoded.ok().map(|text| Cow::Owned(text.into_owned()))
}

/// A moment in epoch seconds, or in milliseconds above 10^11; none for what is not above 0.
fn moment_of(number: i64) -> Option<Timestamp> {
    match number {
        ..=0 => None,
        millis @ 100_000_000_001.. => Some(Timestamp::from_millis(millis)),
        seconds => Some(Timestamp::from_seconds(seconds)),
    }
}

/// What a JSON scalar says, as a parameter of the query would.
pub(super) fn text_of(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The refusal of a parameter with two values; it shows neither, for they may be secrets.
pub(super) fn said_twice(name: &str) -> ApiError {
    let rule = "is given twice, with different values.";
    ApiError::invalid(&shown_name(name), rule)
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
    fn the_query_and_both_bodies_are_read() {
        let params = with_body("a=1&b=2", "b=2&c=4").unwrap();
        assert_eq!(params.text("", "b").unwrap().unwrap(), "2");
        assert_eq!(params.text("", "c").unwrap().unwrap(), "4");
        let params = with_body("a=1", r#"{"upload":{"nb_chunks":7,"x":null},"y":true}"#).unwrap();
        assert_eq!(params.integer("upload", "nb_chunks").unwrap(), Some(7));
        assert_eq!(params.text("upload", "x").unwrap(), None);
        assert_eq!(params.text("upload", "y").unwrap().unwrap(), "true");
    }

    #[test]
    fn two_values_that_differ_are_refused_by_name_and_equal_ones_are_one() {
        let json = r#"{"upload":{"a":5,"b":null},"a":"5"}"#;
        for (query, body, differs) in [
            ("a=5", json, false),
            ("a=5&a=5", "a=5", false),
            ("a=5&a=6", "", true),
            ("a=5", "a=6", true),
            ("", "a=5&a=6", true),
            ("a=05", json, true),
            ("a=", json, true),
            ("", r#"{"upload":{"a":5},"a":6}"#, true),
            ("b=7", json, false),
        ] {
            let said = with_body(query, body).unwrap().text("upload", "a");
            let (text, refused) = (said.as_ref().ok(), said.as_ref().err());
            assert_eq!(refused.is_some(), differs, "{query} {body} {text:?}");
            let rule = "a is given twice, with different values.";
            assert!(refused.is_none_or(|e| e.message == rule), "{query} {body}");
        }
        let params = with_body("b=1&b=0&c=1&c=true", "").unwrap();
        assert!(params.flag("b").is_err() && params.flag("c").is_err());
        assert!(params.once("b").is_err() && params.once("d").is_ok());
    }

    #[test]
    fn names_in_a_body_are_told_from_those_of_the_query() {
        let names = |query, body| {
            let params = with_body(query, body).unwrap();
            let all = params.beside("upload").chain(params.form_names());
            all.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names("a=1", "b=2&human=true&c"), ["b", "c"]);
        assert_eq!(names("a=1", r#"{"upload":{"b":1},"c":1}"#), ["c"]);
        assert_eq!(names("a=1", r#"{"b":1,"c":1}"#), [""; 0]);
    }

    #[test]
    fn what_is_neither_a_form_nor_an_object_is_refused_as_such() {
        for body in ["1", "\"\"", "null", "true", " \"a=b\"\n", "[]", "[1]"] {
            let why = with_body("", body).unwrap_err().message;
            assert_eq!(why, "The body must be a JSON object.", "{body}");
        }
        let why = with_body("", "<upload/>").unwrap_err().message;
        assert!(why.contains("XML is only answered"), "{why}");
        for envelope in ["[]", "1", "\"a\"", "null"] {
            let params = with_body("", &format!("{{\"upload\":{envelope}}}")).unwrap();
            for error in [
                params.resource("upload").err(),
                params.text("upload", "a").err(),
            ] {
                assert_eq!(error.unwrap().message, "upload must be an object.");
            }
        }
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
        let moment = |text: &str| {
            let params = Params::from_query(&format!("e={text}")).unwrap();
            params.moment("", "e").map_err(|error| error.message)
        };
        assert_eq!(moment("1"), Ok(Some(Timestamp::from_seconds(1))));
        for bad in ["0", "-1", "-9223372036854775808"] {
            let why = moment(bad).unwrap_err();
            assert_eq!(why, "e must be an epoch time in seconds that lies ahead.");
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
