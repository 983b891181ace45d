//! HEAD answers as GET does, without the body, on every route that GET has (RFC 9110, section 9.3.2).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::{objects, support};
use http::HeaderMap;
use objects::draft;
use support::{Answer, NOBODY, PIPELINE, Rig};

/// What must be equal: everything but the request's own name, and the length, which is compared with the body.
fn comparable(answer: &Answer) -> HeaderMap {
    let mut headers = answer.headers.clone();
    for own in ["x-request-id", "x-amz-request-id", "content-length"] {
        headers.remove(own);
    }
    headers
}

fn assert_same_without_body(head: &Answer, get: &Answer, uri: &str) {
    assert_eq!(head.status, get.status, "{uri}");
    assert_eq!(comparable(head), comparable(get), "{uri}");
    assert!(head.body.is_empty(), "{uri}");
    if !get.body.is_empty() {
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), length, "{uri}");
    }
}

#[tokio::test]
async fn head_answers_as_get_on_every_rest_route_in_both_formats() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "some bytes").store(&rig).await;
    let upload = rig.start("film.mp4").await;
    for (path, status) in [
        ("/v1/files/".to_owned(), 200),
        (format!("/v1/files/{}", meta.id), 200),
        (format!("/v1/files/{NOBODY}"), 404),
        (format!("/v1/files/uploads/{upload}"), 200),
        (format!("/v1/files/uploads/{NOBODY}"), 404),
        ("/v1/files/downloads/".to_owned(), 400),
        ("/v1/pipelines/".to_owned(), 200),
        (format!("/v1/pipelines/{PIPELINE}"), 200),
        (format!("/v1/pipelines/{NOBODY}"), 404),
        ("/v1/nothing".to_owned(), 404),
        ("/v1/files/uploads/".to_owned(), 405),
        ("/v1/oauth2/token/".to_owned(), 405),
    ] {
        for style in ["", "?format=xml", "?human=true", "?format=neither"] {
            let uri = format!("{path}{style}");
            let get = rig.ask("GET", &uri).await;
            assert!(
                style == "?format=neither" || get.status == status,
                "{uri}: {}",
                get.status
            );
            assert_same_without_body(&rig.ask("HEAD", &uri).await, &get, &uri);
        }
    }
}

#[tokio::test]
async fn head_of_a_request_for_a_link_answers_as_get() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "some bytes").store(&rig).await;
    for redirect in [false, true] {
        let uri = format!(
            "/v1/files/downloads/?file_id={}&redirect={redirect}",
            meta.id
        );
        let get = rig.ask("GET", &uri).await;
        assert_eq!(get.status, if redirect { 302 } else { 200 });
        assert_same_without_body(&rig.ask("HEAD", &uri).await, &get, &uri);
    }
}

#[tokio::test]
async fn head_is_refused_as_get_is() {
    let rig = Rig::new().await;
    for uri in [
        "/v1/files/",
        "/v1/pipelines/",
        "/uploads",
        "/uploads/a",
        "/",
        "/uploads/%ff",
    ] {
        let get = rig.request("GET", uri, &[], "").await;
        assert!(get.status.is_client_error(), "{uri}: {}", get.status);
        assert_same_without_body(&rig.request("HEAD", uri, &[], "").await, &get, uri);
    }
}

#[tokio::test]
async fn head_answers_as_get_on_the_admin_listener() {
    let rig = Rig::new().await;
    for uri in ["/livez", "/readyz", "/nothing"] {
        let get = rig.admin("GET", uri).await;
        assert_same_without_body(&rig.admin("HEAD", uri).await, &get, uri);
    }
}

#[tokio::test]
async fn a_refused_method_hears_of_head_where_get_is_known() {
    let rig = Rig::new().await;
    for uri in [
        "/v1/files/".to_owned(),
        format!("/v1/files/{NOBODY}"),
        format!("/v1/files/uploads/{NOBODY}"),
        "/v1/files/downloads/".to_owned(),
        "/v1/pipelines/".to_owned(),
        format!("/v1/pipelines/{NOBODY}"),
    ] {
        let refused = rig.ask("PATCH", &uri).await;
        assert_eq!(refused.status, 405, "{uri}");
        assert!(
            refused.header("allow").starts_with("GET, HEAD, "),
            "{uri}: {}",
            refused.header("allow")
        );
    }
}
