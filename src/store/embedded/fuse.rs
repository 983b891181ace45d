//! Whether the store may still write.
//!
//! Owns: one flag that is set for good by the first failed sync (or a panic inside the index) and by closing.
//! Never does: reset itself. The kernel may drop dirty pages after a failed sync and report success the next time, so only a
//! restart, which reads what really is on stable storage, makes the store writable again.
//!
//! Invariant: once [`Fuse::check`] has failed it never succeeds again.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sync::AtomicBool;
use crate::store::StoreError;

/// Shared by everything that writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Fuse(Arc<AtomicBool>);

impl Fuse {
    /// Fails with [`StoreError::ReadOnly`] when the fuse is blown.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.0.load(Ordering::Acquire) {
            return Err(StoreError::ReadOnly);
        }
        Ok(())
    }

    /// Makes the store read-only because `operation` failed, and says so in the log.
    pub(super) fn blow(&self, operation: &str, cause: &dyn Display) {
        // First of all: a log that stalls must not let another writer through.
        self.0.store(true, Ordering::Release);
        tracing::error!(operation, %cause, "the store is read-only until restart");
    }

    /// Makes the store read-only because it is closing.
    pub(super) fn close(&self) {
        self.0.store(true, Ordering::Release);
    }
}
