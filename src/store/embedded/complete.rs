//! From a full set of chunks to one plain file with a name.
//!
//! Owns: the order of what is done to the file (`folding` does it), how many are copied at a time, and the one index job that makes the
//! object visible.
//! Never does: acknowledge chunks; the set is complete, and durable, before anything here begins. Remove a session; `abort` does.
//!
//! Invariants:
//! 1. One completion per session at a time (the lease's turn); every step can be done again after a crash: spills are removed
//!    only once the object is named.
//! 2. A failure of the system leaves the session in `Completing`, to be tried again; only damaged bytes fail it, the removal of its bucket, and
//!    a disk that does not give its bytes time and again until it is abandoned. One that has expired, or whose condition was overtaken, is removed. It is told to whoever waits, or else to the log, and that
//!    it has expired to both.
//! 3. What nobody waits for any more gives way to what has its key since; who waits is asked in the job that names, and waits from the job
//!    that told him that it is to be made whole: who is refused never did. Who is told that he has an object waited, or it was not overtaken.
//! 4. Whoever aborts the session gets its turn when the copy has come to its next step; when nothing comes of that, it goes on. He may also
//!    have it removed before: what is not found any more while somebody aborts is neither a failure nor damage.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::closing::Told;
use super::disk::FileName;
use super::folding::{self, Layout};
use super::index::Txn;
use super::lease::{Awaits, Lease};
use super::sync::JoinHandle;
use super::{Engine, abort, closing, damage, label, objects, receipts, sync, tagged};
use crate::model::{Id, ObjectMeta, Timestamp, UploadSession, UploadState};
use crate::store::StoreError;

/// How long a caller waits for an object to be made whole; it then goes on by itself.
const COMPLETION_WAIT: Duration = Duration::from_secs(30);
/// Files whose chunks are copied at a time. Each keeps a thread that waits for disks, of which there are 256 for all there is to do; and no
/// disk copies more of them faster.
pub(super) const MAX_FOLDS: usize = 4;
/// Copies of at most so many bytes wait for nobody: they are over in a moment, and others take hours. In the tests of the schedules all wait.
const SMALL_FOLD_BYTES: u64 = if cfg!(feature = "schedules") {
    0
} else {
    64 << 20
};

/// Says that no more chunks will come, and makes the object whole.
pub(super) async fn finish(
    engine: &Arc<Engine>,
    id: Id,
    nb_chunks: u32,
    now: Timestamp,
) -> Result<UploadSession, StoreError> {
    let awaits = engine.leases.take(id).awaits();
    let caller = Arc::downgrade(&awaits);
    let job = move |txn: &mut Txn<'_>| {
        let session = closing::finish(txn, id, nb_chunks, now)?;
        Awaits::begin(&caller, session.state);
        Ok(session)
    };
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
/// session's turn, nothing is begun: of a hundred callers who went away a hundred tasks would wait. That it is waited for, the caller notes.
pub(super) async fn complete_and_wait(
    engine: &Arc<Engine>,
    id: Id,
    clock: impl Into<Running>,
) -> Result<Option<ObjectMeta>, StoreError> {
    let completed = complete_and_stay(engine, id, None, clock.into());
    let in_time = sync::timeout(COMPLETION_WAIT, completed).await;
    in_time.unwrap_or(Ok(None))
}

/// As [`complete_and_wait`], as long as it takes, and of that which was begun already. Who waits in rounds would have what fails in a later one begin
/// anew, again and again, and would never be told.
pub(super) async fn complete_and_stay(
    engine: &Arc<Engine>,
    id: Id,
    begun: Option<JoinHandle<Result<(), StoreError>>>,
    clock: Running,
) -> Result<Option<ObjectMeta>, StoreError> {
    let begun = match begun {
        Some(begun) => begun,
        None => {
            let lease = engine.leases.take(id);
            drop(lease.turn.lock().await);
            begin(engine, id, clock)
        }
    };
    super::joined(begun.await)?;
    match engine.session(id)?.session.state {
        state @ UploadState::Failed => Err(StoreError::UploadFailed(state)),
        _ => objects::by_id(engine, id),
    }
}

/// Begins to complete a session, whoever waits for it.
pub(super) fn begin(
    engine: &Arc<Engine>,
    id: Id,
    clock: Running,
) -> JoinHandle<Result<(), StoreError>> {
    let work = complete_for_others(Arc::clone(engine), id, clock);
    engine.tasks.spawn(work)
}

