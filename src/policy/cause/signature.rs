//! Clues to a key that nobody has and a signature that does not fit.
//!
//! Owns: what is signed or sent by mistake, each tried against the signature that came: it fits only who signed with the right
//! secret, so the answer tells nothing to anybody else. Other keys of this server are not tried: a form names its key.
//! Never does: see a secret (`policy/signing.rs` does) or show a text that was signed.
//! Invariant: the tries are bounded: what is in the tables here, some thirty digests of a policy, and only for a wrong signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::date::day_of;
use super::super::document::Test;
use super::super::error::PolicyError;
use super::super::signature::{Claim, claim};
use super::super::signing::{Scheme, padded};
use super::{Clue, Facts, when};
use crate::model::{AccessKey, Secret, decode_hex};

/// A day, in seconds.
const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
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

pub(super) const KEY: &[Clue] = &[
    amazon_key,
    dev_key,
    whole_credential,
    blanks_around_id,
    expired_key,
    former_key,
    other_server,
    no_such_key,
];

pub(super) const SIGNATURE: &[Clue] = &[other_version_shape, tried, not_a_signature, other_secret];

fn id(error: &PolicyError) -> &str {
    error.extra("AWSAccessKeyId").unwrap_or_default()
}

fn amazon_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let is_amazons = ["AKIA", "ASIA"]
        .iter()
        .any(|start| id(error).starts_with(start));
    when(
        is_amazons,
        "The form was signed with an access key of Amazon, which this server does not know; sign with one of this server's keys.",
    )
}

fn dev_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        id(error) == "PILLARBOXDEVACCESS00",
        "The form was signed with the key of pillarbox dev, which opens nothing elsewhere; sign with a key of this server.",
    )
}

fn whole_credential(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    when(
        id(error).contains("/aws4_request"),
        "AWSAccessKeyId holds a whole credential scope; it must be the key's id alone, or the form must be of Signature Version 4.",
    )
}

fn blanks_around_id(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let id = id(error);
    when(
        id.trim() != id || id.trim_matches(['"', '\'']) != id,
        "The access key id has blanks, a line end or quotation marks around it.",
    )
}

fn expired_key(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let end = facts.key?.expires_at?;
    when(
        end <= facts.context.now,
        "The access key has expired: it was rotated, and the forms that it signed are over; ask for a fresh form.",
    )
}

/// Our own keys begin with `PB` and have 20 characters of base32.
fn former_key(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let id = id(error);
    let is_base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    when(
        id.len() == 20 && id.starts_with("PB") && id.chars().all(is_base32),
        "This server has no such access key: it was revoked or has expired, or the form comes from another installation; ask for a fresh form.",
    )
}

fn other_server(_: &Facts<'_>, error: &PolicyError) -> Option<String> {
    let known = [
        ("minioadmin", "MinIO"),
        ("test", "LocalStack"),
        ("accessKey1", "Zenko"),
        ("GK", "Garage"),
        ("rustfsadmin", "RustFS"),
    ];
    let id = id(error);
    let (_, whose) = known.iter().find(|(name, _)| match *name {
        "GK" => id.len() == 26 && id.starts_with(name),
        _ => id == *name,
    })?;
    Some(format!(
        "The form was signed with a key as {whose} has it, which this server does not know; sign with one of this server's keys."
    ))
}

fn no_such_key(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    Some("This server has no such access key, or the key has expired; the form may have been signed for another server, or long ago.".to_owned())
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The bytes of a signature, in whichever of the two spellings it came.
fn tag_of(signature: &str) -> Option<Vec<u8>> {
    let text = signature.trim();
    match (is_hex(text), text.len()) {
        (true, 64) => decode_hex::<32>(text).map(Vec::from),
        (true, 40) => decode_hex::<20>(text).map(Vec::from),
        _ => STANDARD.decode(text.replace(' ', "+")).ok(),
    }
}

fn other_version_shape(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let claim = claim(facts.form, None).ok()?;
    let provided = claim.provided().trim();
    match claim.scheme()? {
        Scheme::V2 if is_hex(provided) && provided.len() == 64 => Some(
            "The signature looks like Signature Version 4, but the fields are those of Version 2: send x-amz-algorithm, x-amz-credential, \
             x-amz-date and x-amz-signature."
                .to_owned(),
        ),
        Scheme::V4 { .. } if tag_of(provided).is_some_and(|tag| tag.len() == 20) => Some(
            "The signature looks like Signature Version 2, but the fields are those of Version 4: sign the policy with the key derived \
             for day, region and service, by HMAC-SHA256, in hexadecimal digits."
                .to_owned(),
        ),
        _ => None,
    }
}

/// A signature that is wrong, and what it is tried against.
struct Attempt<'a> {
    scheme: Scheme<'a>,
    secret: &'a Secret,
    policy: &'a str,
    tag: Vec<u8>,
    json: &'a str,
    /// The days around the server's, as scopes write them.
    days: [String; 3],
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
            days: [now, now.minus(DAY), now.plus(DAY)].map(day_of),
            signed_region,
        })
    }

    fn fits(&self, text: &str) -> bool {
        self.scheme.fits(self.secret, text, &self.tag)
    }

    fn fits_scheme(&self, scheme: Scheme<'_>) -> bool {
        scheme.fits(self.secret, self.policy, &self.tag)
    }

    /// The same scope with one part of it replaced.
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

