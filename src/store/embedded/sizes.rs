//! What a session holds a client to, of the sizes that the client said.
//!
//! Owns: three rules. Nobody says another size than the first who said it; once the size of the chunks is said, every chunk that is
//! certainly not the last has it, also those that came before; a full set of chunks comes to the total that was said.
//! Without them a set could be full of chunks of two files, or of two ways to cut one file.
//! Never does: ask for sizes. A client that says none may send chunks of any sizes.
//!
//! Invariants: the rules that read receipts are judged in the index job that acknowledges, so no two chunks pass them side by
//! side. Once a size of the chunks is in force, every receipt has it but the last's. A job reads all receipts of a session once at most:
//! a size or a total that contradicts them is refused before, unless they came meanwhile.

use super::index::Txn;
use super::ledger::{self, Arrival};
use super::records::SessionRecord;
use super::{Engine, receipts};
use crate::model::{ChunkReceipt, Id, SaidSizes, UploadSession};
use crate::store::{ChunkSpec, StoreError};

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

/// Whether this chunk, and what came before anybody said a size of the chunks, agrees with the one that it says, as it is read outside of a job: whoever
/// asks keeps nobody waiting, however many chunks there are. The total is judged here too: a chunk that is refused for it leaves no size
/// behind, so a job would read all receipts again each time that it is sent.
///
/// # Errors
/// [`StoreError::ChunkSizesDiffer`], [`StoreError::TotalDiffers`], and what [`ledger::check_spec`] says.
pub(super) fn check_ahead(
    engine: &Engine,
    id: Id,
    (spec, length): (ChunkSpec, u64),
) -> Result<(), StoreError> {
    let Some(known) = spec.sizes.stride else {
        return Ok(());
    };
    let mut record = engine.session(id)?;
    ledger::check_spec(&record, spec)?;
    if !record.is_open() || record.session.sizes.stride.is_some() {
        return Ok(());
    }
    record.session.nb_chunks = record.session.nb_chunks.or(spec.nb_chunks);
    if record.is_not_last(spec.index) {
        check_length(known, length)?;
    }
    let here = receipts::all(engine, id)?;
    let mut others = here.iter();
    others.try_for_each(|other| check_other(&record, spec.index, known, other))?;
    let others = here.iter().filter(|other| other.index != spec.index);
    let (chunks, bytes) = others.fold((1, length), |(chunks, bytes), other| {
        (chunks + 1, bytes + other.length)
    });
    record.session.sizes.total = record.session.sizes.total.or(spec.sizes.total);
    match record.session.nb_chunks == Some(chunks) {
        true => check_total(&record.session, bytes),
        false => Ok(()),
    }
}

/// The same inside the job that counts the chunk in, for what came since. Nobody says that size for the first time once more, so all are
/// read for the last time.
///
/// # Errors
/// [`StoreError::ChunkSizesDiffer`].
pub(super) fn check_others(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    (id, index): (Id, u32),
) -> Result<(), StoreError> {
    let Some(known) = record.session.sizes.stride else {
        return Ok(());
    };
    let here = ledger::receipts(txn, id)?;
    let mut others = here.iter();
    others.try_for_each(|other| check_other(record, index, known, other))
}

/// Whether another chunk than the one that arrives has the size that is said; the last one need not.
fn check_other(
    record: &SessionRecord,
    index: u32,
    known: u64,
    other: &ChunkReceipt,
) -> Result<(), StoreError> {
    let at = other.index;
    if at != index && (at < index || record.is_not_last(at)) {
        check_length(known, other.length)?;
    }
    Ok(())
}

/// Whether a chunk that is about to be counted in leaves all but the last with the size that was said. `first` is whether nobody
/// had said it before; what came until then was not held to it ([`check_others`]).
///
/// # Errors
/// [`StoreError::ChunkSizesDiffer`].
pub(super) fn check_lengths(
    txn: &Txn<'_>,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{Folder, NOW, begin, send};
    use crate::store::{Expected, ObjectStore as _};

    fn saying(index: u32, nb_chunks: Option<u32>, stride: u64, total: Option<u64>) -> ChunkSpec {
        let mut spec = ChunkSpec::new(index, nb_chunks);
        (spec.sizes.stride, spec.sizes.total) = (Some(stride), total);
        spec
    }

    /// What the store answers to the bytes of a chunk while another job holds the one who writes.
    async fn sent_while_busy(
        store: &EmbeddedStore,
        (id, spec): (Id, ChunkSpec),
        bytes: &'static [u8],
    ) -> Result<(), StoreError> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let engine = Arc::clone(&store.engine);
        let busy = tokio::spawn(async move {
            let job = move |_: &mut Txn<'_>| {
                let _ = begin.send(());
                let _ = held.recv();
                Ok(())
            };
            engine.index.commit(job).await
        });
        begun.await.unwrap();
        let mut writer = store.write_chunk(id, spec).await.unwrap();
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        let answer = writer.commit(Expected::default(), NOW);
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        drop(release);
        busy.await.unwrap().unwrap();
        answer.expect("it waits for nobody").map(|_| ())
    }

    #[tokio::test]
    async fn a_size_that_contradicts_what_is_here_is_refused_without_the_one_who_writes() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        for index in 0..3 {
            send(&store, id, (index, None), b"four").await.unwrap();
        }
        let answer = sent_while_busy(&store, (id, saying(3, None, 5, None)), b"fives").await;
        assert!(
            matches!(
                answer,
                Err(StoreError::ChunkSizesDiffer { known: 5, given: 4 })
            ),
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn a_total_that_a_full_set_does_not_come_to_is_refused_without_the_one_who_writes() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        for index in 0..2 {
            send(&store, id, (index, None), b"four").await.unwrap();
        }
        let last = (id, saying(2, Some(3), 4, Some(99)));
        let answer = sent_while_busy(&store, last, b"end").await;
        assert!(
            matches!(
                answer,
                Err(StoreError::TotalDiffers {
                    known: 99,
                    given: 11
                })
            ),
            "{answer:?}"
        );
    }
}
