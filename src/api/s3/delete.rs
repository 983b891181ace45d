//! DeleteObject and DeleteObjects.
//!
//! Owns: their answers: 204 whether there was something or not; for many at once, one line for each key.
//! Never does: keep versions; `null` is the only one.
//!
//! Invariants: an answer of success means that the object is gone, durably. A list of keys is taken only when its bytes were vouched for,
//! and it is read whole before the first object goes. What is asked for a key and cannot be done is an error of that key.
//!
//! Source: Amazon S3 API Reference, "DeleteObject", "DeleteObjects".

use futures_util::future::join_all;
use http::{Response, StatusCode};

use super::super::body::empty;
use super::super::call::{Call, Reply};
use super::super::dispatch::log_failure;
use super::super::error::{ApiError, ErrorCode};
use super::access::Access;
use super::payload::Payload;
use super::put::put_headers;
use super::xml::{self, Document, Element};
use super::{condition, object_key};
use crate::model::{Action, Bucket, Target};
use crate::store::{ObjectName, StoreError, WriteCondition};

/// Most keys of one request.
const MAX_KEYS: usize = 1000;
/// Largest list of keys, in bytes: every byte of every key may be written as a reference of six.
const MAX_LIST_BYTES: usize = 8 << 20;
/// Most elements of a list: each object has up to five, besides its own.
const MAX_ELEMENTS: usize = 2 + 6 * MAX_KEYS;
/// Most bytes of an error's code and message; a test below asks all that a removal can fail with.
const MAX_ERROR_BYTES: usize = 128;
/// The most that stands around the key and the error of one object.
const AROUND: &str = "<Error><Key></Key><Code></Code><Message></Message></Error>";
/// What stands around a version besides.
const AROUND_VERSION: &str = "<VersionId></VersionId>";
/// Objects that are removed at the same time, so that they share a sync.
const AT_ONCE: usize = 32;

/// Removes an object, if its condition holds.
///
/// # Errors
/// `PreconditionFailed`; `NoSuchKey` for a condition on what is not there; `NotImplemented` for one that is not known.
pub(super) async fn one(
    call: &Call<'_>,
    access: &Access<'_>,
    bucket: Bucket,
    key: &str,
) -> Result<Reply, ApiError> {
    refuse_bypass(access)?;
    let condition = condition::of_delete(access)?;
    remove(call, &bucket, key, condition).await?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Reply::Raw(response))
}

/// Removes the objects that the body lists.
///
/// # Errors
/// `InvalidRequest` for a list that nothing vouches for, `MalformedXML` for one that is none or too long, `KeyTooLongError` for a key that
/// no object can have.
pub(super) async fn many(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: Bucket,
) -> Result<Reply, ApiError> {
    refuse_bypass(&access)?;
    let headers = put_headers(&access)?;
    let payload = Payload::new(call, &mut access, headers.attributes.checksum)?;
    if headers.md5.is_none() && !payload.is_checked() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(ApiError::new(ErrorCode::InvalidRequest, message));
    }
    let body = payload.collected(MAX_LIST_BYTES, headers.md5).await?;
    let list = xml::parsed(body, List::read).await?;
    let call = &*call;
    // Before anything is removed: who did not hear what was would not know.
    let mut document = Document::new("DeleteResult");
    let most = document.bytes() + list.answer_bytes();
    let room = call.app.documents.reserve(most)?;
    for batch in list.objects.chunks(AT_ONCE) {
        let removals = batch
            .iter()
            .map(|object| object.remove(call, &access, &bucket));
        let results = join_all(removals.collect::<Vec<_>>()).await;
        for (object, result) in batch.iter().zip(results) {
            match result {
                Ok(()) if list.quiet => {}
                Ok(()) => document.within("Deleted", |inner| object.name(inner)),
                Err(error) => {
                    log_failure(&error, call.request_id);
                    object.put_error(&mut document, &error);
                }
            }
        }
    }
    Ok(Reply::Held(room.hold(document.answer())))
}

