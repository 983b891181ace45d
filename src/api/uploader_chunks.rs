//! What other uploaders' fields say about the chunk in a form of one of our sessions.
//!
//! Owns: the names by which Dropzone, Resumable.js, Flow.js and FineUploader tell their chunks apart, and whether what one of
//! them says agrees with itself: its offset with its index, its count with its sizes.
//!
//! Never does: compare two uploaders, or look anything up; `chunk_target.rs` does, and Plupload's numbers are there too.
//!
//! Invariants: a claim's index is below [`MAX_CHUNKS`] and below its count; no size passes [`MAX_OBJECT_BYTES`], so that no
//! product of index and size overflows; a refusal names the field in its uploader's spelling.
//!
//! Sources: the sources of Dropzone 5.9 and 6.3, Resumable.js 1.1, Flow.js 2.14, FineUploader 5.16.

use super::chunk_claim::{ChunkClaim, Length, number, refused};
use super::error::ApiError;
use crate::model::{MAX_CHUNKS, MAX_OBJECT_BYTES};
use crate::policy::ChunkFields;
use crate::store::ChunkSpec;

/// The fields of one uploader, in its own spelling; `None` where it has none that can be relied on.
#[derive(Debug)]
struct Scheme {
    uploader: &'static str,
    /// The chunk's number, and the number of the first chunk.
    number: (&'static str, u64),
    /// How many chunks there are.
    count: &'static str,
    /// Where the chunk begins in the file, in bytes.
    offset: Option<&'static str>,
    /// The size of every chunk but the last.
    stride: Option<&'static str>,
    /// The size of this chunk.
    length: Option<&'static str>,
    /// The size of the file.
    total: Option<&'static str>,
    /// The size of the file before the uploader changed it.
    source: Option<&'static str>,
    /// Whether the last chunk takes in what is left over, and so has up to twice the size of the others.
    long_tail: bool,
}

const SCHEMES: [Scheme; 4] = [
    Scheme {
        uploader: "Dropzone",
        number: ("dzchunkindex", 0),
        count: "dztotalchunkcount",
        offset: Some("dzchunkbyteoffset"),
        stride: Some("dzchunksize"),
        length: None,
        // `dztotalfilesize` is the size before Dropzone resized the picture, and the chunks are of what came out.
        total: None,
        source: Some("dztotalfilesize"),
        long_tail: false,
    },
    Scheme {
        uploader: "Resumable.js",
        number: ("resumableChunkNumber", 1),
        count: "resumableTotalChunks",
        offset: None,
        stride: Some("resumableChunkSize"),
        length: Some("resumableCurrentChunkSize"),
        total: Some("resumableTotalSize"),
        source: None,
        long_tail: true,
    },
    Scheme {
        uploader: "Flow.js",
        number: ("flowChunkNumber", 1),
        count: "flowTotalChunks",
        offset: None,
        stride: Some("flowChunkSize"),
        length: Some("flowCurrentChunkSize"),
        total: Some("flowTotalSize"),
        source: None,
        long_tail: true,
    },
    Scheme {
        uploader: "FineUploader",
        number: ("qqpartindex", 0),
        count: "qqtotalparts",
        offset: Some("qqpartbyteoffset"),
        stride: None,
        length: Some("qqchunksize"),
        total: Some("qqtotalfilesize"),
        source: None,
        long_tail: false,
    },
];

/// What the fields of one form say, as numbers.
#[derive(Debug, Default)]
struct Said {
    number: Option<u64>,
    count: Option<u64>,
    offset: Option<u64>,
    stride: Option<u64>,
    length: Option<u64>,
    total: Option<u64>,
    source: Option<u64>,
}

/// What every uploader says that says anything; at most one claim for each.
///
/// # Errors
/// `InvalidArgument` that names the first field which breaks a rule, or does not agree with its neighbours.
pub(super) fn claims(fields: &ChunkFields) -> Result<Vec<ChunkClaim>, ApiError> {
    let read = SCHEMES.iter().map(|scheme| scheme.read(fields));
    read.filter_map(Result::transpose).collect()
}

impl Scheme {
    fn read(&self, fields: &ChunkFields) -> Result<Option<ChunkClaim>, ApiError> {
        let said = self.said(fields)?;
        let Some(number) = said.number else {
            return self.without_number(&said);
        };
        let index = self.index(number)?;
        let spec = ChunkSpec::new(index, self.count(index, &said)?);
        let stride = self.stride(index, &said)?;
        self.check_offset(index, stride, &said)?;
        self.check_total(spec, stride, &said)?;
        let length = self.length(spec, stride, &said)?;
        Ok(Some(self.claim(spec, stride, length, &said)))
    }

