//! `/v1/files/`: list, inspect, change and delete stored files.
//!
//! Owns: the rules of these calls. A file whose upload still goes on does not exist here (all or nothing); only DELETE knows
//! it, and aborts the upload, since the hosted API has no other way to.
//!
//! Decided here, where the hosted API documents nothing (it has no `PUT /files/ID`): PUT takes `expires_at` (0 or null is
//! never) and `job` (`{"id": "..."}`), alone or together. A Job's use lifts the expiry for good, so with both at once the
//! file never expires, and setting an expiry later is 409. `expand`, `expand_all` and `bin_data` change nothing.
//!
//! Never does: touch bytes; `downloads.rs` does. Source: the hosted API's manual, "GET /files", "GET /files/ID" and
//! "DELETE /files/ID".

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::auth::authenticate;
use super::call::{Call, Reply};
use super::error::{ApiError, ErrorCode};
use super::file_view;
use super::json_body::shown_name;
use super::paging::Page;
use super::params::{Params, said_twice};
use super::upload_params::future;
use crate::model::{Id, Scope, Timestamp};
use crate::store::{FileQuery, ObjectChange, ObjectName, SortKey, StoreError};

/// Longest id of a Job, in bytes.
pub const MAX_JOB_BYTES: usize = 64;
const SORT_KEYS: [(&str, SortKey); 7] = [
    ("created_at", SortKey::CreatedAt),
    ("updated_at", SortKey::UpdatedAt),
    ("finished_at", SortKey::FinishedAt),
    ("expires_at", SortKey::ExpiresAt),
    ("size", SortKey::Size),
    ("name", SortKey::Name),
    ("id", SortKey::Id),
];

/// `GET /v1/files/`
///
/// # Errors
/// A bad token, or a parameter that breaks a rule.
pub async fn list(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubRead).await?;
    let page = Page::read(&call.params, &SORT_KEYS)?;
    let query = FileQuery {
        pipelines: pipelines(&call.params)?,
        jobs: words(&call.params, "job.id")?,
        sort: page.sort,
        descending: page.descending,
        start: page.start,
        limit: page.limit,
        behind: None,
    };
    if !wants_files(&call.params)? {
        return Reply::ok(page.envelope("files", Vec::new(), 0));
    }
    let (app, now) = (Arc::clone(call.app), call.now);
    let turns = match app.store.looks_at_all(&query) {
        true => &call.app.lists.scans,
        false => &call.app.lists.files,
    };
    let reading = async move { app.store.list_files(&query, now).await };
    let (found, _turn) = turns.take(reading).await?;
    let found = found?;
    let shown = found
        .files
        .iter()
        .map(|meta| file_view::file(&call.base_url, meta));
    Reply::ok(page.envelope("files", shown.collect(), found.total))
}

/// `GET /v1/files/ID`
///
/// # Errors
/// A bad token, or no such file.
pub async fn inspect(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubRead).await?;
    let name = ObjectName::Id(parse_id(id)?);
    let meta = call.app.store.object(&name, call.now).await;
    let meta = meta.map_err(refusal)?;
    Reply::ok(json!({ "file": file_view::file(&call.base_url, &meta) }))
}

/// `PUT /v1/files/ID`
///
/// # Errors
/// A bad token, no such file, a member that cannot be changed, or an expiry for a file that a Job uses.
pub async fn change(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    let caller = authenticate(call, Scope::MediahubSubmitJobs).await?;
    let name = ObjectName::Id(parse_id(id)?);
    call.read_params().await?;
    let wanted = Wanted::read(&call.params, call.now)?;
    if wanted.expires_at.is_some() && !caller.token.scopes.allow(Scope::MediahubWrite) {
        let why = "The access token's scopes do not allow this; expires_at needs mediahub_write.";
        return Err(ApiError::new(ErrorCode::InvalidAccessToken, why));
    }
    let change = wanted.into_change()?;
    let meta = call.app.store.change_object(&name, change, call.now).await;
    let meta = meta.map_err(refusal)?;
    Reply::ok(json!({ "file": file_view::file(&call.base_url, &meta) }))
}

/// `DELETE /v1/files/ID`
///
/// # Errors
/// A bad token, or neither a file nor an open upload.
pub async fn remove(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    let id = parse_id(id)?;
    let (store, name) = (&call.app.store, ObjectName::Id(id));
    match store.delete_object(&name, call.now).await {
        Err(StoreError::NoSuchObject) => {}
        outcome => return outcome.map_err(refusal).and_then(|()| Reply::deleted()),
    }
    // An upload in parts is known to the S3 dialect only.
    if let Ok(session) = store.upload(id).await
        && session.parts.is_some()
    {
        return Err(no_such_file());
    }
    let aborted = match store.abort_upload(id).await {
        // It became whole between the two questions, or its object is long gone.
        Err(StoreError::Finished) => store.delete_object(&name, call.now).await,
        outcome => outcome,
    };
    aborted.map_err(refusal).and_then(|()| Reply::deleted())
}

/// What a PUT wants changed.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// `Some(None)` is never.
    expires_at: Option<Option<Timestamp>>,
    job: Option<String>,
}

