//! Keys of Signature Version 4 that were derived of late.
//!
//! A client signs with one key for a day, and to derive it takes eighteen blocks of SHA-256 where a signature takes four.
//! Owns: [`DerivedKeys`], at most [`PLACES`] of them. Never does: find a secret, or judge a signature.
//!
//! Invariants: a key is given only for the secret, the day and the region that it was derived from, found by their SHA-256, so that no
//! comparison tells anything of a secret. What is kept is never written, and opens nothing by itself: whether there is such an access key, and
//! whether it may sign, is asked for each request.
//!
//! Source: Amazon S3 API Reference, "Authenticating requests (AWS Signature Version 4)", calculating a signature.

use std::fmt;
use std::sync::Mutex;

use ring::{digest, hmac};

use super::signing::{V4_SERVICE, v4_signing_key};
use crate::model::Secret;

/// Keys that are kept; each has its place, where the next one of that place takes its turn.
const PLACES: usize = 64;

/// What a key was derived from.
type Origin = [u8; digest::SHA256_OUTPUT_LEN];

/// Keys that were derived of late, of the service S3.
pub struct DerivedKeys(Mutex<Vec<Option<(Origin, hmac::Key)>>>);

impl Default for DerivedKeys {
    fn default() -> Self {
        Self(Mutex::new(vec![None; PLACES]))
    }
}

impl DerivedKeys {
    /// The key that a secret signs with on a day (`yyyyMMdd`) in a region.
    pub(super) fn of(&self, secret: &Secret, day: &str, region: &str) -> hmac::Key {
        let origin = origin(secret, day, region);
        let place = usize::from(origin[0]) % PLACES;
        if let Some((held, key)) = self.at(place)
            && held == origin
        {
            return key;
        }
        let key = v4_signing_key(secret, day, region, V4_SERVICE);
        if let Ok(mut keys) = self.0.lock()
            && let Some(held) = keys.get_mut(place)
        {
            *held = Some((origin, key.clone()));
        }
        key
    }

    fn at(&self, place: usize) -> Option<(Origin, hmac::Key)> {
        self.0.lock().ok()?.get(place)?.clone()
    }
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKeys(..)")
    }
}

/// Each with its length before it: no two origins are one text.
fn origin(secret: &Secret, day: &str, region: &str) -> Origin {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [day, region, secret.reveal()] {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut origin = Origin::default();
    origin.copy_from_slice(context.finish().as_ref());
    origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(key: &hmac::Key) -> Vec<u8> {
        hmac::sign(key, b"text").as_ref().to_vec()
    }

    #[test]
    fn a_key_is_the_one_that_is_derived_whatever_was_kept_before() {
        let keys = DerivedKeys::default();
        // More than there are places, twice, so that each is found where it was kept and where another one was.
        for _ in 0..2 {
            for n in 0..4 * PLACES {
                let secret = Secret::new(format!("secret {}", n % 3));
                let (day, region) = (format!("202611{:02}", n % 28), format!("region-{}", n % 11));
                for _ in 0..2 {
                    let derived = v4_signing_key(&secret, &day, &region, V4_SERVICE);
                    assert_eq!(sign(&keys.of(&secret, &day, &region)), sign(&derived));
                }
            }
        }
    }

    #[test]
    fn what_moves_from_one_part_to_the_next_is_another_origin() {
        let of = |secret: &str, day, region| origin(&Secret::new(secret.to_owned()), day, region);
        let one = of("secret", "20261130", "region");
        for other in [
            of("nsecret", "20261130", "regio"),
            of("secret", "20261130region", ""),
            of("secret", "region", "20261130"),
            of("Secret", "20261130", "region"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_key_that_was_derived_is_not_derived_again() {
        let keys = DerivedKeys::default();
        let secret = Secret::new("secret".to_owned());
        let place = usize::from(origin(&secret, "20261130", "r")[0]) % PLACES;
        keys.of(&secret, "20261130", "r");
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"put there by the test");
        let origin = origin(&secret, "20261130", "r");
        keys.0.lock().unwrap()[place] = Some((origin, other.clone()));
        assert_eq!(sign(&keys.of(&secret, "20261130", "r")), sign(&other));
    }
}
