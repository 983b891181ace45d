//! A HAR file: what a browser's developer tools save of a page's requests.
//!
//! Owns: finding the form posts among the entries, and reading each from its body text or, where the tool kept only those, from its
//! parameters.
//! Never does: parse multipart (the form reader does), or show a URL's query.
//! Invariants: at most [`MAX_ENTRIES`] entries are looked at. Browsers save forms without the bytes of their files, so a size is
//! never judged, nor whether the form ends well.
//!
//! Source: "HTTP Archive (HAR) format", version 1.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use serde_json::Value;

use super::judge::{Hashed, conclude};
use super::{Options, Told, body_of, form_post, look_at, place};
use crate::api::error::ApiError;
use crate::api::explain::seen::{Asked, Seen};
use crate::api::part_head::PartHead;
use crate::api::post_refusal::{no_file, policy_error};
use crate::model::printable;

/// Most entries that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// Explains every form post of the file.
///
/// # Errors
/// One sentence when there is none.
pub(super) async fn explain(har: &Value, options: &Options) -> Result<Vec<Told>, String> {
    let entries = har["log"]["entries"].as_array();
    let entries = entries.into_iter().flatten().take(MAX_ENTRIES).enumerate();
    let mut told = Vec::new();
    for (at, entry) in entries.filter(|(_, entry)| is_form(&entry["request"])) {
        told.push(of_entry(at, entry, options).await);
    }
    if told.is_empty() {
        return Err("is a HAR file in which no request is a POST of multipart/form-data or of form parameters".to_owned());
    }
    Ok(told)
}

fn is_form(request: &Value) -> bool {
    let kind = content_type(request).to_ascii_lowercase();
    let has_params = request["postData"]["params"]
        .as_array()
        .is_some_and(|params| !params.is_empty());
    request["method"] == "POST" && (kind.starts_with("multipart/form-data") || has_params)
}

/// The header's, else the one that the tool wrote beside the body.
fn content_type(request: &Value) -> &str {
    let headers = request["headers"].as_array();
    let mut headers = headers.into_iter().flatten();
    let header = headers.find(|header| {
        let name = header["name"].as_str();
        name.is_some_and(|name| name.eq_ignore_ascii_case("content-type"))
    });
    let header = header.and_then(|header| header["value"].as_str());
    header
        .or_else(|| request["postData"]["mimeType"].as_str())
        .unwrap_or_default()
}

async fn of_entry(at: usize, entry: &Value, options: &Options) -> Told {
    let request = &entry["request"];
    let mut notes = vec![
        "A HAR file seldom has the bytes of files, so the file's size and the end of the form were not judged.".to_owned(),
    ];
    let head = head(request);
    let url = request["url"].as_str().unwrap_or_default();
    let url = url.split(['?', '#']).next().unwrap_or_default();
    if let Some(status) = entry["response"]["status"]
        .as_u64()
        .filter(|status| *status > 0)
    {
        notes.push(format!("It was answered with {status}."));
    }
    let mut told = of_form(&head, request, options, notes).await;
    told.source = Some(format!("entry {at}: POST {}", printable(url, &[])));
    told
}

/// The head of the request, as far as a form post depends on it.
fn head(request: &Value) -> Parts {
    let url = request["url"].as_str().unwrap_or_default();
    let uri = url.parse::<http::Uri>().unwrap_or_default();
    let mut head = Request::new(()).into_parts().0;
    head.method = http::Method::POST;
    if let Some(host) = uri.authority().and_then(|host| host.as_str().parse().ok()) {
        head.headers.insert(HOST, host);
    }
    if let Ok(kind) = content_type(request).parse() {
        head.headers.insert(CONTENT_TYPE, kind);
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap_or_default();
    head
}

async fn of_form(head: &Parts, request: &Value, options: &Options, mut notes: Vec<String>) -> Told {
    let route = place(head, options);
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = Asked::of(head, host, route.clone());
    let mut seen = Seen::at(options.now);
    let read = match form_post(head, &route) {
        Err(error) => Err(error),
        Ok(boundary) => read(request, &boundary, &mut seen, options).await,
    };
    if read.is_err()
        && request["postData"]["text"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    {
        notes.push(
            "The entry has no body; save the HAR file with content, or save the request itself."
                .to_owned(),
        );
    }
    seen.forget_size();
    // What comes after the beginning of the file is not as it was sent.
    let read = match read {
        Err(_) if seen.is_complete() => Ok(None),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    conclude(asked, seen, read, options, notes)
}

/// From the body's text, or, where that tells no form, from the parameters.
async fn read(
    request: &Value,
    boundary: &str,
    seen: &mut Seen,
    options: &Options,
) -> Result<Option<Hashed>, ApiError> {
    let data = &request["postData"];
    let text = data["text"].as_str().unwrap_or_default();
    let bytes = match data["encoding"] == "base64" {
        true => STANDARD.decode(text).unwrap_or_default(),
        false => text.as_bytes().to_vec(),
    };
    let mut body = body_of(vec![Ok(Bytes::from(bytes))]);
    let from_text = look_at(&mut body, boundary, seen).await;
    let params = data["params"].as_array();
    match params {
        Some(params) if !params.is_empty() && !seen.is_complete() => {
            *seen = Seen::at(options.now);
            from_params(params, seen)
        }
        _ => from_text,
    }
}

fn from_params(params: &[Value], seen: &mut Seen) -> Result<Option<Hashed>, ApiError> {
    let member = |param: &Value, name: &str| param[name].as_str().map(str::to_owned);
    for param in params {
        let head = PartHead {
            name: member(param, "name").unwrap_or_default(),
            file_name: member(param, "fileName"),
        };
        if seen.is_complete() {
            seen.late_part(head);
        } else if head.is_file() {
            let kind = member(param, "contentType");
            seen.file_begins(head.file_name.as_deref(), kind)
                .map_err(policy_error)?;
        } else {
            seen.part_begins(head);
            let value = member(param, "value").unwrap_or_default();
            seen.value(value.as_bytes()).map_err(policy_error)?;
        }
    }
    seen.ends();
    match seen.is_complete() {
        true => Ok(None),
        false => Err(no_file()),
    }
}
