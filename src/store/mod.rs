//! THE SEAM: what every storage engine promises, written as a contract.
//!
//! Owns: the traits [`ObjectStore`], [`PartStore`], [`ChunkWriter`], [`ObjectReader`] and [`Catalog`], and the values that cross them.
//! `tests/store_contract.rs` is one suite that every engine passes; nothing above this file knows which engine runs.
//!
//! Never does: HTTP, policies, reading a clock. Time is an argument; bytes are pushed in and never pulled from a network,
//! so a failure of the network is never a failure of the store.
//!
//! Invariants, for every engine:
//! 1. What returned `Ok` is on stable storage: it survives `kill -9` and a power cut at that instant.
//! 2. A reader sees a whole object or none, the old one or the new one. An object that is open stays readable whole.
//! 3. An object whose `expires_at` is not after `now` is absent from every answer, before any sweep.
//! 4. An acknowledged byte is never overwritten in place; dropping a writer leaves nothing that is visible.
//! 5. A future may be dropped at any await point: the store stays consistent, and what was begun is finished or undone.
//! 6. After a failed sync every write answers [`StoreError::ReadOnly`] until restart; a failed sync is never retried.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::{
    Bucket, Checksum, ChunkReceipt, Crc64, Id, Md5, NewUpload, ObjectKey, ObjectMeta, SaidSizes,
    Timestamp, UploadSession,
};

mod catalog;
mod change;
mod condition;
pub mod embedded;
mod error;
mod lists;
mod parts;

pub use catalog::{
    BYTES_OF_OPERATOR, Catalog, CatalogEntry, CatalogKey, CatalogKind, MAX_CATALOG_BYTES,
    MAX_CATALOG_ENTRIES, MAX_ENTRY_BYTES, MAX_SETTINGS_BYTES, MAX_TOKENS_OF_APPLICATION,
    TOKENS_OF_OPERATOR,
};
pub use change::{HeaderChange, ObjectChange, Rewrite};
pub use condition::WriteCondition;
pub use error::StoreError;
pub use lists::{FilePage, FileQuery, KeyEntry, KeyPage, KeyQuery, SortKey};
pub use parts::{Completion, PartStore, UploadEntry, UploadPage, UploadQuery};

/// How long [`ObjectStore::close`] waits for what is under way, in all. What a floor above waits for it is longer, or it could not note how it was left.
pub const MAX_CLOSE_WAIT: Duration = Duration::from_secs(60);

/// Everything the floors above ask of an engine.
pub trait Store: ObjectStore + PartStore + Catalog {}

impl<T: ObjectStore + PartStore + Catalog> Store for T {}

/// Which chunk of an upload is about to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSpec {
    /// Index from 0, below [`crate::model::MAX_CHUNKS`].
    pub index: u32,
    /// The number of chunks, when the client says it; 1 to [`crate::model::MAX_CHUNKS`] and above `index`.
    pub nb_chunks: Option<u32>,
    /// What the client says of sizes; what one chunk of an upload said holds for all others, also for those that say nothing.
    pub sizes: SaidSizes,
}

impl ChunkSpec {
    /// A chunk of which no sizes are said.
    pub fn new(index: u32, nb_chunks: Option<u32>) -> Self {
        let sizes = SaidSizes::default();
        Self {
            index,
            nb_chunks,
            sizes,
        }
    }
}

/// What must be true of a chunk for it to be acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its exact length in bytes.
    pub length: Option<u64>,
    /// Its MD5.
    pub md5: Option<Md5>,
    /// Its CRC64NVME.
    pub crc64: Option<Crc64>,
    /// Of an object that comes in one piece: what must be true of the object that has its key, in the moment in which it is named.
    pub condition: Option<WriteCondition>,
}

/// What a committed chunk became.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The receipt of the chunk. For a repeat it is the receipt of the first one; in an upload in parts with the checksum and the time of
    /// the last.
    pub receipt: ChunkReceipt,
    /// Whether the same chunk, with the same bytes, was already here.
    pub repeated: bool,
    /// The finished object, when this chunk made it whole (or it already was). `None` while chunks are missing, and when
    /// making it whole takes longer than the engine waits (30 s); it then goes on by itself, as one that nobody waits for
    /// ([`ObjectStore::finish_upload`]).
    pub object: Option<ObjectMeta>,
}

/// How an object is named in a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectName {
    /// By the id of its File.
    Id(Id),
    /// By its place in a bucket.
    Key(Bucket, ObjectKey),
}

