//! Completions under shuttle: every order in which clients wait, leave and ask again, others are given the key, and somebody aborts.
//!
//! Owns: that what nobody waits for takes no newer object's key, that who is told that he has an object was not overtaken, and that of a
//! completion and an abort one wins, whole, and nothing is left of the other; nor does a chunk that begins meanwhile get the place of one that was
//! acknowledged.
//! Every copy waits for others here; some have all places to themselves for a while.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::RngCore as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

use super::tests::{Last, holder_of_key};
use super::*;
use crate::model::Place;
use crate::store::embedded::disk::FileName;
use crate::store::embedded::lane::Target;
use crate::store::embedded::tests::{
    Folder, NOW, acknowledge_only, begin, full, full_and_misplaced, post, read, upload,
};
use crate::store::embedded::{EmbeddedStore, ledger, placing};
use crate::store::{ChunkSpec, ObjectStore as _};

/// To open a store takes longer than a scene.
const STORES: usize = 20;
const SCENES: usize = 20;
const DEPTH: usize = 40;
/// Bytes of stack for each task.
const STACK: usize = 1 << 20;
/// How often a client that leaves looks for its answer at most.
const MAX_LOOKS: usize = 60;

/// Plays a scene in many schedules; it says which upload has no file afterwards, if one has none.
fn every_schedule<F>(scene: impl Fn(EmbeddedStore) -> F + Clone + Send + Sync + 'static)
where
    F: Future<Output = Option<Id>> + Send,
{
    let run = move || {
        block_on(async {
            let folder = Folder::new();
            let store = folder.open().await;
            let mut gone = Vec::new();
            for _ in 0..SCENES {
                gone.extend(scene(store.clone()).await);
                assert_eq!(store.engine.folds.available_permits(), MAX_FOLDS);
                assert_eq!(*store.engine.copying.lock().unwrap(), 0);
            }
            store.close().await.unwrap();
            for id in gone {
                let main = store.engine.disk.path(FileName::Main(id));
                let files = std::fs::read_dir(main.parent().unwrap()).unwrap();
                let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
                let left: Vec<_> = names
                    .filter(|name| name.starts_with(&id.to_string()))
                    .collect();
                assert!(left.is_empty(), "{left:?} belong to nothing");
            }
        });
    };
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    let random = RandomScheduler::new(STORES / 2);
    shuttle::Runner::new(random, config.clone()).run(run.clone());
    shuttle::Runner::new(PctScheduler::new(DEPTH, STORES / 2), config).run(run);
}

fn below(limit: usize) -> usize {
    shuttle::rand::thread_rng().next_u64() as usize % limit
}

/// A client that looks for its answer so many times, and leaves without it.
fn leaving<R: Send + 'static>(
    looks: usize,
    work: impl Future<Output = R> + Send + 'static,
) -> JoinHandle<Option<R>> {
    spawn(async move {
        let mut work = Box::pin(work);
        for _ in 0..looks {
            if let std::task::Poll::Ready(told) = futures_util::poll!(&mut work) {
                return Some(told);
            }
            yield_now().await;
        }
        None
    })
}

/// Until nobody works on it any more.
async fn is_over(store: &EmbeddedStore, id: Id) {
    while store.engine.leases.is_taken(id) {
        yield_now().await;
    }
}

#[test]
fn what_nobody_waits_for_takes_no_newer_objects_key() {
    every_schedule(|store| async move {
        let last = Last::ALL[below(3)];
        let id = last.prepare(&store).await;
        let client = leaving(below(MAX_LOOKS), last.send(store.clone(), id));
        let late = spawn(complete(Arc::clone(&store.engine), id, NOW));
        client.await.unwrap();
        // Else it was told to end after that.
        let is_full = store.upload(id).await.unwrap().state != UploadState::Uploading;
        let newer = post(&store, "key", b"newer").await.id;
        late.await.unwrap().unwrap();
        is_over(&store, id).await;
        // As the next sweep: the client may have left before that was begun.
        let engine = Arc::clone(&store.engine);
        complete(engine, id, NOW).await.unwrap();
        if is_full {
            assert_eq!(holder_of_key(&store).await, newer);
        }
        is_full.then_some(id)
    });
}

#[test]
fn who_is_told_that_he_has_an_object_was_not_overtaken() {
    every_schedule(|store| async move {
        let last = [Last::Finish, Last::Parts][below(2)];
        let id = last.prepare(&store).await;
        let client = leaving(below(MAX_LOOKS), last.send(store.clone(), id));
        client.await.unwrap();
        let newer = post(&store, "key", b"newer").await.id;
        let again = last.send(store.clone(), id);
        let late = spawn(complete(Arc::clone(&store.engine), id, NOW));
        let told = spawn(again).await.unwrap();
        late.await.unwrap().unwrap();
        is_over(&store, id).await;
        let holder = holder_of_key(&store).await;
        let full = store.engine.session(id).unwrap().full;
        match told {
            // Whole before, and replaced since: that is told of it again.
            Ok(_) if matches!(last, Last::Finish) && holder == newer => {
                assert!(full.is_none_or(|full| !full.gave_way));
            }
            Ok(_) => assert_eq!(holder, id),
            // Or it was whole, and was replaced.
            Err(StoreError::GaveWay | StoreError::NoSuchUpload) => assert_eq!(holder, newer),
            Err(error) => panic!("{error:?}"),
        }
        (holder == newer).then_some(id)
    });
}

