//! What is going on right now with each upload: which chunks are being written, and where; who waits for it, and who aborts it.
//!
//! Owns: one [`Lease`] per id that is in use, in memory, shared by everybody who works on that id and dropped with the last of
//! them. It answers where a chunk may go without overwriting a byte that was, or may yet be, acknowledged.
//! Never does: I/O. What is acknowledged is in the index; callers read that after they have a [`Claim`], so that a claim which
//! ended before it has left its receipt there.
//!
//! Invariants:
//! 1. At most one claim per chunk index; only its holder writes to that place in the main file.
//! 2. While a chunk lies or is being written in place beyond chunk 0, nothing else in place passes its own S bytes; only
//!    the chunk that is known to be the last may be longer.
//! 3. Once sealed, nobody writes to the main file through a claim any more.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::Notify;

use super::faults::{self, Bug};
use super::records::SessionRecord;
use super::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, RwLock};
use crate::model::{ChunkReceipt, Id, MAX_OBJECT_BYTES, Place, UploadState};

type Map = Arc<Mutex<HashMap<Id, Weak<Lease>>>>;

/// All leases. As many as there are writers and completions under way, which are bounded.
#[derive(Debug, Default)]
pub(super) struct Leases(Map);

impl Leases {
    /// The lease of `id`, shared with everybody who has it.
    pub(super) fn take(&self, id: Id) -> Arc<Lease> {
        let mut map = lock(&self.0);
        if let Some(lease) = map.get(&id).and_then(Weak::upgrade) {
            return lease;
        }
        let lease = Arc::new(Lease {
            id,
            all: Arc::clone(&self.0),
            live: Mutex::default(),
            sealed: RwLock::new(false),
            turn: tokio::sync::Mutex::new(()),
            awaited: AtomicUsize::new(0),
            aborts: AtomicUsize::new(0),
            aborts_changed: Notify::new(),
        });
        map.insert(id, Arc::downgrade(&lease));
        lease
    }

    /// Whether somebody works on `id`.
    pub(super) fn is_taken(&self, id: Id) -> bool {
        lock(&self.0)
            .get(&id)
            .is_some_and(|lease| lease.strong_count() > 0)
    }
}

/// Everything that is in memory about one upload or object.
#[derive(Debug)]
pub(super) struct Lease {
    /// Whose lease it is.
    pub(super) id: Id,
    all: Map,
    live: Mutex<Live>,
    /// Read-locked while bytes go into the main file; true when nobody may do that any more.
    pub(super) sealed: RwLock<bool>,
    /// Taken by whoever completes, relabels or removes the upload as a whole.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// How many wait for the upload to be made whole.
    awaited: AtomicUsize,
    /// How many abort it.
    aborts: AtomicUsize,
    /// Told when that has changed.
    aborts_changed: Notify,
}

/// Somebody who may wait for an upload to be made whole, by whomever. Held by who calls the engine, and not in what is carried out for him:
/// so it ends when he leaves. Before the index has judged what he asks he waits for nothing, nor when it was refused.
#[derive(Debug)]
pub(super) struct Awaits {
    lease: Arc<Lease>,
    counts: AtomicBool,
}

