//! Cross-origin answers by the rules of one bucket.
//!
//! Owns: what a preflight and every other answer carry when a bucket has rules. The first rule that allows origin, method and headers
//! answers; a preflight that none allows is refused in Amazon's words; any other request is served without the headers then.
//! Never does: choose the bucket, or match patterns; `model` does.
//! Invariant: nothing is echoed but the origin and the header names that the request itself sent.
//!
//! Sources: Amazon S3's recorded answers to preflights; Amazon S3 User Guide, "Using cross-origin resource sharing (CORS)".

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};

use super::body::{ResponseBody, empty};
use super::cors::MAX_REQUESTED_BYTES;
use super::error::{ApiError, ErrorCode};
use crate::model::{CorsRule, SharedRules};

/// Most header names that a preflight asks for.
const MAX_REQUESTED_NAMES: usize = 100;
/// What every page may read besides what its rule exposes: why it was refused.
const ALWAYS_EXPOSED: &str = "x-pillarbox-explain";

/// The rules of one bucket, and whether the request names the bucket or an object in it.
#[derive(Clone, Debug)]
pub struct BucketRules {
    /// The rules, in order.
    pub rules: SharedRules<CorsRule>,
    /// `BUCKET` or `OBJECT`, as a refusal names it.
    pub resource: &'static str,
}

impl BucketRules {
    /// Answers a preflight whose origin and method are there; what every answer carries, [`Self::decorate`] adds.
    ///
    /// # Errors
    /// `AccessForbidden` when no rule allows it.
    pub(super) fn preflight(
        &self,
        request: &HeaderMap,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if self.rules.is_empty() {
            let why = "CORSResponse: CORS is not enabled for this bucket.";
            return Err(ApiError::new(ErrorCode::AccessForbidden, why));
        }
        let method = text(request, ACCESS_CONTROL_REQUEST_METHOD);
        let asked = text(request, ACCESS_CONTROL_REQUEST_HEADERS);
        let Some(headers) = names(asked) else {
            return Err(self.not_allowed(method));
        };
        let origin = text(request, ORIGIN);
        if CorsRule::first_that_allows(&self.rules, origin, method, &headers).is_none() {
            return Err(self.not_allowed(method));
        }
        let mut response = Response::new(empty());
        if !headers.is_empty() {
            // In lower case, as Amazon writes them, however they were asked for.
            let headers = headers.join(", ").to_ascii_lowercase();
            let answer = response.headers_mut();
            put(answer, ACCESS_CONTROL_ALLOW_HEADERS, &headers);
        }
        Ok(response)
    }

