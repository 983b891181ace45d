//! The form in which an entry of the catalog is stored, in the index and in its snapshot.
//!
//! Owns: the keys of entries, by kind and name, and [`Entry`], which names its kind in JSON. Never does: read or write; `catalog` does.
//!
//! Invariant: what an earlier version wrote stays readable: members that were added later have a default, and a kind keeps its name and
//! its byte.

use serde::{Deserialize, Serialize};

use super::records::{self, CATALOG};
use crate::model::{
    AccessKey, Application, BucketConfig, BucketSetting, Pipeline, SettingKind, Token,
};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, StoreError};

/// [`CatalogEntry`] in the form it is stored in.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Token(Token),
    Application(Application),
    AccessKey(AccessKey),
    Pipeline(Pipeline),
    Bucket(BucketConfig),
    Setting(BucketSetting),
}

impl Entry {
    /// Of what crosses the seam.
    pub(super) fn from_seam(entry: CatalogEntry) -> Self {
        match entry {
            CatalogEntry::Token(token) => Self::Token(token),
            CatalogEntry::Application(application) => Self::Application(application),
            CatalogEntry::AccessKey(key) => Self::AccessKey(key),
            CatalogEntry::Pipeline(pipeline) => Self::Pipeline(pipeline),
            CatalogEntry::Bucket(bucket) => Self::Bucket(bucket),
            CatalogEntry::Setting(setting) => Self::Setting(setting),
        }
    }

    /// As it crosses the seam.
    pub(super) fn into_seam(self) -> CatalogEntry {
        match self {
            Self::Token(token) => CatalogEntry::Token(token),
            Self::Application(application) => CatalogEntry::Application(application),
            Self::AccessKey(key) => CatalogEntry::AccessKey(key),
            Self::Pipeline(pipeline) => CatalogEntry::Pipeline(pipeline),
            Self::Bucket(bucket) => CatalogEntry::Bucket(bucket),
            Self::Setting(setting) => CatalogEntry::Setting(setting),
        }
    }
}

/// In the order in which a rebuild takes them in: a setting comes behind its bucket.
pub(super) const KINDS: [CatalogKind; 6] = [
    CatalogKind::Token,
    CatalogKind::Application,
    CatalogKind::AccessKey,
    CatalogKind::Pipeline,
    CatalogKind::Bucket,
    CatalogKind::Setting,
];

/// What begins the key of an entry of this kind.
pub(super) const fn kind_byte(kind: CatalogKind) -> u8 {
    match kind {
        CatalogKind::Token => b't',
        CatalogKind::Application => b'a',
        CatalogKind::AccessKey => b'k',
        CatalogKind::Pipeline => b'p',
        CatalogKind::Bucket => b'b',
        CatalogKind::Setting => b's',
    }
}

/// The key of an entry.
pub(super) fn entry_key(key: &CatalogKey) -> Vec<u8> {
    let (kind, name) = match key {
        CatalogKey::Token(hash) => (CatalogKind::Token, hash.as_bytes().as_slice()),
        CatalogKey::Application(id) => (CatalogKind::Application, id.as_bytes().as_slice()),
        CatalogKey::AccessKey(id) => (CatalogKind::AccessKey, id.as_bytes()),
        CatalogKey::Pipeline(id) => (CatalogKind::Pipeline, id.as_bytes().as_slice()),
        CatalogKey::Bucket(name) => (CatalogKind::Bucket, name.as_str().as_bytes()),
        CatalogKey::Setting(name, setting) => {
            let (name, setting) = (name.as_str().as_bytes(), setting_byte(*setting));
            let kind = kind_byte(CatalogKind::Setting);
            return records::key(CATALOG, &[&[kind], name, &[0, setting]]);
        }
    };
    records::key(CATALOG, &[&[kind_byte(kind)], name])
}

const fn setting_byte(kind: SettingKind) -> u8 {
    match kind {
        SettingKind::Acl => b'a',
        SettingKind::Cors => b'c',
        SettingKind::Lifecycle => b'l',
    }
}

/// An entry.
pub(super) fn encode(entry: &CatalogEntry) -> Result<Vec<u8>, StoreError> {
    records::encode(&Entry::from_seam(entry.clone()))
}

/// Reads back [`encode`].
pub(super) fn decode(bytes: &[u8]) -> Result<CatalogEntry, StoreError> {
    records::decode(bytes).map(Entry::into_seam)
}
