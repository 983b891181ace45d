//! Small objects that are read again and again: their records, decoded, and their bytes.
//!
//! Owns: [`Hot`], at most [`MAX_BYTES`] of them. What is read once only does not drive out what is read often (S3-FIFO, by `quick_cache`).
//! Without it a third of what such a read costs is opening the file, copying its bytes and checking them once more.
//! Never does: look into the index or judge whether an object is live (`objects` does), or read a file (`reader` does).
//!
//! Invariants: an object is known by the whole text of its record, as the index holds it at this moment. Each change of an object makes
//! another record, and its bytes never change; so what is given back is what was acknowledged last. Only bytes that were compared with
//! the record's checksum are kept. Whoever looks here waits for nobody but others who look; so no schedule of tests is needed (`sync`).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::disk::{BLOCK_BYTES, room_of};
use super::tagged;
use crate::model::ObjectMeta;

/// Most bytes of memory that all of them take, as they are reckoned here.
const MAX_BYTES: u64 = 8 << 20;
/// Readers that hold an object of it at a time: ten thousand slow ones would have 650 MB of what was let go meanwhile.
pub(super) const MAX_HOLDERS: usize = 512;
/// Largest object that is kept, in bytes.
pub(super) const MAX_OBJECT_BYTES: usize = 64 << 10;
/// About as many small ones are kept at once; and of half as many more it is remembered that they were read.
const USUAL_COUNT: usize = 1024;
/// Parts of the cache that can be looked into at once; each has its share of [`MAX_BYTES`].
const SHARDS: usize = 4;
/// What one byte of a record takes in memory when it is decoded, at most.
const DECODED: usize = 16;
/// What keeping an object takes besides, in bytes.
const EACH_BYTES: usize = 1 << 10;

// Such an object is read in one piece, into one block.
const _: () = assert!(MAX_OBJECT_BYTES <= BLOCK_BYTES);

/// An object that was read whole.
#[derive(Clone, Debug)]
pub(super) struct HotObject {
    /// Its record as the index held it.
    record: Arc<[u8]>,
    /// The same, decoded.
    pub(super) meta: Arc<ObjectMeta>,
    /// All of its bytes.
    pub(super) bytes: Bytes,
}

/// The objects that are kept.
pub(super) struct Hot {
    objects: Cache<Vec<u8>, HotObject, Weight>,
    /// For those who hold an object that is here: what this lets go of stays for them.
    places: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Vec<u8>, HotObject> for Weight {
    fn weight(&self, name: &Vec<u8>, object: &HotObject) -> u64 {
        let bytes = room_of(object.bytes.len());
        (bytes + object.record.len() * DECODED + name.len() + EACH_BYTES) as u64
    }
}

impl Hot {
    /// The object that has this record now, if it is kept.
    pub(super) fn get(&self, name: &[u8], record: &[u8]) -> Option<HotObject> {
        let found = self.objects.get(name)?;
        (*found.record == *record).then_some(found)
    }

    /// A place among those who hold an object of this; `None` when [`MAX_HOLDERS`] do.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Keeps an object that was read whole and compared with its checksum; what had its name before goes. One whose tags lie apart from
    /// its record would take more memory than its record tells.
    pub(super) fn keep(&self, name: Vec<u8>, record: &[u8], meta: Arc<ObjectMeta>, bytes: Bytes) {
        if bytes.len() > MAX_OBJECT_BYTES || tagged::is_apart(record) {
            return;
        }
        let record = record.into();
        let object = HotObject {
            record,
            meta,
            bytes,
        };
        self.objects.insert(name, object);
    }
}

impl Default for Hot {
    fn default() -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(USUAL_COUNT)
            .weight_capacity(MAX_BYTES)
            .build();
        let plain = |_| Cache::with_weighter(USUAL_COUNT, MAX_BYTES, Weight);
        let objects = options.map_or_else(plain, |options| {
            let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
            Cache::with_options(options, Weight, hasher, lifecycle)
        });
        let places = Arc::new(Semaphore::new(MAX_HOLDERS));
        Self { objects, places }
    }
}

impl fmt::Debug for Hot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Crc64, ETag, Md5};
    use crate::store::embedded::names::object_of;
    use crate::store::embedded::tests::{NOW, upload};

    fn kept(hot: &Hot, name: &str, record: &[u8]) -> Option<Bytes> {
        Some(hot.get(name.as_bytes(), record)?.bytes)
    }

    fn keep(hot: &Hot, name: &str, record: &[u8], length: usize) {
        let bytes = vec![7; length];
        let digests = (ETag::of_whole(Md5::of(&bytes)), None, Crc64::of(&bytes));
        let meta = object_of(&upload(name), length as u64, digests, NOW);
        hot.keep(name.into(), record, Arc::new(meta), bytes.into());
    }

    #[test]
    fn an_object_is_known_by_its_whole_record_only() {
        let hot = Hot::default();
        keep(&hot, "a", b"version 1", 9);
        assert_eq!(kept(&hot, "a", b"version 1").unwrap(), vec![7; 9]);
        assert_eq!(kept(&hot, "a", b"version 2"), None);
        assert_eq!(kept(&hot, "b", b"version 1"), None);
        keep(&hot, "a", b"version 2", 3);
        assert_eq!(kept(&hot, "a", b"version 1"), None);
        assert_eq!(kept(&hot, "a", b"version 2").unwrap(), vec![7; 3]);
    }

    #[test]
    fn the_largest_is_kept_and_one_byte_more_is_not() {
        let hot = Hot::default();
        keep(&hot, "a", b"", MAX_OBJECT_BYTES);
        keep(&hot, "b", b"", MAX_OBJECT_BYTES + 1);
        assert!(kept(&hot, "a", b"").is_some());
        assert!(kept(&hot, "b", b"").is_none());
    }

    #[test]
    fn all_together_have_an_end_and_a_long_record_counts() {
        let hot = Hot::default();
        let most = MAX_BYTES as usize / MAX_OBJECT_BYTES;
        for length in [MAX_OBJECT_BYTES, MAX_OBJECT_BYTES / 2 + 1] {
            for n in 0..10_000 {
                keep(&hot, &format!("{n}"), &[1; 400], length);
            }
            let kept = hot.objects.len();
            assert!(kept > most / 2 && kept < most, "{kept} of {length} bytes");
        }
        let length = MAX_BYTES as usize / SHARDS / DECODED;
        keep(&hot, "long", &vec![1; length], 1);
        assert_eq!(kept(&hot, "long", &vec![1; length]), None);
    }

    #[test]
    fn an_object_whose_tags_lie_apart_is_not_kept() {
        let hot = Hot::default();
        let mut record = vec![2; 100];
        assert!(tagged::is_apart(&record));
        keep(&hot, "a", &record, 1);
        assert_eq!(kept(&hot, "a", &record), None);
        record[0] = 1;
        keep(&hot, "a", &record, 1);
        assert!(kept(&hot, "a", &record).is_some());
    }

    #[test]
    fn what_is_read_often_stays_when_many_others_are_read_once() {
        let hot = Hot::default();
        for n in 0..1_000 {
            keep(&hot, &format!("before {n}"), b"", MAX_OBJECT_BYTES);
        }
        let mut misses = 0;
        for n in 0..10_000 {
            if kept(&hot, "often", b"").is_none() {
                misses += 1;
                keep(&hot, "often", b"", MAX_OBJECT_BYTES);
            }
            keep(&hot, &format!("{n}"), b"", MAX_OBJECT_BYTES);
        }
        assert!(misses <= 3, "{misses} misses");
    }
}
