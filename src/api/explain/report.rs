//! One refused request as a value: what JSON and XML show, and what the page is written from.
//!
//! Owns: the members of an explanation and their order, and that everything passes the mask once, here.
//! Never does: judge; the policy floor explains the form, `cause.rs` what is around it.
//! Invariants: the refusal is the one that the client got; the policy floor's cause is told only when that is also its refusal. What is
//! not known is left out, and a form that was not read to its file is not compared with its policy.

use serde_json::{Map, Value, json};

use super::cause;
use super::seen::{Case, Refusal};
use crate::api::error::ApiError;
use crate::api::post_refusal::policy_error;
use crate::model::{AccessKey, Bucket};
use crate::policy::{Context, Explanation, Mask, Rules, Surroundings, explain_within};

/// What is known besides the case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    /// The key that the form names.
    pub(super) key: Option<&'a AccessKey>,
    /// The bucket that the form was posted to.
    pub(super) bucket: Option<&'a Bucket>,
    /// The region that signatures must be for; none for any.
    pub(super) region: Option<&'a str>,
    /// The open questions, decided.
    pub(super) rules: &'a Rules,
    /// Whether the signature is taken as right, because nobody has the secret here.
    pub(super) unchecked: bool,
}

/// What the policy floor says of the form; none when the form was not read to its file, or the URL names no bucket.
pub(super) fn explanation(case: &Case, known: &Known<'_>) -> Option<Explanation> {
    let bucket = known.bucket?;
    let seen = &case.seen;
    let proposed = || case.refusal.as_ref()?.extra("ProposedSize")?.parse().ok();
    let around = Surroundings {
        file_bytes: seen.file_bytes().or_else(proposed),
        may_be_larger: seen.file_bytes().is_none() && case.asked.content_length.is_none(),
        file_type: seen.file().and_then(|file| file.kind.as_deref()),
        after_file: seen.after_file(),
        read_to_end: seen.is_read_to_end(),
        unchecked: known.unchecked,
    };
    let context = Context {
        bucket,
        public_write: false,
        now: seen.now,
        rules: known.rules,
    };
    let (form, region) = (seen.form(), known.region);
    Some(explain_within(form, region, known.key, &context, &around))
}

/// The refusal that the policy floor finds, as the server would answer it.
pub(super) fn refusal_of(explanation: &Explanation) -> Option<ApiError> {
    explanation.error.clone().map(policy_error)
}

/// All that can be said about a case.
pub(super) fn report(case: &Case, known: &Known<'_>) -> Value {
    let explanation = explanation(case, known);
    let mut members = Map::new();
    if let Some(refusal) = &case.refusal {
        members.insert("refusal".to_owned(), refused(refusal));
        let cause = likely_cause(case, explanation.as_ref(), refusal);
        members.insert("likely_cause".to_owned(), cause.into());
    }
    members.insert("request".to_owned(), request(case));
    members.insert("file".to_owned(), file(case));
    if let Some(explanation) = explanation {
        members.extend(form(explanation, case.seen.is_complete()));
    }
    Mask::new(Some(case.seen.form()), known.key).value(Value::Object(members))
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "status": refusal.code.status().as_u16(),
        "code": refusal.code.name(),
        "message": refusal.message,
    })
}

fn likely_cause(case: &Case, explanation: Option<&Explanation>, refusal: &Refusal) -> String {
    let of_policy = explanation
        .filter(|explanation| explanation.refusal.as_deref() == Some(refusal.message.as_str()))
        .filter(|_| case.seen.is_complete())
        .and_then(|explanation| explanation.likely_cause.clone());
    of_policy.unwrap_or_else(|| cause::likely_cause(case, refusal))
}

fn request(case: &Case) -> Value {
    let asked = &case.asked;
    let types = asked.content_types.join(", ");
    json!({
        "method": some(&asked.method),
        "host": asked.host,
        "path": some(&asked.path),
        "has_query": asked.has_query,
        "bucket_named_by": if asked.bucket_in_host { "host" } else { "path" },
        "content_type": some(&types),
        "content_length": asked.content_length,
    })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn file(case: &Case) -> Value {
    let seen = &case.seen;
    let part = seen.file();
    json!({
        "name": part.and_then(|part| part.name.as_deref()),
        "type": part.and_then(|part| part.kind.as_deref()),
        "bytes": seen.file_bytes(),
        "fields_after_file": seen.after_file(),
        "other_parts_with_files": seen.other_files(),
        "last_part_read": seen.unfinished_part(),
        "parts_not_read": seen.unread_parts(),
    })
}

/// The members that the policy floor gives; of an unfinished form only what it holds so far.
fn form(explanation: Explanation, is_complete: bool) -> Map<String, Value> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(explanation) else {
        return Map::new();
    };
    members.retain(|name, _| !matches!(name.as_str(), "refusal" | "likely_cause"));
    if !is_complete {
        members.retain(|name, _| matches!(name.as_str(), "fields" | "policy" | "clock"));
        let fields = members.get_mut("fields").and_then(Value::as_array_mut);
        for field in fields
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            field.remove("covered");
        }
    }
    members
}
