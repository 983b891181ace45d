//! The form post, case by case: a valid signed form plus one change, and the status and code that Amazon answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{form, support};
use bytes::Bytes;
use form::{Form, content_type};
use futures_util::{StreamExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use pillarbox::api::body::RequestBody;
use pillarbox::model::{Bucket, Id, ObjectKey, Timestamp};
use pillarbox::store::{ChunkSpec, ClockReading, ObjectName, StoreError};
use support::{Answer, NOW, PIPELINE, Rig, connection};

const FILE: &[u8] = b"the bytes of the file";

async fn post(rig: &Rig, form: &Form) -> Answer {
    rig.request(
        "POST",
        "/uploads/",
        &[("content-type", &content_type())],
        form.encode(),
    )
    .await
}

/// The code of an S3 refusal; empty for anything else.
fn code(answer: &Answer) -> String {
    let text = answer.text();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, tail)| tail.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

fn message(answer: &Answer) -> String {
    let text = answer.text();
    let message = text
        .split_once("<Message>")
        .and_then(|(_, tail)| tail.split_once("</Message>"));
    message
        .map(|(message, _)| message.replace("&quot;", "\"").replace("&apos;", "'"))
        .unwrap_or_default()
}

async fn stored(rig: &Rig, key: &str) -> Option<Vec<u8>> {
    let name = ObjectName::Key(
        Bucket::parse("uploads").unwrap(),
        ObjectKey::parse(key).unwrap(),
    );
    let reader = rig.store.open(&name, rig.clock.now()).await.ok()?;
    let size = usize::try_from(reader.meta().size).unwrap();
    Some(reader.read_at(0, size).await.unwrap().to_vec())
}

fn valid() -> Form {
    Form::new("uploads", "in/a.bin", FILE)
}

type Change = fn(&mut Form);

/// Each row: a sentence, one change, the status, the code (empty for success).
const CASES: &[(&str, Change, u16, &str)] = &[
    ("a valid form is accepted", |_| {}, 204, ""),
    (
        "every part may carry a file name",
        |f| f.every_part_named = true,
        204,
        "",
    ),
    (
        "the file part may have no file name",
        |f| f.file_part.1 = None,
        204,
        "",
    ),
    (
        "field names have no case",
        |f| {
            let key = f.fields[0].1.clone();
            f.without("key");
            f.set("kEy", &key);
        },
        204,
        "",
    ),
    ("an empty file is a file", |f| f.file.clear(), 204, ""),
    (
        "fields after the file are ignored",
        |f| f.trailing.push(("acl".into(), "public-read".into())),
        204,
        "",
    ),
    (
        "a second file after the first is ignored",
        |f| f.trailing.push(("file".into(), "other".into())),
        204,
        "",
    ),
    (
        "ignored fields need no condition",
        |f| {
            f.set("x-ignore-this", "1");
        },
        204,
        "",
    ),
    (
        "status 200 may be asked for",
        |f| {
            f.covered("success_action_status", "200");
        },
        200,
        "",
    ),
    (
        "status 201 may be asked for",
        |f| {
            f.covered("success_action_status", "201");
        },
        201,
        "",
    ),
    (
        "any other status is 204",
        |f| {
            f.covered("success_action_status", "404");
        },
        204,
        "",
    ),
    (
        "a redirect may be asked for",
        |f| {
            f.covered("success_action_redirect", "http://localhost/done");
        },
        303,
        "",
    ),
    (
        "a redirect that is no absolute URL is ignored",
        |f| {
            f.covered("success_action_redirect", "/done");
        },
        204,
        "",
    ),
    (
        "a right Content-MD5 is accepted",
        |f| {
            f.covered("Content-MD5", "c8zBHY2FIQA1wvrrHlP1/A==");
            f.file = b"hello md5".to_vec();
        },
        400,
        "BadDigest",
    ),
    (
        "a Content-MD5 that is none is refused",
        |f| {
            f.covered("Content-MD5", "xyz");
        },
        400,
        "InvalidDigest",
    ),
    (
        "no key",
        |f| {
            f.without("key");
        },
        400,
        "InvalidArgument",
    ),
    (
        "an empty key",
        |f| {
            f.set("key", "");
        },
        400,
        "InvalidArgument",
    ),
    (
        "a key that is too long",
        |f| {
            f.condition("[\"starts-with\",\"$key\",\"\"]");
            f.conditions.retain(|c| !c.contains("in/a"));
            f.set("key", &"k".repeat(1025));
        },
        400,
        "KeyTooLongError",
    ),
    (
        "no file",
        |f| f.file_part.0 = "data".into(),
        400,
        "InvalidArgument",
    ),
    (
        "a repeated field",
        |f| f.fields.push(("key".into(), "in/a.bin".into())),
        400,
        "InvalidArgument",
    ),
    (
        "a policy that nobody signed",
        |f| {
            f.sign();
            f.without("signature").without("AWSAccessKeyId");
        },
        403,
        "AccessDenied",
    ),
    (
        "no signature",
        |f| {
            f.sign();
            f.without("signature");
        },
        400,
        "InvalidArgument",
    ),
    (
        "no access key id",
        |f| {
            f.sign();
            f.without("AWSAccessKeyId");
        },
        400,
        "InvalidArgument",
    ),
    (
        "an unknown access key id",
        |f| {
            f.set("AWSAccessKeyId", "AKIAUNKNOWN000000000");
        },
        403,
        "InvalidAccessKeyId",
    ),
    (
        "a wrong secret",
        |f| f.secret = "wrong".into(),
        403,
        "SignatureDoesNotMatch",
    ),
    (
        "a signature that is no base64",
        |f| {
            f.set("signature", "%%%");
        },
        403,
        "SignatureDoesNotMatch",
    ),
    (
        "an empty policy",
        |f| {
            f.set("policy", "");
        },
        400,
        "InvalidPolicyDocument",
    ),
    (
        "nothing but key and file",
        |f| {
            f.sign();
            f.fields.truncate(1);
        },
        403,
        "AccessDenied",
    ),
    (
        "an expired policy",
        |f| f.expiration = "2026-11-22T00:00:00Z".into(),
        403,
        "AccessDenied",
    ),
    (
        "an expiration with a blank for T",
        |f| f.expiration = "2026-11-23 00:00:00Z".into(),
        400,
        "InvalidPolicyDocument",
    ),
    (
        "another key than signed",
        |f| {
            f.set("key", "in/b.bin");
        },
        403,
        "AccessDenied",
    ),
    (
        "a field that no condition covers",
        |f| {
            f.set("acl", "private");
        },
        403,
        "AccessDenied",
    ),
    (
        "an unknown field that no condition covers",
        |f| {
            f.set("x-unknown", "1");
        },
        403,
        "AccessDenied",
    ),
    (
        "a condition without its field",
        |f| {
            f.condition("[\"starts-with\",\"$Content-Type\",\"\"]");
        },
        403,
        "AccessDenied",
    ),
    (
        "a policy for another bucket",
        |f| f.conditions[0] = "{\"bucket\":\"others\"}".into(),
        403,
        "AccessDenied",
    ),
    (
        "a policy without a bucket",
        |f| {
            f.conditions.remove(0);
        },
        403,
        "AccessDenied",
    ),
    (
        "a bucket field that differs from the URL's",
        |f| {
            f.conditions[0] = "{\"bucket\":\"others\"}".into();
            f.set("bucket", "others");
        },
        403,
        "AccessDenied",
    ),
    (
        "conditions that are no list",
        |f| {
            f.conditions = vec!["[]".into()];
        },
        400,
        "InvalidPolicyDocument",
    ),
    (
        "more bytes than allowed",
        |f| {
            f.condition("[\"content-length-range\",0,20]");
        },
        400,
        "EntityTooLarge",
    ),
    (
        "as many bytes as allowed",
        |f| {
            f.condition("[\"content-length-range\",21,21]");
        },
        204,
        "",
    ),
    (
        "fewer bytes than demanded",
        |f| {
            f.condition("[\"content-length-range\",22,99]");
        },
        400,
        "EntityTooSmall",
    ),
    (
        "an acl that is none",
        |f| {
            f.covered("acl", "everyone");
        },
        400,
        "InvalidArgument",
    ),
    (
        "fields larger than 20,480 bytes",
        |f| {
            f.set("x-ignore-a", &"a".repeat(20_480));
        },
        400,
        "MaxPostPreDataLengthExceededError",
    ),
    (
        "customer keys for encryption",
        |f| {
            f.covered("x-amz-server-side-encryption-customer-algorithm", "AES256");
        },
        501,
        "NotImplemented",
    ),
];

#[tokio::test]
async fn every_case_of_the_table_is_answered_as_amazon_answers_it() {
    let rig = Rig::new().await;
    for (sentence, change, status, expected) in CASES {
        let mut form = valid();
        change(&mut form);
        form.sign();
        let answer = post(&rig, &form).await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (*status, *expected),
            "{sentence}: {}",
            answer.text()
        );
        let key = form
            .fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case("key"))
            .map_or("in/a.bin", |(_, k)| k);
        let key = if key.is_empty() || key.len() > 1024 {
            "in/a.bin"
        } else {
            key
        };
        let held = stored(&rig, key).await;
        if *status < 400 {
            assert_eq!(held.as_deref(), Some(&form.file[..]), "{sentence}");
            let name = ObjectName::Key(
                Bucket::parse("uploads").unwrap(),
                ObjectKey::parse(key).unwrap(),
            );
            rig.store
                .delete_object(&name, rig.clock.now())
                .await
                .unwrap();
        } else {
            assert_eq!(held, None, "{sentence} must store nothing");
        }
    }
}

