//! Uploads in numbered parts, as Amazon's multipart uploads are: the part of the seam that is about them only.
//!
//! Owns: the trait [`PartStore`] and its values. Such an upload is a session like any other: its parts are chunks, they take the same
//! road, and it is aborted and swept like one. What differs: nobody says how many parts there will be, so a part never makes the object
//! whole; a part that is sent again replaces the earlier one, also when only its checksum is another; and the end is said by naming the
//! parts that count.
//!
//! Never does: know Amazon's rules about the sizes of parts; its callers do.
//!
//! Invariants, for every engine: an object that came in parts has exactly the parts that were named; a condition on what has its key
//! holds in the moment in which it becomes visible. A session of forms is no upload in parts, and the other way round.
//!
//! Source: Amazon S3 User Guide, "Uploading and copying objects using multipart upload".

use async_trait::async_trait;

use super::{StoreError, WriteCondition};
use crate::model::{
    Bucket, ChunkReceipt, Id, Md5, NewUpload, ObjectMeta, PartRules, Timestamp, UploadSession,
};

/// What an upload in parts is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The parts that count: index from 0, ascending, and MD5; 1 to [`crate::model::MAX_CHUNKS`] of them.
    pub parts: Vec<(u32, Md5)>,
    /// What must be true of the object that has its key.
    pub condition: Option<WriteCondition>,
}

/// A question for the unfinished uploads in parts of one bucket, in the order of their keys' bytes, then of their ids.
#[derive(Clone, Debug)]
pub struct UploadQuery {
    /// The bucket.
    pub bucket: Bucket,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that have this behind the prefix are one group: all up to and with its first occurrence.
    pub delimiter: Option<String>,
    /// Only uploads and groups behind this key; with an id, also uploads of this key whose ids are behind that one.
    pub after: Option<(String, Option<Id>)>,
    /// How many uploads and groups to return; at most [`UploadQuery::MAX_LIMIT`].
    pub limit: usize,
}

impl UploadQuery {
    /// Largest `limit`.
    pub const MAX_LIMIT: usize = 1000;

    /// All uploads of a bucket, the first page.
    pub fn of(bucket: Bucket) -> Self {
        Self {
            bucket,
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: Self::MAX_LIMIT,
        }
    }
}

/// One line of a list of uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadEntry {
    /// An upload that is not finished.
    Upload(Box<UploadSession>),
    /// The beginning that the keys of several uploads share, or of one.
    Group(String),
}

/// One page of a list of uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadPage {
    /// Uploads and groups, in order.
    pub entries: Vec<UploadEntry>,
    /// Whether more follow; the last entry's key, and its id, are then the `after` of the next page.
    pub more: bool,
}

/// Uploads in numbered parts.
#[async_trait]
pub trait PartStore: Send + Sync {
    /// Starts an upload in parts. Fails as [`super::ObjectStore::create_upload`] does.
    async fn create_parts(
        &self,
        new: NewUpload,
        rules: PartRules,
    ) -> Result<UploadSession, StoreError>;

    /// Says which parts count, and makes the object whole, however long that takes; all other parts go. Idempotent while the object is
    /// there. When its future is dropped, nobody waits for the object any more: it is made whole by itself, unless another was given its
    /// key since (it counts then as one that was replaced), or somebody asks again and waits again.
    ///
    /// # Errors
    /// [`StoreError::PartDiffers`] when a part is not here or is another one, [`StoreError::ConditionFailed`] and
    /// [`StoreError::NoSuchObject`] (there is none whose tag could match) when the condition does not hold: nothing is lost and the
    /// upload stays open. [`StoreError::ConditionOvertaken`] when it did hold, and no longer did in the moment in which the
    /// object was to become visible: the upload is gone. [`StoreError::NoSuchUpload`] for an upload that is finished with
    /// other parts, that is aborted meanwhile, or whose object or bucket is gone.
    async fn complete_parts(
        &self,
        id: Id,
        completion: Completion,
        now: Timestamp,
    ) -> Result<ObjectMeta, StoreError>;

    /// The receipts of an upload's parts from this index on, by index; at most `limit`. What comes before is not read.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`].
    async fn list_parts(
        &self,
        id: Id,
        from: u32,
        limit: usize,
    ) -> Result<Vec<ChunkReceipt>, StoreError>;

    /// One page of a bucket's unfinished uploads in parts. What a group holds is passed over, not read. A `limit` of 0 is an empty page.
    async fn list_uploads(&self, query: &UploadQuery) -> Result<UploadPage, StoreError>;
}