/// As [`complete`]; how it failed is told to the log when nobody waits for it any more.
async fn complete_for_others(
    engine: Arc<Engine>,
    id: Id,
    clock: Running,
) -> Result<(), StoreError> {
    let lease = engine.leases.take(id);
    let done = complete(engine, id, clock).await;
    if let Err(error) = &done
        && !lease.is_awaited()
        // That it expired the log was told by who removed it; whoever aborts it knows.
        && !matches!(error, StoreError::NoSuchUpload)
    {
        tracing::warn!(%id, %error, "an upload that nobody waits for any more is not whole");
    }
    done
}

/// Makes the object of a session in `Completing` whole and names it, unless nobody waits for that and its key was given to another since;
/// nothing in any other state, or of one that is gone.
pub(super) async fn complete(
    engine: Arc<Engine>,
    id: Id,
    clock: impl Into<Running>,
) -> Result<(), StoreError> {
    let (lease, clock) = (engine.leases.take(id), clock.into());
    loop {
        lease.until_aborted(false).await;
        sync::point();
        let _turn = lease.turn.lock().await;
        match make_whole(&engine, &lease, clock).await {
            // It is aborted: whoever does that has the next turn, or was before this. When nothing comes of it, it is made whole after all.
            Err(StoreError::InUse) => {}
            Err(error)
                if lease.is_aborted() && !matches!(error, StoreError::ConditionOvertaken) => {}
            done => return done,
        }
    }
}

/// As [`complete`], of a session whose turn the caller has.
///
/// # Errors
/// [`StoreError::InUse`] when it is aborted.
async fn make_whole(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    clock: Running,
) -> Result<(), StoreError> {
    let id = lease.id;
    // It was removed before this had its turn, which is no failure: who waits is told when he looks for it.
    if matches!(engine.session(id), Err(StoreError::NoSuchUpload)) {
        return Ok(());
    }
    if gives_way(engine, lease).await? {
        return Ok(());
    }
    match assemble(engine, lease, clock).await {
        // Only what is wrong with its own bytes and receipts: an index that cannot be read now may be read the next time.
        Err(error) if damage::is_of_one_record(&error) && !lease.is_aborted() => {
            // What a failed sync left of it is no damage: it is read anew after a restart.
            engine.fuse.check()?;
            tracing::error!(%id, %error, "an upload cannot be made whole");
            fail(engine, id).await
        }
        Err(error) => Err(error),
        Ok(None) => Ok(()),
        Ok(Some(meta)) => match name(engine, lease, meta, clock.now()).await {
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

/// Who is told of it now. Asked in the turn of the index in which it counts.
fn told_now(lease: &Lease) -> Told {
    match lease.is_awaited() {
        true => Told::Somebody,
        false => Told::Nobody,
    }
}

/// Ends a full session that nobody waits for when its key was given to another since; whether it was. Asked before its chunks are copied,
/// which may take hours; in the moment in which it is named it is asked again.
async fn gives_way(engine: &Arc<Engine>, lease: &Arc<Lease>) -> Result<bool, StoreError> {
    if lease.is_awaited() {
        return Ok(false);
    }
    let asked = Arc::clone(lease);
    let job = move |txn: &mut Txn<'_>| match told_now(&asked) {
        Told::Somebody => Ok(None),
        Told::Nobody => closing::give_way(txn, asked.id),
    };
    match engine.index.commit(job).await? {
        Some(garbage) => abort::clear_away(engine, lease, garbage)
            .await
            .map(|()| true),
        None => Ok(false),
    }
}

/// Makes the file of a session whole and labels it; nothing when that is not what the session waits for, or not any more.
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
    let layout = engine.blocking(look).await?;
    let Some(layout) = move_chunks(engine, lease, layout).await? else {
        return Ok(None);
    };
    if let Layout::Rebuilt(number) = layout {
        take_over(engine, id, number).await?;
    }
    let own = Arc::clone(lease);
    let finish = move |engine: &Engine| folding::finish_file(engine, &own, &record, clock);
    engine.blocking(finish).await.map(Some)
}

/// Gives the rebuilt file the main file's name, once that is noted.
async fn take_over(engine: &Arc<Engine>, id: Id, number: u32) -> Result<(), StoreError> {
    let note = move |txn: &mut Txn<'_>| folding::note_rebuilt(txn, id, number);
    match engine.index.commit(note).await {
        Err(error @ StoreError::NoSuchUpload) => {
            // It was aborted meanwhile, by somebody who knew nothing of the copy.
            let copy = FileName::Spill(id, number);
            let remove = move |engine: &Engine| {
                engine.remove_dropped(copy);
                Ok(())
            };
            engine.blocking(remove).await?;
            return Err(error);
        }
        // The copy stays where it is: an earlier attempt may have noted it.
        noted => noted.inspect_err(|_| engine.leaves_litter())?,
    }
    let take_over = move |engine: &Engine| folding::take_over(engine, id, number);
    engine.blocking(take_over).await
}

/// Copies chunks to where they are to lie; how they lie then, or nothing when the session gives way. At most [`MAX_FOLDS`] large ones at a
/// time: who waits keeps no thread from others.
async fn move_chunks(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    layout: Layout,
) -> Result<Option<Layout>, StoreError> {
    let (Layout::Apart(bytes) | Layout::Wrong(bytes)) = layout else {
        return Ok(Some(layout));
    };
    let permit = match bytes {
        ..=SMALL_FOLD_BYTES => None,
        _ => Some(may_fold(engine, lease).await?),
    };
    // Others copied meanwhile, for hours perhaps.
    if permit.is_some() && gives_way(engine, lease).await? {
        return Ok(None);
    }
    let own = Arc::clone(lease);
    let work = move |engine: &Engine| match layout {
        Layout::Apart(_) => folding::gather(engine, &own).map(|()| Layout::Right),
        _ => folding::rebuild(engine, &own).map(Layout::Rebuilt),
    };
    engine.blocking(work).await.map(Some)
}

/// Waits until a large copy may begin.
async fn may_fold<'a>(
    engine: &'a Engine,
    lease: &Lease,
) -> Result<SemaphorePermit<'a>, StoreError> {
    tokio::select! {
        biased;
        () = lease.until_aborted(true) => Err(StoreError::InUse),
        // Closed when the store is.
        permit = engine.folds.acquire() => permit.map_err(|_| StoreError::Busy),
    }
}

