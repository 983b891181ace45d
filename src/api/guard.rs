//! What stands in front of the multipart parser.
//!
//! Owns: the limits of a form that the parser does not have, kept in any slicing of the bytes: at most
//! [`MAX_OUTSIDE_BYTES`] before the content of the file and as many after it, at most [`MAX_HEAD_BYTES`] of headers a part.
//! Every head is read by us (`part_head.rs`) before the parser sees it, and the parser sees it whole: an unfinished header
//! would be buffered and scanned again with every packet (16 MiB cost 13 s of CPU).
//!
//! Never does: copy the file's bytes, or hand over more than [`BURST_BYTES`] before it yields, since the parser buffers all
//! that is ready. Never ends well before the closing delimiter: a body that was cut is an error, not a shorter file.
//!
//! Invariant: delimiters are exactly `--B` at the start, `CR LF --B` later, followed by `CR LF` or `--` (RFC 2046, section
//! 5.1.1, without transport padding); anything else is malformed, so that guard and parser never disagree about parts.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use memchr::memmem;

use super::body::{BodyError, RequestBody};
use super::part_head::PartHead;

/// Most bytes before the content of the file, and most bytes after it: fields, heads, delimiters. Amazon's limit.
pub const MAX_OUTSIDE_BYTES: usize = 20_480;
/// Most bytes of headers of one part.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most bytes handed over before the parser is made to wait.
pub const BURST_BYTES: usize = 256 * 1024;
/// Longest boundary, in bytes (RFC 2046, section 5.1.1).
pub const MAX_BOUNDARY_BYTES: usize = 70;
/// Most parts of a form, the file and what follows it included.
pub const MAX_PARTS: usize = 128;

