//! Opening sled: in time, and telling a damaged index from a system that fails.
//!
//! Owns: the deadline, the lock of an earlier instance in this process, and [`OpenError`].
//! Never does: repair; a broken index is set aside and rebuilt by its caller.
//!
//! Invariant: a panic or a hang of sled is only an error here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::StoreError;
#[cfg(feature = "schedules")]
use crate::store::embedded::memory as sled;
use crate::store::error::has_no_descriptor;

/// Memory for the tree's pages, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// How long opening may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// Why an index did not open.
#[derive(Debug)]
pub(in super::super) enum OpenError {
    /// It is damaged, panicked, or took too long: set it aside and rebuild.
    Broken(String),
    /// The system failed; the index itself may be sound.
    Io(StoreError),
}

/// Opens sled in a thread of its own, so that a hang or a panic is only an error.
pub(super) fn open_in_time(folder: &Path) -> Result<sled::Db, OpenError> {
    let (answer, waiter) = std::sync::mpsc::channel();
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let end = Instant::now() + OPEN_DEADLINE;
    let opener = move || {
        let opened = catch_unwind(AssertUnwindSafe(|| open_unlocked(&config, end)));
        let _ = answer.send(opened.unwrap_or_else(|_| {
            Err(OpenError::Broken(
                "it panicked when it was opened".to_owned(),
            ))
        }));
    };
    std::thread::Builder::new()
        .name("index-open".to_owned())
        .spawn(opener)
        .map_err(|e| OpenError::Io(StoreError::from_io("start a thread", e)))?;
    waiter
        .recv_timeout(OPEN_DEADLINE)
        .unwrap_or_else(|_| Err(OpenError::Broken("opening it took too long".to_owned())))
}

/// Opens sled; waits while an earlier instance in this process still lets go of its lock.
fn open_unlocked(config: &sled::Config, end: Instant) -> Result<sled::Db, OpenError> {
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                if Instant::now() + Duration::from_secs(1) > end {
                    return Err(OpenError::Io(StoreError::from_io("lock the index", error)));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(sled::Error::Io(error)) if may_pass(&error) => {
                return Err(OpenError::Io(StoreError::from_io("open the index", error)));
            }
            Err(error) => return Err(OpenError::Broken(error.to_string())),
        }
    }
}

/// Whether a failure says something of the system, and nothing of the index.
fn may_pass(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    matches!(
        error.kind(),
        OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    ) || has_no_descriptor(error)
}
