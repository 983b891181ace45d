//! The reference: what the store promises at its seam, said once more in plain maps, so short that it is obviously right.
//!
//! Owns: [`Op`], one operation of the seam; [`Told`], what a caller is told; and [`Model`], which says what must be told. Errors are
//! compared by their words, which hold their figures. Below it: `drive` does an operation on a store, `random` draws one,
//! `linear` finds out whether what several callers were told fits any order.
//! Never does: know how an engine works. No file, no index, no task, no clock.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod contend;
pub(crate) mod drive;
pub(crate) mod linear;
pub(crate) mod random;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use pillarbox::model::{
    Crc64, Digests, ETag, HeaderSet, Id, MAX_CHUNKS, Md5, NewUpload, ObjectMeta, ObjectParts,
    PartRules, SaidSizes, Timestamp, UploadSession, UploadState,
};
use pillarbox::store::{
    ChunkSpec, Completion, FileQuery, HeaderChange, KeyEntry, KeyQuery, ObjectChange, ObjectName,
    SortKey, StoreError, SweepReport, WriteCondition,
};

/// There are two headers, of which a change names the type alone.
fn change_headers(headers: &mut HeaderSet, change: &HeaderChange) {
    let note = "x-amz-meta-note";
    *headers = match change {
        HeaderChange::All(new) => new.clone(),
        HeaderChange::Named(names, new) => {
            let mut all = HeaderSet::default();
            let stays = headers.iter().filter(|(name, _)| *name == note);
            let comes = new.iter().filter(|(name, _)| names == &[*name]);
            for (name, value) in stays.chain(comes) {
                assert!(all.set(name, value));
            }
            all
        }
    };
}

/// Bytes that differ from seed to seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) seed: u64,
    pub(crate) length: usize,
}

impl Body {
    pub(crate) fn bytes(self) -> Bytes {
        let mut dice = random::Dice(self.seed);
        std::iter::repeat_with(|| dice.next().to_le_bytes()[0])
            .take(self.length)
            .collect()
    }
}

/// One chunk on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) id: Id,
    pub(crate) spec: ChunkSpec,
    pub(crate) body: Body,
    /// The client announces an MD5 that the bytes do not have.
    pub(crate) wrong: bool,
}

/// One operation of the seam.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(NewUpload),
    Chunk(Chunk),
    /// Begins a chunk in a slot, and writes half of it.
    Begin(u8, Chunk),
    /// Writes the rest of what was begun in a slot, and commits it.
    Commit(u8),
    /// Drops what was begun in a slot.
    Drop(u8),
    Post(NewUpload, Body),
    PostIf(NewUpload, Body, WriteCondition),
    /// Starts an upload in parts; they are sent as chunks are.
    CreateParts(NewUpload),
    CompleteParts(Id, Completion),
    Finish(Id, u32),
    Abort(Id),
    Session(Id),
    Receipts(Id),
    Look(ObjectName),
    Read(ObjectName, u64, usize),
    Verify(ObjectName),
    Change(ObjectName, ObjectChange),
    Delete(ObjectName),
    DeleteIf(ObjectName, WriteCondition),
    List(FileQuery),
    ListKeys(KeyQuery),
    Sweep(usize),
}

/// What a caller is told when it went well.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Session(UploadSession),
    Chunk(Receipt, bool, Option<ObjectMeta>),
    Receipts(Vec<Receipt>),
    Object(ObjectMeta),
    Bytes(ObjectMeta, Bytes),
    Page(Vec<ObjectMeta>, usize),
    Keys(Vec<KeyEntry>, bool),
    Swept(SweepReport),
}

/// Index, length and digests of a chunk.
pub(crate) type Receipt = (u32, u64, Digests);
/// What a caller is told.
pub(crate) type Told = Result<Answer, String>;

#[derive(Clone, Debug, PartialEq)]
struct Session {
    shown: UploadSession,
    chunks: BTreeMap<u32, Bytes>,
}

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    /// By key; an expired one stays until it is swept, and nobody sees it.
    objects: BTreeMap<String, (ObjectMeta, Bytes)>,
    sessions: BTreeMap<Id, Session>,
    writers: BTreeMap<u8, Chunk>,
}

