//! Why a signed request was refused, in Amazon's words.
//!
//! Owns: the reasons, one S3 code each, with message and extra elements.
//! Never does: choose an HTTP status or write XML.
//! Invariant: `Debug` and `Display` show the reason only; message and extras (texts that were signed among them) are for the client,
//! who sent what they echo.
//!
//! Source: Amazon S3 API Reference, "Error responses".

use std::fmt;

/// Longest text that is shown byte by byte as well; the answer is to be no multiple of a long request.
const MAX_DUMPED_BYTES: usize = 8 * 1024;

/// The reason of a refusal; each is the S3 code of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestErrorKind {
    /// Nothing was presented that allows this, or it is over, or a header was not signed.
    AccessDenied,
    /// The `Authorization` header is not of its grammar, or its scope is wrong.
    AuthorizationHeaderMalformed,
    /// The query of a presigned URL is not of its grammar, or its scope is wrong.
    AuthorizationQueryParametersError,
    /// A session token that is over.
    ExpiredToken,
    /// Nobody who may sign requests has this access key.
    InvalidAccessKeyId,
    /// A part of the authentication is not of its kind.
    InvalidArgument,
    /// A header that every signed request must have is missing.
    InvalidRequest,
    /// A session token that was not issued with the key.
    InvalidToken,
    /// A way of signing that Amazon knows and we do not.
    NotImplemented,
    /// The request's clock and ours differ by more than 15 minutes.
    RequestTimeTooSkewed,
    /// The signature is not the one we compute.
    SignatureDoesNotMatch,
}

/// A refused request.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestError {
    /// The reason.
    pub kind: RequestErrorKind,
    /// Amazon's sentence, for the client only.
    pub message: String,
    /// Extra elements of the error answer, in order, for the client only.
    pub extras: Vec<(&'static str, String)>,
}

impl RequestError {
    pub(super) fn new(kind: RequestErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            extras: Vec::new(),
        }
    }

    /// A signature that is not the one of `to_sign`, which the client is told: it sent, or could compute, all that is in it.
    pub(super) fn mismatch(access_key_id: &str, to_sign: String, signature: &str) -> Self {
        let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
        let dump = to_sign.clone().into_bytes();
        Self::new(RequestErrorKind::SignatureDoesNotMatch, message)
            .with("AWSAccessKeyId", access_key_id)
            .with("StringToSign", to_sign)
            .with("SignatureProvided", signature)
            .with_bytes("StringToSignBytes", &dump)
    }

    /// With an element that shows each byte of a text, of one that somebody might read.
    pub(super) fn with_bytes(self, element: &'static str, bytes: &[u8]) -> Self {
        match bytes.len() {
            0..=MAX_DUMPED_BYTES => self.with(element, spaced_hex(bytes)),
            _ => self,
        }
    }

    pub(super) fn with(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.extras.push((element, value.into()));
        self
    }
}

/// Bytes as Amazon shows them: in hex, with blanks between.
fn spaced_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        if !text.is_empty() {
            text.push(' ');
        }
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestError")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request refused: {:?}", self.kind)
    }
}

impl std::error::Error for RequestError {}
