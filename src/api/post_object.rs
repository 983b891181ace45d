//! The form post: multipart in, chunk or object out.
//!
//! Owns: the road from a form to the store. Fields first: they become a `PostForm`, `authorize` makes a `Grant` of it, and
//! only then is a byte of the file kept. Bytes are pushed down as they come; nothing is buffered.
//!
//! Never does: decide what is allowed (the policy floor), where bytes go (the store), or parse (`form_reader.rs`). Header
//! `Authorization` plays no part here.
//!
//! Invariants: nothing is committed before the closing delimiter was seen; a failure of the network is never a failure of
//! the store; every refusal has Amazon's status and code, in S3 XML or, once a session is known, in its style; that a
//! session is not here says which, and why as far as that is known.
//!
//! Source: Amazon S3 API Reference, "POST Object".

use std::sync::Arc;

use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;

use super::admission::Pace;
use super::answer_style;
use super::app::App;
use super::body::{RequestBody, ResponseBody};
use super::call::{Call, Reply};
use super::checksum::Verifier;
use super::error::{ApiError, ErrorCode};
use super::explain::Seen;
use super::form_reader::FormReader;
use super::guard;
use super::post_answer::Posted;
use super::post_refusal::{malformed, no_bucket, policy_error, second_file};
use super::post_target::{self, PostTarget, SessionPost, Stored};
use super::uploader_query::RepeatedFields;
use crate::model::{AccessKey, AnswerStyle, Bucket, BucketConfig, ETag, Timestamp};
use crate::policy::{Context, Grant, PostForm, authorize, claim};
use crate::store::embedded::faults::{self, Bug};
use crate::store::{CatalogEntry, CatalogKey, Expected};

/// Takes one form post to `bucket`.
///
/// # Errors
/// Amazon's refusals, in the order of its checks; what the store says.
pub async fn receive(call: &mut Call<'_>, bucket: &str) -> Result<Reply, ApiError> {
    let mut seen = Seen::at(call.now);
    let received = receive_seen(call, bucket, &mut seen).await;
    received.map_err(|mut error| {
        seen.learn(error.seen.take());
        error.seen = Some(Box::new(seen));
        error
    })
}

async fn receive_seen(
    call: &mut Call<'_>,
    bucket: &str,
    seen: &mut Seen,
) -> Result<Reply, ApiError> {
    let (boundary, query) = preconditions(call.head)?;
    refuse_without_body(call)?;
    let mut call = Reception {
        app: call.app,
        now: call.now,
        base_url: &call.base_url,
        body: call.body,
        announced: announced_length(call.head),
        seen,
    };
    call.receive(bucket, boundary, &query).await
}

/// What the head of a form post must be before its body is looked at; gives the boundary, and the fields that the query repeats.
///
/// # Errors
/// As [`receive`].
pub(super) fn preconditions(head: &Parts) -> Result<(&str, RepeatedFields), ApiError> {
    let boundary = boundary(head)?;
    Ok((boundary, RepeatedFields::of(head)?))
}

fn refuse_without_body(call: &Call<'_>) -> Result<(), ApiError> {
    if !call.body.ended() || call.head.headers.contains_key(CONTENT_LENGTH) {
        return Ok(());
    }
    let message = "You must provide the Content-Length HTTP header.";
    Err(ApiError::new(ErrorCode::MissingContentLength, message))
}

fn announced_length(head: &Parts) -> Option<u64> {
    let length = head.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The boundary of the form; one parsed value decides, whatever else the header says.
fn boundary(head: &Parts) -> Result<&str, ApiError> {
    let not_a_form = || {
        ApiError::new(
            ErrorCode::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        )
        .with(
            "Condition",
            "Bucket POST must be of the enclosure-type multipart/form-data",
        )
    };
    let mut types = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return Err(not_a_form());
    };
    let found = content_type
        .to_str()
        .ok()
        .and_then(guard::boundary)
        .ok_or_else(not_a_form)?;
    found.map_err(malformed)
}

/// One form on its way in.
struct Reception<'a> {
    app: &'a App,
    now: Timestamp,
    base_url: &'a str,
    body: &'a mut RequestBody,
    announced: Option<u64>,
    seen: &'a mut Seen,
}

impl Reception<'_> {
    async fn receive(
        &mut self,
        bucket: &str,
        boundary: &str,
        query: &RepeatedFields,
    ) -> Result<Reply, ApiError> {
        let (app, now, base_url) = (self.app, self.now, self.base_url);
        let pace = self.body.pace();
        let mut reader = FormReader::new(self.body, boundary);
        let file_name = reader.fields(self.seen).await?;
        let grant = match grant(app, self.seen.form(), bucket, now).await {
            Ok(grant) => grant,
            Err(error) => {
                reader.look_ahead(self.seen);
                return Err(error);
            }
        };
        let of_session = |error: ApiError| match grant.session() {
            Some(id) => error.of_upload(id),
            None => error,
        };
        let session = SessionPost::of(app, &grant).await.map_err(of_session)?;
        let job = Job {
            app,
            now,
            announced: self.announced,
            query,
            grant: &grant,
            session: session.as_ref(),
            file_name,
            pace,
        };
        let stored = job.take_in(&mut reader, self.seen).await;
        let style = session.as_ref().map_or(AnswerStyle::S3, |post| post.style);
        let stored = stored.map_err(|refusal| of_session(refusal).in_style(style))?;
        let answer = answer(base_url, &grant, session.as_ref(), &stored);
        Ok(Reply::Raw(answer))
    }
}