/// Why a form was stopped.
#[derive(Debug)]
pub enum GuardError {
    /// The body itself failed.
    Body(BodyError),
    /// More than [`MAX_OUTSIDE_BYTES`] before the file, or a head larger than [`MAX_HEAD_BYTES`].
    TooMuchBeforeFile,
    /// Not well-formed; says why, for the client.
    Malformed(&'static str),
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::TooMuchBeforeFile => f.write_str("too much before the file"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for GuardError {}

/// The heads of the parts that the parser may have seen, in order; the handler takes each when the parser yields the part.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<VecDeque<PartHead>>>);

impl Heads {
    /// Takes the head of the next part.
    pub fn take(&self) -> Option<PartHead> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn push(&self, head: PartHead) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(head);
    }
}

/// A body that is safe to give to the parser.
#[derive(Debug)]
pub struct Guard<'a> {
    body: &'a mut RequestBody,
    scanner: Scanner,
    handed_over: usize,
    ended: bool,
}

impl<'a> Guard<'a> {
    /// Guards `body`; `boundary` was checked by [`boundary`].
    pub fn new(body: &'a mut RequestBody, boundary: &str) -> (Self, Heads) {
        let scanner = Scanner::new(boundary);
        let heads = scanner.heads.clone();
        (
            Self {
                body,
                scanner,
                handed_over: 0,
                ended: false,
            },
            heads,
        )
    }

    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, GuardError>>> {
        loop {
            if let Some(slice) = self.scanner.ready.pop_front() {
                self.handed_over += slice.len();
                return Poll::Ready(Some(Ok(slice)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match Pin::new(&mut *self.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.scanner.feed(bytes)?,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(GuardError::Body(error))));
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.scanner.finish()?;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Stream for Guard<'_> {
    type Item = Result<Bytes, GuardError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.handed_over >= BURST_BYTES {
            self.handed_over = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let slice = self.poll_slice(cx);
        match &slice {
            Poll::Pending => self.handed_over = 0,
            Poll::Ready(Some(Err(_))) => self.ended = true,
            Poll::Ready(_) => {}
        }
        slice
    }
}

/// The boundary of a form, from its `Content-Type`.
///
/// # Errors
/// `None` when the media type is not `multipart/form-data`; `Some(Err)` says what is wrong with the boundary.
pub fn boundary(content_type: &str) -> Option<Result<&str, &'static str>> {
    let (essence, mut rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut found = None;
    while !rest.is_empty() {
        let (parameter, tail) = rest.split_once(';').unwrap_or((rest, ""));
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("boundary")
            && found.replace(value.trim()).is_some()
        {
            return Some(Err("The Content-Type must have only one boundary."));
        }
        rest = tail;
    }
    Some(
        found
            .ok_or("The Content-Type must have a boundary.")
            .and_then(check_boundary),
    )
}

fn check_boundary(value: &str) -> Result<&str, &'static str> {
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "'()+_,-./:=? ".contains(c);
    if value.is_empty()
        || value.len() > MAX_BOUNDARY_BYTES
        || !value.chars().all(is_allowed)
        || value.ends_with(' ')
    {
        return Err("The boundary must be 1 to 70 characters that RFC 2046 allows.");
    }
    Ok(value)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first delimiter.
    Preamble,
    /// Right after a delimiter: `CR LF` or `--` must follow.
    Delimiter,
    /// In the headers of a part.
    Head,
    /// In the content of a part.
    Content,
    /// After the closing delimiter.
    Epilogue,
}

/// Finds the parts in bytes fed in any slicing.
struct Scanner {
    /// `CR LF -- boundary`.
    delimiter: memmem::Finder<'static>,
    delimiter_bytes: usize,
    state: State,
    /// Bytes not yet judged: part of a head, or what may be the beginning of a delimiter.
    held: BytesMut,
    in_file: bool,
    file_seen: bool,
    outside_bytes: usize,
    parts: usize,
    /// Bytes judged, for the parser.
    ready: VecDeque<Bytes>,
    heads: Heads,
}

impl Scanner {
    fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            delimiter_bytes: delimiter.len(),
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            state: State::Preamble,
            held: BytesMut::new(),
            in_file: false,
            file_seen: false,
            outside_bytes: 0,
            parts: 0,
            ready: VecDeque::new(),
            heads: Heads::default(),
        }
    }

    /// Judges the next bytes.
    fn feed(&mut self, mut bytes: Bytes) -> Result<(), GuardError> {
        while !bytes.is_empty() {
            match self.state {
                State::Preamble => self.preamble(&mut bytes)?,
                State::Delimiter => self.after_delimiter(&mut bytes)?,
                State::Head => self.head(&mut bytes)?,
                State::Content => self.content(&mut bytes)?,
                State::Epilogue => {
                    self.count_outside(bytes.len())?;
                    bytes.clear();
                }
            }
        }
        Ok(())
    }

    /// Judges the end of the body.
    fn finish(&mut self) -> Result<(), GuardError> {
        if self.state == State::Epilogue {
            return Ok(());
        }
        Err(GuardError::Malformed(
            "The body ends before the closing delimiter of the form.",
        ))
    }

    /// The first delimiter may stand at the very start, where no CR LF comes before it.
    fn preamble(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        self.held.extend_from_slice(bytes);
        bytes.clear();
        let bare = &self.delimiter.needle()[2..];
        let start = if self.held.starts_with(bare) {
            Some(0)
        } else {
            self.delimiter.find(&self.held).map(|at| at + 2)
        };
        let Some(start) = start else {
            return self.check_outside(self.held.len());
        };
        // The parser takes the first `--boundary` wherever it stands; both must mean the same one.
        if memmem::find(&self.held, bare) != Some(start) {
            return Err(GuardError::Malformed(
                "The first delimiter must stand at the start of a line.",
            ));
        }
        *bytes = self.held.split_off(start + bare.len()).freeze();
        let preamble = self.held.split().freeze();
        self.count_outside(preamble.len())?;
        self.ready.push_back(preamble);
        self.state = State::Delimiter;
        Ok(())
    }

    fn after_delimiter(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let wanted = 2 - self.held.len().min(2);
        let taken = bytes.split_to(wanted.min(bytes.len()));
        self.count_outside(taken.len())?;
        self.held.extend_from_slice(&taken);
        if self.held.len() < 2 {
            return Ok(());
        }
        let pair = self.held.split().freeze();
        self.state = match &pair[..] {
            b"\r\n" => State::Head,
            b"--" => State::Epilogue,
            _ => {
                return Err(GuardError::Malformed(
                    "A delimiter must be followed by CR LF or by two hyphens.",
                ));
            }
        };
        self.ready.push_back(pair);
        Ok(())
    }

    /// Collects a head until its empty line; the parser gets it whole.
    fn head(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let searched = self.held.len().saturating_sub(3);
        let room = MAX_HEAD_BYTES + 4 - self.held.len().min(MAX_HEAD_BYTES + 4);
        let taken = bytes.split_to(room.min(bytes.len()));
        self.held.extend_from_slice(&taken);
        if self.held.starts_with(b"\r\n") {
            return Err(GuardError::Malformed(
                "A part must have a Content-Disposition header.",
            ));
        }
        let Some(end) = memmem::find(&self.held[searched..], b"\r\n\r\n").map(|at| at + searched)
        else {
            self.check_outside(self.outside_bytes + self.held.len())?;
            if self.held.len() >= MAX_HEAD_BYTES + 4 {
                return Err(GuardError::TooMuchBeforeFile);
            }
            return Ok(());
        };
        let mut after = self.held.split_off(end + 4);
        let block = self.held.split().freeze();
        self.count_outside(block.len())?;
        self.begin_part(&block[..end])?;
        self.ready.push_back(block);
        // What was taken beyond the head goes back in front of the rest.
        after.extend_from_slice(bytes);
        *bytes = after.freeze();
        Ok(())
    }

    fn begin_part(&mut self, block: &[u8]) -> Result<(), GuardError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(GuardError::Malformed("The form has too many parts."));
        }
        let head = PartHead::parse(block).map_err(GuardError::Malformed)?;
        self.in_file = head.is_file() && !self.file_seen;
        if self.in_file {
            self.file_seen = true;
            self.outside_bytes = 0;
        }
        self.heads.push(head);
        self.state = State::Content;
        Ok(())
    }