#[tokio::test]
async fn the_recorded_texts_of_amazon_are_word_for_word() {
    let rig = Rig::new().await;
    let mut extra = valid();
    extra.set("Content-Type", "text/plain").sign();
    assert_eq!(
        message(&post(&rig, &extra).await),
        "Invalid according to Policy: Extra input fields: content-type"
    );
    let mut expired = valid();
    expired.expiration = "2026-11-22T00:00:00Z".into();
    expired.sign();
    assert_eq!(
        message(&post(&rig, &expired).await),
        "Invalid according to Policy: Policy expired."
    );
    let mut failed = valid();
    failed
        .condition("[\"starts-with\", \"$acl\", \"pub\"]")
        .set("acl", "private")
        .sign();
    let said = message(&post(&rig, &failed).await);
    assert_eq!(
        said,
        "Invalid according to Policy: Policy Condition failed: [\"starts-with\", \"$acl\", \"pub\"]"
    );
    let answer = rig
        .request("POST", "/uploads", &[("content-type", "text/plain")], "x")
        .await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (412, "PreconditionFailed")
    );
    assert!(answer.text().contains(
        "<Condition>Bucket POST must be of the enclosure-type multipart/form-data</Condition>"
    ));
}

#[tokio::test]
async fn a_201_names_location_bucket_key_and_etag_and_so_do_its_headers() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.covered("success_action_status", "201").sign();
    let answer = post(&rig, &form).await;
    assert_eq!(
        answer.header("location"),
        "http://127.0.0.1:7080/uploads/in%2Fa.bin"
    );
    let etag = pillarbox::model::Md5::of(FILE).hex();
    assert_eq!(answer.header("etag"), format!("\"{etag}\""));
    let text = answer.text();
    assert!(text.contains("<PostResponse><Location>http://127.0.0.1:7080/uploads/in%2Fa.bin</Location><Bucket>uploads</Bucket><Key>in/a.bin</Key>"), "{text}");
    assert!(!answer.header("x-amz-request-id").is_empty());
}

