//! Cross-origin access for browsers.
//!
//! Owns: the answer to preflights, and the headers on EVERY other answer to a matching origin, errors too: without them a
//! page cannot even read why it was refused. A bucket that has rules of its own is answered by them, as Amazon S3 does; all other
//! routes and buckets by `[cors] origins`, a safe default that exposes what uploaders read.
//!
//! Never does: protect anything. CORS is not access control; a request of a foreign origin is served without the headers.
//! By default credentials are never allowed, so `*` stays harmless; a rule that names an origin allows them, as Amazon's does.
//!
//! Sources: the Fetch standard, "CORS protocol"; Amazon S3 User Guide, "How does Amazon S3 evaluate the CORS configuration", and its
//! recorded answers.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::body::{ResponseBody, empty};
use super::cors_rules::BucketRules;
use super::error::{ApiError, ErrorCode};

/// How long a browser may remember a preflight, in seconds: one OPTIONS a day instead of one for every chunk.
const MAX_AGE_SECONDS: &str = "86400";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// There is no wildcard for a prefix, so every header is named.
const EXPOSED: &str = "ETag, Location, Content-Range, Accept-Ranges, Retry-After, x-amz-request-id, x-amz-id-2, x-request-id, \
    x-amz-version-id, x-amz-expiration, x-amz-abort-date, x-amz-abort-rule-id, x-amz-mp-parts-count, x-amz-tagging-count, x-amz-checksum-crc32, x-amz-checksum-crc32c, x-amz-checksum-crc64nvme, x-amz-checksum-sha1, \
    x-amz-checksum-sha256, x-amz-checksum-type, x-pillarbox-explain";
/// Longest list of requested headers that is echoed, in bytes.
pub(super) const MAX_REQUESTED_BYTES: usize = 4096;
const PRIVATE_NETWORK_ASKED: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The origin of a request, if a configured one covers it: the value to send back.
fn allowed_origin(request: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = request.get(ORIGIN)?;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    origins
        .iter()
        .any(|allowed| allowed.as_bytes() == origin.as_bytes())
        .then(|| origin.clone())
}

/// By what cross-origin requests to one resource are answered.
#[derive(Clone, Debug)]
pub enum Cors<'a> {
    /// By the origins that may come; `*` is any.
    Origins(&'a [String]),
    /// By the rules of its bucket.
    Rules(BucketRules),
}

impl Cors<'_> {
    /// Answers a preflight, as Amazon S3 does.
    ///
    /// # Errors
    /// `BadRequest` without an origin or a method, `AccessForbidden` when it is not allowed.
    pub fn preflight(&self, request: &HeaderMap) -> Result<Response<ResponseBody>, ApiError> {
        if !request.contains_key(ORIGIN) {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                "Insufficient information. Origin request header needed.",
            ));
        }
        if !request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Err(ApiError::new(
                ErrorCode::BadRequest,
                "Invalid Access-Control-Request-Method: null",
            ));
        }
        let mut response = match self {
            Self::Origins(origins) => default_preflight(request, origins)?,
            Self::Rules(rules) => rules.preflight(request)?,
        };
        let asked = request.get(PRIVATE_NETWORK_ASKED);
        if asked.is_some_and(|asked| asked == "true") && self.names_origin(request) {
            let allowed = HeaderValue::from_static("true");
            response.headers_mut().insert(PRIVATE_NETWORK, allowed);
        }
        Ok(response)
    }

    /// Whether what lets the origin of a preflight in names it. That any page may come says nothing of pages of the internet that
    /// reach into a private network.
    fn names_origin(&self, request: &HeaderMap) -> bool {
        match self {
            Self::Origins(origins) => allowed_origin(request, origins).is_some_and(|it| it != "*"),
            Self::Rules(rules) => rules.name_origin(request),
        }
    }

    /// Puts the CORS headers on an answer.
    pub fn decorate(&self, method: &Method, request: &HeaderMap, answer: &mut HeaderMap) {
        if matches!(self, Self::Origins([])) {
            return;
        }
        answer.append(
            VARY,
            HeaderValue::from_static(
                "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
            ),
        );
        match self {
            Self::Rules(rules) => rules.decorate(method, request, answer),
            Self::Origins(origins) => {
                let Some(origin) = allowed_origin(request, origins) else {
                    return;
                };
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                answer.insert(
                    ACCESS_CONTROL_EXPOSE_HEADERS,
                    HeaderValue::from_static(EXPOSED),
                );
            }
        }
    }
}

