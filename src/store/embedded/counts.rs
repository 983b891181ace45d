//! How many entries the catalog has of each kind, and how many bytes they take, and its settings among them.
//!
//! Owns: these numbers in the index, and the bounds on the bytes. Never does: count by looking where it need not; `catalog` tells each
//! change.
//!
//! Invariants: a number changes in the job that changes what it counts. The bytes of all entries are of one generation of the catalog,
//! and are counted anew where they are of another: an earlier version, which does not count them, may have changed it, and a rebuild sets it.

use std::ops::ControlFlow;

use super::catalog::{generation_key, is_lasting, set_generation};
use super::entry::{decode, entry_key, kind_byte};
use super::index::Txn;
use super::long;
use super::records::{self, CATALOG, ENTRY_PIECES, META};
use crate::model::SettingKind;
use crate::store::{
    BYTES_OF_OPERATOR, CatalogEntry, CatalogKind, MAX_CATALOG_BYTES, MAX_CATALOG_ENTRIES,
    MAX_SETTINGS_BYTES, StoreError, TOKENS_OF_OPERATOR,
};

/// Most entries of any other kind than tokens that are also made on a full disk.
pub(super) const MAX_WITHOUT_ROOM: u64 = 256;
/// Most tokens that are, too: without one nobody deletes anything over REST, and each is good for an hour only.
const MAX_TOKENS_WITHOUT_ROOM: u64 = 4096;

/// Most bytes that entries take together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Settings, but for access control lists.
    pub(super) settings: u64,
    /// All entries that the snapshot holds.
    pub(super) all: u64,
    /// How many of these only the operator fills.
    pub(super) of_operator: u64,
}

/// What an entry is held to.
pub(super) const BOUNDS: Bounds = Bounds {
    settings: MAX_SETTINGS_BYTES,
    all: MAX_CATALOG_BYTES,
    of_operator: BYTES_OF_OPERATOR,
};
/// For what goes, and for what was there before.
pub(super) const NO_BOUNDS: Bounds = Bounds {
    settings: u64::MAX,
    all: u64::MAX,
    of_operator: 0,
};

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

/// Counts an entry that was not there.
///
/// # Errors
/// [`StoreError::CatalogFull`].
pub(super) fn count_new(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    let count = count(txn, entry.kind())?;
    if count >= places_for(entry) {
        return Err(StoreError::CatalogFull);
    }
    set_count(txn, entry.kind(), count + 1)
}

/// Counts an entry that goes.
pub(super) fn count_gone(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    let count = count(txn, entry.kind())?;
    set_count(txn, entry.kind(), count.saturating_sub(1))
}

/// How many entries of its kind there may be where a new one is made. What clients fetch leaves places to the operator.
fn places_for(entry: &CatalogEntry) -> u64 {
    let kept = match entry {
        CatalogEntry::Token(token) if token.application.is_some() => TOKENS_OF_OPERATOR,
        _ => 0,
    };
    (MAX_CATALOG_ENTRIES - kept) as u64
}

/// How many bytes all entries may take together where this one becomes longer.
fn bytes_for(entry: &CatalogEntry, bounds: Bounds) -> u64 {
    match entry.kind() {
        CatalogKind::Token | CatalogKind::Application | CatalogKind::AccessKey => bounds.all,
        _ => bounds.all.saturating_sub(bounds.of_operator),
    }
}

/// Whether an entry is refused on a full disk. What is there already is not, since a key must get its end; nor is what is set for a bucket,
/// which has a bound of its own and may be what makes room; nor the first few, which a start may have to make.
pub(super) fn takes_room(txn: &Txn<'_>, entry: &CatalogEntry) -> Result<bool, StoreError> {
    let kind = entry.kind();
    let first = match kind {
        CatalogKind::Setting => return Ok(false),
        CatalogKind::Token => MAX_TOKENS_WITHOUT_ROOM,
        _ => MAX_WITHOUT_ROOM,
    };
    Ok(count(txn, kind)? >= first && txn.get(&entry_key(&entry.key()))?.is_none())
}

/// Counts a change of an entry that was and will be of these sizes, in bytes: the generation of the catalog, and the bytes.
///
/// # Errors
/// [`StoreError::CatalogFull`].
pub(super) fn count_change(
    txn: &mut Txn<'_>,
    entry: &CatalogEntry,
    sizes: (usize, usize),
    bounds: Bounds,
) -> Result<(), StoreError> {
    if !is_lasting(entry) {
        return Ok(());
    }
    let generation = txn.get(&generation_key())?;
    let generation: u64 = generation.as_deref().map_or(Ok(0), records::decode)?;
    weigh(txn, entry, sizes, (generation, bounds))?;
    set_generation(txn, generation.saturating_add(1))
}

/// Counts the bytes of an entry that becomes longer or shorter, in the change that ends a generation; all of them are read and written
/// together with every change of the catalog. What does not grow is never refused, nor are access control lists, which are short, nor the
/// end of a token or key.
fn weigh(
    txn: &mut Txn<'_>,
    entry: &CatalogEntry,
    (old, new): (usize, usize),
    (generation, bounds): (u64, Bounds),
) -> Result<(), StoreError> {
    let changed = |held: u64| held.saturating_sub(old as u64) + new as u64;
    let all = match bytes_of_all(txn)? {
        Some((counted, bytes)) if counted == generation => bytes,
        _ => count_bytes(txn)?,
    };
    let all = changed(all);
    let is_acl =
        matches!(entry, CatalogEntry::Setting(set) if set.value.kind() == SettingKind::Acl);
    let ends = old > 0 && matches!(entry, CatalogEntry::Token(_) | CatalogEntry::AccessKey(_));
    let is_bound = new > old && !is_acl && !ends;
    if is_bound && all > bytes_for(entry, bounds) {
        return Err(StoreError::CatalogFull);
    }
    let counted = (generation.saturating_add(1), all);
    txn.put(bytes_key(), records::encode(&counted)?)?;
    if is_acl || entry.kind() != CatalogKind::Setting {
        return Ok(());
    }
    let settings = txn.get(&settings_bytes_key())?;
    let settings = changed(settings.as_deref().map_or(Ok(0), records::decode)?);
    if is_bound && settings > bounds.settings {
        return Err(StoreError::CatalogFull);
    }
    txn.put(settings_bytes_key(), records::encode(&settings)?)
}

/// The bytes of all entries, and the generation of the catalog in which they were counted.
fn bytes_of_all(txn: &Txn<'_>) -> Result<Option<(u64, u64)>, StoreError> {
    let counted = txn.get(&bytes_key())?;
    counted.as_deref().map(records::decode).transpose()
}

/// Counts the bytes of all entries, as they were before this job.
fn count_bytes(txn: &mut Txn<'_>) -> Result<u64, StoreError> {
    let mut bytes = 0;
    txn.scan(&[CATALOG], |place, value| {
        if !long::is_head(value) && is_counted(place, value) {
            bytes += value.len() as u64;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    txn.scan(&[ENTRY_PIECES], |_, piece| {
        bytes += piece.len() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(bytes)
}

/// Whether an entry is one that lasts; of the others, which are tokens and short, none lies in pieces.
fn is_counted(place: &[u8], value: &[u8]) -> bool {
    let is_token = place.get(1) == Some(&kind_byte(CatalogKind::Token));
    !is_token || decode(value).is_ok_and(|token| is_lasting(&token))
}

fn bytes_key() -> Vec<u8> {
    records::key(META, &[b"bytes of entries"])
}

fn settings_bytes_key() -> Vec<u8> {
    records::key(META, &[b"bytes of settings"])
}
