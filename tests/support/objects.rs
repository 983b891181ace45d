//! Objects for tests: stored straight through the seam, without a form or a session.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "no test crate uses all of it; a test fails loudly"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pillarbox::model::{
    Bucket, HeaderSet, Id, NewUpload, ObjectKey, ObjectMeta, PipelineRef, Timestamp,
};
use pillarbox::store::{ChunkSpec, Expected};

use crate::support::{NOW, PIPELINE, Rig};

/// Counts drafts, so that each has an id of its own.
static MADE: AtomicU64 = AtomicU64::new(1);

/// An object that is about to be stored.
#[derive(Clone, Debug)]
pub struct Draft {
    pub upload: NewUpload,
    pub bytes: Vec<u8>,
}

/// An object of the pipeline [`PIPELINE`] with this key below its root path; it never expires.
pub fn draft(object_key: &str, bytes: impl Into<Vec<u8>>) -> Draft {
    let pipeline = Id::parse(PIPELINE).unwrap();
    let key = format!("tmp/{PIPELINE}/{object_key}");
    Draft {
        upload: NewUpload {
            id: Id::new(NOW, MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes()),
            bucket: Bucket::parse("uploads").unwrap(),
            key: ObjectKey::parse(&key).unwrap(),
            pipeline: Some(PipelineRef {
                id: pipeline,
                object_key: ObjectKey::parse(object_key).unwrap(),
            }),
            expires_at: None,
            headers: HeaderSet::default(),
            attributes: Default::default(),
            application: None,
            created_at: NOW,
            abandoned_at: NOW.plus(Duration::from_secs(7 * 24 * 3600)),
            form_post_url: "http://127.0.0.1:7080/uploads/".to_owned(),
            answer: Default::default(),
        },
        bytes: bytes.into(),
    }
}

impl Draft {
    /// With a stored header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        assert!(self.upload.headers.set(name, value));
        self
    }

    /// Gone from this moment on.
    pub fn expires(mut self, moment: Timestamp) -> Self {
        self.upload.expires_at = Some(moment);
        self
    }

    /// Stored in one piece, at the rig's time.
    pub async fn store(self, rig: &Rig) -> ObjectMeta {
        let mut writer = rig.store.write_object(self.upload).await.unwrap();
        writer.write(Bytes::from(self.bytes)).await.unwrap();
        let committed = writer.commit(Expected::default(), rig.clock.now()).await;
        committed.unwrap().object.unwrap()
    }

    /// Stored through a session in chunks of this many bytes.
    pub async fn store_in_chunks(self, rig: &Rig, chunk_bytes: usize) -> ObjectMeta {
        let chunks = self.bytes.chunks(chunk_bytes).collect::<Vec<_>>();
        let (id, nb_chunks) = (self.upload.id, u32::try_from(chunks.len()).unwrap());
        rig.store.create_upload(self.upload.clone()).await.unwrap();
        let mut object = None;
        for (index, chunk) in (0..).zip(&chunks) {
            let spec = ChunkSpec::new(index, Some(nb_chunks));
            let mut writer = rig.store.write_chunk(id, spec).await.unwrap();
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            let committed = writer.commit(Expected::default(), rig.clock.now()).await;
            object = committed.unwrap().object;
        }
        object.unwrap()
    }
}

/// Bytes that no block, chunk or word repeats.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}