    /// Puts the headers on an answer, if a rule allows the request.
    pub(super) fn decorate(&self, method: &Method, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = request.get(ORIGIN) else {
            return;
        };
        let is_preflight = *method == Method::OPTIONS;
        let (method, headers) = match is_preflight {
            true => (
                text(request, ACCESS_CONTROL_REQUEST_METHOD),
                names(text(request, ACCESS_CONTROL_REQUEST_HEADERS)),
            ),
            false => (method.as_str(), Some(Vec::new())),
        };
        let Some(headers) = headers else {
            return;
        };
        let shown = origin.to_str().unwrap_or_default();
        let rule = CorsRule::first_that_allows(&self.rules, shown, method, &headers);
        let Some(rule) = rule else {
            return;
        };
        if rule.allows_any_origin() {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        let exposed = rule.expose.iter().map(String::as_str);
        let exposed = exposed.chain([ALWAYS_EXPOSED]).collect::<Vec<_>>();
        put(answer, ACCESS_CONTROL_EXPOSE_HEADERS, &exposed.join(", "));
        // Amazon says both on every answer, though browsers look for them on that to a preflight only.
        let methods = rule.methods.join(", ");
        put(answer, ACCESS_CONTROL_ALLOW_METHODS, &methods);
        if let Some(seconds) = rule.max_age {
            answer.insert(ACCESS_CONTROL_MAX_AGE, seconds.into());
        }
    }

    /// Whether the rule that allows a preflight names its origin.
    pub(super) fn name_origin(&self, request: &HeaderMap) -> bool {
        let origin = text(request, ORIGIN);
        let method = text(request, ACCESS_CONTROL_REQUEST_METHOD);
        let headers = names(text(request, ACCESS_CONTROL_REQUEST_HEADERS)).unwrap_or_default();
        CorsRule::first_that_allows(&self.rules, origin, method, &headers)
            .is_some_and(|rule| !rule.allows_any_origin())
    }

    fn not_allowed(&self, method: &str) -> ApiError {
        let why = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / \
            Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
        ApiError::new(ErrorCode::AccessForbidden, why)
            .with("Method", method)
            .with("ResourceType", self.resource)
    }
}

fn text(request: &HeaderMap, name: HeaderName) -> &str {
    let value = request.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// The names of a list of headers, as they were sent; none when it is longer than any page's, since each is compared with every pattern of
/// every rule.
fn names(list: &str) -> Option<Vec<&str>> {
    if list.len() > MAX_REQUESTED_BYTES {
        return None;
    }
    let names = list.split(',').map(str::trim);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    Some(names).filter(|names| names.len() <= MAX_REQUESTED_NAMES)
}

fn put(answer: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<CorsRule> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        vec![
            CorsRule {
                id: String::new(),
                origins: owned(&["https://*.example.com"]),
                methods: owned(&["POST", "PUT"]),
                headers: owned(&["x-requested-with"]),
                expose: owned(&["ETag"]),
                max_age: Some(600),
            },
            CorsRule {
                id: String::new(),
                origins: owned(&["*"]),
                methods: owned(&["GET"]),
                headers: Vec::new(),
                expose: Vec::new(),
                max_age: None,
            },
        ]
    }

    fn asked(origin: &str, method: &str, headers: &str) -> HeaderMap {
        let mut request = HeaderMap::new();
        put(&mut request, ORIGIN, origin);
        put(&mut request, ACCESS_CONTROL_REQUEST_METHOD, method);
        if !headers.is_empty() {
            put(&mut request, ACCESS_CONTROL_REQUEST_HEADERS, headers);
        }
        request
    }

    fn preflight(rules: &[CorsRule], request: &HeaderMap) -> Result<HeaderMap, ApiError> {
        let resource = "BUCKET";
        let rules = rules.to_vec().into();
        let bucket = BucketRules { rules, resource };
        let mut headers = bucket.preflight(request)?.headers().clone();
        bucket.decorate(&Method::OPTIONS, request, &mut headers);
        Ok(headers)
    }

    #[test]
    fn a_preflight_is_answered_by_the_first_rule_that_allows_it() {
        let request = asked("https://a.example.com", "POST", "X-Requested-With");
        let answer = preflight(&rules(), &request).unwrap();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "https://a.example.com"),
            (ACCESS_CONTROL_ALLOW_METHODS, "POST, PUT"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "x-requested-with"),
            (ACCESS_CONTROL_EXPOSE_HEADERS, "ETag, x-pillarbox-explain"),
            (ACCESS_CONTROL_MAX_AGE, "600"),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
        ] {
            assert_eq!(answer[&name], value, "{name}");
        }
    }

    #[test]
    fn a_rule_for_everybody_answers_a_star_and_no_credentials() {
        let answer = preflight(&rules(), &asked("null", "GET", "")).unwrap();
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_HEADERS));
    }

    #[test]
    fn what_no_rule_allows_is_refused_with_method_and_resource() {
        for (origin, method, headers) in [
            ("https://a.example.com", "DELETE", ""),
            ("https://a.example.com", "POST", "x-other"),
            ("https://example.org", "POST", ""),
        ] {
            let error = preflight(&rules(), &asked(origin, method, headers)).unwrap_err();
            assert_eq!(error.code, ErrorCode::AccessForbidden);
            let extras = [
                ("Method", method.to_owned()),
                ("ResourceType", "BUCKET".to_owned()),
            ];
            assert_eq!(error.extras, extras);
        }
        let error = preflight(&[], &asked("https://a", "GET", "")).unwrap_err();
        assert_eq!(
            error.message,
            "CORSResponse: CORS is not enabled for this bucket."
        );
    }

    #[test]
    fn any_other_request_that_no_rule_allows_is_answered_without_the_headers() {
        let (rules, resource) = (rules(), "OBJECT");
        let bucket = BucketRules {
            rules: rules.into(),
            resource,
        };
        for (origin, method, shown) in [
            ("https://a.example.com", Method::POST, true),
            ("https://example.org", Method::POST, false),
            ("https://example.org", Method::GET, true),
        ] {
            let mut request = HeaderMap::new();
            put(&mut request, ORIGIN, origin);
            let mut answer = HeaderMap::new();
            bucket.decorate(&method, &request, &mut answer);
            for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_METHODS] {
                assert_eq!(answer.contains_key(&name), shown, "{name}");
            }
            let is_first = method == Method::POST && shown;
            assert_eq!(answer.contains_key(ACCESS_CONTROL_MAX_AGE), is_first);
        }
    }
}
