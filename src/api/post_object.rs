//! The form post: multipart in, chunk or object out. The only file that names multer.
//!
//! Owns: the road from a form to the store. Fields first: they become a `PostForm`, `authorize` makes a `Grant` of it, and
//! only then is a byte of the file kept. Bytes are pushed down as they come; nothing is buffered.
//!
//! Never does: decide what is allowed (the policy floor), where bytes go (the store), or believe the parser about a part's
//! name. Header `Authorization` plays no part here.
//!
//! Invariants: nothing is committed before the closing delimiter was seen; a failure of the network is never a failure of
//! the store; every refusal is S3 XML with Amazon's status and code.
//!
//! Source: Amazon S3 API Reference, "POST Object".

use bytes::BytesMut;
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use multer::{Field, Multipart};

use super::answer_style;
use super::app::App;
use super::body::{RequestBody, ResponseBody};
use super::call::{Call, Reply};
use super::checksum::Verifier;
use super::error::{ApiError, ErrorCode};
use super::framing::{GuardError, Heads, MAX_OUTSIDE_BYTES};
use super::guard::{self, Guard};
use super::part_head::PartHead;
use super::post_answer::Posted;
use super::post_refusal::{malformed, no_file, policy_error, second_file};
use super::post_target::{PostTarget, SessionPost, Stored};
use super::uploader_query::RepeatedFields;
use crate::model::{AccessKey, AnswerStyle, Bucket, BucketConfig, ETag, Timestamp};
use crate::policy::{Context, Grant, PostForm, PostFormBuilder, authorize, claim};
use crate::store::embedded::faults::{self, Bug};
use crate::store::{CatalogEntry, CatalogKey, ChunkWriter, Expected};

/// Takes one form post to `bucket`.
///
/// # Errors
/// Amazon's refusals, in the order of its checks; what the store says.
pub async fn receive(call: &mut Call<'_>, bucket: &str) -> Result<Reply, ApiError> {
    let boundary = boundary(call)?.to_owned();
    let query = RepeatedFields::of(call)?;
    refuse_without_body(call)?;
    let mut call = Reception {
        app: call.app,
        now: call.now,
        base_url: &call.base_url,
        body: call.body,
        announced: announced_length(call.head),
    };
    call.receive(bucket, &boundary, &query).await
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
fn boundary<'a>(call: &'a Call<'_>) -> Result<&'a str, ApiError> {
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
    let mut types = call.head.headers.get_all(CONTENT_TYPE).iter();
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
}

/// The file part, and what came before it.
struct FilePart<'a> {
    form: PostForm,
    field: Field<'a>,
    file_name: Option<String>,
}

impl Reception<'_> {
    async fn receive(
        &mut self,
        bucket: &str,
        boundary: &str,
        query: &RepeatedFields,
    ) -> Result<Reply, ApiError> {
        let (app, now, base_url, announced) = (self.app, self.now, self.base_url, self.announced);
        let (guard, heads) = Guard::new(self.body, boundary);
        let mut parser = Multipart::new(guard, boundary);
        let file = fields_before_file(&mut parser, &heads).await?;
        let grant = grant(app, &file.form, bucket, now).await?;
        let session = SessionPost::of(app, &grant).await?;
        let job = Job {
            app,
            now,
            announced,
            query,
            grant: &grant,
            session: session.as_ref(),
        };
        let stored = job.take_in(file, &mut parser, &heads).await;
        let style = session.as_ref().map_or(AnswerStyle::S3, |post| post.style);
        let stored = stored.map_err(|refusal| refusal.in_style(style))?;
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
}

impl Job<'_> {
    async fn take_in<'p>(
        &self,
        file: FilePart<'p>,
        parser: &mut Multipart<'p>,
        heads: &Heads,
    ) -> Result<Stored, ApiError> {
        let (app, now, grant) = (self.app, self.now, self.grant);
        self.query.check(&file.form, grant)?;
        if let Some(length) = self.announced {
            // The form around the file is at most twice the guard's limit, so this much of the body must be the file.
            grant
                .check_max(length.saturating_sub(2 * MAX_OUTSIDE_BYTES as u64))
                .map_err(policy_error)?;
        }
        let FilePart {
            field, file_name, ..
        } = file;
        let mut target = PostTarget::open(app, grant, self.session, now).await?;
        let (size, checksum) = take_file(field, target.writer.as_mut(), grant).await?;
        match finish_form(parser, heads).await {
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
            crc64: None,
        };
        target
            .commit(app, expected, file_name.as_deref(), now)
            .await
    }
}