#[tokio::test]
async fn a_form_cut_at_any_byte_stores_nothing() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.sign();
    let body = form.encode();
    for cut in 0..body.len() - 2 {
        let answer = rig
            .request(
                "POST",
                "/uploads/",
                &[("content-type", &content_type())],
                &body[..cut],
            )
            .await;
        assert!(
            answer.status.is_client_error(),
            "cut at {cut}: {}",
            answer.status
        );
        assert_eq!(stored(&rig, "in/a.bin").await, None, "cut at {cut}");
    }
}

#[tokio::test]
async fn delimiters_split_at_every_byte_give_the_same_bytes() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.file = b"\r\n--\r\n------formBoundary7MA4YWx\r\n-\r".to_vec();
    form.sign();
    let body = form.encode();
    for at in 0..body.len() {
        let frames = [&body[..at], &body[at..]]
            .map(|part| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(part))));
        let request = Request::post("/uploads/")
            .header("host", support::HOST)
            .header("content-type", content_type());
        let request = request
            .body(RequestBody::new(
                StreamBody::new(stream::iter(frames)),
                Duration::from_secs(5),
            ))
            .unwrap();
        let answer = Answer::read(rig.app.handle(request, connection()).await).await;
        assert_eq!(
            answer.status.as_u16(),
            204,
            "split at {at}: {}",
            answer.text()
        );
        assert_eq!(
            stored(&rig, "in/a.bin").await,
            Some(form.file.clone()),
            "split at {at}"
        );
    }
}

