//! Documents that are whole in memory, over HTTP: who is told to come later when there are too many, in which words, and that nobody is
//! when they are gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

#[path = "support/objects.rs"]
mod objects;
#[path = "support/sigv4.rs"]
mod sigv4;
mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use objects::draft;
use pillarbox::api::body::{RequestBody, ResponseBody};
use sigv4::{Signed, code};
use support::{Answer, HOST, Rig, TOKEN, connection};
use tokio::task::JoinHandle;

/// Most bytes of all documents together.
const ALL: u64 = 32 << 20;

/// Objects whose page is of about a megabyte over S3: a quotation mark takes six bytes there.
const OBJECTS: usize = 200;

/// Keys whose page is large, too.
const SOME: usize = 20;

async fn crowded() -> Rig {
    let rig = Rig::new().await;
    for n in 0..OBJECTS {
        let key = format!("{n:03}{}", "\"".repeat(900));
        draft(&key, "x").store(&rig).await;
    }
    rig
}

/// A request that is answered, and its answer's body not looked at.
async fn ask(
    rig: &Rig,
    method: &str,
    uri: &str,
    headers: &[(String, String)],
) -> Response<ResponseBody> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(RequestBody::whole("")).unwrap();
    rig.app.handle(request, connection()).await
}

/// A page of the bucket, which has at most so many keys.
async fn page(rig: &Rig, keys: usize) -> Response<ResponseBody> {
    let path = format!("/uploads?max-keys={keys}");
    let headers = Signed::new("GET", &path).authorized();
    ask(rig, "GET", &path, &headers).await
}

async fn rest_page(rig: &Rig, method: &str, format: &str) -> Response<ResponseBody> {
    let headers = [
        ("host", HOST.to_owned()),
        ("authorization", format!("Bearer {TOKEN}")),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    ask(
        rig,
        method,
        &format!("/v1/files/?limit=1000&format={format}"),
        &headers,
    )
    .await
}

fn length(answer: &Response<ResponseBody>) -> u64 {
    answer.body().size_hint().exact().unwrap()
}

/// Pages that nobody reads, until there is no room for one more.
async fn hoard(rig: &Rig) -> Vec<Response<ResponseBody>> {
    let mut held = Vec::new();
    for keys in [OBJECTS, SOME] {
        loop {
            let answer = page(rig, keys).await;
            if answer.status() != 200 {
                break;
            }
            held.push(answer);
            assert!(held.iter().map(length).sum::<u64>() <= ALL);
        }
    }
    held
}

fn is_told_to_come_later(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test]
async fn pages_that_nobody_takes_fill_the_room_and_leave_it_with_their_clients() {
    let rig = crowded().await;
    let held = hoard(&rig).await;
    let bytes: u64 = held.iter().map(length).sum();
    let last = held.last().map(length).unwrap();
    assert!(bytes + last > ALL, "{bytes} bytes");
    let refused = Answer::read(page(&rig, SOME).await).await;
    is_told_to_come_later(&refused);
    assert_eq!(code(&refused), "SlowDown");
    let refused = Answer::read(rest_page(&rig, "GET", "json").await).await;
    is_told_to_come_later(&refused);
    assert_eq!(refused.json()["error"]["error_code"], "0x0000007");
    let refused = Answer::read(rest_page(&rig, "GET", "xml").await).await;
    is_told_to_come_later(&refused);
    assert!(
        refused
            .text()
            .contains("<error_code>0x0000007</error_code>")
    );
    drop(held);
    for _ in 0..3 {
        assert_eq!(page(&rig, OBJECTS).await.status(), 200);
        assert_eq!(rest_page(&rig, "GET", "xml").await.status(), 200);
    }
}

#[tokio::test]
async fn what_is_small_and_what_has_no_body_is_answered_without_room() {
    let rig = crowded().await;
    let _held = hoard(&rig).await;
    assert_eq!(rest_page(&rig, "HEAD", "xml").await.status(), 200);
    let listed = Signed::new("GET", "/uploads?max-keys=5").send(&rig).await;
    assert_eq!(listed.status, 200);
    let listed = rig.ask("GET", "/v1/files/?limit=5").await;
    assert_eq!(listed.status, 200);
    let put = Signed::new("PUT", "/uploads/new")
        .body("x")
        .send(&rig)
        .await;
    assert_eq!(put.status, 200);
    assert_eq!(
        Signed::new("GET", "/uploads/new").send(&rig).await.body,
        b"x"
    );
}

/// A `DeleteObjects` whose body has so many bytes and does not end.
fn endless_delete(rig: &Rig, bytes: usize) -> JoinHandle<Response<ResponseBody>> {
    let signed = Signed::new("POST", "/uploads?delete")
        .payload("UNSIGNED-PAYLOAD")
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    let piece = Bytes::from(vec![b'k'; 1 << 20]);
    let pieces = (0..bytes >> 20).map(move |_| std::io::Result::Ok(Frame::data(piece.clone())));
    let body = StreamBody::new(stream::iter(pieces).chain(stream::pending()));
    let mut request = Request::post("/uploads?delete");
    for (name, value) in signed.authorized() {
        request = request.header(name, value);
    }
    let request = request.body(RequestBody::new(body, Duration::from_secs(3600)));
    let (app, request) = (Arc::clone(&rig.app), request.unwrap());
    tokio::spawn(async move { app.handle(request, connection()).await })
}

/// Asks for pages until one is answered so.
async fn comes_to_be(rig: &Rig, status: u16) {
    let asking = async {
        while page(rig, OBJECTS).await.status() != status {
            tokio::task::yield_now().await;
        }
    };
    let soon = Duration::from_secs(30);
    tokio::time::timeout(soon, asking).await.expect("in vain");
}

#[tokio::test]
async fn bodies_that_do_not_end_fill_the_room_and_leave_it_with_their_clients() {
    let rig = crowded().await;
    let clients: Vec<_> = (0..4).map(|_| endless_delete(&rig, 8 << 20)).collect();
    comes_to_be(&rig, 503).await;
    let one_more = endless_delete(&rig, 8 << 20).await.unwrap();
    let one_more = Answer::read(one_more).await;
    is_told_to_come_later(&one_more);
    assert_eq!(code(&one_more), "SlowDown");
    for client in clients {
        assert!(!client.is_finished(), "all of them had room");
        client.abort();
    }
    comes_to_be(&rig, 200).await;
}
