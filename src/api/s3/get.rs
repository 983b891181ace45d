//! GetObject and HeadObject: the bytes and what was stored with them, as they were stored.
//!
//! Owns: which headers an authenticated reader gets, and the overrides of `response-*`. A browser that opens a presigned URL gets the
//! same, so the answer still says: do not guess the type, run nothing, belong to no origin.
//! When a lifecycle rule lets the object go, the answer says when. What nobody signed gets what is public.
//! Never does: judge conditions or ranges; `conditional.rs` and `range.rs` do, for every road to an object.
//!
//! Invariants: HEAD gets the headers of GET, also those of a range, which Amazon looks at there (RFC 9110 does not). Only an answer with
//! all bytes carries the checksum of the whole, and only when it was asked for; the one of an object's parts is a checksum of checksums, and stands
//! alone.
//!
//! Source: Amazon S3 API Reference, "GetObject", "HeadObject".

use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH,
    LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::super::body::{ResponseBody, empty};
use super::super::call::{Call, Reply};
use super::super::conditional::{self, Verdict};
use super::super::error::{ApiError, ErrorCode};
use super::super::object_answer::{SANDBOX, unsatisfiable};
use super::super::object_body::ObjectBody;
use super::super::range::{self, Wanted};
use super::super::stored_headers::{self, CHECKSUM_TYPE, put as set};
use super::access::{Access, KEY_OF_CLIENT};
use super::get_part::{self, Part};
use super::{acl, lifecycle, settings};
use crate::model::{Bucket, ChecksumType, ObjectKey, ObjectMeta, ObjectParts};
use crate::store::{ObjectName, ObjectReader};

/// What an object is whose uploader said nothing.
const UNKNOWN: &str = "binary/octet-stream";
/// Room for the headers of most answers; it grows when this is not enough.
const USUAL_HEADERS: usize = 20;
/// How many parts an object has of which one is sent.
const PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");
/// Parameters that replace headers of the answer.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-content-type", CONTENT_TYPE),
    ("response-expires", EXPIRES),
];

/// Answers GET or HEAD of an object; without an [`Access`] if everybody may read it.
///
/// # Errors
/// `NoSuchKey`, `PreconditionFailed`, `InvalidRange`, what the store says; `AccessDenied` and `InvalidRequest` for what only a signature
/// opens.
pub(super) async fn get(
    call: &Call<'_>,
    access: Option<&Access<'_>>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    access.map_or(Ok(()), |access| access.refuse_headers(&KEY_OF_CLIENT))?;
    let rules = settings::lifecycle_to_tell(call.app, &bucket).await;
    let name = ObjectName::Key(bucket, key);
    let request = &call.head.headers;
    let checked = wants_checksums(call, access);
    let (mut response, meta) = if call.head.method == Method::HEAD {
        let meta = Arc::new(call.app.store.object(&name, call.now).await?);
        check_reader(access, &meta)?;
        let response = match conditional::judge(request, &meta, call.now) {
            Verdict::Proceed => match get_part::asked(call, &meta)? {
                Some(part) => of_part(part, &meta, empty()),
                None => send(request, checked, None, &meta)?,
            },
            verdict => stopped(request, verdict, &meta)?,
        };
        (response, meta)
    } else {
        let reader = call.app.store.open(&name, call.now).await?;
        let meta = Arc::clone(reader.meta());
        check_reader(access, &meta)?;
        let response = match conditional::judge(request, &meta, call.now) {
            Verdict::Proceed => match get_part::asked(call, &meta)? {
                Some(part) => {
                    let body = ObjectBody::part(reader, part.offset, part.length);
                    of_part(part, &meta, ResponseBody::streamed(body))
                }
                None => send(request, checked, Some(reader), &meta)?,
            },
            verdict => stopped(request, verdict, &meta)?,
        };
        (response, meta)
    };
    if response.status().is_success() {
        put_overrides(call, access, response.headers_mut())?;
        lifecycle::put_expiration(response.headers_mut(), &rules, &meta);
    }
    Ok(Reply::Raw(response))
}

/// Whether the answer is to carry the checksums of the whole.
fn wants_checksums(call: &Call<'_>, access: Option<&Access<'_>>) -> bool {
    const MODE: &str = "x-amz-checksum-mode";
    let mode = match access {
        Some(access) => access.header(MODE),
        None => call.header(HeaderName::from_static(MODE)),
    };
    mode.is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
}

/// Judged of the very object that is sent, which may have replaced another one a moment ago.
fn check_reader(access: Option<&Access<'_>>, meta: &ObjectMeta) -> Result<(), ApiError> {
    match access.is_some() || acl::is_public(meta.attributes.acl) {
        true => Ok(()),
        false => Err(ApiError::new(ErrorCode::AccessDenied, "Access Denied")),
    }
}

