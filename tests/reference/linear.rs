//! Finds out whether what several callers were told fits any order in which their operations may have happened.
//!
//! Owns: the parts of an operation. Most have one: they happen at one moment between call and answer. A chunk that fills its set
//! is taken in, then the object is named, then it is looked up for the answer; a sweep takes each due thing by itself. Every
//! part lies between call and answer, and an operation that was called after another's answer comes after all its parts.
//! Never does: know how an engine orders anything; it tries every order, and remembers what it has tried.

use std::collections::HashSet;
use std::fmt;

use pillarbox::model::{Id, NewUpload, ObjectMeta, Timestamp, UploadState};
use pillarbox::store::StoreError;

use super::{Answer, Model, Op, Receipt, Told};

/// States that are tried before a history counts as too tangled to judge.
const MAX_TRIED: usize = 2_000_000;

/// An operation, when it was called and answered, and what was told.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) op: Op,
    pub(crate) called: u64,
    pub(crate) answered: u64,
    pub(crate) told: Told,
    /// Nobody else was at work: a sweep misses nothing.
    pub(crate) alone: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (op, told) = (&self.op, &self.told);
        writeln!(
            f,
            "{}..{} {op:?}\n     told {told:?}",
            self.called, self.answered
        )
    }
}

/// What the store holds after these calls; when no order explains them, the state in which most of them were over.
pub(crate) fn explain(start: &Model, calls: &[Call], now: Timestamp) -> Result<Model, String> {
    let mut search = Search {
        calls,
        now,
        ids: ids_of(start, calls),
        tried: HashSet::new(),
        furthest: (0, String::new()),
    };
    let found = search.go(State {
        model: start.clone(),
        progress: vec![Progress::default(); calls.len()],
    });
    found.ok_or(search.furthest.1)
}

/// How far an operation has come.
#[derive(Clone, Debug, Default, PartialEq)]
struct Progress {
    parts: u8,
    done: bool,
    /// What a chunk became, and whether its set was still to be named.
    taken: Option<(Receipt, bool, bool)>,
    named: Option<ObjectMeta>,
}

/// As much of a [`Progress`] as tells two of them apart: parts, over, repeated, naming, the version of what was named.
type Mark = (u8, bool, Option<(bool, bool)>, Option<u32>);

impl Progress {
    fn mark(&self) -> Mark {
        let taken = self.taken.map(|(_, repeated, naming)| (repeated, naming));
        (
            self.parts,
            self.done,
            taken,
            self.named.as_ref().map(|meta| meta.version),
        )
    }
}

#[derive(Clone)]
struct State {
    model: Model,
    progress: Vec<Progress>,
}

struct Search<'a> {
    calls: &'a [Call],
    now: Timestamp,
    /// All uploads that there may be.
    ids: Vec<Id>,
    tried: HashSet<(Vec<Mark>, u64)>,
    furthest: (usize, String),
}

