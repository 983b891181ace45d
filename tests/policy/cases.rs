//! The form post as sentences: a valid signed form plus ONE mutation gives one reason, in Amazon's words.
//!
//! Each row runs under Signature Version 2 and under Version 4 unless it says otherwise. Nothing here touches a clock, a file or a
//! socket.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's own exemption stops at helper functions

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox::model::{
    AccessKey, Bucket, CannedAcl, Id, KeyLimits, KeyPurpose, ObjectKey, Permission, Secret,
    Timestamp, TokenHash,
};
use pillarbox::policy::PolicyErrorKind as Kind;
use pillarbox::policy::{
    Context, Explanation, Grant, PolicyError, PostForm, PostFormBuilder, Rules, SessionForm,
    SuccessAction, Surroundings, authorize, claim, explain_within, sign_v2, sign_v4,
};

const KEY_ID: &str = "S3POSTEXAMPLEKEY";
const SECRET: &str = "s3post-example-secret";
const CREDENTIAL: &str = "S3POSTEXAMPLEKEY/20291231/us-east-1/s3/aws4_request";
/// 2029-12-31T12:00:00Z, in seconds; twelve hours before the policies here expire.
const NOW: i64 = 1_893_412_800;
const EXPIRES: i64 = NOW + 12 * 3600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V2,
    V4,
}
use Version::{V2, V4};

const BOTH: &[Version] = &[V2, V4];

/// A form that is about to be signed and judged.
#[derive(Clone)]
struct Case {
    version: Version,
    expiration: String,
    conditions: Vec<String>,
    /// Replaces expiration and conditions.
    json: Option<String>,
    /// Replaces the base64 text.
    text: Option<String>,
    fields: Vec<(String, String)>,
    /// Fields that are taken out after signing, or replaced.
    overrides: Vec<(String, Option<String>)>,
    file_name: Option<&'static str>,
    key: Option<AccessKey>,
    bucket: &'static str,
    public_write: bool,
    now: Timestamp,
    rules: Rules,
    region: Option<&'static str>,
}

fn access_key(purpose: KeyPurpose) -> AccessKey {
    AccessKey {
        id: KEY_ID.to_owned(),
        secret: Secret::new(SECRET.to_owned()),
        purpose,
        created_at: Timestamp::default(),
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    }
}

