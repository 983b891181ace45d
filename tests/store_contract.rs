//! One suite that every storage engine passes: the contract of `src/store/mod.rs`, sentence by sentence.
//!
//! Owns: the tests and the helpers that make uploads; [`Fixture`] is the one place that knows which engine runs, so another
//! engine is added there. Never does: look inside an engine, sleep until something expires, or read a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]
#![allow(missing_docs, reason = "the names of the tests are the documentation")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pillarbox::model::{
    AccessKey, AnswerStyle, Application, Attributes, Bucket, BucketConfig, BucketSetting,
    CannedAcl, Checksum, ChecksumAlgorithm, ChecksumType, Crc64, ETag, Expiration, HeaderSet, Id,
    KeyPurpose, LifecycleFilter, LifecycleRule, MAX_CHUNKS, Md5, NewUpload, ObjectKey, ObjectMeta,
    PartRules, Pipeline, PipelineRef, PipelineSettings, SaidSizes, Scopes, Secret, SettingKind,
    SettingValue, Tags, Timestamp, Token, TokenHash, UploadState,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, CatalogKey, CatalogKind, ChunkSpec, ClockReading, Committed,
    Completion, Expected, FileQuery, KeyEntry, KeyQuery, MAX_TOKENS_OF_APPLICATION, ObjectChange,
    ObjectName, ObjectStore as _, PartStore as _, SortKey, StoreError, SweepReport, UploadEntry,
    UploadQuery, WriteCondition,
};

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
        let store = Self::open(&folder).await;
        add_bucket(&store, "uploads").await;
        let store = Some(store);
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
        attributes: Default::default(),
        application: None,
        created_at: NOW,
        abandoned_at: Timestamp::from_seconds(NOW.seconds() + 7 * 86_400),
        form_post_url: "http://localhost/uploads/".to_owned(),
        answer: Default::default(),
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
    let spec = ChunkSpec::new(index, nb_chunks);
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
async fn chunks_of_any_size_in_any_order_become_one_object() {
    let mut fixture = Fixture::new().await;
    let sizes = [1_500_000, 10, 0, 700_000, 2_500_000, 1];
    let parts: Vec<Bytes> = (1..)
        .zip(sizes)
        .map(|(seed, size)| data(seed, size))
        .collect();
    for order in [
        [0, 1, 2, 3, 4, 5],
        [5, 4, 3, 2, 1, 0],
        [1, 0, 4, 5, 3, 2],
        [3, 5, 0, 2, 4, 1],
    ] {
        let id = begin(fixture.store(), "odd.bin").await;
        for (count, index) in order.into_iter().enumerate() {
            let spec = (index, (count == 0).then_some(6));
            send(fixture.store(), id, spec, &parts[index as usize])
                .await
                .unwrap();
            if count == 3 {
                fixture.restart().await;
            }
        }
        assert_eq!(
            read(fixture.store(), &ObjectName::Id(id)).await.unwrap(),
            parts.concat()
        );
        fixture
            .store()
            .verify(&ObjectName::Id(id), NOW)
            .await
            .unwrap();
        assert_no_spills(&fixture, id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_in_parallel_become_one_object() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let parts: Vec<Bytes> = (0..12)
        .map(|seed| data(seed, 400_000 + usize::from(seed == 11)))
        .collect();
    let id = begin(store, "parallel.bin").await;
    let sending = parts.iter().zip(0..).map(|(part, index)| {
        let (store, part) = (store.clone(), part.clone());
        tokio::spawn(async move { send(&store, id, (index, Some(12)), &part).await })
    });
    let mut whole = 0;
    for sent in sending.collect::<Vec<_>>() {
        whole += usize::from(sent.await.unwrap().unwrap().object.is_some());
    }
    assert_eq!(whole, 1, "exactly one chunk made the object whole");
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_chunk_sent_many_times_at_once_counts_once() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let (first, second) = (data(1, 900_000), data(2, 900_000));
    let id = begin(store, "twice.bin").await;
    let sending: Vec<_> = (0..6)
        .map(|_| {
            let (store, first) = (store.clone(), first.clone());
            tokio::spawn(async move { send(&store, id, (0, Some(2)), &first).await })
        })
        .collect();
    let mut fresh = 0;
    for sent in sending {
        fresh += usize::from(!sent.await.unwrap().unwrap().repeated);
    }
    assert_eq!(fresh, 1);
    assert_eq!(store.upload(id).await.unwrap().received_bytes, 900_000);
    send(store, id, (1, Some(2)), &second).await.unwrap();
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        [first, second].concat()
    );
    assert_no_spills(&fixture, id).await;
}

#[tokio::test]
async fn a_repeated_chunk_is_acknowledged_with_its_first_receipt() {
    let mut fixture = Fixture::new().await;
    let parts = [data(1, 5_000), data(2, 5_000)];
    let id = begin(fixture.store(), "repeat.bin").await;
    let first = send(fixture.store(), id, (0, Some(2)), &parts[0])
        .await
        .unwrap();
    let again = send(fixture.store(), id, (0, Some(2)), &parts[0])
        .await
        .unwrap();
    assert!(again.repeated && again.receipt == first.receipt);
    send(fixture.store(), id, (1, Some(2)), &parts[1])
        .await
        .unwrap();
    fixture.restart().await;
    let late = send(fixture.store(), id, (0, Some(2)), &parts[0])
        .await
        .unwrap();
    assert!(late.repeated && late.receipt == first.receipt);
    assert_eq!(late.object.unwrap().id, id);
}

#[tokio::test]
async fn other_bytes_replace_a_chunk_until_the_upload_is_finished() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let (wrong, right, last) = (data(1, 5_000), data(2, 7_000), data(3, 100));
    let id = begin(store, "replace.bin").await;
    send(store, id, (0, Some(2)), &wrong).await.unwrap();
    let replaced = send(store, id, (0, Some(2)), &right).await.unwrap();
    assert!(!replaced.repeated);
    assert_eq!(store.upload(id).await.unwrap().received_bytes, 7_000);
    send(store, id, (1, Some(2)), &last).await.unwrap();
    let whole = [right, last].concat();
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap(), whole);
    let late = send(store, id, (0, Some(2)), &wrong).await;
    assert!(matches!(
        late,
        Err(StoreError::ChunkDiffers {
            index: 0,
            nb_chunks: 2
        })
    ));
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap(), whole);
    assert_no_spills(&fixture, id).await;
}

#[tokio::test]
async fn a_chunk_that_is_overtaken_by_its_upload_is_told_that_it_differs() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "overtaken.bin").await;
    send(store, id, (1, Some(2)), &data(1, 5)).await.unwrap();
    let spec = ChunkSpec::new(0, Some(2));
    let (slow, quick) = (data(2, 3_000_000), data(3, 10));
    let mut writer = store.write_chunk(id, spec).await.unwrap();
    writer.write(slow.slice(..1_500_000)).await.unwrap();
    let done = send(store, id, (0, Some(2)), &quick).await.unwrap();
    assert!(done.object.is_some());
    writer.write(slow.slice(1_500_000..)).await.unwrap();
    let late = writer.commit(Expected::default(), NOW).await;
    assert!(matches!(late, Err(StoreError::ChunkDiffers { .. })));
    let whole = [quick, data(1, 5)].concat();
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap(), whole);
    assert_no_spills(&fixture, id).await;
}

#[tokio::test]
async fn a_chunk_that_wrongly_says_it_is_the_only_one_spoils_none_of_the_others() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let parts = [data(1, 10), data(2, 10), data(3, 10)];
    let id = begin(store, "only.bin").await;
    let spec = ChunkSpec::new(0, Some(1));
    let mut only = store.write_chunk(id, spec).await.unwrap();
    for index in [0, 1, 2] {
        let sent = send(store, id, (index, None), &parts[index as usize]).await;
        sent.unwrap();
    }
    only.write(data(9, 4)).await.unwrap();
    let refused = only.commit(Expected::default(), NOW).await;
    assert!(matches!(
        refused,
        Err(StoreError::ChunkCountDiffers { known: 3, given: 1 })
    ));
    let done = store.finish_upload(id, 3, NOW).await.unwrap();
    assert_eq!(done.state, UploadState::Completed);
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test]
async fn a_chunk_longer_than_the_others_spoils_none_of_them() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let parts = [
        data(1, 1_200_000),
        data(2, 1_200_000),
        data(3, 3_000_000),
        data(4, 1_200_000),
        data(5, 10),
    ];
    let id = begin(store, "long.bin").await;
    for index in [0, 1, 3, 2, 4] {
        send(store, id, (index, Some(5)), &parts[index as usize])
            .await
            .unwrap();
    }
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
    store.verify(&ObjectName::Id(id), NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_chunk_that_turns_out_too_long_while_others_arrive_spoils_none_of_them() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let parts = [
        data(1, 4_000_000),
        data(2, 1_000_000),
        data(3, 1_000_000),
        data(4, 5),
    ];
    let id = begin(store, "slow.bin").await;
    let spec = ChunkSpec::new(0, Some(4));
    let mut slow = store.write_chunk(id, spec).await.unwrap();
    slow.write(parts[0].slice(..500_000)).await.unwrap();
    for index in [2, 1] {
        send(store, id, (index, Some(4)), &parts[index as usize])
            .await
            .unwrap();
    }
    slow.write(parts[0].slice(500_000..2_500_000))
        .await
        .unwrap();
    slow.write(parts[0].slice(2_500_000..)).await.unwrap();
    slow.commit(Expected::default(), NOW).await.unwrap();
    send(store, id, (3, Some(4)), &parts[3]).await.unwrap();
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_no_acknowledged_chunk() {
    let mut fixture = Fixture::new().await;
    let parts = [data(1, 800_000), data(2, 800_000), data(3, 800_000)];
    let id = begin(fixture.store(), "resume.bin").await;
    for index in [2, 0] {
        send(
            fixture.store(),
            id,
            (index, Some(3)),
            &parts[index as usize],
        )
        .await
        .unwrap();
        fixture.restart().await;
    }
    let session = fixture.store().upload(id).await.unwrap();
    assert_eq!((session.received_chunks, session.nb_chunks), (2, Some(3)));
    let indices = fixture.store().receipts(id).await.unwrap();
    assert_eq!(indices.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 2]);
    send(fixture.store(), id, (1, None), &parts[1])
        .await
        .unwrap();
    assert_eq!(
        read(fixture.store(), &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test]
async fn a_session_keeps_the_style_of_its_answers_over_a_restart() {
    let mut fixture = Fixture::new().await;
    for answer in AnswerStyle::ALL {
        let new = NewUpload {
            answer,
            ..upload("styled.bin")
        };
        let started = fixture.store().create_upload(new).await.unwrap();
        fixture.restart().await;
        let found = fixture.store().upload(started.upload.id).await.unwrap();
        assert_eq!(found, started);
        assert_eq!(found.upload.answer, answer);
    }
}

#[tokio::test]
async fn the_receipt_of_one_chunk_is_found_while_its_session_is_known() {
    let mut fixture = Fixture::new().await;
    let id = begin(fixture.store(), "one.bin").await;
    let sent = send(fixture.store(), id, (1, Some(2)), &data(1, 1000))
        .await
        .unwrap();
    fixture.restart().await;
    let store = fixture.store();
    assert_eq!(
        store.receipt(id, 1).await.unwrap(),
        Some(sent.receipt.clone())
    );
    assert_eq!(store.receipt(id, 0).await.unwrap(), None);
    assert_eq!(store.receipt(new_id(), 1).await.unwrap(), None);
    send(store, id, (0, Some(2)), &data(2, 1000)).await.unwrap();
    let found = store.receipt(id, 1).await.unwrap();
    assert_eq!(found, Some(sent.receipt), "also when it is finished");
    let gone = begin(store, "gone.bin").await;
    send(store, gone, (0, None), &data(3, 10)).await.unwrap();
    store.abort_upload(gone).await.unwrap();
    assert_eq!(store.receipt(gone, 0).await.unwrap(), None);
}

#[tokio::test]
async fn a_dropped_chunk_leaves_nothing_and_can_be_sent_again() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let (first, second) = (data(1, 2_500_000), data(2, 10));
    let id = begin(store, "dropped.bin").await;
    let spec = ChunkSpec::new(0, Some(2));
    let mut writer = store.write_chunk(id, spec).await.unwrap();
    writer.write(data(7, 2_000_000)).await.unwrap();
    drop(writer);
    assert_eq!(store.upload(id).await.unwrap().received_chunks, 0);
    send(store, id, (0, Some(2)), &first).await.unwrap();
    send(store, id, (1, Some(2)), &second).await.unwrap();
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        [first, second].concat()
    );
}

