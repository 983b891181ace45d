//! The lock of the data folder: one process at a time.
//!
//! Owns: the file `LOCK`, and how long one waits for it.
//! Never does: wait in silence. Whoever started a second process by mistake is told at once, and not when the wait is over.
//!
//! Invariants: what else lies in the folder is not touched here; the lock is that of the open file, so it goes with the process, however
//! that ends.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::open::{no_link, open_options, regular};
use super::{Disk, blocks, direct};
use crate::store::StoreError;
use crate::store::embedded::fuse::Fuse;

/// How long opening waits for an earlier process, which is still stopping, to let go of the folder.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

impl Disk {
    /// Makes the data folder when it is not there, and takes its lock. For use it must be [`Disk::made_ready`].
    ///
    /// # Errors
    /// [`StoreError::Io`] when another process holds the folder for longer than [`LONGEST_WAIT`].
    pub(in super::super) fn lock(data: &Path, fuse: Fuse) -> Result<Self, StoreError> {
        let mut folder = DirBuilder::new();
        let made = folder.recursive(true).mode(0o700).create(data);
        made.map_err(|e| StoreError::from_io("make the data folder", e).at(data))?;
        let path = data.join("LOCK");
        let lock = take(&path);
        Ok(Self {
            root: data.to_owned(),
            fuse,
            attributes: true,
            blocks: blocks::Blocks::default(),
            direct: direct::Direct::default(),
            _lock: lock.map_err(|e| StoreError::from_io("lock the data folder", e).at(&path))?,
        })
    }
}

fn take(path: &Path) -> io::Result<File> {
    let file = open_options().create(true).truncate(false).open(path);
    let file = regular(file.map_err(no_link)?)?;
    let began = Instant::now();
    let mut told = false;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if began.elapsed() < LONGEST_WAIT => {}
            Err(Errno::WOULDBLOCK) => return Err(held()),
            Err(error) => return Err(error.into()),
        }
        if !told {
            let (lock, seconds) = (path.display(), LONGEST_WAIT.as_secs());
            tracing::warn!(%lock, "another process uses this data folder; waiting for it to stop, {seconds} s at most");
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

fn held() -> io::Error {
    let seconds = LONGEST_WAIT.as_secs();
    let words = format!(
        "another process uses this data folder, and did not stop within {seconds} s of waiting"
    );
    io::Error::new(io::ErrorKind::ResourceBusy, words)
}

#[cfg(test)]
impl Disk {
    /// Locked and made ready.
    pub(in super::super) fn open(data: &Path, fuse: Fuse) -> Result<Self, StoreError> {
        Self::lock(data, fuse)?.made_ready()
    }
}
