//! Answers that take long to find out, without a client that gives up meanwhile.
//!
//! Owns: the wait for an answer, and the blanks that are sent when it takes longer than [`SILENCE`]. The copy of an object of 5 GiB reads,
//! compares and writes every byte, which takes minutes on a slow disk; clients wait 60 s for a byte, and then begin anew, for ever.
//! `copy_file_range` would not help: it is as slow where blocks cannot be shared, and nobody would look at the bytes.
//! Never does: decide what is answered. Never holds more than one answer.
//!
//! Invariants: what is known within [`SILENCE`] has its own status and headers; later, 200 was said already and a failure stands in the
//! document, as Amazon does, and SDKs look for it there. Whoever goes away ends the work.
//!
//! Source: Amazon S3 API Reference, "CopyObject" and "CompleteMultipartUpload", on errors in answers of 200.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::timeout;

use super::super::body::ResponseBody;
use super::super::dialect::s3_error;
use super::super::dispatch::log_failure;
use super::super::error::ApiError;
use super::xml::{self, DECLARATION, Document};

/// Longest time without a byte.
const SILENCE: Duration = Duration::from_secs(10);

type Work = Pin<Box<dyn Future<Output = Result<Document, ApiError>> + Send>>;

/// The document that `work` comes to.
///
/// # Errors
/// What `work` says within [`SILENCE`].
pub(super) async fn answer(
    work: impl Future<Output = Result<Document, ApiError>> + Send + 'static,
    request_id: &str,
) -> Result<Response<ResponseBody>, ApiError> {
    let work = AssertUnwindSafe(work).catch_unwind();
    let work = work.map(|done| done.unwrap_or_else(|_| Err(ApiError::panicked())));
    let mut work: Work = Box::pin(work);
    if let Ok(done) = timeout(SILENCE, &mut work).await {
        return done.map(Document::answer);
    }
    let state = (Some(work), request_id.to_owned());
    let rest = stream::unfold(state, |(work, request_id)| async {
        let mut work = work?;
        let (text, left) = match timeout(SILENCE, &mut work).await {
            Err(_) => (" ".to_owned(), Some(work)),
            Ok(done) => (without_declaration(done, &request_id), None),
        };
        Some((text, (left, request_id)))
    });
    let first = stream::iter([DECLARATION.to_owned()]);
    let frames = stream::StreamExt::chain(first, rest);
    let frames = stream::StreamExt::map(frames, |text| {
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    });
    let body = StreamBody::new(frames).map_err(io::Error::other);
    Ok(xml::answer_with(ResponseBody::streamed(body)))
}

/// The document, or the failure, behind the declaration that was sent already.
fn without_declaration(done: Result<Document, ApiError>, request_id: &str) -> String {
    let text = match done {
        Ok(document) => document.finish(),
        Err(error) => {
            log_failure(&error, request_id);
            s3_error(&error, request_id)
        }
    };
    match text.strip_prefix(DECLARATION) {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::ErrorCode;
    use super::*;

    async fn after(seconds: u64, fails: bool) -> Result<Document, ApiError> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        match fails {
            true => Err(ApiError::new(ErrorCode::SlowDown, "no")),
            false => Ok(Document::new("Done")),
        }
    }

    async fn text(response: Response<ResponseBody>) -> String {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_soon_has_its_own_status() {
        let quick = answer(after(9, false), "1").await.unwrap();
        assert_eq!(text(quick).await, Document::new("Done").finish());
        let failed = answer(after(9, true), "1").await.unwrap_err();
        assert_eq!(failed.code, ErrorCode::SlowDown);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_waited_for_with_blanks_behind_the_declaration() {
        let done = Document::new("Done").finish();
        let done = done.strip_prefix(DECLARATION).unwrap();
        let slow = answer(after(45, false), "1").await.unwrap();
        assert_eq!(text(slow).await, format!("{DECLARATION}   {done}"));
        let failed = text(answer(after(25, true), "1").await.unwrap()).await;
        let rest = failed.strip_prefix(DECLARATION).unwrap();
        assert!(
            rest.starts_with(" <Error><Code>SlowDown</Code>"),
            "{failed}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_of_the_one_request() {
        let panics = async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            panic!("a test")
        };
        let failed = text(answer(panics, "1").await.unwrap()).await;
        assert!(failed.contains("<Code>InternalError</Code>"), "{failed}");
    }
}
