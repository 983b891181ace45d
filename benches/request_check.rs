//! What proving a signed GET costs: the claim read from the head of the request, and its signature verified.
//!
//! `cargo bench --bench request_check`. A presigned URL and a request that is signed in its header, both of Version 4, as an SDK sends
//! them. Each is proven, so that no step is left out. The promise is checked too: the best median of several rounds is less than [`PROMISE`].
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails loudly and prints"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use pillarbox::model::{AccessKey, KeyPurpose, Secret, Timestamp};
use pillarbox::policy::{
    DerivedKeys, ProvenRequest, RequestError, SentRequest, claim_request, sign_v4,
};

/// The longest that proving a request may take at the median.
const PROMISE: Duration = Duration::from_micros(50);
/// Checks of each request that a median is taken of, and how many medians.
const CHECKS: usize = 1_001;
const ROUNDS: usize = 9;
/// 2026-11-22T13:20:00Z.
const NOW: Timestamp = Timestamp::from_seconds(1_795_353_600);
const DAY: &str = "20261122";
const DATE: &str = "20261122T131500Z";
const REGION: &str = "us-east-1";
const KEY_ID: &str = "S3POSTEXAMPLEKEY";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What stands for a signature until the right one is known.
const UNSIGNED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A GET as it is sent, and who signed it.
struct Sent {
    name: &'static str,
    key: AccessKey,
    derived: DerivedKeys,
    query: String,
    headers: Vec<(&'static str, String)>,
}

impl Sent {
    fn new(name: &'static str, query: String, headers: Vec<(&'static str, String)>) -> Self {
        let key = AccessKey {
            id: KEY_ID.to_owned(),
            secret: Secret::new("s3post-example-secret".to_owned()),
            purpose: KeyPurpose::User,
            created_at: NOW,
            expires_at: None,
            session_token: None,
            limits: Default::default(),
            form_lifetime: Default::default(),
        };
        let unsigned = Self {
            name,
            key,
            derived: DerivedKeys::default(),
            query,
            headers,
        };
        unsigned.signed()
    }

    /// With the signature over the text that the refusal says it should have been made over.
    fn signed(mut self) -> Self {
        let refused = self.check().unwrap_err();
        let mut extras = refused.extras.iter();
        let text = extras.find(|(name, _)| *name == "StringToSign").unwrap();
        let signature = sign_v4(&self.key.secret, DAY, REGION, &text.1);
        self.query = self.query.replace(UNSIGNED, &signature);
        for (_, value) in &mut self.headers {
            *value = value.replace(UNSIGNED, &signature);
        }
        self
    }

    fn check(&self) -> Result<ProvenRequest, RequestError> {
        let headers = self.headers.iter();
        let sent = SentRequest {
            method: "GET",
            path: "/uploads/films/2026/holiday.mp4",
            path_prefix: "",
            bucket_of_host: None,
            query: &self.query,
            headers: headers.map(|(n, v)| (*n, v.as_bytes())).collect(),
        };
        let claim = claim_request(black_box(&sent), Some(REGION))?.unwrap();
        claim.verify(Some(&self.key), &self.derived, NOW)
    }
}

/// As `generate_presigned_url` of boto3 makes it.
fn presigned() -> Sent {
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY_ID}%2F{DAY}%2F{REGION}%2Fs3%2Faws4_request&X-Amz-Date={DATE}\
         &X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature={UNSIGNED}"
    );
    let headers = [("host", "box.example:7080"), ("user-agent", "curl/8.14.1")];
    let owned = |(name, value): (&'static str, &str)| (name, value.to_owned());
    Sent::new("presigned GET", query, headers.map(owned).to_vec())
}

/// As `get_object` of boto3 sends it.
fn signed_in_header() -> Sent {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/{DAY}/{REGION}/s3/aws4_request, \
         SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date, Signature={UNSIGNED}"
    );
    let headers = [
        ("host", "box.example:7080"),
        ("accept-encoding", "identity"),
        ("x-amz-checksum-mode", "ENABLED"),
        (
            "user-agent",
            "Boto3/1.42.4 md/Botocore#1.42.4 ua/2.1 os/linux#6.12 md/arch#x86_64 lang/python#3.13.5 cfg/retry-mode#legacy",
        ),
        ("x-amz-date", DATE),
        ("x-amz-content-sha256", EMPTY_SHA256),
        ("authorization", &authorization),
        (
            "amz-sdk-invocation-id",
            "1f0ae8a1-7f35-4a2f-8d4e-3a0c2b7b9d11",
        ),
        ("amz-sdk-request", "attempt=1"),
    ];
    let owned = |(name, value): (&'static str, &str)| (name, value.to_owned());
    Sent::new(
        "GET signed in its header",
        String::new(),
        headers.map(owned).to_vec(),
    )
}

/// The least of the medians of some rounds: what else the machine does makes a round longer, never shorter.
fn median(sent: &Sent) -> Duration {
    let round = || {
        let mut took: Vec<_> = (0..CHECKS)
            .map(|_| {
                let began = Instant::now();
                black_box(black_box(sent).check()).unwrap();
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        took[CHECKS / 2]
    };
    (0..ROUNDS).map(|_| round()).min().unwrap()
}

fn main() {
    let requests = [presigned(), signed_in_header()];
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("request check");
    for sent in &requests {
        group.bench_function(sent.name, |timed| timed.iter(|| sent.check().unwrap()));
    }
    group.finish();
    criterion.final_summary();
    for sent in &requests {
        let median = median(sent);
        println!("{}: {median:?} at the median", sent.name);
        let name = sent.name;
        assert!(median < PROMISE, "{name} takes longer than {PROMISE:?}");
    }
}
