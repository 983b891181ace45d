//! What only the embedded engine promises: the rebuild of a lost index, recovery after a crash at a chosen step, labels, orphans,
//! a full disk, damage. The contract that every engine keeps is `tests/store_contract.rs`.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::model::{
    Application, Bucket, BucketConfig, BucketSetting, CannedAcl, Hasher, HeaderSet, ObjectKey,
    PartRules, Place, Scopes, Secret, SettingKind, SettingValue, Token, TokenHash, UploadState,
};
use crate::store::{Expected, PartStore as _};

/// The moment at which the tests happen.
pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

static COUNTER: AtomicU64 = AtomicU64::new(1);

/// A folder that is removed at the end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pillarbox-embedded-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn options(&self) -> Options {
        Options {
            free_floor_bytes: 0,
            ballast_bytes: 0,
            ..Options::new(&self.0)
        }
    }

    pub(super) async fn open(&self) -> EmbeddedStore {
        let store = EmbeddedStore::open(self.options(), NOW).await.unwrap();
        add_bucket(&store).await;
        store
    }

    /// Waits until whatever still held the store after it was dropped has let go.
    pub(super) async fn settle(&self) {
        let data = self.0.clone();
        let open = move || drop(Disk::open(&data, Fuse::default()).unwrap());
        tokio::task::spawn_blocking(open).await.unwrap();
    }

    pub(super) fn broken_indexes(&self) -> usize {
        let entries = fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("index.broken-"))
            .count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the bucket of [`upload`], unless it is there.
async fn add_bucket(store: &EmbeddedStore) {
    let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), NOW);
    let entry = CatalogEntry::Bucket(bucket);
    if store.find(&entry.key()).await.unwrap().is_none() {
        store.insert(entry).await.unwrap();
    }
}

pub(super) fn upload(key: &str) -> NewUpload {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    NewUpload {
        id: Id::new(NOW, number.to_be_bytes()),
        bucket: Bucket::parse("uploads").unwrap(),
        key: ObjectKey::parse(key).unwrap(),
        pipeline: None,
        expires_at: None,
        headers: HeaderSet::default(),
        attributes: Default::default(),
        application: None,
        created_at: NOW,
        abandoned_at: NOW.plus(Duration::from_secs(86_400)),
        form_post_url: String::new(),
        answer: Default::default(),
    }
}

pub(super) async fn begin(store: &EmbeddedStore) -> Id {
    let new = upload("session.bin");
    let id = new.id;
    store.create_upload(new).await.unwrap();
    id
}

pub(super) async fn send(
    store: &EmbeddedStore,
    id: Id,
    (index, nb_chunks): (u32, Option<u32>),
    bytes: &[u8],
) -> Result<super::super::Committed, StoreError> {
    let spec = ChunkSpec::new(index, nb_chunks);
    let mut writer = store.write_chunk(id, spec).await?;
    writer.write(Bytes::copy_from_slice(bytes)).await?;
    writer.commit(Expected::default(), NOW).await
}

pub(super) async fn post(store: &EmbeddedStore, key: &str, bytes: &[u8]) -> ObjectMeta {
    post_new(store, upload(key), bytes).await
}

pub(super) async fn post_new(store: &EmbeddedStore, new: NewUpload, bytes: &[u8]) -> ObjectMeta {
    let mut writer = store.write_object(new).await.unwrap();
    writer.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    let committed = writer.commit(Expected::default(), NOW).await.unwrap();
    committed.object.unwrap()
}

/// Has the index find room from here on only for what makes some.
pub(super) fn leave_no_room(folder: &Folder, store: &mut EmbeddedStore) {
    let engine = Arc::get_mut(&mut store.engine).unwrap();
    let aside = folder.0.join("aside");
    let other = Index::open(&aside, Fuse::default(), index::tests::hooks()).unwrap();
    drop(std::mem::replace(&mut engine.index, other));
    let room = Box::new(|need| need == index::Need::MakeRoom);
    let hooks: (index::Mark, index::Room) = (engine.recent.mark(), room);
    let place = engine.disk.index_folder();
    engine.index = Index::open(&place, engine.fuse.clone(), hooks).unwrap();
}

pub(super) async fn read(store: &EmbeddedStore, id: Id) -> Result<Bytes, StoreError> {
    let reader = store.open(&ObjectName::Id(id), NOW).await?;
    reader.read_at(0, 1 << 30).await
}

/// Acknowledges a chunk whose bytes were put on disk by hand, and so stops before the completion that follows it.
pub(super) async fn acknowledge_only(
    store: &EmbeddedStore,
    id: Id,
    (index, nb_chunks): (u32, Option<u32>),
    place: Option<Place>,
    bytes: &[u8],
) {
    let arrival = arrival(id, ChunkSpec::new(index, nb_chunks), place, bytes);
    let job = move |txn: &mut index::Txn<'_>| ledger::acknowledge(txn, arrival);
    store.engine.index.commit(job).await.unwrap();
}

/// A full upload whose chunks lie apart; its id.
pub(super) async fn full(store: &EmbeddedStore, new: NewUpload) -> Id {
    let id = new.id;
    store.create_upload(new).await.unwrap();
    for (index, bytes) in [(1, b"second"), (0, b"first ")] {
        let spill = store.engine.disk.create(FileName::Spill(id, index));
        let mut bytes_of = [io::IoSlice::new(bytes)];
        let disk = &store.engine.disk;
        let file = spill.unwrap().unwrap();
        disk.write_at(&file, &mut bytes_of, 0).unwrap();
        let place = Some(Place::Spill(index));
        acknowledge_only(store, id, (index, Some(2)), place, bytes).await;
    }
    id
}

/// A full upload of "1st secondthird last" whose file has to be rebuilt, since one chunk lies elsewhere in it than it ends up; its id.
pub(super) async fn full_and_misplaced(store: &EmbeddedStore) -> Id {
    let (id, engine) = (begin(store).await, &store.engine);
    // The stride becomes 6, so that chunk 2 lies at 12; chunk 0 is shorter, so that it ends up at 10.
    send(store, id, (1, Some(4)), b"second").await.unwrap();
    send(store, id, (0, None), b"1st ").await.unwrap();
    send(store, id, (2, None), b"third ").await.unwrap();
    let third = engine.receipt(id, 2).unwrap().unwrap();
    assert_eq!(third.place, Place::Main(12));
    let main = engine.disk.open_or_create(FileName::Main(id)).unwrap();
    let mut last = [io::IoSlice::new(b"last")];
    engine.disk.write_at(&main, &mut last, 18).unwrap();
    acknowledge_only(store, id, (3, None), Some(Place::Main(18)), b"last").await;
    id
}

