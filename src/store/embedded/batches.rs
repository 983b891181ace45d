//! The batches of one chunk, worked off beside their arrival.
//!
//! Owns: [`Batches`], the batches that wait for one worker, in order, and the turns of whoever lends it a thread: a blocking task
//! while more bytes arrive, or the one that asks for the result, which helps instead of waiting. A chunk has two: one hashes it, the other
//! writes it, and neither waits for the other.
//! Never does: copy bytes, or keep a thread: a task ends when nothing waits, so a slow client holds none, and begins again behind others
//! after [`MAX_AT_A_TIME`] batches, so a fast one does not either.
//!
//! Invariants:
//! 1. One worker, and batches in the order in which they came; none after one that failed.
//! 2. At most [`MAX_WAITING`] batches wait or are at work while the writer gathers; it waits for room.
//! 3. Nobody waits for a task that has not begun: with every blocking thread taken the result still comes.
//! 4. When the writer is dropped, what waits is dropped too, and the worker with the batch that it is at.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::sync::{Condvar, Handle, Mutex, MutexGuard, TaskTracker};
use crate::model::Hasher;
use crate::store::StoreError;

/// Batches of one chunk that may wait, with the one that is at work.
pub(super) const MAX_WAITING: usize = 7;

/// Batches that a task works off before others get its thread.
const MAX_AT_A_TIME: usize = 8;

/// What takes batches, one after the other.
pub(super) trait Worker: Send + 'static {
    /// Takes the next batch. After a failure it gets none.
    fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError>;
}

impl Worker for Hasher {
    fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        batch.iter().for_each(|slice| self.update(slice));
        Ok(())
    }
}

/// The worker of one chunk, and what waits for it.
pub(super) struct Batches<W: Worker>(Arc<Shared<W>>);

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    /// Somebody gave the turn back.
    free: Condvar,
    /// A batch was taken from the queue.
    taken: Notify,
}

struct Queue<W> {
    waiting: VecDeque<Vec<Bytes>>,
    turn: Turn<W>,
    /// A task was spawned that has not begun; there is no need for another.
    is_called: bool,
}

enum Turn<W> {
    Free(Box<W>),
    Taken,
    /// The worker failed with this error, or panicked; there will be no result.
    Lost(Option<StoreError>),
}

