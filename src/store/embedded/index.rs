//! The index: one ordered keyspace of small values. The only file that names sled, besides `index/open.rs`, which opens it, and looks at it before.
//!
//! Owns: the tree, the one committer thread that writes to it, and the rule by which a write is durable: `flush()`, then
//! `fdatasync` of sled's own `db` file through a second descriptor (flush alone ends in `sync_file_range`, which is no barrier).
//! Never does: know what a key means, or call `flush_async` (it deadlocks with eight callers).
//!
//! Invariants:
//! 1. Only the committer writes. A job reads and writes through its [`Txn`], sees every earlier job's writes, and is applied
//!    whole or not at all; so check-then-write needs no lock.
//! 2. A job is answered after the sync that follows it; all jobs that wait are synced together. A job that says so by
//!    [`Txn::need_not_sync`] is answered at once, unless one before it in its group waits; what it wrote is durable with the next sync, never later than the write of a
//!    later job, and after [`MAX_UNSYNCED_JOBS`] at the latest.
//! 3. A failed sync, or a panic inside sled, blows the fuse; nothing is retried.
//! 4. A read outside a job may see a write a moment before it is durable.

mod committer;
mod look;
mod open;
mod versions;

use std::fmt;
use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::damage::{self, Damage};
use super::fuse::Fuse;
#[cfg(feature = "schedules")]
use super::memory as sled;
use super::sync::{self, Mutex};
use crate::store::StoreError;
use committer::{Committer, Job, Ran, run_job};
pub(super) use committer::{Mark, Need, Room, Txn};
pub(super) use open::OpenError;
use open::open_in_time;
use versions::Versions;

/// Longest value, in bytes; sled keeps longer ones in files that it never syncs.
pub(super) const MAX_VALUE_BYTES: usize = 4096;
/// Jobs that may wait for the committer; callers wait for a place.
const MAX_WAITING_JOBS: usize = 1024;

/// Key and value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// An open index.
pub(super) struct Index {
    db: sled::Db,
    jobs: Option<mpsc::Sender<Job>>,
    committer: Mutex<Option<sync::thread::JoinHandle<()>>>,
    versions: Versions,
    /// What reading it has shown.
    pub(super) damage: Damage,
}

impl Index {
    /// Opens or creates the index in `folder`; a [`Mark`] is written with every sync, and a [`Room`] asked before.
    pub(super) fn open(folder: &Path, fuse: Fuse, hooks: (Mark, Room)) -> Result<Self, OpenError> {
        let db = open_in_time(folder)?;
        let file = File::open(folder.join("db"))
            .map_err(|e| OpenError::Io(StoreError::from_io("open the index file", e).at(folder)))?;
        Self::start(db, file, fuse, hooks)
    }

    /// Starts the committer, which syncs `file`.
    fn start(db: sled::Db, file: File, fuse: Fuse, hooks: (Mark, Room)) -> Result<Self, OpenError> {
        let (jobs, queue) = mpsc::channel(MAX_WAITING_JOBS);
        let versions = Versions::default();
        let committer = Committer::new((db.clone(), versions.clone()), file, fuse, hooks);
        let committer = sync::thread::Builder::new()
            .name("index-committer".to_owned())
            .spawn(move || committer.run(queue))
            .map_err(|e| OpenError::Io(StoreError::from_io("start the committer", e)))?;
        Ok(Self {
            db,
            jobs: Some(jobs),
            committer: Mutex::new(Some(committer)),
            versions,
            damage: Damage::default(),
        })
    }

