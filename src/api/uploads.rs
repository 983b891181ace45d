//! Upload sessions: start, inspect, finish, abort.
//!
//! Owns: `/v1/files/uploads/` and `/v1/files/uploads/ID`: their parameters, and the shape of an upload, whose members and
//! their order are the hosted API's (both `type` and `storage_type` are sent: its documents show either). After them come
//! our own: which chunks are here and which are missing, so that a client can resume.
//!
//! Never does: take bytes (`post_object.rs` does) or sign (`policy` does).
//!
//! Invariants: a session's object key is its pipeline's root path and the key the client named; the session is on stable
//! storage before it is shown. Signed parameters are shown only to a token that may write.
//!
//! Sources: the hosted API's manual, "POST, PUT, GET /files/uploads", and its "Initiate File Upload" of 2017.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::app::Site;
use super::auth::authenticate;
use super::call::{Call, Reply, new_id};
use super::client_form::FormWish;
use super::error::ApiError;
use super::params::Params;
use super::pipelines;
use super::post_target::{check_file, is_over};
use super::resource::millis;
use super::upload_params::{StartParams, expiry};
use crate::model::{
    ChunkReceipt, Id, MAX_CHUNKS, NewUpload, ObjectKey, Pipeline, PipelineRef, Scope, UploadSession,
};
use crate::policy::SessionForm;
use crate::store::StoreError;

/// The envelope of an upload.
const ENVELOPE: &str = "upload";

/// `POST /v1/files/uploads/`: starts a session and hands out the signed form for it.
///
/// # Errors
/// `InvalidArgument` that names the parameter, `NoSuchPipeline`, `InvalidAccessToken`, or what the store says.
pub async fn start(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    let caller = authenticate(call, Scope::MediahubWrite).await?;
    call.read_params().await?;
    let asked = StartParams::read(&call.params, ENVELOPE, call.now)?;
    let pipeline = pipelines::for_upload(call, asked.pipeline).await?;
    let lifetime = call.app.options.object_lifetime;
    let new = NewUpload {
        id: new_id(call.now)?,
        bucket: call.app.options.bucket.clone(),
        key: full_key(&pipeline, &asked.object_key)?,
        expires_at: expiry(asked.expires_at, &pipeline, lifetime, call.now),
        pipeline: Some(PipelineRef {
            id: pipeline.id,
            object_key: asked.object_key,
        }),
        headers: Default::default(),
        attributes: Default::default(),
        application: caller.application(),
        created_at: call.now,
        abandoned_at: call.now.plus(call.app.options.session_lifetime),
        form_post_url: form_post_url(call, asked.ip),
        answer: asked.form.answer().unwrap_or_default(),
    };
    let session = call.app.store.create_upload(new).await?;
    // Whoever removed the pipeline in between did not see this session, so we must see that the pipeline is gone.
    if let Err(gone) = pipelines::for_upload(call, pipeline.id).await {
        call.app.store.abort_upload(session.upload.id).await?;
        return Err(gone);
    }
    let form = signed_form(call, &session, &asked.form);
    Reply::ok(json!({ ENVELOPE: shown(&session, Some(form)) }))
}