/// Something that is signed, sent or used by mistake.
struct Guess {
    /// What is tried, in a few words.
    name: &'static str,
    fits: fn(&Attempt<'_>) -> bool,
    /// What to say when it is so.
    says: &'static str,
}

const GUESSES: &[Guess] = &[
    Guess {
        name: "plus signs that became blanks",
        fits: |a| a.policy.contains(' ') && a.fits(&a.policy.replace(' ', "+")),
        says: "Plus signs in the policy or the signature became blanks on their way; encode them, or send the form as multipart/form-data.",
    },
    Guess {
        name: "blanks around the signature, or its other spelling",
        fits: |a| a.fits(a.policy),
        says: "The signature is right but not as it must be written: without blanks or a line end around it, in base64 for Version 2 and in \
               hexadecimal digits for Version 4, with its plus signs.",
    },
    Guess {
        name: "line ends in the policy that came after signing",
        fits: |a| a.fits(&a.policy.split_ascii_whitespace().collect::<String>()),
        says: "The policy was sent with line ends or blanks that were not there when it was signed; send the text exactly as signed.",
    },
    Guess {
        name: "line ends in the policy that went after signing",
        fits: fits_wrapped,
        says: "The policy was signed with line ends that base64 put into it, and sent without; take them out before signing (base64 -w 0).",
    },
    Guess {
        name: "the JSON signed instead of its base64 text",
        fits: |a| a.fits(a.json),
        says: "The JSON text was signed; sign its base64 text, exactly as it is sent.",
    },
    Guess {
        name: "the JSON sent instead of its base64 text",
        fits: |a| a.fits(&STANDARD.encode(a.policy)),
        says: "The policy was sent as JSON; send the base64 text that was signed.",
    },
    Guess {
        name: "blanks or a line end around the secret",
        fits: |a| {
            padded(a.secret)
                .iter()
                .any(|secret| a.scheme.fits(secret, a.policy, &a.tag))
        },
        says: "The secret that signed has a blank or a line end around it, as echo and files add it; sign with the bare secret.",
    },
    Guess {
        name: "Signature Version 2 in a form of Version 4",
        fits: |a| a.scope().is_some() && a.fits_scheme(Scheme::V2),
        says: "The policy was signed by Signature Version 2, but the fields are those of Version 4.",
    },
    Guess {
        name: "HMAC-SHA256 with the secret itself, no key derived",
        fits: |a| a.fits_scheme(Scheme::Underived),
        says: "The policy was signed by HMAC-SHA256 with the secret itself; Version 4 signs with the key derived from it for day, region and \
               service, Version 2 by HMAC-SHA1.",
    },
    Guess {
        name: "Version 4 with another day in the key",
        fits: fits_other_day,
        says: "The key that signed was derived for another day than x-amz-credential says; day, x-amz-date and key must be of one moment, in UTC.",
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

fn fits_other_day(attempt: &Attempt<'_>) -> bool {
    let Some((_, region, service)) = attempt.scope() else {
        return false;
    };
    attempt.days.iter().any(|day| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    })
}

fn fits_other_region(attempt: &Attempt<'_>) -> bool {
    let Some((day, _, service)) = attempt.scope() else {
        return false;
    };
    let signed = attempt.signed_region.as_deref();
    REGIONS.into_iter().chain(signed).any(|region| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    })
}

fn fits_other_service(attempt: &Attempt<'_>) -> bool {
    let Some((day, region, _)) = attempt.scope() else {
        return false;
    };
    SERVICES.into_iter().any(|service| {
        attempt.fits_scheme(Scheme::V4 {
            day,
            region,
            service,
        })
    })
}

/// What a wrong signature was tried against.
pub(in super::super) fn tried_signatures() -> Vec<&'static str> {
    GUESSES.iter().map(|guess| guess.name).collect()
}

fn tried(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let claim = claim(facts.form, None).ok()?;
    let attempt = Attempt::new(facts, &claim, facts.key?)?;
    if attempt.tag.is_empty() {
        return None;
    }
    let found = GUESSES.iter().find(|guess| (guess.fits)(&attempt))?;
    Some(found.says.to_owned())
}

fn not_a_signature(facts: &Facts<'_>, _: &PolicyError) -> Option<String> {
    let claim = claim(facts.form, None).ok()?;
    let (provided, bytes) = (
        claim.provided(),
        tag_of(claim.provided()).map_or(0, |tag| tag.len()),
    );
    let (fits, wanted) = match claim.scheme()? {
        Scheme::V2 => (bytes == 20, "the base64 text of 20 bytes (28 characters)"),
        _ => (bytes == 32 && is_hex(provided), "64 hexadecimal digits"),
    };
    (!fits).then(|| {
        format!(
            "What came as the signature is none: it must be {wanted} and has {} characters.",
            provided.chars().count()
        )
    })
}

fn other_secret(_: &Facts<'_>, _: &PolicyError) -> Option<String> {
    Some("The policy was signed with another secret than this access key's, or it was changed after it was signed.".to_owned())
}
