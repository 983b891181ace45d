//! CompleteMultipartUpload: the parts that a client names become one object.
//!
//! Owns: the list of parts in the body, and everything that must be true of them and of the whole before the store makes it.
//! Never does: copy bytes. Parts of one size lie where they belong already, so an answer takes milliseconds and is sent when the
//! object is there, with a status that is true. Where parts have to be moved and that takes more than 10 s, the client hears blanks
//! behind a 200, as from Amazon, and the end stands in the body (`keep_alive.rs`). Whoever goes away does not end the work, and the
//! same request waits for it again.
//!
//! Invariants: only the parts that are named are in the object; what was checked here of a part is true of the one that the store takes,
//! for it compares the MD5 of each once more, in the step that counts.
//!
//! Source: Amazon S3 API Reference, "CompleteMultipartUpload".

use std::sync::Arc;

use super::super::app::App;
use super::super::call::{Call, Reply};
use super::super::checksum;
use super::super::disposition::ENCODED;
use super::super::error::{ApiError, ErrorCode};
use super::super::stored_headers::CHECKSUM_TYPE;
use super::access::Access;
use super::multipart::{Upload, headers_besides_checksums, invalid};
use super::part::element;
use super::payload::Payload;
use super::xml::{self, Document, Element};
use super::{condition, keep_alive, lifecycle, settings};
use crate::model::{
    Bucket, Checksum, ChecksumAlgorithm, ChecksumType, ChunkReceipt, ETag, MAX_CHUNKS, Md5,
    ObjectKey, ObjectMeta, ObjectParts, UploadState, decode_hex,
};
use crate::store::{Completion, StoreError, WriteCondition};

/// Smallest part that is not the last, in bytes.
const MIN_PART_BYTES: u64 = 5 << 20;
/// Largest list of parts, in bytes: 10,000 with a SHA-256 and some blanks.
const MAX_LIST_BYTES: usize = 4 << 20;
/// Most elements of it: a number, a tag and each kind of checksum of 10,000 parts.
const MAX_ELEMENTS: usize = 1 + MAX_CHUNKS as usize * 8;

/// A part as the client names it.
pub(super) struct NamedPart {
    number: u32,
    /// `None` for what is no MD5, so no part has it.
    md5: Option<Md5>,
    etag: String,
    checksums: Vec<(ChecksumAlgorithm, String)>,
}

/// What the client says of the whole.
struct Claims {
    size: Option<u64>,
    kind: Option<ChecksumType>,
    checksum: Option<(ChecksumAlgorithm, String)>,
    condition: Option<WriteCondition>,
}

/// Makes an object of the parts that the body names.
///
/// # Errors
/// `NoSuchUpload`, `MalformedXML`, `InvalidPart`, `InvalidPartOrder`, `EntityTooSmall`, `InvalidRequest`, `BadDigest`,
/// `PreconditionFailed`; what the store says.
pub(super) async fn complete(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    at: (Bucket, ObjectKey),
) -> Result<Reply, ApiError> {
    let upload = Upload::find(call, &at).await?;
    let claims = Claims::read(&access)?;
    let md5 = headers_besides_checksums(&access)?.md5;
    let payload = Payload::new(call, &mut access, None)?;
    let body = payload.collected(MAX_LIST_BYTES, md5).await?;
    let named = xml::parsed(body, named_parts).await?;
    check_order(&upload, &named)?;
    if upload.session.state == UploadState::Uploading {
        let (app, id) = (Arc::clone(call.app), upload.id);
        let reading = async move { app.store.receipts(id).await };
        let (receipts, _turn) = call.app.lists.chunks.take(reading).await?;
        let receipts = receipts.map_err(|error| upload.refusal(error))?;
        let parts = chosen(&upload, &receipts, &named)?;
        claims.check(&upload, &parts)?;
    }
    let parts = named.iter().map(|part| {
        let named = part.index().zip(part.md5);
        named.ok_or_else(|| part.refusal(&upload))
    });
    let completion = Completion {
        parts: parts.collect::<Result<_, ApiError>>()?,
        condition: claims.condition,
    };
    let rules = settings::lifecycle_to_tell(call.app, &upload.session.upload.bucket).await;
    let (app, base_url) = (Arc::clone(call.app), call.base_url.clone());
    let work = async move {
        let meta = make(&app, &upload, completion).await?;
        let mut document = document(&base_url, &meta);
        lifecycle::put_expiration(document.headers_mut(), &rules, &meta);
        Ok(document)
    };
    let answer = keep_alive::answer(work, call.request_id).await?;
    Ok(Reply::Raw(answer))
}

/// Waits until the object is there, however long it takes.
async fn make(app: &App, upload: &Upload, completion: Completion) -> Result<ObjectMeta, ApiError> {
    let (now, condition) = (app.clock.now(), completion.condition.clone());
    let made = app.store.complete_parts(upload.id, completion, now).await;
    made.map_err(|error| match error {
        StoreError::ConditionFailed => condition::refusal(error, condition.as_ref()),
        other => upload.refusal(other),
    })
}

