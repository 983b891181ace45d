//! URLs that an application signed itself, instead of sending a token.
//!
//! Owns: the check of `client_id`, `expiry_time`, `multi_use` and `signature`, as the hosted API's manual describes it under
//! "HMAC-signed URLs": the signature comes last and is the lower-case hex HMAC-SHA256 over path and query as they were
//! sent, without host and without the signature; the key is the base64-decoded `client_secret` (URL-safe and unpadded
//! spellings too). `expiry_time` is an absolute epoch second.
//!
//! Never does: say whether the application or the signature was wrong. Never logs a URL.
//!
//! Invariants: compared in constant time; the application's scopes apply; whatever is wrong gets the answer of a bad token.
//! `multi_use=false` is refused: a URL that works once needs a memory of all of them, which is not kept here, and to
//! ignore the wish would break a promise.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;

use super::call::Call;
use super::error::{ApiError, ErrorCode};
use crate::model::{Application, Id, Scope, Secret, decode_hex};
use crate::store::{CatalogEntry, CatalogKey};

const SIGNATURE: &str = "&signature=";

/// Whether a request claims to be signed this way.
pub fn is_signed(call: &Call<'_>) -> bool {
    call.params.query("client_id").is_some() && call.params.query("signature").is_some()
}

/// Finds the application that signed a request and checks that it may do what needs `scope`.
///
/// # Errors
/// `InvalidAccessToken` when it may not, `InvalidArgument` for `multi_use=false` and for a parameter with two values that differ.
pub async fn authenticate(call: &Call<'_>, scope: Scope) -> Result<Application, ApiError> {
    let application = find_application(call).await?;
    let sent = call.head.uri.path_and_query();
    let (signed, signature) = sent
        .and_then(|sent| sent.as_str().rsplit_once(SIGNATURE))
        .ok_or_else(|| refused("The signature must be the last parameter of a signed URL."))?;
    // The client signs the path as it sends it: with the prefix of the public URL, which was left behind on the way here.
    let prefixed = format!("{}{signed}", call.app.path_prefix());
    let fits = |application: &Application| {
        let signs = |text: &str| signs(&application.secret, text, signature);
        signs(signed) || signs(&prefixed)
    };
    let is_ours = application.as_ref().is_some_and(fits);
    let application = application.filter(|_| is_ours).ok_or_else(|| {
        refused("The URL's client_id is unknown, or its signature does not match.")
    })?;
    check_terms(call)?;
    if !application.scopes.allow(scope) {
        return Err(refused(&format!(
            "The application's scopes do not allow this; it needs {}.",
            scope.as_str()
        )));
    }
    Ok(application)
}

async fn find_application(call: &Call<'_>) -> Result<Option<Application>, ApiError> {
    let Some(id) = call.params.once("client_id")?.and_then(Id::parse) else {
        return Ok(None);
    };
    match call.app.store.find(&CatalogKey::Application(id)).await? {
        Some(CatalogEntry::Application(application)) => Ok(Some(application)),
        _ => Ok(None),
    }
}

fn check_terms(call: &Call<'_>) -> Result<(), ApiError> {
    const EXPIRY: &str = "A signed URL needs expiry_time, an epoch second.";
    call.params.once("expiry_time")?;
    // To whoever made the URL a wrong time is what a past one is: sign again.
    let expiry_time = call.params.moment("", "expiry_time");
    let expiry_time = expiry_time.map_err(|_| refused(EXPIRY))?;
    let expiry_time = expiry_time.ok_or_else(|| refused(EXPIRY))?;
    if expiry_time <= call.now {
        return Err(refused("The signed URL has expired."));
    }
    if call.params.query("multi_use").is_some() && !call.params.flag("multi_use")? {
        let rule = "must be true: URLs that work only once are not kept track of here.";
        return Err(ApiError::invalid("multi_use", rule));
    }
    Ok(())
}

fn signs(secret: &Secret, signed: &str, signature: &str) -> bool {
    let is_lower_hex = signature
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let (Some(key), Some(signature), true) = (
        decode_secret(secret),
        decode_hex::<32>(signature),
        is_lower_hex,
    ) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

/// The bytes of a secret in either alphabet of base64, padded or not.
fn decode_secret(secret: &Secret) -> Option<Vec<u8>> {
    let either =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = secret.reveal();
    [&STANDARD, &URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, either).decode(text).ok())
        .filter(|key| !key.is_empty())
}

fn refused(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidAccessToken, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_in_every_spelling_of_base64() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            let secret = Secret::new(text.to_owned());
            assert_eq!(decode_secret(&secret), Some(vec![0xfb, 0xff]), "{text}");
        }
        for bad in ["", "?", "=", "+_8="] {
            assert_eq!(decode_secret(&Secret::new(bad.to_owned())), None, "{bad}");
        }
    }
}
