//! What an access key may do, and where: its scopes.
//!
//! Owns: [`KeyLimits`], their maxima, the one judgement whether a wish stays within them, and the sentence that says why not.
//! Never does: look at a request or a form; who judges one says what it comes to, as an [`Action`] on a [`Target`].
//!
//! Invariants: no limits is everything, which is what keys had before there were any. Limits only take away: a wish needs the action, the
//! bucket and the beginning of the key at once. A prefix is compared byte for byte and is not a folder: `in` allows `input`. What cannot be
//! read as limits, or holds a limit that is not known here, is no key at all, and never one without limits.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Bucket, ObjectKey};

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Everything.
    #[default]
    ReadWrite,
    /// Read and list, and change nothing.
    Read,
    /// Store, change and remove, and see nothing.
    Write,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 3] = [Self::ReadWrite, Self::Read, Self::Write];

    /// The name on the wire and in the catalog.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read_write",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The permission with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// What somebody wants to do. To list is to read; to remove is to write, for whoever may replace an object's bytes can destroy it anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Learn something.
    Read,
    /// Change something.
    Write,
}

/// What somebody wants to do it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// No bucket in particular; what is done or shown then is judged one by one.
    Any,
    /// Something in this bucket that is no key: that the bucket is there, and where; or keys that are judged one by one.
    In(&'a str),
    /// This bucket as a whole: it is made or removed, its settings are read or changed.
    Whole(&'a str),
    /// All keys of this bucket that begin so.
    List(&'a str, &'a str),
    /// The object in this bucket under this key.
    Object(&'a str, &'a str),
}

/// What a key may do, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct KeyLimits {
    permission: Permission,
    /// Empty is every bucket.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    buckets: Vec<Bucket>,
    /// Empty is every key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prefixes: Vec<String>,
}

/// Limits as they are stored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default)]
    permission: Permission,
    #[serde(default)]
    buckets: Vec<Bucket>,
    #[serde(default)]
    prefixes: Vec<String>,
}

impl TryFrom<Unchecked> for KeyLimits {
    type Error = LimitsError;

    fn try_from(stored: Unchecked) -> Result<Self, LimitsError> {
        Self::new(stored.permission, stored.buckets, stored.prefixes)
    }
}

/// Why limits were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsError {
    /// `buckets` or `prefixes`.
    pub field: &'static str,
    /// How it must be.
    pub rule: String,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.rule)
    }
}

impl std::error::Error for LimitsError {}

/// Why a key may not do what is wanted, in one sentence for whoever holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeyondLimits(String);

impl fmt::Display for BeyondLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BeyondLimits {}

impl KeyLimits {
    /// Most buckets of one key.
    pub const MAX_BUCKETS: usize = 16;
    /// Most prefixes of one key.
    pub const MAX_PREFIXES: usize = 16;
    /// Most bytes of all prefixes of a key together, so that its record fits into a value of the index.
    pub const MAX_PREFIX_BYTES: usize = ObjectKey::MAX_BYTES;
    /// Most names that a sentence lists.
    const MAX_TOLD: usize = 4;

