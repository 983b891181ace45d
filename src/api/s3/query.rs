//! Parameters of a query that nobody here knows.
//!
//! Owns: which of them are refused. Whatever Amazon does besides reading and writing is chosen by a parameter without a value (`?acl`,
//! and what it thinks of next), so one that is not known is another operation. One with a value says how; Amazon passes over those it
//! does not know, and so do we: applications put their own into the URLs they sign. So do pages with a number behind a URL
//! (`font.woff?12345`), to get past a cache: where nothing is changed, a word with a digit is passed over.
//! Never does: say what a known one means.
//!
//! Invariant: an operation that we do not have is never taken for a plain read or write of the bucket or the object.
//!
//! Source: Amazon S3 API Reference, "Actions" and "Common Request Headers"; the parameters that real clients send.

use super::super::call::Call;
use super::super::error::ApiError;
use super::{FOREIGN, PART_NUMBER, SUBRESOURCES, settings};

/// Of the list of all buckets; each may be sent without a value.
pub(super) const OF_SERVICE: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "max-buckets",
    "prefix",
];
/// Of the lists of a bucket, and of no other operation on it.
pub(super) const OF_BUCKET: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-uploads",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
];
/// Of an object.
pub(super) const OF_OBJECT: &[&str] = &[
    "max-parts",
    "part-number-marker",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "versionId",
];
/// Of every request: who signed it, and what SDKs add.
const OF_ALL: [&str; 6] = [
    "AWSAccessKeyId",
    "Expires",
    "Signature",
    "content-md5",
    "content-type",
    "x-id",
];

/// Refuses a parameter without a value that is none of `known`.
///
/// # Errors
/// `NotImplemented`, which names it.
pub(super) fn check(call: &Call<'_>, known: &[&str]) -> Result<(), ApiError> {
    let is_known = |name: &str| {
        known.contains(&name)
            || OF_ALL.contains(&name)
            || SUBRESOURCES.contains(&name)
            || FOREIGN.contains(&name)
            || name == PART_NUMBER
            || name.to_ascii_lowercase().starts_with("x-amz-")
    };
    let reads = matches!(call.head.method.as_str(), "GET" | "HEAD");
    let passes_a_cache = |name: &str| reads && name.contains(|c: char| c.is_ascii_digit());
    let mut bare = call.params.pairs().filter(|(_, value)| value.is_empty());
    match bare.find(|(name, _)| !is_known(name) && !passes_a_cache(name)) {
        None => Ok(()),
        Some((name, _)) => Err(settings::unknown(name)),
    }
}
