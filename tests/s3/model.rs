//! The S3 dialect beside a model in memory: 2,000 operations drawn by dice, the same answers from both.
//!
//! Owns: the model, as small as Amazon's description of these operations; and the keys, as hostile as they come. A list is worked out
//! from all keys each time, without the store's order or its pages.
//! Never does: draw from anything but its seed, or look at the store but over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use crate::{dice, sigv4, support};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dice::Dice;
use parts::Open;
use percent_encoding::percent_decode_str;
use pillarbox::model::{ETag, Md5};
use sigv4::{Signed, code, element, elements};
use support::{Answer, Rig};

const OPERATIONS: u32 = 2000;
/// Keys that operations draw from.
const KEYS: usize = 90;
/// What keys are made of.
const PIECES: [&str; 24] = [
    "a",
    "b",
    "c/",
    "/",
    "//",
    ".",
    "..",
    "../",
    "/../",
    "%2F",
    "%",
    "+",
    " ",
    "\0",
    "\r\n",
    "\t",
    "&amp;<",
    "?x=1",
    "#",
    "\u{fc}",
    "u\u{308}",
    "\u{202e}",
    "\u{1f600}",
    "\u{10ffff}",
];

/// An object as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    bytes: Bytes,
    content_type: String,
    colour: String,
    etag: String,
}

/// The tag of what came in one piece.
fn tag(bytes: &[u8]) -> String {
    ETag::of_whole(Md5::of(bytes)).quoted()
}

