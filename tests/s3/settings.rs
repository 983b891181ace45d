//! The S3 dialect, over HTTP: tags, access control lists and cross-origin rules, and what is absent of a bucket's other settings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use crate::{form, sigv4, support};
use pillarbox::api::app::{AppOptions, BucketOptions};
use pillarbox::model::{Bucket, CorsRule};
use sigv4::{Signed, code, element, elements};
use support::{Answer, Rig};

const XMLNS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

async fn ask(rig: &Rig, method: &str, path: &str) -> Answer {
    Signed::new(method, path).send(rig).await
}

async fn put(rig: &Rig, path: &str, body: &str) -> Answer {
    Signed::new("PUT", path).body(body).send(rig).await
}

async fn stored(rig: &Rig, path: &str) {
    let answer = put(rig, path, "bytes").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

/// Status and code.
fn told(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), code(answer))
}

fn tagging(pairs: &[(&str, &str)]) -> String {
    let tag =
        |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags = pairs.iter().map(tag).collect::<String>();
    format!("<Tagging {XMLNS}><TagSet>{tags}</TagSet></Tagging>")
}

async fn tags(rig: &Rig, path: &str) -> Vec<(String, String)> {
    let answer = ask(rig, "GET", &format!("{path}?tagging")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let keys = elements(&answer, "Key").into_iter();
    keys.zip(elements(&answer, "Value")).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let both = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(both).collect()
}

#[tokio::test]
async fn tags_are_set_replaced_counted_and_taken_off() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    let modified = ask(&rig, "HEAD", "/uploads/a").await;
    assert_eq!(tags(&rig, "/uploads/a").await, []);
    let large = (0..10)
        .map(|n| {
            (
                format!("{n}{}", "\u{20000}".repeat(127)),
                "\u{20000}".repeat(256),
            )
        })
        .collect::<Vec<_>>();
    let large = large
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect::<Vec<_>>();
    for pairs in [
        &[("by", "me"), ("for", "")][..],
        &large,
        &[("a b", "c/d")],
        &[],
    ] {
        let answer = put(&rig, "/uploads/a?tagging", &tagging(pairs)).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""));
        assert_eq!(tags(&rig, "/uploads/a").await, owned(pairs));
        for method in ["GET", "HEAD"] {
            let answer = ask(&rig, method, "/uploads/a").await;
            let count = answer.header("x-amz-tagging-count").to_owned();
            let expected = Some(pairs.len().to_string()).filter(|_| !pairs.is_empty());
            assert_eq!(count, expected.unwrap_or_default(), "{method}");
            assert_eq!(
                answer.header("last-modified"),
                modified.header("last-modified")
            );
        }
    }
    put(&rig, "/uploads/a?tagging", &tagging(&[("k", "v")])).await;
    for _ in 0..2 {
        let answer = ask(&rig, "DELETE", "/uploads/a?tagging").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
        assert_eq!(tags(&rig, "/uploads/a").await, []);
    }
    assert_eq!(ask(&rig, "GET", "/uploads/a").await.text(), "bytes");
}

