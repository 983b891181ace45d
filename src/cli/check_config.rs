//! `pillarbox check-config`: every mistake with its key, or every setting in force with where it came from.
//!
//! Owns: how settings are shown.
//!
//! Never does: start anything.
//!
//! Invariant: the exit code is 0 only when `serve` would find no fault with these settings; whether its ports are free is not asked. No secret is shown.

use clap::Args;

use super::output::say;
use super::serve::ServeFlags;
use super::{Failure, Settings};
use crate::config::{Config, Effective};

#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    common: ServeFlags,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.settings.load(self.common.settings())?;
        config.check_machine()?;
        say(&shown(&config))
    }
}

/// The settings as TOML, so that the output can be used as a file.
fn shown(config: &Config) -> String {
    let mut lines = Vec::new();
    let mut current = "";
    let mut sorted: Vec<&Effective> = config.effective.iter().collect();
    sorted.sort_by_key(|setting| order(section_of(&setting.key)));
    for setting in sorted {
        let section = section_of(&setting.key);
        if section != current {
            lines.push(header(section));
            current = section;
        }
        lines.push(line(setting));
    }
    lines.extend(
        config
            .warnings
            .iter()
            .map(|warning| format!("# warning: {warning}")),
    );
    lines.join("\n").trim_start().to_owned()
}

fn section_of(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

/// The names and numbers of a section: the tenth table of a kind comes behind the ninth.
fn order(section: &str) -> Vec<(&str, usize)> {
    let parts = section.split('.').map(|part| {
        let (name, number) = part.split_once('[').unwrap_or((part, ""));
        (name, number.trim_end_matches(']').parse().unwrap_or(0))
    });
    parts.collect()
}

/// `bucket[0].cors[1]` is written `[[bucket.cors]]`.
fn header(section: &str) -> String {
    if !section.contains('[') {
        return format!("\n[{section}]");
    }
    let tables = section.split('.').map(|part| part.split('[').next());
    format!("\n[[{}]]", tables.flatten().collect::<Vec<_>>().join("."))
}

fn line(setting: &Effective) -> String {
    let name = setting.key.rsplit('.').next().unwrap_or_default();
    match &setting.value {
        Some(value) => format!("{:60} # {}", format!("{name} = {value}"), setting.origin),
        None => format!("# {name} is not set"),
    }
}
