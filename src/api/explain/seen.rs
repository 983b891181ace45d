//! What was seen of a form post until it was refused.
//!
//! Owns: [`Seen`], which the form road fills as it goes and which an error carries away, and [`Asked`], what the request's head said.
//! Never does: judge or copy: what the road has read is moved in here, and costs a form that is granted nothing.
//! Invariants: everything here was bounded when it was read (the guard's limits) or is cut here; no header but those named is kept,
//! nor the query, where tokens travel. `Debug` shows none of it.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::api::part_head::PartHead;
use crate::api::route::Route;
use crate::model::{Timestamp, opaque};
use crate::policy::{PolicyError, PostForm, PostFormBuilder};

/// Most bytes of a path, of a Content-Type and of a file's name that are kept.
const MAX_TEXT_BYTES: usize = 1024;
/// Most names of parts that carry a file and are not the file.
const MAX_OTHER_FILES: usize = 8;
/// Most names of fields that come after the file or were never read; the guard lets no more parts through.
const MAX_AFTER_FILE: usize = 128;

/// A text, cut to what is kept of it.
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

/// What the head of the request said.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    /// The method.
    pub(super) method: String,
    /// The host that the request names; none when it names none, or one that is not served.
    pub(super) host: Option<String>,
    /// The path as sent, without the query.
    pub(super) path: String,
    /// Whether there was a query.
    pub(super) has_query: bool,
    /// Every Content-Type, in order; there should be one.
    pub(super) content_types: Vec<String>,
    /// Whether there is a Content-Encoding.
    pub(super) is_encoded: bool,
    /// The announced length of the body, in bytes.
    pub(super) content_length: Option<u64>,
    /// Where the path leads.
    pub(super) route: Option<Route>,
    /// Whether the host names the bucket.
    pub(super) bucket_in_host: bool,
    /// The path of the public URL, which stands before every path as its client knows it; empty when it has none.
    pub(super) path_prefix: String,
}

impl Asked {
    pub(super) fn of(head: &Parts, host: Option<&str>, route: Route) -> Self {
        let text = |value: &http::HeaderValue| cut(&String::from_utf8_lossy(value.as_bytes()));
        let length = head.headers.get(CONTENT_LENGTH);
        let types = head.headers.get_all(CONTENT_TYPE).iter();
        let path = head.uri.path();
        let below = path.strip_prefix('/').unwrap_or(path);
        // With the bucket in the host, the whole path is the key.
        let bucket_in_host = match &route {
            Route::Bucket(_) => below.is_empty(),
            Route::Object { key, .. } => percent_decode_str(below).eq(key.bytes()),
            _ => false,
        };
        Self {
            method: cut(head.method.as_str()),
            host: host.map(cut),
            path: cut(path),
            has_query: head.uri.query().is_some_and(|query| !query.is_empty()),
            content_types: types.take(3).map(text).collect(),
            content_length: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            is_encoded: head.headers.contains_key(CONTENT_ENCODING),
            bucket_in_host,
            route: Some(route),
            path_prefix: String::new(),
        }
    }

    /// Of a body that was saved without its head.
    pub(super) fn of_body(content_type: &str) -> Self {
        Self {
            method: "POST".to_owned(),
            content_types: vec![cut(content_type)],
            ..Self::default()
        }
    }

    fn bytes(&self) -> usize {
        let types = self.content_types.iter().map(String::len).sum::<usize>();
        let route = match &self.route {
            Some(Route::Object { bucket, key }) => bucket.len() + key.len(),
            Some(Route::Bucket(bucket)) => bucket.len(),
            _ => 0,
        };
        self.method.len()
            + self.host.as_ref().map_or(0, String::len)
            + self.path.len()
            + self.path_prefix.len()
            + types
            + route
    }
}

/// The file's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilePart {
    /// Its file name.
    pub(super) name: Option<String>,
    /// Its own Content-Type.
    pub(super) kind: Option<String>,
}

