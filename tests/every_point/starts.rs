//! A start, failed and crashed at each of its disk operations in turn.
//!
//! Owns: what a crash has left for it to do: garbage, an upload that is to be made whole, spills, an object without a record, a file
//! that nobody was promised; and the same without an index, which is rebuilt. Folders are listed so often that only some of those
//! operations are tried.

use std::path::Path;

use pillarbox::model::{Bucket, BucketConfig, UploadState};
use pillarbox::store::embedded::EmbeddedStore;
use pillarbox::store::embedded::faults::{Fault, arm, arm_first, disarm};
use pillarbox::store::{CatalogEntry, ObjectStore as _, StoreError};

use super::records::put;
use super::{
    EIO, LONG, Met, NOW, Told, at_each_of, check, check_files, finish_all, folder, fresh,
    in_memory, key, options, post, runtime, session, turn,
};

/// Of so many operations that list a folder, one is tried.
const LISTED: u64 = 32;
/// Operations that a start has at least.
const FEWEST_OPERATIONS: usize = 500;

/// What lies in the index of the folder that a crash left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Whole,
    /// It is not there.
    Lost,
}

/// Makes the folder that a crash leaves, and says what clients were told.
async fn leave(data: &Path, left: &Path) -> Told {
    let mut told = Told::default();
    let store = fresh(data).await;
    let bucket = BucketConfig::new(Bucket::parse("another").unwrap(), NOW);
    put(&store, &mut told, CatalogEntry::Bucket(bucket)).await;
    post(&store, &mut told, "kept", b"first").await;
    post(&store, &mut told, "tagged", b"second").await;
    let chunks: [&[u8]; 3] = [b"dddd", b"eeeee", b"f"];
    session(&store, &mut told, "open", &chunks, &[2, 1], Some(3)).await;

    // Its file cannot be removed, so it stays garbage.
    post(&store, &mut told, "deleted", b"third").await;
    arm_first("remove a file", Fault::Fail(EIO));
    store.delete_object(&key("deleted"), NOW).await.unwrap();
    told.told("deleted", None);

    // All of it is here, but it cannot be made whole now.
    let chunks: [&[u8]; 4] = [b"1st ", b"second", b"third ", b"last"];
    session(&store, &mut told, "whole", &chunks, &[1, 0, 2], Some(4)).await;
    assert_eq!(disarm().1, Some("remove a file"));
    arm_first("rename a file", Fault::Fail(EIO));
    let id = *told.sessions.keys().last().unwrap();
    let last = super::ChunkSpec::new(3, Some(4));
    let sent = super::chunk(&store, id, last, chunks[3]).await;
    assert_eq!((sent.is_err(), disarm().1), (true, Some("rename a file")));
    let state = store.upload(id).await.unwrap().state;
    assert_eq!(state, UploadState::Completing);
    told.asks("whole", Some(&chunks.concat()));

    // Somebody is still on the way; and a record that need not be synced is not.
    let mut writer = store
        .write_object(told.upload("begun", None))
        .await
        .unwrap();
    for _ in 0..3 {
        writer.write(LONG.as_slice().into()).await.unwrap();
    }
    told.objects.insert("begun", [None].into());
    post(&store, &mut told, "recent", b"fourth").await;
    folder::copy(data, left);
    told
}

/// What clients may find when the index was lost: no session, and what was deleted, if its file was still there.
fn without_an_index(told: &mut Told) {
    told.sessions.clear();
    told.asks("deleted", Some(b"third"));
}

