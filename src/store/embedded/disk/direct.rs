//! Writing past the page cache of the system (`O_DIRECT` of open(2)).
//!
//! Owns: the memory that such a write needs, aligned to [`ALIGNMENT`], and the cut of a batch into what may go past the cache and what
//! lies in blocks that it shares with its neighbours, which goes through the cache. A copy into memory that is used again costs a
//! third of one into fresh pages of the cache, and the sync at the end finds the bytes on the disk.
//! Never does: decide which batches are worth it; `output` does.
//!
//! Invariants:
//! 1. No block is written past the cache by one chunk and through it by another: a block that is not filled by one batch alone goes
//!    through it always.
//! 2. Where the file system, or its disk, will not have it, the same bytes go through the cache, and nobody is told.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::faults;
use super::Disk;
use crate::store::StoreError;

/// What the place in memory, the offset in the file and the length are multiples of, in bytes. Disks want their block size, which is
/// rarely more; one that does refuses, and is written to through the cache.
pub(in super::super) const ALIGNMENT: usize = 4096;

impl Disk {
    /// Writes a batch from `offset`, its whole blocks past the cache where the disk has it; how many bytes went that way.
    pub(in super::super) fn write_direct(
        &self,
        file: &File,
        bounce: &mut Bounce,
        (batch, offset): (&[Bytes], u64),
    ) -> Result<u64, StoreError> {
        let Cut { head, blocks, tail } = bounce.fill(batch, offset);
        let blocks_at = offset + head.len() as u64;
        let tail_at = blocks_at + blocks.len() as u64;
        let written = self.run("write to a file", || {
            self.direct.write(file, blocks, blocks_at)
        })?;
        let refused = blocks.get(written..).unwrap_or_default();
        let refused_at = blocks_at + written as u64;
        for (part, at) in [(head, offset), (refused, refused_at), (tail, tail_at)] {
            if !part.is_empty() {
                self.write_at(file, &mut [IoSlice::new(part)], at)?;
            }
        }
        Ok(written as u64)
    }

    /// Whether whole blocks may go past the cache.
    pub(in super::super) fn is_direct(&self) -> bool {
        self.direct.is_possible()
    }
}

/// Whether this disk takes what goes past the cache; it does until it has refused.
#[derive(Debug)]
pub(super) struct Direct(AtomicBool);

impl Default for Direct {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Direct {
    fn is_possible(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes whole blocks past the cache, or as much of them as goes that way; how many bytes.
    fn write(&self, file: &File, blocks: &[u8], offset: u64) -> io::Result<usize> {
        if rustix::fs::fcntl_setfl(file, OFlags::DIRECT).is_err() {
            self.0.store(false, Ordering::Relaxed);
            return Ok(0);
        }
        let written = write_blocks(file, blocks, offset);
        rustix::fs::fcntl_setfl(file, OFlags::empty())?;
        let written = written?;
        // What was taken in part was refused for where the rest begins: this disk is not at fault.
        if written == 0 && !blocks.is_empty() {
            self.0.store(false, Ordering::Relaxed);
        }
        Ok(written)
    }
}

/// Stops where the next write would not be aligned, or is not aligned enough for this disk.
fn write_blocks(file: &File, mut blocks: &[u8], mut offset: u64) -> io::Result<usize> {
    let all = blocks.len();
    while !blocks.is_empty() {
        match write_some(file, blocks, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                blocks = blocks.get(n..).unwrap_or_default();
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all - blocks.len())
}

fn write_some(file: &File, blocks: &[u8], offset: u64) -> rustix::io::Result<usize> {
    match blocks.get(..ALIGNMENT) {
        Some(first) if faults::is_short() => rustix::io::pwrite(file, first, offset),
        _ => rustix::io::pwrite(file, blocks, offset),
    }
}

/// Memory that one chunk's batches go through, aligned; taken with the first batch.
#[derive(Default)]
pub(in super::super) struct Bounce(Vec<u8>);

impl fmt::Debug for Bounce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bounce")
    }
}

/// A batch in aligned memory.
#[derive(Debug, PartialEq, Eq)]
struct Cut<'a> {
    /// Up to the first whole block.
    head: &'a [u8],
    /// Whole blocks.
    blocks: &'a [u8],
    /// Behind the last whole block.
    tail: &'a [u8],
}

impl Bounce {
    /// Copies a batch that goes to this offset of its file.
    fn fill(&mut self, batch: &[Bytes], offset: u64) -> Cut<'_> {
        let length: usize = batch.iter().map(Bytes::len).sum();
        let lead = within_block(offset);
        // Room to be moved to an aligned place, and for the block in which the batch begins.
        let room = length + lead + ALIGNMENT;
        if self.0.len() < room {
            self.0.clear();
            self.0.resize(room, 0);
        }
        let aligned = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let mut free = self.0.get_mut(aligned + lead..).unwrap_or_default();
        for slice in batch {
            let (place, rest) = free.split_at_mut(slice.len());
            place.copy_from_slice(slice);
            free = rest;
        }
        let copied = self.0.get(aligned + lead..).unwrap_or_default();
        let copied = copied.get(..length).unwrap_or_default();
        let head = (ALIGNMENT - lead) % ALIGNMENT;
        let (head, rest) = copied.split_at(head.min(length));
        let (blocks, tail) = rest.split_at(rest.len() - rest.len() % ALIGNMENT);
        Cut { head, blocks, tail }
    }
}

