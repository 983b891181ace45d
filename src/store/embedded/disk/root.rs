//! What lies at the top of the data folder: `FORMAT`, the snapshot of the catalog, the folder of the index, the ballast.
//!
//! Owns: making the folders, small files that are replaced whole, and the space that is kept back.
//! Never does: touch the files of uploads and objects; the rest of `disk` does. Take the lock; `lock.rs` does.
//!
//! Invariant: a small file is the old one or the new one after any crash: temporary file, sync, rename, sync of the folder.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, XattrFlags};

use super::super::index::{Need, Room};
use super::open::{make_anew, no_link, open_options, open_to_read, regular};
use super::{Disk, FileName, LABEL_ATTRIBUTE, MAX_ATTRIBUTE_BYTES, present};
use crate::model::Id;
use crate::store::StoreError;

/// What marks an index that is to be rebuilt.
const DAMAGED: &str = "damaged";
/// How the folders begin, in that of an index which is a file system of its own, into which lost ones are moved.
const BROKEN: &str = "broken-";
/// Longest small file (`FORMAT`, `catalog.json`) that is read, in bytes.
const MAX_SMALL_FILE_BYTES: u64 = 1 << 30;
/// Ends the names of files that are about to be renamed; what a crash leaves of them is removed at open.
const TEMPORARY: &str = ".tmp";
/// Number of fan-out folders below `objects/`.
const FOLDERS: u16 = 256;
/// With less free space than this, in bytes, the index is not written: sled, which takes its file's room by the half MiB, takes no more
/// writes until a restart when it finds none.
pub(in super::super) const MIN_INDEX_ROOM: u64 = 4 << 20;
/// As much is left to what makes room.
const LAST_INDEX_ROOM: u64 = 1 << 20;

/// Whether the blocks that a file system keeps for the superuser are for this process, too: not for the superuser of a user namespace.
fn may_use_reserve() -> bool {
    let whole = ["0", "0", "4294967295"];
    let is_whole = |map: String| map.split_whitespace().eq(whole);
    let is_root = rustix::process::geteuid().is_root();
    is_root && fs::read_to_string("/proc/self/uid_map").is_ok_and(is_whole)
}

impl Disk {
    /// Makes the folders, removes what a crash left half written, and finds out whether the file system has extended attributes.
    pub(in super::super) fn made_ready(mut self) -> Result<Self, StoreError> {
        let (root, objects) = (self.root.clone(), self.root.join("objects"));
        self.run_at("make the object folders", &objects, || self.make_folders())?;
        let remove = || self.remove_temporaries();
        self.run_at("remove temporary files", &root, remove)?;
        self.attributes = self.probe_attributes();
        Ok(self)
    }

