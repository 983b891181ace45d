//! Every way an answer can be no, in one table.
//!
//! Owns: [`ErrorCode`], one row each: Amazon's code, the HTTP status, the hosted API's code and words. And [`ApiError`],
//! the one error type of this floor, into which the errors of the floors below fold.
//!
//! Never does: render; `dialect.rs` shows an error in the dialect of the route. Never lets a cause reach a client: the
//! `source` goes to the log.
//!
//! Sources: "Error responses" of the Amazon S3 API Reference; the error tables of the hosted media API's manual.

use std::error::Error;
use std::fmt;

use http::StatusCode;

use super::body::BodyError;
use super::explain::{Inline, Seen};
use crate::model::{AnswerStyle, Id};

/// How the hosted API numbers an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestCode {
    /// The same number on every resource.
    Common(&'static str, &'static str),
    /// `0x` + the resource's three digits + this number.
    OfResource(u16),
}

impl ErrorCode {
    /// Whether the operator must hear of it: a failure of ours, not the wish for what does not exist here (501).
    pub fn is_our_failure(self) -> bool {
        self.status().is_server_error() && self != Self::NotImplemented
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident => $status:ident, $rest:expr;)*) => {
        /// One row for each way an answer can be no. The variant's name is Amazon's code where Amazon has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name),* }

        impl ErrorCode {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as S3 XML shows it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status),* }
            }

            /// The code and words of the REST dialect.
            pub const fn rest(self) -> RestCode {
                match self { $(Self::$name => $rest),* }
            }
        }
    };
}

const INVALID: RestCode = RestCode::OfResource(1);
const MISSING: RestCode = RestCode::OfResource(2);
const INTERNAL: RestCode = RestCode::Common("0x0000001", "Internal Error");
const TOKEN: RestCode = RestCode::Common("0x0000003", "Invalid access token");
/// The hosted API documents no code for the following; these four are ours, in its common range.
const ROUTE: RestCode = RestCode::Common("0x0000004", "Resource does not exist");
const METHOD: RestCode = RestCode::Common("0x0000005", "Method not allowed");
const STORAGE: RestCode = RestCode::Common("0x0000006", "Insufficient storage");
const BUSY: RestCode = RestCode::Common("0x0000007", "Service unavailable");