impl<W: Worker> Batches<W> {
    /// Nothing waits yet.
    pub(super) fn of(worker: W) -> Self {
        let turn = Turn::Free(Box::new(worker));
        let waiting = VecDeque::new();
        Self(Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting,
                turn,
                is_called: false,
            }),
            free: Condvar::new(),
            taken: Notify::new(),
        }))
    }

    /// Waits until fewer batches than `limit` says at that time, and fewer than [`MAX_WAITING`], wait or are at work.
    ///
    /// # Errors
    /// What the worker failed with.
    pub(super) async fn room(&self, limit: impl Fn() -> usize) -> Result<(), StoreError> {
        loop {
            let taken = self.0.taken.notified();
            if self.0.has_room(limit().min(MAX_WAITING))? {
                return Ok(());
            }
            taken.await;
        }
    }

    /// Adds a batch that whoever asks for the result will work off.
    pub(super) fn add(&self, batch: Vec<Bytes>) {
        self.0.lock().waiting.push_back(batch);
    }

    /// Adds a batch and has it worked off by a task of its own.
    pub(super) fn add_beside(&self, batch: Vec<Bytes>, tasks: &TaskTracker) {
        self.add(batch);
        if self.0.lock().must_call() {
            let (beside, more) = (Arc::clone(&self.0), tasks.clone());
            tasks.spawn_blocking(move || beside.work_off_beside(&more));
        }
    }

    /// The worker, which has taken all that was added. Blocks.
    ///
    /// # Errors
    /// What the worker failed with.
    pub(super) fn finish(self) -> Result<W, StoreError> {
        loop {
            self.0.work_off(usize::MAX);
            let mut queue = self.0.lock();
            match std::mem::replace(&mut queue.turn, Turn::Lost(None)) {
                Turn::Free(worker) if queue.waiting.is_empty() => return Ok(*worker),
                // Given back meanwhile by a task that had done its share.
                free @ Turn::Free(_) => {
                    queue.turn = free;
                    continue;
                }
                Turn::Lost(error) => return Err(error.unwrap_or_else(gone)),
                Turn::Taken => queue.turn = Turn::Taken,
            }
            let waited = self.0.free.wait(queue);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl<W: Worker> Drop for Batches<W> {
    fn drop(&mut self) {
        let dropped = std::mem::take(&mut self.0.lock().waiting);
        drop(dropped);
    }
}

impl<W: Worker> Shared<W> {
    fn has_room(&self, limit: usize) -> Result<bool, StoreError> {
        let mut queue = self.lock();
        match &mut queue.turn {
            Turn::Lost(error) => Err(error.take().unwrap_or_else(gone)),
            turn => Ok(usize::from(matches!(turn, Turn::Taken)) + queue.waiting.len() < limit),
        }
    }

    /// Works off some of what waits; the rest has its turn behind whatever else waits for a thread.
    fn work_off_beside(self: Arc<Self>, tasks: &TaskTracker) {
        self.lock().is_called = false;
        self.work_off(MAX_AT_A_TIME);
        if let Ok(runtime) = Handle::try_current()
            && self.lock().must_call()
        {
            let more = tasks.clone();
            tasks.spawn_blocking_on(move || self.work_off_beside(&more), &runtime);
        }
    }

    /// Works off what waits, at most `most` batches, unless somebody else is at it.
    fn work_off(&self, most: usize) {
        let mut queue = self.lock();
        let mut turn = match std::mem::replace(&mut queue.turn, Turn::Taken) {
            free @ Turn::Free(_) => MyTurn {
                home: self,
                turn: free,
            },
            other => {
                queue.turn = other;
                return;
            }
        };
        for _ in 0..most {
            let Some(batch) = queue.waiting.pop_front() else {
                break;
            };
            drop(queue);
            self.taken.notify_one();
            turn.absorb(&batch);
            drop(batch);
            queue = self.lock();
        }
        turn.give_back(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        let queue = self.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Queue<W> {
    /// Whether somebody must be called for what waits; from then on somebody is. Whoever has the turn sees to the rest, and a worker that
    /// is lost gets none.
    fn must_call(&mut self) -> bool {
        let is_free = matches!(self.turn, Turn::Free(_));
        let must = is_free && !self.is_called && !self.waiting.is_empty();
        self.is_called |= must;
        must
    }
}

impl<W: Worker> fmt::Debug for Batches<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batches")
    }
}

/// The turn, given back also when the worker panics.
struct MyTurn<'a, W: Worker> {
    home: &'a Shared<W>,
    /// What the turn will be; a worker that is at work and panics is lost.
    turn: Turn<W>,
}

impl<W: Worker> MyTurn<'_, W> {
    fn absorb(&mut self, batch: &[Bytes]) {
        match std::mem::replace(&mut self.turn, Turn::Lost(None)) {
            Turn::Free(mut worker) => {
                self.turn = match worker.absorb(batch) {
                    Ok(()) => Turn::Free(worker),
                    Err(error) => Turn::Lost(Some(error)),
                };
            }
            lost => self.turn = lost,
        }
    }

    /// With the lock that saw what waits, so that a batch which is added then finds the turn free.
    fn give_back(mut self, mut queue: MutexGuard<'_, Queue<W>>) {
        queue.turn = std::mem::replace(&mut self.turn, Turn::Taken);
    }
}

impl<W: Worker> Drop for MyTurn<'_, W> {
    fn drop(&mut self) {
        // It was given back otherwise.
        if let lost @ Turn::Lost(_) = std::mem::replace(&mut self.turn, Turn::Taken) {
            self.home.lock().turn = lost;
        }
        self.home.free.notify_all();
        self.home.taken.notify_one();
    }
}

/// The error of a chunk some of which was lost on its way, after what lost it was told or where there is nothing to tell.
pub(super) fn gone() -> StoreError {
    let cause = std::io::Error::other("an earlier part of this chunk was not written or hashed");
    StoreError::failed("write a chunk", cause)
}

#[cfg(all(test, feature = "schedules"))]
#[allow(clippy::unwrap_used, reason = "a test fails loudly")]
mod schedules {
    use shuttle::future::block_on;

