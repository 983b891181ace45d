//! A session of a distant server, over REST.
//!
//! Owns: start, resume, fresh forms, finish; and the parts of the answers that the upload needs.
//! Never does: print or log the token or the form.
//!
//! Invariant: a fresh form is asked for once, however many chunks were refused for the old one.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::iter;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::super::Failure;
use super::super::client::{Answer, Client};
use super::form::Form;

/// Asks for a form whose posts are answered as we read them, for whatever uploader the session was begun.
const FORM: &str = "form_post_params=true&answer=s3";

/// Pause between two questions whether a session is complete.
const POLL_PAUSE: Duration = Duration::from_secs(1);

/// Most questions whether a session is complete: an hour of them; who has to wait longer can ask again.
const MAX_POLLS: u32 = 3600;

/// Attempts for one REST request.
const MAX_ATTEMPTS: u32 = 6;

/// Wait before the second attempt; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Session {
    client: Client,
    url: String,
    token: String,
    id: String,
    object_key: String,
    pipeline: Option<String>,
    received: BTreeMap<u32, Option<String>>,
    received_bytes: Option<u64>,
    form: RwLock<Arc<Form>>,
    refreshing: Mutex<()>,
}

impl Session {
    /// Starts a session.
    pub(super) async fn start(
        client: Client,
        url: &str,
        token: &str,
        key: &str,
        pipeline: &str,
    ) -> Result<Self, Failure> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("object_key", key)
            .append_pair("pipeline_id", pipeline)
            .finish();
        let target = format!("{url}/v1/files/uploads/?{query}");
        // Not tried again: a second session would be left behind.
        let answer = ask(&client, token, Method::POST, &target, None).await?;
        Self::of(client, url, token, &upload_of(answer)?)
    }

    /// Goes on with a session.
    pub(super) async fn resume(
        client: Client,
        url: &str,
        token: &str,
        id: &str,
    ) -> Result<Self, Failure> {
        let id: crate::model::Id = id.parse().map_err(|error| Failure::of("--resume", error))?;
        let target = format!("{url}/v1/files/uploads/{id}?{FORM}&chunk_md5s=true");
        let answer = ask_again(&client, token, Method::GET, &target, None).await?;
        Self::of(client, url, token, &upload_of(answer)?)
    }

    fn of(client: Client, url: &str, token: &str, upload: &Value) -> Result<Self, Failure> {
        let list = |name: &str| {
            let values = upload.get(name).and_then(Value::as_array);
            values.map(Vec::as_slice).unwrap_or_default()
        };
        let text_at = |place| Some(upload.pointer(place)?.as_str()?.to_owned());
        let md5s = list("chunk_md5s").iter().map(Value::as_str);
        let md5s = md5s
            .map(|md5| md5.map(str::to_owned))
            .chain(iter::repeat(None));
        let indices = list("received_chunks").iter();
        let received = indices.zip(md5s);
        let received =
            received.filter_map(|(index, md5)| Some((u32::try_from(index.as_u64()?).ok()?, md5)));
        Ok(Self {
            client,
            url: url.to_owned(),
            token: token.to_owned(),
            id: member(upload, "id")?.to_owned(),
            object_key: member(upload, "object_key")?.to_owned(),
            pipeline: text_at("/pipeline/id"),
            received: received.collect(),
            received_bytes: upload.get("received_bytes").and_then(Value::as_u64),
            form: RwLock::new(Arc::new(form_of(upload)?)),
            refreshing: Mutex::new(()),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn object_key(&self) -> &str {
        &self.object_key
    }

    /// The id of its pipeline, when the server says it.
    pub(super) fn pipeline(&self) -> Option<&str> {
        self.pipeline.as_deref()
    }

    /// The chunks that were here when the session was started or resumed, with their MD5s, when the server says them.
    pub(super) fn received(&self) -> &BTreeMap<u32, Option<String>> {
        &self.received
    }

    /// Their bytes, when the server says it.
    pub(super) fn received_bytes(&self) -> Option<u64> {
        self.received_bytes
    }

    /// The form in force.
    pub(super) fn form(&self) -> Arc<Form> {
        Arc::clone(&self.form.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a fresh form in place of `old`, unless another chunk already did. Fails when the server gives the same
    /// form again: then its age was not what it was refused for.
    pub(super) async fn refresh(&self, old: &Arc<Form>) -> Result<(), Failure> {
        let _turn = self.refreshing.lock().await;
        if !Arc::ptr_eq(&self.form(), old) {
            return Ok(());
        }
        let target = format!("{}/v1/files/uploads/{}?{FORM}", self.url, self.id);
        let answer = ask_again(&self.client, &self.token, Method::GET, &target, None).await?;
        let fresh = form_of(&upload_of(answer)?)?;
        if fresh == **old {
            return Err(Failure::new("the fresh form is the old one"));
        }
        *self.form.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    /// Says how many chunks there are, waits until the object is whole, and returns the file's id.
    pub(super) async fn finish(&self, nb_chunks: u32) -> Result<String, Failure> {
        let target = format!("{}/v1/files/uploads/{}", self.url, self.id);
        let body = json!({"upload": {"nb_chunks": nb_chunks}});
        let first = ask_again(&self.client, &self.token, Method::PUT, &target, Some(body));
        let ask = async || ask_again(&self.client, &self.token, Method::GET, &target, None).await;
        when_whole(self.key_and_id(), first.await?, ask).await
    }

    fn key_and_id(&self) -> (&str, &str) {
        (&self.object_key, &self.id)
    }
}

/// Asks again and again until the object is whole, and returns the file's id.
async fn when_whole(
    (key, id): (&str, &str),
    first: Answer,
    ask: impl AsyncFn() -> Result<Answer, Failure>,
) -> Result<String, Failure> {
    let mut answer = first;
    for _ in 0..MAX_POLLS {
        if answer.status == StatusCode::NOT_FOUND {
            return Err(gone((key, id), answer));
        }
        let upload = upload_of(answer)?;
        match member(&upload, "status")? {
            "COMPLETED" => return file_id(&upload),
            "COMPLETING" | "UPLOADING" => tokio::time::sleep(POLL_PAUSE).await,
            status => return Err(Failure::new(format!("the session is {status}"))),
        }
        answer = ask().await?;
    }
    Err(Failure::new(format!(
        "the session is not whole after {MAX_POLLS} questions; ask again with --resume {id}"
    )))
}

/// What became of a session that is not there any more though all its chunks arrived.
fn gone((key, id): (&str, &str), answer: Answer) -> Failure {
    let json = serde_json::from_slice(&answer.body).ok();
    Failure::new(format!(
        "{}. All chunks had arrived, and session {id} is not there any more: it was aborted, or expired, or something newer was stored as {key} before \
         it was whole, or its file is there and the session was swept. See what is stored as {key}; if it is not this file and is to be, upload it anew, without \
         --resume",
        refusal(&answer, json).trim_end_matches('.')
    ))
}

async fn ask(
    client: &Client,
    token: &str,
    method: Method,
    target: &str,
    body: Option<&Value>,
) -> Result<Answer, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(AUTHORIZATION, format!("Bearer {token}"));
    let request = match body {
        Some(body) => request
            .header(CONTENT_TYPE, "application/json")
            .body(Client::full(body.to_string())),
        None => request.body(Client::empty()),
    };
    let request = request.map_err(|error| Failure::of("--url or --token", error))?;
    Ok(client.send(request).await?)
}

/// As [`ask`], and again after a failure that may pass; only for requests that are harmless when repeated.
async fn ask_again(
    client: &Client,
    token: &str,
    method: Method,
    target: &str,
    body: Option<Value>,
) -> Result<Answer, Failure> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..MAX_ATTEMPTS {
        match ask(client, token, method.clone(), target, body.as_ref()).await {
            Ok(answer) if !answer.status.is_server_error() => return Ok(answer),
            _ => tokio::time::sleep(pause).await,
        }
        pause *= 2;
    }
    ask(client, token, method, target, body.as_ref()).await
}

fn upload_of(answer: Answer) -> Result<Value, Failure> {
    let json = serde_json::from_slice::<Value>(&answer.body);
    if !answer.status.is_success() {
        return Err(Failure::new(refusal(&answer, json.ok())));
    }
    let mut json = json.map_err(|error| Failure::of("the server's answer", error))?;
    Ok(json.get_mut("upload").map(Value::take).unwrap_or_default())
}

fn refusal(answer: &Answer, json: Option<Value>) -> String {
    let json = json.unwrap_or_default();
    let text = |place: &str| {
        json.pointer(place)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (message, detail) = (text("/error/error_message"), text("/error/error_detail"));
    let parts = [
        answer.status.to_string(),
        message.to_owned(),
        detail.to_owned(),
    ];
    parts
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(": ")
}

fn member<'a>(upload: &'a Value, name: &str) -> Result<&'a str, Failure> {
    let missing = || Failure::new(format!("the server's answer has no {name}"));
    upload.get(name).and_then(Value::as_str).ok_or_else(missing)
}

fn file_id(upload: &Value) -> Result<String, Failure> {
    let missing = || Failure::new("the server's answer has no file id");
    upload
        .pointer("/file/id")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(missing)
}

fn form_of(upload: &Value) -> Result<Form, Failure> {
    let broken = |what: &dyn Display| Failure::new(format!("the server's answer has no {what}"));
    let params = upload.get("form_post_params").and_then(Value::as_object);
    let params = params.ok_or_else(|| broken(&"form_post_params"))?;
    let params = params
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    Ok(Form {
        url: member(upload, "form_post_url")?.to_owned(),
        params,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.to_string().into(),
        }
    }

    fn session(status: &str) -> Answer {
        let upload = json!({"id": "ID", "status": status, "file": {"id": "ID"}});
        answer(200, &json!({ "upload": upload }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_never_gets_whole_is_given_up_with_a_word_on_how_to_go_on() {
        let asked = std::cell::Cell::new(0);
        let ask = async || {
            asked.set(asked.get() + 1);
            Ok(session("COMPLETING"))
        };
        let day = Duration::from_secs(24 * 3600);
        let waiting = when_whole(("film.mp4", "ID"), session("COMPLETING"), ask);
        let given_up = tokio::time::timeout(day, waiting).await.unwrap();
        let said = given_up.unwrap_err().message;
        assert!(said.contains("--resume ID"), "{said}");
        assert!(asked.get() > 600);
        let ask = async || Ok(session("COMPLETED"));
        let whole = when_whole(("film.mp4", "ID"), session("UPLOADING"), ask).await;
        assert_eq!(whole.unwrap(), "ID");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_session_that_gave_way_is_told_so_and_what_to_do() {
        let gone = || {
            let error = json!({"error_message": "gone", "error_detail": "It gave way."});
            answer(404, &json!({ "error": error }))
        };
        let ask = async || Ok(gone());
        for first in [session("COMPLETING"), gone()] {
            let told = when_whole(("film.mp4", "ID"), first, ask).await;
            let said = told.unwrap_err().message;
            for word in [
                "404",
                "It gave way. All",
                "session ID",
                "See what is stored as film.mp4",
                "without --resume",
            ] {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
    }
}
