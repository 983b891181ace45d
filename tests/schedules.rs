//! The engine under shuttle: its own code, with every turn chosen by a scheduler, and every history explained by the reference.
//!
//! Owns: one schedule: three callers with up to three operations each on one scene, on the real disk code (in memory where there
//! is such a file system) and an index in memory; then a look around, and no file that belongs to nothing.
//! By hand: `SCHEDULES=100000 SCHEDULES_SEED=7 cargo test --features schedules --test schedules`. A schedule that fails is
//! printed, and the seed with it.
//! Never does: crash; `model`, `every_point` and the power cuts do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]
#![allow(missing_docs, reason = "the names of the tests are the documentation")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pillarbox::model::{Bucket, BucketConfig};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{Catalog as _, CatalogEntry, ObjectStore as _};
use shuttle::future::{block_on, spawn};
use shuttle::rand::RngCore as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler};

#[path = "support/memory.rs"]
mod memory;
mod reference;

use memory::in_memory;
use reference::Model;
use reference::contend::{self, Scene};
use reference::linear::Call;
use reference::random::Dice;

/// Schedules, unless the environment says otherwise.
const DEFAULT_SCHEDULES: usize = 1000;
const CALLERS: usize = 3;
/// Schedules that are tried on one store, one after the other: to open one takes longer than a schedule.
const SCENES: u64 = 20;
/// Bytes of stack for each task.
const STACK: usize = 1 << 20;
/// How many turns on one store are taken against the order of priority (PCT).
const DEPTH: usize = 40;

static OPERATIONS: AtomicU64 = AtomicU64::new(0);

#[test]
fn every_schedule_can_be_explained() {
    let schedules = number("SCHEDULES").map_or(DEFAULT_SCHEDULES, |n| usize::try_from(n).unwrap());
    let seed = number("SCHEDULES_SEED").unwrap_or(1);
    let folder = in_memory();
    let data = folder.path().to_owned();
    let began = Instant::now();
    let stores = schedules.div_ceil(usize::try_from(SCENES).unwrap());
    let half = stores / 2;
    let mut config = shuttle::Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    let run = {
        let data = data.clone();
        move || one(&data)
    };
    shuttle::Runner::new(RandomScheduler::new_from_seed(seed, half), config.clone()).run(run);
    let scheduler = PctScheduler::new_from_seed(seed, DEPTH, stores - half);
    shuttle::Runner::new(scheduler, config).run(move || one(&data));
    let operations = OPERATIONS.load(Ordering::SeqCst);
    println!(
        "{schedules} schedules, {operations} operations, seed {seed}, {:?}",
        began.elapsed()
    );
}

/// The check can fail: an upload that is aborted in whatever state it is, is found out.
#[test]
fn the_schedules_find_an_abort_of_a_finished_upload() {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "every_schedule_can_be_explained"]);
    let output = run.env("FAULTS_PLANT", "AbortAny").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("no order explains"), "{told}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn one(data: &Path) {
    clear(data);
    let mut dice = Dice(shuttle::rand::thread_rng().next_u64());
    block_on(play(data, &mut dice));
}

async fn play(data: &Path, dice: &mut Dice) {
    let options = Options {
        free_floor_bytes: 0,
        ballast_bytes: 0,
        ..Options::new(data)
    };
    let store = EmbeddedStore::open(options, contend::BEGAN).await.unwrap();
    let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), contend::BEGAN);
    store.insert(CatalogEntry::Bucket(bucket)).await.unwrap();
    let (mut model, mut scenes) = (Model::default(), Vec::new());
    for number in 0..SCENES {
        let mut scene = Scene::new(dice, number, model);
        scene.prepare(dice, &store).await;
        let scene = Arc::new(scene);
        let mut calls = contend(&scene, dice, &store).await;
        OPERATIONS.fetch_add(calls.len() as u64, Ordering::SeqCst);
        calls.extend(scene.look_around(&store).await);
        model = scene.explain(&calls);
        scenes.push(scene);
    }
    store.close().await.unwrap();
    drop(store);
    for scene in scenes {
        let strays = scene.strays(&model, &data.join("objects"));
        assert!(strays.is_empty(), "{strays:?} belong to nothing");
    }
}

/// All callers at once.
async fn contend(scene: &Arc<Scene>, dice: &mut Dice, store: &EmbeddedStore) -> Vec<Call> {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let ops = (0..=dice.below(3)).map(|_| scene.draw(dice)).collect();
        let (scene, store) = (Arc::clone(scene), store.clone());
        callers.push(spawn(async move { scene.act(&store, ops).await }));
    }
    let mut calls = Vec::new();
    for caller in callers {
        calls.extend(caller.await.unwrap());
    }
    calls
}

/// Leaves the folders, which take long to make, and nothing else.
fn clear(data: &Path) {
    let _ = fs::remove_dir_all(data.join("index"));
    let _ = fs::remove_file(data.join("catalog.json"));
    let Ok(folders) = fs::read_dir(data.join("objects")) else {
        return;
    };
    for folder in folders {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}
