//! The multipart road is one function of the bytes: however they are cut into pieces the result is the same, and what ends too early
//! is never an object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use pillarbox::api::body::RequestBody;
use pillarbox::store::ObjectName;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::post::{Post, Shape, Version};
use super::runner::Table;
use crate::support::{Answer, connection};

const EACH: [(Version, Shape); 4] = [
    (Version::V2, Shape::Browser),
    (Version::V2, Shape::EveryPartNamed),
    (Version::V4, Shape::Browser),
    (Version::V4, Shape::EveryPartNamed),
];

/// Random cuts of each body.
const CUTS: usize = 60;

/// What a form came to: status, code and message, and what is stored under it.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    told: String,
    stored: Vec<(String, Vec<u8>)>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// As if that were all.
    Quiet,
    /// The client goes away.
    Broken,
}

async fn send(table: &Table, post: &Post, pieces: Vec<Bytes>, end: End) -> Outcome {
    let mut frames: Vec<_> = pieces
        .into_iter()
        .map(|piece| Ok(Frame::data(piece)))
        .collect();
    if matches!(end, End::Broken) {
        frames.push(Err(std::io::Error::from(
            std::io::ErrorKind::ConnectionReset,
        )));
    }
    let request = Request::post(&post.target)
        .header("host", &post.host)
        .header(
            "content-type",
            post.content_types[0].replace("{B}", &post.boundary),
        );
    let body = RequestBody::new(
        StreamBody::new(stream::iter(frames)),
        std::time::Duration::from_secs(30),
    );
    let request = request.body(body).unwrap();
    let answer = Answer::read(table.rig.app.handle(request, connection()).await).await;
    let mut stored = Vec::new();
    for meta in table.listed().await {
        stored.push((meta.key.to_string(), table.bytes_of(&meta).await));
        let name = ObjectName::Id(meta.id);
        table
            .rig
            .store
            .delete_object(&name, table.rig.clock.now())
            .await
            .unwrap();
    }
    let told = answer.text();
    // How much was there when it was too much depends on the pieces; which request it was, on chance.
    let told = told
        .split_once("<ProposedSize>")
        .map_or(told.as_str(), |(before, _)| before);
    let told = told
        .split_once("<RequestId>")
        .map_or(told, |(before, _)| before);
    Outcome {
        status: answer.status.as_u16(),
        told: told.to_owned(),
        stored,
    }
}

async fn whole(table: &Table, post: &Post) -> Outcome {
    let body = Bytes::from(post.send().body);
    send(table, post, vec![body], End::Quiet).await
}

/// A file that is almost nothing but delimiters.
fn tricky(p: &mut Post) {
    p.file("\r\n--\r\n------formBoundary7MA4YWx\r\n-\r------formBoundary7MA4YWxk--");
}

type Change = fn(&mut Post);

/// Forms of which each comes to something else; none has two faults, of which one or the other could be seen first.
const FORMS: &[(&str, Change)] = &[
    ("a valid form", |_| {}),
    ("a file of almost-delimiters", tricky),
    ("a preamble, an epilogue and fields behind the file", |p| {
        p.behind("submit", "Upload").behind("file", "second");
        p.bytes(|body| [b"preamble\r\n--\r\n".as_slice(), &body, b"epilogue\r\n"].concat());
    }),
    ("values of line ends and hyphens", |p| {
        p.allow("x-ignore-b", "\r\n--\r\n------formBoundary\r")
            .allow("x-amz-meta-a", "a");
    }),
    ("an empty file", |p| {
        p.file("");
    }),
    ("a file name of many parts", |p| {
        p.file_name("a\\\\b\\\"c; name=d.bin").key("in/${filename}");
    }),
    ("an uncovered field", |p| {
        p.set("acl", "private");
    }),
    ("a wrong secret", |p| p.secret = "wrong".to_owned()),
    ("a file that is too large", |p| {
        p.condition("[\"content-length-range\",0,20]");
    }),
    ("a file that is too small", |p| {
        p.condition("[\"content-length-range\",22,30]");
    }),
    ("a wrong checksum", |p| {
        p.set("x-amz-checksum-crc32", "AAAAAA==");
    }),
    ("two names in a head", |p| {
        p.head(
            "key",
            "Content-Disposition: form-data; name=\"key\"; name=\"acl\"",
        );
    }),
    ("a name that two readers read differently", |p| {
        p.head(
            "key",
            "Content-Disposition: form-data; filename=\"; name=x; \"; name=\"key\"",
        );
    }),
    ("bare line feeds", |p| {
        p.bytes(|body| {
            String::from_utf8(body)
                .unwrap()
                .replace("\r\n", "\n")
                .into_bytes()
        });
    }),
    ("a blank behind a delimiter", |p| {
        p.bytes(|body| {
            String::from_utf8(body)
                .unwrap()
                .replacen("YWxk\r\n", "YWxk \r\n", 2)
                .into_bytes()
        });
    }),
    ("too much before the file", |p| {
        p.set("x-ignore-a", "a".repeat(20_480));
    }),
    ("no file", |p| p.file.name = "data".to_owned()),
    ("a file first", |p| {
        p.late(|fields| fields.insert(0, super::Part::new("file", "x")));
    }),
];

