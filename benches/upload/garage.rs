//! Reference (d): Garage from its published crate, taking the same form posts.
//!
//! Owns: one node with one copy, its bucket and its key. Never does: tune it beyond what its documentation shows for one node.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Client, Target};
use crate::figures::{Amount, Figures, run};
use crate::form::{REGION, Signer};
use crate::process::{Process, free_port, wait_for, wait_to_accept};
use crate::server::{folder, measured};

/// What a row says when it is missing.
pub(crate) const HOW_TO_INSTALL: &str = "not installed: cargo install garage";
const ACCESS_KEY: &str = "GK31c2f218a2e44f485b94239e";
const SECRET: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";
const BUCKET: &str = "uploads";

pub(crate) struct Garage {
    process: Process,
    target: Target,
    pub(crate) signer: Signer,
    _folder: tempfile::TempDir,
}

impl Garage {
    /// Starts it, with or without syncs; `None` when it is not installed.
    pub(crate) fn start(sync: bool) -> Option<Self> {
        let folder = folder();
        let (s3, rpc) = (free_port(), free_port());
        let file = configure(folder.path(), s3, rpc, sync);
        let process = Process::start(garage(&file).arg("server"))?;
        wait_to_accept("Garage", rpc);
        let node = wait_for("Garage", || tell(&file, &["node", "id", "-q"]));
        let node = node.split('@').next().unwrap_or_default().to_owned();
        let steps: [&[&str]; 5] = [
            &["layout", "assign", "-z", "here", "-c", "100G", &node],
            &["layout", "apply", "--version", "1"],
            &["bucket", "create", BUCKET],
            &["key", "import", "--yes", ACCESS_KEY, SECRET],
            &[
                "bucket", "allow", "--read", "--write", BUCKET, "--key", ACCESS_KEY,
            ],
        ];
        for step in steps {
            wait_for(&format!("garage {step:?}"), || tell(&file, step));
        }
        wait_to_accept("Garage", s3);
        Some(Self {
            process,
            target: Target {
                address: s3,
                tls: None,
            },
            signer: Signer::new(BUCKET, ACCESS_KEY, SECRET),
            _folder: folder,
        })
    }

    pub(crate) fn run(
        &self,
        amount: Amount,
        request: impl Fn(&mut Client, usize) + Sync,
    ) -> Figures {
        measured(&self.process, || run(&self.target, amount, request))
    }
}

fn configure(folder: &Path, s3: SocketAddr, rpc: SocketAddr, sync: bool) -> PathBuf {
    let path = folder.display();
    let secret = "7".repeat(64);
    let configuration = format!(
        "metadata_dir = \"{path}/meta\"\ndata_dir = \"{path}/data\"\ndb_engine = \"lmdb\"\n\
         metadata_fsync = {sync}\ndata_fsync = {sync}\nreplication_factor = 1\n\
         rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{secret}\"\n\
         [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{s3}\"\n"
    );
    let file = folder.join("garage.toml");
    fs::write(&file, configuration).expect("a file");
    file
}

fn garage(configuration: &Path) -> Command {
    let mut command = Command::new("garage");
    command.arg("-c").arg(configuration);
    command.env("RUST_LOG", "garage=info");
    command
}

/// What a command printed, when it was carried out.
fn tell(configuration: &Path, arguments: &[&str]) -> Option<String> {
    let done = garage(configuration).args(arguments).output();
    let done = done.expect("it is installed");
    done.status
        .success()
        .then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}
