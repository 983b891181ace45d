//! The index engine of the schedules: as much of sled as `index` uses, in memory.
//!
//! Owns: an ordered map, and what of it was flushed, so that a test can ask what a crash would have left.
//! Never does: exist in a program that is built for users. Never waits for anybody, so it needs no turn of the scheduler.
//!
//! Invariants: a batch is applied whole; a scan sees one moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Bytes = Vec<u8>;
type Pairs = BTreeMap<Bytes, Bytes>;

/// What goes wrong with an index; here only its file.
#[derive(Debug)]
#[allow(dead_code, reason = "memory is never damaged")]
pub(super) enum Error {
    /// The system failed.
    Io(std::io::Error),
    /// What was read makes no sense.
    Corruption {},
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Corruption {} => f.write_str("damaged"),
        }
    }
}

#[derive(Debug, Default)]
struct Contents {
    here: Pairs,
    flushed: Pairs,
}

/// An open index.
#[derive(Clone, Debug, Default)]
pub(super) struct Db(Arc<Mutex<Contents>>);

impl Db {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.contents().here.get(key).cloned())
    }

    pub(super) fn scan_prefix(
        &self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> {
        let contents = self.contents();
        let from = contents.here.range(prefix.to_vec()..);
        let pairs = from.take_while(|(key, _)| key.starts_with(prefix));
        let pairs: Vec<_> = pairs.map(|(k, v)| Ok((k.clone(), v.clone()))).collect();
        pairs.into_iter()
    }

    pub(super) fn range(
        &self,
        from: std::ops::RangeFrom<Bytes>,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), Error>> {
        let contents = self.contents();
        let pairs = contents.here.range(from);
        let pairs: Vec<_> = pairs.map(|(k, v)| Ok((k.clone(), v.clone()))).collect();
        pairs.into_iter()
    }

    pub(super) fn apply_batch(&self, batch: Batch) -> Result<(), Error> {
        let mut contents = self.contents();
        for (key, value) in batch.0 {
            match value {
                Some(value) => contents.here.insert(key, value),
                None => contents.here.remove(&key),
            };
        }
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<usize, Error> {
        let mut contents = self.contents();
        contents.flushed = contents.here.clone();
        Ok(0)
    }

    /// What a crash would leave of a value.
    #[cfg(test)]
    pub(super) fn flushed(&self, key: &[u8]) -> Option<Bytes> {
        self.contents().flushed.get(key).cloned()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes that belong together.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<(Bytes, Option<Bytes>)>);

impl Batch {
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), Some(value.to_vec())));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.push((key.to_vec(), None));
    }
}

/// How to open an index: always a new one. Its file is there only to be synced.
#[derive(Clone, Debug, Default)]
pub(super) struct Config(PathBuf);

impl Config {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn path(self, folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(super) fn cache_capacity(self, _: u64) -> Self {
        self
    }

    pub(super) fn flush_every_ms(self, _: Option<u64>) -> Self {
        self
    }

    pub(super) fn open(&self) -> Result<Db, Error> {
        std::fs::write(self.0.join("db"), b"").map_err(Error::Io)?;
        Ok(Db::default())
    }
}
