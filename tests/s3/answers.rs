//! The S3 dialect, over HTTP: what Amazon answers where it is easily done otherwise, one question each.
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
use pillarbox::model::Md5;
use sigv4::{Signed, code, element, elements};
use support::{Answer, Rig};

const BYTES: &[u8] = b"the bytes of the object";

async fn put(rig: &Rig, path: &str) -> Answer {
    let answer = Signed::new("PUT", path).body(BYTES).send(rig).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
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

fn copy(source: &str) -> Signed {
    Signed::new("PUT", "/uploads/copy").header("x-amz-copy-source", source)
}

#[tokio::test]
async fn a_header_that_is_asked_for_is_latin_1_or_refused() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let asked = async |name: &str| {
        let path = "/uploads/a?response-content-disposition=attachment; filename";
        get(&rig, &format!("{path}=\"{name}\"")).await
    };
    let latin = asked("é.txt").await;
    let shown = latin.headers.get("content-disposition").unwrap();
    assert_eq!(shown.as_bytes(), b"attachment; filename=\"\xe9.txt\"");
    let other = asked("日本.txt").await;
    assert_eq!(told(&other), said(400, "InvalidArgument"));
    let name = element(&other, "ArgumentName");
    assert_eq!(name, "response-content-disposition");
}

#[tokio::test]
async fn a_change_after_a_moment_that_is_yet_to_come_is_not_looked_for() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    for (since, read, copied) in [
        // The test happens at 13:20.
        ("Sun, 22 Nov 2026 13:20:00 GMT", 304, 412),
        ("Sun, 22 Nov 2026 13:20:01 GMT", 200, 200),
    ] {
        let ask = Signed::new("GET", "/uploads/a").header("if-modified-since", since);
        assert_eq!(ask.send(&rig).await.status, read, "{since}");
        let copy = copy("/uploads/a").header("x-amz-copy-source-if-modified-since", since);
        assert_eq!(copy.send(&rig).await.status, copied, "{since}");
    }
}

#[tokio::test]
async fn an_object_that_nobody_named_a_checksum_for_has_the_one_that_all_have() {
    let rig = Rig::new().await;
    let answer = put(&rig, "/uploads/a").await;
    let read = Signed::new("HEAD", "/uploads/a").header("x-amz-checksum-mode", "ENABLED");
    let crc64 = read.send(&rig).await;
    let crc64 = crc64.header("x-amz-checksum-crc64nvme");
    assert_eq!(answer.header("x-amz-checksum-crc64nvme"), crc64);
    assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
}

#[tokio::test]
async fn lists_tell_which_checksum_an_object_has() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let named = Signed::new("PUT", "/uploads/b").body("");
    let named = named.header("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(named.send(&rig).await.status, 200);
    for list in ["", "?list-type=2", "?versions"] {
        let list = get(&rig, &format!("/uploads{list}")).await;
        let algorithms = elements(&list, "ChecksumAlgorithm");
        assert_eq!(algorithms, ["CRC64NVME", "CRC32"]);
        let kinds = elements(&list, "ChecksumType");
        assert_eq!(kinds, ["FULL_OBJECT", "FULL_OBJECT"]);
    }
}

#[tokio::test]
async fn who_signed_for_another_region_is_told_the_right_one_without_a_body() {
    let rig = Rig::with(|options| options.region = Some("eu-west-3".to_owned())).await;
    let answer = Signed::new("HEAD", "/uploads/a").send(&rig).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-amz-bucket-region"), "eu-west-3");
}

#[tokio::test]
async fn who_may_not_see_a_bucket_is_told_where_it_is_all_the_same() {
    let rig = Rig::with(|options| options.region = Some("eu-west-3".to_owned())).await;
    for method in ["HEAD", "GET"] {
        let answer = rig.request(method, "/uploads", &[], "").await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.header("x-amz-bucket-region"), "eu-west-3");
    }
}