#[test]
fn who_leaves_before_his_object_has_its_name_takes_no_newer_objects_key() {
    every_schedule(|store| async move {
        let last = Last::ALL[below(3)];
        let id = last.prepare(&store).await;
        let engine = Arc::clone(&store.engine);
        let lease = engine.leases.take(id);
        let turn = lease.turn.lock().await;
        let may_leave = Arc::new(AtomicBool::new(false));
        let (own, looks, leaves) = (store.clone(), 1 + below(MAX_LOOKS), Arc::clone(&may_leave));
        // What he was told; or how far it was when he had left.
        let client = spawn(async move {
            let (engine, mut looks) = (Arc::clone(&own.engine), looks);
            let mut work = Box::pin(last.send(own, id));
            while looks > 0 {
                if let std::task::Poll::Ready(told) = futures_util::poll!(&mut work) {
                    return Ok(told.unwrap());
                }
                looks -= usize::from(leaves.load(SeqCst));
                yield_now().await;
            }
            drop(work);
            // As a job: another one that has run may not be seen yet from outside.
            let look = move |txn: &mut Txn<'_>| ledger::session(txn, id);
            Err(engine.index.commit(look).await.unwrap().session.state)
        });
        while engine.session(id).unwrap().session.state != UploadState::Completing {
            yield_now().await;
        }
        let newer = post(&store, "key", b"newer").await.id;
        may_leave.store(true, SeqCst);
        drop(turn);
        drop(lease);
        let told = client.await.unwrap();
        is_over(&store, id).await;
        complete(engine, id, NOW).await.unwrap();
        let holder = holder_of_key(&store).await;
        match told {
            Ok(is_whole) => assert!(is_whole && holder == id),
            Err(UploadState::Completing) => assert_eq!(holder, newer),
            // It had its name before he left, and then he waited.
            Err(_) => {}
        }
        (holder == newer).then_some(id)
    });
}

#[test]
fn a_chunk_that_begins_during_an_abort_gets_no_place_of_one_that_was_acknowledged() {
    every_schedule(|store| async move {
        let id = begin(&store).await;
        acknowledge_only(&store, id, (0, Some(3)), Some(Place::Main(0)), b"first").await;
        let (engine, own) = (Arc::clone(&store.engine), store.clone());
        let begins = spawn(async move {
            let lease = engine.leases.take(id);
            let target = placing::choose(&engine, &lease, ChunkSpec::new(0, Some(3)));
            // A crash may bring back what the index gives up now.
            assert!(!matches!(target, Ok(Target::Main(..))), "{target:?}");
        });
        let aborts = spawn(async move { own.abort_upload(id).await });
        begins.await.unwrap();
        aborts.await.unwrap().unwrap();
        Some(id)
    });
}

#[test]
fn of_a_completion_and_an_abort_one_wins_whole() {
    every_schedule(|store| async move {
        let (id, nb_chunks, whole) = match below(2) {
            0 => (full(&store, upload("key")).await, 2, "first second"),
            _ => (full_and_misplaced(&store).await, 4, "1st secondthird last"),
        };
        let (owner, own) = (Arc::clone(&store.engine), store.clone());
        let others = spawn(async move {
            let all = owner.folds.acquire_many(MAX_FOLDS as u32).await.unwrap();
            for _ in 0..below(MAX_LOOKS) {
                yield_now().await;
            }
            drop(all);
        });
        let finish = async move { own.finish_upload(id, nb_chunks, NOW).await };
        let looks = [below(MAX_LOOKS), usize::MAX][below(2)];
        let client = leaving(looks, finish);
        let late = spawn(complete(Arc::clone(&store.engine), id, NOW));
        let aborts = [(); 2].map(|()| {
            let store = store.clone();
            spawn(async move {
                for _ in 0..below(MAX_LOOKS) {
                    yield_now().await;
                }
                // Of no time at all: it has the session removed before it has its turn.
                let wait = [Duration::ZERO, Duration::MAX][below(2)];
                abort::abort_within(&store.engine, id, wait).await
            })
        });
        let told = client.await.unwrap();
        late.await.unwrap().unwrap();
        let mut aborted = 0;
        for abort in aborts {
            match abort.await.unwrap() {
                Ok(()) => aborted += 1,
                Err(StoreError::Finished | StoreError::NoSuchUpload) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        others.await.unwrap();
        is_over(&store, id).await;
        let told = told.map(|told| told.map(|session| session.state));
        match aborted {
            0 => {
                assert!(
                    matches!(told, None | Some(Ok(UploadState::Completed))),
                    "{told:?}"
                );
                assert_eq!(read(&store, id).await.unwrap(), whole);
                None
            }
            1 => {
                assert!(
                    matches!(told, None | Some(Err(StoreError::NoSuchUpload))),
                    "{told:?}"
                );
                assert!(store.upload(id).await.is_err() && read(&store, id).await.is_err());
                Some(id)
            }
            more => panic!("{more} aborts of one upload"),
        }
    });
}
