//! Signatures over a text: Signature Version 2 and 4, made and verified.
//!
//! Owns: the key derivation, and the comparison in constant time. The only file of this floor that sees a secret.
//! Never does: know what is signed, or who is said to have signed it.
//! Invariant: a signature that is not whole and in its spelling (base64 for Version 2, hexadecimal digits for 4) does not verify.
//!
//! Sources: Amazon S3 User Guide, "Browser-based uploads using POST (Signature Version 2)"; Amazon S3 API Reference,
//! "Authenticating requests in browser-based uploads using POST (Signature Version 4)"; RFC 2104.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::model::{Secret, decode_hex, encode_hex};

/// The service of a form post in a scope of Version 4.
pub(super) const V4_SERVICE: &str = "s3";
/// What ends every scope of Version 4.
pub(super) const V4_TERMINAL: &str = "aws4_request";

/// A way to sign; an explanation tries those that are taken by mistake.
#[derive(Clone, Copy)]
pub(super) enum Scheme<'a> {
    /// Signature Version 2.
    V2,
    /// Signature Version 4 with this scope.
    V4 {
        day: &'a str,
        region: &'a str,
        service: &'a str,
    },
    /// Version 4 whose key was derived from the secret without `AWS4` before it.
    V4Unprefixed { day: &'a str, region: &'a str },
    /// Version 4 whose key was derived from hexadecimal digits where bytes belong.
    V4OfDigits { day: &'a str, region: &'a str },
    /// HMAC-SHA256 with the secret itself: Version 4 without the derivation of its key.
    Underived,
}

impl Scheme<'_> {
    /// Whether `tag`, the raw bytes of a signature, is this secret's over `text`.
    pub(super) fn fits(self, secret: &Secret, text: &str, tag: &[u8]) -> bool {
        let key = match self {
            Self::V2 => v2_key(secret),
            Self::V4 {
                day,
                region,
                service,
            } => v4_signing_key(secret, day, region, service),
            Self::V4Unprefixed { day, region } => {
                derived(secret.reveal(), [day, region, V4_SERVICE, V4_TERMINAL])
            }
            Self::V4OfDigits { day, region } => {
                derived_of_digits(secret, [day, region, V4_SERVICE, V4_TERMINAL])
            }
            Self::Underived => sha256_key(secret.reveal().as_bytes()),
        };
        hmac::verify(&key, text.as_bytes(), tag).is_ok()
    }
}

/// The secret with the blanks and line ends around it that it gets on the way through shells and files, and without its own.
pub(super) fn padded(secret: &Secret) -> [Secret; 5] {
    let text = secret.reveal();
    let padded = [
        format!("{text}\n"),
        format!("{text}\r\n"),
        format!("{text} "),
        format!(" {text}"),
        text.trim().to_owned(),
    ];
    padded.map(Secret::new)
}

/// Signature Version 2: base64 of HMAC-SHA1 over the base64 text of the policy.
pub fn sign_v2(secret: &Secret, policy: &str) -> String {
    STANDARD.encode(hmac::sign(&v2_key(secret), policy.as_bytes()))
}

/// Signature Version 4: lower-case hex of HMAC-SHA256 over the base64 text of the policy; `day` is `yyyyMMdd`.
pub fn sign_v4(secret: &Secret, day: &str, region: &str, policy: &str) -> String {
    let key = v4_signing_key(secret, day, region, V4_SERVICE);
    encode_hex(hmac::sign(&key, policy.as_bytes()).as_ref())
}

fn v2_key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.reveal().as_bytes(),
    )
}

pub(super) fn v4_signing_key(secret: &Secret, day: &str, region: &str, service: &str) -> hmac::Key {
    let first = ["AWS4", secret.reveal()].concat();
    derived(&first, [day, region, service, V4_TERMINAL])
}

fn derived(first: &str, scope: [&str; 4]) -> hmac::Key {
    let mut key = sha256_key(first.as_bytes());
    for part in scope {
        key = sha256_key(hmac::sign(&key, part.as_bytes()).as_ref());
    }
    key
}

