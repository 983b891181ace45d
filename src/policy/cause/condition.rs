//! Clues to a condition that does not hold: which slip turned the value that was signed into the one that came.
//!
//! Owns: the table for a failed condition. The first condition that fails is the one that is refused; the clues look at its field, at
//! what is wanted, and at what came.
//! Never does: repeat a value that must not be shown. Invariant: a clue that names a slip has proven it, by undoing it.

use serde_json::Value;

use super::super::document::{Condition, PostPolicy, Test};
use super::super::error::PolicyError;
use super::super::evaluate::MAX_TYPES;
use super::super::requirements::contradiction;
use super::absent::{self, RANGE_AS_FIELD};
use super::{Clue, Facts, percent_decoded, shown_value};

pub(super) const CONDITION: &[Clue] = &[
    other_bucket_field,
    impossible,
    contradictory,
    absent,
    present,
];

/// A condition that failed on a field that is there: name, what is wanted, what came.
struct Mismatch<'a> {
    name: &'a str,
    wanted: &'a str,
    got: &'a str,
    is_prefix: bool,
    /// Whether the field came more than once.
    is_repeated: bool,
}

/// Knows one slip between what was signed and what was sent.
type Slip = fn(&Mismatch<'_>) -> Option<String>;

const SLIPS: &[Slip] = &[
    bucket,
    signed_variable,
    unreplaced_variable,
    other_case,
    blanks,
    quotation_marks,
    percent_encoded,
    plus_signs,
    slash_in_front,
    chunk_in_key,
    repeated,
    changing_field,
    charset,
    one_of_several_types,
    web_address,
    other_signing,
    other_value,
];

fn failed<'a>(facts: &'a Facts<'_>) -> Option<&'a Condition> {
    let policy: &'a PostPolicy = facts.policy?;
    facts.judged.failed(policy).next()
}

fn other_bucket_field(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let url = facts.context.bucket;
    failed(facts).is_none().then(|| {
        format!("The field 'bucket' names another bucket than the URL, which names '{url}'.")
    })
}

fn impossible(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let condition = failed(facts)?;
    if *condition.test() != Test::Never {
        return None;
    }
    let parts: Vec<Value> = serde_json::from_str(condition.echo()).unwrap_or_default();
    let is_range = |at: usize| {
        let text = parts.get(at).and_then(Value::as_str);
        text.is_some_and(|text| text.eq_ignore_ascii_case("content-length-range"))
    };
    let sentence = if is_range(0) {
        "A bound of the length range is not a number; both are whole numbers of bytes."
    } else if is_range(1) {
        RANGE_AS_FIELD
    } else {
        "The condition names its field without the '$' that must stand before it."
    };
    Some(sentence.to_owned())
}

fn contradictory(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    contradiction(facts.policy?, failed(facts)?.field()?)
}

fn absent(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    absent::absent(facts, failed(facts)?)
}

fn present(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let condition = failed(facts)?;
    let (name, wanted, is_prefix) = match condition.test() {
        Test::Equals { name, value } => (name, value, false),
        Test::StartsWith { name, prefix } => (name, prefix, true),
        Test::Length { .. } | Test::Never => return None,
    };
    let mismatch = Mismatch {
        name,
        wanted,
        got: facts.value(name)?,
        is_prefix,
        is_repeated: facts.is_repeated(name),
    };
    SLIPS.iter().find_map(|slip| slip(&mismatch))
}

impl Mismatch<'_> {
    /// Whether the value, changed like this, would have been allowed.
    fn would_hold(&self, changed: &str) -> bool {
        match self.is_prefix {
            true => changed.starts_with(self.wanted),
            false => changed == self.wanted,
        }
    }
}

fn bucket(m: &Mismatch<'_>) -> Option<String> {
    let (wanted, url) = (m.wanted, m.got);
    (m.name == "bucket")
        .then(|| format!("The form was signed for the bucket '{wanted}' and posted to '{url}'."))
}

fn signed_variable(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let is_literal = m.wanted.contains("${filename}") && !m.got.contains("${filename}");
    is_literal.then(|| format!(
        "The condition on '{name}' holds ${{filename}} literally, but the form's is replaced before conditions are judged; sign the part before it as a prefix."
    ))
}

fn unreplaced_variable(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    (m.got.contains("${filename}") && !m.wanted.contains("${filename}")).then(|| format!(
        "The field '{name}' still holds ${{filename}}, which is replaced only when the file's part carries a filename; it has none."
    ))
}

fn other_case(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let head = m.got.get(..m.wanted.len()).unwrap_or_default();
    let compared = if m.is_prefix { head } else { m.got };
    (compared != m.wanted && compared.eq_ignore_ascii_case(m.wanted))
        .then(|| format!("The field '{name}' differs from the condition in upper and lower case."))
}

fn blanks(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let is_padded = m.got.trim() != m.got && m.would_hold(m.got.trim());
    let was_signed = m.wanted.trim() != m.wanted && m.got == m.wanted.trim();
    (is_padded || was_signed)
        .then(|| format!("The field '{name}' has blanks or a line end around its value, in the form or in the policy."))
}

fn quotation_marks(m: &Mismatch<'_>) -> Option<String> {
    const MARKS: [char; 2] = ['"', '\''];
    let name = m.name;
    let bare = m.got.trim_matches(MARKS);
    let is_quoted = bare != m.got && m.would_hold(bare);
    let was_signed =
        m.wanted.trim_matches(MARKS) != m.wanted && m.got == m.wanted.trim_matches(MARKS);
    (is_quoted || was_signed).then(|| {
        format!("The field '{name}' has quotation marks around its value, in the form or in the policy, and they count as part of it.")
    })
}

