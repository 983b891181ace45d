//! The catalog: tokens, applications, access keys, pipelines, buckets and their settings.
//!
//! Owns: its entries in the index. `counts` keeps their numbers, `snapshot` keeps them once more beside the index.
//! Never does: judge expiry (callers and the sweep do), or print a secret.
//!
//! Invariants:
//! 1. A change is answered when it is durable in the index and in the snapshot; a snapshot is always replaced whole.
//! 2. Each change counts the generation up, in the same job. A snapshot with a higher generation than the index proves that the
//!    index has lost writes.
//! 3. Tokens that were issued to an application are short-lived and stay out of the snapshot: after a rebuild their holders
//!    ask for new ones.
//! 4. A setting is there only as long as its bucket.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::counts::{BOUNDS, Bounds, NO_BOUNDS, count_change, count_gone, count_new, takes_room};
use super::entry::{decode, encode, entry_key, kind_byte};
use super::index::{Index, Txn};
use super::records::{self, CATALOG, CATALOG_EXPIRY, META, OPEN_SESSIONS};
use super::{Engine, by_application, damage, eras, long, snapshot};
use crate::model::{Bucket, BucketConfig, NewUpload, SettingKind, Timestamp};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, MAX_CATALOG_ENTRIES, StoreError};

/// Objects of a bucket that are looked at, at most, before it is removed.
const MAX_LOOKED_AT: usize = 1000;
/// How often an entry is read again when it was replaced while its pieces were read.
const MAX_TRIES: usize = 8;

/// One entry.
pub(super) fn find(engine: &Engine, key: &CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
    let (place, version) = (entry_key(key), engine.index.version(CATALOG));
    if let Some(entry) = engine.known.get(version, &place) {
        return Ok(entry);
    }
    let (entry, bytes) = read(&engine.index, &place)?;
    engine.known.keep(version, place, (entry.clone(), bytes));
    Ok(entry)
}

/// The entry at a place and how many bytes it takes; read again when it was replaced before all of it was read.
fn read(index: &Index, place: &[u8]) -> Result<(Option<CatalogEntry>, usize), StoreError> {
    for _ in 0..MAX_TRIES {
        let Some(value) = index.get(place)? else {
            return Ok((None, 0));
        };
        if let Some(entry) = long::join(place, value, |piece| index.get(piece))? {
            return Ok((Some(decode(&entry)?), entry.len()));
        }
    }
    Err(torn())
}

/// An entry inside a job.
struct Held {
    entry: CatalogEntry,
    /// The value that stands for it.
    value: Vec<u8>,
    /// How long it is, in bytes.
    bytes: usize,
}

/// The entry at a place inside a job.
fn entry_at(txn: &Txn<'_>, place: &[u8]) -> Result<Option<Held>, StoreError> {
    let Some(value) = txn.get(place)? else {
        return Ok(None);
    };
    // Nobody writes in between.
    let entry = long::join(place, value.clone(), |piece| txn.get(piece))?.ok_or_else(torn)?;
    let bytes = entry.len();
    let entry = decode(&entry)?;
    Ok(Some(Held {
        entry,
        value,
        bytes,
    }))
}

/// One entry, inside a job.
pub(super) fn find_in(txn: &Txn<'_>, key: &CatalogKey) -> Result<Option<CatalogEntry>, StoreError> {
    let found = entry_at(txn, &entry_key(key))?;
    Ok(found.map(|held| held.entry))
}

fn torn() -> StoreError {
    StoreError::Corrupt("the pieces of a catalog entry are not its own".to_owned())
}

/// All entries of a kind, by key.
pub(super) fn list(index: &Index, kind: CatalogKind) -> Result<Vec<CatalogEntry>, StoreError> {
    let mut entries = Vec::new();
    each_of(index, kind, |_, entry| {
        entries.extend(entry?);
        Ok(entries.len())
    })?;
    Ok(entries)
}

