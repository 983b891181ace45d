//! Tokens, applications and access keys: made, listed, revoked by the operator.
//!
//! Owns: what each of them shows. Never does: show a secret twice; lists hold none.
//!
//! Invariants: the key that signs new forms cannot be removed, and the key of the links only for another one. With an application go all its tokens: those there before,
//! and those that were made while it was removed (see `tokens.rs`, which takes its own back when the application is gone).

use std::time::Duration;

use serde_json::{Value, json};

use super::super::call::{new_id, removed};
use super::super::error::{ApiError, ErrorCode};
use super::super::start::new_access_key;
use super::super::tokens::{TOKEN_CHARS, random_text};
use super::control::{Ask, no_such, parse_id};
use crate::model::{
    AccessKey, Application, Bucket, Id, KeyLimits, KeyPurpose, Permission, Scopes, Secret,
    Timestamp, Token, TokenHash, quoted,
};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind};

/// Longest life of a static token that has one: 100 years, in seconds.
const MAX_EXPIRES_IN: u64 = 100 * 365 * 24 * 3600;
/// Longest life of a temporary access key: 36 hours, in seconds, as Amazon's security token service has it.
const MAX_TEMPORARY: u64 = 36 * 3600;
/// Characters of a client secret; as base64 they are a key of 48 bytes.
const SECRET_CHARS: usize = 64;
/// What may be said of a new token, of a new application, of a new access key.
const TOKEN_MEMBERS: [&str; 3] = ["name", "scopes", "expires_in"];
const APPLICATION_MEMBERS: [&str; 2] = ["name", "scopes"];
const KEY_MEMBERS: [&str; 4] = ["temporary", "permission", "buckets", "prefixes"];

pub(super) async fn create_token(ask: &Ask<'_>) -> Result<Value, ApiError> {
    refuse_unknown(ask, &TOKEN_MEMBERS)?;
    let text = random_text::<TOKEN_CHARS>()?;
    let token = Token {
        id: new_id(ask.now)?,
        hash: TokenHash::of(&text),
        name: ask.name()?,
        scopes: scopes(ask)?,
        application: None,
        created_at: ask.now,
        expires_at: end_after(ask, "expires_in", MAX_EXPIRES_IN)?,
    };
    let mut shown = shown_token(&token);
    insert(ask, CatalogEntry::Token(token)).await?;
    shown["token"] = json!(text);
    Ok(shown)
}

pub(super) async fn list_tokens(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let tokens = tokens(ask).await?;
    Ok(json!({ "tokens": tokens.iter().map(shown_token).collect::<Vec<_>>() }))
}

pub(super) async fn remove_token(ask: &Ask<'_>, id: &str) -> Result<Value, ApiError> {
    let id = parse_id(id, "token")?;
    let named = remove_tokens(ask, |token| token.id == id).await?;
    if named {
        Ok(removed())
    } else {
        Err(no_such("token"))
    }
}

pub(super) async fn create_application(ask: &Ask<'_>) -> Result<Value, ApiError> {
    refuse_unknown(ask, &APPLICATION_MEMBERS)?;
    let application = Application {
        id: new_id(ask.now)?,
        secret: Secret::new(random_text::<SECRET_CHARS>()?),
        name: ask.name()?,
        scopes: scopes(ask)?,
        created_at: ask.now,
    };
    let mut shown = shown_application(&application);
    shown["client_secret"] = json!(application.secret.reveal());
    insert(ask, CatalogEntry::Application(application)).await?;
    Ok(shown)
}

pub(super) async fn list_applications(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let entries = ask.app.store.list(CatalogKind::Application).await?;
    let shown = entries.iter().filter_map(|entry| match entry {
        CatalogEntry::Application(application) => Some(shown_application(application)),
        _ => None,
    });
    Ok(json!({ "applications": shown.collect::<Vec<_>>() }))
}

