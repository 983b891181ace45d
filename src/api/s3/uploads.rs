//! ListParts and ListMultipartUploads.
//!
//! Owns: their parameters and documents. Parts are in the order of their numbers, uploads in that of their keys' bytes, and those of one
//! key in that of the server's clock when they were started, by the millisecond: their ids begin with it, and go on at random.
//! Never does: show an upload that is finished, or a session of forms.
//!
//! Invariants: a page has at most 1,000 entries. A list that is gone on with from its markers shows everything that was there all the
//! time exactly once.
//!
//! Source: Amazon S3 API Reference, the operations of these names.

use std::sync::Arc;

use super::super::call::{Call, Reply};
use super::super::error::ApiError;
use super::buckets::owner;
use super::list::{argument, is_encoded, limit, shown};
use super::multipart::Upload;
use super::part::put_checksum;
use super::xml::Document;
use super::{lifecycle, settings};
use crate::model::{Bucket, ChunkReceipt, ETag, Id, MAX_CHUNKS, ObjectKey, UploadSession};
use crate::store::{StoreError, UploadEntry, UploadPage, UploadQuery};

/// A page of an upload's parts.
///
/// # Errors
/// `NoSuchUpload`, `InvalidArgument`.
pub(super) async fn parts(call: &Call<'_>, at: (Bucket, ObjectKey)) -> Result<Reply, ApiError> {
    let upload = Upload::find_open(call, &at).await?;
    let max_parts = limit(call, ("max-parts", "max-parts"))?;
    let marker = "part-number-marker";
    let marker = part_marker(call.params.query(marker), marker)?;
    // The index of the part behind the marker, and one more than fits, to see whether there is one.
    let (app, id, limit) = (Arc::clone(call.app), upload.id, max_parts + 1);
    let reading = async move { app.store.list_parts(id, marker, limit).await };
    let (receipts, _turn) = call.app.lists.chunks.take(reading).await?;
    let receipts = receipts.map_err(|error| upload.refusal(error))?;
    let page = receipts.get(..max_parts.min(receipts.len()));
    let page = page.unwrap_or_default();
    let rules = settings::lifecycle_to_tell(call.app, &upload.session.upload.bucket).await;
    let mut document = Document::new("ListPartsResult");
    lifecycle::put_abort(document.headers_mut(), &rules, &upload.session.upload);
    put_upload(&mut document, &upload.session, None);
    document.element("PartNumberMarker", &marker.to_string());
    let next = page.last().map_or(0, number);
    document.element("NextPartNumberMarker", &next.to_string());
    document.element("MaxParts", &max_parts.to_string());
    let truncated = max_parts > 0 && receipts.len() > page.len();
    document.element("IsTruncated", if truncated { "true" } else { "false" });
    for receipt in page {
        document.within("Part", |inner| put_part(inner, &upload, receipt));
    }
    Ok(Reply::Raw(document.answer()))
}

/// The number of the last part that was seen, by what a parameter or a header of this name says: only those behind it are shown.
///
/// # Errors
/// `InvalidArgument` for what is no number from 0 on.
pub(super) fn part_marker(text: Option<&str>, name: &str) -> Result<u32, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    let number = text.parse::<i32>().ok().and_then(|n| u32::try_from(n).ok());
    number.map(|number| number.min(MAX_CHUNKS)).ok_or_else(|| {
        let rule = format!("Provided {name} not an integer or within integer range");
        argument(name, &rule)
    })
}

fn number(receipt: &ChunkReceipt) -> u32 {
    receipt.index.saturating_add(1)
}

fn put_part(document: &mut Document, upload: &Upload, receipt: &ChunkReceipt) {
    document.element("PartNumber", &number(receipt).to_string());
    let at = receipt.received_at;
    let at = at.unwrap_or(upload.session.upload.created_at);
    document.element("LastModified", &at.whole_second().rfc3339());
    let etag = ETag::of_whole(receipt.digests.md5);
    document.element("ETag", &etag.quoted());
    document.element("Size", &receipt.length.to_string());
    // What an SDK sends of a part of itself is told by Amazon only where the upload asked for it.
    if let Some((algorithm, _)) = upload.rules.checksum {
        put_checksum(document, receipt, algorithm);
    }
}

/// What both lists show of an upload; `initiated` for the list of uploads only.
fn put_upload(document: &mut Document, session: &UploadSession, encoded: Option<bool>) {
    let upload = &session.upload;
    if encoded.is_none() {
        document.element("Bucket", upload.bucket.as_str());
    }
    let key = shown(upload.key.as_str(), encoded.unwrap_or(false));
    document.element("Key", &key);
    document.element("UploadId", &upload.id.to_string());
    owner(document, "Initiator");
    owner(document, "Owner");
    let class = upload.headers.get("x-amz-storage-class");
    document.element("StorageClass", class.unwrap_or("STANDARD"));
    if encoded.is_some() {
        let initiated = upload.created_at.whole_second();
        document.element("Initiated", &initiated.rfc3339());
    }
    if let Some((algorithm, kind)) = session.parts.and_then(|rules| rules.checksum) {
        document.element("ChecksumAlgorithm", &algorithm.as_str().to_uppercase());
        document.element("ChecksumType", kind.as_str());
    }
}

