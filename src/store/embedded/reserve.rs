//! Memory that a disk takes in few parts.
//!
//! Owns: [`Reserve`], pieces of memory that lie in huge pages of the system where it has them (`MADV_HUGEPAGE` of madvise(2)). What is
//! written past the cache is told to the disk as a list of places in the machine's memory; in common pages that is one for every 4 KiB,
//! at most 254 for one request on virtio, and each costs: 1 GiB in requests of 1 MiB took a virtual disk 2.4 s from common pages and 0.5 s
//! from huge ones.
//! Never does: hand out memory one by one, or count it; `buffers` does.
//!
//! Invariants:
//! 1. A reserve that is dropped whole is taken again by whoever needs one next: this memory is never given back to the system, and there
//!    is never more of it than was needed at once, for each store that is open at most [`RESERVED`] pieces.
//! 2. Without huge pages it is memory like any other; without any at all the reserve is empty.

use std::cmp::Reverse;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapOptions};

use super::buffers::PIECE_BYTES;

/// Pieces of a reserve: 8 MiB.
pub(super) const RESERVED: usize = 128;
/// Bytes of a huge page, where the system has any of this size.
const HUGE_BYTES: usize = 2 << 20;

/// Reserves that nobody needs now. The lock is held for no longer than a list changes.
static SPARE: Mutex<Vec<Reserve>> = Mutex::new(Vec::new());

/// Pieces of [`PIECE_BYTES`], aligned, the next to take at the end: at first one behind the other, then what was given back last.
#[derive(Default)]
pub(super) struct Reserve(Vec<&'static mut [u8]>);

impl Reserve {
    /// A whole one that nobody else needs.
    pub(super) fn acquire() -> Self {
        let spare = spare().pop();
        spare.unwrap_or_else(Self::map)
    }

    /// Takes a piece.
    pub(super) fn pop(&mut self) -> Option<&'static mut [u8]> {
        self.0.pop()
    }

    /// Gives a piece back.
    pub(super) fn push(&mut self, piece: &'static mut [u8]) {
        self.0.push(piece);
    }

    fn map() -> Self {
        // More than is used, so that huge pages fit in; what is not touched is no memory yet.
        let length = RESERVED * PIECE_BYTES + HUGE_BYTES;
        let Ok(map) = MmapOptions::new().len(length).map_anon() else {
            return Self::default();
        };
        // A system that knows of no huge pages gives common ones.
        let _ = map.advise(Advice::HugePage);
        let memory = &mut **Box::leak(Box::new(map));
        let behind = memory.as_ptr().align_offset(HUGE_BYTES);
        let aligned = memory.get_mut(behind..).unwrap_or_default();
        let mut pieces: Vec<_> = aligned.chunks_exact_mut(PIECE_BYTES).collect();
        pieces.truncate(RESERVED);
        pieces.reverse();
        Self(pieces)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut pieces = mem::take(&mut self.0);
        if pieces.len() == RESERVED {
            pieces.sort_unstable_by_key(|piece| Reverse(piece.as_ptr().addr()));
            spare().push(Self(pieces));
        }
    }
}

fn spare() -> MutexGuard<'static, Vec<Reserve>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::embedded::disk::ALIGNMENT;

    fn addresses(reserve: &Reserve) -> Vec<usize> {
        let pieces = reserve.0.iter();
        pieces.map(|piece| piece.as_ptr().addr()).collect()
    }

    /// Whether the mapping that holds this address was asked to lie in huge pages.
    fn is_huge(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_in = false;
        for line in maps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let ends = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
            if let Some([Ok(from), Ok(to)]) = ends {
                is_in = (from..to).contains(&address);
            } else if is_in && line.starts_with("VmFlags:") {
                return line.split(' ').any(|flag| flag == "hg");
            }
        }
        false
    }

    #[test]
    fn its_pieces_lie_one_behind_the_other_in_huge_pages() {
        let mut reserve = Reserve::acquire();
        let first = addresses(&reserve).pop().unwrap();
        let has_huge = std::fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap();
        assert_eq!(is_huge(first), has_huge);
        assert!(first.is_multiple_of(HUGE_BYTES) && HUGE_BYTES.is_multiple_of(ALIGNMENT));
        for n in 0..RESERVED {
            let piece = reserve.pop().unwrap();
            assert_eq!(piece.as_ptr().addr(), first + n * PIECE_BYTES);
            assert_eq!(piece.len(), PIECE_BYTES);
        }
        assert!(reserve.pop().is_none());
    }

    #[test]
    fn what_is_dropped_whole_is_taken_again_in_its_first_order() {
        // Other tests take some of them meanwhile.
        let taken: BTreeSet<_> = (0..1000)
            .map(|_| {
                let mut reserve = Reserve::acquire();
                let (before, pieces) = (addresses(&reserve), [reserve.pop(), reserve.pop()]);
                pieces
                    .into_iter()
                    .flatten()
                    .for_each(|piece| reserve.push(piece));
                assert_ne!(addresses(&reserve), before);
                assert!(before.is_sorted_by(|a, b| a > b));
                before
            })
            .collect();
        assert!(taken.len() < 500, "{}", taken.len());
    }

    #[test]
    fn what_is_dropped_in_part_is_never_taken_again() {
        let mut part = Reserve::acquire();
        let lost = part.pop().unwrap().as_ptr().addr();
        drop(part);
        let reserves: Vec<_> = (0..20).map(|_| Reserve::acquire()).collect();
        for reserve in &reserves {
            let addresses = addresses(reserve);
            assert!(addresses.len() == RESERVED && !addresses.contains(&lost));
        }
    }
}
