//! A data folder as a process leaves it that is gone from one moment to the next.
//!
//! Owns: copies of folders with the labels of their files. A store that is dropped, even one whose disk operations all fail, lets its index
//! write what it still held back; so who wants to see what a crash leaves copies the folder while the store is there.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test crate uses all of it; a test fails loudly"
)]

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::XattrFlags;

/// The extended attribute that holds the label of a file.
const LABEL: &str = "user.pillarbox";

/// Copies a folder with all that is in it; what is removed meanwhile may be missing.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else if let Err(error) = copy_file(&from, &to) {
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{from:?}: {error}");
        }
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut label = vec![0; 4096];
    let length = rustix::fs::getxattr(from, LABEL, label.as_mut_slice());
    fs::copy(from, to)?;
    if let Ok(length) = length {
        rustix::fs::setxattr(to, LABEL, &label[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Copies a data folder while a store works in it, as it is at one moment as far as its index can tell: files are made before the index
/// names them, and removed after it has given them up, so what the index says is true of the files as long as it does not change.
pub(crate) fn copy_alive(data: &Path, to: &Path) {
    loop {
        let index = index(data);
        copy(data, to);
        if index == self::index(data) {
            return;
        }
        fs::remove_dir_all(to).unwrap();
    }
}

/// The bytes of the index.
fn index(data: &Path) -> Vec<u8> {
    fs::read(data.join("index/db")).unwrap()
}
