//! Every byte against its checksum, told line by line.
//!
//! Owns: the stream of `POST /verify`, one JSON value a line: `{"object", "done", "total", "bytes"}` for each object that is
//! whole (`bytes` of all so far), `{"object", "damaged"}` with the reason for one that is not, and at the end
//! `{"verified", "damaged"}`. A stream without that last line did not reach its end; `{"error"}` then says why. What passes by itself
//! (no descriptor is left, the store is busy) is no damage: it is waited for, and ends the stream only after [`PATIENCE`].
//!
//! Never does: change anything. Invariants: memory is bounded by one page of files; when the reader goes away, the work
//! stops. A page begins behind the last file that was seen, so files that come and go meanwhile hide no other, and the cost of a page
//! does not grow with what was seen.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::app::App;
use super::super::body::ResponseBody;
use crate::model::{Id, ObjectMeta, Timestamp};
use crate::store::{FileQuery, ObjectName, StoreError};

/// Files of one page.
const PAGE: usize = 1000;
/// How long a shortage that passes by itself is waited for, each time; others have a descriptor for as long as their transfers take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// The answer to `POST /verify`.
pub(super) fn stream(app: &Arc<App>) -> Response<ResponseBody> {
    let check = Check::new(Arc::clone(app), PAGE);
    let lines = stream::unfold(check, |mut check| async move {
        let line = check.next_line().await?;
        let frame = Frame::data(Bytes::from(format!("{line}\n")));
        Some((Ok::<_, io::Error>(frame), check))
    });
    let mut response = Response::new(ResponseBody::streamed(StreamBody::new(lines)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A check under way.
struct Check {
    app: Arc<App>,
    page: usize,
    pending: VecDeque<ObjectMeta>,
    /// The last file that was seen.
    last: Option<(Timestamp, Id)>,
    total: usize,
    bytes: u64,
    verified: u64,
    damaged: u64,
    ended: bool,
}

impl Check {
    fn new(app: Arc<App>, page: usize) -> Self {
        Self {
            app,
            page,
            pending: VecDeque::new(),
            last: None,
            total: 0,
            bytes: 0,
            verified: 0,
            damaged: 0,
            ended: false,
        }
    }

    /// The next line; `None` after the last.
    async fn next_line(&mut self) -> Option<Value> {
        while !self.ended {
            if let Some(file) = self.pending.pop_front() {
                if let Some(line) = self.check(&file).await {
                    return Some(line);
                }
                continue;
            }
            match self.turn_page().await {
                Ok(true) => {}
                Ok(false) => return Some(self.end()),
                Err(error) => return Some(self.give_up("the list of files", &error)),
            }
        }
        None
    }

    /// Reads one object whole; nothing is said of one that was deleted meanwhile.
    async fn check(&mut self, file: &ObjectMeta) -> Option<Value> {
        let (app, name) = (Arc::clone(&self.app), ObjectName::Id(file.id));
        let outcome = patiently(|| app.store.verify(&name, app.clock.now())).await;
        self.told(file, outcome.map(drop))
    }

    /// What is said of an object.
    fn told(&mut self, file: &ObjectMeta, outcome: Result<(), StoreError>) -> Option<Value> {
        let object = format!("{}/{}", file.bucket, file.key);
        match outcome {
            Ok(()) => {
                self.verified += 1;
                self.bytes = self.bytes.saturating_add(file.size);
                let done = self.verified.saturating_add(self.damaged);
                Some(json!({
                    "object": object, "done": done, "total": self.total, "bytes": self.bytes,
                }))
            }
            Err(StoreError::NoSuchObject) => None,
            Err(error) => {
                let reason = match error {
                    StoreError::Corrupt(what) => what,
                    StoreError::Io { .. } => error.to_string(),
                    other => return Some(self.give_up(&object, &other)),
                };
                self.damaged += 1;
                Some(json!({ "object": object, "damaged": reason }))
            }
        }
    }

    /// Takes the files behind the last one seen; false when there are none.
    async fn turn_page(&mut self) -> Result<bool, StoreError> {
        let query = FileQuery {
            behind: self.last,
            limit: self.page,
            ..FileQuery::default()
        };
        let app = Arc::clone(&self.app);
        let page = patiently(|| app.store.list_files(&query, app.clock.now())).await?;
        self.total = page.total;
        self.pending = page.files.into();
        let place = |file: &ObjectMeta| (file.created_at, file.id);
        self.last = self.pending.back().map(place).or(self.last);
        Ok(!self.pending.is_empty())
    }

    fn give_up(&mut self, what: &str, why: &StoreError) -> Value {
        self.ended = true;
        json!({ "error": format!("{what}: {why}") })
    }

    fn end(&mut self) -> Value {
        self.ended = true;
        json!({ "verified": self.verified, "damaged": self.damaged })
    }
}

/// What `act` comes to when nothing is short; or, after [`PATIENCE`], that something still is.
async fn patiently<T, F>(act: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut short_since = None;
    loop {
        let done = act().await;
        if !matches!(done, Err(StoreError::TooManyFiles | StoreError::Busy)) {
            return done;
        }
        if short_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            return done;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::app::{AppOptions, Clock};
    use crate::model::{NewUpload, ObjectKey};
    use crate::store::embedded::{EmbeddedStore, Options};
    use crate::store::{Expected, Store};

    const NOW: Timestamp = Timestamp::from_seconds(1_403_257_566);

    async fn app_with(ids: impl Iterator<Item = u8>) -> (Arc<App>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            ballast_bytes: 0,
            ..Options::new(folder.path())
        };
        let store = EmbeddedStore::open(options, NOW).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let app = App::start(AppOptions::default(), store, Clock::fixed(NOW));
        let app = app.await.unwrap();
        for id in ids {
            add(&app, id).await;
        }
        (app, folder)
    }

    fn id_of(id: u8) -> Id {
        Id::from_bytes([id; 12])
    }

    async fn add(app: &App, id: u8) {
        let new = NewUpload {
            id: id_of(id),
            bucket: app.options.bucket.clone(),
            key: ObjectKey::parse(&id.to_string()).unwrap(),
            pipeline: None,
            expires_at: None,
            headers: Default::default(),
            attributes: Default::default(),
            application: None,
            created_at: NOW,
            abandoned_at: NOW,
            form_post_url: String::new(),
            answer: Default::default(),
        };
        let mut writer = app.store.write_object(new).await.unwrap();
        writer.write(Bytes::from_static(b"abcd")).await.unwrap();
        writer.commit(Expected::default(), NOW).await.unwrap();
    }

    /// The objects that `lines` lines name.
    async fn read(check: &mut Check, lines: usize) -> Vec<String> {
        let mut named = Vec::new();
        for _ in 0..lines {
            let Some(line) = check.next_line().await else {
                break;
            };
            named.extend(
                line["object"]
                    .as_str()
                    .map(|name| name.replace("uploads/", "")),
            );
        }
        named
    }

    #[tokio::test]
    async fn files_that_go_while_the_pages_turn_hide_no_other() {
        let (app, _folder) = app_with(1..=9).await;
        let mut check = Check::new(Arc::clone(&app), 2);
        assert_eq!(read(&mut check, 4).await, ["1", "2", "3", "4"]);
        for gone in [1, 3, 4, 7] {
            let name = ObjectName::Id(id_of(gone));
            app.store.delete_object(&name, NOW).await.unwrap();
        }
        assert_eq!(read(&mut check, 9).await, ["5", "6", "8", "9"]);
    }

    #[tokio::test]
    async fn files_that_come_while_the_pages_turn_are_checked_once_if_at_all() {
        let (app, _folder) = app_with([10, 20, 30, 40].into_iter()).await;
        let mut check = Check::new(Arc::clone(&app), 2);
        assert_eq!(read(&mut check, 2).await, ["10", "20"]);
        for new in [5, 6, 7, 15, 35] {
            add(&app, new).await;
        }
        assert_eq!(read(&mut check, 9).await, ["30", "35", "40"]);
        assert!(check.ended);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_for_and_not_for_ever() {
        for (short, is_over) in [(PATIENCE / 2, true), (PATIENCE * 2, false)] {
            let began = Instant::now();
            let act = || async move {
                match began.elapsed() < short {
                    true => Err(StoreError::TooManyFiles),
                    false => Ok(()),
                }
            };
            let done = patiently(act).await;
            assert_eq!(done.is_ok(), is_over, "{done:?}");
            assert!(began.elapsed() <= PATIENCE + PAUSE);
        }
        let began = Instant::now();
        let damaged = || async { Err::<(), _>(StoreError::Corrupt("x".to_owned())) };
        assert!(patiently(damaged).await.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn only_what_cannot_be_read_is_damage_and_any_other_failure_ends_the_run() {
        let (app, _folder) = app_with([1].into_iter()).await;
        let file = app.store.object(&ObjectName::Id(id_of(1)), NOW).await;
        let file = file.unwrap();
        let io = StoreError::from_io("test", io::Error::other("broken"));
        for damage in [StoreError::Corrupt("other bytes".to_owned()), io] {
            let mut check = Check::new(Arc::clone(&app), 2);
            let line = check.told(&file, Err(damage)).unwrap();
            assert!(line["damaged"].is_string(), "{line}");
            assert_eq!((check.damaged, check.ended), (1, false));
        }
        for passing in [StoreError::TooManyFiles, StoreError::Busy] {
            let mut check = Check::new(Arc::clone(&app), 2);
            let line = check.told(&file, Err(passing)).unwrap();
            let why = line["error"].as_str().unwrap_or_default();
            assert!(why.starts_with("uploads/1: "), "{line}");
            assert_eq!(check.damaged, 0);
            assert_eq!(check.next_line().await, None);
        }
    }
}