/// Reads the fields until the part that is the file.
async fn fields_before_file<'a>(
    parser: &mut Multipart<'a>,
    heads: &Heads,
) -> Result<FilePart<'a>, ApiError> {
    let mut form = PostFormBuilder::default();
    loop {
        let Some(field) = parser.next_field().await.map_err(parser_error)? else {
            return Err(no_file());
        };
        let head = matching_head(heads, &field)?;
        if head.is_file() {
            let form = form
                .finish(head.file_name.as_deref())
                .map_err(policy_error)?;
            return Ok(FilePart {
                form,
                field,
                file_name: head.file_name,
            });
        }
        let value = small_value(field).await?;
        form.push(&head.name, &value).map_err(policy_error)?;
    }
}

/// Our own reading of the part's head; a parser that read another name was deceived.
fn matching_head(heads: &Heads, field: &Field<'_>) -> Result<PartHead, ApiError> {
    match heads.take() {
        Some(head) if field.name() == Some(head.name.as_str()) => Ok(head),
        _ => Err(malformed("A part's name can be read in more than one way.")),
    }
}

/// The value of a field; the guard bounds all of them together.
async fn small_value(mut field: Field<'_>) -> Result<BytesMut, ApiError> {
    let mut value = BytesMut::new();
    while let Some(bytes) = field.chunk().await.map_err(parser_error)? {
        value.extend_from_slice(&bytes);
    }
    Ok(value)
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
    let no_bucket = || {
        ApiError::new(
            ErrorCode::NoSuchBucket,
            "The specified bucket does not exist",
        )
        .with("BucketName", bucket)
    };
    let name = Bucket::parse(bucket).map_err(|_| no_bucket())?;
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
    let grant = authorize(&claim, key.as_ref(), &context).map_err(policy_error)?;
    // Only who may write learns whether the bucket exists.
    config.map(|_| grant).ok_or_else(no_bucket)
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

/// Pushes the file's bytes down; returns how many there were, and what the checksum that the form claims is compared with.
async fn take_file<'a>(
    mut field: Field<'_>,
    writer: &mut dyn ChunkWriter,
    grant: &'a Grant,
) -> Result<(u64, Option<Verifier<'a>>), ApiError> {
    let mut size = 0_u64;
    let mut checksum = grant.checksum().map(Verifier::new);
    while let Some(bytes) = field.chunk().await.map_err(parser_error)? {
        size += bytes.len() as u64;
        grant.check_max(size).map_err(policy_error)?;
        checksum
            .iter_mut()
            .for_each(|verifier| verifier.update(&bytes));
        writer.write(bytes).await?;
    }
    Ok((size, checksum))
}

/// Reads what follows the file, which is ignored, up to the closing delimiter, which must be there. Returns how many further
/// parts are named as the file is.
async fn finish_form(parser: &mut Multipart<'_>, heads: &Heads) -> Result<usize, ApiError> {
    let mut files = 0;
    while let Some(field) = parser.next_field().await.map_err(parser_error)? {
        files += usize::from(matching_head(heads, &field)?.is_file());
        small_value(field).await?;
    }
    Ok(files)
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

/// Unpacks what the parser says: the guard's and the network's failures travel through it.
fn parser_error(error: multer::Error) -> ApiError {
    let multer::Error::StreamReadFailed(source) = error else {
        return malformed("A part of it cannot be read.").caused_by(error);
    };
    match source.downcast::<GuardError>() {
        Ok(guard) => match *guard {
            GuardError::Body(body) => body.into(),
            GuardError::Malformed(why) => malformed(why),
            GuardError::TooMuchBeforeFile => {
                let message = "Your POST request fields preceding the upload file were too large.";
                ApiError::new(ErrorCode::MaxPostPreDataLengthExceededError, message)
                    .with("MaxPostPreDataLengthBytes", MAX_OUTSIDE_BYTES.to_string())
            }
        },
        Err(other) => {
            ApiError::new(ErrorCode::IncompleteBody, "The body could not be read.").caused_by(other)
        }
    }
}