/// A full upload of so many bytes that copying them waits for others, if it came to that; its id.
pub(super) async fn full_and_large(store: &EmbeddedStore, new: NewUpload) -> Id {
    let id = new.id;
    store.create_upload(new).await.unwrap();
    for (index, length) in [(1, 6), (0, 1 << 30)] {
        let spec = ChunkSpec::new(index, Some(2));
        let place = Some(Place::Spill(index));
        let mut arrival = arrival(id, spec, place, b"");
        arrival.length = length;
        drop(store.engine.disk.create(FileName::Spill(id, index)));
        let job = move |txn: &mut index::Txn<'_>| ledger::acknowledge(txn, arrival);
        store.engine.index.commit(job).await.unwrap();
    }
    id
}

/// Comes back when something has happened.
pub(super) async fn until(happened: impl Fn() -> bool) {
    let poll = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let polled = tokio::time::timeout(Duration::from_secs(60), poll).await;
    polled.expect("it happens within a minute");
}

pub(super) fn arrival(
    id: Id,
    spec: ChunkSpec,
    place: Option<Place>,
    bytes: &[u8],
) -> ledger::Arrival {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    ledger::Arrival {
        id,
        spec,
        place,
        length: bytes.len() as u64,
        digests: hasher.finish(),
        whole: None,
        checksum: None,
        received_at: None,
    }
}

/// Has the index begin with no other job until what is returned is dropped.
pub(super) fn hold_index(engine: &Engine) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &mut index::Txn<'_>| {
        let _ = held.recv();
        Ok(())
    };
    let held = engine.index.commit(hold).now_or_never();
    assert!(held.is_none(), "it waits for the committer");
    release
}

/// Has the index write what can then be read, and is not durable until what is returned is dropped.
pub(super) async fn not_yet_durable(
    engine: &Engine,
    write: impl FnOnce(&mut index::Txn<'_>) -> Result<(), StoreError> + Send + 'static,
) -> std::sync::mpsc::Sender<()> {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (applied, seen) = tokio::sync::oneshot::channel();
    // Until the next two have come, which are then one group.
    let wait = move |_: &mut index::Txn<'_>| {
        let _ = gate.recv();
        Ok(())
    };
    let hold = move |txn: &mut index::Txn<'_>| {
        // A look at a table applies what the jobs before this one wrote.
        txn.prefix(&[records::META], 1)?;
        let _ = applied.send(());
        let _ = held.recv();
        Ok(())
    };
    let mut jobs = [
        engine.index.commit(wait).boxed(),
        engine.index.commit(write).boxed(),
        engine.index.commit(hold).boxed(),
    ];
    for job in &mut jobs {
        assert!(job.now_or_never().is_none(), "it waits for the committer");
    }
    drop(open);
    seen.await.unwrap();
    release
}

#[tokio::test]
async fn a_small_file_that_cannot_take_its_place_leaves_nothing() {
    let folder = Folder::new();
    let disk = Disk::open(&folder.options().data, Fuse::default()).unwrap();
    fs::create_dir_all(folder.0.join("catalog.json/in the way")).unwrap();
    assert!(disk.write_catalog(b"{}").is_err());
    assert!(!folder.0.join("catalog.json.tmp").exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_keeps_no_other_and_no_sweep_from_going_on() {
    let folder = Folder::new();
    let store = folder.open().await;
    let engine = Arc::clone(&store.engine);
    let (stuck, other) = (upload("stuck").id, upload("other").id);
    fs::create_dir(engine.disk.path(FileName::Main(stuck))).unwrap();
    engine
        .disk
        .open_or_create(FileName::Main(other))
        .map(drop)
        .unwrap();
    let job = move |txn: &mut index::Txn<'_>| {
        let mut garbage = Garbage::new();
        names::discard(txn, stuck, None, &mut garbage)?;
        names::discard(txn, other, None, &mut garbage)
    };
    engine.index.commit(job).await.unwrap();
    let (wall, monotonic) = (NOW, Duration::ZERO);
    store
        .sweep(ClockReading { wall, monotonic }, 10)
        .await
        .unwrap();
    assert!(!engine.disk.path(FileName::Main(other)).exists());
    let left = engine.index.prefix(&[records::GARBAGE], 10).unwrap();
    assert_eq!(left.len(), 1);
}

#[tokio::test]
async fn records_that_cannot_be_read_keep_no_store_from_starting_after_a_crash() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    send(&store, id, (1, Some(3)), b"second").await.unwrap();
    let receipt = records::receipt_key(id, 1);
    let token = CatalogKey::Token(TokenHash::of("torn"));
    let job = move |txn: &mut index::Txn<'_>| {
        txn.put(receipt, b"torn".to_vec())?;
        txn.put(entry::entry_key(&token), b"torn".to_vec())
    };
    store.engine.index.commit(job).await.unwrap();
    let spill = store.engine.disk.path(FileName::Spill(id, 0));
    drop(store);
    folder.settle().await;
    folder.open().await;
    assert!(spill.exists(), "what the receipt says cannot be known");
}

#[tokio::test]
async fn a_session_that_could_not_grow_is_refused_when_it_begins() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut longest = 0;
    for more in 2500..5000 {
        let mut new = upload("long");
        let id = new.id;
        new.form_post_url = "u".repeat(more);
        match store.create_upload(new).await {
            Ok(_) => {
                let record = store
                    .engine
                    .index
                    .get(&records::id_key(records::SESSIONS, id));
                longest = record.unwrap().unwrap().len();
            }
            Err(error) => {
                assert!(matches!(error, StoreError::RecordTooLarge));
                break;
            }
        }
    }
    assert_eq!(longest, index::MAX_VALUE_BYTES - 512);
}

