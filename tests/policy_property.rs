//! For random policies and forms, the judgement equals a second, naive evaluation written here; and no bytes make the parser panic.
//!
//! The naive evaluation reads the policy as generic JSON and knows nothing of the library's types.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's own exemption stops at helper functions

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox::model::{AccessKey, Bucket, KeyPurpose, Secret, Timestamp};
use pillarbox::policy::{
    Context, PolicyErrorKind, PostForm, PostFormBuilder, PostPolicy, Rules, authorize, claim,
    sign_v2,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMES: [&str; 7] = [
    "key",
    "acl",
    "bucket",
    "content-type",
    "x-amz-meta-a",
    "other",
    "x-amz-checksum-sha1",
];
const VALUES: [&str; 6] = ["", "box", "bo", "private", "a/b, a/c", "a/b,c/d"];
const PREFIXES: [&str; 6] = ["", "b", "box", "a/", "priv", "private"];

/// Condition texts; most name an existing field, so that some policies pass.
fn condition() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(&NAMES[..]);
    let value = prop::sample::select(&VALUES[..]);
    let prefix = prop::sample::select(&PREFIXES[..]);
    prop_oneof![
        2 => (name.clone(), value.clone()).prop_map(|(n, v)| json!({n: v})),
        1 => (name.clone(), value).prop_map(|(n, v)| json!(["eq", format!("${}", n.to_uppercase()), v])),
        4 => (name.clone(), prefix.clone()).prop_map(|(n, p)| json!(["Starts-With", format!("${n}"), p])),
        1 => (name, prefix).prop_map(|(n, p)| json!(["starts-with", n, p])),
        1 => (0..9_u64, 0..9_u64).prop_map(|(a, b)| json!(["content-length-range", a, b.to_string()])),
    ]
}

/// A policy that always covers bucket and key, so that the rest decides.
fn conditions() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(condition(), 0..5).prop_map(|mut all| {
        all.push(json!(["starts-with", "$bucket", ""]));
        all.push(json!(["starts-with", "$key", ""]));
        all
    })
}

fn fields() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let value = prop::sample::select(&VALUES[..]);
    let one = (prop::sample::select(&NAMES[1..]), value);
    prop::collection::btree_map(one.0, one.1, 0..5).prop_map(|map| map.into_iter().collect())
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Granted(u64, u64),
    Expired,
    Failed,
    Extra,
    Other,
}

fn naive(conditions: &[Value], fields: &[(&str, &str)], expired: bool, rules: &Rules) -> Outcome {
    let value = |name: &str| match name {
        "bucket" => Some("box"),
        _ => fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v),
    };
    let mut covered = Vec::new();
    let (mut low, mut high) = (0, 5 << 30);
    let mut failed = false;
    for condition in conditions {
        let (operator, name, wanted) = match condition {
            Value::Object(object) => {
                let (name, value) = object.iter().next().unwrap();
                ("eq".to_owned(), format!("${name}"), value.clone())
            }
            list => (
                list[0].as_str().unwrap().to_lowercase(),
                list[1].as_str().unwrap_or("").to_owned(),
                list[2].clone(),
            ),
        };
        if operator == "content-length-range" {
            low = low.max(condition[1].as_u64().unwrap());
            high = high.min(wanted.as_str().unwrap().parse().unwrap());
            continue;
        }
        if !name.starts_with('$') {
            failed = true;
            continue;
        }
        let name = name[1..].to_lowercase();
        let wanted = wanted.as_str().unwrap();
        let held = value(&name).or(if rules.absent_is_empty {
            Some("")
        } else {
            None
        });
        failed |= !match held {
            None => false,
            Some(held) if operator == "eq" => held == wanted,
            Some(held) if name == "content-type" && held.contains(',') => {
                held.starts_with(wanted)
                    && held.split(',').all(|one| one.trim().starts_with(wanted))
            }
            Some(held) => held.starts_with(wanted),
        };
        covered.push(name);
    }
    let extra = fields.iter().any(|(name, _)| {
        let exempt = name.starts_with("x-amz-checksum-") && !rules.cover_checksums;
        !exempt && !covered.contains(&(*name).to_owned())
    });
    let other_bucket = fields
        .iter()
        .any(|(name, value)| *name == "bucket" && *value != "box");
    // Of the values here only "private" is an acl, and none is a checksum.
    let unfit =
        value("acl").is_some_and(|acl| acl != "private") || value("x-amz-checksum-sha1").is_some();
    match (expired, failed, extra, other_bucket) {
        (true, ..) => Outcome::Expired,
        (_, true, ..) => Outcome::Failed,
        (_, _, true, _) => Outcome::Extra,
        (.., true) => Outcome::Failed,
        _ if unfit => Outcome::Other,
        _ => Outcome::Granted(low, high),
    }
}

