//! What a form says about its signature, and the proof of it: Signature Version 2 and 4.
//!
//! Owns: which version a form claims, the credential scope, and the verdict. How a signature is computed, `signing.rs` knows.
//! Never does: decode a policy, or see a secret. Both versions sign the base64 text of the `policy` field exactly as sent, and nothing
//! else: not the URL, not the other fields, not the file.
//! Invariants: a form with members of both versions is refused; the age of `x-amz-date` is not judged (the policy's
//! expiration is the clock), only that its day is the scope's day; no text that was signed or presented reaches `Debug`.
//!
//! Sources: Amazon S3 User Guide, "Browser-based uploads using POST (Signature Version 2)"; Amazon S3 API Reference,
//! "Authenticating requests in browser-based uploads using POST (Signature Version 4)"; RFC 2104.

use std::fmt;
use std::fmt::Write as _;

use super::date::{is_day, parse_moment};
use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;
use super::signing::{Scheme, V4_SERVICE, V4_TERMINAL, v4_signing_key, verify_v2, verify_v4};
use crate::model::{AccessKey, KeyPurpose, Timestamp};

pub(super) const V4_ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Members of a V4 form in the order in which a missing one is reported: field name, and as Amazon prints it.
const V4_MEMBERS: [(&str, &str); 4] = [
    ("x-amz-algorithm", "X-Amz-Algorithm"),
    ("x-amz-credential", "X-Amz-Credential"),
    ("x-amz-date", "X-Amz-Date"),
    ("x-amz-signature", "X-Amz-Signature"),
];

/// Members of a V2 form, likewise.
const V2_MEMBERS: [(&str, &str); 2] = [
    ("awsaccesskeyid", "AWSAccessKeyId"),
    ("signature", "Signature"),
];

/// What a form says about who signed it; nothing of it is proven yet.
#[derive(Clone, PartialEq, Eq)]
pub enum SignatureClaim {
    /// No policy and no signature fields.
    Anonymous,
    /// Signature Version 2.
    V2 {
        /// The key that is said to have signed.
        access_key_id: String,
        /// Base64 of the HMAC-SHA1, as sent.
        signature: String,
    },
    /// Signature Version 4.
    V4 {
        /// The key that is said to have signed.
        access_key_id: String,
        /// The scope's day, `yyyyMMdd`.
        day: String,
        /// The scope's region.
        region: String,
        /// Hex of the HMAC-SHA256, as sent.
        signature: String,
    },
}

impl fmt::Debug for SignatureClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::V2 { .. } => "V2(..)",
            Self::V4 { .. } => "V4(..)",
        })
    }
}

/// A form together with what it claims: what the caller needs to find the key, and what `authorize` judges.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    form: &'a PostForm,
    signature: SignatureClaim,
}

