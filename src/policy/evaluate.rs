//! The judgement: may this form do what it asks?
//!
//! Owns: the order of the checks and every rule of matching. First the signature, then the session token, then the limits of the key,
//! then the document, its expiration, its conditions, its coverage, then the fields that act.
//! Never does: parse (its neighbours do) or look a key up (the caller does).
//! Invariants: the default is no. Every field but the exempt ones must be named by a condition. The bucket that counts is always the
//! URL's, and it must be covered like a field. All conditions hold, several on one field too; length ranges intersect. Whoever signs
//! can give away only what his key may do itself: the key that counts is the form's, after `${filename}` was replaced.
//!
//! A policy of one of OUR OWN SESSIONS is known by exactly one condition `["starts-with", "$x-pillarbox-upload-<id>", ""]` under a
//! signature of a key whose purpose is `Forms` or `Dev`. For it an absent field counts as the empty string, so that uploaders that
//! leave out `chunk` or `filename` pass; and what uploaders add by themselves (`uploader`) needs no condition. Under any other
//! key the same condition is an ordinary one, and fails for lack of its field.

use super::document::{Condition, PostPolicy, Test};
use super::error::{PolicyError, PolicyErrorKind};
use super::form::PostForm;
use super::grant::{Grant, Grantor};
use super::session_token;
use super::signature::{Claim, SignatureClaim};
use super::uploader::is_uploader_field;
use crate::model::{
    AccessKey, Action, BeyondLimits, Bucket, Id, KeyPurpose, MAX_CHUNK_BYTES, Target, Timestamp,
};

/// Prefix of the name in the condition by which our own sessions are known; 24 hex digits follow.
pub(super) const SESSION_FIELD_PREFIX: &str = "x-pillarbox-upload-";

/// Most elements of a Content-Type that is a list; each condition on it looks at all of them.
pub(super) const MAX_TYPES: usize = 100;
/// Fields that need no condition: the signed text, what proves it, and the file.
const EXEMPT_FIELDS: [&str; 5] = [
    "awsaccesskeyid",
    "signature",
    "x-amz-signature",
    "file",
    "policy",
];

/// Where Amazon's behaviour is not known, or a test target may want to differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether an absent field counts as the empty string for everybody's policies. Amazon refuses
    /// `["starts-with", "$x", ""]` when `x` is absent; Ceph and others accept it.
    pub absent_is_empty: bool,
    /// Whether `x-amz-checksum-*` fields need a condition too. Without one they can only narrow what is accepted.
    pub cover_checksums: bool,
}

/// What a form is judged against, besides its key.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The bucket that the URL names.
    pub bucket: &'a Bucket,
    /// Whether anybody may post into that bucket without a policy.
    pub public_write: bool,
    /// The time.
    pub now: Timestamp,
    /// The open questions, decided.
    pub rules: &'a Rules,
}

/// Judges a form. `key` is what the caller found for [`Claim::access_key_id`].
///
/// # Errors
/// The first reason for a refusal, in the order of Amazon S3 User Guide's checks as the module says.
pub fn authorize(
    claim: &Claim<'_>,
    key: Option<&AccessKey>,
    context: &Context<'_>,
) -> Result<Grant, PolicyError> {
    if *claim.signature() == SignatureClaim::Anonymous {
        return authorize_anonymous(claim.form(), context);
    }
    claim.verify(key, context.now)?;
    let Some(key) = key else {
        return Err(PolicyError::access_denied());
    };
    session_token::check(claim.form(), key, context.now)?;
    within_limits(claim.form(), key, context).map_err(|_| PolicyError::beyond_limits())?;
    grant_signed(claim, &key.id, key.purpose, context)
}

/// Judges what a form would store by what the key that signed it may do.
pub(super) fn within_limits(
    form: &PostForm,
    key: &AccessKey,
    context: &Context<'_>,
) -> Result<(), BeyondLimits> {
    let name = form.get("key").unwrap_or_default();
    let target = Target::Object(context.bucket.as_str(), name);
    key.limits.check(Action::Write, target)
}

