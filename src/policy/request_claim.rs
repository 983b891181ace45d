//! The grammar of the four ways to sign a request.
//!
//! Owns: what must be there, its shapes, and that the scope is ours. Never does: see a key.
//!
//! Invariants: of what must be there once, a repeat is refused. The scope's day is that of the date. In Version 4 `host` is signed and
//! so is every `x-amz-*` header that was sent; a header is named as signed once, so what is computed is never longer than what was sent.
//!
//! Sources: as `request.rs`.

use std::borrow::Cow;
use std::time::Duration;

use super::canonical::SentRequest;
use super::date::{has_shape, moment_of, parse_http_date, parse_moment};
use super::query::Query;
use super::request::{Life, MAX_PRESIGNED_SECONDS, PayloadClaim, RequestClaim, Version};
use super::request_error::{RequestError, RequestErrorKind as Kind};
use super::signature::V4_ALGORITHM;
use super::signing::{V4_SERVICE, V4_TERMINAL};
use crate::model::{Timestamp, decode_hex};

const PAYLOAD: &str = "x-amz-content-sha256";
const TOKEN: &str = "x-amz-security-token";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Most headers that a request may say it signed: twice as many as HTTP/1.1 carries here (`server/connection.rs`).
const MAX_SIGNED_HEADERS: usize = 200;

/// What a signature of Version 4 is made for.
#[derive(Clone)]
pub(super) struct V4Parts {
    /// `yyyyMMddTHHmmssZ`
    pub(super) date: String,
    pub(super) region: String,
}

/// What both ways of Version 4 present.
struct Presented<'a> {
    /// The kind of error for what is malformed.
    malformed: Kind,
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: Cow<'a, str>,
    life: Life,
    payload: Cow<'a, str>,
    token: Option<Cow<'a, str>>,
}

/// From the `Authorization` header.
pub(super) fn from_header(
    sent: &SentRequest<'_>,
    query: &Query<'_>,
    region: Option<&str>,
) -> Result<RequestClaim, RequestError> {
    let header = sent.header_text("authorization");
    if header.as_deref() == Some("") {
        return Err(RequestError::new(Kind::AccessDenied, "Access Denied"));
    }
    let header = header.unwrap_or_default();
    if let Some(rest) = header.strip_prefix("AWS ") {
        return header_v2(sent, query, rest);
    }
    let rest = header.strip_prefix(V4_ALGORITHM);
    let Some(rest) = rest.filter(|rest| rest.starts_with([' ', ','])) else {
        return Err(argument(
            "Authorization",
            "",
            "Unsupported Authorization Type",
        ));
    };
    let [credential, signed_headers, signature] = header_members(rest)?;
    let (date, at) = signing_date(sent).ok_or_else(no_date)?;
    let Some(payload) = sent.header_text(PAYLOAD) else {
        let message = format!("Missing required header for this request: {PAYLOAD}");
        return Err(RequestError::new(Kind::InvalidRequest, message));
    };
    let presented = Presented {
        malformed: Kind::AuthorizationHeaderMalformed,
        credential,
        signed_headers,
        signature,
        date,
        life: Life::Around(at),
        payload,
        token: sent.header_text(TOKEN),
    };
    presented.claim(sent, query, region, false)
}

/// When a request says that it was signed, and how that is written in what was signed: in `x-amz-date`, or in `Date` without it.
fn signing_date<'a>(sent: &SentRequest<'a>) -> Option<(Cow<'a, str>, Timestamp)> {
    match sent.header_text("x-amz-date") {
        Some(date) => parse_moment(&date).map(|at| (date, at)),
        None => parse_http_date(&sent.header_text("date")?).map(|at| (moment_of(at).into(), at)),
    }
}

/// From the query of a presigned URL of Version 4.
pub(super) fn from_query_v4(
    sent: &SentRequest<'_>,
    query: &Query<'_>,
    region: Option<&str>,
) -> Result<RequestClaim, RequestError> {
    let member = |name: &'static str| match (query.count(name), query.get(name)) {
        (1, Some(value)) => Ok(value),
        _ => Err(query_error(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        )),
    };
    if member("X-Amz-Algorithm")? != V4_ALGORITHM {
        return Err(query_error(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"",
        ));
    }
    let date = member("X-Amz-Date")?;
    let Some(from) = parse_moment(date) else {
        return Err(query_error(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
        ));
    };
    let seconds = expiry_seconds(member("X-Amz-Expires")?)?;
    let in_query = |name| query.get(name).map(Cow::Borrowed);
    let presented = Presented {
        malformed: Kind::AuthorizationQueryParametersError,
        credential: member("X-Amz-Credential")?,
        signed_headers: member("X-Amz-SignedHeaders")?,
        signature: member("X-Amz-Signature")?,
        life: Life::Until(Some(from), from.plus(seconds)),
        date: date.into(),
        payload: in_query("X-Amz-Content-Sha256")
            .or_else(|| sent.header_text(PAYLOAD))
            .unwrap_or(UNSIGNED.into()),
        token: in_query("X-Amz-Security-Token").or_else(|| sent.header_text(TOKEN)),
    };
    presented.claim(sent, query, region, true)
}

