//! The bytes of an object on their way out.
//!
//! Owns: [`ObjectBody`]: blocks of [`BLOCK_BYTES`], one of them read ahead while the one before it is sent. So a slow
//! client holds at most two blocks, and a fast one never waits for the disk and the network in turn. All answers together
//! hold at most [`MAX_LARGE_BLOCKS`]; the others make do with [`SMALL_BLOCK_BYTES`], and when [`MAX_SMALL_BLOCKS`] are held with [`CRUMB_BYTES`], or a
//! thousand slow readers would hold 2 GiB, and ten thousand streams of HTTP/2 as much in small blocks.
//!
//! Never does: HTTP headers, ranges or conditions; it is told which part to send.
//!
//! Invariants: exactly the promised number of bytes is sent, or the body ends with an error. A whole object is checked
//! against its CRC64NVME by its reader or as it passes, before its last block is given away: damage is never delivered as a success,
//! because the answer then breaks off (HTTP/1.1: fewer bytes than `Content-Length`; HTTP/2: a reset stream).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::Crc64Hasher;
use crate::store::{ObjectReader, StoreError};

/// Size of one read, in bytes.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// Size of one read while too many blocks are held, in bytes.
pub const SMALL_BLOCK_BYTES: u64 = 64 << 10;

/// Most blocks of [`BLOCK_BYTES`] that all answers hold together, on their way out or read ahead.
pub const MAX_LARGE_BLOCKS: usize = 32;

/// Most blocks of [`SMALL_BLOCK_BYTES`] that all answers hold together.
pub const MAX_SMALL_BLOCKS: usize = 512;

/// Size of one read when those are held too, in bytes.
pub const CRUMB_BYTES: u64 = 8 << 10;

/// Room for blocks.
#[derive(Debug)]
struct Room {
    large: Semaphore,
    small: Semaphore,
}

static ROOM: Room = Room::new(MAX_LARGE_BLOCKS, MAX_SMALL_BLOCKS);

impl Room {
    const fn new(large: usize, small: usize) -> Self {
        Self {
            large: Semaphore::const_new(large),
            small: Semaphore::const_new(small),
        }
    }

    /// How large the next block may be of so many bytes that are left, and its room. What fits into the size below needs none of this one.
    fn take(&'static self, left: u64) -> (u64, Option<SemaphorePermit<'static>>) {
        for (room, size, below) in [
            (&self.large, BLOCK_BYTES, SMALL_BLOCK_BYTES),
            (&self.small, SMALL_BLOCK_BYTES, CRUMB_BYTES),
        ] {
            if left > below
                && let Ok(permit) = room.try_acquire()
            {
                return (left.min(size), Some(permit));
            }
        }
        (left.min(CRUMB_BYTES), None)
    }
}

/// A block that gives its room back when the last of it was sent.
struct Held {
    bytes: Bytes,
    _room: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of an answer that sends an object or a part of it.
#[derive(Debug)]
pub struct ObjectBody {
    reader: Arc<dyn ObjectReader>,
    /// Where the next read begins, and where the last one ends.
    next: u64,
    end: u64,
    /// Bytes that were not given away yet.
    left: u64,
    /// The checksum of what was given away, when all of the object is sent and its reader does not check it.
    passed: Option<Crc64Hasher>,
    /// Where room for blocks comes from.
    room: &'static Room,
    /// The block that is being read.
    ahead: Option<Block>,
    /// What ends the body, at the next poll.
    failed: Option<io::Error>,
}

impl ObjectBody {
    /// The whole object, checked as it passes.
    pub fn whole(reader: Box<dyn ObjectReader>) -> Self {
        let size = reader.meta().size;
        let passed = (!reader.is_checked()).then(Crc64Hasher::default);
        Self::new(reader, 0, size, passed, &ROOM)
    }

    /// `length` bytes from `first`; they must lie within the object. A part is checked only by a reader that has all of it.
    pub fn part(reader: Box<dyn ObjectReader>, first: u64, length: u64) -> Self {
        Self::new(reader, first, length, None, &ROOM)
    }

    fn new(
        reader: Box<dyn ObjectReader>,
        first: u64,
        length: u64,
        passed: Option<Crc64Hasher>,
        room: &'static Room,
    ) -> Self {
        Self {
            reader: Arc::from(reader),
            next: first,
            end: first.saturating_add(length),
            left: length,
            passed,
            room,
            ahead: None,
            failed: None,
        }
    }

