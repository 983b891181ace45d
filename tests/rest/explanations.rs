//! Why a form was refused: every refusal of the form post leads to an explanation, which says everything and shows nothing secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{form, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form::{BOUNDARY, Form, KEY_ID, SECRET, content_type};
use http::Request;
use pillarbox::api::app::{BucketOptions, Connection};
use pillarbox::api::body::RequestBody;
use pillarbox::api::explain::kept::{ID_BYTES, LIFETIME, MAX_KEPT};
use pillarbox::api::explain::offline::{MAX_INPUT_BYTES, Options, Told, explain_input};
use pillarbox::model::{Bucket, Secret};
use serde_json::Value;
use support::{Answer, HOST, NOW, PIPELINE, Rig, connection};

const FILE: &[u8] = b"the bytes of the file";
const TOKEN: &str = "FwoGZXIvYXdzEJr//a/session+token/of+somebody==";

/// A request, before it is sent.
struct Ask {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// A signature that was sent, which nothing may show.
    signature: Option<String>,
}

impl Ask {
    fn raw(method: &'static str, path: &str, content_type: Option<&str>, body: &[u8]) -> Self {
        let headers = content_type.map(|kind| ("content-type", kind.to_owned()));
        Self {
            method,
            path: path.to_owned(),
            headers: headers.into_iter().collect(),
            body: body.to_vec(),
            signature: None,
        }
    }

    fn form(form: &Form) -> Self {
        let signature = form.fields.iter().find(|(name, _)| name == "signature");
        Self {
            signature: signature.map(|(_, value)| value.clone()),
            ..Self::raw("POST", "/uploads/", Some(&content_type()), &form.encode())
        }
    }

    async fn send(&self, rig: &Rig) -> Answer {
        self.send_from(rig, connection()).await
    }

    async fn send_from(&self, rig: &Rig, connection: Connection) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        let has = |sought: &str| self.headers.iter().any(|(name, _)| *name == sought);
        if !has("host") {
            request = request.header("host", HOST);
        }
        if !self.body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            request = request.header("content-length", self.body.len());
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(RequestBody::whole(self.body.clone())).unwrap();
        Answer::read(rig.app.handle(request, connection).await).await
    }
}

fn valid() -> Form {
    Form::new("uploads", "in/a.bin", FILE)
}

/// A valid signed form with one change before it is signed.
fn changed(change: impl FnOnce(&mut Form)) -> Ask {
    let mut form = valid();
    change(&mut form);
    form.sign();
    Ask::form(&form)
}

/// A valid signed form with one change after it was signed.
fn changed_after(change: impl FnOnce(&mut Form)) -> Ask {
    let mut form = valid();
    form.sign();
    change(&mut form);
    Ask::form(&form)
}

/// A form of one part with this head.
fn one_part(head: &str) -> Ask {
    let body = format!("--{BOUNDARY}\r\n{head}\r\n\r\nx\r\n--{BOUNDARY}--\r\n");
    Ask::raw("POST", "/uploads/", Some(&content_type()), body.as_bytes())
}

fn many(form: &mut Form, count: usize) {
    let fields = (0..count).map(|n| (format!("x-ignore-{n}"), String::new()));
    form.fields.extend(fields);
}

/// The path of the link on a refusal.
fn link(answer: &Answer) -> String {
    let link = answer.header("x-pillarbox-explain");
    let (base_url, id) = link
        .split_once("/v1/explain/")
        .unwrap_or_else(|| panic!("no link: {link:?}, {}", answer.text()));
    assert!(["http://127.0.0.1:7080", "http://localhost:7080"].contains(&base_url));
    assert!(id.len() == 2 * ID_BYTES && id.bytes().all(|b| b.is_ascii_hexdigit()));
    format!("/v1/explain/{id}")
}

async fn read(rig: &Rig, path: &str, accept: &str) -> Answer {
    rig.request("GET", path, &[("accept", accept)], "").await
}

async fn explained(rig: &Rig, answer: &Answer) -> Value {
    let told = read(rig, &link(answer), "*/*").await;
    assert_eq!(told.status.as_u16(), 200, "{}", told.text());
    told.json()["explanation"].clone()
}

fn code(answer: &Answer) -> String {
    let text = answer.text();
    let code = text.split_once("<Code>").unwrap().1;
    code.split_once("</Code>").unwrap().0.to_owned()
}

