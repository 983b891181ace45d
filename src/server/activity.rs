//! How busy a connection is, and how long it may be quiet.
//!
//! Owns: [`Activity`], which counts the answers that are owed and knows whether they wait for us or for the peer, and
//! [`Owed`], the body that reports it. HTTP/2 needs this: a peer that opens no stream, or takes no more of an answer, keeps
//! its connection alive by answering pings.
//!
//! Never does: end a connection; `connection.rs` does.
//!
//! Invariant: an answer is owed from its request to the last piece handed to the protocol, also when it is dropped.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// How many of them wait for us, and not for the peer to take more.
    working: AtomicUsize,
    /// When anything last happened.
    last: Mutex<Instant>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            began: AtomicBool::new(false),
            owed: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.began.store(true, Ordering::SeqCst);
        self.owed.fetch_add(1, Ordering::SeqCst);
        self.working.fetch_add(1, Ordering::SeqCst);
        self.touch();
        Busy {
            activity: Arc::clone(self),
            working: true,
        }
    }

    /// Whether the connection ever asked anything.
    pub(super) fn has_begun(&self) -> bool {
        self.began.load(Ordering::SeqCst)
    }

    pub(super) fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when nothing happened for as long as `limits` allows.
    pub(super) async fn quiet(&self, limits: Limits) -> Quiet {
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
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

/// One answer that is owed; dropped when it was sent or will never be.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    working: bool,
}

impl Busy {
    pub(super) fn set_working(&mut self, working: bool) {
        self.activity.touch();
        match (self.working, working) {
            (false, true) => self.activity.working.fetch_add(1, Ordering::SeqCst),
            (true, false) => self.activity.working.fetch_sub(1, Ordering::SeqCst),
            _ => return,
        };
        self.working = working;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set_working(false);
        self.activity.owed.fetch_sub(1, Ordering::SeqCst);
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
    busy: Busy,
}

impl Owed {
    /// A body that is handed on in pieces of at most `piece_bytes`.
    pub(super) fn new(body: ResponseBody, piece_bytes: usize, mut busy: Busy) -> Self {
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
        let _held = Owed::new(full("answer"), 64, activity.begin());
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
        let mut body = Owed::new(full("0123456789"), 4, activity.begin());
        assert_eq!(body.size_hint().exact(), Some(10));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "0123");
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(6));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "456789");
    }
}
