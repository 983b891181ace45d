//! The embedded engine: plain files for bytes, one ordered index for names.
//!
//! Owns: [`EmbeddedStore`], its options, and how its parts fit: `assembler`, `batches`, `placing`, `lane` and `output` take the bytes of a chunk to
//! disk, `ledger`, `closing`, `parts` and `names` hold the rules of sessions and objects as index jobs, `receipts` tell what a session has, `complete` makes a full session an object and `folding` one file, `abort` removes one,
//! `objects` finds, `reader` reads, `list`, `keys` and `uploads` list, `catalog` keeps tokens and pipelines, `snapshot` keeps them once more, `counts` their numbers, `sweep` removes what is due, `retry` tries again what could not be made whole and `lifecycle` what a bucket's rules let go, `recover` opens, `rebuild` rebuilds and
//! `orphans` finds what the index does not name; below them `lease` and `recent` (what is under way, in memory), `records` (tables), `tagged` (records with many tags), `entry` (of the catalog), `eras` (of buckets), `long` (such as are), `known` (such as were read), `hot` (small objects that were read),
//! `label`, `damage` (of the index, seen by a read), `faults` (where tests inject them), `sync` (where tests take over the schedule), `index` (the only file that names sled),
//! `disk` (the only one that touches the file system) and `fuse`.
//! Never does: HTTP, policies, reading the wall clock; how long something took is measured where it may take hours.
//!
//! Invariants:
//! 1. Bytes first, name last: a receipt or an object's record is written only after the bytes, and the label, are synced. An
//!    object under a new key may be acknowledged when its label is synced: its record can be found out again (`recent`).
//! 2. Whatever changes the store runs in a task of its own, so a caller that goes away leaves nothing half done.
//! 3. A file is removed only after the index no longer names it, durably.

mod abort;
mod assembler;
mod batches;
mod buffers;
mod by_application;
mod by_pipeline;
mod catalog;
mod closing;
mod complete;
mod copying;
mod counts;
mod damage;
mod disk;
mod entry;
mod eras;
pub mod faults;
mod folding;
mod fuse;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hot;
mod index;
mod keys;
mod known;
mod label;
mod lane;
mod lease;
mod ledger;
mod lifecycle;
mod list;
mod long;
#[cfg(feature = "schedules")]
mod memory;
mod names;
mod objects;
mod orphans;
mod output;
mod parts;
mod placing;
mod reader;
mod rebuild;
mod receipts;
mod recent;
mod records;
mod recover;
mod reserve;
mod retry;
mod sizes;
mod snapshot;
mod sweep;
mod sync;
mod tagged;
#[cfg(test)]
mod tests;
mod uploads;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use self::disk::{Disk, FileName, MIN_INDEX_ROOM};
use self::fuse::Fuse;
use self::index::Index;
use self::lease::Leases;
use self::names::Garbage;
use self::recent::Recent;
use self::records::SessionRecord;
use self::sync::{AtomicBool, Mutex, TaskTracker};
use super::{
    Catalog, CatalogEntry, CatalogKey, CatalogKind, ChunkSpec, ChunkWriter, ClockReading, FilePage,
    FileQuery, Health, KeyPage, KeyQuery, MAX_CLOSE_WAIT, ObjectChange, ObjectName, ObjectReader,
    ObjectStore, StoreError, SweepReport, WriteCondition,
};
use crate::model::{
    Bucket, ChunkReceipt, Id, NewUpload, ObjectMeta, Timestamp, TokenHash, UploadSession,
};

/// How long closing waits for writers that are under way, and then for tasks: two waits.
const CLOSE_WAIT: Duration = Duration::from_secs(MAX_CLOSE_WAIT.as_secs() / 2);

/// How to open the embedded engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made when it is not there.
    pub data: PathBuf,
    /// Bytes of disk space that uploads leave free; 64 MiB by default.
    pub free_floor_bytes: u64,
    /// Bytes set aside for a restart on a full disk; 64 MiB by default, 0 for none.
    pub ballast_bytes: u64,
    /// Whether that is made so; else the space that is set aside stays as it is.
    pub keeps_ballast: bool,
    /// Most chunks that are written at once; one holds at most about 9 MiB of memory, eight 2.5 MiB each, 512 a quarter
    /// of a MiB each. 512 by default.
    pub max_writers: usize,
    /// Says, once the folder is locked and before anything in it is read or made, why it must not be used. By default nothing is said against
    /// any.
    pub judge: Judge,
}