#[tokio::test]
async fn a_post_that_stands_still_gives_way_when_there_is_no_room_for_another() {
    let rig = Rig::with_store(|_| {}, |options| options.max_writers = 1).await;
    let (_, fields) = session(&rig, "slow.mp4").await;
    let other = Id::parse(&session(&rig, "other.mp4").await.0).unwrap();
    let mut signed = valid();
    signed.sign();
    for form in [signed.clone(), session_form(&fields, FILE)] {
        let body = form.encode();
        let begin = Bytes::copy_from_slice(&body[..body.len() - 50]);
        let begin = stream::once(std::future::ready(Ok::<_, std::io::Error>(Frame::data(
            begin,
        ))));
        let silent = StreamBody::new(begin.chain(stream::pending()));
        let request = Request::post("/uploads/")
            .header("host", support::HOST)
            .header("content-type", content_type())
            .body(RequestBody::new(silent, Duration::from_secs(60)));
        let app = std::sync::Arc::clone(&rig.app);
        let slow = tokio::spawn(async move {
            Answer::read(app.handle(request.unwrap(), connection()).await).await
        });
        // Until it has the only place.
        let probe = || rig.store.write_chunk(other, ChunkSpec::new(0, None));
        while !slow.is_finished() && !matches!(probe().await, Err(StoreError::Busy)) {
            tokio::task::yield_now().await;
        }
        let honest = post(&rig, &signed).await;
        assert_eq!(honest.status.as_u16(), 204, "{}", honest.text());
        let slow = slow.await.unwrap();
        assert_eq!(
            (slow.status.as_u16(), code(&slow).as_str()),
            (503, "SlowDown")
        );
    }
}

#[tokio::test]
async fn a_form_is_valid_until_its_expiration_and_not_a_millisecond_longer() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.sign();
    let end = Timestamp::from_seconds(1_795_392_000);
    for (offset, status) in [(-1, 204), (0, 403), (1, 403)] {
        rig.clock.set(Timestamp::from_millis(end.millis() + offset));
        assert_eq!(
            post(&rig, &form).await.status.as_u16(),
            status,
            "{offset} ms"
        );
    }
}

#[tokio::test]
async fn foreign_methods_paths_and_buckets_are_refused_in_xml() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.sign();
    let multipart = content_type();
    for (method, path, status, expected) in [
        ("POST", "/uploads/in/a.bin", 405, "MethodNotAllowed"),
        ("POST", "/uploads?delete", 405, "MethodNotAllowed"),
        ("PUT", "/uploads", 403, "AccessDenied"),
        ("POST", "/", 405, "MethodNotAllowed"),
        ("POST", "/others", 403, "AccessDenied"),
        ("POST", "/NotABucket", 404, "NoSuchBucket"),
    ] {
        let answer = rig
            .request(method, path, &[("content-type", &multipart)], form.encode())
            .await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (status, expected),
            "{method} {path}"
        );
    }
    for other in [
        "multipart/form-datax; boundary=B",
        "multipart/mixed; boundary=B",
        "text/plain",
        "multipart/form-dat\u{e4}; boundary=B",
    ] {
        let answer = rig
            .request(
                "POST",
                "/uploads",
                &[("content-type", other)],
                form.encode(),
            )
            .await;
        assert_eq!(code(&answer), "PreconditionFailed", "{other}");
    }
    let answer = rig
        .request(
            "POST",
            "/uploads",
            &[("content-type", "multipart/form-data")],
            form.encode(),
        )
        .await;
    assert_eq!(code(&answer), "MalformedPOSTRequest");
}

#[tokio::test]
async fn a_form_gives_no_way_in_anywhere_else() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.sign();
    for path in [
        "/v1/files/uploads/?object_key=a&pipeline_id=547f3eede4b025bcbff38657",
        "/v1/pipelines/",
        "/v1/files/",
    ] {
        let answer = rig
            .request(
                "POST",
                path,
                &[("content-type", &content_type())],
                form.encode(),
            )
            .await;
        assert_eq!(answer.status, 400, "{path}");
    }
}

#[tokio::test]
async fn browsers_of_any_origin_can_read_every_answer() {
    let rig = Rig::new().await;
    let (multipart, origin) = (content_type(), "https://page.example");
    let mut good = valid();
    good.sign();
    let mut bad = valid();
    bad.secret = "wrong".into();
    bad.sign();
    for (body, status) in [
        (good.encode(), 204),
        (bad.encode(), 403),
        (b"junk".to_vec(), 400),
    ] {
        let answer = rig
            .request(
                "POST",
                "/uploads/",
                &[("content-type", &multipart), ("origin", origin)],
                body,
            )
            .await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            answer
                .header("access-control-expose-headers")
                .contains("ETag")
        );
    }
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-requested-with"),
    ];
    for path in ["/uploads/", "/uploads", "/v1/files/uploads/", "/v1/files/"] {
        let answer = rig.request("OPTIONS", path, &asked, "").await;
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        assert_eq!(
            answer.header("access-control-allow-headers"),
            "x-requested-with"
        );
    }
}