    fn claim(
        &self,
        spec: ChunkSpec,
        stride: Option<u64>,
        length: Option<Length>,
        said: &Said,
    ) -> ChunkClaim {
        ChunkClaim {
            uploader: self.uploader,
            field: self.number.0,
            count_field: self.count,
            spec,
            stride: stride.map(|stride| (self.size_field(), stride)),
            total: self.total.zip(said.total),
            source: self.source.zip(said.source),
            length,
        }
    }

    fn said(&self, fields: &ChunkFields) -> Result<Said, ApiError> {
        let size = |name: Option<&'static str>| match name {
            Some(name) => number(fields, name, MAX_OBJECT_BYTES),
            None => Ok(None),
        };
        let most = u64::from(MAX_CHUNKS);
        Ok(Said {
            number: number(fields, self.number.0, most - 1 + self.number.1)?,
            count: number(fields, self.count, most)?,
            offset: size(self.offset)?,
            stride: size(self.stride)?,
            length: size(self.length)?,
            total: size(self.total)?,
            source: size(self.source)?,
        })
    }

    /// A form without a chunk's number carries a whole file, whose size may be told.
    fn without_number(&self, said: &Said) -> Result<Option<ChunkClaim>, ApiError> {
        let name = self.number.0;
        for (field, value) in [(Some(self.count), said.count), (self.offset, said.offset)] {
            if let (Some(field), Some(_)) = (field, value) {
                let rule = format!("must be there when {field} is.");
                return Err(refused(name, "", rule));
            }
        }
        let (Some(field), Some(total)) = (self.total, said.total) else {
            return Ok(None);
        };
        let (index, nb_chunks) = (0, Some(1));
        let spec = ChunkSpec::new(index, nb_chunks);
        let whole = self.claim(spec, None, Some(Length::exactly(field, total)), said);
        Ok(Some(ChunkClaim { field, ..whole }))
    }

    fn index(&self, number: u64) -> Result<u32, ApiError> {
        let (name, first) = self.number;
        let index = number.checked_sub(first);
        index
            .and_then(|index| u32::try_from(index).ok())
            .ok_or_else(|| refused(name, number, format!("must be at least {first}.")))
    }

    fn count(&self, index: u32, said: &Said) -> Result<Option<u32>, ApiError> {
        let Some(count) = said.count else {
            return Ok(None);
        };
        if count == 0 {
            return Err(refused(self.count, count, "must be at least 1."));
        }
        if u64::from(index) >= count {
            let (name, first) = self.number;
            let most = count - 1 + first;
            let rule = format!("must be at most {most}, for {} is {count}.", self.count);
            return Err(refused(name, u64::from(index) + first, rule));
        }
        Ok(u32::try_from(count).ok())
    }

    /// The size of every chunk but the last: said, or else what offset or size of this one come to.
    fn stride(&self, index: u32, said: &Said) -> Result<Option<u64>, ApiError> {
        if let (Some(name), Some(0)) = (self.stride, said.stride) {
            return Err(refused(name, 0, "must be at least 1."));
        }
        if said.stride.is_some() {
            return Ok(said.stride);
        }
        let is_not_last = said.count.is_some_and(|count| u64::from(index) + 1 < count);
        match (self.offset, said.offset) {
            _ if index == 0 && is_not_last => Ok(said.length.filter(|length| *length > 0)),
            (Some(name), Some(offset)) if index > 0 => {
                let index = u64::from(index);
                if offset == 0 || offset % index > 0 {
                    let rule = format!("must be a multiple of {} ({index}).", self.number.0);
                    return Err(refused(name, offset, rule));
                }
                Ok(Some(offset / index))
            }
            _ => Ok(None),
        }
    }