    /// Runs `job` in the committer and returns when what it wrote is on stable storage, unless it said [`Txn::need_not_sync`].
    ///
    /// The job runs even when this future is dropped. When it fails, nothing of it is kept.
    ///
    /// # Errors
    /// What the job says; [`StoreError::ReadOnly`] when the sync failed, and then it is not known whether it was kept.
    pub(super) async fn commit<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, waiter) = oneshot::channel();
        let run: Job = Box::new(move |pending, fuse| {
            let (result, effect) = run_job(fuse, pending, job);
            Ran {
                effect,
                answer: Box::new(move |durable| {
                    let result = if durable {
                        result
                    } else {
                        Err(StoreError::ReadOnly)
                    };
                    // The caller may be gone; the job counts all the same.
                    let _ = answer.send(result);
                }),
            }
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::ReadOnly)?;
        // What its caller saw before may have changed by the time it has its turn.
        sync::point();
        let sent = jobs.send(run).await;
        sent.map_err(|_| StoreError::ReadOnly)?;
        let result = waiter.await.map_err(|_| StoreError::ReadOnly)?;
        self.damage.noticed(result)
    }

    /// Returns when whatever could be read before it was called is on stable storage, but for what need not be.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        self.commit(|_| Ok(())).await
    }

    /// As [`Index::commit`], but what it wrote need not be durable before the next job's sync.
    pub(super) async fn commit_lazily<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Txn<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let lazy = move |txn: &mut Txn<'_>| {
            txn.need_not_sync();
            job(txn)
        };
        self.commit(lazy).await
    }

    /// How often what begins with this byte has changed: counted up when a change is applied, before it is answered.
    pub(super) fn version(&self, table: u8) -> u64 {
        self.versions.of(table)
    }

    /// One value.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.damage.noticed(guarded(|| lookup(&self.db, key)))
    }

    /// Calls `each` with the pairs whose key begins with `prefix`, in order, until it breaks.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let scanned = guarded(|| each_of(self.db.scan_prefix(prefix), &mut each));
        self.damage.noticed(scanned)
    }

    /// As [`Index::scan`], from the key `from` on, which need not be there.
    pub(super) fn scan_from(
        &self,
        from: &[u8],
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut within = |key: &[u8], value: &[u8]| match key.starts_with(prefix) {
            true => each(key, value),
            false => Ok(ControlFlow::Break(())),
        };
        let scanned = guarded(|| each_of(self.db.range(from.to_vec()..), &mut within));
        self.damage.noticed(scanned)
    }

    /// As [`Index::scan`], from the last pair to the first.
    pub(super) fn scan_back(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let scanned = guarded(|| each_of(self.db.scan_prefix(prefix).rev(), &mut each));
        self.damage.noticed(scanned)
    }

    /// The first `limit` pairs whose key begins with `prefix`.
    pub(super) fn prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let first = guarded(|| first_of(&self.db, prefix, limit));
        self.damage.noticed(first)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let committer = self.committer.lock().ok().and_then(|mut c| c.take());
        if let Some(thread) = committer.filter(|t| t.thread().id() != sync::thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

fn lookup(db: &sled::Db, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let found = db.get(key).map_err(|e| damaged(&e))?;
    Ok(found.map(|value| value.to_vec()))
}

fn each_of<K: AsRef<[u8]>>(
    pairs: impl Iterator<Item = Result<(K, K), sled::Error>>,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    for pair in pairs {
        let (key, value) = pair.map_err(|e| damaged(&e))?;
        if each(key.as_ref(), value.as_ref())?.is_break() {
            break;
        }
    }
    Ok(())
}

fn first_of(db: &sled::Db, prefix: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
    let pairs = db.scan_prefix(prefix).take(limit);
    pairs
        .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect::<Result<_, _>>()
        .map_err(|e| damaged(&e))
}

fn damaged(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(cause) if open::may_pass(cause) => damage::unreadable(error),
        _ => damage::error(matches!(error, sled::Error::Corruption { .. }), error),
    }
}

/// Turns a panic inside sled, which is how it reports some kinds of damage, into an error.
fn guarded<R>(call: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    sync::point();
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(damage::panicked()))
}

