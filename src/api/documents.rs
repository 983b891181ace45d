//! How much memory the documents of all requests take together.
//!
//! Owns: [`Documents`], the room for answers that are written whole before they are sent, and for bodies that are read whole before they
//! are looked at. A client that takes nothing of its answers, or never ends its bodies, has each of them kept, and over HTTP/2 a connection
//! asks for dozens: without this, three connections held 1.1 GiB of lists.
//! Never does: wait. When there is no room the one request is refused, and the others go on; but who takes next to nothing of a large answer is let go
//! sooner then (`server/activity.rs`).
//!
//! Invariants: a document of at most [`SMALL_DOCUMENT_BYTES`] needs no room, so refusals are always sent. Room is given back with the last of the
//! bytes, wherever they are: in the handler, in the protocol's buffers, or on their way to the socket. One document always has room when there is
//! no other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::body::{BodyError, ResponseBody, full};

/// Bytes of all documents that are in memory together, without the small ones.
pub const ALL_DOCUMENTS_BYTES: usize = 32 << 20;

/// Bytes up to which a document is small.
pub const SMALL_DOCUMENT_BYTES: usize = 64 << 10;

/// A body that is being read takes room in steps of so many bytes.
const STEP_BYTES: usize = 64 << 10;

/// Time for which room counts as short when somebody was refused: as long as he is told to wait.
const SHORT_FOR: Duration = Duration::from_secs(5);

/// Room for documents.
#[derive(Debug)]
pub(super) struct Documents {
    room: Arc<Semaphore>,
    /// When somebody was last refused.
    refused: Mutex<Option<Instant>>,
}

/// A document that gives its room back when the last of it is gone.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Held {
    fn bytes(bytes: Bytes, room: OwnedSemaphorePermit) -> Bytes {
        Bytes::from_owner(Self { bytes, _room: room })
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(ALL_DOCUMENTS_BYTES)),
            refused: Mutex::default(),
        }
    }
}

impl Documents {
    /// The same answer, which has the room that it needs; `None` when there is none.
    pub(super) fn hold(&self, answer: Response<ResponseBody>) -> Option<Response<ResponseBody>> {
        let (head, body) = answer.into_parts();
        let body = match body {
            ResponseBody::Whole(bytes) if bytes.len() > SMALL_DOCUMENT_BYTES => {
                // The largest of all takes all room there is.
                let room = self.take(bytes.len().min(ALL_DOCUMENTS_BYTES))?;
                full(Held::bytes(bytes, room))
            }
            other => other,
        };
        Some(Response::from_parts(head, body))
    }

    /// Begins a document that comes piece by piece, at most so many bytes.
    pub(super) fn gather(&self, max_bytes: usize) -> Gathering<'_> {
        Gathering {
            all: BytesMut::new(),
            max_bytes,
            documents: self,
            room: None,
        }
    }

    /// Whether somebody was refused just now: who takes nothing of what he asked for is to go sooner.
    pub(super) fn are_short_of_room(&self) -> bool {
        self.refused()
            .is_some_and(|refused| refused.elapsed() < SHORT_FOR)
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let count = u32::try_from(bytes).ok()?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(count).ok();
        if room.is_none() {
            *self.refused() = Some(Instant::now());
        }
        room
    }

    fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn free_bytes(&self) -> usize {
        self.room.available_permits()
    }
}

/// A document that comes piece by piece, and takes room as it grows.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    all: BytesMut,
    max_bytes: usize,
    documents: &'a Documents,
    room: Option<OwnedSemaphorePermit>,
}

