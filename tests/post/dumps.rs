//! Every form post that was recorded from a real client (`tests/wire/`), replayed byte for byte: the same header lines in their
//! order and case, the same parts with their heads, the same sequence of posts. Beside each stands what it must come to.
//!
//! Only what a recording could not have is put in: where it holds stand-ins, the values that a session of ours hands out or a
//! policy of ours; and the file's bytes, which the recordings cut. What SDKs signed is left as it is, signature and all: the
//! server is given their key, and the clock stands at the hour of the recording.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pillarbox::api::body::RequestBody;
use pillarbox::model::{
    AccessKey, Bucket, BucketConfig, KeyPurpose, ObjectMeta, Secret, Timestamp,
};
use pillarbox::store::{CatalogEntry, FileQuery, ObjectName};
use ring::hmac;
use serde_json::{Value, json};
use support::{PIPELINE, Rig, connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The recorded clients' key, and the secrets they signed with (MinIO's have eight characters at least).
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "SECRET";
const MINIO_SECRET: &str = "SECRETSECRET";
/// 2026-11-22T07:05:00Z: after the recordings were signed for, before the first of their policies ends.
const NOW: Timestamp = Timestamp::from_seconds(1_795_331_100);
/// The bucket of the SDKs' recordings.
const BUCKET: &str = "bkt";

