//! Signed requests: Amazon's published examples verify, and one change of each is refused with Amazon's code.
//!
//! The examples are those of the Amazon S3 API Reference, "Signature calculations for the Authorization header" and "Authenticating
//! requests: using query parameters", and of the User Guide, "Signing and authenticating REST requests" (Version 2).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

use pillarbox::model::{AccessKey, KeyPurpose, Secret, Timestamp, TokenHash};
use pillarbox::policy::{
    DerivedKeys, PayloadClaim, ProvenRequest, RequestError, RequestErrorKind as Kind, SentRequest,
    claim_request,
};

/// 2013-05-24T00:00:00Z
const MAY_24: Timestamp = Timestamp::from_seconds(1_369_353_600);
const V4_HOST: &str = "examplebucket.s3.amazonaws.com";
const V4_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A request that a test changes.
#[derive(Clone)]
struct Example {
    method: &'static str,
    path: String,
    query: String,
    bucket: Option<&'static str>,
    headers: Vec<(String, String)>,
    secret: &'static str,
    now: Timestamp,
    region: Option<&'static str>,
    purpose: KeyPurpose,
    expires_at: Option<Timestamp>,
    token: Option<&'static str>,
}

impl Example {
    fn v4(method: &'static str, path: &str, query: &str, headers: &[(&str, &str)]) -> Self {
        let owned = |(n, v): &(&str, &str)| ((*n).to_owned(), (*v).to_owned());
        Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            bucket: Some("examplebucket"),
            headers: [("host", V4_HOST)]
                .iter()
                .chain(headers)
                .map(owned)
                .collect(),
            secret: V4_SECRET,
            now: MAY_24,
            region: Some("us-east-1"),
            purpose: KeyPurpose::User,
            expires_at: None,
            token: None,
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| n != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn replace(self, name: &str, old: &str, new: &str) -> Self {
        let value = self
            .headers
            .iter()
            .find(|(n, _)| n == name)
            .unwrap()
            .1
            .clone();
        assert!(value.contains(old), "{value}");
        self.set(name, &value.replace(old, new))
    }

    fn requery(mut self, old: &str, new: &str) -> Self {
        assert!(self.query.contains(old), "{}", self.query);
        self.query = self.query.replace(old, new);
        self
    }

    fn judge(&self) -> Result<Option<ProvenRequest>, RequestError> {
        let headers = self.headers.iter();
        let sent = SentRequest {
            method: self.method,
            path: &self.path,
            path_prefix: "",
            bucket_of_host: self.bucket,
            query: &self.query,
            headers: headers.map(|(n, v)| (n.as_str(), v.as_bytes())).collect(),
        };
        let Some(claim) = claim_request(&sent, self.region)? else {
            return Ok(None);
        };
        let key = AccessKey {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new(self.secret.to_owned()),
            purpose: self.purpose,
            created_at: Timestamp::from_seconds(0),
            expires_at: self.expires_at,
            session_token: self.token.map(TokenHash::of),
            limits: Default::default(),
            form_lifetime: Default::default(),
        };
        let key = Some(key).filter(|key| key.id == claim.access_key_id());
        claim
            .verify(key.as_ref(), &DerivedKeys::default(), self.now)
            .map(Some)
    }

    fn refusal(&self) -> Kind {
        self.judge().expect_err("it is to be refused").kind
    }
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
    )
}