impl Model {
    /// Does one operation, as if alone.
    pub(crate) fn apply(&mut self, op: &Op, now: Timestamp) -> Told {
        match op {
            Op::Create(new) => self.create(new, None),
            Op::CreateParts(new) => self.create(new, Some(PartRules::default())),
            Op::Chunk(chunk) => {
                self.begin(chunk)?;
                self.commit(chunk, now)
            }
            Op::Begin(slot, chunk) => {
                self.begin(chunk)?;
                self.writers.insert(*slot, chunk.clone());
                Ok(Answer::Done)
            }
            Op::Commit(slot) => match self.writers.remove(slot) {
                Some(chunk) => self.commit(&chunk, now),
                None => Ok(Answer::Done),
            },
            Op::Drop(slot) => {
                self.writers.remove(slot);
                Ok(Answer::Done)
            }
            Op::Post(new, body) => self.post(new, *body, now),
            Op::PostIf(new, body, condition) => {
                self.check(condition, new, now)?;
                self.post(new, *body, now)
            }
            Op::CompleteParts(id, completion) => self.complete_parts(*id, completion, now),
            Op::Finish(id, nb_chunks) => {
                self.finish(*id, *nb_chunks)?;
                self.name(*id, now);
                Ok(Answer::Session(self.session(*id)?.shown.clone()))
            }
            Op::Abort(id) => self.abort(*id),
            Op::Session(id) => Ok(Answer::Session(self.session(*id)?.shown.clone())),
            Op::Receipts(id) => {
                let chunks = self.session(*id)?.chunks.iter();
                let receipts = chunks.map(|(index, bytes)| receipt(*index, bytes));
                Ok(Answer::Receipts(receipts.collect()))
            }
            Op::Look(name) | Op::Verify(name) => Ok(Answer::Object(self.live(name, now)?.0)),
            Op::Read(name, offset, length) => {
                let (meta, bytes) = self.live(name, now)?;
                let from = usize::try_from(*offset).unwrap().min(bytes.len());
                let to = (from + length).min(bytes.len());
                Ok(Answer::Bytes(meta, bytes.slice(from..to)))
            }
            Op::Change(name, change) => self.change(name, change, now),
            Op::Delete(name) => {
                let (meta, _) = self.live(name, now)?;
                self.objects.remove(meta.key.as_str());
                Ok(Answer::Done)
            }
            Op::DeleteIf(name, condition) => {
                let (meta, _) = self.live(name, now)?;
                judge(condition, Some(&meta))?;
                self.apply(&Op::Delete(name.clone()), now)
            }
            Op::List(query) => Ok(self.list(query, now)),
            Op::ListKeys(query) => Ok(self.list_keys(query, now)),
            Op::Sweep(limit) => Ok(Answer::Swept(self.sweep(now, *limit))),
        }
    }

    /// What is left after the index was lost: sessions are gone, objects are not.
    pub(crate) fn lose_index(&mut self) {
        self.sessions.clear();
    }

