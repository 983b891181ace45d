//! How files of the data folder are opened and made.
//!
//! Owns: their rights, and that nothing is followed that stands in their place.
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

/// For reading and writing, and never where a symbolic link leads: whoever has put one there, it is no file of ours.
pub(super) fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags(NO_LINK);
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
    let file = File::options().read(true).custom_flags(NO_LINK).open(path);
    file.map_err(no_link)
}