fn ours(conditions: &[Value], fields: &[(&str, &str)], expired: bool, rules: &Rules) -> Outcome {
    let key = AccessKey {
        id: "S3POSTEXAMPLEKEY".to_owned(),
        secret: Secret::new("secret".to_owned()),
        purpose: KeyPurpose::User,
        created_at: Timestamp::default(),
        expires_at: None,
        session_token: None,
    };
    let document = json!({"conditions": conditions, "expiration": "2030-01-01T00:00:00Z"});
    let policy = STANDARD.encode(document.to_string());
    let signature = sign_v2(&key.secret, &policy);
    let mut builder = PostFormBuilder::default();
    let signed = [
        ("AWSAccessKeyId", key.id.as_str()),
        ("policy", policy.as_str()),
        ("signature", signature.as_str()),
    ];
    for (name, value) in fields.iter().chain(&signed) {
        builder.push(name, value.as_bytes()).unwrap();
    }
    let form = builder.finish(None).unwrap();
    let end = 1_893_456_000;
    let context = Context {
        bucket: &Bucket::parse("box").unwrap(),
        public_write: false,
        now: Timestamp::from_seconds(if expired { end } else { end - 1 }),
        rules,
    };
    match authorize(&claim(&form, None).unwrap(), Some(&key), &context) {
        Ok(grant) => Outcome::Granted(grant.size_range().0, grant.size_range().1),
        Err(error) => match error.kind() {
            PolicyErrorKind::PolicyExpired => Outcome::Expired,
            PolicyErrorKind::ConditionFailed => Outcome::Failed,
            PolicyErrorKind::ExtraField => Outcome::Extra,
            _ => Outcome::Other,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_judgement_equals_a_naive_second_one(
        conditions in conditions(),
        fields in fields(),
        key in prop::sample::select(&VALUES[1..]),
        expired in prop::bool::weighted(0.1),
        absent_is_empty: bool,
        cover_checksums: bool,
    ) {
        let rules = Rules { absent_is_empty, cover_checksums };
        let mut fields = fields;
        fields.push(("key", key));
        let expected = naive(&conditions, &fields, expired, &rules);
        prop_assert_eq!(ours(&conditions, &fields, expired, &rules), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = PostPolicy::parse(&text);
        let _ = PostPolicy::parse(&STANDARD.encode(&text));
        let _ = PostPolicy::parse(&STANDARD.encode(&bytes));
    }

    #[test]
    fn no_broken_policy_makes_the_parser_panic_and_none_that_parses_is_not_json(
        at in 0..120_usize,
        with in prop::sample::select(&[
            "", "\"", "\\", "\\$", "\\v", "[", "]", "{", "}", ",", ":", "$", "\u{e9}", "\\u", "\\ud800", "0", "-", "1e9", "null", " ",
        ][..]),
        cut in 0..3_usize,
    ) {
        const POLICY: &str = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"a":"b"},["eq","$k","v"],["content-length-range",1,2]]}"#;
        let at = at.min(POLICY.len());
        let end = (at + cut).min(POLICY.len());
        let broken = format!("{}{with}{}", &POLICY[..at], &POLICY[end..]);
        let parsed = PostPolicy::parse(&STANDARD.encode(&broken));
        let amazons = broken.replace("\\$", "$").replace("\\v", "\\u000b");
        if parsed.is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&amazons).is_ok(), "{}", broken);
        }
    }

    #[test]
    fn the_form_never_grows_past_its_limits(
        fields in prop::collection::vec(("[a-zA-Z-]{0,12}", "(\\$\\{filename\\}|x){0,40}"), 0..120),
        file_name in prop::option::of(".{0,3000}"),
    ) {
        let mut builder = PostFormBuilder::default();
        for (name, value) in &fields {
            let _ = builder.push(name, value.as_bytes());
        }
        if let Ok(form) = builder.finish(file_name.as_deref()) {
            let bytes: usize = form.iter().map(|(n, v)| n.len() + v.len()).sum();
            prop_assert!(bytes <= PostForm::MAX_EXPANDED_BYTES);
            prop_assert!(form.iter().count() <= PostForm::MAX_FIELDS);
        }
    }
}
