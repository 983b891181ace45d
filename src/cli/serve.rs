//! `pillarbox serve`: the server, configured by file, environment and flags.
//!
//! Owns: the flags of the server.
//!
//! Never does: anything but read the configuration and launch.

use std::path::PathBuf;

use clap::Args;

use super::launch::launch;
use super::{Failure, Settings, flag};
use crate::server::{Hangup, telemetry};

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    common: ServeFlags,
    /// Write the public and the admin URL here, one a line, when both accept
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
}

/// Settings of the server that have flags of their own.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServeFlags {
    /// Public address (server.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) listen: Option<String>,
    /// Admin address (server.admin_listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) admin_listen: Option<String>,
    /// URL that clients use, when a proxy stands in front (server.public_url)
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// Certificate chain in PEM (tls.certificate)
    #[arg(long, value_name = "FILE")]
    pub(super) certificate: Option<String>,
    /// Private key in PEM (tls.private_key)
    #[arg(long, value_name = "FILE")]
    pub(super) private_key: Option<String>,
    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// text or json (log.format)
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
}

impl ServeFlags {
    /// The settings that were given.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let given = [
            ("server.listen", &self.listen),
            ("server.admin_listen", &self.admin_listen),
            ("server.public_url", &self.public_url),
            ("tls.certificate", &self.certificate),
            ("tls.private_key", &self.private_key),
            ("log.level", &self.log_level),
            ("log.format", &self.log_format),
        ];
        given
            .iter()
            .filter_map(|(key, value)| flag(key, value.as_ref()))
            .collect()
    }
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.settings.load(self.common.settings())?;
        telemetry::init(&config.log);
        launch(config, Hangup::Reloads, self.port_file, |_| Ok(())).await
    }
}
