//! The server under measurement: the release binary, in a process of its own.
//!
//! Owns: how it is started. Never does: tune it; it is durable by default, as a user starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, Target};
use crate::figures::{Amount, Figures, run};
use crate::process::{Process, wait_for};
use crate::tls::Certificate;

const RELEASE: &str = env!("CARGO_BIN_EXE_pillarbox");

pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) target: Target,
    /// From the start of the process until it accepted.
    pub(crate) ready_after: Duration,
    // Dropped after the process.
    _folder: Option<tempfile::TempDir>,
}

/// A folder for data. Below the build folder: what is measured is a disk, and the system's temporary folder may be memory.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

impl Server {
    /// A fresh server over plain HTTP.
    pub(crate) fn start() -> Self {
        Self::fresh(RELEASE, &[], None)
    }

    /// A fresh server over TLS.
    pub(crate) fn start_tls(certificate: &Certificate) -> Self {
        Self::tls_of(RELEASE, certificate)
    }

    /// The release that `PILLARBOX_BENCH_BEFORE` names, to compare with: over plain HTTP, and over TLS.
    pub(crate) fn before(certificate: &Certificate) -> Option<[Self; 2]> {
        let binary = std::env::var("PILLARBOX_BENCH_BEFORE").ok()?;
        Some([
            Self::fresh(&binary, &[], None),
            Self::tls_of(&binary, certificate),
        ])
    }

    fn tls_of(binary: &str, certificate: &Certificate) -> Self {
        let settings = [
            format!("tls.certificate={}", certificate.chain.display()),
            format!("tls.private_key={}", certificate.key.display()),
        ];
        let settings = settings.each_ref().map(String::as_str);
        Self::fresh(binary, &settings, Some(certificate))
    }

    /// A fresh server with settings.
    pub(crate) fn with(settings: &[&str]) -> Self {
        Self::fresh(RELEASE, settings, None)
    }

    /// A server on data that is there.
    pub(crate) fn on(data: &Path) -> Self {
        let ports = folder();
        Self::launch(RELEASE, data, ports.path().join("ports"), &[], None)
    }

    fn fresh(binary: &str, settings: &[&str], certificate: Option<&Certificate>) -> Self {
        let folder = folder();
        let (data, ports) = (folder.path().join("data"), folder.path().join("ports"));
        let mut server = Self::launch(binary, &data, ports, settings, certificate);
        server._folder = Some(folder);
        server
    }

    fn launch(
        binary: &str,
        data: &Path,
        ports: PathBuf,
        settings: &[&str],
        certificate: Option<&Certificate>,
    ) -> Self {
        let mut command = Command::new(binary);
        let any = "127.0.0.1:0";
        command.args(["dev", "--listen", any, "--admin-listen", any]);
        command
            .arg("--data")
            .arg(data)
            .arg("--port-file")
            .arg(&ports);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let started = Instant::now();
        let mut process = Process::start(&mut command).expect("the release binary is there");
        let urls = wait_for("the server", || {
            assert!(!process.has_ended(), "the server ended: {settings:?}");
            fs::read_to_string(&ports).ok()
        });
        let ready_after = started.elapsed();
        let url = urls.lines().next().expect("a URL");
        let address = url.split("//").nth(1).and_then(|host| host.parse().ok());
        Self {
            process,
            target: Target {
                address: address.expect("an address"),
                tls: certificate.map(|certificate| std::sync::Arc::clone(&certificate.client)),
            },
            ready_after,
            _folder: None,
        }
    }

    /// As [`run`], with the processor time that the server needed.
    pub(crate) fn run(
        &self,
        amount: Amount,
        request: impl Fn(&mut Client, usize) + Sync,
    ) -> Figures {
        measured(&self.process, || run(&self.target, amount, request))
    }

    /// A connection for what is not measured.
    pub(crate) fn client(&self) -> Client {
        self.target.connect()
    }
}

/// Adds the processor time that `process` needed for `work`.
pub(crate) fn measured(process: &Process, work: impl FnOnce() -> Figures) -> Figures {
    let before = process.cpu_seconds();
    let figures = work();
    Figures {
        cpu_seconds: Some(process.cpu_seconds() - before),
        ..figures
    }
}
