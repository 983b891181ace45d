//! Copies between files of the store, only where there is room.
//!
//! Owns: [`copy`], by which a chunk that outgrew its place is moved, chunks that lay apart are folded, and a file is rebuilt. Room is asked for
//! before each step, and nobody else copies meanwhile: of two who each found room for all of theirs, one would take it from the
//! floor that uploads leave, and the index could not grow.
//! Never does: sync, or undo what was copied before the room was gone; callers do.
//!
//! Invariant: whatever is written meanwhile, a copy takes at most one step from the floor.

use std::fs::File;
use std::sync::PoisonError;

use super::Engine;
use crate::store::StoreError;

/// Bytes that are copied before room is asked for again.
const STEP_BYTES: u64 = 8 << 20;

/// Copies `length` bytes from one place to another.
///
/// # Errors
/// [`StoreError::Full`] when it would eat into the floor; some of it may have been copied then. [`StoreError::Corrupt`] when the source is
/// shorter.
pub(super) fn copy(
    engine: &Engine,
    (from, start): (&File, u64),
    (to, offset): (&File, u64),
    length: u64,
) -> Result<(), StoreError> {
    let mut done = 0;
    while done < length {
        let step = STEP_BYTES.min(length - done);
        let alone = engine.copying.lock();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        engine.check_room(step)?;
        let (source, target) = (start.saturating_add(done), offset.saturating_add(done));
        engine.disk.copy_range((from, source), (to, target), step)?;
        done += step;
    }
    Ok(())
}