/// `GET /v1/files/uploads/ID`: where the session stands, which chunks are here and which are missing; with
/// `chunk_md5s=true` also their MD5s, in the order of `received_chunks`, for a client that asks itself whether its file is still the same; with
/// `form_post_params=true` also a fresh signed form, for an upload that goes on after the first one has expired, or with another
/// uploader (`client`, `answer`).
///
/// # Errors
/// `NoSuchUpload`, `InvalidAccessToken`; `InvalidArgument` that names the parameter.
pub async fn inspect(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let scope = if call.params.flag("form_post_params")? {
        Scope::MediahubWrite
    } else {
        Scope::MediahubRead
    };
    authenticate(call, scope).await?;
    let wish = FormWish::read(&call.params, ENVELOPE)?;
    if scope != Scope::MediahubWrite && !wish.is_nothing() {
        let rule = "must be true when client or answer is given: they are about the form.";
        return Err(ApiError::invalid("form_post_params", rule));
    }
    let id = parse_id(id)?;
    let mut session = form_session(call, id).await?;
    if scope == Scope::MediahubWrite {
        if is_over(&session, call.now) {
            return Err(StoreError::NoSuchUpload.into());
        }
        check_file(call.app, &session).await?;
    }
    let app = Arc::clone(call.app);
    let reading = async move { app.store.receipts(id).await };
    let (receipts, _turn) = call.app.lists.chunks.take(reading).await?;
    let receipts = receipts?;
    let with_md5s = call.params.flag("chunk_md5s")?;
    let form = (scope == Scope::MediahubWrite).then(|| signed_form(call, &session, &wish));
    if form.is_some() {
        session.upload.form_post_url = url_of_fresh_form(call, &session.upload.form_post_url);
    }
    let mut upload = shown(&session, form);
    upload.extend(progress(&session, &receipts));
    if with_md5s {
        let md5s = receipts.iter().map(|receipt| receipt.digests.md5.hex());
        upload.insert("chunk_md5s".to_owned(), json!(md5s.collect::<Vec<_>>()));
    }
    Reply::ok(json!({ ENVELOPE: upload }))
}

/// `PUT /v1/files/uploads/ID`: says that the upload has `nb_chunks` chunks and no more will come. Idempotent.
///
/// # Errors
/// `InvalidArgument` that names the missing chunks (nothing is lost), `NoSuchUpload`, `InvalidAccessToken`.
pub async fn finish(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    let id = parse_id(id)?;
    call.read_params().await?;
    let nb_chunks = chunk_count(&call.params)?;
    let session = call.app.store.upload(id).await?;
    if is_over(&session, call.now) {
        return Err(StoreError::NoSuchUpload.into());
    }
    check_file(call.app, &session).await?;
    let finished = call
        .app
        .store
        .finish_upload(id, nb_chunks, call.now)
        .await
        .map_err(name_chunk_count)?;
    Reply::ok(json!({ ENVELOPE: shown(&finished, None) }))
}

/// `DELETE /v1/files/uploads/ID`: drops an unfinished session and its chunks.
///
/// # Errors
/// `NoSuchUpload`; `OperationAborted` when it is finished (delete the file then); `InvalidAccessToken`.
pub async fn abort(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    let session = form_session(call, parse_id(id)?).await?;
    call.app.store.abort_upload(session.upload.id).await?;
    Reply::deleted()
}

/// A session that was started here. An upload in parts is known to the S3 dialect only.
async fn form_session(call: &Call<'_>, id: Id) -> Result<UploadSession, ApiError> {
    let session = call.app.store.upload(id).await?;
    match session.parts {
        None => Ok(session),
        Some(_) => Err(StoreError::NoSuchUpload.into()),
    }
}

/// What is no id can name no session, so it is answered like an unknown one.
fn parse_id(id: &str) -> Result<Id, ApiError> {
    Id::parse(id).ok_or_else(|| StoreError::NoSuchUpload.into())
}

fn full_key(pipeline: &Pipeline, object_key: &ObjectKey) -> Result<ObjectKey, ApiError> {
    let root = pipeline.root_path();
    ObjectKey::parse(&format!("{root}{object_key}")).map_err(|_| {
        let room = ObjectKey::MAX_BYTES.saturating_sub(root.len());
        ApiError::invalid(
            "object_key",
            format!("must be at most {room} bytes of UTF-8 below its pipeline's root path."),
        )
    })
}

fn chunk_count(params: &Params) -> Result<u32, ApiError> {
    let given = Params::required(params.integer(ENVELOPE, "nb_chunks")?, "nb_chunks")?;
    let count = u32::try_from(given)
        .ok()
        .filter(|count| (1..=MAX_CHUNKS).contains(count));
    count.ok_or_else(|| ApiError::invalid("nb_chunks", format!("must be from 1 to {MAX_CHUNKS}.")))
}

