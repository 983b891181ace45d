//! Who is connected, and who gives way when there is no room.
//!
//! Owns: [`Crowd`], the limit on connections of one listener, and [`Seat`], the right to one of them. When all are taken, the
//! connection that has been quiet longest is let go for a newcomer, so that strangers who only sit there cannot keep others
//! out. A connection that asks nothing may go after [`IDLE_PATIENCE`], one in the middle of a request when nothing of it moved
//! for [`STANDING_PATIENCE`], one that takes its answer after [`SENDING_PATIENCE`], one that waits for us never. Until one may go,
//! the newcomer waits; while newcomers wait, patience with requests of which hardly anything came shrinks down to [`LEAST_PATIENCE`],
//! for a thousand that came together would keep everybody else out together. And for somebody who found no room for a document the one goes that
//! keeps most from others of those who are too slow for theirs.
//!
//! Never does: accept, read or write; a connection learns by its [`Seat::leave`] that it must go.
//!
//! Invariants: at most `most` connections have a seat; who is told to go is told once, and its seat is free when it has gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Patience};

/// How long a connection that asks nothing is left alone. A client that has just connected, or thinks between two requests,
/// must not go before those who came to sit.
const IDLE_PATIENCE: Duration = Duration::from_millis(500);

/// How long a request may stand still. Clients on bad networks are silent for a second or two now and then.
const STANDING_PATIENCE: Duration = Duration::from_secs(2);

/// How long at least one of which hardly anything came may, however many newcomers wait. It is halved down to this while they do; an
/// upload that is under way keeps its patience.
const LEAST_PATIENCE: Duration = Duration::from_millis(750);

/// Time after which patience is full again, when nobody had to wait for it to shrink further: a server that is merely full
/// goes on being patient with clients on bad networks.
const PATIENCE_RETURNS: Duration = Duration::from_secs(1);

/// How long an answer that is under way may stand still. The kernel's buffers hold megabytes and tell of progress only when a third
/// of them is free again, which takes a client with 200 KB/s several seconds.
const SENDING_PATIENCE: Duration = Duration::from_secs(10);

/// Time after which who was asked to go no longer counts as going: somebody else may have got that seat.
const LEAVING_TIME: Duration = Duration::from_secs(1);

/// Time until a newcomer looks again, when nobody could be let go.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Time between two lines in the log that say how many were let go.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Crowd {
    seats: Arc<Semaphore>,
    seated: Mutex<Seated>,
}

#[derive(Debug)]
struct Seated {
    by_number: HashMap<u64, (Arc<Activity>, CancellationToken)>,
    next: u64,
    patience: Patience,
    /// When patience last shrank.
    shrank: Option<Instant>,
    /// Who was told last to go for what it holds, and when.
    going: Option<(Arc<Activity>, Instant)>,
    /// Let go since the log was told.
    let_go: u64,
    told: Option<Instant>,
}

