//! Digests of bytes: MD5 for the ETag, CRC64NVME for every chunk, combined without reading back.
//!
//! Owns: what an ETag is (`md5`, or `md5(md5s)-n` for several chunks, as Amazon S3 makes it) and how whole-object checksums
//! come from chunk checksums.
//! Never does: compare secrets; signatures are compared by `policy/signature.rs` in constant time.
//!
//! Sources: RFC 1321 (MD5); NVM Express NVM Command Set 1.0, "64b CRC" (CRC64NVME); Amazon S3 User Guide, "Checking object integrity".

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::combine::CRC64;

/// Lower-case hex of any bytes.
pub fn encode_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Exactly `N` bytes from `2 * N` hex digits of either case; `None` for anything else.
pub fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

macro_rules! hex_serde {
    ($name:ident, $size:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                decode_hex::<$size>(&text)
                    .map(Self::from_bytes)
                    .ok_or_else(|| serde::de::Error::custom(concat!(stringify!($name), " is hex")))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.hex())
            }
        }
    };
}

/// An MD5 digest, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5([u8; 16]);
hex_serde!(Md5, 16);

impl Md5 {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The digest of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(md5_simd::digest(data))
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 lower-case hex digits.
    pub fn hex(&self) -> String {
        encode_hex(&self.0)
    }
}

/// A CRC64NVME checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Crc64(u64);
hex_serde!(Crc64, 8);

impl Crc64 {
    /// The checksum with these big-endian bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The checksum of `data`.
    pub fn of(data: &[u8]) -> Self {
        Self(crc_fast::checksum(Crc64Nvme, data))
    }

    /// The raw bytes, big-endian.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// 16 lower-case hex digits.
    pub fn hex(&self) -> String {
        encode_hex(&self.0.to_be_bytes())
    }

    /// Base64 of the big-endian bytes, as `x-amz-checksum-crc64nvme` shows it.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0.to_be_bytes())
    }

    /// The checksum of these bytes followed by `next_len` bytes whose checksum is `next`.
    #[must_use]
    pub fn then(self, next: Self, next_len: u64) -> Self {
        Self(CRC64.combine(self.0, next.0, next_len))
    }
}

/// Computes a [`Crc64`] over bytes fed in any slicing.
pub struct Crc64Hasher(crc_fast::Digest);

impl Default for Crc64Hasher {
    fn default() -> Self {
        Self(crc_fast::Digest::new(Crc64Nvme))
    }
}

impl Crc64Hasher {
    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes fed so far.
    pub fn so_far(&self) -> Crc64 {
        Crc64(self.0.finalize())
    }
}

impl fmt::Debug for Crc64Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crc64Hasher")
    }
}

/// What one run of bytes hashed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// MD5 of the bytes.
    pub md5: Md5,
    /// CRC64NVME of the bytes.
    pub crc64: Crc64,
}

/// Computes [`Digests`] over bytes fed in any slicing.
pub struct Hasher {
    md5: md5_simd::Md5,
    crc64: crc_fast::Digest,
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            md5: md5_simd::Md5::new(),
            crc64: crc_fast::Digest::new(Crc64Nvme),
        }
    }
}

impl Hasher {
    /// Feeds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc64.update(bytes);
    }

    /// The digests of all bytes fed so far.
    pub fn finish(self) -> Digests {
        Digests {
            md5: Md5(self.md5.finalize()),
            crc64: Crc64(self.crc64.finalize()),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// An entity tag without its quotes: 32 hex digits, and `-n` when the object came in `n` chunks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

impl ETag {
    /// The tag that a client names, without its quotes; perhaps that of no object.
    pub fn named(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The tag of an object that came in one piece.
    pub fn of_whole(md5: Md5) -> Self {
        Self(md5.hex())
    }

    /// The tag of an object that came in chunks: MD5 over the concatenated raw MD5s, a hyphen, the count.
    pub fn of_chunks(md5s: impl Iterator<Item = Md5>) -> Self {
        let mut all = md5_simd::Md5::new();
        let mut count = 0_usize;
        for md5 in md5s {
            all.update(md5.as_bytes());
            count += 1;
        }
        let digest = all.finalize();
        Self(format!("{}-{count}", encode_hex(&digest)))
    }

    /// The tag without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag in double quotes, as the `ETag` header shows it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_match_published_vectors_in_any_slicing() {
        let mut hasher = Hasher::default();
        for byte in b"123456789" {
            hasher.update(&[*byte]);
        }
        let digests = hasher.finish();
        assert_eq!(digests.md5.hex(), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(digests.crc64.hex(), "ae8b14860a799888");
        assert_eq!(Crc64::of(b"123456789").base64(), "rosUhgp5mIg=");
    }

    #[test]
    fn md5_equals_another_implementation_at_every_length_and_cut() {
        use md5::Digest as _;
        let bytes: Vec<u8> = (0..1000_u32).map(|n| ((n * n) >> 3) as u8).collect();
        for length in (0..300).chain([511, 512, 513, 1000]) {
            let bytes = &bytes[..length];
            let expected: [u8; 16] = md5::Md5::digest(bytes).into();
            assert_eq!(Md5::of(bytes).as_bytes(), &expected, "{length} bytes");
            for cut in [1, 3, 55, 56, 63, 64, 65, 127, 128] {
                let mut hasher = Hasher::default();
                bytes.chunks(cut).for_each(|piece| hasher.update(piece));
                assert_eq!(
                    hasher.finish().md5.as_bytes(),
                    &expected,
                    "{length} by {cut}"
                );
            }
        }
    }

    #[test]
    fn the_checksum_of_a_whole_comes_from_its_chunks() {
        let (a, b) = (
            b"the first chunk, ".as_slice(),
            b"and the second".as_slice(),
        );
        assert_eq!(
            Crc64::of(a).then(Crc64::of(b), b.len() as u64),
            Crc64::of(&[a, b].concat())
        );
        assert_eq!(Crc64::of(a).then(Crc64::of(b""), 0), Crc64::of(a));
    }

    #[test]
    fn the_etag_of_chunks_is_md5_of_md5s() {
        let md5s = [Md5::of(b"a"), Md5::of(b"b")];
        let joined = [*md5s[0].as_bytes(), *md5s[1].as_bytes()].concat();
        assert_eq!(
            ETag::of_chunks(md5s.into_iter()).as_str(),
            format!("{}-2", Md5::of(&joined).hex())
        );
        assert_eq!(
            ETag::of_whole(Md5::of(b"")).quoted(),
            "\"d41d8cd98f00b204e9800998ecf8427e\""
        );
    }

    #[test]
    fn hex_of_the_wrong_length_or_alphabet_is_none() {
        assert_eq!(decode_hex::<2>("00Ff"), Some([0, 255]));
        for bad in ["", "00f", "00fff0", "00fg", "+0ff"] {
            assert_eq!(decode_hex::<2>(bad), None, "{bad}");
        }
    }
}
