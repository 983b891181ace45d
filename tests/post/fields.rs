//! The fields of a form that act: each through the real road, and read back where something was stored.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{form, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form::{Form, KEY_ID, content_type};
use pillarbox::model::{
    AccessKey, Bucket, BucketConfig, CannedAcl, Md5, ObjectKey, ObjectMeta, Tags,
};
use pillarbox::store::{CatalogEntry, ClockReading, ObjectName};
use serde_json::json;
use support::{Answer, NOW, Rig};

const FILE: &[u8] = b"the bytes of the file";
const KEY: &str = "in/a.bin";
const CRC64: &str = "x-amz-checksum-crc64nvme";

fn valid() -> Form {
    Form::new("uploads", KEY, FILE)
}

/// A form whose field any policy of its kind allows: the condition is a prefix, so that a long value is sent once.
fn with(name: &str, value: &str) -> Form {
    let mut form = valid();
    form.condition(&json!(["starts-with", format!("${name}"), ""]).to_string());
    form.set(name, value);
    form
}

async fn send(rig: &Rig, bucket: &str, form: &Form) -> Answer {
    let headers = [("content-type", &*content_type())];
    rig.request("POST", &format!("/{bucket}/"), &headers, form.encode())
        .await
}

/// Posts with Signature Version 2.
async fn post(rig: &Rig, mut form: Form) -> Answer {
    form.sign();
    send(rig, "uploads", &form).await
}

/// Status and S3 code; the code is empty for a success.
fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), element(answer, "Code"))
}

fn element(answer: &Answer, name: &str) -> String {
    let text = answer.text();
    let (_, tail) = text.split_once(&format!("<{name}>")).unwrap_or_default();
    tail.split("</").next().unwrap_or_default().to_owned()
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn stored_in(rig: &Rig, bucket: &str) -> Option<ObjectMeta> {
    let bucket = Bucket::parse(bucket).unwrap();
    let name = ObjectName::Key(bucket, ObjectKey::parse(KEY).unwrap());
    rig.store.object(&name, rig.clock.now()).await.ok()
}

async fn stored(rig: &Rig) -> Option<ObjectMeta> {
    stored_in(rig, "uploads").await
}

/// What a download of the stored object answers; HEAD answers the same.
async fn read_back(rig: &Rig) -> Answer {
    let meta = stored(rig).await.expect("an object");
    let question = format!("/v1/files/downloads/?file_id={}", meta.id);
    let link = rig.ask("GET", &question).await.json();
    let uri = link["download"]["uri"].as_str().unwrap().to_owned();
    let got = rig.request("GET", &uri, &[], "").await;
    let head = rig.request("HEAD", &uri, &[], "").await;
    assert_eq!((got.status.as_u16(), head.status.as_u16()), (200, 200));
    let shown = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        for own in ["x-request-id", "x-amz-request-id"] {
            headers.remove(own);
        }
        headers
    };
    assert_eq!(shown(&got), shown(&head));
    got
}

// ---- stored headers ----

#[tokio::test]
async fn every_stored_header_comes_back_whichever_signature_allowed_it() {
    let rig = Rig::new().await;
    for (field, value, header, shown) in [
        ("Content-Type", "video/mp4", "content-type", "video/mp4"),
        ("Cache-Control", "max-age=60", "cache-control", "max-age=60"),
        (
            "Content-Disposition",
            "attachment; filename=\"other.bin\"",
            "content-disposition",
            "attachment; filename=\"other.bin\"",
        ),
        ("Content-Encoding", "gzip", "content-encoding", "gzip"),
        ("Content-Language", "de, en", "content-language", "de, en"),
        (
            "Expires",
            "Thu, 01 Dec 2033 16:00:00 GMT",
            "expires",
            "Thu, 01 Dec 2033 16:00:00 GMT",
        ),
        (
            "x-amz-meta-TEST-2",
            "Value_2 = ?",
            "x-amz-meta-test-2",
            "Value_2 = ?",
        ),
        (
            "x-amz-meta-title",
            "Grüße = viele",
            "x-amz-meta-title",
            "=?UTF-8?Q?Gr=C3=BC=C3=9Fe_=3D_viele?=",
        ),
        (
            "x-amz-storage-class",
            "GLACIER",
            "x-amz-storage-class",
            "GLACIER",
        ),
        (
            "x-amz-website-redirect-location",
            "/elsewhere",
            "x-amz-website-redirect-location",
            "/elsewhere",
        ),
    ] {
        for version in [2, 4] {
            let mut form = with(field, value);
            match version {
                2 => form.sign(),
                _ => form.sign_v4(KEY_ID),
            };
            let answer = send(&rig, "uploads", &form).await;
            assert_eq!(answer.status, 204, "{field}: {}", answer.text());
            let got = read_back(&rig).await;
            assert_eq!(got.header(header), shown, "V{version}: {field}={value}");
        }
    }
}

