//! Which chunk of which upload a form carries.
//!
//! Owns: Plupload's three idioms: (A) one key, `chunk` and `chunks`; (B) the key with `.N` appended, no chunk fields; (C) the same
//! keys with the session's own `chunk=0`, `chunks=1` sent along verbatim. And what the other uploaders' claims, Plupload's and the
//! key come to together, also with the chunk that is here already: one session may be sent by several uploaders in turn.
//!
//! Never does: find the session; the signed policy names it. Invariants: the key wins over `chunk` (idiom C), any other two
//! claims that differ are refused by the names of both; the index is below [`MAX_CHUNKS`]; a key that is neither the session's
//! nor the session's with `.N` is refused.

use super::chunk_claim::{ChunkClaim, Length, Offset, SizeFields, refused};
use super::error::{ApiError, ErrorCode};
use super::uploader_chunks::claims;
use crate::model::{MAX_CHUNKS, ObjectKey, UploadSession};
use crate::policy::ChunkFields;
use crate::store::{ChunkSpec, Store, StoreError};

/// The chunk that a form carries, and what its fields want to be true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkTarget {
    /// The chunk.
    pub(super) spec: ChunkSpec,
    /// How many bytes it must have, as each uploader says that says anything.
    lengths: Vec<Length>,
    /// Where nobody says how many chunks there are: a chunk of so many bytes is all of them.
    whole: Option<u64>,
    /// The size of chunk 0, when it is here and matters.
    first: Option<u64>,
    /// The field that says how many chunks there are.
    count_field: &'static str,
    /// The fields that say the sizes in `spec`.
    size_fields: SizeFields,
    /// Who says which chunk it is.
    said_by: SaidBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SaidBy {
    /// No field and no suffix of the key: it must be the whole file.
    Nobody,
    /// `chunk=0`, `chunks=1`, as the session's own form has them.
    OwnForm,
    /// Anything else.
    Uploader,
}

/// Finds the chunk that a form for the session carries when it was posted as `posted`.
///
/// # Errors
/// `AccessDenied` for a foreign key; `InvalidArgument` that names the field for numbers that break the rules or contradict
/// each other; what the store says.
pub(super) async fn find(
    store: &dyn Store,
    session: &UploadSession,
    posted: &ObjectKey,
    fields: &ChunkFields,
) -> Result<ChunkTarget, ApiError> {
    let said = Said::read(fields)?;
    let first = match said.depends_on_first() {
        true => store.receipt(session.upload.id, 0).await?,
        false => None,
    };
    let first = first.map(|receipt| receipt.length);
    said.target(&session.upload.key, posted, first)
}

impl ChunkTarget {
    /// Judges the bytes that came.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field.
    pub(super) fn check_size(&self, bytes: u64) -> Result<(), ApiError> {
        self.lengths.iter().try_for_each(|want| want.check(bytes))
    }

    /// Judges the bytes that came so far.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field, when they are too many already.
    pub(super) fn check_max(&self, bytes: u64) -> Result<(), ApiError> {
        let mut lengths = self.lengths.iter();
        lengths.try_for_each(|want| want.check_max(bytes))
    }

    /// All chunks but the last have one size, whoever sends them; else their places would not be what their senders believe.
    /// The store holds all chunks to it; here the first is, which may be older than the word, before the file is read.
    ///
    /// # Errors
    /// `InvalidArgument` that names the field.
    pub(super) fn check_first(&self) -> Result<(), ApiError> {
        match (self.first, self.size_fields.stride) {
            (Some(first), Some((field, stride))) if self.spec.index > 0 && stride != first => {
                let rule = format!(
                    "must fit the size of chunk 0, which has {first} bytes, not {stride}. Go on with chunks of that size, or start a new upload."
                );
                Err(refused(field, stride, rule))
            }
            _ => Ok(()),
        }
    }

    /// Whether a chunk of so many bytes is the whole file although nobody says how many chunks there are.
    pub(super) fn is_whole(&self, bytes: u64) -> bool {
        self.whole == Some(bytes)
    }

