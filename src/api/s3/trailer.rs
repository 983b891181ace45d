//! The trailer of a body: what a request announces in `x-amz-trailer`, and what came.
//!
//! Owns: that both are the same. Only checksums may come in a trailer, and only one.
//! Never does: read the framing, or hash; the decoder and the payload do.
//!
//! Invariant: nothing in a trailer is passed over. Where Amazon takes the last of two lines of one name, both are refused here.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity"; messages as in Amazon S3's answers.

use super::super::error::{ApiError, ErrorCode};
use crate::model::{Checksum, ChecksumAlgorithm};

/// The checksum that `x-amz-trailer` announces; `claims` says whether a header claims one already.
///
/// # Errors
/// `InvalidRequest` for what is no checksum, for two, and for one in a header and one in the trailer.
pub(super) fn announced(header: &str, claims: bool) -> Result<ChecksumAlgorithm, ApiError> {
    // Commas at the end are passed over, as they are by Amazon.
    let names = header.trim().trim_end_matches(',').split(',');
    let algorithms = names.map(|name| algorithm_of(name.trim()));
    let algorithms = algorithms.collect::<Option<Vec<_>>>();
    match algorithms.as_deref() {
        None => Err(invalid(
            "The value specified in the x-amz-trailer header is not supported",
        )),
        Some([algorithm]) if !claims => Ok(*algorithm),
        Some([_]) => Err(invalid("Expecting a single x-amz-checksum- header")),
        Some(_) => Err(invalid(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )),
    }
}

/// The checksum that came in the trailer.
///
/// # Errors
/// `MalformedTrailerError` unless exactly what was announced has come; `InvalidRequest` for a value that is none.
pub(super) fn claimed(
    announced: Option<ChecksumAlgorithm>,
    came: &[(String, String)],
) -> Result<Option<Checksum>, ApiError> {
    match (announced, came) {
        (None, []) => Ok(None),
        (Some(algorithm), [(name, value)]) if name == algorithm.field() => {
            let checksum = Checksum::parse(algorithm, value);
            let wrong = || invalid(format!("Value for {name} trailing header is invalid."));
            checksum.map(Some).ok_or_else(wrong)
        }
        _ => Err(malformed()),
    }
}

/// A trailer that was not announced, or is not what was announced.
pub(super) fn malformed() -> ApiError {
    let message = "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    ApiError::new(ErrorCode::MalformedTrailerError, message)
}

/// The kind of checksum that a header holds.
fn algorithm_of(header: &str) -> Option<ChecksumAlgorithm> {
    let mut known = ChecksumAlgorithm::ALL.into_iter();
    known.find(|algorithm| algorithm.field().eq_ignore_ascii_case(header))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}
