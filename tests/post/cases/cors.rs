//! What browsers of any origin may read: four origins against each kind of answer (reference, section 5).

use http::StatusCode;

use super::post::{Post, Shape, Version};
use super::runner::Table;
use crate::support::{Answer, Rig};

const PAGE: &str = "https://page.example";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

type Change = fn(&mut Post);

/// Each kind of answer to a form post: its status, and the change that brings it about.
const ANSWERS: &[(u16, Change)] = &[
    (204, |_| {}),
    (200, |p| {
        p.cover("success_action_status", "200");
    }),
    (201, |p| {
        p.cover("success_action_status", "201");
    }),
    (303, |p| {
        p.cover("success_action_redirect", "http://a.example/");
    }),
    (403, |p| {
        p.set("acl", "private");
    }),
    (403, |p| p.secret = "wrong".to_owned()),
    (400, |p| {
        p.condition("{}");
    }),
    (400, |p| {
        p.bytes(|_| b"junk".to_vec());
    }),
    (400, |p| {
        p.set("x-ignore-a", "a".repeat(20_480));
    }),
    (400, |p| {
        p.condition("[\"content-length-range\",0,1]");
    }),
    (404, |p| {
        p.to("POST", "/Not_A_Bucket");
    }),
    (405, |p| {
        p.to("POST", "/uploads/key");
    }),
    (412, |p| {
        p.content_type("text/plain");
    }),
    (501, |p| {
        p.cover("x-amz-object-lock-mode", "GOVERNANCE");
    }),
];

async fn table(origins: &[&str]) -> Table {
    let origins: Vec<_> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Table::of(Rig::with(|options| options.cors_origins = origins).await).await
}

async fn ask(table: &Table, change: Change, origin: Option<&str>) -> Answer {
    let mut post = Post::valid(Version::V4, Shape::Browser);
    change(&mut post);
    if let Some(origin) = origin {
        post.header("origin", origin);
    }
    table.post(&post, &post.send()).await
}

/// What each configuration tells each origin; empty for nothing.
const MATRIX: &[(&[&str], Option<&str>, &str)] = &[
    (&["*"], None, ""),
    (&["*"], Some(PAGE), "*"),
    (&["*"], Some("null"), "*"),
    (&[PAGE], None, ""),
    (&[PAGE], Some(PAGE), PAGE),
    (&[PAGE], Some("https://page.example.evil"), ""),
    (&[PAGE], Some("https://PAGE.example"), ""),
    (&[PAGE], Some("http://page.example"), ""),
    (&[PAGE], Some("https://page.example:8443"), ""),
    (&[PAGE], Some("null"), ""),
    (&["null"], Some("null"), "null"),
    (&["https://other.example", PAGE], Some(PAGE), PAGE),
    (&[], Some(PAGE), ""),
];

#[tokio::test]
async fn every_answer_says_to_each_origin_whether_it_may_be_read() {
    for (origins, origin, allowed) in MATRIX {
        let table = table(origins).await;
        for (status, change) in ANSWERS {
            let answer = ask(&table, *change, *origin).await;
            let what = format!("{origins:?}, {origin:?}: {}", answer.text());
            // Whether a page may read the answer changes nothing of what is done.
            assert_eq!(answer.status.as_u16(), *status, "{what}");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                *allowed,
                "{what}"
            );
            let exposed = answer.header("access-control-expose-headers");
            for name in [
                "ETag",
                "Location",
                "x-amz-request-id",
                "x-amz-checksum-crc64nvme",
            ] {
                assert_eq!(exposed.contains(name), !allowed.is_empty(), "{what}");
            }
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                "",
                "{what}"
            );
            assert_eq!(
                answer.header("vary").contains("Origin"),
                !origins.is_empty(),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn a_preflight_is_answered_as_amazon_does() {
    for (origins, origin, allowed) in MATRIX {
        let table = table(origins).await;
        for target in ["/uploads", "/uploads/", "/uploads/in/a.bin"] {
            let mut headers = vec![
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "x-requested-with,cache-control",
                ),
            ];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let answer = table.rig.request("OPTIONS", target, &headers, "").await;
            let what = format!("{origins:?}, {origin:?}, {target}: {}", answer.text());
            let wanted = match (origin, allowed.is_empty()) {
                (None, _) => StatusCode::BAD_REQUEST,
                (_, true) => StatusCode::FORBIDDEN,
                (_, false) => StatusCode::OK,
            };
            assert_eq!(answer.status, wanted, "{what}");
            if wanted != StatusCode::OK {
                let code = if origin.is_none() {
                    "BadRequest"
                } else {
                    "AccessForbidden"
                };
                assert!(
                    answer.text().contains(&format!("<Code>{code}</Code>")),
                    "{what}"
                );
                assert_eq!(answer.header("access-control-allow-origin"), "", "{what}");
                continue;
            }
            assert_eq!(answer.text(), "");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                *allowed,
                "{what}"
            );
            assert_eq!(answer.header("access-control-allow-methods"), METHODS);
            assert_eq!(
                answer.header("access-control-allow-headers"),
                "x-requested-with,cache-control"
            );
            assert_eq!(answer.header("access-control-max-age"), "86400");
        }
    }
}
