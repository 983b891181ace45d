//! Uploads: what was asked for, what state it is in, and the receipt for each chunk.
//!
//! Owns: the upload's limits and states. Never does: decide where bytes go; the assembler does.
//! Invariants: an [`UploadSession`] is created only by a store, from a [`NewUpload`]; its id is also the File's id. A
//! [`ChunkReceipt`] exists only if its bytes are on stable storage.

use serde::{Deserialize, Serialize};

use super::{Attributes, Bucket, Digests, HeaderSet, Id, ObjectKey, PipelineRef, Timestamp};

/// Most chunks of one upload.
pub const MAX_CHUNKS: u32 = 10_000;
/// Largest chunk, or object posted in one piece: 5 GiB, in bytes.
pub const MAX_CHUNK_BYTES: u64 = 5 << 30;
/// Largest object: 5 TiB, in bytes.
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;

/// What an upload will become; the part of it that the client chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUpload {
    /// The id of the upload and of the File it becomes.
    pub id: Id,
    /// The bucket the object will live in.
    pub bucket: Bucket,
    /// Its full key in the bucket.
    pub key: ObjectKey,
    /// The pipeline, for uploads that came through the REST API.
    pub pipeline: Option<PipelineRef>,
    /// When the finished object expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Headers to store with the object.
    pub headers: HeaderSet,
    /// What else the object is to have. A session's record holds it whole, so the tags of one are bounded by the record.
    #[serde(default, skip_serializing_if = "Attributes::is_default")]
    pub attributes: Attributes,
    /// The application whose token started the upload.
    pub application: Option<Id>,
    /// When the upload began.
    pub created_at: Timestamp,
    /// When an unfinished session is abandoned and swept.
    pub abandoned_at: Timestamp,
    /// Where the form is posted to; kept so that a later answer names the same place.
    pub form_post_url: String,
}

/// Where a session stands. The names are the hosted API's, the two last ones ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UploadState {
    /// Chunks may come.
    Uploading,
    /// All chunks are here; the object is being made whole.
    Completing,
    /// The object is visible.
    Completed,
    /// The object could not be made whole.
    Failed,
}

impl UploadState {
    /// The word the REST API shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "UPLOADING",
            Self::Completing => "COMPLETING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A started upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSession {
    /// What was asked for.
    pub upload: NewUpload,
    /// Where it stands.
    pub state: UploadState,
    /// The number of chunks, once a chunk or the client has said it; 1 to [`MAX_CHUNKS`].
    pub nb_chunks: Option<u32>,
    /// Chunks on stable storage.
    pub received_chunks: u32,
    /// Bytes of those chunks.
    pub received_bytes: u64,
}

/// Where a chunk's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the session's one file, from this offset in bytes.
    Main(u64),
    /// In the spill file with this number.
    Spill(u32),
}

/// Proof that one chunk is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReceipt {
    /// The chunk's index, from 0.
    pub index: u32,
    /// Where its bytes lie.
    pub place: Place,
    /// Its length in bytes.
    pub length: u64,
    /// What its bytes hashed to.
    pub digests: Digests,
}