/// Names the object of a session whose file is whole.
async fn name(
    engine: &Arc<Engine>,
    lease: &Arc<Lease>,
    meta: ObjectMeta,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (id, lease) = (meta.id, Arc::clone(lease));
    let name = move |txn: &mut Txn<'_>| {
        closing::name_session(txn, meta.id, &meta, (now, told_now(&lease)))
    };
    let named = engine.index.commit(name).await?;
    engine.collect(named.garbage);
    if matches!(named.refused, Some(StoreError::NoSuchUpload)) {
        tracing::warn!(%id, "an upload expired before it was whole, and was removed");
    }
    named.refused.map_or(Ok(()), Err)
}

#[cfg(all(test, feature = "schedules"))]
mod schedules;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::{BucketConfig, Md5, PartRules, Place};
    use crate::store::embedded::records;
    use crate::store::embedded::tests::{
        Folder, NOW, acknowledge_only, begin, full, full_and_large, full_and_misplaced, hold_index,
        post, read, send, until, upload,
    };
    use crate::store::embedded::{EmbeddedStore, Options};
    use crate::store::{
        Catalog as _, CatalogEntry, ChunkSpec, ClockReading, Completion, Expected, ObjectName,
        ObjectStore as _, PartStore as _, WriteCondition,
    };

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
        let _awaits = store.engine.leases.take(id).is_waited_for();
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
        let awaits = lease.is_waited_for();
        let turn = lease.turn.lock().await;
        let work = tokio::spawn(complete(Arc::clone(&store.engine), id, NOW));
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(turn);
        let ended = work.await.unwrap();
        drop((awaits, lease));
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

    /// What a client does last for its upload of "first second" with the key `key`, and waits for.
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Last {
        Finish,
        Chunk,
        Parts,
    }

    impl Last {
        pub(super) const ALL: [Self; 3] = [Self::Finish, Self::Chunk, Self::Parts];

        /// An upload of which that is all that is missing; its id.
        pub(super) async fn prepare(self, store: &EmbeddedStore) -> Id {
            let new = upload("key");
            let id = new.id;
            match self {
                Self::Parts => store.create_parts(new, PartRules::default()).await,
                Self::Finish | Self::Chunk => store.create_upload(new).await,
            }
            .unwrap();
            send(store, id, (1, None), b"second").await.unwrap();
            if !matches!(self, Self::Chunk) {
                send(store, id, (0, None), b"first ").await.unwrap();
            }
            id
        }

        /// Does it; whether the client was told that there is an object.
        pub(super) async fn send(self, store: EmbeddedStore, id: Id) -> Result<bool, StoreError> {
            match self {
                Self::Finish => {
                    let session = store.finish_upload(id, 2, NOW).await?;
                    Ok(session.state == UploadState::Completed)
                }
                Self::Chunk => {
                    let sent = send(&store, id, (0, Some(2)), b"first ").await?;
                    Ok(sent.object.is_some())
                }
                Self::Parts => {
                    let parts = vec![(0, Md5::of(b"first ")), (1, Md5::of(b"second"))];
                    let condition = None;
                    let completion = Completion { parts, condition };
                    store.complete_parts(id, completion, NOW).await?;
                    Ok(true)
                }
            }
        }
    }

    pub(super) async fn holder_of_key(store: &EmbeddedStore) -> Id {
        let (bucket, key) = (upload("key").bucket, upload("key").key);
        let name = ObjectName::Key(bucket, key);
        store.object(&name, NOW).await.unwrap().id
    }

    fn is_completing(store: &EmbeddedStore, id: Id) -> bool {
        store.engine.session(id).unwrap().session.state == UploadState::Completing
    }

    #[tokio::test]
    async fn an_upload_whose_client_has_left_while_it_waited_for_its_turn_takes_no_newer_objects_key()
     {
        for last in Last::ALL {
            let folder = Folder::new();
            let store = folder.open().await;
            let id = last.prepare(&store).await;
            let lease = store.engine.leases.take(id);
            let turn = lease.turn.lock().await;
            let client = tokio::spawn(last.send(store.clone(), id));
            until(|| is_completing(&store, id)).await;
            assert!(lease.is_awaited(), "{last:?}");
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            assert!(!lease.is_awaited(), "{last:?}");
            let newer = post(&store, "key", b"newer").await.id;
            drop(turn);
            complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
            assert_eq!(holder_of_key(&store).await, newer, "{last:?}");
            let told = store.upload(id).await;
            assert!(matches!(told, Err(StoreError::GaveWay)), "{told:?}");
            let again = last.send(store.clone(), id).await;
            assert!(
                matches!(again, Err(StoreError::GaveWay)),
                "{last:?}: {again:?}"
            );
            drop(lease);
            store.close().await.unwrap();
            let path = store.engine.disk.path(FileName::Main(id));
            assert!(!path.exists(), "{last:?}");
        }
    }

    /// What is asked of an upload of `last` that is to be made whole, and is refused.
    async fn refused(last: Last, store: EmbeddedStore, id: Id) -> StoreError {
        let told = match last {
            Last::Finish => store.finish_upload(id, 3, NOW).await.map(drop),
            Last::Chunk => send(&store, id, (0, Some(2)), b"other ").await.map(drop),
            Last::Parts => {
                let parts = vec![(0, Md5::of(b"first "))];
                let condition = None;
                let completion = Completion { parts, condition };
                store.complete_parts(id, completion, NOW).await.map(drop)
            }
        };
        told.unwrap_err()
    }

    #[tokio::test]
    async fn nor_does_one_of_which_something_else_is_asked_until_that_is_refused() {
        for last in Last::ALL {
            let folder = Folder::new();
            let store = folder.open().await;
            let id = last.prepare(&store).await;
            let lease = store.engine.leases.take(id);
            let turn = lease.turn.lock().await;
            let client = tokio::spawn(last.send(store.clone(), id));
            until(|| is_completing(&store, id)).await;
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            let newer = post(&store, "key", b"newer").await.id;
            let mut refused = std::pin::pin!(refused(last, store.clone(), id));
            let at_once = futures_util::poll!(&mut refused);
            drop(turn);
            complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
            let told = match at_once {
                std::task::Poll::Ready(told) => told,
                std::task::Poll::Pending => refused.await,
            };
            assert!(!matches!(told, StoreError::Busy), "{last:?}: {told:?}");
            assert_eq!(holder_of_key(&store).await, newer, "{last:?}");
        }
    }

    #[tokio::test]
    async fn nor_does_one_in_parts_while_a_part_that_came_too_late_is_answered() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = Last::Parts.prepare(&store).await;
        let spec = ChunkSpec::new(2, None);
        let mut late = store.write_chunk(id, spec).await.unwrap();
        late.write(bytes::Bytes::from_static(b"late"))
            .await
            .unwrap();
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let client = tokio::spawn(Last::Parts.send(store.clone(), id));
        until(|| is_completing(&store, id)).await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        let newer = post(&store, "key", b"newer").await.id;
        let mut answer = std::pin::pin!(late.commit(Expected::default(), NOW));
        assert!(futures_util::poll!(&mut answer).is_pending());
        drop(turn);
        complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
        let answer = answer.await;
        assert!(
            matches!(answer, Err(StoreError::NoSuchUpload)),
            "{answer:?}"
        );
        assert_eq!(holder_of_key(&store).await, newer);
    }

    #[tokio::test]
    async fn who_asks_for_the_end_of_an_upload_that_gave_way_is_not_told_that_it_is_whole() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        let newer = post(&store, "key", b"newer").await.id;
        complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
        assert_eq!(holder_of_key(&store).await, newer, "it gave way");
        let told = store.finish_upload(id, 2, NOW).await;
        assert!(matches!(told, Err(StoreError::GaveWay)), "{told:?}");
        let shown = store.upload(id).await;
        assert!(matches!(shown, Err(StoreError::GaveWay)), "{shown:?}");
    }

    #[tokio::test]
    async fn who_was_told_that_an_upload_is_whole_is_told_so_again_though_it_was_replaced() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        for _ in 0..2 {
            let told = store.finish_upload(id, 2, NOW).await.unwrap();
            assert_eq!(told.state, UploadState::Completed);
            post(&store, "key", b"newer").await;
        }
    }

    #[tokio::test]
    async fn one_that_was_made_whole_and_replaced_did_not_give_way_when_it_is_completed_again() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
        assert_eq!(holder_of_key(&store).await, id);
        post(&store, "key", b"newer").await;
        complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
        let told = store.upload(id).await.unwrap();
        assert_eq!(told.state, UploadState::Completed);
    }

    #[tokio::test]
    async fn one_whose_client_comes_while_it_is_asked_whether_somebody_waits_does_not_give_way() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        post(&store, "key", b"newer").await;
        let held = hold_index(&store.engine);
        let mut client = std::pin::pin!(store.finish_upload(id, 2, NOW));
        assert!(futures_util::poll!(&mut client).is_pending());
        let mut late = std::pin::pin!(complete(Arc::clone(&store.engine), id, NOW));
        assert!(futures_util::poll!(&mut late).is_pending());
        assert!(!store.engine.leases.take(id).is_awaited(), "not yet");
        drop(held);
        let (told, done) = futures_util::join!(client, late);
        done.unwrap();
        assert_eq!(told.unwrap().state, UploadState::Completed);
        assert_eq!(holder_of_key(&store).await, id);
    }

    #[tokio::test]
    async fn one_whose_bytes_a_failed_sync_left_wrong_has_not_failed_and_nobody_is_told_of_damage()
    {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        let spill = store.engine.disk.path(FileName::Spill(id, 1));
        std::fs::write(&spill, "sec").unwrap();
        store.engine.fuse.blow("sync", &"the disk failed");
        let _awaits = store.engine.leases.take(id).is_waited_for();
        let path = folder.0.with_extension("log");
        let file = Arc::new(std::fs::File::create(&path).unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(file);
        let subscriber = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
        let told = complete(Arc::clone(&store.engine), id, NOW).await;
        drop(subscriber);
        let log = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(told, Err(StoreError::ReadOnly)), "{told:?}");
        assert!(is_completing(&store, id));
        assert!(!log.contains("cannot be made whole"), "{log}");
    }

    #[tokio::test]
    async fn one_whose_key_was_given_away_in_another_bucket_of_that_name_fails() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("key")).await;
        let bucket = upload("key").bucket;
        assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
        let later = NOW.plus(Duration::from_secs(1));
        let other = CatalogEntry::Bucket(BucketConfig::new(bucket, later));
        store.insert(other).await.unwrap();
        let newer = post(&store, "key", b"newer").await.id;
        complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Failed);
        assert_eq!(holder_of_key(&store).await, newer);
    }

    #[tokio::test]
    async fn a_sweep_takes_no_upload_away_from_who_waits_for_it_and_has_yet_to_look() {
        for last in [Last::Finish, Last::Parts] {
            let folder = Folder::new();
            let store = folder.open().await;
            let id = match last {
                Last::Finish => full(&store, upload("key")).await,
                other => other.prepare(&store).await,
            };
            let release = hold_copies(&store).await;
            let lease = store.engine.leases.take(id);
            let mut client = std::pin::pin!(last.send(store.clone(), id));
            while !*lease.sealed.read().unwrap() {
                assert!(futures_util::poll!(&mut client).is_pending(), "{last:?}");
                tokio::task::yield_now().await;
            }
            drop(release);
            until(|| !is_completing(&store, id) && lease.turn.try_lock().is_ok()).await;
            let wall = NOW.plus(Duration::from_secs(100_000));
            let monotonic = Duration::ZERO;
            let clock = ClockReading { wall, monotonic };
            let swept = store.sweep(clock, 10).await.unwrap();
            assert_eq!(swept.sessions, 0, "{last:?}");
            assert!(client.await.unwrap(), "{last:?}");
            assert_eq!(store.sweep(clock, 10).await.unwrap().sessions, 1);
            assert_eq!(holder_of_key(&store).await, id);
        }
    }

    /// Holds all copies before their first step, until what is returned is dropped.
    async fn hold_copies(store: &EmbeddedStore) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (taken, seen) = tokio::sync::oneshot::channel();
        let engine = Arc::clone(&store.engine);
        std::thread::spawn(move || {
            let _copying = engine.copying.lock().unwrap();
            let _ = taken.send(());
            let _ = held.recv();
        });
        seen.await.unwrap();
        release
    }

    #[tokio::test]
    async fn nor_does_one_whose_client_leaves_while_it_is_copied_unless_a_client_waits_again() {
        for waits_again in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let last = Last::Finish;
            let id = full(&store, upload("key")).await;
            let release = hold_copies(&store).await;
            let client = tokio::spawn(last.send(store.clone(), id));
            let lease = store.engine.leases.take(id);
            until(|| *lease.sealed.read().unwrap()).await;
            client.abort();
            assert!(client.await.is_err());
            let newer = post(&store, "key", b"newer").await.id;
            let again = waits_again.then(|| tokio::spawn(last.send(store.clone(), id)));
            until(|| lease.is_awaited() == waits_again).await;
            drop(release);
            let expected = match again {
                Some(again) => {
                    assert!(again.await.unwrap().unwrap());
                    id
                }
                None => newer,
            };
            complete(Arc::clone(&store.engine), id, NOW).await.unwrap();
            assert_eq!(holder_of_key(&store).await, expected);
        }
    }

    #[tokio::test]
    async fn one_whose_client_has_left_while_others_were_copied_is_not_copied_for_nothing() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &store.engine;
        let all = engine.folds.acquire_many(MAX_FOLDS as u32).await.unwrap();
        let id = full_and_large(&store, upload("key")).await;
        let client = tokio::spawn(Last::Finish.send(store.clone(), id));
        let lease = engine.leases.take(id);
        until(|| *lease.sealed.read().unwrap()).await;
        client.abort();
        assert!(client.await.is_err());
        let newer = post(&store, "key", b"newer").await.id;
        // There would be no room to copy it.
        *engine.copying.lock().unwrap() = u64::MAX;
        drop(all);
        drop(lease.turn.lock().await);
        *engine.copying.lock().unwrap() = 0;
        assert!(!is_completing(&store, id), "it gave way");
        assert_eq!(holder_of_key(&store).await, newer);
    }

    #[tokio::test(start_paused = true)]
    async fn parts_are_waited_for_as_long_as_their_client_is_there_and_replace_what_is_older() {
        let folder = Folder::new();
        let store = folder.open().await;
        tokio::time::resume();
        let id = Last::Parts.prepare(&store).await;
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let client = tokio::spawn(Last::Parts.send(store.clone(), id));
        until(|| is_completing(&store, id)).await;
        post(&store, "key", b"newer").await;
        tokio::time::pause();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(lease.is_awaited() && !client.is_finished());
        }
        tokio::time::resume();
        drop(turn);
        assert!(client.await.unwrap().unwrap());
        assert_eq!(holder_of_key(&store).await, id);
    }

    /// What a client is told of its parts "first " and "second" of the key `key`, for which an abort that comes to nothing makes it wait for 100
    /// seconds, in which one task is at work for it and its key is given to another.
    async fn told_after_long(
        store: &EmbeddedStore,
        lease: &Arc<Lease>,
        condition: Option<WriteCondition>,
    ) -> Result<ObjectMeta, StoreError> {
        let id = lease.id;
        let aborts = lease.aborts();
        let own = store.clone();
        let parts = vec![(0, Md5::of(b"first ")), (1, Md5::of(b"second"))];
        let completion = Completion { parts, condition };
        let client = tokio::spawn(async move { own.complete_parts(id, completion, NOW).await });
        until(|| is_completing(store, id)).await;
        post(store, "key", b"newer").await;
        // Here, of who aborts, of the client, and two of the task.
        until(|| Arc::strong_count(lease) == 5).await;
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let held = Arc::strong_count(lease);
        assert_eq!(held, 5, "it is not begun in rounds");
        assert!(!client.is_finished());
        tokio::time::resume();
        drop(aborts);
        client.await.unwrap()
    }

    #[tokio::test]
    async fn who_has_waited_long_for_parts_is_told_that_their_condition_was_overtaken() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = Last::Parts.prepare(&store).await;
        let lease = store.engine.leases.take(id);
        let told = told_after_long(&store, &lease, Some(WriteCondition::Absent)).await;
        assert!(
            matches!(told, Err(StoreError::ConditionOvertaken)),
            "{told:?}"
        );
    }

    #[tokio::test]
    async fn who_has_waited_long_for_parts_is_told_of_a_failure_and_the_copy_does_not_begin_again()
    {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = Last::Parts.prepare(&store).await;
        let second = store.engine.receipt(id, 1).unwrap().unwrap();
        let Place::Spill(number) = second.place else {
            panic!("{second:?}");
        };
        let spill = store.engine.disk.path(FileName::Spill(id, number));
        std::fs::remove_file(&spill).unwrap();
        // Reading it fails, and is no sign of damage.
        std::fs::create_dir(&spill).unwrap();
        let lease = store.engine.leases.take(id);
        let told = told_after_long(&store, &lease, None).await;
        assert!(matches!(told, Err(StoreError::Io { .. })), "{told:?}");
        until(|| Arc::strong_count(&lease) == 1).await;
        assert!(is_completing(&store, id), "nobody began it again");
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
    async fn of_an_upload_that_is_aborted_behind_its_last_sync_nothing_is_named_and_nothing_is_left()
     {
        for rebuilds in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let engine = &store.engine;
            let id = match rebuilds {
                true => full_and_misplaced(&store).await,
                false => full(&store, upload("key")).await,
            };
            let lease = engine.leases.take(id);
            let turn = lease.turn.lock().await;
            let copy = rebuilds.then(|| folding::rebuild(engine, &lease).unwrap());
            let meta = match copy {
                Some(_) => None,
                None => assemble(engine, &lease, NOW.into()).await.unwrap(),
            };
            let aborted = abort::abort_within(engine, id, Duration::ZERO).await;
            aborted.unwrap();
            let ended = match (copy, meta) {
                (Some(number), _) => take_over(engine, id, number).await,
                (None, Some(meta)) => name(engine, &lease, meta, NOW).await,
                (None, None) => panic!("there is no file"),
            };
            assert!(matches!(ended, Err(StoreError::NoSuchUpload)), "{ended:?}");
            drop(turn);
            drop(lease);
            store.close().await.unwrap();
            assert!(read(&store, id).await.is_err());
            let spills = (0..9).map(|number| FileName::Spill(id, number));
            for name in spills.chain([FileName::Main(id)]) {
                assert!(!engine.disk.path(name).exists(), "{name:?}");
            }
        }
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
        folding::gather(&store.engine, &store.engine.leases.take(id)).unwrap();
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
            let id = full_and_misplaced(&store).await;
            let engine = Arc::clone(&store.engine);
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
            folding::finish_file(engine, &lease, &record, clock).unwrap();
        }
    }
}
