//! Conditions of requests that write: what must be there, or not, for the write to count.
//!
//! Owns: reading `If-Match` and `If-None-Match` of PUT, copy and DELETE, and the refusal when they do not hold.
//! Never does: judge them; the store does, in the one step that names or removes the object. Conditions of reads are `conditional.rs`'s.
//!
//! Invariant: a condition that is not known is refused, never passed over.
//!
//! Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests".

use super::super::error::{ApiError, ErrorCode};
use super::access::{Access, not_implemented};
use crate::model::ETag;
use crate::store::{StoreError, WriteCondition};

const IF_MATCH: &str = "if-match";
const IF_NONE_MATCH: &str = "if-none-match";
/// Of reads.
const DATES: [&str; 2] = ["if-modified-since", "if-unmodified-since"];
/// Of directory buckets, which do not exist here.
const OF_DIRECTORIES: [&str; 2] = ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"];

/// The condition of a request that stores an object.
///
/// # Errors
/// `NotImplemented` for one that is not about the existence or the tag of the object that has the key.
pub(super) fn of_write(access: &Access<'_>) -> Result<Option<WriteCondition>, ApiError> {
    access.refuse_headers(&DATES)?;
    match (access.header(IF_MATCH), access.header(IF_NONE_MATCH)) {
        (None, None) => Ok(None),
        // That it is there, whatever it is, is for who deletes only.
        (Some(tag), None) if tag.trim().trim_matches('"') == "*" => Err(not_implemented(IF_MATCH)),
        (Some(tag), None) => matching(tag).map(Some),
        (None, Some(tag)) if tag.trim() == "*" => Ok(Some(WriteCondition::Absent)),
        (_, Some(_)) => Err(not_implemented(IF_NONE_MATCH)),
    }
}

/// The condition of a request that deletes an object.
///
/// # Errors
/// As [`of_write`].
pub(super) fn of_delete(access: &Access<'_>) -> Result<Option<WriteCondition>, ApiError> {
    access.refuse_headers(&DATES)?;
    access.refuse_headers(&OF_DIRECTORIES)?;
    access.refuse_headers(&[IF_NONE_MATCH])?;
    access.header(IF_MATCH).map(matching).transpose()
}

/// `*` or one tag; its quotes may be left out, as some clients do.
///
/// # Errors
/// `NotImplemented` for several tags, of which Amazon knows nothing either.
pub(super) fn matching(text: &str) -> Result<WriteCondition, ApiError> {
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match bare.unwrap_or(text) {
        "*" if bare.is_none() => Ok(WriteCondition::Present),
        several if several.contains(['"', ',']) => Err(not_implemented(IF_MATCH)),
        tag => Ok(WriteCondition::Matches(ETag::named(tag))),
    }
}

/// A refusal of the store, with the name of the condition that did not hold.
pub(super) fn refusal(error: StoreError, condition: Option<&WriteCondition>) -> ApiError {
    let refusal = ApiError::from(error);
    match (refusal.code, condition) {
        (ErrorCode::PreconditionFailed, Some(WriteCondition::Absent)) => {
            refusal.with("Condition", "If-None-Match")
        }
        (ErrorCode::PreconditionFailed, Some(_)) => refusal.with("Condition", "If-Match"),
        _ => refusal,
    }
}
