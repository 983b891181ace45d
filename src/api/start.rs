//! Making an application ready: the configured buckets, the key that signs forms, the fixed values of `pillarbox dev`.
//!
//! Owns: the first start and the rotation of the signing keys. Never does: show a secret.
//!
//! Invariants: there is always exactly one key that signs new forms; an old one stays valid as long as a form it signed
//! may live, and no longer; only while a rotation runs there is no key without an end, and a start that finds none makes one. Links are signed by a key of their own, which no rotation touches, so that each lives as long as
//! it says. The fixed values are used only in `dev`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Mutex;

use super::address::OwnNames;
use super::admission::Admission;
use super::app::{App, AppOptions, Clock};
use super::call::{new_id, random_bytes};
use super::documents::Documents;
use super::error::ApiError;
use super::explain::kept::Kept;
use super::request_id::RequestIds;
use super::turns::Lists;
use crate::model::{
    AccessKey, Bucket, BucketConfig, KeyLimits, KeyPurpose, Scope, Scopes, Secret, Timestamp,
    Token, TokenHash,
};
use crate::policy::DerivedKeys;
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
            let lifetime = options.form_lifetime;
            let forms = signing_key(store.as_ref(), (KeyPurpose::Forms, lifetime), now).await?;
            let links = (KeyPurpose::Links, Duration::ZERO);
            (forms, signing_key(store.as_ref(), links, now).await?)
        };
        Ok(Arc::new(Self {
            names: OwnNames::of(&options),
            lists: Lists::new(options.max_lists),
            options,
            store,
            clock,
            signer: ArcSwap::from_pointee(signer),
            link_signer: ArcSwap::from_pointee(link_signer),
            request_ids: RequestIds::new()?,
            derived_keys: DerivedKeys::default(),
            changing_keys: Mutex::new(()),
            explanations: Kept::default(),
            admission: Admission::default(),
            documents: Documents::default(),
        }))
    }

    /// Makes a new signing key; the old one stays valid as long as a form it signed may live.
    ///
    /// # Errors
    /// What the store says.
    pub async fn rotate_signing_key(self: &Arc<Self>) -> Result<AccessKey, ApiError> {
        let app = Arc::clone(self);
        // Carried to its end when who asked goes away: half of it would leave us signing with a key that ends.
        let rotation = tokio::spawn(async move { app.rotate().await });
        rotation.await.unwrap_or_else(|_| Err(ApiError::panicked()))
    }

    async fn rotate(&self) -> Result<AccessKey, ApiError> {
        let _alone = self.changing_keys.lock().await;
        let new = AccessKey {
            form_lifetime: self.options.form_lifetime,
            ..new_access_key(KeyPurpose::Forms, self.clock.now())?
        };
        if let Err(error) = self.replace_signers(&new).await {
            // The old one goes on signing, so it must not end. Where this fails too, only a restart helps, as the log says.
            let old = self.signer.load().as_ref().clone();
            // It may be there all the same, and then two would never end.
            let _removed = self
                .store
                .remove(&CatalogKey::AccessKey(new.id.clone()))
                .await;
            let _restored = self.store.insert(CatalogEntry::AccessKey(old)).await;
            return Err(error);
        }
        self.signer.store(Arc::new(new.clone()));
        Ok(new)
    }

    /// Lets every key that signs forms end, and only then adds the new one: a crash in between leaves no old key that is valid
    /// for ever.
    async fn replace_signers(&self, new: &AccessKey) -> Result<(), ApiError> {
        for old in signing_keys(self.store.as_ref(), KeyPurpose::Forms).await? {
            let lifetime = old.form_lifetime.max(new.form_lifetime);
            let old = AccessKey {
                expires_at: Some(new.created_at.plus(lifetime)),
                ..old
            };
            self.store.insert(CatalogEntry::AccessKey(old)).await?;
        }
        let new = CatalogEntry::AccessKey(new.clone());
        Ok(self.store.insert(new).await?)
    }

    /// Signs new links with a new key, while `changing_keys` is held. The old one stays until it is removed, which ends every link
    /// that it signed.
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
        form_lifetime: Default::default(),
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

/// The newest key for a purpose; made when there is none. It is noted how long the forms live that it signs from now on: they must not end
/// with it when they live shorter one day and it is rotated.
async fn signing_key(
    store: &dyn Store,
    (purpose, form_lifetime): (KeyPurpose, Duration),
    now: Timestamp,
) -> Result<AccessKey, ApiError> {
    let keys = signing_keys(store, purpose).await?;
    let newest = keys.into_iter().max_by_key(|key| key.created_at);
    let is_new = newest.is_none();
    let key = match newest {
        Some(key) if key.form_lifetime >= form_lifetime => return Ok(key),
        Some(key) => key,
        None => new_access_key(purpose, now)?,
    };
    let key = AccessKey {
        form_lifetime,
        ..key
    };
    match store.insert(CatalogEntry::AccessKey(key.clone())).await {
        // A full disk stops no start.
        Err(error) if !is_new => tracing::warn!(%error, "it is not noted how long forms live"),
        noted => noted?,
    }
    Ok(key)
}

