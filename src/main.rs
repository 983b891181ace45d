//! The `pillarbox` program.
//!
//! Owns: the exit code.
//!
//! Never does: anything else; everything is in the library, and `lib.rs` has the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    pillarbox::cli::run()
}
