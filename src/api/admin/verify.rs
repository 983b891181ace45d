//! Every byte against its checksum, told line by line.
//!
//! Owns: the stream of `POST /verify`, one JSON value a line: `{"object", "done", "total", "bytes"}` for each object that is
//! whole (`bytes` of all so far), `{"object", "damaged"}` with the reason for one that is not, and at the end
//! `{"verified", "damaged"}`. A stream without that last line did not reach its end; `{"error"}` then says why.
//!
//! Never does: change anything. Invariants: memory is bounded by one page of files; when the reader goes away, the work
//! stops. Files that come and go meanwhile shift the pages: the last file seen is looked for again at the head of
//! the next page, so that none is passed over.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::body::ResponseBody;
use crate::model::{Id, ObjectMeta};
use crate::store::{FileQuery, ObjectName, SortKey, StoreError};

/// Files of one page.
const PAGE: usize = 1000;

/// The answer to `POST /verify`.
pub(super) fn stream(app: &Arc<App>) -> Response<ResponseBody> {
    let check = Check::new(Arc::clone(app));
    let lines = stream::unfold(check, |mut check| async move {
        let line = check.next_line().await?;
        let frame = Frame::data(Bytes::from(format!("{line}\n")));
        Some((Ok::<_, io::Error>(frame), check))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
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
    pending: VecDeque<ObjectMeta>,
    /// Where the next page begins: at the last file that was seen.
    start: usize,
    last: Option<Id>,
    total: usize,
    bytes: u64,
    verified: u64,
    damaged: u64,
    ended: bool,
}

impl Check {
    fn new(app: Arc<App>) -> Self {
        Self {
            app,
            pending: VecDeque::new(),
            start: 0,
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
                Err(error) => {
                    self.ended = true;
                    return Some(json!({ "error": format!("the list of files: {error}") }));
                }
            }
        }
        None
    }

    /// Reads one object whole; nothing is said of one that was deleted meanwhile.
    async fn check(&mut self, file: &ObjectMeta) -> Option<Value> {
        let object = format!("{}/{}", file.bucket, file.key);
        let now = self.app.clock.now();
        match self.app.store.verify(&ObjectName::Id(file.id), now).await {
            Ok(_) => {
                self.verified += 1;
                self.bytes = self.bytes.saturating_add(file.size);
                let done = self.verified.saturating_add(self.damaged);
                Some(json!({
                    "object": object, "done": done, "total": self.total, "bytes": self.bytes,
                }))
            }
            Err(StoreError::NoSuchObject) => None,
            Err(error) => {
                self.damaged += 1;
                Some(json!({ "object": object, "damaged": error.to_string() }))
            }
        }
    }

    /// Takes the files behind the last one seen; false when there are none.
    async fn turn_page(&mut self) -> Result<bool, String> {
        loop {
            let page = self.page().await.map_err(|error| error.to_string())?;
            self.total = page.total;
            let is_fresh = |file: &ObjectMeta| Some(file.id) > self.last;
            if self.start > 0 && page.files.first().is_none_or(is_fresh) {
                // Files in front of this page were deleted, so others may have moved out of sight.
                self.start = self.start.saturating_sub(PAGE);
                continue;
            }
            let end = self.start + page.files.len();
            self.pending = page.files.into_iter().filter(is_fresh).collect();
            self.last = self.pending.back().map(|file| file.id).or(self.last);
            self.start = end.saturating_sub(1);
            if !self.pending.is_empty() || end >= self.total {
                return Ok(!self.pending.is_empty());
            }
            if end > FileQuery::MAX_START {
                let max = FileQuery::MAX_START;
                return Err(format!("more than {max} files cannot be listed"));
            }
        }
    }

    async fn page(&self) -> Result<crate::store::FilePage, StoreError> {
        let query = FileQuery {
            sort: SortKey::Id,
            start: self.start,
            limit: PAGE,
            ..FileQuery::default()
        };
        let now = self.app.clock.now();
        self.app.store.list_files(&query, now).await
    }

    fn end(&mut self) -> Value {
        self.ended = true;
        json!({ "verified": self.verified, "damaged": self.damaged })
    }
}
