//! The decoder of `aws-chunked`: a body in chunks, each signed or none, with a trailer or without.
//!
//! Owns: the framing: `size[;chunk-signature=hex]` CRLF, the bytes, CRLF, ..., a chunk of size 0, then trailer headers.
//! Never does: judge what the trailer says; its caller does.
//!
//! Invariants: at most [`MAX_LINE_BYTES`] of a chunk's head and [`MAX_TRAILER_BYTES`] of trailers are held; a chunk's bytes are passed on
//! as they come, those of small chunks together. The end is reported only after the last chunk was seen and every signature was right, so whoever commits after the
//! end commits nothing that was not signed.
//!
//! Source: Amazon S3 API Reference, "Transferring payload in multiple chunks (chunked upload)" and "... including trailing headers".

use bytes::{Buf, Bytes, BytesMut};
use ring::digest::{Context, SHA256};

use super::super::body::RequestBody;
use super::super::error::{ApiError, ErrorCode};
use super::access::refusal;
use super::trailer;
use crate::policy::ChunkChain;

/// Longest head of a chunk, in bytes; a signed one has 16 + 85.
const MAX_LINE_BYTES: usize = 128;
/// Longest trailer, in bytes.
const MAX_TRAILER_BYTES: usize = 4096;
/// Pieces of fewer bytes are gathered: a body may be cut into chunks of one byte, and each piece costs whoever takes it as much as a
/// large one.
const SMALL_BYTES: usize = 4 << 10;
/// So many of them, in bytes, are passed on together.
const GATHERED_BYTES: usize = 64 << 10;
const SIGNATURE: &str = "chunk-signature=";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a chunk's head.
    Head,
    /// This many bytes of the chunk are to come.
    Data(u64),
    /// Before the line end that follows a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailer,
    Ended,
}

/// Takes the chunks apart.
pub(super) struct Decoder {
    state: State,
    held: BytesMut,
    /// What came in small chunks and was not passed on yet.
    gathered: BytesMut,
    /// The chain of signatures, for signed chunks.
    chain: Option<ChunkChain>,
    /// The signature of the chunk that is being read, and what its bytes hash to so far.
    signature: String,
    hash: Context,
    has_trailer: bool,
    trailers: Vec<(String, String)>,
}

impl Decoder {
    /// A decoder for signed chunks, or for unsigned ones when there is no chain.
    pub(super) fn new(chain: Option<ChunkChain>, has_trailer: bool) -> Self {
        Self {
            state: State::Head,
            held: BytesMut::new(),
            gathered: BytesMut::new(),
            chain,
            signature: String::new(),
            hash: Context::new(&SHA256),
            has_trailer,
            trailers: Vec::new(),
        }
    }

    /// The headers of the trailer, lower-case names, once the end was seen.
    pub(super) fn trailers(&self) -> &[(String, String)] {
        &self.trailers
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// What reading the body says; `IncompleteBody` for broken framing; `MalformedTrailerError` for lines behind it that are no headers,
    /// or that this way of sending does not have; `SignatureDoesNotMatch`.
    pub(super) async fn next(&mut self, body: &mut RequestBody) -> Result<Option<Bytes>, ApiError> {
        loop {
            let piece = self.step()?;
            let more = piece.or_else(|| self.take_gathered());
            if more.is_some() {
                return Ok(more);
            }
            match self.state {
                State::Ended => return Ok(None),
                _ => match body.next_bytes().await {
                    Some(bytes) => self.hold(bytes?),
                    None => self.finish()?,
                },
            }
        }
    }

    fn hold(&mut self, bytes: Bytes) {
        if self.held.is_empty() {
            // No copy when the frame is ours alone.
            self.held = BytesMut::from(bytes);
        } else {
            self.held.extend_from_slice(&bytes);
        }
    }

    /// Goes as far as what is held allows.
    fn step(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            match self.state {
                State::Head => match self.line()? {
                    Some(line) => self.begin_chunk(&line)?,
                    None => return Ok(None),
                },
                State::Data(left) if left > 0 => {
                    if self.held.is_empty() {
                        return Ok(None);
                    }
                    let here = usize::try_from(left).unwrap_or(usize::MAX);
                    let here = here.min(self.held.len());
                    let is_small = here < SMALL_BYTES;
                    let is_full = self.gathered.len() >= GATHERED_BYTES;
                    if is_full || !is_small && !self.gathered.is_empty() {
                        return Ok(self.take_gathered());
                    }
                    self.state = State::Data(left - here as u64);
                    if self.chain.is_some() {
                        self.hash.update(&self.held[..here]);
                    }
                    if !is_small {
                        return Ok(Some(self.held.split_to(here).freeze()));
                    }
                    self.gathered.extend_from_slice(&self.held[..here]);
                    self.held.advance(here);
                }
                State::Data(_) => {
                    self.end_chunk()?;
                    self.state = State::DataEnd;
                }
                State::DataEnd => match self.held.len() {
                    0 | 1 => return Ok(None),
                    _ if self.held.starts_with(b"\r\n") => {
                        self.held.advance(2);
                        self.state = State::Head;
                    }
                    _ => return Err(broken("a chunk has not the size that it names")),
                },
                State::Trailer if self.held.len() > MAX_TRAILER_BYTES => {
                    return Err(broken("the trailer is too long"));
                }
                State::Trailer | State::Ended => return Ok(None),
            }
        }
    }

