//! Checksums that a form claims for its file: `x-amz-checksum-*`.
//!
//! Owns: the names, and that there is at most one. Never does: hash.
//! Invariant: whoever takes the bytes must compare them with what was claimed or refuse the form, never ignore it.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity"; messages as in Amazon S3's answers.

use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;
use crate::model::{Checksum, ChecksumAlgorithm};

const PREFIX: &str = "x-amz-checksum-";
const ALGORITHM: &str = "x-amz-checksum-algorithm";
/// The only type that a checksum of an object posted in one piece can have.
const WHOLE: &str = "FULL_OBJECT";

/// The one checksum of a form, if it has one.
///
/// # Errors
/// `InvalidRequest` for an algorithm that is none or names no checksum, a value that is not of its length, two checksums, and a
/// type other than that of a whole object.
pub fn claimed_checksum(form: &PostForm) -> Result<Option<Checksum>, PolicyError> {
    let mut claimed: Option<Checksum> = None;
    for (name, text) in form.iter() {
        match name.strip_prefix(PREFIX) {
            None | Some("algorithm") => {}
            Some("type") if text == WHOLE => {}
            Some("type") => return Err(invalid_value(name)),
            Some(algorithm) if claimed.is_none() => claimed = Some(parse(algorithm, text)?),
            Some(_) => {
                return Err(invalid(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        }
    }
    if let Some(name) = form.get(ALGORITHM) {
        check_algorithm(parse_algorithm(name)?, claimed.as_ref())?;
    }
    Ok(claimed)
}

/// An algorithm without its checksum is what Amazon's reference refuses: it would promise what nobody checks.
fn check_algorithm(
    named: ChecksumAlgorithm,
    claimed: Option<&Checksum>,
) -> Result<(), PolicyError> {
    match claimed {
        Some(claimed) if claimed.algorithm() == named => Ok(()),
        Some(_) => Err(invalid_value(ALGORITHM)),
        None => Err(invalid(format!(
            "{ALGORITHM} specified, but no corresponding {PREFIX}* headers were found."
        ))),
    }
}

fn parse(algorithm: &str, text: &str) -> Result<Checksum, PolicyError> {
    let algorithm = parse_algorithm(algorithm)?;
    Checksum::parse(algorithm, text).ok_or_else(|| invalid_value(algorithm.field()))
}

fn parse_algorithm(name: &str) -> Result<ChecksumAlgorithm, PolicyError> {
    ChecksumAlgorithm::parse(name).ok_or_else(|| {
        invalid(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })
}

fn invalid_value(field: &str) -> PolicyError {
    invalid(format!("Value for {field} header is invalid."))
}

fn invalid(message: impl Into<String>) -> PolicyError {
    PolicyError::new(PolicyErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PostFormBuilder;

    fn claimed_by(fields: &[(&str, &str)]) -> Result<Option<Checksum>, PolicyError> {
        let mut builder = PostFormBuilder::default();
        for (name, value) in fields {
            builder.push(name, value.as_bytes())?;
        }
        claimed_checksum(&builder.finish(None)?)
    }

    #[test]
    fn one_checksum_of_the_right_length_is_claimed() {
        assert_eq!(claimed_by(&[("key", "k")]), Ok(None));
        let fields = [
            ("X-Amz-Checksum-Algorithm", "CRC64NVME"),
            ("X-Amz-Checksum-CRC64NVME", "rosUhgp5mIg="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        ];
        let checksum = claimed_by(&fields).unwrap().unwrap();
        assert_eq!(checksum.algorithm(), ChecksumAlgorithm::Crc64Nvme);
        assert_eq!(checksum.value(), 0xae8b_1486_0a79_9888_u64.to_be_bytes());
    }

    #[test]
    fn anything_else_is_an_invalid_request() {
        let rows: &[&[(&str, &str)]] = &[
            &[("x-amz-checksum-crc32", "AAAAAA")],
            &[("x-amz-checksum-crc32", "")],
            &[("x-amz-checksum-crc32", "rosUhgp5mIg=")],
            &[("x-amz-checksum-crc16", "AAA=")],
            &[("x-amz-checksum-", "AAA=")],
            &[
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("x-amz-checksum-crc32c", "AAAAAA=="),
            ],
            &[("x-amz-checksum-algorithm", "MD4")],
            &[("x-amz-checksum-algorithm", "CRC32")],
            &[
                ("x-amz-checksum-crc32", "AAAAAA=="),
                ("x-amz-checksum-type", "COMPOSITE"),
            ],
            &[
                ("x-amz-checksum-algorithm", "SHA1"),
                ("x-amz-checksum-crc32", "AAAAAA=="),
            ],
        ];
        for fields in rows {
            let error = claimed_by(fields).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::InvalidRequest, "{fields:?}");
        }
    }
}
