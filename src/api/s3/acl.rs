//! Access control lists of buckets and objects: canned ones.
//!
//! Owns: GetObjectAcl, PutObjectAcl, GetBucketAcl, PutBucketAcl; which canned list a document of grants is; and which lists are true
//! here. The owner has everything. Everybody else may read an object that is `public-read` (`anonymous.rs`), and list a bucket that is.
//! Never does: let anybody write. Who may post a form without a policy into a bucket is said by the configuration, and shown here.
//!
//! Invariants: what is shown is what is so. A list that would have to be pretended is `NotImplemented`; one that changes nothing is
//! taken, whatever it is, so that a client may write back what it read. A key that may not read cannot let everybody read: the list that
//! was judged is the one that is changed.
//!
//! Sources: Amazon S3 User Guide, "Access control list overview", canned ACL; Amazon S3 API Reference, the operations of these names.

use super::super::call::{Call, Reply};
use super::super::error::{ApiError, ErrorCode};
use super::access::{Access, not_implemented};
use super::buckets::{self, OWNER};
use super::settings::{self, done};
use super::xml::{self, Document, Element};
use crate::model::{
    Action, Bucket, CannedAcl, ObjectKey, ObjectMeta, SettingKind, SettingValue, Target,
};
use crate::store::{ObjectChange, ObjectName, StoreError};

/// Largest `AccessControlPolicy`, in bytes; Amazon takes 100 grants.
const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Most elements of one; a grant has six.
const MAX_ELEMENTS: usize = 1000;
/// How often an object is looked at that others replace or change meanwhile.
const MAX_TRIES: usize = 8;
/// The header that names a list.
const HEADER: &str = "x-amz-acl";
const USER: &str =
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"";
const GROUP: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"";
const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const SIGNERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

/// Group and permission, besides the owner's full control; sorted.
type Grants = Vec<(String, String)>;

/// Whether everybody may read an object that has this list.
pub(super) const fn is_public(acl: CannedAcl) -> bool {
    matches!(acl, CannedAcl::PublicRead | CannedAcl::PublicReadWrite)
}

/// Whether everybody may list a bucket.
///
/// # Errors
/// What the store says.
pub(super) async fn may_be_listed(call: &Call<'_>, bucket: &Bucket) -> Result<bool, ApiError> {
    let set = settings::find(call.app, bucket, SettingKind::Acl).await?;
    Ok(matches!(set, Some(SettingValue::Acl(acl)) if is_public(acl)))
}

/// The list of an object.
///
/// # Errors
/// `NoSuchKey`; what the store says.
pub(super) async fn get_object(
    call: &Call<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let name = ObjectName::Key(bucket, key);
    let meta = call.app.store.object(&name, call.now).await?;
    Ok(shown(&grants(meta.attributes.acl)))
}

/// Sets the list of an object.
///
/// # Errors
/// `InvalidArgument`, `MalformedACLError`, `NotImplemented`, `AccessDenied` for another owner; `NoSuchKey`; what the store says.
pub(super) async fn put_object(
    call: &mut Call<'_>,
    access: Access<'_>,
    bucket: Bucket,
    key: ObjectKey,
) -> Result<Reply, ApiError> {
    let may_read = access.check(Action::Read, Target::Object(bucket.as_str(), key.as_str()));
    let wanted = wanted(call, access).await?;
    let (name, store) = (ObjectName::Key(bucket, key), &call.app.store);
    for _ in 0..MAX_TRIES {
        let meta = store.object(&name, call.now).await?;
        if opens(&grants(meta.attributes.acl), &wanted) && may_read.is_err() {
            return may_read.map(|()| done());
        }
        let Some((judged, change)) = change_of(&meta, &wanted)? else {
            return Ok(done());
        };
        match store.change_object(&judged, change, call.now).await {
            Err(StoreError::NoSuchObject | StoreError::ConditionOvertaken) => {}
            changed => return Ok(changed.map(|_| done())?),
        }
    }
    Err(StoreError::Busy.into())
}

