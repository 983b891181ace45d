//! Lists of files: one sorted page, and how many there are.
//!
//! Owns: the two roads to a page. By creation, of all files or of those of one pipeline, which is what a client gets that asks for nothing else,
//! only the page is looked at (and what is skipped before it), and the total comes from a counter. Everything else looks at the record
//! of every object, once; with a million objects that takes a second or two.
//! Never does: change anything.
//!
//! Invariants: expired objects neither show nor count; at most `start + limit` places of a list are in memory, 56 bytes and a name
//! each, and at most `limit` records; at most [`FileQuery::MAX_SCANS`] lists look at every record at a time, the others wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::records::{self, CREATED, EXPIRY, Listed, OBJECT_IDS, OBJECTS};
use super::{Engine, by_pipeline, damage, objects};
use crate::model::{Id, Timestamp};
use crate::store::{FilePage, FileQuery, SortKey, StoreError};

/// One sorted page of live files.
pub(super) async fn list(
    engine: &Arc<Engine>,
    query: FileQuery,
    now: Timestamp,
) -> Result<FilePage, StoreError> {
    let query = FileQuery {
        start: query.start.min(FileQuery::MAX_START),
        limit: query.limit.min(FileQuery::MAX_LIMIT),
        ..query
    };
    let permit = match looks_at_all(engine, &query) {
        true => Arc::clone(&engine.scans).acquire_owned().await.ok(),
        false => None,
    };
    engine
        .blocking(move |engine| {
            // Given back when the list is made, and not when whoever asked for it has left.
            let _permit = permit;
            page(engine, &query, now)
        })
        .await
}

/// Whether every record has to be looked at for this page.
pub(super) fn looks_at_all(engine: &Engine, query: &FileQuery) -> bool {
    in_order(engine, query).is_none()
}

/// What is listed in the order of its creation, so that only the page is looked at.
#[derive(Clone, Copy)]
enum Among {
    All,
    Pipeline(Id),
}

impl Among {
    /// What their entries begin with.
    fn prefix(self) -> Vec<u8> {
        match self {
            Self::All => vec![CREATED],
            Self::Pipeline(id) => by_pipeline::prefix(id),
        }
    }

    /// Where their number is kept.
    fn count_key(self) -> Vec<u8> {
        match self {
            Self::All => records::count_key(),
            Self::Pipeline(id) => by_pipeline::count_key(id),
        }
    }
}

/// `None` for what every record has to be looked at.
fn in_order(engine: &Engine, query: &FileQuery) -> Option<Among> {
    if !query.jobs.is_empty() || query.sort != SortKey::CreatedAt {
        return None;
    }
    match query.pipelines.as_slice() {
        [] => Some(Among::All),
        // More than one pipeline would have to be merged; who asks for several waits.
        [id, rest @ ..] if engine.lists_pipelines && rest.iter().all(|other| other == id) => {
            Some(Among::Pipeline(*id))
        }
        _ => None,
    }
}

fn page(engine: &Engine, query: &FileQuery, now: Timestamp) -> Result<FilePage, StoreError> {
    let (ids, total) = match in_order(engine, query) {
        Some(among) => (
            by_creation(engine, among, query, now)?,
            live(engine, among, now)?,
        ),
        None if query.descending => {
            let (last, total) = first_places(engine, query, now, Reverse)?;
            (
                last.into_iter().map(|Reverse(place)| place.id).collect(),
                total,
            )
        }
        None => {
            let (first, total) = first_places(engine, query, now, |place| place)?;
            (first.into_iter().map(|place| place.id).collect(), total)
        }
    };
    let mut files = Vec::with_capacity(ids.len());
    for id in ids {
        // What was removed or has changed meanwhile is left out.
        files.extend(objects::by_id(engine, id)?.filter(|meta| meta.is_live(now)));
    }
    Ok(FilePage { files, total })
}

/// The ids of a page in the order of creation, or against it.
fn by_creation(
    engine: &Engine,
    among: Among,
    query: &FileQuery,
    now: Timestamp,
) -> Result<Vec<Id>, StoreError> {
    let prefix = among.prefix();
    let (mut ids, mut skip) = (Vec::new(), query.start);
    let each = |key: &[u8], end: &[u8]| {
        if ids.len() >= query.limit {
            return Ok(ControlFlow::Break(()));
        }
        match records::has_expired(end, now) {
            true => {}
            false if skip > 0 => skip -= 1,
            false => ids.extend(records::trailing_id(key)),
        }
        Ok(ControlFlow::Continue(()))
    };
    match (query.descending, query.behind) {
        (false, None) => engine.index.scan(&prefix, each)?,
        (false, Some((at, id))) => {
            let place = records::sortable(at);
            let from = [prefix.as_slice(), &place, id.as_bytes(), &[0]].concat();
            engine.index.scan_from(&from, &prefix, each)?;
        }
        (true, _) => engine.index.scan_back(&prefix, each)?,
    }
    Ok(ids)
}

