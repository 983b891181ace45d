//! S3 uploads in parts, over HTTP: started, sent in any order, named, listed, aborted; and every way to be refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{sigv4, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;
use pillarbox::store::ClockReading;
use ring::digest;
use sigv4::{Signed, code, element, elements};
use support::{Answer, Rig};

/// The smallest part that is not the last.
const MIN: usize = 5 << 20;
const PATH: &str = "/uploads/a/big.bin";

fn part_bytes(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761) | 1;
    let mut bytes = vec![0; length];
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    bytes
}

fn md5_of(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `md5(md5s)-n`, in quotes.
fn etag_of(parts: &[&[u8]]) -> String {
    let all = parts
        .iter()
        .flat_map(|part| md5_of(part))
        .collect::<Vec<u8>>();
    format!("\"{}-{}\"", hex(&md5_of(&all)), parts.len())
}

fn crc32(bytes: &[u8]) -> String {
    STANDARD.encode(crc32fast::hash(bytes).to_be_bytes())
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// An upload under way.
struct Upload<'a> {
    rig: &'a Rig,
    path: String,
    id: String,
}

impl<'a> Upload<'a> {
    async fn start(rig: &'a Rig, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = Signed::new("POST", &format!("{path}?uploads"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send(rig).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (path, id) = (path.to_owned(), element(&answer, "UploadId"));
        Self { rig, path, id }
    }

    fn part(&self, number: u32, bytes: &[u8]) -> Signed {
        let (path, id) = (&self.path, &self.id);
        Signed::new("PUT", &format!("{path}?partNumber={number}&uploadId={id}")).body(bytes)
    }

    /// Sends a part; its entity tag.
    async fn send(&self, number: u32, bytes: &[u8]) -> String {
        let answer = self.part(number, bytes).send(self.rig).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.header("etag"),
            format!("\"{}\"", hex(&md5_of(bytes)))
        );
        answer.header("etag").to_owned()
    }

    fn on(&self, method: &str) -> Signed {
        Signed::new(method, &format!("{}?uploadId={}", self.path, self.id))
    }

    fn completion(&self, parts: &[(u32, &str)]) -> Signed {
        self.on("POST").body(list(parts))
    }

    async fn complete(&self, parts: &[(u32, &str)]) -> Answer {
        self.completion(parts).send(self.rig).await
    }
}

fn list(parts: &[(u32, &str)]) -> String {
    let part = |(number, etag): &(u32, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let parts = parts.iter().map(part).collect::<String>();
    format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    )
}

async fn get(rig: &Rig, path: &str) -> Answer {
    Signed::new("GET", path).send(rig).await
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), code(answer))
}

