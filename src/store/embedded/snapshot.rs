//! `catalog.json`, the snapshot from which the catalog is rebuilt when the index is lost.
//!
//! Owns: its form, what belongs into it, and who writes it: one at a time, and one for all who wait.
//! Never does: judge what it reads; `rebuild` and `recover` do.
//!
//! Invariants: it is replaced whole, and never holds a setting without its bucket. Its generation is at most that of the entries in it, and
//! durable in the index before it is here: an index that knows less is taken for one that has lost writes, so what is read here is
//! believed only when its checksum holds. Who removes an entry is told
//! that it is gone only when it is gone from here, too, or a rebuild would bring it back; what could not be written is tried again with
//! the next removal, sweep or start. An entry that cannot be read in the index stays as it was here, and keeps no other from going.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Engine;
use super::catalog::{generation, is_lasting, list_readable};
use super::disk::Disk;
use super::entry::{Entry, KINDS, entry_key};
use super::faults::{self, Bug};
use crate::model::Crc64;
use crate::store::{CatalogEntry, StoreError};

/// The version of the snapshot's form.
const SNAPSHOT_VERSION: u32 = 2;
/// The version that had no checksum.
const UNCHECKED_VERSION: u32 = 1;
/// Orders the writers of the snapshot: one at a time, and one for all who wait.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Counts changes; the guarded value is the count that the snapshot on disk includes.
    changes: std::sync::atomic::AtomicU64,
    written: tokio::sync::Mutex<u64>,
}

/// Replaces the snapshot with what the index holds; callers that come while one is being written share the next.
pub(super) async fn write(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let mine = engine.snapshot.changes.fetch_add(1, SeqCst) + 1;
    write_for(engine, mine).await
}

/// Replaces it when it should have been and could not.
pub(super) async fn catch_up(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let all = engine.snapshot.changes.load(SeqCst);
    write_for(engine, all).await
}

/// As [`catch_up`], for one who has other things to do when it fails once more.
pub(super) async fn catch_up_some_time(engine: &Arc<Engine>) {
    if let Err(error) = catch_up(engine).await {
        tracing::warn!(%error, "catalog.json does not show the last changes yet");
    }
}

/// Whether it shows less than the index knows, or cannot be read.
pub(super) fn is_behind(engine: &Engine) -> Result<bool, StoreError> {
    let file = engine.disk.read_catalog()?;
    let here = file.and_then(|file| read::<Head>(&file).ok());
    // One without a checksum is to get one.
    let here = here.filter(|head| head.version.is_none());
    let here = here.map_or(0, |head| head.generation);
    Ok(here < generation(&engine.index)?)
}

/// Replaces it unless it includes the change with this number.
async fn write_for(engine: &Arc<Engine>, mine: u64) -> Result<(), StoreError> {
    let mut written = engine.snapshot.written.lock().await;
    if *written >= mine {
        return Ok(());
    }
    let includes = engine.snapshot.changes.load(SeqCst);
    let snapshot = engine.blocking(snapshot).await?;
    if !faults::is_planted(Bug::NoSettle) {
        engine.index.settle().await?;
    }
    engine
        .blocking(move |engine| engine.disk.write_catalog(&snapshot))
        .await?;
    *written = includes;
    Ok(())
}

/// The generation and the entries of a snapshot.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn parse(bytes: &[u8]) -> Result<(u64, Vec<CatalogEntry>), StoreError> {
    let contents: Contents = read(bytes)?;
    let entries = contents.entries.into_iter().map(Entry::into_seam);
    Ok((contents.generation, entries.collect()))
}

/// Before an index is set aside: what else holds the catalog must be readable, or nothing would.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub(super) fn check_readable(disk: &Disk) -> Result<(), StoreError> {
    let file = disk.read_catalog()?.map(|file| parse(&file));
    file.transpose().map(drop).map_err(|error| match error {
        StoreError::Corrupt(what) => StoreError::Corrupt(format!(
            "{what}; nothing was touched: a start writes it anew from a sound index, else restore it from a backup, or remove it, and all \
             tokens, keys, pipelines and buckets with it"
        )),
        error => error,
    })
}

/// What a snapshot holds, or a part of it, when its checksum holds.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt(format!("catalog.json: {why}"));
    let unreadable = |e: serde_json::Error| corrupt(e.to_string());
    let Form { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
    match version {
        UNCHECKED_VERSION => serde_json::from_slice(bytes).map_err(unreadable),
        SNAPSHOT_VERSION => {
            let file: SnapshotFile = serde_json::from_slice(bytes).map_err(unreadable)?;
            let contents = file.contents.get();
            if Crc64::of(contents.as_bytes()) != file.crc64 {
                return Err(corrupt("its checksum differs".to_owned()));
            }
            serde_json::from_str(contents).map_err(unreadable)
        }
        // The number has no checksum of its own, so a newer version is only one of two reasons.
        version => Err(corrupt(format!(
            "version {version} is not known; it is damaged, or a newer version of this program wrote it"
        ))),
    }
}

