//! Lists of objects: ListObjectsV2, the first version of it, and ListObjectVersions.
//!
//! Owns: their parameters and documents. All three are one page of the store's order of keys: by their bytes in UTF-8.
//! Never does: hold more than a page.
//!
//! Invariants: a page has at most [`KeyQuery::MAX_LIMIT`] entries, objects and groups together. A list that is gone on with shows every
//! object that was there all the time exactly once. Every object is its own only version, `null`.
//!
//! Source: Amazon S3 API Reference, "ListObjectsV2", "ListObjects", "ListObjectVersions".

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::super::body::ResponseBody;
use super::super::call::{Call, Reply};
use super::super::disposition::ENCODED;
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::buckets::{owner, put_region};
use super::xml::Document;
use crate::model::{Bucket, Checksum, ChecksumAlgorithm, ChecksumType, ObjectMeta, ObjectParts};
use crate::store::{KeyEntry, KeyPage, KeyQuery};

/// How keys are written on request; the slash stays.
const ENCODED_KEY: &AsciiSet = &ENCODED.remove(b'/');

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    V1,
    V2,
    Versions,
}

/// One list that was asked for.
struct Listing {
    kind: Kind,
    query: KeyQuery,
    max_keys: usize,
    /// The parameter that says where to go on, as it was given.
    from: String,
    start_after: String,
    encoded: bool,
    with_owner: bool,
}

/// A page of a bucket's objects; `access` is that of whoever signed.
///
/// # Errors
/// `InvalidArgument` for parameters that are not of their kind; what the store says.
pub(super) async fn objects(
    call: &Call<'_>,
    access: Option<&Access<'_>>,
    bucket: Bucket,
) -> Result<Reply, ApiError> {
    let kind = match call.params.query("list-type") {
        None => Kind::V1,
        Some("2") => Kind::V2,
        Some(_) => return Err(argument("list-type", "Invalid List Type")),
    };
    let mut listing = Listing::of(call, bucket, kind)?;
    // Whoever signed nothing is not told by the first version whose the objects are.
    listing.with_owner &= kind != Kind::V1 || access.is_some();
    let mut answer = listing.answer(call).await?;
    put_region(call, answer.headers_mut());
    Ok(Reply::Raw(answer))
}

/// A page of a bucket's versions.
///
/// # Errors
/// As [`objects`].
pub(super) async fn versions(call: &Call<'_>, bucket: Bucket) -> Result<Reply, ApiError> {
    let listing = Listing::of(call, bucket, Kind::Versions)?;
    Ok(Reply::Raw(listing.answer(call).await?))
}

impl Listing {
    fn of(call: &Call<'_>, bucket: Bucket, kind: Kind) -> Result<Self, ApiError> {
        let text = |name: &str| call.params.query(name).unwrap_or_default().to_owned();
        let encoded = is_encoded(call)?;
        let max_keys = limit(call, ("max-keys", "maxKeys"))?;
        let start_after = text("start-after");
        // Clients that begin a list send both, and neither with a value.
        let names_version = !text("version-id-marker").is_empty();
        if kind == Kind::Versions && names_version && text("key-marker").is_empty() {
            return Err(argument(
                "version-id-marker",
                "A version-id marker cannot be specified without a key marker.",
            ));
        }
        let (from, after) = match kind {
            Kind::V1 => (text("marker"), text("marker")),
            Kind::Versions => (text("key-marker"), text("key-marker")),
            Kind::V2 => match call.params.query("continuation-token") {
                None => (String::new(), start_after.clone()),
                Some(token) => (token.to_owned(), parse_token(token)?),
            },
        };
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let query = KeyQuery {
            prefix: text("prefix"),
            delimiter: given(text("delimiter")),
            after: given(after),
            limit: max_keys,
            ..KeyQuery::of(bucket)
        };
        Ok(Self {
            kind,
            query,
            max_keys,
            from,
            start_after,
            encoded,
            with_owner: kind != Kind::V2 || call.params.flag("fetch-owner")?,
        })
    }

