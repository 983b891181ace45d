//! Who may do what, and where: tokens, applications, access keys, pipelines, buckets.
//!
//! Owns: the scopes and the shape of each entry. Never does: store or compare secrets; a token is known by its hash only.
//! Invariants: [`Secret`] never prints and is never compared with `==`; [`Scopes`] hold what was granted, nothing implied.
//!
//! Source of the scopes: the hosted API's "Obtaining an OAuth Access Token".

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::digest::{decode_hex, encode_hex};
use super::{Bucket, Id, KeyLimits, Timestamp};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read one's own account.
    Me,
    /// Read and write everything of the media API.
    Mediahub,
    /// Read sessions, files and pipelines; download.
    MediahubRead,
    /// Create, change and delete sessions, files and pipelines.
    MediahubWrite,
    /// Only record a Job's use of a file.
    MediahubSubmitJobs,
    /// Only download.
    MediahubDownloadFiles,
    /// Accepted for compatibility; grants nothing here.
    Autograph,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::Me,
        Self::Mediahub,
        Self::MediahubRead,
        Self::MediahubWrite,
        Self::MediahubSubmitJobs,
        Self::MediahubDownloadFiles,
        Self::Autograph,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::Mediahub => "mediahub",
            Self::MediahubRead => "mediahub_read",
            Self::MediahubWrite => "mediahub_write",
            Self::MediahubSubmitJobs => "mediahub_submit_jobs",
            Self::MediahubDownloadFiles => "mediahub_download_files",
            Self::Autograph => "autograph",
        }
    }

    /// The scope with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A set of scopes, in the order they were granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Parses a list separated by commas or blanks; an unknown name is returned as the error.
    ///
    /// # Errors
    /// The first name that is no scope.
    pub fn parse(list: &str) -> Result<Self, String> {
        let names = list.split([',', ' ']).filter(|name| !name.is_empty());
        names
            .map(|name| Scope::parse(name).ok_or_else(|| name.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The set with just these scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.to_vec())
    }

    /// Whether `wanted` was granted, directly or by a scope that contains it.
    pub fn allow(&self, wanted: Scope) -> bool {
        let contains = |held: Scope| match held {
            Scope::Mediahub => matches!(
                wanted,
                Scope::Mediahub
                    | Scope::MediahubRead
                    | Scope::MediahubWrite
                    | Scope::MediahubSubmitJobs
                    | Scope::MediahubDownloadFiles
            ),
            Scope::MediahubRead => {
                matches!(wanted, Scope::MediahubRead | Scope::MediahubDownloadFiles)
            }
            Scope::MediahubWrite => {
                matches!(wanted, Scope::MediahubWrite | Scope::MediahubSubmitJobs)
            }
            other => other == wanted,
        };
        self.0.iter().copied().any(contains)
    }

    /// Whether every scope of `other` is allowed here.
    pub fn contain(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.allow(*scope))
    }

    /// Whether nothing was granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .0
                .iter()
                .map(|scope| scope.as_str())
                .collect::<Vec<_>>()
                .join(","),
        )
    }
}

/// A secret that must be recoverable. It does not print, and it is stored only in files of mode 0600.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for signing and for showing once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of a bearer token; the token itself is shown once and never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a presented token.
    pub fn of(token: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode_hex(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a token hash is 64 hex digits"))
    }
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names the token in lists and for revoking; reveals nothing.
    pub id: Id,
    /// What the token hashes to.
    pub hash: TokenHash,
    /// A name for people, at most 128 bytes.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// The application it was issued to; `None` for a static token.
    pub application: Option<Id>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on it is refused; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// An application: client credentials for the token endpoint and for HMAC-signed URLs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    /// The `client_id`.
    pub id: Id,
    /// The `client_secret`, base64; it signs URLs, so it must be recoverable.
    pub secret: Secret,
    /// A name for people, at most 128 bytes.
    pub name: String,
    /// The most that its tokens may allow.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an access key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Signs the forms of our own sessions.
    Forms,
    /// Belongs to somebody who signs forms and requests himself (boto3 and friends).
    User,
    /// All of it, with fixed values: `pillarbox dev`.
    Dev,
    /// Signs download links, and no form.
    Links,
}

/// A key pair that signs forms, links or requests over S3; with a session token it is temporary, and whatever it signs must carry the
/// token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// The `AWSAccessKeyId`, 16 to 128 characters, without `/`.
    pub id: String,
    /// The secret key.
    pub secret: Secret,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this moment on its signatures are refused; `None` is never. A rotated key gets the life of its last form.
    pub expires_at: Option<Timestamp>,
    /// What the session token of a temporary key hashes to; the token is shown once and never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<TokenHash>,
    /// What it may do, and where; keys of the time before there were limits have none.
    #[serde(default, skip_serializing_if = "KeyLimits::is_none")]
    pub limits: KeyLimits,
    /// The longest that our forms lived while it signed them; nothing in keys of the time before this was noted, and in those of others.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub form_lifetime: Duration,
}

impl AccessKey {
    /// How long a temporary key is remembered after its end: who still uses it is told that it has expired.
    pub const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// When it is forgotten, as if there had never been such a key.
    pub fn forgotten_at(&self) -> Option<Timestamp> {
        let after = match self.session_token {
            Some(_) => Self::REMEMBERED,
            None => Duration::ZERO,
        };
        self.expires_at.map(|end| end.plus(after))
    }
}

/// The settings of a pipeline that its owner chooses; all that the hosted API documents.
///
/// What Pillarbox acts on is `root_path` and `default_object_timeout`; the rest is kept and given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineSettings {
    /// A name for people; required, need not be unique.
    pub name: String,
    /// A description; required by the hosted API, may be null.
    pub description: Option<String>,
    /// Where its keys live in the bucket; `tmp/<pipeline_id>/` when not set.
    pub root_path: Option<String>,
    /// Seconds after which its objects expire; the store's default (7 days) when not set.
    pub default_object_timeout: Option<u64>,
    /// All other documented settings, as JSON text of one object, at most 2,048 bytes.
    pub other: Option<String>,
}

/// A pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its id.
    pub id: Id,
    /// What its owner chose.
    pub settings: PipelineSettings,
    /// Counts changes, from 1.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Pipeline {
    /// The prefix of its keys in the bucket; ends with `/` unless empty.
    pub fn root_path(&self) -> String {
        self.settings
            .root_path
            .clone()
            .unwrap_or_else(|| format!("tmp/{}/", self.id))
    }
}

/// A bucket and its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketConfig {
    /// Its name.
    pub name: Bucket,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether anybody may post a form without a policy.
    pub public_write: bool,
}

impl BucketConfig {
    /// A bucket into which only who signs may put anything.
    pub fn new(name: Bucket, created_at: Timestamp) -> Self {
        Self {
            name,
            created_at,
            public_write: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mediahub_contains_read_and_write_but_not_autograph() {
        let all = Scopes::parse("mediahub").unwrap();
        assert!(
            all.allow(Scope::MediahubRead)
                && all.allow(Scope::MediahubWrite)
                && all.allow(Scope::MediahubDownloadFiles)
        );
        assert!(!all.allow(Scope::Autograph));
        let download = Scopes::parse("mediahub_download_files, me").unwrap();
        assert!(!download.allow(Scope::MediahubRead) && download.allow(Scope::Me));
        assert_eq!(Scopes::parse("me,root"), Err("root".to_owned()));
    }

    #[test]
    fn secrets_and_hashes_do_not_print() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter2".to_owned())),
            "Secret(..)"
        );
        assert_eq!(format!("{:?}", TokenHash::of("dev-token")), "TokenHash(..)");
    }
}
