//! Draws operations: most of them sensible in the state the store is in, some not.
//!
//! Owns: the dice, and how often what is drawn. An upload's plan (how many chunks of what size) follows from its id, so that chunks
//! drawn at different times fit together; now and then one breaks the plan.
//! Never does: draw from anything but its seed, or read a clock.

use std::time::Duration;

use pillarbox::model::{
    Attributes, Bucket, CannedAcl, Checksum, ChecksumAlgorithm, ETag, HeaderSet, Id, MAX_CHUNKS,
    Md5, NewUpload, ObjectKey, PipelineRef, SaidSizes, Tags, Timestamp, UploadState,
};
use pillarbox::store::{
    ChunkSpec, Completion, FileQuery, HeaderChange, KeyQuery, ObjectChange, ObjectName, Rewrite,
    SortKey, WriteCondition,
};

use super::{Body, Chunk, Model, Op};

#[path = "../support/dice.rs"]
mod dice;
pub(crate) use dice::Dice;

/// Sessions that may be open before no more are started.
const MAX_OPEN: usize = 8;
/// Chunks that are under way at once, at most.
const MAX_SLOTS: u64 = 3;
/// Names of objects; few, so that they are overwritten often.
const KEYS: [&str; 6] = ["a", "b/one", "b/two", "c/one", "\u{e4}/x y", "d"];
const SORTS: [SortKey; 7] = [
    SortKey::CreatedAt,
    SortKey::UpdatedAt,
    SortKey::FinishedAt,
    SortKey::ExpiresAt,
    SortKey::Size,
    SortKey::Name,
    SortKey::Id,
];

/// Draws the next operation.
pub(crate) fn draw(dice: &mut Dice, model: &Model, now: Timestamp) -> Op {
    let open = model.sessions();
    let open = open.filter(|(session, _)| session.state == UploadState::Uploading);
    let may_open = open.count() < MAX_OPEN;
    match dice.below(100) {
        0..6 if may_open => Op::Create(upload(dice, model, now)),
        6..8 if may_open => Op::CreateParts(upload(dice, model, now)),
        0..34 => Op::Chunk(chunk(dice, model)),
        34..40 => {
            let slot = u8::try_from(dice.below(MAX_SLOTS)).unwrap();
            match model.writers().any(|used| used == slot) {
                true => Op::Commit(slot),
                false => Op::Begin(slot, chunk(dice, model)),
            }
        }
        40..42 => match dice.pick(&model.writers().collect::<Vec<_>>()) {
            Some(slot) => Op::Drop(slot),
            None => Op::Sweep(1000),
        },
        42..50 => post(dice, model, now),
        50..59 => end(dice, model),
        59..61 => Op::Abort(id(dice, model)),
        61..64 => Op::Session(id(dice, model)),
        64..67 => Op::Receipts(id(dice, model)),
        67..72 => Op::Look(name(dice, model)),
        72..78 => read(dice, model),
        78..80 => Op::Verify(name(dice, model)),
        80..89 => Op::Change(name(dice, model), change(dice, now)),
        89..91 => Op::Delete(name(dice, model)),
        91..92 => Op::DeleteIf(name(dice, model), condition(dice, model)),
        92..94 => Op::List(query(dice)),
        94..96 => Op::ListKeys(key_query(dice)),
        _ => match dice.is(30) {
            true => Op::Sweep(usize::try_from(dice.below(4)).unwrap()),
            false => Op::Sweep(1000),
        },
    }
}

fn post(dice: &mut Dice, model: &Model, now: Timestamp) -> Op {
    let mut new = upload(dice, model, now);
    new.attributes = attributes(dice);
    let body = body(dice);
    match dice.is(25) {
        true => {
            // Of an id that is taken and a condition that does not hold, either may be told.
            new.id = Id::new(now, dice.next().to_be_bytes());
            Op::PostIf(new, body, condition(dice, model))
        }
        false => Op::Post(new, body),
    }
}

