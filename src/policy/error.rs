//! Why a form was refused, in Amazon's words.
//!
//! Owns: the reasons, the message texts and the extra elements of the error answer.
//! Never does: choose an HTTP status or write XML; the dialects of the `api` floor do.
//! Invariant: `Debug` and `Display` show the reason and the names of the extra elements, never a message, a value, a policy or a
//! signature, so that an error may be logged. Message and extras are for the client, who sent what they echo.

use std::fmt;

use crate::model::Id;

/// The reason of a refusal; one S3 error code each, several may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyErrorKind {
    /// S3 `AccessDenied`: no permission at all was presented, or none that counts.
    AccessDenied,
    /// S3 `AccessDenied`: the key that signed may not store this itself.
    BeyondLimits,
    /// S3 `AccessDenied`: the policy's expiration has passed.
    PolicyExpired,
    /// S3 `AccessDenied`: a condition of the policy does not hold.
    ConditionFailed,
    /// S3 `AccessDenied`: a field that no condition covers.
    ExtraField,
    /// S3 `InvalidArgument`: a field is missing, repeated or not of its kind.
    InvalidArgument,
    /// S3 `InvalidPolicyDocument`: the policy is not of its grammar.
    InvalidPolicyDocument,
    /// S3 `InvalidAccessKeyId`: nobody has this access key.
    InvalidAccessKeyId,
    /// S3 `SignatureDoesNotMatch`.
    SignatureDoesNotMatch,
    /// S3 `InvalidToken`: a session token that we did not issue for this key, or none where the key has one.
    InvalidToken,
    /// S3 `ExpiredToken`: the temporary key has had its time.
    ExpiredToken,
    /// S3 `MaxPostPreDataLengthExceededError`: too many bytes before the file.
    FieldsTooLarge,
    /// S3 `KeyTooLongError`.
    KeyTooLong,
    /// S3 `MetadataTooLarge`.
    MetadataTooLarge,
    /// S3 `InvalidDigest`: Content-MD5 is not base64 of 16 bytes.
    InvalidDigest,
    /// S3 `InvalidStorageClass`.
    InvalidStorageClass,
    /// S3 `InvalidRedirectLocation`: a website redirect to something else than a page.
    InvalidRedirectLocation,
    /// S3 `InvalidRequest`: a checksum field that is none.
    InvalidRequest,
    /// S3 `MalformedXML`: tags that are no XML, or not of its schema.
    MalformedXml,
    /// S3 `InvalidTag`: a tag breaks a rule.
    InvalidTag,
    /// S3 `BadRequest`: more tags than an object may have.
    TooManyTags,
    /// S3 `NotImplemented`: a field asks for what we would have to pretend.
    NotImplemented,
    /// S3 `EntityTooLarge`: more bytes than the policy allows.
    EntityTooLarge,
    /// S3 `EntityTooSmall`: fewer bytes than the policy asks for.
    EntityTooSmall,
}

/// A refused form.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyError {
    kind: PolicyErrorKind,
    message: String,
    extras: Vec<(&'static str, String)>,
    session: Option<Id>,
}

impl PolicyError {
    /// The reason.
    pub fn kind(&self) -> PolicyErrorKind {
        self.kind
    }

    /// Amazon's sentence, for the client only.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Extra elements of the error answer, in order: element name and value, for the client only.
    pub fn extras(&self) -> &[(&'static str, String)] {
        &self.extras
    }

    /// The session of ours whose policy refuses the form: its signature is right, and its time is not over.
    pub fn session(&self) -> Option<Id> {
        self.session
    }

    /// The value of one extra element.
    pub fn extra(&self, element: &str) -> Option<&str> {
        self.extras
            .iter()
            .find(|(name, _)| *name == element)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn new(kind: PolicyErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            extras: Vec::new(),
            session: None,
        }
    }

    pub(super) fn of_session(self, session: Option<Id>) -> Self {
        Self { session, ..self }
    }

    pub(super) fn with(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.extras.push((element, value.into()));
        self
    }

    /// A field that is not of its kind.
    pub(super) fn argument(name: &str, value: &str, message: impl Into<String>) -> Self {
        Self::new(PolicyErrorKind::InvalidArgument, message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    /// A field that must be there; `name` in the spelling that Amazon prints.
    pub(super) fn missing_field(name: &str) -> Self {
        let message = format!(
            "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
        );
        Self::argument(name, "", message)
    }

    /// The policy is not of its grammar.
    pub(super) fn invalid_policy(detail: impl fmt::Display) -> Self {
        Self::new(
            PolicyErrorKind::InvalidPolicyDocument,
            format!("Invalid Policy: {detail}"),
        )
    }

    /// The policy is well-formed and does not allow this form.
    pub(super) fn not_allowed(kind: PolicyErrorKind, detail: impl fmt::Display) -> Self {
        Self::new(kind, format!("Invalid according to Policy: {detail}"))
    }

    pub(super) fn access_denied() -> Self {
        Self::new(PolicyErrorKind::AccessDenied, "Access Denied")
    }

    /// The key may not do this itself. What it may do, an explanation says, and not the answer.
    pub(super) fn beyond_limits() -> Self {
        Self::new(PolicyErrorKind::BeyondLimits, "Access Denied")
    }
}

impl fmt::Debug for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements: Vec<_> = self.extras.iter().map(|(name, _)| *name).collect();
        f.debug_struct("PolicyError")
            .field("kind", &self.kind)
            .field("extras", &elements)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "form refused: {:?}", self.kind)
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_logged_shows_neither_message_nor_values() {
        let error = PolicyError::argument("key", "hidden-value", "hidden-text")
            .with("StringToSign", "hidden-policy");
        let logged = format!("{error} {error:?}");
        assert!(!logged.contains("hidden"), "{logged}");
        assert!(logged.contains("InvalidArgument") && logged.contains("StringToSign"));
    }
}
