//! The memory that uploads are gathered in.
//!
//! Owns: [`Buffers`], the memory that is used again and again, in pieces of one size; and [`Gathered`], the bytes of one chunk that wait to
//! be a batch. What arrives is copied into them, so that nothing of a connection's own buffers is held while a disk is slow, and so that
//! the allocator has nothing to cut up: with buffers as the network gives them 64 uploads left 40 MiB of holes behind.
//! Never does: decide when there is enough for a batch; `assembler` does. Nor where memory lies that the disk takes well; `reserve` does.
//!
//! Invariants:
//! 1. Bytes lie in memory as far behind a multiple of [`ALIGNMENT`] as they will in their file, as far as that is known, and every piece
//!    but the last of a batch is filled up: such a batch can go past the cache of the system (`disk::direct`).
//! 2. Beside the reserve, of 8 MiB, which is used first and kept, there are never more pieces than were needed at once since nobody needed
//!    any; when nobody needs any they are given back. They are of the system and not of the allocator, which cuts up what it was given back.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use memmap2::{MmapMut, MmapOptions};

use super::disk::{ALIGNMENT, within_block};
use super::reserve::Reserve;
use super::sync::{Mutex, MutexGuard};

/// Bytes of a piece.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// So much of a chunk is gathered outside of the pieces, so that a slow client or a small object has no more memory than it needs.
const SMALL_BYTES: usize = 16 << 10;

/// Memory that is used again.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Pieces>>);

#[derive(Default)]
struct Pieces {
    /// Taken with the first piece.
    reserve: Option<Reserve>,
    /// Of the system.
    free: Vec<MmapMut>,
    /// How many are in use.
    lent: usize,
    /// How many of those are on their way to the disk.
    under_way: usize,
}

impl Buffers {
    /// A piece whose bytes will begin at this offset of their file.
    fn piece(&self, offset: u64) -> Piece {
        let begin = within_block(offset);
        Piece {
            home: self.clone(),
            memory: self.memory(),
            filled: begin..begin,
            is_under_way: false,
        }
    }

    /// Bytes of the pieces that are on their way to the disk. What is being gathered does not count: a client that stands still holds that
    /// for as long as it may, and it is no reason to hold up others.
    pub(super) fn under_way_bytes(&self) -> usize {
        self.lock().under_way * PIECE_BYTES
    }

    /// Memory of [`PIECE_BYTES`], aligned.
    fn memory(&self) -> Memory {
        let mut pieces = self.lock();
        pieces.lent += 1;
        let reserve = pieces.reserve.get_or_insert_with(Reserve::acquire);
        if let Some(memory) = reserve.pop() {
            return Memory::Reserved(memory);
        }
        if let Some(memory) = pieces.free.pop() {
            return Memory::Mapped(memory);
        }
        drop(pieces);
        MmapOptions::new()
            .len(PIECE_BYTES)
            .map_anon()
            .map_or_else(|_| Memory::allocated(), Memory::Mapped)
    }

    fn give_back(&self, memory: Memory, is_under_way: bool) {
        let mut pieces = self.lock();
        pieces.lent -= 1;
        pieces.under_way -= usize::from(is_under_way);
        match memory {
            Memory::Mapped(memory) => pieces.free.push(memory),
            Memory::Reserved(memory) => pieces.reserve.get_or_insert_default().push(memory),
            Memory::Allocated(_) => {}
        }
        if pieces.lent == 0 && !pieces.free.is_empty() {
            let unneeded = mem::take(&mut pieces.free);
            drop(pieces);
            drop(unneeded);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffers")
    }
}

/// [`PIECE_BYTES`] of memory.
enum Memory {
    Reserved(&'static mut [u8]),
    Mapped(MmapMut),
    /// Where the system gives no more mappings; not used again.
    Allocated(BytesMut),
}

impl Memory {
    fn allocated() -> Self {
        let mut memory = BytesMut::zeroed(PIECE_BYTES + ALIGNMENT);
        memory.advance(memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT));
        memory.truncate(PIECE_BYTES);
        Self::Allocated(memory)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Allocated(BytesMut::new())
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Reserved(memory) => memory,
            Self::Mapped(memory) => memory,
            Self::Allocated(memory) => memory,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Reserved(memory) => memory,
            Self::Mapped(memory) => memory,
            Self::Allocated(memory) => memory,
        }
    }
}

/// Memory for some bytes of one chunk; goes back when nobody needs them any more.
struct Piece {
    home: Buffers,
    memory: Memory,
    filled: Range<usize>,
    is_under_way: bool,
}

