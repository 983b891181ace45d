//! Uploads: what was asked for, what state it is in, and the receipt for each chunk.
//!
//! Owns: the upload's limits and states, and how its posts are answered. Never does: decide where bytes go; the assembler does.
//! Invariants: an [`UploadSession`] is created only by a store, from a [`NewUpload`]; its id is also the File's id. A
//! [`ChunkReceipt`] exists only if its bytes are on stable storage.

use serde::{Deserialize, Serialize};

use super::{
    Attributes, Bucket, Checksum, ChecksumAlgorithm, Digests, HeaderSet, Id, ObjectKey, PartRules,
    PipelineRef, Timestamp,
};

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
    /// How its form posts are answered. Absent from records of the default, and from those that are older than the choice.
    #[serde(default, skip_serializing_if = "AnswerStyle::is_default")]
    pub answer: AnswerStyle,
}

/// How the form posts of a session are answered: every uploader knows success by other signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStyle {
    /// As Amazon S3 answers: the status that the form asks for, XML or nothing.
    #[default]
    S3,
    /// 200 and a JSON object.
    Json,
    /// 200 and the upload's id as text.
    Text,
}

impl AnswerStyle {
    /// Every style.
    pub const ALL: [Self; 3] = [Self::S3, Self::Json, Self::Text];

    /// The word by which it is asked for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    /// Reads [`AnswerStyle::as_str`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.as_str() == word)
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
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

/// What a client says of the sizes of an upload, in bytes; each is the same for all chunks of one upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidSizes {
    /// The size of every chunk but the last.
    #[serde(default, rename = "s", skip_serializing_if = "Option::is_none")]
    pub stride: Option<u64>,
    /// The size of the whole object.
    #[serde(default, rename = "t", skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The size of the client's file before the client changed it. It tells one file from another, and says nothing of the
    /// object's bytes.
    #[serde(default, rename = "f", skip_serializing_if = "Option::is_none")]
    pub source: Option<u64>,
}

impl SaidSizes {
    /// These, and of `later` what these leave open: the first who says a size has said it.
    pub fn or(self, later: Self) -> Self {
        Self {
            stride: self.stride.or(later.stride),
            total: self.total.or(later.total),
            source: self.source.or(later.source),
        }
    }

    /// Whether nothing that both say differs.
    pub fn agree(self, other: Self) -> bool {
        self.or(other) == other.or(self)
    }

    fn is_none(&self) -> bool {
        *self == Self::default()
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
    /// The sizes that its chunks were said to have, by the first that said each. Absent from records that are older.
    #[serde(default, skip_serializing_if = "SaidSizes::is_none")]
    pub sizes: SaidSizes,
    /// For an upload in numbered parts, whose end is said by naming them: what was said at its start. `None` for a session of
    /// forms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<PartRules>,
}

impl UploadSession {
    /// The sizes that a further chunk must agree with: once all chunks are here, the total is known, said or not.
    pub fn known_sizes(&self) -> SaidSizes {
        let full = matches!(self.state, UploadState::Completing | UploadState::Completed);
        self.sizes.or(SaidSizes {
            total: full.then_some(self.received_bytes),
            ..SaidSizes::default()
        })
    }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReceipt {
    /// The chunk's index, from 0.
    pub index: u32,
    /// Where its bytes lie.
    pub place: Place,
    /// Its length in bytes.
    pub length: u64,
    /// What its bytes hashed to.
    pub digests: Digests,
    /// The checksum that was computed for its upload besides. Absent from most receipts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// When it was acknowledged. Absent from records that are older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
}

impl ChunkReceipt {
    /// Its checksum of this kind, when it is known.
    pub fn checksum_of(&self, algorithm: ChecksumAlgorithm) -> Option<Checksum> {
        match algorithm {
            ChecksumAlgorithm::Crc64Nvme => {
                let value = self.digests.crc64.to_bytes().to_vec();
                Checksum::new(algorithm, value)
            }
            _ => {
                let kept = self.checksum.as_ref();
                kept.filter(|kept| kept.algorithm() == algorithm).cloned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_of_the_default_style_is_recorded_as_before_there_were_styles() {
        let mut upload = NewUpload {
            id: Id::from_bytes([1; 12]),
            bucket: Bucket::parse("uploads").unwrap(),
            key: ObjectKey::parse("a").unwrap(),
            pipeline: None,
            expires_at: None,
            headers: HeaderSet::default(),
            attributes: Attributes::default(),
            application: None,
            created_at: Timestamp::default(),
            abandoned_at: Timestamp::default(),
            form_post_url: String::new(),
            answer: AnswerStyle::S3,
        };
        let old = serde_json::to_string(&upload).unwrap();
        assert!(!old.contains("answer"), "{old}");
        assert_eq!(serde_json::from_str::<NewUpload>(&old).unwrap(), upload);
        upload.answer = AnswerStyle::Json;
        let new = serde_json::to_string(&upload).unwrap();
        assert!(new.contains(r#""answer":"json""#), "{new}");
        assert_eq!(serde_json::from_str::<NewUpload>(&new).unwrap(), upload);
    }

    #[test]
    fn a_style_is_found_by_its_word_and_by_no_other() {
        for style in AnswerStyle::ALL {
            assert_eq!(AnswerStyle::parse(style.as_str()), Some(style));
        }
        for word in ["", "S3", "xml"] {
            assert_eq!(AnswerStyle::parse(word), None, "{word}");
        }
    }
}