    fn check_offset(&self, index: u32, stride: Option<u64>, said: &Said) -> Result<(), ApiError> {
        let (Some(name), Some(offset)) = (self.offset, said.offset) else {
            return Ok(());
        };
        let begin = match (index, stride) {
            (0, _) => 0,
            (index, Some(stride)) => u64::from(index) * stride,
            (_, None) => return Ok(()),
        };
        if offset == begin {
            return Ok(());
        }
        let size = self.stride.unwrap_or("the size of a chunk");
        let rule = format!("must be {} times {size}, which is {begin}.", self.number.0);
        Err(refused(name, offset, rule))
    }

    /// The file ends in the last of so many chunks of this size.
    fn check_total(
        &self,
        spec: ChunkSpec,
        stride: Option<u64>,
        said: &Said,
    ) -> Result<(), ApiError> {
        let (Some(name), Some(total)) = (self.total, said.total) else {
            return Ok(());
        };
        let (Some(count), Some(stride)) = (spec.nb_chunks, stride) else {
            return Ok(());
        };
        let tail = total.checked_sub(u64::from(count - 1) * stride);
        let fits =
            tail.is_some_and(|tail| tail <= self.longest(stride) && (tail > 0 || count == 1));
        if fits {
            return Ok(());
        }
        let rule = format!(
            "must come in {} chunks ({count}) of {stride} bytes, and {total} bytes do not.",
            self.count
        );
        Err(refused(name, total, rule))
    }

    /// Most bytes of the last chunk.
    fn longest(&self, stride: u64) -> u64 {
        match self.long_tail {
            true => stride.saturating_mul(2) - 1,
            false => stride,
        }
    }

    fn length(
        &self,
        spec: ChunkSpec,
        stride: Option<u64>,
        said: &Said,
    ) -> Result<Option<Length>, ApiError> {
        let left = self.length_left(spec, stride, said);
        let (Some(field), Some(length)) = (self.length, said.length) else {
            return Ok(left);
        };
        if let Some(left) = left.filter(|left| !left.allows(length)) {
            let rule = format!("must be {} by {}.", left.bytes(), left.field);
            return Err(refused(field, length, rule));
        }
        Ok(Some(Length::exactly(field, length)))
    }

    /// What the size of the others and the size of the file leave for this chunk.
    fn length_left(&self, spec: ChunkSpec, stride: Option<u64>, said: &Said) -> Option<Length> {
        let begin = match (spec.index, stride) {
            (0, _) => 0,
            (index, stride) => u64::from(index) * stride?,
        };
        let left = said.total.map(|total| total.saturating_sub(begin));
        let is_last = spec.nb_chunks.map(|count| spec.index + 1 == count);
        match (is_last, self.total.zip(left), stride) {
            (Some(true), Some((total, left)), _) => Some(Length::exactly(total, left)),
            (Some(false), _, Some(stride)) => Some(Length::exactly(self.size_field(), stride)),
            (_, _, Some(stride)) => Some(Length {
                field: self.size_field(),
                min: 0,
                max: self.longest(stride),
            }),
            _ => None,
        }
    }

