//! `GET /v1/files/downloads/`: a link to a file's bytes; and the link itself.
//!
//! Owns: which file is meant (`file_id`, or `object_key` with `pipeline_id`), and what the link permits.
//!
//! Decided here, where the public documents of the hosted API are silent: without `redirect=true` the answer is
//! `{"download": {"uri": "...", "expiry_time": seconds}}`; `expiry_time` must lie ahead and is `[uploads] link_lifetime`
//! from now when it is not given; `ip` may be an integer or text and is enforced by the link. `autograph_tag`,
//! `anti_fraud`, `max_parallel_downloads` and `expert_mode` are accepted and change nothing: there are no watermarks here,
//! and whom a link may serve is what `ip` and `expiry_time` say.
//!
//! Never does: serve a byte without a signature. Invariants: a link to an expired file is 404, a link that was changed or is
//! itself expired is 403.
//!
//! Source: the hosted API's manual, "GET /files/downloads".

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::empty;
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
use super::files::no_such_file;
use super::link::{self, LinkTerms};
use super::params::Params;
use super::upload_params::{MAX_EXPIRY, parse_ip};
use super::{auth, object_answer, signed_url};
use crate::model::{Id, ObjectKey, ObjectMeta, Scope, Timestamp};
use crate::store::{CatalogEntry, CatalogKey, ObjectName, StoreError};

/// `GET /v1/files/downloads/`
///
/// # Errors
/// A bad token or signature, a parameter that breaks a rule, no such file or pipeline.
pub async fn make_link(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    authorize(call).await?;
    let redirect = call.params.flag("redirect")?;
    let terms = read_terms(call)?;
    let meta = find_object(call).await?;
    let link = link::sign(&meta, &terms, &call.app.link_signer.load());
    let uri = format!("{}{link}", call.base_url);
    if redirect {
        return found(&uri);
    }
    let expiry_time = terms.expires_at.seconds();
    Reply::ok(json!({ "download": { "uri": uri, "expiry_time": expiry_time } }))
}

/// GET and HEAD of a link.
///
/// # Errors
/// `AccessDenied`, no such file, or what its conditions and range come to.
pub async fn follow_link(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let terms = link::verify(call).await?;
    let name = ObjectName::Id(Id::parse(id).ok_or_else(no_such_file)?);
    let answer = object_answer::answer(call, &name, terms.streaming).await;
    answer.map(Reply::Raw).map_err(|error| match error.code {
        ErrorCode::NoSuchKey => no_such_file(),
        _ => error,
    })
}

/// A token, or else a URL that an application signed.
async fn authorize(call: &Call<'_>) -> Result<(), ApiError> {
    let has_token = call.header(http::header::AUTHORIZATION).is_some()
        || call.params.query("access_token").is_some();
    if !has_token && signed_url::is_signed(call) {
        signed_url::authenticate(call, Scope::MediahubDownloadFiles).await?;
    } else {
        auth::authenticate(call, Scope::MediahubDownloadFiles).await?;
    }
    Ok(())
}

fn read_terms(call: &Call<'_>) -> Result<LinkTerms, ApiError> {
    let params = &call.params;
    let lifetime = call.app.options.link_lifetime;
    let moment = match params.moment("", "expiry_time")? {
        None => Some(call.now.plus(lifetime).min(MAX_EXPIRY)),
        asked => asked.filter(|moment| *moment <= MAX_EXPIRY),
    };
    let moment = moment.map(|moment| Timestamp::from_seconds(moment.seconds()));
    let expires_at = moment.filter(|moment| *moment > call.now).ok_or_else(|| {
        let rule = "must be an epoch time in seconds that lies ahead, before the year 10000.";
        ApiError::invalid("expiry_time", rule)
    })?;
    Ok(LinkTerms {
        expires_at,
        streaming: params.flag("streaming")?,
        ip: params.once("ip")?.map(parse_ip).transpose()?,
    })
}

async fn find_object(call: &Call<'_>) -> Result<ObjectMeta, ApiError> {
    let params = &call.params;
    let (file, key) = (params.id("", "file_id")?, params.once("object_key")?);
    let name = match (file, key) {
        (Some(id), None) => ObjectName::Id(id),
        (None, Some(key)) => {
            let pipeline = Params::required(params.id("", "pipeline_id")?, "pipeline_id")?;
            let key = full_key(call, pipeline, key).await?;
            ObjectName::Key(call.app.options.bucket.clone(), key)
        }
        _ => {
            let rule = "must name one file: by file_id, or by object_key with pipeline_id.";
            return Err(ApiError::invalid("The request", rule));
        }
    };
    let found = call.app.store.object(&name, call.now).await;
    found.map_err(|error| match error {
        StoreError::NoSuchObject => no_such_file(),
        other => other.into(),
    })
}

/// The key in the bucket of a key below a pipeline's root path.
async fn full_key(call: &Call<'_>, pipeline: Id, key: &str) -> Result<ObjectKey, ApiError> {
    let entry = call.app.store.find(&CatalogKey::Pipeline(pipeline)).await?;
    let Some(CatalogEntry::Pipeline(pipeline)) = entry else {
        let why = format!("There is no pipeline {pipeline}.");
        return Err(ApiError::new(ErrorCode::NoSuchPipeline, why));
    };
    let valid = ObjectKey::parse(key)
        .and_then(|key| ObjectKey::parse(&(pipeline.root_path() + key.as_str())));
    valid.map_err(|rule| ApiError::invalid("object_key", format!("{rule}.")))
}

fn found(uri: &str) -> Result<Reply, ApiError> {
    let location = HeaderValue::from_str(uri).map_err(|why| {
        ApiError::new(ErrorCode::InternalError, "The link cannot be written.").caused_by(why)
    })?;
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(Reply::Raw(response))
}
