//! The S3 dialect, over HTTP: who may, objects in and out, every way a body can come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{form, sigv4, support};
use http::Request;
use pillarbox::api::body::RequestBody;
use sigv4::{DATE, SCOPE, Signed, code, element, sha256};
use support::{Answer, Rig};

const BYTES: &[u8] = b"the bytes of the object";

async fn put(rig: &Rig, path: &str, bytes: &[u8]) -> Answer {
    let answer = Signed::new("PUT", path).body(bytes).send(rig).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

async fn get(rig: &Rig, path: &str) -> Answer {
    Signed::new("GET", path).send(rig).await
}

#[tokio::test]
async fn what_was_put_is_got_as_it_was_stored() {
    let rig = Rig::new().await;
    let answer = Signed::new("PUT", "/uploads/a/b.html")
        .header("content-type", "text/html; charset=utf-8")
        .header("cache-control", "max-age=60")
        .header("content-disposition", "inline")
        .header("x-amz-meta-colour", "red")
        .header("x-amz-storage-class", "STANDARD_IA")
        .header("x-amz-tagging", "by=me&for=you")
        .header("x-amz-checksum-crc32", "y/Q5Jg==")
        .body("123456789")
        .send(&rig)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header("etag"),
        "\"25f9e794323b453885f5181f1b624d0b\""
    );
    assert_eq!(answer.header("x-amz-checksum-crc32"), "y/Q5Jg==");
    for method in ["GET", "HEAD"] {
        let answer = Signed::new(method, "/uploads/a/b.html").send(&rig).await;
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "max-age=60"),
            ("content-disposition", "inline"),
            ("x-amz-meta-colour", "red"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-tagging-count", "2"),
            ("etag", "\"25f9e794323b453885f5181f1b624d0b\""),
            ("content-length", "9"),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), value, "{method} {name}");
        }
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("sandbox")
        );
        assert_eq!(answer.header("x-amz-checksum-crc64nvme"), "");
        assert_eq!(answer.header("x-amz-version-id"), "");
        let body = if method == "GET" { "123456789" } else { "" };
        assert_eq!(answer.text(), body);
    }
    let answer = Signed::new("GET", "/uploads/a/b.html")
        .header("x-amz-checksum-mode", "ENABLED")
        .send(&rig)
        .await;
    assert_eq!(answer.header("x-amz-checksum-crc64nvme"), "");
    assert_eq!(answer.header("x-amz-checksum-crc32"), "y/Q5Jg==");
}

#[tokio::test]
async fn an_object_of_a_form_is_read_over_s3_and_the_other_way_round() {
    let rig = Rig::new().await;
    let mut form = form::Form::new("uploads", "in/a.bin", BYTES);
    form.sign();
    let content_type = form::content_type();
    let headers = [("content-type", content_type.as_str())];
    let posted = rig
        .request("POST", "/uploads", &headers, form.encode())
        .await;
    assert_eq!(posted.status, 204, "{}", posted.text());
    let answer = get(&rig, "/uploads/in/a.bin").await;
    assert_eq!(answer.body, BYTES);
    assert_eq!(answer.header("content-type"), "binary/octet-stream");
    put(&rig, "/uploads/b.bin", BYTES).await;
    let listed = rig.ask("GET", "/v1/files/?sort=name").await;
    assert_eq!(listed.json()["total"], 2);
}

#[tokio::test]
async fn ranges_and_conditions_are_kept() {
    let rig = Rig::new().await;
    let stored = put(&rig, "/uploads/a", BYTES).await;
    let etag = stored.header("etag").to_owned();
    let ask = |name: &str, value: &str| Signed::new("GET", "/uploads/a").header(name, value);
    let answer = ask("range", "bytes=4-8").send(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (206, "bytes")
    );
    assert_eq!(answer.header("content-range"), "bytes 4-8/23");
    let answer = ask("range", "bytes=99-").send(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (416, "InvalidRange")
    );
    let head = |range: &str| Signed::new("HEAD", "/uploads/a").header("range", range);
    let answer = head("bytes=4-8").send(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-length")),
        (206, "5")
    );
    assert_eq!(answer.header("content-range"), "bytes 4-8/23");
    let answer = head("bytes=99-").send(&rig).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (416, ""));
    assert_eq!(ask("if-none-match", &etag).send(&rig).await.status, 304);
    assert_eq!(ask("if-match", &etag).send(&rig).await.status, 200);
    let answer = ask("if-match", "\"other\"").send(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (412, "PreconditionFailed")
    );
}

