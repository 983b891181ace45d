//! Data folders with many objects, made through the store's own doors.
//!
//! Owns: [`fill`]. Every object is a real file with a label, and a record in a real index, written by the same code as an
//! upload, only without HTTP around it. Never does: write into a data folder by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pillarbox::model::{
    Bucket, BucketConfig, HeaderSet, Id, NewUpload, ObjectKey, PipelineRef, Timestamp,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{Catalog as _, CatalogEntry, Expected, ObjectStore as _};

use crate::client::PIPELINE;

/// Objects that are written at once.
const WRITERS: usize = 256;
/// Bytes of each object.
pub(crate) const OBJECT_BYTES: usize = 16;

/// Folders that they lie in; a list by folders has more than one page of them.
const FOLDERS: usize = 5003;

/// Puts `count` objects into a data folder that no server uses.
pub(crate) fn fill(data: &Path, count: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let options = Options {
            free_floor_bytes: 0,
            ballast_bytes: 0,
            ..Options::new(data)
        };
        let store = EmbeddedStore::open(options, now()).await.expect("a store");
        let name = Bucket::parse("uploads").expect("a bucket");
        let bucket = CatalogEntry::Bucket(BucketConfig::new(name, now()));
        store.insert(bucket).await.expect("a bucket");
        let store = Arc::new(store);
        let next = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (store, next) = (Arc::clone(&store), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        write(&store, number).await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no object fails");
        }
        store.close().await.expect("a clean stop");
    });
}

/// The key of an object, below its pipeline.
pub(crate) fn key(number: usize) -> String {
    format!("folder{}/object{number}.bin", number % FOLDERS)
}

async fn write(store: &EmbeddedStore, number: usize) {
    let created = now();
    let scattered = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let key = key(number);
    let new = NewUpload {
        id: Id::new(created, scattered.to_be_bytes()),
        bucket: Bucket::parse("uploads").expect("a bucket"),
        key: ObjectKey::parse(&format!("tmp/{PIPELINE}/{key}")).expect("a key"),
        pipeline: Some(PipelineRef {
            id: Id::parse(PIPELINE).expect("an id"),
            object_key: ObjectKey::parse(&key).expect("a key"),
        }),
        expires_at: Some(created.plus(Duration::from_secs(7 * 86_400))),
        headers: HeaderSet::default(),
        attributes: Default::default(),
        application: None,
        created_at: created,
        abandoned_at: created.plus(Duration::from_secs(7 * 86_400)),
        form_post_url: String::new(),
        answer: Default::default(),
    };
    let mut writer = store.write_object(new).await.expect("a writer");
    let bytes = vec![7; OBJECT_BYTES];
    writer.write(bytes.into()).await.expect("written");
    let committed = writer.commit(Expected::default(), created).await;
    committed.expect("kept");
}

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}
