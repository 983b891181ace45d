//! Where the file of a form goes: a chunk of one of our sessions, or an object of its own.
//!
//! Owns: [`SessionPost`], the session behind a form and the style of its answers; and [`PostTarget`], the writer of its file with
//! what the form says the file must be.
//!
//! Never does: read the form or the file; `post_object.rs` does. Decide what is allowed; the grant has.
//!
//! Invariants: the session is the one that the signed policy names; what is refused once it is known is refused in its style;
//! a chunk that is the whole file, without having been numbered, completes its session before it is answered.

use std::sync::Arc;

use super::admission::{Admitted, Pace};
use super::answer_style::{self, PostedChunk};
use super::app::App;
use super::call::new_id;
use super::chunk_target::{self, ChunkTarget};
use super::error::{ApiError, ErrorCode};
use super::post_refusal::wrong_md5;
use crate::model::{
    AnswerStyle, ChunkReceipt, Id, NewUpload, ObjectMeta, Timestamp, UploadSession, UploadState,
};
use crate::policy::{ChunkFields, Grant, PostForm};
use crate::store::{ChunkSpec, ChunkWriter, Expected, ObjectName, StoreError};

/// The session that a form belongs to.
#[derive(Debug)]
pub(super) struct SessionPost {
    /// The session as it was when the form came.
    pub(super) session: UploadSession,
    /// How this post is answered.
    pub(super) style: AnswerStyle,
}

impl SessionPost {
    /// The session that the policy names; `None` for a policy that somebody else signed.
    ///
    /// # Errors
    /// `NoSuchUpload`, also when what the session became is gone; `InvalidArgument` for a style that does not exist.
    pub(super) async fn of(app: &App, grant: &Grant) -> Result<Option<Self>, ApiError> {
        let Some(id) = grant.session() else {
            return Ok(None);
        };
        let session = app.store.upload(id).await?;
        if session.parts.is_some() {
            return Err(StoreError::NoSuchUpload.into());
        }
        let stored = session.upload.answer;
        let style = answer_style::of(stored, grant.chunk()).map_err(|e| e.in_style(stored))?;
        if is_over(&session, app.clock.now()) {
            return Err(expired(&session).in_style(style));
        }
        let file = check_file(app, &session).await;
        file.map_err(|error| error.in_style(style))?;
        Ok(Some(Self { session, style }))
    }

    /// What of the session a chunk is.
    pub(super) fn chunk(&self, spec: ChunkSpec, size: u64, complete: bool) -> PostedChunk {
        let nb_chunks = spec.nb_chunks.or(self.session.nb_chunks);
        PostedChunk {
            upload: self.session.upload.id,
            spec: ChunkSpec { nb_chunks, ..spec },
            size,
            complete,
        }
    }
}

/// The style of the refusal of a form that the policy of a session does not allow; Amazon's where there is no such session.
pub(super) async fn style_of(app: &App, session: Option<Id>, form: &PostForm) -> AnswerStyle {
    let Some(id) = session else {
        return AnswerStyle::S3;
    };
    let Ok(session) = app.store.upload(id).await else {
        return AnswerStyle::S3;
    };
    let stored = session.upload.answer;
    answer_style::of(stored, &ChunkFields::of(form)).unwrap_or(stored)
}

/// Whether the file of an unfinished session would have expired already: it would be gone when it is here, and what it replaces as well.
pub(super) fn is_over(session: &UploadSession, now: Timestamp) -> bool {
    let end = session.upload.expires_at;
    session.state == UploadState::Uploading && end.is_some_and(|end| end <= now)
}

/// Whether the file that a session became is here. Nobody who repeats what he sent must take it for stored when it was deleted, has
/// expired or gave way to another since.
///
/// # Errors
/// `NoSuchUpload`, what the store says.
pub(super) async fn check_file(app: &App, session: &UploadSession) -> Result<(), ApiError> {
    if session.state != UploadState::Completed {
        return Ok(());
    }
    let file = ObjectName::Id(session.upload.id);
    match app.store.object(&file, app.clock.now()).await {
        Ok(_) => Ok(()),
        Err(StoreError::NoSuchObject) => {
            let gone = "The file of this upload was complete and is gone: it was deleted or replaced, or has expired. Start a new upload.";
            let error = ApiError::new(ErrorCode::NoSuchUpload, gone).because(gone.to_owned());
            Err(error.caused_by(StoreError::NoSuchObject))
        }
        Err(error) => Err(error.into()),
    }
}

/// Such a session is refused as if it were gone, and the explanation says why.
fn expired(session: &UploadSession) -> ApiError {
    let end = session.upload.expires_at.map(Timestamp::rfc3339);
    ApiError::from(StoreError::NoSuchUpload).because(format!(
        "The file of this upload session was to expire at {}, and that time has passed, so nothing more is taken for it; start a new session, with a \
         later expires_at.",
        end.unwrap_or_default()
    ))
}

