//! How much memory the documents of all requests take together.
//!
//! Owns: [`Documents`], the room for answers that are written whole before they are sent, and for bodies that are read whole before they
//! are looked at. A client that takes nothing of its answers, or never ends its bodies, has each of them kept, and over HTTP/2 a connection
//! asks for dozens: without this, three connections held 1.1 GiB of lists.
//! Never does: wait for room. When there is none the one request is refused, and the others go on; but one of those who are too slow loses his for
//! it: a body that has been coming for longer than [`longest`] or falls behind here, the connection that keeps most from others of those that take too little in
//! `server/crowd.rs`.
//!
//! Invariants: a document of at most [`SMALL_DOCUMENT_BYTES`] needs no room, so refusals are sent. Room is given back with the last of the
//! bytes, wherever they are: in the handler, in the protocol's buffers, or on their way to the socket. One document always has room when there is
//! no other. Bodies take none of what answers have, nor answers of theirs.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::admission::Pace;
use super::body::{BodyError, ResponseBody, full};

/// Bytes of all answers that are in memory together, without the small ones.
pub const ALL_ANSWERS_BYTES: usize = 20 << 20;

/// Bytes of all bodies that are in memory together, without the small ones.
pub const ALL_BODIES_BYTES: usize = 12 << 20;

/// Bytes up to which a document is small: thousands of streams may each have one of them.
pub const SMALL_DOCUMENT_BYTES: usize = 16 << 10;

/// A body that is being read takes room in steps of so many bytes.
const STEP_BYTES: usize = 64 << 10;

/// Time for which room counts as short when somebody was refused: as long as he is told to wait.
const SHORT_FOR: Duration = Duration::from_secs(5);

/// Bytes of a body that have to come in a second while others are refused for want of room.
const SLOWEST_RATE: usize = 32 << 10;

/// What any body may take beside that, and the longest it may take beside that however large it is.
const LONGEST: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(32);

/// Connections that are to go at a time, for as many who were refused.
const MAX_WANTED: usize = 64;

/// How long a body of so many bytes may have been coming while others are refused for want of room.
fn longest(bytes: usize) -> Duration {
    let micros = (bytes as u64).saturating_mul(1_000_000) / SLOWEST_RATE as u64;
    let longest = *LONGEST.start() + Duration::from_micros(micros);
    longest.min(*LONGEST.end())
}

/// Room for documents.
#[derive(Debug)]
pub(super) struct Documents {
    answers: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    refused: Mutex<Refused>,
    coming: Mutex<Coming>,
}

/// Who was refused an answer for want of room.
#[derive(Debug, Default)]
struct Refused {
    last: Option<Instant>,
    /// Those for whom nobody was let go yet.
    wanting: usize,
    /// Most that any of them wanted.
    bytes: usize,
}

/// The bodies with room that have not ended yet.
#[derive(Debug, Default)]
struct Coming {
    by_number: HashMap<u64, OnItsWay>,
    next: u64,
}

#[derive(Debug)]
struct OnItsWay {
    since: Instant,
    /// What it has room for.
    bytes: usize,
    pace: Arc<Pace>,
}

impl OnItsWay {
    /// For how long it should have been over, or next to nothing came of it.
    fn overdue(&self) -> Option<Duration> {
        let overdue = self.since.elapsed().checked_sub(longest(self.bytes));
        overdue.max(self.pace.behind())
    }
}

