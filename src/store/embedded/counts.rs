//! How many entries the catalog has of each kind, and how many bytes its settings take.
//!
//! Owns: these numbers in the index, and the bound on the bytes. Never does: count by looking; `catalog` tells each change.
//!
//! Invariant: a number changes in the job that changes what it counts.

use super::entry::kind_byte;
use super::index::Txn;
use super::records::{self, META};
use crate::model::SettingKind;
use crate::store::{CatalogEntry, CatalogKind, StoreError};

fn count_key(kind: CatalogKind) -> Vec<u8> {
    records::key(META, &[b"count ", &[kind_byte(kind)]])
}

/// How many entries of a kind there are.
pub(super) fn count(txn: &Txn<'_>, kind: CatalogKind) -> Result<u64, StoreError> {
    let count = txn.get(&count_key(kind))?;
    count.as_deref().map_or(Ok(0), records::decode)
}

/// Sets how many entries of a kind there are.
pub(super) fn set_count(
    txn: &mut Txn<'_>,
    kind: CatalogKind,
    count: u64,
) -> Result<(), StoreError> {
    txn.put(count_key(kind), records::encode(&count)?)
}

/// Counts the bytes of a setting that becomes longer or shorter; all of them are read and written together with every change of the catalog.
/// What does not grow is never refused, nor are access control lists, which are short.
pub(super) fn weigh(
    txn: &mut Txn<'_>,
    entry: &CatalogEntry,
    (old, new): (usize, usize),
    max_bytes: u64,
) -> Result<(), StoreError> {
    match entry {
        CatalogEntry::Setting(set) if set.value.kind() != SettingKind::Acl => {}
        _ => return Ok(()),
    }
    let held = txn.get(&settings_bytes_key())?;
    let held: u64 = held.as_deref().map_or(Ok(0), records::decode)?;
    let held = held.saturating_sub(old as u64) + new as u64;
    if new > old && held > max_bytes {
        return Err(StoreError::CatalogFull);
    }
    txn.put(settings_bytes_key(), records::encode(&held)?)
}

fn settings_bytes_key() -> Vec<u8> {
    records::key(META, &[b"bytes of settings"])
}