error_codes! {
    /// Not allowed, or refused by the policy.
    AccessDenied => FORBIDDEN, TOKEN;
    /// A preflight that no CORS rule allows.
    AccessForbidden => FORBIDDEN, TOKEN;
    /// The `Authorization` header is not of its grammar, or its scope is wrong.
    AuthorizationHeaderMalformed => BAD_REQUEST, INVALID;
    /// The query of a presigned URL is not of its grammar, or its scope is wrong.
    AuthorizationQueryParametersError => BAD_REQUEST, INVALID;
    /// The bytes do not hash to what the client said.
    BadDigest => BAD_REQUEST, INVALID;
    /// A request that fits no better row.
    BadRequest => BAD_REQUEST, INVALID;
    /// The bucket is there already, and it is the client's own.
    BucketAlreadyOwnedByYou => CONFLICT, INVALID;
    /// A bucket that still holds objects.
    BucketNotEmpty => CONFLICT, INVALID;
    /// A condition held at first, and no longer when it counted.
    ConditionalRequestConflict => CONFLICT, INVALID;
    /// More bytes than allowed.
    EntityTooLarge => BAD_REQUEST, INVALID;
    /// Fewer bytes than demanded.
    EntityTooSmall => BAD_REQUEST, INVALID;
    /// A session token that is over.
    ExpiredToken => BAD_REQUEST, INVALID;
    /// A bucket is made in this region only.
    IllegalLocationConstraintException => BAD_REQUEST, INVALID;
    /// The body ended early.
    IncompleteBody => BAD_REQUEST, INVALID;
    /// No room.
    InsufficientStorage => INSUFFICIENT_STORAGE, STORAGE;
    /// Our fault.
    InternalError => INTERNAL_SERVER_ERROR, INTERNAL;
    /// Nobody has this access key.
    InvalidAccessKeyId => FORBIDDEN, TOKEN;
    /// The bearer token is missing, wrong, expired, revoked, or does not allow this.
    InvalidAccessToken => FORBIDDEN, TOKEN;
    /// A parameter or field breaks a rule.
    InvalidArgument => BAD_REQUEST, INVALID;
    /// No bucket may have this name.
    InvalidBucketName => BAD_REQUEST, INVALID;
    /// `Content-MD5` is no MD5.
    InvalidDigest => BAD_REQUEST, INVALID;
    /// A bucket cannot be made in that region.
    InvalidLocationConstraint => BAD_REQUEST, INVALID;
    /// A part that is not here, or is another one.
    InvalidPart => BAD_REQUEST, INVALID;
    /// The object has no part of this number.
    InvalidPartNumber => RANGE_NOT_SATISFIABLE, INVALID;
    /// Parts that are not in the order of their numbers.
    InvalidPartOrder => BAD_REQUEST, INVALID;
    /// The policy is not well-formed.
    InvalidPolicyDocument => BAD_REQUEST, INVALID;
    /// The range is outside the object.
    InvalidRange => RANGE_NOT_SATISFIABLE, INVALID;
    /// The redirect location is no URL.
    InvalidRedirectLocation => BAD_REQUEST, INVALID;
    /// The request contradicts itself or what is stored.
    InvalidRequest => BAD_REQUEST, INVALID;
    /// No such storage class.
    InvalidStorageClass => BAD_REQUEST, INVALID;
    /// A tag breaks a rule.
    InvalidTag => BAD_REQUEST, INVALID;
    /// A session token that is not ours.
    InvalidToken => BAD_REQUEST, INVALID;
    /// The key is longer than 1,024 bytes.
    KeyTooLongError => BAD_REQUEST, INVALID;
    /// The access control list breaks its schema.
    MalformedACLError => BAD_REQUEST, INVALID;
    /// The body is not well-formed multipart/form-data.
    MalformedPOSTRequest => BAD_REQUEST, INVALID;
    /// A trailer that was not announced, or is not what was announced.
    MalformedTrailerError => BAD_REQUEST, INVALID;
    /// The XML breaks its schema.
    MalformedXML => BAD_REQUEST, INVALID;
    /// The form before the file is larger than 20,480 bytes.
    MaxPostPreDataLengthExceededError => BAD_REQUEST, INVALID;
    /// User metadata and headers are larger than 2 KiB.
    MetadataTooLarge => BAD_REQUEST, INVALID;
    /// This resource does not know this method.
    MethodNotAllowed => METHOD_NOT_ALLOWED, METHOD;
    /// Neither a length nor chunked coding.
    MissingContentLength => LENGTH_REQUIRED, INVALID;
    /// There is no body where there must be one.
    MissingRequestBodyError => BAD_REQUEST, INVALID;
    /// A header that the operation must have is missing.
    MissingSecurityHeader => BAD_REQUEST, TOKEN;
    /// No such bucket.
    NoSuchBucket => NOT_FOUND, MISSING;
    /// No such bucket policy.
    NoSuchBucketPolicy => NOT_FOUND, MISSING;
    /// No cross-origin rules.
    NoSuchCORSConfiguration => NOT_FOUND, MISSING;
    /// No such object.
    NoSuchKey => NOT_FOUND, MISSING;
    /// No lifecycle rules.
    NoSuchLifecycleConfiguration => NOT_FOUND, MISSING;
    /// No such pipeline.
    NoSuchPipeline => NOT_FOUND, RestCode::Common("0x0170002", "Pipeline does not exist");
    /// Nothing says that public access is blocked.
    NoSuchPublicAccessBlockConfiguration => NOT_FOUND, MISSING;
    /// No such path.
    NoSuchResource => NOT_FOUND, ROUTE;
    /// No tags.
    NoSuchTagSet => NOT_FOUND, MISSING;
    /// No such session.
    NoSuchUpload => NOT_FOUND, MISSING;
    /// No such version of an object.
    NoSuchVersion => NOT_FOUND, MISSING;
    /// No website.
    NoSuchWebsiteConfiguration => NOT_FOUND, MISSING;
    /// Known to Amazon, out of scope here; never a lie.
    NotImplemented => NOT_IMPLEMENTED, METHOD;
    /// No object lock.
    ObjectLockConfigurationNotFoundError => NOT_FOUND, MISSING;
    /// What is asked for contradicts what goes on.
    OperationAborted => CONFLICT, INVALID;
    /// Nothing says who owns objects.
    OwnershipControlsNotFoundError => NOT_FOUND, MISSING;
    /// A condition of the request does not hold.
    PreconditionFailed => PRECONDITION_FAILED, INVALID;
    /// No replication.
    ReplicationConfigurationNotFoundError => NOT_FOUND, MISSING;
    /// The client was too slow.
    RequestTimeout => BAD_REQUEST, INVALID;
    /// The client's clock and ours differ too much.
    RequestTimeTooSkewed => FORBIDDEN, TOKEN;
    /// No default encryption.
    ServerSideEncryptionConfigurationNotFoundError => NOT_FOUND, MISSING;
    /// Writes are refused until restart, or the program is stopping.
    ServiceUnavailable => SERVICE_UNAVAILABLE, BUSY;
    /// The signature is not the one we compute.
    SignatureDoesNotMatch => FORBIDDEN, TOKEN;
    /// Too much at once; try again.
    SlowDown => SERVICE_UNAVAILABLE, BUSY;
    /// A body where a header says it all.
    UnexpectedContent => BAD_REQUEST, INVALID;
    /// The bytes do not hash to what was signed.
    XAmzContentSHA256Mismatch => BAD_REQUEST, INVALID;
}

