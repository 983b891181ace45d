//! Clues to a file that is larger or smaller than the policy allows.
//!
//! Owns: the table for both refusals of a size: bounds that are swapped, counted in another unit, or that no file meets.
//! Never does: judge the size.
//! Invariant: a unit is named only when the file would have been allowed in it.

use super::super::document::{PostPolicy, Test};
use super::super::error::{PolicyError, PolicyErrorKind};
use super::super::evaluate::size_range;
use super::{Clue, Facts};
use crate::model::MAX_CHUNK_BYTES;

/// Units that are taken for bytes: their name, and how many bytes each has.
const UNITS: [(&str, u64); 4] = [
    ("KiB", 1024),
    ("kB", 1000),
    ("MiB", 1024 * 1024),
    ("MB", 1_000_000),
];

/// How often the largest size a file has at least for its unit to be in doubt.
const CERTAINLY_TOO_LARGE: u64 = 2;

pub(super) const SIZE: &[Clue] = &[
    swapped,
    ranges_apart,
    empty_file,
    beyond_any_post,
    other_unit,
    any_size,
];

/// A length range whose first bound is the larger one, as Amazon prints it.
pub(in super::super) fn reversed_range(policy: &PostPolicy) -> Option<&str> {
    let mut conditions = policy.conditions().iter();
    let is_reversed = |test: &Test| matches!(test, Test::Length { min, max } if min > max);
    conditions
        .find(|condition| is_reversed(condition.test()))
        .map(|condition| condition.echo())
}

fn swapped(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    reversed_range(facts.policy?).map(|_| {
        "The bounds of content-length-range are swapped: the smaller one comes first.".to_owned()
    })
}

fn ranges_apart(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let (min, max) = size_range(facts.policy?);
    (min > max).then(|| {
        "The policy has several length ranges, and all must hold; no size lies in each of them."
            .to_owned()
    })
}

fn bytes(facts: &Facts<'_>, error: &PolicyError) -> Option<u64> {
    let proposed = || error.extra("ProposedSize")?.parse().ok();
    facts.around.file_bytes.or_else(proposed)
}

fn empty_file(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    (bytes(facts, error)? == 0).then(|| {
        "The file is empty: no file was chosen, or its part was sent without its bytes.".to_owned()
    })
}

fn beyond_any_post(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let (_, max) = size_range(facts.policy?);
    // Of a form that others signed each post is a whole object, and the last of several would be all that stays.
    let remedy = match facts.is_own {
        true => "send it in chunks",
        false => "use a multipart upload, or an upload session",
    };
    (error.kind() == PolicyErrorKind::EntityTooLarge && max == MAX_CHUNK_BYTES).then(|| {
        format!(
            "The file has more than {MAX_CHUNK_BYTES} bytes (5 GiB), the most that one form post may bring whatever its policy says; {remedy}."
        )
    })
}

fn other_unit(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let bytes = bytes(facts, error).filter(|_| !facts.around.may_be_larger)?;
    let (min, max) = size_range(facts.policy?);
    let fits = |(_, unit): &&(&str, u64)| {
        max > 0 && (min.saturating_mul(*unit)..=max.saturating_mul(*unit)).contains(&bytes)
    };
    let (unit, _) = UNITS.iter().find(fits)?;
    (bytes > max.saturating_mul(CERTAINLY_TOO_LARGE)).then(|| {
        format!(
            "The file has {bytes} bytes and the policy allows {min} to {max} bytes; the range looks as if it were meant in {unit}, and it counts bytes."
        )
    })
}

fn any_size(facts: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let (min, max) = size_range(facts.policy?);
    let bytes = bytes(facts, error)?;
    let least = if facts.around.may_be_larger {
        "at least "
    } else {
        ""
    };
    Some(format!(
        "The file has {least}{bytes} bytes and the policy allows {min} to {max} bytes; choose another file, or sign another content-length-range."
    ))
}
