//! Entries of the catalog as they were read last: every request asks for its key, its bucket and what that is set to, which are few.
//!
//! Owns: [`Known`], the entries of one version of the catalog by their place, those that are not there among them.
//! Never does: read, decode or write; `catalog` does.
//!
//! Invariant: what is given back was in the index after the last change that was answered. For the version is asked for before the entry
//! is read, and the index counts a change after it is applied and before it is answered: what was read beside a change is never taken for
//! what came of it.

use std::collections::HashMap;
use std::sync::Arc;

use super::sync::Mutex;
use crate::store::CatalogEntry;

/// Most bytes of memory that is kept, as they are reckoned here. What does not fit makes room for itself.
const MAX_BYTES: usize = 16 << 20;
/// How many bytes of memory one byte of an entry's JSON takes at most: a list of patterns of one letter each.
const DECODED: usize = 16;
/// What keeping an entry takes besides, in bytes.
const EACH_BYTES: usize = 256;

/// Entries that were read.
#[derive(Default)]
pub(super) struct Known(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    version: u64,
    bytes: usize,
    entries: HashMap<Vec<u8>, Option<Arc<CatalogEntry>>>,
}

impl Known {
    /// What is at a place, if that is known of this version of the catalog.
    pub(super) fn get(&self, version: u64, place: &[u8]) -> Option<Option<CatalogEntry>> {
        let found = {
            let kept = self.0.lock().ok().filter(|kept| kept.version == version)?;
            kept.entries.get(place)?.clone()
        };
        Some(found.map(|entry| CatalogEntry::clone(&entry)))
    }

    /// Keeps what was read at a place, `bytes` long, after this version was asked for.
    pub(super) fn keep(
        &self,
        version: u64,
        place: Vec<u8>,
        (entry, bytes): (Option<CatalogEntry>, usize),
    ) {
        let bytes = bytes * DECODED + place.len() + EACH_BYTES;
        let mut old = Kept::default();
        let Ok(mut kept) = self.0.lock() else {
            return;
        };
        let is_known = version == kept.version && kept.entries.contains_key(&place);
        if version < kept.version || bytes > MAX_BYTES || is_known {
            return;
        }
        if version > kept.version || kept.bytes + bytes > MAX_BYTES {
            std::mem::swap(&mut *kept, &mut old);
            kept.version = version;
        }
        kept.bytes += bytes;
        kept.entries.insert(place, entry.map(Arc::new));
        // Freeing all that was kept takes a while; nobody is to wait for it.
        drop(kept);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::model::{Bucket, BucketConfig, Timestamp};
    use crate::store::embedded::tests::{Folder, NOW};
    use crate::store::{Catalog as _, CatalogKey};

    fn bucket(name: &str) -> CatalogEntry {
        let name = Bucket::parse(name).unwrap();
        CatalogEntry::Bucket(BucketConfig::new(name, Timestamp::from_seconds(1)))
    }

    /// The name of the bucket that is known to be at a place.
    fn name(known: &Known, version: u64, place: &[u8]) -> Option<Option<String>> {
        let entry = known.get(version, place)?;
        Some(entry.map(|entry| match entry {
            CatalogEntry::Bucket(bucket) => bucket.name.as_str().to_owned(),
            other => panic!("{other:?}"),
        }))
    }

    #[test]
    fn what_was_read_is_known_until_the_catalog_changes() {
        let known = Known::default();
        known.keep(1, b"a".to_vec(), (Some(bucket("aaa")), 9));
        known.keep(1, b"b".to_vec(), (None, 0));
        known.keep(1, b"b".to_vec(), (None, 0));
        let each = EACH_BYTES + 1;
        assert_eq!(known.0.lock().unwrap().bytes, 2 * each + 9 * DECODED);
        assert_eq!(name(&known, 1, b"a"), Some(Some("aaa".to_owned())));
        assert_eq!(name(&known, 1, b"b"), Some(None), "it is not there");
        assert_eq!(name(&known, 1, b"c"), None);
        assert_eq!(name(&known, 2, b"a"), None);
        known.keep(2, b"c".to_vec(), (None, 0));
        assert_eq!(name(&known, 1, b"a"), None);
        assert_eq!(name(&known, 2, b"a"), None);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let known = Known::default();
        known.keep(2, b"a".to_vec(), (Some(bucket("new")), 9));
        known.keep(1, b"a".to_vec(), (Some(bucket("old")), 9));
        assert_eq!(name(&known, 2, b"a"), Some(Some("new".to_owned())));
    }

    #[test]
    fn what_is_kept_has_an_end() {
        let known = Known::default();
        known.keep(1, b"large".to_vec(), (None, MAX_BYTES));
        assert_eq!(name(&known, 1, b"large"), None);
        for n in 0..100_000_u32 {
            known.keep(1, n.to_be_bytes().to_vec(), (None, 0));
            let kept = known.0.lock().unwrap();
            assert!(kept.bytes <= MAX_BYTES);
            assert_eq!(kept.bytes, kept.entries.len() * (EACH_BYTES + 4));
        }
        assert_eq!(name(&known, 1, &99_999_u32.to_be_bytes()), Some(None));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_reads_meanwhile_hides_no_change_that_was_answered() {
        let folder = Folder::new();
        let store = folder.open().await;
        let name = Bucket::parse("uploads").unwrap();
        let key = CatalogKey::Bucket(name.clone());
        let over = Arc::new(AtomicBool::new(false));
        let reading = {
            let (store, key, over) = (store.clone(), key.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    store.find(&key).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        };
        for round in 0..100 {
            let mut config = BucketConfig::new(name.clone(), NOW);
            config.public_write = round % 2 == 0;
            let wanted = config.public_write;
            store.insert(CatalogEntry::Bucket(config)).await.unwrap();
            match store.find(&key).await.unwrap() {
                Some(CatalogEntry::Bucket(found)) => assert_eq!(found.public_write, wanted),
                other => panic!("{other:?}"),
            }
        }
        over.store(true, Ordering::SeqCst);
        reading.await.unwrap();
    }
}
