//! How fast a peer takes the answers that it is owed.
//!
//! Owns: [`Taking`], which knows how far behind [`SLOWEST_RATE`] the peer of one connection is: the time in which all answers waited for it, less
//! what the bytes that it took, or sent, make up for. An answer is in memory, or has its file open, until it is taken, and who takes a few bytes now
//! and then is as good as one who takes none. And whether it is too slow for the documents that are on their way to it, which others may want the room of.
//! Never does: end a connection; `connection.rs` does. Choose among several; `crowd.rs` does.
//!
//! Invariants: while a request is worked on, no time counts; nobody is ahead, so a burst makes up for what was, and not for what comes;
//! when nothing is owed, all is forgiven. While documents are on their way all time counts for these: they are here whole, whatever else is worked on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes of answers that make up for a second of waiting; as of uploads, half of what goes over a bad mobile network.
const SLOWEST_RATE: u64 = 4 << 10;

/// Bytes in a second that make up for it while documents are on their way, at least.
const SLOWEST_RATE_OF_DOCUMENTS: u64 = 32 << 10;

/// Seconds in which all documents that are on their way are to be gone: who asked for many has to take them faster.
const DOCUMENT_SECONDS: u64 = 30;

/// How far behind that a peer may be.
const PATIENCE_OF_DOCUMENTS: Duration = Duration::from_secs(2);

/// Most bytes for which it is remembered that they were written, or that they are gone, before the other is so, too.
const MOST_UNSETTLED: u64 = 1 << 20;

/// What a peer that is too slow for its documents keeps from others: the bytes that it holds times the milliseconds that it is behind with them. By
/// the bytes alone who is late by a moment with a long list would go before many who hold less and take nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Overdue(u128);

/// How one peer takes its answers.
#[derive(Debug, Default)]
pub(super) struct Taking(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    /// Since when the peer alone is waited for.
    since: Option<Instant>,
    /// For how long it was before, less what it took since makes up for.
    behind: Duration,
    /// What is on its way to it.
    documents: Documents,
}

/// The documents on their way to one peer.
#[derive(Debug, Default)]
struct Documents {
    count: usize,
    bytes: u64,
    /// Since when no byte made up for anything, and how far behind it was then.
    since: Option<Instant>,
    behind: Duration,
    /// Bytes that are gone and count as taken once as many were written: a stream that is reset drops what it had.
    gone: u64,
    /// Bytes that were written and count for what is gone.
    written: u64,
}

impl Documents {
    fn behind(&self) -> Duration {
        let waited = self.since.map(|since| since.elapsed());
        self.behind + waited.unwrap_or_default()
    }

    fn wrote(&mut self, bytes: usize) {
        if self.count > 0 {
            self.written = (self.written + bytes as u64).min(MOST_UNSETTLED);
            self.settle();
        }
    }

    fn took(&mut self, bytes: usize) {
        self.gone = (self.gone + bytes as u64).min(MOST_UNSETTLED);
        self.settle();
    }

    /// What is gone and was written makes up for time.
    fn settle(&mut self) {
        let bytes = self.gone.min(self.written);
        self.gone -= bytes;
        self.written -= bytes;
        let rate = SLOWEST_RATE_OF_DOCUMENTS.max(self.bytes / DOCUMENT_SECONDS);
        let micros = bytes.saturating_mul(1_000_000) / rate;
        let behind = self.behind();
        self.behind = behind.saturating_sub(Duration::from_micros(micros));
        self.since = self.since.map(|_| Instant::now());
    }