/// As long as what does not wait for the index needs at most, and then some.
pub(super) const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_is_not_durable_yet_is_in_no_list() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    let arrival = arrival(
        id,
        ChunkSpec::new(0, Some(2)),
        Some(Place::Main(0)),
        b"1st ",
    );
    let write = move |txn: &mut index::Txn<'_>| ledger::acknowledge(txn, arrival).map(drop);
    let held = not_yet_durable(&store.engine, write).await;
    let (first, second) = (store.clone(), store.clone());
    let lists = [
        tokio::spawn(async move { first.receipts(id).await }),
        tokio::spawn(async move { second.list_parts(id, 0, 10).await }),
    ];
    tokio::time::sleep(A_WHILE).await;
    assert!(lists.iter().all(|list| !list.is_finished()));
    drop(held);
    for list in lists {
        assert_eq!(list.await.unwrap().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_of_the_catalog_holds_nothing_that_is_not_durable_in_the_index() {
    let folder = Folder::new();
    let store = folder.open().await;
    let engine = Arc::clone(&store.engine);
    let generation = || {
        let file = store.engine.disk.read_catalog().unwrap().unwrap();
        snapshot::parse(&file).unwrap().0
    };
    let before = generation();
    let bucket = BucketConfig::new(Bucket::parse("films").unwrap(), NOW);
    let write = |txn: &mut index::Txn<'_>| catalog::put(txn, &CatalogEntry::Bucket(bucket));
    let held = not_yet_durable(&engine, write).await;
    let writing = tokio::spawn(async move { snapshot::write(&engine).await });
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(generation(), before);
    drop(held);
    writing.await.unwrap().unwrap();
    assert_eq!(generation(), before + 1);
}

fn application() -> CatalogEntry {
    CatalogEntry::Application(Application {
        id: Id::new(NOW, [3; 8]),
        secret: Secret::new("s".to_owned()),
        name: "a".to_owned(),
        scopes: Scopes::parse("mediahub").unwrap(),
        created_at: NOW,
    })
}

fn token(text: &str, application: Option<Id>) -> CatalogEntry {
    CatalogEntry::Token(Token {
        id: Id::new(NOW, [4; 8]),
        hash: TokenHash::of(text),
        name: "t".to_owned(),
        scopes: Scopes::parse("mediahub").unwrap(),
        application,
        created_at: NOW,
        expires_at: None,
    })
}

/// A store with one object of each kind, its expiry changed after it was made, and a catalog.
async fn filled(folder: &Folder) -> (ObjectMeta, Id) {
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"one piece").await;
    let change = ObjectChange::ExpiresAt(Some(NOW.plus(Duration::from_secs(60))));
    let name = ObjectName::Id(meta.id);
    let meta = store.change_object(&name, change, NOW).await.unwrap();
    let chunked = begin(&store).await;
    send(&store, chunked, (1, Some(2)), b"chunks")
        .await
        .unwrap();
    send(&store, chunked, (0, Some(2)), b"two ").await.unwrap();
    for entry in [
        application(),
        token("lasting", None),
        token("short", Some(meta.id)),
    ] {
        store.insert(entry).await.unwrap();
    }
    (meta, chunked)
}

async fn assert_all_back(store: &EmbeddedStore, meta: &ObjectMeta, chunked: Id) {
    let name = ObjectName::Key(meta.bucket.clone(), meta.key.clone());
    assert_eq!(&store.object(&name, NOW).await.unwrap(), meta);
    assert!(store.object(&name, meta.expires_at.unwrap()).await.is_err());
    assert_eq!(read(store, meta.id).await.unwrap(), "one piece");
    assert_eq!(read(store, chunked).await.unwrap(), "two chunks");
    assert!(store.find(&application().key()).await.unwrap().is_some());
    assert!(
        store
            .find(&token("lasting", None).key())
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .find(&token("short", None).key())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_reindex_gives_objects_their_changes_and_the_catalog_back() {
    let folder = Folder::new();
    let (meta, chunked) = filled(&folder).await;
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    assert_all_back(&store, &meta, chunked).await;
    assert_eq!(folder.broken_indexes(), 1);
}

#[tokio::test]
async fn a_missing_index_is_rebuilt_at_start() {
    let folder = Folder::new();
    let (meta, chunked) = filled(&folder).await;
    folder.settle().await;
    fs::remove_dir_all(folder.0.join("index")).unwrap();
    assert_all_back(&folder.open().await, &meta, chunked).await;
}

#[tokio::test]
async fn a_damaged_index_is_moved_aside_and_rebuilt_at_start() {
    for bytes in [vec![0xa5; 700_000], vec![]] {
        let folder = Folder::new();
        let (meta, chunked) = filled(&folder).await;
        folder.settle().await;
        fs::write(folder.0.join("index/db"), bytes).unwrap();
        assert_all_back(&folder.open().await, &meta, chunked).await;
        assert_eq!(folder.broken_indexes(), 1);
    }
}

#[tokio::test]
async fn an_index_whose_damage_was_reported_is_rebuilt_at_the_next_start_and_only_then() {
    for closes in [true, false] {
        let folder = Folder::new();
        let (meta, chunked) = filled(&folder).await;
        let store = folder.open().await;
        let damage = damage::error(true, &"a page has another checksum");
        let noticed = store.engine.index.damage.noticed::<()>(Err(damage));
        assert!(noticed.is_err());
        assert_eq!(read(&store, meta.id).await.unwrap(), "one piece");
        if closes {
            store.close().await.unwrap();
        } else {
            let clock = ClockReading {
                wall: NOW,
                monotonic: Duration::ZERO,
            };
            store.sweep(clock, 10).await.unwrap();
        }
        drop(store);
        for _ in 0..2 {
            assert_all_back(&folder.open().await, &meta, chunked).await;
            assert_eq!(folder.broken_indexes(), 1);
        }
    }
}

#[tokio::test]
async fn a_damaged_index_that_cannot_be_marked_keeps_no_sweep_from_making_room() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut new = upload("expired");
    new.expires_at = Some(NOW.plus(Duration::from_secs(60)));
    let id = post_new(&store, new, b"bytes").await.id;
    let damage = damage::error(true, &"a page has another checksum");
    let _ = store.engine.index.damage.noticed::<()>(Err(damage));
    let mark = folder.0.join("index/damaged");
    std::os::unix::fs::symlink(folder.0.join("no folder/mark"), &mark).unwrap();
    let report = store.sweep(two_days_on(), 10).await.unwrap();
    assert_eq!(report.objects, 1);
    assert!(store.close().await.is_err(), "it is not known to be sound");
    assert!(store.engine.fuse.check().is_err(), "it is closed");
    assert!(!store.engine.disk.path(FileName::Main(id)).exists());
    drop(store);
    fs::remove_file(mark).unwrap();
    let store = folder.open().await;
    assert_eq!(folder.broken_indexes(), 0);
    store.sweep(two_days_on(), 10).await.unwrap();
}

#[tokio::test]
async fn an_index_of_another_epoch_is_moved_aside() {
    let folder = Folder::new();
    let (meta, chunked) = filled(&folder).await;
    folder.settle().await;
    fs::write(folder.0.join("FORMAT"), "pillarbox 1 00ff\n").unwrap();
    assert_all_back(&folder.open().await, &meta, chunked).await;
    assert_eq!(folder.broken_indexes(), 1);
}

#[tokio::test]
async fn an_index_that_knows_less_than_the_snapshot_is_moved_aside() {
    let folder = Folder::new();
    let (meta, chunked) = filled(&folder).await;
    let catalog = fs::read(folder.0.join("catalog.json")).unwrap();
    let store = folder.open().await;
    let key = token("lasting", None).key();
    assert!(store.remove(&key).await.unwrap());
    let back = move |txn: &mut index::Txn<'_>| catalog::set_generation(txn, 1);
    store.engine.index.commit(back).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    fs::write(folder.0.join("catalog.json"), catalog).unwrap();
    assert_all_back(&folder.open().await, &meta, chunked).await;
    assert_eq!(folder.broken_indexes(), 1);
}

#[tokio::test]
async fn an_unknown_format_is_refused() {
    for format in [
        "pillarbox 0 00ff\n",
        "pillarbox 1 00ff x\n",
        "something else",
        "",
    ] {
        let folder = Folder::new();
        drop(folder.open().await);
        fs::write(folder.0.join("FORMAT"), format).unwrap();
        let opened = EmbeddedStore::open(folder.options(), NOW).await;
        assert!(matches!(opened, Err(StoreError::Corrupt(_))), "{format}");
    }
}

#[tokio::test]
async fn the_folder_of_a_newer_version_is_told_as_such_and_left_as_it_is() {
    let folder = Folder::new();
    fs::create_dir(&folder.0).unwrap();
    let laid = [
        ("FORMAT", "pillarbox 2 00ff and more\n"),
        ("log.tmp", "who knows what for"),
    ];
    for (name, text) in laid {
        fs::write(folder.0.join(name), text).unwrap();
    }
    for reindex in [false, true] {
        let opened = match reindex {
            false => EmbeddedStore::open(folder.options(), NOW).await,
            true => EmbeddedStore::reindex(folder.options(), NOW).await,
        };
        let error = opened.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, .. }));
        let told = error.to_string();
        assert!(told.contains("newer version"), "{told}");
        assert!(!told.contains("damaged"), "{told}");
    }
    let files = fs::read_dir(&folder.0).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["FORMAT", "LOCK", "log.tmp"]);
    for (name, text) in laid {
        assert_eq!(fs::read(folder.0.join(name)).unwrap(), text.as_bytes());
    }
}

