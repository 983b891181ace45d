//! The configuration: every setting with its default, its unit and its limits.
//!
//! Owns: the names of the settings, and their translation into the small option structs that the floors below define.
//! `config/values.rs` knows the forms of values; `config/reader.rs` finds them: flags beat the environment
//! (`PILLARBOX_SECTION_KEY`), which beats the file, which beats the defaults written here.
//!
//! Never does: hold a secret; keys and tokens live in the store, and the TLS key is named by its path.
//!
//! Invariants: unknown keys are mistakes; all mistakes are reported at once, each with its key; a `Config` that exists is
//! valid in itself. Whether the files of TLS are readable and fit is asked by [`Config::check_machine`]; an unknown variable of the environment is a warning.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::api::app::{AppOptions, Site};
use crate::api::turns::MaxLists;
use crate::server::tls::{Tls, TlsFiles};
use crate::server::{self, telemetry};
use crate::store::embedded;

mod buckets;
mod reader;
mod values;

pub use reader::{ENVIRONMENT_PREFIX, Effective, Layers, Mistake, Origin};

use reader::Reader;
use values::{base_url, duration, form_url, host, network, number, origin, path, size, socket};

/// Where the file lies when no other is named; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/pillarbox/pillarbox.toml";

/// Largest file in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Names in the environment that are ours but no settings.
pub const OTHER_NAMES: [&str; 5] = [
    "PILLARBOX_CONFIG",
    "PILLARBOX_URL",
    "PILLARBOX_TOKEN",
    "PILLARBOX_ADMIN_URL",
    "PILLARBOX_CACERT",
];

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(3652 * 24 * 3600);

/// Everything that is configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The public listener's address.
    pub listen: SocketAddr,
    /// The admin listener's address.
    pub admin_listen: SocketAddr,
    /// Limits of connections.
    pub server: server::Options,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// The store.
    pub store: StoreConfig,
    /// What the application is told.
    pub app: AppOptions,
    /// The log.
    pub log: telemetry::LogOptions,
    /// Every setting, with where it came from.
    pub effective: Vec<Effective>,
    /// Things that are odd but no mistakes, for the log.
    pub warnings: Vec<String>,
}

/// The embedded engine's settings.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data folder.
    pub data: PathBuf,
    /// Bytes of the disk that uploads leave free.
    pub free_floor: u64,
    /// Bytes kept back for a restart on a full disk.
    pub ballast: u64,
}

impl StoreConfig {
    /// What the engine is told.
    pub fn options(&self) -> embedded::Options {
        embedded::Options {
            free_floor_bytes: self.free_floor,
            ballast_bytes: self.ballast,
            ..embedded::Options::new(&self.data)
        }
    }

    /// The same for a verb that opens the store for a moment: it need not have been given the settings of the server, so it leaves the ballast
    /// as that made it.
    pub fn options_of_verb(&self) -> embedded::Options {
        embedded::Options {
            keeps_ballast: false,
            ..self.options()
        }
    }
}

/// Every mistake that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Mistake::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn one(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self(vec![Mistake {
            key: key.into(),
            what: what.into(),
        }])
    }
}

/// Reads the file: `named`, or [`DEFAULT_FILE`] when that exists.
///
/// # Errors
/// When a named file is missing, and when the file is not TOML, with line and column.
pub fn read_file(named: Option<&Path>) -> Result<toml::Table, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let refuse = |what: String| ConfigError::one(path.display().to_string(), what);
    let mut text = String::new();
    // A pipe or a device has no length that could be asked for.
    let read =
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 > MAX_FILE_BYTES => {
            return Err(refuse(format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
            return Ok(toml::Table::new());
        }
        Err(error) => return Err(refuse(error.to_string())),
    }
    toml::Table::from_str(&text).map_err(|error| refuse(error.to_string()))
}

impl Config {
    /// Reads every setting from the layers.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn read(layers: Layers) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers);
        let config = sections(&mut reader);
        let (effective, mistakes, unused) = reader.finish();
        let Some(mut config) = config.filter(|_| mistakes.is_empty()) else {
            return Err(ConfigError(mistakes));
        };
        config.effective = effective;
        let ours = |name: &String| OTHER_NAMES.contains(&name.as_str());
        config.warnings = unused
            .into_iter()
            .filter(|name| !ours(name))
            .map(|name| format!("the environment names {name}, which is no setting"))
            .collect();
        Ok(config)
    }

    /// Asks what only the machine can answer: whether certificate and key can be read and fit.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn check_machine(&self) -> Result<(), ConfigError> {
        match self.tls.clone().map(Tls::load) {
            Some(Err(error)) => Err(ConfigError::one("tls", error.to_string())),
            _ => Ok(()),
        }
    }
}

