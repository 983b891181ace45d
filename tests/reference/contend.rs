//! A scene for several callers who get into each other's way: one object key, three uploads for it, one of them due to be swept.
//!
//! Owns: what is there before, what each caller does, and the look around at the end, which pins down what is left.
//! Never does: decide who runs when; the tests that use it do, by shuttle or by the system's threads.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pillarbox::model::{Bucket, Id, NewUpload, ObjectKey, Timestamp};
use pillarbox::store::{ObjectName, Store, WriteCondition};

use super::drive::perform;
use super::linear::{Call, explain};
use super::random::{self, Dice};
use super::{Answer, Model, Op};

/// The uploads of a scene: one that is due to be swept, one that is not, and one that is yet to be started.
const UPLOADS: u8 = 3;

/// When the first scene is.
pub(crate) const BEGAN: Timestamp = Timestamp::from_seconds(1_795_000_000);

/// Counts calls and answers of this process.
static MOMENT: AtomicU64 = AtomicU64::new(0);

/// Who contends for what.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    now: Timestamp,
    uploads: Vec<NewUpload>,
    /// What the store holds when the callers begin.
    pub(crate) before: Model,
}

impl Scene {
    /// The scene of this number, after `before`. Its time is late enough for all that an earlier scene left to be due.
    pub(crate) fn new(dice: &mut Dice, number: u64, before: Model) -> Self {
        let now = BEGAN.plus(Duration::from_secs(number * 7200));
        let uploads = (0..UPLOADS).map(|which| {
            let id = id_of(dice, number, which, now);
            let mut upload = random::upload_of(dice, id, now);
            upload.key = key();
            upload.pipeline = None;
            upload.expires_at = match dice.below(10) {
                0..6 => None,
                6..8 => Some(now),
                _ => Some(now.plus(Duration::from_secs(60))),
            };
            let life = Duration::from_secs(if which == 0 { 0 } else { 3600 });
            upload.abandoned_at = now.plus(life);
            upload
        });
        Self {
            now,
            uploads: uploads.collect(),
            before,
        }
    }

    /// Makes what is there before, with nobody else around.
    pub(crate) async fn prepare(&mut self, dice: &mut Dice, store: &dyn Store) {
        let mut ops = vec![Op::Sweep(1000)];
        if dice.is(70) {
            ops.push(self.post(dice));
        }
        for upload in self.uploads.iter().take(2) {
            ops.push(Op::Create(upload.clone()));
            if dice.is(60) {
                let mut chunk = random::chunk_of(dice, &self.before, upload.id);
                chunk.wrong = false;
                ops.push(Op::Chunk(chunk));
            }
        }
        for op in ops {
            let told = perform(store, &op, self.now).await;
            let told = told.map_err(|error| error.to_string());
            assert_eq!(told, self.before.apply(&op, self.now), "{op:?}");
        }
    }

    /// What a caller does next.
    pub(crate) fn draw(&self, dice: &mut Dice) -> Op {
        let id = dice.pick(&self.uploads).unwrap().id;
        let ids: Vec<Id> = self.uploads.iter().map(|upload| upload.id).collect();
        let by_key = ObjectName::Key(bucket(), key());
        let name = match dice.is(40) {
            true => ObjectName::Id(dice.pick(&ids).unwrap()),
            false => by_key,
        };
        match dice.below(100) {
            0..34 => Op::Chunk(random::chunk_of(dice, &self.before, id)),
            34..42 => Op::Finish(id, u32::from(id.as_bytes()[11] % 5) + 1),
            42..50 => Op::Abort(id),
            50..56 => Op::Create(self.uploads.last().unwrap().clone()),
            56..60 => self.post(dice),
            60..63 => self.post_if(dice),
            63..72 => Op::Read(name, 0, 1 << 20),
            72..75 => Op::Look(name),
            75..84 => Op::Change(name, random::change(dice, self.now)),
            84..87 => Op::Delete(name),
            87..88 => Op::DeleteIf(name, self.condition(dice)),
            88..92 => Op::Session(id),
            92..94 => Op::Verify(name),
            _ => Op::Sweep(1000),
        }
    }

