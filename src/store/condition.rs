//! What a client wants to be true of the object that has a key before another takes its place, or before it is deleted.
//!
//! Owns: [`WriteCondition`], and the judgement.
//! Never does: look an object up; the engine does, in the one step that names or removes, so of two writers who both want the key to
//! be free exactly one succeeds.
//!
//! Invariant: an object that has expired is absent here, as everywhere.
//!
//! Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests".

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::{ETag, ObjectMeta, Timestamp};

/// What must be true of the object that has a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteCondition {
    /// There is none.
    Absent,
    /// There is one.
    Present,
    /// It has this entity tag.
    Matches(ETag),
}

impl WriteCondition {
    /// Judges what has the key at `now`.
    ///
    /// # Errors
    /// [`StoreError::ConditionFailed`]; [`StoreError::NoSuchObject`] when there is nothing that could match.
    pub fn check(&self, held: Option<&ObjectMeta>, now: Timestamp) -> Result<(), StoreError> {
        let held = held.filter(|held| held.is_live(now));
        match (self, held) {
            (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Matches(tag), Some(held)) if held.etag == *tag => Ok(()),
            (Self::Present | Self::Matches(_), None) => Err(StoreError::NoSuchObject),
            (Self::Absent | Self::Matches(_), Some(_)) => Err(StoreError::ConditionFailed),
        }
    }
}
