//! The record of an object as the index holds it: in one value, or with its tags and parts apart when it would be too large for one.
//!
//! Owns: the split of a record, and how it is put together again. Key, headers and everything else an object has fit one value of
//! [`MAX_VALUE_BYTES`]; ten tags of full length do not, nor do parts of many sizes. They are then cut into at most [`MAX_PIECES`] values
//! in a table of their own, and the record begins with another version byte, their number and their CRC64NVME, by which those that
//! belong to another record under the same id are found out. The tags of a session are cut likewise, once and for all.
//! Never does: reach for the index; callers pass a look-up in. A label is never split: it holds the whole record.
//!
//! Invariants: an object reads back as it was written, or not at all; a record without its tags is never taken for one that has none.

use super::index::MAX_VALUE_BYTES;
use super::records::{self, SESSION_TAGS, SessionRecord, TAGS};
use crate::model::{Crc64, Id, ObjectMeta, ObjectParts, Tags};
use crate::store::StoreError;

/// The version byte of a record whose tags lie apart. Any other than this and the next is the record's own.
const APART_VERSION: u8 = 2;
/// The version byte of a record whose tags and parts lie apart.
const PARTS_APART_VERSION: u8 = 3;
/// The version byte, the number of pieces, the checksum.
const HEAD_BYTES: usize = 1 + 1 + 8;
/// Most values that the tags and parts of one object take.
pub(super) const MAX_PIECES: u8 = 5;
/// Bytes by which the record of a session may grow while it is one.
const GROWTH_BYTES: usize = 512;

// The largest tags fit their pieces, with the largest parts beside them.
const _: () = assert!(
    Tags::MAX_JSON_BYTES + ObjectParts::MAX_JSON_BYTES + "[,]".len()
        <= MAX_PIECES as usize * MAX_VALUE_BYTES
);

/// What the index is to hold of an object.
pub(super) struct Parts {
    /// The value of the object's key.
    pub(super) record: Vec<u8>,
    /// The values of [`piece_key`], from 0; none when the tags are in the record.
    pub(super) pieces: Vec<Vec<u8>>,
}

/// Makes an object fit the index.
///
/// # Errors
/// [`StoreError::RecordTooLarge`] when it does not even without its tags.
pub(super) fn split(meta: &ObjectMeta) -> Result<Parts, StoreError> {
    let record = records::encode_object(meta)?;
    if record.len() <= MAX_VALUE_BYTES {
        let pieces = Vec::new();
        return Ok(Parts { record, pieces });
    }
    let tags = &meta.attributes.tags;
    let (version, apart) = match &meta.parts {
        None => (APART_VERSION, serde_json::to_vec(tags)),
        Some(parts) => (PARTS_APART_VERSION, serde_json::to_vec(&(tags, parts))),
    };
    let apart = apart.map_err(|e| unreadable(&e))?;
    let pieces = cut(&apart);
    let count = u8::try_from(pieces.len()).unwrap_or(u8::MAX);
    let mut rest = meta.clone();
    (rest.attributes.tags, rest.parts) = (Tags::default(), None);
    let mut record = vec![version, count];
    record.extend_from_slice(&Crc64::of(&apart).to_bytes());
    record.extend_from_slice(&records::encode_object(&rest)?);
    if record.len() > MAX_VALUE_BYTES || count > MAX_PIECES {
        return Err(StoreError::RecordTooLarge);
    }
    Ok(Parts { record, pieces })
}

