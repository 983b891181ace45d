//! How a form post is answered when it succeeds.
//!
//! Owns: 200, 201 with Amazon's `PostResponse`, 204, and the redirect with bucket, key and etag in its query.
//! Never does: redirect a refusal, or claim an encryption. Invariants: `ETag`, `Location` and one checksum are on every 200, 201 and
//! 204: the checksum that the form named, else CRC64NVME; `PostResponse` has no namespace; the redirect keeps the URL's own query
//! and fragment in place.
//!
//! Sources: Amazon S3 API Reference, "POST Object"; ceph/s3-tests for the order in the redirect.

use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use super::body::{ResponseBody, empty, full};
use super::dialect::{AMZ_ID_2, HOST_ID, push_element};
use super::s3::push_text;
use super::stored_headers::{CHECKSUM_TYPE, WHOLE};
use crate::model::{Bucket, Checksum, ChecksumAlgorithm, Crc64, ETag, ObjectKey};
use crate::policy::SuccessAction;

/// RFC 3986, section 2.3: what need not be encoded anywhere.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What was stored.
#[derive(Debug)]
pub struct Posted<'a> {
    /// Absolute URL of this service, without a trailing `/`.
    pub base_url: &'a str,
    /// The bucket.
    pub bucket: &'a Bucket,
    /// The key as the form named it.
    pub key: &'a ObjectKey,
    /// The tag of the posted bytes.
    pub etag: ETag,
    /// The checksum of the posted bytes.
    pub crc64: Crc64,
    /// The checksum that the form named, and that they have.
    pub checksum: Option<&'a Checksum>,
}

impl Posted<'_> {
    /// Writes the answer that the form asked for.
    pub fn answer(&self, success: &SuccessAction) -> Response<ResponseBody> {
        let mut response = match success {
            SuccessAction::Redirect(url) => self.redirect(url),
            SuccessAction::Status200 => self.created(StatusCode::OK, empty()),
            SuccessAction::Status204 => self.created(StatusCode::NO_CONTENT, empty()),
            SuccessAction::Status201 => {
                let mut response = self.created(StatusCode::CREATED, full(self.post_response()));
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
                response
            }
        };
        response.headers_mut().insert(AMZ_ID_2, HOST_ID);
        response
    }

    /// Where the object is to be found.
    pub(super) fn location(&self) -> String {
        let key = utf8_percent_encode(self.key.as_str(), UNRESERVED);
        format!("{}/{}/{key}", self.base_url, self.bucket)
    }

    /// An answer with the headers that every success but the redirect has.
    pub(super) fn created(&self, status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        self.put(&mut response, LOCATION, &self.location());
        self.put(&mut response, ETAG, &self.etag.quoted());
        let (name, checksum) = match self.checksum {
            Some(named) => (named.algorithm().field(), named.base64()),
            None => (ChecksumAlgorithm::Crc64Nvme.field(), self.crc64.base64()),
        };
        self.put(&mut response, HeaderName::from_static(name), &checksum);
        response.headers_mut().insert(CHECKSUM_TYPE, WHOLE);
        response
    }

    fn redirect(&self, url: &str) -> Response<ResponseBody> {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        self.put(&mut response, LOCATION, &self.redirect_url(url));
        self.put(&mut response, ETAG, &self.etag.quoted());
        response
    }

    fn redirect_url(&self, url: &str) -> String {
        let (url, fragment) = url
            .split_once('#')
            .map_or((url, None), |(url, fragment)| (url, Some(fragment)));
        let separator = match url.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        // A URL is ASCII (RFC 3986); what is beyond is encoded, all else is the form's own text.
        let url = utf8_percent_encode(url, CONTROLS);
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let (bucket, key, etag) = (
            encode(self.bucket.as_str()),
            encode(self.key.as_str()),
            encode(&self.etag.quoted()),
        );
        let fragment = fragment
            .map(|fragment| format!("#{}", utf8_percent_encode(fragment, CONTROLS)))
            .unwrap_or_default();
        format!("{url}{separator}bucket={bucket}&key={key}&etag={etag}{fragment}")
    }

    fn post_response(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
        push_element(&mut text, "Location", &self.location());
        push_element(&mut text, "Bucket", self.bucket.as_str());
        // As lists write it: what is stored, also where XML has no character for it.
        let mut key = String::new();
        push_text(&mut key, self.key.as_str());
        let key = key.replace('\'', "&apos;");
        text.push_str(&format!("<Key>{key}</Key>"));
        push_element(&mut text, "ETag", &self.etag.quoted());
        text.push_str("</PostResponse>");
        text
    }

    /// Leaves a header out rather than letting anything that is not one line of visible ASCII into it.
    fn put(&self, response: &mut Response<ResponseBody>, name: HeaderName, value: &str) {
        if let (true, Ok(value)) = (value.is_ascii(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Md5;
    use http_body_util::BodyExt;

    fn answer(success: &SuccessAction) -> Response<ResponseBody> {
        let (bucket, key) = (
            Bucket::parse("box").unwrap(),
            ObjectKey::parse("a b/ü&.mp4").unwrap(),
        );
        let posted = Posted {
            base_url: "http://h:1",
            bucket: &bucket,
            key: &key,
            etag: ETag::of_whole(Md5::of(b"")),
            crc64: Crc64::of(b""),
            checksum: None,
        };
        posted.answer(success)
    }

    #[tokio::test]
    async fn a_201_carries_amazons_document_with_the_location_of_the_header() {
        let response = answer(&SuccessAction::Status201);
        assert_eq!(response.status(), 201);
        assert_eq!(
            response.headers()[LOCATION],
            "http://h:1/box/a%20b%2F%C3%BC%26.mp4"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>http://h:1/box/a%20b%2F%C3%BC%26.mp4</Location>\
            <Bucket>box</Bucket><Key>a b/ü&amp;.mp4</Key><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag></PostResponse>";
        assert_eq!(body, expected);
    }

    #[test]
    fn empty_answers_have_etag_and_location_too() {
        for (success, status) in [
            (SuccessAction::Status200, 200),
            (SuccessAction::Status204, 204),
        ] {
            let response = answer(&success);
            assert_eq!(response.status(), status);
            assert_eq!(
                response.headers()[ETAG],
                "\"d41d8cd98f00b204e9800998ecf8427e\""
            );
            assert!(response.headers().contains_key(LOCATION));
        }
    }

    #[test]
    fn the_redirect_keeps_the_urls_own_query_and_fragment() {
        let tail =
            "bucket=box&key=a%20b%2F%C3%BC%26.mp4&etag=%22d41d8cd98f00b204e9800998ecf8427e%22";
        for (url, expected) in [
            ("http://a/b", format!("http://a/b?{tail}")),
            ("http://a/b?", format!("http://a/b?{tail}")),
            ("http://a/b?q=1", format!("http://a/b?q=1&{tail}")),
            ("http://a/b?q=1#f", format!("http://a/b?q=1&{tail}#f")),
            ("http://a/\u{fc}?%20", format!("http://a/%C3%BC?%20&{tail}")),
        ] {
            let response = answer(&SuccessAction::Redirect(url.to_owned()));
            assert_eq!(response.status(), 303);
            assert_eq!(response.headers()[LOCATION], expected.as_str());
        }
    }
}
