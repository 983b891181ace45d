//! Writing past the page cache of the system (`O_DIRECT` of open(2)).
//!
//! Owns: the cut of a batch into what may go past the cache and what lies in blocks that it shares with its neighbours, which goes through
//! the cache. Copying into fresh pages of the cache costs more than all else that the kernel does for a large upload, and the sync at the
//! end finds the bytes with the disk.
//! Never does: decide which batches are worth it; `output` does. Nor move bytes to where they would be aligned: `buffers` puts them there.
//!
//! Invariants:
//! 1. No block is written past the cache by one chunk and through it by another: a block that is not filled by one batch alone goes
//!    through it always.
//! 2. Where the file system, or its disk, will not have it, or the bytes do not lie in memory as they will in the file, they go through
//!    the cache, and nobody is told.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::super::faults;
use super::{Disk, write_some};
use crate::store::StoreError;

/// What the place in memory, the offset in the file and the length are multiples of, in bytes. Disks want their block size, which is
/// rarely more; one that does refuses, and is written to through the cache.
pub(in super::super) const ALIGNMENT: usize = 4096;

impl Disk {
    /// Writes a batch from `offset`, its whole blocks past the cache where the disk has it; how many bytes went that way.
    pub(in super::super) fn write_direct(
        &self,
        file: &File,
        batch: &[Bytes],
        offset: u64,
    ) -> Result<u64, StoreError> {
        let Some(Cut { head, blocks, tail }) = Cut::of(batch, offset) else {
            let mut slices: Vec<_> = batch.iter().map(|slice| IoSlice::new(slice)).collect();
            return self.write_at(file, &mut slices, offset).map(|()| 0);
        };
        let mut left: Vec<_> = blocks.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = left.as_mut_slice();
        let blocks_at = offset + head.len() as u64;
        let written = self.run("write to a file", || {
            self.direct.write(file, &mut left, blocks_at)
        })?;
        if !head.is_empty() {
            self.write_at(file, &mut [IoSlice::new(head)], offset)?;
        }
        if !left.is_empty() {
            self.write_at(file, left, blocks_at + written)?;
        }
        if !tail.is_empty() {
            let tail_at = offset + length_of(batch) - tail.len() as u64;
            self.write_at(file, &mut [IoSlice::new(tail)], tail_at)?;
        }
        Ok(written)
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
        Self::with_pages_of(rustix::param::page_size())
    }
}

impl Direct {
    /// A page of the cache that holds more than one block could be written back over what went past it in the meantime.
    fn with_pages_of(bytes: usize) -> Self {
        Self(AtomicBool::new(bytes <= ALIGNMENT))
    }

