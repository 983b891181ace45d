//! Whose a data folder may be, and who else may write in it.
//!
//! Owns: the one rule for all verbs. The superuser makes and opens nothing in what belongs to another user, or in what another group
//! than his own, or everybody, may write in. Whoever may change the names in there could put an index of his own in place. All else the
//! system's own rights decide: who may write in a folder of another's by its group may have a store there, and where everybody may write
//! others than the superuser are told so, once. Volumes of containers begin so: of an empty folder of this user's own the right is taken.
//! A folder like `/tmp`, where names are only their owners' to change (the sticky bit), is no exception: others may make files in it that are
//! looked for there. But the right is taken from no such folder, which may be everybody's for a reason.
//!
//! Never does: look above the data folder. Judge what the file system makes up: where a file that is made now gets the
//! same owner, or lets everybody write too, owners and rights say nothing.
//!
//! Invariants: a symbolic link counts as what it is and as what it leads to; the owner of the store may have put it there. A folder is
//! judged before anything is made in it, and again when it is locked, before anything in it is read: another user may have made it
//! meanwhile, or opened it to others. What passes then is only its owner's to change.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::Failure;
use super::output::complain;
use crate::store::embedded::Options;

/// What whoever is not the owner of a data folder may do.
const AS_THAT_USER: &str =
    "run this as that user, or start the server first and then run it as root";
/// Bits of a folder's mode: its group may write, everybody may, and names that are there are only their owners' to change.
const GROUP_WRITES: u32 = 0o020;
const ALL_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// The file that every store has, from its first start on.
pub(super) const FORMAT: &str = "FORMAT";

/// Keeps a verb from a store that others could use against it.
pub(super) fn refuse_foreign(data: &Path) -> Result<(), Failure> {
    refuse(data, AS_THAT_USER, &Process::this())
}

/// The same for a server.
pub(super) fn refuse_to_serve_foreign(data: &Path) -> Result<(), Failure> {
    refuse(data, "run the server as that user", &Process::this())
}

/// Options of a verb that opens the store itself, by which the folder is judged again.
pub(super) fn judged(options: Options) -> Options {
    let judge =
        |data: &Path| refuse_foreign(data).map_err(|failure| io::Error::other(failure.message));
    Options { judge, ..options }
}

/// The same for a server.
pub(super) fn judge_to_serve(data: &Path) -> io::Result<()> {
    refuse_to_serve_foreign(data).map_err(|failure| io::Error::other(failure.message))
}

/// As whom this runs.
struct Process {
    is_root: bool,
    groups: Vec<u32>,
}

impl Process {
    fn this() -> Self {
        let more = rustix::process::getgroups().unwrap_or_default();
        let groups = more.into_iter().chain([rustix::process::getegid()]);
        Self {
            is_root: rustix::process::geteuid().is_root(),
            groups: groups.map(rustix::process::Gid::as_raw).collect(),
        }
    }
}

/// What is wrong with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Owner(u32),
    Group(u32),
    All,
}

fn refuse(data: &Path, remedy: &str, process: &Process) -> Result<(), Failure> {
    /// Whether somebody was told that everybody may write there; once is enough.
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    keep_for_oneself(data);
    for place in places(data) {
        // What is not there is made for this user alone; whoever opens the store says what else is wrong.
        let Ok(found) = std::fs::symlink_metadata(&place) else {
            continue;
        };
        let led_to = match found.is_symlink() {
            true => std::fs::metadata(&place).ok(),
            false => None,
        };
        for metadata in [Some(found), led_to].into_iter().flatten() {
            if let Some(fault) = fault(&metadata, process)
                && !is_made_up(&place, fault)
            {
                let told = told((data, &place), (&metadata, fault), remedy);
                if process.is_root || fault != Fault::All {
                    return Err(told);
                }
                if !IS_TOLD.swap(true, Ordering::Relaxed) {
                    complain(&told.message);
                }
            }
        }
    }
    Ok(())
}

/// Takes the right to write from everybody where that is an empty folder of this user's own.
fn keep_for_oneself(data: &Path) {
    let is_own = |found: &std::fs::Metadata| {
        let mine = found.uid() == rustix::process::geteuid().as_raw();
        mine && found.is_dir() && found.mode() & (ALL_WRITE | STICKY) == ALL_WRITE
    };
    if let Ok(found) = std::fs::symlink_metadata(data)
        && is_own(&found)
        && std::fs::read_dir(data).is_ok_and(|mut names| names.next().is_none())
    {
        let mode = found.mode() & 0o7777 & !ALL_WRITE;
        // Where that is not possible, it is told like any other.
        let _tried = std::fs::set_permissions(data, Permissions::from_mode(mode));
    }
}

