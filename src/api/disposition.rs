//! `Content-Disposition` of a download.
//!
//! Owns: a header that names the file and cannot be broken by the name, whatever bytes an object key holds.
//!
//! Never does: decide whether a file is shown or saved. Sources: RFC 6266 and RFC 8187.
//!
//! Invariant: the header is visible ASCII. In the plain `filename`, what is not harmless is replaced with `_`; the true
//! name rides in `filename*`, percent-encoded. A name never holds `/` (it is the last segment of the key) nor `\`.

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::turns_direction;

/// Everything but letters, digits and the marks that RFC 3986 calls unreserved (each is an `attr-char` of RFC 8187).
pub const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// What a file is called whose key ends with no usable name.
const NAMELESS: &str = "download";

/// The header for a file of this name.
pub fn header(inline: bool, name: &str) -> HeaderValue {
    let kind = if inline { "inline" } else { "attachment" };
    let name = safe_name(name);
    let plain = name
        .chars()
        .map(|c| if is_harmless(c) { c } else { '_' })
        .collect::<String>();
    let mut text = format!("{kind}; filename=\"{plain}\"");
    if plain != name {
        text.push_str("; filename*=UTF-8''");
        text.extend(utf8_percent_encode(&name, ENCODED));
    }
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// Whether a stored header has the browser save the file, as ours does for whatever could run.
pub fn is_attachment(stored: &str) -> bool {
    let kind = stored.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("attachment")
}

/// The name without what no file system takes, and without the marks that turn the direction of writing (they show
/// `exe.mp4` for `4pm.exe`): each becomes `_`. `.`, `..` and nothing become `download`.
pub fn safe_name(name: &str) -> String {
    let is_unsafe = |c: char| c.is_control() || turns_direction(c) || matches!(c, '/' | '\\');
    let clean = name
        .chars()
        .map(|c| if is_unsafe(c) { '_' } else { c })
        .collect::<String>();
    if clean.trim_matches(['.', ' ']).is_empty() {
        return NAMELESS.to_owned();
    }
    clean
}

/// Needs no quoting and means the same to every browser: no quote, no backslash, no `%` (some decode it).
fn is_harmless(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_shown_and_its_dangers_are_not() {
        for (name, expected) in [
            ("Intro.mp4", "attachment; filename=\"Intro.mp4\""),
            ("a b;c.mp4", "attachment; filename=\"a b;c.mp4\""),
            (
                "a\"b",
                "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b",
            ),
            (
                "é.mp4",
                "attachment; filename=\"_.mp4\"; filename*=UTF-8''%C3%A9.mp4",
            ),
            ("a\r\nX: y", "attachment; filename=\"a__X: y\""),
            ("a\\b", "attachment; filename=\"a_b\""),
            ("\u{61c}4pm.exe", "attachment; filename=\"_4pm.exe\""),
            (
                "100%.txt",
                "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt",
            ),
            ("", "attachment; filename=\"download\""),
            ("..", "attachment; filename=\"download\""),
        ] {
            assert_eq!(header(false, name).to_str().unwrap(), expected, "{name:?}");
        }
        assert!(header(true, "a").to_str().unwrap().starts_with("inline;"));
    }

    #[test]
    fn only_an_attachment_is_one() {
        for yes in ["attachment", "Attachment; filename=\"a\"", " attachment ;x"] {
            assert!(is_attachment(yes), "{yes}");
        }
        for no in [
            "",
            "inline",
            "attachments",
            "inline; attachment",
            "x attachment",
            ";attachment",
        ] {
            assert!(!is_attachment(no), "{no}");
        }
    }

    proptest! {
        #[test]
        fn no_name_ever_leaves_its_quotes(name in any::<String>()) {
            let value = header(false, &name);
            let text = value.to_str().unwrap();
            let quoted = text.strip_prefix("attachment; filename=\"").unwrap();
            let (_, behind) = quoted.split_once('"').unwrap();
            prop_assert!(behind.is_empty() || behind.starts_with("; filename*=UTF-8''"));
            prop_assert!(!behind.contains('"') && text.is_ascii());
        }
    }
}
