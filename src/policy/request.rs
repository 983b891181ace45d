//! Signed requests: who is said to have sent one, and whether that is so. Everything but forms.
//!
//! Owns: the `Authorization` header and presigned URLs, of Signature Version 4 and 2; how old a signature may be; which keys may sign
//! requests; what a request says of its payload.
//! Never does: look a key up, read a body, or say what a request may do.
//!
//! Invariants: what is no signed request in exactly one of the four ways is anonymous or refused. In Version 4 `host` and every header
//! `x-amz-*` that was sent is signed, so none can be added to a request or a presigned URL. Signatures are compared as decoded bytes
//! in constant time. A key that signs our own forms or links signs no request.
//!
//! Sources: Amazon S3 API Reference, "Authenticating requests (AWS Signature Version 4)"; Amazon S3 User Guide, "Signing and
//! authenticating REST requests (Signature Version 2)"; messages as in Amazon S3's answers.

use std::fmt;
use std::time::Duration;

use ring::digest;

use super::canonical::SentRequest;
use super::chunk_chain::ChunkChain;
use super::derived_keys::DerivedKeys;
use super::query::Query;
use super::request_claim::{self, V4Parts};
use super::request_error::{RequestError, RequestErrorKind as Kind};
use super::session_token::{self, EXPIRED, FOREIGN, Verdict};
use super::signature::V4_ALGORITHM;
use super::signing::{self, V4_SERVICE, V4_TERMINAL};
use crate::model::{AccessKey, KeyPurpose, Timestamp, encode_hex};

/// How far a signed request's clock and ours may differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);
/// Longest life of a presigned URL of Version 4, in seconds.
pub const MAX_PRESIGNED_SECONDS: i64 = 7 * 24 * 3600;

/// What a request says of its payload; the signature covers this word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadClaim {
    /// Nothing.
    Unsigned,
    /// Its SHA-256.
    Sha256([u8; 32]),
    /// It comes in unsigned chunks with a trailer.
    UnsignedTrailer,
    /// It comes in signed chunks.
    SignedChunks,
    /// It comes in signed chunks with a signed trailer.
    SignedTrailer,
}

/// When a signature counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Within [`MAX_CLOCK_SKEW`] of this moment.
    Around(Timestamp),
    /// From the first moment (less the skew) to the last.
    Until(Option<Timestamp>, Timestamp),
}

/// What only one version has.
#[derive(Clone)]
pub(super) enum Version {
    V2,
    V4(V4Parts),
}

/// A request that somebody is said to have signed; nothing of it is proven yet.
#[derive(Clone)]
pub struct RequestClaim {
    pub(super) access_key_id: String,
    pub(super) signature: String,
    pub(super) token: Option<String>,
    pub(super) life: Life,
    pub(super) payload: PayloadClaim,
    pub(super) presigned: bool,
    pub(super) version: Version,
    /// What was signed, one for each spelling of the path: the canonical requests, or the strings themselves in Version 2.
    pub(super) texts: Vec<Vec<u8>>,
}

/// A request that was proven.
#[derive(Debug)]
pub struct ProvenRequest {
    /// What it says of its payload.
    pub payload: PayloadClaim,
    /// Whether it is a presigned URL, whose query may carry headers.
    pub presigned: bool,
    /// Whether it is signed in Version 2, of which a presigned URL may carry `V2_PLAIN_HEADERS` too.
    pub version_2: bool,
    /// For the signatures inside a payload in signed chunks.
    pub chain: Option<ChunkChain>,
}

impl RequestClaim {
    /// The key to look up.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Proves the claim: `key` is the one that was found for [`RequestClaim::access_key_id`].
    ///
    /// # Errors
    /// `InvalidAccessKeyId` for no key, one that is over, and one that must not sign requests; `InvalidToken`, `ExpiredToken`;
    /// `RequestTimeTooSkewed`, `AccessDenied` for a presigned URL that is over or not yet valid; `SignatureDoesNotMatch`.
    pub fn verify(
        self,
        key: Option<&AccessKey>,
        derived: &DerivedKeys,
        now: Timestamp,
    ) -> Result<ProvenRequest, RequestError> {
        let Some(key) = key.filter(|key| self.may_sign(key, now)) else {
            let message = "The AWS Access Key Id you provided does not exist in our records.";
            return Err(RequestError::new(Kind::InvalidAccessKeyId, message)
                .with("AWSAccessKeyId", self.access_key_id));
        };
        self.check_token(key, now)?;
        self.life.check(now)?;
        let chain = match &self.version {
            Version::V2 => self.verify_v2(key).then_some(None),
            Version::V4(parts) => self.verify_v4(key, parts, derived),
        };
        match chain {
            None => Err(self.mismatch()),
            Some(chain) => Ok(ProvenRequest {
                payload: self.payload,
                presigned: self.presigned,
                version_2: matches!(self.version, Version::V2),
                chain,
            }),
        }
    }

    fn may_sign(&self, key: &AccessKey, now: Timestamp) -> bool {
        let signs_requests = match key.purpose {
            KeyPurpose::User | KeyPurpose::Dev => true,
            KeyPurpose::Forms | KeyPurpose::Links => false,
        };
        // Of a temporary key the session token is judged first, and then the time.
        let is_known = key.session_token.is_some() || !key.has_expired(now);
        signs_requests && is_known && key.id == self.access_key_id
    }

    fn check_token(&self, key: &AccessKey, now: Timestamp) -> Result<(), RequestError> {
        match session_token::judge(self.token.as_deref(), key, now) {
            Verdict::Fits => Ok(()),
            Verdict::Foreign => Err(RequestError::new(Kind::InvalidToken, FOREIGN)),
            Verdict::Expired => Err(RequestError::new(Kind::ExpiredToken, EXPIRED)),
        }
    }

