//! The `Range` header: which part of an object a client wants.
//!
//! Owns: reading one range of bytes: `first-last`, `first-` or `-suffix`. Whatever RFC 9110 lets a server ignore (other
//! units, several ranges, wrong syntax, several `Range` lines) is answered with the whole object; a client that wants
//! several parts asks several times, and one request can never cost more than one object.
//!
//! Never does: look at conditions; `conditional.rs` decides whether a range is looked at.
//!
//! Invariant: a [`Span`] lies within the object and is not empty. Source: RFC 9110, section 14.

use http::HeaderMap;
use http::header::RANGE;

/// A part of an object: never empty, never past its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte.
    pub last: u64,
}

impl Span {
    /// How many bytes it has; at least 1.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The whole object: 200.
    Whole,
    /// A part: 206.
    Part(Span),
    /// A part that the object does not have: 416.
    Unsatisfiable,
}

/// What the `Range` header of a request wants from an object of `size` bytes.
pub fn wanted(headers: &HeaderMap, size: u64) -> Wanted {
    let mut lines = headers.get_all(RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line
            .to_str()
            .ok()
            .and_then(|line| one_range(line, size))
            .unwrap_or(Wanted::Whole),
        _ => Wanted::Whole,
    }
}

/// `None` for whatever is to be ignored.
fn one_range(line: &str, size: u64) -> Option<Wanted> {
    let (unit, set) = line.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let is_blank = |c: char| matches!(c, ' ' | '\t');
    let mut specs = set.split(',').map(|spec| spec.trim_matches(is_blank));
    let mut specs = specs.by_ref().filter(|spec| !spec.is_empty());
    let (spec, None) = (specs.next()?, specs.next()) else {
        return None;
    };
    let (first, last) = spec.split_once('-')?;
    match (first, last) {
        ("", suffix) => Some(from_suffix(number(suffix)?, size)),
        (first, "") => Some(from_first(number(first)?, u64::MAX, size)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| from_first(first, last, size))
        }
    }
}

/// Digits only; what does not fit is larger than any object, so it saturates.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn from_first(first: u64, last: u64, size: u64) -> Wanted {
    if first >= size {
        return Wanted::Unsatisfiable;
    }
    Wanted::Part(Span {
        first,
        last: last.min(size - 1),
    })
}

fn from_suffix(suffix: u64, size: u64) -> Wanted {
    match (suffix, size) {
        (0, _) => Wanted::Unsatisfiable,
        // All of an empty object is what is wanted, and `Content-Range` has no form for no bytes.
        (_, 0) => Wanted::Whole,
        _ => Wanted::Part(Span {
            first: size - suffix.min(size),
            last: size - 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn of(line: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(line).unwrap());
        wanted(&headers, size)
    }

    #[test]
    fn two_range_lines_are_ignored_and_so_is_one_that_is_not_ascii() {
        let mut headers = HeaderMap::new();
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        assert_eq!(
            wanted(&headers, 9),
            Wanted::Part(Span { first: 0, last: 1 })
        );
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(wanted(&headers, 9), Wanted::Whole);
        headers.insert(RANGE, HeaderValue::from_bytes(b"bytes=0-1\xff").unwrap());
        assert_eq!(wanted(&headers, 9), Wanted::Whole);
        assert_eq!(wanted(&HeaderMap::new(), 9), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn a_span_never_leaves_the_object(line in "bytes=[0-9, -]{0,40}|[ -~]{0,30}", size in any::<u64>()) {
            if let Wanted::Part(span) = of(&line, size) {
                prop_assert!(span.first <= span.last && span.last < size);
            }
        }

        #[test]
        fn what_is_asked_for_is_what_is_given(a in 0_u64..2_000, b in 0_u64..2_000, size in 1_u64..1_000) {
            let expected = match (a <= b, a < size) {
                (false, _) => Wanted::Whole,
                (true, false) => Wanted::Unsatisfiable,
                (true, true) => Wanted::Part(Span { first: a, last: b.min(size - 1) }),
            };
            prop_assert_eq!(of(&format!("bytes={a}-{b}"), size), expected);
        }
    }
}
