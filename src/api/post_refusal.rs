//! How a form post is refused: Amazon's words and codes for what is wrong with a form.
//!
//! Owns: the refusals of a form that is not well-formed or has no file, and Amazon's code for each reason of the policy
//! floor.
//!
//! Never does: decide; the guard, the parser and the policy floor have. Invariant: what a reason carries for the client is
//! passed on in its order, and nothing is added.
//!
//! Sources: Amazon S3 API Reference, "POST Object" and "Error responses".

use super::error::{ApiError, ErrorCode};
use crate::policy::{PolicyError, PolicyErrorKind};

/// No part of the form is the file.
pub(super) fn no_file() -> ApiError {
    ApiError::new(
        ErrorCode::InvalidArgument,
        "POST requires exactly one file upload per request.",
    )
    .with("ArgumentName", "file")
    .with("ArgumentValue", "0")
}

/// Two parts of a session's form are the file. Amazon keeps the first, and so do we for anybody else's form; but FilePond puts its
/// metadata before the file under the same name, and would be told of success for them.
pub(super) fn second_file() -> ApiError {
    ApiError::new(
        ErrorCode::InvalidArgument,
        "POST requires exactly one file upload per request. Two parts of this form are named file; FilePond sends its metadata \
         under the file's name, so its ondata must make a form of its own with the file alone.",
    )
    .with("ArgumentName", "file")
    .with("ArgumentValue", "2")
}

/// The file's bytes do not hash to the field Content-MD5.
pub(super) fn wrong_md5() -> ApiError {
    let message = "The Content-MD5 you specified did not match what we received.";
    ApiError::new(ErrorCode::BadDigest, message)
}

/// There is no bucket of this name.
pub(super) fn no_bucket(bucket: &str) -> ApiError {
    ApiError::new(
        ErrorCode::NoSuchBucket,
        "The specified bucket does not exist",
    )
    .with("BucketName", bucket)
}

/// The body is no form; `why` says what is wrong with it.
pub(super) fn malformed(why: &str) -> ApiError {
    let message =
        format!("The body of your POST request is not well-formed multipart/form-data. {why}");
    ApiError::new(ErrorCode::MalformedPOSTRequest, message)
}

/// Amazon's code for each reason of the policy floor.
pub(super) fn policy_error(error: PolicyError) -> ApiError {
    use PolicyErrorKind as Kind;
    let code = match error.kind() {
        Kind::AccessDenied
        | Kind::BeyondLimits
        | Kind::PolicyExpired
        | Kind::ConditionFailed
        | Kind::ExtraField => ErrorCode::AccessDenied,
        Kind::InvalidArgument => ErrorCode::InvalidArgument,
        Kind::InvalidPolicyDocument => ErrorCode::InvalidPolicyDocument,
        Kind::InvalidAccessKeyId => ErrorCode::InvalidAccessKeyId,
        Kind::SignatureDoesNotMatch => ErrorCode::SignatureDoesNotMatch,
        Kind::InvalidToken => ErrorCode::InvalidToken,
        Kind::ExpiredToken => ErrorCode::ExpiredToken,
        Kind::FieldsTooLarge => ErrorCode::MaxPostPreDataLengthExceededError,
        Kind::KeyTooLong => ErrorCode::KeyTooLongError,
        Kind::MetadataTooLarge => ErrorCode::MetadataTooLarge,
        Kind::InvalidDigest => ErrorCode::InvalidDigest,
        Kind::InvalidStorageClass => ErrorCode::InvalidStorageClass,
        Kind::InvalidRedirectLocation => ErrorCode::InvalidRedirectLocation,
        Kind::InvalidRequest => ErrorCode::InvalidRequest,
        Kind::MalformedXml => ErrorCode::MalformedXML,
        Kind::InvalidTag => ErrorCode::InvalidTag,
        Kind::TooManyTags => ErrorCode::BadRequest,
        Kind::NotImplemented => ErrorCode::NotImplemented,
        Kind::EntityTooLarge => ErrorCode::EntityTooLarge,
        Kind::EntityTooSmall => ErrorCode::EntityTooSmall,
    };
    let mut refusal = ApiError::new(code, error.message());
    refusal.extras = error.extras().to_vec();
    refusal
}
