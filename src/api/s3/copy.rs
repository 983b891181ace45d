//! CopyObject: the bytes of one object become another one.
//!
//! Owns: where a copy is made from, its conditions, what it keeps of what was stored with its source, and the checksum that is computed
//! of it.
//! Never does: share bytes; a copy is an object like any other, and takes the same road to disk. Only a copy onto itself moves none.
//!
//! Invariants: a copy onto itself replaces what its request names, and never what was changed beside it. A copy is checked against the
//! checksum of its source before it is named, so damage does not spread. What is copied is named by a header that the signature covers,
//! and must be what the key may read. A client that waits for a long copy hears from us (`keep_alive.rs`). Few are made at a time (`admission.rs`).
//!
//! Source: Amazon S3 API Reference, "CopyObject".

use std::sync::Arc;

use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use percent_encoding::percent_decode_str;

use super::super::app::App;
use super::super::call::{Call, Reply};
use super::super::checksum::{self, HASHED_BLOCK_BYTES};
use super::super::conditional::{self, Verdict};
use super::super::error::{ApiError, ErrorCode};
use super::super::post_refusal::policy_error;
use super::access::Access;
use super::payload::Payload;
use super::put::new_upload;
use super::xml::Document;
use super::{
    buckets, complete, condition, invalid_version, keep_alive, lifecycle, multipart, object_key,
    settings,
};
use crate::model::{
    Action, Attributes, Bucket, CannedAcl, ChecksumAlgorithm, ChecksumHasher, LifecycleRule,
    MAX_CHUNK_BYTES, NewUpload, ObjectKey, ObjectMeta, Tags, Target, Timestamp,
};
use crate::policy::PutHeaders;
use crate::store::{
    Expected, HeaderChange, ObjectChange, ObjectName, ObjectReader, Rewrite, StoreError,
    WriteCondition,
};

/// The header that names the source.
pub(super) const SOURCE: &str = "x-amz-copy-source";
/// Bytes that are copied at a time.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// What we cannot do with a copy: a part of the source.
const REFUSED: [&str; 1] = ["x-amz-copy-source-range"];
/// A source that its client has encrypted; none is here.
pub(super) const SOURCE_KEY_OF_CLIENT: [&str; 3] = [
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
];
/// What makes a copy onto itself a change, whatever it says.
const CHANGES: [&str; 3] = [
    "x-amz-server-side-encryption",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];
/// What belongs to an object and not to its copy.
const NOT_COPIED: [&str; 2] = ["x-amz-storage-class", "x-amz-website-redirect-location"];

/// Copies an object; onto itself, only what is stored with it changes.
///
/// # Errors
/// `InvalidArgument` for a source that is no name, `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`, `InvalidRequest` for a copy onto
/// itself that changes nothing; what the store says.
pub(super) async fn copy(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    access.refuse_headers(&REFUSED)?;
    access.refuse_headers(&SOURCE_KEY_OF_CLIENT)?;
    let condition = condition::of_write(&access)?;
    let source = source(call, &access).await?;
    let (algorithm, headers) = (multipart::algorithm(&access)?, headers(&access)?);
    let payload = Payload::new(call, &mut access, headers.attributes.checksum.clone())?;
    payload.collected(0, headers.md5).await?;
    let reader = open(call, &source).await?;
    check_conditions(&access, reader.meta(), call.now)?;
    let draft = Draft::of(&access, headers, algorithm)?;
    let rules = settings::lifecycle_to_tell(call.app, &bucket).await;
    let app = Arc::clone(call.app);
    let onto_itself = source == ObjectName::Key(bucket.clone(), key.clone());
    if !onto_itself || algorithm.is_some() {
        check_size(reader.meta().size)?;
    }
    if onto_itself {
        let work = async move {
            let made = rewrite(&app, reader, draft, condition).await?;
            Ok(document(&made, &rules))
        };
        let answer = keep_alive::answer(work, call.request_id).await?;
        return Ok(Reply::Raw(answer));
    }
    let stored = draft.headers.applied(&reader.meta().headers);
    let stored = stored.ok_or_else(metadata_too_large)?;
    let attributes = draft.attributes(&reader.meta().attributes);
    let upload = new_upload(call, bucket, key, (stored, attributes))?;
    // The checksum of the source's parts is none of the copy, which has no parts: it gets one of its bytes of the same kind.
    let parts = reader.meta().parts.as_ref();
    let algorithm = algorithm.or_else(|| Some(parts?.composite()?.algorithm()));
    let work = async move {
        let made = write(&app, (reader, algorithm), upload, condition).await?;
        Ok(document(&made, &rules))
    };
    let answer = keep_alive::answer(work, call.request_id).await?;
    Ok(Reply::Raw(answer))
}