/// The right of one connection to be here; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    /// How busy the connection is; it keeps this true.
    pub(super) activity: Arc<Activity>,
    /// Cancelled when the connection must go.
    pub(super) leave: CancellationToken,
    number: u64,
    pub(super) crowd: Arc<Crowd>,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// Room for `most` connections.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            seats: Arc::new(Semaphore::new(most)),
            seated: Mutex::new(Seated {
                by_number: HashMap::new(),
                next: 0,
                patience: Patience {
                    idle: IDLE_PATIENCE,
                    standing: STANDING_PATIENCE,
                    unproven: STANDING_PATIENCE,
                    sending: SENDING_PATIENCE,
                },
                shrank: None,
                going: None,
                let_go: 0,
                told: None,
            }),
        })
    }

    /// A seat for a newcomer; makes room when there is none. `None` only if no seat will ever be free.
    pub(super) async fn admit(self: &Arc<Self>) -> Option<Seat> {
        if let Ok(permit) = Arc::clone(&self.seats).try_acquire_owned() {
            return Some(self.seat(permit));
        }
        let mut asked: Option<Instant> = None;
        loop {
            // One for one: who was asked to go may need a moment.
            if asked.is_none_or(|asked| asked.elapsed() >= LEAVING_TIME) {
                asked = self.let_go_of_the_quietest().then(Instant::now);
            }
            let waiting = Arc::clone(&self.seats).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK_AGAIN, waiting).await {
                return permit.ok().map(|permit| self.seat(permit));
            }
            if asked.is_none() {
                self.seated().lose_patience();
            }
        }
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Seat {
        let (activity, leave) = (Arc::new(Activity::new()), CancellationToken::new());
        let mut seated = self.seated();
        let number = seated.next;
        seated.next += 1;
        let known = (Arc::clone(&activity), leave.clone());
        seated.by_number.insert(number, known);
        Seat {
            activity,
            leave,
            number,
            crowd: Arc::clone(self),
            _permit: permit,
        }
    }

    fn let_go_of_the_quietest(&self) -> bool {
        let mut seated = self.seated();
        let patience = seated.patience_now();
        let Some(number) = seated.most(|activity| activity.quiet_for(patience)) else {
            return false;
        };
        seated.let_go(number);
        seated.tell();
        true
    }

    /// Lets go of the connection that keeps most from others of those that are too slow for their documents; whether somebody goes. Nobody does while one is on
    /// his way out, for what he holds may be room enough, nor when all have caught up. Called when somebody is to go: all are looked at.
    pub(super) fn let_go_of_the_largest(&self) -> bool {
        let mut seated = self.seated();
        if seated.is_somebody_going() {
            return false;
        }
        let largest = seated.most(Activity::holds);
        if let Some(number) = largest {
            seated.let_go(number);
        }
        largest.is_some()
    }

    fn seated(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seated {
    /// The one of which there is most by this measure, if there is one.
    fn most<T: Ord>(&self, measure: impl Fn(&Activity) -> Option<T>) -> Option<u64> {
        let candidates = self.by_number.iter();
        let candidates =
            candidates.filter_map(|(number, (activity, _))| Some((measure(activity)?, *number)));
        candidates.max().map(|(_, number)| number)
    }

    /// Tells one to go.
    fn let_go(&mut self, number: u64) {
        if let Some((activity, leave)) = self.by_number.remove(&number) {
            leave.cancel();
            // Who goes for his seat alone makes no room.
            if activity.has_documents() {
                self.going = Some((activity, Instant::now()));
            }
        }
    }

    /// Whether the documents of who was told last to go for them are still here.
    fn is_somebody_going(&self) -> bool {
        let going = self.going.as_ref();
        going.is_some_and(|(activity, told)| {
            activity.has_documents() && told.elapsed() < LEAVING_TIME
        })
    }

    fn patience_now(&mut self) -> Patience {
        if self
            .shrank
            .is_some_and(|at| at.elapsed() >= PATIENCE_RETURNS)
        {
            self.shrank = None;
            self.patience.unproven = STANDING_PATIENCE;
        }
        self.patience
    }

    fn lose_patience(&mut self) {
        let unproven = &mut self.patience.unproven;
        *unproven = (*unproven / 2).max(LEAST_PATIENCE);
        self.shrank = Some(Instant::now());
    }

    fn tell(&mut self) {
        self.let_go += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL_INTERVAL) {
            return;
        }
        tracing::warn!(
            let_go = self.let_go,
            "as many connections as server.max_connections allows: the quietest are let go for newcomers"
        );
        self.told = Some(Instant::now());
        self.let_go = 0;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.seated().by_number.remove(&self.number);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::owed::Owed;
    use super::*;
    use crate::api::body::full;

    async fn admitted(crowd: &Arc<Crowd>) -> Option<Seat> {
        let admitted = tokio::time::timeout(IDLE_PATIENCE / 4, crowd.admit()).await;
        admitted.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_the_seat_of_the_one_that_has_been_quiet_longest() {
        let crowd = Crowd::new(3);
        let mut seats = Vec::new();
        for _ in 0..3 {
            seats.push(crowd.admit().await.unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(admitted(&crowd).await.is_none(), "all have just come");
        assert!(!seats.iter().any(|seat| seat.leave.is_cancelled()));
        tokio::time::sleep(IDLE_PATIENCE).await;
        // The first asked something just now, so the second has been quiet longest.
        drop(seats[0].activity.begin());
        assert!(admitted(&crowd).await.is_none(), "nobody has gone yet");
        assert!(!seats[0].leave.is_cancelled() && seats[1].leave.is_cancelled());
        drop(seats.remove(1));
        assert!(admitted(&crowd).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_large_answer_slowly_keeps_the_seat_also_when_the_last_of_it_is_in_our_buffers()
     {
        use http_body_util::BodyExt;
        let crowd = Crowd::new(1);
        let seat = crowd.admit().await.unwrap();
        let busy = Arc::new(seat.activity.begin());
        let large = full(vec![0; 1 << 20]);
        let mut answer = Owed::new(large, usize::MAX, busy);
        assert!(answer.frame().await.is_some());
        drop(answer);
        tokio::time::sleep(SENDING_PATIENCE / 2).await;
        assert!(admitted(&crowd).await.is_none());
        assert!(!seat.leave.is_cancelled());
        tokio::time::sleep(SENDING_PATIENCE).await;
        assert!(admitted(&crowd).await.is_none());
        assert!(seat.leave.is_cancelled());
    }

    /// A connection that sent so many bytes of a request and then nothing, until it is told to go.
    fn stand_still(seat: Seat, bytes: usize) {
        use futures_util::{StreamExt, stream};
        use http_body_util::{BodyExt, StreamBody};
        let busy = Arc::new(seat.activity.begin());
        tokio::spawn(async move {
            let sent = http_body::Frame::data(bytes::Bytes::from(vec![0; bytes]));
            let sent = stream::once(std::future::ready(std::io::Result::Ok(sent)));
            let silent = sent.chain(stream::pending());
            let mut body = super::super::awaited::Awaited::new(StreamBody::new(silent), busy);
            let reading = async { while body.frame().await.is_some() {} };
            tokio::select! {
                () = reading => {}
                () = seat.leave.cancelled() => {}
            }
        });
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_is_under_way_keeps_its_patience_while_newcomers_wait() {
        for (bytes, lets_go) in [(100, true), (4096, false)] {
            let crowd = Crowd::new(1);
            let seat = crowd.admit().await.unwrap();
            stand_still(seat, bytes);
            let waiting = tokio::time::timeout(STANDING_PATIENCE * 3 / 4, crowd.admit());
            assert_eq!(waiting.await.is_ok(), lets_go, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_came_at_once_and_stands_still_keeps_newcomers_out_for_less_than_a_second()
    {
        let crowd = Crowd::new(8);
        for _ in 0..8 {
            stand_still(crowd.admit().await.unwrap(), 100);
        }
        tokio::time::sleep(IDLE_PATIENCE / 4).await;
        let began = Instant::now();
        let _honest = crowd.admit().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(crowd.seated().patience_now().unproven < STANDING_PATIENCE);
        tokio::time::sleep(PATIENCE_RETURNS).await;
        assert_eq!(crowd.seated().patience_now().unproven, STANDING_PATIENCE);
    }

    /// A connection that takes nothing of documents of so many bytes.
    pub(in super::super) async fn hoards(
        crowd: &Arc<Crowd>,
        documents: &[usize],
    ) -> (Seat, Vec<Owed>) {
        let seat = crowd.admit().await.unwrap();
        let owed = documents.iter().map(|bytes| {
            let busy = Arc::new(seat.activity.begin());
            Owed::new(full(vec![0; *bytes]), usize::MAX, busy)
        });
        let owed = owed.collect();
        (seat, owed)
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_who_are_too_slow_for_their_documents_who_holds_most_goes_first() {
        let crowd = Crowd::new(8);
        // All but the last come a moment apart.
        let mut hoarders = Vec::new();
        for documents in [
            [20 << 10].as_slice(),
            &[1 << 20; 4],
            &[3 << 20],
            &[2 << 20, 1 << 20],
        ] {
            hoarders.push(hoards(&crowd, documents).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        hoarders.push(hoards(&crowd, &[10 << 20]).await);
        for expected in [
            [1].as_slice(),
            // Of two that hold as much the one that is further behind.
            &[1, 2],
            &[1, 2, 3],
            &[0, 1, 2, 3],
            // The largest of all is not slow yet.
            &[0, 1, 2, 3],
        ] {
            crowd.let_go_of_the_largest();
            let mut gone = Vec::new();
            for (which, (seat, documents)) in hoarders.iter_mut().enumerate() {
                if seat.leave.is_cancelled() {
                    gone.push(which);
                    documents.clear();
                }
            }
            assert_eq!(gone, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_late_by_a_moment_with_much_stays_while_others_take_nothing_of_less() {
        let crowd = Crowd::new(3);
        let (one, _first) = hoards(&crowd, &[500 << 10]).await;
        let (two, _second) = hoards(&crowd, &[500 << 10]).await;
        tokio::time::sleep(Duration::from_secs(18)).await;
        let (honest, _list) = hoards(&crowd, &[1 << 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(crowd.let_go_of_the_largest());
        assert!(!honest.leave.is_cancelled());
        assert!(one.leave.is_cancelled() || two.leave.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn while_somebody_is_on_his_way_out_with_what_he_holds_nobody_else_goes() {
        let crowd = Crowd::new(2);
        let (large, lists) = hoards(&crowd, &[1 << 20]).await;
        let (small, _list) = hoards(&crowd, &[20 << 10]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(crowd.let_go_of_the_largest());
        assert!(large.leave.is_cancelled());
        assert!(!crowd.let_go_of_the_largest(), "his room is on its way");
        drop(large);
        assert!(
            !crowd.let_go_of_the_largest(),
            "what the protocol has of it is still here"
        );
        assert!(!small.leave.is_cancelled());
        drop(lists);
        assert!(crowd.let_go_of_the_largest());
        assert!(small.leave.is_cancelled());
        assert!(!crowd.let_go_of_the_largest(), "nobody is left");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_for_his_seat_alone_does_not_have_more_go_for_what_they_hold() {
        let crowd = Crowd::new(3);
        let (large, _lists) = hoards(&crowd, &[1 << 20]).await;
        let (small, _list) = hoards(&crowd, &[20 << 10]).await;
        let idle = crowd.admit().await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(crowd.let_go_of_the_largest());
        assert!(large.leave.is_cancelled());
        assert!(admitted(&crowd).await.is_none(), "nobody has gone yet");
        assert!(idle.leave.is_cancelled());
        assert!(!crowd.let_go_of_the_largest(), "his room is on its way");
        assert!(!small.leave.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_go_keeps_the_others_for_a_second() {
        let crowd = Crowd::new(2);
        let _hoarders = [
            hoards(&crowd, &[1 << 20]).await,
            hoards(&crowd, &[1 << 20]).await,
        ];
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(crowd.let_go_of_the_largest());
        tokio::time::sleep(LEAVING_TIME - Duration::from_millis(1)).await;
        assert!(!crowd.let_go_of_the_largest(), "he has a moment left");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(crowd.let_go_of_the_largest());
        assert!(crowd.seated().by_number.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_us_is_never_let_go() {
        let crowd = Crowd::new(1);
        let seat = crowd.admit().await.unwrap();
        let waiting = seat.activity.begin();
        tokio::time::sleep(10 * STANDING_PATIENCE).await;
        assert!(admitted(&crowd).await.is_none());
        assert!(!seat.leave.is_cancelled());
        drop(waiting);
        tokio::time::sleep(IDLE_PATIENCE).await;
        assert!(admitted(&crowd).await.is_none());
        assert!(seat.leave.is_cancelled());
    }
}