fn get_object() -> Example {
    let signed = authorization(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    Example::v4(
        "GET",
        "/test.txt",
        "",
        &[
            ("authorization", &signed),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
    )
}

fn get_query(query: &str, signature: &str) -> Example {
    let signed = authorization("host;x-amz-content-sha256;x-amz-date", signature);
    Example::v4(
        "GET",
        "/",
        query,
        &[
            ("authorization", &signed),
            ("x-amz-content-sha256", EMPTY),
            ("x-amz-date", "20130524T000000Z"),
        ],
    )
}

fn put_object() -> Example {
    let signed = authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    Example::v4(
        "PUT",
        "/test$file.text",
        "",
        &[
            ("authorization", &signed),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
        ],
    )
}

fn put_chunks() -> Example {
    let signed = authorization(
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    );
    Example::v4(
        "PUT",
        "/examplebucket/chunkObject.txt",
        "",
        &[
            ("authorization", &signed),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
        ],
    )
    .set("host", "s3.amazonaws.com")
}

fn presigned() -> Example {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    Example::v4("GET", "/test.txt", query, &[])
}

fn v2(
    method: &'static str,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
    day: i64,
) -> Example {
    Example {
        bucket: Some("johnsmith"),
        // 2007-03-27T19:40:00Z and later
        now: Timestamp::from_seconds(day),
        ..Example::v4(method, path, query, headers)
    }
    .set("host", "johnsmith.s3.amazonaws.com")
}

fn v2_presigned() -> Example {
    v2(
        "GET",
        "/photos/puppy.jpg",
        "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
        &[],
        1_175_139_620,
    )
}

#[test]
fn amazons_published_requests_are_proven() {
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    for (what, example) in [
        ("get", get_object()),
        ("put", put_object()),
        ("put, as Amazon spells it", {
            let mut put = put_object();
            put.path = "/test%24file.text".to_owned();
            put
        }),
        ("chunks", put_chunks()),
        ("list", get_query("max-keys=2&prefix=J", list)),
        (
            "list in another order",
            get_query("prefix=J&max-keys=2", list),
        ),
        ("lifecycle", get_query("lifecycle", lifecycle)),
        ("lifecycle=", get_query("lifecycle=", lifecycle)),
        ("presigned", presigned()),
        ("v2 presigned", v2_presigned()),
    ] {
        let proven = example.judge();
        assert!(
            matches!(proven, Ok(Some(_))),
            "{what}: {:?}",
            proven.map_err(|e| (e.kind, e.message, e.extras))
        );
    }
}

#[test]
fn amazons_published_requests_of_version_2_are_proven() {
    for (what, example) in [
        (
            "get",
            v2(
                "GET",
                "/photos/puppy.jpg",
                "",
                &[
                    ("date", "Tue, 27 Mar 2007 19:36:42 +0000"),
                    (
                        "authorization",
                        "AWS AKIAIOSFODNN7EXAMPLE:bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
                    ),
                ],
                1_175_024_202,
            ),
        ),
        (
            "put",
            v2(
                "PUT",
                "/photos/puppy.jpg",
                "",
                &[
                    ("content-type", "image/jpeg"),
                    ("content-length", "94328"),
                    ("date", "Tue, 27 Mar 2007 21:15:45 +0000"),
                    (
                        "authorization",
                        "AWS AKIAIOSFODNN7EXAMPLE:MyyxeRY7whkBe+bq8fHCL/2kKUg=",
                    ),
                ],
                1_175_030_145,
            ),
        ),
        (
            "list",
            v2(
                "GET",
                "/",
                "prefix=photos&max-keys=50&marker=puppy",
                &[
                    ("date", "Tue, 27 Mar 2007 19:42:41 +0000"),
                    (
                        "authorization",
                        "AWS AKIAIOSFODNN7EXAMPLE:htDYFYduRNen8P9ZfE/s9SuKy0U=",
                    ),
                ],
                1_175_024_561,
            ),
        ),
    ] {
        let proven = example.judge();
        assert!(
            matches!(proven, Ok(Some(_))),
            "{what}: {:?}",
            proven.map_err(|e| (e.kind, e.message, e.extras))
        );
        let late = Example {
            now: example
                .now
                .plus(std::time::Duration::from_secs(15 * 60 + 1)),
            ..example.clone()
        };
        assert_eq!(late.refusal(), Kind::RequestTimeTooSkewed, "{what}");
    }
}

#[test]
fn a_request_without_a_signature_is_nobodys() {
    let anonymous = Example::v4("GET", "/test.txt", "", &[]);
    assert!(matches!(anonymous.judge(), Ok(None)));
}

#[test]
fn whatever_was_signed_cannot_be_changed() {
    let (get, put, url) = (get_object, put_object, presigned);
    let path = |mut example: Example, path: &str| {
        example.path = path.to_owned();
        example
    };
    let method = |mut example: Example, method| {
        example.method = method;
        example
    };
    let without = |mut example: Example, name: &str| {
        example.headers.retain(|(n, _)| n != name);
        example
    };
    for (what, example) in [
        ("path", path(get(), "/test.txt2")),
        ("path, normalised", path(get(), "/./test.txt")),
        ("path, doubled", path(get(), "//test.txt")),
        ("method", method(get(), "PUT")),
        ("range", get().set("range", "bytes=0-10")),
        ("range gone", without(get(), "range")),
        ("host", get().set("host", "other.s3.amazonaws.com")),
        (
            "payload",
            get().set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ),
        ("class", put().set("x-amz-storage-class", "STANDARD")),
        (
            "signature",
            get().replace("authorization", "f0e8bdb8", "f0e8bdb9"),
        ),
        (
            "signature cut",
            get().replace("authorization", "036bdb41", ""),
        ),
        (
            "signature no hex",
            get().replace("authorization", "036bdb41", "036bdbzz"),
        ),
        ("query", {
            let mut changed = get();
            changed.query = "acl".to_owned();
            changed
        }),
        ("url path", path(url(), "/test2.txt")),
        (
            "url query",
            url().requery("X-Amz-Signature", "acl&X-Amz-Signature"),
        ),
        ("url expiry", url().requery("86400", "86401")),
        ("url method", method(url(), "DELETE")),
        ("v2 path", path(v2_presigned(), "/photos/puppy.jpg2")),
        ("v2 method", method(v2_presigned(), "PUT")),
        ("v2 header", v2_presigned().set("x-amz-copy-source", "/a/b")),
        (
            "v2 operation",
            v2_presigned().requery("Expires", "acl&Expires"),
        ),
        ("v2 bucket", {
            let mut other = v2_presigned();
            other.bucket = Some("other");
            other
        }),
    ] {
        assert_eq!(example.refusal(), Kind::SignatureDoesNotMatch, "{what}");
    }
}

/// `host`, and 200 more names of headers that were signed.
fn more_headers() -> String {
    let more = (0..200).map(|number| format!("h{number};"));
    format!("=host;{}", more.collect::<String>())
}

#[test]
fn what_is_malformed_is_refused_by_its_own_code() {
    let (get, url) = (get_object, presigned);
    let header = Kind::AuthorizationHeaderMalformed;
    let query = Kind::AuthorizationQueryParametersError;
    for (what, example, kind) in [
        ("scope", get().replace("authorization", "/s3/", "/"), header),
        (
            "region",
            get().replace("authorization", "us-east-1", "eu-west-1"),
            header,
        ),
        (
            "service",
            get().replace("authorization", "/s3/", "/ec2/"),
            header,
        ),
        (
            "terminal",
            get().replace("authorization", "aws4_request", "aws5"),
            header,
        ),
        (
            "day",
            get().replace("authorization", "/20130524/", "/20130525/"),
            header,
        ),
        (
            "member",
            get().replace("authorization", "Signature=", "Sig="),
            header,
        ),
        (
            "twice",
            get().replace("authorization", "Signature=", "Signature=0,Signature="),
            header,
        ),
        (
            "header named twice",
            get().replace("authorization", "=host;", "=host;range;"),
            header,
        ),
        (
            "200 more headers",
            get().replace("authorization", "=host;", &more_headers()),
            header,
        ),
        (
            "header of a url named twice",
            url().requery("SignedHeaders=host", "SignedHeaders=host;host"),
            query,
        ),
        (
            "type",
            get().set("authorization", "Bearer dev-token"),
            Kind::InvalidArgument,
        ),
        ("empty", get().set("authorization", ""), Kind::AccessDenied),
        (
            "date",
            get().set("x-amz-date", "2013-05-24"),
            Kind::AccessDenied,
        ),
        (
            "payload",
            get().set("x-amz-content-sha256", "abc"),
            Kind::InvalidArgument,
        ),
        (
            "ecdsa",
            get().set(
                "x-amz-content-sha256",
                "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            ),
            Kind::NotImplemented,
        ),
        (
            "unsigned header",
            get().set("x-amz-copy-source", "/a/b"),
            Kind::AccessDenied,
        ),
        (
            "unsigned header of a url",
            url().set("x-amz-copy-source", "/a/b"),
            Kind::AccessDenied,
        ),
        (
            "host unsigned",
            get().replace("authorization", "=host;", "="),
            Kind::AccessDenied,
        ),
        (
            "url algorithm",
            url().requery("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
            query,
        ),
        ("url date", url().requery("20130524T", "20130524"), query),
        ("url expiry", url().requery("=86400", "=604801"), query),
        (
            "url expiry 0",
            url().requery("=86400", "=0"),
            Kind::AccessDenied,
        ),
        ("url expiry -1", url().requery("=86400", "=-1"), query),
        ("url expiry text", url().requery("=86400", "=soon"), query),
        (
            "url member",
            url().requery("X-Amz-SignedHeaders", "X-Amz-Signed"),
            query,
        ),
        (
            "url twice",
            url().requery("&X-Amz-Expires", "&X-Amz-Expires=1&X-Amz-Expires"),
            query,
        ),
        ("url region", url().requery("us-east-1", "eu-west-1"), query),
        (
            "v2 expiry",
            v2_presigned().requery("1175139620", "soon"),
            Kind::AccessDenied,
        ),
        (
            "v2 member",
            v2_presigned().requery("&Expires", "&Expired"),
            Kind::AccessDenied,
        ),
        (
            "v2 line feed in a header",
            v2_presigned().requery("Expires", "x-amz-meta-a=1%0Ax-amz-meta-b:2&Expires"),
            Kind::InvalidArgument,
        ),
        (
            "v2 line feed in a type",
            v2_presigned().requery("Expires", "Content-Type=a%0A&Expires"),
            Kind::InvalidArgument,
        ),
        (
            "v2 two headers in a name",
            v2_presigned().requery("Expires", "x-amz-meta-a:1%0Ax-amz-meta-b=2&Expires"),
            Kind::InvalidArgument,
        ),
        (
            "two ways",
            Example {
                query: presigned().query,
                ..get_object()
            },
            Kind::InvalidArgument,
        ),
        (
            "a token",
            url().requery("&X-Amz-Date", "&X-Amz-Security-Token=a&X-Amz-Date"),
            Kind::InvalidToken,
        ),
    ] {
        assert_eq!(example.refusal(), kind, "{what}");
    }
    let mut no_payload = get();
    no_payload
        .headers
        .retain(|(name, _)| name != "x-amz-content-sha256");
    let error = no_payload.judge().unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            Kind::InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256"
        )
    );
}

#[test]
fn a_signature_counts_for_its_time_only() {
    let at = |example: Example, seconds: i64| Example {
        now: Timestamp::from_seconds(example.now.seconds() + seconds),
        ..example
    };
    for (seconds, skewed) in [(900, false), (901, true), (-900, false), (-901, true)] {
        let result = at(get_object(), seconds).judge().map_err(|e| e.kind);
        assert_eq!(
            result.err(),
            skewed.then_some(Kind::RequestTimeTooSkewed),
            "{seconds}"
        );
    }
    for (seconds, denied) in [(86_400, false), (86_401, true), (-900, false), (-901, true)] {
        let result = at(presigned(), seconds).judge().map_err(|e| e.kind);
        assert_eq!(
            result.err(),
            denied.then_some(Kind::AccessDenied),
            "{seconds}"
        );
    }
    assert_eq!(at(v2_presigned(), 1).refusal(), Kind::AccessDenied);
}

#[test]
fn only_a_live_key_of_a_user_signs_requests() {
    for (purpose, may) in [
        (KeyPurpose::User, true),
        (KeyPurpose::Dev, true),
        (KeyPurpose::Forms, false),
        (KeyPurpose::Links, false),
    ] {
        for example in [get_object(), presigned(), v2_presigned()] {
            let result = Example { purpose, ..example }.judge().map_err(|e| e.kind);
            assert_eq!(
                result.err(),
                (!may).then_some(Kind::InvalidAccessKeyId),
                "{purpose:?}"
            );
        }
    }
    let over = Example {
        expires_at: Some(MAY_24),
        ..get_object()
    };
    assert_eq!(over.refusal(), Kind::InvalidAccessKeyId);
    let unknown = get_object().replace("authorization", "AKIAIOSFODNN7", "AKIAIOSFODNN8");
    assert_eq!(unknown.refusal(), Kind::InvalidAccessKeyId);
}

#[test]
fn any_region_will_do_where_none_is_configured() {
    let any = Example {
        region: None,
        ..get_object()
    };
    assert!(any.judge().is_ok());
}

#[test]
fn a_mismatch_shows_what_was_compared_and_its_debug_does_not() {
    let error = get_object().set("range", "bytes=0-10").judge().unwrap_err();
    let shown = |name: &str| {
        let found = error.extras.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.clone()).unwrap()
    };
    assert_eq!(shown("AWSAccessKeyId"), "AKIAIOSFODNN7EXAMPLE");
    assert!(shown("StringToSign").starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n"));
    assert!(shown("CanonicalRequest").contains("range:bytes=0-10\n"));
    assert!(shown("CanonicalRequestBytes").starts_with("47 45 54 0a"));
    assert!(!format!("{error} {error:?}").contains("bytes=0-10"));
}

#[test]
fn a_mismatch_of_a_long_request_shows_no_text_byte_by_byte() {
    let long = "a".repeat(9000);
    let error = get_object().set("range", &long).judge().unwrap_err();
    let names: Vec<_> = error.extras.iter().map(|(name, _)| *name).collect();
    let shown = "AWSAccessKeyId StringToSign SignatureProvided StringToSignBytes CanonicalRequest";
    assert_eq!(names.join(" "), shown);
}

#[test]
fn every_header_that_should_have_been_signed_is_named_once_and_in_order() {
    let mut request = get_object().set("authorization", &authorization("x-amz-date", "00"));
    for name in ["x-amz-b", "x-amz-a", "x-amz-b"] {
        request.headers.push((name.to_owned(), "1".to_owned()));
    }
    let error = request.judge().unwrap_err();
    let named = "x-amz-a, x-amz-b, x-amz-content-sha256, host".to_owned();
    assert_eq!(error.extras, [("HeadersNotSigned", named)]);
}

#[test]
fn what_a_request_says_of_its_payload_is_told() {
    let proven = put_chunks().judge().unwrap().unwrap();
    assert_eq!(proven.payload, PayloadClaim::SignedChunks);
    assert!(proven.chain.is_some() && !proven.presigned);
    let proven = presigned().judge().unwrap().unwrap();
    assert_eq!(proven.payload, PayloadClaim::Unsigned);
    assert!(proven.presigned);
}

#[test]
fn a_temporary_key_signs_with_its_token_and_while_it_lives() {
    let with = |token: &str| {
        presigned().requery(
            "&X-Amz-Date",
            &format!("&X-Amz-Security-Token={token}&X-Amz-Date"),
        )
    };
    let temporary = |example: Example, seconds: i64| Example {
        token: Some("secret-token"),
        expires_at: Some(Timestamp::from_seconds(MAY_24.seconds() + seconds)),
        ..example
    };
    for (what, example, kind) in [
        ("none", temporary(presigned(), 60), Kind::InvalidToken),
        (
            "another",
            temporary(with("other-token"), 60),
            Kind::InvalidToken,
        ),
        (
            "another, over",
            temporary(with("other-token"), 0),
            Kind::InvalidToken,
        ),
        (
            "its own, over",
            temporary(with("secret-token"), 0),
            Kind::ExpiredToken,
        ),
        // The published signature is not over a token.
        (
            "its own",
            temporary(with("secret-token"), 60),
            Kind::SignatureDoesNotMatch,
        ),
    ] {
        assert_eq!(example.refusal(), kind, "{what}");
    }
}