#[tokio::test]
async fn a_virtual_host_names_the_bucket() {
    let rig = Rig::new().await;
    let mut form = valid();
    form.sign();
    let headers = [
        ("content-type", content_type()),
        ("host", "uploads.localhost:7080".to_owned()),
    ];
    let headers = headers.each_ref().map(|(n, v)| (*n, v.as_str()));
    let answer = rig.request("POST", "/", &headers, form.encode()).await;
    assert_eq!(answer.status.as_u16(), 204, "{}", answer.text());
    assert_eq!(
        answer.header("location"),
        "http://localhost:7080/uploads/in%2Fa.bin"
    );
}

// ---- sessions ----

/// Starts a session; returns its id and its form fields.
async fn session(rig: &Rig, object_key: &str) -> (String, Vec<(String, String)>) {
    let uri = format!("/v1/files/uploads/?object_key={object_key}&pipeline_id={PIPELINE}");
    let answer = rig.ask("POST", &uri).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let upload = answer.json()["upload"].clone();
    let params = upload["form_post_params"].as_object().unwrap();
    let fields = params
        .iter()
        .map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()))
        .collect();
    (upload["id"].as_str().unwrap().to_owned(), fields)
}

fn session_form(fields: &[(String, String)], bytes: &[u8]) -> Form {
    let mut form = Form::new("uploads", "unused", bytes);
    form.fields = fields.to_vec();
    form.file_part.1 = Some("blob".to_owned());
    form
}

async fn state(rig: &Rig, id: &str) -> serde_json::Value {
    rig.ask("GET", &format!("/v1/files/uploads/{id}"))
        .await
        .json()["upload"]
        .clone()
}

#[tokio::test]
async fn the_params_of_a_session_upload_one_piece_as_they_are() {
    let rig = Rig::new().await;
    let (id, fields) = session(&rig, "uploads/test.mp4").await;
    let answer = post(&rig, &session_form(&fields, FILE)).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    assert_eq!(state(&rig, &id).await["status"], "COMPLETED");
    assert_eq!(
        stored(&rig, &format!("tmp/{PIPELINE}/uploads/test.mp4"))
            .await
            .as_deref(),
        Some(FILE)
    );
}

#[tokio::test]
async fn a_session_whose_file_would_have_expired_replaces_nothing() {
    let rig = Rig::new().await;
    let (_, fields) = session(&rig, "same.mp4").await;
    let answer = post(&rig, &session_form(&fields, FILE)).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    let end = NOW.seconds() + 60;
    let (id, fields) = session(&rig, &format!("same.mp4&expires_at={end}")).await;
    let chunk = |index: &str| {
        let mut form = session_form(&fields, b"half");
        form.set("chunk", index).set("chunks", "2");
        form
    };
    let answer = post(&rig, &chunk("0")).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    rig.advance(Duration::from_secs(60));
    let answer = post(&rig, &chunk("1")).await;
    assert_eq!(answer.status.as_u16(), 404, "{}", answer.text());
    assert!(answer.text().contains("<Code>NoSuchUpload</Code>"));
    assert_names(&answer, &id);
    assert_is_over(&rig, &id, "expired").await;
    let key = format!("tmp/{PIPELINE}/same.mp4");
    assert_eq!(stored(&rig, &key).await.as_deref(), Some(FILE));
}

