//! The road of one chunk to disk: gather, hash and write, sync, acknowledge.
//!
//! Owns: [`Writer`], which gathers batches on the caller's task and hands each to a `Lane` to be written and to a hasher, who work them
//! off meanwhile (`batches`); and the order of a commit: bytes settled, then one index job, then what follows from it.
//! Never does: decide what a chunk means for its session (`ledger` does), or where its bytes go (`lane` does).
//!
//! Invariants:
//! 1. A writer holds at most nine batches in memory, each of [`BATCH_BYTES`] plus one buffer of the caller's: one that is gathered, up to
//!    seven that wait for the slower of lane and hasher or are at work, and the piece that the next begins with. The more writers, the
//!    smaller their batches; and while all together have [`UNDER_WAY_BYTES`] and [`UNDER_WAY_BATCHES`] or more on their way, each has one there.
//! 2. A commit that has begun runs to its end, whether or not its caller waits.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::batches::{Batches, MAX_WAITING, gone};
use super::buffers::Gathered;
use super::index::Txn;
use super::lane::{Lane, Target, whole_object};
use super::lease::Awaits;
use super::ledger;
use super::names::{self, Garbage};
use super::{Engine, catalog, complete, label, objects, placing, sizes};
use crate::model::{
    Checksum, ChunkReceipt, Digests, Hasher, Id, MAX_CHUNK_BYTES, NewUpload, Place, Timestamp,
    UploadState,
};
use crate::store::{ChunkSpec, ChunkWriter, Committed, Expected, StoreError};

/// Most bytes that one writer gathers before they go to disk, and fewest when there are many writers.
const BATCH_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 20;
/// Bytes that all writers together gather, as far as the smallest batch allows.
const GATHERED_BYTES: usize = 4 << 20;
/// From so many bytes on in the batches of all writers together that are on their way, each may have only one; or from so many batches on,
/// where those of few writers are large.
const UNDER_WAY_BYTES: usize = 4 << 20;
const UNDER_WAY_BATCHES: usize = 8;
/// From this many bytes on the last batch is hashed by another thread than it is written by.
const BESIDE_BYTES: usize = 256 << 10;

/// Receives the bytes of one chunk.
#[derive(Debug)]
pub(super) struct Writer {
    engine: Arc<Engine>,
    purpose: Purpose,
    writing: Batches<Lane>,
    hashing: Batches<Hasher>,
    gathered: Gathered,
    total: u64,
    /// Where the chunk begins in its file.
    start: u64,
    checksum: Option<Checksum>,
}

#[derive(Clone, Debug)]
enum Purpose {
    Chunk(Id, ChunkSpec),
    /// With the moment at which its bucket was made, if that is there.
    Object(Box<NewUpload>, Option<Timestamp>),
}

impl Writer {
    /// Begins a chunk of a session.
    pub(super) fn to_chunk(
        engine: &Arc<Engine>,
        id: Id,
        spec: ChunkSpec,
    ) -> Result<Self, StoreError> {
        let permit = admit(engine)?;
        let lease = engine.leases.take(id);
        let target = placing::choose(engine, &lease, spec)?;
        if !matches!(target, Target::Nowhere) {
            engine.check_room(0)?;
        }
        let lane = Lane::new(engine, lease, target, permit);
        Ok(Self::new(engine, Purpose::Chunk(id, spec), lane))
    }

    /// Begins an object without a session.
    pub(super) fn to_object(engine: &Arc<Engine>, new: NewUpload) -> Result<Self, StoreError> {
        let permit = admit(engine)?;
        engine.check_room(0)?;
        let home = catalog::made_at(engine, &new.bucket)?;
        let lease = engine.leases.take(new.id);
        let mut lane = Lane::new(engine, lease, Target::Object(None), permit);
        lane.hold(engine.recent.begin(new.id));
        Ok(Self::new(
            engine,
            Purpose::Object(Box::new(new), home),
            lane,
        ))
    }

    fn new(engine: &Arc<Engine>, purpose: Purpose, lane: Lane) -> Self {
        Self {
            engine: Arc::clone(engine),
            purpose,
            start: lane.start(),
            writing: Batches::of(lane),
            hashing: Batches::of(Hasher::default()),
            gathered: Gathered::new(&engine.buffers),
            total: 0,
            checksum: None,
        }
    }

    /// Sends the gathered batch on its way; waits while too many before it are still under way.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        let engine = &self.engine;
        let most = || UNDER_WAY_BYTES.max(UNDER_WAY_BATCHES * batch_bytes(engine));
        let limit = || match engine.buffers.under_way_bytes() < most() {
            true => MAX_WAITING,
            false => 1,
        };
        self.hashing.room(limit).await?;
        self.writing.room(limit).await?;
        // Nothing waits from here on: a caller that gave up waiting has lost nothing.
        let batch = self.gathered.take_full();
        self.hashing.add_beside(batch.clone(), &self.engine.tasks);
        self.writing.add_beside(batch, &self.engine.tasks);
        Ok(())
    }
}