#[tokio::test]
async fn words_about_a_checksum_without_one_are_passed_over() {
    let rig = Rig::new().await;
    for (name, value) in [
        ("x-amz-checksum-algorithm", "SHA256"),
        ("x-amz-checksum-type", "COMPOSITE"),
    ] {
        let put = Signed::new("PUT", "/uploads/a").header(name, value);
        let answer = put.body(BYTES).send(&rig).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_version_of_a_bucket_without_versions_is_no_version() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    for method in ["GET", "DELETE"] {
        let answer = Signed::new(method, "/uploads/a?versionId=7");
        let answer = answer.send(&rig).await;
        assert_eq!(told(&answer), said(400, "InvalidArgument"), "{method}");
        assert_eq!(element(&answer, "Message"), "Invalid version id specified");
    }
    assert_eq!(get(&rig, "/uploads/a").await.status, 200);
}

#[tokio::test]
async fn a_list_of_buckets_begins_without_a_token_and_tells_their_region_when_it_is_asked_for_a_page()
 {
    let rig = Rig::new().await;
    let all = get(&rig, "/").await;
    assert!(!elements(&all, "Name").is_empty());
    assert_eq!(elements(&all, "BucketRegion"), [""; 0]);
    let page = get(&rig, "/?continuation-token=&max-buckets=").await;
    assert_eq!(elements(&page, "Name"), elements(&all, "Name"));
    let regions = elements(&page, "BucketRegion");
    assert!(regions.iter().all(|region| region == "us-east-1"));
    assert_eq!(regions.len(), elements(&all, "Name").len());
}

#[tokio::test]
async fn tags_in_a_header_are_pairs_of_different_keys() {
    let rig = Rig::new().await;
    for (tags, expected) in [
        ("a=1&b=2", said(200, "")),
        ("a=1&a=2", said(400, "InvalidArgument")),
        ("a=1,b=2", said(400, "InvalidArgument")),
        ("a=%2C", said(400, "InvalidTag")),
    ] {
        let put = Signed::new("PUT", "/uploads/a").header("x-amz-tagging", tags);
        let answer = put.body(BYTES).send(&rig).await;
        assert_eq!(told(&answer), expected, "{tags}");
    }
}

#[tokio::test]
async fn a_list_with_a_key_that_is_too_long_removes_nothing() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let long = "k".repeat(1025);
    let body =
        format!("<Delete><Object><Key>a</Key></Object><Object><Key>{long}</Key></Object></Delete>");
    let md5 = STANDARD.encode(Md5::of(body.as_bytes()).as_bytes());
    let delete = Signed::new("POST", "/uploads?delete").header("content-md5", &md5);
    let answer = delete.body(body).send(&rig).await;
    assert_eq!(told(&answer), said(400, "KeyTooLongError"));
    assert_eq!(get(&rig, "/uploads/a").await.status, 200);
}

#[tokio::test]
async fn a_range_of_all_bytes_carries_their_checksum() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    for (range, carries) in [("bytes=0-999", true), ("bytes=0-1", false)] {
        let read = Signed::new("GET", "/uploads/a").header("range", range);
        let read = read.header("x-amz-checksum-mode", "ENABLED");
        let read = read.send(&rig).await;
        assert_eq!(read.status, 206, "{range}");
        let has = read.headers.contains_key("x-amz-checksum-crc64nvme");
        assert_eq!(has, carries, "{range}");
    }
}