fn said(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn parts_in_any_order_become_one_object_with_all_that_was_said_at_the_start() {
    let rig = Rig::new().await;
    let headers = [
        ("content-type", "video/mp4"),
        ("cache-control", "max-age=60"),
        ("x-amz-acl", "private"),
        ("x-amz-meta-colour", "red"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "by=me&for=you"),
    ];
    let upload = Upload::start(&rig, PATH, &headers).await;
    let parts = [
        part_bytes(1, MIN + 7),
        part_bytes(2, MIN),
        part_bytes(3, 11),
    ];
    let mut etags = vec![String::new(); 3];
    for index in [2, 0, 1] {
        etags[index] = upload.send(index as u32 + 1, &parts[index]).await;
    }
    assert_eq!(get(&rig, PATH).await.status, 404, "nothing is there yet");
    let answer = upload
        .complete(&[(1, &etags[0]), (2, &etags[1]), (3, &etags[2])])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let etag = etag_of(&[&parts[0], &parts[1], &parts[2]]);
    assert_eq!(element(&answer, "ETag"), etag.replace('"', "&quot;"));
    assert_eq!(element(&answer, "Key"), "a/big.bin");
    assert_eq!(element(&answer, "Bucket"), "uploads");
    assert!(element(&answer, "Location").ends_with("/uploads/a%2Fbig.bin"));
    assert_eq!(element(&answer, "ChecksumType"), "FULL_OBJECT");
    assert_eq!(answer.header("x-amz-version-id"), "");
    let object = get(&rig, PATH).await;
    assert_eq!(object.body, parts.concat());
    for (name, value) in [
        ("etag", etag.as_str()),
        ("content-type", "video/mp4"),
        ("cache-control", "max-age=60"),
        ("x-amz-meta-colour", "red"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging-count", "2"),
    ] {
        assert_eq!(object.header(name), value, "{name}");
    }
    let listed = get(&rig, "/uploads?list-type=2").await;
    assert_eq!(element(&listed, "ETag"), etag.replace('"', "&quot;"));
    assert_eq!(element(&get(&rig, "/uploads?uploads").await, "Upload"), "");
}

#[tokio::test]
async fn only_the_parts_that_are_named_are_in_the_object_and_gaps_are_allowed() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let (first, unnamed, last) = (part_bytes(1, MIN), part_bytes(2, MIN), part_bytes(3, 5));
    upload.send(40, b"an earlier part of this number").await;
    let last_tag = upload.send(40, &last).await;
    upload.send(20, &unnamed).await;
    let first_tag = upload.send(3, &first).await;
    let answer = upload.complete(&[(3, &first_tag), (40, &last_tag)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let object = get(&rig, PATH).await;
    assert_eq!(object.body, [first.as_slice(), &last].concat());
    assert_eq!(object.header("etag"), etag_of(&[&first, &last]));
}

#[tokio::test]
async fn one_part_of_any_size_is_enough_and_has_the_tag_of_parts() {
    let rig = Rig::new().await;
    for bytes in [b"".as_slice(), b"small"] {
        let upload = Upload::start(&rig, PATH, &[]).await;
        let etag = upload.send(10_000, bytes).await;
        let answer = upload.complete(&[(10_000, etag.trim_matches('"'))]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let object = get(&rig, PATH).await;
        assert_eq!(object.body, bytes);
        assert_eq!(object.header("etag"), etag_of(&[bytes]));
    }
}

#[tokio::test]
async fn a_completion_with_one_thing_wrong_is_refused_and_the_upload_stays() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let (one, two) = (part_bytes(1, MIN), part_bytes(2, MIN - 1));
    let (a, b) = (upload.send(1, &one).await, upload.send(2, &two).await);
    let c = upload.send(3, b"last").await;
    let (a, b, c) = (a.as_str(), b.as_str(), c.as_str());
    let of = |parts: &[(u32, &str)]| upload.completion(parts);
    let body = |text: &str| upload.on("POST").body(text);
    let good = [(1, a), (3, c)];
    let unknown = "\"00000000000000000000000000000000\"";
    for (what, request, expected) in [
        ("too small", of(&[(1, a), (2, b), (3, c)]), "EntityTooSmall"),
        ("order", of(&[(3, c), (1, a)]), "InvalidPartOrder"),
        ("twice", of(&[(1, a), (1, a)]), "InvalidPartOrder"),
        ("not sent", of(&[(1, a), (4, c)]), "InvalidPart"),
        ("number 0", of(&[(0, a), (3, c)]), "InvalidPart"),
        ("number 10001", of(&[(1, a), (10_001, c)]), "InvalidPart"),
        ("other tag", of(&[(1, unknown), (3, c)]), "InvalidPart"),
        ("tag of another", of(&[(1, c), (3, c)]), "InvalidPart"),
        ("no tag", of(&[(1, "x"), (3, c)]), "InvalidPart"),
        ("no parts", of(&[]), "MalformedXML"),
        ("no body", upload.on("POST"), "MalformedXML"),
        ("no XML", body("parts"), "MalformedXML"),
        ("other root", body("<Delete/>"), "MalformedXML"),
        (
            "no number",
            body("<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>"),
            "MalformedXML",
        ),
        (
            "other element",
            body("<CompleteMultipartUpload><Quiet>true</Quiet></CompleteMultipartUpload>"),
            "MalformedXML",
        ),
        (
            "size",
            of(&good).header("x-amz-mp-object-size", "1"),
            "InvalidRequest",
        ),
        (
            "size no number",
            of(&good).header("x-amz-mp-object-size", "a"),
            "InvalidRequest",
        ),
        (
            "size below zero",
            of(&good).header("x-amz-mp-object-size", "-1"),
            "InvalidRequest",
        ),
        (
            "checksum",
            of(&good).header("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="),
            "BadDigest",
        ),
        (
            "checksum of another kind",
            of(&good).header("x-amz-checksum-crc32", "AAAAAA=="),
            "InvalidRequest",
        ),
        (
            "type",
            of(&good).header("x-amz-checksum-type", "COMPOSITE"),
            "InvalidRequest",
        ),
        (
            "md5 of the list",
            of(&good).header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            "BadDigest",
        ),
        (
            "condition of two tags",
            of(&good).header("if-match", "\"a\", \"b\""),
            "NotImplemented",
        ),
        (
            "condition on a tag",
            of(&good).header("if-none-match", "\"a\""),
            "NotImplemented",
        ),
        (
            "date",
            of(&good).header("if-unmodified-since", "Sun, 22 Nov 2026 07:09:15 GMT"),
            "NotImplemented",
        ),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(code(&answer), expected, "{what}: {}", answer.text());
        let status = if expected == "NotImplemented" {
            501
        } else {
            400
        };
        assert_eq!(answer.status, status, "{what}");
    }
    let absent = of(&[(1, a), (4, c)]).send(&rig).await;
    let shown = ["UploadId", "PartNumber", "ETag"].map(|name| element(&absent, name));
    assert_eq!(
        shown,
        [
            upload.id.clone(),
            "4".to_owned(),
            c.trim_matches('"').to_owned()
        ]
    );
    let small = of(&[(2, b), (3, c)]).send(&rig).await;
    assert_eq!(element(&small, "ProposedSize"), (MIN - 1).to_string());
    assert_eq!(element(&small, "MinSizeAllowed"), MIN.to_string());
    assert_eq!(element(&small, "PartNumber"), "2");
    let answer = of(&good).header("x-amz-mp-object-size", &(MIN + 4).to_string());
    assert_eq!(answer.send(&rig).await.status, 200);
    assert_eq!(
        get(&rig, PATH).await.body,
        [one.as_slice(), b"last"].concat()
    );
}

#[tokio::test]
async fn a_part_with_one_thing_wrong_is_refused_and_nothing_of_it_is_kept() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let id = upload.id.clone();
    let put = |query: &str| Signed::new("PUT", &format!("{PATH}?{query}")).body("bytes");
    let part = || upload.part(1, b"bytes");
    for (what, request, expected) in [
        (
            "number 0",
            put(&format!("partNumber=0&uploadId={id}")),
            said(400, "InvalidArgument"),
        ),
        (
            "number 10001",
            put(&format!("partNumber=10001&uploadId={id}")),
            said(400, "InvalidArgument"),
        ),
        (
            "no number",
            put(&format!("uploadId={id}")),
            said(400, "InvalidArgument"),
        ),
        (
            "a word",
            put(&format!("partNumber=one&uploadId={id}")),
            said(400, "InvalidArgument"),
        ),
        (
            "a sign",
            put(&format!("partNumber=%2B1&uploadId={id}")),
            said(400, "InvalidArgument"),
        ),
        (
            "no upload",
            put("partNumber=1"),
            said(400, "InvalidArgument"),
        ),
        (
            "unknown upload",
            put("partNumber=1&uploadId=000000000000000000000000"),
            said(404, "NoSuchUpload"),
        ),
        (
            "no id",
            put("partNumber=1&uploadId="),
            said(404, "NoSuchUpload"),
        ),
        (
            "other key",
            Signed::new("PUT", &format!("/uploads/b?partNumber=1&uploadId={id}")),
            said(404, "NoSuchUpload"),
        ),
        (
            "subresource",
            put(&format!("partNumber=1&uploadId={id}&acl")),
            said(400, "InvalidArgument"),
        ),
        (
            "md5",
            part().header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            said(400, "BadDigest"),
        ),
        (
            "crc32",
            part().header("x-amz-checksum-crc32", "AAAAAA=="),
            said(400, "BadDigest"),
        ),
        (
            "sha256 of the payload",
            part().payload(&sigv4::sha256(b"other")),
            said(400, "XAmzContentSHA256Mismatch"),
        ),
        (
            "condition",
            part().header("if-match", "\"a\""),
            said(501, "NotImplemented"),
        ),
        (
            "encryption",
            part().header("x-amz-server-side-encryption-customer-algorithm", "AES256"),
            said(501, "NotImplemented"),
        ),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(told(&answer), expected, "{what}: {}", answer.text());
        let parts = upload.on("GET").send(&rig).await;
        assert_eq!(elements(&parts, "PartNumber").len(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_start_with_one_thing_wrong_is_refused() {
    let rig = Rig::new().await;
    let start = || Signed::new("POST", &format!("{PATH}?uploads"));
    let algorithm = "x-amz-checksum-algorithm";
    let kind = "x-amz-checksum-type";
    for (what, request, expected) in [
        (
            "algorithm",
            start().header(algorithm, "MD4"),
            "InvalidRequest",
        ),
        (
            "type alone",
            start().header(kind, "COMPOSITE"),
            "InvalidRequest",
        ),
        (
            "type",
            start().header(algorithm, "CRC32").header(kind, "HALF"),
            "InvalidRequest",
        ),
        (
            "whole of a SHA",
            start()
                .header(algorithm, "SHA256")
                .header(kind, "FULL_OBJECT"),
            "InvalidRequest",
        ),
        (
            "parts of a CRC64",
            start()
                .header(algorithm, "CRC64NVME")
                .header(kind, "COMPOSITE"),
            "InvalidRequest",
        ),
        (
            "class",
            start().header("x-amz-storage-class", "COLD"),
            "InvalidStorageClass",
        ),
        (
            "acl",
            start().header("x-amz-acl", "everybody"),
            "InvalidArgument",
        ),
        (
            "condition",
            start().header("if-none-match", "*"),
            "NotImplemented",
        ),
        (
            "tags",
            start().header("x-amz-tagging", "a=b&a=c"),
            "InvalidArgument",
        ),
        (
            "metadata",
            start().header("x-amz-meta-a", &"v".repeat(3000)),
            "MetadataTooLarge",
        ),
        (
            "two questions",
            Signed::new("POST", &format!("{PATH}?uploads&acl")),
            "InvalidArgument",
        ),
        (
            "bucket",
            Signed::new("POST", "/nowhere/a?uploads"),
            "NoSuchBucket",
        ),
        ("body", start().body("bytes"), "EntityTooLarge"),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(code(&answer), expected, "{what}: {}", answer.text());
    }
    let none = get(&rig, "/uploads?uploads").await;
    assert_eq!(elements(&none, "UploadId").len(), 0);
}

#[tokio::test]
async fn whoever_signs_nothing_may_nothing() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    upload.send(1, b"kept").await;
    let id = &upload.id;
    for (method, uri) in [
        ("POST", format!("{PATH}?uploads")),
        ("PUT", format!("{PATH}?partNumber=1&uploadId={id}")),
        ("GET", format!("{PATH}?uploadId={id}")),
        ("POST", format!("{PATH}?uploadId={id}")),
        ("DELETE", format!("{PATH}?uploadId={id}")),
        ("GET", "/uploads?uploads".to_owned()),
    ] {
        let answer = rig.request(method, &uri, &[], "").await;
        assert_eq!(told(&answer), said(403, "AccessDenied"), "{method} {uri}");
    }
    // A source that the signature does not cover would be another one's.
    let presigned = upload
        .part(1, b"")
        .unsigned("x-amz-copy-source", "/uploads/secret");
    let answer = presigned.send_presigned(&rig, 60).await;
    assert_eq!(code(&answer), "AccessDenied");
    let put = upload.part(2, b"presigned").send_presigned(&rig, 60).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let parts = upload.on("GET").send(&rig).await;
    assert_eq!(elements(&parts, "Size"), ["4", "9"]);
}

#[tokio::test]
async fn a_form_is_never_taken_for_the_end_of_an_upload() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let etag = upload.send(1, b"part").await;
    let request = upload.completion(&[(1, &etag)]);
    let answer = request
        .header("content-type", "multipart/form-data; boundary=x")
        .send(&rig)
        .await;
    assert_eq!(answer.status, 405);
    assert_eq!(get(&rig, PATH).await.status, 404);
}

#[tokio::test]
async fn parts_are_listed_page_by_page() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[("x-amz-storage-class", "GLACIER_IR")]).await;
    for number in [7, 1, 300, 2] {
        upload
            .send(number, format!("part {number}").as_bytes())
            .await;
    }
    let ask = |query: &str| {
        let uri = format!("{PATH}?uploadId={}{query}", upload.id);
        let rig = &rig;
        async move { get(rig, &uri).await }
    };
    let all = ask("").await;
    assert_eq!(elements(&all, "PartNumber"), ["1", "2", "7", "300"]);
    assert_eq!(elements(&all, "Size"), ["6", "6", "6", "8"]);
    for (name, value) in [
        ("Bucket", "uploads"),
        ("Key", "a/big.bin"),
        ("UploadId", upload.id.as_str()),
        ("StorageClass", "GLACIER_IR"),
        ("IsTruncated", "false"),
        ("PartNumberMarker", "0"),
        ("NextPartNumberMarker", "300"),
        ("MaxParts", "1000"),
        ("LastModified", "2026-11-22T13:20:00.000Z"),
    ] {
        assert_eq!(element(&all, name), value, "{name}");
    }
    let tag = hex(&md5_of(b"part 1"));
    assert_eq!(element(&all, "ETag"), format!("&quot;{tag}&quot;"));
    let page = ask("&max-parts=2&part-number-marker=1").await;
    assert_eq!(elements(&page, "PartNumber"), ["2", "7"]);
    assert_eq!(element(&page, "IsTruncated"), "true");
    assert_eq!(element(&page, "NextPartNumberMarker"), "7");
    let last = ask("&max-parts=2&part-number-marker=7").await;
    assert_eq!(elements(&last, "PartNumber"), ["300"]);
    assert_eq!(element(&last, "IsTruncated"), "false");
    let none = ask("&max-parts=0").await;
    assert_eq!(elements(&none, "PartNumber").len(), 0);
    assert_eq!(element(&none, "IsTruncated"), "false");
    for bad in [
        "&max-parts=x",
        "&max-parts=-1",
        "&part-number-marker=x",
        "&part-number-marker=-1",
    ] {
        assert_eq!(told(&ask(bad).await), said(400, "InvalidArgument"), "{bad}");
    }
}

#[tokio::test]
async fn uploads_are_listed_by_key_and_start_grouped_and_page_by_page() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for path in [
        "/uploads/b",
        "/uploads/a%20x/1",
        "/uploads/a%20x/2",
        "/uploads/b",
        "/uploads/c",
    ] {
        ids.push(Upload::start(&rig, path, &[]).await.id);
        rig.advance(Duration::from_secs(1));
    }
    let all = get(&rig, "/uploads?uploads").await;
    assert_eq!(elements(&all, "Key"), ["a x/1", "a x/2", "b", "b", "c"]);
    let by_key = [&ids[1], &ids[2], &ids[0], &ids[3], &ids[4]];
    assert_eq!(elements(&all, "UploadId"), by_key.map(Clone::clone));
    for (name, value) in [
        ("Bucket", "uploads"),
        ("MaxUploads", "1000"),
        ("IsTruncated", "false"),
        ("Initiated", "2026-11-22T13:20:01.000Z"),
        ("StorageClass", "STANDARD"),
    ] {
        assert_eq!(element(&all, name), value, "{name}");
    }
    let grouped = get(
        &rig,
        "/uploads?uploads&delimiter=/&encoding-type=url&max-uploads=2",
    )
    .await;
    assert_eq!(
        elements(&grouped, "CommonPrefixes"),
        ["<Prefix>a%20x/</Prefix>"]
    );
    assert_eq!(elements(&grouped, "UploadId"), [ids[0].clone()]);
    assert_eq!(element(&grouped, "NextKeyMarker"), "b");
    assert_eq!(element(&grouped, "NextUploadIdMarker"), ids[0]);
    let next = format!(
        "/uploads?uploads&delimiter=/&key-marker=b&upload-id-marker={}",
        ids[0]
    );
    let next = get(&rig, &next).await;
    assert_eq!(
        elements(&next, "UploadId"),
        [ids[3].clone(), ids[4].clone()]
    );
    let behind = get(&rig, "/uploads?uploads&key-marker=b").await;
    assert_eq!(elements(&behind, "UploadId"), [ids[4].clone()]);
    let behind = get(&rig, "/uploads?uploads&delimiter=/&key-marker=a x/").await;
    assert_eq!(elements(&behind, "Key"), ["b", "b", "c"]);
    let prefix = get(&rig, "/uploads?uploads&prefix=a x/").await;
    assert_eq!(elements(&prefix, "Key"), ["a x/1", "a x/2"]);
    for bad in [
        "max-uploads=x",
        "max-uploads=-1",
        "encoding-type=x",
        "key-marker=b&upload-id-marker=x",
    ] {
        let answer = get(&rig, &format!("/uploads?uploads&{bad}")).await;
        assert_eq!(told(&answer), said(400, "InvalidArgument"), "{bad}");
    }
    let none = get(&rig, "/uploads?uploads&max-uploads=0").await;
    assert_eq!(elements(&none, "Key").len(), 0);
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_parts() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let etag = upload.send(2, &part_bytes(1, 100_000)).await;
    let answer = upload.on("DELETE").send(&rig).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
    for request in [
        upload.on("DELETE"),
        upload.on("GET"),
        upload.part(1, b"x"),
        upload.completion(&[(2, &etag)]),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(
            told(&answer),
            said(404, "NoSuchUpload"),
            "{}",
            answer.text()
        );
        assert_eq!(element(&answer, "UploadId"), upload.id);
    }
    assert_eq!(
        elements(&get(&rig, "/uploads?uploads").await, "Key").len(),
        0
    );
    assert_eq!(get(&rig, PATH).await.status, 404);
}

#[tokio::test]
async fn a_repeated_completion_tells_the_same_while_its_object_is_there() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let etag = upload.send(1, b"only").await;
    upload.send(2, b"not named").await;
    let first = upload.complete(&[(1, &etag)]).await;
    let again = upload.complete(&[(1, &etag)]).await;
    assert_eq!((again.status, again.text()), (first.status, first.text()));
    assert_eq!(
        told(&upload.complete(&[(0, &etag)]).await),
        said(400, "InvalidPart")
    );
    for request in [
        upload.completion(&[(2, &etag)]),
        upload.part(1, b"late"),
        upload.on("GET"),
        upload.on("DELETE"),
    ] {
        assert_eq!(told(&request.send(&rig).await), said(404, "NoSuchUpload"));
    }
    assert_eq!(get(&rig, PATH).await.body, b"only");
    let replaced = Signed::new("PUT", PATH).body("newer").send(&rig).await;
    assert_eq!(replaced.status, 200);
    assert_eq!(
        told(&upload.complete(&[(1, &etag)]).await),
        said(404, "NoSuchUpload")
    );
    assert_eq!(get(&rig, PATH).await.body, b"newer");
}