#[tokio::test]
async fn tags_that_break_a_rule_change_nothing() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    let good = [("k", "v")];
    assert_eq!(
        told(&put(&rig, "/uploads/a?tagging", &tagging(&good)).await).0,
        200
    );
    let many = (0..11).map(|n| n.to_string()).collect::<Vec<_>>();
    let many = many.iter().map(|n| (n.as_str(), "")).collect::<Vec<_>>();
    let (key, value) = ("k".repeat(129), "v".repeat(257));
    for (what, body, expected) in [
        ("twice", tagging(&[("k", "1"), ("k", "2")]), "InvalidTag"),
        ("eleven", tagging(&many), "BadRequest"),
        ("long key", tagging(&[(&key, "")]), "InvalidTag"),
        ("long value", tagging(&[("k", &value)]), "InvalidTag"),
        ("no key", tagging(&[("", "v")]), "InvalidTag"),
        ("aws", tagging(&[("aws:k", "v")]), "InvalidTag"),
        ("characters", tagging(&[("k", "{}")]), "InvalidTag"),
        ("no xml", "tags".to_owned(), "MalformedXML"),
        ("none", String::new(), "MissingRequestBodyError"),
        ("no set", "<Tagging/>".to_owned(), "MalformedXML"),
        ("root", "<Tags><TagSet/></Tags>".to_owned(), "MalformedXML"),
        (
            "long",
            format!("{}{}", tagging(&good), " ".repeat(65_536)),
            "EntityTooLarge",
        ),
    ] {
        let answer = put(&rig, "/uploads/a?tagging", &body).await;
        assert_eq!(told(&answer), (400, expected.to_owned()), "{what}");
        assert_eq!(tags(&rig, "/uploads/a").await, owned(&good), "{what}");
    }
    let other = Signed::new("PUT", "/uploads/a?tagging")
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .body(tagging(&[]));
    assert_eq!(code(&other.send(&rig).await), "BadDigest");
    assert_eq!(tags(&rig, "/uploads/a").await, owned(&good));
    for (method, body) in [
        ("GET", String::new()),
        ("PUT", tagging(&good)),
        ("DELETE", String::new()),
    ] {
        for (path, expected) in [
            ("/uploads/nothing?tagging", (404, "NoSuchKey")),
            ("/nowhere/a?tagging", (404, "NoSuchBucket")),
            ("/uploads/a?tagging&versionId=7", (400, "InvalidArgument")),
        ] {
            let answer = Signed::new(method, path)
                .body(body.as_str())
                .send(&rig)
                .await;
            let expected = (expected.0, expected.1.to_owned());
            assert_eq!(told(&answer), expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_copy_has_the_tags_of_its_source_or_those_it_was_given_and_a_form_gives_the_same_tags() {
    let rig = Rig::new().await;
    let answer = Signed::new("PUT", "/uploads/a")
        .header("x-amz-tagging", "by=me&for=you%20all")
        .body("bytes")
        .send(&rig)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let both = owned(&[("by", "me"), ("for", "you all")]);
    assert_eq!(tags(&rig, "/uploads/a").await, both);
    let copy = || Signed::new("PUT", "/uploads/b").header("x-amz-copy-source", "/uploads/a");
    assert_eq!(copy().send(&rig).await.status, 200);
    assert_eq!(tags(&rig, "/uploads/b").await, both);
    let replaced = copy()
        .header("x-amz-tagging-directive", "REPLACE")
        .header("x-amz-tagging", "new=1");
    assert_eq!(replaced.send(&rig).await.status, 200);
    assert_eq!(tags(&rig, "/uploads/b").await, owned(&[("new", "1")]));
    let mut form = form::Form::new("uploads", "c", b"bytes");
    form.covered("tagging", &tagging(&[("of", "a form")]));
    form.sign();
    let content_type = form::content_type();
    let headers = [("content-type", content_type.as_str())];
    let posted = rig
        .request("POST", "/uploads", &headers, form.encode())
        .await;
    assert_eq!(posted.status, 204, "{}", posted.text());
    assert_eq!(tags(&rig, "/uploads/c").await, owned(&[("of", "a form")]));
}

#[tokio::test]
async fn a_copy_onto_itself_leaves_the_tags_that_are_set_beside_it() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    for round in 0..20 {
        let tag = [("round", round.to_string())];
        let tag = tag.each_ref().map(|(name, round)| (*name, round.as_str()));
        let retagged = Signed::new("PUT", "/uploads/a?tagging").body(tagging(&tag));
        let copied = Signed::new("PUT", "/uploads/a")
            .header("x-amz-copy-source", "/uploads/a")
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-round", tag[0].1);
        let (retagged, copied) = tokio::join!(retagged.send(&rig), copied.send(&rig));
        assert_eq!(
            (retagged.status.as_u16(), copied.status.as_u16()),
            (200, 200)
        );
        assert_eq!(tags(&rig, "/uploads/a").await, owned(&tag));
        let shown = ask(&rig, "HEAD", "/uploads/a").await;
        assert_eq!(shown.header("x-amz-meta-round"), tag[0].1);
    }
}

#[tokio::test]
async fn a_copy_has_the_checksum_that_is_asked_for_also_one_onto_itself() {
    let rig = Rig::new().await;
    let sums = [
        ("CRC32", "y/Q5Jg=="),
        ("CRC32C", "4waSgw=="),
        ("CRC64NVME", "rosUhgp5mIg="),
        ("SHA1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ("SHA256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ];
    let new = Signed::new("PUT", "/uploads/a")
        .header("x-amz-checksum-sha1", sums[3].1)
        .header("x-amz-meta-kept", "yes")
        .body("123456789");
    assert_eq!(new.send(&rig).await.status, 200);
    let kept = Signed::new("PUT", "/uploads/b").header("x-amz-copy-source", "/uploads/a");
    let kept = kept.send(&rig).await;
    assert_eq!(element(&kept, "ChecksumSHA1"), sums[3].1);
    for target in ["/uploads/b", "/uploads/a"] {
        for (algorithm, sum) in sums {
            let case = format!("{algorithm} of {target}");
            let copy = Signed::new("PUT", target)
                .header("x-amz-copy-source", "/uploads/a")
                .header("x-amz-checksum-algorithm", algorithm);
            let answer = copy.send(&rig).await;
            assert_eq!(answer.status, 200, "{case}: {}", answer.text());
            let name = format!("Checksum{algorithm}");
            assert_eq!(element(&answer, &name), sum, "{case}");
            assert_eq!(element(&answer, "ChecksumType"), "FULL_OBJECT", "{case}");
            let read = Signed::new("GET", target).header("x-amz-checksum-mode", "ENABLED");
            let read = read.send(&rig).await;
            let header = format!("x-amz-checksum-{}", algorithm.to_lowercase());
            assert_eq!(read.header(&header), sum, "{case}");
            assert_eq!(read.header("x-amz-meta-kept"), "yes", "{case}");
            assert_eq!(read.text(), "123456789", "{case}");
        }
    }
    let refused = Signed::new("PUT", "/uploads/c")
        .header("x-amz-copy-source", "/uploads/a")
        .header("x-amz-checksum-algorithm", "MD4");
    let refused = refused.send(&rig).await;
    assert_eq!(told(&refused), (400, "InvalidRequest".to_owned()));
    assert_eq!(ask(&rig, "GET", "/uploads/c").await.status, 404);
}

/// Who is granted what, in order; the owner by his id.
fn grants(answer: &Answer) -> Vec<(String, String)> {
    let text = answer.text();
    let list = text.split("<AccessControlList>").nth(1).unwrap_or_default();
    list.split("<Grant>")
        .skip(1)
        .map(|grant| {
            let part = |name: &str| {
                let rest = grant.split(&format!("<{name}>")).nth(1)?;
                rest.split("</").next().map(str::to_owned)
            };
            let who = part("URI").map(|uri| uri.rsplit('/').next().unwrap().to_owned());
            (
                who.or_else(|| part("ID")).unwrap(),
                part("Permission").unwrap(),
            )
        })
        .collect()
}

const OWNER: (&str, &str) = ("pillarbox", "FULL_CONTROL");
const READERS: (&str, &str) = ("AllUsers", "READ");

#[tokio::test]
async fn what_an_objects_list_says_is_what_everybody_can_do() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    let anonymous = async |method: &str, path: &str| rig.request(method, path, &[], "").await;
    let denied = (403, "AccessDenied".to_owned());
    assert_eq!(told(&anonymous("GET", "/uploads/a").await), denied);
    for (acl, readers, status) in [
        ("public-read", &[OWNER, READERS][..], 200),
        ("private", &[OWNER], 403),
        (
            "public-read-write",
            &[OWNER, READERS, ("AllUsers", "WRITE")],
            200,
        ),
        ("bucket-owner-full-control", &[OWNER], 403),
    ] {
        let request = Signed::new("PUT", "/uploads/a?acl").header("x-amz-acl", acl);
        assert_eq!(told(&request.send(&rig).await).0, 200, "{acl}");
        let shown = ask(&rig, "GET", "/uploads/a?acl").await;
        assert_eq!(grants(&shown), owned(readers), "{acl}");
        let answer = anonymous("GET", "/uploads/a").await;
        assert_eq!(answer.status, status, "{acl}");
        assert_eq!(
            anonymous("HEAD", "/uploads/a").await.status,
            status,
            "{acl}"
        );
    }
    // The list of an object opens that object to readers, and nothing else.
    let answer = Signed::new("PUT", "/uploads/b").header("x-amz-acl", "public-read-write");
    assert_eq!(answer.body("bytes").send(&rig).await.status, 200);
    let answer = anonymous("GET", "/uploads/b").await;
    assert_eq!(answer.text(), "bytes");
    assert!(
        answer
            .header("content-security-policy")
            .starts_with("sandbox")
    );
    for (method, path) in [
        ("GET", "/uploads"),
        ("HEAD", "/uploads"),
        ("GET", "/uploads/nothing"),
        ("GET", "/uploads/b?acl"),
        ("GET", "/uploads/b?tagging"),
        ("GET", "/uploads/b?attributes"),
        ("GET", "/uploads/b?versionId=7"),
        ("PUT", "/uploads/b"),
        ("PUT", "/uploads/b?acl"),
        ("DELETE", "/uploads/b"),
        ("GET", "/uploads/b?X-Amz-Signature=x&Signature=x"),
    ] {
        let answer = anonymous(method, path).await;
        assert_eq!(answer.status.as_u16() / 100, 4, "{method} {path}");
        assert_ne!(code(&answer), "NoSuchKey", "{method} {path}");
    }
    let answer = anonymous("GET", "/uploads/b?response-content-type=text/html").await;
    assert_eq!(told(&answer), (400, "InvalidRequest".to_owned()));
    assert_eq!(ask(&rig, "GET", "/uploads/b").await.text(), "bytes");
    // One that takes its place without the list is private again.
    stored(&rig, "/uploads/b").await;
    assert_eq!(told(&anonymous("GET", "/uploads/b").await), denied);
}

fn policy(owner: &str, grants: &str) -> String {
    format!(
        "<AccessControlPolicy {XMLNS}><Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )
}

fn grant(grantee: &str, permission: &str) -> String {
    let xsi = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
    let (kind, who) = match grantee.split_once(':') {
        None => ("CanonicalUser", format!("<ID>{grantee}</ID>")),
        Some(_) => ("Group", format!("<URI>{grantee}</URI>")),
    };
    format!(
        "<Grant><Grantee {xsi} xsi:type=\"{kind}\">{who}</Grantee><Permission>{permission}</Permission></Grant>"
    )
}

#[tokio::test]
async fn a_list_is_taken_as_a_document_when_it_is_a_canned_one() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    let all = "http://acs.amazonaws.com/groups/global/AllUsers";
    let signers = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
    let own = grant("pillarbox", "FULL_CONTROL");
    let open = policy("pillarbox", &format!("{own}{}", grant(all, "READ")));
    for (what, body, expected) in [
        ("public", open.clone(), (200, "")),
        ("private", policy("pillarbox", &own), (200, "")),
        ("public again", open.clone(), (200, "")),
        (
            "another owner",
            policy("somebody", &own),
            (403, "AccessDenied"),
        ),
        (
            "no owner's grant",
            policy("pillarbox", &grant(all, "READ")),
            (501, "NotImplemented"),
        ),
        (
            "a part of it",
            policy("pillarbox", &grant("pillarbox", "READ")),
            (501, "NotImplemented"),
        ),
        (
            "another user",
            policy("pillarbox", &format!("{own}{}", grant("somebody", "READ"))),
            (400, "InvalidArgument"),
        ),
        (
            "all who sign",
            policy("pillarbox", &format!("{own}{}", grant(signers, "READ"))),
            (501, "NotImplemented"),
        ),
        (
            "the list's reader",
            policy("pillarbox", &format!("{own}{}", grant(all, "READ_ACP"))),
            (501, "NotImplemented"),
        ),
        (
            "no grantee",
            policy("pillarbox", "<Grant/>"),
            (400, "MalformedACLError"),
        ),
        (
            "no list",
            "<AccessControlPolicy/>".to_owned(),
            (400, "MalformedACLError"),
        ),
        ("no document", "acl".to_owned(), (400, "MalformedXML")),
        ("nothing", String::new(), (400, "MissingSecurityHeader")),
    ] {
        let answer = put(&rig, "/uploads/a?acl", &body).await;
        assert_eq!(told(&answer), (expected.0, expected.1.to_owned()), "{what}");
    }
    let shown = ask(&rig, "GET", "/uploads/a?acl").await;
    assert_eq!(grants(&shown), owned(&[OWNER, READERS]));
    assert_eq!(put(&rig, "/uploads/a?acl", &shown.text()).await.status, 200);
    for (header, value, body, expected) in [
        ("x-amz-acl", "private", open.as_str(), "UnexpectedContent"),
        ("x-amz-acl", "everybody", "", "InvalidArgument"),
        ("x-amz-acl", "authenticated-read", "", "NotImplemented"),
        ("x-amz-grant-read", "id=1", "", "NotImplemented"),
    ] {
        let request = Signed::new("PUT", "/uploads/a?acl").header(header, value);
        assert_eq!(
            code(&request.body(body).send(&rig).await),
            expected,
            "{value}"
        );
    }
    let answer = Signed::new("PUT", "/uploads/nothing?acl").header("x-amz-acl", "private");
    assert_eq!(
        told(&answer.send(&rig).await),
        (404, "NoSuchKey".to_owned())
    );
}

#[tokio::test]
async fn a_bucket_that_is_made_again_has_the_list_that_was_asked_for_last() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    for (acl, listed) in [
        (None, 403),
        (Some("public-read"), 200),
        (Some("private"), 403),
        (Some("public-read"), 200),
        (None, 403),
    ] {
        let mut make = Signed::new("PUT", "/uploads");
        if let Some(acl) = acl {
            make = make.header("x-amz-acl", acl);
        }
        assert_eq!(make.send(&rig).await.status, 200);
        let list = rig.request("GET", "/uploads", &[], "").await;
        assert_eq!(list.status, listed, "after {acl:?}");
    }
}

#[tokio::test]
async fn a_bucket_is_listed_by_everybody_only_while_its_list_says_so() {
    let rig = Rig::new().await;
    let made = Signed::new("PUT", "/films").header("x-amz-acl", "public-read");
    assert_eq!(made.send(&rig).await.status, 200);
    stored(&rig, "/films/a").await;
    let anonymous = async |path: &str| rig.request("GET", path, &[], "").await;
    assert_eq!(
        elements(&anonymous("/films?list-type=2").await, "Key"),
        ["a"]
    );
    assert_eq!(elements(&anonymous("/films?versions").await, "Key"), ["a"]);
    assert_eq!(rig.request("HEAD", "/films", &[], "").await.status, 200);
    let begun = ask(&rig, "POST", "/films/b?uploads").await;
    let upload = element(&begun, "UploadId");
    let uploads = anonymous("/films?uploads").await;
    assert_eq!(elements(&uploads, "UploadId"), [upload.as_str()]);
    for (method, path) in [
        ("GET", format!("/films/b?uploadId={upload}")),
        ("DELETE", format!("/films/b?uploadId={upload}")),
        ("POST", "/films/b?uploads".to_owned()),
        ("GET", "/uploads?uploads".to_owned()),
    ] {
        let answer = rig.request(method, &path, &[], "").await;
        assert_eq!(
            told(&answer),
            (403, "AccessDenied".to_owned()),
            "{method} {path}"
        );
    }
    assert_eq!(
        told(&anonymous("/films/a").await),
        (403, "AccessDenied".to_owned())
    );
    assert_eq!(
        told(&anonymous("/films/nothing").await),
        (404, "NoSuchKey".to_owned())
    );
    assert_eq!(
        told(&anonymous("/films?acl").await),
        (403, "AccessDenied".to_owned())
    );
    let shown = ask(&rig, "GET", "/films?acl").await;
    assert_eq!(grants(&shown), owned(&[OWNER, READERS]));
    let rig = rig.restarted(|_| {}).await;
    let anonymous = async |path: &str| rig.request("GET", path, &[], "").await;
    assert_eq!(elements(&anonymous("/films").await, "Key"), ["a"]);
    let own = policy("pillarbox", &grant("pillarbox", "FULL_CONTROL"));
    assert_eq!(put(&rig, "/films?acl", &own).await.status, 200);
    for path in ["/films", "/films?uploads"] {
        assert_eq!(
            told(&anonymous(path).await),
            (403, "AccessDenied".to_owned()),
            "{path}"
        );
    }
    for path in ["/films?acl", "/more"] {
        let request = Signed::new("PUT", path).header("x-amz-acl", "public-read-write");
        assert_eq!(code(&request.send(&rig).await), "NotImplemented", "{path}");
    }
    assert_eq!(told(&ask(&rig, "HEAD", "/more").await).0, 404);
    // A bucket that is made anew has nothing of the one before.
    let open = Signed::new("PUT", "/films?acl").header("x-amz-acl", "public-read");
    assert_eq!(open.send(&rig).await.status, 200);
    assert_eq!(ask(&rig, "DELETE", "/films/a").await.status, 204);
    assert_eq!(ask(&rig, "DELETE", "/films").await.status, 204);
    assert_eq!(ask(&rig, "PUT", "/films").await.status, 200);
    assert_eq!(
        told(&anonymous("/films").await),
        (403, "AccessDenied".to_owned())
    );
}

#[tokio::test]
async fn a_bucket_that_the_configuration_opens_to_forms_shows_it_and_stays_so() {
    let rig = Rig::with(|options| {
        options.buckets = vec![BucketOptions {
            name: Bucket::parse("drop").unwrap(),
            public_write: true,
            cors: None,
        }];
    })
    .await;
    let writers = ("AllUsers", "WRITE");
    let shown = ask(&rig, "GET", "/drop?acl").await;
    assert_eq!(grants(&shown), owned(&[OWNER, writers]));
    assert_eq!(put(&rig, "/drop?acl", &shown.text()).await.status, 200);
    let set = async |acl: &str| {
        let request = Signed::new("PUT", "/drop?acl").header("x-amz-acl", acl);
        code(&request.send(&rig).await)
    };
    assert_eq!(set("private").await, "AccessDenied");
    assert_eq!(set("public-read-write").await, "");
    let shown = ask(&rig, "GET", "/drop?acl").await;
    assert_eq!(grants(&shown), owned(&[OWNER, READERS, writers]));
}

fn cors(rules: &str) -> String {
    format!("<CORSConfiguration {XMLNS}>{rules}</CORSConfiguration>")
}

const RULE: &str = "<CORSRule><ID>one</ID><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>\
    <AllowedMethod>POST</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
    <MaxAgeSeconds>600</MaxAgeSeconds></CORSRule>";

async fn preflight(rig: &Rig, path: &str, origin: &str) -> Answer {
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-amz-date"),
    ];
    rig.request("OPTIONS", path, &asked, "").await
}

