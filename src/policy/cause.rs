//! The likely cause of a refusal, in one sentence that says what to change.
//!
//! Owns: the tables of clues, one for each reason of a refusal. A clue is a small function that knows one mistake that people make with
//! signed forms, most of them collected from their complaints; the first that applies speaks.
//! Never does: decide or compute a signature; it may ask whether a signature fits a slightly different text, which tells nothing to
//! anybody who could not sign.
//! Invariant: no sentence holds a secret, a signature or the signed text.

mod absent;
mod condition;
mod date_shape;
mod document;
mod expiration;
mod extra_field;
mod fields;
mod guesses;
mod limits;
mod signature;
mod size;
mod token;
mod uploaders;

use std::borrow::Cow;
use std::cell::OnceCell;

use super::document::{PostPolicy, Test};
use super::error::{PolicyError, PolicyErrorKind as Kind};
use super::evaluate::{Context, Judged};
use super::explain::Surroundings;
use super::form::PostForm;
use super::mask::is_hidden;
use crate::model::AccessKey;

pub(super) use absent::RANGE_AS_FIELD;
pub(super) use guesses::{Tries, tried_signatures};
pub(super) use size::reversed_range;
pub use uploaders::alone as only_fields_of_an_uploader;

/// What the clues look at.
pub(super) struct Facts<'a> {
    pub(super) form: &'a PostForm,
    pub(super) policy: Option<&'a PostPolicy>,
    pub(super) key: Option<&'a AccessKey>,
    pub(super) context: &'a Context<'a>,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) judged: &'a Judged<'a>,
    /// Whether the policy is of one of our own sessions.
    pub(super) is_own: bool,
    /// The policy's JSON, decoded when a clue wants it, once.
    pub(super) json: OnceCell<String>,
    /// What a wrong signature was tried against, when a clue or the findings want it, once.
    pub(super) tries: OnceCell<Tries>,
}

impl Facts<'_> {
    /// What the form says, with the URL's bucket for `bucket`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        match name {
            "bucket" => Some(self.context.bucket.as_str()),
            _ => self.form.get(name),
        }
    }

    /// Whether a field came more than once, so that its values were joined.
    fn is_repeated(&self, name: &str) -> bool {
        self.form.is_joined(name)
    }

    /// Whether a condition holds, a length range as far as the file's size is known.
    pub(super) fn holds(&self, test: &Test) -> bool {
        match (test, self.around.file_bytes) {
            (Test::Length { min, max }, Some(bytes)) => (*min..=*max).contains(&bytes),
            _ => self.judged.holds(test),
        }
    }

    /// The policy's JSON; empty when it is no base64 of a text.
    pub(super) fn json(&self) -> &str {
        self.json.get_or_init(|| {
            let policy = self.form.get("policy").unwrap_or_default();
            super::document::decode(policy).unwrap_or_default()
        })
    }

    /// Whether a field comes after the file, where it is ignored.
    fn is_late(&self, name: &str) -> bool {
        let names = self.around.after_file.iter();
        names
            .into_iter()
            .any(|late| late.eq_ignore_ascii_case(name))
    }
}

/// Knows one mistake.
type Clue = fn(&Facts<'_>, &PolicyError) -> Option<String>;

/// The sentence, when the mistake was made.
fn when(made: bool, sentence: &str) -> Option<String> {
    made.then(|| sentence.to_owned())
}

/// Most bytes of a value that a sentence repeats.
const MAX_VALUE_BYTES: usize = 200;

/// The value, unless it is secret or long.
fn shown_value<'a>(name: &str, value: &'a str) -> Option<&'a str> {
    (!is_hidden(name) && value.len() <= MAX_VALUE_BYTES).then_some(value)
}

/// Percent-decoded; none when nothing is encoded, or it is no text.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()?;
    (decoded != text).then_some(decoded)
}

pub(super) fn likely_cause(facts: &Facts<'_>, error: &PolicyError) -> String {
    let clues: &[Clue] = match error.kind() {
        Kind::InvalidArgument => fields::ARGUMENT,
        Kind::AccessDenied => fields::ANONYMOUS,
        Kind::BeyondLimits => limits::BEYOND,
        Kind::InvalidAccessKeyId => signature::KEY,
        Kind::SignatureDoesNotMatch => signature::SIGNATURE,
        Kind::InvalidPolicyDocument => document::DOCUMENT,
        Kind::PolicyExpired => expiration::EXPIRATION,
        Kind::ConditionFailed => condition::CONDITION,
        Kind::ExtraField => extra_field::EXTRA_FIELD,
        Kind::InvalidToken => token::INVALID,
        Kind::ExpiredToken => token::EXPIRED,
        Kind::EntityTooLarge | Kind::EntityTooSmall => size::SIZE,
        _ => fields::VALUE,
    };
    clues
        .iter()
        .find_map(|clue| clue(facts, error))
        .unwrap_or_else(|| format!("The form breaks a rule: {}", error.message()))
}