impl Search<'_> {
    fn go(&mut self, state: State) -> Option<Model> {
        let open = |state: &State| {
            (0..self.calls.len())
                .filter(|i| !state.progress[*i].done)
                .collect()
        };
        let open: Vec<usize> = open(&state);
        let Some(first_answer) = open.iter().map(|i| self.calls[*i].answered).min() else {
            return Some(state.model);
        };
        let marks = state.progress.iter().map(Progress::mark);
        if !self
            .tried
            .insert((marks.collect(), state.model.fingerprint()))
        {
            return None;
        }
        let over = self.calls.len() - open.len();
        if over >= self.furthest.0 {
            self.furthest = (
                over,
                format!("{:?}\nwith {:?}", state.progress, state.model),
            );
        }
        assert!(self.tried.len() < MAX_TRIED, "the history is too tangled");
        for number in open {
            if self.calls[number].called > first_answer {
                continue;
            }
            for next in self.advance(&state, number) {
                if let Some(found) = self.go(next) {
                    return Some(found);
                }
            }
        }
        None
    }

    /// The states after the next part of a call; none when it cannot have happened now.
    fn advance(&self, state: &State, number: usize) -> Vec<State> {
        let (call, mut next) = (&self.calls[number], state.clone());
        let (model, progress) = (&mut next.model, &mut next.progress[number]);
        progress.parts += 1;
        let part = progress.parts;
        let ends = match (&call.op, part) {
            (Op::Chunk(chunk), 1) => match model.begin(chunk) {
                Ok(()) => false,
                Err(why) => return told_so(next, number, call, Err(why)),
            },
            (Op::Chunk(chunk), 2) => match model.acknowledge(chunk) {
                _ if call.told == Err(StoreError::Busy.to_string()) => {
                    // The bytes were only hashed, because the chunk was here; it was replaced meanwhile.
                    next.model = state.model.clone();
                    next.progress[number].done = true;
                    return vec![next];
                }
                Ok((receipt, repeated)) => {
                    let before = model.state(chunk.id);
                    let naming = before == Some(UploadState::Completing);
                    progress.taken = Some((receipt, repeated, naming));
                    if before == Some(UploadState::Uploading) {
                        let answer = Answer::Chunk(receipt, repeated, None);
                        return told_so(next, number, call, Ok(answer));
                    }
                    false
                }
                Err(why) => return told_so(next, number, call, Err(why)),
            },
            (Op::Chunk(chunk), 3) => {
                model.name(chunk.id, self.now);
                progress.named = model.by_id(chunk.id);
                false
            }
            (Op::Chunk(chunk), _) => chunk_answers(model, progress, chunk.id).contains(&call.told),
            (Op::Finish(id, nb_chunks), 1) => {
                let was = model.state(*id);
                match model.finish(*id, *nb_chunks) {
                    Err(why) => return told_so(next, number, call, Err(why)),
                    Ok(()) if was == Some(UploadState::Completed) => {
                        let told = model.apply(&Op::Session(*id), self.now);
                        return told_so(next, number, call, told);
                    }
                    Ok(()) => false,
                }
            }
            (Op::Finish(id, _), 2) => {
                model.name(*id, self.now);
                false
            }
            (Op::Finish(id, _), _) => {
                let told = model.apply(&Op::Session(*id), self.now);
                return told_so(next, number, call, told);
            }
            (Op::Create(new), _) => return self.create(state, next, (number, new)),
            (Op::Sweep(_), part) => {
                return self.sweep(state, next, (number, usize::from(part) - 1));
            }
            (op, _) => {
                let told = model.apply(op, self.now);
                return told_so(next, number, call, told);
            }
        };
        if ends {
            next.progress[number].done = true;
        } else if matches!((&call.op, part), (Op::Chunk(_), 4..)) {
            return Vec::new();
        }
        vec![next]
    }

    /// An id that was given up stays taken while its file is garbage, which only the engine knows.
    fn create(
        &self,
        state: &State,
        mut next: State,
        (number, new): (usize, &NewUpload),
    ) -> Vec<State> {
        let call = &self.calls[number];
        let was_taken = self
            .calls
            .iter()
            .zip(&state.progress)
            .any(|(other, progress)| {
                let same = matches!(&other.op, Op::Create(other) if other.id == new.id);
                same && progress.done && other.told.is_ok()
            });
        if was_taken && call.told == Err(StoreError::Exists.to_string()) {
            next.progress[number].done = true;
            return vec![next];
        }
        let told = next.model.apply(&call.op, self.now);
        told_so(next, number, call, told)
    }

    /// A sweep looks at each thing that may be due, and takes it or does not: it may have come too late to be seen.
    fn sweep(&self, state: &State, mut next: State, (number, part): (usize, usize)) -> Vec<State> {
        if part > self.ids.len() {
            next.progress[number].done = true;
            return match self.calls[number].told {
                Ok(_) => vec![next],
                Err(_) => Vec::new(),
            };
        }
        let mut skipped = next.clone();
        skipped.model = state.model.clone();
        match part.checked_sub(1) {
            None => next.model.sweep_objects(self.now),
            Some(at) => next.model.sweep_session(self.ids[at], self.now),
        }
        match next.model == skipped.model || self.calls[number].alone {
            true => vec![next],
            false => vec![next, skipped],
        }
    }
}

/// What may be told of a chunk whose set is full.
fn chunk_answers(model: &Model, progress: &Progress, id: Id) -> Vec<Told> {
    let Some((receipt, repeated, naming)) = progress.taken else {
        return Vec::new();
    };
    let with = |object| Ok(Answer::Chunk(receipt, repeated, object));
    let mut answers = Vec::new();
    match model.state(id) {
        None if naming => answers.push(Err(StoreError::NoSuchUpload.to_string())),
        _ => answers.push(with(model.by_id(id))),
    }
    if !repeated && progress.named.is_some() {
        // The only chunk of its upload is the whole object; it is answered without another look.
        answers.push(with(progress.named.clone()));
    }
    answers
}

/// The call is over, if that is what was told.
fn told_so(mut next: State, number: usize, call: &Call, told: Told) -> Vec<State> {
    if told != call.told {
        return Vec::new();
    }
    next.progress[number].done = true;
    vec![next]
}

fn ids_of(start: &Model, calls: &[Call]) -> Vec<Id> {
    let there = start.sessions().map(|(session, _)| session.upload.id);
    let mut ids: Vec<Id> = there.collect();
    ids.extend(calls.iter().filter_map(|call| id_of(&call.op)));
    ids.sort();
    ids.dedup();
    ids
}

fn id_of(op: &Op) -> Option<Id> {
    match op {
        Op::Create(new) => Some(new.id),
        Op::Chunk(chunk) => Some(chunk.id),
        Op::Finish(id, _) | Op::Abort(id) | Op::Session(id) => Some(*id),
        _ => None,
    }
}