#[tokio::test]
async fn repeated_metadata_is_one_value_and_the_standard_class_is_not_shown() {
    let rig = Rig::new().await;
    let mut form = with("x-amz-meta-a", "Ninja");
    form.fields.push(("X-Amz-Meta-A".into(), "Stallman".into()));
    form.covered("x-amz-storage-class", "STANDARD");
    assert_eq!(post(&rig, form).await.status, 204);
    let got = read_back(&rig).await;
    assert_eq!(got.header("x-amz-meta-a"), "Ninja,Stallman");
    for absent in ["x-amz-storage-class", "x-amz-tagging-count"] {
        assert!(!got.headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn a_stored_disposition_that_would_show_the_file_does_not_come_back() {
    let rig = Rig::new().await;
    for value in ["inline", "inline; filename=\"x.html\"", "attachment\u{e9}"] {
        assert_eq!(
            post(&rig, with("Content-Disposition", value)).await.status,
            204
        );
        let got = read_back(&rig).await;
        assert_eq!(
            got.header("content-disposition"),
            "attachment; filename=\"a.bin\""
        );
    }
}

#[tokio::test]
async fn a_stored_field_that_is_not_of_its_kind_stores_nothing() {
    let rig = Rig::new().await;
    for (field, value, code) in [
        ("Content-Type", "a\r\nb", "InvalidArgument"),
        ("x-amz-meta-a", "a\nb", "InvalidArgument"),
        ("x-amz-meta-a", &"v".repeat(2048), "MetadataTooLarge"),
        ("x-amz-storage-class", "COLD", "InvalidStorageClass"),
        (
            "x-amz-website-redirect-location",
            "ftp://a/",
            "InvalidRedirectLocation",
        ),
    ] {
        let answer = post(&rig, with(field, value)).await;
        assert_eq!(verdict(&answer), refused(400, code), "{field}");
        assert_eq!(stored(&rig).await, None, "{field}");
    }
    let answer = post(&rig, with("x-amz-storage-class", "COLD")).await;
    assert_eq!(element(&answer, "StorageClassRequested"), "COLD");
}

// ---- acl ----

#[tokio::test]
async fn every_canned_acl_is_stored_and_private_is_the_default() {
    let rig = Rig::new().await;
    assert_eq!(post(&rig, valid()).await.status, 204);
    let acl = async || stored(&rig).await.unwrap().attributes.acl;
    assert_eq!(acl().await, CannedAcl::Private);
    for name in [
        "private",
        "public-read",
        "public-read-write",
        "aws-exec-read",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    ] {
        assert_eq!(post(&rig, with("acl", name)).await.status, 204, "{name}");
        assert_eq!(acl().await.as_str(), name);
    }
    for name in ["", "everyone", "Private", "log-delivery-write"] {
        let answer = post(&rig, with("acl", name)).await;
        assert_eq!(verdict(&answer), refused(400, "InvalidArgument"));
        assert_eq!(element(&answer, "ArgumentName"), "acl");
        assert_eq!(acl().await.as_str(), "bucket-owner-full-control", "{name}");
    }
}

// ---- tagging ----

fn tagging(tags: &str) -> String {
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

fn tag(key: &str, value: &str) -> String {
    format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
}

#[tokio::test]
async fn tags_are_stored_and_counted_and_go_with_their_object() {
    let rig = Rig::new().await;
    let xml = tagging(&(tag("Schlüssel 1", "a+b") + &tag("k", "")));
    assert_eq!(post(&rig, with("tagging", &xml)).await.status, 204);
    assert_eq!(read_back(&rig).await.header("x-amz-tagging-count"), "2");
    let meta = stored(&rig).await.unwrap();
    let tags: Vec<_> = meta.attributes.tags.iter().collect();
    assert_eq!(tags, [("Schlüssel 1", "a+b"), ("k", "")]);
    assert_eq!(post(&rig, valid()).await.status, 204);
    let replaced = stored(&rig).await.unwrap();
    assert!(
        replaced.attributes.tags.is_empty(),
        "tags go with their object"
    );
}

#[tokio::test]
async fn ten_tags_of_full_length_go_through_a_form_and_are_kept_whole() {
    let rig = Rig::new().await;
    let long = |n: usize| "\u{20000}".repeat(n);
    let tags: String = (0..10)
        .map(|n| tag(&format!("{n}{}", long(127)), &long(256)))
        .collect();
    let answer = post(&rig, with("tagging", &tagging(&tags))).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(read_back(&rig).await.header("x-amz-tagging-count"), "10");
    let meta = stored(&rig).await.unwrap();
    let chars = |(key, value): (&str, &str)| (key.chars().count(), value.chars().count());
    let lengths: Vec<_> = meta.attributes.tags.iter().map(chars).collect();
    assert_eq!(lengths, [(128, 256); 10]);
}

#[tokio::test]
async fn tagging_that_is_no_xml_or_breaks_a_rule_stores_nothing() {
    let rig = Rig::new().await;
    let eleven: String = (0..11).map(|n| tag(&n.to_string(), "")).collect();
    for (xml, code, message) in [
        (
            "not-xml",
            "MalformedXML",
            "The XML you provided was not well-formed",
        ),
        (
            "",
            "MalformedXML",
            "The XML you provided was not well-formed",
        ),
        (
            "<Tagging><TagSet>",
            "MalformedXML",
            "The XML you provided was not well-formed",
        ),
        (
            "<!DOCTYPE a [<!ENTITY b \"c\">]><Tagging/>",
            "MalformedXML",
            "The XML you provided was not well-formed",
        ),
        (
            &tagging(&tag("", "v")),
            "InvalidTag",
            "The TagKey you have provided is invalid",
        ),
        (
            &tagging(&tag(&"k".repeat(129), "v")),
            "InvalidTag",
            "The TagKey you have",
        ),
        (
            &tagging(&tag("k", &"v".repeat(257))),
            "InvalidTag",
            "The TagValue you have",
        ),
        (
            &tagging(&tag("k", "a\u{1f600}")),
            "InvalidTag",
            "The TagValue you have",
        ),
        (
            &tagging(&(tag("k", "1") + &tag("k", "2"))),
            "InvalidTag",
            "Cannot provide multiple Tags with the same key",
        ),
        (
            &tagging(&eleven),
            "BadRequest",
            "Object tags cannot be greater than 10",
        ),
    ] {
        let answer = post(&rig, with("tagging", xml)).await;
        assert_eq!(verdict(&answer), refused(400, code), "{xml}");
        assert!(element(&answer, "Message").starts_with(message), "{xml}");
        assert_eq!(stored(&rig).await, None, "{xml}");
    }
    let other = "<InvalidXmlTagging><Tag/></InvalidXmlTagging>";
    assert_eq!(post(&rig, with("tagging", other)).await.status, 204);
    assert_eq!(stored(&rig).await.unwrap().attributes.tags, Tags::default());
}

#[tokio::test]
async fn tagging_needs_its_condition_and_is_really_compared() {
    let rig = Rig::new().await;
    let mut uncovered = valid();
    uncovered.set("tagging", &tagging(""));
    let mut other = valid();
    other.condition(&json!(["eq", "$tagging", tagging(&tag("k", "1"))]).to_string());
    other.set("tagging", &tagging(&tag("k", "2")));
    for form in [uncovered, other] {
        assert_eq!(
            verdict(&post(&rig, form).await),
            refused(403, "AccessDenied")
        );
        assert_eq!(stored(&rig).await, None);
    }
}

// ---- encryption and object lock ----

#[tokio::test]
async fn what_would_be_pretended_is_refused_and_plain_aes256_is_never_claimed() {
    let rig = Rig::new().await;
    for (field, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption", "aws:kms:dsse"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("x-amz-server-side-encryption-context", "e30="),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "a2V5"),
        ("x-amz-server-side-encryption-customer-key-MD5", "bWQ1"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        (
            "x-amz-object-lock-retain-until-date",
            "2030-01-01T00:00:00Z",
        ),
        ("x-amz-object-lock-legal-hold", "ON"),
    ] {
        let answer = post(&rig, with(field, value)).await;
        assert_eq!(verdict(&answer), refused(501, "NotImplemented"), "{field}");
        assert_eq!(element(&answer, "Header"), field.to_lowercase());
        assert_eq!(stored(&rig).await, None, "{field}");
    }
    let answer = post(&rig, with("x-amz-server-side-encryption", "ROT13")).await;
    assert_eq!(verdict(&answer), refused(400, "InvalidArgument"));
    let answer = post(&rig, with("x-amz-server-side-encryption", "AES256")).await;
    assert_eq!(answer.status, 204);
    for answer in [answer, read_back(&rig).await] {
        let claimed = answer
            .headers
            .keys()
            .find(|name| name.as_str().contains("encryption"));
        assert_eq!(claimed, None);
    }
}

// ---- checksums ----

/// Field and value of every checksum of [`FILE`]; computed by other programs (Python's zlib, hashlib, and two bitwise loops).
const CHECKSUMS: [(&str, &str); 5] = [
    ("x-amz-checksum-crc32", "xn6MuA=="),
    ("x-amz-checksum-crc32c", "GbrGvw=="),
    ("x-amz-checksum-crc64nvme", "AUD2Vk1/Nb4="),
    ("x-amz-checksum-sha1", "J6Z/f1rk3o/beUDQ5OW2gvd3ixk="),
    (
        "x-amz-checksum-sha256",
        "k8yjpwnOqqLeZFsUSuLEireH9Lofe3uk4Sfgh+366Pw=",
    ),
];

#[tokio::test]
async fn a_right_checksum_is_answered_stored_and_shown() {
    let rig = Rig::new().await;
    for (field, value) in CHECKSUMS {
        let mut form = with(field, value);
        let algorithm = field.rsplit('-').next().unwrap().to_uppercase();
        form.covered("x-amz-checksum-algorithm", &algorithm);
        form.covered("x-amz-checksum-type", "FULL_OBJECT");
        let answer = post(&rig, form).await;
        assert_eq!(answer.status, 204, "{field}: {}", answer.text());
        let shown: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-amz-checksum-"))
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [(field, value), ("x-amz-checksum-type", "FULL_OBJECT")]
        );
        let kept = stored(&rig).await.unwrap().attributes.checksum.unwrap();
        assert_eq!((kept.algorithm().field(), &*kept.base64()), (field, value));
        let got = read_back(&rig).await;
        assert_eq!(got.header(field), value);
        let has_default = got.headers.contains_key(CRC64);
        assert_eq!(has_default, field == CRC64, "one is told: {field}");
    }
    let answer = post(&rig, valid()).await;
    assert_eq!(answer.header(CRC64), CHECKSUMS[2].1, "the default");
    assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
    assert_eq!(stored(&rig).await.unwrap().attributes.checksum, None);
}

#[tokio::test]
async fn a_wrong_checksum_is_a_bad_digest_and_what_was_there_before_stays() {
    let rig = Rig::new().await;
    let mut before = valid();
    before.file = b"before".to_vec();
    let md5 = Md5::of(&before.file);
    for (i, (field, value)) in CHECKSUMS.into_iter().enumerate() {
        let mut form = with(field, value);
        form.file = b"the bytes of the fil\0".to_vec();
        let answer = post(&rig, form).await;
        assert_eq!(verdict(&answer), refused(400, "BadDigest"), "{field}");
        let there = stored(&rig).await.and_then(|meta| meta.md5);
        assert_eq!(there, (i > 0).then_some(md5), "{field}");
        if i == 0 {
            assert_eq!(post(&rig, before.clone()).await.status, 204);
        }
    }
    let wrong = STANDARD.encode(md5.as_bytes());
    let answer = post(&rig, with("Content-MD5", &wrong)).await;
    assert_eq!(verdict(&answer), refused(400, "BadDigest"));
    assert_eq!(
        element(&answer, "Message"),
        "The Content-MD5 you specified did not match what we received."
    );
    assert_eq!(stored(&rig).await.unwrap().md5, Some(md5));
}

#[tokio::test]
async fn a_right_content_md5_is_accepted_and_one_that_is_none_is_refused() {
    let rig = Rig::new().await;
    for none in ["", "xyz", "AAAA", "1B2M2Y8AsgTpgAmY7PhCfg"] {
        let answer = post(&rig, with("Content-MD5", none)).await;
        assert_eq!(verdict(&answer), refused(400, "InvalidDigest"), "{none}");
        assert_eq!(stored(&rig).await, None);
    }
    let right = STANDARD.encode(Md5::of(FILE).as_bytes());
    assert_eq!(post(&rig, with("Content-MD5", &right)).await.status, 204);
    let mut uncovered = valid();
    uncovered.set("content-md5", &right);
    let answer = post(&rig, uncovered).await;
    let message = "Invalid according to Policy: Extra input fields: content-md5";
    assert_eq!(element(&answer, "Message"), message);
}

#[tokio::test]
async fn a_checksum_field_that_is_none_is_an_invalid_request() {
    let rig = Rig::new().await;
    let rows: &[&[(&str, &str)]] = &[
        &[("x-amz-checksum-sha256", "sailorjerry")],
        &[("x-amz-checksum-crc32", "")],
        &[("x-amz-checksum-md4", "AAAA")],
        &[CHECKSUMS[0], CHECKSUMS[1]],
        &[("x-amz-checksum-algorithm", "SHA256")],
        &[CHECKSUMS[0], ("x-amz-checksum-algorithm", "SHA256")],
        &[CHECKSUMS[0], ("x-amz-checksum-type", "COMPOSITE")],
    ];
    for fields in rows {
        let mut form = valid();
        for (name, value) in *fields {
            form.set(name, value);
        }
        let answer = post(&rig, form).await;
        assert_eq!(
            verdict(&answer),
            refused(400, "InvalidRequest"),
            "{fields:?}"
        );
        assert_eq!(stored(&rig).await, None, "{fields:?}");
    }
}

#[tokio::test]
async fn a_file_of_the_wrong_size_is_that_before_it_is_a_bad_digest() {
    let rig = Rig::new().await;
    let mut form = with("x-amz-checksum-crc32", "AAAAAA==");
    form.condition("[\"content-length-range\",22,99]");
    let answer = post(&rig, form).await;
    assert_eq!(verdict(&answer), refused(400, "EntityTooSmall"));
}

// ---- temporary keys ----

/// Access key, secret and session token.
async fn temporary_key(rig: &Rig) -> [String; 3] {
    let made = rig.control("POST", "/keys", r#"{"temporary":3600}"#).await;
    let made = made.json();
    ["access_key", "secret_key", "session_token"]
        .map(|member| made[member].as_str().unwrap().to_owned())
}

/// A form that the key has signed, in either version, with this token.
fn signed_by(version: u8, [id, secret, _]: &[String; 3], token: Option<&str>) -> Form {
    let mut form = valid();
    form.secret.clone_from(secret);
    if let Some(token) = token {
        form.covered("x-amz-security-token", token);
    }
    match version {
        2 => form.set("AWSAccessKeyId", id).sign(),
        _ => form.sign_v4(id),
    };
    form
}

#[tokio::test]
async fn a_form_of_a_temporary_key_carries_its_token_or_is_refused() {
    let rig = Rig::new().await;
    let (key, other) = (temporary_key(&rig).await, temporary_key(&rig).await);
    for version in [2, 4] {
        for (token, wanted) in [
            (None, refused(400, "InvalidToken")),
            (Some(""), refused(400, "InvalidToken")),
            (Some("guess"), refused(400, "InvalidToken")),
            (Some(&*other[2]), refused(400, "InvalidToken")),
            (Some(&*key[2]), refused(204, "")),
        ] {
            let form = signed_by(version, &key, token);
            let answer = send(&rig, "uploads", &form).await;
            assert_eq!(verdict(&answer), wanted, "V{version}: {}", answer.text());
        }
        let mut uncovered = signed_by(version, &key, None);
        uncovered.set("x-amz-security-token", &key[2]);
        let answer = send(&rig, "uploads", &uncovered).await;
        assert_eq!(verdict(&answer), refused(403, "AccessDenied"));
    }
}

#[tokio::test]
async fn a_temporary_key_ends_to_the_millisecond_and_is_remembered_for_a_day() {
    let rig = Rig::new().await;
    let key = temporary_key(&rig).await;
    let hour = Duration::from_secs(3600);
    let forgotten = hour + AccessKey::REMEMBERED;
    for (after, wanted) in [
        (hour - Duration::from_millis(1), refused(204, "")),
        (hour, refused(400, "ExpiredToken")),
        (
            forgotten - Duration::from_millis(1),
            refused(400, "ExpiredToken"),
        ),
        (forgotten, refused(403, "InvalidAccessKeyId")),
    ] {
        rig.clock.set(NOW.plus(after));
        let clock = ClockReading {
            wall: rig.clock.now(),
            monotonic: after,
        };
        rig.store.sweep(clock, 100).await.unwrap();
        for version in [2, 4] {
            let mut form = signed_by(version, &key, Some(&key[2]));
            form.expiration = "2027-01-01T00:00:00Z".to_owned();
            let answer = send(&rig, "uploads", &form).await;
            let message = element(&answer, "Message");
            assert_eq!(verdict(&answer), wanted, "{after:?}: {message}");
            if wanted.1 == "ExpiredToken" {
                assert_eq!(message, "The provided token has expired.");
            }
        }
    }
}

#[tokio::test]
async fn a_token_with_a_permanent_key_is_refused() {
    let rig = Rig::new().await;
    let permanent = [KEY_ID, form::SECRET, ""].map(str::to_owned);
    for version in [2, 4] {
        let form = signed_by(version, &permanent, Some("token"));
        let answer = send(&rig, "uploads", &form).await;
        assert_eq!(verdict(&answer), refused(400, "InvalidToken"), "V{version}");
    }
}

// ---- anonymous ----

/// A rig with a bucket `open` that anybody may write to.
async fn open_bucket() -> Rig {
    let rig = Rig::new().await;
    let bucket = BucketConfig {
        name: Bucket::parse("open").unwrap(),
        created_at: NOW,
        public_write: true,
    };
    rig.store
        .insert(CatalogEntry::Bucket(bucket))
        .await
        .unwrap();
    rig
}

/// No policy, no signature.
fn anonymous() -> Form {
    let mut form = Form::new("open", KEY, FILE);
    form.conditions.clear();
    form
}

#[tokio::test]
async fn an_anonymous_form_does_all_that_its_fields_say() {
    let rig = open_bucket().await;
    let mut form = anonymous();
    form.set("acl", "public-read")
        .set("Content-Type", "text/plain")
        .set("x-amz-meta-a", "1")
        .set("tagging", &tagging(&tag("k", "v")))
        .set("bucket", "open")
        .set("anything", "else")
        .set("success_action_status", "201")
        .set(CHECKSUMS[4].0, CHECKSUMS[4].1);
    let answer = send(&rig, "open", &form).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(element(&answer, "Bucket"), "open");
    assert_eq!(answer.header(CHECKSUMS[4].0), CHECKSUMS[4].1);
    let meta = stored_in(&rig, "open").await.unwrap();
    assert_eq!(meta.attributes.acl, CannedAcl::PublicRead);
    assert_eq!(meta.attributes.tags.len(), 1);
    assert_eq!(meta.headers.get("content-type"), Some("text/plain"));
    assert_eq!(meta.headers.get("x-amz-meta-a"), Some("1"));
    let mut redirected = anonymous();
    redirected.set("success_action_redirect", "http://localhost/done");
    assert_eq!(send(&rig, "open", &redirected).await.status, 303);
}

#[tokio::test]
async fn an_anonymous_form_is_refused_where_it_may_not_write_or_names_another_bucket() {
    let rig = open_bucket().await;
    let mut misnamed = anonymous();
    misnamed.set("bucket", "uploads");
    let mut half = anonymous();
    half.set("policy", "e30=");
    for (sentence, bucket, form, wanted) in [
        (
            "a private bucket",
            "uploads",
            anonymous(),
            refused(403, "AccessDenied"),
        ),
        (
            "no bucket",
            "nowhere",
            anonymous(),
            refused(403, "AccessDenied"),
        ),
        (
            "another bucket's name",
            "open",
            misnamed,
            refused(403, "AccessDenied"),
        ),
        (
            "a policy that nobody signed",
            "open",
            half,
            refused(403, "AccessDenied"),
        ),
    ] {
        let answer = send(&rig, bucket, &form).await;
        assert_eq!(verdict(&answer), wanted, "{sentence}");
        for bucket in ["open", "uploads"] {
            assert_eq!(stored_in(&rig, bucket).await, None, "{sentence}");
        }
    }
    let mut bad = anonymous();
    bad.set("acl", "everyone");
    let answer = send(&rig, "open", &bad).await;
    assert_eq!(verdict(&answer), refused(400, "InvalidArgument"));
    let mut forged = Form::new("open", KEY, FILE);
    forged.secret = "wrong".to_owned();
    let answer = send(&rig, "open", forged.sign()).await;
    assert_eq!(verdict(&answer), refused(403, "SignatureDoesNotMatch"));
}

// ---- the answer ----

/// The headers of an answer, without what differs from one to the next.
fn headers(answer: &Answer) -> Vec<(&str, &str)> {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .filter(|(name, _)| !matches!(*name, "x-request-id" | "x-amz-request-id" | "vary"))
        .collect();
    headers.sort_unstable();
    headers
}

#[tokio::test]
async fn a_success_carries_these_headers_and_no_others() {
    let rig = Rig::new().await;
    let etag = format!("\"{}\"", Md5::of(FILE).hex());
    let location = "http://127.0.0.1:7080/uploads/in%2Fa.bin";
    let common = [
        ("etag", &*etag),
        ("location", location),
        (CRC64, CHECKSUMS[2].1),
        ("x-amz-checksum-type", "FULL_OBJECT"),
        ("x-amz-id-2", "pillarbox"),
    ];
    for status in [200, 201, 204] {
        let form = with("success_action_status", &status.to_string());
        let answer = post(&rig, form).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(!answer.header("x-amz-request-id").is_empty());
        let mut expected = common.to_vec();
        if status == 201 {
            expected.insert(0, ("content-type", "application/xml"));
            assert_eq!(element(&answer, "Location"), location);
            let quoted = etag.replace('"', "&quot;");
            assert_eq!(element(&answer, "ETag"), quoted);
        } else {
            assert!(answer.body.is_empty(), "{status}");
        }
        assert_eq!(headers(&answer), expected, "{status}");
    }
}

#[tokio::test]
async fn a_key_with_control_characters_is_answered_as_lists_show_it() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.covered("success_action_status", "201");
    for (key, shown) in [
        ("in/a\u{1}b\tc&", "in/a&#x1;b\tc&amp;"),
        ("in/a\u{0}\u{fffe}\rb", "in/a&#x0;&#xfffe;&#xd;b"),
    ] {
        let mut form = form.clone();
        form.fields.retain(|(name, _)| name != "key");
        form.conditions
            .retain(|condition| !condition.contains("key"));
        form.covered("key", key);
        let answer = post(&rig, form).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(element(&answer, "Key"), shown);
    }
}

#[tokio::test]
async fn the_day_of_a_scope_is_one_of_the_calendar() {
    let rig = Rig::new().await;
    for (day, time, argument, words) in [
        ("20261122", "T120000Z", "", ""),
        ("20280229", "T000000Z", "", ""),
        (
            "20261399",
            "T120000Z",
            "x-amz-credential",
            "incorrect date format \"20261399\"",
        ),
        (
            "20260230",
            "T120000Z",
            "x-amz-credential",
            "incorrect date format",
        ),
        (
            "20261100",
            "T120000Z",
            "x-amz-credential",
            "incorrect date format",
        ),
        ("20261122", "T250000Z", "x-amz-date", "ISO8601 Long Format"),
        ("20261122", "T120000", "x-amz-date", "ISO8601 Long Format"),
    ] {
        let mut form = valid();
        form.sign_v4_at(KEY_ID, day, time);
        let answer = send(&rig, "uploads", &form).await;
        if words.is_empty() {
            assert_eq!(answer.status, 204, "{}", answer.text());
            continue;
        }
        assert_eq!(verdict(&answer), refused(400, "InvalidArgument"), "{day}");
        assert_eq!(element(&answer, "ArgumentName"), argument, "{day}{time}");
        let message = element(&answer, "Message").replace("&quot;", "\"");
        assert!(message.contains(words), "{day}{time}: {message}");
    }
}

#[tokio::test]
async fn a_redirect_names_what_was_stored_and_has_no_body() {
    let rig = Rig::new().await;
    let etag = Md5::of(FILE).hex();
    let tail = format!("bucket=uploads&key=in%2Fa.bin&etag=%22{etag}%22");
    let at = |url: &str| format!("{url}{tail}");
    for (fields, location) in [
        (
            vec![("success_action_redirect", "http://a.example/b?q=1#f")],
            format!("http://a.example/b?q=1&{tail}#f"),
        ),
        (
            vec![("redirect", "https://a.example/old")],
            at("https://a.example/old?"),
        ),
        (
            vec![
                ("redirect", "http://a.example/old"),
                ("success_action_redirect", "http://a.example/new"),
                ("success_action_status", "201"),
            ],
            at("http://a.example/new?"),
        ),
    ] {
        let mut form = valid();
        for (name, value) in fields {
            form.covered(name, value);
        }
        let answer = post(&rig, form).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        assert!(answer.body.is_empty());
        let quoted = format!("\"{etag}\"");
        let expected = [
            ("etag", &*quoted),
            ("location", &*location),
            ("x-amz-id-2", "pillarbox"),
        ];
        assert_eq!(headers(&answer), expected);
    }
}

#[tokio::test]
async fn a_refusal_never_redirects_and_names_its_host() {
    let rig = Rig::new().await;
    let mut form = with("success_action_redirect", "http://a.example/");
    form.set("uncovered", "1");
    let answer = post(&rig, form).await;
    assert_eq!(verdict(&answer), refused(403, "AccessDenied"));
    assert!(!answer.headers.contains_key("location"));
    assert_eq!(answer.header("x-amz-id-2"), element(&answer, "HostId"));
}

// ---- fields that do nothing ----

#[tokio::test]
async fn a_field_of_another_name_needs_a_condition_and_then_changes_nothing() {
    let rig = Rig::new().await;
    for name in ["submit", "bucket", "x-amz-unheard-of"] {
        let value = if name == "bucket" { "uploads" } else { "v" };
        let mut uncovered = valid();
        uncovered.set(name, value);
        let wanted = match name {
            // The policy names the bucket in any case.
            "bucket" => refused(204, ""),
            _ => refused(403, "AccessDenied"),
        };
        assert_eq!(verdict(&post(&rig, uncovered).await), wanted, "{name}");
        assert_eq!(post(&rig, with(name, value)).await.status, 204, "{name}");
        let meta = stored(&rig).await.unwrap();
        assert!(meta.attributes.is_default() && meta.headers.iter().next().is_none());
    }
    let mut ignored = valid();
    ignored.set("x-ignore-acl", "public-read");
    assert_eq!(post(&rig, ignored).await.status, 204);
    let mut named = with("x-ignore-a", "1");
    named.sign();
    let answer = send(&rig, "uploads", &named).await;
    assert_eq!(
        verdict(&answer),
        refused(403, "AccessDenied"),
        "it counts as not sent"
    );
}