#[tokio::test]
async fn what_must_have_a_body_says_when_there_is_none() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let md5 = STANDARD.encode(Md5::of(b"").as_bytes());
    for (method, path) in [
        ("POST", "/uploads?delete"),
        ("PUT", "/uploads/a?tagging"),
        ("PUT", "/uploads?cors"),
        ("PUT", "/uploads?lifecycle"),
    ] {
        let ask = Signed::new(method, path).header("content-md5", &md5);
        let answer = ask.send(&rig).await;
        assert_eq!(
            told(&answer),
            said(400, "MissingRequestBodyError"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_is_locked_so_no_lock_can_be_passed_by() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let delete = Signed::new("DELETE", "/uploads/a");
    let delete = delete.header("x-amz-bypass-governance-retention", "false");
    let answer = delete.send(&rig).await;
    assert_eq!(told(&answer), said(400, "InvalidArgument"));
    assert_eq!(get(&rig, "/uploads/a").await.status, 200);
}

#[tokio::test]
async fn an_answer_of_nothing_new_says_how_long_that_holds() {
    let rig = Rig::new().await;
    let put = Signed::new("PUT", "/uploads/a").header("cache-control", "max-age=60");
    let put = put.header("expires", "0").body(BYTES).send(&rig).await;
    let read = Signed::new("GET", "/uploads/a").header("if-none-match", put.header("etag"));
    let read = read.send(&rig).await;
    assert_eq!(read.status, 304);
    assert_eq!(read.header("cache-control"), "max-age=60");
    assert_eq!(read.header("expires"), "0");
}

#[tokio::test]
async fn lists_say_where_the_next_page_begins_as_amazon_does() {
    let rig = Rig::new().await;
    for key in ["a/1", "b"] {
        put(&rig, &format!("/uploads/{key}")).await;
    }
    let versions = get(&rig, "/uploads?versions&delimiter=/&max-keys=1").await;
    assert_eq!(element(&versions, "NextKeyMarker"), "a/");
    assert!(!versions.text().contains("NextVersionIdMarker"));
    let uploads = get(&rig, "/uploads?uploads").await;
    for marker in ["NextKeyMarker", "NextUploadIdMarker"] {
        assert_eq!(elements(&uploads, marker), [""], "{marker}");
    }
    let encoded = get(&rig, "/uploads?encoding-type=").await;
    assert_eq!(told(&encoded), said(400, "InvalidArgument"));
}

#[tokio::test]
async fn a_part_copied_from_behind_the_end_is_an_invalid_request() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let start = Signed::new("POST", "/uploads/b?uploads").send(&rig).await;
    let id = element(&start, "UploadId");
    for (range, expected) in [
        ("bytes=100-200", "InvalidRequest"),
        ("bytes=0-200", "InvalidArgument"),
    ] {
        let path = format!("/uploads/b?partNumber=1&uploadId={id}");
        let copy = Signed::new("PUT", &path).header("x-amz-copy-source", "/uploads/a");
        let copy = copy.header("x-amz-copy-source-range", range);
        assert_eq!(told(&copy.send(&rig).await), said(400, expected), "{range}");
    }
}

#[tokio::test]
async fn who_promises_a_checksum_sends_it() {
    let rig = Rig::new().await;
    let promise = ("x-amz-sdk-checksum-algorithm", "CRC32");
    for (checksum, expected) in [
        (None, said(400, "InvalidRequest")),
        (Some(("x-amz-checksum-crc32", "AAAAAA==")), said(200, "")),
        (
            Some(("x-amz-checksum-crc32c", "AAAAAA==")),
            said(400, "InvalidRequest"),
        ),
    ] {
        let mut put = Signed::new("PUT", "/uploads/a").header(promise.0, promise.1);
        if let Some((name, value)) = checksum {
            put = put.header(name, value);
        }
        assert_eq!(told(&put.send(&rig).await), expected, "{checksum:?}");
    }
    let trailer = Signed::new("PUT", "/uploads/a")
        .header("x-amz-sdk-checksum-algorithm", "SHA1")
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", "0")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .body("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
    assert_eq!(told(&trailer.send(&rig).await), said(400, "InvalidRequest"));
    let presigned = Signed::new("PUT", "/uploads/a?x-amz-sdk-checksum-algorithm=CRC32");
    let presigned = presigned.body(BYTES).send_presigned(&rig, 60).await;
    assert_eq!(presigned.status, 200, "{}", presigned.text());
}

#[tokio::test]
async fn an_object_tells_the_one_checksum_that_its_client_named() {
    let rig = Rig::new().await;
    let named = Signed::new("PUT", "/uploads/a").body("");
    let named = named.header("x-amz-checksum-crc32", "AAAAAA==");
    assert_eq!(named.send(&rig).await.status, 200);
    put(&rig, "/uploads/b").await;
    for (path, header, member) in [
        ("/uploads/a", "x-amz-checksum-crc32", "ChecksumCRC32"),
        (
            "/uploads/b",
            "x-amz-checksum-crc64nvme",
            "ChecksumCRC64NVME",
        ),
    ] {
        for method in ["GET", "HEAD"] {
            let read = Signed::new(method, path).header("x-amz-checksum-mode", "ENABLED");
            let read = read.send(&rig).await;
            let shown = read.headers.keys().map(|name| name.as_str());
            let shown = shown.filter(|name| name.starts_with("x-amz-checksum-"));
            let mut shown = shown.collect::<Vec<_>>();
            shown.sort_unstable();
            assert_eq!(shown, [header, "x-amz-checksum-type"], "{method} {path}");
        }
        let told = Signed::new("GET", &format!("{path}?attributes"));
        let told = told.header("x-amz-object-attributes", "Checksum");
        let told = told.send(&rig).await.text();
        assert!(told.contains(&format!("<{member}>")), "{told}");
        assert_eq!(told.matches("<Checksum").count(), 3, "{told}");
    }
}

async fn start(rig: &Rig, path: &str) -> String {
    let start = Signed::new("POST", &format!("{path}?uploads"));
    element(&start.send(rig).await, "UploadId")
}

#[tokio::test]
async fn uploads_of_one_key_are_listed_as_they_were_started_also_within_a_second() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(start(&rig, "/uploads/a").await);
        rig.advance(Duration::from_millis(49));
    }
    let list = get(&rig, "/uploads?uploads").await;
    assert_eq!(elements(&list, "UploadId"), ids);
}