    /// Passes content on, but for a tail that may be the beginning of a delimiter.
    fn content(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        if !self.held.is_empty() {
            return self.content_across(bytes);
        }
        if let Some(at) = self.delimiter.find(bytes) {
            let content = bytes.split_to(at);
            let delimiter = bytes.split_to(self.delimiter_bytes);
            self.pass_content(content)?;
            return self.end_part(delimiter);
        }
        let tail = tail_bytes(bytes, self.delimiter.needle());
        let content = bytes.split_to(bytes.len() - tail);
        self.held.extend_from_slice(bytes);
        bytes.clear();
        self.pass_content(content)
    }

    /// The same where a delimiter may have begun in an earlier slice: grows the held bytes just as far as needed to judge them.
    fn content_across(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let wanted = self.delimiter_bytes - self.held.len();
        self.held
            .extend_from_slice(&bytes.split_to(wanted.min(bytes.len())));
        let needle = self.delimiter.needle();
        if self.held[..] == *needle {
            let delimiter = self.held.split().freeze();
            return self.end_part(delimiter);
        }
        let tail = tail_bytes(&self.held, needle);
        let content = self.held.split_to(self.held.len() - tail).freeze();
        self.pass_content(content)
    }

    fn pass_content(&mut self, content: Bytes) -> Result<(), GuardError> {
        if content.is_empty() {
            return Ok(());
        }
        if !self.in_file {
            self.count_outside(content.len())?;
        }
        self.ready.push_back(content);
        Ok(())
    }

    fn end_part(&mut self, delimiter: Bytes) -> Result<(), GuardError> {
        self.in_file = false;
        self.count_outside(delimiter.len())?;
        self.ready.push_back(delimiter);
        self.state = State::Delimiter;
        Ok(())
    }

    fn count_outside(&mut self, bytes: usize) -> Result<(), GuardError> {
        self.outside_bytes += bytes;
        self.check_outside(self.outside_bytes)
    }