#[tokio::test]
async fn whoever_signs_nothing_gets_nothing() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a", BYTES).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/uploads"),
        ("GET", "/uploads/a"),
        ("GET", "/uploads/nothing"),
        ("GET", "/nowhere/a"),
        ("PUT", "/uploads/a"),
        ("PUT", "/new-bucket"),
        ("DELETE", "/uploads/a"),
        ("DELETE", "/uploads"),
        ("POST", "/uploads?delete"),
        ("POST", "/uploads/a?uploads"),
        ("PATCH", "/uploads/a"),
    ] {
        let answer = rig.request(method, path, &[], "").await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (403, "AccessDenied"),
            "{method} {path}"
        );
    }
    let bearer = [("authorization", "Bearer dev-token")];
    let answer = rig.request("GET", "/uploads/a", &bearer, "").await;
    assert_eq!(code(&answer), "InvalidArgument");
    let mut wrong = Signed::new("GET", "/uploads/a");
    wrong.secret = "wrong".to_owned();
    let answer = wrong.send(&rig).await;
    assert_eq!(code(&answer), "SignatureDoesNotMatch");
    assert!(element(&answer, "CanonicalRequest").starts_with("GET\n/uploads/a\n"));
    assert_eq!(get(&rig, "/uploads/a").await.body, BYTES);
}

#[tokio::test]
async fn a_form_is_never_taken_for_a_signed_request() {
    let rig = Rig::new().await;
    let mut form = form::Form::new("uploads", "in/a.bin", BYTES);
    form.sign();
    let content_type = form::content_type();
    for path in [
        "/uploads/in/a.bin",
        "/uploads/in/a.bin?uploads",
        "/",
        "/uploads?delete",
    ] {
        for kind in [content_type.as_str(), "Multipart/Form-Data; boundary=x"] {
            let signed = Signed::new("POST", path)
                .header("content-type", kind)
                .body(form.encode());
            let answer = signed.send(&rig).await;
            assert_eq!(answer.status, 405, "{path}");
            let answer = rig
                .request("POST", path, &[("content-type", kind)], form.encode())
                .await;
            assert_eq!(answer.status, 405, "{path}");
        }
    }
    // A signature in a header opens nothing for a form that nobody signed.
    let unsigned = form::Form::new("uploads", "in/b.bin", BYTES);
    let answer = Signed::new("POST", "/uploads")
        .header("content-type", &content_type)
        .body(unsigned.encode())
        .send(&rig)
        .await;
    assert_eq!(code(&answer), "AccessDenied");
}

#[tokio::test]
async fn a_presigned_url_does_what_it_was_signed_for_while_it_lives() {
    let rig = Rig::new().await;
    let upload = Signed::new("PUT", "/uploads/a").body(BYTES);
    let answer = upload.send_presigned(&rig, 60).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = Signed::new("GET", "/uploads/a?response-content-type=text/plain");
    let answer = read.send_presigned(&rig, 60).await;
    assert_eq!(
        (answer.body.as_slice(), answer.header("content-type")),
        (BYTES, "text/plain")
    );
    let copy = upload
        .clone()
        .unsigned("x-amz-copy-source", "/uploads/secret");
    assert_eq!(code(&copy.send_presigned(&rig, 60).await), "AccessDenied");
    let acl = upload.clone().unsigned("x-amz-acl", "private");
    assert_eq!(code(&acl.send_presigned(&rig, 60).await), "AccessDenied");
    rig.advance(Duration::from_secs(61));
    let answer = read.send_presigned(&rig, 60).await;
    assert_eq!(element(&answer, "Message"), "Request has expired");
}

