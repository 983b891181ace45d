//! The sweep: frees what is expired or abandoned, a bounded amount at a time.
//!
//! Owns: [`ClockWatch`], which decides whether the wall clock is to be trusted, and the removal of due objects, sessions,
//! tokens and keys.
//! Never does: remove anything on the word of an expiry entry alone; each record is looked at again inside the job that removes it.
//!
//! Invariants:
//! 1. Nothing is swept while the wall clock is off by more than [`MAX_JUMP`] from what the monotonic clock, or the last run of an
//!    earlier process, lets expect; until it has gone evenly for [`STEADY_FOR`].
//! 2. At most `limit` things are removed in one call.
//! 3. What cannot be read stays as it is, is told to the log, and is due no more: it stops nothing else.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::index::Txn;
use super::names::{self, Garbage};
use super::records::{self, CATALOG_EXPIRY, EXPIRY, META, SESSIONS_DUE, SessionRecord};
use super::{Engine, abort, catalog, closing, damage, lifecycle, recover, retry, snapshot};
use crate::model::{Timestamp, UploadState};
use crate::store::{ClockReading, StoreError, SweepReport};

/// Largest difference between the clocks that is believed at once.
const MAX_JUMP: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a clock that jumped must go evenly before it is believed.
const STEADY_FOR: Duration = Duration::from_secs(10 * 60);
/// How far the clocks may drift apart while they count as going evenly.
const STEADY_DRIFT: Duration = Duration::from_secs(60);
/// How often the time of the last run is noted.
const NOTE_EVERY: Duration = Duration::from_secs(60);
/// Records removed in one job.
const STEP: usize = 256;

/// Compares the wall clock with the monotonic one.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    /// The reading from which on both clocks are compared; none before the first sweep.
    anchor: Option<ClockReading>,
    /// Since when the clock is doubted, and how far it jumped.
    doubt: Option<(ClockReading, Duration)>,
    noted: Option<Timestamp>,
}

impl ClockWatch {
    /// How far the wall clock jumped, while it is not to be trusted.
    fn judge(&mut self, now: ClockReading, last_run: Option<Timestamp>) -> Option<Duration> {
        if let Some((since, jump)) = self.doubt {
            return self.doubted(now, since, jump);
        }
        let jump = match (self.anchor, last_run) {
            (Some(anchor), _) => drift(anchor, now),
            (None, Some(last)) => apart(last, now.wall),
            (None, None) => Duration::ZERO,
        };
        if jump > MAX_JUMP {
            tracing::warn!(
                seconds = jump.as_secs(),
                "the wall clock jumped; nothing is swept"
            );
            self.doubt = Some((now, jump));
            return Some(jump);
        }
        self.anchor = self.anchor.or(Some(now));
        None
    }

    fn doubted(
        &mut self,
        now: ClockReading,
        since: ClockReading,
        jump: Duration,
    ) -> Option<Duration> {
        if drift(since, now) > STEADY_DRIFT {
            self.doubt = Some((now, jump));
            return Some(jump);
        }
        if now.monotonic.saturating_sub(since.monotonic) < STEADY_FOR {
            return Some(jump);
        }
        self.doubt = None;
        self.anchor = Some(now);
        None
    }
}

/// Removes at most `limit` due things.
pub(super) async fn sweep(
    engine: &Arc<Engine>,
    clock: ClockReading,
    limit: usize,
) -> Result<SweepReport, StoreError> {
    let owner = Arc::clone(engine);
    engine
        .carry_out(async move { sweep_once(&owner, clock, limit).await })
        .await
}

async fn sweep_once(
    engine: &Arc<Engine>,
    clock: ClockReading,
    limit: usize,
) -> Result<SweepReport, StoreError> {
    engine.fuse.check()?;
    if let Err(error) = engine.blocking(recover::mark_damage).await {
        // The next sweep tries again; what makes room for it comes behind it.
        tracing::warn!(%error, "a damaged index could not be marked yet");
    }
    engine.blocking(recover::keep_ballast).await?;
    snapshot::catch_up_some_time(engine).await;
    let mut report = SweepReport {
        clock_jump: judge(engine, clock)?,
        ..SweepReport::default()
    };
    if report.clock_jump.is_some() {
        return Ok(report);
    }
    note_run(engine, clock.wall).await?;
    retry::retry(engine, clock)?;
    recover::empty_garbage(engine).await?;
    report.objects = sweep_objects(engine, clock.wall, limit).await?;
    let left = limit - report.objects.min(limit);
    report.sessions = sweep_sessions(engine, clock.wall, left).await?;
    let left = left - report.sessions.min(left);
    report.catalog = sweep_catalog(engine, clock.wall, left).await?;
    let left = left - report.catalog.min(left);
    let walked = lifecycle::walk(engine, clock.wall, left).await?;
    report.objects += walked.objects;
    report.sessions += walked.sessions;
    report.more = walked.more;
    // A session that somebody has a hand on stays due: that alone is no reason to be called again at once.
    let went_on = limit == 0 || report.objects + report.sessions + report.catalog > 0;
    let sessions = went_on.then_some(SESSIONS_DUE);
    for table in [EXPIRY, CATALOG_EXPIRY].into_iter().chain(sessions) {
        report.more |= !due(engine, table, clock.wall, 1)?.is_empty();
    }
    Ok(report)
}