/// A refusal, ready to be shown in any dialect. Message and elements are for the client, who sent what they echo; `Debug` shows neither.
pub struct ApiError {
    /// The row of the table.
    pub code: ErrorCode,
    /// What is wrong, in words for the client; names the field and the rule. Never holds a secret.
    pub message: String,
    /// Further elements of the S3 answer, in order.
    pub extras: Vec<(&'static str, String)>,
    /// The methods a 405 allows.
    pub allow: Option<&'static str>,
    /// How many bytes the object has; a 416 shows it as `Content-Range` (RFC 9110, section 15.5.17).
    pub object_size: Option<u64>,
    /// How the session that is known behind a form post wants its refusals written; no other route looks at it.
    pub style: AnswerStyle,
    /// What was seen of a form post until it was refused, or why another request was; it becomes the explanation.
    pub seen: Option<Box<Seen>>,
    /// The cause, for the log only.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// A refusal with these words.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            extras: Vec::new(),
            allow: None,
            object_size: None,
            style: AnswerStyle::default(),
            seen: None,
            source: None,
        }
    }

    /// What a panic becomes: a 500 for one request.
    pub fn panicked() -> Self {
        let message = "We encountered an internal error. Please try again.";
        Self::new(ErrorCode::InternalError, message)
    }

    /// A parameter that breaks a rule: `what` names it, `rule` says how it must be.
    pub fn invalid(what: &str, rule: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidArgument, format!("{what} {rule}"))
    }

    /// A method that the resource does not know; `allow` lists those it does.
    pub fn method(allow: &'static str) -> Self {
        let message = "The specified method is not allowed against this resource.";
        Self {
            allow: Some(allow),
            ..Self::new(ErrorCode::MethodNotAllowed, message)
        }
    }

    /// A condition of the request that does not hold.
    pub fn precondition_failed() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(ErrorCode::PreconditionFailed, message)
    }

    /// Adds one element to the S3 answer.
    #[must_use]
    pub fn with(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.extras.push((element, value.into()));
        self
    }

    /// What an element of the S3 answer says.
    pub(super) fn extra(&self, element: &str) -> Option<&str> {
        let mut extras = self.extras.iter();
        let found = extras.find(|(name, _)| *name == element);
        found.map(|(_, value)| value.as_str())
    }

    /// Says which upload it is that is not here.
    #[must_use]
    pub(super) fn of_upload(self, id: Id) -> Self {
        match self.code == ErrorCode::NoSuchUpload && self.extra("UploadId").is_none() {
            true => self.with("UploadId", id.to_string()),
            false => self,
        }
    }

    /// The explanation that goes into the answer itself; there is one only in `dev`.
    pub(super) fn explanation(&self) -> Option<&Inline> {
        self.seen.as_ref()?.inline.as_ref()
    }

    /// Has it written in the style of its session.
    #[must_use]
    pub fn in_style(self, style: AnswerStyle) -> Self {
        Self { style, ..self }
    }

    /// Keeps the reason, one sentence, for who asks for the explanation; the answer itself does not tell it.
    #[must_use]
    pub fn because(self, why: String) -> Self {
        Self {
            seen: Some(Box::new(Seen::knowing(why))),
            ..self
        }
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.extras.iter().map(|(name, _)| *name);
        f.debug_struct("ApiError")
            .field("code", &self.code)
            .field("extras", &elements.collect::<Vec<_>>())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.name())
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| source.as_ref() as &(dyn Error + 'static))
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::Disconnected(_) => ErrorCode::IncompleteBody,
            BodyError::Stalled(_) => ErrorCode::RequestTimeout,
            BodyError::GaveWay | BodyError::NoRoom | BodyError::NoTurn => ErrorCode::SlowDown,
            BodyError::TooLarge { .. } => ErrorCode::EntityTooLarge,
        };
        Self::new(code, error.to_string()).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_logged_shows_neither_its_message_nor_what_it_echoes() {
        let error = ApiError::new(ErrorCode::SignatureDoesNotMatch, "hidden-message")
            .with("StringToSign", "hidden-text");
        let logged = format!("{error} {error:?}");
        assert!(!logged.contains("hidden"), "{logged}");
        assert!(logged.contains("SignatureDoesNotMatch") && logged.contains("StringToSign"));
    }
}
