//! The key that signed may not do itself what the form would do.
//!
//! Owns: the sentence that says what the key may do instead.
//!
//! Never does: decide; the judgement has, by the same limits. Invariant: only a form whose signature was right comes here, so nobody but a
//! holder of the key, or of a form that it signed, learns of its limits.

use super::super::error::PolicyError;
use super::super::evaluate::within_limits;
use super::{Clue, Facts};

pub(super) const BEYOND: &[Clue] = &[beyond];

fn beyond(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let judged = within_limits(facts.form, facts.key?, facts.context);
    let sentence = judged.err()?;
    Some(format!(
        "{sentence} A form can do no more than the key that signed it: sign with a key that may write this object."
    ))
}
