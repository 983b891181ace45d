//! The catalog: the values that cross the seam, and what an engine promises of them.
//!
//! Owns: [`Catalog`], its entries and their limits. Never does: keep them; an engine does.
//!
//! Invariant: a change that returned `Ok` is on stable storage, and every later answer shows it.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{
    AccessKey, Application, Bucket, BucketConfig, BucketSetting, Id, Pipeline, SettingKind,
    Timestamp, Token, TokenHash,
};

/// One entry of the catalog.
#[derive(Clone, Debug)]
pub enum CatalogEntry {
    /// A bearer token.
    Token(Token),
    /// Client credentials.
    Application(Application),
    /// A key that signs forms.
    AccessKey(AccessKey),
    /// A pipeline.
    Pipeline(Pipeline),
    /// A bucket.
    Bucket(BucketConfig),
    /// What was set for a bucket.
    Setting(BucketSetting),
}

/// Names one entry of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogKey {
    /// A token, by what it hashes to.
    Token(TokenHash),
    /// An application, by its `client_id`.
    Application(Id),
    /// An access key, by its id.
    AccessKey(String),
    /// A pipeline, by its id.
    Pipeline(Id),
    /// A bucket, by its name.
    Bucket(Bucket),
    /// One setting of a bucket.
    Setting(Bucket, SettingKind),
}

impl CatalogEntry {
    /// The name of this entry.
    pub fn key(&self) -> CatalogKey {
        match self {
            Self::Token(token) => CatalogKey::Token(token.hash),
            Self::Application(application) => CatalogKey::Application(application.id),
            Self::AccessKey(key) => CatalogKey::AccessKey(key.id.clone()),
            Self::Pipeline(pipeline) => CatalogKey::Pipeline(pipeline.id),
            Self::Bucket(bucket) => CatalogKey::Bucket(bucket.name.clone()),
            Self::Setting(set) => CatalogKey::Setting(set.bucket.clone(), set.value.kind()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> CatalogKind {
        match self {
            Self::Token(_) => CatalogKind::Token,
            Self::Application(_) => CatalogKind::Application,
            Self::AccessKey(_) => CatalogKind::AccessKey,
            Self::Pipeline(_) => CatalogKind::Pipeline,
            Self::Bucket(_) => CatalogKind::Bucket,
            Self::Setting(_) => CatalogKind::Setting,
        }
    }
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// Bearer tokens.
    Token,
    /// Client credentials.
    Application,
    /// Keys that sign forms.
    AccessKey,
    /// Pipelines.
    Pipeline,
    /// Buckets.
    Bucket,
    /// Settings of buckets.
    Setting,
}

/// Tokens, applications, access keys, pipelines, buckets and their settings.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// One entry. Expiry is the caller's business.
    async fn find(&self, key: &CatalogKey) -> Result<Option<CatalogEntry>, StoreError>;

    /// All entries of a kind, by key; at most [`MAX_CATALOG_ENTRIES`].
    async fn list(&self, kind: CatalogKind) -> Result<Vec<CatalogEntry>, StoreError>;

    /// Creates or replaces an entry. [`StoreError::CatalogFull`] at [`MAX_CATALOG_ENTRIES`] of a kind, at [`MAX_CATALOG_BYTES`] and at [`MAX_SETTINGS_BYTES`]; for a setting
    /// [`StoreError::NoSuchBucket`] when its bucket is not there, [`StoreError::RecordTooLarge`] above [`MAX_ENTRY_BYTES`]. On a full disk,
    /// [`StoreError::Full`]; but what is there can be replaced, buckets can be set, and there may always be a few entries of each kind.
    /// A bucket that was not there is made later than whatever began before any bucket was removed. For a token of an application that has
    /// [`MAX_TOKENS_OF_APPLICATION`], those of it that have expired go, else the one that was issued first; and the last [`TOKENS_OF_OPERATOR`] places for
    /// tokens, and [`BYTES_OF_OPERATOR`] of all bytes, are only for what the operator makes: tokens of no application, applications, access keys.
    async fn insert(&self, entry: CatalogEntry) -> Result<(), StoreError>;

    /// Removes an entry; false when there was none. A pipeline with open sessions, and a bucket with any object, also one that has
    /// expired and was not swept, is refused with [`StoreError::InUse`]. A bucket takes its settings with it.
    async fn remove(&self, key: &CatalogKey) -> Result<bool, StoreError>;

    /// Removes tokens, some hundreds in a step; how many of them there were. When it fails, some are gone and it can be asked again.
    async fn remove_tokens(&self, tokens: &[TokenHash]) -> Result<usize, StoreError>;

    /// Removes a bucket without live objects; false when there was none. No object is named in it from that moment on.
    ///
    /// # Errors
    /// [`StoreError::InUse`]; [`StoreError::Busy`] when so much in it waits for the sweep that it would take long to look through.
    async fn remove_bucket(&self, bucket: &Bucket, now: Timestamp) -> Result<bool, StoreError>;
}

/// Longest entry, in bytes of JSON; only the rules of a bucket come near it.
pub const MAX_ENTRY_BYTES: usize = 512 << 10;
/// Most bytes of JSON that the settings of all buckets take together, but for access control lists; as they are read, up to fifteen times as
/// much.
pub const MAX_SETTINGS_BYTES: u64 = 16 << 20;
/// Most bytes of JSON that all entries take together, but for tokens that were issued to applications: each change writes them all.
pub const MAX_CATALOG_BYTES: u64 = 64 << 20;
/// Of these bytes, how many are kept for tokens, applications and access keys, which only the operator makes.
pub const BYTES_OF_OPERATOR: u64 = 1 << 20;
/// Most tokens of one application.
pub const MAX_TOKENS_OF_APPLICATION: usize = 1000;
/// Of all places for tokens, how many are kept for those of no application.
pub const TOKENS_OF_OPERATOR: usize = 1000;
/// Most entries of one kind.
pub const MAX_CATALOG_ENTRIES: usize = 100_000;