    /// Whoever was writing is gone.
    pub(crate) fn restart(&mut self) {
        self.writers.clear();
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &(ObjectMeta, Bytes)> {
        self.objects.values()
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&UploadSession, usize)> {
        let sessions = self.sessions.values();
        sessions.map(|session| (&session.shown, session.chunks.len()))
    }

    pub(crate) fn has_chunk(&self, id: Id, index: u32) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| session.chunks.contains_key(&index))
    }

    /// The parts of an upload in parts; `None` when it is none.
    pub(crate) fn parts(&self, id: Id) -> Option<Vec<(u32, Md5)>> {
        let session = self.sessions.get(&id)?;
        session.shown.parts?;
        Some(session.parts().collect())
    }

    pub(crate) fn writers(&self) -> impl Iterator<Item = u8> {
        self.writers.keys().copied()
    }

    fn create(&mut self, new: &NewUpload, parts: Option<PartRules>) -> Told {
        self.refuse_taken(new.id)?;
        let shown = UploadSession {
            upload: new.clone(),
            state: UploadState::Uploading,
            nb_chunks: None,
            received_chunks: 0,
            received_bytes: 0,
            sizes: SaidSizes::default(),
            parts,
        };
        let session = Session {
            shown: shown.clone(),
            chunks: BTreeMap::new(),
        };
        self.sessions.insert(new.id, session);
        Ok(Answer::Session(shown))
    }

    fn refuse_taken(&self, id: Id) -> Result<(), String> {
        match self.sessions.contains_key(&id) || self.by_id(id).is_some() {
            true => says(StoreError::Exists),
            false => Ok(()),
        }
    }

    fn session(&self, id: Id) -> Result<&Session, String> {
        let session = self.sessions.get(&id);
        session.ok_or_else(|| StoreError::NoSuchUpload.to_string())
    }

    /// Whether a chunk may be begun.
    pub(crate) fn begin(&self, chunk: &Chunk) -> Result<(), String> {
        let session = self.session(chunk.id)?;
        if session.shown.parts.is_some() && session.shown.state != UploadState::Uploading {
            return says(StoreError::NoSuchUpload);
        }
        let (known, given) = (session.shown.nb_chunks, chunk.spec.nb_chunks);
        if let (Some(known), Some(given)) = (known, given)
            && known != given
        {
            return says(StoreError::ChunkCountDiffers { known, given });
        }
        let index = chunk.spec.index;
        let nb_chunks = known.or(given).unwrap_or(MAX_CHUNKS);
        if index >= nb_chunks || nb_chunks > MAX_CHUNKS {
            let nb_chunks = nb_chunks.min(MAX_CHUNKS);
            return says(StoreError::ChunkOutOfRange { index, nb_chunks });
        }
        given.map_or(Ok(()), |given| session.check_count(given))?;
        session.check_said(chunk.spec.sizes)
    }

    fn commit(&mut self, chunk: &Chunk, now: Timestamp) -> Told {
        let (receipt, repeated) = self.acknowledge(chunk)?;
        self.name(chunk.id, now);
        let done = self.session(chunk.id)?.shown.state == UploadState::Completed;
        let object = self.by_id(chunk.id).filter(|_| done);
        Ok(Answer::Chunk(receipt, repeated, object))
    }

    /// Takes a chunk in; a set that is full is `Completing` from then on.
    pub(crate) fn acknowledge(&mut self, chunk: &Chunk) -> Result<(Receipt, bool), String> {
        if chunk.wrong {
            return says(StoreError::DigestMismatch { digest: "MD5" });
        }
        self.begin(chunk)?;
        let (index, bytes) = (chunk.spec.index, chunk.body.bytes());
        let Some(session) = self.sessions.get_mut(&chunk.id) else {
            return says(StoreError::NoSuchUpload);
        };
        let repeated = session.chunks.get(&index) == Some(&bytes);
        let shown = &mut session.shown;
        if shown.state != UploadState::Uploading {
            let nb_chunks = shown.nb_chunks.unwrap_or(MAX_CHUNKS);
            return match repeated {
                true => Ok((receipt(index, &bytes), true)),
                false => says(StoreError::ChunkDiffers { index, nb_chunks }),
            };
        }
        let told = (receipt(index, &bytes), repeated);
        let mut next = session.clone();
        next.chunks.insert(index, bytes);
        let shown = &mut next.shown;
        shown.nb_chunks = shown.nb_chunks.or(chunk.spec.nb_chunks);
        shown.sizes = shown.sizes.or(chunk.spec.sizes);
        shown.received_chunks = u32::try_from(next.chunks.len()).unwrap();
        shown.received_bytes = next.chunks.values().map(|b| b.len() as u64).sum();
        next.check_lengths(index)?;
        if next.shown.nb_chunks == Some(next.shown.received_chunks) {
            next.check_total()?;
            next.shown.state = UploadState::Completing;
        }
        *session = next;
        Ok(told)
    }

    /// Says that no more chunks come.
    pub(crate) fn finish(&mut self, id: Id, nb_chunks: u32) -> Result<(), String> {
        let session = self.session(id)?;
        if session.shown.parts.is_some() {
            return says(StoreError::NoSuchUpload);
        }
        if let Some(known) = session.shown.nb_chunks.filter(|known| *known != nb_chunks) {
            let given = nb_chunks;
            return says(StoreError::ChunkCountDiffers { known, given });
        }
        if session.shown.state != UploadState::Uploading {
            return Ok(());
        }
        session.check_count(nb_chunks)?;
        let absent = (0..nb_chunks).filter(|index| !session.chunks.contains_key(index));
        let absent: Vec<u32> = absent.collect();
        if !absent.is_empty() {
            let count = u32::try_from(absent.len()).unwrap();
            let first = absent;
            return says(StoreError::MissingChunks { first, count });
        }
        session.check_total()?;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.shown.nb_chunks = Some(nb_chunks);
            session.shown.state = UploadState::Completing;
        }
        Ok(())
    }

    /// Gives a full set its name; one whose object has expired already is gone.
    pub(crate) fn name(&mut self, id: Id, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.shown.state == UploadState::Completing {
            session.shown.state = UploadState::Completed;
            let chunks: Vec<Bytes> = session.chunks.values().cloned().collect();
            let mut object = object_of(&session.shown.upload, &chunks, now);
            if session.shown.parts.is_some() {
                // One part is a part, too.
                let sizes = chunks.iter().map(|chunk| chunk.len() as u64);
                object.0.parts = Some(ObjectParts::of(sizes, None));
                object.0.etag = ETag::of_chunks(chunks.iter().map(|chunk| Md5::of(chunk)));
            }
            if !object.0.is_live(now) {
                self.sessions.remove(&id);
                return;
            }
            let key = object.0.key.as_str().to_owned();
            self.objects.insert(key, object);
        }
    }

    fn post(&mut self, new: &NewUpload, body: Body, now: Timestamp) -> Told {
        self.refuse_taken(new.id)?;
        let object = object_of(new, &[body.bytes()], now);
        let told = (receipt(0, &object.1), false, Some(object.0.clone()));
        self.objects.insert(new.key.as_str().to_owned(), object);
        Ok(Answer::Chunk(told.0, told.1, told.2))
    }

    /// The parts that are named become the object, if each of them is here.
    fn complete_parts(&mut self, id: Id, completion: &Completion, now: Timestamp) -> Told {
        let session = self.session(id)?;
        let is_all = session.parts().eq(completion.parts.iter().copied());
        match (session.shown.parts, session.shown.state) {
            (Some(_), UploadState::Uploading) => {}
            (Some(_), UploadState::Completed) if is_all => {
                let object = self.by_id(id).filter(|meta| meta.is_live(now));
                let object = object.ok_or_else(|| StoreError::NoSuchUpload.to_string());
                return object.map(Answer::Object);
            }
            _ => return says(StoreError::NoSuchUpload),
        }
        let mut behind = None;
        for (index, md5) in &completion.parts {
            let is_here = session.parts().any(|part| part == (*index, *md5));
            if !is_here || behind >= Some(*index) {
                return says(StoreError::PartDiffers { index: *index });
            }
            behind = Some(*index);
        }
        if behind.is_none() {
            return says(StoreError::PartDiffers { index: 0 });
        }
        if let Some(condition) = &completion.condition {
            self.check(condition, &session.shown.upload, now)?;
        }
        if let Some(Session { shown, chunks }) = self.sessions.get_mut(&id) {
            chunks.retain(|index, _| completion.parts.iter().any(|(named, _)| named == index));
            shown.received_chunks = u32::try_from(chunks.len()).unwrap();
            shown.received_bytes = chunks.values().map(|chunk| chunk.len() as u64).sum();
            shown.nb_chunks = Some(shown.received_chunks);
            shown.state = UploadState::Completing;
        }
        self.name(id, now);
        self.session(id)?;
        let object = self.by_id(id);
        Ok(object.map_or(Answer::Done, Answer::Object))
    }

    /// Whether a condition holds of what has the key of an upload.
    fn check(
        &self,
        condition: &WriteCondition,
        upload: &NewUpload,
        now: Timestamp,
    ) -> Result<(), String> {
        let held = self.objects.get(upload.key.as_str()).map(|(meta, _)| meta);
        judge(condition, held.filter(|meta| meta.is_live(now)))
    }

    fn abort(&mut self, id: Id) -> Told {
        match self.session(id)?.shown.state {
            // Of one that is being made whole nobody was told yet that it is an object.
            UploadState::Uploading | UploadState::Completing => self.sessions.remove(&id),
            _ => return says(StoreError::Finished),
        };
        Ok(Answer::Done)
    }

    /// The object with this id, live or not.
    pub(crate) fn by_id(&self, id: Id) -> Option<ObjectMeta> {
        let object = self.objects.values().find(|(meta, _)| meta.id == id);
        object.map(|(meta, _)| meta.clone())
    }

    fn live(&self, name: &ObjectName, now: Timestamp) -> Result<(ObjectMeta, Bytes), String> {
        let named = |meta: &ObjectMeta| match name {
            ObjectName::Id(id) => meta.id == *id,
            ObjectName::Key(_, key) => meta.key == *key,
        };
        let mut objects = self.objects.values();
        let found = objects.find(|(meta, _)| named(meta) && meta.is_live(now));
        let found = found.cloned();
        found.ok_or_else(|| StoreError::NoSuchObject.to_string())
    }

    fn change(&mut self, name: &ObjectName, change: &ObjectChange, now: Timestamp) -> Told {
        let (mut meta, bytes) = self.live(name, now)?;
        match change {
            ObjectChange::ExpiresAt(Some(_)) if meta.job.is_some() => {
                return says(StoreError::InUse);
            }
            ObjectChange::ExpiresAt(at) => meta.expires_at = *at,
            ObjectChange::UsedBy(job) if job.len() > 64 => return says(StoreError::RecordTooLarge),
            ObjectChange::UsedBy(job) => {
                (meta.job, meta.expires_at) = (Some(job.clone()), None);
            }
            ObjectChange::Headers(headers) => meta.headers = headers.clone(),
            ObjectChange::Rewritten(rewrite) => {
                change_headers(&mut meta.headers, &rewrite.headers);
                meta.attributes.acl = rewrite.acl;
                let tags = rewrite.tags.as_ref();
                meta.attributes.tags = tags.unwrap_or(&meta.attributes.tags).clone();
                let checksum = rewrite.checksum.as_ref();
                meta.attributes.checksum = checksum.or(meta.attributes.checksum.as_ref()).cloned();
                meta.finished_at = now;
            }
            ObjectChange::Tags(tags) => meta.attributes.tags = tags.clone(),
            ObjectChange::Acl { from, .. } if *from != meta.attributes.acl => {
                return says(StoreError::ConditionOvertaken);
            }
            ObjectChange::Acl { to, .. } => meta.attributes.acl = *to,
        }
        (meta.updated_at, meta.version) = (now, meta.version + 1);
        let key = meta.key.as_str().to_owned();
        self.objects.insert(key, (meta.clone(), bytes));
        Ok(Answer::Object(meta))
    }

    fn list(&self, query: &FileQuery, now: Timestamp) -> Answer {
        let metas = self.objects.values().map(|(meta, _)| meta);
        let pipeline = |meta: &ObjectMeta| meta.pipeline.as_ref().map(|pipeline| pipeline.id);
        let matches = |meta: &&ObjectMeta| {
            let pipelines = &query.pipelines;
            meta.is_live(now)
                && (pipelines.is_empty() || pipeline(meta).is_some_and(|p| pipelines.contains(&p)))
                && (query.jobs.is_empty()
                    || meta
                        .job
                        .as_ref()
                        .is_some_and(|job| query.jobs.contains(job)))
        };
        let mut files: Vec<ObjectMeta> = metas.filter(matches).cloned().collect();
        files.sort_by_key(|meta| rank(query.sort, meta));
        if query.descending {
            files.reverse();
        }
        let total = files.len();
        let page = files.into_iter().skip(query.start).take(query.limit);
        Answer::Page(page.collect(), total)
    }

    /// One page by key: all keys are looked at.
    fn list_keys(&self, query: &KeyQuery, now: Timestamp) -> Answer {
        let mut entries: Vec<KeyEntry> = Vec::new();
        for (key, (meta, _)) in &self.objects {
            let Some(rest) = key.strip_prefix(&query.prefix) else {
                continue;
            };
            let delimiter = query.delimiter.as_deref();
            let end = delimiter.and_then(|text| Some(rest.find(text)? + text.len()));
            let name = &key[..end.map_or(key.len(), |end| query.prefix.len() + end)];
            let entry = match end {
                None => KeyEntry::Object(Box::new(meta.clone())),
                Some(_) => KeyEntry::Group(name.to_owned()),
            };
            let is_behind = query.after.as_deref().is_none_or(|after| name > after);
            if meta.is_live(now) && is_behind && entries.last() != Some(&entry) {
                entries.push(entry);
            }
        }
        let more = entries.len() > query.limit;
        entries.truncate(query.limit);
        Answer::Keys(entries, more)
    }

    fn sweep(&mut self, now: Timestamp, limit: usize) -> SweepReport {
        let mut due: Vec<(Timestamp, Id, String)> = Vec::new();
        for (key, (meta, _)) in &self.objects {
            due.extend(meta.expires_at.map(|at| (at, meta.id, key.clone())));
        }
        due.retain(|(at, ..)| *at <= now);
        due.sort();
        let objects = due.len().min(limit);
        for (.., key) in due.iter().take(limit) {
            self.objects.remove(key);
        }
        let mut old: Vec<(Timestamp, Id)> = Vec::new();
        old.extend(self.sessions.values().map(Session::due));
        old.retain(|(at, _)| *at <= now);
        old.sort();
        let sessions = old.len().min(limit - objects);
        for (_, id) in old.iter().take(sessions) {
            self.sessions.remove(id);
        }
        SweepReport {
            objects,
            sessions,
            more: objects < due.len() || sessions < old.len(),
            ..SweepReport::default()
        }
    }

    /// Sweeps one session, if it is due.
    pub(crate) fn sweep_session(&mut self, id: Id, now: Timestamp) {
        self.sessions.retain(|other, session| {
            let open = session.shown.state == UploadState::Completing;
            *other != id || open || session.due().0 > now
        });
    }

    /// Sweeps every object that is due.
    pub(crate) fn sweep_objects(&mut self, now: Timestamp) {
        self.objects.retain(|_, (meta, _)| meta.is_live(now));
    }

    /// A number that two different states hardly share.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (key, (meta, bytes)) in &self.objects {
            let times = (
                meta.updated_at.millis(),
                meta.expires_at.map(Timestamp::millis),
            );
            (key, meta.id, meta.version, times, &meta.job, bytes).hash(&mut hasher);
        }
        for (id, session) in &self.sessions {
            let shown = &session.shown;
            (id, shown.state.as_str(), shown.nb_chunks, &session.chunks).hash(&mut hasher);
            let sizes = shown.sizes;
            (sizes.stride, sizes.total, sizes.source).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The state of a session.
    pub(crate) fn state(&self, id: Id) -> Option<UploadState> {
        self.sessions.get(&id).map(|session| session.shown.state)
    }
}

