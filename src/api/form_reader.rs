//! A form, read part by part: fields, then the file, then what follows it. The only file that names multer.
//!
//! Owns: the multipart parser behind the guard, and what its failures mean to a client. The form post reads through it, and so does an
//! explanation of a saved request, so that both see the same form.
//!
//! Never does: judge a field, keep a byte of the file, or believe the parser about a part's name: each head was read by us before the
//! parser saw it, and both must agree.
//!
//! Invariants: the parts come in order; the file's bytes are handed on as they come; only [`FormReader::finish`] says that the closing
//! delimiter was there.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use multer::{Field, Multipart};

use super::body::RequestBody;
use super::error::{ApiError, ErrorCode};
use super::explain::Seen;
use super::framing::{GuardError, Heads, MAX_OUTSIDE_BYTES};
use super::guard::Guard;
use super::part_head::PartHead;
use super::post_refusal::{malformed, no_file, policy_error};

/// A form on its way in.
pub(super) struct FormReader<'a> {
    parser: Multipart<'a>,
    heads: Heads,
    /// Bytes of the closing delimiter with the line ends around it.
    closing_bytes: usize,
    /// The file's part, while it is read.
    file: Option<Field<'a>>,
}

impl<'a> FormReader<'a> {
    /// Reads a body whose boundary was checked.
    pub(super) fn new(body: &'a mut RequestBody, boundary: &str) -> Self {
        let (guard, heads) = Guard::new(body, boundary);
        Self {
            parser: Multipart::new(guard, boundary),
            heads,
            closing_bytes: "\r\n--".len() + boundary.len() + "--\r\n".len(),
            file: None,
        }
    }

    /// Reads the fields until the part that is the file; gives the file's name.
    ///
    /// # Errors
    /// What is wrong with the framing or with the fields themselves; `InvalidArgument` when no part is the file.
    pub(super) async fn fields(&mut self, seen: &mut Seen) -> Result<Option<String>, ApiError> {
        let read = self.read_fields(seen).await;
        if read.is_err() {
            // The parser gives up a whole burst for a fault at its end; what began there is known all the same.
            std::iter::from_fn(|| self.heads.take()).for_each(|head| seen.unread_part(head));
        }
        read
    }

    async fn read_fields(&mut self, seen: &mut Seen) -> Result<Option<String>, ApiError> {
        loop {
            let Some(field) = self.parser.next_field().await.map_err(parser_error)? else {
                seen.ends();
                return Err(no_file());
            };
            let head = self.matching_head(&field)?;
            if head.is_file() {
                let kind = field.content_type().map(ToString::to_string);
                self.file = Some(field);
                seen.file_begins(head.file_name.as_deref(), kind)
                    .map_err(policy_error)?;
                return Ok(head.file_name);
            }
            seen.part_begins(head);
            let value = small_value(field).await?;
            seen.value(&value).map_err(policy_error)?;
        }
    }

    /// How many bytes the file has in a body of so many: at least, whatever may follow it, and when it is the last part, as it should be.
    pub(super) fn file_in(&self, body: u64) -> Option<(u64, u64)> {
        let rest = body.checked_sub(self.heads.before_file()? as u64)?;
        let least = rest.saturating_sub(MAX_OUTSIDE_BYTES as u64);
        Some((least, rest.saturating_sub(self.closing_bytes as u64)))
    }

    /// The next bytes of the file; none at its end.
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub(super) async fn file_bytes(&mut self) -> Result<Option<Bytes>, ApiError> {
        match &mut self.file {
            None => Ok(None),
            Some(field) => field.chunk().await.map_err(parser_error),
        }
    }

    /// Reads what follows the file, which is ignored, up to the closing delimiter, which must be there. Returns how many further
    /// parts are named as the file is.
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub(super) async fn finish(&mut self, seen: &mut Seen) -> Result<usize, ApiError> {
        self.file = None;
        let mut files = 0;
        while let Some(field) = self.parser.next_field().await.map_err(parser_error)? {
            let head = self.matching_head(&field)?;
            files += usize::from(head.is_file());
            seen.late_part(head);
            small_value(field).await?;
        }
        seen.ends();
        Ok(files)
    }

    /// After a refusal: what follows the file, as far as it is here already and within one burst. Fields that come too late are the
    /// commonest mistake, and then the explanation can say so.
    pub(super) fn look_ahead(mut self, seen: &mut Seen) {
        self.heads.read_no_more();
        let rest = async {
            while self.file_bytes().await?.is_some() {}
            self.finish(seen).await
        };
        // What is wrong with the rest is no matter any more.
        let _seen = rest.now_or_never();
    }

    /// Our own reading of the part's head; a parser that read another name was deceived.
    fn matching_head(&self, field: &Field<'_>) -> Result<PartHead, ApiError> {
        match self.heads.take() {
            Some(head) if field.name() == Some(head.name.as_str()) => Ok(head),
            _ => Err(malformed("A part's name can be read in more than one way.")),
        }
    }
}

impl fmt::Debug for FormReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormReader(..)")
    }
}

/// The value of a field; the guard bounds all of them together.
async fn small_value(mut field: Field<'_>) -> Result<BytesMut, ApiError> {
    let mut value = BytesMut::new();
    while let Some(bytes) = field.chunk().await.map_err(parser_error)? {
        value.extend_from_slice(&bytes);
    }
    Ok(value)
}

/// Unpacks what the parser says: the guard's and the network's failures travel through it.
fn parser_error(error: multer::Error) -> ApiError {
    let multer::Error::StreamReadFailed(source) = error else {
        return malformed("A part of it cannot be read.").caused_by(error);
    };
    match source.downcast::<GuardError>() {
        Ok(guard) => match *guard {
            GuardError::Body(body) => body.into(),
            GuardError::Malformed(why) => malformed(why),
            GuardError::TooMuchBeforeFile => {
                let message = "Your POST request fields preceding the upload file were too large.";
                ApiError::new(ErrorCode::MaxPostPreDataLengthExceededError, message)
                    .with("MaxPostPreDataLengthBytes", MAX_OUTSIDE_BYTES.to_string())
            }
        },
        Err(other) => {
            ApiError::new(ErrorCode::IncompleteBody, "The body could not be read.").caused_by(other)
        }
    }
}