/// All entries of a kind that can be read, and the places of those that cannot.
pub(super) fn list_readable(
    index: &Index,
    kind: CatalogKind,
) -> Result<(Vec<CatalogEntry>, Vec<Vec<u8>>), StoreError> {
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    each_of(index, kind, |place, entry| {
        match entry {
            Err(error) if damage::is_of_one_record(&error) => unreadable.push(place.to_vec()),
            read => entries.extend(read?),
        }
        Ok(entries.len() + unreadable.len())
    })?;
    Ok((entries, unreadable))
}

/// Calls `take` with each entry of a kind, and its place, until it has so many as there may be.
fn each_of(
    index: &Index,
    kind: CatalogKind,
    mut take: impl FnMut(&[u8], Result<Option<CatalogEntry>, StoreError>) -> Result<usize, StoreError>,
) -> Result<(), StoreError> {
    index.scan(&[CATALOG, kind_byte(kind)], |place, value| {
        let whole = long::join(place, value.to_vec(), |piece| index.get(piece))?;
        let entry = match whole {
            Some(entry) => decode(&entry).map(Some),
            None => read(index, place).map(|(entry, _)| entry),
        };
        Ok(match take(place, entry)? {
            MAX_CATALOG_ENTRIES.. => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    })
}

/// Creates or replaces an entry.
pub(super) async fn insert(engine: &Arc<Engine>, entry: CatalogEntry) -> Result<(), StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        let in_snapshot = is_lasting(&entry);
        let rules = is_lifecycle(&entry);
        let room = owner.blocking(|engine| Ok(engine.check_room(0))).await?;
        let job = move |txn: &mut Txn<'_>| {
            if takes_room(txn, &entry)? {
                room?;
            }
            put(txn, &entry)
        };
        owner.index.commit(job).await?;
        if rules {
            owner.lifecycle.begin_again();
        }
        match in_snapshot {
            true => snapshot::write(&owner).await,
            false => Ok(()),
        }
    };
    engine.carry_out(work).await
}

/// Whether an entry is of rules that let objects go.
fn is_lifecycle(entry: &CatalogEntry) -> bool {
    matches!(entry, CatalogEntry::Setting(set) if set.value.kind() == SettingKind::Lifecycle)
}

/// Removes an entry that nothing needs at `now`.
pub(super) async fn remove(
    engine: &Arc<Engine>,
    key: CatalogKey,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let owner = Arc::clone(engine);
    let work = async move {
        let job = move |txn: &mut Txn<'_>| {
            if is_needed(txn, &key, now)? {
                return Err(StoreError::InUse);
            }
            txn.makes_room();
            take_out(txn, &key)
        };
        let removed = owner.index.commit(job).await?;
        match &removed {
            Some(entry) if !is_lasting(entry) => {}
            Some(_) => snapshot::write(&owner).await?,
            // Whoever removed it may have been told that this failed behind the index, and asks again.
            None => snapshot::catch_up(&owner).await?,
        }
        Ok(removed.is_some())
    };
    engine.carry_out(work).await
}

/// Whether there are open sessions of a pipeline, or live objects in a bucket.
fn is_needed(txn: &mut Txn<'_>, key: &CatalogKey, now: Timestamp) -> Result<bool, StoreError> {
    match key {
        CatalogKey::Pipeline(id) => {
            let open = txn.prefix(&records::id_key(OPEN_SESSIONS, *id), 1)?;
            Ok(!open.is_empty())
        }
        CatalogKey::Bucket(bucket) => {
            let first = records::bucket_prefix(bucket);
            let held = txn.prefix(&first, MAX_LOOKED_AT)?;
            for (_, record) in &held {
                let end = records::decode_listed(record)?.expires_at;
                if end.is_none_or(|end| now < end) {
                    return Ok(true);
                }
            }
            match held.len() {
                MAX_LOOKED_AT => Err(StoreError::Busy),
                _ => Ok(false),
            }
        }
        CatalogKey::Token(_)
        | CatalogKey::Application(_)
        | CatalogKey::AccessKey(_)
        | CatalogKey::Setting(..) => Ok(false),
    }
}

