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
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;

use super::buffers::Buffers;
use super::disk::Disk;
use super::fuse::Fuse;
use super::index::{Index, OpenError, Txn};
use super::names::Garbage;
use super::recent::{self, Recent};
use super::records::{self, GARBAGE, META};
use super::sync::{self, Handle};
use super::{
    Engine, Options, by_pipeline, catalog, complete, damage, orphans, rebuild, retry, snapshot,
};
use crate::model::{Timestamp, encode_hex};
use crate::store::{FileQuery, StoreError};

/// The version of the layout on disk.
const FORMAT_VERSION: u64 = 1;
/// With less free space than this, in bytes, the ballast is given up so that the index can be opened.
const MIN_START_BYTES: u64 = 32 << 20;
/// Files of garbage that are removed at a time.
const GARBAGE_STEP: usize = 4096;
/// How often one sweep, or a start, takes that many.
const MAX_GARBAGE_STEPS: usize = 256;

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
    if settled.is_err()
        && let Err(error) = mark_damage(&engine)
    {
        // Why it did not start is what there is to say.
        tracing::error!(%error, "a damaged index could not be marked: `pillarbox reindex` rebuilds it");
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
    retry::resume(engine, clock).await?;
    if !clean || engine.blocking(snapshot::is_behind).await? {
        match snapshot::write(engine).await {
            // The one that is there knows all that was acknowledged; the next change replaces it.
            Err(error) if may_wait(&error) => tracing::warn!(%error, "catalog.json stays as it is"),
            written => written?,
        }
    }
    engine.blocking(keep_ballast).await?;
    let wants_ballast = engine.options.keeps_ballast && engine.options.ballast_bytes > 0;
    if wants_ballast && engine.disk.ballast_bytes() == 0 {
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

/// Notes, as the last thing, that nothing is under way, and whether the lists of the pipelines are in order.
pub(super) fn mark_clean(txn: &mut Txn<'_>, in_order: bool) -> Result<(), StoreError> {
    by_pipeline::note(txn, false)?;
    txn.put(clean_key(), by_pipeline::clean_value(in_order))
}

/// Makes the ballast as it should be when there is room for it.
pub(super) fn keep_ballast(engine: &Engine) -> Result<(), StoreError> {
    let options = &engine.options;
    match options.keeps_ballast {
        true => engine
            .disk
            .keep_ballast(options.ballast_bytes, options.free_floor_bytes),
        false => Ok(()),
    }
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
    let disk = Disk::lock(&options.data, fuse.clone())?;
    disk.judge(options.judge)?;
    // Before anything else: what a newer version made is left as it is.
    let known = disk.read_format()?.map(|format| epoch_of(&format));
    let known = known.transpose()?;
    let disk = disk.made_ready()?;
    if disk.free_bytes()? < MIN_START_BYTES && disk.free_ballast()? {
        tracing::warn!("the disk is full; the ballast was given up so that the store can start");
    }
    let epoch = match known {
        Some(epoch) => epoch,
        None => write_format(&disk)?,
    };
    let recent = Recent::default();
    let (index, left_out) = open_index((&disk, &fuse, &recent), &epoch, now, reindex)?;
    recent.restart(orphans::mark(&index)?);
    let left = index.get(&clean_key())?;
    let in_order = by_pipeline::is_in_order(&index, left.as_deref())?;
    let clean = left.is_some();
    if clean {
        let mark = orphans::fresh_mark(&index, now)?;
        let forget = move |txn: &mut Txn<'_>| {
            txn.delete(clean_key());
            txn.makes_room();
            by_pipeline::note(txn, in_order)?;
            recent::put_mark(txn, mark)
        };
        Handle::current().block_on(index.commit(forget))?;
        recent.restart(mark);
    }
    let lists_pipelines = in_order || by_pipeline::fill(&index, || check_floor(&disk, &options))?;
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
        scans: Arc::new(Semaphore::new(FileQuery::MAX_SCANS)),
        folds: Semaphore::new(complete::MAX_FOLDS),
        copying: Default::default(),
        lists_pipelines,
        left_out,
        litter: Default::default(),
    };
    Ok((engine, clean))
}

/// Fails with [`StoreError::Full`] when what can wait would eat into the floor.
fn check_floor(disk: &Disk, options: &Options) -> Result<(), StoreError> {
    match disk.free_bytes()? < options.floor_bytes() {
        true => Err(StoreError::Full),
        false => Ok(()),
    }
}

/// The epoch in `FORMAT`. Of a newer version only the first two words are known.
fn epoch_of(format: &[u8]) -> Result<Vec<u8>, StoreError> {
    let text = String::from_utf8_lossy(format);
    let mut words = text.split_whitespace();
    let ours = words.next() == Some("pillarbox");
    let version = words.next().and_then(|word| word.parse::<u64>().ok());
    match (version.filter(|_| ours), words.next(), words.next()) {
        (Some(FORMAT_VERSION), Some(epoch), None) => Ok(epoch.as_bytes().to_vec()),
        (Some(found), ..) if found > FORMAT_VERSION => Err(StoreError::Newer {
            found,
            known: FORMAT_VERSION,
        }),
        _ => Err(StoreError::Corrupt("FORMAT is not ours".to_owned())),
    }
}

/// Writes `FORMAT` at the first start, with a new epoch.
fn write_format(disk: &Disk) -> Result<Vec<u8>, StoreError> {
    let mut random = [0; 16];
    let drawn = SystemRandom::new().fill(&mut random);
    drawn.map_err(|_| {
        let cause = std::io::Error::other("the system has none");
        StoreError::failed("draw randomness", cause)
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

fn clean_key() -> Vec<u8> {
    records::key(META, &[b"clean"])
}
