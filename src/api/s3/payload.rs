//! The body of an S3 request, as its signature says that it comes.
//!
//! Owns: every payload mode: signed by its SHA-256, unsigned, `aws-chunked` signed or not, with a trailer or without; and the checksum
//! that a header or a trailer claims.
//! Never does: store. Content-MD5 of an object is compared by the store, that of a small body by `collected`.
//!
//! Invariant: what was claimed is compared in [`Payload::finish`], which comes before any commit; until then nothing of the bytes is
//! visible to anybody.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity"; Amazon S3 API Reference, "Authenticating requests".

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use ring::digest::{Context, SHA256};

use super::super::body::RequestBody;
use super::super::call::Call;
use super::super::checksum;
use super::super::documents::Documents;
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::aws_chunked::Decoder;
use super::trailer;
use crate::model::{Checksum, ChecksumAlgorithm, ChecksumHasher, Md5, encode_hex};
use crate::policy::PayloadClaim;

/// How many bytes a body in chunks has without its framing.
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// Names the header that comes behind the body.
const TRAILER: &str = "x-amz-trailer";

/// A body that is being read.
pub(super) struct Payload<'a> {
    body: &'a mut RequestBody,
    /// Has room for one that is collected.
    documents: &'a Documents,
    chunks: Option<Decoder>,
    signed: Option<(Context, [u8; 32])>,
    checksum: Option<Checking>,
    /// Of which kind the checksum is that the trailer will claim.
    trailer: Option<ChecksumAlgorithm>,
    announced: Option<u64>,
    received: u64,
}

/// A checksum to compare: claimed by a header, or by the trailer.
struct Checking {
    hasher: ChecksumHasher,
    claimed: Option<Checksum>,
}

impl<'a> Payload<'a> {
    /// Begins to read the body of a request that was proven; `claimed` is the checksum that its headers claim.
    ///
    /// # Errors
    /// `InvalidArgument` and `InvalidRequest` for headers that say how it comes and make no sense.
    pub(super) fn new(
        call: &'a mut Call<'_>,
        access: &mut Access<'_>,
        claimed: Option<Checksum>,
    ) -> Result<Self, ApiError> {
        let mode = access.proven.payload;
        let (is_chunked, has_trailer) = match mode {
            PayloadClaim::Unsigned | PayloadClaim::Sha256(_) => (false, false),
            PayloadClaim::SignedChunks => (true, false),
            PayloadClaim::SignedTrailer | PayloadClaim::UnsignedTrailer => (true, true),
        };
        if !is_chunked {
            refuse_framing(access)?;
        }
        let announced = match is_chunked {
            // One that is no number counts as none.
            true => access
                .header(DECODED_LENGTH)
                .and_then(|text| text.parse().ok()),
            false => length(access)?,
        };
        let named = access.header(TRAILER);
        if named.is_some() && !has_trailer {
            return Err(trailer::malformed());
        }
        let named = named.map(|names| trailer::announced(names, claimed.is_some()));
        let trailer = named.transpose()?;
        let algorithm = claimed.as_ref().map(Checksum::algorithm).or(trailer);
        let checksum = algorithm.map(|algorithm| Checking {
            hasher: ChecksumHasher::new(algorithm),
            claimed,
        });
        let chain = match mode {
            PayloadClaim::SignedChunks | PayloadClaim::SignedTrailer => {
                // Without a chain the chunks would be taken as they come.
                let chain = access.proven.chain.take();
                Some(chain.ok_or_else(|| {
                    let message = "The signatures of the chunks cannot be verified.";
                    ApiError::new(ErrorCode::InternalError, message)
                })?)
            }
            _ => None,
        };
        Ok(Self {
            body: call.body,
            documents: &call.app.documents,
            chunks: is_chunked.then(|| Decoder::new(chain, has_trailer)),
            signed: match mode {
                PayloadClaim::Sha256(hash) => Some((Context::new(&SHA256), hash)),
                _ => None,
            },
            checksum,
            trailer,
            announced,
            received: 0,
        })
    }

    /// Whether a checksum of the bytes was claimed, or will be behind them.
    pub(super) fn is_checked(&self) -> bool {
        self.checksum.is_some()
    }