fn by_key(meta: &ObjectMeta) -> ObjectName {
    ObjectName::Key(meta.bucket.clone(), meta.key.clone())
}

/// Stores an object under a condition.
async fn post_if(
    store: &EmbeddedStore,
    new: NewUpload,
    condition: WriteCondition,
) -> Result<ObjectMeta, StoreError> {
    let mut writer = store.write_object(new).await?;
    writer.write(data(3, 100)).await?;
    let expected = Expected {
        condition: Some(condition),
        ..Expected::default()
    };
    Ok(writer.commit(expected, NOW).await?.object.unwrap())
}

#[tokio::test]
async fn a_condition_is_judged_by_what_has_the_key_when_the_object_is_named() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let (mine, other) = (ETag::of_whole(Md5::of(&data(3, 100))), ETag::named("other"));
    let matches = |tag: &ETag| WriteCondition::Matches(tag.clone());
    for (condition, free, taken) in [
        (WriteCondition::Absent, "", "the condition does not hold"),
        (WriteCondition::Present, "no such object", ""),
        (matches(&mine), "no such object", ""),
        (
            matches(&other),
            "no such object",
            "the condition does not hold",
        ),
    ] {
        let told = |result: Result<ObjectMeta, StoreError>| {
            result.map_or_else(|error| error.to_string(), |_| String::new())
        };
        let name = format!("{condition:?}");
        let answer = post_if(store, upload(&name), condition.clone()).await;
        assert_eq!(told(answer), free, "{condition:?} on a free key");
        let held = post(store, upload(&name), &data(3, 100)).await.unwrap();
        let answer = post_if(store, upload(&name), condition.clone()).await;
        assert_eq!(told(answer), taken, "{condition:?} on a taken key");
        let now_held = store.object(&by_key(&held), NOW).await.unwrap();
        assert_eq!(now_held.id == held.id, !taken.is_empty(), "{condition:?}");
    }
}

#[tokio::test]
async fn what_has_expired_is_absent_to_a_condition() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let mut short = upload("short.bin");
    short.expires_at = Some(NOW);
    let mut writer = store.write_object(short).await.unwrap();
    writer.write(data(1, 10)).await.unwrap();
    let before = Timestamp::from_seconds(NOW.seconds() - 1);
    writer.commit(Expected::default(), before).await.unwrap();
    let missed = post_if(store, upload("short.bin"), WriteCondition::Present).await;
    assert!(matches!(missed, Err(StoreError::NoSuchObject)));
    let made = post_if(store, upload("short.bin"), WriteCondition::Absent).await;
    assert!(made.is_ok());
}

#[tokio::test]
async fn of_those_who_want_a_key_to_be_free_at_the_same_time_exactly_one_succeeds() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for round in 0..20 {
        let name = format!("race {round}");
        let racers = (0..8).map(|_| post_if(store, upload(&name), WriteCondition::Absent));
        let answers = futures_util::future::join_all(racers).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(
            lost.iter()
                .all(|lost| matches!(lost, Err(StoreError::ConditionFailed)))
        );
    }
    assert_eq!(total(store).await, 20);
}

#[tokio::test]
async fn an_object_is_deleted_only_if_its_condition_holds() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let held = post(store, upload("a.bin"), &data(3, 100)).await.unwrap();
    let name = by_key(&held);
    let delete = |condition| store.delete_object_if(&name, Some(condition), NOW);
    let other = WriteCondition::Matches(ETag::named("other"));
    for condition in [other, WriteCondition::Absent] {
        let answer = delete(condition).await;
        assert!(matches!(answer, Err(StoreError::ConditionFailed)));
    }
    delete(WriteCondition::Matches(held.etag)).await.unwrap();
    let again = delete(WriteCondition::Present).await;
    assert!(matches!(again, Err(StoreError::NoSuchObject)));
}

#[tokio::test]
async fn a_checksum_that_came_behind_the_bytes_is_kept() {
    let mut fixture = Fixture::new().await;
    let bytes = data(1, 1_000);
    let checksum = Checksum::new(ChecksumAlgorithm::Crc32, vec![1, 2, 3, 4]).unwrap();
    let mut writer = fixture.store().write_object(upload("a")).await.unwrap();
    writer.write(bytes).await.unwrap();
    writer.keep_checksum(checksum.clone());
    let committed = writer.commit(Expected::default(), NOW).await.unwrap();
    let name = ObjectName::Id(committed.object.unwrap().id);
    fixture.restart().await;
    let stored = fixture.store().object(&name, NOW).await.unwrap();
    assert_eq!(stored.attributes.checksum, Some(checksum));
}

/// In a bucket of its own.
fn in_bucket(bucket: &Bucket, key: &str) -> NewUpload {
    NewUpload {
        bucket: bucket.clone(),
        ..upload(key)
    }
}

async fn add_bucket(store: &EmbeddedStore, name: &str) -> Bucket {
    let bucket = Bucket::parse(name).unwrap();
    let entry = CatalogEntry::Bucket(BucketConfig::new(bucket.clone(), NOW));
    store.insert(entry).await.unwrap();
    bucket
}

#[tokio::test]
async fn a_bucket_is_removed_or_an_object_is_named_in_it_but_never_both() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for round in 0..20 {
        let bucket = add_bucket(store, &format!("round-{round}")).await;
        let bytes = data(1, 100);
        let write = async {
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
            post(store, in_bucket(&bucket, "a"), &bytes).await
        };
        let (written, removed) = futures_util::join!(write, store.remove_bucket(&bucket, NOW));
        match (written, removed) {
            (Ok(meta), Err(StoreError::InUse)) => {
                store.delete_object(&by_key(&meta), NOW).await.unwrap();
                assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
            }
            (Err(StoreError::NoSuchBucket), Ok(true)) => {}
            other => panic!("{other:?}"),
        }
        assert!(!store.remove_bucket(&bucket, NOW).await.unwrap());
    }
    assert_eq!(total(store).await, 0);
}

#[tokio::test]
async fn what_has_expired_keeps_no_bucket() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bucket = add_bucket(store, "short").await;
    let end = Timestamp::from_seconds(NOW.seconds() + 1);
    let mut new = in_bucket(&bucket, "a");
    new.expires_at = Some(end);
    post(store, new, &data(1, 100)).await.unwrap();
    let early = store.remove_bucket(&bucket, NOW).await;
    assert!(matches!(early, Err(StoreError::InUse)));
    let key = CatalogKey::Bucket(bucket.clone());
    assert!(matches!(store.remove(&key).await, Err(StoreError::InUse)));
    assert!(store.remove_bucket(&bucket, end).await.unwrap());
}

#[tokio::test]
async fn an_object_in_one_piece_does_not_pass_to_another_bucket_of_the_same_name() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bucket = add_bucket(store, "films").await;
    // As it should be; in the same moment; after the clock was set back.
    for later in [1000, 0, -1000] {
        let mut writer = store.write_object(in_bucket(&bucket, "a")).await.unwrap();
        writer.write(Bytes::from_static(b"bytes")).await.unwrap();
        assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
        let made = Timestamp::from_millis(NOW.millis() + later);
        let next = CatalogEntry::Bucket(BucketConfig::new(bucket.clone(), made));
        store.insert(next).await.unwrap();
        let refused = writer.commit(Expected::default(), NOW).await;
        assert!(
            matches!(refused, Err(StoreError::NoSuchBucket)),
            "{later}: {refused:?}"
        );
    }
    assert_eq!(total(store).await, 0);
    let mut writer = store.write_object(in_bucket(&bucket, "a")).await.unwrap();
    writer.write(Bytes::from_static(b"bytes")).await.unwrap();
    add_bucket(store, "films").await;
    let written = writer.commit(Expected::default(), NOW).await;
    written.expect("the bucket was written again and is the same");
}

#[tokio::test]
async fn a_session_whose_bucket_was_removed_fails() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bucket = add_bucket(store, "films").await;
    let mut ids = Vec::new();
    for key in ["one", "two"] {
        let new = in_bucket(&bucket, key);
        ids.push(new.id);
        store.create_upload(new).await.unwrap();
    }
    send(store, ids[0], (0, Some(2)), &data(1, 100))
        .await
        .unwrap();
    assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
    let last = send(store, ids[0], (1, Some(2)), &data(2, 10)).await;
    assert!(matches!(
        last,
        Err(StoreError::UploadFailed(UploadState::Failed))
    ));
    let whole = send(store, ids[1], (0, Some(1)), &data(3, 10)).await;
    assert!(matches!(whole, Err(StoreError::NoSuchBucket)));
    assert_eq!(total(store).await, 0);
}

#[tokio::test]
async fn an_upload_that_ends_when_its_file_has_expired_takes_nobodys_key() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = NOW.plus(Duration::from_secs(60));
    let (one, two) = (data(1, 100), data(2, 200));
    let live = upload("taken");
    let name = ObjectName::Id(live.id);
    post(store, live, &one).await.unwrap();
    let brief = || NewUpload {
        expires_at: Some(end),
        ..upload("taken")
    };
    let (forms, parts) = (brief(), brief());
    let ids = [forms.id, parts.id];
    store.create_upload(forms).await.unwrap();
    store
        .create_parts(parts, PartRules::default())
        .await
        .unwrap();
    for id in ids {
        send(store, id, (0, None), &one).await.unwrap();
        send(store, id, (1, None), &two).await.unwrap();
    }
    let finished = store.finish_upload(ids[0], 2, end).await.map(drop);
    let wanted = completion(&[(0, &one), (1, &two)]);
    let completed = store.complete_parts(ids[1], wanted, end).await.map(drop);
    for ended in [finished, completed] {
        assert!(matches!(ended, Err(StoreError::NoSuchUpload)), "{ended:?}");
    }
    for id in ids {
        assert!(store.upload(id).await.is_err());
    }
    assert_eq!(read(store, &name).await.unwrap(), one);
}

