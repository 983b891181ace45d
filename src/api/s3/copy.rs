//! CopyObject: the bytes of one object become another one.
//!
//! Owns: where a copy is made from, its conditions, and what it keeps of what was stored with its source.
//! Never does: share bytes; a copy is an object like any other, and takes the same road to disk.
//!
//! Invariants: a copy is checked against the checksum of its source before it is named, so damage does not spread. What is copied is
//! named by a header that the signature covers.
//!
//! Source: Amazon S3 API Reference, "CopyObject".

use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use percent_encoding::percent_decode_str;

use super::super::call::{Call, Reply};
use super::super::conditional::{self, Verdict};
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::payload::Payload;
use super::put::{new_upload, put_headers};
use super::xml::Document;
use super::{buckets, condition, no_such_version, object_key};
use crate::model::{
    Attributes, Bucket, HeaderSet, MAX_CHUNK_BYTES, NewUpload, ObjectKey, ObjectMeta,
};
use crate::store::{Expected, ObjectName, ObjectReader, WriteCondition};

/// The header that names the source.
pub(super) const SOURCE: &str = "x-amz-copy-source";
/// Bytes that are copied at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// What belongs to an object and not to its copy.
const NOT_COPIED: [&str; 2] = ["x-amz-storage-class", "x-amz-website-redirect-location"];

/// Copies an object.
///
/// # Errors
/// `InvalidArgument` for a source that is no name, `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`, `InvalidRequest` for a copy onto
/// itself that changes nothing; what the store says.
pub(super) async fn copy(
    call: &mut Call<'_>,
    mut access: Access,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let condition = condition::of_write(&access)?;
    access.refuse_headers(&["x-amz-checksum-algorithm"])?;
    let source = source(call, &access).await?;
    let headers = put_headers(&access)?;
    let payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    payload.collected(0, headers.md5).await?;
    let reader = call.app.store.open(&source, call.now).await?;
    check_conditions(&access, reader.meta())?;
    let retags = replaces(&access, "x-amz-tagging-directive")?;
    let replaces = replaces(&access, "x-amz-metadata-directive")?;
    let changes = replaces
        || retags
        || headers
            .stored
            .iter()
            .any(|(name, _)| NOT_COPIED.contains(&name));
    if !changes && source == ObjectName::Key(bucket.clone(), key.clone()) {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let stored = match replaces {
        true => headers.stored,
        false => kept(reader.meta(), &headers.stored)?,
    };
    let source = &reader.meta().attributes;
    let attributes = Attributes {
        acl: headers.attributes.acl,
        tags: if retags {
            headers.attributes.tags
        } else {
            source.tags.clone()
        },
        checksum: source.checksum.clone(),
    };
    let upload = new_upload(call, bucket, key, (stored, attributes))?;
    let meta = write(call, reader.as_ref(), upload, condition).await?;
    let mut document = Document::new("CopyObjectResult");
    document.element("LastModified", &meta.finished_at.rfc3339());
    document.element("ETag", &meta.etag.quoted());
    Ok(Reply::Raw(document.answer()))
}

/// `/bucket/key?versionId=null`, percent-encoded; the first slash may be left out.
async fn source(call: &Call<'_>, access: &Access) -> Result<ObjectName, ApiError> {
    let no_source = || {
        let message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
        ApiError::new(ErrorCode::InvalidArgument, message).with("ArgumentName", SOURCE)
    };
    let named = access.header(SOURCE).unwrap_or_default();
    let (path, version) = named.split_once("?versionId=").unwrap_or((named, "null"));
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| no_source())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(no_source)?;
    if version != "null" {
        return Err(no_such_version(version));
    }
    if key.is_empty() {
        return Err(no_source());
    }
    let key = object_key(key)?;
    Ok(ObjectName::Key(buckets::existing(call, bucket).await?, key))
}

fn check_conditions(access: &Access, meta: &ObjectMeta) -> Result<(), ApiError> {
    let mut conditions = HeaderMap::new();
    for (name, condition) in [
        ("x-amz-copy-source-if-match", IF_MATCH),
        ("x-amz-copy-source-if-none-match", IF_NONE_MATCH),
        ("x-amz-copy-source-if-modified-since", IF_MODIFIED_SINCE),
        ("x-amz-copy-source-if-unmodified-since", IF_UNMODIFIED_SINCE),
    ] {
        if let Some(value) = access.header(name) {
            let value = value
                .parse()
                .map_err(|_| ApiError::invalid(name, "must be visible ASCII."))?;
            conditions.insert(condition, value);
        }
    }
    match conditional::judge(&conditions, meta) {
        Verdict::Proceed => Ok(()),
        Verdict::NotModified | Verdict::Failed => {
            let why = "At least one of the pre-conditions you specified did not hold";
            Err(ApiError::new(ErrorCode::PreconditionFailed, why))
        }
    }
}

/// Whether what a directive is about is taken from the request, and not from the source.
fn replaces(access: &Access, directive: &str) -> Result<bool, ApiError> {
    match access.header(directive) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(ApiError::new(
            ErrorCode::InvalidArgument,
            "Unknown directive.",
        )),
    }
}

/// What a copy keeps of its source, and what the request says of the copy itself.
fn kept(meta: &ObjectMeta, asked: &HeaderSet) -> Result<HeaderSet, ApiError> {
    let of_source = meta
        .headers
        .iter()
        .filter(|(name, _)| !NOT_COPIED.contains(name));
    let of_request = asked.iter().filter(|(name, _)| NOT_COPIED.contains(name));
    let mut kept = HeaderSet::default();
    for (name, value) in of_source.chain(of_request) {
        if !kept.set(name, value) {
            let message = "Your metadata headers exceed the maximum allowed metadata size.";
            return Err(ApiError::new(ErrorCode::MetadataTooLarge, message));
        }
    }
    Ok(kept)
}

async fn write(
    call: &Call<'_>,
    reader: &dyn ObjectReader,
    upload: NewUpload,
    condition: Option<WriteCondition>,
) -> Result<ObjectMeta, ApiError> {
    let source = reader.meta();
    if source.size > MAX_CHUNK_BYTES {
        let message = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_CHUNK_BYTES}"
        );
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let mut writer = call.app.store.write_object(upload).await?;
    let mut offset = 0;
    while offset < source.size {
        let bytes = reader.read_at(offset, BLOCK_BYTES).await?;
        offset += bytes.len() as u64;
        writer.write(bytes).await?;
    }
    let expected = Expected {
        length: Some(source.size),
        md5: source.md5,
        crc64: Some(source.crc64),
        condition: condition.clone(),
    };
    let committed = writer.commit(expected, call.app.clock.now()).await;
    let committed = committed.map_err(|error| condition::refusal(error, condition.as_ref()))?;
    committed.object.ok_or_else(|| {
        let message = "The copy is still being made whole.";
        ApiError::new(ErrorCode::InternalError, message)
    })
}