    /// How many bytes the client says will come.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Of which kind the checksum is that the client claims, or will claim at the end.
    pub(super) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        let checksum = self.checksum.as_ref()?;
        Some(checksum.hasher.algorithm())
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// What reading and decoding says; `IncompleteBody` for more bytes than were announced.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = match &mut self.chunks {
            Some(decoder) => decoder.next(self.body).await?,
            None => self.body.next_bytes().await.transpose()?,
        };
        let Some(bytes) = next else {
            return Ok(None);
        };
        self.received += bytes.len() as u64;
        if self.announced.is_some_and(|length| self.received > length) {
            return Err(self.wrong_length());
        }
        if let Some((context, _)) = &mut self.signed {
            context.update(&bytes);
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Compares with all that was claimed. Returns the length, and the checksum that was right.
    ///
    /// # Errors
    /// `IncompleteBody`, `XAmzContentSHA256Mismatch`, `BadDigest`; `MalformedTrailerError` for a trailer that is not what was announced.
    pub(super) fn finish(self) -> Result<(u64, Option<Checksum>), ApiError> {
        if self.announced.is_some_and(|length| self.received != length) {
            return Err(self.wrong_length());
        }
        if let Some((context, claimed)) = self.signed {
            compare_sha256(context, &claimed)?;
        }
        let came = self.chunks.as_ref().map_or(&[][..], Decoder::trailers);
        let trailed = trailer::claimed(self.trailer, came)?;
        let Some(checksum) = self.checksum else {
            return Ok((self.received, None));
        };
        let claimed = checksum
            .claimed
            .or(trailed)
            .ok_or_else(trailer::malformed)?;
        checksum::compare(&checksum.hasher.finish(), &claimed)?;
        Ok((self.received, Some(claimed)))
    }

    /// The whole body, at most `max_bytes`, compared with all that was claimed.
    ///
    /// # Errors
    /// As [`Payload::next`] and [`Payload::finish`]; `MaxMessageLengthExceeded` as `EntityTooLarge`; `BadDigest` for another MD5; `SlowDown`
    /// while there is no room.
    pub(super) async fn collected(
        mut self,
        max_bytes: usize,
        md5: Option<Md5>,
    ) -> Result<Bytes, ApiError> {
        let mut all = self.documents.gather(max_bytes, self.body.pace());
        while let Some(bytes) = self.next().await? {
            all.push(&bytes)?;
        }
        self.finish()?;
        let all = all.finish();
        if md5.is_some_and(|md5| md5 != Md5::of(&all)) {
            let message = "The Content-MD5 you specified did not match what we received.";
            return Err(ApiError::new(ErrorCode::BadDigest, message));
        }
        Ok(all)
    }

    fn wrong_length(&self) -> ApiError {
        let message =
            "You did not provide the number of bytes specified by the Content-Length HTTP header";
        ApiError::new(ErrorCode::IncompleteBody, message)
    }
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// Of a body that is not said to come in chunks the framing would be stored with the bytes. A digest covers the bytes as they are sent, and
/// Version 2 has no chunks: there they are what is meant, as at Amazon, unless another length of them is named.
fn refuse_framing(access: &Access<'_>) -> Result<(), ApiError> {
    let codings = access.header(CONTENT_ENCODING.as_str()).unwrap_or_default();
    let is_chunked = |coding: &str| coding.trim().eq_ignore_ascii_case("aws-chunked");
    let is_whole = match access.proven.payload {
        PayloadClaim::Sha256(_) => true,
        _ => access.proven.version_2 && access.header("x-amz-content-sha256").is_none(),
    };
    let is_framed = !is_whole && codings.split(',').any(is_chunked);
    if !is_framed && access.header(DECODED_LENGTH).is_none() {
        return Ok(());
    }
    let message = format!(
        "Content-Encoding: aws-chunked and {DECODED_LENGTH} need an x-amz-content-sha256 that begins with STREAMING-; without it the framing of the chunks would become part of the object."
    );
    Err(ApiError::new(ErrorCode::InvalidArgument, message)
        .with("ArgumentName", "Content-Encoding")
        .with("ArgumentValue", codings))
}

/// How many bytes are sent.
fn length(access: &Access<'_>) -> Result<Option<u64>, ApiError> {
    let name = CONTENT_LENGTH.as_str();
    let number = access.header(name).map(str::parse).transpose();
    number.map_err(|_| ApiError::invalid(name, "must be a whole number."))
}

fn compare_sha256(context: Context, claimed: &[u8; 32]) -> Result<(), ApiError> {
    let computed = context.finish();
    if computed.as_ref() == claimed {
        return Ok(());
    }
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    Err(ApiError::new(ErrorCode::XAmzContentSHA256Mismatch, message)
        .with("ClientComputedContentSHA256", encode_hex(claimed))
        .with("S3ComputedContentSHA256", encode_hex(computed.as_ref())))
}
