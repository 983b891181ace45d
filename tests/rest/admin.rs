//! The operator's two doors: the admin listener and the control socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::support;
use pillarbox::api::start::DEV_ACCESS_KEY;
use pillarbox::model::TokenHash;
use pillarbox::store::{CatalogEntry, CatalogKey};
use serde_json::{Value, json};
use support::{NOBODY, NOW, PIPELINE, Rig};

fn members(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn the_program_says_that_it_lives_and_whether_it_is_ready() {
    let rig = Rig::new().await;
    let live = rig.admin("GET", "/livez").await;
    assert_eq!((live.status.as_u16(), live.text().as_str()), (200, "ok\n"));
    let ready = rig.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(members(&ready.json()), ["ready", "writable", "free_bytes"]);
    assert_eq!(ready.json()["ready"], json!(true));
    rig.store.close().await.unwrap();
    let closed = rig.admin("GET", "/readyz").await;
    assert_eq!(closed.status, 503);
    assert_eq!(closed.json()["ready"], json!(false));
    assert_eq!(rig.admin("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn the_admin_listener_answers_only_what_it_has() {
    let rig = Rig::new().await;
    let head = rig.admin("HEAD", "/livez").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let posted = rig.admin("POST", "/readyz").await;
    assert_eq!(
        (posted.status.as_u16(), posted.header("allow")),
        (405, "GET, HEAD")
    );
    for path in ["/", "/v1/pipelines/", "/tokens", "/livez/", "/uploads/a"] {
        let answer = rig.admin("GET", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["error"]["code"], json!("NoSuchResource"));
    }
}

#[tokio::test]
async fn a_static_token_is_shown_once_works_and_is_revoked() {
    let rig = Rig::new().await;
    let body = json!({ "name": "ci", "scopes": ["mediahub_read", "me"], "expires_in": 60 });
    let made = rig
        .control("POST", "/tokens", body.to_string())
        .await
        .json();
    assert_eq!(
        members(&made),
        [
            "id",
            "name",
            "scopes",
            "application",
            "created_at",
            "expires_at",
            "token"
        ]
    );
    assert_eq!(made["scopes"], json!("mediahub_read,me"));
    assert_eq!(made["expires_at"], json!("2026-11-22T13:21:00.000Z"));
    let token = made["token"].as_str().unwrap();
    assert!(token.len() >= 43);
    let bearer = format!("Bearer {token}");
    let list = async || {
        rig.request("GET", "/v1/pipelines/", &[("authorization", &bearer)], "")
            .await
            .status
    };
    assert_eq!(list().await, 200);
    let listed = rig.control("GET", "/tokens", "").await;
    assert!(listed.text().contains("\"name\":\"ci\"") && !listed.text().contains(token));
    rig.clock.set(NOW.plus(Duration::from_secs(60)));
    assert_eq!(list().await, 403);
    rig.clock.set(NOW);
    let place = format!("/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(rig.control("DELETE", &place, "").await.status, 200);
    assert_eq!(list().await, 403);
    assert_eq!(rig.control("DELETE", &place, "").await.status, 404);
}

#[tokio::test]
async fn an_application_made_here_gets_tokens_there() {
    let rig = Rig::new().await;
    let body = json!({ "name": "player", "scopes": "mediahub" });
    let made = rig
        .control("POST", "/applications", body.to_string())
        .await
        .json();
    let (id, secret) = (
        made["client_id"].as_str().unwrap(),
        made["client_secret"].as_str().unwrap(),
    );
    assert_eq!((id.len(), secret.len()), (24, 64));
    let form = format!("grant_type=client_credential&client_id={id}&client_secret={secret}");
    assert_eq!(
        rig.request("POST", "/v1/oauth2/token/", &[], form)
            .await
            .status,
        200
    );
    let listed = rig.control("GET", "/applications", "").await;
    assert!(listed.text().contains(id) && !listed.text().contains(secret));
}

#[tokio::test]
async fn what_is_public_in_dev_opens_nothing_once_its_folder_is_served() {
    use pillarbox::api::app::{App, AppOptions};
    use pillarbox::api::start::DEV_TOKEN;
    use pillarbox::model::TokenHash;
    use pillarbox::store::CatalogKey;
    let rig = Rig::new().await;
    let public = [
        CatalogKey::Token(TokenHash::of(DEV_TOKEN)),
        CatalogKey::AccessKey(DEV_ACCESS_KEY.to_owned()),
    ];
    for key in &public {
        assert!(rig.store.find(key).await.unwrap().is_some());
    }
    let store = std::sync::Arc::clone(&rig.store);
    let served = App::start(AppOptions::default(), store, rig.clock.clone()).await;
    assert!(served.is_ok());
    for key in &public {
        assert!(rig.store.find(key).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_temporary_key_has_a_session_token_that_is_shown_once_and_kept_as_a_hash() {
    let rig = Rig::new().await;
    let body = json!({ "temporary": 3600 }).to_string();
    let made = rig.control("POST", "/keys", body).await.json();
    let token = made["session_token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    assert_eq!(made["temporary"], json!(true));
    assert_eq!(made["expires_at"], json!("2026-11-22T14:20:00.000Z"));
    let listed = rig.control("GET", "/keys", "").await.text();
    assert!(listed.contains(made["id"].as_str().unwrap()) && !listed.contains(token));
    let id = CatalogKey::AccessKey(made["id"].as_str().unwrap().to_owned());
    let Some(CatalogEntry::AccessKey(key)) = rig.store.find(&id).await.unwrap() else {
        panic!("the key is not there");
    };
    assert_eq!(key.session_token, Some(TokenHash::of(token)));
    let plain = rig.control("POST", "/keys", "{}").await.json();
    assert_eq!(plain.get("session_token"), None);
    assert_eq!(plain["temporary"], json!(false));
}

#[tokio::test]
async fn keys_are_made_listed_removed_and_the_last_signer_stays() {
    let rig = Rig::with(|options| options.dev = false).await;
    let made = rig.control("POST", "/keys", "{}").await.json();
    let (id, secret) = (
        made["access_key"].as_str().unwrap(),
        made["secret_key"].as_str().unwrap(),
    );
    assert_eq!((made["purpose"].as_str(), secret.len()), (Some("user"), 40));
    let keys = rig.control("GET", "/keys", "").await;
    assert!(keys.text().contains(id) && !keys.text().contains(secret));
    let signer = keys.json()["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["purpose"] == json!("forms"))
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = rig.control("DELETE", &format!("/keys/{signer}"), "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("rotate"));
    assert_eq!(
        rig.control("DELETE", &format!("/keys/{id}"), "")
            .await
            .status,
        200
    );
    let rotated = rig.control("POST", "/keys/rotate", "{}").await.json();
    assert_ne!(rotated["id"], json!(signer));
    assert_eq!(rotated.get("secret_key"), None);
    let form = rig
        .ask(
            "POST",
            &format!("/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}"),
        )
        .await
        .json();
    assert_eq!(
        form["upload"]["form_post_params"]["AWSAccessKeyId"],
        rotated["id"]
    );
    let keys = rig.control("GET", "/keys", "").await.json();
    let old = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["id"] == json!(signer))
        .unwrap();
    assert_eq!(old["expires_at"], json!("2026-11-23T13:20:00.000Z"));
    assert_eq!(
        rig.control("DELETE", &format!("/keys/{signer}"), "")
            .await
            .status,
        200
    );
    let dev = Rig::new().await;
    assert_eq!(
        dev.control("DELETE", &format!("/keys/{DEV_ACCESS_KEY}"), "")
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn pipelines_are_made_with_a_chosen_id_once() {
    let rig = Rig::new().await;
    let body =
        json!({ "id": NOBODY, "name": "n", "description": "d", "root_path": "films/" }).to_string();
    let made = rig.control("POST", "/pipelines", body.clone()).await.json();
    assert_eq!(
        (made["id"].as_str(), made["root_path"].as_str()),
        (Some(NOBODY), Some("films/"))
    );
    let taken = rig.control("POST", "/pipelines", body).await;
    assert_eq!(taken.status, 409);
    let listed = rig.control("GET", "/pipelines", "").await.json();
    assert_eq!(listed["pipelines"].as_array().unwrap().len(), 2);
    assert_eq!(
        rig.control("DELETE", &format!("/pipelines/{NOBODY}"), "")
            .await
            .status,
        200
    );
    rig.start("a").await;
    assert_eq!(
        rig.control("DELETE", &format!("/pipelines/{PIPELINE}"), "")
            .await
            .status,
        409
    );
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_by_name() {
    let rig = Rig::new().await;
    for (place, body, name) in [
        ("/tokens", json!({ "scopes": "me" }), "name"),
        ("/tokens", json!({ "name": "", "scopes": "me" }), "name"),
        (
            "/tokens",
            json!({ "name": "n".repeat(129), "scopes": "me" }),
            "name",
        ),
        ("/tokens", json!({ "name": "n" }), "scopes"),
        (
            "/tokens",
            json!({ "name": "n", "scopes": "root" }),
            "scopes",
        ),
        ("/tokens", json!({ "name": "n", "scopes": [1] }), "scopes"),
        (
            "/tokens",
            json!({ "name": "n", "scopes": "me", "expires_in": 0 }),
            "expires_in",
        ),
        (
            "/tokens",
            json!({ "name": "n", "scopes": "me", "expires_in": "soon" }),
            "expires_in",
        ),
        (
            "/tokens",
            json!({ "name": "n", "scopes": "me", "expires-in": 60 }),
            "expires-in",
        ),
        (
            "/applications",
            json!({ "name": "n", "scopes": "me", "expires_in": 60 }),
            "expires_in",
        ),
        ("/applications", json!({ "scopes": "me" }), "name"),
        ("/applications", json!({ "name": "n" }), "scopes"),
        ("/keys", json!({ "temporary": 0 }), "temporary"),
        ("/keys", json!({ "temporary": 129_601 }), "temporary"),
        ("/keys", json!({ "temporary": "soon" }), "temporary"),
        ("/pipelines", json!({}), "name"),
        ("/pipelines", json!({ "name": "n", "id": "x" }), "id"),
        (
            "/pipelines",
            json!({ "name": "n", "root_path": "/" }),
            "root_path",
        ),
    ] {
        let answer = rig.control("POST", place, body.to_string()).await;
        assert_eq!(answer.status, 400, "{place} {body}");
        let error = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(error.starts_with(&format!("{name} ")), "{body}: {error}");
    }
    for (method, place, status) in [
        ("PUT", "/tokens", 405),
        ("GET", "/keys/rotate", 405),
        ("GET", "/verify", 405),
        ("GET", "/tokens/x", 405),
        ("DELETE", "/tokens/x", 404),
        ("DELETE", "/keys/none", 404),
        ("DELETE", "/applications/x", 404),
        ("DELETE", "/pipelines/x", 404),
        ("GET", "/", 404),
        ("GET", "/path", 400),
        ("GET", "/path?bucket=U&key=a", 400),
        ("GET", "/path?bucket=uploads&key=none", 404),
        ("GET", "/%ff", 404),
    ] {
        assert_eq!(
            rig.control(method, place, "").await.status,
            status,
            "{method} {place}"
        );
    }
}

/// Uploads `count` objects of four bytes.
async fn upload_many(rig: &Rig, count: usize) {
    for n in 0..count {
        let id = rig.start(&format!("file{n}")).await;
        rig.put_chunk(&id, 0, Some(1), "abcd").await;
    }
}

async fn path_of(rig: &Rig, object_key: &str) -> String {
    let place = format!("/path?bucket=uploads&key=tmp/{PIPELINE}/{object_key}");
    rig.control("GET", &place, "").await.json()["path"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn verify(rig: &Rig) -> Vec<Value> {
    let answer = rig.control("POST", "/verify", "").await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_objects_bytes_lie_where_the_control_door_says() {
    let rig = Rig::new().await;
    upload_many(&rig, 1).await;
    assert_eq!(
        std::fs::read(path_of(&rig, "file0").await).unwrap(),
        b"abcd"
    );
}

#[tokio::test]
async fn every_object_is_verified_and_a_damaged_one_is_named() {
    let rig = Rig::new().await;
    assert_eq!(verify(&rig).await, [json!({ "verified": 0, "damaged": 0 })]);
    upload_many(&rig, 3).await;
    let lines = verify(&rig).await;
    assert_eq!(lines.len(), 4);
    for (n, line) in lines[..3].iter().enumerate() {
        assert_eq!(members(line), ["object", "done", "total", "bytes"]);
        assert_eq!(
            (line["done"].as_u64(), line["total"].as_u64()),
            (Some(n as u64 + 1), Some(3))
        );
        assert_eq!(line["bytes"].as_u64(), Some(4 * (n as u64 + 1)));
    }
    assert_eq!(lines[3], json!({ "verified": 3, "damaged": 0 }));
    std::fs::write(path_of(&rig, "file1").await, "abXd").unwrap();
    let lines = verify(&rig).await;
    let damaged = lines
        .iter()
        .find(|line| line["damaged"].is_string())
        .unwrap();
    assert_eq!(
        damaged["object"],
        json!(format!("uploads/tmp/{PIPELINE}/file1"))
    );
    assert_eq!(lines.last(), Some(&json!({ "verified": 2, "damaged": 1 })));
}
