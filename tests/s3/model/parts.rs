//! The model's uploads in parts.
//!
//! Owns: what is under way, and the operations on it. Parts are small, so an upload becomes an object by one of them, and is refused for
//! small parts by several; but the first one of two in three uploads is a block that is large enough to have others behind it.

use std::collections::BTreeMap;

use super::*;

/// Uploads that may be under way before no more are started.
const MAX_OPEN: usize = 6;
/// Highest number of a part.
const MAX_PART: u64 = 4;
/// Fewest bytes of a part that is not the last one.
const MIN_BYTES: usize = 5 << 20;

/// A part that others may follow.
pub(super) fn block() -> Bytes {
    let mut dice = Dice(7);
    let words = std::iter::repeat_with(|| dice.next().to_le_bytes()).take(MIN_BYTES / 8);
    words.collect::<Vec<_>>().concat().into()
}

/// An upload that is under way, under the number of its start: its id is drawn by the store, and nothing may depend on its order, or a
/// seed would not play the same twice.
#[derive(Clone, Debug)]
pub(super) struct Open {
    id: String,
    key: String,
    described: Stored,
    /// Its first part is a block.
    is_large: bool,
    parts: BTreeMap<u64, Bytes>,
}

impl Open {
    /// What these parts become.
    fn whole(&self, named: &[u64]) -> Stored {
        let parts: Vec<&[u8]> = named.iter().map(|number| &*self.parts[number]).collect();
        let md5s = parts.iter().map(|part| *Md5::of(part).as_bytes());
        let md5s = md5s.collect::<Vec<_>>().concat();
        let tag = ETag::of_whole(Md5::of(&md5s)).as_str().to_owned();
        Stored {
            bytes: parts.concat().into(),
            etag: format!("\"{tag}-{}\"", named.len()),
            ..self.described.clone()
        }
    }

    /// Whether all of these parts but the last are large enough.
    fn are_large_enough(&self, named: &[u64]) -> bool {
        let but_the_last = named.split_last().map_or(named, |(_, others)| others);
        let large = |number: &u64| self.parts[number].len() >= MIN_BYTES;
        but_the_last.iter().all(large)
    }
}

impl Play {
    pub(super) async fn upload_in_parts(&mut self) {
        let starts: Vec<u32> = self.open.keys().copied().collect();
        let Some(open) = self.dice.pick(&starts) else {
            return self.start().await;
        };
        match self.dice.below(100) {
            0..20 if starts.len() < MAX_OPEN => self.start().await,
            0..50 => self.send_part(open).await,
            50..76 => self.complete(open).await,
            76..80 => self.abort(open).await,
            80..92 => self.list_parts(open).await,
            _ => self.list_uploads().await,
        }
    }

    async fn start(&mut self) {
        let (key, described_by) = (self.key(false), self.stored());
        let request = Signed::new("POST", &format!("{}?uploads", path(&key)));
        let answer = described(request, &described_by).send(&self.rig).await;
        expect(&answer, 200, "", &format!("start {key:?}"));
        let open = Open {
            id: element(&answer, "UploadId"),
            key,
            described: described_by,
            is_large: self.dice.is(65),
            parts: BTreeMap::new(),
        };
        let start = self.open.last_key_value().map_or(0, |(start, _)| start + 1);
        self.open.insert(start, open);
    }

    fn on(&self, start: u32, method: &str, more: &str) -> Signed {
        let Open { id, key, .. } = &self.open[&start];
        Signed::new(method, &format!("{}?uploadId={id}{more}", path(key)))
    }

    async fn send_part(&mut self, start: u32) {
        let Open {
            is_large, parts, ..
        } = &self.open[&start];
        let is_block = *is_large && parts.is_empty();
        let first = if *is_large { 2 } else { 1 };
        let number = first + self.dice.below(MAX_PART);
        if !is_block && self.dice.is(25) {
            return self.copy_part(start, number).await;
        }
        let (number, bytes) = match is_block {
            true => (1, self.block.clone()),
            false => (number, self.stored().bytes),
        };
        let request = self.on(start, "PUT", &format!("&partNumber={number}"));
        let answer = request.body(bytes.to_vec()).send(&self.rig).await;
        expect(&answer, 200, "", &format!("part {number} of {start}"));
        assert_eq!(answer.header("etag"), tag(&bytes));
        self.open
            .get_mut(&start)
            .unwrap()
            .parts
            .insert(number, bytes);
    }

