//! The S3 dialect, over HTTP: buckets, lists, deletes of many and copies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use std::time::Duration;

use crate::{sigv4, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillarbox::api::app::{AppOptions, BucketOptions};
use pillarbox::model::{Bucket, Md5};
use pillarbox::store::ObjectName;
use sigv4::{Signed, code, element, elements};
use support::{Answer, NOW, Rig};

async fn ask(rig: &Rig, method: &str, path: &str) -> Answer {
    Signed::new(method, path).send(rig).await
}

async fn put(rig: &Rig, path: &str) {
    let answer = Signed::new("PUT", path).body(path).send(rig).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

#[tokio::test]
async fn a_bucket_is_made_filled_emptied_and_removed() {
    let rig = Rig::new().await;
    assert_eq!(code(&ask(&rig, "HEAD", "/films").await), "");
    assert_eq!(ask(&rig, "HEAD", "/films").await.status, 404);
    for _ in 0..2 {
        let answer = ask(&rig, "PUT", "/films").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (200, "/films")
        );
    }
    let answer = ask(&rig, "HEAD", "/films").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-amz-bucket-region")),
        (200, "us-east-1")
    );
    assert_eq!(
        elements(&ask(&rig, "GET", "/").await, "Name"),
        ["films", "uploads"]
    );
    put(&rig, "/films/a").await;
    let answer = ask(&rig, "DELETE", "/films").await;
    assert_eq!(
        (answer.status.as_u16(), code(&answer).as_str()),
        (409, "BucketNotEmpty")
    );
    assert_eq!(ask(&rig, "DELETE", "/films/a").await.status, 204);
    assert_eq!(ask(&rig, "DELETE", "/films").await.status, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(code(&ask(&rig, method, "/films").await), "NoSuchBucket");
    }
    assert_eq!(code(&ask(&rig, "GET", "/films/a").await), "NoSuchBucket");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_is_refused_with_the_reason() {
    let change = |options: &mut AppOptions| {
        options.region = Some("eu-west-1".to_owned());
        options.public_url = Some("http://127.0.0.1:7080/box".to_owned());
        options.buckets = vec![BucketOptions {
            name: Bucket::parse("drop").unwrap(),
            public_write: false,
            cors: None,
        }];
    };
    let rig = Rig::with(|options| {
        change(options);
        options.region = None;
    })
    .await;
    for (method, path, expected) in [
        ("PUT", "/UPPER", "InvalidBucketName"),
        ("PUT", "/ab", "InvalidBucketName"),
        ("PUT", "/192.168.1.1", "InvalidBucketName"),
        ("PUT", "/xn--films", "InvalidBucketName"),
        ("PUT", "/films--ol-s3", "InvalidBucketName"),
        ("DELETE", "/uploads", "AccessDenied"),
        ("DELETE", "/drop", "AccessDenied"),
        ("DELETE", "/nowhere", "NoSuchBucket"),
        ("PUT", "/uploads?versioning", "MissingRequestBodyError"),
        ("PUT", "/uploads?policy", "NotImplemented"),
        ("POST", "/uploads?uploads", "PreconditionFailed"),
        ("PATCH", "/uploads", "MethodNotAllowed"),
        ("GET", "/uploads?acl&policy", "InvalidArgument"),
    ] {
        assert_eq!(
            code(&ask(&rig, method, path).await),
            expected,
            "{method} {path}"
        );
    }
    for (constraint, expected) in [
        ("<LocationConstraint>eu-west-1</LocationConstraint>", ""),
        ("<Bucket><Type>Directory</Type></Bucket>", "NotImplemented"),
        ("<LocationConstraint>", "MalformedXML"),
    ] {
        let body = format!("<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>");
        let answer = Signed::new("PUT", "/films").body(body).send(&rig).await;
        assert_eq!(code(&answer), expected, "{constraint}");
        assert_eq!(element(&answer, "Header"), "", "{constraint}");
    }
    for (ownership, expected) in [
        ("BucketOwnerEnforced", ""),
        ("ObjectWriter", ""),
        ("BucketOwnerPreferred", ""),
        ("Everybody", "InvalidArgument"),
    ] {
        let create = Signed::new("PUT", "/films").header("x-amz-object-ownership", ownership);
        assert_eq!(code(&create.send(&rig).await), expected, "{ownership}");
    }
}

#[tokio::test]
async fn buckets_are_listed_page_by_page() {
    let rig = Rig::new().await;
    for name in ["films-1", "films-2", "films-3", "music"] {
        assert_eq!(ask(&rig, "PUT", &format!("/{name}")).await.status, 200);
    }
    let names = async |question: &str| {
        let answer = ask(&rig, "GET", &format!("/?{question}")).await;
        let next = element(&answer, "ContinuationToken");
        (elements(&answer, "Name").join(" "), next)
    };
    let (page, next) = names("prefix=films&max-buckets=2").await;
    assert_eq!(page, "films-1 films-2");
    let rest = names(&format!(
        "prefix=films&max-buckets=2&continuation-token={next}"
    ))
    .await;
    assert_eq!(rest, ("films-3".to_owned(), String::new()));
    for (question, expected) in [
        ("prefix=m", "music"),
        ("prefix=films&max-buckets=3", "films-1 films-2 films-3"),
        ("bucket-region=us-east-1&prefix=mu", "music"),
        ("bucket-region=eu-west-1", ""),
    ] {
        let answer = names(question).await;
        assert_eq!(answer, (expected.to_owned(), String::new()), "{question}");
    }
    for question in ["max-buckets=0", "max-buckets=x", "continuation-token=%2F"] {
        let answer = ask(&rig, "GET", &format!("/?{question}")).await;
        assert_eq!(code(&answer), "InvalidArgument", "{question}");
    }
}

#[tokio::test]
async fn what_no_bucket_has_is_said_in_its_own_words() {
    let rig = Rig::new().await;
    for (setting, expected) in [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("website", "NoSuchWebsiteConfiguration"),
        (
            "encryption",
            "ServerSideEncryptionConfigurationNotFoundError",
        ),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("inventory", "NotImplemented"),
        ("location", ""),
        ("versioning", ""),
        ("requestPayment", ""),
    ] {
        let answer = ask(&rig, "GET", &format!("/uploads?{setting}")).await;
        assert_eq!(code(&answer), expected, "{setting}");
        assert!(
            answer.text().contains("xmlns=") || !expected.is_empty(),
            "{setting}"
        );
    }
}

/// Every page of a list with this many keys each: keys and groups in order.
async fn listed(
    rig: &Rig,
    list: &str,
    next: (&str, &str),
    size: usize,
) -> (Vec<String>, Vec<String>) {
    let (mut keys, mut groups, mut from) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..100 {
        let path = format!("{list}&max-keys={size}{from}");
        let answer = ask(rig, "GET", &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let (mut page, all) = (elements(&answer, "Key"), elements(&answer, "Prefix"));
        assert!(page.len() + all.len() - 1 <= size, "{path}");
        let last = page.last().cloned().unwrap_or_default();
        keys.append(&mut page);
        groups.extend(all.into_iter().skip(1));
        if element(&answer, "IsTruncated") == "false" {
            return (keys, groups);
        }
        let given = element(&answer, next.0);
        let given = if given.is_empty() { last } else { given };
        from = format!("&{}={given}", next.1);
    }
    panic!("{list} does not end");
}

#[tokio::test]
async fn every_kind_of_list_shows_everything_once_whatever_the_page() {
    let rig = Rig::new().await;
    let names = [
        "a", "b/1", "b/2", "b/c/3", "b0", "b/c/4", "c/", "c/x", "d", "\u{fc}/1", "\u{fc}/2",
    ];
    for name in names {
        put(
            &rig,
            &format!("/uploads/{}", sigv4::encode(name).replace("%2F", "/")),
        )
        .await;
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    let texts = |list: &[&str]| {
        list.iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let cases = [
        ("", sorted.clone(), vec![]),
        (
            "&prefix=b/",
            texts(&["b/1", "b/2", "b/c/3", "b/c/4"]),
            vec![],
        ),
        (
            "&delimiter=/",
            texts(&["a", "b0", "d"]),
            texts(&["b/", "c/", "\u{fc}/"]),
        ),
        (
            "&prefix=b/&delimiter=/",
            texts(&["b/1", "b/2"]),
            texts(&["b/c/"]),
        ),
        ("&prefix=c/&delimiter=/", texts(&["c/", "c/x"]), vec![]),
        ("&prefix=nothing", vec![], vec![]),
    ];
    for (list, next) in [
        (
            "/uploads?list-type=2",
            ("NextContinuationToken", "continuation-token"),
        ),
        ("/uploads?x-id=ListObjects", ("NextMarker", "marker")),
        ("/uploads?versions", ("NextKeyMarker", "key-marker")),
    ] {
        for (question, keys, groups) in &cases {
            for size in [1, 2, 3, 1000] {
                let list = format!("{list}{question}");
                let found = listed(&rig, &list, next, size).await;
                assert_eq!(found, (keys.clone(), groups.clone()), "{list} by {size}");
            }
        }
    }
}

#[tokio::test]
async fn a_list_says_what_it_is_a_list_of() {
    let rig = Rig::new().await;
    rig.advance(Duration::from_millis(279));
    put(&rig, "/uploads/a%20b/c").await;
    let answer = ask(
        &rig,
        "GET",
        "/uploads?list-type=2&encoding-type=url&prefix=a b&fetch-owner=true",
    )
    .await;
    for (name, value) in [
        ("Name", "uploads"),
        ("Prefix", "a%20b"),
        ("Key", "a%20b/c"),
        ("KeyCount", "1"),
        ("MaxKeys", "1000"),
        ("EncodingType", "url"),
        ("IsTruncated", "false"),
        ("Size", "16"),
        ("StorageClass", "STANDARD"),
        ("LastModified", "2026-11-22T13:20:00.000Z"),
        ("DisplayName", "pillarbox"),
    ] {
        assert_eq!(element(&answer, name), value, "{name}");
    }
    for (question, expected) in [
        ("list-type=3", "InvalidArgument"),
        ("encoding-type=hex", "InvalidArgument"),
        ("max-keys=-1", "InvalidArgument"),
        ("max-keys=many", "InvalidArgument"),
        ("list-type=2&continuation-token=%2F", "InvalidArgument"),
        ("versions&version-id-marker=null", "InvalidArgument"),
        ("versions&version-id-marker=null&key-marker=a", ""),
        ("max-keys=0", ""),
        ("max-keys=5000", ""),
    ] {
        let answer = ask(&rig, "GET", &format!("/uploads?{question}")).await;
        assert_eq!(code(&answer), expected, "{question}");
    }
    let none = ask(&rig, "GET", "/uploads?max-keys=0").await;
    assert_eq!(
        (
            element(&none, "IsTruncated").as_str(),
            element(&none, "Key").as_str()
        ),
        ("false", "")
    );
}

fn delete(body: &str) -> Signed {
    let md5 = STANDARD.encode(Md5::of(body.as_bytes()).as_bytes());
    Signed::new("POST", "/uploads?delete")
        .header("content-md5", &md5)
        .body(body)
}

#[tokio::test]
async fn many_objects_are_deleted_and_each_is_answered_for() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c%0Dd", "e"] {
        put(&rig, &format!("/uploads/{name}")).await;
    }
    let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a</Key></Object>\
        <Object><Key>nothing</Key><VersionId>null</VersionId></Object><Object><Key>c&#13;d</Key></Object>\
        <Object><Key>b</Key><VersionId>7</VersionId></Object><Object><Key>e</Key><ETag>x</ETag></Object></Delete>";
    let answer = delete(body).send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        elements(&answer, "Key"),
        ["a", "nothing", "c&#xd;d", "b", "e"]
    );
    assert_eq!(
        elements(&answer, "Code"),
        ["NoSuchVersion", "PreconditionFailed"]
    );
    assert_eq!(elements(&answer, "VersionId"), ["null", "7"]);
    assert_eq!(
        elements(&ask(&rig, "GET", "/uploads").await, "Key"),
        ["b", "e"]
    );
    let quiet = "<Delete><Object><Key>b</Key></Object><Quiet>true</Quiet></Delete>";
    let answer = delete(quiet).send(&rig).await;
    assert_eq!(elements(&answer, "Key"), Vec::<String>::new());
    assert_eq!(elements(&ask(&rig, "GET", "/uploads").await, "Key"), ["e"]);
}

#[tokio::test]
async fn a_list_of_keys_that_is_not_right_deletes_nothing() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let good = "<Delete><Object><Key>a</Key></Object></Delete>";
    let many = format!(
        "<Delete>{}</Delete>",
        "<Object><Key>a</Key></Object>".repeat(1001)
    );
    let long = format!(
        "<Delete><Object><Key>a</Key></Object>{}</Delete>",
        " ".repeat(8 << 20)
    );
    let unvouched = Signed::new("POST", "/uploads?delete").body(good);
    let unkept = unvouched
        .clone()
        .header("x-amz-trailer", "x-amz-checksum-crc32");
    let small = format!("<Delete>{}</Delete>", "<a/>".repeat(100_000));
    let of_object = |inner: &str| format!("<Delete><Object><Key>a</Key></Object>{inner}</Delete>");
    let of_key = |inner: &str| format!("<Delete><Object>{inner}</Object></Delete>");
    let other = delete(good).body("<Delete><Object><Key>b</Key></Object></Delete>");
    for (what, request, expected) in [
        ("unvouched", unvouched, "InvalidRequest"),
        (
            "a trailer without one",
            unkept.clone().payload("UNSIGNED-PAYLOAD"),
            "MalformedTrailerError",
        ),
        (
            "a trailer of a signed body",
            unkept,
            "MalformedTrailerError",
        ),
        ("many small", delete(&small), "MalformedXML"),
        (
            "two keys",
            delete(&of_key("<Key>a</Key><Key>b</Key>")),
            "MalformedXML",
        ),
        (
            "nested",
            delete(&of_key("<Key>a<b/></Key>")),
            "MalformedXML",
        ),
        (
            "no key",
            delete(&of_key("<VersionId>null</VersionId>")),
            "MalformedXML",
        ),
        (
            "an empty key",
            delete(&of_key("<Key></Key>")),
            "MalformedXML",
        ),
        ("text", delete(&of_key("x<Key>a</Key>")), "MalformedXML"),
        (
            "unknown of object",
            delete(&of_key("<Key>a</Key><Force/>")),
            "MalformedXML",
        ),
        ("text between", delete(&of_object("x")), "MalformedXML"),
        (
            "unknown",
            delete(&of_object("<Force>true</Force>")),
            "MalformedXML",
        ),
        (
            "perhaps quiet",
            delete(&of_object("<Quiet>perhaps</Quiet>")),
            "MalformedXML",
        ),
        ("junk", delete(&format!("junk{good}")), "MalformedXML"),
        ("other md5", other, "BadDigest"),
        ("too many", delete(&many), "MalformedXML"),
        ("too long", delete(&long), "EntityTooLarge"),
        ("none", delete("<Delete></Delete>"), "MalformedXML"),
        (
            "no list",
            delete("<Remove><Object><Key>a</Key></Object></Remove>"),
            "MalformedXML",
        ),
        (
            "a type",
            delete("<!DOCTYPE x><Delete><Object><Key>a</Key></Object></Delete>"),
            "MalformedXML",
        ),
        (
            "sha256",
            delete(good).payload(&sigv4::sha256(b"other")),
            "XAmzContentSHA256Mismatch",
        ),
    ] {
        assert_eq!(code(&request.send(&rig).await), expected, "{what}");
        assert_eq!(ask(&rig, "GET", "/uploads/a").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn a_list_may_be_as_long_as_a_thousand_keys_are() {
    let rig = Rig::new().await;
    put(&rig, "/uploads/a").await;
    let key = "&quot;".repeat(1020);
    let objects = (0..999).map(|n| format!("<Object><Key>{n:04}{key}</Key></Object>"));
    let body = format!(
        "<Delete>{}<Object><Key>a</Key></Object><Quiet>1</Quiet></Delete>",
        objects.collect::<String>()
    );
    let answer = delete(&body).send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(elements(&answer, "Code"), Vec::<String>::new());
    assert_eq!(ask(&rig, "GET", "/uploads/a").await.status, 404);
}

#[tokio::test]
async fn an_object_of_a_list_is_deleted_only_while_its_condition_holds() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c", "d"] {
        put(&rig, &format!("/uploads/{name}")).await;
    }
    let answer = ask(&rig, "HEAD", "/uploads/a").await;
    let body = format!(
        "<Delete><Object><Key>a</Key><ETag>{}</ETag></Object><Object><Key>b</Key><ETag>\"0\"</ETag></Object>\
         <Object><Key>c</Key><Size>1</Size></Object><Object><Key>x</Key><ETag>*</ETag></Object>\
         <Object><Key>d</Key><ETag>*</ETag></Object></Delete>",
        answer.header("etag")
    );
    let answer = delete(&body).send(&rig).await;
    assert_eq!(elements(&answer, "Key"), ["a", "b", "c", "x", "d"]);
    assert_eq!(
        elements(&answer, "Code"),
        ["PreconditionFailed", "NotImplemented", "NoSuchKey"]
    );
    let left = ask(&rig, "GET", "/uploads").await;
    assert_eq!(elements(&left, "Key"), ["b", "c"]);
}

#[tokio::test]
async fn a_copy_has_the_bytes_and_the_headers_of_its_source_or_those_it_was_given() {
    let rig = Rig::new().await;
    let stored = Signed::new("PUT", "/uploads/a%20b")
        .header("content-type", "text/x-a")
        .header("x-amz-meta-k", "old")
        .header("x-amz-storage-class", "STANDARD_IA")
        .body("bytes")
        .send(&rig)
        .await;
    let etag = stored.header("etag").to_owned();
    ask(&rig, "PUT", "/films").await;
    let copy = |source: &str| Signed::new("PUT", "/films/c").header("x-amz-copy-source", source);
    let answer = copy("/uploads/a%20b").send(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), element(&answer, "ETag")),
        (200, etag.replace('"', "&quot;"))
    );
    let copied = ask(&rig, "GET", "/films/c").await;
    assert_eq!(
        (copied.text().as_str(), copied.header("x-amz-meta-k")),
        ("bytes", "old")
    );
    assert_eq!(copied.header("content-type"), "text/x-a");
    assert_eq!(copied.header("x-amz-storage-class"), "");
    let replaced = copy("uploads/a%20b?versionId=null")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-k", "new");
    assert_eq!(replaced.send(&rig).await.status, 200);
    assert_eq!(
        ask(&rig, "GET", "/films/c").await.header("x-amz-meta-k"),
        "new"
    );
    for (what, request, expected) in [
        ("bucket", copy("/nowhere/a"), "NoSuchBucket"),
        ("key", copy("/uploads/nothing"), "NoSuchKey"),
        ("no key", copy("/uploads/"), "InvalidArgument"),
        ("no name", copy("uploads"), "InvalidArgument"),
        (
            "version",
            copy("/uploads/a%20b?versionId=7"),
            "InvalidArgument",
        ),
        ("itself", copy("/films/c"), "InvalidRequest"),
        (
            "directive",
            copy("/uploads/a%20b").header("x-amz-metadata-directive", "MOVE"),
            "InvalidArgument",
        ),
        (
            "condition",
            copy("/uploads/a%20b").header("x-amz-copy-source-if-none-match", &etag),
            "PreconditionFailed",
        ),
        (
            "own condition",
            copy("/uploads/a%20b").header("if-none-match", "*"),
            "PreconditionFailed",
        ),
    ] {
        assert_eq!(code(&request.send(&rig).await), expected, "{what}");
    }
    for (what, request) in [
        ("range", ("x-amz-copy-source-range", "bytes=0-1")),
        (
            "key of the client",
            (
                "x-amz-copy-source-server-side-encryption-customer-algorithm",
                "AES256",
            ),
        ),
    ] {
        let refused = copy("/uploads/a%20b").header(request.0, request.1);
        assert_eq!(code(&refused.send(&rig).await), "NotImplemented", "{what}");
    }
}