    /// Limits to these buckets and to keys with one of these prefixes; none of a kind is no limit of that kind.
    ///
    /// # Errors
    /// [`LimitsError`] past the maxima, and for a prefix that is empty or holds a control character (which would be written to terminals).
    pub fn new(
        permission: Permission,
        buckets: Vec<Bucket>,
        prefixes: Vec<String>,
    ) -> Result<Self, LimitsError> {
        let refused = |field, rule| Err(LimitsError { field, rule });
        let most = |max: usize| format!("must be at most {max}.");
        if buckets.len() > Self::MAX_BUCKETS {
            return refused("buckets", most(Self::MAX_BUCKETS));
        }
        if prefixes.len() > Self::MAX_PREFIXES {
            return refused("prefixes", most(Self::MAX_PREFIXES));
        }
        if prefixes.iter().map(String::len).sum::<usize>() > Self::MAX_PREFIX_BYTES {
            let max = Self::MAX_PREFIX_BYTES;
            let rule = format!("must be at most {max} bytes of UTF-8 together.");
            return refused("prefixes", rule);
        }
        let is_bad = |prefix: &String| prefix.is_empty() || prefix.contains(char::is_control);
        if prefixes.iter().any(is_bad) {
            let rule = "must not be empty or hold control characters.".to_owned();
            return refused("prefixes", rule);
        }
        Ok(Self {
            permission,
            buckets,
            prefixes,
        })
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What may be done.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    /// The buckets in which; empty is all.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The beginnings of the keys to which; empty is all.
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// Judges a wish.
    ///
    /// # Errors
    /// [`BeyondLimits`], which says what the key may do instead.
    pub fn check(&self, action: Action, target: Target<'_>) -> Result<(), BeyondLimits> {
        let may = match self.permission {
            Permission::ReadWrite => true,
            Permission::Read => action == Action::Read,
            Permission::Write => action == Action::Write,
        };
        if !may {
            let verb = self.verb();
            return Err(BeyondLimits(format!("The access key may only {verb}.")));
        }
        let reaches = match target {
            Target::Any => true,
            Target::In(bucket) => self.has_bucket(bucket),
            Target::Whole(bucket) => self.has_bucket(bucket) && self.prefixes.is_empty(),
            Target::List(bucket, key) | Target::Object(bucket, key) => {
                self.has_bucket(bucket) && self.has_key(key)
            }
        };
        match reaches {
            true => Ok(()),
            false => Err(BeyondLimits(self.place(target))),
        }
    }

    fn has_bucket(&self, name: &str) -> bool {
        self.buckets.is_empty() || self.buckets.iter().any(|bucket| bucket.as_str() == name)
    }

    fn has_key(&self, key: &str) -> bool {
        let begins = |prefix: &String| key.starts_with(prefix.as_str());
        self.prefixes.is_empty() || self.prefixes.iter().any(begins)
    }

    const fn verb(&self) -> &'static str {
        match self.permission {
            Permission::ReadWrite => "read and write",
            Permission::Read => "read",
            Permission::Write => "write",
        }
    }

    /// Where the key may act, and for what concerns more than a prefix, why that is not enough.
    fn place(&self, target: Target<'_>) -> String {
        let mut sentence = format!("The access key may {} only", self.verb());
        if !self.buckets.is_empty() {
            let buckets = self.buckets.iter().map(Bucket::as_str);
            sentence.push_str(&format!(" in {}", listed("bucket", "buckets", buckets)));
        }
        if !self.prefixes.is_empty() {
            let prefixes = self.prefixes.iter().map(String::as_str);
            let prefixes = listed("prefix", "prefixes", prefixes);
            sentence.push_str(&format!(" below {prefixes}"));
        }
        sentence.push_str(match target {
            Target::Whole(bucket) if self.has_bucket(bucket) => {
                ", and this is about the whole bucket."
            }
            Target::List(bucket, _) if self.has_bucket(bucket) => {
                "; a list must ask for a prefix that begins so."
            }
            _ => ".",
        });
        sentence
    }
}

