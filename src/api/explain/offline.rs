//! Explanations without a server: of a saved request, a saved form, a HAR file, or a policy.
//!
//! Owns: telling what a saved text is, and the judgement in the server's order. The form is read by the server's own reader, behind the
//! same guard, and judged by the same policy floor; nothing is stored and nothing asked.
//! Never does: read a file or a clock; the caller gives bytes and the time.
//! Invariants: no input panics; at most [`MAX_INPUT_BYTES`] are read. What a server alone can know (whether the bucket, the key or the
//! session exists) is taken as given, and the report says what was not checked.

mod har;
mod judge;
mod raw;

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http::request::Parts;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};

use super::page::Page;
use super::seen::{Asked, Seen};
use crate::api::app::AppOptions;
use crate::api::body::RequestBody;
use crate::api::checksum::Verifier;
use crate::api::error::{ApiError, ErrorCode};
use crate::api::form_reader::FormReader;
use crate::api::framing::MAX_OUTSIDE_BYTES;
use crate::api::guard;
use crate::api::post_object::preconditions;
use crate::api::post_refusal::{malformed, policy_error};
use crate::api::route::{self, Route};
use crate::model::{Bucket, Hasher, Secret, Timestamp};
use crate::policy::{Context, Mask, PostFormBuilder, Rules, claimed_checksum, explain_policy};
use judge::{Hashed, conclude};

/// Most bytes of one input.
pub const MAX_INPUT_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of a piece in which the fields come.
const PIECE_BYTES: usize = 64;
/// Longest wait for a body that is all here; nothing is ever waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the caller knows beside the input.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bucket that the form was posted to; the URL's, or the policy's, when not given.
    pub bucket: Option<Bucket>,
    /// The id of the only key that counts; the one that the form names when not given.
    pub key_id: Option<String>,
    /// That key's secret; without it the signature is not checked.
    pub secret: Option<Secret>,
    /// The `Content-Type` of an input that is a bare body.
    pub content_type: Option<String>,
    /// When to judge.
    pub now: Timestamp,
}

/// One explanation.
#[derive(Debug)]
pub struct Told {
    /// Which part of the input it is about; none for all of it.
    pub source: Option<String>,
    /// Whether a server would grant it, or, for a policy, whether some form can be granted.
    pub granted: bool,
    /// All that can be said.
    pub report: Value,
}

impl Told {
    /// The explanation as a page.
    pub fn page(&self) -> Page {
        Page::new(&self.report)
    }
}

/// Explains whatever the input is.
///
/// # Errors
/// One sentence when it is nothing of all that can be explained.
pub async fn explain_input(input: Bytes, options: &Options) -> Result<Vec<Told>, String> {
    if input.len() > MAX_INPUT_BYTES {
        let mib = MAX_INPUT_BYTES >> 20;
        return Err(format!(
            "is larger than {mib} MiB; save a request with a smaller file"
        ));
    }
    if let Some(content_type) = &options.content_type {
        return Ok(vec![of_body(input, content_type, options).await]);
    }
    let start = input.trim_ascii_start();
    if start.starts_with(b"{") || start.starts_with(b"\xef\xbb\xbf{") {
        return of_json(&input, options).await;
    }
    if input.starts_with(b"--") {
        let content_type = first_boundary(&input);
        return Ok(vec![of_body(input, &content_type, options).await]);
    }
    if raw::is_request(&input) {
        let (head, body) = raw::read(input).await?;
        return Ok(vec![of_request(&head, body, options).await]);
    }
    match std::str::from_utf8(&input) {
        Ok(text) if is_base64(text) => Ok(vec![of_policy(text.trim(), options)]),
        _ => Err("is neither a raw HTTP request, nor a multipart body, a HAR file, or a policy in JSON or base64".to_owned()),
    }
}

fn is_base64(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"+/=-_ \t\r\n".contains(&b);
    !text.trim().is_empty() && text.bytes().all(is_allowed)
}

/// The `Content-Type` of a body that begins with its first delimiter.
fn first_boundary(body: &[u8]) -> String {
    let line = body.split(|b| *b == b'\n').next().unwrap_or_default();
    let boundary = line
        .trim_ascii_end()
        .strip_prefix(b"--")
        .unwrap_or_default();
    let boundary = String::from_utf8_lossy(&boundary[..boundary.len().min(128)]).into_owned();
    format!("multipart/form-data; boundary=\"{boundary}\"")
}

async fn of_json(input: &[u8], options: &Options) -> Result<Vec<Told>, String> {
    let text = String::from_utf8_lossy(input);
    let text = text.trim_start_matches('\u{feff}');
    let parsed = serde_json::from_str::<Value>(text);
    match &parsed {
        Ok(value) if value["log"]["entries"].is_array() => har::explain(value, options).await,
        Err(why) if text.contains("\"log\"") && text.contains("\"entries\"") => {
            Err(format!("looks like a HAR file and is no JSON: {why}"))
        }
        _ => Ok(vec![of_policy(&STANDARD.encode(text), options)]),
    }
}

/// A request with its head.
async fn of_request(head: &Parts, mut body: RequestBody, options: &Options) -> Told {
    let route = place(head, options);
    let mut seen = Seen::at(options.now);
    let host = head
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let asked = Asked::of(head, host.or_else(|| head.uri.host()), route.clone());
    let read = async {
        let boundary = form_post(head, &route)?;
        look_at(&mut body, &boundary, &mut seen).await
    };
    let read = read.await;
    conclude(asked, seen, read, options, Vec::new())
}

