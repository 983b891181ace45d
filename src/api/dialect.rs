//! One answer, in the dialect of its route: JSON, the hosted API's XML, or S3's XML.
//!
//! Owns: how values and refusals are written. The hosted API shows no XML anywhere, so its mapping is ours: the root is
//! the envelope key, one element per member, a list repeats its singular, members beside the envelope become attributes
//! of the root, and a null (shown only with `show_null`) carries `nil="true"`. An answer without an envelope (a token) gets
//! the root `response`.
//!
//! No REST answer may be kept by a cache: they hold tokens and signatures (RFC 6749, section 5.1).
//!
//! Never does: decide. Invariant: text is escaped once, here; characters that XML 1.0 forbids become U+FFFD.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::answer_style;
use super::body::{ResponseBody, full};
use super::error::{ApiError, ErrorCode, RestCode};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Names the host in S3 answers, beside the request's id.
pub const AMZ_ID_2: HeaderName = HeaderName::from_static("x-amz-id-2");
/// There is one host; which one, its client knows.
pub const HOST_ID: HeaderValue = HeaderValue::from_static(HOST_ID_TEXT);
/// Where a bucket is.
pub(super) const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
const HOST_ID_TEXT: &str = "pillarbox";

/// JSON or XML, for the REST routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/xml`
    Xml,
}

/// How a REST answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestStyle {
    /// JSON or XML.
    pub format: Format,
    /// Indented, for people.
    pub human: bool,
    /// Whether unset members are shown as null.
    pub show_null: bool,
    /// The three digits of the resource's error codes.
    pub resource: &'static str,
}

/// How a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The hosted media API.
    Rest(RestStyle),
    /// Amazon S3.
    S3,
}

