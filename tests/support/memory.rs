//! Folders in memory for tests that open many stores, or fill large ones, and read nothing after a power cut.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::path::Path;

use tempfile::TempDir;

/// Bytes that must be free: several of these tests run at once, and one of them fills some hundred MiB.
const ROOM: u64 = 2 << 30;

/// A folder in memory where there is one with room (a container may have 64 MiB of it); else one on a disk.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |room| room.f_bavail * room.f_frsize);
    if memory.is_dir() && free > ROOM {
        return tempfile::tempdir_in(memory).unwrap();
    }
    tempfile::tempdir().unwrap()
}
