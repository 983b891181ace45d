//! What a wrong signature is tried against: what is signed, sent or used by mistake.
//!
//! Owns: the table of guesses. Each is tried with the secret of the form's key: it fits only who signed with the right one, so the answer
//! tells nothing to anybody else.
//! Never does: see a secret (`policy/signing.rs` does) or show a text that was signed.
//! Invariants: the tries are bounded: what is in the tables here, some fifty digests of a policy, once and only for a wrong signature. A
//! text is undone and tried only when it shows that it was altered. What is said to have been tried was tried.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::date::day_of;
use super::super::document::{PostPolicy, Test};
use super::super::error::PolicyError;
use super::super::signature::{Claim, claim};
use super::super::signing::{Scheme, padded};
use super::signature::{is_hex, shows_by_itself};
use super::{Facts, percent_decoded};
use crate::model::{AccessKey, Secret, Timestamp, decode_hex};

/// A day, in seconds.
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// How many days back the day of a key is looked for.
const DAYS_KEPT: u32 = 7;
/// Regions that signers have as their default.
const REGIONS: [&str; 8] = [
    "us-east-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "garage",
    "auto",
    "local",
    "",
];
/// Services of other signatures.
const SERVICES: [&str; 3] = ["S3", "s3express", "execute-api"];
/// Lengths of the lines that `base64` and `openssl base64` write.
const LINE_CHARACTERS: [usize; 2] = [76, 64];

/// A text without what languages print around one: blanks, quotation marks, and Python's `b` before them.
fn bare(text: &str) -> &str {
    const MARKS: [char; 2] = ['"', '\''];
    let text = text.trim();
    let unmarked = text
        .strip_prefix('b')
        .filter(|rest| rest.starts_with(MARKS));
    unmarked.unwrap_or(text).trim_matches(MARKS)
}

/// The bytes of a signature, in whichever of the two spellings it came.
pub(super) fn tag_of(signature: &str) -> Option<Vec<u8>> {
    let text = percent_decoded(bare(signature)).unwrap_or(Cow::Borrowed(bare(signature)));
    let text = text.as_ref();
    match (is_hex(text), text.len()) {
        (true, 64) => decode_hex::<32>(text).map(Vec::from),
        (true, 40) => decode_hex::<20>(text).map(Vec::from),
        _ => STANDARD.decode(text.replace(' ', "+")).ok(),
    }
}

/// A signature that is wrong, and what it is tried against.
struct Attempt<'a> {
    scheme: Scheme<'a>,
    secret: &'a Secret,
    policy: &'a str,
    tag: Vec<u8>,
    json: &'a str,
    /// Days that a key is derived for by mistake, as scopes write them.
    days: Vec<String>,
    /// The scope's region when the policy fixes another one than the form has.
    signed_region: Option<String>,
}

impl<'a> Attempt<'a> {
    fn new(facts: &'a Facts<'_>, claim: &'a Claim<'a>, key: &'a AccessKey) -> Option<Self> {
        let now = facts.context.now;
        let credentials = facts
            .policy
            .into_iter()
            .flat_map(|policy| policy.conditions());
        let signed_region = credentials
            .filter_map(|condition| match condition.test() {
                Test::Equals { name, value } if name == "x-amz-credential" => {
                    value.rsplit('/').nth(2).map(str::to_owned)
                }
                _ => None,
            })
            .next();
        Some(Self {
            scheme: claim.scheme()?,
            secret: &key.secret,
            policy: claim.policy(),
            tag: tag_of(claim.provided()).unwrap_or_default(),
            json: facts.json(),
            days: days(now, facts.policy),
            signed_region,
        })
    }

    fn fits(&self, text: &str) -> bool {
        self.scheme.fits(self.secret, text, &self.tag)
    }

    /// The same for a text that may be none other than the policy as it came, which is then not tried again.
    fn fits_other(&self, text: &str) -> Option<bool> {
        (text != self.policy).then(|| self.fits(text))
    }

    fn fits_scheme(&self, scheme: Scheme<'_>) -> bool {
        scheme.fits(self.secret, self.policy, &self.tag)
    }

    /// Whether a key fits that was derived in this way for the scope.
    fn fits_derived(&self, scheme: fn(&'a str, &'a str) -> Scheme<'a>) -> Option<bool> {
        let (day, region, _) = self.scope()?;
        Some(self.fits_scheme(scheme(day, region)))
    }