/// The session can be looked at, and neither finished nor gone on with.
async fn assert_is_over(rig: &Rig, id: &str, why: &str) {
    let uri = format!("/v1/files/uploads/{id}");
    for (method, query, status) in [
        ("PUT", "?nb_chunks=1", 404),
        ("GET", "?form_post_params=true", 404),
        ("GET", "", 200),
    ] {
        let answer = rig.ask(method, &format!("{uri}{query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{why}: {method} {query}");
    }
}

/// How a file that was complete went.
#[derive(Clone, Copy, Debug)]
enum Went {
    Deleted,
    Replaced,
    Expired,
}

#[tokio::test]
async fn a_form_that_is_sent_again_is_not_told_that_a_file_is_stored_which_is_gone() {
    for went in [Went::Deleted, Went::Replaced, Went::Expired] {
        let rig = Rig::new().await;
        let end = NOW.seconds() + 60;
        let (id, fields) = session(&rig, &format!("once.mp4&expires_at={end}")).await;
        let form = session_form(&fields, FILE);
        for _ in 0..2 {
            let answer = post(&rig, &form).await;
            assert_eq!(answer.status.as_u16(), 201, "here it is: {}", answer.text());
        }
        match went {
            Went::Deleted => {
                let answer = rig.ask("DELETE", &format!("/v1/files/{id}")).await;
                assert_eq!(answer.status.as_u16(), 200);
            }
            Went::Replaced => {
                let (_, others) = session(&rig, "once.mp4").await;
                let answer = post(&rig, &session_form(&others, b"others")).await;
                assert_eq!(answer.status.as_u16(), 201);
            }
            Went::Expired => rig.advance(Duration::from_secs(60)),
        }
        let answer = post(&rig, &form).await;
        assert_eq!(answer.status.as_u16(), 404, "{went:?}: {}", answer.text());
        assert_eq!(code(&answer), "NoSuchUpload", "{went:?}");
        assert!(message(&answer).contains("is gone"), "{went:?}");
        assert_names(&answer, &id);
        assert_is_over(&rig, &id, &format!("{went:?}")).await;
    }
}

/// The file of a spill, wherever the store put it.
fn spill_of(rig: &Rig, id: &str) -> std::path::PathBuf {
    let mut folders = vec![rig.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with(format!("{id}.0")) => return path,
                false => {}
            }
        }
    }
    panic!("{id} has no spill");
}

#[tokio::test]
async fn a_chunk_of_an_upload_that_gave_way_is_refused_with_the_upload_and_why() {
    let rig = Rig::new().await;
    let (id, fields) = session(&rig, "same.mp4").await;
    let chunk = |index: &str| {
        let mut form = session_form(&fields, FILE);
        form.set("chunk", index).set("chunks", "2");
        form
    };
    assert_eq!(post(&rig, &chunk("1")).await.status.as_u16(), 201);
    // The disk does not give its bytes.
    let spill = spill_of(&rig, &id);
    std::fs::remove_file(&spill).unwrap();
    std::fs::create_dir(&spill).unwrap();
    assert_eq!(post(&rig, &chunk("0")).await.status.as_u16(), 500);
    let (_, others) = session(&rig, "same.mp4").await;
    let answer = post(&rig, &session_form(&others, b"newer")).await;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    let clock = ClockReading {
        wall: NOW,
        monotonic: Duration::ZERO,
    };
    rig.store.sweep(clock, 10).await.unwrap();
    let uri = format!("/v1/files/uploads/{id}");
    while rig.ask("GET", &uri).await.status.as_u16() == 200 {
        tokio::task::yield_now().await;
    }
    let newer_stays = "something newer was stored under its key, which stays";
    for index in ["0", "1"] {
        let answer = post(&rig, &chunk(index)).await;
        assert_eq!(answer.status.as_u16(), 404, "{}", answer.text());
        assert_eq!(code(&answer), "NoSuchUpload");
        assert!(message(&answer).contains(newer_stays), "{}", answer.text());
        assert_names(&answer, &id);
    }
    for (method, query) in [("GET", ""), ("PUT", "?nb_chunks=2"), ("DELETE", "")] {
        let answer = rig.ask(method, &format!("{uri}{query}")).await;
        assert_eq!(answer.status.as_u16(), 404, "{method}");
        let text = answer.text();
        assert!(text.contains(newer_stays), "{method}: {text}");
    }
    let key = format!("tmp/{PIPELINE}/same.mp4");
    assert_eq!(stored(&rig, &key).await.as_deref(), Some(&b"newer"[..]));
}