    fn take_gathered(&mut self) -> Option<Bytes> {
        (!self.gathered.is_empty()).then(|| self.gathered.split().freeze())
    }

    /// The next line without its end; `None` when it is not whole.
    fn line(&mut self) -> Result<Option<String>, ApiError> {
        let here = &self.held[..self.held.len().min(MAX_LINE_BYTES)];
        let Some(end) = here.windows(2).position(|pair| pair == b"\r\n") else {
            return match self.held.len() {
                ..MAX_LINE_BYTES => Ok(None),
                _ => Err(broken("a chunk's head is too long")),
            };
        };
        let line = String::from_utf8(self.held[..end].to_vec());
        self.held.advance(end + 2);
        line.map(Some)
            .map_err(|_| broken("a chunk's head is no text"))
    }

    fn begin_chunk(&mut self, line: &str) -> Result<(), ApiError> {
        let (size, signature) = match line.split_once(';') {
            None => (line, ""),
            Some((size, extension)) => (size, extension.strip_prefix(SIGNATURE).unwrap_or("")),
        };
        let is_hex = (1..=16).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let parsed = u64::from_str_radix(size, 16).ok().filter(|_| is_hex);
        let size = parsed.ok_or_else(|| broken("a chunk's size is no hexadecimal number"))?;
        signature.clone_into(&mut self.signature);
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        self.end_chunk()?;
        self.state = State::Trailer;
        Ok(())
    }

    /// A chunk's bytes are all here.
    fn end_chunk(&mut self) -> Result<(), ApiError> {
        let Some(chain) = &mut self.chain else {
            return Ok(());
        };
        let hash = std::mem::replace(&mut self.hash, Context::new(&SHA256)).finish();
        chain.chunk(&hash, &self.signature).map_err(refusal)
    }

    /// The body is at its end: reads the trailer.
    fn finish(&mut self) -> Result<(), ApiError> {
        if self.state != State::Trailer {
            return Err(broken("it ends before its last chunk"));
        }
        let text = String::from_utf8(std::mem::take(&mut self.held).to_vec());
        let text = text.map_err(|_| broken("the trailer is no text"))?;
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let is_signed = self.has_trailer && self.chain.is_some();
        let mut signature = None;
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or_else(trailer::malformed)?;
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
            match is_signed && signature.is_none() && name == TRAILER_SIGNATURE {
                true => signature = Some(value),
                false => self.trailers.push((name, value)),
            }
        }
        if !self.has_trailer && !self.trailers.is_empty() {
            return Err(trailer::malformed());
        }
        if let Some(chain) = self.chain.as_mut().filter(|_| self.has_trailer) {
            let lines = self.trailers.iter().map(|(n, v)| format!("{n}:{v}\n"));
            let signature = signature.unwrap_or_default();
            let lines = lines.collect::<String>();
            chain.trailer(&lines, &signature).map_err(refusal)?;
        }
        self.state = State::Ended;
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn broken(why: &str) -> ApiError {
    let message = format!("The aws-chunked body is broken: {why}.");
    ApiError::new(ErrorCode::IncompleteBody, message)
}
