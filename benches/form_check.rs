//! What checking a form costs: its fields taken, the claim read, the signature proven, the policy parsed and judged, the grant made.
//!
//! `cargo bench --bench form_check`. Forms of our own sessions and of boto3 in both versions, a large one, and nearly the largest that
//! fits before a file. Each form is accepted, so that no step is left out. The promise is checked too: at the median every
//! form takes less than [`PROMISE`]; only the largest, which nobody but an attacker sends, may take ten times that.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::Criterion;
use pillarbox::model::{AccessKey, Bucket, Id, KeyPurpose, ObjectKey, Secret, Timestamp};
use pillarbox::policy::{
    Context, Grant, PostFormBuilder, Rules, SessionForm, authorize, claim, sign_v2, sign_v4,
};
use serde_json::{Value, json};

/// The longest that checking a form may take at the median.
const PROMISE: Duration = Duration::from_micros(50);
/// Checks of each form that a median is taken of, and how many medians.
const CHECKS: usize = 1_001;
const ROUNDS: usize = 9;
/// 2026-11-22T13:20:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_795_353_600);
const DAY: &str = "20261122";
const KEY_ID: &str = "S3POSTEXAMPLEKEY";

/// A form as it was sent, and who signed it.
struct Sent {
    name: &'static str,
    key: AccessKey,
    fields: Vec<(String, String)>,
    /// The longest that checking it may take at the median.
    most: Duration,
}

fn key(purpose: KeyPurpose) -> AccessKey {
    AccessKey {
        id: KEY_ID.to_owned(),
        secret: Secret::new("s3post-example-secret".to_owned()),
        purpose,
        created_at: NOW,
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    }
}

fn bucket() -> Bucket {
    Bucket::parse("uploads").unwrap()
}

/// The form that a session of ours hands out.
fn session_v2() -> Sent {
    let key = key(KeyPurpose::Forms);
    let upload = Id::parse("598358fe6baa605b1e33754e").unwrap();
    let object_key = ObjectKey::parse("tmp/547f3eede4b025bcbff38657/uploads/test.mp4").unwrap();
    let end = NOW.plus(Duration::from_secs(24 * 3600));
    let form = SessionForm::issue(upload, &bucket(), &object_key, &key, end);
    let fields = form.fields().iter();
    let fields = fields.map(|(name, value)| ((*name).to_owned(), value.clone()));
    Sent {
        name: "session, version 2",
        fields: fields.collect(),
        key,
        most: PROMISE,
    }
}

/// The same policy and fields under a signature of version 4.
fn session_v4() -> Sent {
    let v2 = session_v2();
    let policy = v2.fields.iter().find(|(name, _)| name == "policy").unwrap();
    let policy = STANDARD.decode(&policy.1).unwrap();
    let policy: Value = serde_json::from_slice(&policy).unwrap();
    let conditions = policy["conditions"].as_array().unwrap().clone();
    let mut fields = v2.fields.clone();
    fields.retain(|(name, _)| !["policy", "signature", "AWSAccessKeyId"].contains(&name.as_str()));
    signed_v4("session, version 4", v2.key, fields, conditions)
}