impl Case {
    fn valid(version: Version) -> Self {
        let case = Self {
            version,
            expiration: "2030-01-01T00:00:00Z".to_owned(),
            conditions: Vec::new(),
            json: None,
            text: None,
            fields: Vec::new(),
            overrides: Vec::new(),
            file_name: Some("a.txt"),
            key: Some(access_key(KeyPurpose::User)),
            bucket: "box",
            public_write: false,
            now: Timestamp::from_seconds(NOW),
            rules: Rules::default(),
            region: Some("us-east-1"),
        };
        let case = case
            .condition(r#"{"bucket":"box"}"#)
            .condition(r#"["starts-with","$key","in/"]"#)
            .field("key", "in/a.txt");
        if version == V2 {
            return case.field("AWSAccessKeyId", KEY_ID);
        }
        case.condition(r#"{"x-amz-algorithm":"AWS4-HMAC-SHA256"}"#)
            .condition(r#"["starts-with","$x-amz-credential","S3POSTEXAMPLEKEY/"]"#)
            .condition(r#"["starts-with","$X-Amz-Date",""]"#)
            .field("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
            .field("X-Amz-Credential", CREDENTIAL)
            .field("X-Amz-Date", "20291231T120000Z")
    }

    fn condition(mut self, json: &str) -> Self {
        self.conditions.push(json.to_owned());
        self
    }

    fn without_condition(mut self, part: &str) -> Self {
        let before = self.conditions.len();
        self.conditions.retain(|json| !json.contains(part));
        assert_ne!(self.conditions.len(), before, "no condition {part}");
        self
    }

    fn json(mut self, json: &str) -> Self {
        self.json = Some(json.to_owned());
        self
    }

    fn policy_text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Sets the field with this exact spelling, or adds it at the end.
    fn field(mut self, name: &str, value: &str) -> Self {
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some((_, held)) => value.clone_into(held),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// A field with a condition that allows any value of it.
    fn covered(self, name: &str, value: &str) -> Self {
        let json = format!(r#"["starts-with","${name}",""]"#);
        self.condition(&json).field(name, value)
    }

    fn without(mut self, name: &str) -> Self {
        self.overrides.push((name.to_owned(), None));
        self
    }

    fn unsigned(self) -> Self {
        let members = [
            "AWSAccessKeyId",
            "signature",
            "x-amz-algorithm",
            "x-amz-credential",
            "x-amz-date",
            "x-amz-signature",
        ];
        members.into_iter().fold(self, Self::without)
    }

    fn signature(mut self, value: &str) -> Self {
        let name = self.signature_field().to_owned();
        self.overrides.push((name, Some(value.to_owned())));
        self
    }

    fn signature_field(&self) -> &'static str {
        match self.version {
            V2 => "signature",
            V4 => "x-amz-signature",
        }
    }

    fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    fn posted_to(mut self, bucket: &'static str) -> Self {
        self.bucket = bucket;
        self
    }

    fn policy_base64(&self) -> String {
        let json = self.json.clone().unwrap_or_else(|| {
            let conditions = self.conditions.join(",");
            let expiration = &self.expiration;
            format!(r#"{{"expiration":"{expiration}","conditions":[{conditions}]}}"#)
        });
        STANDARD.encode(json)
    }

    /// All fields as they go over the wire.
    fn sent(&self) -> Vec<(String, String)> {
        let policy = self.text.clone().unwrap_or_else(|| self.policy_base64());
        let secret = Secret::new(SECRET.to_owned());
        let signature = match self.version {
            V2 => sign_v2(&secret, &policy),
            V4 => sign_v4(&secret, "20291231", "us-east-1", &policy),
        };
        let mut fields = self.fields.clone();
        fields.push(("Policy".to_owned(), policy));
        fields.push((self.signature_field().to_owned(), signature));
        for (name, value) in &self.overrides {
            fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
            fields.extend(value.clone().map(|value| (name.clone(), value)));
        }
        fields
    }

    fn form(&self) -> Result<PostForm, PolicyError> {
        let mut builder = PostFormBuilder::default();
        for (name, value) in self.sent() {
            builder.push(&name, value.as_bytes())?;
        }
        builder.finish(self.file_name)
    }

    fn judge(&self) -> Result<Grant, PolicyError> {
        let form = self.form()?;
        let bucket = Bucket::parse(self.bucket).unwrap();
        let context = self.context(&bucket);
        authorize(&claim(&form, self.region)?, self.key.as_ref(), &context)
    }

    fn explained(&self) -> Explanation {
        let bucket = Bucket::parse(self.bucket).unwrap();
        let form = self.form().unwrap();
        explain_within(
            &form,
            self.region,
            self.key.as_ref(),
            &self.context(&bucket),
            &Surroundings::default(),
        )
    }

    fn context<'a>(&'a self, bucket: &'a Bucket) -> Context<'a> {
        Context {
            bucket,
            public_write: self.public_write,
            now: self.now,
            rules: &self.rules,
        }
    }
}

type Mutation = fn(Case) -> Case;
/// A sentence, the mutation of the valid form, and the message that it must give.
type Row<'a> = (&'a str, Mutation, &'a str);

#[track_caller]
fn refused(versions: &[Version], kind: Kind, rows: &[Row<'_>]) {
    for version in versions {
        for (sentence, mutation, message) in rows {
            let Err(error) = mutation(Case::valid(*version)).judge() else {
                panic!("{version:?}: {sentence}: was granted");
            };
            assert_eq!(error.message(), *message, "{version:?}: {sentence}");
            assert_eq!(error.kind(), kind, "{version:?}: {sentence}");
        }
    }
}

#[track_caller]
fn granted(rows: &[(&str, Mutation)]) {
    for version in [V2, V4] {
        for (sentence, mutation) in rows {
            if let Err(error) = mutation(Case::valid(version)).judge() {
                panic!("{version:?}: {sentence}: {}", error.message());
            }
        }
    }
}

#[test]
fn the_valid_form_is_granted_what_it_asks_and_no_more() {
    for version in [V2, V4] {
        let grant = Case::valid(version).judge().unwrap();
        assert_eq!(grant.access_key_id(), Some(KEY_ID));
        assert_eq!(grant.purpose(), Some(KeyPurpose::User));
        assert_eq!(grant.session(), None);
        assert_eq!(grant.bucket().as_str(), "box");
        assert_eq!(grant.key().as_str(), "in/a.txt");
        assert_eq!(grant.size_range(), (0, 5 << 30));
        assert_eq!(grant.headers().iter().count(), 0);
        assert_eq!(grant.attributes().acl, CannedAcl::Private);
        assert_eq!(grant.success(), &SuccessAction::Status204);
        assert_eq!(grant.content_md5(), None);
    }
}

#[test]
fn a_form_that_nobody_signed_is_denied() {
    refused(
        BOTH,
        Kind::AccessDenied,
        &[
            ("only key and policy", Case::unsigned, "Access Denied"),
            (
                "only a key, into a private bucket",
                |c| c.unsigned().without("policy"),
                "Access Denied",
            ),
            (
                "key and policy, into a public bucket",
                |mut c| {
                    c.public_write = true;
                    c.unsigned()
                },
                "Access Denied",
            ),
        ],
    );
}

#[test]
fn without_policy_and_signature_a_public_bucket_takes_any_fields_but_another_bucket() {
    let mut case = Case::valid(V2)
        .unsigned()
        .without("policy")
        .field("acl", "public-read")
        .field("unheard-of", "1");
    case.public_write = true;
    let grant = case.judge().unwrap();
    assert_eq!(grant.access_key_id(), None);
    assert_eq!(grant.attributes().acl, CannedAcl::PublicRead);
    let error = case.field("bucket", "other").judge().unwrap_err();
    assert_eq!(error.kind(), Kind::ConditionFailed);
}

#[test]
fn a_missing_member_is_named_as_amazon_prints_it() {
    let rows: &[(Version, &[&str], &str)] = &[
        (V2, &["key"], "key"),
        (V2, &["signature"], "Signature"),
        (V2, &["AWSAccessKeyId"], "AWSAccessKeyId"),
        (V2, &["policy"], "policy"),
        (V4, &["key"], "key"),
        (V4, &["x-amz-signature"], "X-Amz-Signature"),
        (
            V4,
            &["x-amz-algorithm", "x-amz-credential"],
            "X-Amz-Algorithm",
        ),
        (V4, &["x-amz-algorithm"], "X-Amz-Algorithm"),
        (V4, &["x-amz-credential"], "X-Amz-Credential"),
        (V4, &["x-amz-date"], "X-Amz-Date"),
        (V4, &["policy"], "policy"),
    ];
    for (version, missing, name) in rows {
        let case = missing
            .iter()
            .fold(Case::valid(*version), |case, name| case.without(name));
        let error = case.judge().unwrap_err();
        assert_eq!(
            error.kind(),
            Kind::InvalidArgument,
            "{version:?} {missing:?}"
        );
        let message = format!(
            "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
        );
        assert_eq!(error.message(), message, "{version:?} {missing:?}");
        let extras = [
            ("ArgumentName", (*name).to_owned()),
            ("ArgumentValue", String::new()),
        ];
        assert_eq!(error.extras(), extras, "{version:?} {missing:?}");
    }
}

#[test]
fn a_mixture_of_both_versions_and_an_empty_key_are_refused() {
    const MIXED: &str = "A form must not be signed with Signature Version 2 and 4 at once.";
    refused(
        &[V4],
        Kind::InvalidArgument,
        &[
            (
                "a V2 signature beside",
                |c| c.covered("signature", "AAAA"),
                MIXED,
            ),
            (
                "a V2 key id beside",
                |c| c.covered("AWSAccessKeyId", KEY_ID),
                MIXED,
            ),
        ],
    );
    refused(
        BOTH,
        Kind::InvalidArgument,
        &[(
            "an empty key",
            |c| c.field("key", ""),
            "User key must have a length greater than 0.",
        )],
    );
}

#[test]
fn every_part_of_a_version_4_scope_is_checked() {
    const MALFORMED: &str = r#"the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"."#;
    let rows = [
        ("S3POSTEXAMPLEKEY", MALFORMED),
        ("", MALFORMED),
        ("/20291231/us-east-1/s3/aws4_request", MALFORMED),
        ("20291231/us-east-1/s3/aws4_request", MALFORMED),
        (
            "S3POSTEXAMPLEKEY/2029-12-31/us-east-1/s3/aws4_request",
            r#"incorrect date format "2029-12-31". This date in the credential must be in the format "yyyyMMdd"."#,
        ),
        (
            "S3POSTEXAMPLEKEY/20291231/eu-west-1/s3/aws4_request",
            "the region 'eu-west-1' is wrong; expecting 'us-east-1'",
        ),
        (
            "S3POSTEXAMPLEKEY/20291231/us-east-1/ec2/aws4_request",
            r#"incorrect service "ec2". This endpoint belongs to "s3"."#,
        ),
        (
            "S3POSTEXAMPLEKEY/20291231/us-east-1/s3/aws5_request",
            r#"incorrect terminal "aws5_request". This endpoint uses "aws4_request"."#,
        ),
    ];
    for (credential, fault) in rows {
        let case = Case::valid(V4).field("X-Amz-Credential", credential);
        let error = case.judge().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{credential}");
        let message = format!("Error parsing the X-Amz-Credential parameter; {fault}");
        assert_eq!(error.message(), message, "{credential}");
        assert_eq!(error.extra("ArgumentName"), Some("x-amz-credential"));
        assert_eq!(error.extra("ArgumentValue"), Some(credential));
    }
}

#[test]
fn a_version_4_algorithm_and_date_have_one_form() {
    refused(
        &[V4],
        Kind::InvalidArgument,
        &[
            (
                "another algorithm",
                |c| c.field("X-Amz-Algorithm", "AWS4-HMAC-SHA1"),
                "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
            ),
            (
                "a date with separators",
                |c| c.field("X-Amz-Date", "2029-12-31T12:00:00Z"),
                "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
            ),
            (
                "the day before the scope's",
                |c| c.field("X-Amz-Date", "20291230T120000Z"),
                "Invalid credential date \"20291231\". This date is not the same as X-Amz-Date: \"20291230T120000Z\".",
            ),
        ],
    );
}

#[test]
fn any_region_will_do_where_none_is_set_but_the_signature_must_be_for_it() {
    let mut case = Case::valid(V4);
    case.region = None;
    assert!(case.judge().is_ok());
    let elsewhere = "S3POSTEXAMPLEKEY/20291231/eu-west-1/s3/aws4_request";
    let error = case
        .field("X-Amz-Credential", elsewhere)
        .judge()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::SignatureDoesNotMatch);
}

#[test]
fn the_age_of_a_version_4_date_does_not_matter() {
    let mut case = Case::valid(V4).at(Timestamp::from_seconds(NOW + 8 * 365 * 86_400));
    case.expiration = "2039-01-01T00:00:00Z".to_owned();
    assert!(case.judge().is_ok());
}

#[test]
fn the_signature_is_proven_before_the_policy_is_read() {
    const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    refused(
        BOTH,
        Kind::SignatureDoesNotMatch,
        &[
            (
                "a signature over other text",
                |c| c.signature(&sign_v2(&Secret::new(SECRET.to_owned()), "other")),
                MISMATCH,
            ),
            ("an empty signature", |c| c.signature(""), MISMATCH),
            ("neither base64 nor hex", |c| c.signature("!!"), MISMATCH),
            (
                "a policy cut by two characters under the signature of the whole",
                |c| {
                    let policy = c.policy_base64();
                    let (_, signature) = c.sent().pop().unwrap();
                    c.signature(&signature)
                        .policy_text(&policy[..policy.len() - 2])
                },
                MISMATCH,
            ),
            (
                "a malformed policy under a wrong signature",
                |c| c.json("{").signature("AAAA"),
                MISMATCH,
            ),
            (
                "another secret",
                |mut c| {
                    c.key.as_mut().unwrap().secret = Secret::new("another".to_owned());
                    c
                },
                MISMATCH,
            ),
        ],
    );
}

#[test]
fn a_wrong_signature_echoes_what_was_signed_to_the_client_and_not_to_the_log() {
    for version in [V2, V4] {
        let case = Case::valid(version).signature("AAAA").policy_text("e30=");
        let error = case.judge().unwrap_err();
        let expected = [
            ("AWSAccessKeyId", KEY_ID.to_owned()),
            ("StringToSign", "e30=".to_owned()),
            ("SignatureProvided", "AAAA".to_owned()),
            ("StringToSignBytes", "65 33 30 3d".to_owned()),
        ];
        assert_eq!(error.extras(), expected);
        let logged = format!("{error} {error:?}");
        for hidden in ["e30=", "AAAA", KEY_ID] {
            assert!(!logged.contains(hidden), "{logged}");
        }
    }
}

#[test]
fn a_key_that_nobody_has_is_unknown() {
    const UNKNOWN: &str = "The AWS Access Key Id you provided does not exist in our records.";
    refused(
        BOTH,
        Kind::InvalidAccessKeyId,
        &[
            (
                "no key was found",
                |mut c| {
                    c.key = None;
                    c
                },
                UNKNOWN,
            ),
            (
                "the key has expired",
                |mut c| {
                    c.key.as_mut().unwrap().expires_at = Some(c.now);
                    c
                },
                UNKNOWN,
            ),
            (
                "another key was found",
                |mut c| {
                    c.key.as_mut().unwrap().id = "ANOTHERKEYANOTHERKEY".to_owned();
                    c
                },
                UNKNOWN,
            ),
        ],
    );
}

#[test]
fn a_session_token_that_we_did_not_issue_is_invalid() {
    refused(
        BOTH,
        Kind::InvalidToken,
        &[(
            "a covered token",
            |c| c.covered("x-amz-security-token", "token"),
            "The provided token is malformed or otherwise invalid.",
        )],
    );
}

/// The access key of the cases as a temporary one, which ends in an hour.
fn temporary() -> AccessKey {
    AccessKey {
        expires_at: Some(Timestamp::from_seconds(NOW + 3600)),
        session_token: Some(TokenHash::of("the-session-token")),
        ..access_key(KeyPurpose::User)
    }
}

#[test]
fn a_form_of_a_temporary_key_must_carry_its_session_token() {
    const INVALID: &str = "The provided token is malformed or otherwise invalid.";
    let with = |case: Case, token| case.covered("x-amz-security-token", token);
    for version in [V2, V4] {
        let mut case = Case::valid(version);
        case.key = Some(temporary());
        assert!(with(case.clone(), "the-session-token").judge().is_ok());
        for wrong in [
            "",
            "the-session-toke",
            "the-session-token ",
            "The-session-token",
        ] {
            let error = with(case.clone(), wrong).judge().unwrap_err();
            assert_eq!(
                (error.kind(), error.message()),
                (Kind::InvalidToken, INVALID)
            );
        }
        let error = case.clone().judge().unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::InvalidToken, INVALID)
        );
        let uncovered = case.field("x-amz-security-token", "the-session-token");
        assert_eq!(uncovered.judge().unwrap_err().kind(), Kind::ExtraField);
    }
}

#[test]
fn a_temporary_key_ends_by_itself_and_only_who_has_all_of_it_is_told() {
    let end = NOW * 1000 + 3_600_000;
    for version in [V2, V4] {
        let mut case = Case::valid(version);
        case.key = Some(temporary());
        let right = case
            .clone()
            .covered("x-amz-security-token", "the-session-token");
        let at = |case: &Case, millis| case.clone().at(Timestamp::from_millis(millis)).judge();
        assert!(at(&right, end - 1).is_ok());
        let error = at(&right, end).unwrap_err();
        assert_eq!(error.kind(), Kind::ExpiredToken);
        assert_eq!(error.message(), "The provided token has expired.");
        let wrong = case.clone().covered("x-amz-security-token", "guess");
        assert_eq!(at(&wrong, end).unwrap_err().kind(), Kind::InvalidToken);
        let forged = right.signature("bm8=");
        assert_eq!(
            at(&forged, end).unwrap_err().kind(),
            Kind::SignatureDoesNotMatch
        );
    }
}

#[test]
fn a_key_signs_away_no_more_than_it_may_do_itself() {
    let limits = |permission, bucket: &str, prefix: &str| {
        let bucket = Bucket::parse(bucket).unwrap();
        KeyLimits::new(permission, vec![bucket], vec![prefix.to_owned()]).unwrap()
    };
    for version in [V2, V4] {
        for (limits, may) in [
            (KeyLimits::default(), true),
            (limits(Permission::ReadWrite, "box", "in/"), true),
            (limits(Permission::Write, "box", "in/a.txt"), true),
            (limits(Permission::Read, "box", "in/"), false),
            (limits(Permission::Write, "other", "in/"), false),
            (limits(Permission::Write, "box", "in/b"), false),
            (limits(Permission::Write, "box", "in/a.txt.old"), false),
        ] {
            let mut case = Case::valid(version);
            case.key = Some(AccessKey {
                limits: limits.clone(),
                ..access_key(KeyPurpose::User)
            });
            match (case.judge(), may) {
                (Ok(grant), true) => assert_eq!(grant.key().as_str(), "in/a.txt"),
                (Err(error), false) => assert_eq!(
                    (error.kind(), error.message()),
                    (Kind::BeyondLimits, "Access Denied")
                ),
                (judged, _) => panic!("{version:?} {limits:?}: {judged:?}"),
            }
            // Only who can sign with the key is told of its limits, and before the policy is looked at.
            let forged = case.clone().signature("bm8=").judge().unwrap_err();
            assert_eq!(forged.kind(), Kind::SignatureDoesNotMatch);
            case.expiration = "2020-01-01T00:00:00Z".to_owned();
            let expected = match may {
                true => Kind::PolicyExpired,
                false => Kind::BeyondLimits,
            };
            assert_eq!(case.judge().unwrap_err().kind(), expected);
        }
    }
}

#[test]
fn limits_are_held_against_the_key_with_the_file_name_in_it() {
    for (file_name, may) in [("a.txt", true), ("../a.txt", true), ("b.txt", false)] {
        let mut case = Case::valid(V2).field("key", "in/${filename}");
        case.fields.retain(|(_, value)| value != "in/a.txt");
        case.file_name = Some(file_name);
        let prefixes = vec!["in/a".to_owned()];
        case.key = Some(AccessKey {
            limits: KeyLimits::new(Permission::Write, Vec::new(), prefixes).unwrap(),
            ..access_key(KeyPurpose::User)
        });
        assert_eq!(case.judge().is_ok(), may, "{file_name}");
    }
}

/// Rows of whole documents: the JSON text, and what follows "Invalid Policy: ".
const BROKEN_DOCUMENTS: &[(&str, &str)] = &[
    (" \n", "Expecting '{' but found End-of-Input"),
    (r#"{"expiration":"#, "Invalid JSON."),
    ("[]", "Invalid JSON."),
    ("null", "Invalid JSON."),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},]}"#,
        "Invalid JSON.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]} // x"#,
        "Invalid JSON.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[]}{}"#,
        "Invalid JSON.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$k","\ud800"]]}"#,
        "Invalid JSON.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$k","\x"]]}"#,
        "Invalid JSON.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z",\v"conditions":[]}"#,
        "Invalid JSON.",
    ),
    ("{}", "Policy missing expiration."),
    (r#"{"conditions":[]}"#, "Policy missing expiration."),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z"}"#,
        "Policy missing conditions.",
    ),
    (
        r#"{"EXPIRATION":"2030-01-01T00:00:00Z","conditions":[]}"#,
        r#"Unexpected: "EXPIRATION""#,
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","CONDITIONS":[]}"#,
        r#"Unexpected: "CONDITIONS""#,
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],"extra":1}"#,
        r#"Unexpected: "extra""#,
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"other"}],"conditions":[{"bucket":"box"},["starts-with","$key",""]]}"#,
        r#"Duplicate: "conditions""#,
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},["starts-with","$key",""]],"conditions":[{"bucket":"other"}]}"#,
        r#"Duplicate: "conditions""#,
    ),
    (
        r#"{"expiration":"2000-01-01T00:00:00Z","expiratio\u006e":"2030-01-01T00:00:00Z","conditions":[]}"#,
        r#"Duplicate: "expiration""#,
    ),
    (
        r#"{"expiration":"2030-01-01 00:00:00","conditions":[]}"#,
        "Invalid 'expiration' value: '2030-01-01 00:00:00'",
    ),
    (
        r#"{"expiration":1893456000,"conditions":[]}"#,
        "Invalid 'expiration' value: '1893456000'",
    ),
    (
        r#"{"expiration":null,"conditions":[]}"#,
        "Invalid 'expiration' value: 'null'",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":{}}"#,
        "Invalid 'conditions' value: must be a List.",
    ),
    (
        r#"{"expiration":"2030-01-01T00:00:00Z","conditions":"eq"}"#,
        "Invalid 'conditions' value: must be a List.",
    ),
];

