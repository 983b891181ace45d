//! Placeholder.
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
pub async fn receive(_call: &mut Call<'_>, _bucket: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
