//! Which uploads are taken in, and which gives way when there is no room for one more.
//!
//! Owns: [`Admission`], which asks the store for a writer, and has the upload that is furthest behind give way when the store takes no more:
//! whoever holds one valid form could keep everybody else out with posts that send a byte now and then. And [`Pace`], which knows for how long a
//! body has waited for its peer, and for what of that its bytes make up: each does for a 4096th of a second ([`SLOWEST_RATE`]). Also how many
//! copies are made at a time, for which nobody sends a byte.
//!
//! Never does: count writers; the store does. End an upload: its body does, and its handler then lets go of the writer.
//!
//! Invariants: who waits for us, for the disk or for a commit, never gives way, nor does who sends more than [`SLOWEST_RATE`] without long
//! gaps; who is told to is told once. Newcomers are let in as they came, and wait for [`LONGEST_WAIT`] at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::store::StoreError;

/// Bytes of a body that make up for a second in which its peer was waited for: half of what comes over a bad mobile network. With fewer, hundreds of posts keep their
/// places for next to nothing.
const SLOWEST_RATE: u64 = 4 << 10;

/// Longest time that what came in a burst makes up for ahead: encrypted bytes come 16 KiB at a time, which a slow client needs 2 s for.
const LONGEST_CREDIT: Duration = Duration::from_secs(2);

/// How far behind an upload may be while others wait for its place. Clients on bad networks are silent for a second or two now and then.
const STANDING_PATIENCE: Duration = Duration::from_secs(2);

/// How long one of which hardly anything came yet may: hundreds that came together would keep everybody else out for as long.
const UNPROVEN_PATIENCE: Duration = Duration::from_millis(750);

/// With fewer bytes than this hardly anything came: a form alone may have as many.
const UNPROVEN_BYTES: usize = 24 << 10;

/// Copies that are made at a time. Each has a writer, a block of a MiB in memory and threads that wait for disks, for hours where it is large,
/// and a request of 600 bytes asks for it: as many as there are writers would keep all uploads out.
const MAX_COPIES: usize = 32;

/// A copy of at most so many bytes is over in a moment, and waits for none of those.
const SMALL_COPY_BYTES: u64 = 8 << 20;

/// Copies that wait for others; each has its source open.
const MAX_WAITING_COPIES: usize = 64;

/// Longest wait of a newcomer for a place.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Time after which who was told to give way no longer counts as going: somebody else may have got that place.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// Time until the newcomer whose turn it is looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Time between two lines in the log that say how many were let go.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// How a body comes in.
#[derive(Debug, Default)]
pub(super) struct Pace {
    standing: Mutex<Standing>,
    gives_way: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Standing {
    /// Since when it waits for its peer.
    since: Option<Instant>,
    /// How long it did so before, less what its bytes made up for. What it waited for us does not count.
    behind: Duration,
    /// What its bytes make up for ahead; nothing while it is behind.
    credit: Duration,
    /// Bytes that came in all.
    total: usize,
}

impl Standing {
    /// How far behind it is now.
    fn behind(&self) -> Duration {
        let waited = self.since.map(|since| since.elapsed());
        (self.behind + waited.unwrap_or_default()).saturating_sub(self.credit)
    }

    fn came(&mut self, bytes: usize) {
        let waited = self.since.take().map(|since| since.elapsed());
        let behind = self.behind + waited.unwrap_or_default();
        let made_up =
            Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST_RATE);
        let credit = self.credit + made_up;
        self.behind = behind.saturating_sub(credit);
        self.credit = credit.saturating_sub(behind).min(LONGEST_CREDIT);
        self.total = self.total.saturating_add(bytes);
    }
}

impl Pace {
    /// It waits for its peer; whether it must give way instead. If that comes to be so the task is woken.
    pub(super) fn waits(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.standing().since.get_or_insert_with(Instant::now);
        self.gives_way.load(Ordering::SeqCst)
    }

    /// So many bytes came, or it is over.
    pub(super) fn came(&self, bytes: usize) {
        self.standing().came(bytes);
    }

    /// How far behind it is; `None` while it may not be disturbed: it does not wait for its peer, or patience is not over.
    pub(super) fn behind(&self) -> Option<Duration> {
        let standing = self.standing();
        standing.since?;
        let patience = match standing.total < UNPROVEN_BYTES {
            true => UNPROVEN_PATIENCE,
            false => STANDING_PATIENCE,
        };
        Some(standing.behind()).filter(|behind| *behind >= patience)
    }

    /// It has a place from now on: how slowly it came before held up nobody.
    fn forgive(&self) {
        self.standing().behind = Duration::ZERO;
    }

