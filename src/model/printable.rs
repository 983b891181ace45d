//! Text that others chose, as a terminal, a page or a file name may show it.
//!
//! Owns: which characters do more than to be shown: control characters, and the marks that turn the direction of writing (they show
//! `exe.mp4` for `4pm.exe`).
//! Never does: escape for a format; who writes HTML, XML or a header does that besides.
//!
//! Invariant: of what is replaced one can see what it was.

/// Whether a character turns the direction of writing of those around it.
pub fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text that a terminal only shows: what would move the cursor, talk to the terminal or turn the direction of writing is escaped, but for
/// the control characters in `kept`.
pub fn printable(text: &str, kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if kept.contains(&c) => shown.push(c),
            _ if turns_direction(c) => shown.extend(c.escape_unicode()),
            _ if c.is_control() => shown.extend(c.escape_default()),
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_is_shown_and_everything_else_is() {
        let acts = [
            '\u{61c}', '\u{200f}', '\u{202e}', '\u{2069}', '\u{1b}', '\u{9b}', '\n', '\t',
        ];
        let shown = printable(&acts.iter().collect::<String>(), &[]);
        assert_eq!(
            shown,
            "\\u{61c}\\u{200f}\\u{202e}\\u{2069}\\u{1b}\\u{9b}\\n\\t"
        );
        assert_eq!(printable("a\tb\nc", &['\t']), "a\tb\\nc");
        let plain = "é \u{5d0}\u{1f600}\\";
        assert_eq!(printable(plain, &[]), plain);
    }
}
