//! How a session ends: all chunks are here, its object is named, it fails, or it is removed.
//!
//! Owns: the jobs that move a session on from taking chunks, inside the index.
//! Never does: touch files. What becomes free is put into the garbage table in the same job, and returned for unlinking.
//!
//! Invariants:
//! 1. A session is in the table of those to be completed exactly while its state is `Completing`, and in those of open ones while
//!    chunks may come. It is due to be swept in every other state: what waits to be made whole must not keep the sweep from the rest.
//! 2. An object that waits for a condition is named in the job that looks at the condition; when it does not hold, the session is
//!    removed in that job. So is one whose object has expired: nobody could ever read it, and it must take nobody's key.
//! 3. What nobody waits for any more never takes its key from an object that was given it later ([`Told::Nobody`]).

use super::index::Txn;
use super::ledger::{check_count, put_session, receipts, session};
use super::names::{Garbage, discard, name_object};
use super::records::{
    COMPLETING, Full, SESSIONS, SESSIONS_DUE, SessionRecord, due_key, id_key, object_key,
    open_session_key, receipt_key,
};
use super::{catalog, damage, names, parts, sizes, tagged, uploads};
use crate::model::{ChunkReceipt, Id, ObjectMeta, Place, Timestamp, UploadSession, UploadState};
use crate::store::StoreError;

/// Fixes the number of chunks and moves the session on when all are here; says how many are missing, but not which.
pub(super) fn finish(
    txn: &mut Txn<'_>,
    id: Id,
    nb_chunks: u32,
    now: Timestamp,
) -> Result<UploadSession, StoreError> {
    let mut record = session(txn, id)?;
    if record.session.parts.is_some() {
        return Err(StoreError::NoSuchUpload);
    }
    if let Some(known) = record.session.nb_chunks.filter(|known| *known != nb_chunks) {
        let given = nb_chunks;
        return Err(StoreError::ChunkCountDiffers { known, given });
    }
    // Nobody was told that it is whole, and whoever asks now must not hear that he has it.
    if record.gave_way() {
        return Err(StoreError::GaveWay);
    }
    if !record.is_open() {
        return Ok(record.session);
    }
    check_count(&record, nb_chunks)?;
    if record.session.received_chunks < nb_chunks {
        // Which ones, whoever asks finds out himself: to read ten thousand receipts here would keep all others waiting.
        return Err(StoreError::MissingChunks {
            count: nb_chunks - record.session.received_chunks,
            first: Vec::new(),
        });
    }
    sizes::check_total(&record.session, record.session.received_bytes)?;
    record.session.nb_chunks = Some(nb_chunks);
    close_or_complete(txn, &mut record, None, now, &mut Garbage::new())?;
    put_session(txn, &record)?;
    Ok(record.session)
}

/// What became of an object whose file is whole and labelled.
#[derive(Debug)]
pub(super) struct Named {
    /// Why it has no name, and its session is gone: its condition was overtaken, or it has expired.
    pub(super) refused: Option<StoreError>,
    /// What became free.
    pub(super) garbage: Garbage,
}

/// Who is told that an object has its name, when it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A client who waits for it.
    Somebody,
    /// Who asked for it has left, or was told that it failed or goes on by itself, and may have put something else there since.
    Nobody,
}

