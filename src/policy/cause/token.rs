//! Mistakes with session tokens, which belong to temporary access keys.
//!
//! Owns: which of them was made: the token of another service, none where one is needed, another key's, or one that has had its time.
//!
//! Never does: look at a token's value, or say whether it is right; the judgement has. Invariant: no sentence shows a token.

use super::{Clue, Facts, when};
use crate::policy::error::PolicyError;

/// For a token that is missing or not the key's.
pub(super) const INVALID: &[Clue] = &[not_ours, absent, other];

/// For a key that has had its time.
pub(super) const EXPIRED: &[Clue] = &[over];

fn is_temporary(f: &Facts<'_>) -> bool {
    f.key.is_some_and(|key| key.session_token.is_some())
}

fn not_ours(f: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        !is_temporary(f),
        "The form was made with temporary credentials of another service; sign with an access key of this server.",
    )
}

fn absent(f: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        f.form.get("x-amz-security-token").is_none(),
        "The access key is temporary: the form needs its session token in a field 'x-amz-security-token' before the file, and a condition on it.",
    )
}

fn other(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        true,
        "The session token is not the one that was issued with this access key.",
    )
}

fn over(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    when(
        true,
        "The temporary access key has had its time; make another one and sign with that.",
    )
}
