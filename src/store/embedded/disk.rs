//! The file system: the only file of the store that touches it (sled's own files excepted).
//!
//! Owns: where each file lies, how it is created, synced, labelled and removed. Files are 0600, folders 0700.
//! Never does: know what a session or an object is; it deals in ids, bytes and offsets. Never blocks politely: every verb is a
//! system call, and callers on an async thread wrap it in a blocking task.
//!
//! Invariants:
//! 1. "Name first, sync last": a file is created under its final name, and its sync makes bytes, label and name durable. The
//!    fan-out folders are made and synced once, at open.
//! 2. Every verb goes through [`Disk::run`], which is the place where tests inject faults.
//! 3. A failed sync blows the fuse and is never retried.

mod blocks;
mod direct;
mod lock;
mod open;
mod read;
mod root;

pub(super) use blocks::{BLOCK_BYTES, room_of};
pub(super) use direct::{ALIGNMENT, within_block};
pub(super) use root::MIN_INDEX_ROOM;

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, XattrFlags};

use self::open::{no_link, open_options, regular};
use super::faults::{self, Bug};
use super::fuse::Fuse;
use crate::model::Id;
use crate::store::StoreError;

/// The extended attribute that holds a label.
const LABEL_ATTRIBUTE: &str = "user.pillarbox";
/// Longest label kept as an extended attribute, in bytes; ext4 has room for 4,040. A longer one goes beside the file.
const MAX_ATTRIBUTE_BYTES: usize = 4000;
/// Longest label file that is read, in bytes.
const MAX_LABEL_BYTES: u64 = 64 << 10;
/// Bytes copied at a time where the kernel cannot copy.
const COPY_BYTES: usize = 1 << 20;

/// Names one file below `objects/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FileName {
    /// `<id>`: the one file of an upload, then of its object.
    Main(Id),
    /// `<id>.<n>`: a chunk that could not go to its place.
    Spill(Id, u32),
    /// `<id>.meta`: the label, where it is not an extended attribute.
    Label(Id),
}

impl FileName {
    /// Reads back what [`FileName::show`] wrote.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name.split_once('.') {
            None => Id::parse(name).map(Self::Main),
            Some((id, "meta")) => Id::parse(id).map(Self::Label),
            Some((id, n)) => Some(Self::Spill(Id::parse(id)?, n.parse().ok()?)),
        }
    }

    /// The id that the file belongs to.
    pub(super) const fn id(self) -> Id {
        match self {
            Self::Main(id) | Self::Spill(id, _) | Self::Label(id) => id,
        }
    }

    fn show(self) -> String {
        match self {
            Self::Main(id) => id.to_string(),
            Self::Spill(id, n) => format!("{id}.{n}"),
            Self::Label(id) => format!("{id}.meta"),
        }
    }
}

/// The data folder, locked for this process.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    fuse: Fuse,
    attributes: bool,
    blocks: blocks::Blocks,
    direct: direct::Direct,
    lock: File,
}

impl Disk {
    /// Where a file lies.
    pub(super) fn path(&self, name: FileName) -> PathBuf {
        self.root
            .join("objects")
            .join(format!("{:02x}", name.id().fan_out()))
            .join(name.show())
    }

