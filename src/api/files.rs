//! Placeholder.
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
pub async fn list(_call: &mut Call<'_>) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn inspect(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn change(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
pub async fn remove(_call: &mut Call<'_>, _id: &str) -> Result<Reply, ApiError> {
    Err(ApiError::new(ErrorCode::NotImplemented, ""))
}
