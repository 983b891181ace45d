//! The commit paths of what is beside an object's bytes: conditions, changes of its record, the catalog, and what a sweep lets go.
//!
//! Owns: that workload, and what clients were told of records and entries. What they were told of bytes and sessions lies with
//! `every_point.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pillarbox::model::{
    AccessKey, Application, Bucket, BucketConfig, BucketSetting, CannedAcl, Checksum,
    ChecksumAlgorithm, ETag, HeaderSet, Id, KeyPurpose, Md5, ObjectKey, ObjectMeta, Pipeline,
    PipelineSettings, Scopes, Secret, SettingKind, SettingValue, Tags, Timestamp, Token, TokenHash,
};
use pillarbox::store::embedded::EmbeddedStore;
use pillarbox::store::{
    Catalog as _, CatalogEntry, CatalogKey, CatalogKind, ClockReading, Expected, HeaderChange,
    ObjectChange, ObjectName, ObjectStore as _, Rewrite, StoreError, WriteCondition,
};

use super::{NOW, Told, key, post, session};

/// What clients were told of records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    /// What the record of an object may be, if there is one.
    metas: BTreeMap<&'static str, Vec<ObjectMeta>>,
    /// What each entry of the catalog may be.
    catalog: Vec<(CatalogKey, BTreeSet<Option<String>>)>,
}

impl Records {
    fn entry(&mut self, key: &CatalogKey) -> &mut BTreeSet<Option<String>> {
        let place = self.catalog.iter().position(|(known, _)| known == key);
        let place = place.unwrap_or_else(|| {
            self.catalog.push((key.clone(), [None].into()));
            self.catalog.len() - 1
        });
        &mut self.catalog[place].1
    }
}

/// One path after the other; goes on after a failure.
pub(crate) async fn workload(store: &EmbeddedStore, told: &mut Told) {
    conditions(store, told).await;
    for (name, new) in changes() {
        post(store, told, name, b"the same").await;
        change(store, told, name, new).await;
    }
    catalog(store, told).await;
    bucket(store, told).await;
    sweep(store, told).await;
    take(store, told, &access_key().key()).await;
}

async fn conditions(store: &EmbeddedStore, told: &mut Told) {
    let matches = |bytes: &[u8]| WriteCondition::Matches(ETag::of_whole(Md5::of(bytes)));
    let (absent, present) = (WriteCondition::Absent, WriteCondition::Present);
    post_if(store, told, "guarded", b"first", absent.clone()).await;
    post_if(store, told, "guarded", b"too late", absent).await;
    post_if(store, told, "guarded", b"second", matches(b"first")).await;
    post_if(store, told, "guarded", b"third", present).await;
    delete_if(store, told, "guarded", Some(matches(b"second"))).await;
    delete_if(store, told, "guarded", Some(matches(b"third"))).await;
}

/// Whether a condition holds of what a key has.
fn holds(condition: &WriteCondition, held: Option<&[u8]>) -> bool {
    match (condition, held) {
        (WriteCondition::Absent, held) => held.is_none(),
        (WriteCondition::Present, held) => held.is_some(),
        (WriteCondition::Matches(tag), held) => {
            held.is_some_and(|bytes| ETag::of_whole(Md5::of(bytes)) == *tag)
        }
    }
}

async fn post_if(
    store: &EmbeddedStore,
    told: &mut Told,
    name: &'static str,
    bytes: &'static [u8],
    condition: WriteCondition,
) {
    let new = told.upload(name, None);
    let expected = Expected {
        condition: Some(condition.clone()),
        ..Expected::default()
    };
    let answer = async {
        let mut writer = store.write_object(new).await?;
        writer.write(bytes.into()).await?;
        writer.commit(expected, NOW).await.map(drop)
    };
    let answer = answer.await;
    let fits = |held: Option<&[u8]>| holds(&condition, held);
    hears_of_a_condition(store, told, (name, Some(bytes)), answer, fits).await;
}

