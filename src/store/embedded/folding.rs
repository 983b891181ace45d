//! One plain file out of the chunks of a session: where they lie, and how they come to their final offsets.
//!
//! Owns: folding spills into the main file, rebuilding it when chunks lie at other offsets than they end up at, its length and its label.
//! Never does: name the object, decide who may do that and when (`complete` does both), or remove a spill: they go when the object is named.
//!
//! Invariants: every step can be done again after a crash. A rebuilt file is noted in the index before it takes the main file's name. The
//! caller has the session's turn, and its chunks are all here.

use std::fs::File;

use super::complete::Running;
use super::copying::Room;
use super::disk::FileName;
use super::index::Txn;
use super::lease::Lease;
use super::records::SessionRecord;
use super::{Engine, label, ledger, placing, receipts};
use crate::model::{ChunkReceipt, Id, ObjectMeta, Place};
use crate::store::StoreError;

/// How the chunks of a session lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// As they are to, or nobody will want them any more: the object has expired.
    Right,
    /// Some in files of their own, the others as they are to; and how many bytes the former have.
    Apart(u64),
    /// Some at other offsets than they end up at; and how many bytes there are in all.
    Wrong(u64),
    /// As they are to, in a spill of this number.
    Rebuilt(u32),
}

/// Finds out how the chunks lie, once nobody writes to the main file any more.
pub(super) fn look(
    engine: &Engine,
    lease: &Lease,
    record: &SessionRecord,
    clock: Running,
) -> Result<Layout, StoreError> {
    lease.seal();
    lease.learn(record, None);
    if let Some(number) = record.assembled {
        return Ok(Layout::Rebuilt(number));
    }
    let receipts = receipts::full(engine, record)?;
    if !receipts::describe(record, &receipts, clock.said).is_live(clock.now()) {
        return Ok(Layout::Right);
    }
    let mut places = receipts::layout(&receipts);
    if !places.all(|(receipt, offset)| receipts::lies_right(receipt, offset)) {
        return Ok(Layout::Wrong(bytes_of(&receipts)));
    }
    Ok(match bytes_apart(&receipts) {
        0 => Layout::Right,
        apart => Layout::Apart(apart),
    })
}

/// Copies what lies apart to its offset in the main file.
///
/// # Errors
/// [`StoreError::InUse`] when the upload is aborted.
pub(super) fn gather(engine: &Engine, lease: &Lease) -> Result<(), StoreError> {
    let id = lease.id;
    let receipts = receipts::full(engine, &engine.session(id)?)?;
    let main = engine.disk.open_or_create(FileName::Main(id))?;
    let (apart, all) = (bytes_apart(&receipts), bytes_of(&receipts));
    unless_aborted(lease)?;
    // Parts that were not named in the end may lie behind; what they take is no place of these.
    if engine.disk.length(&main)? > all {
        engine.disk.set_length(&main, all)?;
    }
    // What an attempt before this one copied has its place; it is copied again into that.
    let needed = all.saturating_sub(engine.disk.taken_up(&main)?);
    let mut room = Room::set_aside(engine, (apart, apart.saturating_sub(needed)))?.of(lease);
    fold(&mut room, id, (&main, &main), &receipts)?;
    unless_aborted(lease)?;
    // By who wrote it: another open file need not be told what failed before.
    engine.disk.sync_data(&main)
}

/// Copies every chunk to its offset in a new spill, whose number is returned. When that fails, nothing is left of it.
///
/// # Errors
/// [`StoreError::InUse`] when the upload is aborted.
pub(super) fn rebuild(engine: &Engine, lease: &Lease) -> Result<u32, StoreError> {
    let receipts = receipts::full(engine, &engine.session(lease.id)?)?;
    let mut room = Room::set_aside(engine, (bytes_of(&receipts), 0))?.of(lease);
    let main = engine.disk.open_or_create(FileName::Main(lease.id))?;
    let (number, fresh) = placing::create_spill(engine, lease)?;
    let copied = fold(&mut room, lease.id, (&main, &fresh), &receipts)
        .and_then(|()| unless_aborted(lease))
        .and_then(|()| engine.disk.sync_all(&fresh));
    if copied.is_err() {
        let removed = engine.disk.unlink(FileName::Spill(lease.id, number));
        removed.inspect_err(|_| engine.leaves_litter())?;
    }
    copied.map(|()| number)
}

/// Asked before each sync: one of a large copy may take longer than whoever aborts its upload waits.
fn unless_aborted(lease: &Lease) -> Result<(), StoreError> {
    match lease.is_aborted() {
        true => Err(StoreError::InUse),
        false => Ok(()),
    }
}

/// Copies into `target` every chunk that is not there already.
fn fold(
    room: &mut Room<'_>,
    id: Id,
    (main, target): (&File, &File),
    receipts: &[ChunkReceipt],
) -> Result<(), StoreError> {
    let in_place = std::ptr::eq(main, target);
    for (receipt, offset) in receipts::layout(receipts).filter(|(receipt, _)| receipt.length > 0) {
        match receipt.place {
            Place::Main(_) if in_place => {}
            Place::Main(start) => {
                room.copy((main, start), (target, offset), receipt.length)?;
            }
            Place::Spill(number) => {
                let spill = room.engine.disk.open_to_read(FileName::Spill(id, number))?;
                let spill = spill.ok_or_else(|| damaged("a spill is missing"))?;
                room.copy((&spill, 0), (target, offset), receipt.length)?;
            }
        }
    }
    Ok(())
}

