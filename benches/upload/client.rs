//! A small blocking HTTP/1.1 client, so that what is measured is the server and not the client.
//!
//! Owns: the form around the bytes, the session of an upload in chunks, and a connection kept for each thread.
//! Never does: retry; a request that fails ends the benchmark.
//!
//! Invariant: the bytes of a file are written from memory, never copied.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

#[path = "../../tests/support/form.rs"]
mod form;

use form::{BOUNDARY, Form, content_type};

const PIPELINE: &str = "547f3eede4b025bcbff38657";

pub(super) struct Target {
    pub(super) address: String,
}

/// The fields of a session's form.
pub(super) struct Upload {
    fields: Vec<(String, String)>,
}

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
}

/// Posts an object in one piece, signed by a policy for any key.
pub(super) fn post(target: &Target, key: &str, bytes: &[u8]) {
    let mut form = Form::new("uploads", key, b"");
    form.expiration = "2099-01-01T00:00:00Z".to_owned();
    form.sign();
    let (status, _) = send(target, "POST", "/uploads/", Some(&form), bytes);
    assert_eq!(status, 204, "a post is accepted");
}

/// Starts a session.
pub(super) fn session(target: &Target, object_key: &str) -> Upload {
    forget_connection();
    let path = format!("/v1/files/uploads/?object_key={object_key}&pipeline_id={PIPELINE}");
    let (status, body) = send(target, "POST", &path, None, b"");
    assert_eq!(status, 200, "a session starts");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let params = answer["upload"]["form_post_params"]
        .as_object()
        .expect("params");
    let fields = params
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    Upload {
        fields: fields.collect(),
    }
}

/// Posts one chunk of a session.
pub(super) fn post_chunk(
    target: &Target,
    upload: &Upload,
    index: usize,
    count: usize,
    bytes: &[u8],
) {
    let mut form = Form::new("uploads", "unused", b"");
    form.fields.clone_from(&upload.fields);
    form.set("chunk", &index.to_string())
        .set("chunks", &count.to_string());
    let (status, _) = send(target, "POST", "/uploads/", Some(&form), bytes);
    assert_eq!(status, 201, "a chunk is accepted");
}

/// A download link, as a path with its query.
pub(super) fn link(target: &Target, object_key: &str) -> String {
    forget_connection();
    let path = format!("/v1/files/downloads/?object_key={object_key}&pipeline_id={PIPELINE}");
    let (_, body) = send(target, "GET", &path, None, b"");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    let uri = answer["download"]["uri"].as_str().expect("a link");
    uri[uri.find("/v1/").expect("our link")..].to_owned()
}

/// Reads a link to its end; returns how many bytes came.
pub(super) fn get(target: &Target, link: &str) -> usize {
    let (status, body) = send(target, "GET", link, None, b"");
    assert_eq!(status, 200, "a link is served");
    body.len()
}

fn send(
    target: &Target,
    method: &str,
    path: &str,
    form: Option<&Form>,
    file: &[u8],
) -> (u16, Vec<u8>) {
    CONNECTION.with_borrow_mut(|kept| {
        let reader = kept.get_or_insert_with(|| connect(target));
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let mut around = form.map(Form::encode).unwrap_or_default();
        around.truncate(around.len().saturating_sub(tail.len()));
        let length = form.map_or(0, |_| around.len() + file.len() + tail.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer dev-token\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\r\n",
            target.address,
            content_type(),
        );
        let stream = reader.get_mut();
        stream.write_all(&[head.as_bytes(), &around].concat()).expect("the head is sent");
        if form.is_some() {
            stream.write_all(file).expect("the file is sent");
            stream.write_all(tail.as_bytes()).expect("the end is sent");
        }
        receive(reader)
    })
}

/// The server closes a connection that was idle for 10 s, and the main thread's is idle while others measure.
fn forget_connection() {
    CONNECTION.with_borrow_mut(|kept| *kept = None);
}

fn connect(target: &Target) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(&target.address).expect("the server accepts");
    stream.set_nodelay(true).expect("an option");
    BufReader::with_capacity(1 << 20, stream)
}

fn receive(reader: &mut BufReader<TcpStream>) -> (u16, Vec<u8>) {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).expect("a header");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    (status, body)
}