impl<'a> Claim<'a> {
    /// The form.
    pub fn form(&self) -> &'a PostForm {
        self.form
    }

    /// What it says about its signature.
    pub fn signature(&self) -> &SignatureClaim {
        &self.signature
    }

    /// The key to look up; `None` for an anonymous form.
    pub fn access_key_id(&self) -> Option<&str> {
        match &self.signature {
            SignatureClaim::Anonymous => None,
            SignatureClaim::V2 { access_key_id, .. } | SignatureClaim::V4 { access_key_id, .. } => {
                Some(access_key_id)
            }
        }
    }

    /// The signed text.
    pub(super) fn policy(&self) -> &'a str {
        self.form.get("policy").unwrap_or_default()
    }

    /// How the form says that it was signed; none for an anonymous form.
    pub(super) fn scheme(&self) -> Option<Scheme<'_>> {
        match &self.signature {
            SignatureClaim::Anonymous => None,
            SignatureClaim::V2 { .. } => Some(Scheme::V2),
            SignatureClaim::V4 { day, region, .. } => Some(Scheme::V4 {
                day,
                region,
                service: V4_SERVICE,
            }),
        }
    }

    /// Proves the claim: `key` is the one that was found for [`Claim::access_key_id`].
    pub(super) fn verify(
        &self,
        key: Option<&AccessKey>,
        now: Timestamp,
    ) -> Result<(), PolicyError> {
        let id = self.access_key_id().unwrap_or_default();
        let signs = |key: &&AccessKey| {
            // Of a temporary key the session token is judged first, and then the time.
            let is_known = key.session_token.is_some() || !key.has_expired(now);
            key.id == id && is_known && key.purpose != KeyPurpose::Links
        };
        let Some(key) = key.filter(signs) else {
            return Err(unknown_key(id));
        };
        let (policy, provided) = (self.policy(), self.provided());
        if self.matches(key, policy, provided) {
            return Ok(());
        }
        Err(mismatch(id, policy, provided))
    }

    /// The signature as sent; empty for an anonymous form.
    pub(super) fn provided(&self) -> &str {
        match &self.signature {
            SignatureClaim::Anonymous => "",
            SignatureClaim::V2 { signature, .. } | SignatureClaim::V4 { signature, .. } => {
                signature
            }
        }
    }

    /// Whether `signature` is this key's over `text`, in the version and scope of the claim.
    fn matches(&self, key: &AccessKey, text: &str, signature: &str) -> bool {
        match &self.signature {
            SignatureClaim::Anonymous => false,
            SignatureClaim::V2 { .. } => verify_v2(&key.secret, text.as_bytes(), signature),
            SignatureClaim::V4 { day, region, .. } => verify_v4(
                &v4_signing_key(&key.secret, day, region, V4_SERVICE),
                text.as_bytes(),
                signature,
            ),
        }
    }
}

/// Reads who is said to have signed the form. `region` is the one that a V4 scope must name; `None` for any.
///
/// # Errors
/// `InvalidArgument` for a form without a key, with members missing or of both versions, or with a malformed scope;
/// `AccessDenied` for a policy that nobody signed.
pub fn claim<'a>(form: &'a PostForm, region: Option<&str>) -> Result<Claim<'a>, PolicyError> {
    match form.get("key") {
        None => return Err(PolicyError::missing_field("key")),
        Some("") => {
            let message = "User key must have a length greater than 0.";
            return Err(PolicyError::argument("key", "", message));
        }
        Some(_) => {}
    }
    let any = |members: &[(&str, &str)]| members.iter().any(|(name, _)| form.get(name).is_some());
    let signature = match (any(&V2_MEMBERS), any(&V4_MEMBERS)) {
        (true, true) => {
            let message = "A form must not be signed with Signature Version 2 and 4 at once.";
            return Err(PolicyError::argument("AWSAccessKeyId", "", message));
        }
        (true, false) => claim_v2(form)?,
        (false, true) => claim_v4(form, region)?,
        (false, false) if form.get("policy").is_some() => return Err(PolicyError::access_denied()),
        (false, false) => SignatureClaim::Anonymous,
    };
    Ok(Claim { form, signature })
}

fn claim_v2(form: &PostForm) -> Result<SignatureClaim, PolicyError> {
    let [access_key_id, signature] = members(form, &V2_MEMBERS)?;
    Ok(SignatureClaim::V2 {
        access_key_id: access_key_id.to_owned(),
        signature: signature.to_owned(),
    })
}

fn claim_v4(form: &PostForm, region: Option<&str>) -> Result<SignatureClaim, PolicyError> {
    let [algorithm, credential, date, signature] = members(form, &V4_MEMBERS)?;
    if algorithm != V4_ALGORITHM {
        let message = format!("X-Amz-Algorithm only supports \"{V4_ALGORITHM}\"");
        return Err(PolicyError::argument("x-amz-algorithm", algorithm, message));
    }
    let scope = Scope::parse(credential)?;
    scope.check(credential, region)?;
    if parse_moment(date).is_none() {
        let message = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"";
        return Err(PolicyError::argument("x-amz-date", date, message));
    }
    if !date.starts_with(scope.day) {
        let message = format!(
            "Invalid credential date \"{}\". This date is not the same as X-Amz-Date: \"{date}\".",
            scope.day
        );
        return Err(PolicyError::argument(
            "x-amz-credential",
            credential,
            message,
        ));
    }
    Ok(SignatureClaim::V4 {
        access_key_id: scope.access_key_id.to_owned(),
        day: scope.day.to_owned(),
        region: scope.region.to_owned(),
        signature: signature.to_owned(),
    })
}