    /// The parts of the scope that came.
    fn scope(&self) -> Option<(&'a str, &'a str, &'a str)> {
        match self.scheme {
            Scheme::V4 {
                day,
                region,
                service,
            } => Some((day, region, service)),
            _ => None,
        }
    }
}

/// A key is good for its day and is kept for longer; others take the day on which the policy ends.
fn days(now: Timestamp, policy: Option<&PostPolicy>) -> Vec<String> {
    let before = (0..=DAYS_KEPT).map(|days| now.minus(DAY * days));
    let end = policy.map(PostPolicy::expiration);
    before
        .chain([now.plus(DAY)])
        .chain(end)
        .map(day_of)
        .collect()
}

/// Something that is signed, sent or used by mistake.
struct Guess {
    /// What is tried, in a few words.
    name: &'static str,
    /// Whether it is so; none when the form gives nothing to try.
    fits: fn(&Attempt<'_>) -> Option<bool>,
    /// What to say when it is so.
    says: &'static str,
}

const GUESSES: &[Guess] = &[
    Guess {
        name: "plus signs that became blanks",
        fits: |a| a.fits_other(&a.policy.replace(' ', "+")),
        says: "Plus signs in the policy or the signature became blanks on their way; encode them, or send the form as multipart/form-data.",
    },
    Guess {
        name: "blanks around the signature, or its other spelling",
        fits: |a| Some(a.fits(a.policy)),
        says: "The signature is right but not as it must be written: without blanks, a line end or quotation marks around it and not \
               percent-encoded, in base64 for Version 2 and in hexadecimal digits for Version 4, with its plus signs.",
    },
    Guess {
        name: "percent-encoding of the policy",
        fits: |a| percent_decoded(a.policy).map(|text| a.fits(&text)),
        says: "The policy was percent-encoded after it was signed, as for a URL; a form field takes the base64 text as it is.",
    },
    Guess {
        name: "quotation marks around the policy, or Python's b'...'",
        fits: |a| (bare(a.policy) != a.policy.trim()).then(|| a.fits(bare(a.policy))),
        says: "The policy was sent with quotation marks around it that were not signed, as Python prints bytes (b'...') and JSON a text; send \
               the base64 text itself.",
    },
    Guess {
        name: "another spelling of the policy's base64",
        fits: fits_other_base64,
        says: "The policy was sent in another spelling of base64 than was signed: with - and _ for + and /, or without the = at its end; send \
               it exactly as signed.",
    },
    Guess {
        name: "line ends in the policy that came after signing",
        fits: |a| a.fits_other(&a.policy.split_ascii_whitespace().collect::<String>()),
        says: "The policy was sent with line ends or blanks that were not there when it was signed; send the text exactly as signed.",
    },
    Guess {
        name: "line ends in the policy that went after signing",
        fits: |a| Some(fits_wrapped(a)),
        says: "The policy was signed with line ends that base64 put into it, and sent without; take them out before signing (base64 -w 0).",
    },
    Guess {
        name: "the JSON signed instead of its base64 text",
        fits: |a| (!a.json.is_empty()).then(|| a.fits(a.json)),
        says: "The JSON text was signed; sign its base64 text, exactly as it is sent.",
    },
    Guess {
        name: "the JSON sent instead of its base64 text",
        fits: |a| Some(a.fits(&STANDARD.encode(a.policy))),
        says: "The policy was sent as JSON; send the base64 text that was signed.",
    },
    Guess {
        name: "blanks or a line end around the secret",
        fits: |a| Some(fits_padded(a)),
        says: "The secret that signed has a blank or a line end around it, as echo and files add it; sign with the bare secret.",
    },
    Guess {
        name: "HMAC-SHA256 with the secret itself, no key derived",
        fits: |a| Some(a.fits_scheme(Scheme::Underived)),
        says: "The policy was signed by HMAC-SHA256 with the secret itself; Version 4 signs with the key derived from it for day, region and \
               service, Version 2 by HMAC-SHA1.",
    },
    Guess {
        name: "Version 4 with another day in the key",
        fits: fits_other_day,
        says: "The key that signed was derived for another day than x-amz-credential says; day, x-amz-date and key must be of one moment, in UTC.",
    },
    Guess {
        name: "Version 4 without AWS4 before the secret",
        fits: |a| a.fits_derived(|day, region| Scheme::V4Unprefixed { day, region }),
        says: "The key that signed was derived from the bare secret; Version 4 derives it from \"AWS4\" and the secret.",
    },
    Guess {
        name: "Version 4 with hexadecimal digits between the steps of the key",
        fits: |a| a.fits_derived(|day, region| Scheme::V4OfDigits { day, region }),
        says: "The key that signed was derived from digests in hexadecimal digits; each step takes the bytes that the one before gave.",
    },
    Guess {
        name: "Version 4 with another region in the key",
        fits: fits_other_region,
        says: "The key that signed was derived for another region than x-amz-credential says; use one region for both.",
    },
    Guess {
        name: "Version 4 with another service in the key",
        fits: fits_other_service,
        says: "The key that signed was derived for another service; the service of a form post is s3.",
    },
];

fn fits_padded(attempt: &Attempt<'_>) -> bool {
    let mut secrets = padded(attempt.secret).into_iter();
    secrets.any(|secret| attempt.scheme.fits(&secret, attempt.policy, &attempt.tag))
}

fn fits_wrapped(attempt: &Attempt<'_>) -> bool {
    let bare: String = attempt.policy.split_ascii_whitespace().collect();
    let wrapped = |width: usize| {
        let mut text = String::with_capacity(bare.len() + bare.len() / width + 1);
        for (at, c) in bare.char_indices() {
            if at > 0 && at % width == 0 {
                text.push('\n');
            }
            text.push(c);
        }
        text
    };
    let mut texts = LINE_CHARACTERS.iter().map(|width| wrapped(*width));
    texts.any(|text| attempt.fits(&text) || attempt.fits(&(text + "\n")))
        || attempt.fits(&(bare.clone() + "\n"))
}

fn fits_other_base64(attempt: &Attempt<'_>) -> Option<bool> {
    let mut text = attempt.policy.replace('-', "+").replace('_', "/");
    let other = attempt.fits_other(&text);
    let missing = (4 - text.len() % 4) % 4;
    text.push_str(&"=".repeat(missing));
    let whole = (missing > 0).then(|| attempt.fits(&text));
    let tries = other.into_iter().chain(whole);
    tries.reduce(|one, next| one || next)
}

fn fits_other_day(attempt: &Attempt<'_>) -> Option<bool> {
    let (_, region, service) = attempt.scope()?;
    let mut days = attempt.days.iter();
    Some(days.any(|day| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    }))
}

