//! The walk that lets objects and unfinished uploads go as the rules of their buckets say.
//!
//! Owns: [`Walk`], how far it is. It goes once over every bucket that has rules: at the first sweep of a day (in UTC; whatever is due is due
//! from a midnight on), after a start, and after rules were set. So a rule counts for what was there before it, one that was
//! removed counts for nothing, and nothing that a crash could lose says what is due.
//! Never does: remove anything that is not still due, by the rules as they are inside the job that removes it.
//!
//! Invariants: one call reads at most [`MAX_READ`] records and removes no more than it is told; the next one goes on from there. A rule
//! costs nothing where objects are written or read. What cannot be read is passed over and stays as it is: it stops nothing else.
//!
//! Source: Amazon S3 User Guide, "Managing the lifecycle of objects": rules run once a day.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use super::index::Txn;
use super::names::{self, Garbage};
use super::records::{self, OBJECTS, SESSIONS, SessionRecord};
use super::sync::Mutex;
use super::{Engine, abort, catalog, damage, tagged};
use crate::model::{
    Bucket, BucketSetting, Id, LifecycleRule, SettingKind, SettingValue, SharedRules, Timestamp,
    UploadState,
};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, StoreError};

/// Records that one call reads at most.
const MAX_READ: usize = 32_768;
/// Objects removed in one job.
const STEP: usize = 256;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// How far the walk is.
#[derive(Debug, Default)]
pub(super) struct Walk(Mutex<Progress>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Counts the reasons to begin again.
    reasons: u64,
    /// The day that is walked, or was.
    day: Option<i64>,
    /// The table and the place to go on from; none when all was seen.
    next: Option<Vec<u8>>,
}

/// What one call did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walked {
    pub(super) objects: usize,
    pub(super) sessions: usize,
    /// Whether there is more to see.
    pub(super) more: bool,
}

impl Walk {
    /// Has the next sweep begin from the front: rules may have changed.
    pub(super) fn begin_again(&self) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.reasons = progress.reasons.wrapping_add(1);
        progress.day = None;
    }

    /// Where to go on, if anything is left to see today.
    fn resume(&self, now: Timestamp) -> Option<Progress> {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let today = now.seconds().div_euclid(DAY_SECONDS);
        if progress.day != Some(today) {
            progress.day = Some(today);
            progress.next = Some(vec![OBJECTS]);
        }
        progress.next.is_some().then(|| progress.clone())
    }

    /// Notes how far it came, unless there was a reason to begin again meanwhile.
    fn note(&self, from: &Progress, next: Option<Vec<u8>>) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *progress == *from {
            progress.next = next;
        }
    }
}

/// Goes on with the walk; removes at most `limit` things.
pub(super) async fn walk(
    engine: &Arc<Engine>,
    now: Timestamp,
    limit: usize,
) -> Result<Walked, StoreError> {
    let mut walked = Walked::default();
    let Some(progress) = engine.lifecycle.resume(now) else {
        return Ok(walked);
    };
    let rules = engine.blocking(all_rules).await?;
    let mut next = progress.next.clone().filter(|_| !rules.is_empty());
    let mut left = MAX_READ;
    while let Some(place) = next.clone().filter(|_| left > 0) {
        let room = limit.saturating_sub(walked.objects + walked.sessions);
        if room == 0 {
            break;
        }
        let (known, most) = (Arc::clone(&rules), (left, room.min(STEP)));
        let look = move |engine: &Engine| look(engine, &known, place, most, now);
        let seen = engine.blocking(look).await?;
        seen.tell_unreadable();
        left = left.saturating_sub(seen.read.max(1));
        walked.objects += remove_objects(engine, seen.objects, now).await?;
        walked.sessions += remove_sessions(engine, seen.sessions, now).await?;
        next = seen.next;
    }
    walked.more = next.is_some();
    engine.lifecycle.note(&progress, next);
    Ok(walked)
}

/// The rules of one bucket.
type RulesOf = (Bucket, SharedRules<LifecycleRule>);

fn all_rules(engine: &Engine) -> Result<Arc<Vec<RulesOf>>, StoreError> {
    let (entries, unreadable) = catalog::list_readable(&engine.index, CatalogKind::Setting)?;
    if !unreadable.is_empty() {
        tracing::warn!(
            unreadable = unreadable.len(),
            "settings of buckets cannot be read; where they are lifecycle rules, nothing goes"
        );
    }
    let rules = entries.into_iter().filter_map(|entry| match entry {
        CatalogEntry::Setting(BucketSetting {
            bucket,
            value: SettingValue::Lifecycle(rules),
        }) => Some((bucket, rules)),
        _ => None,
    });
    Ok(Arc::new(rules.collect()))
}

