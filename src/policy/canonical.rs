//! What a request's signature is over: its canonical form, for Signature Version 4 and 2.
//!
//! Owns: [`SentRequest`], and how path, headers and the query (`query.rs`) become the text that was signed.
//! Never does: see a secret, or judge anything.
//!
//! Invariants: a path is never normalised (`..`, `//` and `.` stay). Clients differ in what they leave unencoded, so a path counts in
//! the spelling it was sent in and in Amazon's own; both name the same resource. A header that is signed and absent has no line, so that
//! nothing that was signed can be taken away. No two resources share a text: in Version 2 a slash is added to a bucket only, and no path stands between the bucket of a host and the key; in
//! Version 4 a key that begins like the path prefix is signed with the prefix in front of it, below the bucket's own host.
//!
//! Sources: Amazon S3 API Reference, "Authenticating requests: using the Authorization header"; Amazon S3 User Guide, "Signing and
//! authenticating REST requests" (Signature Version 2).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, percent_decode_str, utf8_percent_encode};

use super::query::{ENCODED, Query};

/// In a path, the slash neither.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Room for what follows the path in a canonical request; it grows when this is not enough.
const USUAL_BYTES: usize = 1024;

/// Headers that Version 2 signs besides those of Amazon; a presigned URL may carry them in its query.
pub const V2_PLAIN_HEADERS: [&str; 2] = ["content-md5", "content-type"];

