//! Files that the index does not name after a stop that was not clean: objects to be named, and orphans to be removed.
//!
//! Owns: both searches. Files from the mark of `recent.rs` on are looked at before anything is served, since an object among
//! them may have been acknowledged by its label alone; the rest, which nobody was promised, may take longer.
//! Never does: delete a file because a rebuilt index does not know it. Only files whose id is younger than the index are
//! orphans when it does not name them: the index was there when they were made. Once objects are served, nothing is named any
//! more, and a whole object is left where it is: a deletion that is under way looks the same.
//!
//! Invariant: an object is named here only when its label alone may have been promised (`label.rs`), its bytes are what that says, and while
//! no record has its key: an acknowledged object without a durable record never replaced another, since such a replacement is synced, and so is every removal before it. One
//! that nobody was promised may have wanted the key to be free, and must not take it from another who was promised it.

use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::disk::FileName;
use super::faults::{self, Bug};
use super::index::{Index, Txn};
use super::names::{self, Garbage};
use super::recent::MAX_LABELLED_BYTES;
use super::records::{self, GARBAGE, OBJECT_IDS, SESSIONS};
use super::sync::{self, Handle};
use super::{Engine, catalog, damage, rebuild, recent};
use crate::model::{Crc64, Id, ObjectMeta, Place, Timestamp, UploadState};
use crate::store::StoreError;

/// How long a start waits for the search for orphans, which nobody waits for but the disk's owner.
const ORPHAN_WAIT: Duration = Duration::from_millis(200);

/// The second from which on files are looked for: that of the last sync, or the one in which the index was made.
pub(super) fn mark(index: &Index) -> Result<u32, StoreError> {
    let mark = index.get(&recent::mark_key())?;
    let mark = mark.and_then(|mark| mark.try_into().ok());
    let born = u32::try_from(born(index)?.max(0)).unwrap_or(u32::MAX);
    Ok(mark.map_or(0, u32::from_be_bytes).max(born))
}

/// The mark of a start at which everything is durable. Files from before the index was made are never looked at, so an id from
/// before it, after a clock that went back, must not count on that.
pub(super) fn fresh_mark(index: &Index, now: Timestamp) -> Result<u32, StoreError> {
    let born = u32::try_from(born(index)?.max(0)).unwrap_or(u32::MAX);
    Ok(recent::second(now).max(born))
}

/// Names, durably, what may have been acknowledged by its label alone. From the second `started` on, in which this start began, labels are
/// looked for from then on.
pub(super) async fn name_recent(
    engine: &Arc<Engine>,
    started: Timestamp,
) -> Result<(), StoreError> {
    // Reading a million names takes most of the time; two folders at once take half of it.
    let half = |folders| engine.blocking(move |engine| unknown(engine, folders));
    let (low, high) = futures_util::join!(half(0..=0x7f), half(0x80..=0xff));
    let ids = [low?, high?].concat();
    engine
        .blocking(move |engine| name_unknown(engine, ids))
        .await?;
    let mark = fresh_mark(&engine.index, started)?;
    let note = move |txn: &mut Txn<'_>| {
        txn.makes_room();
        recent::put_mark(txn, mark)
    };
    engine.index.commit(note).await?;
    engine.recent.restart(mark);
    Ok(())
}

/// Removes orphans; when there is much to look through, that goes on in the background, and the log is told how it failed.
pub(super) async fn search(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let search = move || {
        remove_orphans(&owner).inspect_err(|error| {
            tracing::warn!(%error, "not all files were looked at that may belong to nothing");
            owner.leaves_litter();
        })
    };
    match sync::timeout(ORPHAN_WAIT, engine.tasks.spawn_blocking(search)).await {
        Ok(done) => super::joined(done),
        Err(_) => Ok(()),
    }
}

/// The files of some folders that were made since the mark and that the index does not know: those of the last moments before the stop.
fn unknown(engine: &Engine, folders: RangeInclusive<u8>) -> Result<Vec<Id>, StoreError> {
    let mut unknown = Vec::new();
    for folder in folders {
        engine.disk.list(folder, |name| {
            if let FileName::Main(id) = name
                && engine.recent.covers(id)
                && !is_known(engine, id)?
            {
                unknown.push(id);
            }
            Ok(())
        })?;
    }
    Ok(unknown)
}

/// Names every whole object among files that the index does not know.
fn name_unknown(engine: &Engine, ids: Vec<Id>) -> Result<(), StoreError> {
    let mut named = 0_usize;
    for id in ids {
        match name_one(engine, id) {
            // Every start would meet it again. What has its key, or cannot be told from that, was there before: nobody was promised this one.
            Err(error) if damage::is_of_one_record(&error) => {
                tracing::warn!(%id, %error, "a file stays that has no name: a record cannot be read");
            }
            done => named += usize::from(done?),
        }
    }
    if named > 0 {
        tracing::info!(named, "objects were named again by their labels");
    }
    Ok(())
}

