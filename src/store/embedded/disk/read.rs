//! Reading the files of uploads and objects.
//!
//! Owns: opening a file to read it, and its bytes; each also in a form that gives up where it would have to wait for the disk,
//! so that what is in the kernel's memory anyway is read without the detour over another thread.
//! Never does: write, or cache; the kernel does.
//!
//! Invariant: what is read at once is exactly what reading by the slow road gives, or nothing.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::open::open_through_links;
use super::{Disk, FileName, present};
use crate::store::StoreError;

/// What stat(2) counts in, whatever the blocks of the file system are.
const STAT_BLOCK_BYTES: u64 = 512;

impl Disk {
    /// Opens a file for reading; `None` when it is not there.
    pub(in super::super) fn open_to_read(
        &self,
        name: FileName,
    ) -> Result<Option<File>, StoreError> {
        let path = self.path(name);
        present(self.run_at("open a file", &path, || open_through_links(&path)))
    }

    /// Opens a file for reading if that needs no disk; `None` otherwise, also when it is not there.
    pub(in super::super) fn open_at_once(
        &self,
        name: FileName,
    ) -> Result<Option<File>, StoreError> {
        self.run("open a file", || {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let cached = ResolveFlags::CACHED;
            match rustix::fs::openat2(CWD, self.path(name), flags, Mode::empty(), cached) {
                Ok(file) => Ok(Some(File::from(file))),
                // Not in memory, not there, or a kernel or a sandbox that has no such call.
                Err(Errno::AGAIN | Errno::NOENT | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// The length of an open file in bytes.
    pub(in super::super) fn length(&self, file: &File) -> Result<u64, StoreError> {
        self.run("ask the length of a file", || Ok(file.metadata()?.len()))
    }

    /// Bytes of the disk that an open file takes up; fewer than its length where nothing was written yet.
    pub(in super::super) fn taken_up(&self, file: &File) -> Result<u64, StoreError> {
        self.run("ask the size of a file", || {
            Ok(file.metadata()?.blocks().saturating_mul(STAT_BLOCK_BYTES))
        })
    }

    /// Whether an open file has no name any more, so that it goes when it is closed.
    pub(in super::super) fn is_unlinked(&self, file: &File) -> bool {
        let links = self.run("ask the links of a file", || Ok(file.metadata()?.nlink()));
        links.is_ok_and(|links| links == 0)
    }

    /// Reads up to `length` bytes from `offset`; fewer only at the end of the file.
    pub(in super::super) fn read_at(
        &self,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, StoreError> {
        self.run("read a file", || {
            // Not filled with zeros first: of a large read that would be a fifth of the time.
            let mut bytes = Vec::with_capacity(length);
            while bytes.len() < length {
                let at = offset + bytes.len() as u64;
                match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
                    Ok(0) => break,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            bytes.truncate(length);
            Ok(bytes)
        })
    }

    /// Reads exactly `length` bytes from `offset` if that needs no disk; `None` otherwise.
    pub(in super::super) fn read_at_once(
        &self,
        file: &File,
        offset: u64,
        length: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let read = |into: &mut [u8]| {
            let into = &mut [IoSliceMut::new(into)];
            match rustix::io::preadv2(file, into, offset, ReadWriteFlags::NOWAIT) {
                Ok(read) => Ok(read),
                Err(Errno::AGAIN | Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(0),
                Err(error) => Err(io::Error::from(error)),
            }
        };
        self.run("read a file", || self.blocks.read(length, read))
    }
}