/// The explanation in the shapes of a refusal.
#[derive(Clone)]
pub(crate) struct Inline {
    /// One element, for an error's XML.
    pub(crate) xml: String,
    /// The likely cause, for the other styles of answers.
    pub(crate) cause: String,
}

/// What was seen of a form until it was refused.
#[derive(Default)]
pub struct Seen {
    /// When the form was judged.
    pub(crate) now: Timestamp,
    builder: PostFormBuilder,
    form: PostForm,
    is_complete: bool,
    /// The part that was being read.
    part: Option<PartHead>,
    file: Option<FilePart>,
    /// Parts before the file that carry a file of their own.
    other_files: Vec<String>,
    file_bytes: Option<u64>,
    after_file: Vec<String>,
    unread_parts: Vec<String>,
    read_to_end: bool,
    /// The cause, where whoever refused knew it.
    why: Option<String>,
    /// The explanation as it goes into the answer itself; only in `dev`.
    pub(crate) inline: Option<Inline>,
}

impl Seen {
    /// What an answer carries that explains itself.
    pub(super) fn told(inline: Inline) -> Self {
        Self {
            inline: Some(inline),
            ..Self::default()
        }
    }

    /// Nothing, of a request that is no form, but why it is refused.
    pub(crate) fn knowing(why: String) -> Self {
        Self {
            why: Some(why),
            ..Self::default()
        }
    }

    /// The cause, where whoever refused knew it.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Takes over the cause that whoever refused knew.
    pub(crate) fn learn(&mut self, known: Option<Box<Self>>) {
        self.why = known.and_then(|known| known.why).or(self.why.take());
    }

    /// Nothing yet, at this time.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }

    /// A part before the file begins.
    pub(crate) fn part_begins(&mut self, head: PartHead) {
        self.note_other_file(&head);
        self.part = Some(head);
    }

    /// A file in a part of another name. Some libraries give every part a file name, which is then the field's own.
    fn note_other_file(&mut self, head: &PartHead) {
        let is_named = |name: &String| *name != head.name;
        let carries_file = !head.is_file() && head.file_name.as_ref().is_some_and(is_named);
        if carries_file && self.other_files.len() < MAX_OTHER_FILES {
            self.other_files.push(cut(&head.name));
        }
    }

    /// A part that began, and whose value the parser never gave.
    pub(crate) fn unread_part(&mut self, head: PartHead) {
        self.note_other_file(&head);
        if self.unread_parts.len() < MAX_AFTER_FILE {
            self.unread_parts.push(head.name);
        }
    }

    /// The value of that part.
    ///
    /// # Errors
    /// As [`PostFormBuilder::push`].
    pub(crate) fn value(&mut self, value: &[u8]) -> Result<(), PolicyError> {
        match &self.part {
            Some(head) => self.builder.push(&head.name, value),
            None => Ok(()),
        }
    }

    /// The file's part begins: the form is complete.
    ///
    /// # Errors
    /// As [`PostFormBuilder::finish`].
    pub(crate) fn file_begins(
        &mut self,
        file_name: Option<&str>,
        kind: Option<String>,
    ) -> Result<(), PolicyError> {
        self.part = None;
        let file = FilePart {
            name: file_name.map(cut),
            kind: kind.as_deref().map(cut),
        };
        self.file = Some(file);
        self.form = std::mem::take(&mut self.builder).finish(file_name)?;
        self.is_complete = true;
        Ok(())
    }

    /// The file has this many bytes.
    pub(crate) fn file_has(&mut self, bytes: u64) {
        self.file_bytes = Some(bytes);
    }

    /// The size is not to be judged: where the form comes from, files are recorded without their bytes.
    pub(super) fn forget_size(&mut self) {
        self.file_bytes = None;
    }

    /// A part after the file.
    pub(crate) fn late_part(&mut self, head: PartHead) {
        if self.after_file.len() < MAX_AFTER_FILE {
            self.after_file.push(head.name);
        }
    }

    /// The closing delimiter was seen.
    pub(crate) fn ends(&mut self) {
        self.read_to_end = true;
    }

