//! Placeholder.
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
pub async fn make_link(_call: &mut Call<'_>) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn follow_link(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