#[tokio::test]
async fn headers_in_the_query_of_a_presigned_url_are_those_of_its_signer() {
    let rig = Rig::new().await;
    let upload = Signed::new(
        "PUT",
        "/uploads/a?x-amz-meta-by=me&x-amz-checksum-crc32=AAAAAA==",
    );
    let answer = upload.clone().body(BYTES).send_presigned(&rig, 60).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(get(&rig, "/uploads/a").await.header("x-amz-meta-by"), "me");
    let read = Signed::new("GET", "/uploads/a?x-amz-checksum-mode=ENABLED");
    let answer = read.send_presigned(&rig, 60).await;
    assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
    // Signed in a header, a query is a query.
    assert_eq!(upload.body(BYTES).send(&rig).await.status, 200);
    assert_eq!(get(&rig, "/uploads/a").await.header("x-amz-meta-by"), "");
}

#[tokio::test]
async fn nothing_is_stored_unless_all_that_was_claimed_is_true() {
    let rig = Rig::new().await;
    let new = || Signed::new("PUT", "/uploads/a").body(BYTES);
    for (what, request, expected) in [
        (
            "sha256",
            new().payload(&sha256(b"other")),
            "XAmzContentSHA256Mismatch",
        ),
        (
            "md5",
            new().header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            "BadDigest",
        ),
        (
            "md5 no md5",
            new().header("content-md5", "abc"),
            "InvalidDigest",
        ),
        (
            "crc32",
            new().header("x-amz-checksum-crc32", "AAAAAA=="),
            "BadDigest",
        ),
        (
            "crc32 cut",
            new().header("x-amz-checksum-crc32", "AAAA"),
            "InvalidRequest",
        ),
        (
            "class",
            new().header("x-amz-storage-class", "COLD"),
            "InvalidStorageClass",
        ),
        (
            "acl",
            new().header("x-amz-acl", "authenticated-read"),
            "NotImplemented",
        ),
        (
            "acl none",
            new().header("x-amz-acl", "everybody"),
            "InvalidArgument",
        ),
        (
            "tags",
            new().header("x-amz-tagging", "a=b&a=c"),
            "InvalidArgument",
        ),
        (
            "kms",
            new().header("x-amz-server-side-encryption", "aws:kms"),
            "NotImplemented",
        ),
        (
            "condition",
            new().header("if-modified-since", "Sun, 22 Nov 2026 13:20:00 GMT"),
            "NotImplemented",
        ),
        (
            "copy",
            new().header("x-amz-copy-source", "/uploads/b"),
            "EntityTooLarge",
        ),
        (
            "metadata",
            new().header("x-amz-meta-a", &"v".repeat(3000)),
            "MetadataTooLarge",
        ),
        (
            "subresource",
            Signed::new("PUT", "/uploads/a?retention").body(BYTES),
            "NotImplemented",
        ),
        (
            "part",
            Signed::new("PUT", "/uploads/a?partNumber=1").body(BYTES),
            "InvalidArgument",
        ),
        (
            "version",
            Signed::new("PUT", "/uploads/a?versionId=1").body(BYTES),
            "InvalidArgument",
        ),
        (
            "bucket",
            Signed::new("PUT", "/nowhere/a").body(BYTES),
            "NoSuchBucket",
        ),
        (
            "key",
            Signed::new("PUT", &format!("/uploads/{}", "k".repeat(1025))).body(BYTES),
            "KeyTooLongError",
        ),
    ] {
        assert_eq!(code(&request.send(&rig).await), expected, "{what}");
        assert_eq!(get(&rig, "/uploads/a").await.status, 404, "{what}");
    }
}

