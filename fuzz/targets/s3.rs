//! Any body of an S3 request: read or refused, and read back as it is written. Any request: nobody signs it without the secret; and
//! truly signed over the text that a refusal tells, it is proven, and no more when one thing of it is another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pillarbox::api::fuzzing::try_bodies;
use pillarbox::model::{AccessKey, KeyPurpose, Secret, Timestamp};
use pillarbox::policy::{
    DerivedKeys, RequestError, RequestErrorKind, SentRequest, claim_request, sign_v4,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// [`NOW`], as signatures write it.
const DATE: &str = "20231114T221320Z";
const DAY: &str = "20231114";
const REGION: &str = "us-east-1";
/// Headers that the target sets itself.
const OWN: [&str; 6] = [
    "authorization",
    "host",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-tampered",
];

fuzz_target!(|data: &[u8]| {
    try_bodies(data);
    if let Ok(text) = std::str::from_utf8(data) {
        try_request(text);
    }
});

// Lines: the method, the path, the prefix that a client may have had in front of it, the bucket of the host, the query, then
// NAME:VALUE for each header.
fn try_request(text: &str) {
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, path, path_prefix, bucket, query) = (next(), next(), next(), next(), next());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.filter(|(name, _)| is_name(name));
    let mut sent = SentRequest {
        method,
        path,
        path_prefix,
        bucket_of_host: Some(bucket).filter(|bucket| !bucket.is_empty()),
        query,
        headers: headers
            .map(|(name, value)| (name, value.as_bytes()))
            .collect(),
    };
    assert!(proven(&sent).is_err(), "a signature without the secret");
    sent.headers.retain(|(name, _)| !OWN.contains(name));
    sent.headers.extend([
        ("host", &b"files.example"[..]),
        ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
        ("x-amz-date", DATE.as_bytes()),
    ]);
    try_signed(&sent);
}

fn is_name(name: &str) -> bool {
    let is_of_names = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.bytes().all(is_of_names)
}

/// Signs the request as a refusal says that it should have been.
fn try_signed(plain: &SentRequest<'_>) {
    let mut names: Vec<_> = plain.headers.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    let names = names.join(";");
    let id = key().id;
    let authorization = |signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{DAY}/{REGION}/s3/aws4_request, SignedHeaders={names}, Signature={signature}"
        )
    };
    let forged = authorization(&"0".repeat(64));
    let Err(refusal) = proven(&with(plain, &forged)) else {
        panic!("a signature of zeros");
    };
    if refusal.kind != RequestErrorKind::SignatureDoesNotMatch {
        return;
    }
    let mut told = refusal.extras.iter();
    let (_, to_sign) = told
        .find(|(name, _)| *name == "StringToSign")
        .expect("a refusal tells what should have been signed");
    let right = authorization(&sign_v4(&key().secret, DAY, REGION, to_sign));
    let signed = with(plain, &right);
    assert!(proven(&signed).is_ok(), "what was told is not what counts");
    let elsewhere = claim_request(&signed, Some("elsewhere"));
    assert!(elsewhere.is_err(), "a scope of another region");
    nothing_can_be_changed(&signed);
}

fn nothing_can_be_changed(signed: &SentRequest<'_>) {
    let refused = |what: &str, change: &dyn Fn(&mut SentRequest<'_>)| {
        let mut other = signed.clone();
        change(&mut other);
        assert!(proven(&other).is_err(), "{what} is not signed");
    };
    refused("the method", &|sent| sent.method = "TAMPER");
    refused("a header of Amazon", &|sent| {
        sent.headers.push(("x-amz-tampered", b"1"))
    });
    refused("the host", &|sent| sent.headers.push(("host", b"other")));
    let path = format!("{}x", signed.path);
    let query = format!("{}&tampered=1", signed.query);
    let longer_path = SentRequest {
        path: &path,
        ..signed.clone()
    };
    assert!(proven(&longer_path).is_err(), "the path is not signed");
    let longer_query = SentRequest {
        query: &query,
        ..signed.clone()
    };
    assert!(proven(&longer_query).is_err(), "the query is not signed");
}

fn with<'a>(plain: &SentRequest<'a>, authorization: &'a str) -> SentRequest<'a> {
    let mut sent = plain.clone();
    sent.headers
        .push(("authorization", authorization.as_bytes()));
    sent
}

fn key() -> AccessKey {
    AccessKey {
        id: "AKFUZZFUZZFUZZFUZZ00".to_owned(),
        secret: Secret::new("a-secret-that-nobody-guesses".to_owned()),
        purpose: KeyPurpose::User,
        created_at: NOW,
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    }
}

/// Fails also when nobody signed it.
fn proven(sent: &SentRequest<'_>) -> Result<(), RequestError> {
    match claim_request(sent, None)? {
        Some(claim) => claim
            .verify(Some(&key()), &DerivedKeys::default(), NOW)
            .map(drop),
        None => Err(RequestError {
            kind: RequestErrorKind::AccessDenied,
            message: String::new(),
            extras: Vec::new(),
        }),
    }
}
