//! Upload sessions over REST: what a client asks, in JSON and in XML, and what it gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::support;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use pillarbox::api::app::{AppOptions, Site};
use pillarbox::api::start::{DEV_ACCESS_KEY, DEV_SECRET};
use pillarbox::model::{PipelineSettings, Scope};
use serde_json::{Value, json};
use support::{HOST, NOBODY, NOW, PIPELINE, Rig, TOKEN};

const WEEK: i64 = 7 * 24 * 3600 * 1000;

fn start_uri(rest: &str) -> String {
    format!("/v1/files/uploads/?object_key=uploads%2Ftest.mp4&pipeline_id={PIPELINE}{rest}")
}

fn members(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn a_session_has_every_member_of_the_hosted_api_in_its_order() {
    let rig = Rig::new().await;
    let answer = rig.ask("POST", &start_uri("")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(members(&body), ["upload"]);
    let upload = &body["upload"];
    assert_eq!(
        members(upload),
        [
            "form_post_params",
            "status",
            "object_key",
            "nb_chunks",
            "type",
            "storage_type",
            "form_post_url",
            "pipeline",
            "file",
            "id"
        ]
    );
    assert_eq!(
        members(&upload["form_post_params"]),
        [
            "name",
            "success_action_status",
            "filename",
            "chunk",
            "chunks",
            "policy",
            "signature",
            "AWSAccessKeyId",
            "key",
            "acl"
        ]
    );
    let id = upload["id"].as_str().unwrap();
    assert_eq!(id.len(), 24);
    let mut plain = upload.clone();
    plain.as_object_mut().unwrap().remove("form_post_params");
    assert_eq!(
        plain,
        json!({
            "status": "UPLOADING", "object_key": "uploads/test.mp4", "nb_chunks": 0, "type": "S3", "storage_type": "S3",
            "form_post_url": format!("http://{HOST}/uploads/"), "pipeline": { "id": PIPELINE }, "file": { "id": id }, "id": id,
        })
    );
}

#[tokio::test]
async fn the_form_is_signed_by_the_key_it_names_for_a_day() {
    let rig = Rig::new().await;
    let answer = rig.ask("POST", &start_uri("")).await.json();
    let form = &answer["upload"]["form_post_params"];
    let policy = form["policy"].as_str().unwrap();
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        DEV_SECRET.as_bytes(),
    );
    let signature = STANDARD.encode(ring::hmac::sign(&key, policy.as_bytes()));
    assert_eq!(form["signature"], json!(signature));
    assert_eq!(form["AWSAccessKeyId"], json!(DEV_ACCESS_KEY));
    assert_eq!(
        form["key"],
        json!(format!("tmp/{PIPELINE}/uploads/test.mp4"))
    );
    let plain = [
        "name",
        "success_action_status",
        "filename",
        "chunk",
        "chunks",
        "acl",
    ];
    assert_eq!(
        plain.map(|name| form[name].as_str().unwrap()),
        ["test.mp4", "201", "", "0", "1", "private"]
    );
    let policy: Value = serde_json::from_slice(&STANDARD.decode(policy).unwrap()).unwrap();
    assert_eq!(policy["expiration"], json!("2026-11-23T13:20:00.000Z"));
    assert_eq!(policy["conditions"][0], json!({ "bucket": "uploads" }));
}

#[tokio::test]
async fn the_same_session_reads_in_xml() {
    let rig = Rig::new().await;
    let answer = rig.ask("POST", &start_uri("&format=xml")).await;
    assert_eq!(answer.header("content-type"), "application/xml");
    let text = answer.text();
    assert!(text.starts_with(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><upload><form_post_params><name>test.mp4</name>"
    ));
    for part in [
        "<status>UPLOADING</status><object_key>uploads/test.mp4</object_key><nb_chunks>0</nb_chunks><type>S3</type>",
        &format!("<pipeline><id>{PIPELINE}</id></pipeline><file><id>"),
        "</id></upload>",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn every_way_to_ask_leads_to_the_same_session() {
    let rig = Rig::new().await;
    let query = format!("object_key=uploads%2Ftest.mp4&pipeline_id={PIPELINE}&expires_at=0");
    let json =
        format!(r#""object_key":"uploads/test.mp4","pipeline_id":"{PIPELINE}","expires_at":0"#);
    for (uri, body) in [
        (format!("/v1/files/uploads/?{query}"), String::new()),
        (format!("/v1/files/uploads?{query}"), String::new()),
        (format!("/v1/files/intern/uploads/?{query}"), String::new()),
        (format!("/v1/files/intern/uploads?{query}"), String::new()),
        ("/v1/files/uploads/".to_owned(), query.clone()),
        ("/v1/files/uploads/".to_owned(), format!("{{{json}}}")),
        (
            "/v1/files/uploads/".to_owned(),
            format!("{{\"upload\":{{{json}}}}}"),
        ),
    ] {
        let answer = rig.send("POST", &uri, body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{uri} {body}: {}",
            answer.text()
        );
        let id = answer.json()["upload"]["id"].as_str().unwrap().to_owned();
        for place in ["/v1/files/uploads", "/v1/files/intern/uploads"] {
            for slash in ["", "/"] {
                let shown = rig
                    .ask("GET", &format!("{place}/{id}{slash}?show_null=1"))
                    .await
                    .json();
                assert_eq!(shown["upload"]["object_key"], json!("uploads/test.mp4"));
                assert_eq!(shown["upload"]["expires_at"], Value::Null);
            }
        }
    }
}

#[tokio::test]
async fn what_a_session_cannot_be_started_with_is_refused_by_name() {
    let rig = Rig::new().await;
    let long = |n: usize| "k".repeat(n);
    let room = 1024 - "tmp/547f3eede4b025bcbff38657/".len();
    let key = |key: &str| format!("object_key={key}&pipeline_id={PIPELINE}");
    let with = |more: &str| format!("object_key=a&pipeline_id={PIPELINE}&{more}");
    let cases = [
        (format!("pipeline_id={PIPELINE}"), "object_key"),
        (key(""), "object_key"),
        (key(&long(room + 1)), "object_key"),
        (key(&long(1025)), "object_key"),
        ("object_key=a".to_owned(), "pipeline_id"),
        ("object_key=a&pipeline_id=".to_owned(), "pipeline_id"),
        (
            "object_key=a&pipeline_id=547f3eede4b025bcbff3865".to_owned(),
            "pipeline_id",
        ),
        ("object_key=a&pipeline_id=movies".to_owned(), "pipeline_id"),
        (with("ip=here"), "ip"),
        (with("ip="), "ip"),
        (with("ip=4294967296"), "ip"),
        (with("expires_at=soon"), "expires_at"),
        (with("expires_at=-1"), "expires_at"),
        (with("expires_at=1.5"), "expires_at"),
        (with(&format!("expires_at={}", NOW.seconds())), "expires_at"),
        (with("expires_at=99999999999999999"), "expires_at"),
        (with("expires_at=99999999999999999999"), "expires_at"),
        (with("format=yaml"), "format"),
        (with("human=maybe"), "human"),
        (with("show_null=2"), "show_null"),
    ];
    for (query, name) in &cases {
        for format in ["", "&format=xml"] {
            if *name == "format" && !format.is_empty() {
                continue;
            }
            let answer = rig
                .ask("POST", &format!("/v1/files/uploads/?{query}{format}"))
                .await;
            let (status, code, detail) = answer.refusal();
            assert_eq!((status, code.as_str()), (400, "0x0230001"), "{query}");
            assert!(detail.starts_with(&format!("{name} ")), "{query}: {detail}");
        }
    }
    let fits = key(&long(room));
    assert_eq!(
        rig.ask("POST", &format!("/v1/files/uploads/?{fits}"))
            .await
            .status,
        200
    );
    for body in ["[1]", "{", "{\"upload\":"] {
        let (status, code, detail) = rig.send("POST", "/v1/files/uploads/", body).await.refusal();
        assert_eq!((status, code.as_str()), (400, "0x0230001"), "{body}");
        assert!(!detail.is_empty());
    }
}

#[tokio::test]
async fn two_values_for_one_parameter_start_no_session_unless_they_are_equal() {
    let rig = Rig::new().await;
    let twice = "object_key is given twice, with different values.";
    let there_twice = "object_key is there twice";
    for (key, body, words) in [
        ("object_key=a", "", ""),
        ("object_key=a&object_key=a", "", ""),
        ("object_key=a", "object_key=a", ""),
        ("object_key=a", r#"{"object_key":"a"}"#, ""),
        (
            "object_key=a",
            r#"{"upload":{"object_key":"a","x":[1]},"y":2}"#,
            "",
        ),
        ("object_key=a&tag=1&tag=2", "more=1&more=2", ""),
        ("object_key=a&object_key=b", "", twice),
        ("object_key=a", "object_key=b", twice),
        ("", "object_key=a&object_key=b", twice),
        ("object_key=a", r#"{"object_key":"b"}"#, twice),
        ("object_key=a", r#"{"upload":{"object_key":"b"}}"#, twice),
        (
            "",
            r#"{"upload":{"object_key":"a"},"object_key":"b"}"#,
            twice,
        ),
        ("", r#"{"object_key":"a","object_key":"b"}"#, there_twice),
        (
            "object_key=a",
            r#"{"upload":{"object_key":"a","object_key":"a"}}"#,
            there_twice,
        ),
        (
            "object_key=a&human=true&human=false",
            "",
            "human is given twice",
        ),
        (
            "object_key=a&format=xml&format=json",
            "",
            "format is given twice",
        ),
        (
            "object_key=a",
            r#"{"upload":[]}"#,
            "upload must be an object.",
        ),
        ("object_key=a", "null", "The body must be a JSON object."),
        ("object_key=a", "\"\"", "The body must be a JSON object."),
        (
            "object_key=a",
            "<upload/>",
            "The body must be a JSON object or ",
        ),
    ] {
        let uri = format!("/v1/files/uploads/?pipeline_id={PIPELINE}&{key}");
        let answer = rig.send("POST", &uri, body).await;
        if words.is_empty() {
            let started = answer.json();
            assert_eq!(started["upload"]["object_key"], json!("a"), "{key} {body}");
            continue;
        }
        let (status, code, detail) = answer.refusal();
        assert_eq!((status, code.as_str()), (400, "0x0230001"), "{key} {body}");
        assert!(detail.contains(words), "{key} {body}: {detail}");
    }
}

#[tokio::test]
async fn an_unknown_pipeline_is_404_and_in_dev_it_is_made_on_first_use() {
    let strict = Rig::with(|options| options.dev = false).await;
    let uri = format!("/v1/files/uploads/?object_key=a&pipeline_id={NOBODY}");
    for format in ["", "&format=xml"] {
        let (status, code, _) = strict
            .ask("POST", &format!("{uri}{format}"))
            .await
            .refusal();
        assert_eq!((status, code.as_str()), (404, "0x0170002"));
    }
    let dev = Rig::new().await;
    for _ in 0..2 {
        assert_eq!(dev.ask("POST", &uri).await.status, StatusCode::OK);
    }
    let made = dev
        .ask("GET", &format!("/v1/pipelines/{NOBODY}"))
        .await
        .json();
    assert_eq!(made["pipeline"]["name"], json!(NOBODY));
    assert_eq!(made["pipeline"]["version"], json!(1));
}

#[tokio::test]
async fn the_uploaders_address_chooses_the_place_to_post_to() {
    let site = |networks: &[&str], url: &str| Site {
        networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
        form_post_url: url.to_owned(),
    };
    let rig = Rig::with(|options| {
        options.form_post_url = Some("https://default.example/uploads/".to_owned());
        options.sites = vec![
            site(
                &["192.168.0.0/16", "2001:db8::/32"],
                "https://wide.example/uploads/",
            ),
            site(&["192.168.1.0/24"], "https://near.example/uploads/"),
        ];
    })
    .await;
    for (ip, place) in [
        ("", "default"),
        ("&ip=3232235777", "near"),
        ("&ip=-1062731519", "near"),
        ("&ip=192.168.1.1", "near"),
        ("&ip=192.168.2.1", "wide"),
        ("&ip=2001%3Adb8%3A%3A1", "wide"),
        ("&ip=134744072", "default"),
    ] {
        let upload = rig.ask("POST", &start_uri(ip)).await.json();
        let url = format!("https://{place}.example/uploads/");
        assert_eq!(upload["upload"]["form_post_url"], json!(url), "{ip}");
        let id = upload["upload"]["id"].as_str().unwrap();
        let later = rig
            .ask("GET", &format!("/v1/files/uploads/{id}"))
            .await
            .json();
        assert_eq!(later["upload"]["form_post_url"], json!(url), "{ip}");
    }
}

#[tokio::test]
async fn without_a_site_the_form_goes_where_the_client_found_us_or_where_we_say() {
    let rig = Rig::new().await;
    let headers = [
        ("authorization", "Bearer dev-token"),
        ("host", "box.example:81"),
    ];
    let upload = rig
        .request("POST", &start_uri(""), &headers, "")
        .await
        .json();
    assert_eq!(
        upload["upload"]["form_post_url"],
        json!("http://box.example:81/uploads/")
    );
    let public =
        Rig::with(|options| options.public_url = Some("https://up.example".to_owned())).await;
    let upload = public.ask("POST", &start_uri("")).await.json();
    assert_eq!(
        upload["upload"]["form_post_url"],
        json!("https://up.example/uploads/")
    );
}

#[tokio::test]
async fn an_object_expires_as_the_client_its_pipeline_or_the_default_says() {
    let rig = Rig::new().await;
    let hourly = PipelineSettings {
        default_object_timeout: Some(3600),
        ..PipelineSettings::default()
    };
    rig.add_pipeline(NOBODY, hourly).await;
    let soon = NOW.seconds() + 1;
    for (pipeline, asked, shown) in [
        (PIPELINE, String::new(), json!(NOW.millis() + WEEK)),
        (NOBODY, String::new(), json!(NOW.millis() + 3_600_000)),
        (NOBODY, "&expires_at=0".to_owned(), Value::Null),
        (PIPELINE, "&expires_at=0".to_owned(), Value::Null),
        (PIPELINE, format!("&expires_at={soon}"), json!(soon * 1000)),
        (
            PIPELINE,
            format!("&expires_at={soon}007"),
            json!(soon * 1000 + 7),
        ),
    ] {
        let uri = format!("/v1/files/uploads/?object_key=a&pipeline_id={pipeline}{asked}");
        let started = rig.ask("POST", &uri).await.json();
        let id = started["upload"]["id"].as_str().unwrap();
        let uri = format!("/v1/files/uploads/{id}?show_null=true");
        let upload = rig.ask("GET", &uri).await.json();
        assert_eq!(upload["upload"]["expires_at"], shown, "{pipeline} {asked}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_sees_what_is_here_and_what_is_missing() {
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    let uri = format!("/v1/files/uploads/{id}?show_null=true");
    let empty = rig.ask("GET", &uri).await.json();
    assert_eq!(
        members(&empty["upload"])[9..],
        [
            "received_chunks",
            "missing_chunks",
            "received_bytes",
            "chunk_size",
            "answer",
            "created_at",
            "expires_at"
        ]
    );
    assert_eq!(empty["upload"]["received_chunks"], json!([]));
    assert_eq!(empty["upload"]["missing_chunks"], Value::Null);
    rig.put_chunk(&id, 2, Some(4), "abcd").await;
    rig.put_chunk(&id, 0, Some(4), "efgh").await;
    let some = rig.ask("GET", &uri).await.json();
    let shown = |name: &str| some["upload"][name].clone();
    assert_eq!(shown("received_chunks"), json!([0, 2]));
    assert_eq!(shown("missing_chunks"), json!([1, 3]));
    assert_eq!(shown("received_bytes"), json!(8));
    assert_eq!(shown("chunk_size"), json!(4));
    assert_eq!(shown("nb_chunks"), json!(4));
    assert_eq!(shown("status"), json!("UPLOADING"));
    assert_eq!(shown("created_at"), json!(NOW.millis()));
    assert_eq!(shown("chunk_md5s"), Value::Null);
    let digests = rig.ask("GET", &format!("{uri}&chunk_md5s=true")).await;
    assert_eq!(
        digests.json()["upload"]["chunk_md5s"],
        json!([
            "1f7690ebdd9b4caf8fab49ca1757bf27",
            "e2fc714c4727ee9395f324cd2e7f331f"
        ])
    );
    let xml = rig
        .ask("GET", &format!("/v1/files/uploads/{id}?format=xml"))
        .await
        .text();
    assert!(xml.contains("<missing_chunks><missing_chunk>1</missing_chunk><missing_chunk>3</missing_chunk></missing_chunks>"));
}

#[tokio::test]
async fn a_fresh_form_is_posted_to_where_the_server_is_reached_now() {
    let url = async |rig: &Rig, id: &str| {
        let uri = format!("/v1/files/uploads/{id}?form_post_params=true");
        let headers = [
            ("authorization", &*format!("Bearer {TOKEN}")),
            ("host", "moved.example:81"),
        ];
        let fresh = rig.request("GET", &uri, &headers, "").await.json();
        fresh["upload"]["form_post_url"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    assert_eq!(url(&rig, &id).await, "http://moved.example:81/uploads/");
    let fixed = "https://uploads.example/in/";
    let configured = |options: &mut AppOptions| options.form_post_url = Some(fixed.to_owned());
    let rig = rig.restarted(configured).await;
    assert_eq!(
        url(&rig, &id).await,
        fixed,
        "what is configured goes before"
    );
}

#[tokio::test]
async fn a_fresh_form_is_signed_on_demand_for_those_who_may_write() {
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    rig.add_token("reader", &[Scope::MediahubRead], None).await;
    rig.advance(Duration::from_secs(3 * 24 * 3600));
    let uri = format!("/v1/files/uploads/{id}");
    let plain = rig.ask("GET", &uri).await.json();
    assert_eq!(plain["upload"].get("form_post_params"), None);
    let fresh = rig
        .ask("GET", &format!("{uri}?form_post_params=true"))
        .await
        .json();
    let policy = fresh["upload"]["form_post_params"]["policy"]
        .as_str()
        .unwrap();
    let policy: Value = serde_json::from_slice(&STANDARD.decode(policy).unwrap()).unwrap();
    assert_eq!(policy["expiration"], json!("2026-11-26T13:20:00.000Z"));
    let reader = [("authorization", "Bearer reader")];
    assert_eq!(rig.request("GET", &uri, &reader, "").await.status, 200);
    let refused = rig
        .request("GET", &format!("{uri}?form_post_params=true"), &reader, "")
        .await;
    assert_eq!(refused.refusal().0, 403);
    let (status, _, detail) = rig
        .ask("GET", &format!("{uri}?form_post_params=yes"))
        .await
        .refusal();
    assert_eq!(status, 400);
    assert!(detail.starts_with("form_post_params "));
}

#[tokio::test]
async fn finishing_needs_every_chunk_and_loses_none() {
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    let uri = format!("/v1/files/uploads/{id}");
    rig.put_chunk(&id, 0, None, "abcd").await;
    rig.put_chunk(&id, 2, None, "ijkl").await;
    for (body, part) in [
        (String::new(), "nb_chunks is required"),
        ("{\"upload\":{}}".to_owned(), "nb_chunks is required"),
        (
            "{\"upload\":{\"nb_chunks\":null}}".to_owned(),
            "nb_chunks is required",
        ),
        (finish_body("0"), "nb_chunks must be from 1 to 10000"),
        (finish_body("-1"), "nb_chunks must be from 1 to 10000"),
        (finish_body("10001"), "nb_chunks must be from 1 to 10000"),
        (finish_body("1.5"), "nb_chunks must be a whole number"),
        (finish_body("\"two\""), "nb_chunks must be a whole number"),
        (finish_body("true"), "nb_chunks must be a whole number"),
        (
            finish_body("3"),
            "nb_chunks does not match what arrived: 1 chunk(s) missing: 1.",
        ),
        (
            finish_body("2"),
            "nb_chunks must be the number of chunks of this upload",
        ),
    ] {
        for format in ["", "?format=xml"] {
            let answer = rig
                .send("PUT", &format!("{uri}{format}"), body.clone())
                .await;
            let (status, code, detail) = answer.refusal();
            assert_eq!(
                (status, code.as_str()),
                (400, "0x0230001"),
                "{body}: {detail}"
            );
            assert!(detail.starts_with(part), "{body}: {detail}");
        }
    }
    rig.put_chunk(&id, 1, None, "efgh").await;
    for _ in 0..2 {
        let done = rig.send("PUT", &uri, finish_body("3")).await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text());
        let upload = &done.json()["upload"];
        assert_eq!(upload["status"], json!("COMPLETED"));
        assert_eq!(upload["nb_chunks"], json!(3));
        assert_eq!(upload.get("form_post_params"), None);
    }
    let (status, _, detail) = rig.send("PUT", &uri, finish_body("4")).await.refusal();
    assert_eq!(status, 400, "{detail}");
    assert!(detail.starts_with("nb_chunks "), "{detail}");
}

fn finish_body(nb_chunks: &str) -> String {
    format!("{{\"upload\":{{\"nb_chunks\":{nb_chunks}}}}}")
}

#[tokio::test]
async fn the_hosted_apis_own_curl_example_finishes_whatever_its_content_type() {
    let rig = Rig::new().await;
    let bearer = format!("Bearer {TOKEN}");
    let body = "{ \\\n    \"upload\": { \\\n        \"nb_chunks\": 1, \\\n    } \\\n}";
    for content_type in [
        "application/x-www-form-urlencoded",
        "application/json",
        "text/plain",
    ] {
        let id = rig.start("film.mp4").await;
        rig.put_chunk(&id, 0, None, "abcd").await;
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", content_type),
        ];
        let uri = format!("/v1/files/uploads/{id}?human=true");
        let done = rig.request("PUT", &uri, &headers, body).await;
        assert_eq!(
            done.json()["upload"]["status"],
            json!("COMPLETED"),
            "{content_type}"
        );
        assert!(done.text().contains("\n    \"status\""));
    }
}

#[tokio::test]
async fn an_aborted_session_is_gone_and_a_finished_one_cannot_be_aborted() {
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    let uri = format!("/v1/files/uploads/{id}");
    let gone = rig.ask("DELETE", &uri).await;
    assert_eq!(gone.text(), r#"{"result":{"status":"SUCCESS"}}"#);
    for method in ["GET", "PUT", "DELETE"] {
        let (status, code, _) = rig.send(method, &uri, finish_body("1")).await.refusal();
        assert_eq!((status, code.as_str()), (404, "0x0230002"), "{method}");
    }
    let id = rig.start("film.mp4").await;
    rig.put_chunk(&id, 0, Some(1), "abcd").await;
    let (status, code, detail) = rig
        .ask("DELETE", &format!("/v1/files/uploads/{id}"))
        .await
        .refusal();
    assert_eq!((status, code.as_str()), (409, "0x0230001"));
    assert!(detail.contains("finished"), "{detail}");
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_404_in_both_formats() {
    let rig = Rig::new().await;
    for id in [
        NOBODY,
        "x",
        "53a1ac4914eaa8ffa4fce91g",
        "%00",
        "53a1ac4914eaa8ffa4fce91b0",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            for format in ["json", "xml"] {
                let uri = format!("/v1/files/uploads/{id}?format={format}");
                let (status, code, _) = rig.send(method, &uri, finish_body("1")).await.refusal();
                assert_eq!((status, code.as_str()), (404, "0x0230002"), "{method} {id}");
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_405_and_say_which_are_known() {
    let rig = Rig::new().await;
    let id = rig.start("film.mp4").await;
    for (method, uri, allow) in [
        ("GET", "/v1/files/uploads/".to_owned(), "POST, OPTIONS"),
        ("DELETE", "/v1/files/uploads".to_owned(), "POST, OPTIONS"),
        (
            "POST",
            format!("/v1/files/uploads/{id}"),
            "GET, HEAD, PUT, DELETE, OPTIONS",
        ),
        (
            "PATCH",
            format!("/v1/files/uploads/{id}"),
            "GET, HEAD, PUT, DELETE, OPTIONS",
        ),
    ] {
        let answer = rig.ask(method, &uri).await;
        assert_eq!(answer.refusal().0, 405, "{method} {uri}");
        assert_eq!(answer.header("allow"), allow);
    }
}
