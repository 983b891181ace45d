//! Which objects may be acknowledged by their label alone.
//!
//! An object that came in one piece is durable with its file: the label on it says all that its record says. So its record need
//! not be synced before the answer; the next sync of the index takes it along, and after a crash in between, the file is found
//! again by its id. Owns: the mark from which on such files are looked for, and who is on the way to one.
//! Never does: read a clock, or the index.
//!
//! Invariants:
//! 1. The mark is durable with every sync of the index, and goes back only when a start has made everything durable.
//! 2. An object that is named without a sync of its own has an id that is not older than the mark of the last sync: the mark never passes an
//!    upload that is under way, and who begins behind it (a clock that went back) is synced.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::index::{Mark, Pair, Txn};
use super::records::{self, META};
use super::sync::{Mutex, MutexGuard};
use crate::model::{Id, ObjectMeta, Timestamp};
use crate::store::StoreError;

/// Largest object that may be acknowledged by its label alone, in bytes. After a crash its bytes are read, to be sure that they are
/// what the label says; and beside the sync of a larger one, that of the index is little.
pub(super) const MAX_LABELLED_BYTES: u64 = 1 << 20;

/// The seconds in which ids were made.
#[derive(Debug, Default)]
struct Seconds {
    /// Uploads under way, by the second of their id.
    under_way: BTreeMap<u32, usize>,
    newest: u32,
    mark: u32,
}

/// Shared by the writers and the index.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Arc<Mutex<Seconds>>);

/// An upload under way; dropped when it is named, or given up.
#[derive(Debug)]
pub(super) struct UnderWay(Recent, u32);

impl Recent {
    /// Begins anew from a mark that is durable, while no upload is under way.
    pub(super) fn restart(&self, mark: u32) {
        let mut seconds = self.lock();
        (seconds.mark, seconds.newest) = (mark, mark);
    }

    /// Begins the upload of an object.
    pub(super) fn begin(&self, id: Id) -> UnderWay {
        let mut seconds = self.lock();
        let second = id.second();
        seconds.newest = seconds.newest.max(second);
        *seconds.under_way.entry(second).or_default() += 1;
        UnderWay(self.clone(), second)
    }

    /// Whether an object that replaces no other is durable with its label.
    pub(super) fn label_suffices(&self, meta: &ObjectMeta) -> bool {
        meta.size <= MAX_LABELLED_BYTES && self.covers(meta.id)
    }

    /// Whether a file of this id is looked for after a crash.
    pub(super) fn covers(&self, id: Id) -> bool {
        id.second() >= self.lock().mark
    }

    /// What the index is to write with every sync.
    pub(super) fn mark(&self) -> Mark {
        let recent = self.clone();
        Box::new(move || recent.advance())
    }

    /// Moves the mark as far as it may go; the pair to write when it moved.
    fn advance(&self) -> Option<Pair> {
        let mut seconds = self.lock();
        let oldest = seconds.under_way.keys().next();
        let mark = oldest.map_or(seconds.newest, |oldest| seconds.newest.min(*oldest));
        if mark <= seconds.mark {
            return None;
        }
        seconds.mark = mark;
        Some((mark_key(), mark.to_be_bytes().to_vec()))
    }

    fn lock(&self) -> MutexGuard<'_, Seconds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut seconds = self.0.lock();
        if let Some(count) = seconds.under_way.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                seconds.under_way.remove(&self.1);
            }
        }
    }
}

/// Notes that everything made before the second `mark` is durable.
pub(super) fn put_mark(txn: &mut Txn<'_>, mark: u32) -> Result<(), StoreError> {
    txn.put(mark_key(), mark.to_be_bytes().to_vec())
}

/// The second of an id that is made now.
pub(super) fn second(now: Timestamp) -> u32 {
    Id::new(now, [0; 8]).second()
}

/// Where the mark is in the index.
pub(super) fn mark_key() -> Vec<u8> {
    records::key(META, &[b"recent"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(second: i64) -> Id {
        Id::new(Timestamp::from_seconds(second), [7; 8])
    }

    fn marked(recent: &Recent) -> Option<u8> {
        let (_, value) = recent.advance()?;
        value.last().copied()
    }

    #[test]
    fn the_mark_never_passes_an_upload_that_is_under_way() {
        let recent = Recent::default();
        recent.restart(10);
        let first = recent.begin(id(20));
        let second = recent.begin(id(30));
        assert_eq!(marked(&recent), Some(20));
        drop(second);
        assert_eq!(marked(&recent), None);
        drop(first);
        assert_eq!(marked(&recent), Some(30));
    }

    #[test]
    fn who_begins_behind_the_mark_is_not_covered_and_does_not_move_it_back() {
        let recent = Recent::default();
        drop(recent.begin(id(30)));
        assert_eq!(marked(&recent), Some(30));
        let late = recent.begin(id(29));
        assert!(!recent.covers(id(29)) && recent.covers(id(30)));
        assert_eq!(marked(&recent), None);
        drop(late);
        assert!(!recent.covers(id(29)));
    }
}