/// Nothing is locked here, so there is nothing to pass by: Amazon refuses the header whatever it says.
fn refuse_bypass(access: &Access<'_>) -> Result<(), ApiError> {
    const BYPASS: &str = "x-amz-bypass-governance-retention";
    if access.header(BYPASS).is_none() {
        return Ok(());
    }
    let message = format!("{BYPASS} is only applicable to Object Lock enabled buckets.");
    Err(ApiError::new(ErrorCode::InvalidArgument, message).with("ArgumentName", BYPASS))
}

/// What a body lists.
pub(super) struct List {
    objects: Vec<Listed>,
    /// Only errors are to be answered.
    quiet: bool,
}

/// One object of a list.
#[derive(Default)]
struct Listed {
    key: String,
    version: Option<String>,
    tag: Option<String>,
    /// A condition that exists for directory buckets only.
    other: Option<String>,
}

impl List {
    /// Reads the body by Amazon's schema: what is not in it makes the whole list malformed, before anything is removed.
    ///
    /// # Errors
    /// `MalformedXML`.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        let list = xml::read(body, "Delete", MAX_ELEMENTS)?;
        let mut objects = Vec::new();
        let mut quiet = None;
        for child in list.branch()? {
            match child.name.as_str() {
                "Object" if objects.len() < MAX_KEYS => objects.push(Listed::read(child)?),
                "Quiet" if quiet.is_none() => quiet = Some(flag(child)?),
                _ => return Err(xml::malformed()),
            }
        }
        let quiet = quiet.unwrap_or(false);
        match objects.is_empty() {
            true => Err(xml::malformed()),
            false => Ok(Self { objects, quiet }),
        }
    }

    /// The most that is said of all objects.
    fn answer_bytes(&self) -> usize {
        self.objects.iter().map(Listed::answer_bytes).sum()
    }
}

fn flag(element: &Element) -> Result<bool, ApiError> {
    match element.leaf()?.trim() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(xml::malformed()),
    }
}

impl Listed {
    fn read(object: &Element) -> Result<Self, ApiError> {
        let mut listed = Self::default();
        let mut seen = Vec::new();
        for child in object.branch()? {
            let text = child.leaf()?.to_owned();
            if seen.contains(&child.name.as_str()) {
                return Err(xml::malformed());
            }
            match child.name.as_str() {
                "Key" => listed.key = text,
                "VersionId" => listed.version = Some(xml::word(text)?),
                "ETag" => listed.tag = Some(xml::word(text)?),
                name @ ("LastModifiedTime" | "Size") => listed.other = Some(name.to_owned()),
                _ => return Err(xml::malformed()),
            }
            seen.push(&child.name);
        }
        match listed.key.is_empty() {
            true => Err(xml::malformed()),
            false => object_key(&listed.key).map(|_| listed),
        }
    }

    async fn remove(
        &self,
        call: &Call<'_>,
        access: &Access<'_>,
        bucket: &Bucket,
    ) -> Result<(), ApiError> {
        access.check(Action::Write, Target::Object(bucket.as_str(), &self.key))?;
        if let Some(other) = &self.other {
            // A condition that is passed over would remove what was to stay.
            return Err(xml::unknown_element(other));
        }
        match self.version.as_deref() {
            None | Some("null" | "") => {}
            // Alone, such an id is an invalid argument; in a list Amazon says that there is none.
            Some(_) => {
                return Err(no_such_version());
            }
        }
        let condition = self.tag.as_deref().map(condition::matching).transpose()?;
        remove(call, bucket, &self.key, condition).await
    }

    /// The most that is said of it: an error takes more than a success.
    fn answer_bytes(&self) -> usize {
        let version = self.version.as_ref();
        let version = version.map_or(0, |text| AROUND_VERSION.len() + xml::text_bytes(text));
        AROUND.len() + xml::text_bytes(&self.key) + version + MAX_ERROR_BYTES
    }

    fn put_error(&self, document: &mut Document, error: &ApiError) {
        document.within("Error", |inner| {
            self.name(inner);
            inner.element("Code", error.code.name());
            inner.element("Message", &error.message);
        });
    }

