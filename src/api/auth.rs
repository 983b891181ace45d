//! Who calls: bearer tokens and their scopes.
//!
//! Owns: finding the token (header `Authorization: Bearer`, or `?access_token=`), its expiry and its scopes.
//! Never does: keep or log a token; only its SHA-256 is looked up, so a comparison can leak nothing about a token.
//!
//! Invariant: a missing, malformed, unknown, expired or revoked token, and one whose scopes do not allow the call, get the
//! same status and code (403 `0x0000003`), as the hosted API answers.

use http::header::AUTHORIZATION;

use super::call::Call;
use super::error::{ApiError, ErrorCode};
use crate::model::{Id, Scope, Token, TokenHash};
use crate::store::{CatalogEntry, CatalogKey};

/// Longest bearer token, in bytes.
pub const MAX_TOKEN_BYTES: usize = 256;

/// Somebody with a valid token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's record.
    pub token: Token,
}

impl Caller {
    /// The application the token was issued to.
    pub fn application(&self) -> Option<Id> {
        self.token.application
    }
}

/// Finds the caller and checks that he may do what needs `scope`.
///
/// # Errors
/// `InvalidAccessToken`; the message says what is wrong with the token, never which token it is.
pub async fn authenticate(call: &Call<'_>, scope: Scope) -> Result<Caller, ApiError> {
    let presented = presented_token(call)?;
    let key = CatalogKey::Token(TokenHash::of(presented));
    let Some(CatalogEntry::Token(token)) = call.app.store.find(&key).await? else {
        return Err(refused("The access token is unknown or was revoked."));
    };
    if token.expires_at.is_some_and(|end| end <= call.now) {
        return Err(refused("The access token has expired."));
    }
    if !token.scopes.allow(scope) {
        return Err(refused(&format!(
            "The access token's scopes do not allow this; it needs {}.",
            scope.as_str()
        )));
    }
    Ok(Caller { token })
}

fn presented_token<'a>(call: &'a Call<'_>) -> Result<&'a str, ApiError> {
    if call.is_repeated(&AUTHORIZATION) {
        return Err(refused("The Authorization header must be sent once."));
    }
    let from_header = match call.head.headers.get(AUTHORIZATION) {
        None => None,
        Some(value) => Some(
            bearer(value.to_str().ok())
                .ok_or_else(|| refused("The Authorization header must be: Bearer TOKEN."))?,
        ),
    };
    let from_query = call.params.once("access_token")?;
    if from_header.zip(from_query).is_some_and(|(a, b)| a != b) {
        let why = "The Authorization header and access_token bring two access tokens.";
        return Err(refused(why));
    }
    let presented = from_header.or(from_query);
    let presented = presented
        .ok_or_else(|| refused("An access token is required: Authorization: Bearer TOKEN."))?;
    if presented.is_empty() || presented.len() > MAX_TOKEN_BYTES {
        return Err(refused("The access token is empty or too long."));
    }
    Ok(presented)
}

fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidAccessToken, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_without_case_and_nothing_else_is_taken_for_it() {
        assert_eq!(bearer(Some("Bearer abc")), Some("abc"));
        assert_eq!(bearer(Some("bearer  abc ")), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer", "", "Bearerabc"] {
            assert_eq!(bearer(Some(other)), None, "{other}");
        }
    }
}
