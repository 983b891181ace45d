//! Placeholder.
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
pub async fn start(_call: &mut Call<'_>) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn inspect(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn finish(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn abort(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
