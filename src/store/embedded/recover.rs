//! Opening: the lock, the format, the index (rebuilt when it is lost), and what an earlier process left undone.
//!
//! Owns: the order of a start, and when the index is rebuilt from the labels and the snapshot.
//! Never does: delete a file of an upload; garbage is what the index says it is, and orphans are `orphans.rs`.
//!
//! Invariants:
//! 1. An index counts only when it carries the epoch of `FORMAT`; a rebuild writes that last, so one that was interrupted begins again.
//! 2. A lost index is moved aside, never deleted. One that a rebuild left half-made is deleted: all of it is elsewhere.
//! 3. Orphans are searched only after a stop that was not clean.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

use super::buffers::Buffers;
use super::disk::Disk;
use super::fuse::Fuse;
use super::index::{Index, OpenError, Txn};
use super::names::Garbage;
use super::recent::{self, Recent};
use super::records::{self, COMPLETING, GARBAGE, META};
use super::sync::{self, Handle, Mutex};
use super::{Engine, Options, catalog, complete, damage, list, orphans, rebuild, snapshot};
use crate::model::{Id, Timestamp, encode_hex};
use crate::store::StoreError;

/// The version of the layout on disk.
const FORMAT_VERSION: &str = "1";
/// With less free space than this, in bytes, the ballast is given up so that the index can be opened.
const MIN_START_BYTES: u64 = 32 << 20;
/// Files of garbage that are removed at a time.
const GARBAGE_STEP: usize = 4096;
/// How often one sweep, or a start, takes that many.
const MAX_GARBAGE_STEPS: usize = 256;
/// Sessions in `Completing` that one sweep tries again, and that a start goes on with at a time.
const MAX_RETRIES: usize = 16;
/// How long a start waits for them: to copy many bytes takes hours, and may go on beside what is served.
const RESUME_WAIT: Duration = Duration::from_secs(5);
/// Sessions in `Completing` that are looked for; more than can have been under way.
const MAX_COMPLETING: usize = 100_000;

/// Opens a data folder. With `reindex` the index is moved aside first.
pub(super) async fn open(
    options: Options,
    now: Timestamp,
    reindex: bool,
) -> Result<Arc<Engine>, StoreError> {
    // To open a large index takes minutes, in which uploads expire.
    let clock = complete::Running::from(now);
    let prepared = sync::spawn_blocking(move || prepare(options, now, reindex)).await;
    let (engine, clean) = super::joined(prepared)?;
    let engine = Arc::new(engine);
    let settled = settle(&engine, clock, clean).await;
    if settled.is_err() {
        mark_damage(&engine)?;
    }
    settled.map(|()| engine)
}

/// Does what an earlier process left undone.
async fn settle(
    engine: &Arc<Engine>,
    clock: complete::Running,
    clean: bool,
) -> Result<(), StoreError> {
    empty_garbage(engine).await?;
    if !clean {
        // Before uploads are gone on with: who was promised a key by a label has it, and their conditions are judged against that.
        orphans::name_recent(engine, clock.said).await?;
        empty_garbage(engine).await?;
        // What an interrupted copy left may take the room that the next one needs.
        orphans::search(engine).await?;
    }
    resume(engine, clock).await?;
    if !clean || engine.blocking(snapshot::is_behind).await? {
        match snapshot::write(engine).await {
            // The one that is there knows all that was acknowledged; the next change replaces it.
            Err(error) if may_wait(&error) => tracing::warn!(%error, "catalog.json stays as it is"),
            written => written?,
        }
    }
    engine.blocking(keep_ballast).await?;
    if engine.options.ballast_bytes > 0 && !engine.disk.has_ballast() {
        tracing::warn!(
            "no room for the ballast (store.ballast) above the floor: a restart on a full disk may fail"
        );
    }
    Ok(())
}

/// Whether a start can go on without what failed so: for want of room, or by one record that cannot be read.
fn may_wait(error: &StoreError) -> bool {
    matches!(error, StoreError::Full) || damage::is_of_one_record(error)
}

/// Notes, as the last thing, that nothing is under way.
pub(super) fn mark_clean(txn: &mut Txn<'_>) -> Result<(), StoreError> {
    txn.put(clean_key(), Vec::new())
}

/// Makes the ballast again when there is room for it.
pub(super) fn keep_ballast(engine: &Engine) -> Result<(), StoreError> {
    let (ballast, floor) = (
        engine.options.ballast_bytes,
        engine.options.free_floor_bytes,
    );
    let wanted = floor.saturating_add(ballast.saturating_mul(2));
    if ballast == 0 || engine.disk.free_bytes()? < wanted {
        return Ok(());
    }
    if let Err(error) = engine.disk.make_ballast(ballast) {
        tracing::warn!(%error, "no ballast; a restart on a full disk may fail");
    }
    Ok(())
}

