//! Copies between files of the store, only where there is room.
//!
//! Owns: [`copy`], by which a chunk that outgrew its place is moved, chunks that lay apart are folded, and a file is rebuilt. Room is asked for
//! before each step, with that of all who copy at the time: of two who each found room for all of theirs, one would take it from the
//! floor that uploads leave, and the index could not grow.
//! Never does: sync, or undo what was copied before the room was gone; callers do.
//!
//! Invariant: copies alone never take from the floor; with writers beside them, one step for each at the most.

use std::fs::File;
use std::sync::PoisonError;

use super::Engine;
use super::sync::MutexGuard;
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
        let _room = Room::for_step(engine, step)?;
        let (source, target) = (start.saturating_add(done), offset.saturating_add(done));
        engine.disk.copy_range((from, source), (to, target), step)?;
        done += step;
    }
    Ok(())
}

/// Room for one step, counted until it is dropped.
struct Room<'a> {
    engine: &'a Engine,
    bytes: u64,
}

impl<'a> Room<'a> {
    fn for_step(engine: &'a Engine, bytes: u64) -> Result<Self, StoreError> {
        let mut copied = lock(engine);
        engine.check_room(copied.saturating_add(bytes))?;
        *copied = copied.saturating_add(bytes);
        Ok(Self { engine, bytes })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut copied = lock(self.engine);
        *copied = copied.saturating_sub(self.bytes);
    }
}

fn lock(engine: &Engine) -> MutexGuard<'_, u64> {
    engine
        .copying
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::Folder;

    #[tokio::test]
    async fn room_that_others_copy_into_is_not_found_twice() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        let room = Room::for_step(engine, STEP_BYTES).unwrap();
        let second = Room::for_step(engine, 1).unwrap();
        assert_eq!(*lock(engine), STEP_BYTES + 1);
        drop((room, second));
        assert_eq!(*lock(engine), 0);
        *lock(engine) = u64::MAX;
        let refused = Room::for_step(engine, 1).err();
        assert!(matches!(refused, Some(StoreError::Full)), "{refused:?}");
        assert_eq!(*lock(engine), u64::MAX, "who found none takes none");
    }
}