/// A snapshot as it is in its file.
fn written(contents: &Contents) -> Result<Vec<u8>, serde_json::Error> {
    let contents = serde_json::value::to_raw_value(contents)?;
    serde_json::to_vec(&SnapshotFile {
        version: SNAPSHOT_VERSION,
        crc64: Crc64::of(contents.get().as_bytes()),
        contents: &contents,
    })
}

fn snapshot(engine: &Engine) -> Result<Vec<u8>, StoreError> {
    // Read first: what is listed is then at least as new.
    let generation = generation(&engine.index)?;
    let (mut lists, mut unreadable) = (Vec::new(), BTreeSet::new());
    // From the last one on: a setting that is made meanwhile must not be here without its bucket, which is made before it.
    for kind in KINDS.into_iter().rev() {
        let (entries, places) = list_readable(&engine.index, kind)?;
        lists.push((kind, entries));
        unreadable.extend(places);
    }
    let kept = as_they_were(&engine.disk, &unreadable)?;
    for (kind, entries) in &mut lists {
        let of_kind = kept.iter().filter(|entry| entry.kind() == *kind);
        entries.extend(of_kind.cloned());
    }
    let lists = lists.into_iter().rev().map(|(_, entries)| entries);
    let lasting = lists.flatten().filter(is_lasting);
    let contents = Contents {
        generation,
        entries: lasting.map(Entry::from_seam).collect(),
    };
    written(&contents).map_err(|e| StoreError::Corrupt(format!("catalog.json: {e}")))
}

/// The entries of the snapshot on disk that lie at these places in the index, where they cannot be read any more.
fn as_they_were(
    disk: &Disk,
    unreadable: &BTreeSet<Vec<u8>>,
) -> Result<Vec<CatalogEntry>, StoreError> {
    if unreadable.is_empty() {
        return Ok(Vec::new());
    }
    tracing::warn!(
        unreadable = unreadable.len(),
        "entries of the catalog cannot be read, as `pillarbox reindex` would mend"
    );
    let file = disk.read_catalog()?.map(|file| parse(&file));
    let (_, mut entries) = file
        .transpose()
        .unwrap_or_else(|error| {
            tracing::error!(%error, "what the catalog was cannot be read either");
            None
        })
        .unwrap_or_default();
    entries.retain(|entry| unreadable.contains(&entry_key(&entry.key())));
    Ok(entries)
}

/// What tells how the rest is read.
#[derive(Deserialize)]
struct Form {
    version: u32,
}

/// The file: what it holds, as it is written, and the checksum of that text.
#[derive(Serialize, Deserialize)]
struct SnapshotFile<'a> {
    version: u32,
    crc64: Crc64,
    #[serde(borrow)]
    contents: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    generation: u64,
    entries: Vec<Entry>,
}

/// What is read of it when its entries do not matter.
#[derive(Deserialize)]
struct Head {
    generation: u64,
    /// Only where there is no checksum: beside it, it stands outside of the contents.
    version: Option<u32>,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::model::{AccessKey, Bucket, BucketConfig, KeyPurpose, Secret};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::index::Txn;
    use crate::store::embedded::tests::{Folder, NOW};
    use crate::store::{Catalog as _, CatalogKey, ClockReading, ObjectStore as _};

    /// A store with a bucket and an access key; the names of both.
    async fn with_key(folder: &Folder) -> (EmbeddedStore, [CatalogKey; 2]) {
        let store = folder.open().await;
        let films = BucketConfig::new(Bucket::parse("films").unwrap(), NOW);
        let key = AccessKey {
            id: "PILLARBOXTEST0000000".to_owned(),
            secret: Secret::new("k".to_owned()),
            purpose: KeyPurpose::Forms,
            created_at: NOW,
            expires_at: None,
            session_token: None,
            limits: Default::default(),
            form_lifetime: Default::default(),
        };
        let entries = [CatalogEntry::Bucket(films), CatalogEntry::AccessKey(key)];
        let keys = entries.each_ref().map(CatalogEntry::key);
        for entry in entries {
            store.insert(entry).await.unwrap();
        }
        (store, keys)
    }

    async fn rebuilt(folder: &Folder) -> EmbeddedStore {
        EmbeddedStore::reindex(folder.options(), NOW).await.unwrap()
    }

