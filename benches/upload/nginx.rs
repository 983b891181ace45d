//! Reference (c): nginx from Debian, storing bare PUT bodies and serving plain files.
//!
//! Owns: its configuration, which is Debian's own in what matters (sendfile, a log line for each request, a worker for each
//! core), and room for a small body in memory. Never does: hash or sync; nginx does neither.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::client::{Client, Target};
use crate::figures::{Amount, Figures, run};
use crate::process::{Process, free_port, wait_to_accept};
use crate::server::{folder, measured};
use crate::tls::Certificate;

/// What a row says when it is missing.
pub(crate) const HOW_TO_INSTALL: &str = "not installed: apt-get install nginx";

pub(crate) struct Nginx {
    process: Process,
    plain: Target,
    secure: Target,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts it; `None` when it is not installed.
    pub(crate) fn start(certificate: &Certificate) -> Option<Self> {
        let folder = folder();
        let (plain, secure) = (free_port(), free_port());
        let files = folder.path().join("files");
        fs::create_dir(&files).expect("a folder");
        let path = folder.path().display();
        let user = match rustix::process::getuid().is_root() {
            true => "user root;",
            false => "",
        };
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        let configuration = format!(
            "{user} daemon off; worker_processes auto; pid {path}/pid; error_log {path}/error.log;
            events {{ worker_connections 768; }}
            http {{
              sendfile on; tcp_nopush on; types_hash_max_size 2048; access_log {path}/access.log;
              keepalive_requests 1000000; client_max_body_size 0; client_body_buffer_size 64k;
              client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
              uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
              server {{
                listen {plain}; listen {secure} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
                root {}; dav_methods PUT;
              }}
            }}",
            files.display()
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut process = Process::start(&mut command)?;
        wait_to_accept("nginx", plain);
        assert!(!process.has_ended(), "nginx ended");
        Some(Self {
            process,
            plain: Target {
                address: plain,
                tls: None,
            },
            secure: Target {
                address: secure,
                tls: Some(std::sync::Arc::clone(&certificate.client)),
            },
            folder,
        })
    }

    /// A file that it serves under `/NAME`.
    pub(crate) fn put_file(&self, name: &str, bytes: &[u8]) {
        let path = self.files().join(name);
        fs::write(path, bytes).expect("a file");
    }

    /// Runs requests against it, over plain HTTP or TLS.
    pub(crate) fn run(
        &self,
        tls: bool,
        amount: Amount,
        request: impl Fn(&mut Client, usize) + Sync,
    ) -> Figures {
        let target = match tls {
            true => &self.secure,
            false => &self.plain,
        };
        measured(&self.process, || run(target, amount, request))
    }

    /// Lets the disk take what was not synced, so that nobody else pays for it.
    pub(crate) fn settle(&self) {
        let files = fs::File::open(self.files()).expect("a folder");
        rustix::fs::syncfs(files).expect("synced");
    }

    fn files(&self) -> std::path::PathBuf {
        Path::join(self.folder.path(), "files")
    }
}

/// Its workers are not ours to kill: it must stop them itself.
impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.stop();
    }
}
