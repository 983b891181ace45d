//! The one way in: host check, route, dialect, handler, and what every answer gets.
//!
//! Owns: [`App::handle`]. It always answers: a refusal in the dialect of the route, a panic as a 500 for that one request.
//! Never does: log a query string, a header or a body; tokens, policies and signatures travel there.
//!
//! Invariants: dispatch is one exhaustive match, and what is not matched is refused; a form goes to the form post or nowhere
//! (`form_gate.rs`). A body that a handler left unread is
//! drained within bounds, so that a client that still sends can read the answer (RFC 9112, section 9.6) and the connection
//! stays usable; a client that waits for `100 Continue` is never told to go on only to be refused.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{ACCEPT, CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version};

use super::address::Address;
use super::app::{App, Connection};
use super::body::{RequestBody, ResponseBody, without_body};
use super::call::{Call, Reply};
use super::dialect::{Dialect, Format, RestStyle};
use super::error::{ApiError, ErrorCode};
use super::params::Params;
use super::route::{self, Route};
use super::{
    downloads, explain, files, form_gate, pipelines, post_object, s3, tokens, uploader_query,
    uploads,
};

/// Most bytes of a refused body that are read and forgotten.
pub const MAX_DRAIN_BYTES: u64 = 1 << 30;
/// Longest time spent on that.
pub const MAX_DRAIN_WAIT: Duration = Duration::from_secs(15);
/// Most bytes of a method or of a path that the log shows.
const MAX_LOGGED_BYTES: usize = 2048;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

impl App {
    /// Answers one request of the public listener.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        connection: Connection,
    ) -> Response<ResponseBody> {
        let started = Instant::now();
        let (mut head, mut body) = request.into_parts();
        self.leave_prefix_behind(&mut head);
        let head = head;
        let request_id = self.request_ids.next();
        let address = self.address(&head, connection);
        let cors = self.cors(&address.route, &head.headers).await;
        let answering = self.answer(&head, &mut body, connection, address, &request_id);
        let mut response = match AssertUnwindSafe(answering).catch_unwind().await {
            Ok(response) => response,
            Err(_) => refuse(Dialect::S3, &ApiError::panicked(), &request_id),
        };
        if head.method == Method::HEAD {
            response = without_body(response);
        }
        cors.decorate(&head.method, &head.headers, response.headers_mut());
        name_request(&mut response, &request_id);
        log_access(
            &head,
            &response,
            &request_id,
            connection,
            body.received(),
            started.elapsed(),
        );
        if waits_to_go_on(&head, &body) || !is_framed_plainly(&head) {
            say_goodbye(&head, &mut response);
        } else {
            drain(body);
        }
        response
    }

    async fn answer(
        self: &Arc<Self>,
        head: &Parts,
        body: &mut RequestBody,
        connection: Connection,
        address: Address<'_>,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let Address { route, host } = address;
        let params = Params::from_query(head.uri.query().unwrap_or(""));
        let (dialect, style_error) = dialect_of(&route, head, params.as_ref().ok());
        let outcome = async {
            let host = host?;
            let params = params?;
            if !is_framed_plainly(head) {
                let message = "The only Transfer-Encoding taken here is chunked, named once.";
                return Err(ApiError::new(ErrorCode::BadRequest, message));
            }
            if let Some(error) = style_error {
                return Err(error);
            }
            let now = self.clock.now();
            let mut call = Call {
                app: self,
                head,
                body,
                connection,
                now,
                request_id,
                host: host.name,
                bucket_of_host: host.bucket,
                base_url: host.base_url,
                dialect,
                params,
            };
            dispatch(&mut call, &route).await
        };
        // Caught here already, for only here the dialect is known.
        let outcome = AssertUnwindSafe(outcome).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(ApiError::panicked()));
        let answer = match (outcome, dialect) {
            (Ok(Reply::Held(response)), _) => return response,
            (Ok(Reply::Raw(response)), _) => response,
            (Ok(Reply::Value(status, value)), Dialect::Rest(style)) => style.answer(status, &value),
            (Ok(Reply::Value(status, value)), Dialect::S3) => {
                RestStyle::default().answer(status, &value)
            }
            (Err(error), dialect) => {
                self.refuse(head, connection, dialect, error, request_id)
                    .await
            }
        };
        if head.method == Method::HEAD {
            return answer;
        }
        // All others come by here, and what refuses one is small.
        let held = self.documents.hold(answer);
        held.unwrap_or_else(|error| refuse(dialect, &error.into(), request_id))
    }

    /// Answers with a refusal, and a form post with a link to its explanation.
    async fn refuse(
        &self,
        head: &Parts,
        connection: Connection,
        dialect: Dialect,
        mut error: ApiError,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let link = explain::keep(self, head, connection, &mut error).await;
        let mut response = refuse(dialect, &error, request_id);
        if let Some(link) = link {
            response.headers_mut().insert(explain::EXPLAIN, link);
        }
        response
    }
}

