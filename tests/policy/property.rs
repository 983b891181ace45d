//! For random policies and forms, the judgement equals a second, naive evaluation written here; and no bytes make the parser panic.
//!
//! The naive evaluation works on what was generated and not on the text that is made of it, and knows nothing of the library's types.

#![allow(clippy::unwrap_used, clippy::panic)] // the lint's own exemption stops at helper functions

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox::model::{AccessKey, Bucket, KeyPurpose, Secret, Timestamp};
use pillarbox::policy::{
    Context, PolicyErrorKind, PostForm, PostFormBuilder, PostPolicy, Rules, authorize, claim,
    sign_v2, sign_v4,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// The bucket that the URL names.
const BUCKET: &str = "box";
/// 2029-12-31T23:59:59Z.
const NOW: i64 = 1_893_455_999;
const CREDENTIAL: &str = "S3POSTEXAMPLEKEY/20291231/us-east-1/s3/aws4_request";

/// Fields with a meaning, without one, exempt and ignored.
const NAMES: [&str; 12] = [
    "key",
    "acl",
    "bucket",
    "content-type",
    "x-amz-meta-a",
    "x-amz-meta-a",
    "x-amz-meta-b",
    "other",
    "x-amz-checksum-sha1",
    "x-ignore-a",
    "success_action_status",
    "content-length-range",
];
const VALUES: [&str; 12] = [
    "",
    "box",
    "bo",
    "private",
    "public-read",
    "a/b, a/c",
    "a/b,c/d",
    "a/b",
    "42",
    "${filename}",
    "b/${filename},${filename}",
    "$key",
];
const PREFIXES: [&str; 9] = ["", "", "b", "box", "a/", "priv", "private", "a/b", "${"];
const FILE_NAMES: [Option<&str>; 6] = [
    None,
    Some(""),
    Some("a/b"),
    Some("C:\\x\\private"),
    Some("box"),
    Some("a/b/"),
];
/// Texts of an expiration; whether they are one; whether it lies ahead.
const EXPIRATIONS: [(&str, bool, bool); 10] = [
    ("\"2030-01-01T00:00:00Z\"", true, true),
    ("\"2030-01-01T00:00:00.000Z\"", true, true),
    ("\"2029-12-31T23:59:59.001Z\"", true, true),
    ("\"2030-01-01T01:00:00+01:00\"", true, true),
    ("\"2029-12-31T23:59:59Z\"", true, false),
    ("\"2029-12-31T23:59:59.000Z\"", true, false),
    ("\"2007-12-01T12:00:00.000Z\"", true, false),
    ("\"2030-01-01 00:00:00Z\"", false, false),
    ("1893456000", false, false),
    ("null", false, false),
];

// What is generated: not a text, but the parts it is written from, so that the naive evaluation need not read it.

#[derive(Clone, Debug)]
enum Condition {
    /// `{"name": value, ...}`
    Object(Vec<(String, Value)>),
    /// `[operator, ...]`
    List(Vec<Value>),
    /// Neither.
    Other(Value),
}

#[derive(Clone, Debug)]
struct Case {
    /// The document's members in order, twice or under a wrong name now and then: `None` is the conditions, else a text.
    members: Vec<(String, Option<&'static str>)>,
    conditions: Vec<Condition>,
    /// As sent: names in any case, some twice.
    fields: Vec<(String, String)>,
    file_name: Option<&'static str>,
    is_v4: bool,
    is_signed_rightly: bool,
    rules: (bool, bool),
}

/// The same letters, some of them in capitals.
fn mixed(name: &'static str) -> impl Strategy<Value = String> {
    any::<u64>().prop_map(move |bits| {
        let turn = |(i, c): (usize, char)| match bits >> (i % 64) & bits >> ((i + 7) % 64) & 1 {
            1 => c.to_ascii_uppercase(),
            _ => c,
        };
        name.chars().enumerate().map(turn).collect()
    })
}

fn name() -> impl Strategy<Value = String> {
    select(&NAMES[..]).prop_flat_map(mixed)
}

fn operator(name: &'static str) -> impl Strategy<Value = Value> {
    mixed(name).prop_map(Value::from)
}

fn text(from: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(from).prop_map(Value::from)
}

/// A name with its dollar.
fn dollar() -> impl Strategy<Value = Value> {
    name().prop_map(|name| format!("${name}").into())
}

fn bound() -> impl Strategy<Value = Value> {
    prop_oneof![
        9 => (0..9_u64).prop_map(Value::from),
        9 => (0..9_u64).prop_map(|n| n.to_string().into()),
        1 => select(vec![json!("test"), json!(""), json!("-1"), json!(-1), json!(0.5), json!(true), json!(null)]),
    ]
}

/// Most conditions are well-formed and name a field that may be there; some of each kind break a rule.
fn condition() -> impl Strategy<Value = Condition> {
    let odd = vec![
        Condition::Object(vec![]),
        Condition::Object(vec![
            ("acl".into(), json!("private")),
            ("acl".into(), json!("private")),
        ]),
        Condition::Object(vec![("acl".into(), json!(1))]),
        Condition::List(vec![]),
        Condition::List(vec![json!("eq"), json!("$key")]),
        Condition::List(vec![json!("ends-with"), json!("$key"), json!("b")]),
        Condition::List(vec![json!("eq"), json!("$key"), json!(null)]),
        Condition::List(vec![json!("eq"), json!(1), json!("b")]),
        Condition::List(vec![json!(["eq"]), json!("$key"), json!("b")]),
        Condition::List(vec![json!("content-length-range"), json!(1)]),
        Condition::Other(json!("eq")),
        Condition::Other(json!(null)),
    ];
    prop_oneof![
        8 => (name(), text(&VALUES)).prop_map(|(n, v)| Condition::Object(vec![(n, v)])),
        8 => (operator("eq"), dollar(), text(&VALUES)).prop_map(|(o, n, v)| Condition::List(vec![o, n, v])),
        2 => (operator("eq"), dollar(), 41..43_u64).prop_map(|(o, n, v)| Condition::List(vec![o, n, v.into()])),
        40 => (operator("starts-with"), dollar(), text(&PREFIXES)).prop_map(|(o, n, p)| Condition::List(vec![o, n, p])),
        1 => (operator("starts-with"), name(), text(&PREFIXES)).prop_map(|(o, n, p)| Condition::List(vec![o, n.into(), p])),
        12 => (operator("content-length-range"), bound(), bound()).prop_map(|(o, a, b)| Condition::List(vec![o, a, b])),
        1 => select(odd),
    ]
}

/// Most fields are covered by a condition that takes any value, so that the others decide.
fn conditions(
    is_v4: bool,
    fields: &[(String, String)],
) -> impl Strategy<Value = Vec<Condition>> + use<> {
    let members = ["X-Amz-Algorithm", "x-amz-credential", "x-amz-date"];
    let members = members.into_iter().filter(|_| is_v4).map(str::to_owned);
    let needed = members.chain(["bucket".to_owned(), "key".to_owned()]);
    let sent = fields.iter().map(|(name, _)| name.clone());
    let sent = sent.filter(|name| !name.to_lowercase().starts_with("x-ignore-"));
    let cover = |name: String, chance| {
        let condition = vec![json!("starts-with"), json!(format!("${name}")), json!("")];
        (
            prop::bool::weighted(chance),
            Just(Condition::List(condition)),
        )
    };
    let covers: Vec<_> = needed
        .map(|name| cover(name, 0.97))
        .chain(sent.map(|name| cover(name, 0.85)))
        .collect();
    let given = prop::collection::vec((Just(true), condition()), 0..3);
    (covers, given)
        .prop_map(|(covers, given)| {
            let all = covers.into_iter().chain(given);
            all.filter(|(kept, _)| *kept)
                .map(|(_, condition)| condition)
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn members() -> impl Strategy<Value = Vec<(String, Option<&'static str>)>> {
    let expiration = prop_oneof![5 => select(&EXPIRATIONS[..4]), 1 => select(&EXPIRATIONS[..])];
    let more = prop_oneof![
        40 => Just(None),
        1 => Just(Some(("conditions".to_owned(), None))),
        1 => Just(Some(("expiration".to_owned(), Some("\"2030-01-01T00:00:00Z\"")))),
        1 => Just(Some(("Expiration".to_owned(), Some("\"2030-01-01T00:00:00Z\"")))),
    ];
    let both = (prop::bool::weighted(0.99), prop::bool::weighted(0.99));
    (expiration, both, more)
        .prop_map(|((expiration, ..), (ends, conditions), more)| {
            let ends = ends.then(|| ("expiration".to_owned(), Some(expiration)));
            let conditions = conditions.then(|| ("conditions".to_owned(), None));
            ends.into_iter()
                .chain(conditions)
                .chain(more)
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let one = (name(), select(&VALUES[..])).prop_map(|(name, value)| (name, value.to_owned()));
    let key = (mixed("key"), select(&VALUES[1..]));
    let key = (prop::bool::weighted(0.98), key);
    (prop::collection::vec(one, 0..4), key)
        .prop_map(|(mut fields, (has_key, (name, value)))| {
            if has_key {
                fields.push((name, value.to_owned()));
            }
            fields
        })
        .prop_shuffle()
}

fn case() -> impl Strategy<Value = Case> {
    let form = (any::<bool>(), fields())
        .prop_flat_map(|(is_v4, fields)| (Just(is_v4), conditions(is_v4, &fields), Just(fields)));
    (
        (form, members(), select(&FILE_NAMES[..])),
        (prop::bool::weighted(0.97), any::<(bool, bool)>()),
    )
        .prop_map(|((form, members, file_name), (is_signed_rightly, rules))| {
            let (is_v4, conditions, fields) = form;
            Case {
                members,
                conditions,
                fields,
                file_name,
                is_v4,
                is_signed_rightly,
                rules,
            }
        })
}

impl Condition {
    fn text(&self) -> String {
        match self {
            Self::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("{}:{value}", json!(name)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            Self::List(elements) => {
                // Blanks of the client's own, which an echo must keep.
                let elements = elements.iter().map(Value::to_string);
                format!("[{}]", elements.collect::<Vec<_>>().join(" ,"))
            }
            Self::Other(value) => value.to_string(),
        }
    }
}

impl Case {
    fn document(&self) -> String {
        let conditions: Vec<_> = self.conditions.iter().map(Condition::text).collect();
        let conditions = format!("[{}]", conditions.join(", "));
        let mut text = String::new();
        for (name, value) in &self.members {
            let value = value.unwrap_or(&conditions);
            let comma = if text.is_empty() { "" } else { "," };
            write!(text, "{comma} \"{name}\": {value}").unwrap();
        }
        format!("{{{text} }}")
    }

    /// The fields that prove who signed, without the signature; in lower case.
    fn proof(&self) -> Vec<(String, String)> {
        let fields: &[(&str, &str)] = match self.is_v4 {
            false => &[("awsaccesskeyid", "S3POSTEXAMPLEKEY")],
            true => &[
                ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
                ("x-amz-credential", CREDENTIAL),
                ("x-amz-date", "20291231T120000Z"),
            ],
        };
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fields.iter().map(owned).collect()
    }
}

/// What a form comes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Key, fewest and most bytes, stored headers.
    Granted(String, u64, u64, Vec<(String, String)>),
    Expired,
    /// The condition's echo.
    Failed(String),
    /// The field's name.
    Extra(String),
    BadPolicy,
    BadSignature,
    /// A key that is missing or empty, a field that comes twice.
    BadField,
    /// Allowed, and then not of its kind.
    Unfit,
}

/// What one condition means, or why it is none.
enum Meaning {
    Equals(String, String),
    Begins(String, String),
    Between(u64, u64),
    Never,
}

// The naive evaluation: the reference's rules in their order, on what was generated.

fn naive(case: &Case) -> Outcome {
    let (absent_is_empty, cover_checksums) = case.rules;
    let Some(fields) = naive_fields(case) else {
        return Outcome::BadField;
    };
    let all: Vec<_> = fields.iter().cloned().chain(case.proof()).collect();
    let find = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    if find("key").is_none_or(|key| key.is_empty()) {
        return Outcome::BadField;
    }
    if !case.is_signed_rightly {
        return Outcome::BadSignature;
    }
    let Some((meanings, lies_ahead)) = naive_document(case) else {
        return Outcome::BadPolicy;
    };
    if !lies_ahead {
        return Outcome::Expired;
    }
    let value = |name: &str| match name {
        "bucket" => Some(BUCKET.to_owned()),
        _ => find(name).or(absent_is_empty.then(String::new)),
    };
    for (meaning, condition) in meanings.iter().zip(&case.conditions) {
        let holds = match meaning {
            Meaning::Never => false,
            Meaning::Between(..) => true,
            Meaning::Equals(name, wanted) => value(name).as_ref() == Some(wanted),
            Meaning::Begins(name, prefix) => {
                value(name).is_some_and(|value| begins(name, &value, prefix))
            }
        };
        if !holds {
            return Outcome::Failed(naive_echo(condition));
        }
    }
    let covered = |wanted: &str| {
        meanings.iter().any(|meaning| match meaning {
            Meaning::Equals(name, _) | Meaning::Begins(name, _) => name == wanted,
            Meaning::Between(..) | Meaning::Never => false,
        })
    };
    let names = all.iter().map(|(name, _)| name.clone());
    let names = names.filter(|name| name != "bucket" && name != "awsaccesskeyid");
    for name in names.chain(["bucket".to_owned()]) {
        let exempt = name.starts_with("x-amz-checksum-") && !cover_checksums;
        if !exempt && !covered(&name) {
            return Outcome::Extra(name);
        }
    }
    if find("bucket").is_some_and(|named| named != BUCKET) {
        return Outcome::Failed(format!("[\"eq\", \"$bucket\", \"{BUCKET}\"]"));
    }
    // Of the values here two are acls, and none is a checksum.
    let is_acl = |acl: String| acl == "private" || acl == "public-read";
    if find("acl").is_some_and(|acl| !is_acl(acl)) || find("x-amz-checksum-sha1").is_some() {
        return Outcome::Unfit;
    }
    let (mut low, mut high) = (0, 5 << 30);
    for meaning in &meanings {
        if let Meaning::Between(min, max) = meaning {
            (low, high) = (low.max(*min), high.min(*max));
        }
    }
    let mut stored = fields.clone();
    stored.retain(|(name, _)| name == "content-type" || name.starts_with("x-amz-meta-"));
    Outcome::Granted(find("key").unwrap(), low, high, stored)
}

/// Lower-case names, each once; `None` for a repeat that is not metadata's.
fn naive_fields(case: &Case) -> Option<Vec<(String, String)>> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in &case.fields {
        let name = name.to_lowercase();
        if name.starts_with("x-ignore-") {
            continue;
        }
        match fields.iter_mut().find(|(n, _)| *n == name) {
            None => fields.push((name, value.clone())),
            Some((_, held)) if name.starts_with("x-amz-meta-") => *held = format!("{held},{value}"),
            Some(_) => return None,
        }
    }
    if let Some(path) = case.file_name {
        let file_name = path.split(['/', '\\']).next_back().unwrap();
        for (_, value) in &mut fields {
            *value = value
                .split("${filename}")
                .collect::<Vec<_>>()
                .join(file_name);
        }
    }
    Some(fields)
}

/// What the conditions mean, and whether the expiration lies ahead; `None` when a rule of the grammar is broken.
fn naive_document(case: &Case) -> Option<(Vec<Meaning>, bool)> {
    let mut count = BTreeMap::new();
    for (name, _) in &case.members {
        *count.entry(name.as_str()).or_insert(0) += 1;
    }
    if count != BTreeMap::from([("conditions", 1), ("expiration", 1)]) {
        return None;
    }
    let text = case.members.iter().find_map(|(_, text)| *text)?;
    let (_, is_one, lies_ahead) = EXPIRATIONS.iter().find(|(t, ..)| *t == text)?;
    let meanings: Option<Vec<_>> = case.conditions.iter().map(naive_condition).collect();
    is_one.then_some((meanings?, *lies_ahead))
}

fn naive_condition(condition: &Condition) -> Option<Meaning> {
    let elements = match condition {
        Condition::Other(_) => return None,
        Condition::Object(members) => {
            let [(name, Value::String(value))] = members.as_slice() else {
                return None;
            };
            return Some(Meaning::Equals(name.to_lowercase(), value.clone()));
        }
        Condition::List(elements) => elements,
    };
    let [Value::String(operator), first, second] = elements.as_slice() else {
        return None;
    };
    let operator = operator.to_lowercase();
    if operator == "content-length-range" {
        return match (naive_bound(first)?, naive_bound(second)?) {
            (Some(min), Some(max)) => Some(Meaning::Between(min, max)),
            _ => Some(Meaning::Never),
        };
    }
    let (Value::String(name), Value::String(_) | Value::Number(_)) = (first, second) else {
        return None;
    };
    let value = second.as_str().map_or(second.to_string(), str::to_owned);
    let name = match name.strip_prefix('$') {
        None if operator == "eq" || operator == "starts-with" => return Some(Meaning::Never),
        name => name?.to_lowercase(),
    };
    match operator.as_str() {
        "eq" => Some(Meaning::Equals(name, value)),
        "starts-with" => Some(Meaning::Begins(name, value)),
        _ => None,
    }
}

/// A number of bytes; `None` for what is none by the grammar, `Some(None)` for a text that is no number.
fn naive_bound(bound: &Value) -> Option<Option<u64>> {
    match bound {
        Value::String(text) => Some(text.parse().ok()),
        Value::Number(number) => number.as_u64().map(Some),
        _ => None,
    }
}

fn naive_echo(condition: &Condition) -> String {
    match condition {
        Condition::Object(members) => {
            let (name, value) = &members[0];
            format!("[\"eq\", {}, {value}]", json!(format!("${name}")))
        }
        _ => condition.text(),
    }
}

/// Byte by byte; of a list of types each further one, without the blanks around it, must begin alike.
fn begins(name: &str, value: &str, prefix: &str) -> bool {
    if name != "content-type" {
        return value.starts_with(prefix);
    }
    let mut types = value.split(',');
    types
        .next()
        .is_some_and(|first| first.starts_with(prefix) || value.starts_with(prefix))
        && types.all(|one| one.trim().starts_with(prefix))
}

// The library's evaluation of the same.

fn ours(case: &Case) -> Outcome {
    let key = AccessKey {
        id: "S3POSTEXAMPLEKEY".to_owned(),
        secret: Secret::new("secret".to_owned()),
        purpose: KeyPurpose::User,
        created_at: Timestamp::default(),
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    };
    let policy = STANDARD.encode(case.document());
    let text = if case.is_signed_rightly {
        policy.as_str()
    } else {
        "e30="
    };
    let (signature, field) = match case.is_v4 {
        false => (sign_v2(&key.secret, text), "signature"),
        true => (
            sign_v4(&key.secret, "20291231", "us-east-1", text),
            "x-amz-signature",
        ),
    };
    let mut builder = PostFormBuilder::default();
    let proof = case
        .proof()
        .into_iter()
        .map(|(name, value)| (name.to_uppercase(), value));
    let signed = [
        ("Policy".to_owned(), policy.clone()),
        (field.to_owned(), signature),
    ];
    for (name, value) in case.fields.iter().cloned().chain(proof).chain(signed) {
        if builder.push(&name, value.as_bytes()).is_err() {
            return Outcome::BadField;
        }
    }
    let form = builder.finish(case.file_name).unwrap();
    let rules = Rules {
        absent_is_empty: case.rules.0,
        cover_checksums: case.rules.1,
    };
    let context = Context {
        bucket: &Bucket::parse(BUCKET).unwrap(),
        public_write: false,
        now: Timestamp::from_seconds(NOW),
        rules: &rules,
    };
    let judged =
        claim(&form, Some("us-east-1")).and_then(|claim| authorize(&claim, Some(&key), &context));
    let error = match judged {
        Ok(grant) => {
            let (low, high) = grant.size_range();
            let headers = grant.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let key = grant.key().as_str().to_owned();
            return Outcome::Granted(key, low, high, headers.collect());
        }
        Err(error) => error,
    };
    let after = |beginning: &str| error.message().strip_prefix(beginning).unwrap().to_owned();
    match error.kind() {
        PolicyErrorKind::PolicyExpired => Outcome::Expired,
        PolicyErrorKind::ConditionFailed => Outcome::Failed(after(
            "Invalid according to Policy: Policy Condition failed: ",
        )),
        PolicyErrorKind::ExtraField => {
            Outcome::Extra(after("Invalid according to Policy: Extra input fields: "))
        }
        PolicyErrorKind::InvalidPolicyDocument => Outcome::BadPolicy,
        PolicyErrorKind::SignatureDoesNotMatch => Outcome::BadSignature,
        PolicyErrorKind::InvalidArgument if error.extra("ArgumentName") == Some("key") => {
            Outcome::BadField
        }
        _ => Outcome::Unfit,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_judgement_equals_a_naive_second_one(case in case()) {
        prop_assert_eq!(ours(&case), naive(&case), "{}", case.document());
    }
}

#[test]
fn the_random_forms_come_to_every_outcome_often_enough() {
    let mut runner = TestRunner::deterministic();
    let mut count = BTreeMap::new();
    for _ in 0..5_000 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let outcome = match naive(&case) {
            Outcome::Granted(_, low, high, _) if low > high => "granted for nothing",
            Outcome::Granted(key, ..) if key.contains("${filename}") => "granted with the variable",
            Outcome::Granted(..) if case.fields.len() > 3 => "granted with many fields",
            Outcome::Granted(..) => "granted",
            Outcome::Expired => "expired",
            Outcome::Failed(_) => "failed",
            Outcome::Extra(_) => "extra",
            Outcome::BadPolicy => "bad policy",
            Outcome::BadSignature => "bad signature",
            Outcome::BadField => "bad field",
            Outcome::Unfit => "unfit",
        };
        *count.entry(outcome).or_insert(0) += 1;
    }
    assert_eq!(count.len(), 11, "{count:?}");
    assert!(count.values().all(|times| *times >= 20), "{count:?}");
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
        with in select(&[
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
