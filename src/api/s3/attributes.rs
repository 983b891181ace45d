//! GetObjectAttributes: what is known of an object besides its bytes, without them.
//!
//! Owns: its document and the list of what is asked for.
//! Never does: invent. Of an object in parts it tells the checksum of checksums, if one was asked for, how many parts there were, and of
//! each its size and the number by which it can be read (`get_part.rs`), a page at a time; where the sizes are not known, only how many.
//! The checksums of parts are not kept.
//!
//! Invariant: what was not asked for is not shown, and what the object does not have is left out.
//!
//! Source: Amazon S3 API Reference, "GetObjectAttributes".

use http::header::LAST_MODIFIED;

use super::super::call::{Call, Reply};
use super::super::conditional;
use super::super::error::{ApiError, ErrorCode};
use super::super::stored_headers;
use super::access::Access;
use super::part::element;
use super::uploads::part_marker;
use super::xml::Document;
use crate::model::{Bucket, ChecksumAlgorithm, ChecksumType, ObjectKey, ObjectMeta, ObjectParts};
use crate::store::{KeyQuery, ObjectName};

const ASKED: &str = "x-amz-object-attributes";
/// How many parts a page has at most.
const MAX_PARTS: &str = "x-amz-max-parts";
/// The part behind which a page begins.
const MARKER: &str = "x-amz-part-number-marker";
/// What can be asked for.
const KNOWN: [&str; 5] = [
    "ETag",
    "Checksum",
    "ObjectParts",
    "StorageClass",
    "ObjectSize",
];

/// Tells the attributes that the header names.
///
/// # Errors
/// `InvalidRequest` for no name, `InvalidArgument` for another one and for a page that begins nowhere; `NoSuchKey`; what the store says.
pub(super) async fn get(
    call: &Call<'_>,
    access: &Access<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let asked = asked(access.header(ASKED).unwrap_or_default())?;
    let page = Page::read(access)?;
    let name = ObjectName::Key(bucket, key);
    let meta = call.app.store.object(&name, call.now).await?;
    let mut document = Document::new("GetObjectAttributesResponse");
    // The order of Amazon's answer.
    for name in KNOWN.into_iter().filter(|name| asked.contains(name)) {
        write(&mut document, name, (&meta, page));
    }
    let mut response = document.answer();
    let modified = conditional::last_modified(&meta).to_string();
    stored_headers::put(response.headers_mut(), LAST_MODIFIED, &modified);
    Ok(Reply::Raw(response))
}

fn asked(names: &str) -> Result<Vec<&str>, ApiError> {
    let names = names.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty()).collect::<Vec<_>>();
    if names.is_empty() {
        let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    match names.iter().find(|name| !KNOWN.contains(name)) {
        None => Ok(names),
        Some(unknown) => {
            let message = "Invalid attribute name specified.";
            Err(ApiError::new(ErrorCode::InvalidArgument, message)
                .with("ArgumentName", ASKED)
                .with("ArgumentValue", *unknown))
        }
    }
}

/// Which parts are shown.
#[derive(Clone, Copy, Debug)]
struct Page {
    after: u32,
    limit: usize,
}

impl Page {
    fn read(access: &Access<'_>) -> Result<Self, ApiError> {
        // What is no number of parts is passed over, as at Amazon.
        let most = access.header(MAX_PARTS).and_then(|text| text.parse().ok());
        Ok(Self {
            after: part_marker(access.header(MARKER), MARKER)?,
            limit: most.map_or(KeyQuery::MAX_LIMIT, |most: usize| {
                most.min(KeyQuery::MAX_LIMIT)
            }),
        })
    }
}

fn write(document: &mut Document, name: &str, (meta, page): (&ObjectMeta, Page)) {
    match name {
        "ETag" => document.element("ETag", meta.etag.as_str()),
        "Checksum" => document.within("Checksum", |checksum| write_checksum(checksum, meta)),
        "ObjectParts" => {
            if let Some((_, count)) = meta.etag.as_str().split_once('-') {
                document.within("ObjectParts", |parts| {
                    if let Some(known) = meta.parts.as_ref().filter(|parts| parts.has_sizes()) {
                        write_parts(parts, known, page);
                    }
                    parts.element("PartsCount", count);
                });
            }
        }
        "StorageClass" => {
            let class = meta.headers.get("x-amz-storage-class");
            document.element("StorageClass", class.unwrap_or("STANDARD"));
        }
        _ => document.element("ObjectSize", &meta.size.to_string()),
    }
}

/// One page of an object's parts.
fn write_parts(document: &mut Document, parts: &ObjectParts, page: Page) {
    let behind = (1_u32..).zip(parts.sizes()).skip(page.after as usize);
    let shown = behind.take(page.limit).collect::<Vec<_>>();
    let next = shown.last().map_or(0, |(number, _)| *number);
    let is_truncated = page.limit > 0 && next.max(page.after) < parts.count();
    document.element("IsTruncated", if is_truncated { "true" } else { "false" });
    document.element("MaxParts", &page.limit.to_string());
    document.element("NextPartNumberMarker", &next.to_string());
    document.element("PartNumberMarker", &page.after.to_string());
    for (number, size) in shown {
        document.within("Part", |part| {
            part.element("PartNumber", &number.to_string());
            part.element("Size", &size.to_string());
        });
    }
}

/// The one checksum that an object has, as its reader is told it (`stored_headers.rs`).
fn write_checksum(checksum: &mut Document, meta: &ObjectMeta) {
    let parts = meta.parts.as_ref();
    // Here, and only here, without the number of parts.
    if let Some(composite) = parts.and_then(ObjectParts::composite) {
        checksum.element(element(composite.algorithm()), &composite.base64());
        checksum.element("ChecksumType", ChecksumType::Composite.as_str());
        return;
    }
    let (algorithm, value) = match &meta.attributes.checksum {
        Some(named) => (named.algorithm(), named.base64()),
        None => (ChecksumAlgorithm::Crc64Nvme, meta.crc64.base64()),
    };
    checksum.element(element(algorithm), &value);
    checksum.element("ChecksumType", ChecksumType::FullObject.as_str());
}