/// Sees to it that an index that was found damaged is rebuilt at the next start. What of it is sound goes on serving.
pub(super) fn mark_damage(engine: &Engine) -> Result<(), StoreError> {
    if engine.index.damage.was_seen() && !engine.disk.index_is_marked() {
        engine.disk.mark_index()?;
        tracing::error!("the index is damaged and will be rebuilt at the next start");
    }
    Ok(())
}

/// Everything up to an index that can be trusted; whether the last stop was clean.
fn prepare(options: Options, now: Timestamp, reindex: bool) -> Result<(Engine, bool), StoreError> {
    let fuse = Fuse::default();
    let disk = Disk::open(&options.data, fuse.clone())?;
    if disk.free_bytes()? < MIN_START_BYTES && disk.free_ballast()? {
        tracing::warn!("the disk is full; the ballast was given up so that the store can start");
    }
    let epoch = read_format(&disk)?;
    let recent = Recent::default();
    let (index, left_out) = open_index((&disk, &fuse, &recent), &epoch, now, reindex)?;
    recent.restart(orphans::mark(&index)?);
    let clean = index.get(&clean_key())?.is_some();
    if clean {
        let mark = orphans::fresh_mark(&index, now)?;
        let forget = move |txn: &mut Txn<'_>| {
            txn.delete(clean_key());
            txn.makes_room();
            recent::put_mark(txn, mark)
        };
        Handle::current().block_on(index.commit(forget))?;
        recent.restart(mark);
    }
    let engine = Engine {
        writers: Arc::new(Semaphore::new(options.max_writers)),
        buffers: Buffers::default(),
        options,
        index,
        disk,
        fuse,
        recent,
        leases: Default::default(),
        tasks: Default::default(),
        snapshot: Default::default(),
        known: Default::default(),
        hot: Default::default(),
        clock: Default::default(),
        lifecycle: Default::default(),
        retried: Default::default(),
        scans: Arc::new(Semaphore::new(list::MAX_SCANS)),
        folds: Semaphore::new(complete::MAX_FOLDS),
        copying: Default::default(),
        left_out,
    };
    Ok((engine, clean))
}

/// The epoch in `FORMAT`, which is written at the first start.
fn read_format(disk: &Disk) -> Result<Vec<u8>, StoreError> {
    if let Some(format) = disk.read_format()? {
        let text = String::from_utf8_lossy(&format);
        let mut words = text.split_whitespace();
        return match (words.next(), words.next(), words.next(), words.next()) {
            (Some("pillarbox"), Some(FORMAT_VERSION), Some(epoch), None) => {
                Ok(epoch.as_bytes().to_vec())
            }
            (Some("pillarbox"), Some(version), ..) => Err(StoreError::Corrupt(format!(
                "the data folder has format {version}; this program knows format {FORMAT_VERSION}"
            ))),
            _ => Err(StoreError::Corrupt("FORMAT is not ours".to_owned())),
        };
    }
    let mut random = [0; 16];
    let drawn = SystemRandom::new().fill(&mut random);
    drawn.map_err(|_| StoreError::Io {
        operation: "draw randomness",
        source: std::io::Error::other("the system has none"),
    })?;
    let epoch = encode_hex(&random);
    disk.write_format(format!("pillarbox {FORMAT_VERSION} {epoch}\n").as_bytes())?;
    Ok(epoch.into_bytes())
}

fn open_index(
    parts @ (disk, fuse, recent): (&Disk, &Fuse, &Recent),
    epoch: &[u8],
    now: Timestamp,
    reindex: bool,
) -> Result<(Index, usize), StoreError> {
    disk.remove_half_made_index()?;
    let was_there = disk.has_index();
    if was_there && reindex {
        snapshot::check_readable(disk)?;
        set_aside(disk, now, &"a rebuild was asked for")?;
    } else if was_there {
        match open_trusted(parts, epoch)? {
            Ok(index) => return Ok((index, 0)),
            Err(why) => {
                snapshot::check_readable(disk)?;
                set_aside(disk, now, &why)?;
            }
        }
    }
    disk.begin_index()?;
    let hooks = (recent.mark(), disk.room());
    let index = Index::open(&disk.index_folder(), fuse.clone(), hooks);
    let index = index.map_err(|error| match error {
        OpenError::Io(error) => error,
        OpenError::Broken(why) => StoreError::Corrupt(format!("a new index: {why}")),
    })?;
    let left_out = rebuild::rebuild(disk, &index, epoch, now)?;
    disk.finish_index()?;
    Ok((index, left_out))
}

