//! GetObjectAttributes: what is known of an object besides its bytes, without them.
//!
//! Owns: its document and the list of what is asked for.
//! Never does: invent. Of an object in parts it tells the checksum of checksums, if one was asked for, and only how many parts there were:
//! Amazon lists parts only with their checksums, and those are not kept.
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
use super::xml::Document;
use crate::model::{Bucket, ChecksumAlgorithm, ChecksumType, ObjectKey, ObjectMeta, ObjectParts};
use crate::store::ObjectName;

const ASKED: &str = "x-amz-object-attributes";
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
/// `InvalidArgument` for no name or another one; `NoSuchKey`; what the store says.
pub(super) async fn get(
    call: &Call<'_>,
    access: &Access,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let asked = asked(access.header(ASKED).unwrap_or_default())?;
    let name = ObjectName::Key(bucket, key);
    let meta = call.app.store.object(&name, call.now).await?;
    let mut document = Document::new("GetObjectAttributesResponse");
    // The order of Amazon's answer.
    for name in KNOWN.into_iter().filter(|name| asked.contains(name)) {
        write(&mut document, name, &meta);
    }
    let mut response = document.answer();
    let modified = conditional::last_modified(&meta).to_string();
    stored_headers::put(response.headers_mut(), LAST_MODIFIED, &modified);
    Ok(Reply::Raw(response))
}

fn asked(names: &str) -> Result<Vec<&str>, ApiError> {
    let names = names.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty()).collect::<Vec<_>>();
    match names.iter().find(|name| !KNOWN.contains(name)) {
        None if !names.is_empty() => Ok(names),
        unknown => {
            let message = "Invalid attribute name specified.";
            Err(ApiError::new(ErrorCode::InvalidArgument, message)
                .with("ArgumentName", ASKED)
                .with("ArgumentValue", unknown.copied().unwrap_or_default()))
        }
    }
}

fn write(document: &mut Document, name: &str, meta: &ObjectMeta) {
    match name {
        "ETag" => document.element("ETag", meta.etag.as_str()),
        "Checksum" => document.within("Checksum", |checksums| write_checksums(checksums, meta)),
        "ObjectParts" => {
            if let Some((_, count)) = meta.etag.as_str().split_once('-') {
                document.within("ObjectParts", |parts| {
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

/// The checksum of an object's parts is one of checksums, and stands alone.
fn write_checksums(checksums: &mut Document, meta: &ObjectMeta) {
    let parts = meta.parts.as_ref();
    if let Some((algorithm, value)) = parts.and_then(ObjectParts::composite_text) {
        checksums.element(element(algorithm), &value);
        checksums.element("ChecksumType", ChecksumType::Composite.as_str());
        return;
    }
    let crc64 = ChecksumAlgorithm::Crc64Nvme;
    checksums.element(element(crc64), &meta.crc64.base64());
    let named = meta.attributes.checksum.as_ref();
    if let Some(named) = named.filter(|named| named.algorithm() != crc64) {
        checksums.element(element(named.algorithm()), &named.base64());
    }
    checksums.element("ChecksumType", ChecksumType::FullObject.as_str());
}
