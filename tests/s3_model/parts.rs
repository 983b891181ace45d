//! The model's uploads in parts.
//!
//! Owns: what is under way, and the operations on it. Parts are small, so an upload becomes an object by one of them, and is refused for
//! small parts by several.

use std::collections::BTreeMap;

use super::*;

/// Uploads that may be under way before no more are started.
const MAX_OPEN: usize = 6;
/// Highest number of a part.
const MAX_PART: u64 = 4;

/// An upload that is under way, under its id.
#[derive(Clone, Debug)]
pub(super) struct Open {
    key: String,
    described: Stored,
    parts: BTreeMap<u64, Vec<u8>>,
}

impl Open {
    /// What one part becomes.
    fn whole(&self, bytes: &[u8]) -> Stored {
        let tag = Md5::of(Md5::of(bytes).as_bytes());
        let tag = ETag::of_whole(tag).as_str().to_owned();
        Stored {
            bytes: bytes.to_vec(),
            tag_of_parts: Some(format!("\"{tag}-1\"")),
            ..self.described.clone()
        }
    }
}

fn tag(bytes: &[u8]) -> String {
    ETag::of_whole(Md5::of(bytes)).quoted()
}

impl Play {
    pub(super) async fn upload_in_parts(&mut self) {
        let ids: Vec<String> = self.open.keys().cloned().collect();
        let Some(id) = self.dice.pick(&ids) else {
            return self.start().await;
        };
        match self.dice.below(100) {
            0..20 if ids.len() < MAX_OPEN => self.start().await,
            0..55 => self.send_part(&id).await,
            55..75 => self.complete(&id).await,
            75..80 => self.abort(&id).await,
            80..92 => self.list_parts(&id).await,
            _ => self.list_uploads().await,
        }
    }

    async fn start(&mut self) {
        let (key, described_by) = (self.key(false), self.stored());
        let request = Signed::new("POST", &format!("{}?uploads", path(&key)));
        let answer = described(request, &described_by).send(&self.rig).await;
        expect(&answer, 200, "", &format!("start {key:?}"));
        let open = Open {
            key,
            described: described_by,
            parts: BTreeMap::new(),
        };
        self.open.insert(element(&answer, "UploadId"), open);
    }

    fn on(&self, id: &str, method: &str, more: &str) -> Signed {
        let path = path(&self.open[id].key);
        Signed::new(method, &format!("{path}?uploadId={id}{more}"))
    }

    async fn send_part(&mut self, id: &str) {
        let (number, bytes) = (1 + self.dice.below(MAX_PART), self.stored().bytes);
        let request = self.on(id, "PUT", &format!("&partNumber={number}"));
        let answer = request.body(bytes.clone()).send(&self.rig).await;
        expect(&answer, 200, "", &format!("part {number} of {id}"));
        assert_eq!(answer.header("etag"), tag(&bytes));
        self.open.get_mut(id).unwrap().parts.insert(number, bytes);
    }

    /// With one of its parts, or with all that there are.
    async fn complete(&mut self, id: &str) {
        let open = self.open[id].clone();
        let there: Vec<u64> = open.parts.keys().copied().collect();
        let named = match self.dice.is(70) {
            true => self.dice.pick(&there).into_iter().collect(),
            false => there,
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
        let answer = self.on(id, "POST", "").body(body).send(&self.rig).await;
        let what = format!("complete {id} with {named:?}, {is_wrong}");
        match named.as_slice() {
            [] => expect(&answer, 400, "MalformedXML", &what),
            _ if is_wrong => expect(&answer, 400, "InvalidPart", &what),
            [one] => {
                expect(&answer, 200, "", &what);
                let made = open.whole(&open.parts[one]);
                let told = element(&answer, "ETag").replace("&quot;", "\"");
                assert_eq!(told, made.etag(), "{what}");
                self.open.remove(id);
                self.objects.insert(open.key, made);
            }
            _ => expect(&answer, 400, "EntityTooSmall", &what),
        }
    }

    async fn abort(&mut self, id: &str) {
        for (status, code) in [(204, ""), (404, "NoSuchUpload")] {
            let answer = self.on(id, "DELETE", "").send(&self.rig).await;
            expect(&answer, status, code, &format!("abort {id}"));
        }
        self.open.remove(id);
    }

    async fn list_parts(&mut self, id: &str) {
        let answer = self.on(id, "GET", "").send(&self.rig).await;
        expect(&answer, 200, "", &format!("parts of {id}"));
        let parts = self.open[id].parts.iter();
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
            "parts of {id}"
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
            .iter()
            .map(|(id, open)| (open.key.clone(), id.clone()))
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "uploads");
    }
}
