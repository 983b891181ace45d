//! Conditional requests: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, `If-Range`.
//!
//! Owns: whether the state of an object fits what a client believes of it, in the order of RFC 9110, section 13.2.2.
//!
//! Never does: decide what to send when everything fits. Our entity tags are strong: a change of the bytes is another tag.
//!
//! Invariants: a date that is no HTTP date is ignored, as the RFC asks, and so is one later than now after which something is to have
//! changed: a client whose clock is fast would never see a change. A tag without its quotes, which some S3 clients
//! send, is read as if it had them.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{
    AsHeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

use httpdate::HttpDate;

use crate::model::{ObjectMeta, Timestamp};

/// The last second an HTTP date can show: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything fits: go on.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// The client believes something else: 412.
    Failed,
}

/// Judges a GET or HEAD.
pub fn judge(headers: &HeaderMap, meta: &ObjectMeta, now: Timestamp) -> Verdict {
    let tag = meta.etag.as_str();
    let changed = last_modified(meta);
    if headers.contains_key(IF_MATCH) {
        if !names_tag(headers, IF_MATCH, tag, false) {
            return Verdict::Failed;
        }
    } else if date(headers, IF_UNMODIFIED_SINCE).is_some_and(|since| changed > since) {
        return Verdict::Failed;
    }
    let known = if headers.contains_key(IF_NONE_MATCH) {
        names_tag(headers, IF_NONE_MATCH, tag, true)
    } else {
        let since = date(headers, IF_MODIFIED_SINCE).filter(|since| *since <= http_date(now));
        since.is_some_and(|since| changed <= since)
    };
    if known {
        Verdict::NotModified
    } else {
        Verdict::Proceed
    }
}

/// Whether a `Range` header counts: there is no `If-Range`, or what it names is what we have (RFC 9110, section 13.1.5).
pub fn range_counts(headers: &HeaderMap, meta: &ObjectMeta) -> bool {
    let Some(validator) = headers.get(IF_RANGE) else {
        return true;
    };
    let Some(validator) = validator.to_str().ok().map(str::trim) else {
        return false;
    };
    validator == meta.etag.quoted() || parse_date(validator) == Some(last_modified(meta))
}

/// When the bytes became whole, as an HTTP date can show it: whole seconds, 1970 to 9999.
pub fn last_modified(meta: &ObjectMeta) -> HttpDate {
    http_date(meta.finished_at)
}

/// A moment as an HTTP date can show it: whole seconds, 1970 to 9999.
pub fn http_date(moment: Timestamp) -> HttpDate {
    let seconds = moment.seconds().clamp(0, LAST_SECOND);
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()))
}

fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<HttpDate> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => parse_date(line.to_str().ok()?),
        _ => None,
    }
}

fn parse_date(text: &str) -> Option<HttpDate> {
    text.parse().ok()
}

/// Whether a list of entity tags is `*` or names ours; a weak tag counts only when `weak` comparison is asked for.
fn names_tag(headers: &HeaderMap, name: impl AsHeaderName, tag: &str, weak: bool) -> bool {
    let mut lines = headers.get_all(name).iter();
    lines.any(|line| {
        line.to_str()
            .is_ok_and(|line| line.trim() == "*" || list_names(line, tag, weak))
    })
}

fn list_names(list: &str, tag: &str, weak: bool) -> bool {
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return false;
        }
        let is_weak = rest.starts_with("W/\"");
        let opaque = rest.strip_prefix("W/").filter(|_| is_weak).unwrap_or(rest);
        let (named, behind) = match opaque.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => opaque.split_once(',').unwrap_or((opaque, "")),
        };
        if named.trim_end() == tag && (weak || !is_weak) {
            return true;
        }
        rest = behind;
    }
}
