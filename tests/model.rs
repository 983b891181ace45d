//! The real engine against the reference: random operations with restarts, one caller, a clock that is set.
//!
//! Owns: the steps (operations, time, clean stops, crashes, lost indexes, operations cut off by a crash), and the reduction of a
//! history that failed. A history is 1,000 steps on a store of its own; half of the histories lose their index now and then, the
//! other half are cut off in the midst of operations, after which the reference holds every state that is allowed.
//! By hand: `MODEL_STEPS=100000 MODEL_SEED=7 cargo test --release --test model`. The seed is printed with a failure.
//! Never does: wait for durability; it is about logic, so the store lies in memory where there is such a file system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]
#![allow(missing_docs, reason = "the names of the tests are the documentation")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pillarbox::model::{Bucket, BucketConfig, Id, Timestamp, UploadState};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{Catalog as _, CatalogEntry, ObjectChange, ObjectStore as _};
use tokio::runtime::Runtime;

mod reference;

#[path = "support/folder.rs"]
mod folder;
#[path = "support/memory.rs"]
mod memory;

use reference::drive::{self, Hands};
use reference::random::{self, Dice};
use reference::{Model, Op};

/// Steps of one history.
const STEPS: usize = 1000;
/// Steps in all, unless the environment says otherwise.
const DEFAULT_STEPS: usize = 20_000;
/// Longest time for reducing a history that failed.
const REDUCING: Duration = Duration::from_secs(120);
/// The clock goes at most this long without a sweep: after a longer time the sweep would doubt the clock.
const LONGEST_UNSWEPT: Duration = Duration::from_secs(20 * 3600);

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    /// Milliseconds pass.
    Pass(u64),
    Restart(Restart),
    /// The operation begins, and some microseconds later the process is gone.
    CutOff(Op, u64),
}

#[derive(Clone, Copy, Debug)]
enum Restart {
    Clean,
    /// All that the process had in memory is gone.
    Crash,
    /// Whatever is under way ends where it is; the index still writes what it held back.
    Abort,
    /// A clean stop; then the index is lost.
    Lost,
    /// A clean stop; then the command that rebuilds the index.
    Reindex,
}

#[test]
fn the_engine_does_what_the_reference_says_through_restarts() {
    let steps = number("MODEL_STEPS").map_or(DEFAULT_STEPS, |n| usize::try_from(n).unwrap());
    let first = number("MODEL_SEED").unwrap_or(1);
    let began = Instant::now();
    let mut counts = BTreeMap::new();
    for seed in (first..).take(steps.div_ceil(STEPS)) {
        let mut log = Vec::new();
        if let Err(why) = history(seed, &mut log, &mut counts) {
            panic!("{}", report(seed, &log, &why));
        }
    }
    println!(
        "{steps} steps from seed {first} in {:?}: {counts:?}",
        began.elapsed()
    );
}

/// The check can fail: a reference that does not hear when an object is to expire is found out.
#[test]
fn a_reference_that_is_deaf_to_expiries_is_found_out() {
    let mut world = World::new(1);
    world.hears = |op| match op {
        Op::Change(name, ObjectChange::ExpiresAt(Some(_))) => {
            Op::Change(name.clone(), ObjectChange::ExpiresAt(None))
        }
        other => other.clone(),
    };
    let mut dice = Dice(1);
    let found_out = (0..STEPS).any(|_| {
        let step = draw(&mut dice, &world);
        world.step(&step).is_err()
    });
    assert!(found_out);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// One history; the steps it took are in `log`.
fn history(
    seed: u64,
    log: &mut Vec<Step>,
    counts: &mut BTreeMap<&'static str, usize>,
) -> Result<(), String> {
    let mut dice = Dice(seed);
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        let step = draw(&mut dice, &world);
        *counts.entry(kind(&step)).or_default() += 1;
        log.push(step);
        world.step(log.last().unwrap())?;
    }
    world.take_stock()
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Do(_) => "operations",
        Step::Pass(_) => "times",
        Step::Restart(Restart::Clean) => "clean stops",
        Step::Restart(Restart::Crash | Restart::Abort) => "crashes",
        Step::Restart(Restart::Lost | Restart::Reindex) => "rebuilds",
        Step::CutOff(..) => "cut off",
    }
}

