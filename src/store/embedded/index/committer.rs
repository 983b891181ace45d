//! The one thread that writes to the index.
//!
//! Owns: [`Txn`], what a job reads and writes through; a group of jobs, whose writes become one batch of sled, since each batch costs two writes of
//! its log and a dozen turns of its threads; and the sync that follows.
//! Never does: know what a key means.
//!
//! Invariants:
//! 1. A job sees every earlier job's writes, also those of its own group that are not applied yet.
//! 2. A job that fails leaves nothing; a job that was answered is applied, and synced unless it said that it need not be and none
//!    before it in its group is.
//! 3. A batch that cannot be applied, and a panic, blow the fuse: no job of that group, and none after it, succeeds. A disk without room
//!    for a batch would do that, so nothing is written to one ([`Room`]): such a job fails alone, and leaves nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc;

use super::{MAX_VALUE_BYTES, Pair, Versions, damaged, each_of, first_of, guarded, lookup};
use crate::store::StoreError;
use crate::store::embedded::faults::{self, Bug};
use crate::store::embedded::fuse::Fuse;
#[cfg(feature = "schedules")]
use crate::store::embedded::memory as sled;
use crate::store::embedded::sync;

/// Jobs that share one batch and one sync at most.
const MAX_GROUP: usize = 256;
/// Jobs whose writes wait for the next sync; it is asked for after the group that reaches this number.
const MAX_UNSYNCED_JOBS: usize = 1024;

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A job on its way to the committer.
pub(super) type Job = Box<dyn FnOnce(&mut Pending, &Fuse) -> Ran + Send>;

/// Asked before every sync for a value that is to be durable with it.
pub(in super::super) type Mark = Box<dyn Fn() -> Option<Pair> + Send>;

/// What the writes of a job are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Need {
    /// The store grows by them.
    Grow,
    /// They make room, or a start needs them.
    MakeRoom,
}

/// Asked before a job's writes are taken in: whether the disk has room for them. Makes some where it can, for those that make more.
pub(in super::super) type Room = Box<dyn Fn(Need) -> bool + Send>;

/// A job that ran.
pub(super) struct Ran {
    pub(super) effect: Effect,
    /// Called with whether all that it promises is kept.
    pub(super) answer: Box<dyn FnOnce(bool) + Send>,
}

/// What a job did to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing; or it failed.
    Nothing,
    /// Its writes must be synced before its answer.
    Synced,
    /// Its writes may be synced later.
    Later,
}

/// The writes of a group, before they are one batch.
pub(super) struct Pending {
    db: sled::Db,
    fuse: Fuse,
    versions: Versions,
    writes: Writes,
    room: Room,
    /// Whether there is room for this group, once that was asked.
    has_room: Option<bool>,
}

impl Pending {
    fn has_room(&mut self, need: Need) -> bool {
        let has_room = *self.has_room.get_or_insert_with(|| (self.room)(Need::Grow));
        has_room || (need == Need::MakeRoom && (self.room)(need))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => lookup(&self.db, key),
        }
    }

    fn apply(&mut self) -> Result<(), StoreError> {
        if self.writes.is_empty() {
            return Ok(());
        }
        let mut tables: Vec<u8> = self
            .writes
            .keys()
            .filter_map(|key| key.first().copied())
            .collect();
        tables.dedup();
        let mut batch = sled::Batch::default();
        for (key, value) in std::mem::take(&mut self.writes) {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        let applied = guarded(|| self.db.apply_batch(batch).map_err(|e| damaged(&e)));
        sync::point();
        self.versions.count_up(&tables);
        applied.inspect_err(|error| self.fuse.blow("write to the index", error))
    }
}

/// What a job reads and writes through.
pub(in super::super) struct Txn<'a> {
    pending: &'a mut Pending,
    writes: Writes,
    need_not_sync: bool,
    makes_room: bool,
}

