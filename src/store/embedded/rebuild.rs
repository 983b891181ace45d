//! The rebuild of a lost index.
//!
//! Owns: reading every label and the snapshot of the catalog into an empty index.
//! Never does: remove or change a file. What has no sound label (unfinished uploads), and what loses against a newer object of
//! the same key, stays where it is and is only counted.
//!
//! Invariant: the epoch, which makes the index count, is written last; a rebuild that was interrupted begins again.

use std::time::Duration;

use super::disk::{Disk, FileName};
use super::index::{Index, Txn};
use super::orphans::is_unreadable;
use super::records::{self, META};
use super::sync::Handle;
use super::{by_pipeline, catalog, label, names, snapshot};
use crate::model::{Id, ObjectMeta, Timestamp};
use crate::store::{CatalogEntry, StoreError};

/// Objects, or catalog entries, that a rebuild writes in one job.
const REBUILD_STEP: usize = 256;
/// How long a disk that failed to read a label is left alone before it is asked once more.
const READ_PAUSE: Duration = Duration::from_millis(100);
/// Labels that a rebuild passes over because the disk does not give them; with more it is the disk that is away, and not a few places of it.
const MAX_UNREADABLE: usize = 64;

/// Fills an empty index from the labels of the files and the snapshot of the catalog. Returns how many files have no name now: those of
/// unfinished uploads, and those whose label is lost or is of another size.
pub(super) fn rebuild(
    disk: &Disk,
    index: &Index,
    epoch: &[u8],
    now: Timestamp,
) -> Result<usize, StoreError> {
    let runtime = Handle::current();
    let snapshot = disk.read_catalog()?;
    let snapshot = snapshot.map(|bytes| snapshot::parse(&bytes));
    let (generation, entries) = snapshot.transpose()?.unwrap_or_default();
    for step in entries.chunks(REBUILD_STEP) {
        let step = step.to_vec();
        runtime.block_on(index.commit_lazily(move |txn| put_entries(txn, &step)))?;
    }
    let (mut named, mut unnamed) = (0_usize, 0_usize);
    // Later than every file that is here, whatever the clock says: what loses now must not come back.
    let mut born = now.seconds();
    let mut unreadable = 0;
    for folder in 0..=u8::MAX {
        let (labelled, others) = read_labels(disk, folder, (&mut born, &mut unreadable))?;
        named += labelled.len();
        unnamed += others;
        for step in labelled.chunks(REBUILD_STEP) {
            let step = step.to_vec();
            runtime.block_on(index.commit_lazily(move |txn| put_objects(txn, &step)))?;
        }
    }
    let epoch = epoch.to_vec();
    let born = born.to_be_bytes().to_vec();
    let mark = move |txn: &mut Txn<'_>| {
        txn.makes_room();
        catalog::set_generation(txn, generation.saturating_add(1))?;
        txn.put(born_key(), born)?;
        by_pipeline::note(txn, true)?;
        txn.put(epoch_key(), epoch)
    };
    runtime.block_on(index.commit(mark))?;
    if named + unnamed > 0 {
        let catalog = entries.len();
        tracing::warn!(named, unnamed, catalog, "the index was rebuilt");
    }
    Ok(unnamed)
}

/// Writes entries of the catalog. A setting without its bucket, which was removed while the snapshot was taken, is passed over.
fn put_entries(txn: &mut Txn<'_>, entries: &[CatalogEntry]) -> Result<(), StoreError> {
    txn.makes_room();
    for entry in entries {
        match (catalog::restore(txn, entry), entry) {
            (Err(StoreError::NoSuchBucket), CatalogEntry::Setting(setting)) => {
                tracing::warn!(bucket = %setting.bucket, "a setting has no bucket and is left out");
            }
            (put, _) => put?,
        }
    }
    Ok(())
}

/// Names objects, the newest of each key. What loses stays on disk.
fn put_objects(txn: &mut Txn<'_>, objects: &[ObjectMeta]) -> Result<(), StoreError> {
    txn.makes_room();
    for meta in objects {
        match names::object_at(txn, &records::object_key(&meta.bucket, &meta.key))? {
            Some(newer) if is_newer(&newer, meta) => continue,
            Some(older) => names::unname_object(txn, &older)?,
            None => {}
        }
        names::put_object(txn, meta)?;
    }
    Ok(())
}

/// The objects of one folder whose label is sound and whose size matches, and how many main files have no such label.
/// Moves `after` behind the second of every file, and counts those that are `unreadable`.
fn read_labels(
    disk: &Disk,
    folder: u8,
    (after, unreadable): (&mut i64, &mut usize),
) -> Result<(Vec<ObjectMeta>, usize), StoreError> {
    let (mut labelled, mut others) = (Vec::new(), 0);
    disk.list(folder, |name| {
        *after = (*after).max(i64::from(name.id().second()) + 1);
        if matches!(name, FileName::Main(_)) {
            match read_again(disk, name.id(), unreadable)? {
                Some(meta) => labelled.push(meta),
                None => others += 1,
            }
        }
        Ok(())
    })?;
    Ok((labelled, others))
}

/// As [`read_label`]; what cannot be read a second time either is passed over, loudly: without it there is a store, else there is none.
fn read_again(
    disk: &Disk,
    id: Id,
    unreadable: &mut usize,
) -> Result<Option<ObjectMeta>, StoreError> {
    match read_label(disk, id) {
        Err(error) if is_unreadable(&error) => {}
        label => return label,
    }
    std::thread::sleep(READ_PAUSE);
    match read_label(disk, id) {
        Err(error) if is_unreadable(&error) && *unreadable < MAX_UNREADABLE => {
            *unreadable += 1;
            tracing::error!(%id, %error, "an object is left out of the index: its label cannot be read");
            Ok(None)
        }
        label => label,
    }
}

/// The object that a main file is, by its label, when that is sound and the size matches.
pub(super) fn read_label(disk: &Disk, id: Id) -> Result<Option<ObjectMeta>, StoreError> {
    Ok(read_promise(disk, id)?.map(|(meta, _)| meta))
}

/// The same, with whether the label alone may have been promised to somebody.
pub(super) fn read_promise(disk: &Disk, id: Id) -> Result<Option<(ObjectMeta, bool)>, StoreError> {
    let Some(file) = disk.open_to_read(FileName::Main(id))? else {
        return Ok(None);
    };
    let size = disk.length(&file)?;
    let found = label::decode(&disk.read_labels(id, &file)?);
    Ok(found.filter(|(meta, _)| meta.id == id && meta.size == size))
}

/// Whether an object is to have the key that another one has.
fn is_newer(meta: &ObjectMeta, than: &ObjectMeta) -> bool {
    (meta.finished_at, meta.id) > (than.finished_at, than.id)
}

/// Where the epoch of the index is. Its name changes with the tables, so that an index of another layout does not count.
pub(super) fn epoch_key() -> Vec<u8> {
    records::key(META, &[b"epoch 2"])
}

/// Where the second in which the index was made is.
pub(super) fn born_key() -> Vec<u8> {
    records::key(META, &[b"born"])
}
