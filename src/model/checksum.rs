//! Checksums that a client names: which kinds there are, how they are written, computed and put together.
//!
//! Owns: [`ChecksumAlgorithm`], [`Checksum`], its value beside it, and [`ChecksumHasher`]. The CRC64NVME that every object has is `Crc64`.
//! Never does: compare secrets; a checksum is none.
//!
//! Invariant: a [`Checksum`] has exactly the length of its algorithm.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::combine::{CRC32, CRC32C, CRC64};

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

    /// The checksum of `bytes`.
    pub fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Self {
        let mut hasher = ChecksumHasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The checksum of these bytes followed by `next_len` bytes whose checksum is `next`; `None` when that cannot be told without
    /// the bytes: for a SHA, and for two kinds.
    pub fn then(&self, next: &Self, next_len: u64) -> Option<Self> {
        let ring = match self.algorithm {
            ChecksumAlgorithm::Crc32 => &CRC32,
            ChecksumAlgorithm::Crc32c => &CRC32C,
            ChecksumAlgorithm::Crc64Nvme => &CRC64,
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
        };
        let number = |checksum: &Self| {
            let bytes = checksum.value.iter();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let both = ring.combine(number(self), number(next), next_len);
        (self.algorithm == next.algorithm).then(|| Self::of_crc(self.algorithm, both))
    }

    /// A CRC is as long as its kind: the low bytes, big-endian.
    fn of_crc(algorithm: ChecksumAlgorithm, crc: u64) -> Self {
        let bytes = crc.to_be_bytes();
        let value = bytes[bytes.len() - algorithm.bytes().min(bytes.len())..].to_vec();
        Self { algorithm, value }
    }
}

/// Computes a [`Checksum`] over bytes fed in any slicing.
pub struct ChecksumHasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha(digest::Context),
}

impl ChecksumHasher {
    /// Begins a checksum.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |kind| State::Crc(crc_fast::Digest::new(kind));
        let state = match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => {
                State::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY))
            }
            ChecksumAlgorithm::Sha256 => State::Sha(digest::Context::new(&digest::SHA256)),
        };
        Self { algorithm, state }
    }

    /// How it is computed.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(bytes),
            State::Sha(sha) => sha.update(bytes),
        }
    }

    /// The checksum of all bytes fed.
    pub fn finish(self) -> Checksum {
        match self.state {
            State::Crc(crc) => Checksum::of_crc(self.algorithm, crc.finalize()),
            State::Sha(sha) => Checksum {
                algorithm: self.algorithm,
                value: sha.finish().as_ref().to_vec(),
            },
        }
    }
}

impl std::fmt::Debug for ChecksumHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChecksumHasher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
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

    #[test]
    fn the_checksum_of_both_is_told_from_those_of_each_for_crcs_only() {
        let (a, b) = (b"the first part, ".as_slice(), b"and the second".as_slice());
        for algorithm in ChecksumAlgorithm::ALL {
            let [first, second] = [a, b].map(|bytes| Checksum::of(algorithm, bytes));
            let both = first.then(&second, b.len() as u64);
            let is_sha = matches!(
                algorithm,
                ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256
            );
            let expected = (!is_sha).then(|| Checksum::of(algorithm, &[a, b].concat()));
            assert_eq!(both, expected, "{algorithm:?}");
        }
        let [crc32, crc32c] =
            [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c].map(|kind| Checksum::of(kind, a));
        assert_eq!(crc32.then(&crc32c, 16), None);
    }
}
