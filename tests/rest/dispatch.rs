//! A form is worth something at the form post only: every route, with every method and every way to prove who one is, refuses a request
//! whose body is a form, although the form is signed by a key that exists and the same request with another body is done.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::collections::BTreeSet;

use crate::{form, objects, sigv4, support};
use form::{Form, content_type};
use http::StatusCode;
use objects::draft;
use pillarbox::api::route::{self, Route};
use pillarbox::store::{CatalogKind, FileQuery};
use sigv4::Signed;
use support::{Answer, NOBODY, PIPELINE, Rig, TOKEN};

/// All methods that are not answered before anybody asks what the body is (a preflight is).
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "BREW"];
/// A path of each route; `ID` is an object's id.
const PATHS: [&str; 21] = [
    "/v1/oauth2/token/",
    "/v1/files/uploads/?object_key=a&pipeline_id=547f3eede4b025bcbff38657",
    "/v1/files/uploads/ID",
    "/v1/files/",
    "/v1/files/ID",
    "/v1/files/ID?expires_at=0",
    "/v1/files/downloads/?object_key=a.bin&pipeline_id=547f3eede4b025bcbff38657",
    "/v1/files/downloads/ID/a.bin",
    "/v1/pipelines/",
    "/v1/pipelines/547f3eede4b025bcbff38657",
    "/v1/explain/00000000000000000000000000000001",
    "/v1/nothing",
    "/",
    "/uploads",
    "/uploads?delete",
    "/fresh",
    "/uploads/in/a.bin",
    "/uploads/in/a.bin?tagging",
    "/uploads/in/a.bin?uploads",
    "/uploads/in/a.bin?partNumber=1&uploadId=ID",
    "/uploads/%ff",
];

/// The number of a route's kind. No pattern stands for the rest, so a route that is added must be given a path above.
fn kind(route: &Route) -> usize {
    match route {
        Route::Token => 0,
        Route::Uploads => 1,
        Route::Upload(_) => 2,
        Route::Files => 3,
        Route::File(_) => 4,
        Route::Downloads => 5,
        Route::Link(_) => 6,
        Route::Pipelines => 7,
        Route::Pipeline(_) => 8,
        Route::Explain(_) => 9,
        Route::Service => 10,
        Route::Bucket(_) => 11,
        Route::Object { .. } => 12,
        Route::Unknown => 13,
        Route::Malformed => 14,
    }
}

/// How many kinds there are.
const KINDS: usize = 15;

/// How a request proves who sent it.
#[derive(Clone, Copy, Debug)]
enum Proof {
    None,
    Bearer,
    BearerInQuery,
    Header,
    Presigned,
}

const PROOFS: [Proof; 5] = [
    Proof::None,
    Proof::Bearer,
    Proof::BearerInQuery,
    Proof::Header,
    Proof::Presigned,
];

async fn send(rig: &Rig, method: &str, path: &str, proof: Proof, content: &Content) -> Answer {
    let headers = [("content-type", content.kind.as_str())];
    let signed = || {
        Signed::new(method, path)
            .header("content-type", &content.kind)
            .body(content.body.clone())
    };
    let bearer = format!("Bearer {TOKEN}");
    match proof {
        Proof::None => rig.request(method, path, &headers, &*content.body).await,
        Proof::Bearer => {
            let headers = [headers[0], ("authorization", &bearer)];
            rig.request(method, path, &headers, &*content.body).await
        }
        Proof::BearerInQuery => {
            let joint = if path.contains('?') { '&' } else { '?' };
            let path = format!("{path}{joint}access_token={TOKEN}");
            rig.request(method, &path, &headers, &*content.body).await
        }
        Proof::Header => signed().send(rig).await,
        Proof::Presigned => signed().send_presigned(rig, 60).await,
    }
}

/// A body and its media type.
struct Content {
    kind: String,
    body: Vec<u8>,
}

/// A form that the form post takes.
fn a_form() -> Content {
    let mut form = Form::new("uploads", "in/form.bin", b"the bytes of the file");
    Content {
        kind: content_type(),
        body: form.sign().encode(),
    }
}

/// Nothing, so that it is right for most operations.
fn no_form() -> Content {
    Content {
        kind: "application/octet-stream".to_owned(),
        body: Vec::new(),
    }
}

/// Everything that is stored, as text.
async fn contents(rig: &Rig) -> String {
    let query = FileQuery {
        limit: FileQuery::MAX_LIMIT,
        ..FileQuery::default()
    };
    let mut text = format!("{:?}", rig.store.list_files(&query, support::NOW).await);
    for kind in [
        CatalogKind::Token,
        CatalogKind::Application,
        CatalogKind::AccessKey,
        CatalogKind::Pipeline,
        CatalogKind::Bucket,
    ] {
        text.push_str(&format!("{:?}", rig.store.list(kind).await.unwrap()));
    }
    text
}

/// An application with one object, and the paths for it.
async fn start() -> (Rig, Vec<String>) {
    let rig = Rig::new().await;
    let object = draft("a.bin", "bytes").store(&rig).await;
    let put = Signed::new("PUT", "/uploads/in/a.bin").body("bytes");
    assert_eq!(put.send(&rig).await.status, StatusCode::OK);
    let id = object.id.to_string();
    let paths = PATHS.iter().map(|path| path.replace("ID", &id));
    (rig, paths.collect())
}

