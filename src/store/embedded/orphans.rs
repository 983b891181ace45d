//! Files that the index does not name after a stop that was not clean: objects to be named, and orphans to be removed.
//!
//! Owns: both searches. Files from the mark of [`super::recent`] on are looked at before anything is served, since an object among
//! them may have been acknowledged by its label alone; the rest, which was never acknowledged, may take longer.
//! Never does: delete a file because a rebuilt index does not know it. Only files whose id is younger than the index are
//! orphans when it does not name them: the index was there when they were made. Of these, one with a sound label is a whole
//! object whose record was not written, or was lost: it is named, not deleted, unless a newer object has its key.
//!
//! Invariant: an object is named here only while no record has its key, or an older one has; an acknowledged object without a
//! durable record never replaced another, since such a replacement is synced.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::disk::FileName;
use super::faults::{self, Bug};
use super::index::{Index, Txn};
use super::names::{self, Garbage};
use super::records::{self, OBJECT_IDS, SESSIONS};
use super::sync::{self, Handle};
use super::{Engine, rebuild, recent};
use crate::model::{Id, ObjectMeta, Place, Timestamp, UploadState};
use crate::store::StoreError;

/// How long a start waits for the search for orphans.
const ORPHAN_WAIT: Duration = Duration::from_secs(1);

/// The second from which on files are looked for: that of the last sync, or the one in which the index was made.
pub(super) fn mark(index: &Index) -> Result<u32, StoreError> {
    let mark = index.get(&recent::mark_key())?;
    let mark = mark.and_then(|mark| mark.try_into().ok());
    let born = u32::try_from(born(index)?.max(0)).unwrap_or(u32::MAX);
    Ok(mark.map_or(0, u32::from_be_bytes).max(born))
}

/// Names, durably, what may have been acknowledged by its label alone.
pub(super) async fn name_recent(engine: &Arc<Engine>, now: Timestamp) -> Result<(), StoreError> {
    engine.blocking(name_unknown).await?;
    let note = move |txn: &mut Txn<'_>| recent::put_mark(txn, now);
    engine.index.commit(note).await?;
    engine.recent.restart(recent::second(now));
    Ok(())
}

/// Removes orphans; when there is much to look through, that goes on in the background.
pub(super) async fn search(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let search = engine.tasks.spawn_blocking(move || remove_orphans(&owner));
    match sync::timeout(ORPHAN_WAIT, search).await {
        Ok(done) => super::joined(done),
        Err(_) => Ok(()),
    }
}

/// Names every whole object that was made since the mark and that the index does not know.
fn name_unknown(engine: &Engine) -> Result<(), StoreError> {
    let mut named = 0_usize;
    for folder in 0..=u8::MAX {
        let mut unknown = Vec::new();
        engine.disk.list(folder, |name| {
            if let FileName::Main(id) = name
                && engine.recent.covers(id)
                && !is_known(engine, id)?
            {
                unknown.push(id);
            }
            Ok(())
        })?;
        for id in unknown {
            if let Some(meta) = rebuild::read_label(&engine.disk, id)? {
                named += usize::from(adopt(engine, &meta)?);
            }
        }
    }
    if named > 0 {
        tracing::info!(named, "objects were named again by their labels");
    }
    Ok(())
}

/// Removes files that were made under this index and that it does not name.
fn remove_orphans(engine: &Engine) -> Result<(), StoreError> {
    let born = born(&engine.index)?;
    let mut removed = 0_usize;
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
        for name in orphans {
            let label = match name {
                FileName::Spill(..) => None,
                FileName::Main(id) | FileName::Label(id) => rebuild::read_label(&engine.disk, id)?,
            };
            match label {
                Some(meta) if name == FileName::Main(meta.id) && adopt(engine, &meta)? => {}
                Some(meta) if name == FileName::Label(meta.id) => {}
                _ => {
                    removed += 1;
                    engine.disk.unlink(name)?;
                }
            }
        }
    }
    if removed > 0 {
        tracing::info!(removed, "files of unacknowledged uploads were removed");
    }
    Ok(())
}

/// Names a whole object that the index does not know, unless a newer one has its key: then nothing needs it any more.
fn adopt(engine: &Engine, meta: &ObjectMeta) -> Result<bool, StoreError> {
    if faults::is_planted(Bug::ForgetRecent) {
        return Ok(false);
    }
    let (id, meta) = (meta.id, meta.clone());
    let name = move |txn: &mut Txn<'_>| {
        let taken = txn.get(&records::object_key(&meta.bucket, &meta.key))?;
        let taken = taken.as_deref().map(records::decode_object).transpose()?;
        if taken.is_some_and(|taken| rebuild::is_newer(&taken, &meta)) {
            return Ok(false);
        }
        names::name_object(txn, &meta, &mut Garbage::new()).map(|()| true)
    };
    // Should the next crash come before this is synced, it is found once more.
    let named = Handle::current().block_on(engine.index.commit_lazily(name))?;
    tracing::debug!(%id, named, "a whole object was found that the index did not know");
    Ok(named)
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
            let named = match spills.entry(id) {
                Entry::Occupied(named) => named.into_mut(),
                Entry::Vacant(place) => place.insert(named_spills(engine, id)?),
            };
            Ok(!named.contains(&number))
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
    for table in [OBJECT_IDS, SESSIONS] {
        if engine.index.get(&records::id_key(table, id))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
