//! Where the bytes of one chunk go, batch by batch.
//!
//! Owns: the placing rule, carried out (`placing` makes it) with what `lease` allows: in place in the main file, in a spill beside it, or only hashed
//! when the upload is finished; and its syncs, those of a long chunk while it still arrives among them. A [`Lane`] travels through blocking jobs, one at a time.
//! Never does: gather bytes or talk to the index's committer; `assembler` does.
//!
//! Invariants:
//! 1. Bytes go into the main file only under the lease's read lock, and never after it was sealed.
//! 2. What is dropped before it is acknowledged is removed, by the next start at the latest, or lies where only a later claim will write.

use std::fs::File;
use std::mem;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::batches::Worker;
use super::copying::Room;
use super::disk::FileName;
use super::faults::{self, Bug};
use super::lease::{Claim, Lease};
use super::ledger::{self, Arrival};
use super::output::Output;
use super::placing::create_spill;
use super::recent::UnderWay;
use super::sync::Handle;
use super::{Engine, label, names, sizes, tagged};
use crate::model::{Digests, ETag, Id, NewUpload, ObjectMeta, Place, Timestamp};
use crate::store::{ChunkSpec, Expected, StoreError};

/// After so many bytes past the cache a chunk is synced before more is written.
const EARLY_SYNC_BYTES: u64 = 16 << 20;

/// Where the bytes of a chunk go.
#[derive(Debug)]
pub(super) enum Target {
    /// In the main file, from this offset; opened with the first byte.
    Main(Claim, u64, Option<File>),
    /// In a spill, made with the first byte.
    Spill(Option<(u32, File)>),
    /// In the main file of an object without a session.
    Object(Option<File>),
    /// They are only hashed.
    Nowhere,
}