/// One start of a copy of that folder with a fault, and the start after it.
fn attempt((left, told): (&Path, &Told), index: Index, number: u64, fault: Fault) -> Met {
    let place = in_memory();
    let mut data = place.path().join("data");
    folder::copy(left, &data);
    let mut told = told.clone();
    let when = format!("{fault:?} at operation {number} of a start, index: {index:?}");
    let first = runtime();
    arm(number, fault);
    let opened = first.block_on(EmbeddedStore::open(options(&data), NOW));
    if fault == Fault::Freeze {
        let crashed = place.path().join("crashed");
        folder::copy(&data, &crashed);
        data = crashed;
    }
    let done = match (&opened, fault) {
        (Ok(store), Fault::Fail(_)) => {
            let done = disarm();
            first.block_on(check(store, &told, &format!("{when}, alive")));
            Some(done)
        }
        (Err(StoreError::Corrupt(what)), _) => {
            panic!("{when}: a failure of the system reads as damage: {what}")
        }
        _ => None,
    };
    drop(opened);
    drop(first);
    assert_eq!(set_aside(&data), 0, "{when}: an index is set aside");
    let done = done.unwrap_or_else(disarm);
    let when = format!("{when} ({}), reopened", done.1.unwrap_or("none"));
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&data), NOW).await.unwrap();
        if index == Index::Whole {
            told.told("whole", Some(b"1st secondthird last"));
        }
        check(&store, &told, &when).await;
        if index == Index::Whole {
            finish_all(&store, &mut told, &when).await;
            check_files(&store, &data, &when).await;
        }
        store.close().await.unwrap();
    });
    assert_eq!(set_aside(&data), 0, "{when}: an index is set aside");
    done
}

/// How many folders there are that were once the index.
fn set_aside(data: &Path) -> usize {
    let entries = std::fs::read_dir(data).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    let is_one = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("index.");
    names.filter(is_one).count()
}

/// Tries the fault at the operations of a start.
fn at_every_point_of_a_start(index: Index, fault: Fault) {
    let _turn = turn();
    let place = in_memory();
    let (data, left) = (place.path().join("data"), place.path().join("left"));
    let mut told = runtime().block_on(leave(&data, &left));
    if index == Index::Lost {
        std::fs::remove_dir_all(left.join("index")).unwrap();
        without_an_index(&mut told);
    }
    let (operations, met) = attempt((&left, &told), index, u64::MAX, fault);
    assert!(
        met.is_none() && operations.len() >= FEWEST_OPERATIONS,
        "{} operations, {met:?}",
        operations.len()
    );
    let is_tried =
        |number: u64, name: &str| name != "list a folder" || number.is_multiple_of(LISTED);
    at_each_of(
        &format!("{index:?} index, {fault:?}"),
        &operations,
        is_tried,
        |number| attempt((&left, &told), index, number, fault).1,
    );
}

#[test]
fn a_start_that_crashes_at_any_disk_operation_is_made_good_by_the_next() {
    at_every_point_of_a_start(Index::Whole, Fault::Freeze);
}

#[test]
fn a_start_that_fails_at_any_disk_operation_is_made_good_by_the_next() {
    at_every_point_of_a_start(Index::Whole, Fault::Fail(EIO));
}

#[test]
fn a_rebuild_that_crashes_at_any_disk_operation_is_made_good_by_the_next() {
    at_every_point_of_a_start(Index::Lost, Fault::Freeze);
}

#[test]
fn a_rebuild_that_fails_at_any_disk_operation_is_made_good_by_the_next() {
    at_every_point_of_a_start(Index::Lost, Fault::Fail(EIO));
}

#[test]
fn a_rebuild_that_fails_again_and_again_leaves_one_half_made_index() {
    let _turn = turn();
    let place = in_memory();
    let (data, left) = (place.path().join("data"), place.path().join("left"));
    let mut told = runtime().block_on(leave(&data, &left));
    std::fs::remove_dir_all(left.join("index")).unwrap();
    without_an_index(&mut told);
    for _ in 0..3 {
        arm_first("list a folder", Fault::Fail(EIO));
        let opened = runtime().block_on(EmbeddedStore::open(options(&left), NOW));
        assert!(matches!(opened, Err(StoreError::Io { .. })));
        assert_eq!(disarm().1, Some("list a folder"));
        assert_eq!(set_aside(&left), 0);
    }
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&left), NOW).await.unwrap();
        check(&store, &told, "after three rebuilds that failed").await;
        store.close().await.unwrap();
    });
}
