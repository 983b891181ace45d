//! The CRC64NVME of two runs of bytes from the checksums of each.
//!
//! Owns: [`combine`], by multiplication of polynomials over GF(2): moving a checksum past `n` bytes multiplies it by `x^(8n)`.
//! Never does: look at bytes. Our own, because the library's takes 0.1 ms each time, which for a session of 10,000 chunks is a
//! second; this one takes a microsecond. The tests hold it against the library's.
//!
//! Invariants: bit 63 of a polynomial is the coefficient of `x^0`, as the reflected checksum has it.
//! Source: NVM Express NVM Command Set 1.0, "64b CRC" (the polynomial); zlib, `crc32_combine` (the method).

/// The generator polynomial, reflected, without its highest term.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
/// `x^0`.
const ONE: u64 = 1 << 63;
/// `x^(2^n)` at place `n`: enough for the bits of any number of bytes.
const POWERS: [u64; 67] = powers();

/// The checksum of bytes whose checksum is `first`, followed by `next_len` bytes whose checksum is `next`.
pub(super) fn combine(first: u64, next: u64, next_len: u64) -> u64 {
    let mut moved = first;
    for (bit, power) in POWERS.iter().skip(3).enumerate() {
        if next_len >> bit & 1 == 1 {
            moved = multiply(*power, moved);
        }
    }
    moved ^ next
}

const fn powers() -> [u64; 67] {
    let mut powers = [ONE >> 1; 67];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = multiply(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// The product of two polynomials, modulo the generator.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        bit >>= 1;
        let reduce = if b & 1 == 1 { POLYNOMIAL } else { 0 };
        b = b >> 1 ^ reduce;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc_fast::CrcAlgorithm::Crc64Nvme;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_gives_what_the_library_gives(first: u64, next: u64, len: u64) {
            for len in [len, len >> 24, len >> 48, len & 15] {
                let theirs = crc_fast::checksum_combine(Crc64Nvme, first, next, len);
                prop_assert_eq!(combine(first, next, len), theirs, "{} bytes", len);
            }
        }

        #[test]
        fn it_gives_the_checksum_of_both(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let of = |bytes: &[u8]| crc_fast::checksum(Crc64Nvme, bytes);
            prop_assert_eq!(combine(of(a), of(b), b.len() as u64), of(&bytes));
        }
    }
}
