//! What is configured for a bucket and for the S3 side: anonymous forms, cross-origin rules, the region, the open questions, and the
//! public URL's path prefix.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::{form, support};
use form::{Form, content_type};
use pillarbox::api::app::{AppOptions, BucketOptions};
use pillarbox::model::{Bucket, CorsRule};
use support::{Answer, PIPELINE, Rig};

const FILE: &[u8] = b"the bytes of the file";

/// A bucket for everybody with rules of its own, a closed one, and one that is made but not special.
fn configured(options: &mut AppOptions) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let rule = CorsRule {
        id: String::new(),
        origins: owned(&["https://*.example.com"]),
        methods: owned(&["POST"]),
        headers: owned(&["x-requested-with"]),
        expose: owned(&["ETag"]),
        max_age: Some(600),
    };
    let bucket = |name, public_write, cors| BucketOptions {
        name: Bucket::parse(name).unwrap(),
        public_write,
        cors,
    };
    options.buckets = vec![
        bucket("drop", true, Some(vec![rule].into())),
        bucket("closed", false, Some(Vec::new().into())),
        bucket("plain", false, None),
    ];
}

async fn post(rig: &Rig, path: &str, form: &Form, origin: Option<&str>) -> Answer {
    let content_type = content_type();
    let mut headers = vec![("content-type", content_type.as_str())];
    headers.extend(origin.map(|origin| ("origin", origin)));
    rig.request("POST", path, &headers, form.encode()).await
}

async fn preflight(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> Answer {
    rig.request("OPTIONS", path, headers, Vec::new()).await
}

fn anonymous(bucket: &str) -> Form {
    Form::new(bucket, "in/a.bin", FILE)
}

fn code(answer: &Answer) -> String {
    let text = answer.text();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, tail)| tail.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_form_that_nobody_signed_is_taken_only_where_everybody_may_write() {
    let rig = Rig::with(configured).await;
    for (bucket, status) in [
        ("drop", 204),
        ("plain", 403),
        ("closed", 403),
        ("uploads", 403),
    ] {
        let answer = post(&rig, &format!("/{bucket}/"), &anonymous(bucket), None).await;
        assert_eq!(answer.status, status, "{bucket}");
    }
    let mut policy = anonymous("drop");
    policy.set("policy", "e30=");
    let answer = post(&rig, "/drop/", &policy, None).await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer)),
        (403, "AccessDenied".to_owned())
    );
}

#[tokio::test]
async fn a_signed_form_goes_into_every_configured_bucket() {
    let rig = Rig::with(configured).await;
    for bucket in ["drop", "plain", "closed", "uploads"] {
        let mut form = Form::new(bucket, "in/a.bin", FILE);
        form.sign();
        let answer = post(&rig, &format!("/{bucket}"), &form, None).await;
        assert_eq!(answer.status, 204, "{bucket}");
    }
    let mut form = Form::new("nowhere", "in/a.bin", FILE);
    form.sign();
    let answer = post(&rig, "/nowhere", &form, None).await;
    assert_eq!(code(&answer), "NoSuchBucket");
}

const PAGE: (&str, &str) = ("origin", "https://a.example.com");

#[tokio::test]
async fn a_preflight_is_answered_by_the_rules_of_its_bucket() {
    let rig = Rig::with(configured).await;
    let method = ("access-control-request-method", "POST");
    let answer = preflight(
        &rig,
        "/drop/",
        &[
            PAGE,
            method,
            ("access-control-request-headers", "X-Requested-With"),
        ],
    )
    .await;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example.com"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "x-requested-with"),
        ("access-control-max-age", "600"),
        ("access-control-allow-credentials", "true"),
        (
            "vary",
            "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        ),
    ] {
        assert_eq!(answer.headers[name], value, "{name}");
    }
    let delete = ("access-control-request-method", "DELETE");
    for (path, asked, told) in [
        (
            "/drop/",
            vec![method],
            "Insufficient information. Origin request header needed.",
        ),
        (
            "/drop/",
            vec![PAGE],
            "Invalid Access-Control-Request-Method: null",
        ),
        (
            "/drop/",
            vec![PAGE, delete],
            "<Method>DELETE</Method><ResourceType>BUCKET</ResourceType>",
        ),
        (
            "/drop/a",
            vec![PAGE, delete],
            "<Method>DELETE</Method><ResourceType>OBJECT</ResourceType>",
        ),
        (
            "/closed/",
            vec![PAGE, method],
            "CORSResponse: CORS is not enabled for this bucket.",
        ),
    ] {
        let answer = preflight(&rig, path, &asked).await;
        assert!(answer.status.is_client_error(), "{path} {asked:?}");
        assert!(answer.text().contains(told), "{}", answer.text());
        assert!(!answer.headers.contains_key("access-control-allow-methods"));
    }
    // Without rules of its own a bucket is answered by the default, also one that is not there: the form post then says so.
    for path in ["/plain/", "/nowhere/"] {
        let answer = preflight(&rig, path, &[PAGE, method]).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    }
}

