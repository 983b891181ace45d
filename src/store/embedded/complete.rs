//! From a full set of chunks to one plain file with a name; and the end of a session that never gets there.
//!
//! Owns: the order of what is done to the file (`folding` does it), how many are copied at a time, and the one index job that makes the
//! object visible. Also aborting.
//! Never does: acknowledge chunks; the set is complete, and durable, before anything here begins.
//!
//! Invariants:
//! 1. One completion per session at a time (the lease's turn); every step can be done again after a crash: spills are removed
//!    only once the object is named.
//! 2. A failure of the system leaves the session in `Completing`, to be tried again; only damaged bytes fail it, the removal of its bucket, and
//!    a disk that does not give its bytes time and again until it is abandoned. One that has expired, or whose condition was overtaken, is removed. It is told to whoever waits, or else to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::closing::Told;
use super::faults::{self, Bug};
use super::folding::{self, Layout};
use super::index::Txn;
use super::lease::Lease;
use super::names::Garbage;
use super::records::SessionRecord;
use super::sync::AtomicBool;
use super::{Engine, closing, damage, label, ledger, objects, receipts, sync, tagged};
use crate::model::{Id, ObjectMeta, Timestamp, UploadSession, UploadState};
use crate::store::StoreError;

/// How long a caller waits for an object to be made whole; it then goes on by itself.
const COMPLETION_WAIT: Duration = Duration::from_secs(30);
/// Files whose chunks are copied at a time. Each keeps a thread that waits for disks, of which there are 256 for all there is to do; and no
/// disk copies more of them faster.
pub(super) const MAX_FOLDS: usize = 4;
/// Copies of at most so many bytes wait for nobody: they are over in a moment, and others take hours.
const SMALL_FOLD_BYTES: u64 = 64 << 20;

/// Says that no more chunks will come, and makes the object whole.
pub(super) async fn finish(
    engine: &Arc<Engine>,
    id: Id,
    nb_chunks: u32,
    now: Timestamp,
) -> Result<UploadSession, StoreError> {
    let lease = engine.leases.take(id);
    let _awaits = lease.awaits();
    let job = move |txn: &mut Txn<'_>| closing::finish(txn, id, nb_chunks, now);
    let session = match engine.index.commit(job).await {
        Err(StoreError::MissingChunks { count, .. }) => {
            let first = move |engine: &Engine| receipts::first_missing(engine, id, nb_chunks);
            let first = engine.blocking(first).await?;
            return Err(StoreError::MissingChunks { count, first });
        }
        finished => finished?,
    };
    if session.state == UploadState::Completing {
        complete_and_wait(engine, id, now).await?;
        return Ok(engine.session(id)?.session);
    }
    Ok(session)
}

/// Completes a session and waits for it, at most [`COMPLETION_WAIT`]; the object, when it is there by then. While somebody else has the
/// session's turn, nothing is begun: of a hundred callers who went away a hundred tasks would wait.
pub(super) async fn complete_and_wait(
    engine: &Arc<Engine>,
    id: Id,
    now: Timestamp,
) -> Result<Option<ObjectMeta>, StoreError> {
    let (waiter, clock) = (Waiter::default(), Running::from(now));
    let lease = engine.leases.take(id);
    let _awaits = lease.awaits();
    let completed = async {
        drop(lease.turn.lock().await);
        let work = waiter.complete(engine, id, clock);
        engine.tasks.spawn(work).await
    };
    match sync::timeout(COMPLETION_WAIT, completed).await {
        Ok(done) => super::joined(done)?,
        Err(_) => return Ok(None),
    }
    match engine.session(id)?.session.state {
        state @ UploadState::Failed => Err(StoreError::UploadFailed(state)),
        _ => objects::by_id(engine, id),
    }
}

/// Somebody who waits for a completion, which goes on when he has left.
#[derive(Default)]
struct Waiter {
    has_left: Arc<AtomicBool>,
}

