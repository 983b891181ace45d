//! The tags of an object: pairs of key and value that its owner chose.
//!
//! Owns: the rules of Amazon's object tags: how many, how long, which characters, no key twice.
//! Never does: parse what a client sent; the XML of a form's `tagging` is read by `policy/tagging.rs`.
//!
//! Invariant: [`Tags`] that were made by [`Tags::new`] keep every rule, so at most [`Tags::MAX_JSON_BYTES`] of JSON hold them.
//!
//! Source: Amazon S3 User Guide, "Categorizing your objects using tags".

use serde::{Deserialize, Serialize};

/// The tags of an object, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(Vec<(String, String)>);

/// Which rule a set of tags breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagError {
    /// There are more than [`Tags::MAX`].
    TooMany,
    /// This key is empty, too long, or has a character that is not allowed.
    Key(String),
    /// The value of this key is too long, or has a character that is not allowed.
    Value(String, String),
    /// This key begins with `aws:`, which is kept for the system.
    Reserved(String),
    /// This key is there twice.
    Repeated(String),
}

impl Tags {
    /// Most tags of one object.
    pub const MAX: usize = 10;
    /// Longest key, in characters; the shortest has one.
    pub const MAX_KEY_CHARS: usize = 128;
    /// Longest value, in characters; it may be empty.
    pub const MAX_VALUE_CHARS: usize = 256;
    /// The most that the tags of one object take as JSON, in bytes: no allowed character has more than 4 bytes, and none is
    /// escaped.
    pub const MAX_JSON_BYTES: usize =
        2 + Self::MAX * (4 * (Self::MAX_KEY_CHARS + Self::MAX_VALUE_CHARS) + r#"["",""],"#.len());

    /// The tags with these keys and values.
    ///
    /// # Errors
    /// The first rule that is broken, in the order of the tags.
    pub fn new(tags: Vec<(String, String)>) -> Result<Self, TagError> {
        if tags.len() > Self::MAX {
            return Err(TagError::TooMany);
        }
        for (i, (key, value)) in tags.iter().enumerate() {
            if key.is_empty() || !is_text(key, Self::MAX_KEY_CHARS) {
                return Err(TagError::Key(key.clone()));
            }
            if !is_text(value, Self::MAX_VALUE_CHARS) {
                return Err(TagError::Value(key.clone(), value.clone()));
            }
            if key.starts_with("aws:") {
                return Err(TagError::Reserved(key.clone()));
            }
            if tags.iter().take(i).any(|(earlier, _)| earlier == key) {
                return Err(TagError::Repeated(key.clone()));
            }
        }
        Ok(Self(tags))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Key and value of each.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

fn is_text(text: &str, max_chars: usize) -> bool {
    text.chars().count() <= max_chars && text.chars().all(is_allowed)
}

/// Letters, digits and blanks of every script, and `+ - = . _ : / @`. A blank is no control character: no tab, no line end.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "+-=._:/@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Result<Tags, TagError> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Tags::new(pairs.iter().map(owned).collect())
    }

    #[test]
    fn a_tag_at_every_limit_is_kept_and_one_beyond_is_named() {
        let (key, value) = ("\u{20000}".repeat(128), "\u{20000}".repeat(256));
        assert!(tags(&[(&key, &value)]).is_ok());
        assert!(tags(&[("k", "")]).is_ok());
        let long_key = format!("{key}a");
        assert_eq!(tags(&[(&long_key, "")]), Err(TagError::Key(long_key)));
        let long_value = format!("{value}a");
        assert_eq!(
            tags(&[("k", &long_value)]),
            Err(TagError::Value("k".to_owned(), long_value))
        );
        assert_eq!(tags(&[("", "v")]), Err(TagError::Key(String::new())));
        let keys: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert!(tags(&pairs[..10]).is_ok());
        assert_eq!(tags(&pairs), Err(TagError::TooMany));
    }

    #[test]
    fn letters_digits_and_blanks_of_every_script_are_allowed_and_nothing_else_but_eight_marks() {
        for good in ["Straße 7", "プロジェクト", "a+b-c=d.e_f:g/h@i", "\u{a0}٣"] {
            assert!(tags(&[(good, good)]).is_ok(), "{good}");
        }
        for bad in [
            "a,b", "a\tb", "a\nb", "a\0", "<a>", "a&b", "a%b", "{}", "k😀", "\u{85}",
        ] {
            assert_eq!(tags(&[(bad, "")]), Err(TagError::Key(bad.to_owned())));
            let error = TagError::Value("k".to_owned(), bad.to_owned());
            assert_eq!(tags(&[("k", bad)]), Err(error));
        }
    }

    #[test]
    fn no_key_comes_twice_and_none_is_the_systems() {
        let error = TagError::Repeated("a".to_owned());
        assert_eq!(tags(&[("a", "1"), ("b", "1"), ("a", "2")]), Err(error));
        assert!(tags(&[("a", "1"), ("A", "1")]).is_ok());
        let error = TagError::Reserved("aws:a".to_owned());
        assert_eq!(tags(&[("aws:a", "1")]), Err(error));
    }

    #[test]
    fn the_largest_tags_fit_their_bound_as_json() {
        let key = |n: usize| format!("{}{}", n, "\u{20000}".repeat(127));
        let pairs = (0..10).map(|n| (key(n), "\u{20000}".repeat(256)));
        let largest = Tags::new(pairs.collect()).unwrap();
        let json = serde_json::to_vec(&largest).unwrap();
        assert!(json.len() <= Tags::MAX_JSON_BYTES && json.len() + 40 > Tags::MAX_JSON_BYTES);
        assert_eq!(serde_json::from_slice::<Tags>(&json).unwrap(), largest);
    }
}
