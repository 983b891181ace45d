//! Clues to a request that is no form post: another method, another place, another kind of body.
//!
//! Owns: what a wrong Content-Type and a wrong path tell of the program that sent the request.
//! Never does: look at the body; it was not read.
//! Invariant: the last clue to a Content-Type always applies.

use super::{Facts, when};
use crate::api::route::Route;

pub(super) fn put_for_post(f: &Facts<'_>) -> Option<String> {
    let prefix = &f.asked.path_prefix;
    let is_put = f.asked.method == "PUT" && matches!(f.asked.route, Some(Route::Object { .. }));
    is_put.then(|| {
        format!(
            "The file was sent by PUT, and nobody signed the request: sign it, or upload by a form: POST multipart/form-data to {prefix}/BUCKET/, with the session's fields and then the file."
        )
    })
}

pub(super) fn key_in_path(f: &Facts<'_>) -> Option<String> {
    let Some(Route::Object { bucket, .. }) = &f.asked.route else {
        return None;
    };
    let prefix = &f.asked.path_prefix;
    Some(if f.asked.bucket_in_host {
        format!(
            "The host name names the bucket already, and the form was posted to a path below it; post it to {prefix}/ and name the object in the field 'key'."
        )
    } else if bucket.is_empty() {
        format!(
            "The path begins with two slashes, so that its first part, which names the bucket, is empty; post the form to {prefix}/BUCKET/."
        )
    } else {
        format!(
            "The form was posted to a path below the bucket; post it to {prefix}/{bucket}/ and name the object in the field 'key'."
        )
    })
}

pub(super) fn no_bucket(f: &Facts<'_>) -> Option<String> {
    let prefix = &f.asked.path_prefix;
    (f.asked.route == Some(Route::Service)).then(|| {
        format!(
            "The URL names no bucket; post the form to {prefix}/BUCKET/, or to the bucket's own host name."
        )
    })
}

pub(super) fn fields_in_query(f: &Facts<'_>) -> Option<String> {
    let is_raw = !f
        .asked
        .content_types
        .iter()
        .any(|kind| is_of(kind, "multipart/form-data"));
    when(
        f.asked.has_query && is_raw,
        "The fields are in the query and the file is the bare body, as Plupload sends it with multipart: false; send a form (multipart: true).",
    )
}

pub(super) fn other_operation(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.has_query,
        "The URL has a query, and a form is posted to the bucket's URL without one; put its parameters into fields.",
    )
}

fn is_of(content_type: &str, essence: &str) -> bool {
    let sent = content_type.split(';').next().unwrap_or_default();
    sent.trim().eq_ignore_ascii_case(essence)
}

pub(super) fn is_typed(f: &Facts<'_>, essence: &str) -> bool {
    f.asked
        .content_types
        .iter()
        .any(|kind| is_of(kind, essence))
}

pub(super) fn two_types(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked.content_types.len() > 1,
        "The request has more than one Content-Type header: one was set by hand beside the one that belongs to the form; leave yours out.",
    )
}

pub(super) fn no_type(f: &Facts<'_>) -> Option<String> {
    when(
        f.asked
            .content_types
            .iter()
            .all(|kind| kind.trim().is_empty()),
        "The request has no Content-Type, or an empty one; a form is sent as multipart/form-data (a FormData object in a browser, -F with curl).",
    )
}

pub(super) fn url_encoded(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "application/x-www-form-urlencoded"),
        "The form was sent url-encoded, which cannot carry a file: give an HTML form enctype=\"multipart/form-data\", use -F instead of -d with \
         curl, files= with python-requests.",
    )
}

pub(super) fn json_body(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "application/json"),
        "The body is JSON, as axios and fetch send a plain object; put the fields and then the file into a FormData object.",
    )
}

pub(super) fn text_body(f: &Facts<'_>) -> Option<String> {
    when(
        is_typed(f, "text/plain"),
        "The body is plain text, as fetch sends a string and an HTML form with enctype=\"text/plain\"; send a FormData object or multipart/form-data.",
    )
}

/// A form's type that is not written as a header's value is.
pub(super) fn misspelt_type(f: &Facts<'_>) -> Option<String> {
    let is_meant = |kind: &String| {
        let kind = kind.trim_start().to_ascii_lowercase();
        kind.starts_with("multipart/form-data")
    };
    when(
        f.asked.content_types.iter().any(is_meant),
        "The Content-Type is meant as a form's and is not written as one: a semicolon stands between multipart/form-data and boundary=..., and \
         all of it is plain ASCII; leave the header out, and let the library write it.",
    )
}

pub(super) fn other_multipart(f: &Facts<'_>) -> Option<String> {
    let is_multipart = |kind: &String| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/")
    };
    when(
        f.asked.content_types.iter().any(is_multipart),
        "The body is multipart of another kind; a form is multipart/form-data.",
    )
}

pub(super) fn raw_file(_: &Facts<'_>) -> Option<String> {
    when(
        true,
        "The body is the bare file, as for a PUT; send a form: the session's fields and then the file, as multipart/form-data.",
    )
}