/// The store speaks of chunks in the words of the form post; here the parameter is `nb_chunks`.
fn name_chunk_count(error: StoreError) -> ApiError {
    match error {
        StoreError::ChunkCountDiffers { known, given } => ApiError::invalid(
            "nb_chunks",
            format!(
                "must be the number of chunks of this upload: {known} is known, {given} was given."
            ),
        ),
        other => other.into(),
    }
}

/// Where the form is posted to: the site whose network fits the uploader best, else the default.
fn form_post_url(call: &Call<'_>, ip: Option<std::net::IpAddr>) -> String {
    let options = &call.app.options;
    let site = ip.and_then(|ip| nearest_site(&options.sites, ip));
    site.map(|site| site.form_post_url.clone())
        .or_else(|| options.form_post_url.clone())
        .unwrap_or_else(|| format!("{}/{}/", call.base_url, options.bucket))
}

/// Where a fresh form of a session is posted to: where its first one was, while that is configured. Else the server may be reached
/// elsewhere by now, as whoever asks has reached it.
fn url_of_fresh_form(call: &Call<'_>, first: &str) -> String {
    let options = &call.app.options;
    let of_sites = options.sites.iter().map(|site| &site.form_post_url);
    let mut configured = of_sites.chain(&options.form_post_url);
    match configured.any(|url| url == first) {
        true => first.to_owned(),
        false => form_post_url(call, None),
    }
}

/// The longest prefix wins; among equals the site that is configured first.
fn nearest_site(sites: &[Site], ip: std::net::IpAddr) -> Option<&Site> {
    let mut best: Option<(u8, &Site)> = None;
    for site in sites {
        let fitting = site.networks.iter().filter(|network| network.contains(&ip));
        let Some(prefix) = fitting.map(ipnet::IpNet::prefix_len).max() else {
            continue;
        };
        if best.is_none_or(|(longest, _)| prefix > longest) {
            best = Some((prefix, site));
        }
    }
    best.map(|(_, site)| site)
}

/// A form that is handed out.
struct ShownForm {
    params: Value,
    file_field: Option<&'static str>,
}

/// The members of `form_post_params`, signed now: ten, unless they are to be for a certain uploader.
fn signed_form(call: &Call<'_>, session: &UploadSession, wish: &FormWish) -> ShownForm {
    let upload = &session.upload;
    let signer = call.app.signer.load_full();
    let expires = call.now.plus(call.app.options.form_lifetime);
    let form = SessionForm::issue(upload.id, &upload.bucket, &upload.key, &signer, expires);
    ShownForm {
        params: wish.members(&form, upload.answer),
        file_field: wish.file_field(),
    }
}

