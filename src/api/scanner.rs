//! The scanner behind the guard: where parts begin and end, in bytes fed in any slicing.
//!
//! Owns: the delimiters, the heads and the counting of what stands outside the file.
//!
//! Never does: read a body, or copy the content of a part (but for what comes in one piece with the rest of a head that was cut, or behind a
//! preamble).
//!
//! Invariants: what is in `ready` was judged; a head is passed on whole, after it was read; bytes that may be the beginning
//! of a delimiter are held back, and never more than that.
//!
//! Source: RFC 2046, section 5.1.1.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::framing::{GuardError, Heads, MAX_HEAD_BYTES, MAX_OUTSIDE_BYTES, MAX_PARTS};
use super::part_head::PartHead;

/// The end of a head: that of its last line, and its empty line.
const HEAD_END: &[u8] = b"\r\n\r\n";

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
pub(super) struct Scanner {
    /// `CR LF -- boundary`; no boundary has a CR.
    delimiter: memmem::Finder<'static>,
    delimiter_bytes: usize,
    state: State,
    /// Bytes not yet judged: part of a head, or what may be the beginning of a delimiter.
    held: BytesMut,
    in_file: bool,
    file_seen: bool,
    /// Which part is the file, counted from 1; 0 before it was seen.
    file_number: usize,
    /// How many of the slices in `ready` come before the file's content.
    before_file: usize,
    outside_bytes: usize,
    parts: usize,
    /// Bytes judged, for the parser.
    ready: VecDeque<Bytes>,
    pub(super) heads: Heads,
}

