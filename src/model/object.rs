//! What is known of a stored object besides its bytes.
//!
//! Owns: [`ObjectMeta`], the record that the index keeps and that every read answers from; [`HeaderSet`] and [`Attributes`], the
//! parts of it that the uploader chose.
//! Never does: say where bytes lie; that is the engine's business.
//! Invariant: an object whose `expires_at` is not after `now` is absent; [`ObjectMeta::is_live`] is the only judge.

use serde::{Deserialize, Serialize};

use super::{
    Bucket, CannedAcl, Checksum, Crc64, ETag, Id, Md5, ObjectKey, ObjectParts, Tags, Timestamp,
};

/// Headers that a form or a session may set and that every read gives back.
///
/// Names are lower-case. All names and values together are at most [`HeaderSet::MAX_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeaderSet(Vec<(String, String)>);

impl HeaderSet {
    /// Limit on all names and values together, in bytes; it keeps an index record under 4 KiB.
    pub const MAX_BYTES: usize = 2048;

    /// Sets one header, replacing an earlier value. Returns false, and changes nothing, when the set would exceed
    /// [`HeaderSet::MAX_BYTES`].
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let others: usize = self
            .0
            .iter()
            .filter(|(n, _)| n != name)
            .map(|(n, v)| n.len() + v.len())
            .sum();
        if others + name.len() + value.len() > Self::MAX_BYTES {
            return false;
        }
        self.0.retain(|(n, _)| n != name);
        self.0.push((name.to_owned(), value.to_owned()));
        true
    }

    /// The value of one header by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All headers in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
}

/// What an uploader gave an object besides its headers. A record that was written before there was such a thing has none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attributes {
    /// Who may do what with it, by name.
    pub acl: CannedAcl,
    /// Its tags.
    #[serde(skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The checksum that the uploader named; the bytes were compared with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

impl Attributes {
    /// Whether the uploader gave nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which pipeline an object belongs to, and its key relative to the pipeline's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRef {
    /// The pipeline's id.
    pub id: Id,
    /// The key as the client named it, without the pipeline's root path.
    pub object_key: ObjectKey,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// The id of the file on disk, of the File resource and of the upload session that made it.
    pub id: Id,
    /// The bucket it lives in.
    pub bucket: Bucket,
    /// Its full key in the bucket.
    pub key: ObjectKey,
    /// Size in bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: ETag,
    /// MD5 of all bytes; unknown for an object that came in several chunks.
    pub md5: Option<Md5>,
    /// CRC64NVME of all bytes.
    pub crc64: Crc64,
    /// Stored headers: `content-type`, `cache-control`, `content-*`, `expires`, `x-amz-meta-*`, ...
    pub headers: HeaderSet,
    /// What else the uploader gave it.
    #[serde(default, skip_serializing_if = "Attributes::is_default")]
    pub attributes: Attributes,
    /// The parts, or chunks, it came in; `None` when it came in one piece, and in records that are older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<ObjectParts>,
    /// When the upload began.
    pub created_at: Timestamp,
    /// When the object last changed: its completion, or a later change of expiry.
    pub updated_at: Timestamp,
    /// When the bytes became whole; `Last-Modified` shows it.
    pub finished_at: Timestamp,
    /// From this moment on the object is absent; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// The pipeline, for objects that came through the REST API.
    pub pipeline: Option<PipelineRef>,
    /// The Job that used the object (its id as the client gave it, at most 64 bytes); a used object does not expire.
    pub job: Option<String>,
    /// The application whose token started the upload.
    pub application: Option<Id>,
    /// Counts changes of this record, from 1.
    pub version: u32,
}

impl ObjectMeta {
    /// Whether the object exists at `now`: expired is absent, to the second and below.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ObjectMeta {
        /// For tests: an object of these bytes that was put at this moment, of which nobody said anything.
        pub(crate) fn put(key: &str, bytes: &[u8], moment: Timestamp) -> Self {
            Self {
                id: Id::new(moment, [7; 8]),
                bucket: Bucket::parse("uploads").unwrap(),
                key: ObjectKey::parse(key).unwrap(),
                size: bytes.len() as u64,
                etag: ETag::of_whole(Md5::of(bytes)),
                md5: None,
                crc64: Crc64::of(bytes),
                headers: HeaderSet::default(),
                attributes: Attributes::default(),
                parts: None,
                created_at: moment,
                updated_at: moment,
                finished_at: moment,
                expires_at: None,
                pipeline: None,
                job: None,
                application: None,
                version: 1,
            }
        }
    }

    #[test]
    fn a_header_set_refuses_what_would_pass_its_limit_and_keeps_what_it_had() {
        let mut set = HeaderSet::default();
        assert!(set.set("content-type", "text/plain"));
        assert!(!set.set("x-amz-meta-a", &"v".repeat(HeaderSet::MAX_BYTES)));
        assert!(set.set("content-type", "video/mp4"));
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [("content-type", "video/mp4")]
        );
    }
}