/// An upload, with the hosted API's members in its order.
fn shown(session: &UploadSession, form: Option<ShownForm>) -> Map<String, Value> {
    let upload = &session.upload;
    let id = upload.id.to_string();
    let pipeline = upload.pipeline.as_ref();
    let object_key = pipeline.map_or(&upload.key, |pipeline| &pipeline.object_key);
    let file_field = form.as_ref().and_then(|form| form.file_field);
    let members = [
        ("form_post_params", form.map(|form| form.params)),
        ("file_field", file_field.map(|name| json!(name))),
        ("status", Some(json!(session.state.as_str()))),
        ("object_key", Some(json!(object_key))),
        ("nb_chunks", Some(json!(session.nb_chunks.unwrap_or(0)))),
        ("type", Some(json!("S3"))),
        ("storage_type", Some(json!("S3"))),
        ("form_post_url", Some(json!(upload.form_post_url))),
        (
            "pipeline",
            Some(json!(pipeline.map(|pipeline| json!({ "id": pipeline.id })))),
        ),
        ("file", Some(json!({ "id": id }))),
        ("id", Some(json!(id))),
    ];
    let present = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

/// Our own members: what is here, and what a client that resumes has still to send.
fn progress(session: &UploadSession, receipts: &[ChunkReceipt]) -> Map<String, Value> {
    let here = receipts.iter().map(|receipt| receipt.index);
    let members = [
        ("received_chunks", json!(here.collect::<Vec<_>>())),
        (
            "missing_chunks",
            json!(missing(session.nb_chunks, receipts)),
        ),
        ("received_bytes", json!(session.received_bytes)),
        ("chunk_size", json!(chunk_size(session.nb_chunks, receipts))),
        ("answer", json!(session.upload.answer.as_str())),
        ("created_at", json!(session.upload.created_at.millis())),
        ("expires_at", millis(session.upload.expires_at)),
    ];
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The indices that have no receipt; unknown while the number of chunks is.
fn missing(nb_chunks: Option<u32>, receipts: &[ChunkReceipt]) -> Option<Vec<u32>> {
    let here = |index: &u32| {
        let found = receipts.binary_search_by_key(index, |receipt| receipt.index);
        found.is_ok()
    };
    nb_chunks.map(|count| (0..count).filter(|index| !here(index)).collect())
}

/// The size of every chunk but the last, when those that are here agree on one.
fn chunk_size(nb_chunks: Option<u32>, receipts: &[ChunkReceipt]) -> Option<u64> {
    let highest = receipts.last()?.index;
    let last = nb_chunks.map_or(highest, |count| count.saturating_sub(1).max(highest));
    let inner = receipts.iter().filter(|receipt| receipt.index < last);
    let mut sizes = inner.map(|receipt| receipt.length);
    let first = sizes.next()?;
    sizes.all(|size| size == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digests, Hasher, Place};

    fn receipt(index: u32, length: u64) -> ChunkReceipt {
        ChunkReceipt {
            index,
            place: Place::Main(0),
            length,
            digests: digests(),
            checksum: None,
            received_at: None,
        }
    }

    fn digests() -> Digests {
        Hasher::default().finish()
    }

    fn site(networks: &[&str], url: &str) -> Site {
        Site {
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
            form_post_url: url.to_owned(),
        }
    }

    #[test]
    fn the_longest_prefix_of_all_sites_wins() {
        let sites = [
            site(&["10.0.0.0/8", "2001:db8::/32"], "wide"),
            site(&["10.1.0.0/16"], "narrow"),
            site(&["10.0.0.0/8"], "twin"),
        ];
        let url = |ip: &str| {
            let found = nearest_site(&sites, ip.parse().unwrap());
            found.map(|site| site.form_post_url.as_str())
        };
        assert_eq!(url("10.1.2.3"), Some("narrow"));
        assert_eq!(url("10.2.2.3"), Some("wide"));
        assert_eq!(url("2001:db8::1"), Some("wide"));
        assert_eq!(url("192.168.0.1"), None);
    }

    #[test]
    fn missing_chunks_are_known_once_their_number_is() {
        let here = [receipt(0, 5), receipt(2, 5)];
        assert_eq!(missing(None, &here), None);
        assert_eq!(missing(Some(4), &here), Some(vec![1, 3]));
        assert_eq!(missing(Some(1), &here[..1]), Some(vec![]));
    }

    #[test]
    fn the_chunk_size_is_that_of_every_chunk_but_the_last() {
        assert_eq!(chunk_size(None, &[]), None);
        assert_eq!(chunk_size(None, &[receipt(0, 5)]), None);
        assert_eq!(chunk_size(Some(2), &[receipt(0, 5)]), Some(5));
        assert_eq!(chunk_size(Some(2), &[receipt(1, 3)]), None);
        assert_eq!(chunk_size(None, &[receipt(0, 5), receipt(1, 3)]), Some(5));
        assert_eq!(chunk_size(Some(4), &[receipt(0, 5), receipt(1, 3)]), None);
    }
}