impl Waiter {
    /// As [`complete`]; how it failed is told to the log when there is nobody else to tell.
    fn complete(
        &self,
        engine: &Arc<Engine>,
        id: Id,
        clock: Running,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (has_left, engine) = (Arc::clone(&self.has_left), Arc::clone(engine));
        async move {
            let done = complete(engine, id, clock).await;
            if let Err(error) = &done
                && has_left.load(Ordering::Acquire)
            {
                tracing::warn!(%id, %error, "an upload that nobody waits for any more is not whole");
            }
            done
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.has_left.store(true, Ordering::Release);
    }
}

/// Makes the object of a session in `Completing` whole and names it; nothing in any other state.
pub(super) async fn complete(
    engine: Arc<Engine>,
    id: Id,
    clock: impl Into<Running>,
) -> Result<(), StoreError> {
    make_whole(&engine, id, (clock.into(), Told::Somebody)).await
}

/// As [`complete`], when nobody waits for it any more; unless its key was given to another since. Who asks for the end anew meanwhile is
/// somebody who waits.
pub(super) async fn complete_late(
    engine: Arc<Engine>,
    id: Id,
    clock: Running,
) -> Result<(), StoreError> {
    make_whole(&engine, id, (clock, Told::Nobody)).await
}

/// Who is told now, when `told` was when it began. Asked in the turn of the index in which it counts.
fn told_now(told: Told, lease: &Lease) -> Told {
    match lease.is_awaited() {
        true => Told::Somebody,
        false => told,
    }
}

async fn make_whole(
    engine: &Arc<Engine>,
    id: Id,
    (clock, told): (Running, Told),
) -> Result<(), StoreError> {
    let lease = engine.leases.take(id);
    let _turn = lease.turn.lock().await;
    // Asked before its chunks are copied, which may take hours, and again in the moment in which it is named.
    if told == Told::Nobody && give_way(engine, &lease).await? {
        return Ok(());
    }
    match assemble(engine, &lease, clock).await {
        // Only what is wrong with its own bytes and receipts: an index that cannot be read now may be read the next time.
        Err(error) if damage::is_of_one_record(&error) => {
            tracing::error!(%id, %error, "an upload cannot be made whole");
            fail(engine, id).await
        }
        Err(error) => Err(error),
        Ok(None) => Ok(()),
        Ok(Some(meta)) => match name(engine, &lease, meta, (clock.now(), told)).await {
            Err(StoreError::NoSuchBucket) => {
                tracing::warn!(%id, "an upload was left without its bucket, which was removed");
                fail_unlabelled(engine, id).await
            }
            named => named,
        },
    }
}

/// The time as it goes on from what a caller said it was: to wait for one's turn and to copy may take hours, in which an object expires.
#[derive(Clone, Copy)]
pub(super) struct Running {
    /// What the caller said.
    pub(super) said: Timestamp,
    at: Instant,
}

impl From<Timestamp> for Running {
    /// Begins at what it is.
    fn from(said: Timestamp) -> Self {
        let at = Instant::now();
        Self { said, at }
    }
}

impl Running {
    /// What it is now.
    pub(super) fn now(self) -> Timestamp {
        self.said.plus(self.elapsed())
    }