#[tokio::test]
async fn a_condition_on_what_is_there_is_kept() {
    let rig = Rig::new().await;
    let finish = |name: &'static str, value: String| {
        let rig = &rig;
        async move {
            let upload = Upload::start(rig, PATH, &[]).await;
            let etag = upload.send(1, name.as_bytes()).await;
            let request = upload.completion(&[(1, &etag)]).header(name, &value);
            let answer = request.send(rig).await;
            let refused = answer.status != 200;
            let parts = upload.on("GET").send(rig).await;
            assert_eq!(parts.status == 200, refused, "refused, it stays open");
            answer
        }
    };
    let absent = finish("if-match", "\"x\"".to_owned()).await;
    assert_eq!(told(&absent), said(404, "NoSuchKey"));
    let made = finish("if-none-match", "*".to_owned()).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let taken = finish("if-none-match", "*".to_owned()).await;
    assert_eq!(told(&taken), said(412, "PreconditionFailed"));
    for other in ["\"x\"", "\"a b\""] {
        let other = finish("if-match", other.to_owned()).await;
        assert_eq!(told(&other), said(412, "PreconditionFailed"));
    }
    assert_eq!(get(&rig, PATH).await.body, b"if-none-match");
    let etag = get(&rig, PATH).await.header("etag").to_owned();
    assert_eq!(finish("if-match", etag).await.status, 200);
    assert_eq!(get(&rig, PATH).await.body, b"if-match");
}

