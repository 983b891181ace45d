//! UploadPart and UploadPartCopy: bytes become a part of an upload.
//!
//! Owns: the number of a part, which checksum it must have, and the range of a source. The bytes take the road of every chunk:
//! `write_chunk`, then commit; a part that is sent again replaces the earlier one.
//! Never does: judge the size of a part: whether it is too small is known only when the last one is (`complete.rs`).
//!
//! Invariants: nothing is acknowledged before the body was seen whole and all that was claimed of it is true. A part of an upload that
//! named a checksum has it, claimed or computed here. A client that waits for a long copy hears from us (`keep_alive.rs`).
//!
//! Source: Amazon S3 API Reference, "UploadPart", "UploadPartCopy".

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};

use super::super::app::App;
use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::multipart::{CONDITIONS, Upload, invalid};
use super::payload::Payload;
use super::put::{check_length, check_promise, promise, put_headers, put_tag};
use super::xml::Document;
use super::{PART_NUMBER, copy, keep_alive};
use crate::model::{
    Bucket, ChecksumAlgorithm, ChecksumHasher, ChecksumType, ChunkReceipt, ETag, MAX_CHUNKS,
    ObjectKey, ObjectMeta, PartRules,
};
use crate::store::{ChunkSpec, Expected, ObjectReader};

/// The header that says which bytes of the source are copied.
const RANGE: &str = "x-amz-copy-source-range";

/// Stores a part.
///
/// # Errors
/// `NoSuchUpload`, Amazon's refusals of a body, what the store says.
pub(super) async fn upload(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    at: (Bucket, ObjectKey),
) -> Result<Reply, ApiError> {
    access.refuse_headers(&CONDITIONS)?;
    let spec = spec(call)?;
    let upload = Upload::find_open(call, &at).await?;
    let headers = put_headers(&access)?;
    let app = call.app;
    let promise = promise(call);
    let pace = call.body.pace();
    let mut payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    check_promise(promise.as_deref(), payload.algorithm())?;
    check_length(payload.announced())?;
    let mut own = own_hasher(upload.rules, payload.algorithm())?;
    let begin = || app.store.write_chunk(upload.id, spec);
    let begun = app.admission.begin(&pace, begin).await;
    let (_place, mut writer) = begun.map_err(|error| upload.refusal(error))?;
    while let Some(bytes) = payload.next().await? {
        if let Some(own) = &mut own {
            own.update(&bytes);
        }
        writer.write(bytes).await?;
    }
    let (length, claimed) = payload.finish()?;
    let own = own.map(ChecksumHasher::finish);
    if let Some(checksum) = claimed.clone().or(own) {
        writer.keep_checksum(checksum);
    }
    let expected = Expected {
        length: Some(length),
        md5: headers.md5,
        ..Expected::default()
    };
    let committed = writer.commit(expected, app.clock.now()).await;
    let receipt = committed.map_err(|error| upload.refusal(error))?.receipt;
    let mut response = Response::new(empty());
    put_tag(&mut response, &ETag::of_whole(receipt.digests.md5));
    if let Some(claimed) = claimed {
        let name = HeaderName::from_static(claimed.algorithm().field());
        let value = HeaderValue::try_from(claimed.base64());
        response
            .headers_mut()
            .extend(value.map(|value| (name, value)));
    }
    Ok(Reply::Raw(response))
}

/// Copies an object, or a range of one, into a part.
///
/// # Errors
/// `NoSuchUpload`, those of a copy, `InvalidArgument` for a range that the source does not have.
pub(super) async fn copy(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    at: (Bucket, ObjectKey),
) -> Result<Reply, ApiError> {
    access.refuse_headers(&CONDITIONS)?;
    access.refuse_headers(&copy::SOURCE_KEY_OF_CLIENT)?;
    let spec = spec(call)?;
    let source = copy::source(call, &access).await?;
    let upload = Upload::find_open(call, &at).await?;
    let headers = put_headers(&access)?;
    let payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    payload.collected(0, headers.md5).await?;
    let reader = copy::open(call, &source).await?;
    copy::check_conditions(&access, reader.meta(), call.now)?;
    let span = copied_span(&access, reader.meta())?;
    copy::check_size(span.1)?;
    let app = Arc::clone(call.app);
    let work = async move { write(&app, &upload, spec, (reader, span)).await };
    let answer = keep_alive::answer(work, call.request_id).await?;
    Ok(Reply::Raw(answer))
}

