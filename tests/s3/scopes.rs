//! Access keys with limits: every operation by every kind of key, over HTTP. What a key may not do is refused, changes nothing, and says why
//! to whoever asks for the explanation.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::{form, sigv4, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form::{Form, content_type};
use pillarbox::model::{AccessKey, Action, Bucket, BucketConfig, KeyLimits, Md5, Target};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{
    Catalog as _, CatalogEntry, CatalogKey, CatalogKind, KeyEntry, KeyQuery, ObjectStore as _,
};
use serde_json::{Value, json};
use sigv4::{Signed, code, element, elements};
use support::{Answer, NOW, Rig};

const BYTES: &[u8] = b"the bytes of the object";

/// A key pair with limits, or the dev key's.
struct Key {
    name: &'static str,
    id: String,
    secret: String,
}

impl Key {
    async fn new(rig: &Rig, name: &'static str, limits: Value) -> Self {
        let made = rig.control("POST", "/keys", limits.to_string()).await;
        assert_eq!(made.status, 200, "{limits}: {}", made.text());
        let member = |name: &str| made.json()[name].as_str().unwrap().to_owned();
        Self {
            name,
            id: member("access_key"),
            secret: member("secret_key"),
        }
    }

    fn signs(&self, request: Signed) -> Signed {
        request.by(&self.id, &self.secret)
    }

    async fn ask(&self, rig: &Rig, method: &str, path: &str) -> Answer {
        self.signs(Signed::new(method, path)).send(rig).await
    }

    /// Posts a form for the key of an object, signed in this version.
    async fn post(&self, rig: &Rig, version: u8, bucket: &str, key: &str) -> Answer {
        let form = Form::new(bucket, key, BYTES);
        self.post_form(rig, version, bucket, form).await
    }

    async fn post_form(&self, rig: &Rig, version: u8, bucket: &str, mut form: Form) -> Answer {
        form.secret.clone_from(&self.secret);
        match version {
            2 => form.set("AWSAccessKeyId", &self.id).sign(),
            _ => form.sign_v4(&self.id),
        };
        let headers = [("content-type", &*content_type())];
        rig.request("POST", &format!("/{bucket}/"), &headers, form.encode())
            .await
    }
}

/// One key of each kind; the order is that of the columns below.
async fn keys(rig: &Rig) -> [Key; 6] {
    [
        Key::new(rig, "no limit", json!({})).await,
        Key::new(rig, "read-only", json!({"permission": "read"})).await,
        Key::new(rig, "write-only", json!({"permission": "write"})).await,
        Key::new(rig, "other bucket", json!({"buckets": ["films"]})).await,
        Key::new(rig, "other prefix", json!({"prefixes": ["out/", "in/b"]})).await,
        Key::new(
            rig,
            "this bucket and prefix",
            json!({"permission": "read_write", "buckets": ["films", "box"], "prefixes": ["in/"]}),
        )
        .await,
    ]
}

/// Which of the keys may.
type May = [bool; 6];
const LISTS_BUCKETS: May = [true, true, false, true, true, true];
const READS: May = [true, true, false, false, false, true];
const READS_BUCKET: May = [true, true, false, false, true, true];
const READS_WHOLE: May = [true, true, false, false, false, false];
const WRITES: May = [true, false, true, false, false, true];
const WRITES_WHOLE: May = [true, false, true, false, false, false];
const COPIES: May = [true, false, false, false, false, true];
const COPIES_FROM_ELSEWHERE: May = [true, false, false, false, false, false];

