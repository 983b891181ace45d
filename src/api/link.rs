//! Download links: a URL that is itself the permission, made by us and checked by us.
//!
//! Owns: the form of a link and its signature. A link is
//! `/v1/files/downloads/ID/NAME?expiry_time=E[&streaming=true][&ip=A]&key=K&signature=S`; S is the lower-case hex
//! HMAC-SHA256 over everything before `&signature=`, path included, so no parameter can be changed, added or moved.
//!
//! Never does: look for the object, or at tokens. Never uses the access key's secret itself: the key is derived from it for
//! this one purpose, so that no form's signature is a link's, and the other way round.
//!
//! Invariants: compared in constant time; only the key that is there for links signs them (in `dev` it is the fixed one); a
//! link dies at `expiry_time`, whatever is rotated before; earlier only when the operator revokes its key.

use std::net::IpAddr;

use percent_encoding::utf8_percent_encode;
use ring::hmac;

use super::call::Call;
use super::disposition::{ENCODED, safe_name};
use super::error::{ApiError, ErrorCode};
use crate::model::{AccessKey, KeyPurpose, ObjectMeta, Timestamp, decode_hex, encode_hex};
use crate::store::{CatalogEntry, CatalogKey};

/// Sets the derived key apart from every other use of the secret.
const PURPOSE: &[u8] = b"pillarbox download link v1";
/// What stands in front of the signature, which is the last parameter.
const SIGNATURE: &str = "&signature=";
/// Longest name of an access key, in bytes.
const MAX_KEY_ID_BYTES: usize = 128;

/// What a link permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTerms {
    /// From this moment on it is dead; whole seconds.
    pub expires_at: Timestamp,
    /// Whether the browser may show the file instead of saving it.
    pub streaming: bool,
    /// The only address that may follow it.
    pub ip: Option<IpAddr>,
}

/// Path and query of a link to an object.
pub fn sign(meta: &ObjectMeta, terms: &LinkTerms, key: &AccessKey) -> String {
    let name = safe_name(meta.key.file_name());
    let name = utf8_percent_encode(&name, ENCODED);
    let expiry_time = terms.expires_at.seconds();
    let mut link = format!(
        "/v1/files/downloads/{}/{name}?expiry_time={expiry_time}",
        meta.id
    );
    if terms.streaming {
        link.push_str("&streaming=true");
    }
    if let Some(ip) = terms.ip {
        link.push_str("&ip=");
        link.extend(utf8_percent_encode(&ip.to_string(), ENCODED));
    }
    link.push_str("&key=");
    link.extend(utf8_percent_encode(&key.id, ENCODED));
    let signature = hmac::sign(&derived(key), link.as_bytes());
    link + SIGNATURE + &encode_hex(signature.as_ref())
}

/// Checks the link that a request follows.
///
/// # Errors
/// `AccessDenied` when it was changed, is dead, or is followed from elsewhere.
pub async fn verify(call: &Call<'_>) -> Result<LinkTerms, ApiError> {
    let sent = call.head.uri.path_and_query();
    let (signed, signature) = sent
        .and_then(|sent| sent.as_str().rsplit_once(SIGNATURE))
        .ok_or_else(|| denied("The link is not signed."))?;
    let signature = decode_hex::<32>(signature)
        .ok_or_else(|| denied("The link's signature is not 64 hex digits at its end."))?;
    let key = find_key(call).await?;
    hmac::verify(&derived(&key), signed.as_bytes(), &signature)
        .map_err(|_| denied("The link was changed: its signature does not match."))?;
    let terms = read_terms(call)?;
    if terms.expires_at <= call.now {
        return Err(denied("The link has expired."));
    }
    let from = call.connection.ip().map(|ip| ip.to_canonical());
    if terms.ip.is_some() && terms.ip != from {
        return Err(denied(
            "The link may be followed only from the address it was made for.",
        ));
    }
    Ok(terms)
}

async fn find_key(call: &Call<'_>) -> Result<AccessKey, ApiError> {
    let unknown = || denied("The key that signed the link is unknown or no longer valid.");
    let id = call.params.query("key").unwrap_or_default();
    if id.is_empty() || id.len() > MAX_KEY_ID_BYTES {
        return Err(unknown());
    }
    let key = CatalogKey::AccessKey(id.to_owned());
    let Some(CatalogEntry::AccessKey(key)) = call.app.store.find(&key).await? else {
        return Err(unknown());
    };
    let is_over = key.expires_at.is_some_and(|end| end <= call.now);
    let signs_links = matches!(key.purpose, KeyPurpose::Links | KeyPurpose::Dev);
    if is_over || !signs_links {
        return Err(unknown());
    }
    Ok(key)
}

/// The terms of a link whose signature is right; we wrote them, so each stands there once.
fn read_terms(call: &Call<'_>) -> Result<LinkTerms, ApiError> {
    let broken = || denied("The link is not one of ours.");
    let expiry_time = call.params.query("expiry_time").unwrap_or_default();
    let ip = call.params.query("ip").map(str::parse).transpose();
    Ok(LinkTerms {
        expires_at: Timestamp::from_seconds(expiry_time.parse().map_err(|_| broken())?),
        streaming: call.params.query("streaming") == Some("true"),
        ip: ip.map_err(|_| broken())?,
    })
}

fn derived(key: &AccessKey) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.secret.reveal().as_bytes());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, PURPOSE).as_ref())
}

fn denied(why: &str) -> ApiError {
    ApiError::new(ErrorCode::AccessDenied, why)
}
