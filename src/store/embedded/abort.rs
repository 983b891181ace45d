//! The end of a session that never becomes an object: it is aborted, or swept.
//!
//! Owns: aborting, also while chunks are being copied to make the session whole; and the removal of a session under its lease.
//! Never does: decide which session is due (`sweep` and `lifecycle` do), or end one that gives way (`complete` does).
//!
//! Invariants:
//! 1. What is just being named is an object or nothing afterwards, never half of both: the index takes one job behind the other. A session is
//!    removed in its turn, or, where a sync keeps that for long, before; its files always go in its turn, when nobody makes them anew.
//! 2. While somebody aborts, the lease says so: a copy ends at its next step and leaves nothing but what lies in the main file, and nobody waits
//!    for others to copy. When its files are gone, or nothing comes of it, it says so no more: what could not be removed is made whole as before,
//!    and none of it counts as a failure.

use std::sync::Arc;
use std::time::Duration;

use super::faults::{self, Bug};
use super::index::Txn;
use super::lease::{Aborts, Lease};
use super::names::Garbage;
use super::records::SessionRecord;
use super::{Engine, closing, ledger, sync};
use crate::model::{Id, UploadState};
use crate::store::StoreError;

/// How long an abort waits for its turn, so that the room is free when it is answered. A copy ends at its next step, and before its next
/// sync; a sync that has begun, and which the disk takes long over, ends behind the answer.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// Drops a session that is not finished, and its chunks.
pub(super) async fn abort(engine: &Arc<Engine>, id: Id) -> Result<(), StoreError> {
    abort_within(engine, id, ABORT_WAIT).await
}

/// As [`abort`], which waits so long for its turn.
pub(super) async fn abort_within(
    engine: &Arc<Engine>,
    id: Id,
    wait: Duration,
) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        let lease = owner.leases.take(id);
        // What is being copied may be what fills the disk, and may take hours: it ends, and goes on only when nothing comes of this.
        let aborts = lease.aborts();
        match sync::timeout(wait, lease.turn.lock()).await {
            Ok(_turn) => drop_in_turn(&owner, &lease, may_be_aborted).await,
            Err(_) => drop_ahead(&owner, &lease, aborts).await,
        }
    };
    engine.carry_out(work).await
}

fn may_be_aborted(record: &SessionRecord) -> Result<(), StoreError> {
    match record.session.state {
        // Of one that waits to be made whole nobody was told yet that it has become an object, and it may be what fills the disk.
        UploadState::Uploading | UploadState::Completing | UploadState::Failed => Ok(()),
        UploadState::Completed if faults::is_planted(Bug::AbortAny) => Ok(()),
        UploadState::Completed => Err(StoreError::Finished),
    }
}

/// Removes a session while somebody else has its turn. What he does comes to nothing, since the index knows it no more; its files go when he
/// has let go of them, at a later sweep or at the next start.
async fn drop_ahead(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    aborts: Aborts,
) -> Result<(), StoreError> {
    let garbage = remove(engine, lease.id, may_be_aborted).await?;
    let (owner, lease) = (Arc::clone(engine), Arc::clone(lease));
    let clearing = async move {
        let _turn = lease.turn.lock().await;
        if let Err(error) = clear_away(&owner, &lease, garbage).await {
            tracing::warn!(id = %lease.id, %error, "the files of an aborted upload stay until a later sweep or the next start");
        }
        // Until here: what he does not find any more is no failure, and no damage.
        drop(aborts);
    };
    drop(engine.tasks.spawn(clearing));
    Ok(())
}