async fn delete_if(
    store: &EmbeddedStore,
    told: &mut Told,
    name: &'static str,
    condition: Option<WriteCondition>,
) {
    let answer = store
        .delete_object_if(&key(name), condition.clone(), NOW)
        .await;
    let fits = |held: Option<&[u8]>| {
        held.is_some() && condition.as_ref().is_none_or(|wanted| holds(wanted, held))
    };
    hears_of_a_condition(store, told, (name, None), answer, fits).await;
}

/// Who succeeds, or is refused, knows what the key had.
async fn hears_of_a_condition(
    store: &EmbeddedStore,
    told: &mut Told,
    (name, new): (&'static str, Option<&[u8]>),
    answer: Result<(), StoreError>,
    fits: impl Fn(Option<&[u8]>) -> bool,
) {
    let may = told.objects.entry(name).or_insert_with(|| [None].into());
    let could = may.iter().any(|held| fits(held.as_deref()));
    match answer {
        Err(StoreError::ConditionFailed | StoreError::NoSuchObject) => {
            // What can be read of a store that is read-only, or as if dead, may not be durable.
            if store.health().await.is_ok_and(|health| health.writable) {
                may.retain(|held| !fits(held.as_deref()));
                assert!(!may.is_empty(), "{name} was refused for nothing");
            }
        }
        answer => match told.hears(answer) {
            Some(()) => {
                assert!(could, "{name}: the condition did not hold");
                told.told(name, new);
            }
            None if could => told.asks(name, new),
            None => {}
        },
    }
}

/// Every change that there is but that of tags, and what it is made to.
fn changes() -> [(&'static str, ObjectChange); 5] {
    let mut headers = HeaderSet::default();
    assert!(headers.set("content-type", "video/mp4"));
    let mut longer = headers.clone();
    // Too long for an extended attribute.
    assert!(longer.set("x-amz-meta-note", &"n".repeat(2000)));
    let rewrite = Rewrite {
        headers: HeaderChange::All(headers),
        acl: CannedAcl::Private,
        tags: Some(Tags::new(vec![("a".to_owned(), "b".to_owned())]).unwrap()),
        checksum: Some(Checksum::of(ChecksumAlgorithm::Sha1, b"the same")),
    };
    let end = NOW.plus(Duration::from_secs(1000));
    let (from, to) = (CannedAcl::Private, CannedAcl::PublicRead);
    [
        ("changed rights", ObjectChange::Acl { from, to }),
        ("changed headers", ObjectChange::Headers(longer)),
        ("changed by a copy", ObjectChange::Rewritten(rewrite)),
        ("changed expiry", ObjectChange::ExpiresAt(Some(end))),
        ("changed by use", ObjectChange::UsedBy("a job".to_owned())),
    ]
}

/// Changes the record of an object, if there is one.
pub(crate) async fn change(
    store: &EmbeddedStore,
    told: &mut Told,
    name: &'static str,
    change: ObjectChange,
) {
    let Ok(seen) = store.object(&key(name), NOW).await else {
        return;
    };
    let known = told.records.metas.get(name).cloned();
    let mut may = known.unwrap_or_else(|| vec![seen]);
    let new: Vec<ObjectMeta> = may.iter().map(|meta| changed(meta, &change)).collect();
    let answer = store.change_object(&key(name), change, NOW).await;
    match told.hears(answer) {
        Some(meta) => {
            assert!(new.contains(&meta), "{name}: {meta:?} is none of {new:?}");
            may = vec![meta];
        }
        None => may.extend(new),
    }
    told.records.metas.insert(name, may);
}

/// The record after a change.
fn changed(meta: &ObjectMeta, change: &ObjectChange) -> ObjectMeta {
    let mut meta = meta.clone();
    (meta.updated_at, meta.version) = (NOW, meta.version + 1);
    match change.clone() {
        ObjectChange::ExpiresAt(at) => meta.expires_at = at,
        ObjectChange::UsedBy(job) => (meta.job, meta.expires_at) = (Some(job), None),
        ObjectChange::Headers(headers) => meta.headers = headers,
        ObjectChange::Tags(tags) => meta.attributes.tags = tags,
        ObjectChange::Acl { to, .. } => meta.attributes.acl = to,
        ObjectChange::Rewritten(rewrite) => {
            let HeaderChange::All(headers) = rewrite.headers else {
                panic!("these replace all headers");
            };
            (meta.headers, meta.finished_at) = (headers, NOW);
            meta.attributes.acl = rewrite.acl;
            meta.attributes.tags = rewrite.tags.unwrap_or(meta.attributes.tags);
            meta.attributes.checksum = rewrite.checksum.or(meta.attributes.checksum);
        }
    }
    meta
}

fn token(name: &str, expires_at: Option<Timestamp>) -> CatalogEntry {
    CatalogEntry::Token(Token {
        id: Id::from_bytes([1; 12]),
        hash: TokenHash::of(name),
        name: name.to_owned(),
        scopes: Scopes::parse("mediahub").unwrap(),
        application: None,
        created_at: NOW,
        expires_at,
    })
}

fn application() -> CatalogEntry {
    CatalogEntry::Application(Application {
        id: Id::from_bytes([2; 12]),
        secret: Secret::new("secret".to_owned()),
        name: "an application".to_owned(),
        scopes: Scopes::parse("mediahub").unwrap(),
        created_at: NOW,
    })
}

fn access_key() -> CatalogEntry {
    CatalogEntry::AccessKey(AccessKey {
        id: "PILLARBOXTEST0000000".to_owned(),
        secret: Secret::new("secret".to_owned()),
        purpose: KeyPurpose::Forms,
        created_at: NOW,
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    })
}

fn pipeline(version: u32) -> CatalogEntry {
    CatalogEntry::Pipeline(Pipeline {
        id: Id::from_bytes([3; 12]),
        settings: PipelineSettings {
            name: format!("version {version}"),
            ..PipelineSettings::default()
        },
        version,
        created_at: NOW,
        updated_at: NOW,
    })
}

/// Entries of every kind; one is replaced, and two are removed at once.
async fn catalog(store: &EmbeddedStore, told: &mut Told) {
    let revoked = token("revoked", None);
    let lasting = [pipeline(1), pipeline(2), token("kept", None), access_key()];
    for entry in lasting {
        put(store, told, entry).await;
    }
    for entry in [application(), revoked] {
        let key = entry.key();
        put(store, told, entry).await;
        take(store, told, &key).await;
    }
}

pub(crate) async fn put(store: &EmbeddedStore, told: &mut Told, entry: CatalogEntry) {
    let (key, text) = (entry.key(), text(&entry));
    told.records.entry(&key).insert(Some(text.clone()));
    let answer = store.insert(entry).await;
    if told.hears(answer).is_some() {
        *told.records.entry(&key) = [Some(text)].into();
    }
}

async fn take(store: &EmbeddedStore, told: &mut Told, key: &CatalogKey) {
    let before = told.records.entry(key).clone();
    told.records.entry(key).insert(None);
    let answer = store.remove(key).await;
    if let Some(was_there) = told.hears(answer) {
        let may = before.iter().any(|held| held.is_some() == was_there);
        assert!(may, "{key:?} was there: {was_there}, but may be {before:?}");
        *told.records.entry(key) = [None].into();
    }
}

/// All of an entry, with its secrets.
fn text(entry: &CatalogEntry) -> String {
    let text = match entry {
        CatalogEntry::Token(token) => serde_json::to_string(token),
        CatalogEntry::Application(application) => serde_json::to_string(application),
        CatalogEntry::AccessKey(key) => serde_json::to_string(key),
        CatalogEntry::Pipeline(pipeline) => serde_json::to_string(pipeline),
        CatalogEntry::Bucket(bucket) => serde_json::to_string(bucket),
        CatalogEntry::Setting(setting) => serde_json::to_string(setting),
    };
    text.unwrap()
}

fn removed() -> Bucket {
    Bucket::parse("removed").unwrap()
}

/// A bucket with a setting and an object, which is removed when the object has expired.
async fn bucket(store: &EmbeddedStore, told: &mut Told) {
    let config = CatalogEntry::Bucket(BucketConfig::new(removed(), NOW));
    let setting = CatalogEntry::Setting(BucketSetting {
        bucket: removed(),
        value: SettingValue::Acl(CannedAcl::PublicRead),
    });
    let keys = [config.key(), setting.key()];
    put(store, told, config).await;
    put(store, told, setting).await;
    let mut new = told.upload("expired", Some(NOW.plus(Duration::from_secs(1))));
    new.bucket = removed();
    let answer = async {
        let mut writer = store.write_object(new).await?;
        writer.write("short-lived".into()).await?;
        writer.commit(Expected::default(), NOW).await
    };
    told.hears(answer.await);
    for key in &keys {
        told.records.entry(key).insert(None);
    }
    let then = NOW.plus(Duration::from_secs(2));
    let answer = store.remove_bucket(&removed(), then).await;
    if told.hears(answer).is_some() {
        for key in &keys {
            *told.records.entry(key) = [None].into();
        }
    }
}

/// A token whose time is over, a session that was left, and one that was finished long ago.
async fn sweep(store: &EmbeddedStore, told: &mut Told) {
    let due = token("due", Some(NOW.plus(Duration::from_secs(1))));
    let token = due.key();
    put(store, told, due).await;
    session(store, told, "brief, left", &[b"ll", b"m"], &[1], Some(2)).await;
    session(
        store,
        told,
        "brief, whole",
        &[b"nn", b"o"],
        &[1, 0],
        Some(2),
    )
    .await;
    let brief = |name: &str| name.starts_with("brief");
    let sessions = told.sessions.values_mut();
    for session in sessions.filter(|session| brief(session.name)) {
        session.doubtful = true;
    }
    told.records.entry(&token).insert(None);
    let clock = ClockReading {
        wall: NOW.plus(Duration::from_secs(10)),
        monotonic: Duration::from_secs(10),
    };
    let answer = store.sweep(clock, 100).await;
    if told.hears(answer).is_none() {
        return;
    }
    *told.records.entry(&token) = [None].into();
    // One that is still being made whole stays until it is.
    let is_whole = told
        .objects
        .get("brief, whole")
        .is_some_and(|may| may.len() == 1);
    let gone = |name: &str| name == "brief, left" || name == "brief, whole" && is_whole;
    let gone = told
        .sessions
        .extract_if(.., |_, session| gone(session.name));
    let gone: Vec<Id> = gone.map(|(id, _)| id).collect();
    told.gone.extend(gone);
}

/// Records and entries are what clients were told.
pub(crate) async fn check(store: &EmbeddedStore, told: &Told, when: &str) {
    for (name, may) in &told.records.metas {
        if let Ok(meta) = store.object(&key(name), NOW).await {
            let fits = may.contains(&meta);
            assert!(fits, "{when}: {name} is {meta:?}, may be {may:?}");
        }
    }
    for (key, may) in &told.records.catalog {
        let found = store.find(key).await.unwrap();
        let found = found.as_ref().map(text);
        let fits = may.contains(&found);
        assert!(fits, "{when}: {key:?} is {found:?}, may be {may:?}");
        let kind = kind(key);
        let listed = store.list(kind).await.unwrap();
        let listed = listed.iter().find(|entry| entry.key() == *key).map(text);
        assert_eq!(listed, found, "{when}: {key:?} is listed otherwise");
    }
    let bucket = store.find(&CatalogKey::Bucket(removed())).await.unwrap();
    let setting = CatalogKey::Setting(removed(), SettingKind::Acl);
    let setting = store.find(&setting).await.unwrap();
    assert!(
        bucket.is_some() || setting.is_none(),
        "{when}: a setting without its bucket"
    );
    let short_lived = ObjectName::Key(removed(), ObjectKey::parse("expired").unwrap());
    let then = NOW.plus(Duration::from_secs(10));
    let found = store.object(&short_lived, then).await;
    assert!(matches!(found, Err(StoreError::NoSuchObject)), "{when}");
}

fn kind(key: &CatalogKey) -> CatalogKind {
    match key {
        CatalogKey::Token(_) => CatalogKind::Token,
        CatalogKey::Application(_) => CatalogKind::Application,
        CatalogKey::AccessKey(_) => CatalogKind::AccessKey,
        CatalogKey::Pipeline(_) => CatalogKind::Pipeline,
        CatalogKey::Bucket(_) => CatalogKind::Bucket,
        CatalogKey::Setting(..) => CatalogKind::Setting,
    }
}