/// Names the object of a session whose file is whole and labelled.
pub(super) fn name_session(
    txn: &mut Txn<'_>,
    id: Id,
    meta: &ObjectMeta,
    (now, told): (Timestamp, Told),
) -> Result<Named, StoreError> {
    let mut record = session(txn, id)?;
    let mut garbage = Garbage::new();
    let mut refused = None;
    if record.session.state != UploadState::Completing {
        return Ok(Named { refused, garbage });
    }
    if !meta.is_live(now) {
        refused = Some(StoreError::NoSuchUpload);
    } else {
        match parts::check_condition(txn, &record, record.condition.as_ref(), now) {
            Err(StoreError::ConditionFailed | StoreError::NoSuchObject) => {
                refused = Some(StoreError::ConditionOvertaken);
            }
            holds => holds?,
        }
    }
    if refused.is_some() {
        let garbage = remove_session(txn, &record)?;
        return Ok(Named { refused, garbage });
    }
    match told {
        Told::Nobody if is_overtaken(txn, &record)? => {
            let garbage = end_overtaken(txn, &mut record)?;
            return Ok(Named { refused, garbage });
        }
        Told::Nobody => {}
        Told::Somebody => record.full = None,
    }
    for receipt in receipts(txn, id)? {
        if let Place::Spill(n) = receipt.place {
            discard(txn, id, Some(n), &mut garbage)?;
        }
    }
    name_at_home(txn, &record, meta, &mut garbage)?;
    close(txn, &mut record, UploadState::Completed)?;
    put_session(txn, &record)?;
    Ok(Named { refused, garbage })
}

/// Ends a full session that nobody waits for when its key was given to another since. What became free; nothing when it is to be
/// made whole, or when a condition is to be judged first.
pub(super) fn give_way(txn: &mut Txn<'_>, id: Id) -> Result<Option<Garbage>, StoreError> {
    let mut record = session(txn, id)?;
    let waits = record.session.state == UploadState::Completing && record.condition.is_none();
    match waits && is_overtaken(txn, &record)? {
        true => end_overtaken(txn, &mut record).map(Some),
        false => Ok(None),
    }
}