/// The keys for a purpose that have no end.
async fn signing_keys(store: &dyn Store, purpose: KeyPurpose) -> Result<Vec<AccessKey>, ApiError> {
    let entries = store.list(CatalogKind::AccessKey).await?.into_iter();
    let keys = entries.filter_map(|entry| match entry {
        CatalogEntry::AccessKey(key) => Some(key),
        _ => None,
    });
    let keys = keys.filter(|key| key.purpose == purpose && key.expires_at.is_none());
    Ok(keys.collect())
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
        form_lifetime: Default::default(),
    };
    store.insert(CatalogEntry::AccessKey(key.clone())).await?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::{EmbeddedStore, Options};

    const NOW: Timestamp = Timestamp::from_seconds(1_403_257_566);

    async fn store() -> (Arc<dyn Store>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            ballast_bytes: 0,
            ..Options::new(folder.path())
        };
        let store = EmbeddedStore::open(options, NOW).await.unwrap();
        (Arc::new(store), folder)
    }

    async fn start(store: &Arc<dyn Store>) -> Arc<App> {
        start_with(store, AppOptions::default().form_lifetime).await
    }

    async fn start_with(store: &Arc<dyn Store>, form_lifetime: Duration) -> Arc<App> {
        let options = AppOptions {
            form_lifetime,
            ..AppOptions::default()
        };
        let app = App::start(options, Arc::clone(store), Clock::fixed(NOW));
        app.await.unwrap()
    }

    /// The keys that sign forms, and when each ends.
    async fn ends(app: &App) -> Vec<(String, Option<Timestamp>)> {
        let entries = app.store.list(CatalogKind::AccessKey).await.unwrap();
        let keys = entries.into_iter().filter_map(|entry| match entry {
            CatalogEntry::AccessKey(key) if key.purpose == KeyPurpose::Forms => {
                Some((key.id, key.expires_at))
            }
            _ => None,
        });
        keys.collect()
    }

    async fn endless(app: &App) -> Vec<String> {
        let keys = ends(app).await.into_iter();
        keys.filter(|(_, end)| end.is_none())
            .map(|(id, _)| id)
            .collect()
    }

    #[tokio::test]
    async fn of_two_rotations_at_once_one_key_without_an_end_is_left() {
        let (store, _folder) = store().await;
        let app = start(&store).await;
        let (one, two) = tokio::join!(app.rotate_signing_key(), app.rotate_signing_key());
        one.unwrap();
        two.unwrap();
        assert_eq!(endless(&app).await, [app.signer.load().id.clone()]);
        assert_eq!(ends(&app).await.len(), 3);
    }

    #[tokio::test]
    async fn a_rotated_key_lives_as_long_as_any_form_that_it_signed() {
        const HOUR: Duration = Duration::from_secs(3600);
        let (store, _folder) = store().await;
        // Of the time before it was noted how long forms live.
        let old = new_access_key(KeyPurpose::Forms, NOW).unwrap();
        let entry = CatalogEntry::AccessKey(old.clone());
        store.insert(entry).await.unwrap();
        for lifetime in [HOUR, 168 * HOUR, HOUR] {
            let app = start_with(&store, lifetime).await;
            assert_eq!(app.signer.load().id, old.id);
        }
        let app = start_with(&store, HOUR).await;
        app.rotate_signing_key().await.unwrap();
        let end = |id: &str, ends: &[(String, Option<Timestamp>)]| {
            let found = ends.iter().find(|(other, _)| other == id);
            found.unwrap().1
        };
        let found = ends(&app).await;
        assert_eq!(end(&old.id, &found), Some(NOW.plus(168 * HOUR)));
        let second = app.signer.load().id.clone();
        app.rotate_signing_key().await.unwrap();
        let found = ends(&app).await;
        assert_eq!(end(&second, &found), Some(NOW.plus(HOUR)));
    }

    #[tokio::test]
    async fn a_rotation_that_is_cut_off_after_its_first_write_leaves_no_old_key_without_an_end() {
        let (store, _folder) = store().await;
        let app = start(&store).await;
        let before = ends(&app).await;
        let mut rotation = Box::pin(app.rotate());
        while ends(&app).await == before {
            let _pending = futures_util::poll!(&mut rotation);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(rotation);
        let again = start(&store).await;
        let signer = again.signer.load().id.clone();
        assert_eq!(endless(&again).await, [signer]);
    }

    #[tokio::test]
    async fn a_rotation_that_fails_leaves_the_signer_without_an_end() {
        let (store, folder) = store().await;
        let app = start(&store).await;
        // The snapshot cannot be replaced, so that every change of the catalog fails behind its place in the index.
        let snapshot = folder.path().join("catalog.json");
        std::fs::remove_file(&snapshot).unwrap();
        std::fs::create_dir_all(snapshot.join("in the way")).unwrap();
        assert!(app.rotate_signing_key().await.is_err());
        assert_eq!(endless(&app).await, [app.signer.load().id.clone()]);
    }
}