/// What the headers say. The name of a checksum stands without a value there: it is of what is copied, and is computed.
fn headers(access: &Access<'_>) -> Result<PutHeaders, ApiError> {
    let others = access
        .headers()
        .filter(|(name, _)| *name != multipart::ALGORITHM);
    let others = others.map(|(name, value)| (name, value.to_owned()));
    PutHeaders::read(others).map_err(policy_error)
}

/// Opens the source of a copy.
///
/// # Errors
/// `NoSuchKey`, which names it; what the store says.
pub(super) async fn open(
    call: &Call<'_>,
    source: &ObjectName,
) -> Result<Box<dyn ObjectReader>, ApiError> {
    let opened = call.app.store.open(source, call.now).await;
    opened.map_err(|error| match (&error, source) {
        (StoreError::NoSuchObject, ObjectName::Key(_, key)) => {
            ApiError::from(error).with("Key", key.as_str())
        }
        _ => error.into(),
    })
}

/// What is stored with a copy in place of what its source has.
struct Draft {
    headers: HeaderChange,
    acl: CannedAcl,
    /// `None` for those of the source.
    tags: Option<Tags>,
    /// The checksum that is computed; `None` for the one of the source.
    algorithm: Option<ChecksumAlgorithm>,
    /// Whether the request says anything else than what the source has.
    changes: bool,
}