impl Awaits {
    /// He waits from here on, if he is still there and the upload is to be made whole. Called once, in the job that says so to him.
    pub(super) fn begin(caller: &Weak<Self>, state: UploadState) {
        if state == UploadState::Completing
            && let Some(caller) = caller.upgrade()
        {
            caller.counts.store(true, Ordering::SeqCst);
            caller.lease.awaited.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Awaits {
    fn drop(&mut self) {
        if self.counts.load(Ordering::SeqCst) {
            self.lease.awaited.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Somebody who aborts an upload: what is being copied to make it whole ends, and none of it begins.
pub(super) struct Aborts(Arc<Lease>);

impl Drop for Aborts {
    fn drop(&mut self) {
        self.0.aborts.fetch_sub(1, Ordering::SeqCst);
        self.0.aborts_changed.notify_waiters();
    }
}

#[derive(Debug, Default)]
struct Live {
    in_place: BTreeSet<u32>,
    next_spill: u32,
    stride: Option<u64>,
    nb_chunks: Option<u32>,
    /// How far chunk 0 reaches, or may reach, in the main file.
    first_extent: u64,
}

impl Lease {
    /// Claims a chunk's place in the main file; `None` while somebody else has it.
    pub(super) fn claim(self: &Arc<Self>, index: u32) -> Option<Claim> {
        let is_new = lock(&self.live).in_place.insert(index);
        let is_free = is_new || faults::is_planted(Bug::SharedClaim);
        let lease = Arc::clone(self);
        // Made lazily: a claim that is dropped frees the place, also one that was never granted.
        is_free.then(|| Claim { lease, index })
    }

    /// A spill number that nobody has had in this process, and that was never acknowledged.
    pub(super) fn next_spill(&self) -> u32 {
        let mut live = lock(&self.live);
        let number = live.next_spill;
        live.next_spill = number.saturating_add(1);
        number
    }

    /// Takes over what the index knows.
    pub(super) fn learn(&self, record: &SessionRecord, first: Option<&ChunkReceipt>) {
        let mut live = lock(&self.live);
        live.stride = live.stride.or(record.stride);
        live.nb_chunks = live.nb_chunks.or(record.session.nb_chunks);
        live.next_spill = live.next_spill.max(record.next_spill);
        if let Some(first) = first.filter(|first| first.place == Place::Main(0)) {
            live.first_extent = live.first_extent.max(first.length);
        }
    }

    /// Somebody who will wait for the upload to be made whole, from when he is told that it is to be.
    pub(super) fn awaits(self: &Arc<Self>) -> Arc<Awaits> {
        let (lease, counts) = (Arc::clone(self), AtomicBool::new(false));
        Arc::new(Awaits { lease, counts })
    }

    /// Somebody who does.
    #[cfg(test)]
    pub(super) fn is_waited_for(self: &Arc<Self>) -> Arc<Awaits> {
        let awaits = self.awaits();
        Awaits::begin(&Arc::downgrade(&awaits), UploadState::Completing);
        awaits
    }

    /// Whether somebody does.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > 0
    }

    /// Notes, until that is dropped, that somebody aborts the upload.
    pub(super) fn aborts(self: &Arc<Self>) -> Aborts {
        self.aborts.fetch_add(1, Ordering::SeqCst);
        self.aborts_changed.notify_waiters();
        Aborts(Arc::clone(self))
    }

    /// Whether somebody does.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborts.load(Ordering::SeqCst) > 0
    }

    /// Waits until somebody does, or nobody.
    pub(super) async fn until_aborted(&self, wanted: bool) {
        loop {
            // Before the look: it hears of all that changes from here on.
            let changed = self.aborts_changed.notified();
            if self.is_aborted() == wanted {
                return;
            }
            changed.await;
        }
    }

    /// Waits until nobody writes to the main file, and lets nobody begin again.
    pub(super) fn seal(&self) {
        *self.sealed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut map = lock(&self.all);
        if map.get(&self.id).is_some_and(|l| l.strong_count() == 0) {
            map.remove(&self.id);
        }
    }
}

/// The sole right to write one chunk in place. Dropping it gives the right back.
#[derive(Debug)]
pub(super) struct Claim {
    /// The lease it belongs to.
    pub(super) lease: Arc<Lease>,
    index: u32,
}

impl Claim {
    /// Where the chunk begins in the main file, if that is known and free. Call [`Lease::learn`] first, with what was read
    /// after the claim was made.
    pub(super) fn offset(&self) -> Option<u64> {
        let live = lock(&self.lease.live);
        if self.index == 0 {
            return Some(0);
        }
        let offset = live.stride?.checked_mul(u64::from(self.index))?;
        // Parts may be numbered with gaps, and no file system has files of any length.
        let fits = offset >= live.first_extent && offset <= MAX_OBJECT_BYTES;
        fits.then_some(offset)
    }

    /// Whether the chunk may grow to `length` bytes where it is.
    pub(super) fn reserve(&self, length: u64) -> bool {
        let mut live = lock(&self.lease.live);
        let is_last = live.nb_chunks == Some(self.index.saturating_add(1));
        if !is_last && live.stride.is_some_and(|stride| length > stride) {
            return false;
        }
        if self.index == 0 {
            live.first_extent = live.first_extent.max(length);
        }
        true
    }

    /// Takes the whole main file for chunk 0: when nothing else lies in it, nothing else will.
    pub(super) fn take_all(&self) -> bool {
        let mut live = lock(&self.lease.live);
        let alone = self.index == 0 && live.stride.is_none() && live.in_place.len() == 1;
        if alone {
            live.first_extent = u64::MAX;
        }
        alone
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.lease.live).in_place.remove(&self.index);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "schedules"))]
mod schedules;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn id() -> Id {
        Id::new(Timestamp::from_seconds(1), [7; 8])
    }

    #[test]
    fn a_place_is_claimed_once_and_free_again_when_the_claim_is_dropped() {
        let leases = Leases::default();
        let lease = leases.take(id());
        let claim = lease.claim(3).unwrap();
        assert!(leases.take(id()).claim(3).is_none());
        drop(claim);
        assert!(lease.claim(3).is_some());
    }

    #[test]
    fn a_lease_is_forgotten_with_its_last_holder() {
        let leases = Leases::default();
        let lease = leases.take(id());
        assert!(leases.is_taken(id()));
        drop(lease);
        assert!(!leases.is_taken(id()));
        assert!(lock(&leases.0).is_empty());
    }

    #[test]
    fn the_lease_of_who_comes_while_the_last_one_goes_stays_known() {
        let leases = Leases::default();
        // Nobody has it any more, and it is not forgotten yet.
        let going = Arc::into_inner(leases.take(id())).unwrap();
        let claim = leases.take(id()).claim(3).unwrap();
        drop(going);
        assert!(leases.take(id()).claim(3).is_none());
        drop(claim);
    }

    #[test]
    fn chunk_0_may_not_grow_into_chunk_1_once_the_stride_is_known() {
        let lease = Leases::default().take(id());
        let first = lease.claim(0).unwrap();
        assert!(first.reserve(10));
        lock(&lease.live).stride = Some(10);
        assert!(!first.reserve(11));
        assert_eq!(lease.claim(1).unwrap().offset(), Some(10));
    }

    #[test]
    fn nothing_goes_where_a_longer_chunk_0_already_reaches() {
        let lease = Leases::default().take(id());
        assert!(lease.claim(0).unwrap().reserve(25));
        lock(&lease.live).stride = Some(10);
        assert_eq!(lease.claim(2).unwrap().offset(), None);
        assert_eq!(lease.claim(3).unwrap().offset(), Some(30));
    }

    #[test]
    fn chunk_0_takes_the_whole_file_only_while_nothing_else_lies_in_it() {
        let lease = Leases::default().take(id());
        let first = lease.claim(0).unwrap();
        assert!(first.take_all());
        lock(&lease.live).stride = Some(10);
        assert_eq!(lease.claim(1).unwrap().offset(), None);
        assert!(!first.take_all());
    }

    #[test]
    fn only_the_last_chunk_may_be_longer_than_the_stride() {
        let lease = Leases::default().take(id());
        {
            let mut live = lock(&lease.live);
            (live.stride, live.nb_chunks) = (Some(10), Some(3));
        }
        assert!(!lease.claim(1).unwrap().reserve(11));
        assert!(lease.claim(2).unwrap().reserve(11));
    }
}