/// The index, or why it does not count.
fn open_trusted(
    (disk, fuse, recent): (&Disk, &Fuse, &Recent),
    epoch: &[u8],
) -> Result<Result<Index, String>, StoreError> {
    if disk.index_is_marked() {
        return Ok(Err("it was found damaged while it was read".to_owned()));
    }
    let hooks = (recent.mark(), disk.room());
    let index = match Index::open(&disk.index_folder(), fuse.clone(), hooks) {
        Ok(index) => index,
        Err(OpenError::Io(error)) => return Err(error),
        Err(OpenError::Broken(why)) => return Ok(Err(why)),
    };
    match index.get(&rebuild::epoch_key()) {
        Ok(Some(found)) if found == epoch => {}
        Ok(_) => return Ok(Err("it belongs to another epoch".to_owned())),
        Err(error) => return damage::why(error).map(Err),
    }
    let snapshot = disk.read_catalog()?;
    let snapshot = snapshot.and_then(|bytes| snapshot::parse(&bytes).ok());
    match catalog::generation(&index) {
        Ok(here) if snapshot.is_some_and(|(generation, _)| generation > here) => {
            Ok(Err("it knows less than catalog.json".to_owned()))
        }
        Ok(_) => Ok(Ok(index)),
        Err(error) => damage::why(error).map(Err),
    }
}

fn set_aside(disk: &Disk, now: Timestamp, why: &dyn Display) -> Result<(), StoreError> {
    let aside = disk.set_index_aside(&now.seconds().to_string())?;
    tracing::error!(%why, aside = %aside.display(), "the index is moved aside and rebuilt");
    Ok(())
}

/// Removes, durably, the files that nothing names any more and that nobody works on; at most [`MAX_GARBAGE_STEPS`] times
/// [`GARBAGE_STEP`] of them.
pub(super) async fn empty_garbage(engine: &Arc<Engine>) -> Result<(), StoreError> {
    for _ in 0..MAX_GARBAGE_STEPS {
        let keys = engine.index.prefix(&[GARBAGE], GARBAGE_STEP)?;
        let garbage = keys.iter().filter_map(|(k, _)| records::parse_garbage(k));
        // Whoever drops a session holds its lease until no writer can make its file anew.
        let garbage: Garbage = garbage
            .filter(|(id, _)| !engine.leases.is_taken(*id))
            .collect();
        if garbage.is_empty() {
            return Ok(());
        }
        // They may have been put there a moment ago; a file goes only when that is durable.
        let barrier = |txn: &mut Txn<'_>| {
            txn.makes_room();
            txn.put(records::key(META, &[b"barrier"]), Vec::new())
        };
        engine.index.commit(barrier).await?;
        if !engine.forget(garbage).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// What is known of attempts for which nobody waits.
#[derive(Debug, Default)]
pub(super) struct Retried {
    /// Behind which session the next ones begin.
    last: Mutex<Vec<u8>>,
    failed: Mutex<Failed>,
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
pub(super) fn retry(engine: &Arc<Engine>, now: Timestamp) -> Result<(), StoreError> {
    engine.retried.tell();
    let ids = to_retry(&engine.index, &engine.retried)?;
    for id in ids.into_iter().filter(|id| !engine.leases.is_taken(*id)) {
        drop(try_again(engine, id, complete::Running::from(now)));
    }
    Ok(())
}

/// Begins to complete a session; whoever waits for that may leave.
fn try_again(
    engine: &Arc<Engine>,
    id: Id,
    clock: complete::Running,
) -> impl Future<Output = ()> + Send + 'static {
    let owner = Arc::clone(engine);
    let task = engine.tasks.spawn(async move {
        if let Err(error) = complete::complete(Arc::clone(&owner), id, clock).await {
            owner.retried.note(id, &error);
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
async fn resume(engine: &Arc<Engine>, clock: complete::Running) -> Result<(), StoreError> {
    let full = engine.index.prefix(&[COMPLETING], MAX_COMPLETING)?;
    let ids = full.iter().filter_map(|(key, _)| records::trailing_id(key));
    let tries =
        stream::iter(ids).for_each_concurrent(MAX_RETRIES, |id| try_again(engine, id, clock));
    if sync::timeout(RESUME_WAIT, tries).await.is_err() {
        tracing::info!("full uploads are made whole while the store serves");
    }
    engine.retried.tell();
    Ok(())
}

fn clean_key() -> Vec<u8> {
    records::key(META, &[b"clean"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UploadState;
    use crate::store::ObjectStore as _;
    use crate::store::embedded::tests::{Folder, NOW, full, read, upload};

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
        resume(engine, complete::Running::from(NOW)).await.unwrap();
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
        resume(&store.engine, complete::Running::from(NOW))
            .await
            .unwrap();
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