fn default_preflight(
    request: &HeaderMap,
    origins: &[String],
) -> Result<Response<ResponseBody>, ApiError> {
    if allowed_origin(request, origins).is_none() {
        let why = "CORSResponse: This CORS request is not allowed. The origin is not one of those configured ([cors] origins).";
        return Err(ApiError::new(ErrorCode::AccessForbidden, why));
    }
    let mut response = Response::new(empty());
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    headers.insert(
        ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static(MAX_AGE_SECONDS),
    );
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(asked) = asked.filter(|asked| asked.len() <= MAX_REQUESTED_BYTES) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CorsRule;

    fn request(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    const ASKED: [(&str, &str); 3] = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-requested-with"),
    ];

    #[test]
    fn a_preflight_of_an_allowed_origin_gets_what_it_asks_for() {
        for origins in [vec!["*".to_owned()], vec!["https://a.example".to_owned()]] {
            let response = Cors::Origins(&origins).preflight(&request(&ASKED)).unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(
                response.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
                "x-requested-with"
            );
            assert_eq!(response.headers()[ACCESS_CONTROL_MAX_AGE], "86400");
        }
    }

    #[test]
    fn a_preflight_without_origin_or_of_a_foreign_one_is_refused_as_amazon_does() {
        let all = ["*".to_owned()];
        assert_eq!(
            Cors::Origins(&all)
                .preflight(&request(&ASKED[1..]))
                .unwrap_err()
                .code,
            ErrorCode::BadRequest
        );
        assert_eq!(
            Cors::Origins(&all)
                .preflight(&request(&ASKED[..1]))
                .unwrap_err()
                .code,
            ErrorCode::BadRequest
        );
        let other = ["https://b.example".to_owned()];
        let foreign = Cors::Origins(&other).preflight(&request(&ASKED));
        assert_eq!(foreign.unwrap_err().code, ErrorCode::AccessForbidden);
    }

    #[test]
    fn answers_name_the_origin_and_never_allow_credentials() {
        for (origins, shown) in [
            ("*", Some("*")),
            ("https://a.example", Some("https://a.example")),
            ("https://b.example", None),
        ] {
            let mut answer = HeaderMap::new();
            let origins = [origins.to_owned()];
            Cors::Origins(&origins).decorate(&Method::POST, &request(&ASKED), &mut answer);
            assert_eq!(
                answer
                    .get(ACCESS_CONTROL_ALLOW_ORIGIN)
                    .map(|v| v.to_str().unwrap()),
                shown
            );
            assert!(!answer.contains_key("access-control-allow-credentials"));
            assert!(answer.contains_key(VARY));
        }
    }

    #[test]
    fn only_a_page_whose_origin_is_named_is_let_into_a_private_network() {
        let asked = request(&[
            ASKED[0],
            ASKED[1],
            ("access-control-request-private-network", "true"),
        ]);
        for (origin, is_let_in) in [("*", false), ("https://a.example", true)] {
            let rule = CorsRule {
                id: String::new(),
                origins: vec![origin.to_owned()],
                methods: vec!["POST".to_owned()],
                headers: Vec::new(),
                expose: Vec::new(),
                max_age: None,
            };
            let rules = BucketRules {
                rules: vec![rule].into(),
                resource: "BUCKET",
            };
            let origins = [origin.to_owned()];
            for cors in [Cors::Origins(&origins), Cors::Rules(rules)] {
                let response = cors.preflight(&asked).unwrap();
                let is_allowed = response.headers().contains_key(PRIVATE_NETWORK);
                assert_eq!(is_allowed, is_let_in, "{origin}");
            }
        }
    }
}
