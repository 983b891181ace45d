//! What the guard and its scanner agree on: the limits of a form, the reasons to stop one, the heads of its parts.
//!
//! Owns: the numbers and [`GuardError`].
//!
//! Never does: look at bytes.
//!
//! Invariant: the heads are taken in the order in which the parts begin.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::body::BodyError;
use super::part_head::PartHead;

/// Most bytes before the content of the file, and most bytes after it: fields, heads, delimiters. Amazon's limit.
pub const MAX_OUTSIDE_BYTES: usize = 20_480;
/// Most bytes of headers of one part.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most parts of a form, the file and what follows it included.
pub const MAX_PARTS: usize = 128;

/// Most pieces that what stands outside the file may come in. Each wakes the whole road once, whatever its size: 20,480 chunks
/// of one byte cost 30 ms of CPU.
pub const MAX_OUTSIDE_PIECES: usize = 4096;

/// Most times that the file's content is kept back because the handler has not come to that part. A parser that goes on needs
/// two for each part before it; one that does not has read the form in another way.
pub const MAX_KEPT_BACK: usize = 8 * MAX_PARTS;

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
pub struct Heads(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<PartHead>,
    taken: usize,
    before_file: Option<usize>,
    reads_no_more: bool,
}

impl Heads {
    /// Takes the head of the next part.
    pub fn take(&self) -> Option<PartHead> {
        let mut queue = self.queue();
        let head = queue.waiting.pop_front();
        queue.taken += usize::from(head.is_some());
        head
    }

    /// How many were taken.
    pub(super) fn taken(&self) -> usize {
        self.queue().taken
    }

    /// How many bytes of the body came before the content of the file, once that has begun.
    pub(super) fn before_file(&self) -> Option<usize> {
        self.queue().before_file
    }

    pub(super) fn file_begins(&self, before: usize) {
        self.queue().before_file = Some(before);
    }

    /// From now on nothing more is read from the network: the guard hands over what it has, and then stands still for ever.
    pub fn read_no_more(&self) {
        self.queue().reads_no_more = true;
    }

    pub(super) fn may_read(&self) -> bool {
        !self.queue().reads_no_more
    }

    pub(super) fn push(&self, head: PartHead) {
        self.queue().waiting.push_back(head);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
