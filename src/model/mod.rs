//! The words every floor shares: ids, keys, times, digests, tags, uploads, objects and catalog entries.
//!
//! Owns: the meaning and the limits of each word. A value of one of these types is valid for ever; parsing happens once,
//! at the edge, and everything below may trust it.
//!
//! Never does: I/O, async, reading a clock, drawing randomness. Time and randomness are arguments.
//!
//! Invariants: an [`ObjectKey`] or [`Bucket`] never becomes a path (files carry an [`Id`]); secrets do not print.

/// `Debug` that shows the name and nothing else, for what goes to a client and not to the log.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
pub(crate) use opaque;

mod acl;
mod catalog;
mod checksum;
mod combine;
mod cors;
mod digest;
mod id;
mod key;
mod key_limits;
mod lifecycle;
mod object;
mod parts;
mod printable;
mod settings;
mod tags;
mod time;
mod upload;

pub use acl::CannedAcl;
pub use catalog::{
    AccessKey, Application, BucketConfig, KeyPurpose, Pipeline, PipelineSettings, Scope, Scopes,
    Secret, Token, TokenHash,
};
pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher};
pub use cors::CorsRule;
pub use digest::{Crc64, Crc64Hasher, Digests, ETag, Hasher, Md5, decode_hex, encode_hex};
pub use id::Id;
pub use key::{Bucket, NameError, ObjectKey, quoted};
pub use key_limits::{Action, BeyondLimits, KeyLimits, LimitsError, Permission, Target};
pub use lifecycle::{Expiration, LifecycleFilter, LifecycleRule};
pub use object::{Attributes, HeaderSet, ObjectMeta, PipelineRef};
pub use parts::{ChecksumType, ObjectParts, PartRules, WholeChecksum};
pub use printable::{printable, turns_direction};
pub use settings::{BucketSetting, SettingKind, SettingValue, SharedRules};
pub use tags::{TagError, Tags};
pub use time::Timestamp;
pub use upload::{
    AnswerStyle, ChunkReceipt, MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_OBJECT_BYTES, NewUpload, Place,
    SaidSizes, UploadSession, UploadState,
};
