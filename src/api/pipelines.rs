//! Pipelines: create, list, inspect, change, remove.
//!
//! Owns: `/v1/pipelines/` and `/v1/pipelines/ID`, the shape of a pipeline, and finding the one of an upload; in `dev` that
//! one is made on first use.
//!
//! Never does: know the rules of a setting; `pipeline_settings.rs` does.
//!
//! Invariants: `version` counts the changes of a pipeline, and two changes at once are made one after the other. A change
//! of `root_path` concerns uploads that start later; what is stored keeps its key. A pipeline with open sessions stays.
//!
//! Sources: the hosted API's manual, "POST, GET, PUT, DELETE /pipelines".

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::app::App;
use super::auth::authenticate;
use super::call::{Call, Reply, new_id};
use super::error::{ApiError, ErrorCode};
use super::paging::Page;
use super::params::{Params, said_twice, text_of};
use super::pipeline_settings::{self as settings, changed, shown as shown_settings};
use super::resource::href;
use crate::model::{Id, Pipeline, PipelineSettings, Scope, Timestamp};
use crate::store::{CatalogEntry, CatalogKey, CatalogKind, StoreError};

/// The envelope of a pipeline.
const ENVELOPE: &str = "pipeline";
/// The collection's name in paths, and the envelope of a list.
const COLLECTION: &str = "pipelines";
/// What a list can be sorted by.
const SORT_KEYS: [(&str, SortKey); 4] = [
    ("created_at", SortKey::CreatedAt),
    ("updated_at", SortKey::UpdatedAt),
    ("name", SortKey::Name),
    ("id", SortKey::Id),
];
/// Held while a pipeline is read, changed and written back.
static CHANGING: Mutex<()> = Mutex::const_new(());

#[derive(Clone, Copy)]
enum SortKey {
    CreatedAt,
    UpdatedAt,
    Name,
    Id,
}

/// `GET /v1/pipelines/`: one sorted page.
///
/// # Errors
/// `InvalidArgument` that names the parameter, `InvalidAccessToken`.
pub async fn list(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubRead).await?;
    let page = Page::read(&call.params, &SORT_KEYS)?;
    let app = Arc::clone(call.app);
    let reading = async move { all(&app).await };
    let (pipelines, _turn) = call.app.lists.keys.take(reading).await?;
    let mut pipelines = pipelines?;
    match page.sort {
        SortKey::CreatedAt => pipelines.sort_by_key(|one| (one.created_at, one.id)),
        SortKey::UpdatedAt => pipelines.sort_by_key(|one| (one.updated_at, one.id)),
        SortKey::Name => pipelines.sort_by(|a, b| name_and_id(a).cmp(&name_and_id(b))),
        SortKey::Id => pipelines.sort_by_key(|one| one.id),
    }
    let total = pipelines.len();
    let shown = page.cut(pipelines);
    let shown = shown.iter().map(|one| shown_pipeline(&call.base_url, one));
    Reply::ok(page.envelope(COLLECTION, shown.collect(), total))
}

/// `POST /v1/pipelines/`: makes a pipeline.
///
/// # Errors
/// `InvalidArgument` that names the setting, `InvalidAccessToken`.
pub async fn create(call: &mut Call<'_>) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    call.read_params().await?;
    let members = members(&call.params)?;
    let settings = changed(&PipelineSettings::default(), &members)?;
    let pipeline = new_pipeline(new_id(call.now)?, settings, call.now);
    let entry = CatalogEntry::Pipeline(pipeline.clone());
    call.app.store.insert(entry).await?;
    answer(call, &pipeline)
}

/// `GET /v1/pipelines/ID`
///
/// # Errors
/// `NoSuchPipeline`, `InvalidAccessToken`.
pub async fn inspect(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubRead).await?;
    let pipeline = find(call.app, parse_id(id)?).await?;
    answer(call, &pipeline)
}

/// `PUT /v1/pipelines/ID`: changes the settings that are given; null resets one. Where none is given there is no change to count.
///
/// # Errors
/// `InvalidArgument` that names the setting, `NoSuchPipeline`, `InvalidAccessToken`.
pub async fn change(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    call.read_params().await?;
    let id = parse_id(id)?;
    let _alone = CHANGING.lock().await;
    let old = find(call.app, id).await?;
    let members = members(&call.params)?;
    if settings::are_only_read(&members) {
        return answer(call, &old);
    }
    let new = Pipeline {
        settings: changed(&old.settings, &members)?,
        version: old.version.saturating_add(1),
        updated_at: call.now,
        ..old
    };
    let entry = CatalogEntry::Pipeline(new.clone());
    call.app.store.insert(entry).await?;
    answer(call, &new)
}

/// `DELETE /v1/pipelines/ID`
///
/// # Errors
/// `OperationAborted` while sessions are open, `NoSuchPipeline`, `InvalidAccessToken`.
pub async fn remove(call: &mut Call<'_>, id: &str) -> Result<Reply, ApiError> {
    authenticate(call, Scope::MediahubWrite).await?;
    remove_unused(call.app, id).await?;
    Reply::deleted()
}