async fn write(
    app: &App,
    upload: &Upload,
    spec: ChunkSpec,
    (reader, (first, length)): (Box<dyn ObjectReader>, (u64, u64)),
) -> Result<Document, ApiError> {
    let begin = || app.store.write_chunk(upload.id, spec);
    let begun = app.admission.begin_copy(length, begin).await;
    let (_place, mut writer) = begun.map_err(|error| upload.refusal(error))?;
    let algorithm = upload.rules.checksum.map(|(algorithm, _)| algorithm);
    let mut hasher = algorithm.filter(is_kept).map(ChecksumHasher::new);
    let mut done = 0;
    while done < length {
        let left = usize::try_from(length - done).unwrap_or(usize::MAX);
        let block = left.min(copy::BLOCK_BYTES);
        let bytes = reader.read_at(first + done, block).await?;
        done += bytes.len() as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(&bytes);
        }
        writer.write(bytes).await?;
    }
    if let Some(hasher) = hasher {
        writer.keep_checksum(hasher.finish());
    }
    let source = reader.meta();
    let is_whole = length == source.size;
    let expected = Expected {
        length: Some(length),
        md5: source.md5.filter(|_| is_whole),
        // Of a part of the source nothing is known but its bytes.
        crc64: Some(source.crc64).filter(|_| is_whole),
        ..Expected::default()
    };
    let now = app.clock.now();
    let committed = writer.commit(expected, now).await;
    let receipt = committed.map_err(|error| upload.refusal(error))?.receipt;
    let mut document = Document::new("CopyPartResult");
    let at = receipt.received_at.unwrap_or(now).whole_second();
    document.element("LastModified", &at.rfc3339());
    let etag = ETag::of_whole(receipt.digests.md5);
    document.element("ETag", &etag.quoted());
    if let Some(algorithm) = algorithm {
        put_checksum(&mut document, &receipt, algorithm);
    }
    Ok(document)
}

/// Writes the checksum of a part, when it is known.
pub(super) fn put_checksum(
    document: &mut Document,
    receipt: &ChunkReceipt,
    algorithm: ChecksumAlgorithm,
) {
    if let Some(checksum) = receipt.checksum_of(algorithm) {
        document.element(element(algorithm), &checksum.base64());
    }
}

/// The element of a document that holds such a checksum.
pub(super) const fn element(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// Which chunk a part is: parts are counted from 1.
fn spec(call: &Call<'_>) -> Result<ChunkSpec, ApiError> {
    Ok(ChunkSpec::new(part_number(call)?.saturating_sub(1), None))
}

/// The part number of a request, 1 to [`MAX_CHUNKS`].
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn part_number(call: &Call<'_>) -> Result<u32, ApiError> {
    let given = call.params.query(PART_NUMBER).unwrap_or_default();
    let is_number = !given.is_empty() && given.bytes().all(|b| b.is_ascii_digit());
    let number = given.parse().ok().filter(|_| is_number);
    let number = number.filter(|number| (1..=MAX_CHUNKS).contains(number));
    number.ok_or_else(|| {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        ApiError::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", PART_NUMBER)
            .with("ArgumentValue", given)
    })
}

/// What hashes a part whose client claims no checksum, though its upload wants one.
fn own_hasher(
    rules: PartRules,
    claimed: Option<ChecksumAlgorithm>,
) -> Result<Option<ChecksumHasher>, ApiError> {
    let Some((wanted, kind)) = rules.checksum else {
        return Ok(None);
    };
    match claimed {
        Some(claimed) if claimed == wanted => Ok(None),
        None if kind == ChecksumType::FullObject => {
            Ok(Some(wanted).filter(is_kept).map(ChecksumHasher::new))
        }
        other => {
            let (wanted, other) = (
                wanted.as_str(),
                other.map_or("null", ChecksumAlgorithm::as_str),
            );
            Err(invalid(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual checksum Type: {other}"
            )))
        }
    }
}

/// Every receipt has a CRC64NVME anyway.
fn is_kept(algorithm: &ChecksumAlgorithm) -> bool {
    *algorithm != ChecksumAlgorithm::Crc64Nvme
}

/// The offset and the length of what is copied.
fn copied_span(access: &Access<'_>, source: &ObjectMeta) -> Result<(u64, u64), ApiError> {
    let Some(text) = access.header(RANGE) else {
        return Ok((0, source.size));
    };
    let refuse = |message: &str| {
        ApiError::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", RANGE)
            .with("ArgumentValue", text)
    };
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| is_number)
    };
    let ends = text
        .strip_prefix("bytes=")
        .and_then(|ends| ends.split_once('-'));
    let ends = ends.and_then(|(first, last)| number(first).zip(number(last)));
    let (first, last) = ends.filter(|(first, last)| first <= last).ok_or_else(|| {
        refuse("The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
    })?;
    let size = source.size;
    if first >= size {
        let message = "The specified copy range is invalid for the source object size";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    if last >= size {
        return Err(refuse(&format!(
            "Range specified is not valid for source object of size: {size}"
        )));
    }
    Ok((first, last - first + 1))
}