/// Replaces headers as the query says; only who signed the query may.
fn put_overrides(
    call: &Call<'_>,
    access: Option<&Access<'_>>,
    headers: &mut HeaderMap,
) -> Result<(), ApiError> {
    for (parameter, header) in OVERRIDES {
        match (call.params.query(parameter), access) {
            (None, _) => {}
            (Some(value), Some(_)) => {
                headers.insert(header, latin(parameter, value)?);
            }
            (Some(_), None) => {
                let message =
                    "Request specific response headers cannot be used for anonymous GET requests.";
                return Err(ApiError::new(ErrorCode::InvalidRequest, message));
            }
        }
    }
    Ok(())
}

/// A value as Latin-1: more has no place in a header.
fn latin(parameter: &str, value: &str) -> Result<HeaderValue, ApiError> {
    let bytes = value.chars().map(|c| u8::try_from(u32::from(c)).ok());
    let bytes = bytes.collect::<Option<Vec<_>>>();
    let header = bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
    header.ok_or_else(|| {
        let message = "Header value cannot be represented using ISO-8859-1.";
        ApiError::new(ErrorCode::InvalidArgument, message)
            .with("ArgumentName", parameter)
            .with("ArgumentValue", value)
    })
}

/// All of the object or the range that is wanted; without a reader, its headers.
fn send(
    request: &HeaderMap,
    checked: bool,
    reader: Option<Box<dyn ObjectReader>>,
    meta: &ObjectMeta,
) -> Result<Response<ResponseBody>, ApiError> {
    let wanted = match conditional::range_counts(request, meta) {
        true => range::wanted(request, meta.size),
        false => Wanted::Whole,
    };
    match wanted {
        Wanted::Whole => {
            let body = reader.map(ObjectBody::whole);
            Ok(whole(
                checked,
                meta,
                body.map_or_else(empty, ResponseBody::streamed),
            ))
        }
        Wanted::Part(span) => {
            let body = reader.map(|reader| ObjectBody::part(reader, span.first, span.length()));
            let body = body.map_or_else(empty, ResponseBody::streamed);
            let mut response = match span.length() == meta.size {
                true => whole(checked, meta, body),
                false => with_headers(meta, span.length(), body),
            };
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{}", span.first, span.last, meta.size);
            set(response.headers_mut(), CONTENT_RANGE, &range);
            Ok(response)
        }
        Wanted::Unsatisfiable => {
            let mut error = unsatisfiable(meta.size);
            let asked = request.get(RANGE).and_then(|range| range.to_str().ok());
            let asked = asked.unwrap_or_default().to_owned();
            error.extras.insert(0, ("RangeRequested", asked));
            Err(error)
        }
    }
}

/// A part, by its number.
fn of_part(part: Part, meta: &ObjectMeta, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = with_headers(meta, part.length, body);
    // There is no range of no bytes.
    let end = part.offset + part.length;
    if let Some(last) = end.checked_sub(1).filter(|_| part.length > 0) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {}-{last}/{}", part.offset, meta.size);
        set(response.headers_mut(), CONTENT_RANGE, &range);
    }
    if let Some(count) = part.count {
        response.headers_mut().insert(PARTS_COUNT, count.into());
    }
    response
}

/// 304 or 412.
fn stopped(
    request: &HeaderMap,
    verdict: Verdict,
    meta: &ObjectMeta,
) -> Result<Response<ResponseBody>, ApiError> {
    if verdict == Verdict::Failed {
        let failed = match request.contains_key(IF_MATCH) {
            true => "If-Match",
            false => "If-Unmodified-Since",
        };
        return Err(ApiError::precondition_failed().with("Condition", failed));
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    put_validators(headers, meta);
    put_stored(headers, meta, [CACHE_CONTROL, EXPIRES]);
    Ok(response)
}

fn whole(checked: bool, meta: &ObjectMeta, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = with_headers(meta, meta.size, body);
    if checked {
        let parts = meta.parts.as_ref();
        match parts.and_then(ObjectParts::composite_text) {
            Some((algorithm, value)) => {
                let name = HeaderName::from_static(algorithm.field());
                set(response.headers_mut(), name, &value);
                let kind = ChecksumType::Composite.as_str();
                set(response.headers_mut(), CHECKSUM_TYPE, kind);
            }
            None => stored_headers::put_checksum(response.headers_mut(), meta),
        }
    }
    response
}

fn with_headers(meta: &ObjectMeta, length: u64, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.reserve(USUAL_HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(UNKNOWN));
    let stored = [CONTENT_TYPE, CACHE_CONTROL, CONTENT_DISPOSITION, EXPIRES];
    put_stored(headers, meta, stored);
    stored_headers::put_all(headers, meta);
    put_validators(headers, meta);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    response
}

/// Writes what was stored under these names.
fn put_stored<const N: usize>(headers: &mut HeaderMap, meta: &ObjectMeta, names: [HeaderName; N]) {
    for name in names {
        if let Some(value) = meta.headers.get(name.as_str()) {
            set(headers, name, value);
        }
    }
}

fn put_validators(headers: &mut HeaderMap, meta: &ObjectMeta) {
    set(headers, ETAG, &meta.etag.quoted());
    let modified = conditional::last_modified(meta).to_string();
    set(headers, LAST_MODIFIED, &modified);
}
