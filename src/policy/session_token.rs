//! Session tokens: the third part of a temporary access key.
//!
//! Owns: whether the `x-amz-security-token` of a form is the one that was issued with the key, and whether the key still counts.
//! Never does: hold a token; a key has only its hash.
//!
//! Invariants: a token with a permanent key is refused, as is a temporary key without its token; both before the time is looked at, so
//! that only who has all three parts learns that a key has expired. Compared in constant time. The field needs a condition
//! like every other, which `evaluate` sees to.
//!
//! Source: Amazon S3 User Guide, "Browser-based uploads using POST", field `x-amz-security-token`; "Error responses".

use ring::hmac;

use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;
use crate::model::{AccessKey, Timestamp, TokenHash};

/// The field of the form.
const FIELD: &str = "x-amz-security-token";

/// Judges the token of a form that `key` has signed.
///
/// # Errors
/// `InvalidToken`, `ExpiredToken`.
pub(super) fn check(form: &PostForm, key: &AccessKey, now: Timestamp) -> Result<(), PolicyError> {
    let Some(issued) = &key.session_token else {
        return match form.get(FIELD) {
            None => Ok(()),
            Some(_) => Err(invalid()),
        };
    };
    let presented = form.get(FIELD).map(TokenHash::of);
    if !presented.is_some_and(|presented| is_same(&presented, issued)) {
        return Err(invalid());
    }
    if key.has_expired(now) {
        let message = "The provided token has expired.";
        return Err(PolicyError::new(PolicyErrorKind::ExpiredToken, message));
    }
    Ok(())
}

/// Both hashes as keys make the same tag only when they are the same; tags are compared in constant time.
fn is_same(presented: &TokenHash, issued: &TokenHash) -> bool {
    let key = |hash: &TokenHash| hmac::Key::new(hmac::HMAC_SHA256, hash.as_bytes());
    let tag = hmac::sign(&key(presented), FIELD.as_bytes());
    hmac::verify(&key(issued), FIELD.as_bytes(), tag.as_ref()).is_ok()
}

fn invalid() -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::InvalidToken,
        "The provided token is malformed or otherwise invalid.",
    )
}
