//! Who signed an S3 request, over HTTP: a valid request and one change of it. Version 2 is signed here by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

#[path = "support/sigv4.rs"]
mod sigv4;
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Version};
use pillarbox::api::body::RequestBody;
use pillarbox::model::Md5;
use ring::hmac;
use sigv4::{KEY_ID, SCOPE, SECRET, Signed, code, element, encode};
use support::{Answer, NOW, Rig, connection};

const BYTES: &str = "the bytes of the object";
/// The time of the tests, as a header of HTTP.
const DATE: &str = "Sun, 22 Nov 2026 13:20:00 GMT";

/// The signature of Version 2.
fn sign_v2(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

/// The query of a URL of Version 2 that lives a minute. `lines` are what is signed between method and time, and between time and
/// resource.
fn v2_query(method: &str, lines: (&str, &str), resource: &str) -> String {
    let expires = NOW.seconds() + 60;
    let text = format!("{method}\n{}\n{expires}\n{}{resource}", lines.0, lines.1);
    let signature = encode(&sign_v2(&text));
    format!("AWSAccessKeyId={KEY_ID}&Signature={signature}&Expires={expires}")
}

/// A request with a signature of Version 2 over these headers and this resource.
async fn send_v2(
    rig: &Rig,
    (method, path): (&str, &str),
    resource: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let amz = headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-"));
    let amz = amz.map(|(name, value)| format!("{name}:{value}\n"));
    let text = format!(
        "{method}\n\n\n{DATE}\n{}{resource}",
        amz.collect::<String>()
    );
    let authorization = format!("AWS {KEY_ID}:{}", sign_v2(&text));
    let length = body.len().to_string();
    let mut sent = vec![
        ("authorization", authorization.as_str()),
        ("date", DATE),
        ("content-length", &length),
    ];
    sent.extend(headers);
    rig.request(method, path, &sent, body).await
}

async fn with_objects(paths: &[&str]) -> Rig {
    let rig = Rig::new().await;
    for bucket in ["/films", "/other"] {
        let made = Signed::new("PUT", bucket).send(&rig).await;
        assert_eq!(made.status, 200);
    }
    for path in paths {
        let put = Signed::new("PUT", path).body(*path).send(&rig).await;
        assert_eq!(put.status, 200, "{path}: {}", put.text());
    }
    rig
}

async fn text_at(rig: &Rig, path: &str) -> String {
    Signed::new("GET", path).send(rig).await.text()
}

#[tokio::test]
async fn the_host_that_was_signed_is_the_host_that_is_acted_on() {
    let rig = with_objects(&["/films/k", "/other/films/k"]).await;
    let local = "localhost:7080";
    for (what, signed, target, header, expected) in [
        ("plain", local, "", local, ""),
        ("absolute", local, "http://localhost:7080", local, ""),
        (
            "absolute, another header",
            local,
            "http://localhost:7080",
            "other.localhost",
            "",
        ),
        (
            "another bucket",
            local,
            "http://other.localhost",
            local,
            "SignatureDoesNotMatch",
        ),
        (
            "another name",
            local,
            "http://127.0.0.1:7080",
            local,
            "SignatureDoesNotMatch",
        ),
        (
            "the bucket left out",
            "other.localhost",
            "http://localhost:7080",
            "other.localhost",
            "SignatureDoesNotMatch",
        ),
    ] {
        let signed = |method: &str| Signed::new(method, "/films/k").host(signed);
        for method in ["GET", "DELETE"] {
            let uri = format!("{target}/films/k?{}", signed(method).presigned(60));
            let answer = rig.request(method, &uri, &[("host", header)], "").await;
            assert_eq!(code(&answer), expected, "{what}: {method} by URL");
            let uri = format!("{target}/films/k");
            let (mut headers, signature) = signed(method).seed();
            headers.retain(|(name, _)| name != "host");
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential={KEY_ID}/{SCOPE}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
            );
            let mut sent = vec![("host", header), ("authorization", &authorization)];
            sent.extend(headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let answer = rig.request(method, &uri, &sent, "").await;
            let gone = method == "DELETE" && expected.is_empty();
            assert!(
                code(&answer) == expected || gone,
                "{what}: {method} by header"
            );
        }
        if expected.is_empty() {
            let put = Signed::new("PUT", "/films/k")
                .body("/films/k")
                .send(&rig)
                .await;
            assert_eq!(put.status, 200);
        }
        assert_eq!(
            text_at(&rig, "/other/films/k").await,
            "/other/films/k",
            "{what}"
        );
        assert_eq!(text_at(&rig, "/films/k").await, "/films/k", "{what}");
    }
}

#[tokio::test]
async fn over_http_2_the_authority_is_signed() {
    let rig = with_objects(&["/films/k", "/other/films/k"]).await;
    for (authority, header, expected) in [
        ("localhost:7080", None, ""),
        ("localhost:7080", Some("LOCALHOST:7080"), ""),
        ("other.localhost", None, "SignatureDoesNotMatch"),
    ] {
        let query = Signed::new("GET", "/films/k")
            .host("localhost:7080")
            .presigned(60);
        let uri = format!("http://{authority}/films/k?{query}");
        let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
        if let Some(header) = header {
            request = request.header("host", header);
        }
        let request = request.body(RequestBody::whole("")).unwrap();
        let answer = Answer::read(rig.app.handle(request, connection()).await).await;
        assert_eq!(code(&answer), expected, "{authority}, {header:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_ours_is_no_bucket_of_a_shorter_one() {
    let rig = Rig::with(|options| {
        options.public_url = Some("https://s3.example.com".to_owned());
        options.hosts = vec!["example.com".to_owned()];
    })
    .await;
    for (host, path) in [
        ("s3.example.com", "/uploads?location"),
        ("example.com", "/uploads?location"),
        ("uploads.s3.example.com", "/?location"),
        ("uploads.example.com", "/?location"),
    ] {
        let answer = Signed::new("GET", path).host(host).send(&rig).await;
        assert_eq!(answer.status, 200, "{host}{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_framing_of_chunks_is_never_stored() {
    let rig = Rig::new().await;
    let framed = "9\r\n123456789\r\n0\r\n\r\n";
    let new = || Signed::new("PUT", "/uploads/a").body(framed);
    let length = "x-amz-decoded-content-length";
    for (what, request) in [
        (
            "digest",
            new().header("content-encoding", "gzip, AWS-chunked"),
        ),
        ("digest, length", new().header(length, "9")),
        (
            "unsigned",
            new()
                .payload("UNSIGNED-PAYLOAD")
                .header("content-encoding", "aws-chunked"),
        ),
        (
            "unsigned, length",
            new().payload("UNSIGNED-PAYLOAD").header(length, "9"),
        ),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(answer.status, 400, "{what}");
        assert_eq!(code(&answer), "InvalidArgument", "{what}");
        assert_eq!(
            element(&answer, "ArgumentName"),
            "Content-Encoding",
            "{what}"
        );
    }
    let put = ("PUT", "/uploads/a");
    let headers = [("content-encoding", "aws-chunked")];
    let answer = send_v2(&rig, put, "/uploads/a", &headers, framed).await;
    assert_eq!(code(&answer), "InvalidArgument");
    assert_eq!(
        Signed::new("GET", "/uploads/a").send(&rig).await.status,
        404
    );
}

#[tokio::test]
async fn an_operation_that_nobody_here_knows_is_not_done_as_another_one() {
    let rig = with_objects(&["/uploads/a"]).await;
    for (method, path) in [
        ("PUT", "/cinema?abac"),
        ("PUT", "/cinema?abac="),
        ("PUT", "/cinema?metadataInventoryTable"),
        ("PUT", "/cinema?prefix"),
        ("GET", "/uploads?metadataTable"),
        ("GET", "/uploads?versionId"),
        ("DELETE", "/films?metadataConfiguration"),
        ("HEAD", "/uploads?metadataTable"),
        ("GET", "/uploads/a?annotations"),
        ("PUT", "/uploads/a?annotation&name=b"),
        ("DELETE", "/uploads/a?annotation&name=b"),
        ("GET", "/?acl"),
        ("GET", "/?summary"),
    ] {
        let answer = Signed::new(method, path).send(&rig).await;
        assert_eq!(answer.status, 501, "{method} {path}");
        if method != "HEAD" {
            assert_eq!(code(&answer), "NotImplemented", "{method} {path}");
        }
    }
    assert_eq!(
        code(&Signed::new("GET", "/cinema").send(&rig).await),
        "NoSuchBucket"
    );
    assert_eq!(
        text_at(&rig, "/films").await.matches("<Name>films").count(),
        1
    );
    assert_eq!(text_at(&rig, "/uploads/a").await, "/uploads/a");
}

#[tokio::test]
async fn what_clients_put_into_a_query_besides_is_passed_over() {
    let rig = with_objects(&["/uploads/a"]).await;
    for (method, path) in [
        ("GET", "/?x-id=ListBuckets"),
        ("GET", "/?prefix=&max-buckets=5"),
        (
            "GET",
            "/uploads?delimiter=&encoding-type=url&list-type=2&max-keys=1000&prefix=",
        ),
        (
            "GET",
            "/uploads?fetch-owner=&list-type=2&start-after=&metadata=true",
        ),
        ("GET", "/uploads?max-keys=&marker=&prefix="),
        ("GET", "/uploads?versions&key-marker=&version-id-marker="),
        ("GET", "/uploads/a?x-id=GetObject&response-content-type="),
        ("GET", "/uploads/a?download=1"),
        ("HEAD", "/uploads/a?versionId=null"),
        ("PUT", "/uploads/a?x-id=PutObject&utm_source=mail"),
    ] {
        let answer = Signed::new(method, path).send(&rig).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
    let url = Signed::new(
        "GET",
        "/uploads/a?x-amz-checksum-mode=ENABLED&x-id=GetObject",
    );
    assert_eq!(url.send_presigned(&rig, 60).await.status, 200);
}

