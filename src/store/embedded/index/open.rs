//! Opening sled: in time, and telling a damaged index from a system that fails.
//!
//! Owns: the deadline, the lock of an earlier instance in this process, and [`OpenError`].
//! Never does: repair; a broken index is set aside and rebuilt by its caller.
//!
//! Invariant: a panic or a hang of sled is only an error here, and time alone never makes an index count as broken.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::look::look;
use crate::store::StoreError;
use crate::store::embedded::faults;
#[cfg(feature = "schedules")]
use crate::store::embedded::memory as sled;
use crate::store::error::has_no_descriptor;

/// Memory for the tree's pages, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// How long opening may take, besides what its size takes.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes a second that even a slow disk reads of an index: after a crash all of it is read, twice where memory is short.
const MIN_READ_BYTES: u64 = 10_000_000;
/// Whoever starts a store hears after so long what is being waited for.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// How long an earlier instance in this process may keep its lock.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Why an index did not open.
#[derive(Debug)]
pub(in super::super) enum OpenError {
    /// It is damaged, or panicked: set it aside and rebuild.
    Broken(String),
    /// The system failed, or was too slow; the index itself may be sound.
    Io(StoreError),
}

/// How long an index of so many bytes may take to open.
fn deadline(bytes: u64) -> Duration {
    OPEN_DEADLINE + Duration::from_secs(bytes / MIN_READ_BYTES)
}

/// Bytes of the log of an index, as far as that is known.
fn log_bytes(folder: &Path) -> u64 {
    fs::metadata(folder.join("db")).map_or(0, |file| file.len())
}

/// Opens sled in a thread of its own, so that a hang or a panic is only an error.
pub(super) fn open_in_time(folder: &Path) -> Result<sled::Db, OpenError> {
    open_within(folder, TELL_AFTER, deadline(log_bytes(folder))).map_err(|error| match error {
        OpenError::Io(error) => OpenError::Io(error.at(folder)),
        broken => broken,
    })
}

/// The same, with times of one's own: after which the log is told, and when it is too late.
pub(super) fn open_within(
    folder: &Path,
    tell_after: Duration,
    deadline: Duration,
) -> Result<sled::Db, OpenError> {
    let (answer, waiter) = std::sync::mpsc::channel();
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    let (begun, bytes) = (Instant::now(), log_bytes(folder));
    let end = begun + LOCK_WAIT;
    let folder = folder.to_owned();
    let opener = move || {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            // What stands in for the index engine there has no files.
            if !cfg!(feature = "schedules") {
                check(&folder, end)?;
            }
            open_unlocked(&config, end)
        }));
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
    let early = waiter.recv_timeout(tell_after.min(deadline));
    early
        .or_else(|_| {
            let (mib, most_seconds) = (bytes >> 20, deadline.as_secs());
            tracing::info!(mib, most_seconds, "the index is still being read");
            waiter.recv_timeout(deadline.saturating_sub(begun.elapsed()))
        })
        .unwrap_or_else(|_| Err(OpenError::Io(too_slow(deadline))))
}

/// Says nothing of the index: a busy disk is slow, and a rebuild would cost the unfinished uploads. Whoever runs the store decides that.
fn too_slow(deadline: Duration) -> StoreError {
    let seconds = deadline.as_secs();
    let words = format!(
        "it was not open after {seconds} s and is left as it is; start again, or rebuild it with `pillarbox reindex`"
    );
    StoreError::failed(
        "open the index",
        io::Error::new(io::ErrorKind::TimedOut, words),
    )
}

/// Reads what sled will read, so that it meets nothing that cannot be read.
fn check(folder: &Path, end: Instant) -> Result<(), OpenError> {
    if let Some(place) = unfit(folder) {
        let words = "it is no regular file, but a FIFO, a socket or a device; an index that is lost is rebuilt from the objects";
        let error = StoreError::failed("read the index", io::Error::other(words));
        return Err(OpenError::Io(error.at(&place)));
    }
    let looked = faults::around("read the index", || {
        let Some(log) = lock(folder, end)? else {
            return Ok(());
        };
        remove_half_snapshots(folder)?;
        look(folder, &log)
    });
    match looked {
        Ok(()) => Ok(()),
        // Something else is where a file of the index should be: of that sled says what it is.
        Err(error) if is_otherwise(&error) => Ok(()),
        Err(error) => Err(OpenError::Io(unreadable(error))),
    }
}

/// What is neither file nor folder, for which sled might wait without end: a FIFO to which nobody writes.
fn unfit(folder: &Path) -> Option<PathBuf> {
    let places = fs::read_dir(folder).ok()?.flatten();
    places
        .map(|entry| entry.path())
        .find(|place| fs::metadata(place).is_ok_and(|found| !found.is_file() && !found.is_dir()))
}

fn is_otherwise(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(
        error.kind(),
        IsADirectory | NotADirectory | NotFound | UnexpectedEof
    )
}

/// The log, once an earlier instance in this process has let go of it; none when there is none.
fn lock(folder: &Path, end: Instant) -> io::Result<Option<File>> {
    let path = folder.join("db");
    if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    let log = File::open(path)?;
    while let Err(Errno::WOULDBLOCK) =
        rustix::fs::flock(&log, FlockOperation::NonBlockingLockShared)
    {
        if Instant::now() + Duration::from_secs(1) > end {
            return Err(Errno::WOULDBLOCK.into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Some(log))
}

/// Removes what is left of a snapshot in whose writing sled was killed: it would take that for the newest one, and the index for broken.
fn remove_half_snapshots(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn unreadable(error: io::Error) -> StoreError {
    let operation = "read the index";
    if Errno::from_io_error(&error) != Some(Errno::IO) {
        return StoreError::from_io(operation, error);
    }
    let words = "it is left as it is; start again, or rebuild it with `pillarbox reindex`";
    let source = io::Error::new(error.kind(), format!("{error}; {words}"));
    StoreError::failed(operation, source)
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
pub(super) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    matches!(
        error.kind(),
        OutOfMemory | PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
    ) || has_no_descriptor(error)
        || Errno::from_io_error(error) == Some(Errno::IO)
}