/// How many of them are live: all, but for those that wait for the sweep.
fn live(engine: &Engine, among: Among, now: Timestamp) -> Result<usize, StoreError> {
    let objects = engine.index.get(&among.count_key())?;
    let mut left = records::parse_count(objects.as_deref());
    engine.index.scan(&[EXPIRY], |key, _| {
        if records::parse_due(key).is_none_or(|(at, _)| at > now) {
            return Ok(ControlFlow::Break(()));
        }
        if is_among(engine, among, key)? {
            left = left.saturating_sub(1);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Whether the object of a key that ends with its id is one of them.
fn is_among(engine: &Engine, among: Among, key: &[u8]) -> Result<bool, StoreError> {
    let (Among::Pipeline(pipeline), Some(id)) = (among, records::trailing_id(key)) else {
        return Ok(true);
    };
    let name = engine.index.get(&records::id_key(OBJECT_IDS, id))?;
    let record = match name {
        Some(name) => engine.index.get(&records::key(OBJECTS, &[&name]))?,
        None => None,
    };
    // What was removed meanwhile is not counted any more either.
    let Some(record) = record else {
        return Ok(false);
    };
    match records::decode_listed(&record) {
        Err(error) if damage::is_of_one_record(&error) => Ok(false),
        listed => Ok(listed?.pipeline.is_some_and(|of| of.id == pipeline)),
    }
}

/// Where an object stands in a list: the smaller, the earlier.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    number: u64,
    text: String,
    id: Id,
}

/// Looks at every object. The places of the page, sorted as `turn` turns them, and how many match in all.
fn first_places<T: Ord>(
    engine: &Engine,
    query: &FileQuery,
    now: Timestamp,
    turn: impl Fn(Place) -> T,
) -> Result<(Vec<T>, usize), StoreError> {
    let most = query.start + query.limit;
    let (mut first, mut total) = (BinaryHeap::new(), 0);
    engine.index.scan(&[OBJECTS], |_, record| {
        let listed = records::decode_listed(record)?;
        if is_live(&listed, now) && matches(query, &listed) {
            total += 1;
            first.push(turn(place(query.sort, &listed)));
            if first.len() > most {
                first.pop();
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut page = first.into_sorted_vec();
    page.drain(..query.start.min(page.len()));
    Ok((page, total))
}

fn is_live(listed: &Listed, now: Timestamp) -> bool {
    listed.expires_at.is_none_or(|end| now < end)
}

fn matches(query: &FileQuery, listed: &Listed) -> bool {
    let pipeline = listed.pipeline.as_ref().map(|pipeline| pipeline.id);
    let in_pipelines =
        query.pipelines.is_empty() || pipeline.is_some_and(|id| query.pipelines.contains(&id));
    let job = listed.job.as_ref();
    let in_jobs = query.jobs.is_empty() || job.is_some_and(|job| query.jobs.contains(job));
    in_pipelines && in_jobs
}

fn place(sort: SortKey, listed: &Listed) -> Place {
    // Sorts like the time, also before 1970.
    let time = |at: Timestamp| at.millis().cast_unsigned() ^ (1 << 63);
    let number = match sort {
        SortKey::CreatedAt => time(listed.created_at),
        SortKey::UpdatedAt => time(listed.updated_at),
        SortKey::FinishedAt => time(listed.finished_at),
        SortKey::ExpiresAt => listed.expires_at.map_or(u64::MAX, time),
        SortKey::Size => listed.size,
        SortKey::Name | SortKey::Id => 0,
    };
    let text = match sort {
        SortKey::Name => listed.key.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let id = listed.id;
    Place { number, text, id }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ObjectKey, ObjectMeta, PipelineRef};
    use crate::store::embedded::EmbeddedStore;
    use crate::store::embedded::tests::{Folder, NOW, post_new, upload};
    use crate::store::{ClockReading, ObjectChange, ObjectName, ObjectStore as _};

    /// An object that was begun `age` seconds before now and expires `life` seconds after it, if ever.
    async fn post(store: &EmbeddedStore, key: &str, age: i64, life: Option<u64>) -> ObjectMeta {
        let mut new = upload(key);
        new.created_at = Timestamp::from_seconds(NOW.seconds() - age);
        new.expires_at = life.map(|life| NOW.plus(Duration::from_secs(life)));
        let letter = key.as_bytes()[0];
        // Every key but one that begins with "y" belongs to the pipeline of its first letter.
        new.pipeline = (letter != b'y').then(|| PipelineRef {
            id: pipeline(letter),
            object_key: ObjectKey::parse(key).unwrap(),
        });
        post_new(store, new, b"bytes").await
    }

    fn pipeline(letter: u8) -> Id {
        Id::new(NOW, [letter; 8])
    }

    async fn keys(
        store: &EmbeddedStore,
        query: &FileQuery,
        now: Timestamp,
    ) -> (Vec<String>, usize) {
        let page = store.list_files(query, now).await.unwrap();
        let keys = page.files.iter().map(|meta| meta.key.as_str().to_owned());
        (keys.collect(), page.total)
    }

    /// The same by the road that looks at every record.
    fn thoroughly(store: &EmbeddedStore, query: &FileQuery, now: Timestamp) -> (Vec<Id>, usize) {
        let (first, total) = first_places(&store.engine, query, now, |place| place).unwrap();
        (first.into_iter().map(|place| place.id).collect(), total)
    }

    async fn assert_both_roads_agree(store: &EmbeddedStore, now: Timestamp) {
        let of = |letters: &[u8]| letters.iter().map(|letter| pipeline(*letter)).collect();
        let filters: [Vec<Id>; 7] = [b"".as_slice(), b"o", b"m", b"1", b"oo", b"mo", b"z"].map(of);
        for (pipelines, (start, limit)) in filters.iter().flat_map(|filter| {
            [(0, 100), (0, 2), (1, 2), (50, 10)].map(|place| (filter.clone(), place))
        }) {
            let query = FileQuery {
                pipelines,
                start,
                limit,
                ..FileQuery::default()
            };
            let page = store.list_files(&query, now).await.unwrap();
            let ids: Vec<Id> = page.files.iter().map(|meta| meta.id).collect();
            assert_eq!(
                (ids, page.total),
                thoroughly(store, &query, now),
                "{query:?}"
            );
        }
    }

    fn first(limit: usize) -> FileQuery {
        FileQuery {
            limit,
            ..FileQuery::default()
        }
    }

    #[tokio::test]
    async fn the_counter_and_the_order_follow_every_change() {
        let folder = Folder::new();
        let store = folder.open().await;
        assert_eq!(keys(&store, &first(10), NOW).await, (vec![], 0));
        post(&store, "young", 1, Some(10)).await;
        let middle = post(&store, "middle", 50, Some(20)).await;
        post(&store, "old", 99, None).await;
        let shown = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let all = shown(&["old", "middle", "young"]);
        assert_eq!(keys(&store, &first(10), NOW).await, (all, 3));
        let replaced = post(&store, "old", 0, None).await;
        let newest = FileQuery {
            descending: true,
            ..first(2)
        };
        assert_eq!(
            keys(&store, &newest, NOW).await,
            (shown(&["old", "young"]), 3)
        );
        let later = ObjectChange::ExpiresAt(Some(NOW.plus(Duration::from_secs(500))));
        let name = ObjectName::Id(middle.id);
        store.change_object(&name, later, NOW).await.unwrap();
        let soon = NOW.plus(Duration::from_secs(10));
        assert_eq!(
            keys(&store, &first(10), soon).await,
            (shown(&["middle", "old"]), 2)
        );
        assert_both_roads_agree(&store, soon).await;
        let clock = ClockReading {
            wall: soon,
            monotonic: Duration::ZERO,
        };
        assert_eq!(store.sweep(clock, 100).await.unwrap().objects, 1);
        assert_both_roads_agree(&store, soon).await;
        let name = ObjectName::Id(replaced.id);
        store.delete_object(&name, soon).await.unwrap();
        assert_eq!(
            keys(&store, &first(10), soon).await,
            (shown(&["middle"]), 1)
        );
        assert_both_roads_agree(&store, NOW).await;
    }

    #[tokio::test]
    async fn who_would_look_at_every_record_waits_for_those_who_do() {
        let folder = Folder::new();
        let store = folder.open().await;
        post(&store, "object", 0, None).await;
        let by_size = FileQuery {
            sort: SortKey::Size,
            ..first(1)
        };
        let all = u32::try_from(FileQuery::MAX_SCANS).unwrap();
        let others = store.engine.scans.acquire_many(all).await.unwrap();
        let mut list = std::pin::pin!(keys(&store, &by_size, NOW));
        assert!(futures_util::poll!(&mut list).is_pending());
        let by_creation = keys(&store, &first(1), NOW).await;
        let of_a_pipeline = FileQuery {
            pipelines: vec![pipeline(b'o')],
            ..first(1)
        };
        // Who looks at a page only waits for nobody.
        assert_eq!(by_creation.1, 1);
        assert_eq!(keys(&store, &of_a_pipeline, NOW).await, by_creation);
        assert!(futures_util::poll!(&mut list).is_pending());
        drop(others);
        assert_eq!(list.await, by_creation);
        assert_eq!(store.engine.scans.available_permits(), FileQuery::MAX_SCANS);
    }

    #[tokio::test]
    async fn a_rebuilt_index_counts_anew() {
        let folder = Folder::new();
        let store = folder.open().await;
        for number in 0..20 {
            post(&store, &number.to_string(), number % 7, Some(100)).await;
        }
        store.close().await.unwrap();
        drop(store);
        let store = EmbeddedStore::reindex(folder.options(), NOW).await.unwrap();
        assert_eq!(store.list_files(&first(1), NOW).await.unwrap().total, 20);
        assert_both_roads_agree(&store, NOW).await;
    }
}
