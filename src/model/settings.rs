//! What the owner of a bucket has set for it over S3.
//!
//! Owns: [`BucketSetting`], one setting of one bucket, and which settings there are.
//! Never does: know what the configuration file says of the same bucket, or which of the two counts; the `api` floor does.
//!
//! Invariants: each setting is an entry of its own, so that two who set different things at the same time lose nothing. What was set
//! keeps the rules of its kind.
//!
//! Source: Amazon S3 User Guide, "General purpose bucket configuration options".

use serde::{Deserialize, Serialize};

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
    Cors(Vec<CorsRule>),
    /// 1 to [`LifecycleRule::MAX_RULES`] rules.
    Lifecycle(Vec<LifecycleRule>),
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