/// A body in chunks: signed when there is a chain to begin with, with a trailer or without.
struct Chunks<'a> {
    request: &'a Signed,
    last: String,
    body: Vec<u8>,
}

impl<'a> Chunks<'a> {
    fn signed(request: &'a Signed) -> Self {
        Self {
            request,
            last: request.seed().1,
            body: Vec::new(),
        }
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        let empty = sha256(b"");
        let (last, hash) = (&self.last, sha256(bytes));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{DATE}\n{SCOPE}\n{last}\n{empty}\n{hash}");
        self.last = self.request.sign(&text);
        let head = format!("{:x};chunk-signature={}\r\n", bytes.len(), self.last);
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.body.extend_from_slice(b"\r\n");
        }
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.body.extend_from_slice(b"\r\n");
        self.body
    }

    fn trailer(mut self, line: &str) -> Vec<u8> {
        let (last, hash) = (&self.last, sha256(format!("{line}\n").as_bytes()));
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{DATE}\n{SCOPE}\n{last}\n{hash}");
        let signature = self.request.sign(&text);
        let lines = format!("{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n");
        self.body.extend_from_slice(lines.as_bytes());
        self.body
    }
}

fn chunked(mode: &str, length: usize) -> Signed {
    Signed::new("PUT", "/uploads/a")
        .header("content-encoding", "aws-chunked,gzip")
        .header("x-amz-decoded-content-length", &length.to_string())
        .payload(mode)
}

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

#[tokio::test]
async fn a_body_in_signed_chunks_is_stored_without_its_framing() {
    let rig = Rig::new().await;
    let long = vec![b'x'; 100_000];
    let request = chunked(SIGNED, BYTES.len() + long.len());
    let body = Chunks::signed(&request)
        .push(&long)
        .push(BYTES)
        .push(b"")
        .end();
    let answer = request.clone().body(body.clone()).send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stored = get(&rig, "/uploads/a").await;
    assert_eq!(stored.body, [&long, BYTES].concat());
    assert_eq!(stored.header("content-encoding"), "gzip");

    let rig = Rig::new().await;
    let mut flipped = body.clone();
    flipped[200] ^= 1;
    let shorter = chunked(SIGNED, BYTES.len() + long.len() - 1);
    let resigned = Chunks::signed(&shorter)
        .push(&long)
        .push(BYTES)
        .push(b"")
        .end();
    let swapped = Chunks::signed(&request).push(BYTES).push(b"").end();
    let cut = body[..body.len() - 90].to_vec();
    for (what, request, body, expected) in [
        ("flipped", request.clone(), flipped, "SignatureDoesNotMatch"),
        (
            "of another request",
            request.clone(),
            resigned.clone(),
            "SignatureDoesNotMatch",
        ),
        ("longer than said", shorter, resigned, "IncompleteBody"),
        (
            "shorter than said",
            request.clone(),
            swapped,
            "IncompleteBody",
        ),
        ("cut", request.clone(), cut, "IncompleteBody"),
        ("plain", request.clone(), BYTES.to_vec(), "IncompleteBody"),
        (
            "endless head",
            request.clone(),
            vec![b'0'; 5000],
            "IncompleteBody",
        ),
        (
            "no length",
            chunked(SIGNED, 0),
            Vec::new(),
            "IncompleteBody",
        ),
    ] {
        let answer = request.body(body).send(&rig).await;
        assert_eq!(code(&answer), expected, "{what}");
        assert_eq!(get(&rig, "/uploads/a").await.status, 404, "{what}");
    }
}