#[tokio::test]
async fn a_session_begins_only_in_a_bucket_that_is_there_and_never_before_it() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bucket = Bucket::parse("films").unwrap();
    let early = || NewUpload {
        created_at: Timestamp::from_seconds(NOW.seconds() - 60),
        ..in_bucket(&bucket, "a")
    };
    let started = store.create_upload(early()).await;
    assert!(matches!(started, Err(StoreError::NoSuchBucket)));
    let started = store.create_parts(early(), PartRules::default()).await;
    assert!(matches!(started, Err(StoreError::NoSuchBucket)));
    add_bucket(store, "films").await;
    // The clock went back since the bucket was made.
    let new = early();
    let session = store.create_upload(new.clone()).await.unwrap();
    assert_eq!(session.upload.created_at, NOW);
    // Two may make a bucket at the same time; it is the same one when it is written again.
    let later = BucketConfig::new(bucket.clone(), NOW.plus(Duration::from_secs(1)));
    store.insert(CatalogEntry::Bucket(later)).await.unwrap();
    send(store, new.id, (0, Some(1)), &data(1, 10))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_does_not_pass_to_another_bucket_of_the_same_name() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bucket = add_bucket(store, "films").await;
    let (first, last) = (data(1, 100), data(2, 10));
    let news = ["forms", "whole", "dir/parts"].map(|key| in_bucket(&bucket, key));
    let [forms, whole, parts] = [0, 1, 2].map(|n: usize| news[n].id);
    let [a, b, c] = news;
    store.create_upload(a).await.unwrap();
    store.create_upload(b).await.unwrap();
    store.create_parts(c, PartRules::default()).await.unwrap();
    send(store, forms, (0, Some(2)), &first).await.unwrap();
    send(store, parts, (0, None), &first).await.unwrap();
    assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
    let later = NOW.plus(Duration::from_secs(1));
    let next = CatalogEntry::Bucket(BucketConfig::new(bucket.clone(), later));
    store.insert(next).await.unwrap();
    for id in [forms, whole, parts] {
        let gone = store.upload(id).await;
        assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
    }
    let sent = send(store, forms, (1, Some(2)), &last).await;
    assert!(
        matches!(sent, Err(StoreError::UploadFailed(UploadState::Failed))),
        "{sent:?}"
    );
    let sent = send(store, whole, (0, Some(1)), &last).await;
    assert!(matches!(sent, Err(StoreError::NoSuchBucket)), "{sent:?}");
    let ended = complete(store, parts, &[(0, &first)]).await;
    assert!(matches!(ended, Err(StoreError::NoSuchUpload)), "{ended:?}");
    assert_eq!(total(store).await, 0);
    let mine = NewUpload {
        created_at: later,
        ..in_bucket(&bucket, "dirt")
    };
    let id = mine.id;
    store
        .create_parts(mine, PartRules::default())
        .await
        .unwrap();
    for delimiter in [None, Some("/")] {
        let mut query = UploadQuery::of(bucket.clone());
        (query.delimiter, query.limit) = (delimiter.map(str::to_owned), 1);
        let page = store.list_uploads(&query).await.unwrap();
        let [UploadEntry::Upload(session)] = &page.entries[..] else {
            panic!("{:?}", page.entries);
        };
        assert_eq!((session.upload.id, page.more), (id, false));
    }
    send(store, id, (0, None), &first).await.unwrap();
    complete(store, id, &[(0, &first)]).await.unwrap();
    assert_eq!(total(store).await, 1);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_nothing_is_kept() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let bytes = data(1, 1_000);
    let right = Expected {
        length: Some(1_000),
        md5: Some(Md5::of(&bytes)),
        crc64: Some(Crc64::of(&bytes)),
        condition: None,
    };
    let cases = [
        (
            Expected {
                length: Some(999),
                ..right.clone()
            },
            "length",
        ),
        (
            Expected {
                md5: Some(Md5::of(b"x")),
                ..right.clone()
            },
            "MD5",
        ),
        (
            Expected {
                crc64: Some(Crc64::of(b"x")),
                ..right.clone()
            },
            "CRC64NVME",
        ),
    ];
    let id = begin(store, "checked.bin").await;
    for (expected, what) in cases {
        let spec = ChunkSpec::new(0, Some(1));
        let mut writer = store.write_chunk(id, spec).await.unwrap();
        writer.write(bytes.clone()).await.unwrap();
        match writer.commit(expected.clone(), NOW).await {
            Err(StoreError::LengthMismatch {
                expected: 999,
                actual: 1_000,
            }) => assert_eq!(what, "length"),
            Err(StoreError::DigestMismatch { digest }) => assert_eq!(what, digest),
            other => panic!("{what}: {other:?}"),
        }
        let mut whole = store.write_object(upload("direct.bin")).await.unwrap();
        whole.write(bytes.clone()).await.unwrap();
        assert!(whole.commit(expected, NOW).await.is_err());
    }
    assert_eq!(store.upload(id).await.unwrap().received_chunks, 0);
    assert_eq!(total(store).await, 0);
    let spec = ChunkSpec::new(0, Some(1));
    let mut writer = store.write_chunk(id, spec).await.unwrap();
    writer.write(bytes.clone()).await.unwrap();
    assert!(writer.commit(right, NOW).await.unwrap().object.is_some());
}

#[tokio::test]
async fn the_number_of_chunks_is_fixed_by_the_first_who_says_it() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "count.bin").await;
    let part = data(1, 10);
    for spec in [
        (0, Some(0)),
        (3, Some(3)),
        (10_000, None),
        (0, Some(10_001)),
    ] {
        let sent = send(store, id, spec, &part).await;
        assert!(
            matches!(sent, Err(StoreError::ChunkOutOfRange { .. })),
            "{spec:?}: {sent:?}"
        );
    }
    send(store, id, (2, None), &part).await.unwrap();
    let low = send(store, id, (0, Some(2)), &part).await;
    assert!(
        matches!(
            low,
            Err(StoreError::ChunkCountDiffers { known: 3, given: 2 })
        ),
        "{low:?}"
    );
    send(store, id, (0, Some(4)), &part).await.unwrap();
    let other = send(store, id, (1, Some(5)), &part).await;
    assert!(
        matches!(
            other,
            Err(StoreError::ChunkCountDiffers { known: 4, given: 5 })
        ),
        "{other:?}"
    );
    let beyond = send(store, id, (4, None), &part).await;
    assert!(
        matches!(
            beyond,
            Err(StoreError::ChunkOutOfRange {
                index: 4,
                nb_chunks: 4
            })
        ),
        "{beyond:?}"
    );
    let nobody = send(store, new_id(), (0, None), &part).await;
    assert!(matches!(nobody, Err(StoreError::NoSuchUpload)));
}

#[tokio::test]
async fn finish_names_what_is_missing_loses_nothing_and_is_idempotent() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "finish.bin").await;
    let parts = [data(1, 100), data(2, 100), data(3, 50)];
    send(store, id, (0, None), &parts[0]).await.unwrap();
    send(store, id, (2, None), &parts[2]).await.unwrap();
    match store.finish_upload(id, 4, NOW).await {
        Err(StoreError::MissingChunks { first, count: 2 }) => assert_eq!(first, [1, 3]),
        other => panic!("{other:?}"),
    }
    let few = store.finish_upload(id, 2, NOW).await;
    assert!(
        matches!(
            few,
            Err(StoreError::ChunkCountDiffers { known: 3, given: 2 })
        ),
        "{few:?}"
    );
    send(store, id, (1, None), &parts[1]).await.unwrap();
    for _ in 0..2 {
        let session = store.finish_upload(id, 3, NOW).await.unwrap();
        assert_eq!(
            (session.state, session.nb_chunks),
            (UploadState::Completed, Some(3))
        );
    }
    let other = store.finish_upload(id, 4, NOW).await;
    assert!(matches!(
        other,
        Err(StoreError::ChunkCountDiffers { known: 3, given: 4 })
    ));
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test]
async fn an_object_in_one_piece_has_its_md5_as_etag() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for size in [0, 1, 70_000, 3_000_000] {
        let bytes = data(9, size);
        let meta = post(store, upload("one.bin"), &bytes).await.unwrap();
        let id = begin(store, "single.bin").await;
        let single = send(store, id, (0, Some(1)), &bytes)
            .await
            .unwrap()
            .object
            .unwrap();
        for meta in [meta, single] {
            assert_eq!(meta.etag, ETag::of_whole(Md5::of(&bytes)));
            assert_eq!(
                (meta.md5, meta.crc64),
                (Some(Md5::of(&bytes)), Crc64::of(&bytes))
            );
            let name = ObjectName::Key(meta.bucket.clone(), meta.key.clone());
            assert_eq!(read(store, &name).await.unwrap(), bytes);
        }
    }
}

#[tokio::test]
async fn an_id_is_taken_only_once() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let new = upload("id.bin");
    store.create_upload(new.clone()).await.unwrap();
    assert!(matches!(
        store.create_upload(new.clone()).await,
        Err(StoreError::Exists)
    ));
    assert!(matches!(
        post(store, new, &data(1, 5)).await,
        Err(StoreError::Exists)
    ));
}

#[tokio::test]
async fn a_newer_object_replaces_the_older_one_and_old_readers_keep_reading() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let (old, new) = (data(1, 300_000), data(2, 200_000));
    let older = post(store, upload("same.bin"), &old).await.unwrap();
    let reader = store.open(&ObjectName::Id(older.id), NOW).await.unwrap();
    let newer = post(store, upload("same.bin"), &new).await.unwrap();
    let name = ObjectName::Key(newer.bucket.clone(), newer.key.clone());
    assert_eq!(read(store, &name).await.unwrap(), new);
    assert_eq!(reader.read_at(0, 400_000).await.unwrap(), old);
    let gone = store.object(&ObjectName::Id(older.id), NOW).await;
    assert!(matches!(gone, Err(StoreError::NoSuchObject)));
    assert_eq!(total(store).await, 1);
}

#[tokio::test]
async fn reads_stay_within_the_object() {
    let fixture = Fixture::new().await;
    let bytes = data(3, 1_000);
    let meta = post(fixture.store(), upload("range.bin"), &bytes)
        .await
        .unwrap();
    let reader = fixture
        .store()
        .open(&ObjectName::Id(meta.id), NOW)
        .await
        .unwrap();
    assert_eq!(reader.read_at(10, 20).await.unwrap(), bytes.slice(10..30));
    assert_eq!(reader.read_at(990, 20).await.unwrap(), bytes.slice(990..));
    assert!(reader.read_at(1_000, 20).await.unwrap().is_empty());
    assert!(reader.read_at(u64::MAX, 20).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_object_is_absent_from_the_moment_it_expires() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = NOW.plus(Duration::from_secs(60));
    let new = NewUpload {
        expires_at: Some(end),
        ..upload("expires.bin")
    };
    let name = ObjectName::Id(post(store, new, &data(1, 10)).await.unwrap().id);
    let before = Timestamp::from_millis(end.millis() - 1);
    let after = Timestamp::from_millis(end.millis() + 1);
    for (at, live) in [(before, true), (end, false), (after, false)] {
        assert_eq!(store.object(&name, at).await.is_ok(), live);
        assert_eq!(store.open(&name, at).await.is_ok(), live);
        assert_eq!(
            store.list_files(&page(0, 10), at).await.unwrap().total,
            usize::from(live)
        );
    }
    let late = store.delete_object(&name, end).await;
    assert!(matches!(late, Err(StoreError::NoSuchObject)));
    assert!(matches!(
        store.verify(&name, end).await,
        Err(StoreError::NoSuchObject)
    ));
    let change = ObjectChange::ExpiresAt(None);
    assert!(
        store
            .change_object(&name, change.clone(), end)
            .await
            .is_err()
    );
    let kept = store.change_object(&name, change, before).await.unwrap();
    assert_eq!((kept.expires_at, kept.version), (None, 2));
    assert!(store.object(&name, after).await.is_ok());
}

#[tokio::test]
async fn a_used_object_does_not_expire() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = NOW.plus(Duration::from_secs(60));
    let new = NewUpload {
        expires_at: Some(end),
        ..upload("used.bin")
    };
    let name = ObjectName::Id(post(store, new, &data(1, 10)).await.unwrap().id);
    let used = ObjectChange::UsedBy("job-1".to_owned());
    let meta = store.change_object(&name, used, NOW).await.unwrap();
    assert_eq!(
        (meta.job.as_deref(), meta.expires_at),
        (Some("job-1"), None)
    );
    let again = store
        .change_object(&name, ObjectChange::ExpiresAt(Some(end)), NOW)
        .await;
    assert!(matches!(again, Err(StoreError::InUse)));
    let long = ObjectChange::UsedBy("j".repeat(65));
    assert!(matches!(
        store.change_object(&name, long, NOW).await,
        Err(StoreError::RecordTooLarge)
    ));
    let swept = store
        .sweep(at(end.plus(Duration::from_secs(1))), 10)
        .await
        .unwrap();
    assert_eq!(swept.objects, 0);
}