#[tokio::test]
async fn the_last_page_of_uploads_names_the_last_one_that_it_shows() {
    let rig = Rig::new().await;
    let id = start(&rig, "/uploads/a").await;
    start(&rig, "/uploads/b/c").await;
    for (question, key, id) in [
        ("", "b/c", None),
        ("&prefix=a", "a", Some(id.as_str())),
        ("&delimiter=/", "a", Some(id.as_str())),
        ("&delimiter=/&prefix=b", "", Some("")),
        ("&prefix=nothing", "", Some("")),
    ] {
        let page = get(&rig, &format!("/uploads?uploads{question}")).await;
        assert_eq!(element(&page, "IsTruncated"), "false", "{question}");
        assert_eq!(element(&page, "NextKeyMarker"), key, "{question}");
        if let Some(id) = id {
            assert_eq!(element(&page, "NextUploadIdMarker"), id, "{question}");
        }
    }
}

#[tokio::test]
async fn the_marker_of_an_upload_is_one_of_the_key_beside_it() {
    let rig = Rig::new().await;
    let id = start(&rig, "/uploads/a").await;
    let other = start(&rig, "/uploads/b").await;
    let unknown = "53a1ac4914eaa8ffa4fce91b";
    for (key, marker, expected) in [
        ("a", id.as_str(), said(200, "")),
        ("a", &other, said(400, "InvalidArgument")),
        ("a", unknown, said(200, "")),
        ("", &other, said(200, "")),
        ("", "zzz", said(200, "")),
    ] {
        let question = format!("/uploads?uploads&key-marker={key}&upload-id-marker={marker}");
        let page = get(&rig, &question).await;
        assert_eq!(told(&page), expected, "{key} {marker}");
        if key.is_empty() {
            assert_eq!(element(&page, "UploadIdMarker"), "", "{marker}");
            assert_eq!(elements(&page, "UploadId").len(), 2, "{marker}");
        }
        if expected.0 == 400 {
            assert_eq!(element(&page, "Message"), "Invalid uploadId marker");
            assert_eq!(element(&page, "ArgumentName"), "upload-id-marker");
            assert_eq!(element(&page, "ArgumentValue"), marker);
        }
    }
}

#[tokio::test]
async fn a_version_in_a_list_that_is_not_there_is_an_error_of_its_key() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let body = "<Delete><Object><Key>a</Key><VersionId>7</VersionId></Object></Delete>";
    let md5 = STANDARD.encode(Md5::of(body.as_bytes()).as_bytes());
    let delete = Signed::new("POST", "/uploads?delete").header("content-md5", &md5);
    let answer = delete.body(body).send(&rig).await;
    assert_eq!(told(&answer), said(200, "NoSuchVersion"));
    let message = "The specified version does not exist.";
    assert_eq!(element(&answer, "Message"), message);
    assert_eq!(element(&answer, "VersionId"), "7");
    assert_eq!(get(&rig, "/uploads/a").await.status, 200);
}