fn bytes_apart(receipts: &[ChunkReceipt]) -> u64 {
    let apart = receipts
        .iter()
        .filter(|receipt| receipts::lies_apart(receipt));
    bytes_of(apart)
}

fn bytes_of<'a>(receipts: impl IntoIterator<Item = &'a ChunkReceipt>) -> u64 {
    receipts.into_iter().map(|receipt| receipt.length).sum()
}

/// Notes which spill is to become the main file.
pub(super) fn note_rebuilt(txn: &mut Txn<'_>, id: Id, number: u32) -> Result<(), StoreError> {
    let mut record = ledger::session(txn, id)?;
    record.assembled = Some(number);
    record.next_spill = record.next_spill.max(number.saturating_add(1));
    ledger::put_session(txn, &record)
}

/// Gives the rebuilt file the main file's name, unless an earlier attempt did.
pub(super) fn take_over(engine: &Engine, id: Id, number: u32) -> Result<(), StoreError> {
    let from = FileName::Spill(id, number);
    match engine.disk.open_to_read(from)? {
        Some(_) => engine.disk.rename(from, FileName::Main(id)),
        None => Ok(()),
    }
}

/// Cuts the main file to size, labels it and syncs it; not when the object has expired: a rebuilt index would give it the key that the
/// index does not give it.
///
/// # Errors
/// [`StoreError::InUse`] when the upload is aborted.
pub(super) fn finish_file(
    engine: &Engine,
    lease: &Lease,
    record: &SessionRecord,
    clock: Running,
) -> Result<ObjectMeta, StoreError> {
    let upload = &record.session.upload;
    let receipts = receipts::full(engine, record)?;
    let meta = receipts::describe(record, &receipts, clock.said);
    if !meta.is_live(clock.now()) {
        return Ok(meta);
    }
    let main = engine.disk.open_or_create(FileName::Main(upload.id))?;
    let length = engine.disk.length(&main)?;
    if length < meta.size {
        return Err(damaged("the file is shorter than its receipts"));
    }
    unless_aborted(lease)?;
    engine.disk.set_length(&main, meta.size)?;
    engine
        .disk
        .label(upload.id, &main, &label::encode(&meta)?)?;
    engine.disk.sync_all(&main)?;
    Ok(meta)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::rebuild::read_label;
    use crate::store::embedded::records::receipt_key;
    use crate::store::embedded::tests::{
        Folder, NOW, acknowledge_only, begin, full, full_and_misplaced, send, upload,
    };

    #[tokio::test]
    async fn an_abort_that_comes_behind_the_last_step_of_a_copy_does_not_wait_for_its_sync() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        // There is nothing to copy, so there is no step.
        let id = begin(&store).await;
        send(&store, id, (0, Some(2)), b"").await.unwrap();
        acknowledge_only(&store, id, (1, None), Some(Place::Main(0)), b"").await;
        let lease = engine.leases.take(id);
        let spills = || {
            let names = (0..9).map(|n| engine.disk.path(FileName::Spill(id, n)));
            names.filter(|path| path.exists()).count()
        };
        let before = spills();
        let aborts = lease.aborts();
        let gathered = gather(engine, &lease);
        assert!(matches!(gathered, Err(StoreError::InUse)), "{gathered:?}");
        let rebuilt = rebuild(engine, &lease);
        assert!(matches!(rebuilt, Err(StoreError::InUse)), "{rebuilt:?}");
        assert_eq!(spills(), before, "nothing is left of it");
        drop(aborts);
        gather(engine, &lease).unwrap();
        rebuild(engine, &lease).unwrap();
    }

    #[tokio::test]
    async fn nor_is_its_file_labelled_for_it() {
        for rebuilds in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let engine = &*store.engine;
            let id = match rebuilds {
                true => full_and_misplaced(&store).await,
                false => full(&store, upload("session.bin")).await,
            };
            let lease = engine.leases.take(id);
            let record = engine.session(id).unwrap();
            let clock = Running::from(NOW);
            if rebuilds {
                let number = rebuild(engine, &lease).unwrap();
                take_over(engine, id, number).unwrap();
            } else {
                gather(engine, &lease).unwrap();
            }
            let aborts = lease.aborts();
            let ended = finish_file(engine, &lease, &record, clock);
            assert!(matches!(ended, Err(StoreError::InUse)), "{ended:?}");
            assert!(!matches!(read_label(&engine.disk, id), Ok(Some(_))));
            drop(aborts);
            finish_file(engine, &lease, &record, clock).unwrap();
            assert!(matches!(read_label(&engine.disk, id), Ok(Some(_))));
        }
    }

    #[tokio::test]
    async fn what_the_index_lets_go_of_before_that_is_durable_costs_no_byte_of_the_file() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &*store.engine;
        let id = full(&store, upload("session.bin")).await;
        let lease = engine.leases.take(id);
        let record = engine.session(id).unwrap();
        let length = || {
            std::fs::metadata(engine.disk.path(FileName::Main(id)))
                .unwrap()
                .len()
        };
        gather(engine, &lease).unwrap();
        let before = length();
        assert!(before > 0);
        // As while somebody who aborts has his job applied, and its sync is not done yet.
        let forget = move |txn: &mut Txn<'_>| {
            (0..2).for_each(|index| txn.delete(receipt_key(id, index)));
            Ok(())
        };
        engine.index.commit(forget).await.unwrap();
        gather(engine, &lease).unwrap_err();
        rebuild(engine, &lease).unwrap_err();
        finish_file(engine, &lease, &record, Running::from(NOW)).unwrap_err();
        assert_eq!(length(), before);
        assert!(!matches!(read_label(&engine.disk, id), Ok(Some(_))));
    }
}