#[tokio::test]
async fn tags_and_access_list_of_an_object_are_changed_durably_and_nothing_else_is() {
    let mut fixture = Fixture::new().await;
    let stored = post(fixture.store(), upload("a"), &data(1, 10)).await;
    let mut expected = stored.unwrap();
    let name = ObjectName::Id(expected.id);
    let large = (0..10).map(|n| (format!("{n}"), "\u{20000}".repeat(256)));
    let small = vec![("k".to_owned(), "v".to_owned())];
    for tags in [large.collect(), small, Vec::new()] {
        let tags = Tags::new(tags).unwrap();
        let later = NOW.plus(Duration::from_secs(u64::from(expected.version)));
        let change = ObjectChange::Tags(tags.clone());
        let changed = fixture.store().change_object(&name, change, later).await;
        expected.attributes.tags = tags;
        expected.version += 1;
        expected.updated_at = later;
        assert_eq!(changed.unwrap(), expected);
        fixture.restart().await;
        let found = fixture.store().object(&name, NOW).await;
        assert_eq!(found.unwrap(), expected);
    }
    let (from, to) = (CannedAcl::Private, CannedAcl::PublicRead);
    let change = ObjectChange::Acl { from: to, to: from };
    let refused = fixture.store().change_object(&name, change, NOW).await;
    let why = "it has not the list that was judged";
    assert!(
        matches!(refused, Err(StoreError::ConditionOvertaken)),
        "{why}"
    );
    let change = ObjectChange::Acl { from, to };
    let changed = fixture.store().change_object(&name, change, NOW).await;
    expected.attributes.acl = CannedAcl::PublicRead;
    (expected.updated_at, expected.version) = (NOW, expected.version + 1);
    assert_eq!(changed.unwrap(), expected);
    fixture.restart().await;
    let found = fixture.store().object(&name, NOW).await;
    assert_eq!(found.unwrap(), expected);
    let gone = ObjectName::Id(new_id());
    let change = ObjectChange::Tags(Tags::default());
    let refused = fixture.store().change_object(&gone, change, NOW).await;
    assert!(matches!(refused, Err(StoreError::NoSuchObject)));
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_its_file_too() {
    let mut fixture = Fixture::new().await;
    let meta = post(fixture.store(), upload("delete.bin"), &data(1, 10))
        .await
        .unwrap();
    let (name, path) = (ObjectName::Id(meta.id), fixture.store().locate(&meta));
    fixture.store().delete_object(&name, NOW).await.unwrap();
    let again = fixture.store().delete_object(&name, NOW).await;
    assert!(matches!(again, Err(StoreError::NoSuchObject)));
    fixture.restart().await;
    assert!(fixture.store().object(&name, NOW).await.is_err());
    assert!(path.is_none_or(|path| !path.exists()));
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_chunks() {
    let mut fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "abort.bin").await;
    let spec = ChunkSpec::new(1, Some(3));
    let mut late = store.write_chunk(id, spec).await.unwrap();
    late.write(data(2, 1_500_000)).await.unwrap();
    send(store, id, (0, Some(3)), &data(1, 1_000))
        .await
        .unwrap();
    send(store, id, (2, Some(3)), &data(1, 1_000))
        .await
        .unwrap();
    store.abort_upload(id).await.unwrap();
    assert!(matches!(
        store.abort_upload(id).await,
        Err(StoreError::NoSuchUpload)
    ));
    assert!(matches!(
        store.upload(id).await,
        Err(StoreError::NoSuchUpload)
    ));
    let sent = late.commit(Expected::default(), NOW).await;
    assert!(matches!(sent, Err(StoreError::NoSuchUpload)), "{sent:?}");
    fixture.restart().await;
    assert_eq!(files_of(&fixture, id), Vec::<String>::new());
    let id = begin(fixture.store(), "abort.bin").await;
    send(fixture.store(), id, (0, Some(1)), &data(1, 10))
        .await
        .unwrap();
    assert!(matches!(
        fixture.store().abort_upload(id).await,
        Err(StoreError::Finished)
    ));
}

/// What a list by key must be, found by looking at every key: names in order, groups among them, and whether more follow.
fn expected_keys(keys: &[String], query: &KeyQuery) -> (Vec<String>, bool) {
    let mut names: Vec<String> = Vec::new();
    for key in keys {
        let Some(rest) = key.strip_prefix(query.prefix.as_str()) else {
            continue;
        };
        let group = query.delimiter.as_deref().and_then(|delimiter| {
            let (head, _) = rest.split_once(delimiter)?;
            Some(format!("{}{head}{delimiter}", query.prefix))
        });
        let name = group.unwrap_or_else(|| key.clone());
        let is_new = names.last() != Some(&name);
        if is_new && query.after.as_ref().is_none_or(|after| name > *after) {
            names.push(name);
        }
    }
    let more = names.len() > query.limit && query.limit > 0;
    names.truncate(query.limit);
    (names, more)
}

async fn listed_keys(
    store: &EmbeddedStore,
    query: &KeyQuery,
    now: Timestamp,
) -> (Vec<String>, bool) {
    let page = store.list_keys(query, now).await.unwrap();
    let names = page.entries.iter().map(|entry| match entry {
        KeyEntry::Object(meta) => meta.key.as_str().to_owned(),
        KeyEntry::Group(group) => group.clone(),
    });
    (names.collect(), page.more)
}

#[tokio::test]
async fn a_list_by_key_is_in_the_order_of_bytes_grouped_and_paged() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let mut keys: Vec<String> = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/b/d",
        "a/c",
        "a0",
        "b",
        "b/\u{10ffff}",
        "b/\u{fc}",
        "c//",
        "c//d",
        "\0",
        "\u{fc}/a",
        "\u{fc}b",
    ]
    .map(str::to_owned)
    .to_vec();
    for key in &keys {
        post(store, upload(key), &data(1, 3)).await.unwrap();
    }
    for (bucket, key) in [("uploads1", "a/x"), ("upload", "s/a")] {
        let bucket = add_bucket(fixture.store(), bucket).await;
        let new = NewUpload {
            bucket,
            ..upload(key)
        };
        post(store, new, &data(1, 3)).await.unwrap();
    }
    keys.sort();
    for prefix in [
        "", "a", "a/", "a/b", "a/b/", "b/", "c/", "c//", "\u{fc}", "z",
    ] {
        for delimiter in [None, Some("/"), Some("b"), Some("//"), Some("\u{fc}")] {
            for after in [
                "", "a", "a/", "a/b", "a/b/", "a/b/c", "a/c", "b/", "c//", "\u{fc}/", "zz",
            ] {
                for limit in [0, 1, 2, 5, 1000] {
                    let query = KeyQuery {
                        prefix: prefix.to_owned(),
                        delimiter: delimiter.map(str::to_owned),
                        after: Some(after.to_owned()).filter(|after| !after.is_empty()),
                        limit,
                        ..KeyQuery::of(Bucket::parse("uploads").unwrap())
                    };
                    let found = listed_keys(store, &query, NOW).await;
                    assert_eq!(found, expected_keys(&keys, &query), "{query:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_list_by_key_shows_no_expired_object_and_no_group_of_such() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = Timestamp::from_seconds(NOW.seconds() + 10);
    for (key, expires_at) in [
        ("a", Some(end)),
        ("b/1", Some(end)),
        ("c/1", Some(end)),
        ("c/2", None),
    ] {
        let new = NewUpload {
            expires_at,
            ..upload(key)
        };
        post(store, new, &data(1, 3)).await.unwrap();
    }
    let query = KeyQuery {
        delimiter: Some("/".to_owned()),
        ..KeyQuery::of(Bucket::parse("uploads").unwrap())
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let before = Timestamp::from_millis(end.millis() - 1);
    assert_eq!(
        listed_keys(store, &query, before).await,
        (names(&["a", "b/", "c/"]), false)
    );
    assert_eq!(
        listed_keys(store, &query, end).await,
        (names(&["c/"]), false)
    );
    let one = KeyQuery { limit: 1, ..query };
    assert_eq!(listed_keys(store, &one, end).await, (names(&["c/"]), false));
}

#[tokio::test]
async fn lists_are_sorted_filtered_and_paged() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let pipeline = new_id();
    for (name, size) in [("x/b", 30), ("y/a", 10), ("z/c", 20)] {
        let mut new = upload(name);
        let object_key = ObjectKey::parse(name).unwrap();
        new.pipeline = (size != 10).then_some(PipelineRef {
            id: pipeline,
            object_key,
        });
        post(store, new, &data(1, size)).await.unwrap();
    }
    let keys = async |query: FileQuery| {
        let page = store.list_files(&query, NOW).await.unwrap();
        let keys = page.files.iter().map(|meta| meta.key.as_str().to_owned());
        (keys.collect::<Vec<_>>().join(" "), page.total)
    };
    let by = |sort, descending| FileQuery {
        sort,
        descending,
        ..page(0, 10)
    };
    assert_eq!(
        keys(by(SortKey::Size, false)).await,
        ("y/a z/c x/b".to_owned(), 3)
    );
    assert_eq!(
        keys(by(SortKey::Size, true)).await,
        ("x/b z/c y/a".to_owned(), 3)
    );
    assert_eq!(
        keys(by(SortKey::Name, false)).await,
        ("y/a x/b z/c".to_owned(), 3)
    );
    assert_eq!(
        keys(by(SortKey::Id, true)).await,
        ("z/c y/a x/b".to_owned(), 3)
    );
    let second = FileQuery {
        start: 1,
        limit: 1,
        ..by(SortKey::Size, false)
    };
    assert_eq!(keys(second).await, ("z/c".to_owned(), 3));
    let mine = FileQuery {
        pipelines: vec![pipeline],
        ..by(SortKey::Size, false)
    };
    assert_eq!(keys(mine).await, ("z/c x/b".to_owned(), 2));
    let of_job = FileQuery {
        jobs: vec!["j".to_owned()],
        ..page(0, 10)
    };
    assert_eq!(keys(of_job).await, (String::new(), 0));
    assert_eq!(keys(page(0, 0)).await, (String::new(), 3));
}

#[tokio::test]
async fn a_sweep_removes_what_is_due_and_no_more_than_its_limit() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for n in 0..5 {
        let end = NOW.plus(Duration::from_secs(if n < 3 { 10 } else { 100 }));
        let new = NewUpload {
            expires_at: Some(end),
            ..upload(&format!("{n}"))
        };
        post(store, new, &data(1, 10)).await.unwrap();
    }
    let abandoned = NewUpload {
        abandoned_at: NOW.plus(Duration::from_secs(10)),
        ..upload("s")
    };
    let session = abandoned.id;
    store.create_upload(abandoned).await.unwrap();
    send(store, session, (0, Some(2)), &data(1, 10))
        .await
        .unwrap();
    let early = store
        .sweep(at(NOW.plus(Duration::from_secs(9))), 100)
        .await
        .unwrap();
    assert_eq!(early, SweepReport::default());
    let due = at(NOW.plus(Duration::from_secs(10)));
    let first = store.sweep(due, 2).await.unwrap();
    assert_eq!((first.objects, first.sessions, first.more), (2, 0, true));
    let second = store.sweep(due, 100).await.unwrap();
    assert_eq!(
        (second.objects, second.sessions, second.more),
        (1, 1, false)
    );
    assert!(matches!(
        store.upload(session).await,
        Err(StoreError::NoSuchUpload)
    ));
    assert_eq!(total(store).await, 2);
}

#[tokio::test]
async fn a_finished_session_is_swept_and_its_object_stays() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "done.bin").await;
    send(store, id, (0, Some(2)), &data(1, 10)).await.unwrap();
    send(store, id, (1, Some(2)), &data(2, 10)).await.unwrap();
    let later = NOW.plus(Duration::from_secs(8 * 86_400));
    let clock = ClockReading {
        wall: later,
        monotonic: Duration::from_secs(8 * 86_400),
    };
    store.sweep(at(NOW), 10).await.unwrap();
    assert_eq!(store.sweep(clock, 10).await.unwrap().sessions, 1);
    assert!(matches!(
        store.upload(id).await,
        Err(StoreError::NoSuchUpload)
    ));
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_clock_that_jumped_sweeps_nothing_until_it_is_steady_for_ten_minutes() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = NOW.plus(Duration::from_secs(86_400));
    let new = NewUpload {
        expires_at: Some(end),
        ..upload("jump.bin")
    };
    post(store, new, &data(1, 10)).await.unwrap();
    let reading = |wall: i64, monotonic: u64| ClockReading {
        wall: Timestamp::from_seconds(NOW.seconds() + wall),
        monotonic: Duration::from_secs(monotonic),
    };
    assert_eq!(
        store.sweep(reading(0, 0), 10).await.unwrap().clock_jump,
        None
    );
    let year = 365 * 86_400;
    for (wall, monotonic) in [
        (year, 60),
        (year + 540, 600),
        (2 * year, 660),
        (2 * year + 599, 1_259),
    ] {
        let swept = store.sweep(reading(wall, monotonic), 10).await.unwrap();
        assert!(
            swept.clock_jump.is_some() && swept.objects == 0,
            "{wall}: {swept:?}"
        );
    }
    let swept = store
        .sweep(reading(2 * year + 600, 1_260), 10)
        .await
        .unwrap();
    assert_eq!((swept.clock_jump, swept.objects), (None, 1));
}

#[tokio::test]
async fn a_clock_that_jumped_while_the_store_was_down_is_doubted_too() {
    let mut fixture = Fixture::new().await;
    fixture.store().sweep(at(NOW), 10).await.unwrap();
    fixture.restart().await;
    for days in [-2, 2] {
        let wall = Timestamp::from_seconds(NOW.seconds() + days * 86_400);
        let swept = fixture.store().sweep(at(wall), 10).await.unwrap();
        assert_eq!(swept.clock_jump, Some(Duration::from_secs(2 * 86_400)));
        fixture.restart().await;
    }
    assert_eq!(
        fixture.store().sweep(at(NOW), 10).await.unwrap().clock_jump,
        None
    );
}

#[tokio::test]
async fn the_catalog_keeps_lists_and_removes_its_entries() {
    let mut fixture = Fixture::new().await;
    for entry in catalog() {
        fixture.store().insert(entry).await.unwrap();
    }
    fixture.restart().await;
    // A bucket takes its settings with it.
    for entry in catalog().into_iter().rev() {
        let found = fixture.store().find(&entry.key()).await.unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{entry:?}"));
        assert_eq!(fixture.store().list(entry.kind()).await.unwrap().len(), 1);
        assert!(fixture.store().remove(&entry.key()).await.unwrap());
        assert!(!fixture.store().remove(&entry.key()).await.unwrap());
        assert!(fixture.store().find(&entry.key()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_pipeline_with_open_sessions_stays() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let pipeline = new_id();
    store
        .insert(CatalogEntry::Pipeline(a_pipeline(pipeline)))
        .await
        .unwrap();
    let mut new = upload("tmp/p/k");
    new.pipeline = Some(PipelineRef {
        id: pipeline,
        object_key: ObjectKey::parse("k").unwrap(),
    });
    let id = new.id;
    store.create_upload(new).await.unwrap();
    let key = CatalogKey::Pipeline(pipeline);
    assert!(matches!(store.remove(&key).await, Err(StoreError::InUse)));
    send(store, id, (0, Some(1)), &data(1, 10)).await.unwrap();
    assert!(store.remove(&key).await.unwrap());
}

#[tokio::test]
async fn expired_tokens_and_keys_are_swept() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for entry in catalog() {
        store.insert(entry).await.unwrap();
    }
    let end = NOW.plus(Duration::from_secs(60));
    assert_eq!(
        store
            .sweep(at(Timestamp::from_millis(end.millis() - 1)), 10)
            .await
            .unwrap()
            .catalog,
        0
    );
    assert_eq!(store.sweep(at(end), 10).await.unwrap().catalog, 2);
    assert!(store.list(CatalogKind::Token).await.unwrap().is_empty());
    assert!(store.list(CatalogKind::AccessKey).await.unwrap().is_empty());
    assert_eq!(store.list(CatalogKind::Bucket).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_application_has_so_many_tokens_and_they_go_together() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let token = |number: usize, application: Option<Id>| Token {
        id: Id::new(NOW, [2; 8]),
        hash: TokenHash::of(&number.to_string()),
        name: "job".to_owned(),
        scopes: Scopes::default(),
        application,
        created_at: NOW.plus(Duration::from_secs(number as u64)),
        expires_at: None,
    };
    let ours = Some(Id::new(NOW, [1; 8]));
    let many = 0..MAX_TOKENS_OF_APPLICATION;
    let tokens = many.map(|number| token(number, ours)).chain([
        token(100_000, None),
        token(200_000, Some(Id::new(NOW, [2; 8]))),
    ]);
    let mut inserted = tokens.map(|token| store.insert(CatalogEntry::Token(token)));
    // These two were issued first; of the others nobody knows the order.
    for first in inserted.by_ref().take(2) {
        first.await.unwrap();
    }
    for inserted in futures_util::future::join_all(inserted).await {
        inserted.unwrap();
    }
    let hash = |number| TokenHash::of(&usize::to_string(&number));
    let has = async |number| {
        let found = store.find(&CatalogKey::Token(hash(number))).await;
        found.unwrap().is_some()
    };
    assert!(has(0).await && has(1).await);
    let next = MAX_TOKENS_OF_APPLICATION;
    let one_more = CatalogEntry::Token(token(next, ours));
    store.insert(one_more).await.unwrap();
    assert!(!has(0).await && has(1).await && has(next).await);
    let hashes: Vec<_> = (0..=next).map(hash).collect();
    let removed = store.remove_tokens(&hashes).await.unwrap();
    assert_eq!(removed, MAX_TOKENS_OF_APPLICATION);
    assert_eq!(store.remove_tokens(&hashes).await.unwrap(), 0);
    assert_eq!(store.list(CatalogKind::Token).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_setting_is_there_as_long_as_its_bucket() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let uploads = Bucket::parse("uploads").unwrap();
    let key = CatalogKey::Setting(uploads.clone(), SettingKind::Lifecycle);
    let bucket = CatalogKey::Bucket(uploads);
    assert!(store.remove(&bucket).await.unwrap());
    let refused = store.insert(lifecycle(Expiration::Days(1))).await;
    assert!(matches!(refused, Err(StoreError::NoSuchBucket)));
    for _ in 0..2 {
        assert!(store.find(&key).await.unwrap().is_none());
        add_bucket(store, "uploads").await;
        store.insert(lifecycle(Expiration::Days(1))).await.unwrap();
        assert!(store.find(&key).await.unwrap().is_some());
        assert!(store.remove(&bucket).await.unwrap());
    }
    assert!(store.list(CatalogKind::Setting).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sweep_lets_go_what_the_rules_of_its_bucket_say() {
    let mut fixture = Fixture::new().await;
    let rules = lifecycle(Expiration::Days(1));
    fixture.store().insert(rules).await.unwrap();
    let name = ObjectName::Id(
        post(fixture.store(), upload("a"), &data(1, 10))
            .await
            .unwrap()
            .id,
    );
    let session = upload("b");
    let id = session.id;
    fixture.store().create_upload(session).await.unwrap();
    let day = 24 * 3600;
    let midnight = (NOW.seconds() / day + 2) * day;
    let sweep = async |fixture: &Fixture, seconds: i64| {
        let wall = Timestamp::from_seconds(seconds);
        let monotonic = Duration::from_secs((seconds - NOW.seconds()).unsigned_abs());
        let clock = ClockReading { wall, monotonic };
        let report = fixture.store().sweep(clock, 100).await.unwrap();
        (report.objects, report.sessions, report.more)
    };
    assert_eq!(sweep(&fixture, NOW.seconds()).await, (0, 0, false));
    assert_eq!(sweep(&fixture, midnight - 1).await, (0, 0, false));
    assert_eq!(sweep(&fixture, midnight).await, (1, 0, false));
    // The time of a run is noted once a minute; a start takes no clock that jumped further than a day from it.
    assert_eq!(sweep(&fixture, midnight + 60).await, (0, 0, false));
    let gone = fixture.store().object(&name, NOW).await;
    assert!(matches!(gone, Err(StoreError::NoSuchObject)));
    fixture.restart().await;
    let gone = fixture.store().object(&name, NOW).await;
    assert!(matches!(gone, Err(StoreError::NoSuchObject)));
    assert_eq!(sweep(&fixture, midnight + day).await, (0, 1, false));
    let gone = fixture.store().upload(id).await;
    assert!(matches!(gone, Err(StoreError::NoSuchUpload)));
}

#[tokio::test]
async fn a_temporary_key_is_remembered_for_a_day_after_its_end() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let end = NOW.plus(Duration::from_secs(60));
    let key = AccessKey {
        id: "PILLARBOXTEMPORARY00".to_owned(),
        secret: Secret::new("k".to_owned()),
        purpose: KeyPurpose::User,
        created_at: NOW,
        expires_at: Some(end),
        session_token: Some(TokenHash::of("token")),
        limits: Default::default(),
        form_lifetime: Default::default(),
    };
    store.insert(CatalogEntry::AccessKey(key)).await.unwrap();
    store.sweep(at(NOW), 10).await.unwrap();
    let sweep_at = async |wall: Timestamp| {
        let monotonic = Duration::from_millis((wall.millis() - NOW.millis()).cast_unsigned());
        let clock = ClockReading { wall, monotonic };
        store.sweep(clock, 10).await.unwrap().catalog
    };
    let gone = end.plus(AccessKey::REMEMBERED);
    assert_eq!(sweep_at(end).await, 0);
    assert_eq!(sweep_at(gone.minus(Duration::from_millis(1))).await, 0);
    assert_eq!(sweep_at(gone).await, 1);
}

#[tokio::test]
async fn after_close_nothing_is_written_and_everything_can_be_read() {
    let mut fixture = Fixture::new().await;
    let meta = post(fixture.store(), upload("closed.bin"), &data(1, 10))
        .await
        .unwrap();
    fixture.store().close().await.unwrap();
    assert!(!fixture.store().health().await.unwrap().writable);
    let refused = post(fixture.store(), upload("late.bin"), &data(1, 10)).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    assert!(matches!(
        fixture.store().create_upload(upload("x")).await,
        Err(StoreError::ReadOnly)
    ));
    assert_eq!(
        read(fixture.store(), &ObjectName::Id(meta.id))
            .await
            .unwrap()
            .len(),
        10
    );
    fixture.restart().await;
    assert!(fixture.store().health().await.unwrap().writable);
    assert_eq!(
        read(fixture.store(), &ObjectName::Id(meta.id))
            .await
            .unwrap()
            .len(),
        10
    );
}

#[tokio::test]
async fn all_that_a_form_may_give_an_object_is_kept_at_its_largest() {
    let mut fixture = Fixture::new().await;
    let mut new = upload(&"ü".repeat(512));
    let name = "x-amz-meta-v";
    let value = "v".repeat(HeaderSet::MAX_BYTES - name.len());
    assert!(new.headers.set(name, &value));
    let text = |length| "\u{20000}".repeat(length);
    let tag = |n: usize| (format!("{n}{}", text(127)), text(256));
    new.attributes = Attributes {
        acl: CannedAcl::BucketOwnerFullControl,
        tags: Tags::new((0..10).map(tag).collect()).unwrap(),
        checksum: Checksum::new(ChecksumAlgorithm::Sha256, vec![7; 32]),
    };
    let posted = post(fixture.store(), new.clone(), &data(1, 10))
        .await
        .unwrap();
    assert_eq!(posted.attributes, new.attributes);
    fixture.restart().await;
    let store = fixture.store();
    let by_key = ObjectName::Key(new.bucket.clone(), new.key.clone());
    for name in [ObjectName::Id(posted.id), by_key] {
        assert_eq!(store.object(&name, NOW).await.unwrap(), posted);
        assert_eq!(
            store.open(&name, NOW).await.unwrap().meta().as_ref(),
            &posted
        );
        assert_eq!(store.verify(&name, NOW).await.unwrap(), posted);
    }
    let by_size = FileQuery {
        sort: SortKey::Size,
        ..page(0, 10)
    };
    for query in [page(0, 10), by_size] {
        let listed = store.list_files(&query, NOW).await.unwrap();
        assert_eq!(listed.files, std::slice::from_ref(&posted));
    }
    let name = ObjectName::Id(posted.id);
    let change = ObjectChange::UsedBy("job-1".to_owned());
    let changed = store.change_object(&name, change, NOW).await.unwrap();
    assert_eq!(changed.attributes, posted.attributes);
    store.delete_object(&name, NOW).await.unwrap();
    let mut plain = upload("unused");
    plain.key = new.key;
    let plain = post(store, plain, &data(2, 10)).await.unwrap();
    assert!(plain.attributes.is_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_while_an_object_is_replaced_sees_the_tags_of_one_of_both() {
    let fixture = Fixture::new().await;
    let dressed = |letter: &str| {
        let mut new = upload("dressed.bin");
        assert!(new.headers.set("x-amz-meta-letter", letter));
        let tag = |n: usize| (format!("{n}{letter}"), letter.repeat(256));
        new.attributes.tags = Tags::new((0..10).map(tag).collect()).unwrap();
        new
    };
    post(fixture.store(), dressed("a"), &data(1, 10))
        .await
        .unwrap();
    let store = fixture.store().clone();
    let letters = ["\u{20000}", "b", "\u{20001}", "c"].repeat(10);
    let news: Vec<_> = letters.iter().map(|letter| dressed(letter)).collect();
    let replacing = tokio::spawn(async move {
        for new in news {
            post(&store, new, &data(1, 10)).await.unwrap();
        }
    });
    let new = upload("dressed.bin");
    let name = ObjectName::Key(new.bucket, new.key);
    let mut reads = 0_u32;
    while !replacing.is_finished() || reads == 0 {
        let meta = fixture.store().object(&name, NOW).await.unwrap();
        let letter = meta.headers.get("x-amz-meta-letter").unwrap();
        let (key, value) = meta.attributes.tags.iter().next_back().unwrap();
        assert_eq!((key, value), (&*format!("9{letter}"), &*letter.repeat(256)));
        reads += 1;
        tokio::task::yield_now().await;
    }
    replacing.await.unwrap();
}

#[tokio::test]
async fn the_longest_key_with_the_most_headers_is_kept() {
    let mut fixture = Fixture::new().await;
    let key = "ü".repeat(512);
    let mut new = upload(&key);
    let object_key = ObjectKey::parse(&key).unwrap();
    new.pipeline = Some(PipelineRef {
        id: new_id(),
        object_key,
    });
    new.application = Some(new_id());
    new.expires_at = Some(NOW.plus(Duration::from_secs(60)));
    let name = "x-amz-meta-v";
    let value = "v".repeat(HeaderSet::MAX_BYTES - name.len());
    assert!(new.headers.set(name, &value));
    let id = new.id;
    fixture.store().create_upload(new.clone()).await.unwrap();
    send(fixture.store(), id, (0, Some(2)), &data(1, 10))
        .await
        .unwrap();
    send(fixture.store(), id, (1, Some(2)), &data(1, 10))
        .await
        .unwrap();
    fixture.restart().await;
    let meta = fixture
        .store()
        .object(&ObjectName::Id(id), NOW)
        .await
        .unwrap();
    assert_eq!(
        (meta.key, meta.pipeline, meta.headers),
        (new.key, new.pipeline, new.headers)
    );
}

fn at(wall: Timestamp) -> ClockReading {
    ClockReading {
        wall,
        monotonic: Duration::from_secs(1),
    }
}

fn page(start: usize, limit: usize) -> FileQuery {
    FileQuery {
        start,
        limit,
        ..FileQuery::default()
    }
}

async fn total(store: &EmbeddedStore) -> usize {
    store.list_files(&page(0, 0), NOW).await.unwrap().total
}

fn a_pipeline(id: Id) -> Pipeline {
    Pipeline {
        id,
        settings: PipelineSettings {
            name: "p".to_owned(),
            ..PipelineSettings::default()
        },
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

/// One entry of each kind; the token and the key expire after a minute.
fn catalog() -> [CatalogEntry; 6] {
    let id = Id::new(NOW, [1; 8]);
    let expires_at = Some(NOW.plus(Duration::from_secs(60)));
    [
        CatalogEntry::Token(Token {
            id,
            hash: TokenHash::of("secret token"),
            name: "t".to_owned(),
            scopes: Scopes::parse("mediahub").unwrap(),
            application: None,
            created_at: NOW,
            expires_at,
        }),
        CatalogEntry::Application(Application {
            id,
            secret: Secret::new("s".to_owned()),
            name: "a".to_owned(),
            scopes: Scopes::parse("mediahub").unwrap(),
            created_at: NOW,
        }),
        CatalogEntry::AccessKey(AccessKey {
            id: "PILLARBOXTEST0000000".to_owned(),
            secret: Secret::new("k".to_owned()),
            purpose: KeyPurpose::Forms,
            created_at: NOW,
            expires_at,
            session_token: None,
            limits: Default::default(),
            form_lifetime: Default::default(),
        }),
        CatalogEntry::Pipeline(a_pipeline(id)),
        CatalogEntry::Bucket(BucketConfig {
            name: Bucket::parse("uploads").unwrap(),
            created_at: NOW,
            public_write: false,
        }),
        lifecycle(Expiration::Days(1)),
    ]
}

/// The one rule of the bucket `uploads`.
fn lifecycle(expiration: Expiration) -> CatalogEntry {
    let rule = LifecycleRule {
        id: "rule".to_owned(),
        enabled: true,
        filter: LifecycleFilter::default(),
        expiration: Some(expiration),
        abort_days: Some(2),
    };
    CatalogEntry::Setting(BucketSetting {
        bucket: Bucket::parse("uploads").unwrap(),
        value: SettingValue::Lifecycle(vec![rule].into()),
    })
}

/// The names of the files of one id, wherever the engine keeps them.
fn files_of(fixture: &Fixture, id: Id) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    let mut names = Vec::new();
    walk(&fixture.folder.join("objects"), &mut names);
    names.retain(|name| name.starts_with(&id.to_string()));
    names
}

/// Once all background work is done, a finished upload is one file.
async fn assert_no_spills(fixture: &Fixture, id: Id) {
    for _ in 0..500 {
        if files_of(fixture, id).len() <= 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files_of(fixture, id), [id.to_string()]);
}

// ---- what a client says of sizes ----

fn sized(index: u32, stride: Option<u64>, total: Option<u64>) -> ChunkSpec {
    let source = None;
    ChunkSpec {
        sizes: SaidSizes {
            stride,
            total,
            source,
        },
        ..ChunkSpec::new(index, Some(3))
    }
}

async fn send_sized(
    store: &EmbeddedStore,
    id: Id,
    spec: ChunkSpec,
    length: usize,
) -> Result<Committed, StoreError> {
    let mut writer = store.write_chunk(id, spec).await?;
    writer.write(data(spec.index as u8, length)).await?;
    writer.commit(Expected::default(), NOW).await
}

#[tokio::test]
async fn the_sizes_of_an_upload_are_those_that_were_said_first_also_after_a_restart() {
    let mut fixture = Fixture::new().await;
    for order in [[1, 2, 0], [0, 1, 2], [2, 0, 1]] {
        let id = begin(fixture.store(), "sizes.bin").await;
        let length = |index: u32| if index == 2 { 500 } else { 1000 };
        for (count, index) in order.into_iter().enumerate() {
            if count > 0 {
                let store = fixture.store();
                let short = send_sized(store, id, sized(index, Some(900), None), 900).await;
                let known_900 = StoreError::ChunkSizesDiffer {
                    known: 1000,
                    given: 900,
                };
                assert_eq!(short.unwrap_err().to_string(), known_900.to_string());
                let other = send_sized(store, id, sized(index, None, Some(2700)), 1000).await;
                let total = matches!(
                    other,
                    Err(StoreError::TotalDiffers {
                        known: 2500,
                        given: 2700
                    })
                );
                assert!(total, "{other:?}");
            }
            let spec = sized(index, Some(1000), Some(2500));
            let sent = send_sized(fixture.store(), id, spec, length(index)).await;
            assert_eq!(sent.unwrap().object.is_some(), count == 2);
            fixture.restart().await;
        }
        let whole = [data(0, 1000), data(1, 1000), data(2, 500)].concat();
        let name = ObjectName::Id(id);
        assert_eq!(read(fixture.store(), &name).await.unwrap(), whole);
        let late = send_sized(fixture.store(), id, sized(0, Some(900), None), 1000).await;
        assert!(matches!(late, Err(StoreError::ChunkSizesDiffer { .. })));
    }
}

#[tokio::test]
async fn what_a_file_had_before_it_was_changed_tells_it_from_another_and_says_nothing_of_bytes() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "resized.bin").await;
    let of = |index: u32, source: u64| {
        let mut spec = ChunkSpec::new(index, Some(2));
        spec.sizes.source = Some(source);
        spec
    };
    send_sized(store, id, of(0, 9000), 10).await.unwrap();
    let other = send_sized(store, id, of(1, 9001), 10).await;
    assert!(matches!(
        other,
        Err(StoreError::SourceDiffers {
            known: 9000,
            given: 9001
        })
    ));
    let done = send_sized(store, id, of(1, 9000), 10).await.unwrap();
    assert_eq!(done.object.unwrap().size, 20);
}

#[tokio::test]
async fn chunks_that_came_before_a_size_was_said_are_held_to_it_and_may_be_replaced() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "before.bin").await;
    send_sized(store, id, sized(0, None, None), 900)
        .await
        .unwrap();
    let refused = send_sized(store, id, sized(1, Some(1000), None), 1000).await;
    assert!(matches!(
        refused,
        Err(StoreError::ChunkSizesDiffer {
            known: 1000,
            given: 900
        })
    ));
    let session = store.upload(id).await.unwrap();
    assert_eq!((session.received_bytes, session.sizes.stride), (900, None));
    for (index, stride, length) in [(0, Some(1000), 1000), (1, None, 1000), (2, None, 7)] {
        let spec = sized(index, stride, None);
        send_sized(store, id, spec, length).await.unwrap();
    }
    assert_eq!(
        store.upload(id).await.unwrap().state,
        UploadState::Completed
    );
}

#[tokio::test]
async fn a_chunk_that_says_nothing_is_held_to_the_size_that_another_said() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin(store, "plain.bin").await;
    send_sized(store, id, sized(1, Some(1000), None), 1000)
        .await
        .unwrap();
    let plain = send_sized(store, id, sized(0, None, None), 900).await;
    assert!(matches!(plain, Err(StoreError::ChunkSizesDiffer { .. })));
    send_sized(store, id, sized(2, None, None), 900)
        .await
        .unwrap();
    let done = send_sized(store, id, sized(0, None, None), 1000).await;
    assert_eq!(done.unwrap().object.unwrap().size, 2900);
}

#[tokio::test]
async fn a_set_that_does_not_come_to_its_total_becomes_no_object_and_loses_nothing() {
    let mut fixture = Fixture::new().await;
    let id = begin(fixture.store(), "total.bin").await;
    for (index, length) in [(0, 1000), (2, 500)] {
        let spec = sized(index, None, Some(2500));
        let sent = send_sized(fixture.store(), id, spec, length).await;
        sent.unwrap();
    }
    let short = send_sized(fixture.store(), id, sized(1, None, None), 999).await;
    assert!(matches!(
        short,
        Err(StoreError::TotalDiffers {
            known: 2500,
            given: 2499
        })
    ));
    fixture.restart().await;
    let store = fixture.store();
    let session = store.upload(id).await.unwrap();
    assert_eq!(
        (session.state, session.received_bytes),
        (UploadState::Uploading, 1500)
    );
    assert!(store.object(&ObjectName::Id(id), NOW).await.is_err());
    let done = send_sized(store, id, sized(1, None, None), 1000).await;
    assert_eq!(done.unwrap().object.unwrap().size, 2500);

    for length in [9, 10] {
        let id = begin(store, "finish-total.bin").await;
        let mut spec = ChunkSpec::new(0, None);
        spec.sizes.total = Some(10);
        send_sized(store, id, spec, length).await.unwrap();
        let finished = store.finish_upload(id, 1, NOW).await;
        assert_eq!(finished.is_ok(), length == 10, "{finished:?}");
        let open = store.upload(id).await.unwrap().state == UploadState::Uploading;
        assert_eq!(open, length == 9);
        let mut only = ChunkSpec::new(0, Some(1));
        only.sizes.total = Some(10);
        let sent = send_sized(store, id, only, length).await;
        assert_eq!(sent.is_ok(), length == 10, "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_chunks_of_two_sizes_that_arrive_side_by_side_one_size_wins() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    for round in 0..20 {
        let id = begin(store, &format!("race{round}.bin")).await;
        let mut writers = Vec::new();
        for (index, stride) in [(0, 900), (1, 1000), (0, 1000), (1, 900)] {
            let spec = sized(index, Some(stride), None);
            let mut writer = store.write_chunk(id, spec).await.unwrap();
            let bytes = data(1, usize::try_from(stride).unwrap());
            writer.write(bytes).await.unwrap();
            writers.push(writer);
        }
        // All have begun before the first of them ends; who begins later is refused at once.
        let commit = |writer: Box<dyn pillarbox::store::ChunkWriter>| {
            writer.commit(Expected::default(), NOW)
        };
        let commits: Vec<_> = writers.into_iter().map(commit).map(tokio::spawn).collect();
        let mut refused = 0;
        for writer in commits {
            match writer.await.unwrap() {
                Ok(_) => {}
                Err(StoreError::ChunkSizesDiffer { .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(refused, 2);
        let receipts = store.receipts(id).await.unwrap();
        let stride = store.upload(id).await.unwrap().sizes.stride;
        assert_eq!(receipts.len(), 2);
        assert!(receipts.iter().all(|r| Some(r.length) == stride));
    }
}

// ---- uploads in numbered parts ----

async fn begin_parts(store: &EmbeddedStore, key: &str, rules: PartRules) -> Id {
    let new = upload(key);
    let id = new.id;
    store.create_parts(new, rules).await.unwrap();
    id
}

fn completion(parts: &[(u32, &Bytes)]) -> Completion {
    let part = |(index, bytes): &(u32, &Bytes)| (*index, Md5::of(bytes));
    Completion {
        parts: parts.iter().map(part).collect(),
        condition: None,
    }
}

async fn complete(
    store: &EmbeddedStore,
    id: Id,
    parts: &[(u32, &Bytes)],
) -> Result<ObjectMeta, StoreError> {
    store.complete_parts(id, completion(parts), NOW).await
}

#[tokio::test]
async fn parts_of_any_size_and_number_in_any_order_become_one_object() {
    for (name, parts, order) in [
        (
            "equal",
            vec![(0, 70_000), (1, 70_000), (2, 5)],
            vec![2, 0, 1],
        ),
        (
            "in order",
            vec![(0, 70_000), (1, 70_000), (2, 70_000)],
            vec![0, 1, 2],
        ),
        (
            "gaps",
            vec![(3, 10), (77, 4_000), (9_999, 3)],
            vec![1, 2, 0],
        ),
        (
            "growing",
            vec![(0, 1), (1, 20), (2, 300), (3, 0), (4, 4_000)],
            vec![4, 0, 3, 2, 1],
        ),
        ("one", vec![(5, 9)], vec![0]),
        ("empty", vec![(0, 0)], vec![0]),
    ] {
        let mut fixture = Fixture::new().await;
        let id = begin_parts(fixture.store(), name, PartRules::default()).await;
        let bytes = (1..)
            .zip(&parts)
            .map(|(seed, (_, length))| data(seed, *length));
        let bytes = bytes.collect::<Vec<_>>();
        for at in order {
            let committed = send(fixture.store(), id, (parts[at].0, None), &bytes[at]).await;
            assert!(
                committed.unwrap().object.is_none(),
                "{name}: a part says no end"
            );
        }
        fixture.restart().await;
        let named = parts
            .iter()
            .map(|(index, _)| *index)
            .zip(&bytes)
            .collect::<Vec<_>>();
        let meta = complete(fixture.store(), id, &named).await.unwrap();
        let md5s = bytes.iter().map(|bytes| Md5::of(bytes));
        assert_eq!(meta.etag, ETag::of_chunks(md5s), "{name}");
        assert_eq!(meta.id, id);
        let sizes = meta.parts.as_ref().unwrap().sizes().collect::<Vec<_>>();
        let lengths = parts.iter().map(|(_, length)| *length as u64);
        assert_eq!(sizes, lengths.collect::<Vec<_>>(), "{name}");
        fixture.restart().await;
        let object = ObjectName::Id(id);
        assert_eq!(
            read(fixture.store(), &object).await.unwrap(),
            bytes.concat(),
            "{name}"
        );
        assert_eq!(
            fixture.store().verify(&object, NOW).await.unwrap(),
            meta,
            "{name}"
        );
        assert_no_spills(&fixture, id).await;
    }
}

#[tokio::test]
async fn parts_sent_in_parallel_become_one_object() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "parallel", PartRules::default()).await;
    let parts = (0..16)
        .map(|n| data(n, 200_000 + usize::from(n % 3)))
        .collect::<Vec<_>>();
    let sent = (0..)
        .zip(&parts)
        .map(|(index, bytes)| send(store, id, (index, None), bytes));
    for sent in futures_util::future::join_all(sent).await {
        sent.unwrap();
    }
    let named = (0..).zip(&parts).collect::<Vec<_>>();
    complete(store, id, &named).await.unwrap();
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap(),
        parts.concat()
    );
}

#[tokio::test]
async fn only_the_parts_that_are_named_count_and_the_others_go() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "named", PartRules::default()).await;
    let parts = (0..5).map(|n| data(n, 1_000)).collect::<Vec<_>>();
    for (index, bytes) in (0..).zip(&parts) {
        send(store, id, (index, None), bytes).await.unwrap();
    }
    let newer = data(9, 333);
    send(store, id, (3, None), &newer).await.unwrap();
    let meta = complete(store, id, &[(1, &parts[1]), (3, &newer)])
        .await
        .unwrap();
    let expected = [parts[1].clone(), newer.clone()].concat();
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap(), expected);
    assert_eq!(meta.size, 1_333);
    let session = store.upload(id).await.unwrap();
    assert_eq!(
        (session.received_chunks, session.received_bytes),
        (2, 1_333)
    );
    assert_eq!(store.receipts(id).await.unwrap().len(), 2);
    assert_no_spills(&fixture, id).await;
}

#[tokio::test]
async fn parts_are_listed_from_an_index_on_and_no_more_than_are_asked_for() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "listed", PartRules::default()).await;
    let other = begin_parts(store, "other", PartRules::default()).await;
    for index in [0, 1, 255, 256, MAX_CHUNKS - 1] {
        let bytes = data(u8::try_from(index % 7).unwrap(), 100);
        send(store, id, (index, None), &bytes).await.unwrap();
        send(store, other, (index, None), &bytes).await.unwrap();
    }
    let all = store.receipts(id).await.unwrap();
    for (from, limit, expected) in [
        (0, 100, &all[..]),
        (0, 2, &all[..2]),
        (1, 1, &all[1..2]),
        (2, 100, &all[2..]),
        (256, 2, &all[3..]),
        (MAX_CHUNKS - 1, 9, &all[4..]),
        (MAX_CHUNKS, 9, &[]),
        (0, 0, &[]),
    ] {
        let listed = store.list_parts(id, from, limit).await.unwrap();
        assert_eq!(listed, expected, "{limit} from {from}");
    }
    store.abort_upload(id).await.unwrap();
    let gone = store.list_parts(id, 0, 9).await;
    assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
}

#[tokio::test]
async fn a_part_that_is_not_here_or_another_one_is_refused_and_nothing_is_lost() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "refused", PartRules::default()).await;
    let (one, two) = (data(1, 100), data(2, 100));
    send(store, id, (0, None), &one).await.unwrap();
    send(store, id, (1, None), &two).await.unwrap();
    for (named, wrong) in [
        (vec![(0, &one), (2, &two)], 2),
        (vec![(0, &two)], 0),
        (vec![(1, &two), (0, &one)], 0),
        (vec![(0, &one), (0, &one)], 0),
        (vec![], 0),
    ] {
        let refused = complete(store, id, &named).await;
        let index = match refused {
            Err(StoreError::PartDiffers { index }) => index,
            other => panic!("{other:?}"),
        };
        assert_eq!(index, wrong);
    }
    assert_eq!(store.receipts(id).await.unwrap().len(), 2);
    complete(store, id, &[(0, &one), (1, &two)]).await.unwrap();
}