/// What a request sets: the members of a JSON body, and the settings among the parameters of its query and its form.
fn members(params: &Params) -> Result<Map<String, Value>, ApiError> {
    let mut members = params.resource(ENVELOPE)?.clone();
    refuse_strangers(params)?;
    for name in settings::names() {
        let Some(text) = params.once(name)? else {
            continue;
        };
        let member = settings::member_from_text(name, text);
        let held = members.insert(name.to_owned(), member);
        if held.is_some_and(|held| text_of(&held) != text) {
            return Err(said_twice(name));
        }
    }
    Ok(members)
}

/// Nothing is ignored that a client believes it has set. What is unknown within the envelope, the settings refuse.
fn refuse_strangers(params: &Params) -> Result<(), ApiError> {
    if let Some(name) = params.beside(ENVELOPE).next() {
        return Err(match settings::is_known(name) {
            true => ApiError::invalid(name, "must stand within pipeline, not beside it."),
            false => settings::unknown(name),
        });
    }
    let mut names = params.form_names();
    let stranger = names.find(|name| !settings::is_known(name));
    stranger.map_or(Ok(()), |name| Err(settings::unknown(name)))
}

/// The pipeline that an upload names; in `dev` it is made on first use.
///
/// # Errors
/// `NoSuchPipeline`, or what the store says.
pub async fn for_upload(call: &Call<'_>, id: Id) -> Result<Pipeline, ApiError> {
    let found = find(call.app, id).await;
    match found {
        Err(error) if error.code == ErrorCode::NoSuchPipeline && call.app.options.dev => {}
        found => return found,
    }
    let settings = PipelineSettings {
        name: id.to_string(),
        ..PipelineSettings::default()
    };
    insert_new(call.app, new_pipeline(id, settings, call.now))
        .await
        .map(|(pipeline, _)| pipeline)
}

/// Makes a pipeline unless its id is taken. Returns the one that is there, and whether it is new.
///
/// # Errors
/// What the store says.
pub async fn insert_new(app: &App, pipeline: Pipeline) -> Result<(Pipeline, bool), ApiError> {
    let _alone = CHANGING.lock().await;
    match find(app, pipeline.id).await {
        Ok(there) => return Ok((there, false)),
        Err(error) if error.code == ErrorCode::NoSuchPipeline => {}
        Err(error) => return Err(error),
    }
    let entry = CatalogEntry::Pipeline(pipeline.clone());
    app.store.insert(entry).await?;
    Ok((pipeline, true))
}

/// A pipeline that was not changed yet.
pub fn new_pipeline(id: Id, settings: PipelineSettings, now: Timestamp) -> Pipeline {
    Pipeline {
        id,
        settings,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

/// Removes a pipeline that no open session uses.
///
/// # Errors
/// `OperationAborted` while sessions are open, `NoSuchPipeline`.
pub async fn remove_unused(app: &App, id: &str) -> Result<(), ApiError> {
    let id = parse_id(id)?;
    let _alone = CHANGING.lock().await;
    match app.store.remove(&CatalogKey::Pipeline(id)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(no_such_pipeline()),
        Err(StoreError::InUse) => Err(ApiError::new(
            ErrorCode::OperationAborted,
            "The pipeline has open upload sessions; finish or abort them first.",
        )),
        Err(error) => Err(error.into()),
    }
}

/// All pipelines, by id; at most [`crate::store::MAX_CATALOG_ENTRIES`].
///
/// # Errors
/// What the store says.
pub async fn all(app: &App) -> Result<Vec<Pipeline>, ApiError> {
    let entries = app.store.list(CatalogKind::Pipeline).await?;
    let pipelines = entries.into_iter().filter_map(|entry| match entry {
        CatalogEntry::Pipeline(pipeline) => Some(pipeline),
        _ => None,
    });
    Ok(pipelines.collect())
}

/// A pipeline with the hosted API's members in its order, and `root_path`, which is ours.
pub fn shown_pipeline(base_url: &str, pipeline: &Pipeline) -> Value {
    let mut members = shown_settings(&pipeline.settings);
    let own = [
        ("root_path", json!(pipeline.root_path())),
        ("file", Value::Null),
        ("version", json!(pipeline.version)),
        ("user", Value::Null),
        ("created_at", json!(pipeline.created_at.millis())),
        ("updated_at", json!(pipeline.updated_at.millis())),
        ("id", json!(pipeline.id)),
        ("href", json!(href(base_url, COLLECTION, &pipeline.id))),
    ];
    members.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(members)
}

fn answer(call: &Call<'_>, pipeline: &Pipeline) -> Result<Reply, ApiError> {
    Reply::ok(json!({ ENVELOPE: shown_pipeline(&call.base_url, pipeline) }))
}

async fn find(app: &App, id: Id) -> Result<Pipeline, ApiError> {
    match app.store.find(&CatalogKey::Pipeline(id)).await? {
        Some(CatalogEntry::Pipeline(pipeline)) => Ok(pipeline),
        _ => Err(no_such_pipeline()),
    }
}

/// What is no id can name no pipeline, so it is answered like an unknown one.
fn parse_id(id: &str) -> Result<Id, ApiError> {
    Id::parse(id).ok_or_else(no_such_pipeline)
}

fn no_such_pipeline() -> ApiError {
    ApiError::new(ErrorCode::NoSuchPipeline, "There is no such pipeline.")
}

fn name_and_id(pipeline: &Pipeline) -> (&str, Id) {
    (&pipeline.settings.name, pipeline.id)
}
