//! Where a request may carry a form. A form brings a signature of its own, and that is worth something at one place only.
//!
//! Owns: which requests carry a form, and what that means at each place: on the form post it is read; an object that is PUT may be a form,
//! as it may be anything; everywhere else the request is refused before anybody asks who sent it, whatever else it is signed with.
//! Never does: read a body, or look for a signature.
//!
//! Invariants: [`place_for`] names every route, and no pattern stands for the rest: a route that is added must choose, and where it does
//! not ask for forms it gets none. The media type alone decides, and one header line that says so is enough, for the reader of forms takes
//! a body for a form by nothing else.
//!
//! Source: Amazon S3 API Reference, "POST Object"; what goes wrong otherwise, the handlers that took the policy of a form for the
//! authentication of another operation.

use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::call::Call;
use super::error::{ApiError, ErrorCode};
use super::route::Route;

/// What a form is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceFor {
    /// What is posted here is read as a form, and its own signature counts.
    Form,
    /// What is put here is bytes of any kind, which nobody looks into: only a signature outside the body counts.
    Bytes,
    /// Refused before anything else is looked at.
    NoForm,
    /// Refused with everything else: there is no such place.
    Nobody,
}

#[deny(
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants
)]
const fn place_for(route: &Route) -> PlaceFor {
    match route {
        Route::Bucket(_) => PlaceFor::Form,
        Route::Object { .. } => PlaceFor::Bytes,
        Route::Token
        | Route::Uploads
        | Route::Upload(_)
        | Route::Files
        | Route::File(_)
        | Route::Downloads
        | Route::Link(_)
        | Route::Pipelines
        | Route::Pipeline(_)
        | Route::Explain(_)
        | Route::Service => PlaceFor::NoForm,
        Route::Unknown | Route::Malformed => PlaceFor::Nobody,
    }
}

/// Whether a POST to a bucket takes the road of forms: all but DeleteObjects, the only operation of that method there.
pub(super) fn is_form_post(call: &Call<'_>) -> bool {
    says_form(call.head) || call.params.query("delete").is_none()
}

/// The same, as far as the head tells.
pub(super) fn may_be_form(head: &Parts) -> bool {
    let mut names = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    says_form(head) || !names.any(|(name, _)| name == "delete")
}

/// Refuses a form that is sent where none is taken.
///
/// # Errors
/// In S3 `MethodNotAllowed` for a POST, else `AccessDenied`, as for who signed nothing; `BadRequest` in REST.
pub(super) fn refuse_form(call: &Call<'_>, route: &Route) -> Result<(), ApiError> {
    let has_form = says_form(call.head) && !call.body.ended();
    let is_taken = match place_for(route) {
        PlaceFor::Form => call.head.method == Method::POST,
        PlaceFor::Bytes => call.head.method == Method::PUT,
        PlaceFor::NoForm => false,
        PlaceFor::Nobody => true,
    };
    if is_taken || !has_form {
        return Ok(());
    }
    if route.is_rest() {
        let message = "The body must be JSON or application/x-www-form-urlencoded; multipart/form-data is taken only by the form post, at /BUCKET/.";
        return Err(ApiError::new(ErrorCode::BadRequest, message));
    }
    match call.head.method == Method::POST {
        true => Err(ApiError::method("GET, HEAD, PUT, DELETE, OPTIONS")),
        false => {
            let why = "The body is a form, and a form is taken only by POST to /BUCKET/; for anything else it counts as signed by nobody.";
            Err(ApiError::new(ErrorCode::AccessDenied, "Access Denied").because(why.to_owned()))
        }
    }
}

/// Whether the head says that the body is a form; one line that says so is enough.
fn says_form(head: &Parts) -> bool {
    let types = head.headers.get_all(CONTENT_TYPE).iter();
    let mut types = types.map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    types.any(|media_type| media_type.contains("multipart/form-data"))
}