/// A sentence, the request, its status and code, and a part of the likely cause.
type Row = (&'static str, fn() -> Ask, u16, &'static str, &'static str);

const ROWS: &[Row] = &[
    // The request.
    (
        "a url-encoded form",
        || {
            let body = b"key=a&policy=b";
            Ask::raw(
                "POST",
                "/uploads/",
                Some("application/x-www-form-urlencoded"),
                body,
            )
        },
        412,
        "PreconditionFailed",
        "sent url-encoded, which cannot carry a file",
    ),
    (
        "JSON",
        || Ask::raw("POST", "/uploads/", Some("application/json"), b"{}"),
        412,
        "PreconditionFailed",
        "as axios and fetch send a plain object",
    ),
    (
        "text",
        || {
            Ask::raw(
                "POST",
                "/uploads/",
                Some("text/plain;charset=UTF-8"),
                b"[object FormData]",
            )
        },
        412,
        "PreconditionFailed",
        "plain text, as fetch sends a string",
    ),
    (
        "another multipart",
        || {
            Ask::raw(
                "POST",
                "/uploads/",
                Some("multipart/mixed; boundary=B"),
                b"--B--",
            )
        },
        412,
        "PreconditionFailed",
        "multipart of another kind",
    ),
    (
        "the bare file",
        || Ask::raw("POST", "/uploads/", Some("image/png"), b"\x89PNG"),
        412,
        "PreconditionFailed",
        "the bare file, as for a PUT",
    ),
    (
        "no type",
        || Ask::raw("POST", "/uploads/", None, b"x"),
        412,
        "PreconditionFailed",
        "has no Content-Type",
    ),
    (
        "an empty type",
        || Ask::raw("POST", "/uploads/", Some(""), b"x"),
        412,
        "PreconditionFailed",
        "has no Content-Type, or an empty one",
    ),
    (
        "a type without its semicolon",
        || {
            let mut ask = changed(|_| {});
            ask.headers = vec![("content-type", content_type().replace(';', ""))];
            ask
        },
        412,
        "PreconditionFailed",
        "a semicolon stands between",
    ),
    (
        "a type with a comma",
        || {
            let mut ask = changed(|_| {});
            ask.headers = vec![("content-type", content_type().replace(';', ","))];
            ask
        },
        412,
        "PreconditionFailed",
        "a semicolon stands between",
    ),
    (
        "two types",
        || {
            let mut ask = changed(|_| {});
            ask.headers
                .push(("content-type", "multipart/form-data".to_owned()));
            ask
        },
        412,
        "PreconditionFailed",
        "more than one Content-Type",
    ),
    (
        "a type without its boundary",
        || {
            let mut ask = changed(|_| {});
            ask.headers = vec![("content-type", "multipart/form-data".to_owned())];
            ask
        },
        400,
        "MalformedPOSTRequest",
        "set by hand, without its boundary",
    ),
    (
        "a boundary that is none",
        || {
            Ask::raw(
                "POST",
                "/uploads/",
                Some("multipart/form-data; boundary=\"\""),
                b"",
            )
        },
        400,
        "MalformedPOSTRequest",
        "The boundary in the Content-Type header is none",
    ),
    (
        "PUT",
        || Ask::raw("PUT", "/uploads/in/a.bin", Some("image/png"), b"x"),
        403,
        "AccessDenied",
        "sent by PUT, and nobody signed the request: sign it, or upload by a form",
    ),
    (
        "the key in the path",
        || {
            let mut ask = changed(|_| {});
            ask.path = "/uploads/in/a.bin".to_owned();
            ask
        },
        405,
        "MethodNotAllowed",
        "post it to /uploads/ and name the object in the field 'key'",
    ),
    (
        "two slashes before the bucket",
        || {
            let mut ask = changed(|_| {});
            ask.path = "//uploads/".to_owned();
            ask
        },
        405,
        "MethodNotAllowed",
        "begins with two slashes",
    ),
    (
        "no bucket",
        || {
            let mut ask = changed(|_| {});
            ask.path = "/".to_owned();
            ask
        },
        405,
        "MethodNotAllowed",
        "The URL names no bucket",
    ),
    (
        "the fields in the query",
        || {
            Ask::raw(
                "POST",
                "/uploads/?policy=abc&key=x",
                Some("application/octet-stream"),
                b"x",
            )
        },
        412,
        "PreconditionFailed",
        "multipart: true",
    ),
    (
        "a form with a query",
        || {
            let mut ask = changed(|_| {});
            ask.path = "/uploads/?delete".to_owned();
            ask
        },
        405,
        "MethodNotAllowed",
        "without one; put its parameters into fields",
    ),
    (
        "a bucket that can be none",
        || {
            let mut ask = changed(|_| {});
            ask.path = "/Up/".to_owned();
            ask
        },
        404,
        "NoSuchBucket",
        "'Up' can be no bucket",
    ),
    (
        "a bucket that is not here",
        || {
            let mut ask = changed(|form| form.conditions[0] = "{\"bucket\":\"others\"}".to_owned());
            ask.path = "/others".to_owned();
            ask
        },
        404,
        "NoSuchBucket",
        "a bucket that does not exist here",
    ),
    (
        "a bucket in the host that is not here",
        || {
            let mut ask = changed(|form| form.conditions[0] = "{\"bucket\":\"others\"}".to_owned());
            ask.path = "/".to_owned();
            ask.headers
                .push(("host", "others.localhost:7080".to_owned()));
            ask
        },
        404,
        "NoSuchBucket",
        "'others.localhost:7080' names the bucket here",
    ),
    (
        "a strange framing",
        || {
            let mut ask = changed(|_| {});
            ask.headers
                .push(("transfer-encoding", "gzip, chunked".to_owned()));
            ask
        },
        400,
        "BadRequest",
        "own framing is refused",
    ),
    // The form's framing.
    (
        "another boundary than the header's",
        || {
            let mut ask = changed(|_| {});
            ask.headers = vec![(
                "content-type",
                "multipart/form-data; boundary=other".to_owned(),
            )];
            ask
        },
        400,
        "MalformedPOSTRequest",
        "is not the one in the body",
    ),
    (
        "a compressed body",
        || {
            let mut ask = changed(|_| {});
            ask.headers.push(("content-encoding", "gzip".to_owned()));
            ask.body = b"\x1f\x8b\x08\x00 as gzip begins".to_vec();
            ask
        },
        400,
        "MalformedPOSTRequest",
        "send it uncompressed",
    ),
    (
        "an empty body",
        || Ask::raw("POST", "/uploads/", Some(&content_type()), b""),
        411,
        "MissingContentLength",
        "no form was sent",
    ),
    (
        "a form that was cut",
        || {
            let mut ask = changed(|_| {});
            ask.body.truncate(ask.body.len() - 10);
            ask
        },
        400,
        "MalformedPOSTRequest",
        "--BOUNDARY--",
    ),
    (
        "bare line feeds",
        || {
            let mut ask = changed(|_| {});
            ask.body.retain(|b| *b != b'\r');
            ask
        },
        400,
        "MalformedPOSTRequest",
        "bare line feeds",
    ),
    (
        "a part without a name",
        || {
            let body = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n"
            );
            Ask::raw("POST", "/uploads/", Some(&content_type()), body.as_bytes())
        },
        400,
        "MalformedPOSTRequest",
        "not as browsers write it",
    ),
    (
        "a header line that is folded",
        || one_part("Content-Disposition: form-data;\r\n name=\"key\""),
        400,
        "MalformedPOSTRequest",
        "goes on in the next one",
    ),
    (
        "a file name in Latin-1",
        || {
            let mut ask = changed(|form| form.file_part.1 = Some("MARK".to_owned()));
            let at = ask
                .body
                .windows(4)
                .position(|four| four == b"MARK")
                .unwrap();
            ask.body[at] = 0xfc;
            ask
        },
        400,
        "MalformedPOSTRequest",
        "another encoding such as Latin-1",
    ),
    (
        "forty header lines",
        || {
            let lines = "\r\nX-Line: 1".repeat(40);
            one_part(&format!(
                "Content-Disposition: form-data; name=\"key\"{lines}"
            ))
        },
        400,
        "MalformedPOSTRequest",
        "has more lines than a part may have",
    ),
    (
        "a header line without a colon",
        || one_part("Content-Disposition: form-data; name=\"key\"\r\nX-Line"),
        400,
        "MalformedPOSTRequest",
        "a line that is no header: without a colon",
    ),
    (
        "a blank behind a header's name",
        || one_part("Content-Disposition: form-data; name=\"key\"\r\nX-Line : 1"),
        400,
        "MalformedPOSTRequest",
        "or with a blank in or behind its name",
    ),
    (
        "too many parts",
        || changed(|form| many(form, 130)),
        400,
        "MalformedPOSTRequest",
        "has more parts",
    ),
    (
        "too many fields",
        || changed(|form| many(form, 110)),
        400,
        "InvalidArgument",
        "more fields than a form may",
    ),
    (
        "a large field",
        || changed(|form| _ = form.set("x-amz-meta-note", &"n".repeat(20_480))),
        400,
        "MaxPostPreDataLengthExceededError",
        "in the field 'x-amz-meta-note' or right behind it",
    ),
    (
        "fields that leave no room for the file's header",
        || {
            let mut form = valid();
            form.set("x-ignore-note", "").sign();
            let head = form.encode();
            let name = b"filename=";
            let at = head.windows(name.len()).position(|part| part == name);
            form.set("x-ignore-note", &"n".repeat(20_480 - at.unwrap()));
            Ask::form(&form)
        },
        400,
        "MaxPostPreDataLengthExceededError",
        "in the field 'signature' or right behind it",
    ),
    (
        "a large file under another name",
        || {
            changed(|form| {
                form.file_part = ("upload".to_owned(), Some("film.mp4".to_owned()));
                form.file = vec![b'x'; 40_000];
            })
        },
        400,
        "MaxPostPreDataLengthExceededError",
        "called 'upload' and must be called 'file'",
    ),
    (
        "a small file under another name",
        || changed(|form| form.file_part = ("qqfile".to_owned(), Some("film.mp4".to_owned()))),
        400,
        "InvalidArgument",
        "called 'qqfile' and must be called 'file'",
    ),
    (
        "no file",
        || changed(|form| form.file_part = ("other".to_owned(), None)),
        400,
        "InvalidArgument",
        "ends without a part called 'file'",
    ),
    (
        "a repeated field",
        || changed(|form| form.fields.push(("key".to_owned(), "in/a.bin".to_owned()))),
        400,
        "InvalidArgument",
        "'key' is there twice",
    ),
    (
        "a field that is no text",
        || {
            let mut ask = changed(|form| _ = form.covered("x-amz-meta-a", "MARK"));
            let at = ask
                .body
                .windows(4)
                .position(|four| four == b"MARK")
                .unwrap();
            ask.body[at] = 0xff;
            ask
        },
        400,
        "InvalidArgument",
        "no UTF-8",
    ),
    (
        "a long file name in many variables",
        || {
            changed(|form| {
                form.set("key", &"${filename}".repeat(100));
                form.file_part.1 = Some("n".repeat(2000));
            })
        },
        400,
        "MaxPostPreDataLengthExceededError",
        "every ${filename}",
    ),
    // The fields.
    (
        "the file first",
        || {
            changed_after(|form| {
                form.trailing = std::mem::take(&mut form.fields);
            })
        },
        400,
        "InvalidArgument",
        "The file comes before the fields 'key', 'policy', 'AWSAccessKeyId', 'signature'",
    ),
    (
        "the signature after the file",
        || {
            changed_after(|form| {
                let at = form.fields.len() - 1;
                form.trailing = form.fields.split_off(at);
            })
        },
        400,
        "InvalidArgument",
        "The file comes before the fields 'signature'",
    ),
    (
        "only Dropzone's fields",
        || {
            changed_after(|form| {
                form.fields = vec![
                    ("dzuuid".to_owned(), "u".to_owned()),
                    ("dzchunkindex".to_owned(), "0".to_owned()),
                ];
            })
        },
        400,
        "InvalidArgument",
        "Dropzone 6 drops params that are given as an object",
    ),
    (
        "no key",
        || changed(|form| _ = form.without("key")),
        400,
        "InvalidArgument",
        "The field 'key' is missing",
    ),
    (
        "nothing signed",
        || changed_after(|form| form.fields.truncate(1)),
        403,
        "AccessDenied",
        "neither policy nor signature",
    ),
    (
        "both versions",
        || changed(|form| _ = form.set("x-amz-signature", &"0".repeat(64))),
        400,
        "InvalidArgument",
        "mixes two signatures",
    ),
    // The signature.
    (
        "an unknown key",
        || changed(|form| _ = form.set("AWSAccessKeyId", "AKIAIOSFODNN7EXAMPLE")),
        403,
        "InvalidAccessKeyId",
        "access key of Amazon",
    ),
    (
        "another secret",
        || changed(|form| form.secret = "another secret".to_owned()),
        403,
        "SignatureDoesNotMatch",
        "another secret than this access key's",
    ),
    (
        "a secret with a line end",
        || changed(|form| form.secret.push('\n')),
        403,
        "SignatureDoesNotMatch",
        "blank or a line end around it",
    ),
    // The policy.
    (
        "a policy that is JSON",
        || {
            changed(|form| {
                _ = form.set(
                    "policy",
                    "{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[]}",
                )
            })
        },
        400,
        "InvalidPolicyDocument",
        "sent as JSON",
    ),
    (
        "an old form",
        || changed(|form| form.expiration = "2026-11-20T00:00:00Z".to_owned()),
        403,
        "AccessDenied",
        "ask for a fresh form",
    ),
    (
        "another key than signed",
        || changed(|form| _ = form.set("key", "/in/a.bin")),
        403,
        "AccessDenied",
        "begins with a slash",
    ),
    (
        "a field that nobody signed",
        || changed(|form| _ = form.set("qqfilename", "a")),
        403,
        "AccessDenied",
        "FineUploader adds its qq fields",
    ),
    (
        "no type field",
        || changed(|form| _ = form.condition("[\"starts-with\",\"$Content-Type\",\"image/\"]")),
        403,
        "AccessDenied",
        "the file part's own Content-Type",
    ),
    (
        "a token of another service",
        || changed(|form| _ = form.covered("x-amz-security-token", TOKEN)),
        400,
        "InvalidToken",
        "temporary credentials of another service",
    ),
    // The values.
    (
        "an acl that is none",
        || changed(|form| _ = form.covered("acl", "everyone")),
        400,
        "InvalidArgument",
        "'acl' has a value that is refused",
    ),
    (
        "an MD5 in hexadecimal digits",
        || changed(|form| _ = form.covered("Content-MD5", "d41d8cd98f00b204e9800998ecf8427e")),
        400,
        "InvalidDigest",
        "32 hexadecimal digits",
    ),
    (
        "what is not done here",
        || {
            changed(|form| {
                _ = form.covered("x-amz-server-side-encryption-customer-algorithm", "AES256")
            })
        },
        501,
        "NotImplemented",
        "does not pretend",
    ),
    (
        "a file that is too large",
        || changed(|form| _ = form.condition("[\"content-length-range\",0,5]")),
        400,
        "EntityTooLarge",
        "meant in KiB",
    ),
    (
        "a file that is too large, of which nobody says how large it is",
        || {
            let mut ask = changed(|form| _ = form.condition("[\"content-length-range\",0,5]"));
            ask.headers
                .push(("transfer-encoding", "chunked".to_owned()));
            ask
        },
        400,
        "EntityTooLarge",
        "The file has at least 21 bytes",
    ),
    (
        "bounds that are swapped",
        || changed(|form| _ = form.condition("[\"content-length-range\",1048576,0]")),
        400,
        "EntityTooLarge",
        "are swapped",
    ),
    (
        "no bytes",
        || {
            changed(|form| {
                form.condition("[\"content-length-range\",1,9]");
                form.file.clear();
            })
        },
        400,
        "EntityTooSmall",
        "The file is empty",
    ),
    (
        "another MD5",
        || changed(|form| _ = form.covered("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")),
        400,
        "BadDigest",
        "not those that the digest was computed from",
    ),
    (
        "another checksum",
        || changed(|form| _ = form.covered("x-amz-checksum-crc32", "AAAAAA==")),
        400,
        "BadDigest",
        "not those that the digest was computed from",
    ),
];