/// What `generate_presigned_post` makes of the fields and conditions in its documentation.
fn boto3() -> (Vec<(String, String)>, Vec<Value>) {
    let fields = [
        ("acl", "private"),
        ("success_action_status", "201"),
        ("Content-Type", "video/mp4"),
        ("x-amz-meta-tag", "a b"),
        ("key", "up/${filename}"),
    ];
    let conditions = vec![
        json!({"acl": "private"}),
        json!({"success_action_status": "201"}),
        json!(["starts-with", "$Content-Type", "video/"]),
        json!({"x-amz-meta-tag": "a b"}),
        json!(["content-length-range", 0, 1_000_000]),
        json!({"bucket": "uploads"}),
        json!(["starts-with", "$key", "up/"]),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (fields.map(owned).to_vec(), conditions)
}

fn boto3_v2() -> Sent {
    let (mut fields, conditions) = boto3();
    let key = key(KeyPurpose::User);
    let policy = document(&conditions);
    let signature = sign_v2(&key.secret, &policy);
    for (name, value) in [
        ("AWSAccessKeyId", KEY_ID),
        ("policy", &policy),
        ("signature", &signature),
    ] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    Sent {
        name: "boto3, version 2",
        key,
        fields,
        most: PROMISE,
    }
}

fn boto3_v4() -> Sent {
    let (fields, conditions) = boto3();
    signed_v4(
        "boto3, version 4",
        key(KeyPurpose::User),
        fields,
        conditions,
    )
}

/// The form of boto3 with so many fields of metadata more, each under two conditions.
fn with_metadata(name: &'static str, count: usize, most: Duration) -> Sent {
    let (mut fields, mut conditions) = boto3();
    for i in 0..count {
        let name = format!("x-amz-meta-{i:02}");
        conditions.push(json!(["starts-with", format!("${name}"), "v"]));
        conditions.push(json!({ name.clone(): "value" }));
        fields.push((name, "value".to_owned()));
    }
    let sent = signed_v4(name, key(KeyPurpose::User), fields, conditions);
    Sent { most, ..sent }
}

fn document(conditions: &[Value]) -> String {
    let document = json!({ "expiration": "2026-11-23T13:20:00Z", "conditions": conditions });
    STANDARD.encode(document.to_string())
}

fn signed_v4(
    name: &'static str,
    key: AccessKey,
    mut fields: Vec<(String, String)>,
    mut conditions: Vec<Value>,
) -> Sent {
    let members = [
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        (
            "x-amz-credential",
            format!("{KEY_ID}/{DAY}/us-east-1/s3/aws4_request"),
        ),
        ("x-amz-date", format!("{DAY}T131500Z")),
    ];
    for (name, value) in members {
        conditions.push(json!({ name: value }));
        fields.push((name.to_owned(), value));
    }
    let policy = document(&conditions);
    let signature = sign_v4(&key.secret, DAY, "us-east-1", &policy);
    fields.push(("policy".to_owned(), policy));
    fields.push(("x-amz-signature".to_owned(), signature));
    Sent {
        name,
        key,
        fields,
        most: PROMISE,
    }
}

/// The whole check, as the form post does it.
fn check(sent: &Sent, bucket: &Bucket, rules: &Rules) -> Grant {
    let mut builder = PostFormBuilder::default();
    for (name, value) in &sent.fields {
        builder.push(name, value.as_bytes()).unwrap();
    }
    let form = builder.finish(Some("vid\u{e9}o.mp4")).unwrap();
    let context = Context {
        bucket,
        public_write: false,
        now: NOW,
        rules,
    };
    let claim = claim(&form, None).unwrap();
    authorize(&claim, Some(&sent.key), &context)
        .unwrap_or_else(|error| panic!("{}", error.message()))
}

/// The least of the medians of some rounds: what else the machine does makes a round longer, never shorter.
fn median(sent: &Sent) -> Duration {
    let (bucket, rules) = (bucket(), Rules::default());
    let round = || {
        let mut took: Vec<_> = (0..CHECKS)
            .map(|_| {
                let began = Instant::now();
                black_box(check(black_box(sent), &bucket, &rules));
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        took[CHECKS / 2]
    };
    (0..ROUNDS).map(|_| round()).min().unwrap()
}

fn main() {
    let forms = [
        session_v2(),
        session_v4(),
        boto3_v2(),
        boto3_v4(),
        with_metadata("a large policy, version 4", 10, PROMISE),
        with_metadata("nearly the largest, version 4", 70, 10 * PROMISE),
    ];
    let (bucket, rules) = (bucket(), Rules::default());
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("form check");
    for sent in &forms {
        group.bench_function(sent.name, |timed| {
            timed.iter(|| check(black_box(sent), &bucket, &rules));
        });
    }
    group.finish();
    criterion.final_summary();
    for sent in &forms {
        let bytes: usize = sent.fields.iter().map(|(n, v)| n.len() + v.len()).sum();
        let median = median(sent);
        println!(
            "{}: {bytes} bytes in {} fields, {median:?} at the median",
            sent.name,
            sent.fields.len()
        );
        let most = sent.most;
        assert!(median < most, "{} takes longer than {most:?}", sent.name);
    }
}
