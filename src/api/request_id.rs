//! The names of requests, in the log and in answers.
//!
//! Owns: [`RequestIds`]. Never does: name what opens something by being known; such a name is drawn for itself (`call::random_bytes`).
//! Invariant: no two requests of one process have the same name, nor, but by a chance of one in billions, two of several: each process
//! begins somewhere else. To draw each from the system would be a turn of the kernel for every request. Whoever has two names can reckon
//! how many requests lie between them, which opens nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::call::random_bytes;
use super::error::ApiError;

/// Odd, so that what it multiplies stays apart; by the golden ratio neighbours look like strangers (Knuth, The Art of Computer
/// Programming, volume 3, section 6.4).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Gives names to requests.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

impl RequestIds {
    /// Begins anywhere.
    ///
    /// # Errors
    /// `InternalError` when the system gives no randomness.
    pub(crate) fn new() -> Result<Self, ApiError> {
        let begin = u64::from_be_bytes(random_bytes()?);
        Ok(Self(AtomicU64::new(begin)))
    }

    /// The next one: 16 hexadecimal digits in capitals, as Amazon's are.
    pub(crate) fn next(&self) -> String {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        format!("{:016X}", number.wrapping_mul(STEP))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_request_has_a_name_of_its_own_of_sixteen_digits() {
        let ids = RequestIds::new().unwrap();
        // The last of all numbers is among them.
        ids.0.store(u64::MAX - 500, Ordering::Relaxed);
        let names: HashSet<_> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(names.len(), 1000);
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        for name in names {
            assert!(name.len() == 16 && name.bytes().all(is_digit), "{name}");
        }
    }

    #[test]
    fn two_processes_begin_apart() {
        let (one, other) = (RequestIds::new().unwrap(), RequestIds::new().unwrap());
        assert_ne!(one.next(), other.next());
    }
}
