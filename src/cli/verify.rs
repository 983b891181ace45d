//! `pillarbox verify`: every stored byte against its checksum.
//!
//! Owns: the progress bar and the verdict. Never does: repair; a damaged object stays for the operator to judge.
//!
//! Invariant: the exit code is 1 when any object is damaged, and when the check did not reach its end.

use clap::Args;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::control::{Control, cell};
use super::output::{complain, say};
use super::{Failure, Settings};
use crate::model::printable;

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    settings: Settings,
}

impl Verify {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let checking = async |control: &mut Control| {
            let mut progress = Progress::new();
            let done = control
                .stream(Method::POST, "/verify", |line| {
                    progress.take(&line);
                    Ok(())
                })
                .await;
            progress.bar.finish_and_clear();
            done?;
            progress.verdict()
        };
        self.settings.with_store(checking).await
    }
}

struct Progress {
    bar: ProgressBar,
    end: Option<(u64, u64)>,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} objects  {elapsed} elapsed  {eta} left",
        ) {
            bar.set_style(style);
        }
        Self { bar, end: None }
    }

    fn take(&mut self, line: &Value) {
        let number = |member: &str| line.get(member).and_then(Value::as_u64);
        if let Some(reason) = line.get("damaged").and_then(Value::as_str) {
            let message = format!("{}: {reason}", printable(&cell(line, "object"), &[]));
            self.bar.suspend(|| complain(&message));
        } else if line.get("error").is_some() {
            self.bar.suspend(|| complain(&cell(line, "error")));
        } else if let Some(verified) = number("verified") {
            self.end = Some((verified, number("damaged").unwrap_or(0)));
        } else if let (Some(done), Some(total)) = (number("done"), number("total")) {
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
    }

    fn verdict(&self) -> Result<(), Failure> {
        match self.end {
            Some((verified, 0)) => say(&format!("{verified} objects verified, none damaged")),
            Some((verified, damaged)) => Err(Failure::new(format!(
                "{damaged} objects damaged, {verified} verified"
            ))),
            None => Err(Failure::new("the check did not reach its end")),
        }
    }
}