/// A file on its way into the store.
#[derive(Debug)]
pub(super) struct PostTarget<'a> {
    /// Takes the file's bytes.
    pub(super) writer: Box<dyn ChunkWriter>,
    chunk: Option<(&'a SessionPost, ChunkTarget)>,
    _place: Admitted<'a>,
}

/// A file that is on stable storage.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its receipt.
    pub(super) receipt: ChunkReceipt,
    /// What of its session it is.
    pub(super) chunk: Option<PostedChunk>,
}

impl<'a> PostTarget<'a> {
    /// Makes ready for the file of a form.
    ///
    /// # Errors
    /// What the form's chunk fields come to; what the store says.
    pub(super) async fn open(
        app: &'a App,
        (grant, pace): (&Grant, &Arc<Pace>),
        session: Option<&'a SessionPost>,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let (store, admission) = (app.store.as_ref(), &app.admission);
        let Some(post) = session else {
            let new = own_object(app, grant, now)?;
            let begin = || store.write_object(new.clone());
            let (_place, writer) = admission.begin(pace, begin).await?;
            let chunk = None;
            return Ok(Self {
                writer,
                chunk,
                _place,
            });
        };
        let found = chunk_target::find(store, &post.session, grant.key(), grant.chunk());
        let target = found.await?;
        target.check_first()?;
        let id = post.session.upload.id;
        let begin = || store.write_chunk(id, target.spec);
        let begun = admission.begin(pace, begin).await;
        let (_place, writer) = begun.map_err(|error| target.refusal(error, None))?;
        let chunk = Some((post, target));
        Ok(Self {
            writer,
            chunk,
            _place,
        })
    }

    /// Judges what of the file has come so far by what its uploader says.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field, when it is too much already.
    pub(super) fn check_max(&self, bytes: u64) -> Result<(), ApiError> {
        let target = self.chunk.as_ref().map(|(_, target)| target);
        target.map_or(Ok(()), |target| target.check_max(bytes))
    }

    /// Judges the size of the file by what its uploader says.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field.
    pub(super) fn check_size(&self, bytes: u64) -> Result<(), ApiError> {
        let target = self.chunk.as_ref().map(|(_, target)| target);
        target.map_or(Ok(()), |target| target.check_size(bytes))
    }

    /// Acknowledges the file. `file_name` is the file part's.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn commit(
        self,
        app: &App,
        expected: Expected,
        file_name: Option<&str>,
        now: Timestamp,
    ) -> Result<Stored, ApiError> {
        let Self {
            _place,
            writer,
            chunk,
        } = self;
        // It may have come so slowly that this is so only now.
        if let Some((post, _)) = &chunk
            && is_over(&post.session, now)
        {
            return Err(expired(&post.session));
        }
        let committed = writer.commit(expected, now).await;
        let Some((post, target)) = chunk else {
            let receipt = committed.map_err(in_words_of_form)?.receipt;
            let chunk = None;
            return Ok(Stored { receipt, chunk });
        };
        let committed = committed.map_err(|error| match error {
            StoreError::DigestMismatch { .. } => in_words_of_form(error),
            other => target.refusal(other, file_name),
        })?;
        let is_here = |object: &ObjectMeta| object.is_live(now);
        if committed.repeated && !committed.object.as_ref().is_some_and(is_here) {
            // Others may have made it whole, and removed it, while it was under way.
            let session = app.store.upload(post.session.upload.id).await?;
            check_file(app, &session).await?;
        }
        let receipt = committed.receipt;
        let mut complete = committed.object.is_some();
        let mut spec = target.spec;
        if target.is_whole(receipt.length) {
            let id = post.session.upload.id;
            let finished = app.store.finish_upload(id, 1, now).await;
            let session = finished.map_err(|error| target.refusal(error, file_name))?;
            complete = session.state == UploadState::Completed;
            spec.nb_chunks = Some(1);
        }
        let chunk = Some(post.chunk(spec, receipt.length, complete));
        Ok(Stored { receipt, chunk })
    }
}

/// What the store says when it takes the bytes in. `Content-MD5` is the only digest that it is told here.
fn in_words_of_form(error: StoreError) -> ApiError {
    match error {
        StoreError::DigestMismatch { .. } => wrong_md5().caused_by(error),
        other => other.into(),
    }
}

/// What a form without a session makes.
fn own_object(app: &App, grant: &Grant, now: Timestamp) -> Result<NewUpload, ApiError> {
    Ok(NewUpload {
        id: new_id(now)?,
        bucket: grant.bucket().clone(),
        key: grant.key().clone(),
        pipeline: None,
        expires_at: None,
        headers: grant.headers().clone(),
        attributes: grant.attributes().clone(),
        application: None,
        created_at: now,
        abandoned_at: now.plus(app.options.session_lifetime),
        form_post_url: String::new(),
        answer: AnswerStyle::default(),
    })
}