/// A form that may do what it asks, before its file is read.
struct Job<'a> {
    app: &'a App,
    now: Timestamp,
    announced: Option<u64>,
    query: &'a RepeatedFields,
    grant: &'a Grant,
    session: Option<&'a SessionPost>,
    file_name: Option<String>,
    pace: Arc<Pace>,
}

impl Job<'_> {
    async fn take_in(
        &self,
        reader: &mut FormReader<'_>,
        seen: &mut Seen,
    ) -> Result<Stored, ApiError> {
        let (app, now, grant) = (self.app, self.now, self.grant);
        self.query.check(seen.form(), grant)?;
        let announced = self.announced.and_then(|length| reader.file_in(length));
        let (least, likely) = announced.unwrap_or_default();
        check_max(grant, least, likely)?;
        let mut target = PostTarget::open(app, (grant, &self.pace), self.session, now).await?;
        let (size, checksum) = take_file(reader, &mut target, (grant, likely)).await?;
        seen.file_has(size);
        match reader.finish(seen).await {
            Err(error) if !faults::is_planted(Bug::NoClosingDelimiter) => return Err(error),
            Ok(files) if files > 0 && self.session.is_some() => return Err(second_file()),
            _ => {}
        }
        grant.check_size(size).map_err(policy_error)?;
        target.check_size(size)?;
        checksum.map_or(Ok(()), Verifier::finish)?;
        let expected = Expected {
            length: Some(size),
            md5: grant.content_md5(),
            ..Expected::default()
        };
        // What is stored is as old as its last byte, however long the body took.
        let now = app.clock.now();
        target
            .commit(app, expected, self.file_name.as_deref(), now)
            .await
    }
}

/// What the form may do, if its bucket exists and its signature and policy say so.
///
/// # Errors
/// Amazon's refusals, in the order of its checks.
pub(super) async fn grant(
    app: &App,
    form: &PostForm,
    bucket: &str,
    now: Timestamp,
) -> Result<Grant, ApiError> {
    let name = Bucket::parse(bucket).map_err(|_| no_bucket(bucket))?;
    let claim = claim(form, app.options.region.as_deref()).map_err(policy_error)?;
    let key = match claim.access_key_id() {
        None => None,
        Some(id) => access_key(app, id).await?,
    };
    let config = bucket_config(app, &name).await?;
    let configured = app.options.bucket_options(bucket);
    let public_write = configured.is_some_and(|bucket| bucket.public_write)
        || config.as_ref().is_some_and(|config| config.public_write);
    let context = Context {
        bucket: &name,
        public_write,
        now,
        rules: &app.options.rules,
    };
    let grant = match authorize(&claim, key.as_ref(), &context) {
        Ok(grant) => grant,
        Err(error) => {
            let style = post_target::style_of(app, error.session(), form).await;
            return Err(policy_error(error).in_style(style));
        }
    };
    // Only who may write learns whether the bucket exists.
    config.map(|_| grant).ok_or_else(|| no_bucket(bucket))
}

async fn access_key(app: &App, id: &str) -> Result<Option<AccessKey>, ApiError> {
    match app
        .store
        .find(&CatalogKey::AccessKey(id.to_owned()))
        .await?
    {
        Some(CatalogEntry::AccessKey(key)) => Ok(Some(key)),
        _ => Ok(None),
    }
}

async fn bucket_config(app: &App, name: &Bucket) -> Result<Option<BucketConfig>, ApiError> {
    match app.store.find(&CatalogKey::Bucket(name.clone())).await? {
        Some(CatalogEntry::Bucket(config)) => Ok(Some(config)),
        _ => Ok(None),
    }
}

/// Judges the bytes that are known to be the file's. What is too large is refused with the size that it is `likely` to have in the end.
fn check_max(grant: &Grant, bytes: u64, likely: u64) -> Result<(), ApiError> {
    let checked = grant.check_max(bytes);
    let checked = checked.or_else(|_| grant.check_max(bytes.max(likely)));
    checked.map_err(policy_error)
}

/// Pushes the file's bytes down; returns how many there were, and what the checksum that the form claims is compared with.
async fn take_file<'a>(
    reader: &mut FormReader<'_>,
    target: &mut PostTarget<'_>,
    (grant, likely): (&'a Grant, u64),
) -> Result<(u64, Option<Verifier<'a>>), ApiError> {
    let mut size = 0_u64;
    let mut checksum = grant.checksum().map(Verifier::new);
    while let Some(bytes) = reader.file_bytes().await? {
        size += bytes.len() as u64;
        check_max(grant, size, likely)?;
        target.check_max(size)?;
        checksum
            .iter_mut()
            .for_each(|verifier| verifier.update(&bytes));
        target.writer.write(bytes).await?;
    }
    Ok((size, checksum))
}

fn answer(
    base_url: &str,
    grant: &Grant,
    session: Option<&SessionPost>,
    stored: &Stored,
) -> Response<ResponseBody> {
    let digests = stored.receipt.digests;
    let styled = session.zip(stored.chunk);
    let styled = styled.filter(|(post, _)| post.style != AnswerStyle::S3);
    let posted = Posted {
        base_url,
        bucket: grant.bucket(),
        // Amazon's answer repeats the key of the form, which may name a chunk; the others name the object.
        key: styled.map_or(grant.key(), |(post, _)| &post.session.upload.key),
        etag: ETag::of_whole(digests.md5),
        crc64: digests.crc64,
        checksum: grant.checksum(),
    };
    styled
        .and_then(|(post, chunk)| answer_style::success(post.style, &posted, chunk))
        .unwrap_or_else(|| posted.answer(grant.success()))
}
