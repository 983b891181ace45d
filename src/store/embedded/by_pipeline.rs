//! The files of each pipeline, in the order of their creation, and how many they are: what a list of one pipeline reads.
//!
//! Owns: the table [`PIPELINE_FILES`], a counter for each pipeline, and whether both can be relied on. They are derived from the records of
//! the objects, which stay the only list of them; [`fill`] makes them anew.
//! Never does: list; `list` does, by the records themselves while the table is not in order.
//!
//! Invariants:
//! 1. The entry of an object, and the counter, change in the job that changes its record.
//! 2. The table counts only behind a start of a version that keeps it: an earlier one, which does not, leaves a clean mark without
//!    [`IN_ORDER`], and after a crash of ours the note is there. Else the start fills it, once; for want of room it stays out of order, and
//!    the start goes on. Only an earlier version that crashed behind a crash of ours is not noticed; `reindex` mends what it left.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::damage;
use super::index::{Index, Txn};
use super::records::{self, META, OBJECTS, PIPELINE_FILES};
use super::sync::Handle;
use crate::model::{Id, ObjectMeta, Timestamp};
use crate::store::StoreError;

/// Entries that are written or removed in one job.
const STEP: usize = 256;

/// The value of a clean mark behind which the table is in order.
const IN_ORDER: &[u8] = b"pipelines";

/// What the entries of a pipeline begin with.
pub(super) fn prefix(pipeline: Id) -> Vec<u8> {
    records::key(PIPELINE_FILES, &[pipeline.as_bytes()])
}

/// Where the number of a pipeline's files is kept, expired ones that were not swept among them.
pub(super) fn count_key(pipeline: Id) -> Vec<u8> {
    records::key(META, &[b"files of ", pipeline.as_bytes()])
}

/// Writes the entry of an object, and counts it when it is new.
pub(super) fn put(txn: &mut Txn<'_>, meta: &ObjectMeta, is_new: bool) -> Result<(), StoreError> {
    let Some(pipeline) = meta.pipeline.as_ref().map(|pipeline| pipeline.id) else {
        return Ok(());
    };
    let end = records::end_of(meta.expires_at);
    txn.put(entry_key(pipeline, meta.created_at, meta.id), end)?;
    match is_new {
        true => count(txn, pipeline, |files| files.saturating_add(1)),
        false => Ok(()),
    }
}

/// Removes the entry of an object that goes.
pub(super) fn remove(txn: &mut Txn<'_>, meta: &ObjectMeta) -> Result<(), StoreError> {
    let Some(pipeline) = meta.pipeline.as_ref().map(|pipeline| pipeline.id) else {
        return Ok(());
    };
    txn.delete(entry_key(pipeline, meta.created_at, meta.id));
    count(txn, pipeline, |files| files.saturating_sub(1))
}

fn entry_key(pipeline: Id, created_at: Timestamp, id: Id) -> Vec<u8> {
    let place = records::sortable(created_at);
    records::key(
        PIPELINE_FILES,
        &[pipeline.as_bytes(), &place, id.as_bytes()],
    )
}

fn count(
    txn: &mut Txn<'_>,
    pipeline: Id,
    change: impl FnOnce(u64) -> u64,
) -> Result<(), StoreError> {
    let key = count_key(pipeline);
    match change(records::parse_count(txn.get(&key)?.as_deref())) {
        0 => {
            txn.delete(key);
            Ok(())
        }
        files => txn.put(key, files.to_be_bytes().to_vec()),
    }
}

/// The value of a clean mark.
pub(super) fn clean_value(in_order: bool) -> Vec<u8> {
    let value = if in_order { IN_ORDER } else { &[] };
    value.to_vec()
}

/// Whether the table can be relied on at a start that found this clean mark, if any.
pub(super) fn is_in_order(index: &Index, clean: Option<&[u8]>) -> Result<bool, StoreError> {
    match clean {
        Some(left) => Ok(left == IN_ORDER),
        None => Ok(index.get(&note_key())?.is_some()),
    }
}