    /// What the store says of the chunk, in the words of its uploader. `file_name` is the file part's.
    pub(super) fn refusal(&self, error: StoreError, file_name: Option<&str>) -> ApiError {
        if let Some(refusal) = self.size_fields.refusal(&error) {
            return refusal.caused_by(error);
        }
        let replaces_whole = matches!(
            error,
            StoreError::ChunkDiffers {
                index: 0,
                nb_chunks: 1
            }
        );
        let message = match (&error, self.said_by) {
            (StoreError::ChunkCountDiffers { known, given }, _) if self.count_field != "chunks" => {
                let name = self.count_field;
                let rule = format!(
                    "must come to the same number of chunks for every chunk of an upload: {known} is known, {given} was given."
                );
                return refused(name, given, rule).caused_by(error);
            }
            (_, SaidBy::OwnForm) if replaces_whole && file_name == Some("blob") => OWN_FORM_SENT,
            (_, SaidBy::Nobody) if replaces_whole => {
                return ApiError::new(ErrorCode::OperationAborted, NOBODY_SAYS).caused_by(error);
            }
            _ => return error.into(),
        };
        ApiError::new(ErrorCode::InvalidRequest, message).caused_by(error)
    }
}

/// The silent mistake: Plupload lays `multipart_params` over its own fields, so that a session's params passed whole make
/// every chunk claim to be chunk 0 of 1. The second one has other bytes than the first, and the name of a sliced file.
const OWN_FORM_SENT: &str = "Every chunk of this upload says that it is chunk 0 of 1, so each would replace the one before. Most likely \
    form_post_params was passed whole as the uploader's multipart_params, where its members name, chunk and chunks \
    overwrite the uploader's own. Delete these three members when chunk_size is set, and start a new upload.";

/// Dropzone 5 leaves its fields out of every chunk when `params` is an object.
const NOBODY_SAYS: &str = "The upload is finished: its form said nothing of chunks, so its file was taken for the whole. Now other \
    bytes came, and nothing says that they are another chunk. If they are one, the uploader's chunk fields are missing: Dropzone \
    drops them when params is an object; add the form's fields in its sending event. Start a new upload.";

/// What the fields of a form say.
struct Said {
    chunk: Option<u32>,
    chunks: Option<u32>,
    claims: Vec<ChunkClaim>,
    offset: Option<Offset>,
}

impl Said {
    fn read(fields: &ChunkFields) -> Result<Self, ApiError> {
        Ok(Self {
            chunk: number("chunk", fields.chunk.as_deref())?,
            chunks: number("chunks", fields.chunks.as_deref())?,
            claims: claims(fields)?,
            offset: Offset::of(fields)?,
        })
    }

    /// Whether it can be understood, or judged, only with the size of chunk 0.
    fn depends_on_first(&self) -> bool {
        let sized = |claim: &ChunkClaim| claim.spec.index > 0 && claim.stride.is_some();
        self.claims.iter().any(sized) || self.offset.is_some_and(|offset| offset.offset > 0)
    }

    /// `first` is the size of chunk 0, when it is here and was asked for.
    fn target(
        mut self,
        key: &ObjectKey,
        posted: &ObjectKey,
        first: Option<u64>,
    ) -> Result<ChunkTarget, ApiError> {
        let suffix = key_suffix(key, posted)?;
        let offset = self.offset.map(|offset| offset.claim(first)).transpose()?;
        self.claims.extend(offset);
        if self.claims.is_empty() {
            return self.of_plupload(suffix);
        }
        let numbered = self.chunk.is_some() || self.chunks.is_some_and(|chunks| chunks > 0);
        match suffix {
            Some(index) => self.claims.push(plain_claim("key", (index, None))),
            None if numbered => {
                let chunks = self.chunks.filter(|chunks| *chunks > 0);
                let spec = (self.chunk.unwrap_or(0), chunks);
                self.claims.push(plain_claim("chunk", spec));
            }
            None => {}
        }
        refuse_contradictions(&self.claims)?;
        let size_fields = SizeFields::of(&self.claims)?;
        check(self.of_claims(first, size_fields))
    }