#[tokio::test]
async fn a_checksum_of_checksums_is_verified_kept_and_given_back() {
    let rig = Rig::new().await;
    let algorithm = [("x-amz-checksum-algorithm", "SHA256")];
    let upload = Upload::start(&rig, PATH, &algorithm).await;
    let parts = [part_bytes(1, MIN), b"last".to_vec()];
    let sums = parts.each_ref().map(|part| STANDARD.encode(sha256(part)));
    let field = "x-amz-checksum-sha256";
    let mut etags = Vec::new();
    for (number, (bytes, sum)) in (1..).zip(parts.iter().zip(&sums)) {
        let part = upload.part(number, bytes);
        let silent = part.clone().send(&rig).await;
        assert_eq!(told(&silent), said(400, "InvalidRequest"));
        let other = part.clone().header("x-amz-checksum-crc32", &crc32(bytes));
        assert_eq!(told(&other.send(&rig).await), said(400, "InvalidRequest"));
        let answer = part.header(field, sum).send(&rig).await;
        assert_eq!(answer.header(field), sum, "{}", answer.text());
        etags.push(answer.header("etag").to_owned());
    }
    let listed = upload.on("GET").send(&rig).await;
    assert_eq!(elements(&listed, "ChecksumSHA256"), sums);
    assert_eq!(element(&listed, "ChecksumAlgorithm"), "SHA256");
    assert_eq!(element(&listed, "ChecksumType"), "COMPOSITE");
    let list = |sums: [&str; 2]| {
        let part = |(number, (etag, sum)): (u32, (&String, &str))| {
            format!(
                "<Part><ETag>{etag}</ETag><ChecksumSHA256>{sum}</ChecksumSHA256><PartNumber>{number}</PartNumber></Part>"
            )
        };
        let parts = (1..)
            .zip(etags.iter().zip(sums))
            .map(part)
            .collect::<String>();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    };
    let sums = [sums[0].as_str(), sums[1].as_str()];
    let all = parts
        .iter()
        .flat_map(|part| sha256(part))
        .collect::<Vec<u8>>();
    let whole = format!("{}-2", STANDARD.encode(sha256(&all)));
    let named = [(1, etags[0].as_str()), (2, etags[1].as_str())];
    let missing = upload.complete(&named).await;
    assert_eq!(told(&missing), said(400, "InvalidRequest"));
    assert!(element(&missing, "Message").ends_with("It was missing for part 1 in the request."));
    let swapped = upload.on("POST").body(list([sums[1], sums[0]]));
    assert_eq!(told(&swapped.send(&rig).await), said(400, "InvalidPart"));
    let complete = upload.on("POST").body(list(sums));
    let wrong = complete.clone().header(field, &format!("{}-2", sums[0]));
    assert_eq!(told(&wrong.send(&rig).await), said(400, "BadDigest"));
    let answer = complete.header(field, &whole).send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(element(&answer, "ChecksumSHA256"), whole);
    assert_eq!(element(&answer, "ChecksumType"), "COMPOSITE");
    let asked = Signed::new("GET", &format!("{PATH}?attributes"))
        .header("x-amz-object-attributes", "Checksum,ObjectParts");
    let asked = asked.send(&rig).await;
    let (bare, _count) = whole.split_once('-').unwrap();
    assert_eq!(element(&asked, "ChecksumSHA256"), bare);
    assert_eq!(element(&asked, "ChecksumType"), "COMPOSITE");
    assert_eq!(element(&asked, "PartsCount"), "2");
    let read = Signed::new("GET", PATH).header("x-amz-checksum-mode", "ENABLED");
    let read = read.send(&rig).await;
    assert_eq!(read.header(field), whole);
    assert_eq!(read.header("x-amz-checksum-type"), "COMPOSITE");
    assert_eq!(
        read.header("x-amz-checksum-crc64nvme"),
        "",
        "it is of another type"
    );
    let all = STANDARD.encode(sha256(&parts.concat()));
    let copy = Signed::new("PUT", "/uploads/copy").header("x-amz-copy-source", PATH);
    let copied = copy.send(&rig).await;
    let of_bytes = "the copy has no parts, but a checksum of the same kind";
    assert_eq!(element(&copied, "ChecksumSHA256"), all, "{of_bytes}");
    let onto_itself = Signed::new("PUT", PATH)
        .header("x-amz-copy-source", PATH)
        .header("x-amz-checksum-algorithm", "SHA256");
    let changed = onto_itself.send(&rig).await;
    assert_eq!(element(&changed, "ChecksumSHA256"), all);
    let read = Signed::new("GET", PATH).header("x-amz-checksum-mode", "ENABLED");
    let read = read.send(&rig).await;
    assert_eq!(read.header(field), all);
    assert_eq!(read.header("x-amz-checksum-type"), "FULL_OBJECT");
}

