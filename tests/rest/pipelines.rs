//! Pipelines over REST: every setting kept and given back, every rule named when it is broken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::support;
use http::StatusCode;
use pillarbox::model::PipelineSettings;
use serde_json::{Value, json};
use support::{HOST, NOBODY, NOW, PIPELINE, Rig};

fn body(settings: &Value) -> String {
    json!({ "pipeline": settings }).to_string()
}

async fn create(rig: &Rig, settings: Value) -> Value {
    let answer = rig.send("POST", "/v1/pipelines/", body(&settings)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["pipeline"].clone()
}

fn everything() -> Value {
    json!({
        "name": "movies", "description": "for films", "cancel_timeout": 60, "default_object_timeout": "3600",
        "enable_backtrace_pings": false, "input_download_dir": "s3://bucket/in/", "image_download_dir": "sftp://host/img/",
        "download_options": { "https_certificate_check": "on", "auto_convert_input": "off" },
        "output_upload_dir": "https://host/out/", "image_upload_dir": "s3://bucket/img/",
        "upload_options": { "s3_allow_read": true, "s3_reduced_redundancy": false },
        "store_options": { "mode": "temporary" },
        "ping_urls": { "error": "https://host/e", "warning": null, "started": "", "finished": "https://host/f" },
        "root_path": "films/",
    })
}

#[tokio::test]
async fn a_pipeline_is_given_back_with_every_documented_member_in_order() {
    let rig = Rig::new().await;
    let made = create(&rig, everything()).await;
    let id = made["id"].as_str().unwrap();
    let uri = format!("/v1/pipelines/{id}?show_null=true");
    let shown = rig.ask("GET", &uri).await.json();
    let members = shown["pipeline"].as_object().unwrap();
    assert_eq!(
        members.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "name",
            "description",
            "cancel_timeout",
            "default_object_timeout",
            "enable_backtrace_pings",
            "input_download_dir",
            "image_download_dir",
            "download_options",
            "output_upload_dir",
            "image_upload_dir",
            "upload_options",
            "store_options",
            "ping_urls",
            "root_path",
            "file",
            "version",
            "user",
            "created_at",
            "updated_at",
            "id",
            "href"
        ]
    );
    let mut expected = everything();
    let own = json!({
        "default_object_timeout": 3600, "file": null, "version": 1, "user": null, "created_at": NOW.millis(),
        "updated_at": NOW.millis(), "id": id, "href": format!("http://{HOST}/v1/pipelines/{id}"),
    });
    expected
        .as_object_mut()
        .unwrap()
        .extend(own.as_object().unwrap().clone());
    assert_eq!(shown["pipeline"], expected);
}

