//! Damage of the index that shows only when it is read.
//!
//! Owns: what counts as such damage, what is only about one record, and the memory that damage was seen. A start finds an index that cannot be opened or is
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
/// How those of an index that cannot be read just now begin.
const FAILURE: &str = "the index: ";
/// How those begin that are the system's, and say nothing of the index.
const UNREADABLE: &str = "the index cannot be read now: ";
/// What is said of an index that panicked, which is how it tells of some damage.
const PANIC: &str = "the index panicked";

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
    let words = if corrupt { DAMAGE } else { FAILURE };
    StoreError::Corrupt(format!("{words}{error}"))
}

/// The error for a read of the index at which the system failed.
pub(super) fn unreadable(error: &dyn Display) -> StoreError {
    StoreError::Corrupt(format!("{UNREADABLE}{error}"))
}

/// Why the index does not count, by what a read of it came to.
///
/// # Errors
/// That itself, when it was the system that failed.
pub(super) fn why(error: StoreError) -> Result<String, StoreError> {
    match &error {
        StoreError::Corrupt(what) if what.starts_with(UNREADABLE) => Err(error),
        error => Ok(error.to_string()),
    }
}

/// The error for a read or write of the index that panicked.
pub(super) fn panicked() -> StoreError {
    StoreError::Corrupt(PANIC.to_owned())
}

/// Whether it is only about what one record says, in an index that can be read: then all others can be gone on with.
pub(super) fn is_of_one_record(error: &StoreError) -> bool {
    let of_index = |what: &str| {
        [DAMAGE, FAILURE, UNREADABLE, PANIC]
            .iter()
            .any(|of| what.starts_with(of))
    };
    matches!(error, StoreError::Corrupt(what) if !of_index(what))
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
            Err(unreadable(&"EIO")),
            Err(panicked()),
            Err(StoreError::ReadOnly),
            Err(StoreError::Corrupt(
                "a record of an unknown version".to_owned(),
            )),
        ] {
            let one = matches!(&harmless, Err(error) if is_of_one_record(error));
            let words = format!("{harmless:?}");
            assert_eq!(one, words.contains("unknown version"), "{words}");
            let _ = damage.noticed(harmless);
            assert!(!damage.was_seen());
        }
        assert!(!is_of_one_record(&error(true, &"bad page")));
        assert!(why(unreadable(&"EIO")).is_err() && why(panicked()).is_ok());
        assert!(damage.noticed::<()>(Err(error(true, &"bad page"))).is_err());
        assert!(damage.was_seen());
    }
}
