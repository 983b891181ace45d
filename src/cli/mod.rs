//! The command line: one file per verb.
//!
//! Owns: the verbs, their flags, exit codes (0 done, 1 failed, 2 wrong usage), and the one way text reaches the terminal
//! (`output.rs`). `control.rs` reaches a running server, or stands in for it when none runs.
//!
//! Never does: decide what a setting means (`config.rs`) or touch the store's files; it wires the floors together.
//!
//! Invariant: a failure is one clear line on standard error; nothing but `main` ends the process.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{Config, ConfigError, ENVIRONMENT_PREFIX, Layers, OTHER_NAMES, read_file};

mod check_config;
mod client;
mod completions;
mod control;
mod dev;
mod explain;
mod healthcheck;
mod key;
mod launch;
mod output;
mod ownership;
mod path;
mod pipeline;
mod reindex;
mod serve;
mod token;
mod upload;
mod verify;

use control::Control;

/// Hands out signed upload forms and is itself the place they are posted to.
#[derive(Debug, Parser)]
#[command(name = "pillarbox", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server (the default)
    Serve(serve::Serve),
    /// Run a throw-away server with fixed, documented keys, for developers and tests
    Dev(dev::Dev),
    /// Check the configuration and print what is in force
    CheckConfig(check_config::CheckConfig),
    /// Bearer tokens and client credentials
    #[command(subcommand)]
    Token(token::TokenVerb),
    /// Keys that sign forms and requests over S3
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Pipelines
    #[command(subcommand)]
    Pipeline(pipeline::PipelineVerb),
    /// Upload a file in chunks, in parallel
    Upload(upload::Upload),
    /// Explain why a form is refused: a saved request or form, a HAR file, a policy
    Explain(explain::Explain),
    /// Print the file that holds an object's bytes
    Path(path::PathOf),
    /// Read every stored byte and compare it with its checksum
    Verify(verify::Verify),
    /// Rebuild the index from the objects; the server must be stopped
    Reindex(reindex::Reindex),
    /// Ask a running server whether it is ready
    Healthcheck(healthcheck::Healthcheck),
    /// Print completions for a shell
    Completions(completions::Completions),
}

/// Settings that a flag may name.
#[derive(Args, Clone, Debug, Default)]
struct Settings {
    /// Settings file [default: /etc/pillarbox/pillarbox.toml, if it exists]
    #[arg(long, value_name = "FILE", env = "PILLARBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder (store.data)
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Any setting, for example --set uploads.form_lifetime=2h; a list has commas, as in s3.buckets=films,box
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

/// The arguments of a verb that needs nothing but the settings.
#[derive(Args, Debug)]
struct Plain {
    #[command(flatten)]
    settings: Settings,
}

/// The arguments of a verb that removes one entry.
#[derive(Args, Debug)]
struct ById {
    /// The id, as shown by the list
    id: String,
    #[command(flatten)]
    settings: Settings,
}

impl ById {
    /// Removes the entry from the first of these places that has it, and says so in one word.
    async fn remove(self, places: &[&str], word: &str) -> Result<(), Failure> {
        let id = utf8_percent_encode(&self.id, NON_ALPHANUMERIC);
        let removing = async |control: &mut Control| {
            let mut refused = None;
            for place in places {
                let target = format!("{place}/{id}");
                match control.ask(Method::DELETE, &target, None).await {
                    Ok(_) => return output::say(&format!("{word} {}", self.id)),
                    Err(why) => refused = refused.or(Some(why)),
                }
            }
            refused.map_or(Ok(()), Err)
        };
        self.settings.with_store(removing).await
    }
}

impl Settings {
    /// Reads the configuration; `more` are flags of the verb, which beat `--set`.
    fn load(&self, more: Vec<(String, String)>) -> Result<Config, Failure> {
        let mut flags = self.set.clone();
        flags.extend(path_flag("store.data", self.data.as_deref())?);
        flags.extend(more);
        let layers = Layers {
            flags,
            environment: environment()?,
            file: read_file(self.config.as_deref())?,
        };
        Ok(Config::read(layers)?)
    }
}

/// The settings in the environment. They are text: what a default would take the place of unseen is refused.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_setting =
            name.starts_with(ENVIRONMENT_PREFIX) && !OTHER_NAMES.contains(&name.as_str());
        is_setting.then_some((name, value))
    });
    ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Failure::usage(format!("{name} is no UTF-8"))),
    })
    .collect()
}

/// A setting given by a flag of its own.
fn flag(key: &str, value: Option<impl fmt::Display>) -> Option<(String, String)> {
    value.map(|value| (key.to_owned(), value.to_string()))
}

/// A path given so. Settings are text, and another path must not take the place of one that is none.
fn path_flag(key: &str, path: Option<&Path>) -> Result<Option<(String, String)>, Failure> {
    let refuse = |path: &Path| Failure::usage(format!("{key}: {} is no UTF-8", path.display()));
    let text = path.map(|path| path.to_str().ok_or_else(|| refuse(path)));
    Ok(flag(key, text.transpose()?))
}

fn key_and_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Why a verb did not do what it was asked.
#[derive(Debug)]
struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            exit_code: 1,
        }
    }

    /// `what` failed because of `error`.
    fn of(what: &str, error: impl fmt::Display) -> Self {
        Self::new(format!("{what}: {error}"))
    }

    /// The verb was used wrongly, in a way that only shows when it looks.
    fn usage(message: impl Into<String>) -> Self {
        Self {
            exit_code: 2,
            ..Self::new(message)
        }
    }

    /// The answer is no, and it has been printed.
    fn told() -> Self {
        Self::new("")
    }
}

/// An error with its causes, which are often the interesting part.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(error.to_string())
    }
}

/// Threads for what waits for a disk or computes for long. More are no faster with 64 uploads at once, only larger; with fewer a read of
/// what is not in memory would wait behind the syncs of so many uploads.
const MAX_BLOCKING_THREADS: usize = 256;

/// Longest wait for jobs that are under way when all is done.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Reads the arguments and does what they say.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream and which code each needs.
            let _shown = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(act(cli));
    // What still waits for a disk then ends as by `kill -9`, which loses nothing; a successor needs the lock.
    runtime.shutdown_timeout(LAST_WAIT);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure.message);
            ExitCode::from(failure.exit_code)
        }
    }
}

async fn act(cli: Cli) -> Result<(), Failure> {
    match cli.verb.unwrap_or(Verb::Serve(cli.serve)) {
        Verb::Serve(verb) => verb.run().await,
        Verb::Dev(verb) => verb.run().await,
        Verb::CheckConfig(verb) => verb.run(),
        Verb::Token(verb) => verb.run().await,
        Verb::Key(verb) => verb.run().await,
        Verb::Pipeline(verb) => verb.run().await,
        Verb::Upload(verb) => verb.run().await,
        Verb::Explain(verb) => verb.run().await,
        Verb::Path(verb) => verb.run().await,
        Verb::Verify(verb) => verb.run().await,
        Verb::Reindex(verb) => verb.run().await,
        Verb::Healthcheck(verb) => verb.run().await,
        Verb::Completions(verb) => verb.run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_fits_a_screen() {
        fn check(command: &mut clap::Command) {
            let lines = command.render_help().to_string().lines().count();
            assert!(lines <= 40, "{}: {lines} lines", command.get_name());
            command.get_subcommands_mut().for_each(check);
        }
        let mut command = Cli::command();
        command.build();
        check(&mut command);
    }
}
