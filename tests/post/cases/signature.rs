//! Who signed, and whether he did: both versions, their members, the scope, and that it is proven first (reference 2.5, step 4 of 2.7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::post::{DAY, KEY_ID, hex};
use super::row::{Expected, Row, bad_field, denied, missing, refused, row, stored};
use super::runner::{EXPIRED_KEY, LINKS_KEY, OVER_KEY, TEMPORARY_KEY, TOKEN};
use super::{Part, Post, Sent, Version};

const V2: &[Version] = &[Version::V2];
const V4: &[Version] = &[Version::V4];

/// Recorded, with all that Amazon shows.
fn mismatch() -> Expected {
    refused("SignatureDoesNotMatch")
        .saying("The request signature we calculated does not match the signature you provided. Check your key and signing method.")
        .element("AWSAccessKeyId", KEY_ID)
        .element_of("StringToSign", |sent| sent.field("policy"))
        .element_of("SignatureProvided", provided)
        .element_of("StringToSignBytes", |sent| {
            let bytes: Vec<_> = sent.field("policy").bytes().map(|byte| hex(&[byte])).collect();
            bytes.join(" ")
        })
}

fn provided(sent: &Sent) -> String {
    let old = sent.field("signature");
    if old.is_empty() {
        sent.field("x-amz-signature")
    } else {
        old
    }
}

fn unknown(id: &str) -> Expected {
    refused("InvalidAccessKeyId")
        .saying("The AWS Access Key Id you provided does not exist in our records.")
        .element("AWSAccessKeyId", id)
}

/// Signs with another key id.
fn signed_by(p: &mut Post, id: &str) {
    match p.version {
        Version::V2 => {
            p.set("AWSAccessKeyId", id);
        }
        Version::V4 => {
            p.uncondition("x-amz-credential");
            p.allow(
                "x-amz-credential",
                format!("{id}/{DAY}/us-east-1/s3/aws4_request"),
            );
        }
    }
}