/// Sends a request that must be refused, and reads its explanation in every form; nothing secret may be in any of them.
async fn refused(rig: &Rig, sentence: &str, ask: &Ask, status: u16, expected: &str, cause: &str) {
    let answer = ask.send(rig).await;
    let got = (answer.status.as_u16(), code(&answer));
    assert_eq!(
        got,
        (status, expected.to_owned()),
        "{sentence}: {}",
        answer.text()
    );
    let told = explained(rig, &answer).await;
    assert_eq!(told["refusal"]["status"], status, "{sentence}");
    assert_eq!(told["refusal"]["code"], expected, "{sentence}");
    let likely = told["likely_cause"].as_str().unwrap_or_default();
    assert!(likely.contains(cause), "{sentence}: {likely}");
    let path = link(&answer);
    let mut shown = vec![told.to_string()];
    for accept in [
        "text/html,application/xhtml+xml",
        "text/plain",
        "application/xml",
    ] {
        let page = read(rig, &path, accept).await;
        assert_eq!(page.status.as_u16(), 200, "{sentence}: {accept}");
        shown.push(page.text());
    }
    let (_, inline) = answer
        .text()
        .split_once("</HostId>")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(
        inline.contains("<LikelyCause>") && inline.contains(&path),
        "{sentence}: {inline}"
    );
    shown.push(inline);
    let hidden = [Some(SECRET), Some(TOKEN), ask.signature.as_deref()];
    for text in shown {
        for secret in hidden
            .into_iter()
            .flatten()
            .filter(|secret| secret.len() > 8)
        {
            assert!(!text.contains(secret), "{sentence} shows {secret}: {text}");
        }
    }
}