#[tokio::test]
async fn a_copy_onto_itself_changes_what_is_stored_with_the_object_and_nothing_else() {
    let rig = Rig::new().await;
    let long = "v".repeat(256);
    let tags = (0..10).map(|n| format!("{n}={long}")).collect::<Vec<_>>();
    let made = crate::drafts::draft("a", "bytes").expires(NOW.plus(Duration::from_secs(600)));
    let made = made.header("x-amz-meta-k", "old").store(&rig).await;
    let path = format!("/uploads/{}", made.key);
    let copy = || Signed::new("PUT", &path).header("x-amz-copy-source", &path);
    rig.advance(Duration::from_secs(60));
    let replace = copy()
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-tagging-directive", "REPLACE")
        .header("x-amz-tagging", &tags.join("&"))
        .header("x-amz-meta-k", "new");
    let answer = replace.send(&rig).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changed = ask(&rig, "GET", &path).await;
    for (name, value) in [
        ("x-amz-meta-k", "new"),
        ("x-amz-tagging-count", "10"),
        ("last-modified", "Sun, 22 Nov 2026 13:21:00 GMT"),
    ] {
        assert_eq!(changed.header(name), value, "{name}");
    }
    assert_eq!(changed.text(), "bytes");
    // Any of these is a change, also to what it is already.
    for (name, value) in [
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-website-redirect-location", "/b"),
    ] {
        let answer = copy().header(name, value).send(&rig).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(ask(&rig, "GET", &path).await.header("x-amz-meta-k"), "new");
    }
    assert_eq!(code(&copy().send(&rig).await), "InvalidRequest");
    let untagged = copy().header("x-amz-tagging-directive", "REPLACE");
    assert_eq!(untagged.send(&rig).await.status, 200);
    assert_eq!(
        ask(&rig, "GET", &path).await.header("x-amz-tagging-count"),
        ""
    );
    for (header, value) in [("if-none-match", "*"), ("if-match", "\"0\"")] {
        let refused = replace.clone().header(header, value).send(&rig).await;
        assert_eq!(code(&refused), "PreconditionFailed", "{header}");
    }
    let name = ObjectName::Key(made.bucket.clone(), made.key.clone());
    let kept = rig.store.object(&name, NOW).await.unwrap();
    assert_eq!(
        (kept.id, kept.expires_at, kept.pipeline, kept.created_at),
        (made.id, made.expires_at, made.pipeline, made.created_at)
    );
}

#[tokio::test]
async fn a_bucket_in_the_host_and_a_prefix_in_front_of_the_path_are_signed_as_they_are_sent() {
    let rig = Rig::with(|options| {
        options.public_url = Some("http://files.example.com/box".to_owned());
    })
    .await;
    put(&rig, "/uploads/a").await;
    put(&rig, "/box/uploads/b").await;
    for path in ["/c", "/box/d"] {
        let put = Signed::new("PUT", path).host("uploads.files.example.com");
        assert_eq!(put.body("bytes").send(&rig).await.status, 200, "{path}");
    }
    let read = Signed::new("GET", "/c").host("uploads.files.example.com");
    assert_eq!(read.send_presigned(&rig, 60).await.text(), "bytes");
    let other = read.host("other.files.example.com");
    assert_eq!(code(&other.send(&rig).await), "NoSuchBucket");
    assert_eq!(
        elements(&ask(&rig, "GET", "/box/uploads").await, "Key"),
        ["a", "b", "c", "d"]
    );
}
