//! Tags of an object: GetObjectTagging, PutObjectTagging, DeleteObjectTagging.
//!
//! Owns: their documents. The tags are those that a form's field or a header gives an object, with the same rules and the same words
//! for what breaks them.
//! Never does: judge a tag; `model::Tags` does.
//!
//! Invariants: tags are replaced whole, and are durable when it is answered. The bytes, and when they were modified, stay as they are.
//!
//! Source: Amazon S3 API Reference, the operations of these names.

use super::super::call::{Call, Reply};
use super::super::error::ApiError;
use super::super::post_refusal::policy_error;
use super::access::Access;
use super::settings::{self, done, removed};
use super::xml::{self, Document};
use crate::model::{Bucket, ObjectKey, Tags};
use crate::policy::{MAX_XML_BYTES, parse_tagging};
use crate::store::{ObjectChange, ObjectName};

/// Most elements of a `Tagging`; a tag has three.
const MAX_ELEMENTS: usize = 1000;

/// The tags of an object.
///
/// # Errors
/// `NoSuchKey`; what the store says.
pub(super) async fn get(
    call: &Call<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let name = ObjectName::Key(bucket, key);
    let meta = call.app.store.object(&name, call.now).await?;
    let mut document = Document::new("Tagging");
    document.within("TagSet", |set| {
        for (key, value) in meta.attributes.tags.iter() {
            set.within("Tag", |tag| {
                tag.element("Key", key);
                tag.element("Value", value);
            });
        }
    });
    Ok(Reply::Raw(document.answer()))
}

/// Replaces the tags of an object.
///
/// # Errors
/// `MalformedXML`, `InvalidTag`, `BadRequest` for too many; `NoSuchKey`; what the store says.
pub(super) async fn put(
    call: &mut Call<'_>,
    mut access: Access<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let body = settings::body(call, &mut access, MAX_XML_BYTES).await?;
    // A form's field may have another root, which gives no tags; here nothing but tags is asked for.
    let root = xml::read(&body, "Tagging", MAX_ELEMENTS)?;
    root.child("TagSet").ok_or_else(xml::malformed)?;
    let text = std::str::from_utf8(&body).map_err(|_| xml::malformed())?;
    let tags = parse_tagging(text).map_err(policy_error)?;
    change(call, bucket, key, tags).await?;
    Ok(done())
}

/// Takes all tags off an object.
///
/// # Errors
/// `NoSuchKey`; what the store says.
pub(super) async fn delete(
    call: &Call<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    change(call, bucket, key, Tags::default()).await?;
    Ok(removed())
}

async fn change(
    call: &Call<'_>,
    bucket: Bucket,
    key: ObjectKey,
    tags: Tags,
) -> Result<(), ApiError> {
    let name = ObjectName::Key(bucket, key);
    let change = ObjectChange::Tags(tags);
    call.app
        .store
        .change_object(&name, change, call.now)
        .await?;
    Ok(())
}
