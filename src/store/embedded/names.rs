//! The names of objects: the jobs that give and take them inside the index.
//!
//! Owns: an object's record, its tags, its id, its places in the lists and its expiry entry, which are always written and removed
//! together, and counted; the garbage table; and the form in which an upload becomes an object. Every function that writes runs inside one index job.
//! Never does: touch files. What becomes free is put into the garbage table in the same job, and returned for unlinking.

use super::index::Txn;
use super::records::{
    EXPIRY, OBJECT_IDS, OBJECTS, SESSIONS, count_key, created_pair, due_key, garbage_key, id_key,
    key, object_key, parse_count,
};
use super::{by_pipeline, catalog, tagged};
use crate::model::{Crc64, ETag, Id, Md5, NewUpload, ObjectMeta, Timestamp};
use crate::store::{StoreError, WriteCondition};

/// Files that nothing names any more: a main file, or one spill.
pub(super) type Garbage = Vec<(Id, Option<u32>)>;

/// Fails with [`StoreError::Exists`] when a session, an object or garbage has this id.
pub(super) fn refuse_taken_id(txn: &Txn<'_>, id: Id) -> Result<(), StoreError> {
    let keys = [
        id_key(SESSIONS, id),
        id_key(OBJECT_IDS, id),
        garbage_key(id, None),
    ];
    for key in keys {
        if txn.get(&key)?.is_some() {
            return Err(StoreError::Exists);
        }
    }
    Ok(())
}

/// Makes an object visible in place of whatever had its key, if its bucket is there and `condition` holds in the moment in which it
/// became whole.
pub(super) fn name_object(
    txn: &mut Txn<'_>,
    meta: &ObjectMeta,
    condition: Option<&WriteCondition>,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    if !catalog::has_bucket(txn, &meta.bucket)? {
        return Err(StoreError::NoSuchBucket);
    }
    let name = object_key(&meta.bucket, &meta.key);
    let old = object_at(txn, &name)?;
    condition.map_or(Ok(()), |wanted| {
        wanted.check(old.as_ref(), meta.finished_at)
    })?;
    if let Some(old) = old
        && old.id != meta.id
    {
        remove_object(txn, &old, garbage)?;
    }
    put_object(txn, meta)
}

/// The object that has a key.
pub(super) fn object_at(txn: &Txn<'_>, name: &[u8]) -> Result<Option<ObjectMeta>, StoreError> {
    let Some(record) = txn.get(name)? else {
        return Ok(None);
    };
    let object = tagged::join(&record, |piece| txn.get(piece))?;
    // Nobody writes in between, so nothing else can have torn them apart.
    object.map(Some).ok_or_else(|| {
        StoreError::Corrupt("the tags of an object are not those of its record".to_owned())
    })
}

/// Writes an object's record, its tags, its id, its places in the lists and its expiry; a new one is counted.
pub(super) fn put_object(txn: &mut Txn<'_>, meta: &ObjectMeta) -> Result<(), StoreError> {
    let name = object_key(&meta.bucket, &meta.key);
    if let Some(at) = meta.expires_at {
        txn.put(due_key(EXPIRY, at, meta.id.as_bytes()), Vec::new())?;
    }
    let id = id_key(OBJECT_IDS, meta.id);
    let is_new = txn.get(&id)?.is_none();
    if is_new {
        count(txn, |objects| objects.saturating_add(1))?;
    }
    txn.put(id, name.get(1..).unwrap_or_default().to_vec())?;
    let (place, end) = created_pair(meta);
    txn.put(place, end)?;
    by_pipeline::put(txn, meta, is_new)?;
    let parts = tagged::split(meta)?;
    for (number, piece) in (0..).zip(parts.pieces) {
        txn.put(tagged::piece_key(meta.id, number), piece)?;
    }
    txn.put(name, parts.record)
}

/// Writes the changed record of an object that is there.
pub(super) fn replace_object(
    txn: &mut Txn<'_>,
    old: &ObjectMeta,
    new: &ObjectMeta,
) -> Result<(), StoreError> {
    if let Some(at) = old.expires_at {
        txn.delete(due_key(EXPIRY, at, old.id.as_bytes()));
    }
    forget_tags(txn, old);
    put_object(txn, new)
}

/// Removes an object's record, its id and its expiry; its file becomes garbage.
pub(super) fn remove_object(
    txn: &mut Txn<'_>,
    meta: &ObjectMeta,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    unname_object(txn, meta)?;
    discard(txn, meta.id, None, garbage)
}

/// Removes the record of an object that is there, its id, its places and its expiry; its file stays.
pub(super) fn unname_object(txn: &mut Txn<'_>, meta: &ObjectMeta) -> Result<(), StoreError> {
    txn.delete(object_key(&meta.bucket, &meta.key));
    txn.delete(id_key(OBJECT_IDS, meta.id));
    if let Some(at) = meta.expires_at {
        txn.delete(due_key(EXPIRY, at, meta.id.as_bytes()));
    }
    txn.delete(created_pair(meta).0);
    by_pipeline::remove(txn, meta)?;
    forget_tags(txn, meta);
    count(txn, |objects| objects.saturating_sub(1))
}

/// Removes what of an object lies beside its record.
pub(super) fn forget_tags(txn: &mut Txn<'_>, meta: &ObjectMeta) {
    if !meta.attributes.tags.is_empty() || meta.parts.is_some() {
        (0..tagged::MAX_PIECES).for_each(|n| txn.delete(tagged::piece_key(meta.id, n)));
    }
}

fn count(txn: &mut Txn<'_>, change: impl FnOnce(u64) -> u64) -> Result<(), StoreError> {
    let objects = parse_count(txn.get(&count_key())?.as_deref());
    txn.put(count_key(), change(objects).to_be_bytes().to_vec())
}

/// The key under which an object with this id is found.
pub(super) fn object_name(txn: &Txn<'_>, id: Id) -> Result<Option<Vec<u8>>, StoreError> {
    let name = txn.get(&id_key(OBJECT_IDS, id))?;
    Ok(name.map(|name| key(OBJECTS, &[&name])))
}

/// Puts a file into the garbage.
pub(super) fn discard(
    txn: &mut Txn<'_>,
    id: Id,
    spill: Option<u32>,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    txn.makes_room();
    txn.put(garbage_key(id, spill), Vec::new())?;
    garbage.push((id, spill));
    Ok(())
}

/// The object that `upload` becomes.
pub(super) fn object_of(
    upload: &NewUpload,
    size: u64,
    (etag, md5, crc64): (ETag, Option<Md5>, Crc64),
    now: Timestamp,
) -> ObjectMeta {
    ObjectMeta {
        id: upload.id,
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        size,
        etag,
        md5,
        crc64,
        headers: upload.headers.clone(),
        attributes: upload.attributes.clone(),
        parts: None,
        created_at: upload.created_at,
        updated_at: now,
        finished_at: now,
        expires_at: upload.expires_at,
        pipeline: upload.pipeline.clone(),
        job: None,
        application: upload.application,
        version: 1,
    }
}
