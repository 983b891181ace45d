//! What stands in front of the multipart parser.
//!
//! Owns: the limits of a form that the parser does not have, kept in any slicing of the bytes: at most
//! [`super::framing::MAX_OUTSIDE_BYTES`] before the content of the file and as many after it, at most [`super::framing::MAX_HEAD_BYTES`] of headers a part.
//! Every head is read by us (`part_head.rs`) before the parser sees it, and the parser sees it whole: an unfinished header
//! would be buffered and scanned again with every packet (16 MiB cost 13 s of CPU). And at most
//! [`super::framing::MAX_OUTSIDE_PIECES`] pieces outside the file, for each costs a turn of everything.
//!
//! Never does: copy the file's bytes (but for what came in one piece with a head that was cut, or behind a preamble); hand over more than [`BURST_BYTES`] of
//! the file ([`OUTSIDE_BURST_BYTES`] else) before it yields, since the parser buffers all that is ready; or hand over the file's
//! content before the handler has come to that part, since the parser asks for more with every field (90 fields, and it held
//! 8 MiB of a file that nobody was allowed to send). Never ends well before the closing delimiter.
//!
//! Invariant: delimiters are exactly `--B` at the start, `CR LF --B` later, followed by `CR LF` or `--` (RFC 2046, section
//! 5.1.1, without transport padding); anything else is malformed, so that guard and parser never disagree about parts.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::body::RequestBody;
use super::framing::{GuardError, Heads, MAX_KEPT_BACK, MAX_OUTSIDE_PIECES};
use super::scanner::Scanner;

/// Most bytes handed over before the parser is made to wait. With what it keeps back of the burst before, at most a delimiter, they fit into
/// 64 KiB; for a byte more it takes 128 KiB for each upload.
pub const BURST_BYTES: usize = 63 * 1024;
/// The same outside the file, where the parser keeps what it was given until the part is whole.
pub const OUTSIDE_BURST_BYTES: usize = 4 * 1024;
/// Longest boundary, in bytes (RFC 2046, section 5.1.1).
pub const MAX_BOUNDARY_BYTES: usize = 70;

/// A body that is safe to give to the parser.
#[derive(Debug)]
pub struct Guard<'a> {
    body: &'a mut RequestBody,
    scanner: Scanner,
    handed_over: usize,
    outside_pieces: usize,
    kept_back: usize,
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
                outside_pieces: 0,
                kept_back: 0,
                ended: false,
            },
            heads,
        )
    }

    fn burst_bytes(&self) -> usize {
        if self.scanner.in_file() {
            BURST_BYTES
        } else {
            OUTSIDE_BURST_BYTES
        }
    }

    fn count_piece(&mut self) -> Result<(), GuardError> {
        self.outside_pieces += usize::from(!self.scanner.in_file());
        if self.outside_pieces > MAX_OUTSIDE_PIECES {
            let why = "What stands around the file comes in too many small pieces.";
            return Err(GuardError::Malformed(why));
        }
        Ok(())
    }

    fn keep_back(&mut self) -> Result<(), GuardError> {
        self.kept_back += 1;
        if self.kept_back > MAX_KEPT_BACK {
            self.ended = true;
            let why = "Its parts can be read in more than one way.";
            return Err(GuardError::Malformed(why));
        }
        Ok(())
    }

    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, GuardError>>> {
        loop {
            if let Some(slice) = self.scanner.next_ready(self.burst_bytes()) {
                self.handed_over += slice.len();
                return Poll::Ready(Some(Ok(slice)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if !self.scanner.heads.may_read() {
                return Poll::Pending;
            }
            match Pin::new(&mut *self.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    self.count_piece()?;
                    self.scanner.feed(bytes)?;
                }
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
        let is_ahead = !self.ended && self.scanner.is_ahead();
        if is_ahead {
            self.keep_back()?;
        }
        if is_ahead || self.handed_over >= self.burst_bytes() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, value: &[u8]) -> Vec<u8> {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
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

    async fn guarded(body: &[u8], slice: usize) -> Result<(), GuardError> {
        use futures_util::TryStreamExt;
        let frames = body
            .chunks(slice)
            .map(|part| Ok(http_body::Frame::data(Bytes::copy_from_slice(part))))
            .collect::<Vec<Result<_, std::io::Error>>>();
        let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let mut request = RequestBody::new(stream, std::time::Duration::from_secs(30));
        let (guard, heads) = Guard::new(&mut request, "B");
        guard
            .try_for_each(|_| {
                while heads.take().is_some() {}
                async { Ok(()) }
            })
            .await
    }

    #[tokio::test]
    async fn what_stands_around_the_file_comes_in_few_pieces_and_the_file_in_any_number() {
        let end = b"--B--\r\n".to_vec();
        let long_file = [part("file", &[b'x'; 50_000]), end.clone()].concat();
        assert!(guarded(&long_file, 1).await.is_ok());
        let long_field = [part("key", &[b'x'; 10_000]), part("file", b"x"), end].concat();
        assert!(guarded(&long_field, 4).await.is_ok());
        let refused = guarded(&long_field, 1).await;
        assert!(matches!(refused, Err(GuardError::Malformed(_))));
    }

    #[tokio::test]
    async fn the_file_waits_until_its_part_was_taken_and_not_for_ever() {
        use futures_util::{FutureExt, StreamExt, TryStreamExt};
        let body = [part("key", b"k"), part("file", b"x"), b"--B--\r\n".to_vec()].concat();
        let head = body.len() - "x\r\n--B--\r\n".len();
        let mut request = RequestBody::whole(body.clone());
        let (mut guard, heads) = Guard::new(&mut request, "B");
        let mut passed = 0;
        while let Some(slice) = guard.next().now_or_never() {
            passed += slice.unwrap().unwrap().len();
        }
        assert_eq!(passed, head, "all but the file");
        assert!(heads.take().is_some() && guard.next().now_or_never().is_none());
        assert!(heads.take().is_some());
        assert_eq!(guard.next().await.unwrap().unwrap(), "x");

        let mut request = RequestBody::whole(body);
        let (guard, _nobody_takes) = Guard::new(&mut request, "B");
        let refused = guard.try_for_each(|_| async { Ok(()) }).await;
        assert!(matches!(refused, Err(GuardError::Malformed(_))));
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
        let (mut guard, heads) = Guard::new(&mut request, "B");
        let (mut run, mut longest, mut total) = (0, 0, 0);
        while let Some(slice) = std::future::poll_fn(|cx| match guard.poll_next_unpin(cx) {
            Poll::Pending => Poll::Ready(Some(None)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(slice)) => Poll::Ready(Some(Some(slice.unwrap().len()))),
        })
        .await
        {
            while heads.take().is_some() {}
            run = slice.map_or(0, |len| run + len);
            total += slice.unwrap_or(0);
            longest = longest.max(run);
        }
        assert_eq!(total, body.len() - 2);
        assert!(longest <= BURST_BYTES + 16 * 1024, "{longest}");
    }
}