/// The values of all members, or the error for the first that is missing; then for a missing policy.
fn members<'a, const N: usize>(
    form: &'a PostForm,
    names: &[(&str, &str); N],
) -> Result<[&'a str; N], PolicyError> {
    let mut values = [""; N];
    for (value, (name, printed)) in values.iter_mut().zip(names) {
        *value = form
            .get(name)
            .ok_or_else(|| PolicyError::missing_field(printed))?;
    }
    if form.get("policy").is_none() {
        return Err(PolicyError::missing_field("policy"));
    }
    Ok(values)
}

/// `AKID/yyyyMMdd/region/service/aws4_request`, split from the right.
struct Scope<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    terminal: &'a str,
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str) -> Result<Self, PolicyError> {
        let mut parts = credential.rsplitn(5, '/');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        match (next(), next(), next(), next(), next()) {
            (Some(terminal), Some(service), Some(region), Some(day), Some(access_key_id)) => {
                Ok(Self {
                    access_key_id,
                    day,
                    region,
                    service,
                    terminal,
                })
            }
            _ => Err(malformed(
                credential,
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            )),
        }
    }

    fn check(&self, credential: &str, region: Option<&str>) -> Result<(), PolicyError> {
        let Self {
            day,
            service,
            terminal,
            ..
        } = self;
        let fault = if !is_day(day) {
            format!(
                "incorrect date format \"{day}\". This date in the credential must be in the format \"yyyyMMdd\"."
            )
        } else if let Some(expected) = region.filter(|expected| *expected != self.region) {
            format!(
                "the region '{}' is wrong; expecting '{expected}'",
                self.region
            )
        } else if *service != V4_SERVICE {
            format!("incorrect service \"{service}\". This endpoint belongs to \"{V4_SERVICE}\".")
        } else if *terminal != V4_TERMINAL {
            format!("incorrect terminal \"{terminal}\". This endpoint uses \"{V4_TERMINAL}\".")
        } else {
            return Ok(());
        };
        Err(malformed(credential, &fault))
    }
}

/// Key id, day, region and service of a credential, whatever they are worth.
pub(super) fn scope_of(credential: &str) -> Option<[&str; 4]> {
    let scope = Scope::parse(credential).ok()?;
    Some([scope.access_key_id, scope.day, scope.region, scope.service])
}

fn malformed(credential: &str, fault: &str) -> PolicyError {
    let message = format!("Error parsing the X-Amz-Credential parameter; {fault}");
    PolicyError::argument("x-amz-credential", credential, message)
}

fn unknown_key(id: &str) -> PolicyError {
    PolicyError::new(
        PolicyErrorKind::InvalidAccessKeyId,
        "The AWS Access Key Id you provided does not exist in our records.",
    )
    .with("AWSAccessKeyId", id)
}

fn mismatch(id: &str, policy: &str, provided: &str) -> PolicyError {
    let mut bytes = String::with_capacity(policy.len() * 3);
    for (i, byte) in policy.bytes().enumerate() {
        let separator = if i == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = write!(bytes, "{separator}{byte:02x}");
    }
    PolicyError::new(
        PolicyErrorKind::SignatureDoesNotMatch,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    )
    .with("AWSAccessKeyId", id)
    .with("StringToSign", policy)
    .with("SignatureProvided", provided)
    .with("StringToSignBytes", bytes)
}