impl Wanted {
    fn read(params: &Params, now: Timestamp) -> Result<Self, ApiError> {
        let members = params.resource("file")?;
        refuse_strangers(params, members)?;
        let mut expires_at = future(params.epoch("file", "expires_at")?, now)?;
        if members.get("expires_at") == Some(&Value::Null) {
            if expires_at.flatten().is_some() {
                return Err(said_twice("expires_at"));
            }
            expires_at = Some(None);
        }
        let mut job = params.once("job.id")?.map(str::to_owned);
        if let Some(member) = members.get("job") {
            let id = job_id(member)?;
            if job.is_some_and(|job| job != id) {
                return Err(said_twice("job.id"));
            }
            job = Some(id);
        }
        if let Some(job) = &job {
            check_job(job)?;
        }
        Ok(Self { expires_at, job })
    }

    /// A Job's use comes first: it lifts the expiry, so an expiry beside it has nothing left to do.
    fn into_change(self) -> Result<ObjectChange, ApiError> {
        match (self.job, self.expires_at) {
            (Some(job), _) => Ok(ObjectChange::UsedBy(job)),
            (None, Some(expires_at)) => Ok(ObjectChange::ExpiresAt(expires_at)),
            (None, None) => Err(ApiError::invalid(
                "The request",
                "must name what to change: expires_at, job, or both.",
            )),
        }
    }
}

/// Nothing is ignored that a client believes it has changed.
fn refuse_strangers(params: &Params, members: &Map<String, Value>) -> Result<(), ApiError> {
    let within = members.keys().map(String::as_str);
    let within = within.filter(|name| !matches!(*name, "expires_at" | "job"));
    let of_form = params.form_names();
    let of_form = of_form.filter(|name| !matches!(*name, "expires_at" | "job.id"));
    let mut strangers = within.chain(params.beside("file")).chain(of_form);
    let Some(name) = strangers.next() else {
        return Ok(());
    };
    let rule = match name {
        "expires_at" | "job" => {
            "must stand within file, not beside it; in a form, a Job is job.id."
        }
        _ => "cannot be changed; only expires_at and job can.",
    };
    Err(ApiError::invalid(&shown_name(name), rule))
}

/// The id of `{"id": "..."}`; a File's own `href` beside it is not minded.
fn job_id(job: &Value) -> Result<String, ApiError> {
    let members = job.as_object();
    let known = members.is_some_and(|m| m.keys().all(|k| matches!(k.as_str(), "id" | "href")));
    let id = job.get("id").and_then(Value::as_str).filter(|_| known);
    id.map(str::to_owned).ok_or_else(|| {
        let rule = "must be {\"id\": \"...\"}; a Job's use cannot be taken back.";
        ApiError::invalid("job", rule)
    })
}

fn check_job(job: &str) -> Result<(), ApiError> {
    let fits = (1..=MAX_JOB_BYTES).contains(&job.len()) && !job.chars().any(char::is_control);
    if fits {
        return Ok(());
    }
    let rule = format!("must be 1 to {MAX_JOB_BYTES} bytes without control characters.");
    Err(ApiError::invalid("job.id", rule))
}

/// Whether the `type` filter lets plain files through; there are no folders and no archives here.
fn wants_files(params: &Params) -> Result<bool, ApiError> {
    let types = words(params, "type")?;
    let known = |word: &String| matches!(word.as_str(), "file" | "folder" | "archive");
    if !types.iter().all(known) {
        let rule = "must be a list of: file, folder, archive.";
        return Err(ApiError::invalid("type", rule));
    }
    Ok(types.is_empty() || types.iter().any(|word| word == "file"))
}

fn pipelines(params: &Params) -> Result<Vec<Id>, ApiError> {
    let parse = |word: &String| {
        Id::parse(word).ok_or_else(|| {
            ApiError::invalid("pipeline.id", "must be a list of 24 hex digits each.")
        })
    };
    words(params, "pipeline.id")?.iter().map(parse).collect()
}

/// The words of a comma list, each once; at most [`FileQuery::MAX_FILTERS`].
fn words(params: &Params, name: &str) -> Result<Vec<String>, ApiError> {
    let list = params.once(name)?.unwrap_or_default().split(',');
    let words = list.map(str::trim).filter(|word| !word.is_empty());
    let words: BTreeSet<_> = words.map(str::to_owned).collect();
    match words.len() {
        0..=FileQuery::MAX_FILTERS => Ok(words.into_iter().collect()),
        _ => {
            let most = FileQuery::MAX_FILTERS;
            let rule = format!("must be a list of at most {most}.");
            Err(ApiError::invalid(name, rule))
        }
    }
}

fn parse_id(id: &str) -> Result<Id, ApiError> {
    Id::parse(id).ok_or_else(no_such_file)
}

/// The words of a refusal that is about a file.
fn refusal(error: StoreError) -> ApiError {
    match error {
        StoreError::NoSuchObject | StoreError::NoSuchUpload | StoreError::GaveWay => no_such_file(),
        StoreError::InUse => ApiError::new(
            ErrorCode::OperationAborted,
            "expires_at must be 0: a Job uses this file, and a used file does not expire.",
        ),
        other => other.into(),
    }
}

/// No file has this id, or it has expired.
pub fn no_such_file() -> ApiError {
    let why = "There is no file with this id, or it has expired, or its upload is not finished.";
    ApiError::new(ErrorCode::NoSuchKey, why)
}
