//! `pillarbox completions SHELL`: a completion script, made by clap from the verbs and flags themselves.
//!
//! Owns: nothing else.
//!
//! Never does: install it; the README says where each shell looks.
//!
//! Invariant: the script names exactly the verbs and flags of this build.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::say;
use super::{Cli, Failure};

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pillarbox", &mut script);
        say(String::from_utf8_lossy(&script).trim_end())
    }
}