/// The exhaustive table of who handles what; whatever is not named is refused, and a route that is added must be named. HEAD is handled as GET: its answer loses its
/// body on the way out.
async fn dispatch(call: &mut Call<'_>, route: &Route) -> Result<Reply, ApiError> {
    let method = call.head.method.clone();
    if method == Method::OPTIONS {
        let cors = call.app.cors(route, &call.head.headers).await;
        return cors.preflight(&call.head.headers).map(Reply::Raw);
    }
    form_gate::refuse_form(call, route)?;
    let handled = if method == Method::HEAD {
        &Method::GET
    } else {
        &method
    };
    match (route, handled.as_str()) {
        (Route::Token, "POST") => tokens::issue(call).await,
        (Route::Token, _) => Err(ApiError::method("POST, OPTIONS")),
        (Route::Uploads, "POST") => uploads::start(call).await,
        (Route::Uploads, _) => Err(ApiError::method("POST, OPTIONS")),
        (Route::Upload(id), "GET") => uploads::inspect(call, id).await,
        (Route::Upload(id), "PUT") => uploads::finish(call, id).await,
        (Route::Upload(id), "DELETE") => uploads::abort(call, id).await,
        (Route::Upload(_), _) => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
        (Route::Files, "GET") => files::list(call).await,
        (Route::Files, _) => Err(ApiError::method("GET, HEAD, OPTIONS")),
        (Route::File(id), "GET") => files::inspect(call, id).await,
        (Route::File(id), "PUT") => files::change(call, id).await,
        (Route::File(id), "DELETE") => files::remove(call, id).await,
        (Route::File(_), _) => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
        (Route::Downloads, "GET") => downloads::make_link(call).await,
        (Route::Downloads, _) => Err(ApiError::method("GET, HEAD, OPTIONS")),
        (Route::Link(id), "GET") => downloads::follow_link(call, id).await,
        (Route::Link(_), _) => Err(ApiError::method("GET, HEAD, OPTIONS")),
        (Route::Pipelines, "GET") => pipelines::list(call).await,
        (Route::Pipelines, "POST") => pipelines::create(call).await,
        (Route::Pipelines, _) => Err(ApiError::method("GET, HEAD, POST, OPTIONS")),
        (Route::Pipeline(id), "GET") => pipelines::inspect(call, id).await,
        (Route::Pipeline(id), "PUT") => pipelines::change(call, id).await,
        (Route::Pipeline(id), "DELETE") => pipelines::remove(call, id).await,
        (Route::Pipeline(_), _) => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
        (Route::Explain(id), "GET") => explain::show(call, id).await,
        (Route::Explain(_), _) => Err(ApiError::method("GET, HEAD, OPTIONS")),
        (Route::Bucket(bucket), "POST") if form_gate::is_form_post(call) => {
            post_object::receive(call, bucket).await
        }
        (Route::Bucket(bucket), "GET") if uploader_query::asks_for_a_chunk(&call.params) => {
            uploader_query::test_chunk(call, bucket).await
        }
        (Route::Bucket(bucket), _) => s3::bucket(call, bucket).await,
        (Route::Object { bucket, key }, _) => s3::object(call, bucket, key).await,
        (Route::Service, _) => s3::service(call).await,
        (Route::Unknown, _) => Err(ApiError::new(
            ErrorCode::NoSuchResource,
            "There is no such path.",
        )),
        (Route::Malformed, _) => Err(ApiError::new(
            ErrorCode::BadRequest,
            "The path must be percent-encoded UTF-8.",
        )),
    }
}

