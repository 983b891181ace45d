//! Clues to a condition on a field that the form has not.
//!
//! Owns: what such a name is instead of a field's, where the field is instead, and with which value it must be sent.
//! Never does: tell to send what cannot be sent, or what leads into the next refusal. Invariant: no value is repeated that must not be
//! shown.

use super::super::document::{Condition, Test};
use super::{Facts, shown_value};

/// Said of a length range that is written as a condition on a field.
pub(in super::super) const RANGE_AS_FIELD: &str = "content-length-range is no field of the form: write it as a list with its two bounds, as \
     [\"content-length-range\", 1, 1048576].";

/// Fields of one signature, which a form of the other must not have.
const OF_V2: [&str; 2] = ["awsaccesskeyid", "signature"];
const OF_V4: [&str; 4] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
];

/// Knows one reason why a field of this name is not there.
type Lack = fn(&Facts<'_>, &str) -> Option<String>;

const LACKS: &[Lack] = &[
    ignored,
    late,
    range,
    part_of_a_name,
    file,
    other_version,
    no_type,
    alike,
];

/// Why the field that a condition names is not there, and what to do; none when it is.
pub(super) fn absent(facts: &Facts<'_>, condition: &Condition) -> Option<String> {
    let name = condition.field()?;
    if facts.value(name).is_some() {
        return None;
    }
    let known = LACKS.iter().find_map(|lack| lack(facts, name));
    known.or_else(|| {
        let how = how_to_send(name, condition.test());
        Some(format!(
            "The policy wants a field '{name}', and the form has none before the file; send it{how}."
        ))
    })
}

fn ignored(_: &Facts<'_>, name: &str) -> Option<String> {
    name.starts_with("x-ignore-").then(|| {
        format!("A field whose name begins with x-ignore- counts as not sent, so no form can meet the condition on '{name}': take it out.")
    })
}

fn late(facts: &Facts<'_>, name: &str) -> Option<String> {
    facts.is_late(name).then(|| {
        format!("The field '{name}' comes after the file, and whatever follows the file is ignored: send the file as the last part of the form.")
    })
}

fn range(_: &Facts<'_>, name: &str) -> Option<String> {
    (name == "content-length-range").then(|| RANGE_AS_FIELD.to_owned())
}

fn part_of_a_name(_: &Facts<'_>, name: &str) -> Option<String> {
    name.ends_with(['-', '*']).then(|| {
        format!("The condition names '{name}', and a name stands for itself alone, not for all that begin so: write one condition for each field.")
    })
}

fn file(_: &Facts<'_>, name: &str) -> Option<String> {
    (name == "file").then(|| {
        "The condition names 'file', and the file is no field: take the condition out; content-length-range bounds the file's size.".to_owned()
    })
}

fn other_version(facts: &Facts<'_>, name: &str) -> Option<String> {
    let is_v4 = OF_V4.iter().any(|member| facts.form.get(member).is_some());
    let (others, other, own) = match is_v4 {
        true => (&OF_V2[..], 2, 4),
        false => (&OF_V4[..], 4, 2),
    };
    others.contains(&name).then(|| {
        format!("The condition names '{name}', a field of Signature Version {other}, and the form is signed by Version {own}: take it out.")
    })
}

fn no_type(facts: &Facts<'_>, name: &str) -> Option<String> {
    let of_part = facts.around.file_type;
    let of_part = of_part.map(|kind| format!(" ({kind})")).unwrap_or_default();
    (name == "content-type").then(|| {
        format!("The form has no Content-Type field before the file; the file part's own Content-Type{of_part} does not count.")
    })
}

fn alike(facts: &Facts<'_>, name: &str) -> Option<String> {
    let mut names = facts.form.iter().map(|(name, _)| name);
    let other = names.find(|other| is_alike(name, other))?;
    Some(format!(
        "The policy wants a field '{name}', and the form calls it '{other}'."
    ))
}

/// Whether two names differ only in what stands between their letters, or in the beginning of metadata.
fn is_alike(name: &str, other: &str) -> bool {
    let letters = |text: &str| -> String { text.chars().filter(|c| c.is_alphanumeric()).collect() };
    let bare = |text: &str| letters(text.strip_prefix("x-amz-meta-").unwrap_or(text));
    !letters(name).is_empty() && bare(name) == bare(other)
}

fn how_to_send(name: &str, test: &Test) -> String {
    let (wanted, words) = match test {
        Test::Equals { value, .. } => (value, " with the value"),
        Test::StartsWith { prefix, .. } => (prefix, " with a value that begins with"),
        Test::Length { .. } | Test::Never => return String::new(),
    };
    match (test, shown_value(name, wanted)) {
        (Test::Equals { .. }, Some("")) => " empty, as it was signed".to_owned(),
        (_, Some("")) => ", if need be empty".to_owned(),
        (_, Some(wanted)) => format!("{words} '{wanted}'"),
        (_, None) => " with what was signed".to_owned(),
    }
}
