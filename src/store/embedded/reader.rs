//! Reading the bytes of objects.
//!
//! Owns: [`Reader`], an open object, and the check of one that is read whole.
//! Never does: find objects; `objects` does.
//!
//! Invariants:
//! 1. What the kernel has in memory is read on the caller's thread, at most [`AT_ONCE_BYTES`] at a time; anything that waits for the disk
//!    does so in a blocking job, the freeing of what was deleted while it was open among it.
//! 2. Few readers have their object from memory (`hot`), for they keep it there; the others read its file, and keep the part that they asked for.
//! 3. Of an object that may be kept in memory (`hot`) no byte is given away before all of it was compared with its checksum. A larger one
//!    is checked by whoever reads all of it.

use std::fs::File;
use std::mem;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::Engine;
use super::disk::FileName;
use super::faults::{self, Bug};
use super::hot::MAX_OBJECT_BYTES;
use super::objects::{self, Found, MAX_TRIES, damaged};
use super::rebuild;
use super::sync::Handle;
use crate::model::{Crc64, Hasher, ObjectMeta, Timestamp};
use crate::store::{ObjectName, ObjectReader, StoreError};

/// Bytes read at once when an object is verified.
const VERIFY_BYTES: usize = 1 << 20;
/// Bytes that are copied from the kernel's memory on the caller's thread at most; it takes 20 µs, as handing over does.
const AT_ONCE_BYTES: usize = 128 << 10;

/// What a damaged object is called.
const OTHER_BYTES: &str = "an object's bytes do not match its checksum";
const NO_LABEL: &str = "its file carries no record of it (an extended attribute that was lost, as by a copy without them?), so a rebuilt index would not have it";
const OTHER_SIZE: &str = "an object has another size than its record";

/// An open object; it keeps the file, whatever happens to the name.
#[derive(Debug)]
pub(super) struct Reader {
    engine: Arc<Engine>,
    meta: Arc<ObjectMeta>,
    source: Source,
}

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    /// With a place among those who hold such.
    Memory {
        bytes: Bytes,
        _place: Option<OwnedSemaphorePermit>,
    },
    /// In the file of a small object, which is read whole and then kept.
    Small(Found, Arc<File>),
    Large(Arc<File>),
}

impl Source {
    const NOTHING: Self = Self::Memory {
        bytes: Bytes::new(),
        _place: None,
    };
}

/// Opens a live object.
pub(super) async fn open(
    engine: &Arc<Engine>,
    name: &ObjectName,
    now: Timestamp,
) -> Result<Reader, StoreError> {
    let found = objects::found(engine, name, now)?;
    if let Some(bytes) = &found.bytes
        && let Some(place) = engine.hot.place()
    {
        let (bytes, _place) = (bytes.clone(), Some(place));
        return Ok(Reader::new(
            engine,
            found.meta,
            Source::Memory { bytes, _place },
        ));
    }
    let (found, file) = match engine.disk.open_at_once(FileName::Main(found.meta.id))? {
        Some(file) => checked(engine, found, file)?,
        None => {
            let name = name.clone();
            let find = move |engine: &Engine| find_file(engine, &name, now);
            engine.blocking(find).await?
        }
    };
    let (meta, file) = (Arc::clone(&found.meta), Arc::new(file));
    let source = match is_small(&meta) {
        // The file is read for it, whatever was found in memory.
        true => Source::Small(
            Found {
                bytes: None,
                ..found
            },
            file,
        ),
        false => Source::Large(file),
    };
    Ok(Reader::new(engine, meta, source))
}

/// A live object and its file; found again when it was replaced before its file was opened.
fn find_file(
    engine: &Engine,
    name: &ObjectName,
    now: Timestamp,
) -> Result<(Found, File), StoreError> {
    for _ in 0..MAX_TRIES {
        let found = objects::found(engine, name, now)?;
        if let Some(file) = engine.disk.open_to_read(FileName::Main(found.meta.id))? {
            return checked(engine, found, file);
        }
    }
    Err(damaged("an object's file is missing"))
}