/// Judges a data folder.
pub type Judge = fn(&Path) -> io::Result<()>;

impl Options {
    /// The default options for a data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            free_floor_bytes: 64 << 20,
            ballast_bytes: 64 << 20,
            keeps_ballast: true,
            max_writers: 512,
            judge: |_| Ok(()),
        }
    }

    /// Bytes that uploads leave free, whatever is configured: enough that the index can still be written.
    fn floor_bytes(&self) -> u64 {
        self.free_floor_bytes.max(2 * MIN_INDEX_ROOM)
    }
}

/// The embedded engine.
#[derive(Clone, Debug)]
pub struct EmbeddedStore {
    engine: Arc<Engine>,
}

impl EmbeddedStore {
    /// Opens the data folder, rebuilding the index when it is lost, and recovers what an earlier process left behind.
    ///
    /// # Errors
    /// [`StoreError::Io`] when another process uses the folder; [`StoreError::Newer`] when a newer version made it.
    pub async fn open(options: Options, now: Timestamp) -> Result<Self, StoreError> {
        let engine = recover::open(options, now, false).await?;
        Ok(Self { engine })
    }

    /// As [`EmbeddedStore::open`], but moves the index aside first and rebuilds it from the labels of the files and the
    /// snapshot of the catalog. Unfinished sessions and short-lived tokens are not rebuilt.
    pub async fn reindex(options: Options, now: Timestamp) -> Result<Self, StoreError> {
        let engine = recover::open(options, now, true).await?;
        Ok(Self { engine })
    }

    /// How many files have no name since the index was rebuilt at this start: those of unfinished uploads, and those whose record is
    /// lost. They stay where they are.
    pub fn left_out(&self) -> usize {
        self.engine.left_out
    }
}

/// What all parts share.
struct Engine {
    options: Options,
    // Before `disk`, so that the index is closed before the folder is unlocked.
    index: Index,
    disk: Disk,
    fuse: Fuse,
    recent: Recent,
    leases: Leases,
    writers: Arc<Semaphore>,
    buffers: buffers::Buffers,
    tasks: TaskTracker,
    snapshot: snapshot::Snapshot,
    known: known::Known,
    hot: hot::Hot,
    clock: Mutex<sweep::ClockWatch>,
    lifecycle: lifecycle::Walk,
    retried: retry::Retried,
    scans: Arc<Semaphore>,
    folds: Semaphore,
    /// Bytes that all copies together still need room for.
    copying: Mutex<u64>,
    /// Whether the list of each pipeline's files can be relied on.
    lists_pipelines: bool,
    /// Files that had no usable record when the index was rebuilt at this start.
    left_out: usize,
    /// Whether a file may lie about that nothing names.
    litter: AtomicBool,
}

