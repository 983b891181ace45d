//! The way to what a server manages: tokens, applications, keys, pipelines.
//!
//! Owns: [`Control`], and the only roads to it, [`Settings::with_store`] and [`Settings::with_new_store`]. When a server runs on the data
//! folder it is asked over the control socket; when none runs, the store is opened here and the same requests are answered by the same code,
//! in this process. The verbs cannot tell which.
//!
//! Never does: know what the answers mean; the verbs do.
//!
//! Invariants: an answer is read up to [`MAX_ANSWER_BYTES`]; a stream is read line by line. What a verb prints of its answer is printed before
//! the store is let go of: a secret is shown once, and a store that does not close must not take it along.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::launch::{close, open_store};
use super::ownership::{FORMAT, judged, owner_of, refuse_foreign};
use super::{Failure, Settings, chain};
use crate::api::app::{App, Clock};
use crate::api::body::{RequestBody, ResponseBody};
use crate::config::Config;
use crate::server::{control, telemetry};
use crate::store::Store;

/// Largest answer that is held whole, in bytes: a full catalog's list.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What is to be done about a file system that takes no writes.
const READ_ONLY: &str = "; the file system is read-only here, and a store must be written to be used at all, also to be verified: \
     mount it for writing (under systemd, ReadWritePaths= must name the folder), or copy the folder elsewhere with `cp -a`, which keeps \
     extended attributes, and name the copy by --data";
/// Longest line of a stream, in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// How often a request is begun at most.
const MAX_TRIES: u32 = 3;

/// A server, or what stands in for it.
pub(super) enum Control {
    /// A server runs on the data folder.
    Running {
        sender: SendRequest<Full<Bytes>>,
        data: PathBuf,
    },
    /// None runs; this process holds the store.
    Here {
        app: Arc<App>,
        store: Arc<dyn Store>,
    },
}

impl Settings {
    /// Acts on the server or the store of the data folder, where there must be one: a mistyped folder is told, and not made one.
    pub(super) async fn with_store(
        &self,
        act: impl AsyncFnOnce(&mut Control) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config = self.load(Vec::new())?;
        refuse_absent(&config.store.data)?;
        Control::open(&config).await?.during(act).await
    }

    /// The same, where a store is made when there is none.
    pub(super) async fn with_new_store(
        &self,
        act: impl AsyncFnOnce(&mut Control) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let config = self.load(Vec::new())?;
        Control::open(&config).await?.during(act).await
    }
}

impl Control {
    /// Reaches the server of `config`'s data folder, or opens the store.
    async fn open(config: &Config) -> Result<Self, Failure> {
        let data = &config.store.data;
        let reached = control::connect(data).await.map_err(|error| {
            let (place, remedy) = (data.display(), remedy(data, error.kind()));
            Failure::new(format!("control socket in {place}: {error}{remedy}"))
        })?;
        match reached {
            Some(stream) => {
                let sender = begin(stream).await?;
                let data = data.clone();
                Ok(Self::Running { sender, data })
            }
            None => Self::here(config).await,
        }
    }

    async fn during(
        mut self,
        act: impl AsyncFnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let done = act(&mut self).await;
        done.and(self.close().await)
    }

    async fn here(config: &Config) -> Result<Self, Failure> {
        refuse_foreign(&config.store.data)?;
        telemetry::init_of_verb();
        let clock = Clock::system();
        let store = open_store(judged(config.store.options_of_verb()), &clock).await?;
        match App::start(config.app.clone(), Arc::clone(&store), clock).await {
            Ok(app) => Ok(Self::Here { app, store }),
            Err(error) => {
                close(store).await;
                Err(Failure::of("cannot start", chain(&error)))
            }
        }
    }

