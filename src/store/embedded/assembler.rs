//! The road of one chunk to disk: gather, hash and write, sync, acknowledge.
//!
//! Owns: [`Writer`], which gathers batches on the caller's task, and `Lane`, which hashes and writes them in blocking jobs, one at a
//! time, while the next batch is gathered. It also carries out the placing rule with what `lease` allows: in place in the main
//! file, in a spill beside it, or only hashed when the upload is finished.
//! Never does: decide what a chunk means for its session; `ledger` does, in one index job.
//!
//! Invariants:
//! 1. A writer holds at most two batches in memory, of [`BATCH_BYTES`] plus one buffer of the caller's.
//! 2. Bytes go into the main file only under the lease's read lock, and never after it was sealed.
//! 3. What is dropped before it is acknowledged is removed, or lies where only a later claim will write.

use std::fs::File;
use std::io::IoSlice;
use std::mem;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::disk::FileName;
use super::lease::{Claim, Lease};
use super::ledger::{self, Arrival, Garbage};
use super::{Engine, complete, label};
use crate::model::{
    Digests, ETag, Hasher, Id, MAX_CHUNK_BYTES, NewUpload, ObjectMeta, Place, Timestamp,
    UploadState,
};
use crate::store::{ChunkSpec, ChunkWriter, Committed, Expected, StoreError};

/// Bytes that are gathered before they go to disk.
const BATCH_BYTES: usize = 1 << 20;
/// Buffers that are gathered at most, however small; one system call takes 1,024.
const BATCH_SLICES: usize = 1024;
/// How many spill numbers are tried when files of an earlier process are in the way.
const MAX_SPILL_TRIES: u32 = 100_000;

/// Receives the bytes of one chunk.
#[derive(Debug)]
pub(super) struct Writer {
    engine: Arc<Engine>,
    purpose: Purpose,
    lane: Option<Lane>,
    flight: Option<JoinHandle<Result<Lane, StoreError>>>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    total: u64,
}

#[derive(Clone, Debug)]
enum Purpose {
    Chunk(Id, ChunkSpec),
    Object(Box<NewUpload>),
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
        let target = choose(engine, &lease, spec)?;
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
        let lease = engine.leases.take(new.id);
        let lane = Lane::new(engine, lease, Target::Object(None), permit);
        Ok(Self::new(engine, Purpose::Object(Box::new(new)), lane))
    }

    fn new(engine: &Arc<Engine>, purpose: Purpose, lane: Lane) -> Self {
        Self {
            engine: Arc::clone(engine),
            purpose,
            lane: Some(lane),
            flight: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            total: 0,
        }
    }

    /// Waits for the batch that is under way.
    async fn land(&mut self) -> Result<(), StoreError> {
        if let Some(flight) = &mut self.flight {
            let landed = flight.await;
            self.flight = None;
            self.lane = Some(super::joined(landed)?);
        }
        Ok(())
    }

    /// Sends the gathered batch on its way, after the one before it.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        self.land().await?;
        let mut lane = self.lane.take().ok_or_else(gone)?;
        let batch = mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let job = move || lane.absorb(&batch).map(|()| lane);
        self.flight = Some(self.engine.tasks.spawn_blocking(job));
        Ok(())
    }
}

#[async_trait]
impl ChunkWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.total = self.total.saturating_add(bytes.len() as u64);
        if self.total > MAX_CHUNK_BYTES {
            let max_bytes = MAX_CHUNK_BYTES;
            return Err(StoreError::TooLarge { max_bytes });
        }
        if !bytes.is_empty() {
            self.gathered_bytes += bytes.len();
            self.gathered.push(bytes);
        }
        if self.gathered_bytes >= BATCH_BYTES || self.gathered.len() >= BATCH_SLICES {
            self.hand_over().await?;
        }
        Ok(())
    }

    async fn commit(
        mut self: Box<Self>,
        expected: Expected,
        now: Timestamp,
    ) -> Result<Committed, StoreError> {
        if self.total > MAX_CHUNK_BYTES {
            let max_bytes = MAX_CHUNK_BYTES;
            return Err(StoreError::TooLarge { max_bytes });
        }
        self.land().await?;
        let lane = self.lane.take().ok_or_else(gone)?;
        let rest = mem::take(&mut self.gathered);
        let engine = Arc::clone(&self.engine);
        let purpose = self.purpose.clone();
        let work = async move {
            match purpose {
                Purpose::Chunk(id, spec) => {
                    commit_chunk(&engine, lane, rest, (id, spec), expected, now).await
                }
                Purpose::Object(new) => {
                    commit_object(&engine, lane, rest, *new, expected, now).await
                }
            }
        };
        self.engine.carry_out(work).await
    }
}