fn document(base_url: &str, meta: &ObjectMeta) -> Document {
    let key = percent_encoding::utf8_percent_encode(meta.key.as_str(), ENCODED);
    let mut document = Document::new("CompleteMultipartUploadResult");
    let location = format!("{base_url}/{}/{key}", meta.bucket);
    document.element("Location", &location);
    document.element("Bucket", meta.bucket.as_str());
    document.element("Key", meta.key.as_str());
    document.element("ETag", &meta.etag.quoted());
    put_checksum(&mut document, meta);
    document
}

/// The checksum of an object, as the answer to whoever made it tells it: the one that was asked for, or the one that all have.
///
/// Source: Amazon S3 API Reference, "CompleteMultipartUploadResult", "CopyObjectResult".
pub(super) fn put_checksum(document: &mut Document, meta: &ObjectMeta) {
    let parts = meta.parts.as_ref();
    let composite = parts.and_then(ObjectParts::composite_text);
    let kind = match (composite, &meta.attributes.checksum) {
        (Some((algorithm, value)), _) => {
            document.element(element(algorithm), &value);
            ChecksumType::Composite
        }
        (None, Some(checksum)) => {
            document.element(element(checksum.algorithm()), &checksum.base64());
            ChecksumType::FullObject
        }
        (None, None) => {
            let value = meta.crc64.base64();
            document.element(element(ChecksumAlgorithm::Crc64Nvme), &value);
            ChecksumType::FullObject
        }
    };
    document.element("ChecksumType", kind.as_str());
}

/// The parts that a body names.
///
/// # Errors
/// `MalformedXML`.
pub(super) fn named_parts(body: &[u8]) -> Result<Vec<NamedPart>, ApiError> {
    // Other operations say then that the body is missing.
    if body.is_empty() {
        return Err(xml::malformed());
    }
    let list = xml::read(body, "CompleteMultipartUpload", MAX_ELEMENTS)?;
    let parts = list.branch()?.iter().map(NamedPart::read);
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    match (1..=MAX_CHUNKS as usize).contains(&parts.len()) {
        true => Ok(parts),
        false => Err(xml::malformed()),
    }
}

impl NamedPart {
    fn read(part: &Element) -> Result<Self, ApiError> {
        let number = part.child("PartNumber").map(str::trim);
        let etag = part.child("ETag").map(str::trim);
        let (Some(number), Some(etag), "Part") = (number, etag, part.name.as_str()) else {
            return Err(xml::malformed());
        };
        let etag = etag.trim_matches('"');
        let checksum = |algorithm: ChecksumAlgorithm| {
            let value = part.child(element(algorithm))?;
            Some((algorithm, value.trim().to_owned()))
        };
        Ok(Self {
            number: number.parse().map_err(|_| xml::malformed())?,
            md5: decode_hex(etag).map(Md5::from_bytes),
            etag: xml::word(etag.to_owned())?,
            checksums: ChecksumAlgorithm::ALL
                .into_iter()
                .filter_map(checksum)
                .collect(),
        })
    }

    /// Parts are counted from 1.
    fn index(&self) -> Option<u32> {
        self.number.checked_sub(1)
    }

    /// Whether a receipt is that of this part.
    fn is(&self, receipt: &ChunkReceipt) -> bool {
        let same = |(algorithm, value): &(ChecksumAlgorithm, String)| {
            let known = receipt.checksum_of(*algorithm);
            known.is_some_and(|known| known.base64() == *value)
        };
        self.md5 == Some(receipt.digests.md5) && self.checksums.iter().all(same)
    }

    fn refusal(&self, upload: &Upload) -> ApiError {
        let refusal = ApiError::from(StoreError::PartDiffers { index: self.number });
        refusal
            .with("UploadId", upload.id.to_string())
            .with("PartNumber", self.number.to_string())
            .with("ETag", self.etag.as_str())
    }
}

/// Parts are named in ascending order; those of an upload with a checksum of checksums without gaps, from 1.
fn check_order(upload: &Upload, named: &[NamedPart]) -> Result<(), ApiError> {
    let numbers = named.iter().map(|part| part.number);
    let ascending = numbers.clone().is_sorted_by(|a, b| a < b);
    let has_composite =
        matches!(upload.rules.checksum, Some((_, kind)) if kind == ChecksumType::Composite);
    if ascending && (!has_composite || numbers.eq((1..).take(named.len()))) {
        return Ok(());
    }
    let message = match ascending {
        false => {
            "The list of parts was not in ascending order. Parts must be ordered by part number."
        }
        true => {
            "The parts of an upload with a composite checksum must be numbered consecutively, from 1."
        }
    };
    let error = ApiError::new(ErrorCode::InvalidPartOrder, message);
    Err(error.with("UploadId", upload.id.to_string()))
}

