//! Clues to a field that no condition names.
//!
//! Owns: the table for `Extra input fields`: which uploader adds the field, and what to do about it.
//! Never does: tell to sign what cannot be signed: the forms of our own sessions are signed here, so there a field can only be left out.
//! Invariant: the field that is spoken of is the first that is uncovered, which is the one that is refused.

use super::super::error::PolicyError;
use super::{Clue, Facts, shown_value, uploaders};

pub(super) const EXTRA_FIELD: &[Clue] = &[no_bucket, of_own_session, any_field];

fn uncovered<'a>(facts: &'a Facts<'_>) -> &'a str {
    let policy = facts.policy.into_iter();
    policy
        .flat_map(|policy| facts.judged.uncovered(policy))
        .next()
        .unwrap_or_default()
}

fn no_bucket(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    (uncovered(facts) == "bucket").then(|| {
        "The policy has no condition on the bucket; every policy needs one, also when the form has no such field.".to_owned()
    })
}

fn who(name: &str) -> &'static str {
    uploaders::who_adds(name).map_or("the form has it and the policy does not", |uploader| {
        uploader.adds
    })
}

fn of_own_session(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let name = uncovered(facts);
    facts.is_own.then(|| {
        format!(
            "The field '{name}' ({}) is none that an upload session's form may carry; leave it out, and send the form's own fields as they were handed out.",
            who(name)
        )
    })
}

fn any_field(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let name = uncovered(facts);
    let condition = match facts.form.before_file_name(name) {
        _ if !acts(name) => beginning(name, ""),
        // The exact value would fit files of one name and no others.
        Some(prefix) => before_file_name(name, prefix),
        None => exactly(name, facts.value(name).unwrap_or_default()),
    };
    Some(format!(
        "No condition names the field '{name}' ({}): add {condition} to the policy before it is signed, or do not send the field.",
        who(name)
    ))
}

/// Whether it matters to whoever signs what the field holds: who may read, where the browser goes, who signed.
fn acts(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "acl",
        "key",
        "redirect",
        "success_action_redirect",
        "success_action_status",
        "tagging",
    ];
    NAMES.contains(&name) || (name.starts_with("x-amz-") && !name.starts_with("x-amz-meta-"))
}

fn before_file_name(name: &str, prefix: &str) -> String {
    match shown_value(name, prefix) {
        Some(prefix) => beginning(name, prefix),
        None => "a condition (starts-with) with its part before the file's name".to_owned(),
    }
}

fn beginning(name: &str, prefix: &str) -> String {
    serde_json::json!(["starts-with", format!("${name}"), prefix]).to_string()
}

fn exactly(name: &str, value: &str) -> String {
    match shown_value(name, value) {
        Some(value) => serde_json::json!({ name: value }).to_string(),
        None => "a condition with exactly its value".to_owned(),
    }
}
