//! The `pillarbox` program.
//!
//! Owns: the exit code of the process. Never does: anything else; everything is in the library, see `lib.rs`.
//!
//! Invariant: the only place from which the process ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    pillarbox::cli::run()
}
