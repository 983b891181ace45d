//! The token endpoint: client credentials in, a bearer token out.
//!
//! Owns: `POST /v1/oauth2/token/`, both spellings of the grant (the hosted API's `client_credential` and RFC 6749's
//! `client_credentials`), and how credentials arrive: as parameters of the query or the body, or by HTTP Basic.
//!
//! Never does: store a token; its hash is stored, the token itself is shown once. Never says which half of the
//! credentials was wrong.
//!
//! Invariants: a token never allows more than its application, and none outlives it: an application that is removed
//! while its token is made takes the token with it. Secrets are compared by their HMACs.
//!
//! Sources: RFC 6749, sections 2.3.1, 4.4 and 5.1; the hosted API's "Obtaining an OAuth Access Token".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use ring::hmac;
use serde_json::{Value, json};

use super::call::{Call, Reply, new_id, random_bytes};
use super::error::{ApiError, ErrorCode};
use super::params::{Params, said_twice};
use crate::model::{Application, Id, Scope, Scopes, Secret, Token, TokenHash};
use crate::store::{CatalogEntry, CatalogKey};
use std::time::Duration;

/// Longest life of a token that a client may ask for: 30 days, in seconds.
pub const MAX_EXPIRES_IN: u64 = 30 * 24 * 3600;
/// Characters of a token.
pub const TOKEN_CHARS: usize = 64;

/// `POST /v1/oauth2/token/`: issues a bearer token to an application.
///
/// # Errors
/// `InvalidArgument` that names the parameter; `InvalidAccessToken` for wrong credentials.
pub async fn issue(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    call.read_params().await?;
    check_grant(&call.params)?;
    let (id, secret) = credentials(call)?;
    let scopes = wanted_scopes(&call.params)?;
    let (lifetime, shown_lifetime) = lifetime(call)?;
    let application = find_application(call, &id, &secret).await?;
    let scopes = granted(&application, scopes)?;
    let text = random_text::<TOKEN_CHARS>()?;
    let token = Token {
        id: new_id(call.now)?,
        hash: TokenHash::of(&text),
        name: application.name.clone(),
        scopes,
        application: Some(application.id),
        created_at: call.now,
        expires_at: Some(call.now.plus(lifetime)),
    };
    keep(call, token).await?;
    Reply::ok(json!({
        "access_token": text,
        "expires_in": shown_lifetime,
        "token_type": "Bearer",
    }))
}

/// Random letters and digits, `N` of them: safe in URLs, in shells, and as base64 of either alphabet.
///
/// # Errors
/// `InternalError` when the system gives no randomness.
pub fn random_text<const N: usize>() -> Result<String, ApiError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // The largest multiple of 62 in a byte; what lies above would favour the first letters.
    const FAIR: u8 = 248;
    let mut text = String::with_capacity(N);
    while text.len() < N {
        let fair = random_bytes::<N>()?.into_iter().filter(|byte| *byte < FAIR);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(letters.take(N - text.len()));
    }
    Ok(text)
}

fn check_grant(params: &Params) -> Result<(), ApiError> {
    let grant = Params::required(params.text("", "grant_type")?, "grant_type")?;
    match grant.as_str() {
        "client_credential" | "client_credentials" => Ok(()),
        _ => Err(ApiError::invalid(
            "grant_type",
            "must be client_credential or client_credentials.",
        )),
    }
}

/// The client's id and secret: by HTTP Basic when the header is there, else the parameters.
fn credentials(call: &Call<'_>) -> Result<(String, Secret), ApiError> {
    let invalid = |rule| ApiError::invalid("The Authorization header", rule);
    if call.is_repeated(&AUTHORIZATION) {
        return Err(invalid("must be sent once."));
    }
    let header = call.head.headers.get(AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let param = |name| call.params.text("", name);
    let (id, secret) = (
        param("client_id")?,
        param("client_secret")?.map(Secret::new),
    );
    let Some(encoded) = header.and_then(basic_part) else {
        let id = Params::required(id, "client_id")?;
        return Ok((id, Params::required(secret, "client_secret")?));
    };
    let held = parse_basic(encoded)
        .ok_or_else(|| invalid("must be: Basic base64(client_id:client_secret)."))?;
    // Some libraries send both, and then they say the same.
    if id.is_some_and(|id| id != held.0) {
        return Err(said_twice("client_id"));
    }
    match secret {
        Some(secret) if !same(&held.1, &secret)? => Err(said_twice("client_secret")),
        _ => Ok(held),
    }
}

fn basic_part(header: &str) -> Option<&str> {
    let (scheme, encoded) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| encoded.trim())
}

/// Both halves are percent-decoded (RFC 6749, section 2.3.1). A plus sign stays one: most clients do not encode, and
/// base64 secrets of other systems have it.
fn parse_basic(encoded: &str) -> Option<(String, Secret)> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |half| percent_decode_str(half).decode_utf8().ok();
    Some((
        decode(id)?.into_owned(),
        Secret::new(decode(secret)?.into_owned()),
    ))
}