fn draw(dice: &mut Dice, world: &World) -> Step {
    let loses = world.seed.is_multiple_of(2);
    match dice.below(1000) {
        0..80 => {
            let longest = if dice.is(10) { 3_600_000 } else { 2_000 };
            Step::Pass(dice.below(longest))
        }
        80..85 => Step::Restart(Restart::Clean),
        85..90 => Step::Restart(Restart::Crash),
        90..93 if loses => Step::Restart(Restart::Lost),
        93..95 if loses => Step::Restart(Restart::Reindex),
        90..97 if !loses => match random::draw(dice, &world.may[0], world.now) {
            // A label that a cut-off change has written is seen only by a rebuild; a sweep is many operations.
            Op::Change(..) | Op::Sweep(_) | Op::Begin(..) | Op::Commit(_) | Op::Drop(_) => {
                Step::Restart(Restart::Crash)
            }
            op => Step::CutOff(op, dice.below(1500)),
        },
        _ => Step::Do(random::draw(dice, &world.may[0], world.now)),
    }
}

/// A store, and all that it may hold.
struct World {
    seed: u64,
    folder: tempfile::TempDir,
    /// Where the store lies in it.
    data: PathBuf,
    runtime: Option<Runtime>,
    store: Option<EmbeddedStore>,
    hands: Hands,
    may: Vec<Model>,
    /// What of an operation reaches the reference: all of it.
    hears: fn(&Op) -> Op,
    now: Timestamp,
    swept: Timestamp,
    /// Sessions that were lost with an index; their files stay.
    lost: BTreeSet<Id>,
}

impl World {
    fn new(seed: u64) -> Self {
        let folder = memory::in_memory();
        let now = Timestamp::from_seconds(1_795_000_000);
        let mut world = Self {
            seed,
            data: folder.path().join("data"),
            folder,
            runtime: None,
            store: None,
            hands: Hands::default(),
            may: vec![Model::default()],
            hears: Op::clone,
            now,
            swept: now,
            lost: BTreeSet::new(),
        };
        world.open(false);
        world
    }