    fn of_plupload(&self, suffix: Option<u32>) -> Result<ChunkTarget, ApiError> {
        if let (None, None, Some(chunks @ 2..)) = (suffix, self.chunk, self.chunks) {
            // Taken for chunk 0, each would replace the one before.
            let rule = format!("must say which of {chunks} chunks (chunks) this is.");
            return Err(refused("chunk", "", rule));
        }
        let (index, nb_chunks) = match (suffix, self.chunk.unwrap_or(0), self.chunks) {
            (Some(index), _, chunks) => (index, chunks.filter(|&chunks| chunks > 1)),
            (None, index, None | Some(0)) if index > 0 => (index, None),
            (None, index, None | Some(0)) => (index, Some(1)),
            (None, index, chunks) => (index, chunks),
        };
        let said_by = match (suffix, self.chunk, self.chunks) {
            (None, None, None) => SaidBy::Nobody,
            (None, Some(0), Some(1)) => SaidBy::OwnForm,
            _ => SaidBy::Uploader,
        };
        check(ChunkTarget {
            spec: ChunkSpec::new(index, nb_chunks),
            lengths: Vec::new(),
            whole: None,
            first: None,
            count_field: "chunks",
            size_fields: SizeFields::default(),
            said_by,
        })
    }

    /// What the claims come to, which agree and of which there is at least one.
    fn of_claims(&self, known: Option<u64>, size_fields: SizeFields) -> ChunkTarget {
        let claims = &self.claims;
        let nb_chunks = claims.iter().find_map(|claim| claim.spec.nb_chunks);
        let mut lengths: Vec<Length> = claims.iter().filter_map(|claim| claim.length).collect();
        let total = self.offset.map(|offset| offset.total);
        if let (Some(total), Some(1)) = (total, nb_chunks) {
            lengths.push(Length::exactly("total", total));
        }
        let first = claims.first();
        ChunkTarget {
            spec: ChunkSpec {
                index: first.map_or(0, |claim| claim.spec.index),
                nb_chunks,
                sizes: size_fields.sizes(),
            },
            lengths,
            whole: total.filter(|_| nb_chunks.is_none()),
            first: known,
            count_field: first.map_or("chunks", |claim| claim.count_field),
            size_fields,
            said_by: SaidBy::Uploader,
        }
    }
}

/// What Plupload or the key says.
fn plain_claim(field: &'static str, (index, nb_chunks): (u32, Option<u32>)) -> ChunkClaim {
    ChunkClaim {
        uploader: if field == "key" {
            "the key"
        } else {
            "Plupload"
        },
        field,
        count_field: "chunks",
        spec: ChunkSpec::new(index, nb_chunks),
        stride: None,
        total: None,
        source: None,
        length: None,
    }
}

fn refuse_contradictions(claims: &[ChunkClaim]) -> Result<(), ApiError> {
    for (at, one) in claims.iter().enumerate() {
        for other in &claims[at + 1..] {
            let counts = one.spec.nb_chunks.zip(other.spec.nb_chunks);
            if one.spec.index != other.spec.index {
                return Err(contradiction((one.field, other.field), one, other));
            }
            if counts.is_some_and(|(one, other)| one != other) {
                let fields = (one.count_field, other.count_field);
                return Err(contradiction(fields, one, other));
            }
        }
    }
    Ok(())
}

fn contradiction(fields: (&str, &str), one: &ChunkClaim, other: &ChunkClaim) -> ApiError {
    let said = |claim: &ChunkClaim| {
        let of = claim.spec.nb_chunks.map(|count| format!(" of {count}"));
        format!("chunk {}{}", claim.spec.index, of.unwrap_or_default())
    };
    let message = format!(
        "{} and {} contradict each other: it is {} by {}, counted from 0, and {} by {}. Send the chunk fields of one uploader only; \
         form_post_params asked for with client=NAME leaves Plupload's out.",
        fields.0,
        fields.1,
        said(one),
        one.uploader,
        said(other),
        other.uploader,
    );
    ApiError::new(ErrorCode::InvalidArgument, message).with("ArgumentName", fields.1)
}

/// The index that the posted key carries; `None` when it is the session's key itself.
fn key_suffix(key: &ObjectKey, posted: &ObjectKey) -> Result<Option<u32>, ApiError> {
    let Some(rest) = posted.as_str().strip_prefix(key.as_str()) else {
        return Err(foreign_key(key));
    };
    if rest.is_empty() {
        return Ok(None);
    }
    let digits = rest.strip_prefix('.').ok_or_else(|| foreign_key(key))?;
    let canonical = digits == "0" || !digits.starts_with('0');
    if digits.is_empty()
        || digits.len() > 9
        || !canonical
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(foreign_key(key));
    }
    digits.parse().map(Some).map_err(|_| foreign_key(key))
}

