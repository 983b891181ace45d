//! The client's names: buckets and object keys.
//!
//! Owns: Amazon's rules for both. Parsed once, valid for ever.
//! Never does: become a path. Files on disk carry our own ids, so no key needs escaping and none can climb out.
//!
//! Sources: "Bucket naming rules" and "Naming Amazon S3 objects" of the Amazon S3 User Guide.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most characters of a name that an error repeats.
const MAX_QUOTED_CHARS: usize = 80;

/// A name as an error repeats it: in quotes, with what is no visible character escaped, and cut where it is long.
pub fn quoted(name: &str) -> String {
    match name.char_indices().nth(MAX_QUOTED_CHARS) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}...", name.get(..end).unwrap_or_default()),
    }
}

/// Why a name was refused; the text names the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name has no characters.
    Empty,
    /// The name is longer than its limit in bytes.
    TooLong {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The bucket name breaks Amazon's naming rules.
    BucketRules,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong { max_bytes } => write!(f, "must be at most {max_bytes} bytes of UTF-8"),
            Self::BucketRules => {
                f.write_str("must be 3 to 63 lower-case letters, digits, dots and hyphens, begin and end with a letter or digit, have no two dots in a row and be no IP address")
            }
        }
    }
}

impl std::error::Error for NameError {}

/// A bucket name that follows Amazon's rules: 3 to 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bucket(String);

impl Bucket {
    /// Longest bucket name, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// Checks a bucket name.
    ///
    /// # Errors
    /// [`NameError::BucketRules`] when Amazon would refuse it.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let bytes = name.as_bytes();
        let inner = bytes
            .iter()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'-'));
        let fits = (3..=Self::MAX_BYTES).contains(&bytes.len());
        let looks_like_ip = name.parse::<std::net::Ipv4Addr>().is_ok();
        if fits
            && inner
            && edge(bytes.first().copied())
            && edge(bytes.last().copied())
            && !name.contains("..")
            && !looks_like_ip
        {
            return Ok(Self(name.to_owned()));
        }
        Err(NameError::BucketRules)
    }

    /// Whether Amazon keeps the name for what is no bucket of this kind. One that is there already is still a bucket.
    pub fn is_reserved(&self) -> bool {
        let begins = ["xn--", "sthree-", "amzn-s3-demo-"];
        let ends = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
        begins.iter().any(|begin| self.0.starts_with(begin))
            || ends.iter().any(|end| self.0.ends_with(end))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Bucket {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Bucket> for String {
    fn from(bucket: Bucket) -> Self {
        bucket.0
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object key: 1 to 1,024 bytes of UTF-8, otherwise free.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Longest key, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1024;

    /// Checks a key.
    ///
    /// # Errors
    /// [`NameError::Empty`] or [`NameError::TooLong`].
    pub fn parse(key: &str) -> Result<Self, NameError> {
        match key.len() {
            0 => Err(NameError::Empty),
            1..=Self::MAX_BYTES => Ok(Self(key.to_owned())),
            _ => Err(NameError::TooLong {
                max_bytes: Self::MAX_BYTES,
            }),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last `/`; the whole key when there is none.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = NameError;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        Self::parse(&key)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_an_error_is_escaped_and_short() {
        assert_eq!(quoted("Films"), "\"Films\"");
        assert_eq!(quoted("a\u{1b}[31m\n"), "\"a\\u{1b}[31m\\n\"");
        let long = quoted(&"\u{e4}".repeat(100_000));
        assert_eq!(long, format!("\"{}\"...", "\u{e4}".repeat(80)));
    }

    #[test]
    fn buckets_follow_amazons_rules() {
        for good in ["uploads", "a-b.c1", "abc", "prd-xmc-xvid-s3-eu-west-1"] {
            assert!(Bucket::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Uploads",
            "-abc",
            "abc-",
            "a..b",
            "192.168.1.1",
            "a_b",
            "..",
            "a/b",
            "ü-bucket",
        ] {
            assert_eq!(Bucket::parse(bad), Err(NameError::BucketRules), "{bad}");
        }
        for (name, is_reserved) in [
            ("xn--a", true),
            ("sthree-a", true),
            ("amzn-s3-demo-a", true),
            ("a-s3alias", true),
            ("a--ol-s3", true),
            ("a.mrap", true),
            ("a--x-s3", true),
            ("a-xn--a", false),
            ("s3alias-a", false),
        ] {
            let bucket = Bucket::parse(name).unwrap();
            assert_eq!(bucket.is_reserved(), is_reserved, "{name}");
        }
        assert!(Bucket::parse(&"a".repeat(63)).is_ok());
        assert!(Bucket::parse(&"a".repeat(64)).is_err());
    }

    #[test]
    fn keys_are_1_to_1024_bytes() {
        assert_eq!(ObjectKey::parse(""), Err(NameError::Empty));
        assert!(ObjectKey::parse(&"ü".repeat(512)).is_ok());
        assert_eq!(
            ObjectKey::parse(&"ü".repeat(513)),
            Err(NameError::TooLong { max_bytes: 1024 })
        );
        assert_eq!(ObjectKey::parse("a/b/c.mp4").unwrap().file_name(), "c.mp4");
    }
}
