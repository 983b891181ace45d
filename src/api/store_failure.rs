//! What a failure of the store means to a client; one place for all routes.
//!
//! Owns: the row of `error.rs` and the words for each [`StoreError`]. Never does: say more of a cause than that it is ours; it goes
//! to the log.
//!
//! Invariant: what passes by itself is 503, what is broken is 500.

use super::error::{ApiError, ErrorCode};
use crate::store::StoreError;

/// What a client hears of a failure that is ours.
const INTERNAL: &str = "We encountered an internal error. Please try again.";

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::ConditionFailed) {
            return Self::precondition_failed();
        }
        let (code, message) = store_row(&error);
        Self::new(code, message).caused_by(error)
    }
}

fn store_row(error: &StoreError) -> (ErrorCode, String) {
    use ErrorCode as C;
    let (code, words) = match error {
        StoreError::NoSuchUpload => (
            C::NoSuchUpload,
            "The specified upload does not exist. It may have been aborted, or swept after it was abandoned.",
        ),
        StoreError::GaveWay => (
            C::NoSuchUpload,
            "The specified upload does not exist any more. All of it had arrived, but before its object was whole something newer was stored under its key, which stays. Start a new upload to replace that.",
        ),
        StoreError::NoSuchObject => (C::NoSuchKey, "The specified key does not exist."),
        StoreError::NoSuchBucket => (C::NoSuchBucket, "The specified bucket does not exist"),
        StoreError::Exists => (C::OperationAborted, "The id is taken; try again."),
        StoreError::InUse => (
            C::OperationAborted,
            "It is in use and cannot be changed that way.",
        ),
        StoreError::Finished => (
            C::OperationAborted,
            "The upload is finished; delete the file instead.",
        ),
        StoreError::CatalogFull => (
            C::SlowDown,
            "The catalog holds as many entries of this kind, or as many bytes, as it may.",
        ),
        StoreError::RecordTooLarge => (
            C::MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size.",
        ),
        StoreError::Busy | StoreError::TooManyFiles => {
            (C::SlowDown, "Please reduce your request rate.")
        }
        StoreError::ConditionOvertaken => (
            C::ConditionalRequestConflict,
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
        ),
        StoreError::PartDiffers { .. } => (
            C::InvalidPart,
            "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
        ),
        StoreError::Full => (
            C::InsufficientStorage,
            "There is not enough free space to store this.",
        ),
        StoreError::ReadOnly => (
            C::ServiceUnavailable,
            "The store takes no writes until it is restarted.",
        ),
        StoreError::Corrupt(_) | StoreError::Newer { .. } | StoreError::Io { .. } => {
            (C::InternalError, INTERNAL)
        }
        // Named one by one, so that a new failure gets words of its own before it reaches a client.
        StoreError::UploadFailed(_)
        | StoreError::ChunkOutOfRange { .. }
        | StoreError::ChunkCountDiffers { .. }
        | StoreError::ChunkSizesDiffer { .. }
        | StoreError::TotalDiffers { .. }
        | StoreError::SourceDiffers { .. }
        | StoreError::ChunkDiffers { .. }
        | StoreError::MissingChunks { .. }
        | StoreError::ConditionFailed
        | StoreError::TooLarge { .. }
        | StoreError::DigestMismatch { .. }
        | StoreError::LengthMismatch { .. } => return chunk_row(error),
    };
    (code, words.to_owned())
}

/// The rows whose words carry numbers.
fn chunk_row(error: &StoreError) -> (ErrorCode, String) {
    use ErrorCode as C;
    match error {
        StoreError::UploadFailed(state) => (
            C::OperationAborted,
            format!(
                "The upload is {} and takes no chunks; start a new one.",
                state.as_str()
            ),
        ),
        StoreError::ChunkOutOfRange { index, nb_chunks } => (
            C::InvalidArgument,
            format!("chunk must be below chunks: got chunk {index} of {nb_chunks}."),
        ),
        StoreError::ChunkCountDiffers { known, given } => (
            C::InvalidArgument,
            format!(
                "chunks must be the same for every chunk of an upload: {known} is known, {given} was given."
            ),
        ),
        StoreError::ChunkSizesDiffer { known, given } => (
            C::InvalidArgument,
            format!(
                "Every chunk of this upload but the last must have {known} bytes, and {given} were given. Start a new upload."
            ),
        ),
        StoreError::TotalDiffers { known, given } => (
            C::InvalidArgument,
            format!(
                "This upload must have {known} bytes in all, and {given} were given. Start a new upload."
            ),
        ),
        StoreError::SourceDiffers { known, given } => (
            C::InvalidArgument,
            format!(
                "This upload is of a file of {known} bytes, and {given} were given. Start a new upload."
            ),
        ),
        StoreError::ChunkDiffers { index, nb_chunks } => (
            C::OperationAborted,
            format!(
                "The upload is finished with {nb_chunks} chunk(s), and chunk {index} was acknowledged with other bytes. \
                 Start a new upload to replace the object."
            ),
        ),
        StoreError::MissingChunks { first, count } => {
            (C::InvalidArgument, missing_chunks(first, *count))
        }
        StoreError::TooLarge { max_bytes } => (
            C::EntityTooLarge,
            format!("Your proposed upload exceeds the maximum allowed size of {max_bytes} bytes"),
        ),
        StoreError::DigestMismatch { digest } => (
            C::BadDigest,
            format!("The {digest} you specified did not match what we received."),
        ),
        StoreError::LengthMismatch { expected, actual } => (
            C::IncompleteBody,
            format!("You said {expected} bytes and sent {actual}."),
        ),
        // The rows of `store_row`.
        _ => (C::InternalError, INTERNAL.to_owned()),
    }
}

fn missing_chunks(first: &[u32], count: u32) -> String {
    let list = first
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let more = if first.len() < count as usize {
        ", ..."
    } else {
        ""
    };
    format!("nb_chunks does not match what arrived: {count} chunk(s) missing: {list}{more}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn what_passes_by_itself_is_503_and_what_is_broken_is_500() {
        let io = || StoreError::from_io("test", std::io::Error::other("broken"));
        for (error, status) in [
            (StoreError::Busy, StatusCode::SERVICE_UNAVAILABLE),
            (StoreError::TooManyFiles, StatusCode::SERVICE_UNAVAILABLE),
            (StoreError::ReadOnly, StatusCode::SERVICE_UNAVAILABLE),
            (io(), StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let what = error.to_string();
            assert_eq!(ApiError::from(error).code.status(), status, "{what}");
        }
    }
}