#[tokio::test]
async fn a_list_that_goes_on_by_a_token_does_not_repeat_where_it_began() {
    let rig = Rig::new().await;
    for key in ["a", "b", "c"] {
        put(&rig, &format!("/uploads/{key}")).await;
    }
    let list = "/uploads?list-type=2&start-after=a&max-keys=1";
    let first = get(&rig, list).await;
    assert_eq!(element(&first, "StartAfter"), "a");
    let token = element(&first, "NextContinuationToken");
    let second = get(&rig, &format!("{list}&continuation-token={token}")).await;
    assert_eq!(elements(&second, "Key"), ["c"]);
    assert_eq!(elements(&second, "StartAfter"), [""; 0]);
}

#[tokio::test]
async fn parts_show_a_checksum_only_where_their_upload_asked_for_one() {
    let rig = Rig::new().await;
    for (algorithm, shown) in [(None, &[][..]), (Some("CRC32"), &["AAAAAA=="][..])] {
        let mut start = Signed::new("POST", "/uploads/a?uploads");
        if let Some(algorithm) = algorithm {
            start = start.header("x-amz-checksum-algorithm", algorithm);
        }
        let id = element(&start.send(&rig).await, "UploadId");
        let part = Signed::new("PUT", &format!("/uploads/a?partNumber=1&uploadId={id}"));
        let part = part.header("x-amz-checksum-crc32", "AAAAAA==").body("");
        let part = part.send(&rig).await;
        assert_eq!(part.header("x-amz-checksum-crc32"), "AAAAAA==");
        let upload = format!("/uploads/a?uploadId={id}");
        let list = get(&rig, &upload).await;
        assert_eq!(elements(&list, "ChecksumCRC32"), shown, "{algorithm:?}");
        // An SDK repeats what it was told of the part.
        let body = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag>\
             <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
            part.header("etag")
        );
        let done = Signed::new("POST", &upload).body(body).send(&rig).await;
        assert_eq!(done.status, 200, "{}", done.text());
    }
}

#[tokio::test]
async fn a_presigned_url_chooses_checksums_and_claims_none() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    for (query, algorithm, kind) in [
        ("x-amz-checksum-algorithm=SHA256", "SHA256", "COMPOSITE"),
        (
            "x-amz-checksum-algorithm=CRC32&x-amz-checksum-type=FULL_OBJECT",
            "CRC32",
            "FULL_OBJECT",
        ),
        ("x-amz-checksum-crc32=AAAAAA==", "", ""),
    ] {
        let start = Signed::new("POST", &format!("/uploads/b?uploads&{query}"));
        let started = start.send_presigned(&rig, 60).await;
        assert_eq!(started.status, 200, "{query}: {}", started.text());
        let told = |name| started.header(name);
        assert_eq!(told("x-amz-checksum-algorithm"), algorithm, "{query}");
        assert_eq!(told("x-amz-checksum-type"), kind, "{query}");
    }
    let query = "x-amz-copy-source=/uploads/a&x-amz-checksum-algorithm=SHA256";
    let copy = Signed::new("PUT", &format!("/uploads/b?{query}"));
    let copied = copy.send_presigned(&rig, 60).await;
    assert_ne!(element(&copied, "ChecksumSHA256"), "", "{}", copied.text());
    // What the SDK for JavaScript signs: the checksum of the empty body that it has by then.
    let query = "x-amz-checksum-crc32=AAAAAA==&x-amz-sdk-checksum-algorithm=CRC32";
    let put = Signed::new("PUT", &format!("/uploads/b?{query}")).body(BYTES);
    assert_eq!(put.send_presigned(&rig, 60).await.status, 200);
    let start = Signed::new("POST", "/uploads/b?uploads&x-amz-checksum-algorithm=MD4");
    let answer = start.send_presigned(&rig, 60).await;
    assert_eq!(told(&answer), said(400, "InvalidRequest"));
}

