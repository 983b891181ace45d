//! Files that a running process could not remove: what follows a stop that was clean but for them.
//!
//! Owns: a dropped chunk, an object that was refused, and a copy that could not be noted, each with the one operation failing that would
//! have removed it or made it count.
//! Never does: crash; the process stops as it should, and the next start, or a rebuild, finds what it left.

use std::path::Path;
use std::time::Duration;

use pillarbox::model::{Bucket, BucketConfig, UploadState};
use pillarbox::store::embedded::EmbeddedStore;
use pillarbox::store::embedded::faults::{Fault, arm, arm_first, disarm};
use pillarbox::store::{
    Catalog as _, CatalogEntry, ChunkSpec, Expected, ObjectStore as _, StoreError,
};

use super::{
    EIO, NOW, Told, check, check_files, chunk, files, fresh, in_memory, options, post, read,
    runtime, session, turn,
};

/// Stops a store with the fault still armed; which operation it met.
async fn stop(store: EmbeddedStore) -> Option<&'static str> {
    store.close().await.unwrap();
    disarm().1
}

#[test]
fn a_dropped_chunk_that_could_not_be_removed_goes_at_the_next_start() {
    let _turn = turn();
    let place = in_memory();
    let data = place.path().join("data");
    let mut told = Told::default();
    runtime().block_on(async {
        let store = fresh(&data).await;
        let new = told.upload("dropped", None);
        let id = new.id;
        store.create_upload(new).await.unwrap();
        let spec = ChunkSpec::new(1, Some(3));
        let mut writer = store.write_chunk(id, spec).await.unwrap();
        writer.write((b"second" as &[u8]).into()).await.unwrap();
        let longer = Expected {
            length: Some(7),
            ..Expected::default()
        };
        arm_first("remove a file", Fault::Fail(EIO));
        let refused = writer.commit(longer, NOW).await;
        assert!(matches!(refused, Err(StoreError::LengthMismatch { .. })));
        assert_eq!(stop(store).await, Some("remove a file"));
    });
    assert_eq!(files(&data.join("objects")).len(), 1);
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&data), NOW).await.unwrap();
        store.close().await.unwrap();
    });
    assert_eq!(files(&data.join("objects")), Vec::<String>::new());
}

#[test]
fn an_object_that_was_refused_and_could_not_be_removed_takes_no_key_in_a_rebuilt_index() {
    let _turn = turn();
    let place = in_memory();
    let data = place.path().join("data");
    let mut told = Told::default();
    let bucket = || CatalogEntry::Bucket(BucketConfig::new(Bucket::parse("uploads").unwrap(), NOW));
    runtime().block_on(async {
        let store = fresh(&data).await;
        let begun = told.upload("key", None);
        let mut writer = store.write_object(begun).await.unwrap();
        writer.write((b"refused" as &[u8]).into()).await.unwrap();
        // It belongs to a bucket that was removed; the one of that name is another.
        let name = Bucket::parse("uploads").unwrap();
        assert!(store.remove_bucket(&name, NOW).await.unwrap());
        store.insert(bucket()).await.unwrap();
        post(&store, &mut told, "key", b"kept").await;
        arm_first("remove a file", Fault::Fail(EIO));
        let later = NOW.plus(Duration::from_secs(10));
        let refused = writer.commit(Expected::default(), later).await;
        assert!(
            matches!(refused, Err(StoreError::NoSuchBucket)),
            "{refused:?}"
        );
        assert_eq!(stop(store).await, Some("remove a file"));
        let store = EmbeddedStore::reindex(options(&data), NOW).await.unwrap();
        assert_eq!(read(&store, "key", NOW).await, Some(b"kept".to_vec()));
        store.close().await.unwrap();
    });
}

/// A session that has to be rebuilt, and its last chunk with a fault; the operations that it took, and which one failed.
async fn rebuilt(data: &Path, told: &mut Told, number: u64) -> (Vec<&'static str>, bool) {
    let store = fresh(data).await;
    let chunks: [&[u8]; 4] = [b"1st ", b"second", b"third ", b"last"];
    session(&store, told, "rebuilt", &chunks, &[1, 0, 2], Some(4)).await;
    let id = *told.sessions.keys().last().unwrap();
    arm(number, Fault::Fail(EIO));
    let sent = chunk(&store, id, ChunkSpec::new(3, Some(4)), chunks[3]).await;
    let (operations, met) = disarm();
    let state = store.upload(id).await.unwrap().state;
    assert_eq!(state == UploadState::Completing, sent.is_err());
    store.close().await.unwrap();
    (operations, met == Some("write to the index"))
}

#[test]
fn a_copy_that_could_not_be_noted_goes_at_the_next_start() {
    let _turn = turn();
    let place = in_memory();
    let (probe, data) = (place.path().join("probe"), place.path().join("data"));
    let (operations, _) = runtime().block_on(rebuilt(&probe, &mut Told::default(), u64::MAX));
    let renamed = operations.iter().position(|name| *name == "rename a file");
    let noted = operations[..renamed.unwrap()]
        .iter()
        .rposition(|name| *name == "write to the index");
    let mut told = Told::default();
    let noted = u64::try_from(noted.unwrap()).unwrap();
    let (_, met) = runtime().block_on(rebuilt(&data, &mut told, noted));
    assert!(met, "the note was to fail");
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&data), NOW).await.unwrap();
        told.told("rebuilt", Some(b"1st secondthird last"));
        check(&store, &told, "reopened").await;
        check_files(&store, &data, "reopened").await;
        store.close().await.unwrap();
    });
}