/// How far behind the beginning of its block an offset lies, in bytes.
pub(in super::super) fn within_block(offset: u64) -> usize {
    usize::try_from(offset % ALIGNMENT as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::super::fuse::Fuse;
    use super::super::super::tests::Folder;
    use super::*;
    use crate::model::Id;
    use crate::store::embedded::disk::FileName;

    const BEFORE: u8 = 0xB5;

    fn disk(folder: &Folder) -> Disk {
        Disk::open(&folder.options().data, Fuse::default()).unwrap()
    }

    fn file(disk: &Disk, number: u8) -> File {
        let id = Id::new(crate::store::embedded::tests::NOW, [number; 8]);
        disk.open_or_create(FileName::Main(id)).unwrap()
    }

    /// Bytes that tell their place, in slices of many sizes.
    fn batch(length: usize) -> Vec<Bytes> {
        let bytes: Bytes = (0..length).map(|n| (n % 251) as u8).collect();
        let ends = (0..).map(|n: usize| n * n * 97).take_while(|n| *n < length);
        let starts: Vec<usize> = ends.collect();
        let ends = starts.iter().skip(1).copied().chain([length]);
        starts
            .iter()
            .zip(ends)
            .map(|(start, end)| bytes.slice(*start..end))
            .collect()
    }

    const PLACES: [u64; 5] = [0, 1, 4095, 4096, 1_500_007];
    const LENGTHS: [usize; 7] = [0, 1, 4095, 4096, 8193, 600_001, 1 << 20];

    #[test]
    fn a_batch_is_cut_at_the_blocks_of_its_file_and_lies_aligned() {
        let mut bounce = Bounce::default();
        for (offset, length) in PLACES.into_iter().flat_map(|p| LENGTHS.map(|l| (p, l))) {
            let batch = batch(length);
            let cut = bounce.fill(&batch, offset);
            let whole = [cut.head, cut.blocks, cut.tail].concat();
            assert_eq!(whole, batch.concat(), "{offset}, {length}");
            assert!(cut.head.len() < ALIGNMENT && cut.tail.len() < ALIGNMENT);
            assert!(cut.blocks.len().is_multiple_of(ALIGNMENT));
            if !cut.blocks.is_empty() {
                assert_eq!(within_block(offset + cut.head.len() as u64), 0);
                assert_eq!(cut.blocks.as_ptr().align_offset(ALIGNMENT), 0);
            }
        }
    }

    #[test]
    fn a_batch_arrives_whole_at_every_place_and_touches_nothing_beside_it() {
        let folder = Folder::new();
        let disk = disk(&folder);
        let mut bounce = Bounce::default();
        for (number, length) in (0..).zip(LENGTHS) {
            for offset in PLACES {
                let file = file(&disk, number);
                let all = offset as usize + length + 10_000;
                file.write_all_at(&vec![BEFORE; all], 0).unwrap();
                let batch = batch(length);
                let direct = disk.write_direct(&file, &mut bounce, (&batch, offset));
                let blocks = bounce.fill(&batch, offset).blocks.len() as u64;
                assert!(direct.unwrap() == blocks || !disk.is_direct());
                let mut expected = vec![BEFORE; all];
                expected[offset as usize..][..length].copy_from_slice(&batch.concat());
                let mut found = vec![0; all + 1];
                assert_eq!(file.read_at(&mut found, 0).unwrap(), all);
                assert!(found[..all] == expected, "{offset}, {length}");
            }
        }
    }

    #[test]
    fn afterwards_the_file_is_written_through_the_cache_again() {
        let folder = Folder::new();
        let disk = disk(&folder);
        let file = file(&disk, 1);
        let direct = (&*batch(600_001), 7);
        disk.write_direct(&file, &mut Bounce::default(), direct)
            .unwrap();
        let flags = rustix::fs::fcntl_getfl(&file).unwrap();
        assert!(!flags.contains(OFlags::DIRECT));
    }

    #[test]
    fn what_a_disk_refuses_goes_through_the_cache_and_the_disk_is_not_asked_again() {
        let folder = Folder::new();
        let disk = disk(&folder);
        let file = file(&disk, 1);
        // No disk takes this: it is not aligned in memory. Some file systems take everything.
        let bytes = vec![7; 2 * ALIGNMENT + 1];
        let odd = 1 - bytes.as_ptr().align_offset(2);
        let written = disk.direct.write(&file, &bytes[odd..][..2 * ALIGNMENT], 0);
        let taken = written.unwrap() == 2 * ALIGNMENT;
        assert_eq!(disk.is_direct(), taken);
        let batch = batch(600_001);
        disk.write_direct(&file, &mut Bounce::default(), (&batch, 0))
            .unwrap();
        let mut found = vec![0; 600_001];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found == batch.concat());
        assert_eq!(disk.is_direct(), taken);
    }

    #[test]
    fn a_file_system_that_does_not_know_of_it_is_not_asked_again() {
        let direct = Direct::default();
        // Of this one that is certain.
        let file = File::options().write(true).open("/proc/self/comm");
        let written = direct.write(&file.unwrap(), &[0; ALIGNMENT], 0);
        assert_eq!(written.unwrap(), 0);
        assert!(!direct.is_possible());
    }
}
