//! The answer to GET and HEAD of an object's bytes: conditions, range, headers, body.
//!
//! Owns: which headers go with the bytes. Files come from strangers, so every answer says: do not guess the type
//! (`nosniff`), run nothing and belong to no origin (a sandboxing `Content-Security-Policy`), and save it; only types that
//! are known to be passive are shown in the browser, and only when that was asked for.
//!
//! Never does: decide who may read. Never passes on a stored header that is not visible ASCII, nor a stored
//! `Content-Disposition` that would have a browser show the file: only `attachment` is as safe as our own.
//!
//! Invariants: HEAD gets the headers of GET (`Range` is defined for GET only); the order of conditions is that of RFC 9110,
//! section 13.2.2; only a whole answer carries the checksum of the whole.

use std::sync::Arc;

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::body::{ResponseBody, empty};
use super::call::Call;
use super::conditional::{self, Verdict};
use super::error::{ApiError, ErrorCode};
use super::object_body::ObjectBody;
use super::range::{self, Wanted};
use super::stored_headers::{self, put as set};
use super::{disposition, media_type};
use crate::model::ObjectMeta;
use crate::store::{ObjectName, ObjectReader};

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// No scripts, no forms, no origin; a video, an audio file or a picture still shows itself.
pub(super) const SANDBOX: &str =
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'";
/// Caches ask again each time, because an object can expire or be deleted; shared ones keep nothing.
const DEFAULT_CACHING: &str = "private, no-cache";

/// Answers GET or HEAD of a live object. `inline` lets a browser show it, if its type is passive.
///
/// # Errors
/// `NoSuchKey`, `PreconditionFailed`, `InvalidRange`, or what the store says.
pub async fn answer(
    call: &Call<'_>,
    name: &ObjectName,
    inline: bool,
) -> Result<Response<ResponseBody>, ApiError> {
    let request = &call.head.headers;
    if call.head.method == Method::HEAD {
        let meta = call.app.store.object(name, call.now).await?;
        return match conditional::judge(request, &meta, call.now) {
            Verdict::Proceed => Ok(whole(&meta, inline, empty())),
            verdict => stopped(verdict, &meta),
        };
    }
    let reader = call.app.store.open(name, call.now).await?;
    let meta = Arc::clone(reader.meta());
    match conditional::judge(request, &meta, call.now) {
        Verdict::Proceed => send(request, reader, &meta, inline),
        verdict => stopped(verdict, &meta),
    }
}

fn send(
    request: &HeaderMap,
    reader: Box<dyn ObjectReader>,
    meta: &ObjectMeta,
    inline: bool,
) -> Result<Response<ResponseBody>, ApiError> {
    let wanted = match conditional::range_counts(request, meta) {
        true => range::wanted(request, meta.size),
        false => Wanted::Whole,
    };
    match wanted {
        Wanted::Whole => Ok(whole(
            meta,
            inline,
            ResponseBody::streamed(ObjectBody::whole(reader)),
        )),
        Wanted::Part(span) => {
            let body = ObjectBody::part(reader, span.first, span.length());
            let body = ResponseBody::streamed(body);
            let mut response = with_headers(meta, inline, span.length(), body);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{}", span.first, span.last, meta.size);
            set(response.headers_mut(), CONTENT_RANGE, &range);
            Ok(response)
        }
        Wanted::Unsatisfiable => Err(unsatisfiable(meta.size)),
    }
}

pub(super) fn unsatisfiable(size: u64) -> ApiError {
    let why = "The requested range is not satisfiable";
    let mut error =
        ApiError::new(ErrorCode::InvalidRange, why).with("ActualObjectSize", size.to_string());
    error.object_size = Some(size);
    error
}

/// 304 or 412.
fn stopped(verdict: Verdict, meta: &ObjectMeta) -> Result<Response<ResponseBody>, ApiError> {
    if verdict == Verdict::Failed {
        return Err(ApiError::precondition_failed());
    }
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    put_validators(headers, meta);
    put_caching(headers, meta);
    Ok(response)
}

fn whole(meta: &ObjectMeta, inline: bool, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = with_headers(meta, inline, meta.size, body);
    stored_headers::put_checksum(response.headers_mut(), meta);
    response
}

fn with_headers(
    meta: &ObjectMeta,
    inline: bool,
    length: u64,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let media_type = media_type::of(meta);
    let shown = inline && media_type::is_passive(media_type);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    stored_headers::put_all(headers, meta);
    put_validators(headers, meta);
    put_caching(headers, meta);
    set(headers, CONTENT_TYPE, media_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(
        CONTENT_DISPOSITION,
        disposition::header(shown, meta.key.file_name()),
    );
    if let Some(stored) = meta.headers.get(CONTENT_DISPOSITION.as_str())
        && disposition::is_attachment(stored)
    {
        set(headers, CONTENT_DISPOSITION, stored);
    }
    for (name, value) in [
        (ACCEPT_RANGES, "bytes"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, SANDBOX),
        // The link is the permission, so a page of any origin may embed it.
        (RESOURCE_POLICY, "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn put_validators(headers: &mut HeaderMap, meta: &ObjectMeta) {
    set(headers, ETAG, &meta.etag.quoted());
    let modified = conditional::last_modified(meta).to_string();
    set(headers, LAST_MODIFIED, &modified);
}

/// As it was stored, else [`DEFAULT_CACHING`].
fn put_caching(headers: &mut HeaderMap, meta: &ObjectMeta) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(DEFAULT_CACHING));
    if let Some(stored) = meta.headers.get(CACHE_CONTROL.as_str()) {
        set(headers, CACHE_CONTROL, stored);
    }
    if let Some(expires) = meta.headers.get(EXPIRES.as_str()) {
        set(headers, EXPIRES, expires);
    }
}