/// What some object has, or none.
pub(crate) fn condition(dice: &mut Dice, model: &Model) -> WriteCondition {
    let tags: Vec<ETag> = model.objects().map(|(meta, _)| meta.etag.clone()).collect();
    match dice.below(4) {
        0 => WriteCondition::Absent,
        1 => WriteCondition::Present,
        _ => WriteCondition::Matches(dice.pick(&tags).unwrap_or(ETag::named("none"))),
    }
}

pub(crate) fn upload(dice: &mut Dice, model: &Model, now: Timestamp) -> NewUpload {
    let fresh = Id::new(now, dice.next().to_be_bytes());
    // An id that was given up stays taken while its file is garbage; only the engine knows how long that is.
    let taken = id(dice, model);
    let is_taken = model.by_id(taken).is_some() || model.state(taken).is_some();
    let id = if is_taken && dice.is(4) { taken } else { fresh };
    upload_of(dice, id, now)
}

/// An upload with this id.
pub(crate) fn upload_of(dice: &mut Dice, id: Id, now: Timestamp) -> NewUpload {
    let key = ObjectKey::parse(dice.pick(&KEYS).unwrap()).unwrap();
    let pipeline = dice.is(40).then(|| PipelineRef {
        id: pipeline(dice),
        object_key: key.clone(),
    });
    let life = Duration::from_millis(dice.below(5_000_000));
    NewUpload {
        id,
        bucket: Bucket::parse("uploads").unwrap(),
        key,
        pipeline,
        expires_at: dice.is(40).then(|| now.plus(life)),
        headers: headers(dice),
        attributes: Attributes::default(),
        application: None,
        created_at: now,
        abandoned_at: now.plus(Duration::from_millis(1 + dice.below(10_000_000))),
        form_post_url: String::new(),
        answer: Default::default(),
    }
}

fn pipeline(dice: &mut Dice) -> Id {
    let which = u8::try_from(dice.below(2)).unwrap();
    Id::from_bytes([which; 12])
}

fn attributes(dice: &mut Dice) -> Attributes {
    let tags = match dice.below(100) {
        // More than one value of the index takes.
        0..5 => (0..10).map(|n| (n.to_string(), "ü".repeat(256))).collect(),
        5..30 => vec![("a".to_owned(), dice.below(9).to_string())],
        _ => Vec::new(),
    };
    let sha1 = vec![u8::try_from(dice.below(9)).unwrap(); 20];
    Attributes {
        acl: dice.pick(&CannedAcl::ALL).unwrap(),
        tags: Tags::new(tags).unwrap(),
        checksum: Checksum::new(ChecksumAlgorithm::Sha1, sha1).filter(|_| dice.is(20)),
    }
}

fn headers(dice: &mut Dice) -> HeaderSet {
    let mut headers = HeaderSet::default();
    if dice.is(50) {
        headers.set(
            "content-type",
            dice.pick(&["video/mp4", "text/plain"]).unwrap(),
        );
    }
    if dice.is(5) {
        // A label that is too long for an extended attribute goes beside the file.
        headers.set("x-amz-meta-note", &"n".repeat(2000));
    }
    headers
}

fn body(dice: &mut Dice) -> Body {
    let length = match dice.is(10) {
        true => 1500,
        false => usize::try_from(dice.below(40)).unwrap(),
    };
    let seed = dice.next();
    Body { seed, length }
}

/// The plan of an upload: how many chunks, and how long each but the last.
fn plan(id: Id) -> (u32, usize) {
    let bytes = id.as_bytes();
    let nb_chunks = u32::from(bytes[11] % 5) + 1;
    let stride = [3, 7, 7, 1100][usize::from(bytes[10] % 4)];
    (nb_chunks, stride)
}

pub(crate) fn chunk(dice: &mut Dice, model: &Model) -> Chunk {
    let id = id(dice, model);
    chunk_of(dice, model, id)
}

