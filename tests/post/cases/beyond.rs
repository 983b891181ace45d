//! Attacks that are not about one form: other operations with a form for a body, replays, what a reader is served (reference,
//! section 4). Each is a test of its own on the same server as the rows.

use http::{Request, StatusCode};
use pillarbox::api::body::RequestBody;
use pillarbox::store::CatalogKind;

use super::post::{FILE, Post, Shape, Version};
use super::runner::{Table, files_below};
use crate::support::{Answer, PIPELINE, TOKEN, connection};

/// Everything that is not a form post, with the answer to who has no credentials but sends a form (SeaweedFS took every such body for
/// a "post policy" and asked for nothing more). REST refuses the form itself.
const OTHER_OPERATIONS: &[(&str, &str, u16)] = &[
    ("POST", "/", 405),
    ("POST", "/?Action=ListUsers", 405),
    ("POST", "/uploads?delete", 405),
    ("POST", "/uploads/?delete=", 405),
    ("POST", "/uploads?uploads", 405),
    ("POST", "/uploads/key?uploads", 405),
    ("POST", "/uploads/key?uploadId=1", 405),
    ("POST", "/uploads/key?select&select-type=2", 405),
    ("PUT", "/uploads", 403),
    ("PUT", "/uploads/in/a.bin", 403),
    ("PUT", "/new-bucket", 403),
    ("DELETE", "/uploads", 403),
    ("DELETE", "/uploads/in/a.bin", 403),
    ("GET", "/uploads", 403),
    ("GET", "/uploads/in/a.bin", 403),
    ("POST", "/admin", 403),
    ("POST", "/admin/keys", 405),
    ("POST", "/minio/admin/v3/add-user", 405),
    ("POST", "/v1/oauth2/token/", 400),
    ("POST", "/v1/files/uploads/", 400),
    (
        "POST",
        "/v1/files/uploads/?object_key=a&pipeline_id=547f3eede4b025bcbff38657",
        400,
    ),
    ("POST", "/v1/files/intern/uploads/", 400),
    ("PUT", "/v1/files/uploads/598358fe6baa605b1e33754e", 400),
    ("DELETE", "/v1/files/uploads/598358fe6baa605b1e33754e", 400),
    ("GET", "/v1/files/", 400),
    ("POST", "/v1/files/", 400),
    ("PUT", "/v1/files/598358fe6baa605b1e33754e", 400),
    ("DELETE", "/v1/files/598358fe6baa605b1e33754e", 400),
    (
        "GET",
        "/v1/files/downloads/?id=598358fe6baa605b1e33754e",
        400,
    ),
    ("POST", "/v1/files/downloads/", 400),
    ("GET", "/v1/pipelines/", 400),
    ("POST", "/v1/pipelines/", 400),
    ("DELETE", "/v1/pipelines/547f3eede4b025bcbff38657", 400),
    ("POST", "/v1/nothing", 404),
];

async fn ask(table: &Table, method: &str, target: &str, post: &Post) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", &post.host)
        .header(
            "content-type",
            post.content_types[0].replace("{B}", &post.boundary),
        );
    let request = request.body(RequestBody::whole(post.send().body)).unwrap();
    Answer::read(table.rig.app.handle(request, connection()).await).await
}

async fn catalog(table: &Table) -> Vec<usize> {
    let kinds = [
        CatalogKind::Token,
        CatalogKind::Application,
        CatalogKind::AccessKey,
        CatalogKind::Pipeline,
        CatalogKind::Bucket,
        CatalogKind::Setting,
    ];
    let mut counts = Vec::new();
    for kind in kinds {
        counts.push(table.rig.store.list(kind).await.unwrap().len());
    }
    counts
}

#[tokio::test]
async fn a_form_for_a_body_lets_nobody_into_any_other_operation() {
    let table = Table::new().await;
    let before = catalog(&table).await;
    for (method, target, status) in OTHER_OPERATIONS {
        for media_type in [
            "multipart/form-data; boundary={B}",
            "multipart/form-datA; boundary={B}",
        ] {
            for unsigned in [true, false] {
                let mut post = Post::valid(Version::V4, Shape::Browser);
                post.content_type(media_type);
                if unsigned {
                    post.unsigned();
                }
                let answer = ask(&table, method, target, &post).await;
                let told = (answer.status.as_u16(), answer.text());
                // A signed form is for one bucket, whatever the address says.
                assert_eq!(told.0, *status, "{method} {target}: {}", told.1);
            }
        }
    }
    assert_eq!(table.listed().await.len(), 0);
    assert_eq!(catalog(&table).await, before, "the catalog is as it was");
}

#[tokio::test]
async fn a_form_for_a_body_lets_nobody_into_the_console() {
    let table = Table::new().await;
    let before = catalog(&table).await;
    for target in [
        "/",
        "/tokens",
        "/keys",
        "/v1/tokens",
        "/metrics",
        "/reindex",
        "/uploads",
    ] {
        let post = Post::valid(Version::V4, Shape::Browser);
        let request = Request::builder().method("POST").uri(target).header(
            "content-type",
            post.content_types[0].replace("{B}", &post.boundary),
        );
        let request = request.body(RequestBody::whole(post.send().body)).unwrap();
        let answer = Answer::read(table.rig.app.handle_admin(request).await).await;
        assert!(
            answer.status.is_client_error(),
            "{target}: {}",
            answer.status
        );
    }
    assert_eq!(table.listed().await.len(), 0);
    assert_eq!(catalog(&table).await, before, "the catalog is as it was");
}

