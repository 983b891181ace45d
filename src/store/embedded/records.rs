//! What lies in the index: the tables, their keys and the form of their records.
//!
//! Owns: one byte of prefix for each table, order-preserving keys, and the encoding of records: a version byte, the object key
//! as raw bytes, then JSON of the rest (a key of 1,024 bytes must fit beside 2,048 bytes of headers in one value).
//! Never does: reach for the index itself; callers pass the bytes on.
//!
//! Invariants: a record reads back as it was written; what cannot be read is [`StoreError::Corrupt`], never a panic.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::tagged;
use crate::model::{
    Bucket, ChunkReceipt, Id, ObjectKey, ObjectMeta, PipelineRef, Timestamp, UploadSession,
    UploadState,
};
use crate::store::{StoreError, WriteCondition};

/// The version byte that begins every record.
const RECORD_VERSION: u8 = 1;

/// bucket, 0, key -> object.
pub(super) const OBJECTS: u8 = b'o';
/// id -> bucket, 0, key.
pub(super) const OBJECT_IDS: u8 = b'i';
/// expiry, id -> nothing.
pub(super) const EXPIRY: u8 = b'x';
/// creation, id -> expiry: the order in which objects are listed, and whether one is live.
pub(super) const CREATED: u8 = b'l';
/// pipeline, creation, id -> expiry: the same of the objects of one pipeline (`by_pipeline`).
pub(super) const PIPELINE_FILES: u8 = b'h';
/// id -> session.
pub(super) const SESSIONS: u8 = b's';
/// abandonment, id -> nothing.
pub(super) const SESSIONS_DUE: u8 = b'd';
/// id, chunk index -> receipt.
pub(super) const RECEIPTS: u8 = b'c';
/// pipeline, id -> nothing: sessions that are not finished.
pub(super) const OPEN_SESSIONS: u8 = b'p';
/// id -> nothing: sessions whose chunks are all here, but whose object is not named yet.
pub(super) const COMPLETING: u8 = b'f';
/// kind, key -> catalog entry.
pub(super) const CATALOG: u8 = b'k';
/// expiry, kind, key -> nothing.
pub(super) const CATALOG_EXPIRY: u8 = b't';
/// id and perhaps a spill number -> nothing: files that nothing names any more.
pub(super) const GARBAGE: u8 = b'g';
/// id, number -> a piece of an object's tags, when they do not fit its record.
pub(super) const TAGS: u8 = b'a';
/// bucket, 0, key, end, id -> nothing: uploads in parts that are not finished.
pub(super) const UPLOADS: u8 = b'u';
/// id, number -> a piece of a session's tags, when they do not fit its record.
pub(super) const SESSION_TAGS: u8 = b'e';
/// application, creation, hash -> expiry: the tokens of an application (`by_application`).
pub(super) const APPLICATION_TOKENS: u8 = b'b';
/// kind, key, number -> a piece of a catalog entry, when it is too long for one value.
pub(super) const ENTRY_PIECES: u8 = b'n';
/// name -> value.
pub(super) const META: u8 = b'm';

/// A session as the index keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// What the seam shows.
    pub(super) session: UploadSession,
    /// The size of every chunk but the last, in bytes, once it is known; never changes then.
    pub(super) stride: Option<u64>,
    /// The largest chunk index received.
    pub(super) last_index: Option<u32>,
    /// No spill of this number or above was ever acknowledged.
    pub(super) next_spill: u32,
    /// The spill that holds the whole object and is to become the main file.
    pub(super) assembled: Option<u32>,
    /// What must be true of the object that has its key when its own is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<WriteCondition>,
    /// How it was when it was full. Absent before that, from records that are older, and once somebody was told that its object has its
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) full: Option<Full>,
    /// How many values hold its tags; none when they are in this record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) tags_apart: u8,
}

/// How it was when all chunks of a session were here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Full {
    /// When that was.
    pub(super) at: Timestamp,
    /// What had its key: the id, and when that was finished.
    pub(super) holder: Option<(Id, Timestamp)>,
    /// Whether it then ended without an object, since its key was given to another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) gave_way: bool,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl SessionRecord {
    /// Whether it ended without an object.
    pub(super) fn gave_way(&self) -> bool {
        self.full.as_ref().is_some_and(|full| full.gave_way)
    }

    /// Whether chunks may still come.
    pub(super) fn is_open(&self) -> bool {
        self.session.state == UploadState::Uploading
    }

    /// Whether it is certain that a higher chunk index follows.
    pub(super) fn is_not_last(&self, index: u32) -> bool {
        self.session.nb_chunks.is_some_and(|n| index + 1 < n)
            || self.last_index.is_some_and(|last| index < last)
    }
}

