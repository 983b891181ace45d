//! The lock of the data folder: one process at a time.
//!
//! Owns: the file `LOCK`, and how long one waits for it.
//! Never does: wait in silence. Whoever started a second process by mistake is told at once, and not when the wait is over.
//!
//! Invariants: what else lies in the folder is not touched here; the lock is that of the open file, so it goes with the process, however
//! that ends.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::open::{no_link, open_options, regular};
use super::{Disk, blocks, direct};
use crate::store::StoreError;
use crate::store::embedded::Judge;
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
        let lock = take(&path, || std::thread::sleep(PAUSE));
        Ok(Self {
            root: data.to_owned(),
            fuse,
            attributes: true,
            blocks: blocks::Blocks::default(),
            direct: direct::Direct::default(),
            lock: lock.map_err(|e| StoreError::from_io("lock the data folder", e).at(&path))?,
        })
    }

    /// Has the locked folder judged. What was judged is what is locked: whoever had put another folder in its place first could have moved
    /// that away since.
    pub(in super::super) fn judge(&self, judge: Judge) -> Result<(), StoreError> {
        let judged = judge(&self.root);
        let found = judged.and_then(|()| match is_at(&self.lock, &self.root.join("LOCK")) {
            true => Ok(()),
            false => Err(io::Error::other(
                "another folder was put in its place meanwhile; start again",
            )),
        });
        found.map_err(|error| StoreError::failed("use the data folder", error))
    }
}

/// Takes the lock, for which it tries again after each `pause`.
fn take(path: &Path, mut pause: impl FnMut()) -> io::Result<File> {
    let began = Instant::now();
    let mut told = false;
    loop {
        // Each time anew: whoever had it may have removed it with the folder, and others may have made another.
        let refusal = match locked(opened(path)?, path)? {
            Try::Locked(file) => return Ok(file),
            Try::Held => held(),
            Try::Replaced => io::Error::other("another file is put in its place all the time"),
        };
        if began.elapsed() >= LONGEST_WAIT {
            return Err(refusal);
        }
        if !told {
            let (lock, seconds) = (path.display(), LONGEST_WAIT.as_secs());
            tracing::warn!(%lock, "another process uses this data folder; waiting for it to stop, {seconds} s at most");
            told = true;
        }
        pause();
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let file = open_options().create(true).truncate(false).open(path);
    regular(file.map_err(no_link)?)
}

/// What became of one try to lock a file.
#[derive(Debug)]
enum Try {
    Locked(File),
    /// By another process.
    Held,
    /// It was, and is not what lies there any more.
    Replaced,
}

fn locked(file: File, path: &Path) -> io::Result<Try> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if is_at(&file, path) => Ok(Try::Locked(file)),
        Ok(()) => Ok(Try::Replaced),
        Err(Errno::WOULDBLOCK) => Ok(Try::Held),
        Err(error) => Err(error.into()),
    }
}

/// Whether an open file is the one that lies at `path` now: another one would be free for the next process.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::symlink_metadata(path).map(place).ok();
    there.is_some() && file.metadata().map(place).ok() == there
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::Folder;

    #[test]
    fn the_lock_is_that_of_the_file_which_lies_there_when_it_is_taken() {
        let folder = Folder::new();
        let data = folder.options().data;
        let mut first = Some(Disk::lock(&data, Fuse::default()).unwrap());
        let path = data.join("LOCK");
        // Whoever has it removes it and goes while it is waited for.
        let second = take(&path, || {
            assert!(first.take().is_some(), "nobody has it any more");
            fs::remove_file(&path).unwrap();
        });
        let second = second.unwrap();
        let third = locked(opened(&path).unwrap(), &path).unwrap();
        assert!(matches!(third, Try::Held), "{third:?}: it is the second's");
        drop(second);
        // Between the two steps.
        for replaced in [false, true] {
            let file = opened(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if replaced {
                fs::write(&path, "").unwrap();
            }
            let late = locked(file, &path).unwrap();
            assert!(matches!(late, Try::Replaced), "{replaced}: {late:?}");
        }
        let last = locked(opened(&path).unwrap(), &path).unwrap();
        assert!(matches!(last, Try::Locked(_)), "{last:?}");
    }

    #[test]
    fn a_folder_that_is_put_in_the_place_of_the_locked_one_is_not_used() {
        let folder = Folder::new();
        let data = folder.options().data;
        let disk = Disk::lock(&data, Fuse::default()).unwrap();
        disk.judge(|_| Ok(())).unwrap();
        let refused = disk.judge(|_| Err(io::Error::other("it is another's")));
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("it is another's"), "{said}");
        let moved = data.with_extension("moved");
        let swapped = disk.judge(|data| {
            fs::rename(data, data.with_extension("moved"))?;
            fs::create_dir(data)
        });
        fs::remove_dir_all(moved).unwrap();
        let said = swapped.unwrap_err().to_string();
        assert!(said.contains("another folder"), "{said}");
    }

    #[test]
    fn a_file_is_where_its_name_is_and_not_where_another_has_it() {
        let folder = Folder::new();
        let (path, other) = (folder.0.join("LOCK"), folder.0.join("other"));
        for path in [&path, &other] {
            fs::create_dir_all(&folder.0).unwrap();
            fs::write(path, "").unwrap();
        }
        let file = File::open(&path).unwrap();
        assert!(is_at(&file, &path) && !is_at(&file, &other));
        fs::rename(&other, &path).unwrap();
        assert!(!is_at(&file, &path), "another has its name");
        std::os::unix::fs::symlink(&path, &other).unwrap();
        assert!(!is_at(&File::open(&path).unwrap(), &other), "it is a link");
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path), "nothing is there");
    }
}
