//! Presigned URLs, made by hand and not by the code under test.
//!
//! Owns: [`Presigner`], Signature Version 4 in the query (Amazon S3 API Reference, "Authenticating Requests: Using Query
//! Parameters"), with the key of `pillarbox dev`. Never does: send; a path that it gives is a request's target.

use jiff::{Timestamp, tz::TimeZone};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use ring::{digest, hmac};

use crate::form::{REGION, signing_key};

const KEY_ID: &str = "PILLARBOXDEVACCESS00";
const SECRET: &str = "pillarbox-dev-secret";

/// All but what RFC 3986 calls unreserved.
pub(crate) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Signs for one server.
pub(crate) struct Presigner {
    host: String,
    date: String,
    scope: String,
    key: hmac::Key,
}

impl Presigner {
    pub(crate) fn new(host: impl ToString) -> Self {
        let now = Timestamp::now().to_zoned(TimeZone::UTC);
        let day = now.strftime("%Y%m%d").to_string();
        Self {
            host: host.to_string(),
            date: now.strftime("%Y%m%dT%H%M%SZ").to_string(),
            scope: format!("{day}/{REGION}/s3/aws4_request"),
            key: signing_key(SECRET, &day),
        }
    }

    /// `path` with these parameters, sorted by name and encoded, each of which sorts behind `X-Amz-`.
    pub(crate) fn target(&self, method: &str, path: &str, params: &str) -> String {
        let Self {
            host, date, scope, ..
        } = self;
        let credential = format!("{KEY_ID}/{scope}").replace('/', "%2F");
        let mut query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        );
        if !params.is_empty() {
            query += "&";
            query += params;
        }
        let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let signature = hex(hmac::sign(&self.key, text.as_bytes()).as_ref());
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
