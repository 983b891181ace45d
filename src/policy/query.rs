//! The query of a signed request: its parameters, and how they are written in what was signed.
//!
//! Owns: [`Query`], in the canonical form of Signature Version 4 and in that of 2, and which parameters the latter signs.
//! Never does: give meaning to a parameter; `api/params.rs` reads the same query for who acts on it.
//!
//! Invariants: a plus sign is a blank, as it is for whoever acts on it. What is not UTF-8 is no query. The signature itself is never part of what
//! Version 4 signs.
//!
//! Sources: as `canonical.rs`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::canonical::V2_PLAIN_HEADERS;

/// RFC 3986, section 2.3: what is never encoded.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Parameters that Signature Version 2 signs; no other may choose what is done (`api/s3/access.rs`).
const V2_SIGNED: [&str; 37] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "retention",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Whether Version 2 signs this parameter; it passes over all others.
pub fn is_signed_in_version_2(parameter: &str) -> bool {
    V2_SIGNED.contains(&parameter)
}

/// The parameters of a query, decoded, in the order they were sent.
#[derive(Clone)]
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>);

impl<'a> Query<'a> {
    /// Reads a query; `None` when it is not UTF-8.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| match pair.split_once('=') {
            Some((name, value)) => Some((decode(name)?, Some(decode(value)?))),
            None => Some((decode(pair)?, None)),
        });
        decoded.collect::<Option<_>>().map(Self)
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name)?;
        Some(found.1.as_deref().unwrap_or_default())
    }

    /// The first value of a parameter, in whatever case its name is.
    pub(super) fn get_any_case(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(found.1.as_deref().unwrap_or_default())
    }

    /// How often a parameter was given.
    pub(super) fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(n, _)| n == name).count()
    }

    /// The parameters that stand for headers in a presigned URL of Version 2: lower-case names and values.
    pub(super) fn headers_v2(&self) -> impl Iterator<Item = (String, &str)> {
        let pairs = self.0.iter().map(|(name, value)| {
            let value = value.as_deref().unwrap_or_default();
            (name.to_ascii_lowercase(), value)
        });
        pairs.filter(|(name, _)| {
            name.starts_with("x-amz-") || V2_PLAIN_HEADERS.contains(&name.as_str())
        })
    }

    /// Lower-case names that begin with `x-amz-`.
    pub(super) fn amz_names(&self) -> impl Iterator<Item = String> {
        let names = self.0.iter().map(|(name, _)| name.to_ascii_lowercase());
        names.filter(|name| name.starts_with("x-amz-"))
    }

    /// Writes it sorted by encoded name and value, without the signature itself.
    pub(super) fn write_v4(&self, out: &mut Vec<u8>) {
        let encode = |text| Cow::from(utf8_percent_encode(text, ENCODED));
        let kept = self.0.iter().filter(|(name, _)| name != "X-Amz-Signature");
        let pairs = kept.map(|(name, value)| {
            let value = value.as_deref().unwrap_or_default();
            (encode(name), encode(value))
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        for (place, (name, value)) in pairs.iter().enumerate() {
            let between = if place == 0 { "" } else { "&" };
            for piece in [between, name, "=", value] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
    }

    /// The parameters that are signed, in each spelling that clients sign: what is empty as its name alone (minio-go, goamz), or as it was sent
    /// (boto, the SDK for JavaScript).
    pub(super) fn canonical_v2(&self) -> Vec<String> {
        let signed = |(name, _): &&(Cow<'_, str>, _)| V2_SIGNED.contains(&name.as_ref());
        let mut pairs: Vec<_> = self.0.iter().filter(signed).collect();
        pairs.sort_by_key(|(name, _)| name);
        let spelled = |as_sent: bool| {
            let pairs = pairs.iter().map(|(name, value)| match value {
                Some(value) if as_sent || !value.is_empty() => format!("{name}={value}"),
                _ => name.to_string(),
            });
            let joined = pairs.collect::<Vec<_>>().join("&");
            match joined.is_empty() {
                true => joined,
                false => format!("?{joined}"),
            }
        };
        let mut spellings = vec![spelled(false), spelled(true)];
        spellings.dedup();
        spellings
    }
}

fn decode(text: &str) -> Option<Cow<'_, str>> {
    // Most are as they were written; to look for two bytes takes a tenth of the time of the decoder.
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let blanks = text.replace('+', " ");
    let decoded = percent_decode_str(&blanks).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sorted_by_its_encoded_names_then_values_and_empty_ones_stay() {
        for (query, canonical) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("acl", "acl="),
            ("acl=", "acl="),
            ("prefix=a+b&x=%2f&y=~", "prefix=a%20b&x=%2F&y=~"),
            ("%C3%BC=1&z=%27*", "%C3%BC=1&z=%27%2A"),
            ("X-Amz-Signature=1&A=2", "A=2"),
            ("X%2DAmz%2DSignature=1&A=2", "A=2"),
            ("a=%2B+%zz", "a=%2B%20%25zz"),
            ("a=%", "a=%25"),
            ("%61=1", "a=1"),
            ("a=%2f&a=%2F", "a=%2F&a=%2F"),
        ] {
            let mut written = Vec::new();
            Query::parse(query).unwrap().write_v4(&mut written);
            assert_eq!(written, canonical.as_bytes(), "{query}");
        }
        for no_text in ["a=%ff", "a=+%ff", "%ff+=1"] {
            assert!(Query::parse(no_text).is_none(), "{no_text}");
        }
    }
}
