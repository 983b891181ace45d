//! What the tests of the REST routes share: an application on an embedded store in a folder of its own, with a clock that
//! stands still, asked in-process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails loudly"
)]
#![allow(dead_code, unreachable_pub, reason = "no test crate uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use pillarbox::api::app::{App, AppOptions, Clock, Connection};
use pillarbox::api::body::{RequestBody, ResponseBody};
use pillarbox::model::{
    Application, Id, Pipeline, PipelineSettings, Scope, Scopes, Secret, Timestamp, Token, TokenHash,
};
use pillarbox::store::embedded::{EmbeddedStore, Options};
use pillarbox::store::{CatalogEntry, ChunkSpec, Expected, Store};
use serde_json::Value;
use tempfile::TempDir;

/// When every test begins: 2026-11-22T13:20:00Z.
pub const NOW: Timestamp = Timestamp::from_seconds(1_795_353_600);
/// The bearer token of every application that [`Rig`] makes.
pub const TOKEN: &str = "dev-token";
/// A pipeline that is there from the start.
pub const PIPELINE: &str = "547f3eede4b025bcbff38657";
/// A well-formed id that names nothing.
pub const NOBODY: &str = "000000000000000000000000";
/// The host that requests name.
pub const HOST: &str = "127.0.0.1:7080";

/// An application under test.
#[derive(Debug)]
pub struct Rig {
    /// The application.
    pub app: Arc<App>,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// Its clock; set it to let time pass.
    pub clock: Clock,
    folder: TempDir,
}

