//! Making an application ready: the configured buckets, the key that signs forms, the fixed values of `pillarbox dev`.
//!
//! Owns: the first start and the rotation of the signing keys. Never does: show a secret.
//!
//! Invariants: there is always exactly one key that signs new forms; an old one stays valid as long as a form it signed
//! may live, and no longer. Links are signed by a key of their own, which no rotation touches, so that each lives as long as
//! it says. The fixed values are used only in `dev`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::address::OwnNames;
use super::app::{App, AppOptions, Clock};
use super::call::{new_id, random_bytes};
use super::error::ApiError;
use super::explain::kept::Kept;
use crate::model::{
    AccessKey, Bucket, BucketConfig, KeyLimits, KeyPurpose, Scope, Scopes, Secret, Timestamp,
    Token, TokenHash,
};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, Store};

/// The bearer token of `pillarbox dev`.
pub const DEV_TOKEN: &str = "dev-token";
/// The access key of `pillarbox dev`.
pub const DEV_ACCESS_KEY: &str = "PILLARBOXDEVACCESS00";
/// The secret key of `pillarbox dev`.
pub const DEV_SECRET: &str = "pillarbox-dev-secret";

/// Why the application could not start.
#[derive(Debug)]
pub struct StartError(ApiError);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

impl From<ApiError> for StartError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl App {
    /// Makes the application on a store, and in the store what it needs: the bucket, the signing key, in `dev` the token.
    ///
    /// # Errors
    /// What the store says.
    pub async fn start(
        options: AppOptions,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Arc<Self>, StartError> {
        let now = clock.now();
        let further = options.buckets.iter().map(|bucket| &bucket.name);
        for bucket in further.chain([&options.bucket]) {
            ensure_bucket(store.as_ref(), bucket, now).await?;
        }
        let (signer, link_signer) = if options.dev {
            let key = dev_entries(store.as_ref(), now).await?;
            (key.clone(), key)
        } else {
            remove_dev_entries(store.as_ref()).await?;
            let forms = signing_key(store.as_ref(), KeyPurpose::Forms, now).await?;
            (
                forms,
                signing_key(store.as_ref(), KeyPurpose::Links, now).await?,
            )
        };
        Ok(Arc::new(Self {
            names: OwnNames::of(&options),
            options,
            store,
            clock,
            signer: ArcSwap::from_pointee(signer),
            link_signer: ArcSwap::from_pointee(link_signer),
            explanations: Kept::default(),
        }))
    }

    /// Makes a new signing key; the old one stays valid as long as a form it signed may live.
    ///
    /// # Errors
    /// What the store says.
    pub async fn rotate_signing_key(&self) -> Result<AccessKey, ApiError> {
        let now = self.clock.now();
        let old = self.signer.load_full();
        let new = new_access_key(KeyPurpose::Forms, now)?;
        self.store
            .insert(CatalogEntry::AccessKey(new.clone()))
            .await?;
        if old.purpose == KeyPurpose::Forms {
            let end = now.plus(self.options.form_lifetime);
            let old = AccessKey {
                expires_at: Some(end),
                ..old.as_ref().clone()
            };
            self.store.insert(CatalogEntry::AccessKey(old)).await?;
        }
        self.signer.store(Arc::new(new.clone()));
        Ok(new)
    }

    /// Signs new links with a new key. The old one stays until it is removed, which ends every link that it signed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn renew_link_key(&self) -> Result<(), ApiError> {
        let new = new_access_key(KeyPurpose::Links, self.clock.now())?;
        let entry = CatalogEntry::AccessKey(new.clone());
        self.store.insert(entry).await?;
        self.link_signer.store(Arc::new(new));
        Ok(())
    }
}

/// A new random key pair: 20 characters and 40 characters.
///
/// # Errors
/// `InternalError` when the system gives no randomness.
pub fn new_access_key(purpose: KeyPurpose, now: Timestamp) -> Result<AccessKey, ApiError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = random_bytes::<18>()?;
    let tail = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect::<String>();
    let secret = STANDARD.encode(random_bytes::<30>()?);
    Ok(AccessKey {
        id: format!("PB{tail}"),
        secret: Secret::new(secret),
        purpose,
        created_at: now,
        expires_at: None,
        session_token: None,
        limits: KeyLimits::default(),
    })
}

async fn ensure_bucket(store: &dyn Store, name: &Bucket, now: Timestamp) -> Result<(), ApiError> {
    let key = CatalogKey::Bucket(name.clone());
    if store.find(&key).await?.is_some() {
        return Ok(());
    }
    let bucket = BucketConfig {
        name: name.clone(),
        created_at: now,
        public_write: false,
    };
    Ok(store.insert(CatalogEntry::Bucket(bucket)).await?)
}

/// The newest key for a purpose; made when there is none.
async fn signing_key(
    store: &dyn Store,
    purpose: KeyPurpose,
    now: Timestamp,
) -> Result<AccessKey, ApiError> {
    let mut newest: Option<AccessKey> = None;
    for entry in store.list(CatalogKind::AccessKey).await? {
        let CatalogEntry::AccessKey(key) = entry else {
            continue;
        };
        let signs = key.purpose == purpose && key.expires_at.is_none();
        if signs
            && newest
                .as_ref()
                .is_none_or(|other| other.created_at <= key.created_at)
        {
            newest = Some(key);
        }
    }
    if let Some(key) = newest {
        return Ok(key);
    }
    let key = new_access_key(purpose, now)?;
    store.insert(CatalogEntry::AccessKey(key.clone())).await?;
    Ok(key)
}

/// What is public in `dev` opens nothing elsewhere: a folder that `dev` kept loses it when it is served.
async fn remove_dev_entries(store: &dyn Store) -> Result<(), ApiError> {
    let token = CatalogKey::Token(TokenHash::of(DEV_TOKEN));
    let key = CatalogKey::AccessKey(DEV_ACCESS_KEY.to_owned());
    for public in [token, key] {
        if store.find(&public).await?.is_some() {
            store.remove(&public).await?;
        }
    }
    Ok(())
}

async fn dev_entries(store: &dyn Store, now: Timestamp) -> Result<AccessKey, ApiError> {
    let token = Token {
        id: new_id(now)?,
        hash: TokenHash::of(DEV_TOKEN),
        name: "pillarbox dev".to_owned(),
        scopes: Scopes::of(&[Scope::Mediahub]),
        application: None,
        created_at: now,
        expires_at: None,
    };
    if store.find(&CatalogKey::Token(token.hash)).await?.is_none() {
        store.insert(CatalogEntry::Token(token)).await?;
    }
    let key = AccessKey {
        id: DEV_ACCESS_KEY.to_owned(),
        secret: Secret::new(DEV_SECRET.to_owned()),
        purpose: KeyPurpose::Dev,
        created_at: now,
        expires_at: None,
        session_token: None,
        limits: KeyLimits::default(),
    };
    store.insert(CatalogEntry::AccessKey(key.clone())).await?;
    Ok(key)
}