    fn check_outside(&self, bytes: usize) -> Result<(), GuardError> {
        match (bytes > MAX_OUTSIDE_BYTES, self.file_seen) {
            (false, _) => Ok(()),
            (true, false) => Err(GuardError::TooMuchBeforeFile),
            (true, true) => Err(GuardError::Malformed("Too much follows the file.")),
        }
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("state", &self.state)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// How many bytes at the end of `bytes` may be the beginning of `needle`.
fn tail_bytes(bytes: &[u8], needle: &[u8]) -> usize {
    let longest = bytes.len().min(needle.len() - 1);
    let window = &bytes[bytes.len() - longest..];
    // A delimiter begins with CR, so only a CR can begin a tail.
    memchr::memchr_iter(b'\r', window)
        .map(|at| window.len() - at)
        .find(|&len| needle.starts_with(&window[window.len() - len..]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"preamble\r\n--B\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nvalue\r\n--B\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nby\r\n--Ates\r\n\r\n--\r\n--B\r\n\
        Content-Disposition: form-data; name=\"submit\"\r\n\r\n\r\n--B--\r\nepilogue";

    fn scan(body: &[u8], slice: usize) -> Result<(Vec<u8>, Vec<String>), GuardError> {
        let mut scanner = Scanner::new("B");
        let mut passed = Vec::new();
        for part in body.chunks(slice) {
            scanner.feed(Bytes::copy_from_slice(part))?;
            scanner
                .ready
                .drain(..)
                .for_each(|bytes| passed.extend_from_slice(&bytes));
        }
        scanner.finish()?;
        let names = std::iter::from_fn(|| scanner.heads.take())
            .map(|head| head.name)
            .collect();
        Ok((passed, names))
    }

    fn part(name: &str, value: &[u8]) -> Vec<u8> {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
    }

    #[test]
    fn a_good_form_passes_unchanged_in_any_slicing_up_to_its_closing_delimiter() {
        let end = GOOD.len() - b"\r\nepilogue".len();
        for slice in [1, 2, 3, 5, 7, 64, 1460, 65_536] {
            let (passed, names) = scan(GOOD, slice).unwrap();
            assert_eq!(passed, &GOOD[..end], "slices of {slice}");
            assert_eq!(names, ["key", "file", "submit"]);
        }
    }

    #[test]
    fn a_form_cut_at_any_byte_before_its_end_is_an_error() {
        let end = GOOD.len() - b"\r\nepilogue".len();
        for cut in 0..end {
            assert!(scan(&GOOD[..cut], 65_536).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_limit_before_the_file_is_exact_in_any_slicing() {
        let file = part("file", &[b'x'; 100_000]);
        let head = part("file", b"").len() - 2;
        let overhead = part("key", b"").len() + head;
        for slice in [1, 2, 1460, 65_536] {
            let fill = |n: usize| {
                [
                    part("key", &vec![b'v'; n]),
                    file.clone(),
                    b"--B--\r\n".to_vec(),
                ]
                .concat()
            };
            assert!(
                scan(&fill(MAX_OUTSIDE_BYTES - overhead), slice).is_ok(),
                "slices of {slice}"
            );
            let refused = scan(&fill(MAX_OUTSIDE_BYTES - overhead + 1), slice);
            assert!(
                matches!(refused, Err(GuardError::TooMuchBeforeFile)),
                "slices of {slice}"
            );
        }
    }

    #[test]
    fn endless_preambles_heads_and_epilogues_are_stopped() {
        let endless = [b'x'; 64 * 1024];
        assert!(matches!(
            scan(&endless, 1460),
            Err(GuardError::TooMuchBeforeFile)
        ));
        let head = [b"--B\r\nContent-Disposition: ".as_slice(), &endless].concat();
        assert!(matches!(
            scan(&head, 1460),
            Err(GuardError::TooMuchBeforeFile)
        ));
        let tail = [part("file", b"x"), b"--B--\r\n".to_vec(), endless.to_vec()].concat();
        assert!(matches!(scan(&tail, 1460), Err(GuardError::Malformed(_))));
        let after = [
            part("file", b"x"),
            part("x", &endless),
            b"--B--\r\n".to_vec(),
        ]
        .concat();
        assert!(matches!(scan(&after, 1460), Err(GuardError::Malformed(_))));
        let parts = part("a", b"").repeat(MAX_PARTS + 1);
        assert!(matches!(scan(&parts, 1460), Err(GuardError::Malformed(_))));
    }

    #[test]
    fn delimiters_that_guard_and_parser_could_read_differently_are_refused() {
        for bad in [
            "x--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--",
            "--Bx\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--",
            "--B \r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B--",
            "--B\r\n\r\nx\r\n--B--",
            "--B\nContent-Disposition: form-data; name=\"file\"\n\nx\n--B--",
            "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--B-x",
            "--B--",
        ] {
            let outcome = scan(bad.as_bytes(), 1);
            assert!(
                outcome.as_ref().map_or(true, |(_, names)| names.is_empty()),
                "{bad}"
            );
        }
    }

    #[test]
    fn boundaries_are_1_to_70_characters_of_rfc_2046() {
        let of = |value: &str| {
            boundary(&format!("multipart/form-data; boundary={value}"))
                .unwrap()
                .is_ok()
        };
        assert!(of("----WebKitFormBoundaryAbC123") && of("\"a b\"") && of(&"b".repeat(70)));
        assert!(!of("") && !of("\"\"") && !of(&"b".repeat(71)) && !of("a\u{e9}") && !of("a\"b"));
        assert!(boundary("multipart/form-datax; boundary=B").is_none());
        assert!(boundary("text/plain").is_none());
        assert_eq!(boundary("Multipart/Form-DATA ; Boundary=B"), Some(Ok("B")));
        assert!(boundary("multipart/form-data").unwrap().is_err());
        assert!(
            boundary("multipart/form-data; boundary=A; boundary=B")
                .unwrap()
                .is_err()
        );
    }

    #[tokio::test]
    async fn the_parser_never_gets_more_than_a_burst_at_once() {
        use futures_util::StreamExt;
        let body = [
            part("file", &vec![b'x'; 4 * BURST_BYTES]),
            b"--B--\r\n".to_vec(),
        ]
        .concat();
        let frames = body
            .chunks(16 * 1024)
            .map(Bytes::copy_from_slice)
            .map(|b| Ok::<_, std::io::Error>(http_body::Frame::data(b)));
        let stream =
            http_body_util::StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let mut request = RequestBody::new(stream, std::time::Duration::from_secs(30));
        let (mut guard, _heads) = Guard::new(&mut request, "B");
        let (mut run, mut longest, mut total) = (0, 0, 0);
        while let Some(slice) = std::future::poll_fn(|cx| match guard.poll_next_unpin(cx) {
            Poll::Pending => Poll::Ready(Some(None)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(slice)) => Poll::Ready(Some(Some(slice.unwrap().len()))),
        })
        .await
        {
            run = slice.map_or(0, |len| run + len);
            total += slice.unwrap_or(0);
            longest = longest.max(run);
        }
        assert_eq!(total, body.len() - 2);
        assert!(longest <= BURST_BYTES + 16 * 1024, "{longest}");
    }
}
