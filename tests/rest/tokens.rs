//! Tokens over REST: how applications get them, what they allow, and when they end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::support;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use pillarbox::model::{Id, Scope, Scopes, Token, TokenHash};
use pillarbox::store::{CatalogEntry, MAX_TOKENS_OF_APPLICATION};
use serde_json::{Value, json};
use support::{Answer, NOBODY, NOW, PIPELINE, Rig};

const CLIENT: &str = "53a1ac4914eaa8ffa4fce38c";
const SECRET: &str = "c2VjcmV0+/c2VjcmV0=";
const URI: &str = "/v1/oauth2/token/";

fn form(more: &str) -> String {
    let secret = "c2VjcmV0%2B%2Fc2VjcmV0%3D";
    format!("grant_type=client_credential&client_id={CLIENT}&client_secret={secret}{more}")
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.add_application(CLIENT, SECRET, &[Scope::MediahubRead, Scope::Me])
        .await;
    rig
}

async fn issue(rig: &Rig, more: &str) -> Answer {
    rig.request("POST", URI, &[], form(more)).await
}

/// Lists pipelines with a token.
async fn list(rig: &Rig, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    rig.request("GET", "/v1/pipelines/", &[("authorization", &bearer)], "")
        .await
}

#[tokio::test]
async fn every_way_to_present_credentials_gets_a_token_that_works() {
    let rig = rig().await;
    let json =
        json!({ "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET });
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let encoded = format!(
        "basic {}",
        STANDARD.encode(format!("{CLIENT}:c2VjcmV0+%2Fc2VjcmV0%3D"))
    );
    let by_basic = |value| vec![("authorization", value)];
    for (uri, headers, body) in [
        (URI.to_owned(), vec![], form("")),
        ("/v1/oauth2/token".to_owned(), vec![], form("")),
        (format!("{URI}?{}", form("")), vec![], String::new()),
        (
            format!("{URI}?{}", form("").replace("credential&", "credentials&")),
            vec![],
            String::new(),
        ),
        (URI.to_owned(), vec![], json.to_string()),
        (
            URI.to_owned(),
            by_basic(basic.as_str()),
            "grant_type=client_credentials".to_owned(),
        ),
        (
            URI.to_owned(),
            by_basic(encoded.as_str()),
            "grant_type=client_credentials".to_owned(),
        ),
    ] {
        let answer = rig.request("POST", &uri, &headers, body.clone()).await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "{uri} {body}: {}",
            answer.text()
        );
        assert_eq!(answer.header("cache-control"), "no-store");
        let granted = answer.json();
        let names = granted.as_object().unwrap().keys().collect::<Vec<_>>();
        assert_eq!(names, ["access_token", "expires_in", "token_type"]);
        assert_eq!(granted["token_type"], json!("Bearer"));
        assert_eq!(granted["expires_in"], json!(3600));
        let token = granted["access_token"].as_str().unwrap();
        assert_eq!(token.len(), 64);
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        assert_eq!(list(&rig, token).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_token_reads_in_xml() {
    let rig = rig().await;
    let text = rig
        .request(
            "POST",
            &format!("{URI}?format=xml&expires_in=7200"),
            &[],
            form(""),
        )
        .await
        .text();
    let (_, tail) = text.split_once("<response><access_token>").unwrap();
    assert!(tail[64..].starts_with(
        "</access_token><expires_in>7200</expires_in><token_type>Bearer</token_type></response>"
    ));
}

#[tokio::test]
async fn a_life_that_was_asked_for_is_echoed_as_it_came() {
    let rig = rig().await;
    for seconds in ["1", "7200", "2592000"] {
        let by_body = issue(&rig, &format!("&expires_in={seconds}")).await.json();
        assert_eq!(by_body["expires_in"], json!(seconds));
        let uri = format!("{URI}?expires_in={seconds}&human=true");
        let by_query = rig.request("POST", &uri, &[], form("")).await.json();
        assert_eq!(by_query["expires_in"], json!(seconds));
    }
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_by_name() {
    let rig = rig().await;
    let without = |name: &str| {
        let form = form("");
        let kept = form.split('&').filter(|pair| !pair.starts_with(name));
        kept.collect::<Vec<_>>().join("&")
    };
    for (body, name) in [
        (without("grant_type"), "grant_type"),
        (without("client_id"), "client_id"),
        (without("client_secret"), "client_secret"),
        (
            form("").replace("client_credential", "password"),
            "grant_type",
        ),
        (form("&expires_in=0"), "expires_in"),
        (form("&expires_in=-1"), "expires_in"),
        (form("&expires_in=2592001"), "expires_in"),
        (form("&expires_in=long"), "expires_in"),
        (form("&expires_in="), "expires_in"),
        (form("&scope=root"), "scope"),
        (form("&scope=me,mediahub_write"), "scope"),
        (form("&scope=mediahub"), "scope"),
        (form("&scope=autograph"), "scope"),
    ] {
        for format in ["", "?format=xml"] {
            let answer = rig
                .request("POST", &format!("{URI}{format}"), &[], body.clone())
                .await;
            let (status, code, detail) = answer.refusal();
            assert_eq!((status, code.as_str()), (400, "0x0230001"), "{body}");
            assert!(detail.starts_with(&format!("{name} ")), "{body}: {detail}");
            assert!(!detail.contains("c2Vj"), "no secret is repeated");
        }
    }
    for basic in ["Basic %%%", "Basic YWJj"] {
        let headers = [("authorization", basic)];
        let answer = rig
            .request("POST", URI, &headers, "grant_type=client_credential")
            .await;
        let (status, _, detail) = answer.refusal();
        assert_eq!(status, 400);
        assert!(detail.contains("Authorization"), "{detail}");
    }
    let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
    let once = [("authorization", basic.as_str())];
    let twice = [once[0], ("authorization", "Bearer other")];
    let other = form("").replace(CLIENT, NOBODY);
    let longer = form("").replace("client_secret=", "client_secret=x");
    for (headers, body, words) in [
        (&once[..], form(""), ""),
        (
            &twice[..],
            form(""),
            "The Authorization header must be sent once.",
        ),
        (
            &once[..],
            other,
            "client_id is given twice, with different values.",
        ),
        (
            &once[..],
            longer,
            "client_secret is given twice, with different values.",
        ),
        (
            &[][..],
            form("&scope=me&scope=mediahub_read"),
            "scope is given twice, with different values.",
        ),
    ] {
        let answer = rig.request("POST", URI, headers, body).await;
        if words.is_empty() {
            assert_eq!(answer.status, 200, "{}", answer.text());
            continue;
        }
        assert_eq!(
            answer.refusal(),
            (400, "0x0230001".to_owned(), words.to_owned())
        );
    }
    let (_, _, detail) = issue(&rig, "&scope=me,mediahub_write").await.refusal();
    assert!(detail.contains("mediahub_write"), "{detail}");
}

#[tokio::test]
async fn wrong_credentials_are_403_and_do_not_say_which_half() {
    let rig = rig().await;
    let mut details = Vec::new();
    for body in [
        form("").replace(CLIENT, NOBODY),
        form("").replace(CLIENT, "nobody"),
        form("").replace("client_secret=c2", "client_secret=d2"),
        form("x"),
        format!("grant_type=client_credential&client_id={CLIENT}&client_secret="),
    ] {
        for format in ["", "?format=xml"] {
            let answer = rig
                .request("POST", &format!("{URI}{format}"), &[], body.clone())
                .await;
            let (status, code, detail) = answer.refusal();
            assert_eq!((status, code.as_str()), (403, "0x0000003"), "{body}");
            details.push(detail);
        }
    }
    details.dedup();
    assert_eq!(details.len(), 1);
}

#[tokio::test]
async fn a_token_allows_what_was_asked_and_no_more() {
    let rig = rig().await;
    for (scope, reads) in [
        ("", true),
        ("&scope=", true),
        ("&scope=mediahub_read", true),
        ("&scope=me", false),
    ] {
        let granted = issue(&rig, scope).await.json();
        let answer = list(&rig, granted["access_token"].as_str().unwrap()).await;
        assert_eq!(answer.status.is_success(), reads, "{scope}");
        if !reads {
            assert_eq!(answer.refusal().1, "0x0000003");
        }
    }
}

#[tokio::test]
async fn a_token_ends_to_the_millisecond() {
    let rig = rig().await;
    let granted = issue(&rig, "&expires_in=60").await.json();
    let token = granted["access_token"].as_str().unwrap();
    let end = NOW.plus(Duration::from_secs(60));
    let moment = Duration::from_millis(1);
    for (now, status) in [
        (end.minus(Duration::from_secs(1)), 200),
        (end.minus(moment), 200),
        (end, 403),
        (end.plus(moment), 403),
        (end.plus(Duration::from_secs(1)), 403),
    ] {
        rig.clock.set(now);
        assert_eq!(list(&rig, token).await.status, status, "{now}");
    }
}

/// One call of every route that needs a token, with the scope it needs.
fn calls() -> Vec<(&'static str, String, Scope)> {
    let upload = format!("/v1/files/uploads/{NOBODY}");
    let pipeline = format!("/v1/pipelines/{PIPELINE}");
    let file = format!("/v1/files/{NOBODY}");
    let start = format!("/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}");
    vec![
        ("POST", start, Scope::MediahubWrite),
        ("GET", upload.clone(), Scope::MediahubRead),
        (
            "GET",
            format!("{upload}?form_post_params=true"),
            Scope::MediahubWrite,
        ),
        ("PUT", upload.clone(), Scope::MediahubWrite),
        ("DELETE", upload, Scope::MediahubWrite),
        ("GET", "/v1/files/".to_owned(), Scope::MediahubRead),
        ("GET", file.clone(), Scope::MediahubRead),
        ("DELETE", file, Scope::MediahubWrite),
        ("GET", "/v1/pipelines/".to_owned(), Scope::MediahubRead),
        ("POST", "/v1/pipelines/".to_owned(), Scope::MediahubWrite),
        ("GET", pipeline.clone(), Scope::MediahubRead),
        ("PUT", pipeline.clone(), Scope::MediahubWrite),
        ("DELETE", pipeline, Scope::MediahubWrite),
    ]
}

#[tokio::test]
async fn every_route_refuses_every_bad_token_alike() {
    let rig = rig().await;
    rig.add_token("expired", &[Scope::Mediahub], Some(NOW))
        .await;
    rig.add_token(
        "other",
        &[Scope::Me, Scope::Autograph, Scope::MediahubDownloadFiles],
        None,
    )
    .await;
    rig.add_token("revoked", &[Scope::Mediahub], None).await;
    revoke(&rig, "test").await;
    rig.add_token("expired", &[Scope::Mediahub], Some(NOW))
        .await;
    rig.add_token(
        "other",
        &[Scope::Me, Scope::Autograph, Scope::MediahubDownloadFiles],
        None,
    )
    .await;
    let long = format!("Bearer {}", "t".repeat(300));
    let headers = [
        ("missing", None),
        ("empty", Some("Bearer ")),
        ("malformed", Some("dev-token")),
        ("of another scheme", Some("Basic ZGV2LXRva2VuOg==")),
        ("too long", Some(long.as_str())),
        ("unknown", Some("Bearer dev-tokem")),
        ("expired", Some("Bearer expired")),
        ("revoked", Some("Bearer revoked")),
        ("of another scope", Some("Bearer other")),
    ];
    for (method, uri, _) in calls() {
        for (state, header) in headers {
            for format in ["json", "xml"] {
                let joint = if uri.contains('?') { '&' } else { '?' };
                let uri = format!("{uri}{joint}format={format}");
                let headers = header
                    .map(|value| vec![("authorization", value)])
                    .unwrap_or_default();
                let answer = rig.request(method, &uri, &headers, "").await;
                let (status, code, detail) = answer.refusal();
                assert_eq!(
                    (status, code.as_str()),
                    (403, "0x0000003"),
                    "{method} {uri}: {state}"
                );
                assert!(answer.text().contains("Invalid access token"));
                assert!(!detail.contains("dev-token") && !detail.contains("dev-tokem"));
            }
        }
    }
}

/// Revokes every token of this name by the control door.
async fn revoke(rig: &Rig, name: &str) {
    let tokens = rig.control("GET", "/tokens", "").await.json();
    for token in tokens["tokens"].as_array().unwrap() {
        if token["name"] == json!(name) {
            let id = token["id"].as_str().unwrap();
            let answer = rig.control("DELETE", &format!("/tokens/{id}"), "").await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn every_route_asks_for_the_scope_it_needs_and_is_content_with_it() {
    let rig = rig().await;
    rig.add_token("reads", &[Scope::MediahubRead], None).await;
    rig.add_token("writes", &[Scope::MediahubWrite], None).await;
    for (method, uri, needed) in calls() {
        for (token, held) in [
            ("reads", Scope::MediahubRead),
            ("writes", Scope::MediahubWrite),
        ] {
            let bearer = format!("Bearer {token}");
            let answer = rig
                .request(method, &uri, &[("authorization", &bearer)], "")
                .await;
            let refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                refused,
                held != needed,
                "{method} {uri} with {token}: {}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn a_token_in_the_query_works_behind_the_header() {
    let rig = rig().await;
    let ask = async |uri: &str, headers: &[(&str, &str)]| {
        rig.request("GET", uri, headers, "").await.status
    };
    assert_eq!(ask("/v1/pipelines/?access_token=dev-token", &[]).await, 200);
    assert_eq!(ask("/v1/pipelines?access_token=dev-token", &[]).await, 200);
    assert_eq!(ask("/v1/pipelines/?access_token=dev-tokem", &[]).await, 403);
    assert_eq!(ask("/v1/pipelines/?access_token=", &[]).await, 403);
    let wrong = [("authorization", "Bearer wrong")];
    assert_eq!(
        ask("/v1/pipelines/?access_token=dev-token", &wrong).await,
        403
    );
    let right = ("authorization", "Bearer dev-token");
    let both = "/v1/pipelines/?access_token=dev-token";
    assert_eq!(ask(both, &[right]).await, 200, "one token, said twice");
    assert_eq!(
        ask("/v1/pipelines/?access_token=other", &[right]).await,
        403
    );
    assert_eq!(ask("/v1/pipelines/", &[right, right]).await, 403);
    assert_eq!(ask("/v1/pipelines/", &[right, wrong[0]]).await, 403);
    assert_eq!(
        ask(&format!("{both}&access_token=dev-token"), &[]).await,
        200
    );
    let answer = rig
        .request("GET", &format!("{both}&access_token=other"), &[], "")
        .await;
    let (status, _, detail) = answer.refusal();
    let wanted = "access_token is given twice, with different values.";
    assert_eq!((status, detail.as_str()), (400, wanted));
}

#[tokio::test]
async fn with_its_application_a_token_ends() {
    let rig = rig().await;
    let token = issue(&rig, "").await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(list(&rig, &token).await.status, 200);
    let removed = rig
        .control("DELETE", &format!("/applications/{CLIENT}"), "")
        .await;
    assert_eq!(removed.status, 200);
    assert_eq!(list(&rig, &token).await.refusal().1, "0x0000003");
    assert_eq!(issue(&rig, "").await.refusal().0, 403);
    assert_eq!(list(&rig, "dev-token").await.status, 200, "others stay");
    let again = rig
        .control("DELETE", &format!("/applications/{CLIENT}"), "")
        .await;
    assert_eq!(again.status, 404);
}

/// Tokens of the application that are as good as any, made behind its back.
async fn add_tokens(rig: &Rig, number: usize) {
    let application = Id::parse(CLIENT).unwrap();
    let inserted = (0..number).map(|n| {
        let token = Token {
            id: Id::new(NOW, [7; 8]),
            hash: TokenHash::of(&format!("number {n}")),
            name: "job".to_owned(),
            scopes: Scopes::parse("mediahub_read").unwrap(),
            application: Some(application),
            created_at: NOW.plus(Duration::from_secs(1)),
            expires_at: Some(NOW.plus(Duration::from_secs(3600))),
        };
        rig.store.insert(CatalogEntry::Token(token))
    });
    for done in futures_util::future::join_all(inserted).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn an_application_that_has_all_its_tokens_gets_one_more_and_loses_its_oldest() {
    let rig = rig().await;
    let token = async || {
        let issued = issue(&rig, "").await.json();
        issued["access_token"].as_str().unwrap().to_owned()
    };
    let first = token().await;
    add_tokens(&rig, MAX_TOKENS_OF_APPLICATION - 2).await;
    let last_but_one = token().await;
    assert_eq!(list(&rig, &first).await.status, 200);
    assert_eq!(list(&rig, &last_but_one).await.status, 200);
    rig.advance(Duration::from_secs(2));
    let new = token().await;
    assert_eq!(list(&rig, &new).await.status, 200);
    let old = [list(&rig, &first).await, list(&rig, &last_but_one).await];
    let refused = old.iter().filter(|answer| answer.status == 403).count();
    assert_eq!(refused, 1, "both were issued in one millisecond");
    assert_eq!(list(&rig, "number 0").await.status, 200);
    assert_eq!(list(&rig, "dev-token").await.status, 200);
    let place = format!("/applications/{CLIENT}");
    assert_eq!(rig.control("DELETE", &place, "").await.status, 200);
    for gone in [new.as_str(), "number 0", "number 300", "number 900"] {
        assert_eq!(list(&rig, gone).await.status, 403, "{gone}");
    }
    assert_eq!(list(&rig, "dev-token").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_made_while_its_application_goes_ends_with_it() {
    let rig = Arc::new(rig().await);
    for _ in 0..30 {
        rig.add_application(CLIENT, SECRET, &[Scope::Mediahub])
            .await;
        let issuing = (0..8).map(|_| {
            let rig = Arc::clone(&rig);
            tokio::spawn(async move { issue(&rig, "").await })
        });
        let issuing = issuing.collect::<Vec<_>>();
        let removing = Arc::clone(&rig);
        let removing = tokio::spawn(async move {
            let place = format!("/applications/{CLIENT}");
            removing.control("DELETE", &place, "").await
        });
        assert_eq!(removing.await.unwrap().status, StatusCode::OK);
        for issued in issuing {
            let issued = issued.await.unwrap();
            if issued.status.is_success() {
                let token = issued.json()["access_token"].as_str().unwrap().to_owned();
                assert_eq!(list(&rig, &token).await.status, StatusCode::FORBIDDEN);
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_405() {
    let rig = rig().await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = rig.request(method, URI, &[], "").await;
        assert_eq!(answer.refusal().0, 405);
        assert_eq!(answer.header("allow"), "POST, OPTIONS");
    }
}

#[tokio::test]
async fn nothing_stored_or_listed_holds_the_token() {
    let rig = rig().await;
    let token = issue(&rig, "").await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed: Value = rig.control("GET", "/tokens", "").await.json();
    let text = listed.to_string();
    assert!(text.contains(CLIENT) && !text.contains(&token) && !text.contains("hash"));
    assert!(
        !rig.control("GET", "/applications", "")
            .await
            .text()
            .contains(SECRET)
    );
}