/// A page of a bucket's unfinished uploads.
///
/// # Errors
/// `InvalidArgument`; what the store says.
pub(super) async fn uploads(call: &Call<'_>, bucket: Bucket) -> Result<Reply, ApiError> {
    let text = |name: &str| call.params.query(name).unwrap_or_default().to_owned();
    let encoded = is_encoded(call)?;
    let max_uploads = limit(call, ("max-uploads", "max-uploads"))?;
    let key_marker = text("key-marker");
    // Without the key beside it, it is passed over.
    let id_marker = match key_marker.is_empty() {
        true => String::new(),
        false => text("upload-id-marker"),
    };
    let query = UploadQuery {
        prefix: text("prefix"),
        delimiter: Some(text("delimiter")).filter(|text| !text.is_empty()),
        after: after(&key_marker, &id_marker)?,
        limit: max_uploads,
        ..UploadQuery::of(bucket)
    };
    check_marker(call, &query).await?;
    let (app, asked) = (Arc::clone(call.app), query.clone());
    let reading = async move { app.store.list_uploads(&asked).await };
    let (page, _turn) = call.app.lists.keys.take(reading).await?;
    let page = page?;
    let mut document = Document::new("ListMultipartUploadsResult");
    document.element("Bucket", query.bucket.as_str());
    document.element("KeyMarker", &shown(&key_marker, encoded));
    document.element("UploadIdMarker", &id_marker);
    put_next(&mut document, &page, encoded);
    document.element("Prefix", &shown(&query.prefix, encoded));
    if let Some(delimiter) = &query.delimiter {
        document.element("Delimiter", &shown(delimiter, encoded));
    }
    if encoded {
        document.element("EncodingType", "url");
    }
    document.element("MaxUploads", &max_uploads.to_string());
    document.element("IsTruncated", if page.more { "true" } else { "false" });
    for entry in &page.entries {
        if let UploadEntry::Upload(session) = entry {
            document.within("Upload", |inner| put_upload(inner, session, Some(encoded)));
        }
    }
    for entry in &page.entries {
        if let UploadEntry::Group(group) = entry {
            document.within("CommonPrefixes", |inner| {
                inner.element("Prefix", &shown(group, encoded));
            });
        }
    }
    Ok(Reply::Raw(document.answer()))
}

/// Where the next page begins. When there is none, Amazon names the last upload that is shown.
fn put_next(document: &mut Document, page: &UploadPage, encoded: bool) {
    let is_upload = |entry: &&UploadEntry| matches!(entry, UploadEntry::Upload(_));
    let last = match page.more {
        true => page.entries.last(),
        false => page.entries.iter().rfind(is_upload),
    };
    let (key, id) = match last {
        None => ("", String::new()),
        Some(UploadEntry::Upload(session)) => {
            let upload = &session.upload;
            (upload.key.as_str(), upload.id.to_string())
        }
        Some(UploadEntry::Group(group)) => (group.as_str(), String::new()),
    };
    document.element("NextKeyMarker", &shown(key, encoded));
    document.element("NextUploadIdMarker", &id);
}

/// Where to go on. The marker of an upload counts only beside that of a key.
fn after(key: &str, id: &str) -> Result<Option<(String, Option<Id>)>, ApiError> {
    if key.is_empty() {
        return Ok(None);
    }
    let id = match id {
        "" => None,
        id => Some(Id::parse(id).ok_or_else(|| invalid_marker(id))?),
    };
    Ok(Some((key.to_owned(), id)))
}

/// The upload of a marker is one of the key beside it, as far as we know it: one that is gone since the page before is passed over.
async fn check_marker(call: &Call<'_>, query: &UploadQuery) -> Result<(), ApiError> {
    let Some((key, Some(id))) = &query.after else {
        return Ok(());
    };
    let session = match call.app.store.upload(*id).await {
        Err(StoreError::NoSuchUpload | StoreError::GaveWay) => return Ok(()),
        found => found?,
    };
    let is_known = session.parts.is_some() && session.upload.bucket == query.bucket;
    match is_known && session.upload.key.as_str() != key {
        true => Err(invalid_marker(&id.to_string())),
        false => Ok(()),
    }
}

fn invalid_marker(id: &str) -> ApiError {
    argument("upload-id-marker", "Invalid uploadId marker").with("ArgumentValue", id)
}