impl Scanner {
    pub(super) fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            delimiter_bytes: delimiter.len(),
            delimiter: memmem::Finder::new(delimiter.as_bytes()).into_owned(),
            state: State::Preamble,
            held: BytesMut::new(),
            in_file: false,
            file_seen: false,
            file_number: 0,
            before_file: 0,
            outside_bytes: 0,
            parts: 0,
            ready: VecDeque::new(),
            heads: Heads::default(),
        }
    }

    /// Whether what comes next is content of the file.
    pub(super) fn in_file(&self) -> bool {
        self.in_file
    }

    /// The next bytes for the parser, at most so many.
    pub(super) fn next_ready(&mut self, most: usize) -> Option<Bytes> {
        let mut slice = self.ready.pop_front()?;
        if slice.len() > most {
            self.ready.push_front(slice.split_off(most));
        } else {
            self.before_file = self.before_file.saturating_sub(1);
        }
        Some(slice)
    }

    /// Whether the file's content is next, and the handler has not come to that part: it may yet refuse the form.
    pub(super) fn is_ahead(&self) -> bool {
        self.before_file == 0 && self.heads.taken() < self.file_number
    }

    /// Judges the next bytes.
    pub(super) fn feed(&mut self, mut bytes: Bytes) -> Result<(), GuardError> {
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
    pub(super) fn finish(&mut self) -> Result<(), GuardError> {
        if self.state == State::Epilogue {
            return Ok(());
        }
        Err(GuardError::Malformed(
            "The body ends before the closing delimiter of the form.",
        ))
    }

    /// The first delimiter may stand at the very start, where no CR LF comes before it. Only what is new is searched, and as
    /// much before it as a delimiter may have begun in: the whole again for every byte made 20 KiB cost 200 MiB of search.
    fn preamble(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let bare_bytes = self.delimiter_bytes - 2;
        // As a rule there is none, and a small file came with it: nothing of that is copied.
        if self.held.is_empty() && bytes.starts_with(&self.delimiter.needle()[2..]) {
            return self.end_preamble(bytes.split_to(bare_bytes));
        }
        let searched = self.held.len().saturating_sub(bare_bytes - 1);
        // Enough to find the limit passed, and never a copy of all that came.
        let room = (MAX_OUTSIDE_BYTES + 1).saturating_sub(self.held.len());
        self.held
            .extend_from_slice(&bytes.split_to(room.min(bytes.len())));
        // The parser takes the first `--boundary` wherever it stands; both must mean the same one.
        let bare = &self.delimiter.needle()[2..];
        let Some(start) = memmem::find(&self.held[searched..], bare).map(|at| at + searched) else {
            return self.check_outside(self.held.len());
        };
        if start > 0 && !self.held[..start].ends_with(b"\r\n") {
            return Err(GuardError::Malformed(
                "The first delimiter must stand at the start of a line.",
            ));
        }
        let mut after = self.held.split_off(start + bare_bytes);
        // What was taken beyond the delimiter goes back in front of the rest.
        after.extend_from_slice(bytes);
        *bytes = after.freeze();
        let preamble = self.held.split().freeze();
        self.end_preamble(preamble)
    }

    /// Judges what comes before the first delimiter, with that delimiter.
    fn end_preamble(&mut self, preamble: Bytes) -> Result<(), GuardError> {
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

    /// Collects a head until its empty line; the parser gets it whole. One that came whole is not copied, and neither is what came behind
    /// it: a form has ten heads, and a small file came with all of them.
    fn head(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let room = MAX_HEAD_BYTES + 4 - self.held.len().min(MAX_HEAD_BYTES + 4);
        let room = room.min(bytes.len());
        if self.held.is_empty()
            && let Some(end) = memmem::find(&bytes[..room], HEAD_END)
        {
            return self.end_head(bytes.split_to(end + HEAD_END.len()));
        }
        let searched = self.held.len().saturating_sub(HEAD_END.len() - 1);
        self.held.extend_from_slice(&bytes.split_to(room));
        if let Some(end) = memmem::find(&self.held[searched..], HEAD_END) {
            let mut after = self.held.split_off(searched + end + HEAD_END.len());
            // What was taken beyond the head goes back in front of the rest.
            after.extend_from_slice(bytes);
            *bytes = after.freeze();
            let block = self.held.split().freeze();
            return self.end_head(block);
        }
        check_has_fields(&self.held)?;
        self.check_outside(self.outside_bytes + self.held.len())?;
        if self.held.len() >= MAX_HEAD_BYTES + 4 {
            return Err(GuardError::TooMuchBeforeFile);
        }
        Ok(())
    }

    /// Judges a whole head, with its empty line.
    fn end_head(&mut self, block: Bytes) -> Result<(), GuardError> {
        check_has_fields(&block)?;
        self.count_outside(block.len())?;
        self.begin_part(&block[..block.len() - HEAD_END.len()])?;
        self.ready.push_back(block);
        if self.in_file {
            self.before_file = self.ready.len();
        }
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
            self.file_number = self.parts;
            self.heads.file_begins(self.outside_bytes);
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

    /// The same where a delimiter may have begun in an earlier slice. It has one CR, at its start, so what is held either goes
    /// on to be the delimiter or is content, all of it; then the rest is judged in one go.
    fn content_across(&mut self, bytes: &mut Bytes) -> Result<(), GuardError> {
        let missing = &self.delimiter.needle()[self.held.len()..];
        let common = missing.len().min(bytes.len());
        if bytes[..common] != missing[..common] {
            let content = self.held.split().freeze();
            return self.pass_content(content);
        }
        self.held.extend_from_slice(&bytes.split_to(common));
        if self.held.len() < self.delimiter_bytes {
            return Ok(());
        }
        let delimiter = self.held.split().freeze();
        self.end_part(delimiter)
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

/// An empty head would have its end right behind the delimiter.
fn check_has_fields(head: &[u8]) -> Result<(), GuardError> {
    match head.starts_with(b"\r\n") {
        true => Err(GuardError::Malformed(
            "A part must have a Content-Disposition header.",
        )),
        false => Ok(()),
    }
}

/// How many bytes at the end of `bytes` may be the beginning of `needle`, whose one CR is its first byte.
fn tail_bytes(bytes: &[u8], needle: &[u8]) -> usize {
    let longest = bytes.len().min(needle.len() - 1);
    let window = &bytes[bytes.len() - longest..];
    memchr::memrchr(b'\r', window)
        .map(|at| &window[at..])
        .filter(|tail| needle.starts_with(tail))
        .map_or(0, <[u8]>::len)
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
            let begin = b"preamble\r\n".len();
            let (passed, names) = scan(&GOOD[begin..], slice).unwrap();
            assert_eq!(passed, &GOOD[begin..end], "slices of {slice}");
            assert_eq!(names, ["key", "file", "submit"]);
        }
    }

    #[test]
    fn a_form_that_came_in_one_piece_is_not_copied_but_for_the_ends_of_delimiters() {
        let form = Bytes::from_static(&GOOD[b"preamble\r\n".len()..]);
        let mut scanner = Scanner::new("B");
        scanner.feed(form.clone()).unwrap();
        let place = form.as_ptr_range();
        let copied = scanner.ready.iter().filter(|slice| {
            let slice = slice.as_ptr_range();
            slice.start < place.start || slice.end > place.end
        });
        let copied: Vec<&[u8]> = copied.map(|slice| &slice[..]).collect();
        assert_eq!(copied, [b"\r\n", b"\r\n", b"\r\n", b"--"]);
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
}
