//! Every point: a scripted workload of every commit path, failed and crashed at each of its disk operations in turn.
//!
//! A probe run counts the operations. Then, for every one of them: it fails once with EIO, or with ENOSPC, or is cut short; or the
//! process is as if dead from there on. The store is reopened, and each key holds its old bytes or its new ones, never a
//! mixture; what was answered with success is there, and what was acknowledged of an unfinished session is there, too.
//! Needs the feature `faults`. One fault exists in the process, so the tests take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pillarbox::model::{
    Bucket, BucketConfig, BucketSetting, ChunkReceipt, Expiration, HeaderSet, Id, LifecycleFilter,
    LifecycleRule, Md5, NewUpload, ObjectKey, PartRules, SettingKind, SettingValue, Tags,
    Timestamp, UploadState,
};
use pillarbox::store::embedded::faults::{Fault, arm, disarm};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, CatalogKey, ChunkSpec, ClockReading, Completion, Expected,
    ObjectChange, ObjectName, ObjectStore as _, PartStore as _, StoreError, UploadQuery,
    WriteCondition,
};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Runtime;

#[path = "support/folder.rs"]
mod folder;
#[path = "every_point/left_behind.rs"]
mod left_behind;
#[path = "support/memory.rs"]
mod memory;
#[path = "every_point/records.rs"]
mod records;
#[path = "every_point/starts.rs"]
mod starts;

use memory::in_memory;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Runs in a hundred, at most, that end before the operation that was to meet the fault: what goes on beside the callers does not
/// always ask the same of the disk.
const MOST_SHORTER_RUNS: u32 = 5;
/// After so many runs the index is built anew once.
const REBUILT: u64 = 4;
/// What such a run has met.
const SHORTER: &str = "none: the run was shorter";

/// A chunk that goes past the cache of the system, and ends within a block.
static LONG: [u8; 600_001] = long();
/// So many of them are synced once while they still arrive.
const VERY_LONG: usize = 30;

const fn long() -> [u8; 600_001] {
    let mut bytes = [0; 600_001];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
}

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn options(data: &Path) -> Options {
    Options {
        free_floor_bytes: 0,
        ballast_bytes: 1 << 16,
        ..Options::new(data)
    }
}

fn key(name: &str) -> ObjectName {
    ObjectName::Key(
        Bucket::parse("uploads").unwrap(),
        ObjectKey::parse(name).unwrap(),
    )
}

/// What clients were told.
#[derive(Clone, Debug, Default)]
struct Told {
    number: u64,
    /// What each key may hold.
    objects: BTreeMap<&'static str, BTreeSet<Option<Vec<u8>>>>,
    records: records::Records,
    /// Whether the rules of the bucket `rules` were acknowledged, and a sweep after them.
    ruled: bool,
    let_go: bool,
    /// Sessions that were started, with the chunks that were acknowledged.
    sessions: BTreeMap<Id, Session>,
    /// Uploads in parts that were started.
    uploads: BTreeMap<Id, Upload>,
    /// Sessions that were aborted, or swept.
    gone: Vec<Id>,
    read_only: bool,
}

#[derive(Clone, Debug)]
struct Session {
    name: &'static str,
    chunks: Vec<&'static [u8]>,
    acknowledged: BTreeSet<u32>,
    /// An abort was asked for and not answered.
    doubtful: bool,
}

/// An upload in parts.
#[derive(Clone, Debug)]
struct Upload {
    name: &'static str,
    /// What each part may hold: one thing when it was acknowledged, or nothing.
    parts: BTreeMap<u32, BTreeSet<Option<&'static [u8]>>>,
    /// The parts that its object is to consist of, and the condition.
    named: Vec<(u32, &'static [u8])>,
    condition: Option<WriteCondition>,
    /// Its end was asked for; and said.
    ended: Option<bool>,
    /// An abort was asked for and not answered.
    doubtful: bool,
}

impl Upload {
    fn completion(&self) -> Completion {
        let part = |(index, bytes): &(u32, &'static [u8])| (*index, Md5::of(bytes));
        Completion {
            parts: self.named.iter().map(part).collect(),
            condition: self.condition.clone(),
        }
    }

    fn whole(&self) -> Vec<u8> {
        let parts = self.named.iter().map(|(_, bytes)| *bytes);
        parts.collect::<Vec<_>>().concat()
    }
}

impl Told {
    fn upload(&mut self, name: &str, expires_at: Option<Timestamp>) -> NewUpload {
        self.number += 1;
        NewUpload {
            id: Id::new(NOW, self.number.to_be_bytes()),
            bucket: Bucket::parse("uploads").unwrap(),
            key: ObjectKey::parse(name).unwrap(),
            pipeline: None,
            expires_at,
            headers: HeaderSet::default(),
            attributes: Default::default(),
            application: None,
            created_at: NOW,
            abandoned_at: NOW.plus(life_of(name)),
            form_post_url: String::new(),
            answer: Default::default(),
        }
    }