/// Names a file that the index does not know, if it is a whole object; whether it was named.
fn name_one(engine: &Engine, id: Id) -> Result<bool, StoreError> {
    // Where the label cannot be read nobody knows what was promised: the start fails, rather than go on without an object that was.
    let Some((meta, promised)) = rebuild::read_promise(&engine.disk, id)? else {
        return Ok(false);
    };
    let sound = promised
        && match bytes_are_sound(engine, &meta) {
            // It may have been promised. Until they can be read, whoever wants them is told so.
            Err(error) if is_unreadable(&error) => {
                tracing::error!(%id, %error, "the bytes of an object cannot be read");
                true
            }
            sound => sound?,
        };
    decide(engine, meta, sound)
}

/// Whether the disk cannot read this file, which says nothing of others; too few descriptors do.
pub(super) fn is_unreadable(error: &StoreError) -> bool {
    match error {
        // The last two are what file systems say of metadata whose checksum is wrong.
        StoreError::Io { source, .. } => matches!(
            Errno::from_io_error(source),
            Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN)
        ),
        _ => false,
    }
}

/// Whether the file has the bytes that its label says. A label may reach the disk before them, and a larger object than
/// [`MAX_LABELLED_BYTES`] was never acknowledged without its record.
fn bytes_are_sound(engine: &Engine, meta: &ObjectMeta) -> Result<bool, StoreError> {
    let Some(file) = engine.disk.open_to_read(FileName::Main(meta.id))? else {
        return Ok(false);
    };
    let length = usize::try_from(meta.size).unwrap_or(usize::MAX);
    if meta.size > MAX_LABELLED_BYTES {
        return Ok(false);
    }
    let bytes = engine.disk.read_at(&file, 0, length)?;
    Ok(Crc64::of(&bytes) == meta.crc64)
}

/// Names a sound object, unless another one has its key; what nobody can have been promised goes into the garbage. Whether it was
/// named.
fn decide(engine: &Engine, meta: ObjectMeta, sound: bool) -> Result<bool, StoreError> {
    let job = move |txn: &mut Txn<'_>| {
        // A start needs it.
        txn.makes_room();
        match names::refuse_taken_id(txn, meta.id) {
            Err(StoreError::Exists) => return Ok(false),
            free => free?,
        }
        let taken = names::object_at(txn, &records::object_key(&meta.bucket, &meta.key))?;
        // A bucket is removed, durably, only when no acknowledged object is in it.
        let homeless = !catalog::has_bucket(txn, &meta.bucket)?;
        if !sound || homeless || taken.is_some() || faults::is_planted(Bug::ForgetRecent) {
            return names::discard(txn, meta.id, None, &mut Garbage::new()).map(|()| false);
        }
        names::name_object(txn, &meta, None, &mut Garbage::new()).map(|()| true)
    };
    // Should the next crash come before this is synced, it is found once more.
    Handle::current().block_on(engine.index.commit_lazily(job))
}

/// Removes files that were made under this index and that it does not name.
fn remove_orphans(engine: &Engine) -> Result<(), StoreError> {
    let born = born(&engine.index)?;
    let (mut removed, mut left) = (0_usize, 0_usize);
    for folder in 0..=u8::MAX {
        let mut spills = HashMap::new();
        let mut orphans = Vec::new();
        engine.disk.list(folder, |name| {
            let id = name.id();
            // Whoever works on an id holds its lease until the index names the file; so this is asked first.
            if i64::from(id.second()) >= born
                && !engine.leases.is_taken(id)
                && is_orphan(engine, name, &mut spills)?
            {
                orphans.push(name);
            }
            Ok(())
        })?;
        // What the index does not name any more may come back by a crash until that is on stable storage.
        if !orphans.is_empty() {
            Handle::current().block_on(engine.index.settle())?;
        }
        for name in orphans {
            if may_be_object(engine, name)? {
                left += usize::from(matches!(name, FileName::Main(_)));
                continue;
            }
            match engine.disk.unlink(name) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(?name, %error, "a file that belongs to nothing stays");
                    engine.leaves_litter();
                }
            }
        }
    }
    if removed > 0 {
        tracing::info!(removed, "files of unacknowledged uploads were removed");
    }
    if left > 0 {
        tracing::warn!(
            left,
            "whole objects that the index does not know were left where they are"
        );
    }
    Ok(())
}