#[tokio::test]
async fn every_refusal_of_the_form_post_leads_to_its_cause_and_shows_no_secret() {
    let rig = Rig::new().await;
    for (sentence, ask, status, code, cause) in ROWS {
        refused(&rig, sentence, &ask(), *status, code, cause).await;
    }
}

async fn session(rig: &Rig, object_key: &str) -> Vec<(String, String)> {
    let uri = format!("/v1/files/uploads/?object_key={object_key}&pipeline_id={PIPELINE}");
    let upload = rig.ask("POST", &uri).await.json()["upload"].clone();
    let params = upload["form_post_params"].as_object().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    params
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

fn chunk_form(fields: &[(String, String)], bytes: &[u8], changes: &[(&str, &str)]) -> Form {
    let mut form = Form::new("uploads", "unused", bytes);
    form.fields = fields.to_vec();
    form.file_part.1 = Some("blob".to_owned());
    for (name, value) in changes {
        form.set(name, value);
    }
    form
}

fn chunk(fields: &[(String, String)], bytes: &[u8], changes: &[(&str, &str)]) -> Ask {
    Ask::form(&chunk_form(fields, bytes, changes))
}

/// A session's form without its own chunk fields.
fn without_chunk(fields: &[(String, String)]) -> Vec<(String, String)> {
    let mut bare = fields.to_vec();
    bare.retain(|(name, _)| !name.starts_with("chunk"));
    bare
}

#[tokio::test]
async fn the_refusals_of_a_session_lead_to_their_cause_too() {
    let rig = Rig::new().await;
    let of = session(&rig, "a.bin").await;
    for (sentence, changes, status, code, cause) in [
        (
            "no number",
            &[("chunk", "NaN"), ("chunks", "3")][..],
            400,
            "InvalidArgument",
            "no plain number",
        ),
        (
            "counted from 1",
            &[("chunk", "3"), ("chunks", "3")],
            400,
            "InvalidArgument",
            "counted from 0",
        ),
        (
            "too many",
            &[("chunk", "0"), ("chunks", "99999")],
            400,
            "InvalidArgument",
            "make the chunks larger",
        ),
        (
            "no number at all",
            &[("chunk", ""), ("chunks", "3")],
            400,
            "InvalidArgument",
            "not which of them this is: the field 'chunk' is missing",
        ),
        (
            "another key",
            &[("key", "tmp/547f3eede4b025bcbff38657/a.binx")],
            403,
            "AccessDenied",
            "The page changed the field 'key'",
        ),
        (
            "a field too many",
            &[("x-amz-meta-a", "1")],
            403,
            "AccessDenied",
            "is none that an upload session's form may carry",
        ),
    ] {
        refused(
            &rig,
            sentence,
            &chunk(&of, FILE, changes),
            status,
            code,
            cause,
        )
        .await;
    }
    let uncounted = chunk(&without_chunk(&of), FILE, &[("chunks", "3")]);
    let cause = "not which of them this is: the field 'chunk' is missing";
    refused(&rig, "none", &uncounted, 400, "InvalidArgument", cause).await;
    let first = chunk(&of, b"0", &[("chunk", "0"), ("chunks", "3")]);
    assert_eq!(first.send(&rig).await.status.as_u16(), 201);
    let other = chunk(&of, b"1", &[("chunk", "1"), ("chunks", "4")]);
    refused(
        &rig,
        "another count",
        &other,
        400,
        "InvalidArgument",
        "The number or the size of the chunks changed",
    )
    .await;

    let of: Vec<_> = session(&rig, "d.bin").await;
    let mut two_files = chunk_form(&of, FILE, &[]);
    two_files
        .trailing
        .push(("file".to_owned(), "second".to_owned()));
    let two_files = Ask::form(&two_files);
    refused(
        &rig,
        "two files",
        &two_files,
        400,
        "InvalidArgument",
        "Two parts of the form are called 'file'",
    )
    .await;
    let dropzone = [
        ("dzuuid", "1"),
        ("dzchunkindex", "0"),
        ("dztotalchunkcount", "3"),
        ("dzchunksize", "100"),
        ("dztotalfilesize", "250"),
        ("dzchunkbyteoffset", "0"),
    ];
    let both = chunk(&of, &[0; 100], &dropzone);
    refused(
        &rig,
        "two uploaders",
        &both,
        400,
        "InvalidArgument",
        "chunk fields of two uploaders",
    )
    .await;
    let bare: Vec<_> = without_chunk(&of);
    let short = chunk(&bare, b"7 bytes", &dropzone);
    refused(
        &rig,
        "other bytes",
        &short,
        400,
        "InvalidArgument",
        "other bytes than its own fields say",
    )
    .await;
    for (sentence, changes, cause) in [
        (
            "a chunk beyond the last",
            &[("dzchunkindex", "3"), ("dztotalchunkcount", "3")][..],
            "lies beyond the number of chunks",
        ),
        (
            "a chunk beyond the last, counted from 1",
            &[("flowChunkNumber", "4"), ("flowTotalChunks", "3")],
            "lies beyond the number of chunks",
        ),
        (
            "more chunks than an upload has",
            &[("dzchunkindex", "3"), ("dztotalchunkcount", "20000")],
            "make the chunks larger",
        ),
        (
            "a file beyond every upload",
            &[("resumableTotalSize", "9999999999999999")],
            "beyond the largest file",
        ),
        (
            "an offset behind the end",
            &[("offset", "9"), ("total", "9")],
            "at the end of the file or behind it",
        ),
    ] {
        let ask = chunk(&bare, FILE, changes);
        refused(&rig, sentence, &ask, 400, "InvalidArgument", cause).await;
    }
    let mut query = chunk(&bare, FILE, &[]);
    query.path = "/uploads/?resumableChunkNumber=1".to_owned();
    refused(
        &rig,
        "a query of its own",
        &query,
        400,
        "InvalidArgument",
        "The query of the post says something",
    )
    .await;

    let of = session(&rig, "b.bin").await;
    assert_eq!(
        chunk(&of, b"first", &[]).send(&rig).await.status.as_u16(),
        201
    );
    let second = chunk(&of, b"second", &[]);
    refused(
        &rig,
        "verbatim params",
        &second,
        400,
        "InvalidRequest",
        "overwrote the uploader's",
    )
    .await;
    let bare = without_chunk(&of);
    let second = chunk(&bare, b"second", &[]);
    refused(
        &rig,
        "anonymous chunks",
        &second,
        409,
        "OperationAborted",
        "Dropzone 5 drops its chunk fields",
    )
    .await;

    let uri = format!("/v1/files/uploads/?object_key=c.bin&pipeline_id={PIPELINE}");
    let upload = rig.ask("POST", &uri).await.json()["upload"].clone();
    let of: Vec<_> = upload["form_post_params"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    rig.ask(
        "DELETE",
        &format!("/v1/files/uploads/{}", upload["id"].as_str().unwrap()),
    )
    .await;
    refused(
        &rig,
        "an aborted session",
        &chunk(&of, FILE, &[]),
        404,
        "NoSuchUpload",
        "was aborted",
    )
    .await;
}

#[tokio::test]
async fn a_session_whose_file_has_expired_says_when_it_did() {
    let rig = Rig::new().await;
    let end = NOW.plus(Duration::from_secs(60)).millis() / 1000;
    let of = session(&rig, &format!("a.bin&expires_at={end}")).await;
    rig.advance(Duration::from_secs(61));
    let late = chunk(&of, FILE, &[]);
    let cause = "was to expire at 2026-11-22T13:21:00.000Z, and that time has passed";
    refused(&rig, "a late chunk", &late, 404, "NoSuchUpload", cause).await;
    let told = explained(&rig, &late.send(&rig).await).await;
    assert_eq!(told["signature"]["verdict"], "right");
    assert_eq!(told["session"].as_str().unwrap().len(), 24);
}

#[tokio::test]
async fn a_file_that_is_announced_beyond_every_post_is_told_to_come_as_its_form_can_take_it() {
    let rig = Rig::with(|options| {
        options.buckets = vec![BucketOptions {
            name: Bucket::parse("drop").unwrap(),
            public_write: true,
            cors: None,
        }];
    })
    .await;
    let mut anonymous = Form::new("drop", "a.bin", FILE);
    anonymous.fields.retain(|(name, _)| name == "key");
    let mut anonymous = Ask::form(&anonymous);
    anonymous.path = "/drop/".to_owned();
    let of = session(&rig, "a.bin").await;
    for (sentence, mut ask, remedy) in [
        ("a foreign form", changed(|_| {}), "use a multipart upload"),
        ("nobody's form", anonymous, "use a multipart upload"),
        (
            "a session's form",
            chunk(&of, FILE, &[]),
            "send it in chunks",
        ),
    ] {
        ask.headers
            .push(("content-length", "6000000000".to_owned()));
        refused(&rig, sentence, &ask, 400, "EntityTooLarge", remedy).await;
    }
}

#[tokio::test]
async fn a_form_below_the_bucket_of_its_host_is_told_to_go_to_the_root() {
    let rig = Rig::new().await;
    for path in ["/uploads/", "/in/a.bin", "/%75ploads/"] {
        let mut ask = changed(|_| {});
        ask.path = path.to_owned();
        ask.headers
            .push(("host", "uploads.localhost:7080".to_owned()));
        let answer = ask.send(&rig).await;
        let link = answer.header("x-pillarbox-explain");
        let link = link.strip_prefix("http://localhost:7080").unwrap();
        let told = read(&rig, link, "*/*").await.json()["explanation"].clone();
        let cause = told["likely_cause"].as_str().unwrap();
        assert!(cause.contains("post it to / and name"), "{path}: {cause}");
        assert_eq!(told["request"]["bucket_named_by"], "host", "{path}");
    }
    let mut ask = changed(|_| {});
    ask.path = "/%75ploads/in/a.bin".to_owned();
    let told = explained(&rig, &ask.send(&rig).await).await;
    assert_eq!(told["request"]["bucket_named_by"], "path");
}

#[tokio::test]
async fn a_refusal_of_the_store_says_that_nothing_is_wrong_with_the_form() {
    let rig = Rig::with_store(|_| {}, |store| store.free_floor_bytes = u64::MAX / 2).await;
    let cause = "Nothing is wrong with the form: the server's disk is full";
    refused(
        &rig,
        "a full disk",
        &changed(|_| {}),
        507,
        "InsufficientStorage",
        cause,
    )
    .await;
}

#[tokio::test]
async fn an_explanation_shows_everything_beside_what_was_wanted() {
    let rig = Rig::new().await;
    let answer = changed(|form| {
        form.condition("{\"acl\":\"private\"}")
            .condition("[\"starts-with\",\"$x-amz-meta-a\",\"v\"]")
            .condition("[\"content-length-range\",1,9]")
            .set("acl", "public-read")
            .set("key", "in/${filename}")
            .set("submit", "Send")
            .set("Content-Type", "a/b");
        form.file_part.1 = Some("C:\\films\\b.bin".to_owned());
    })
    .send(&rig)
    .await;
    let told = explained(&rig, &answer).await;
    let conditions: Vec<_> = told["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let text = |name: &str| c[name].as_str().unwrap_or("-").to_owned();
            (
                text("field"),
                text("expected"),
                text("got"),
                c["holds"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("bucket", "exactly 'uploads'", "uploads", true),
        ("key", "exactly 'in/a.bin'", "in/b.bin", false),
        ("acl", "exactly 'private'", "public-read", false),
        ("x-amz-meta-a", "a value that begins with 'v'", "-", false),
        ("-", "a file of 1 to 9 bytes", "-", true),
    ];
    let expected = expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d));
    assert_eq!(conditions, expected);
    assert_eq!(
        told["uncovered"],
        serde_json::json!(["submit", "content-type"])
    );
    let field = |name: &str| {
        let fields = told["fields"].as_array().unwrap();
        fields.iter().find(|field| field["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(field("key"), "in/b.bin");
    assert_eq!(field("signature"), "(28 characters)");
    assert_eq!(field("awsaccesskeyid"), KEY_ID);
    assert_eq!(told["policy"]["conditions"][1]["key"], "in/a.bin");
    assert_eq!(told["clock"]["server_time"], "2026-11-22T13:20:00.000Z");
    assert_eq!(told["clock"]["remaining_ms"], 38_400_000);
    assert_eq!(told["signature"]["version"], "Signature Version 2");
    assert_eq!(told["signature"]["verdict"], "right");
    assert_eq!(told["file"]["name"], "C:\\films\\b.bin");
    assert_eq!(told["request"]["host"], HOST);
    assert_eq!(told["request"]["path"], "/uploads/");
    assert_eq!(told["request"]["bucket_named_by"], "path");
    let page = read(&rig, &link(&answer), "text/html").await.text();
    for part in [
        "Conditions that do not hold",
        "Fields that no condition covers",
        "exactly &apos;private&apos;",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

#[tokio::test]
async fn a_wrong_signature_shows_what_was_signed_and_what_was_tried() {
    let rig = Rig::new().await;
    let ask = changed(|form| form.secret = "wrong".to_owned());
    let told = explained(&rig, &ask.send(&rig).await).await;
    let signed = told["signature"]["string_to_sign"].as_str().unwrap();
    assert!(
        STANDARD
            .decode(signed)
            .unwrap()
            .starts_with(b"{\"expiration\"")
    );
    assert!(told["signature"]["tried"].as_array().unwrap().len() > 4);
    assert_eq!(told["signature"]["verdict"], "wrong");
    // With a session token in the policy, neither the token nor the text that holds it is shown.
    let ask = changed(|form| {
        form.covered("x-amz-security-token", TOKEN);
        form.secret = "wrong".to_owned();
    });
    let told = explained(&rig, &ask.send(&rig).await).await;
    let signed = told["signature"]["string_to_sign"].as_str().unwrap();
    assert!(signed.ends_with(" characters)"), "{signed}");
    assert!(!told.to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_link_lives_for_minutes_by_the_servers_clock_and_opens_nothing_else() {
    let rig = Rig::new().await;
    let answer = changed(|form| form.secret = "wrong".to_owned())
        .send(&rig)
        .await;
    let path = link(&answer);
    rig.advance(LIFETIME - Duration::from_millis(1));
    assert_eq!(read(&rig, &path, "*/*").await.status.as_u16(), 200);
    rig.advance(Duration::from_millis(1));
    let unknown = format!("/v1/explain/{}", "0".repeat(2 * ID_BYTES));
    for gone in [path.as_str(), &unknown, "/v1/explain/x"] {
        let answer = read(&rig, gone, "*/*").await;
        let (status, code, detail) = answer.refusal();
        assert_eq!((status, code.as_str()), (404, "0x0000004"), "{gone}");
        assert!(detail.contains("15 minutes"), "{detail}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = rig.request(method, &path, &[], "").await;
        assert_eq!(answer.status.as_u16(), 405, "{method}");
        assert!(!answer.headers.contains_key("x-pillarbox-explain"));
    }
}

#[tokio::test]
async fn the_page_is_safe_to_look_at_and_kept_by_nobody() {
    let rig = Rig::new().await;
    let answer = changed(|form| {
        _ = form.set(
            "x-<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
        )
    })
    .send(&rig)
    .await;
    let path = link(&answer);
    for (accept, content_type) in [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html; charset=utf-8",
        ),
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/xml", "application/xml"),
    ] {
        let page = read(&rig, &path, accept).await;
        assert_eq!(page.header("content-type"), content_type, "{accept}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("sandbox") && policy.contains("default-src 'none'"),
            "{policy}"
        );
        let text = page.text();
        let is_markup = content_type.starts_with("text/html") || content_type.ends_with("xml");
        assert!(
            !is_markup || (!text.contains("<script>") && !text.contains("<img")),
            "{text}"
        );
        let head = rig.request("HEAD", &path, &[("accept", accept)], "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), text.len().to_string());
    }
    let human = rig
        .request(
            "GET",
            &format!("{path}?human=true&format=json"),
            &[("accept", "text/html")],
            "",
        )
        .await;
    assert!(
        human.text().starts_with("{\n  \"explanation\""),
        "{}",
        human.text()
    );
    let origin = [("origin", "https://page.example")];
    let cross = rig.request("GET", &path, &origin, "").await;
    assert_eq!(cross.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn only_dev_explains_in_the_answer_itself() {
    for dev in [true, false] {
        let rig = Rig::with(|options| options.dev = dev).await;
        let mut form = valid();
        form.expiration = "2026-11-22T13:19:00Z".to_owned();
        form.sign();
        let answer = Ask::form(&form).send(&rig).await;
        let text = answer.text();
        assert_eq!(text.contains("<Explanation>"), dev, "{text}");
        let after_amazons = text.find("<HostId>") < text.find("<Explanation>");
        assert!(!dev || after_amazons, "{text}");
        let told = explained(&rig, &answer).await;
        assert_eq!(told["request"]["method"], "POST");
    }
    let rig = Rig::new().await;
    let answer = changed(|form| {
        form.condition("{\"acl\":\"private\"}")
            .set("acl", "x<y")
            .set("chunk", "0");
    })
    .send(&rig)
    .await;
    let text = answer.text();
    for part in [
        "<FailedCondition><Condition>[&quot;eq&quot;, &quot;$acl&quot;, &quot;private&quot;]</Condition><Wanted>exactly &apos;private&apos;</Wanted><Got>x&lt;y</Got></FailedCondition>",
        "<UncoveredField>chunk</UncoveredField>",
        "<Link>http://127.0.0.1:7080/v1/explain/",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn the_link_is_below_the_public_url_and_never_on_a_buckets_host() {
    let rig =
        Rig::with(|options| options.public_url = Some("https://files.example.com/box".to_owned()))
            .await;
    let answer = changed(|form| form.secret = "wrong".to_owned())
        .send(&rig)
        .await;
    let link = answer.header("x-pillarbox-explain");
    let path = link.strip_prefix("https://files.example.com").unwrap();
    assert!(path.starts_with("/box/v1/explain/"), "{link}");
    assert_eq!(
        read(&rig, path, "*/*").await.status.as_u16(),
        200,
        "a proxy may pass the prefix on"
    );
    let rig = Rig::new().await;
    let mut ask = changed(|form| form.secret = "wrong".to_owned());
    ask.path = "/".to_owned();
    ask.headers
        .push(("host", "uploads.localhost:7080".to_owned()));
    let answer = ask.send(&rig).await;
    let link = answer.header("x-pillarbox-explain");
    let path = link.strip_prefix("http://localhost:7080").unwrap();
    let told = read(&rig, path, "*/*").await.json()["explanation"].clone();
    assert_eq!(told["request"]["bucket_named_by"], "host");
}

#[tokio::test]
async fn what_is_told_of_paths_is_below_the_public_url() {
    let rig =
        Rig::with(|options| options.public_url = Some("https://files.example.com/box".to_owned()))
            .await;
    let bucket_host = "uploads.files.example.com";
    let no_bucket_host = "films.files.example.com";
    for (method, host, path, told) in [
        (
            "POST",
            HOST,
            "/box/uploads/x",
            "post it to /box/uploads/ and",
        ),
        ("POST", HOST, "/uploads/x", "post it to /box/uploads/ and"),
        ("POST", HOST, "/box//x", "post the form to /box/BUCKET/."),
        ("POST", HOST, "/box/", "post the form to /box/BUCKET/,"),
        ("PUT", HOST, "/box/uploads/x", "form-data to /box/BUCKET/,"),
        ("POST", bucket_host, "/box/x", "post it to /box/ and"),
        ("POST", no_bucket_host, "/box/", "and to /box/BUCKET/."),
    ] {
        let bucket = if host == no_bucket_host {
            "films"
        } else {
            "uploads"
        };
        let mut ask = Ask::form(Form::new(bucket, "in/a.bin", FILE).sign());
        (ask.method, ask.path) = (method, path.to_owned());
        ask.headers.push(("host", host.to_owned()));
        let answer = ask.send(&rig).await;
        let link = answer.header("x-pillarbox-explain");
        let link = link.strip_prefix("https://files.example.com").unwrap();
        let read = read(&rig, link, "*/*").await.json();
        let cause = read["explanation"]["likely_cause"].as_str().unwrap();
        assert!(cause.contains(told), "{method} {host}{path}: {cause}");
    }
}

#[tokio::test]
async fn what_is_granted_or_no_form_post_has_no_link() {
    let rig = Rig::new().await;
    let granted = changed(|_| {}).send(&rig).await;
    assert_eq!(granted.status.as_u16(), 204);
    let get = rig.request("GET", "/uploads/", &[], "").await;
    let rest = rig.request("POST", "/v1/files/uploads/", &[], "").await;
    let preflight = rig.request("OPTIONS", "/uploads/", &[], "").await;
    for answer in [granted, get, rest, preflight] {
        assert!(
            !answer.headers.contains_key("x-pillarbox-explain"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_flood_of_refusals_takes_nobody_elses_explanation() {
    let rig = Rig::new().await;
    let ask = changed(|form| form.secret = "wrong".to_owned());
    let mine = link(&ask.send(&rig).await);
    let flooder = Connection {
        peer: Some(([192, 0, 2, 9], 1).into()),
        tls: false,
    };
    let mut last = String::new();
    for _ in 0..MAX_KEPT + 100 {
        last = link(&ask.send_from(&rig, flooder).await);
    }
    for path in [mine, last] {
        assert_eq!(
            read(&rig, &path, "*/*").await.status.as_u16(),
            200,
            "{path}"
        );
    }
}

// Without a server.

/// What only a server knows, so that a saved request cannot show it.
const ONLY_A_SERVER_KNOWS: [&str; 7] = [
    "a file that is too large, of which nobody says how large it is",
    "a token of another service",
    "a bucket that is not here",
    "a bucket in the host that is not here",
    "a strange framing",
    "an empty body",
    "no bytes",
];

fn options() -> Options {
    Options {
        bucket: None,
        key_id: Some(KEY_ID.to_owned()),
        secret: Some(Secret::new(SECRET.to_owned())),
        content_type: None,
        now: NOW,
    }
}

/// The request as it goes over the wire.
fn saved(ask: &Ask) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {HOST}\r\n", ask.method, ask.path);
    for (name, value) in &ask.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", ask.body.len()));
    [head.as_bytes(), &ask.body].concat()
}

async fn told(input: &[u8], options: &Options) -> Told {
    let mut told = explain_input(input.to_vec().into(), options).await.unwrap();
    assert_eq!(told.len(), 1);
    told.remove(0)
}

#[tokio::test]
async fn a_saved_request_is_explained_as_the_server_explains_it() {
    let rig = Rig::new().await;
    for (sentence, ask, status, code, cause) in ROWS {
        if ONLY_A_SERVER_KNOWS.contains(sentence) {
            continue;
        }
        let ask = ask();
        let told = told(&saved(&ask), &options()).await;
        assert!(!told.granted, "{sentence}");
        let refusal = &told.report["refusal"];
        assert_eq!(refusal["status"], *status, "{sentence}: {refusal}");
        assert_eq!(refusal["code"], *code, "{sentence}: {refusal}");
        let likely = told.report["likely_cause"].as_str().unwrap();
        assert!(likely.contains(cause), "{sentence}: {likely}");
        let page = told.page().text();
        assert!(
            !page.contains(SECRET) && !page.contains(TOKEN),
            "{sentence}: {page}"
        );
        let answer = ask.send(&rig).await;
        let message = explained(&rig, &answer).await["refusal"]["message"].clone();
        assert_eq!(refusal["message"], message, "{sentence}");
    }
}

#[tokio::test]
async fn a_boundary_that_is_no_ascii_is_told_from_another_kind_of_body() {
    let mut ask = changed(|_| {});
    ask.headers = vec![(
        "content-type",
        "multipart/form-data; boundary=\u{e9}".to_owned(),
    )];
    let told = told(&saved(&ask), &options()).await;
    assert_eq!(told.report["refusal"]["code"], "PreconditionFailed");
    let likely = told.report["likely_cause"].as_str().unwrap();
    assert!(likely.contains("all of it is plain ASCII"), "{likely}");
}

#[tokio::test]
async fn a_saved_request_that_a_server_would_grant_is_granted() {
    let ask = changed(|form| {
        form.covered("Content-MD5", &STANDARD.encode(md5(FILE)));
        form.condition("[\"content-length-range\",21,21]");
    });
    let whole = saved(&ask);
    let granted = told(&whole, &options()).await;
    assert!(granted.granted, "{}", granted.page().text());
    assert_eq!(granted.report["signature"]["verdict"], "right");
    // Without the secret the rest is judged, and the page says so.
    let without = Options {
        secret: None,
        key_id: None,
        ..options()
    };
    let unchecked = told(&whole, &without).await;
    assert!(unchecked.granted);
    let page = unchecked.page().text();
    assert!(
        page.starts_with("Granted, if the signature is right") && page.contains("was not checked"),
        "{page}"
    );
    // As a bare body, with and without its Content-Type; chunked; with a version and without the length that tools leave out.
    let mut typed = options();
    typed.content_type = Some(content_type());
    let (chunked, bare) = (chunked(&ask), without_length(&ask));
    for (what, input, options) in [
        ("a body", &ask.body, &options()),
        ("a body with its type", &ask.body, &typed),
        ("chunks", &chunked, &options()),
        (
            "no length, HTTP/2, bare line ends in the head",
            &bare,
            &options(),
        ),
    ] {
        let told = told(input, options).await;
        assert!(told.granted, "{what}: {}", told.page().text());
    }
    let late = Options {
        now: NOW.plus(Duration::from_secs(7 * 24 * 3600)),
        ..options()
    };
    assert!(!told(&whole, &late).await.granted, "judged at another time");
    let other = Options {
        bucket: Some(Bucket::parse("other").unwrap()),
        ..options()
    };
    assert!(
        !told(&ask.body, &other).await.granted,
        "judged for another bucket"
    );
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    pillarbox::model::decode_hex(&pillarbox::model::Md5::of(bytes).hex()).unwrap()
}

fn chunked(ask: &Ask) -> Vec<u8> {
    let mut input = format!(
        "POST /uploads HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        content_type()
    )
    .into_bytes();
    for part in ask.body.chunks(100) {
        input.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        input.extend_from_slice(part);
        input.extend_from_slice(b"\r\n");
    }
    input.extend_from_slice(b"0\r\n\r\n");
    input
}

fn without_length(ask: &Ask) -> Vec<u8> {
    let head = format!(
        "POST /uploads/ HTTP/2\nhost: {HOST}\ncontent-type: {}\n\n",
        content_type()
    );
    [head.as_bytes(), &ask.body].concat()
}

#[tokio::test]
async fn a_saved_form_of_a_session_names_its_session_and_takes_one_file() {
    let rig = Rig::new().await;
    let fields = session(&rig, "own.bin").await;
    let mut form = chunk_form(&fields, FILE, &[]);
    let told = told(&form.encode(), &options()).await;
    assert!(told.granted, "{}", told.page().text());
    assert_eq!(told.report["session"].as_str().unwrap().len(), 24);
    form.trailing.push(("file".to_owned(), "second".to_owned()));
    let two = explain_input(form.encode().into(), &options())
        .await
        .unwrap();
    let cause = two[0].report["likely_cause"].as_str().unwrap();
    assert!(
        cause.contains("Two parts of the form are called 'file'"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_saved_form_that_was_cut_shows_what_came() {
    let ask = changed(|_| {});
    let cut = &ask.body[..ask.body.len() - 20];
    let told = told(cut, &options()).await;
    assert_eq!(told.report["refusal"]["code"], "MalformedPOSTRequest");
    assert_eq!(told.report["fields"][0]["value"], "in/a.bin");
    assert!(
        told.report["likely_cause"]
            .as_str()
            .unwrap()
            .contains("--BOUNDARY--")
    );
}

#[tokio::test]
async fn the_form_posts_of_a_har_file_are_found_and_explained() {
    let ask = changed(|form| _ = form.set("submit", "Send"));
    let text = String::from_utf8(ask.body.clone()).unwrap();
    let params = |file_first: bool| {
        let mut form = valid();
        form.sign();
        let mut params: Vec<_> = form
            .fields
            .iter()
            .map(|(name, value)| serde_json::json!({ "name": name, "value": value }))
            .collect();
        let file =
            serde_json::json!({ "name": "file", "fileName": "a.bin", "contentType": "image/png" });
        params.insert(if file_first { 0 } else { params.len() }, file);
        params
    };
    let entry = |url: &str, data: Value| {
        serde_json::json!({
            "request": {
                "method": "POST",
                "url": url,
                "headers": [{ "name": "Content-Type", "value": content_type() }],
                "postData": data,
            },
            "response": { "status": 403 },
        })
    };
    let har = serde_json::json!({ "log": { "entries": [
        { "request": { "method": "GET", "url": "http://127.0.0.1/" } },
        entry("http://127.0.0.1:7080/uploads/?", serde_json::json!({ "mimeType": content_type(), "text": text })),
        entry("http://127.0.0.1:7080/uploads/", serde_json::json!({ "mimeType": content_type(), "params": params(false) })),
        entry("http://127.0.0.1:7080/uploads/", serde_json::json!({ "mimeType": content_type(), "params": params(true) })),
        entry("http://127.0.0.1:7080/uploads/\u{1b}[2J?token=hidden", serde_json::json!({ "mimeType": content_type() })),
    ]}});
    let input = serde_json::to_vec(&har).unwrap();
    let told = explain_input(input.into(), &options()).await.unwrap();
    let sources: Vec<_> = told
        .iter()
        .map(|told| told.source.clone().unwrap())
        .collect();
    assert_eq!(sources.len(), 4);
    assert!(
        sources[0].starts_with("entry 1: POST http://127.0.0.1:7080/uploads/"),
        "{sources:?}"
    );
    assert!(!sources[3].contains("hidden") && !sources[3].contains('\u{1b}'));
    assert_eq!(told[0].report["uncovered"], serde_json::json!(["submit"]));
    assert!(told[1].granted, "{}", told[1].page().text());
    let late = told[2].report["likely_cause"].as_str().unwrap();
    assert!(
        late.contains("The file comes before the fields 'key'"),
        "{late}"
    );
    assert!(
        told[3].page().text().contains("has no body"),
        "{}",
        told[3].page().text()
    );
    assert!(told[1].page().text().contains("answered with 403"));
    let none = br#"{"log":{"entries":[]}}"#.to_vec();
    let why = explain_input(none.into(), &options()).await.unwrap_err();
    assert!(why.contains("no request is a POST"), "{why}");
}

#[tokio::test]
async fn a_policy_is_explained_in_base64_and_in_json() {
    let json = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[{"bucket":"box"},["starts-with","$key","in/"]]}"#;
    for input in [
        json.to_owned(),
        format!("  {json}\n"),
        format!("\u{feff}{json}"),
        STANDARD.encode(json),
        STANDARD.encode(json) + "\n",
    ] {
        let told = told(input.as_bytes(), &options()).await;
        assert!(told.granted, "{input}: {}", told.page().text());
        let page = told.page().text();
        assert!(page.contains("a value that begins with 'in/'"), "{page}");
    }
    for (input, part) in [
        (
            "{'expiration':'2030-01-01T00:00:00Z','conditions':[]}",
            "single quotes",
        ),
        (
            "{\"expiration\":\"2020-01-01T00:00:00Z\",\"conditions\":[]}",
            "Policy expired",
        ),
        (
            "{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[]}",
            "No condition names the bucket",
        ),
    ] {
        let told = told(input.as_bytes(), &options()).await;
        let page = told.page().text();
        assert!(!told.granted && page.contains(part), "{input}: {page}");
    }
}

#[tokio::test]
async fn what_can_be_nothing_is_refused_in_a_sentence() {
    for (input, part) in [
        (&b""[..], "is neither"),
        (b"<html>", "is neither"),
        (b"\xff\xfe\x00", "is neither"),
        (
            b"POST / HTTP/1.1\r\nBroken header\r\n\r\n",
            "is no HTTP request",
        ),
        (
            b"{\"log\":{\"entries\":[",
            "looks like a HAR file and is no JSON",
        ),
    ] {
        let why = explain_input(input.to_vec().into(), &options())
            .await
            .unwrap_err();
        assert!(why.contains(part), "{input:?}: {why}");
    }
    let large = vec![b'a'; MAX_INPUT_BYTES + 1];
    let why = explain_input(large.into(), &options()).await.unwrap_err();
    assert!(why.contains("larger than 64 MiB"), "{why}");
}

#[tokio::test]
async fn a_refusal_in_the_style_of_an_uploader_says_its_cause_in_dev_too() {
    let rig = Rig::new().await;
    for style in ["json", "text"] {
        let of = session(&rig, &format!("a.bin&answer={style}")).await;
        let answer = chunk(&of, FILE, &[("chunk", "7")]).send(&rig).await;
        let cause = match style {
            "json" => answer.json()["likely_cause"].as_str().unwrap().to_owned(),
            _ => answer
                .text()
                .split_once("Most likely: ")
                .unwrap()
                .1
                .to_owned(),
        };
        assert!(
            cause.starts_with("Chunks are counted from 0"),
            "{style}: {cause}"
        );
        let told = explained(&rig, &answer).await;
        assert_eq!(told["likely_cause"], cause, "{style}");
    }
}
