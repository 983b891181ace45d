//! Download links: who gets one, what it serves, and one mutation at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::{objects, support};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn as client;
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use objects::{draft, pattern};
use pillarbox::api::app::Connection;
use pillarbox::api::body::{RequestBody, ResponseBody};
use pillarbox::model::{
    AccessKey, Crc64, KeyPurpose, ObjectMeta, PipelineSettings, Scope, Secret, encode_hex,
};
use pillarbox::store::CatalogEntry;
use ring::hmac;
use serde_json::json;
use support::{HOST, NOBODY, NOW, PIPELINE, Rig, TOKEN, connection};

const DEV_ACCESS_KEY: &str = "PILLARBOXDEVACCESS00";
const DEV_SECRET: &str = "pillarbox-dev-secret";
const CLIENT: &str = "5f4dcc3b5aa765d61d8327de";
/// Base64 of 48 bytes, as the hosted API gives out.
const CLIENT_SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The path and query of a link that the API makes with these parameters.
async fn link_to(rig: &Rig, meta: &ObjectMeta, parameters: &str) -> String {
    let uri = format!("/v1/files/downloads/?file_id={}{parameters}", meta.id);
    let made = rig.ask("GET", &uri).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let uri = made.json()["download"]["uri"].as_str().unwrap().to_owned();
    uri.strip_prefix(&format!("http://{HOST}"))
        .unwrap()
        .to_owned()
}

/// A link as the documentation says it is signed, written anew.
fn sign_by_hand(unsigned: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let derived = hmac::sign(&key, b"pillarbox download link v1");
    let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
    let signature = encode_hex(hmac::sign(&key, unsigned.as_bytes()).as_ref());
    format!("{unsigned}&signature={signature}")
}

/// A URL as an application signs it.
fn sign_as_application(unsigned: &str, key: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signature = encode_hex(hmac::sign(&key, unsigned.as_bytes()).as_ref());
    format!("{unsigned}&signature={signature}")
}

async fn from(rig: &Rig, uri: &str, peer: Option<&str>) -> u16 {
    let connection = Connection {
        peer: peer.map(|ip| (ip.parse::<std::net::IpAddr>().unwrap(), 5000).into()),
        tls: false,
    };
    let request = Request::get(uri).header("host", HOST);
    let request = request.body(RequestBody::whole("")).unwrap();
    rig.app.handle(request, connection).await.status().as_u16()
}

