//! What a store can answer instead of `Ok`.
//!
//! Owns: the vocabulary, one variant for each thing a caller could do differently.
//!
//! Never does: HTTP status or wording for clients; `api/store_failure.rs` folds these into rows of its own.
//!
//! Invariant: the text of an error tells its cause and the file, for the log and whoever runs the store; a client never sees it.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::model::UploadState;

/// Which version this is.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// No such session, or it was swept.
    NoSuchUpload,
    /// The session was full, and ended without an object: its key was given to another before it was whole, and nobody waited for it.
    GaveWay,
    /// No such object, or it is expired.
    NoSuchObject,
    /// No such bucket: there is none of this name in the catalog.
    NoSuchBucket,
    /// The id is taken.
    Exists,
    /// The entry or object is in use and must stay: open sessions of a pipeline, objects of a bucket, a Job that used a file.
    InUse,
    /// The session is finished; it cannot be aborted.
    Finished,
    /// The session failed and takes no chunks.
    UploadFailed(UploadState),
    /// A chunk index at or above the number of chunks.
    ChunkOutOfRange {
        /// The index given.
        index: u32,
        /// The number of chunks in force.
        nb_chunks: u32,
    },
    /// The client now says another number of chunks than before.
    ChunkCountDiffers {
        /// The number in force, or the number that arrived.
        known: u32,
        /// The number given now.
        given: u32,
    },
    /// The client says another size of every chunk but the last than before, or such a chunk has another size.
    ChunkSizesDiffer {
        /// The size in force, in bytes.
        known: u64,
        /// The size given now, in bytes.
        given: u64,
    },
    /// The client says another size of the whole than before, or the chunks do not come to it.
    TotalDiffers {
        /// The size in force, in bytes.
        known: u64,
        /// The size given now, or what the chunks come to, in bytes.
        given: u64,
    },
    /// The client says another size of its file, from which it made what it sends, than before.
    SourceDiffers {
        /// The size in force, in bytes.
        known: u64,
        /// The size given now, in bytes.
        given: u64,
    },
    /// The upload is finished and this chunk has other bytes than the one that was acknowledged.
    ChunkDiffers {
        /// The chunk's index.
        index: u32,
        /// The number of chunks of the finished upload.
        nb_chunks: u32,
    },
    /// Chunks that are not here, at most 100 of them, and how many there are in all.
    MissingChunks {
        /// Indices, ascending.
        first: Vec<u32>,
        /// How many are missing in all.
        count: u32,
    },
    /// A part that was named is not here, or is another one.
    PartDiffers {
        /// The part's index, from 0.
        index: u32,
    },
    /// The object that has the key is not as the condition wants it; nothing was done.
    ConditionFailed,
    /// The condition held at first, and no longer when it counted. The upload that waited for it is gone; an object is as it was.
    ConditionOvertaken,
    /// More bytes than the limit.
    TooLarge {
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The bytes do not hash to what was expected.
    DigestMismatch {
        /// The name of the digest.
        digest: &'static str,
    },
    /// Another number of bytes than expected.
    LengthMismatch {
        /// Bytes expected.
        expected: u64,
        /// Bytes that arrived.
        actual: u64,
    },
    /// The catalog holds as many entries of this kind, or as many bytes, as it may.
    CatalogFull,
    /// A record would be larger than the index takes.
    RecordTooLarge,
    /// Too many writers or waiters at once; try again.
    Busy,
    /// No descriptor is left for another file, in the process or in the system; try again.
    TooManyFiles,
    /// No room: bytes, inodes or quota.
    Full,
    /// An earlier sync failed, or the store is closing: no writes until restart.
    ReadOnly,
    /// Stored bytes or records are damaged.
    Corrupt(String),
    /// A newer version of this program made the data folder, in a format that this one does not know. It was left as it is.
    Newer {
        /// The number of its format.
        found: u64,
        /// The number of the newest format that this version knows.
        known: u64,
    },
    /// Any other failure of the system.
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or folder it was done to, where that is known. It names the data folder and our own ids, no key of a client.
        path: Option<Box<Path>>,
        /// The cause.
        source: io::Error,
    },
}