/// Whether there is such a bucket, inside a job.
pub(super) fn has_bucket(txn: &Txn<'_>, bucket: &Bucket) -> Result<bool, StoreError> {
    let entry = txn.get(&entry_key(&CatalogKey::Bucket(bucket.clone())))?;
    Ok(entry.is_some())
}

/// Whether the bucket of an upload was removed since it began, and there is another one of that name now.
pub(super) fn has_other_bucket(engine: &Engine, upload: &NewUpload) -> Result<bool, StoreError> {
    let there = find(engine, &CatalogKey::Bucket(upload.bucket.clone()))?;
    Ok(is_later(there.as_ref(), upload))
}

/// As [`has_other_bucket`], inside a job.
pub(super) fn has_other_bucket_in(txn: &Txn<'_>, upload: &NewUpload) -> Result<bool, StoreError> {
    let there = find_in(txn, &CatalogKey::Bucket(upload.bucket.clone()))?;
    Ok(is_later(there.as_ref(), upload))
}

/// Whether a bucket was made later than an upload began, which is never before its own (`ledger`).
pub(super) fn is_later(bucket: Option<&CatalogEntry>, upload: &NewUpload) -> bool {
    matches!(bucket, Some(CatalogEntry::Bucket(bucket)) if upload.created_at < bucket.created_at)
}

/// When the bucket of this name was made, by which it is told from a later one.
pub(super) fn made_at(engine: &Engine, bucket: &Bucket) -> Result<Option<Timestamp>, StoreError> {
    let there = find(engine, &CatalogKey::Bucket(bucket.clone()))?;
    Ok(there.as_ref().and_then(moment_of))
}

/// As [`made_at`], inside a job.
pub(super) fn made_at_in(txn: &Txn<'_>, bucket: &Bucket) -> Result<Option<Timestamp>, StoreError> {
    let there = find_in(txn, &CatalogKey::Bucket(bucket.clone()))?;
    Ok(there.as_ref().and_then(moment_of))
}

fn moment_of(entry: &CatalogEntry) -> Option<Timestamp> {
    match entry {
        CatalogEntry::Bucket(bucket) => Some(bucket.created_at),
        _ => None,
    }
}

/// Removes an entry inside a job and returns it.
pub(super) fn take_out(
    txn: &mut Txn<'_>,
    key: &CatalogKey,
) -> Result<Option<CatalogEntry>, StoreError> {
    let place = entry_key(key);
    let Some(held) = entry_at(txn, &place)? else {
        return Ok(None);
    };
    let old = held.entry;
    forget_expiry(txn, &place, &old);
    by_application::remove(txn, &old)?;
    long::forget(txn, &place, &held.value);
    if let CatalogEntry::Bucket(bucket) = &old {
        eras::note_removal(txn, bucket)?;
        for kind in SettingKind::ALL {
            take_out(txn, &CatalogKey::Setting(bucket.name.clone(), kind))?;
        }
    }
    count_gone(txn, &old)?;
    count_change(txn, &old, (held.bytes, 0), NO_BOUNDS)?;
    txn.delete(place);
    Ok(Some(old))
}

/// Writes an entry inside a job.
pub(super) fn put(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    write(txn, entry, BOUNDS)
}

/// Writes an entry of the snapshot inside a job. However much was kept is kept: a snapshot that was taken beside changes may hold more
/// than there ever was at a time.
pub(super) fn restore(txn: &mut Txn<'_>, entry: &CatalogEntry) -> Result<(), StoreError> {
    write(txn, entry, NO_BOUNDS)
}

