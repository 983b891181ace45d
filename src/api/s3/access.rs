//! Who sent an S3 request, and whether his key reaches that far.
//!
//! Owns: [`Access`], the proof that a request was signed by somebody who may, what a request wants in the words of a key's limits, and the
//! view of its headers in which a presigned URL's query counts too.
//! Never does: read a body. Never takes anything in a body for a signature: forms have a road of their own.
//!
//! Invariants: there is an [`Access`] only for a request whose signature was proven and which stays within the limits of its key; whoever
//! signs nothing gets `AccessDenied`. What a request wants is told by its method, and by its query only where that is less than all of the
//! bucket, so that a question about a bucket that is added needs all of it until it says otherwise. What stands in a body or names another
//! object is judged where it is read ([`Access::check`]). A query carries headers only when the URL is presigned, for only then it was its signer
//! who put them there.
//!
//! Source: Amazon S3 API Reference, "Authenticating requests".

use std::borrow::Cow;
use std::fmt;

use http::header::HOST;

use super::super::call::Call;
use super::super::error::{ApiError, ErrorCode};
use super::buckets::OWNER;
use super::{FOREIGN, SUBRESOURCES};
use crate::model::{AccessKey, Action, KeyLimits, Target};
use crate::policy::{
    ProvenRequest, RequestError, RequestErrorKind as Kind, SentRequest, V2_PLAIN_HEADERS,
    claim_request, is_signed_in_version_2,
};
use crate::store::{CatalogEntry, CatalogKey};

/// An object that its client has encrypted with a key of its own; none is here.
pub(super) const KEY_OF_CLIENT: [&str; 3] = [
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
];

/// Lower-case names and values, each name once.
type Headers<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A request that was proven, and its headers.
pub(super) struct Access<'a> {
    /// What was proven.
    pub(super) proven: ProvenRequest,
    headers: Headers<'a>,
    limits: KeyLimits,
}

/// What a request names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// Neither bucket nor object.
    Service,
    /// A bucket.
    Bucket(&'a str),
    /// An object: its bucket and its key.
    Object(&'a str, &'a str),
}

impl Access<'_> {
    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&found.1)
    }

    /// All headers: lower-case names, each once.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))
    }

    /// Judges what the request wants besides what it names: the source of a copy, a key in a list.
    ///
    /// # Errors
    /// `AccessDenied`, when the key's limits do not allow it.
    pub(super) fn check(&self, action: Action, target: Target<'_>) -> Result<(), ApiError> {
        self.limits.check(action, target).map_err(|beyond| {
            let denied = ApiError::new(ErrorCode::AccessDenied, "Access Denied");
            denied.because(beyond.to_string())
        })
    }

    /// Fails with `AccessDenied` when the header expects a bucket to be somebody else's.
    pub(super) fn check_owner(&self, name: &str) -> Result<(), ApiError> {
        match self.header(name) {
            Some(expected) if expected != OWNER => Err(denied()),
            _ => Ok(()),
        }
    }

    /// Fails with `NotImplemented` when one of these was sent: to pass over it would be to do something else than was asked.
    pub(super) fn refuse_headers(&self, names: &[&str]) -> Result<(), ApiError> {
        match names.iter().find(|name| self.header(name).is_some()) {
            None => Ok(()),
            Some(name) => Err(not_implemented(name)),
        }
    }
}

fn denied() -> ApiError {
    ApiError::new(ErrorCode::AccessDenied, "Access Denied")
}

impl fmt::Debug for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers().map(|(name, _)| name).collect::<Vec<_>>();
        f.debug_struct("Access")
            .field("proven", &self.proven)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// A header asks for what we cannot do.
pub(super) fn not_implemented(header: &str) -> ApiError {
    let message = "A header you provided implies functionality that is not implemented";
    ApiError::new(ErrorCode::NotImplemented, message).with("Header", header)
}