    /// How long it has been going on.
    pub(super) fn elapsed(self) -> Duration {
        self.at.elapsed()
    }
}

async fn fail(engine: &Engine, id: Id) -> Result<(), StoreError> {
    let job = move |txn: &mut Txn<'_>| closing::fail(txn, id);
    engine.index.commit(job).await
}

/// As [`fail`], for one whose file may have its label already.
async fn fail_unlabelled(engine: &Arc<Engine>, id: Id) -> Result<(), StoreError> {
    let take_off = move |engine: &Engine| label::take_off(&engine.disk, id);
    engine.blocking(take_off).await?;
    fail(engine, id).await
}

/// Gives up on a full session that is abandoned, for an error that came again and again; the next sweep removes it. The error, when it goes on.
pub(super) async fn give_up(
    engine: &Arc<Engine>,
    id: Id,
    now: Timestamp,
    error: StoreError,
) -> Result<(), StoreError> {
    let lease = engine.leases.take(id);
    let _turn = lease.turn.lock().await;
    let session = engine.session(id)?.session;
    if session.state != UploadState::Completing {
        return Ok(());
    }
    if now < session.upload.abandoned_at {
        return Err(error);
    }
    tracing::error!(%id, %error, "an abandoned upload is given up: it cannot be made whole");
    fail_unlabelled(engine, id).await
}

/// Drops a session that is not finished, and its chunks.
pub(super) async fn abort(engine: &Arc<Engine>, id: Id) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let check = |record: &SessionRecord| match record.session.state {
        // Of one that waits to be made whole nobody was told yet that it has become an object, and it may be what fills the disk.
        UploadState::Uploading | UploadState::Completing | UploadState::Failed => Ok(()),
        UploadState::Completed if faults::is_planted(Bug::AbortAny) => Ok(()),
        UploadState::Completed => Err(StoreError::Finished),
    };
    let work = async move {
        let lease = owner.leases.take(id);
        // The copy that is under way may be what fills the disk, and may take hours: whoever asks again is told at once when it is over.
        let turn = sync::timeout(COMPLETION_WAIT, lease.turn.lock()).await;
        let _turn = turn.map_err(|_| StoreError::Busy)?;
        drop_in_turn(&owner, &lease, check).await
    };
    engine.carry_out(work).await
}

/// Removes a session that `check` lets go.
///
/// # Errors
/// [`StoreError::InUse`] while somebody makes it whole, or removes it.
pub(super) async fn drop_free_session(
    engine: &Arc<Engine>,
    id: Id,
    check: impl FnOnce(&SessionRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let lease = engine.leases.take(id);
    let _turn = lease.turn.try_lock().map_err(|_| StoreError::InUse)?;
    drop_in_turn(engine, &lease, check).await
}

/// Removes a session that `check` lets go, under its lease, so that no writer makes a file anew afterwards. The caller has its turn.
async fn drop_in_turn(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    check: impl FnOnce(&SessionRecord) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), StoreError> {
    let id = lease.id;
    let remove = move |txn: &mut Txn<'_>| {
        let record = ledger::session(txn, id)?;
        check(&record)?;
        closing::remove_session(txn, &record)
    };
    let garbage = engine.index.commit(remove).await?;
    clear_away(engine, lease, garbage).await
}

/// Ends a full session whose key was given to another since; whether it was.
async fn give_way(engine: &Arc<Engine>, lease: &Arc<Lease>) -> Result<bool, StoreError> {
    let id = lease.id;
    let asked = Arc::clone(lease);
    let job = move |txn: &mut Txn<'_>| match told_now(Told::Nobody, &asked) {
        Told::Somebody => Ok(None),
        Told::Nobody => closing::give_way(txn, id),
    };
    match engine.index.commit(job).await? {
        Some(garbage) => clear_away(engine, lease, garbage).await.map(|()| true),
        None => Ok(false),
    }
}