#[test]
fn a_document_that_breaks_the_grammar_is_refused_in_amazons_words() {
    for version in [V2, V4] {
        for (json, detail) in BROKEN_DOCUMENTS {
            let error = Case::valid(version).json(json).judge().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidPolicyDocument, "{json}");
            assert_eq!(
                error.message(),
                format!("Invalid Policy: {detail}"),
                "{json}"
            );
        }
    }
}

#[test]
fn a_policy_that_is_no_base64_of_text_is_refused() {
    refused(
        BOTH,
        Kind::InvalidPolicyDocument,
        &[
            (
                "nothing",
                |c| c.policy_text(""),
                "Invalid Policy: Expecting '{' but found End-of-Input",
            ),
            (
                "no base64",
                |c| c.policy_text("%%%"),
                "Invalid Policy: invalid Base64 encoding.",
            ),
            (
                "base64 for URLs",
                |c| c.policy_text("e30_-_8="),
                "Invalid Policy: invalid Base64 encoding.",
            ),
            (
                "no UTF-8 inside",
                |c| c.policy_text("/////w=="),
                "Invalid Policy: Invalid JSON.",
            ),
        ],
    );
}

const SIMPLE: &str =
    "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
const BOUNDS: &str = "Invalid content-length-range: bounds must be non-negative integers.";