/// Proves who sent the request, and that his key may do at this place what the request wants.
///
/// # Errors
/// `AccessDenied` when nobody signed it, and for what the key may not do; what `policy::claim_request` and `RequestClaim::verify` say.
pub(super) async fn authenticate<'a>(
    call: &Call<'a>,
    place: Place<'_>,
) -> Result<Access<'a>, ApiError> {
    let named = call.head.headers.iter().filter(|(name, _)| *name != HOST);
    let mut headers: Vec<_> = named
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    // What is signed must be what is acted on: the host that the route was found by, whatever the header says.
    headers.push((HOST.as_str(), call.host.as_bytes()));
    let sent = SentRequest {
        method: call.head.method.as_str(),
        path: call.head.uri.path(),
        path_prefix: call.app.path_prefix(),
        bucket_of_host: call.bucket_of_host,
        query: call.head.uri.query().unwrap_or_default(),
        headers,
    };
    let claim = claim_request(&sent, call.app.options.region.as_deref()).map_err(refusal)?;
    let Some(claim) = claim else {
        return Err(denied());
    };
    let key = access_key(call, claim.access_key_id()).await?;
    let proven = claim
        .verify(key.as_ref(), &call.app.derived_keys, call.now)
        .map_err(refusal)?;
    if proven.version_2 {
        refuse_unsigned_choice(call)?;
    }
    let headers = headers_of(call, &proven)?;
    // Without a key nothing is proven, so there always is one; no limits would be the wrong thing to fall back to.
    let limits = key
        .map(|key| key.limits)
        .ok_or_else(|| ApiError::new(ErrorCode::AccessDenied, "Access Denied"))?;
    let access = Access {
        proven,
        headers,
        limits,
    };
    let (action, target) = wish(call, place);
    access.check(action, target)?;
    Ok(access)
}

/// Fails when the query chooses an operation by a parameter that Version 2 passes over: whoever holds the URL could have added it.
fn refuse_unsigned_choice(call: &Call<'_>) -> Result<(), ApiError> {
    let mut choices = SUBRESOURCES.into_iter().chain(FOREIGN);
    let unsigned =
        choices.find(|name| call.params.query(name).is_some() && !is_signed_in_version_2(name));
    match unsigned {
        None => Ok(()),
        Some(name) => {
            let why = format!(
                "Signature Version 2 does not cover the parameter '{name}'; sign with Version 4."
            );
            Err(denied().because(why))
        }
    }
}

/// What a request wants: to read, if its method only asks, or to write.
fn wish<'a>(call: &'a Call<'_>, place: Place<'a>) -> (Action, Target<'a>) {
    let action = match call.head.method.as_str() {
        "GET" | "HEAD" => Action::Read,
        _ => Action::Write,
    };
    let target = match place {
        Place::Service => Target::Any,
        Place::Bucket(bucket) => of_bucket(call, bucket),
        Place::Object(bucket, key) => Target::Object(bucket, key),
    };
    (action, target)
}

/// What of a bucket a request is about: all of it, but for what is listed here.
fn of_bucket<'a>(call: &'a Call<'_>, bucket: &'a str) -> Target<'a> {
    let mut asked = SUBRESOURCES
        .into_iter()
        .filter(|name| call.params.query(name).is_some());
    let asked = (asked.next(), asked.next());
    let prefix = call.params.query("prefix").unwrap_or_default();
    match (call.head.method.as_str(), asked) {
        ("HEAD", (None, _)) | ("GET", (Some("location"), None)) => Target::In(bucket),
        ("GET", (None | Some("versions" | "uploads"), None)) => Target::List(bucket, prefix),
        // Each key of the list is judged when it is read.
        ("POST", (Some("delete"), None)) => Target::In(bucket),
        _ => Target::Whole(bucket),
    }
}

async fn access_key(call: &Call<'_>, id: &str) -> Result<Option<AccessKey>, ApiError> {
    let key = CatalogKey::AccessKey(id.to_owned());
    match call.app.store.find(&key).await? {
        Some(CatalogEntry::AccessKey(key)) => Ok(Some(key)),
        _ => Ok(None),
    }
}