/// What travels through the blocking jobs: where the bytes go.
#[derive(Debug)]
pub(super) struct Lane {
    engine: Arc<Engine>,
    lease: Arc<Lease>,
    target: Target,
    pub(super) length: u64,
    output: Output,
    /// Bytes that had gone past the cache at the last early sync.
    synced_early: u64,
    /// The length that the chunk had when all of it was synced.
    synced: Option<u64>,
    /// Of an object without a session: it is on its way.
    under_way: Option<UnderWay>,
    kept: bool,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    pub(super) fn new(
        engine: &Arc<Engine>,
        lease: Arc<Lease>,
        target: Target,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            lease,
            target,
            length: 0,
            output: Output::default(),
            synced_early: 0,
            synced: None,
            under_way: None,
            kept: false,
            _permit: permit,
        }
    }

    /// Notes, for as long as the lane lives, that an object is on its way.
    pub(super) fn hold(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    fn put(&mut self, batch: &[Bytes], bytes: u64) -> Result<(), StoreError> {
        if matches!(self.target, Target::Nowhere) {
            return Ok(());
        }
        self.engine.check_room(bytes)?;
        self.write(batch, self.length + bytes)
    }

    /// Syncs a long chunk while it still arrives, so that the sync at its end is short: what went past the cache lies in the cache of the
    /// disk, or of the machine around a virtual one. Not beside the writes: of two syncs of one open file only one would be told an error.
    /// Nor before a rest, which the last sync comes right behind.
    fn sync_early(&mut self, bytes: u64) -> Result<(), StoreError> {
        let direct_bytes = self.output.direct_bytes();
        if direct_bytes - self.synced_early >= EARLY_SYNC_BYTES
            && self.output.is_direct(bytes)
            && let Some(file) = self.opened()
        {
            self.engine.disk.sync_data(file)?;
            self.synced_early = direct_bytes;
        }
        Ok(())
    }

    /// Where the chunk begins in its file, as far as it is known.
    pub(super) const fn start(&self) -> u64 {
        match &self.target {
            Target::Main(_, start, _) => *start,
            Target::Spill(_) | Target::Object(_) | Target::Nowhere => 0,
        }
    }

    /// Syncs a chunk while the last of it is still being hashed, if any of it went past the cache; nothing of it counts before its receipt.
    /// Others are not worth it: their sync is what takes the time.
    pub(super) fn sync_ahead(&mut self) -> Result<(), StoreError> {
        if self.output.has_been_direct()
            && let Some(file) = self.opened()
        {
            self.engine.disk.sync_all(file)?;
            self.synced = Some(self.length);
        }
        Ok(())
    }

    /// The file the bytes go to, if it is open.
    fn opened(&self) -> Option<&File> {
        match &self.target {
            Target::Main(_, _, file) | Target::Object(file) => file.as_ref(),
            Target::Spill(spill) => spill.as_ref().map(|(_, file)| file),
            Target::Nowhere => None,
        }
    }

    fn write(&mut self, batch: &[Bytes], end: u64) -> Result<(), StoreError> {
        let lease = Arc::clone(&self.lease);
        let sealed = lease.sealed.read().unwrap_or_else(PoisonError::into_inner);
        // First of all: once it is sealed, what this lane wrote to the main file may be gone and cannot be moved.
        if *sealed && matches!(self.target, Target::Main(..)) {
            self.target = Target::Nowhere;
        }
        if let Target::Main(claim, ..) = &self.target
            && !claim.reserve(end)
        {
            self.move_to_spill()?;
        }
        let (engine, length) = (Arc::clone(&self.engine), self.length);
        let mut output = mem::take(&mut self.output);
        if let Some(place) = self.open()? {
            output.write(&engine.disk, place, batch, length)?;
        }
        self.output = output;
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
                    let created = match faults::is_planted(Bug::NoFolderSync) {
                        true => disk.create(FileName::Spill(id, 0))?,
                        false => disk.create(FileName::Main(id))?,
                    };
                    *file = Some(created.ok_or(StoreError::Exists)?);
                }
                Ok(file.as_ref().map(|file| (file, 0)))
            }
            Target::Nowhere => Ok(None),
        }
    }

    /// Leaves the place in the main file, taking along what was written there.
    fn move_to_spill(&mut self) -> Result<(), StoreError> {
        let engine = Arc::clone(&self.engine);
        let mut room = Room::set_aside(&engine, (self.length, 0))?;
        let spill = create_spill(&engine, &self.lease)?;
        // From here on it is removed with the lane, should anything fail.
        let left = mem::replace(&mut self.target, Target::Spill(Some(spill)));
        if let (Target::Main(_, start, Some(main)), Some(spill)) = (&left, self.opened()) {
            // Else what failed on its way to the disk would be copied as it lies there, and nobody told.
            engine.disk.sync_data(main)?;
            room.copy((main, *start), (spill, 0), self.length)?;
        }
        self.output.moved();
        self.synced_early = self.output.direct_bytes();
        Ok(())
    }

    /// All bytes are here: their digests, if they are what was expected.
    pub(super) fn end(&self, digests: Digests, expected: Expected) -> Result<Digests, StoreError> {
        if let Some(length) = expected.length.filter(|length| *length != self.length) {
            return Err(StoreError::LengthMismatch {
                expected: length,
                actual: self.length,
            });
        }
        if faults::is_planted(Bug::NoChecksum) {
            return Ok(digests);
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
    pub(super) fn settle_chunk(
        &mut self,
        engine: &Engine,
        (id, spec): (Id, ChunkSpec),
        digests: Digests,
        now: Timestamp,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        let mut record = engine.session(id)?;
        // A chunk that will be refused gets no label, by which a rebuilt index would take it for an object.
        ledger::check_spec(&record, spec)?;
        let old = engine.receipt(id, spec.index)?;
        if old.is_some_and(|old| (old.length, old.digests) == (self.length, digests)) {
            self.forget();
        }
        let lease = Arc::clone(&self.lease);
        let sealed = lease.sealed.read().unwrap_or_else(PoisonError::into_inner);
        if *sealed && matches!(self.target, Target::Main(..)) {
            self.target = Target::Nowhere;
        }
        let only = record.session.nb_chunks.or(spec.nb_chunks) == Some(1);
        if only && record.is_open() {
            let mut session = record.session.clone();
            session.sizes = session.sizes.or(spec.sizes);
            sizes::check_total(&session, self.length)?;
        }
        // The client may be wrong: others may lie behind this one, and the file must not be cut.
        let whole = only && matches!(&self.target, Target::Main(claim, ..) if claim.take_all());
        let length = self.length;
        let is_synced = self.synced == Some(length);
        let Some((file, _)) = self.open()? else {
            return Ok(None);
        };
        let end = record.session.upload.expires_at;
        // A label would give a rebuilt index what has expired already.
        if !whole || end.is_some_and(|end| end <= now) {
            if !is_synced {
                // Not the bytes alone: a label may have been taken off the file before them.
                engine.disk.sync_all(file)?;
            }
            return Ok(None);
        }
        tagged::put_back(&mut record, |key| engine.index.get(key))?;
        let meta = whole_object(&record.session.upload, length, digests, now);
        engine.disk.set_length(file, length)?;
        engine.disk.label(id, file, &label::encode(&meta)?)?;
        engine.disk.sync_all(file)?;
        Ok(Some(meta))
    }

    /// Labels and syncs the file of an object without a session.
    pub(super) fn settle_object(&mut self, id: Id, label: &[u8]) -> Result<(), StoreError> {
        let engine = Arc::clone(&self.engine);
        if let Some((file, _)) = self.open()? {
            engine.disk.label_new(id, file, label)?;
            match faults::is_planted(Bug::LabelBySyncData) {
                true => engine.disk.sync_data(file)?,
                false => engine.disk.sync_all(file)?,
            }
            if faults::is_planted(Bug::NoFolderSync) {
                let late = FileName::Spill(id, 0);
                engine.disk.rename(late, FileName::Main(id))?;
            }
        }
        Ok(())
    }

    pub(super) fn arrival(
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
            checksum: None,
            received_at: None,
        }
    }

    /// The bytes may be acknowledged from here on: they stay, whatever happens to this lane.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// The index has answered. When it certainly did not take the bytes in, they go; when that is not known, they stay.
    pub(super) fn keep_if<R>(
        &mut self,
        answer: &Result<R, StoreError>,
        taken: impl FnOnce(&R) -> bool,
    ) {
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
        // With the lease: nobody takes the file for an orphan, and its name for a free one, before it is gone.
        let (engine, lease) = (Arc::clone(&self.engine), Arc::clone(&self.lease));
        let job = move || {
            engine.remove_dropped(name);
            drop(lease);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(self.engine.tasks.spawn_blocking_on(job, &runtime)),
            Err(_) => job(),
        }
    }
}

impl Worker for Lane {
    fn absorb(&mut self, batch: &[Bytes]) -> Result<(), StoreError> {
        let bytes: u64 = batch.iter().map(|slice| slice.len() as u64).sum();
        self.sync_early(bytes)?;
        self.put(batch, bytes)?;
        self.length += bytes;
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if !self.kept {
            self.undo();
        }
    }
}

/// The object that arrived in one piece.
pub(super) fn whole_object(
    upload: &NewUpload,
    size: u64,
    digests: Digests,
    now: Timestamp,
) -> ObjectMeta {
    let Digests { md5, crc64 } = digests;
    names::object_of(upload, size, (ETag::of_whole(md5), Some(md5), crc64), now)
}