impl Engine {
    /// Runs a job that may block.
    async fn blocking<R: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let engine = Arc::clone(self);
        joined(self.tasks.spawn_blocking(move || job(&engine)).await)
    }

    /// Runs `work` to its end even when the caller goes away.
    async fn carry_out<R: Send + 'static>(
        &self,
        work: impl Future<Output = Result<R, StoreError>> + Send + 'static,
    ) -> Result<R, StoreError> {
        joined(self.tasks.spawn(work).await)
    }

    /// Removes files that nothing names any more, in the background. They stay in the garbage table: a removal is not durable
    /// by itself, and a deleted file that comes back after a power cut must find its entry there. [`Engine::forget`] ends it.
    fn collect(self: &Arc<Self>, garbage: Garbage) {
        if garbage.is_empty() {
            return;
        }
        let engine = Arc::clone(self);
        self.tasks.spawn_blocking(move || {
            engine.remove(garbage);
        });
    }

    /// Removes files; returns those that are gone. One that cannot be removed stops no other.
    fn remove(&self, mut garbage: Garbage) -> Garbage {
        garbage.retain(|(id, spill)| {
            let name = spill.map_or(FileName::Main(*id), |n| FileName::Spill(*id, n));
            let removed = self.disk.unlink(name);
            if let Err(error) = &removed {
                tracing::warn!(%id, %error, "garbage stays until the next sweep");
            }
            removed.is_ok()
        });
        garbage
    }

    /// Removes files that nothing names any more, durably, and then their entries in the garbage table; whether there were any that went.
    async fn forget(self: &Arc<Self>, garbage: Garbage) -> Result<bool, StoreError> {
        let removed = self
            .blocking(move |engine| {
                let removed = engine.remove(garbage);
                engine
                    .disk
                    .sync_folders(removed.iter().map(|(id, _)| *id))?;
                Ok(removed)
            })
            .await?;
        if removed.is_empty() {
            return Ok(false);
        }
        let forget = move |txn: &mut index::Txn<'_>| {
            for (id, spill) in removed {
                txn.delete(records::garbage_key(id, spill));
            }
            Ok(())
        };
        self.index.commit_lazily(forget).await.map(|()| true)
    }

    /// Notes that a file may lie about that nothing names: the next start looks for it, as after a crash.
    fn leaves_litter(&self) {
        self.litter.store(true, Ordering::Release);
    }

    /// Removes the file of something that was dropped. One that cannot be removed keeps no label, if it had one already: a rebuilt index would
    /// take it for an object.
    fn remove_dropped(&self, name: FileName) {
        let Err(error) = self.disk.unlink(name) else {
            return;
        };
        tracing::warn!(%error, "a dropped chunk stays until the next start");
        self.leaves_litter();
        if let FileName::Main(id) = name
            && !matches!(rebuild::read_label(&self.disk, id), Ok(None))
            && let Err(error) = label::take_off(&self.disk, id)
        {
            tracing::warn!(%id, %error, "what was refused may come back with a rebuilt index");
        }
    }

    /// A session, as the index has it now.
    fn session(&self, id: Id) -> Result<SessionRecord, StoreError> {
        let record = self.index.get(&records::id_key(records::SESSIONS, id))?;
        records::decode_session(&record.ok_or(StoreError::NoSuchUpload)?)
    }

    /// A receipt, as the index has it now.
    fn receipt(&self, id: Id, index: u32) -> Result<Option<ChunkReceipt>, StoreError> {
        let receipt = self.index.get(&records::receipt_key(id, index))?;
        receipt.as_deref().map(records::decode_receipt).transpose()
    }

    /// Fails with [`StoreError::Full`] when uploads would eat into the floor.
    fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        if self.disk.free_bytes()? < self.options.floor_bytes().saturating_add(bytes) {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    /// Before a session begins. Its record takes room, too, though little.
    fn check_beginning(&self) -> Result<(), StoreError> {
        self.fuse.check()?;
        self.check_room(0)
    }

    async fn close(self: &Arc<Self>) -> Result<(), StoreError> {
        let all = u32::try_from(self.options.max_writers).unwrap_or(u32::MAX);
        let writers = Arc::clone(&self.writers).acquire_many_owned(all);
        let idle = sync::timeout(CLOSE_WAIT, writers).await;
        // What would copy for hours begins no more.
        self.folds.close();
        self.tasks.close();
        let done = sync::timeout(CLOSE_WAIT, self.tasks.wait()).await;
        let mut marked = recover::mark_damage(self);
        let is_tidy = marked.is_ok() && !self.litter.load(Ordering::Acquire);
        if let Err(error) = &marked {
            tracing::error!(%error, "a damaged index could not be marked: `pillarbox reindex` rebuilds it");
        }
        if idle.is_ok() && done.is_ok() && is_tidy && self.fuse.check().is_ok() {
            let in_order = self.lists_pipelines;
            let mark = move |txn: &mut index::Txn<'_>| recover::mark_clean(txn, in_order);
            marked = self.index.commit(mark).await;
        }
        self.fuse.close();
        match marked {
            // The next start looks at everything, as after a crash.
            Err(StoreError::Full) => Ok(()),
            marked => marked,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("data", &self.options.data)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ObjectStore for EmbeddedStore {
    async fn create_upload(&self, new: NewUpload) -> Result<UploadSession, StoreError> {
        self.engine.check_beginning()?;
        let job = move |txn: &mut index::Txn<'_>| ledger::create(txn, new, None);
        self.engine.index.commit(job).await
    }

    async fn upload(&self, id: Id) -> Result<UploadSession, StoreError> {
        uploads::find(&self.engine, id)
    }

    async fn receipts(&self, id: Id) -> Result<Vec<ChunkReceipt>, StoreError> {
        let read = move |engine: &Engine| {
            engine.session(id)?;
            receipts::all(engine, id)
        };
        let receipts = self.engine.blocking(read).await?;
        // Whoever is told that a chunk is here does not send it again.
        self.engine.index.settle().await?;
        Ok(receipts)
    }

    async fn receipt(&self, id: Id, index: u32) -> Result<Option<ChunkReceipt>, StoreError> {
        // As a job, because a read outside of one may see a receipt before it is durable.
        let read = move |txn: &mut index::Txn<'_>| ledger::receipt(txn, id, index);
        self.engine.index.commit(read).await
    }

    async fn write_chunk(
        &self,
        id: Id,
        spec: ChunkSpec,
    ) -> Result<Box<dyn ChunkWriter>, StoreError> {
        let writer = assembler::Writer::to_chunk(&self.engine, id, spec)?;
        Ok(Box::new(writer))
    }

    async fn write_object(&self, new: NewUpload) -> Result<Box<dyn ChunkWriter>, StoreError> {
        let writer = assembler::Writer::to_object(&self.engine, new)?;
        Ok(Box::new(writer))
    }

    async fn finish_upload(
        &self,
        id: Id,
        nb_chunks: u32,
        now: Timestamp,
    ) -> Result<UploadSession, StoreError> {
        complete::finish(&self.engine, id, nb_chunks, now).await
    }

    async fn abort_upload(&self, id: Id) -> Result<(), StoreError> {
        abort::abort(&self.engine, id).await
    }

    async fn object(&self, name: &ObjectName, now: Timestamp) -> Result<ObjectMeta, StoreError> {
        objects::find_live(&self.engine, name, now)
    }

    async fn open(
        &self,
        name: &ObjectName,
        now: Timestamp,
    ) -> Result<Box<dyn ObjectReader>, StoreError> {
        let reader = reader::open(&self.engine, name, now).await?;
        Ok(Box::new(reader))
    }

    async fn change_object(
        &self,
        name: &ObjectName,
        change: ObjectChange,
        now: Timestamp,
    ) -> Result<ObjectMeta, StoreError> {
        objects::change(&self.engine, name.clone(), change, now).await
    }

    async fn delete_object_if(
        &self,
        name: &ObjectName,
        condition: Option<WriteCondition>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        objects::delete(&self.engine, name.clone(), condition, now).await
    }

    fn looks_at_all(&self, query: &FileQuery) -> bool {
        list::looks_at_all(&self.engine, query)
    }

    async fn list_files(&self, query: &FileQuery, now: Timestamp) -> Result<FilePage, StoreError> {
        list::list(&self.engine, query.clone(), now).await
    }

    async fn list_keys(&self, query: &KeyQuery, now: Timestamp) -> Result<KeyPage, StoreError> {
        keys::list(&self.engine, query.clone(), now).await
    }

    async fn sweep(&self, clock: ClockReading, limit: usize) -> Result<SweepReport, StoreError> {
        sweep::sweep(&self.engine, clock, limit).await
    }

    async fn verify(&self, name: &ObjectName, now: Timestamp) -> Result<ObjectMeta, StoreError> {
        reader::verify(&self.engine, name.clone(), now).await
    }

    fn locate(&self, meta: &ObjectMeta) -> Option<PathBuf> {
        Some(self.engine.disk.path(FileName::Main(meta.id)))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let free = self.engine.disk.free_bytes()?;
        Ok(Health {
            writable: self.engine.fuse.check().is_ok(),
            free_bytes: free.saturating_sub(self.engine.options.floor_bytes()),
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.engine.close().await
    }
}

#[async_trait]
impl Catalog for EmbeddedStore {
    async fn find(&self, key: &CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
        catalog::find(&self.engine, key)
    }

    async fn list(&self, kind: CatalogKind) -> Result<Vec<CatalogEntry>, StoreError> {
        self.engine
            .blocking(move |engine| catalog::list(&engine.index, kind))
            .await
    }

    async fn insert(&self, entry: CatalogEntry) -> Result<(), StoreError> {
        catalog::insert(&self.engine, entry).await
    }

    async fn remove(&self, key: &CatalogKey) -> Result<bool, StoreError> {
        // Before all time nothing has expired.
        catalog::remove(&self.engine, key.clone(), Timestamp::from_millis(i64::MIN)).await
    }

    async fn remove_tokens(&self, tokens: &[TokenHash]) -> Result<usize, StoreError> {
        by_application::remove_tokens(&self.engine, tokens.to_vec()).await
    }

    async fn remove_bucket(&self, bucket: &Bucket, now: Timestamp) -> Result<bool, StoreError> {
        catalog::remove(&self.engine, CatalogKey::Bucket(bucket.clone()), now).await
    }
}

/// Folds the failure of a task into an error.
fn joined<R>(result: Result<Result<R, StoreError>, sync::JoinError>) -> Result<R, StoreError> {
    result.unwrap_or_else(|error| Err(StoreError::failed("run a task", io::Error::other(error))))
}