impl StoreError {
    /// Folds a system error: no room becomes [`StoreError::Full`], no descriptor [`StoreError::TooManyFiles`].
    pub fn from_io(operation: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ if has_no_descriptor(&source) => Self::TooManyFiles,
            _ => Self::failed(operation, source),
        }
    }

    /// A failure that is of no other kind, whatever the cause says.
    pub(crate) fn failed(operation: &'static str, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: None,
            source,
        }
    }

    /// Says which file or folder it was done to, unless that is known more exactly.
    #[must_use]
    pub(crate) fn at(mut self, place: &Path) -> Self {
        if let Self::Io { path, .. } = &mut self {
            path.get_or_insert_with(|| place.into());
        }
        self
    }

    /// What kind of failure of the system it is, if it is one.
    pub fn system_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Whether a system call failed because too many files are open. The standard library has no kind for that.
pub(super) fn has_no_descriptor(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUpload => f.write_str("no such upload"),
            Self::GaveWay => f.write_str("the upload gave way to what has its key since"),
            Self::NoSuchObject => f.write_str("no such object"),
            Self::NoSuchBucket => f.write_str("no such bucket"),
            Self::Exists => f.write_str("the id is taken"),
            Self::InUse => f.write_str("in use"),
            Self::Finished => f.write_str("the upload is finished"),
            Self::UploadFailed(state) => write!(f, "the upload is {}", state.as_str()),
            Self::ChunkOutOfRange { index, nb_chunks } => {
                write!(f, "chunk {index} of {nb_chunks} chunks")
            }
            Self::ChunkCountDiffers { known, given } => {
                write!(f, "{known} chunks are known, {given} were given")
            }
            Self::ChunkSizesDiffer { known, given } => {
                write!(f, "chunks of {known} bytes are known, {given} were given")
            }
            Self::TotalDiffers { known, given } => {
                write!(f, "{known} bytes in all are known, {given} were given")
            }
            Self::SourceDiffers { known, given } => {
                write!(f, "a file of {known} bytes is known, {given} were given")
            }
            Self::ChunkDiffers { index, .. } => {
                write!(f, "chunk {index} was acknowledged with other bytes")
            }
            Self::MissingChunks { count, .. } => write!(f, "{count} chunks are missing"),
            Self::PartDiffers { index } => write!(f, "part {index} is not here or is another one"),
            Self::ConditionFailed => f.write_str("the condition does not hold"),
            Self::ConditionOvertaken => f.write_str("the condition was overtaken"),
            Self::TooLarge { max_bytes } => write!(f, "more than {max_bytes} bytes"),
            Self::DigestMismatch { digest } => write!(f, "{digest} does not match the bytes"),
            Self::LengthMismatch { expected, actual } => {
                write!(f, "expected {expected} bytes, got {actual}")
            }
            Self::CatalogFull => f.write_str("the catalog is full"),
            Self::RecordTooLarge => f.write_str("the record is too large for the index"),
            Self::Busy => f.write_str("too many at once"),
            Self::TooManyFiles => f.write_str("too many open files; the limit must be raised"),
            Self::Full => f.write_str("no space left"),
            Self::ReadOnly => f.write_str("the store is read-only until restart"),
            Self::Corrupt(what) => write!(f, "damaged: {what}"),
            Self::Newer { found, known } => write!(
                f,
                "a newer version of this program made this data folder: its format (in FORMAT) is {found}, and {VERSION} knows {known}. \
                 Nothing was changed; start the newer version on it, or restore a backup from before it was used"
            ),
            Self::Io {
                operation,
                path: Some(path),
                source,
            } => write!(f, "{operation} failed: {}: {source}", path.display()),
            Self::Io {
                operation, source, ..
            } => write!(f, "{operation} failed: {source}"),
        }
    }
}

impl std::error::Error for StoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_error_tells_no_room_and_no_descriptor_apart_from_the_rest() {
        let of = |errno: Errno| StoreError::from_io("test", errno.into());
        assert!(matches!(of(Errno::NOSPC), StoreError::Full));
        assert!(matches!(of(Errno::MFILE), StoreError::TooManyFiles));
        assert!(matches!(of(Errno::NFILE), StoreError::TooManyFiles));
        assert!(matches!(of(Errno::IO), StoreError::Io { .. }));
        let read_only = Some(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(of(Errno::ROFS).system_kind(), read_only);
        assert_eq!(of(Errno::NOSPC).system_kind(), None);
    }

    #[test]
    fn an_error_of_the_system_tells_what_failed_where_and_why() {
        let denied = || StoreError::from_io("open a file", Errno::ACCESS.into());
        let why = "Permission denied (os error 13)";
        assert_eq!(denied().to_string(), format!("open a file failed: {why}"));
        let told = denied().at(Path::new("/d/LOCK")).at(Path::new("/d"));
        let expected = format!("open a file failed: /d/LOCK: {why}");
        assert_eq!(told.to_string(), expected);
    }
}