fn sections(reader: &mut Reader) -> Option<Config> {
    let listen = reader.value("server.listen", "127.0.0.1:7080", socket);
    let admin_listen = reader.value("server.admin_listen", "127.0.0.1:7081", socket);
    let app = app(reader);
    let server = limits(reader);
    let tls = tls(reader);
    let store = store(reader);
    let log = log(reader);
    Some(Config {
        listen: listen?,
        admin_listen: admin_listen?,
        server: server?,
        tls: tls?,
        store: store?,
        app: app?,
        log: log?,
        effective: Vec::new(),
        warnings: Vec::new(),
    })
}

fn limits(reader: &mut Reader) -> Option<server::Options> {
    let max_connections = reader.value("server.max_connections", "1024", number(1, 1_000_000));
    let short = || duration(SECOND / 10, HOUR);
    let header_timeout = reader.value("server.header_timeout", "10s", short());
    let body_idle_timeout = reader.value("server.body_idle_timeout", "30s", short());
    let shutdown_timeout = reader.value(
        "server.shutdown_timeout",
        "30s",
        duration(Duration::ZERO, DAY),
    );
    Some(server::Options {
        max_connections: max_connections?,
        header_timeout: header_timeout?,
        body_idle_timeout: body_idle_timeout?,
        shutdown_timeout: shutdown_timeout?,
        ..server::Options::default()
    })
}

fn app(reader: &mut Reader) -> Option<AppOptions> {
    let public_url = reader.optional("server.public_url", base_url);
    let hosts = reader.list("server.hosts", "", host);
    let bucket = reader.value("uploads.bucket", "uploads", buckets::name);
    let form_post_url = reader.optional("uploads.form_post_url", form_url);
    let long = || duration(SECOND, TEN_YEARS);
    let form_lifetime = reader.value("uploads.form_lifetime", "24h", long());
    let session_lifetime = reader.value("uploads.session_lifetime", "7d", long());
    let object_lifetime = reader.value("uploads.object_lifetime", "7d", long());
    let link_lifetime = reader.value("uploads.link_lifetime", "1h", long());
    let token_lifetime = reader.value("uploads.token_lifetime", "1h", long());
    let s3 = buckets::s3(reader);
    let cors_origins = reader.list("cors.origins", "*", origin);
    let sites = reader.tables("site", site);
    let s3 = s3?;
    let (public_url, bucket) = (public_url?, bucket?);
    buckets::refuse_prefix(reader, public_url.as_deref(), &bucket, &s3);
    Some(AppOptions {
        public_url,
        bucket,
        buckets: s3.buckets,
        region: s3.region,
        rules: s3.rules,
        form_post_url: form_post_url?,
        sites: sites?,
        form_lifetime: form_lifetime?,
        session_lifetime: session_lifetime?,
        object_lifetime: object_lifetime?,
        link_lifetime: link_lifetime?,
        token_lifetime: token_lifetime?,
        hosts: hosts?,
        cors_origins: cors_origins?,
        max_lists: MaxLists::default(),
        dev: false,
    })
}

fn site(reader: &mut Reader) -> Option<Site> {
    let networks = reader.list("networks", "", network);
    let form_post_url = reader.value("form_post_url", "", form_url);
    let networks = networks?;
    if networks.is_empty() {
        reader.mistake("networks", "must name at least one network");
    }
    Some(Site {
        networks,
        form_post_url: form_post_url?,
    })
}

fn tls(reader: &mut Reader) -> Option<Option<TlsFiles>> {
    let certificate = reader.optional("tls.certificate", path);
    let private_key = reader.optional("tls.private_key", path);
    match (certificate?, private_key?) {
        (Some(certificate), Some(private_key)) => Some(Some(TlsFiles {
            certificate,
            private_key,
        })),
        (None, None) => Some(None),
        (Some(_), None) => {
            reader.mistake("tls.private_key", "must be set when tls.certificate is");
            None
        }
        (None, Some(_)) => {
            reader.mistake("tls.certificate", "must be set when tls.private_key is");
            None
        }
    }
}

fn store(reader: &mut Reader) -> Option<StoreConfig> {
    let engine = reader.value("store.engine", "embedded", |text| match text {
        "embedded" => Ok(()),
        _ => Err("must be embedded, the only engine of this release".to_owned()),
    });
    let data = reader.value("store.data", "data", path);
    let free_floor = reader.value("store.free_floor", "64MiB", size);
    let ballast = reader.value("store.ballast", "64MiB", size);
    engine?;
    Some(StoreConfig {
        data: data?,
        free_floor: free_floor?,
        ballast: ballast?,
    })
}