/// One answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Rig {
    /// An application with the options of `pillarbox dev` (token, keys, pipelines on first use); the pipeline [`PIPELINE`]
    /// is there.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with other options.
    pub async fn with(change: impl FnOnce(&mut AppOptions)) -> Self {
        Self::with_store(change, |_| {}).await
    }

    /// The same on a store with other options.
    pub async fn with_store(
        change: impl FnOnce(&mut AppOptions),
        change_store: impl FnOnce(&mut Options),
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pillarbox-test-")
            .tempdir()
            .unwrap();
        let rig = Self::in_folder(folder, Clock::fixed(NOW), change, change_store).await;
        rig.add_pipeline(PIPELINE, PipelineSettings::default())
            .await;
        rig.add_token(TOKEN, &[Scope::Mediahub], None).await;
        rig
    }

    /// The same after the program was stopped and started again, with other options.
    pub async fn restarted(self, change: impl FnOnce(&mut AppOptions)) -> Self {
        let Self {
            app,
            store,
            clock,
            folder,
        } = self;
        store.close().await.unwrap();
        drop((app, store));
        Self::in_folder(folder, clock, change, |_| {}).await
    }

    async fn in_folder(
        folder: TempDir,
        clock: Clock,
        change: impl FnOnce(&mut AppOptions),
        change_store: impl FnOnce(&mut Options),
    ) -> Self {
        let store: Arc<dyn Store> = open_store(&folder, change_store).await;
        let mut options = AppOptions {
            dev: true,
            ..AppOptions::default()
        };
        change(&mut options);
        let app = App::start(options, Arc::clone(&store), clock.clone());
        Self {
            app: app.await.unwrap(),
            store,
            clock,
            folder,
        }
    }

    /// The folder that the store lives in.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Adds a pipeline; a name is given to one that has none.
    pub async fn add_pipeline(&self, id: &str, mut settings: PipelineSettings) {
        if settings.name.is_empty() {
            settings.name = "movies".to_owned();
        }
        let pipeline = Pipeline {
            id: Id::parse(id).unwrap(),
            settings,
            version: 1,
            created_at: NOW,
            updated_at: NOW,
        };
        let entry = CatalogEntry::Pipeline(pipeline);
        self.store.insert(entry).await.unwrap();
    }

    /// Adds a bearer token.
    pub async fn add_token(&self, token: &str, scopes: &[Scope], expires_at: Option<Timestamp>) {
        let hash = TokenHash::of(token);
        let token = Token {
            id: Id::new(NOW, hash.as_bytes()[..8].try_into().unwrap()),
            hash,
            name: "test".to_owned(),
            scopes: Scopes::of(scopes),
            application: None,
            created_at: NOW,
            expires_at,
        };
        let entry = CatalogEntry::Token(token);
        self.store.insert(entry).await.unwrap();
    }

    /// Adds an application.
    pub async fn add_application(&self, id: &str, secret: &str, scopes: &[Scope]) {
        let application = Application {
            id: Id::parse(id).unwrap(),
            secret: Secret::new(secret.to_owned()),
            name: "player".to_owned(),
            scopes: Scopes::of(scopes),
            created_at: NOW,
        };
        let entry = CatalogEntry::Application(application);
        self.store.insert(entry).await.unwrap();
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        self.clock.set(self.clock.now().plus(span));
    }

    /// One request on the public listener, with exactly these headers besides `Host`.
    pub async fn request(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", HOST);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(RequestBody::whole(body.into())).unwrap();
        Answer::read(self.app.handle(request, connection()).await).await
    }

    /// One request on the control socket.
    pub async fn control(&self, method: &str, uri: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(RequestBody::whole(body.into())).unwrap();
        Answer::read(self.app.handle_control(request).await).await
    }

    /// One request on the admin listener.
    pub async fn admin(&self, method: &str, uri: &str) -> Answer {
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(RequestBody::whole("")).unwrap();
        Answer::read(self.app.handle_admin(request).await).await
    }

    /// Starts an upload of `object_key` in [`PIPELINE`] and returns its id.
    pub async fn start(&self, object_key: &str) -> String {
        let uri = format!("/v1/files/uploads/?object_key={object_key}&pipeline_id={PIPELINE}");
        let answer = self.ask("POST", &uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["upload"]["id"].as_str().unwrap().to_owned()
    }

    /// Puts one chunk on disk, past the form post.
    pub async fn put_chunk(&self, upload: &str, index: u32, nb_chunks: Option<u32>, bytes: &str) {
        let upload = Id::parse(upload).unwrap();
        let spec = ChunkSpec::new(index, nb_chunks);
        let mut writer = self.store.write_chunk(upload, spec).await.unwrap();
        writer.write(bytes.to_owned().into()).await.unwrap();
        let now = self.clock.now();
        writer.commit(Expected::default(), now).await.unwrap();
    }

    /// One request with the bearer token [`TOKEN`] and no body.
    pub async fn ask(&self, method: &str, uri: &str) -> Answer {
        self.send(method, uri, "").await
    }

    /// One request with the bearer token [`TOKEN`] and a body.
    pub async fn send(&self, method: &str, uri: &str, body: impl Into<Vec<u8>>) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        self.request(method, uri, &[("authorization", &bearer)], body)
            .await
    }
}

impl Answer {
    /// Reads an answer to its end.
    pub async fn read(response: http::Response<ResponseBody>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }

    /// A header's text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Status, code and detail of a refusal, from JSON or XML.
    pub fn refusal(&self) -> (u16, String, String) {
        let text = self.text();
        let member = |name: &str| {
            if self.header("content-type") == "application/json" {
                return self.json()["error"][name].as_str().unwrap().to_owned();
            }
            let (_, tail) = text.split_once(&format!("<{name}>")).unwrap();
            tail.split_once("</").unwrap().0.to_owned()
        };
        (
            self.status.as_u16(),
            member("error_code"),
            member("error_detail"),
        )
    }
}

/// A plain connection from the loopback.
pub fn connection() -> Connection {
    Connection {
        peer: Some(([127, 0, 0, 1], 50_000).into()),
        tls: false,
    }
}

async fn open_store(folder: &TempDir, change: impl FnOnce(&mut Options)) -> Arc<dyn Store> {
    let mut options = Options {
        ballast_bytes: 0,
        ..Options::new(folder.path())
    };
    change(&mut options);
    Arc::new(EmbeddedStore::open(options, NOW).await.unwrap())
}
