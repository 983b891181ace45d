//! What is different about uploads in parts, inside the index.
//!
//! Owns: their start, the job that says which parts count, and the condition under which their objects are named.
//! Never does: touch files, or judge the sizes of parts. A part is acknowledged like any chunk (`ledger`).
//!
//! Invariants:
//! 1. The receipts of parts that do not count go in the job that says which do; so from there on a session's receipts are its object,
//!    and whatever makes the object whole (`complete`) needs to know no more.
//! 2. What was named stays so: a repeat with other parts is refused.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use async_trait::async_trait;

use super::closing::begin_completing;
use super::complete::Running;
use super::index::Txn;
use super::lease::Awaits;
use super::names::{self, Garbage, discard};
use super::records::{RECEIPTS, SessionRecord, decode_receipt, id_key, object_key, receipt_key};
use super::sync::JoinHandle;
use super::{EmbeddedStore, Engine, catalog, complete, ledger, objects, receipts, tagged, uploads};
use crate::model::{
    Checksum, ChecksumType, ChunkReceipt, Crc64, ETag, Id, MAX_CHUNKS, Md5, NewUpload, ObjectMeta,
    PartRules, Place, Timestamp, UploadSession, UploadState,
};
use crate::store::{Completion, PartStore, StoreError, UploadPage, UploadQuery, WriteCondition};

#[async_trait]
impl PartStore for EmbeddedStore {
    async fn create_parts(
        &self,
        new: NewUpload,
        rules: PartRules,
    ) -> Result<UploadSession, StoreError> {
        check_fits(&new, rules)?;
        self.engine.check_beginning()?;
        let job = move |txn: &mut Txn<'_>| {
            txn.put(uploads::place(&new), Vec::new())?;
            ledger::create(txn, new, Some(rules))
        };
        self.engine.index.commit(job).await
    }

    async fn complete_parts(
        &self,
        id: Id,
        completion: Completion,
        now: Timestamp,
    ) -> Result<ObjectMeta, StoreError> {
        let (engine, clock) = (Arc::clone(&self.engine), Running::from(now));
        // By whoever calls: whoever makes it whole meanwhile is to know until when somebody waits.
        let awaits = engine.leases.take(id).awaits();
        let (owner, caller) = (Arc::clone(&engine), Arc::downgrade(&awaits));
        let work = async move {
            // Also when the caller has left: while it is worked on nothing of it is an orphan.
            let _lease = owner.leases.take(id);
            complete_parts(&owner, (id, caller), completion, clock).await
        };
        match engine.carry_out(work).await? {
            Ended::There(meta) => Ok(*meta),
            Ended::Begun(begun) => made_whole(&engine, id, begun, clock).await,
        }
    }

    async fn list_parts(
        &self,
        id: Id,
        from: u32,
        limit: usize,
    ) -> Result<Vec<ChunkReceipt>, StoreError> {
        let list = move |engine: &Engine| list_parts(engine, id, from, limit);
        let receipts = self.engine.blocking(list).await?;
        self.engine.index.settle().await?;
        Ok(receipts)
    }

    async fn list_uploads(&self, query: &UploadQuery) -> Result<UploadPage, StoreError> {
        uploads::list(&self.engine, query.clone()).await
    }
}

/// An object that the index would refuse is refused before its first byte.
fn check_fits(new: &NewUpload, rules: PartRules) -> Result<(), StoreError> {
    let md5 = Md5::of(b"");
    let etag = ETag::of_chunks(std::iter::repeat_n(md5, MAX_CHUNKS as usize));
    let tags = (etag, Some(md5), Crc64::of(b""));
    let mut meta = names::object_of(new, u64::MAX, tags, new.created_at);
    if let Some((algorithm, ChecksumType::FullObject)) = rules.checksum {
        meta.attributes.checksum = Some(Checksum::of(algorithm, b""));
    }
    tagged::split(&meta).map(drop)
}