#[tokio::test]
async fn a_completion_is_idempotent_while_its_object_is_there_and_ends_the_upload() {
    let mut fixture = Fixture::new().await;
    let id = begin_parts(fixture.store(), "again", PartRules::default()).await;
    let (one, two) = (data(1, 100), data(2, 100));
    send(fixture.store(), id, (0, None), &one).await.unwrap();
    send(fixture.store(), id, (1, None), &two).await.unwrap();
    let spec = ChunkSpec::new(2, None);
    let mut late = fixture.store().write_chunk(id, spec).await.unwrap();
    late.write(data(3, 1_500_000)).await.unwrap();
    let meta = complete(fixture.store(), id, &[(0, &one)]).await.unwrap();
    let sent = late.commit(Expected::default(), NOW).await;
    assert!(matches!(sent, Err(StoreError::NoSuchUpload)), "{sent:?}");
    fixture.restart().await;
    let store = fixture.store();
    assert_eq!(complete(store, id, &[(0, &one)]).await.unwrap(), meta);
    for refused in [
        complete(store, id, &[(0, &one), (1, &two)]).await.map(drop),
        send(store, id, (0, None), &one).await.map(drop),
        send(store, id, (1, None), &two).await.map(drop),
        store.finish_upload(id, 1, NOW).await.map(drop),
    ] {
        assert!(
            matches!(refused, Err(StoreError::NoSuchUpload)),
            "{refused:?}"
        );
    }
    let aborted = store.abort_upload(id).await;
    assert!(matches!(aborted, Err(StoreError::Finished)), "{aborted:?}");
    store.delete_object(&ObjectName::Id(id), NOW).await.unwrap();
    let gone = complete(store, id, &[(0, &one)]).await;
    assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
}

