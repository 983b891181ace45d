//! The index can be lost: 100,000 objects, an index that is deleted, and all of it back within 60 s. Then all of them are listed, page
//! by page, of which the last takes no longer than the first.
//!
//! Needs the feature `faults` only because it takes a while: it runs with the fault tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pillarbox::model::{
    Attributes, Bucket, BucketConfig, Checksum, ChecksumAlgorithm, ChecksumType, HeaderSet, Id,
    Md5, NewUpload, ObjectKey, ObjectMeta, PartRules, Tags, Timestamp,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, ChunkSpec, Completion, Expected, KeyEntry, KeyQuery, ObjectName,
    ObjectStore as _, PartStore as _,
};

#[path = "support/memory.rs"]
mod memory;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const OBJECTS: u64 = 100_000;
const WRITERS: u64 = 64;
const LIMIT: Duration = Duration::from_secs(60);
/// Entries of one page of a list.
const PAGE: usize = 1000;
/// Pages at either end of a list; the fastest of them are compared, whatever else the machine does meanwhile.
const COMPARED: usize = 15;

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
    let made = made.await.unwrap();
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
    let folder = memory::in_memory();
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
    let (mut store, mut took) = rebuilt(folder.path()).await;
    if took >= LIMIT {
        // This is no release, and other tests work beside it: once more, before that counts.
        store.close().await.unwrap();
        drop(store);
        (store, took) = rebuilt(folder.path()).await;
    }
    assert_eq!(u64::try_from(objects.len()).unwrap(), OBJECTS);
    for meta in &objects {
        let by_id = store.object(&ObjectName::Id(meta.id), NOW).await.unwrap();
        assert_eq!(by_id, *meta);
        let key = ObjectName::Key(meta.bucket.clone(), meta.key.clone());
        assert_eq!(store.object(&key, NOW).await.unwrap().id, meta.id);
    }
    assert!(took < LIMIT, "it took {took:?}");
    list_all(&store, &objects).await;
}

/// Loses the index of a data folder and opens it: the store, and how long that took.
async fn rebuilt(data: &Path) -> (EmbeddedStore, Duration) {
    std::fs::remove_dir_all(data.join("index")).unwrap();
    let began = Instant::now();
    let store = EmbeddedStore::open(options(data), NOW).await.unwrap();
    let took = began.elapsed();
    println!("{OBJECTS} objects: the index was rebuilt in {took:?}");
    (store, took)
}

/// Every page of a list by key: the entries, and how long each page took.
async fn pages(
    store: &EmbeddedStore,
    prefix: &str,
    delimiter: Option<&str>,
) -> (Vec<KeyEntry>, Vec<Duration>) {
    let mut query = KeyQuery {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        limit: PAGE,
        ..KeyQuery::of(Bucket::parse("uploads").unwrap())
    };
    let (mut entries, mut took) = (Vec::new(), Vec::new());
    loop {
        let began = Instant::now();
        let page = store.list_keys(&query, NOW).await.unwrap();
        took.push(began.elapsed());
        assert!(page.entries.len() <= PAGE);
        query.after = page.entries.last().map(name_of);
        entries.extend(page.entries);
        if !page.more {
            return (entries, took);
        }
    }
}

/// Lists all objects, with and without groups, and compares with what was written.
async fn list_all(store: &EmbeddedStore, objects: &[ObjectMeta]) {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    let (listed, took) = pages(store, "", None).await;
    let same = |(entry, meta): (&KeyEntry, &ObjectMeta)| is_of(entry, meta);
    assert_eq!(listed.len(), objects.len());
    assert!(listed.iter().zip(&objects).all(same));
    assert_eq!(took.len(), objects.len() / PAGE);
    let fastest = |pages: &[Duration]| pages.iter().copied().min().unwrap();
    let (first, last) = (
        fastest(&took[..COMPARED]),
        fastest(&took[took.len() - COMPARED..]),
    );
    println!(
        "{} pages: {first:?} for one of the first, {last:?} for one of the last",
        took.len()
    );
    assert!(
        last < 5 * first,
        "the last take {last:?}, the first {first:?}"
    );

    let folders: BTreeSet<String> = (0..97).map(|n| format!("folder {n}/")).collect();
    let (listed, _) = pages(store, "", Some("/")).await;
    let names = listed.iter().map(|entry| match entry {
        KeyEntry::Group(name) => name.clone(),
        KeyEntry::Object(meta) => panic!("{} is in no folder", meta.key.as_str()),
    });
    assert!(names.eq(folders.iter().cloned()));
    for folder in folders.iter().step_by(10) {
        let (listed, _) = pages(store, folder, Some("/")).await;
        let mut held = objects
            .iter()
            .filter(|meta| meta.key.as_str().starts_with(folder));
        let all = listed
            .iter()
            .all(|entry| held.next().is_some_and(|meta| is_of(entry, meta)));
        assert!(all && held.next().is_none(), "{folder}");
    }
}

fn name_of(entry: &KeyEntry) -> String {
    match entry {
        KeyEntry::Object(meta) => meta.key.as_str().to_owned(),
        KeyEntry::Group(name) => name.clone(),
    }
}

fn is_of(entry: &KeyEntry, meta: &ObjectMeta) -> bool {
    matches!(entry, KeyEntry::Object(listed) if **listed == *meta)
}
