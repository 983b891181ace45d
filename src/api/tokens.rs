//! Placeholder.
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
pub async fn issue(_call: &mut Call<'_>) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
