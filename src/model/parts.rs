//! Uploads in numbered parts, and what an object keeps of the parts it came in.
//!
//! Owns: how the checksum of a whole comes from those of its parts, a checksum of checksums or one of all bytes; and
//! [`ObjectParts`], by which a single part of an object is found again.
//! Never does: keep the numbers that the parts had: the parts of an object are counted from 1, in the order of its bytes.
//!
//! Invariants: at most [`ObjectParts::MAX_RUNS`] changes of size are kept, so that an object's record stays small; sizes that change more
//! often are not known.
//!
//! Source: Amazon S3 User Guide, "Checking object integrity", "Checksums of multipart uploads".

use serde::{Deserialize, Serialize};

use super::{Checksum, ChecksumAlgorithm, ChunkReceipt};

/// What the checksum of an object that came in parts is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumType {
    /// Of the checksums of its parts.
    #[serde(rename = "COMPOSITE")]
    Composite,
    /// Of all bytes.
    #[serde(rename = "FULL_OBJECT")]
    FullObject,
}

impl ChecksumType {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }

    /// Reads [`ChecksumType::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        let mut all = [Self::Composite, Self::FullObject].into_iter();
        all.find(|kind| kind.as_str() == word)
    }

    /// Whether an object can have a checksum of this algorithm that is one of this type: a SHA cannot be told from parts, and
    /// a CRC-64/NVME is always one of all bytes.
    pub const fn allows(self, algorithm: ChecksumAlgorithm) -> bool {
        match algorithm {
            ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
            ChecksumAlgorithm::Crc64Nvme => matches!(self, Self::FullObject),
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => matches!(self, Self::Composite),
        }
    }
}

/// What was said at the start of an upload in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRules {
    /// The checksum that every part and the whole are to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// The checksum of a whole, from those of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeChecksum {
    /// What it is one of.
    pub kind: ChecksumType,
    /// Its value.
    pub value: Checksum,
}

impl PartRules {
    /// The checksum of an object that consists of these parts, in this order; `None` when none was asked for, or one of a part
    /// is not known.
    pub fn whole(self, receipts: &[ChunkReceipt]) -> Option<WholeChecksum> {
        let (algorithm, kind) = self.checksum?;
        let value = match kind {
            ChecksumType::Composite => {
                let mut all = Vec::new();
                for receipt in receipts {
                    all.extend_from_slice(receipt.checksum_of(algorithm)?.value());
                }
                Checksum::of(algorithm, &all)
            }
            ChecksumType::FullObject => {
                let mut all = Checksum::of(algorithm, b"");
                for receipt in receipts {
                    all = all.then(&receipt.checksum_of(algorithm)?, receipt.length)?;
                }
                all
            }
        };
        Some(WholeChecksum { kind, value })
    }
}

/// The parts an object came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectParts {
    /// How many.
    count: u32,
    /// Their sizes in bytes: a size, and how many parts in a row have it. None when they change too often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sizes: Vec<(u64, u32)>,
    /// The checksum of their checksums, when the uploader asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    composite: Option<Checksum>,
}

impl ObjectParts {
    /// Most runs of parts of one size that are kept.
    pub const MAX_RUNS: usize = 100;
    /// The most that the parts of one object take as JSON, in bytes: 22 for each run, and the rest.
    pub const MAX_JSON_BYTES: usize = Self::MAX_RUNS * r#"[5497558138880,10000],"#.len() + 256;