    /// Sends a request and returns the answer's JSON; an answer without a body is `null`.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        target: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let response = self.send(method, target, body).await?;
        let bytes = collect(response.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| Failure::of("the server's answer", error))
    }

    /// Sends a request and hands every line of the answer to `each`, as JSON.
    pub(super) async fn stream(
        &mut self,
        method: Method,
        target: &str,
        mut each: impl FnMut(Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut body = self.send(method, target, None).await?.into_body();
        let mut pending = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::of("the server's answer", error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line = pending.split_to(end + 1);
                each(json_line(&line)?)?;
            }
            if pending.len() > MAX_LINE_BYTES {
                return Err(Failure::new("the server's answer has a line without end"));
            }
        }
        Ok(())
    }

    /// Lets go of the store when it was opened here.
    async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Running { .. } => Ok(()),
            Self::Here { store, .. } => store
                .close()
                .await
                .map_err(|error| Failure::of("closing the store", error)),
        }
    }

    async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: Option<Value>,
    ) -> Result<Response<ResponseBody>, Failure> {
        let bytes = body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::HOST, "control")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(bytes)
            .map_err(|error| Failure::of("request", error))?;
        let response = self.exchange(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = collect(response.into_body()).await?;
        Err(Failure::new(
            reason(&bytes).unwrap_or_else(|| format!("the server answered {status}")),
        ))
    }

    async fn exchange(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<Response<ResponseBody>, Failure> {
        match self {
            Self::Running { sender, data } => {
                let response = ask_running(sender, data, &request.map(Full::new)).await?;
                Ok(response.map(|body| ResponseBody::streamed(body.map_err(io::Error::other))))
            }
            Self::Here { app, .. } => {
                let request = request.map(RequestBody::whole);
                Ok(app.handle_control(request).await)
            }
        }
    }
}

/// Begins to speak HTTP on a connection.
async fn begin(stream: UnixStream) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::of("control socket", error))?;
    // It ends with the connection; a failure shows in the request that waits for it.
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends a request; on a connection that was closed before the request could be sent (a busy or restarted server does that) it
/// is sent again on a new one, so it never acts twice.
async fn ask_running(
    sender: &mut SendRequest<Full<Bytes>>,
    data: &Path,
    request: &Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    for _ in 1..MAX_TRIES {
        match sender.send_request(request.clone()).await {
            Err(error) if error.is_canceled() => {
                let reached = control::connect(data).await.ok().flatten();
                let gone = || Failure::of("control socket", "the server went away");
                *sender = begin(reached.ok_or_else(gone)?).await?;
            }
            other => return other.map_err(|error| Failure::of("control socket", error)),
        }
    }
    let last = sender.send_request(request.clone()).await;
    last.map_err(|error| Failure::of("control socket", error))
}

/// Whoever only asks of a store, or mends it, makes none.
pub(super) fn refuse_absent(data: &Path) -> Result<(), Failure> {
    let format = std::fs::symlink_metadata(data.join(FORMAT));
    match format.map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(Failure::new(format!(
            "there is no store in {}; --data or store.data names another folder",
            data.display()
        ))),
        _ => Ok(()),
    }
}

/// What is to be done, as the end of a sentence, when the system lets us not into the data folder in this way.
pub(super) fn remedy(data: &Path, kind: io::ErrorKind) -> String {
    let ours = rustix::process::geteuid().as_raw();
    match (kind, owner_of(data)) {
        (io::ErrorKind::ReadOnlyFilesystem, _) => READ_ONLY.to_owned(),
        (io::ErrorKind::PermissionDenied, Some(theirs)) if theirs != ours => {
            format!(
                "; the folder belongs to user {theirs}, and this is user {ours}: run it as that user"
            )
        }
        _ => String::new(),
    }
}

async fn collect(body: ResponseBody) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(body, MAX_ANSWER_BYTES);
    let collected = limited.collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| Failure::of("the server's answer", error))
}

fn json_line(line: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(line).map_err(|error| Failure::of("the server's answer", error))
}

/// The message of a refusal.
fn reason(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    Some(value.pointer("/error/message")?.as_str()?.to_owned())
}

/// Text of a member, for a table; `-` when it is absent.
pub(super) fn cell(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().unwrap_or_default());
            texts.collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

/// The entries of a list answer: an array, or the only array in an object.
pub(super) fn entries(answer: &Value) -> &[Value] {
    let list = answer
        .as_array()
        .or_else(|| answer.as_object()?.values().find_map(Value::as_array));
    list.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_told_with_what_to_do_about_it() {
        let told = remedy(Path::new("/"), io::ErrorKind::ReadOnlyFilesystem);
        for word in ["read-only", "cp -a", "--data", "ReadWritePaths="] {
            assert!(told.contains(word), "{told}");
        }
        let ours = tempfile::tempdir().unwrap();
        let denied = remedy(ours.path(), io::ErrorKind::PermissionDenied);
        assert_eq!(denied, "", "nobody else can be asked");
    }
}
