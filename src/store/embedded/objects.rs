//! Finished objects: finding, changing and deleting them.
//!
//! Owns: what a live object is to a caller of the engine. Never does: make objects (`assembler` and `complete` do), read
//! them (`reader` does) or list them (`list` does).
//!
//! Invariants:
//! 1. Every answer is about live objects only; [`ObjectMeta::is_live`] is the only judge.
//! 2. A change is on the file's label, durably, before it is in the index; so a rebuilt index never forgets it.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::FileName;
use super::faults::{self, Bug};
use super::index::Txn;
use super::names::{self, Garbage};
use super::records::{self, OBJECT_IDS, OBJECTS};
use super::{Engine, label, tagged};
use crate::model::{Bucket, Id, ObjectKey, ObjectMeta, Timestamp};
use crate::store::{ObjectChange, ObjectName, StoreError, WriteCondition};

/// How often a name is looked up again when its object was replaced in between.
pub(super) const MAX_TRIES: usize = 8;
/// Longest id of a Job, in bytes.
const MAX_JOB_BYTES: usize = 64;

/// An object as a look into the index found it.
#[derive(Debug)]
pub(super) struct Found {
    /// The key of its record.
    pub(super) name: Vec<u8>,
    /// Its record.
    pub(super) record: Vec<u8>,
    /// The same, decoded.
    pub(super) meta: Arc<ObjectMeta>,
    /// All of its bytes, if they are in memory.
    pub(super) bytes: Option<Bytes>,
}

/// The record that has this key, live or not.
pub(super) fn holder(
    engine: &Engine,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<Option<ObjectMeta>, StoreError> {
    Ok(at(engine, records::object_key(bucket, key))?.map(Found::into_meta))
}

/// A live object's record.
pub(super) fn find_live(
    engine: &Engine,
    name: &ObjectName,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    found(engine, name, now).map(Found::into_meta)
}

/// A live object.
pub(super) fn found(
    engine: &Engine,
    name: &ObjectName,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let found = match name {
        ObjectName::Id(id) => with_id(engine, *id)?,
        ObjectName::Key(bucket, key) => at(engine, records::object_key(bucket, key))?,
    };
    found
        .filter(|found| found.meta.is_live(now))
        .ok_or(StoreError::NoSuchObject)
}

/// The record of the object with this id, live or not.
pub(super) fn by_id(engine: &Engine, id: Id) -> Result<Option<ObjectMeta>, StoreError> {
    Ok(with_id(engine, id)?.map(Found::into_meta))
}

fn with_id(engine: &Engine, id: Id) -> Result<Option<Found>, StoreError> {
    let Some(name) = engine.index.get(&records::id_key(OBJECT_IDS, id))? else {
        return Ok(None);
    };
    let found = at(engine, records::key(OBJECTS, &[&name]))?;
    Ok(found.filter(|found| found.meta.id == id))
}

/// The object with this key; looked for again when it was replaced before all of its tags were read.
fn at(engine: &Engine, name: Vec<u8>) -> Result<Option<Found>, StoreError> {
    for _ in 0..MAX_TRIES {
        let Some(record) = engine.index.get(&name)? else {
            return Ok(None);
        };
        let (meta, bytes) = match engine.hot.get(&name, &record) {
            Some(hot) => (hot.meta, Some(hot.bytes)),
            None => match tagged::join(&record, |piece| engine.index.get(piece))? {
                Some(meta) => (Arc::new(meta), None),
                None => continue,
            },
        };
        return Ok(Some(Found {
            name,
            record,
            meta,
            bytes,
        }));
    }
    Err(damaged("the tags of an object are not those of its record"))
}

impl Found {
    fn into_meta(self) -> ObjectMeta {
        Arc::unwrap_or_clone(self.meta)
    }
}

/// Removes a live object, if `condition` holds of it.
pub(super) async fn delete(
    engine: &Arc<Engine>,
    name: ObjectName,
    condition: Option<WriteCondition>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        if faults::is_planted(Bug::UnlinkFirst) {
            let id = find_live(&owner, &name, now)?.id;
            owner.disk.unlink(FileName::Main(id))?;
        }
        let remove = move |txn: &mut Txn<'_>| {
            let meta = live_in(txn, &name, now)?;
            condition.map_or(Ok(()), |wanted| wanted.check(Some(&meta), now))?;
            let mut garbage = Garbage::new();
            names::remove_object(txn, &meta, &mut garbage)?;
            Ok(garbage)
        };
        let garbage = owner.index.commit(remove).await?;
        owner.collect(garbage);
        Ok(())
    };
    engine.carry_out(work).await
}

