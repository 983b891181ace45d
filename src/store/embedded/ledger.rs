//! What a session knows: the jobs that change it inside the index.
//!
//! Owns: the rules of acknowledging a chunk (repeat, replacement, number of chunks, stride, full set); those of the sizes that a client
//! says are in `sizes`, those of the end of a session in `closing`, and what is different about uploads in parts in `parts`. Every
//! function here runs inside one index job, so it reads and writes as if alone.
//! Never does: touch files. What becomes free is put into the garbage table in the same job, and returned for unlinking.
//!
//! Invariants:
//! 1. A receipt is written only for bytes that the caller has synced.
//! 2. `received_chunks` and `received_bytes` are the sums over the receipts.

use super::closing::close_or_complete;
use super::index::Txn;
use super::names::{Garbage, discard, refuse_taken_id};
use super::records::{
    RECEIPTS, SESSIONS, SESSIONS_DUE, SessionRecord, decode_receipt, decode_session, due_key,
    encode, encode_session, id_key, open_session_key, receipt_key,
};
use super::{catalog, eras, sizes, tagged};
use crate::model::{
    Checksum, ChunkReceipt, Digests, Id, MAX_CHUNKS, MAX_OBJECT_BYTES, NewUpload, ObjectMeta,
    PartRules, Place, SaidSizes, Timestamp, UploadSession, UploadState,
};
use crate::store::{CatalogEntry, CatalogKey, ChunkSpec, StoreError};

/// A chunk whose bytes are on stable storage and whose receipt is not.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The session.
    pub(super) id: Id,
    /// Which chunk.
    pub(super) spec: ChunkSpec,
    /// Where its bytes lie; `None` when they were only hashed.
    pub(super) place: Option<Place>,
    /// Its length in bytes.
    pub(super) length: u64,
    /// What its bytes hashed to.
    pub(super) digests: Digests,
    /// The object that this chunk is all of; its label is already on the file.
    pub(super) whole: Option<ObjectMeta>,
    /// A checksum that is to be kept with its receipt.
    pub(super) checksum: Option<Checksum>,
    /// When it arrived.
    pub(super) received_at: Option<Timestamp>,
}

/// What became of an [`Arrival`].
#[derive(Debug)]
pub(super) struct Acknowledged {
    /// The receipt in force.
    pub(super) receipt: ChunkReceipt,
    /// Whether it was there before.
    pub(super) repeated: bool,
    /// The session's state now.
    pub(super) state: UploadState,
    /// What became free.
    pub(super) garbage: Garbage,
}

/// Starts a session: of forms, or of an upload in parts.
pub(super) fn create(
    txn: &mut Txn<'_>,
    mut new: NewUpload,
    parts: Option<PartRules>,
) -> Result<UploadSession, StoreError> {
    refuse_taken_id(txn, new.id)?;
    let bucket = catalog::find_in(txn, &CatalogKey::Bucket(new.bucket.clone()))?;
    let Some(CatalogEntry::Bucket(bucket)) = bucket else {
        return Err(StoreError::NoSuchBucket);
    };
    // Also after a clock that went back: what is older than its bucket began in another one.
    new.created_at = new.created_at.max(bucket.created_at);
    eras::note_beginning(txn, new.created_at)?;
    let id = new.id;
    if let Some(pipeline) = &new.pipeline {
        txn.put(open_session_key(pipeline.id, id), Vec::new())?;
    }
    txn.put(
        due_key(SESSIONS_DUE, new.abandoned_at, id.as_bytes()),
        Vec::new(),
    )?;
    let session = UploadSession {
        upload: new,
        state: UploadState::Uploading,
        nb_chunks: None,
        received_chunks: 0,
        received_bytes: 0,
        sizes: SaidSizes::default(),
        parts,
    };
    let mut record = SessionRecord {
        session: session.clone(),
        stride: None,
        last_index: None,
        next_spill: 0,
        assembled: None,
        condition: None,
        full: None,
        tags_apart: 0,
    };
    for (number, piece) in (0..).zip(tagged::take_out(&mut record)?) {
        txn.put(tagged::session_piece_key(id, number), piece)?;
    }
    put_session(txn, &record)?;
    Ok(session)
}