/// The dialect of a route, and what is wrong with the parameters that choose it.
fn dialect_of(route: &Route, head: &Parts, params: Option<&Params>) -> (Dialect, Option<ApiError>) {
    if !route.is_rest() {
        return (Dialect::S3, None);
    }
    let mut style = RestStyle {
        resource: route.rest_resource(),
        ..RestStyle::default()
    };
    let accept = head
        .headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or("");
    if accept.contains("xml") && !accept.contains("json") && !accept.contains("html") {
        style.format = Format::Xml;
    }
    let Some(params) = params else {
        return (Dialect::Rest(style), None);
    };
    let chosen = choose_style(&mut style, params);
    (Dialect::Rest(style), chosen.err())
}

fn choose_style(style: &mut RestStyle, params: &Params) -> Result<(), ApiError> {
    match params.once("format")? {
        None | Some("") => {}
        Some("json") => style.format = Format::Json,
        Some("xml") => style.format = Format::Xml,
        Some(_) => return Err(ApiError::invalid("format", "must be json or xml.")),
    }
    style.human = params.flag("human")?;
    style.show_null = params.flag("show_null")?;
    Ok(())
}

fn refuse(dialect: Dialect, error: &ApiError, request_id: &str) -> Response<ResponseBody> {
    log_failure(error, request_id);
    dialect.refusal(error, request_id)
}

/// Logs the causes of a failure that is ours.
pub(super) fn log_failure(error: &ApiError, request_id: &str) {
    if !error.code.is_our_failure() {
        return;
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let causes = causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    tracing::error!(
        request_id,
        code = error.code.name(),
        causes,
        "request failed"
    );
}

fn name_request(response: &mut Response<ResponseBody>, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(AMZ_REQUEST_ID, value);
    }
}

fn log_access(
    head: &Parts,
    response: &Response<ResponseBody>,
    request_id: &str,
    connection: Connection,
    received: u64,
    took: Duration,
) {
    tracing::info!(
        target: "pillarbox::access",
        request_id,
        method = shortened(head.method.as_str()),
        path = logged_path(head.uri.path()),
        status = response.status().as_u16(),
        received,
        milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        peer = connection.ip().map(|ip| ip.to_string()),
    );
}

/// A path without what opens something by itself.
fn logged_path(path: &str) -> &str {
    match path.starts_with(route::EXPLAIN_PATH) {
        true => route::EXPLAIN_PATH,
        false => shortened(path),
    }
}

/// A line of the log stays a line, whatever a client sends.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LOGGED_BYTES)]
}

/// Whether the client keeps its body back until it is told to go on, which it never was.
fn waits_to_go_on(head: &Parts, body: &RequestBody) -> bool {
    head.headers.contains_key(EXPECT) && body.received() == 0 && !body.ended()
}

/// Whether a body's end can be found in one way only. The protocol's reader takes any list of codings that ends in `chunked`;
/// another reader on the way may not.
fn is_framed_plainly(head: &Parts) -> bool {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    }
}

/// Nobody knows whether the body still comes, so an HTTP/1.1 connection cannot go on, and the client should know.
fn say_goodbye(head: &Parts, response: &mut Response<ResponseBody>) {
    if head.version <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
}

/// Reads what the handler left, in the background, within bounds.
fn drain(mut body: RequestBody) {
    if !body.ended() {
        tokio::spawn(async move { body.drain(MAX_DRAIN_BYTES, MAX_DRAIN_WAIT).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_logged_only_up_to_its_limit() {
        let long = "\u{fc}".repeat(MAX_LOGGED_BYTES);
        assert_eq!(shortened(&long).len(), MAX_LOGGED_BYTES);
        assert_eq!(shortened(&format!("x{long}")).len(), MAX_LOGGED_BYTES - 1);
        assert_eq!(shortened("/uploads/"), "/uploads/");
    }
}