fn checked(engine: &Engine, found: Found, file: File) -> Result<(Found, File), StoreError> {
    if engine.disk.length(&file)? == found.meta.size {
        return Ok((found, file));
    }
    Err(damaged(OTHER_SIZE))
}

fn is_small(meta: &ObjectMeta) -> bool {
    meta.size <= MAX_OBJECT_BYTES as u64
}

/// Reads an object whole from its file and compares.
pub(super) async fn verify(
    engine: &Arc<Engine>,
    name: ObjectName,
    now: Timestamp,
) -> Result<ObjectMeta, StoreError> {
    let check = move |engine: &Engine| {
        let (found, file) = find_file(engine, &name, now)?;
        let mut hasher = Hasher::default();
        let mut offset = 0;
        loop {
            let bytes = engine.disk.read_at(&file, offset, VERIFY_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            offset += bytes.len() as u64;
            hasher.update(&bytes);
        }
        let (digests, meta) = (hasher.finish(), Arc::unwrap_or_clone(found.meta));
        if offset != meta.size {
            return Err(damaged(OTHER_SIZE));
        }
        if digests.crc64 != meta.crc64 || meta.md5.is_some_and(|md5| md5 != digests.md5) {
            return Err(damaged(OTHER_BYTES));
        }
        let label = rebuild::read_label(&engine.disk, meta.id)?;
        let is_same = |label: &ObjectMeta| (&label.bucket, &label.key) == (&meta.bucket, &meta.key);
        if label.filter(is_same).is_none() {
            // Unless it was deleted while its bytes were read.
            let still = objects::find_live(engine, &ObjectName::Id(meta.id), now)?;
            return match (&still.bucket, &still.key) == (&meta.bucket, &meta.key) {
                true => Err(damaged(NO_LABEL)),
                false => Err(StoreError::NoSuchObject),
            };
        }
        Ok(meta)
    };
    engine.blocking(check).await
}

impl Reader {
    fn new(engine: &Arc<Engine>, meta: Arc<ObjectMeta>, source: Source) -> Self {
        Self {
            engine: Arc::clone(engine),
            meta,
            source,
        }
    }

    /// Reads exactly `length` bytes of the file.
    async fn read_file(
        &self,
        file: &Arc<File>,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StoreError> {
        if length <= AT_ONCE_BYTES
            && let Some(bytes) = self.engine.disk.read_at_once(file, offset, length)?
        {
            return Ok(bytes);
        }
        let file = Arc::clone(file);
        let read = move |engine: &Engine| engine.disk.read_at(&file, offset, length);
        let bytes = self.engine.blocking(read).await?;
        if bytes.len() < length {
            return Err(damaged("an object's file was cut short"));
        }
        Ok(bytes.into())
    }

    /// All of a small object, compared with its checksum, and kept for whoever reads it next.
    async fn read_whole(&self, found: &Found, file: &Arc<File>) -> Result<Bytes, StoreError> {
        let size = usize::try_from(found.meta.size).unwrap_or(usize::MAX);
        let bytes = self.read_file(file, 0, size).await?;
        if Crc64::of(&bytes) != found.meta.crc64 && !faults::is_planted(Bug::NoReadCheck) {
            return Err(damaged(OTHER_BYTES));
        }
        let (name, meta) = (found.name.clone(), Arc::clone(&found.meta));
        self.engine
            .hot
            .keep(name, &found.record, meta, bytes.clone());
        Ok(bytes)
    }
}

impl Drop for Reader {
    /// The last to have a large file that was deleted open frees all of its blocks by closing it, which waits for the disk.
    fn drop(&mut self) {
        if let Source::Large(file) = mem::replace(&mut self.source, Source::NOTHING)
            && self.engine.disk.is_unlinked(&file)
            && let Ok(runtime) = Handle::try_current()
        {
            let close = move || drop(file);
            drop(self.engine.tasks.spawn_blocking_on(close, &runtime));
        }
    }
}

#[async_trait]
impl ObjectReader for Reader {
    fn meta(&self) -> &Arc<ObjectMeta> {
        &self.meta
    }

    fn is_checked(&self) -> bool {
        is_small(&self.meta) || faults::is_planted(Bug::NoReadCheck)
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let left = self.meta.size.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let whole = match &self.source {
            Source::Memory { bytes, .. } => bytes.clone(),
            Source::Small(found, file) => self.read_whole(found, file).await?,
            Source::Large(file) => return self.read_file(file, offset, length).await,
        };
        // The object is in memory, so a place in it is one in memory.
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(whole.len());
        let part = from..from.saturating_add(length).min(whole.len());
        Ok(match &self.source {
            // All of it was read for this, and goes: a slice of it would keep 64 KiB for each of many slow readers.
            Source::Small(..) if part.len() < whole.len() => {
                Bytes::copy_from_slice(whole.get(part).unwrap_or_default())
            }
            _ => whole.slice(part),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::hot::MAX_HOLDERS;
    use super::*;
    use crate::model::CannedAcl;
    use crate::store::embedded::tests::{Folder, NOW, post};
    use crate::store::embedded::{EmbeddedStore, tests};
    use crate::store::{ObjectChange, ObjectStore as _};

    const LARGE: usize = MAX_OBJECT_BYTES + 1;

    async fn read(store: &EmbeddedStore, key: &ObjectName) -> Result<Bytes, StoreError> {
        store.open(key, NOW).await?.read_at(0, 1 << 30).await
    }

    /// Where an object is.
    fn name_of(meta: &ObjectMeta) -> ObjectName {
        ObjectName::Key(meta.bucket.clone(), meta.key.clone())
    }

    /// Makes one bit of an object's file another one.
    fn flip(store: &EmbeddedStore, meta: &ObjectMeta) {
        let path = store.locate(meta).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }

    fn is_corrupt(read: &Result<Bytes, StoreError>) -> bool {
        matches!(read, Err(StoreError::Corrupt(_)))
    }

    #[tokio::test]
    async fn a_small_object_is_read_from_its_file_once_and_a_large_one_each_time() {
        let folder = Folder::new();
        let store = folder.open().await;
        for (length, again) in [(1, true), (MAX_OBJECT_BYTES, true), (LARGE, false)] {
            let meta = post(&store, "a", &vec![7; length]).await;
            let name = name_of(&meta);
            assert_eq!(read(&store, &name).await.unwrap(), vec![7; length]);
            std::fs::remove_file(store.locate(&meta).unwrap()).unwrap();
            for name in [name, ObjectName::Id(meta.id)] {
                let second = read(&store, &name).await;
                assert_eq!(second.is_ok(), again, "{length} bytes: {second:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_a_small_object_keeps_no_more_than_itself() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "a", &vec![7; MAX_OBJECT_BYTES]).await;
        let reader = store.open(&name_of(&meta), NOW).await.unwrap();
        let part = reader.read_at(5, 10).await.unwrap();
        assert_eq!(part, vec![7; 10]);
        let alone = part.try_into_mut().expect("nobody else has it");
        assert!(alone.capacity() < 1000, "{} bytes", alone.capacity());
    }

    #[tokio::test]
    async fn few_readers_have_an_object_from_memory_and_the_others_from_its_file() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "a", &vec![7; MAX_OBJECT_BYTES]).await;
        let name = name_of(&meta);
        for _ in 0..2 {
            read(&store, &name).await.unwrap();
        }
        let mut readers = Vec::new();
        for _ in 0..MAX_HOLDERS + 2 {
            readers.push(open(&store.engine, &name, NOW).await.unwrap());
        }
        let from_memory = |reader: &&Reader| matches!(reader.source, Source::Memory { .. });
        assert_eq!(readers.iter().filter(from_memory).count(), MAX_HOLDERS);
        let last = readers.last().unwrap().read_at(0, 1 << 30).await.unwrap();
        assert_eq!(last, vec![7; MAX_OBJECT_BYTES]);
        readers.clear();
        let reader = open(&store.engine, &name, NOW).await.unwrap();
        assert!(from_memory(&&reader), "{:?}", reader.source);
    }

    #[test]
    fn a_large_object_that_was_deleted_while_it_was_read_is_closed_by_another_thread() {
        let pool = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap();
        pool.block_on(async {
            let folder = Folder::new();
            let store = folder.open().await;
            for is_deleted in [false, true] {
                let meta = post(&store, "a", &vec![7; LARGE]).await;
                let reader = open(&store.engine, &name_of(&meta), NOW).await;
                let reader = reader.unwrap();
                let Source::Large(file) = &reader.source else {
                    panic!("{:?}", reader.source);
                };
                let file = Arc::downgrade(file);
                if is_deleted {
                    std::fs::remove_file(store.locate(&meta).unwrap()).unwrap();
                }
                let (release, held) = std::sync::mpsc::channel::<()>();
                let busy = tokio::task::spawn_blocking(move || held.recv());
                drop(reader);
                assert_eq!(file.strong_count() == 1, is_deleted);
                drop(release);
                assert!(busy.await.unwrap().is_err());
                store.engine.blocking(|_| Ok(())).await.unwrap();
                assert_eq!(file.strong_count(), 0);
            }
        });
    }

    #[tokio::test]
    async fn what_is_in_memory_follows_every_change_of_its_object() {
        let folder = Folder::new();
        let store = folder.open().await;
        let old = post(&store, "a", b"old").await;
        let name = name_of(&old);
        assert_eq!(read(&store, &name).await.unwrap(), "old");
        let acl = ObjectChange::Acl {
            from: CannedAcl::Private,
            to: CannedAcl::PublicRead,
        };
        store.change_object(&name, acl, NOW).await.unwrap();
        let reader = store.open(&name, NOW).await.unwrap();
        assert_eq!(reader.meta().attributes.acl, CannedAcl::PublicRead);
        assert_eq!(reader.read_at(1, 1).await.unwrap(), "l");
        post(&store, "a", b"new").await;
        assert_eq!(read(&store, &name).await.unwrap(), "new");
        // What is kept late is the old record, which counts for nothing.
        assert_eq!(reader.read_at(0, 9).await.unwrap(), "old");
        assert_eq!(read(&store, &name).await.unwrap(), "new");
        store.delete_object(&name, NOW).await.unwrap();
        let gone = read(&store, &name).await;
        assert!(matches!(gone, Err(StoreError::NoSuchObject)));
    }

    #[tokio::test]
    async fn an_object_in_memory_expires_like_any_other() {
        let folder = Folder::new();
        let store = folder.open().await;
        let name = name_of(&post(&store, "a", b"old").await);
        let soon = NOW.plus(Duration::from_secs(1));
        let change = ObjectChange::ExpiresAt(Some(soon));
        store.change_object(&name, change, NOW).await.unwrap();
        for _ in 0..2 {
            assert_eq!(read(&store, &name).await.unwrap(), "old");
        }
        let gone = store.open(&name, soon).await;
        assert!(matches!(gone, Err(StoreError::NoSuchObject)), "{gone:?}");
    }

    #[tokio::test]
    async fn of_a_small_object_with_one_wrong_bit_not_even_a_part_is_given_away() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "a", b"sound").await;
        flip(&store, &meta);
        let reader = store.open(&name_of(&meta), NOW).await.unwrap();
        assert!(reader.is_checked());
        for place in [(0, 5), (4, 1)] {
            assert!(is_corrupt(&reader.read_at(place.0, place.1).await));
        }
        flip(&store, &meta);
        assert_eq!(read(&store, &name_of(&meta)).await.unwrap(), "sound");
    }

    #[tokio::test]
    async fn verifying_looks_at_the_file_whatever_is_in_memory() {
        let folder = Folder::new();
        let store = folder.open().await;
        let meta = post(&store, "a", b"sound").await;
        let name = name_of(&meta);
        assert_eq!(tests::read(&store, meta.id).await.unwrap(), "sound");
        assert_eq!(store.verify(&name, NOW).await.unwrap(), meta);
        flip(&store, &meta);
        assert_eq!(read(&store, &name).await.unwrap(), "sound");
        let verified = store.verify(&name, NOW).await;
        assert!(matches!(verified, Err(StoreError::Corrupt(_))));
    }
}