fn write(txn: &mut Txn<'_>, entry: &CatalogEntry, bounds: Bounds) -> Result<(), StoreError> {
    let place = entry_key(&entry.key());
    if let CatalogEntry::Setting(setting) = entry
        && !has_bucket(txn, &setting.bucket)?
    {
        return Err(StoreError::NoSuchBucket);
    }
    let there = entry_at(txn, &place)?;
    let bucket = match entry {
        CatalogEntry::Bucket(bucket) => Some(dated(txn, bucket, there.as_ref())?),
        _ => None,
    };
    let entry = bucket.as_ref().unwrap_or(entry);
    let old_bytes = there.as_ref().map_or(0, |old| old.bytes);
    match there {
        Some(old) => {
            forget_expiry(txn, &place, &old.entry);
            by_application::remove(txn, &old.entry)?;
            long::forget(txn, &place, &old.value);
        }
        None => {
            by_application::make_place(txn, entry)?;
            count_new(txn, entry)?;
        }
    }
    if let Some(at) = expiry(entry) {
        let rest = place.get(1..).unwrap_or_default();
        txn.put(records::due_key(CATALOG_EXPIRY, at, rest), Vec::new())?;
    }
    by_application::put(txn, entry)?;
    let encoded = encode(entry)?;
    let sizes = (old_bytes, encoded.len());
    long::put(txn, place, encoded)?;
    count_change(txn, entry, sizes, bounds)
}

/// A bucket with the moment at which it was made. One that is written again stays as old as it was: uploads that began in it are still its
/// own.
fn dated(
    txn: &Txn<'_>,
    bucket: &BucketConfig,
    there: Option<&Held>,
) -> Result<CatalogEntry, StoreError> {
    let bucket = match there.map(|held| &held.entry) {
        Some(CatalogEntry::Bucket(old)) => BucketConfig {
            created_at: old.created_at,
            ..bucket.clone()
        },
        _ => eras::made(txn, bucket)?,
    };
    Ok(CatalogEntry::Bucket(bucket))
}

/// The entry whose key ends a key of the expiry table, if it is due.
pub(super) fn due_entry(
    txn: &Txn<'_>,
    rest: &[u8],
    now: Timestamp,
) -> Result<Option<CatalogEntry>, StoreError> {
    let entry = entry_at(txn, &records::key(CATALOG, &[rest]))?;
    let entry = entry.map(|held| held.entry);
    Ok(entry.filter(|entry| expiry(entry).is_some_and(|at| at <= now)))
}

/// Whether the snapshot holds such an entry.
pub(super) fn is_lasting(entry: &CatalogEntry) -> bool {
    !matches!(entry, CatalogEntry::Token(token) if token.application.is_some())
}

/// The generation of the catalog in the index.
pub(super) fn generation(index: &Index) -> Result<u64, StoreError> {
    let generation = index.get(&generation_key())?;
    generation.as_deref().map_or(Ok(0), records::decode)
}

/// Sets the generation, inside a job.
pub(super) fn set_generation(txn: &mut Txn<'_>, generation: u64) -> Result<(), StoreError> {
    txn.put(generation_key(), records::encode(&generation)?)
}

fn expiry(entry: &CatalogEntry) -> Option<Timestamp> {
    match entry {
        CatalogEntry::Token(token) => token.expires_at,
        CatalogEntry::AccessKey(key) => key.forgotten_at(),
        _ => None,
    }
}

fn forget_expiry(txn: &mut Txn<'_>, place: &[u8], old: &CatalogEntry) {
    if let Some(at) = expiry(old) {
        let rest = place.get(1..).unwrap_or_default();
        txn.delete(records::due_key(CATALOG_EXPIRY, at, rest));
    }
}

