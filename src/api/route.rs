//! From a path to a resource, before anything can fail.
//!
//! Owns: the table of paths. The route also picks the dialect, so that 404 and 405 speak the right one too: everything
//! below `/v1` is REST, everything else is S3 (a bucket cannot be named `v1`: names have at least three characters).
//!
//! Never does: look at headers, bodies or credentials; methods are the handlers' business.
//!
//! Invariants: dispatch is one exhaustive match on [`Route`]; what is no route is [`Route::Unknown`], and nothing falls
//! through to a default handler. Parsing never panics, whatever the bytes.

use percent_encoding::percent_decode_str;

/// Path of an explanation, in front of its id.
pub const EXPLAIN_PATH: &str = "/v1/explain/";

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /v1/oauth2/token/`
    Token,
    /// `/v1/files/uploads/`
    Uploads,
    /// `/v1/files/uploads/ID`
    Upload(String),
    /// `/v1/files/`
    Files,
    /// `/v1/files/ID`
    File(String),
    /// `/v1/files/downloads/`
    Downloads,
    /// `/v1/files/downloads/ID/NAME`: where a download link leads.
    Link(String),
    /// `/v1/pipelines/`
    Pipelines,
    /// `/v1/pipelines/ID`
    Pipeline(String),
    /// `/v1/explain/ID`: why a form post was refused, or a request over S3 by the limits of its key.
    Explain(String),
    /// `/`: the S3 service.
    Service,
    /// `/BUCKET` and `/BUCKET/`, or `/` below a bucket's own host.
    Bucket(String),
    /// `/BUCKET/KEY`, or `/KEY` below a bucket's own host.
    Object {
        /// The bucket's name as given.
        bucket: String,
        /// The key, decoded.
        key: String,
    },
    /// A path below `/v1` that is nothing.
    Unknown,
    /// A path whose percent-encoding or UTF-8 is broken.
    Malformed,
}

impl Route {
    /// Whether the REST dialect answers here.
    pub const fn is_rest(&self) -> bool {
        !matches!(
            self,
            Self::Service | Self::Bucket(_) | Self::Object { .. } | Self::Malformed
        )
    }

    /// The three digits of the hosted API's error codes on this resource.
    pub const fn rest_resource(&self) -> &'static str {
        match self {
            Self::Pipelines | Self::Pipeline(_) => "017",
            _ => "023",
        }
    }
}

/// Finds the resource for a path (without its query). `bucket_of_host` is the bucket that the Host header names, for
/// virtual-host style requests.
pub fn parse(path: &str, bucket_of_host: Option<&str>) -> Route {
    let Ok(decoded) = percent_decode_str(path).decode_utf8() else {
        // Below `/v1` REST answers, whatever the bytes.
        let is_rest = bucket_of_host.is_none() && path.starts_with("/v1/");
        return if is_rest {
            Route::Unknown
        } else {
            Route::Malformed
        };
    };
    if let Some(bucket) = bucket_of_host {
        return s3(bucket, decoded.strip_prefix('/').unwrap_or(&decoded));
    }
    let Some(rest) = decoded.strip_prefix('/') else {
        return Route::Malformed;
    };
    if rest == "v1" || rest.starts_with("v1/") {
        return self::rest(path);
    }
    match rest.split_once('/') {
        None if rest.is_empty() => Route::Service,
        None => Route::Bucket(rest.to_owned()),
        Some((bucket, key)) => s3(bucket, key),
    }
}

fn s3(bucket: &str, key: &str) -> Route {
    match key {
        "" => Route::Bucket(bucket.to_owned()),
        key => Route::Object {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        },
    }
}

/// Routes below `/v1`; segments are decoded one by one, so that an encoded slash stays inside its segment.
fn rest(path: &str) -> Route {
    let trimmed = path.trim_start_matches('/');
    let segments = trimmed
        .strip_suffix('/')
        .unwrap_or(trimmed)
        .split('/')
        .skip(1)
        .map(decode)
        .collect::<Option<Vec<_>>>();
    let Some(segments) = segments else {
        return Route::Unknown;
    };
    let segments = segments.iter().map(String::as_str).collect::<Vec<_>>();
    match *segments {
        ["oauth2", "token"] => Route::Token,
        ["files", "uploads"] | ["files", "intern", "uploads"] => Route::Uploads,
        ["files", "uploads", id] | ["files", "intern", "uploads", id] => {
            Route::Upload(id.to_owned())
        }
        ["files", "downloads"] | ["files", "intern", "downloads"] => Route::Downloads,
        ["files", "downloads", id] | ["files", "downloads", id, _] => Route::Link(id.to_owned()),
        ["files"] => Route::Files,
        ["files", id] => Route::File(id.to_owned()),
        ["pipelines"] => Route::Pipelines,
        ["pipelines", id] => Route::Pipeline(id.to_owned()),
        // Only as we write it: in any other spelling the log would not know it, and show its id.
        ["explain", id] if path.starts_with(EXPLAIN_PATH) => Route::Explain(id.to_owned()),
        _ => Route::Unknown,
    }
}

fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .map(Into::into)
}

/// The bucket in front of one of our own host names: `box.localhost` with the base `localhost` is `box`. A host that is one of them
/// names no bucket, and of several that fit the longest one counts.
pub fn bucket_of_host<'a>(host: &'a str, bases: &[String]) -> Option<&'a str> {
    let name = host_name(host);
    if bases.iter().any(|base| name.eq_ignore_ascii_case(base)) {
        return None;
    }
    let fits = |base: &String| {
        let head = name.len().checked_sub(base.len())?;
        let (bucket, tail) = (name.get(..head)?, name.get(head..)?);
        let bucket = bucket.strip_suffix('.')?;
        (tail.eq_ignore_ascii_case(base) && !bucket.is_empty()).then_some(bucket)
    };
    bases
        .iter()
        .filter_map(fits)
        .min_by_key(|bucket| bucket.len())
}

/// A Host header without its port.
pub fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bucket: &str, key: &str) -> Route {
        Route::Object {
            bucket: bucket.into(),
            key: key.into(),
        }
    }

    #[test]
    fn broken_bytes_below_v1_are_answered_by_rest() {
        assert_eq!(parse("/v1/files/%ff", None), Route::Unknown);
        assert_eq!(parse("/v1/files/%ff", Some("box")), Route::Malformed);
        assert_eq!(parse("/uploads/%ff", None), Route::Malformed);
    }

    #[test]
    fn every_path_of_the_surface_finds_its_resource_with_and_without_the_slash() {
        for (path, route) in [
            ("/v1/oauth2/token", Route::Token),
            ("/v1/files/uploads", Route::Uploads),
            ("/v1/files/intern/uploads", Route::Uploads),
            ("/v1/files/uploads/a1", Route::Upload("a1".into())),
            ("/v1/files", Route::Files),
            ("/v1/files/a1", Route::File("a1".into())),
            ("/v1/files/downloads", Route::Downloads),
            ("/v1/files/intern/downloads", Route::Downloads),
            ("/v1/files/downloads/a1/b%2Fc.mp4", Route::Link("a1".into())),
            ("/v1/pipelines", Route::Pipelines),
            ("/v1/pipelines/a1", Route::Pipeline("a1".into())),
            ("/v1/explain/a1", Route::Explain("a1".into())),
            ("/uploads", Route::Bucket("uploads".into())),
        ] {
            assert_eq!(parse(path, None), route, "{path}");
            assert_eq!(parse(&format!("{path}/"), None), route, "{path}/");
        }
        for (path, route) in [
            ("/", Route::Service),
            ("/box/a%20b/c", object("box", "a b/c")),
            ("/box//a", object("box", "/a")),
        ] {
            assert_eq!(parse(path, None), route, "{path}");
        }
    }

    #[test]
    fn what_is_nothing_is_unknown_in_the_dialect_of_its_place() {
        for (path, route) in [
            ("/v1", Route::Unknown),
            ("/v1/", Route::Unknown),
            ("/v1/nothing", Route::Unknown),
            ("/v1/oauth2", Route::Unknown),
            ("/v1/files/a/b/c/d", Route::Unknown),
            ("/v1/files//", Route::File(String::new())),
            ("/v1/%65xplain/a1", Route::Unknown),
            ("//v1/files", object("", "v1/files")),
            ("/box/%ff", Route::Malformed),
        ] {
            assert_eq!(parse(path, None), route, "{path}");
            assert_eq!(route.is_rest(), path.starts_with("/v1"), "{path}");
        }
    }

    #[test]
    fn a_bucket_may_stand_in_the_host() {
        let bases = ["localhost".to_owned(), "files.example.com".to_owned()];
        assert_eq!(bucket_of_host("box.localhost:7080", &bases), Some("box"));
        assert_eq!(
            bucket_of_host("my.box.files.example.com", &bases),
            Some("my.box")
        );
        for plain in [
            "localhost",
            "localhost:7080",
            "boxlocalhost",
            "127.0.0.1:80",
            "[::1]:80",
            ".localhost",
        ] {
            assert_eq!(bucket_of_host(plain, &bases), None, "{plain}");
        }
        assert_eq!(parse("/", Some("box")), Route::Bucket("box".into()));
        assert_eq!(
            parse("/v1/files/", Some("box")),
            Route::Object {
                bucket: "box".into(),
                key: "v1/files/".into()
            }
        );
    }

    #[test]
    fn a_base_is_no_bucket_of_another_base_and_the_longest_one_counts() {
        let bases = ["example.com".to_owned(), "s3.example.com".to_owned()];
        for (host, bucket) in [
            ("S3.example.com:443", None),
            ("example.com", None),
            ("films.s3.example.com", Some("films")),
            ("films.example.com", Some("films")),
            ("my.films.s3.example.com", Some("my.films")),
        ] {
            assert_eq!(bucket_of_host(host, &bases), bucket, "{host}");
        }
    }

    #[test]
    fn ports_are_cut_from_names_and_not_from_addresses() {
        assert_eq!(host_name("[::1]:80"), "[::1]");
        assert_eq!(host_name("a.b:1"), "a.b");
        assert_eq!(host_name("a.b"), "a.b");
    }
}
