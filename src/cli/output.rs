//! The one way text reaches the terminal.
//!
//! Owns: standard output for answers, standard error for complaints.
//!
//! Never does: fail loudly when nobody reads any more (`pillarbox token list | head -1` is no error).
//!
//! Invariant: nothing else in the program writes to standard output.

use std::io::{self, Write};

use super::Failure;
use crate::model::printable;

/// Prints one or more lines of an answer.
///
/// # Errors
/// When standard output cannot be written, but for a reader that went away.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of("standard output", error))
        }
        _ => Ok(()),
    }
}

/// Prints a complaint, each line behind the program's name.
pub(super) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    for line in text.lines().map(|line| printable(line, &['\t'])) {
        // When standard error is gone there is nobody left to tell.
        let _written = writeln!(stderr, "pillarbox: {line}");
    }
}

/// Prints rows in columns that are as wide as their widest cell.
///
/// # Errors
/// As [`say`].
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell, &[])).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    // Once for all rows: a table of tokens may have 100,000.
    let mut widths: Vec<usize> = heads.iter().map(|head| head.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths);
        let padded = padded.map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(heads.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    say(&lines.join("\n"))
}
