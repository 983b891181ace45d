//! Finished objects: finding, reading, changing, deleting and verifying them.
//!
//! Owns: what a live object is to a caller of the engine. Never does: make objects (`assembler` and `complete` do), or list
//! them (`list` does).
//!
//! Invariants:
//! 1. Every answer is about live objects only; [`ObjectMeta::is_live`] is the only judge.
//! 2. A change is on the file's label, durably, before it is in the index; so a rebuilt index never forgets it.
//! 3. What the kernel has in memory is read on the caller's thread, at most [`AT_ONCE_BYTES`] at a time; anything that waits for
//!    the disk does so in a blocking job.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::disk::FileName;
use super::faults::{self, Bug};
use super::index::Txn;
use super::names::{self, Garbage};
use super::records::{self, OBJECT_IDS, OBJECTS};
use super::{Engine, label, tagged};
use crate::model::{Bucket, Hasher, Id, ObjectKey, ObjectMeta, Timestamp};
use crate::store::{ObjectChange, ObjectName, ObjectReader, StoreError, WriteCondition};

/// How often a name is looked up again when its object was replaced in between.
const MAX_TRIES: usize = 8;
/// Longest id of a Job, in bytes.
const MAX_JOB_BYTES: usize = 64;
/// Bytes read at once when an object is verified.
const VERIFY_BYTES: usize = 1 << 20;
/// Bytes that are copied from the kernel's memory on the caller's thread at most; it takes 20 µs, as handing over does.
const AT_ONCE_BYTES: usize = 128 << 10;

/// The record that has this key, live or not.
pub(super) fn holder(
    engine: &Engine,
    bucket: &Bucket,
    key: &ObjectKey,
) -> Result<Option<ObjectMeta>, StoreError> {
    at(engine, &records::object_key(bucket, key))
}

/// A live object's record.
pub(super) fn find_live(
    engine: &Engine,
    name: &ObjectName,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    let found = match name {
        ObjectName::Id(id) => by_id(engine, *id)?,
        ObjectName::Key(bucket, key) => at(engine, &records::object_key(bucket, key))?,
    };
    found
        .filter(|meta| meta.is_live(now))
        .ok_or(StoreError::NoSuchObject)
}

/// The record of the object with this id, live or not.
pub(super) fn by_id(engine: &Engine, id: Id) -> Result<Option<ObjectMeta>, StoreError> {
    let Some(name) = engine.index.get(&records::id_key(OBJECT_IDS, id))? else {
        return Ok(None);
    };
    let meta = at(engine, &records::key(OBJECTS, &[&name]))?;
    Ok(meta.filter(|meta| meta.id == id))
}

/// The record of the object with this key; read again when it was replaced before all of its tags were read.
fn at(engine: &Engine, name: &[u8]) -> Result<Option<ObjectMeta>, StoreError> {
    for _ in 0..MAX_TRIES {
        let Some(record) = engine.index.get(name)? else {
            return Ok(None);
        };
        if let Some(meta) = tagged::join(&record, |piece| engine.index.get(piece))? {
            return Ok(Some(meta));
        }
    }
    Err(damaged("the tags of an object are not those of its record"))
}

/// Opens a live object.
pub(super) async fn open(
    engine: &Arc<Engine>,
    name: ObjectName,
    now: Timestamp,
) -> Result<Reader, StoreError> {
    let owner = Arc::clone(engine);
    if let Some((meta, file)) = open_at_once(engine, &name, now)? {
        return Ok(Reader {
            engine: owner,
            meta,
            file: Arc::new(file),
        });
    }
    let find = move |engine: &Engine| {
        for _ in 0..MAX_TRIES {
            let meta = find_live(engine, &name, now)?;
            if let Some(file) = engine.disk.open_to_read(FileName::Main(meta.id))? {
                return checked(engine, meta, file);
            }
        }
        Err(damaged("an object's file is missing"))
    };
    let (meta, file) = engine.blocking(find).await?;
    Ok(Reader {
        engine: owner,
        meta,
        file: Arc::new(file),
    })
}

/// Opens a live object that the kernel knows already.
fn open_at_once(
    engine: &Engine,
    name: &ObjectName,
    now: Timestamp,
) -> Result<Option<(ObjectMeta, File)>, StoreError> {
    let meta = find_live(engine, name, now)?;
    let file = engine.disk.open_at_once(FileName::Main(meta.id))?;
    file.map(|file| checked(engine, meta, file)).transpose()
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
    let label = label::encode(&new)?;
    let relabel = move |engine: &Engine| {
        let file = engine.disk.open_to_read(FileName::Main(id))?;
        let file = file.ok_or(StoreError::NoSuchObject)?;
        engine.disk.label(id, &file, &label)?;
        engine.disk.sync_all(&file)
    };
    engine.blocking(relabel).await?;
    let store = move |txn: &mut Txn<'_>| {
        if live_in(txn, &ObjectName::Id(id), now)? != old {
            return Err(StoreError::NoSuchObject);
        }
        names::replace_object(txn, &old, &new)?;
        Ok(new)
    };
    engine.index.commit(store).await
}

/// Reads an object whole and compares.
pub(super) async fn verify(
    engine: &Arc<Engine>,
    name: ObjectName,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    let reader = open(engine, name, now).await?;
    let check = move |engine: &Engine| {
        let mut hasher = Hasher::default();
        let mut offset = 0;
        loop {
            let bytes = engine.disk.read_at(&reader.file, offset, VERIFY_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            hasher.update(&bytes);
        }
        let (digests, meta) = (hasher.finish(), reader.meta);
        if offset != meta.size {
            return Err(damaged("an object has another size than its record"));
        }
        if digests.crc64 != meta.crc64 || meta.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(damaged("an object's bytes do not match its checksum"));
        }
        Ok(meta)
    };
    engine.blocking(check).await
}

/// An open object; it keeps the file, whatever happens to the name.
#[derive(Debug)]
pub(super) struct Reader {
    engine: Arc<Engine>,
    meta: ObjectMeta,
    file: Arc<File>,
}

#[async_trait]
impl ObjectReader for Reader {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let left = self.meta.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if length <= AT_ONCE_BYTES
            && let Some(bytes) = self.engine.disk.read_at_once(&self.file, offset, length)?
        {
            return Ok(bytes);
        }
        let file = Arc::clone(&self.file);
        let read = move |engine: &Engine| engine.disk.read_at(&file, offset, length);
        let bytes = self.engine.blocking(read).await?;
        if bytes.len() < length {
            return Err(damaged("an object's file was cut short"));
        }
        Ok(bytes.into())
    }
}

fn checked(
    engine: &Engine,
    meta: ObjectMeta,
    file: File,
) -> Result<(ObjectMeta, File), StoreError> {
    if engine.disk.length(&file)? == meta.size {
        return Ok((meta, file));
    }
    Err(damaged("an object has another size than its record"))
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
        ObjectChange::Acl(acl) => new.attributes.acl = acl,
    }
    new.updated_at = now;
    new.version = old.version.saturating_add(1);
    Ok(new)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
