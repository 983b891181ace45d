//! The control socket: how the command line reaches a running server.
//!
//! Owns: the socket's place (`control.sock` in the data folder), its mode (0600, in a folder that is 0700), and the
//! connection to it. Whoever can open it is the operator; there is no further password.
//!
//! Never does: speak HTTP; the application answers, `cli/control.rs` asks.
//!
//! Invariant: bound only by the process that holds the store's lock, so a socket file that is found was left behind by
//! a process that is gone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the data folder.
pub const SOCKET_NAME: &str = "control.sock";

/// Binds the socket in `data`, in place of one that was left behind.
///
/// # Errors
/// When the folder cannot be written.
pub fn bind(data: &Path) -> io::Result<UnixListener> {
    let path = data.join(SOCKET_NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = open_folder(data)?;
    let listener = UnixListener::bind(short_path(&folder))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the server that runs on `data`; `None` when none does.
///
/// # Errors
/// When the socket is there but refuses us, for example because it belongs to another user.
pub async fn connect(data: &Path) -> io::Result<Option<UnixStream>> {
    let connecting = async {
        let folder = open_folder(data)?;
        UnixStream::connect(short_path(&folder)).await
    };
    match connecting.await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

/// Removes the socket's file; a server does it when it ends.
pub fn remove(data: &Path) {
    if let Err(error) = fs::remove_file(data.join(SOCKET_NAME)) {
        tracing::debug!(%error, "the control socket was not removed");
    }
}

fn open_folder(data: &Path) -> io::Result<File> {
    let directory = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
    OpenOptions::new()
        .read(true)
        .custom_flags(directory)
        .open(data)
}

/// The socket's path by way of the open folder: the system takes at most 107 bytes, and data folders may be deeper.
fn short_path(folder: &File) -> PathBuf {
    PathBuf::from(format!(
        "/proc/self/fd/{}/{SOCKET_NAME}",
        folder.as_raw_fd()
    ))
}
