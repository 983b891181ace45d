//! CreateMultipartUpload and AbortMultipartUpload; and how a request finds the upload it is about.
//!
//! Owns: what is said at the start of an upload in parts: the headers, metadata, ACL, tags and storage class of its object, and the
//! checksum that its parts are to have. The upload is a session of the store, which is swept when it is abandoned.
//! Never does: take bytes; `part.rs` does.
//!
//! Invariant: an upload is found only by its id together with its bucket and key; for anything else there is no such upload.
//!
//! Source: Amazon S3 API Reference, the operations of these names; User Guide, "Checking object integrity".

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::super::post_refusal::policy_error;
use super::super::stored_headers::CHECKSUM_TYPE;
use super::access::Access;
use super::payload::Payload;
use super::put::new_upload;
use super::xml::Document;
use super::{lifecycle, settings};
use crate::model::{
    Bucket, ChecksumAlgorithm, ChecksumType, Id, ObjectKey, PartRules, UploadSession, UploadState,
};
use crate::policy::PutHeaders;
use crate::store::StoreError;

/// Conditions on what is stored already; only the end of an upload has them.
pub(super) const CONDITIONS: [&str; 4] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];
/// Names the checksum that all parts are to have.
pub(super) const ALGORITHM: HeaderName = HeaderName::from_static("x-amz-checksum-algorithm");

/// An upload in parts that a request is about.
pub(super) struct Upload {
    /// Its id.
    pub(super) id: Id,
    /// What was said at its start.
    pub(super) rules: PartRules,
    /// The session.
    pub(super) session: UploadSession,
}

impl Upload {
    /// The upload that a request names, finished or not.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(super) async fn find(
        call: &Call<'_>,
        (bucket, key): &(Bucket, ObjectKey),
    ) -> Result<Self, ApiError> {
        let named = call.params.query("uploadId").unwrap_or_default();
        let id = Id::parse(named).ok_or_else(|| no_such_upload(named))?;
        let session = match call.app.store.upload(id).await {
            Err(StoreError::NoSuchUpload) => return Err(no_such_upload(named)),
            Err(error) => return Err(ApiError::from(error).of_upload(id)),
            Ok(session) => session,
        };
        let is_named = session.upload.bucket == *bucket && session.upload.key == *key;
        match session.parts.filter(|_| is_named) {
            Some(rules) => Ok(Self { id, rules, session }),
            None => Err(no_such_upload(named)),
        }
    }

    /// The upload that a request names, while it takes parts.
    ///
    /// # Errors
    /// `NoSuchUpload`.
    pub(super) async fn find_open(
        call: &Call<'_>,
        at: &(Bucket, ObjectKey),
    ) -> Result<Self, ApiError> {
        let upload = Self::find(call, at).await?;
        match upload.session.state {
            UploadState::Uploading => Ok(upload),
            _ => Err(no_such_upload(&upload.id.to_string())),
        }
    }

    /// What a refusal of the store means for this upload.
    pub(super) fn refusal(&self, error: StoreError) -> ApiError {
        let id = self.id.to_string();
        match error {
            StoreError::NoSuchUpload | StoreError::Finished => no_such_upload(&id),
            StoreError::PartDiffers { index } => {
                let refusal = ApiError::from(error).with("UploadId", id);
                refusal.with("PartNumber", index.saturating_add(1).to_string())
            }
            other => ApiError::from(other).of_upload(self.id),
        }
    }
}

fn no_such_upload(id: &str) -> ApiError {
    let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    ApiError::new(ErrorCode::NoSuchUpload, message).with("UploadId", id)
}

/// Starts an upload in parts.
///
/// # Errors
/// As for an object that is stored at once; `InvalidRequest` for a checksum that parts cannot have.
pub(super) async fn create(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    (bucket, key): (Bucket, ObjectKey),
) -> Result<Reply, ApiError> {
    access.refuse_headers(&CONDITIONS)?;
    let rules = rules(&access)?;
    let mut headers = headers_besides_checksums(&access)?;
    headers.attributes.checksum = None;
    let upload = new_upload(call, bucket, key, (headers.stored, headers.attributes))?;
    let app = call.app;
    let payload = Payload::new(call, &mut access, None)?;
    payload.collected(0, headers.md5).await?;
    let lifecycle_rules = settings::lifecycle_to_tell(app, &upload.bucket).await;
    let session = app.store.create_parts(upload, rules).await?;
    let mut document = Document::new("InitiateMultipartUploadResult");
    document.element("Bucket", session.upload.bucket.as_str());
    document.element("Key", session.upload.key.as_str());
    document.element("UploadId", &session.upload.id.to_string());
    lifecycle::put_abort(document.headers_mut(), &lifecycle_rules, &session.upload);
    let mut response = document.answer();
    if let Some((algorithm, kind)) = rules.checksum {
        let headers = response.headers_mut();
        let name = algorithm.as_str().to_uppercase();
        headers.extend(HeaderValue::try_from(name).map(|name| (ALGORITHM, name)));
        headers.insert(CHECKSUM_TYPE, HeaderValue::from_static(kind.as_str()));
    }
    Ok(Reply::Raw(response))
}

/// What the headers say, but for checksums: they are not of the body.
///
/// # Errors
/// As for an object that is stored at once.
pub(super) fn headers_besides_checksums(access: &Access<'_>) -> Result<PutHeaders, ApiError> {
    let others = access
        .headers()
        .filter(|(name, _)| !name.starts_with("x-amz-checksum-"));
    let others = others.map(|(name, value)| (name, value.to_owned()));
    PutHeaders::read(others).map_err(policy_error)
}

/// The checksum that all parts are to have.
fn rules(access: &Access<'_>) -> Result<PartRules, ApiError> {
    let kind = access.header(CHECKSUM_TYPE.as_str());
    let kind = kind
        .map(|kind| {
            let invalid = || invalid("Value for x-amz-checksum-type header is invalid.");
            ChecksumType::parse(kind).ok_or_else(invalid)
        })
        .transpose()?;
    let Some(algorithm) = algorithm(access)? else {
        return match kind {
            None => Ok(PartRules::default()),
            Some(_) => Err(invalid(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let usual = match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumType::FullObject,
        _ => ChecksumType::Composite,
    };
    let kind = kind.unwrap_or(usual);
    if !kind.allows(algorithm) {
        let (kind, algorithm) = (kind.as_str(), algorithm.as_str());
        return Err(invalid(format!(
            "The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
        )));
    }
    let checksum = Some((algorithm, kind));
    Ok(PartRules { checksum })
}

/// The checksum that a request wants to have computed.
///
/// # Errors
/// `InvalidRequest` for none that we know.
pub(super) fn algorithm(access: &Access<'_>) -> Result<Option<ChecksumAlgorithm>, ApiError> {
    let Some(name) = access.header(ALGORITHM.as_str()) else {
        return Ok(None);
    };
    ChecksumAlgorithm::parse(name).map(Some).ok_or_else(|| {
        invalid("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })
}

/// Drops an upload and its parts.
///
/// # Errors
/// `NoSuchUpload`, what the store says.
pub(super) async fn abort(
    call: &Call<'_>,
    access: &Access<'_>,
    at: (Bucket, ObjectKey),
) -> Result<Reply, ApiError> {
    access.refuse_headers(&["x-amz-if-match-initiated-time"])?;
    let upload = Upload::find(call, &at).await?;
    let aborted = call.app.store.abort_upload(upload.id).await;
    aborted.map_err(|error| upload.refusal(error))?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Reply::Raw(response))
}

/// The request contradicts itself, or its upload.
pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}