/// Repeats are joined with a comma (RFC 9110, section 5.3). What nobody here looks at may be any bytes, which are left out.
fn headers_of<'a>(call: &Call<'a>, proven: &ProvenRequest) -> Result<Headers<'a>, ApiError> {
    let mut headers: Headers<'a> = Vec::with_capacity(call.head.headers.len());
    for (name, value) in &call.head.headers {
        let value = match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => value,
            Err(_) if is_read(name.as_str()) => {
                return Err(ApiError::invalid(name.as_str(), "must be UTF-8."));
            }
            Err(_) => continue,
        };
        match headers.iter_mut().find(|(n, _)| n == name.as_str()) {
            Some((_, held)) => *held = format!("{held},{value}").into(),
            None => headers.push((name.as_str().into(), value.into())),
        }
    }
    if proven.presigned {
        let pairs = call.params.pairs();
        for (name, value) in pairs.filter(|(name, _)| !is_authentication(name)) {
            let name = name.to_ascii_lowercase();
            let is_plain = proven.version_2 && V2_PLAIN_HEADERS.contains(&name.as_str());
            let is_header = is_plain || is_hoisted(&name);
            if is_header && !headers.iter().any(|(n, _)| *n == name) {
                headers.push((name.into(), value.trim().to_owned().into()));
            }
        }
    }
    Ok(headers)
}

/// Whether some operation looks at a header.
fn is_read(name: &str) -> bool {
    let begins = ["x-amz-", "content-", "if-"];
    begins.iter().any(|begin| name.starts_with(begin))
        || ["cache-control", "expires"].contains(&name)
}

/// Whether a parameter of a presigned URL is what its signature is made of.
fn is_authentication(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-security-token",
        "x-amz-signature",
        "x-amz-signedheaders",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a parameter stands for a header, if it is none of [`is_authentication`]. The value of a checksum does not: SDKs put there that of
/// the empty body they had when they signed. Which one is wanted, and that it is wanted back, does.
fn is_hoisted(name: &str) -> bool {
    const OF_NO_BODY: [&str; 3] = ["algorithm", "mode", "type"];
    let of_checksum = name.strip_prefix("x-amz-checksum-");
    name.starts_with("x-amz-") && of_checksum.is_none_or(|rest| OF_NO_BODY.contains(&rest))
}

/// Amazon's code for each reason.
pub(super) fn refusal(error: RequestError) -> ApiError {
    let code = match error.kind {
        Kind::AccessDenied => ErrorCode::AccessDenied,
        Kind::AuthorizationHeaderMalformed => ErrorCode::AuthorizationHeaderMalformed,
        Kind::AuthorizationQueryParametersError => ErrorCode::AuthorizationQueryParametersError,
        Kind::ExpiredToken => ErrorCode::ExpiredToken,
        Kind::InvalidAccessKeyId => ErrorCode::InvalidAccessKeyId,
        Kind::InvalidArgument => ErrorCode::InvalidArgument,
        Kind::InvalidRequest => ErrorCode::InvalidRequest,
        Kind::InvalidToken => ErrorCode::InvalidToken,
        Kind::NotImplemented => ErrorCode::NotImplemented,
        Kind::RequestTimeTooSkewed => ErrorCode::RequestTimeTooSkewed,
        Kind::SignatureDoesNotMatch => ErrorCode::SignatureDoesNotMatch,
    };
    let mut refusal = ApiError::new(code, error.message);
    refusal.extras = error.extras;
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PayloadClaim;

    #[test]
    fn an_access_that_is_logged_shows_the_names_of_its_headers_only() {
        let access = Access {
            proven: ProvenRequest {
                payload: PayloadClaim::Unsigned,
                presigned: false,
                version_2: false,
                chain: None,
            },
            headers: vec![("x-amz-security-token".into(), "hidden".into())],
            limits: KeyLimits::default(),
        };
        let logged = format!("{access:?}");
        assert!(logged.contains("x-amz-security-token") && !logged.contains("hidden"));
    }
}