fn list_parts(
    engine: &Engine,
    id: Id,
    from: u32,
    limit: usize,
) -> Result<Vec<ChunkReceipt>, StoreError> {
    engine.session(id)?;
    let (first, all) = (receipt_key(id, from), id_key(RECEIPTS, id));
    let mut receipts = Vec::new();
    engine.index.scan_from(&first, &all, |_, record| {
        if receipts.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        receipts.push(decode_receipt(record)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(receipts)
}

async fn complete_parts(
    engine: &Arc<Engine>,
    (id, caller): (Id, Weak<Awaits>),
    completion: Completion,
    clock: Running,
) -> Result<Ended, StoreError> {
    let now = clock.said;
    let job = move |txn: &mut Txn<'_>| {
        let closed = close(txn, id, &completion, now)?;
        Awaits::begin(&caller, closed.0);
        Ok(closed)
    };
    let (state, garbage) = engine.index.commit(job).await?;
    engine.collect(garbage);
    if state == UploadState::Completed {
        let there = objects::by_id(engine, id)?.filter(|meta| meta.is_live(now));
        let there = there.map(Box::new).map(Ended::There);
        return there.ok_or(StoreError::NoSuchUpload);
    }
    // Also when the caller has left. While somebody else has its turn nothing is begun: of a hundred who left a hundred tasks would wait.
    let lease = engine.leases.take(id);
    let is_free = lease.turn.try_lock().is_ok();
    let begun = is_free.then(|| complete::begin(engine, id, clock));
    Ok(Ended::Begun(begun))
}

/// An upload that was told to end.
enum Ended {
    /// It was whole before.
    There(Box<ObjectMeta>),
    /// It is being made whole: by this task, or by somebody else.
    Begun(Option<JoinHandle<Result<(), StoreError>>>),
}

/// The object of an upload that was told to end, for which the caller waits.
async fn made_whole(
    engine: &Arc<Engine>,
    id: Id,
    begun: Option<JoinHandle<Result<(), StoreError>>>,
    clock: Running,
) -> Result<ObjectMeta, StoreError> {
    if let Some(meta) = complete::complete_and_stay(engine, id, begun, clock).await? {
        return Ok(meta);
    }
    // It may have been made, and replaced or deleted a moment later.
    let record = engine.session(id)?;
    match record.session.state {
        UploadState::Completed => {
            let receipts = receipts::all(engine, id)?;
            Ok(receipts::describe(&record, &receipts, clock.said))
        }
        _ => Err(StoreError::Busy),
    }
}

/// Says which parts count; the state in which the session is then, and what became free. Nobody else writes meanwhile, so whoever is
/// refused has no more receipts read than it names parts.
fn close(
    txn: &mut Txn<'_>,
    id: Id,
    completion: &Completion,
    now: Timestamp,
) -> Result<(UploadState, Garbage), StoreError> {
    let mut record = ledger::session(txn, id)?;
    if record.session.parts.is_none() {
        return Err(StoreError::NoSuchUpload);
    }
    if record.gave_way() {
        return Err(StoreError::GaveWay);
    }
    let (mut garbage, state) = (Garbage::new(), record.session.state);
    match state {
        // It was begun in a bucket that was removed.
        UploadState::Uploading if catalog::has_other_bucket_in(txn, &record.session.upload)? => {
            return Err(StoreError::NoSuchUpload);
        }
        UploadState::Uploading => {}
        UploadState::Completing | UploadState::Completed if is_all(txn, &record, completion)? => {
            return Ok((state, garbage));
        }
        _ => return Err(StoreError::NoSuchUpload),
    }
    let (chunks, bytes) = count_parts(txn, id, completion)?;
    check_condition(txn, &record, completion.condition.as_ref(), now)?;
    if chunks < record.session.received_chunks {
        drop_unnamed(txn, id, completion, &mut garbage)?;
    }
    record.session.nb_chunks = Some(chunks);
    (
        record.session.received_chunks,
        record.session.received_bytes,
    ) = (chunks, bytes);
    record.condition.clone_from(&completion.condition);
    begin_completing(txn, &mut record, now)?;
    ledger::put_session(txn, &record)?;
    Ok((UploadState::Completing, garbage))
}

/// Whether what must be true of the object that has the key of a session is.
///
/// # Errors
/// [`StoreError::ConditionFailed`]; [`StoreError::NoSuchObject`] when there is none whose tag could match.
pub(super) fn check_condition(
    txn: &Txn<'_>,
    record: &SessionRecord,
    condition: Option<&WriteCondition>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(condition) = condition else {
        return Ok(());
    };
    let upload = &record.session.upload;
    let there = names::object_at(txn, &object_key(&upload.bucket, &upload.key))?;
    condition.check(there.as_ref(), now)
}

/// How many parts are named and how many bytes they have, if each is here and they are in ascending order.
fn count_parts(txn: &Txn<'_>, id: Id, completion: &Completion) -> Result<(u32, u64), StoreError> {
    let (mut chunks, mut bytes, mut next) = (0_u32, 0_u64, 0);
    for (index, md5) in completion.parts.iter().copied() {
        let differs = StoreError::PartDiffers { index };
        if index < next {
            return Err(differs);
        }
        let receipt = ledger::receipt(txn, id, index)?;
        let found = receipt.filter(|receipt| receipt.digests.md5 == md5);
        bytes = bytes.saturating_add(found.ok_or(differs)?.length);
        (chunks, next) = (chunks + 1, index.saturating_add(1));
    }
    match chunks {
        0 => Err(StoreError::PartDiffers { index: 0 }),
        _ => Ok((chunks, bytes)),
    }
}

/// Removes the receipts of the parts that are not named.
fn drop_unnamed(
    txn: &mut Txn<'_>,
    id: Id,
    completion: &Completion,
    garbage: &mut Garbage,
) -> Result<(), StoreError> {
    for receipt in ledger::receipts(txn, id)? {
        if names(completion, &receipt) {
            continue;
        }
        if let Place::Spill(n) = receipt.place {
            discard(txn, id, Some(n), garbage)?;
        }
        txn.delete(receipt_key(id, receipt.index));
    }
    Ok(())
}

fn names(completion: &Completion, receipt: &ChunkReceipt) -> bool {
    let parts = &completion.parts;
    let found = parts.binary_search_by_key(&receipt.index, |(index, _)| *index);
    found.is_ok()
}

/// Whether the parts that are named are those that were when the session was told to end.
fn is_all(
    txn: &mut Txn<'_>,
    record: &SessionRecord,
    completion: &Completion,
) -> Result<bool, StoreError> {
    if record.session.nb_chunks.map(|n| n as usize) != Some(completion.parts.len()) {
        return Ok(false);
    }
    let here = ledger::receipts(txn, record.session.upload.id)?;
    let here = here
        .iter()
        .map(|receipt| (receipt.index, receipt.digests.md5));
    Ok(here.eq(completion.parts.iter().copied()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::store::embedded::disk::FileName;
    use crate::store::embedded::tests::{Folder, NOW, hold_index, read, send, until, upload};
    use crate::store::{Expected, ObjectName, ObjectStore as _};

    /// An upload that was told to end, and not made whole yet; its id.
    async fn told_to_end(store: &EmbeddedStore, condition: Option<WriteCondition>) -> Id {
        let new = upload("parts.bin");
        let id = new.id;
        store.create_parts(new, PartRules::default()).await.unwrap();
        let parts: [&[u8]; 3] = [b"first ", b"unnamed", b"last"];
        for (index, bytes) in (0..).zip(parts) {
            send(store, id, (index, None), bytes).await.unwrap();
        }
        let parts = vec![(0, Md5::of(parts[0])), (2, Md5::of(parts[2]))];
        let completion = Completion { parts, condition };
        let job = move |txn: &mut Txn<'_>| close(txn, id, &completion, NOW);
        let (state, garbage) = store.engine.index.commit(job).await.unwrap();
        assert_eq!(state, UploadState::Completing);
        store.engine.collect(garbage);
        id
    }

    async fn post(store: &EmbeddedStore, bytes: &'static [u8]) -> Id {
        let mut writer = store.write_object(upload("parts.bin")).await.unwrap();
        writer.write(Bytes::from_static(bytes)).await.unwrap();
        let committed = writer.commit(Expected::default(), NOW).await.unwrap();
        committed.object.unwrap().id
    }

    #[tokio::test]
    async fn an_upload_that_was_told_to_end_when_the_store_died_is_made_whole_at_start() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = told_to_end(&store, Some(WriteCondition::Absent)).await;
        drop(store);
        let store = folder.open().await;
        assert_eq!(read(&store, id).await.unwrap(), "first last");
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Completed);
    }

    #[tokio::test]
    async fn a_condition_that_was_overtaken_ends_the_upload_also_at_start() {
        for restarts in [false, true] {
            let folder = Folder::new();
            let mut store = folder.open().await;
            let id = told_to_end(&store, Some(WriteCondition::Absent)).await;
            let other = post(&store, b"quicker").await;
            if restarts {
                // It was acknowledged by its label, and the crash took its record.
                let meta = store.object(&ObjectName::Id(other), NOW).await.unwrap();
                crate::store::embedded::tests::lose_record(&store, &meta).await;
                drop(store);
                store = folder.open().await;
            } else {
                let ended = complete::complete(Arc::clone(&store.engine), id, NOW).await;
                assert!(
                    matches!(ended, Err(StoreError::ConditionOvertaken)),
                    "{ended:?}"
                );
            }
            assert_eq!(read(&store, other).await.unwrap(), "quicker");
            let gone = store.upload(id).await;
            assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
            store.close().await.unwrap();
            let path = store.engine.disk.path(FileName::Main(id));
            assert!(!path.exists(), "its file is garbage");
            drop(store);
            let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
            let found = store.object(&ObjectName::Id(id), NOW).await;
            assert!(matches!(found, Err(StoreError::NoSuchObject)), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_completion_that_fails_when_nobody_waits_any_more_is_told_to_the_log_once() {
        let folder = Folder::new();
        let path = folder.0.with_extension("log");
        let file = Arc::new(std::fs::File::create(&path).unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(file);
        let subscriber = subscriber.with_ansi(false).finish();
        let subscriber = tracing::subscriber::set_default(subscriber);
        let store = folder.open().await;
        let id = told_to_end(&store, Some(WriteCondition::Absent)).await;
        post(&store, b"quicker").await;
        let waits = complete::complete_and_wait(&store.engine, id, NOW);
        assert!(waits.now_or_never().is_none(), "who waited has left");
        store.close().await.unwrap();
        drop(subscriber);
        let log = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let told = log.lines().filter(|line| line.contains("not whole"));
        let told = told.collect::<Vec<_>>();
        assert_eq!(told.len(), 1, "{log}");
        let cause = StoreError::ConditionOvertaken.to_string();
        for part in ["WARN", &id.to_string(), &cause] {
            assert!(told[0].contains(part), "{log}");
        }
    }

    #[tokio::test]
    async fn whoever_is_refused_has_no_parts_read_but_those_it_names() {
        let folder = Folder::new();
        let store = folder.open().await;
        let spoil = async |id: Id| {
            let place = receipt_key(id, 7);
            let junk = move |txn: &mut Txn<'_>| txn.put(place, b"no receipt".to_vec());
            store.engine.index.commit(junk).await.unwrap();
        };
        let parts = |parts: &[(u32, &[u8])], condition| Completion {
            parts: parts
                .iter()
                .map(|(n, bytes)| (*n, Md5::of(bytes)))
                .collect(),
            condition,
        };
        let ended = told_to_end(&store, None).await;
        spoil(ended).await;
        let one = store.complete_parts(ended, parts(&[(0, b"first ")], None), NOW);
        let refused = one.await;
        assert!(
            matches!(refused, Err(StoreError::NoSuchUpload)),
            "{refused:?}"
        );
        post(&store, b"there").await;
        let new = upload("parts.bin");
        let open = new.id;
        store.create_parts(new, PartRules::default()).await.unwrap();
        for (index, bytes) in [(0, b"a"), (1, b"b")] {
            send(&store, open, (index, None), bytes).await.unwrap();
        }
        spoil(open).await;
        let unlike: [&[(u32, &[u8])]; 4] =
            [&[], &[(0, b"b")], &[(2, b"a")], &[(1, b"b"), (0, b"a")]];
        for unlike in unlike {
            let refused = store.complete_parts(open, parts(unlike, None), NOW).await;
            assert!(
                matches!(refused, Err(StoreError::PartDiffers { .. })),
                "{refused:?}"
            );
        }
        let absent = parts(&[(0, b"a")], Some(WriteCondition::Absent));
        let refused = store.complete_parts(open, absent, NOW).await;
        assert!(
            matches!(refused, Err(StoreError::ConditionFailed)),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn an_upload_whose_client_leaves_while_it_is_told_to_end_is_worked_on_until_that_is_over()
    {
        let folder = Folder::new();
        let store = folder.open().await;
        let new = upload("parts.bin");
        let id = new.id;
        store.create_parts(new, PartRules::default()).await.unwrap();
        send(&store, id, (0, None), b"all").await.unwrap();
        let held = hold_index(&store.engine);
        let parts = vec![(0, Md5::of(b"all"))];
        let condition = None;
        let client = store.complete_parts(id, Completion { parts, condition }, NOW);
        assert!(client.now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!(store.engine.leases.is_taken(id), "the client has left");
        drop(held);
        until(|| !store.engine.leases.is_taken(id)).await;
        assert_eq!(read(&store, id).await.unwrap(), "all");
    }

    #[tokio::test]
    async fn an_upload_that_cannot_be_made_whole_can_still_be_aborted() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = told_to_end(&store, None).await;
        store.abort_upload(id).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = folder.open().await;
        assert!(store.upload(id).await.is_err());
        assert!(!store.engine.disk.path(FileName::Main(id)).exists());
    }
}