/// What a form grants whose signature is right.
fn grant_signed(
    claim: &Claim<'_>,
    key_id: &str,
    purpose: KeyPurpose,
    context: &Context<'_>,
) -> Result<Grant, PolicyError> {
    let policy = PostPolicy::parse(claim.policy())?;
    if context.now >= policy.expiration() {
        return Err(not_allowed(
            PolicyErrorKind::PolicyExpired,
            "Policy expired.",
        ));
    }
    let session = own_session(&policy, purpose);
    let grantor = Grantor {
        access_key_id: key_id.to_owned(),
        purpose,
        session,
    };
    let granted = grant_by(&policy, claim.form(), grantor, context);
    granted.map_err(|error| error.of_session(session))
}

/// What a policy that holds now grants to a form.
fn grant_by(
    policy: &PostPolicy,
    form: &PostForm,
    grantor: Grantor,
    context: &Context<'_>,
) -> Result<Grant, PolicyError> {
    let judged = Judged::new(form, context, grantor.session.is_some());
    judged.refuse_failed_conditions(policy)?;
    judged.refuse_uncovered_fields(policy)?;
    judged.refuse_other_bucket()?;
    Grant::new(form, context.bucket, Some(grantor), size_range(policy))
}

/// Why a form would be refused, for an explanation, which grants nothing: its signature counts as right when `key` is none and
/// `assumed` says for what its key is.
pub(super) fn refusal(
    claim: &Claim<'_>,
    key: Option<&AccessKey>,
    assumed: Option<KeyPurpose>,
    context: &Context<'_>,
    file_bytes: Option<u64>,
) -> Option<PolicyError> {
    let id = claim.access_key_id();
    let granted = match (key, id, assumed) {
        (None, Some(id), Some(purpose)) => grant_signed(claim, id, purpose, context),
        _ => authorize(claim, key, context),
    };
    granted
        .and_then(|grant| file_bytes.map_or(Ok(()), |bytes| grant.check_size(bytes)))
        .err()
}

/// No policy: no conditions and no coverage, but only where everybody may write.
fn authorize_anonymous(form: &PostForm, context: &Context<'_>) -> Result<Grant, PolicyError> {
    if !context.public_write {
        return Err(PolicyError::access_denied());
    }
    Judged::new(form, context, false).refuse_other_bucket()?;
    Grant::new(form, context.bucket, None, (0, MAX_CHUNK_BYTES))
}

/// The session that a policy of ours names.
pub(super) fn own_session(policy: &PostPolicy, purpose: KeyPurpose) -> Option<Id> {
    if !matches!(purpose, KeyPurpose::Forms | KeyPurpose::Dev) {
        return None;
    }
    let mut named = policy
        .conditions()
        .iter()
        .filter_map(|condition| match condition.test() {
            Test::StartsWith { name, prefix } if prefix.is_empty() => {
                name.strip_prefix(SESSION_FIELD_PREFIX)
            }
            _ => None,
        });
    match (named.next(), named.next()) {
        (Some(id), None) => Id::parse(id),
        _ => None,
    }
}

/// All length ranges at once, fewest and most bytes; 0 to 5 GiB when there is none.
pub(super) fn size_range(policy: &PostPolicy) -> (u64, u64) {
    let ranges = policy
        .conditions()
        .iter()
        .filter_map(|condition| match condition.test() {
            Test::Length { min, max } => Some((*min, *max)),
            _ => None,
        });
    ranges.fold((0, MAX_CHUNK_BYTES), |(low, high), (min, max)| {
        (low.max(min), high.min(max))
    })
}

fn not_allowed(kind: PolicyErrorKind, detail: impl std::fmt::Display) -> PolicyError {
    PolicyError::not_allowed(kind, detail)
}