    /// A part that is an object, or bytes of one.
    async fn copy_part(&mut self, start: u32, number: u64) {
        let from = self.key(true);
        let (first, last) = (self.dice.below(50), self.dice.below(50));
        let ranged = first <= last && self.dice.is(50);
        let wrong = self.dice.is(10);
        let mut request = self.on(start, "PUT", &format!("&partNumber={number}"));
        let source = format!("/uploads/{}", sigv4::encode(&from));
        request = request.header("x-amz-copy-source", &source);
        if ranged {
            request = request.header("x-amz-copy-source-range", &format!("bytes={first}-{last}"));
        }
        if wrong {
            request = request.header("x-amz-copy-source-if-match", "\"0\"");
        }
        let answer = request.send(&self.rig).await;
        let what =
            format!("part {number} of {start} from {from:?}, {ranged} {first}-{last}, {wrong}");
        *self.counts.entry("copy a part").or_default() += 1;
        let Some(source) = self.objects.get(&from) else {
            return expect(&answer, 404, "NoSuchKey", &what);
        };
        if wrong {
            return expect(&answer, 412, "PreconditionFailed", &what);
        }
        let at = |place: u64| usize::try_from(place).unwrap();
        let whole = source.bytes.len();
        let (first, end) = match ranged {
            true => (at(first), at(last + 1)),
            false => (0, whole),
        };
        if end > whole {
            let code = match first < whole {
                true => "InvalidArgument",
                false => "InvalidRequest",
            };
            return expect(&answer, 400, code, &what);
        }
        expect(&answer, 200, "", &what);
        let bytes = source.bytes.slice(first..end);
        let told = element(&answer, "ETag").replace("&quot;", "\"");
        assert_eq!(told, tag(&bytes), "{what}");
        self.open
            .get_mut(&start)
            .unwrap()
            .parts
            .insert(number, bytes);
    }

    /// With one of its parts, with two, or with all that there are.
    async fn complete(&mut self, start: u32) {
        let open = self.open[&start].clone();
        if open.is_large && open.parts.len() < 2 {
            return self.send_part(start).await;
        }
        let there: Vec<u64> = open.parts.keys().copied().collect();
        let named = match self.dice.below(100) {
            0..20 => self.dice.pick(&there).into_iter().collect(),
            20..80 => self.two_of(there),
            _ => there,
        };
        let is_wrong = self.dice.is(10);
        let lines = named.iter().map(|number| {
            let tag = if is_wrong {
                "\"0\"".to_owned()
            } else {
                tag(&open.parts[number])
            };
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        });
        let lines = lines.collect::<String>();
        let body = format!("<CompleteMultipartUpload>{lines}</CompleteMultipartUpload>");
        let answer = self.on(start, "POST", "").body(body).send(&self.rig).await;
        let what = format!("complete {start} with {named:?}, {is_wrong}");
        match named.as_slice() {
            [] => expect(&answer, 400, "MalformedXML", &what),
            _ if is_wrong => expect(&answer, 400, "InvalidPart", &what),
            _ if open.are_large_enough(&named) => {
                expect(&answer, 200, "", &what);
                let made = open.whole(&named);
                let told = element(&answer, "ETag").replace("&quot;", "\"");
                assert_eq!(told, made.etag, "{what}");
                self.open.remove(&start);
                self.objects.insert(open.key, made);
                let several = if named.len() > 1 {
                    "several parts"
                } else {
                    "one part"
                };
                *self.counts.entry(several).or_default() += 1;
            }
            _ => expect(&answer, 400, "EntityTooSmall", &what),
        }
    }

    /// The first one, and one behind it.
    fn two_of(&mut self, there: Vec<u64>) -> Vec<u64> {
        let Some((first, others)) = there.split_first() else {
            return there;
        };
        let second = self.dice.pick(others);
        std::iter::once(*first).chain(second).collect()
    }

    async fn abort(&mut self, start: u32) {
        for (status, code) in [(204, ""), (404, "NoSuchUpload")] {
            let answer = self.on(start, "DELETE", "").send(&self.rig).await;
            expect(&answer, status, code, &format!("abort {start}"));
        }
        self.open.remove(&start);
    }

    async fn list_parts(&mut self, start: u32) {
        let answer = self.on(start, "GET", "").send(&self.rig).await;
        expect(&answer, 200, "", &format!("parts of {start}"));
        let parts = self.open[&start].parts.iter();
        let parts =
            parts.map(|(number, bytes)| (number.to_string(), bytes.len().to_string(), tag(bytes)));
        let tags = elements(&answer, "ETag")
            .into_iter()
            .map(|tag| tag.replace("&quot;", "\""));
        let told = elements(&answer, "PartNumber")
            .into_iter()
            .zip(elements(&answer, "Size"));
        let told = told
            .zip(tags)
            .map(|((number, size), tag)| (number, size, tag));
        assert_eq!(
            told.collect::<Vec<_>>(),
            parts.collect::<Vec<_>>(),
            "parts of {start}"
        );
    }

    async fn list_uploads(&mut self) {
        let answer = Signed::new("GET", "/uploads?uploads&encoding-type=url")
            .send(&self.rig)
            .await;
        expect(&answer, 200, "", "uploads");
        let keys = elements(&answer, "Key")
            .into_iter()
            .map(|key| decoded(&key));
        let mut told: Vec<_> = keys.zip(elements(&answer, "UploadId")).collect();
        assert!(told.is_sorted_by_key(|(key, _)| key.clone()), "{told:?}");
        let mut expected: Vec<_> = self
            .open
            .values()
            .map(|open| (open.key.clone(), open.id.clone()))
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "uploads");
    }
}