#[tokio::test]
async fn a_signed_trailer_is_verified_and_so_is_its_checksum() {
    let rig = Rig::new().await;
    let request = chunked(SIGNED_TRAILER, 9).header("x-amz-trailer", "x-amz-checksum-crc32");
    let chunks = || Chunks::signed(&request).push(b"123456789").push(b"");
    for (line, expected) in [
        ("x-amz-checksum-crc32:y/Q5Jg==", ""),
        ("x-amz-checksum-crc32:AAAAAA==", "BadDigest"),
        ("x-amz-checksum-crc32:AAAA", "InvalidRequest"),
        ("x-amz-checksum-sha1:AAAA", "MalformedTrailerError"),
    ] {
        let answer = request
            .clone()
            .body(chunks().trailer(line))
            .send(&rig)
            .await;
        assert_eq!(code(&answer), expected, "{line}");
    }
    let read = Signed::new("HEAD", "/uploads/a").header("x-amz-checksum-mode", "ENABLED");
    let read = read.send(&rig).await;
    assert_eq!(read.header("x-amz-checksum-crc32"), "y/Q5Jg==");
    let mut forged = chunks().trailer("x-amz-checksum-crc32:y/Q5Jg==");
    let end = forged.len() - 6;
    forged[end] = if forged[end] == b'0' { b'1' } else { b'0' };
    for body in [forged, chunks().end()] {
        let answer = request.clone().body(body).send(&rig).await;
        assert_eq!(code(&answer), "SignatureDoesNotMatch");
    }
}

#[tokio::test]
async fn a_wrong_signature_of_a_chunk_or_a_trailer_is_answered_with_what_it_should_have_been_over()
{
    let rig = Rig::new().await;
    let line = "x-amz-checksum-crc32:y/Q5Jg==";
    let request = chunked(SIGNED_TRAILER, 9).header("x-amz-trailer", "x-amz-checksum-crc32");
    let seed = request.seed().1;
    let right = Chunks::signed(&request).push(b"123456789").push(b"");
    let (before_trailer, body) = (right.last.clone(), right.trailer(line));
    let (empty, bytes) = (sha256(b""), sha256(b"123456789"));
    let (of_chunk, of_trailer) = (
        format!("AWS4-HMAC-SHA256-PAYLOAD\n{DATE}\n{SCOPE}\n{seed}\n{empty}\n{bytes}"),
        format!(
            "AWS4-HMAC-SHA256-TRAILER\n{DATE}\n{SCOPE}\n{before_trailer}\n{}",
            sha256(format!("{line}\n").as_bytes())
        ),
    );
    let forged = "0".repeat(64);
    let text = String::from_utf8(body).unwrap();
    let chunk_signature = text.split_once('=').unwrap().1.get(..64).unwrap();
    let trailer_signature = text.trim_end().rsplit_once(':').unwrap().1;
    for (signature, signed) in [(chunk_signature, of_chunk), (trailer_signature, of_trailer)] {
        let body = text.replacen(signature, &forged, 1);
        let answer = request.clone().body(body).send(&rig).await;
        let bytes = signed.bytes().map(|byte| format!("{byte:02x}"));
        for (name, value) in [
            ("Code", "SignatureDoesNotMatch"),
            ("AWSAccessKeyId", sigv4::KEY_ID),
            ("StringToSign", &signed),
            ("SignatureProvided", &forged),
            ("StringToSignBytes", &bytes.collect::<Vec<_>>().join(" ")),
        ] {
            assert_eq!(element(&answer, name), value, "{name}");
        }
        assert_eq!(get(&rig, "/uploads/a").await.status, 404);
    }
}

