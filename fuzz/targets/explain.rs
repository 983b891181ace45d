//! Any input, explained without a server: never a panic, and no secret and no signature in what is told, whatever stands around them.
#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use pillarbox::api::explain::offline::{Options, Told, explain_input};
use pillarbox::model::{Secret, Timestamp};

const SECRET: &str = "a-secret-that-nobody-guesses";
const KEY_ID: &str = "AKFUZZFUZZFUZZFUZZ00";
const SIGNATURE: &str = "c2lnbmF0dXJlIG9mIG5vYm9keQ==";
const TOKEN: &str = "token/of+somebody/who-is-elsewhere==";

// The input as it is; then a form of its lines: the policy document, the file's name, NAME=VALUE for each field.
fuzz_target!(|input: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let told = explain_input(input.to_vec().into(), &options()).await;
        told.iter().flatten().for_each(|told| hides(told, input));
        if let Ok(text) = std::str::from_utf8(input) {
            let body = form(text);
            let told = explain_input(body.clone().into(), &options()).await;
            told.iter().flatten().for_each(|told| {
                hides(told, input);
                for shown in shown(told) {
                    assert!(!shown.contains(SIGNATURE), "a signature is shown");
                    assert!(!shown.contains(TOKEN), "a token is shown");
                }
            });
        }
    });
});

fn options() -> Options {
    Options {
        bucket: None,
        key_id: None,
        secret: Some(Secret::new(SECRET.to_owned())),
        content_type: None,
        now: Timestamp::from_seconds(1_700_000_000),
    }
}

fn shown(told: &Told) -> [String; 3] {
    let page = told.page();
    [told.report.to_string(), page.text(), page.html()]
}

fn hides(told: &Told, input: &[u8]) {
    let is_given = input
        .windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes());
    for shown in shown(told) {
        assert!(is_given || !shown.contains(SECRET), "the secret is shown");
    }
}

/// A multipart body with a signature that is wrong and a token of somebody else.
fn form(text: &str) -> Vec<u8> {
    let mut lines = text.split('\n');
    let policy = STANDARD.encode(lines.next().unwrap_or_default().replace("TOKEN", TOKEN));
    let file_name = lines.next().unwrap_or_default();
    let mut body = Vec::new();
    let mut part = |head: String, value: &str| {
        let head = format!("--B\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
        body.extend_from_slice(head.as_bytes());
    };
    let signed = [
        ("signature", SIGNATURE),
        ("x-amz-security-token", TOKEN),
        ("AWSAccessKeyId", KEY_ID),
    ];
    let fields = lines.filter_map(|line| line.split_once('='));
    for (name, value) in signed
        .into_iter()
        .chain(fields)
        .chain([("policy", policy.as_str())])
    {
        part(format!("name=\"{name}\""), value);
    }
    part(
        format!("name=\"file\"; filename=\"{file_name}\""),
        "content",
    );
    body.extend_from_slice(b"--B--\r\n");
    body
}
