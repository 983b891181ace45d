//! The index can be lost: 100,000 objects, an index that is deleted, and all of it back within 60 s.
//!
//! Needs the feature `faults` only because it takes a while: it runs with the fault tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox::model::{
    Attributes, Bucket, BucketConfig, Checksum, ChecksumAlgorithm, ChecksumType, HeaderSet, Id,
    Md5, NewUpload, ObjectKey, ObjectMeta, PartRules, Tags, Timestamp,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, ChunkSpec, Completion, Expected, ObjectName, ObjectStore as _,
    PartStore as _,
};

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const OBJECTS: u64 = 100_000;
const WRITERS: u64 = 64;
const LIMIT: Duration = Duration::from_secs(60);

fn options(data: &Path) -> Options {
    Options {
        free_floor_bytes: 0,
        ballast_bytes: 0,
        ..Options::new(data)
    }
}

/// Every hundredth object has as many tags as there may be.
fn attributes(number: u64) -> Attributes {
    let tag = |n: usize| (format!("{number} {n}"), "ü".repeat(256));
    let tags = (0..10).map(tag).filter(|_| number.is_multiple_of(100));
    Attributes {
        tags: Tags::new(tags.collect()).unwrap(),
        ..Attributes::default()
    }
}

/// An object in parts of many sizes, with a checksum of checksums.
async fn post_parts(store: &EmbeddedStore, new: NewUpload) -> ObjectMeta {
    let (id, algorithm) = (new.id, ChecksumAlgorithm::Sha256);
    let rules = PartRules {
        checksum: Some((algorithm, ChecksumType::Composite)),
    };
    store.create_parts(new, rules).await.unwrap();
    let mut parts = Vec::new();
    for index in (0..30).rev() {
        let bytes = vec![7; index as usize + 1];
        let spec = ChunkSpec::new(index, None);
        let mut writer = store.write_chunk(id, spec).await.unwrap();
        writer.keep_checksum(Checksum::of(algorithm, &bytes));
        parts.insert(0, (index, Md5::of(&bytes)));
        writer.write(bytes.into()).await.unwrap();
        writer.commit(Expected::default(), NOW).await.unwrap();
    }
    let condition = None;
    let made = store.complete_parts(id, Completion { parts, condition }, NOW);
    let made = made.await.unwrap().unwrap();
    let kept = made.parts.as_ref().unwrap();
    assert!(kept.count() == 30 && kept.has_sizes() && kept.composite_text().is_some());
    assert!(made.etag.as_str().ends_with("-30"));
    made
}

/// Objects differ in key, expiry, tags and bytes; every thousandth comes in parts.
async fn post(store: &EmbeddedStore, number: u64) -> ObjectMeta {
    let id = Id::new(
        NOW,
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(),
    );
    let expires = NOW.plus(Duration::from_secs(1000 + number));
    let new = NewUpload {
        id,
        bucket: Bucket::parse("uploads").unwrap(),
        key: ObjectKey::parse(&format!("folder {}/object {number}.bin", number % 97)).unwrap(),
        pipeline: None,
        expires_at: (!number.is_multiple_of(3)).then_some(expires),
        headers: HeaderSet::default(),
        attributes: attributes(number),
        application: None,
        created_at: NOW,
        abandoned_at: expires,
        form_post_url: String::new(),
        answer: Default::default(),
    };
    if number.is_multiple_of(1000) {
        return post_parts(store, new).await;
    }
    let mut writer = store.write_object(new).await.unwrap();
    writer
        .write(number.to_be_bytes().to_vec().into())
        .await
        .unwrap();
    let committed = writer.commit(Expected::default(), NOW).await.unwrap();
    committed.object.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_index_of_100_000_objects_is_back_within_60_s() {
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let store = Arc::new(
        EmbeddedStore::open(options(folder.path()), NOW)
            .await
            .unwrap(),
    );
    let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), NOW);
    store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut written = Vec::new();
            for number in (writer..OBJECTS).step_by(usize::try_from(WRITERS).unwrap()) {
                written.push(post(&store, number).await);
            }
            written
        })
    });
    let mut objects = Vec::new();
    for written in futures_util::future::join_all(writers).await {
        objects.extend(written.unwrap());
    }
    store.close().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let began = Instant::now();
    let store = EmbeddedStore::open(options(folder.path()), NOW)
        .await
        .unwrap();
    let took = began.elapsed();
    println!("{OBJECTS} objects: the index was rebuilt in {took:?}");
    assert_eq!(u64::try_from(objects.len()).unwrap(), OBJECTS);
    for meta in &objects {
        let by_id = store.object(&ObjectName::Id(meta.id), NOW).await.unwrap();
        assert_eq!(by_id, *meta);
        let key = ObjectName::Key(meta.bucket.clone(), meta.key.clone());
        assert_eq!(store.object(&key, NOW).await.unwrap().id, meta.id);
    }
    assert!(took < LIMIT, "it took {took:?}");
}
