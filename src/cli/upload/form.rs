//! One chunk as a form post.
//!
//! Owns: the multipart body, streamed from the file, and what an answer means for the next attempt.
//! Never does: decide how often to try.
//!
//! Invariant: the body's length is known before the first byte is sent, so the server can refuse early.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, Take};

use super::super::client::{Answer, Client, ClientBody};
use super::{CHANGED, Source, Stamp};
use crate::model::Hasher;

/// Bytes read from the file at once.
const READ_BYTES: usize = 256 * 1024;

/// The form's parameters and where it is posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) url: String,
    pub(super) params: Vec<(String, String)>,
}

/// A piece of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) index: u32,
    pub(super) count: u32,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Why a chunk was not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Another attempt may help.
    Passing(String),
    /// The form may be too old; a fresh one may help.
    Expired(String),
    /// There is no room, which is the operator's business; until then every attempt fails.
    Full(String),
    /// No attempt will help.
    Final(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(what) | Self::Expired(what) | Self::Full(what) | Self::Final(what) => {
                f.write_str(what)
            }
        }
    }
}

impl Form {
    /// Posts one chunk of `file`; `bar` moves with the bytes, and back when they were in vain.
    pub(super) async fn post(
        &self,
        client: &Client,
        source: &Source,
        chunk: &Chunk,
        bar: &ProgressBar,
    ) -> Result<(), Refusal> {
        let sent = Sent::new(bar);
        let boundary = boundary()?;
        let head = self.head(&boundary, chunk);
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let length = head.len() as u64 + chunk.length + tail.len() as u64;
        let bytes = open(&source.path, chunk)
            .await
            .map_err(|error| Refusal::Final(error.to_string()))?;
        let body = body((head, tail), bytes, source.clone(), sent.clone());
        let request = Request::post(&self.url)
            .header(
                CONTENT_TYPE,
                format!("multipart/form-data; boundary={boundary}"),
            )
            .header(CONTENT_LENGTH, length)
            .body(body)
            .map_err(|error| Refusal::Final(format!("form_post_url: {error}")))?;
        let answer = client
            .send(request)
            .await
            .map_err(|error| Refusal::Passing(error.to_string()));
        let verdict = answer.and_then(judge);
        if verdict.is_err() {
            sent.take_back();
        }
        verdict
    }

    fn head(&self, boundary: &str, chunk: &Chunk) -> Bytes {
        let mut text = String::new();
        for (name, value) in &self.params {
            let value = match name.as_str() {
                "chunk" => chunk.index.to_string(),
                "chunks" => chunk.count.to_string(),
                _ => value.clone(),
            };
            text.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        text.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"blob\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        ));
        Bytes::from(text)
    }
}

/// A boundary that no file contains but by design; it is drawn anew for each post.
fn boundary() -> Result<String, Refusal> {
    use ring::rand::SecureRandom;
    let mut random = [0_u8; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Refusal::Final("the system gives no randomness".to_owned()))?;
    Ok(format!("pillarbox-{}", crate::model::encode_hex(&random)))
}

fn judge(answer: Answer) -> Result<(), Refusal> {
    if answer.status.is_success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.body);
    let message = element(&text, "Message").unwrap_or("no reason given");
    let what = format!("{}: {message}", answer.status);
    match answer.status {
        StatusCode::FORBIDDEN => Err(Refusal::Expired(what)),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(Refusal::Passing(what)),
        StatusCode::INSUFFICIENT_STORAGE => Err(Refusal::Full(what)),
        status if status.is_server_error() => Err(Refusal::Passing(what)),
        _ if element(&text, "Code") == Some("RequestTimeout") => Err(Refusal::Passing(what)),
        _ => Err(Refusal::Final(what)),
    }
}

/// The text of an element of an S3 error; these documents are flat.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// What the bytes of a piece of the file hash to now.
pub(super) async fn md5_of(file: &Path, chunk: &Chunk) -> io::Result<String> {
    let mut bytes = open(file, chunk).await?;
    let mut hasher = Hasher::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    while bytes.read_buf(&mut buffer).await? > 0 {
        hasher.update(&buffer);
        buffer.clear();
    }
    Ok(hasher.finish().md5.hex())
}

async fn open(file: &Path, chunk: &Chunk) -> io::Result<Take<File>> {
    let mut file = File::open(file).await?;
    file.set_max_buf_size(READ_BYTES);
    file.seek(io::SeekFrom::Start(chunk.offset)).await?;
    Ok(file.take(chunk.length))
}