/// What is put into a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Nothing: the client signed for this key and bucket, with this secret.
    AsSigned(&'static str),
    /// A signature of ours over the recorded policy (for our bucket), where the recording has a stand-in.
    Resigned,
    /// A policy of ours that covers the recorded fields, and its signature.
    Covered,
    /// The values of a session of ours, wherever the recording has a field that a session hands out.
    Session,
    /// The form of a session that was started for this uploader, with the options set that README names: the file's part is called
    /// `file`, and FilePond's metadata is left out.
    Ready(&'static str),
    /// Nothing: the form has no policy of ours.
    Bare,
}

/// What a recording must come to.
enum Wants {
    /// One object: status, key, stored headers.
    Object(u16, &'static str, &'static [(&'static str, &'static str)]),
    /// The session's file, of all chunks, each answered 201.
    File,
    /// The same, each answered 200 with these words; and before each the uploader's question whether it is here, if it asks.
    Answered(&'static str),
    /// The first post is taken, and each other refused with these words, for it lies about its chunk.
    Mistake(u16, &'static str),
    /// Each post is refused: status, and words of the answer.
    Refused(u16, &'static str),
}

use How::{AsSigned, Bare, Covered, Ready, Resigned, Session};
use Wants::{Answered, File, Mistake, Object, Refused};

const MULTIPART_PARAMS: &str = "Delete these three members when chunk_size is set";
const NO_KEY: &str = "Bucket POST must contain a field named &apos;key&apos;.";
const NO_FILE: &str = "POST requires exactly one file upload per request.";
const NOBODY: &str = "<Message>Access Denied</Message>";
const VIDEO: (&str, &str) = ("content-type", "video/mp4");

/// Every recording.
const DUMPS: &[(&str, How, Wants)] = &[
    // SDKs and tools.
    (
        "aws-sdk-js-v2-presigned-post",
        AsSigned(SECRET),
        Object(204, "up/a", &[]),
    ),
    (
        "aws-sdk-js-v3-presigned-post",
        AsSigned(SECRET),
        Object(201, "up/vidéo.mp4", &[]),
    ),
    (
        "boto3-presigned-post-v2",
        AsSigned(SECRET),
        Object(
            201,
            "up/vidéo %22q%22.mp4",
            &[VIDEO, ("x-amz-meta-tag", "a b")],
        ),
    ),
    (
        "boto3-presigned-post-v4",
        AsSigned(SECRET),
        Object(
            201,
            "up/vidéo %22q%22.mp4",
            &[VIDEO, ("x-amz-meta-tag", "a b")],
        ),
    ),
    (
        "minio-js-post-policy",
        AsSigned(MINIO_SECRET),
        Object(204, "up/x", &[VIDEO, ("x-amz-meta-tag", "a")]),
    ),
    (
        "minio-py-post-policy",
        AsSigned(MINIO_SECRET),
        Object(204, "up/x.bin", &[]),
    ),
    (
        "ruby-aws-sdk-presigned-post",
        AsSigned(SECRET),
        Object(201, "cache/abc", &[VIDEO]),
    ),
    ("curl-F", Covered, Object(201, "up/big.bin", &[])),
    (
        "html-form-redirect",
        Covered,
        Object(303, "user/Ünï %22q%22 vidéo.mp4", &[]),
    ),
    ("httpx-post", Bare, Refused(403, NOBODY)),
    // FineUploader.
    (
        "fineuploader-s3-v2-simple",
        Resigned,
        Object(
            200,
            "7961bee1-a0f2-4266-a1d9-0f2b45257509.mp4",
            &[VIDEO, ("x-amz-meta-qqfilename", "vid%C3%A9o.mp4")],
        ),
    ),
    (
        "fineuploader-s3-v4-simple",
        Resigned,
        Object(
            200,
            "869a6518-1f71-4ea6-9a54-623ae8fe9e58.mp4",
            &[VIDEO, ("x-amz-meta-qqfilename", "vid%C3%A9o.mp4")],
        ),
    ),
    (
        "fineuploader-trad-chunked",
        Ready("fineuploader"),
        Answered("\"success\":true"),
    ),
    // Others in a browser, with the form of a session.
    ("fetch-formdata", Session, File),
    ("uppy-aws-s3-post-fields", Session, File),
    ("uppy-xhr-upload-s3post-201xml", Session, File),
    ("dropzone-s3-post-params-fn", Session, File),
    // Dropzone 5 sends the object of its params and drops its own fields, so that its chunks cannot be told apart.
    (
        "dropzone5-chunked-s3-params-object",
        Session,
        Mistake(409, "Dropzone drops them when params is an object"),
    ),
    // And without one.
    ("dropzone-s3-post", Bare, Refused(400, NO_KEY)),
    ("dropzone-chunked-params-object", Bare, Refused(400, NO_KEY)),
    // With a form that is ready for them.
    (
        "dropzone-chunked",
        Ready("dropzone"),
        Answered("\"success\":true"),
    ),
    ("flow-js", Ready("flow"), Answered("\"complete\":")),
    (
        "resumable-js",
        Ready("resumable"),
        Answered("\"complete\":"),
    ),
    (
        "uppy-xhr-upload",
        Ready("uppy"),
        Answered("\"url\":\"http://localhost:9300/uploads/"),
    ),
    (
        "filepond-plain",
        Ready("filepond"),
        Answered("content-type: text/plain"),
    ),
    ("filepond-chunk", Bare, Refused(400, NO_FILE)),
    // Plupload.
    ("plupload2-nochunk", Session, File),
    ("plupload2-custom-header", Session, File),
    ("plupload2-smaller-than-chunk", Session, File),
    ("plupload2-chunked", Session, File),
    ("plupload2-retry-503", Session, File),
    ("plupload2-retries-exhausted-then-restart", Session, File),
    ("plupload2-unique-names", Session, File),
    // Its chunks say where they begin and not which they are.
    ("plupload2-offset-mode", Session, File),
    (
        "plupload2-chunked-xvid-params-verbatim",
        Session,
        Mistake(400, MULTIPART_PARAMS),
    ),
    ("plupload3-nochunk", Session, File),
    ("plupload3-custom-header", Session, File),
    ("plupload3-smaller-than-chunk", Session, File),
    ("plupload3-chunked", Session, File),
    ("plupload3-parallel-chunks", Session, File),
    ("plupload3-retry-503", Session, File),
    ("plupload3-unique-names", Session, File),
    ("plupload3-offset-mode", Session, File),
    (
        "plupload3-chunked-xvid-params-verbatim",
        Session,
        Mistake(400, MULTIPART_PARAMS),
    ),
];

/// How many of the recordings that the reference lists are form posts.
const RECORDED: usize = 44;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

#[test]
fn every_recording_is_replayed_and_none_is_replayed_that_is_not_there() {
    let there: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let replayed: BTreeSet<_> = DUMPS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(there, replayed);
    assert_eq!(DUMPS.len(), RECORDED, "none is replayed twice or left out");
    for (name, ..) in DUMPS {
        assert!(!recorded(name).is_empty(), "{name} holds no form post");
    }
}

#[test]
fn a_recording_is_read_to_the_byte() {
    for (name, ..) in DUMPS {
        for post in recorded(name) {
            // A chunk's file is filled with what it had: one letter.
            let body = post.body(&vec![b'A'; post.file_bytes()]);
            assert_eq!(
                body.len().to_string(),
                post.header("content-length"),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn every_recording_comes_to_what_it_must() {
    let (rig, mut broken) = (rig().await, Vec::new());
    for (name, how, wants) in DUMPS {
        if let Err(why) = replay(&rig, name, *how, wants).await {
            broken.push(format!("{name}: {why}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

// Reading a recording.

/// One recorded request.
#[derive(Clone, Debug)]
struct Recorded {
    /// The request line and the header lines.
    head: Vec<String>,
    boundary: String,
    parts: Vec<Part>,
    /// What follows the last boundary.
    tail: &'static str,
    /// What the recorded server answered.
    status: u16,
}

#[derive(Clone, Debug)]
struct Part {
    head: String,
    name: String,
    value: String,
    is_file: bool,
}

/// The form posts of a recording, in order.
fn recorded(name: &str) -> Vec<Recorded> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
    let entries = text.split("\n>>> ").skip(1);
    let requests = entries.map(|entry| entry.split_once('\n').unwrap().1);
    requests
        .filter(|entry| entry.starts_with("POST "))
        .filter(|entry| {
            entry
                .split("\n\n")
                .next()
                .unwrap()
                .contains("multipart/form-data")
        })
        .map(parse)
        .collect()
}

fn parse(entry: &str) -> Recorded {
    let (asked, answered) = entry.split_once("\n<<< ").unwrap();
    let (head, body) = asked.split_once("\n\n").unwrap();
    let boundary = head.split_once("boundary=").unwrap().1;
    let boundary = boundary.lines().next().unwrap().to_owned();
    let pieces: Vec<_> = body.split(&format!("--{boundary}")).collect();
    let [preamble, parts @ .., tail] = pieces.as_slice() else {
        panic!("no parts in {body}");
    };
    assert_eq!(*preamble, "");
    Recorded {
        head: head.lines().map(str::to_owned).collect(),
        parts: parts.iter().map(|part| parse_part(part)).collect(),
        tail: match tail.trim_end() {
            "--  [then \"\\r\\n\"]" => "--\r\n",
            "--" => "--",
            other => panic!("the body ends in {other:?}"),
        },
        status: answered[..3].parse().unwrap(),
        boundary,
    }
}

fn parse_part(text: &str) -> Part {
    let text = text.strip_prefix('\n').unwrap();
    let (head, value) = text.split_once("\n\n").unwrap();
    let value = value.strip_suffix('\n').unwrap();
    let name = head
        .split_once(" name=\"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    Part {
        head: head.replace('\n', "\r\n"),
        name: name.to_owned(),
        value: value.to_owned(),
        is_file: head.contains("; filename=\""),
    }
}

impl Recorded {
    fn header(&self, name: &str) -> &str {
        let lines = self
            .head
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value)
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut parts = self.parts.iter();
        let part = parts.find(|part| part.name.eq_ignore_ascii_case(name) && !part.is_file)?;
        Some(&part.value)
    }

    fn set(&mut self, name: &str, value: &str) {
        let mut parts = self.parts.iter_mut();
        let part = parts
            .find(|part| part.name.eq_ignore_ascii_case(name))
            .unwrap();
        value.clone_into(&mut part.value);
    }

    /// A chunk's number, or how many there are.
    fn number(&self, name: &str, default: usize) -> usize {
        self.field(name)
            .map_or(default, |text| text.parse().unwrap())
    }

    /// How large the file was, which the recording says where it cuts it.
    fn file_bytes(&self) -> usize {
        let Some(file) = self.parts.iter().find(|part| part.is_file) else {
            return 0;
        };
        match file.value.split_once("…[cut; ") {
            Some((_, said)) => said.split_once(' ').unwrap().0.parse().unwrap(),
            None => file.value.len(),
        }
    }

    fn body(&self, file: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in &self.parts {
            let head = format!("--{}\r\n{}\r\n\r\n", self.boundary, part.head);
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(if part.is_file {
                file
            } else {
                part.value.as_bytes()
            });
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{}{}", self.boundary, self.tail).as_bytes());
        body
    }

    /// The whole request to `path`, with what its body now measures; nothing else of the head is changed.
    fn request(&self, path: &str, file: &[u8]) -> Vec<u8> {
        let body = self.body(file);
        let target = self.head[0].split(' ').nth(1).unwrap();
        let query = target
            .split_once('?')
            .map_or(String::new(), |(_, query)| format!("?{query}"));
        let mut lines = vec![format!("POST {path}{query} HTTP/1.1")];
        lines.extend(
            self.head
                .iter()
                .skip(1)
                .map(|line| match line.split_once(": ") {
                    Some((name, _)) if name.eq_ignore_ascii_case("content-length") => {
                        format!("{name}: {}", body.len())
                    }
                    _ => line.clone(),
                }),
        );
        [lines.join("\r\n").as_bytes(), b"\r\n\r\n", &body].concat()
    }

    /// The path in our own bucket, with the recorded slash at its end or without.
    fn path(&self, bucket: &str) -> String {
        let target = self.head[0].split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap();
        let slash = if path.ends_with('/') { "/" } else { "" };
        format!("/{bucket}{slash}")
    }
}

// Replaying it.

/// An answer as it came over the wire.
struct Told {
    status: u16,
    text: String,
}

/// One request over a connection of its own, as bytes.
async fn exchange(rig: &Rig, request: &[u8]) -> Told {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let app = Arc::clone(&rig.app);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let app = Arc::clone(&app);
        let request = request.map(|body| RequestBody::new(body, Duration::from_secs(10)));
        async move { Ok::<_, std::convert::Infallible>(app.handle(request, connection()).await) }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let serving = tokio::spawn(async move { serving.await.map_err(|error| error.to_string()) });
    client.write_all(request).await.unwrap();
    let mut text = head(&mut client).await;
    while text.starts_with("HTTP/1.1 100") {
        text = head(&mut client).await;
    }
    let length = text.split_once("content-length: ").map_or(0, |(_, tail)| {
        tail.split_once("\r\n").unwrap().0.parse().unwrap()
    });
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    text.push_str(&String::from_utf8(body).unwrap());
    drop(client);
    let _ = serving.await.unwrap();
    let status = text
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    Told {
        status: status.parse().unwrap(),
        text,
    }
}

/// Status line and headers of an answer.
async fn head(client: &mut DuplexStream) -> String {
    let mut told = Vec::new();
    while !told.ends_with(b"\r\n\r\n") {
        told.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(told).unwrap()
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.clock.set(NOW);
    let bucket = CatalogEntry::Bucket(BucketConfig {
        name: Bucket::parse(BUCKET).unwrap(),
        created_at: NOW,
        public_write: false,
    });
    rig.store.insert(bucket).await.unwrap();
    rig
}

/// The recorded client's key, with the secret that it had.
async fn add_key(rig: &Rig, how: How) {
    let secret = if let AsSigned(secret) = how {
        secret
    } else {
        SECRET
    };
    let key = CatalogEntry::AccessKey(AccessKey {
        id: KEY_ID.to_owned(),
        secret: Secret::new(secret.to_owned()),
        purpose: KeyPurpose::User,
        created_at: Timestamp::default(),
        expires_at: None,
        session_token: None,
        limits: Default::default(),
        form_lifetime: Default::default(),
    });
    rig.store.insert(key).await.unwrap();
}

/// Bytes that no two chunks share.
fn filling(from: usize, length: usize) -> Vec<u8> {
    pattern(from + length).split_off(from)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

/// Where each chunk begins: all but the last are as large as the largest.
fn begins(post: &Recorded, posts: &[Recorded]) -> usize {
    let largest = posts.iter().map(Recorded::file_bytes).max().unwrap();
    if post.field("offset").is_some() {
        return post.number("offset", 0);
    }
    let from_0 = ["chunk", "dzchunkindex", "qqpartindex"].map(|name| post.number(name, 0));
    let from_1 = ["resumableChunkNumber", "flowChunkNumber"].map(|name| post.number(name, 1) - 1);
    from_0.iter().chain(&from_1).sum::<usize>() * largest
}

/// The heads of the recorded questions whether a chunk is here, in order.
fn questions(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
    let entries = text.split("\n>>> ").skip(1);
    let requests = entries.map(|entry| entry.split_once('\n').unwrap().1);
    requests
        .filter(|entry| entry.starts_with("GET "))
        .map(|entry| entry.split_once("\n\n").unwrap().0.to_owned())
        .collect()
}

/// Asks whether a chunk is here, as recorded but for the session's values.
async fn ask(rig: &Rig, question: &str, params: &Value) -> u16 {
    let lines: Vec<_> = question.lines().collect();
    let query = lines[0].split_once('?').unwrap().1;
    let query = query.strip_suffix(" HTTP/1.1").unwrap();
    let first = format!("GET /uploads/?{} HTTP/1.1", in_query(query, params));
    let rest = lines[1..].join("\r\n");
    let told = exchange(rig, format!("{first}\r\n{rest}\r\n\r\n").as_bytes()).await;
    told.status
}

async fn replay(rig: &Rig, name: &str, how: How, wants: &Wants) -> Result<(), String> {
    add_key(rig, how).await;
    let mut posts = recorded(name);
    let (mut bucket, mut session) = (BUCKET, None);
    if let Session | Ready(_) = how {
        bucket = "uploads";
        session = Some(open_session(rig, name, how).await);
    }
    let asked = if let Ready(_) = how {
        questions(name)
    } else {
        Vec::new()
    };
    let mut answers = Vec::new();
    let whole = posts.clone();
    for (number, post) in posts.iter_mut().enumerate() {
        match how {
            AsSigned(_) | Bare => {}
            Resigned => resign(post),
            Covered => cover(post),
            Session => put_in(post, session.as_ref().unwrap()),
            Ready(_) => make_ready(post, session.as_ref().unwrap()),
        }
        if let Some(question) = asked.get(number) {
            let told = ask(rig, question, session.as_ref().unwrap()).await;
            expect(told == 204, || format!("before it is here: {told}"))?;
        }
        let from = match wants {
            // Each says that it is the whole file, and none is like another.
            Mistake(..) => number * 10_000,
            _ => begins(post, &whole),
        };
        let file = filling(from, post.file_bytes());
        let path = post.path(bucket);
        if post.status >= 500 {
            // The recorded server failed it; here it says that it ends in its middle, which comes to the same.
            let told = exchange(rig, &cut(post, &path, &file)).await;
            expect(told.status == 400, || format!("half a post: {}", told.text))?;
            continue;
        }
        answers.push(exchange(rig, &post.request(&path, &file)).await);
    }
    for question in &asked {
        let told = ask(rig, question, session.as_ref().unwrap()).await;
        expect(told == 200, || format!("once it is here: {told}"))?;
    }
    for told in &answers {
        let asked_from_page = !whole[0].header("origin").is_empty();
        let readable = told.text.contains("access-control-allow-origin: *\r\n");
        expect(!asked_from_page || readable, || {
            format!("no page can read {}", told.text)
        })?;
    }
    let judged = judge(rig, name, &whole, &answers, wants).await;
    for meta in listed(rig).await {
        let name = ObjectName::Id(meta.id);
        rig.store.delete_object(&name, NOW).await.unwrap();
    }
    judged
}

async fn listed(rig: &Rig) -> Vec<ObjectMeta> {
    let query = FileQuery {
        limit: 10,
        ..FileQuery::default()
    };
    rig.store.list_files(&query, NOW).await.unwrap().files
}

/// The request with half of its file, and no more.
fn cut(post: &Recorded, path: &str, file: &[u8]) -> Vec<u8> {
    let whole = post.request(path, file);
    let (head, body) = whole.split_at(
        whole
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap(),
    );
    let body = &body[..body.len() - file.len() / 2 - 100];
    let head = String::from_utf8(head.to_vec()).unwrap();
    let lines = head.split("\r\n").map(|line| match line.split_once(": ") {
        Some((name, _)) if name.eq_ignore_ascii_case("content-length") => {
            format!("{name}: {}", body.len() - 4)
        }
        _ => line.to_owned(),
    });
    [lines.collect::<Vec<_>>().join("\r\n").as_bytes(), body].concat()
}

async fn judge(
    rig: &Rig,
    name: &str,
    posts: &[Recorded],
    answers: &[Told],
    wants: &Wants,
) -> Result<(), String> {
    let listed = listed(rig).await;
    let refused = |told: &Told, status, words: &str| {
        expect(told.status == status && told.text.contains(words), || {
            format!("wanted {status} with {words:?}: {}", told.text)
        })
    };
    let (key, file, headers) = match wants {
        Refused(status, words) => {
            for told in answers {
                refused(told, *status, words)?;
            }
            return expect(listed.is_empty(), || "something is listed".to_owned());
        }
        Object(status, key, headers) => {
            refused(&answers[0], *status, "")?;
            (
                (*key).to_owned(),
                filling(0, posts[0].file_bytes()),
                *headers,
            )
        }
        Mistake(status, words) => {
            refused(&answers[0], 201, "")?;
            for told in &answers[1..] {
                refused(told, *status, words)?;
            }
            (
                session_key(name),
                filling(0, posts[0].file_bytes()),
                &[][..],
            )
        }
        File | Answered(_) => {
            let (status, words) = match wants {
                Answered(words) => (200, *words),
                _ => (201, ""),
            };
            for told in answers {
                refused(told, status, words)?;
            }
            let end = |post: &Recorded| begins(post, posts) + post.file_bytes();
            (
                session_key(name),
                filling(0, posts.iter().map(end).max().unwrap()),
                &[][..],
            )
        }
    };
    let [meta] = listed.as_slice() else {
        return Err(format!("{} objects are listed", listed.len()));
    };
    let reader = rig.store.open(&ObjectName::Id(meta.id), NOW).await.unwrap();
    let bytes = reader
        .read_at(0, usize::try_from(meta.size).unwrap())
        .await
        .unwrap();
    expect(bytes == file, || {
        format!("{} bytes are stored, other than were sent", bytes.len())
    })?;
    expect(meta.key.as_str() == key, || {
        format!("it is stored as {}", meta.key)
    })?;
    let stored: Vec<_> = meta.headers.iter().collect();
    expect(stored == headers, || format!("stored with {stored:?}"))
}

fn expect(holds: bool, why: impl Fn() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

// What is put into a recording.

async fn open_session(rig: &Rig, name: &str, how: How) -> Value {
    let client = if let Ready(client) = how {
        format!("&client={client}")
    } else {
        String::new()
    };
    let uri =
        format!("/v1/files/uploads/?object_key=wire/{name}.bin&pipeline_id={PIPELINE}{client}");
    rig.ask("POST", &uri).await.json()["upload"]["form_post_params"].clone()
}

fn session_key(name: &str) -> String {
    format!("tmp/{PIPELINE}/wire/{name}.bin")
}

/// Name, chunk and chunks are the uploader's own; all else that a session hands out is put in.
fn put_in(post: &mut Recorded, params: &Value) {
    for (name, value) in params.as_object().unwrap() {
        let is_uploaders = ["name", "chunk", "chunks"].contains(&name.as_str());
        if !is_uploaders && post.field(name).is_some() {
            post.set(name, value.as_str().unwrap());
        }
    }
}

/// The fields of a form that is ready for the uploader, before the file or where it has them; the options that README names.
fn make_ready(post: &mut Recorded, params: &Value) {
    post.parts
        .retain(|part| part.is_file || part.name != "filepond");
    for part in post.parts.iter_mut().filter(|part| part.is_file) {
        let named = format!(" name=\"{}\"", part.name);
        part.head = part.head.replace(&named, " name=\"file\"");
        part.name = "file".to_owned();
    }
    for (name, value) in params.as_object().unwrap() {
        let value = value.as_str().unwrap().to_owned();
        if post.field(name).is_some() {
            post.set(name, &value);
            continue;
        }
        let at = post.parts.iter().position(|part| part.is_file).unwrap();
        let field = Part {
            head: format!("Content-Disposition: form-data; name=\"{name}\""),
            name: name.clone(),
            value,
            is_file: false,
        };
        post.parts.insert(at, field);
    }
    if let Some((path, query)) = post.head[0].clone().split_once('?') {
        post.head[0] = format!("{path}?{}", in_query(query, params));
    }
}

/// The session's values in a recorded query, as `encodeURIComponent` writes them.
fn in_query(query: &str, params: &Value) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = params.as_object().unwrap().iter();
    let pairs = pairs.map(|(n, v)| format!("{}={}", encode(n), encode(v.as_str().unwrap())));
    let ours = query.replace("policy=P&key=k", &pairs.collect::<Vec<_>>().join("&"));
    assert_ne!(ours, query);
    ours
}

/// The recorded policy for our bucket, under our signature.
fn resign(post: &mut Recorded) {
    let policy = STANDARD.decode(post.field("policy").unwrap()).unwrap();
    let policy = String::from_utf8(policy).unwrap();
    let ours = policy.replace(r#"{"bucket":"b"}"#, &format!(r#"{{"bucket":"{BUCKET}"}}"#));
    assert_ne!(policy, ours);
    sign(post, &STANDARD.encode(ours));
}

/// A policy that takes any value of every recorded field.
fn cover(post: &mut Recorded) {
    let proof = ["policy", "signature", "awsaccesskeyid"];
    let mut conditions = vec![json!({ "bucket": BUCKET })];
    for part in post.parts.iter().take_while(|part| !part.is_file) {
        if !proof.contains(&part.name.to_lowercase().as_str()) {
            conditions.push(json!(["starts-with", format!("${}", part.name), ""]));
        }
    }
    post.set("AWSAccessKeyId", KEY_ID);
    let policy = json!({ "expiration": "2026-11-22T08:00:00Z", "conditions": conditions });
    sign(post, &STANDARD.encode(policy.to_string()));
}

fn sign(post: &mut Recorded, policy: &str) {
    post.set("policy", policy);
    let mac = |algorithm, key: &[u8], text: &str| {
        let key = hmac::Key::new(algorithm, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let Some(credential) = post.field("x-amz-credential") else {
        let tag = mac(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            SECRET.as_bytes(),
            policy,
        );
        return post.set("signature", &STANDARD.encode(tag));
    };
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in credential.split('/').skip(1) {
        key = mac(hmac::HMAC_SHA256, &key, part);
    }
    let tag = mac(hmac::HMAC_SHA256, &key, policy);
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    post.set("x-amz-signature", &hex);
}
