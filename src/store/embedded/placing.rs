//! Where the bytes of a chunk may go: the placing rule.
//!
//! Owns: the choice of a [`Target`] for a chunk that begins, and names for spills.
//! Never does: write; `lane` carries the choice out, and changes it when what it was made by has changed.
//!
//! Invariant: two chunks never write to one place, nor to what is acknowledged. For a place is claimed (`lease`) before it is asked what was
//! acknowledged, and whatever has no place of its own goes into a spill that nobody has had.

use std::fs::File;
use std::sync::Arc;

use super::Engine;
use super::disk::FileName;
use super::lane::Target;
use super::lease::Lease;
use super::ledger;
use crate::model::UploadState;
use crate::store::{ChunkSpec, StoreError};

/// How many spill numbers are tried when files of an earlier process are in the way.
const MAX_SPILL_TRIES: u32 = 100_000;

/// The placing rule. The claim comes first, so that what is read after it is all that was acknowledged before it; what is acknowledged later has
/// another place, since this one is claimed.
pub(super) fn choose(
    engine: &Engine,
    lease: &Arc<Lease>,
    spec: ChunkSpec,
) -> Result<Target, StoreError> {
    let claim = lease.claim(spec.index);
    let first = engine.receipt(lease.id, 0);
    let acknowledged = engine.receipt(lease.id, spec.index);
    // Last: who removes an upload takes its receipts along, in a job that a crash may still undo, and then nothing would seem acknowledged.
    let record = engine.session(lease.id)?;
    ledger::check_spec(&record, spec)?;
    match record.session.state {
        UploadState::Uploading => {}
        UploadState::Completing | UploadState::Completed => return Ok(Target::Nowhere),
        state @ UploadState::Failed => return Err(StoreError::UploadFailed(state)),
    }
    lease.learn(&record, first?.as_ref());
    let acknowledged = acknowledged?.is_some();
    let place = claim.filter(|_| !acknowledged);
    Ok(match place.map(|claim| (claim.offset(), claim)) {
        Some((Some(offset), claim)) => Target::Main(claim, offset, None),
        _ => Target::Spill(None),
    })
}

/// A spill that nobody has had.
pub(super) fn create_spill(engine: &Engine, lease: &Lease) -> Result<(u32, File), StoreError> {
    for _ in 0..MAX_SPILL_TRIES {
        let number = lease.next_spill();
        if let Some(file) = engine.disk.create(FileName::Spill(lease.id, number))? {
            return Ok((number, file));
        }
    }
    Err(StoreError::Busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::complete;
    use crate::store::embedded::index::Txn;
    use crate::store::embedded::records::receipt_key;
    use crate::store::embedded::tests::{Folder, NOW, full, send, upload};

    #[tokio::test]
    async fn a_chunk_of_an_upload_that_failed_for_a_receipt_is_refused_for_that_and_not_for_the_receipt()
     {
        for (unreadable, index) in [(0, 1), (1, 1)] {
            let folder = Folder::new();
            let store = folder.open().await;
            let id = full(&store, upload("key")).await;
            let place = receipt_key(id, unreadable);
            let spoil = move |txn: &mut Txn<'_>| txn.put(place, b"no receipt".to_vec());
            store.engine.index.commit(spoil).await.unwrap();
            let engine = Arc::clone(&store.engine);
            complete::complete(engine, id, NOW).await.unwrap();
            let refused = send(&store, id, (index, None), b"second").await;
            assert!(
                matches!(refused, Err(StoreError::UploadFailed(UploadState::Failed))),
                "{unreadable}: {refused:?}"
            );
        }
    }
}