/// Removes a session that `check` lets go.
///
/// # Errors
/// [`StoreError::InUse`] while somebody makes it whole, removes it, or waits for what became of it: he has yet to look.
pub(super) async fn drop_free_session(
    engine: &Arc<Engine>,
    id: Id,
    check: impl FnOnce(&SessionRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let lease = engine.leases.take(id);
    let _turn = lease.turn.try_lock().map_err(|_| StoreError::InUse)?;
    let own = Arc::clone(&lease);
    // In the turn of the index: who waits was told so in an earlier one.
    let check = move |record: &SessionRecord| match !record.is_open() && own.is_awaited() {
        true => Err(StoreError::InUse),
        false => check(record),
    };
    drop_in_turn(engine, &lease, check).await
}

/// Removes a session that `check` lets go, under its lease, so that no writer makes a file anew afterwards. The caller has its turn.
async fn drop_in_turn(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    check: impl FnOnce(&SessionRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let garbage = remove(engine, lease.id, check).await?;
    clear_away(engine, lease, garbage).await
}

/// Removes a session that `check` lets go from the index; what becomes free by that.
async fn remove(
    engine: &Engine,
    id: Id,
    check: impl FnOnce(&SessionRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<Garbage, StoreError> {
    let remove = move |txn: &mut Txn<'_>| {
        let record = ledger::session(txn, id)?;
        check(&record)?;
        closing::remove_session(txn, &record)
    };
    engine.index.commit(remove).await
}

/// Removes what a session left, once nobody writes to its main file any more.
pub(super) async fn clear_away(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    garbage: Garbage,
) -> Result<(), StoreError> {
    if !garbage.is_empty() {
        let sealed = Arc::clone(lease);
        engine
            .blocking(move |_| {
                sealed.seal();
                Ok(())
            })
            .await?;
        engine.collect(garbage);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::complete::{self, MAX_FOLDS};
    use super::super::disk::{FileName, Gate};
    use super::super::rebuild;
    use super::*;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{
        Folder, NOW, begin, full, full_and_large, full_and_misplaced, read, until, upload,
    };
    use crate::store::{ChunkSpec, Expected, ObjectName, ObjectStore as _};

    /// An upload whose chunks are just being copied, and somebody who waits for it.
    struct Copied {
        id: Id,
        lease: Arc<Lease>,
        gate: Gate,
        waits: tokio::task::JoinHandle<Result<crate::model::UploadSession, StoreError>>,
    }

    async fn being_copied(store: &EmbeddedStore, rebuilds: bool) -> Copied {
        let (id, gate, target, nb_chunks) = match rebuilds {
            true => (full_and_misplaced(store).await, 0, Some(1), 4),
            false => (full(store, upload("session.bin")).await, 1, None, 2),
        };
        let gate = Gate::before(store.engine.disk.path(FileName::Spill(id, gate)));
        let target = target.map_or(FileName::Main(id), |n| FileName::Spill(id, n));
        let target = store.engine.disk.path(target);
        let before = std::fs::metadata(&target).map_or(0, |file| file.len());
        let own = store.clone();
        let waits = tokio::spawn(async move { own.finish_upload(id, nb_chunks, NOW).await });
        // The first chunk is there.
        until(|| std::fs::metadata(&target).is_ok_and(|file| file.len() > before)).await;
        let lease = store.engine.leases.take(id);
        Copied {
            id,
            lease,
            gate,
            waits,
        }
    }

    fn abort_by(store: &EmbeddedStore, id: Id) -> tokio::task::JoinHandle<Result<(), StoreError>> {
        let own = store.clone();
        tokio::spawn(async move { own.abort_upload(id).await })
    }

    async fn assert_nothing_is_left(store: &EmbeddedStore, id: Id) {
        assert!(matches!(
            store.upload(id).await,
            Err(StoreError::NoSuchUpload)
        ));
        assert_eq!(*store.engine.copying.lock().unwrap(), 0, "room is left");
        assert_eq!(store.engine.folds.available_permits(), MAX_FOLDS);
        let next = full(store, upload("next")).await;
        store.finish_upload(next, 2, NOW).await.unwrap();
        assert_eq!(read(store, next).await.unwrap(), "first second");
        store.close().await.unwrap();
        let main = store.engine.disk.path(FileName::Main(id));
        let files = std::fs::read_dir(main.parent().unwrap()).unwrap();
        let names = files.map(|file| file.unwrap().file_name());
        let mut names = names.map(|name| name.into_string().unwrap());
        assert_eq!(names.find(|name| name.starts_with(&id.to_string())), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_abort_ends_a_copy_that_is_under_way_and_nothing_is_left_of_it() {
        for rebuilds in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let copied = being_copied(&store, rebuilds).await;
            let abort = abort_by(&store, copied.id);
            until(|| copied.lease.is_aborted()).await;
            drop(copied.gate);
            abort.await.unwrap().unwrap();
            let told = copied.waits.await.unwrap();
            assert!(matches!(told, Err(StoreError::NoSuchUpload)), "{told:?}");
            drop(copied.lease);
            assert_nothing_is_left(&store, copied.id).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_goes_on_when_nothing_comes_of_the_abort_that_ended_it() {
        for rebuilds in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let copied = being_copied(&store, rebuilds).await;
            let aborts = copied.lease.aborts();
            drop(copied.gate);
            until(|| copied.lease.turn.try_lock().is_ok()).await;
            let state = store.upload(copied.id).await.unwrap().state;
            assert_eq!(state, UploadState::Completing);
            assert!(!copied.waits.is_finished());
            drop(aborts);
            let told = copied.waits.await.unwrap().unwrap();
            assert_eq!(told.state, UploadState::Completed);
            let whole = match rebuilds {
                true => "1st secondthird last",
                false => "first second",
            };
            assert_eq!(read(&store, copied.id).await.unwrap(), whole);
        }
    }

    #[tokio::test]
    async fn an_abort_does_not_wait_for_the_copies_that_others_are_waited_for() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &store.engine;
        let all = engine.folds.acquire_many(MAX_FOLDS as u32).await.unwrap();
        let id = full_and_large(&store, upload("session.bin")).await;
        let own = store.clone();
        let waits = tokio::spawn(async move { own.finish_upload(id, 2, NOW).await });
        let lease = engine.leases.take(id);
        until(|| *lease.sealed.read().unwrap()).await;
        drop(lease);
        let abort = abort_by(&store, id);
        let ended = async { (abort.await.unwrap(), waits.await.unwrap()) };
        let (aborted, told) = tokio::time::timeout(Duration::from_secs(20), ended)
            .await
            .expect("it does not wait for the copies");
        aborted.unwrap();
        assert!(matches!(told, Err(StoreError::NoSuchUpload)), "{told:?}");
        drop(all);
        assert_nothing_is_left(&store, id).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_aborts_at_once_one_ends_the_copy_and_the_other_finds_nothing() {
        let folder = Folder::new();
        let store = folder.open().await;
        let copied = being_copied(&store, true).await;
        let aborts = [(); 2].map(|()| abort_by(&store, copied.id));
        until(|| copied.lease.is_aborted()).await;
        drop(copied.gate);
        let mut told = Vec::new();
        for abort in aborts {
            told.push(abort.await.unwrap());
        }
        told.sort_by_key(Result::is_err);
        assert!(
            matches!(told[..], [Ok(()), Err(StoreError::NoSuchUpload)]),
            "{told:?}"
        );
        let waited = copied.waits.await.unwrap();
        assert!(
            matches!(waited, Err(StoreError::NoSuchUpload)),
            "{waited:?}"
        );
        drop(copied.lease);
        assert_nothing_is_left(&store, copied.id).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_abort_that_comes_when_the_object_is_just_being_named_finds_it_finished() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        let engine = Arc::clone(&store.engine);
        let lease = engine.leases.take(id);
        let _awaits = lease.is_waited_for();
        // Nothing is named until that is dropped.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = move |_: &mut Txn<'_>| {
            let _ = held.recv();
            Ok(())
        };
        let own = Arc::clone(&engine);
        let committer = tokio::spawn(async move { own.index.commit(hold).await });
        let completed = tokio::spawn(complete::complete(Arc::clone(&engine), id, NOW));
        until(|| matches!(rebuild::read_label(&engine.disk, id), Ok(Some(_)))).await;
        let abort = abort_by(&store, id);
        until(|| lease.is_aborted()).await;
        drop(release);
        let told = abort.await.unwrap();
        assert!(matches!(told, Err(StoreError::Finished)), "{told:?}");
        completed.await.unwrap().unwrap();
        committer.await.unwrap().unwrap();
        let object = store.object(&ObjectName::Id(id), NOW).await.unwrap();
        assert_eq!(object.size, 12);
    }

    #[tokio::test]
    async fn what_is_not_found_of_an_upload_that_is_gone_is_told_as_no_damage() {
        let folder = Folder::new();
        let store = folder.open().await;
        let path = folder.0.with_extension("log");
        let file = Arc::new(std::fs::File::create(&path).unwrap());
        let log = tracing_subscriber::fmt().with_writer(file);
        let log = tracing::subscriber::set_default(log.finish());
        let id = full(&store, upload("session.bin")).await;
        let lease = store.engine.leases.take(id);
        // Whoever looks how its chunks lie is held before he does.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (taken, seen) = std::sync::mpsc::channel();
        let own = Arc::clone(&lease);
        let writes = std::thread::spawn(move || {
            let _sealed = own.sealed.read().unwrap();
            taken.send(()).unwrap();
            let _ = held.recv();
        });
        seen.recv().unwrap();
        let looks = tokio::spawn(complete::complete(Arc::clone(&store.engine), id, NOW));
        until(|| lease.sealed.try_read().is_err()).await;
        let aborted = abort_within(&store.engine, id, Duration::ZERO).await;
        aborted.unwrap();
        drop(release);
        writes.join().unwrap();
        looks.await.unwrap().unwrap();
        drop((lease, log));
        let told = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!told.contains("cannot be made whole"), "{told}");
        assert_nothing_is_left(&store, id).await;
    }

    #[tokio::test]
    async fn who_still_writes_to_an_upload_that_was_aborted_makes_no_file_of_it() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let spec = ChunkSpec::new(0, Some(2));
        let mut late = store.write_chunk(id, spec).await.unwrap();
        store.abort_upload(id).await.unwrap();
        late.write(bytes::Bytes::from_static(b"late"))
            .await
            .unwrap();
        let told = late.commit(Expected::default(), NOW).await;
        assert!(matches!(told, Err(StoreError::NoSuchUpload)), "{told:?}");
        assert_nothing_is_left(&store, id).await;
    }

    #[tokio::test]
    async fn a_form_upload_that_cannot_be_made_whole_can_still_be_aborted() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        store.abort_upload(id).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let store = folder.open().await;
        assert!(store.upload(id).await.is_err());
        for name in [FileName::Main(id), FileName::Spill(id, 0)] {
            assert!(!store.engine.disk.path(name).exists(), "{name:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_aborts_an_upload_that_the_disk_does_not_let_go_of_is_told_so_when_the_index_knows_it_no_more()
     {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let begun = tokio::time::Instant::now();
        store.abort_upload(id).await.unwrap();
        assert_eq!(begun.elapsed(), ABORT_WAIT);
        let told = store.upload(id).await;
        assert!(matches!(told, Err(StoreError::NoSuchUpload)), "{told:?}");
        let again = store.abort_upload(id).await;
        assert!(matches!(again, Err(StoreError::NoSuchUpload)), "{again:?}");
        let spill = store.engine.disk.path(FileName::Spill(id, 1));
        assert!(spill.exists(), "whoever has the turn may be at work on it");
        assert!(lease.is_aborted(), "he is to come to an end");
        drop(turn);
        tokio::time::resume();
        drop(lease);
        assert_nothing_is_left(&store, id).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_whose_upload_is_gone_before_it_ends_leaves_nothing_and_damages_nothing() {
        for rebuilds in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let copied = being_copied(&store, rebuilds).await;
            abort_within(&store.engine, copied.id, Duration::ZERO)
                .await
                .unwrap();
            assert!(!copied.waits.is_finished());
            drop(copied.gate);
            let told = copied.waits.await.unwrap();
            assert!(matches!(told, Err(StoreError::NoSuchUpload)), "{told:?}");
            drop(copied.lease);
            assert_nothing_is_left(&store, copied.id).await;
        }
    }
}