#[tokio::test]
async fn parts_with_a_checksum_of_checksums_are_numbered_without_gaps() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[("x-amz-checksum-algorithm", "CRC32")]).await;
    let sum = crc32(b"part");
    let part = upload.part(2, b"part").header("x-amz-checksum-crc32", &sum);
    let etag = part.send(&rig).await.header("etag").to_owned();
    assert_eq!(
        told(&upload.complete(&[(2, &etag)]).await),
        said(400, "InvalidPartOrder")
    );
}

#[tokio::test]
async fn a_checksum_of_all_bytes_comes_from_those_of_the_parts() {
    for (algorithm, field, name) in [
        ("CRC32", "x-amz-checksum-crc32", "ChecksumCRC32"),
        ("CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME"),
    ] {
        let rig = Rig::new().await;
        let headers = [
            ("x-amz-checksum-algorithm", algorithm),
            ("x-amz-checksum-type", "FULL_OBJECT"),
        ];
        let upload = Upload::start(&rig, PATH, &headers).await;
        let parts = [part_bytes(1, MIN), part_bytes(2, 77)];
        let whole = match algorithm {
            "CRC32" => crc32(&parts.concat()),
            _ => pillarbox::model::Crc64::of(&parts.concat()).base64(),
        };
        // A client that says nothing of a part leaves its checksum to us.
        let a = upload.send(1, &parts[0]).await;
        let b = upload.send(2, &parts[1]).await;
        let complete = upload.completion(&[(1, &a), (2, &b)]);
        let wrong = complete.clone().header(field, &"A".repeat(whole.len() - 2));
        assert_eq!(told(&wrong.send(&rig).await), said(400, "InvalidRequest"));
        let wrong = crc32(b"other");
        let wrong = if algorithm == "CRC32" {
            wrong.as_str()
        } else {
            "AAAAAAAAAAA="
        };
        let wrong = complete.clone().header(field, wrong);
        assert_eq!(told(&wrong.send(&rig).await), said(400, "BadDigest"));
        let answer = complete
            .header(field, &whole)
            .header("x-amz-checksum-type", "FULL_OBJECT")
            .send(&rig)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(element(&answer, name), whole);
        let read = Signed::new("GET", PATH).header("x-amz-checksum-mode", "ENABLED");
        let read = read.send(&rig).await;
        assert_eq!(read.header(field), whole);
        assert_eq!(read.header("x-amz-checksum-type"), "FULL_OBJECT");
    }
}

#[tokio::test]
async fn a_checksum_that_nobody_asked_for_is_verified_and_echoed() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let sum = crc32(b"part");
    let part = upload.part(1, b"part").header("x-amz-checksum-crc32", &sum);
    let answer = part.send(&rig).await;
    assert_eq!(answer.header("x-amz-checksum-crc32"), sum);
    let etag = answer.header("etag");
    let complete = |sum: &str| {
        upload.on("POST").body(format!(
            "<CompleteMultipartUpload><Part><ETag>{etag}</ETag><PartNumber>1</PartNumber>\
             <ChecksumCRC32>{sum}</ChecksumCRC32></Part></CompleteMultipartUpload>"
        ))
    };
    assert_eq!(
        told(&complete("AAAAAA==").send(&rig).await),
        said(400, "InvalidPart")
    );
    assert_eq!(complete(&sum).send(&rig).await.status, 200);
}