/// Where a request leads; the caller's bucket may stand in the host, or behind a path prefix.
fn place(head: &Parts, options: &Options) -> Route {
    let path = head.uri.path();
    let last = path.trim_end_matches('/').rsplit('/').next();
    match &options.bucket {
        Some(bucket) if path == "/" || last == Some(bucket.as_str()) => {
            Route::Bucket(bucket.as_str().to_owned())
        }
        _ => route::parse(path, None),
    }
}

/// The boundary of what is a form post at all, as the server's dispatch decides it.
fn form_post(head: &Parts, route: &Route) -> Result<String, ApiError> {
    match route {
        Route::Bucket(_) if head.method == Method::POST => {
            preconditions(head).map(|(boundary, _)| boundary.to_owned())
        }
        Route::Bucket(_) | Route::Object { .. } if head.method != Method::POST => {
            Err(ApiError::new(ErrorCode::AccessDenied, "Access Denied"))
        }
        Route::Bucket(_) | Route::Object { .. } | Route::Service => {
            Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS"))
        }
        _ => Err(ApiError::new(
            ErrorCode::NoSuchResource,
            "This path takes no form posts.",
        )),
    }
}

/// A bare body.
async fn of_body(body: Bytes, content_type: &str, options: &Options) -> Told {
    let mut seen = Seen::at(options.now);
    let mut body = body_of(vec![Ok(body)]);
    let read = match guard::boundary(content_type) {
        None => Err(ApiError::new(
            ErrorCode::PreconditionFailed,
            "The Content-Type is not multipart/form-data.",
        )),
        Some(Err(why)) => Err(malformed(why)),
        Some(Ok(boundary)) => look_at(&mut body, boundary, &mut seen).await,
    };
    let asked = Asked::of_body(content_type);
    conclude(asked, seen, read, options, Vec::new())
}

/// A body that is all here and comes like one from a slow network: in small pieces as far as the fields may reach, with a pause before
/// each. So the parser gives out what it has before it meets a fault behind it; of one piece it would give nothing.
fn body_of(frames: Vec<io::Result<Bytes>>) -> RequestBody {
    let mut pieces = Vec::new();
    let mut small = 2 * MAX_OUTSIDE_BYTES;
    for frame in frames {
        let mut rest = match frame {
            Ok(bytes) => bytes,
            Err(error) => {
                pieces.push(Err(error));
                break;
            }
        };
        while small > 0 && rest.len() > PIECE_BYTES {
            pieces.push(Ok(Frame::data(rest.split_to(PIECE_BYTES))));
            small = small.saturating_sub(PIECE_BYTES);
        }
        pieces.push(Ok(Frame::data(rest)));
    }
    let paused = stream::unfold(pieces.into_iter(), |mut rest| async {
        tokio::task::yield_now().await;
        rest.next().map(|piece| (piece, rest))
    });
    RequestBody::new(StreamBody::new(paused), LONGEST_PAUSE)
}

/// Reads a whole form and stores nothing.
async fn look_at(
    body: &mut RequestBody,
    boundary: &str,
    seen: &mut Seen,
) -> Result<Option<Hashed>, ApiError> {
    let mut reader = FormReader::new(body, boundary);
    reader.fields(seen).await?;
    let claimed = claimed_checksum(seen.form()).ok().flatten();
    let mut checksum = claimed.as_ref().map(Verifier::new);
    let (mut hasher, mut size) = (Hasher::default(), 0);
    while let Some(bytes) = reader.file_bytes().await? {
        size += bytes.len() as u64;
        hasher.update(&bytes);
        let verifiers = checksum.iter_mut();
        verifiers.for_each(|verifier| verifier.update(&bytes));
    }
    seen.file_has(size);
    let more_files = reader.finish(seen).await?;
    Ok(Some(Hashed {
        md5: hasher.finish().md5,
        checksum: checksum.map_or(Ok(()), Verifier::finish),
        more_files,
    }))
}

/// The bucket of a server that is configured no other way.
fn default_bucket() -> Bucket {
    AppOptions::default().bucket
}

/// A policy by itself, in base64.
fn of_policy(base64_text: &str, options: &Options) -> Told {
    let bucket = options.bucket.clone().unwrap_or_else(default_bucket);
    let context = Context {
        bucket: &bucket,
        public_write: false,
        now: options.now,
        rules: &Rules::default(),
    };
    let explained = explain_policy(base64_text, &context);
    let refused = explained.error.clone().map(policy_error);
    let granted = refused.is_none() && explained.obstacles.is_empty();
    let refusal = refused.map(|error| {
        json!({
            "status": error.code.status().as_u16(),
            "code": error.code.name(),
            "message": error.message,
        })
    });
    let report = json!({
        "refusal": refusal,
        "likely_cause": explained.likely_cause,
        "obstacles": explained.obstacles,
        "policy": explained.policy,
        "clock": {
            "server_time": options.now.rfc3339(),
            "expiration": explained.expiration,
            "remaining_ms": explained.remaining_ms,
        },
        "requirements": explained.requirements,
    });
    let mut builder = PostFormBuilder::default();
    let form = builder.push("policy", base64_text.as_bytes());
    let form = form.and_then(|()| builder.finish(None)).ok();
    Told {
        source: None,
        granted,
        report: Mask::new(form.as_ref(), None).value(report),
    }
}