/// Whether a file has a label that makes it an object, or one that cannot be read.
fn may_be_object(engine: &Engine, name: FileName) -> Result<bool, StoreError> {
    let label = match name {
        FileName::Spill(..) => return Ok(false),
        FileName::Main(id) | FileName::Label(id) => rebuild::read_label(&engine.disk, id),
    };
    match label {
        Err(error) if is_unreadable(&error) => {
            tracing::warn!(?name, %error, "a file stays that may be an object");
            Ok(true)
        }
        label => label.map(|label| label.is_some()),
    }
}

fn is_orphan(
    engine: &Engine,
    name: FileName,
    spills: &mut HashMap<Id, BTreeSet<u32>>,
) -> Result<bool, StoreError> {
    let id = name.id();
    match name {
        FileName::Main(_) | FileName::Label(_) => Ok(!is_known(engine, id)?),
        FileName::Spill(_, number) => {
            let is_in = |named: &BTreeSet<u32>| named.contains(&number);
            if spills.get(&id).is_some_and(is_in) {
                return Ok(false);
            }
            // A part may have been acknowledged since the others were looked at; its lease was asked for before.
            let named = match named_spills(engine, id) {
                // Whatever cannot be read may name it.
                Err(error) if damage::is_of_one_record(&error) => return Ok(false),
                named => named?,
            };
            let is_orphan = !is_in(&named);
            spills.insert(id, named);
            Ok(is_orphan)
        }
    }
}

/// The spills that a session still needs.
fn named_spills(engine: &Engine, id: Id) -> Result<BTreeSet<u32>, StoreError> {
    let record = match engine.session(id) {
        Ok(record) => record,
        Err(StoreError::NoSuchUpload) => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    if record.session.state == UploadState::Completed {
        return Ok(BTreeSet::new());
    }
    let mut named: BTreeSet<u32> = record.assembled.into_iter().collect();
    let prefix = records::id_key(records::RECEIPTS, id);
    engine.index.scan(&prefix, |_, receipt| {
        if let Place::Spill(n) = records::decode_receipt(receipt)?.place {
            named.insert(n);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(named)
}

/// The second in which the index was made.
fn born(index: &Index) -> Result<i64, StoreError> {
    let born = index.get(&rebuild::born_key())?.unwrap_or_default();
    Ok(born.try_into().map_or(i64::MAX, i64::from_be_bytes))
}

fn is_known(engine: &Engine, id: Id) -> Result<bool, StoreError> {
    for table in [OBJECT_IDS, SESSIONS, GARBAGE] {
        if engine.index.get(&records::id_key(table, id))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::closing;
    use crate::store::embedded::tests::{
        A_WHILE, Folder, NOW, begin, leave_no_room, lose_record, not_yet_durable, post, read, send,
    };

    #[tokio::test]
    async fn an_object_gets_its_record_back_on_a_disk_that_others_filled() {
        let folder = Folder::new();
        let mut store = folder.open().await;
        let meta = post(&store, "a.bin", b"acknowledged").await;
        lose_record(&store, &meta).await;
        leave_no_room(&folder, &mut store);
        name_recent(&store.engine, NOW).await.unwrap();
        assert_eq!(read(&store, meta.id).await.unwrap(), "acknowledged");
    }

    #[tokio::test]
    async fn a_chunk_that_is_acknowledged_while_its_session_is_looked_at_is_no_orphan() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let mut seen = HashMap::new();
        let mut look = |number| {
            let name = FileName::Spill(id, number);
            is_orphan(&store.engine, name, &mut seen).unwrap()
        };
        send(&store, id, (1, Some(5)), b"first").await.unwrap();
        assert!(!look(0));
        send(&store, id, (3, Some(5)), b"second, longer")
            .await
            .unwrap();
        assert!(!look(1), "acknowledged since");
        assert!(look(7), "nobody names it");
        assert!(!look(0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_crash_may_give_back_to_the_index_is_no_orphan_until_it_cannot() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        send(&store, id, (1, Some(3)), b"second").await.unwrap();
        let spill = store.engine.disk.path(FileName::Spill(id, 0));
        let record = store.engine.session(id).unwrap();
        let remove = move |txn: &mut Txn<'_>| closing::remove_session(txn, &record).map(drop);
        let held = not_yet_durable(&store.engine, remove).await;
        let engine = Arc::clone(&store.engine);
        let search = tokio::task::spawn_blocking(move || remove_orphans(&engine));
        tokio::time::sleep(A_WHILE).await;
        assert!(spill.exists());
        drop(held);
        search.await.unwrap().unwrap();
        assert!(!spill.exists());
    }
}