    /// Tells it to give way, at once if it waits for its peer.
    pub(super) fn give_way(&self) {
        self.gives_way.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The uploads that are under way.
#[derive(Debug)]
pub(super) struct Admission {
    inside: Mutex<Inside>,
    copies: Semaphore,
    waiting_copies: AtomicUsize,
    /// Newcomers that wait for a place.
    waiting: AtomicUsize,
    /// Held by the one of them whose turn it is.
    turn: tokio::sync::Mutex<()>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    by_number: HashMap<u64, Arc<Pace>>,
    next: u64,
    /// Let go since the log was told.
    let_go: u64,
    told: Option<Instant>,
}

/// The place of one upload; dropped behind its writer.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    admission: &'a Admission,
    number: u64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            inside: Mutex::default(),
            copies: Semaphore::new(MAX_COPIES),
            waiting_copies: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
            turn: tokio::sync::Mutex::default(),
            left: Notify::default(),
        }
    }
}

impl Admission {
    /// Begins a copy of so many bytes: as an upload, for which it never has to wait, once there are fewer large ones than [`MAX_COPIES`].
    ///
    /// # Errors
    /// As [`Admission::begin`]; [`StoreError::Busy`] also when [`MAX_WAITING_COPIES`] wait already.
    pub(super) async fn begin_copy<W, F>(
        &self,
        bytes: u64,
        begin: impl Fn() -> F,
    ) -> Result<((Option<SemaphorePermit<'_>>, Admitted<'_>), W), StoreError>
    where
        F: Future<Output = Result<W, StoreError>>,
    {
        let begun = async {
            let permit = match bytes > SMALL_COPY_BYTES {
                true => Some(self.large_copy().await?),
                false => None,
            };
            let (admitted, writer) = self.begin(&Arc::default(), begin).await?;
            Ok(((permit, admitted), writer))
        };
        let begun = tokio::time::timeout(LONGEST_WAIT, begun).await;
        begun.unwrap_or(Err(StoreError::Busy))
    }

    async fn large_copy(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        if let Ok(permit) = self.copies.try_acquire() {
            return Ok(permit);
        }
        let _waiting = Waiting::among(&self.waiting_copies);
        if self.waiting_copies.load(Ordering::SeqCst) > MAX_WAITING_COPIES {
            return Err(StoreError::Busy);
        }
        // It is never closed.
        self.copies.acquire().await.map_err(|_| StoreError::Busy)
    }