#[async_trait]
impl ChunkWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let offset = self.start.saturating_add(self.total);
        self.total = self.total.saturating_add(bytes.len() as u64);
        if self.total > MAX_CHUNK_BYTES {
            let max_bytes = MAX_CHUNK_BYTES;
            return Err(StoreError::TooLarge { max_bytes });
        }
        self.gathered.push(&bytes, offset);
        // The caller's memory is not held while this waits.
        drop(bytes);
        let enough = batch_bytes(&self.engine);
        if self.gathered.full_bytes() >= enough {
            self.hand_over().await?;
        }
        Ok(())
    }

    fn keep_checksum(&mut self, checksum: Checksum) {
        match &mut self.purpose {
            Purpose::Object(new, _) => new.attributes.checksum = Some(checksum),
            Purpose::Chunk(..) => self.checksum = Some(checksum),
        }
    }

    async fn commit(
        self: Box<Self>,
        expected: Expected,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        if self.total > MAX_CHUNK_BYTES {
            let max_bytes = MAX_CHUNK_BYTES;
            return Err(StoreError::TooLarge { max_bytes });
        }
        let rest = Rest {
            batch: self.gathered.take_all(),
            writing: self.writing,
            hashing: self.hashing,
            checksum: self.checksum,
            total: self.total,
        };
        // By whoever calls: what is carried out for a client goes on when he has left.
        let awaits = match &self.purpose {
            Purpose::Chunk(id, _) => Some(self.engine.leases.take(*id).awaits()),
            Purpose::Object(..) => None,
        };
        let caller = awaits.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let (engine, purpose) = (Arc::clone(&self.engine), self.purpose);
        let work = async move {
            match purpose {
                Purpose::Chunk(id, spec) => {
                    commit_chunk(&engine, (rest, caller), (id, spec), expected, now).await
                }
                Purpose::Object(new, home) => {
                    commit_object(&engine, rest, (*new, home), expected, now).await
                }
            }
        };
        self.engine.carry_out(work).await
    }
}

/// The last batch of a chunk, and what is at work on the ones before it.
struct Rest {
    batch: Vec<Bytes>,
    writing: Batches<Lane>,
    hashing: Batches<Hasher>,
    checksum: Option<Checksum>,
    /// Bytes that the writer was given in all.
    total: u64,
}

impl Rest {
    /// Writes and hashes what is left; the lane, and the digests of the whole chunk, if they are what was expected. A chunk that gets no
    /// label, which needs the digests, is synced while they are computed.
    fn settle(
        self,
        engine: &Engine,
        is_labelled: bool,
        expected: Expected,
    ) -> Result<(Lane, Digests), StoreError> {
        let batch = self.batch.clone();
        if batch.iter().map(Bytes::len).sum::<usize>() < BESIDE_BYTES {
            self.hashing.add(batch);
        } else {
            self.hashing.add_beside(batch, &engine.tasks);
        }
        self.writing.add(self.batch);
        let mut lane = self.writing.finish()?;
        if lane.length != self.total {
            return Err(gone());
        }
        if !is_labelled {
            lane.sync_ahead()?;
        }
        let digests = self.hashing.finish()?.finish();
        let digests = lane.end(digests, expected)?;
        Ok((lane, digests))
    }
}

async fn commit_chunk(
    engine: &Arc<Engine>,
    (mut rest, caller): (Rest, Weak<Awaits>),
    (id, spec): (Id, ChunkSpec),
    expected: Expected,
    now: Timestamp,
) -> Result<Committed, StoreError> {
    let (mut lane, arrival) = engine
        .blocking(move |engine| {
            let checksum = rest.checksum.take();
            let may_be_whole = spec.nb_chunks == Some(1);
            let (mut lane, digests) = rest.settle(engine, may_be_whole, expected)?;
            sizes::check_ahead(engine, id, (spec, lane.length))?;
            let whole = lane.settle_chunk(engine, (id, spec), digests, now)?;
            let mut arrival = lane.arrival((id, spec), digests, whole);
            (arrival.checksum, arrival.received_at) = (checksum, Some(now));
            Ok((lane, arrival))
        })
        .await?;
    let whole = arrival.whole.clone();
    lane.keep();
    let acknowledge = move |txn: &mut Txn<'_>| {
        let acknowledged = ledger::acknowledge(txn, arrival)?;
        Awaits::begin(&caller, acknowledged.state);
        Ok(acknowledged)
    };
    let acknowledged = engine.index.commit(acknowledge).await;
    lane.keep_if(&acknowledged, |ack| !ack.repeated);
    if whole.is_some()
        && let Err(error) = &acknowledged
    {
        take_label_off(engine, id, error).await?;
    }
    drop(lane);
    let acknowledged = acknowledged?;
    engine.collect(acknowledged.garbage);
    let object = match acknowledged.state {
        UploadState::Completed if !acknowledged.repeated => whole,
        UploadState::Completing => match complete::complete_and_wait(engine, id, now).await? {
            // He waited as long as anybody does: that it goes on is true only while it is here.
            None => engine.session(id).map(|_| None)?,
            object => object,
        },
        UploadState::Completed => objects::by_id(engine, id)?,
        UploadState::Uploading | UploadState::Failed => None,
    };
    Ok(Committed {
        receipt: acknowledged.receipt,
        repeated: acknowledged.repeated,
        object,
    })
}