impl Txn<'_> {
    /// One value, as this job has left it.
    pub(in super::super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.pending.get(key),
        }
    }

    /// The first `limit` pairs whose key begins with `prefix`; this job's own writes do not show.
    pub(in super::super) fn prefix(
        &mut self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.pending.apply()?;
        first_of(&self.pending.db, prefix, limit)
    }

    /// Calls `each` with the pairs whose key begins with `prefix`, in order, until it breaks; this job's own writes do not show.
    pub(in super::super) fn scan(
        &mut self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        self.pending.apply()?;
        guarded(|| each_of(self.pending.db.scan_prefix(prefix), &mut each))
    }

    /// Sets a value of at most [`MAX_VALUE_BYTES`].
    pub(in super::super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(StoreError::RecordTooLarge);
        }
        self.writes.insert(key, Some(value));
        Ok(())
    }

    /// Removes a value; fine when there is none.
    pub(in super::super) fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    /// Says that room comes of this job, or that a start needs it: it is done also where there is little.
    pub(in super::super) fn makes_room(&mut self) {
        self.makes_room = true;
    }

    fn need(&self) -> Need {
        match self.makes_room || self.writes.values().all(Option::is_none) {
            true => Need::MakeRoom,
            false => Need::Grow,
        }
    }

    /// Says that this job may be answered before what it wrote is durable: it can be found out again from elsewhere.
    pub(in super::super) fn need_not_sync(&mut self) {
        self.need_not_sync = true;
    }
}