    /// Repeats what was asked for.
    fn name(&self, document: &mut Document) {
        document.element("Key", &self.key);
        if let Some(version) = &self.version {
            document.element("VersionId", version);
        }
    }
}

fn no_such_version() -> ApiError {
    let message = "The specified version does not exist.";
    ApiError::new(ErrorCode::NoSuchVersion, message)
}

async fn remove(
    call: &Call<'_>,
    bucket: &Bucket,
    key: &str,
    condition: Option<WriteCondition>,
) -> Result<(), ApiError> {
    let name = ObjectName::Key(bucket.clone(), object_key(key)?);
    let store = &call.app.store;
    let removed = store.delete_object_if(&name, condition.clone(), call.now);
    match removed.await {
        Ok(()) => Ok(()),
        Err(StoreError::NoSuchObject) if condition.is_none() => Ok(()),
        Err(error) => Err(condition::refusal(error, condition.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::api::documents::ALL_ANSWERS_BYTES;

    /// The ways in which the removal of one object of a list can fail.
    fn failures() -> Vec<ApiError> {
        let mut failures = vec![
            ApiError::new(ErrorCode::AccessDenied, "Access Denied"),
            ApiError::panicked(),
            no_such_version(),
            condition::matching("a,b").unwrap_err(),
        ];
        failures.extend(["LastModifiedTime", "Size"].map(xml::unknown_element));
        let of_store = [
            StoreError::NoSuchObject,
            StoreError::NoSuchBucket,
            StoreError::ConditionFailed,
            StoreError::ConditionOvertaken,
            StoreError::InUse,
            StoreError::Busy,
            StoreError::TooManyFiles,
            StoreError::Full,
            StoreError::RecordTooLarge,
            StoreError::ReadOnly,
            // What it tells goes to the log.
            StoreError::Corrupt("x".repeat(1000)),
            StoreError::Io {
                operation: "remove",
                path: None,
                source: io::Error::other("x".repeat(1000)),
            },
        ];
        let condition = WriteCondition::Present;
        let of_store = of_store.map(|error| condition::refusal(error, Some(&condition)));
        failures.extend(of_store);
        failures
    }

    fn list_of(keys: &[&str], version: &str) -> List {
        let objects = keys.iter().map(|key| {
            let mut text = String::new();
            xml::push_text(&mut text, key);
            format!("<Object><Key>{text}</Key>{version}</Object>")
        });
        let body = format!("<Delete>{}</Delete>", objects.collect::<String>());
        List::read(body.as_bytes()).unwrap()
    }

    /// The answer when all fail so.
    fn bytes_of(list: &List, error: &ApiError) -> usize {
        let mut document = Document::new("DeleteResult");
        for object in &list.objects {
            object.put_error(&mut document, error);
        }
        document.finish().len()
    }

    #[test]
    fn no_answer_takes_more_than_its_room_and_the_longest_hardly_less() {
        let keys = ["a", "\"&<>", "\u{1}\r", "f\u{fc}r"].map(|letter| letter.repeat(200));
        let keys = keys.each_ref().map(String::as_str);
        for version in ["", "<VersionId>null</VersionId>"] {
            let list = list_of(&keys, version);
            let most = Document::new("DeleteResult").bytes() + list.answer_bytes();
            let answers = failures().into_iter();
            let longest = answers.map(|error| bytes_of(&list, &error)).max().unwrap();
            assert!(longest <= most, "{longest} of {most}");
            assert!(most - longest < 16 * keys.len(), "{longest} of {most}");
        }
    }

    #[test]
    fn a_thousand_ordinary_keys_hold_a_hundredth_of_all_room() {
        let keys: Vec<_> = (0..MAX_KEYS)
            .map(|n| format!("movies/{n:04}.mp4"))
            .collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let bytes = list_of(&keys, "").answer_bytes();
        assert!(bytes <= ALL_ANSWERS_BYTES / 100, "{bytes} bytes");
    }
}