/// The answer says which upload is not here.
fn assert_names(answer: &Answer, id: &str) {
    let text = answer.text();
    let named = format!("<UploadId>{id}</UploadId>");
    assert!(text.contains(&named), "{text}");
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_with_the_size_that_it_has() {
    let rig = Rig::new().await;
    let proposed = |answer: &Answer| {
        let text = answer.text();
        let (_, rest) = text.split_once("<ProposedSize>").unwrap();
        rest.split_once('<').unwrap().0.parse::<usize>().unwrap()
    };
    for size in [11, 1_000, 30_000, 70_000, 200_000] {
        let mut form = valid();
        form.condition("[\"content-length-range\",0,10]");
        form.file = vec![b'x'; size];
        form.sign();
        let answer = post(&rig, &form).await;
        assert_eq!(code(&answer), "EntityTooLarge", "without a length");
        assert!((11..=size).contains(&proposed(&answer)), "so far");
        let body = form.encode();
        let length = body.len().to_string();
        let kind = content_type();
        let headers = [("content-type", kind.as_str()), ("content-length", &length)];
        let answer = rig.request("POST", "/uploads/", &headers, body).await;
        assert_eq!(code(&answer), "EntityTooLarge");
        assert_eq!(proposed(&answer), size);
    }
}

#[tokio::test]
async fn a_file_that_expires_while_it_arrives_is_not_taken() {
    let rig = Rig::new().await;
    let end = NOW.seconds() + 60;
    let (_, fields) = session(&rig, &format!("slow.mp4&expires_at={end}")).await;
    let body = session_form(&fields, FILE).encode();
    for (late, status) in [(60, 404), (59, 201)] {
        rig.clock.set(NOW);
        let (begin, rest) = body.split_at(body.len() - 9);
        let parts = [begin, rest].map(Bytes::copy_from_slice);
        let clock = rig.clock.clone();
        // Each is made when it is asked for.
        let frames = (0..).zip(parts).map(move |(number, part)| {
            clock.set(NOW.plus(Duration::from_secs(number * late)));
            Ok::<_, std::io::Error>(Frame::data(part))
        });
        let stream = StreamBody::new(stream::iter(frames));
        let request = Request::post("/uploads/")
            .header("host", support::HOST)
            .header("content-type", content_type())
            .body(RequestBody::new(stream, Duration::from_secs(5)));
        let answer = rig.app.handle(request.unwrap(), connection()).await;
        let answer = Answer::read(answer).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    }
}

#[tokio::test]
async fn chunks_of_all_three_idioms_in_any_order_become_one_file() {
    let rig = Rig::new().await;
    let whole: Vec<u8> = (0..2500_u32).flat_map(u32::to_le_bytes).collect();
    let chunks: Vec<&[u8]> = whole.chunks(4000).collect();
    for (idiom, order) in [
        ("a", [0, 1, 2]),
        ("a", [2, 1, 0]),
        ("a", [1, 2, 0]),
        ("b", [0, 1, 2]),
        ("b", [2, 0, 1]),
        ("c", [1, 0, 2]),
    ] {
        let name = format!("{idiom}{order:?}").replace([' ', ',', '[', ']'], "");
        let (id, fields) = session(&rig, &name).await;
        for index in order {
            let mut form = session_form(&fields, chunks[index]);
            let key = format!("tmp/{PIPELINE}/{name}");
            match idiom {
                "a" => form.set("chunk", &index.to_string()).set("chunks", "3"),
                "b" => form
                    .without("chunk")
                    .without("chunks")
                    .set("key", &format!("{key}.{index}")),
                _ => form.set("key", &format!("{key}.{index}")),
            };
            let answer = post(&rig, &form).await;
            assert_eq!(answer.status.as_u16(), 201, "{name}: {}", answer.text());
        }
        if idiom != "a" {
            assert_eq!(state(&rig, &id).await["status"], "UPLOADING", "{name}");
            let answer = rig
                .send(
                    "PUT",
                    &format!("/v1/files/uploads/{id}"),
                    "{\"upload\":{\"nb_chunks\":3}}",
                )
                .await;
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        }
        assert_eq!(state(&rig, &id).await["status"], "COMPLETED", "{name}");
        assert_eq!(
            stored(&rig, &format!("tmp/{PIPELINE}/{name}"))
                .await
                .as_deref(),
            Some(&whole[..]),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_retry_after_completion_is_acknowledged_again() {
    let rig = Rig::new().await;
    let (id, fields) = session(&rig, "retry.mp4").await;
    for index in ["0", "1", "0", "1"] {
        let mut form = session_form(&fields, format!("chunk {index}").as_bytes());
        form.set("chunk", index).set("chunks", "2");
        assert_eq!(post(&rig, &form).await.status.as_u16(), 201);
    }
    assert_eq!(state(&rig, &id).await["nb_chunks"], 2);
    assert_eq!(
        stored(&rig, &format!("tmp/{PIPELINE}/retry.mp4"))
            .await
            .as_deref(),
        Some(&b"chunk 0chunk 1"[..])
    );
}

#[tokio::test]
async fn every_chunk_saying_0_of_1_is_detected_and_explained() {
    let rig = Rig::new().await;
    let (_, fields) = session(&rig, "trap.mp4").await;
    assert_eq!(
        post(&rig, &session_form(&fields, b"first"))
            .await
            .status
            .as_u16(),
        201
    );
    let answer = post(&rig, &session_form(&fields, b"second")).await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "InvalidRequest")
    );
    assert!(
        message(&answer).contains("Delete these three members when chunk_size is set"),
        "{}",
        answer.text()
    );
    assert_eq!(
        post(&rig, &session_form(&fields, b"first"))
            .await
            .status
            .as_u16(),
        201,
        "an equal post is a retry"
    );
    assert_eq!(
        stored(&rig, &format!("tmp/{PIPELINE}/trap.mp4"))
            .await
            .as_deref(),
        Some(&b"first"[..])
    );
}

#[tokio::test]
async fn two_sessions_on_one_key_never_mix_their_chunks() {
    let rig = Rig::new().await;
    let (_, one) = session(&rig, "same.mp4").await;
    let (_, two) = session(&rig, "same.mp4").await;
    let chunk = |fields: &[(String, String)], index: &str, bytes: &[u8]| {
        let mut form = session_form(fields, bytes);
        form.set("chunk", index).set("chunks", "2");
        form
    };
    let key = format!("tmp/{PIPELINE}/same.mp4");
    assert_eq!(
        post(&rig, &chunk(&one, "0", b"one-")).await.status.as_u16(),
        201
    );
    assert_eq!(
        post(&rig, &chunk(&two, "1", b"two")).await.status.as_u16(),
        201
    );
    assert_eq!(stored(&rig, &key).await, None);
    assert_eq!(
        post(&rig, &chunk(&one, "1", b"one")).await.status.as_u16(),
        201
    );
    assert_eq!(stored(&rig, &key).await.as_deref(), Some(&b"one-one"[..]));
    assert_eq!(
        post(&rig, &chunk(&two, "0", b"two-")).await.status.as_u16(),
        201
    );
    assert_eq!(
        stored(&rig, &key).await.as_deref(),
        Some(&b"two-two"[..]),
        "the newer completion replaces the object"
    );
}

#[tokio::test]
async fn a_sessions_form_opens_nothing_but_its_own_key() {
    let rig = Rig::new().await;
    let (_, fields) = session(&rig, "own.mp4").await;
    let key = format!("tmp/{PIPELINE}/own.mp4");
    for (sentence, name, value) in [
        ("another key", "key", format!("tmp/{PIPELINE}/other.mp4")),
        ("a key with another suffix", "key", format!("{key}x")),
        ("a key that climbs", "key", format!("{key}/../../x")),
        ("another acl", "acl", "public-read".to_owned()),
        ("another status", "success_action_status", "200".to_owned()),
        (
            "a field that was not signed",
            "Content-Type",
            "text/html".to_owned(),
        ),
    ] {
        let mut form = session_form(&fields, FILE);
        form.set(name, &value);
        let answer = post(&rig, &form).await;
        assert_eq!(
            (answer.status.as_u16(), code(&answer).as_str()),
            (403, "AccessDenied"),
            "{sentence}: {}",
            answer.text()
        );
    }
    let mut number = session_form(&fields, FILE);
    number.set("chunk", "7").set("chunks", "3");
    let answer = post(&rig, &number).await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (400, "InvalidArgument")
    );
    assert!(message(&answer).starts_with("chunk "), "{}", answer.text());
}

#[tokio::test]
async fn a_session_takes_no_form_after_it_was_aborted_or_its_form_expired() {
    let rig = Rig::new().await;
    let (id, fields) = session(&rig, "gone.mp4").await;
    assert_eq!(
        rig.ask("DELETE", &format!("/v1/files/uploads/{id}"))
            .await
            .status
            .as_u16(),
        200
    );
    let answer = post(&rig, &session_form(&fields, FILE)).await;
    assert_eq!(code(&answer), "NoSuchUpload");
    assert!(
        message(&answer).contains("aborted, or swept"),
        "{}",
        answer.text()
    );
    assert_names(&answer, &id);
    let (id, fields) = session(&rig, "late.mp4").await;
    rig.clock.set(NOW.plus(Duration::from_secs(24 * 3600)));
    assert_eq!(
        message(&post(&rig, &session_form(&fields, FILE)).await),
        "Invalid according to Policy: Policy expired."
    );
    let fresh = rig
        .ask(
            "GET",
            &format!("/v1/files/uploads/{id}?form_post_params=true"),
        )
        .await
        .json();
    let params = fresh["upload"]["form_post_params"].as_object().unwrap();
    let fields: Vec<_> = params
        .iter()
        .map(|(n, v)| (n.clone(), v.as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(
        post(&rig, &session_form(&fields, FILE))
            .await
            .status
            .as_u16(),
        201
    );
}
