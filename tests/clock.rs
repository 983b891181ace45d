//! The clock: 24 jumps of the wall clock, at start and while the store runs, and no object goes before its time.
//!
//! Each case is a jump, when it comes, and how long the object still has to live. The sweep runs each minute. A jump of more
//! than 24 h is not believed until the clock has gone evenly for 10 minutes; a smaller one is time that passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::path::Path;
use std::time::Duration;

use pillarbox::model::{Bucket, BucketConfig, HeaderSet, Id, NewUpload, ObjectKey, Timestamp};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, ClockReading, Expected, ObjectName, ObjectStore as _,
};

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// To 1970: a machine whose clock has no battery.
const TO_1970: i64 = -1_795_000_000;
const JUMPS: [i64; 6] = [TO_1970, -10 * YEAR, -HOUR, HOUR, 25 * HOUR, 10 * YEAR];
/// What the object has to live, in seconds.
const LIVES: [i64; 2] = [2 * HOUR, 30 * 24 * HOUR];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.seconds() + seconds)
}

async fn open(data: &Path, now: Timestamp) -> EmbeddedStore {
    let options = Options {
        free_floor_bytes: 0,
        ballast_bytes: 0,
        ..Options::new(data)
    };
    let store = EmbeddedStore::open(options, now).await.unwrap();
    let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), NOW);
    store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
    store
}

async fn post(store: &EmbeddedStore, expires_at: Timestamp) -> ObjectName {
    let id = Id::new(NOW, [7; 8]);
    let new = NewUpload {
        id,
        bucket: Bucket::parse("uploads").unwrap(),
        key: ObjectKey::parse("a.bin").unwrap(),
        pipeline: None,
        expires_at: Some(expires_at),
        headers: HeaderSet::default(),
        attributes: Default::default(),
        application: None,
        created_at: NOW,
        abandoned_at: expires_at,
        form_post_url: String::new(),
        answer: Default::default(),
    };
    let mut writer = store.write_object(new).await.unwrap();
    writer.write("bytes".into()).await.unwrap();
    writer.commit(Expected::default(), NOW).await.unwrap();
    ObjectName::Id(id)
}

/// Sweeps once a minute for so many minutes, from `monotonic` on; how many objects went.
async fn sweep(store: &EmbeddedStore, jump: i64, monotonic: i64, minutes: i64) -> usize {
    let mut gone = 0;
    for minute in 0..minutes {
        let passed = monotonic + minute * 60;
        let clock = ClockReading {
            wall: at(passed + jump),
            monotonic: Duration::from_secs(u64::try_from(passed).unwrap()),
        };
        gone += store.sweep(clock, 100).await.unwrap().objects;
    }
    gone
}

async fn case(jump: i64, at_start: bool, life: i64) {
    let what = format!("a jump of {jump} s, at start: {at_start}, {life} s to live");
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path(), NOW).await;
    let name = post(&store, at(life)).await;
    assert_eq!(sweep(&store, 0, 0, 2).await, 0, "{what}");
    if at_start {
        store.close().await.unwrap();
        drop(store);
        store = open(folder.path(), at(120 + jump)).await;
    }
    // Nine minutes with the wrong clock, and the right one again.
    assert_eq!(sweep(&store, jump, 120, 9).await, 0, "{what}: swept early");
    assert_eq!(
        sweep(&store, 0, 660, 20).await,
        0,
        "{what}: swept early afterwards"
    );
    assert!(store.object(&name, at(1860)).await.is_ok(), "{what}");
    let meta = store.verify(&name, at(1860)).await.unwrap();
    assert_eq!(meta.expires_at, Some(at(life)), "{what}");
    // In its time it goes.
    let path = store.locate(&meta).unwrap();
    assert!(store.object(&name, at(life)).await.is_err(), "{what}");
    assert_eq!(sweep(&store, 0, life, 20).await, 1, "{what}: never swept");
    store.close().await.unwrap();
    assert!(!path.exists(), "{what}");
}

#[tokio::test]
async fn in_24_cases_of_a_jumping_clock_no_object_goes_before_its_time() {
    let mut cases = 0;
    for jump in JUMPS {
        for at_start in [false, true] {
            for life in LIVES {
                case(jump, at_start, life).await;
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 24);
}

#[tokio::test]
async fn a_clock_that_was_wrong_for_good_is_believed_after_ten_even_minutes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), NOW).await;
    post(&store, at(YEAR)).await;
    assert_eq!(sweep(&store, 0, 0, 2).await, 0);
    assert_eq!(sweep(&store, 10 * YEAR, 120, 10).await, 0);
    assert_eq!(sweep(&store, 10 * YEAR, 720, 2).await, 1);
}
