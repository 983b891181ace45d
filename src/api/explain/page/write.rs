//! The page, written: as plain text for a terminal and as HTML for a browser.
//!
//! Owns: the alignment of the text and the look of the HTML, which has no script and loads nothing.
//! Never does: choose what is shown.
//! Invariants: every text passes `printable`, which leaves a terminal alone, and in HTML `escape`; headings are ours.

use std::fmt::Write as _;

use super::{Block, Page};
use crate::api::dialect::escape;
use crate::model::printable;

impl Page {
    /// The page for a terminal.
    pub fn text(&self) -> String {
        let mut out = printable(&self.title, &[]);
        for block in &self.blocks {
            match block {
                Block::Heading(heading) => {
                    let _ = write!(out, "\n\n{heading}");
                }
                Block::Say(words) => {
                    let _ = write!(out, "\n  {}", printable(words, &[]));
                }
                Block::Verbatim(lines) => {
                    for line in printable(lines, &['\n']).lines() {
                        let _ = write!(out, "\n  {line}");
                    }
                }
                Block::Rows(rows) => text_rows(&mut out, rows),
            }
        }
        out.push('\n');
        out
    }

    /// The page for a browser; it needs no script and loads nothing.
    pub fn html(&self) -> String {
        let title = escape(&printable(&self.title, &[]));
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        );
        for block in &self.blocks {
            match block {
                Block::Heading(heading) => {
                    let _ = writeln!(out, "<h2>{heading}</h2>");
                }
                Block::Say(words) => {
                    let _ = writeln!(out, "<p>{}</p>", escape(&printable(words, &[])));
                }
                Block::Verbatim(lines) => {
                    let _ = writeln!(out, "<pre>{}</pre>", escape(&printable(lines, &['\n'])));
                }
                Block::Rows(rows) => html_rows(&mut out, rows),
            }
        }
        out.push_str("</body></html>\n");
        out
    }
}

const STYLE: &str = "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}\
h1{font-size:1.4em;border-left:.5em solid #c22;padding-left:.5em}h2{font-size:1em;margin:1.5em 0 .2em}\
table{border-collapse:collapse}td{padding:.1em 1em .1em 0;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere}\
td,pre{font-family:monospace;font-size:14px}pre{background:#f4f4f4;padding:1em;white-space:pre-wrap;overflow-wrap:anywhere}";

fn text_rows(out: &mut String, rows: &[[String; 2]]) {
    /// Widest first column that the second is aligned behind, in characters.
    const MAX_LABEL: usize = 32;
    let widths = rows.iter().map(|[label, _]| label.chars().count());
    let width = widths
        .filter(|width| *width <= MAX_LABEL)
        .max()
        .unwrap_or(0);
    for [label, value] in rows {
        let (label, value) = (printable(label, &[]), printable(value, &[]));
        let line = format!("  {label:width$}  {value}");
        let _ = write!(out, "\n{}", line.trim_end());
    }
}

fn html_rows(out: &mut String, rows: &[[String; 2]]) {
    out.push_str("<table>\n");
    for [label, value] in rows {
        let (label, value) = (printable(label, &[]), printable(value, &[]));
        let (label, value) = (escape(&label), escape(&value));
        let _ = match value.is_empty() {
            true => writeln!(out, "<tr><td colspan=\"2\">{label}</td></tr>"),
            false => writeln!(out, "<tr><td>{label}</td><td>{value}</td></tr>"),
        };
    }
    out.push_str("</table>\n");
}
