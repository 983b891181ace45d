//! Does an operation of the reference on a real store, and says what the caller was told in the reference's words.
//!
//! Owns: the chunks that are under way, by slot. Never does: compare; whoever calls has the model.
//! Invariant: the first half of a chunk that is begun is really on its way to the disk where its size allows that: it goes in
//! slices of one byte, and the engine hands over 1,024 of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use pillarbox::model::{ChunkReceipt, Md5, NewUpload, PartRules, Timestamp};
use pillarbox::store::{
    ChunkWriter, ClockReading, Committed, Expected, Store, StoreError, SweepReport, WriteCondition,
};

use super::{Answer, Body, Chunk, Op, Receipt, Told};

/// Slices of one byte that a chunk begins with, at most.
const TINY_SLICES: usize = 1030;
/// Where the monotonic clock of the tests begins, in seconds since 1970.
const BEGAN: i64 = 1_700_000_000;

/// The chunks that are under way.
#[derive(Debug, Default)]
pub(crate) struct Hands(BTreeMap<u8, (Box<dyn ChunkWriter>, Chunk)>);

impl Hands {
    /// Does one operation.
    pub(crate) async fn perform(&mut self, store: &dyn Store, op: &Op, now: Timestamp) -> Told {
        match op {
            Op::Begin(slot, chunk) => {
                let mut writer = told(store.write_chunk(chunk.id, chunk.spec).await)?;
                told(write_first(writer.as_mut(), chunk).await)?;
                self.0.insert(*slot, (writer, chunk.clone()));
                Ok(Answer::Done)
            }
            Op::Commit(slot) => match self.0.remove(slot) {
                Some((writer, chunk)) => told(commit(writer, &chunk, now).await),
                None => Ok(Answer::Done),
            },
            Op::Drop(slot) => {
                self.0.remove(slot);
                Ok(Answer::Done)
            }
            other => told(perform(store, other, now).await),
        }
    }

    /// Drops all that is under way.
    pub(crate) fn let_go(&mut self) {
        self.0.clear();
    }
}

/// Does one operation that needs no slot.
pub(crate) async fn perform(
    store: &dyn Store,
    op: &Op,
    now: Timestamp,
) -> Result<Answer, StoreError> {
    Ok(match op {
        Op::Create(new) => Answer::Session(store.create_upload(new.clone()).await?),
        Op::Chunk(chunk) => {
            let mut writer = store.write_chunk(chunk.id, chunk.spec).await?;
            write_first(writer.as_mut(), chunk).await?;
            commit(writer, chunk, now).await?
        }
        Op::Post(new, body) => post(store, (new, *body), None, now).await?,
        Op::PostIf(new, body, condition) => {
            post(store, (new, *body), Some(condition.clone()), now).await?
        }
        Op::CreateParts(new) => {
            let rules = PartRules::default();
            Answer::Session(store.create_parts(new.clone(), rules).await?)
        }
        Op::CompleteParts(id, completion) => {
            Answer::Object(store.complete_parts(*id, completion.clone(), now).await?)
        }
        Op::Finish(id, nb_chunks) => {
            Answer::Session(store.finish_upload(*id, *nb_chunks, now).await?)
        }
        Op::Abort(id) => done(store.abort_upload(*id).await?),
        Op::Session(id) => Answer::Session(store.upload(*id).await?),
        Op::Receipts(id) => {
            let receipts = store.receipts(*id).await?;
            Answer::Receipts(receipts.iter().map(shown).collect())
        }
        Op::Look(name) => Answer::Object(store.object(name, now).await?),
        Op::Read(name, offset, length) => {
            let reader = store.open(name, now).await?;
            let bytes = reader.read_at(*offset, *length).await?;
            Answer::Bytes(reader.meta().as_ref().clone(), bytes)
        }
        Op::Verify(name) => Answer::Object(store.verify(name, now).await?),
        Op::Change(name, change) => {
            Answer::Object(store.change_object(name, change.clone(), now).await?)
        }
        Op::Delete(name) => done(store.delete_object(name, now).await?),
        Op::DeleteIf(name, condition) => {
            let condition = Some(condition.clone());
            done(store.delete_object_if(name, condition, now).await?)
        }
        Op::List(query) => {
            let page = store.list_files(query, now).await?;
            Answer::Page(page.files, page.total)
        }
        Op::ListKeys(query) => {
            let page = store.list_keys(query, now).await?;
            Answer::Keys(page.entries, page.more)
        }
        Op::Sweep(limit) => Answer::Swept(sweep(store, *limit, now).await?),
        Op::Begin(..) | Op::Commit(_) | Op::Drop(_) => unreachable!("it needs a slot"),
    })
}

async fn post(
    store: &dyn Store,
    (new, body): (&NewUpload, Body),
    condition: Option<WriteCondition>,
    now: Timestamp,
) -> Result<Answer, StoreError> {
    let mut writer = store.write_object(new.clone()).await?;
    writer.write(body.bytes()).await?;
    let expected = Expected {
        condition,
        ..Expected::default()
    };
    Ok(committed(writer.commit(expected, now).await?))
}

/// Sweeps with two clocks that go evenly, also across restarts.
pub(crate) async fn sweep(
    store: &dyn Store,
    limit: usize,
    now: Timestamp,
) -> Result<SweepReport, StoreError> {
    let since = now.millis() - Timestamp::from_seconds(BEGAN).millis();
    let monotonic = Duration::from_millis(u64::try_from(since).unwrap());
    let wall = now;
    store.sweep(ClockReading { wall, monotonic }, limit).await
}

async fn write_first(writer: &mut dyn ChunkWriter, chunk: &Chunk) -> Result<(), StoreError> {
    let bytes = chunk.body.bytes();
    for at in 0..half(&bytes) {
        writer.write(bytes.slice(at..=at)).await?;
    }
    Ok(())
}

async fn commit(
    mut writer: Box<dyn ChunkWriter>,
    chunk: &Chunk,
    now: Timestamp,
) -> Result<Answer, StoreError> {
    let bytes = chunk.body.bytes();
    writer.write(bytes.slice(half(&bytes)..)).await?;
    let md5 = chunk.wrong.then(|| Md5::of(b"other bytes"));
    let expected = Expected {
        length: Some(bytes.len() as u64),
        md5,
        ..Expected::default()
    };
    Ok(committed(writer.commit(expected, now).await?))
}

fn half(bytes: &Bytes) -> usize {
    bytes.len().saturating_sub(1).min(TINY_SLICES)
}

fn committed(committed: Committed) -> Answer {
    let receipt = shown(&committed.receipt);
    Answer::Chunk(receipt, committed.repeated, committed.object)
}

fn shown(receipt: &ChunkReceipt) -> Receipt {
    (receipt.index, receipt.length, receipt.digests)
}

fn done((): ()) -> Answer {
    Answer::Done
}

fn told<T>(answer: Result<T, StoreError>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}