/// Where the generation of the catalog is.
pub(super) fn generation_key() -> Vec<u8> {
    records::key(META, &[b"catalog generation"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        BucketConfig, BucketSetting, CannedAcl, CorsRule, Id, Pipeline, PipelineSettings, Scopes,
        SettingValue, Token, TokenHash,
    };
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::counts::{MAX_WITHOUT_ROOM, set_count};
    use crate::store::embedded::tests::{Folder, NOW};
    use crate::store::{Catalog as _, MAX_CATALOG_BYTES, MAX_SETTINGS_BYTES};

    #[tokio::test]
    async fn on_a_full_disk_nothing_new_gets_in_but_the_few_entries_that_a_start_needs() {
        let folder = Folder::new();
        drop(folder.open().await);
        let mut options = folder.options();
        options.free_floor_bytes = u64::MAX;
        let store = EmbeddedStore::open(options, NOW).await.unwrap();
        let new = |number| CatalogEntry::Bucket(BucketConfig::new(bucket(number), NOW));
        store.insert(new(1)).await.expect("a start may need it");
        let many = |txn: &mut Txn<'_>| set_count(txn, CatalogKind::Bucket, MAX_WITHOUT_ROOM);
        store.engine.index.commit(many).await.unwrap();
        let refused = store.insert(new(2)).await;
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
        store.insert(pipeline(1)).await.expect("of another kind");
        store.insert(new(1)).await.expect("it is there");
        let (bucket, value) = (bucket(1), SettingValue::Acl(CannedAcl::Private));
        let list = CatalogEntry::Setting(BucketSetting { bucket, value });
        store.insert(list).await.expect("it is of a bucket");
        assert!(store.remove(&new(1).key()).await.unwrap());
    }

    #[tokio::test]
    async fn all_entries_together_have_a_limit_and_what_gets_its_end_is_not_held_to_it() {
        let folder = Folder::new();
        let store = folder.open().await;
        let index = &store.engine.index;
        let put = async |entry: CatalogEntry| {
            // So few bytes that not all of the limit has to be written.
            let bounds = Bounds {
                all: 20_000,
                of_operator: 1000,
                ..BOUNDS
            };
            let job = move |txn: &mut Txn<'_>| write(txn, &entry, bounds);
            index.commit(job).await
        };
        let set = async |number: u8| put(pipeline(number)).await;
        put(token("a", None)).await.unwrap();
        let mut most = 0;
        while set(most).await.is_ok() {
            most += 1;
        }
        assert!((6..12).contains(&most), "{most}");
        assert!(matches!(set(most).await, Err(StoreError::CatalogFull)));
        // Nor is there room for anything short that is not the operator's.
        let mut small = 0;
        let new = |number| CatalogEntry::Bucket(BucketConfig::new(bucket(number), NOW));
        while put(new(small)).await.is_ok() {
            small += 1;
        }
        let operators = async |text: &str| put(token(text, None)).await;
        operators("b")
            .await
            .expect("there is room for the operator");
        let mut more = 0;
        while operators(&more.to_string()).await.is_ok() {
            more += 1;
        }
        assert!((2..20).contains(&more), "{more}");
        let texts = (0..more).map(|text| text.to_string());
        for text in texts.chain(["b".to_owned()]) {
            let token = TokenHash::of(&text);
            let remove = move |txn: &mut Txn<'_>| take_out(txn, &CatalogKey::Token(token));
            index.commit(remove).await.unwrap();
        }
        set(0).await.expect("what is there becomes no longer");
        let ends = put(token("a", Some(NOW))).await;
        ends.expect("it gets its end");
        // As an index of an earlier version, which did not count them; and one in which such a version has changed something since.
        let back = move |txn: &mut Txn<'_>| {
            txn.delete(records::key(META, &[b"bytes of entries"]));
            Ok(())
        };
        index.commit(back).await.unwrap();
        assert!(matches!(set(most).await, Err(StoreError::CatalogFull)));
        let remove = |txn: &mut Txn<'_>| take_out(txn, &pipeline(0).key());
        index.commit(remove).await.unwrap();
        set(most).await.expect("there is room again");
        assert!(matches!(set(0).await, Err(StoreError::CatalogFull)));
        let onward = |txn: &mut Txn<'_>| {
            txn.delete(entry_key(&pipeline(1).key()));
            set_generation(txn, 1000)
        };
        index.commit(onward).await.unwrap();
        set(0).await.expect("there is room again");
        assert!(matches!(set(1).await, Err(StoreError::CatalogFull)));
        let full = |txn: &mut Txn<'_>| restore(txn, &pipeline(1));
        index.commit(full).await.expect("what was kept is kept");
        assert_eq!(BOUNDS.all, MAX_CATALOG_BYTES);
    }

    fn token(text: &str, expires_at: Option<Timestamp>) -> CatalogEntry {
        CatalogEntry::Token(Token {
            id: Id::new(NOW, [1; 8]),
            hash: TokenHash::of(text),
            name: "t".to_owned(),
            scopes: Scopes::default(),
            application: None,
            created_at: NOW,
            expires_at,
        })
    }

    fn pipeline(number: u8) -> CatalogEntry {
        CatalogEntry::Pipeline(Pipeline {
            id: Id::new(NOW, [number; 8]),
            settings: PipelineSettings {
                name: "p".to_owned(),
                description: None,
                root_path: None,
                default_object_timeout: None,
                other: Some("x".repeat(2000)),
            },
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        })
    }

    /// A setting of about half a megabyte.
    fn large(bucket: &Bucket) -> CatalogEntry {
        let rule = CorsRule {
            id: "x".repeat(500_000),
            origins: vec!["*".to_owned()],
            methods: vec!["GET".to_owned()],
            headers: Vec::new(),
            expose: Vec::new(),
            max_age: None,
        };
        let (bucket, value) = (bucket.clone(), SettingValue::Cors(vec![rule].into()));
        CatalogEntry::Setting(BucketSetting { bucket, value })
    }

    fn bucket(number: u64) -> Bucket {
        Bucket::parse(&format!("bucket-{number}")).unwrap()
    }

    #[tokio::test]
    async fn all_settings_together_have_a_limit_and_what_goes_makes_room() {
        let folder = Folder::new();
        let store = folder.open().await;
        let set = async |number: u64| {
            let job = move |txn: &mut Txn<'_>| {
                let bucket = bucket(number);
                let config = BucketConfig::new(bucket.clone(), NOW);
                put(txn, &CatalogEntry::Bucket(config))?;
                put(txn, &large(&bucket))
            };
            store.engine.index.commit(job).await
        };
        let most = MAX_SETTINGS_BYTES / encode(&large(&bucket(1))).unwrap().len() as u64;
        for number in 0..most {
            set(number).await.unwrap();
        }
        assert!(matches!(set(most).await, Err(StoreError::CatalogFull)));
        set(0)
            .await
            .expect("what replaces its like is no more than that");
        let remove = |txn: &mut Txn<'_>| take_out(txn, &CatalogKey::Bucket(bucket(0)));
        store.engine.index.commit(remove).await.unwrap();
        set(most).await.expect("there is room again");
        assert!(matches!(set(0).await, Err(StoreError::CatalogFull)));
        let more = |txn: &mut Txn<'_>| {
            let bucket = bucket(0);
            restore(
                txn,
                &CatalogEntry::Bucket(BucketConfig::new(bucket.clone(), NOW)),
            )?;
            restore(txn, &large(&bucket))?;
            put(txn, &large(&bucket))?;
            let (bucket, value) = (bucket, SettingValue::Acl(CannedAcl::Private));
            put(txn, &CatalogEntry::Setting(BucketSetting { bucket, value }))
        };
        let full = "a snapshot is taken in whole; what does not grow, and what is short, is set";
        store.engine.index.commit(more).await.expect(full);
        assert!(matches!(set(most + 1).await, Err(StoreError::CatalogFull)));
    }
}