pub(crate) fn rows() -> Vec<Row> {
    [
        missing_members(),
        keys(),
        signatures(),
        mixtures(),
        scopes(),
        tokens(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn missing_members() -> Vec<Row> {
    let lacks = |name: &'static str, printed| {
        row(
            format!("without {name}"),
            move |p| {
                p.leave_out(name);
            },
            missing(printed),
        )
    };
    vec![
        lacks("signature", "Signature").only(V2),
        lacks("AWSAccessKeyId", "AWSAccessKeyId").only(V2),
        lacks("x-amz-signature", "X-Amz-Signature").only(V4),
        lacks("x-amz-algorithm", "X-Amz-Algorithm").only(V4),
        lacks("x-amz-credential", "X-Amz-Credential").only(V4),
        lacks("x-amz-date", "X-Amz-Date").only(V4),
        lacks("policy", "policy"),
        row(
            "without algorithm and credential",
            |p| {
                p.leave_out("x-amz-algorithm").leave_out("x-amz-credential");
            },
            missing("X-Amz-Algorithm"),
        )
        .only(V4),
        row(
            "key and policy, and nobody signed it",
            |p| {
                let policy = p.policy();
                p.unsigned();
                p.late(move |fields| fields.push(Part::new("policy", &policy)));
            },
            denied(),
        ),
        row(
            "key and file, and nothing else",
            |p| {
                p.unsigned();
            },
            denied(),
        ),
        row(
            "a file, and nothing else",
            |p| {
                p.late(|fields| fields.clear());
            },
            missing("key"),
        ),
        row(
            "members that are there and empty",
            |p| {
                p.signature("");
            },
            mismatch(),
        ),
        row(
            "an empty key id is nobody's",
            |p| {
                p.set("AWSAccessKeyId", "");
            },
            unknown(""),
        )
        .only(V2),
    ]
}

fn keys() -> Vec<Row> {
    vec![
        row(
            "a key that nobody has",
            |p| signed_by(p, "AKIAIOSFODNN7EXAMPLE"),
            unknown("AKIAIOSFODNN7EXAMPLE"),
        ),
        row(
            "a key of another case",
            |p| signed_by(p, "s3postexamplekey"),
            unknown("s3postexamplekey"),
        ),
        row(
            "a key that may not write signs a perfect form",
            |p| signed_by(p, LINKS_KEY),
            unknown(LINKS_KEY),
        ),
        row(
            "a key whose time is over",
            |p| signed_by(p, EXPIRED_KEY),
            unknown(EXPIRED_KEY),
        ),
        row(
            "the secret of another key",
            |p| p.secret = "another-secret".to_owned(),
            mismatch(),
        ),
        row(
            "the secret of dev under a user's key",
            |p| p.secret = "pillarbox-dev-secret".to_owned(),
            mismatch(),
        ),
        row("an empty secret", |p| p.secret.clear(), mismatch()),
    ]
}

fn signatures() -> Vec<Row> {
    vec![
        row(
            "no signature at all but text",
            |p| {
                p.signature("%%%");
            },
            mismatch(),
        ),
        row(
            "a signature that is cut",
            |p| {
                let whole = p.sign(&p.policy());
                p.signature(&whole[..whole.len() - 4]);
            },
            mismatch(),
        ),
        row(
            "a signature that goes on",
            |p| {
                let whole = p.sign(&p.policy());
                p.signature(&format!("{whole}0000"));
            },
            mismatch(),
        ),
        row(
            "a signature with a line end behind it",
            |p| {
                let whole = p.sign(&p.policy());
                p.signature(&format!("{whole}\n"));
            },
            mismatch(),
        ),
        row(
            "a signature over another policy",
            |p| {
                let other = p.sign("e30=");
                p.signature(&other);
            },
            mismatch(),
        ),
        row(
            "a signature over the JSON and not its base64",
            |p| {
                let json = STANDARD.decode(p.policy()).unwrap();
                let signature = p.sign(&String::from_utf8(json).unwrap());
                p.signature(&signature);
            },
            mismatch(),
        ),
        row(
            "a policy that lost two characters under the signature of the whole",
            |p| {
                let whole = p.policy();
                let signature = p.sign(&whole);
                p.policy_text = Some(whole[..whole.len() - 2].to_owned());
                p.signature(&signature);
            },
            mismatch(),
        ),
        row(
            "a policy with a blank more than was signed",
            |p| {
                let signature = p.sign(&p.policy());
                p.policy_text = Some(format!("{} ", p.policy()));
                p.signature(&signature);
            },
            mismatch(),
        ),
        row(
            "a malformed policy under a wrong signature: the signature counts first",
            |p| {
                p.document("{").signature("AAAA");
            },
            mismatch(),
        ),
        row(
            "an expired policy under a wrong signature: the signature counts first",
            |p| {
                p.expiration = "2020-01-01T00:00:00Z".to_owned();
                p.signature("AAAA");
            },
            mismatch(),
        ),
        row(
            "an uncovered field under a wrong signature: the signature counts first",
            |p| {
                p.set("acl", "private").signature("AAAA");
            },
            mismatch(),
        ),
        row(
            "a policy that was signed as it is wrapped",
            |p| {
                let text = p.policy();
                p.policy_text = Some(format!("{}\r\n{}\r\n", &text[..76], &text[76..]));
            },
            stored(),
        ),
        row(
            "a policy without its padding",
            |p| {
                let text = p.policy();
                p.policy_text = Some(text.trim_end_matches('=').to_owned());
            },
            stored(),
        ),
    ]
}

fn mixtures() -> Vec<Row> {
    let both = || {
        refused("InvalidArgument")
            .saying("A form must not be signed with Signature Version 2 and 4 at once.")
    };
    vec![
        row(
            "a V2 signature beside V4's members",
            |p| {
                p.allow("signature", "AAAA");
            },
            both(),
        )
        .only(V4),
        row(
            "a V2 key id beside V4's members",
            |p| {
                p.allow("AWSAccessKeyId", KEY_ID);
            },
            both(),
        )
        .only(V4),
        row(
            "a whole V2 signature beside a whole V4 one",
            |p| {
                let mut old = Post::valid(Version::V2, p.shape);
                old.policy_text = Some(p.policy());
                let signature = old.sign(&p.policy());
                p.late(move |fields| {
                    fields.push(Part::new("AWSAccessKeyId", KEY_ID));
                    fields.push(Part::new("signature", &signature));
                });
            },
            both(),
        )
        .only(V4),
        row(
            "a V4 algorithm beside V2's members",
            |p| {
                p.allow("x-amz-algorithm", "AWS4-HMAC-SHA256");
            },
            both(),
        )
        .only(V2),
        row(
            "a V4 signature beside V2's members",
            |p| {
                p.allow("x-amz-signature", "00");
            },
            both(),
        )
        .only(V2),
        row(
            "a V4 date beside V2's members",
            |p| {
                p.allow("x-amz-date", "20261122T120000Z");
            },
            both(),
        )
        .only(V2),
        row(
            "a V4 signature in V2's fields",
            |p| {
                p.version = Version::V4;
                let hex = p.sign(&p.policy());
                p.version = Version::V2;
                p.signature(&hex);
            },
            mismatch(),
        )
        .only(V2),
        row(
            "a V2 signature in V4's fields",
            |p| {
                p.version = Version::V2;
                let base64 = p.sign(&p.policy());
                p.version = Version::V4;
                p.signature(&base64);
            },
            mismatch(),
        )
        .only(V4),
    ]
}

/// Scopes that are none, and what is said of them.
const SCOPES: &[(&str, &str, &str)] = &[
    (
        "no scope",
        "{K}",
        "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
    ),
    (
        "an empty credential",
        "",
        "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
    ),
    (
        "a scope without a key",
        "/20261122/us-east-1/s3/aws4_request",
        "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
    ),
    (
        "a scope of four parts",
        "{K}/20261122/us-east-1/aws4_request",
        "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
    ),
    (
        "a scope without a region",
        "{K}/20261122//s3/aws4_request",
        "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
    ),
    (
        "another region",
        "{K}/20261122/eu-west-1/s3/aws4_request",
        "the region 'eu-west-1' is wrong; expecting 'us-east-1'",
    ),
    (
        "a region in capitals",
        "{K}/20261122/US-EAST-1/s3/aws4_request",
        "the region 'US-EAST-1' is wrong; expecting 'us-east-1'",
    ),
    (
        "a day with hyphens",
        "{K}/2026-11-22/us-east-1/s3/aws4_request",
        "incorrect date format \"2026-11-22\". This date in the credential must be in the format \"yyyyMMdd\".",
    ),
    (
        "a day in letters",
        "{K}/yyyymmdd/us-east-1/s3/aws4_request",
        "incorrect date format \"yyyymmdd\". This date in the credential must be in the format \"yyyyMMdd\".",
    ),
    (
        "another service",
        "{K}/20261122/us-east-1/ec2/aws4_request",
        "incorrect service \"ec2\". This endpoint belongs to \"s3\".",
    ),
    (
        "another terminal",
        "{K}/20261122/us-east-1/s3/aws5_request",
        "incorrect terminal \"aws5_request\". This endpoint uses \"aws4_request\".",
    ),
];

fn scopes() -> Vec<Row> {
    let mut rows = Vec::new();
    for (says, credential, fault) in SCOPES {
        let credential = credential.replace("{K}", KEY_ID);
        let expected = bad_field("x-amz-credential", &credential).saying(format!(
            "Error parsing the X-Amz-Credential parameter; {fault}"
        ));
        rows.push(
            row(
                says.to_string(),
                move |p| {
                    p.uncondition("x-amz-credential");
                    p.allow("x-amz-credential", &credential);
                },
                expected,
            )
            .only(V4),
        );
    }
    rows.extend(dates());
    rows.extend([
        row(
            "another algorithm",
            |p| {
                p.uncondition("x-amz-algorithm");
                p.allow("x-amz-algorithm", "AWS4-HMAC-SHA1");
            },
            bad_field("x-amz-algorithm", "AWS4-HMAC-SHA1")
                .saying("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""),
        )
        .only(V4),
        row(
            "the region of the scope is the one that was signed for",
            |p| {
                p.region = "eu-west-1".to_owned();
            },
            mismatch(),
        )
        .only(V4),
    ]);
    rows
}

fn dates() -> Vec<Row> {
    let dated = |says: &str, date: &'static str, message: String, name, value: String| {
        row(
            says,
            move |p| {
                p.uncondition("x-amz-date");
                p.allow("x-amz-date", date);
            },
            bad_field(name, &value).saying(message),
        )
        .only(V4)
    };
    let long = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"";
    let scope = format!("{KEY_ID}/{DAY}/us-east-1/s3/aws4_request");
    vec![
        dated("a date with hyphens", "2026-11-22T12:00:00Z", long.to_owned(), "x-amz-date", "2026-11-22T12:00:00Z".to_owned()),
        dated("a date without a time", DAY, long.to_owned(), "x-amz-date", DAY.to_owned()),
        dated(
            "the day before the scope's",
            "20261121T120000Z",
            "Invalid credential date \"20261122\". This date is not the same as X-Amz-Date: \"20261121T120000Z\".".to_owned(),
            "x-amz-credential",
            scope,
        ),
        row(
            "a date of the scope's day in the future",
            |p| {
                p.uncondition("x-amz-date");
                p.allow("x-amz-date", "20261122T235959Z");
            },
            stored(),
        )
        .only(V4),
    ]
}

/// Session tokens, which only temporary keys have.
fn tokens() -> Vec<Row> {
    let field = "x-amz-security-token";
    let invalid =
        || refused("InvalidToken").saying("The provided token is malformed or otherwise invalid.");
    let with = |id: &'static str, token: &'static str| {
        move |p: &mut Post| {
            signed_by(p, id);
            p.cover(field, token);
        }
    };
    vec![
        row(
            "a temporary key with its token",
            with(TEMPORARY_KEY, TOKEN),
            stored(),
        ),
        row(
            "a temporary key without its token",
            |p| signed_by(p, TEMPORARY_KEY),
            invalid(),
        ),
        row(
            "a temporary key with an empty token",
            with(TEMPORARY_KEY, ""),
            invalid(),
        ),
        row(
            "a temporary key with another token",
            with(TEMPORARY_KEY, "another"),
            invalid(),
        ),
        row(
            "a temporary key with its token and a blank",
            with(TEMPORARY_KEY, "the-session-token-of-a-temporary-key "),
            invalid(),
        ),
        row(
            "a token with a key that is not temporary",
            with(KEY_ID, TOKEN),
            invalid(),
        ),
        row(
            "a temporary key whose time is over",
            with(OVER_KEY, TOKEN),
            refused("ExpiredToken").saying("The provided token has expired."),
        ),
        row(
            "a temporary key whose time is over, without its token",
            |p| signed_by(p, OVER_KEY),
            invalid(),
        ),
        row(
            "a token that no condition covers",
            move |p| {
                signed_by(p, TEMPORARY_KEY);
                p.set(field, TOKEN);
            },
            super::row::extra(field),
        ),
        row(
            "a temporary key with its token under a wrong signature",
            move |p| {
                signed_by(p, TEMPORARY_KEY);
                p.cover(field, TOKEN).signature("AAAA");
            },
            refused("SignatureDoesNotMatch"),
        ),
    ]
}
