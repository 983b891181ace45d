//! Clues to a policy that is not of its grammar: what else it is, and what its writer's language did to it.
//!
//! Owns: the table for `InvalidPolicyDocument`. First what the text is instead of base64, then what the base64 holds instead of JSON, then
//! what the JSON lacks of a policy.
//! Never does: repeat more of the policy than a short word. Invariant: a clue reads the text as it was sent or decoded, never the
//! parsed policy, as there is none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::document::{decode_bytes, plain_escapes};
use super::super::error::PolicyError;
use super::absent::RANGE_AS_FIELD;
use super::{Clue, Facts, date_shape, when};

pub(super) const DOCUMENT: &[Clue] = &[
    empty,
    python_bytes,
    json_sent,
    percent_encoded,
    url_alphabet,
    no_base64,
    no_utf8,
    twice_encoded,
    wide_characters,
    byte_order_mark,
    trailing_comma,
    single_quotes,
    unquoted_names,
    cut_off,
    no_json,
    names_in_capitals,
    expiration_shape,
    range_as_field,
    values_of_other_kinds,
    several_members,
    conditions_not_listed,
    operators,
    bounds,
    grammar,
];

fn sent<'a>(facts: &'a Facts<'_>) -> &'a str {
    facts.form.get("policy").unwrap_or_default()
}

fn empty(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        sent(facts).trim().is_empty(),
        "The policy is empty: the field is there, and what the page puts into it is not set when the form is sent.",
    )
}

fn python_bytes(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        sent(facts).starts_with("b'") || sent(facts).starts_with("b\""),
        "The policy was sent as Python prints bytes (b'...'); decode it to text before it goes into the form.",
    )
}

fn json_sent(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        sent(facts).trim_start().starts_with('{'),
        "The policy was sent as JSON; send its base64 text.",
    )
}

fn percent_encoded(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        sent(facts).contains('%'),
        "The policy was percent-encoded, as for a URL; a form field takes the base64 text as it is.",
    )
}

fn url_alphabet(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        sent(facts).contains(['-', '_']) && facts.json().is_empty(),
        "The policy is in the base64 of URLs (with - and _); use standard base64, with + and /.",
    )
}

fn no_base64(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let characters = sent(facts)
        .split_ascii_whitespace()
        .collect::<String>()
        .len();
    error
        .message()
        .contains("Base64")
        .then(|| match characters % 4 {
            1 => "The policy is base64 that was cut: its length is none that base64 can have."
                .to_owned(),
            _ => "The policy is not base64 of a text.".to_owned(),
        })
}

const WIDE: &str = "The policy's text is UTF-16, as PowerShell and .NET write it; encode it as UTF-8 before base64.";

/// Whether the bytes are UTF-16: their mark says so, or most pairs of them have the zero that a letter of ASCII has there. A single zero
/// says nothing, as it stands in any bytes that are no text.
fn is_wide(bytes: &[u8]) -> bool {
    let has_mark = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let with_zero = bytes.chunks(2).filter(|pair| pair.contains(&0)).count();
    has_mark || (bytes.len().is_multiple_of(2) && with_zero > bytes.len() / 4)
}

/// All of it is there, and it is no text as JSON is written.
fn no_utf8(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let bytes = decode_bytes(sent(facts)).ok()?;
    let sentence = if std::str::from_utf8(&bytes).is_ok() {
        return None;
    } else if bytes.starts_with(b"\x1f\x8b") {
        "The policy is compressed (gzip); the base64 text must be that of the JSON itself."
    } else if is_wide(&bytes) {
        WIDE
    } else {
        "The policy holds bytes that are no UTF-8, as a text in Latin-1 does; write its JSON in UTF-8 before base64."
    };
    Some(sentence.to_owned())
}

fn twice_encoded(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let inner = STANDARD.decode(facts.json().trim()).unwrap_or_default();
    when(
        inner.starts_with(b"{"),
        "The policy was encoded in base64 twice; once is enough.",
    )
}

fn wide_characters(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(is_wide(facts.json().as_bytes()), WIDE)
}

fn byte_order_mark(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        facts.json().starts_with('\u{feff}'),
        "The policy begins with a byte order mark; write the JSON without it.",
    )
}

fn compact(facts: &Facts<'_>) -> String {
    facts.json().split_ascii_whitespace().collect()
}

