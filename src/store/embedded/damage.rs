//! Damage of the index that shows only when it is read.
//!
//! Owns: what counts as such damage, and the memory that it was seen. A start finds an index that cannot be opened or is
//! another's; a page that is read for the first time hours later can only fail the request that needs it.
//! Never does: stop anything. What is sound goes on serving; `recover` marks the index, so that the next start rebuilds it.
//!
//! Invariant: only what the index itself calls corrupt counts. A disk that fails to read may read the next time, and a rebuild
//! would cost the unfinished uploads.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::StoreError;

/// How the words of such an error begin.
const DAMAGE: &str = "the index is damaged: ";

/// Whether damage was seen since the index was opened.
#[derive(Debug, Default)]
pub(super) struct Damage(AtomicBool);

impl Damage {
    /// Looks at what a read or a job came to, and passes it on.
    pub(super) fn noticed<R>(&self, result: Result<R, StoreError>) -> Result<R, StoreError> {
        if let Err(StoreError::Corrupt(what)) = &result
            && what.starts_with(DAMAGE)
        {
            self.0.store(true, Ordering::Release);
        }
        result
    }

    /// Whether there was any.
    pub(super) fn was_seen(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The error for what the index says of itself.
pub(super) fn error(corrupt: bool, error: &dyn Display) -> StoreError {
    let words = if corrupt { DAMAGE } else { "the index: " };
    StoreError::Corrupt(format!("{words}{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_remembered_and_a_failing_disk_is_not() {
        let damage = Damage::default();
        for harmless in [
            Ok(()),
            Err(error(false, &"no such block")),
            Err(StoreError::ReadOnly),
            Err(StoreError::Corrupt(
                "a record of an unknown version".to_owned(),
            )),
        ] {
            let _ = damage.noticed(harmless);
            assert!(!damage.was_seen());
        }
        assert!(damage.noticed::<()>(Err(error(true, &"bad page"))).is_err());
        assert!(damage.was_seen());
    }
}