/// One operation, who may, and the answer to them: none where another file of tests says what it is.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    May,
    Option<(u16, &'static str)>,
);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("ListBuckets", "GET", "/", LISTS_BUCKETS, Some((200, ""))),
    Row("HeadBucket", "HEAD", "/box", READS_BUCKET, Some((200, ""))),
    Row("GetBucketLocation", "GET", "/box?location", READS_BUCKET, Some((200, ""))),
    Row("GetBucketVersioning", "GET", "/box?versioning", READS_WHOLE, Some((200, ""))),
    Row("GetBucketPolicy", "GET", "/box?policy", READS_WHOLE, Some((404, "NoSuchBucketPolicy"))),
    Row("a question that nobody knows", "GET", "/box?inventory", READS_WHOLE, Some((501, "NotImplemented"))),
    Row("a change that nobody knows", "PUT", "/box?inventory", WRITES_WHOLE, Some((501, "NotImplemented"))),
    Row("GetBucketAcl", "GET", "/box?acl", READS_WHOLE, Some((200, ""))),
    Row("PutBucketAcl", "PUT", "/box?acl", WRITES_WHOLE, Some((400, "MissingSecurityHeader"))),
    Row("GetBucketCors", "GET", "/box?cors", READS_WHOLE, Some((404, "NoSuchCORSConfiguration"))),
    Row("PutBucketCors", "PUT", "/box?cors", WRITES_WHOLE, Some((400, "MissingRequestBodyError"))),
    Row("DeleteBucketCors", "DELETE", "/box?cors", WRITES_WHOLE, Some((204, ""))),
    Row("GetBucketLifecycle", "GET", "/box?lifecycle", READS_WHOLE, Some((404, "NoSuchLifecycleConfiguration"))),
    Row("PutBucketLifecycle", "PUT", "/box?lifecycle", WRITES_WHOLE, Some((400, "MissingRequestBodyError"))),
    Row("DeleteBucketLifecycle", "DELETE", "/box?lifecycle", WRITES_WHOLE, Some((204, ""))),
    Row("a setting is changed", "PUT", "/box?versioning", WRITES_WHOLE, None),
    Row("a setting is removed", "DELETE", "/box?website", WRITES_WHOLE, None),
    Row("two questions at once", "GET", "/box?location&versioning", READS_WHOLE, Some((400, "InvalidArgument"))),
    Row("CreateBucket", "PUT", "/box", WRITES_WHOLE, Some((200, ""))),
    Row("DeleteBucket", "DELETE", "/box", WRITES_WHOLE, Some((409, "BucketNotEmpty"))),
    Row("a method that nobody knows", "PATCH", "/box", WRITES_WHOLE, Some((405, "MethodNotAllowed"))),
    Row("ListObjects", "GET", "/box?prefix=in/", READS, Some((200, ""))),
    Row("ListObjects below more", "GET", "/box?prefix=in/a", READS, Some((200, ""))),
    Row("ListObjectsV2", "GET", "/box?list-type=2&prefix=in/", READS, Some((200, ""))),
    Row("ListObjectVersions", "GET", "/box?versions&prefix=in/", READS, Some((200, ""))),
    Row("ListMultipartUploads", "GET", "/box?uploads&prefix=in/", READS, None),
    Row("ListObjects of all", "GET", "/box", READS_WHOLE, Some((200, ""))),
    Row("ListObjects of nearly all", "GET", "/box?prefix=in", READS_WHOLE, Some((200, ""))),
    Row("ListObjectsV2 from a place on", "GET", "/box?list-type=2&start-after=in/", READS_WHOLE, Some((200, ""))),
    Row("ListObjectsV2 in groups", "GET", "/box?list-type=2&delimiter=/", READS_WHOLE, Some((200, ""))),
    Row("ListObjectVersions of all", "GET", "/box?versions", READS_WHOLE, Some((200, ""))),
    Row("GetObject", "GET", "/box/in/a", READS, Some((200, ""))),
    Row("GetObject of nothing", "GET", "/box/in/nothing", READS, Some((404, "NoSuchKey"))),
    Row("HeadObject", "HEAD", "/box/in/a", READS, Some((200, ""))),
    Row("GetObjectTagging", "GET", "/box/in/a?tagging", READS, None),
    Row("GetObjectAcl", "GET", "/box/in/a?acl", READS, None),
    Row("GetObjectAttributes", "GET", "/box/in/a?attributes", READS, None),
    Row("ListParts", "GET", "/box/in/a?uploadId=1", READS, None),
    Row("PutObject", "PUT", "/box/in/new", WRITES, Some((200, ""))),
    Row("PutObject over another", "PUT", "/box/in/a", WRITES, Some((200, ""))),
    Row("PutObjectTagging", "PUT", "/box/in/a?tagging", WRITES, None),
    Row("PutObjectAcl", "PUT", "/box/in/a?acl", WRITES, None),
    Row("DeleteObject", "DELETE", "/box/in/a", WRITES, Some((204, ""))),
    Row("DeleteObject of nothing", "DELETE", "/box/in/nothing", WRITES, Some((204, ""))),
    Row("DeleteObjectTagging", "DELETE", "/box/in/a?tagging", WRITES, None),
    Row("CreateMultipartUpload", "POST", "/box/in/a?uploads", WRITES, None),
    Row("UploadPart", "PUT", "/box/in/a?partNumber=1&uploadId=1", WRITES, None),
    Row("UploadPartCopy", "PUT", "/box/in/new?partNumber=1&uploadId=1 < /box/in/a", COPIES, Some((404, "NoSuchUpload"))),
    Row("UploadPartCopy from another prefix", "PUT", "/box/in/new?partNumber=1&uploadId=1 < box/out/b", COPIES_FROM_ELSEWHERE, Some((404, "NoSuchUpload"))),
    Row("CompleteMultipartUpload", "POST", "/box/in/a?uploadId=1", WRITES, None),
    Row("AbortMultipartUpload", "DELETE", "/box/in/a?uploadId=1", WRITES, None),
    Row("a POST that nobody knows", "POST", "/box/in/a?select", WRITES, None),
    Row("CopyObject within", "PUT", "/box/in/new < /box/in/a", COPIES, Some((200, ""))),
    Row("CopyObject from another prefix", "PUT", "/box/in/new < box/out/b", COPIES_FROM_ELSEWHERE, Some((200, ""))),
    Row("CopyObject from another bucket", "PUT", "/box/in/new < films/in/a", COPIES, Some((200, ""))),
    Row("CopyObject to another prefix", "PUT", "/box/out/new < box/in/a", COPIES_FROM_ELSEWHERE, Some((200, ""))),
    Row("CopyObject from a bucket that is none", "PUT", "/box/in/new < secret/in/a", COPIES_FROM_ELSEWHERE, Some((404, "NoSuchBucket"))),
];

