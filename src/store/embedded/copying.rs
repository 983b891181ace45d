//! Copies between files of the store, only where there is room.
//!
//! Owns: [`Room`], with which a chunk that outgrew its place is moved, chunks that lay apart are folded, and a file is rebuilt. Room for all of
//! a copy is set aside before its first step, beside what all others still have to copy: of two who each found room for the whole of
//! theirs, both would come to an end of it half way, and again the next time, or take it from the floor that uploads leave.
//! Never does: sync, or undo what was copied before the room was gone, or the upload aborted; callers do.
//!
//! Invariant: copies alone never take from the floor; with writers beside them, one step for each at the most.

use std::fs::File;
use std::sync::PoisonError;

use super::Engine;
use super::lease::Lease;
use super::sync::MutexGuard;
use crate::store::StoreError;

/// Bytes that are copied before room is asked for again, and whether the upload is aborted.
const STEP_BYTES: u64 = 8 << 20;

/// Room for a copy, set aside until it is filled, or dropped.
pub(super) struct Room<'a> {
    pub(super) engine: &'a Engine,
    /// Of the upload with whose abort the copy ends.
    lease: Option<&'a Lease>,
    /// Bytes that are still to be copied.
    bytes: u64,
    /// Bytes of them that still need room.
    needed: u64,
}

impl<'a> Room<'a> {
    /// Sets room aside for a copy of so many bytes, of which so many need none: they go where there were some before.
    ///
    /// # Errors
    /// [`StoreError::Full`] when it would eat into the floor; nothing was copied then.
    pub(super) fn set_aside(
        engine: &'a Engine,
        (bytes, held): (u64, u64),
    ) -> Result<Self, StoreError> {
        let needed = bytes.saturating_sub(held);
        let mut copying = lock(engine);
        if needed > 0 {
            engine.check_room(copying.saturating_add(needed))?;
        }
        *copying = copying.saturating_add(needed);
        Ok(Self {
            engine,
            lease: None,
            bytes,
            needed,
        })
    }

    /// Has the copy end when the upload is aborted.
    pub(super) const fn of(mut self, lease: &'a Lease) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Copies `length` bytes from one place to another.
    ///
    /// # Errors
    /// [`StoreError::Full`] when writers took the room meanwhile, [`StoreError::InUse`] when the upload is aborted; some of it may have been
    /// copied then. [`StoreError::Corrupt`] when the source is shorter.
    pub(super) fn copy(
        &mut self,
        (from, start): (&File, u64),
        (to, offset): (&File, u64),
        length: u64,
    ) -> Result<(), StoreError> {
        let mut done = 0;
        while done < length {
            if self.lease.is_some_and(Lease::is_aborted) {
                return Err(StoreError::InUse);
            }
            let step = STEP_BYTES.min(length - done);
            let filled = self.filled_by(step);
            if filled > 0 {
                self.engine.check_room(filled)?;
            }
            let (source, target) = (start.saturating_add(done), offset.saturating_add(done));
            let disk = &self.engine.disk;
            disk.copy_range((from, source), (to, target), step)?;
            self.bytes = self.bytes.saturating_sub(step);
            self.give_back(filled);
            done += step;
        }
        Ok(())
    }

    /// How much room the next bytes fill. The first of all are those that need none: an attempt before this one got so far.
    fn filled_by(&self, step: u64) -> u64 {
        let rest = self.bytes.saturating_sub(step);
        self.needed.saturating_sub(rest)
    }

    fn give_back(&mut self, bytes: u64) {
        let mut copying = lock(self.engine);
        *copying = copying.saturating_sub(bytes);
        self.needed = self.needed.saturating_sub(bytes);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.give_back(self.needed);
    }
}

/// What all copies together still need.
fn lock(engine: &Engine) -> MutexGuard<'_, u64> {
    engine
        .copying
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::disk::FileName;
    use crate::store::embedded::tests::{Folder, upload};

    #[tokio::test]
    async fn room_that_others_copy_into_is_not_found_twice() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        let room = Room::set_aside(engine, (STEP_BYTES, 0)).unwrap();
        let second = Room::set_aside(engine, (3, 2)).unwrap();
        assert_eq!(*lock(engine), STEP_BYTES + 1);
        drop((room, second));
        assert_eq!(*lock(engine), 0);
        *lock(engine) = u64::MAX;
        let refused = Room::set_aside(engine, (1, 0)).err();
        assert!(matches!(refused, Some(StoreError::Full)), "{refused:?}");
        assert_eq!(*lock(engine), u64::MAX, "who found none takes none");
        assert!(Room::set_aside(engine, (1, 1)).is_ok(), "it needs none");
    }

    #[tokio::test]
    async fn of_two_copies_that_only_fit_one_by_one_the_second_does_not_begin() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        let most = engine.disk.free_bytes().unwrap() / 10 * 6;
        let first = Room::set_aside(engine, (most, 0)).unwrap();
        let second = Room::set_aside(engine, (most, 0)).err();
        assert!(matches!(second, Some(StoreError::Full)), "{second:?}");
        drop(first);
        assert!(Room::set_aside(engine, (most, 0)).is_ok());
    }

    #[tokio::test]
    async fn room_is_given_back_as_it_is_filled_by_what_was_not_there_before() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        let create = |name| engine.disk.create(name).unwrap().unwrap();
        let id = upload("x").id;
        let (from, to) = (
            create(FileName::Spill(id, 0)),
            create(FileName::Spill(id, 1)),
        );
        let bytes = vec![7; 100];
        let mut slices = [std::io::IoSlice::new(&bytes)];
        engine.disk.write_at(&from, &mut slices, 0).unwrap();
        let mut room = Room::set_aside(engine, (100, 40)).unwrap();
        for (length, left) in [(30, 60), (20, 50), (50, 0)] {
            room.copy((&from, 0), (&to, 0), length).unwrap();
            assert_eq!(*lock(engine), left);
        }
        let room = Room::set_aside(engine, (9, 0)).unwrap();
        assert_eq!(*lock(engine), 9);
        drop(room);
        assert_eq!(*lock(engine), 0);
    }
}