fn foreign_key(key: &ObjectKey) -> ApiError {
    let condition = serde_json::json!(["eq", "$key", key.as_str()]);
    let message = format!(
        "Invalid according to Policy: Policy Condition failed: {condition} (the key of this upload, or that key with .N for chunk N)"
    );
    ApiError::new(ErrorCode::AccessDenied, message)
}

fn number(name: &'static str, text: Option<&str>) -> Result<Option<u32>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let digits = text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    let rule = "must be a whole number, not negative.";
    value.map(Some).ok_or_else(|| refused(name, text, rule))
}

fn check(target: ChunkTarget) -> Result<ChunkTarget, ApiError> {
    let spec = target.spec;
    let refused = |name: &str, rule: String, value: u32| Err(refused(name, value, rule));
    match spec.nb_chunks {
        Some(chunks) if chunks > MAX_CHUNKS => {
            refused("chunks", format!("must be at most {MAX_CHUNKS}."), chunks)
        }
        Some(chunks) if spec.index >= chunks => refused(
            "chunk",
            format!("must be below chunks ({chunks})."),
            spec.index,
        ),
        None if spec.index >= MAX_CHUNKS => {
            refused("chunk", format!("must be below {MAX_CHUNKS}."), spec.index)
        }
        _ => Ok(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(
        posted: &str,
        chunk: Option<&str>,
        chunks: Option<&str>,
    ) -> Result<(u32, Option<u32>), ErrorCode> {
        let key = ObjectKey::parse("tmp/p/a.mp4").unwrap();
        let fields = ChunkFields {
            chunk: chunk.map(Into::into),
            chunks: chunks.map(Into::into),
            ..ChunkFields::default()
        };
        let said = Said::read(&fields).map_err(|error| error.code)?;
        let target = said.target(&key, &ObjectKey::parse(posted).unwrap(), None);
        target
            .map(|target| (target.spec.index, target.spec.nb_chunks))
            .map_err(|error| error.code)
    }

    #[test]
    fn the_three_idioms_name_their_chunk() {
        let key = "tmp/p/a.mp4";
        for (posted, chunk, chunks, expected) in [
            (key, Some("0"), Some("1"), (0, Some(1))),
            (key, None, None, (0, Some(1))),
            (key, Some(""), Some(""), (0, Some(1))),
            (key, Some("0"), Some("0"), (0, Some(1))),
            (key, Some("2"), Some("3"), (2, Some(3))),
            (key, Some("2"), None, (2, None)),
            ("tmp/p/a.mp4.0", None, None, (0, None)),
            ("tmp/p/a.mp4.12", None, None, (12, None)),
            ("tmp/p/a.mp4.2", Some("0"), Some("1"), (2, None)),
            ("tmp/p/a.mp4.2", Some("1"), Some("3"), (2, Some(3))),
        ] {
            assert_eq!(
                spec(posted, chunk, chunks),
                Ok(expected),
                "{posted} {chunk:?} {chunks:?}"
            );
        }
    }

    #[test]
    fn numbers_that_break_a_rule_are_refused() {
        for (chunk, chunks) in [
            ("3", "3"),
            ("-1", "3"),
            ("1.5", "3"),
            ("x", "3"),
            ("0", "10001"),
            ("10000", ""),
            ("99999999999", ""),
        ] {
            assert_eq!(
                spec("tmp/p/a.mp4", Some(chunk), Some(chunks)),
                Err(ErrorCode::InvalidArgument),
                "{chunk}/{chunks}"
            );
        }
        for chunk in [None, Some("")] {
            // Each would be chunk 0, and replace the one before.
            let unnumbered = spec("tmp/p/a.mp4", chunk, Some("3"));
            assert_eq!(unnumbered, Err(ErrorCode::InvalidArgument));
        }
        assert_eq!(
            spec("tmp/p/a.mp4.10000", None, None),
            Err(ErrorCode::InvalidArgument)
        );
    }

    #[test]
    fn a_key_of_another_object_is_refused() {
        for posted in [
            "tmp/p/b.mp4",
            "tmp/p/a.mp",
            "tmp/p/a.mp4x",
            "tmp/p/a.mp4.",
            "tmp/p/a.mp4.01",
            "tmp/p/a.mp4.1x",
            "tmp/p/a.mp4.1.2",
            "tmp/p/a.mp4.+1",
        ] {
            assert_eq!(
                spec(posted, None, None),
                Err(ErrorCode::AccessDenied),
                "{posted}"
            );
        }
    }

    /// The target of a form for `tmp/p/a.mp4` with these fields, the key among them, when chunk 0 has `first` bytes.
    fn target(text: &str, first: Option<u64>) -> Result<ChunkTarget, String> {
        let mut fields = ChunkFields::default();
        let mut posted = "tmp/p/a.mp4".to_owned();
        for pair in text.split_whitespace() {
            let (name, value) = pair.split_once('=').unwrap();
            match name {
                "chunk" => fields.chunk = Some(value.to_owned()),
                "chunks" => fields.chunks = Some(value.to_owned()),
                "suffix" => posted.push_str(value),
                name => fields
                    .others
                    .push((name.to_ascii_lowercase(), value.to_owned())),
            }
        }
        let key = ObjectKey::parse("tmp/p/a.mp4").unwrap();
        let said = Said::read(&fields).map_err(|error| error.message)?;
        let target = said.target(&key, &ObjectKey::parse(&posted).unwrap(), first);
        let checked = target.and_then(|target| target.check_first().map(|()| target));
        checked.map_err(|error| error.message)
    }

    const DROPZONE: &str =
        "dzchunkindex=1 dzchunksize=1000 dztotalchunkcount=3 dzchunkbyteoffset=1000";

    #[test]
    fn uploaders_that_agree_are_one_uploader() {
        for (more, count) in [
            ("", Some(3)),
            ("chunk=1 chunks=3", Some(3)),
            ("chunk=1", Some(3)),
            ("chunk= chunks=", Some(3)),
            ("suffix=.1", Some(3)),
            ("suffix=.1 chunk=0 chunks=1", Some(3)),
            ("flowChunkNumber=2 flowTotalChunks=3", Some(3)),
            ("offset=1000 total=2500", Some(3)),
        ] {
            let found = target(&format!("{DROPZONE} {more}"), Some(1000)).unwrap();
            assert_eq!(
                (found.spec.index, found.spec.nb_chunks),
                (1, count),
                "{more}"
            );
            assert!(found.check_size(1000).is_ok(), "{more}");
            assert!(found.check_size(999).is_err(), "{more}");
        }
    }

    #[test]
    fn two_uploaders_that_contradict_each_other_are_refused_by_the_names_of_both() {
        for (more, one, other) in [
            ("chunk=0 chunks=1", "dzchunkindex", "chunk"),
            ("chunk=1 chunks=4", "dztotalchunkcount", "chunks"),
            ("chunks=3", "dzchunkindex", "chunk"),
            ("suffix=.2", "dzchunkindex", "key"),
            ("flowChunkNumber=1", "flowChunkNumber", "dzchunkindex"),
            (
                "resumableChunkNumber=2 resumableTotalChunks=2",
                "resumableTotalChunks",
                "dztotalchunkcount",
            ),
            ("qqpartindex=2", "qqpartindex", "dzchunkindex"),
            ("qqtotalfilesize=2500", "qqtotalfilesize", "dzchunkindex"),
            ("offset=2000 total=2500", "offset", "dzchunkindex"),
            ("offset=1000 total=1500", "total", "dztotalchunkcount"),
        ] {
            let message = target(&format!("{DROPZONE} {more}"), Some(1000)).unwrap_err();
            let (found, _) = message.split_once(" contradict each other").unwrap();
            let mut named: Vec<_> = found.split(" and ").collect();
            named.sort_unstable();
            let mut wanted = [one, other];
            wanted.sort_unstable();
            assert_eq!(named, wanted, "{more}: {message}");
        }
    }

    #[test]
    fn who_takes_over_must_keep_the_size_of_the_chunks() {
        assert!(target(DROPZONE, None).is_ok(), "chunk 0 may come later");
        assert!(
            target("dzchunkindex=0 dzchunksize=1000", Some(5)).is_ok(),
            "it is replaced"
        );
        let message = target(DROPZONE, Some(500)).unwrap_err();
        let wanted = "dzchunksize must fit the size of chunk 0, which has 500 bytes, not 1000.";
        assert!(message.starts_with(wanted), "{message}");
    }

    #[test]
    fn an_offset_is_a_chunk_once_the_size_of_the_first_is_known() {
        for (text, first, index, count, bytes) in [
            ("offset=0 total=2500", None, 0, None, 1..=2500),
            ("offset=0 total=2500", Some(1000), 0, None, 1..=2500),
            ("offset=0 total=0", None, 0, None, 0..=0),
            (
                "offset=1000 total=2500",
                Some(1000),
                1,
                Some(3),
                1000..=1000,
            ),
            ("offset=2000 total=2500", Some(1000), 2, Some(3), 500..=500),
            (
                "offset=1000 total=2000",
                Some(1000),
                1,
                Some(2),
                1000..=1000,
            ),
            (
                "offset=0 total=2500 chunk=0 chunks=3",
                None,
                0,
                Some(3),
                1..=2500,
            ),
            (
                "offset=0 total=2500 chunk=0 chunks=1",
                None,
                0,
                Some(1),
                2500..=2500,
            ),
        ] {
            let found = target(text, first).unwrap();
            assert_eq!(
                (found.spec.index, found.spec.nb_chunks),
                (index, count),
                "{text}"
            );
            for bytes in [*bytes.start(), *bytes.end()] {
                assert!(found.check_size(bytes).is_ok(), "{text} {bytes}");
            }
            assert!(found.check_size(bytes.end() + 1).is_err(), "{text}");
            assert!(
                bytes.start() == &0 || found.check_size(bytes.start() - 1).is_err(),
                "{text}"
            );
            let whole = (index, count) == (0, None);
            assert_eq!(found.is_whole(*bytes.end()), whole, "{text}");
            assert!(!found.is_whole(bytes.end() + 1), "{text}");
        }
    }

    #[test]
    fn an_offset_that_cannot_be_a_chunk_is_refused_with_the_reason() {
        for (text, first, named) in [
            ("offset=0", None, "offset must come with total"),
            ("total=5", None, "total must come with offset"),
            ("offset=-1 total=5", None, "offset must be a whole number"),
            (
                "offset=5 total=5",
                Some(5),
                "offset must be below total (5)",
            ),
            (
                "offset=1000 total=2500",
                None,
                "offset can be told apart only once the chunk at offset 0 is here",
            ),
            (
                "offset=1000 total=2500",
                Some(700),
                "offset must be a multiple of the size of chunk 0 (700)",
            ),
            (
                "offset=1000 total=2500",
                Some(0),
                "offset must be a multiple of the size of chunk 0 (0)",
            ),
            (
                "offset=5 total=10001",
                Some(1),
                "total comes in 10001 chunks; at most 10000",
            ),
        ] {
            let message = target(text, first).unwrap_err();
            assert!(message.starts_with(named), "{text}: {message}");
        }
    }

    #[test]
    fn the_store_is_quoted_with_the_uploaders_own_names() {
        let differs = || StoreError::ChunkCountDiffers { known: 3, given: 4 };
        let message = |text: &str| {
            target(text, Some(1000))
                .unwrap()
                .refusal(differs(), None)
                .message
        };
        assert!(message(DROPZONE).starts_with("dztotalchunkcount must come to the same number"));
        assert!(message("chunk=1 chunks=4").starts_with("chunks must be the same for every chunk"));
        let other = || StoreError::ChunkDiffers {
            index: 0,
            nb_chunks: 1,
        };
        let refusal = |text: &str, name| target(text, None).unwrap().refusal(other(), name);
        let blob = Some("blob");
        assert_eq!(
            refusal("chunk=0 chunks=1", blob).code,
            ErrorCode::InvalidRequest
        );
        assert_eq!(
            refusal("chunk=0 chunks=1", Some("a.mp4")).code,
            ErrorCode::OperationAborted
        );
        assert!(refusal("", blob).message.contains("Dropzone"));
        assert!(
            !refusal("dzchunkindex=0 dztotalchunkcount=1", blob)
                .message
                .contains("Dropzone")
        );
    }
}
