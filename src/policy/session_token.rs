//! Session tokens: the third part of a temporary access key.
//!
//! Owns: whether the `x-amz-security-token` of a form or a request is the one that was issued with the key, and whether the key still counts.
//! Never does: hold a token; a key has only its hash.
//!
//! Invariants: a token with a permanent key is refused, as is a temporary key without its token; both before the time is looked at, so
//! that only who shows a key's token learns that it has expired. He need not have the secret: Amazon says so before it looks at the
//! signature. Compared in constant time. The field needs a condition
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
    match judge(form.get(FIELD), key, now) {
        Verdict::Fits => Ok(()),
        Verdict::Foreign => Err(PolicyError::new(PolicyErrorKind::InvalidToken, FOREIGN)),
        Verdict::Expired => Err(PolicyError::new(PolicyErrorKind::ExpiredToken, EXPIRED)),
    }
}

/// What a token comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the key's, or neither has one.
    Fits,
    /// It is not the one that was issued with the key, or only one of both is there.
    Foreign,
    /// It is, and its time is over.
    Expired,
}

/// Amazon's sentence for [`Verdict::Foreign`].
pub(super) const FOREIGN: &str = "The provided token is malformed or otherwise invalid.";
/// Amazon's sentence for [`Verdict::Expired`].
pub(super) const EXPIRED: &str = "The provided token has expired.";

/// Judges the token that came with a form or a request that `key` has signed.
pub(super) fn judge(presented: Option<&str>, key: &AccessKey, now: Timestamp) -> Verdict {
    let fits = match (presented.map(TokenHash::of), &key.session_token) {
        (None, None) => return Verdict::Fits,
        (Some(presented), Some(issued)) => is_same(&presented, issued),
        _ => false,
    };
    match fits {
        false => Verdict::Foreign,
        true if key.has_expired(now) => Verdict::Expired,
        true => Verdict::Fits,
    }
}

/// Both hashes as keys make the same tag only when they are the same; tags are compared in constant time.
fn is_same(presented: &TokenHash, issued: &TokenHash) -> bool {
    let key = |hash: &TokenHash| hmac::Key::new(hmac::HMAC_SHA256, hash.as_bytes());
    let tag = hmac::sign(&key(presented), FIELD.as_bytes());
    hmac::verify(&key(issued), FIELD.as_bytes(), tag.as_ref()).is_ok()
}