/// A request as it was sent, without its body.
#[derive(Clone)]
pub struct SentRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, encoded as it was sent, without `path_prefix`.
    pub path: &'a str,
    /// What a client may have had in front of the path when it signed; empty or `/segment`.
    pub path_prefix: &'a str,
    /// The bucket that the host names, for virtual-host style.
    pub bucket_of_host: Option<&'a str>,
    /// The query, encoded as it was sent.
    pub query: &'a str,
    /// Lower-case names and values of all headers, in the order they were sent, `host` among them.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> SentRequest<'a> {
    /// All values of a header as Version 4 signs them: joined by commas, each trimmed and its runs of blanks made one; `None` when it
    /// is absent.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.joined(name, folded)
    }

    /// As Version 2 signs them: joined by commas, each trimmed.
    fn header_v2(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.joined(name, |value| value.trim_ascii().into())
    }

    fn joined(
        &self,
        name: &str,
        written: impl Fn(&'a [u8]) -> Cow<'a, [u8]>,
    ) -> Option<Cow<'a, [u8]>> {
        let lines = self.headers.iter().filter(|(n, _)| *n == name);
        let mut lines = lines.map(|(_, line)| written(line));
        let mut all = lines.next()?;
        for line in lines {
            let all = all.to_mut();
            all.push(b',');
            all.extend_from_slice(&line);
        }
        Some(all)
    }

    /// As [`SentRequest::header`], when it is UTF-8.
    pub(super) fn header_text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.header(name)?)
    }

    /// As Version 2 signs it, when it is UTF-8.
    pub(super) fn header_v2_text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.header_v2(name)?)
    }

    /// How often a header was sent.
    pub(super) fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(n, _)| *n == name).count()
    }

    /// Lower-case names that begin with `x-amz-` and are none of `besides`, sorted, each once.
    pub(super) fn amz_names(&self, besides: &[&str]) -> Vec<&'a str> {
        let names = self.headers.iter().map(|(name, _)| *name);
        let names = names.filter(|name| name.starts_with("x-amz-") && !besides.contains(name));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The spellings of the path as it was sent.
    fn spellings(&self) -> Vec<Cow<'a, str>> {
        let mut paths = vec![Cow::Borrowed(self.path)];
        // What nobody encodes is spelled in one way only.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if self.path.bytes().all(is_plain) {
            return paths;
        }
        if let Ok(decoded) = percent_decode_str(self.path).decode_utf8() {
            let ours = Cow::from(utf8_percent_encode(&decoded, ENCODED_IN_PATH));
            if ours != self.path {
                paths.push(Cow::Owned(ours.into_owned()));
            }
        }
        paths
    }

    /// The spellings of the path that a client may have signed.
    fn paths(&self) -> Vec<Cow<'a, str>> {
        let mut paths = self.spellings();
        if !self.path_prefix.is_empty() {
            let longer = |path: &Cow<'_, str>| format!("{}{path}", self.path_prefix).into();
            let longer: Vec<_> = paths.iter().map(longer).collect();
            // Whoever signed `/prefix/key` for a bucket's own host has signed for the key `key`.
            paths.retain(|path| self.bucket_of_host.is_none() || !self.is_below_prefix(path));
            paths.extend(longer);
        }
        paths
    }

    fn is_below_prefix(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.path_prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The spellings of the resource that Version 2 signs: the bucket of the host stands in front, without the path prefix, for
    /// `/bucket/prefix/key` is another object's name; and a bucket has a slash behind it, which need not be sent.
    fn resources_v2(&self) -> Vec<Cow<'a, str>> {
        if let Some(bucket) = self.bucket_of_host {
            let paths = self.spellings().into_iter();
            return paths
                .map(|path| format!("/{bucket}{path}").into())
                .collect();
        }
        let mut paths = self.paths();
        if self.is_bucket() {
            let closed = |path: &Cow<'_, str>| format!("{path}/").into();
            paths.extend(paths.iter().map(closed).collect::<Vec<_>>());
        }
        paths
    }

    /// Whether the path names a bucket and nothing in it; an encoded slash separates as well as a plain one.
    fn is_bucket(&self) -> bool {
        let decoded = percent_decode_str(self.path).decode_utf8();
        let decoded = decoded.unwrap_or_default();
        let name = decoded.strip_prefix('/').unwrap_or_default();
        !name.is_empty() && !name.contains('/')
    }

    /// The canonical requests of Signature Version 4, one for each spelling of the path. `signed_headers` are names between semicolons.
    pub(super) fn canonical_v4(
        &self,
        query: &Query<'_>,
        signed_headers: &str,
        payload: &str,
    ) -> Vec<Vec<u8>> {
        let mut rest = Vec::with_capacity(USUAL_BYTES);
        query.write_v4(&mut rest);
        rest.push(b'\n');
        for name in signed_headers.split(';') {
            if let Some(value) = self.header(name) {
                for piece in [name.as_bytes(), b":", &value, b"\n"] {
                    rest.extend_from_slice(piece);
                }
            }
        }
        for piece in ["\n", signed_headers, "\n", payload] {
            rest.extend_from_slice(piece.as_bytes());
        }
        let method = self.method.as_bytes();
        let whole =
            |path: Cow<'_, str>| [method, b"\n", path.as_bytes(), b"\n", rest.as_slice()].concat();
        self.paths().into_iter().map(whole).collect()
    }

    /// The texts that Signature Version 2 signs, one for each spelling of the path. `date` is the `Date` header, empty when
    /// `x-amz-date` stands for it, or the `Expires` of a presigned URL, whose query may also carry headers.
    pub(super) fn strings_v2(
        &self,
        query: &Query<'_>,
        date: &str,
        presigned: bool,
    ) -> Vec<Vec<u8>> {
        let hoisted = |name: &str| query.get_any_case(name).filter(|_| presigned);
        let header = |name: &str| {
            let hoisted = || hoisted(name).map(|text| text.trim().as_bytes().into());
            self.header_v2(name).or_else(hoisted).unwrap_or_default()
        };
        let mut text = self.method.as_bytes().to_vec();
        for name in V2_PLAIN_HEADERS {
            text.push(b'\n');
            text.extend_from_slice(&header(name));
        }
        text.extend_from_slice(format!("\n{date}\n").as_bytes());
        let names = self.amz_names(&[]).into_iter();
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        if presigned {
            names.extend(query.amz_names());
            names.sort_unstable();
            names.dedup();
        }
        for name in names {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            text.extend_from_slice(&header(&name));
            text.push(b'\n');
        }
        let (paths, queries) = (self.resources_v2(), query.canonical_v2());
        let whole = |path: &Cow<'_, str>, query: &String| {
            [text.as_slice(), path.as_bytes(), query.as_bytes()].concat()
        };
        let of_path = |path| queries.iter().map(move |query| whole(path, query));
        paths.iter().flat_map(of_path).collect()
    }
}

impl fmt::Debug for SentRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("SentRequest")
            .field("method", &self.method)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// Without blanks at both ends, and each run of blanks inside made one.
fn folded(value: &[u8]) -> Cow<'_, [u8]> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let words = value.split(is_blank);
    let is_single = |byte: &u8| *byte == b' ' || !is_blank(byte);
    if value.iter().all(is_single) && words.clone().all(|word| !word.is_empty()) {
        return Cow::Borrowed(value);
    }
    let words = words.filter(|word| !word.is_empty());
    Cow::Owned(words.collect::<Vec<_>>().join(&b' '))
}