/// The receipts of the parts that are named.
fn chosen(
    upload: &Upload,
    receipts: &[ChunkReceipt],
    named: &[NamedPart],
) -> Result<Vec<ChunkReceipt>, ApiError> {
    let mut parts = Vec::with_capacity(named.len());
    for part in named {
        let found = part.index().and_then(|index| {
            let place = receipts.binary_search_by_key(&index, |receipt| receipt.index);
            receipts.get(place.ok()?)
        });
        if let Some((wanted, ChecksumType::Composite)) = upload.rules.checksum
            && !part
                .checksums
                .iter()
                .any(|(algorithm, _)| *algorithm == wanted)
        {
            let (wanted, number) = (wanted.as_str(), part.number);
            return Err(invalid(format!(
                "The upload was created using a {wanted} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request."
            )));
        }
        let found = found.filter(|receipt| part.is(receipt));
        parts.push(found.cloned().ok_or_else(|| part.refusal(upload))?);
    }
    let inner = parts.split_last().map_or(&[][..], |(_, inner)| inner);
    match inner.iter().find(|part| part.length < MIN_PART_BYTES) {
        None => Ok(parts),
        Some(small) => Err(too_small(small)),
    }
}

fn too_small(part: &ChunkReceipt) -> ApiError {
    let message = "Your proposed upload is smaller than the minimum allowed size";
    ApiError::new(ErrorCode::EntityTooSmall, message)
        .with("ProposedSize", part.length.to_string())
        .with("MinSizeAllowed", MIN_PART_BYTES.to_string())
        .with("PartNumber", part.index.saturating_add(1).to_string())
        .with("ETag", ETag::of_whole(part.digests.md5).as_str())
}

impl Claims {
    fn read(access: &Access<'_>) -> Result<Self, ApiError> {
        let size = access.header("x-amz-mp-object-size").map(|text| {
            let fault = match text.parse::<i64>() {
                Ok(..0) => "less than zero",
                _ => "invalid",
            };
            text.parse::<u64>().map_err(|_| {
                invalid(format!(
                    "Value for x-amz-mp-object-size header is {fault}: '{text}'"
                ))
            })
        });
        let kind = access.header(CHECKSUM_TYPE.as_str()).map(|word| {
            let invalid = || invalid("Value for x-amz-checksum-type header is invalid.");
            ChecksumType::parse(word).ok_or_else(invalid)
        });
        let claimed = ChecksumAlgorithm::ALL.into_iter().filter_map(|algorithm| {
            let value = access.header(algorithm.field())?;
            Some((algorithm, value.to_owned()))
        });
        let mut claimed = claimed.collect::<Vec<_>>();
        if claimed.len() > 1 {
            return Err(invalid(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        Ok(Self {
            size: size.transpose()?,
            kind: kind.transpose()?,
            checksum: claimed.pop(),
            condition: condition::of_write(access)?,
        })
    }

    /// Compares with the parts that are to be the whole.
    fn check(&self, upload: &Upload, parts: &[ChunkReceipt]) -> Result<(), ApiError> {
        let size = parts.iter().map(|part| part.length).sum::<u64>();
        if self.size.is_some_and(|claimed| claimed != size) {
            return Err(invalid(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        let (_, kind) = upload
            .rules
            .checksum
            .unwrap_or((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject));
        if self.kind.is_some_and(|claimed| claimed != kind) {
            let kind = kind.as_str();
            return Err(invalid(format!(
                "The upload was created using the {kind} checksum mode. The complete request must use the same checksum mode."
            )));
        }
        match &self.checksum {
            Some((algorithm, text)) => check_whole(upload, parts, *algorithm, text),
            None => Ok(()),
        }
    }
}

/// Compares the checksum that is claimed of the whole: base64, and behind a checksum of checksums perhaps their number.
fn check_whole(
    upload: &Upload,
    parts: &[ChunkReceipt],
    algorithm: ChecksumAlgorithm,
    text: &str,
) -> Result<(), ApiError> {
    let mut rules = upload.rules;
    let (wanted, kind) = *rules
        .checksum
        .get_or_insert((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject));
    if algorithm != wanted {
        let (wanted, algorithm) = (wanted.as_str(), algorithm.as_str());
        return Err(invalid(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual checksum Type: {algorithm}"
        )));
    }
    let suffix = format!("-{}", parts.len());
    let text = match kind {
        ChecksumType::Composite => text.strip_suffix(suffix.as_str()).unwrap_or(text),
        ChecksumType::FullObject => text,
    };
    let claimed = Checksum::parse(algorithm, text).ok_or_else(|| {
        let field = algorithm.field();
        invalid(format!("Value for {field} header is invalid."))
    })?;
    match rules.whole(parts) {
        Some(whole) => checksum::compare(&whole.value, &claimed),
        None => Err(invalid("A part has no checksum of this kind.")),
    }
}
