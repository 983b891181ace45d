//! Checksums that a client names: which kinds there are, and how they are written.
//!
//! Owns: [`ChecksumAlgorithm`] and [`Checksum`], its value beside it. The CRC64NVME that every object has is `Crc64`.
//! Never does: hash.
//!
//! Invariant: a [`Checksum`] has exactly the length of its algorithm.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// The field of a form and the header of an answer that hold such a checksum.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The kind with this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let named = |one: &Self| one.as_str().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(named)
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// A checksum of all bytes of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Checksum {
    algorithm: ChecksumAlgorithm,
    value: Vec<u8>,
}

/// A checksum as records hold it: its kind, and base64.
type Stored = (ChecksumAlgorithm, String);

impl Checksum {
    /// The checksum with this value, big-endian for the CRCs; `None` when it is not as long as its kind.
    pub fn new(algorithm: ChecksumAlgorithm, value: Vec<u8>) -> Option<Self> {
        (value.len() == algorithm.bytes()).then_some(Self { algorithm, value })
    }

    /// Reads base64 of the value; `None` for anything else.
    pub fn parse(algorithm: ChecksumAlgorithm, text: &str) -> Option<Self> {
        Self::new(algorithm, STANDARD.decode(text).ok()?)
    }

    /// How it is computed.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// The raw value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The value as headers show it.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.value)
    }
}

impl From<Checksum> for Stored {
    fn from(checksum: Checksum) -> Self {
        (checksum.algorithm, checksum.base64())
    }
}

impl TryFrom<Stored> for Checksum {
    type Error = &'static str;

    fn try_from((algorithm, text): Stored) -> Result<Self, Self::Error> {
        Self::parse(algorithm, &text).ok_or("a checksum is base64 of its algorithm's length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_has_the_length_of_its_kind_and_reads_back_from_a_record() {
        for algorithm in ChecksumAlgorithm::ALL {
            let checksum = Checksum::new(algorithm, vec![7; algorithm.bytes()]).unwrap();
            let record = serde_json::to_string(&checksum).unwrap();
            assert_eq!(serde_json::from_str::<Checksum>(&record).unwrap(), checksum);
            assert!(algorithm.field().ends_with(algorithm.as_str()));
            assert_eq!(
                Checksum::new(algorithm, vec![7; algorithm.bytes() + 1]),
                None
            );
            assert_eq!(Checksum::new(algorithm, Vec::new()), None);
        }
        assert!(serde_json::from_str::<Checksum>(r#"["crc32","AAAA"]"#).is_err());
    }
}
