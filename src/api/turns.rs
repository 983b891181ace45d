//! How many lists are put together at a time.
//!
//! Owns: [`Lists`], the turns of each kind of list, and [`MaxLists`], how many there are. A page is in memory twice for a moment, as it was read and as
//! it is written, before its room is known (over REST the turn ends before it is written, with nothing to wait for in between); and what looks at
//! every record keeps the disk and the index busy for seconds.
//! Never does: list, or count what a page takes; `documents.rs` does.
//!
//! Invariants: a turn lasts as long as its work, also when who asked for it has left. Who waits for a place among those that look at every record has
//! no turn meanwhile, so that lists that take a moment are not kept waiting for him.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::body::BodyError;
use crate::store::FileQuery;

/// Longest wait for one's turn to put a list together.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// Most lists of each kind that are put together at a time.
#[derive(Clone, Copy, Debug)]
pub struct MaxLists {
    /// Lists of keys, and of what else takes moments.
    pub keys: usize,
    /// Lists of files.
    pub files: usize,
    /// Lists of files that look at every record, no more than the store looks through at a time; they are lists of files besides.
    pub scans: usize,
    /// Uploads whose chunks are looked at; those of one take 1.5 MiB at most.
    pub chunks: usize,
}

impl Default for MaxLists {
    fn default() -> Self {
        Self {
            keys: 8,
            files: 8,
            scans: FileQuery::MAX_SCANS,
            chunks: 32,
        }
    }
}

/// The turns of each kind.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) keys: Turns,
    pub(super) files: Turns,
    pub(super) scans: Turns,
    pub(super) chunks: Turns,
}

impl Lists {
    pub(super) fn new(most: MaxLists) -> Self {
        let files = Turns::new(most.files);
        Self {
            keys: Turns::new(most.keys),
            scans: files.only(most.scans.min(FileQuery::MAX_SCANS)),
            files,
            chunks: Turns::new(most.chunks),
        }
    }
}

/// Turns to put lists of one kind together.
#[derive(Debug)]
pub(super) struct Turns {
    /// What a turn needs a place in, in this order.
    places: Vec<Arc<Semaphore>>,
}

/// A turn, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _places: Vec<OwnedSemaphorePermit>,
}

impl Turns {
    fn new(most: usize) -> Self {
        let places = vec![Arc::new(Semaphore::new(most))];
        Self { places }
    }

    /// So many of these turns at most.
    fn only(&self, most: usize) -> Self {
        let mut turns = Self::new(most);
        turns.places.extend(self.places.iter().cloned());
        turns
    }

    /// Has `work` done in a turn, which ends when what is returned beside its outcome is dropped. Work that has begun goes on when whoever asked for it has
    /// left, and so does its turn: it may be in a thread that cannot be called back.
    ///
    /// # Errors
    /// [`BodyError::NoTurn`] when the turn did not come within [`LONGEST_TURN`].
    pub(super) async fn take<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<(T, Turn), BodyError> {
        let turn = tokio::time::timeout(LONGEST_TURN, self.turn()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(BodyError::NoTurn)?;
        let done = tokio::spawn(async move { (work.await, turn) }).await;
        done.map_err(|error| match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => BodyError::NoTurn,
        })
    }

    async fn turn(&self) -> Result<Turn, AcquireError> {
        let mut places = Vec::with_capacity(self.places.len());
        for place in &self.places {
            places.push(Arc::clone(place).acquire_owned().await?);
        }
        Ok(Turn { _places: places })
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_lists_are_put_together_at_a_time_and_the_others_wait_for_their_turn() {
        let turns = Turns::new(2);
        let first = turns.take(async { "a page" }).await.unwrap();
        assert_eq!(first.0, "a page");
        let second = turns.take(ready(())).await.unwrap();
        let began = Instant::now();
        let refused = turns.take(ready(())).await;
        assert!(matches!(refused, Err(BodyError::NoTurn)));
        assert_eq!(began.elapsed(), LONGEST_TURN);
        drop(second);
        assert!(turns.take(ready(())).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn scans_that_wait_for_others_keep_no_list_waiting_and_those_at_work_have_a_turn() {
        let lists = Lists::new(MaxLists {
            files: 2,
            scans: 1,
            ..MaxLists::default()
        });
        let scan = lists.scans.take(ready(())).await.unwrap();
        let mut waiting: Vec<_> = (0..8)
            .map(|_| Box::pin(lists.scans.take(ready(()))))
            .collect();
        for scan in &mut waiting {
            assert!(futures_util::poll!(scan).is_pending());
        }
        let began = Instant::now();
        let quick = lists.files.take(ready(())).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        let mut further = Box::pin(lists.files.take(ready(())));
        assert!(
            futures_util::poll!(&mut further).is_pending(),
            "two at most"
        );
        drop((quick, scan));
        assert!(further.await.is_ok());
        assert!(waiting.remove(0).await.is_ok());
    }

    #[tokio::test]
    async fn a_turn_ends_with_its_work_also_when_nobody_waits_for_it() {
        let turns = Turns::new(1);
        let (finish, finished) = oneshot::channel::<()>();
        let mut asking = Box::pin(turns.take(finished));
        assert!(futures_util::poll!(&mut asking).is_pending());
        drop(asking);
        assert!(
            turns.places[0].try_acquire().is_err(),
            "it is still at work"
        );
        finish.send(()).unwrap();
        assert!(turns.take(ready(())).await.is_ok());
    }

    #[tokio::test]
    #[should_panic(expected = "no page")]
    async fn work_that_panics_panics_where_it_is_waited_for() {
        let turns = Turns::new(1);
        let work = async { panic!("no page") };
        let _never: Result<((), _), _> = turns.take(work).await;
    }
}
