//! A saved HTTP request, head and body, as it went over the wire.
//!
//! Owns: handing the saved bytes to the HTTP library as a connection would, so that framing means here what it means to the server.
//! Never does: parse a header. What tools leave out or write otherwise when they save a request (a length, the version) is put right
//! before, and nothing else is touched.
//! Invariant: the body ends where the framing says; one that is cut is a body that broke off, as on a connection.

use std::convert::Infallible;
use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::body_of;
use crate::api::body::RequestBody;

/// Bytes that lie between both ends at once.
const PIPE_BYTES: usize = 64 * 1024;
/// Longest request line, in bytes.
const MAX_LINE_BYTES: usize = 8192;

/// Whether the text begins with a request line.
pub(super) fn is_request(input: &[u8]) -> bool {
    request_line(input).is_some()
}

/// Method, target and version of the first line.
fn request_line(input: &[u8]) -> Option<[&str; 3]> {
    let line = input[..input.len().min(MAX_LINE_BYTES)]
        .split(|b| *b == b'\n')
        .next()?;
    let mut words = std::str::from_utf8(line).ok()?.trim_end().split(' ');
    let line = [words.next()?, words.next()?, words.next()?];
    let [method, target, version] = line;
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    let is_line = is_method && !target.is_empty() && version.starts_with("HTTP/");
    (is_line && words.next().is_none()).then_some(line)
}

/// Reads the request.
///
/// # Errors
/// One sentence when it is none.
pub(super) async fn read(input: Bytes) -> Result<(Parts, RequestBody), String> {
    let (start, rest) = put_right(&input);
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let taken = Mutex::new(None);
    let take = |request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let frames = frames(body).await;
        let mut taken = taken
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        taken.get_or_insert((head, frames));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    };
    let serving = http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(server), service_fn(take));
    let (served, ()) = tokio::join!(serving, send(client, start, &input[rest..]));
    let taken = taken
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some((head, frames)) = taken else {
        let why = served
            .err()
            .map_or("it ends too early".to_owned(), |why| why.to_string());
        return Err(format!("is no HTTP request: {why}"));
    };
    Ok((head, body_of(frames)))
}

/// What of the head is written otherwise, and from where on the input goes as it is.
fn put_right(input: &[u8]) -> (Vec<u8>, usize) {
    let Some([method, target, _]) = request_line(input) else {
        return (Vec::new(), 0);
    };
    let line_end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
    let mut start = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    let ends =
        [&b"\r\n\r\n"[..], b"\n\n"].map(|end| memmem::find(input, end).map(|at| at + end.len()));
    let head_end = ends.into_iter().flatten().min().unwrap_or(input.len());
    let head = input[line_end.min(head_end)..head_end].to_ascii_lowercase();
    let is_framed = ["content-length:", "transfer-encoding:"]
        .iter()
        .any(|name| {
            head.starts_with(name.as_bytes())
                || memmem::find(&head, format!("\n{name}").as_bytes()).is_some()
        });
    let body = input.len() - head_end;
    if !is_framed && body > 0 {
        start.extend_from_slice(format!("Content-Length: {body}\r\n").as_bytes());
    }
    (start, line_end)
}

async fn send(mut pipe: DuplexStream, start: Vec<u8>, rest: &[u8]) {
    // Whoever reads may stop when it has seen enough; then the rest is not wanted.
    let _sent = pipe.write_all(&start).await;
    let _sent = pipe.write_all(rest).await;
    let _ended = pipe.shutdown().await;
    let mut answer = Vec::new();
    let _read = pipe.read_to_end(&mut answer).await;
}

/// The body's frames, and at their end how it broke off, if it did.
async fn frames(mut body: Incoming) -> Vec<io::Result<Bytes>> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frames.extend(frame.into_data().ok().map(Ok)),
            Err(why) => {
                frames.push(Err(io::Error::other(why)));
                break;
            }
        }
    }
    frames
}