    /// Creates a file that must not exist yet, for reading and writing; `None` when it exists.
    pub(super) fn create(&self, name: FileName) -> Result<Option<File>, StoreError> {
        let path = self.path(name);
        let made = self.run_at("create a file", &path, || {
            open_options().create_new(true).open(&path)
        });
        match made {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Opens a file for reading and writing, creating it when it is not there.
    pub(super) fn open_or_create(&self, name: FileName) -> Result<File, StoreError> {
        let path = self.path(name);
        self.run_at("open a file for writing", &path, || {
            let file = open_options().create(true).truncate(false).open(&path);
            regular(file.map_err(no_link)?)
        })
    }

    /// Writes all of `slices`, one after the other, from `offset`.
    pub(super) fn write_at(
        &self,
        file: &File,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> Result<(), StoreError> {
        self.run("write to a file", || {
            IoSlice::advance_slices(&mut slices, 0);
            while !slices.is_empty() {
                match write_some(file, slices, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => {
                        IoSlice::advance_slices(&mut slices, n);
                        offset += n as u64;
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        })
    }

    /// Lets the disk begin on bytes that were written, so that the sync which follows finds less to do. It promises nothing, and what
    /// fails here fails again in the next sync of the file.
    pub(super) fn begin_to_write_out(&self, file: &File, (offset, length): (u64, u64)) {
        // What is not needed in memory is written out first; pages on their way to the disk stay there, though they are given up
        // before others when memory is short. The plainer sync_file_range(2) is not to be had without unsafe code.
        let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
    }

    /// Copies `length` bytes between files, inside the kernel where it can. A source that ends early is
    /// [`StoreError::Corrupt`].
    pub(super) fn copy_range(
        &self,
        (from, mut from_offset): (&File, u64),
        (to, mut to_offset): (&File, u64),
        length: u64,
    ) -> Result<(), StoreError> {
        let mut left = length;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            let copied = self.run("copy between files", || {
                copy_step((from, from_offset), (to, to_offset), step)
            })?;
            from_offset += copied as u64;
            to_offset += copied as u64;
            if copied == 0 {
                return Err(StoreError::Corrupt(
                    "a stored chunk is shorter than its receipt".to_owned(),
                ));
            }
            left -= copied as u64;
        }
        Ok(())
    }

    /// Cuts or extends a file to exactly `length` bytes.
    pub(super) fn set_length(&self, file: &File, length: u64) -> Result<(), StoreError> {
        self.run("set the length of a file", || file.set_len(length))
    }

    /// Syncs bytes, and with them the name of a file that was just created; too little wherever there is a label, or was. A failure blows the
    /// fuse.
    pub(super) fn sync_data(&self, file: &File) -> Result<(), StoreError> {
        if faults::is_planted(Bug::NoFileSync) {
            return Ok(());
        }
        self.fuse.check()?;
        self.must("sync a file", self.run("sync a file", || file.sync_data()))
    }

    /// Syncs bytes and everything known of the file; needed where its label has changed. A failure blows the fuse.
    pub(super) fn sync_all(&self, file: &File) -> Result<(), StoreError> {
        if faults::is_planted(Bug::NoFileSync) {
            return Ok(());
        }
        self.fuse.check()?;
        self.must("sync a file", self.run("sync a file", || file.sync_all()))
    }

    /// Puts a label on an open file. It is durable after the next [`Disk::sync_all`], also on a file that was just created: fdatasync(2) of
    /// ext4 leaves it out when the blocks and the length of the file have been committed before it, as those of what went past the cache
    /// may be. A label that lies beside the file is durable at once.
    pub(super) fn label(&self, id: Id, file: &File, label: &[u8]) -> Result<(), StoreError> {
        if self.set_attribute(file, label) {
            return self.unlink(FileName::Label(id));
        }
        self.replace_file(&self.path(FileName::Label(id)), label)?;
        if self.attributes {
            let _ = rustix::fs::fremovexattr(file, LABEL_ATTRIBUTE);
        }
        Ok(())
    }

    /// As [`Disk::label`], for a file that this process has just created: there is no older label to remove.
    pub(super) fn label_new(&self, id: Id, file: &File, label: &[u8]) -> Result<(), StoreError> {
        if self.set_attribute(file, label) {
            return Ok(());
        }
        self.replace_file(&self.path(FileName::Label(id)), label)
    }

    /// Whether the label could be put on the file as an extended attribute.
    fn set_attribute(&self, file: &File, label: &[u8]) -> bool {
        let fits = self.attributes && label.len() <= MAX_ATTRIBUTE_BYTES;
        let set = || {
            self.run("label a file", || {
                let flags = XattrFlags::empty();
                Ok(rustix::fs::fsetxattr(file, LABEL_ATTRIBUTE, label, flags)?)
            })
        };
        fits && set().is_ok()
    }

    /// The labels of a file: the attribute and the one beside it; the caller takes the newer valid one.
    pub(super) fn read_labels(&self, id: Id, file: &File) -> Result<Vec<Vec<u8>>, StoreError> {
        use rustix::io::Errno as E;
        let mut labels = Vec::new();
        let mut value = vec![0; MAX_ATTRIBUTE_BYTES + 1];
        match rustix::fs::fgetxattr(file, LABEL_ATTRIBUTE, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                labels.push(value);
            }
            // No label of ours is longer than the buffer.
            Err(E::NODATA | E::NOTSUP | E::RANGE) => {}
            // One that cannot be read is not one that is not there: without it the file would go.
            Err(error) => {
                let path = self.path(FileName::Main(id));
                return Err(StoreError::from_io("read a label", error.into()).at(&path));
            }
        }
        labels.extend(self.read_small(&self.path(FileName::Label(id)), MAX_LABEL_BYTES)?);
        Ok(labels)
    }

    /// Takes every label off a file that is about to be written to again.
    pub(super) fn remove_labels(&self, id: Id, file: &File) -> Result<(), StoreError> {
        let _ = rustix::fs::fremovexattr(file, LABEL_ATTRIBUTE);
        self.unlink(FileName::Label(id))
    }

    /// Removes a file; fine when it is not there. A main file takes the label beside it along.
    pub(super) fn unlink(&self, name: FileName) -> Result<(), StoreError> {
        self.remove(&self.path(name))?;
        if let FileName::Main(id) = name {
            self.remove(&self.path(FileName::Label(id)))?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        present(self.run_at("remove a file", path, || fs::remove_file(path))).map(drop)
    }

    /// Gives a synced file another name of the same id, replacing what had it, durably.
    pub(super) fn rename(&self, from: FileName, to: FileName) -> Result<(), StoreError> {
        let (from, to) = (self.path(from), self.path(to));
        self.run_at("rename a file", &from, || fs::rename(&from, &to))?;
        if faults::is_planted(Bug::NoFolderSync) {
            return Ok(());
        }
        self.sync_parent(&to)
    }

    /// Calls `each` with every file of one fan-out folder. Names that are not ours are skipped.
    pub(super) fn list(
        &self,
        folder: u8,
        mut each: impl FnMut(FileName) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let path = self.root.join("objects").join(format!("{folder:02x}"));
        let entries = self.run_at("list a folder", &path, || fs::read_dir(&path))?;
        for entry in entries {
            let entry = self.run_at("list a folder", &path, || entry)?;
            if let Some(name) = entry.file_name().to_str().and_then(FileName::parse) {
                each(name)?;
            }
        }
        Ok(())
    }

    /// Bytes that an unprivileged process may still write.
    pub(super) fn free_bytes(&self) -> Result<u64, StoreError> {
        self.run("ask for free space", || {
            let stat = rustix::fs::statvfs(&self.root)?;
            Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    /// Behaves from now on as on a file system without extended attributes.
    #[cfg(test)]
    pub(super) fn forget_attributes(&mut self) {
        self.attributes = false;
    }

    /// Runs one verb. The one place through which every result passes: faults are injected here.
    fn run<T>(
        &self,
        operation: &'static str,
        verb: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        faults::around(operation, verb).map_err(|error| StoreError::from_io(operation, error))
    }

    /// The same, with the place in the error.
    fn run_at<T>(
        &self,
        operation: &'static str,
        path: &Path,
        verb: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StoreError> {
        self.run(operation, verb).map_err(|error| error.at(path))
    }

    fn must<T>(&self, operation: &str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.map_err(|error| {
            match &error {
                StoreError::Io { source, .. } => self.fuse.blow(operation, source),
                other => self.fuse.blow(operation, other),
            }
            StoreError::ReadOnly
        })
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StoreError> {
        let parent = path.parent().unwrap_or(&self.root);
        let folder = self.run_at("open a folder", parent, || File::open(parent))?;
        self.sync_all(&folder)
    }
}

fn write_some(file: &File, slices: &[IoSlice<'_>], offset: u64) -> rustix::io::Result<usize> {
    match slices.first().and_then(|slice| slice.get(..1)) {
        Some(first) if faults::is_short() => rustix::io::pwrite(file, first, offset),
        // One call takes 1,024 (IOV_MAX of writev(2)); who gathers more calls again for the rest.
        _ => rustix::io::pwritev(file, slices.get(..1024).unwrap_or(slices), offset),
    }
}

/// Copies some of `length` bytes: through user space where the file system cannot do it in the kernel.
fn copy_step(
    (from, from_offset): (&File, u64),
    (to, to_offset): (&File, u64),
    length: usize,
) -> io::Result<usize> {
    use rustix::io::Errno;
    let (mut source, mut target) = (from_offset, to_offset);
    let (source, target) = (Some(&mut source), Some(&mut target));
    match rustix::fs::copy_file_range(from, source, to, target, length) {
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL) => {
            let mut buffer = vec![0; length.min(COPY_BYTES)];
            let read = from.read_at(&mut buffer, from_offset)?;
            to.write_all_at(buffer.get(..read).unwrap_or_default(), to_offset)?;
            Ok(read)
        }
        copied => Ok(copied?),
    }
}

/// Turns "not found" into `None`.
fn present<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
pub(super) use self::open::gate::Gate;
