//! How files of the data folder are opened and made.
//!
//! Owns: their rights, and that nothing is followed or waited for that stands in their place: whoever opens a FIFO to read waits for
//! somebody who writes.
//! Never does: judge whose the folder is; `cli/ownership.rs` does, before it is locked. Look at the folders on the way: an operator may have
//! put `index` or `objects` elsewhere by a link of his own.
//!
//! Invariant: what is written is a file that lies here under its own name, so a symbolic link that somebody has planted never makes
//! this process write what it points to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// A symbolic link is not followed.
const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();
/// What is no file keeps nobody waiting. For a file it means that a lease of another process (a share's, say) is not waited for.
const NO_WAIT: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// For reading and writing, and never where a symbolic link leads: whoever has put one there, it is no file of ours.
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(NO_LINK | NO_WAIT);
    options
}

/// Makes a file anew, and so follows nothing that has its name.
pub(super) fn make_anew(path: &Path) -> io::Result<File> {
    let make = || open_options().create_new(true).open(path);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            make()
        }
        made => made,
    }
}

/// What the system says of a link that it was told not to follow does not name it.
pub(super) fn no_link(error: io::Error) -> io::Error {
    match error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        true => io::Error::other("it is a symbolic link, which is not followed here"),
        false => error,
    }
}

/// To read a small file that this process itself has written.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    open_at_leisure(path, NO_LINK).map_err(no_link)
}

/// Opens a file, and waits for who has a lease on it; for nothing else.
fn open_at_leisure(path: &Path, flags: i32) -> io::Result<File> {
    regular(open_by(path, flags, |flags| {
        open_options_of(flags).open(path)
    })?)
}

/// As [`open_at_leisure`], by what opens it with given flags.
fn open_by(path: &Path, flags: i32, open: impl Fn(i32) -> io::Result<File>) -> io::Result<File> {
    match open(flags | NO_WAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && path.is_file() => open(flags),
        opened => opened,
    }
}

fn open_options_of(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    options
}

/// Fails with what is open where it is something else than a file: there would be nothing to read, or no end of it.
pub(super) fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other(
            "it is no regular file, but a folder, a FIFO, a socket or a device",
        )),
    }
}

/// To read the file of an upload or object, which an operator may have put elsewhere.
pub(super) fn open_through_links(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    gate::pass(path);
    open_at_leisure(path, 0)
}

#[cfg(test)]
pub(in super::super) mod gate {
    //! Where tests hold who opens a file.

    use std::path::{Path, PathBuf};
    use std::sync::{Condvar, Mutex};

    static CLOSED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    static OPENED: Condvar = Condvar::new();

    /// Holds who opens a file until it is dropped.
    pub(in super::super::super) struct Gate(PathBuf);

    impl Gate {
        pub(in super::super::super) fn before(path: PathBuf) -> Self {
            CLOSED.lock().unwrap().push(path.clone());
            Self(path)
        }
    }

    impl Drop for Gate {
        fn drop(&mut self) {
            CLOSED.lock().unwrap().retain(|path| *path != self.0);
            OPENED.notify_all();
        }
    }

    /// Waits while the gate is closed.
    pub(super) fn pass(path: &Path) {
        let is_closed = |closed: &mut Vec<PathBuf>| closed.iter().any(|gate| gate == path);
        let closed = CLOSED.lock().unwrap();
        drop(OPENED.wait_while(closed, is_closed).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::Folder;

    /// Opens as the system does what another process has a lease on: who does not wait is told that he would have to.
    fn open_leased(path: &Path, flags: i32) -> io::Result<File> {
        match flags & NO_WAIT {
            0 => open_options_of(flags).open(path),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    #[test]
    fn a_lease_is_waited_for_and_nothing_else() {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        let file = folder.0.join("leased");
        fs::write(&file, b"bytes").unwrap();
        for flags in [0, NO_LINK] {
            let opened = open_by(&file, flags, |flags| open_leased(&file, flags)).unwrap();
            assert_eq!(io::read_to_string(opened).unwrap(), "bytes");
            for other in [&folder.0, &folder.0.join("nothing")] {
                let refused = open_by(other, flags, |flags| {
                    assert_ne!(flags & NO_WAIT, 0, "it is waited for");
                    open_leased(other, flags)
                });
                let kind = refused.unwrap_err().kind();
                assert_eq!(kind, io::ErrorKind::WouldBlock);
            }
            let failing = open_by(&file, flags, |flags| {
                assert_ne!(flags & NO_WAIT, 0, "it failed otherwise");
                Err(io::ErrorKind::PermissionDenied.into())
            });
            let kind = failing.unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::PermissionDenied);
        }
    }
}
