//! The control door: what the command line asks a running server.
//!
//! Owns: the table of its paths, pipelines, and where an object lies. JSON over HTTP; a list answers under its plural key,
//! a creation and a change answer the entry itself. Times are RFC 3339 in UTC, for people.
//!
//! Never does: ask for a token. Whoever can open the socket is the operator; the server floor sees to that.
//!
//! Invariants: a secret is shown once, when it is made, and in no list. What is refused names the member and the rule.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::super::app::App;
use super::super::body::{RequestBody, ResponseBody};
use super::super::call::{new_id, removed};
use super::super::error::{ApiError, ErrorCode};
use super::super::params::{MAX_BODY_BYTES, Params};
use super::super::pipeline_settings::changed;
use super::super::pipelines::{all, insert_new, new_pipeline, remove_unused, shown_pipeline};
use super::{credentials, guarded, json_answer, no_such_path, verify};
use crate::model::{Bucket, Id, ObjectKey, PipelineSettings, Timestamp};
use crate::store::ObjectName;

/// Longest name of a token or an application, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// One request of the control door.
pub(super) struct Ask<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) params: Params,
    pub(super) now: Timestamp,
}

impl Ask<'_> {
    /// The name for people.
    pub(super) fn name(&self) -> Result<String, ApiError> {
        let name = Params::required(self.params.text("", "name")?, "name")?;
        if (1..=MAX_NAME_BYTES).contains(&name.len()) {
            return Ok(name);
        }
        let rule = format!("must be 1 to {MAX_NAME_BYTES} bytes.");
        Err(ApiError::invalid("name", rule))
    }

    /// The members of the JSON body.
    pub(super) fn members(&self) -> &Map<String, Value> {
        self.params.members()
    }
}

impl App {
    /// Answers one request of the control socket, or of the command line that holds the store itself.
    pub async fn handle_control(
        self: &Arc<Self>,
        request: Request<RequestBody>,
    ) -> Response<ResponseBody> {
        guarded(self.answer_control(request)).await
    }

    async fn answer_control(
        self: &Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let (head, mut body) = request.into_parts();
        let mut params = Params::from_query(head.uri.query().unwrap_or(""))?;
        let body = body.collect(MAX_BODY_BYTES, &self.documents).await?;
        params.add_body(&body)?;
        let ask = Ask {
            app: self,
            params,
            now: self.clock.now(),
        };
        let path = percent_decode_str(head.uri.path()).decode_utf8();
        let path = path.map_err(|_| no_such_path())?;
        let segments = path.split('/').skip(1).collect::<Vec<_>>();
        if let (&Method::POST, ["verify"]) = (&head.method, segments.as_slice()) {
            return Ok(verify::stream(self));
        }
        let value = dispatch(&ask, &head.method, &segments).await?;
        tracing::info!(
            target: "pillarbox::control",
            method = head.method.as_str(),
            place = segments.first().copied().unwrap_or_default(),
            "done"
        );
        Ok(json_answer(StatusCode::OK, &value))
    }
}

async fn dispatch(ask: &Ask<'_>, method: &Method, segments: &[&str]) -> Result<Value, ApiError> {
    match (segments, method.as_str()) {
        (["tokens"], "POST") => credentials::create_token(ask).await,
        (["tokens"], "GET") => credentials::list_tokens(ask).await,
        (["tokens", id], "DELETE") => credentials::remove_token(ask, id).await,
        (["applications"], "POST") => credentials::create_application(ask).await,
        (["applications"], "GET") => credentials::list_applications(ask).await,
        (["applications", id], "DELETE") => credentials::remove_application(ask, id).await,
        (["keys"], "POST") => credentials::create_key(ask).await,
        (["keys"], "GET") => credentials::list_keys(ask).await,
        (["keys", "rotate"], "POST") => credentials::rotate_key(ask).await,
        (["keys", id], "DELETE") => credentials::remove_key(ask, id).await,
        (["pipelines"], "POST") => create_pipeline(ask).await,
        (["pipelines"], "GET") => list_pipelines(ask).await,
        (["pipelines", id], "DELETE") => remove_pipeline(ask, id).await,
        (["path"], "GET") => locate(ask).await,
        (["tokens" | "applications" | "keys" | "pipelines"], _) => {
            Err(ApiError::method("GET, POST"))
        }
        (["keys", "rotate"] | ["verify"], _) => Err(ApiError::method("POST")),
        (["tokens" | "applications" | "keys" | "pipelines", _], _) => {
            Err(ApiError::method("DELETE"))
        }
        (["path"], _) => Err(ApiError::method("GET")),
        _ => Err(no_such_path()),
    }
}

/// Of all doors, only this one lets an id be chosen: pipelines move between machines with it.
async fn create_pipeline(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let id = match ask.params.id("", "id")? {
        Some(id) => id,
        None => new_id(ask.now)?,
    };
    let settings = changed(&PipelineSettings::default(), ask.members())?;
    let (pipeline, is_new) = insert_new(ask.app, new_pipeline(id, settings, ask.now)).await?;
    if !is_new {
        let why = format!("id {id} is taken by another pipeline.");
        return Err(ApiError::new(ErrorCode::OperationAborted, why));
    }
    Ok(shown_pipeline("", &pipeline))
}

async fn list_pipelines(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let pipelines = all(ask.app).await?;
    let shown = pipelines.iter().map(|one| shown_pipeline("", one));
    Ok(json!({ "pipelines": shown.collect::<Vec<_>>() }))
}

async fn remove_pipeline(ask: &Ask<'_>, id: &str) -> Result<Value, ApiError> {
    remove_unused(ask.app, id).await?;
    Ok(removed())
}

/// The plain file that holds an object.
async fn locate(ask: &Ask<'_>) -> Result<Value, ApiError> {
    let text = |name| Params::required(ask.params.text("", name)?, name);
    let bucket = Bucket::parse(&text("bucket")?)
        .map_err(|rule| ApiError::invalid("bucket", format!("{rule}.")))?;
    let key = ObjectKey::parse(&text("key")?)
        .map_err(|rule| ApiError::invalid("key", format!("{rule}.")))?;
    let name = ObjectName::Key(bucket, key);
    let meta = ask.app.store.object(&name, ask.now).await?;
    let path = ask.app.store.locate(&meta).ok_or_else(|| {
        let why = "This store keeps no object as a plain file.";
        ApiError::new(ErrorCode::NotImplemented, why)
    })?;
    Ok(json!({ "path": path.to_string_lossy() }))
}

/// An id in a path.
pub(super) fn parse_id(id: &str, what: &str) -> Result<Id, ApiError> {
    Id::parse(id).ok_or_else(|| no_such(what))
}

/// The refusal for an entry that is not there.
pub(super) fn no_such(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::NoSuchResource,
        format!("There is no such {what}."),
    )
}