    fn begin(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
        self.since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        if self.count == 0 {
            *self = Self::default();
        }
    }
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
        standing.since = standing.since.map(|_| Instant::now());
        standing.documents.wrote(bytes);
    }

    /// A document of so many bytes is on its way.
    pub(super) fn document(&self, bytes: usize) {
        self.standing().documents.begin(bytes);
    }

    /// It is gone.
    pub(super) fn document_gone(&self, bytes: usize) {
        self.standing().documents.end(bytes);
    }

    /// So many bytes of one are gone; they count when as many were written. Nothing else makes up for it, or who takes a stream of another object could
    /// keep them for ever.
    pub(super) fn document_took(&self, bytes: usize) {
        self.standing().documents.took(bytes);
    }

    /// Whether any is on its way.
    pub(super) fn has_documents(&self) -> bool {
        self.standing().documents.count > 0
    }

    /// What it keeps from others, if it is too slow for its documents while they want the room.
    pub(super) fn overdue(&self) -> Option<Overdue> {
        let standing = self.standing();
        let (bytes, behind) = (standing.documents.bytes, standing.documents.behind());
        let kept = u128::from(bytes) * behind.as_millis();
        (behind >= PATIENCE_OF_DOCUMENTS).then_some(Overdue(kept))
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

    #[tokio::test(start_paused = true)]
    async fn documents_are_overdue_when_less_than_their_rate_was_taken_whatever_is_worked_on() {
        for (bytes, rate, stays) in [
            (100 << 10, 31 << 10, false),
            (100 << 10, 33 << 10, true),
            // What is gone in half a minute.
            (6000 << 10, 190 << 10, false),
            (6000 << 10, 210 << 10, true),
        ] {
            let taking = Taking::default();
            taking.document(bytes);
            taking.turned(true, false);
            let mut seconds = 0;
            while seconds < 100 && taking.overdue().is_none() {
                pass(1).await;
                taking.took(1 << 20);
                taking.document_took(rate);
                seconds += 1;
            }
            assert_eq!(seconds == 100, stays, "{bytes} at {rate}: {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_of_a_document_counts_only_when_as_much_was_written() {
        for (writes, stays) in [(0, false), (8 << 10, false), (64 << 10, true)] {
            for gone_first in [true, false] {
                let taking = Taking::default();
                taking.document(100 << 10);
                taking.turned(true, true);
                let mut seconds = 0;
                while seconds < 100 && taking.overdue().is_none() {
                    pass(1).await;
                    if gone_first {
                        taking.document_took(64 << 10);
                        taking.took(writes);
                    } else {
                        taking.took(writes);
                        taking.document_took(64 << 10);
                    }
                    seconds += 1;
                }
                assert_eq!(seconds == 100, stays, "{writes} {gone_first}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_what_was_written_before_a_document_nor_what_a_reset_dropped_pays_for_long() {
        // After how many seconds it is overdue, while so many bytes are written, and gone, in each.
        let overdue_after = async |taking: &Taking, (written, gone): (usize, usize)| {
            let began = Instant::now();
            while taking.overdue().is_none() {
                pass(1).await;
                taking.took(written);
                taking.document_took(gone);
            }
            began.elapsed().as_secs()
        };
        let taking = Taking::default();
        taking.took(100 << 20);
        taking.document(100 << 10);
        pass(1).await;
        taking.document_took(64 << 10);
        let seconds = overdue_after(&taking, (0, 0)).await;
        assert_eq!(seconds, 1, "it was written before");
        let taking = Taking::default();
        taking.document(100 << 10);
        taking.took(100 << 20);
        let seconds = overdue_after(&taking, (0, 64 << 10)).await;
        assert!((16..24).contains(&seconds), "{seconds} s of resets");
        let taking = Taking::default();
        taking.document(100 << 10);
        taking.document(10 << 20);
        taking.document_took(10 << 20);
        taking.document_gone(10 << 20);
        let seconds = overdue_after(&taking, (64 << 10, 0)).await;
        assert!((16..24).contains(&seconds), "{seconds} s after a reset");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_a_document_is_overdue_soon_and_all_is_forgiven_when_it_is_gone() {
        let taking = Taking::default();
        assert!(taking.overdue().is_none() && !taking.has_documents());
        taking.document(1 << 20);
        pass(1).await;
        taking.document(20 << 10);
        assert!(taking.overdue().is_none());
        pass(1).await;
        assert!(taking.overdue().is_some());
        taking.document_gone(1 << 20);
        assert!(taking.overdue().is_some() && taking.has_documents());
        taking.document_gone(20 << 10);
        assert!(taking.overdue().is_none() && !taking.has_documents());
        pass(100).await;
        taking.document(20 << 10);
        assert!(taking.overdue().is_none());
    }
}