/// What is to be changed of an object so that it has a list, if anything is. It is changed of the very object that was judged: what has its
/// key or another list since is judged anew.
///
/// # Errors
/// `NotImplemented`.
fn change_of(
    meta: &ObjectMeta,
    wanted: &Grants,
) -> Result<Option<(ObjectName, ObjectChange)>, ApiError> {
    let from = meta.attributes.acl;
    if grants(from) == *wanted {
        return Ok(None);
    }
    let to = canned(wanted).ok_or_else(|| not_implemented(HEADER))?;
    Ok(Some((
        ObjectName::Id(meta.id),
        ObjectChange::Acl { from, to },
    )))
}

/// The list of a bucket.
///
/// # Errors
/// What the store says.
pub(super) async fn get_bucket(call: &Call<'_>, bucket: &Bucket) -> Result<Reply, ApiError> {
    Ok(shown(&grants_of_bucket(call, bucket).await?))
}

/// Sets the list of a bucket.
///
/// # Errors
/// `InvalidArgument`, `MalformedACLError`, `NotImplemented`; `AccessDenied` for another owner, and where the configuration says
/// otherwise; what the store says.
pub(super) async fn put_bucket(
    call: &mut Call<'_>,
    access: Access<'_>,
    bucket: &Bucket,
) -> Result<Reply, ApiError> {
    let may_read = access.check(Action::Read, Target::Whole(bucket.as_str()));
    let wanted = wanted(call, access).await?;
    let now = grants_of_bucket(call, bucket).await?;
    if now == wanted {
        return Ok(done());
    }
    opens(&now, &wanted).then_some(may_read).transpose()?;
    let acl = canned(&wanted).ok_or_else(|| not_implemented(HEADER))?;
    let writes = |grants: &Grants| grants.iter().any(|(_, what)| what == "WRITE");
    match (writes(&now), writes(&wanted)) {
        (false, true) => Err(not_implemented(HEADER)),
        (true, false) => {
            let message =
                "The configuration opens this bucket to forms without a policy, so it stays open.";
            Err(ApiError::new(ErrorCode::AccessDenied, message))
        }
        _ => {
            set_bucket(call, bucket, acl).await?;
            Ok(done())
        }
    }
}

/// Whether a change lets everybody read what only keys could: who may not read it cannot do that either.
fn opens(now: &Grants, wanted: &Grants) -> bool {
    let reads = |grants: &Grants| grants.iter().any(|(_, what)| what == "READ");
    reads(wanted) && !reads(now)
}

/// Makes a new bucket's list what its creator asked for.
///
/// # Errors
/// What the store says.
pub(super) async fn set_bucket(
    call: &Call<'_>,
    bucket: &Bucket,
    acl: CannedAcl,
) -> Result<(), ApiError> {
    let acl = match is_public(acl) {
        true => CannedAcl::PublicRead,
        false => CannedAcl::Private,
    };
    settings::set(call, bucket, SettingValue::Acl(acl)).await
}

async fn grants_of_bucket(call: &Call<'_>, bucket: &Bucket) -> Result<Grants, ApiError> {
    let mut all = Vec::new();
    if may_be_listed(call, bucket).await? {
        all.extend(grants(CannedAcl::PublicRead));
    }
    if buckets::is_open_to_forms(call, bucket).await? {
        all.push((EVERYBODY.to_owned(), "WRITE".to_owned()));
    }
    Ok(all)
}

/// What a list grants besides the owner's full control. The owner of a bucket owns its objects, too; nobody here is Amazon EC2.
fn grants(acl: CannedAcl) -> Grants {
    let group = |uri: &str, what: &str| (uri.to_owned(), what.to_owned());
    match acl {
        CannedAcl::PublicRead => vec![group(EVERYBODY, "READ")],
        CannedAcl::PublicReadWrite => vec![group(EVERYBODY, "READ"), group(EVERYBODY, "WRITE")],
        CannedAcl::AuthenticatedRead => vec![group(SIGNERS, "READ")],
        CannedAcl::Private
        | CannedAcl::AwsExecRead
        | CannedAcl::BucketOwnerRead
        | CannedAcl::BucketOwnerFullControl => Vec::new(),
    }
}

/// The list that grants just this, of those that are true here.
fn canned(wanted: &Grants) -> Option<CannedAcl> {
    let mut known = [
        CannedAcl::Private,
        CannedAcl::PublicRead,
        CannedAcl::PublicReadWrite,
    ]
    .into_iter();
    known.find(|acl| grants(*acl) == *wanted)
}