/// `bucket 'a'`, or `buckets 'a', 'b'` with the number of those that are not told.
fn listed<'a>(one: &str, many: &str, names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = names.len();
    let told: Vec<_> = names
        .take(KeyLimits::MAX_TOLD)
        .map(|name| format!("'{name}'"))
        .collect();
    let noun = if count == 1 { one } else { many };
    let rest = match count - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{noun} {}{rest}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(permission: Permission, buckets: &[&str], prefixes: &[&str]) -> KeyLimits {
        let buckets = buckets.iter().map(|name| Bucket::parse(name).unwrap());
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned());
        KeyLimits::new(permission, buckets.collect(), prefixes.collect()).unwrap()
    }

    fn sentence(limits: &KeyLimits, action: Action, target: Target<'_>) -> String {
        let judged = limits.check(action, target);
        judged.map_or_else(|beyond| beyond.to_string(), |()| String::new())
    }

    #[test]
    fn a_wish_needs_the_action_the_bucket_and_the_prefix_at_once() {
        let key = limits(Permission::Read, &["films"], &["in/", "out"]);
        let may = |action, target| key.check(action, target).is_ok();
        for (target, expected) in [
            (Target::Any, true),
            (Target::In("films"), true),
            (Target::In("film"), false),
            (Target::Whole("films"), false),
            (Target::Object("films", "in/a"), true),
            (Target::Object("films", "output"), true),
            (Target::Object("films", "in"), false),
            (Target::Object("films", "a/in/"), false),
            (Target::Object("music", "in/a"), false),
            (Target::List("films", "in/"), true),
            (Target::List("films", "in/a"), true),
            (Target::List("films", "i"), false),
            (Target::List("films", ""), false),
        ] {
            assert_eq!(may(Action::Read, target), expected, "{target:?}");
            assert!(!may(Action::Write, target), "{target:?}");
        }
        let all = KeyLimits::default();
        assert!(all.is_none() && !key.is_none());
        for target in [Target::Any, Target::Whole("x"), Target::List("films", "")] {
            assert!(all.check(Action::Read, target).is_ok());
            assert!(all.check(Action::Write, target).is_ok());
        }
    }

    #[test]
    fn a_refusal_says_what_the_key_may_do_instead() {
        let object = Target::Object("music", "a");
        let read = limits(Permission::Read, &[], &[]);
        assert_eq!(
            sentence(&read, Action::Write, object),
            "The access key may only read."
        );
        let write = limits(Permission::Write, &["films"], &["in/"]);
        assert_eq!(
            sentence(&write, Action::Read, object),
            "The access key may only write."
        );
        assert_eq!(
            sentence(&write, Action::Write, object),
            "The access key may write only in bucket 'films' below prefix 'in/'."
        );
        assert_eq!(
            sentence(&write, Action::Write, Target::Whole("films")),
            "The access key may write only in bucket 'films' below prefix 'in/', and this is about the whole bucket."
        );
        let below = limits(Permission::ReadWrite, &[], &["a", "b", "c", "d", "e", "f"]);
        assert_eq!(
            sentence(&below, Action::Read, Target::List("films", "")),
            "The access key may read and write only below prefixes 'a', 'b', 'c', 'd' and 2 more; a list must ask for a prefix that begins so."
        );
    }

    #[test]
    fn limits_have_limits_and_come_back_as_they_were_stored() {
        let many = |count: usize| vec![Bucket::parse("abc").unwrap(); count];
        let texts = |count: usize, bytes: usize| vec!["\"".repeat(bytes); count];
        let new = |buckets, prefixes| KeyLimits::new(Permission::Write, buckets, prefixes);
        let widest = Bucket::parse(&"b".repeat(Bucket::MAX_BYTES)).unwrap();
        let largest = new(vec![widest; KeyLimits::MAX_BUCKETS], texts(16, 64)).unwrap();
        let stored = serde_json::to_string(&largest).unwrap();
        // What a record has besides: 700 bytes at most.
        assert!(stored.len() < 3400, "{}", stored.len());
        assert_eq!(serde_json::from_str::<KeyLimits>(&stored).unwrap(), largest);
        for (refused, field) in [
            (new(many(17), vec![]), "buckets"),
            (new(vec![], texts(17, 1)), "prefixes"),
            (new(vec![], texts(1, 1025)), "prefixes"),
            (new(vec![], texts(1, 0)), "prefixes"),
            (new(vec![], vec!["a\u{1b}[2J".to_owned()]), "prefixes"),
        ] {
            assert_eq!(refused.unwrap_err().field, field);
        }
    }

    #[test]
    fn what_cannot_be_read_as_limits_is_not_taken_for_none() {
        let read = |json: &str| serde_json::from_str::<KeyLimits>(json);
        assert!(read("{}").unwrap().is_none());
        for json in [
            r#"{"permission":"all"}"#,
            r#"{"bucket":["films"]}"#,
            r#"{"buckets":"films"}"#,
            r#"{"prefixes":[""]}"#,
            "null",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
