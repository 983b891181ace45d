//! What an authorized form may do.
//!
//! Owns: [`Grant`], and the judgement of the file's size while its bytes come.
//! Never does: judge whether a field was allowed; `evaluate` has, before a grant is made.
//! Invariants: a [`Grant`] has no public constructor and is made only by `authorize`; whoever holds one may store what it says, and no
//! more. Every field of the form that acts is in it.

use super::error::{PolicyError, PolicyErrorKind};
use super::fields::{self, ChunkFields, SuccessAction};
use super::form::PostForm;
use crate::model::{Attributes, Bucket, Checksum, HeaderSet, Id, KeyPurpose, Md5, ObjectKey};

/// Who granted: the key that signed, and the session it signed for.
pub(super) struct Grantor {
    pub(super) access_key_id: String,
    pub(super) purpose: KeyPurpose,
    pub(super) session: Option<Id>,
}

/// What an authorized form may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    access_key: Option<(String, KeyPurpose)>,
    session: Option<Id>,
    bucket: Bucket,
    key: ObjectKey,
    min_size: u64,
    max_size: u64,
    headers: HeaderSet,
    attributes: Attributes,
    success: SuccessAction,
    content_md5: Option<Md5>,
    chunk: ChunkFields,
}

impl Grant {
    /// Only `authorize` calls this, after every check of the policy.
    pub(super) fn new(
        form: &PostForm,
        bucket: &Bucket,
        grantor: Option<Grantor>,
        (min_size, max_size): (u64, u64),
    ) -> Result<Self, PolicyError> {
        fields::refuse_what_we_cannot_do(form)?;
        let session = grantor.as_ref().and_then(|g| g.session);
        Ok(Self {
            access_key: grantor.map(|g| (g.access_key_id, g.purpose)),
            session,
            bucket: bucket.clone(),
            key: fields::object_key(form)?,
            min_size,
            max_size,
            headers: fields::stored_headers(form)?,
            attributes: fields::attributes(form)?,
            success: SuccessAction::of(form),
            content_md5: fields::content_md5(form)?,
            chunk: ChunkFields::of(form),
        })
    }

    /// The key that signed; `None` for an anonymous form.
    pub fn access_key_id(&self) -> Option<&str> {
        self.access_key.as_ref().map(|(id, _)| id.as_str())
    }

    /// What that key is for.
    pub fn purpose(&self) -> Option<KeyPurpose> {
        self.access_key.as_ref().map(|(_, purpose)| *purpose)
    }

    /// Our own session that the policy names, for a form that we issued.
    pub fn session(&self) -> Option<Id> {
        self.session
    }

    /// The URL's bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The key as the form names it. For a session it begins with the session's key and may go on (`.3` for chunk 3).
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Fewest and most bytes that the file may have; nothing fits when the first is greater.
    pub fn size_range(&self) -> (u64, u64) {
        (self.min_size, self.max_size)
    }

    /// Judges the bytes that have come so far, or that the request announces: at most the maximum.
    ///
    /// # Errors
    /// `EntityTooLarge`.
    pub fn check_max(&self, bytes: u64) -> Result<(), PolicyError> {
        if bytes <= self.max_size {
            return Ok(());
        }
        Err(PolicyError::new(
            PolicyErrorKind::EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed size",
        )
        .with("ProposedSize", bytes.to_string())
        .with("MaxSizeAllowed", self.max_size.to_string()))
    }

    /// Judges the whole file's length.
    ///
    /// # Errors
    /// `EntityTooLarge` or `EntityTooSmall`.
    pub fn check_size(&self, bytes: u64) -> Result<(), PolicyError> {
        self.check_max(bytes)?;
        if bytes >= self.min_size {
            return Ok(());
        }
        Err(PolicyError::new(
            PolicyErrorKind::EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size",
        )
        .with("ProposedSize", bytes.to_string())
        .with("MinSizeAllowed", self.min_size.to_string()))
    }

    /// Headers to store with the object.
    pub fn headers(&self) -> &HeaderSet {
        &self.headers
    }

    /// What to store with the object besides its headers: access control list, tags, and [`Grant::checksum`].
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// How success is answered.
    pub fn success(&self) -> &SuccessAction {
        &self.success
    }

    /// The MD5 that the file must have.
    pub fn content_md5(&self) -> Option<Md5> {
        self.content_md5
    }

    /// The checksum that the file must have; it must be verified, or the form refused.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.attributes.checksum.as_ref()
    }

    /// The fields from which chunks are told apart.
    pub fn chunk(&self) -> &ChunkFields {
        &self.chunk
    }
}