fn trailing_comma(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let text = compact(facts);
    when(
        is_no_json(error) && (text.contains(",]") || text.contains(",}")),
        "The policy has a comma behind its last element, which JSON does not allow.",
    )
}

fn is_no_json(error: &PolicyError) -> bool {
    error.message().contains("Invalid JSON")
}

fn single_quotes(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let json = facts.json();
    when(
        is_no_json(error) && json.contains('\'') && !json.contains('"'),
        "The policy is written with single quotes; JSON wants double quotes.",
    )
}

fn unquoted_names(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let text = compact(facts);
    let bare = |name| {
        [format!("{{{name}:"), format!(",{name}:")]
            .iter()
            .any(|start| text.contains(start))
    };
    when(
        is_no_json(error) && (bare("expiration") || bare("conditions")),
        "The policy's names stand without quotation marks, as in JavaScript; JSON wants them in double quotes.",
    )
}

fn cut_off(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let parsed = serde_json::from_str::<IgnoredAny>(facts.json());
    when(
        is_no_json(error) && parsed.is_err_and(|why| why.is_eof()),
        "The policy ends in the middle of its JSON: it was cut, or a bracket is missing at its end.",
    )
}

/// The parser's words name the place, and nothing of the text.
fn no_json(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let json = plain_escapes(facts.json());
    let parsed = serde_json::from_str::<IgnoredAny>(&json);
    match parsed {
        _ if !is_no_json(error) => None,
        Err(why) => Some(format!(
            "The policy is no JSON: {why}; JSON has no comments, no None and no undefined, and nothing may follow its last bracket."
        )),
        Ok(_) => when(
            !json.trim_start().starts_with('{'),
            "The policy must be one JSON object: {\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": [...]}.",
        ),
    }
}

fn names_in_capitals(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let (_, name) = error.message().split_once("Unexpected: \"")?;
    let name = name.trim_end_matches('"');
    let is_known = ["expiration", "conditions"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known));
    match is_known {
        true => Some("The names expiration and conditions must be written in small letters.".to_owned()),
        false => Some("A policy has the two members expiration and conditions and no other; take the others out.".to_owned()),
    }
}

fn expiration_shape(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let (_, text) = error.message().split_once("Invalid 'expiration' value: ")?;
    let fault = date_shape::fault(text.trim_matches('\''));
    Some(format!(
        "The expiration cannot be read: {fault}; write it in UTC as 2030-01-01T00:00:00Z."
    ))
}

fn range_as_field(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    if !error.message().contains("Simple-Condition: value must be") {
        return None;
    }
    let json: Value = serde_json::from_str(&plain_escapes(facts.json())).ok()?;
    let conditions = json.get("conditions")?.as_array()?.iter();
    let mut members = conditions.filter_map(Value::as_object).flatten();
    // The first value that is no text is the one that is refused.
    let (name, _) = members.find(|(_, value)| !value.is_string())?;
    when(
        name.eq_ignore_ascii_case("content-length-range"),
        RANGE_AS_FIELD,
    )
}

fn values_of_other_kinds(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        error.message().contains("must be a string"),
        "A condition holds a number, a list, true, false or null where a text belongs; put it into quotation marks, as the form sends it.",
    )
}

fn several_members(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        error.message().contains("exactly one property"),
        "A condition written as an object must name exactly one field; give each field an object of its own.",
    )
}

fn conditions_not_listed(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        error.message().contains("must be a List"),
        "The conditions must be a list of objects and lists: [{\"bucket\": \"uploads\"}, [\"starts-with\", \"$key\", \"in/\"]].",
    )
}

fn operators(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let faults = [
        "unknown operation",
        "missing operation",
        "wrong number of arguments",
    ];
    when(
        faults.iter().any(|fault| error.message().contains(fault)),
        "A condition written as a list has three elements and begins with eq, starts-with or content-length-range: \
         [\"eq\", \"$acl\", \"private\"], [\"content-length-range\", 0, 1048576].",
    )
}

fn bounds(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        error.message().contains("bounds must be"),
        "The bounds of content-length-range are whole numbers of bytes, not negative, none larger than any file, and without a fraction or an exponent.",
    )
}

fn grammar(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    Some(
        "The policy does not follow the grammar of S3 POST policies; the message says where."
            .to_owned(),
    )
}