/// Whether the key of a session was given to another after it was full. By the turns of the index, not by a clock, which may have been set
/// back; only of two that waited, which were full at different times, the later one is to have it.
fn is_overtaken(txn: &mut Txn<'_>, record: &SessionRecord) -> Result<bool, StoreError> {
    let Some(full) = &record.full else {
        return Ok(false);
    };
    let holder = holder(txn, record)?;
    let Some((id, _)) = holder.filter(|_| holder != full.holder) else {
        return Ok(false);
    };
    // What is in another bucket of this name took nothing from it: it fails.
    if catalog::has_other_bucket_in(txn, &record.session.upload)? {
        return Ok(false);
    }
    match session(txn, id) {
        Ok(other) => Ok(other.full.is_none_or(|other| other.at > full.at)),
        Err(StoreError::NoSuchUpload) => Ok(true),
        Err(error) if damage::is_of_one_record(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Ends a session as if its object had been named, and replaced in the same moment.
fn end_overtaken(txn: &mut Txn<'_>, record: &mut SessionRecord) -> Result<Garbage, StoreError> {
    let id = record.session.upload.id;
    tracing::warn!(%id, "a full upload could not be made whole in time, and gives way to what has its key since");
    let mut garbage = Garbage::new();
    let receipts = receipts(txn, id)?;
    discard_files(txn, record, &receipts, &mut garbage)?;
    if let Some(full) = &mut record.full {
        full.gave_way = true;
    }
    close(txn, record, UploadState::Completed)?;
    put_session(txn, record)?;
    Ok(garbage)
}

/// What has the key of a session: its id, and when it was finished. One that cannot be read was there before: nothing is put over it.
fn holder(txn: &Txn<'_>, record: &SessionRecord) -> Result<Option<(Id, Timestamp)>, StoreError> {
    let upload = &record.session.upload;
    match names::object_at(txn, &object_key(&upload.bucket, &upload.key)) {
        Err(error) if damage::is_of_one_record(&error) => Ok(None),
        held => Ok(held?.map(|held| (held.id, held.finished_at))),
    }
}

/// Gives up on a session whose stored bytes are damaged.
pub(super) fn fail(txn: &mut Txn<'_>, id: Id) -> Result<(), StoreError> {
    // Its bytes are freed when it is swept.
    txn.makes_room();
    let mut record = session(txn, id)?;
    if record.session.state == UploadState::Completing {
        close(txn, &mut record, UploadState::Failed)?;
        put_session(txn, &record)?;
    }
    Ok(())
}

/// Removes a session and its receipts. The chunks of one that is not completed become garbage.
pub(super) fn remove_session(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
) -> Result<Garbage, StoreError> {
    let upload = &record.session.upload;
    let id = upload.id;
    let mut garbage = Garbage::new();
    let receipts = receipts(txn, id)?;
    if record.session.state != UploadState::Completed {
        discard_files(txn, record, &receipts, &mut garbage)?;
    }
    for receipt in receipts {
        txn.delete(receipt_key(id, receipt.index));
    }
    forget_open(txn, &record.session);
    (0..record.tags_apart).for_each(|n| txn.delete(tagged::session_piece_key(id, n)));
    txn.delete(when_due(&record.session));
    txn.delete(id_key(COMPLETING, id));
    txn.delete(id_key(SESSIONS, id));
    Ok(garbage)
}

/// Puts all files of a session that is not completed into the garbage.
fn discard_files(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    receipts: &[ChunkReceipt],
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    let id = record.session.upload.id;
    for receipt in receipts {
        if let Place::Spill(n) = receipt.place {
            discard(txn, id, Some(n), garbage)?;
        }
    }
    discard(txn, id, None, garbage)?;
    match record.assembled {
        Some(n) => discard(txn, id, Some(n), garbage),
        None => Ok(()),
    }
}

/// All chunks are here: names the object at once when it is whole already, else says that it is to be made whole.
pub(super) fn close_or_complete(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
    whole: Option<ObjectMeta>,
    now: Timestamp,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    // What has expired already takes nobody's key; who makes it whole finds that out, too.
    if let Some(meta) = whole.filter(|meta| meta.is_live(meta.finished_at)) {
        name_at_home(txn, record, &meta, garbage)?;
        return close(txn, record, UploadState::Completed);
    }
    begin_completing(txn, record, now)
}

/// Says that the object of a session is to be made whole. Until it is, or has failed, the session is not due.
pub(super) fn begin_completing(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    record.session.state = UploadState::Completing;
    let holder = holder(txn, record)?;
    record.full = Some(Full {
        at: now,
        holder,
        gave_way: false,
    });
    txn.delete(when_due(&record.session));
    if record.session.parts.is_some() {
        forget_open(txn, &record.session);
    }
    txn.put(id_key(COMPLETING, record.session.upload.id), Vec::new())
}

/// Names the object of a session, unless its bucket was removed; another one of that name is not its bucket.
fn name_at_home(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    meta: &ObjectMeta,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    if catalog::has_other_bucket_in(txn, &record.session.upload)? {
        return Err(StoreError::NoSuchBucket);
    }
    name_object(txn, meta, None, garbage)
}

fn close(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
    state: UploadState,
) -> Result<(), StoreError> {
    record.session.state = state;
    forget_open(txn, &record.session);
    txn.delete(id_key(COMPLETING, record.session.upload.id));
    txn.put(when_due(&record.session), Vec::new())
}

fn when_due(session: &UploadSession) -> Vec<u8> {
    let upload = &session.upload;
    due_key(SESSIONS_DUE, upload.abandoned_at, upload.id.as_bytes())
}

/// Takes a session that is being made whole off those that are due, where an earlier version left it. What cannot be read is looked at
/// when nobody has a hand on it.
pub(super) fn put_off(txn: &mut Txn<'_>, id: Id) -> Result<(), StoreError> {
    if let Ok(record) = session(txn, id)
        && record.session.state == UploadState::Completing
    {
        txn.delete(when_due(&record.session));
    }
    Ok(())
}

fn forget_open(txn: &mut Txn<'_>, session: &UploadSession) {
    let upload = &session.upload;
    if let Some(pipeline) = &upload.pipeline {
        txn.delete(open_session_key(pipeline.id, upload.id));
    }
    if session.parts.is_some() {
        txn.delete(uploads::place(upload));
    }
}