    #[tokio::test]
    async fn a_snapshot_with_a_flipped_bit_is_not_believed() {
        let folder = Folder::new();
        drop(with_key(&folder).await);
        let sound = fs::read(folder.0.join("catalog.json")).unwrap();
        parse(&sound).unwrap();
        for bit in 0..8 * sound.len() {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // The last is the case of a hexadecimal digit, which is no other number.
            let is_same = flipped.eq_ignore_ascii_case(&sound);
            let refused = matches!(parse(&flipped), Err(StoreError::Corrupt(_)));
            assert!(refused || is_same, "bit {bit}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_in_the_snapshot_does_not_put_a_sound_index_aside() {
        let folder = Folder::new();
        let (store, [films, _]) = with_key(&folder).await;
        store.close().await.unwrap();
        drop(store);
        folder.settle().await;
        let path = folder.0.join("catalog.json");
        let sound = fs::read_to_string(&path).unwrap();
        let spoiled = sound.replace("\"generation\":4,", "\"generation\":6,");
        assert_ne!(sound, spoiled);
        fs::write(&path, spoiled).unwrap();
        let store = folder.open().await;
        assert_eq!(folder.broken_indexes(), 0);
        assert!(store.find(&films).await.unwrap().is_some());
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written, sound, "it is written anew");
    }

    #[tokio::test]
    async fn an_index_is_not_set_aside_for_a_snapshot_that_cannot_be_read() {
        let folder = Folder::new();
        let (store, [films, _]) = with_key(&folder).await;
        store.close().await.unwrap();
        drop(store);
        folder.settle().await;
        fs::write(folder.0.join("catalog.json"), "{}").unwrap();
        let refused = EmbeddedStore::reindex(folder.options(), NOW).await;
        let Err(StoreError::Corrupt(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("nothing was touched"), "{why}");
        folder.settle().await;
        let store = folder.open().await;
        assert_eq!(folder.broken_indexes(), 0);
        assert!(store.find(&films).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_snapshot_from_before_there_was_a_checksum_is_read() {
        let folder = Folder::new();
        drop(with_key(&folder).await);
        let path = folder.0.join("catalog.json");
        let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut old = file["contents"].clone();
        old["version"] = UNCHECKED_VERSION.into();
        let (generation, entries) = parse(old.to_string().as_bytes()).unwrap();
        assert_eq!((generation, entries.len()), (4, 3));
        folder.settle().await;
        fs::write(&path, old.to_string()).unwrap();
        drop(folder.open().await);
        let written: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            written["version"], SNAPSHOT_VERSION,
            "it has one from the next start on"
        );
    }

    #[tokio::test]
    async fn a_key_that_was_removed_does_not_come_back_because_another_entry_cannot_be_read() {
        let folder = Folder::new();
        let (store, [films, key]) = with_key(&folder).await;
        let place = entry_key(&films);
        let spoil = move |txn: &mut Txn<'_>| txn.put(place, b"\x01unreadable".to_vec());
        store.engine.index.commit(spoil).await.unwrap();
        assert!(store.remove(&key).await.unwrap());
        drop(store);
        let store = rebuilt(&folder).await;
        assert!(store.find(&key).await.unwrap().is_none());
        let mended = store.find(&films).await.unwrap();
        assert!(mended.is_some(), "it is as it was when it could be read");
    }

    /// What follows a removal that is not in the snapshot, because that could not be written.
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Again,
        Sweep,
        Restart,
    }

    #[tokio::test]
    async fn a_key_whose_removal_could_not_be_written_does_not_come_back() {
        for then in [Then::Again, Then::Sweep, Then::Restart] {
            let folder = Folder::new();
            let (store, [_, key]) = with_key(&folder).await;
            let in_the_way = folder.0.join("catalog.json.tmp");
            fs::create_dir(&in_the_way).unwrap();
            assert!(store.remove(&key).await.is_err(), "{then:?}");
            assert!(store.remove(&key).await.is_err(), "it is not done yet");
            fs::remove_dir(&in_the_way).unwrap();
            match then {
                Then::Again => assert!(!store.remove(&key).await.unwrap()),
                Then::Sweep => {
                    let clock = ClockReading {
                        wall: NOW,
                        monotonic: Duration::ZERO,
                    };
                    store.sweep(clock, 10).await.unwrap();
                }
                Then::Restart => store.close().await.unwrap(),
            }
            drop(store);
            folder.settle().await;
            if matches!(then, Then::Restart) {
                drop(EmbeddedStore::open(folder.options(), NOW).await.unwrap());
                folder.settle().await;
            }
            let store = rebuilt(&folder).await;
            assert!(store.find(&key).await.unwrap().is_none(), "{then:?}");
        }
    }
}