#[tokio::test]
async fn many_completions_at_once_make_one_object() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "at once", PartRules::default()).await;
    let (one, two) = (data(1, 300_000), data(2, 100));
    send(store, id, (1, None), &two).await.unwrap();
    send(store, id, (0, None), &one).await.unwrap();
    let named = [(0, &one), (1, &two)];
    let made = (0..8).map(|_| complete(store, id, &named));
    let made = futures_util::future::join_all(made).await;
    let mut metas = made.into_iter().map(Result::unwrap);
    let first = metas.next().unwrap();
    assert!(metas.all(|meta| meta == first));
    assert_eq!(
        read(store, &ObjectName::Id(id)).await.unwrap().len(),
        300_100
    );
}

#[tokio::test]
async fn an_aborted_upload_in_parts_is_gone_with_its_parts() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "abort", PartRules::default()).await;
    let part = data(1, 100_000);
    for index in [5, 0, 1, 0] {
        send(store, id, (index, None), &part).await.unwrap();
    }
    store.abort_upload(id).await.unwrap();
    let gone = complete(store, id, &[(0, &part)]).await;
    assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
    for _ in 0..500 {
        if files_of(&fixture, id).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(files_of(&fixture, id), Vec::<String>::new());
    let uploads = UploadQuery::of(Bucket::parse("uploads").unwrap());
    assert!(
        store
            .list_uploads(&uploads)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

#[tokio::test]
async fn a_condition_is_judged_before_an_upload_ends_and_leaves_it_open() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let part = data(1, 100);
    let try_with = |condition: WriteCondition| {
        let part = &part;
        async move {
            let id = begin_parts(store, "conditional", PartRules::default()).await;
            send(store, id, (0, None), part).await.unwrap();
            let wanted = Completion {
                condition: Some(condition),
                ..completion(&[(0, part)])
            };
            let made = store.complete_parts(id, wanted, NOW).await;
            let open = store.upload(id).await.unwrap().state == UploadState::Uploading;
            assert_eq!(open, made.is_err());
            made
        }
    };
    let other = WriteCondition::Matches(ETag::of_whole(Md5::of(b"other")));
    let none = try_with(other.clone()).await;
    assert!(matches!(none, Err(StoreError::NoSuchObject)), "{none:?}");
    let first = try_with(WriteCondition::Absent).await.unwrap();
    for condition in [WriteCondition::Absent, other] {
        let refused = try_with(condition).await;
        assert!(
            matches!(refused, Err(StoreError::ConditionFailed)),
            "{refused:?}"
        );
    }
    let matching = WriteCondition::Matches(first.etag.clone());
    let second = try_with(matching).await.unwrap();
    assert_ne!(second.id, first.id);
    let name = ObjectName::Id(first.id);
    assert!(store.object(&name, NOW).await.is_err(), "it was replaced");
}

#[tokio::test]
async fn of_many_uploads_that_want_nothing_to_be_there_one_wins() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let mut uploads = Vec::new();
    for seed in 0..8 {
        let id = begin_parts(store, "first wins", PartRules::default()).await;
        let part = data(seed, 100_000);
        send(store, id, (0, None), &part).await.unwrap();
        uploads.push((id, part));
    }
    let race = uploads.iter().map(|(id, part)| {
        let wanted = Completion {
            condition: Some(WriteCondition::Absent),
            ..completion(&[(0, part)])
        };
        store.complete_parts(*id, wanted, NOW)
    });
    let mut winners = Vec::new();
    for (made, (id, part)) in futures_util::future::join_all(race)
        .await
        .into_iter()
        .zip(&uploads)
    {
        match made {
            Ok(meta) => winners.push((meta.id, part.clone())),
            Err(StoreError::ConditionFailed) => {
                assert_eq!(
                    store.upload(*id).await.unwrap().state,
                    UploadState::Uploading
                );
            }
            Err(StoreError::ConditionOvertaken) => {
                let gone = store.upload(*id).await;
                assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let [(id, part)] = winners.try_into().unwrap();
    assert_eq!(read(store, &ObjectName::Id(id)).await.unwrap(), part);
    let key = ObjectKey::parse("first wins").unwrap();
    let name = ObjectName::Key(Bucket::parse("uploads").unwrap(), key);
    assert_eq!(store.object(&name, NOW).await.unwrap().id, id);
}

#[tokio::test]
async fn checksums_of_parts_are_kept_and_become_that_of_the_whole() {
    for kind in [ChecksumType::Composite, ChecksumType::FullObject] {
        let mut fixture = Fixture::new().await;
        let algorithm = ChecksumAlgorithm::Crc32c;
        let checksum = Some((algorithm, kind));
        let id = begin_parts(fixture.store(), "sums", PartRules { checksum }).await;
        let parts = [data(1, 1_000), data(2, 77)];
        for (index, bytes) in (0..).zip(&parts) {
            let spec = ChunkSpec::new(index, None);
            let mut writer = fixture.store().write_chunk(id, spec).await.unwrap();
            writer.write(bytes.clone()).await.unwrap();
            writer.keep_checksum(Checksum::of(algorithm, bytes));
            writer.commit(Expected::default(), NOW).await.unwrap();
        }
        fixture.restart().await;
        let store = fixture.store();
        for receipt in store.receipts(id).await.unwrap() {
            let bytes = &parts[receipt.index as usize];
            assert_eq!(receipt.checksum, Some(Checksum::of(algorithm, bytes)));
            assert_eq!(receipt.received_at, Some(NOW));
        }
        let named = [(0, &parts[0]), (1, &parts[1])];
        let meta = complete(store, id, &named).await.unwrap();
        let composite = meta.parts.as_ref().unwrap().composite_text();
        let whole = meta.attributes.checksum.clone();
        let values = parts
            .each_ref()
            .map(|part| Checksum::of(algorithm, part).value().to_vec());
        let expected = match kind {
            ChecksumType::Composite => {
                let sum = Checksum::of(algorithm, &values.concat());
                (Some((algorithm, format!("{}-2", sum.base64()))), None)
            }
            ChecksumType::FullObject => (None, Some(Checksum::of(algorithm, &parts.concat()))),
        };
        assert_eq!((composite, whole), expected);
        fixture.restart().await;
        let found = fixture.store().object(&ObjectName::Id(id), NOW).await;
        assert_eq!(found.unwrap(), meta);
    }
}

#[tokio::test]
async fn unfinished_uploads_in_parts_are_listed_by_key_and_by_nothing_else() {
    let mut fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for key in ["b", "a/1", "a/2", "b", "a\0", "a", "c/3"] {
        ids.push(begin_parts(fixture.store(), key, PartRules::default()).await);
    }
    begin(fixture.store(), "a/form").await;
    let done = begin_parts(fixture.store(), "a/done", PartRules::default()).await;
    let part = data(1, 10);
    send(fixture.store(), done, (0, None), &part).await.unwrap();
    complete(fixture.store(), done, &[(0, &part)])
        .await
        .unwrap();
    fixture.restart().await;
    let store = fixture.store();
    let bucket = Bucket::parse("uploads").unwrap();
    let mut query = UploadQuery::of(bucket.clone());
    let name = |entry: &UploadEntry| match entry {
        UploadEntry::Upload(session) => session.upload.key.as_str().to_owned(),
        UploadEntry::Group(group) => format!("group {group}"),
    };
    let all = store.list_uploads(&query).await.unwrap();
    let names = all.entries.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names, ["a", "a\0", "a/1", "a/2", "b", "b", "c/3"]);
    assert!(!all.more);
    for delimiter in [None, Some("/"), Some("\0")] {
        query.delimiter = delimiter.map(str::to_owned);
        query.limit = UploadQuery::MAX_LIMIT;
        query.after = None;
        let all = store.list_uploads(&query).await.unwrap();
        (query.limit, query.after) = (1, None);
        let mut entries = Vec::new();
        loop {
            let page = store.list_uploads(&query).await.unwrap();
            query.after = page.entries.last().map(|entry| match entry {
                UploadEntry::Upload(session) => {
                    let upload = &session.upload;
                    (upload.key.as_str().to_owned(), Some(upload.id))
                }
                UploadEntry::Group(group) => (group.clone(), None),
            });
            entries.extend(page.entries);
            if !page.more {
                break;
            }
        }
        assert_eq!(entries, all.entries, "{delimiter:?}");
    }
    query = UploadQuery::of(bucket);
    query.prefix = "a/".to_owned();
    let found = store.list_uploads(&query).await.unwrap();
    assert_eq!(
        found.entries.iter().map(name).collect::<Vec<_>>(),
        ["a/1", "a/2"]
    );
    query.prefix = String::new();
    query.after = Some(("b".to_owned(), None));
    let found = store.list_uploads(&query).await.unwrap();
    assert_eq!(found.entries.iter().map(name).collect::<Vec<_>>(), ["c/3"]);
    let other = UploadQuery::of(Bucket::parse("others").unwrap());
    assert!(store.list_uploads(&other).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn an_abandoned_upload_in_parts_is_swept() {
    let fixture = Fixture::new().await;
    let store = fixture.store();
    let id = begin_parts(store, "swept", PartRules::default()).await;
    send(store, id, (1, None), &data(1, 100)).await.unwrap();
    let due = store.upload(id).await.unwrap().upload.abandoned_at;
    store.sweep(at(NOW), 10).await.unwrap();
    assert!(store.upload(id).await.is_ok());
    let clock = ClockReading {
        wall: due,
        monotonic: Duration::from_secs(1) + Duration::from_secs(7 * 86_400),
    };
    assert_eq!(store.sweep(clock, 10).await.unwrap().sessions, 1);
    assert!(matches!(
        store.upload(id).await,
        Err(StoreError::NoSuchUpload)
    ));
    let uploads = UploadQuery::of(Bucket::parse("uploads").unwrap());
    assert!(
        store
            .list_uploads(&uploads)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

#[tokio::test]
async fn the_longest_key_with_the_most_headers_and_tags_is_uploaded_in_parts() {
    let mut fixture = Fixture::new().await;
    let mut new = upload(&"ü".repeat(512));
    let name = "x-amz-meta-v";
    let value = "v".repeat(HeaderSet::MAX_BYTES - name.len());
    assert!(new.headers.set(name, &value));
    let tag = |n: usize| {
        (
            format!("{n}{}", "\u{20000}".repeat(127)),
            "\u{20000}".repeat(256),
        )
    };
    new.attributes.tags = Tags::new((0..10).map(tag).collect()).unwrap();
    let (id, expected) = (new.id, (new.headers.clone(), new.attributes.clone()));
    let rules = PartRules {
        checksum: Some((ChecksumAlgorithm::Sha256, ChecksumType::Composite)),
    };
    fixture.store().create_parts(new, rules).await.unwrap();
    let part = data(1, 10);
    send(fixture.store(), id, (0, None), &part).await.unwrap();
    fixture.restart().await;
    let wanted = Completion {
        condition: Some(WriteCondition::Absent),
        ..completion(&[(0, &part)])
    };
    let made = fixture.store().complete_parts(id, wanted, NOW).await;
    let made = made.unwrap();
    assert_eq!((made.headers.clone(), made.attributes.clone()), expected);
    fixture.restart().await;
    let found = fixture.store().object(&ObjectName::Id(id), NOW).await;
    assert_eq!(found.unwrap(), made);
}