fn body((head, tail): (Bytes, Bytes), file: Take<File>, source: Source, sent: Sent) -> ClientBody {
    let pieces = Pieces {
        head: Some(head),
        file,
        tail: Some(tail),
        source,
        sent,
    };
    StreamBody::new(Box::pin(frames(pieces))).boxed_unsync()
}

fn frames(pieces: Pieces) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    stream::try_unfold(pieces, |mut pieces| async move {
        let next = pieces.next().await?;
        Ok(next.map(|bytes| (Frame::data(bytes), pieces)))
    })
}

/// What is still to be sent of a body.
struct Pieces {
    head: Option<Bytes>,
    file: Take<File>,
    tail: Option<Bytes>,
    source: Source,
    sent: Sent,
}

impl Pieces {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        if self.file.limit() > 0 && self.file.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::other("the file became shorter"));
        }
        if buffer.is_empty() {
            // Without its end the server takes nothing of the chunk, which may be the last one that it waits for.
            return match Stamp::of(&self.source.path).await {
                Ok(now) if now == self.source.stamp => Ok(self.tail.take()),
                _ => Err(io::Error::other(CHANGED)),
            };
        }
        self.sent.add(buffer.len() as u64);
        Ok(Some(buffer.freeze()))
    }
}

/// Bytes that the bar was moved by.
#[derive(Clone)]
struct Sent {
    bytes: Arc<AtomicU64>,
    bar: ProgressBar,
}

impl Sent {
    fn new(bar: &ProgressBar) -> Self {
        Self {
            bytes: Arc::default(),
            bar: bar.clone(),
        }
    }

    fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bar.inc(bytes);
    }

    fn take_back(&self) {
        self.bar.dec(self.bytes.swap(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let refused = judge(answer(
            400,
            "<Error><Code>X</Code><Message>too large</Message></Error>",
        ));
        let Err(Refusal::Final(what)) = refused else {
            panic!("{refused:?}");
        };
        assert!(what.contains("too large"), "{what}");
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_sent_ends_the_body_before_its_end() {
        for changed in [false, true] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), b"first bytes").unwrap();
            let source = Source {
                path: Arc::from(file.path()),
                stamp: Stamp::of(file.path()).await.unwrap(),
            };
            let chunk = Chunk {
                index: 0,
                count: 1,
                offset: 0,
                length: 11,
            };
            let bytes = open(&source.path, &chunk).await.unwrap();
            let around = (Bytes::from_static(b"<"), Bytes::from_static(b">"));
            let sent = Sent::new(&ProgressBar::hidden());
            let body = body(around, bytes, source, sent);
            if changed {
                let later = std::time::SystemTime::now() + std::time::Duration::from_secs(9);
                file.as_file().set_modified(later).unwrap();
            }
            let read = body.collect().await.map(|body| body.to_bytes());
            match changed {
                false => assert_eq!(read.unwrap(), "<first bytes>"),
                true => assert_eq!(read.unwrap_err().to_string(), CHANGED),
            }
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(judge(answer(201, "")).is_ok());
        assert!(matches!(judge(answer(503, "")), Err(Refusal::Passing(_))));
        assert!(matches!(judge(answer(403, "")), Err(Refusal::Expired(_))));
        assert!(matches!(judge(answer(507, "")), Err(Refusal::Full(_))));
        assert!(matches!(judge(answer(404, "")), Err(Refusal::Final(_))));
        let slow = answer(400, "<Error><Code>RequestTimeout</Code></Error>");
        assert!(matches!(judge(slow), Err(Refusal::Passing(_))));
    }

    #[test]
    fn every_chunk_says_which_it_is() {
        let form = Form {
            url: String::new(),
            params: vec![
                ("chunk".to_owned(), "0".to_owned()),
                ("chunks".to_owned(), "1".to_owned()),
                ("key".to_owned(), "a/b".to_owned()),
            ],
        };
        let chunk = Chunk {
            index: 3,
            count: 7,
            offset: 0,
            length: 1,
        };
        let head = form.head("B", &chunk);
        let head = String::from_utf8(head.to_vec()).unwrap();
        assert!(head.contains("name=\"chunk\"\r\n\r\n3\r\n"), "{head}");
        assert!(head.contains("name=\"chunks\"\r\n\r\n7\r\n"), "{head}");
        assert!(head.contains("name=\"key\"\r\n\r\na/b\r\n"), "{head}");
    }
}