fn judge(engine: &Engine, clock: ClockReading) -> Result<Option<Duration>, StoreError> {
    let last_run = engine.index.get(&last_run_key())?;
    let last_run = last_run.as_deref().map(records::decode).transpose()?;
    let mut watch = engine.clock.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(watch.judge(clock, last_run))
}

/// Notes the time of a trusted run, at most once in [`NOTE_EVERY`].
async fn note_run(engine: &Engine, wall: Timestamp) -> Result<(), StoreError> {
    {
        let mut watch = engine.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if watch
            .noted
            .is_some_and(|noted| apart(noted, wall) < NOTE_EVERY)
        {
            return Ok(());
        }
        watch.noted = Some(wall);
    }
    let note = move |txn: &mut Txn<'_>| txn.put(last_run_key(), records::encode(&wall)?);
    match engine.index.commit(note).await {
        // What makes room comes behind it.
        Err(StoreError::Full) => Ok(()),
        noted => noted,
    }
}

async fn sweep_objects(
    engine: &Arc<Engine>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let (mut seen, mut swept) = (0, 0);
    while seen < limit {
        let step = due(engine, EXPIRY, now, STEP.min(limit - seen))?;
        if step.is_empty() {
            break;
        }
        seen += step.len();
        let remove = move |txn: &mut Txn<'_>| remove_objects(txn, &step, now);
        let garbage = engine.index.commit(remove).await?;
        swept += garbage.len();
        engine.collect(garbage);
    }
    Ok(swept)
}

fn remove_objects(
    txn: &mut Txn<'_>,
    keys: &[Vec<u8>],
    now: Timestamp,
) -> Result<Garbage, StoreError> {
    let mut garbage = Garbage::new();
    for key in keys {
        txn.delete(key.clone());
        let Some(id) = records::trailing_id(key) else {
            continue;
        };
        let Some(name) = names::object_name(txn, id)? else {
            continue;
        };
        let meta = match names::object_at(txn, &name) {
            Err(error) if damage::is_of_one_record(&error) => {
                tracing::warn!(%id, "an object that is due stays: its record cannot be read");
                continue;
            }
            read => read?,
        };
        if let Some(meta) = meta.filter(|meta| !meta.is_live(now)) {
            names::remove_object(txn, &meta, &mut garbage)?;
        }
    }
    Ok(garbage)
}