fn shown(grants: &Grants) -> Reply {
    let mut document = Document::new("AccessControlPolicy");
    buckets::owner(&mut document, "Owner");
    document.within("AccessControlList", |list| {
        list.within("Grant", |grant| {
            grant.within_as("Grantee", USER, |owner| {
                owner.element("ID", OWNER);
                owner.element("DisplayName", OWNER);
            });
            grant.element("Permission", "FULL_CONTROL");
        });
        for (uri, permission) in grants {
            list.within("Grant", |grant| {
                grant.within_as("Grantee", GROUP, |group| group.element("URI", uri));
                grant.element("Permission", permission);
            });
        }
    });
    Reply::Raw(document.answer())
}

/// What the request asks for, by a header or by a document.
async fn wanted(call: &mut Call<'_>, mut access: Access<'_>) -> Result<Grants, ApiError> {
    let body = settings::body(call, &mut access, MAX_POLICY_BYTES).await?;
    let named = access.header(HEADER);
    match (named, body.trim_ascii().is_empty()) {
        // Its name was judged with the other headers.
        (Some(name), true) => Ok(grants(CannedAcl::parse(name).unwrap_or_default())),
        (Some(_), false) => {
            let message = "This request does not support content";
            Err(ApiError::new(ErrorCode::UnexpectedContent, message))
        }
        (None, true) => {
            let message = "Your request was missing a required header";
            let error = ApiError::new(ErrorCode::MissingSecurityHeader, message);
            Err(error.with("MissingHeaderName", HEADER))
        }
        (None, false) => read(&xml::read(&body, "AccessControlPolicy", MAX_ELEMENTS)?),
    }
}

/// The grants of a document, the owner's full control among them.
///
/// # Errors
/// `MalformedACLError`, `AccessDenied` for another owner, `InvalidArgument`, `NotImplemented`.
pub(super) fn read(policy: &Element) -> Result<Grants, ApiError> {
    let owner = policy.element("Owner").ok_or_else(malformed)?;
    if owner.child("ID").map(str::trim) != Some(OWNER) {
        return Err(ApiError::new(ErrorCode::AccessDenied, "Access Denied"));
    }
    let list = policy.element("AccessControlList").ok_or_else(malformed)?;
    let (mut owns, mut grants) = (false, Grants::new());
    for grant in &list.children {
        let grantee = grant.element("Grantee").ok_or_else(malformed)?;
        let permission = grant.child("Permission").ok_or_else(malformed)?.trim();
        match (grantee.child("URI"), grantee.child("ID")) {
            (Some(uri), None) => grants.push((uri.trim().to_owned(), permission.to_owned())),
            (None, Some(id)) if id.trim() == OWNER && permission == "FULL_CONTROL" => owns = true,
            (None, Some(id)) if id.trim() != OWNER => {
                let error = ApiError::new(ErrorCode::InvalidArgument, "Invalid id");
                return Err(error.with("ArgumentName", "CanonicalUser/ID"));
            }
            _ => return Err(not_implemented("Grantee")),
        }
    }
    if !owns {
        return Err(not_implemented("AccessControlList"));
    }
    grants.sort();
    grants.dedup();
    Ok(grants)
}

fn malformed() -> ApiError {
    let message =
        "The XML you provided was not well-formed or did not validate against our published schema";
    ApiError::new(ErrorCode::MalformedACLError, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn object(acl: CannedAcl) -> ObjectMeta {
        let mut object = ObjectMeta::put("a", b"", Timestamp::from_seconds(1));
        object.attributes.acl = acl;
        object
    }

    #[test]
    fn what_is_changed_is_the_object_and_the_list_that_were_judged() {
        use CannedAcl::{AuthenticatedRead, Private, PublicRead, PublicReadWrite};
        for (from, to) in [
            (Private, PublicRead),
            (PublicRead, PublicReadWrite),
            (AuthenticatedRead, Private),
        ] {
            let judged = object(from);
            let change = change_of(&judged, &grants(to)).unwrap();
            let named = ObjectName::Id(judged.id);
            assert_eq!(change, Some((named, ObjectChange::Acl { from, to })));
            assert_eq!(change_of(&judged, &grants(from)).unwrap(), None);
        }
        let pretended = change_of(&object(Private), &grants(AuthenticatedRead));
        assert_eq!(pretended.unwrap_err().code, ErrorCode::NotImplemented);
    }
}
