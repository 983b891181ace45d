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

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use objects::draft;
use pillarbox::api::body::{RequestBody, ResponseBody};
use pillarbox::model::Crc64;
use sigv4::{Signed, code};
use support::{Answer, HOST, NOBODY, PIPELINE, Rig, TOKEN, connection};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Most bytes of all answers together.
const ALL: u64 = 20 << 20;

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
    let listed = Signed::new("GET", "/uploads?max-keys=2").send(&rig).await;
    assert_eq!(listed.status, 200);
    let listed = rig.ask("GET", "/v1/files/?limit=2").await;
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

/// A `DeleteObjects` whose body has so many bytes, all of which have come, and does not end.
async fn endless_delete(rig: &Rig, bytes: usize) -> JoinHandle<Response<ResponseBody>> {
    let signed = Signed::new("POST", "/uploads?delete")
        .payload("UNSIGNED-PAYLOAD")
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    let piece = Bytes::from(vec![b'k'; 1 << 20]);
    let pieces = (0..bytes >> 20).map(move |_| std::io::Result::Ok(Frame::data(piece.clone())));
    let (tell, all_came) = oneshot::channel();
    let end = stream::once(async {
        tell.send(()).unwrap();
        std::future::pending().await
    });
    let body = StreamBody::new(stream::iter(pieces).chain(end));
    let mut request = Request::post("/uploads?delete");
    for (name, value) in signed.authorized() {
        request = request.header(name, value);
    }
    let request = request.body(RequestBody::new(body, Duration::from_secs(3600)));
    let (app, request) = (Arc::clone(&rig.app), request.unwrap());
    let asking = tokio::spawn(async move { app.handle(request, connection()).await });
    all_came.await.unwrap();
    asking
}

/// Bodies that do not end and have all room together; the larger one first.
async fn fill(rig: &Rig) -> [JoinHandle<Response<ResponseBody>>; 2] {
    let large = endless_delete(rig, 8 << 20).await;
    [large, endless_delete(rig, 4 << 20).await]
}

/// After so long by the real clock it goes on, so that a test whose timers never come ends as one that failed.
const LONGEST_STILL: Duration = Duration::from_secs(60);

/// The clock stands still until it is resumed, however long anything takes. Not even when nothing is left to do does it go on, for something
/// waits beside, until what is returned is dropped.
fn stand_still() -> mpsc::Sender<()> {
    let (waiting, wait) = mpsc::channel();
    tokio::time::pause();
    let _ends_with_its_sender =
        tokio::task::spawn_blocking(move || wait.recv_timeout(LONGEST_STILL));
    waiting
}

/// A list that names nothing, of about a megabyte.
async fn delete_nothing(rig: &Rig) -> Answer {
    delete(rig, &["nothing".to_owned()], 1 << 20).await
}

/// A `DeleteObjects` of these keys, written as XML has them, whose body has so many bytes beside them.
async fn delete(rig: &Rig, keys: &[String], blanks: usize) -> Answer {
    let objects = keys.iter();
    let objects = objects.map(|key| format!("<Object><Key>{key}</Key></Object>"));
    let objects = objects.collect::<String>();
    let blanks = " ".repeat(blanks);
    let body = format!("<Delete>{objects}{blanks}</Delete>");
    let checksum = Crc64::of(body.as_bytes()).base64();
    let signed = Signed::new("POST", "/uploads?delete").body(body);
    signed
        .header("x-amz-checksum-crc64nvme", &checksum)
        .send(rig)
        .await
}

#[tokio::test]
async fn bodies_that_do_not_end_fill_their_room_and_no_other_and_leave_it_with_their_clients() {
    let rig = crowded().await;
    let clients = fill(&rig).await;
    // None of them becomes slow meanwhile.
    let still = stand_still();
    for _ in 0..3 {
        let refused = delete_nothing(&rig).await;
        is_told_to_come_later(&refused);
        assert_eq!(code(&refused), "SlowDown");
    }
    assert_eq!(page(&rig, OBJECTS).await.status(), 200);
    for client in clients {
        assert!(!client.is_finished(), "it had room");
        client.abort();
        assert!(client.await.is_err());
    }
    assert_eq!(delete_nothing(&rig).await.status, 200);
    drop(still);
}

#[tokio::test]
async fn the_body_of_which_nothing_came_for_longest_gives_way() {
    let rig = crowded().await;
    let [first, second] = fill(&rig).await;
    let still = stand_still();
    is_told_to_come_later(&delete_nothing(&rig).await);
    assert!(!first.is_finished(), "it is not slow yet");
    // Behind by two seconds, and by two for which what came at once makes up.
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    drop(still);
    is_told_to_come_later(&delete_nothing(&rig).await);
    let gone = tokio::time::timeout(Duration::from_secs(30), first).await;
    let gone = Answer::read(gone.unwrap().unwrap()).await;
    is_told_to_come_later(&gone);
    assert_eq!(code(&gone), "SlowDown");
    assert_eq!(delete_nothing(&rig).await.status, 200);
    assert!(!second.is_finished(), "there is room without it");
    second.abort();
}

