//! Leases and claims under shuttle: every order in which writers of one upload come and go.
//!
//! Owns: that a place has one writer at a time, that nobody writes behind a chunk that has the whole file, and that nothing is
//! written in place after the seal.
//! Invariant: the first of them can fail; the last test plants the mistake and wants it found.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use shuttle::thread;

use super::*;
use crate::model::{SaidSizes, Timestamp, UploadSession, UploadState};
use crate::store::embedded::sync::point;
use crate::store::embedded::tests::upload;

const SCHEDULES: usize = 2000;
const DEPTH: usize = 3;

fn every_schedule(test: impl Fn() + Clone + Send + Sync + 'static) {
    shuttle::check_random(test.clone(), SCHEDULES / 2);
    shuttle::check_pct(test, SCHEDULES / 2, DEPTH);
}

fn id() -> Id {
    Id::new(Timestamp::from_seconds(1), [7; 8])
}

#[test]
fn a_place_has_one_writer_at_a_time() {
    every_schedule(|| {
        let (leases, writers) = (Arc::new(Leases::default()), Arc::new(AtomicU32::new(0)));
        let threads = (0..3).map(|_| {
            let (leases, writers) = (Arc::clone(&leases), Arc::clone(&writers));
            thread::spawn(move || {
                for _ in 0..2 {
                    // Taken anew each time: the lease may just be on its way out with another's last hold on it.
                    let claim = leases.take(id()).claim(1);
                    if claim.is_some() {
                        assert_eq!(writers.fetch_add(1, SeqCst), 0, "two writers in one place");
                        point();
                        writers.fetch_sub(1, SeqCst);
                    }
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        assert!(lock(&leases.0).is_empty(), "a lease outlived its holders");
    });
}

#[test]
fn nobody_writes_behind_a_chunk_that_has_the_whole_file() {
    every_schedule(|| {
        let lease = Leases::default().take(id());
        let first = Arc::clone(&lease);
        let whole = thread::spawn(move || first.claim(0).is_some_and(|claim| claim.take_all()));
        let second = lease.claim(1);
        lease.learn(&with_stride(10), None);
        let behind = second.and_then(|claim| claim.offset());
        assert!(!(whole.join().unwrap() && behind.is_some()));
    });
}

#[test]
fn nothing_is_written_in_place_after_the_seal() {
    every_schedule(|| {
        let lease = Leases::default().take(id());
        let cut = Arc::new(AtomicU32::new(0));
        let (own, seen) = (Arc::clone(&lease), Arc::clone(&cut));
        let writer = thread::spawn(move || {
            let sealed = own.sealed.read().unwrap();
            if !*sealed {
                point();
                assert_eq!(seen.load(SeqCst), 0, "written after the file was cut");
            }
        });
        lease.seal();
        cut.store(1, SeqCst);
        writer.join().unwrap();
    });
}

#[test]
fn two_writers_in_one_place_are_found_out() {
    let name = "store::embedded::lease::schedules::a_place_has_one_writer_at_a_time";
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", name])
        .env("FAULTS_PLANT", "SharedClaim");
    let output = run.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("two writers in one place"), "{told}");
}

fn with_stride(stride: u64) -> SessionRecord {
    SessionRecord {
        session: UploadSession {
            upload: upload("a"),
            state: UploadState::Uploading,
            nb_chunks: None,
            received_chunks: 0,
            received_bytes: 0,
            sizes: SaidSizes::default(),
            parts: None,
        },
        stride: Some(stride),
        last_index: None,
        next_spill: 0,
        assembled: None,
        condition: None,
        full: None,
        tags_apart: 0,
    }
}
