//! What was stored with an object, as headers of its answers.
//!
//! Owns: user metadata (`x-amz-meta-*`), storage class, website redirect, the number of tags, the checksum, and the headers that
//! describe the bytes. A metadata value that is not plain ASCII is shown as an encoded word, as Amazon S3 shows it.
//!
//! Never does: say what a file is called or whether a browser may show it (`disposition.rs`, `media_type.rs`), or how long it may be
//! kept (`object_answer.rs`). `x-amz-server-side-encryption` is never claimed.
//!
//! Invariant: what is written is one line of visible ASCII, whatever was stored; what cannot be is left out.
//!
//! Sources: Amazon S3 API Reference, "GetObject"; Amazon S3 User Guide, "Working with object metadata"; RFC 2047, section 4.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{ChecksumAlgorithm, ObjectMeta};

/// Says what a checksum is one of.
pub(super) const CHECKSUM_TYPE: HeaderName = HeaderName::from_static("x-amz-checksum-type");
/// Every object is checked as a whole, however it came.
pub(super) const WHOLE: HeaderValue = HeaderValue::from_static("FULL_OBJECT");

const TAG_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");
const METADATA: &str = "x-amz-meta-";
/// Headers that are given back as they were stored.
const VERBATIM: [&str; 2] = ["x-amz-storage-class", "x-amz-website-redirect-location"];

/// Writes what describes the object, whatever part of it is sent.
pub(super) fn put_all(headers: &mut HeaderMap, meta: &ObjectMeta) {
    for name in [CONTENT_ENCODING, CONTENT_LANGUAGE] {
        if let Some(value) = meta.headers.get(name.as_str()) {
            put(headers, name, value);
        }
    }
    for (name, value) in meta.headers.iter() {
        let shown = match name.starts_with(METADATA) {
            true => encoded_word(value),
            false if VERBATIM.contains(&name) => Cow::Borrowed(value),
            false => continue,
        };
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            put(headers, name, &shown);
        }
    }
    let tags = meta.attributes.tags.len();
    if tags > 0 {
        headers.insert(TAG_COUNT, HeaderValue::from(tags));
    }
}

/// Writes the checksum of the whole object: the one that its uploader named, or else the one that every object has. Amazon tells one.
pub(super) fn put_checksum(headers: &mut HeaderMap, meta: &ObjectMeta) {
    let (algorithm, value) = match &meta.attributes.checksum {
        Some(named) => (named.algorithm(), named.base64()),
        None => (ChecksumAlgorithm::Crc64Nvme, meta.crc64.base64()),
    };
    put(headers, HeaderName::from_static(algorithm.field()), &value);
    headers.insert(CHECKSUM_TYPE, WHOLE);
}

/// Writes a header, unless the value is not visible ASCII (`HeaderValue` alone would let bytes from 0x80 pass).
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let is_visible = value.bytes().all(|b| matches!(b, b' '..=b'~'));
    if let (true, Ok(value)) = (is_visible, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// The value itself when it is visible ASCII; else one encoded word of UTF-8: Q for what can be printed, B for what cannot.
fn encoded_word(value: &str) -> Cow<'_, str> {
    if value.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(value);
    }
    // What `Debug` escapes: controls, marks without a shape, private and unassigned characters.
    let is_printed =
        |c: char| c != '\u{fffd}' && (c.is_ascii_graphic() || c.escape_debug().len() == 1);
    if !value.chars().all(is_printed) {
        return Cow::Owned(format!("=?UTF-8?B?{}?=", STANDARD.encode(value)));
    }
    let mut word = String::from("=?UTF-8?Q?");
    for byte in value.bytes() {
        match byte {
            b' ' => word.push('_'),
            b'!'..=b'~' if !b"=?_".contains(&byte) => word.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(word, "={byte:02X}"),
        }
    }
    word.push_str("?=");
    Cow::Owned(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_metadata_is_shown_as_it_is_and_the_rest_as_one_encoded_word() {
        for (value, shown) in [
            ("", ""),
            ("plain = text_?", "plain = text_?"),
            ("ü", "=?UTF-8?Q?=C3=BC?="),
            ("a b_c=d?é\"\\", "=?UTF-8?Q?a_b=5Fc=3Dd=3F=C3=A9\"\\?="),
            ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
            ("日本", "=?UTF-8?Q?=E6=97=A5=E6=9C=AC?="),
            ("a\tb", "=?UTF-8?B?YQli?="),
            ("\u{fffd}", "=?UTF-8?B?77+9?="),
            ("a\u{200b}", "=?UTF-8?B?YeKAiw==?="),
        ] {
            assert_eq!(encoded_word(value), shown, "{value:?}");
        }
    }

    #[test]
    fn a_value_that_is_no_line_of_visible_ascii_is_left_out() {
        let mut headers = HeaderMap::new();
        for bad in ["a\r\nX: y", "é", "\u{7f}", "a\tb"] {
            put(&mut headers, CONTENT_LANGUAGE, bad);
        }
        assert!(headers.is_empty());
    }
}
