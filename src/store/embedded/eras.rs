//! When the last upload began, and when a bucket was removed: which of two buckets of one name came later.
//!
//! Owns: two moments in the index, the latest at which a session began, and what that was when a bucket was removed last.
//! Never does: judge in which bucket an upload began; `catalog` compares it with the bucket that is there.
//!
//! Invariant: a bucket that is made is later than each bucket that was removed, and than all sessions that had begun by then. By the clock
//! alone it would be so only until somebody sets that back.
//!
//! What a clock that ran ahead has noted stays: a bucket that is made after a removal is dated ahead then, and so is what begins in it. These
//! are dates that are shown, and from which the days of a rule for unfinished uploads count; no object expires by them. To let go of such a
//! mark, sessions would have to say in which bucket they began otherwise than by a date. A rebuild of the index forgets it.

use std::time::Duration;

use super::index::Txn;
use super::records::{self, META};
use crate::model::{BucketConfig, Timestamp};
use crate::store::StoreError;

/// A session begins.
pub(super) fn note_beginning(txn: &mut Txn<'_>, at: Timestamp) -> Result<(), StoreError> {
    raise(txn, begun_key(), at)
}

/// A bucket is removed.
pub(super) fn note_removal(txn: &mut Txn<'_>, bucket: &BucketConfig) -> Result<(), StoreError> {
    let begun = moment(txn, &begun_key())?;
    let last = begun.map_or(bucket.created_at, |begun| begun.max(bucket.created_at));
    raise(txn, removed_key(), last)
}

/// The bucket as it is made, not before its time.
pub(super) fn made(txn: &Txn<'_>, bucket: &BucketConfig) -> Result<BucketConfig, StoreError> {
    let mut bucket = bucket.clone();
    if let Some(removed) = moment(txn, &removed_key())? {
        let next = removed.plus(Duration::from_millis(1));
        bucket.created_at = bucket.created_at.max(next);
    }
    Ok(bucket)
}

fn raise(txn: &mut Txn<'_>, key: Vec<u8>, at: Timestamp) -> Result<(), StoreError> {
    match moment(txn, &key)? {
        Some(last) if at <= last => Ok(()),
        _ => txn.put(key, records::encode(&at)?),
    }
}

fn moment(txn: &Txn<'_>, key: &[u8]) -> Result<Option<Timestamp>, StoreError> {
    let moment = txn.get(key)?;
    moment.as_deref().map(records::decode).transpose()
}

fn begun_key() -> Vec<u8> {
    records::key(META, &[b"last beginning"])
}

fn removed_key() -> Vec<u8> {
    records::key(META, &[b"last beginning before a removal"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bucket, NewUpload};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{Folder, NOW, upload};
    use crate::store::{Catalog as _, CatalogEntry, ObjectStore as _};

    fn seconds(later: i64) -> Timestamp {
        Timestamp::from_seconds(NOW.seconds() + later)
    }

    async fn add(store: &EmbeddedStore, bucket: &Bucket, at: Timestamp) -> Timestamp {
        let entry = CatalogEntry::Bucket(BucketConfig::new(bucket.clone(), at));
        let key = entry.key();
        store.insert(entry).await.unwrap();
        match store.find(&key).await.unwrap() {
            Some(CatalogEntry::Bucket(bucket)) => bucket.created_at,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_session_stays_out_of_a_bucket_that_was_made_after_the_clock_was_set_back() {
        let folder = Folder::new();
        let store = folder.open().await;
        let bucket = Bucket::parse("films").unwrap();
        assert_eq!(add(&store, &bucket, NOW).await, NOW);
        let new = NewUpload {
            bucket: bucket.clone(),
            created_at: seconds(60),
            ..upload("a")
        };
        let id = new.id;
        store.create_upload(new).await.unwrap();
        assert!(store.remove_bucket(&bucket, seconds(60)).await.unwrap());
        let made = add(&store, &bucket, seconds(30)).await;
        assert!(made > seconds(60), "{made}");
        let gone = store.upload(id).await;
        assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
        let other = Bucket::parse("other").unwrap();
        assert_eq!(add(&store, &other, seconds(90)).await, seconds(90));
    }
}