#[tokio::test]
async fn a_link_serves_the_bytes_with_every_header_they_need() {
    let rig = Rig::new().await;
    let meta = draft("clips/Intro.mp4", "123456789")
        .header("cache-control", "max-age=60")
        .header("content-encoding", "identity")
        .header("content-language", "de")
        .header("expires", "Thu, 01 Dec 2033 16:00:00 GMT")
        .header("content-disposition", "inline; filename=evil.html")
        .header("x-amz-meta-color", "red")
        .store(&rig)
        .await;
    let link = link_to(&rig, &meta, "").await;
    let got = rig.request("GET", &link, &[], "").await;
    assert_eq!(
        (got.status.as_u16(), got.text()),
        (200, "123456789".to_owned())
    );
    let mut headers = got
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect::<Vec<_>>();
    headers.retain(|(name, _)| !matches!(*name, "x-request-id" | "x-amz-request-id" | "vary"));
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("accept-ranges", "bytes"),
            ("cache-control", "max-age=60"),
            ("content-disposition", "attachment; filename=\"Intro.mp4\""),
            ("content-encoding", "identity"),
            ("content-language", "de"),
            ("content-length", "9"),
            (
                "content-security-policy",
                "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
            ),
            ("content-type", "video/mp4"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("etag", "\"25f9e794323b453885f5181f1b624d0b\""),
            ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
            ("last-modified", "Sun, 22 Nov 2026 13:20:00 GMT"),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-type", "FULL_OBJECT"),
            ("x-amz-meta-color", "red"),
            ("x-content-type-options", "nosniff"),
        ]
    );
    let plain = draft("plain", "x").store(&rig).await;
    let got = rig
        .request("GET", &link_to(&rig, &plain, "").await, &[], "")
        .await;
    assert_eq!(got.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn a_link_is_json_or_xml_or_a_redirect() {
    let rig = Rig::new().await;
    let meta = draft("a b.mp4", "bytes").store(&rig).await;
    let end = NOW.seconds() + 3600;
    let unsigned = format!(
        "/v1/files/downloads/{}/a%20b.mp4?expiry_time={end}&key={DEV_ACCESS_KEY}",
        meta.id
    );
    let expected = format!("http://{HOST}{}", sign_by_hand(&unsigned, DEV_SECRET));
    let json = rig
        .ask("GET", &format!("/v1/files/downloads/?file_id={}", meta.id))
        .await;
    assert_eq!(
        json.json(),
        json!({ "download": { "uri": expected, "expiry_time": end } })
    );
    let xml = rig
        .ask(
            "GET",
            &format!("/v1/files/downloads?file_id={}&format=xml", meta.id),
        )
        .await
        .text();
    let shown = expected.replace('&', "&amp;");
    assert!(
        xml.ends_with(&format!(
            "<download><uri>{shown}</uri><expiry_time>{end}</expiry_time></download>"
        )),
        "{xml}"
    );
    for uri in ["/v1/files/downloads/", "/v1/files/intern/downloads"] {
        let found = rig
            .ask("GET", &format!("{uri}?file_id={}&redirect=true", meta.id))
            .await;
        assert_eq!(
            (found.status.as_u16(), found.header("location")),
            (302, expected.as_str())
        );
        assert!(found.body.is_empty());
    }
}

#[tokio::test]
async fn a_file_is_named_by_its_id_or_by_its_key_below_the_pipeline() {
    let rig = Rig::new().await;
    let rooted = "ffffffffffffffffffffffff";
    let settings = PipelineSettings {
        root_path: Some("in/".to_owned()),
        ..PipelineSettings::default()
    };
    rig.add_pipeline(rooted, settings).await;
    let plain = draft("a/ü.mp4", "1").store(&rig).await;
    let mut below = draft("x", "2");
    below.upload.key = pillarbox::model::ObjectKey::parse("in/b.mp4").unwrap();
    let below = below.store(&rig).await;
    for (question, meta) in [
        (format!("file_id={}", plain.id), &plain),
        (
            format!("object_key=a/%C3%BC.mp4&pipeline_id={PIPELINE}"),
            &plain,
        ),
        (format!("object_key=b.mp4&pipeline_id={rooted}"), &below),
        (
            format!(
                "file_id={}&autograph_tag=7&anti_fraud=true&max_parallel_downloads=2&expert_mode=true",
                plain.id
            ),
            &plain,
        ),
    ] {
        let made = rig
            .ask("GET", &format!("/v1/files/downloads/?{question}"))
            .await
            .json();
        let uri = made["download"]["uri"].as_str().unwrap();
        assert!(
            uri.contains(&format!("/v1/files/downloads/{}/", meta.id)),
            "{question}: {uri}"
        );
    }
}

#[tokio::test]
async fn a_question_that_breaks_a_rule_gets_no_link() {
    let rig = Rig::new().await;
    let id = draft("a.mp4", "x").store(&rig).await.id;
    let now = NOW.seconds();
    for (query, status, code, words) in [
        (String::new(), 400, "0x0230001", "file_id"),
        (
            format!("file_id={id}&object_key=a&pipeline_id={PIPELINE}"),
            400,
            "0x0230001",
            "one file",
        ),
        (
            "object_key=a.mp4".into(),
            400,
            "0x0230001",
            "pipeline_id is required",
        ),
        (
            format!("pipeline_id={PIPELINE}"),
            400,
            "0x0230001",
            "one file",
        ),
        ("file_id=7".into(), 400, "0x0230001", "file_id must be"),
        (
            format!("object_key=a&pipeline_id={NOBODY}"),
            404,
            "0x0170002",
            NOBODY,
        ),
        (
            format!("object_key=&pipeline_id={PIPELINE}"),
            400,
            "0x0230001",
            "object_key must",
        ),
        (
            format!("object_key={}&pipeline_id={PIPELINE}", "k".repeat(1024)),
            400,
            "0x0230001",
            "object_key must",
        ),
        (
            format!("object_key=other&pipeline_id={PIPELINE}"),
            404,
            "0x0230002",
            "no file",
        ),
        (format!("file_id={NOBODY}"), 404, "0x0230002", "no file"),
        (
            format!("file_id={id}&expiry_time={now}"),
            400,
            "0x0230001",
            "expiry_time must",
        ),
        (
            format!("file_id={id}&expiry_time=0"),
            400,
            "0x0230001",
            "expiry_time must be an epoch time in seconds that lies ahead",
        ),
        (
            format!("file_id={id}&expiry_time=-5"),
            400,
            "0x0230001",
            "expiry_time must be an epoch time in seconds that lies ahead",
        ),
        (
            format!("file_id={id}&expiry_time=soon"),
            400,
            "0x0230001",
            "expiry_time must",
        ),
        (
            format!("file_id={id}&expiry_time=9223372036854775807"),
            400,
            "0x0230001",
            "expiry_time must",
        ),
        (format!("file_id={id}&ip=home"), 400, "0x0230001", "ip must"),
        (
            format!("file_id={id}&streaming=perhaps"),
            400,
            "0x0230001",
            "streaming must",
        ),
        (
            format!("file_id={id}&redirect=perhaps"),
            400,
            "0x0230001",
            "redirect must",
        ),
        (
            format!("file_id={id}&file_id={NOBODY}"),
            400,
            "0x0230001",
            "file_id is given twice",
        ),
        (
            format!("object_key=a&object_key=b&pipeline_id={PIPELINE}"),
            400,
            "0x0230001",
            "object_key is given twice",
        ),
        (
            format!("file_id={id}&ip=127.0.0.1&ip=127.0.0.2"),
            400,
            "0x0230001",
            "ip is given twice",
        ),
    ] {
        for format in ["", "&format=xml"] {
            let (got, got_code, detail) = rig
                .ask("GET", &format!("/v1/files/downloads/?{query}{format}"))
                .await
                .refusal();
            assert_eq!(
                (got, got_code.as_str()),
                (status, code),
                "{query}: {detail}"
            );
            assert!(detail.contains(words), "{query}: {detail}");
        }
    }
}

#[tokio::test]
async fn only_who_may_download_gets_a_link() {
    use Scope::{
        Autograph, Me, Mediahub, MediahubDownloadFiles, MediahubRead, MediahubSubmitJobs,
        MediahubWrite,
    };
    let rig = Rig::new().await;
    let id = draft("a.mp4", "x").store(&rig).await.id;
    for (scope, status) in [
        (Mediahub, 200),
        (MediahubRead, 200),
        (MediahubDownloadFiles, 200),
        (MediahubWrite, 403),
        (MediahubSubmitJobs, 403),
        (Me, 403),
        (Autograph, 403),
    ] {
        let token = format!("token-{scope:?}");
        rig.add_token(&token, &[scope], None).await;
        let bearer = format!("Bearer {token}");
        let uri = format!("/v1/files/downloads/?file_id={id}");
        let answer = rig
            .request("GET", &uri, &[("authorization", &bearer)], "")
            .await;
        assert_eq!(answer.status, status, "{scope:?}");
    }
    let uri = format!("/v1/files/downloads/?file_id={id}");
    assert_eq!(
        rig.request("GET", &uri, &[], "").await.refusal().1,
        "0x0000003"
    );
    let uri = format!("{uri}&access_token={TOKEN}");
    assert_eq!(rig.request("GET", &uri, &[], "").await.status, 200);
}

#[tokio::test]
async fn a_url_that_an_application_signed_works_and_no_mutation_of_it_does() {
    let rig = Rig::new().await;
    rig.add_application(CLIENT, CLIENT_SECRET, &[Scope::MediahubDownloadFiles])
        .await;
    let writer = "5f4dcc3b5aa765d61d8327aa";
    rig.add_application(writer, CLIENT_SECRET, &[Scope::MediahubWrite])
        .await;
    let id = draft("a.mp4", "x").store(&rig).await.id;
    let key = (0_u8..48).collect::<Vec<_>>();
    let end = NOW.seconds() + 180;
    let base = format!("/v1/files/downloads/?file_id={id}&redirect=true");
    let unsigned = format!("{base}&client_id={CLIENT}&expiry_time={end}");
    let signed = sign_as_application(&unsigned, &key);
    let (_, signature) = signed.rsplit_once('=').unwrap();
    let valid = rig.request("GET", &signed, &[], "").await;
    assert_eq!(valid.status, 302, "{}", valid.text());
    let location = valid
        .header("location")
        .strip_prefix(&format!("http://{HOST}"))
        .unwrap()
        .to_owned();
    assert!(location.contains(&format!("expiry_time={end}&")));
    assert_eq!(rig.request("GET", &location, &[], "").await.text(), "x");
    let multi = sign_as_application(&format!("{unsigned}&multi_use=true"), &key);
    let expiring = |expiry: &str| {
        let unsigned = format!("{base}&client_id={CLIENT}&expiry_time={expiry}");
        sign_as_application(&unsigned, &key)
    };
    assert_eq!(rig.request("GET", &multi, &[], "").await.status, 302);
    for (what, uri, status) in [
        ("another file", signed.replace(&id.to_string(), NOBODY), 403),
        (
            "another flag",
            signed.replace("redirect=true", "redirect=1"),
            403,
        ),
        (
            "another expiry",
            signed.replace(&end.to_string(), &(end + 1).to_string()),
            403,
        ),
        ("another application", signed.replace(CLIENT, writer), 403),
        (
            "an unknown application",
            signed.replace(CLIENT, NOBODY),
            403,
        ),
        ("no application's id", signed.replace(CLIENT, "me"), 403),
        (
            "another path",
            signed.replace("/downloads/?", "/downloads?"),
            403,
        ),
        (
            "another order",
            format!(
                "/v1/files/downloads/?redirect=true&file_id={id}&client_id={CLIENT}&expiry_time={end}&signature={signature}"
            ),
            403,
        ),
        (
            "something behind the signature",
            format!("{signed}&streaming=true"),
            403,
        ),
        (
            "upper-case hex",
            format!("{unsigned}&signature={}", signature.to_uppercase()),
            403,
        ),
        (
            "a cut signature",
            signed[..signed.len() - 1].to_owned(),
            403,
        ),
        ("an empty signature", format!("{unsigned}&signature="), 403),
        ("no signature", unsigned.clone(), 403),
        (
            "a signature twice",
            format!("{signed}&signature={signature}"),
            403,
        ),
        ("another key", sign_as_application(&unsigned, b"other"), 403),
        (
            "the secret's text as the key",
            sign_as_application(&unsigned, CLIENT_SECRET.as_bytes()),
            403,
        ),
        (
            "the host signed too",
            format!(
                "{unsigned}&signature={}",
                sign_as_application(&format!("http://{HOST}{unsigned}"), &key)
                    .rsplit_once('=')
                    .unwrap()
                    .1
            ),
            403,
        ),
        (
            "no expiry",
            sign_as_application(&format!("{base}&client_id={CLIENT}"), &key),
            403,
        ),
        (
            "a past expiry",
            sign_as_application(
                &format!("{base}&client_id={CLIENT}&expiry_time={}", NOW.seconds()),
                &key,
            ),
            403,
        ),
        ("an expiry of 0", expiring("0"), 403),
        ("an expiry before 1970", expiring("-5"), 403),
        ("an expiry that is no number", expiring("soon"), 403),
        (
            "an expiry beyond all numbers",
            expiring("9223372036854775808"),
            403,
        ),
        (
            "two expiries",
            expiring(&format!("{end}&expiry_time={}", end + 1)),
            400,
        ),
        (
            "used once",
            sign_as_application(&format!("{unsigned}&multi_use=false"), &key),
            400,
        ),
        (
            "an application that may not",
            sign_as_application(
                &format!("{base}&client_id={writer}&expiry_time={end}"),
                &key,
            ),
            403,
        ),
    ] {
        let answer = rig.request("GET", &uri, &[], "").await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(!answer.text().contains(signature), "{what}");
    }
    let with_bad_token = rig
        .request("GET", &signed, &[("authorization", "Bearer nobody")], "")
        .await;
    assert_eq!(with_bad_token.status, 403);
    rig.advance(seconds(179));
    assert_eq!(rig.request("GET", &signed, &[], "").await.status, 302);
    rig.advance(seconds(1));
    assert_eq!(rig.request("GET", &signed, &[], "").await.status, 403);
}

#[tokio::test]
async fn an_applications_secret_may_be_url_safe_and_unpadded() {
    let rig = Rig::new().await;
    let id = draft("a.mp4", "x").store(&rig).await.id;
    for (n, (secret, key)) in [("-_8", vec![0xfb, 0xff]), ("+/8=", vec![0xfb, 0xff])]
        .into_iter()
        .enumerate()
    {
        let client = format!("5f4dcc3b5aa765d61d8327{n:02}");
        rig.add_application(&client, secret, &[Scope::Mediahub])
            .await;
        let unsigned = format!(
            "/v1/files/downloads/?file_id={id}&client_id={client}&expiry_time={}",
            NOW.seconds() + 9
        );
        assert_eq!(
            rig.request("GET", &sign_as_application(&unsigned, &key), &[], "")
                .await
                .status,
            200,
            "{secret}"
        );
    }
}

#[tokio::test]
async fn a_link_that_was_changed_in_any_way_is_403() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "secret").store(&rig).await;
    let other = draft("b.mp4", "other").store(&rig).await;
    let end = NOW.seconds() + 60;
    let link = link_to(
        &rig,
        &meta,
        &format!("&streaming=true&ip=127.0.0.1&expiry_time={end}"),
    )
    .await;
    let (unsigned, signature) = link.rsplit_once("&signature=").unwrap();
    assert_eq!(rig.request("GET", &link, &[], "").await.text(), "secret");
    let key_of_form = hmac::Key::new(hmac::HMAC_SHA256, DEV_SECRET.as_bytes());
    let underived = encode_hex(hmac::sign(&key_of_form, unsigned.as_bytes()).as_ref());
    for (what, uri) in [
        (
            "another file",
            link.replace(&meta.id.to_string(), &other.id.to_string()),
        ),
        ("another name", link.replace("a.mp4?", "b.mp4?")),
        ("no name", link.replace("/a.mp4?", "?")),
        (
            "a name spelled otherwise",
            link.replace("a.mp4?", "%61.mp4?"),
        ),
        ("a slash behind the name", link.replace("a.mp4?", "a.mp4/?")),
        (
            "a longer life",
            link.replace(&end.to_string(), &(end + 1).to_string()),
        ),
        (
            "no expiry",
            link.replace(&format!("expiry_time={end}&"), ""),
        ),
        (
            "an expiry before it",
            link.replace('?', "?expiry_time=1999999999&"),
        ),
        ("no streaming", link.replace("&streaming=true", "")),
        (
            "other streaming",
            link.replace("streaming=true", "streaming=false"),
        ),
        ("another address", link.replace("127.0.0.1", "127.0.0.2")),
        ("no address", link.replace("&ip=127.0.0.1", "")),
        (
            "an unknown key",
            link.replace(DEV_ACCESS_KEY, "PILLARBOXDEVACCESS01"),
        ),
        ("an empty key", link.replace(DEV_ACCESS_KEY, "")),
        ("a long key", link.replace(DEV_ACCESS_KEY, &"K".repeat(129))),
        (
            "no key",
            link.replace(&format!("&key={DEV_ACCESS_KEY}"), ""),
        ),
        ("no signature", unsigned.to_owned()),
        ("an empty signature", format!("{unsigned}&signature=")),
        ("a cut signature", link[..link.len() - 2].to_owned()),
        (
            "another signature",
            format!("{unsigned}&signature={}", "0".repeat(64)),
        ),
        (
            "something behind the signature",
            format!("{link}&streaming=true"),
        ),
        (
            "a second signature",
            format!("{link}&signature={signature}"),
        ),
        (
            "an order of its own",
            link.replace(
                "&streaming=true&ip=127.0.0.1",
                "&ip=127.0.0.1&streaming=true",
            ),
        ),
        (
            "the secret used as it is",
            format!("{unsigned}&signature={underived}"),
        ),
        ("another secret", sign_by_hand(unsigned, "other")),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = rig.request(method, &uri, &[], "").await;
            assert_eq!(answer.status, 403, "{method} {what}");
            assert!(!answer.headers.contains_key("etag"), "{what}");
        }
    }
    assert_eq!(rig.request("POST", &link, &[], "").await.status, 405);
}

