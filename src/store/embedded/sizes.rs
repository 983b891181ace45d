//! What a session holds a client to, of the sizes that the client said.
//!
//! Owns: three rules. Nobody says another size than the first who said it; once the size of the chunks is said, every chunk that is
//! certainly not the last has it, also those that came before; a full set of chunks comes to the total that was said.
//! Without them a set could be full of chunks of two files, or of two ways to cut one file.
//! Never does: ask for sizes. A client that says none may send chunks of any sizes.
//!
//! Invariants: the rules that read receipts are judged in the index job that acknowledges, so no two chunks pass them side by
//! side. Once a size of the chunks is in force, every receipt has it but the last's.

use super::index::Txn;
use super::ledger::{self, Arrival};
use super::records::SessionRecord;
use crate::model::{SaidSizes, UploadSession};
use crate::store::StoreError;

/// Whether the sizes that a chunk says are those that were said before.
///
/// # Errors
/// [`StoreError::ChunkSizesDiffer`], [`StoreError::TotalDiffers`], [`StoreError::SourceDiffers`].
pub(super) fn check_said(session: &UploadSession, said: SaidSizes) -> Result<(), StoreError> {
    let known = session.known_sizes();
    let differ = |known: Option<u64>, given: Option<u64>| {
        let both = known.zip(given);
        both.filter(|(known, given)| known != given)
    };
    if let Some((known, given)) = differ(known.stride, said.stride) {
        return Err(StoreError::ChunkSizesDiffer { known, given });
    }
    if let Some((known, given)) = differ(known.total, said.total) {
        return Err(StoreError::TotalDiffers { known, given });
    }
    match differ(known.source, said.source) {
        Some((known, given)) => Err(StoreError::SourceDiffers { known, given }),
        None => Ok(()),
    }
}

/// Whether a chunk that is about to be counted in leaves all but the last with the size that was said. `first` is whether nobody
/// had said it before; what came until then was not held to it.
///
/// # Errors
/// [`StoreError::ChunkSizesDiffer`].
pub(super) fn check_lengths(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    arrival: &Arrival,
    first: bool,
) -> Result<(), StoreError> {
    let Some(known) = record.session.sizes.stride else {
        return Ok(());
    };
    let index = arrival.spec.index;
    if record.is_not_last(index) {
        check_length(known, arrival.length)?;
    }
    if first {
        for receipt in ledger::receipts(txn, arrival.id)? {
            let at = receipt.index;
            if at != index && (at < index || record.is_not_last(at)) {
                check_length(known, receipt.length)?;
            }
        }
        return Ok(());
    }
    let earlier = |last: &u32| *last != index && (*last < index || record.is_not_last(*last));
    match record.last_index.filter(earlier) {
        Some(last) => match ledger::receipt(txn, arrival.id, last)? {
            Some(receipt) => check_length(known, receipt.length),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Whether a full set of chunks of so many `bytes` is what was said.
///
/// # Errors
/// [`StoreError::TotalDiffers`].
pub(super) fn check_total(session: &UploadSession, bytes: u64) -> Result<(), StoreError> {
    match session.sizes.total {
        Some(known) if known != bytes => {
            let given = bytes;
            Err(StoreError::TotalDiffers { known, given })
        }
        _ => Ok(()),
    }
}

fn check_length(known: u64, given: u64) -> Result<(), StoreError> {
    match known == given {
        true => Ok(()),
        false => Err(StoreError::ChunkSizesDiffer { known, given }),
    }
}