/// What the engine reads off both clocks, for the sweep.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Time since some fixed point of this process, never going back.
    pub monotonic: Duration,
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Expired objects removed.
    pub objects: usize,
    /// Abandoned or long finished sessions removed.
    pub sessions: usize,
    /// Expired tokens and keys removed; a temporary key goes [`AccessKey::REMEMBERED`] after its end.
    pub catalog: usize,
    /// Whether more is due than the limit of one tick allowed.
    pub more: bool,
    /// Set when the wall clock is not to be trusted and nothing was swept: how far it jumped.
    pub clock_jump: Option<Duration>,
}

/// How the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Writes are accepted.
    pub writable: bool,
    /// Bytes free for uploads, above the floor that is kept back.
    pub free_bytes: u64,
}

/// Sessions, chunks and objects. No object becomes visible in a bucket that the catalog does not have ([`StoreError::NoSuchBucket`]);
/// a session whose bucket was removed fails, and is gone once there is another bucket of that name.
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// Starts an upload, at the earliest when its bucket was made. Fails with [`StoreError::Exists`] when the id is taken,
    /// [`StoreError::NoSuchBucket`] when the bucket is not there, [`StoreError::Full`] when there is no room for chunks either.
    async fn create_upload(&self, new: NewUpload) -> Result<UploadSession, StoreError>;

    /// The session, also after it is finished, until it is swept; [`StoreError::NoSuchUpload`] otherwise, [`StoreError::GaveWay`] for one
    /// that ended so ([`ObjectStore::finish_upload`]).
    async fn upload(&self, id: Id) -> Result<UploadSession, StoreError>;

    /// The receipts of all chunks of a session, by index; at most [`crate::model::MAX_CHUNKS`].
    async fn receipts(&self, id: Id) -> Result<Vec<ChunkReceipt>, StoreError>;

    /// The receipt of one chunk, when it is here and on stable storage; none for a session that does not exist.
    async fn receipt(&self, id: Id, index: u32) -> Result<Option<ChunkReceipt>, StoreError>;

    /// Begins one chunk of a session. Also allowed when the session is finished: a repeat with the same bytes is then
    /// acknowledged again, other bytes are refused with [`StoreError::ChunkDiffers`] at commit. What the first chunk said of
    /// sizes holds: commit judges it in the one step that acknowledges, and the chunk that would complete an object of another
    /// total is refused. What was acknowledged stays, and may be replaced.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`] (also for an upload in parts that is finished), [`StoreError::GaveWay`], [`StoreError::ChunkCountDiffers`],
    /// [`StoreError::ChunkOutOfRange`], [`StoreError::ChunkSizesDiffer`], [`StoreError::TotalDiffers`], [`StoreError::SourceDiffers`],
    /// [`StoreError::UploadFailed`], [`StoreError::Busy`], [`StoreError::ReadOnly`], [`StoreError::Full`].
    async fn write_chunk(
        &self,
        id: Id,
        spec: ChunkSpec,
    ) -> Result<Box<dyn ChunkWriter>, StoreError>;

    /// Begins an object that comes in one piece, without a session. When its bucket is removed before the commit, that fails with
    /// [`StoreError::NoSuchBucket`], also when there is another one of that name by then.
    async fn write_object(&self, new: NewUpload) -> Result<Box<dyn ChunkWriter>, StoreError>;

    /// Says that an upload has `nb_chunks` chunks and no more will come, and makes the object whole. Idempotent. Returns
    /// the session in whatever state it reached within 30 s. One that nobody waits for any more, since that took longer, the caller has left
    /// or the system failed ([`StoreError::Full`] for one), is made whole later, unless another object was given its key since: it counts
    /// then as one that was replaced, but whoever asks again is not told that it is whole: [`StoreError::GaveWay`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`], [`StoreError::GaveWay`]; [`StoreError::MissingChunks`] when not all are here,
    /// [`StoreError::ChunkCountDiffers`] when more or other were announced, [`StoreError::TotalDiffers`] when they do not come to the
    /// total that was said; nothing is lost and the session stays open.
    async fn finish_upload(
        &self,
        id: Id,
        nb_chunks: u32,
        now: Timestamp,
    ) -> Result<UploadSession, StoreError>;

    /// Drops a session that is not finished, and its chunks, also when it is just being made whole, or waits for that: whoever waits for
    /// its object is told [`StoreError::NoSuchUpload`]. A finished one is refused with [`StoreError::Finished`]. Where the disk takes long
    /// to let go of its bytes, they are freed later.
    async fn abort_upload(&self, id: Id) -> Result<(), StoreError>;

    /// The record of a live object, or [`StoreError::NoSuchObject`].
    async fn object(&self, name: &ObjectName, now: Timestamp) -> Result<ObjectMeta, StoreError>;

    /// Opens a live object for reading; the reader keeps seeing these bytes whatever happens to the name.
    async fn open(
        &self,
        name: &ObjectName,
        now: Timestamp,
    ) -> Result<Box<dyn ObjectReader>, StoreError>;

    /// Changes the record of a live object and returns the new one.
    async fn change_object(
        &self,
        name: &ObjectName,
        change: ObjectChange,
        now: Timestamp,
    ) -> Result<ObjectMeta, StoreError>;

    /// Removes a live object; [`StoreError::NoSuchObject`] when there is none.
    async fn delete_object(&self, name: &ObjectName, now: Timestamp) -> Result<(), StoreError> {
        self.delete_object_if(name, None, now).await
    }

    /// As [`ObjectStore::delete_object`], if `condition` holds in the moment of the removal; [`StoreError::ConditionFailed`] when not.
    async fn delete_object_if(
        &self,
        name: &ObjectName,
        condition: Option<WriteCondition>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whether a page of files is found only by a look at the record of every one: [`FileQuery::MAX_SCANS`] may do so at a time, others wait for it
    /// in [`ObjectStore::list_files`].
    fn looks_at_all(&self, query: &FileQuery) -> bool;

    /// One sorted page of live files.
    async fn list_files(&self, query: &FileQuery, now: Timestamp) -> Result<FilePage, StoreError>;

    /// One page of a bucket's live objects, by key. What a group holds is passed over, not read. A `limit` of 0 is an empty page.
    async fn list_keys(&self, query: &KeyQuery, now: Timestamp) -> Result<KeyPage, StoreError>;

    /// Removes at most `limit` of what is expired or abandoned, or what a lifecycle rule of its bucket lets go: at the first sweep of a
    /// day, after a start, and after the rules changed. The only call that destroys data by design: it never
    /// trusts a wall clock that jumped more than 24 h against the monotonic one, or since the last run, until that has
    /// been steady for 10 minutes.
    async fn sweep(&self, clock: ClockReading, limit: usize) -> Result<SweepReport, StoreError>;

    /// Reads every byte of an object and compares with its checksum; [`StoreError::Corrupt`] says what differs.
    async fn verify(&self, name: &ObjectName, now: Timestamp) -> Result<ObjectMeta, StoreError>;

    /// The plain file that holds an object's bytes, where the engine has such a thing.
    fn locate(&self, meta: &ObjectMeta) -> Option<PathBuf>;

    /// Whether the engine takes writes, and how much room it has.
    async fn health(&self) -> Result<Health, StoreError>;

    /// Waits for what is under way and leaves everything ready for a quick start. Writes are refused from here on.
    async fn close(&self) -> Result<(), StoreError>;
}

