//! Clues to a policy that has ended: a wrong clock, a wrong zone, or simply an old form.
//!
//! Owns: the table for an expired policy. A form of Signature Version 4 tells its signer's clock by `x-amz-date`; of one of Version 2
//! only the end is known.
//! Never does: read a clock. Invariant: times are told as whole seconds.

use super::super::date::parse_moment;
use super::super::document::PostPolicy;
use super::super::error::PolicyError;
use super::{Clue, Facts};
use crate::model::Timestamp;

/// A difference of clocks up to this many milliseconds is more likely than an old form, or than another zone.
const LIKELY_CLOCK_ERROR_MS: i64 = 15 * 60 * 1000;
/// An hour in milliseconds.
const HOUR_MS: i64 = 3600 * 1000;
/// Time zones lie within this many hours of UTC.
const MOST_ZONE_HOURS: i64 = 14;

pub(super) const EXPIRATION: &[Clue] = &[other_zone, ended_before_signed, wrong_clock, old_form];

fn late_ms(facts: &Facts<'_>) -> i64 {
    let now = facts.context.now;
    let end = facts.policy.map_or(now, PostPolicy::expiration);
    now.millis().saturating_sub(end.millis())
}

fn signed_at(facts: &Facts<'_>) -> Option<Timestamp> {
    facts.form.get("x-amz-date").and_then(parse_moment)
}

/// Signed just now by its own word, and over before that: a local time was written as UTC.
fn other_zone(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let signed_ms = signed_at(facts)?.millis();
    let end = facts.policy?.expiration();
    let is_fresh =
        facts.context.now.millis().saturating_sub(signed_ms).abs() <= LIKELY_CLOCK_ERROR_MS;
    let behind_ms = signed_ms.saturating_sub(end.millis());
    let is_zone = (LIKELY_CLOCK_ERROR_MS..=MOST_ZONE_HOURS * HOUR_MS).contains(&behind_ms);
    (is_fresh && is_zone).then(|| {
        format!(
            "The policy ended {} s before the form was signed: its expiration is most likely a local time that was written as UTC.",
            behind_ms / 1000
        )
    })
}

fn ended_before_signed(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let end = facts.policy?.expiration();
    let is_before = end <= signed_at(facts)?;
    is_before.then(|| {
        "The policy ended before the form was signed (x-amz-date): the policy is older than the signature around it, or its expiration is \
         computed wrongly."
            .to_owned()
    })
}

fn wrong_clock(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let late_ms = late_ms(facts);
    (late_ms <= LIKELY_CLOCK_ERROR_MS).then(|| {
        format!(
            "The policy ended {} s ago by this server's clock; the signer's clock may be wrong, or the form lives too short.",
            late_ms / 1000
        )
    })
}

fn old_form(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let late_s = late_ms(facts) / 1000;
    Some(format!(
        "The policy ended {late_s} s ago; ask for a fresh form before each upload."
    ))
}
