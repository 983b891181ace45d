//! Signed requests for tests: made by hand from Amazon's description, and not by the code under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]
#![allow(dead_code, unreachable_pub, reason = "no test crate uses all of it")]

use ring::{digest, hmac};

use crate::support::{Answer, HOST, Rig};

/// The access key of `pillarbox dev`.
pub const KEY_ID: &str = "PILLARBOXDEVACCESS00";
/// Its secret.
pub const SECRET: &str = "pillarbox-dev-secret";
/// The time of the tests, as signatures write it.
pub const DATE: &str = "20261122T132000Z";
/// What it is signed for.
pub const SCOPE: &str = "20261122/us-east-1/s3/aws4_request";

/// A request before it is signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The method.
    pub method: String,
    /// The path, encoded.
    pub path: String,
    /// Decoded parameters.
    pub query: Vec<(String, String)>,
    /// Headers that are signed.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What is said of the payload; its SHA-256 when not set.
    pub payload: Option<String>,
    /// The key it is signed with.
    pub key_id: String,
    /// The secret it is signed with.
    pub secret: String,
    /// The host it is sent to.
    pub host: String,
    /// Headers that are sent and not signed.
    pub unsigned: Vec<(String, String)>,
}

impl Signed {
    /// A valid request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let owned = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: pairs.map(owned).collect(),
            headers: Vec::new(),
            body: Vec::new(),
            payload: None,
            key_id: KEY_ID.to_owned(),
            secret: SECRET.to_owned(),
            host: HOST.to_owned(),
            unsigned: Vec::new(),
        }
    }

    /// With a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With a signed header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a header that is not signed.
    pub fn unsigned(mut self, name: &str, value: &str) -> Self {
        self.unsigned.push((name.to_owned(), value.to_owned()));
        self
    }

    /// To another host.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// By another key.
    pub fn by(mut self, key_id: &str, secret: &str) -> Self {
        key_id.clone_into(&mut self.key_id);
        secret.clone_into(&mut self.secret);
        self
    }

    /// Saying this of the payload.
    pub fn payload(mut self, payload: &str) -> Self {
        self.payload = Some(payload.to_owned());
        self
    }

    /// The signature of a text.
    pub fn sign(&self, text: &str) -> String {
        hex(&mac(&signing_key(&self.secret), text))
    }

    /// The signature of the request with these headers, which are all that is signed.
    pub fn signature(&self, headers: &[(String, String)], query: &str, payload: &str) -> String {
        let names = headers.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>();
        let folded = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines = headers.iter().map(|(n, v)| format!("{n}:{}\n", folded(v)));
        let canonical = format!(
            "{}\n{}\n{query}\n{}\n{}\n{payload}",
            self.method,
            self.path,
            lines.collect::<String>(),
            names.join(";")
        );
        let hash = sha256(canonical.as_bytes());
        self.sign(&format!("AWS4-HMAC-SHA256\n{DATE}\n{SCOPE}\n{hash}"))
    }

    fn payload_word(&self) -> String {
        self.payload.clone().unwrap_or_else(|| sha256(&self.body))
    }

    /// The headers that are signed, sorted, and the signature over them: the seed of signed chunks.
    pub fn seed(&self) -> (Vec<(String, String)>, String) {
        let mut headers = self.headers.clone();
        for (name, value) in [
            ("host", self.host.clone()),
            ("x-amz-content-sha256", self.payload_word()),
            ("x-amz-date", DATE.to_owned()),
        ] {
            headers.push((name.to_owned(), value));
        }
        headers.sort();
        let signature = self.signature(&headers, &canonical(&self.query), &self.payload_word());
        (headers, signature)
    }

    /// Sends it, signed in its `Authorization` header.
    pub async fn send(&self, rig: &Rig) -> Answer {
        let headers = self.authorized();
        self.send_with(rig, &headers, &canonical(&self.query)).await
    }

    /// The headers that it is sent with, its `Authorization` among them.
    pub fn authorized(&self) -> Vec<(String, String)> {
        let (mut headers, signature) = self.seed();
        let names = headers.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{SCOPE}, SignedHeaders={}, Signature={signature}",
            self.key_id,
            names.join(";")
        );
        headers.push(("authorization".to_owned(), authorization));
        headers.extend(self.unsigned.clone());
        headers
    }

    /// The query of a presigned URL that lives this many seconds.
    pub fn presigned(&self, seconds: u32) -> String {
        let mut query = self.query.clone();
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        headers.sort();
        let names = headers.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>();
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{SCOPE}", self.key_id)),
            ("X-Amz-Date", DATE.to_owned()),
            ("X-Amz-Expires", seconds.to_string()),
            ("X-Amz-SignedHeaders", names.join(";")),
        ] {
            query.push((name.to_owned(), value));
        }
        let query = canonical(&query);
        let signature = self.signature(&headers, &query, "UNSIGNED-PAYLOAD");
        format!("{query}&X-Amz-Signature={signature}")
    }

    /// Sends it as a presigned URL.
    pub async fn send_presigned(&self, rig: &Rig, seconds: u32) -> Answer {
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), self.host.clone()));
        headers.extend(self.unsigned.clone());
        self.send_with(rig, &headers, &self.presigned(seconds))
            .await
    }

    async fn send_with(&self, rig: &Rig, headers: &[(String, String)], query: &str) -> Answer {
        let mut headers = headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect::<Vec<_>>();
        let length = self.body.len().to_string();
        let has_body = matches!(self.method.as_str(), "PUT" | "POST");
        if has_body && !headers.iter().any(|(n, _)| *n == "content-length") {
            headers.push(("content-length", &length));
        }
        let uri = match query {
            "" => self.path.clone(),
            query => format!("{}?{query}", self.path),
        };
        rig.request(&self.method, &uri, &headers, self.body.clone())
            .await
    }
}

/// The S3 code of a refusal; empty when there is none.
pub fn code(answer: &Answer) -> String {
    element(answer, "Code")
}

/// The text of the first element of this name; empty when there is none.
pub fn element(answer: &Answer, name: &str) -> String {
    elements(answer, name)
        .into_iter()
        .next()
        .unwrap_or_default()
}

/// The texts of all elements of this name.
pub fn elements(answer: &Answer, name: &str) -> Vec<String> {
    let text = answer.text();
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let starts = text.split(&open).skip(1);
    let texts = starts.filter_map(|rest| rest.split_once(&close));
    texts.map(|(text, _)| text.to_owned()).collect()
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn signing_key(secret: &str) -> Vec<u8> {
    let first = format!("AWS4{secret}").into_bytes();
    SCOPE.split('/').fold(first, |key, part| mac(&key, part))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(query: &[(String, String)]) -> String {
    let mut pairs = query
        .iter()
        .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
        .collect::<Vec<_>>();
    pairs.sort();
    pairs.join("&")
}

/// Percent-encodes all but unreserved characters.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| match plain(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        })
        .collect()
}
