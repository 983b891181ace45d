//! One suite that every storage engine passes: the contract of `src/store/mod.rs`, sentence by sentence.
//!
//! Owns: the tests and the helpers that make uploads; [`Fixture`] is the one place that knows which engine runs, so another
//! engine is added there. Never does: look inside an engine, sleep, or read a clock.

#![allow(missing_docs, reason = "the names of the tests are the documentation")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pillarbox::model::{
    Bucket, Crc64, ETag, HeaderSet, Id, Md5, NewUpload, ObjectKey, ObjectMeta, Timestamp,
    UploadState,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{ChunkSpec, Committed, Expected, ObjectName, ObjectStore as _, StoreError};

/// The moment at which the tests happen.
const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// An engine on a folder that is removed at the end.
struct Fixture {
    folder: PathBuf,
    store: Option<EmbeddedStore>,
}

impl Fixture {
    async fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pillarbox-contract-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let store = Some(Self::open(&folder).await);
        Self { folder, store }
    }

    async fn open(folder: &Path) -> EmbeddedStore {
        EmbeddedStore::open(Self::options(folder), NOW)
            .await
            .unwrap()
    }

    fn options(folder: &Path) -> Options {
        Options {
            free_floor_bytes: 0,
            ballast_bytes: 0,
            ..Options::new(folder)
        }
    }

    fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().unwrap()
    }

    /// Drops the engine as a crash would, without closing it, and opens it again.
    async fn restart(&mut self) {
        self.store = None;
        self.store = Some(Self::open(&self.folder).await);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.store = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn new_id() -> Id {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    Id::new(NOW, number.to_be_bytes())
}

fn upload(key: &str) -> NewUpload {
    NewUpload {
        id: new_id(),
        bucket: Bucket::parse("uploads").unwrap(),
        key: ObjectKey::parse(key).unwrap(),
        pipeline: None,
        expires_at: None,
        headers: HeaderSet::default(),
        application: None,
        created_at: NOW,
        abandoned_at: Timestamp::from_seconds(NOW.seconds() + 7 * 86_400),
        form_post_url: "http://localhost/uploads/".to_owned(),
    }
}

/// Bytes that differ from place to place and from seed to seed.
fn data(seed: u8, length: usize) -> Bytes {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

async fn begin(store: &EmbeddedStore, key: &str) -> Id {
    let new = upload(key);
    let id = new.id;
    store.create_upload(new).await.unwrap();
    id
}

async fn send(
    store: &EmbeddedStore,
    id: Id,
    (index, nb_chunks): (u32, Option<u32>),
    bytes: &Bytes,
) -> Result<Committed, StoreError> {
    let spec = ChunkSpec { index, nb_chunks };
    let mut writer = store.write_chunk(id, spec).await?;
    for piece in bytes.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.commit(Expected::default(), NOW).await
}

async fn post(
    store: &EmbeddedStore,
    new: NewUpload,
    bytes: &Bytes,
) -> Result<ObjectMeta, StoreError> {
    let mut writer = store.write_object(new).await?;
    writer.write(bytes.clone()).await?;
    let committed = writer.commit(Expected::default(), NOW).await?;
    Ok(committed.object.unwrap())
}

async fn read(store: &EmbeddedStore, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
    let reader = store.open(name, NOW).await?;
    let mut bytes = Vec::new();
    loop {
        let piece = reader.read_at(bytes.len() as u64, 1 << 20).await?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&piece);
    }
}

#[tokio::test]
async fn chunks_in_any_order_become_one_object() {
    let mut fixture = Fixture::new().await;
    let parts = [
        data(1, 300_000),
        data(2, 300_000),
        data(3, 300_000),
        data(4, 1_000),
    ];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let id = begin(fixture.store(), "a/b.bin").await;
        let mut last = None;
        for index in order {
            let sent = send(
                fixture.store(),
                id,
                (index, Some(4)),
                &parts[index as usize],
            )
            .await;
            last = sent.unwrap().object;
        }
        let meta = last.unwrap();
        let whole = parts.concat();
        assert_eq!(meta.size, whole.len() as u64);
        assert_eq!(meta.crc64, Crc64::of(&whole));
        let md5s = parts.iter().map(|part| Md5::of(part));
        assert_eq!(meta.etag, ETag::of_chunks(md5s));
        assert_eq!(
            read(fixture.store(), &ObjectName::Id(id)).await.unwrap(),
            whole
        );
        let session = fixture.store().upload(id).await.unwrap();
        assert_eq!(session.state, UploadState::Completed);
        fixture.restart().await;
        assert_eq!(
            read(fixture.store(), &ObjectName::Id(id)).await.unwrap(),
            whole
        );
    }
}

#[tokio::test]
async fn an_object_in_one_piece_has_its_md5_as_etag() {
    let fixture = Fixture::new().await;
    let bytes = data(9, 70_000);
    let meta = post(fixture.store(), upload("one.bin"), &bytes)
        .await
        .unwrap();
    assert_eq!(meta.etag, ETag::of_whole(Md5::of(&bytes)));
    assert_eq!(meta.md5, Some(Md5::of(&bytes)));
    let name = ObjectName::Key(meta.bucket.clone(), meta.key.clone());
    assert_eq!(read(fixture.store(), &name).await.unwrap(), bytes);
}
