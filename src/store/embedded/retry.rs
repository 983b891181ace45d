//! Full uploads that could not be made whole, and for which nobody waits any more.
//!
//! Owns: whose turn it is to be tried again, by the sweeps and at a start; how long one waits whose bytes the disk does not give; and what
//! the log is told of it.
//! Never does: make anything whole; `complete` does. Give up on what waits for room.
//!
//! Invariants:
//! 1. Those which cannot be made whole keep neither others from it nor the store from starting.
//! 2. Where the disk fails, all before that place is copied again each time: so one waits twice as long after each failure, and is given up
//!    when it has failed [`GIVE_UP_AFTER`] times and is abandoned. A start begins to count anew.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::complete::Running;
use super::index::Index;
use super::records::{self, COMPLETING};
use super::sync::{self, Mutex, MutexGuard};
use super::{Engine, complete};
use crate::model::Id;
use crate::store::{ClockReading, StoreError};

/// Sessions in `Completing` that one sweep tries again, and that a start goes on with at a time.
const MAX_RETRIES: usize = 16;
/// How long a start waits for them: to copy many bytes takes hours, and may go on beside what is served.
const RESUME_WAIT: Duration = Duration::from_secs(5);
/// Sessions in `Completing` that are looked for; more than can have been under way.
const MAX_COMPLETING: usize = 100_000;

/// How long one waits after the disk has failed once, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// How often the disk must have failed before one that is abandoned is given up.
const GIVE_UP_AFTER: u32 = 8;
/// Sessions that wait so; when there are more, all are tried at once.
const MAX_WAITING: usize = 10_000;

/// What is known of attempts for which nobody waits.
#[derive(Debug, Default)]
pub(super) struct Retried {
    /// Behind which session the next ones begin.
    last: Mutex<Vec<u8>>,
    failed: Mutex<Failed>,
    waiting: Mutex<HashMap<Id, Waiting>>,
}

/// A session for which the disk has failed.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    failures: u32,
    /// Until when, by the monotonic clock.
    until: Duration,
}

/// The attempts that failed since the log was told.
#[derive(Debug, Default)]
struct Failed {
    uploads: usize,
    /// One of them, and how it failed.
    last: Option<(Id, String)>,
}

impl Retried {
    fn note(&self, id: Id, error: &StoreError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.uploads += 1;
        failed.last = Some((id, error.to_string()));
    }

    /// Whether a session need not wait.
    fn is_due(&self, id: Id, monotonic: Duration) -> bool {
        let waiting = self.waiting();
        waiting
            .get(&id)
            .is_none_or(|waiting| waiting.until <= monotonic)
    }

    /// Has a session wait for which the disk has failed now; how often it has.
    fn put_off(&self, id: Id, monotonic: Duration) -> u32 {
        let mut all = self.waiting();
        if all.len() >= MAX_WAITING {
            all.clear();
        }
        let waiting = all.entry(id).or_default();
        let doubled = 2_u32.saturating_pow(waiting.failures);
        let wait = FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT);
        waiting.until = monotonic.saturating_add(wait);
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.failures
    }

    /// A session has ended.
    fn forget(&self, id: Id) {
        self.waiting().remove(&id);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Id, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the log, in one line: on a full disk many fail again and again.
    fn tell(&self) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let Failed { uploads, last } = std::mem::take(&mut *failed);
        if let Some((id, error)) = last {
            tracing::warn!(uploads, last = %id, %error, "full uploads were not made whole");
        }
    }
}

/// Tries again, in the background, to complete full sessions that nobody is completing. The log is told how the ones before failed.
pub(super) fn retry(engine: &Arc<Engine>, clock: ClockReading) -> Result<(), StoreError> {
    engine.retried.tell();
    for id in to_retry(&engine.index, &engine.retried)? {
        if !engine.leases.is_taken(id) && engine.retried.is_due(id, clock.monotonic) {
            let running = Running::from(clock.wall);
            drop(try_again(engine, id, (running, clock.monotonic)));
        }
    }
    Ok(())
}

