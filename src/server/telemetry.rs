//! The log: set up once, written to standard error.
//!
//! Owns: format (text, or one JSON object a line), level, and what journald wants: no time stamps and no colours of our
//! own, and the priority in front of each line (sd-daemon(3)).
//!
//! Never does: log requests; the application does, under the target `pillarbox::access`.
//!
//! Invariant: of libraries, only what they say at `info` and above is logged, whatever level is asked for. Below that they
//! show what they handle: the index's engine its values, which are keys and tokens.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::str::FromStr;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The target of what the program itself says.
const OURS: &str = env!("CARGO_PKG_NAME");

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// What the log is told by the configuration.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives like `info,pillarbox::access=off`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// Whether `level` is one that [`init`] takes.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let known = |word: &str| {
        let is_number = matches!(word, "0" | "1" | "2" | "3" | "4" | "5");
        is_number || levels.iter().any(|level| level.eq_ignore_ascii_case(word))
    };
    let mut directives = level.split(',').filter(|directive| !directive.is_empty());
    let is_wrong = |directive: &&str| !directive.contains('=') && !known(directive);
    // A word alone would be a target by this name, and nothing else would be logged.
    let wrong = directives.find(is_wrong);
    if let Some(word) = wrong.or(level.is_empty().then_some("")) {
        let levels = levels.join(", ");
        return Err(format!("'{word}' must be one of {levels}, or target=level"));
    }
    EnvFilter::try_new(level)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Starts the log. A second call does nothing.
pub fn init(options: &LogOptions) {
    let filter = EnvFilter::try_new(&options.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let journal = is_journal(env::var("JOURNAL_STREAM").ok().as_deref(), io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // Else a line that cannot be written is told to standard error, and when that is gone as well whoever logged panics.
        .log_internal_errors(false)
        .with_writer(Lines { journal });
    // An error means that a log was started already, as tests do.
    let _started = match (options.format, journal) {
        (LogFormat::Json, _) => start(builder.json().flatten_event(true).finish()),
        (LogFormat::Text, true) => start(builder.without_time().with_level(false).finish()),
        (LogFormat::Text, false) => start(builder.finish()),
    };
}

/// As [`init`], for a verb that opens the store for a moment: warnings and errors alone, as lines for whoever waits at the terminal.
pub fn init_of_verb() {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn"))
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .log_internal_errors(false)
        .with_writer(Lines { journal: false });
    let _started = start(builder.finish());
}

/// Whether this is the stream that the service manager connected to the journal, and named so: what it started inherits the name, and may
/// write elsewhere (systemd.exec(5)).
fn is_journal(named: Option<&str>, stream: impl AsFd) -> bool {
    let numbers = named.and_then(|named| named.split_once(':'));
    let numbers = numbers.and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    rustix::fs::fstat(stream).is_ok_and(|stat| numbers == Some((stat.st_dev, stat.st_ino)))
}

fn start<S>(lines: S) -> Result<(), TryInitError>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    lines.with(filter_fn(may_be_logged)).try_init()
}

/// Whether it is ours, or nothing that only a library's author wants to see.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_ours = target.split("::").next() == Some(OURS);
    is_ours || *metadata.level() <= Level::INFO
}

struct Lines {
    journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { priority: None }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line {
            priority: self.journal.then(|| priority(*metadata.level())),
        }
    }
}

/// The number of syslog(3) for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Receives one line of the log, whole, in one call.
struct Line {
    priority: Option<u8>,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        if let Some(priority) = self.priority {
            write!(stderr, "<{priority}>")?;
        }
        stderr.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_be_a_word_or_directives() {
        assert!(check_level("debug").is_ok());
        assert!(check_level("info,pillarbox::access=off").is_ok());
        assert!(check_level("WARN,pillarbox::access=off").is_ok());
        assert!(check_level("pillarbox=loud").is_err());
        // Each would be taken for the name of a target, and silence the rest.
        for word in ["warning", "foo", "", "info,loud"] {
            assert!(check_level(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journals() {
        let stream = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&stream).unwrap();
        let (dev, ino) = (stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(&format!("{dev}:{ino}")), &stream));
        let other = format!("{dev}:{}", ino + 1);
        for named in [Some(other.as_str()), Some("1:2"), Some("1"), Some(""), None] {
            assert!(!is_journal(named, &stream), "{named:?}");
        }
    }

    #[test]
    fn journald_gets_the_priority_of_syslog() {
        assert_eq!(priority(Level::ERROR), 3);
        assert_eq!(priority(Level::TRACE), 7);
    }
}
