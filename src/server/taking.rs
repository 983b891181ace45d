//! How fast a peer takes the answers that it is owed.
//!
//! Owns: [`Taking`], which knows how far behind [`SLOWEST_RATE`] the peer of one connection is: the time in which all answers waited for it, less
//! what the bytes that it took, or sent, make up for. An answer is in memory, or has its file open, until it is taken, and who takes a few bytes now
//! and then is as good as one who takes none. And when each of the documents that are on their way to it, which others may want the room of, should be gone.
//! Never does: end a connection, or say how far behind it may be; `activity.rs` and its limits do.
//!
//! Invariants: while a request is worked on, no time counts; nobody is ahead, so a burst makes up for what was, and not for what comes;
//! when nothing is owed, all is forgiven.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes of answers that make up for a second of waiting; as of uploads, half of what goes over a bad mobile network.
const SLOWEST_RATE: u64 = 4 << 10;

/// How one peer takes its answers.
#[derive(Debug, Default)]
pub(super) struct Taking(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    /// Since when the peer alone is waited for.
    since: Option<Instant>,
    /// For how long it was before, less what it took since makes up for.
    behind: Duration,
    /// When each of the documents on their way to it should be gone.
    documents: Vec<Instant>,
}

impl Standing {
    fn behind(&self) -> Duration {
        let waited = self.since.map(|since| since.elapsed());
        self.behind + waited.unwrap_or_default()
    }
}

impl Taking {
    /// Whether answers are owed, and whether it is the peer alone that is waited for, from now on.
    pub(super) fn turned(&self, owed: bool, waits: bool) {
        let mut standing = self.standing();
        standing.behind = match owed {
            true => standing.behind(),
            false => Duration::ZERO,
        };
        standing.since = waits.then(Instant::now);
    }

    /// The peer made room for so many bytes, or sent them.
    pub(super) fn took(&self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000) / SLOWEST_RATE;
        let mut standing = self.standing();
        standing.behind = standing
            .behind()
            .saturating_sub(Duration::from_micros(micros));
        if standing.since.is_some() {
            standing.since = Some(Instant::now());
        }
    }

    /// A document is on its way, and should be gone by then.
    pub(super) fn document(&self, due: Instant) {
        self.standing().documents.push(due);
    }

    /// It is gone.
    pub(super) fn document_gone(&self, due: Instant) {
        let documents = &mut self.standing().documents;
        if let Some(place) = documents.iter().position(|other| *other == due) {
            documents.swap_remove(place);
        }
    }

    /// When the first of them should be gone.
    pub(super) fn document_due(&self) -> Option<Instant> {
        self.standing().documents.iter().min().copied()
    }

    /// How far behind the peer is.
    pub(super) fn behind(&self) -> Duration {
        self.standing().behind()
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_bytes_make_up_for_a_moment_and_many_for_all_that_was() {
        let taking = Taking::default();
        taking.turned(true, true);
        pass(10).await;
        taking.took(256);
        assert_eq!(taking.behind(), Duration::from_micros(10_000_000 - 62_500));
        taking.took(1 << 20);
        assert_eq!(taking.behind(), Duration::ZERO);
        pass(5).await;
        assert_eq!(taking.behind(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_at_the_slowest_rate_in_records_is_never_far_behind() {
        let taking = Taking::default();
        taking.turned(true, true);
        for _ in 0..100 {
            pass(4).await;
            assert_eq!(taking.behind(), Duration::from_secs(4));
            taking.took(16 << 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_in_which_the_peer_alone_is_waited_for_counts() {
        let taking = Taking::default();
        pass(100).await;
        assert_eq!(taking.behind(), Duration::ZERO);
        for _ in 0..3 {
            taking.turned(true, true);
            pass(2).await;
            // A small question in between forgives nothing.
            taking.turned(true, false);
            pass(100).await;
        }
        assert_eq!(taking.behind(), Duration::from_secs(6));
        taking.turned(false, false);
        assert_eq!(taking.behind(), Duration::ZERO);
    }
}