    fn next_block(&mut self) -> Option<Block> {
        let left = self.end - self.next;
        if left == 0 {
            return None;
        }
        let (length, room) = self.room.take(left);
        let (reader, offset) = (Arc::clone(&self.reader), self.next);
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        self.next += length;
        Some(Block {
            length,
            reading: Box::pin(async move {
                let bytes = reader.read_at(offset, wanted).await?;
                Ok(match room {
                    Some(_room) => Bytes::from_owner(Held { bytes, _room }),
                    None => bytes,
                })
            }),
            read: None,
        })
    }

    /// Takes a block that was read; it is given away only when it is all there, and the last one of a whole object only
    /// when everything adds up.
    fn accept(&mut self, length: u64, read: Result<Bytes, StoreError>) -> io::Result<Bytes> {
        let bytes = read.map_err(|why| self.broken(&why.to_string(), why))?;
        if bytes.len() as u64 != length {
            let why = format!("{} bytes where {length} should be", bytes.len());
            return Err(self.broken(&why, StoreError::Corrupt(why.clone())));
        }
        self.left -= length;
        if let Some(passed) = &mut self.passed {
            passed.update(&bytes);
            let (found, promised) = (passed.so_far(), self.reader.meta().crc64);
            if self.left == 0 && found != promised {
                let why = format!("CRC64NVME is {}, not {}", found.hex(), promised.hex());
                return Err(self.broken(&why, StoreError::Corrupt(why.clone())));
            }
        }
        Ok(bytes)
    }

    fn broken(&self, why: &str, cause: StoreError) -> io::Error {
        let id = self.reader.meta().id;
        tracing::error!(%id, why, "an object could not be read; its answer was broken off");
        io::Error::other(cause)
    }