impl Piece {
    /// Takes as much of `bytes` as there is room for, and leaves the rest.
    fn take(&mut self, bytes: &mut &[u8]) {
        let room = self.memory.len() - self.filled.end;
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        let place = self.filled.end..self.filled.end + taken.len();
        if let Some(place) = self.memory.get_mut(place) {
            place.copy_from_slice(taken);
            self.filled.end += taken.len();
        }
        *bytes = rest;
    }

    fn is_full(&self) -> bool {
        self.filled.end == self.memory.len()
    }

    /// For those who write and hash it.
    fn hand_over(mut self) -> Bytes {
        self.is_under_way = true;
        self.home.lock().under_way += 1;
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(self.filled.clone()).unwrap_or_default()
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let memory = mem::take(&mut self.memory);
        self.home.give_back(memory, self.is_under_way);
    }
}

/// The bytes of a chunk that wait to be a batch.
#[derive(Default)]
pub(super) struct Gathered {
    buffers: Buffers,
    full: Vec<Piece>,
    full_bytes: usize,
    last: Last,
}

/// The piece that is being filled.
#[derive(Default)]
enum Last {
    #[default]
    None,
    Small(Vec<u8>),
    Piece(Piece),
}

impl Gathered {
    /// Nothing yet, in this memory.
    pub(super) fn new(buffers: &Buffers) -> Self {
        Self {
            buffers: buffers.clone(),
            ..Self::default()
        }
    }

    /// Copies bytes that go to `offset` of their file.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut offset: u64) {
        if self.full.is_empty() && self.stays_small(bytes) {
            return;
        }
        while !bytes.is_empty() {
            let mut piece = self.open(offset);
            let before = bytes.len();
            piece.take(&mut bytes);
            offset += (before - bytes.len()) as u64;
            if piece.is_full() {
                self.full_bytes += piece.filled.len();
                self.full.push(piece);
            } else {
                self.last = Last::Piece(piece);
            }
        }
    }

    /// Keeps a few bytes outside of the pieces, if they are the first of a batch.
    fn stays_small(&mut self, bytes: &[u8]) -> bool {
        match &mut self.last {
            Last::None if bytes.len() <= SMALL_BYTES => self.last = Last::Small(bytes.to_vec()),
            Last::Small(small) if small.len() + bytes.len() <= SMALL_BYTES => {
                small.extend_from_slice(bytes);
            }
            _ => return false,
        }
        true
    }

    /// The piece to fill on from `offset`.
    fn open(&mut self, offset: u64) -> Piece {
        match mem::take(&mut self.last) {
            Last::Piece(piece) => piece,
            Last::None => self.buffers.piece(offset),
            Last::Small(small) => {
                let began = offset.saturating_sub(small.len() as u64);
                let mut piece = self.buffers.piece(began);
                piece.take(&mut &*small);
                piece
            }
        }
    }

    /// Bytes of the pieces that are full.
    pub(super) const fn full_bytes(&self) -> usize {
        self.full_bytes
    }

    /// Takes the pieces that are full.
    pub(super) fn take_full(&mut self) -> Vec<Bytes> {
        self.full_bytes = 0;
        self.full.drain(..).map(Piece::hand_over).collect()
    }

    /// Takes everything.
    pub(super) fn take_all(mut self) -> Vec<Bytes> {
        let mut all = self.take_full();
        all.extend(match mem::take(&mut self.last) {
            Last::None => None,
            Last::Small(small) => Some(Bytes::from(small)),
            Last::Piece(piece) => Some(piece.hand_over()),
        });
        all
    }
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gathered")
    }
}

#[cfg(test)]
mod tests {
    use super::super::reserve::RESERVED;
    use super::*;

    const OFFSETS: [u64; 4] = [0, 1, 4095, 7_000_001];

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    fn kept(buffers: &Buffers) -> usize {
        buffers.lock().free.len()
    }

    /// Buffers whose reserve is used up.
    fn without_reserve() -> Buffers {
        let buffers = Buffers::default();
        buffers.lock().reserve = Some(Reserve::default());
        buffers
    }

