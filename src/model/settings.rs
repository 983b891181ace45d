//! What the owner of a bucket has set for it over S3.
//!
//! Owns: [`BucketSetting`], one setting of one bucket, and which settings there are; [`SharedRules`], which may be long and are shared.
//! Never does: know what the configuration file says of the same bucket, or which of the two counts; the `api` floor does.
//!
//! Invariants: each setting is an entry of its own, so that two who set different things at the same time lose nothing. What was set
//! keeps the rules of its kind.
//!
//! Source: Amazon S3 User Guide, "General purpose bucket configuration options".

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Bucket, CannedAcl, CorsRule, LifecycleRule};

/// Which setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Who may do what with the bucket.
    Acl,
    /// Its cross-origin rules.
    Cors,
    /// When its objects and unfinished uploads go by themselves.
    Lifecycle,
}

impl SettingKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Cors, Self::Lifecycle];
}

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingValue {
    /// Who may do what with the bucket, by name.
    Acl(CannedAcl),
    /// 1 to [`CorsRule::MAX_RULES`] rules.
    Cors(SharedRules<CorsRule>),
    /// 1 to [`LifecycleRule::MAX_RULES`] rules.
    Lifecycle(SharedRules<LifecycleRule>),
}

/// The rules of a bucket, in order. Every request to it looks at them, and there may be half a MiB: a copy is the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRules<T>(Arc<[T]>);

impl<T> Default for SharedRules<T> {
    /// None.
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> From<Vec<T>> for SharedRules<T> {
    fn from(rules: Vec<T>) -> Self {
        Self(rules.into())
    }
}

impl<T> Deref for SharedRules<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize> Serialize for SharedRules<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for SharedRules<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

impl SettingValue {
    /// Its kind.
    pub const fn kind(&self) -> SettingKind {
        match self {
            Self::Acl(_) => SettingKind::Acl,
            Self::Cors(_) => SettingKind::Cors,
            Self::Lifecycle(_) => SettingKind::Lifecycle,
        }
    }
}

/// One setting of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSetting {
    /// The bucket, which exists.
    pub bucket: Bucket,
    /// What is set.
    pub value: SettingValue,
}
