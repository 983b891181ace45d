//! Signed forms, made once and used for many files, so that signing is no part of what is measured.
//!
//! Owns: [`Signer`], a policy for any key, signed as Amazon's version 4 asks; and [`Around`], the bytes before and after a
//! file. Never does: know a server; the same form goes to every one that is compared.
//!
//! Invariant: made by hand and not by the code under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Span, Timestamp, tz::TimeZone};
use ring::hmac;
use serde_json::json;

/// The boundary of every form.
pub(crate) const BOUNDARY: &str = "----formBoundary7MA4YWxk";
/// The region of every scope.
pub(crate) const REGION: &str = "us-east-1";

/// What stands around a file.
pub(crate) struct Around {
    pub(crate) head: Vec<u8>,
    pub(crate) tail: String,
}

impl Around {
    pub(crate) fn of<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut head = String::new();
        let part =
            |name: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"");
        for (name, value) in fields {
            head += &format!("{}\r\n\r\n{value}\r\n", part(name));
        }
        head += &format!("{}; filename=\"a.bin\"\r\n\r\n", part("file"));
        let head = head.into_bytes();
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        Self { head, tail }
    }
}

/// Signs for one bucket.
pub(crate) struct Signer {
    path: String,
    fields: Vec<(&'static str, String)>,
}

impl Signer {
    /// The keys and the bucket of `pillarbox dev`.
    pub(crate) fn dev() -> Self {
        Self::new("uploads", "PILLARBOXDEVACCESS00", "pillarbox-dev-secret")
    }

    pub(crate) fn new(bucket: &str, access_key: &str, secret: &str) -> Self {
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let day = now.strftime("%Y%m%d").to_string();
        let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let end = now.checked_add(Span::new().hours(6)).expect("a time");
        let credential = format!("{access_key}/{day}/{REGION}/s3/aws4_request");
        let policy = json!({
            "expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "conditions": [
                {"bucket": bucket},
                ["starts-with", "$key", ""],
                {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
                {"x-amz-credential": credential},
                {"x-amz-date": date},
            ],
        });
        let policy = STANDARD.encode(policy.to_string());
        let key = signing_key(secret, &day);
        let signature = hmac::sign(&key, policy.as_bytes());
        let signature: String = signature
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            path: format!("/{bucket}/"),
            fields: vec![
                ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
                ("x-amz-credential", credential),
                ("x-amz-date", date),
                ("policy", policy),
                ("x-amz-signature", signature),
            ],
        }
    }

    /// Where its forms are posted to.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The form for a file under `key`.
    pub(crate) fn around(&self, key: &str) -> Around {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        Around::of([("key", key)].into_iter().chain(fields))
    }
}

/// The key that signs on `day`: Amazon S3 API Reference, "Signature Calculations".
pub(crate) fn signing_key(secret: &str, day: &str) -> hmac::Key {
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    for scope in [day, REGION, "s3", "aws4_request"] {
        let derived = hmac::sign(&key, scope.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    }
    key
}