/// A chunk of this upload.
pub(crate) fn chunk_of(dice: &mut Dice, model: &Model, id: Id) -> Chunk {
    let (nb_chunks, stride) = plan(id);
    let missing: Vec<u32> = (0..nb_chunks)
        .filter(|i| !model.has_chunk(id, *i))
        .collect();
    let any = u32::try_from(dice.below(u64::from(nb_chunks))).unwrap();
    let index = match dice.below(100) {
        0..70 => dice.pick(&missing).unwrap_or(any),
        70..99 => any,
        _ => dice.pick(&[nb_chunks, MAX_CHUNKS, 9]).unwrap(),
    };
    let given = match dice.below(100) {
        0..50 => None,
        50..95 => Some(nb_chunks),
        95..97 => Some(nb_chunks + 1),
        97..99 => Some(1),
        _ => dice.pick(&[Some(0), Some(MAX_CHUNKS + 1)]).unwrap(),
    };
    let last = index + 1 == nb_chunks;
    let planned = if last { stride.div_ceil(2) } else { stride };
    let length = match dice.below(100) {
        0..88 => planned,
        88..91 => 0,
        _ => usize::try_from(dice.below(stride as u64 + 3)).unwrap(),
    };
    let is_part = model.parts(id).is_some();
    let own = u64::from(id.as_bytes()[9]) << 32 | u64::from(index);
    let seed = if dice.is(88) { own } else { dice.next() };
    Chunk {
        id,
        spec: match is_part {
            // Nobody says how many there will be.
            true => ChunkSpec::new(index, None),
            false => ChunkSpec {
                sizes: sizes(dice, nb_chunks, stride),
                ..ChunkSpec::new(index, given)
            },
        },
        body: Body { seed, length },
        wrong: dice.is(3),
    }
}

/// What a client says of sizes: often nothing, mostly what is planned, now and then another number.
fn sizes(dice: &mut Dice, nb_chunks: u32, stride: usize) -> SaidSizes {
    let stride = stride as u64;
    let total = u64::from(nb_chunks - 1) * stride + stride.div_ceil(2);
    let mut said = |planned: u64| match dice.below(100) {
        0..70 => None,
        70..98 => Some(planned),
        _ => Some(planned + 1),
    };
    SaidSizes {
        stride: said(stride),
        total: said(total),
        source: said(total + 5),
    }
}

/// The end of an upload: of one in parts by their names, mostly.
fn end(dice: &mut Dice, model: &Model) -> Op {
    let id = id(dice, model);
    match model.parts(id) {
        Some(parts) if dice.is(95) => Op::CompleteParts(id, completion(dice, model, parts)),
        _ => finish(dice, id),
    }
}

/// All parts that are here, or some of them, or what they are not.
fn completion(dice: &mut Dice, model: &Model, mut parts: Vec<(u32, Md5)>) -> Completion {
    match dice.below(100) {
        0..60 => {}
        60..85 => parts.retain(|_| dice.is(60)),
        85..90 => parts.reverse(),
        90..95 => parts.iter_mut().for_each(|(index, _)| *index += 1),
        _ => parts
            .iter_mut()
            .for_each(|(_, md5)| *md5 = Md5::of(b"other")),
    }
    let condition = dice.is(30).then(|| condition(dice, model));
    Completion { parts, condition }
}

fn finish(dice: &mut Dice, id: Id) -> Op {
    let (nb_chunks, _) = plan(id);
    Op::Finish(
        id,
        match dice.below(100) {
            0..88 => nb_chunks,
            88..97 => u32::try_from(dice.below(7)).unwrap(),
            _ => MAX_CHUNKS + 1,
        },
    )
}

