//! The cross-origin rules of a bucket.
//!
//! Owns: what one rule allows, and which of several answers a request: the first that allows its origin, its method and every header
//! it asks for.
//! Never does: know HTTP's headers; the `api` floor reads and writes them.
//! Invariants: a pattern has at most one `*`; origins are compared with case, header names without. A rule that exists was checked.
//!
//! Source: Amazon S3 User Guide, "Elements of a CORS configuration" and "How does Amazon S3 evaluate the CORS configuration on a
//! bucket?".

use serde::{Deserialize, Serialize};

/// What pages of some origins may do with a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    /// Its name, at most [`CorsRule::MAX_ID_CHARS`] characters; empty when it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Patterns of origins; `*` is any.
    pub origins: Vec<String>,
    /// Methods, in upper case, of [`CorsRule::METHODS`].
    pub methods: Vec<String>,
    /// Patterns of headers that a request may carry.
    pub headers: Vec<String>,
    /// Headers of the answer that a page may read.
    pub expose: Vec<String>,
    /// How long a browser may remember a preflight, in seconds.
    pub max_age: Option<u32>,
}

impl CorsRule {
    /// Most rules of one bucket.
    pub const MAX_RULES: usize = 100;
    /// Methods that a rule may name.
    pub const METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];
    /// Longest name, in characters.
    pub const MAX_ID_CHARS: usize = 255;
    /// Longest pattern or header name, in bytes.
    pub const MAX_PATTERN_BYTES: usize = 255;

    /// The first of `rules` that allows all of it. `headers` are the names that a preflight asks for.
    pub fn first_that_allows<'r>(
        rules: &'r [Self],
        origin: &str,
        method: &str,
        headers: &[&str],
    ) -> Option<&'r Self> {
        rules
            .iter()
            .find(|rule| rule.allows(origin, method, headers))
    }

    /// Whether any origin at all may come, so that the answer need not name one.
    pub fn allows_any_origin(&self) -> bool {
        self.origins.iter().any(|pattern| pattern == "*")
    }

    /// Whether a pattern is one: not empty, not too long, visible ASCII, at most one `*`.
    pub fn is_pattern(pattern: &str) -> bool {
        (1..=Self::MAX_PATTERN_BYTES).contains(&pattern.len())
            && pattern.bytes().all(|byte| byte.is_ascii_graphic())
            && pattern.matches('*').count() <= 1
    }

    fn allows(&self, origin: &str, method: &str, headers: &[&str]) -> bool {
        let allowed = |header: &&str| {
            let fits = |pattern: &String| matches_in_any_case(pattern, header);
            self.headers.iter().any(fits)
        };
        self.origins.iter().any(|pattern| matches(pattern, origin))
            && self.methods.iter().any(|allowed| allowed == method)
            && headers.iter().all(allowed)
    }
}

/// As [`matches`], for names of headers, whose case says nothing.
fn matches_in_any_case(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    match pattern.iter().position(|byte| *byte == b'*') {
        None => pattern.eq_ignore_ascii_case(text),
        Some(star) => {
            let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
            let is = |found: Option<&[u8]>, wanted: &[u8]| {
                found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
            };
            text.len() >= head.len() + tail.len()
                && is(text.get(..head.len()), head)
                && is(text.get(text.len() - tail.len()..), tail)
        }
    }
}

/// Whether `text` is `pattern`, whose `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], methods: &[&str], headers: &[&str]) -> CorsRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CorsRule {
            id: String::new(),
            origins: owned(origins),
            methods: owned(methods),
            headers: owned(headers),
            expose: Vec::new(),
            max_age: None,
        }
    }

    #[test]
    fn one_star_stands_for_any_text_and_nothing_overlaps() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("aba*aba", "aba", false),
            ("https://a", "https://a.evil", false),
            ("https://A", "https://a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_allows_origin_method_and_every_header_answers() {
        let rules = [
            rule(&["https://a"], &["GET"], &[]),
            rule(
                &["https://a"],
                &["POST", "PUT"],
                &["X-Requested-With", "x-amz-*"],
            ),
            rule(&["*"], &["POST"], &[]),
        ];
        let found = |origin, method, headers: &[&str]| {
            let found = CorsRule::first_that_allows(&rules, origin, method, headers);
            found.and_then(|found| rules.iter().position(|rule| rule == found))
        };
        assert_eq!(found("https://a", "GET", &[]), Some(0));
        assert_eq!(
            found("https://a", "POST", &["x-requested-with", "X-Amz-Date"]),
            Some(1)
        );
        assert_eq!(found("https://b", "POST", &[]), Some(2));
        assert_eq!(found("https://b", "POST", &["x-requested-with"]), None);
        assert_eq!(found("https://b", "PUT", &[]), None);
        assert_eq!(found("null", "POST", &[]), Some(2));
    }

    #[test]
    fn a_pattern_is_visible_ascii_with_at_most_one_star() {
        assert!(CorsRule::is_pattern("https://*.example.com:8080"));
        for pattern in ["", "*.*", "a b", "\u{fc}", "a\r\nb"] {
            assert!(!CorsRule::is_pattern(pattern), "{pattern:?}");
        }
        assert!(!CorsRule::is_pattern(&"a".repeat(256)));
    }
}
