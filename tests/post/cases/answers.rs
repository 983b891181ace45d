//! How success is answered: the status that was asked for, its headers and its body, or the redirect (reference 1.6, D11 to D15).

use super::post::ETAG;
use super::row::{Row, row, stored};

const CRC64: &str = "x-amz-checksum-crc64nvme";

/// Where the object is.
const LOCATION: &str = "http://127.0.0.1:7080/uploads/in%2Fa.bin";

fn post_response(key: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>http://127.0.0.1:7080/uploads/{}</Location>\
        <Bucket>uploads</Bucket><Key>{}</Key><ETag>&quot;{ETAG}&quot;</ETag></PostResponse>",
        super::fields::encoded(key),
        key.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&apos;"),
    )
}

pub(crate) fn rows() -> Vec<Row> {
    [statuses(), redirects()].into_iter().flatten().collect()
}

fn statuses() -> Vec<Row> {
    let asked = |says: &str, status: &'static str, expected: super::Expected| {
        row(
            says,
            move |p| {
                p.cover("success_action_status", status);
            },
            expected
                .answered("location", LOCATION)
                .answered("etag", format!("\"{ETAG}\""))
                .answered("x-amz-checksum-type", "FULL_OBJECT"),
        )
    };
    let mut rows = vec![
        row(
            "no wish is answered with 204",
            |_| {},
            stored()
                .answered("location", LOCATION)
                .answered("content-type", "")
                .answered("content-length", ""),
        ),
        asked(
            "200 has no body",
            "200",
            stored().status(200).answered("content-type", ""),
        ),
        asked(
            "201 has Amazon's document, without a namespace",
            "201",
            stored()
                .status(201)
                .answered("content-type", "application/xml")
                .body(post_response("in/a.bin")),
        ),
        asked(
            "204 has no body",
            "204",
            stored().answered("content-type", ""),
        ),
    ];
    for status in [
        "404", "", "0", "201 ", " 201", "0201", "201.0", "303", "500", "abc", "-1",
    ] {
        rows.push(asked(
            &format!("the status {status:?} is ignored"),
            status,
            stored(),
        ));
    }
    for key in ["in/ü & <b>'\".bin", "a b+c%20d"] {
        rows.push(row(
            format!("the document escapes the key {key:?}"),
            move |p| {
                p.key(key).cover("success_action_status", "201");
            },
            stored().status(201).body(post_response(key)),
        ));
    }
    rows.push(row(
        "a status that another host was named for tells that host",
        |p| {
            p.host = "files.example:8443".to_owned();
        },
        stored().answered("location", "http://files.example:8443/uploads/in%2Fa.bin"),
    ));
    rows.push(row(
        "the checksum of the whole is told without asking",
        |_| {},
        stored().answered(CRC64, crc64()),
    ));
    rows
}

fn crc64() -> String {
    use base64::Engine as _;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, super::post::FILE);
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}

/// Where the redirect leads, with bucket, key and etag in this order.
const REDIRECTS: &[(&str, &str)] = &[
    ("http://a.example/done", "http://a.example/done?{Q}"),
    ("https://a.example/done", "https://a.example/done?{Q}"),
    ("HTTPS://A.example/done", "HTTPS://A.example/done?{Q}"),
    ("http://a.example", "http://a.example?{Q}"),
    ("http://a.example:81/", "http://a.example:81/?{Q}"),
    ("http://[::1]:81/", "http://[::1]:81/?{Q}"),
    ("http://a.example/done?", "http://a.example/done?{Q}"),
    (
        "http://a.example/done?one=1",
        "http://a.example/done?one=1&{Q}",
    ),
    (
        "http://a.example/done?b=2&a=1",
        "http://a.example/done?b=2&a=1&{Q}",
    ),
    (
        "http://a.example/done?bucket=mine",
        "http://a.example/done?bucket=mine&{Q}",
    ),
    (
        "http://a.example/done#part",
        "http://a.example/done?{Q}#part",
    ),
    (
        "http://a.example/done?one=1#part?x",
        "http://a.example/done?one=1&{Q}#part?x",
    ),
    (
        "http://a.example/a%20b?c=%26",
        "http://a.example/a%20b?c=%26&{Q}",
    ),
    ("http://a.example/ü", "http://a.example/%C3%BC?{Q}"),
];

/// Redirects that are none, so that the status counts.
const NO_REDIRECTS: &[&str] = &[
    "/wrong/redirect/relative",
    "//a.example/done",
    "a.example/done",
    "",
    "http://",
    "http:///done",
    "http:a.example",
    "ftp://a.example/",
    "javascript:alert(1)",
    "javascript://a.example/%0aalert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "http://a.example/\r\nSet-Cookie: b=c",
    "http://a.example/\nx",
    "http://a.example/a b",
    "http://a.example/\u{7f}",
    "http://a.example/\u{85}",
    " http://a.example/",
    "http://@a.example/",
    "http://\\evil.example/",
];

fn redirects() -> Vec<Row> {
    let query = format!("bucket=uploads&key=in%2Fa.bin&etag=%22{ETAG}%22");
    let mut rows = Vec::new();
    for (url, leads) in REDIRECTS {
        let leads = leads.replace("{Q}", &query);
        rows.push(row(
            format!("the redirect to {url}"),
            |p| {
                p.cover("success_action_redirect", url);
            },
            stored()
                .status(303)
                .answered("location", leads)
                .answered("etag", format!("\"{ETAG}\""))
                .answered("content-type", ""),
        ));
    }
    for url in NO_REDIRECTS {
        rows.push(row(
            format!("the redirect to {url:?} is ignored"),
            |p| {
                p.cover("success_action_redirect", url)
                    .cover("success_action_status", "200");
            },
            stored().status(200).answered("location", LOCATION),
        ));
    }
    let to = |host: &str| format!("http://{host}/?{query}");
    rows.extend([
        row(
            "the old name of the redirect works",
            |p| {
                p.cover("redirect", "http://old.example/");
            },
            stored().status(303).answered("location", to("old.example")),
        ),
        row(
            "the new name of the redirect wins over the old",
            |p| {
                p.cover("redirect", "http://old.example/").cover("success_action_redirect", "http://new.example/");
            },
            stored().status(303).answered("location", to("new.example")),
        ),
        row(
            "a redirect wins over a status",
            |p| {
                p.cover("success_action_status", "201").cover("success_action_redirect", "http://new.example/");
            },
            stored().status(303).answered("location", to("new.example")),
        ),
        row(
            "a new name that is no URL leaves the old one unused",
            |p| {
                p.cover("redirect", "http://old.example/").cover("success_action_redirect", "/relative");
            },
            stored().answered("location", LOCATION),
        ),
        row(
            "what is refused is not redirected",
            |p| {
                p.cover("success_action_redirect", "http://new.example/").set("acl", "private");
            },
            super::row::extra("acl"),
        ),
        row(
            "the redirect encodes the key",
            |p| {
                p.key("a b&c=d/ü?#").cover("success_action_redirect", "http://a.example/");
            },
            stored().status(303).answered(
                "location",
                format!("http://a.example/?bucket=uploads&key=a%20b%26c%3Dd%2F%C3%BC%3F%23&etag=%22{ETAG}%22"),
            ),
        ),
    ]);
    rows
}