/// Whether a condition holds of what is there.
fn judge(condition: &WriteCondition, held: Option<&ObjectMeta>) -> Result<(), String> {
    let holds = match condition {
        WriteCondition::Absent => held.is_none(),
        WriteCondition::Present => held.is_some(),
        WriteCondition::Matches(tag) => held.is_some_and(|held| held.etag == *tag),
    };
    match (holds, held) {
        (true, _) => Ok(()),
        (false, Some(_)) => says(StoreError::ConditionFailed),
        (false, None) => says(StoreError::NoSuchObject),
    }
}

impl Session {
    fn parts(&self) -> impl Iterator<Item = (u32, Md5)> {
        let parts = self.chunks.iter();
        parts.map(|(index, bytes)| (*index, Md5::of(bytes)))
    }

    fn check_count(&self, given: u32) -> Result<(), String> {
        let known = self.chunks.keys().last().map_or(0, |last| last + 1);
        match given == 0 || given > MAX_CHUNKS || given < known {
            true => says(StoreError::ChunkCountDiffers { known, given }),
            false => Ok(()),
        }
    }

    /// Whether what a chunk says of sizes was said before, or is new.
    fn check_said(&self, said: SaidSizes) -> Result<(), String> {
        let full = self.shown.state != UploadState::Uploading;
        let total = full.then_some(self.shown.received_bytes);
        let known = self.shown.sizes;
        if let (Some(known), Some(given)) = (known.stride, said.stride)
            && known != given
        {
            return says(StoreError::ChunkSizesDiffer { known, given });
        }
        if let (Some(known), Some(given)) = (known.total.or(total), said.total)
            && known != given
        {
            return says(StoreError::TotalDiffers { known, given });
        }
        match (known.source, said.source) {
            (Some(known), Some(given)) if known != given => {
                says(StoreError::SourceDiffers { known, given })
            }
            _ => Ok(()),
        }
    }

