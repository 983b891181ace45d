//! `pillarbox dev`: a throw-away server for developers and tests.
//!
//! Owns: its defaults (loopback, a temporary data folder that is removed at the end, fixed and documented keys) and the
//! banner with an example that can be pasted. Never does: read the settings file of a real server.
//!
//! Invariant: the temporary folder goes away on every way out but SIGKILL.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::launch::{Urls, launch};
use super::output::say;
use super::{Failure, environment, flag, key_and_value, path_flag};
use crate::api::start::{DEV_ACCESS_KEY, DEV_SECRET, DEV_TOKEN};
use crate::config::{Config, Layers};
use crate::server::{Hangup, telemetry};

/// The pipeline of the example; in `dev` a pipeline is made on first use.
const EXAMPLE_PIPELINE: &str = "547f3eede4b025bcbff38657";

/// The setting that says where the data lies, and its name in the environment.
const DATA: &str = "store.data";
const DATA_VARIABLE: &str = "PILLARBOX_STORE_DATA";

/// What `dev` has other defaults for: a throw-away store keeps nothing back for a restart, and a full laptop should still
/// run tests. They lie below the environment and the flags, where a server has its file.
const DEFAULTS: &str = r#"
[store]
ballast = 0
free_floor = "16MiB"
"#;

#[derive(Args, Debug)]
pub(super) struct Dev {
    /// Public address; port 0 takes a free one [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Admin address; port 0 takes a free one [default: 127.0.0.1:7081]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Keep data in this folder [default: a temporary one, removed at the end]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Write the public and the admin URL here, one a line, when both accept
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Any setting, for example --set uploads.form_lifetime=2h; a list has commas, as in s3.buckets=films,box
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let temporary = match self.names_data() {
            true => None,
            false => Some(temporary_folder()?),
        };
        let config = self.config(temporary.as_ref().map(tempfile::TempDir::path))?;
        telemetry::init(&config.log);
        let kept = temporary.is_none();
        let data = config.store.data.clone();
        let bucket = config.app.bucket.as_str().to_owned();
        let served = launch(config, Hangup::Stops, self.port_file, move |urls| {
            let fate = if kept { "kept" } else { "removed at the end" };
            say(&format!(
                "{}\nData in {}, {fate}.",
                banner(urls, &bucket),
                data.display()
            ))
        });
        let result = served.await;
        if let Some(Err(error)) = temporary.map(tempfile::TempDir::close) {
            return Err(Failure::of("the temporary folder was not removed", error));
        }
        result
    }

    /// Whether anybody says where the data is kept; only without a word it lies in a folder that is removed.
    fn names_data(&self) -> bool {
        let is_set = self.set.iter().any(|(key, _)| key == DATA);
        let is_named = std::env::var_os(DATA_VARIABLE).is_some();
        self.data.is_some() || is_set || is_named
    }

    fn config(&self, temporary: Option<&Path>) -> Result<Config, Failure> {
        let mut flags = self.set.clone();
        flags.extend(flag("server.listen", self.listen.as_ref()));
        flags.extend(flag("server.admin_listen", self.admin_listen.as_ref()));
        flags.extend(path_flag(DATA, self.data.as_deref().or(temporary))?);
        flags.extend(flag("log.level", self.log_level.as_ref()));
        flags.extend(flag("log.format", self.log_format.as_ref()));
        let defaults = toml::Table::from_str(DEFAULTS);
        let mut config = Config::read(Layers {
            flags,
            environment: environment()?,
            file: defaults.map_err(|error| Failure::of("defaults", error))?,
        })?;
        config.app.dev = true;
        config.server.sweep_interval = Duration::from_secs(1);
        Ok(config)
    }
}

fn temporary_folder() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("pillarbox-dev-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| Failure::of("temporary folder", error))
}

fn banner(urls: &Urls, bucket: &str) -> String {
    let Urls { public, admin } = urls;
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"Pillarbox {version} dev: for tests on this machine, never for production.

  ready       {public}
  admin       {admin}
  token       {DEV_TOKEN}
  access key  {DEV_ACCESS_KEY}
  secret      {DEV_SECRET}
  bucket      {bucket}
  pipeline    any 24 hexadecimal digits; it is made on first use

Start a session, post a file with the form it gives, read the file back:

cd "$(mktemp -d)" && echo 'Hello, pillar box' > hello.txt
curl -sS -X POST -H 'Authorization: Bearer {DEV_TOKEN}' -o session.json \
  '{public}/v1/files/uploads/?object_key=hello.txt&pipeline_id={EXAMPLE_PIPELINE}'
python3 -c 'import json; u = json.load(open("session.json"))["upload"]
q = lambda text: json.dumps(text, ensure_ascii=False)
print("url =", q(u["form_post_url"]))
for item in u["form_post_params"].items(): print("form-string =", q("=".join(item)))
print("form =", q("file=@hello.txt"))' | curl -sS -K -
curl -sS -L -H 'Authorization: Bearer {DEV_TOKEN}' \
  '{public}/v1/files/downloads/?object_key=hello.txt&pipeline_id={EXAMPLE_PIPELINE}&redirect=true'
"#
    )
}