    /// Parts of these sizes, in the order of the object's bytes.
    pub fn of(sizes: impl Iterator<Item = u64>, composite: Option<Checksum>) -> Self {
        let (mut count, mut runs) = (0, Vec::<(u64, u32)>::new());
        for size in sizes {
            count += 1;
            let has_room = runs.len() <= Self::MAX_RUNS;
            match runs.last_mut() {
                Some((same, times)) if *same == size => *times += 1,
                _ if has_room => runs.push((size, 1)),
                _ => {}
            }
        }
        if runs.len() > Self::MAX_RUNS {
            runs.clear();
        }
        Self {
            count,
            sizes: runs,
            composite,
        }
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// That checksum as Amazon writes it: in base64, with the number of parts.
    pub fn composite_text(&self) -> Option<(ChecksumAlgorithm, String)> {
        let composite = self.composite.as_ref()?;
        let text = format!("{}-{}", composite.base64(), self.count);
        Some((composite.algorithm(), text))
    }

    /// The checksum of their checksums, if they have one.
    pub const fn composite(&self) -> Option<&Checksum> {
        self.composite.as_ref()
    }

    /// The same parts without a checksum of their checksums.
    pub fn without_composite(self) -> Self {
        Self {
            composite: None,
            ..self
        }
    }

    /// Their sizes in bytes, in order; nothing when they are not known.
    pub fn sizes(&self) -> impl Iterator<Item = u64> {
        let runs = self.sizes.iter();
        runs.flat_map(|(size, times)| std::iter::repeat_n(*size, *times as usize))
    }

    /// Whether their sizes are known.
    pub const fn has_sizes(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// Where the part of this number lies, from 1: its offset and its length in bytes. `None` when there is none, or the sizes are not
    /// known.
    pub fn span(&self, number: u32) -> Option<(u64, u64)> {
        let mut before = number.checked_sub(1)?;
        let mut offset = 0_u64;
        for (size, times) in &self.sizes {
            let passed = before.min(*times);
            offset = offset.saturating_add(size.saturating_mul(u64::from(passed)));
            if before < *times {
                return Some((offset, *size));
            }
            before -= passed;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hasher, Place};

    const PARTS: [&[u8]; 3] = [b"the first, ", b"the second, ", b"the last"];

    fn receipts(algorithm: ChecksumAlgorithm) -> Vec<ChunkReceipt> {
        let receipt = |(index, bytes): (u32, &[u8])| {
            let mut hasher = Hasher::default();
            hasher.update(bytes);
            ChunkReceipt {
                index,
                place: Place::Main(0),
                length: bytes.len() as u64,
                digests: hasher.finish(),
                checksum: Some(Checksum::of(algorithm, bytes)),
                received_at: None,
            }
        };
        (0..).zip(PARTS).map(receipt).collect()
    }

    #[test]
    fn the_checksum_of_a_whole_is_one_of_all_bytes_or_of_the_checksums() {
        for algorithm in ChecksumAlgorithm::ALL {
            let receipts = receipts(algorithm);
            for kind in [ChecksumType::Composite, ChecksumType::FullObject] {
                let rules = PartRules {
                    checksum: Some((algorithm, kind)),
                };
                let bytes = match kind {
                    ChecksumType::FullObject => PARTS.concat(),
                    ChecksumType::Composite => {
                        let values =
                            PARTS.map(|part| Checksum::of(algorithm, part).value().to_vec());
                        values.concat()
                    }
                };
                if kind.allows(algorithm) {
                    let whole = rules.whole(&receipts).unwrap();
                    assert_eq!(
                        whole.value,
                        Checksum::of(algorithm, &bytes),
                        "{algorithm:?}"
                    );
                }
            }
        }
        assert_eq!(PartRules::default().whole(&[]), None);
    }

    #[test]
    fn a_part_without_its_checksum_leaves_the_whole_without_one() {
        let mut receipts = receipts(ChecksumAlgorithm::Sha1);
        receipts[1].checksum = None;
        let rules = PartRules {
            checksum: Some((ChecksumAlgorithm::Sha1, ChecksumType::Composite)),
        };
        assert_eq!(rules.whole(&receipts), None);
    }

    #[test]
    fn every_part_is_found_again_and_none_beside_them() {
        let sizes = [5, 5, 5, 7, 0, 5, 2];
        let parts = ObjectParts::of(sizes.into_iter(), None);
        assert_eq!(
            (parts.count(), parts.sizes().collect::<Vec<_>>()),
            (7, sizes.to_vec())
        );
        let mut offset = 0;
        for (number, size) in (1..).zip(sizes) {
            assert_eq!(parts.span(number), Some((offset, size)), "{number}");
            offset += size;
        }
        assert_eq!((parts.span(0), parts.span(8)), (None, None));
    }

    #[test]
    fn sizes_that_change_too_often_are_not_kept_and_the_largest_parts_fit_their_limit() {
        let most = ObjectParts::MAX_RUNS as u64;
        let largest = (0..most).map(|n| (5 << 40) - n);
        let composite = Some(Checksum::of(ChecksumAlgorithm::Sha256, b""));
        let mut kept = ObjectParts::of(largest, composite);
        assert_eq!(kept.span(2), Some((5 << 40, (5 << 40) - 1)));
        kept.sizes.iter_mut().for_each(|run| run.1 = 10_000);
        assert!(serde_json::to_string(&kept).unwrap().len() <= ObjectParts::MAX_JSON_BYTES);
        let too_many = ObjectParts::of(0..=most, None);
        assert_eq!((too_many.count(), too_many.has_sizes()), (101, false));
        assert_eq!(too_many.span(1), None);
    }
}