#[tokio::test]
async fn every_answer_to_an_allowed_page_carries_the_headers_and_no_other_does() {
    let rig = Rig::with(configured).await;
    let allowed = |answer: &Answer| answer.headers.contains_key("access-control-allow-origin");
    for (success, status) in [("204", 204), ("201", 201), ("200", 200), ("redirect", 303)] {
        let mut form = Form::new("drop", "in/a.bin", FILE);
        match success {
            "redirect" => form.covered("success_action_redirect", "https://a.example.com/done"),
            status => form.covered("success_action_status", status),
        };
        form.sign();
        let answer = post(&rig, "/drop/", &form, Some("https://a.example.com")).await;
        assert_eq!(answer.status, status);
        assert!(allowed(&answer), "{status}");
        let foreign = post(&rig, "/drop/", &form, Some("https://example.org")).await;
        assert_eq!(foreign.status, status, "CORS is no access control");
        assert!(!allowed(&foreign), "{status}");
        let none = post(&rig, "/drop/", &form, None).await;
        assert!(!allowed(&none) && none.headers.contains_key("vary"));
    }
    let mut refused = Form::new("drop", "in/a.bin", FILE);
    refused.set("acl", "private").sign();
    let mut too_large = Form::new("drop", "in/a.bin", FILE);
    too_large
        .condition(r#"["content-length-range",0,3]"#)
        .sign();
    for (form, status) in [(refused, 403), (too_large, 400)] {
        let answer = post(&rig, "/drop/", &form, Some("https://a.example.com")).await;
        assert_eq!(answer.status, status);
        assert!(allowed(&answer), "{status}");
        assert_eq!(
            answer.headers["access-control-expose-headers"],
            "ETag, x-pillarbox-explain"
        );
    }
}

#[tokio::test]
async fn the_open_questions_are_settings() {
    for (absent_is_empty, status) in [(false, 403), (true, 204)] {
        let rig = Rig::with(|options| options.rules.absent_is_empty = absent_is_empty).await;
        let mut form = Form::new("uploads", "in/a.bin", FILE);
        form.condition(r#"["starts-with","$Content-Type",""]"#)
            .sign();
        assert_eq!(post(&rig, "/uploads/", &form, None).await.status, status);
    }
    for (cover_checksums, status) in [(false, 204), (true, 403)] {
        let rig = Rig::with(|options| options.rules.cover_checksums = cover_checksums).await;
        let mut form = Form::new("uploads", "in/a.bin", FILE);
        form.set("x-amz-checksum-crc32", "xn6MuA==").sign();
        assert_eq!(post(&rig, "/uploads/", &form, None).await.status, status);
    }
}

#[tokio::test]
async fn behind_a_path_prefix_every_road_works_with_the_prefix_and_without() {
    let public = "https://files.example.com/box";
    let rig = Rig::with(|options| options.public_url = Some(public.to_owned())).await;
    for prefix in ["", "/box"] {
        let path = format!("{prefix}/v1/files/uploads/?object_key=a.bin&pipeline_id={PIPELINE}");
        let bearer = ("authorization", "Bearer dev-token");
        let started = rig.request("POST", &path, &[bearer], Vec::new()).await;
        assert_eq!(started.status, 200, "{}", started.text());
        let url = &started.json()["upload"]["form_post_url"];
        assert_eq!(url, "https://files.example.com/box/uploads/");

        let mut form = Form::new("uploads", "in/ü.bin", FILE);
        form.covered("success_action_status", "201").sign();
        let answer = post(&rig, &format!("{prefix}/uploads/"), &form, None).await;
        assert_eq!(answer.status, 201);
        let location = "https://files.example.com/box/uploads/in%2F%C3%BC.bin";
        assert_eq!(answer.headers["location"], location);
        assert!(
            answer
                .text()
                .contains(&format!("<Location>{location}</Location>"))
        );
    }
    // A segment that only begins like the prefix is a bucket.
    let answer = post(&rig, "/boxes/", &anonymous("boxes"), None).await;
    assert_eq!(code(&answer), "AccessDenied");
    let answer = rig.request("GET", "/box", &[], Vec::new()).await;
    assert_eq!(answer.status, 403, "the service itself");
}