/// The tokens go first, so that a crash in between leaves an application that can be removed again; and once more
/// after it, for those that were made in between.
pub(super) async fn remove_application(ask: &Ask<'_>, id: &str) -> Result<Value, ApiError> {
    let id = parse_id(id, "application")?;
    let of_application = |token: &Token| token.application == Some(id);
    remove_tokens(ask, of_application).await?;
    let was_there = remove(ask, CatalogKey::Application(id)).await?;
    remove_tokens(ask, of_application).await?;
    if was_there {
        Ok(removed())
    } else {
        Err(no_such("application"))
    }
}

/// With `temporary`, a number of seconds, the key ends by itself and its forms must carry the session token, which is shown once. With
/// `permission`, `buckets` or `prefixes` it may not do everything.
pub(super) async fn create_key(ask: &Ask<'_>) -> Result<Value, ApiError> {
    refuse_unknown(ask, &KEY_MEMBERS)?;
    let mut key = new_access_key(KeyPurpose::User, ask.now)?;
    key.limits = limits(ask)?;
    key.expires_at = end_after(ask, "temporary", MAX_TEMPORARY)?;
    let token = match key.expires_at {
        None => None,
        Some(_) => Some(random_text::<TOKEN_CHARS>()?),
    };
    key.session_token = token.as_deref().map(TokenHash::of);
    let mut shown = shown_key(&key);
    shown["secret_key"] = json!(key.secret.reveal());
    if let Some(token) = token {
        shown["session_token"] = json!(token);
    }
    insert(ask, CatalogEntry::AccessKey(key)).await?;
    Ok(shown)
}

pub(super) async fn list_keys(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let entries = ask.app.store.list(CatalogKind::AccessKey).await?;
    let shown = entries.iter().filter_map(|entry| match entry {
        CatalogEntry::AccessKey(key) => Some(shown_key(key)),
        _ => None,
    });
    Ok(json!({ "keys": shown.collect::<Vec<_>>() }))
}

/// The new key signs our own forms; nobody needs its secret, so it is not shown.
pub(super) async fn rotate_key(ask: &Ask<'_>) -> Result<Value, ApiError> {
    ask.app
        .rotate_signing_key()
        .await
        .map(|key| shown_key(&key))
}

pub(super) async fn remove_key(ask: &Ask<'_>, id: &str) -> Result<Value, ApiError> {
    let _alone = ask.app.changing_keys.lock().await;
    if ask.app.signer.load().id == id {
        let why = "This key signs new forms; rotate it first (pillarbox key rotate).";
        return Err(ApiError::new(ErrorCode::OperationAborted, why));
    }
    // The operator wants the links dead that it signed; those to come need another one first.
    if ask.app.link_signer.load().id == id {
        ask.app.renew_link_key().await?;
    }
    let was_there = remove(ask, CatalogKey::AccessKey(id.to_owned())).await?;
    if was_there {
        Ok(removed())
    } else {
        Err(no_such("key"))
    }
}

/// A limit that is written wrong must not be passed over: the key would have none, the token no end.
fn refuse_unknown(ask: &Ask<'_>, known: &[&str]) -> Result<(), ApiError> {
    let members = ask.members().keys().map(String::as_str);
    let parameters = ask.params.pairs().map(|(name, _)| name);
    match members.chain(parameters).find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let rule = format!("is unknown; there are {}.", known.join(", "));
            Err(ApiError::invalid(name, rule))
        }
    }
}

fn limits(ask: &Ask<'_>) -> Result<KeyLimits, ApiError> {
    let permission = match ask.params.text("", "permission")? {
        None => Permission::default(),
        Some(name) => Permission::parse(&name).ok_or_else(|| {
            let names = Permission::ALL.map(Permission::as_str).join(", ");
            ApiError::invalid("permission", format!("must be one of {names}."))
        })?,
    };
    let buckets = texts(ask, "buckets")?;
    let buckets = buckets.iter().map(|name| {
        let named = |rule| format!("hold {}, which {rule}.", quoted(name));
        Bucket::parse(name).map_err(|rule| ApiError::invalid("buckets", named(rule)))
    });
    let buckets = buckets.collect::<Result<_, _>>()?;
    KeyLimits::new(permission, buckets, texts(ask, "prefixes")?)
        .map_err(|error| ApiError::invalid(error.field, error.rule))
}