fn log(reader: &mut Reader) -> Option<telemetry::LogOptions> {
    let level = reader.value("log.level", "info", |text| {
        telemetry::check_level(text).map(|()| text.to_owned())
    });
    let format = reader.value("log.format", "text", |text| {
        text.parse().map_err(str::to_owned)
    });
    Some(telemetry::LogOptions {
        level: level?,
        format: format?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Config::read(Layers {
            flags: flags.iter().map(owned).collect(),
            ..Layers::default()
        })
    }

    fn mistake(key: &str, value: &str) -> String {
        match read(&[(key, value)]) {
            Err(ConfigError(mistakes)) => mistakes[0].to_string(),
            Ok(_) => panic!("{key} = {value:?} was taken"),
        }
    }

    #[test]
    fn every_default_is_valid() {
        let config = read(&[]).unwrap();
        assert_eq!(config.app.form_lifetime, DAY);
        assert_eq!(config.store.ballast, 64 << 20);
    }

    #[test]
    fn durations_have_units_and_limits() {
        let lifetime = |text| {
            Ok::<_, ConfigError>(read(&[("uploads.form_lifetime", text)])?.app.form_lifetime)
        };
        for (text, seconds) in [
            ("30s", 30),
            ("15m", 900),
            ("24h", 86_400),
            ("7d", 604_800),
            ("1h 30m", 5400),
        ] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "0s", "100000d", "1 fortnight"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let ballast = |text| read(&[("store.ballast", text)]).map(|config| config.store.ballast);
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64MiB", 64 << 20),
            ("10GB", 10_000_000_000),
        ] {
            assert_eq!(ballast(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "1 elephant", "1e99GB"] {
            assert!(ballast(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_public_url_loses_its_slash_and_must_be_absolute() {
        let url = read(&[("server.public_url", "https://files.example.com/box/")]).unwrap();
        assert_eq!(
            url.app.public_url.as_deref(),
            Some("https://files.example.com/box")
        );
        for text in [
            "files.example.com",
            "ftp://x/",
            "https://",
            "https://x/?a=b",
            "https://u:p@x/",
            "https://x/#a",
        ] {
            assert!(
                mistake("server.public_url", text).starts_with("server.public_url: "),
                "{text}"
            );
        }
    }

    #[test]
    fn origins_hosts_and_addresses_are_checked() {
        assert!(read(&[("cors.origins", "https://a.example,http://localhost:3000")]).is_ok());
        mistake("cors.origins", "https://a.example/path");
        mistake("cors.origins", "https://a.example/");
        assert!(read(&[("server.hosts", "files.example.com, [::1]")]).is_ok());
        mistake("server.hosts", "files.example.com:7080");
        mistake("server.listen", "localhost");
        mistake("server.max_connections", "0");
        mistake("log.level", "pillarbox=loud");
        mistake("log.format", "xml");
    }

    #[test]
    fn a_list_in_a_flag_or_the_environment_has_commas_and_who_writes_it_otherwise_is_told() {
        let buckets = read(&[("s3.buckets", "films, box")]).unwrap().app.buckets;
        assert_eq!(buckets.len(), 2);
        let told = mistake("s3.buckets", r#"["films","box"]"#);
        assert!(told.contains("a list has commas between"), "{told}");
        let told = mistake("s3.region", "eu west");
        assert!(!told.contains("commas"), "{told}");
        let file = "s3.buckets = ['UP']".parse().unwrap();
        let layers = Layers {
            file,
            ..Layers::default()
        };
        let told = Config::read(layers).unwrap_err().to_string();
        assert!(!told.contains("commas"), "{told}");
    }

    #[test]
    fn a_site_names_networks_and_single_addresses() {
        let file = "[[site]]\nnetworks = ['10.0.0.0/8', '2001:db8::1']\nform_post_url = 'https://a.example/uploads/'";
        let layers = |file: &str| Layers {
            file: file.parse().unwrap(),
            ..Layers::default()
        };
        let sites = Config::read(layers(file)).unwrap().app.sites;
        assert_eq!(sites[0].networks[1].prefix_len(), 128);
        let Err(ConfigError(mistakes)) = Config::read(layers("[[site]]\nnetworks = []\nurl = 'x'"))
        else {
            panic!("a site without networks was taken");
        };
        let keys: Vec<&str> = mistakes
            .iter()
            .map(|mistake| mistake.key.as_str())
            .collect();
        assert_eq!(
            keys,
            ["site[0].form_post_url", "site[0].networks", "site[0].url"]
        );
    }

    #[test]
    fn names_of_orchestrators_in_the_environment_are_no_mistake() {
        let layers = Layers {
            environment: vec![("PILLARBOX_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned())],
            ..Layers::default()
        };
        assert_eq!(Config::read(layers).unwrap().warnings.len(), 1);
    }
}