/// A condition on what is there, and the refusal when it does not hold.
#[derive(Clone, Debug, Default)]
struct Condition {
    header: Option<(&'static str, String)>,
    refusal: Option<(u16, &'static str)>,
}

impl Condition {
    fn on(&self, request: Signed) -> Signed {
        match &self.header {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }
}

/// Both of them, and what was drawn so far.
struct Play {
    rig: Rig,
    dice: Dice,
    keys: Vec<String>,
    objects: BTreeMap<String, Stored>,
    open: BTreeMap<u32, Open>,
    /// As many bytes as a part has at least that is not the last one.
    block: Bytes,
    counts: BTreeMap<&'static str, u32>,
}

fn path(key: &str) -> String {
    format!("/uploads/{}", sigv4::encode(key).replace("%2F", "/"))
}

fn keys(dice: &mut Dice) -> Vec<String> {
    let long = ["k".repeat(1024), "\u{1f600}".repeat(256), "/".repeat(1024)];
    let mut keys: BTreeSet<String> = long.into_iter().collect();
    while keys.len() < KEYS {
        let pieces = (0..1 + dice.below(5)).map(|_| dice.pick(&PIECES).unwrap());
        keys.insert(pieces.collect());
    }
    keys.into_iter().collect()
}

/// The status, and the code of a refusal.
fn expect(answer: &Answer, status: u16, expected: &str, what: &str) {
    let code = if expected.is_empty() {
        String::new()
    } else {
        code(answer)
    };
    assert_eq!(
        (answer.status.as_u16(), code.as_str()),
        (status, expected),
        "{what}"
    );
}

impl Play {
    async fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let keys = keys(&mut dice);
        Self {
            rig: Rig::new().await,
            dice,
            keys,
            objects: BTreeMap::new(),
            open: BTreeMap::new(),
            block: parts::block(),
            counts: BTreeMap::new(),
        }
    }

    /// Any key; rather one that is there when `known`.
    fn key(&mut self, known: bool) -> String {
        let there: Vec<String> = self.objects.keys().cloned().collect();
        let any = self.dice.pick(&self.keys).unwrap();
        match known && self.dice.is(75) {
            true => self.dice.pick(&there).unwrap_or(any),
            false => any,
        }
    }

    async fn operation(&mut self) {
        let (name, ()) = match self.dice.below(100) {
            0..24 => ("put", self.put().await),
            24..42 => ("get", self.get().await),
            42..51 => ("delete", self.delete().await),
            51..55 => ("delete many", self.delete_many().await),
            55..65 => ("copy", self.copy().await),
            65..79 => ("upload in parts", self.upload_in_parts().await),
            79..80 => ("key too long", self.too_long().await),
            _ => ("list", self.list().await),
        };
        *self.counts.entry(name).or_default() += 1;
    }

    fn stored(&mut self) -> Stored {
        let length = match self.dice.is(5) {
            true => 70_000,
            false => self.dice.below(40),
        };
        let bytes = (0..length).map(|_| self.dice.next().to_le_bytes()[0]);
        let bytes: Bytes = bytes.collect();
        Stored {
            etag: tag(&bytes),
            bytes,
            content_type: self
                .dice
                .pick(&["text/plain", "video/mp4"])
                .unwrap()
                .to_owned(),
            colour: self.dice.pick(&["red", "blue"]).unwrap().to_owned(),
        }
    }

    async fn put(&mut self) {
        let (key, stored) = (self.key(false), self.stored());
        let condition = self.write_condition(&key);
        let request = described(Signed::new("PUT", &path(&key)), &stored);
        let request = condition.on(request).body(stored.bytes.to_vec());
        let answer = request.send(&self.rig).await;
        let what = format!("put {key:?} {condition:?}");
        if let Some((status, code)) = condition.refusal {
            return expect(&answer, status, code, &what);
        }
        expect(&answer, 200, "", &what);
        assert_eq!(answer.header("etag"), stored.etag);
        self.objects.insert(key, stored);
    }

    async fn get(&mut self) {
        let key = self.key(true);
        let method = self.dice.pick(&["GET", "GET", "HEAD"]).unwrap();
        let there = self.objects.get(&key).cloned();
        let mut request = Signed::new(method, &path(&key));
        let condition = self.condition(there.as_ref());
        if let Some((name, tag, _)) = &condition {
            request = request.header(name, tag);
        }
        let (first, last) = (self.dice.below(50), self.dice.below(50));
        let ranged = method == "GET" && condition.is_none() && first <= last && self.dice.is(50);
        if ranged {
            request = request.header("range", &format!("bytes={first}-{last}"));
        }
        let answer = request.send(&self.rig).await;
        let what = format!("{method} {key:?} {condition:?} {ranged} {first}-{last}");
        let head = method == "HEAD";
        let refused = |code: &'static str| if head { "" } else { code };
        let Some(stored) = there else {
            return expect(&answer, 404, refused("NoSuchKey"), &what);
        };
        match condition {
            Some((_, _, 412)) => expect(&answer, 412, refused("PreconditionFailed"), &what),
            Some((_, _, 304)) => expect(&answer, 304, "", &what),
            _ if ranged && first >= stored.bytes.len() as u64 => {
                expect(&answer, 416, "InvalidRange", &what);
            }
            _ if ranged => {
                let end = usize::try_from(last + 1).unwrap().min(stored.bytes.len());
                let bytes = &stored.bytes[usize::try_from(first).unwrap()..end];
                assert_eq!(
                    (answer.status.as_u16(), &*answer.body),
                    (206, bytes),
                    "{what}"
                );
            }
            _ => self.is(&answer, &stored, head, &what),
        }
    }

    /// A condition on the tag, and the status when it fails.
    fn condition(&mut self, there: Option<&Stored>) -> Option<(&'static str, String, u16)> {
        let right = there.map_or("\"none\"".to_owned(), |stored| stored.etag.clone());
        let wrong = "\"00000000000000000000000000000000\"".to_owned();
        match self.dice.below(100) {
            0..10 => Some(("if-match", right, 200)),
            10..20 => Some(("if-match", wrong, 412)),
            20..30 => Some(("if-none-match", right, 304)),
            30..35 => Some(("if-none-match", wrong, 200)),
            35..40 => Some(("if-none-match", "*".to_owned(), 304)),
            _ => None,
        }
    }

    /// A condition on what a write is to replace, and what both must say when it does not hold.
    fn write_condition(&mut self, key: &str) -> Condition {
        let there = self.objects.get(key).map(|stored| stored.etag.clone());
        let failed = (412, "PreconditionFailed");
        let missing = (404, "NoSuchKey");
        let (header, refusal) = match (self.dice.below(100), there) {
            (0..15, there) => (("if-none-match", "*".to_owned()), there.map(|_| failed)),
            (15..25, Some(tag)) => (("if-match", tag), None),
            (25..30, Some(_)) => (("if-match", "\"0\"".to_owned()), Some(failed)),
            (15..20, None) => (("if-match", "\"0\"".to_owned()), Some(missing)),
            _ => return Condition::default(),
        };
        Condition {
            header: Some(header),
            refusal,
        }
    }

    fn is(&self, answer: &Answer, stored: &Stored, head: bool, what: &str) {
        let bytes: &[u8] = if head { b"" } else { &stored.bytes };
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (200, bytes),
            "{what}"
        );
        let length = stored.bytes.len().to_string();
        for (name, value) in [
            ("etag", stored.etag.as_str()),
            ("content-type", &stored.content_type),
            ("x-amz-meta-colour", &stored.colour),
            ("content-length", &length),
        ] {
            assert_eq!(answer.header(name), value, "{what}: {name}");
        }
    }

    async fn delete(&mut self) {
        let key = self.key(true);
        let condition = match self.write_condition(&key) {
            Condition {
                header: Some(("if-none-match", _)),
                ..
            } => Condition::default(),
            other => other,
        };
        let request = condition.on(Signed::new("DELETE", &path(&key)));
        let answer = request.send(&self.rig).await;
        let what = format!("delete {key:?} {condition:?}");
        if let Some((status, code)) = condition.refusal {
            return expect(&answer, status, code, &what);
        }
        expect(&answer, 204, "", &what);
        self.objects.remove(&key);
    }

    async fn delete_many(&mut self) {
        // XML 1.0 has no way to write a NUL.
        let drawn = (0..1 + self.dice.below(8)).map(|_| self.key(true));
        let keys: Vec<String> = drawn.filter(|key| !key.contains('\0')).collect();
        let quiet = self.dice.is(50);
        let objects = keys
            .iter()
            .map(|key| format!("<Object><Key>{}</Key></Object>", escaped(key)));
        let objects = objects.collect::<String>();
        let body = format!("<Delete>{objects}<Quiet>{quiet}</Quiet></Delete>");
        let md5 = STANDARD.encode(Md5::of(body.as_bytes()).as_bytes());
        let request = Signed::new("POST", "/uploads?delete").header("content-md5", &md5);
        let answer = request.body(body).send(&self.rig).await;
        let what = format!("delete {keys:?}");
        if keys.is_empty() {
            return expect(&answer, 400, "MalformedXML", &what);
        }
        expect(&answer, 200, "", &what);
        let said = elements(&answer, "Key");
        let said = said
            .iter()
            .map(|key| quick_xml::escape::unescape(key).unwrap().into_owned());
        let expected = if quiet { Vec::new() } else { keys.clone() };
        assert_eq!(said.collect::<Vec<_>>(), expected, "{what}");
        assert_eq!(elements(&answer, "Error"), Vec::<String>::new(), "{what}");
        for key in keys {
            self.objects.remove(&key);
        }
    }

    async fn copy(&mut self) {
        let (from, to) = (self.key(true), self.key(false));
        let replaced = self.dice.is(40).then(|| self.stored());
        let source = format!("/uploads/{}", sigv4::encode(&from));
        let mut request = Signed::new("PUT", &path(&to)).header("x-amz-copy-source", &source);
        if let Some(new) = &replaced {
            request = described(request, new).header("x-amz-metadata-directive", "REPLACE");
        }
        let wrong = self.dice.is(10);
        if wrong {
            request = request.header("x-amz-copy-source-if-match", "\"0\"");
        }
        let condition = match from == to {
            true => Condition::default(),
            false => self.write_condition(&to),
        };
        let answer = condition.on(request).send(&self.rig).await;
        let what = format!("copy {from:?} to {to:?}, {replaced:?}, {wrong}, {condition:?}");
        let Some(source) = self.objects.get(&from) else {
            return expect(&answer, 404, "NoSuchKey", &what);
        };
        if wrong {
            return expect(&answer, 412, "PreconditionFailed", &what);
        }
        if from == to && replaced.is_none() {
            return expect(&answer, 400, "InvalidRequest", &what);
        }
        if let Some((status, code)) = condition.refusal {
            return expect(&answer, status, code, &what);
        }
        expect(&answer, 200, "", &what);
        let bytes = source.bytes.clone();
        let made = Stored {
            // Onto itself it moves no bytes.
            etag: match from == to {
                true => source.etag.clone(),
                false => tag(&bytes),
            },
            bytes,
            ..replaced.unwrap_or_else(|| source.clone())
        };
        let etag = element(&answer, "ETag").replace("&quot;", "\"");
        assert_eq!(etag, made.etag, "{what}");
        self.objects.insert(to, made);
    }

    async fn too_long(&mut self) {
        let key = format!("{}{}", self.key(false), "k".repeat(1025));
        let method = self.dice.pick(&["GET", "PUT", "DELETE"]).unwrap();
        let answer = Signed::new(method, &path(&key)).send(&self.rig).await;
        expect(&answer, 400, "KeyTooLongError", method);
    }

    /// A list from anywhere, page by page to its end.
    async fn list(&mut self) {
        let question = self.question();
        let size = self.dice.pick(&[1, 2, 3, 7, 1000]).unwrap();
        let mut after = question.after.clone();
        let mut place = (question.after_name(), after.clone());
        for _ in 0..=KEYS {
            let mut request = Signed::new("GET", "/uploads");
            request.query.extend(question.query(size, &place));
            let answer = request.send(&self.rig).await;
            let what = format!("{question:?} by {size} from {after:?}");
            expect(&answer, 200, "", &what);
            let (page, more) = question.page(&self.objects, &after, size);
            let is_truncated = element(&answer, "IsTruncated") == "true";
            assert_eq!(
                (listed(&answer), is_truncated),
                (split(&page), more),
                "{what}"
            );
            if !more {
                return;
            }
            page.last().unwrap().name().clone_into(&mut after);
            place = match question.kind {
                Kind::V2 => (
                    "continuation-token",
                    element(&answer, "NextContinuationToken"),
                ),
                _ => (question.after_name(), after.clone()),
            };
            if question.kind == Kind::Versions {
                assert_eq!(decoded(&element(&answer, "NextKeyMarker")), after, "{what}");
            }
        }
        panic!("{question:?} by {size} does not end");
    }

    fn question(&mut self) -> Question {
        let key = self.key(true);
        let cut = |dice: &mut Dice, key: &str| {
            let letters = key.chars().count().min(6) as u64;
            let kept = usize::try_from(dice.below(letters + 1)).unwrap();
            key.chars().take(kept).collect::<String>()
        };
        Question {
            kind: self
                .dice
                .pick(&[Kind::V1, Kind::V2, Kind::Versions])
                .unwrap(),
            prefix: if self.dice.is(60) {
                cut(&mut self.dice, &key)
            } else {
                String::new()
            },
            delimiter: self
                .dice
                .pick(&["", "/", "/", "//", "a", "\u{fc}"])
                .unwrap()
                .to_owned(),
            after: if self.dice.is(30) {
                self.key(true)
            } else {
                String::new()
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    V1,
    V2,
    Versions,
}

/// One list that is asked for.
#[derive(Clone, Debug)]
struct Question {
    kind: Kind,
    prefix: String,
    delimiter: String,
    after: String,
}

#[derive(Clone, Debug)]
enum Entry {
    Object(String, Stored),
    Group(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(name, _) | Self::Group(name) => name,
        }
    }
}

impl Question {
    /// The parameter that says behind which name the first page begins.
    fn after_name(&self) -> &'static str {
        match self.kind {
            Kind::V1 => "marker",
            Kind::V2 => "start-after",
            Kind::Versions => "key-marker",
        }
    }

    fn query(&self, size: usize, place: &(&str, String)) -> Vec<(String, String)> {
        let kind = match self.kind {
            Kind::V1 => ("x-id", "ListObjects"),
            Kind::V2 => ("list-type", "2"),
            Kind::Versions => ("versions", ""),
        };
        let size = size.to_string();
        let all = [
            kind,
            ("encoding-type", "url"),
            ("max-keys", &size),
            ("prefix", &self.prefix),
            ("delimiter", &self.delimiter),
            (place.0, &place.1),
        ];
        let given = all
            .into_iter()
            .filter(|(name, value)| *name == "versions" || !value.is_empty());
        given
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// One page behind a name, and whether more follow: all keys are looked at.
    fn page(
        &self,
        objects: &BTreeMap<String, Stored>,
        after: &str,
        size: usize,
    ) -> (Vec<Entry>, bool) {
        let mut entries: Vec<Entry> = Vec::new();
        for (key, stored) in objects {
            let Some(rest) = key.strip_prefix(&self.prefix) else {
                continue;
            };
            let cut = rest
                .find(&self.delimiter)
                .filter(|_| !self.delimiter.is_empty());
            let entry = match cut {
                None => Entry::Object(key.clone(), stored.clone()),
                Some(at) => {
                    let group = &key[..self.prefix.len() + at + self.delimiter.len()];
                    Entry::Group(group.to_owned())
                }
            };
            let is_same = entries
                .last()
                .is_some_and(|last| last.name() == entry.name());
            if entry.name() > after && !(is_same && cut.is_some()) {
                entries.push(entry);
            }
        }
        let more = entries.len() > size;
        entries.truncate(size);
        (entries, more)
    }
}

/// Keys with tags and sizes, and groups, as a document has them.
type Lines = (Vec<(String, String, String)>, Vec<String>);

fn split(page: &[Entry]) -> Lines {
    let (mut objects, mut groups) = Lines::default();
    for entry in page {
        match entry {
            Entry::Object(key, stored) => {
                objects.push((
                    key.clone(),
                    stored.etag.clone(),
                    stored.bytes.len().to_string(),
                ));
            }
            Entry::Group(group) => groups.push(group.clone()),
        }
    }
    (objects, groups)
}

fn listed(answer: &Answer) -> Lines {
    let keys = elements(answer, "Key").into_iter().map(|key| decoded(&key));
    let tags = elements(answer, "ETag")
        .into_iter()
        .map(|tag| tag.replace("&quot;", "\""));
    let lines = keys.zip(tags).zip(elements(answer, "Size"));
    let groups = elements(answer, "Prefix").into_iter().skip(1);
    (
        lines.map(|((key, tag), size)| (key, tag, size)).collect(),
        groups.map(|group| decoded(&group)).collect(),
    )
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn described(request: Signed, stored: &Stored) -> Signed {
    request
        .header("content-type", &stored.content_type)
        .header("x-amz-meta-colour", &stored.colour)
}

/// As an XML document writes it, every character by its number.
fn escaped(key: &str) -> String {
    key.chars()
        .map(|c| format!("&#{};", u32::from(c)))
        .collect()
}

#[tokio::test]
async fn two_thousand_operations_are_answered_as_a_model_in_memory_answers_them() {
    let seed = std::env::var("MODEL_SEED").map_or(5, |seed| seed.parse().unwrap());
    println!("the seed is {seed}; MODEL_SEED sets another");
    let mut play = Play::new(seed).await;
    for number in 0..OPERATIONS {
        println!("operation {number}");
        play.operation().await;
    }
    for key in play.keys.clone() {
        let answer = Signed::new("GET", &path(&key)).send(&play.rig).await;
        match play.objects.get(&key) {
            Some(stored) => play.is(&answer, stored, false, &format!("{key:?} at the end")),
            None => expect(&answer, 404, "NoSuchKey", &format!("{key:?} at the end")),
        }
    }
    println!(
        "{:?}, {} objects at the end",
        play.counts,
        play.objects.len()
    );
    assert!(
        play.counts.values().all(|count| *count >= 5),
        "{:?}",
        play.counts
    );
    assert!(play.objects.len() > KEYS / 10, "{}", play.objects.len());
}