/// Rows of one condition: its JSON text, and what follows "Invalid Policy: ".
const BROKEN_CONDITIONS: &[(&str, &str)] = &[
    (
        r#""test""#,
        "Invalid condition test: must be a List or Object.",
    ),
    ("7", "Invalid condition 7: must be a List or Object."),
    ("null", "Invalid condition null: must be a List or Object."),
    ("{}", SIMPLE),
    (r#"{"acl":"private","key":"k"}"#, SIMPLE),
    (r#"{"key":"in/a.txt","key":"x"}"#, SIMPLE),
    (
        r#"{"acl":1}"#,
        "Invalid Simple-Condition: value must be a string.",
    ),
    (
        r#"{"acl":true}"#,
        "Invalid Simple-Condition: value must be a string.",
    ),
    (
        r#"{"acl":null}"#,
        "Invalid Simple-Condition: value must be a string.",
    ),
    (
        r#"{"acl":["private"]}"#,
        "Invalid Simple-Condition: value must be a string.",
    ),
    ("[]", "Invalid Condition: missing operation identifier."),
    (
        r#"[["eq"],"$key","x"]"#,
        "Invalid Condition: missing operation identifier.",
    ),
    (
        r#"["ends-with","$key","t"]"#,
        "Invalid Condition: unknown operation 'ends-with'.",
    ),
    (r#"["eq","$key"]"#, "Invalid eq: wrong number of arguments."),
    (
        r#"["starts-with","$key","i","n"]"#,
        "Invalid starts-with: wrong number of arguments.",
    ),
    (
        r#"["content-length-range"]"#,
        "Invalid content-length-range: wrong number of arguments.",
    ),
    (
        r#"["content-length-range",1]"#,
        "Invalid content-length-range: wrong number of arguments.",
    ),
    (r#"["content-length-range",-1,0]"#, BOUNDS),
    (r#"["content-length-range",0.5,9]"#, BOUNDS),
    (r#"["content-length-range",0,1e9]"#, BOUNDS),
    (r#"["content-length-range",0,18446744073709551616]"#, BOUNDS),
    (r#"["content-length-range",0,true]"#, BOUNDS),
    (
        r#"["eq","$key",["in/a.txt"]]"#,
        "Invalid eq: value must be a string.",
    ),
    (
        r#"["eq","$key",null]"#,
        "Invalid eq: value must be a string.",
    ),
    (
        r#"["starts-with",1,"x"]"#,
        "Invalid starts-with: field name must be a string.",
    ),
];

#[test]
fn a_malformed_condition_is_refused_in_amazons_words() {
    for version in [V2, V4] {
        for (json, detail) in BROKEN_CONDITIONS {
            let error = Case::valid(version).condition(json).judge().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidPolicyDocument, "{json}");
            assert_eq!(
                error.message(),
                format!("Invalid Policy: {detail}"),
                "{json}"
            );
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!(
        r#"["eq","$key",{}{}]"#,
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    let error = Case::valid(V2).condition(&deep).judge().unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidPolicyDocument);
}

#[test]
fn a_policy_ends_with_its_expiration() {
    const EXPIRED: &str = "Invalid according to Policy: Policy expired.";
    refused(
        BOTH,
        Kind::PolicyExpired,
        &[
            (
                "at the very moment",
                |c| c.at(Timestamp::from_seconds(EXPIRES)),
                EXPIRED,
            ),
            (
                "before a condition that fails as well",
                |c| {
                    c.at(Timestamp::from_seconds(EXPIRES + 1))
                        .field("key", "out/a.txt")
                },
                EXPIRED,
            ),
        ],
    );
    granted(&[("a millisecond before", |c| {
        c.at(Timestamp::from_millis(EXPIRES * 1000 - 1))
    })]);
}

/// Rows of one more condition and one field set: condition, field, value. The condition must fail and be echoed.
const FAILING: &[(&str, &str, &str, &str)] = &[
    (
        "a key under eq",
        r#"["eq","$key","in/b.txt"]"#,
        "key",
        "in/a.txt",
    ),
    (
        "another acl",
        r#"["eq","$acl","private"]"#,
        "acl",
        "public-read",
    ),
    (
        "another case",
        r#"["eq","$acl","private"]"#,
        "acl",
        "Private",
    ),
    (
        "a longer value under eq",
        r#"["eq","$acl","private"]"#,
        "acl",
        "private ",
    ),
    (
        "an absent field under eq",
        r#"["eq","$acl",""]"#,
        "key",
        "in/a.txt",
    ),
    (
        "an absent field under an empty prefix",
        r#"["starts-with", "$Content-Type", ""]"#,
        "key",
        "in/a.txt",
    ),
    (
        "an ignored field counts as absent",
        r#"["starts-with","$x-ignore-a",""]"#,
        "x-ignore-a",
        "1",
    ),
    (
        "a dollar in the value is literal",
        r#"["eq","$key","$key"]"#,
        "key",
        "in/a.txt",
    ),
    (
        "a URL in another case",
        r#"["starts-with","$redirect","HTTP://"]"#,
        "redirect",
        "http://a/",
    ),
    (
        "one entry of a list of types",
        r#"["starts-with","$Content-Type","image/"]"#,
        "Content-Type",
        "image/png,text/plain",
    ),
    (
        "one entry of a list without blanks",
        r#"["starts-with","$Content-Type","image/"]"#,
        "Content-Type",
        "text/plain, image/png",
    ),
    (
        "an empty entry in a list of types",
        r#"["starts-with","$Content-Type","image/"]"#,
        "Content-Type",
        "image/png,",
    ),
    (
        "a type behind blanks",
        r#"["starts-with","$Content-Type","image/"]"#,
        "Content-Type",
        "  image/png",
    ),
    (
        "a prefix of a name is not special",
        r#"["starts-with","$x-amz-meta-",""]"#,
        "x-amz-meta-a",
        "1",
    ),
    (
        "${filename} is replaced before",
        r#"["eq","$key","in/${filename}"]"#,
        "key",
        "in/${filename}",
    ),
    (
        "a bound that is no number",
        r#"["content-length-range", "test", "10"]"#,
        "key",
        "in/a.txt",
    ),
    (
        "a negative bound in quotes",
        r#"["content-length-range","-1","10"]"#,
        "key",
        "in/a.txt",
    ),
    (
        "an empty bound in quotes",
        r#"["content-length-range","0",""]"#,
        "key",
        "in/a.txt",
    ),
    (
        "a name without its dollar",
        r#"["eq", "key", "in/a.txt"]"#,
        "key",
        "in/a.txt",
    ),
    (
        "the client's own spacing",
        "[ \"eq\" ,\t\"$key\",\"k\"]",
        "key",
        "in/a.txt",
    ),
];

#[test]
fn a_condition_that_does_not_hold_is_refused_and_echoed_as_written() {
    for version in [V2, V4] {
        for (sentence, condition, name, value) in FAILING {
            let case = Case::valid(version).condition(condition).field(name, value);
            let error = case.judge().unwrap_err();
            assert_eq!(
                error.kind(),
                Kind::ConditionFailed,
                "{sentence}: {}",
                error.message()
            );
            let message =
                format!("Invalid according to Policy: Policy Condition failed: {condition}");
            assert_eq!(error.message(), message, "{sentence}");
        }
    }
}

#[test]
fn the_first_failing_condition_is_named_before_any_uncovered_field() {
    refused(
        BOTH,
        Kind::ConditionFailed,
        &[
            (
                "a key outside the prefix, and an extra field",
                |c| c.field("key", "out/a.txt").field("extra", "1"),
                r#"Invalid according to Policy: Policy Condition failed: ["starts-with","$key","in/"]"#,
            ),
            (
                "the first of two that fail, an object echoed as a list",
                |c| {
                    c.condition(r#"{ "Acl" : "say \"hi\"" }"#)
                        .condition(r#"{"acl":"b"}"#)
                        .field("acl", "c")
                },
                r#"Invalid according to Policy: Policy Condition failed: ["eq", "$Acl", "say \"hi\""]"#,
            ),
        ],
    );
}

#[test]
fn what_amazon_accepts_is_granted() {
    granted(&[
        ("operators in any case", |c| {
            c.condition(r#"["StArTs-WiTh","$key","in/"]"#)
                .condition(r#"["EQ","$key","in/a.txt"]"#)
                .condition(r#"["Content-Length-Range",0,9]"#)
        }),
        ("names in any case", |c| {
            c.condition(r#"["eq","$KeY","in/a.txt"]"#)
                .condition(r#"{"bUcKeT":"box"}"#)
        }),
        ("a field name in any case", |c| {
            c.condition(r#"{"acl":"private"}"#).field("aCl", "private")
        }),
        ("the same condition twice", |c| {
            c.condition(r#"["starts-with","$key","in/"]"#)
        }),
        ("bounds in quotes", |c| {
            c.condition(r#"["content-length-range","5","10"]"#)
        }),
        ("a number as value", |c| {
            c.condition(r#"["eq","$x-amz-meta-n",42]"#)
                .field("x-amz-meta-n", "42")
        }),
        ("milliseconds in the expiration", |mut c| {
            c.expiration = "2030-01-01T00:00:00.000Z".to_owned();
            c
        }),
        ("a document with blanks and line ends", |c| {
            let conditions = c.conditions.join(" ,\r\n  ");
            c.json(&format!(
                "{{ \"conditions\" : [ {conditions} ] ,\r\n \"expiration\" : \"2030-01-01T00:00:00Z\" }}\r\n"
            ))
        }),
        ("base64 without padding", |c| {
            let text = c.policy_base64();
            c.policy_text(text.trim_end_matches('='))
        }),
        ("base64 in lines", |c| {
            let text = c.policy_base64();
            let (first, second) = text.split_at(76);
            c.policy_text(&format!("{first}\r\n{second}\r\n"))
        }),
        ("the escape of a dollar", |c| {
            c.condition(r#"["eq","\$key","in/a.txt"]"#)
        }),
        ("an escaped backslash before a dollar is a backslash", |c| {
            c.field("key", "in/\\$foo.txt")
                .condition(r#"["starts-with","$key","in/\\$foo"]"#)
        }),
        ("the escape of a vertical tab", |c| {
            c.condition(r#"["eq","$tab","\v"]"#).field("tab", "\u{b}")
        }),
        ("a list of types that all fit", |c| {
            c.condition(r#"["starts-with","$Content-Type","image/"]"#)
                .field("Content-Type", "image/png, image/gif")
        }),
        ("a list under eq is compared whole", |c| {
            c.condition(r#"["eq","$Content-Type","a/b,c/d"]"#)
                .field("Content-Type", "a/b,c/d")
        }),
        ("repeated metadata is joined first", |c| {
            c.condition(r#"["eq","$x-amz-meta-a","Ninja,Stallman"]"#)
                .field("x-amz-meta-a", "Ninja")
                .field("X-Amz-Meta-A", "Stallman")
        }),
        ("an ignored field without a condition", |c| {
            c.field("x-ignore-me", "1")
        }),
        ("a bucket field that repeats the URL", |c| {
            c.field("bucket", "box")
        }),
        ("a bucket condition by prefix", |c| {
            c.without_condition("bucket")
                .condition(r#"["starts-with","$bucket","b"]"#)
        }),
        ("a checksum without a condition", |c| {
            c.field("x-amz-checksum-crc32", "AAAAAA==")
        }),
        ("encryption that promises nothing to the client", |c| {
            c.covered("x-amz-server-side-encryption", "AES256")
        }),
        ("an empty value under an empty prefix", |c| {
            c.covered("anything", "")
        }),
        ("fields in any order", |mut c| {
            c.fields.reverse();
            c
        }),
    ]);
}

/// Names with a meaning, one without, and ones that only look like it.
const NAMES: [&str; 22] = [
    "acl",
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "content-md5",
    "x-amz-meta-a",
    "x-amz-meta-",
    "tagging",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-object-lock-mode",
    "success_action_redirect",
    "redirect",
    "success_action_status",
    "x-amz-security",
    "submit",
    "unheard-of",
];

#[test]
fn every_field_known_or_not_needs_a_condition() {
    for version in [V2, V4] {
        for name in NAMES {
            let error = Case::valid(version).field(name, "v").judge().unwrap_err();
            assert_eq!(error.kind(), Kind::ExtraField, "{name}");
            let message = format!("Invalid according to Policy: Extra input fields: {name}");
            assert_eq!(error.message(), message);
        }
    }
}

#[test]
fn the_members_of_a_version_4_signature_need_conditions_too() {
    for (condition, name) in [
        ("x-amz-algorithm", "x-amz-algorithm"),
        ("x-amz-credential", "x-amz-credential"),
        ("X-Amz-Date", "x-amz-date"),
    ] {
        let error = Case::valid(V4)
            .without_condition(condition)
            .judge()
            .unwrap_err();
        let message = format!("Invalid according to Policy: Extra input fields: {name}");
        assert_eq!(error.message(), message);
    }
}

#[test]
fn a_condition_on_any_name_known_or_not_is_really_compared() {
    for version in [V2, V4] {
        for name in NAMES {
            let json = format!(r#"["eq","${name}","v"]"#);
            let case = Case::valid(version).condition(&json).field(name, "w");
            let error = case.judge().unwrap_err();
            assert_eq!(error.kind(), Kind::ConditionFailed, "{name}");
        }
    }
}

#[test]
fn an_uncovered_field_is_named_in_lower_case() {
    refused(
        BOTH,
        Kind::ExtraField,
        &[
            (
                "a type nobody covered",
                |c| c.field("Content-Type", "a/b"),
                "Invalid according to Policy: Extra input fields: content-type",
            ),
            (
                "a length range covers no field",
                |c| {
                    c.condition(r#"["content-length-range",0,9]"#)
                        .field("content-length-range", "1")
                },
                "Invalid according to Policy: Extra input fields: content-length-range",
            ),
        ],
    );
}

#[test]
fn the_urls_bucket_is_the_one_that_counts() {
    refused(
        BOTH,
        Kind::ExtraField,
        &[(
            "no condition on the bucket",
            |c| c.without_condition("bucket"),
            "Invalid according to Policy: Extra input fields: bucket",
        )],
    );
    const FAILED: &str =
        r#"Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "box"]"#;
    refused(
        BOTH,
        Kind::ConditionFailed,
        &[
            (
                "a form for another bucket",
                |c| c.posted_to("other"),
                FAILED,
            ),
            (
                "a form for another bucket that says so in a field",
                |c| c.posted_to("other").field("bucket", "box"),
                FAILED,
            ),
            (
                "a field that names another bucket than URL and policy",
                |c| c.field("bucket", "other"),
                FAILED,
            ),
        ],
    );
}

#[test]
fn the_two_open_questions_are_one_switch_each() {
    let absent = Case::valid(V2).condition(r#"["starts-with","$Content-Type",""]"#);
    assert!(absent.judge().is_err());
    let mut lax = absent;
    lax.rules.absent_is_empty = true;
    assert!(lax.judge().is_ok());
    let still = lax.condition(r#"["starts-with","$acl","private"]"#);
    assert_eq!(still.judge().unwrap_err().kind(), Kind::ConditionFailed);

    let mut checksum = Case::valid(V2).field("x-amz-checksum-crc32", "AAAAAA==");
    assert!(checksum.judge().is_ok());
    checksum.rules.cover_checksums = true;
    assert_eq!(checksum.judge().unwrap_err().kind(), Kind::ExtraField);
}

#[test]
fn length_ranges_intersect_and_their_bounds_are_inclusive() {
    let case = Case::valid(V2)
        .condition(r#"["content-length-range",5,1000]"#)
        .condition(r#"["content-length-range",1,"10"]"#);
    let grant = case.judge().unwrap();
    assert_eq!(grant.size_range(), (5, 10));
    for size in [5, 10] {
        assert!(grant.check_size(size).is_ok(), "{size}");
    }
    let large = grant.check_max(11).unwrap_err();
    assert_eq!(large.kind(), Kind::EntityTooLarge);
    assert_eq!(
        large.message(),
        "Your proposed upload exceeds the maximum allowed size"
    );
    let extras = [
        ("ProposedSize", "11".to_owned()),
        ("MaxSizeAllowed", "10".to_owned()),
    ];
    assert_eq!(large.extras(), extras);
    let small = grant.check_size(4).unwrap_err();
    assert_eq!(small.kind(), Kind::EntityTooSmall);
    assert_eq!(
        small.message(),
        "Your proposed upload is smaller than the minimum allowed size"
    );
    let extras = [
        ("ProposedSize", "4".to_owned()),
        ("MinSizeAllowed", "5".to_owned()),
    ];
    assert_eq!(small.extras(), extras);
}

#[test]
fn nothing_fits_a_range_that_is_upside_down_and_nothing_exceeds_5_gib() {
    let upside_down = Case::valid(V2).condition(r#"["content-length-range",10,5]"#);
    let grant = upside_down.judge().unwrap();
    for size in [0, 5, 7, 10, 11] {
        assert!(grant.check_size(size).is_err(), "{size}");
    }
    let huge = Case::valid(V2).condition(r#"["content-length-range",0,18446744073709551615]"#);
    assert_eq!(huge.judge().unwrap().size_range(), (0, 5 << 30));
}

#[test]
fn fields_that_act_are_refused_when_they_are_not_of_their_kind() {
    let rows: &[(&str, &str, Kind)] = &[
        ("acl", "log-delivery-write", Kind::InvalidArgument),
        ("acl", "", Kind::InvalidArgument),
        ("content-md5", "not base64", Kind::InvalidDigest),
        ("content-md5", "AAAA", Kind::InvalidDigest),
        ("x-amz-checksum-crc32", "AAAA", Kind::InvalidRequest),
        ("x-amz-storage-class", "COLD", Kind::InvalidStorageClass),
        (
            "x-amz-website-redirect-location",
            "ftp://a/",
            Kind::InvalidRedirectLocation,
        ),
        (
            "x-amz-server-side-encryption",
            "ROT13",
            Kind::InvalidArgument,
        ),
        ("tagging", "", Kind::MalformedXml),
        ("tagging", "not-xml", Kind::MalformedXml),
        (
            "tagging",
            "<Tagging><TagSet><Tag><Key></Key><Value/></Tag></TagSet></Tagging>",
            Kind::InvalidTag,
        ),
        ("x-amz-checksum-algorithm", "CRC32", Kind::InvalidRequest),
        ("x-amz-checksum-type", "COMPOSITE", Kind::InvalidRequest),
        (
            "content-disposition",
            "a\r\nSet-Cookie: b",
            Kind::InvalidArgument,
        ),
        ("x-amz-meta-a", "a\nb", Kind::InvalidArgument),
        ("x-amz-meta-a b", "v", Kind::InvalidArgument),
    ];
    for (name, value, kind) in rows {
        let error = Case::valid(V2).covered(name, value).judge().unwrap_err();
        assert_eq!(error.kind(), *kind, "{name}={value:?}: {}", error.message());
    }
    let long = format!("in/{}", "k".repeat(1_022));
    let error = Case::valid(V2).field("key", &long).judge().unwrap_err();
    assert_eq!(error.kind(), Kind::KeyTooLong);
    let error = Case::valid(V2)
        .covered("x-amz-meta-a", &"v".repeat(2_048))
        .judge()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::MetadataTooLarge);
}

#[test]
fn what_would_have_to_be_pretended_is_refused_and_named() {
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-server-side-encryption-context", "e30="),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "a2V5"),
        ("x-amz-server-side-encryption-customer-key-MD5", "bWQ1"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2030-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ] {
        for version in [V2, V4] {
            let error = Case::valid(version).covered(name, value).judge();
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::NotImplemented, "{name}={value}");
            assert_eq!(error.extra("Header"), Some(name.to_lowercase().as_str()));
            let uncovered = Case::valid(version).field(name, value).judge();
            assert_eq!(uncovered.unwrap_err().kind(), Kind::ExtraField, "{name}");
        }
    }
}

#[test]
fn stored_headers_acl_tags_and_digests_reach_the_grant() {
    let grant = Case::valid(V4)
        .covered("Content-Type", "video/mp4")
        .covered("X-Amz-Meta-Title", "Grüße")
        .covered("x-amz-storage-class", "GLACIER")
        .covered("acl", "bucket-owner-full-control")
        .covered("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")
        .covered("x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk=")
        .covered(
            "tagging",
            "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>",
        )
        .covered("submit", "Upload")
        .judge()
        .unwrap();
    let headers: Vec<_> = grant.headers().iter().collect();
    let expected = [
        ("content-type", "video/mp4"),
        ("x-amz-meta-title", "Grüße"),
        ("x-amz-storage-class", "GLACIER"),
    ];
    assert_eq!(headers, expected);
    assert_eq!(grant.attributes().acl, CannedAcl::BucketOwnerFullControl);
    assert_eq!(
        grant.content_md5().unwrap().hex(),
        "d41d8cd98f00b204e9800998ecf8427e"
    );
    let tags: Vec<_> = grant.attributes().tags.iter().collect();
    assert_eq!(tags, [("a", "1")]);
    let checksum = grant.checksum().unwrap();
    assert_eq!(checksum.base64(), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
    assert_eq!(grant.attributes().checksum.as_ref(), Some(checksum));
}

#[test]
fn success_is_answered_as_asked_or_with_204() {
    let redirect = |url: &str| SuccessAction::Redirect(url.to_owned());
    let rows: &[(&[(&str, &str)], SuccessAction)] = &[
        (
            &[("success_action_status", "200")],
            SuccessAction::Status200,
        ),
        (
            &[("success_action_status", "201")],
            SuccessAction::Status201,
        ),
        (
            &[("success_action_status", "204")],
            SuccessAction::Status204,
        ),
        (
            &[("success_action_status", "404")],
            SuccessAction::Status204,
        ),
        (&[("success_action_status", "")], SuccessAction::Status204),
        (
            &[("success_action_redirect", "http://a/b?c=d")],
            redirect("http://a/b?c=d"),
        ),
        (&[("redirect", "HTTPS://a")], redirect("HTTPS://a")),
        (
            &[
                ("redirect", "http://old/"),
                ("success_action_redirect", "http://new/"),
            ],
            redirect("http://new/"),
        ),
        (
            &[
                ("success_action_redirect", "/wrong/relative"),
                ("success_action_status", "201"),
            ],
            SuccessAction::Status201,
        ),
        (
            &[("success_action_redirect", "http:///no-host")],
            SuccessAction::Status204,
        ),
        (
            &[("success_action_redirect", "javascript://a/%0aalert(1)")],
            SuccessAction::Status204,
        ),
        (
            &[("success_action_redirect", "http://a/\r\nSet-Cookie: b")],
            SuccessAction::Status204,
        ),
        (
            &[("success_action_redirect", "http://")],
            SuccessAction::Status204,
        ),
    ];
    for (fields, expected) in rows {
        let case = fields
            .iter()
            .fold(Case::valid(V2), |case, (n, v)| case.covered(n, v));
        assert_eq!(case.judge().unwrap().success(), expected, "{fields:?}");
    }
}

#[test]
fn a_file_without_a_name_keeps_the_variable_in_the_key() {
    let mut case = Case::valid(V2).field("key", "in/${filename}");
    assert_eq!(case.judge().unwrap().key().as_str(), "in/a.txt");
    case.file_name = None;
    assert_eq!(case.judge().unwrap().key().as_str(), "in/${filename}");
}

// Our own sessions.

const SESSION: &str = "598358fe6baa605b1e33754e";

/// Fields that are replaced or added (`Some`) or left out (`None`).
type Changes<'a> = &'a [(&'static str, Option<&'a str>)];

/// A form that we issued, with some fields replaced, added (`Some`) or left out (`None`).
fn judge_session(
    signer: &AccessKey,
    bucket: &str,
    changes: Changes<'_>,
) -> Result<Grant, PolicyError> {
    let issued = SessionForm::issue(
        Id::parse(SESSION).unwrap(),
        &Bucket::parse("box").unwrap(),
        &ObjectKey::parse("tmp/p/uploads/test.mp4").unwrap(),
        signer,
        Timestamp::from_seconds(EXPIRES),
    );
    let mut fields = issued.fields().to_vec();
    for (name, value) in changes {
        fields.retain(|(n, _)| n != name);
        fields.extend(value.map(|value| (*name, value.to_owned())));
    }
    let mut builder = PostFormBuilder::default();
    for (name, value) in fields {
        builder.push(name, value.as_bytes())?;
    }
    let form = builder.finish(Some("blob"))?;
    let context = Context {
        bucket: &Bucket::parse(bucket).unwrap(),
        public_write: false,
        now: Timestamp::from_seconds(NOW),
        rules: &Rules::default(),
    };
    authorize(&claim(&form, None)?, Some(signer), &context)
}

#[test]
fn a_form_that_we_issued_is_granted_for_its_session() {
    for purpose in [KeyPurpose::Forms, KeyPurpose::Dev] {
        let grant = judge_session(&access_key(purpose), "box", &[]).unwrap();
        assert_eq!(grant.session(), Id::parse(SESSION));
        assert_eq!(grant.key().as_str(), "tmp/p/uploads/test.mp4");
        assert_eq!(grant.success(), &SuccessAction::Status201);
        assert_eq!(grant.size_range(), (0, 5_368_709_120));
        assert_eq!(grant.chunk().name.as_deref(), Some("test.mp4"));
        assert_eq!(grant.chunk().filename.as_deref(), Some(""));
        assert_eq!(grant.chunk().chunk.as_deref(), Some("0"));
        assert_eq!(grant.chunk().chunks.as_deref(), Some("1"));
    }
}

#[test]
fn uploaders_may_change_or_leave_out_the_chunk_fields_and_extend_the_key() {
    let signer = access_key(KeyPurpose::Forms);
    let changes: &[Changes<'_>] = &[
        &[
            ("chunk", Some("7")),
            ("chunks", Some("9")),
            ("name", Some("o_1.mp4")),
        ],
        &[
            ("chunk", None),
            ("chunks", None),
            ("name", None),
            ("filename", None),
        ],
        &[("key", Some("tmp/p/uploads/test.mp4.3"))],
    ];
    for change in changes {
        let grant = judge_session(&signer, "box", change).unwrap();
        assert_eq!(grant.session(), Id::parse(SESSION), "{change:?}");
    }
    let grant = judge_session(&signer, "box", changes[1]).unwrap();
    assert_eq!(grant.chunk().chunk, None);
}

/// What uploaders add by themselves, one field of each.
const ADDED: [(&str, &str); 9] = [
    ("dzuuid", "1e5960f6"),
    ("dzChunkIndex", "0"),
    ("qqpartindex", "0"),
    ("resumableChunkNumber", "1"),
    ("flowChunkNumber", "1"),
    ("offset", "0"),
    ("total", "2500"),
    ("type", "video/mp4"),
    ("x-pillarbox-answer", "json"),
];

#[test]
fn what_uploaders_add_by_themselves_is_covered_in_a_session_form() {
    let signer = access_key(KeyPurpose::Forms);
    for (name, value) in ADDED {
        let grant = judge_session(&signer, "box", &[(name, Some(value))]).unwrap();
        assert_eq!(
            grant.chunk().other(&name.to_ascii_lowercase()),
            Some(value),
            "{name}"
        );
    }
    let plain = judge_session(&signer, "box", &[]).unwrap();
    assert_eq!(plain.chunk().others, []);
}

#[test]
fn in_anybody_elses_policy_what_uploaders_add_is_a_field_like_any_other() {
    for (name, value) in ADDED {
        let error = Case::valid(V2).field(name, value).judge().unwrap_err();
        assert_eq!(error.kind(), Kind::ExtraField, "{name}");
        let grant = Case::valid(V2).covered(name, value).judge().unwrap();
        assert_eq!(grant.session(), None, "{name}");
        let exact = format!(r#"["eq","${name}","{value}"]"#);
        let other = Case::valid(V2).condition(&exact).field(name, "other");
        let error = other.judge().unwrap_err();
        assert_eq!(error.kind(), Kind::ConditionFailed, "{name}");
    }
}

#[test]
fn a_session_form_allows_nothing_else() {
    let signer = access_key(KeyPurpose::Forms);
    let rows: &[(Changes<'_>, Kind)] = &[
        (&[("acl", Some("public-read"))], Kind::ConditionFailed),
        (&[("acl", None)], Kind::ConditionFailed),
        (
            &[("success_action_status", Some("200"))],
            Kind::ConditionFailed,
        ),
        (
            &[("key", Some("tmp/p/uploads/other.mp4"))],
            Kind::ConditionFailed,
        ),
        (&[("content-type", Some("text/html"))], Kind::ExtraField),
        (
            &[("success_action_redirect", Some("http://a/"))],
            Kind::ExtraField,
        ),
        (&[("submit", Some("1"))], Kind::ExtraField),
        (&[("x-amz-meta-qqfilename", Some("1"))], Kind::ExtraField),
    ];
    for (change, kind) in rows {
        let error = judge_session(&signer, "box", change).unwrap_err();
        assert_eq!(error.kind(), *kind, "{change:?}");
    }
    let error = judge_session(&signer, "other", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::ConditionFailed);
}

#[test]
fn the_key_of_the_links_signs_no_form() {
    let error = judge_session(&access_key(KeyPurpose::Links), "box", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidAccessKeyId);
    for version in [V2, V4] {
        let mut case = Case::valid(version);
        case.key = Some(access_key(KeyPurpose::Links));
        let error = case.judge().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidAccessKeyId);
    }
}

#[test]
fn a_user_cannot_sign_himself_into_a_session() {
    let error = judge_session(&access_key(KeyPurpose::User), "box", &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::ConditionFailed);
    let name = format!("x-pillarbox-upload-{SESSION}");
    let grant = Case::valid(V2).covered(&name, "").judge().unwrap();
    assert_eq!(grant.session(), None);
}

#[test]
fn a_policy_that_names_two_sessions_or_none_rightly_names_no_session() {
    let other = "x-pillarbox-upload-53a1ac4914eaa8ffa4fce91b";
    let name = format!("x-pillarbox-upload-{SESSION}");
    let rows: [&[&str]; 3] = [
        &[&name, other],
        &["x-pillarbox-upload-12"],
        &["x-pillarbox-upload"],
    ];
    for names in rows {
        let mut case = names
            .iter()
            .fold(Case::valid(V2), |case, name| case.covered(name, ""));
        case.key = Some(access_key(KeyPurpose::Forms));
        assert_eq!(case.judge().unwrap().session(), None, "{names:?}");
    }
    let json = format!(r#"["eq","${name}",""]"#);
    let mut case = Case::valid(V2).condition(&json).field(&name, "");
    case.key = Some(access_key(KeyPurpose::Forms));
    assert_eq!(case.judge().unwrap().session(), None);
}

// Explanations.

#[test]
fn an_explanation_shows_every_failing_condition_and_every_uncovered_field() {
    let case = Case::valid(V2)
        .condition(r#"{"acl":"private"}"#)
        .condition(r#"["content-length-range",1,9]"#)
        .field("key", "out/a.txt")
        .field("acl", "public-read")
        .field("submit", "1")
        .field("Content-Type", "a/b");
    let explanation = case.explained();
    let shown: Vec<_> = explanation
        .conditions
        .iter()
        .map(|c| (c.field.as_deref(), c.got.as_deref(), c.holds))
        .collect();
    let expected = [
        (Some("bucket"), Some("box"), true),
        (Some("key"), Some("out/a.txt"), false),
        (Some("acl"), Some("public-read"), false),
        (None, None, true),
    ];
    assert_eq!(shown, expected);
    assert_eq!(explanation.uncovered, ["submit", "content-type"]);
    assert_eq!(
        explanation.refusal.as_deref(),
        Some(case.judge().unwrap_err().message())
    );
    assert_eq!(
        explanation.clock.expiration.as_deref(),
        Some("2030-01-01T00:00:00.000Z")
    );
    assert_eq!(explanation.clock.server_time, "2029-12-31T12:00:00.000Z");
    assert_eq!(explanation.clock.remaining_ms, Some(12 * 3600 * 1000));
    assert_eq!(
        explanation.policy.unwrap()["conditions"][2]["acl"],
        "private"
    );
}

#[test]
fn an_explanation_of_many_conditions_shows_those_that_do_not_hold_first_and_says_how_many_are_left_out()
 {
    let mut case = Case::valid(V2).field("acl", "private");
    for number in 0..300 {
        let value = if number < 150 { "private" } else { "other" };
        case = case.condition(&format!(r#"{{"acl":"{value}"}}"#));
    }
    let explanation = case.explained();
    let held: Vec<_> = explanation.conditions.iter().map(|c| c.holds).collect();
    assert_eq!(held, [[false; 150].as_slice(), &[true; 50]].concat());
    // The bucket and the key have a condition, too.
    assert_eq!(explanation.conditions_left_out, Some(102));
    assert_eq!(Case::valid(V2).explained().conditions_left_out, None);
}

#[test]
fn a_list_of_types_has_an_end() {
    for (count, granted) in [(100, true), (101, false)] {
        let case = Case::valid(V2)
            .condition(r#"["starts-with","$Content-Type","a/"]"#)
            .field("Content-Type", &vec!["a/b"; count].join(","));
        assert_eq!(case.judge().is_ok(), granted, "{count}");
    }
}

#[test]
fn an_explanation_of_a_granted_form_names_no_refusal_and_never_a_secret_or_signature() {
    for version in [V2, V4] {
        let case = Case::valid(version);
        let explanation = case.explained();
        assert_eq!(explanation.refusal, None);
        assert_eq!(explanation.likely_cause, None);
        let (_, signature) = case.sent().pop().unwrap();
        let json = serde_json::to_string(&explanation).unwrap();
        assert!(!json.contains(SECRET) && !json.contains(&signature));
        assert!(!format!("{explanation:?}").contains("box"));
    }
}

fn v2_over(text: &str) -> String {
    sign_v2(&Secret::new(SECRET.to_owned()), text)
}

/// Rows of a mistake and a part of the sentence that names it.
const CAUSES: &[(&str, Mutation, &str)] = &[
    (
        "nothing but the file",
        |mut c| {
            c.fields.clear();
            c.unsigned().without("policy")
        },
        "file must be the last field",
    ),
    (
        "the policy after the file",
        |c| c.unsigned().without("policy"),
        "neither policy nor signature",
    ),
    (
        "the signature after the file",
        Case::unsigned,
        "no signature",
    ),
    (
        "a member after the file",
        |c| c.without("signature"),
        "'Signature' is missing, or it comes after the file",
    ),
    (
        "an Amazon key",
        |mut c| {
            c.key = None;
            c.field("AWSAccessKeyId", "AKIAIOSFODNN7EXAMPLE")
        },
        "access key of Amazon",
    ),
    (
        "an unknown key",
        |mut c| {
            c.key = None;
            c
        },
        "no such access key",
    ),
    (
        "another secret",
        |c| c.signature(&v2_over("other")),
        "another secret",
    ),
    (
        "a V4 signature in V2 fields",
        |c| {
            let hex = sign_v4(
                &Secret::new(SECRET.to_owned()),
                "20291231",
                "us-east-1",
                &c.policy_base64(),
            );
            c.signature(&hex)
        },
        "Version 4, but the fields are those of Version 2",
    ),
    (
        "the JSON was signed",
        |c| {
            let json = STANDARD.decode(c.policy_base64()).unwrap();
            c.signature(&v2_over(std::str::from_utf8(&json).unwrap()))
        },
        "JSON text was signed",
    ),
    (
        "the JSON was sent",
        |c| {
            let text = c.policy_base64();
            let json = STANDARD.decode(&text).unwrap();
            c.signature(&v2_over(&text))
                .policy_text(std::str::from_utf8(&json).unwrap())
        },
        "sent as JSON; send the base64 text that was signed",
    ),
    (
        "the policy was wrapped after signing",
        |c| {
            let text = c.policy_base64();
            c.signature(&v2_over(&text))
                .policy_text(&format!("{}\n{}", &text[..40], &text[40..]))
        },
        "line ends or blanks",
    ),
    (
        "a line end behind the signature",
        |c| {
            let signature = format!("{}\n", v2_over(&c.policy_base64()));
            c.signature(&signature)
        },
        "without",
    ),
    (
        "plus became blank",
        |c| {
            let c = c.policy_text("e30+");
            c.signature(&v2_over("e30+")).policy_text("e30 ")
        },
        "Plus signs",
    ),
    (
        "a trailing comma",
        |c| c.json(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"a":"b"}, ]}"#),
        "comma behind its last element",
    ),
    (
        "a slow clock",
        |c| c.at(Timestamp::from_seconds(EXPIRES + 90)),
        "ended 90 s ago by this server's clock",
    ),
    (
        "an old form",
        |c| c.at(Timestamp::from_seconds(EXPIRES + 7200)),
        "ask for a fresh form",
    ),
    (
        "another bucket",
        |c| c.posted_to("other"),
        "signed for the bucket 'box' and posted to 'other'",
    ),
    (
        "another bucket in a field",
        |c| c.field("bucket", "other"),
        "another bucket than the URL, which names 'box'",
    ),
    (
        "no type field",
        |c| c.condition(r#"["starts-with","$Content-Type",""]"#),
        "the file part's own Content-Type does not count",
    ),
    (
        "an absent field",
        |c| c.condition(r#"{"acl":"private"}"#),
        "wants a field 'acl'",
    ),
    (
        "another case",
        |c| c.condition(r#"{"acl":"private"}"#).field("acl", "Private"),
        "upper and lower case",
    ),
    (
        "a line end in the value",
        |c| {
            c.condition(r#"{"acl":"private"}"#)
                .field("acl", "private\n")
        },
        "blanks or a line end",
    ),
    (
        "another value",
        |c| {
            c.condition(r#"{"acl":"private"}"#)
                .field("acl", "public-read")
        },
        "another value than was signed",
    ),
    (
        "no dollar",
        |c| c.condition(r#"["eq","key","in/a.txt"]"#),
        "without the '$'",
    ),
    (
        "a bound that is text",
        |c| c.condition(r#"["content-length-range","a","b"]"#),
        "bound of the length range",
    ),
    (
        "a signed variable",
        |c| c.condition(r#"["eq","$key","in/${filename}"]"#),
        "${filename} literally",
    ),
    (
        "no bucket condition",
        |c| c.without_condition("bucket"),
        "no condition on the bucket",
    ),
    (
        "Plupload's chunk fields",
        |c| c.field("chunk", "0"),
        "Plupload adds it when chunk_size is set",
    ),
    (
        "Dropzone's fields",
        |c| c.field("dzuuid", "1"),
        "Dropzone adds",
    ),
    (
        "a field of nobody",
        |c| c.field("flavour", "1"),
        "No condition names the field 'flavour'",
    ),
    (
        "a token of somebody else",
        |c| c.covered("x-amz-security-token", "t"),
        "temporary credentials",
    ),
    (
        "a temporary key without its token",
        |mut c| {
            c.key = Some(temporary());
            c
        },
        "needs its session token in a field 'x-amz-security-token'",
    ),
    (
        "a temporary key with another token",
        |mut c| {
            c.key = Some(temporary());
            c.covered("x-amz-security-token", "t")
        },
        "not the one that was issued",
    ),
    (
        "a temporary key that has had its time",
        |mut c| {
            c.key = Some(temporary());
            c.covered("x-amz-security-token", "the-session-token")
                .at(Timestamp::from_seconds(NOW + 3600))
        },
        "has had its time",
    ),
    (
        "an acl that is none",
        |c| c.covered("acl", "x"),
        "refused: The canned ACL",
    ),
];

#[test]
fn the_likely_cause_names_the_mistake() {
    for (sentence, mutation, part) in CAUSES {
        let cause = mutation(Case::valid(V2))
            .explained()
            .likely_cause
            .unwrap_or_default();
        assert!(cause.contains(part), "{sentence}: {cause}");
    }
}