    fn is_possible(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes whole blocks past the cache, or as much of them as goes that way; how many bytes. What is left is left in `blocks`.
    fn write(&self, file: &File, blocks: &mut &mut [IoSlice<'_>], offset: u64) -> io::Result<u64> {
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
fn write_blocks(file: &File, blocks: &mut &mut [IoSlice<'_>], offset: u64) -> io::Result<u64> {
    let mut written = 0;
    while let Some(first) = blocks.first() {
        let result = match first.get(..ALIGNMENT) {
            Some(block) if faults::is_short() => {
                rustix::io::pwrite(file, block, offset + written as u64)
            }
            _ => write_some(file, blocks, offset + written as u64),
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                IoSlice::advance_slices(blocks, n);
                written += n;
            }
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written as u64)
}

/// A batch whose whole blocks are aligned in memory, too.
#[derive(Debug, PartialEq, Eq)]
struct Cut<'a> {
    /// Up to the first whole block.
    head: &'a [u8],
    /// Whole blocks, in one or more pieces of memory.
    blocks: Vec<&'a [u8]>,
    /// Behind the last whole block.
    tail: &'a [u8],
}

impl<'a> Cut<'a> {
    /// None if a block would have to be put together from more than one piece of memory, or moved.
    fn of(batch: &'a [Bytes], offset: u64) -> Option<Self> {
        let lead = (ALIGNMENT - within_block(offset)) % ALIGNMENT;
        let behind = within_block(offset + length_of(batch));
        let mut blocks: Vec<&[u8]> = batch.iter().map(|slice| &**slice).collect();
        let first = blocks.first_mut()?;
        let (head, rest) = first.split_at_checked(lead)?;
        *first = rest;
        let last = blocks.last_mut()?;
        let (rest, tail) = last.split_at_checked(last.len().checked_sub(behind)?)?;
        *last = rest;
        blocks.retain(|part| !part.is_empty());
        let is_aligned = |part: &&[u8]| {
            part.len().is_multiple_of(ALIGNMENT) && part.as_ptr().addr().is_multiple_of(ALIGNMENT)
        };
        blocks
            .iter()
            .all(is_aligned)
            .then_some(Self { head, blocks, tail })
    }
}

fn length_of(batch: &[Bytes]) -> u64 {
    batch.iter().map(|slice| slice.len() as u64).sum()
}

/// How far behind the beginning of its block an offset lies, in bytes.
pub(in super::super) fn within_block(offset: u64) -> usize {
    usize::try_from(offset % ALIGNMENT as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::super::super::buffers::{Buffers, Gathered};
    use super::super::super::fuse::Fuse;
    use super::super::super::tests::Folder;
    use super::*;
    use crate::model::Id;
    use crate::store::embedded::disk::FileName;

    const BEFORE: u8 = 0xB5;

    #[test]
    fn nothing_goes_past_a_cache_whose_pages_are_longer_than_a_block() {
        for (page, may_go) in [(4096, true), (16_384, false), (65_536, false)] {
            assert_eq!(Direct::with_pages_of(page).is_possible(), may_go);
        }
    }

    fn disk(folder: &Folder) -> Disk {
        Disk::open(&folder.options().data, Fuse::default()).unwrap()
    }

    fn file(disk: &Disk, number: u8) -> File {
        let id = Id::new(crate::store::embedded::tests::NOW, [number; 8]);
        disk.open_or_create(FileName::Main(id)).unwrap()
    }

    /// Bytes that tell their place, as they are gathered for this offset.
    fn batch(length: usize, offset: u64) -> Vec<Bytes> {
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let mut gathered = Gathered::new(&Buffers::default());
        gathered.push(&bytes, offset);
        gathered.take_all()
    }

    const PLACES: [u64; 5] = [0, 1, 4095, 4096, 1_500_007];
    const LENGTHS: [usize; 7] = [0, 1, 4095, 4096, 20_001, 600_001, 1 << 20];

    #[test]
    fn a_batch_is_cut_at_the_blocks_of_its_file() {
        for (offset, length) in PLACES.into_iter().flat_map(|p| LENGTHS.map(|l| (p, l))) {
            let batch = batch(length, offset);
            let Some(cut) = Cut::of(&batch, offset) else {
                assert!(length < 20_001, "{offset}, {length}");
                continue;
            };
            let whole = [cut.head, &cut.blocks.concat(), cut.tail].concat();
            assert_eq!(whole, batch.concat(), "{offset}, {length}");
            assert!(cut.head.len() < ALIGNMENT && cut.tail.len() < ALIGNMENT);
            assert!(cut.blocks.concat().len().is_multiple_of(ALIGNMENT));
            assert!(!cut.blocks.is_empty() || length < 2 * ALIGNMENT);
        }
    }

    #[test]
    fn a_batch_that_lies_in_memory_otherwise_than_in_its_file_is_not_cut() {
        let batch = batch(600_001, 0);
        assert!(Cut::of(&batch, 0).is_some() && Cut::of(&batch, 8192).is_some());
        assert_eq!(Cut::of(&batch, 1), None);
        let whole = Bytes::from(batch.concat());
        let halves = [whole.slice(..300_000), whole.slice(300_000..)];
        assert_eq!(Cut::of(&halves, 0), None);
    }

    #[test]
    fn a_batch_arrives_whole_at_every_place_and_touches_nothing_beside_it() {
        let folder = Folder::new();
        let disk = disk(&folder);
        for (number, length) in (0..).zip(LENGTHS) {
            // The first was gathered for another place.
            let places = PLACES.map(|place| (place, place));
            for (offset, gathered_for) in [(0, 8)].into_iter().chain(places) {
                let file = file(&disk, number);
                let all = offset as usize + length + 10_000;
                file.write_all_at(&vec![BEFORE; all], 0).unwrap();
                let batch = batch(length, gathered_for);
                let direct = disk.write_direct(&file, &batch, offset);
                let blocks = Cut::of(&batch, offset).map_or(0, |cut| cut.blocks.concat().len());
                assert!(direct.unwrap() == blocks as u64 || !disk.is_direct());
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
        disk.write_direct(&file, &batch(600_001, 7), 7).unwrap();
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
        let mut blocks = [IoSlice::new(&bytes[odd..][..2 * ALIGNMENT])];
        let written = disk.direct.write(&file, &mut &mut blocks[..], 0);
        let taken = written.unwrap() == 2 * ALIGNMENT as u64;
        assert_eq!(disk.is_direct(), taken);
        let batch = batch(600_001, 0);
        disk.write_direct(&file, &batch, 0).unwrap();
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
        let mut blocks = [IoSlice::new(&[0; ALIGNMENT])];
        let written = direct.write(&file.unwrap(), &mut &mut blocks[..], 0);
        assert_eq!(written.unwrap(), 0);
        assert!(!direct.is_possible());
    }
}