/// Changes a live object's record.
pub(super) async fn change(
    engine: &Arc<Engine>,
    name: ObjectName,
    change: ObjectChange,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        for _ in 0..MAX_TRIES {
            let id = find_live(&owner, &name, now)?.id;
            match change_in_turn(&owner, id, change.clone(), now).await {
                // What had the name was replaced meanwhile; what has it now is to be changed.
                Err(StoreError::NoSuchObject) => {}
                done => return done,
            }
        }
        Err(StoreError::Busy)
    };
    engine.carry_out(work).await
}

async fn change_in_turn(
    engine: &Arc<Engine>,
    id: Id,
    change: ObjectChange,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    engine.fuse.check()?;
    let lease = engine.leases.take(id);
    let _turn = lease.turn.lock().await;
    let old = find_live(engine, &ObjectName::Id(id), now)?;
    let new = changed(&old, change, now)?;
    let before = label::encode(&old)?;
    relabel(engine, id, label::encode(&new)?).await?;
    let store = move |txn: &mut Txn<'_>| {
        if faults::is_planted(Bug::ChangeUnsynced) {
            txn.need_not_sync();
        }
        if live_in(txn, &ObjectName::Id(id), now)? != old {
            return Err(StoreError::NoSuchObject);
        }
        names::replace_object(txn, &old, &new)?;
        Ok(new)
    };
    let stored = engine.index.commit(store).await;
    if matches!(stored, Err(StoreError::Full)) {
        // It was refused for good, so a rebuilt index must not take it from the label.
        relabel(engine, id, before).await?;
    }
    stored
}

/// Writes the label of an object, durably.
async fn relabel(engine: &Arc<Engine>, id: Id, label: Vec<u8>) -> Result<(), StoreError> {
    let relabel = move |engine: &Engine| {
        let file = engine.disk.open_to_read(FileName::Main(id))?;
        let file = file.ok_or(StoreError::NoSuchObject)?;
        engine.disk.label(id, &file, &label)?;
        engine.disk.sync_all(&file)
    };
    engine.blocking(relabel).await
}

/// A live object's record, inside a job.
fn live_in(txn: &Txn<'_>, name: &ObjectName, now: Timestamp) -> Result<ObjectMeta, StoreError> {
    let key = match name {
        ObjectName::Id(id) => names::object_name(txn, *id)?,
        ObjectName::Key(bucket, key) => Some(records::object_key(bucket, key)),
    };
    let meta = key
        .map(|key| names::object_at(txn, &key))
        .transpose()?
        .flatten();
    let same = |meta: &ObjectMeta| !matches!(name, ObjectName::Id(id) if *id != meta.id);
    meta.filter(|meta| meta.is_live(now) && same(meta))
        .ok_or(StoreError::NoSuchObject)
}

fn changed(
    old: &ObjectMeta,
    change: ObjectChange,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    let mut new = old.clone();
    match change {
        ObjectChange::ExpiresAt(Some(_)) if old.job.is_some() => return Err(StoreError::InUse),
        ObjectChange::ExpiresAt(at) => new.expires_at = at,
        ObjectChange::UsedBy(job) if job.len() > MAX_JOB_BYTES => {
            return Err(StoreError::RecordTooLarge);
        }
        ObjectChange::UsedBy(job) => {
            new.job = Some(job);
            new.expires_at = None;
        }
        ObjectChange::Headers(headers) => new.headers = headers,
        ObjectChange::Rewritten(rewrite) => {
            rewrite.apply(&mut new)?;
            new.finished_at = now;
        }
        ObjectChange::Tags(tags) => new.attributes.tags = tags,
        ObjectChange::Acl { from, .. } if from != old.attributes.acl => {
            return Err(StoreError::ConditionOvertaken);
        }
        ObjectChange::Acl { to, .. } => new.attributes.acl = to,
    }
    new.updated_at = now;
    new.version = old.version.saturating_add(1);
    Ok(new)
}

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