    use super::*;

    const SCHEDULES: usize = 2000;
    /// More than a task works off at a time, twice.
    const BATCHES: usize = 2 * MAX_AT_A_TIME + 4;

    /// Notes the lengths of what it is given.
    struct Notes(Vec<usize>);

    impl Worker for Notes {
        fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
            self.0.push(batch.len());
            Ok(())
        }
    }

    fn in_every_schedule(test: impl Fn() + Clone + Send + Sync + 'static) {
        shuttle::check_random(test.clone(), SCHEDULES);
        shuttle::check_pct(test, SCHEDULES, 3);
    }

    fn check(noting: Batches<Notes>) {
        let noted = noting.finish().unwrap().0;
        assert_eq!(noted, (0..BATCHES).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_asks_gets_a_worker_that_took_every_batch_in_order_in_every_schedule() {
        in_every_schedule(|| {
            let (noting, tasks) = (Batches::of(Notes(Vec::new())), TaskTracker::default());
            block_on(async {
                for length in 0..BATCHES {
                    noting.add_beside(vec![Bytes::new(); length], &tasks);
                }
                check(noting);
            });
        });
    }

    #[test]
    fn somebody_is_called_for_every_batch_in_every_schedule() {
        in_every_schedule(|| {
            let (noting, tasks) = (Batches::of(Notes(Vec::new())), TaskTracker::default());
            block_on(async {
                for length in 0..BATCHES {
                    noting.room(|| MAX_WAITING).await.unwrap();
                    noting.add_beside(vec![Bytes::new(); length], &tasks);
                }
                // Nobody helps here: a batch for which nobody was called would wait for ever.
                noting.room(|| 1).await.unwrap();
                check(noting);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::Digests;

    fn batches() -> Vec<Vec<Bytes>> {
        let slice = |n: usize| Bytes::from(vec![n as u8; 1000 * n + 1]);
        (0..20).map(|n| vec![slice(n), slice(n + 1)]).collect()
    }

    fn expected() -> Digests {
        let mut hasher = Hasher::default();
        let slices = batches().into_iter().flatten();
        slices.for_each(|slice| hasher.update(&slice));
        hasher.finish()
    }

    fn hashing() -> Batches<Hasher> {
        Batches::of(Hasher::default())
    }

    /// Fails or panics at its second batch, and counts those it was given.
    struct Second(Arc<Mutex<usize>>, fn() -> Result<(), StoreError>);

    impl Worker for Second {
        fn absorb(&mut self, _: &[Bytes]) -> Result<(), StoreError> {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            let is_second = *count == 2;
            drop(count);
            if is_second { (self.1)() } else { Ok(()) }
        }
    }

    #[test]
    fn whoever_asks_works_off_what_nobody_has_begun() {
        let hashing = hashing();
        batches().into_iter().for_each(|batch| hashing.add(batch));
        assert_eq!(hashing.finish().unwrap().finish(), expected());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_come_out_in_order_and_never_more_wait_than_may() {
        for limit in [1, 2, MAX_WAITING, MAX_WAITING + 9] {
            let (hashing, tasks) = (hashing(), TaskTracker::default());
            for batch in batches() {
                hashing.room(|| limit).await.unwrap();
                hashing.add_beside(batch, &tasks);
                assert!(hashing.0.lock().waiting.len() <= limit.min(MAX_WAITING));
            }
            let hasher = tokio::task::spawn_blocking(move || hashing.finish()).await;
            assert_eq!(hasher.unwrap().unwrap().finish(), expected());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn after_a_failure_no_batch_is_taken_and_the_error_is_told_once() {
        let (count, tasks) = (Arc::default(), TaskTracker::default());
        let failing = Batches::of(Second(Arc::clone(&count), || Err(StoreError::Busy)));
        batches().into_iter().for_each(|batch| failing.add(batch));
        failing.add_beside(Vec::new(), &tasks);
        tasks.close();
        tasks.wait().await;
        assert!(matches!(failing.room(|| 1).await, Err(StoreError::Busy)));
        assert!(matches!(
            failing.room(|| 1).await,
            Err(StoreError::Io { .. })
        ));
        assert!(matches!(failing.finish(), Err(StoreError::Io { .. })));
        assert_eq!(*count.lock().unwrap(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_keeps_nobody_waiting() {
        let (count, tasks) = (Arc::default(), TaskTracker::default());
        let panicking = Batches::of(Second(count, || panic!("as it should")));
        panicking.add(Vec::new());
        panicking.add_beside(Vec::new(), &tasks);
        tasks.close();
        tasks.wait().await;
        (0..MAX_WAITING).for_each(|_| panicking.add(Vec::new()));
        assert!(panicking.room(|| 1).await.is_err());
        assert!(panicking.finish().is_err());
    }

    /// Waits at each batch until it is let go on, then does as it is told.
    struct Held(std::sync::mpsc::Receiver<Result<(), StoreError>>);

    impl Worker for Held {
        fn absorb(&mut self, _: &[Bytes]) -> Result<(), StoreError> {
            self.0.recv().unwrap()
        }
    }

    fn held() -> (
        std::sync::mpsc::Sender<Result<(), StoreError>>,
        Batches<Held>,
    ) {
        let (go_on, held) = std::sync::mpsc::channel();
        (go_on, Batches::of(Held(held)))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_batch_at_work_takes_room_too() {
        let (tasks, (go_on, held)) = (TaskTracker::default(), held());
        held.add_beside(Vec::new(), &tasks);
        while !held.0.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(held.room(|| 1).now_or_never().is_none());
        assert!(held.room(|| 2).now_or_never().is_some());
        go_on.send(Ok(())).unwrap();
        held.room(|| 1).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failure_wakes_the_writer_that_waits_for_room() {
        let (tasks, (go_on, held)) = (TaskTracker::default(), held());
        (0..3).for_each(|_| held.add_beside(Vec::new(), &tasks));
        let room = tokio::spawn(async move { held.room(|| 1).await });
        tokio::task::yield_now().await;
        go_on.send(Err(StoreError::Busy)).unwrap();
        assert!(matches!(room.await.unwrap(), Err(StoreError::Busy)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_asks_waits_for_the_batch_that_another_is_at() {
        let (tasks, (go_on, held)) = (TaskTracker::default(), held());
        held.add_beside(Vec::new(), &tasks);
        while !held.0.lock().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let asked = tokio::task::spawn_blocking(move || held.finish().map(drop));
        go_on.send(Ok(())).unwrap();
        asked.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_writer_that_goes_away_takes_all_but_the_batch_at_work_along() {
        let (tasks, (go_on, held)) = (TaskTracker::default(), held());
        (0..MAX_WAITING).for_each(|_| held.add_beside(Vec::new(), &tasks));
        while held.0.lock().waiting.len() == MAX_WAITING {
            tokio::task::yield_now().await;
        }
        let shared = Arc::downgrade(&held.0);
        drop(held);
        go_on.send(Ok(())).unwrap();
        tasks.close();
        tasks.wait().await;
        assert!(shared.upgrade().is_none());
        // One batch, one word: nobody is there to take another.
        assert!(go_on.send(Ok(())).is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_gives_its_thread_back_and_what_is_left_is_worked_off_all_the_same() {
        let (hashing, tasks) = (hashing(), TaskTracker::default());
        batches().into_iter().for_each(|batch| hashing.add(batch));
        hashing.0.work_off(MAX_AT_A_TIME);
        assert_eq!(hashing.0.lock().waiting.len(), 20 - MAX_AT_A_TIME);
        let task = Arc::clone(&hashing.0);
        tokio::task::block_in_place(|| task.work_off_beside(&tasks));
        tasks.close();
        tasks.wait().await;
        assert!(hashing.0.lock().waiting.is_empty());
        assert_eq!(hashing.finish().unwrap().finish(), expected());
    }

    #[test]
    fn what_waits_is_dropped_with_its_writer() {
        let batch = Bytes::from(vec![0; 10]);
        let hashing = hashing();
        let task = Arc::clone(&hashing.0);
        hashing.add(vec![batch.clone()]);
        assert!(!batch.is_unique());
        drop(hashing);
        assert!(batch.is_unique());
        task.work_off(1);
    }
}
