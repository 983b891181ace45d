//! `catalog.json`, the snapshot from which the catalog is rebuilt when the index is lost.
//!
//! Owns: its form, what belongs into it, and who writes it: one at a time, and one for all who wait.
//! Never does: judge what it reads; `rebuild` and `recover` do.
//!
//! Invariants: it is replaced whole, and never holds a setting without its bucket. Its generation is at most that of the entries in it, and
//! durable in the index before it is here: an index that knows less is taken for one that has lost writes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::catalog::{generation, is_lasting, list};
use super::entry::{Entry, KINDS};
use super::index::Index;
use crate::store::{CatalogEntry, StoreError};

/// The version of the snapshot's form.
const SNAPSHOT_VERSION: u32 = 1;
/// Orders the writers of the snapshot: one at a time, and one for all who wait.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Counts changes; the guarded value is the count that the snapshot on disk includes.
    changes: std::sync::atomic::AtomicU64,
    written: tokio::sync::Mutex<u64>,
}

/// Replaces the snapshot with what the index holds; callers that come while one is being written share the next.
pub(super) async fn write(engine: &Arc<Engine>) -> Result<(), StoreError> {
    use std::sync::atomic::Ordering::SeqCst;
    let mine = engine.snapshot.changes.fetch_add(1, SeqCst) + 1;
    let mut written = engine.snapshot.written.lock().await;
    if *written >= mine {
        return Ok(());
    }
    let includes = engine.snapshot.changes.load(SeqCst);
    let snapshot = engine.blocking(|engine| snapshot(&engine.index)).await?;
    engine.index.settle().await?;
    engine
        .blocking(move |engine| engine.disk.write_catalog(&snapshot))
        .await?;
    *written = includes;
    Ok(())
}

/// The generation and the entries of a snapshot.
pub(super) fn parse(bytes: &[u8]) -> Result<(u64, Vec<CatalogEntry>), StoreError> {
    let file: SnapshotFile = serde_json::from_slice(bytes)
        .map_err(|e| StoreError::Corrupt(format!("catalog.json: {e}")))?;
    if file.version != SNAPSHOT_VERSION {
        let what = format!("catalog.json has the unknown version {}", file.version);
        return Err(StoreError::Corrupt(what));
    }
    let entries = file.entries.into_iter().map(Entry::into_seam);
    Ok((file.generation, entries.collect()))
}

fn snapshot(index: &Index) -> Result<Vec<u8>, StoreError> {
    // Read first: what is listed is then at least as new.
    let generation = generation(index)?;
    let mut lists = Vec::new();
    // From the last one on: a setting that is made meanwhile must not be here without its bucket, which is made before it.
    for kind in KINDS.into_iter().rev() {
        lists.push(list(index, kind)?);
    }
    let lasting = lists.into_iter().rev().flatten().filter(is_lasting);
    let entries = lasting.map(Entry::from_seam).collect();
    let file = SnapshotFile {
        version: SNAPSHOT_VERSION,
        generation,
        entries,
    };
    serde_json::to_vec_pretty(&file).map_err(|e| StoreError::Corrupt(format!("catalog.json: {e}")))
}

#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    version: u32,
    generation: u64,
    entries: Vec<Entry>,
}