/// Begins to complete a session; whoever waits for that may leave.
fn try_again(
    engine: &Arc<Engine>,
    id: Id,
    (clock, monotonic): (Running, Duration),
) -> impl Future<Output = ()> + Send + 'static {
    let owner = Arc::clone(engine);
    let task = engine.tasks.spawn(async move {
        let done = complete::complete(Arc::clone(&owner), id, clock).await;
        let done = match done {
            Err(error @ StoreError::Io { .. }) => {
                let monotonic = monotonic.saturating_add(clock.elapsed());
                match owner.retried.put_off(id, monotonic) {
                    GIVE_UP_AFTER.. => complete::give_up(&owner, id, clock.now(), error).await,
                    _ => Err(error),
                }
            }
            done => done,
        };
        match done {
            // Who aborted it meanwhile wanted no more of it.
            Ok(()) | Err(StoreError::NoSuchUpload) => owner.retried.forget(id),
            Err(error) => {
                // It was removed for that, and the log is to be told all the same.
                if matches!(error, StoreError::ConditionOvertaken) {
                    owner.retried.forget(id);
                }
                owner.retried.note(id, &error);
            }
        }
    });
    async move {
        // A task that panics says so itself.
        let _ = task.await;
    }
}

/// The next sessions in turn, so that those which cannot be completed now keep no other one from it.
fn to_retry(index: &Index, retried: &Retried) -> Result<Vec<Id>, StoreError> {
    let mut last = retried.last.lock().unwrap_or_else(PoisonError::into_inner);
    let from = [[COMPLETING].as_slice(), &last, &[0]].concat();
    let from = if last.is_empty() {
        vec![COMPLETING]
    } else {
        from
    };
    let mut ids = Vec::new();
    index.scan_from(&from, &[COMPLETING], |key, _| {
        ids.extend(records::trailing_id(key));
        Ok(match ids.len() {
            MAX_RETRIES.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    })?;
    let is_last = ids.len() < MAX_RETRIES;
    let behind = ids.last().filter(|_| !is_last);
    *last = behind.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
    Ok(ids)
}

/// Goes on with sessions whose chunks are all here, and waits for them, at most [`RESUME_WAIT`]: those that are not whole by then, or cannot
/// be now, do not keep the store from starting. Sweeps try again.
pub(super) async fn resume(engine: &Arc<Engine>, clock: Running) -> Result<(), StoreError> {
    let full = engine.index.prefix(&[COMPLETING], MAX_COMPLETING)?;
    let ids = full.iter().filter_map(|(key, _)| records::trailing_id(key));
    // The clock of the sweeps begins to go about now.
    let clock = (clock, Duration::ZERO);
    let tries =
        stream::iter(ids).for_each_concurrent(MAX_RETRIES, |id| try_again(engine, id, clock));
    if sync::timeout(RESUME_WAIT, tries).await.is_err() {
        tracing::info!("full uploads are made whole while the store serves");
    }
    engine.retried.tell();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Md5, PartRules, Timestamp, UploadState};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::disk::FileName;
    use crate::store::embedded::index::Txn;
    use crate::store::embedded::tests::{Folder, NOW, full, post, read, send, upload};
    use crate::store::{Completion, ObjectName, ObjectStore as _, PartStore as _, WriteCondition};

    const FIRST: &[u8] = b"first ";
    /// So long that there is no room for it in the block that the first one begins.
    static SECOND: [u8; 1 << 20] = [7; 1 << 20];

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn clock(seconds: u64) -> ClockReading {
        ClockReading {
            wall: after(seconds),
            monotonic: Duration::from_secs(seconds),
        }
    }

    fn completion() -> Completion {
        let parts = vec![(0, Md5::of(FIRST)), (1, Md5::of(&SECOND))];
        let condition = None;
        Completion { parts, condition }
    }

    /// An upload in parts of the key `key` whose end was refused for want of room; its id.
    async fn refused(store: &EmbeddedStore, seconds: u64) -> Id {
        refused_on(store, seconds, None).await
    }

    /// As [`refused`], of one that was told to end on a condition.
    async fn refused_on(
        store: &EmbeddedStore,
        seconds: u64,
        condition: Option<WriteCondition>,
    ) -> Id {
        let new = upload("key");
        let id = new.id;
        store.create_parts(new, PartRules::default()).await.unwrap();
        send(store, id, (1, None), &SECOND).await.unwrap();
        send(store, id, (0, None), FIRST).await.unwrap();
        *store.engine.copying.lock().unwrap() = u64::MAX;
        let completion = Completion {
            condition,
            ..completion()
        };
        let ended = store.complete_parts(id, completion, after(seconds)).await;
        assert!(matches!(ended, Err(StoreError::Full)), "{ended:?}");
        *store.engine.copying.lock().unwrap() = 0;
        id
    }

    /// The bytes of what has the key `key`.
    async fn bytes_of_key(store: &EmbeddedStore) -> Vec<u8> {
        let upload = upload("key");
        let name = ObjectName::Key(upload.bucket, upload.key);
        let reader = store.open(&name, NOW).await.unwrap();
        reader.read_at(0, 2 << 20).await.unwrap().to_vec()
    }

    #[tokio::test]
    async fn an_upload_whose_end_was_refused_takes_its_key_from_nobody_who_was_given_it_since() {
        for restarts in [false, true] {
            let folder = Folder::new();
            let mut store = folder.open().await;
            let id = refused(&store, 0).await;
            // By a clock that was set back, for all that it says.
            post(&store, "key", b"newer").await;
            if restarts {
                drop(store);
                folder.settle().await;
                store = folder.open().await;
            } else {
                // It is not copied for nothing: there would be no room.
                *store.engine.copying.lock().unwrap() = u64::MAX;
                store.sweep(clock(5), 10).await.unwrap();
            }
            store.close().await.unwrap();
            assert!(bytes_of_key(&store).await == b"newer");
            let told = store.upload(id).await;
            assert!(matches!(told, Err(StoreError::GaveWay)), "{told:?}");
            for name in [FileName::Main(id), FileName::Spill(id, 0)] {
                assert!(!store.engine.disk.path(name).exists(), "{name:?}");
            }
        }
    }

    #[tokio::test]
    async fn it_takes_it_from_what_had_it_before() {
        let folder = Folder::new();
        let store = folder.open().await;
        post(&store, "key", b"older").await;
        let id = refused(&store, 0).await;
        store.sweep(clock(5), 10).await.unwrap();
        store.close().await.unwrap();
        assert!(bytes_of_key(&store).await == [FIRST, &SECOND].concat());
        assert!(store.engine.disk.path(FileName::Main(id)).exists());
    }

    #[tokio::test]
    async fn who_asks_for_its_end_again_gets_the_key() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = refused(&store, 0).await;
        post(&store, "key", b"other").await;
        let ended = store.complete_parts(id, completion(), after(2)).await;
        assert_eq!(ended.unwrap().id, id);
        assert!(bytes_of_key(&store).await == [FIRST, &SECOND].concat());
    }

    #[tokio::test]
    async fn so_does_who_asks_again_while_a_sweep_makes_it_whole() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = refused(&store, 0).await;
        post(&store, "key", b"other").await;
        let lease = store.engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let engine = Arc::clone(&store.engine);
        let mut late = std::pin::pin!(complete::complete(engine, id, after(5)));
        assert!(futures_util::poll!(&mut late).is_pending());
        let mut again = std::pin::pin!(store.complete_parts(id, completion(), after(5)));
        while !lease.is_awaited() {
            assert!(futures_util::poll!(&mut again).is_pending());
            tokio::task::yield_now().await;
        }
        drop(turn);
        late.await.unwrap();
        assert_eq!(again.await.unwrap().id, id);
        assert!(bytes_of_key(&store).await == [FIRST, &SECOND].concat());
    }

    #[tokio::test]
    async fn of_two_whose_end_was_refused_the_later_one_gets_the_key() {
        for turns in [[0, 1], [1, 0]] {
            let folder = Folder::new();
            let store = folder.open().await;
            post(&store, "key", b"older").await;
            let ids = [refused(&store, 0).await, refused(&store, 1).await];
            for turn in turns {
                let engine = Arc::clone(&store.engine);
                let clock = Running::from(after(5));
                let done = complete::complete(engine, ids[turn], clock).await;
                done.unwrap();
            }
            assert!(read(&store, ids[0]).await.is_err());
            assert!(read(&store, ids[1]).await.is_ok());
        }
    }

    #[tokio::test]
    async fn the_later_one_takes_it_from_no_earlier_one_that_was_asked_for_again() {
        let folder = Folder::new();
        let store = folder.open().await;
        let ids = [refused(&store, 0).await, refused(&store, 1).await];
        let ended = store.complete_parts(ids[0], completion(), after(2)).await;
        assert_eq!(ended.unwrap().id, ids[0]);
        let clock = Running::from(after(5));
        complete::complete(Arc::clone(&store.engine), ids[1], clock)
            .await
            .unwrap();
        assert!(read(&store, ids[0]).await.is_ok());
        let told = store.upload(ids[1]).await;
        assert!(matches!(told, Err(StoreError::GaveWay)), "{told:?}");
    }

    /// Sweeps, and waits until what that tried again has ended; whether the first chunk was copied.
    async fn copies(store: &EmbeddedStore, id: Id, clock: ClockReading) -> bool {
        let main = store.engine.disk.path(FileName::Main(id));
        std::fs::write(&main, b"").unwrap();
        store.sweep(clock, 10).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        while store.engine.leases.is_taken(id) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::fs::metadata(&main).is_ok_and(|main| main.len() > 0)
    }

    #[tokio::test]
    async fn an_upload_whose_bytes_the_disk_does_not_give_is_copied_ever_less_often_and_not_for_ever()
     {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = full(&store, upload("bad sector")).await;
        let spill = store.engine.disk.path(FileName::Spill(id, 1));
        std::fs::remove_file(&spill).unwrap();
        // Reading it fails, and is no sign of damage.
        std::fs::create_dir(&spill).unwrap();
        let mut copied = 0;
        for seconds in (0..50).step_by(5) {
            copied += usize::from(copies(&store, id, clock(seconds)).await);
        }
        assert!((2..=4).contains(&copied), "{copied} times in ten sweeps");
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Completing, "it may be mended");
        let mut hours = (48..60).map(|hour| clock(hour * 3700));
        while store.upload(id).await.is_ok() {
            let clock = hours.next().expect("it is given up");
            copies(&store, id, clock).await;
        }
        store.close().await.unwrap();
        let gone = store.upload(id).await;
        assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
        std::fs::remove_dir(&spill).unwrap();
        for name in [FileName::Main(id), FileName::Spill(id, 0)] {
            assert!(!store.engine.disk.path(name).exists(), "{name:?}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_has_expired_or_whose_condition_was_overtaken_waits_no_more() {
        let folder = Folder::new();
        let store = folder.open().await;
        let mut brief = upload("brief");
        brief.expires_at = Some(after(60));
        let expired = full(&store, brief).await;
        let overtaken = refused_on(&store, 0, Some(WriteCondition::Absent)).await;
        post(&store, "key", b"other").await;
        let retried = &store.engine.retried;
        for (id, noted) in [(expired, 0), (overtaken, 1)] {
            retried.put_off(id, Duration::ZERO);
            let clock = (Running::from(after(120)), Duration::ZERO);
            try_again(&store.engine, id, clock).await;
            let gone = store.upload(id).await;
            assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
            assert!(retried.waiting().is_empty());
            assert_eq!(retried.failed.lock().unwrap().uploads, noted);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_does_not_wait_for_what_takes_long_to_be_made_whole() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &store.engine;
        let (slow, other) = (
            full(&store, upload("a")).await,
            full(&store, upload("b")).await,
        );
        let lease = engine.leases.take(slow);
        let turn = lease.turn.lock().await;
        let begun = tokio::time::Instant::now();
        resume(engine, Running::from(NOW)).await.unwrap();
        assert_eq!(begun.elapsed(), RESUME_WAIT);
        let state = store.upload(slow).await.unwrap().state;
        assert_eq!(state, UploadState::Completing);
        drop(turn);
        drop(lease);
        tokio::time::resume();
        store.close().await.unwrap();
        for id in [slow, other] {
            assert_eq!(read(&store, id).await.unwrap(), "first second");
        }
    }

    #[tokio::test]
    async fn uploads_that_fail_again_and_again_are_one_line_of_the_log() {
        let folder = Folder::new();
        let path = folder.0.with_extension("log");
        let file = Arc::new(std::fs::File::create(&path).unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(file);
        let subscriber = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
        let store = folder.open().await;
        for key in ["a", "b", "c"] {
            let new = upload(key);
            let place = records::object_key(&new.bucket, &new.key);
            full(&store, new).await;
            let junk = move |txn: &mut Txn<'_>| txn.put(place, b"no record".to_vec());
            store.engine.index.commit(junk).await.unwrap();
        }
        resume(&store.engine, Running::from(NOW)).await.unwrap();
        drop(subscriber);
        let log = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let told: Vec<_> = log
            .lines()
            .filter(|l| l.contains("not made whole"))
            .collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].contains("uploads=3"), "{log}");
    }

    #[tokio::test]
    async fn sessions_that_are_to_be_made_whole_have_their_turns_one_behind_the_other() {
        let folder = Folder::new();
        let store = folder.open().await;
        let index = &store.engine.index;
        let ids: Vec<_> = (0..20_u64).map(|n| Id::new(NOW, n.to_be_bytes())).collect();
        let wait = ids.clone();
        let job = move |txn: &mut Txn<'_>| {
            let mut keys = wait.iter().map(|id| records::id_key(COMPLETING, *id));
            keys.try_for_each(|key| txn.put(key, Vec::new()))
        };
        index.commit(job).await.unwrap();
        let retried = Retried::default();
        let (first, rest) = ids.split_at(MAX_RETRIES);
        for turn in [first, rest, first] {
            assert_eq!(to_retry(index, &retried).unwrap(), turn);
        }
    }
}