impl Coming {
    /// Tells the one that is longest overdue to give way. It is told once.
    fn let_go(&mut self) {
        let overdue = self.by_number.iter();
        let overdue = overdue.filter_map(|(number, body)| Some((body.overdue()?, *number)));
        let chosen = overdue.max().map(|(_, number)| number);
        if let Some(body) = chosen.and_then(|number| self.by_number.remove(&number)) {
            body.pace.give_way();
        }
    }
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

/// The room of one answer; none for a small one.
#[derive(Debug)]
pub(super) struct Reserved(Option<OwnedSemaphorePermit>);

impl Reserved {
    /// The answer for which it was reserved, which keeps as much of it as it needs.
    pub(super) fn hold(self, answer: Response<ResponseBody>) -> Response<ResponseBody> {
        answer.map(|body| match (body, self.0) {
            (ResponseBody::Whole(bytes), Some(mut room)) if bytes.len() > SMALL_DOCUMENT_BYTES => {
                let needed = bytes.len().min(room.num_permits());
                // What is split off is what the answer keeps.
                match room.split(needed) {
                    Some(room) => full(Held::bytes(bytes, room)),
                    None => full(bytes),
                }
            }
            (other, _) => other,
        })
    }
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            answers: Arc::new(Semaphore::new(ALL_ANSWERS_BYTES)),
            bodies: Arc::new(Semaphore::new(ALL_BODIES_BYTES)),
            refused: Mutex::default(),
            coming: Mutex::default(),
        }
    }
}

impl Documents {
    /// Room for an answer of at most so many bytes.
    ///
    /// # Errors
    /// [`BodyError::NoRoom`].
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reserved, BodyError> {
        if bytes <= SMALL_DOCUMENT_BYTES {
            return Ok(Reserved(None));
        }
        // The largest of all takes all room there is.
        let room = take(&self.answers, bytes.min(ALL_ANSWERS_BYTES));
        if room.is_none() {
            let mut refused = locked(&self.refused);
            refused.last = Some(Instant::now());
            let others = match refused.wanting {
                0 => 0,
                _ => refused.bytes,
            };
            refused.wanting = (refused.wanting + 1).min(MAX_WANTED);
            refused.bytes = bytes.min(ALL_ANSWERS_BYTES).max(others);
        }
        room.map(|room| Reserved(Some(room)))
            .ok_or(BodyError::NoRoom)
    }

    /// The same answer, which has the room that it needs.
    ///
    /// # Errors
    /// [`BodyError::NoRoom`].
    pub(super) fn hold(
        &self,
        answer: Response<ResponseBody>,
    ) -> Result<Response<ResponseBody>, BodyError> {
        let bytes = match answer.body() {
            ResponseBody::Whole(bytes) => bytes.len(),
            ResponseBody::Streamed(_) => 0,
        };
        Ok(self.reserve(bytes)?.hold(answer))
    }

    /// Begins a document that comes piece by piece at this pace, at most so many bytes.
    pub(super) fn gather(&self, max_bytes: usize, pace: Arc<Pace>) -> Gathering<'_> {
        Gathering {
            all: Vec::new(),
            max_bytes,
            documents: self,
            pace,
            room: None,
            coming: None,
        }
    }

    /// Has somebody who takes too little of his answers go for one who was refused just now; whether he does. `goes` is asked while there is one for whom
    /// nobody went yet, and not otherwise: to choose somebody takes a look at all. When nobody goes by it, he has not had his turn.
    pub(super) fn lets_one_go(&self, goes: impl FnOnce() -> bool) -> bool {
        let mut refused = locked(&self.refused);
        let is_long_ago = refused.last.is_none_or(|last| last.elapsed() >= SHORT_FOR);
        if is_long_ago || self.answers.available_permits() >= refused.bytes {
            refused.wanting = 0;
        }
        let goes = refused.wanting > 0 && goes();
        refused.wanting -= usize::from(goes);
        goes
    }

    #[cfg(test)]
    fn free_bytes(&self) -> (usize, usize) {
        (
            self.answers.available_permits(),
            self.bodies.available_permits(),
        )
    }
}

fn take(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let count = u32::try_from(bytes).ok()?;
    Arc::clone(room).try_acquire_many_owned(count).ok()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A document that comes piece by piece, and takes room as it grows.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    all: Vec<u8>,
    max_bytes: usize,
    documents: &'a Documents,
    pace: Arc<Pace>,
    room: Option<OwnedSemaphorePermit>,
    /// From when it has room.
    coming: Option<Place<'a>>,
}

