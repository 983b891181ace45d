//! The likely cause, mistake by mistake: a valid signed form, one mistake that people make, and the sentence that names it.
//!
//! Beside the mistakes in `cases.rs`; here are those that take a second look: signatures made otherwise, clocks, slips in values,
//! documents that are something else. No sentence and no explanation may show a secret or a signature.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use pillarbox::model::{AccessKey, Bucket, KeyLimits, KeyPurpose, Permission, Secret, Timestamp};
use pillarbox::policy::{
    Context, Explanation, PostFormBuilder, Rules, Surroundings, explain_policy, explain_within,
    sign_v2, sign_v4,
};
use ring::hmac;

const KEY_ID: &str = "S3POSTEXAMPLEKEY";
const SECRET: &str = "s3post-example-secret";
/// 2029-12-31T12:00:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_893_412_800);
const DAY: &str = "20291231";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn access_key() -> AccessKey {
    AccessKey {
        id: KEY_ID.to_owned(),
        secret: secret(SECRET),
        purpose: KeyPurpose::User,
        created_at: NOW,
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    }
}

/// A form about to be signed and sent.
struct Case {
    is_v4: bool,
    expiration: &'static str,
    conditions: Vec<String>,
    fields: Vec<(String, String)>,
    /// Makes the signature of the policy's base64 text.
    sign: fn(&str) -> String,
    /// Makes what is sent of the policy's base64 text.
    send: fn(&str) -> String,
    json: Option<String>,
    file_name: Option<&'static str>,
    file_bytes: Option<u64>,
    key: Option<AccessKey>,
    after_file: Vec<String>,
}

fn v2() -> Case {
    Case {
        is_v4: false,
        expiration: "2030-01-01T00:00:00Z",
        conditions: vec![
            r#"{"bucket":"box"}"#.to_owned(),
            r#"["starts-with","$key","in/"]"#.to_owned(),
        ],
        fields: vec![
            ("key".to_owned(), "in/a.txt".to_owned()),
            ("AWSAccessKeyId".to_owned(), KEY_ID.to_owned()),
        ],
        sign: |text| sign_v2(&secret(SECRET), text),
        send: str::to_owned,
        json: None,
        file_name: Some("a.txt"),
        file_bytes: None,
        key: Some(access_key()),
        after_file: Vec::new(),
    }
}