/// From the query of a presigned URL of Version 2.
pub(super) fn from_query_v2(
    sent: &SentRequest<'_>,
    query: &Query<'_>,
) -> Result<RequestClaim, RequestError> {
    let member = |name: &'static str| match (query.count(name), query.get(name)) {
        (1, Some(value)) => Ok(value),
        _ => Err(RequestError::new(
            Kind::AccessDenied,
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
        )),
    };
    let expires = member("Expires")?;
    let Ok(end) = expires.parse::<i64>() else {
        let message = format!("Invalid date (should be seconds since epoch): {expires}");
        return Err(RequestError::new(Kind::AccessDenied, message));
    };
    check_hoisted(query)?;
    Ok(RequestClaim {
        access_key_id: member("AWSAccessKeyId")?.to_owned(),
        signature: member("Signature")?.to_owned(),
        token: query.get(TOKEN).map(str::to_owned),
        life: Life::Until(None, Timestamp::from_seconds(end)),
        payload: unchained(sent)?,
        presigned: true,
        version: Version::V2,
        texts: sent.strings_v2(query, expires, true),
    })
}

/// What stands for a header must be one: in the text that is signed a line feed or a colon could make two of it.
fn check_hoisted(query: &Query<'_>) -> Result<(), RequestError> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    let mut headers = query.headers_v2();
    match headers.find(|(name, value)| !is_name(name) || value.chars().any(char::is_control)) {
        None => Ok(()),
        Some((name, _)) => {
            let message = "A parameter that stands for a header must have its name, and no control characters in its value.";
            let shown = |c: &char| !c.is_control();
            let name = name.chars().filter(shown).collect::<String>();
            Err(argument(&name, "", message))
        }
    }
}

fn header_v2(
    sent: &SentRequest<'_>,
    query: &Query<'_>,
    rest: &str,
) -> Result<RequestClaim, RequestError> {
    let Some((access_key_id, signature)) = rest.split_once(':') else {
        let message = "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature";
        return Err(argument("Authorization", "", message));
    };
    let named = sent.header_v2_text("x-amz-date");
    let date = sent.header_v2_text("date").unwrap_or_default();
    let Some(at) = parse_http_date(named.as_deref().unwrap_or(&date)) else {
        return Err(no_date());
    };
    let date = if named.is_some() { "" } else { &date };
    Ok(RequestClaim {
        access_key_id: access_key_id.to_owned(),
        signature: signature.to_owned(),
        token: sent.header_text(TOKEN).map(Cow::into_owned),
        life: Life::Around(at),
        payload: unchained(sent)?,
        presigned: false,
        version: Version::V2,
        texts: sent.strings_v2(query, date, false),
    })
}

/// What a request of Version 2 says of its payload: it has no chain of signatures.
fn unchained(sent: &SentRequest<'_>) -> Result<PayloadClaim, RequestError> {
    let named = sent.header_text(PAYLOAD);
    match parse_payload(named.as_deref().unwrap_or(UNSIGNED))? {
        PayloadClaim::SignedChunks | PayloadClaim::SignedTrailer => Err(bad_payload()),
        other => Ok(other),
    }
}

/// `Credential=..., SignedHeaders=..., Signature=...`, each once, in any order.
fn header_members(rest: &str) -> Result<[&str; 3], RequestError> {
    const NAMES: [&str; 3] = ["Credential", "SignedHeaders", "Signature"];
    let malformed = |message: String| {
        let message = format!("The authorization header is malformed; {message}");
        RequestError::new(Kind::AuthorizationHeaderMalformed, message)
    };
    let mut values = [None; 3];
    for member in rest.split([',', ' ']).filter(|member| !member.is_empty()) {
        let (name, value) = member.split_once('=').unwrap_or((member, ""));
        let place = NAMES.iter().position(|known| *known == name);
        match place.and_then(|place| values.get_mut(place)) {
            Some(held @ None) => *held = Some(value),
            _ => return Err(malformed(format!("\"{name}\" is not expected there."))),
        }
    }
    let missing = |name| malformed(format!("missing {name}."));
    let [credential, signed_headers, signature] = values;
    Ok([
        credential.ok_or_else(|| missing(NAMES[0]))?,
        signed_headers.ok_or_else(|| missing(NAMES[1]))?,
        signature.ok_or_else(|| missing(NAMES[2]))?,
    ])
}

fn expiry_seconds(text: &str) -> Result<Duration, RequestError> {
    match text.parse::<i64>() {
        Err(_) => Err(query_error("X-Amz-Expires should be a number")),
        Ok(..0) => Err(query_error("X-Amz-Expires must be non-negative")),
        Ok(seconds) if seconds > MAX_PRESIGNED_SECONDS => Err(query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        )),
        Ok(seconds) => Ok(Duration::from_secs(seconds.unsigned_abs())),
    }
}

