//! A server as a process of its own, and what the kernel says it used.
//!
//! Owns: the child; it and its children are measured, and it is ended by its own id.
//! Never does: outlive the benchmark.
//!
//! Invariant: processor time is read in hundredths of a second, which is what the kernel counts in.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to accept.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long a server may take to stop before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Process(Child);

impl Process {
    /// Starts a program; `None` when it is not installed.
    pub(crate) fn start(command: &mut Command) -> Option<Self> {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        match quiet.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// User and system time of the process and of its children that still run.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let id = self.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        children.chain([id]).map(cpu_seconds).sum()
    }

    /// A line of `/proc/ID/status`, in KiB.
    pub(crate) fn status_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse().ok()).expect("a size in kB")
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("an id"), Signal::TERM).expect("it runs");
        let deadline = Instant::now() + STOP_DEADLINE;
        while Instant::now() < deadline {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        println!("a server did not stop within {STOP_DEADLINE:?}; it is killed");
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("our child");
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("our child").is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `ready` answers.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + START_DEADLINE;
    while Instant::now() < deadline {
        if let Some(found) = ready() {
            return found;
        }
        sleep(Duration::from_micros(200));
    }
    panic!("{what} is not ready");
}

/// Waits until something accepts.
pub(crate) fn wait_to_accept(what: &str, address: SocketAddr) {
    wait_for(what, || TcpStream::connect(address).ok());
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, tail)| tail);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