#[tokio::test]
async fn of_a_part_that_is_sent_again_the_last_checksum_counts() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let bytes = b"the same bytes";
    let (crc, sha) = (crc32(bytes), STANDARD.encode(sha256(bytes)));
    let (crc_field, sha_field) = ("x-amz-checksum-crc32", "x-amz-checksum-sha256");
    for claimed in [
        None,
        Some((crc_field, &crc)),
        Some((sha_field, &sha)),
        None,
        Some((crc_field, &crc)),
    ] {
        rig.advance(Duration::from_secs(1));
        let part = upload.part(1, bytes);
        let part = match claimed {
            Some((field, value)) => part.header(field, value),
            None => part,
        };
        assert_eq!(part.send(&rig).await.status, 200);
        let listed = upload.on("GET").send(&rig).await.text();
        assert!(!listed.contains("Checksum"), "the upload asked for none");
    }
    let listed = upload.on("GET").send(&rig).await;
    assert_eq!(element(&listed, "LastModified"), "2026-11-22T13:20:05.000Z");
    let etag = hex(&md5_of(bytes));
    let list = |element: &str, value: &str| {
        format!(
            "<CompleteMultipartUpload><Part><ETag>{etag}</ETag><{element}>{value}</{element}><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"
        )
    };
    let earlier = upload.on("POST").body(list("ChecksumSHA256", &sha));
    assert_eq!(told(&earlier.send(&rig).await), said(400, "InvalidPart"));
    let last = upload.on("POST").body(list("ChecksumCRC32", &crc));
    assert_eq!(last.send(&rig).await.status, 200);
    assert_eq!(get(&rig, PATH).await.body, bytes);
}

#[tokio::test]
async fn an_unsigned_trailer_carries_the_checksum_of_a_part() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[("x-amz-checksum-algorithm", "CRC32")]).await;
    let part = |sum: &str| {
        upload
            .part(1, b"")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", "9")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .body(format!(
                "9\r\n123456789\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n"
            ))
    };
    assert_eq!(
        told(&part("AAAAAA==").send(&rig).await),
        said(400, "BadDigest")
    );
    let answer = part("y/Q5Jg==").send(&rig).await;
    assert_eq!(
        answer.header("x-amz-checksum-crc32"),
        "y/Q5Jg==",
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.header("etag"),
        "\"25f9e794323b453885f5181f1b624d0b\""
    );
}