/// As who takes the digits that most tools print for the bytes that they stand for.
fn derived_of_digits(secret: &Secret, scope: [&str; 4]) -> hmac::Key {
    let mut key = sha256_key(["AWS4", secret.reveal()].concat().as_bytes());
    for part in scope {
        let digits = encode_hex(hmac::sign(&key, part.as_bytes()).as_ref());
        key = sha256_key(digits.as_bytes());
    }
    key
}

fn sha256_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// Of a form's policy or a request's text alike: whether a signature of Version 2 is the one over it, compared in constant time.
pub(super) fn verify_v2(secret: &Secret, text: &[u8], signature: &str) -> bool {
    STANDARD
        .decode(signature)
        .is_ok_and(|tag| hmac::verify(&v2_key(secret), text, &tag).is_ok())
}

/// The same for Version 4.
pub(super) fn verify_v4(key: &hmac::Key, text: &[u8], signature: &str) -> bool {
    decode_hex::<32>(signature).is_some_and(|tag| hmac::verify(key, text, &tag).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn version_2_gives_amazons_published_signature() {
        let policy = STANDARD.encode(
            r#"{ "expiration": "2007-12-01T12:00:00.000Z",
  "conditions": [
    {"bucket": "johnsmith"},
    ["starts-with", "$key", "user/eric/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://johnsmith.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    ["starts-with", "$x-amz-meta-tag", ""]
  ]
}
"#,
        );
        let secret = secret("uV3F3YluFJax1cknvbcGwgjvx4QpvB+leU8dUj2o");
        assert_eq!(sign_v2(&secret, &policy), "0RavWzkygo6QX9caELEqKi9kDbU=");
        assert!(verify_v2(
            &secret,
            policy.as_bytes(),
            "0RavWzkygo6QX9caELEqKi9kDbU="
        ));
    }

    #[test]
    fn version_4_gives_amazons_published_signature() {
        let policy = r#"{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}"#;
        let policy = STANDARD.encode(policy.replace('\n', "\r\n"));
        let secret = secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        assert_eq!(
            sign_v4(&secret, "20151229", "us-east-1", &policy),
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
        );
    }

    #[test]
    fn our_own_vectors_hold_in_both_versions() {
        let secret = secret("s3post-example-secret");
        let v2 = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},["starts-with","$key","in/"],["content-length-range",1,1048576]]}"#;
        assert_eq!(
            sign_v2(&secret, &STANDARD.encode(v2)),
            "oRbmGLfaFAQRhhqLlFa3xI82QvU="
        );
        let v4 = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},["starts-with","$key","in/"],{"x-amz-algorithm":"AWS4-HMAC-SHA256"},{"x-amz-credential":"S3POSTEXAMPLEKEY/20291231/us-east-1/s3/aws4_request"},{"x-amz-date":"20291231T120000Z"}]}"#;
        assert_eq!(
            sign_v4(&secret, "20291231", "us-east-1", &STANDARD.encode(v4)),
            "118f058f0618bb98f7eac07c7a36c137ca109079477c1fad57234aa9fefd0512"
        );
    }

    #[test]
    fn a_signature_verifies_only_whole_and_over_the_same_text_and_secret() {
        let (key, policy) = (secret("one"), "cG9saWN5");
        let v2 = sign_v2(&key, policy);
        assert!(verify_v2(&key, policy.as_bytes(), &v2));
        assert!(!verify_v2(&secret("two"), policy.as_bytes(), &v2));
        assert!(!verify_v2(&key, b"cG9saWN6", &v2));
        for bad in [
            "",
            "=",
            "not base64!",
            &v2[..v2.len() - 4],
            &format!("{v2}AAAA"),
        ] {
            assert!(!verify_v2(&key, policy.as_bytes(), bad), "{bad}");
        }
        let v4 = sign_v4(&key, "20291231", "us-east-1", policy);
        let derived = v4_signing_key(&key, "20291231", "us-east-1", V4_SERVICE);
        assert!(verify_v4(&derived, policy.as_bytes(), &v4));
        let other_day = v4_signing_key(&key, "20291230", "us-east-1", V4_SERVICE);
        assert!(!verify_v4(&other_day, policy.as_bytes(), &v4));
        for bad in ["", "zz", &v4[..62], &format!("{v4}00")] {
            assert!(!verify_v4(&derived, policy.as_bytes(), bad), "{bad}");
        }
    }
}