    fn post(&self, dice: &mut Dice) -> Op {
        let mut upload = self.uploads[1].clone();
        upload.id = Id::new(self.now, dice.next().to_be_bytes());
        let (seed, length) = (dice.next(), 9);
        Op::Post(upload, super::Body { seed, length })
    }

    fn post_if(&self, dice: &mut Dice) -> Op {
        match self.post(dice) {
            Op::Post(upload, body) => Op::PostIf(upload, body, self.condition(dice)),
            other => other,
        }
    }

    /// Mostly that the key is free, which several callers may want at once.
    fn condition(&self, dice: &mut Dice) -> WriteCondition {
        match dice.is(60) {
            true => WriteCondition::Absent,
            false => random::condition(dice, &self.before),
        }
    }

    /// A caller does one operation after the other.
    pub(crate) async fn act(&self, store: &dyn Store, ops: Vec<Op>) -> Vec<Call> {
        let mut calls = Vec::new();
        for op in ops {
            calls.push(call(store, op, self.now).await);
        }
        calls
    }

    /// What the store holds after these calls; panics when no order explains them.
    pub(crate) fn explain(&self, calls: &[Call]) -> Model {
        explain(&self.before, calls, self.now).unwrap_or_else(|furthest| {
            let told: String = calls.iter().map(ToString::to_string).collect();
            let before = &self.before;
            panic!("no order explains\n{told}after {before:?}\nthe furthest state: {furthest}")
        })
    }

    /// Looks at everything, with nobody else around.
    pub(crate) async fn look_around(&self, store: &dyn Store) -> Vec<Call> {
        let mut calls = Vec::new();
        let names = self.uploads.iter().map(|upload| ObjectName::Id(upload.id));
        let names = names.chain([ObjectName::Key(bucket(), key())]);
        let mut ops: Vec<Op> = names.map(|name| Op::Read(name, 0, 1 << 20)).collect();
        for upload in &self.uploads {
            ops.extend([Op::Session(upload.id), Op::Receipts(upload.id)]);
        }
        ops.push(Op::Sweep(1000));
        for op in ops {
            let call = call(store, op, self.now).await;
            calls.push(Call {
                alone: true,
                ..call
            });
        }
        calls
    }

    /// Files that belong to nothing, once nobody is at work any more.
    pub(crate) fn strays(&self, model: &Model, objects: &Path) -> Vec<String> {
        let mut strays = Vec::new();
        for upload in &self.uploads {
            let id = upload.id;
            let whole = model.objects().find(|(meta, _)| meta.id == id);
            let open = model.sessions().any(|(session, _)| {
                let done = pillarbox::model::UploadState::Completed;
                session.upload.id == id && session.state != done
            });
            let folder = objects.join(format!("{:02x}", id.fan_out()));
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let right = match whole {
                    Some((_, bytes)) if name == id.to_string() => {
                        std::fs::read(&path).unwrap() == *bytes
                    }
                    _ => open || !name.starts_with(&id.to_string()),
                };
                if !right {
                    strays.push(name);
                }
            }
        }
        strays
    }
}

/// Does one operation and notes when it was called and answered.
async fn call(store: &dyn Store, op: Op, now: Timestamp) -> Call {
    let called = MOMENT.fetch_add(1, Ordering::SeqCst);
    let told = perform(store, &op, now).await;
    let told: Result<Answer, String> = told.map_err(|error| error.to_string());
    let answered = MOMENT.fetch_add(1, Ordering::SeqCst);
    Call {
        op,
        called,
        answered,
        told,
        alone: false,
    }
}

fn key() -> ObjectKey {
    ObjectKey::parse("a").unwrap()
}

fn bucket() -> Bucket {
    Bucket::parse("uploads").unwrap()
}

/// An id whose plan is one or two chunks of 7 bytes.
fn id_of(dice: &mut Dice, number: u64, which: u8, now: Timestamp) -> Id {
    let [a, b, c, d, ..] = number.to_le_bytes();
    let nb_chunks = u8::try_from(dice.below(2)).unwrap();
    Id::new(now, [a, b, c, d, which, 0, 1, nb_chunks])
}