/// A session, or [`StoreError::NoSuchUpload`].
pub(super) fn session(txn: &Txn<'_>, id: Id) -> Result<SessionRecord, StoreError> {
    let record = txn.get(&id_key(SESSIONS, id))?;
    decode_session(&record.ok_or(StoreError::NoSuchUpload)?)
}

/// Writes a session back.
pub(super) fn put_session(txn: &mut Txn<'_>, record: &SessionRecord) -> Result<(), StoreError> {
    let key = id_key(SESSIONS, record.session.upload.id);
    txn.put(key, encode_session(record)?)
}

/// Whether a chunk may be part of the session.
pub(super) fn check_spec(record: &SessionRecord, spec: ChunkSpec) -> Result<(), StoreError> {
    if record.session.parts.is_some() && !record.is_open() {
        return Err(StoreError::NoSuchUpload);
    }
    if let (Some(known), Some(given)) = (record.session.nb_chunks, spec.nb_chunks)
        && known != given
    {
        return Err(StoreError::ChunkCountDiffers { known, given });
    }
    let nb_chunks = record.session.nb_chunks.or(spec.nb_chunks);
    let nb_chunks = nb_chunks.unwrap_or(MAX_CHUNKS);
    if spec.index >= nb_chunks || nb_chunks > MAX_CHUNKS {
        let (index, nb_chunks) = (spec.index, nb_chunks.min(MAX_CHUNKS));
        return Err(StoreError::ChunkOutOfRange { index, nb_chunks });
    }
    if let Some(given) = spec.nb_chunks {
        check_count(record, given)?;
    }
    sizes::check_said(&record.session, spec.sizes)
}

/// Acknowledges a chunk.
pub(super) fn acknowledge(txn: &mut Txn<'_>, arrival: Arrival) -> Result<Acknowledged, StoreError> {
    let mut record = session(txn, arrival.id)?;
    check_spec(&record, arrival.spec)?;
    let old = receipt(txn, arrival.id, arrival.spec.index)?;
    let same = |old: &ChunkReceipt| (old.length, old.digests) == (arrival.length, arrival.digests);
    let repeated = old.clone().filter(same);
    if !record.is_open() {
        return acknowledge_again(&record, &arrival, repeated);
    }
    record.session.nb_chunks = record.session.nb_chunks.or(arrival.spec.nb_chunks);
    let known = record.session.sizes;
    record.session.sizes = known.or(arrival.spec.sizes);
    let is_first = known.stride.is_none();
    sizes::check_lengths(txn, &record, &arrival, is_first)?;
    let mut garbage = Garbage::new();
    let is_repeated = repeated.is_some();
    let receipt = match repeated {
        Some(receipt) => take_again(txn, &record, &arrival, receipt)?,
        None => {
            let receipt = take_in(txn, &mut record, &arrival, old.as_ref(), &mut garbage)?;
            let key = receipt_key(arrival.id, arrival.spec.index);
            txn.put(key, encode(&receipt)?)?;
            receipt
        }
    };
    if is_first {
        sizes::check_others(txn, &record, (arrival.id, arrival.spec.index))?;
    }
    if record.session.nb_chunks == Some(record.session.received_chunks) {
        sizes::check_total(&record.session, record.session.received_bytes)?;
        let whole = arrival.whole.filter(|_| !is_repeated);
        let now = arrival.received_at;
        let now = now.unwrap_or(record.session.upload.created_at);
        close_or_complete(txn, &mut record, whole, now, &mut garbage)?;
    }
    put_session(txn, &record)?;
    Ok(Acknowledged {
        receipt,
        repeated: is_repeated,
        state: record.session.state,
        garbage,
    })
}

/// The receipt of one chunk.
pub(super) fn receipt(
    txn: &Txn<'_>,
    id: Id,
    index: u32,
) -> Result<Option<ChunkReceipt>, StoreError> {
    let record = txn.get(&receipt_key(id, index))?;
    record.as_deref().map(decode_receipt).transpose()
}