    /// Every chunk but the last has the size that was said; the one that came last is judged first.
    fn check_lengths(&self, arrived: u32) -> Result<(), String> {
        let Some(known) = self.shown.sizes.stride else {
            return Ok(());
        };
        let highest = self.chunks.keys().last().copied().unwrap_or(0);
        let not_last = |index: &u32| {
            *index < highest || self.shown.nb_chunks.is_some_and(|count| index + 1 < count)
        };
        let others = self.chunks.keys().copied();
        let order = std::iter::once(arrived).chain(others);
        for index in order.filter(not_last) {
            let given = self.chunks[&index].len() as u64;
            if known != given {
                return says(StoreError::ChunkSizesDiffer { known, given });
            }
        }
        Ok(())
    }

    fn check_total(&self) -> Result<(), String> {
        let given = self.shown.received_bytes;
        match self.shown.sizes.total {
            Some(known) if known != given => says(StoreError::TotalDiffers { known, given }),
            _ => Ok(()),
        }
    }

    fn due(&self) -> (Timestamp, Id) {
        (self.shown.upload.abandoned_at, self.shown.upload.id)
    }
}

fn says<T>(error: StoreError) -> Result<T, String> {
    Err(error.to_string())
}

pub(crate) fn receipt(index: u32, bytes: &[u8]) -> Receipt {
    let (md5, crc64) = (Md5::of(bytes), Crc64::of(bytes));
    (index, bytes.len() as u64, Digests { md5, crc64 })
}

