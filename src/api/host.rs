//! The host that a request names.
//!
//! Owns: which of the request's target and its `Host` header counts, and whether the name is one of ours. In absolute form
//! (`GET http://host/path`) the target counts and the header is ignored, as RFC 9112 asks; HTTP/2 has it in `:authority`, and
//! a `Host` beside it must say the same (RFC 9113).
//!
//! Never does: resolve a name. Invariant: what passes is a plain host name or address with an optional port, so that it can
//! stand in the URLs that answers carry.
//!
//! Sources: RFC 9112, sections 3.2 and 3.2.2; RFC 9113, section 8.3.1.

use http::Version;
use http::header::HOST;
use http::request::Parts;

use super::error::{ApiError, ErrorCode};
use super::route::host_name;

/// Longest host with its port, in bytes.
const MAX_HOST_BYTES: usize = 255;

/// The one host that a request names, with its port; `allowed` are the names served here and above their subdomains, any
/// when empty.
///
/// # Errors
/// `BadRequest` that says what is wrong with it.
pub(super) fn named<'a>(head: &'a Parts, allowed: &[String]) -> Result<&'a str, ApiError> {
    let host = counting(head)?;
    let name = host_name(host);
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if name.is_empty() || host.len() > MAX_HOST_BYTES || !host.chars().all(is_plain) {
        return Err(bad(
            "The Host header is not a host name with an optional port.",
        ));
    }
    if !allowed.is_empty() && !is_below(&name.to_ascii_lowercase(), allowed) {
        return Err(bad(
            "This host name is not served here ([server] hosts lists those that are).",
        ));
    }
    Ok(host)
}

/// Whether a name is one of these or below one of them.
fn is_below(name: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|base| {
        let below = name.strip_suffix(base.as_str());
        name == *base || below.is_some_and(|head| head.ends_with('.'))
    })
}

/// Of the header and the target the one that counts.
fn counting(head: &Parts) -> Result<&str, ApiError> {
    let mut headers = head.headers.get_all(HOST).iter();
    let header = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(host), None) => {
            let text = host.to_str();
            Some(text.map_err(|_| bad("The Host header must be visible ASCII."))?)
        }
        _ => {
            return Err(bad(
                "A request must have exactly one Host header; it has more.",
            ));
        }
    };
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    match (header, authority) {
        (Some(header), Some(authority)) if head.version >= Version::HTTP_2 => {
            if !header.eq_ignore_ascii_case(authority) {
                return Err(bad("The Host header and :authority differ."));
            }
            Ok(authority)
        }
        (Some(_), Some(authority)) => Ok(authority),
        (Some(header), None) => Ok(header),
        (None, Some(authority)) if head.version >= Version::HTTP_2 => Ok(authority),
        (None, _) => Err(bad(
            "A request must have exactly one Host header; it has none.",
        )),
    }
}

fn bad(why: &str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const H1: Version = Version::HTTP_11;
    const H2: Version = Version::HTTP_2;

    fn named_by(version: Version, uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        named(&head, &[]).ok().map(str::to_owned)
    }

    #[test]
    fn the_host_is_the_headers_but_for_a_target_that_names_one() {
        let named = |version, uri, hosts| named_by(version, uri, hosts).unwrap_or_default();
        assert_eq!(named(H1, "/a", &["box:81"]), "box:81");
        assert_eq!(named(H1, "http://target:82/a", &["box:81"]), "target:82");
        assert_eq!(named(H2, "http://target/a", &[]), "target");
        assert_eq!(named(H2, "http://target/a", &["TARGET"]), "target");
    }

    #[test]
    fn what_names_no_host_or_two_is_refused() {
        for (version, uri, hosts) in [
            (H1, "/a", &[][..]),
            (H1, "/a", &["box", "box"]),
            (H1, "http://target/a", &[]),
            (H1, "http://target/a", &["box", "box"]),
            (H1, "http://user@target/a", &["box"]),
            (H1, "/a", &[""]),
            (H1, "/a", &["a b"]),
            (H1, "/a", &["a/b"]),
            (H2, "http://target/a", &["box"]),
            (H2, "/a", &[]),
        ] {
            assert_eq!(named_by(version, uri, hosts), None, "{uri} {hosts:?}");
        }
    }

    #[test]
    fn only_the_configured_names_and_those_below_them_are_served() {
        let ask = |host: &str| {
            let request = Request::builder().header("host", host).body(());
            let (head, ()) = request.unwrap().into_parts();
            named(&head, &["box.example".to_owned()]).is_ok()
        };
        assert!(ask("box.example") && ask("BOX.example:81") && ask("films.box.example"));
        assert!(!ask("otherbox.example") && !ask("example") && !ask("box.example.evil"));
    }
}