    fn stop(&mut self) {
        self.next = self.end;
        self.left = 0;
        self.ahead = None;
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.ahead.is_none() {
            // Not before it is asked for: the room of who never asks would be nobody's.
            self.ahead = self.next_block();
        }
        let Some(block) = &mut self.ahead else {
            return Poll::Ready(None);
        };
        let length = block.length;
        let read = ready!(block.poll(cx));
        self.ahead = self.next_block();
        if let Some(next) = &mut self.ahead {
            // The next read runs while this block is checked and sent.
            next.begin(cx);
        }
        match self.accept(length, read) {
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(error) => {
                self.stop();
                // First the connection sends what it has: the client is to see an answer that breaks off, not none.
                self.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.failed.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A block that is being read, or was.
struct Block {
    length: u64,
    reading: Pin<Box<dyn Future<Output = Result<Bytes, StoreError>> + Send>>,
    read: Option<Result<Bytes, StoreError>>,
}

impl Block {
    /// Starts reading, and keeps what comes at once.
    fn begin(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(read) = self.reading.as_mut().poll(cx) {
            self.read = Some(read);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, StoreError>> {
        match self.read.take() {
            Some(read) => Poll::Ready(read),
            None => self.reading.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectMeta, Timestamp};
    use async_trait::async_trait;
    use http_body_util::BodyExt;

    /// An object whose bytes and record are chosen by the test.
    #[derive(Debug)]
    struct Chosen {
        bytes: Bytes,
        meta: Arc<ObjectMeta>,
    }

    #[async_trait]
    impl ObjectReader for Chosen {
        fn meta(&self) -> &Arc<ObjectMeta> {
            &self.meta
        }

        async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
            let from = usize::try_from(offset).unwrap().min(self.bytes.len());
            let to = (from + length).min(self.bytes.len());
            Ok(self.bytes.slice(from..to))
        }
    }

    /// An object that was `stored`, of which the disk now gives `found`.
    fn object(stored: &[u8], found: Vec<u8>) -> Box<dyn ObjectReader> {
        let moment = Timestamp::from_seconds(1_700_000_000);
        let meta = Arc::new(ObjectMeta::put("a", stored, moment));
        let bytes = Bytes::from(found);
        Box::new(Chosen { bytes, meta })
    }

    /// Everything that came before the end, and whether it ended well.
    async fn drink(mut body: ObjectBody) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => all.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => return (all, body.frame().await.is_some()),
            }
        }
        assert_eq!(body.size_hint().exact(), Some(0));
        (all, true)
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn every_size_around_a_block_arrives_whole() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        for size in [0, 1, block - 1, block, block + 1, 3 * block, 3 * block + 7] {
            let bytes = pattern(size);
            let body = ObjectBody::whole(object(&bytes, bytes.clone()));
            assert_eq!(body.size_hint().exact(), Some(size as u64));
            assert_eq!(body.is_end_stream(), size == 0);
            assert!(drink(body).await == (bytes, true), "{size}");
        }
    }

    #[tokio::test]
    async fn without_room_blocks_are_small_and_then_crumbs_and_sent_blocks_give_their_room_back() {
        let bytes = pattern(3 << 20);
        let room: &'static Room = Box::leak(Box::new(Room::new(4, 4)));
        let body = || {
            let reader = object(&bytes, bytes.clone());
            ObjectBody::new(reader, 0, 3 << 20, Some(Crc64Hasher::default()), room)
        };
        let first_block = async |body: &mut ObjectBody| {
            let frame = body.frame().await.unwrap().unwrap();
            frame.into_data().unwrap()
        };
        let (mut one, mut two) = (body(), body());
        let mut others = [body(), body(), body()];
        let held = [first_block(&mut one).await, first_block(&mut two).await];
        assert!(held.iter().all(|block| block.len() as u64 == BLOCK_BYTES));
        let mut lengths = Vec::new();
        let mut smaller = Vec::new();
        for other in &mut others {
            smaller.push(first_block(other).await);
            lengths.push(smaller.last().unwrap().len() as u64);
        }
        assert_eq!(lengths, [SMALL_BLOCK_BYTES, SMALL_BLOCK_BYTES, CRUMB_BYTES]);
        let free = || {
            (
                room.large.available_permits(),
                room.small.available_permits(),
            )
        };
        assert_eq!(free(), (0, 0));
        assert!(drink(body()).await == (bytes.clone(), true), "in crumbs");
        drop((held, smaller, one, two, others));
        assert!(drink(body()).await == (bytes.clone(), true));
        assert_eq!(free(), (4, 4));
    }

    #[test]
    fn a_short_end_takes_no_room_of_larger_blocks() {
        let room: &'static Room = Box::leak(Box::new(Room::new(1, 1)));
        let taken = |left| {
            let (length, permit) = room.take(left);
            (length, permit.is_some(), room.large.available_permits())
        };
        assert_eq!(taken(CRUMB_BYTES), (CRUMB_BYTES, false, 1));
        assert_eq!(taken(CRUMB_BYTES + 1), (CRUMB_BYTES + 1, true, 1));
        assert_eq!(taken(SMALL_BLOCK_BYTES), (SMALL_BLOCK_BYTES, true, 1));
        assert_eq!(
            taken(SMALL_BLOCK_BYTES + 1),
            (SMALL_BLOCK_BYTES + 1, true, 0)
        );
        assert_eq!(taken(2 * BLOCK_BYTES), (BLOCK_BYTES, true, 0));
    }

    #[tokio::test]
    async fn a_part_is_exactly_the_part() {
        let bytes = pattern(3 << 20);
        for (first, length) in [(0, 1), (5, 1 << 20), ((1 << 20) - 1, 2), (1, (3 << 20) - 1)] {
            let body = ObjectBody::part(object(&bytes, bytes.clone()), first as u64, length as u64);
            assert!(drink(body).await == (bytes[first..first + length].to_vec(), true));
        }
    }

    #[tokio::test]
    async fn one_flipped_bit_anywhere_holds_the_last_block_back() {
        let bytes = pattern((2 << 20) + 100);
        for place in [0, 1 << 20, (2 << 20) + 99] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            let (sent, ended_well) = drink(ObjectBody::whole(object(&bytes, damaged))).await;
            assert!(!ended_well && sent.len() == 2 << 20, "{place}");
        }
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_never_ends_well() {
        let bytes = pattern((1 << 20) + 100);
        for kept in [0, 1, 1 << 20, (1 << 20) + 99] {
            let body = ObjectBody::whole(object(&bytes, bytes[..kept].to_vec()));
            assert!(!drink(body).await.1, "whole, {kept}");
            let body = ObjectBody::part(object(&bytes, bytes[..kept].to_vec()), 10, (1 << 20) + 90);
            assert!(!drink(body).await.1, "part, {kept}");
        }
    }
}
