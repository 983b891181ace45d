//! How the bytes of one chunk get into its file.
//!
//! Owns: [`Output`], which chooses for each batch whether it goes past the cache of the system or through it, and has what went through
//! it sent on to the disk early, so that the sync at the end is short.
//! Never does: choose the file, or take what it has written for durable before a sync.
//!
//! Invariant: what an early sync finds is not looked at: a failure blows the fuse, and the sync at the end fails with it.

use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::disk::Bounce;
use super::sync::{Handle, JoinHandle};
use crate::store::StoreError;

/// Fewest bytes of a batch that go past the cache (`disk::direct`). What is smaller comes from many writers at once, and the cache puts
/// it together for the disk, or is a small object, which will be read from the cache.
const DIRECT_BYTES: u64 = 512 << 10;
/// The same for the last batch of a chunk that has gone that way, so that its sync finds nothing to do.
const DIRECT_REST_BYTES: u64 = 64 << 10;
/// Of what goes through the cache, what comes behind so many bytes is sent on to the disk with each batch; for less the sync is too near
/// to gain by it.
const WRITE_OUT_FROM: u64 = 1 << 20;
/// After this many bytes in the cache a sync is begun while more arrive.
const EARLY_SYNC_BYTES: u64 = 32 << 20;

/// What is known of a file that one chunk is written to.
#[derive(Debug, Default)]
pub(super) struct Output {
    bounce: Bounce,
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
        if self.is_direct(bytes) && engine.disk.is_direct() {
            let bounce = &mut self.bounce;
            return engine.disk.write_direct(file, bounce, (batch, offset));
        }
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

    /// Whether a batch of so many bytes is to go past the cache.
    const fn is_direct(&self, bytes: u64) -> bool {
        bytes >= DIRECT_BYTES || self.has_been_direct() && bytes >= DIRECT_REST_BYTES
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

    /// Whether a batch has gone past the cache.
    pub(super) const fn has_been_direct(&self) -> bool {
        self.bounce.is_used()
    }

    /// What was written lies in another file now, in the cache.
    pub(super) fn moved(&mut self, length: u64) {
        (self.written_out, self.unsynced) = (0, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::{Folder, NOW, begin, post, read};
    use crate::store::{ChunkSpec, Expected, ObjectStore as _};

    /// No multiple of any block.
    const CHUNK: usize = 1_300_003;

    fn bytes(length: usize) -> Bytes {
        (0..length).map(|n| (n % 253) as u8).collect()
    }

    #[test]
    fn large_batches_go_past_the_cache_and_so_does_what_follows_them() {
        let mut output = Output::default();
        let small = DIRECT_BYTES - 1;
        assert!(!output.is_direct(small) && output.is_direct(DIRECT_BYTES));
        output.bounce = Bounce::used();
        assert!(output.is_direct(DIRECT_REST_BYTES) && !output.is_direct(DIRECT_REST_BYTES - 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn long_chunks_that_begin_and_end_within_blocks_read_back_exactly() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let whole = bytes(4 * CHUNK + 700_000);
        // The fourth comes before the size of a chunk is known, and lies in a spill until the end; pieces are as a network gives them.
        for index in [3_u32, 0, 4, 1, 2] {
            let start = index as usize * CHUNK;
            let chunk = whole.slice(start..whole.len().min(start + CHUNK));
            let spec = ChunkSpec::new(index, Some(5));
            let mut writer = store.write_chunk(id, spec).await.unwrap();
            for piece in chunk.chunks(77_777) {
                writer.write(chunk.slice_ref(piece)).await.unwrap();
            }
            writer.commit(Expected::default(), NOW).await.unwrap();
        }
        assert!(read(&store, id).await.unwrap() == whole);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn objects_of_every_size_around_a_batch_read_back_exactly() {
        let folder = Folder::new();
        let store = folder.open().await;
        for length in [524_287, 524_288, 1 << 20, (1 << 20) + 1, 3_333_333] {
            let whole = bytes(length);
            let meta = post(&store, &length.to_string(), &whole).await;
            assert!(read(&store, meta.id).await.unwrap() == whole, "{length}");
        }
    }
}