/// Cuts a body at random places: into a few pieces, into many, or so that some are a single byte.
fn cut(body: &Bytes, random: &mut TestRng) -> Vec<Bytes> {
    let many = [1, 3, 17, 200][random.random_range(0..4)];
    let mut places: Vec<usize> = (0..many)
        .map(|_| random.random_range(0..=body.len()))
        .collect();
    if many == 3 {
        places.push(places[0].saturating_add(1).min(body.len()));
    }
    places.extend([0, body.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| body.slice(ends[0]..ends[1]))
        .collect()
}

#[tokio::test]
async fn random_pieces_of_the_same_bytes_come_to_the_same() {
    let table = Table::new().await;
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for (says, change) in FORMS {
        for (version, shape) in EACH {
            let mut post = Post::valid(version, shape);
            change(&mut post);
            let wanted = whole(&table, &post).await;
            let body = Bytes::from(post.send().body);
            for _ in 0..CUTS / 4 {
                let pieces = cut(&body, &mut random);
                let ends: Vec<_> = pieces.iter().map(Bytes::len).collect();
                let came = send(&table, &post, pieces, End::Quiet).await;
                assert_eq!(
                    came, wanted,
                    "{says} ({version:?}, {shape:?}) in pieces of {ends:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_form_of_single_bytes_comes_to_the_same() {
    let table = Table::new().await;
    for (says, change) in FORMS {
        let mut post = Post::valid(Version::V2, Shape::Browser);
        change(&mut post);
        let body = Bytes::from(post.send().body);
        // More pieces than this around the file are refused, whatever they hold.
        if body.len() > 4_000 {
            continue;
        }
        let wanted = whole(&table, &post).await;
        let bytes = (0..body.len()).map(|at| body.slice(at..=at)).collect();
        assert_eq!(
            send(&table, &post, bytes, End::Quiet).await,
            wanted,
            "{says}"
        );
    }
}

#[tokio::test]
async fn a_form_in_two_pieces_comes_to_the_same_wherever_it_is_cut() {
    let table = Table::new().await;
    for (version, shape) in EACH {
        let mut post = Post::valid(version, shape);
        tricky(&mut post);
        let wanted = whole(&table, &post).await;
        assert_eq!((wanted.status, wanted.stored.len()), (204, 1));
        assert_eq!(wanted.stored[0].1, post.file.value);
        let body = Bytes::from(post.send().body);
        for at in 0..body.len() {
            let pieces = vec![body.slice(..at), body.slice(at..)];
            let came = send(&table, &post, pieces, End::Quiet).await;
            assert_eq!(came, wanted, "{version:?}, {shape:?}, cut at {at}");
        }
    }
}

#[tokio::test]
async fn a_form_that_ends_too_early_is_never_an_object_and_then_the_whole_is_one() {
    let table = Table::new().await;
    for (version, shape) in EACH {
        let post = Post::valid(version, shape);
        let body = Bytes::from(post.send().body);
        for length in 0..body.len() - 2 {
            let came = send(&table, &post, vec![body.slice(..length)], End::Quiet).await;
            assert!(
                (400..500).contains(&came.status),
                "{version:?}, {shape:?}, {length} bytes: {came:?}"
            );
            assert_eq!(came.stored, [], "{version:?}, {shape:?}, {length} bytes");
        }
        let came = whole(&table, &post).await;
        assert_eq!(
            (came.status, came.stored.len()),
            (204, 1),
            "{version:?}, {shape:?}"
        );
    }
    table.nothing_is_left().await.unwrap();
}

/// Bytes of the file that wait behind a form that will be refused.
const WAITING_BYTES: usize = 8 << 20;
/// Bytes of each piece that they come in.
const PIECE_BYTES: usize = 16 * 1024;

#[tokio::test]
async fn a_form_is_judged_before_its_file_is_taken_in() {
    let table = Table::new().await;
    let mut post = Post::valid(Version::V4, Shape::EveryPartNamed);
    post.secret = "wrong".to_owned();
    (0..90).for_each(|i| {
        post.set(&format!("x-ignore-{i}"), "");
    });
    post.file(vec![b'x'; WAITING_BYTES]);
    let body = Bytes::from(post.send().body);
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let places: Vec<_> = (0..body.len()).step_by(PIECE_BYTES).collect();
    let pieces = stream::iter(places).map(move |at| {
        let piece = body.slice(at..body.len().min(at + PIECE_BYTES));
        count.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(Frame::data(piece))
    });
    let request = Request::post(&post.target)
        .header("host", &post.host)
        .header(
            "content-type",
            post.content_types[0].replace("{B}", &post.boundary),
        );
    let request = request.body(RequestBody::new(
        StreamBody::new(pieces),
        std::time::Duration::from_secs(30),
    ));
    let answer = table.rig.app.handle(request.unwrap(), connection()).await;
    // What is left is read and forgotten in the background, after this line.
    let taken = taken.load(Ordering::Relaxed);
    assert_eq!(answer.status().as_u16(), 403);
    assert!(taken <= 20_480 + PIECE_BYTES, "{taken} bytes were taken in");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_and_may_come_back() {
    let table = Table::new().await;
    let mut post = Post::valid(Version::V4, Shape::EveryPartNamed);
    tricky(&mut post);
    let body = Bytes::from(post.send().body);
    // Up to the closing delimiter whole; after it nothing more is needed.
    for length in 0..body.len() - 2 {
        let came = send(&table, &post, vec![body.slice(..length)], End::Broken).await;
        assert!(
            (400..500).contains(&came.status),
            "{length} bytes: {came:?}"
        );
        assert_eq!(came.stored, [], "{length} bytes");
    }
    let came = whole(&table, &post).await;
    assert_eq!((came.status, came.stored.len()), (204, 1));
    table.nothing_is_left().await.unwrap();
}