#[tokio::test]
async fn an_object_or_a_range_of_one_is_copied_into_a_part() {
    let rig = Rig::new().await;
    let source = part_bytes(9, MIN + 100);
    let stored = Signed::new("PUT", "/uploads/source%20a").body(source.clone());
    let etag = stored.send(&rig).await.header("etag").to_owned();
    let headers = [
        ("x-amz-checksum-algorithm", "CRC32"),
        ("x-amz-checksum-type", "FULL_OBJECT"),
    ];
    let upload = Upload::start(&rig, PATH, &headers).await;
    let copy = |number: u32| {
        upload
            .part(number, b"")
            .header("x-amz-copy-source", "uploads/source%20a")
    };
    let range = "x-amz-copy-source-range";
    let whole = copy(1)
        .header("x-amz-copy-source-if-match", &etag)
        .send(&rig)
        .await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert_eq!(element(&whole, "ETag"), etag.replace('"', "&quot;"));
    assert_eq!(element(&whole, "ChecksumCRC32"), crc32(&source));
    assert_eq!(element(&whole, "LastModified"), "2026-11-22T13:20:00.000Z");
    let piece = copy(2).header(range, "bytes=3-9").send(&rig).await;
    assert_eq!(element(&piece, "ChecksumCRC32"), crc32(&source[3..=9]));
    for (what, request, expected) in [
        (
            "no end",
            copy(3).header(range, "bytes=3-"),
            "InvalidArgument",
        ),
        ("no unit", copy(3).header(range, "3-9"), "InvalidArgument"),
        (
            "backwards",
            copy(3).header(range, "bytes=9-3"),
            "InvalidArgument",
        ),
        (
            "a sign",
            copy(3).header(range, "bytes=+3-9"),
            "InvalidArgument",
        ),
        (
            "past the end",
            copy(3).header(range, &format!("bytes=0-{}", source.len())),
            "InvalidArgument",
        ),
        (
            "condition",
            copy(3).header("x-amz-copy-source-if-none-match", &etag),
            "PreconditionFailed",
        ),
        (
            "no source",
            upload
                .part(3, b"")
                .header("x-amz-copy-source", "/uploads/nothing"),
            "NoSuchKey",
        ),
        (
            "no bucket",
            upload
                .part(3, b"")
                .header("x-amz-copy-source", "/nowhere/a"),
            "NoSuchBucket",
        ),
        (
            "no name",
            upload.part(3, b"").header("x-amz-copy-source", "uploads"),
            "InvalidArgument",
        ),
        (
            "a name of which a signature covers more than one reading",
            upload
                .part(3, b"")
                .header("x-amz-copy-source", "uploads/source  a"),
            "InvalidArgument",
        ),
        (
            "a blank at its end, which no signature covers",
            upload
                .part(3, b"")
                .header("x-amz-copy-source", "uploads/source%20a "),
            "InvalidArgument",
        ),
        (
            "one at its beginning",
            upload
                .part(3, b"")
                .header("x-amz-copy-source", " uploads/source%20a"),
            "InvalidArgument",
        ),
        ("a body", copy(3).body("bytes"), "EntityTooLarge"),
    ] {
        let answer = request.send(&rig).await;
        assert_eq!(code(&answer), expected, "{what}: {}", answer.text());
    }
    let (one, two) = (hex(&md5_of(&source)), hex(&md5_of(&source[3..=9])));
    let answer = upload.complete(&[(1, &one), (2, &two)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = [source.as_slice(), &source[3..=9]].concat();
    assert_eq!(get(&rig, PATH).await.body, expected);
    assert_eq!(element(&answer, "ChecksumCRC32"), crc32(&expected));
}

#[tokio::test]
async fn a_part_of_an_object_is_read_by_its_number() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let parts = [part_bytes(1, MIN), part_bytes(2, MIN + 1), b"last".to_vec()];
    let mut named = Vec::new();
    for (number, bytes) in [2, 5, 9].into_iter().zip(&parts) {
        named.push((number, upload.send(number, bytes).await));
    }
    let named = named
        .iter()
        .map(|(n, etag)| (*n, etag.as_str()))
        .collect::<Vec<_>>();
    assert_eq!(upload.complete(&named).await.status, 200);
    let size = parts.concat().len();
    let mut offset = 0;
    for (number, bytes) in (1..).zip(&parts) {
        let uri = format!("{PATH}?partNumber={number}");
        let range = format!("bytes {offset}-{}/{size}", offset + bytes.len() - 1);
        offset += bytes.len();
        for method in ["GET", "HEAD"] {
            let answer = Signed::new(method, &uri).send(&rig).await;
            assert_eq!(answer.status, 206, "{method} {number}");
            assert_eq!(answer.header("content-range"), range);
            assert_eq!(answer.header("content-length"), bytes.len().to_string());
            assert_eq!(answer.header("x-amz-mp-parts-count"), "3");
            if method == "GET" {
                assert_eq!(answer.body, *bytes);
            }
        }
    }
    let ask = |query: &str| Signed::new("GET", &format!("{PATH}?{query}"));
    for (request, expected) in [
        (ask("partNumber=4"), said(416, "InvalidPartNumber")),
        (ask("partNumber=0"), said(400, "InvalidArgument")),
        (ask("partNumber=x"), said(400, "InvalidArgument")),
        (ask("partNumber=1&torrent"), said(501, "NotImplemented")),
        (
            ask("partNumber=1").header("range", "bytes=0-1"),
            said(400, "InvalidRequest"),
        ),
    ] {
        assert_eq!(told(&request.send(&rig).await), expected);
    }
    assert_eq!(get(&rig, PATH).await.header("x-amz-mp-parts-count"), "");
    let stored = Signed::new("PUT", "/uploads/plain")
        .body("plain")
        .send(&rig)
        .await;
    assert_eq!(stored.status, 200);
    let only = get(&rig, "/uploads/plain?partNumber=1").await;
    assert_eq!((only.status.as_u16(), only.text().as_str()), (206, "plain"));
    assert_eq!(only.header("x-amz-mp-parts-count"), "");
    let second = get(&rig, "/uploads/plain?partNumber=2").await;
    assert_eq!(told(&second), said(416, "InvalidPartNumber"));
}

#[tokio::test]
async fn the_parts_of_an_object_are_told_with_their_sizes_page_by_page() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let parts = [part_bytes(1, MIN), part_bytes(2, MIN + 1), b"last".to_vec()];
    let mut named = Vec::new();
    for (number, bytes) in [2, 5, 9].into_iter().zip(&parts) {
        named.push((number, upload.send(number, bytes).await));
    }
    let named = named
        .iter()
        .map(|(n, etag)| (*n, etag.as_str()))
        .collect::<Vec<_>>();
    assert_eq!(upload.complete(&named).await.status, 200);
    let asked = Signed::new("GET", &format!("{PATH}?attributes"))
        .header("x-amz-object-attributes", "ObjectParts");
    let sizes = parts.map(|part| part.len().to_string());
    let page = async |max: &str, marker: &str| {
        let request = asked.clone().header("x-amz-max-parts", max);
        let request = request.header("x-amz-part-number-marker", marker);
        request.send(&rig).await
    };
    // The numbers are those by which the parts are read, whatever they were uploaded with.
    for (max, marker, numbers, next, more) in [
        ("", "", &["1", "2", "3"][..], "3", "false"),
        ("3", "0", &["1", "2", "3"], "3", "false"),
        ("2", "0", &["1", "2"], "2", "true"),
        ("2", "2", &["3"], "3", "false"),
        ("1", "1", &["2"], "2", "true"),
        ("9", "3", &[], "0", "false"),
        ("9", "2147483647", &[], "0", "false"),
        ("0", "0", &[], "0", "false"),
        ("abc", "0", &["1", "2", "3"], "3", "false"),
        ("-1", "1", &["2", "3"], "3", "false"),
    ] {
        let answer = page(max, marker).await;
        let case = format!("{max} behind {marker}: {}", answer.text());
        assert_eq!(elements(&answer, "PartNumber"), numbers, "{case}");
        let first = numbers.first().map_or(0, |first| first.parse().unwrap());
        let shown = sizes.iter().skip(first.max(1) - 1).take(numbers.len());
        let shown = shown.cloned().collect::<Vec<_>>();
        assert_eq!(elements(&answer, "Size"), shown, "{case}");
        assert_eq!(element(&answer, "NextPartNumberMarker"), next, "{case}");
        assert_eq!(element(&answer, "IsTruncated"), more, "{case}");
        assert_eq!(element(&answer, "PartsCount"), "3", "{case}");
    }
    for marker in ["x", "-1"] {
        let refused = page("1", marker).await;
        assert_eq!(told(&refused), said(400, "InvalidArgument"), "{marker}");
    }
}

#[tokio::test]
async fn of_parts_that_change_their_size_too_often_only_the_number_is_told() {
    let rig = Rig::new().await;
    let session = rig.start("uneven.bin").await;
    for index in 0..102 {
        let bytes = if index % 2 == 0 { "a" } else { "bb" };
        rig.put_chunk(&session, index, Some(102), bytes).await;
    }
    let path = format!("/uploads/tmp/{}/uneven.bin?attributes", support::PIPELINE);
    let asked = Signed::new("GET", &path).header("x-amz-object-attributes", "ObjectParts");
    let answer = asked.send(&rig).await;
    let told = answer.text();
    assert!(
        told.contains("<ObjectParts><PartsCount>102</PartsCount></ObjectParts>"),
        "{told}"
    );
}

#[tokio::test]
async fn a_copy_of_an_object_of_parts_is_an_object_of_one_piece() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[("x-amz-checksum-algorithm", "CRC32")]).await;
    let part = upload
        .part(1, b"part")
        .header("x-amz-checksum-crc32", &crc32(b"part"));
    let etag = part.send(&rig).await.header("etag").to_owned();
    let body = format!(
        "<CompleteMultipartUpload><Part><ETag>{etag}</ETag><PartNumber>1</PartNumber>\
         <ChecksumCRC32>{}</ChecksumCRC32></Part></CompleteMultipartUpload>",
        crc32(b"part")
    );
    assert_eq!(upload.on("POST").body(body).send(&rig).await.status, 200);
    let copied = Signed::new("PUT", "/uploads/copy").header("x-amz-copy-source", PATH);
    assert_eq!(copied.send(&rig).await.status, 200);
    let read = Signed::new("GET", "/uploads/copy").header("x-amz-checksum-mode", "ENABLED");
    let read = read.send(&rig).await;
    assert_eq!(
        read.header("etag"),
        format!("\"{}\"", hex(&md5_of(b"part")))
    );
    assert_eq!(read.header("x-amz-checksum-type"), "FULL_OBJECT");
    assert_eq!(read.header("x-amz-checksum-crc32"), crc32(b"part"));
}

