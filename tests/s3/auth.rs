//! Who signed an S3 request, over HTTP: a valid request and one change of it. Version 2 is signed here by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::{sigv4, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Version};
use pillarbox::api::body::RequestBody;
use pillarbox::model::Md5;
use ring::hmac;
use sigv4::{KEY_ID, SCOPE, SECRET, Signed, code, element, encode, sha256};
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
        (
            "absolute, another header",
            local,
            "http://localhost:7080",
            "other.localhost",
            "",
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
async fn what_a_url_of_version_2_says_of_its_body_is_what_is_stored() {
    let rig = Rig::new().await;
    let md5 = STANDARD.encode(Md5::of(BYTES.as_bytes()).as_bytes());
    let signed = v2_query("PUT", (&format!("{md5}\ntext/plain"), ""), "/uploads/a");
    let uri = |md5: &str, kind: &str| {
        format!(
            "/uploads/a?content-md5={}&Content-Type={}&{signed}",
            encode(md5),
            encode(kind)
        )
    };
    let right = uri(&md5, "text/plain");
    let other_md5 = STANDARD.encode(Md5::of(b"other").as_bytes());
    let mismatch = "SignatureDoesNotMatch";
    for (what, uri, header, body, expected) in [
        ("another body", &right, None, "another body", "BadDigest"),
        (
            "another MD5",
            &uri(&other_md5, "text/plain"),
            None,
            "other",
            mismatch,
        ),
        (
            "another type",
            &uri(&md5, "text/html"),
            None,
            BYTES,
            mismatch,
        ),
        (
            "another type in a header",
            &right,
            Some("text/html"),
            BYTES,
            mismatch,
        ),
        (
            "neither",
            &format!("/uploads/a?{signed}"),
            None,
            BYTES,
            mismatch,
        ),
        ("all of it", &right, None, BYTES, ""),
        ("and in a header", &right, Some("text/plain"), BYTES, ""),
    ] {
        let length = body.len().to_string();
        let mut headers = vec![("content-length", length.as_str())];
        headers.extend(header.map(|kind| ("content-type", kind)));
        let answer = rig.request("PUT", uri, &headers, body).await;
        assert_eq!(code(&answer), expected, "{what}");
        let stored = Signed::new("GET", "/uploads/a").send(&rig).await;
        match expected {
            "" => assert_eq!(stored.header("content-type"), "text/plain", "{what}"),
            _ => assert_eq!(stored.status, 404, "{what}"),
        }
    }
}

#[tokio::test]
async fn in_version_2_an_object_is_not_its_name_with_a_slash_behind_it() {
    let rig = with_objects(&["/uploads/dir", "/uploads/dir/"]).await;
    for (sent, resource, status) in [
        ("/uploads%2Fdir", "/uploads/dir/", 403),
        ("/uploads/dir", "/uploads/dir/", 403),
        ("/uploads/dir/", "/uploads/dir", 403),
        ("/uploads/dir", "/uploads/dir", 200),
        ("/uploads%2Fdir", "/uploads/dir", 200),
        ("/uploads/dir/", "/uploads/dir/", 200),
        ("/uploads", "/uploads/", 200),
        ("/uploads/", "/uploads/", 200),
    ] {
        let uri = format!("{sent}?{}", v2_query("GET", ("\n", ""), resource));
        let answer = rig.request("GET", &uri, &[], "").await;
        assert_eq!(answer.status, status, "{sent} by {resource}");
        let answer = send_v2(&rig, ("GET", sent), resource, &[], "").await;
        assert_eq!(answer.status, status, "{sent} by {resource}");
    }
    let uri = format!(
        "/uploads%2Fdir?{}",
        v2_query("DELETE", ("\n", ""), "/uploads/dir/")
    );
    let answer = rig.request("DELETE", &uri, &[], "").await;
    assert_eq!(code(&answer), "SignatureDoesNotMatch");
    assert_eq!(text_at(&rig, "/uploads/dir").await, "/uploads/dir");
}

#[tokio::test]
async fn in_version_2_blanks_inside_a_header_are_signed_as_they_are() {
    let rig = Rig::new().await;
    let put = ("PUT", "/uploads/a");
    let title = [("x-amz-meta-title", "a  b")];
    let answer = send_v2(&rig, put, "/uploads/a", &title, BYTES).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stored = Signed::new("HEAD", "/uploads/a").send(&rig).await;
    assert_eq!(stored.header("x-amz-meta-title"), "a  b");
    let lines = ("\n", "x-amz-meta-title:a  b\n");
    let query = v2_query("PUT", lines, "/uploads/b");
    for (value, expected) in [("a%20%20b", ""), ("a%20b", "SignatureDoesNotMatch")] {
        let uri = format!("/uploads/b?x-amz-meta-title={value}&{query}");
        let length = [("content-length", "0")];
        let answer = rig.request("PUT", &uri, &length, "").await;
        assert_eq!(code(&answer), expected, "{value}");
    }
}

#[tokio::test]
async fn in_version_2_a_url_makes_one_header_of_one_parameter() {
    let rig = with_objects(&["/uploads/a"]).await;
    let lines = ("\n", "x-amz-meta-a:1\nx-amz-meta-b:2\n");
    let query = v2_query("GET", lines, "/uploads/a");
    for (parameters, expected) in [
        ("x-amz-meta-a=1&x-amz-meta-b=2", ""),
        ("x-amz-meta-a=1%0Ax-amz-meta-b:2", "InvalidArgument"),
        ("x-amz-meta-a:1%0Ax-amz-meta-b=2", "InvalidArgument"),
    ] {
        let uri = format!("/uploads/a?{parameters}&{query}");
        let answer = rig.request("GET", &uri, &[], "").await;
        assert_eq!(code(&answer), expected, "{parameters}");
    }
}

#[tokio::test]
async fn in_version_2_no_parameter_that_is_not_signed_chooses_what_is_done() {
    let rig = with_objects(&["/uploads/a"]).await;
    for (parameter, expected) in [
        ("anything=1", ""),
        ("attributes", "AccessDenied"),
        ("attributes=", "AccessDenied"),
        ("encryption", "AccessDenied"),
    ] {
        let query = v2_query("GET", ("\n", ""), "/uploads/a");
        let uri = format!("/uploads/a?{parameter}&{query}");
        let answer = rig.request("GET", &uri, &[], "").await;
        assert_eq!(code(&answer), expected, "{parameter}");
    }
}

#[tokio::test]
async fn in_version_2_the_path_of_the_public_url_is_no_part_of_a_key_below_a_buckets_host() {
    let rig = Rig::with(|options| {
        options.public_url = Some("http://files.example.com/box".to_owned());
    })
    .await;
    let host = [("host", "uploads.files.example.com")];
    for (resource, expected) in [
        ("/uploads/k", ""),
        ("/uploads/box/k", "SignatureDoesNotMatch"),
        ("/box/uploads/k", "SignatureDoesNotMatch"),
    ] {
        for path in ["/k", "/box/k"] {
            let answer = send_v2(&rig, ("PUT", path), resource, &host, BYTES).await;
            assert_eq!(code(&answer), expected, "{path} by {resource}");
        }
    }
    for path in ["/uploads/k", "/box/uploads/k"] {
        let answer = send_v2(&rig, ("GET", "/uploads/k"), path, &[], "").await;
        assert_eq!(answer.text(), BYTES, "{path}");
    }
}

#[tokio::test]
async fn in_version_4_what_was_signed_with_the_path_of_the_public_url_opens_no_key_that_begins_like_it()
 {
    let rig = Rig::with(|options| {
        options.public_url = Some("http://files.example.com/box".to_owned());
    })
    .await;
    let host = "uploads.files.example.com";
    for key in ["/uploads/k", "/uploads/box/k"] {
        let put = Signed::new("PUT", key).body(BYTES);
        assert_eq!(put.send(&rig).await.status, 200, "{key}");
    }
    // Signed as a client does that knows the public URL; asked for as another one would write the path.
    for (path, expected) in [
        ("/box/k", ""),
        ("/k", ""),
        ("/%62ox/k", "SignatureDoesNotMatch"),
        ("/box/box/k", "SignatureDoesNotMatch"),
    ] {
        let signed = Signed::new("GET", "/box/k").host(host).authorized();
        let headers: Vec<_> = signed.iter().map(|(n, v)| (&**n, &**v)).collect();
        let answer = rig.request("GET", path, &headers, "").await;
        assert_eq!(code(&answer), expected, "{path}");
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
    let (encoding, length) = ("content-encoding", "x-amz-decoded-content-length");
    let unsigned = || new().payload("UNSIGNED-PAYLOAD");
    for (what, request) in [
        ("digest, length", new().header(length, "9")),
        (
            "digest, both",
            new()
                .header(encoding, "gzip, aws-chunked")
                .header(length, "9"),
        ),
        ("unsigned", unsigned().header(encoding, "gzip, AWS-chunked")),
        ("unsigned, length", unsigned().header(length, "9")),
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
    let presigned = new().unsigned(encoding, "aws-chunked");
    let answer = presigned.send_presigned(&rig, 60).await;
    assert_eq!(code(&answer), "InvalidArgument", "presigned");
    let put = ("PUT", "/uploads/a");
    for (name, value) in [(length, "9"), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")] {
        let headers = [(name, value), (encoding, "aws-chunked")];
        let answer = send_v2(&rig, put, "/uploads/a", &headers, framed).await;
        assert_eq!(code(&answer), "InvalidArgument", "version 2, {name}");
    }
    assert_eq!(
        Signed::new("GET", "/uploads/a").send(&rig).await.status,
        404
    );
}

#[tokio::test]
async fn a_whole_body_may_be_said_to_come_in_chunks_beside_its_digest_and_in_version_2() {
    let rig = Rig::new().await;
    let encoding = "content-encoding";
    for (sent, stored) in [
        ("gzip, aws-chunked", "gzip"),
        ("aws-chunked, gzip, AWS-chunked", "gzip"),
        ("aws-chunked", ""),
    ] {
        let put = Signed::new("PUT", "/uploads/a").body(BYTES);
        let answer = put.header(encoding, sent).send(&rig).await;
        assert_eq!(answer.status, 200, "{sent}: {}", answer.text());
        let got = Signed::new("GET", "/uploads/a").send(&rig).await;
        assert_eq!(got.text(), BYTES, "{sent}");
        assert_eq!(got.header(encoding), stored, "{sent}");

        let (put, headers) = (("PUT", "/uploads/b"), [(encoding, sent)]);
        let answer = send_v2(&rig, put, "/uploads/b", &headers, BYTES).await;
        assert_eq!(answer.status, 200, "version 2, {sent}: {}", answer.text());
        let got = Signed::new("GET", "/uploads/b").send(&rig).await;
        assert_eq!(got.text(), BYTES, "version 2, {sent}");
        assert_eq!(got.header(encoding), stored, "version 2, {sent}");
    }
    let (put, other) = (Signed::new("PUT", "/uploads/a"), "another body");
    let answer = put.header(encoding, "aws-chunked").payload(&sha256(b"x"));
    let answer = answer.body(other).send(&rig).await;
    assert_eq!(code(&answer), "XAmzContentSHA256Mismatch");
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
        ("PUT", "/uploads/a?12345678"),
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
        ("GET", "/uploads/a?12345678"),
        ("HEAD", "/uploads/a?v1.2"),
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

#[tokio::test]
async fn the_date_header_stands_for_the_one_of_amazon() {
    let rig = with_objects(&["/uploads/a"]).await;
    let request = Signed::new("GET", "/uploads/a");
    for (sent, expected) in [
        (DATE, ""),
        ("20261122T132000Z", ""),
        ("Sun, 22 Nov 2026 13:20:01 GMT", "SignatureDoesNotMatch"),
        ("Sun, 22 Nov 2026 13:40:00 GMT", "RequestTimeTooSkewed"),
        ("yesterday", "AccessDenied"),
    ] {
        let hash = sha256(b"");
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = [
            owned("date", sent),
            owned("host", support::HOST),
            owned("x-amz-content-sha256", &hash),
        ];
        let signature = request.signature(&headers, "", &hash);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/{SCOPE}, SignedHeaders=date;host;x-amz-content-sha256, Signature={signature}"
        );
        let mut sent_headers = vec![("authorization", authorization.as_str())];
        sent_headers.extend(headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let answer = rig.request("GET", "/uploads/a", &sent_headers, "").await;
        assert_eq!(code(&answer), expected, "{sent}");
    }
}

#[tokio::test]
async fn a_signature_that_does_not_match_comes_with_what_was_to_be_signed() {
    let rig = with_objects(&["/uploads/a"]).await;
    let mut request = Signed::new("GET", "/uploads/a?versionId=null");
    request.secret = "wrong".to_owned();
    for answer in [
        request.send(&rig).await,
        request.send_presigned(&rig, 60).await,
    ] {
        assert_eq!(answer.status, 403);
        assert_eq!(code(&answer), "SignatureDoesNotMatch");
        assert_eq!(element(&answer, "AWSAccessKeyId"), KEY_ID);
        let text = element(&answer, "StringToSign");
        assert!(
            text.starts_with("AWS4-HMAC-SHA256\n20261122T132000Z\n"),
            "{text}"
        );
        let canonical = element(&answer, "CanonicalRequest");
        assert!(canonical.starts_with("GET\n/uploads/a\n"), "{canonical}");
        assert!(canonical.contains("versionId=null"), "{canonical}");
        assert!(text.ends_with(&sha256(canonical.replace("&amp;", "&").as_bytes())));
        assert!(element(&answer, "StringToSignBytes").starts_with("41 57 53 34"));
        assert!(!element(&answer, "SignatureProvided").is_empty());
    }
    let uri = format!("/uploads/a?{}", v2_query("GET", ("\n", ""), "/uploads/b"));
    let answer = rig.request("GET", &uri, &[], "").await;
    let expires = NOW.seconds() + 60;
    assert_eq!(
        element(&answer, "StringToSign"),
        format!("GET\n\n\n{expires}\n/uploads/a")
    );
}

#[tokio::test]
async fn a_header_that_every_signature_needs_is_named_when_it_is_missing() {
    let rig = Rig::new().await;
    let (headers, signature) = Signed::new("GET", "/uploads").seed();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={KEY_ID}/{SCOPE}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    );
    let mut sent = vec![("authorization", authorization.as_str())];
    let kept = headers
        .iter()
        .filter(|(name, _)| name != "x-amz-content-sha256");
    sent.extend(kept.map(|(n, v)| (n.as_str(), v.as_str())));
    let answer = rig.request("GET", "/uploads", &sent, "").await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "InvalidRequest")
    );
    assert_eq!(
        element(&answer, "Message"),
        "Missing required header for this request: x-amz-content-sha256"
    );
}

#[tokio::test]
async fn an_empty_parameter_is_signed_in_version_2_as_its_name_or_as_it_was_sent() {
    let rig = Rig::new().await;
    for (sent, signed, status) in [
        ("/uploads?location", "/uploads?location", 200),
        ("/uploads?location=", "/uploads?location", 200),
        ("/uploads?location=", "/uploads?location=", 200),
        ("/uploads?location", "/uploads?location=", 403),
        ("/uploads?location=", "/uploads?acl", 403),
    ] {
        let answer = send_v2(&rig, ("GET", sent), signed, &[], "").await;
        assert_eq!(answer.status, status, "{sent}: {}", answer.text());
    }
}