/// A form as the conditions see it.
pub(super) struct Judged<'a> {
    form: &'a PostForm,
    bucket: &'a Bucket,
    own_session: bool,
    absent_is_empty: bool,
    cover_checksums: bool,
}

impl<'a> Judged<'a> {
    pub(super) fn new(form: &'a PostForm, context: &Context<'a>, own_session: bool) -> Self {
        Self {
            form,
            bucket: context.bucket,
            own_session,
            absent_is_empty: own_session || context.rules.absent_is_empty,
            cover_checksums: context.rules.cover_checksums,
        }
    }

    /// Conditions that do not hold, in the order of the document. Length ranges are judged with the bytes.
    pub(super) fn failed<'p>(
        &'p self,
        policy: &'p PostPolicy,
    ) -> impl Iterator<Item = &'p Condition> + 'p {
        policy
            .conditions()
            .iter()
            .filter(|condition| !self.holds(condition.test()))
    }

    /// Names of fields that no condition covers, in the order of the form, the URL's bucket last.
    pub(super) fn uncovered<'p>(
        &'p self,
        policy: &'p PostPolicy,
    ) -> impl Iterator<Item = &'p str> + 'p {
        let covered = move |name: &str| policy.conditions().iter().any(|c| c.field() == Some(name));
        let names = self
            .form
            .iter()
            .map(|(name, _)| name)
            .filter(|name| *name != "bucket");
        names
            .chain(["bucket"])
            .filter(move |name| !self.is_exempt(name) && !covered(name))
    }

    fn refuse_failed_conditions(&self, policy: &PostPolicy) -> Result<(), PolicyError> {
        match self.failed(policy).next() {
            None => Ok(()),
            Some(condition) => Err(condition_failed(condition.echo())),
        }
    }

    fn refuse_uncovered_fields(&self, policy: &PostPolicy) -> Result<(), PolicyError> {
        match self.uncovered(policy).next() {
            None => Ok(()),
            Some(name) => Err(not_allowed(
                PolicyErrorKind::ExtraField,
                format_args!("Extra input fields: {name}"),
            )),
        }
    }

    /// A `bucket` field may repeat the URL's bucket and never replace it (CVE-2023-43040).
    fn refuse_other_bucket(&self) -> Result<(), PolicyError> {
        match self.form.get("bucket") {
            Some(named) if named != self.bucket.as_str() => Err(condition_failed(&format!(
                "[\"eq\", \"$bucket\", \"{}\"]",
                self.bucket
            ))),
            _ => Ok(()),
        }
    }

    fn is_exempt(&self, name: &str) -> bool {
        EXEMPT_FIELDS.contains(&name)
            || (!self.cover_checksums && name.starts_with("x-amz-checksum-"))
            || (self.own_session && is_uploader_field(name))
    }

    /// Whether a test holds; a length range does, until the bytes come.
    pub(super) fn holds(&self, test: &Test) -> bool {
        match test {
            Test::Length { .. } => true,
            Test::Never => false,
            Test::Equals { name, value } => self.value(name) == Some(value),
            Test::StartsWith { name, prefix } => self
                .value(name)
                .is_some_and(|held| has_prefix(name, held, prefix)),
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        if name == "bucket" {
            return Some(self.bucket.as_str());
        }
        self.form.get(name).or(self.absent_is_empty.then_some(""))
    }
}

/// The value has the prefix, byte for byte; for Content-Type, and only there, a comma makes a list of which every further
/// element must have it too, without the blanks around it, and there are at most [`MAX_TYPES`].
fn has_prefix(name: &str, value: &str, prefix: &str) -> bool {
    let mut further = (1..).zip(value.split(',').skip(1));
    let fits =
        |(place, element): (usize, &str)| place < MAX_TYPES && element.trim().starts_with(prefix);
    value.starts_with(prefix) && (name != "content-type" || further.all(fits))
}

fn condition_failed(echo: &str) -> PolicyError {
    not_allowed(
        PolicyErrorKind::ConditionFailed,
        format_args!("Policy Condition failed: {echo}"),
    )
}