/// Receives the bytes of one chunk. Dropping it undoes the chunk.
#[async_trait]
pub trait ChunkWriter: Send + Debug {
    /// Takes the next bytes. More than [`crate::model::MAX_CHUNK_BYTES`] in all fail with [`StoreError::TooLarge`].
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Has a checksum of all bytes kept: with the receipt of a chunk; with an object that comes in one piece, in place of the one that
    /// its upload names. The caller has computed and compared it.
    fn keep_checksum(&mut self, checksum: Checksum);

    /// Checks, syncs, and acknowledges: the bytes are on stable storage when this returns `Ok`.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] or [`StoreError::LengthMismatch`] when `expected` is not what arrived,
    /// [`StoreError::ChunkDiffers`] when the upload is already finished with other bytes; what [`WriteCondition::check`] says. Nothing
    /// is kept then.
    async fn commit(
        self: Box<Self>,
        expected: Expected,
        now: Timestamp,
    ) -> Result<Committed, StoreError>;
}

/// An open object.
#[async_trait]
pub trait ObjectReader: Send + Sync + Debug {
    /// What is known of it.
    fn meta(&self) -> &Arc<ObjectMeta>;

    /// Whether [`ObjectReader::read_at`] compares the bytes with the checksum of the whole itself, before it gives any away.
    fn is_checked(&self) -> bool {
        false
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the object.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StoreError>;
}