    fn verify_v2(&self, key: &AccessKey) -> bool {
        let fits = |text: &Vec<u8>| signing::verify_v2(&key.secret, text, &self.signature);
        self.texts.iter().any(fits)
    }

    /// The chain that the signature begins, if there is one; `None` when the signature is not right.
    fn verify_v4(
        &self,
        key: &AccessKey,
        parts: &V4Parts,
        derived: &DerivedKeys,
    ) -> Option<Option<ChunkChain>> {
        let key = derived.of(&key.secret, parts.day(), &parts.region);
        let fits = |text: &Vec<u8>| {
            let to_sign = parts.string_to_sign(text);
            signing::verify_v4(&key, to_sign.as_bytes(), &self.signature)
        };
        if !self.texts.iter().any(fits) {
            return None;
        }
        let chain = || {
            let seed = self.signature.to_ascii_lowercase();
            let signer = (self.access_key_id.clone(), key);
            ChunkChain::new(signer, parts.date.clone(), parts.scope(), seed)
        };
        let is_chained = matches!(
            self.payload,
            PayloadClaim::SignedChunks | PayloadClaim::SignedTrailer
        );
        Some(is_chained.then(chain))
    }

    fn mismatch(self) -> RequestError {
        let text = self.texts.into_iter().next().unwrap_or_default();
        let canonical = String::from_utf8_lossy(&text).into_owned();
        let to_sign = match &self.version {
            Version::V2 => canonical.clone(),
            Version::V4(parts) => parts.string_to_sign(&text),
        };
        let error = RequestError::mismatch(&self.access_key_id, to_sign, &self.signature);
        match self.version {
            Version::V2 => error,
            Version::V4(_) => error
                .with("CanonicalRequest", canonical)
                .with_bytes("CanonicalRequestBytes", &text),
        }
    }
}

impl fmt::Debug for RequestClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.version {
            Version::V2 => "RequestClaim(V2, ..)",
            Version::V4(_) => "RequestClaim(V4, ..)",
        })
    }
}

impl Life {
    fn check(self, now: Timestamp) -> Result<(), RequestError> {
        let denied = |message| RequestError::new(Kind::AccessDenied, message);
        match self {
            Self::Around(at) if at.plus(MAX_CLOCK_SKEW) < now || now.plus(MAX_CLOCK_SKEW) < at => {
                let message =
                    "The difference between the request time and the current time is too large.";
                let millis = MAX_CLOCK_SKEW.as_millis().to_string();
                Err(RequestError::new(Kind::RequestTimeTooSkewed, message)
                    .with("RequestTime", at.rfc3339())
                    .with("ServerTime", now.rfc3339())
                    .with("MaxAllowedSkewMilliseconds", millis))
            }
            Self::Until(Some(from), _) if now.plus(MAX_CLOCK_SKEW) < from => {
                Err(denied("Request is not yet valid").with("ServerTime", now.rfc3339()))
            }
            // What lives no second is over when it begins, whatever the clocks say.
            Self::Until(from, end) if end < now || from == Some(end) => {
                let error = denied("Request has expired");
                let error = match from.map(|from| end.seconds() - from.seconds()) {
                    Some(life) => error.with("X-Amz-Expires", life.to_string()),
                    None => error,
                };
                Err(error
                    .with("Expires", end.rfc3339())
                    .with("ServerTime", now.rfc3339()))
            }
            Self::Around(_) | Self::Until(..) => Ok(()),
        }
    }
}

impl V4Parts {
    pub(super) fn day(&self) -> &str {
        self.date.get(..8).unwrap_or_default()
    }

    pub(super) fn scope(&self) -> String {
        [self.day(), &self.region, V4_SERVICE, V4_TERMINAL].join("/")
    }

    fn string_to_sign(&self, canonical: &[u8]) -> String {
        let hash = encode_hex(digest::digest(&digest::SHA256, canonical).as_ref());
        [V4_ALGORITHM, &self.date, &self.scope(), &hash].join("\n")
    }
}

/// Reads who is said to have signed a request; `None` when nobody did. `region` is the one that a scope of Version 4 must name,
/// `None` for any.
///
/// # Errors
/// `InvalidArgument` for two ways of signing at once, an authorization of another type and values that are not of their kind;
/// `AuthorizationHeaderMalformed` and `AuthorizationQueryParametersError` for what is missing or has the wrong scope;
/// `AccessDenied` for a date that is none and a header that must be signed and is not; `InvalidRequest` for one that is missing;
/// `NotImplemented`.
pub fn claim_request(
    sent: &SentRequest<'_>,
    region: Option<&str>,
) -> Result<Option<RequestClaim>, RequestError> {
    let Some(query) = Query::parse(sent.query) else {
        return Err(RequestError::new(
            Kind::InvalidArgument,
            "The query must be UTF-8.",
        ));
    };
    let authorization = sent.count("authorization");
    let v4 = query.count("X-Amz-Algorithm");
    let v2 = query.count("Signature").max(query.count("AWSAccessKeyId"));
    if authorization + v4 + v2 > 1 {
        let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified";
        return Err(RequestError::new(Kind::InvalidArgument, message));
    }
    match (authorization, v4, v2) {
        (1, ..) => request_claim::from_header(sent, &query, region).map(Some),
        (_, 1, _) => request_claim::from_query_v4(sent, &query, region).map(Some),
        (.., 1) => request_claim::from_query_v2(sent, &query).map(Some),
        _ => Ok(None),
    }
}