    /// The folder of the index.
    pub(in super::super) fn index_folder(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Reads `FORMAT`; `None` when there is none.
    pub(in super::super) fn read_format(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_small(&self.root.join("FORMAT"), MAX_SMALL_FILE_BYTES)
    }

    /// Writes `FORMAT`.
    pub(in super::super) fn write_format(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace_file(&self.root.join("FORMAT"), bytes)
    }

    /// Reads the snapshot of the catalog; `None` when there is none.
    pub(in super::super) fn read_catalog(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_small(&self.root.join("catalog.json"), MAX_SMALL_FILE_BYTES)
    }

    /// Replaces the snapshot of the catalog whole.
    pub(in super::super) fn write_catalog(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.replace_file(&self.root.join("catalog.json"), bytes)
    }

    /// Whether there is an index: anything in its place but a folder without files of one.
    pub(in super::super) fn has_index(&self) -> bool {
        let folder = self.index_folder();
        let is_empty = index_files(&folder).is_ok_and(|files| files.is_empty());
        !is_empty && fs::symlink_metadata(&folder).is_ok()
    }

    /// Makes the folder of the index, and notes in it, durably, that it is being made.
    pub(in super::super) fn begin_index(&self) -> Result<(), StoreError> {
        let folder = self.index_folder();
        let made = self.run_at("make the index folder", &folder, || make_folder(&folder));
        made.and_then(|_| self.make_mark(&self.half_made_mark()))
    }

    /// Makes the names of a new index durable, and that it is whole: before, nothing is put into it that only it knows.
    pub(in super::super) fn finish_index(&self) -> Result<(), StoreError> {
        let mark = self.half_made_mark();
        self.run_at("remove a mark", &mark, || fs::remove_file(&mark))?;
        self.sync_parent(&mark)?;
        self.sync_parent(&self.index_folder())
    }

    /// Removes an index that did not become whole. In its place, which may be a file system of its own; the mark goes last.
    pub(in super::super) fn remove_half_made_index(&self) -> Result<(), StoreError> {
        let (folder, mark) = (self.index_folder(), self.half_made_mark());
        if !mark.exists() {
            return Ok(());
        }
        tracing::warn!("the index did not become whole; it is made anew");
        self.run_at("remove a half-made index", &folder, || {
            for path in index_files(&folder)?
                .into_iter()
                .filter(|path| *path != mark)
            {
                match fs::symlink_metadata(&path)?.is_dir() {
                    true => fs::remove_dir_all(path)?,
                    false => fs::remove_file(path)?,
                }
            }
            Ok(())
        })?;
        self.sync_parent(&mark)?;
        self.run_at("remove a mark", &mark, || fs::remove_file(&mark))
    }

    fn half_made_mark(&self) -> PathBuf {
        self.index_folder().join("half-made")
    }

    /// Marks the index, durably, as one to be rebuilt at the next start. The mark lies in its folder and goes aside with it.
    pub(in super::super) fn mark_index(&self) -> Result<(), StoreError> {
        self.make_mark(&self.index_mark())
    }

    /// Whether the index is to be rebuilt.
    pub(in super::super) fn index_is_marked(&self) -> bool {
        self.index_mark().exists()
    }

    fn index_mark(&self) -> PathBuf {
        self.index_folder().join(DAMAGED)
    }

    /// Moves the index folder aside and says where it is now.
    pub(in super::super) fn set_index_aside(&self, suffix: &str) -> Result<PathBuf, StoreError> {
        let aside = (0_u32..)
            .map(|n| self.root.join(format!("index.broken-{suffix}-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.root.join("index.broken"));
        let folder = self.index_folder();
        let moved = self.run_at("move the index aside", &folder, || {
            match fs::rename(&folder, &aside) {
                // It is a file system of its own, in which all of it can be moved.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    move_within(&folder, suffix)
                }
                renamed => renamed.map(|()| aside),
            }
        })?;
        self.sync_parent(&moved)?;
        Ok(moved)
    }

    /// Gives back the space of the ballast; whether there was any.
    pub(in super::super) fn free_ballast(&self) -> Result<bool, StoreError> {
        let path = self.root.join("ballast");
        let free = self.run_at("free the ballast", &path, || fs::remove_file(&path));
        let removed = present(free)?;
        Ok(removed.is_some())
    }

    /// Whether the index may be written, asked of the file system each time. For what makes room the ballast is given up, so that deletes can go
    /// on when others have filled the disk; a sweep makes it again. Nothing else of the store takes that room: all else keeps more free.
    /// It is asked beside every job, so it is no verb of [`Disk::run`]: each would be one more place for the tests of every point.
    pub(in super::super) fn room(&self) -> Room {
        let (root, ballast) = (self.root.clone(), self.root.join("ballast"));
        let has_reserve = may_use_reserve();
        let has = move |bytes: u64| {
            // A file system that does not answer is no full one.
            rustix::fs::statvfs(&root).map_or(true, |stat| {
                let blocks = if has_reserve {
                    stat.f_bfree
                } else {
                    stat.f_bavail
                };
                blocks.saturating_mul(stat.f_frsize) >= bytes
            })
        };
        Box::new(move |need| {
            if has(MIN_INDEX_ROOM) {
                return true;
            }
            if need == Need::MakeRoom && fs::remove_file(&ballast).is_ok() {
                tracing::warn!("the disk is full; the ballast was given up to make room");
            }
            need == Need::MakeRoom && has(LAST_INDEX_ROOM)
        })
    }

    /// How many bytes are set aside.
    pub(in super::super) fn ballast_bytes(&self) -> u64 {
        fs::symlink_metadata(self.root.join("ballast")).map_or(0, |ballast| ballast.len())
    }

    /// Sets `bytes` of space aside, in place of what was set aside before, while that leaves as much again above `floor`. A crash in the middle
    /// leaves another number of bytes, which is as good as a changed setting.
    pub(in super::super) fn keep_ballast(&self, bytes: u64, floor: u64) -> Result<(), StoreError> {
        let before = self.ballast_bytes();
        if before == bytes {
            return Ok(());
        }
        let wanted = floor.saturating_add(bytes.saturating_mul(2));
        if bytes > 0 && self.free_bytes()?.saturating_add(before) < wanted {
            return Ok(());
        }
        if let Err(error) = self.make_ballast(bytes) {
            tracing::warn!(%error, "no ballast; a restart on a full disk may fail");
        }
        Ok(())
    }

    fn make_ballast(&self, bytes: u64) -> Result<(), StoreError> {
        self.free_ballast()?;
        if bytes == 0 {
            return Ok(());
        }
        let path = self.root.join("ballast");
        let made = self.run_at("make the ballast", &path, || {
            let file = open_options().create_new(true).open(&path)?;
            Ok(rustix::fs::fallocate(
                &file,
                FallocateFlags::empty(),
                0,
                bytes,
            )?)
        });
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made
    }

    /// Makes what was removed from the folders of these ids durable.
    pub(in super::super) fn sync_folders(
        &self,
        ids: impl Iterator<Item = Id>,
    ) -> Result<(), StoreError> {
        let folders: BTreeMap<u8, Id> = ids.map(|id| (id.fan_out(), id)).collect();
        folders
            .values()
            .try_for_each(|id| self.sync_parent(&self.path(FileName::Main(*id))))
    }

    pub(super) fn read_small(
        &self,
        path: &Path,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        present(self.run_at("read a small file", path, || {
            let mut bytes = Vec::new();
            let file = open_to_read(path)?;
            file.take(max_bytes).read_to_end(&mut bytes)?;
            Ok(bytes)
        }))
    }

    /// Makes an empty file, durably, in its place: the folder of the index may be a file system of its own, to which nothing is renamed.
    fn make_mark(&self, path: &Path) -> Result<(), StoreError> {
        self.fuse.check()?;
        let make = || regular(open_options().create(true).open(path).map_err(no_link)?);
        self.run_at("make a mark", path, make)?;
        self.sync_parent(path)
    }

    pub(super) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.fuse.check()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.root.join(format!("{name}{TEMPORARY}"));
        let written = self.run_at("write a small file", &temporary, || {
            let mut file = make_anew(&temporary)?;
            file.write_all(bytes)?;
            Ok(file)
        });
        let renamed = written.and_then(|file| {
            self.sync_all(&file)?;
            let rename = || fs::rename(&temporary, path);
            self.run_at("rename a small file", &temporary, rename)?;
            Ok(file)
        });
        match renamed {
            Ok(file) => {
                let synced = self.sync_parent(path);
                // Not before: a start that finds two descriptors here has one for a client and one for what that asks for.
                drop(file);
                synced
            }
            Err(error) => {
                // On a full disk it has taken the last block.
                let _ = self.run("remove a small file", || fs::remove_file(&temporary));
                Err(error)
            }
        }
    }

    fn make_folders(&self) -> io::Result<()> {
        let objects = self.root.join("objects");
        let mut made = make_folder(&objects)?;
        for folder in 0..FOLDERS {
            made |= make_folder(&objects.join(format!("{folder:02x}")))?;
        }
        if made {
            File::open(&objects)?.sync_all()?;
            File::open(&self.root)?.sync_all()?;
        }
        Ok(())
    }

    fn remove_temporaries(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(TEMPORARY) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn probe_attributes(&self) -> bool {
        let path = self.root.join("probe.tmp");
        let probe = || -> io::Result<()> {
            let file = make_anew(&path)?;
            let value = [b'x'; MAX_ATTRIBUTE_BYTES];
            let flags = XattrFlags::empty();
            rustix::fs::fsetxattr(&file, LABEL_ATTRIBUTE, &value, flags)?;
            Ok(())
        };
        let works = probe();
        let _ = fs::remove_file(&path);
        if let Err(error) = &works {
            tracing::info!(%error, "no room for extended attributes; labels lie beside the files");
        }
        works.is_ok()
    }
}

/// What lies in the folder of an index and belongs to it.
fn index_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_other = name == "lost+found" || name.to_string_lossy().starts_with(BROKEN);
        files.extend((!is_other).then(|| folder.join(name)));
    }
    Ok(files)
}

/// Moves what belongs to an index into a folder in its own, and says which. What marks it as damaged goes last.
fn move_within(folder: &Path, suffix: &str) -> io::Result<PathBuf> {
    let names = (0_u32..).map(|n| folder.join(format!("{BROKEN}{suffix}-{n}")));
    let aside = { names }.find(|path| !path.exists()).unwrap_or_default();
    make_folder(&aside)?;
    let mut files = index_files(folder)?;
    files.sort_by_key(|path| path.ends_with(DAMAGED));
    for path in files {
        fs::rename(&path, aside.join(path.file_name().unwrap_or_default()))?;
    }
    File::open(&aside)?.sync_all()?;
    Ok(aside)
}

/// Makes one folder, 0700; whether it was not there before.
fn make_folder(path: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::fuse::Fuse;
    use crate::store::embedded::tests::Folder;

    #[test]
    fn an_index_that_is_a_file_system_of_its_own_is_moved_aside_within_it() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.options().data, Fuse::default()).unwrap();
        let index = disk.index_folder();
        for other in ["lost+found", "broken-7-0"] {
            fs::create_dir_all(index.join(other)).unwrap();
        }
        assert!(!disk.has_index());
        fs::create_dir(index.join("blobs")).unwrap();
        fs::write(index.join("db"), b"log").unwrap();
        disk.mark_index().unwrap();
        assert!(disk.has_index());
        let aside = move_within(&index, "7").unwrap();
        assert_eq!(aside, index.join("broken-7-1"));
        assert!(!disk.has_index() && !disk.index_is_marked());
        assert_eq!(fs::read(aside.join("db")).unwrap(), b"log");
        assert!(aside.join("blobs").is_dir());
    }

    #[test]
    fn no_file_at_the_top_is_read_or_written_through_a_link() {
        use std::os::unix::fs::symlink;
        for (name, opens) in [
            ("LOCK", false),
            ("FORMAT.tmp", true),
            ("catalog.json.tmp", true),
            ("probe.tmp", true),
            ("ballast", true),
            ("unrelated", true),
        ] {
            let folder = Folder::new();
            let (data, victim) = (folder.options().data, folder.0.with_extension("victim"));
            fs::write(&victim, b"important").unwrap();
            fs::create_dir_all(&data).unwrap();
            let planted = data.join(name);
            symlink(&victim, &planted).unwrap();
            let opened = Disk::open(&data, Fuse::default());
            assert_eq!(opened.is_ok(), opens, "{name}");
            match opened {
                Ok(disk) => {
                    // As if it had been put there later.
                    let _ = symlink(&victim, &planted);
                    disk.write_format(b"ours").unwrap();
                    disk.write_catalog(b"ours").unwrap();
                    disk.keep_ballast(4096, 0).unwrap();
                    assert_eq!(disk.ballast_bytes(), 4096, "{name}");
                    assert!(!data.join("catalog.json").is_symlink());
                }
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains("LOCK") && said.contains("link"), "{said}");
                }
            }
            assert_eq!(fs::read(&victim).unwrap(), b"important", "{name}");
            fs::remove_file(&victim).unwrap();
        }
    }

    #[test]
    fn what_a_link_leads_to_is_no_catalog_and_no_mark() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.options().data, Fuse::default()).unwrap();
        let victim = folder.0.with_extension("victim");
        fs::write(&victim, b"theirs").unwrap();
        for name in ["FORMAT", "catalog.json", "index/half-made"] {
            let planted = folder.options().data.join(name);
            fs::create_dir_all(planted.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&victim, planted).unwrap();
        }
        for read in [disk.read_format(), disk.read_catalog()] {
            let said = read.unwrap_err().to_string();
            assert!(said.contains("symbolic link"), "{said}");
        }
        let said = disk.begin_index().unwrap_err().to_string();
        assert!(
            said.contains("half-made") && said.contains("symbolic link"),
            "{said}"
        );
        disk.write_catalog(b"ours").unwrap();
        assert_eq!(disk.read_catalog().unwrap().unwrap(), b"ours");
        assert_eq!(fs::read(&victim).unwrap(), b"theirs");
        fs::remove_file(&victim).unwrap();
    }

    /// Makes a FIFO, which keeps whoever opens it to read waiting for a writer, and lets go of him after a while.
    fn fifo(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let _ = fs::remove_file(path);
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn nobody_waits_for_what_is_no_file() {
        use std::time::Duration;
        let folder = Folder::new();
        let data = folder.options().data;
        let disk = Disk::open(&data, Fuse::default()).unwrap();
        let id = Id::new(crate::store::embedded::tests::NOW, [7; 8]);
        let object = disk.path(FileName::Main(id));
        for path in [&data.join("FORMAT"), &data.join("catalog.json"), &object] {
            fifo(path);
        }
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let opened = disk.open_to_read(FileName::Main(id)).map(|_| None);
            for read in [disk.read_format(), disk.read_catalog(), opened] {
                let said = read.map_err(|error| error.to_string());
                let _ = told.send(said.unwrap_err());
            }
        });
        for path in [&data.join("FORMAT"), &data.join("catalog.json"), &object] {
            let said = heard.recv_timeout(Duration::from_secs(5));
            let said = said.expect("nobody writes into it");
            for word in [path.to_str().unwrap(), "no regular file"] {
                assert!(said.contains(word), "{said}");
            }
        }
        let data = data.join("other");
        let disk = Disk::open(&data, Fuse::default()).unwrap();
        let (object, mark) = (disk.path(FileName::Main(id)), data.join("index/half-made"));
        for path in [&object, &mark] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fifo(path);
        }
        let written = disk.open_or_create(FileName::Main(id)).map(drop);
        for refused in [written, disk.begin_index()] {
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("no regular file"), "{said}");
        }
        let data = data.join("another");
        fs::create_dir(&data).unwrap();
        fifo(&data.join("LOCK"));
        let said = Disk::lock(&data, Fuse::default()).unwrap_err().to_string();
        assert!(
            said.contains("LOCK") && said.contains("no regular file"),
            "{said}"
        );
    }

    #[test]
    fn of_an_index_that_did_not_become_whole_nothing_stays() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.options().data, Fuse::default()).unwrap();
        disk.begin_index().unwrap();
        let index = disk.index_folder();
        for folder in ["lost+found", "blobs"] {
            fs::create_dir(index.join(folder)).unwrap();
        }
        fs::write(index.join("db"), b"log").unwrap();
        disk.remove_half_made_index().unwrap();
        assert!(!disk.has_index() && index.join("lost+found").exists());
        disk.begin_index().unwrap();
        disk.finish_index().unwrap();
        fs::write(index.join("db"), b"log").unwrap();
        disk.remove_half_made_index().unwrap();
        assert!(disk.has_index());
    }
}