    fn asks(&mut self, name: &'static str, new: Option<&[u8]>) {
        let may = self.objects.entry(name).or_insert_with(|| [None].into());
        may.insert(new.map(<[u8]>::to_vec));
    }

    /// Takes over an answer. After a failed sync nothing may succeed any more.
    fn hears<T>(&mut self, answer: Result<T, StoreError>) -> Option<T> {
        match answer {
            Ok(answer) => {
                assert!(!self.read_only, "a write succeeded after a failed sync");
                Some(answer)
            }
            Err(StoreError::Corrupt(what)) => {
                panic!("a failure of the system reads as damage: {what}")
            }
            Err(error) => {
                self.read_only |= matches!(error, StoreError::ReadOnly);
                None
            }
        }
    }

    fn told(&mut self, name: &'static str, new: Option<&[u8]>) {
        self.objects.insert(name, [new.map(<[u8]>::to_vec)].into());
    }
}

async fn post(store: &EmbeddedStore, told: &mut Told, name: &'static str, bytes: &'static [u8]) {
    let mut new = told.upload(name, None);
    new.attributes.tags = tags_of(name, bytes);
    told.asks(name, Some(bytes));
    let answer = async {
        let mut writer = store.write_object(new).await?;
        writer.write(bytes.into()).await?;
        writer.commit(Expected::default(), NOW).await
    };
    if told.hears(answer.await).is_some() {
        told.told(name, Some(bytes));
    }
}

/// Objects whose names begin with `tagged` have more tags than one value of the index takes, and they tell their bytes.
fn tags_of(name: &str, bytes: &[u8]) -> Tags {
    let tag = |n: usize| (format!("{n}{}", bytes.len()), "\u{20000}".repeat(200));
    let tags = (0..10).map(tag).filter(|_| name.starts_with("tagged"));
    Tags::new(tags.collect()).unwrap()
}

/// Sessions whose names begin with `brief` are soon due.
fn life_of(name: &str) -> Duration {
    Duration::from_secs(if name.starts_with("brief") { 5 } else { 86_400 })
}

async fn chunk(
    store: &EmbeddedStore,
    id: Id,
    spec: ChunkSpec,
    bytes: &'static [u8],
) -> Result<(), StoreError> {
    let mut writer = store.write_chunk(id, spec).await?;
    writer.write(bytes.into()).await?;
    writer.commit(Expected::default(), NOW).await.map(drop)
}

/// A session whose chunks come in the order given; `None` for their number is said by `finish`.
async fn session(
    store: &EmbeddedStore,
    told: &mut Told,
    name: &'static str,
    chunks: &[&'static [u8]],
    order: &[u32],
    nb_chunks: Option<u32>,
) {
    let new = told.upload(name, None);
    let id = new.id;
    if told.hears(store.create_upload(new).await).is_none() {
        return;
    }
    let whole = chunks.concat();
    let known = Session {
        name,
        chunks: chunks.to_vec(),
        acknowledged: BTreeSet::new(),
        doubtful: false,
    };
    told.sessions.insert(id, known);
    for index in order.iter().copied() {
        let mut here = told.sessions[&id].acknowledged.clone();
        here.insert(index);
        let is_last = here.len() == chunks.len();
        if is_last {
            told.asks(name, Some(&whole));
        }
        let spec = ChunkSpec::new(index, nb_chunks);
        let answer = chunk(store, id, spec, chunks[index as usize]).await;
        if told.hears(answer).is_none() {
            return;
        }
        told.sessions
            .get_mut(&id)
            .unwrap()
            .acknowledged
            .insert(index);
        if is_last && nb_chunks.is_some() {
            told.told(name, Some(&whole));
        }
    }
    if nb_chunks.is_none() {
        let count = u32::try_from(chunks.len()).unwrap();
        if let Some(session) = told.hears(store.finish_upload(id, count, NOW).await)
            && session.state == UploadState::Completed
        {
            told.told(name, Some(&whole));
        }
    }
}

/// An upload in parts: they are sent in the order given, an index again with other bytes replaces the earlier part, and those of
/// `named` become the object.
async fn parts(
    store: &EmbeddedStore,
    told: &mut Told,
    (name, condition): (&'static str, Option<WriteCondition>),
    sent: &[(u32, &'static [u8])],
    named: &[u32],
) -> Option<Id> {
    let last = |index: &u32| sent.iter().rfind(|(at, _)| at == index).copied();
    let upload = Upload {
        name,
        parts: BTreeMap::new(),
        named: named.iter().filter_map(last).collect(),
        condition,
        ended: None,
        doubtful: false,
    };
    let (whole, completion) = (upload.whole(), upload.completion());
    let mut new = told.upload(name, None);
    new.attributes.tags = tags_of(name, &whole);
    let id = new.id;
    told.hears(store.create_parts(new, PartRules::default()).await)?;
    told.uploads.insert(id, upload);
    for (index, bytes) in sent {
        let known = told.uploads.get_mut(&id)?;
        let may = known.parts.entry(*index).or_insert_with(|| [None].into());
        may.insert(Some(*bytes));
        let answer = chunk(store, id, ChunkSpec::new(*index, None), bytes).await;
        told.hears(answer)?;
        let acknowledged = [Some(*bytes)].into();
        told.uploads
            .get_mut(&id)?
            .parts
            .insert(*index, acknowledged);
    }
    if named.is_empty() {
        return Some(id);
    }
    told.asks(name, Some(&whole));
    told.uploads.get_mut(&id)?.ended = Some(false);
    match store.complete_parts(id, completion, NOW).await {
        Err(StoreError::ConditionFailed) => told.uploads.get_mut(&id)?.ended = None,
        answer => {
            told.hears(answer)?;
            told.uploads.get_mut(&id)?.ended = Some(true);
            told.told(name, Some(&whole));
        }
    }
    Some(id)
}

/// The commit paths of uploads in parts.
async fn uploads(store: &EmbeddedStore, told: &mut Told) {
    let in_order: [(u32, &[u8]); 3] = [(0, b"aaaa"), (1, b"bbbb"), (2, b"c")];
    parts(store, told, ("parts in order", None), &in_order, &[0, 1, 2]).await;
    // Sent twice, not all of them named, with gaps: the file has to be rebuilt.
    let mixed: [(u32, &[u8]); 6] = [
        (4, b"unnamed "),
        (0, b"earlier"),
        (7, b"third "),
        (2, b"second "),
        (0, b"first, "),
        (9, b"last"),
    ];
    parts(store, told, ("tagged parts", None), &mixed, &[0, 2, 7, 9]).await;
    let absent = Some(WriteCondition::Absent);
    let only: [(u32, &[u8]); 1] = [(5, b"only")];
    parts(store, told, ("conditional", absent.clone()), &only, &[5]).await;
    let late: [(u32, &[u8]); 1] = [(0, b"too late")];
    parts(store, told, ("conditional", absent), &late, &[0]).await;
    let open: [(u32, &[u8]); 2] = [(1, b"left"), (0, b"open")];
    parts(store, told, ("open parts", None), &open, &[]).await;
    if let Some(id) = parts(store, told, ("aborted parts", None), &in_order, &[]).await {
        if let Some(upload) = told.uploads.get_mut(&id) {
            upload.doubtful = true;
        }
        if told.hears(store.abort_upload(id).await).is_some() {
            told.uploads.remove(&id);
            told.gone.push(id);
        }
    }
}

/// Every commit path, one after the other; goes on after a failure.
async fn workload(store: &EmbeddedStore, told: &mut Told) {
    uploads(store, told).await;
    post(store, told, "posted", b"first").await;
    post(store, told, "posted", b"second, longer").await;
    post(store, told, "tagged", b"first").await;
    post(store, told, "tagged", b"second, longer").await;
    session(store, told, "single", &[b"only"], &[0], Some(1)).await;
    session(
        store,
        told,
        "in order",
        &[b"aaaa", b"bbbb", b"c"],
        &[0, 1, 2],
        Some(3),
    )
    .await;
    session(
        store,
        told,
        "spilled",
        &[b"dddd", b"eeee", b"f"],
        &[2, 1, 0],
        Some(3),
    )
    .await;
    // The stride becomes 6, and chunk 0 is shorter: the file has to be rebuilt.
    session(
        store,
        told,
        "rebuilt",
        &[b"1st ", b"second", b"third ", b"last"],
        &[1, 0, 2, 3],
        Some(4),
    )
    .await;
    session(store, told, "finished", &[b"gggg", b"hh"], &[0, 1], None).await;
    session(store, told, "long", &[&LONG, &LONG], &[0, 1], Some(2)).await;
    session(
        store,
        told,
        "single",
        &[b"over", b"written"],
        &[1, 0],
        Some(2),
    )
    .await;
    session(
        store,
        told,
        "open",
        &[b"iiii", b"jjjj", b"k"],
        &[0, 2, 2],
        Some(3),
    )
    .await;
    let change = ObjectChange::ExpiresAt(Some(NOW.plus(Duration::from_secs(1000))));
    records::change(store, told, "in order", change).await;
    post(store, told, "changed tags", b"the same").await;
    for text in ["\u{20000}", "a"] {
        retag(store, told, text).await;
    }
    settings(store, told).await;
    told.asks("posted", None);
    let gone = store.delete_object(&key("posted"), NOW).await;
    if told.hears(gone).is_some() {
        told.told("posted", None);
    }
    abort(store, told).await;
    sweep(store, told).await;
}

/// Ten tags of full length, which lie beside the record, and such as fit it.
async fn retag(store: &EmbeddedStore, told: &mut Told, text: &str) {
    let tags = (0..10).map(|n| (n.to_string(), text.repeat(256)));
    let tags = Tags::new(tags.collect()).unwrap();
    records::change(store, told, "changed tags", ObjectChange::Tags(tags)).await;
}

/// Rules that take many values of the index, and an object that they let go.
async fn settings(store: &EmbeddedStore, told: &mut Told) {
    let name = Bucket::parse("rules").unwrap();
    let bucket = BucketConfig {
        name: name.clone(),
        created_at: NOW,
        public_write: false,
    };
    told.hears(store.insert(CatalogEntry::Bucket(bucket)).await);
    let rules = (0..100).map(|n| LifecycleRule {
        id: n.to_string(),
        enabled: true,
        filter: LifecycleFilter::default(),
        expiration: Some(Expiration::Days(1)),
        abort_days: None,
    });
    let setting = BucketSetting {
        bucket: name.clone(),
        value: SettingValue::Lifecycle(rules.collect::<Vec<_>>().into()),
    };
    let set = store.insert(CatalogEntry::Setting(setting)).await;
    if told.hears(set).is_none() {
        return;
    }
    told.ruled = true;
    let mut new = told.upload("due", None);
    new.bucket = name;
    let answer = async {
        let mut writer = store.write_object(new).await?;
        writer.write((b"due" as &[u8]).into()).await?;
        let long_ago = Timestamp::from_seconds(0);
        writer.commit(Expected::default(), long_ago).await
    };
    told.hears(answer.await);
}

/// Rules that were acknowledged are there whole, and let go what they let go.
async fn check_rules(store: &EmbeddedStore, told: &Told, when: &str) {
    let name = Bucket::parse("rules").unwrap();
    let key = CatalogKey::Setting(name.clone(), SettingKind::Lifecycle);
    match store.find(&key).await.unwrap() {
        None => assert!(!told.ruled, "{when}: the rules are lost"),
        Some(CatalogEntry::Setting(setting)) => {
            let all =
                matches!(&setting.value, SettingValue::Lifecycle(rules) if rules.len() == 100);
            assert!(all, "{when}: rules are missing");
        }
        Some(other) => panic!("{when}: {other:?}"),
    }
    let due = ObjectName::Key(name, ObjectKey::parse("due").unwrap());
    let found = store.object(&due, NOW).await;
    let fits = match found {
        Ok(_) => !told.let_go,
        Err(error) => matches!(error, StoreError::NoSuchObject),
    };
    assert!(
        fits,
        "{when}: what the rules let go is there, or cannot be read"
    );
}

async fn abort(store: &EmbeddedStore, told: &mut Told) {
    session(store, told, "aborted", &[b"llll", b"m"], &[1], Some(2)).await;
    let found = told
        .sessions
        .iter()
        .find(|(_, session)| session.name == "aborted");
    let Some(id) = found.map(|(id, _)| *id) else {
        return;
    };
    told.sessions.get_mut(&id).unwrap().doubtful = true;
    if told.hears(store.abort_upload(id).await).is_some() {
        told.sessions.remove(&id);
        told.gone.push(id);
    }
}

async fn sweep(store: &EmbeddedStore, told: &mut Told) {
    let new = told.upload("expired", Some(NOW.plus(Duration::from_secs(1))));
    told.asks("expired", None);
    let answer = async {
        let mut writer = store.write_object(new).await?;
        writer.write((b"short-lived" as &[u8]).into()).await?;
        writer.commit(Expected::default(), NOW).await
    };
    told.hears(answer.await);
    let clock = ClockReading {
        wall: NOW.plus(Duration::from_secs(10)),
        monotonic: Duration::from_secs(10),
    };
    let swept = told.hears(store.sweep(clock, 100).await);
    told.let_go = told.ruled && swept.is_some();
}

/// What clients were told of objects, records and entries is so.
async fn check_objects(store: &EmbeddedStore, told: &Told, when: &str) {
    let later = NOW.plus(Duration::from_secs(10));
    for (name, may) in &told.objects {
        let found = read(store, name, later).await;
        assert!(
            may.contains(&found),
            "{when}: {name} holds {found:?}, may hold {may:?}"
        );
    }
    records::check(store, told, when).await;
}

/// What clients were told is so.
async fn check(store: &EmbeddedStore, told: &Told, when: &str) {
    check_objects(store, told, when).await;
    check_rules(store, told, when).await;
    for id in &told.gone {
        let seen = store.upload(*id).await;
        assert!(
            matches!(seen, Err(StoreError::NoSuchUpload)),
            "{when}: a session is back that had gone"
        );
    }
    for (id, session) in &told.sessions {
        check_session(store, *id, session, when).await;
    }
    for (id, upload) in &told.uploads {
        check_upload(store, *id, upload, when).await;
    }
}

/// What is here of an upload; a store that is read-only does not say, since what can be read may not be durable then.
async fn receipts(store: &EmbeddedStore, id: Id) -> Option<Vec<ChunkReceipt>> {
    let is_writable = store.health().await.unwrap().writable;
    match store.receipts(id).await {
        Err(StoreError::ReadOnly) if !is_writable => None,
        read => Some(read.unwrap()),
    }
}

async fn check_upload(store: &EmbeddedStore, id: Id, upload: &Upload, when: &str) {
    let name = upload.name;
    // Its condition may have been overtaken.
    let is_overtaken = upload.condition.is_some() && upload.ended == Some(false);
    let state = match store.upload(id).await {
        Ok(seen) => seen.state,
        Err(StoreError::NoSuchUpload | StoreError::GaveWay) if upload.doubtful || is_overtaken => {
            return;
        }
        Err(error) => panic!("{when}: the upload of {name} is lost: {error:?}"),
    };
    let query = UploadQuery::of(Bucket::parse("uploads").unwrap());
    let listed = store.list_uploads(&query).await.unwrap().entries.len();
    match (state, upload.ended) {
        (UploadState::Uploading, None | Some(false)) => {}
        (UploadState::Completing, Some(false)) | (UploadState::Completed, Some(_)) => return,
        other => panic!("{when}: {name}: {other:?}"),
    }
    assert!(listed > 0, "{when}: {name} is not listed");
    let Some(receipts) = receipts(store, id).await else {
        return;
    };
    for (index, may) in &upload.parts {
        let here = receipts.iter().find(|receipt| receipt.index == *index);
        let here = here.map(|receipt| receipt.digests.md5);
        let fits = may.iter().any(|bytes| bytes.map(Md5::of) == here);
        assert!(
            fits,
            "{when}: {name}: part {index} is {here:?}, may be {may:?}"
        );
    }
}

async fn check_session(store: &EmbeddedStore, id: Id, session: &Session, when: &str) {
    let state = match store.upload(id).await {
        Ok(seen) => seen.state,
        Err(StoreError::NoSuchUpload | StoreError::GaveWay) if session.doubtful => return,
        Err(error) => panic!("{when}: the session of {} is lost: {error:?}", session.name),
    };
    assert_ne!(state, UploadState::Failed, "{when}: {}", session.name);
    if state == UploadState::Completed {
        return;
    }
    let Some(here) = receipts(store, id).await else {
        return;
    };
    let here: BTreeSet<u32> = here.iter().map(|receipt| receipt.index).collect();
    assert!(
        here.is_superset(&session.acknowledged),
        "{when}: {}: acknowledged {:?}, there {here:?}",
        session.name,
        session.acknowledged
    );
}

/// Goes on: what is missing of a session is sent again, and it becomes whole.
async fn finish_all(store: &EmbeddedStore, told: &mut Told, when: &str) {
    for (id, session) in &told.sessions {
        if store.upload(*id).await.map(|seen| seen.state).ok() != Some(UploadState::Uploading) {
            continue;
        }
        let count = u32::try_from(session.chunks.len()).unwrap();
        for (index, bytes) in (0..).zip(&session.chunks) {
            let nb_chunks = Some(count);
            chunk(store, *id, ChunkSpec::new(index, nb_chunks), bytes)
                .await
                .unwrap();
        }
        let (name, whole) = (session.name, Some(session.chunks.concat()));
        assert_eq!(read(store, name, NOW).await, whole, "{when}: {name}");
        told.objects.insert(name, [whole].into());
    }
}

/// Ends the uploads in parts that are still open: those that were not told to end are sent anew where needed.
async fn finish_uploads(store: &EmbeddedStore, told: &mut Told, when: &str) {
    for (id, upload) in &told.uploads {
        let name = upload.name;
        if store.upload(*id).await.map(|seen| seen.state).ok() != Some(UploadState::Uploading) {
            continue;
        }
        if upload.named.is_empty() || upload.condition.is_some() {
            store.abort_upload(*id).await.unwrap();
            continue;
        }
        for (index, bytes) in &upload.named {
            chunk(store, *id, ChunkSpec::new(*index, None), bytes)
                .await
                .unwrap();
        }
        let made = store.complete_parts(*id, upload.completion(), NOW).await;
        assert!(made.is_ok(), "{when}: {name}: {made:?}");
        let whole = Some(upload.whole());
        assert_eq!(read(store, name, NOW).await, whole, "{when}: {name}");
        told.objects.insert(name, [whole].into());
    }
}

async fn read(store: &EmbeddedStore, name: &str, now: Timestamp) -> Option<Vec<u8>> {
    let reader = match store.open(&key(name), now).await {
        Ok(reader) => reader,
        Err(StoreError::NoSuchObject) => return None,
        Err(error) => panic!("{name} cannot be read: {error:?}"),
    };
    store.verify(&key(name), now).await.unwrap();
    let bytes = reader.read_at(0, 2 << 20).await.unwrap().to_vec();
    if !name.starts_with("changed") {
        assert_eq!(reader.meta().attributes.tags, tags_of(name, &bytes));
    }
    Some(bytes)
}

/// Every file belongs to something, once what is under way has ended.
async fn check_files(store: &EmbeddedStore, data: &Path, when: &str) {
    let clock = ClockReading {
        wall: NOW.plus(Duration::from_secs(120)),
        monotonic: Duration::from_secs(120),
    };
    store.sweep(clock, 1000).await.unwrap();
    store.sweep(clock, 1000).await.unwrap();
    for name in files(&data.join("objects")) {
        let id = Id::parse(name.get(..24).unwrap()).unwrap();
        let known = store.object(&ObjectName::Id(id), NOW).await.is_ok();
        assert!(
            known && [24, 29].contains(&name.len()),
            "{when}: {name} belongs to nothing"
        );
    }
}

/// The names of all files of uploads and objects.
fn files(objects: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(objects).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let names = files.map(|file| file.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// A store with nothing but a bucket.
async fn fresh(data: &Path) -> EmbeddedStore {
    let store = EmbeddedStore::open(options(data), NOW).await.unwrap();
    let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), NOW);
    store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
    store
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// They upload, in every way that there is.
    Uploads,
    /// They change records and entries.
    Records,
}

impl Work {
    /// Operations that there are at least; a workload that shrank proves less than it says.
    const fn fewest_operations(self) -> usize {
        match self {
            Self::Uploads => 600,
            Self::Records => 260,
        }
    }

    async fn go(self, store: &EmbeddedStore, told: &mut Told) {
        match self {
            Self::Uploads => workload(store, told).await,
            Self::Records => records::workload(store, told).await,
        }
    }
}

/// The operations of a run, and the one that the fault met.
type Met = (Vec<&'static str>, Option<&'static str>);

/// One run of a workload with a fault.
fn attempt(work: Work, number: u64, fault: Fault) -> Met {
    let folder = in_memory();
    let mut data = folder.path().join("data");
    let mut told = Told::default();
    let mut when = format!("{fault:?} at operation {number} of {work:?}");
    let first = runtime();
    let store = first.block_on(async {
        let store = fresh(&data).await;
        arm(number, fault);
        work.go(&store, &mut told).await;
        store
    });
    let done = match fault {
        // Dead it stays, until the last of its tasks has ended. What its index had not written yet went with it.
        Fault::Freeze => {
            let left = folder.path().join("left");
            folder::copy(&data, &left);
            data = left;
            drop(store);
            drop(first);
            disarm()
        }
        Fault::Fail(_) | Fault::Short => {
            let done = disarm();
            when = format!("{when} ({})", done.1.unwrap_or("none"));
            first.block_on(async {
                let is_writable = store.health().await.unwrap().writable;
                assert_eq!(is_writable, !fails_a_sync(fault, done.1), "{when}");
                check(&store, &told, &format!("{when}, alive")).await;
            });
            drop(store);
            drop(first);
            done
        }
    };
    let when = format!("{when} ({}), reopened", done.1.unwrap_or("none"));
    let then = runtime();
    then.block_on(go_on(&data, &mut told, &when));
    if work == Work::Records && number.is_multiple_of(REBUILT) {
        then.block_on(rebuild(&data, &told, &when));
    }
    done
}

/// The next start: all is as clients were told, and goes on.
async fn go_on(data: &Path, told: &mut Told, when: &str) {
    let store = EmbeddedStore::open(options(data), NOW).await.unwrap();
    check(&store, told, when).await;
    finish_all(&store, told, when).await;
    finish_uploads(&store, told, when).await;
    check_files(&store, data, when).await;
    store.close().await.unwrap();
}

/// An index that is built anew knows the same of objects and entries.
async fn rebuild(data: &Path, told: &Told, when: &str) {
    let store = EmbeddedStore::reindex(options(data), NOW).await.unwrap();
    check_objects(&store, told, &format!("{when}, its index rebuilt")).await;
}

/// Whether a sync failed, after which nothing may be written any more.
fn fails_a_sync(fault: Fault, met: Option<&str>) -> bool {
    matches!(fault, Fault::Fail(_)) && met.is_some_and(|name| name.starts_with("sync "))
}

/// Whether an operation may find the disk full.
fn takes_space(name: &str) -> bool {
    !name.starts_with("ask ") && !["open a file", "open a folder", "read a file"].contains(&name)
}

/// Tries the fault at every operation that it can meet.
fn at_every_point(work: Work, fault: Fault, meets: impl Fn(&str) -> bool) {
    let _turn = turn();
    let (operations, met) = attempt(work, u64::MAX, fault);
    assert!(
        met.is_none() && operations.len() >= work.fewest_operations(),
        "{} operations: {operations:?}, {met:?}",
        operations.len()
    );
    at_each_of(
        &format!("{work:?}, {fault:?}"),
        &operations,
        |_, name| meets(name),
        |number| attempt(work, number, fault).1,
    );
}

/// Makes an attempt at each of these operations that is to be met, says what was met, and allows few attempts that met nothing.
fn at_each_of(
    what: &str,
    operations: &[&str],
    is_met: impl Fn(u64, &str) -> bool,
    attempt: impl Fn(u64) -> Option<&'static str>,
) {
    let mut kinds = BTreeMap::<_, u32>::new();
    for (number, _) in (0..)
        .zip(operations)
        .filter(|(number, name)| is_met(*number, name))
    {
        let met = attempt(number);
        *kinds.entry(met.unwrap_or(SHORTER)).or_default() += 1;
    }
    let runs: u32 = kinds.values().sum();
    let shorter = kinds.get(SHORTER).copied().unwrap_or_default();
    println!(
        "{what}: {runs} runs, {} operations: {kinds:?}",
        operations.len()
    );
    assert!(shorter * 100 <= runs * MOST_SHORTER_RUNS, "{kinds:?}");
}

#[test]
fn after_a_crash_at_every_disk_operation_everything_is_old_or_new() {
    at_every_point(Work::Uploads, Fault::Freeze, |_| true);
}

#[test]
fn after_a_crash_at_every_disk_operation_every_record_is_old_or_new() {
    at_every_point(Work::Records, Fault::Freeze, |_| true);
}

#[test]
fn after_an_io_error_at_every_disk_operation_everything_is_old_or_new() {
    at_every_point(Work::Uploads, Fault::Fail(EIO), |_| true);
}

#[test]
fn after_an_io_error_at_every_disk_operation_every_record_is_old_or_new() {
    at_every_point(Work::Records, Fault::Fail(EIO), |_| true);
}

#[test]
fn after_no_space_at_every_disk_operation_everything_is_old_or_new() {
    at_every_point(Work::Uploads, Fault::Fail(ENOSPC), takes_space);
}

/// For labels, and for what is replaced whole; the rest is as with uploads.
#[test]
fn after_no_space_for_a_label_or_a_small_file_every_record_is_old_or_new() {
    at_every_point(Work::Records, Fault::Fail(ENOSPC), |name| {
        ["label a file", "write a small file"].contains(&name)
    });
}

#[test]
fn after_a_short_write_at_every_disk_operation_everything_is_new() {
    at_every_point(Work::Uploads, Fault::Short, |name| {
        name == "write to a file"
    });
}

/// Whether the file system in memory lets bytes go past the cache, as it does since Linux 6.6; what went through it is not synced early.
fn is_direct() -> bool {
    let folder = in_memory();
    let how = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT;
    rustix::fs::open(folder.path().join("file"), how, Mode::RWXU).is_ok()
}

/// Posts an object of so many times [`LONG`] with a fault: its operations, the one that the fault met, and whether the post was
/// acknowledged, which it is for good.
fn long_post(times: usize, number: u64) -> (Vec<&'static str>, Option<&'static str>, bool) {
    let folder = in_memory();
    let data = folder.path().join("data");
    let mut told = Told::default();
    let first = runtime();
    let (acknowledged, done) = first.block_on(async {
        let store = fresh(&data).await;
        arm(number, Fault::Fail(EIO));
        let mut writer = store.write_object(told.upload("long", None)).await.unwrap();
        let mut answer = Ok(());
        for _ in 0..times {
            answer = answer.and(writer.write(LONG.as_slice().into()).await);
        }
        let answer = match answer {
            Ok(()) => writer.commit(Expected::default(), NOW).await.map(drop),
            Err(error) => Err(error),
        };
        let _ = store.close().await;
        (answer.is_ok(), disarm())
    });
    drop(first);
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&data), NOW).await.unwrap();
        let object = store.object(&key("long"), NOW).await;
        assert_eq!(object.is_ok(), acknowledged, "operation {number}");
        if acknowledged {
            store.verify(&key("long"), NOW).await.unwrap();
        }
    });
    (done.0, done.1, acknowledged)
}

#[test]
fn a_write_or_a_sync_that_fails_while_a_long_object_arrives_fails_the_object() {
    let _turn = turn();
    let is_met = |name: &str| ["write to a file", "sync a file"].contains(&name);
    let syncs = |operations: &[&str]| {
        operations
            .iter()
            .filter(|name| **name == "sync a file")
            .count()
    };
    let (short, _, _) = long_post(1, u64::MAX);
    let (operations, _, acknowledged) = long_post(VERY_LONG, u64::MAX);
    let early = usize::from(is_direct());
    assert_eq!(syncs(&operations), syncs(&short) + early, "{operations:?}");
    assert!(acknowledged);
    for (number, name) in (0..).zip(&operations).filter(|(_, name)| is_met(name)) {
        let (done, met, acknowledged) = long_post(VERY_LONG, number);
        assert_eq!((met, acknowledged), (Some(*name), false), "{number}");
        let behind = done.iter().skip(number as usize + 1);
        assert!(
            !behind.into_iter().any(|name| is_met(name)),
            "{number}: {done:?}"
        );
    }
}

/// Sends a chunk that outgrows its place after others have theirs, with a fault: the operations, whether it was acknowledged, and how many
/// spills there are.
fn outgrown(number: u64) -> (Vec<&'static str>, bool, usize) {
    let folder = in_memory();
    let mut told = Told::default();
    runtime().block_on(async {
        let store = fresh(&folder.path().join("data")).await;
        let new = told.upload("outgrown", None);
        let id = new.id;
        store.create_upload(new).await.unwrap();
        for (index, times) in [(0, 3), (2, 3)] {
            send(&store, id, (index, 4), times).await.unwrap();
        }
        arm(number, Fault::Fail(EIO));
        let sent = send(&store, id, (1, 4), 5).await;
        let _ = store.close().await;
        let files = files(&folder.path().join("data/objects"));
        let spills = files.iter().filter(|name| name.contains('.')).count();
        (disarm().0, sent.is_ok(), spills)
    })
}

/// Sends the chunk `index` of `count`, so many times [`LONG`].
async fn send(
    store: &EmbeddedStore,
    id: Id,
    (index, count): (u32, u32),
    times: usize,
) -> Result<(), StoreError> {
    let spec = ChunkSpec::new(index, Some(count));
    let mut writer = store.write_chunk(id, spec).await?;
    for _ in 0..times {
        writer.write(LONG.as_slice().into()).await?;
    }
    writer.commit(Expected::default(), NOW).await.map(drop)
}

#[test]
fn a_chunk_that_outgrows_its_place_is_synced_before_it_is_moved() {
    let _turn = turn();
    let (operations, acknowledged, spills) = outgrown(u64::MAX);
    let copied = operations
        .iter()
        .position(|name| *name == "copy between files");
    let copied = copied.unwrap();
    let before = &operations[..copied];
    let synced = before.iter().rposition(|name| *name == "sync a file");
    let synced = synced.expect("what is moved is synced first");
    assert!(!before[synced..].contains(&"write to a file"));
    assert_eq!((acknowledged, spills), (true, 1));
    let (operations, acknowledged, spills) = outgrown(synced as u64);
    assert!(!acknowledged && !operations.contains(&"copy between files"));
    assert_eq!(spills, 0);
    // What it was to be moved to goes with it.
    let (_, acknowledged, spills) = outgrown(copied as u64);
    assert_eq!((acknowledged, spills), (false, 0));
}

/// Sends two chunks, the second first, which lies apart until the first one ends the session, with a fault: the operations of the latter, and
/// whether it was acknowledged. After a restart the object is whole in any case, for both chunks had been made durable.
fn folded(number: u64) -> (Vec<&'static str>, bool) {
    let folder = in_memory();
    let data = folder.path().join("data");
    let mut told = Told::default();
    let (id, done) = runtime().block_on(async {
        let store = fresh(&data).await;
        let new = told.upload("folded", None);
        let id = new.id;
        store.create_upload(new).await.unwrap();
        send(&store, id, (1, 2), 1).await.unwrap();
        arm(number, Fault::Fail(EIO));
        let sent = send(&store, id, (0, 2), 1).await;
        let _ = store.close().await;
        (id, (disarm().0, sent.is_ok()))
    });
    runtime().block_on(async {
        let store = EmbeddedStore::open(options(&data), NOW).await.unwrap();
        store.finish_upload(id, 2, NOW).await.unwrap();
        let found = read(&store, "folded", NOW).await;
        assert!(
            found == Some([&LONG[..], &LONG].concat()),
            "operation {number}"
        );
    });
    done
}

#[test]
fn a_chunk_that_lay_apart_is_synced_where_it_was_folded_into_before_the_object_counts() {
    let _turn = turn();
    let (operations, acknowledged) = folded(u64::MAX);
    let copied = operations
        .iter()
        .rposition(|name| *name == "copy between files");
    let synced = copied.unwrap() + 1;
    assert_eq!((operations[synced], acknowledged), ("sync a file", true));
    let (operations, acknowledged) = folded(synced as u64);
    assert!(!acknowledged && !operations[synced..].contains(&"label a file"));
}
