//! Ids: 12 bytes, shown as 24 lower-case hex digits, as the hosted API shows them.
//!
//! Owns: the layout (4 bytes of Unix seconds, then 8 random bytes), so that ids sort by creation second.
//! Never does: read a clock or draw randomness; both are arguments of [`Id::new`].
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

    /// Makes an id from the second of `now` and eight random bytes.
    pub fn new(now: Timestamp, random: [u8; 8]) -> Self {
        let mut bytes = [0; Self::BYTES];
        let seconds = u32::try_from(now.seconds().max(0)).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&random);
        Self(bytes)
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