    /// Begins to write what comes at this pace; when the store is busy with others, as soon as one of them has given way.
    ///
    /// # Errors
    /// What `begin` says; [`StoreError::Busy`] when there was no place for [`LONGEST_WAIT`].
    pub(super) async fn begin<W, F>(
        &self,
        pace: &Arc<Pace>,
        begin: impl Fn() -> F,
    ) -> Result<(Admitted<'_>, W), StoreError>
    where
        F: Future<Output = Result<W, StoreError>>,
    {
        // Nobody passes by those who wait.
        let begun = match self.waiting.load(Ordering::SeqCst) {
            0 => begin().await,
            _ => Err(StoreError::Busy),
        };
        let writer = match begun {
            Err(StoreError::Busy) => {
                let _waiting = Waiting::among(&self.waiting);
                // Before it is its turn: who gives way needs a moment, and those of many may pass at once.
                let asked = self.inside().let_go();
                let waiting = self.begin_in_turn(begin, asked);
                let waiting = tokio::time::timeout(LONGEST_WAIT, waiting);
                waiting.await.unwrap_or(Err(StoreError::Busy))?
            }
            begun => begun?,
        };
        Ok((self.admit(pace), writer))
    }

    async fn begin_in_turn<W, F>(
        &self,
        begin: impl Fn() -> F,
        has_asked: bool,
    ) -> Result<W, StoreError>
    where
        F: Future<Output = Result<W, StoreError>>,
    {
        let _turn = self.turn.lock().await;
        let mut asked = has_asked.then(Instant::now);
        loop {
            match begin().await {
                Err(StoreError::Busy) => {}
                begun => return begun,
            }
            // One for one: who was told to give way may need a moment.
            if asked.is_none_or(|asked| asked.elapsed() >= LEAVING_TIME) {
                asked = self.inside().let_go().then(Instant::now);
            }
            let _left = tokio::time::timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    fn admit(&self, pace: &Arc<Pace>) -> Admitted<'_> {
        let mut inside = self.inside();
        let number = inside.next;
        inside.next += 1;
        pace.forgive();
        inside.by_number.insert(number, Arc::clone(pace));
        let admission = self;
        Admitted { admission, number }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A newcomer that waits, and is counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inside {
    /// Tells the one that is furthest behind to give way; whether there is one.
    fn let_go(&mut self) -> bool {
        let slow = self.by_number.iter();
        let slow = slow.filter_map(|(number, pace)| Some((pace.behind()?, *number)));
        let chosen = slow.max().map(|(_, number)| number);
        let Some(pace) = chosen.and_then(|number| self.by_number.remove(&number)) else {
            return false;
        };
        pace.give_way();
        self.tell();
        true
    }

    fn tell(&mut self) {
        self.let_go += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL) {
            return;
        }
        tracing::warn!(
            let_go = self.let_go,
            "as many uploads as the store takes at once: those that hardly move are let go for newcomers"
        );
        self.told = Some(Instant::now());
        self.let_go = 0;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.admission.inside().by_number.remove(&self.number);
        self.admission.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::api::body::{BodyError, RequestBody};
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    /// A store with so many writers, and who uses it.
    #[derive(Clone)]
    struct Rig(Arc<Admission>, Arc<Semaphore>);

    impl Rig {
        fn new(writers: usize) -> Self {
            Self(Arc::default(), Arc::new(Semaphore::new(writers)))
        }

        /// An upload that sends a piece of so many bytes each second; how it ended, and how long it waited for its place.
        async fn uploads(
            self,
            pieces: usize,
            bytes: usize,
        ) -> (Result<(), BodyError>, Option<Duration>) {
            let began = Instant::now();
            let frames = stream::unfold(0_usize, move |sent| async move {
                tokio::time::sleep(Duration::from_secs(u64::from(sent > 0))).await;
                let piece = Frame::data(Bytes::from(vec![0; bytes]));
                (sent < pieces).then_some((std::io::Result::Ok(piece), sent + 1))
            });
            let body = StreamBody::new(Box::pin(frames));
            let mut body = RequestBody::new(body, Duration::from_secs(30));
            let pace = body.pace();
            let begin = || {
                let permit = Arc::clone(&self.1).try_acquire_owned();
                std::future::ready(permit.map_err(|_| StoreError::Busy))
            };
            let Ok(_inside) = self.0.begin(&pace, begin).await else {
                return (Ok(()), None);
            };
            let waited = began.elapsed();
            while let Some(bytes) = body.next_bytes().await {
                if let Err(error) = bytes {
                    return (Err(error), Some(waited));
                }
            }
            (Ok(()), Some(waited))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_that_only_trickle_give_way_to_newcomers() {
        let rig = Rig::new(3);
        let trickle = || tokio::spawn(rig.clone().uploads(100, 1));
        let slow: Vec<_> = (0..3).map(|_| trickle()).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (sent, waited) = rig.clone().uploads(3, 1).await;
        sent.unwrap();
        assert!(waited.unwrap() <= UNPROVEN_PATIENCE);
        tokio::time::sleep(Duration::from_secs(200)).await;
        let mut gone = 0;
        for slow in slow {
            gone += usize::from(matches!(slow.await.unwrap().0, Err(BodyError::GaveWay)));
        }
        assert_eq!(gone, 1, "one for one");
        assert!(rig.0.inside().by_number.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_moves_keeps_its_place_and_the_newcomer_is_told_to_come_later() {
        let rig = Rig::new(1);
        let moving = tokio::spawn(rig.clone().uploads(20, UNPROVEN_BYTES));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        let (_, waited) = rig.clone().uploads(1, 1).await;
        assert_eq!((waited, began.elapsed()), (None, LONGEST_WAIT));
        moving.await.unwrap().0.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn while_there_is_room_nobody_gives_way_whoever_comes_at_the_same_moment() {
        let rig = Rig::new(2);
        let slow = tokio::spawn(rig.clone().uploads(10, 1));
        tokio::time::sleep(STANDING_PATIENCE).await;
        // As another one that is let in at this moment would hold it.
        let turn = rig.0.turn.lock().await;
        let (sent, waited) = rig.clone().uploads(1, 1).await;
        assert_eq!(waited, Some(Duration::ZERO));
        sent.unwrap();
        drop(turn);
        slow.await.unwrap().0.unwrap();
        assert_eq!(rig.0.waiting.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn how_slowly_a_form_came_before_it_had_a_place_does_not_count() {
        let (pace, cx) = (
            Arc::<Pace>::default(),
            &mut Context::from_waker(std::task::Waker::noop()),
        );
        assert!(!pace.waits(cx));
        tokio::time::sleep(STANDING_PATIENCE).await;
        pace.came(1);
        assert!(!pace.waits(cx));
        assert!(pace.behind().is_some());
        pace.came(0);
        let admission = Admission::default();
        let _place = admission.admit(&pace);
        assert!(!pace.waits(cx));
        assert_eq!(pace.behind(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_us_does_not_stand_still() {
        let pace = Pace::default();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(!pace.waits(cx));
        tokio::time::sleep(UNPROVEN_PATIENCE - UNPROVEN_PATIENCE / 3).await;
        pace.came(0);
        tokio::time::sleep(STANDING_PATIENCE).await;
        assert_eq!(pace.behind(), None, "it is our turn");
        assert!(!pace.waits(cx));
        tokio::time::sleep(UNPROVEN_PATIENCE / 3).await;
        assert_eq!(pace.behind(), Some(UNPROVEN_PATIENCE));
        pace.came(UNPROVEN_BYTES);
        assert!(!pace.waits(cx));
        tokio::time::sleep(LONGEST_CREDIT + UNPROVEN_PATIENCE).await;
        assert_eq!(pace.behind(), None, "it has moved");
        tokio::time::sleep(STANDING_PATIENCE - UNPROVEN_PATIENCE).await;
        assert_eq!(pace.behind(), Some(STANDING_PATIENCE));
    }

    /// Whether an upload that has proven itself, and then sends so many bytes each time that so much time has gone by, would ever have to
    /// give way in ten minutes.
    async fn would_give_way(bytes: usize, each: Duration) -> bool {
        let pace = Pace::default();
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        pace.came(UNPROVEN_BYTES);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(600) {
            pace.waits(cx);
            tokio::time::sleep(each).await;
            if pace.behind().is_some() {
                return true;
            }
            pace.came(bytes);
        }
        false
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_network_keeps_its_place_and_who_only_feigns_one_does_not() {
        for each in [10, 100, 500, 1000, 2000, 3000].map(Duration::from_millis) {
            let of_rate = |rate: usize| rate * each.as_millis() as usize / 1000;
            // As over a bad mobile network, in pieces of any size.
            assert!(!would_give_way(of_rate(8 << 10), each).await, "{each:?}");
            assert!(would_give_way(of_rate(3 << 10), each).await, "{each:?}");
        }
        // What once counted as a sign of life.
        assert!(would_give_way(1024, Duration::from_millis(1900)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_copies_there_are_few_at_a_time_and_one_more_is_told_to_come_later() {
        let rig = Rig::new(MAX_COPIES + 2);
        let begin = || {
            let permit = Arc::clone(&rig.1).try_acquire_owned();
            std::future::ready(permit.map_err(|_| StoreError::Busy))
        };
        let mut copies = Vec::new();
        for _ in 0..MAX_COPIES {
            copies.push(rig.0.begin_copy(SMALL_COPY_BYTES + 1, begin).await.unwrap());
        }
        let began = Instant::now();
        let small = rig.0.begin_copy(SMALL_COPY_BYTES, begin).await;
        drop(small.unwrap());
        assert_eq!(
            began.elapsed(),
            Duration::ZERO,
            "a small one waits for none of them"
        );
        let large = || rig.0.begin_copy(u64::MAX, begin);
        let refused = large().await.map(drop);
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        assert_eq!(began.elapsed(), LONGEST_WAIT);
        let (sent, waited) = rig.clone().uploads(1, 1).await;
        sent.unwrap();
        assert_eq!(waited, Some(Duration::ZERO), "uploads have the rest");
        let mut waiting: Vec<_> = (0..MAX_WAITING_COPIES).map(|_| Box::pin(large())).collect();
        for next in &mut waiting {
            assert!(next.now_or_never().is_none());
        }
        let began = Instant::now();
        let refused = large().await.map(drop);
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        assert_eq!(began.elapsed(), Duration::ZERO, "so many wait already");
        drop(copies.pop());
        drop(waiting.remove(0).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_waits_for_a_writer_as_an_upload_does() {
        let rig = Rig::new(1);
        let slow = tokio::spawn(rig.clone().uploads(100, 1));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begin = || {
            let permit = Arc::clone(&rig.1).try_acquire_owned();
            std::future::ready(permit.map_err(|_| StoreError::Busy))
        };
        let copy = rig.0.begin_copy(1, begin).await.unwrap();
        let (ended, _) = slow.await.unwrap();
        assert!(matches!(ended, Err(BodyError::GaveWay)), "{ended:?}");
        drop(copy);
    }
}