#[tokio::test]
async fn the_newest_of_two_labelled_files_wins_and_the_other_stays() {
    let folder = Folder::new();
    let store = folder.open().await;
    let newer = post(&store, "same.bin", b"newer").await;
    for (seconds, wins) in [(-5, false), (5, true)] {
        let id = upload("x").id;
        let mut other = newer.clone();
        other.id = id;
        other.finished_at = Timestamp::from_seconds(NOW.seconds() + seconds);
        let disk = &store.engine.disk;
        let file = disk.create(FileName::Main(id)).unwrap().unwrap();
        disk.set_length(&file, newer.size).unwrap();
        disk.label(id, &file, &label::encode(&other).unwrap())
            .unwrap();
        let index = folder.0.join("index");
        let rebuilt = folder.0.join("rebuilt");
        let fresh = Index::open(&rebuilt, Fuse::default(), index::tests::hooks()).unwrap();
        let engine = Arc::clone(&store.engine);
        let (name, fresh) = tokio::task::spawn_blocking(move || {
            rebuild::rebuild(&engine.disk, &fresh, b"e", NOW).unwrap();
            (records::object_key(&newer_key().0, &newer_key().1), fresh)
        })
        .await
        .unwrap();
        let record = fresh.get(&name).unwrap().unwrap();
        let named = records::decode_object(&record).unwrap().id;
        assert_eq!(named == id, wins);
        assert!(index.exists() && disk.path(FileName::Main(newer.id)).exists());
        drop(fresh);
        fs::remove_dir_all(rebuilt).unwrap();
    }
}

fn newer_key() -> (Bucket, ObjectKey) {
    let bucket = Bucket::parse("uploads").unwrap();
    (bucket, ObjectKey::parse("same.bin").unwrap())
}

#[tokio::test]
async fn labels_lie_beside_the_files_where_there_are_no_attributes() {
    let folder = Folder::new();
    let mut store = folder.open().await;
    let engine = Arc::get_mut(&mut store.engine).unwrap();
    engine.disk.forget_attributes();
    let meta = post(&store, "a.bin", b"beside").await;
    assert!(store.engine.disk.path(FileName::Label(meta.id)).exists());
    drop(store);
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    assert_eq!(read(&store, meta.id).await.unwrap(), "beside");
    store
        .delete_object(&ObjectName::Id(meta.id), NOW)
        .await
        .unwrap();
    store.close().await.unwrap();
    assert!(!store.engine.disk.path(FileName::Label(meta.id)).exists());
}

#[tokio::test]
async fn an_upload_that_was_full_when_the_store_died_is_completed_at_start() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    send(&store, id, (1, Some(2)), b"second").await.unwrap();
    fs::write(store.engine.disk.path(FileName::Main(id)), "first ").unwrap();
    acknowledge_only(&store, id, (0, None), Some(Place::Main(0)), b"first ").await;
    assert_eq!(
        store.upload(id).await.unwrap().state,
        UploadState::Completing
    );
    drop(store);
    let store = folder.open().await;
    assert_eq!(
        store.upload(id).await.unwrap().state,
        UploadState::Completed
    );
    assert_eq!(read(&store, id).await.unwrap(), "first second");
}

#[tokio::test]
async fn an_upload_whose_bytes_are_damaged_fails_and_says_so() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    send(&store, id, (1, Some(2)), b"second").await.unwrap();
    fs::write(store.engine.disk.path(FileName::Spill(id, 0)), "sec").unwrap();
    let sent = send(&store, id, (0, None), b"first ").await;
    assert!(
        matches!(sent, Err(StoreError::UploadFailed(UploadState::Failed))),
        "{sent:?}"
    );
    assert_eq!(store.upload(id).await.unwrap().state, UploadState::Failed);
    let more = send(&store, id, (0, None), b"first ").await;
    assert!(matches!(more, Err(StoreError::UploadFailed(_))), "{more:?}");
    store.abort_upload(id).await.unwrap();
}

