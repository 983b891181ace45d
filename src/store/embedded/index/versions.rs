//! How often each table of the index has changed.
//!
//! Owns: a count for each first byte of a key, in memory, from 0 at every start.
//! Never does: know what a table holds.
//!
//! Invariant: a change is counted after it can be read, and before it is answered. So whoever asks for the count, reads, and finds the
//! same count later, has read what every change that was answered until then had left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts; clones share them.
#[derive(Clone)]
pub(super) struct Versions(Arc<[AtomicU64; 256]>);

impl Default for Versions {
    fn default() -> Self {
        Self(Arc::new([const { AtomicU64::new(0) }; 256]))
    }
}

impl Versions {
    /// How often a table has changed.
    pub(super) fn of(&self, table: u8) -> u64 {
        self.count(table)
            .map_or(0, |count| count.load(Ordering::SeqCst))
    }

    /// Counts a change of each of these tables.
    pub(super) fn count_up(&self, tables: &[u8]) {
        for count in tables.iter().filter_map(|table| self.count(*table)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn count(&self, table: u8) -> Option<&AtomicU64> {
        self.0.get(usize::from(table))
    }
}