fn text(bytes: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<'a>(path: &'a str, query: &'a str) -> SentRequest<'a> {
        SentRequest {
            method: "GET",
            path,
            path_prefix: "",
            bucket_of_host: None,
            query,
            headers: vec![("host", b"h"), ("x-amz-b", b"  1   2 "), ("x-amz-b", b"3")],
        }
    }

    #[test]
    fn a_path_is_never_normalised_and_counts_as_sent_and_as_amazon_spells_it() {
        for (path, paths) in [
            ("/a//../b/./c", &["/a//../b/./c"][..]),
            ("/a%20b", &["/a%20b"]),
            ("/a%2bb", &["/a%2bb", "/a%2Bb"]),
            ("/%ff", &["/%ff"]),
            ("/a(b)%2f", &["/a(b)%2f", "/a%28b%29/"]),
        ] {
            assert_eq!(sent(path, "").paths(), paths);
        }
        let behind = SentRequest {
            path_prefix: "/box",
            ..sent("/a", "")
        };
        assert_eq!(behind.paths(), ["/a", "/box/a"]);
    }

    #[test]
    fn below_a_buckets_own_host_what_was_signed_with_the_path_prefix_names_the_key_behind_it() {
        for (path, paths) in [
            ("/a", &["/a", "/box/a"][..]),
            ("/boxes", &["/boxes", "/box/boxes"]),
            ("/box", &["/box/box"]),
            ("/box/a", &["/box/box/a"]),
            ("/%62ox/a", &["/%62ox/a", "/box/%62ox/a", "/box/box/a"]),
            ("/box%2fa", &["/box%2fa", "/box/box%2fa", "/box/box/a"]),
        ] {
            let behind = SentRequest {
                path_prefix: "/box",
                bucket_of_host: Some("b"),
                ..sent(path, "")
            };
            assert_eq!(behind.paths(), paths);
        }
    }

    #[test]
    fn a_header_is_folded_and_repeats_are_joined() {
        let request = sent("/", "");
        assert_eq!(request.header_text("x-amz-b").unwrap(), "1 2,3");
        assert_eq!(request.header("x-amz-c"), None);
        let canonical =
            request.canonical_v4(&Query::parse("").unwrap(), "host;x-amz-a;x-amz-b", "P");
        let expected = "GET\n/\n\nhost:h\nx-amz-b:1 2,3\n\nhost;x-amz-a;x-amz-b\nP";
        assert_eq!(canonical, [expected.as_bytes()]);
    }

    #[test]
    fn lines_of_one_header_are_joined_whatever_each_of_them_is() {
        for (lines, joined) in [
            (&[&b"a"[..], b"b"][..], &b"a,b"[..]),
            (&[b"", b"b"], b",b"),
            (&[b"1", b"", b"\xff2"], b"1,,\xff2"),
            (&[b" a  b ", b"c"], b"a b,c"),
            (&[b"a", b" b\t"], b"a,b"),
        ] {
            let request = SentRequest {
                headers: lines.iter().map(|line| ("x-amz-b", *line)).collect(),
                ..sent("/", "")
            };
            assert_eq!(request.header("x-amz-b").unwrap(), joined);
        }
    }

    #[test]
    fn blanks_of_any_kind_are_folded_wherever_they_stand() {
        for (value, written) in [
            ("", ""),
            ("a b c", "a b c"),
            (" a", "a"),
            ("a ", "a"),
            ("a  b", "a b"),
            ("a\tb", "a b"),
            ("a\r\n b", "a b"),
            (" \t ", ""),
        ] {
            assert_eq!(folded(value.as_bytes()), written.as_bytes(), "{value:?}");
        }
    }

    #[test]
    fn version_2_adds_a_slash_to_a_bucket_only_and_no_prefix_behind_the_bucket_of_a_host() {
        let behind = |path| SentRequest {
            path_prefix: "/box",
            ..sent(path, "")
        };
        for (path, resources) in [
            ("/", &["/", "/box/"][..]),
            ("/b", &["/b", "/box/b", "/b/", "/box/b/"]),
            ("/b/", &["/b/", "/box/b/"]),
            (
                "/b%2Fdir",
                &["/b%2Fdir", "/b/dir", "/box/b%2Fdir", "/box/b/dir"],
            ),
            ("//b", &["//b", "/box//b"]),
        ] {
            assert_eq!(behind(path).resources_v2(), resources, "{path}");
        }
        let hosted = SentRequest {
            bucket_of_host: Some("b"),
            ..behind("/dir")
        };
        assert_eq!(hosted.resources_v2(), ["/b/dir"]);
    }

    #[test]
    fn version_2_signs_headers_trimmed_and_version_4_without_runs_of_blanks() {
        let request = sent("/", "");
        assert_eq!(request.header_v2("x-amz-b").unwrap(), &b"1   2,3"[..]);
        assert_eq!(request.header_v2("x-amz-c"), None);
    }

    #[test]
    fn version_2_signs_the_parameters_that_choose_what_is_done() {
        let query = Query::parse("uploads&prefix=a&versionId=1&acl=").unwrap();
        let spellings = ["?acl&uploads&versionId=1", "?acl=&uploads&versionId=1"];
        assert_eq!(query.canonical_v2(), spellings);
        for (sent, signed) in [("prefix=a", ""), ("acl", "?acl")] {
            assert_eq!(Query::parse(sent).unwrap().canonical_v2(), [signed]);
        }
    }
}
