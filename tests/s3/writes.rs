//! The S3 dialect, over HTTP: what a write depends on: conditions, the bucket that it goes to, and what comes behind its bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::{sigv4, support};
use bytes::Bytes;
use futures_util::stream::poll_fn;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use pillarbox::api::body::RequestBody;
use sigv4::{Signed, code, element};
use support::{Answer, Rig, connection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const BYTES: &[u8] = b"the bytes of the object";

async fn ask(rig: &Rig, method: &str, path: &str) -> Answer {
    Signed::new(method, path).send(rig).await
}

async fn put(rig: &Rig, path: &str) -> String {
    let answer = Signed::new("PUT", path).body(BYTES).send(rig).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.header("etag").to_owned()
}

fn told(answer: &Answer) -> (u16, String, String) {
    (
        answer.status.as_u16(),
        code(answer),
        element(answer, "Condition"),
    )
}

/// A PUT whose body comes when the test says so.
struct Slow {
    body: mpsc::Sender<Bytes>,
    answer: JoinHandle<Answer>,
}

impl Slow {
    fn put(rig: &Rig, path: &str, length: usize) -> Self {
        let signed = Signed::new("PUT", path).payload("UNSIGNED-PAYLOAD");
        let mut request = Request::builder()
            .method("PUT")
            .uri(path)
            .header("content-length", length);
        for (name, value) in signed.authorized() {
            request = request.header(name, value);
        }
        let (body, mut pieces) = mpsc::channel::<Bytes>(1);
        let frames = poll_fn(move |cx| {
            let piece = pieces.poll_recv(cx);
            piece.map(|piece| piece.map(|bytes| Ok::<_, std::io::Error>(Frame::data(bytes))))
        });
        let idle = Duration::from_secs(60);
        let request = request.body(RequestBody::new(StreamBody::new(frames), idle));
        let app = Arc::clone(&rig.app);
        let answer = tokio::spawn(async move {
            Answer::read(app.handle(request.unwrap(), connection()).await).await
        });
        Self { body, answer }
    }

    async fn send(&self, bytes: &'static [u8]) {
        // The second place is free only when the first piece was taken, so the request is under way.
        for piece in [bytes, b"", b""] {
            self.body.send(Bytes::from_static(piece)).await.unwrap();
        }
    }

    async fn end(self) -> Answer {
        drop(self.body);
        self.answer.await.unwrap()
    }
}

#[tokio::test]
async fn a_put_that_stands_still_gives_way_when_there_is_no_room_for_another() {
    let rig = Rig::with_store(|_| {}, |options| options.max_writers = 1).await;
    let slow = Slow::put(&rig, "/uploads/slow", 100);
    slow.send(b"s").await;
    put(&rig, "/uploads/honest").await;
    let told = told(&slow.answer.await.unwrap());
    assert_eq!(told, (503, "SlowDown".into(), String::new()));
}

#[tokio::test]
async fn a_write_counts_only_while_its_condition_holds() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/source").await;
    for copies in [false, true] {
        let write = |path: &str| {
            let new = Signed::new("PUT", path);
            match copies {
                true => new.header("x-amz-copy-source", "/uploads/source"),
                false => new.body("new"),
            }
        };
        let path = format!("/uploads/{copies}");
        let absent = write(&path).header("if-none-match", "*");
        let missing = write(&path).header("if-match", "\"00\"").send(&rig).await;
        assert_eq!(told(&missing), (404, "NoSuchKey".into(), String::new()));
        assert_eq!(absent.send(&rig).await.status, 200);
        assert_eq!(
            told(&absent.send(&rig).await),
            (412, "PreconditionFailed".into(), "If-None-Match".into())
        );
        let etag = put(&rig, &path).await;
        for (header, value, expected) in [
            (
                "if-match",
                "\"00\"",
                (412, "PreconditionFailed", "If-Match"),
            ),
            ("if-match", "*", (501, "NotImplemented", "")),
            ("if-match", "\"*\"", (501, "NotImplemented", "")),
            ("if-match", "\"a\", \"b\"", (501, "NotImplemented", "")),
            ("if-none-match", &etag, (501, "NotImplemented", "")),
            ("if-unmodified-since", "x", (501, "NotImplemented", "")),
        ] {
            let answer = write(&path).header(header, value).send(&rig).await;
            let (status, code, condition) = expected;
            let expected = (status, code.to_owned(), condition.to_owned());
            assert_eq!(told(&answer), expected, "{header}: {value}");
            assert_eq!(ask(&rig, "GET", &path).await.header("etag"), etag);
        }
        for tag in [etag.as_str(), etag.trim_matches('"')] {
            put(&rig, &path).await;
            let answer = write(&path).header("if-match", tag).send(&rig).await;
            assert_eq!(answer.status, 200, "{tag}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn of_two_who_create_a_key_at_the_same_time_one_is_told_that_it_is_taken() {
    let rig = Rig::new().await;
    let create = Signed::new("PUT", "/uploads/a")
        .header("if-none-match", "*")
        .body(BYTES);
    let creators = (0..8).map(|_| create.send(&rig));
    let answers = futures_util::future::join_all(creators).await;
    let mut statuses: Vec<_> = answers.iter().map(|a| a.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn what_is_to_be_deleted_is_deleted_only_while_its_condition_holds() {
    let rig = Rig::new().await;
    let etag = put(&rig, "/uploads/a").await;
    for (header, value, expected) in [
        (
            "if-match",
            "\"00\"",
            (412, "PreconditionFailed", "If-Match"),
        ),
        ("if-none-match", "*", (501, "NotImplemented", "")),
        ("if-unmodified-since", "x", (501, "NotImplemented", "")),
        ("x-amz-if-match-size", "1", (501, "NotImplemented", "")),
        (
            "x-amz-if-match-last-modified-time",
            "Sun, 22 Nov 2026 13:20:00 GMT",
            (501, "NotImplemented", ""),
        ),
    ] {
        let delete = Signed::new("DELETE", "/uploads/a").header(header, value);
        let (status, code, condition) = expected;
        let expected = (status, code.to_owned(), condition.to_owned());
        assert_eq!(told(&delete.send(&rig).await), expected, "{header}");
        assert_eq!(ask(&rig, "GET", "/uploads/a").await.status, 200, "{header}");
    }
    let delete = Signed::new("DELETE", "/uploads/a").header("if-match", &etag);
    assert_eq!(delete.send(&rig).await.status, 204);
    assert_eq!(
        told(&delete.send(&rig).await),
        (404, "NoSuchKey".into(), String::new())
    );
}

#[tokio::test]
async fn a_checksum_behind_the_bytes_is_given_back_as_one_in_front_of_them() {
    let rig = Rig::new().await;
    let sent = Signed::new("PUT", "/uploads/a")
        .header("x-amz-trailer", "x-amz-checksum-sha1")
        .header("x-amz-decoded-content-length", "9")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .body("9\r\n123456789\r\n0\r\nx-amz-checksum-sha1:98O8HYCOBHMq32eZZczDTKeuNEE=\r\n\r\n")
        .send(&rig)
        .await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    for method in ["GET", "HEAD"] {
        let read = Signed::new(method, "/uploads/a").header("x-amz-checksum-mode", "ENABLED");
        let read = read.send(&rig).await;
        assert_eq!(
            (
                read.header("x-amz-checksum-sha1"),
                read.header("x-amz-checksum-type")
            ),
            ("98O8HYCOBHMq32eZZczDTKeuNEE=", "FULL_OBJECT"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn no_object_is_acknowledged_in_a_bucket_that_was_removed_meanwhile() {
    let rig = Rig::new().await;
    assert_eq!(ask(&rig, "PUT", "/films").await.status, 200);
    let slow = Slow::put(&rig, "/films/a", 2);
    slow.send(b"a").await;
    assert_eq!(ask(&rig, "DELETE", "/films").await.status, 204);
    slow.send(b"b").await;
    let late = slow.end().await;
    assert_eq!(
        (late.status.as_u16(), code(&late)),
        (404, "NoSuchBucket".into())
    );
    assert_eq!(element(&late, "BucketName"), "films");
    assert_eq!(rig.ask("GET", "/v1/files/").await.json()["total"], 0);
}

#[tokio::test]
async fn what_was_stored_is_as_old_as_its_last_byte() {
    let rig = Rig::new().await;
    let slow = Slow::put(&rig, "/uploads/a", 2);
    slow.send(b"a").await;
    rig.advance(Duration::from_secs(60));
    slow.send(b"b").await;
    assert_eq!(slow.end().await.status, 200);
    assert_eq!(
        ask(&rig, "HEAD", "/uploads/a")
            .await
            .header("last-modified"),
        "Sun, 22 Nov 2026 13:21:00 GMT"
    );
}