/// A key of `table`.
pub(super) fn key(table: u8, parts: &[&[u8]]) -> Vec<u8> {
    let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut key = Vec::with_capacity(1 + bytes);
    key.push(table);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// The key of an object by its name.
pub(super) fn object_key(bucket: &Bucket, object: &ObjectKey) -> Vec<u8> {
    let (bucket, object) = (bucket.as_str().as_bytes(), object.as_str().as_bytes());
    key(OBJECTS, &[bucket, &[0], object])
}

/// What the keys of all objects of a bucket begin with.
pub(super) fn bucket_prefix(bucket: &Bucket) -> Vec<u8> {
    key(OBJECTS, &[bucket.as_str().as_bytes(), &[0]])
}

/// The key of something that has an id.
pub(super) fn id_key(table: u8, id: Id) -> Vec<u8> {
    key(table, &[id.as_bytes()])
}

/// The key of something that is due at `at`.
pub(super) fn due_key(table: u8, at: Timestamp, rest: &[u8]) -> Vec<u8> {
    key(table, &[&sortable(at), rest])
}

/// When something is due, and the rest of its key.
pub(super) fn parse_due(key: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (at, rest) = key.get(1..)?.split_at_checked(8)?;
    let at = u64::from_be_bytes(at.try_into().ok()?) ^ (1 << 63);
    Some((Timestamp::from_millis(at.cast_signed()), rest))
}

/// The key and the value of an object in [`CREATED`].
pub(super) fn created_pair(meta: &ObjectMeta) -> (Vec<u8>, Vec<u8>) {
    let key = due_key(CREATED, meta.created_at, meta.id.as_bytes());
    (key, end_of(meta.expires_at))
}

/// The value of an object in [`CREATED`].
pub(super) fn end_of(expires_at: Option<Timestamp>) -> Vec<u8> {
    expires_at.map_or_else(Vec::new, |at| sortable(at).to_vec())
}

/// Whether the object of a value of [`CREATED`] has expired.
pub(super) fn has_expired(value: &[u8], now: Timestamp) -> bool {
    !value.is_empty() && value <= sortable(now).as_slice()
}

/// Where the number of objects is kept, expired ones that were not swept among them.
pub(super) fn count_key() -> Vec<u8> {
    key(META, &[b"objects"])
}

/// Reads the value of [`count_key`].
pub(super) fn parse_count(value: Option<&[u8]>) -> u64 {
    let bytes = value.and_then(|value| value.try_into().ok());
    bytes.map_or(0, u64::from_be_bytes)
}

/// The key of a receipt.
pub(super) fn receipt_key(id: Id, index: u32) -> Vec<u8> {
    key(RECEIPTS, &[id.as_bytes(), &index.to_be_bytes()])
}

/// The key of an open session of a pipeline.
pub(super) fn open_session_key(pipeline: Id, id: Id) -> Vec<u8> {
    key(OPEN_SESSIONS, &[pipeline.as_bytes(), id.as_bytes()])
}

/// The key of a file to remove: the main file, or one spill.
pub(super) fn garbage_key(id: Id, spill: Option<u32>) -> Vec<u8> {
    match spill {
        None => id_key(GARBAGE, id),
        Some(n) => key(GARBAGE, &[id.as_bytes(), &n.to_be_bytes()]),
    }
}

/// Reads back [`garbage_key`].
pub(super) fn parse_garbage(key: &[u8]) -> Option<(Id, Option<u32>)> {
    let (id, rest) = key.get(1..)?.split_at_checked(Id::BYTES)?;
    let id = Id::from_bytes(id.try_into().ok()?);
    match rest {
        [] => Some((id, None)),
        n => Some((id, Some(u32::from_be_bytes(n.try_into().ok()?)))),
    }
}

/// The id at the end of a key.
pub(super) fn trailing_id(key: &[u8]) -> Option<Id> {
    let start = key.len().checked_sub(Id::BYTES)?;
    Some(Id::from_bytes(key.get(start..)?.try_into().ok()?))
}

/// Any record without an object key.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![RECORD_VERSION];
    serde_json::to_writer(&mut bytes, record).map_err(|e| unreadable(&e))?;
    Ok(bytes)
}

/// Reads back [`encode`].
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, json)) => serde_json::from_slice(json).map_err(|e| unreadable(&e)),
        _ => Err(unreadable(&"unknown version")),
    }
}

/// A receipt.
pub(super) fn decode_receipt(bytes: &[u8]) -> Result<ChunkReceipt, StoreError> {
    decode(bytes)
}

/// An object with all that it has, as a label holds it; the index may have to split it (see `tagged`).
pub(super) fn encode_object(meta: &ObjectMeta) -> Result<Vec<u8>, StoreError> {
    let mut meta = meta.clone();
    let keys = take_keys(&mut meta.key, meta.pipeline.as_mut())?;
    with_keys(&keys, &meta)
}