/// The place of a body among those that come.
#[derive(Debug)]
struct Place<'a> {
    documents: &'a Documents,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut coming = locked(&self.documents.coming);
        coming.by_number.remove(&self.number);
    }
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
            self.grow(length.next_multiple_of(STEP_BYTES), held)?;
        }
        self.all.extend_from_slice(piece);
        Ok(())
    }

    /// Takes room for so many bytes in all, and exactly so much memory.
    fn grow(&mut self, bytes: usize, held: usize) -> Result<(), BodyError> {
        let Some(more) = take(&self.documents.bodies, bytes - held) else {
            locked(&self.documents.coming).let_go();
            return Err(BodyError::NoRoom);
        };
        match &mut self.room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        self.all.reserve_exact(bytes - self.all.len());
        self.tell(bytes);
        Ok(())
    }

    /// Says how much it has now.
    fn tell(&mut self, bytes: usize) {
        let mut coming = locked(&self.documents.coming);
        match &self.coming {
            // Who was told to give way is not there any more.
            Some(place) => {
                let body = coming.by_number.get_mut(&place.number);
                body.into_iter().for_each(|body| body.bytes = bytes);
            }
            None => {
                let (documents, number) = (self.documents, coming.next);
                coming.next += 1;
                let (since, pace) = (Instant::now(), Arc::clone(&self.pace));
                let body = OnItsWay { since, bytes, pace };
                coming.by_number.insert(number, body);
                self.coming = Some(Place { documents, number });
            }
        }
    }

    /// All of it.
    pub(super) fn finish(self) -> Bytes {
        let bytes = Bytes::from(self.all);
        match self.room {
            Some(room) => Held::bytes(bytes, room),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use http_body_util::BodyExt;

    use super::*;

    /// An answer of so many bytes.
    fn answer(bytes: usize) -> Response<ResponseBody> {
        Response::new(full(vec![b'x'; bytes]))
    }

    fn all_is_free(documents: &Documents) -> bool {
        documents.free_bytes() == (ALL_ANSWERS_BYTES, ALL_BODIES_BYTES)
    }

    fn body_of(documents: &Documents, max_bytes: usize) -> Gathering<'_> {
        documents.gather(max_bytes, Arc::default())
    }

    #[tokio::test]
    async fn an_answer_holds_its_room_until_the_last_of_its_bytes_is_gone() {
        let documents = Documents::default();
        let mut held = documents.hold(answer(1 << 20)).unwrap();
        assert_eq!(documents.free_bytes().0, ALL_ANSWERS_BYTES - (1 << 20));
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
            .filter_map(|_| documents.hold(answer(page)).ok())
            .collect();
        assert_eq!(held.len(), ALL_ANSWERS_BYTES / page);
        assert!(documents.hold(answer(page)).is_err());
        let small = documents.hold(answer(SMALL_DOCUMENT_BYTES));
        assert!(small.is_ok());
        drop(held);
        assert!(documents.hold(answer(page)).is_ok());
        assert!(all_is_free(&documents));
    }

    /// Whether somebody goes, where there is always one who may.
    fn goes(documents: &Documents) -> bool {
        documents.lets_one_go(|| true)
    }

    #[test]
    fn who_was_refused_keeps_his_turn_while_nobody_can_be_let_go() {
        let documents = Documents::default();
        let _all = documents.reserve(ALL_ANSWERS_BYTES).unwrap();
        assert!(documents.reserve(1 << 20).is_err());
        assert!(!documents.lets_one_go(|| false));
        assert!(documents.lets_one_go(|| true));
        assert!(!documents.lets_one_go(|| panic!("one was refused")));
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_let_go_for_each_who_was_refused_just_now() {
        let documents = Documents::default();
        let all = documents.hold(answer(ALL_ANSWERS_BYTES));
        assert!(all.is_ok() && !goes(&documents));
        for _ in 0..2 {
            assert!(documents.hold(answer(1 << 20)).is_err());
        }
        assert!(goes(&documents) && goes(&documents));
        assert!(!goes(&documents), "two were refused");
        assert!(documents.hold(answer(1 << 20)).is_err());
        tokio::time::sleep(SHORT_FOR).await;
        assert!(!goes(&documents), "that was long ago");
        for _ in 0..2 * MAX_WANTED {
            assert!(documents.hold(answer(1 << 20)).is_err());
        }
        let gone = (0..MAX_WANTED - 1).filter(|_| goes(&documents));
        assert_eq!(gone.count(), MAX_WANTED - 1);
        drop(all);
        assert!(!goes(&documents), "there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn for_several_who_were_refused_somebody_goes_until_there_is_room_for_the_largest() {
        let documents = Documents::default();
        let most = documents.reserve(16 << 20).unwrap();
        let rest = documents.reserve(4 << 20).unwrap();
        for megabytes in [8, 1] {
            assert!(documents.reserve(megabytes << 20).is_err());
        }
        drop(rest);
        assert!(goes(&documents), "there is room for the smaller one");
        drop(most);
        assert!(!goes(&documents));
        let _most = documents.reserve(16 << 20).unwrap();
        let rest = documents.reserve(4 << 20).unwrap();
        assert!(documents.reserve(3 << 20).is_err());
        drop(rest);
        assert!(!goes(&documents), "who wanted more was before");
    }

    #[test]
    fn an_answer_that_is_larger_than_all_room_is_sent_when_it_is_alone() {
        let documents = Documents::default();
        let largest = documents.hold(answer(ALL_ANSWERS_BYTES + 1));
        assert!(largest.is_ok());
        assert!(documents.hold(answer(SMALL_DOCUMENT_BYTES + 1)).is_err());
        drop(largest);
        assert!(all_is_free(&documents));
    }

    #[test]
    fn a_body_takes_room_as_it_grows_and_gives_it_back() {
        let documents = Documents::default();
        let mut gathering = body_of(&documents, 8 << 20);
        gathering.push(&vec![b'x'; SMALL_DOCUMENT_BYTES]).unwrap();
        assert!(all_is_free(&documents), "it is small yet");
        for taken in [STEP_BYTES, 2 * STEP_BYTES, 2 * STEP_BYTES] {
            gathering.push(&vec![b'y'; STEP_BYTES / 2]).unwrap();
            let free = documents.free_bytes().1;
            assert_eq!(free, ALL_BODIES_BYTES - taken);
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
        let mut limited = body_of(&documents, 1 << 20);
        limited.push(&megabyte).unwrap();
        let refused = limited.push(b"x");
        assert!(matches!(refused, Err(BodyError::TooLarge { max_bytes }) if max_bytes == 1 << 20));
        drop(limited);
        assert!(all_is_free(&documents));
        let mut bodies: Vec<_> = (0..20).map(|_| body_of(&documents, 8 << 20)).collect();
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
        assert_eq!(refused, 28);
        assert_eq!(documents.free_bytes().1, 0);
        drop(bodies);
        assert!(all_is_free(&documents));
    }

    #[test]
    fn the_largest_body_of_each_kind_has_room_when_nobody_else_is_there() {
        let documents = Documents::default();
        for bytes in [4 << 20, 8 << 20] {
            let mut body = body_of(&documents, bytes);
            for _ in 0..bytes >> 10 {
                body.push(&[b'x'; 1 << 10]).unwrap();
            }
            assert_eq!(body.finish().len(), bytes);
        }
    }

    /// Fills all room of bodies: each of these has a MiB.
    fn crowd(documents: &Documents) -> Vec<(Gathering<'_>, Arc<Pace>)> {
        let body = |_| {
            let pace = Arc::<Pace>::default();
            let mut body = documents.gather(8 << 20, Arc::clone(&pace));
            body.push(&vec![b'x'; 1 << 20]).unwrap();
            pace.came(1 << 20);
            (body, pace)
        };
        (0..ALL_BODIES_BYTES >> 20).map(body).collect()
    }

    fn is_refused(documents: &Documents) -> bool {
        body_of(documents, 8 << 20).push(&[b'x'; 1 << 20]).is_err()
    }

    fn told(crowd: &[(Gathering<'_>, Arc<Pace>)]) -> usize {
        let context = Context::from_waker(Waker::noop());
        let told = crowd.iter().filter(|(_, pace)| pace.waits(&context));
        told.count()
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_take_too_long_give_way_one_for_each_who_was_refused() {
        let documents = Documents::default();
        let mut bodies = crowd(&documents);
        tokio::time::sleep(longest(1 << 20) - Duration::from_millis(1)).await;
        assert!(is_refused(&documents));
        assert_eq!(told(&bodies), 0, "nobody takes too long yet");
        tokio::time::sleep(Duration::from_millis(1)).await;
        for refused in 1..=3 {
            assert!(is_refused(&documents));
            assert_eq!(told(&bodies), refused);
        }
        // Who was told is let in again when there is room.
        bodies.truncate(3);
        assert!(!is_refused(&documents));
        drop(bodies);
        assert!(all_is_free(&documents));
        assert!(locked(&documents.coming).by_number.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_of_which_next_to_nothing_comes_give_way_sooner() {
        let documents = Documents::default();
        let bodies = crowd(&documents);
        // What came at once makes up for two seconds.
        for seconds in 0..4 {
            assert!(is_refused(&documents));
            assert_eq!(told(&bodies), 0, "after {seconds} seconds");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (_, moves) = &bodies[0];
        moves.came(8 << 10);
        for refused in 1..bodies.len() {
            assert!(is_refused(&documents));
            assert_eq!(told(&bodies), refused);
        }
        assert!(is_refused(&documents));
        assert_eq!(told(&bodies), bodies.len() - 1, "one of them moves");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_grows_may_take_longer_and_one_that_is_whole_never_gives_way() {
        let documents = Documents::default();
        let whole = [8, 3].map(|megabytes| {
            let mut whole = body_of(&documents, 8 << 20);
            for _ in 0..megabytes {
                whole.push(&vec![b'x'; 1 << 20]).unwrap();
            }
            whole.finish()
        });
        let mut bodies = Vec::new();
        for steps in [10, 6] {
            let pace = Arc::<Pace>::default();
            let mut body = documents.gather(8 << 20, Arc::clone(&pace));
            for _ in 0..steps {
                body.push(&[b'x'; STEP_BYTES]).unwrap();
            }
            bodies.push((body, pace));
        }
        tokio::time::sleep(longest(6 * STEP_BYTES)).await;
        for _ in 0..3 {
            assert!(is_refused(&documents));
            assert_eq!(told(&bodies), 1, "the smaller one");
        }
        drop(whole);
        assert!(!is_refused(&documents));
    }

    #[test]
    fn answers_and_bodies_take_no_room_of_each_other() {
        let documents = Documents::default();
        let bodies = crowd(&documents);
        assert!(is_refused(&documents));
        assert!(documents.hold(answer(ALL_ANSWERS_BYTES)).is_ok());
        drop(bodies);
        let _all = documents.hold(answer(ALL_ANSWERS_BYTES));
        assert!(documents.hold(answer(1 << 20)).is_err());
        assert!(!is_refused(&documents));
    }

    #[test]
    fn what_was_reserved_is_held_by_the_answer_and_by_nobody_when_there_is_none() {
        let documents = Documents::default();
        let reserved = documents.reserve(1 << 20).unwrap();
        assert_eq!(documents.free_bytes().0, ALL_ANSWERS_BYTES - (1 << 20));
        let held = reserved.hold(answer(SMALL_DOCUMENT_BYTES + 1));
        let taken = ALL_ANSWERS_BYTES - documents.free_bytes().0;
        assert_eq!(taken, SMALL_DOCUMENT_BYTES + 1, "as much as it needs");
        drop(held);
        let small = documents
            .reserve(1 << 20)
            .unwrap()
            .hold(answer(SMALL_DOCUMENT_BYTES));
        assert!(all_is_free(&documents), "it needs none");
        drop(small);
        drop(documents.reserve(1 << 20));
        assert!(all_is_free(&documents));
    }
}