    /// The fields before the file, when it has begun; empty before.
    pub(crate) fn form(&self) -> &PostForm {
        &self.form
    }

    /// Whether the file has begun and the fields are all there.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(super) fn file(&self) -> Option<&FilePart> {
        self.file.as_ref()
    }

    pub(super) fn file_bytes(&self) -> Option<u64> {
        self.file_bytes
    }

    pub(super) fn after_file(&self) -> &[String] {
        &self.after_file
    }

    pub(super) fn other_files(&self) -> &[String] {
        &self.other_files
    }

    pub(super) fn unread_parts(&self) -> &[String] {
        &self.unread_parts
    }

    pub(super) fn is_read_to_end(&self) -> bool {
        self.read_to_end
    }

    /// Name of the part that was being read when reading stopped.
    pub(super) fn unfinished_part(&self) -> Option<&str> {
        let read = self.part.as_ref().map(|head| head.name.as_str());
        self.unread_parts.last().map(String::as_str).or(read)
    }

    /// No more comes: what there is of an unfinished form becomes the form.
    pub(super) fn close(&mut self) {
        if !self.is_complete()
            && let Ok(form) = std::mem::take(&mut self.builder).finish(None)
        {
            self.form = form;
        }
    }

    /// Leaves out what is large, so that the rest can be kept.
    pub(super) fn shed(&mut self) {
        self.form = PostForm::default();
        self.is_complete = false;
        self.file = None;
        self.after_file.clear();
        self.unread_parts.clear();
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        /// What a name, a value and their two strings take beside their bytes.
        const FIELD: usize = 2 * size_of::<String>();
        let fields = self
            .form
            .iter()
            .map(|(name, value)| name.len() + value.len() + FIELD);
        let names = self.after_file.iter().chain(&self.unread_parts);
        let names = names.chain(&self.other_files);
        let names = names.map(|name| name.len() + size_of::<String>());
        let part = self.part.as_ref();
        let part = part.map_or(0, |head| {
            head.name.len() + head.file_name.as_ref().map_or(0, String::len)
        });
        let file = self.file.as_ref().map_or(0, |file| {
            file.name.as_ref().map_or(0, String::len) + file.kind.as_ref().map_or(0, String::len)
        });
        let why = self.why.as_ref().map_or(0, String::len);
        size_of::<Self>() + why + fields.sum::<usize>() + names.sum::<usize>() + part + file
    }
}

/// A request that was refused, all that is known of it.
pub(crate) struct Case {
    pub(super) asked: Asked,
    pub(super) refusal: Option<Refusal>,
    pub(super) seen: Seen,
}

/// What the client was told.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(super) code: crate::api::error::ErrorCode,
    pub(super) message: String,
    /// The extra elements but for those that repeat what was signed.
    pub(super) extras: Vec<(&'static str, String)>,
}

impl Refusal {
    /// Elements that are large and stand elsewhere in an explanation.
    const LARGE: [&'static str; 3] = ["StringToSign", "StringToSignBytes", "SignatureProvided"];

    pub(super) fn of(error: &crate::api::error::ApiError) -> Self {
        let extras = error.extras.iter();
        let small = extras.filter(|(name, _)| !Self::LARGE.contains(name));
        Self {
            code: error.code,
            message: error.message.clone(),
            extras: small.map(|(name, value)| (*name, cut(value))).collect(),
        }
    }

    pub(super) fn extra(&self, element: &str) -> Option<&str> {
        let mut extras = self.extras.iter();
        extras
            .find(|(name, _)| *name == element)
            .map(|(_, value)| value.as_str())
    }
}

impl Case {
    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let refusal = self.refusal.as_ref().map_or(0, |refusal| {
            let extras = refusal.extras.iter().map(|(_, value)| value.len());
            refusal.message.len() + extras.sum::<usize>()
        });
        self.asked.bytes() + self.seen.bytes() + refusal
    }
}

opaque!(Asked, Seen, Case, Refusal, Inline);
