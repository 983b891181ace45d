//! The clock: 24 jumps of the wall clock, at start and while the store runs, and nothing goes before its time.
//!
//! Each case is a jump, when it comes, and how long an object, an open session and a token still have to live; an object of a bucket with a
//! lifecycle rule has until the midnight after that. The sweep runs each minute. A jump of more than 24 h is not believed until the
//! clock has gone evenly for 10 minutes; a smaller one is time that passed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::path::Path;
use std::time::Duration;

use pillarbox::model::{
    Bucket, BucketConfig, BucketSetting, Expiration, HeaderSet, Id, LifecycleFilter, LifecycleRule,
    NewUpload, ObjectKey, Scopes, SettingValue, Timestamp, Token, TokenHash,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, CatalogKey, ClockReading, Expected, ObjectName, ObjectStore as _,
    StoreError,
};

#[path = "support/memory.rs"]
mod memory;

use memory::in_memory;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);
const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// To 1970: a machine whose clock has no battery.
const TO_1970: i64 = -1_795_000_000;
const JUMPS: [i64; 6] = [TO_1970, -10 * YEAR, -HOUR, HOUR, 25 * HOUR, 10 * YEAR];
/// Seconds from [`NOW`] to the next midnight.
const TO_MIDNIGHT: i64 = 46_400;
/// What all but the object with a rule have to live, in seconds.
const LIVES: [i64; 2] = [2 * HOUR, 30 * 24 * HOUR];

/// The midnight after this many seconds.
const fn midnight_after(life: i64) -> i64 {
    life / (24 * HOUR) * 24 * HOUR + TO_MIDNIGHT
}

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

fn upload(bucket: &str, which: u8) -> NewUpload {
    NewUpload {
        id: Id::new(NOW, [which; 8]),
        bucket: Bucket::parse(bucket).unwrap(),
        key: ObjectKey::parse("a.bin").unwrap(),
        pipeline: None,
        expires_at: None,
        headers: HeaderSet::default(),
        attributes: Default::default(),
        application: None,
        created_at: NOW,
        abandoned_at: at(20 * YEAR),
        form_post_url: String::new(),
        answer: Default::default(),
    }
}

async fn post(store: &EmbeddedStore, new: NewUpload) -> ObjectName {
    let name = ObjectName::Id(new.id);
    let mut writer = store.write_object(new).await.unwrap();
    writer.write("bytes".into()).await.unwrap();
    writer.commit(Expected::default(), NOW).await.unwrap();
    name
}

/// All that has its time.
struct Mortals {
    object: ObjectName,
    session: Id,
    token: CatalogKey,
    /// An object that a rule lets go.
    ruled: ObjectName,
}

impl Mortals {
    async fn make(store: &EmbeddedStore, life: i64) -> Self {
        let mut new = upload("uploads", 7);
        new.expires_at = Some(at(life));
        let object = post(store, new).await;
        let mut new = upload("uploads", 8);
        new.abandoned_at = at(life);
        let session = store.create_upload(new).await.unwrap().upload.id;
        let token = CatalogEntry::Token(Token {
            id: Id::new(NOW, [9; 8]),
            hash: TokenHash::of("token"),
            name: "token".to_owned(),
            scopes: Scopes::parse("mediahub").unwrap(),
            application: None,
            created_at: NOW,
            expires_at: Some(at(life)),
        });
        let key = token.key();
        store.insert(token).await.unwrap();
        let bucket = BucketConfig::new(Bucket::parse("ruled").unwrap(), NOW);
        store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
        let rules = CatalogEntry::Setting(rule(at(midnight_after(life))));
        store.insert(rules).await.unwrap();
        Self {
            object,
            session,
            token: key,
            ruled: post(store, upload("ruled", 10)).await,
        }
    }

    /// Which of them are there: the object, the session, the token, the object that has a rule.
    async fn are_there(&self, store: &EmbeddedStore, now: Timestamp) -> [bool; 4] {
        let session = match store.upload(self.session).await {
            Ok(_) => true,
            Err(StoreError::NoSuchUpload) => false,
            Err(error) => panic!("{error:?}"),
        };
        [
            store.object(&self.object, now).await.is_ok(),
            session,
            store.find(&self.token).await.unwrap().is_some(),
            store.object(&self.ruled, now).await.is_ok(),
        ]
    }
}

