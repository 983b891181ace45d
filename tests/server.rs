//! The server floor, seen from outside: sockets, deadlines, TLS, signals, the service manager.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

mod process;

#[path = "support/form.rs"]
mod form;

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pillarbox::model::{Id, Timestamp};
use process::{SOON, Server, eventually, parse, pillarbox, run, stderr, stdout};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Reads until the peer closes; panics when it does not.
fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("the connection stayed open: {error}"),
    }
}

/// Asks for what has no body, and reads the answer.
fn asks(stream: &mut TcpStream) {
    stream
        .write_all(b"HEAD /uploads/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut piece).unwrap();
        assert_ne!(length, 0, "the connection was closed");
        answer.extend_from_slice(&piece[..length]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 "));
}

#[test]
fn both_listeners_answer_and_the_admin_one_is_another_origin() {
    let server = Server::dev(&[]);
    assert_ne!(server.public, server.admin);
    let mut admin = TcpStream::connect(server.admin_address()).unwrap();
    admin
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    admin.read_to_string(&mut answer).unwrap();
    assert_eq!(parse(&answer).0, 200);
    // The public listener does not know the admin's pages: there "livez" is a bucket that does not exist.
    assert_ne!(server.get("/livez").0, 200);
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_the_header_timeout() {
    let server = Server::dev(&["--set", "server.header_timeout=300ms"]);
    let began = Instant::now();
    assert!(closed(&mut server.connect()).is_empty());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_header_that_never_ends_is_cut_however_often_a_byte_arrives() {
    let server = Server::dev(&["--set", "server.header_timeout=500ms"]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .unwrap();
    let mut drip = stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < SOON && drip.write_all(b"a").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
        began.elapsed()
    });
    closed(&mut stream);
    assert!(dripping.join().unwrap() < SOON);
}

#[test]
fn what_cannot_be_read_as_a_request_gets_a_status_and_nothing_else() {
    let server = Server::dev(&[]);
    let line = "POST /v1/pipelines/ HTTP/1.1\r\nHost: localhost\r\n";
    for (head, status) in [
        ("garbage".to_owned(), "400"),
        (format!("{line}Content-Length: -1"), "400"),
        (format!("{line}Content-Length: abc"), "400"),
        (format!("{line}a header without a colon"), "400"),
        (format!("{line}X: {}", "x".repeat(64 * 1024)), "431"),
        (format!("{line}{}X: x", "X: x\r\n".repeat(100)), "431"),
    ] {
        let mut stream = server.connect();
        stream
            .write_all(format!("{head}\r\n\r\n").as_bytes())
            .unwrap();
        let answer = String::from_utf8(closed(&mut stream)).unwrap();
        let begin = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&begin), "{status}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
        assert!(!answer.contains("request-id"), "{answer}");
    }
    // A plain socket does not speak HTTP/2, and its preface is no request of HTTP/1.
    let mut stream = server.connect();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    assert!(closed(&mut stream).is_empty());
}

#[test]
fn a_connection_is_kept_for_a_second_request_and_closed_when_idle() {
    let server = Server::dev(&["--set", "server.header_timeout=3s"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        asks(&mut stream);
    }
    assert!(closed(&mut stream).is_empty());
}

#[test]
fn when_there_is_no_room_the_connection_that_has_been_quiet_longest_gives_way() {
    let server = Server::dev(&[
        "--set",
        "server.max_connections=2",
        "--set",
        "server.header_timeout=1h",
    ]);
    let (mut first, mut second) = (server.connect(), server.connect());
    asks(&mut first);
    asks(&mut second);
    let mut third = server.connect();
    let third = std::thread::spawn(move || asks(&mut third));
    // Who goes on asking is never the one that has been quiet longest, however busy this machine is.
    while !third.is_finished() {
        asks(&mut first);
        std::thread::sleep(Duration::from_millis(20));
    }
    third.join().unwrap();
    closed(&mut second);
    asks(&mut first);
    // The admin listener has its own limit.
    assert!(TcpStream::connect(server.admin_address()).is_ok());
}

#[test]
fn when_there_is_no_room_a_request_that_stands_still_gives_way_and_one_that_moves_does_not() {
    let server = Server::dev(&["--set", "server.max_connections=2"]);
    let _still = half_a_request(&server);
    let mut moving = server.connect();
    let head = format!(
        "PUT /v1/pipelines/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n\r\n",
        server.address()
    );
    moving.write_all(head.as_bytes()).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                moving.write_all(&[b'x'; 2000]).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(server.get("/").0, 403);
        over.store(true, Ordering::SeqCst);
    });
    moving.write_all(&[b'x'; 2000]).unwrap();
}

/// Begins a token request whose body is announced and half sent.
fn half_a_request(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/oauth2/token/ HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 32\r\nExpect: 100-continue\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The interim answer proves that the handler reads the body.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    stream.write_all(b"grant_type=clien").unwrap();
    stream
}

#[test]
fn a_stop_lets_a_request_finish_and_refuses_new_connections() {
    let mut server = Server::dev(&[]);
    let mut stream = half_a_request(&server);
    let idle = server.connect();
    server.signal(Signal::TERM);
    eventually("the listener's end", || {
        TcpStream::connect(server.address()).err()
    });
    assert!(server.is_running());
    stream.write_all(b"t_credential&c=d").unwrap();
    let answer = String::from_utf8(closed(&mut stream)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(server.wait().success());
    drop(idle);
}

#[test]
fn a_connection_that_was_taken_before_the_stop_may_still_ask() {
    let mut server = Server::dev(&[]);
    let mut taken = server.connect();
    // A later connection is answered, so the earlier one was taken.
    assert!(server.get("/").0 >= 200);
    server.signal(Signal::TERM);
    eventually("the listener's end", || {
        TcpStream::connect(server.address()).err()
    });
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    taken.write_all(request.as_bytes()).unwrap();
    let answer = String::from_utf8(closed(&mut taken)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(server.wait().success());
}

#[test]
fn a_connection_that_waits_for_a_seat_at_the_stop_gets_one() {
    let mut server = Server::dev(&["--set", "server.max_connections=1"]);
    let mut seated = half_a_request(&server);
    let sockets = server.sockets();
    let mut waiting = server.connect();
    let head = b"HEAD /uploads/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    waiting.write_all(head).unwrap();
    eventually("the accept", || (server.sockets() > sockets).then_some(()));
    server.signal(Signal::TERM);
    eventually("the stop", || {
        server.log().contains("stopping:").then_some(())
    });
    seated.write_all(b"t_credential&c=d").unwrap();
    for stream in [&mut seated, &mut waiting] {
        let answer = String::from_utf8(closed(stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(server.wait().success());
}

#[test]
fn a_request_that_does_not_end_is_cut_at_the_shutdown_timeout() {
    let mut server = Server::dev(&["--set", "server.shutdown_timeout=300ms"]);
    let mut stream = half_a_request(&server);
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    closed(&mut stream);
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    let mut server = Server::dev(&["--set", "server.shutdown_timeout=1h"]);
    let _stream = half_a_request(&server);
    server.signal(Signal::TERM);
    eventually("the drain", || {
        server.log().contains("stopping").then_some(())
    });
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_its_connection() {
    let server = Server::dev(&[
        "--set",
        "server.body_idle_timeout=2s",
        "--set",
        "server.header_timeout=1h",
        "--log-level",
        "debug",
    ]);
    let file = server.folder().join("large");
    std::fs::write(&file, vec![7; 24 << 20]).unwrap();
    let link = uploaded_link(&server, &file);
    let mut stuck = server.connect();
    stuck
        .write_all(format!("GET {link} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).as_bytes())
        .unwrap();
    eventually("the end of the stuck connection", || {
        server.log().contains("connection ended").then_some(())
    });
}

/// Uploads a file and returns the path and query of its download link.
fn uploaded_link(server: &Server, file: &Path) -> String {
    let file = file.to_str().unwrap();
    let pipeline = "547f3eede4b025bcbff38657";
    let uploaded = run(&[
        "upload",
        file,
        "--url",
        &server.public,
        "--token",
        "dev-token",
        "--pipeline",
        pipeline,
        "--key",
        "large",
        "--parallel",
        "1",
    ]);
    assert!(uploaded.status.success(), "{}", stderr(&uploaded));
    let target =
        format!("/v1/files/downloads/?object_key=large&pipeline_id={pipeline}&redirect=true");
    let mut stream = server.connect();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer dev-token\r\nConnection: close\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let link = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .expect(&answer);
    link.strip_prefix(&server.public).expect(link).to_owned()
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_one_line() {
    let server = Server::dev(&[]);
    let data = server.data();
    let second = run(&[
        "dev",
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(
        stderr(&second)
            .lines()
            .filter(|line| line.starts_with("pillarbox: "))
            .count(),
        1
    );
    assert_eq!(server.get("/v1/files/").0, 403);
}

/// Whoever started a second process by mistake must not sit before a silent terminal; and what waits goes on when the first ends.
#[test]
fn who_waits_for_a_data_folder_is_told_at_once() {
    let mut first = Server::serve(&[]);
    let data = first.data();
    // A verb that cannot ask the server opens the store itself.
    for verb in ["serve", "reindex"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = pillarbox();
        command.arg(verb).arg("--data").arg(&data);
        let began = Instant::now();
        let second = Server::begin(command, folder);
        let told = eventually("the word that it waits", || {
            let log = second.log();
            log.contains("another process uses this data folder")
                .then_some(log)
        });
        assert!(began.elapsed() < Duration::from_secs(8), "{told}");
        assert!(told.contains("LOCK") && told.contains("10 s"), "{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = pillarbox();
    command.arg("reindex").arg("--data").arg(&data);
    let mut last = Server::begin(command, folder);
    eventually("the wait", || last.log().contains("LOCK").then_some(()));
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    assert!(last.wait().success(), "{}", last.log());
    assert!(last.said().contains("0 files indexed"), "{}", last.said());
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["dev", "--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains(&format!("server.listen {address}")),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_start_that_fails_leaves_its_store_as_a_stop_does() {
    let folder = Server::serve(&[]).stop();
    let data = folder.path().join("data");
    // Only a start behind a crash looks for it.
    let id = Id::new(Timestamp::from_seconds(4_000_000_000), [7; 8]);
    let orphan = data.join(format!("objects/07/{id}"));
    std::fs::write(&orphan, "nobody's").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let absent = folder.path().join("absent/ports").display().to_string();
    let free = "127.0.0.1:0";
    for flags in [
        ["--listen", &taken],
        ["--port-file", &absent],
        ["--listen", &taken],
    ] {
        let mut command = pillarbox();
        command.arg("serve").arg("--data").arg(&data);
        command.args(["--set", &format!("server.listen={free}")]);
        let refused = command
            .args(["--admin-listen", free])
            .args(flags)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        assert!(orphan.exists(), "{flags:?}");
        assert!(!data.join("control.sock").exists());
    }
    let mut crashed = Server::serve_in(folder, &[]);
    crashed.signal(Signal::KILL);
    crashed.wait();
    let after = pillarbox()
        .args(["token", "list", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(after.status.success() && !orphan.exists());
}

#[test]
fn plain_http_on_a_public_address_is_warned_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = pillarbox();
    command.args([
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--admin-listen",
        "127.0.0.1:0",
    ]);
    command.arg("--data").arg(folder.path().join("data"));
    command.arg("--port-file").arg(folder.path().join("ports"));
    let server = Server::spawn(command, folder);
    assert_eq!(
        server
            .log()
            .matches("plain HTTP on a public address")
            .count(),
        1
    );
    assert!(
        server.public.starts_with("http://127.0.0.1:"),
        "{}",
        server.public
    );
}

/// A certificate for `localhost`, its files in `folder`.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn tls_server(flags: &[&str]) -> (Server, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate(folder.path());
    (tls_server_in(folder, flags), trusted)
}

fn tls_server_in(folder: TempDir, flags: &[&str]) -> Server {
    let certificate = folder.path().join("cert.pem").display().to_string();
    let key = folder.path().join("key.pem").display().to_string();
    let mut all = vec!["--certificate", &certificate, "--private-key", &key];
    all.extend(flags);
    Server::serve_in(folder, &all)
}

/// The same with what is fixed in `pillarbox dev`.
fn tls_dev(flags: &[&str]) -> (Server, CertificateDer<'static>) {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certificate(folder.path());
    let certificate = format!(
        "tls.certificate={}",
        folder.path().join("cert.pem").display()
    );
    let key = format!(
        "tls.private_key={}",
        folder.path().join("key.pem").display()
    );
    let mut all = vec!["--set", &certificate, "--set", &key];
    all.extend(flags);
    (Server::dev(&all), trusted)
}

type TlsStream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

async fn handshake(
    server: &Server,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    protocol: &[u8],
) -> std::io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = tokio::net::TcpStream::connect(server.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn question() -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get("https://localhost/v1/files/")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

async fn ask_http1(stream: TlsStream) -> u16 {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(question()).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    drop(sender);
    connection.abort();
    status
}

async fn ask_http2(stream: TlsStream) -> u16 {
    let executor = TokioExecutor::new();
    let (mut sender, connection) = http2::handshake(executor, TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(question()).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    connection.abort();
    status
}

#[tokio::test]
async fn tls_1_2_and_1_3_carry_http_1_and_http_2() {
    let (server, trusted) = tls_server(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = handshake(&server, &trusted, version, b"http/1.1")
            .await
            .unwrap();
        assert_eq!(ask_http1(stream).await, 403);
        let stream = handshake(&server, &trusted, version, b"h2").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(ask_http2(stream).await, 403);
    }
    assert!(server.public.starts_with("https://"));
}

#[tokio::test]
async fn an_http_2_connection_that_opens_no_stream_is_closed() {
    use tokio::io::AsyncReadExt;
    let (server, trusted) = tls_server(&["--set", "server.header_timeout=2s"]);
    let mut silent = handshake(&server, &trusted, &rustls::version::TLS13, b"h2")
        .await
        .unwrap();
    let mut rest = Vec::new();
    // An abrupt end is an end, too.
    let ended = tokio::time::timeout(SOON, silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection stayed open");
}

/// An HTTP/2 client that lets the server send little ahead, and its connection.
async fn takes_little_ahead(
    server: &Server,
    trusted: &CertificateDer<'static>,
) -> (
    http2::SendRequest<Empty<bytes::Bytes>>,
    JoinHandle<hyper::Result<()>>,
) {
    let version = &rustls::version::TLS13;
    let stream = handshake(server, trusted, version, b"h2").await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

#[tokio::test]
async fn an_http_2_client_that_takes_no_more_of_its_answer_is_let_go() {
    let (server, trusted) = tls_server(&[
        "--set",
        "server.max_connections=1",
        "--set",
        "server.body_idle_timeout=2s",
        "--set",
        "server.header_timeout=1h",
    ]);
    let file = server.folder().join("large");
    std::fs::write(&file, vec![7; 1 << 20]).unwrap();
    let path = large_file_link(&server, &file);
    let (mut sender, connection) = takes_little_ahead(&server, &trusted).await;
    let request = http::Request::get(format!("https://{}{path}", server.address()));
    let answer = sender
        .send_request(request.body(Empty::new()).unwrap())
        .await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    // The body is held and not read; pings are answered all the while.
    let ended = tokio::time::timeout(SOON, connection).await;
    assert!(ended.is_ok(), "the connection stayed open");
    drop(answer);
}

/// A form post over HTTP/2 as who runs `pillarbox dev` signs it.
fn post(server: &Server, key: &str) -> http::Request<Full<bytes::Bytes>> {
    let mut form = form::Form::new("uploads", key, b"x");
    form.expiration = "2099-01-01T00:00:00Z".to_owned();
    form.sign();
    http::Request::post(format!("https://{}/uploads/", server.address()))
        .header("content-type", form::content_type())
        .body(Full::from(form.encode()))
        .unwrap()
}

/// A page of all files, large because `&` takes five bytes in XML.
fn large_page(server: &Server) -> http::Request<Full<bytes::Bytes>> {
    let address = server.address();
    http::Request::get(format!("https://{address}/v1/files/?limit=5000&format=xml"))
        .header("authorization", "Bearer dev-token")
        .body(Full::default())
        .unwrap()
}

/// An HTTP/2 client that lets the server send so many bytes of each answer.
async fn takes(
    server: &Server,
    trusted: &CertificateDer<'static>,
    window_bytes: u32,
) -> (
    http2::SendRequest<Full<bytes::Bytes>>,
    JoinHandle<hyper::Result<()>>,
) {
    let version = &rustls::version::TLS13;
    let stream = handshake(server, trusted, version, b"h2").await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window_bytes)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

#[tokio::test]
async fn http_2_clients_that_take_nothing_of_large_answers_are_told_to_come_later() {
    const ALL_ANSWERS_BYTES: u64 = 20 << 20;
    // No other limit lets them go.
    let (server, trusted) = tls_dev(&["--set", "server.body_idle_timeout=1h"]);
    let (mut honest, poster) = takes(&server, &trusted, 65_535).await;
    for n in 0..160 {
        let request = post(&server, &format!("{n:03}{}", "&".repeat(1000)));
        let posted = honest.send_request(request).await.unwrap();
        assert_eq!(posted.status(), 204);
    }
    let (hoarder, hoarding) = takes(&server, &trusted, 1).await;
    let pages = (0..60).map(|_| {
        let (mut sender, request) = (hoarder.clone(), large_page(&server));
        async move { sender.send_request(request).await }
    });
    // It may be let go before the last of them is answered.
    let pages = futures_util::future::join_all(pages).await;
    let pages: Vec<_> = pages.into_iter().flatten().collect();
    let lengths = pages.iter().filter(|page| page.status() == 200);
    let lengths: Vec<_> = lengths
        .map(|page| page.body().size_hint().exact().unwrap())
        .collect();
    let held = lengths.iter().sum::<u64>();
    assert!(
        lengths[0] > 500 << 10 && held <= ALL_ANSWERS_BYTES,
        "{lengths:?}"
    );
    // Who takes nothing goes for who was refused.
    let began = Instant::now();
    while honest
        .send_request(large_page(&server))
        .await
        .unwrap()
        .status()
        != 200
    {
        assert!(began.elapsed() < SOON, "the room was not given back");
    }
    assert!(tokio::time::timeout(SOON, hoarding).await.is_ok());
    drop((pages, hoarder));
    poster.abort();
}

/// How many streams at once a new HTTP/2 connection is told that it may have.
async fn streams_offered(server: &Server, trusted: &CertificateDer<'static>) -> u32 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let version = &rustls::version::TLS13;
    let mut stream = handshake(server, trusted, version, b"h2").await.unwrap();
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(hello).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let most = settings.chunks(6).find(|entry| entry[..2] == [0, 3]);
    u32::from_be_bytes(most.unwrap()[2..].try_into().unwrap())
}

#[tokio::test]
async fn an_http_2_connection_that_comes_to_many_others_has_fewer_streams() {
    let (server, trusted) = tls_dev(&[]);
    assert_eq!(streams_offered(&server, &trusted).await, 64);
    let others: Vec<_> = (0..130).map(|_| server.connect()).collect();
    eventually("they are let in", || {
        (server.sockets() >= 130).then_some(())
    });
    assert_eq!(streams_offered(&server, &trusted).await, 8);
    drop(others);
}

#[tokio::test]
async fn an_http_2_client_that_reads_slowly_gets_every_byte() {
    let (server, trusted) = tls_server(&[
        "--set",
        "server.body_idle_timeout=2s",
        "--set",
        "server.header_timeout=2s",
    ]);
    let file = server.folder().join("large");
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    std::fs::write(&file, &bytes).unwrap();
    let path = large_file_link(&server, &file);
    let (mut sender, connection) = takes_little_ahead(&server, &trusted).await;
    let request = http::Request::get(format!("https://{}{path}", server.address()));
    let answer = sender
        .send_request(request.body(Empty::new()).unwrap())
        .await;
    let mut body = answer.unwrap().into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.unwrap_or_else(|error| panic!("after {} bytes: {error:?}", read.len()));
        let data = frame.into_data().unwrap();
        read.extend_from_slice(&data);
        // 500 KB a second: the whole takes several times the limits. Not so long for each frame, for they become ever smaller (each that is
        // taken makes room for one like it), and who takes a few bytes now and then is too slow.
        tokio::time::sleep(Duration::from_micros(2 * data.len() as u64)).await;
    }
    assert!(read == bytes, "{} of {} bytes", read.len(), bytes.len());
    connection.abort();
}

#[test]
fn a_client_that_reads_slowly_gets_every_byte() {
    let server = Server::dev(&[
        "--set",
        "server.body_idle_timeout=2s",
        "--set",
        "server.header_timeout=2s",
    ]);
    let file = server.folder().join("large");
    std::fs::write(&file, vec![7; 24 << 20]).unwrap();
    let link = uploaded_link(&server, &file);
    let mut stream = server.connect();
    let head = format!(
        "GET {link} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut read = 0;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            length => read += length,
        }
        // The system holds a few MiB of it; what is left takes longer than the limits, and each piece a small part of one.
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(read > 24 << 20, "{read}");
}

/// As [`uploaded_link`], on a server with TLS: the upload brings its own token and pipeline.
fn large_file_link(server: &Server, file: &Path) -> String {
    let made = |arguments: &[&str]| {
        let output = server.verb(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    };
    let (token, pipeline) = (
        made(&["token", "create"]),
        made(&["pipeline", "create", "films"]),
    );
    let certificate = server.folder().join("cert.pem");
    let certificate = certificate.to_str().unwrap();
    let localhost = server.public.replace("127.0.0.1", "localhost");
    let file = file.to_str().unwrap();
    let mut upload = pillarbox();
    upload.args([
        "upload",
        file,
        "--url",
        &localhost,
        "--pipeline",
        &pipeline,
        "--key",
        "large",
    ]);
    upload
        .args(["--parallel", "1", "--cacert", certificate])
        .env("PILLARBOX_TOKEN", &token);
    let uploaded = upload.output().unwrap();
    assert!(uploaded.status.success(), "{}", stderr(&uploaded));
    let target = format!("{localhost}/v1/files/downloads/?object_key=large&pipeline_id={pipeline}");
    let mut curl = std::process::Command::new("curl");
    curl.args([
        "-sS",
        "--cacert",
        certificate,
        "-o",
        "/dev/null",
        "-w",
        "%{redirect_url}",
    ]);
    curl.args([
        "-H",
        &format!("Authorization: Bearer {token}"),
        &format!("{target}&redirect=true"),
    ]);
    let link = stdout(&curl.output().unwrap());
    link.strip_prefix(&localhost).expect(&link).to_owned()
}

#[test]
fn plain_http_on_a_tls_socket_gets_no_answer() {
    let (server, _) = tls_server(&[]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert!(!closed(&mut stream).starts_with(b"HTTP/"));
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_a_bad_one_changes_nothing() {
    let (server, old) = tls_server(&[]);
    let version = &rustls::version::TLS13;
    let before = handshake(&server, &old, version, b"http/1.1")
        .await
        .unwrap();

    let new = certificate(server.folder());
    server.signal(Signal::HUP);
    eventually("the reload", || {
        server.log().contains("certificate reloaded").then_some(())
    });
    assert!(handshake(&server, &new, version, b"http/1.1").await.is_ok());
    assert!(
        handshake(&server, &old, version, b"http/1.1")
            .await
            .is_err()
    );
    assert_eq!(ask_http1(before).await, 403, "an open connection goes on");

    std::fs::write(server.folder().join("cert.pem"), "not a certificate").unwrap();
    server.signal(Signal::HUP);
    eventually("the refusal", || {
        server.log().contains("the old one stays").then_some(())
    });
    assert!(handshake(&server, &new, version, b"http/1.1").await.is_ok());
}

#[test]
fn who_is_told_to_stop_before_it_is_ready_stops() {
    let (mut server, lock) = Server::begin_and_stand_still(tempfile::tempdir().unwrap(), &[]);
    server.signal(Signal::TERM);
    eventually("the stop", || {
        server.log().contains("stopping before").then_some(())
    });
    drop(lock);
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    assert!(!server.folder().join("ports").exists());
}

#[test]
fn a_reload_that_is_asked_for_before_the_server_is_ready_is_done_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let [certificate, key] =
        ["cert.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let flags = ["--certificate", &certificate, "--private-key", &key];
    let (server, lock) = Server::begin_and_stand_still(folder, &flags);
    server.signal(Signal::HUP);
    drop(lock);
    eventually("the reload", || {
        server.log().contains("certificate reloaded").then_some(())
    });
    server.stop();
}

#[test]
fn a_key_that_everybody_can_read_is_warned_of_and_a_private_one_is_not() {
    for (mode, warnings) in [(0o640, 0), (0o644, 1)] {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let key = folder.path().join("key.pem");
        std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let server = tls_server_in(folder, &[]);
        let warned = server.log().matches("chmod o-rwx").count();
        assert_eq!(warned, warnings, "{mode:o}");
    }
}

/// Lets a shell hand `socket` in as systemd would: as descriptor 3, under a name.
fn activated(
    name: &str,
    socket: impl Into<OwnedFd>,
    more: &str,
) -> (std::process::Command, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_pillarbox");
    let data = folder.path().join("data");
    let ports = folder.path().join("ports");
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} exec {binary} serve --data {} --port-file {} \
         --admin-listen 127.0.0.1:0 {more} 3<&0 0</dev/null",
        data.display(),
        ports.display()
    );
    command
        .args(["-c", &script])
        .stdin(Stdio::from(socket.into()));
    (command, folder)
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (command, folder) = activated("http", listener, "2>/dev/full");
    let server = Server::spawn(command, folder);
    for _ in 0..3 {
        assert_eq!(server.get("/v1/files/").0, 403);
    }
}

#[test]
fn a_socket_of_the_service_manager_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (command, folder) = activated("http", listener, "");
    let server = Server::spawn(command, folder);
    assert_eq!(server.address(), address.to_string());
    assert_eq!(server.get("/v1/files/").0, 403);
}

#[test]
fn a_socket_with_an_unknown_name_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut command, _folder) = activated("metrics", listener, "--listen 127.0.0.1:0");
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("\"metrics\""),
        "{}",
        stderr(&refused)
    );
}

#[test]
fn a_socket_on_which_nobody_can_knock_is_refused_and_not_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("socket");
    let sockets: [(&str, OwnedFd); 4] = [
        // As with Accept=yes.
        (
            "a connection",
            TcpStream::connect(listener.local_addr().unwrap())
                .unwrap()
                .into(),
        ),
        ("datagrams", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("a path", UnixListener::bind(unix).unwrap().into()),
        ("a file", tempfile::tempfile().unwrap().into()),
    ];
    for (what, socket) in sockets {
        let (command, folder) = activated("http", socket, "");
        let mut server = Server::begin(command, folder);
        let (ended, told) = (server.wait(), server.log());
        assert_eq!(ended.code(), Some(1), "{what}: {told}");
        assert!(told.contains("\"http\" cannot be used"), "{what}: {told}");
        assert!(told.contains("ListenStream="), "{what}: {told}");
    }
}

#[test]
fn the_service_manager_is_told_of_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let heard = |word: &str| loop {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if text.lines().any(|line| line == word) {
            return text;
        }
    };
    let mut command = pillarbox();
    command
        .arg("serve")
        .arg("--data")
        .arg(folder.path().join("data"));
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let mut server = Server::start(command, folder);
    heard("READY=1");
    heard("WATCHDOG=1");
    server.signal(Signal::HUP);
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");
    let _under_way = half_a_request(&server);
    server.signal(Signal::TERM);
    heard("STOPPING=1");
    // As often as it takes, for the unit does not know server.shutdown_timeout.
    heard("EXTEND_TIMEOUT_USEC=60000000");
    server.signal(Signal::TERM);
    heard("EXTEND_TIMEOUT_USEC=95000000");
    assert!(server.wait().success());
}

#[test]
fn the_log_is_json_when_asked_for() {
    let mut command = pillarbox();
    command.args(["dev", "--log-format", "json"]);
    // As of a service that starts us and has our log in a file.
    command.env("JOURNAL_STREAM", "1:2");
    let server = Server::start(command, tempfile::tempdir().unwrap());
    server.get("/v1/files/");
    let log = server.stop();
    let text = std::fs::read_to_string(log.path().join("stderr")).unwrap();
    assert!(!text.is_empty());
    for line in text.lines() {
        let entry: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
    }
    assert!(text.contains("pillarbox::access"));
}