/// Removes what a session left, once nobody writes to its main file any more.
async fn clear_away(
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

/// Makes the file of a session whole and labels it; nothing when that is not what the session waits for.
async fn assemble(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    clock: Running,
) -> Result<Option<ObjectMeta>, StoreError> {
    let id = lease.id;
    let mut record = engine.session(id)?;
    if record.session.state != UploadState::Completing {
        return Ok(None);
    }
    tagged::put_back(&mut record, |key| engine.index.get(key))?;
    let (own, known) = (Arc::clone(lease), record.clone());
    let look = move |engine: &Engine| folding::look(engine, &own, &known, clock);
    let rebuilt = match engine.blocking(look).await? {
        Layout::Right => None,
        Layout::Rebuilt(number) => Some(number),
        wrong => move_chunks(engine, lease, wrong).await?,
    };
    if let Some(number) = rebuilt {
        let note = move |txn: &mut Txn<'_>| folding::note_rebuilt(txn, id, number);
        let noted = engine.index.commit(note).await;
        // The copy stays where it is: an earlier attempt may have noted it.
        noted.inspect_err(|_| engine.leaves_litter())?;
        let take_over = move |engine: &Engine| folding::take_over(engine, id, number);
        engine.blocking(take_over).await?;
    }
    let finish = move |engine: &Engine| folding::finish_file(engine, &record, clock);
    engine.blocking(finish).await.map(Some)
}

/// Copies chunks to where they are to lie; the spill that holds all of them, when there is one. At most [`MAX_FOLDS`] large ones at a
/// time: who waits keeps no thread from others.
async fn move_chunks(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    layout: Layout,
) -> Result<Option<u32>, StoreError> {
    let _permit = match layout {
        Layout::Apart(bytes) | Layout::Wrong(bytes) if bytes > SMALL_FOLD_BYTES => {
            let permit = engine.folds.acquire().await;
            // Closed when the store is.
            Some(permit.map_err(|_| StoreError::Busy)?)
        }
        _ => None,
    };
    let own = Arc::clone(lease);
    let work = move |engine: &Engine| match layout {
        Layout::Apart(_) => folding::gather(engine, own.id).map(|()| None),
        _ => folding::rebuild(engine, &own).map(Some),
    };
    engine.blocking(work).await
}

/// Names the object of a session whose file is whole.
async fn name(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    meta: ObjectMeta,
    (now, told): (Timestamp, Told),
) -> Result<(), StoreError> {
    let lease = Arc::clone(lease);
    let name = move |txn: &mut Txn<'_>| {
        let told = told_now(told, &lease);
        closing::name_session(txn, meta.id, &meta, (now, told))
    };
    let named = engine.index.commit(name).await?;
    engine.collect(named.garbage);
    named.refused.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::Place;
    use crate::store::ObjectStore as _;
    use crate::store::embedded::disk::FileName;
    use crate::store::embedded::records;
    use crate::store::embedded::tests::{
        Folder, NOW, acknowledge_only, begin, full, post, read, send, upload,
    };
    use crate::store::embedded::{EmbeddedStore, Options};

    /// How far a completion that has to rebuild the file came before the crash.
    #[derive(Clone, Copy, Debug)]
    enum Crash {
        Copied,
        Noted,
        Renamed,
        Labelled,
    }

    #[tokio::test]
    async fn an_upload_waits_while_the_record_of_what_holds_its_key_cannot_be_read() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let engine = Arc::clone(&store.engine);
        let upload = engine.session(id).unwrap().session.upload;
        let place = records::object_key(&upload.bucket, &upload.key);
        let junk = place.clone();
        let damage = move |txn: &mut Txn<'_>| txn.put(junk, b"no record".to_vec());
        engine.index.commit(damage).await.unwrap();
        send(&store, id, (1, Some(2)), b"second").await.unwrap();
        let last = send(&store, id, (0, None), b"1st ").await;
        assert!(matches!(last, Err(StoreError::Corrupt(_))), "{last:?}");
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Completing);
        let mend = move |txn: &mut Txn<'_>| {
            txn.delete(place);
            Ok(())
        };
        engine.index.commit(mend).await.unwrap();
        store.finish_upload(id, 2, NOW).await.unwrap();
        assert_eq!(read(&store, id).await.unwrap(), "1st second");
    }

    /// A full upload that is to be made whole, of a file that expires in a minute; its id.
    async fn full_and_expiring(store: &EmbeddedStore) -> Id {
        let mut new = upload("session.bin");
        new.expires_at = Some(NOW.plus(Duration::from_secs(60)));
        full(store, new).await
    }

    async fn assert_expired_without_taking_the_key(store: &EmbeddedStore, id: Id, other: Id) {
        assert_eq!(read(store, other).await.unwrap(), "live");
        let gone = store.upload(id).await;
        assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
        store.close().await.unwrap();
        for name in [FileName::Main(id), FileName::Spill(id, 0)] {
            assert!(!store.engine.disk.path(name).exists(), "{name:?}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_is_made_whole_after_its_file_has_expired_takes_nobodys_key() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full_and_expiring(&store).await;
        let other = post(&store, "session.bin", b"live").await.id;
        let later = NOW.plus(Duration::from_secs(120));
        let ended = complete(Arc::clone(&store.engine), id, later).await;
        assert!(matches!(ended, Err(StoreError::NoSuchUpload)), "{ended:?}");
        assert_expired_without_taking_the_key(&store, id, other).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_one_whose_file_expires_while_it_waits_to_be_made_whole() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full_and_expiring(&store).await;
        let other = post(&store, "session.bin", b"live").await.id;
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let work = tokio::spawn(complete(Arc::clone(&store.engine), id, NOW));
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(turn);
        drop(lease);
        let ended = work.await.unwrap();
        assert!(matches!(ended, Err(StoreError::NoSuchUpload)), "{ended:?}");
        assert_expired_without_taking_the_key(&store, id, other).await;
    }

    #[tokio::test]
    async fn who_waits_for_a_completion_that_another_has_begun_leaves_nothing_behind() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        let engine = &store.engine;
        let lease = engine.leases.take(id);
        let turn = lease.turn.lock().await;
        for _ in 0..1000 {
            let waits = complete_and_wait(engine, id, NOW);
            assert!(waits.now_or_never().is_none());
        }
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&lease), 1, "nobody waits any more");
        drop(turn);
        let object = complete_and_wait(engine, id, NOW).await.unwrap();
        assert_eq!(object.unwrap().id, id);
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
    async fn who_aborts_an_upload_that_is_just_made_whole_is_told_to_come_again() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let busy = store.abort_upload(id).await;
        assert!(matches!(busy, Err(StoreError::Busy)), "{busy:?}");
        drop(turn);
        tokio::time::resume();
        store.abort_upload(id).await.unwrap();
        assert!(store.upload(id).await.is_err());
    }

    #[test]
    fn large_uploads_that_wait_to_be_made_whole_keep_no_thread_from_others_and_no_small_one_waiting()
     {
        let pool = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .unwrap();
        pool.block_on(async {
            let folder = Folder::new();
            let store = folder.open().await;
            let engine = &store.engine;
            let all = engine.folds.acquire_many(MAX_FOLDS as u32).await.unwrap();
            let mut works = Vec::new();
            for n in 0..5 {
                let id = full(&store, upload(&n.to_string())).await;
                let (engine, lease) = (Arc::clone(engine), engine.leases.take(id));
                let large = Layout::Apart(SMALL_FOLD_BYTES + 1);
                let work = async move { move_chunks(&engine, &lease, large).await };
                works.push((id, tokio::spawn(work)));
            }
            let small = full(&store, upload("small")).await;
            for _ in 0..100 {
                engine.blocking(|_| Ok(())).await.unwrap();
            }
            complete(Arc::clone(engine), small, NOW).await.unwrap();
            assert!(works.iter().all(|(_, work)| !work.is_finished()));
            drop(all);
            for (id, work) in works {
                work.await.unwrap().unwrap();
                complete(Arc::clone(engine), id, NOW).await.unwrap();
                assert_eq!(read(&store, id).await.unwrap(), "first second");
            }
        });
    }

    #[tokio::test]
    async fn an_upload_waits_while_what_lies_apart_would_eat_into_the_floor() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        // So long that there is no room for it in the block that the first one begins.
        let second = vec![7; 1 << 20];
        send(&store, id, (1, Some(2)), &second).await.unwrap();
        let main = store.engine.disk.open_or_create(FileName::Main(id));
        let mut first = [std::io::IoSlice::new(b"1st ")];
        let disk = &store.engine.disk;
        disk.write_at(&main.unwrap(), &mut first, 0).unwrap();
        acknowledge_only(&store, id, (0, None), Some(Place::Main(0)), b"1st ").await;
        drop(store);
        folder.settle().await;
        let full = Options {
            free_floor_bytes: u64::MAX,
            ..folder.options()
        };
        let store = EmbeddedStore::open(full, NOW).await.unwrap();
        let last = store.finish_upload(id, 2, NOW).await;
        assert!(matches!(last, Err(StoreError::Full)), "{last:?}");
        let main = store.engine.disk.open_or_create(FileName::Main(id));
        assert_eq!(store.engine.disk.length(&main.unwrap()).unwrap(), 4);
        drop(store);
        folder.settle().await;
        let store = folder.open().await;
        let whole = [b"1st ".as_slice(), &second].concat();
        assert_eq!(read(&store, id).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn an_upload_whose_bytes_are_in_place_already_needs_no_room_for_them() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("session.bin")).await;
        folding::gather(&store.engine, id).unwrap();
        drop(store);
        folder.settle().await;
        let full = Options {
            free_floor_bytes: u64::MAX,
            ..folder.options()
        };
        let store = EmbeddedStore::open(full, NOW).await.unwrap();
        assert_eq!(read(&store, id).await.unwrap(), "first second");
    }

    #[tokio::test]
    async fn a_rebuilt_file_is_right_wherever_the_crash_came() {
        for crash in [Crash::Copied, Crash::Noted, Crash::Renamed, Crash::Labelled] {
            let folder = Folder::new();
            let store = folder.open().await;
            let id = begin(&store).await;
            // The stride becomes 6, so that chunk 2 lies at 12; chunk 0 is shorter, so that it ends up at 10.
            send(&store, id, (1, Some(4)), b"second").await.unwrap();
            send(&store, id, (0, None), b"1st ").await.unwrap();
            send(&store, id, (2, None), b"third ").await.unwrap();
            let engine = Arc::clone(&store.engine);
            let main = engine.disk.open_or_create(FileName::Main(id)).unwrap();
            assert_eq!(
                engine.receipt(id, 2).unwrap().unwrap().place,
                Place::Main(12)
            );
            let mut last = [std::io::IoSlice::new(b"last")];
            engine.disk.write_at(&main, &mut last, 18).unwrap();
            acknowledge_only(&store, id, (3, None), Some(Place::Main(18)), b"last").await;
            stop_at(&engine, id, crash).await;
            drop((engine, store));
            let store = folder.open().await;
            assert_eq!(
                read(&store, id).await.unwrap(),
                "1st secondthird last",
                "{crash:?}"
            );
        }
    }

    async fn stop_at(engine: &Arc<Engine>, id: Id, crash: Crash) {
        let lease = engine.leases.take(id);
        let record = engine.session(id).unwrap();
        let clock = Running::from(NOW);
        let layout = folding::look(engine, &lease, &record, clock).unwrap();
        assert!(matches!(layout, Layout::Wrong(_)), "{layout:?}");
        let number = folding::rebuild(engine, &lease).unwrap();
        if matches!(crash, Crash::Copied) {
            return;
        }
        let note = move |txn: &mut Txn<'_>| folding::note_rebuilt(txn, id, number);
        engine.index.commit(note).await.unwrap();
        if matches!(crash, Crash::Noted) {
            return;
        }
        folding::take_over(engine, id, number).unwrap();
        if matches!(crash, Crash::Labelled) {
            folding::finish_file(engine, &record, clock).unwrap();
        }
    }
}