#[tokio::test]
async fn an_unsigned_trailer_carries_the_checksum() {
    let rig = Rig::new().await;
    let request = chunked(UNSIGNED_TRAILER, 9).header("x-amz-trailer", "x-amz-checksum-sha1");
    for (body, expected) in [
        (
            "9\r\n123456789\r\n0\r\nx-amz-checksum-sha1:98O8HYCOBHMq32eZZczDTKeuNEE=\r\n\r\n",
            "",
        ),
        (
            "4\r\n1234\r\n5\r\n56789\r\n0\r\nX-Amz-Checksum-Sha1: 98O8HYCOBHMq32eZZczDTKeuNEE=\n\r\n",
            "",
        ),
        (
            "9\r\n123456780\r\n0\r\nx-amz-checksum-sha1:98O8HYCOBHMq32eZZczDTKeuNEE=\r\n\r\n",
            "BadDigest",
        ),
        ("9\r\n123456789\r\n0\r\n\r\n", "MalformedTrailerError"),
        ("9\r\n123456789\r\n", "IncompleteBody"),
        ("9\r\n1234567890\r\n0\r\n\r\n", "IncompleteBody"),
        ("+9\r\n123456789\r\n0\r\n\r\n", "IncompleteBody"),
        ("fffffffffffffffff\r\n", "IncompleteBody"),
        ("", "IncompleteBody"),
    ] {
        let answer = request.clone().body(body).send(&rig).await;
        assert_eq!(code(&answer), expected, "{body}");
    }
    let answer = request
        .clone()
        .body(format!("0\r\na:{}", "x".repeat(5000)))
        .send(&rig)
        .await;
    assert_eq!(code(&answer), "IncompleteBody");
}

#[tokio::test]
async fn a_refusal_says_what_it_is_about() {
    let rig = Rig::new().await;
    let etag = put(&rig, "/uploads/a", BYTES)
        .await
        .header("etag")
        .to_owned();
    let read = || Signed::new("GET", "/uploads/a");
    let copy = || Signed::new("PUT", "/uploads/b").header("x-amz-copy-source", "/uploads/a");
    let chunked = Signed::new("PUT", "/uploads/a")
        .header("x-amz-decoded-content-length", "5368709121")
        .payload(UNSIGNED_TRAILER);
    for (request, expected) in [
        (
            Signed::new("GET", "/uploads/no%26"),
            "NoSuchKey Key=no&amp;",
        ),
        (
            copy().header("x-amz-copy-source-if-match", "\"0\""),
            "PreconditionFailed Condition=x-amz-copy-source-If-Match",
        ),
        (
            Signed::new("PUT", "/uploads/b").header("x-amz-copy-source", "/uploads/none"),
            "NoSuchKey Key=none",
        ),
        (
            copy().header("x-amz-copy-source-if-none-match", &etag),
            "PreconditionFailed Condition=x-amz-copy-source-If-None-Match",
        ),
        (
            read().header("range", "bytes=99-"),
            "InvalidRange RangeRequested=bytes=99-",
        ),
        (
            read().header("range", "bytes=99-"),
            "InvalidRange ActualObjectSize=23",
        ),
        (
            read().header("if-match", "\"0\""),
            "PreconditionFailed Condition=If-Match",
        ),
        (
            read().header("if-unmodified-since", "Sun, 22 Nov 2020 13:20:00 GMT"),
            "PreconditionFailed Condition=If-Unmodified-Since",
        ),
        (chunked.clone(), "EntityTooLarge ProposedSize=5368709121"),
        (chunked, "EntityTooLarge MaxSizeAllowed=5368709120"),
        (
            Signed::new("GET", "/uploads/a?versionId="),
            "InvalidArgument ArgumentName=versionId",
        ),
    ] {
        let answer = request.send(&rig).await;
        let (code_of, rest) = expected.split_once(' ').unwrap();
        let (name, value) = rest.split_once('=').unwrap();
        assert_eq!(code(&answer), code_of, "{expected}");
        assert_eq!(element(&answer, name), value, "{}", answer.text());
    }
}

#[tokio::test]
async fn what_is_asked_for_and_cannot_be_is_not_passed_over() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a", BYTES).await;
    let key = "x-amz-server-side-encryption-customer-key";
    let owner = "x-amz-expected-bucket-owner";
    for (method, path, header, value, expected) in [
        ("GET", "/uploads/a", key, "AAAA", (501, "NotImplemented")),
        ("PUT", "/uploads/a", key, "AAAA", (501, "NotImplemented")),
        ("GET", "/uploads/a", owner, "other", (403, "AccessDenied")),
        ("GET", "/uploads", owner, "other", (403, "AccessDenied")),
        ("GET", "/uploads/a", owner, "pillarbox", (200, "")),
    ] {
        let request = Signed::new(method, path).header(header, value);
        let answer = request.send(&rig).await;
        let told = (answer.status.as_u16(), code(&answer));
        assert_eq!(told, (expected.0, expected.1.to_owned()), "{method} {path}");
    }
    let copy = Signed::new("PUT", "/uploads/b")
        .header("x-amz-copy-source", "/uploads/a")
        .header("x-amz-source-expected-bucket-owner", "other");
    assert_eq!(code(&copy.send(&rig).await), "AccessDenied");
}