/// The scopes asked for; `None` is all that the application has.
fn wanted_scopes(params: &Params) -> Result<Option<Scopes>, ApiError> {
    let list = params.text("", "scope")?.unwrap_or_default();
    let scopes = Scopes::parse(&list).map_err(|name| {
        ApiError::invalid("scope", format!("must list known scopes; {name} is none."))
    })?;
    Ok((!scopes.is_empty()).then_some(scopes))
}

/// How long the token lives, and how that is shown: as a number, or as the text that the client sent, as the hosted API
/// does.
fn lifetime(call: &Call<'_>) -> Result<(Duration, Value), ApiError> {
    let Some(seconds) = call.params.integer("", "expires_in")? else {
        let default = call.app.options.token_lifetime;
        return Ok((default, json!(default.as_secs())));
    };
    let seconds = u64::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=MAX_EXPIRES_IN).contains(seconds))
        .ok_or_else(|| {
            ApiError::invalid(
                "expires_in",
                format!("must be from 1 to {MAX_EXPIRES_IN} seconds."),
            )
        })?;
    Ok((Duration::from_secs(seconds), json!(seconds.to_string())))
}

async fn find_application(
    call: &Call<'_>,
    id: &str,
    secret: &Secret,
) -> Result<Application, ApiError> {
    let wrong = || {
        ApiError::new(
            ErrorCode::InvalidAccessToken,
            "client_id and client_secret name no application.",
        )
    };
    let id = Id::parse(id).ok_or_else(wrong)?;
    match call.app.store.find(&CatalogKey::Application(id)).await? {
        Some(CatalogEntry::Application(application)) if same(&application.secret, secret)? => {
            Ok(application)
        }
        _ => Err(wrong()),
    }
}

/// Compares by HMACs under a key of the moment, so that the time it takes says nothing about where two secrets differ.
fn same(held: &Secret, presented: &Secret) -> Result<bool, ApiError> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>()?);
    let tag = hmac::sign(&key, held.reveal().as_bytes());
    Ok(hmac::verify(&key, presented.reveal().as_bytes(), tag.as_ref()).is_ok())
}

fn granted(application: &Application, wanted: Option<Scopes>) -> Result<Scopes, ApiError> {
    let Some(wanted) = wanted else {
        return Ok(application.scopes.clone());
    };
    if application.scopes.contain(&wanted) {
        return Ok(wanted);
    }
    let beyond = |scope: &Scope| wanted.allow(*scope) && !application.scopes.allow(*scope);
    let name = Scope::ALL
        .into_iter()
        .find(beyond)
        .map_or("", Scope::as_str);
    let rule = format!("must not ask for more than the application has; it has no {name}.");
    Err(ApiError::invalid("scope", rule))
}

/// Stores the token, unless its application was removed meanwhile: whoever removes one removes its tokens after it, so
/// either he sees this token or we see that the application is gone.
async fn keep(call: &Call<'_>, token: Token) -> Result<(), ApiError> {
    let store = &call.app.store;
    let (hash, application) = (token.hash, token.application);
    store.insert(CatalogEntry::Token(token)).await?;
    let Some(application) = application else {
        return Ok(());
    };
    if store
        .find(&CatalogKey::Application(application))
        .await?
        .is_some()
    {
        return Ok(());
    }
    store.remove(&CatalogKey::Token(hash)).await?;
    Err(ApiError::new(
        ErrorCode::InvalidAccessToken,
        "The application was removed.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_is_as_long_as_asked_and_never_twice_the_same() {
        let (one, two) = (random_text::<64>().unwrap(), random_text::<64>().unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, two);
    }

    #[test]
    fn basic_credentials_are_percent_decoded_and_keep_their_plus_signs() {
        let parse = |text: &str| {
            let (id, secret) = parse_basic(&STANDARD.encode(text))?;
            Some(format!("{id} {}", secret.reveal()))
        };
        assert_eq!(parse("id:a%2Fb+c=:d").unwrap(), "id a/b+c=:d");
        assert_eq!(parse("no colon"), None);
        assert!(parse_basic("%%").is_none());
        assert_eq!(basic_part("basic  abc "), Some("abc"));
        assert_eq!(basic_part("Bearer abc"), None);
    }

    #[test]
    fn secrets_are_the_same_only_when_every_byte_is() {
        let same = |a: &str, b: &str| {
            same(&Secret::new(a.to_owned()), &Secret::new(b.to_owned())).unwrap()
        };
        assert!(same("secret", "secret"));
        for other in ["", "secre", "secret ", "Secret"] {
            assert!(!same("secret", other), "{other}");
        }
    }
}
