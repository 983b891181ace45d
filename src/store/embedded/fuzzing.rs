//! What the fuzz target `index` tries on the index's keys and records. Built by the fuzz targets only (`--cfg fuzzing`).
//!
//! Owns: the laws: any bytes are read or refused, what was read writes and reads back the same, and keys of time sort as
//! time does.
//! Never does: I/O, or anything in the shipped program.

#![expect(clippy::expect_used, reason = "a fuzz target fails loudly")]

use super::{label, records, tagged};
use crate::model::{Id, Timestamp};

/// Tries every law on `data`.
///
/// # Panics
/// When a law is broken.
pub fn try_laws(data: &[u8]) {
    let _ = label::decode(&[data.to_vec()]);
    let _ = records::decode_receipt(data);
    let _ = records::trailing_id(data);
    if let Ok(meta) = records::decode_object(data) {
        let again = records::encode_object(&meta).expect("an object that was read can be written");
        assert!(records::decode_object(&again).is_ok_and(|read| read == meta));
    }
    if let Ok(meta) = records::decode_object(data)
        && let Ok(parts) = tagged::split(&meta)
    {
        let number = |key: &[u8]| key.last().map_or(0, |n| usize::from(*n));
        let piece = |key: &[u8]| Ok(parts.pieces.get(number(key)).cloned());
        let joined = tagged::join(&parts.record, piece);
        assert_eq!(
            joined.expect("what was split is joined").as_ref(),
            Some(&meta)
        );
        let label = label::encode(&meta).expect("what the index takes can be a label");
        assert_eq!(label::decode(&[label]), Some((meta, true)));
    }
    let _ = tagged::join(data, |_| Ok(Some(data.to_vec())));
    if let Ok(session) = records::decode_session(data) {
        let again =
            records::encode_session(&session).expect("a session that was read can be written");
        assert!(records::decode_session(&again).is_ok_and(|read| read == session));
    }
    if let Some((id, spill)) = records::parse_garbage(data) {
        let key = records::garbage_key(id, spill);
        assert_eq!(records::parse_garbage(&key), Some((id, spill)));
        assert_eq!(key.get(1..), data.get(1..));
    }
    keys_of_time_sort_as_time(data);
}

fn keys_of_time_sort_as_time(data: &[u8]) {
    let (times, rest) = data.as_chunks::<8>();
    let times: Vec<_> = times
        .iter()
        .map(|bytes| Timestamp::from_millis(i64::from_be_bytes(*bytes)))
        .collect();
    let id = Id::from_bytes([7; Id::BYTES]);
    for pair in times.windows(2) {
        let keys = [pair[0], pair[1]].map(|at| records::due_key(records::EXPIRY, at, rest));
        assert_eq!(keys[0].cmp(&keys[1]), pair[0].cmp(&pair[1]));
        assert_eq!(records::parse_due(&keys[0]), Some((pair[0], rest)));
        let due = records::due_key(records::EXPIRY, pair[0], id.as_bytes());
        assert_eq!(records::trailing_id(&due), Some(id));
    }
}