/// A rule that lets every object of its bucket go.
fn rule(date: Timestamp) -> BucketSetting {
    let rule = LifecycleRule {
        id: "all".to_owned(),
        enabled: true,
        filter: LifecycleFilter::default(),
        expiration: Some(Expiration::Date(date)),
        abort_days: None,
    };
    BucketSetting {
        bucket: Bucket::parse("ruled").unwrap(),
        value: SettingValue::Lifecycle(vec![rule].into()),
    }
}

/// Sweeps once a minute for so many minutes, from `monotonic` on; how many objects, sessions and tokens went.
async fn sweep(store: &EmbeddedStore, jump: i64, monotonic: i64, minutes: i64) -> [usize; 3] {
    let mut gone = [0; 3];
    for minute in 0..minutes {
        let passed = monotonic + minute * 60;
        let clock = ClockReading {
            wall: at(passed + jump),
            monotonic: Duration::from_secs(u64::try_from(passed).unwrap()),
        };
        let report = store.sweep(clock, 100).await.unwrap();
        let these = [report.objects, report.sessions, report.catalog];
        gone = std::array::from_fn(|kind| gone[kind] + these[kind]);
    }
    gone
}

async fn case(jump: i64, at_start: bool, life: i64) {
    let what = format!("a jump of {jump} s, at start: {at_start}, {life} s to live");
    let folder = in_memory();
    let mut store = open(folder.path(), NOW).await;
    let mortals = Mortals::make(&store, life).await;
    assert_eq!(sweep(&store, 0, 0, 2).await, [0; 3], "{what}");
    if at_start {
        store.close().await.unwrap();
        drop(store);
        store = open(folder.path(), at(120 + jump)).await;
    }
    // Nine minutes with the wrong clock, and the right one again.
    let early = sweep(&store, jump, 120, 9).await;
    assert_eq!(early, [0; 3], "{what}: swept early");
    let early = sweep(&store, 0, 660, 20).await;
    assert_eq!(early, [0; 3], "{what}: swept early afterwards");
    let there = mortals.are_there(&store, at(1860)).await;
    assert_eq!(there, [true; 4], "{what}");
    let meta = store.verify(&mortals.object, at(1860)).await.unwrap();
    assert_eq!(meta.expires_at, Some(at(life)), "{what}");
    // In its time it goes.
    let path = store.locate(&meta).unwrap();
    let there = mortals.are_there(&store, at(life)).await;
    assert_eq!(there, [false, true, true, true], "{what}");
    let swept = sweep(&store, 0, life, 20).await;
    assert_eq!(swept, [1, 1, 1], "{what}: never swept");
    let there = mortals.are_there(&store, at(life)).await;
    assert_eq!(there, [false, false, false, true], "{what}");
    let midnight = midnight_after(life);
    assert_eq!(sweep(&store, 0, midnight - 600, 9).await, [0; 3], "{what}");
    assert_eq!(sweep(&store, 0, midnight, 2).await, [1, 0, 0], "{what}");
    assert_eq!(mortals.are_there(&store, NOW).await, [false; 4], "{what}");
    store.close().await.unwrap();
    assert!(!path.exists(), "{what}");
}

#[tokio::test]
async fn in_24_cases_of_a_jumping_clock_nothing_goes_before_its_time() {
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
    let folder = in_memory();
    let store = open(folder.path(), NOW).await;
    let mortals = Mortals::make(&store, YEAR).await;
    assert_eq!(sweep(&store, 0, 0, 2).await, [0; 3]);
    assert_eq!(sweep(&store, 10 * YEAR, 120, 10).await, [0; 3]);
    assert_eq!(sweep(&store, 10 * YEAR, 720, 2).await, [2, 1, 1]);
    assert_eq!(mortals.are_there(&store, NOW).await, [false; 4]);
}
