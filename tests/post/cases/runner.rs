//! The one runner: posts each row in each version and shape, and compares what came back with what was expected.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request};
use http_body::Frame;
use http_body_util::StreamBody;
use pillarbox::api::body::RequestBody;
use pillarbox::model::{
    AccessKey, Bucket, BucketConfig, KeyPurpose, Md5, ObjectMeta, Secret, Timestamp, TokenHash,
};
use pillarbox::store::{CatalogEntry, FileQuery, ObjectName};

use super::post::{KEY_ID, Post, SECRET, Sent, Shape, Version};
use super::row::{Expected, Refused, Row, Stored, Text, status_of};
use crate::support::{Answer, NOW, Rig, connection};

/// A bucket that anybody may post into.
pub(crate) const OPEN: &str = "open-to-all";
/// A second private bucket.
pub(crate) const OTHER: &str = "other-bucket";
/// A key that signs links and no form.
pub(crate) const LINKS_KEY: &str = "LINKSEXAMPLEKEY0";
/// A key whose time is over.
pub(crate) const EXPIRED_KEY: &str = "EXPIREDEXAMPLEKEY";
/// A temporary key, one whose time is over, and the session token of both.
pub(crate) const TEMPORARY_KEY: &str = "TEMPORARYEXAMPLEKEY";
pub(crate) const OVER_KEY: &str = "OVEREXAMPLEKEY00";
pub(crate) const TOKEN: &str = "the-session-token-of-a-temporary-key";

/// Longest wait until a refused file has left the disk; that is done in the background.
const CLEAN_WAIT: Duration = Duration::from_secs(5);

/// A server with the keys and buckets that the rows name.
pub(crate) struct Table {
    pub(crate) rig: Rig,
}

/// Runs the rows of a family, and tells of all that do not hold.
pub(crate) async fn run(family: &str, rows: Vec<Row>) {
    let table = Table::new().await;
    let mut broken = Vec::new();
    for row in &rows {
        for version in row.versions {
            for shape in [Shape::Browser, Shape::EveryPartNamed] {
                if let Err(why) = table.check(row, *version, shape).await {
                    let says = &row.says;
                    broken.push(format!("{says} ({version:?}, {shape:?}): {why}"));
                }
            }
        }
    }
    if let Err(why) = table.nothing_is_left().await {
        broken.push(why);
    }
    assert!(
        broken.is_empty(),
        "{family}: {} of {} rows:\n{}",
        broken.len(),
        rows.len(),
        broken.join("\n")
    );
}

impl Table {
    pub(crate) async fn new() -> Self {
        Self::of(Rig::new().await).await
    }

    /// The same on a server with options of its own.
    pub(crate) async fn of(rig: Rig) -> Self {
        let key_with = |id: &str, purpose, expires_at, token: Option<&str>| {
            CatalogEntry::AccessKey(AccessKey {
                id: id.to_owned(),
                secret: Secret::new(SECRET.to_owned()),
                purpose,
                created_at: Timestamp::default(),
                expires_at,
                session_token: token.map(TokenHash::of),
                limits: Default::default(),
                form_lifetime: Default::default(),
            })
        };
        let key = |id: &str, purpose, expires_at| key_with(id, purpose, expires_at, None);
        let later = Some(NOW.plus(Duration::from_secs(3600)));
        let bucket = |name, public_write| {
            CatalogEntry::Bucket(BucketConfig {
                name: Bucket::parse(name).unwrap(),
                created_at: NOW,
                public_write,
            })
        };
        for entry in [
            key(KEY_ID, KeyPurpose::User, None),
            key(LINKS_KEY, KeyPurpose::Links, None),
            key(EXPIRED_KEY, KeyPurpose::User, Some(NOW)),
            key_with(TEMPORARY_KEY, KeyPurpose::User, later, Some(TOKEN)),
            key_with(OVER_KEY, KeyPurpose::User, Some(NOW), Some(TOKEN)),
            bucket(OPEN, true),
            bucket(OTHER, false),
        ] {
            rig.store.insert(entry).await.unwrap();
        }
        Self { rig }
    }

    /// Posts a form.
    pub(crate) async fn post(&self, post: &Post, sent: &Sent) -> Answer {
        let mut request = Request::builder()
            .method(post.method.as_str())
            .uri(&post.target)
            .header("host", &post.host);
        for content_type in &post.content_types {
            let value = content_type.replace("{B}", &post.boundary);
            request = request.header("content-type", HeaderValue::try_from(value).unwrap());
        }
        for (name, value) in &post.headers {
            request = request.header(name, HeaderValue::from_bytes(value).unwrap());
        }
        let announced = match (&post.announced, post.piece_bytes) {
            (Some(announced), _) => Some(announced.clone()),
            (None, None) => Some(sent.body.len().to_string()),
            (None, Some(_)) => None,
        };
        if let Some(length) = announced.filter(|length| !length.is_empty()) {
            request = request.header("content-length", length);
        }
        let request = request.body(body_of(post, sent)).unwrap();
        Answer::read(self.rig.app.handle(request, connection()).await).await
    }

    async fn check(&self, row: &Row, version: Version, shape: Shape) -> Result<(), String> {
        let mut post = Post::valid(version, shape);
        (row.change)(&mut post);
        let sent = post.send();
        let answer = self.post(&post, &sent).await;
        let listed = self.listed().await;
        let outcome = match &row.expected {
            Expected::Refused(refused) => check_refusal(refused, &sent, &answer, &listed),
            Expected::Stored(stored) => {
                self.check_stored(stored, &post, &sent, &answer, &listed)
                    .await
            }
        };
        for meta in listed {
            let name = ObjectName::Id(meta.id);
            self.rig
                .store
                .delete_object(&name, self.rig.clock.now())
                .await
                .unwrap();
        }
        outcome.map_err(|why| format!("{why}\n    {} {}", answer.status, answer.text()))
    }

