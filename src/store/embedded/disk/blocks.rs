//! Memory that small reads go into, used again and again.
//!
//! Owns: at most [`MAX_KEPT`] blocks of [`BLOCK_BYTES`]. An allocator gives memory of that size back to the system as soon as it is free,
//! and takes and clears it anew for the next read.
//! Never does: hold a block back from a read; when all are lent, another is made.
//!
//! Invariant: a block is lent to one read at a time, and comes back when the last of what was read is gone.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::sync::Mutex;

/// Size of a block, in bytes; as the bodies of answers read small objects.
pub(in super::super) const BLOCK_BYTES: usize = 64 << 10;
/// Most blocks that are kept while nobody reads.
const MAX_KEPT: usize = 32;

/// The bytes of memory that a read of this length takes: a block, where that wastes at most half of it.
pub(in super::super) const fn room_of(length: usize) -> usize {
    match length > BLOCK_BYTES / 2 && length < BLOCK_BYTES {
        true => BLOCK_BYTES,
        false => length,
    }
}

/// The blocks that are not lent; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A block and what was read into it.
struct Lent {
    block: Box<[u8]>,
    length: usize,
    home: Blocks,
}

impl Blocks {
    /// Reads up to `length` bytes by `read`, into a block where that wastes at most half of it; `None` when `read` gives fewer.
    pub(super) fn read(
        &self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Option<Bytes>> {
        if room_of(length) == length && length != BLOCK_BYTES {
            let mut bytes = vec![0; length];
            let whole = read(&mut bytes)? == length;
            return Ok(whole.then(|| bytes.into()));
        }
        let mut lent = Lent {
            block: self.take(),
            length,
            home: self.clone(),
        };
        let whole = match lent.block.get_mut(..length) {
            Some(part) => read(part)? == length,
            None => false,
        };
        Ok(whole.then(|| Bytes::from_owner(lent)))
    }

    fn take(&self) -> Box<[u8]> {
        let kept = self.0.lock().ok().and_then(|mut kept| kept.pop());
        kept.unwrap_or_else(|| vec![0; BLOCK_BYTES].into())
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.block.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let block = std::mem::take(&mut self.block);
        if let Ok(mut kept) = self.home.0.lock()
            && kept.len() < MAX_KEPT
        {
            kept.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(blocks: &Blocks, length: usize, with: u8) -> Option<Bytes> {
        let read = |into: &mut [u8]| {
            into.fill(with);
            Ok(into.len())
        };
        blocks.read(length, read).unwrap()
    }

    fn kept(blocks: &Blocks) -> usize {
        blocks.0.lock().unwrap().len()
    }

    #[test]
    fn reads_of_every_size_are_as_long_as_they_were_asked_for() {
        let blocks = Blocks::default();
        let half = BLOCK_BYTES / 2;
        for length in [0, 1, half, half + 1, BLOCK_BYTES, BLOCK_BYTES + 1] {
            assert_eq!(filled(&blocks, length, 7).unwrap(), vec![7; length]);
        }
    }

    #[test]
    fn two_reads_never_share_a_block_and_give_it_back_with_their_last_piece() {
        let blocks = Blocks::default();
        let (one, two) = (filled(&blocks, BLOCK_BYTES, 1), filled(&blocks, 40_000, 2));
        let (one, two) = (one.unwrap(), two.unwrap());
        let end = one.slice(BLOCK_BYTES - 9..);
        drop(one);
        assert_eq!(kept(&blocks), 0);
        assert_eq!((&end[..], &two[..]), (&[1; 9][..], &[2; 40_000][..]));
        drop((end, two));
        assert_eq!(kept(&blocks), 2);
        assert_eq!(filled(&blocks, 40_000, 3).unwrap(), vec![3; 40_000]);
    }

    #[test]
    fn what_was_not_read_whole_is_not_given_away() {
        let blocks = Blocks::default();
        for length in [9, BLOCK_BYTES] {
            let short = blocks.read(length, |into| Ok(into.len() - 1)).unwrap();
            assert_eq!(short, None);
            let failing = blocks.read(length, |_| Err(io::ErrorKind::Other.into()));
            assert!(failing.is_err());
        }
        assert_eq!(kept(&blocks), 1);
    }

    #[test]
    fn no_more_blocks_are_kept_than_there_may_be() {
        let blocks = Blocks::default();
        let all: Vec<_> = (0..MAX_KEPT + 5)
            .map(|_| filled(&blocks, BLOCK_BYTES, 0))
            .collect();
        drop(all);
        assert_eq!(kept(&blocks), MAX_KEPT);
    }
}
