//! Ids: 12 bytes, shown as 24 lower-case hex digits, as the hosted API shows them.
//!
//! Owns: the layout, so that ids sort by the millisecond in which they were made: 4 bytes of Unix seconds, 10 bits of the milliseconds of
//! that second, 54 random bits. In ids of older programs all bits behind the seconds are random, so nothing reads the milliseconds back.
//! Never does: read a clock or draw randomness; both are arguments of [`Id::in_order`].
//! Invariant: `Id::parse(&id.to_string()) == Some(id)`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;
use super::digest::{decode_hex, encode_hex};

/// The id of an upload, a file, a pipeline, an application or a token record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 12]);

impl Id {
    /// Length of the raw id in bytes.
    pub const BYTES: usize = 12;
    /// How many bits hold a number below 1000.
    const MILLI_BITS: u32 = 10;

    /// Makes an id from the second of `now` and these eight bytes.
    pub fn new(now: Timestamp, random: [u8; 8]) -> Self {
        let mut bytes = [0; Self::BYTES];
        let seconds = u32::try_from(now.seconds().max(0)).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
    }

    /// Makes an id from the millisecond of `now` and 54 of these random bits.
    pub fn in_order(now: Timestamp, random: [u8; 8]) -> Self {
        let millis = now.millis().rem_euclid(1000).unsigned_abs();
        let random = u64::from_be_bytes(random) >> Self::MILLI_BITS;
        let behind = millis << (u64::BITS - Self::MILLI_BITS) | random;
        Self::new(now, behind.to_be_bytes())
    }

    /// Parses exactly 24 hex digits; upper-case digits are accepted and shown lower-case.
    pub fn parse(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }

    /// The id with these raw bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The raw bytes, which sort like the ids.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The second in which the id was made, since 1970.
    pub const fn second(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// The two hex digits that name this id's folder; taken from the random part so that folders fill evenly.
    pub fn fan_out(&self) -> u8 {
        self.0[Self::BYTES - 1]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({self})")
    }
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or("an id is 24 hex digits")
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("an id is 24 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = Id::new(
            Timestamp::from_seconds(0x53a1_ac49),
            [0x14, 0xea, 0xa8, 0xff, 0xa4, 0xfc, 0xe9, 0x1b],
        );
        assert_eq!(id.to_string(), "53a1ac4914eaa8ffa4fce91b");
        assert_eq!(Id::parse("53A1ac4914eaa8ffa4fce91b"), Some(id));
    }

    #[test]
    fn ids_sort_by_the_millisecond_in_which_they_were_made() {
        let made = |millis, random| Id::in_order(Timestamp::from_millis(millis), [random; 8]);
        for (earlier, later) in [(0, 1), (0, 999), (511, 512), (999, 1000), (1999, 2000)] {
            assert!(made(earlier, 0xff) < made(later, 0), "{earlier} {later}");
        }
        let (one, other) = (made(1_999, 0), made(1_999, 0xff));
        assert_eq!(one.to_string(), "00000001f9c0000000000000");
        assert_eq!(other.to_string(), "00000001f9ffffffffffffff");
        assert_eq!((one.second(), other.second()), (1, 1));
    }

    #[test]
    fn anything_but_24_hex_digits_is_refused() {
        for bad in [
            "",
            "53a1ac4914eaa8ffa4fce91",
            "53a1ac4914eaa8ffa4fce91bb",
            "53a1ac4914eaa8ffa4fce91g",
            "+3a1ac4914eaa8ffa4fce91b",
        ] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
    }
}