async fn sweep_sessions(
    engine: &Arc<Engine>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let mut swept = 0;
    for key in due(engine, SESSIONS_DUE, now, limit)? {
        let Some(id) = records::trailing_id(&key) else {
            continue;
        };
        let check = move |record: &SessionRecord| may_go(record, now);
        match abort::drop_free_session(engine, id, check).await {
            Ok(()) => swept += 1,
            Err(StoreError::NoSuchUpload) => {}
            Err(StoreError::InUse) => {
                let put_off = move |txn: &mut Txn<'_>| closing::put_off(txn, id);
                engine.index.commit(put_off).await?;
            }
            Err(error) if damage::is_of_one_record(&error) => {
                tracing::warn!(%id, "an upload that is due stays: what is known of it cannot be read");
                let forget = move |txn: &mut Txn<'_>| {
                    txn.delete(key);
                    Ok(())
                };
                engine.index.commit(forget).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

/// A session that is just being made whole stays until that has succeeded or failed.
fn may_go(record: &SessionRecord, now: Timestamp) -> Result<(), StoreError> {
    let due = record.session.upload.abandoned_at <= now;
    if due && record.session.state != UploadState::Completing {
        return Ok(());
    }
    Err(StoreError::InUse)
}

async fn sweep_catalog(
    engine: &Arc<Engine>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let keys = due(engine, CATALOG_EXPIRY, now, limit)?;
    if keys.is_empty() {
        return Ok(0);
    }
    let swept = keys.len();
    let remove = move |txn: &mut Txn<'_>| {
        txn.makes_room();
        let mut lasting = false;
        for key in keys {
            let rest = records::parse_due(&key).map(|(_, rest)| rest.to_vec());
            txn.delete(key);
            let entry = match catalog::due_entry(txn, &rest.unwrap_or_default(), now) {
                Err(error) if damage::is_of_one_record(&error) => {
                    tracing::warn!("a token or key that is due stays: its record cannot be read");
                    continue;
                }
                read => read?,
            };
            if let Some(entry) = entry {
                lasting |= catalog::is_lasting(&entry);
                catalog::take_out(txn, &entry.key())?;
            }
        }
        Ok(lasting)
    };
    if !engine.index.commit(remove).await? {
        return Ok(swept);
    }
    match snapshot::write(engine).await {
        // What it held before is the last that is known of that entry, and a rebuild brings it back.
        Err(error) if damage::is_of_one_record(&error) => {
            tracing::warn!(
                "catalog.json stays as it was: an entry cannot be read, as `pillarbox reindex` would mend"
            );
        }
        // The next sweep writes it; what makes room comes behind this one.
        Err(StoreError::Full) => tracing::warn!("catalog.json does not show the last changes yet"),
        written => written?,
    }
    Ok(swept)
}

/// The first keys of a table that are due at `now`.
fn due(
    engine: &Engine,
    table: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    engine.index.scan(&[table], |key, _| {
        let is_due = records::parse_due(key).is_some_and(|(at, _)| at <= now);
        if !is_due || keys.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        keys.push(key.to_vec());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// How differently the two clocks went.
fn drift(from: ClockReading, to: ClockReading) -> Duration {
    let expected = from.wall.plus(to.monotonic.saturating_sub(from.monotonic));
    apart(expected, to.wall)
}

fn apart(a: Timestamp, b: Timestamp) -> Duration {
    Duration::from_millis(a.millis().abs_diff(b.millis()))
}

fn last_run_key() -> Vec<u8> {
    records::key(META, &[b"last run"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::tests::{Folder, NOW, begin, hold_index, post_new, read, upload};
    use crate::store::{ObjectChange, ObjectName, ObjectStore as _};

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn an_object_that_lives_longer_since_it_was_due_stays() {
        let folder = Folder::new();
        let store = folder.open().await;
        let mut new = upload("key");
        new.expires_at = Some(after(60));
        let id = post_new(&store, new, b"bytes").await.id;
        let due = due(&store.engine, EXPIRY, after(60), 10).unwrap();
        assert_eq!(due.len(), 1);
        let longer = ObjectChange::ExpiresAt(Some(after(120)));
        let changed = store.change_object(&ObjectName::Id(id), longer, NOW).await;
        changed.unwrap();
        let remove = move |txn: &mut Txn<'_>| remove_objects(txn, &due, after(60));
        let garbage = store.engine.index.commit(remove).await.unwrap();
        assert!(garbage.is_empty(), "{garbage:?}");
        assert_eq!(read(&store, id).await.unwrap(), "bytes");
    }

    #[tokio::test]
    async fn an_upload_is_not_removed_on_the_word_of_its_entry_alone() {
        let folder = Folder::new();
        let store = folder.open().await;
        let id = begin(&store).await;
        let entry = records::due_key(SESSIONS_DUE, after(1), id.as_bytes());
        let put = move |txn: &mut Txn<'_>| txn.put(entry, Vec::new());
        store.engine.index.commit(put).await.unwrap();
        let swept = sweep_sessions(&store.engine, after(60), 10).await;
        assert_eq!(swept.unwrap(), 0);
        let state = store.upload(id).await.unwrap().state;
        assert_eq!(state, UploadState::Uploading);
    }

    #[tokio::test]
    async fn an_upload_that_is_aborted_while_those_before_it_are_swept_does_not_stop_the_sweep() {
        let folder = Folder::new();
        let store = folder.open().await;
        let [first, aborted, last] = [
            begin(&store).await,
            begin(&store).await,
            begin(&store).await,
        ];
        let held = hold_index(&store.engine);
        let sweep = sweep_sessions(&store.engine, after(2 * 86_400), 10);
        let mut sweep = std::pin::pin!(sweep);
        assert!(futures_util::poll!(&mut sweep).is_pending());
        drop(held);
        store.abort_upload(aborted).await.unwrap();
        assert_eq!(sweep.await.unwrap(), 2);
        for id in [first, last] {
            let gone = store.upload(id).await;
            assert!(matches!(gone, Err(StoreError::NoSuchUpload)), "{gone:?}");
        }
    }
}
