//! The server under measurement: the release binary, in a process of its own.
//!
//! Owns: the child process, and what the kernel says it used.
//! Never does: outlive the benchmark; the child is killed by its own id.
//!
//! Invariant: durable by default, as a user starts it; nothing is tuned.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::client::Target;
use super::{Figures, run};

pub(super) struct Server {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        // Below the build folder: what is measured is a disk, and /tmp may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let port_file = folder.path().join("ports");
        let child = Command::new(env!("CARGO_BIN_EXE_pillarbox"))
            .args([
                "dev",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--port-file",
            ])
            .arg(&port_file)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the release binary starts");
        let deadline = Instant::now() + Duration::from_secs(10);
        let ports = loop {
            match fs::read_to_string(&port_file) {
                Ok(ports) => break ports,
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(2)),
                Err(error) => panic!("the server is not ready: {error}"),
            }
        };
        let address = ports
            .lines()
            .next()
            .and_then(|url| url.strip_prefix("http://"))
            .expect("a URL")
            .to_owned();
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    pub(super) fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
        }
    }

    pub(super) fn measure(
        &self,
        bytes: usize,
        count: usize,
        parallel: usize,
        request: impl Fn(usize, usize) + Sync,
    ) -> Figures {
        let before = self.cpu_seconds();
        let mut figures = run(bytes, count, parallel, &request);
        figures.cpu_seconds = self.cpu_seconds() - before;
        figures
    }

    pub(super) fn peak_mib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }

    /// User and system time; the kernel counts it in hundredths of a second.
    fn cpu_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat
            .rsplit_once(')')
            .map_or("", |(_, tail)| tail)
            .split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        ticks / 100.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