    fn open(&mut self, reindex: bool) {
        let options = Options {
            free_floor_bytes: 0,
            ballast_bytes: 0,
            ..Options::new(&self.data)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let opened = match reindex {
            true => runtime.block_on(EmbeddedStore::reindex(options, self.now)),
            false => runtime.block_on(EmbeddedStore::open(options, self.now)),
        };
        let store = opened.unwrap();
        let bucket = BucketConfig::new(Bucket::parse("uploads").unwrap(), self.now);
        let added = store.insert(CatalogEntry::Bucket(bucket));
        runtime.block_on(added).unwrap();
        self.store = Some(store);
        self.runtime = Some(runtime);
    }

    /// Takes one step; what it says when the store does not do what the reference says.
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Do(op) => self.compare(op)?,
            Step::Pass(millis) => {
                self.now = self.now.plus(Duration::from_millis(*millis));
                if self.now > self.swept.plus(LONGEST_UNSWEPT) {
                    self.compare(&Op::Sweep(1000))?;
                }
            }
            Step::Restart(how) => self.restart(*how),
            Step::CutOff(op, micros) => self.cut_off(op, *micros),
        }
        Ok(())
    }

    fn perform(&mut self, op: &Op) -> reference::Told {
        let runtime = self.runtime.as_ref().unwrap();
        let store = self.store.as_ref().unwrap();
        runtime.block_on(self.hands.perform(store, op, self.now))
    }

    fn compare(&mut self, op: &Op) -> Result<(), String> {
        let told = self.perform(op);
        let mut says = Vec::new();
        let (now, heard) = (self.now, (self.hears)(op));
        self.may.retain_mut(|model| {
            let says_this = model.apply(&heard, now);
            let right = says_this == told;
            says.push(says_this);
            right
        });
        self.may.dedup();
        if matches!(op, Op::Sweep(_)) {
            self.swept = now;
        }
        match self.may.is_empty() {
            true => Err(format!(
                "{op:?} at {now}\n   told {told:?}\n   not  {says:?}"
            )),
            false => Ok(()),
        }
    }

    fn restart(&mut self, how: Restart) {
        let left = self.folder.path().join("left");
        if matches!(how, Restart::Crash) {
            folder::copy_alive(&self.data, &left);
        }
        self.hands.let_go();
        let (runtime, store) = (self.runtime.take().unwrap(), self.store.take().unwrap());
        if !matches!(how, Restart::Crash | Restart::Abort) {
            runtime.block_on(store.close()).unwrap();
        }
        drop(store);
        drop(runtime);
        if matches!(how, Restart::Crash) {
            fs::remove_dir_all(&self.data).unwrap();
            fs::rename(&left, &self.data).unwrap();
        }
        self.may.iter_mut().for_each(Model::restart);
        if matches!(how, Restart::Lost | Restart::Reindex) {
            for model in &mut self.may {
                let ids = model.sessions().map(|(session, _)| session.upload.id);
                self.lost.extend(ids);
                model.lose_index();
            }
        }
        if matches!(how, Restart::Lost) {
            fs::remove_dir_all(self.data.join("index")).unwrap();
        }
        self.open(matches!(how, Restart::Reindex));
    }

    /// The process is gone while an operation is under way: it was done, or it was not.
    fn cut_off(&mut self, op: &Op, micros: u64) {
        let (store, now) = (self.store.clone().unwrap(), self.now);
        let begun = op.clone();
        let work = async move { drive::perform(&store, &begun, now).await };
        let task = self.runtime.as_ref().unwrap().spawn(work);
        let end = Instant::now() + Duration::from_micros(micros);
        while Instant::now() < end && !task.is_finished() {
            std::hint::spin_loop();
        }
        drop(task);
        self.restart(Restart::Abort);
        for mut model in self.may.clone() {
            let _ = model.apply(op, now);
            self.may.push(model);
        }
    }

    /// At the end: whole files for all objects, and no file that belongs to nothing.
    fn take_stock(&mut self) -> Result<(), String> {
        self.restart(Restart::Crash);
        self.compare(&Op::Sweep(1000))?;
        self.restart(Restart::Clean);
        self.compare(&Op::Sweep(1000))?;
        self.restart(Restart::Clean);
        let fits = |model: &Model| self.fits(model);
        let unfit: Vec<String> = self.may.iter().filter_map(|m| fits(m).err()).collect();
        match unfit.len() == self.may.len() {
            true => Err(format!("at the end: {unfit:?}")),
            false => Ok(()),
        }
    }

    fn fits(&self, model: &Model) -> Result<(), String> {
        let open = model.sessions();
        let open = open.filter(|(session, _)| session.state == UploadState::Uploading);
        let open: BTreeSet<Id> = open.map(|(session, _)| session.upload.id).collect();
        let mut whole = BTreeMap::new();
        for (meta, bytes) in model.objects() {
            whole.insert(meta.id, bytes);
        }
        for folder in fs::read_dir(self.data.join("objects")).unwrap() {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let (id, rest) = name.split_once('.').unwrap_or((&name, ""));
                let id = Id::parse(id).unwrap();
                let spill = rest.parse::<u32>().is_ok();
                let right = match whole.get(&id) {
                    Some(bytes) if rest.is_empty() => fs::read(&path).unwrap() == **bytes,
                    Some(_) => !spill || open.contains(&id),
                    None => open.contains(&id) || self.lost.contains(&id),
                };
                if !right {
                    return Err(format!("{name} should not be there, or not so"));
                }
            }
        }
        let there = |meta: &Id| self.path(*meta).is_file();
        match whole.keys().find(|id| !there(id)) {
            Some(id) => Err(format!("the file of {id} is not there")),
            None => Ok(()),
        }
    }

    fn path(&self, id: Id) -> PathBuf {
        let objects = self.data.join("objects");
        objects
            .join(format!("{:02x}", id.fan_out()))
            .join(id.to_string())
    }
}

/// What is told of a history that failed, reduced.
fn report(seed: u64, log: &[Step], why: &str) -> String {
    let mut text = format!("seed {seed}, step {}: {why}\n", log.len());
    let (reduced, why) = reduce(seed, log, why);
    let _ = writeln!(text, "reduced to {} steps: {why}", reduced.len());
    for step in reduced {
        let _ = writeln!(text, "  {step:?}");
    }
    text
}

/// Leaves out steps as long as it still fails.
fn reduce(seed: u64, log: &[Step], why: &str) -> (Vec<Step>, String) {
    let end = Instant::now() + REDUCING;
    let (mut steps, mut why) = (log.to_vec(), why.to_owned());
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < steps.len() && Instant::now() < end {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            match replay(seed, &fewer) {
                Err((length, still)) => {
                    fewer.truncate(length);
                    (steps, why) = (fewer, still);
                }
                Ok(()) => at += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    (steps, why)
}

/// Fails with the number of steps that it took.
fn replay(seed: u64, steps: &[Step]) -> Result<(), (usize, String)> {
    let mut world = World::new(seed);
    for (number, step) in steps.iter().enumerate() {
        world.step(step).map_err(|why| (number + 1, why))?;
    }
    world.take_stock().map_err(|why| (steps.len(), why))
}
