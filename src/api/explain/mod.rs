//! Why a form post was refused, for whoever posted it: a link on every refusal, and the page behind it. So has an S3 request that goes
//! beyond the limits of its key.
//!
//! Owns: the road from a refusal to its explanation. The form road's error carries away what was seen; it is kept for minutes behind an
//! unguessable id (`kept.rs`), named in the header `x-pillarbox-explain`, and explained when somebody follows the link. In `pillarbox dev`
//! the answer itself explains as well. `offline` explains saved requests without a server.
//!
//! Never does: change a refusal, or work for one that nobody asks about: keeping is a move, and explaining is bounded by the limits of a
//! form. The id is the permission to read, so it goes into no log.
//!
//! Invariants: no secret, signature or token is shown (`policy::Mask`); the key is looked up when it is asked for and never kept.

mod cause;
pub mod kept;
pub mod offline;
mod page;
mod report;
mod seen;

use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::app::{App, Connection};
use super::body::{ResponseBody, full};
use super::call::{Call, Reply, random_bytes};
use super::dialect::{Dialect, RestStyle};
use super::error::{ApiError, ErrorCode};
use super::form_gate;
use super::route::{EXPLAIN_PATH, Route};
use crate::model::{AccessKey, Bucket};
use crate::policy::{SignatureClaim, claim};
use crate::store::{CatalogEntry, CatalogKey};
use report::{Known, report};
use seen::{Asked, Case, Refusal};

pub use page::Page;
pub(super) use seen::Inline;
pub use seen::Seen;

/// The header that leads to the explanation.
pub const EXPLAIN: HeaderName = HeaderName::from_static("x-pillarbox-explain");
/// The page is text: no scripts, no loading, no frames, no origin.
const PAGE_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether this was a form post, was most likely meant as one, or was refused for a reason that its answer does not tell.
fn is_explained(head: &Parts, route: &Route, error: &ApiError) -> bool {
    let (is_post, is_put) = (head.method == Method::POST, head.method == Method::PUT);
    let is_meant = match error.code {
        ErrorCode::MethodNotAllowed => is_post,
        ErrorCode::AccessDenied => {
            is_put && is_unsigned(head) && matches!(route, Route::Object { .. })
        }
        _ => false,
    };
    let is_post = is_post && matches!(route, Route::Bucket(_)) && form_gate::may_be_form(head);
    let seen = error.seen.as_ref();
    let is_known = seen.is_some_and(|seen| seen.why().is_some());
    !route.is_rest() && (is_meant || is_post || is_known)
}

/// Whether nothing is there that could be the signature of an S3 request.
fn is_unsigned(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    !head.headers.contains_key(AUTHORIZATION) && !query.contains("Signature=")
}

/// Keeps what is known of a refused request and gives the link to it; none where nothing is to be explained. In `dev`, the error's own
/// answer explains as well.
pub(super) async fn keep(
    app: &App,
    head: &Parts,
    connection: Connection,
    error: &mut ApiError,
) -> Option<HeaderValue> {
    let address = app.address(head, connection);
    if !is_explained(head, &address.route, error) {
        return None;
    }
    let now = app.clock.now();
    let seen = error
        .seen
        .take()
        .map_or_else(|| Seen::at(now), |seen| *seen);
    let host = address.host.ok();
    let asked = Asked::of(head, host.as_ref().map(|host| host.name), address.route);
    let mut case = Case {
        asked: Asked {
            path_prefix: app.path_prefix().to_owned(),
            ..asked
        },
        refusal: Some(Refusal::of(error)),
        seen,
    };
    case.seen.close();
    let base_url = host.map(|host| host.base_url);
    let base_url = base_url.or_else(|| app.options.public_url.clone());
    let link = random_bytes().ok().zip(base_url).map(|(random, base_url)| {
        let id = kept::id_of(&random);
        (random, format!("{base_url}{EXPLAIN_PATH}{id}"))
    });
    if app.options.dev {
        let link = link.as_ref().map(|(_, link)| link.as_str());
        let shown = page::inline(&explained(app, &case).await, link);
        error.seen = Some(Box::new(Seen::told(shown)));
    }
    let (random, link) = link?;
    app.explanations.keep(case, connection.ip(), random, now);
    HeaderValue::from_str(&link).ok()
}

/// The report of a case, with the key that the form names, if there still is one.
async fn explained(app: &App, case: &Case) -> Value {
    let key = named_key(app, case).await;
    let is_form = case.seen.why().is_none() || case.seen.is_complete();
    let bucket = match &case.asked.route {
        Some(Route::Bucket(bucket)) if is_form => Bucket::parse(bucket).ok(),
        _ => None,
    };
    let known = Known {
        key: key.as_ref(),
        bucket: bucket.as_ref(),
        region: app.options.region.as_deref(),
        rules: &app.options.rules,
        unchecked: false,
    };
    report(case, &known)
}

async fn named_key(app: &App, case: &Case) -> Option<AccessKey> {
    let claim = claim(case.seen.form(), None).ok()?;
    if *claim.signature() == SignatureClaim::Anonymous {
        return None;
    }
    let id = CatalogKey::AccessKey(claim.access_key_id()?.to_owned());
    match app.store.find(&id).await {
        Ok(Some(CatalogEntry::AccessKey(key))) => Some(key),
        _ => None,
    }
}

/// Answers GET of an explanation: JSON or XML, a page for a browser, text for who asks for it.
///
/// # Errors
/// `NoSuchResource` for an id that is unknown, or whose time is over.
pub(super) async fn show(call: &Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let Some(case) = call.app.explanations.find(id, call.now) else {
        let minutes = kept::LIFETIME.as_secs() / 60;
        let message = format!(
            "There is no such explanation; each can be read for {minutes} minutes, and fewer when there are many."
        );
        return Err(ApiError::new(ErrorCode::NoSuchResource, message));
    };
    let report = explained(call.app, &case).await;
    let mut response = match wanted(call) {
        Wanted::Html => written("text/html; charset=utf-8", Page::new(&report).html()),
        Wanted::Text => written("text/plain; charset=utf-8", Page::new(&report).text()),
        Wanted::Value(style) => style.answer(StatusCode::OK, &json!({ "explanation": report })),
    };
    protect(response.headers_mut());
    Ok(Reply::Raw(response))
}

/// How an explanation is asked for.
enum Wanted {
    Html,
    Text,
    Value(RestStyle),
}

/// `format` and `human` ask for a value; else `Accept` decides, of which browsers name HTML first.
fn wanted(call: &Call<'_>) -> Wanted {
    let style = match call.dialect {
        Dialect::Rest(style) => style,
        Dialect::S3 => RestStyle::default(),
    };
    if call.params.query("format").is_some() {
        return Wanted::Value(style);
    }
    let accept = call.header(ACCEPT).unwrap_or_default();
    let place = |kind| accept.find(kind).unwrap_or(usize::MAX);
    let (html, text, json) = (place("text/html"), place("text/plain"), place("/json"));
    if html < text && html < json {
        Wanted::Html
    } else if text < json {
        Wanted::Text
    } else {
        Wanted::Value(style)
    }
}

fn written(content_type: &'static str, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(full(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What was sent by strangers is shown as text, kept by nobody, and its address told to nobody.
fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.append(VARY, HeaderValue::from_static("Accept"));
}
