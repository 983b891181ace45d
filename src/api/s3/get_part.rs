//! GET and HEAD of one part of an object, by its number.
//!
//! Owns: where the part lies, and the refusals. Parts are counted from 1 in the order of the object's bytes, whatever numbers they were
//! uploaded with: who reads an object part by part goes from 1 to `x-amz-mp-parts-count`.
//! Never does: send; `get.rs` does.
//!
//! Invariant: an object whose parts are not known is never cut by guessing: it came before parts were kept, or its parts change their
//! size more often than is kept.
//!
//! Source: Amazon S3 API Reference, "GetObject", "HeadObject", `partNumber`.

use http::header::RANGE;

use super::super::call::Call;
use super::super::error::{ApiError, ErrorCode};
use super::PART_NUMBER;
use super::multipart::invalid;
use super::part::part_number;
use crate::model::ObjectMeta;

/// One part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// Its length in bytes.
    pub(super) length: u64,
    /// How many parts there are; `None` for an object that came in one piece.
    pub(super) count: Option<u32>,
}

/// The part that a request asks for; `None` when it asks for none.
///
/// # Errors
/// `InvalidArgument` for what is no number, `InvalidRequest` with a range besides, `InvalidPartNumber` when there is none such,
/// `NotImplemented` when the parts are not known.
pub(super) fn asked(call: &Call<'_>, meta: &ObjectMeta) -> Result<Option<Part>, ApiError> {
    if call.params.query(PART_NUMBER).is_none() {
        return Ok(None);
    }
    let number = part_number(call)?;
    if call.head.headers.contains_key(RANGE) {
        return Err(invalid(
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    let Some(parts) = &meta.parts else {
        return of_one_piece(meta, number).map(Some);
    };
    if !parts.has_sizes() {
        return Err(unknown());
    }
    let count = parts.count();
    let (offset, length) = parts
        .span(number)
        .ok_or_else(|| no_such_part(number, count))?;
    let count = Some(count);
    Ok(Some(Part {
        offset,
        length,
        count,
    }))
}

/// An object that came in one piece is its own only part.
fn of_one_piece(meta: &ObjectMeta, number: u32) -> Result<Part, ApiError> {
    if meta.md5.is_none() {
        return Err(unknown());
    }
    match number {
        1 => Ok(Part {
            offset: 0,
            length: meta.size,
            count: None,
        }),
        _ => Err(no_such_part(number, 1)),
    }
}

fn no_such_part(number: u32, count: u32) -> ApiError {
    let message = "The requested partnumber is not satisfiable";
    ApiError::new(ErrorCode::InvalidPartNumber, message)
        .with("PartNumberRequested", number.to_string())
        .with("ActualPartCount", count.to_string())
}

fn unknown() -> ApiError {
    let message = "The parts of this object are not known, so none can be read by its number.";
    ApiError::new(ErrorCode::NotImplemented, message)
}