#[tokio::test]
async fn a_link_dies_at_its_second() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    let end = NOW.plus(seconds(60));
    let link = link_to(&rig, &meta, &format!("&expiry_time={}", end.seconds())).await;
    let default = link_to(&rig, &meta, "").await;
    for (moment, status) in [
        (end.minus(seconds(1)), 200),
        (end.minus(Duration::from_millis(1)), 200),
        (end, 403),
        (end.plus(seconds(1)), 403),
    ] {
        rig.clock.set(moment);
        assert_eq!(
            rig.request("GET", &link, &[], "").await.status,
            status,
            "{moment}"
        );
    }
    assert_eq!(rig.request("GET", &default, &[], "").await.status, 200);
    rig.clock.set(NOW.plus(seconds(3600)));
    assert_eq!(rig.request("GET", &default, &[], "").await.status, 403);
}

#[tokio::test]
async fn a_link_for_one_address_serves_no_other() {
    let rig = Rig::new().await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    for (ip, good, bad) in [
        ("3232235777", "192.168.1.1", "192.168.1.2"),
        ("-1062731519", "192.168.1.1", "127.0.0.1"),
        ("192.168.1.1", "::ffff:192.168.1.1", "::ffff:192.168.1.2"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
    ] {
        let link = link_to(&rig, &meta, &format!("&ip={ip}")).await;
        assert_eq!(from(&rig, &link, Some(good)).await, 200, "{ip}");
        assert_eq!(from(&rig, &link, Some(bad)).await, 403, "{ip}");
        assert_eq!(from(&rig, &link, None).await, 403, "{ip}");
    }
    let open = link_to(&rig, &meta, "").await;
    assert_eq!(from(&rig, &open, None).await, 200);
}

#[tokio::test]
async fn a_link_lives_as_long_as_it_says_whatever_is_rotated() {
    let rig = Rig::with(|options| options.dev = false).await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    let days = 10 * 24 * 3600;
    let until = format!("&expiry_time={}", NOW.seconds() + days);
    let link = link_to(&rig, &meta, &until).await;
    rig.app.rotate_signing_key().await.unwrap();
    rig.app.rotate_signing_key().await.unwrap();
    for (second, status) in [(0, 200), (24 * 3600, 200), (days - 1, 200), (days, 403)] {
        rig.clock.set(pillarbox::model::Timestamp::from_seconds(
            NOW.seconds() + second,
        ));
        rig.store.sweep(rig.clock.reading(), 1000).await.unwrap();
        let answer = rig.request("GET", &link, &[], "").await;
        assert_eq!(answer.status, status, "after {second} s");
    }
}

#[tokio::test]
async fn revoking_the_key_of_the_links_ends_them_and_another_one_takes_over() {
    let rig = Rig::with(|options| options.dev = false).await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    let old = link_to(&rig, &meta, "").await;
    let key = old.split_once("&key=").unwrap().1;
    let key = key.split_once('&').unwrap().0;
    let revoked = rig.control("DELETE", &format!("/keys/{key}"), "").await;
    assert_eq!(revoked.status, 200);
    assert_eq!(rig.request("GET", &old, &[], "").await.status, 403);
    let new = link_to(&rig, &meta, "").await;
    assert_eq!(rig.request("GET", &new, &[], "").await.status, 200);
}

#[tokio::test]
async fn only_the_key_of_the_links_signs_them() {
    let rig = Rig::with(|options| options.dev = false).await;
    let meta = draft("a.mp4", "x").store(&rig).await;
    for (purpose, status) in [
        (KeyPurpose::User, 403),
        (KeyPurpose::Forms, 403),
        (KeyPurpose::Links, 200),
    ] {
        let key = AccessKey {
            id: format!("SOMEBODYSACCESS{purpose:?}"),
            secret: Secret::new("known to somebody".to_owned()),
            purpose,
            created_at: NOW,
            expires_at: None,
            session_token: None,
            limits: Default::default(),
            form_lifetime: Default::default(),
        };
        let unsigned = format!(
            "/v1/files/downloads/{}/a.mp4?expiry_time=1999999999&key={}",
            meta.id, key.id
        );
        rig.store
            .insert(CatalogEntry::AccessKey(key))
            .await
            .unwrap();
        let link = sign_by_hand(&unsigned, "known to somebody");
        assert_eq!(
            rig.request("GET", &link, &[], "").await.status,
            status,
            "{purpose:?}"
        );
    }
}

#[tokio::test]
async fn a_link_to_a_file_that_was_replaced_or_deleted_is_404() {
    let rig = Rig::new().await;
    let old = draft("a.mp4", "old").store(&rig).await;
    let link = link_to(&rig, &old, "").await;
    let mut newer = draft("a.mp4", "new");
    newer.upload.id = pillarbox::model::Id::from_bytes([9; 12]);
    let newer = newer.store(&rig).await;
    assert_eq!(rig.request("GET", &link, &[], "").await.status, 404);
    let link = link_to(&rig, &newer, "").await;
    assert_eq!(rig.request("GET", &link, &[], "").await.text(), "new");
    assert_eq!(
        rig.ask("DELETE", &format!("/v1/files/{}", newer.id))
            .await
            .status,
        200
    );
    let (status, code, _) = rig.request("GET", &link, &[], "").await.refusal();
    assert_eq!((status, code.as_str()), (404, "0x0230002"));
}

/// What a range is answered with.
enum Gets {
    All,
    Part(usize, usize),
    Nothing,
}

#[tokio::test]
async fn every_form_of_range_gets_its_bytes() {
    use Gets::{All, Nothing, Part};
    let rig = Rig::new().await;
    let bytes = pattern(1000);
    let link = link_to(&rig, &draft("a.bin", bytes.clone()).store(&rig).await, "").await;
    for (range, gets) in [
        ("bytes=0-0", Part(0, 0)),
        ("bytes=0-499", Part(0, 499)),
        ("bytes=500-999", Part(500, 999)),
        ("bytes=0-999", Part(0, 999)),
        ("bytes=0-", Part(0, 999)),
        ("bytes=999-", Part(999, 999)),
        ("bytes=999-999", Part(999, 999)),
        ("bytes=1-1", Part(1, 1)),
        ("bytes=-1", Part(999, 999)),
        ("bytes=-500", Part(500, 999)),
        ("bytes=-1000", Part(0, 999)),
        ("bytes=-1001", Part(0, 999)),
        ("bytes=0-1000", Part(0, 999)),
        ("bytes=990-99999", Part(990, 999)),
        ("bytes=0-18446744073709551615", Part(0, 999)),
        ("bytes=5-18446744073709551616", Part(5, 999)),
        ("bytes=5-99999999999999999999999999999999", Part(5, 999)),
        ("bytes=-18446744073709551615", Part(0, 999)),
        ("bytes=-99999999999999999999999999999999", Part(0, 999)),
        ("bytes=000-0009", Part(0, 9)),
        ("BYTES=0-9", Part(0, 9)),
        ("Bytes=0-9", Part(0, 9)),
        ("bytes= 0-9", Part(0, 9)),
        ("bytes=0-9 ", Part(0, 9)),
        ("bytes=,0-9", Part(0, 9)),
        ("bytes=0-9,", Part(0, 9)),
        ("bytes=\t0-9", Part(0, 9)),
        ("bytes=1000-", Nothing),
        ("bytes=1000-1000", Nothing),
        ("bytes=1000-2000", Nothing),
        ("bytes=18446744073709551615-", Nothing),
        ("bytes=18446744073709551616-", Nothing),
        ("bytes=99999999999999999999999999999999-", Nothing),
        ("bytes=99999999999999999999-99999999999999999999", Nothing),
        ("bytes=-0", Nothing),
        ("bytes=-000", Nothing),
        ("bytes=9-0", All),
        ("bytes=1001-1000", All),
        ("bytes=0-1,2-3", All),
        ("bytes=0-1, 2-3", All),
        ("bytes=0-1,-1", All),
        ("bytes=0-0,2000-", All),
        ("bytes=", All),
        ("bytes", All),
        ("bytes=-", All),
        ("bytes=--1", All),
        ("bytes=0--1", All),
        ("bytes=a-b", All),
        ("bytes=0-b", All),
        ("bytes=0x0-0x9", All),
        ("bytes=+0-9", All),
        ("bytes=0-+9", All),
        ("bytes=1.0-2", All),
        ("bytes=0 - 9", All),
        ("bytes:0-9", All),
        ("bytes 0-9", All),
        ("0-9", All),
        ("=0-9", All),
        ("items=0-9", All),
        ("bytes=0-9;q=1", All),
        ("", All),
        ("bytes=\u{660}-9", All),
    ] {
        let got = rig.request("GET", &link, &[("range", range)], "").await;
        let (status, span, body) = match gets {
            All => (200, String::new(), &bytes[..]),
            Part(first, last) => (
                206,
                format!("bytes {first}-{last}/1000"),
                &bytes[first..=last],
            ),
            Nothing => (416, "bytes */1000".to_owned(), &[][..]),
        };
        let text = got
            .headers
            .get("content-range")
            .map_or("", |v| v.to_str().unwrap());
        assert_eq!(
            (got.status.as_u16(), text),
            (status, span.as_str()),
            "{range:?}"
        );
        if status == 416 {
            assert_eq!(got.refusal().1, "0x0230001");
            continue;
        }
        assert!(got.body == body, "{range:?}");
        assert_eq!(
            got.header("content-length"),
            body.len().to_string(),
            "{range:?}"
        );
        assert_eq!(
            got.headers.contains_key("x-amz-checksum-crc64nvme"),
            status == 200,
            "{range:?}"
        );
        assert_eq!(got.header("accept-ranges"), "bytes");
    }
}

#[tokio::test]
async fn an_empty_file_has_no_ranges() {
    let rig = Rig::new().await;
    let link = link_to(&rig, &draft("empty", "").store(&rig).await, "").await;
    for (range, status) in [
        ("bytes=0-", 416),
        ("bytes=0-0", 416),
        ("bytes=1-", 416),
        ("bytes=-0", 416),
        ("bytes=-1", 200),
        ("", 200),
        ("bytes=0-0,1-1", 200),
    ] {
        let got = rig.request("GET", &link, &[("range", range)], "").await;
        assert_eq!(got.status, status, "{range}");
        if status == 416 {
            assert_eq!(got.header("content-range"), "bytes */0");
        } else {
            assert_eq!(
                (got.header("content-length"), got.body.len()),
                ("0", 0),
                "{range}"
            );
        }
    }
}

#[tokio::test]
async fn a_range_over_many_blocks_is_exact_and_so_is_the_whole() {
    let rig = Rig::new().await;
    let bytes = pattern((3 << 20) + 5);
    let meta = draft("big.bin", bytes.clone())
        .store_in_chunks(&rig, 700_000)
        .await;
    let link = link_to(&rig, &meta, "").await;
    let whole = rig.request("GET", &link, &[], "").await;
    assert!(whole.body == bytes);
    assert_eq!(
        whole.header("x-amz-checksum-crc64nvme"),
        Crc64::of(&bytes).base64()
    );
    for (first, last) in [
        (0, 1 << 20),
        ((1 << 20) - 1, 1 << 20),
        (1, (3 << 20) + 4),
        ((3 << 20) + 4, (3 << 20) + 4),
    ] {
        let range = format!("bytes={first}-{last}");
        let part = rig.request("GET", &link, &[("range", &range)], "").await;
        assert!(
            part.status == 206 && part.body == bytes[first..=last],
            "{range}"
        );
    }
}

const ETAG: &str = "\"25f9e794323b453885f5181f1b624d0b\"";
const AT: &str = "Sun, 22 Nov 2026 13:20:00 GMT";
const BEFORE: &str = "Sun, 22 Nov 2026 13:19:59 GMT";
const AFTER: &str = "Sun, 22 Nov 2026 13:20:01 GMT";

#[tokio::test]
async fn conditions_are_judged_in_the_order_of_the_rfc() {
    let rig = Rig::new().await;
    let link = link_to(&rig, &draft("a", "123456789").store(&rig).await, "").await;
    let bare = ETAG.trim_matches('"');
    let weak = format!("W/{ETAG}");
    let list = format!("\"x\", {ETAG}");
    let tricky = format!("\"a,{bare}\"");
    let (im, inm, ims, ius, ir) = (
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "if-range",
    );
    let part = ("range", "bytes=0-0");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[(im, ETAG)], 200),
        (&[(im, "*")], 200),
        (&[(im, &list)], 200),
        (&[(im, bare)], 200),
        (&[(im, "\"x\"")], 412),
        (&[(im, &weak)], 412),
        (&[(im, "")], 412),
        (&[(im, &tricky)], 412),
        (&[(im, "\"x\""), (im, ETAG)], 200),
        (&[(inm, ETAG)], 304),
        (&[(inm, "*")], 304),
        (&[(inm, &weak)], 304),
        (&[(inm, &list)], 304),
        (&[(inm, bare)], 304),
        (&[(inm, "\"x\"")], 200),
        (&[(inm, &tricky)], 200),
        (&[(inm, "")], 200),
        (&[(ims, AT)], 304),
        // Of a moment that is yet to come nothing can be said.
        (&[(ims, AFTER)], 200),
        (&[(ims, BEFORE)], 200),
        (&[(ims, "yesterday")], 200),
        (&[(ims, "Sunday, 22-Nov-26 13:20:00 GMT")], 304),
        (&[(ims, "Sun Nov 22 13:20:00 2026")], 304),
        (&[(ims, "Fri, 31 Dec 9999 23:59:59 GMT")], 200),
        (&[(ims, "Mon, 01 Jan 10000 00:00:00 GMT")], 200),
        (&[(ius, AT)], 200),
        (&[(ius, AFTER)], 200),
        (&[(ius, BEFORE)], 412),
        (&[(ius, "tomorrow")], 200),
        // If-Match counts before If-Unmodified-Since, If-None-Match before If-Modified-Since, 412 before 304.
        (&[(im, ETAG), (ius, BEFORE)], 200),
        (&[(im, "\"x\""), (ius, AT)], 412),
        (&[(inm, "\"x\""), (ims, AT)], 200),
        (&[(inm, ETAG), (ims, BEFORE)], 304),
        (&[(im, "\"x\""), (inm, ETAG)], 412),
        (&[(ius, BEFORE), (inm, ETAG)], 412),
        (&[(im, ETAG), (inm, ETAG)], 304),
        // A range is looked at last, and only if If-Range names what is here.
        (&[part], 206),
        (&[part, (inm, ETAG)], 304),
        (&[part, (im, "\"x\"")], 412),
        (&[part, (im, ETAG)], 206),
        (&[part, (ir, ETAG)], 206),
        (&[part, (ir, "\"x\"")], 200),
        (&[part, (ir, &weak)], 200),
        (&[part, (ir, AT)], 206),
        (&[part, (ir, BEFORE)], 200),
        (&[part, (ir, AFTER)], 200),
        (&[part, (ir, "")], 200),
        (&[(ir, ETAG)], 200),
        (&[("range", "bytes=9-"), (ir, ETAG)], 416),
        (&[("range", "bytes=9-"), (ir, "\"x\"")], 200),
        (&[("range", "bytes=9-"), (inm, ETAG)], 304),
        (&[("range", "bytes=9-"), (im, "\"x\"")], 412),
    ];
    for (headers, status) in cases {
        let got = rig.request("GET", &link, headers, "").await;
        assert_eq!(got.status, *status, "{headers:?}");
        match status {
            304 => assert!(
                got.body.is_empty()
                    && got.header("etag") == ETAG
                    && got.header("last-modified") == AT
            ),
            412 => assert_eq!(got.refusal().1, "0x0230001", "{headers:?}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let rig = Rig::new().await;
    let metas = [
        draft("a.mp4", "123456789")
            .header("cache-control", "no-store")
            .store(&rig)
            .await,
        draft("empty", "").store(&rig).await,
        draft("b.bin", pattern(300))
            .store_in_chunks(&rig, 100)
            .await,
    ];
    for meta in &metas {
        let link = link_to(&rig, meta, "&streaming=true").await;
        for headers in [
            &[][..],
            &[("if-none-match", "*")],
            &[("if-match", "\"x\"")],
            &[("origin", "https://a.example")],
        ] {
            let get = rig.request("GET", &link, headers, "").await;
            let head = rig.request("HEAD", &link, headers, "").await;
            assert!(head.body.is_empty());
            assert_eq!(head.status, get.status, "{headers:?}");
            let mut pair = [get.headers, head.headers];
            if get.status != 304 {
                let length = pair[0].entry("content-length");
                length.or_insert(get.body.len().into());
            }
            for headers in &mut pair {
                headers.remove("x-request-id");
                headers.remove("x-amz-request-id");
            }
            assert_eq!(pair[0], pair[1], "{headers:?}");
        }
    }
    let link = link_to(&rig, &metas[0], "").await;
    let ranged = rig
        .request("HEAD", &link, &[("range", "bytes=0-0")], "")
        .await;
    assert_eq!(
        (ranged.status.as_u16(), ranged.header("content-length")),
        (200, "9"),
        "Range is for GET only"
    );
}

#[tokio::test]
async fn what_could_run_in_a_browser_is_saved_whatever_was_asked() {
    let rig = Rig::new().await;
    let active = [
        "text/html",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "application/xml",
        "application/rss+xml",
        "application/atom+xml",
        "application/mathml+xml",
        "text/xsl",
        "text/javascript",
        "application/javascript",
        "application/ecmascript",
        "text/vbscript",
        "text/css",
        "application/pdf",
        "application/x-shockwave-flash",
        "application/wasm",
        "application/hta",
        "message/rfc822",
        "multipart/x-mixed-replace",
        "multipart/related",
        "application/java-archive",
        "application/octet-stream",
    ];
    assert_eq!(active.len(), 25);
    for (kind, inline) in active.iter().map(|kind| (*kind, false)).chain([
        ("video/mp4", true),
        ("image/png", true),
        ("audio/mpeg", true),
        ("text/plain", true),
    ]) {
        let meta = draft("a.html", "<script>alert(1)</script>")
            .header("content-type", kind)
            .store(&rig)
            .await;
        for (parameters, shown) in [
            ("", false),
            ("&streaming=true", inline),
            ("&streaming=false", false),
        ] {
            let got = rig
                .request("GET", &link_to(&rig, &meta, parameters).await, &[], "")
                .await;
            let disposition = if shown { "inline; " } else { "attachment; " };
            assert!(
                got.header("content-disposition").starts_with(disposition),
                "{kind} {parameters}"
            );
            assert_eq!(
                (
                    got.header("content-type"),
                    got.header("x-content-type-options")
                ),
                (kind, "nosniff")
            );
            let policy = got.header("content-security-policy");
            assert!(
                policy.starts_with("sandbox; default-src 'none'") && !policy.contains("allow-"),
                "{policy}"
            );
        }
        assert_eq!(
            rig.ask("DELETE", &format!("/v1/files/{}", meta.id))
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn no_stored_value_can_add_a_header() {
    let rig = Rig::new().await;
    let breaks = [
        "\r\n", "\n", "\r", "\0", "\u{b}", "\u{85}", "\u{2028}", "%0d%0a", "\u{7f}", "\"; x=\"",
    ];
    let shapes = [
        "{}X-Evil: 1",
        "a{}X-Evil: 1",
        "a{}{}<script>",
        "{}Set-Cookie: a=b",
        "text/html{}X-Evil:1",
        "a/b;{}X-Evil: 1",
        "é{}X-Evil: 1",
        "{}",
        "a{}",
        " {} HTTP/1.1 200 OK",
    ];
    let plain = draft("plain", "x").store(&rig).await;
    let plain = rig
        .request("GET", &link_to(&rig, &plain, "").await, &[], "")
        .await;
    let places = [
        "key",
        "content-type",
        "cache-control",
        "content-encoding",
        "content-language",
        "expires",
        "content-disposition",
        "x-amz-meta-a",
    ];
    for value in shapes
        .iter()
        .flat_map(|shape| breaks.map(|b| shape.replace("{}", b)))
    {
        for place in places {
            let mut object = draft(if place == "key" { &value } else { "plain2" }, "x");
            let optional = matches!(
                place,
                "content-encoding" | "content-language" | "expires" | "x-amz-meta-a"
            );
            if place != "key" {
                object = object.header(place, &value);
            }
            let mut link = None;
            let meta = object.store(&rig).await;
            for parameters in ["", "&streaming=true"] {
                let made = link_to(&rig, &meta, parameters).await;
                let got = rig.request("GET", &made, &[], "").await;
                assert_eq!(got.status, 200, "{place} {value:?}");
                let added = usize::from(optional && got.headers.contains_key(place));
                assert_eq!(
                    got.headers.len(),
                    plain.headers.len() + added,
                    "{place} {value:?}"
                );
                assert!(
                    !got.headers.contains_key("x-evil") && !got.headers.contains_key("set-cookie")
                );
                let sound = |v: &http::HeaderValue| v.to_str().is_ok();
                assert!(
                    got.headers.values().all(sound),
                    "{place} {value:?}: {:?}",
                    got.headers
                );
                link = Some(made);
            }
            let found = rig
                .ask(
                    "GET",
                    &format!("/v1/files/downloads/?file_id={}&redirect=true", meta.id),
                )
                .await;
            assert!(found.header("location").is_ascii() && link.unwrap().is_ascii());
            rig.store
                .delete_object(&pillarbox::store::ObjectName::Id(meta.id), NOW)
                .await
                .unwrap();
        }
    }
}

async fn response_to(rig: &Rig, uri: &str, range: Option<&str>) -> Response<ResponseBody> {
    let mut request = Request::get(uri).header("host", HOST);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let request = request.body(RequestBody::whole("")).unwrap();
    rig.app.handle(request, connection()).await
}

/// How many bytes came, and whether the body ended with an error.
async fn drink(response: Response<ResponseBody>) -> (usize, bool) {
    let (mut body, mut count) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => count += frame.data_ref().unwrap().len(),
            Err(_) => return (count, true),
        }
    }
    (count, false)
}

#[tokio::test]
async fn a_flipped_bit_on_disk_is_never_delivered_as_a_success() {
    let rig = Rig::new().await;
    let size = (2 << 20) + 77;
    let meta = draft("a.bin", pattern(size)).store(&rig).await;
    let link = link_to(&rig, &meta, "").await;
    let path = rig.store.locate(&meta).unwrap();
    let sound = std::fs::read(&path).unwrap();
    assert_eq!(
        drink(response_to(&rig, &link, None).await).await,
        (size, false)
    );
    for place in [0, 1, 1 << 20, size - 1] {
        let mut damaged = sound.clone();
        damaged[place] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        let response = response_to(&rig, &link, None).await;
        assert_eq!(response.headers()["content-length"], size.to_string());
        let (count, broken) = drink(response).await;
        assert!(broken && count < size, "{place}: {count}");
    }
    for kept in [size - 1, 1 << 20, 1, 0] {
        std::fs::write(&path, &sound[..kept]).unwrap();
        let response = response_to(&rig, &link, None).await;
        let refused = response.status() == 500;
        let (count, broken) = drink(response).await;
        assert!(refused || (broken && count < size), "{kept}");
        let response = response_to(&rig, &link, Some("bytes=1-")).await;
        let refused = response.status() == 500;
        assert!(refused || drink(response).await.1, "{kept}");
    }
    std::fs::write(&path, &sound).unwrap();
    assert_eq!(
        drink(response_to(&rig, &link, None).await).await,
        (size, false)
    );
}

#[tokio::test]
async fn a_reader_keeps_its_bytes_when_the_file_is_deleted_meanwhile() {
    let rig = Rig::new().await;
    let bytes = pattern(5 << 20);
    let meta = draft("a.bin", bytes.clone()).store(&rig).await;
    let link = link_to(&rig, &meta, "").await;
    let response = response_to(&rig, &link, None).await;
    assert_eq!(
        rig.ask("DELETE", &format!("/v1/files/{}", meta.id))
            .await
            .status,
        200
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body == bytes);
}

/// One GET over a real HTTP connection: the promised length, and what the client gets to see.
async fn over_the_wire(
    rig: &Rig,
    uri: &str,
    version: Version,
) -> (u64, Result<Bytes, hyper::Error>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let app = Arc::clone(&rig.app);
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Arc::clone(&app);
        let request = request.map(|body| RequestBody::new(body, seconds(30)));
        async move { Ok::<_, Infallible>(app.handle(request, connection()).await) }
    });
    let (near, far) = (TokioIo::new(near), TokioIo::new(far));
    let request = Request::get(format!("http://{HOST}{uri}")).header("host", HOST);
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = if version == Version::HTTP_2 {
        let exec = TokioExecutor::new();
        tokio::spawn(server::http2::Builder::new(exec.clone()).serve_connection(near, service));
        let (mut sender, driver) = client::http2::handshake(exec, far).await.unwrap();
        tokio::spawn(driver);
        sender.send_request(request).await.unwrap()
    } else {
        tokio::spawn(server::http1::Builder::new().serve_connection(near, service));
        let (mut sender, driver) = client::http1::handshake(far).await.unwrap();
        tokio::spawn(driver);
        sender.send_request(request).await.unwrap()
    };
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, version)
    );
    let promised = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let body = response.into_body().collect().await;
    (promised, body.map(|body| body.to_bytes()))
}

#[tokio::test]
async fn a_client_on_the_wire_sees_the_whole_file_or_an_error() {
    let rig = Rig::new().await;
    for size in [1000, (2 << 20) + 77] {
        let bytes = pattern(size);
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let meta = draft(&format!("{size}-{version:?}.bin"), bytes.clone())
                .store(&rig)
                .await;
            let link = link_to(&rig, &meta, "").await;
            let path = rig.store.locate(&meta).unwrap();
            let mut damaged = bytes.clone();
            damaged[size / 2] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            let (promised, got) = over_the_wire(&rig, &link, version).await;
            assert!(promised == size as u64 && got.is_err(), "{version:?}");
            std::fs::write(&path, &bytes).unwrap();
            let (promised, got) = over_the_wire(&rig, &link, version).await;
            assert!(
                promised == size as u64 && got.unwrap() == bytes,
                "{version:?}"
            );
            // What is in memory by now is sound, whatever becomes of its file.
            std::fs::write(&path, &damaged).unwrap();
            let (_, got) = over_the_wire(&rig, &link, version).await;
            assert_eq!(got.is_ok_and(|got| got == bytes), size == 1000);
        }
    }
}