#[tokio::test]
async fn a_list_of_objects_whose_answer_finds_no_room_removes_none_of_them() {
    let rig = crowded().await;
    let listed = Answer::read(page(&rig, 1000).await).await.text();
    let keys = listed.split("<Key>").skip(1);
    let keys: Vec<_> = keys
        .filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()))
        .collect();
    let held = hoard(&rig).await;
    let refused = delete(&rig, &keys, 0).await;
    is_told_to_come_later(&refused);
    assert_eq!(code(&refused), "SlowDown");
    drop(held);
    let listed = Answer::read(page(&rig, 1000).await).await;
    assert_eq!(listed.text().matches("<Key>").count(), OBJECTS);
    let deleted = delete(&rig, &keys, 0).await;
    assert_eq!(deleted.text().matches("<Deleted>").count(), OBJECTS);
    let listed = Answer::read(page(&rig, 1000).await).await;
    assert_eq!(listed.text().matches("<Key>").count(), 0);
}

/// The kinds of turns in which lists are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Keys,
    Files,
    Scans,
    Chunks,
}

impl Turn {
    /// An application that has none of this kind to give.
    async fn without(self) -> Rig {
        Rig::with(|options| {
            let most = &mut options.max_lists;
            match self {
                Self::Keys => most.keys = 0,
                Self::Files => most.files = 0,
                Self::Scans => most.scans = 0,
                Self::Chunks => most.chunks = 0,
            }
        })
        .await
    }

    /// Whether a list that takes it needs one of these.
    fn needs(self, other: Self) -> bool {
        self == other || (self, other) == (Self::Scans, Self::Files)
    }
}

/// Every request that lists, and which turn it takes.
async fn lists(rig: &Rig) -> Vec<(Turn, &'static str, String)> {
    let upload = rig.start("a").await;
    let begun = Signed::new("POST", "/uploads/b?uploads").send(rig).await;
    let begun = begun.text();
    let rest = begun.split_once("<UploadId>").unwrap().1;
    let parts = rest.split_once("</UploadId>").unwrap().0;
    [
        (Turn::Keys, "GET", "/"),
        (Turn::Keys, "GET", "/uploads"),
        (Turn::Keys, "GET", "/uploads?list-type=2"),
        (Turn::Keys, "GET", "/uploads?versions"),
        (Turn::Keys, "GET", "/uploads?uploads"),
        (Turn::Keys, "GET", "/v1/pipelines/"),
        (Turn::Files, "GET", "/v1/files/"),
        (
            Turn::Files,
            "GET",
            &format!("/v1/files/?pipeline.id={PIPELINE}"),
        ),
        (Turn::Scans, "GET", "/v1/files/?sort=size"),
        (Turn::Scans, "GET", "/v1/files/?job.id=one"),
        (
            Turn::Scans,
            "GET",
            &format!("/v1/files/?pipeline.id={PIPELINE},{NOBODY}"),
        ),
        (Turn::Chunks, "GET", &format!("/v1/files/uploads/{upload}")),
        (Turn::Chunks, "GET", &format!("/uploads/b?uploadId={parts}")),
        (
            Turn::Chunks,
            "POST",
            &format!("/uploads/b?uploadId={parts}"),
        ),
    ]
    .map(|(turn, method, path)| (turn, method, path.to_owned()))
    .into()
}

/// A request of any dialect; who posts says that an upload has one part.
async fn send(rig: &Rig, method: &str, path: &str) -> Answer {
    const PARTS: &str = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"0\"</ETag></Part>\
                         </CompleteMultipartUpload>";
    if path.starts_with("/v1/") {
        return rig.ask(method, path).await;
    }
    let body = if method == "POST" { PARTS } else { "" };
    Signed::new(method, path).body(body).send(rig).await
}

#[tokio::test]
async fn whatever_lists_waits_for_its_turn_and_is_told_to_come_later_when_none_comes() {
    for missing in [Turn::Keys, Turn::Files, Turn::Scans, Turn::Chunks] {
        let rig = missing.without().await;
        for (turn, method, path) in lists(&rig).await {
            let waits = turn.needs(missing);
            if !waits {
                let answer = send(&rig, method, &path).await;
                assert_ne!(answer.status, 503, "{missing:?} {method} {path}");
                continue;
            }
            tokio::time::pause();
            let began = Instant::now();
            let answer = send(&rig, method, &path).await;
            assert_eq!(answer.status, 503, "{missing:?} {method} {path}");
            is_told_to_come_later(&answer);
            assert_eq!(began.elapsed().as_secs(), 30, "{method} {path}");
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn a_quick_list_of_files_is_answered_while_more_scans_wait_than_there_are_turns() {
    let rig = Rig::with(|options| options.max_lists.scans = 0).await;
    tokio::time::pause();
    let scans = (0..20).map(|_| rig.ask("GET", "/v1/files/?sort=size"));
    let quick = async {
        // It is over when nothing else is left to do: all of them wait.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        assert_eq!(rig.ask("GET", "/v1/files/").await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(1));
    };
    let (scans, ()) = tokio::join!(join_all(scans), quick);
    scans.iter().for_each(is_told_to_come_later);
}
