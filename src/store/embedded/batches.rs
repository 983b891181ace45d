//! The digests of a chunk, computed beside its way to disk.
//!
//! Owns: [`Hashing`], the batches of one chunk that wait to be hashed, in order, and the turns of whoever hashes them: a blocking
//! task while more bytes arrive and are written, or the one that asks for the result, which helps instead of waiting.
//! Never does: copy bytes, or keep a thread: a task ends when nothing waits, so a slow client holds none.
//!
//! Invariants:
//! 1. One hasher at a time, and batches in the order in which they came.
//! 2. At most [`MAX_WAITING`] batches wait while the writer gathers; it waits for room.
//! 3. Nobody waits for a task that has not begun: with every blocking thread taken the result is still computed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::sync::{Condvar, Mutex, MutexGuard, TaskTracker};
use crate::model::{Digests, Hasher};

/// Batches of one chunk that may wait besides the one that is being hashed.
const MAX_WAITING: usize = 2;

/// What hashes one chunk; clones are the same chunk.
#[derive(Clone, Default)]
pub(super) struct Hashing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Somebody gave the turn back.
    free: Condvar,
    /// A batch was taken from the queue.
    taken: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Vec<Bytes>>,
    turn: Turn,
}

enum Turn {
    Free(Box<Hasher>),
    Taken,
    /// A hasher panicked; there will be no digests.
    Lost,
}

impl Default for Turn {
    fn default() -> Self {
        Self::Free(Box::default())
    }
}

impl Hashing {
    /// Waits until another batch may be added.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.0.taken.notified();
            if self.has_room() {
                return;
            }
            taken.await;
        }
    }

    fn has_room(&self) -> bool {
        let queue = self.lock();
        queue.waiting.len() < MAX_WAITING || matches!(queue.turn, Turn::Lost)
    }

    /// Adds a batch that whoever asks for the result will hash.
    pub(super) fn add(&self, batch: Vec<Bytes>) {
        self.lock().waiting.push_back(batch);
    }

    /// Adds a batch and has it hashed by a task of its own.
    pub(super) fn add_beside(&self, batch: Vec<Bytes>, tasks: &TaskTracker) {
        self.add(batch);
        if matches!(self.lock().turn, Turn::Free(_)) {
            let beside = self.clone();
            tasks.spawn_blocking(move || beside.hash_waiting());
        }
    }

    /// The digests of all that was added; `None` when they were lost to a panic. Blocks.
    pub(super) fn finish(&self) -> Option<Digests> {
        loop {
            self.hash_waiting();
            let mut queue = self.lock();
            match std::mem::replace(&mut queue.turn, Turn::Lost) {
                Turn::Free(hasher) => return Some(hasher.finish()),
                Turn::Lost => return None,
                Turn::Taken => queue.turn = Turn::Taken,
            }
            let waited = self.0.free.wait(queue);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Hashes what waits, unless somebody else is at it.
    fn hash_waiting(&self) {
        let mut queue = self.lock();
        let mut turn = match std::mem::replace(&mut queue.turn, Turn::Taken) {
            Turn::Free(hasher) => MyTurn(self, Some(hasher)),
            other => {
                queue.turn = other;
                return;
            }
        };
        while let Some(batch) = queue.waiting.pop_front() {
            drop(queue);
            self.0.taken.notify_one();
            turn.hash(&batch);
            queue = self.lock();
        }
        turn.give_back(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        let queue = self.0.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashing")
    }
}

/// The turn, given back also when the hasher panics.
struct MyTurn<'a>(&'a Hashing, Option<Box<Hasher>>);

impl MyTurn<'_> {
    fn hash(&mut self, batch: &[Bytes]) {
        if let Some(hasher) = &mut self.1 {
            batch.iter().for_each(|slice| hasher.update(slice));
        }
    }

    /// With the lock that saw that nothing waits, so that a batch which is added then finds the turn free.
    fn give_back(mut self, mut queue: MutexGuard<'_, Queue>) {
        queue.turn = self.1.take().map_or(Turn::Lost, Turn::Free);
    }
}

impl Drop for MyTurn<'_> {
    fn drop(&mut self) {
        if self.1.take().is_some() {
            self.0.lock().turn = Turn::Lost;
        }
        let shared = &self.0.0;
        shared.free.notify_all();
        shared.taken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn whoever_asks_hashes_what_nobody_has_begun() {
        let hashing = Hashing::default();
        batches().into_iter().for_each(|batch| hashing.add(batch));
        assert_eq!(hashing.finish(), Some(expected()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_hashed_beside_come_out_in_order_and_never_more_than_two_wait() {
        let (hashing, tasks) = (Hashing::default(), TaskTracker::default());
        for batch in batches() {
            hashing.room().await;
            hashing.add_beside(batch, &tasks);
            assert!(hashing.lock().waiting.len() <= MAX_WAITING);
        }
        let asked = hashing.clone();
        let digests = tokio::task::spawn_blocking(move || asked.finish()).await;
        assert_eq!(digests.unwrap(), Some(expected()));
    }

    #[tokio::test]
    async fn digests_that_were_lost_to_a_panic_are_none_and_keep_nobody_waiting() {
        let hashing = Hashing::default();
        drop(MyTurn(&hashing, Some(Box::default())));
        (0..5).for_each(|_| hashing.add(Vec::new()));
        hashing.room().await;
        assert_eq!(hashing.finish(), None);
    }
}
