//! The committer under shuttle: every order in which jobs are sent, grouped, synced and answered.
//!
//! Owns: what must hold in each: an answer comes after the sync, a job is whole, nothing succeeds after a failed sync, and a job
//! that was sent is done even when nobody waits for it.
//! Invariant: the first of them can fail; the last test plants the mistake and wants it found.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::process::Command;
use std::sync::Arc;

use shuttle::future::{block_on, spawn};

use super::*;
use crate::store::embedded::tests::Folder;

const SCHEDULES: usize = 1000;
const DEPTH: usize = 3;
const CALLERS: u8 = 3;

fn every_schedule(test: impl Fn() + Clone + Send + Sync + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES / 2);
    shuttle::check_pct(test, SCHEDULES / 2, DEPTH);
}

fn index(folder: &Folder, file: &str) -> Index {
    std::fs::create_dir_all(&folder.0).unwrap();
    let db = open_in_time(&folder.0).unwrap();
    Index::start(
        db,
        File::open(folder.0.join(file)).unwrap(),
        Fuse::default(),
        (Box::new(|| None), Box::new(|_| true)),
    )
    .unwrap()
}

/// Counts up under a key that all share, and writes down under its own what it counted.
fn count(own: u8) -> impl FnOnce(&mut Txn<'_>) -> Result<u8, StoreError> + Send + 'static {
    move |txn| {
        let next = txn.get(b"all")?.map_or(1, |n| n[0] + 1);
        txn.put(b"all".to_vec(), vec![next])?;
        sync::point();
        txn.put(vec![own], vec![next])?;
        Ok(next)
    }
}

#[test]
fn a_job_is_answered_after_the_sync_that_follows_it() {
    every_schedule(|| {
        let folder = Folder::new();
        let index = Arc::new(index(&folder, "db"));
        let callers = (0..CALLERS).map(|own| {
            let index = Arc::clone(&index);
            spawn(async move {
                let counted = match own {
                    0 => index.commit_lazily(count(own)).await.unwrap(),
                    _ => index.commit(count(own)).await.unwrap(),
                };
                let durable = index.db.flushed(&[own]);
                assert!(
                    own == 0 || durable == Some(vec![counted]),
                    "answered before the sync"
                );
                counted
            })
        });
        let callers: Vec<_> = callers.collect();
        let counted = callers.into_iter().map(|caller| block_on(caller).unwrap());
        let mut counted: Vec<u8> = counted.collect();
        counted.sort_unstable();
        assert_eq!(counted, [1, 2, 3]);
    });
}

#[test]
fn nothing_succeeds_after_a_failed_sync() {
    every_schedule(|| {
        let folder = Folder::new();
        let index = Arc::new(index(&folder, "/dev/null"));
        let callers = (0..CALLERS).map(|own| {
            let index = Arc::clone(&index);
            spawn(async move { index.commit(count(own)).await })
        });
        for caller in callers.collect::<Vec<_>>() {
            assert!(matches!(
                block_on(caller).unwrap(),
                Err(StoreError::ReadOnly)
            ));
        }
        let later = block_on(index.commit_lazily(count(9)));
        assert!(matches!(later, Err(StoreError::ReadOnly)));
    });
}

#[test]
fn a_job_that_was_sent_is_done_though_nobody_waits() {
    every_schedule(|| {
        let folder = Folder::new();
        let index = index(&folder, "db");
        let db = index.db.clone();
        block_on(async {
            let mut gone = Box::pin(index.commit(count(1)));
            assert!(futures_util::poll!(&mut gone).is_pending());
            drop(gone);
            index.commit(count(2)).await.unwrap();
        });
        drop(index);
        assert_eq!(db.flushed(b"all"), Some(vec![2]));
    });
}

#[test]
fn an_answer_before_the_sync_is_found_out() {
    let name =
        "store::embedded::index::schedules::a_job_is_answered_after_the_sync_that_follows_it";
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", name])
        .env("FAULTS_PLANT", "AnswerBeforeSync");
    let output = run.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("answered before the sync"), "{told}");
}