/// All receipts of a session, by index.
pub(super) fn receipts(txn: &mut Txn<'_>, id: Id) -> Result<Vec<ChunkReceipt>, StoreError> {
    let prefix = id_key(RECEIPTS, id);
    let pairs = txn.prefix(&prefix, MAX_CHUNKS as usize)?;
    pairs.iter().map(|(_, v)| decode_receipt(v)).collect()
}

/// Whether an upload can have so many chunks, after what arrived.
pub(super) fn check_count(record: &SessionRecord, given: u32) -> Result<(), StoreError> {
    let arrived = record.last_index.map_or(0, |last| last.saturating_add(1));
    if given == 0 || given > MAX_CHUNKS || given < arrived {
        let known = arrived;
        return Err(StoreError::ChunkCountDiffers { known, given });
    }
    Ok(())
}

fn acknowledge_again(
    record: &SessionRecord,
    arrival: &Arrival,
    repeated: Option<ChunkReceipt>,
) -> Result<Acknowledged, StoreError> {
    let state = record.session.state;
    if state == UploadState::Failed {
        return Err(StoreError::UploadFailed(state));
    }
    // What was acknowledged of it is gone, and nothing came of it.
    if record.gave_way() {
        return Err(StoreError::GaveWay);
    }
    let receipt = repeated.ok_or(StoreError::ChunkDiffers {
        index: arrival.spec.index,
        nb_chunks: record.session.nb_chunks.unwrap_or(MAX_CHUNKS),
    })?;
    Ok(Acknowledged {
        receipt,
        repeated: true,
        state,
        garbage: Garbage::new(),
    })
}

/// A chunk whose bytes are here already. Of an upload in parts the last one counts whole: with its checksum, and its time.
fn take_again(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    arrival: &Arrival,
    mut receipt: ChunkReceipt,
) -> Result<ChunkReceipt, StoreError> {
    if record.session.parts.is_some() {
        receipt.checksum.clone_from(&arrival.checksum);
        receipt.received_at = arrival.received_at;
        let key = receipt_key(arrival.id, receipt.index);
        txn.put(key, encode(&receipt)?)?;
    }
    Ok(receipt)
}

/// Counts a new chunk in, in place of `old`.
fn take_in(
    txn: &mut Txn<'_>,
    record: &mut SessionRecord,
    arrival: &Arrival,
    old: Option<&ChunkReceipt>,
    garbage: &mut Garbage,
) -> Result<ChunkReceipt, StoreError> {
    // The bytes were only hashed because the same chunk was here; it was replaced meanwhile.
    let place = arrival.place.ok_or(StoreError::Busy)?;
    let index = arrival.spec.index;
    let session = &mut record.session;
    let others = session
        .received_bytes
        .saturating_sub(old.map_or(0, |old| old.length));
    let total = others.saturating_add(arrival.length);
    if total > MAX_OBJECT_BYTES {
        let max_bytes = MAX_OBJECT_BYTES;
        return Err(StoreError::TooLarge { max_bytes });
    }
    session.received_bytes = total;
    session.received_chunks += u32::from(old.is_none());
    if let Some(Place::Spill(n)) = old.map(|old| old.place) {
        discard(txn, arrival.id, Some(n), garbage)?;
    }
    if let Place::Spill(n) = place {
        record.next_spill = record.next_spill.max(n.saturating_add(1));
    }
    learn_stride(txn, record, arrival)?;
    record.last_index = record.last_index.max(Some(index));
    Ok(ChunkReceipt {
        index,
        place,
        length: arrival.length,
        digests: arrival.digests,
        checksum: arrival.checksum.clone(),
        received_at: arrival.received_at,
    })
}

/// The first chunk that is certainly not the last, and not empty, gives every chunk its place.
fn learn_stride(
    txn: &Txn<'_>,
    record: &mut SessionRecord,
    arrival: &Arrival,
) -> Result<(), StoreError> {
    if record.stride.is_some() {
        return Ok(());
    }
    let mut stride = record
        .is_not_last(arrival.spec.index)
        .then_some(arrival.length);
    if let Some(last) = record.last_index.filter(|last| *last < arrival.spec.index) {
        let earlier = receipt(txn, arrival.id, last)?;
        stride = stride.or(earlier.map(|receipt| receipt.length));
    }
    record.stride = stride.filter(|stride| *stride > 0);
    Ok(())
}