/// The texts of an array, or of a parameter that is repeated.
fn texts(ask: &Ask<'_>, member: &str) -> Result<Vec<String>, ApiError> {
    let invalid = || ApiError::invalid(member, "must be an array of texts.");
    let repeated = ask.params.pairs().filter(|(name, _)| *name == member);
    let mut texts: Vec<_> = repeated.map(|(_, text)| text.to_owned()).collect();
    let listed = match ask.members().get(member) {
        None => &[],
        Some(Value::Array(listed)) => listed.as_slice(),
        Some(_) => return Err(invalid()),
    };
    for text in listed {
        texts.push(text.as_str().ok_or_else(invalid)?.to_owned());
    }
    Ok(texts)
}

/// A list as text with commas, or as an array of texts.
fn scopes(ask: &Ask<'_>) -> Result<Scopes, ApiError> {
    let list = match ask.members().get("scopes") {
        Some(Value::Array(names)) => {
            let names = names.iter().map(|name| name.as_str().unwrap_or("?"));
            names.collect::<Vec<_>>().join(",")
        }
        _ => ask.params.text("", "scopes")?.unwrap_or_default(),
    };
    let scopes = Scopes::parse(&list).map_err(|name| {
        ApiError::invalid("scopes", format!("must list known scopes; {name} is none."))
    })?;
    if scopes.is_empty() {
        return Err(ApiError::invalid("scopes", "is required."));
    }
    Ok(scopes)
}

/// The moment that so many seconds lead to; absent is never.
fn end_after(ask: &Ask<'_>, member: &str, max: u64) -> Result<Option<Timestamp>, ApiError> {
    let Some(given) = ask.params.integer("", member)? else {
        return Ok(None);
    };
    let seconds = u64::try_from(given)
        .ok()
        .filter(|seconds| (1..=max).contains(seconds));
    let seconds = seconds
        .ok_or_else(|| ApiError::invalid(member, format!("must be from 1 to {max} seconds.")))?;
    Ok(Some(ask.now.plus(Duration::from_secs(seconds))))
}

async fn tokens(ask: &Ask<'_>) -> Result<Vec<Token>, ApiError> {
    let entries = ask.app.store.list(CatalogKind::Token).await?;
    let tokens = entries.into_iter().filter_map(|entry| match entry {
        CatalogEntry::Token(token) => Some(token),
        _ => None,
    });
    Ok(tokens.collect())
}

/// Removes the tokens that are `meant`; whether there was one.
async fn remove_tokens(ask: &Ask<'_>, meant: impl Fn(&Token) -> bool) -> Result<bool, ApiError> {
    let tokens = tokens(ask).await?;
    let meant = tokens.iter().filter(|token| meant(token));
    let hashes: Vec<_> = meant.map(|token| token.hash).collect();
    Ok(ask.app.store.remove_tokens(&hashes).await? > 0)
}

async fn insert(ask: &Ask<'_>, entry: CatalogEntry) -> Result<(), ApiError> {
    Ok(ask.app.store.insert(entry).await?)
}

async fn remove(ask: &Ask<'_>, key: CatalogKey) -> Result<bool, ApiError> {
    Ok(ask.app.store.remove(&key).await?)
}

fn shown_token(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes.to_string(),
        "application": token.application.as_ref().map(Id::to_string),
        "created_at": token.created_at.rfc3339(),
        "expires_at": token.expires_at.map(Timestamp::rfc3339),
    })
}

fn shown_application(application: &Application) -> Value {
    json!({
        "client_id": application.id,
        "name": application.name,
        "scopes": application.scopes.to_string(),
        "created_at": application.created_at.rfc3339(),
    })
}

fn shown_key(key: &AccessKey) -> Value {
    json!({
        "id": key.id,
        "access_key": key.id,
        "purpose": key.purpose,
        "temporary": key.session_token.is_some(),
        "permission": key.limits.permission(),
        "buckets": key.limits.buckets(),
        "prefixes": key.limits.prefixes(),
        "created_at": key.created_at.rfc3339(),
        "expires_at": key.expires_at.map(Timestamp::rfc3339),
    })
}
