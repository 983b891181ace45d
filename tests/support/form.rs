//! Signed forms for tests: a valid one, made by hand and not by the code under test, on which a test changes one thing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]
#![allow(dead_code, unreachable_pub, reason = "no test crate uses all of it")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The boundary of every form; it begins with hyphens, as browsers' do.
pub const BOUNDARY: &str = "----formBoundary7MA4YWxk";
/// The access key of `pillarbox dev`.
pub const KEY_ID: &str = "PILLARBOXDEVACCESS00";
/// Its secret.
pub const SECRET: &str = "pillarbox-dev-secret";

/// A form before it is encoded.
#[derive(Clone, Debug)]
pub struct Form {
    /// The fields before the file, in order.
    pub fields: Vec<(String, String)>,
    /// The conditions of the policy, as JSON texts.
    pub conditions: Vec<String>,
    /// The policy's expiration.
    pub expiration: String,
    /// The secret it is signed with.
    pub secret: String,
    /// The file's bytes.
    pub file: Vec<u8>,
    /// The file part's name and file name.
    pub file_part: (String, Option<String>),
    /// Fields after the file.
    pub trailing: Vec<(String, String)>,
    /// Whether every part carries a `filename`, as python-requests sends it.
    pub every_part_named: bool,
    signed: bool,
}

impl Form {
    /// A valid plain S3 form for `bucket` and `key`, unsigned until it is encoded.
    pub fn new(bucket: &str, key: &str, file: &[u8]) -> Self {
        let mut form = Self {
            fields: Vec::new(),
            conditions: vec![format!("{{\"bucket\":\"{bucket}\"}}")],
            expiration: "2026-11-23T00:00:00.000Z".to_owned(),
            secret: SECRET.to_owned(),
            file: file.to_vec(),
            file_part: ("file".to_owned(), Some("a.bin".to_owned())),
            trailing: Vec::new(),
            every_part_named: false,
            signed: false,
        };
        form.covered("key", key);
        form
    }

    /// Adds a field and a condition that covers it exactly.
    pub fn covered(&mut self, name: &str, value: &str) -> &mut Self {
        self.conditions
            .push(serde_json::json!({ name: value }).to_string());
        self.set(name, value)
    }

    /// Sets a field without a condition.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some((_, held)) => value.clone_into(held),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a field.
    pub fn without(&mut self, name: &str) -> &mut Self {
        self.fields.retain(|(n, _)| n != name);
        self
    }

    /// Adds a condition.
    pub fn condition(&mut self, json: &str) -> &mut Self {
        self.conditions.push(json.to_owned());
        self
    }

    /// Adds the policy, unless it is there, key id and V2 signature; the second time it does nothing.
    pub fn sign(&mut self) -> &mut Self {
        if std::mem::replace(&mut self.signed, true) {
            return self;
        }
        let conditions = self.conditions.join(",");
        let policy = format!(
            "{{\"expiration\":\"{}\",\"conditions\":[{conditions}]}}",
            self.expiration
        );
        self.set_if_absent("policy", &STANDARD.encode(policy));
        let policy = self
            .fields
            .iter()
            .find(|(n, _)| n == "policy")
            .map(|(_, v)| v.clone());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, policy.unwrap_or_default().as_bytes()));
        self.set_if_absent("AWSAccessKeyId", KEY_ID);
        self.set_if_absent("signature", &signature);
        self
    }

    /// Adds the policy, the members and the signature of Version 4.
    pub fn sign_v4(&mut self, key_id: &str) -> &mut Self {
        self.sign_v4_at(key_id, "20261122", "T120000Z")
    }

    /// The same for a scope of this day, signed at this time of it.
    pub fn sign_v4_at(&mut self, key_id: &str, day: &str, time: &str) -> &mut Self {
        let credential = format!("{key_id}/{day}/us-east-1/s3/aws4_request");
        self.covered("x-amz-algorithm", "AWS4-HMAC-SHA256")
            .covered("X-Amz-Credential", &credential)
            .covered("x-amz-date", &format!("{day}{time}"));
        let (end, conditions) = (&self.expiration, self.conditions.join(","));
        let policy = format!("{{\"expiration\":\"{end}\",\"conditions\":[{conditions}]}}");
        let policy = STANDARD.encode(policy);
        let mac = |key: &[u8], text: &str| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
        };
        let first = format!("AWS4{}", self.secret).into_bytes();
        let scope = [day, "us-east-1", "s3", "aws4_request"];
        let key = scope.iter().fold(first, |key, part| mac(&key, part));
        let tag = mac(&key, &policy);
        let signature: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        self.set("Policy", &policy)
            .set("x-amz-signature", &signature)
    }

    fn set_if_absent(&mut self, name: &str, value: &str) {
        if !self.fields.iter().any(|(n, _)| n == name) {
            self.set(name, value);
        }
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in &self.fields {
            let file_name = self.every_part_named.then_some(name.as_str());
            push_part(&mut body, name, file_name, value.as_bytes());
        }
        push_part(
            &mut body,
            &self.file_part.0,
            self.file_part.1.as_deref(),
            &self.file,
        );
        for (name, value) in &self.trailing {
            push_part(&mut body, name, None, value.as_bytes());
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }
}

/// The `Content-Type` of every form.
pub fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

fn push_part(body: &mut Vec<u8>, name: &str, file_name: Option<&str>, value: &[u8]) {
    let file_name = file_name
        .map(|name| format!("; filename=\"{name}\""))
        .unwrap_or_default();
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(value);
    body.extend_from_slice(b"\r\n");
}
