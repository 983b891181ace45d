//! How busy a connection is, and how long it may be quiet.
//!
//! Owns: [`Activity`], which counts the answers that are owed and knows whether they wait for us or for the peer, and
//! the bodies that report it: [`Owed`] for answers, [`Awaited`] for requests. HTTP/2 needs this: a peer that opens no stream,
//! or takes no more of an answer, keeps its connection alive by answering pings. And `crowd.rs`, which must know who may go.
//!
//! Never does: end a connection; `connection.rs` does.
//!
//! Invariants: an answer is owed from its request to the last piece handed to the protocol, also when it is dropped. Bytes
//! that only trickle in are no sign of life.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::Options;
use crate::api::body::ResponseBody;

/// Longer than any connection.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Bytes of a request's body that count as a sign of life; who sends one at a time is as good as silent.
const MOVED_BYTES: usize = 1024;

/// How long a connection may be quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Before its first request.
    pub(super) fresh: Duration,
    /// Between requests. The last piece of an answer may still be on its way then.
    pub(super) idle: Duration,
    /// While it owes answers that the peer does not take.
    pub(super) stalled: Duration,
}

impl Limits {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            fresh: options.header_timeout,
            idle: options.header_timeout.max(options.body_idle_timeout),
            stalled: options.body_idle_timeout,
        }
    }

    pub(super) fn none() -> Self {
        Self {
            fresh: NO_LIMIT,
            idle: NO_LIMIT,
            stalled: NO_LIMIT,
        }
    }
}

/// How long a connection may be quiet before a newcomer may have its seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// It asks nothing.
    pub(super) idle: Duration,
    /// It is in the middle of a request of which something came, or of a small answer.
    pub(super) standing: Duration,
    /// It is in the middle of a request of which hardly anything came yet.
    pub(super) unproven: Duration,
    /// Much of an answer is on its way to it.
    pub(super) sending: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quiet {
    Fresh,
    Idle,
    Stalled,
}

/// How busy a connection is.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether it ever asked anything.
    began: AtomicBool,
    /// Answers that were not sent whole yet.
    owed: AtomicUsize,
    /// How many of them wait for us or for the rest of their request, and not for the peer to take more.
    working: AtomicUsize,
    /// How many of those wait for the rest of their request.
    receiving: AtomicUsize,
    /// Whether more of its requests came than their beginnings.
    moved: AtomicBool,
    /// Whether much of the last answer may still be on its way: in our buffers, or in the kernel's, which tell of progress late.
    sending_much: AtomicBool,
    /// When anything last happened.
    last: Mutex<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            began: AtomicBool::new(false),
            owed: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            moved: AtomicBool::new(false),
            sending_much: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.began.store(true, Ordering::SeqCst);
        self.sending_much.store(false, Ordering::SeqCst);
        self.owed.fetch_add(1, Ordering::SeqCst);
        self.working.fetch_add(1, Ordering::SeqCst);
        self.touch();
        Busy {
            activity: Arc::clone(self),
            turn: AtomicU8::new(OURS),
        }
    }

    /// Whether the connection ever asked anything.
    pub(super) fn has_begun(&self) -> bool {
        self.began.load(Ordering::SeqCst)
    }

    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long it has been quiet; `None` while it may not be disturbed: a request waits for us, or `patience` is not over.
    pub(super) fn quiet_for(&self, patience: Patience) -> Option<Duration> {
        let working = self.working.load(Ordering::SeqCst);
        if working > self.receiving.load(Ordering::SeqCst) {
            return None;
        }
        let limit = if self.sending_much.load(Ordering::SeqCst) {
            patience.sending
        } else if self.owed.load(Ordering::SeqCst) > 0 {
            match self.moved.load(Ordering::SeqCst) || working == 0 {
                true => patience.standing,
                false => patience.unproven,
            }
        } else {
            patience.idle
        };
        let quiet = self.last().elapsed();
        (quiet >= limit).then_some(quiet)
    }

    /// Returns when nothing happened for as long as `limits` allows.
    pub(super) async fn quiet(&self, limits: Limits) -> Quiet {
        loop {
            let last = self.last();
            let (kind, limit) = match self.kind() {
                Some(Quiet::Fresh) => (Quiet::Fresh, limits.fresh),
                Some(Quiet::Idle) => (Quiet::Idle, limits.idle),
                Some(Quiet::Stalled) => (Quiet::Stalled, limits.stalled),
                // The deadlines of work are its own; look again later.
                None => {
                    tokio::time::sleep(limits.stalled).await;
                    continue;
                }
            };
            if last.elapsed() >= limit {
                return kind;
            }
            // Never past the shortest limit, for meanwhile it may be quiet in another way.
            let end = (last + limit).min(Instant::now() + limits.stalled);
            tokio::time::sleep_until(end).await;
        }
    }

    /// What kind of quiet it would be now; `None` while we work.
    fn kind(&self) -> Option<Quiet> {
        let owed = self.owed.load(Ordering::SeqCst) > 0;
        let working = self.working.load(Ordering::SeqCst) > 0;
        match (owed, working) {
            (true, true) => None,
            (true, false) => Some(Quiet::Stalled),
            (false, _) if self.began.load(Ordering::SeqCst) => Some(Quiet::Idle),
            (false, _) => Some(Quiet::Fresh),
        }
    }
}