    pub(crate) async fn listed(&self) -> Vec<ObjectMeta> {
        let query = FileQuery {
            limit: FileQuery::MAX_LIMIT,
            ..FileQuery::default()
        };
        let page = self.rig.store.list_files(&query, self.rig.clock.now());
        page.await.unwrap().files
    }

    async fn check_stored(
        &self,
        stored: &Stored,
        post: &Post,
        sent: &Sent,
        answer: &Answer,
        listed: &[ObjectMeta],
    ) -> Result<(), String> {
        same("status", answer.status.as_u16(), stored.status)?;
        let [meta] = listed else {
            return Err(format!("{} objects are listed", listed.len()));
        };
        let bytes = stored.bytes.as_ref().unwrap_or(&post.file.value);
        let key = stored.key.clone().unwrap_or_else(|| sent.field("key"));
        same("key", meta.key.as_str(), key.as_str())?;
        same("bytes", &self.bytes_of(meta).await, bytes)?;
        let headers: Vec<_> = meta
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        same("stored headers", &headers, &stored.headers)?;
        let attributes = &meta.attributes;
        same("acl", attributes.acl.as_str(), stored.acl)?;
        let tags: Vec<_> = attributes
            .tags
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        same("tags", &tags, &stored.tags)?;
        let checksum = attributes.checksum.as_ref();
        let checksum = checksum.map(pillarbox::model::Checksum::base64);
        same("checksum", &checksum, &stored.checksum)?;
        let etag = format!("\"{}\"", Md5::of(bytes).hex());
        same("ETag", answer.header("etag"), etag.as_str())?;
        for (name, value) in &stored.answer {
            same(name, answer.header(name), value.as_str())?;
        }
        match &stored.body {
            Some(body) => same("body", answer.text().as_str(), body.as_str()),
            None if stored.status == 201 => Ok(()),
            None => same("body", answer.text().as_str(), ""),
        }
    }

    pub(crate) async fn bytes_of(&self, meta: &ObjectMeta) -> Vec<u8> {
        let name = ObjectName::Id(meta.id);
        let reader = self.rig.store.open(&name, self.rig.clock.now()).await;
        let size = usize::try_from(meta.size).unwrap();
        reader.unwrap().read_at(0, size).await.unwrap().to_vec()
    }

    /// After the last row no object is listed and no file of one is on disk.
    pub(crate) async fn nothing_is_left(&self) -> Result<(), String> {
        let listed = self.listed().await;
        same("listed at the end", listed.len(), 0)?;
        let began = tokio::time::Instant::now();
        loop {
            let left = files_below(&self.rig.folder().join("objects"));
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() > CLEAN_WAIT {
                return Err(format!("files are left on disk: {left:?}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn body_of(post: &Post, sent: &Sent) -> RequestBody {
    let Some(piece_bytes) = post.piece_bytes else {
        return RequestBody::whole(sent.body.clone());
    };
    let pieces: Vec<_> = sent
        .body
        .chunks(piece_bytes)
        .map(|piece| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    RequestBody::new(
        StreamBody::new(stream::iter(pieces)),
        Duration::from_secs(30),
    )
}

fn check_refusal(
    refused: &Refused,
    sent: &Sent,
    answer: &Answer,
    listed: &[ObjectMeta],
) -> Result<(), String> {
    let told = answer.text();
    let element = |name: &str| {
        let (_, tail) = told.split_once(&format!("<{name}>"))?;
        let (value, _) = tail.split_once(&format!("</{name}>"))?;
        Some(quick_xml::escape::unescape(value).unwrap().into_owned())
    };
    same(
        "code",
        element("Code").unwrap_or_default().as_str(),
        refused.code,
    )?;
    same("status", answer.status.as_u16(), status_of(refused.code))?;
    if let Some(message) = &refused.message {
        check_text("message", message, element("Message").as_deref(), sent)?;
    }
    for (name, text) in &refused.elements {
        check_text(name, text, element(name).as_deref(), sent)?;
    }
    same("type", answer.header("content-type"), "application/xml")?;
    let id = element("RequestId").unwrap_or_default();
    same("request id", answer.header("x-amz-request-id"), id.as_str())?;
    // Amazon never redirects what it refuses (SeaweedFS did).
    for header in ["location", "etag"] {
        same(header, answer.header(header), "")?;
    }
    same("objects listed", listed.len(), 0)
}

fn check_text(what: &str, wanted: &Text, told: Option<&str>, sent: &Sent) -> Result<(), String> {
    let told = told.ok_or_else(|| format!("no {what} is told"))?;
    match wanted {
        Text::Is(wanted) => same(what, told, wanted.as_str()),
        Text::Of(wanted) => same(what, told, wanted(sent).as_str()),
        Text::Has(part) if told.contains(part.as_str()) => Ok(()),
        Text::Has(part) => Err(format!("{what} is {told:?}, which does not hold {part:?}")),
    }
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    told: T,
    wanted: T,
) -> Result<(), String> {
    if told == wanted {
        return Ok(());
    }
    Err(format!("{what} is {told:?}, wanted {wanted:?}"))
}

pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}
