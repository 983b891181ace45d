//! The one way text reaches the terminal.
//!
//! Owns: standard output for answers, standard error for complaints.
//!
//! Never does: fail loudly when nobody reads any more (`pillarbox token list | head -1` is no error).
//!
//! Invariant: nothing else in the program writes to standard output.

use std::io::{self, Write};

use super::Failure;

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
    for line in text.lines().map(printable) {
        // When standard error is gone there is nobody left to tell.
        let _written = writeln!(stderr, "pillarbox: {line}");
    }
}

/// Text that others chose, without what would move the cursor or talk to the terminal.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() && c != '\t' {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().map(shown).collect()
}

/// Prints rows in columns that are as wide as their widest cell.
///
/// # Errors
/// As [`say`].
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heads.get(column).map_or(0, |head| head.len()))
    };
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            let width = width(column);
            format!("{cell:width$}")
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(heads.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    say(&lines.join("\n"))
}