/// An id that a session or an object has, rather an open one; sometimes one that nobody has.
fn id(dice: &mut Dice, model: &Model) -> Id {
    let sessions = |open: bool| {
        let all = model.sessions();
        let all = all.filter(move |(s, _)| !open || s.state == UploadState::Uploading);
        all.map(|(session, _)| session.upload.id)
            .collect::<Vec<_>>()
    };
    let nobody = Id::from_bytes([9; 12]);
    match dice.below(100) {
        0..70 => dice.pick(&sessions(true)),
        70..88 => dice.pick(&sessions(false)),
        88..98 => dice.pick(&model.objects().map(|(meta, _)| meta.id).collect::<Vec<_>>()),
        _ => None,
    }
    .unwrap_or(nobody)
}

pub(crate) fn name(dice: &mut Dice, model: &Model) -> ObjectName {
    let ids: Vec<Id> = model.objects().map(|(meta, _)| meta.id).collect();
    match dice.below(100) {
        0..50 => ObjectName::Id(dice.pick(&ids).unwrap_or(Id::from_bytes([8; 12]))),
        50..60 => ObjectName::Id(id(dice, model)),
        _ => ObjectName::Key(
            Bucket::parse("uploads").unwrap(),
            ObjectKey::parse(dice.pick(&KEYS).unwrap()).unwrap(),
        ),
    }
}

fn read(dice: &mut Dice, model: &Model) -> Op {
    let name = name(dice, model);
    match dice.is(60) {
        true => Op::Read(name, 0, 1 << 20),
        false => {
            let length = usize::try_from(dice.below(1200)).unwrap();
            Op::Read(name, dice.below(60), length)
        }
    }
}

pub(crate) fn change(dice: &mut Dice, now: Timestamp) -> ObjectChange {
    match dice.below(100) {
        0..50 => {
            ObjectChange::ExpiresAt(Some(now.plus(Duration::from_millis(dice.below(3_000_000)))))
        }
        50..60 => ObjectChange::ExpiresAt(Some(now)),
        60..75 => ObjectChange::ExpiresAt(None),
        75..85 => ObjectChange::UsedBy(dice.pick(&["job-1", "job-2"]).unwrap().to_owned()),
        85..87 => ObjectChange::UsedBy("j".repeat(65)),
        87..90 => ObjectChange::Rewritten(rewrite(dice)),
        90..93 => ObjectChange::Tags(attributes(dice).tags),
        93..95 => ObjectChange::Acl {
            from: attributes(dice).acl,
            to: attributes(dice).acl,
        },
        _ => ObjectChange::Headers(headers(dice)),
    }
}

fn rewrite(dice: &mut Dice) -> Rewrite {
    let attributes = attributes(dice);
    let headers = headers(dice);
    Rewrite {
        headers: match dice.is(50) {
            true => HeaderChange::All(headers),
            false => HeaderChange::Named(&["content-type"], headers),
        },
        acl: attributes.acl,
        tags: dice.is(50).then_some(attributes.tags),
        checksum: attributes.checksum,
    }
}

fn key_query(dice: &mut Dice) -> KeyQuery {
    let text = |text: &str| text.to_owned();
    KeyQuery {
        prefix: text(
            dice.pick(&["", "", "b", "b/", "b/t", "c/one", "x"])
                .unwrap(),
        ),
        delimiter: dice.pick(&[None, Some("/"), Some("o")]).unwrap().map(text),
        after: dice.is(50).then(|| text(dice.pick(&KEYS).unwrap())),
        limit: dice.pick(&[1, 2, 3, 1000]).unwrap(),
        ..KeyQuery::of(Bucket::parse("uploads").unwrap())
    }
}

fn query(dice: &mut Dice) -> FileQuery {
    let mut query = FileQuery {
        sort: dice.pick(&SORTS).unwrap(),
        descending: dice.is(50),
        limit: 5000,
        ..FileQuery::default()
    };
    if dice.is(60) {
        query.start = usize::try_from(dice.below(5)).unwrap();
        query.limit = usize::try_from(dice.below(5)).unwrap();
    }
    if dice.is(30) {
        query.pipelines.push(pipeline(dice));
    }
    if dice.is(15) {
        query.jobs.push("job-1".to_owned());
    }
    query
}
