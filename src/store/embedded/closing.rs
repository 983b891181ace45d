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

use super::index::Txn;
use super::ledger::{check_count, put_session, receipts, session};
use super::names::{Garbage, discard, name_object};
use super::records::{
    COMPLETING, SESSIONS, SESSIONS_DUE, SessionRecord, due_key, id_key, open_session_key,
    receipt_key,
};
use super::{catalog, parts, sizes, tagged, uploads};
use crate::model::{Id, ObjectMeta, Place, Timestamp, UploadSession, UploadState};
use crate::store::StoreError;

/// Fixes the number of chunks and moves the session on when all are here; says how many are missing, but not which.
pub(super) fn finish(
    txn: &mut Txn<'_>,
    id: Id,
    nb_chunks: u32,
) -> Result<UploadSession, StoreError> {
    let mut record = session(txn, id)?;
    if record.session.parts.is_some() {
        return Err(StoreError::NoSuchUpload);
    }
    if let Some(known) = record.session.nb_chunks.filter(|known| *known != nb_chunks) {
        let given = nb_chunks;
        return Err(StoreError::ChunkCountDiffers { known, given });
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
    close_or_complete(txn, &mut record, None, &mut Garbage::new())?;
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

/// Names the object of a session whose file is whole and labelled.
pub(super) fn name_session(
    txn: &mut Txn<'_>,
    id: Id,
    meta: &ObjectMeta,
    now: Timestamp,
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

/// Gives up on a session whose stored bytes are damaged.
pub(super) fn fail(txn: &mut Txn<'_>, id: Id) -> Result<(), StoreError> {
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
    let completed = record.session.state == UploadState::Completed;
    for receipt in receipts(txn, id)? {
        if let Place::Spill(n) = receipt.place
            && !completed
        {
            discard(txn, id, Some(n), &mut garbage)?;
        }
        txn.delete(receipt_key(id, receipt.index));
    }
    if !completed {
        discard(txn, id, None, &mut garbage)?;
        if let Some(n) = record.assembled {
            discard(txn, id, Some(n), &mut garbage)?;
        }
    }
    forget_open(txn, &record.session);
    (0..record.tags_apart).for_each(|n| txn.delete(tagged::session_piece_key(id, n)));
    txn.delete(when_due(&record.session));
    txn.delete(id_key(COMPLETING, id));
    txn.delete(id_key(SESSIONS, id));
    Ok(garbage)
}

/// All chunks are here: names the object at once when it is whole already, else says that it is to be made whole.
pub(super) fn close_or_complete(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
    whole: Option<ObjectMeta>,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    // What has expired already takes nobody's key; who makes it whole finds that out, too.
    if let Some(meta) = whole.filter(|meta| meta.is_live(meta.finished_at)) {
        name_at_home(txn, record, &meta, garbage)?;
        return close(txn, record, UploadState::Completed);
    }
    begin_completing(txn, record)
}

/// Says that the object of a session is to be made whole. Until it is, or has failed, the session is not due.
pub(super) fn begin_completing(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
) -> Result<(), StoreError> {
    record.session.state = UploadState::Completing;
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