#[cfg(all(test, feature = "schedules"))]
mod schedules;

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::store::embedded::tests::Folder;

    /// Of an index that has no mark, and all the room in the world.
    pub(in super::super) fn hooks() -> (Mark, Room) {
        (Box::new(|| None), Box::new(|_| true))
    }

    fn open(folder: &Folder) -> Index {
        Index::open(&folder.0, Fuse::default(), hooks()).unwrap()
    }

    #[tokio::test]
    async fn a_job_that_fails_leaves_nothing() {
        let folder = Folder::new();
        let index = open(&folder);
        let job = |txn: &mut Txn<'_>| {
            txn.put(b"a".to_vec(), b"1".to_vec())?;
            assert_eq!(txn.get(b"a")?.as_deref(), Some(b"1".as_slice()));
            Err::<(), _>(StoreError::Exists)
        };
        assert!(matches!(index.commit(job).await, Err(StoreError::Exists)));
        assert_eq!(index.get(b"a").unwrap(), None);
    }

    #[tokio::test]
    async fn jobs_that_run_together_see_each_other_and_survive_a_restart() {
        let folder = Folder::new();
        let index = open(&folder);
        let count = |txn: &mut Txn<'_>| {
            let old = txn.get(b"n")?.map_or(0, |n| n[0]);
            txn.put(b"n".to_vec(), vec![old + 1])
        };
        let jobs = (0..100).map(|_| index.commit(count));
        for done in futures_util::future::join_all(jobs).await {
            done.unwrap();
        }
        drop(index);
        assert_eq!(open(&folder).get(b"n").unwrap(), Some(vec![100]));
    }

    #[tokio::test]
    async fn an_index_that_is_slow_to_open_is_no_broken_one() {
        let folder = Folder::new();
        let index = open(&folder);
        let put = |txn: &mut Txn<'_>| txn.put(b"a".to_vec(), b"kept".to_vec());
        index.commit(put).await.unwrap();
        drop(index);
        // As an earlier instance that has not let go of it yet would hold it.
        let log = File::open(folder.0.join("db")).unwrap();
        rustix::fs::flock(&log, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let path = folder.0.with_extension("log");
        let told = Arc::new(File::create(&path).unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(told).finish();
        let (at_once, late) = (Duration::from_millis(1), Duration::from_millis(10));
        let slow = tracing::subscriber::with_default(subscriber, || {
            open::open_within(&folder.0, at_once, late)
        });
        drop(log);
        let told = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(told.matches("still being read").count(), 1, "{told}");
        let Err(OpenError::Io(error)) = slow else {
            panic!("{slow:?}");
        };
        let cause = error.to_string();
        assert!(cause.contains("pillarbox reindex"), "{cause}");
        assert_eq!(open(&folder).get(b"a").unwrap(), Some(b"kept".to_vec()));
    }

    #[tokio::test]
    async fn a_value_of_more_than_4_kib_is_refused() {
        let folder = Folder::new();
        let index = open(&folder);
        for (length, fits) in [(MAX_VALUE_BYTES, true), (MAX_VALUE_BYTES + 1, false)] {
            let job = move |txn: &mut Txn<'_>| txn.put(b"a".to_vec(), vec![0; length]);
            assert_eq!(index.commit(job).await.is_ok(), fits);
        }
    }

    #[tokio::test]
    async fn a_job_for_which_there_is_no_room_fails_alone() {
        let folder = Folder::new();
        let has_room = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&has_room);
        let room = Box::new(move |need| need == Need::MakeRoom || asked.load(Ordering::Relaxed));
        let fuse = Fuse::default();
        let index = Index::open(&folder.0, fuse.clone(), (Box::new(|| None), room)).unwrap();
        let put = |value: u8| move |txn: &mut Txn<'_>| txn.put(b"a".to_vec(), vec![value]);
        index.commit(put(1)).await.unwrap();
        has_room.store(false, Ordering::Relaxed);
        assert!(matches!(index.commit(put(2)).await, Err(StoreError::Full)));
        let read = index.commit(|txn: &mut Txn<'_>| txn.get(b"a")).await;
        assert_eq!(read.unwrap(), Some(vec![1]), "it is read all the same");
        let delete = |txn: &mut Txn<'_>| {
            txn.delete(b"a".to_vec());
            Ok(())
        };
        index.commit(delete).await.unwrap();
        let moved = |txn: &mut Txn<'_>| {
            txn.makes_room();
            txn.put(b"b".to_vec(), vec![1])
        };
        index.commit(moved).await.unwrap();
        has_room.store(true, Ordering::Relaxed);
        index.commit(put(3)).await.unwrap();
        assert_eq!(index.get(b"a").unwrap(), Some(vec![3]));
        assert!(fuse.check().is_ok());
    }

    #[tokio::test]
    async fn a_failed_sync_makes_every_later_job_read_only() {
        let folder = Folder::new();
        let db = open_in_time(&folder.0).unwrap();
        let unsyncable = File::open("/dev/null").unwrap();
        let fuse = Fuse::default();
        let index = Index::start(db, unsyncable, fuse.clone(), hooks()).unwrap();
        for _ in 0..2 {
            let job = |txn: &mut Txn<'_>| txn.put(b"a".to_vec(), b"1".to_vec());
            assert!(matches!(index.commit(job).await, Err(StoreError::ReadOnly)));
        }
        assert!(fuse.check().is_err());
    }

    #[tokio::test]
    async fn a_panic_inside_a_job_makes_the_store_read_only_and_nothing_else() {
        let folder = Folder::new();
        let index = open(&folder);
        let job = |_: &mut Txn<'_>| -> Result<(), StoreError> { panic!("a test") };
        assert!(matches!(index.commit(job).await, Err(StoreError::ReadOnly)));
        let later = |txn: &mut Txn<'_>| txn.put(b"a".to_vec(), b"1".to_vec());
        assert!(matches!(
            index.commit(later).await,
            Err(StoreError::ReadOnly)
        ));
        assert_eq!(index.get(b"a").unwrap(), None);
    }
}