#[tokio::test]
async fn orphans_go_after_a_crash_and_nothing_goes_after_a_clean_stop_or_from_before_the_index() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    send(&store, id, (1, Some(3)), b"kept").await.unwrap();
    let older = Id::new(Timestamp::from_seconds(NOW.seconds() - 1), [9; 8]);
    let names = [
        (FileName::Main(upload("x").id), false),
        (FileName::Spill(upload("x").id, 7), false),
        (FileName::Label(upload("x").id), false),
        (FileName::Spill(id, 7), false),
        (FileName::Spill(id, 0), true),
        (FileName::Main(older), true),
    ];
    for (name, _) in names {
        let _ = store.engine.disk.create(name).unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let store = folder.open().await;
    for (name, _) in names {
        assert!(store.engine.disk.path(name).exists(), "clean: {name:?}");
    }
    drop(store);
    let store = folder.open().await;
    for (name, stays) in names {
        assert_eq!(
            store.engine.disk.path(name).exists(),
            stays,
            "crash: {name:?}"
        );
    }
}

#[tokio::test]
async fn a_whole_object_that_the_index_does_not_know_goes_when_another_one_has_its_key() {
    // Also a newer one: had it replaced the other, and had anybody been told so, the index would know.
    for seconds in [-5, 5] {
        let folder = Folder::new();
        let store = folder.open().await;
        let known = post(&store, "same.bin", b"known").await;
        let mut found = known.clone();
        found.id = upload("x").id;
        found.finished_at = Timestamp::from_seconds(NOW.seconds() + seconds);
        let disk = &store.engine.disk;
        let file = disk.create(FileName::Main(found.id)).unwrap().unwrap();
        let mut bytes = [io::IoSlice::new(b"known")];
        disk.write_at(&file, &mut bytes, 0).unwrap();
        let label = label::encode(&found).unwrap();
        disk.label(found.id, &file, &label).unwrap();
        drop(store);
        let store = folder.open().await;
        let name = ObjectName::Key(known.bucket.clone(), known.key.clone());
        let now_has_it = store.object(&name, NOW).await.unwrap().id;
        assert_eq!(now_has_it, known.id);
        let path = store.engine.disk.path(FileName::Main(found.id));
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_whole_object_that_the_index_does_not_know_stays_while_what_has_its_key_cannot_be_read() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"whole").await;
    let other = post(&store, "b.bin", b"readable").await;
    lose_record(&store, &meta).await;
    let place = records::object_key(&meta.bucket, &meta.key);
    let junk = move |txn: &mut index::Txn<'_>| txn.put(place, b"no record".to_vec());
    store.engine.index.commit(junk).await.unwrap();
    drop(store);
    let store = folder.open().await;
    assert!(store.locate(&meta).unwrap().exists());
    assert_eq!(read(&store, other.id).await.unwrap(), "readable");
}

#[tokio::test]
async fn a_whole_object_that_the_index_does_not_know_goes_when_its_bucket_was_removed() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"never acknowledged").await;
    lose_record(&store, &meta).await;
    assert!(store.remove_bucket(&meta.bucket, NOW).await.unwrap());
    drop(store);
    let store = folder.open().await;
    let found = store.object(&ObjectName::Id(meta.id), NOW).await;
    assert!(matches!(found, Err(StoreError::NoSuchObject)));
    assert!(!store.locate(&meta).unwrap().exists());
}

#[tokio::test]
async fn what_failed_because_its_bucket_was_removed_is_no_object_after_a_rebuild_either() {
    let folder = Folder::new();
    let store = folder.open().await;
    let (chunks, whole) = (begin(&store).await, begin(&store).await);
    send(&store, chunks, (0, Some(2)), b"1st ").await.unwrap();
    let bucket = Bucket::parse("uploads").unwrap();
    assert!(store.remove_bucket(&bucket, NOW).await.unwrap());
    for (id, last) in [(chunks, (1, Some(2))), (whole, (0, Some(1)))] {
        assert!(send(&store, id, last, b"all").await.is_err());
    }
    store.close().await.unwrap();
    drop(store);
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    let query = FileQuery {
        limit: 10,
        ..FileQuery::default()
    };
    assert_eq!(store.list_files(&query, NOW).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_whole_chunk_that_was_refused_leaves_no_label_on_the_file_of_its_upload() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    let upload = store.engine.session(id).unwrap().session.upload;
    let place = records::object_key(&upload.bucket, &upload.key);
    let junk = move |txn: &mut index::Txn<'_>| txn.put(place, b"no record".to_vec());
    store.engine.index.commit(junk).await.unwrap();
    let refused = send(&store, id, (0, Some(1)), b"all").await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    let state = store.upload(id).await.unwrap().state;
    assert_eq!(state, UploadState::Uploading);
    let label = rebuild::read_label(&store.engine.disk, id).unwrap();
    assert!(label.is_none(), "{label:?}");
}

/// A store whose index has lost, as a crash may lose it, the record of an object that was acknowledged.
pub(super) async fn lose_record(store: &EmbeddedStore, meta: &ObjectMeta) {
    let lost = meta.clone();
    let forget = move |txn: &mut index::Txn<'_>| {
        names::unname_object(txn, &lost)?;
        Ok(())
    };
    store.engine.index.commit(forget).await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_right_length_with_other_bytes_than_its_label_says_is_not_named() {
    for (content, named) in [(b"whole", true), (b"w\0ole", false)] {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "a.bin", b"whole").await;
        lose_record(&store, &meta).await;
        let path = store.locate(&meta).unwrap();
        fs::write(&path, content).unwrap();
        drop(store);
        let store = folder.open().await;
        let found = store.object(&ObjectName::Id(meta.id), NOW).await;
        assert_eq!((found.is_ok(), path.exists()), (named, named));
    }
}