impl Dialect {
    /// A refusal in this dialect.
    pub fn refusal(self, error: &ApiError, request_id: &str) -> Response<ResponseBody> {
        let (content_type, text) = match self {
            Self::Rest(style) => (
                content_type(style.format),
                rest_value_text(style, &rest_error(style, error)),
            ),
            Self::S3 => answer_style::refusal(error, request_id)
                .unwrap_or_else(|| ("application/xml", s3_error(error, request_id))),
        };
        let mut response = Response::new(full(text));
        *response.status_mut() = error.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        match self {
            Self::Rest(_) => headers.insert(CACHE_CONTROL, NO_STORE),
            Self::S3 => {
                put_region(headers, error);
                headers.insert(AMZ_ID_2, HOST_ID)
            }
        };
        if let Some(allow) = error.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(size) = error.object_size
            && let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}"))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        if matches!(
            error.code,
            ErrorCode::SlowDown | ErrorCode::ServiceUnavailable | ErrorCode::InsufficientStorage
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl RestStyle {
    /// A value in this style.
    pub fn answer(self, status: StatusCode, value: &Value) -> Response<ResponseBody> {
        let mut text = rest_value_text(self, value);
        // Room is counted by the length, and a text that grew has up to twice that.
        text.shrink_to_fit();
        let mut response = Response::new(full(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(content_type(self.format)),
        );
        headers.insert(CACHE_CONTROL, NO_STORE);
        response
    }
}

const fn content_type(format: Format) -> &'static str {
    match format {
        Format::Json => "application/json",
        Format::Xml => "application/xml",
    }
}

fn rest_error(style: RestStyle, error: &ApiError) -> Value {
    let (code, message) = match error.code.rest() {
        RestCode::Common(code, message) => (code.to_owned(), message),
        RestCode::OfResource(1) => (format!("0x{}0001", style.resource), "Invalid Input"),
        RestCode::OfResource(number) => (
            format!("0x{}{number:04}", style.resource),
            "Requested file does not exist",
        ),
    };
    json!({ "error": { "error_code": code, "error_message": message, "error_detail": error.message } })
}

fn rest_value_text(style: RestStyle, value: &Value) -> String {
    let shown;
    let value = if style.show_null {
        value
    } else {
        shown = without_nulls(value);
        &shown
    };
    match style.format {
        Format::Json if style.human => format!("{value:#}\n"),
        Format::Json => value.to_string(),
        Format::Xml => Xml::document(value, style.human),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k.clone(), without_nulls(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// Tells the region to who signed for another one: an answer to HEAD has no body that could.
fn put_region(headers: &mut HeaderMap, error: &ApiError) {
    let region = error.extras.iter().find(|(name, _)| *name == "Region");
    if let Some((_, region)) = region
        && let Ok(region) = HeaderValue::from_str(region)
    {
        headers.insert(BUCKET_REGION, region);
    }
}

/// S3's error document.
pub(super) fn s3_error(error: &ApiError, request_id: &str) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    push_element(&mut text, "Code", error.code.name());
    push_element(&mut text, "Message", &error.message);
    for (name, value) in &error.extras {
        push_element(&mut text, name, value);
    }
    push_element(&mut text, "RequestId", request_id);
    push_element(&mut text, "HostId", HOST_ID_TEXT);
    if let Some(explanation) = error.explanation() {
        text.push_str(&explanation.xml);
    }
    text.push_str("</Error>");
    text
}

/// Appends `<name>value</name>`, the value escaped.
pub fn push_element(text: &mut String, name: &str, value: &str) {
    text.push('<');
    text.push_str(name);
    text.push('>');
    text.push_str(&escape(value));
    text.push_str("</");
    text.push_str(name);
    text.push('>');
}

/// Text that is safe inside an element or an attribute (XML 1.0, section 2.2 and 2.4).
pub fn escape(value: &str) -> String {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let clean = value
        .chars()
        .map(|c| if allowed(c) { c } else { '\u{fffd}' })
        .collect::<String>();
    quick_xml::escape::escape(clean.as_str()).into_owned()
}

struct Xml {
    text: String,
    human: bool,
}

impl Xml {
    fn document(value: &Value, human: bool) -> String {
        let mut xml = Self {
            text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
            human,
        };
        let nothing = serde_json::Map::new();
        let members = value.as_object().unwrap_or(&nothing);
        let mut members = members.iter();
        let first = members.next();
        if first.is_some_and(|(_, value)| !value.is_object() && !value.is_array()) {
            xml.element("response", "", value, 0);
        } else if let Some((root, envelope)) = first {
            let attributes = members
                .map(|(k, v)| format!(" {k}=\"{}\"", escape(&scalar(v))))
                .collect::<String>();
            xml.element(root, &attributes, envelope, 0);
        }
        if human {
            xml.text.push('\n');
        }
        xml.text
    }

    fn element(&mut self, name: &str, attributes: &str, value: &Value, depth: usize) {
        self.new_line(depth);
        let name = element_name(name);
        match value {
            Value::Null => self
                .text
                .push_str(&format!("<{name}{attributes} nil=\"true\"/>")),
            Value::Object(members) => {
                self.text.push_str(&format!("<{name}{attributes}>"));
                members
                    .iter()
                    .for_each(|(k, v)| self.element(k, "", v, depth + 1));
                self.close(&name, depth, members.is_empty());
            }
            Value::Array(items) => {
                self.text.push_str(&format!("<{name}{attributes}>"));
                items
                    .iter()
                    .for_each(|item| self.element(singular(&name), "", item, depth + 1));
                self.close(&name, depth, items.is_empty());
            }
            scalar_value => {
                self.text.push_str(&format!(
                    "<{name}{attributes}>{}</{name}>",
                    escape(&scalar(scalar_value))
                ));
            }
        }
    }

    fn close(&mut self, name: &str, depth: usize, was_empty: bool) {
        if !was_empty {
            self.new_line(depth);
        }
        self.text.push_str(&format!("</{name}>"));
    }

    fn new_line(&mut self, depth: usize) {
        if self.human {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n("  ", depth));
        }
    }
}

/// A member's name as an element name; what XML does not allow in one becomes `_`.
fn element_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let clean = name
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect::<String>();
    if clean.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        clean
    } else {
        format!("_{clean}")
    }
}