    #[test]
    fn what_was_pushed_comes_out_in_order_however_it_came_in() {
        // The last gathers outside of the pieces again after some of them.
        let steps = [1000, 16_384, 65_536, 400_000];
        let cases = OFFSETS.into_iter().zip(steps).chain([(0, 16_384)]);
        for (offset, step) in cases {
            let whole = bytes(1_000_000);
            let mut gathered = Gathered::new(&Buffers::default());
            let (mut found, mut at) = (Vec::new(), offset);
            for (n, part) in whole.chunks(step).enumerate() {
                gathered.push(part, at);
                at += part.len() as u64;
                if n % 3 == 0 {
                    found.extend(gathered.take_full());
                    assert_eq!(gathered.full_bytes(), 0);
                }
            }
            found.extend(gathered.take_all());
            assert!(found.concat() == whole, "{offset}, {step}");
        }
    }

    #[test]
    fn pieces_lie_in_memory_as_in_their_file_and_all_but_the_last_end_with_a_block() {
        for offset in OFFSETS {
            let mut gathered = Gathered::new(&Buffers::default());
            gathered.push(&bytes(9_000), offset);
            gathered.push(&bytes(300_000), offset + 9_000);
            let mut at = offset;
            let all = gathered.take_all();
            let (last, full) = all.split_last().unwrap();
            for piece in full {
                assert_eq!(piece.as_ptr().addr() % ALIGNMENT, within_block(at));
                at += piece.len() as u64;
                assert_eq!(within_block(at), 0);
            }
            assert_eq!(last.as_ptr().addr() % ALIGNMENT, 0);
            assert_eq!(full.len() + 1, 309_000_usize.div_ceil(PIECE_BYTES));
        }
    }

    #[test]
    fn only_what_is_on_its_way_counts_until_it_is_done_with() {
        let buffers = Buffers::default();
        let mut gathered = Gathered::new(&buffers);
        gathered.push(&bytes(2 * PIECE_BYTES + 1), 0);
        assert_eq!(buffers.under_way_bytes(), 0);
        let batch = gathered.take_full();
        assert_eq!(buffers.under_way_bytes(), 2 * PIECE_BYTES);
        let rest = gathered.take_all();
        assert_eq!(buffers.under_way_bytes(), 3 * PIECE_BYTES);
        drop((batch, rest));
        assert_eq!(buffers.under_way_bytes(), 0);
    }

    #[test]
    fn a_small_object_takes_no_piece() {
        let buffers = Buffers::default();
        let mut small = Gathered::new(&buffers);
        (0..SMALL_BYTES).for_each(|n| small.push(&[7], n as u64));
        assert_eq!(small.take_all(), [vec![7; SMALL_BYTES]]);
        assert_eq!(kept(&buffers), 0);
    }

    #[test]
    fn memory_is_used_again_when_the_last_who_needs_it_is_done() {
        for buffers in [Buffers::default(), without_reserve()] {
            // Keeps what is not of the reserve from being given back.
            let other = buffers.piece(0);
            let mut first = Gathered::new(&buffers);
            first.push(&bytes(PIECE_BYTES), 0);
            let batch = first.take_all();
            let (writing, hashing) = (batch.clone(), batch);
            let place = writing.first().unwrap().as_ptr();
            drop(writing);
            assert_eq!(buffers.under_way_bytes(), PIECE_BYTES);
            assert_ne!(buffers.piece(0).memory.as_ptr(), place);
            drop(hashing);
            assert_eq!(buffers.under_way_bytes(), 0);
            let mut second = Gathered::new(&buffers);
            second.push(&vec![9; PIECE_BYTES], 0);
            let second = second.take_all();
            assert_eq!(second.first().unwrap().as_ptr(), place);
            assert_eq!(second, [vec![9; PIECE_BYTES]]);
            drop(other);
        }
    }

    #[test]
    fn without_mappings_a_piece_is_as_long_and_lies_as_well() {
        let memory = Memory::allocated();
        assert_eq!(memory.len(), PIECE_BYTES);
        assert_eq!(memory.as_ptr().addr() % ALIGNMENT, 0);
    }

    #[test]
    fn the_reserve_is_used_first_and_what_came_beside_it_is_given_back_when_nobody_needs_any() {
        let buffers = Buffers::default();
        let mut pieces: Vec<_> = (0..RESERVED).map(|_| buffers.piece(0)).collect();
        assert_eq!(kept(&buffers), 0);
        pieces.push(buffers.piece(0));
        assert_eq!(kept(&buffers), 0);
        let last = pieces.split_off(RESERVED - 1);
        drop(pieces);
        let again: Vec<_> = (1..RESERVED).map(|_| buffers.piece(0)).collect();
        drop(last);
        assert_eq!(kept(&buffers), 1);
        drop(again);
        assert_eq!(kept(&buffers), 0);
        drop(buffers.piece(0));
        assert_eq!(kept(&buffers), 0);
    }
}