#[tokio::test]
async fn an_object_on_a_condition_is_one_by_its_record_and_never_by_its_label_alone() {
    let folder = Folder::new();
    let store = folder.open().await;
    let put = async |condition: WriteCondition| {
        let mut writer = store.write_object(upload("lock")).await.unwrap();
        writer.write(Bytes::from_static(b"mine")).await.unwrap();
        let expected = Expected {
            condition: Some(condition),
            ..Expected::default()
        };
        writer.commit(expected, NOW).await
    };
    let meta = put(WriteCondition::Absent).await.unwrap().object.unwrap();
    let refused = put(WriteCondition::Absent).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed)));
    lose_record(&store, &meta).await;
    let path = store.locate(&meta).unwrap();
    assert!(path.exists());
    drop(store);
    // As after a crash before the index took it in: nobody was told that the key is his.
    let store = folder.open().await;
    let found = store.object(&ObjectName::Id(meta.id), NOW).await;
    assert!(matches!(found, Err(StoreError::NoSuchObject)), "{found:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_rebuilt_index_takes_in_what_was_written_on_a_condition() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut writer = store.write_object(upload("lock")).await.unwrap();
    writer.write(Bytes::from_static(b"mine")).await.unwrap();
    let expected = Expected {
        condition: Some(WriteCondition::Absent),
        ..Expected::default()
    };
    let meta = writer.commit(expected, NOW).await.unwrap().object.unwrap();
    drop(store);
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    assert_eq!(read(&store, meta.id).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_file_whose_deletion_is_not_carried_out_yet_is_not_named_again() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"deleted").await;
    lose_record(&store, &meta).await;
    let id = meta.id;
    let note = move |txn: &mut index::Txn<'_>| txn.put(records::garbage_key(id, None), vec![]);
    store.engine.index.commit(note).await.unwrap();
    orphans::name_recent(&store.engine, NOW).await.unwrap();
    assert!(matches!(
        store.object(&ObjectName::Id(id), NOW).await,
        Err(StoreError::NoSuchObject)
    ));
}

#[tokio::test]
async fn an_index_born_under_a_clock_that_ran_ahead_loses_nothing_after_the_clock_was_set_right() {
    let folder = Folder::new();
    let at = |seconds| Timestamp::from_seconds(NOW.seconds() + seconds);
    let ahead = EmbeddedStore::open(folder.options(), at(7200))
        .await
        .unwrap();
    ahead.close().await.unwrap();
    drop(ahead);
    let store = EmbeddedStore::open(folder.options(), at(600))
        .await
        .unwrap();
    add_bucket(&store).await;
    let meta = post(&store, "a.bin", b"kept").await;
    assert!(!store.engine.recent.label_suffices(&meta), "it was synced");
}

#[tokio::test]
async fn an_object_whose_record_the_index_would_refuse_gets_no_label() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut meta = post(&store, "a.bin", b"small").await;
    meta.job = Some("x".repeat(index::MAX_VALUE_BYTES));
    assert!(matches!(
        label::encode(&meta),
        Err(StoreError::RecordTooLarge)
    ));
}

#[test]
fn a_dropped_chunk_keeps_its_lease_until_its_file_is_gone() {
    let pool = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    pool.block_on(async {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let mut writer = store
            .write_chunk(id, ChunkSpec::new(3, None))
            .await
            .unwrap();
        writer.write(Bytes::from(vec![7; 2 << 20])).await.unwrap();
        let spill = store.engine.disk.path(FileName::Spill(id, 0));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let busy = tokio::task::spawn_blocking(move || {
            let _ = begin.send(());
            held.recv()
        });
        // The one thread had to write the batches before it came to this.
        begun.await.unwrap();
        drop(writer);
        tokio::task::yield_now().await;
        let kept = (spill.exists(), store.engine.leases.is_taken(id));
        assert_eq!(kept, (true, true), "the file waits for its removal");
        drop(release);
        assert!(busy.await.unwrap().is_err());
        store.close().await.unwrap();
        let kept = (spill.exists(), store.engine.leases.is_taken(id));
        assert_eq!(kept, (false, false));
    });
}

#[tokio::test]
async fn garbage_that_a_crash_left_is_removed_at_start() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = upload("x").id;
    let _ = store.engine.disk.create(FileName::Spill(id, 3)).unwrap();
    let note = move |txn: &mut index::Txn<'_>| txn.put(records::garbage_key(id, Some(3)), vec![]);
    store.engine.index.commit(note).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = folder.open().await;
    assert!(!store.engine.disk.path(FileName::Spill(id, 3)).exists());
}

#[tokio::test]
async fn damage_is_found_by_verify_and_a_cut_file_when_it_is_opened() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"sound bytes").await;
    let name = ObjectName::Id(meta.id);
    store.verify(&name, NOW).await.unwrap();
    let path = store.locate(&meta).unwrap();
    fs::write(&path, "sOund bytes").unwrap();
    assert!(matches!(
        store.verify(&name, NOW).await,
        Err(StoreError::Corrupt(_))
    ));
    fs::write(&path, "sound").unwrap();
    assert!(matches!(
        store.open(&name, NOW).await,
        Err(StoreError::Corrupt(_))
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        store.open(&name, NOW).await,
        Err(StoreError::Corrupt(_))
    ));
}