/// Reads back [`encode_object`].
pub(super) fn decode_object(bytes: &[u8]) -> Result<ObjectMeta, StoreError> {
    let (keys, mut meta) = split_keys::<ObjectMeta>(bytes)?;
    put_keys_back(keys, &mut meta.key, meta.pipeline.as_mut())?;
    Ok(meta)
}

/// What a list is sorted and filtered by; the rest of an object's record is passed over, which takes half the time.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    /// The key, which the record holds apart.
    #[serde(skip)]
    pub(super) key: String,
    pub(super) id: Id,
    pub(super) size: u64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) finished_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) pipeline: Option<ListedPipeline>,
    pub(super) job: Option<String>,
}

/// Of an object's pipeline, what a list is filtered by.
#[derive(Debug, Deserialize)]
pub(super) struct ListedPipeline {
    pub(super) id: Id,
}

/// Reads a part of an object's record in the index.
pub(super) fn decode_listed(bytes: &[u8]) -> Result<Listed, StoreError> {
    let (keys, listed) = split_keys::<Listed>(tagged::untagged(bytes))?;
    Ok(Listed {
        key: keys.full,
        ..listed
    })
}

/// A session.
pub(super) fn encode_session(record: &SessionRecord) -> Result<Vec<u8>, StoreError> {
    let mut record = record.clone();
    let upload = &mut record.session.upload;
    let keys = take_keys(&mut upload.key, upload.pipeline.as_mut())?;
    with_keys(&keys, &record)
}

/// Reads back [`encode_session`].
pub(super) fn decode_session(bytes: &[u8]) -> Result<SessionRecord, StoreError> {
    let (keys, mut record) = split_keys::<SessionRecord>(bytes)?;
    let upload = &mut record.session.upload;
    put_keys_back(keys, &mut upload.key, upload.pipeline.as_mut())?;
    Ok(record)
}

/// What stands in the JSON where the key was taken out.
const TAKEN: &str = "-";

/// The full key, and how many bytes at its end are also the key within the pipeline (0: that one is in the JSON).
struct Keys {
    full: String,
    shared: u16,
}

fn take_keys(key: &mut ObjectKey, pipeline: Option<&mut PipelineRef>) -> Result<Keys, StoreError> {
    let full = String::from(std::mem::replace(key, taken()?));
    let mut shared = 0;
    if let Some(pipeline) = pipeline
        && full.ends_with(pipeline.object_key.as_str())
    {
        let length = pipeline.object_key.as_str().len();
        shared = u16::try_from(length).map_err(|e| unreadable(&e))?;
        pipeline.object_key = taken()?;
    }
    Ok(Keys { full, shared })
}

fn put_keys_back(
    keys: Keys,
    key: &mut ObjectKey,
    pipeline: Option<&mut PipelineRef>,
) -> Result<(), StoreError> {
    if let Some(pipeline) = pipeline.filter(|_| keys.shared > 0) {
        let start = keys.full.len().checked_sub(usize::from(keys.shared));
        let tail = start.and_then(|start| keys.full.get(start..));
        let tail = tail.ok_or_else(|| unreadable(&"the key is too short"))?;
        pipeline.object_key = ObjectKey::parse(tail).map_err(|e| unreadable(&e))?;
    }
    *key = ObjectKey::parse(&keys.full).map_err(|e| unreadable(&e))?;
    Ok(())
}

fn with_keys<T: Serialize>(keys: &Keys, record: &T) -> Result<Vec<u8>, StoreError> {
    let length = u16::try_from(keys.full.len()).map_err(|e| unreadable(&e))?;
    let mut bytes = vec![RECORD_VERSION];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&keys.shared.to_be_bytes());
    bytes.extend_from_slice(keys.full.as_bytes());
    serde_json::to_writer(&mut bytes, record).map_err(|e| unreadable(&e))?;
    Ok(bytes)
}

fn split_keys<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Keys, T), StoreError> {
    let Some(([RECORD_VERSION, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else {
        return Err(unreadable(&"unknown version"));
    };
    let length = usize::from(u16::from_be_bytes([*a, *b]));
    let (full, json) = rest
        .split_at_checked(length)
        .ok_or_else(|| unreadable(&"it is cut short"))?;
    let full = String::from_utf8(full.to_vec()).map_err(|e| unreadable(&e))?;
    let shared = u16::from_be_bytes([*c, *d]);
    let record = serde_json::from_slice(json).map_err(|e| unreadable(&e))?;
    Ok((Keys { full, shared }, record))
}

fn taken() -> Result<ObjectKey, StoreError> {
    ObjectKey::parse(TAKEN).map_err(|e| unreadable(&e))
}

/// A time as bytes that sort as it does, also before 1970.
pub(super) fn sortable(at: Timestamp) -> [u8; 8] {
    (at.millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn unreadable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("a record: {error}"))
}