/// Where a form may go: to the form post, and into an object, which may be anything.
fn is_for_forms(method: &str, path: &str) -> bool {
    (method == "POST" && ["/uploads", "/fresh"].contains(&path))
        || (method == "PUT" && path.starts_with("/uploads/in/a.bin"))
}

#[test]
fn every_route_has_a_path_here() {
    let kinds = PATHS.iter().map(|path| {
        let path = path.split('?').next().unwrap();
        kind(&route::parse(&path.replace("ID", NOBODY), None))
    });
    let kinds: BTreeSet<_> = kinds.collect();
    assert_eq!(kinds, (0..KINDS).collect::<BTreeSet<_>>());
    assert!(PATHS.iter().any(|path| path.contains(PIPELINE)));
}

#[tokio::test]
async fn a_form_is_refused_on_every_route_whoever_sends_it_and_changes_nothing() {
    let (rig, paths) = start().await;
    let form = a_form();
    let before = contents(&rig).await;
    for path in &paths {
        for method in METHODS {
            if is_for_forms(method, path) {
                continue;
            }
            for proof in PROOFS {
                let answer = send(&rig, method, path, proof, &form).await;
                let what = format!("{method} {path} with {proof:?}");
                assert!(
                    answer.status.is_client_error(),
                    "{what}: {} {}",
                    answer.status,
                    answer.text()
                );
                assert!(!answer.text().contains("InternalError"), "{what}");
                assert_eq!(contents(&rig).await, before, "{what}");
            }
        }
    }
}

/// Otherwise the test above would find only refusals that have other reasons.
#[tokio::test]
async fn the_same_requests_with_another_body_are_done() {
    let mut done = BTreeSet::new();
    for method in METHODS {
        for proof in PROOFS {
            let (rig, paths) = start().await;
            for path in &paths {
                let answer = send(&rig, method, path, proof, &no_form()).await;
                if answer.status.is_success() {
                    let path = path.split('?').next().unwrap();
                    let kind = kind(&route::parse(path, None));
                    done.insert((method, kind, format!("{proof:?}")));
                }
            }
        }
    }
    let of = |proof: Proof| {
        let proof = format!("{proof:?}");
        let rows = done.iter().filter(|(_, _, with)| *with == proof);
        rows.map(|(method, kind, _)| (*method, *kind))
            .collect::<BTreeSet<_>>()
    };
    let rest = [
        ("DELETE", 4),
        ("GET", 3),
        ("GET", 4),
        ("GET", 5),
        ("GET", 7),
        ("GET", 8),
        ("POST", 1),
        ("PUT", 4),
        ("PUT", 8),
    ];
    let s3 = [
        ("DELETE", 12),
        ("GET", 10),
        ("GET", 11),
        ("GET", 12),
        ("HEAD", 10),
        ("HEAD", 11),
        ("HEAD", 12),
        ("POST", 12),
        ("PUT", 11),
        ("PUT", 12),
    ];
    for (proof, expected) in [
        (Proof::Bearer, &rest[..]),
        (Proof::BearerInQuery, &rest[..]),
        (Proof::Header, &s3[..]),
        (Proof::Presigned, &s3[..]),
    ] {
        let done = of(proof);
        for row in expected {
            assert!(done.contains(row), "{row:?} with {proof:?}: {done:?}");
        }
    }
    assert!(of(Proof::None).is_empty(), "{:?}", of(Proof::None));
}

#[tokio::test]
async fn the_form_post_takes_the_form_whatever_else_it_is_signed_with() {
    for proof in PROOFS {
        let rig = Rig::new().await;
        let answer = send(&rig, "POST", "/uploads", proof, &a_form()).await;
        // The query of a form post is no place for anything.
        let expected = match proof {
            Proof::BearerInQuery | Proof::Presigned => 405,
            _ => 204,
        };
        assert_eq!(answer.status, expected, "{proof:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_form_that_is_put_is_bytes_and_its_own_signature_counts_for_nothing() {
    let rig = Rig::new().await;
    let form = a_form();
    for (proof, status) in [
        (Proof::None, 403),
        (Proof::Bearer, 400),
        (Proof::BearerInQuery, 403),
        (Proof::Header, 200),
        (Proof::Presigned, 200),
    ] {
        let answer = send(&rig, "PUT", "/uploads/put.bin", proof, &form).await;
        assert_eq!(answer.status, status, "{proof:?}: {}", answer.text());
    }
    let answer = Signed::new("GET", "/uploads/put.bin").send(&rig).await;
    assert_eq!(answer.header("content-type"), form.kind);
    assert_eq!(answer.body, form.body);
    let answer = Signed::new("GET", "/uploads/in/form.bin").send(&rig).await;
    assert_eq!(answer.status, 404, "the form inside was posted");
}

#[tokio::test]
async fn a_media_type_without_a_body_is_no_form() {
    let rig = Rig::new().await;
    let content = Content {
        kind: content_type(),
        body: Vec::new(),
    };
    for (method, path, proof) in [
        ("GET", "/v1/files/", Proof::Bearer),
        ("GET", "/uploads", Proof::Header),
        ("DELETE", "/uploads/x", Proof::Presigned),
    ] {
        let answer = send(&rig, method, path, proof, &content).await;
        assert!(answer.status.is_success(), "{method} {path}");
    }
}
