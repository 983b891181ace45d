//! Checksums that a form claims for its file: `x-amz-checksum-*`.
//!
//! Owns: the names, the lengths, and that there is at most one. Never does: hash; whoever takes the bytes must compare them with
//! [`ClaimedChecksum::value`] or refuse the form, never ignore it.
//! Invariant: `value` has exactly the length of its algorithm.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity"; messages as in Amazon S3's answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;

const PREFIX: &str = "x-amz-checksum-";

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC), 4 bytes.
    Crc32,
    /// CRC-32C (Castagnoli), 4 bytes.
    Crc32c,
    /// CRC-64/NVME, 8 bytes.
    Crc64Nvme,
    /// SHA-1, 20 bytes.
    Sha1,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl ChecksumAlgorithm {
    const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The lower-case name that follows `x-amz-checksum-`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn parse(name: &str) -> Result<Self, PolicyError> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                invalid(
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            })
    }
}

/// What the file's bytes must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedChecksum {
    /// How.
    pub algorithm: ChecksumAlgorithm,
    /// The checksum, big-endian for the CRCs.
    pub value: Vec<u8>,
}

impl ClaimedChecksum {
    /// The one checksum of a form, if it has one.
    ///
    /// # Errors
    /// `InvalidRequest` for a checksum that is none, and for more than one.
    pub fn of(form: &PostForm) -> Result<Option<Self>, PolicyError> {
        let mut claimed: Option<Self> = None;
        for (name, text) in form.iter() {
            match name.strip_prefix(PREFIX) {
                None | Some("algorithm" | "type") => {}
                Some(algorithm) if claimed.is_none() => {
                    claimed = Some(Self::parse(algorithm, text)?)
                }
                Some(_) => {
                    return Err(invalid(
                        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                    ));
                }
            }
        }
        if let Some(name) = form.get("x-amz-checksum-algorithm") {
            let named = ChecksumAlgorithm::parse(name)?;
            if claimed
                .as_ref()
                .is_some_and(|claimed| claimed.algorithm != named)
            {
                return Err(invalid(
                    "Value for x-amz-checksum-algorithm header is invalid.",
                ));
            }
        }
        Ok(claimed)
    }

    fn parse(algorithm: &str, text: &str) -> Result<Self, PolicyError> {
        let algorithm = ChecksumAlgorithm::parse(algorithm)?;
        match STANDARD.decode(text) {
            Ok(value) if value.len() == algorithm.bytes() => Ok(Self { algorithm, value }),
            _ => Err(invalid(format!(
                "Value for {PREFIX}{} header is invalid.",
                algorithm.as_str()
            ))),
        }
    }
}

fn invalid(message: impl Into<String>) -> PolicyError {
    PolicyError::new(PolicyErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PostFormBuilder;

    fn claimed(fields: &[(&str, &str)]) -> Result<Option<ClaimedChecksum>, PolicyError> {
        let mut builder = PostFormBuilder::default();
        for (name, value) in fields {
            builder.push(name, value.as_bytes())?;
        }
        ClaimedChecksum::of(&builder.finish(None)?)
    }

    #[test]
    fn one_checksum_of_the_right_length_is_claimed() {
        assert_eq!(claimed(&[("key", "k")]), Ok(None));
        assert_eq!(claimed(&[("x-amz-checksum-algorithm", "CRC32")]), Ok(None));
        let fields = [
            ("X-Amz-Checksum-Algorithm", "CRC64NVME"),
            ("X-Amz-Checksum-CRC64NVME", "rosUhgp5mIg="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        ];
        let checksum = claimed(&fields).unwrap().unwrap();
        assert_eq!(checksum.algorithm, ChecksumAlgorithm::Crc64Nvme);
        assert_eq!(checksum.value, 0xae8b_1486_0a79_9888_u64.to_be_bytes());
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
            &[
                ("x-amz-checksum-algorithm", "SHA1"),
                ("x-amz-checksum-crc32", "AAAAAA=="),
            ],
        ];
        for fields in rows {
            let error = claimed(fields).unwrap_err();
            assert_eq!(error.kind(), PolicyErrorKind::InvalidRequest, "{fields:?}");
        }
    }
}