/// Reads back [`split`]; `piece` looks a key up. `None` when the tags are not those of the record: it was replaced between the looks.
pub(super) fn join(
    record: &[u8],
    piece: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<ObjectMeta>, StoreError> {
    let Some((head, untagged)) = head_of(record) else {
        return records::decode_object(record).map(Some);
    };
    let [version, count, checksum @ ..] = *head;
    let mut meta = records::decode_object(untagged)?;
    let mut apart = Vec::new();
    for number in 0..count.min(MAX_PIECES) {
        apart.extend(piece(&piece_key(meta.id, number))?.unwrap_or_default());
    }
    if Crc64::of(&apart) != Crc64::from_bytes(checksum) {
        return Ok(None);
    }
    if version == APART_VERSION {
        meta.attributes.tags = serde_json::from_slice(&apart).map_err(|e| unreadable(&e))?;
    } else {
        let both = serde_json::from_slice(&apart).map_err(|e| unreadable(&e))?;
        (meta.attributes.tags, meta.parts) = both;
    }
    Ok(Some(meta))
}

/// Whether a record is not all that is known of its object.
pub(super) fn is_apart(record: &[u8]) -> bool {
    head_of(record).is_some()
}

/// Takes the tags out of a session that is about to be recorded, when they would not fit; the values of [`session_piece_key`], from 0.
///
/// # Errors
/// [`StoreError::RecordTooLarge`] when it does not fit even then, as large as it may become.
pub(super) fn take_out(record: &mut SessionRecord) -> Result<Vec<Vec<u8>>, StoreError> {
    let fits = |record: &SessionRecord| {
        let length = records::encode_session(record)?.len();
        Ok::<_, StoreError>(length + GROWTH_BYTES <= MAX_VALUE_BYTES)
    };
    let tags = &mut record.session.upload.attributes.tags;
    let has_none = tags.is_empty();
    match fits(record)? {
        true => return Ok(Vec::new()),
        false if has_none => return Err(StoreError::RecordTooLarge),
        false => {}
    }
    let tags = std::mem::take(&mut record.session.upload.attributes.tags);
    let pieces = cut(&serde_json::to_vec(&tags).map_err(|e| unreadable(&e))?);
    record.tags_apart = u8::try_from(pieces.len()).unwrap_or(u8::MAX);
    match fits(record)? {
        true => Ok(pieces),
        false => Err(StoreError::RecordTooLarge),
    }
}

/// Puts the tags of a session back that [`take_out`] took.
pub(super) fn put_back(
    record: &mut SessionRecord,
    piece: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<(), StoreError> {
    if record.tags_apart == 0 {
        return Ok(());
    }
    let upload = &mut record.session.upload;
    let mut tags = Vec::new();
    for number in 0..record.tags_apart {
        tags.extend(piece(&session_piece_key(upload.id, number))?.unwrap_or_default());
    }
    upload.attributes.tags = serde_json::from_slice(&tags).map_err(|e| unreadable(&e))?;
    Ok(())
}

/// The key of one piece of a session's tags.
pub(super) fn session_piece_key(id: Id, number: u8) -> Vec<u8> {
    records::key(SESSION_TAGS, &[id.as_bytes(), &[number]])
}

fn cut(bytes: &[u8]) -> Vec<Vec<u8>> {
    let pieces = bytes.chunks(MAX_VALUE_BYTES);
    pieces.map(<[u8]>::to_vec).collect()
}

/// The part of a record that is there whether tags and parts are in it or apart.
pub(super) fn untagged(record: &[u8]) -> &[u8] {
    head_of(record).map_or(record, |(_, untagged)| untagged)
}

/// The key of one piece of an object's tags.
pub(super) fn piece_key(id: Id, number: u8) -> Vec<u8> {
    records::key(TAGS, &[id.as_bytes(), &[number]])
}

/// What stands in front of a record whose tags lie apart.
fn head_of(record: &[u8]) -> Option<(&[u8; HEAD_BYTES], &[u8])> {
    let (head, untagged) = record.split_first_chunk::<HEAD_BYTES>()?;
    matches!(head, [APART_VERSION | PARTS_APART_VERSION, ..]).then_some((head, untagged))
}

fn unreadable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("the tags of an object: {error}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;

    use super::*;
    use crate::model::{NewUpload, ObjectKey};
    use crate::store::embedded::index::Txn;
    use crate::store::embedded::tests::{Folder, NOW, send, upload};
    use crate::store::embedded::{EmbeddedStore, label, names};
    use crate::store::{ClockReading, Expected, ObjectChange, ObjectName, ObjectStore as _};

    /// What the largest tags take without parts beside them.
    const LARGEST_PIECES: usize = Tags::MAX_JSON_BYTES.div_ceil(MAX_VALUE_BYTES);

    /// Ten tags of full length, all different.
    fn largest(letter: char) -> Tags {
        let text = |length| letter.to_string().repeat(length);
        let tag = |n: usize| (format!("{n}{}", text(127)), text(256));
        Tags::new((0..10).map(tag).collect()).unwrap()
    }

    fn tagged(key: &str, tags: Tags) -> NewUpload {
        let mut new = upload(key);
        new.attributes.tags = tags;
        new
    }

    async fn post(store: &EmbeddedStore, new: NewUpload) -> ObjectMeta {
        let mut writer = store.write_object(new).await.unwrap();
        writer.write(Bytes::from_static(b"bytes")).await.unwrap();
        let committed = writer.commit(Expected::default(), NOW).await.unwrap();
        committed.object.unwrap()
    }

    fn pieces(store: &EmbeddedStore) -> usize {
        store.engine.index.prefix(&[TAGS], 100).unwrap().len()
    }

    async fn found(store: &EmbeddedStore, key: &str) -> Option<ObjectMeta> {
        let new = upload(key);
        let name = ObjectName::Key(new.bucket, new.key);
        store.object(&name, NOW).await.ok()
    }

    #[tokio::test]
    async fn few_tags_lie_in_the_record_and_many_apart_and_go_with_their_object() {
        let folder = Folder::new();
        let store = folder.open().await;
        let few = Tags::new(vec![("a".to_owned(), "1".to_owned())]).unwrap();
        post(&store, tagged("few", few.clone())).await;
        assert_eq!(pieces(&store), 0);
        let many = post(&store, tagged("many", largest('\u{20000}'))).await;
        assert_eq!(pieces(&store), LARGEST_PIECES);
        assert_eq!(found(&store, "many").await.as_ref(), Some(&many));
        assert_eq!(found(&store, "few").await.unwrap().attributes.tags, few);
        post(&store, tagged("many", largest('a'))).await;
        assert_eq!(pieces(&store), 1, "of the new object only");
        let name = ObjectName::Id(found(&store, "many").await.unwrap().id);
        store.delete_object(&name, NOW).await.unwrap();
        assert_eq!(pieces(&store), 0);
        let mut brief = tagged("brief", largest('b'));
        brief.expires_at = Some(NOW);
        post(&store, brief).await;
        let (wall, monotonic) = (NOW, std::time::Duration::ZERO);
        let clock = ClockReading { wall, monotonic };
        assert_eq!(store.sweep(clock, 10).await.unwrap().objects, 1);
        assert_eq!(pieces(&store), 0);
    }

    #[tokio::test]
    async fn an_object_of_one_chunk_has_the_tags_that_lie_apart_from_its_session() {
        let folder = Folder::new();
        let store = folder.open().await;
        let new = tagged("chunk", largest('a'));
        let id = new.id;
        store.create_upload(new).await.unwrap();
        assert!(store.engine.session(id).unwrap().tags_apart > 0);
        send(&store, id, (0, Some(1)), b"all").await.unwrap();
        let found = found(&store, "chunk").await.unwrap();
        assert_eq!(found.attributes.tags, largest('a'));
    }

    #[tokio::test]
    async fn tags_survive_a_change_a_crash_and_the_loss_of_the_index() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, tagged("kept", largest('\u{20000}'))).await;
        let name = ObjectName::Id(meta.id);
        let change = ObjectChange::ExpiresAt(Some(NOW.plus(std::time::Duration::from_secs(60))));
        let changed = store.change_object(&name, change, NOW).await.unwrap();
        assert_eq!(changed.attributes, meta.attributes);
        drop(store);
        let store = folder.open().await;
        assert_eq!(found(&store, "kept").await.as_ref(), Some(&changed));
        drop(store);
        let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
        assert_eq!(found(&store, "kept").await, Some(changed));
        assert_eq!(pieces(&store), LARGEST_PIECES);
    }

    #[tokio::test]
    async fn parts_of_many_sizes_lie_apart_with_the_tags_and_go_with_their_object() {
        let folder = Folder::new();
        let store = folder.open().await;
        let mut new = tagged("parts", largest('\u{20000}'));
        new.key = ObjectKey::parse(&"k".repeat(1024)).unwrap();
        assert!(new.headers.set("x-amz-meta-a", &"v".repeat(2000)));
        let mut meta = post(&store, new).await;
        let sizes = (0..ObjectParts::MAX_RUNS as u64).map(|n| (5 << 40) - n);
        meta.parts = Some(ObjectParts::of(sizes, None));
        let (parts, known) = (split(&meta).unwrap(), meta.clone());
        assert_eq!(parts.pieces.len(), usize::from(MAX_PIECES));
        let number = |key: &[u8]| key.last().map_or(0, |n| usize::from(*n));
        let joined = join(&parts.record, |key| {
            Ok(parts.pieces.get(number(key)).cloned())
        });
        assert_eq!(joined.unwrap().as_ref(), Some(&meta));
        let label = label::encode(&meta).unwrap();
        assert_eq!(label::decode(&[label]), Some((meta.clone(), true)));
        let rename = move |txn: &mut Txn<'_>| names::put_object(txn, &known);
        store.engine.index.commit(rename).await.unwrap();
        assert_eq!(pieces(&store), usize::from(MAX_PIECES));
        let name = ObjectName::Id(meta.id);
        assert_eq!(store.object(&name, NOW).await.unwrap(), meta);
        store.delete_object(&name, NOW).await.unwrap();
        assert_eq!(pieces(&store), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_even_without_its_tags_is_refused_before_it_is_labelled() {
        let folder = Folder::new();
        let store = folder.open().await;
        let mut meta = post(&store, tagged("a", largest('a'))).await;
        meta.job = Some("x".repeat(MAX_VALUE_BYTES));
        assert!(matches!(split(&meta), Err(StoreError::RecordTooLarge)));
        assert!(matches!(
            label::encode(&meta),
            Err(StoreError::RecordTooLarge)
        ));
    }

    #[tokio::test]
    async fn tags_of_another_record_are_never_taken_for_an_objects_own() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, tagged("a", largest('a'))).await;
        let parts = split(&meta).unwrap();
        let other = serde_json::to_vec(&largest('b')).unwrap();
        let looks = Cell::new(0);
        for piece in [None, Some(Vec::new()), Some(other)] {
            let joined = join(&parts.record, |_| {
                looks.set(looks.get() + 1);
                Ok(piece.clone())
            });
            assert_eq!(joined.unwrap(), None);
        }
        assert_eq!(looks.get(), 3);
        let whole = join(&parts.record, |_| Ok(parts.pieces.first().cloned()));
        assert_eq!(whole.unwrap(), Some(meta));
    }

    #[test]
    fn a_record_from_before_there_were_attributes_has_none_of_them() {
        let json = r#"{"id":"598358fe6baa605b1e33754e","bucket":"uploads","key":"-","size":0,
            "etag":"d41d8cd98f00b204e9800998ecf8427e","md5":"d41d8cd98f00b204e9800998ecf8427e","crc64":"0000000000000000",
            "headers":[],"created_at":1,"updated_at":1,"finished_at":1,"expires_at":null,"pipeline":null,"job":null,
            "application":null,"version":1}"#;
        let record = [b"\x01\x00\x01\x00\x00k".as_slice(), json.as_bytes()].concat();
        let meta = join(&record, |_| panic!("it has no pieces"))
            .unwrap()
            .unwrap();
        assert_eq!(meta.key.as_str(), "k");
        assert!(meta.attributes.is_default());
        let again = split(&meta).unwrap();
        assert!(again.pieces.is_empty() && !again.record.windows(10).any(|w| w == b"attributes"));
    }
}