#[tokio::test]
async fn an_upload_in_parts_and_a_session_of_forms_are_not_taken_for_each_other() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let etag = upload.send(1, b"part").await;
    let rest = format!("/v1/files/uploads/{}", upload.id);
    for (method, uri) in [
        ("GET", rest.clone()),
        ("GET", format!("{rest}?form_post_params=true")),
        ("PUT", format!("{rest}?nb_chunks=1")),
        ("DELETE", rest),
        ("DELETE", format!("/v1/files/{}", upload.id)),
    ] {
        assert_eq!(rig.ask(method, &uri).await.status, 404, "{method} {uri}");
    }
    let session = rig.start("film.mp4").await;
    rig.put_chunk(&session, 0, None, "chunk").await;
    let key = format!("/uploads/tmp/{}/film.mp4", support::PIPELINE);
    let others = Upload {
        rig: &rig,
        path: key,
        id: session.clone(),
    };
    for request in [
        others.part(1, b"x"),
        others.on("GET"),
        others.on("DELETE"),
        others.completion(&[(1, &hex(&md5_of(b"chunk")))]),
    ] {
        assert_eq!(told(&request.send(&rig).await), said(404, "NoSuchUpload"));
    }
    let listed = get(&rig, "/uploads?uploads").await;
    assert_eq!(
        elements(&listed, "UploadId"),
        std::slice::from_ref(&upload.id)
    );
    assert_eq!(upload.complete(&[(1, &etag)]).await.status, 200);
}

#[tokio::test]
async fn an_abandoned_upload_is_swept() {
    let rig = Rig::new().await;
    let upload = Upload::start(&rig, PATH, &[]).await;
    let etag = upload.send(1, b"part").await;
    let life = pillarbox::api::app::AppOptions::default().session_lifetime;
    for (age, is_there) in [(life - Duration::from_secs(1), true), (life, false)] {
        let clock = ClockReading {
            wall: support::NOW.plus(age),
            monotonic: age,
        };
        rig.store.sweep(clock, 100).await.unwrap();
        let parts = upload.on("GET").send(&rig).await;
        assert_eq!(parts.status == 200, is_there, "{}", parts.text());
    }
    assert_eq!(
        told(&upload.complete(&[(1, &etag)]).await),
        said(404, "NoSuchUpload")
    );
    assert_eq!(
        elements(&get(&rig, "/uploads?uploads").await, "Key").len(),
        0
    );
}

/// The names of all files that hold bytes of uploads or objects.
fn files(rig: &Rig) -> Vec<String> {
    let mut folders = vec![rig.folder().join("objects")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.file_name().into_string().unwrap()),
            }
        }
    }
    files
}

#[tokio::test]
async fn an_upload_that_is_hidden_because_its_bucket_was_made_anew_is_freed_when_it_is_abandoned() {
    let rig = Rig::new().await;
    let bucket = async |method: &str| Signed::new(method, "/films").send(&rig).await.status;
    assert_eq!(bucket("PUT").await, 200);
    let upload = Upload::start(&rig, "/films/a", &[]).await;
    let etag = upload.send(1, b"part").await;
    assert_eq!(files(&rig).len(), 1);
    assert_eq!(bucket("DELETE").await, 204);
    let second = Duration::from_secs(1);
    rig.advance(second);
    assert_eq!(bucket("PUT").await, 200);
    let listed = get(&rig, "/films?uploads").await;
    assert_eq!(elements(&listed, "UploadId").len(), 0);
    for request in [
        upload.on("GET"),
        upload.on("DELETE"),
        upload.part(2, b"more"),
        upload.completion(&[(1, &etag)]),
    ] {
        assert_eq!(told(&request.send(&rig).await), said(404, "NoSuchUpload"));
    }
    let life = pillarbox::api::app::AppOptions::default().session_lifetime;
    for (age, left) in [(life - second, 1), (life, 0)] {
        let clock = ClockReading {
            wall: support::NOW.plus(age),
            monotonic: age,
        };
        let report = rig.store.sweep(clock, 100).await.unwrap();
        assert_eq!(report.sessions, 1 - left, "{age:?}");
        assert!(left == 0 || files(&rig).len() == 1);
    }
    // Files are unlinked behind the answer.
    rig.store.close().await.unwrap();
    assert_eq!(files(&rig).len(), 0);
}

#[tokio::test]
async fn the_longest_key_with_the_most_headers_and_tags_is_kept() {
    let rig = Rig::new().await;
    let path = format!("/uploads/{}", "k".repeat(1024));
    let tag = |n: usize| format!("{n}{}={}", "a".repeat(127), "%F0%A0%80%80".repeat(256));
    let tags = (0..10).map(tag).collect::<Vec<_>>().join("&");
    let meta = "v".repeat(1900);
    let headers = [
        ("x-amz-meta-a", meta.as_str()),
        ("x-amz-tagging", tags.as_str()),
    ];
    let upload = Upload::start(&rig, &path, &headers).await;
    let etag = upload.send(1, b"part").await;
    let answer = upload.complete(&[(1, &etag)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let object = get(&rig, &path).await;
    assert_eq!(object.header("x-amz-meta-a"), meta);
    assert_eq!(object.header("x-amz-tagging-count"), "10");
}

#[tokio::test]
async fn hostile_keys_are_uploaded_in_parts_listed_and_read_exactly() {
    let rig = Rig::new().await;
    let keys = [
        "a",
        "a\0",
        "a\0b",
        "ab",
        "../../etc/passwd",
        "<&\"'>",
        "\u{202e}x",
        "//",
    ];
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let mut uploads = Vec::new();
    for key in keys {
        let path = format!("/uploads/{}", sigv4::encode(key).replace("%2F", "/"));
        uploads.push((key, Upload::start(&rig, &path, &[]).await));
    }
    let listed = get(&rig, "/uploads?uploads&encoding-type=url").await;
    let shown = |key: &&str| sigv4::encode(key).replace("%2F", "/");
    assert_eq!(
        elements(&listed, "Key"),
        sorted.iter().map(shown).collect::<Vec<_>>()
    );
    for (key, upload) in &uploads {
        let etag = upload.send(1, key.as_bytes()).await;
        assert_eq!(upload.complete(&[(1, &etag)]).await.status, 200, "{key:?}");
        assert_eq!(get(&rig, &upload.path).await.body, key.as_bytes());
    }
}
