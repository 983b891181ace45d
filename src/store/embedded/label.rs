//! The label that every completed file carries, so that a lost index can be rebuilt.
//!
//! Owns: its form: a version byte, the CRC64NVME of the rest, and the object's record, whole with all its tags. Never does: say where the label lies
//! (disk.rs does), or trust one: a label whose checksum is wrong is no label.
//!
//! Invariants: of several labels of one file the valid one with the highest record version counts. The version byte says whether the
//! label alone may have been promised to somebody: an object that is written on a condition gets its label before the condition is judged, so
//! only its record makes it one.

use super::disk::{Disk, FileName};
use super::index::MAX_VALUE_BYTES;
use super::records::{decode_object, encode_object};
use super::tagged;
use crate::model::{Crc64, Id, ObjectMeta};
use crate::store::StoreError;

/// The version byte that begins the label of an object that may be acknowledged once the label is durable.
const PROMISED: u8 = 1;
/// The one of an object that is acknowledged only when its record is durable.
const CONDITIONAL: u8 = 2;

/// The label of an object.
pub(super) fn encode(meta: &ObjectMeta) -> Result<Vec<u8>, StoreError> {
    encode_as(PROMISED, meta)
}

/// The label of an object whose condition is still to be judged.
pub(super) fn encode_conditional(meta: &ObjectMeta) -> Result<Vec<u8>, StoreError> {
    encode_as(CONDITIONAL, meta)
}

fn encode_as(version: u8, meta: &ObjectMeta) -> Result<Vec<u8>, StoreError> {
    // What the index could not take may not be durable either: a start would meet it again and again.
    let parts = tagged::split(meta)?;
    let record = match parts.pieces.is_empty() {
        true => parts.record,
        false => encode_object(meta)?,
    };
    let mut label = vec![version];
    label.extend_from_slice(Crc64::of(&record).hex().as_bytes());
    label.extend_from_slice(&record);
    Ok(label)
}

/// What the newest valid label says, and whether it may have been promised by itself; `None` when there is none.
pub(super) fn decode(labels: &[Vec<u8>]) -> Option<(ObjectMeta, bool)> {
    let valid = labels.iter().filter_map(|label| decode_one(label));
    valid.max_by_key(|(meta, _)| meta.version)
}

fn decode_one(label: &[u8]) -> Option<(ObjectMeta, bool)> {
    let (version, rest) = label.split_first()?;
    let (checksum, record) = rest.split_at_checked(16)?;
    let known = [PROMISED, CONDITIONAL].contains(version);
    let sound = known && Crc64::of(record).hex().as_bytes() == checksum;
    let meta = sound.then(|| decode_object(record).ok()).flatten();
    let meta = meta.filter(|meta| record.len() <= MAX_VALUE_BYTES || tagged::split(meta).is_ok());
    Some((meta?, *version == PROMISED))
}

/// Takes the label off a file that will be no object, its bucket being gone: a rebuild of the index names what has one.
pub(super) fn take_off(disk: &Disk, id: Id) -> Result<(), StoreError> {
    let Some(main) = disk.open_to_read(FileName::Main(id))? else {
        return Ok(());
    };
    disk.remove_labels(id, &main)?;
    disk.sync_all(&main)
}
