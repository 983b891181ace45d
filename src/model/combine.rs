//! The CRC of two runs of bytes from the checksums of each.
//!
//! Owns: [`Ring::combine`], by multiplication of polynomials over GF(2): moving a checksum past `n` bytes multiplies it by `x^(8n)`.
//! Never does: look at bytes. Our own, because the library's takes 0.1 ms each time, which for a session of 10,000 chunks is a
//! second; this one takes a microsecond. The tests hold it against the library's.
//!
//! Invariants: the highest bit of a polynomial is the coefficient of `x^0`, as the reflected checksum has it.
//! Sources: NVM Express NVM Command Set 1.0, "64b CRC", and RFC 3720, section 12.1 (the polynomials); zlib, `crc32_combine` (the
//! method).

/// CRC-64/NVME.
pub(super) static CRC64: Ring = Ring::new(1 << 63, 0x9a6c_9329_ac4b_c9b5);
/// CRC-32 (ISO-HDLC).
pub(super) static CRC32: Ring = Ring::new(1 << 31, 0xedb8_8320);
/// CRC-32C (Castagnoli).
pub(super) static CRC32C: Ring = Ring::new(1 << 31, 0x82f6_3b78);

/// The polynomials that one kind of CRC calculates with.
pub(super) struct Ring {
    /// `x^0`.
    one: u64,
    /// The generator polynomial, reflected, without its highest term.
    generator: u64,
    /// `x^(2^n)` at place `n`: enough for the bits of any number of bytes.
    powers: [u64; 67],
}

impl Ring {
    const fn new(one: u64, generator: u64) -> Self {
        let mut ring = Self {
            one,
            generator,
            powers: [one >> 1; 67],
        };
        let mut n = 1;
        while n < ring.powers.len() {
            ring.powers[n] = ring.multiply(ring.powers[n - 1], ring.powers[n - 1]);
            n += 1;
        }
        ring
    }

    /// The checksum of bytes whose checksum is `first`, followed by `next_len` bytes whose checksum is `next`.
    pub(super) fn combine(&self, first: u64, next: u64, next_len: u64) -> u64 {
        let mut moved = first;
        for (bit, power) in self.powers.iter().skip(3).enumerate() {
            if next_len >> bit & 1 == 1 {
                moved = self.multiply(*power, moved);
            }
        }
        moved ^ next
    }

    /// The product of two polynomials, modulo the generator.
    const fn multiply(&self, a: u64, mut b: u64) -> u64 {
        let mut product = 0;
        let mut bit = self.one;
        while bit != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            bit >>= 1;
            let reduce = if b & 1 == 1 { self.generator } else { 0 };
            b = b >> 1 ^ reduce;
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_gives_what_the_library_gives(first: u64, next: u64, len: u64) {
            for len in [len, len >> 24, len >> 48, len & 15] {
                let theirs = crc_fast::checksum_combine(Crc64Nvme, first, next, len);
                prop_assert_eq!(CRC64.combine(first, next, len), theirs, "{} bytes", len);
            }
        }

        #[test]
        fn it_gives_the_checksum_of_both(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            for (ring, algorithm) in [(&CRC64, Crc64Nvme), (&CRC32, Crc32IsoHdlc), (&CRC32C, Crc32Iscsi)] {
                let of = |bytes: &[u8]| crc_fast::checksum(algorithm, bytes);
                prop_assert_eq!(ring.combine(of(a), of(b), b.len() as u64), of(&bytes), "{:?}", algorithm);
            }
        }
    }
}