/// What one look found.
#[derive(Default)]
struct Seen {
    /// The places of objects that are due.
    objects: Vec<Vec<u8>>,
    /// Uploads that are due.
    sessions: Vec<Id>,
    read: usize,
    /// How many records could not be read.
    unreadable: usize,
    /// The place of the first of them.
    first_unreadable: Option<Vec<u8>>,
    /// Where to go on.
    next: Option<Vec<u8>>,
}

impl Seen {
    /// What a record says; nothing when it is damaged. Any other failure, of the disk say, may be over the next time.
    fn readable<T>(
        &mut self,
        place: &[u8],
        record: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match record {
            Err(error) if damage::is_of_one_record(&error) => {
                self.unreadable += 1;
                self.first_unreadable.get_or_insert_with(|| place.to_vec());
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Only places: what is wrong with a record could show what is in it.
    fn tell_unreadable(&self) {
        if let Some(place) = &self.first_unreadable {
            let (records, first) = (self.unreadable, place.escape_ascii());
            tracing::warn!(records, %first, "lifecycle rules passed over records that cannot be read");
        }
    }
}

/// Looks from a place on, at the rest of one bucket's objects, or at all uploads.
fn look(
    engine: &Engine,
    rules: &[RulesOf],
    from: Vec<u8>,
    most: (usize, usize),
    now: Timestamp,
) -> Result<Seen, StoreError> {
    if from.first() == Some(&SESSIONS) {
        return look_at_sessions(engine, rules, &from, most, now);
    }
    for (bucket, rules) in rules {
        let all = records::key(OBJECTS, &[bucket.as_str().as_bytes(), &[0]]);
        if from < all || from.starts_with(&all) {
            let from = from.max(all.clone());
            return look_at_objects(engine, (&all, rules), &from, most, now);
        }
    }
    Ok(Seen {
        next: Some(vec![SESSIONS]),
        ..Seen::default()
    })
}

fn look_at_objects(
    engine: &Engine,
    (all, rules): (&[u8], &[LifecycleRule]),
    from: &[u8],
    (most_read, most_due): (usize, usize),
    now: Timestamp,
) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    engine.index.scan_from(from, all, |place, record| {
        if seen.read >= most_read || seen.objects.len() >= most_due {
            seen.next = Some(place.to_vec());
            return Ok(ControlFlow::Break(()));
        }
        seen.read += 1;
        // One that was replaced a moment ago is new.
        let meta = tagged::join(record, |piece| engine.index.get(piece));
        let meta = seen.readable(place, meta)?.flatten();
        let end = meta.and_then(|meta| LifecycleRule::first(rules, &meta).map(|(_, end)| end));
        if end.is_some_and(|end| end <= now) {
            seen.objects.push(place.to_vec());
        }
        Ok(ControlFlow::Continue(()))
    })?;
    seen.next = seen.next.or_else(|| Some(behind(all)));
    Ok(seen)
}

/// The first place behind a bucket's objects: its name ends with a zero byte, and no key of the index begins with that name and a one.
fn behind(all: &[u8]) -> Vec<u8> {
    let mut place = all.to_vec();
    if let Some(last) = place.last_mut() {
        *last = last.saturating_add(1);
    }
    place
}

fn look_at_sessions(
    engine: &Engine,
    rules: &[RulesOf],
    from: &[u8],
    (most_read, most_due): (usize, usize),
    now: Timestamp,
) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    engine.index.scan_from(from, &[SESSIONS], |place, record| {
        if seen.read >= most_read || seen.sessions.len() >= most_due {
            seen.next = Some(place.to_vec());
            return Ok(ControlFlow::Break(()));
        }
        seen.read += 1;
        let record = records::decode_session(record);
        let Some(record) = seen.readable(place, record)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let upload = &record.session.upload;
        let of_bucket = rules.iter().find(|(bucket, _)| *bucket == upload.bucket);
        let rules = of_bucket.map_or(&[][..], |(_, rules)| rules);
        if is_abandoned(rules, &record, now) {
            seen.sessions.push(upload.id);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(seen)
}

fn is_abandoned(rules: &[LifecycleRule], record: &SessionRecord, now: Timestamp) -> bool {
    let first = LifecycleRule::first_to_abort(rules, &record.session.upload);
    record.session.state == UploadState::Uploading && first.is_some_and(|(_, end)| end <= now)
}

async fn remove_objects(
    engine: &Arc<Engine>,
    places: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    if places.is_empty() {
        return Ok(0);
    }
    let remove = move |txn: &mut Txn<'_>| {
        let mut garbage = Garbage::new();
        let mut known: Option<RulesOf> = None;
        for place in places {
            let Some(meta) = names::object_at(txn, &place)? else {
                continue;
            };
            let rules = match known.take().filter(|(bucket, _)| *bucket == meta.bucket) {
                Some((_, rules)) => rules,
                None => rules_in(txn, &meta.bucket)?,
            };
            if LifecycleRule::first(&rules, &meta).is_some_and(|(_, end)| end <= now) {
                names::remove_object(txn, &meta, &mut garbage)?;
            }
            known = Some((meta.bucket, rules));
        }
        Ok(garbage)
    };
    let garbage = engine.index.commit(remove).await?;
    let removed = garbage.len();
    engine.collect(garbage);
    Ok(removed)
}

/// The rules of a bucket inside a job.
fn rules_in(txn: &Txn<'_>, bucket: &Bucket) -> Result<SharedRules<LifecycleRule>, StoreError> {
    let key = CatalogKey::Setting(bucket.clone(), SettingKind::Lifecycle);
    catalog::find_in(txn, &key).map(rules_of)
}

fn rules_of(entry: Option<CatalogEntry>) -> SharedRules<LifecycleRule> {
    match entry {
        Some(CatalogEntry::Setting(BucketSetting {
            value: SettingValue::Lifecycle(rules),
            ..
        })) => rules,
        _ => SharedRules::default(),
    }
}

async fn remove_sessions(
    engine: &Arc<Engine>,
    ids: Vec<Id>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut removed = 0;
    for id in ids {
        let owner = Arc::clone(engine);
        let check = move |record: &SessionRecord| still_due(&owner, record, now);
        match abort::drop_free_session(engine, id, check).await {
            Ok(()) => removed += 1,
            Err(StoreError::NoSuchUpload | StoreError::InUse) => {}
            Err(error) if damage::is_of_one_record(&error) => {
                tracing::warn!(%id, "an upload that lifecycle rules let go stays: what is known of it cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// By the rules as they are now.
fn still_due(engine: &Engine, record: &SessionRecord, now: Timestamp) -> Result<(), StoreError> {
    let bucket = record.session.upload.bucket.clone();
    let key = CatalogKey::Setting(bucket, SettingKind::Lifecycle);
    let rules = rules_of(catalog::find(engine, &key)?);
    match is_abandoned(&rules, record, now) {
        true => Ok(()),
        false => Err(StoreError::InUse),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{BucketConfig, CannedAcl, Expiration, LifecycleFilter, PartRules};
    use crate::store::embedded::entry::entry_key;
    use crate::store::embedded::tests::{
        Folder, NOW, brief_token, leave_no_room, post, send, upload,
    };
    use crate::store::embedded::{EmbeddedStore, objects};
    use crate::store::{
        Catalog as _, ClockReading, Expected, ObjectName, ObjectStore as _, PartStore as _,
    };

    /// A rule that lets everything of a bucket go after a day.
    async fn set_rule(store: &EmbeddedStore, bucket: &str) {
        let rule = LifecycleRule {
            id: "all".to_owned(),
            enabled: true,
            filter: LifecycleFilter::default(),
            expiration: Some(Expiration::Days(1)),
            abort_days: Some(1),
        };
        let setting = BucketSetting {
            bucket: Bucket::parse(bucket).unwrap(),
            value: SettingValue::Lifecycle(vec![rule].into()),
        };
        let entry = CatalogEntry::Setting(setting);
        store.insert(entry).await.unwrap();
    }

    async fn spoil(store: &EmbeddedStore, place: Vec<u8>) {
        let spoil = move |txn: &mut Txn<'_>| txn.put(place, b"\x01unreadable".to_vec());
        store.engine.index.commit(spoil).await.unwrap();
    }

    async fn begin_parts(store: &EmbeddedStore, key: &str) -> Id {
        let new = upload(key);
        let id = new.id;
        store.create_parts(new, PartRules::default()).await.unwrap();
        id
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_passed_over_and_stays_while_the_rest_goes() {
        let folder = Folder::new();
        let store = folder.open().await;
        set_rule(&store, "uploads").await;
        let mut objects = Vec::new();
        for key in ["a", "b", "c"] {
            objects.push(post(&store, key, b"bytes").await);
        }
        let mut uploads = Vec::new();
        for key in ["d", "e", "f"] {
            uploads.push(begin_parts(&store, key).await);
        }
        send(&store, uploads[1], (0, None), b"part").await.unwrap();
        let spoiled = [
            records::object_key(&objects[1].bucket, &objects[1].key),
            records::id_key(SESSIONS, uploads[0]),
            // The session itself can be read.
            records::receipt_key(uploads[1], 0),
        ];
        for place in &spoiled {
            spoil(&store, place.clone()).await;
        }
        let later = NOW.plus(Duration::from_secs(3 * 86_400));
        let walked = walk(&store.engine, later, 1000).await.unwrap();
        assert_eq!((walked.objects, walked.sessions), (2, 1));
        assert!(!walked.more, "it came to its end");
        for place in &spoiled {
            assert!(store.engine.index.get(place).unwrap().is_some());
        }
        for meta in [&objects[0], &objects[2]] {
            let gone = store.object(&ObjectName::Id(meta.id), NOW).await;
            assert!(matches!(gone, Err(StoreError::NoSuchObject)), "{gone:?}");
        }
        assert!(store.upload(uploads[2]).await.is_err());
    }

    #[tokio::test]
    async fn on_a_disk_that_others_filled_objects_go_though_a_token_is_due() {
        let folder = Folder::new();
        let mut store = folder.open().await;
        set_rule(&store, "uploads").await;
        let due = post(&store, "a", b"bytes").await;
        let token = CatalogEntry::Token(brief_token("a"));
        store.insert(token).await.unwrap();
        leave_no_room(&folder, &mut store);
        let later = Duration::from_secs(3 * 86_400);
        let clock = ClockReading {
            wall: NOW.plus(later),
            monotonic: later,
        };
        let report = store.sweep(clock, 10).await.unwrap();
        assert_eq!((report.objects, report.catalog), (1, 1));
        assert!(objects::by_id(&store.engine, due.id).unwrap().is_none());
    }

    #[tokio::test]
    async fn only_rules_that_are_set_begin_the_walk_again() {
        let folder = Folder::new();
        let store = folder.open().await;
        let engine = &store.engine;
        let seen = engine.lifecycle.resume(NOW).unwrap();
        engine.lifecycle.note(&seen, None);
        let (bucket, value) = (
            Bucket::parse("uploads").unwrap(),
            SettingValue::Acl(CannedAcl::PublicRead),
        );
        let list = CatalogEntry::Setting(BucketSetting { bucket, value });
        store.insert(list).await.unwrap();
        assert_eq!(engine.lifecycle.resume(NOW), None);
        set_rule(&store, "uploads").await;
        assert!(engine.lifecycle.resume(NOW).is_some());
    }

    #[tokio::test]
    async fn rules_that_cannot_be_read_let_nothing_go_and_those_of_other_buckets_count() {
        let folder = Folder::new();
        let store = folder.open().await;
        let films = Bucket::parse("films").unwrap();
        let bucket = BucketConfig::new(films.clone(), NOW);
        store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
        set_rule(&store, "films").await;
        set_rule(&store, "uploads").await;
        let mut kept = upload("a");
        kept.bucket = films.clone();
        let kept_id = kept.id;
        let writer = store.write_object(kept).await.unwrap();
        writer.commit(Expected::default(), NOW).await.unwrap();
        let gone = post(&store, "a", b"bytes").await;
        let setting = CatalogKey::Setting(films, SettingKind::Lifecycle);
        spoil(&store, entry_key(&setting)).await;
        let later = NOW.plus(Duration::from_secs(3 * 86_400));
        let walked = walk(&store.engine, later, 1000).await.unwrap();
        assert_eq!((walked.objects, walked.more), (1, false));
        assert!(objects::by_id(&store.engine, gone.id).unwrap().is_none());
        assert!(objects::by_id(&store.engine, kept_id).unwrap().is_some());
    }
}
