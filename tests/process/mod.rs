//! The real binary as a child process, for tests.
//!
//! Every server listens on free ports that it writes into a port file, so tests run beside each other, and nothing waits
//! for a fixed time: readiness is the port file, the end is the exit of the process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for anything that should happen soon.
pub const SOON: Duration = Duration::from_secs(30);

pub fn pillarbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PILLARBOX_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a verb to its end.
pub fn run(arguments: &[&str]) -> Output {
    pillarbox().args(arguments).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Holds the lock of a data folder, as a server on it would, until what is returned is closed.
pub fn hold_lock(data: &Path) -> fs::File {
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(false);
    let lock = options.open(data.join("LOCK")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    lock
}

/// Asks until `found` answers.
pub fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server; killed when dropped.
pub struct Server {
    child: Child,
    folder: TempDir,
    pub public: String,
    pub admin: String,
}

impl Server {
    /// `pillarbox dev` with more flags.
    pub fn dev(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = pillarbox();
        command
            .arg("dev")
            .arg("--data")
            .arg(folder.path().join("data"));
        command.args(flags);
        Self::start(command, folder)
    }

    /// `pillarbox serve` with more flags.
    pub fn serve(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::serve_in(folder, flags)
    }

    pub fn serve_in(folder: TempDir, flags: &[&str]) -> Self {
        let mut command = pillarbox();
        command
            .arg("serve")
            .arg("--data")
            .arg(folder.path().join("data"));
        command.args(["--set", "store.ballast=0", "--set", "store.free_floor=1MiB"]);
        command.args(flags);
        Self::start(command, folder)
    }

    /// Adds what every server of a test needs, starts it, and waits until it is ready.
    pub fn start(mut command: Command, folder: TempDir) -> Self {
        let _absent = fs::remove_file(folder.path().join("ports"));
        Self::with_ports(&mut command, &folder);
        Self::spawn(command, folder)
    }

    /// Starts a command that writes the port file, and waits until it is ready.
    pub fn spawn(command: Command, folder: TempDir) -> Self {
        let mut server = Self::begin(command, folder);
        server.wait_until_ready();
        server
    }

    /// A server of the folder's data that stands still in the middle of its start, until what is returned is closed: it waits for the
    /// lock, 10 s at most.
    pub fn begin_and_stand_still(folder: TempDir, flags: &[&str]) -> (Self, fs::File) {
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let lock = hold_lock(&data);
        let mut command = pillarbox();
        command.arg("serve").arg("--data").arg(data).args(flags);
        Self::with_ports(&mut command, &folder);
        let mut server = Self::begin(command, folder);
        eventually("the start", || {
            assert!(server.is_running(), "{}", server.log());
            server.log().contains("another process uses").then_some(())
        });
        (server, lock)
    }

    fn with_ports(command: &mut Command, folder: &TempDir) {
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        let ports = folder.path().join("ports");
        command.arg("--port-file").arg(ports);
    }

    /// Starts a command and waits for nothing.
    pub fn begin(mut command: Command, folder: TempDir) -> Self {
        let open = |name| fs::File::create(folder.path().join(name)).unwrap();
        let child = command
            .stdout(open("stdout"))
            .stderr(open("stderr"))
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            public: String::new(),
            admin: String::new(),
        }
    }

    fn wait_until_ready(&mut self) {
        let ports = eventually("the port file", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", self.log());
            }
            fs::read_to_string(self.folder.path().join("ports")).ok()
        });
        let mut lines = ports.lines().map(str::to_owned);
        self.public = lines.next().unwrap();
        self.admin = lines.next().unwrap();
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    /// `ADDRESS:PORT` of the public listener.
    pub fn address(&self) -> String {
        self.public.split("//").nth(1).unwrap().to_owned()
    }

    pub fn admin_address(&self) -> String {
        self.admin.split("//").nth(1).unwrap().to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// How many sockets it has open.
    pub fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let to = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        to.filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the server's end", || child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Stops it as an operator would and gives its folder back.
    pub fn stop(mut self) -> TempDir {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log());
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// Runs a verb on this server's data folder.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        pillarbox()
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .output()
            .unwrap()
    }

    /// One request on a connection of its own; status and body.
    pub fn get(&self, target: &str) -> (u16, String) {
        self.request(&format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address()
        ))
    }

    pub fn get_with_token(&self, target: &str, token: &str) -> (u16, String) {
        self.request(&format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
            self.address()
        ))
    }

    pub fn request(&self, head: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        parse(&answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Status and body of an answer that was read to the end of its connection.
pub fn parse(answer: &str) -> (u16, String) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