fn v4() -> Case {
    let mut case = Case {
        is_v4: true,
        sign: |text| sign_v4(&secret(SECRET), DAY, "us-east-1", text),
        ..v2()
    };
    case.fields.pop();
    for (name, value) in [
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        (
            "x-amz-credential",
            "S3POSTEXAMPLEKEY/20291231/us-east-1/s3/aws4_request",
        ),
        ("x-amz-date", "20291231T120000Z"),
    ] {
        case = case
            .condition(&format!(r#"["starts-with","${name}",""]"#))
            .field(name, value);
    }
    case
}

impl Case {
    fn condition(mut self, json: &str) -> Self {
        self.conditions.push(json.to_owned());
        self
    }

    fn json(mut self, json: &str) -> Self {
        self.json = Some(json.to_owned());
        self
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(n, _)| n != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn expects(self, condition: &str, name: &str, value: &str) -> Self {
        self.condition(condition).field(name, value)
    }

    fn signed_by(mut self, sign: fn(&str) -> String) -> Self {
        self.sign = sign;
        self
    }

    fn sent_as(mut self, send: fn(&str) -> String) -> Self {
        self.send = send;
        self
    }

    fn explained(&self) -> Explanation {
        let json = self.json.clone().unwrap_or_else(|| {
            let conditions = self.conditions.join(",");
            format!(
                r#"{{"expiration":"{}","conditions":[{conditions}]}}"#,
                self.expiration
            )
        });
        let text = STANDARD.encode(json);
        let name = if self.is_v4 {
            "x-amz-signature"
        } else {
            "signature"
        };
        let signature = (self.sign)(&text);
        let sent = (self.send)(&text);
        let mut builder = PostFormBuilder::default();
        let signed = [("policy", &sent), (name, &signature)];
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        for (name, value) in fields.chain(signed).filter(|(_, value)| *value != "(none)") {
            builder.push(name, value.as_bytes()).unwrap();
        }
        let form = builder.finish(self.file_name).unwrap();
        let context = Context {
            bucket: &Bucket::parse("box").unwrap(),
            public_write: false,
            now: NOW,
            rules: &Rules::default(),
        };
        let around = Surroundings {
            file_bytes: self.file_bytes,
            after_file: &self.after_file,
            ..Surroundings::default()
        };
        let explained = explain_within(
            &form,
            Some("us-east-1"),
            self.key.as_ref(),
            &context,
            &around,
        );
        let shown = serde_json::to_string(&explained).unwrap();
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(
            signature.len() < 9 || !shown.contains(&signature),
            "{shown}"
        );
        explained
    }
}

/// A mistake, how it is made, and a part of the sentence that names it.
type Row = (&'static str, fn() -> Case, &'static str);

#[track_caller]
fn named(rows: &[Row]) {
    for (mistake, case, part) in rows {
        let explained = case().explained();
        assert!(explained.refusal.is_some(), "{mistake}: was granted");
        let cause = explained.likely_cause.unwrap_or_default();
        assert!(cause.contains(part), "{mistake}: {cause}");
    }
}

#[test]
fn what_the_key_may_do_instead_is_said() {
    fn with(permission: Permission, prefixes: &[&str]) -> Case {
        let mut case = v2();
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned());
        let limits = KeyLimits::new(permission, Vec::new(), prefixes.collect());
        case.key = Some(AccessKey {
            limits: limits.unwrap(),
            ..access_key()
        });
        case
    }
    named(&[
        (
            "a read-only key signed",
            || with(Permission::Read, &[]),
            "The access key may only read. A form can do no more than the key that signed it: sign with a key that may write this object.",
        ),
        (
            "the object is elsewhere",
            || with(Permission::Write, &["out/"]),
            "The access key may write only below prefix 'out/'. A form",
        ),
    ]);
    let explained = with(Permission::Read, &[]).explained();
    assert_eq!(explained.signature.verdict, Some("right"));
}

#[test]
fn the_valid_forms_are_granted() {
    for case in [v2(), v4()] {
        let explained = case.explained();
        assert_eq!(explained.refusal, None);
        assert_eq!(explained.signature.verdict, Some("right"));
    }
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    pillarbox::model::encode_hex(bytes)
}

/// A signature whose key was derived for this service.
fn of_service(service: &str, text: &str) -> String {
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [DAY, "us-east-1", service, "aws4_request"] {
        key = hmac_sha256(&key, part);
    }
    hex(&hmac_sha256(&key, text))
}

fn wrapped(text: &str, width: usize) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(width).collect();
    let lines: Vec<_> = lines
        .iter()
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    lines.join("\n")
}

#[test]
fn a_wrong_signature_is_traced_to_what_was_signed() {
    named(&[
        (
            "base64 of a V4 signature",
            || {
                v4().signed_by(|t| {
                    let bytes = pillarbox::model::decode_hex::<32>(&sign_v4(
                        &secret(SECRET),
                        DAY,
                        "us-east-1",
                        t,
                    ))
                    .unwrap();
                    STANDARD.encode(bytes)
                })
            },
            "not as it must be written",
        ),
        (
            "hex of a V2 signature",
            || v2().signed_by(|t| hex(&STANDARD.decode(sign_v2(&secret(SECRET), t)).unwrap())),
            "not as it must be written",
        ),
        (
            "V2 in a V4 form",
            || v4().signed_by(|t| sign_v2(&secret(SECRET), t)),
            "looks like Signature Version 2",
        ),
        (
            "V2 in hex in a V4 form",
            || v4().signed_by(|t| hex(&STANDARD.decode(sign_v2(&secret(SECRET), t)).unwrap())),
            "looks like Signature Version 2",
        ),
        (
            "V4 in a V2 form",
            || v2().signed_by(|t| sign_v4(&secret(SECRET), DAY, "us-east-1", t)),
            "looks like Signature Version 4",
        ),
        (
            "no derived key",
            || v4().signed_by(|t| hex(&hmac_sha256(SECRET.as_bytes(), t))),
            "with the secret itself",
        ),
        (
            "SHA-256 in a V2 form",
            || v2().signed_by(|t| STANDARD.encode(hmac_sha256(SECRET.as_bytes(), t))),
            "with the secret itself",
        ),
        (
            "yesterday's key",
            || v4().signed_by(|t| sign_v4(&secret(SECRET), "20291230", "us-east-1", t)),
            "another day",
        ),
        (
            "tomorrow's key",
            || v4().signed_by(|t| sign_v4(&secret(SECRET), "20300101", "us-east-1", t)),
            "another day",
        ),
        (
            "another region",
            || v4().signed_by(|t| sign_v4(&secret(SECRET), DAY, "eu-west-1", t)),
            "another region",
        ),
        (
            "the policy's region",
            || {
                v4()
            .condition(r#"["eq","$x-amz-credential","S3POSTEXAMPLEKEY/20291231/moon-1/s3/aws4_request"]"#)
            .signed_by(|t| sign_v4(&secret(SECRET), DAY, "moon-1", t))
            },
            "another region",
        ),
        (
            "another service",
            || v4().signed_by(|t| of_service("s3express", t)),
            "another service",
        ),
        (
            "echo's line end",
            || v2().signed_by(|t| sign_v2(&secret(&format!("{SECRET}\n")), t)),
            "line end around it",
        ),
        (
            "Windows' line end",
            || v4().signed_by(|t| sign_v4(&secret(&format!("{SECRET}\r\n")), DAY, "us-east-1", t)),
            "line end around it",
        ),
        (
            "a blank before the secret",
            || v2().signed_by(|t| sign_v2(&secret(&format!(" {SECRET}")), t)),
            "line end around it",
        ),
        (
            "base64's line ends",
            || v2().signed_by(|t| sign_v2(&secret(SECRET), &format!("{}\n", wrapped(t, 76)))),
            "line ends that base64 put into it",
        ),
        (
            "openssl's line ends",
            || v2().signed_by(|t| sign_v2(&secret(SECRET), &wrapped(t, 64))),
            "line ends that base64 put into it",
        ),
        (
            "one line end",
            || v2().signed_by(|t| sign_v2(&secret(SECRET), &format!("{t}\n"))),
            "line ends that base64 put into it",
        ),
        (
            "an empty signature",
            || v2().signed_by(|_| String::new()),
            "has 0 characters",
        ),
        (
            "a word",
            || v4().signed_by(|_| "undefined".to_owned()),
            "64 hexadecimal digits and has 9 characters",
        ),
        (
            "other digits",
            || v4().signed_by(|_| "0".repeat(64)),
            "another secret",
        ),
    ]);
}

#[test]
fn only_the_guesses_that_were_tried_are_told() {
    fn tried(case: &Case) -> Vec<&'static str> {
        let signature = case.explained().signature;
        assert_eq!(signature.verdict, Some("wrong"));
        signature.tried
    }
    let of_v4 = |tried: &[&str]| {
        tried
            .iter()
            .filter(|name| name.contains("Version 4"))
            .count()
    };
    let other_v2 = tried(&v2().signed_by(|t| sign_v2(&secret("other"), t)));
    assert!(other_v2.len() > 4 && of_v4(&other_v2) == 0, "{other_v2:?}");
    let other_v4 = tried(&v4().signed_by(|t| sign_v4(&secret("other"), DAY, "us-east-1", t)));
    assert_eq!(of_v4(&other_v4), 5, "{other_v4:?}");
    // Those behind the one that fits need no try, and a text that shows no alteration is not undone.
    let region = tried(&v4().signed_by(|t| sign_v4(&secret(SECRET), DAY, "eu-west-1", t)));
    assert_eq!(
        region.last(),
        Some(&"Version 4 with another region in the key")
    );
    assert!(!region.contains(&"plus signs that became blanks"));
    for case in [
        v2().sent_as(|_| String::new()),
        v4().sent_as(|_| "undefined".to_owned()),
        v4().signed_by(|t| sign_v2(&secret(SECRET), t)),
        v2().signed_by(|t| sign_v4(&secret(SECRET), DAY, "us-east-1", t)),
        v2().signed_by(|_| String::new()),
        v4().signed_by(|_| "undefined".to_owned()),
    ] {
        assert_eq!(tried(&case), Vec::<&str>::new());
    }
}

#[test]
fn a_key_that_is_not_here_is_traced_to_where_it_comes_from() {
    fn with_id(id: &str) -> Case {
        Case { key: None, ..v2() }.field("AWSAccessKeyId", id)
    }
    named(&[
        (
            "Amazon's temporary key",
            || with_id("ASIAIOSFODNN7EXAMPLE"),
            "access key of Amazon",
        ),
        (
            "dev's key",
            || with_id("PILLARBOXDEVACCESS00"),
            "key of pillarbox dev",
        ),
        (
            "a whole credential",
            || with_id("AKID/20291231/us-east-1/s3/aws4_request"),
            "a whole credential scope",
        ),
        (
            "blanks",
            || with_id(" S3POSTEXAMPLEKEY"),
            "blanks, a line end or quotation marks",
        ),
        (
            "quotation marks",
            || with_id("\"S3POSTEXAMPLEKEY\""),
            "blanks, a line end or quotation marks",
        ),
        ("MinIO's", || with_id("minioadmin"), "as MinIO has it"),
        (
            "Garage's",
            || with_id("GK31c2f218a2e44f485b94239e"),
            "as Garage has it",
        ),
        ("LocalStack's", || with_id("test"), "as LocalStack has it"),
        (
            "one of ours that is gone",
            || with_id("PBABCDEFGHIJKLMNOPQR"),
            "it was revoked or has expired",
        ),
        (
            "one that expired",
            || {
                let mut case = v2();
                case.key = Some(AccessKey {
                    expires_at: Some(NOW),
                    ..access_key()
                });
                case
            },
            "The access key has expired",
        ),
        ("nobody's", || with_id("SOMEBODY"), "no such access key"),
    ]);
}

#[test]
fn fields_that_are_missing_or_of_the_wrong_shape_are_named() {
    named(&[
        (
            "the key late",
            || {
                let mut case = v2().field("key", "(none)");
                case.after_file = vec!["Key".to_owned()];
                case
            },
            "The file comes before the fields 'Key'",
        ),
        (
            "only Resumable's",
            || {
                let mut case = v2()
                    .signed_by(|_| "(none)".to_owned())
                    .sent_as(|_| "(none)".to_owned());
                case.fields = vec![("resumableChunkNumber".to_owned(), "1".to_owned())];
                case
            },
            "Resumable.js' own fields",
        ),
        (
            "only Plupload's",
            || {
                let mut case = v2()
                    .signed_by(|_| "(none)".to_owned())
                    .sent_as(|_| "(none)".to_owned());
                case.fields = vec![
                    ("name".to_owned(), "a".to_owned()),
                    ("chunk".to_owned(), "0".to_owned()),
                ];
                case
            },
            "as multipart_params",
        ),
        (
            "a date with hyphens",
            || v4().field("x-amz-date", "2029-12-31T12:00:00Z"),
            "not written as 20291231T120000Z",
        ),
        (
            "an hour that no day has",
            || v4().field("x-amz-date", "20291231T250000Z"),
            "names no moment that exists",
        ),
        (
            "a day that no month has",
            || v4().field("x-amz-date", "20290231T120000Z"),
            "names no moment that exists",
        ),
        (
            "another day",
            || v4().field("x-amz-date", "20291230T120000Z"),
            "with the day of x-amz-date",
        ),
        (
            "a bare id",
            || v4().field("x-amz-credential", KEY_ID),
            "has 1 part(s) between slashes",
        ),
        (
            "another region",
            || {
                v4().field(
                    "x-amz-credential",
                    "S3POSTEXAMPLEKEY/20291231/eu-west-1/s3/aws4_request",
                )
            },
            "expecting 'us-east-1'",
        ),
        (
            "another algorithm",
            || v4().field("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"),
            "must be AWS4-HMAC-SHA256",
        ),
        (
            "an empty key",
            || v2().field("key", ""),
            "'key' is there and empty",
        ),
    ]);
}

#[test]
fn a_document_that_is_none_is_traced_to_what_wrote_it() {
    fn of(send: fn(&str) -> String) -> Case {
        // Signed as sent, so that only the document is wrong.
        let mut case = v2().sent_as(send);
        case.sign = |_| String::new();
        case
    }
    type Sent = (&'static str, fn(&str) -> String, &'static str);
    const SENT: &[Sent] = &[
        ("nothing", |_| String::new(), "The policy is empty"),
        (
            "Python's bytes",
            |t| format!("b'{t}'"),
            "as Python prints bytes",
        ),
        (
            "JSON",
            |_| "{\"expiration\":\"\"}".to_owned(),
            "sent as JSON",
        ),
        (
            "percent signs",
            |t| t.replace('=', "%3D") + "%3D",
            "percent-encoded",
        ),
        (
            "the alphabet of URLs",
            |_| URL_SAFE.encode("\u{fb}\u{ff}{\"a\":1}???>>>"),
            "base64 of URLs",
        ),
        ("a cut", |t| t[..41].to_owned(), "base64 that was cut"),
        ("no base64", |_| "*&^".to_owned(), "not base64"),
        ("base64 twice", |t| STANDARD.encode(t), "in base64 twice"),
        (
            "UTF-16",
            |_| {
                STANDARD.encode(
                    "{\"a\":1}"
                        .encode_utf16()
                        .flat_map(u16::to_le_bytes)
                        .collect::<Vec<_>>(),
                )
            },
            "UTF-16",
        ),
        (
            "a byte order mark",
            |_| STANDARD.encode("\u{feff}{\"expiration\":1}"),
            "byte order mark",
        ),
    ];
    for (mistake, send, part) in SENT {
        let mut case = of(*send);
        let sent = send(&STANDARD.encode(format!(
            r#"{{"expiration":"{}","conditions":[{}]}}"#,
            case.expiration,
            case.conditions.join(",")
        )));
        case.fields
            .push(("signature".to_owned(), sign_v2(&secret(SECRET), &sent)));
        case.sign = |_| "(none)".to_owned();
        let cause = case.explained().likely_cause.unwrap_or_default();
        assert!(cause.contains(part), "{mistake}: {cause}");
    }
    named(&[
        (
            "a comma at the end",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],}"#),
            "comma behind its last element",
        ),
        (
            "single quotes",
            || v2().json("{'expiration':'2030-01-01T00:00:00Z','conditions':[]}"),
            "single quotes",
        ),
        (
            "JavaScript",
            || v2().json(r#"{expiration: "2030-01-01T00:00:00Z", conditions: []}"#),
            "without quotation marks",
        ),
        (
            "half of it",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"#),
            "middle of its JSON",
        ),
        (
            "capitals",
            || v2().json(r#"{"Expiration":"2030-01-01T00:00:00Z","conditions":[]}"#),
            "in small letters",
        ),
        (
            "one member more",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],"version":1}"#),
            "take the others out",
        ),
        (
            "a blank for the T",
            || v2().json(r#"{"expiration":"2030-01-01 00:00:00","conditions":[]}"#),
            "a blank where the T belongs",
        ),
        (
            "seconds",
            || v2().json(r#"{"expiration":1893456000,"conditions":[]}"#),
            "a number of seconds",
        ),
        (
            "only a date",
            || v2().json(r#"{"expiration":"2030-01-01","conditions":[]}"#),
            "no time of day",
        ),
        (
            "no zone",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00","conditions":[]}"#),
            "names no time zone",
        ),
        (
            "no such date",
            || v2().json(r#"{"expiration":"2030-02-30T00:00:00Z","conditions":[]}"#),
            "no date that exists",
        ),
        (
            "a number",
            || v2().condition(r#"{"success_action_status":201}"#),
            "where a text belongs",
        ),
        (
            "two members",
            || v2().condition(r#"{"a":"b","c":"d"}"#),
            "exactly one field",
        ),
        (
            "an object",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":{}}"#),
            "must be a list",
        ),
        (
            "an operator of its own",
            || v2().condition(r#"["ends-with","$key",".txt"]"#),
            "begins with eq, starts-with",
        ),
        (
            "a range in a list",
            || v2().condition(r#"["content-length-range",[0,9]]"#),
            "has three elements",
        ),
        (
            "a fraction",
            || v2().condition(r#"["content-length-range",0,1.5]"#),
            "whole numbers of bytes",
        ),
    ]);
}

#[test]
fn a_policy_that_ended_is_traced_to_the_clock_or_to_its_age() {
    fn ended(expiration: &'static str, is_v4: bool) -> Case {
        Case {
            expiration,
            ..if is_v4 { v4() } else { v2() }
        }
    }
    named(&[
        (
            "a minute late",
            || ended("2029-12-31T11:59:00Z", false),
            "the signer's clock may be wrong",
        ),
        (
            "an hour late",
            || ended("2029-12-31T11:00:00Z", false),
            "ask for a fresh form",
        ),
        (
            "a local time",
            || ended("2029-12-31T08:00:00Z", true),
            "a local time that was written as UTC",
        ),
        (
            "two minutes before it was signed",
            || ended("2029-12-31T11:58:00Z", true),
            "its expiration is computed wrongly",
        ),
        (
            "a policy of last year",
            || ended("2028-12-31T12:00:00Z", true),
            "ended before the form was signed",
        ),
    ]);
}

#[test]
fn a_condition_that_fails_is_traced_to_the_slip() {
    named(&[
        (
            "another name",
            || {
                v2().expects(
                    r#"["eq","$success_action_status","201"]"#,
                    "success-action-status",
                    "201",
                )
            },
            "calls it 'success-action-status'",
        ),
        (
            "metadata without its prefix",
            || v2().expects(r#"["eq","$x-amz-meta-user","7"]"#, "user", "7"),
            "calls it 'user'",
        ),
        (
            "late",
            || {
                let mut case = v2().condition(r#"{"acl":"private"}"#);
                case.after_file = vec!["acl".to_owned()];
                case
            },
            "'acl' comes after the file",
        ),
        (
            "no file name",
            || Case {
                file_name: None,
                ..v2().expects(r#"{"x-amz-meta-n":"a.txt"}"#, "x-amz-meta-n", "${filename}")
            },
            "still holds ${filename}",
        ),
        (
            "the case of a prefix",
            || v2().field("key", "IN/a.txt"),
            "upper and lower case",
        ),
        (
            "blanks that were signed",
            || v2().expects(r#"{"acl":"private "}"#, "acl", "private"),
            "blanks or a line end",
        ),
        (
            "quotation marks",
            || v2().expects(r#"{"acl":"private"}"#, "acl", "\"private\""),
            "quotation marks around its value",
        ),
        (
            "percent signs",
            || v2().expects(r#"{"x-amz-meta-n":"a b"}"#, "x-amz-meta-n", "a%20b"),
            "percent-encoded",
        ),
        (
            "percent signs that were signed",
            || v2().expects(r#"{"x-amz-meta-n":"a%20b"}"#, "x-amz-meta-n", "a b"),
            "percent-encoded",
        ),
        (
            "a plus sign",
            || v2().expects(r#"{"x-amz-meta-n":"a b"}"#, "x-amz-meta-n", "a+b"),
            "plus sign where a blank was signed",
        ),
        (
            "a slash in front",
            || v2().field("key", "/in/a.txt"),
            "begins with a slash",
        ),
        (
            "a chunk's key",
            || {
                v2().condition(r#"["eq","$key","in/a.txt"]"#)
                    .field("key", "in/a.txt.3")
            },
            "appends the chunk's number",
        ),
        (
            "a chunk's number",
            || v2().expects(r#"{"chunk":"0"}"#, "chunk", "1"),
            "change with every chunk",
        ),
        (
            "a charset",
            || {
                v2().expects(
                    r#"{"Content-Type":"text/plain"}"#,
                    "Content-Type",
                    "text/plain; charset=utf-8",
                )
            },
            "carries a parameter",
        ),
        (
            "a list of types",
            || {
                v2().expects(
                    r#"["starts-with","$Content-Type","image/"]"#,
                    "Content-Type",
                    "image/png,text/html",
                )
            },
            "is a list",
        ),
        (
            "http and https",
            || {
                v2().expects(
                    r#"{"success_action_redirect":"http://a.example/done"}"#,
                    "success_action_redirect",
                    "https://a.example/done",
                )
            },
            "behind a proxy that speaks TLS",
        ),
        (
            "another host",
            || {
                v2().expects(
                    r#"{"success_action_redirect":"https://a.example/done"}"#,
                    "success_action_redirect",
                    "https://b.example/done",
                )
            },
            "for the host 'a.example'",
        ),
        (
            "a slash at the end",
            || {
                v2().expects(
                    r#"{"redirect":"https://a.example/done"}"#,
                    "redirect",
                    "https://a.example/done/",
                )
            },
            "a slash at its end",
        ),
        (
            "another signing",
            || v4().condition(r#"{"x-amz-date":"20291231T110000Z"}"#),
            "of another signing",
        ),
        (
            "another value",
            || v2().expects(r#"{"acl":"private"}"#, "acl", "public-read"),
            "which is 'private'",
        ),
    ]);
}

#[test]
fn a_value_that_is_refused_is_traced_to_its_spelling() {
    named(&[
        (
            "an MD5 in hexadecimal digits",
            || {
                v2().expects(
                    r#"["starts-with","$content-md5",""]"#,
                    "Content-MD5",
                    "d41d8cd98f00b204e9800998ecf8427e",
                )
            },
            "32 hexadecimal digits",
        ),
        (
            "a checksum in hexadecimal digits",
            || v2().field("x-amz-checksum-sha256", &"0f".repeat(32)),
            "'x-amz-checksum-sha256' is written in hexadecimal digits",
        ),
        (
            "the tags of a header",
            || v2().expects(r#"["starts-with","$tagging",""]"#, "tagging", "a=b&c=d"),
            "in a form it is XML",
        ),
        (
            "encryption with a key of one's own",
            || {
                v2().expects(
                    r#"["starts-with","$x-amz-server-side-encryption-customer-algorithm",""]"#,
                    "x-amz-server-side-encryption-customer-algorithm",
                    "AES256",
                )
            },
            "does not pretend",
        ),
    ]);
}

#[test]
fn a_size_that_is_refused_is_traced_to_the_range() {
    fn of(range: &str, bytes: u64) -> Case {
        let mut case = v2().condition(&format!(r#"["content-length-range",{range}]"#));
        case.file_bytes = Some(bytes);
        case
    }
    named(&[
        ("KiB", || of("0,100", 90_000), "meant in KiB"),
        ("MB", || of("1,10", 5_000_000), "meant in MiB"),
        ("swapped", || of("100,1", 50), "swapped"),
        (
            "two ranges",
            || {
                let mut case = of("0,10", 15).condition(r#"["content-length-range",20,30]"#);
                case.file_bytes = Some(15);
                case
            },
            "no size lies in each",
        ),
        ("empty", || of("1,10", 0), "The file is empty"),
        ("too small", || of("100,1000", 10), "choose another file"),
        (
            "a little too large",
            || of("0,1000", 1001),
            "choose another file",
        ),
    ]);
}

#[test]
fn a_policy_alone_says_what_a_form_must_contain_and_what_no_form_can_meet() {
    let bucket = Bucket::parse("box").unwrap();
    let context = Context {
        bucket: &bucket,
        public_write: false,
        now: NOW,
        rules: &Rules::default(),
    };
    let of = |conditions: &str| {
        let json =
            format!(r#"{{"expiration":"2030-01-01T00:00:00Z","conditions":[{conditions}]}}"#);
        explain_policy(&STANDARD.encode(json), &context)
    };
    let good = of(
        r#"{"bucket":"box"},["starts-with","$key","in/"],["starts-with","$Content-Type",""],{"acl":"private"},["content-length-range",1,9]"#,
    );
    assert_eq!((good.refusal, good.likely_cause), (None, None));
    assert!(good.obstacles.is_empty(), "{:?}", good.obstacles);
    let required: Vec<_> = good
        .requirements
        .iter()
        .map(|part| (part.field.as_str(), part.value.as_str()))
        .collect();
    assert_eq!(required[1], ("key", "a value that begins with 'in/'"));
    assert_eq!(
        required[2],
        ("content-type", "any value, but the field must be there")
    );
    assert_eq!(required[3], ("acl", "exactly 'private'"));
    assert_eq!(
        required.last(),
        Some(&("file", "the last part of the form: a file of 1 to 9 bytes"))
    );
    for (conditions, obstacle) in [
        (
            r#"["starts-with","$key",""]"#,
            "No condition names the bucket",
        ),
        (r#"{"bucket":"box"}"#, "No condition names the key"),
        (
            r#"{"bucket":"box"},{"key":"a"},{"key":"b"}"#,
            "on the field 'key' contradict each other",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},["starts-with","$key","b"]"#,
            "on the field 'key' contradict each other",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},["content-length-range",9,1]"#,
            "No file has a size",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},["eq","acl","private"]"#,
            "No form can meet the condition",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},{"x-ignore-a":"b"}"#,
            "counts as not sent",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},{"content-length-range":"1,10"}"#,
            "write it as a list with its two bounds",
        ),
        (
            r#"{"bucket":"box"},{"key":"a"},["starts-with","$file",""]"#,
            "The file is no field",
        ),
    ] {
        let told = of(conditions).obstacles;
        assert!(
            told.iter().any(|told| told.contains(obstacle)),
            "{conditions}: {told:?}"
        );
    }
    let ranged = of(r#"{"key":"a"},{"content-length-range":"1,10"}"#).requirements;
    assert!(
        ranged
            .iter()
            .all(|part| part.field != "content-length-range")
    );
    let broken = explain_policy("bm90aGluZw==", &context);
    assert_eq!(
        broken.refusal.as_deref(),
        Some("Invalid Policy: Invalid JSON.")
    );
    assert!(broken.likely_cause.is_some() && broken.requirements.is_empty());
    let late = Context {
        now: Timestamp::from_seconds(1_900_000_000),
        ..context
    };
    let json = STANDARD.encode(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]}"#);
    let cause = explain_policy(&json, &late).likely_cause.unwrap();
    assert!(cause.contains("ask for a fresh form"), "{cause}");
}

#[test]
fn a_policy_that_is_whole_and_no_text_is_not_taken_for_a_cut_one() {
    fn with_bom(text: &str) -> String {
        let mut bytes = vec![0xff, 0xfe];
        bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        STANDARD.encode(bytes)
    }
    fn sent(policy: String) -> Case {
        let mut case = v2().field("signature", &sign_v2(&secret(SECRET), &policy));
        case = case.field("policy", &policy);
        case.signed_by(|_| "(none)".to_owned())
            .sent_as(|_| "(none)".to_owned())
    }
    named(&[
        (
            "UTF-16 with its mark",
            || sent(with_bom(r#"{"expiration":"2030-01-01T00:00:00Z"}"#)),
            "The policy's text is UTF-16",
        ),
        (
            "UTF-16 with letters that are two bytes",
            || {
                let text = "{\"\u{fc}\":\"\"}".encode_utf16();
                sent(STANDARD.encode(text.flat_map(u16::to_le_bytes).collect::<Vec<_>>()))
            },
            "The policy's text is UTF-16",
        ),
        (
            "Latin-1",
            || {
                sent(STANDARD.encode(b"{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[{\"key\":\"\xfc\"}]}"))
            },
            "no UTF-8, as a text in Latin-1 does",
        ),
        (
            "bytes with a zero among them",
            || sent(STANDARD.encode(b"{\"key\":\"\xfc\0\"}")),
            "no UTF-8, as a text in Latin-1 does",
        ),
        (
            "an odd number of bytes, most of them zero",
            || sent(STANDARD.encode(b"\xfc\0\0\0\0\0\0")),
            "no UTF-8, as a text in Latin-1 does",
        ),
        (
            "a text with a zero in it",
            || sent(STANDARD.encode(b"{\"expiration\":\"\0\"}")),
            "The policy is no JSON: control character",
        ),
        (
            "gzip",
            || {
                sent(
                    STANDARD
                        .encode(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56\x4a\x04\x00"),
                )
            },
            "compressed (gzip)",
        ),
    ]);
}

#[test]
fn an_expiration_that_is_no_date_is_traced_to_the_place_of_its_fault() {
    for (value, fault) in [
        ("1893456000", "a number of seconds"),
        ("1893456000.5", "a number of seconds"),
        ("-1", "a number of seconds"),
        ("null", "it is no text"),
        ("{}", "it is no text"),
        (r#""""#, "it is empty"),
        (r#"" 2030-01-01T00:00:00Z""#, "blanks around it"),
        (r#""20300101T000000Z""#, "lacks the hyphens and colons"),
        (r#""Tue, 01 Jan 2030 00:00:00 GMT""#, "written in words"),
        (r#""2030-1-1T0:0:0Z""#, "its date is not four digits"),
        (r#""01.01.2030""#, "its date is not four digits"),
        (r#""2030-01-01""#, "it has no time of day"),
        (r#""2030-01-01 00:00:00Z""#, "a blank where the T belongs"),
        (r#""2030-01-01t00:00:00Z""#, "its t must be a capital T"),
        (r#""2030-01-01/00:00:00Z""#, "no T between"),
        (r#""2030-01-01T00:00Z""#, "it has no seconds"),
        (r#""2030-01-01T00""#, "its time is not two digits each"),
        (
            r#""2030-01-01T0:00:00Z""#,
            "its time is not two digits each",
        ),
        (r#""2030-01-01T00:00:00.Z""#, "its fraction of a second"),
        (
            r#""2030-01-01T00:00:00.0123456789Z""#,
            "its fraction of a second",
        ),
        (r#""2030-01-01T00:00:00""#, "names no time zone"),
        (r#""2030-01-01T00:00:00.000""#, "names no time zone"),
        (r#""2030-01-01T00:00:00z""#, "its z must be a capital Z"),
        (r#""2030-01-01T00:00:00+0000""#, "lacks the colon"),
        (r#""2030-01-01T00:00:00-0500""#, "lacks the colon"),
        (r#""2030-01-01T00:00:00 Z""#, "a blank before its time zone"),
        (r#""2030-01-01T00:00:00Z[UTC]""#, "is no time zone"),
        (r#""2030-13-01T00:00:00Z""#, "no date that exists"),
        (r#""2030-01-01T00:00:00+99:99""#, "no date that exists"),
    ] {
        let json = format!(r#"{{"expiration":{value},"conditions":[]}}"#);
        let cause = v2().json(&json).explained().likely_cause.unwrap();
        assert!(cause.contains(fault), "{value}: {cause}");
    }
}

#[test]
fn what_is_no_json_is_traced_to_its_place_and_a_range_to_its_grammar() {
    named(&[
        ("a list", || v2().json("[]"), "must be one JSON object"),
        (
            "a comment",
            || v2().json(r#"{"expiration":"2030-01-01T00:00:00Z", /* all */ "conditions":[]}"#),
            "no JSON: key must be a string at line 1 column 39",
        ),
        (
            "Python's None",
            || v2().json(r#"{"expiration":None,"conditions":[]}"#),
            "no JSON: expected value at line 1 column 15",
        ),
        (
            "something behind the end",
            || v2().json("{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[]}\n}"),
            "trailing characters at line 2 column 1",
        ),
        (
            "a range as a member",
            || v2().condition(r#"{"Content-Length-Range":[1,5]}"#),
            "write it as a list with its two bounds",
        ),
        (
            "a range as a member behind an escaped dollar",
            || {
                v2().expects(r#"["eq","\$acl","private"]"#, "acl", "private")
                    .condition(r#"{"content-length-range":[1,5]}"#)
            },
            "write it as a list with its two bounds",
        ),
        (
            "a list as a value",
            || v2().condition(r#"{"acl":["private"]}"#),
            "where a text belongs",
        ),
        (
            "a range as a text",
            || v2().condition(r#"{"content-length-range":"1,10"}"#),
            "write it as a list with its two bounds",
        ),
        (
            "a range with eq",
            || v2().condition(r#"["eq","content-length-range","5"]"#),
            "write it as a list with its two bounds",
        ),
        (
            "a range with eq and a dollar",
            || v2().condition(r#"["eq","$content-length-range","5"]"#),
            "write it as a list with its two bounds",
        ),
        (
            "a value that names the range",
            || v2().condition(r#"["eq","acl","content-length-range"]"#),
            "without the '$'",
        ),
        (
            "a bound beyond every file",
            || v2().condition(r#"["content-length-range",0,10000000000000000000000000]"#),
            "none larger than any file",
        ),
    ]);
}

#[test]
fn a_field_that_is_not_there_is_asked_for_only_when_it_helps() {
    /// Sends a field once with each value.
    fn with_each(values: &[&str], condition: &str) -> Case {
        let mut case = v2().condition(condition);
        let fields = values.iter().map(|value| (*value).to_owned());
        case.fields
            .extend(fields.map(|value| ("x-amz-meta-a".to_owned(), value)));
        case
    }
    named(&[
        (
            "a value that was signed",
            || v2().condition(r#"{"acl":"private"}"#),
            "has none before the file; send it with the value 'private'.",
        ),
        (
            "a prefix",
            || v2().condition(r#"["starts-with","$x-amz-meta-a","v"]"#),
            "send it with a value that begins with 'v'.",
        ),
        (
            "any value",
            || v2().condition(r#"["starts-with","$acl",""]"#),
            "send it, if need be empty.",
        ),
        (
            "an empty value",
            || v2().condition(r#"{"x-amz-meta-a":""}"#),
            "send it empty, as it was signed.",
        ),
        (
            "a token",
            || v2().condition(r#"{"x-amz-meta-token":"hush-hush-hush"}"#),
            "send it with what was signed.",
        ),
        (
            "an ignored field",
            || v2().expects(r#"{"x-ignore-a":"1"}"#, "x-ignore-a", "1"),
            "counts as not sent, so no form can meet the condition on 'x-ignore-a': take it out",
        ),
        (
            "a beginning of names",
            || v2().expects(r#"["starts-with","$x-amz-meta-",""]"#, "x-amz-meta-a", "1"),
            "write one condition for each field",
        ),
        (
            "a pattern",
            || v2().expects(r#"["starts-with","$x-amz-meta-*",""]"#, "x-amz-meta-a", "1"),
            "write one condition for each field",
        ),
        (
            "the file",
            || v2().condition(r#"["starts-with","$file",""]"#),
            "the file is no field: take the condition out",
        ),
        (
            "the other version's key",
            || v4().condition(r#"["starts-with","$AWSAccessKeyId",""]"#),
            "a field of Signature Version 2, and the form is signed by Version 4: take it out",
        ),
        (
            "the other version's date",
            || v2().condition(r#"["starts-with","$x-amz-date",""]"#),
            "a field of Signature Version 4, and the form is signed by Version 2: take it out",
        ),
        (
            "a field that came twice",
            || with_each(&["1", "2"], r#"{"x-amz-meta-a":"1"}"#),
            "came more than once",
        ),
        (
            "a field that came twice, the other first",
            || with_each(&["2", "1"], r#"{"x-amz-meta-a":"1"}"#),
            "came more than once",
        ),
        (
            "a field that came three times",
            || with_each(&["2", "1,5", "3"], r#"{"x-amz-meta-a":"1,5"}"#),
            "came more than once",
        ),
        (
            "a prefix in the second of two",
            || with_each(&["a", "v1"], r#"["starts-with","$x-amz-meta-a","v"]"#),
            "came more than once",
        ),
        (
            "a field that came twice, and never as it was signed",
            || with_each(&["2", "31"], r#"{"x-amz-meta-a":"1"}"#),
            "has another value than was signed, which is '1'",
        ),
        (
            "a field that came once, with a comma in it",
            || with_each(&["2,1"], r#"{"x-amz-meta-a":"1"}"#),
            "has another value than was signed, which is '1'",
        ),
        (
            "two conditions that no value meets",
            || v2().condition(r#"{"key":"out/a.txt"}"#),
            "on the field 'key' contradict each other",
        ),
        (
            "too many types",
            || {
                v2().expects(
                    r#"["starts-with","$Content-Type","image/"]"#,
                    "Content-Type",
                    &["image/png"; 101].join(","),
                )
            },
            "a list of more than 100 types",
        ),
    ]);
}

#[test]
fn a_field_that_acts_is_to_be_signed_as_it_was_sent() {
    for (name, value, advice) in [
        ("acl", "public-read", r#"add {"acl":"public-read"} to"#),
        (
            "success_action_redirect",
            "https://a.example/",
            r#"add {"success_action_redirect":"https://a.example/"} to"#,
        ),
        (
            "redirect",
            "https://a.example/",
            r#"add {"redirect":"https"#,
        ),
        (
            "success_action_status",
            "201",
            r#"add {"success_action_status":"201"} to"#,
        ),
        (
            "tagging",
            "<Tagging a=\"b\"/>",
            r#"add {"tagging":"<Tagging a=\"b\"/>"} to"#,
        ),
        (
            "x-amz-storage-class",
            "STANDARD",
            r#"add {"x-amz-storage-class":"STANDARD"} to"#,
        ),
        (
            "acl",
            &"x".repeat(201),
            "add a condition with exactly its value to",
        ),
        (
            "x-amz-meta-a",
            "1",
            r#"add ["starts-with","$x-amz-meta-a",""] to"#,
        ),
        (
            "Content-Type",
            "a/b",
            r#"add ["starts-with","$content-type",""] to"#,
        ),
    ] {
        let cause = v2().field(name, value).explained().likely_cause.unwrap();
        assert!(cause.contains(advice), "{name}: {cause}");
    }
    let key = |case: &mut Case| case.conditions.retain(|json| !json.contains("$key"));
    let mut case = v2();
    key(&mut case);
    let cause = case.explained().likely_cause.unwrap();
    assert!(cause.contains(r#"add {"key":"in/a.txt"} to"#), "{cause}");
}

#[test]
fn a_field_that_holds_the_files_name_is_to_be_signed_as_far_as_it_is_the_same_for_every_file() {
    fn without_key() -> Case {
        let mut case = v2();
        case.conditions.retain(|json| !json.contains("$key"));
        case
    }
    let long = format!("{}${{filename}}", "x".repeat(201));
    for (case, advice) in [
        (
            without_key().field("key", "in/${filename}"),
            r#"add ["starts-with","$key","in/"] to"#,
        ),
        (
            without_key().field("key", "${filename}-${filename}"),
            r#"add ["starts-with","$key",""] to"#,
        ),
        (
            // Without a file name the variable stays, and the next file may have one.
            Case {
                file_name: None,
                ..without_key().field("key", "in/${filename}")
            },
            r#"add ["starts-with","$key","in/"] to"#,
        ),
        (
            // What looks like the file's name, and was sent so.
            without_key().field("key", "in/a.txt"),
            r#"add {"key":"in/a.txt"} to"#,
        ),
        (
            v2().field(
                "success_action_redirect",
                "https://a.example/?of=${filename}",
            ),
            r#"add ["starts-with","$success_action_redirect","https://a.example/?of="] to"#,
        ),
        (
            v2().field("tagging", "<Tagging a=\"b\">${filename}"),
            r#"add ["starts-with","$tagging","<Tagging a=\"b\">"] to"#,
        ),
        (
            v2().field("success_action_redirect", &long),
            "add a condition (starts-with) with its part before the file's name to",
        ),
        (
            v2().field("a\"b", "1"),
            r#"add ["starts-with","$a\"b",""] to"#,
        ),
    ] {
        let cause = case.explained().likely_cause.unwrap();
        assert!(cause.contains(advice), "{advice}: {cause}");
    }
}

/// Base64 as URLs have it, of a policy whose base64 differs there.
fn for_urls(text: &str) -> String {
    let spelt = text.replace('+', "-").replace('/', "_");
    assert_ne!(spelt, text);
    spelt.trim_end_matches('=').to_owned()
}

#[test]
fn a_policy_that_was_altered_on_its_way_is_told_from_another_secret() {
    named(&[
        (
            "percent-encoded",
            || v2().sent_as(|t| t.replacen('e', "%65", 1).replace('=', "%3D")),
            "percent-encoded after it was signed",
        ),
        (
            "percent-encoded, and changed",
            || v2().sent_as(|t| t.replacen('e', "%65", 1) + "%20"),
            "another secret",
        ),
        (
            "Python's bytes",
            || v2().sent_as(|t| format!("b'{t}'")),
            "quotation marks around it that were not signed",
        ),
        (
            "quotation marks",
            || v4().sent_as(|t| format!("\"{t}\"")),
            "quotation marks around it that were not signed",
        ),
        (
            "base64 of URLs without padding",
            || {
                v4().expects(
                    r#"{"x-amz-meta-a":"???>>>~~~???>>>~~~"}"#,
                    "x-amz-meta-a",
                    "a",
                )
                .sent_as(for_urls)
            },
            "another spelling of base64",
        ),
        (
            "nothing",
            || v2().sent_as(|_| String::new()),
            "The policy is empty",
        ),
        (
            "undefined",
            || v4().sent_as(|_| "undefined".to_owned()),
            "The policy is 'undefined'",
        ),
        (
            "a percent-encoded signature",
            || {
                v2().signed_by(|t| {
                    let signature = sign_v2(&secret(SECRET), t);
                    signature
                        .replace('+', "%2B")
                        .replace('/', "%2F")
                        .replace('=', "%3D")
                })
            },
            "not percent-encoded, in base64",
        ),
        (
            "a signature in quotation marks",
            || v4().signed_by(|t| format!("\"{}\"", sign_v4(&secret(SECRET), DAY, "us-east-1", t))),
            "quotation marks around it",
        ),
        (
            "a percent-encoded signature of another secret",
            || v2().signed_by(|t| sign_v2(&secret("other"), t).replace('=', "%3D")),
            "another secret",
        ),
        (
            "another secret in Version 4",
            || v4().signed_by(|t| sign_v4(&secret("other"), DAY, "us-east-1", t)),
            "or its key was derived otherwise",
        ),
        (
            "a percent-encoded credential",
            || {
                v4().field(
                    "x-amz-credential",
                    "S3POSTEXAMPLEKEY%2F20291231%2Fus-east-1%2Fs3%2Faws4_request",
                )
            },
            "percent-encoded (%2F)",
        ),
    ]);
}

#[test]
fn a_key_that_was_derived_otherwise_is_told_from_another_secret() {
    fn chain(first: &str, spell: fn(Vec<u8>) -> Vec<u8>, text: &str) -> String {
        let mut key = first.as_bytes().to_vec();
        for part in [DAY, "us-east-1", "s3", "aws4_request"] {
            key = spell(hmac_sha256(&key, part));
        }
        hex(&hmac_sha256(&key, text))
    }
    named(&[
        (
            "a key of last week",
            || v4().signed_by(|t| sign_v4(&secret(SECRET), "20291224", "us-east-1", t)),
            "another day",
        ),
        (
            "a key of the day on which the policy ends",
            || {
                let mut case =
                    v4().signed_by(|t| sign_v4(&secret(SECRET), "20300601", "us-east-1", t));
                case.expiration = "2030-06-01T00:00:00Z";
                case
            },
            "another day",
        ),
        (
            "no AWS4",
            || v4().signed_by(|t| chain(SECRET, |tag| tag, t)),
            "derived from the bare secret",
        ),
        (
            "digits in between",
            || v4().signed_by(|t| chain(&format!("AWS4{SECRET}"), |tag| hex(&tag).into_bytes(), t)),
            "from digests in hexadecimal digits",
        ),
    ]);
}

#[test]
fn the_field_whose_value_is_refused_is_named_with_its_limit() {
    named(&[
        (
            "a long key",
            || v2().field("key", &format!("in/{}", "k".repeat(1022))),
            "The field 'key' has 1025 bytes, and a key may have 1024",
        ),
        (
            "much metadata",
            || {
                v2().expects(
                    r#"["starts-with","$x-amz-meta-a",""]"#,
                    "x-amz-meta-a",
                    &"m".repeat(2048),
                )
            },
            "may have 2048 bytes in all",
        ),
        (
            "a storage class",
            || {
                v2().expects(
                    r#"{"x-amz-storage-class":"COLD"}"#,
                    "x-amz-storage-class",
                    "COLD",
                )
            },
            "The field 'x-amz-storage-class' has a value",
        ),
        (
            "a location",
            || {
                v2().expects(
                    r#"{"x-amz-website-redirect-location":"a"}"#,
                    "x-amz-website-redirect-location",
                    "a",
                )
            },
            "The field 'x-amz-website-redirect-location' has a value",
        ),
        (
            "an MD5",
            || v2().expects(r#"{"content-md5":"a"}"#, "Content-MD5", "a"),
            "The field 'Content-MD5' has a value",
        ),
        (
            "two checksums",
            || {
                v2().field("x-amz-checksum-crc32", "AAAAAA==")
                    .field("x-amz-checksum-crc32c", "AAAAAA==")
            },
            "A field 'x-amz-checksum-...' has a value",
        ),
        (
            "no tags",
            || v2().expects(r#"{"tagging":""}"#, "tagging", ""),
            "The field 'tagging' is empty; leave it out",
        ),
        (
            "tags in base64",
            || {
                let tags = STANDARD.encode("<Tagging><TagSet/></Tagging>");
                v2().expects(r#"["starts-with","$tagging",""]"#, "tagging", &tags)
            },
            "is in base64, and takes the XML as it is",
        ),
        (
            "a word",
            || v2().expects(r#"{"tagging":"red"}"#, "tagging", "red"),
            "is no XML; it must be <Tagging>",
        ),
        (
            "XML that breaks off",
            || v2().expects(r#"{"tagging":"<Tagging>"}"#, "tagging", "<Tagging>"),
            "The field 'tagging' has a value",
        ),
    ]);
}

#[test]
fn a_file_beyond_every_post_of_a_foreign_form_is_told_to_come_in_parts_and_never_in_chunks() {
    fn of(bytes: u64) -> Case {
        Case {
            file_bytes: Some(bytes),
            ..v2()
        }
    }
    fn beyond_its_range() -> Case {
        Case {
            file_bytes: Some(6_000_000_000),
            ..v2().condition(r#"["content-length-range",0,9000000000]"#)
        }
    }
    named(&[
        ("6 GB", || of(5_999_959_040), "use a multipart upload"),
        ("20 GB", || of(20_000_000_000), "use a multipart upload"),
        (
            "a range beyond it",
            beyond_its_range,
            "use a multipart upload",
        ),
        (
            "a byte too many",
            || Case {
                file_bytes: Some(1001),
                ..v2().condition(r#"["content-length-range",0,1000]"#)
            },
            "has 1001 bytes and the policy allows 0 to 1000",
        ),
    ]);
    for case in [of(6 << 30), beyond_its_range()] {
        let cause = case.explained().likely_cause.unwrap();
        assert!(!cause.contains("chunk"), "{cause}");
    }
}