#[tokio::test]
async fn headers_of_no_interest_may_be_anything_and_those_of_interest_have_a_limit() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a", BYTES).await;
    let many = (0..101).fold(Signed::new("PUT", "/uploads/a"), |request, n| {
        request.header(&format!("x-amz-meta-{n:03}"), "v")
    });
    let long = Signed::new("PUT", "/uploads/a").header("x-amz-meta-a", &"v".repeat(30_000));
    for request in [many, long] {
        assert_eq!(code(&request.send(&rig).await), "MetadataTooLarge");
    }
    let signed = Signed::new("GET", "/uploads/a").authorized();
    for (name, expected) in [("referer", 200), ("if-match", 400)] {
        let mut request = Request::get("/uploads/a").header(name, &b"\xff"[..]);
        for (name, value) in &signed {
            request = request.header(name, value);
        }
        let request = request.body(RequestBody::whole("")).unwrap();
        let answer = rig.app.handle(request, support::connection()).await;
        assert_eq!(answer.status(), expected, "{name}");
    }
}

#[tokio::test]
async fn what_comes_in_a_trailer_is_what_was_announced() {
    const CRC32: &str = "x-amz-checksum-crc32";
    const TYPES: &str =
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
    const TRAILER: &str = "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    const NAME: &str = "The value specified in the x-amz-trailer header is not supported";
    let rig = Rig::new().await;
    let right = "x-amz-checksum-crc32:y/Q5Jg==\r\n";
    for (announced, trailer, message) in [
        ("", "", ""),
        (CRC32, right, ""),
        ("X-Amz-Checksum-CRC32,,", right, ""),
        ("x-amz-checksum-crc32, ,", right, NAME),
        ("", right, TRAILER),
        ("", "foo:bar\r\n", TRAILER),
        (CRC32, "", TRAILER),
        (CRC32, "x-amz-checksum-crc32c:y/Q5Jg==\r\n", TRAILER),
        (CRC32, &format!("{right}bonus:trailer\r\n"), TRAILER),
        (CRC32, &format!("{right}{right}"), TRAILER),
        (
            CRC32,
            &format!("{right}x-amz-trailer-signature:0\r\n"),
            TRAILER,
        ),
        (CRC32, &format!("{right}no header\r\n"), TRAILER),
        (
            CRC32,
            "x-amz-checksum-crc32:not=base-64\r\n",
            "Value for x-amz-checksum-crc32 trailing header is invalid.",
        ),
        ("foo", "foo:bar\r\n", NAME),
        (
            "content-md5",
            "content-md5:JfnnlDI7RTiF9RgfG2JNCw==\r\n",
            NAME,
        ),
        (",x-amz-checksum-crc32", right, NAME),
        ("x-amz-checksum-crc32,x-amz-checksum-sha1", right, TYPES),
    ] {
        let mut request = chunked(UNSIGNED_TRAILER, 9);
        if !announced.is_empty() {
            request = request.header("x-amz-trailer", announced);
        }
        let body = format!("9\r\n123456789\r\n0\r\n{trailer}\r\n");
        let answer = request.body(body).send(&rig).await;
        assert_eq!(
            element(&answer, "Message"),
            message,
            "{announced}, {trailer}"
        );
        let stored = get(&rig, "/uploads/a").await.status;
        assert_eq!(stored == 200, message.is_empty(), "{announced}, {trailer}");
        Signed::new("DELETE", "/uploads/a").send(&rig).await;
    }
    let both = chunked(UNSIGNED_TRAILER, 9)
        .header(CRC32, "y/Q5Jg==")
        .header("x-amz-trailer", CRC32)
        .body(format!("9\r\n123456789\r\n0\r\n{right}\r\n"));
    let answer = both.send(&rig).await;
    assert_eq!(
        element(&answer, "Message"),
        "Expecting a single x-amz-checksum- header"
    );
}