fn assert_expired(answer: &Answer, (life, end, now): (&str, &str, &str)) {
    assert_eq!(told(answer), said(403, "AccessDenied"));
    assert_eq!(element(answer, "Message"), "Request has expired");
    assert_eq!(element(answer, "X-Amz-Expires"), life);
    assert_eq!(element(answer, "Expires"), end);
    assert_eq!(element(answer, "ServerTime"), now);
}

#[tokio::test]
async fn a_url_of_no_seconds_has_expired() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let read = Signed::new("GET", "/uploads/a");
    assert_eq!(read.send_presigned(&rig, 1).await.status, 200);
    let now = "2026-11-22T13:20:00.000Z";
    assert_expired(&read.send_presigned(&rig, 0).await, ("0", now, now));
}

#[tokio::test]
async fn a_url_that_is_over_tells_how_long_it_lived() {
    let rig = Rig::new().await;
    rig.advance(Duration::from_secs(61));
    let read = Signed::new("GET", "/uploads/a");
    let answer = read.send_presigned(&rig, 60).await;
    let (end, now) = ("2026-11-22T13:21:00.000Z", "2026-11-22T13:21:01.000Z");
    assert_expired(&answer, ("60", end, now));
}

#[tokio::test]
async fn the_date_of_version_2_may_name_a_wrong_day_of_the_week_and_is_from_1970_on() {
    let rig = Rig::new().await;
    let authorization = format!("AWS {}:bWq2s1WEIj+Ydj0vQ697zp+IXMU=", sigv4::KEY_ID);
    for (date, expected) in [
        ("Sun, 22 Nov 2026 13:20:00 GMT", "SignatureDoesNotMatch"),
        ("Mon, 22 Nov 2026 13:20:00 GMT", "SignatureDoesNotMatch"),
        ("Tue, 07 Jul 2010 21:53:04 GMT", "RequestTimeTooSkewed"),
        ("Fri, 07 Jul 1950 21:53:04 GMT", "AccessDenied"),
        ("Bad Date", "AccessDenied"),
    ] {
        let headers = [("authorization", authorization.as_str()), ("date", date)];
        let answer = rig.request("GET", "/uploads/a", &headers, "").await;
        assert_eq!(told(&answer), said(403, expected), "{date}");
    }
}

#[tokio::test]
async fn an_authorization_that_says_nothing_is_no_authorization() {
    let rig = Rig::new().await;
    for (authorization, expected) in [
        ("", said(403, "AccessDenied")),
        ("AWS", said(400, "InvalidArgument")),
    ] {
        let headers = [("authorization", authorization)];
        let answer = rig.request("GET", "/uploads/a", &headers, "").await;
        assert_eq!(told(&answer), expected, "{authorization}");
    }
}

#[tokio::test]
async fn the_first_region_has_no_name_where_a_bucket_is_made() {
    let rig = Rig::with(|options| options.region = Some("us-east-1".to_owned())).await;
    let refused = said(400, "InvalidLocationConstraint");
    for (wanted, expected) in [
        ("", refused.clone()),
        ("us-east-1", refused.clone()),
        ("eu-west-3", refused),
    ] {
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{wanted}</LocationConstraint></CreateBucketConfiguration>"
        );
        let answer = Signed::new("PUT", "/films").body(body).send(&rig).await;
        assert_eq!(told(&answer), expected, "{wanted}");
        let message = "The specified location-constraint is not valid";
        assert_eq!(element(&answer, "Message"), message);
        assert_eq!(element(&answer, "LocationConstraint"), wanted);
    }
    let made = Signed::new("PUT", "/films").send(&rig).await;
    assert_eq!(told(&made), said(200, ""));
}

#[tokio::test]
async fn what_a_bucket_has_and_no_object_is_not_asked_of_a_key() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    for (question, message) in [
        (
            "versions",
            "There is no such thing as the ?versions sub-resource for a key",
        ),
        (
            "uploads",
            "Key is not expected for the GET method ?uploads subresource",
        ),
    ] {
        for key in ["a", "nothing"] {
            let answer = get(&rig, &format!("/uploads/{key}?{question}")).await;
            assert_eq!(told(&answer), said(400, "InvalidRequest"), "{question}");
            assert_eq!(element(&answer, "Message"), message);
        }
    }
}

