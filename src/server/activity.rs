//! How busy a connection is, and how long it may be quiet.
//!
//! Owns: [`Activity`], which counts the answers that are owed and knows whether they wait for us or for the peer; bodies report it, that
//! of a request in `awaited.rs`, that of an answer in `owed.rs`. HTTP/2 needs this: a peer that opens no stream,
//! or takes no more of an answer, keeps its connection alive by answering pings. HTTP/1.1 too: a few bytes now and then satisfy its socket. And
//! `crowd.rs`, which must know who may go.
//!
//! Never does: end a connection; `connection.rs` does. Say who is to go for others; `crowd.rs` does.
//!
//! Invariants: an answer is owed from its request to the last piece handed to the protocol, a document until its last byte was sent, also when it
//! is dropped. Bytes that only trickle in are no sign of life, and keep no answer that nobody takes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Options;
use super::taking::{Overdue, Taking};

/// Longer than any connection.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A write of at least this many bytes carries an answer: the peer takes it, so it is not quiet. Pings, acknowledgements, and answers in
/// crumbs, are smaller.
const PROGRESS_BYTES: usize = 256;

/// How often it is looked, while documents are on their way, whether they are overdue.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a connection may be quiet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Before its first request.
    pub(super) fresh: Duration,
    /// Between requests. The last piece of an answer may still be on its way then.
    pub(super) idle: Duration,
    /// How far behind the peer may be with taking the answers that it is owed; see [`Taking`].
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

    /// Where the protocol watches the rest.
    pub(super) fn of_answers(options: &Options) -> Self {
        Self {
            stalled: options.body_idle_timeout,
            ..Self::none()
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
    /// How fast the peer takes what it is owed.
    taking: Taking,
    /// Told when a document is on its way: whoever watches looks from then on.
    document_owed: Notify,
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
            taking: Taking::default(),
            document_owed: Notify::new(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.began.store(true, Ordering::SeqCst);
        self.sending_much.store(false, Ordering::SeqCst);
        self.owed.fetch_add(1, Ordering::SeqCst);
        self.working.fetch_add(1, Ordering::SeqCst);
        self.turned();
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

    /// The peer made room for so many bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.taking.took(bytes);
        if bytes >= PROGRESS_BYTES {
            self.touch();
        }
    }

    /// Something was asked, answered or handed on; to be called behind each change of the counts.
    fn turned(&self) {
        self.touch();
        self.count();
    }

    /// Has it counted from now on for whom the answers wait.
    fn count(&self) {
        let owed = self.owed.load(Ordering::SeqCst) > 0;
        self.taking
            .turned(owed, self.kind() == Some(Quiet::Stalled));
    }

    /// Whether an answer waits for the peer to take more of it.
    fn sends(&self) -> bool {
        self.owed.load(Ordering::SeqCst) > self.working.load(Ordering::SeqCst)
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

    /// Whether documents are on their way.
    pub(super) fn has_documents(&self) -> bool {
        self.taking.has_documents()
    }

    /// What it holds of documents for which it is too slow, if others want the room.
    pub(super) fn holds(&self) -> Option<Overdue> {
        self.taking.overdue()
    }

    /// Returns when it is too slow for the documents that are on their way, at the next look.
    pub(super) async fn overdue(&self) {
        loop {
            match self.has_documents() {
                true => tokio::time::sleep(LOOK_AGAIN).await,
                false => self.document_owed.notified().await,
            }
            if self.holds().is_some() {
                return;
            }
        }
    }

    /// Returns when nothing happened for as long as `limits` allows.
    pub(super) async fn quiet(&self, limits: Limits) -> Quiet {
        loop {
            let silent = self.last().elapsed();
            let (kind, quiet, limit) = match self.kind() {
                Some(Quiet::Fresh) => (Quiet::Fresh, silent, limits.fresh),
                Some(Quiet::Idle) => (Quiet::Idle, silent, limits.idle),
                Some(kind) => (kind, self.taking.behind(), limits.stalled),
                // The deadlines of work are its own; look again later.
                None => {
                    tokio::time::sleep(limits.stalled).await;
                    continue;
                }
            };
            if quiet >= limit {
                return kind;
            }
            // Never past the shortest limit, for meanwhile it may be quiet in another way.
            tokio::time::sleep((limit - quiet).min(limits.stalled)).await;
        }
    }

    /// What kind of quiet it would be now; `None` while we work, or for the rest of requests alone, whose bodies have their own deadlines.
    fn kind(&self) -> Option<Quiet> {
        let owed = self.owed.load(Ordering::SeqCst) > 0;
        let working = self.working.load(Ordering::SeqCst);
        let receiving = self.receiving.load(Ordering::SeqCst);
        match owed {
            true if working > receiving => None,
            true => self.sends().then_some(Quiet::Stalled),
            false if self.began.load(Ordering::SeqCst) => Some(Quiet::Idle),
            false => Some(Quiet::Fresh),
        }
    }
}

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
    /// Much of its answer is on its way.
    pub(super) fn sends_much(&self) {
        self.activity.sending_much.store(true, Ordering::SeqCst);
    }

    /// A document of so many bytes is on its way.
    pub(super) fn document(&self, bytes: usize) {
        self.activity.taking.document(bytes);
        self.activity.document_owed.notify_one();
    }

    /// So many bytes of it are gone.
    pub(super) fn document_took(&self, bytes: usize) {
        self.activity.taking.document_took(bytes);
    }

    /// It is gone.
    pub(super) fn document_gone(&self, bytes: usize) {
        self.activity.taking.document_gone(bytes);
    }

    pub(super) fn set_working(&self, working: bool) {
        self.turn(if working { OURS } else { SENDING });
        self.activity.turned();
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
    pub(super) fn receiving(&self) {
        if self.turn_from(OURS, RECEIVING) {
            self.activity.receiving.fetch_add(1, Ordering::SeqCst);
            self.recount();
        }
    }

    /// It did.
    pub(super) fn received(&self) {
        if self.turn_from(RECEIVING, OURS) {
            self.activity.receiving.fetch_sub(1, Ordering::SeqCst);
            self.recount();
        }
    }

    /// So many bytes of its request came, which count while other answers wait for the peer.
    pub(super) fn came(&self, bytes: usize) {
        if bytes > 0 && self.activity.sends() {
            self.activity.taking.took(bytes);
        }
    }

    /// Enough of its request came to be a sign of life.
    pub(super) fn moved(&self) {
        self.activity.moved.store(true, Ordering::SeqCst);
        self.activity.touch();
    }

    /// This turn is no sign of life, but other answers may wait for the peer alone from now on, or for us.
    fn recount(&self) {
        if self.activity.sends() {
            self.activity.count();
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
        self.turn(SENDING);
        self.activity.owed.fetch_sub(1, Ordering::SeqCst);
        self.activity.turned();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::owed::Owed;
    use super::*;
    use crate::api::body::full;
    use crate::api::documents::SMALL_DOCUMENT_BYTES;
    use http_body_util::BodyExt;

    pub(in super::super) const LIMITS: Limits = Limits {
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

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_document_is_overdue_soon_and_of_a_small_one_never() {
        let large = SMALL_DOCUMENT_BYTES + 1;
        for (bytes, overdue_after) in [(large, Some(2)), (SMALL_DOCUMENT_BYTES, None)] {
            let activity = Arc::new(Activity::new());
            let document = full(vec![0; bytes]);
            let _held = Owed::new(document, usize::MAX, Arc::new(activity.begin()));
            let began = Instant::now();
            let watched = tokio::time::timeout(LIMITS.stalled, activity.overdue()).await;
            let after = watched.is_ok().then(|| began.elapsed().as_secs());
            assert_eq!(after, overdue_after);
            assert_eq!(activity.holds().is_some(), after.is_some());
            assert_eq!(activity.quiet(LIMITS).await, Quiet::Stalled);
            assert_eq!(began.elapsed(), LIMITS.stalled);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_crumbs_nor_work_nor_what_the_protocol_has_keep_the_room_of_a_document() {
        let activity = Arc::new(Activity::new());
        let _working = activity.begin();
        let bytes = SMALL_DOCUMENT_BYTES + 1;
        let mut body = Owed::new(full(vec![0; bytes]), usize::MAX, Arc::new(activity.begin()));
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece.len(), SMALL_DOCUMENT_BYTES);
        drop(body);
        let began = Instant::now();
        let crumbs = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                activity.took(8 << 10);
            }
        };
        tokio::select! {
            () = crumbs => panic!("it keeps the room"),
            () = activity.overdue() => {}
        }
        let took = began.elapsed().as_secs_f64();
        assert!((2.0..2.6).contains(&took), "{took} s");
        drop(piece);
        let waited = Duration::from_secs(3600);
        let waited = tokio::time::timeout(waited, activity.overdue()).await;
        assert!(waited.is_err(), "it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_watches_hears_of_a_document_that_comes_later() {
        let activity = Arc::new(Activity::new());
        let _working = activity.begin();
        let bytes = 2 * SMALL_DOCUMENT_BYTES;
        let began = Instant::now();
        let asking = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let document = full(vec![0; bytes]);
            let held = Owed::new(document, usize::MAX, Arc::new(activity.begin()));
            std::future::pending::<()>().await;
            drop(held);
        };
        tokio::select! {
            () = asking => {}
            () = activity.overdue() => {}
            () = tokio::time::sleep(LIMITS.stalled) => {}
        }
        let took = began.elapsed().as_secs_f64();
        assert!((2.1..2.7).contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_our_own_command_asked_for_may_wait_for_ever() {
        let activity = Arc::new(Activity::new());
        let document = full(vec![0; 2 * SMALL_DOCUMENT_BYTES]);
        let _held = Owed::new(document, usize::MAX, Arc::new(activity.begin()));
        let waited = Duration::from_secs(24 * 3600);
        let waited = tokio::time::timeout(waited, activity.quiet(Limits::none())).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn crumbs_and_small_questions_keep_no_connection_that_takes_nothing_else() {
        let activity = Arc::new(Activity::new());
        let _held = Owed::new(full("answer"), 64, Arc::new(activity.begin()));
        let began = Instant::now();
        let crumbs = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                activity.took(PROGRESS_BYTES);
                drop(activity.begin());
            }
        };
        tokio::select! {
            () = crumbs => {}
            quiet = activity.quiet(LIMITS) => assert_eq!(quiet, Quiet::Stalled),
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(23), "{took:?}");
    }
}
