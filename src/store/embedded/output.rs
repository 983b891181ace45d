//! How the bytes of one chunk get into its file.
//!
//! Owns: [`Output`], which has what was written sent on to the disk early, so that the sync at the end is short.
//! Never does: choose the file, or take what it has written for durable before a sync.
//!
//! Invariant: what an early sync finds is not looked at: a failure blows the fuse, and the sync at the end fails with it.

use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::sync::{Handle, JoinHandle};
use crate::store::StoreError;

/// What comes behind so many bytes is sent on to the disk with each batch; for less the sync is too near
/// to gain by it.
const WRITE_OUT_FROM: u64 = 1 << 20;
/// After this many bytes a sync is begun while more arrive.
const EARLY_SYNC_BYTES: u64 = 32 << 20;

/// What is known of a file that one chunk is written to.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Up to here the disk has begun on what was written to the cache.
    written_out: u64,
    /// Bytes written to the cache since the last sync that was begun.
    unsynced: u64,
    early: Option<JoinHandle<()>>,
}

impl Output {
    /// Writes a batch behind the first `length` bytes of a chunk that begins at `start` of the file.
    pub(super) fn write(
        &mut self,
        engine: &Arc<Engine>,
        (file, start): (&File, u64),
        batch: &[Bytes],
        length: u64,
    ) -> Result<(), StoreError> {
        let bytes: u64 = batch.iter().map(|slice| slice.len() as u64).sum();
        let offset = start.saturating_add(length);
        let mut slices: Vec<_> = batch.iter().map(|slice| IoSlice::new(slice)).collect();
        engine.disk.write_at(file, &mut slices, offset)?;
        if length >= WRITE_OUT_FROM {
            let end = length + bytes;
            let waiting = (start + self.written_out, end - self.written_out);
            engine.disk.begin_to_write_out(file, waiting);
            self.written_out = end;
        }
        self.unsynced += bytes;
        self.sync_early(engine, file);
        Ok(())
    }

    /// Lets the disk begin on a long chunk while it still arrives, so that the sync at its end is short.
    fn sync_early(&mut self, engine: &Arc<Engine>, file: &File) {
        let busy = self.early.as_ref().is_some_and(|sync| !sync.is_finished());
        if self.unsynced < EARLY_SYNC_BYTES || busy {
            return;
        }
        if let (Ok(file), Ok(runtime)) = (file.try_clone(), Handle::try_current()) {
            let disk = Arc::clone(engine);
            let sync = move || drop(disk.disk.sync_data(&file));
            self.early = Some(engine.tasks.spawn_blocking_on(sync, &runtime));
            self.unsynced = 0;
        }
    }

    /// What was written lies in another file now, in the cache.
    pub(super) fn moved(&mut self, length: u64) {
        (self.written_out, self.unsynced) = (0, length);
    }
}