async fn commit_chunk(
    engine: &Arc<Engine>,
    mut lane: Lane,
    rest: Vec<Bytes>,
    (id, spec): (Id, ChunkSpec),
    expected: Expected,
    now: Timestamp,
) -> Result<Committed, StoreError> {
    let (mut lane, arrival) = engine
        .blocking(move |engine| {
            lane.absorb(&rest)?;
            let digests = lane.end(expected)?;
            let whole = lane.settle_chunk(engine, (id, spec), digests, now)?;
            let arrival = lane.arrival((id, spec), digests, whole);
            Ok((lane, arrival))
        })
        .await?;
    let whole = arrival.whole.clone();
    lane.keep();
    let acknowledged = engine
        .index
        .commit(move |txn| ledger::acknowledge(txn, arrival))
        .await;
    lane.keep_if(&acknowledged, |ack| !ack.repeated);
    drop(lane);
    let acknowledged = acknowledged?;
    engine.collect(acknowledged.garbage);
    let object = match acknowledged.state {
        UploadState::Completed if !acknowledged.repeated => whole,
        UploadState::Completing => complete::complete_and_wait(engine, id, now).await?,
        UploadState::Completed => super::objects::by_id(engine, id)?,
        UploadState::Uploading | UploadState::Failed => None,
    };
    Ok(Committed {
        receipt: acknowledged.receipt,
        repeated: acknowledged.repeated,
        object,
    })
}

async fn commit_object(
    engine: &Arc<Engine>,
    mut lane: Lane,
    rest: Vec<Bytes>,
    new: NewUpload,
    expected: Expected,
    now: Timestamp,
) -> Result<Committed, StoreError> {
    let (mut lane, meta, digests) = engine
        .blocking(move |_| {
            lane.absorb(&rest)?;
            let digests = lane.end(expected)?;
            let meta = whole_object(&new, lane.length, digests, now);
            lane.settle_object(&meta)?;
            Ok((lane, meta, digests))
        })
        .await?;
    let named = meta.clone();
    lane.keep();
    let garbage = engine
        .index
        .commit(move |txn| {
            ledger::refuse_taken_id(txn, named.id)?;
            let mut garbage = Garbage::new();
            ledger::name_object(txn, &named, &mut garbage)?;
            Ok(garbage)
        })
        .await;
    lane.keep_if(&garbage, |_| true);
    drop(lane);
    engine.collect(garbage?);
    let receipt = crate::model::ChunkReceipt {
        index: 0,
        place: Place::Main(0),
        length: meta.size,
        digests,
    };
    Ok(Committed {
        receipt,
        repeated: false,
        object: Some(meta),
    })
}

/// Where the bytes of a chunk go.
#[derive(Debug)]
enum Target {
    /// In the main file, from this offset; opened with the first byte.
    Main(Claim, u64, Option<File>),
    /// In a spill, made with the first byte.
    Spill(Option<(u32, File)>),
    /// In the main file of an object without a session.
    Object(Option<File>),
    /// They are only hashed.
    Nowhere,
}

