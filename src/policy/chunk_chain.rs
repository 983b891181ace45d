//! The signatures inside a body that is sent in signed chunks.
//!
//! Owns: the chain: each chunk's signature covers the one before it, the first one that of the request.
//! Never does: read the framing; the decoder of the `api` floor does.
//! Invariant: the chain goes on only from a signature that was right. Compared in constant time.
//!
//! Source: Amazon S3 API Reference, "Signature calculations for the Authorization header: transferring payload in multiple chunks" and
//! "... including trailing headers".

use std::fmt;

use ring::{digest, hmac};

use super::request_error::RequestError;
use crate::model::{decode_hex, encode_hex};

/// SHA-256 of nothing, in hex.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Verifies the chunks of one body, in order.
pub struct ChunkChain {
    access_key_id: String,
    key: hmac::Key,
    date: String,
    scope: String,
    last: String,
}

impl ChunkChain {
    /// A chain of the key with this id, from the signature of the request on.
    pub(super) fn new(
        (access_key_id, key): (String, hmac::Key),
        date: String,
        scope: String,
        seed: String,
    ) -> Self {
        Self {
            access_key_id,
            key,
            date,
            scope,
            last: seed,
        }
    }

    /// Goes on when `signature` (hex) is that of the next chunk, whose bytes have this SHA-256.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`, with the text that it should have been over.
    pub fn chunk(&mut self, sha256: &digest::Digest, signature: &str) -> Result<(), RequestError> {
        let hash = encode_hex(sha256.as_ref());
        let rest = format!("{EMPTY_SHA256}\n{hash}");
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &rest, signature)
    }

    /// Goes on when `signature` (hex) is that of the trailer, whose headers are these lines, each `name:value` and a line feed.
    ///
    /// # Errors
    /// As [`ChunkChain::chunk`].
    pub fn trailer(&mut self, lines: &str, signature: &str) -> Result<(), RequestError> {
        let hash = digest::digest(&digest::SHA256, lines.as_bytes());
        let hash = encode_hex(hash.as_ref());
        self.next("AWS4-HMAC-SHA256-TRAILER", &hash, signature)
    }

    fn next(&mut self, what: &str, rest: &str, signature: &str) -> Result<(), RequestError> {
        let (date, scope, last) = (&self.date, &self.scope, &self.last);
        let text = format!("{what}\n{date}\n{scope}\n{last}\n{rest}");
        let right = decode_hex::<32>(signature)
            .is_some_and(|tag| hmac::verify(&self.key, text.as_bytes(), &tag).is_ok());
        if !right {
            return Err(RequestError::mismatch(&self.access_key_id, text, signature));
        }
        self.last = signature.to_ascii_lowercase();
        Ok(())
    }
}

impl fmt::Debug for ChunkChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkChain(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::policy::signing::{V4_SERVICE, v4_signing_key};

    /// The example of the API Reference: 66,560 bytes of `a` in two chunks.
    #[test]
    fn the_published_chunks_are_right_in_their_order_only() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
        let new = || {
            ChunkChain::new(
                (
                    "AKIAIOSFODNN7EXAMPLE".to_owned(),
                    v4_signing_key(&secret, "20130524", "us-east-1", V4_SERVICE),
                ),
                "20130524T000000Z".to_owned(),
                "20130524/us-east-1/s3/aws4_request".to_owned(),
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".to_owned(),
            )
        };
        let hash = |length| digest::digest(&digest::SHA256, &vec![b'a'; length]);
        let signatures = [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ];
        let mut chain = new();
        for (length, signature) in signatures {
            assert!(chain.chunk(&hash(length + 1), signature).is_err());
            assert!(chain.chunk(&hash(length), signature).is_ok(), "{length}");
        }
        assert!(new().chunk(&hash(1024), signatures[1].1).is_err());
    }
}
