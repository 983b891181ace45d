//! Signed permission: what a form post may do, decided from its fields alone, and who sent a signed request.
//!
//! Owns: the form ([`PostForm`]), the policy document ([`PostPolicy`]), both signature versions, the judgement
//! ([`authorize`]) and the forms that we sign ourselves ([`SessionForm`]).
//!
//! Never does: I/O, async, reading a clock, looking a key up, choosing an HTTP status. The caller takes the key id from
//! [`Claim::access_key_id`], finds the key, and passes it with the time to [`authorize`]:
//!
//! ```text
//! PostFormBuilder::push .. finish -> PostForm -> claim -> (key lookup by the caller) -> authorize -> Grant
//! ```
//!
//! Invariants: a [`Grant`] is made only by [`authorize`]. The signature is proven before a byte of the policy is decoded.
//! No input panics. Policies, signatures and secrets never appear in `Debug` or `Display`.
//!
//! Sources: Amazon S3 User Guide, "Browser-Based Uploads Using POST" for Signature Versions 2 and 4; where Amazon's documents
//! are silent, its recorded answers, then ceph/s3-tests.

mod canonical;
mod cause;
mod checksum;
mod chunk_chain;
mod date;
mod derived_keys;
mod document;
mod error;
mod evaluate;
mod explain;
mod fields;
mod form;
mod grant;
mod issue;
mod mask;
mod put;
mod query;
mod request;
mod request_claim;
mod request_error;
mod requirements;
mod session_token;
mod signature;
mod signing;
mod tagging;
mod uploader;

pub use canonical::{SentRequest, V2_PLAIN_HEADERS};
pub use cause::only_fields_of_an_uploader;
pub use checksum::claimed_checksum;
pub use chunk_chain::ChunkChain;
pub use derived_keys::DerivedKeys;
pub use document::{Condition, PostPolicy, Test};
pub use error::{PolicyError, PolicyErrorKind};
pub use evaluate::{Context, Rules, authorize};
pub use explain::{
    BucketFinding, ClockFinding, ConditionFinding, Explanation, FieldFinding, SignatureFinding,
    Surroundings, explain_within,
};
pub use fields::{ChunkFields, SuccessAction};
pub use form::{PostForm, PostFormBuilder};
pub use grant::Grant;
pub use issue::SessionForm;
pub use mask::Mask;
pub use put::PutHeaders;
pub use query::is_signed_in_version_2;
pub use request::{
    MAX_CLOCK_SKEW, MAX_PRESIGNED_SECONDS, PayloadClaim, ProvenRequest, RequestClaim, claim_request,
};
pub use request_error::{RequestError, RequestErrorKind};
pub use requirements::{PolicyExplanation, Requirement, explain_policy};
pub use signature::{Claim, SignatureClaim, claim};
pub use signing::{sign_v2, sign_v4};
pub use tagging::{MAX_DEPTH, MAX_XML_BYTES, checked_tags, parse_tagging};
pub use uploader::ANSWER_FIELD;