#[tokio::test]
async fn a_trailer_comes_only_in_the_modes_that_have_one() {
    let rig = Rig::new().await;
    let request = chunked(SIGNED, 9);
    let chunks = || Chunks::signed(&request).push(b"123456789").push(b"");
    for line in [
        "x-amz-checksum-crc32:y/Q5Jg==\r\n",
        "x-amz-trailer-signature:0\r\n",
    ] {
        let mut body = chunks().body;
        body.extend_from_slice(line.as_bytes());
        let answer = request.clone().body(body).send(&rig).await;
        assert_eq!(code(&answer), "MalformedTrailerError", "{line}");
    }
    let answer = request.clone().body(chunks().end()).send(&rig).await;
    assert_eq!(answer.status, 200);
    // minio-go puts an empty line in front of the signature.
    let request = chunked(SIGNED_TRAILER, 9).header("x-amz-trailer", "x-amz-checksum-crc32");
    let body = Chunks::signed(&request)
        .push(b"123456789")
        .push(b"")
        .trailer("x-amz-checksum-crc32:y/Q5Jg==");
    let body = String::from_utf8(body).unwrap();
    let body = body.replace("==\r\nx-amz", "==\n\r\nx-amz");
    let answer = request.clone().body(body).send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn an_object_is_deleted_once_and_again() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a", BYTES).await;
    for _ in 0..2 {
        let answer = Signed::new("DELETE", "/uploads/a").send(&rig).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
        let answer = get(&rig, "/uploads/a").await;
        assert_eq!(code(&answer), "NoSuchKey");
    }
}

#[tokio::test]
async fn hostile_keys_are_stored_listed_read_and_deleted_exactly() {
    let rig = Rig::new().await;
    let keys = [
        "../../etc/passwd",
        "a/../b",
        "./a",
        "//",
        "a//b",
        "a\0b",
        "a\r\nb\tc",
        "a%2Fb",
        "a+b c&d=e?f#g",
        "\u{202e}gpj.exe",
        "\u{1f600}/\u{fc}",
        "<&\"'>",
        &"k".repeat(1024),
    ];
    for key in keys {
        let path = format!("/uploads/{}", sigv4::encode(key).replace("%2F", "/"));
        put(&rig, &path, key.as_bytes()).await;
        assert_eq!(get(&rig, &path).await.body, key.as_bytes(), "{key:?}");
    }
    let listed = get(&rig, "/uploads?list-type=2&encoding-type=url").await;
    let mut expected = keys
        .map(|key| sigv4::encode(key).replace("%2F", "/"))
        .to_vec();
    expected.sort_by_key(|key| percent_encoding::percent_decode_str(key).collect::<Vec<u8>>());
    assert_eq!(sigv4::elements(&listed, "Key"), expected);
    for key in keys {
        let path = format!("/uploads/{}", sigv4::encode(key).replace("%2F", "/"));
        assert_eq!(Signed::new("DELETE", &path).send(&rig).await.status, 204);
        assert_eq!(get(&rig, &path).await.status, 404, "{key:?}");
    }
}

#[tokio::test]
async fn the_clock_of_a_request_may_differ_by_15_minutes() {
    let rig = Rig::new().await;
    rig.advance(Duration::from_secs(900));
    assert_eq!(get(&rig, "/uploads?location").await.status, 200);
    rig.advance(Duration::from_secs(1));
    let answer = get(&rig, "/uploads?location").await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (403, "RequestTimeTooSkewed")
    );
}