#[tokio::test]
async fn a_name_is_enough_and_unset_members_are_shown_on_demand() {
    let rig = Rig::new().await;
    let made = create(&rig, json!({ "name": "n", "description": null })).await;
    assert_eq!(made.get("description"), None);
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["root_path"], json!(format!("tmp/{id}/")));
    let xml = rig
        .ask(
            "GET",
            &format!("/v1/pipelines/{id}/?format=xml&show_null=true"),
        )
        .await
        .text();
    assert!(
        xml.contains("<pipeline><name>n</name><description nil=\"true\"/>"),
        "{xml}"
    );
    let unwrapped = rig
        .send("POST", "/v1/pipelines", r#"{"name":"bare"}"#)
        .await;
    assert_eq!(unwrapped.json()["pipeline"]["name"], json!("bare"));
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_by_name_and_nothing_is_made_or_changed() {
    let rig = Rig::new().await;
    let cases = [
        ("name", Value::Null),
        ("name", json!("")),
        ("name", json!("n".repeat(129))),
        ("name", json!({})),
        ("description", json!(1)),
        ("root_path", json!("/films/")),
        ("root_path", json!("films")),
        ("root_path", json!(format!("{}/", "r".repeat(512)))),
        ("default_object_timeout", json!(0)),
        ("default_object_timeout", json!("x")),
        ("default_object_timeout", json!(-5)),
        ("cancel_timeout", json!([])),
        ("enable_backtrace_pings", json!(1)),
        ("output_upload_dir", json!(1)),
        ("ping_urls", json!("https://host/")),
        ("colour", json!("red")),
    ];
    for (name, value) in &cases {
        let mut settings = json!({ "name": "n" });
        settings[*name] = value.clone();
        for (method, uri) in [
            ("POST", "/v1/pipelines/".to_owned()),
            ("PUT", format!("/v1/pipelines/{PIPELINE}")),
        ] {
            for format in ["", "?format=xml"] {
                let answer = rig
                    .send(method, &format!("{uri}{format}"), body(&settings))
                    .await;
                let (status, code, detail) = answer.refusal();
                assert_eq!((status, code.as_str()), (400, "0x0170001"), "{settings}");
                assert!(
                    detail.starts_with(&format!("{name} ")),
                    "{settings}: {detail}"
                );
            }
        }
    }
    for bad in [
        "",
        "{}",
        "{\"pipeline\":{}}",
        "{\"pipeline\":7}",
        "{\"pipeline\":",
        "description=form",
    ] {
        let (status, code, _) = rig.send("POST", "/v1/pipelines/", bad).await.refusal();
        assert_eq!((status, code.as_str()), (400, "0x0170001"), "{bad}");
    }
    let list = rig.ask("GET", "/v1/pipelines/").await.json();
    assert_eq!(list["total"], json!(1));
    assert_eq!(list["pipelines"][0]["version"], json!(1));
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_null_resets() {
    let rig = Rig::new().await;
    let id = create(&rig, everything()).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let uri = format!("/v1/pipelines/{id}");
    rig.advance(Duration::from_secs(60));
    let change = json!({ "description": null, "default_object_timeout": null, "store_options": null, "cancel_timeout": 9 });
    let changed = rig.send("PUT", &uri, body(&change)).await.json()["pipeline"].clone();
    for (name, value) in change.as_object().unwrap() {
        assert_eq!(
            changed.get(name),
            Some(value).filter(|value| !value.is_null()),
            "{name}"
        );
    }
    assert_eq!(changed["name"], json!("movies"));
    assert_eq!(changed["ping_urls"]["finished"], json!("https://host/f"));
    assert_eq!(changed["version"], json!(2));
    assert_eq!(changed["created_at"], json!(NOW.millis()));
    assert_eq!(changed["updated_at"], json!(NOW.millis() + 60_000));
    let again = rig.send("PUT", &uri, body(&changed)).await;
    assert_eq!(
        again.status,
        StatusCode::OK,
        "what GET shows can be sent back: {}",
        again.text()
    );
    assert_eq!(again.json()["pipeline"]["version"], json!(3));
}

#[tokio::test]
async fn settings_may_come_in_the_query_and_in_a_form_too() {
    let rig = Rig::new().await;
    let form = "name=n&description=a+b&cancel_timeout=60&default_object_timeout=3600&enable_backtrace_pings=True&root_path=films%2F";
    let (half, rest) = form.split_once("&cancel").unwrap();
    for (query, body) in [
        (form, String::new()),
        ("", form.to_owned()),
        (half, format!("cancel{rest}&human=true")),
        (half, format!("cancel{rest}&name=n")),
        (
            rest,
            body(&json!({ "name": "n", "description": "a b", "root_path": "films/" })),
        ),
    ] {
        let query = query
            .strip_prefix("_timeout")
            .map_or(query.to_owned(), |q| format!("cancel_timeout{q}"));
        let uri = format!("/v1/pipelines/?{query}");
        let answer = rig.send("POST", &uri, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let mut made = answer.json()["pipeline"].clone();
        let id = made["id"].as_str().unwrap().to_owned();
        let expected = json!({
            "name": "n", "description": "a b", "cancel_timeout": 60, "default_object_timeout": 3600,
            "enable_backtrace_pings": true, "root_path": "films/", "version": 1, "created_at": NOW.millis(),
            "updated_at": NOW.millis(), "id": id, "href": format!("http://{HOST}/v1/pipelines/{id}"),
        });
        assert_eq!(made, expected, "{query} {body}");
        let uri = format!("/v1/pipelines/{id}?description=other");
        made = rig.ask("PUT", &uri).await.json()["pipeline"].clone();
        assert_eq!(
            (&made["description"], &made["version"]),
            (&json!("other"), &json!(2))
        );
    }
}

#[tokio::test]
async fn what_contradicts_itself_or_stands_where_nobody_looks_is_refused_by_name() {
    let rig = Rig::new().await;
    let twice = "is given twice, with different values.";
    let inside = "must stand within pipeline, not beside it.";
    let unknown = "is no setting of a pipeline.";
    for (query, body, detail) in [
        ("name=a&name=b", "", format!("name {twice}")),
        ("name=a", "name=b", format!("name {twice}")),
        ("", "name=a&name=b", format!("name {twice}")),
        (
            "name=a",
            r#"{"pipeline":{"name":"b"}}"#,
            format!("name {twice}"),
        ),
        (
            "name=a&description=d",
            r#"{"pipeline":{"description":null}}"#,
            format!("description {twice}"),
        ),
        (
            "name=a&cancel_timeout=5",
            r#"{"cancel_timeout":6}"#,
            format!("cancel_timeout {twice}"),
        ),
        (
            "human=true&human=false",
            r#"{"name":"a"}"#,
            format!("human {twice}"),
        ),
        (
            "",
            r#"{"pipeline":{"name":"a"},"description":"d"}"#,
            format!("description {inside}"),
        ),
        (
            "",
            r#"{"pipeline":{"name":"a"},"y":1}"#,
            format!("y {unknown}"),
        ),
        ("", "name=a&colour=red", format!("colour {unknown}")),
        (
            "name=a",
            r#"{"pipeline":1}"#,
            "pipeline must be an object.".to_owned(),
        ),
        (
            "name=a",
            r#"{"pipeline":[]}"#,
            "pipeline must be an object.".to_owned(),
        ),
        ("name=a", "1", "The body must be a JSON object.".to_owned()),
        (
            "name=a&enable_backtrace_pings=perhaps",
            "",
            "enable_backtrace_pings must be true, false or null.".to_owned(),
        ),
        (
            "name=a",
            "store_options=temporary",
            "store_options must be an object of texts, numbers and flags, or null.".to_owned(),
        ),
    ] {
        for (method, uri) in [
            ("POST", "/v1/pipelines/".to_owned()),
            ("PUT", format!("/v1/pipelines/{PIPELINE}")),
        ] {
            let answer = rig.send(method, &format!("{uri}?{query}"), body).await;
            let expected = (400, "0x0170001".to_owned(), detail.clone());
            assert_eq!(answer.refusal(), expected, "{method} {query} {body}");
        }
    }
    let body = r#"{"pipeline":{"name":"a","name":"b"}}"#;
    let (status, _, detail) = rig.send("POST", "/v1/pipelines/", body).await.refusal();
    assert!(
        status == 400 && detail.contains("name is there twice"),
        "{detail}"
    );
    let list = rig.ask("GET", "/v1/pipelines/").await.json();
    assert_eq!(list["total"], json!(1));
    assert_eq!(list["pipelines"][0]["version"], json!(1));
}

#[tokio::test]
async fn a_change_of_nothing_is_not_counted() {
    let rig = Rig::new().await;
    let uri = format!("/v1/pipelines/{PIPELINE}");
    let before = rig.ask("GET", &uri).await.json();
    rig.advance(Duration::from_secs(60));
    for nothing in [
        "",
        "{}",
        r#"{"pipeline":{}}"#,
        r#"{"pipeline":{"id":"x","version":7}}"#,
    ] {
        let answer = rig.send("PUT", &uri, nothing).await;
        assert_eq!(answer.json(), before, "{nothing}");
    }
    assert_eq!(rig.ask("GET", &uri).await.json(), before);
    let nobody = format!("/v1/pipelines/{NOBODY}");
    assert_eq!(rig.send("PUT", &nobody, "{}").await.refusal().0, 404);
}

#[tokio::test]
async fn changes_at_once_are_all_counted() {
    let rig = Rig::new().await;
    let uri = format!("/v1/pipelines/{PIPELINE}");
    let change = body(&json!({ "description": "d" }));
    let (a, b, c) = tokio::join!(
        rig.send("PUT", &uri, change.clone()),
        rig.send("PUT", &uri, change.clone()),
        rig.send("PUT", &uri, change.clone()),
    );
    let mut versions =
        [a, b, c].map(|answer| answer.json()["pipeline"]["version"].as_u64().unwrap());
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4]);
}

#[tokio::test]
async fn a_root_path_leads_the_keys_of_later_uploads() {
    let rig = Rig::new().await;
    let id = create(&rig, json!({ "name": "n", "root_path": "films/" })).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let uri = format!("/v1/files/uploads/?object_key=a.mp4&pipeline_id={id}");
    let key = |answer: support::Answer| answer.json()["upload"]["form_post_params"]["key"].clone();
    assert_eq!(key(rig.ask("POST", &uri).await), json!("films/a.mp4"));
    let change = body(&json!({ "root_path": "" }));
    assert_eq!(
        rig.send("PUT", &format!("/v1/pipelines/{id}"), change)
            .await
            .status,
        200
    );
    assert_eq!(key(rig.ask("POST", &uri).await), json!("a.mp4"));
}

#[tokio::test]
async fn a_pipeline_with_open_sessions_stays_until_they_end() {
    let rig = Rig::new().await;
    let upload = rig.start("a").await;
    let uri = format!("/v1/pipelines/{PIPELINE}");
    for format in ["", "?format=xml"] {
        let (status, code, detail) = rig.ask("DELETE", &format!("{uri}{format}")).await.refusal();
        assert_eq!((status, code.as_str()), (409, "0x0170001"));
        assert!(detail.contains("open upload sessions"), "{detail}");
    }
    rig.ask("DELETE", &format!("/v1/files/uploads/{upload}"))
        .await;
    assert_eq!(
        rig.ask("DELETE", &uri).await.text(),
        r#"{"result":{"status":"SUCCESS"}}"#
    );
    for method in ["GET", "PUT", "DELETE"] {
        let (status, code, _) = rig
            .send(method, &uri, body(&json!({ "name": "n" })))
            .await
            .refusal();
        assert_eq!((status, code.as_str()), (404, "0x0170002"), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pipeline_that_goes_while_an_upload_starts_takes_it_along_or_stays() {
    let rig = Arc::new(Rig::with(|options| options.dev = false).await);
    for _ in 0..100 {
        rig.add_pipeline(NOBODY, PipelineSettings::default()).await;
        let ask = |method: &'static str, uri: String| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { rig.ask(method, &uri).await })
        };
        let start = ask(
            "POST",
            format!("/v1/files/uploads/?object_key=a&pipeline_id={NOBODY}"),
        );
        let remove = ask("DELETE", format!("/v1/pipelines/{NOBODY}"));
        let (started, removed) = (start.await.unwrap(), remove.await.unwrap());
        match (started.status.as_u16(), removed.status.as_u16()) {
            (404, 200) => {}
            (200, 409) => {
                let id = started.json()["upload"]["id"].as_str().unwrap().to_owned();
                rig.ask("DELETE", &format!("/v1/files/uploads/{id}")).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_404_in_both_formats() {
    let rig = Rig::new().await;
    for id in [NOBODY, "x", "%2e%2e", "547f3eede4b025bcbff3865g"] {
        for format in ["json", "xml"] {
            let answer = rig
                .ask("GET", &format!("/v1/pipelines/{id}?format={format}"))
                .await;
            let (status, code, _) = answer.refusal();
            assert_eq!((status, code.as_str()), (404, "0x0170002"), "{id}");
        }
    }
}

#[tokio::test]
async fn a_list_obeys_start_limit_sort_and_direction() {
    let rig = Rig::new().await;
    for name in ["c", "a", "b"] {
        rig.advance(Duration::from_secs(1));
        create(&rig, json!({ "name": name })).await;
    }
    for (query, names) in [
        ("", "movies c a b"),
        ("direction=-1", "b a c movies"),
        ("sort=name", "a b c movies"),
        ("sort=name&direction=-1&limit=2", "movies c"),
        ("sort=name&start=1&limit=2", "b c"),
        ("sort=updated_at&start=3", "b"),
        ("sort=id&limit=0", "movies c a b"),
        ("start=9", ""),
    ] {
        for slash in ["", "/"] {
            let answer = rig
                .ask("GET", &format!("/v1/pipelines{slash}?{query}"))
                .await
                .json();
            let listed = answer["pipelines"].as_array().unwrap();
            let listed = listed.iter().map(|one| one["name"].as_str().unwrap());
            let mut listed = listed.collect::<Vec<_>>();
            let mut names = names.split_whitespace().collect::<Vec<_>>();
            if query.starts_with("sort=id") {
                listed.sort_unstable();
                names.sort_unstable();
            }
            assert_eq!(listed, names, "{query}");
            assert_eq!(answer["total"], json!(4));
        }
    }
    let xml = rig
        .ask("GET", "/v1/pipelines/?format=xml&limit=1&sort=name")
        .await
        .text();
    assert!(
        xml.contains("<pipelines total=\"4\" start=\"0\" limit=\"1\"><pipeline><name>a</name>"),
        "{xml}"
    );
}

#[tokio::test]
async fn a_list_refuses_what_it_does_not_know_by_name() {
    let rig = Rig::new().await;
    for (query, name) in [
        ("start=-1", "start"),
        ("start=x", "start"),
        ("start=1000001", "start"),
        ("limit=5001", "limit"),
        ("limit=-1", "limit"),
        ("sort=colour", "sort"),
        ("direction=2", "direction"),
    ] {
        for format in ["", "&format=xml"] {
            let answer = rig
                .ask("GET", &format!("/v1/pipelines/?{query}{format}"))
                .await;
            let (status, code, detail) = answer.refusal();
            assert_eq!((status, code.as_str()), (400, "0x0170001"), "{query}");
            assert!(
                detail.starts_with(&format!("{name} must be")),
                "{query}: {detail}"
            );
        }
    }
}