impl Presented<'_> {
    fn claim(
        self,
        sent: &SentRequest<'_>,
        query: &Query<'_>,
        region: Option<&str>,
        presigned: bool,
    ) -> Result<RequestClaim, RequestError> {
        let (access_key_id, region) = self.scope(region)?;
        check_signed(sent, &self.signed_names()?)?;
        Ok(RequestClaim {
            access_key_id,
            signature: self.signature.to_owned(),
            payload: parse_payload(&self.payload)?,
            presigned,
            version: Version::V4(V4Parts {
                date: self.date.into_owned(),
                region,
            }),
            texts: sent.canonical_v4(query, self.signed_headers, &self.payload),
            token: self.token.map(Cow::into_owned),
            life: self.life,
        })
    }

    /// Key id and region of `AKID/yyyyMMdd/region/s3/aws4_request`, split from the right.
    fn scope(&self, expected: Option<&str>) -> Result<(String, String), RequestError> {
        let mut parts = self.credential.rsplitn(5, '/');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let (Some(terminal), Some(service), Some(region), Some(day), Some(id)) =
            (next(), next(), next(), next(), next())
        else {
            return Err(self.malformed(
                "Credential",
                "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ));
        };
        let fault = if !has_shape(day, "00000000") {
            format!(
                "incorrect date format \"{day}\". This date in the credential must be in the format \"yyyyMMdd\"."
            )
        } else if !self.date.starts_with(day) {
            format!(
                "Invalid credential date \"{day}\". This date is not the same as X-Amz-Date: \"{}\".",
                self.date
            )
        } else if let Some(expected) = expected.filter(|expected| *expected != region) {
            let fault = format!("the region '{region}' is wrong; expecting '{expected}'");
            return Err(self
                .malformed("Credential", &fault)
                .with("Region", expected));
        } else if service != V4_SERVICE {
            format!("incorrect service \"{service}\". This endpoint belongs to \"{V4_SERVICE}\".")
        } else if terminal != V4_TERMINAL {
            format!("incorrect terminal \"{terminal}\". This endpoint uses \"{V4_TERMINAL}\".")
        } else {
            return Ok((id.to_owned(), region.to_owned()));
        };
        Err(self.malformed("Credential", &fault))
    }

    /// The headers that were signed, as it is said: each is copied for the signature, so none may be named twice.
    fn signed_names(&self) -> Result<Vec<&str>, RequestError> {
        let names = self.signed_headers.split(';');
        let names: Vec<_> = names.take(MAX_SIGNED_HEADERS + 1).collect();
        if names.len() > MAX_SIGNED_HEADERS {
            let fault = format!("SignedHeaders names more than {MAX_SIGNED_HEADERS} headers.");
            return Err(self.malformed("SignedHeaders", &fault));
        }
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        match once.len() == names.len() {
            true => Ok(names),
            false => Err(self.malformed("SignedHeaders", "SignedHeaders names a header twice.")),
        }
    }

    fn malformed(&self, member: &str, fault: &str) -> RequestError {
        let message = match self.malformed {
            Kind::AuthorizationHeaderMalformed => {
                format!("The authorization header is malformed; {fault}")
            }
            _ => format!("Error parsing the X-Amz-{member} parameter; {fault}"),
        };
        RequestError::new(self.malformed, message)
    }
}

/// Whether `host` and all that begins with `x-amz-` is signed.
fn check_signed(sent: &SentRequest<'_>, signed: &[&str]) -> Result<(), RequestError> {
    let mut names = sent.amz_names(signed);
    names.extend(["host"].iter().filter(|name| !signed.contains(name)));
    if names.is_empty() {
        return Ok(());
    }
    let message = "There were headers present in the request which were not signed";
    let error = RequestError::new(Kind::AccessDenied, message);
    Err(error.with("HeadersNotSigned", names.join(", ")))
}

fn parse_payload(text: &str) -> Result<PayloadClaim, RequestError> {
    match text {
        UNSIGNED => Ok(PayloadClaim::Unsigned),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(PayloadClaim::UnsignedTrailer),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(PayloadClaim::SignedChunks),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(PayloadClaim::SignedTrailer),
        _ if text.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") => {
            let message = "A header you provided implies functionality that is not implemented";
            let error = RequestError::new(Kind::NotImplemented, message);
            Err(error.with("Header", PAYLOAD))
        }
        hex => decode_hex(hex)
            .map(PayloadClaim::Sha256)
            .ok_or_else(bad_payload),
    }
}

fn bad_payload() -> RequestError {
    argument(
        PAYLOAD,
        "",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    )
}

fn no_date() -> RequestError {
    let message = "AWS authentication requires a valid Date or x-amz-date header";
    RequestError::new(Kind::AccessDenied, message)
}

fn argument(name: &str, value: &str, message: &str) -> RequestError {
    RequestError::new(Kind::InvalidArgument, message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

fn query_error(message: &str) -> RequestError {
    RequestError::new(Kind::AuthorizationQueryParametersError, message)
}