fn fits_other_region(attempt: &Attempt<'_>) -> Option<bool> {
    let (day, _, service) = attempt.scope()?;
    let signed = attempt.signed_region.as_deref();
    let mut regions = REGIONS.into_iter().chain(signed);
    Some(regions.any(|region| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    }))
}

fn fits_other_service(attempt: &Attempt<'_>) -> Option<bool> {
    let (day, region, _) = attempt.scope()?;
    let mut services = SERVICES.into_iter();
    Some(services.any(|service| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    }))
}

/// What a wrong signature was tried against, and what to say of the guess that fits.
#[derive(Default)]
pub(in super::super) struct Tries {
    names: Vec<&'static str>,
    says: Option<&'static str>,
}

/// Tries one guess after the other, until one fits. None is tried when the form shows by itself that none can fit.
fn tries(facts: &Facts<'_>) -> Option<Tries> {
    let claim = claim(facts.form, None).ok()?;
    let attempt = Attempt::new(facts, &claim, facts.key?)?;
    // No HMAC that is tried has another length.
    if shows_by_itself(facts) || !matches!(attempt.tag.len(), 20 | 32) {
        return None;
    }
    let mut tries = Tries::default();
    for guess in GUESSES {
        let Some(fits) = (guess.fits)(&attempt) else {
            continue;
        };
        tries.names.push(guess.name);
        if fits {
            tries.says = Some(guess.says);
            break;
        }
    }
    Some(tries)
}

fn made<'f>(facts: &'f Facts<'_>) -> &'f Tries {
    facts.tries.get_or_init(|| tries(facts).unwrap_or_default())
}

/// What a wrong signature was tried against.
pub(in super::super) fn tried_signatures(facts: &Facts<'_>) -> Vec<&'static str> {
    made(facts).names.clone()
}

pub(super) fn tried(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    made(facts).says.map(str::to_owned)
}