    /// The field from which the size of every chunk but the last is known.
    fn size_field(&self) -> &'static str {
        self.stride.or(self.offset).unwrap_or(self.number.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of chunk 1 of a file of 2,500 bytes in chunks of 1,000, as each uploader sends them.
    const DROPZONE: &str = "dzchunkindex=1 dztotalfilesize=2500 dzchunksize=1000 dztotalchunkcount=3 dzchunkbyteoffset=1000";
    const RESUMABLE: &str = "resumableChunkNumber=2 resumableChunkSize=1000 resumableCurrentChunkSize=1000 \
        resumableTotalSize=2500 resumableTotalChunks=3";
    const FLOW: &str = "flowChunkNumber=2 flowChunkSize=1000 flowCurrentChunkSize=1000 flowTotalSize=2500 flowTotalChunks=3";
    const FINE: &str =
        "qqpartindex=1 qqpartbyteoffset=1000 qqchunksize=1000 qqtotalparts=3 qqtotalfilesize=2500";

    /// A form's fields: `base`, with those of `changes` in place of its own; a field that changes to nothing is left out.
    fn fields(base: &str, changes: &str) -> ChunkFields {
        let pairs = |text: &str| -> Vec<(String, String)> {
            let pairs = text.split_whitespace().map(|pair| pair.split_once('='));
            pairs
                .map(|pair| pair.map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())))
                .collect::<Option<_>>()
                .unwrap()
        };
        let changed = pairs(changes);
        let kept = pairs(base);
        let kept = kept
            .iter()
            .filter(|(n, _)| !changed.iter().any(|(m, _)| m == n));
        let others = kept
            .chain(&changed)
            .filter(|(_, v)| v != "nothing")
            .cloned();
        ChunkFields {
            others: others.collect(),
            ..ChunkFields::default()
        }
    }

    fn claim(base: &str, changes: &str) -> Result<ChunkClaim, ApiError> {
        let mut claims = claims(&fields(base, changes))?;
        assert_eq!(claims.len(), 1, "{base} {changes}");
        Ok(claims.remove(0))
    }

    /// Fields, and the chunk that they name: its index, how many there are, fewest and most bytes.
    type Named = (&'static str, &'static str, u32, Option<u32>, (u64, u64));

    const NAMED: &[Named] = &[
        (
            DROPZONE,
            "dzchunkindex=0 dzchunkbyteoffset=0",
            0,
            Some(3),
            (1000, 1000),
        ),
        (DROPZONE, "", 1, Some(3), (1000, 1000)),
        (
            DROPZONE,
            "dzchunkindex=2 dzchunkbyteoffset=2000",
            2,
            Some(3),
            (0, 1000),
        ),
        (DROPZONE, "dztotalchunkcount=nothing", 1, None, (0, 1000)),
        (DROPZONE, "dztotalfilesize=9999", 1, Some(3), (1000, 1000)),
        (
            RESUMABLE,
            "resumableChunkNumber=1",
            0,
            Some(3),
            (1000, 1000),
        ),
        (RESUMABLE, "", 1, Some(3), (1000, 1000)),
        (
            RESUMABLE,
            "resumableChunkNumber=3 resumableCurrentChunkSize=500",
            2,
            Some(3),
            (500, 500),
        ),
        (
            RESUMABLE,
            "resumableTotalChunks=2 resumableCurrentChunkSize=1500",
            1,
            Some(2),
            (1500, 1500),
        ),
        (
            RESUMABLE,
            "resumableCurrentChunkSize=",
            1,
            Some(3),
            (1000, 1000),
        ),
        (FLOW, "flowChunkNumber=1", 0, Some(3), (1000, 1000)),
        (FLOW, "", 1, Some(3), (1000, 1000)),
        (
            FLOW,
            "flowChunkNumber=3 flowCurrentChunkSize=500",
            2,
            Some(3),
            (500, 500),
        ),
        (
            FLOW,
            "flowTotalChunks=2 flowCurrentChunkSize=1500",
            1,
            Some(2),
            (1500, 1500),
        ),
        (
            FINE,
            "qqpartindex=0 qqpartbyteoffset=0",
            0,
            Some(3),
            (1000, 1000),
        ),
        (FINE, "", 1, Some(3), (1000, 1000)),
        (
            FINE,
            "qqpartindex=2 qqpartbyteoffset=2000 qqchunksize=500",
            2,
            Some(3),
            (500, 500),
        ),
        (
            "qqtotalfilesize=700 qqfilename=a qquuid=u",
            "",
            0,
            Some(1),
            (700, 700),
        ),
        (
            "qqpartindex=0 qqpartbyteoffset=0 qqchunksize=7 qqtotalparts=1 qqtotalfilesize=7",
            "",
            0,
            Some(1),
            (7, 7),
        ),
    ];

    #[test]
    fn every_uploader_names_its_chunks_by_its_own_fields() {
        for (base, changes, index, count, bytes) in NAMED.iter().copied() {
            let claim = claim(base, changes).unwrap();
            let (spec, length) = (claim.spec, claim.length.unwrap());
            assert_eq!(
                (spec.index, spec.nb_chunks),
                (index, count),
                "{base} {changes}"
            );
            assert_eq!((length.min, length.max), bytes, "{base} {changes}");
        }
    }

    #[test]
    fn the_size_of_the_other_chunks_is_known_from_each() {
        for (base, changes, field) in [
            (DROPZONE, "", "dzchunksize"),
            (RESUMABLE, "", "resumableChunkSize"),
            (FLOW, "", "flowChunkSize"),
            (FINE, "", "qqpartbyteoffset"),
            (
                FINE,
                "qqpartindex=2 qqpartbyteoffset=2000 qqchunksize=500",
                "qqpartbyteoffset",
            ),
        ] {
            let claim = claim(base, changes).unwrap();
            assert_eq!(claim.stride, Some((field, 1000)), "{base} {changes}");
        }
    }

    /// Fields, and how their refusal begins.
    const REFUSED: &[(&str, &str, &str)] = &[
        (
            DROPZONE,
            "dzchunkindex=x",
            "dzchunkindex must be a whole number",
        ),
        (
            DROPZONE,
            "dzchunkindex=-1",
            "dzchunkindex must be a whole number",
        ),
        (
            DROPZONE,
            "dzchunkindex=+1",
            "dzchunkindex must be a whole number",
        ),
        (
            DROPZONE,
            "dzchunkindex=10000 dztotalchunkcount=nothing",
            "dzchunkindex must be at most 9999",
        ),
        (
            DROPZONE,
            "dzchunkindex=3",
            "dzchunkindex must be at most 2, for dztotalchunkcount is 3",
        ),
        (
            DROPZONE,
            "dzchunkindex=nothing",
            "dzchunkindex must be there when dztotalchunkcount is",
        ),
        (
            DROPZONE,
            "dztotalchunkcount=0",
            "dztotalchunkcount must be at least 1",
        ),
        (
            DROPZONE,
            "dztotalchunkcount=10001",
            "dztotalchunkcount must be at most 10000",
        ),
        (DROPZONE, "dzchunksize=0", "dzchunksize must be at least 1"),
        (
            DROPZONE,
            "dzchunksize=1e6",
            "dzchunksize must be a whole number",
        ),
        (
            DROPZONE,
            "dzchunksize=999",
            "dzchunkbyteoffset must be dzchunkindex times dzchunksize, which is 999",
        ),
        (
            DROPZONE,
            "dzchunkbyteoffset=0",
            "dzchunkbyteoffset must be dzchunkindex times dzchunksize",
        ),
        (
            DROPZONE,
            "dzchunkindex=0",
            "dzchunkbyteoffset must be dzchunkindex times dzchunksize, which is 0",
        ),
        (
            RESUMABLE,
            "resumableChunkNumber=0",
            "resumableChunkNumber must be at least 1",
        ),
        (
            RESUMABLE,
            "resumableChunkNumber=4",
            "resumableChunkNumber must be at most 3",
        ),
        (
            RESUMABLE,
            "resumableTotalChunks=4",
            "resumableTotalSize must come in resumableTotalChunks chunks (4)",
        ),
        (
            RESUMABLE,
            "resumableTotalSize=4000",
            "resumableTotalSize must come in",
        ),
        (
            RESUMABLE,
            "resumableTotalSize=99999999999999999999",
            "resumableTotalSize must be a whole number",
        ),
        (
            RESUMABLE,
            "resumableTotalSize=9999999999999",
            "resumableTotalSize must be at most",
        ),
        (
            RESUMABLE,
            "resumableCurrentChunkSize=999",
            "resumableCurrentChunkSize must be 1000 bytes by resumableChunkSize",
        ),
        (
            RESUMABLE,
            "resumableChunkNumber=3",
            "resumableCurrentChunkSize must be 500 bytes by resumableTotalSize",
        ),
        (
            FLOW,
            "flowChunkNumber=0",
            "flowChunkNumber must be at least 1",
        ),
        (
            FLOW,
            "flowTotalChunks=1",
            "flowChunkNumber must be at most 1",
        ),
        (
            FLOW,
            "flowChunkSize=400",
            "flowTotalSize must come in flowTotalChunks chunks (3) of 400 bytes, and 2500 bytes do not",
        ),
        (
            FINE,
            "qqpartindex=2 qqpartbyteoffset=2001",
            "qqpartbyteoffset must be a multiple of qqpartindex (2)",
        ),
        (
            FINE,
            "qqpartindex=2",
            "qqtotalfilesize must come in qqtotalparts chunks (3) of 500 bytes",
        ),
        (
            FINE,
            "qqpartbyteoffset=0",
            "qqpartbyteoffset must be a multiple of qqpartindex (1)",
        ),
        (
            FINE,
            "qqpartindex=0",
            "qqpartbyteoffset must be qqpartindex times the size of a chunk, which is 0",
        ),
        (
            FINE,
            "qqchunksize=900",
            "qqchunksize must be 1000 bytes by qqpartbyteoffset",
        ),
        (
            FINE,
            "qqpartindex=nothing",
            "qqpartindex must be there when qqtotalparts is",
        ),
        (
            FINE,
            "qqtotalfilesize=2000",
            "qqtotalfilesize must come in qqtotalparts chunks (3) of 1000 bytes",
        ),
    ];

    #[test]
    fn what_does_not_agree_with_itself_is_refused_by_the_fields_name() {
        for (base, changes, named) in REFUSED.iter().copied() {
            let refused = claim(base, changes).unwrap_err();
            assert!(
                refused.message.starts_with(named),
                "{changes}: {}",
                refused.message
            );
            let name = named.split(' ').next().unwrap();
            assert!(
                refused.extras.contains(&("ArgumentName", name.to_owned())),
                "{changes}"
            );
        }
    }

    #[test]
    fn a_form_without_these_fields_or_with_empty_ones_claims_nothing() {
        for text in [
            "",
            "dzchunkindex= dzuuid=u",
            "type=video/mp4 relativepath=a",
            "resumableIdentifier=7-a",
        ] {
            assert_eq!(claims(&fields(text, "")).unwrap(), [], "{text}");
        }
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let sizes = format!("qqchunksize={MAX_OBJECT_BYTES} qqtotalfilesize={MAX_OBJECT_BYTES}");
        let base = "qqpartindex=9999 qqtotalparts=10000";
        assert!(
            claim(
                base,
                &format!("{sizes} qqpartbyteoffset={MAX_OBJECT_BYTES}")
            )
            .is_err()
        );
        let dropzone =
            format!("dzchunkindex=9999 dztotalchunkcount=10000 dzchunksize={MAX_OBJECT_BYTES}");
        let bytes = claim(&dropzone, "").unwrap().length.unwrap().max;
        assert_eq!(bytes, MAX_OBJECT_BYTES);
        let flow =
            format!("flowChunkNumber=10000 flowTotalChunks=10000 flowChunkSize={MAX_OBJECT_BYTES}");
        assert!(claim(&flow, &format!("flowTotalSize={MAX_OBJECT_BYTES}")).is_err());
    }
}
