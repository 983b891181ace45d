//! Clients without manners, on real sockets against the real binary: they stall, vanish, break the framing, name two hosts,
//! or send on after they were refused. What each gets is an answer it can read, or a closed connection; nothing is stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

mod process;

#[path = "support/form.rs"]
mod form;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use form::{BOUNDARY, Form, content_type};
use process::{SOON, Server};

const TOKEN: &str = "dev-token";
const PIPELINE: &str = "547f3eede4b025bcbff38657";

/// How long silence must last to count as silence.
const MOMENT: Duration = Duration::from_millis(300);

/// A server whose patience with a body is one second.
fn impatient() -> Server {
    Server::dev(&["--set", "server.body_idle_timeout=1s"])
}

/// A valid form for an object of its own.
fn valid_form(file: &[u8]) -> Form {
    let mut form = Form::new("uploads", "rude.bin", file);
    form.expiration = "2099-01-01T00:00:00Z".to_owned();
    form.sign();
    form
}

/// The same with a signature that does not fit.
fn forged_form(file: &[u8]) -> Form {
    let mut form = valid_form(file);
    form.set("signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    form
}

/// One connection to the public listener.
struct Peer {
    reader: BufReader<TcpStream>,
    host: String,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    closes: bool,
    body: String,
}

impl Peer {
    fn new(server: &Server) -> Self {
        Self {
            reader: BufReader::new(server.connect()),
            host: server.address(),
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends the head of a request with these header lines.
    fn send_head(&mut self, line: &str, headers: &[&str]) {
        let host = format!("Host: {}", self.host);
        let lines = [&[line, host.as_str()], headers, &["", ""]].concat();
        self.send(lines.join("\r\n"));
    }

    /// Sends the head of a form post that announces `length` bytes.
    fn send_form_head(&mut self, length: usize, headers: &[&str]) {
        let kind = format!("Content-Type: {}", content_type());
        let length = format!("Content-Length: {length}");
        let headers = [&[kind.as_str(), length.as_str()], headers].concat();
        self.send_head("POST /uploads/ HTTP/1.1", &headers);
    }

    /// Reads the next answer, its body by its `Content-Length`; `None` when the connection is over.
    fn answer(&mut self) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.reader.read_line(&mut head) {
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                read => assert!(read.unwrap() > 0),
            }
        }
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let named = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        let length = named
            .filter(|_| status != 204)
            .map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        Some(Answer {
            status,
            closes: head.contains("\r\nconnection: close\r\n"),
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// A small request that must succeed on this connection.
    fn is_still_served(&mut self) {
        let token = format!("Authorization: Bearer {TOKEN}");
        self.send_head("GET /v1/files/ HTTP/1.1", &[&token]);
        assert_eq!(self.answer().expect("an answer").status, 200);
    }

    fn is_closed(&mut self) {
        assert!(self.answer().is_none(), "the connection is still open");
    }

    /// Whether nothing comes for a moment.
    fn is_silent(&mut self) -> bool {
        let stream = self.reader.get_ref();
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let waited = self.reader.fill_buf().map(<[u8]>::len);
        self.reader.get_ref().set_read_timeout(Some(SOON)).unwrap();
        waited.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Ends the connection with a reset: the system sends one when a socket is closed with bytes that nobody read.
    fn reset(mut self, sent: &[u8], length: usize) {
        self.send_head("GET /v1/unread HTTP/1.1", &[]);
        self.reader.get_ref().peek(&mut [0]).unwrap();
        self.send_form_head(length, &[]);
        self.send(sent);
    }
}

fn stored(server: &Server) -> u64 {
    let (status, body) = server.get_with_token("/v1/files/", TOKEN);
    assert_eq!(status, 200, "{body}");
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    list["total"].as_u64().unwrap()
}

#[test]
fn a_form_that_stalls_is_refused_and_stores_nothing() {
    let server = impatient();
    let body = valid_form(&[7; 50_000]).encode();
    for sent in [0, 40, 600, 30_000] {
        let mut peer = Peer::new(&server);
        peer.send_form_head(body.len(), &[]);
        peer.send(&body[..sent]);
        let answer = peer.answer().expect("a refusal before the end");
        assert_eq!(answer.status, 400, "{sent}: {}", answer.body);
        assert!(answer.body.contains("<Code>RequestTimeout</Code>"));
        peer.is_closed();
    }
    assert_eq!(stored(&server), 0);
}

#[test]
fn a_client_that_is_slow_but_never_silent_for_long_is_waited_for() {
    // All of it takes longer than the server waits for a piece, and each piece a tenth of that.
    let server = Server::dev(&["--set", "server.body_idle_timeout=3s"]);
    let body = valid_form(&[7; 4_000]).encode();
    let mut peer = Peer::new(&server);
    peer.send_form_head(body.len(), &[]);
    for piece in body.chunks(body.len().div_ceil(12)) {
        peer.send(piece);
        std::thread::sleep(MOMENT);
    }
    assert_eq!(peer.answer().expect("an answer").status, 204);
}

#[test]
fn a_form_that_is_cut_at_any_byte_stores_nothing() {
    let server = Server::dev(&[]);
    let body = valid_form(&[7; 3_000]).encode();
    // What follows the closing delimiter is no part of the form.
    let end = body.len() - "\r\n".len();
    let near_the_end = end - format!("--{BOUNDARY}--").len() - 4..end;
    for cut in (0..end).step_by(211).chain(near_the_end) {
        let mut peer = Peer::new(&server);
        peer.send_form_head(body.len(), &[]);
        peer.send(&body[..cut]);
        peer.reader.get_ref().shutdown(Shutdown::Write).unwrap();
        let answer = peer.answer().expect("a refusal");
        assert_eq!(answer.status, 400, "{cut}: {}", answer.body);
        assert!(answer.body.contains("<Code>IncompleteBody</Code>"));
        Peer::new(&server).reset(&body[..cut], body.len());
    }
    assert_eq!(stored(&server), 0);
    let mut peer = Peer::new(&server);
    peer.send_form_head(body.len(), &[]);
    peer.send(&body);
    assert_eq!(peer.answer().expect("an answer").status, 204);
    assert_eq!(stored(&server), 1);
}

#[test]
fn a_refusal_reaches_a_client_that_sends_everything_before_it_reads() {
    let server = Server::dev(&[]);
    let megabyte = vec![7; 1 << 20];
    let body = forged_form(&[]).encode();
    let tail = format!("\r\n--{BOUNDARY}--\r\n").len();
    let mut peer = Peer::new(&server);
    peer.send_form_head(body.len() + 64 * megabyte.len(), &[]);
    peer.send(&body[..body.len() - tail]);
    for _ in 0..64 {
        peer.send(&megabyte);
    }
    peer.send(&body[body.len() - tail..]);
    let answer = peer.answer().expect("a refusal");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("<Code>SignatureDoesNotMatch</Code>"));
    peer.is_still_served();
    assert_eq!(stored(&server), 0);
}

#[test]
fn after_every_kind_of_refusal_the_connection_serves_the_next_request() {
    let server = Server::dev(&[]);
    let mut peer = Peer::new(&server);
    let mut crowded = valid_form(b"x");
    crowded.set("x-ignore-me", &"x".repeat(30_000));
    let unparsed = b"no multipart at all".repeat(1000);
    for (body, status, code) in [
        (
            forged_form(&[7; 100_000]).encode(),
            403,
            "SignatureDoesNotMatch",
        ),
        (crowded.encode(), 400, "MaxPostPreDataLengthExceededError"),
        (unparsed, 400, "MalformedPOSTRequest"),
    ] {
        peer.send_form_head(body.len(), &[]);
        peer.send(&body);
        let answer = peer.answer().expect(code);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(code), "{}", answer.body);
        peer.is_still_served();
    }
    for (line, status) in [
        ("POST /uploads/ HTTP/1.1", 412),
        ("POST /uploads/key HTTP/1.1", 403),
        ("POST /v1/files/uploads/ HTTP/1.1", 403),
        ("PUT /v1/pipelines/ HTTP/1.1", 405),
        ("POST /v1/nothing HTTP/1.1", 404),
        ("POST /v1/files/uploads/?format=bad HTTP/1.1", 400),
    ] {
        peer.send_head(line, &["Content-Length: 200000"]);
        peer.send([b'x'; 200_000]);
        assert_eq!(peer.answer().expect(line).status, status, "{line}");
        peer.is_still_served();
    }
}

#[test]
fn who_waits_to_be_told_to_go_on_is_refused_without_being_told() {
    let server = Server::dev(&[]);
    let expecting = &["Content-Length: 1000", "Expect: 100-continue"];
    for (line, status) in [
        ("POST /uploads/ HTTP/1.1", 412),
        ("POST /v1/files/uploads/ HTTP/1.1", 403),
        ("POST /v1/nothing HTTP/1.1", 404),
    ] {
        let mut peer = Peer::new(&server);
        peer.send_head(line, expecting);
        let answer = peer.answer().expect(line);
        assert_eq!((answer.status, answer.closes), (status, true), "{line}");
        peer.is_closed();
    }
    let body = valid_form(b"hello").encode();
    let mut peer = Peer::new(&server);
    peer.send_form_head(body.len(), &["Expect: 100-continue"]);
    assert_eq!(peer.answer().expect("100").status, 100);
    peer.send(&body);
    let answer = peer.answer().expect("an answer");
    assert_eq!((answer.status, answer.closes), (204, false));
    peer.is_still_served();
}

#[test]
fn a_request_that_names_no_host_or_two_is_refused_in_its_dialect() {
    let server = Server::dev(&[]);
    for hosts in ["", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host:\r\n"] {
        let mut peer = Peer::new(&server);
        peer.send(format!("GET /v1/files/ HTTP/1.1\r\n{hosts}\r\n"));
        let answer = peer.answer().expect("a refusal");
        assert_eq!(answer.status, 400, "{hosts:?}");
        assert!(answer.body.starts_with("{\"error\""), "{}", answer.body);
        peer.is_still_served();
    }
}

#[test]
fn the_host_of_a_target_in_absolute_form_counts_and_the_header_does_not() {
    let server = Server::dev(&[]);
    let mut peer = Peer::new(&server);
    let target = format!(
        "http://box.example:81/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}&access_token={TOKEN}"
    );
    let line = format!("POST {target} HTTP/1.1");
    peer.send_head(&line, &["Content-Length: 0"]);
    let answer = peer.answer().expect("an answer");
    let here = "\"form_post_url\":\"http://box.example:81/uploads/\"";
    assert!(answer.body.contains(here), "{}", answer.body);
}

#[test]
fn framing_that_can_be_read_in_two_ways_never_makes_two_requests() {
    let server = Server::dev(&[]);
    let second = "GET /v1/second HTTP/1.1\r\nHost: h\r\n\r\n";
    let length = format!("Content-Length: {}", second.len());
    let chunked = "Transfer-Encoding: chunked";
    for headers in [
        &[chunked, "Content-Length: 5"][..],
        &[length.as_str(), "Content-Length: 0"],
        &["Content-Length: -1"],
        &["Content-Length: +0"],
        &["Content-Length: 0x0"],
        &["Transfer-Encoding: gzip"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: xchunked"],
        &["Transfer-Encoding: gzip, chunked"],
        &[chunked, chunked],
        &["Transfer-Encoding : chunked"],
        &["X: a", " Content-Length: 5"],
        &["X: a\0b"],
    ] {
        let mut peer = Peer::new(&server);
        peer.send_head("POST /v1/first HTTP/1.1", headers);
        peer.send(format!("0\r\n\r\n{second}"));
        let answer = peer.answer().expect("an answer");
        assert!((400..500).contains(&answer.status), "{headers:?}");
        peer.is_closed();
    }
}

#[test]
fn a_chunked_body_may_have_trailers_and_a_broken_one_is_named() {
    let server = Server::dev(&[]);
    let token = format!("Authorization: Bearer {TOKEN}");
    let headers = &[token.as_str(), "Transfer-Encoding: chunked"];
    let params = format!("object_key=a&pipeline_id={PIPELINE}");
    let chunk = format!("{:x}\r\n{params}\r\n", params.len());
    let mut peer = Peer::new(&server);
    peer.send_head("POST /v1/files/uploads/ HTTP/1.1", headers);
    peer.send(format!("{chunk}0\r\nHost: evil\r\nX-More: x\r\n\r\n"));
    assert_eq!(peer.answer().expect("an answer").status, 200);
    peer.is_still_served();
    for broken in ["zz\r\n", "fffffffffffffffff\r\n", "5\r\nabcdefgh"] {
        let mut peer = Peer::new(&server);
        peer.send_head("POST /v1/files/uploads/ HTTP/1.1", headers);
        peer.send(format!("{chunk}{broken}"));
        let answer = peer.answer().expect("a refusal");
        assert_eq!(answer.status, 400, "{broken:?}");
        assert!(answer.body.contains("framing"), "{}", answer.body);
    }
}

#[test]
fn a_form_post_without_a_body_and_its_length_is_told_so() {
    let server = Server::dev(&[]);
    let mut peer = Peer::new(&server);
    let kind = format!("Content-Type: {}", content_type());
    peer.send_head("POST /uploads/ HTTP/1.1", &[&kind]);
    let answer = peer.answer().expect("a refusal");
    assert_eq!(answer.status, 411, "{}", answer.body);
    assert!(answer.body.contains("<Code>MissingContentLength</Code>"));
    peer.is_still_served();
}

#[test]
fn nothing_is_said_before_the_body_is_there_and_nothing_after_the_answer() {
    let server = Server::dev(&[]);
    let mut peer = Peer::new(&server);
    peer.send_form_head(10, &[]);
    assert!(peer.is_silent());
    peer.send(b"0123456789");
    assert_eq!(peer.answer().expect("a refusal").status, 400);
    assert!(peer.is_silent());
    peer.is_still_served();
}

#[test]
fn no_secret_and_no_endless_line_reaches_the_log() {
    let server = Server::dev(&["--log-level", "trace", "--log-format", "json"]);
    let signed = valid_form(b"hello");
    let forged = forged_form(b"hello");
    for form in [&signed, &forged] {
        let body = form.encode();
        let mut peer = Peer::new(&server);
        peer.send_form_head(body.len(), &[]);
        peer.send(&body);
        assert!(peer.answer().is_some());
        peer.is_still_served();
    }
    let long = "x".repeat(50_000);
    server.get(&format!("/{long}?access_token={TOKEN}"));
    let log = server.log();
    let value = |form: &Form, name: &str| {
        let field = form.fields.iter().find(|(n, _)| n == name);
        field.unwrap().1.clone()
    };
    for secret in [
        TOKEN.to_owned(),
        form::SECRET.to_owned(),
        value(&signed, "policy"),
        value(&signed, "signature"),
        value(&forged, "signature"),
    ] {
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
    // The index's engine would show stored values as lists of bytes.
    let bytes = form::SECRET.bytes().map(|byte| byte.to_string());
    let bytes = bytes.collect::<Vec<_>>().join(", ");
    assert!(!log.contains(&bytes), "the log holds the secret's bytes");
    assert!(log.lines().count() > 4);
    for line in log.lines() {
        let read: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(read.is_ok() && line.len() <= 8192, "{line}");
    }
}