/// From this many bytes handed to the connection at once its answer counts as large.
const MUCH_BYTES: usize = 32 << 10;

/// Whose turn it is in a request: ours,
const OURS: u8 = 0;
/// the peer's, to send more of its request,
const RECEIVING: u8 = 1;
/// or the peer's, to take more of its answer.
const SENDING: u8 = 2;

/// One answer that is owed; dropped when it was sent or will never be.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    turn: AtomicU8,
}

impl Busy {
    fn set_working(&self, working: bool) {
        self.activity.touch();
        self.turn(if working { OURS } else { SENDING });
    }

    fn turn(&self, next: u8) {
        let before = self.turn.swap(next, Ordering::SeqCst);
        if before == RECEIVING {
            self.activity.receiving.fetch_sub(1, Ordering::SeqCst);
        }
        match (before == SENDING, next == SENDING) {
            (true, false) => self.activity.working.fetch_add(1, Ordering::SeqCst),
            (false, true) => self.activity.working.fetch_sub(1, Ordering::SeqCst),
            _ => 0,
        };
    }

    /// The peer is to send more of its request, unless its answer is under way already.
    fn receiving(&self) {
        if self.turn_from(OURS, RECEIVING) {
            self.activity.receiving.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn received(&self) {
        if self.turn_from(RECEIVING, OURS) {
            self.activity.receiving.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn turn_from(&self, before: u8, next: u8) -> bool {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        self.turn
            .compare_exchange(before, next, success, failure)
            .is_ok()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set_working(false);
        self.activity.owed.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A request's body that says when it waits for the peer, and when enough came to call that a sign of life.
#[derive(Debug)]
pub(super) struct Awaited<B> {
    body: B,
    busy: Arc<Busy>,
    moved_bytes: usize,
}

impl<B> Awaited<B> {
    pub(super) fn new(body: B, busy: Arc<Busy>) -> Self {
        Self {
            body,
            busy,
            moved_bytes: 0,
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes;
        if self.moved_bytes >= MOVED_BYTES {
            self.moved_bytes = 0;
            self.busy.activity.moved.store(true, Ordering::SeqCst);
            self.busy.activity.touch();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Awaited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.busy.receiving(),
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.moved(bytes);
                self.busy.received();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that keeps its connection busy until it is sent. Between two polls it waits for the peer to make room;
/// after a poll that found nothing yet, it waits for us.
#[derive(Debug)]
pub(super) struct Owed {
    body: ResponseBody,
    /// Of a frame that was longer than a piece.
    rest: Bytes,
    piece_bytes: usize,
    busy: Arc<Busy>,
}

impl Owed {
    /// A body that is handed on in pieces of at most `piece_bytes`.
    pub(super) fn new(body: ResponseBody, piece_bytes: usize, busy: Arc<Busy>) -> Self {
        busy.set_working(false);
        Self {
            body,
            rest: Bytes::new(),
            piece_bytes,
            busy,
        }
    }

    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.len().min(self.piece_bytes);
        if length >= MUCH_BYTES {
            let sending = &self.busy.activity.sending_much;
            sending.store(true, Ordering::SeqCst);
        }
        Some(Frame::data(self.rest.split_to(length)))
    }
}

impl Body for Owed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(piece) = self.next_piece() {
            self.busy.set_working(false);
            return Poll::Ready(Some(Ok(piece)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.busy.set_working(polled.is_pending());
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                let piece = self.next_piece();
                piece.unwrap_or_else(|| Frame::data(Bytes::new()))
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::body::full;
    use http_body_util::BodyExt;

    const LIMITS: Limits = Limits {
        fresh: Duration::from_secs(10),
        idle: Duration::from_secs(30),
        stalled: Duration::from_secs(20),
    };

    async fn quiet_after(activity: &Activity) -> (Quiet, u64) {
        let began = Instant::now();
        let quiet = activity.quiet(LIMITS).await;
        (quiet, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_quiet_for_as_long_as_its_state_allows() {
        let activity = Arc::new(Activity::new());
        assert_eq!(quiet_after(&activity).await, (Quiet::Fresh, 10));
        drop(activity.begin());
        assert_eq!(quiet_after(&activity).await, (Quiet::Idle, 30));
        let _held = Owed::new(full("answer"), 64, Arc::new(activity.begin()));
        assert_eq!(quiet_after(&activity).await, (Quiet::Stalled, 20));
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_ours_has_no_limit_here() {
        let activity = Arc::new(Activity::new());
        let _working = activity.begin();
        let waited = tokio::time::timeout(Duration::from_secs(3600), activity.quiet(LIMITS)).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn an_answer_is_handed_on_in_pieces_and_whole() {
        let activity = Arc::new(Activity::new());
        let mut body = Owed::new(full("0123456789"), 4, Arc::new(activity.begin()));
        assert_eq!(body.size_hint().exact(), Some(10));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "0123");
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(6));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "456789");
    }
    #[tokio::test(start_paused = true)]
    async fn who_only_trickles_is_as_quiet_as_who_is_silent() {
        const PATIENCE: Patience = Patience {
            idle: IDLE,
            standing: STANDING,
            unproven: STANDING,
            sending: Duration::from_secs(60),
        };
        const IDLE: Duration = Duration::from_secs(1);
        const STANDING: Duration = Duration::from_secs(2);
        let activity = Arc::new(Activity::new());
        let busy = Arc::new(activity.begin());
        let trickle = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from("x"))), ()))
        });
        let body = http_body_util::StreamBody::new(Box::pin(trickle));
        let mut body = Awaited::new(body, Arc::clone(&busy));
        assert_eq!(activity.quiet_for(PATIENCE), None, "it is our turn");
        for _ in 0..3 {
            assert!(body.frame().await.is_some());
        }
        let waiting = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
        assert!(waiting.is_err());
        let quiet = activity.quiet_for(PATIENCE).map(|quiet| quiet.as_secs());
        assert_eq!(quiet, Some(3));
        body.moved(MOVED_BYTES);
        assert_eq!(activity.quiet_for(PATIENCE), None, "it has moved");
        tokio::time::sleep(STANDING).await;
        assert_eq!(activity.quiet_for(PATIENCE), Some(STANDING));
        drop((body, busy));
        assert_eq!(activity.quiet_for(PATIENCE), None, "it may ask more");
        tokio::time::sleep(IDLE).await;
        assert_eq!(activity.quiet_for(PATIENCE), Some(IDLE));
    }
}