impl Draft {
    fn of(
        access: &Access<'_>,
        headers: PutHeaders,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Self, ApiError> {
        let retags = replaces(access, "x-amz-tagging-directive")?;
        let replaces = replaces(access, "x-amz-metadata-directive")?;
        let says = |name: &&str| access.header(name).is_some();
        let says = CHANGES.iter().any(says);
        let changes = retags || replaces || says || algorithm.is_some();
        Ok(Self {
            headers: match replaces {
                true => HeaderChange::All(headers.stored),
                false => HeaderChange::Named(&NOT_COPIED, headers.stored),
            },
            acl: headers.attributes.acl,
            tags: retags.then_some(headers.attributes.tags),
            algorithm,
            changes,
        })
    }

    /// What a new object has besides its headers.
    fn attributes(self, source: &Attributes) -> Attributes {
        Attributes {
            acl: self.acl,
            tags: self.tags.unwrap_or_else(|| source.tags.clone()),
            checksum: source.checksum.clone(),
        }
    }
}

/// A copy onto itself: the bytes stay, and so do the file's id, its expiry and what it belongs to.
async fn rewrite(
    app: &App,
    reader: Box<dyn ObjectReader>,
    draft: Draft,
    condition: Option<WriteCondition>,
) -> Result<ObjectMeta, ApiError> {
    let held = reader.meta();
    if !draft.changes {
        let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    if let Some(wanted) = &condition {
        // By its id, the object that is changed is the one that is judged here, and its tag never changes.
        let holds = wanted.check(Some(held), app.clock.now());
        holds.map_err(|error| condition::refusal(error, Some(wanted)))?;
    }
    let name = ObjectName::Id(held.id);
    draft
        .headers
        .applied(&held.headers)
        .ok_or_else(metadata_too_large)?;
    let change = ObjectChange::Rewritten(Rewrite {
        headers: draft.headers,
        acl: draft.acl,
        tags: draft.tags,
        checksum: match draft.algorithm {
            Some(algorithm) => Some(checksum::computed(&*reader, algorithm).await?),
            None => None,
        },
    });
    let now = app.clock.now();
    match app.store.change_object(&name, change, now).await {
        Err(StoreError::NoSuchObject) => {
            let message = "A conflicting operation is currently in progress against this resource. Please try again.";
            Err(ApiError::new(ErrorCode::OperationAborted, message))
        }
        changed => Ok(changed?),
    }
}

fn document(meta: &ObjectMeta, rules: &[LifecycleRule]) -> Document {
    let mut document = Document::new("CopyObjectResult");
    let modified = meta.finished_at.whole_second();
    document.element("LastModified", &modified.rfc3339());
    document.element("ETag", &meta.etag.quoted());
    complete::put_checksum(&mut document, meta);
    lifecycle::put_expiration(document.headers_mut(), rules, meta);
    document
}

/// `/bucket/key?versionId=null`, percent-encoded; the first slash may be left out. A plus is a plus: Amazon takes it for a
/// blank, but minio-js writes a plus so.
///
/// # Errors
/// `InvalidArgument`, `NoSuchBucket`, `KeyTooLongError`, `AccessDenied`.
pub(super) async fn source(call: &Call<'_>, access: &Access<'_>) -> Result<ObjectName, ApiError> {
    let refused = |message: &str| {
        let error = ApiError::new(ErrorCode::InvalidArgument, message);
        error.with("ArgumentName", SOURCE)
    };
    let no_source =
        || refused("Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
    let named = access.header(SOURCE).unwrap_or_default();
    let (path, version) = named.split_once("?versionId=").unwrap_or((named, "null"));
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| no_source())?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = path.split_once('/').ok_or_else(no_source)?;
    // A signature of Version 4 covers a run of blanks as if it were one, and those at the ends as if they were none: what is copied would not be what was signed.
    if named.contains("  ") || named.contains('\t') || named != named.trim() {
        return Err(refused(
            "Blanks in a row, or at an end, of the copy source must be percent-encoded.",
        ));
    }
    if version != "null" {
        return Err(invalid_version(version));
    }
    if key.is_empty() {
        return Err(no_source());
    }
    let key = object_key(key)?;
    access.check(Action::Read, Target::Object(bucket, key.as_str()))?;
    let bucket = buckets::existing(call, bucket).await?;
    access.check_owner("x-amz-source-expected-bucket-owner")?;
    Ok(ObjectName::Key(bucket, key))
}

/// Judges the conditions on the source of a copy.
///
/// # Errors
/// `PreconditionFailed`.
pub(super) fn check_conditions(
    access: &Access<'_>,
    meta: &ObjectMeta,
    now: Timestamp,
) -> Result<(), ApiError> {
    let mut conditions = HeaderMap::new();
    for (name, condition) in [
        ("x-amz-copy-source-if-match", IF_MATCH),
        ("x-amz-copy-source-if-none-match", IF_NONE_MATCH),
        ("x-amz-copy-source-if-modified-since", IF_MODIFIED_SINCE),
        ("x-amz-copy-source-if-unmodified-since", IF_UNMODIFIED_SINCE),
    ] {
        if let Some(value) = access.header(name) {
            let value = value
                .parse()
                .map_err(|_| ApiError::invalid(name, "must be visible ASCII."))?;
            conditions.insert(condition, value);
        }
    }
    // An `If-Match` or `If-None-Match` beside a date is what decides.
    let has = |condition| conditions.contains_key(condition);
    let failed = match conditional::judge(&conditions, meta, now) {
        Verdict::Proceed => return Ok(()),
        Verdict::Failed if has(IF_MATCH) => "x-amz-copy-source-If-Match",
        Verdict::Failed => "x-amz-copy-source-If-Unmodified-Since",
        Verdict::NotModified if has(IF_NONE_MATCH) => "x-amz-copy-source-If-None-Match",
        Verdict::NotModified => "x-amz-copy-source-If-Modified-Since",
    };
    Err(ApiError::precondition_failed().with("Condition", failed))
}

/// Whether what a directive is about is taken from the request, and not from the source.
fn replaces(access: &Access<'_>, directive: &str) -> Result<bool, ApiError> {
    match access.header(directive) {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => {
            let what = directive.trim_start_matches("x-amz-").replace('-', " ");
            let error = ApiError::new(ErrorCode::InvalidArgument, format!("Unknown {what}."));
            Err(error
                .with("ArgumentName", directive)
                .with("ArgumentValue", other))
        }
    }
}

fn metadata_too_large() -> ApiError {
    let message = "Your metadata headers exceed the maximum allowed metadata size.";
    ApiError::new(ErrorCode::MetadataTooLarge, message)
}

/// Whether so many bytes may be copied at once.
///
/// # Errors
/// `InvalidRequest`.
pub(super) fn check_size(bytes: u64) -> Result<(), ApiError> {
    if bytes <= MAX_CHUNK_BYTES {
        return Ok(());
    }
    let message = format!(
        "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_CHUNK_BYTES}"
    );
    Err(ApiError::new(ErrorCode::InvalidRequest, message))
}

async fn write(
    app: &App,
    (reader, algorithm): (Box<dyn ObjectReader>, Option<ChecksumAlgorithm>),
    upload: NewUpload,
    condition: Option<WriteCondition>,
) -> Result<ObjectMeta, ApiError> {
    let source = reader.meta();
    let begin = || app.store.write_object(upload.clone());
    let (_place, mut writer) = app.admission.begin_copy(source.size, begin).await?;
    let mut hasher = algorithm.map(ChecksumHasher::new);
    let block = hasher.as_ref().map_or(BLOCK_BYTES, |_| HASHED_BLOCK_BYTES);
    let mut offset = 0;
    while offset < source.size {
        let bytes = reader.read_at(offset, block).await?;
        offset += bytes.len() as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(&bytes);
        }
        writer.write(bytes).await?;
    }
    if let Some(hasher) = hasher {
        writer.keep_checksum(hasher.finish());
    }
    let expected = Expected {
        length: Some(source.size),
        md5: source.md5,
        crc64: Some(source.crc64),
        condition: condition.clone(),
    };
    let committed = writer.commit(expected, app.clock.now()).await;
    let committed = committed.map_err(|error| condition::refusal(error, condition.as_ref()))?;
    committed.object.ok_or_else(|| {
        let message = "The copy is still being made whole.";
        ApiError::new(ErrorCode::InternalError, message)
    })
}