#[tokio::test]
async fn who_asks_for_no_attributes_is_told_that_the_header_is_missing() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let answer = get(&rig, "/uploads/a?attributes").await;
    assert_eq!(told(&answer), said(400, "InvalidRequest"));
    let message = "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty";
    assert_eq!(element(&answer, "Message"), message);
}

#[tokio::test]
async fn a_size_of_the_whole_that_is_none_is_repeated() {
    let rig = Rig::new().await;
    let id = start(&rig, "/uploads/a").await;
    let complete = Signed::new("POST", &format!("/uploads/a?uploadId={id}"));
    for (size, fault) in [("size", "invalid"), ("-7", "less than zero")] {
        let answer = complete.clone().header("x-amz-mp-object-size", size);
        let answer = answer.send(&rig).await;
        assert_eq!(told(&answer), said(400, "InvalidRequest"), "{size}");
        let message = format!("Value for x-amz-mp-object-size header is {fault}: '{size}'");
        let shown = element(&answer, "Message").replace("&apos;", "'");
        assert_eq!(shown, message);
    }
}

#[tokio::test]
async fn a_length_behind_the_framing_that_is_none_is_missing() {
    let rig = Rig::new().await;
    for length in ["abc", "-1", ""] {
        let put = Signed::new("PUT", "/uploads/a")
            .header("x-amz-decoded-content-length", length)
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .body("0\r\n\r\n");
        let answer = put.send(&rig).await;
        assert_eq!(told(&answer), said(411, "MissingContentLength"), "{length}");
    }
}

#[tokio::test]
async fn answers_about_a_bucket_and_its_objects_tell_its_region() {
    let rig = Rig::new().await;
    for path in ["/uploads", "/uploads?list-type=2"] {
        let list = get(&rig, path).await;
        assert_eq!(list.header("x-amz-bucket-region"), "us-east-1", "{path}");
    }
    let head = Signed::new("HEAD", "/uploads").send(&rig).await;
    for (name, value) in [
        ("x-amz-bucket-region", "us-east-1"),
        ("x-amz-access-point-alias", "false"),
        ("content-type", "application/xml"),
    ] {
        assert_eq!(head.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn who_signed_nothing_is_not_told_the_owner_by_the_first_version_of_the_list() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let open = Signed::new("PUT", "/uploads?acl").header("x-amz-acl", "public-read");
    assert_eq!(open.send(&rig).await.status, 200);
    let signed = get(&rig, "/uploads").await;
    assert_eq!(elements(&signed, "Owner").len(), 1);
    let anonymous = rig.request("GET", "/uploads", &[], "").await;
    assert_eq!(elements(&anonymous, "Key"), ["a"]);
    assert_eq!(elements(&anonymous, "Owner").len(), 0);
}

#[tokio::test]
async fn an_answer_to_an_allowed_page_says_what_its_rule_allows() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let rule = "<AllowedOrigin>https://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
        <AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader>";
    for (age, shown) in [("<MaxAgeSeconds>600</MaxAgeSeconds>", "600"), ("", "")] {
        let rules =
            format!("<CORSConfiguration><CORSRule>{rule}{age}</CORSRule></CORSConfiguration>");
        let set = Signed::new("PUT", "/uploads?cors").body(rules);
        assert_eq!(set.send(&rig).await.status, 200);
        for (origin, methods, age) in [
            ("https://a.example", "GET, PUT", shown),
            ("https://b.example", "", ""),
        ] {
            let read = Signed::new("GET", "/uploads/a").unsigned("origin", origin);
            let read = read.send(&rig).await;
            assert_eq!(read.status, 200);
            let told = read.header("access-control-allow-methods");
            assert_eq!(told, methods, "{origin}");
            assert_eq!(read.header("access-control-max-age"), age, "{origin}");
        }
    }
    let asked = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "X-Amz-Date,Content-Type"),
    ];
    let answer = rig.request("OPTIONS", "/uploads/a", &asked, "").await;
    let headers = answer.header("access-control-allow-headers");
    assert_eq!(headers, "x-amz-date, content-type");
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods, "GET, PUT");
}