fn request(row: &Row) -> Signed {
    let Row(_, method, path, ..) = row;
    match path.split_once(" < ") {
        None if *method == "PUT" && path.contains("/in/") => Signed::new(method, path).body(BYTES),
        None => Signed::new(method, path),
        Some((path, source)) => Signed::new(method, path).header("x-amz-copy-source", source),
    }
}

/// Puts everything in its place: two buckets beside the configured one, and objects.
async fn fill(rig: &Rig) {
    for name in ["box", "films"] {
        let bucket = BucketConfig {
            name: Bucket::parse(name).unwrap(),
            created_at: NOW,
            public_write: false,
        };
        let entry = CatalogEntry::Bucket(bucket);
        rig.store.insert(entry).await.unwrap();
    }
    for path in ["/box/in/a", "/box/out/b", "/films/in/a"] {
        let answer = Signed::new("PUT", path).body(path).send(rig).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// All that is stored: each bucket and each object with its bytes' digest and its tags.
async fn contents(rig: &Rig) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in rig.store.list(CatalogKind::Bucket).await.unwrap() {
        let CatalogEntry::Bucket(bucket) = entry else {
            panic!("no bucket among buckets");
        };
        lines.push(bucket.name.to_string());
        let query = KeyQuery {
            limit: KeyQuery::MAX_LIMIT,
            ..KeyQuery::of(bucket.name)
        };
        let page = rig.store.list_keys(&query, NOW).await.unwrap();
        lines.extend(page.entries.iter().map(|entry| match entry {
            KeyEntry::Object(meta) => format!(
                "{} {} {} {:?} {:?}",
                meta.bucket, meta.key, meta.id, meta.etag, meta.attributes
            ),
            KeyEntry::Group(group) => panic!("a group {group}"),
        }));
    }
    lines
}

fn assert_denied(answer: &Answer, what: &str) {
    let told = (answer.status.as_u16(), code(answer));
    assert_eq!(told, (403, "AccessDenied".to_owned()), "{what}");
    assert_eq!(element(answer, "Message"), "Access Denied", "{what}");
    let link = answer.header("x-pillarbox-explain");
    assert!(link.contains("/v1/explain/"), "{what} does not say why");
}

#[tokio::test]
async fn every_operation_is_for_the_keys_that_may_and_changes_nothing_for_others() {
    let rig = Rig::new().await;
    let keys = keys(&rig).await;
    let mut is_stale = true;
    for row in ROWS {
        let Row(name, method, _, may, expected) = row;
        for (key, may) in keys.iter().zip(may) {
            for presigned in [false, true] {
                let what = format!("{name} with a key of {}, presigned {presigned}", key.name);
                if is_stale {
                    fill(&rig).await;
                }
                is_stale = *may && !["GET", "HEAD"].contains(method);
                let before = contents(&rig).await;
                let request = key.signs(request(row));
                let answer = match presigned {
                    true => request.send_presigned(&rig, 60).await,
                    false => request.send(&rig).await,
                };
                let told = (answer.status.as_u16(), code(&answer));
                match expected {
                    _ if !may && *method == "HEAD" => assert_eq!(told.0, 403, "{what}"),
                    _ if !may => assert_denied(&answer, &what),
                    Some((status, code)) => {
                        assert_eq!(told, (*status, (*code).to_owned()), "{what}");
                    }
                    None => assert_ne!(told.1, "AccessDenied", "{what}"),
                }
                if !may {
                    assert_eq!(contents(&rig).await, before, "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_form_does_what_the_key_that_signed_it_may_write_and_nothing_else() {
    let rig = Rig::new().await;
    let keys = keys(&rig).await;
    fill(&rig).await;
    for version in [2, 4] {
        for (key, may) in keys.iter().zip(WRITES) {
            let what = format!("V{version} by a key of {}", key.name);
            let before = contents(&rig).await;
            let answer = key.post(&rig, version, "box", "in/form").await;
            match may {
                true => assert_eq!(answer.status, 204, "{what}: {}", answer.text()),
                false => {
                    assert_denied(&answer, &what);
                    assert_eq!(contents(&rig).await, before, "{what}");
                }
            }
        }
        // The limit is that of the key, and not of the policy, which allows everything.
        let [.., limited] = &keys;
        for (bucket, name, may) in [
            ("box", "in/x", true),
            ("films", "in/x", true),
            ("uploads", "in/x", false),
            ("nowhere", "in/x", false),
            ("box", "in", false),
            ("box", "out/x", false),
            ("box", "x/in/", false),
        ] {
            let mut form = Form::new(bucket, name, BYTES);
            form.conditions.pop();
            form.condition("[\"starts-with\",\"$key\",\"\"]");
            let answer = limited.post_form(&rig, version, bucket, form).await;
            let what = format!("V{version}: {bucket}/{name}");
            assert_eq!(answer.status == 204, may, "{what}: {}", answer.text());
            if !may {
                assert_denied(&answer, &what);
            }
        }
    }
}

#[tokio::test]
async fn the_key_of_a_form_is_judged_after_the_file_name_was_put_in() {
    let rig = Rig::new().await;
    let limits = json!({"prefixes": ["in/holiday"]});
    let key = Key::new(&rig, "holidays", limits).await;
    for (name, file_name, may) in [
        ("in/${filename}", "holiday.mp4", true),
        ("in/${filename}", "secret.mp4", false),
        ("${filename}", "holiday.mp4", false),
        ("in/holiday/${filename}", "anything", true),
    ] {
        let mut form = Form::new("uploads", name, BYTES);
        form.conditions.pop();
        form.condition("[\"starts-with\",\"$key\",\"\"]");
        form.file_part.1 = Some(file_name.to_owned());
        let answer = key.post_form(&rig, 2, "uploads", form).await;
        assert_eq!(answer.status == 204, may, "{name} {file_name}");
    }
}

#[tokio::test]
async fn who_does_not_prove_his_signature_does_not_learn_what_the_key_may_do() {
    let rig = Rig::new().await;
    let key = Key::new(&rig, "read-only", json!({"permission": "read"})).await;
    let guess = Key {
        secret: "a guess".to_owned(),
        ..key
    };
    let answer = guess.ask(&rig, "PUT", "/uploads/a").await;
    assert_eq!(code(&answer), "SignatureDoesNotMatch");
    let answer = guess.post(&rig, 2, "uploads", "a").await;
    assert_eq!(code(&answer), "SignatureDoesNotMatch");
    let link = answer.header("x-pillarbox-explain").to_owned();
    let told = rig.request("GET", &link, &[], "").await.text();
    assert!(!told.contains("may only"), "{told}");
}

#[tokio::test]
async fn a_list_of_keys_is_removed_as_far_as_the_key_may() {
    let rig = Rig::new().await;
    let keys = keys(&rig).await;
    let list = "<Delete><Object><Key>in/a</Key></Object><Object><Key>out/b</Key></Object><Object><Key>x</Key></Object></Delete>";
    let expected = [
        Some("in/a out/b x |"),
        None,
        Some("in/a out/b x |"),
        None,
        Some("out/b | in/a x"),
        Some("in/a | out/b x"),
    ];
    for (key, expected) in keys.iter().zip(expected) {
        fill(&rig).await;
        let before = contents(&rig).await;
        let md5 = STANDARD.encode(Md5::of(list.as_bytes()).as_bytes());
        let request = Signed::new("POST", "/box?delete")
            .header("content-md5", &md5)
            .body(list);
        let answer = key.signs(request).send(&rig).await;
        let Some(expected) = expected else {
            assert_denied(&answer, key.name);
            assert_eq!(contents(&rig).await, before, "{}", key.name);
            continue;
        };
        assert_eq!(answer.status, 200, "{}", key.name);
        let (done, refused) = expected.split_once('|').unwrap();
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (done, refused) = (words(done), words(refused));
        let texts = elements(&answer, "Deleted");
        let deleted = texts
            .iter()
            .map(|text| text.replace("<Key>", "").replace("</Key>", ""));
        assert_eq!(deleted.collect::<Vec<_>>(), done, "{}", key.name);
        let errors = elements(&answer, "Error");
        assert_eq!(errors.len(), refused.len(), "{}", key.name);
        for (error, name) in errors.iter().zip(&refused) {
            let wanted = format!(
                "<Key>{name}</Key><Code>AccessDenied</Code><Message>Access Denied</Message>"
            );
            assert_eq!(*error, wanted);
        }
        let after = contents(&rig).await;
        for name in ["in/a", "out/b"] {
            let stands = after
                .iter()
                .any(|line| line.starts_with(&format!("box {name} ")));
            assert_eq!(stands, refused.contains(&name.to_owned()), "{}", key.name);
        }
    }
}

#[tokio::test]
async fn a_key_sees_the_buckets_that_it_may_read() {
    let rig = Rig::new().await;
    let keys = keys(&rig).await;
    fill(&rig).await;
    let all = ["box", "films", "uploads"].as_slice();
    let expected = [all, all, &[], &["films"], all, &["box", "films"]];
    for (key, expected) in keys.iter().zip(expected) {
        let answer = key.ask(&rig, "GET", "/").await;
        assert_eq!(elements(&answer, "Name"), expected, "{}", key.name);
    }
}

#[tokio::test]
async fn a_key_for_a_bucket_makes_it_and_removes_it() {
    let rig = Rig::new().await;
    let key = Key::new(&rig, "fresh", json!({"buckets": ["fresh"]})).await;
    let within = json!({"buckets": ["fresh"], "prefixes": ["in/"]});
    let within = Key::new(&rig, "below", within).await;
    for path in ["/fresh", "/other"] {
        assert_denied(&within.ask(&rig, "PUT", path).await, path);
    }
    assert_denied(&key.ask(&rig, "PUT", "/other").await, "another bucket");
    assert_eq!(key.ask(&rig, "PUT", "/fresh").await.status, 200);
    assert_denied(&within.ask(&rig, "DELETE", "/fresh").await, "below");
    assert_eq!(key.ask(&rig, "HEAD", "/fresh").await.status, 200);
    assert_eq!(key.ask(&rig, "DELETE", "/fresh").await.status, 204);
    // Whether a bucket is there, only those learn who may read it.
    assert_eq!(code(&key.ask(&rig, "GET", "/fresh").await), "NoSuchBucket");
    assert_denied(&key.ask(&rig, "GET", "/nowhere").await, "nowhere");
}

#[tokio::test]
async fn a_bucket_in_the_host_is_the_bucket_that_counts() {
    let rig = Rig::new().await;
    fill(&rig).await;
    let key = Key::new(&rig, "films", json!({"buckets": ["films"]})).await;
    for (host, path, may) in [
        ("films.localhost:7080", "/in/a", true),
        ("box.localhost:7080", "/in/a", false),
        ("box.localhost:7080", "/films/in/a", false),
    ] {
        let request = key.signs(Signed::new("GET", path)).host(host);
        let answer = request.send(&rig).await;
        assert_eq!(answer.status == 200, may, "{host}{path}: {}", answer.text());
        if !may {
            assert_denied(&answer, host);
        }
    }
}

/// A whole upload in parts by this key; the first refusal, or the answer to its end.
async fn upload_in_parts(rig: &Rig, key: &Key, path: &str) -> Answer {
    let begun = key.ask(rig, "POST", &format!("{path}?uploads")).await;
    if begun.status != 200 {
        return begun;
    }
    let id = element(&begun, "UploadId");
    let named = format!("{path}?uploadId={id}");
    let mut parts = String::new();
    for (number, bytes) in [(1, vec![b'x'; 5 << 20]), (2, BYTES.to_vec())] {
        let part = Signed::new("PUT", &format!("{named}&partNumber={number}")).body(bytes);
        let stored = key.signs(part).send(rig).await;
        assert_eq!(stored.status, 200, "{}", stored.text());
        let etag = stored.header("etag");
        parts.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    let list = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let end = Signed::new("POST", &named).body(list);
    key.signs(end).send(rig).await
}

/// An upload that the dev key began, with one part; its id, and the list that would end it.
async fn foreign_upload(rig: &Rig, path: &str) -> (String, String) {
    let begun = Signed::new("POST", &format!("{path}?uploads"))
        .send(rig)
        .await;
    let id = element(&begun, "UploadId");
    let part = Signed::new("PUT", &format!("{path}?uploadId={id}&partNumber=1")).body(BYTES);
    let part = part.send(rig).await;
    let etag = part.header("etag");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    (id, list)
}

#[tokio::test]
async fn a_limited_key_carries_out_a_whole_upload_in_parts_within_its_limits_and_none_outside() {
    let rig = Rig::new().await;
    fill(&rig).await;
    let keys = keys(&rig).await;
    for (path, may) in [
        ("/box/in/parts", WRITES),
        ("/box/out/parts", [true, false, true, false, true, false]),
        ("/films/in/parts", [true, false, true, true, false, true]),
    ] {
        for (key, may) in keys.iter().zip(may) {
            let case = format!("{path} by {}", key.name);
            let before = contents(&rig).await;
            let answer = upload_in_parts(&rig, key, path).await;
            let there = Signed::new("GET", path).send(&rig).await;
            if may {
                assert_eq!(answer.status, 200, "{case}: {}", answer.text());
                assert_eq!(there.body.len(), (5 << 20) + BYTES.len(), "{case}");
                let removed = Signed::new("DELETE", path).send(&rig).await;
                assert_eq!(removed.status, 204, "{case}");
            } else {
                assert_denied(&answer, &case);
            }
            assert_eq!(contents(&rig).await, before, "{case}");
        }
        // Nor can a key take part in an upload that somebody else began where it may not write.
        let (id, list) = foreign_upload(&rig, path).await;
        for (key, _) in keys.iter().zip(may).filter(|(_, may)| !may) {
            let at = |rest: &str| format!("{path}?uploadId={id}{rest}");
            for request in [
                Signed::new("PUT", &at("&partNumber=2")).body(BYTES),
                Signed::new("POST", &at("")).body(list.clone()),
                Signed::new("DELETE", &at("")),
            ] {
                let case = format!("{} {path} by {}", request.method, key.name);
                assert_denied(&key.signs(request).send(&rig).await, &case);
            }
        }
        let there = Signed::new("GET", path).send(&rig).await;
        assert_eq!(code(&there), "NoSuchKey", "{path}");
        let parts = Signed::new("GET", &format!("{path}?uploadId={id}"))
            .send(&rig)
            .await;
        assert_eq!(elements(&parts, "PartNumber"), ["1"], "{path}");
    }
}

#[tokio::test]
async fn a_temporary_key_may_have_limits_too() {
    let rig = Rig::new().await;
    fill(&rig).await;
    let asked = json!({"temporary": 60, "permission": "read", "buckets": ["box"]});
    let made = rig.control("POST", "/keys", asked.to_string()).await;
    let made = made.json();
    let member = |name: &str| made[name].as_str().unwrap();
    let (id, secret, token) = (
        member("access_key"),
        member("secret_key"),
        member("session_token"),
    );
    for (method, path, status) in [
        ("GET", "/box/in/a", 200),
        ("PUT", "/box/in/a", 403),
        ("GET", "/films/in/a", 403),
    ] {
        let request = Signed::new(method, path)
            .by(id, secret)
            .header("x-amz-security-token", token);
        let answer = request.send(&rig).await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let mut form = Form::new("box", "in/form", BYTES);
    form.covered("x-amz-security-token", token);
    let key = Key {
        name: "temporary",
        id: id.to_owned(),
        secret: secret.to_owned(),
    };
    assert_denied(&key.post_form(&rig, 4, "box", form).await, "temporary");
}

/// The sentence behind the link of a refusal.
async fn explained(rig: &Rig, answer: &Answer) -> String {
    let link = answer.header("x-pillarbox-explain").to_owned();
    let told = rig.request("GET", &link, &[], "").await;
    assert_eq!(told.status, 200, "{}", told.text());
    let explanation = &told.json()["explanation"];
    assert_eq!(explanation["refusal"]["message"], "Access Denied");
    explanation["likely_cause"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_refusal_says_what_the_key_may_do() {
    let rig = Rig::new().await;
    fill(&rig).await;
    let [_, read, write, _, _, below] = keys(&rig).await;
    let within =
        "The access key may read and write only in buckets 'films', 'box' below prefix 'in/'";
    let (reads, writes) = (
        "The access key may only read",
        "The access key may only write",
    );
    let list = "; a list must ask for a prefix that begins so";
    for (key, method, path, start, end) in [
        (&read, "PUT", "/box/in/a", reads, ""),
        (&write, "GET", "/", writes, ""),
        (&write, "HEAD", "/box/in/a", writes, ""),
        (&below, "GET", "/box/out/b", within, ""),
        (&below, "GET", "/uploads/in/a", within, ""),
        (&below, "GET", "/box?list-type=2", within, list),
        (
            &below,
            "DELETE",
            "/box",
            within,
            ", and this is about the whole bucket",
        ),
    ] {
        let answer = key.ask(&rig, method, path).await;
        let sentence = format!("{start}{end}.");
        assert_eq!(explained(&rig, &answer).await, sentence, "{method} {path}");
    }
    let answer = read.ask(&rig, "GET", "/box/in/a").await;
    assert_eq!(answer.header("x-pillarbox-explain"), "");
    let answer = read.post(&rig, 2, "box", "in/form").await;
    let cause = explained(&rig, &answer).await;
    assert!(
        cause.starts_with("The access key may only read. A form can do no more than the key"),
        "{cause}"
    );
    let answer = below.post(&rig, 4, "box", "out/form").await;
    let cause = explained(&rig, &answer).await;
    assert!(cause.starts_with(&format!("{within}. A form")), "{cause}");
    // In dev the answer says it itself.
    let inline = element(&answer, "LikelyCause");
    assert!(inline.contains("below prefix"), "{}", answer.text());
}

#[tokio::test]
async fn limits_are_checked_when_a_key_is_made() {
    let rig = Rig::new().await;
    let long = "p".repeat(KeyLimits::MAX_PREFIX_BYTES + 1);
    for (asked, named) in [
        (
            json!({"permission": "all"}),
            "permission must be one of read_write, read, write.",
        ),
        (json!({"permission": ["read"]}), "permission must"),
        (
            json!({"buckets": ["films", "Films"]}),
            "buckets hold \\\"Films\\\", which must be 3 to 63",
        ),
        (json!({"buckets": "films"}), "buckets must be an array"),
        (json!({"buckets": [1]}), "buckets must be an array"),
        (
            json!({"buckets": vec!["box"; 17]}),
            "buckets must be at most 16.",
        ),
        (
            json!({"prefixes": vec!["p"; 17]}),
            "prefixes must be at most 16.",
        ),
        (json!({"prefixes": [""]}), "prefixes must not be empty"),
        (
            json!({"prefixes": ["a\nb"]}),
            "prefixes must not be empty or hold control",
        ),
        (
            json!({"prefixes": [long]}),
            "prefixes must be at most 1024 bytes",
        ),
        (
            json!({"bucket": ["box"]}),
            "bucket is unknown; there are temporary",
        ),
    ] {
        let answer = rig.control("POST", "/keys", asked.to_string()).await;
        let message = answer.json()["error"]["message"].to_string();
        assert_eq!(answer.status, 400, "{asked}");
        assert!(message.starts_with(&format!("\"{named}")), "{message}");
    }
    let listed = rig.control("GET", "/keys", "").await.json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "{listed}");
    let asked = "/keys?permission=write&buckets=box&buckets=films&prefixes=in/";
    let made = rig.control("POST", asked, "").await.json();
    for (member, value) in [
        ("permission", json!("write")),
        ("buckets", json!(["box", "films"])),
        ("prefixes", json!(["in/"])),
    ] {
        assert_eq!(made[member], value);
    }
}

async fn key_in(store: &EmbeddedStore, id: &str) -> AccessKey {
    let id = CatalogKey::AccessKey(id.to_owned());
    match store.find(&id).await.unwrap() {
        Some(CatalogEntry::AccessKey(key)) => key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn limits_outlive_the_index_and_keys_of_the_time_before_have_none() {
    let rig = Rig::new().await;
    let free = Key::new(&rig, "free", json!({})).await;
    let largest = json!({
        "permission": "read",
        "buckets": vec!["b".repeat(Bucket::MAX_BYTES); KeyLimits::MAX_BUCKETS],
        "prefixes": vec!["\"".repeat(64); KeyLimits::MAX_PREFIXES],
    });
    let largest = Key::new(&rig, "largest", largest).await;
    rig.store.close().await.unwrap();
    let snapshot = std::fs::read_to_string(rig.folder().join("catalog.json")).unwrap();
    // A key without limits is written as it was before there were any, which proves that those are read.
    assert_eq!(snapshot.matches("\"limits\"").count(), 1);
    let moved = tempfile::tempdir().unwrap();
    for name in ["FORMAT", "catalog.json"] {
        std::fs::copy(rig.folder().join(name), moved.path().join(name)).unwrap();
    }
    let options = Options {
        ballast_bytes: 0,
        ..Options::new(moved.path())
    };
    let store = EmbeddedStore::open(options, NOW).await.unwrap();
    let of_free = key_in(&store, &free.id).await.limits;
    let of_largest = key_in(&store, &largest.id).await.limits;
    store.close().await.unwrap();
    assert!(of_free.is_none());
    let quotes = "\"".repeat(64);
    assert!(
        of_largest
            .check(Action::Read, Target::Object(&"b".repeat(63), &quotes))
            .is_ok()
    );
    assert!(of_largest.check(Action::Write, Target::Any).is_err());
    assert_eq!(of_largest.prefixes().len(), KeyLimits::MAX_PREFIXES);
}

#[tokio::test]
async fn a_key_that_may_not_read_cannot_let_everybody_read() {
    for (limits, expected) in [
        (json!({"permission": "write"}), (403, "AccessDenied")),
        (json!({}), (200, "")),
    ] {
        let rig = Rig::new().await;
        fill(&rig).await;
        let key = Key::new(&rig, "of the test", limits).await;
        for path in ["/box/in/a?acl", "/box?acl", "/fresh"] {
            let request = Signed::new("PUT", path).header("x-amz-acl", "public-read");
            let answer = key.signs(request).send(&rig).await;
            let found = (answer.status.as_u16(), code(&answer));
            assert_eq!(found, (expected.0, expected.1.to_owned()), "{path}");
        }
        // What was its own before, or changes nothing, it may.
        for (path, acl) in [("/box/in/a?acl", "private"), ("/box?acl", "private")] {
            let request = Signed::new("PUT", path).header("x-amz-acl", acl);
            let answer = key.signs(request).send(&rig).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_not_read_opens_nothing_that_takes_the_place_of_what_it_may_open() {
    let rig = Rig::new().await;
    let writer = Key::new(&rig, "a writer", json!({"permission": "write"})).await;
    let path = "/uploads/taken";
    let list = format!("{path}?acl");
    for number in 0..100 {
        let own = Signed::new("PUT", path).header("x-amz-acl", "public-read");
        let made = writer.signs(own.body("its own")).send(&rig).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let secret = Signed::new("PUT", path).body("secret");
        let opens = async {
            for acl in ["public-read-write", "public-read", "public-read-write"] {
                let request = Signed::new("PUT", &list).header("x-amz-acl", acl);
                writer.signs(request).send(&rig).await;
            }
        };
        let (put, ()) = tokio::join!(secret.send(&rig), opens);
        assert_eq!(put.status, 200, "{}", put.text());
        let shown = Signed::new("GET", &list).send(&rig).await;
        assert!(!shown.text().contains("AllUsers"), "the object {number}");
    }
}
