//! What operators ask: is it alive, is it ready (the admin listener), and everything that needs no token because the
//! socket is the permission (the control socket, in `control.rs`).
//!
//! Owns: `/livez` and `/readyz`, and the plain JSON in which both doors answer and refuse:
//! `{"error": {"code", "message"}}`.
//!
//! Never does: show a secret that was shown before, or serve what the public listener serves: the admin listener is another
//! origin on purpose, so that no uploaded page can reach it.
//!
//! Invariant: alive means that this program answers; ready means that the store answers and takes writes.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::app::App;
use super::body::{RequestBody, ResponseBody, full, without_body};
use super::dispatch::log_failure;
use super::error::{ApiError, ErrorCode};

mod control;
mod credentials;
mod verify;

impl App {
    /// Answers one request of the admin listener.
    pub async fn handle_admin(
        self: &Arc<Self>,
        request: Request<RequestBody>,
    ) -> Response<ResponseBody> {
        let (head, _) = request.into_parts();
        let response = guarded(self.answer_admin(&head)).await;
        if head.method == Method::HEAD {
            return without_body(response);
        }
        response
    }

    async fn answer_admin(&self, head: &Parts) -> Result<Response<ResponseBody>, ApiError> {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        match head.uri.path() {
            "/livez" | "/readyz" if !reads => Err(ApiError::method("GET, HEAD")),
            "/livez" => Ok(text_answer("ok\n")),
            "/readyz" => Ok(self.readiness().await),
            _ => Err(no_such_path()),
        }
    }

    async fn readiness(&self) -> Response<ResponseBody> {
        let (writable, free_bytes) = match self.store.health().await {
            Ok(health) => (health.writable, health.free_bytes),
            Err(error) => {
                log_failure(&error.into(), "readyz");
                (false, 0)
            }
        };
        let status = if writable {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let state = json!({ "ready": writable, "writable": writable && free_bytes > 0, "free_bytes": free_bytes });
        json_answer(status, &state)
    }
}

/// The answer of a handler, its refusal, or a 500 when it panics.
async fn guarded(
    answering: impl Future<Output = Result<Response<ResponseBody>, ApiError>>,
) -> Response<ResponseBody> {
    let outcome = AssertUnwindSafe(answering).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(ApiError::panicked()));
    outcome.unwrap_or_else(|error| refusal(&error))
}

fn refusal(error: &ApiError) -> Response<ResponseBody> {
    log_failure(error, "admin");
    let why = json!({ "error": { "code": error.code.name(), "message": error.message } });
    let mut response = json_answer(error.code.status(), &why);
    if let Some(allow) = error.allow {
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

fn no_such_path() -> ApiError {
    ApiError::new(ErrorCode::NoSuchResource, "There is no such path.")
}

fn json_answer(status: StatusCode, value: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(full(format!("{value}\n")));
    *response.status_mut() = status;
    set_headers(response.headers_mut(), "application/json");
    response
}

fn text_answer(text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(full(text));
    set_headers(response.headers_mut(), "text/plain; charset=utf-8");
    response
}

fn set_headers(headers: &mut HeaderMap, content_type: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