#[tokio::test]
async fn a_preflight_asks_for_so_many_headers_as_a_request_may_have() {
    let rig = Rig::new().await;
    ask(&rig, "PUT", "/films").await;
    let all = RULE.replace("x-amz-*", "*");
    assert_eq!(put(&rig, "/films?cors", &cors(&all)).await.status, 200);
    for (names, status) in [(100, 200), (101, 403)] {
        let names: Vec<_> = (0..names).map(|number| format!("x-{number}")).collect();
        let asked = [
            ("origin", "https://a.example.com"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", &names.join(",")),
        ];
        let answer = rig.request("OPTIONS", "/films/a", &asked, "").await;
        assert_eq!(answer.status, status, "{}", names.len());
    }
}

#[tokio::test]
async fn rules_that_were_set_answer_at_once_and_after_a_restart() {
    let rig = Rig::new().await;
    ask(&rig, "PUT", "/films").await;
    let none = (404, "NoSuchCORSConfiguration".to_owned());
    assert_eq!(told(&ask(&rig, "GET", "/films?cors").await), none);
    let (mine, foreign) = ("https://a.example.com", "https://example.org");
    assert_eq!(
        preflight(&rig, "/films/a", foreign)
            .await
            .header("access-control-allow-origin"),
        "*"
    );
    assert_eq!(put(&rig, "/films?cors", &cors(RULE)).await.status, 200);
    let mut rig = rig;
    for _ in 0..2 {
        let shown = ask(&rig, "GET", "/films?cors").await.text();
        assert!(shown.ends_with(&cors(RULE)), "{shown}");
        let answer = preflight(&rig, "/films/a", mine).await;
        for (name, value) in [
            ("access-control-allow-origin", mine),
            ("access-control-allow-methods", "PUT, POST"),
            ("access-control-allow-headers", "x-amz-date"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        let answer = preflight(&rig, "/films/a", foreign).await;
        assert_eq!(told(&answer), (403, "AccessForbidden".to_owned()));
        let answer = Signed::new("PUT", "/films/a").unsigned("origin", mine);
        let answer = answer.body("bytes").send(&rig).await;
        assert_eq!(answer.header("access-control-allow-origin"), mine);
        let answer = preflight(&rig, "/uploads/a", foreign).await;
        assert_eq!(answer.status, 200);
        rig = rig.restarted(|_| {}).await;
    }
    for _ in 0..2 {
        assert_eq!(ask(&rig, "DELETE", "/films?cors").await.status, 204);
        assert_eq!(told(&ask(&rig, "GET", "/films?cors").await), none);
    }
    assert_eq!(preflight(&rig, "/films/a", foreign).await.status, 200);
}

#[tokio::test]
async fn rules_that_are_none_are_refused_with_the_reason_and_change_nothing() {
    let rig = Rig::new().await;
    assert_eq!(put(&rig, "/uploads?cors", &cors(RULE)).await.status, 200);
    let with = |from: &str, to: &str| {
        assert!(RULE.contains(from), "{from}");
        cors(&RULE.replace(from, to))
    };
    let long = "x".repeat(256);
    for (what, body, expected) in [
        ("none", cors(""), "MalformedXML"),
        ("too many", cors(&RULE.repeat(101)), "MalformedXML"),
        ("no rule", cors("<Rule/>"), "MalformedXML"),
        ("root", RULE.to_owned(), "MalformedXML"),
        ("no document", "rules".to_owned(), "MalformedXML"),
        (
            "no origin",
            with("<AllowedOrigin>https://*.example.com</AllowedOrigin>", ""),
            "MalformedXML",
        ),
        (
            "no method",
            cors("<CORSRule><AllowedOrigin>*</AllowedOrigin></CORSRule>"),
            "MalformedXML",
        ),
        ("two stars", with("https://*.", "*://*."), "InvalidRequest"),
        (
            "blank",
            with("https://*.", "https://a b."),
            "InvalidRequest",
        ),
        (
            "two stars in a header",
            with("x-amz-*", "*-amz-*"),
            "InvalidRequest",
        ),
        (
            "method",
            with("<AllowedMethod>PUT", "<AllowedMethod>PATCH"),
            "InvalidRequest",
        ),
        (
            "case",
            with("<AllowedMethod>PUT", "<AllowedMethod>put"),
            "InvalidRequest",
        ),
        ("exposed star", with("ETag", "*"), "InvalidRequest"),
        ("exposed", with("ETag", "E Tag"), "InvalidRequest"),
        ("age", with("600", "-1"), "MalformedXML"),
        ("id", with("one", &long), "InvalidArgument"),
        (
            "element",
            with("<ID>one</ID>", "<Name>one</Name>"),
            "MalformedXML",
        ),
    ] {
        let answer = put(&rig, "/uploads?cors", &body).await;
        assert_eq!(told(&answer), (400, expected.to_owned()), "{what}");
        let shown = ask(&rig, "GET", "/uploads?cors").await;
        assert_eq!(elements(&shown, "ID"), ["one"], "{what}");
    }
    let most = cors(&RULE.repeat(100));
    assert_eq!(put(&rig, "/uploads?cors", &most).await.status, 200);
    let shown = ask(&rig, "GET", "/uploads?cors").await;
    assert_eq!(elements(&shown, "ID").len(), 100);
    let long = cors(&RULE.repeat(300));
    let answer = put(&rig, "/uploads?cors", &long).await;
    assert_eq!(told(&answer), (400, "EntityTooLarge".to_owned()));
    assert_eq!(
        code(&put(&rig, "/nowhere?cors", &cors(RULE)).await),
        "NoSuchBucket"
    );
}

#[tokio::test]
async fn the_rules_of_the_configuration_are_shown_and_stay() {
    let configured = |options: &mut AppOptions| {
        let rule = CorsRule {
            id: String::new(),
            origins: vec!["https://configured.example".to_owned()],
            methods: vec!["GET".to_owned()],
            headers: Vec::new(),
            expose: Vec::new(),
            max_age: None,
        };
        let bucket = |name: &str, rules: Vec<CorsRule>| BucketOptions {
            name: Bucket::parse(name).unwrap(),
            public_write: false,
            cors: Some(rules.into()),
        };
        options.buckets = vec![bucket("ruled", vec![rule]), bucket("closed", Vec::new())];
    };
    let rig = Rig::with(configured).await;
    let shown = ask(&rig, "GET", "/ruled?cors").await;
    assert_eq!(
        element(&shown, "AllowedOrigin"),
        "https://configured.example"
    );
    assert_eq!(
        code(&ask(&rig, "GET", "/closed?cors").await),
        "NoSuchCORSConfiguration"
    );
    for bucket in ["ruled", "closed"] {
        let path = format!("/{bucket}?cors");
        for answer in [
            put(&rig, &path, &cors(RULE)).await,
            ask(&rig, "DELETE", &path).await,
        ] {
            assert_eq!(told(&answer), (403, "AccessDenied".to_owned()), "{bucket}");
        }
    }
    // What was set before the configuration said something counts again when it says nothing any more.
    let rig = rig.restarted(|_| {}).await;
    assert_eq!(put(&rig, "/ruled?cors", &cors(RULE)).await.status, 200);
    let rig = rig.restarted(configured).await;
    let shown = ask(&rig, "GET", "/ruled?cors").await;
    assert_eq!(
        element(&shown, "AllowedOrigin"),
        "https://configured.example"
    );
    let rig = rig.restarted(|_| {}).await;
    let shown = ask(&rig, "GET", "/ruled?cors").await;
    assert_eq!(element(&shown, "ID"), "one");
}

#[tokio::test]
async fn tags_and_lists_survive_a_restart() {
    let rig = Rig::new().await;
    stored(&rig, "/uploads/a").await;
    put(&rig, "/uploads/a?tagging", &tagging(&[("k", "v")])).await;
    let open = Signed::new("PUT", "/uploads/a?acl").header("x-amz-acl", "public-read");
    assert_eq!(open.send(&rig).await.status, 200);
    let rig = rig.restarted(|_| {}).await;
    assert_eq!(tags(&rig, "/uploads/a").await, owned(&[("k", "v")]));
    assert_eq!(
        rig.request("GET", "/uploads/a", &[], "").await.text(),
        "bytes"
    );
}

#[tokio::test]
async fn attributes_are_told_as_they_were_asked_for() {
    let rig = Rig::new().await;
    let stored = Signed::new("PUT", "/uploads/a")
        .header("x-amz-checksum-crc32", "y/Q5Jg==")
        .header("x-amz-storage-class", "STANDARD_IA")
        .body("123456789");
    assert_eq!(stored.send(&rig).await.status, 200);
    let asked = async |path: &str, names: &str| {
        let request = Signed::new("GET", path).header("x-amz-object-attributes", names);
        request.send(&rig).await
    };
    let all = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize";
    let answer = asked("/uploads/a?attributes", all).await;
    for (name, value) in [
        ("ETag", "25f9e794323b453885f5181f1b624d0b"),
        ("ChecksumCRC64NVME", ""),
        ("ChecksumCRC32", "y/Q5Jg=="),
        ("ChecksumType", "FULL_OBJECT"),
        ("StorageClass", "STANDARD_IA"),
        ("ObjectSize", "9"),
        ("PartsCount", ""),
    ] {
        assert_eq!(element(&answer, name), value, "{name}");
    }
    assert_eq!(
        answer.header("last-modified"),
        "Sun, 22 Nov 2026 13:20:00 GMT"
    );
    let answer = asked("/uploads/a?attributes", "ObjectSize, StorageClass").await;
    assert_eq!(elements(&answer, "ObjectSize"), ["9"]);
    assert!(!answer.text().contains("ETag") && !answer.text().contains("Checksum"));
    for (path, names, expected) in [
        ("/uploads/a?attributes", "", (400, "InvalidRequest")),
        ("/uploads/a?attributes", ",", (400, "InvalidRequest")),
        (
            "/uploads/a?attributes",
            "ETag,Owner",
            (400, "InvalidArgument"),
        ),
        ("/uploads/nothing?attributes", "ETag", (404, "NoSuchKey")),
        (
            "/uploads/a?attributes&versionId=7",
            "ETag",
            (400, "InvalidArgument"),
        ),
    ] {
        let answer = asked(path, names).await;
        assert_eq!(
            told(&answer),
            (expected.0, expected.1.to_owned()),
            "{path} {names}"
        );
    }
    let upload = rig.start("parts.bin").await;
    rig.put_chunk(&upload, 0, Some(2), "aaaa").await;
    rig.put_chunk(&upload, 1, Some(2), "b").await;
    let path = format!("/uploads/tmp/{}/parts.bin?attributes", support::PIPELINE);
    let answer = asked(&path, all).await;
    assert_eq!(element(&answer, "PartsCount"), "2", "{}", answer.text());
    assert_eq!(element(&answer, "StorageClass"), "STANDARD");
}

#[tokio::test]
async fn what_is_absent_can_be_removed_and_not_be_made() {
    let rig = Rig::new().await;
    for setting in [
        "policy",
        "tagging",
        "website",
        "encryption",
        "replication",
        "publicAccessBlock",
        "ownershipControls",
    ] {
        let path = format!("/uploads?{setting}");
        let refused = ask(&rig, "GET", &path).await;
        assert_eq!(refused.status, 404, "{setting}: {}", refused.text());
        assert_eq!(ask(&rig, "DELETE", &path).await.status, 204, "{setting}");
        let answer = put(&rig, &path, "<Anything/>").await;
        assert_eq!(
            told(&answer),
            (501, "NotImplemented".to_owned()),
            "{setting}"
        );
    }
    for setting in [
        "versioning",
        "logging",
        "notification",
        "accelerate",
        "requestPayment",
        "object-lock",
        "inventory",
    ] {
        let path = format!("/uploads?{setting}");
        let answer = ask(&rig, "DELETE", &path).await;
        assert_eq!(
            told(&answer),
            (501, "NotImplemented".to_owned()),
            "{setting}"
        );
    }
    for setting in ["object-lock", "inventory"] {
        let answer = put(&rig, &format!("/uploads?{setting}"), "<Anything/>").await;
        assert_eq!(told(&answer), (501, "NotImplemented".to_owned()));
    }
    stored(&rig, "/uploads/a").await;
    for lock in ["retention", "legal-hold"] {
        let answer = ask(&rig, "GET", &format!("/uploads/a?{lock}")).await;
        assert_eq!(told(&answer), (400, "InvalidRequest".to_owned()), "{lock}");
        assert_eq!(
            element(&answer, "Message"),
            "Bucket is missing Object Lock Configuration"
        );
    }
    for (method, path) in [
        ("PUT", "/uploads/a?legal-hold"),
        ("PUT", "/uploads/a?retention"),
        ("GET", "/uploads/a?torrent"),
        ("POST", "/uploads/a?restore"),
        ("POST", "/uploads/a?tagging"),
        ("DELETE", "/uploads/a?acl"),
    ] {
        let answer = ask(&rig, method, path).await;
        assert_eq!(
            told(&answer),
            (501, "NotImplemented".to_owned()),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn what_is_so_already_may_be_set_and_nothing_else() {
    let rig = Rig::new().await;
    let document = |root: &str, inner: &str| format!("<{root} {XMLNS}>{inner}</{root}>");
    let suspended = "<Status>Suspended</Status>";
    for (setting, root, inner, is_so) in [
        ("versioning", "VersioningConfiguration", suspended, true),
        (
            "versioning",
            "VersioningConfiguration",
            "<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>",
            true,
        ),
        (
            "versioning",
            "VersioningConfiguration",
            "<Status>Enabled</Status>",
            false,
        ),
        (
            "versioning",
            "VersioningConfiguration",
            "<Status>Suspended</Status><MfaDelete>Enabled</MfaDelete>",
            false,
        ),
        (
            "versioning",
            "VersioningConfiguration",
            "<Status>Suspended</Status><Status>Enabled</Status>",
            false,
        ),
        (
            "versioning",
            "VersioningConfiguration",
            "<Status><A/></Status>",
            false,
        ),
        ("versioning", "VersioningConfiguration", "", false),
        ("notification", "NotificationConfiguration", "", true),
        (
            "notification",
            "NotificationConfiguration",
            "<EventBridgeConfiguration/>",
            false,
        ),
        ("logging", "BucketLoggingStatus", "", true),
        (
            "logging",
            "BucketLoggingStatus",
            "<LoggingEnabled><TargetBucket>uploads</TargetBucket></LoggingEnabled>",
            false,
        ),
        ("accelerate", "AccelerateConfiguration", suspended, true),
        (
            "accelerate",
            "AccelerateConfiguration",
            "<Status>Enabled</Status>",
            false,
        ),
        (
            "requestPayment",
            "RequestPaymentConfiguration",
            "<Payer>BucketOwner</Payer>",
            true,
        ),
        (
            "requestPayment",
            "RequestPaymentConfiguration",
            "<Payer>Requester</Payer>",
            false,
        ),
        (
            "encryption",
            "ServerSideEncryptionConfiguration",
            "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>",
            false,
        ),
    ] {
        let path = format!("/uploads?{setting}");
        let before = ask(&rig, "GET", &path).await.text();
        let answer = put(&rig, &path, &document(root, inner)).await;
        let expected = match is_so {
            true => (200, String::new()),
            false => (501, "NotImplemented".to_owned()),
        };
        assert_eq!(told(&answer), expected, "{setting} {inner}");
        // What is told is what is true, as before.
        let after = ask(&rig, "GET", &path).await.text();
        assert_eq!(without_ids(&after), without_ids(&before), "{setting}");
    }
    for setting in ["versioning", "notification", "logging"] {
        let path = format!("/uploads?{setting}");
        for (body, expected) in [
            ("", (400, "MissingRequestBodyError")),
            ("<Versioning", (400, "MalformedXML")),
            ("<Anything/>", (400, "MalformedXML")),
        ] {
            let answer = put(&rig, &path, body).await;
            assert_eq!(told(&answer), (expected.0, expected.1.to_owned()), "{path}");
        }
        let long = " ".repeat(70_000);
        assert_eq!(code(&put(&rig, &path, &long).await), "EntityTooLarge");
    }
    let absent = put(&rig, "/nowhere?versioning", suspended).await;
    assert_eq!(told(&absent), (404, "NoSuchBucket".to_owned()));
}

/// An answer without what is of the request.
fn without_ids(text: &str) -> String {
    text.split("<RequestId>")
        .next()
        .unwrap_or_default()
        .to_owned()
}
