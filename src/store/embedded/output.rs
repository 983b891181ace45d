//! How the bytes of one chunk get into its file.
//!
//! Owns: [`Output`], which chooses for each batch whether it goes past the cache of the system or through it, and has what went through
//! it sent on to the disk early, so that the sync at the end is short.
//! Never does: choose the file, or take what it has written for durable before a sync.
//!
//! Invariant: nothing here is a sync. What fails on its way to the disk fails again in the next one of the file, which `lane` does before it
//! acknowledges or moves anything.

use std::fs::File;
use std::io::IoSlice;

use bytes::Bytes;

use super::disk::Disk;
use crate::store::StoreError;

/// Fewest bytes of a batch that go past the cache (`disk::direct`). What is smaller comes from many writers at once, and the cache puts
/// it together for the disk, or is a small object, which will be read from the cache.
const DIRECT_BYTES: u64 = 256 << 10;
/// The same for the last batch of a chunk that has gone that way, so that its sync finds nothing to do.
const DIRECT_REST_BYTES: u64 = 64 << 10;
/// Of what goes through the cache, what comes behind so many bytes is sent on to the disk with each batch; for less the sync is too near
/// to gain by it.
const WRITE_OUT_FROM: u64 = 1 << 20;

/// What is known of a file that one chunk is written to.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Bytes that went past the cache.
    direct_bytes: u64,
    /// Up to here the disk has begun on what was written to the cache.
    written_out: u64,
}

impl Output {
    /// Writes a batch behind the first `length` bytes of a chunk that begins at `start` of the file.
    pub(super) fn write(
        &mut self,
        disk: &Disk,
        (file, start): (&File, u64),
        batch: &[Bytes],
        length: u64,
    ) -> Result<(), StoreError> {
        let bytes: u64 = batch.iter().map(|slice| slice.len() as u64).sum();
        let offset = start.saturating_add(length);
        let mut direct = 0;
        if self.is_direct(bytes) && disk.is_direct() {
            direct = disk.write_direct(file, batch, offset)?;
            self.direct_bytes += direct;
        } else {
            let mut slices: Vec<_> = batch.iter().map(|slice| IoSlice::new(slice)).collect();
            disk.write_at(file, &mut slices, offset)?;
        }
        if direct == 0 && length >= WRITE_OUT_FROM && bytes > 0 {
            let end = length + bytes;
            let waiting = (start + self.written_out, end - self.written_out);
            disk.begin_to_write_out(file, waiting);
            self.written_out = end;
        }
        Ok(())
    }

    /// Whether a batch of so many bytes is to go past the cache.
    pub(super) const fn is_direct(&self, bytes: u64) -> bool {
        bytes >= DIRECT_BYTES || self.has_been_direct() && bytes >= DIRECT_REST_BYTES
    }

    /// Whether a batch has gone past the cache.
    pub(super) const fn has_been_direct(&self) -> bool {
        self.direct_bytes > 0
    }

    /// Bytes that have gone past the cache.
    pub(super) const fn direct_bytes(&self) -> u64 {
        self.direct_bytes
    }

    /// What was written lies in another file now, in the cache.
    pub(super) const fn moved(&mut self) {
        self.written_out = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::Id;
    use crate::store::embedded::buffers::{Buffers, Gathered};
    use crate::store::embedded::disk::FileName;
    use crate::store::embedded::fuse::Fuse;
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
        output.direct_bytes = 1;
        assert!(output.is_direct(DIRECT_REST_BYTES) && !output.is_direct(DIRECT_REST_BYTES - 1));
    }

    #[test]
    fn what_is_large_goes_past_the_cache_where_the_disk_has_it_and_the_rest_does_not() {
        let folder = Folder::new();
        let disk = Disk::open(&folder.options().data, Fuse::default()).unwrap();
        let name = FileName::Main(Id::new(NOW, [1; 8]));
        let file = disk.open_or_create(name).unwrap();
        let (mut output, whole) = (Output::default(), bytes(3 << 20));
        let mut length = 0;
        for (batch, direct) in [(4096, 0), (1 << 20, 1 << 20), (80 << 10, 80 << 10), (99, 0)] {
            let before = output.direct_bytes;
            let mut gathered = Gathered::new(&Buffers::default());
            gathered.push(&whole[length..length + batch], (8192 + length) as u64);
            let (place, bytes) = ((&file, 8192), gathered.take_all());
            let written = output.write(&disk, place, &bytes, length as u64);
            written.unwrap();
            assert!(output.direct_bytes - before == direct || !disk.is_direct());
            length += batch;
        }
        let mut found = vec![0; length];
        file.read_exact_at(&mut found, 8192).unwrap();
        assert!(found == whole[..length]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_gave_up_waiting_for_room_has_lost_nothing() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let whole = bytes(40 * 77_777);
        let spec = ChunkSpec::new(0, Some(1));
        let mut writer = store.write_chunk(id, spec).await.unwrap();
        for piece in whole.chunks(77_777) {
            // Polled once, and dropped if it waits.
            let _ = writer.write(whole.slice_ref(piece)).now_or_never();
        }
        writer.commit(Expected::default(), NOW).await.unwrap();
        assert!(read(&store, id).await.unwrap() == whole);
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_chunk_that_outgrows_its_place_within_a_block_reads_back_exactly() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        // The second begins at an odd place and goes on where the third lies.
        let lengths = [CHUNK, 2 * CHUNK + 9, CHUNK];
        let whole = bytes(lengths.iter().sum());
        for index in [0, 2, 1] {
            let start: usize = lengths[..index].iter().sum();
            let chunk = whole.slice(start..start + lengths[index]);
            let spec = ChunkSpec::new(index as u32, Some(3));
            let mut writer = store.write_chunk(id, spec).await.unwrap();
            for piece in chunk.chunks(77_777) {
                writer.write(chunk.slice_ref(piece)).await.unwrap();
            }
            writer.commit(Expected::default(), NOW).await.unwrap();
        }
        assert!(read(&store, id).await.unwrap() == whole);
    }
}