/// Runs one job of a group.
pub(super) fn run_job<R>(
    fuse: &Fuse,
    pending: &mut Pending,
    job: impl FnOnce(&mut Txn<'_>) -> Result<R, StoreError>,
) -> (Result<R, StoreError>, Effect) {
    let mut txn = Txn {
        pending,
        writes: Writes::new(),
        need_not_sync: false,
        makes_room: false,
    };
    let result = try_job(fuse, &mut txn, job);
    let effect = match (&result, txn.need_not_sync) {
        (Ok(_), _) if txn.writes.is_empty() => Effect::Nothing,
        (Ok(_), _) if !txn.pending.has_room(txn.need()) => {
            return (Err(StoreError::Full), Effect::Nothing);
        }
        (Ok(_), true) => Effect::Later,
        (Ok(_), false) => Effect::Synced,
        (Err(_), _) => return (result, Effect::Nothing),
    };
    let Txn {
        pending, writes, ..
    } = txn;
    pending.writes.extend(writes);
    (result, effect)
}

fn try_job<R>(
    fuse: &Fuse,
    txn: &mut Txn<'_>,
    job: impl FnOnce(&mut Txn<'_>) -> Result<R, StoreError>,
) -> Result<R, StoreError> {
    fuse.check()?;
    faults::around("write to the index", || Ok(()))
        .map_err(|e| StoreError::from_io("write to the index", e))?;
    catch_unwind(AssertUnwindSafe(|| job(txn))).unwrap_or_else(|_| {
        fuse.blow("write to the index", &"it panicked");
        Err(StoreError::ReadOnly)
    })
}

/// Takes the jobs that wait, runs them, applies and syncs what they wrote, answers all.
pub(super) struct Committer {
    file: File,
    fuse: Fuse,
    mark: Mark,
    pending: Pending,
    /// Jobs that wrote since the last sync.
    unsynced: usize,
}

impl Committer {
    /// Writes to `db`, counts what it changed, and syncs `file`.
    pub(super) fn new(
        (db, versions): (sled::Db, Versions),
        file: File,
        fuse: Fuse,
        (mark, room): (Mark, Room),
    ) -> Self {
        Self {
            file,
            fuse: fuse.clone(),
            mark,
            pending: Pending {
                db,
                fuse,
                versions,
                writes: Writes::new(),
                room,
                has_room: None,
            },
            unsynced: 0,
        }
    }

    /// Works until nobody can send jobs any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = sync::receive(&mut queue) {
            let mut group = vec![first];
            while group.len() < MAX_GROUP
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        let (mut at_once, mut after_sync) = (Vec::new(), Vec::with_capacity(group.len()));
        let mut must_sync = false;
        self.pending.has_room = None;
        for job in group {
            let ran = job(&mut self.pending, &self.fuse);
            self.unsynced += usize::from(ran.effect != Effect::Nothing);
            must_sync |= ran.effect == Effect::Synced;
            // What saw the write of a job that waits, waits with it: it may rest on what is not durable yet.
            if ran.effect == Effect::Later && !must_sync {
                at_once.push(ran.answer);
            } else {
                after_sync.push(ran.answer);
            }
        }
        must_sync |= self.unsynced >= MAX_UNSYNCED_JOBS;
        let applied = self.apply(must_sync);
        at_once.into_iter().for_each(|answer| answer(applied));
        if faults::is_planted(Bug::AnswerBeforeSync) {
            after_sync.drain(..).for_each(|answer| answer(true));
            // So long that a cut falls into it.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let durable = applied && (!must_sync || self.sync()) && self.fuse.check().is_ok();
        after_sync.into_iter().for_each(|answer| answer(durable));
    }

    fn apply(&mut self, with_mark: bool) -> bool {
        if with_mark && let Some((key, value)) = (self.mark)() {
            self.pending.writes.insert(key, Some(value));
        }
        self.pending.apply().is_ok() && self.fuse.check().is_ok()
    }

    fn sync(&mut self) -> bool {
        self.unsynced = 0;
        if faults::is_planted(Bug::NoIndexFlush) {
            return true;
        }
        if faults::is_planted(Bug::NoSettle) {
            // So long that whoever does not wait for it is done before.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let synced = guarded(|| {
            self.pending.db.flush().map_err(|e| damaged(&e))?;
            if faults::is_planted(Bug::NoIndexSync) {
                return Ok(());
            }
            let synced = faults::around("sync the index", || self.file.sync_data());
            synced.map_err(|e| StoreError::from_io("sync the index", e))
        });
        if let Err(error) = &synced {
            self.fuse.blow("sync the index", error);
        }
        synced.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::open_in_time;
    use super::*;
    use crate::store::embedded::tests::Folder;
    use std::sync::{Arc, Mutex};

    type Told = Arc<Mutex<Vec<(u8, bool)>>>;

    /// A job that writes its number under its own key, and what it told its caller.
    fn job(told: &Told, number: u8, later: bool) -> Job {
        let told = Arc::clone(told);
        Box::new(move |pending, fuse| {
            let (_, effect) = run_job(fuse, pending, |txn| {
                if later {
                    txn.need_not_sync();
                }
                txn.put(vec![number], vec![number])
            });
            let answer = move |kept| told.lock().unwrap().push((number, kept));
            Ran {
                effect,
                answer: Box::new(answer),
            }
        })
    }

    fn committer(folder: &Folder, file: &str) -> Committer {
        let db = open_in_time(&folder.0).unwrap();
        let file = File::open(folder.0.join(file)).unwrap();
        let versions = Versions::default();
        let hooks: (Mark, Room) = (Box::new(|| None), Box::new(|_| true));
        Committer::new((db, versions), file, Fuse::default(), hooks)
    }

    #[test]
    fn a_job_that_need_not_sync_waits_when_one_before_it_in_its_group_waits() {
        let folder = Folder::new();
        // It cannot be synced, so whoever waits for that is told.
        let mut committer = committer(&folder, "/dev/null");
        let told = Told::default();
        let group = [(1, true), (2, false), (3, true)];
        committer.commit(group.map(|(n, later)| job(&told, n, later)).into());
        assert_eq!(*told.lock().unwrap(), [(1, true), (2, false), (3, false)]);
    }

    #[test]
    fn a_scan_of_a_job_sees_what_the_jobs_before_it_wrote() {
        let folder = Folder::new();
        let mut committer = committer(&folder, "db");
        let told = Told::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let scanned = Arc::clone(&seen);
        let scan: Job = Box::new(move |pending, fuse| {
            let (found, effect) = run_job(fuse, pending, |txn| txn.prefix(&[1], 9));
            scanned.lock().unwrap().extend(found.unwrap());
            Ran {
                effect,
                answer: Box::new(|_| ()),
            }
        });
        committer.commit(vec![job(&told, 1, false), scan]);
        assert_eq!(*seen.lock().unwrap(), [(vec![1], vec![1])]);
    }
}
