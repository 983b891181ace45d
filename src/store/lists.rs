//! Lists: the values that cross the seam.
//!
//! Owns: what can be asked of all files (sorted and filtered), what of the objects of one bucket in the order of their keys, and one
//! page of each answer. Never does: list.
//!
//! Invariant: a page by key that is gone on with from its last entry's name continues where it ended, a group's name among them.
//!
//! Source: Amazon S3 User Guide, "Organizing objects using prefixes".

use crate::model::{Bucket, Id, ObjectMeta, Timestamp};

/// The fields a list of files can be sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// When the upload began, then the id.
    #[default]
    CreatedAt,
    /// When the record last changed.
    UpdatedAt,
    /// When the bytes became whole.
    FinishedAt,
    /// When it expires; never comes last.
    ExpiresAt,
    /// Size in bytes.
    Size,
    /// The last segment of the key, by bytes.
    Name,
    /// The id.
    Id,
}

/// A question for files.
#[derive(Clone, Debug, Default)]
pub struct FileQuery {
    /// Only files of these pipelines; empty is all.
    pub pipelines: Vec<Id>,
    /// Only files whose Job is one of these; empty is all.
    pub jobs: Vec<String>,
    /// How to sort.
    pub sort: SortKey,
    /// Largest first.
    pub descending: bool,
    /// How many to skip; at most [`FileQuery::MAX_START`].
    pub start: usize,
    /// How many to return; at most [`FileQuery::MAX_LIMIT`].
    pub limit: usize,
    /// Of a list by creation that is neither filtered nor descending: only what comes behind a file that was begun at this time and has
    /// this id, which need not be there any more. The total counts all.
    pub behind: Option<(Timestamp, Id)>,
}

impl FileQuery {
    /// Largest `limit`.
    pub const MAX_LIMIT: usize = 5000;
    /// Largest `start`; bounds the memory of a sorted list.
    pub const MAX_START: usize = 1_000_000;
    /// Most pipelines, and most Jobs, that a list is filtered by; each file is compared with all of them.
    pub const MAX_FILTERS: usize = 100;
    /// Lists that look at the record of every file at a time; further ones wait.
    pub const MAX_SCANS: usize = 2;
}

/// One page of files.
#[derive(Clone, Debug, Default)]
pub struct FilePage {
    /// The files, sorted.
    pub files: Vec<ObjectMeta>,
    /// How many match in all.
    pub total: usize,
}

/// A question for the objects of one bucket, in the order of their keys' bytes.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    /// The bucket.
    pub bucket: Bucket,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that have this behind the prefix are one group: all up to and with its first occurrence.
    pub delimiter: Option<String>,
    /// Only keys and groups behind this one.
    pub after: Option<String>,
    /// How many objects and groups to return; at most [`KeyQuery::MAX_LIMIT`].
    pub limit: usize,
}

impl KeyQuery {
    /// Largest `limit`.
    pub const MAX_LIMIT: usize = 1000;

    /// All objects of a bucket, the first page.
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

/// One line of a list by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEntry {
    /// A live object.
    Object(Box<ObjectMeta>),
    /// The beginning that the keys of several live objects share, or of one.
    Group(String),
}

/// One page of a list by key.
#[derive(Clone, Debug, Default)]
pub struct KeyPage {
    /// Objects and groups, in order.
    pub entries: Vec<KeyEntry>,
    /// Whether more follow; the last entry's name is then the `after` of the next page.
    pub more: bool,
}