/// What travels through the blocking jobs: where the bytes go and what they hash to so far.
#[derive(Debug)]
struct Lane {
    engine: Arc<Engine>,
    lease: Arc<Lease>,
    target: Target,
    hasher: Hasher,
    length: u64,
    kept: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    fn new(
        engine: &Arc<Engine>,
        lease: Arc<Lease>,
        target: Target,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            lease,
            target,
            hasher: Hasher::default(),
            length: 0,
            kept: false,
            _permit: permit,
        }
    }

    /// Writes and hashes one batch.
    fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        let bytes: u64 = batch.iter().map(|slice| slice.len() as u64).sum();
        if !matches!(self.target, Target::Nowhere) {
            self.engine.check_room(bytes)?;
            self.write(batch, self.length + bytes)?;
        }
        batch.iter().for_each(|slice| self.hasher.update(slice));
        self.length += bytes;
        Ok(())
    }

    fn write(&mut self, batch: &[Bytes], end: u64) -> Result<(), StoreError> {
        if let Target::Main(claim, ..) = &self.target
            && !claim.reserve(end)
        {
            self.move_to_spill()?;
        }
        let mut slices: Vec<_> = batch.iter().map(|slice| IoSlice::new(slice)).collect();
        let lease = Arc::clone(&self.lease);
        let sealed = lease.sealed.read().unwrap_or_else(PoisonError::into_inner);
        if *sealed && matches!(self.target, Target::Main(..)) {
            self.target = Target::Nowhere;
        }
        let (engine, length) = (Arc::clone(&self.engine), self.length);
        if let Some((file, start)) = self.open()? {
            let offset = start.saturating_add(length);
            engine.disk.write_at(file, &mut slices, offset)?;
        }
        Ok(())
    }

    /// The open file and where the chunk begins in it; makes the file at the first call.
    fn open(&mut self) -> Result<Option<(&File, u64)>, StoreError> {
        let (disk, id) = (&self.engine.disk, self.lease.id);
        match &mut self.target {
            Target::Main(_, start, file) => {
                if file.is_none() {
                    let opened = disk.open_or_create(FileName::Main(id))?;
                    disk.remove_labels(id, &opened)?;
                    *file = Some(opened);
                }
                Ok(file.as_ref().map(|file| (file, *start)))
            }
            Target::Spill(spill) => {
                if spill.is_none() {
                    *spill = Some(create_spill(&self.engine, &self.lease)?);
                }
                Ok(spill.as_ref().map(|(_, file)| (file, 0)))
            }
            Target::Object(file) => {
                if file.is_none() {
                    let created = disk.create(FileName::Main(id))?;
                    *file = Some(created.ok_or(StoreError::Exists)?);
                }
                Ok(file.as_ref().map(|file| (file, 0)))
            }
            Target::Nowhere => Ok(None),
        }
    }

    /// Leaves the place in the main file, taking along what was written there.
    fn move_to_spill(&mut self) -> Result<(), StoreError> {
        let (number, spill) = create_spill(&self.engine, &self.lease)?;
        let target = mem::replace(&mut self.target, Target::Spill(None));
        if let Target::Main(_, start, Some(main)) = &target {
            let disk = &self.engine.disk;
            disk.copy_range((main, *start), (&spill, 0), self.length)?;
        }
        self.target = Target::Spill(Some((number, spill)));
        Ok(())
    }

    /// All bytes are here: their digests, if they are what was expected.
    fn end(&mut self, expected: Expected) -> Result<Digests, StoreError> {
        let digests = mem::take(&mut self.hasher).finish();
        if let Some(length) = expected.length.filter(|length| *length != self.length) {
            return Err(StoreError::LengthMismatch {
                expected: length,
                actual: self.length,
            });
        }
        if expected.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(StoreError::DigestMismatch { digest: "MD5" });
        }
        if expected.crc64.is_some_and(|crc| crc != digests.crc64) {
            return Err(StoreError::DigestMismatch {
                digest: "CRC64NVME",
            });
        }
        Ok(digests)
    }

    /// Makes the chunk's bytes durable; labels them when they are the whole object, which is then returned.
    fn settle_chunk(
        &mut self,
        engine: &Engine,
        (id, spec): (Id, ChunkSpec),
        digests: Digests,
        now: Timestamp,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        let record = engine.session(id)?;
        let old = engine.receipt(id, spec.index)?;
        if old.is_some_and(|old| (old.length, old.digests) == (self.length, digests)) {
            self.forget();
        }
        let lease = Arc::clone(&self.lease);
        let sealed = lease.sealed.read().unwrap_or_else(PoisonError::into_inner);
        if *sealed && matches!(self.target, Target::Main(..)) {
            self.target = Target::Nowhere;
        }
        let in_place = matches!(self.target, Target::Main(..));
        let only = record.session.nb_chunks.or(spec.nb_chunks) == Some(1);
        let length = self.length;
        let Some((file, _)) = self.open()? else {
            return Ok(None);
        };
        if !(in_place && only) {
            engine.disk.sync_data(file)?;
            return Ok(None);
        }
        let meta = whole_object(&record.session.upload, length, digests, now);
        engine.disk.set_length(file, length)?;
        engine.disk.label(id, file, &label::encode(&meta)?)?;
        engine.disk.sync_all(file)?;
        Ok(Some(meta))
    }

    /// Labels and syncs the file of an object without a session; it is new, so one `fdatasync` does.
    fn settle_object(&mut self, meta: &ObjectMeta) -> Result<(), StoreError> {
        let engine = Arc::clone(&self.engine);
        if let Some((file, _)) = self.open()? {
            engine.disk.label(meta.id, file, &label::encode(meta)?)?;
            engine.disk.sync_data(file)?;
        }
        Ok(())
    }

    fn arrival(
        &self,
        (id, spec): (Id, ChunkSpec),
        digests: Digests,
        whole: Option<ObjectMeta>,
    ) -> Arrival {
        let place = match &self.target {
            Target::Main(_, start, _) => Some(Place::Main(*start)),
            Target::Spill(Some((number, _))) => Some(Place::Spill(*number)),
            Target::Object(_) | Target::Nowhere | Target::Spill(None) => None,
        };
        Arrival {
            id,
            spec,
            place,
            length: self.length,
            digests,
            whole,
        }
    }

    /// The bytes may be acknowledged from here on: they stay, whatever happens to this lane.
    fn keep(&mut self) {
        self.kept = true;
    }

    /// The index has answered. When it certainly did not take the bytes in, they go; when that is not known, they stay.
    fn keep_if<R>(&mut self, answer: &Result<R, StoreError>, taken: impl FnOnce(&R) -> bool) {
        self.kept = match answer {
            Ok(answer) => taken(answer),
            Err(StoreError::ReadOnly) => true,
            Err(_) => false,
        };
    }

    /// Gives up what was written; only the digests count.
    fn forget(&mut self) {
        self.undo();
        self.target = Target::Nowhere;
    }

    fn undo(&mut self) {
        let id = self.lease.id;
        let name = match &self.target {
            Target::Spill(Some((number, _))) => FileName::Spill(id, *number),
            Target::Object(Some(_)) => FileName::Main(id),
            // What lies in the main file is written over by whoever claims the place next.
            _ => return,
        };
        let engine = Arc::clone(&self.engine);
        let job = move || {
            if let Err(error) = engine.disk.unlink(name) {
                tracing::warn!(%error, "a dropped chunk stays until the next start");
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(self.engine.tasks.spawn_blocking_on(job, &runtime)),
            Err(_) => job(),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if !self.kept {
            self.undo();
        }
    }
}

fn admit(engine: &Engine) -> Result<OwnedSemaphorePermit, StoreError> {
    engine.fuse.check()?;
    let permit = Arc::clone(&engine.writers).try_acquire_owned();
    permit.map_err(|_| StoreError::Busy)
}

/// The placing rule. The claim comes first, so that what is read after it is all that was acknowledged before it.
fn choose(engine: &Engine, lease: &Arc<Lease>, spec: ChunkSpec) -> Result<Target, StoreError> {
    let claim = lease.claim(spec.index);
    let record = engine.session(lease.id)?;
    ledger::check_spec(&record, spec)?;
    match record.session.state {
        UploadState::Uploading => {}
        UploadState::Completing | UploadState::Completed => return Ok(Target::Nowhere),
        state @ UploadState::Failed => return Err(StoreError::UploadFailed(state)),
    }
    let first = engine.receipt(lease.id, 0)?;
    lease.learn(&record, first.as_ref());
    let acknowledged = engine.receipt(lease.id, spec.index)?.is_some();
    let place = claim.filter(|_| !acknowledged);
    Ok(match place.map(|claim| (claim.offset(), claim)) {
        Some((Some(offset), claim)) => Target::Main(claim, offset, None),
        _ => Target::Spill(None),
    })
}

pub(super) fn create_spill(engine: &Engine, lease: &Lease) -> Result<(u32, File), StoreError> {
    for _ in 0..MAX_SPILL_TRIES {
        let number = lease.next_spill();
        if let Some(file) = engine.disk.create(FileName::Spill(lease.id, number))? {
            return Ok((number, file));
        }
    }
    Err(StoreError::Busy)
}

fn whole_object(upload: &NewUpload, size: u64, digests: Digests, now: Timestamp) -> ObjectMeta {
    let Digests { md5, crc64 } = digests;
    ledger::object_of(upload, size, (ETag::of_whole(md5), Some(md5), crc64), now)
}

fn gone() -> StoreError {
    StoreError::Io {
        operation: "write a chunk",
        source: std::io::Error::other("an earlier write of this chunk failed"),
    }
}
