//! What the receipts of a session say together.
//!
//! Owns: reading them outside of a job, which are missing, where their chunks end up in the object, and the object that they make.
//! Never does: write. Inside a job `ledger` reads them.
//!
//! Invariant: a read outside of a job may see a receipt a moment before it is durable; who tells a client that a chunk is here waits for
//! [`Index::settle`](super::index::Index::settle) first.

use super::records::{self, RECEIPTS, SessionRecord};
use super::{Engine, names};
use crate::model::{
    ChecksumType, ChunkReceipt, Crc64, ETag, Id, MAX_CHUNKS, ObjectMeta, ObjectParts, Place,
    Timestamp,
};
use crate::store::StoreError;

/// Most missing chunks that are named.
const MAX_MISSING_NAMED: usize = 100;

/// All receipts of a session, by index.
pub(super) fn all(engine: &Engine, id: Id) -> Result<Vec<ChunkReceipt>, StoreError> {
    let prefix = records::id_key(RECEIPTS, id);
    let pairs = engine.index.prefix(&prefix, MAX_CHUNKS as usize)?;
    let receipts = pairs.iter().map(|(_, v)| records::decode_receipt(v));
    receipts.collect()
}

/// The first chunks that are not here, of so many as there are to be; at most [`MAX_MISSING_NAMED`].
pub(super) fn first_missing(
    engine: &Engine,
    id: Id,
    nb_chunks: u32,
) -> Result<Vec<u32>, StoreError> {
    let here = all(engine, id)?;
    let mut here = here.iter().map(|receipt| receipt.index).peekable();
    let missing = (0..nb_chunks).filter(|index| here.next_if_eq(index).is_none());
    Ok(missing.take(MAX_MISSING_NAMED).collect())
}

/// Each receipt with the offset at which its chunk ends up.
pub(super) fn layout(receipts: &[ChunkReceipt]) -> impl Iterator<Item = (&ChunkReceipt, u64)> {
    receipts.iter().scan(0_u64, |end, receipt| {
        let offset = *end;
        *end = end.saturating_add(receipt.length);
        Some((receipt, offset))
    })
}

/// Whether a chunk has a file of its own.
pub(super) const fn lies_apart(receipt: &ChunkReceipt) -> bool {
    matches!(receipt.place, Place::Spill(_))
}

/// Whether a chunk need not be moved within the main file.
pub(super) fn lies_right(receipt: &ChunkReceipt, offset: u64) -> bool {
    match receipt.place {
        Place::Main(start) => start == offset || receipt.length == 0,
        Place::Spill(_) => true,
    }
}

/// The receipts of a session that is closed. They are looked at anew for each step, and an abort may have taken them out meanwhile in a job that is
/// not durable yet: by those that are left nothing may be cut or labelled.
///
/// # Errors
/// [`StoreError::Corrupt`] when one is missing.
pub(super) fn full(
    engine: &Engine,
    record: &SessionRecord,
) -> Result<Vec<ChunkReceipt>, StoreError> {
    let receipts = all(engine, record.session.upload.id)?;
    // Of parts only those are left that count, with the numbers that they had.
    let numbered = record.session.parts.is_some()
        || (0..).zip(&receipts).all(|(i, receipt)| receipt.index == i);
    let count = u32::try_from(receipts.len()).ok();
    if numbered && count == record.session.nb_chunks {
        return Ok(receipts);
    }
    let what = "the receipts are not a full set";
    Err(StoreError::Corrupt(what.to_owned()))
}

/// The object that consists of these chunks.
pub(super) fn describe(
    record: &SessionRecord,
    receipts: &[ChunkReceipt],
    now: Timestamp,
) -> ObjectMeta {
    let size = receipts.iter().map(|receipt| receipt.length).sum();
    let crc64 = receipts.iter().fold(Crc64::of(b""), |crc, receipt| {
        crc.then(receipt.digests.crc64, receipt.length)
    });
    let rules = record.session.parts;
    let md5s = || receipts.iter().map(|receipt| receipt.digests.md5);
    let md5 = md5s().next().filter(|_| receipts.len() == 1);
    let etag = match (rules, md5) {
        (None, Some(md5)) => ETag::of_whole(md5),
        // One part is a part, too.
        _ => ETag::of_chunks(md5s()),
    };
    let mut meta = names::object_of(&record.session.upload, size, (etag, md5, crc64), now);
    let mut composite = None;
    match rules.and_then(|rules| rules.whole(receipts)) {
        Some(whole) if whole.kind == ChecksumType::Composite => composite = Some(whole.value),
        Some(whole) => meta.attributes.checksum = Some(whole.value),
        None => {}
    }
    if rules.is_some() || receipts.len() > 1 {
        let sizes = receipts.iter().map(|receipt| receipt.length);
        meta.parts = Some(ObjectParts::of(sizes, composite));
    }
    meta
}