impl Gathering<'_> {
    /// Adds a piece.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] past the limit, [`BodyError::NoRoom`] past the room that there is.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), BodyError> {
        let length = self.all.len() + piece.len();
        if length > self.max_bytes {
            let max_bytes = self.max_bytes;
            return Err(BodyError::TooLarge { max_bytes });
        }
        let held = self.room.as_ref().map_or(0, |room| room.num_permits());
        if length > SMALL_DOCUMENT_BYTES.max(held) {
            let more = length.next_multiple_of(STEP_BYTES) - held;
            let more = self.documents.take(more).ok_or(BodyError::NoRoom)?;
            match &mut self.room {
                Some(room) => room.merge(more),
                none => *none = Some(more),
            }
        }
        self.all.extend_from_slice(piece);
        Ok(())
    }

    /// All of it.
    pub(super) fn finish(self) -> Bytes {
        let bytes = self.all.freeze();
        match self.room {
            Some(room) => Held::bytes(bytes, room),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// An answer of so many bytes.
    fn answer(bytes: usize) -> Response<ResponseBody> {
        Response::new(full(vec![b'x'; bytes]))
    }

    fn all_is_free(documents: &Documents) -> bool {
        documents.free_bytes() == ALL_DOCUMENTS_BYTES
    }

    #[tokio::test]
    async fn an_answer_holds_its_room_until_the_last_of_its_bytes_is_gone() {
        let documents = Documents::default();
        let mut held = documents.hold(answer(1 << 20)).unwrap();
        assert_eq!(documents.free_bytes(), ALL_DOCUMENTS_BYTES - (1 << 20));
        let mut sending = held.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(held);
        let piece = sending.split_to(5);
        drop(sending);
        assert!(!all_is_free(&documents), "a piece of it is still here");
        drop(piece);
        assert!(all_is_free(&documents));
        drop(documents.hold(answer(1 << 20)).unwrap());
        assert!(all_is_free(&documents), "nobody ever took it");
    }

    #[test]
    fn answers_have_room_until_all_is_taken_and_small_ones_always() {
        let documents = Documents::default();
        let page = 6_400_000;
        let held: Vec<_> = (0..100)
            .filter_map(|_| documents.hold(answer(page)))
            .collect();
        assert_eq!(held.len(), ALL_DOCUMENTS_BYTES / page);
        assert!(documents.hold(answer(page)).is_none());
        let small = documents.hold(answer(SMALL_DOCUMENT_BYTES));
        assert!(small.is_some());
        drop(held);
        assert!(documents.hold(answer(page)).is_some());
        assert!(all_is_free(&documents));
    }

    #[tokio::test(start_paused = true)]
    async fn room_counts_as_short_for_a_while_when_somebody_was_refused() {
        let documents = Documents::default();
        let all = documents.hold(answer(ALL_DOCUMENTS_BYTES));
        assert!(all.is_some() && !documents.are_short_of_room());
        assert!(documents.hold(answer(1 << 20)).is_none());
        assert!(documents.are_short_of_room());
        tokio::time::sleep(SHORT_FOR).await;
        assert!(!documents.are_short_of_room());
        assert!(documents.gather(8 << 20).push(&[0; 1 << 20]).is_err());
        assert!(documents.are_short_of_room());
    }

    #[test]
    fn an_answer_that_is_larger_than_all_room_is_sent_when_it_is_alone() {
        let documents = Documents::default();
        let largest = documents.hold(answer(ALL_DOCUMENTS_BYTES + 1));
        assert!(largest.is_some());
        assert!(documents.hold(answer(SMALL_DOCUMENT_BYTES + 1)).is_none());
        drop(largest);
        assert!(all_is_free(&documents));
    }

    #[test]
    fn a_body_takes_room_as_it_grows_and_gives_it_back() {
        let documents = Documents::default();
        let mut gathering = documents.gather(8 << 20);
        gathering.push(&vec![b'x'; SMALL_DOCUMENT_BYTES]).unwrap();
        assert!(all_is_free(&documents), "it is small yet");
        for taken in [2 * STEP_BYTES, 2 * STEP_BYTES, 3 * STEP_BYTES] {
            gathering.push(&vec![b'y'; STEP_BYTES / 2]).unwrap();
            let free = documents.free_bytes();
            assert_eq!(free, ALL_DOCUMENTS_BYTES - taken);
        }
        let body = gathering.finish();
        assert_eq!(body.len(), SMALL_DOCUMENT_BYTES + STEP_BYTES * 3 / 2);
        assert!(body.starts_with(b"x") && body.ends_with(b"y"));
        assert!(!all_is_free(&documents));
        drop(body);
        assert!(all_is_free(&documents));
    }

    #[test]
    fn a_body_that_is_too_large_or_has_no_room_is_given_up_with_its_room() {
        let documents = Documents::default();
        let megabyte = vec![b'x'; 1 << 20];
        let mut limited = documents.gather(1 << 20);
        limited.push(&megabyte).unwrap();
        let refused = limited.push(b"x");
        assert!(matches!(refused, Err(BodyError::TooLarge { max_bytes }) if max_bytes == 1 << 20));
        drop(limited);
        assert!(all_is_free(&documents));
        let mut bodies: Vec<_> = (0..20).map(|_| documents.gather(8 << 20)).collect();
        let mut refused = 0;
        for _ in 0..2 {
            for body in &mut bodies {
                match body.push(&megabyte) {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(matches!(error, BodyError::NoRoom), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        assert_eq!(refused, 8);
        assert_eq!(documents.free_bytes(), 0);
        drop(bodies);
        assert!(all_is_free(&documents));
    }

    #[test]
    fn the_largest_body_of_each_kind_has_room_when_nobody_else_is_there() {
        let documents = Documents::default();
        for bytes in [4 << 20, 8 << 20] {
            let mut body = documents.gather(bytes);
            for _ in 0..bytes >> 10 {
                body.push(&[b'x'; 1 << 10]).unwrap();
            }
            assert_eq!(body.finish().len(), bytes);
        }
    }
}