/// The data folder, what says that it holds a store, and all folders in which one makes files.
fn places(data: &Path) -> impl Iterator<Item = PathBuf> {
    let objects = data.join("objects");
    let folders = (0..=u8::MAX).map(|folder| objects.join(format!("{folder:02x}")));
    let top = [FORMAT, "index", "objects"].map(|name| data.join(name));
    let folders = folders.collect::<Vec<_>>();
    std::iter::once(data.to_owned()).chain(top).chain(folders)
}

fn fault(metadata: &std::fs::Metadata, process: &Process) -> Option<Fault> {
    let (owner, group, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
    if process.is_root && owner != 0 {
        return Some(Fault::Owner(owner));
    }
    if !metadata.is_dir() {
        return None;
    }
    if mode & ALL_WRITE != 0 {
        return Some(Fault::All);
    }
    let is_ours = !process.is_root || process.groups.contains(&group);
    (mode & GROUP_WRITES != 0 && !is_ours).then_some(Fault::Group(group))
}

/// Whether what this process makes in a place, or beside it, has the same fault.
fn is_made_up(place: &Path, fault: Fault) -> bool {
    let folder = match place.is_dir() {
        true => Some(place),
        false => place.parent(),
    };
    let Some(folder) = folder else {
        return false;
    };
    match tempfile::NamedTempFile::new_in(folder).and_then(|probe| probe.as_file().metadata()) {
        Ok(probe) => match fault {
            Fault::Owner(theirs) => probe.uid() == theirs,
            Fault::Group(_) => probe.mode() & GROUP_WRITES != 0,
            Fault::All => probe.mode() & ALL_WRITE != 0,
        },
        // Nothing can be made here; whoever opens the store says so.
        Err(error) => error.kind() == io::ErrorKind::ReadOnlyFilesystem,
    }
}

fn told(
    (data, place): (&Path, &Path),
    (metadata, fault): (&std::fs::Metadata, Fault),
    remedy: &str,
) -> Failure {
    let has_store = data.join(FORMAT).exists();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let (all, whose) = match has_store {
        true => ("-R ", data.display()),
        false => ("", place.display()),
    };
    let another = "or name a folder that is not there yet: it is made for this user alone";
    let place = place.display();
    Failure::new(match fault {
        Fault::Owner(theirs) if has_store => format!(
            "{place} belongs to user {theirs} (mode {mode:04o}); {remedy}, or give it all to this one (chown -hR root {whose})"
        ),
        Fault::Owner(theirs) => {
            format!("{place} belongs to user {theirs} (mode {mode:04o}); {remedy}, {another}")
        }
        Fault::Group(group) => format!(
            "group {group}, which is none of this process, may write in {place} (user {owner}, mode {mode:04o}); take that from it \
             (chmod {all}g-w {whose}), {another}"
        ),
        // It may be everybody's for a reason.
        Fault::All if mode & STICKY != 0 && !has_store => format!(
            "everybody may make files in {place} (user {owner}, mode {mode:04o}), which would be taken for the store's; name a folder in it \
             that is not there yet: it is made for this user alone"
        ),
        Fault::All => format!(
            "everybody may write in {place} (user {owner}, mode {mode:04o}); take that from them (chmod {all}o-w {whose}), {another}"
        ),
    })
}

/// Whose a place is.
pub(super) fn owner_of(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(metadata.uid())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    /// What a process with these rights is told of a folder.
    fn refusal(data: &Path, is_root: bool, groups: &[u32]) -> Option<String> {
        let process = Process {
            is_root,
            groups: groups.to_vec(),
        };
        let refused = refuse(data, "run it as that user", &process);
        refused.err().map(|failure| failure.message)
    }

    /// A store as one makes it, but for its files.
    fn store() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for folder in ["index", "objects", "objects/00", "objects/ff"] {
            fs::create_dir(data.path().join(folder)).unwrap();
            set_mode(&data.path().join(folder), 0o700);
        }
        fs::write(data.path().join(FORMAT), "").unwrap();
        data
    }

    /// Without the slash that joining nothing leaves.
    fn name_of(place: &Path) -> &str {
        place.to_str().unwrap().trim_end_matches('/')
    }

    fn set_mode(place: &Path, mode: u32) {
        fs::set_permissions(place, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_superuser_refuses_a_folder_in_which_everybody_may_write_and_says_what_to_do() {
        for place in ["", "index", "objects", "objects/ff"] {
            let data = store();
            let is_root = owner_of(data.path()) == Some(0);
            let place = data.path().join(place);
            for (mode, is_refused) in [
                (0o700, false),
                (0o755, false),
                (0o777, true),
                (0o2777, true),
                (0o1777, true),
                (0o1775, false),
            ] {
                set_mode(&place, mode);
                assert_eq!(refusal(data.path(), false, &[]), None);
                let said = refusal(data.path(), is_root, &[0]);
                let is_refused = is_refused && is_root;
                assert_eq!(said.is_some(), is_refused, "{mode:o}: {said:?}");
                let shown = format!("{mode:04o}");
                for word in ["chmod -R o-w", &shown, name_of(&place)] {
                    assert!(said.iter().all(|said| said.contains(word)), "{said:?}");
                }
            }
        }
    }

    #[test]
    fn a_group_may_write_where_it_is_ours_or_we_are_not_root() {
        let data = store();
        let group = fs::metadata(data.path()).unwrap().gid();
        let is_root = owner_of(data.path()) == Some(0);
        set_mode(data.path(), 0o2775);
        assert_eq!(refusal(data.path(), false, &[]), None);
        if !is_root {
            return;
        }
        assert_eq!(refusal(data.path(), true, &[7, group]), None);
        let said = refusal(data.path(), true, &[group + 1]).unwrap();
        assert!(
            said.contains("chmod -R g-w") && said.contains("2775"),
            "{said}"
        );
        set_mode(data.path(), 0o2755);
        assert_eq!(refusal(data.path(), true, &[group + 1]), None);
    }

    #[test]
    fn the_superuser_leaves_alone_what_is_anothers_and_others_do_not() {
        let data = store();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::remove_dir(data.path().join("index")).unwrap();
        symlink(elsewhere.path(), data.path().join("index")).unwrap();
        // Only the superuser can give a file away.
        if chown(data.path(), Some(65534), None).is_err() {
            return;
        }
        chown(data.path(), Some(0), None).unwrap();
        assert_eq!(refusal(data.path(), true, &[0]), None, "a link of his own");
        for place in ["", FORMAT, "objects", "objects/00", "index"] {
            let place = data.path().join(place);
            std::os::unix::fs::lchown(&place, Some(65534), None).unwrap();
            let said = refusal(data.path(), true, &[0]).unwrap();
            for word in ["user 65534", "chown", name_of(&place)] {
                assert!(said.contains(word), "{said}");
            }
            assert_eq!(refusal(data.path(), false, &[]), None);
            std::os::unix::fs::lchown(&place, Some(0), None).unwrap();
        }
        chown(elsewhere.path(), Some(65534), None).unwrap();
        let said = refusal(data.path(), true, &[0]).unwrap();
        assert!(said.contains("index"), "{said}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_nobody_elses() {
        let place = tempfile::tempdir().unwrap();
        let new = place.path().join("new");
        assert_eq!(refusal(&new, true, &[]), None);
    }

    #[test]
    fn an_empty_folder_of_ones_own_is_kept_for_oneself_and_no_other_is_changed() {
        let place = tempfile::tempdir().unwrap();
        let is_root = owner_of(place.path()) == Some(0);
        for (mode, kept) in [(0o777, 0o775), (0o2777, 0o2775), (0o1777, 0o1777)] {
            set_mode(place.path(), mode);
            let said = refusal(place.path(), is_root, &[0]);
            assert_eq!(said.is_some(), is_root && mode == kept, "{said:?}");
            let is_advised =
                |said: &String| !said.contains("chmod") && said.contains("not there yet");
            assert!(said.iter().all(is_advised), "it may be /tmp: {said:?}");
            let found = fs::metadata(place.path()).unwrap().mode() & 0o7777;
            assert_eq!(found, kept, "{mode:o}");
        }
        fs::write(place.path().join("somebody's"), "").unwrap();
        set_mode(place.path(), 0o777);
        let said = refusal(place.path(), is_root, &[0]);
        assert_eq!(said.is_some(), is_root);
        assert!(
            said.is_none_or(|said| !said.contains("-R")),
            "it may be the wrong one"
        );
        let found = fs::metadata(place.path()).unwrap().mode() & 0o777;
        assert_eq!(found, 0o777);
    }
}
