//! Verifying the checksum that a client claims, and computing one that it asks for.
//!
//! Owns: hashing the bytes as they pass, with the one algorithm that the client named, and the comparison at the end; and the checksum of an object
//! that is there.
//!
//! Never does: hash when nobody asked; MD5 and CRC64NVME of every chunk are the store's.
//!
//! Invariant: a claimed checksum is compared or the form is refused; it is never ignored.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity".

use tokio::sync::Semaphore;

use super::error::{ApiError, ErrorCode};
use crate::model::{Checksum, ChecksumAlgorithm, ChecksumHasher};
use crate::store::{ObjectReader, StoreError};

/// Bytes read at a time where a checksum is computed beside it, which keeps other requests of the thread waiting: a millisecond at most.
pub(super) const HASHED_BLOCK_BYTES: usize = 256 << 10;

/// A checksum in the making.
pub struct Verifier<'a> {
    claimed: &'a Checksum,
    hasher: ChecksumHasher,
}

/// Checksums of objects that are there that are computed at a time: a request of 600 bytes asks for one of 5 GiB.
static COMPUTING: Semaphore = Semaphore::const_new(2);

/// A checksum of all bytes of an object, which are compared with the one that it has: nothing is said of bytes that are damaged.
pub(super) async fn computed(
    reader: &dyn ObjectReader,
    algorithm: ChecksumAlgorithm,
) -> Result<Checksum, ApiError> {
    // It is never closed.
    let _permit = COMPUTING.acquire().await;
    let meta = reader.meta();
    let mut wanted = ChecksumHasher::new(algorithm);
    let mut known = ChecksumHasher::new(ChecksumAlgorithm::Crc64Nvme);
    let mut offset = 0;
    while offset < meta.size {
        let bytes = reader.read_at(offset, HASHED_BLOCK_BYTES).await?;
        offset += bytes.len() as u64;
        wanted.update(&bytes);
        known.update(&bytes);
    }
    if known.finish().value() != meta.crc64.to_bytes() {
        let what = "an object's bytes do not match its checksum";
        return Err(StoreError::Corrupt(what.to_owned()).into());
    }
    Ok(wanted.finish())
}

/// Compares what was computed with what was claimed.
///
/// # Errors
/// `BadDigest` when the bytes hash to something else.
pub(super) fn compare(computed: &Checksum, claimed: &Checksum) -> Result<(), ApiError> {
    if computed == claimed {
        return Ok(());
    }
    let name = claimed.algorithm().as_str().to_uppercase();
    let message = format!("The {name} you specified did not match the calculated checksum.");
    Err(ApiError::new(ErrorCode::BadDigest, message))
}

impl<'a> Verifier<'a> {
    /// Begins to verify a claim.
    pub fn new(claimed: &'a Checksum) -> Self {
        let hasher = ChecksumHasher::new(claimed.algorithm());
        Self { claimed, hasher }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares.
    ///
    /// # Errors
    /// `BadDigest` when the bytes hash to something else.
    pub fn finish(self) -> Result<(), ApiError> {
        compare(&self.hasher.finish(), self.claimed)
    }
}

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("claimed", self.claimed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChecksumAlgorithm, decode_hex};

    #[test]
    fn each_algorithm_accepts_its_published_value_and_no_other() {
        let sha256 =
            decode_hex::<32>("15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225")
                .unwrap();
        let sha1 = decode_hex::<20>("f7c3bc1d808e04732adf679965ccc34ca7ae3441").unwrap();
        for (algorithm, value) in [
            (
                ChecksumAlgorithm::Crc32,
                0xcbf4_3926_u32.to_be_bytes().to_vec(),
            ),
            (
                ChecksumAlgorithm::Crc32c,
                0xe306_9283_u32.to_be_bytes().to_vec(),
            ),
            (
                ChecksumAlgorithm::Crc64Nvme,
                0xae8b_1486_0a79_9888_u64.to_be_bytes().to_vec(),
            ),
            (ChecksumAlgorithm::Sha1, sha1.to_vec()),
            (ChecksumAlgorithm::Sha256, sha256.to_vec()),
        ] {
            let claimed = Checksum::new(algorithm, value).unwrap();
            let hash = |bytes: &[u8]| {
                let mut verifier = Verifier::new(&claimed);
                verifier.update(&bytes[..4]);
                verifier.update(&bytes[4..]);
                verifier.finish()
            };
            assert!(hash(b"123456789").is_ok(), "{algorithm:?}");
            assert_eq!(
                hash(b"123456780").unwrap_err().code,
                ErrorCode::BadDigest,
                "{algorithm:?}"
            );
        }
    }
}
