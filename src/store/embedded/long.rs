//! Catalog entries that are longer than one value of the index.
//!
//! Owns: how such an entry is cut into values of [`MAX_VALUE_BYTES`] in a table of their own, and put together again. Its place then
//! holds another version byte, the number of pieces and their CRC64NVME, by which pieces of an entry that was replaced between two looks
//! are found out.
//! Never does: reach for the index outside a job; callers pass a look-up in.
//!
//! Invariant: an entry reads back as it was written, or not at all; what is replaced or removed leaves no piece behind.

use super::index::{MAX_VALUE_BYTES, Txn};
use super::records::{self, ENTRY_PIECES};
use crate::model::Crc64;
use crate::store::{MAX_ENTRY_BYTES, StoreError};

/// The version byte of an entry that lies in pieces. Any other is the entry's own.
const PIECES_VERSION: u8 = 2;
/// Most pieces of one entry.
const MAX_PIECES: usize = MAX_ENTRY_BYTES / MAX_VALUE_BYTES;

// Their number fits its byte.
const _: () = assert!(MAX_PIECES <= u8::MAX as usize);

/// Writes an entry where nothing is, or what [`forget`] has been told of.
///
/// # Errors
/// [`StoreError::RecordTooLarge`] above [`MAX_ENTRY_BYTES`].
pub(super) fn put(txn: &mut Txn<'_>, place: Vec<u8>, entry: Vec<u8>) -> Result<(), StoreError> {
    if entry.len() <= MAX_VALUE_BYTES {
        return txn.put(place, entry);
    }
    let count = entry.len().div_ceil(MAX_VALUE_BYTES);
    if count > MAX_PIECES {
        return Err(StoreError::RecordTooLarge);
    }
    let mut head = vec![PIECES_VERSION, u8::try_from(count).unwrap_or(u8::MAX)];
    head.extend_from_slice(&Crc64::of(&entry).to_bytes());
    for (number, piece) in (0..).zip(entry.chunks(MAX_VALUE_BYTES)) {
        txn.put(piece_key(&place, number), piece.to_vec())?;
    }
    txn.put(place, head)
}

/// Removes the pieces of an entry that is about to be replaced or removed.
pub(super) fn forget(txn: &mut Txn<'_>, place: &[u8], value: &[u8]) {
    if let Some((count, _)) = head_of(value) {
        (0..count).for_each(|number| txn.delete(piece_key(place, number)));
    }
}

/// Reads back [`put`]; `look_up` looks a key up. `None` when it was replaced between the looks.
pub(super) fn join(
    place: &[u8],
    value: Vec<u8>,
    look_up: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((count, checksum)) = head_of(&value) else {
        return Ok(Some(value));
    };
    let mut entry = Vec::new();
    for number in 0..count {
        entry.extend(look_up(&piece_key(place, number))?.unwrap_or_default());
    }
    Ok(Some(entry).filter(|entry| Crc64::of(entry) == checksum))
}

fn piece_key(place: &[u8], number: u8) -> Vec<u8> {
    let name = place.get(1..).unwrap_or_default();
    records::key(ENTRY_PIECES, &[name, &[number]])
}

/// Whether a value only says where the pieces of an entry are.
pub(super) fn is_head(value: &[u8]) -> bool {
    head_of(value).is_some()
}

/// The number of pieces, and their checksum.
fn head_of(value: &[u8]) -> Option<(u8, Crc64)> {
    match value.split_first_chunk::<10>() {
        Some(([PIECES_VERSION, count, checksum @ ..], [])) => {
            Some((*count, Crc64::from_bytes(*checksum)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::{Bucket, BucketConfig, BucketSetting, CorsRule, SettingKind, SettingValue};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{Folder, NOW};
    use crate::store::{Catalog as _, CatalogEntry, CatalogKey};

    fn rules(count: usize, origin: &str) -> CatalogEntry {
        let rule = CorsRule {
            id: String::new(),
            origins: vec![origin.to_owned()],
            methods: vec!["GET".to_owned()],
            headers: Vec::new(),
            expose: Vec::new(),
            max_age: None,
        };
        CatalogEntry::Setting(BucketSetting {
            bucket: Bucket::parse("films").unwrap(),
            value: SettingValue::Cors(vec![rule; count].into()),
        })
    }

    async fn origins(store: &EmbeddedStore) -> Option<Vec<String>> {
        let key = CatalogKey::Setting(Bucket::parse("films").unwrap(), SettingKind::Cors);
        match store.find(&key).await.unwrap()? {
            CatalogEntry::Setting(BucketSetting {
                value: SettingValue::Cors(rules),
                ..
            }) => Some(rules.iter().flat_map(|rule| rule.origins.clone()).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn pieces(store: &EmbeddedStore) -> usize {
        let pieces = store.engine.index.prefix(&[ENTRY_PIECES], 1000);
        pieces.unwrap().len()
    }

    async fn with_bucket(folder: &Folder) -> EmbeddedStore {
        let store = folder.open().await;
        let bucket = CatalogEntry::Bucket(BucketConfig {
            name: Bucket::parse("films").unwrap(),
            created_at: NOW,
            public_write: false,
        });
        store.insert(bucket).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_long_entry_is_replaced_and_removed_without_a_trace() {
        let folder = Folder::new();
        let store = with_bucket(&folder).await;
        for (count, origin) in [(100, "https://a"), (1, "https://b"), (99, "https://c")] {
            store.insert(rules(count, origin)).await.unwrap();
            assert_eq!(origins(&store).await, Some(vec![origin.to_owned(); count]));
            assert_eq!(pieces(&store) > 0, count > 1, "{count}");
        }
        drop(store);
        let store = folder.open().await;
        assert_eq!(origins(&store).await.unwrap().len(), 99);
        drop(store);
        let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
        assert_eq!(origins(&store).await.unwrap().len(), 99);
        let bucket = CatalogKey::Bucket(Bucket::parse("films").unwrap());
        assert!(store.remove(&bucket).await.unwrap());
        assert_eq!((origins(&store).await, pieces(&store)), (None, 0));
    }

    #[tokio::test]
    async fn what_is_too_long_or_of_no_bucket_is_refused_and_changes_nothing() {
        let folder = Folder::new();
        let store = folder.open().await;
        let refused = store.insert(rules(1, "https://a")).await;
        assert!(matches!(refused, Err(StoreError::NoSuchBucket)));
        drop(store);
        let store = with_bucket(&folder).await;
        store.insert(rules(100, "https://a")).await.unwrap();
        let before = pieces(&store);
        let refused = store.insert(rules(10_000, "https://b")).await;
        assert!(matches!(refused, Err(StoreError::RecordTooLarge)));
        assert_eq!(pieces(&store), before);
        assert_eq!(origins(&store).await.unwrap()[0], "https://a");
    }

    #[test]
    fn pieces_of_another_entry_are_never_taken_for_its_own() {
        let mut head = vec![PIECES_VERSION, 1];
        head.extend_from_slice(&Crc64::of(b"mine").to_bytes());
        let looks = Cell::new(0);
        for (piece, whole) in [(None, false), (Some("other"), false), (Some("mine"), true)] {
            let joined = join(b"kx", head.clone(), |_| {
                looks.set(looks.get() + 1);
                Ok(piece.map(|piece| piece.as_bytes().to_vec()))
            });
            assert_eq!(joined.unwrap().is_some(), whole);
        }
        assert_eq!(looks.get(), 3);
    }
}
