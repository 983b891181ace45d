//! Which chunk of which upload a form carries.
//!
//! Owns: the three chunk idioms of the field's clients: (A) one key, `chunk` and `chunks`; (B) the key with `.N` appended, no
//! chunk fields; (C) the same keys with the session's own `chunk=0`, `chunks=1` sent along verbatim.
//!
//! Never does: find the session; the signed policy names it. Invariants: when key and fields disagree the key wins; the index
//! is below [`MAX_CHUNKS`]; a key that is neither the session's nor the session's with `.N` is refused.

use super::error::{ApiError, ErrorCode};
use crate::model::{MAX_CHUNKS, ObjectKey};
use crate::policy::ChunkFields;
use crate::store::ChunkSpec;

/// Finds the chunk that a form for the session's `key` carries when it was posted as `posted`.
///
/// # Errors
/// `AccessDenied` for a foreign key; `InvalidArgument` that names the field for numbers that break the rules.
pub fn chunk_spec(
    key: &ObjectKey,
    posted: &ObjectKey,
    fields: &ChunkFields,
) -> Result<ChunkSpec, ApiError> {
    let chunk = number("chunk", fields.chunk.as_deref())?;
    let chunks = number("chunks", fields.chunks.as_deref())?;
    if let Some(index) = key_suffix(key, posted)? {
        let nb_chunks = chunks.filter(|&chunks| chunks > 1);
        return check(ChunkSpec { index, nb_chunks });
    }
    let index = chunk.unwrap_or(0);
    let nb_chunks = match chunks {
        None | Some(0) if index > 0 => None,
        None | Some(0) => Some(1),
        some => some,
    };
    check(ChunkSpec { index, nb_chunks })
}

/// The index that the posted key carries; `None` when it is the session's key itself.
fn key_suffix(key: &ObjectKey, posted: &ObjectKey) -> Result<Option<u32>, ApiError> {
    let Some(rest) = posted.as_str().strip_prefix(key.as_str()) else {
        return Err(foreign_key(key));
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let digits = rest.strip_prefix('.').ok_or_else(|| foreign_key(key))?;
    let canonical = digits == "0" || !digits.starts_with('0');
    if digits.is_empty()
        || digits.len() > 9
        || !canonical
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(foreign_key(key));
    }
    digits.parse().map(Some).map_err(|_| foreign_key(key))
}

fn foreign_key(key: &ObjectKey) -> ApiError {
    let condition = serde_json::json!(["eq", "$key", key.as_str()]);
    let message = format!(
        "Invalid according to Policy: Policy Condition failed: {condition} (the key of this upload, or that key with .N for chunk N)"
    );
    ApiError::new(ErrorCode::AccessDenied, message)
}

fn number(name: &'static str, text: Option<&str>) -> Result<Option<u32>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let digits = text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    let refused = || {
        ApiError::invalid(name, "must be a whole number, not negative.")
            .with("ArgumentName", name)
            .with("ArgumentValue", text)
    };
    value.map(Some).ok_or_else(refused)
}

fn check(spec: ChunkSpec) -> Result<ChunkSpec, ApiError> {
    let refused = |name: &'static str, rule: String, value: u32| {
        Err(ApiError::invalid(name, rule)
            .with("ArgumentName", name)
            .with("ArgumentValue", value.to_string()))
    };
    match spec.nb_chunks {
        Some(chunks) if chunks > MAX_CHUNKS => {
            refused("chunks", format!("must be at most {MAX_CHUNKS}."), chunks)
        }
        Some(chunks) if spec.index >= chunks => refused(
            "chunk",
            format!("must be below chunks ({chunks})."),
            spec.index,
        ),
        None if spec.index >= MAX_CHUNKS => {
            refused("chunk", format!("must be below {MAX_CHUNKS}."), spec.index)
        }
        _ => Ok(spec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(
        posted: &str,
        chunk: Option<&str>,
        chunks: Option<&str>,
    ) -> Result<(u32, Option<u32>), ErrorCode> {
        let key = ObjectKey::parse("tmp/p/a.mp4").unwrap();
        let fields = ChunkFields {
            chunk: chunk.map(Into::into),
            chunks: chunks.map(Into::into),
            ..ChunkFields::default()
        };
        let spec = chunk_spec(&key, &ObjectKey::parse(posted).unwrap(), &fields);
        spec.map(|spec| (spec.index, spec.nb_chunks))
            .map_err(|error| error.code)
    }

    #[test]
    fn the_three_idioms_name_their_chunk() {
        let key = "tmp/p/a.mp4";
        for (posted, chunk, chunks, expected) in [
            (key, Some("0"), Some("1"), (0, Some(1))),
            (key, None, None, (0, Some(1))),
            (key, Some(""), Some(""), (0, Some(1))),
            (key, Some("0"), Some("0"), (0, Some(1))),
            (key, Some("2"), Some("3"), (2, Some(3))),
            (key, Some("2"), None, (2, None)),
            ("tmp/p/a.mp4.0", None, None, (0, None)),
            ("tmp/p/a.mp4.12", None, None, (12, None)),
            ("tmp/p/a.mp4.2", Some("0"), Some("1"), (2, None)),
            ("tmp/p/a.mp4.2", Some("1"), Some("3"), (2, Some(3))),
        ] {
            assert_eq!(
                spec(posted, chunk, chunks),
                Ok(expected),
                "{posted} {chunk:?} {chunks:?}"
            );
        }
    }

    #[test]
    fn numbers_that_break_a_rule_are_refused() {
        for (chunk, chunks) in [
            ("3", "3"),
            ("-1", "3"),
            ("1.5", "3"),
            ("x", "3"),
            ("0", "10001"),
            ("10000", ""),
            ("99999999999", ""),
        ] {
            assert_eq!(
                spec("tmp/p/a.mp4", Some(chunk), Some(chunks)),
                Err(ErrorCode::InvalidArgument),
                "{chunk}/{chunks}"
            );
        }
        assert_eq!(
            spec("tmp/p/a.mp4.10000", None, None),
            Err(ErrorCode::InvalidArgument)
        );
    }

    #[test]
    fn a_key_of_another_object_is_refused() {
        for posted in [
            "tmp/p/b.mp4",
            "tmp/p/a.mp",
            "tmp/p/a.mp4x",
            "tmp/p/a.mp4.",
            "tmp/p/a.mp4.01",
            "tmp/p/a.mp4.1x",
            "tmp/p/a.mp4.1.2",
            "tmp/p/a.mp4.+1",
        ] {
            assert_eq!(
                spec(posted, None, None),
                Err(ErrorCode::AccessDenied),
                "{posted}"
            );
        }
    }
}