#[tokio::test]
async fn a_key_that_climbs_is_a_file_that_is_named_by_its_id() {
    let table = Table::new().await;
    for key in ["../../../etc/passwd", "/etc/passwd", "in/a\0b", "..\\..\\x"] {
        let mut post = Post::valid(Version::V2, Shape::Browser);
        post.key(key);
        let answer = table.post(&post, &post.send()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
    }
    let root = table.rig.folder().join("objects");
    for meta in table.listed().await {
        let place = table.rig.store.locate(&meta).unwrap();
        let id = meta.id.to_string();
        assert!(place.starts_with(&root), "{}", place.display());
        assert_eq!(place.file_name().unwrap().to_str(), Some(id.as_str()));
    }
    assert_eq!(
        files_below(&root).len(),
        4,
        "each lies below objects, and nothing else does"
    );
}

#[tokio::test]
async fn one_form_posted_fifty_times_at_once_is_one_object() {
    let table = Table::new().await;
    for version in [Version::V2, Version::V4] {
        let post = Post::valid(version, Shape::Browser);
        let sent = post.send();
        let posts = (0..50).map(|_| table.post(&post, &sent));
        for answer in futures_util::future::join_all(posts).await {
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
        }
        let listed = table.listed().await;
        assert_eq!(listed.len(), 1);
        assert_eq!(table.bytes_of(&listed[0]).await, FILE);
    }
}

#[tokio::test]
async fn one_form_of_a_session_posted_fifty_times_at_once_is_one_file() {
    let table = Table::new().await;
    let uri = format!("/v1/files/uploads/?object_key=once.bin&pipeline_id={PIPELINE}");
    let upload = table.rig.ask("POST", &uri).await.json()["upload"].clone();
    let mut post = Post::valid(Version::V2, Shape::Browser);
    post.late(move |fields| {
        fields.clear();
        for (name, value) in upload["form_post_params"].as_object().unwrap() {
            fields.push(super::Part::new(name, value.as_str().unwrap()));
        }
    });
    let sent = post.send();
    let posts = (0..50).map(|_| table.post(&post, &sent));
    for answer in futures_util::future::join_all(posts).await {
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    }
    let mut other = post;
    other.file("another file under the same form");
    let answer = table.post(&other, &other.send()).await;
    assert!(
        answer.status.is_client_error(),
        "a session is not used twice"
    );
    let listed = table.listed().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(table.bytes_of(&listed[0]).await, FILE);
}

#[tokio::test]
async fn a_page_that_was_uploaded_runs_nothing_where_it_is_served() {
    let table = Table::new().await;
    for media_type in [
        "text/html",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/javascript",
    ] {
        let mut post = Post::valid(Version::V4, Shape::EveryPartNamed);
        post.cover("Content-Type", media_type)
            .cover("Content-Disposition", "inline")
            .file("<script>alert(1)</script>");
        let answer = table.post(&post, &post.send()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
        let id = table.listed().await[0].id;
        let link = table
            .rig
            .ask("GET", &format!("/v1/files/downloads/?file_id={id}"))
            .await;
        let url = link.json()["download"]["uri"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let (_, path) = url
            .split_once("7080")
            .unwrap_or_else(|| panic!("{}", link.text()));
        let served = table.rig.request("GET", path, &[], "").await;
        assert_eq!(served.status, StatusCode::OK, "{}", served.text());
        assert_eq!(served.header("x-content-type-options"), "nosniff");
        assert!(
            served
                .header("content-security-policy")
                .starts_with("sandbox;")
        );
        assert!(
            served
                .header("content-disposition")
                .starts_with("attachment")
        );
    }
}

#[tokio::test]
async fn no_control_character_reaches_a_header_by_any_field() {
    let table = Table::new().await;
    let controls = (0..0x20_u32).chain(0x7f..0xa0).filter_map(char::from_u32);
    for control in controls {
        let value = format!("a{control}Set-Cookie: b=c");
        for name in [
            "key",
            "success_action_redirect",
            "x-amz-meta-a",
            "Content-Type",
            "acl",
            "x-amz-website-redirect-location",
        ] {
            let mut post = Post::valid(Version::V2, Shape::Browser);
            let value = match name {
                "key" => value.clone(),
                "success_action_redirect" => format!("http://a.example/{value}"),
                _ => format!("/{value}"),
            };
            if name == "key" {
                post.key(&value);
            } else {
                post.allow(name, &value);
            }
            let answer = table.post(&post, &post.send()).await;
            assert!(
                answer.status != StatusCode::INTERNAL_SERVER_ERROR,
                "{name} {control:?}"
            );
            assert!(!answer.headers.contains_key("set-cookie"));
            for (header, value) in &answer.headers {
                let clean = value
                    .as_bytes()
                    .iter()
                    .all(|byte| (0x20..0x7f).contains(byte));
                assert!(clean, "{name} {control:?}: {header}: {value:?}");
            }
        }
    }
}

#[tokio::test]
async fn who_may_only_read_starts_no_session_with_a_form() {
    let table = Table::new().await;
    let post = Post::valid(Version::V4, Shape::Browser);
    let target = format!("/v1/files/uploads/?object_key=a&pipeline_id={PIPELINE}");
    let with_token = |token: &str| {
        Request::builder()
            .method("POST")
            .uri(&target)
            .header("host", &post.host)
            .header("authorization", format!("Bearer {token}"))
            .body(RequestBody::whole(""))
            .unwrap()
    };
    let scopes = [pillarbox::model::Scope::MediahubRead];
    table.rig.add_token("read-only", &scopes, None).await;
    let refused = table
        .rig
        .app
        .handle(with_token("read-only"), connection())
        .await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let allowed = table.rig.app.handle(with_token(TOKEN), connection()).await;
    assert_eq!(allowed.status(), StatusCode::OK);
}