fn percent_encoded(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let is_encoded = percent_decoded(m.got).is_some_and(|value| m.would_hold(&value));
    let was_signed = percent_decoded(m.wanted).is_some_and(|wanted| match m.is_prefix {
        true => m.got.starts_with(wanted.as_ref()),
        false => m.got == wanted,
    });
    (is_encoded || was_signed).then(|| {
        format!("The field '{name}' is percent-encoded in the form or in the policy, and not in the other; form fields take text as it is.")
    })
}

fn plus_signs(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let turned = m.got.contains(' ') && m.would_hold(&m.got.replace(' ', "+"));
    let kept = m.got.contains('+') && m.would_hold(&m.got.replace('+', " "));
    (turned || kept).then(|| {
        format!("The field '{name}' has a plus sign where a blank was signed, or a blank for a plus sign: it was encoded as for a URL.")
    })
}

fn slash_in_front(m: &Mismatch<'_>) -> Option<String> {
    let with = format!("/{}", m.got);
    let is_slash = m.name == "key"
        && (m.would_hold(&with) || m.got.strip_prefix('/').is_some_and(|key| m.would_hold(key)));
    is_slash.then(|| {
        "The key begins with a slash in the form or in the policy, and not in the other; keys have none in front.".to_owned()
    })
}

fn chunk_in_key(m: &Mismatch<'_>) -> Option<String> {
    let number = m.got.strip_prefix(m.wanted)?.strip_prefix('.')?;
    let is_chunk =
        m.name == "key" && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_chunk.then(|| {
        "The page appends the chunk's number to the key, and the policy fixes the whole key; sign the key as a prefix (starts-with).".to_owned()
    })
}

/// A field that comes more than once is joined before it is judged; what was signed is then one of its values, in any place. The comma
/// alone proves nothing, as it may be part of a value that came once.
fn repeated(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let end = if m.is_prefix { "" } else { "," };
    let one = format!(",{}{end}", m.wanted);
    (m.is_repeated && format!(",{},", m.got).contains(&one)).then(|| {
        format!("The field '{name}' came more than once, and its values were joined with commas before they were compared; send it once.")
    })
}

fn changing_field(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let changes = ["chunk", "chunks", "name", "filename", "offset"].contains(&name);
    (changes && !m.is_prefix).then(|| {
        format!("The policy fixes the field '{name}', which uploaders change with every chunk or file: sign [\"starts-with\", \"${name}\", \"\"].")
    })
}

fn charset(m: &Mismatch<'_>) -> Option<String> {
    let rest = m.got.strip_prefix(m.wanted)?;
    (m.name == "content-type" && rest.trim_start().starts_with(';')).then(|| {
        "The Content-Type field carries a parameter (such as charset) that was not signed; leave it out, or sign the type as a prefix.".to_owned()
    })
}

fn one_of_several_types(m: &Mismatch<'_>) -> Option<String> {
    let is_list = m.name == "content-type" && m.is_prefix && m.got.contains(',');
    (is_list && m.got.starts_with(m.wanted)).then(|| {
        match m.got.split(',').count() > MAX_TYPES {
            true => format!("The Content-Type field is a list of more than {MAX_TYPES} types, which is refused whatever they are."),
            false => "The Content-Type field is a list, and every element of it must begin as the policy says.".to_owned(),
        }
    })
}

/// Two web addresses: where they part.
fn web_address(m: &Mismatch<'_>) -> Option<String> {
    let (signed_scheme, signed) = m.wanted.split_once("://")?;
    let (sent_scheme, sent) = m.got.split_once("://")?;
    let name = m.name;
    let host = |rest: &str| {
        rest.split(['/', '?', '#'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let (signed_host, sent_host) = (host(signed), host(sent));
    if !signed_scheme.eq_ignore_ascii_case(sent_scheme) {
        return Some(format!(
            "The field '{name}' was signed with {signed_scheme}: and sent with {sent_scheme}:, as happens behind a proxy that speaks TLS."
        ));
    }
    if signed_host != sent_host {
        return Some(format!(
            "The field '{name}' was signed for the host '{signed_host}' and sent for '{sent_host}': the signer knows the page by another name."
        ));
    }
    (signed.trim_end_matches('/') == sent.trim_end_matches('/'))
        .then(|| format!("The field '{name}' has a slash at its end in the form or in the policy, and not in the other."))
}

fn other_signing(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let is_of_v4 = [
        "x-amz-credential",
        "x-amz-date",
        "x-amz-algorithm",
        "x-amz-security-token",
    ]
    .contains(&name);
    is_of_v4.then(|| {
        format!("The field '{name}' is of another signing than the policy: take all fields from one answer of the signer, for each upload anew.")
    })
}

fn other_value(m: &Mismatch<'_>) -> Option<String> {
    let name = m.name;
    let shown = match shown_value(name, m.wanted) {
        None => String::new(),
        Some(wanted) if m.is_prefix => format!(", which is one that begins with '{wanted}'"),
        Some(wanted) => format!(", which is '{wanted}'"),
    };
    Some(format!(
        "The field '{name}' has another value than was signed{shown}; form and policy must be made from the same values."
    ))
}