#[tokio::test]
async fn a_file_that_has_lost_its_record_is_found_by_verify_and_counted_by_a_rebuild() {
    let folder = Folder::new();
    let store = folder.open().await;
    let [meta, other] = [
        post(&store, "a.bin", b"a").await,
        post(&store, "b.bin", b"b").await,
    ];
    let path = store.locate(&meta).unwrap();
    // As by a copy that leaves attributes out.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "a").unwrap();
    let verified = store.verify(&ObjectName::Id(meta.id), NOW).await;
    let Err(StoreError::Corrupt(why)) = verified else {
        panic!("{verified:?}");
    };
    assert!(why.contains("carries no record"), "{why}");
    store.verify(&ObjectName::Id(other.id), NOW).await.unwrap();
    assert_eq!(store.left_out(), 0);
    store.close().await.unwrap();
    drop(store);
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    assert_eq!(store.left_out(), 1);
    assert!(path.exists());
    store.object(&ObjectName::Id(other.id), NOW).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_and_serves_the_rest() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"kept").await;
    let id = begin(&store).await;
    drop(store);
    let mut options = folder.options();
    options.free_floor_bytes = u64::MAX;
    let store = EmbeddedStore::open(options, NOW).await.unwrap();
    assert_eq!(store.health().await.unwrap().free_bytes, 0);
    let refused = send(&store, id, (0, None), b"x").await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert!(matches!(
        store.write_object(upload("b")).await,
        Err(StoreError::Full)
    ));
    let refused = store.create_upload(upload("c")).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    let refused = store.create_parts(upload("d"), PartRules::default()).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    let ends = ObjectChange::ExpiresAt(Some(NOW.plus(A_WHILE)));
    let name = ObjectName::Id(meta.id);
    store.change_object(&name, ends, NOW).await.unwrap();
    store.abort_upload(id).await.unwrap();
    assert_eq!(read(&store, meta.id).await.unwrap(), "kept");
    store
        .delete_object(&ObjectName::Id(meta.id), NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_ballast_is_made_at_start_as_it_is_asked_for_and_again_by_a_sweep() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.ballast_bytes = 1 << 20;
    let store = EmbeddedStore::open(options, NOW).await.unwrap();
    let length = |folder: &Folder| fs::metadata(folder.0.join("ballast")).map(|m| m.len()).ok();
    assert_eq!(length(&folder), Some(1 << 20));
    assert!(store.engine.disk.free_ballast().unwrap());
    assert_eq!(length(&folder), None);
    let clock = ClockReading {
        wall: NOW,
        monotonic: Duration::ZERO,
    };
    store.sweep(clock, 1).await.unwrap();
    assert_eq!(length(&folder), Some(1 << 20));
    store.close().await.unwrap();
    drop(store);
    // An empty one is what a crash leaves between its making and its filling.
    for (before, keeps_ballast, ballast_bytes, after) in [
        (1 << 20, false, 2 << 20, Some(1 << 20)),
        (1 << 20, true, 2 << 20, Some(2 << 20)),
        (0, true, 2 << 20, Some(2 << 20)),
        (2 << 20, true, 1 << 20, Some(1 << 20)),
        (1 << 20, false, 0, Some(1 << 20)),
        (1 << 20, true, 0, None),
    ] {
        let file = fs::File::create(folder.0.join("ballast")).unwrap();
        file.set_len(before).unwrap();
        let options = Options {
            ballast_bytes,
            keeps_ballast,
            ..folder.options()
        };
        let store = EmbeddedStore::open(options, NOW).await.unwrap();
        let case = (before, keeps_ballast, ballast_bytes);
        assert_eq!(length(&folder), after, "{case:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn no_more_writers_than_the_limit_are_let_in() {
    let folder = Folder::new();
    let mut options = folder.options();
    options.max_writers = 1;
    let store = EmbeddedStore::open(options, NOW).await.unwrap();
    let first = store.write_object(upload("a")).await.unwrap();
    assert!(matches!(
        store.write_object(upload("b")).await,
        Err(StoreError::Busy)
    ));
    drop(first);
    assert!(store.write_object(upload("b")).await.is_ok());
}

#[tokio::test]
async fn after_a_failed_sync_the_store_only_reads() {
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"kept").await;
    let writer = store.write_object(upload("late")).await.unwrap();
    store.engine.fuse.blow("sync a file", &"a test");
    let late = writer.commit(Expected::default(), NOW).await;
    assert!(matches!(late, Err(StoreError::ReadOnly)), "{late:?}");
    assert!(matches!(
        store.create_upload(upload("x")).await,
        Err(StoreError::ReadOnly)
    ));
    assert!(matches!(
        store.insert(application()).await,
        Err(StoreError::ReadOnly)
    ));
    let name = ObjectName::Id(meta.id);
    assert!(matches!(
        store.delete_object(&name, NOW).await,
        Err(StoreError::ReadOnly)
    ));
    let change = ObjectChange::ExpiresAt(None);
    let changed = store.change_object(&name, change, NOW).await;
    assert!(matches!(changed, Err(StoreError::ReadOnly)));
    assert_eq!(read(&store, meta.id).await.unwrap(), "kept");
    assert!(!store.health().await.unwrap().writable);
    drop(store);
    assert!(folder.open().await.health().await.unwrap().writable);
}

#[tokio::test]
async fn files_and_folders_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let store = folder.open().await;
    let meta = post(&store, "a.bin", b"private").await;
    store.insert(application()).await.unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["", "objects", "objects/00", "index"] {
        assert_eq!(mode(folder.0.join(name)), 0o700, "{name}");
    }
    for name in ["LOCK", "FORMAT", "catalog.json"] {
        assert_eq!(mode(folder.0.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(store.locate(&meta).unwrap()), 0o600);
}

#[tokio::test]
async fn a_deleted_object_stays_deleted_when_a_power_cut_undoes_the_removal_of_its_file() {
    for swept in [false, true] {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "deleted", b"bytes").await;
        let path = store.locate(&meta).unwrap();
        let aside = folder.0.join("aside");
        fs::hard_link(&path, &aside).unwrap();
        store
            .delete_object(&ObjectName::Id(meta.id), NOW)
            .await
            .unwrap();
        while path.exists() {
            tokio::task::yield_now().await;
        }
        let engine = Arc::clone(&store.engine);
        let is_kept = engine.index.prefix(&[records::GARBAGE], 1).unwrap().len() == 1;
        assert!(is_kept, "nothing made the removal durable yet");
        if swept {
            recover::empty_garbage(&engine).await.unwrap();
            assert!(
                engine
                    .index
                    .prefix(&[records::GARBAGE], 1)
                    .unwrap()
                    .is_empty()
            );
            continue;
        }
        drop((engine, store));
        folder.settle().await;
        fs::rename(&aside, &path).unwrap();
        let store = folder.open().await;
        let found = store.object(&ObjectName::Id(meta.id), NOW).await;
        assert!(matches!(found, Err(StoreError::NoSuchObject)));
        assert!(!path.exists());
    }
}

/// A clock two days on, when every session that began at [`NOW`] is due.
fn two_days_on() -> ClockReading {
    let later = Duration::from_secs(2 * 86_400);
    ClockReading {
        wall: NOW.plus(later),
        monotonic: later,
    }
}

/// A session whose object is to be made whole, and cannot be: the record of what has its key cannot be read.
async fn stuck(store: &EmbeddedStore, key: &str) -> Id {
    let new = upload(key);
    let (id, place) = (new.id, records::object_key(&new.bucket, &new.key));
    store.create_upload(new).await.unwrap();
    fs::write(store.engine.disk.path(FileName::Main(id)), "whole").unwrap();
    acknowledge_only(store, id, (0, Some(1)), Some(Place::Main(0)), b"whole").await;
    let junk = move |txn: &mut index::Txn<'_>| txn.put(place, b"no record".to_vec());
    store.engine.index.commit(junk).await.unwrap();
    id
}

fn due_key_of(store: &EmbeddedStore, id: Id) -> Vec<u8> {
    let upload = store.engine.session(id).unwrap().session.upload;
    records::due_key(records::SESSIONS_DUE, upload.abandoned_at, id.as_bytes())
}

#[tokio::test]
async fn sessions_that_wait_to_be_made_whole_keep_no_sweep_from_what_is_abandoned() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut waiting = Vec::new();
    for n in 0..10 {
        waiting.push(stuck(&store, &n.to_string()).await);
    }
    let abandoned = begin(&store).await;
    let report = store.sweep(two_days_on(), 10).await.unwrap();
    assert_eq!((report.sessions, report.more), (1, false));
    assert!(store.upload(abandoned).await.is_err());
    for id in waiting {
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Completing);
    }
}