/// Takes the label off the file of an upload that goes on, though its file was to be all of it: a rebuilt index would name it. One that the
/// index may have taken in keeps it, and so does what somebody else has made an object of meanwhile.
async fn take_label_off(
    engine: &Arc<Engine>,
    id: Id,
    error: &StoreError,
) -> Result<(), StoreError> {
    let goes_on = || matches!(engine.session(id), Ok(record) if record.is_open());
    if matches!(error, StoreError::ReadOnly) || !goes_on() {
        return Ok(());
    }
    let lease = engine.leases.take(id);
    // Whoever makes it whole labels it in his turn.
    let _turn = lease.turn.lock().await;
    if goes_on() {
        let take_off = move |engine: &Engine| label::take_off(&engine.disk, id);
        engine.blocking(take_off).await?;
    }
    Ok(())
}

async fn commit_object(
    engine: &Arc<Engine>,
    rest: Rest,
    (new, home): (NewUpload, Option<Timestamp>),
    expected: Expected,
    now: Timestamp,
) -> Result<Committed, StoreError> {
    let condition = expected.condition.clone();
    let (mut lane, meta, digests) = engine
        .blocking(move |engine| {
            let condition = expected.condition.clone();
            let (mut lane, digests) = rest.settle(engine, true, expected)?;
            let meta = whole_object(&new, lane.length, digests, now);
            let label = match &condition {
                None => label::encode(&meta)?,
                // It is judged when the object is named; what cannot hold even now leaves no labelled file behind.
                Some(condition) => {
                    let held = objects::holder(engine, &meta.bucket, &meta.key)?;
                    condition.check(held.as_ref(), now)?;
                    label::encode_conditional(&meta)?
                }
            };
            lane.settle_object(meta.id, &label)?;
            Ok((lane, meta, digests))
        })
        .await?;
    let named = meta.clone();
    let recent = engine.recent.clone();
    lane.keep();
    let garbage = engine
        .index
        .commit(move |txn| {
            names::refuse_taken_id(txn, named.id)?;
            // It was begun in a bucket that was removed; one that was made again is another.
            if home.is_some() && catalog::made_at_in(txn, &named.bucket)? != home {
                return Err(StoreError::NoSuchBucket);
            }
            let mut garbage = Garbage::new();
            names::name_object(txn, &named, condition.as_ref(), &mut garbage)?;
            // What takes the place of another is synced, so that a crash can never give the key back; and so is what was written on a
            // condition, whose label promises nothing.
            if condition.is_none() && garbage.is_empty() && recent.label_suffices(&named) {
                txn.need_not_sync();
            }
            Ok(garbage)
        })
        .await;
    lane.keep_if(&garbage, |_| true);
    drop(lane);
    engine.collect(garbage?);
    let receipt = ChunkReceipt {
        index: 0,
        place: Place::Main(0),
        length: meta.size,
        digests,
        checksum: None,
        received_at: Some(now),
    };
    Ok(Committed {
        receipt,
        repeated: false,
        object: Some(meta),
    })
}

fn admit(engine: &Engine) -> Result<OwnedSemaphorePermit, StoreError> {
    engine.fuse.check()?;
    let permit = Arc::clone(&engine.writers).try_acquire_owned();
    permit.map_err(|_| StoreError::Busy)
}

/// The size of a batch while this many writers are at work.
fn batch_bytes(engine: &Engine) -> usize {
    (GATHERED_BYTES / busy(engine)).clamp(*BATCH_BYTES.start(), *BATCH_BYTES.end())
}

/// How many writers are at work, this one among them.
fn busy(engine: &Engine) -> usize {
    let idle = engine.writers.available_permits();
    engine.options.max_writers.saturating_sub(idle).max(1)
}
