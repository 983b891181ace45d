//! What one uploader says about the chunk in a form: a claim.
//!
//! Owns: [`ChunkClaim`], the number of bytes that it allows, how its fields are read, and the claim that Plupload 2 makes without
//! chunk numbers, by `offset` and `total`; and [`SizeFields`], what all claims of a form say of sizes.
//!
//! Never does: compare which chunk claims name; `chunk_target.rs` does. The names of the other uploaders' fields are in `uploader_chunks.rs`.
//!
//! Invariant: what is refused names the field and the rule, in the field's own spelling.
//!
//! Source: the source of Plupload 2.3.

use std::fmt::Display;

use super::error::{ApiError, ErrorCode};
use crate::model::{MAX_CHUNKS, MAX_OBJECT_BYTES, SaidSizes};
use crate::policy::ChunkFields;
use crate::store::{ChunkSpec, StoreError};

/// What one uploader says about the chunk in a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkClaim {
    /// Whose fields they are.
    pub(super) uploader: &'static str,
    /// The field that names the chunk.
    pub(super) field: &'static str,
    /// The field that says how many chunks there are.
    pub(super) count_field: &'static str,
    /// The chunk.
    pub(super) spec: ChunkSpec,
    /// The size of every chunk but the last, and the field that says so.
    pub(super) stride: Option<(&'static str, u64)>,
    /// The size of the whole, and the field that says so.
    pub(super) total: Option<(&'static str, u64)>,
    /// The size of the file before its uploader changed it, and the field that says so.
    pub(super) source: Option<(&'static str, u64)>,
    /// How many bytes the chunk has.
    pub(super) length: Option<Length>,
}

/// How many bytes a chunk must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    /// The field that says so.
    pub(super) field: &'static str,
    /// Fewest bytes.
    pub(super) min: u64,
    /// Most bytes.
    pub(super) max: u64,
}

impl Length {
    /// This many and no other.
    pub(super) fn exactly(field: &'static str, bytes: u64) -> Self {
        let (min, max) = (bytes, bytes);
        Self { field, min, max }
    }

    /// Whether a chunk of so many bytes is meant.
    pub(super) fn allows(&self, bytes: u64) -> bool {
        (self.min..=self.max).contains(&bytes)
    }

    /// How many, in words.
    pub(super) fn bytes(&self) -> String {
        match (self.min, self.max) {
            (min, max) if min == max => format!("{max} bytes"),
            (min, max) => format!("{min} to {max} bytes"),
        }
    }

    /// Judges the bytes that came so far.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field, when they are too many already.
    pub(super) fn check_max(&self, bytes: u64) -> Result<(), ApiError> {
        if bytes <= self.max {
            return Ok(());
        }
        let rule = format!("wants {} in this chunk, and more came.", self.bytes());
        Err(ApiError::invalid(self.field, rule).with("ArgumentName", self.field))
    }

    /// Judges the bytes that came.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field.
    pub(super) fn check(&self, bytes: u64) -> Result<(), ApiError> {
        if self.allows(bytes) {
            return Ok(());
        }
        let rule = format!("wants {} in this chunk, and {bytes} came.", self.bytes());
        Err(ApiError::invalid(self.field, rule).with("ArgumentName", self.field))
    }
}

/// What all claims of a form say of sizes: each is a field and what it says, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SizeFields {
    pub(super) stride: Option<(&'static str, u64)>,
    total: Option<(&'static str, u64)>,
    source: Option<(&'static str, u64)>,
}

impl SizeFields {
    /// Gathers them.
    ///
    /// # Errors
    /// `InvalidArgument` that names both fields, when two uploaders say another size each.
    pub(super) fn of(claims: &[ChunkClaim]) -> Result<Self, ApiError> {
        Ok(Self {
            stride: one_size(claims.iter().filter_map(|claim| claim.stride))?,
            total: one_size(claims.iter().filter_map(|claim| claim.total))?,
            source: one_size(claims.iter().filter_map(|claim| claim.source))?,
        })
    }

    /// The sizes without their fields.
    pub(super) fn sizes(&self) -> SaidSizes {
        SaidSizes {
            stride: self.stride.map(|(_, bytes)| bytes),
            total: self.total.map(|(_, bytes)| bytes),
            source: self.source.map(|(_, bytes)| bytes),
        }
    }

    /// What the store says of sizes, by the name of the field that says the size; none when this form says nothing of it.
    pub(super) fn refusal(&self, error: &StoreError) -> Option<ApiError> {
        let (field, known, given, what) = match *error {
            StoreError::ChunkSizesDiffer { known, given } => {
                (self.stride, known, given, "chunks but the last of")
            }
            StoreError::TotalDiffers { known, given } => (self.total, known, given, "in all"),
            StoreError::SourceDiffers { known, given } => (self.source, known, given, "a file of"),
            _ => return None,
        };
        let (name, value) = field?;
        let rule = format!(
            "must be the same for every chunk of an upload, and its chunks must come to it ({what}): {known} bytes are known, \
             {given} were given. Send the same file in chunks of the same size, or start a new upload."
        );
        Some(refused(name, value, rule))
    }
}

/// A size that several uploaders may say, who must agree.
fn one_size(
    mut said: impl Iterator<Item = (&'static str, u64)>,
) -> Result<Option<(&'static str, u64)>, ApiError> {
    let Some((field, bytes)) = said.next() else {
        return Ok(None);
    };
    match said.find(|(_, other)| *other != bytes) {
        None => Ok(Some((field, bytes))),
        Some((name, other)) => {
            let message = format!(
                "{field} and {name} contradict each other: {bytes} bytes and {other}. Send the chunk fields of one uploader only."
            );
            let refusal = ApiError::new(ErrorCode::InvalidArgument, message);
            Err(refusal.with("ArgumentName", name))
        }
    }
}

/// What Plupload 2 says in place of chunk numbers when `send_chunk_number` is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offset {
    /// Where the chunk begins in the file, in bytes.
    pub(super) offset: u64,
    /// The size of the file in bytes.
    pub(super) total: u64,
}

impl Offset {
    /// Reads it from a form's fields.
    ///
    /// # Errors
    /// `InvalidArgument` when one of the two fields is no number, is alone, or the chunk begins behind the file.
    pub(super) fn of(fields: &ChunkFields) -> Result<Option<Self>, ApiError> {
        let field = |name| number(fields, name, MAX_OBJECT_BYTES);
        let (offset, total) = match (field("offset")?, field("total")?) {
            (None, None) => return Ok(None),
            (Some(offset), Some(total)) => (offset, total),
            (Some(offset), None) => {
                return Err(refused("offset", offset, "must come with total beside it."));
            }
            (None, Some(total)) => {
                return Err(refused("total", total, "must come with offset beside it."));
            }
        };
        if offset > 0 && offset >= total {
            let rule = format!("must be below total ({total}).");
            return Err(refused("offset", offset, rule));
        }
        Ok(Some(Self { offset, total }))
    }

    /// Which chunk that is, when chunk 0 has `first` bytes and is here: its size is that of every chunk but the last.
    ///
    /// # Errors
    /// `InvalidArgument` for a later chunk when chunk 0 is not here, or when the offset is no multiple of its size.
    pub(super) fn claim(self, first: Option<u64>) -> Result<ChunkClaim, ApiError> {
        let Self { offset, total } = self;
        let (index, nb_chunks, length) = match (offset, first) {
            (0, _) => {
                let (field, min, max) = ("total", total.min(1), total);
                (0, None, Length { field, min, max })
            }
            (_, Some(stride)) if stride > 0 && offset % stride == 0 => {
                let left = Length::exactly("total", (total - offset).min(stride));
                (offset / stride, Some(total.div_ceil(stride)), left)
            }
            (_, Some(stride)) => {
                let rule = format!("must be a multiple of the size of chunk 0 ({stride}).");
                return Err(refused("offset", offset, rule));
            }
            (_, None) => {
                let rule = "can be told apart only once the chunk at offset 0 is here. Send the chunks in order, or leave \
                    send_chunk_number on, so that they are numbered.";
                return Err(refused("offset", offset, rule));
            }
        };
        let chunks = nb_chunks.unwrap_or(1).max(index + 1);
        if chunks > u64::from(MAX_CHUNKS) {
            let rule = format!("comes in {chunks} chunks; at most {MAX_CHUNKS} are taken.");
            return Err(refused("total", total, rule));
        }
        Ok(ChunkClaim {
            uploader: "Plupload",
            field: "offset",
            count_field: "total",
            spec: ChunkSpec::new(
                u32::try_from(index).unwrap_or(MAX_CHUNKS),
                nb_chunks.and_then(|count| u32::try_from(count).ok()),
            ),
            // A later chunk is taken for what it is only as long as the first keeps its size.
            stride: first.filter(|_| index > 0).map(|first| ("offset", first)),
            total: Some(("total", total)),
            source: None,
            length: Some(length),
        })
    }
}

/// A field of an uploader as a number up to `most`; an empty one is as if it were not there.
///
/// # Errors
/// `InvalidArgument` that names it.
pub(super) fn number(fields: &ChunkFields, name: &str, most: u64) -> Result<Option<u64>, ApiError> {
    let held = |(held, _): &&(String, String)| held.eq_ignore_ascii_case(name);
    let text = fields.others.iter().find(held).map(|(_, text)| text);
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse::<u64>().ok().filter(|_| digits);
    match value {
        Some(value) if value <= most => Ok(Some(value)),
        Some(value) => Err(refused(name, value, format!("must be at most {most}."))),
        None => {
            let rule = "must be a whole number, not negative.";
            Err(refused(name, text, rule))
        }
    }
}

/// A field whose value breaks a rule.
pub(super) fn refused(name: &str, value: impl Display, rule: impl Display) -> ApiError {
    ApiError::invalid(name, rule)
        .with("ArgumentName", name)
        .with("ArgumentValue", value.to_string())
}