#[tokio::test]
async fn a_session_that_an_earlier_version_left_due_while_it_is_made_whole_is_put_off_once() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = stuck(&store, "a").await;
    let due = due_key_of(&store, id);
    let put = due.clone();
    let put = move |txn: &mut index::Txn<'_>| txn.put(put, Vec::new());
    store.engine.index.commit(put).await.unwrap();
    store.sweep(two_days_on(), 10).await.unwrap();
    assert!(store.engine.index.get(&due).unwrap().is_none());
    let fail = move |txn: &mut index::Txn<'_>| closing::fail(txn, id);
    store.engine.index.commit(fail).await.unwrap();
    // The first sweep has tried once more to make it whole, which keeps it from the next one until that has failed, too.
    let mut swept = 0;
    for _ in 0..500 {
        swept += store.sweep(two_days_on(), 10).await.unwrap().sessions;
        if swept > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(swept, 1, "what has failed is due again");
    assert!(store.upload(id).await.is_err());
}

#[tokio::test]
async fn a_session_that_somebody_has_a_hand_on_neither_stops_the_sweep_nor_keeps_it_going() {
    let folder = Folder::new();
    let store = folder.open().await;
    let id = begin(&store).await;
    fs::write(store.engine.disk.path(FileName::Main(id)), "whole").unwrap();
    acknowledge_only(&store, id, (0, Some(1)), Some(Place::Main(0)), b"whole").await;
    let (held, abandoned) = (begin(&store).await, begin(&store).await);
    let leases = [id, held].map(|id| store.engine.leases.take(id));
    let turns = [leases[0].turn.lock().await, leases[1].turn.lock().await];
    for swept in [(1, true), (0, false)] {
        let sweep = tokio::time::timeout(Duration::from_secs(60), store.sweep(two_days_on(), 10));
        let report = sweep.await.expect("it waits for nobody").unwrap();
        assert_eq!((report.sessions, report.more), swept);
    }
    assert!(store.upload(abandoned).await.is_err());
    let state = store.upload(id).await.unwrap().state;
    assert_eq!(state, UploadState::Completing);
    drop(turns);
    drop(leases);
    let engine = Arc::clone(&store.engine);
    complete::complete(engine, id, NOW).await.unwrap();
    let report = store.sweep(two_days_on(), 10).await.unwrap();
    assert_eq!((report.sessions, report.more), (2, false));
}

#[tokio::test]
async fn what_is_due_and_cannot_be_read_stays_and_does_not_stop_the_sweep() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut objects = Vec::new();
    for key in ["a", "b"] {
        let mut new = upload(key);
        new.expires_at = Some(NOW.plus(Duration::from_secs(60)));
        let writer = store.write_object(new).await.unwrap();
        let committed = writer.commit(Expected::default(), NOW).await.unwrap();
        objects.push(committed.object.unwrap());
    }
    let sessions = [begin(&store).await, begin(&store).await];
    let tokens = ["a", "b"].map(brief_token);
    for token in &tokens {
        let entry = CatalogEntry::Token(token.clone());
        store.insert(entry).await.unwrap();
    }
    let keys = tokens.map(|token| CatalogKey::Token(token.hash));
    let spoiled = [
        records::object_key(&objects[0].bucket, &objects[0].key),
        records::id_key(records::SESSIONS, sessions[0]),
        entry::entry_key(&keys[0]),
    ];
    for place in spoiled.clone() {
        let spoil = move |txn: &mut index::Txn<'_>| txn.put(place, b"\x01unreadable".to_vec());
        store.engine.index.commit(spoil).await.unwrap();
    }
    let later = Duration::from_secs(2 * 86_400);
    let clock = ClockReading {
        wall: NOW.plus(later),
        monotonic: later,
    };
    for swept in [(1, 1, 2, false), (0, 0, 0, false)] {
        let report = store.sweep(clock, 10).await.unwrap();
        let seen = (report.objects, report.sessions, report.catalog, report.more);
        assert_eq!(seen, swept);
        for place in &spoiled {
            assert!(store.engine.index.get(place).unwrap().is_some());
        }
    }
    assert!(store.upload(sessions[1]).await.is_err());
    assert!(store.find(&keys[1]).await.unwrap().is_none());
}

/// A token that ends in a minute.
pub(super) fn brief_token(text: &str) -> Token {
    Token {
        id: Id::new(NOW, [text.as_bytes()[0]; 8]),
        hash: TokenHash::of(text),
        name: text.to_owned(),
        scopes: Scopes::default(),
        application: None,
        created_at: NOW,
        expires_at: Some(NOW.plus(Duration::from_secs(60))),
    }
}

#[tokio::test]
async fn a_setting_whose_bucket_is_not_in_the_snapshot_does_not_stop_a_rebuild() {
    let folder = Folder::new();
    let (meta, chunked) = filled(&folder).await;
    let store = folder.open().await;
    let names = ["gone", "kept"].map(|name| Bucket::parse(name).unwrap());
    for name in &names {
        let bucket = BucketConfig::new(name.clone(), NOW);
        store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
        let (bucket, value) = (name.clone(), SettingValue::Acl(CannedAcl::PublicRead));
        let setting = BucketSetting { bucket, value };
        store.insert(CatalogEntry::Setting(setting)).await.unwrap();
    }
    drop(store);
    folder.settle().await;
    let path = folder.0.join("catalog.json");
    let file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut file = file["contents"].clone();
    file["version"] = 1.into();
    let entries = file["entries"].as_array_mut().unwrap();
    let place = |kind| move |entry: &serde_json::Value| entry.get(kind).is_some();
    let last_bucket = entries.iter().rposition(place("bucket")).unwrap();
    let first_setting = entries.iter().position(place("setting")).unwrap();
    assert!(last_bucket < first_setting);
    entries.retain(|entry| entry["bucket"]["name"] != "gone");
    fs::write(&path, file.to_string()).unwrap();
    let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
    assert_all_back(&store, &meta, chunked).await;
    let found = names.map(|name| CatalogKey::Setting(name, SettingKind::Acl));
    assert!(store.find(&found[0]).await.unwrap().is_none());
    assert!(store.find(&found[1]).await.unwrap().is_some());
}