fn singular(plural: &str) -> &str {
    match plural.strip_suffix('s') {
        Some(one) if !one.is_empty() => one,
        _ => "item",
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn style(format: Format, human: bool, show_null: bool) -> RestStyle {
        RestStyle {
            format,
            human,
            show_null,
            resource: "023",
        }
    }

    #[test]
    fn a_list_in_xml_repeats_its_singular_and_keeps_its_totals_as_attributes() {
        let value = json!({ "files": [{ "name": "a<b", "size": 1, "job": null }], "total": 1 });
        let text = rest_value_text(style(Format::Xml, false, false), &value);
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><files total=\"1\"><file><name>a&lt;b</name><size>1</size></file></files>"
        );
        assert!(
            rest_value_text(style(Format::Xml, false, true), &value)
                .contains("<job nil=\"true\"/>")
        );
    }

    #[test]
    fn an_answer_without_an_envelope_gets_a_root_of_its_own() {
        let value = json!({ "access_token": "t", "expires_in": 7 });
        assert!(
            rest_value_text(style(Format::Xml, false, false), &value).ends_with(
                "?><response><access_token>t</access_token><expires_in>7</expires_in></response>"
            )
        );
    }

    #[test]
    fn unset_members_are_shown_only_on_demand() {
        let value = json!({ "file": { "a": null, "b": { "c": null, "d": 1 } } });
        assert_eq!(
            rest_value_text(style(Format::Json, false, false), &value),
            r#"{"file":{"b":{"d":1}}}"#
        );
        assert_eq!(
            rest_value_text(style(Format::Json, false, true), &value),
            value.to_string()
        );
        assert!(rest_value_text(style(Format::Json, true, false), &value).contains("\n  \"file\""));
    }

    #[test]
    fn every_error_row_reads_in_every_dialect() {
        for code in ErrorCode::ALL {
            let error = ApiError::new(*code, "why & how");
            let s3 = s3_error(&error, "R1");
            assert!(
                s3.contains(&format!(
                    "<Code>{}</Code><Message>why &amp; how</Message>",
                    code.name()
                )),
                "{s3}"
            );
            for format in [Format::Json, Format::Xml] {
                let text = rest_value_text(
                    style(format, false, false),
                    &rest_error(style(format, false, false), &error),
                );
                assert!(
                    text.contains("error_code") && text.contains("0x0"),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn the_rows_of_the_hosted_api_are_word_for_word() {
        let row = |resource, code| {
            let value = rest_error(
                RestStyle {
                    resource,
                    ..RestStyle::default()
                },
                &ApiError::new(code, ""),
            );
            (
                value["error"]["error_code"].as_str().unwrap().to_owned(),
                value["error"]["error_message"].as_str().unwrap().to_owned(),
            )
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            row("023", ErrorCode::InternalError),
            pair("0x0000001", "Internal Error")
        );
        assert_eq!(
            row("023", ErrorCode::InvalidAccessToken),
            pair("0x0000003", "Invalid access token")
        );
        assert_eq!(
            row("023", ErrorCode::InvalidArgument),
            pair("0x0230001", "Invalid Input")
        );
        assert_eq!(
            row("023", ErrorCode::NoSuchKey),
            pair("0x0230002", "Requested file does not exist")
        );
        assert_eq!(
            row("017", ErrorCode::InvalidArgument),
            pair("0x0170001", "Invalid Input")
        );
        assert_eq!(
            row("023", ErrorCode::NoSuchPipeline),
            pair("0x0170002", "Pipeline does not exist")
        );
    }

    #[test]
    fn control_characters_never_break_the_xml() {
        assert_eq!(escape("a\u{1}b\u{fffe}\"<"), "a\u{fffd}b\u{fffd}&quot;&lt;");
    }
}