/// Notes that the table is in order, or that nobody may rely on it.
pub(super) fn note(txn: &mut Txn<'_>, in_order: bool) -> Result<(), StoreError> {
    match in_order {
        true => txn.put(note_key(), Vec::new()),
        false => {
            txn.delete(note_key());
            Ok(())
        }
    }
}

fn note_key() -> Vec<u8> {
    records::key(META, &[b"pipelines"])
}

/// Makes the table anew from the records, before anybody else uses the index. Returns whether it is in order now: not when `check_room` says that
/// there is no room for it. Records that cannot be read are passed over.
pub(super) fn fill(
    index: &Index,
    check_room: impl Fn() -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let filled = check_room().and_then(|()| {
        empty(index)?;
        fill_empty(index, check_room)
    });
    match filled {
        Ok(files) => {
            if files > 0 {
                tracing::info!(files, "the list of each pipeline's files was made");
            }
            Ok(true)
        }
        Err(StoreError::Full) => {
            tracing::warn!(
                "no room to list each pipeline's files apart; to list those of one takes longer"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn empty(index: &Index) -> Result<(), StoreError> {
    let runtime = Handle::current();
    for old in [vec![PIPELINE_FILES], count_key_prefix()] {
        loop {
            let pairs = index.prefix(&old, STEP)?;
            if pairs.is_empty() {
                break;
            }
            let remove = move |txn: &mut Txn<'_>| {
                txn.makes_room();
                pairs.into_iter().for_each(|(key, _)| txn.delete(key));
                note(txn, false)
            };
            runtime.block_on(index.commit_lazily(remove))?;
        }
    }
    Ok(())
}

fn count_key_prefix() -> Vec<u8> {
    records::key(META, &[b"files of "])
}

/// Returns how many entries there are now.
fn fill_empty(
    index: &Index,
    check_room: impl Fn() -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let runtime = Handle::current();
    // One number for each pipeline that has files.
    let mut counts = HashMap::<Id, u64>::new();
    let mut step = Vec::with_capacity(STEP);
    let write = |step: Vec<_>| {
        let put = move |txn: &mut Txn<'_>| {
            let mut pairs = step.into_iter();
            pairs.try_for_each(|(key, value)| txn.put(key, value))
        };
        runtime.block_on(index.commit_lazily(put))
    };
    index.scan(&[OBJECTS], |_, record| {
        let listed = match records::decode_listed(record) {
            Err(error) if damage::is_of_one_record(&error) => {
                return Ok(ControlFlow::Continue(()));
            }
            listed => listed?,
        };
        if let Some(pipeline) = listed.pipeline {
            *counts.entry(pipeline.id).or_default() += 1;
            let key = entry_key(pipeline.id, listed.created_at, listed.id);
            step.push((key, records::end_of(listed.expires_at)));
        }
        if step.len() >= STEP {
            check_room()?;
            write(std::mem::take(&mut step))?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let files = counts.values().sum();
    let counts = counts.into_iter();
    step.extend(
        counts.map(|(pipeline, files)| (count_key(pipeline), files.to_be_bytes().to_vec())),
    );
    for step in step.chunks(STEP) {
        write(step.to_vec())?;
    }
    runtime.block_on(index.commit(|txn| note(txn, true)))?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ObjectKey, PipelineRef};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{Folder, NOW, post_new, upload};
    use crate::store::{FileQuery, ObjectName, ObjectStore as _};

    fn pipeline(number: u8) -> Id {
        Id::new(NOW, [number; 8])
    }

    async fn post(store: &EmbeddedStore, key: &str, of: u8) -> ObjectMeta {
        let mut new = upload(key);
        new.pipeline = Some(PipelineRef {
            id: pipeline(of),
            object_key: ObjectKey::parse(key).unwrap(),
        });
        post_new(store, new, b"bytes").await
    }

    async fn listed(store: &EmbeddedStore, of: u8) -> (Vec<String>, usize) {
        let query = FileQuery {
            pipelines: vec![pipeline(of)],
            limit: 10,
            ..FileQuery::default()
        };
        let page = store.list_files(&query, NOW).await.unwrap();
        let keys = page.files.iter().map(|meta| meta.key.as_str().to_owned());
        (keys.collect(), page.total)
    }

    /// Leaves the store as an earlier version, which knows nothing of the table, would after it removed "early" and wrote "late".
    async fn leave_as_an_earlier_version(store: EmbeddedStore, noted: bool, clean: bool) {
        let late = post(&store, "late", 1).await;
        let first = FileQuery {
            limit: 1,
            ..FileQuery::default()
        };
        let early = store.list_files(&first, NOW).await.unwrap().files.remove(0);
        let name = ObjectName::Id(early.id);
        store.delete_object(&name, NOW).await.unwrap();
        let undo = move |txn: &mut Txn<'_>| {
            remove(txn, &late)?;
            put(txn, &early, true)?;
            note(txn, noted)?;
            match clean {
                true => txn.put(records::key(META, &[b"clean"]), Vec::new()),
                false => Ok(()),
            }
        };
        store.engine.index.commit(undo).await.unwrap();
    }

    fn names(keys: &[&str]) -> (Vec<String>, usize) {
        let owned = keys.iter().map(|key| (*key).to_owned());
        (owned.collect(), keys.len())
    }

    #[tokio::test]
    async fn what_an_earlier_version_changed_is_seen_behind_the_next_start() {
        for (noted, clean) in [(false, false), (false, true), (true, true)] {
            let folder = Folder::new();
            let store = folder.open().await;
            post(&store, "early", 1).await;
            post(&store, "middle", 1).await;
            post(&store, "other", 2).await;
            leave_as_an_earlier_version(store, noted, clean).await;
            for _ in 0..2 {
                let store = folder.open().await;
                assert_eq!(listed(&store, 1).await, names(&["middle", "late"]));
                assert_eq!(listed(&store, 2).await, names(&["other"]));
                store.close().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_is_in_order_is_not_made_again() {
        for clean in [false, true] {
            let folder = Folder::new();
            let store = folder.open().await;
            let meta = post(&store, "file", 1).await;
            let forget = move |txn: &mut Txn<'_>| remove(txn, &meta);
            store.engine.index.commit(forget).await.unwrap();
            if clean {
                store.close().await.unwrap();
            }
            drop(store);
            assert_eq!(listed(&folder.open().await, 1).await, names(&[]));
        }
    }

    #[tokio::test]
    async fn without_room_it_is_not_made_and_what_cannot_be_read_is_passed_over() {
        let folder = Folder::new();
        let store = folder.open().await;
        let lost = post(&store, "lost", 1).await;
        post(&store, "found", 1).await;
        let junk = move |txn: &mut Txn<'_>| {
            let place = records::object_key(&lost.bucket, &lost.key);
            txn.put(place, b"no record".to_vec())?;
            note(txn, false)
        };
        let engine = Arc::clone(&store.engine);
        engine.index.commit(junk).await.unwrap();
        let fill_with = async |room: fn() -> Result<(), StoreError>| {
            let filled = engine.blocking(move |engine| fill(&engine.index, room));
            let filled = filled.await.unwrap();
            let noted = is_in_order(&engine.index, None).unwrap();
            assert_eq!(filled, noted);
            filled
        };
        assert!(!fill_with(|| Err(StoreError::Full)).await);
        assert!(fill_with(|| Ok(())).await);
        assert_eq!(listed(&store, 1).await, names(&["found"]));
    }

    #[tokio::test]
    async fn of_a_pipeline_without_files_nothing_stays() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "file", 1).await;
        let index = &store.engine.index;
        assert!(index.get(&count_key(pipeline(1))).unwrap().is_some());
        let name = ObjectName::Id(meta.id);
        store.delete_object(&name, NOW).await.unwrap();
        assert!(index.get(&count_key(pipeline(1))).unwrap().is_none());
        assert!(index.prefix(&[PIPELINE_FILES], 1).unwrap().is_empty());
    }
}