    async fn answer(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, ApiError> {
        let (app, query, now) = (Arc::clone(call.app), self.query.clone(), call.now);
        let reading = async move { app.store.list_keys(&query, now).await };
        let (page, _turn) = call.app.lists.keys.take(reading).await?;
        Ok(self.document(&page?).answer())
    }

    fn document(&self, page: &KeyPage) -> Document {
        let mut document = Document::new(match self.kind {
            Kind::V1 | Kind::V2 => "ListBucketResult",
            Kind::Versions => "ListVersionsResult",
        });
        document.element("Name", self.query.bucket.as_str());
        document.element("Prefix", &self.key(&self.query.prefix));
        self.put_place(&mut document, page);
        document.element("MaxKeys", &self.max_keys.to_string());
        if let Some(delimiter) = &self.query.delimiter {
            document.element("Delimiter", &self.key(delimiter));
        }
        if self.encoded {
            document.element("EncodingType", "url");
        }
        let truncated = if page.more { "true" } else { "false" };
        document.element("IsTruncated", truncated);
        for entry in &page.entries {
            if let KeyEntry::Object(meta) = entry {
                self.put_object(&mut document, meta);
            }
        }
        for entry in &page.entries {
            if let KeyEntry::Group(group) = entry {
                document.within("CommonPrefixes", |inner| {
                    inner.element("Prefix", &self.key(group));
                });
            }
        }
        document
    }

    /// Where this page begins, and where the next one does.
    fn put_place(&self, document: &mut Document, page: &KeyPage) {
        let last = page.entries.last().filter(|_| page.more).map(entry_name);
        match self.kind {
            Kind::V1 => {
                document.element("Marker", &self.key(&self.from));
                if let (Some(last), Some(_)) = (last, &self.query.delimiter) {
                    document.element("NextMarker", &self.key(last));
                }
            }
            Kind::Versions => {
                document.element("KeyMarker", &self.key(&self.from));
                document.element("VersionIdMarker", "");
                if let Some(last) = last {
                    document.element("NextKeyMarker", &self.key(last));
                    // A group has no versions.
                    if matches!(page.entries.last(), Some(KeyEntry::Object(_))) {
                        document.element("NextVersionIdMarker", "null");
                    }
                }
            }
            Kind::V2 => {
                // A token says where to go on, and then the other place counts for nothing.
                if self.from.is_empty() && !self.start_after.is_empty() {
                    document.element("StartAfter", &self.key(&self.start_after));
                }
                if !self.from.is_empty() {
                    document.element("ContinuationToken", &self.from);
                }
                if let Some(last) = last {
                    document.element("NextContinuationToken", &token(last));
                }
                document.element("KeyCount", &page.entries.len().to_string());
            }
        }
    }

    fn put_object(&self, document: &mut Document, meta: &ObjectMeta) {
        let element = match self.kind {
            Kind::V1 | Kind::V2 => "Contents",
            Kind::Versions => "Version",
        };
        document.within(element, |inner| {
            inner.element("Key", &self.key(meta.key.as_str()));
            if self.kind == Kind::Versions {
                inner.element("VersionId", "null");
                inner.element("IsLatest", "true");
            }
            // As HEAD says it.
            let modified = meta.finished_at.whole_second();
            inner.element("LastModified", &modified.rfc3339());
            inner.element("ETag", &meta.etag.quoted());
            let (algorithm, kind) = checksum_of(meta);
            inner.element("ChecksumAlgorithm", &algorithm.as_str().to_uppercase());
            inner.element("ChecksumType", kind.as_str());
            inner.element("Size", &meta.size.to_string());
            let class = meta.headers.get("x-amz-storage-class");
            inner.element("StorageClass", class.unwrap_or("STANDARD"));
            if self.with_owner {
                owner(inner, "Owner");
            }
        });
    }

    fn key(&self, text: &str) -> String {
        shown(text, self.encoded)
    }
}

/// Whether keys are to be percent-encoded.
///
/// # Errors
/// `InvalidArgument` for another encoding.
pub(super) fn is_encoded(call: &Call<'_>) -> Result<bool, ApiError> {
    match call.params.query("encoding-type") {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => {
            let message = "Invalid Encoding Method specified in Request";
            Err(argument("encoding-type", message).with("ArgumentValue", other))
        }
    }
}

/// Which checksum an object has, as its reader is told it, and of which kind it is.
fn checksum_of(meta: &ObjectMeta) -> (ChecksumAlgorithm, ChecksumType) {
    if let Some(composite) = meta.parts.as_ref().and_then(ObjectParts::composite) {
        return (composite.algorithm(), ChecksumType::Composite);
    }
    let named = meta.attributes.checksum.as_ref().map(Checksum::algorithm);
    let algorithm = named.unwrap_or(ChecksumAlgorithm::Crc64Nvme);
    (algorithm, ChecksumType::FullObject)
}

/// A key, or what is like one, as it is to be written.
pub(super) fn shown(text: &str, encoded: bool) -> String {
    match encoded {
        true => utf8_percent_encode(text, ENCODED_KEY).to_string(),
        false => text.to_owned(),
    }
}

fn entry_name(entry: &KeyEntry) -> &str {
    match entry {
        KeyEntry::Object(meta) => meta.key.as_str(),
        KeyEntry::Group(group) => group,
    }
}

/// How many entries a page is to have at most, by a parameter and what Amazon calls it.
///
/// # Errors
/// `InvalidArgument` for what is no number of this range.
pub(super) fn limit(call: &Call<'_>, names: (&str, &str)) -> Result<usize, ApiError> {
    let (name, argument_name) = names;
    let text = call.params.query(name).filter(|text| !text.is_empty());
    let Some(text) = text else {
        return Ok(KeyQuery::MAX_LIMIT);
    };
    match text.parse::<i32>().map(usize::try_from) {
        Ok(Ok(number)) => Ok(number.min(KeyQuery::MAX_LIMIT)),
        Ok(Err(_)) => {
            let range =
                format!("Argument {argument_name} must be an integer between 0 and 2147483647");
            Err(argument(name, &range).with("ArgumentValue", text))
        }
        Err(_) => {
            let rule = format!("Provided {name} not an integer or within integer range");
            Err(argument(name, &rule).with("ArgumentValue", text))
        }
    }
}

/// Opaque to clients: the last name of the page before.
pub(super) fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// Reads back [`token`].
pub(super) fn parse_token(token: &str) -> Result<String, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        argument(
            "continuation-token",
            "The continuation token provided is incorrect",
        )
    })
}

/// A parameter breaks a rule.
pub(super) fn argument(name: &str, message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message).with("ArgumentName", name)
}