/// The object that an upload becomes.
fn object_of(upload: &NewUpload, chunks: &[Bytes], now: Timestamp) -> (ObjectMeta, Bytes) {
    let bytes = Bytes::from(chunks.concat());
    let md5s = chunks.iter().map(|chunk| Md5::of(chunk));
    let md5 = Some(Md5::of(&bytes)).filter(|_| chunks.len() == 1);
    let meta = ObjectMeta {
        id: upload.id,
        bucket: upload.bucket.clone(),
        key: upload.key.clone(),
        size: bytes.len() as u64,
        etag: md5.map_or_else(|| ETag::of_chunks(md5s), ETag::of_whole),
        md5,
        crc64: Crc64::of(&bytes),
        headers: upload.headers.clone(),
        attributes: upload.attributes.clone(),
        parts: (chunks.len() > 1)
            .then(|| ObjectParts::of(chunks.iter().map(|chunk| chunk.len() as u64), None)),
        created_at: upload.created_at,
        updated_at: now,
        finished_at: now,
        expires_at: upload.expires_at,
        pipeline: upload.pipeline.clone(),
        job: None,
        application: upload.application,
        version: 1,
    };
    (meta, bytes)
}

/// What a list is sorted by: the field, then the id.
fn rank(sort: SortKey, meta: &ObjectMeta) -> (i64, String, Id) {
    let (number, text) = match sort {
        SortKey::CreatedAt => (meta.created_at.millis(), ""),
        SortKey::UpdatedAt => (meta.updated_at.millis(), ""),
        SortKey::FinishedAt => (meta.finished_at.millis(), ""),
        SortKey::ExpiresAt => (meta.expires_at.map_or(i64::MAX, Timestamp::millis), ""),
        SortKey::Size => (i64::try_from(meta.size).unwrap(), ""),
        SortKey::Name => (0, meta.key.file_name()),
        SortKey::Id => (0, ""),
    };
    (number, text.to_owned(), meta.id)
}
