//! Bodies: what a request brings, with a deadline that progress renews, and what an answer sends.
//!
//! Owns: [`RequestBody`], the one type through which every byte of a request is read. It counts, it times out when
//! nothing arrives for [`RequestBody::idle`], and it keeps a failure of the network apart from a mistake of the client.
//!
//! Never does: buffer without a limit; [`RequestBody::collect`] takes one, and `documents.rs` has one for all bodies together.
//!
//! Invariant: a body that is not read to its end is drained by `App::handle` within named bounds, so that a client that
//! is still sending can read the refusal (RFC 9112, section 9.6).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, Sleep};

use super::admission::Pace;
use super::documents::Documents;

/// What every answer carries.
#[derive(Debug)]
pub enum ResponseBody {
    /// All of it, in memory.
    Whole(Bytes),
    /// What is made or read while it is sent.
    Streamed(UnsyncBoxBody<Bytes, io::Error>),
}

impl ResponseBody {
    /// A body that is made or read while it is sent.
    pub fn streamed(body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> Self {
        Self::Streamed(body.boxed_unsync())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// Why a request body could not be read.
#[derive(Debug)]
pub enum BodyError {
    /// The client went away, or broke HTTP's framing.
    Disconnected(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing arrived for this long.
    Stalled(Duration),
    /// Hardly anything arrived for long, and another upload needed its place.
    GaveWay,
    /// Too many documents are in memory already.
    NoRoom,
    /// Too many lists are put together already.
    NoTurn,
    /// More than the limit, in bytes.
    TooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected(_) => {
                f.write_str("the body ended before its announced end, or its framing is broken")
            }
            Self::Stalled(idle) => {
                write!(f, "no byte of the body arrived for {} s", idle.as_secs())
            }
            Self::GaveWay => f.write_str(
                "hardly a byte of the body arrived for seconds, and others waited for its place",
            ),
            Self::NoRoom => f.write_str(
                "there is no room in memory for a document of this size beside those of others; please try again",
            ),
            Self::NoTurn => f.write_str(
                "too many lists were asked for at the same time; please try again",
            ),
            Self::TooLarge { max_bytes } => write!(f, "the body is larger than {max_bytes} bytes"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Disconnected(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}

/// The body of a request.
pub struct RequestBody {
    inner: BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>,
    idle: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    received: u64,
    ended: bool,
    /// For who may have to give way to others.
    pace: Option<Arc<Pace>>,
}

impl RequestBody {
    /// Wraps a body; `idle` is the longest wait for the next byte.
    pub fn new<B>(body: B, idle: Duration) -> Self
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let ended = body.is_end_stream();
        let inner = body.map_err(Into::into).boxed();
        Self {
            inner,
            idle,
            deadline: None,
            received: 0,
            ended,
            pace: None,
        }
    }

    /// A body that is all here; for tests and for requests without one.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::new(Full::new(bytes.into()), Duration::from_secs(30))
    }

    /// Bytes read so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the end was seen, or reading failed for good.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// How it comes in, from now on; who holds this may tell it to give way.
    pub(super) fn pace(&mut self) -> Arc<Pace> {
        Arc::clone(self.pace.get_or_insert_default())
    }

    /// The whole body, at most `max_bytes`, which has its room among all documents.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] past the limit, [`BodyError::NoRoom`] past the room; then the rest is not read.
    pub(super) async fn collect(
        &mut self,
        max_bytes: usize,
        documents: &Documents,
    ) -> Result<Bytes, BodyError> {
        let mut all = documents.gather(max_bytes, self.pace());
        while let Some(bytes) = self.next_bytes().await {
            all.push(&bytes?)?;
        }
        Ok(all.finish())
    }

    /// The next bytes; `None` at the end.
    pub async fn next_bytes(&mut self) -> Option<Result<Bytes, BodyError>> {
        std::future::poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// Reads and forgets, until the end, `max_bytes` or `max_wait`. Returns whether the end was seen.
    pub async fn drain(&mut self, max_bytes: u64, max_wait: Duration) -> bool {
        let stop_at = self.received.saturating_add(max_bytes);
        let reading = async {
            while self.received < stop_at {
                match self.next_bytes().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        };
        tokio::time::timeout(max_wait, reading)
            .await
            .unwrap_or(false)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        while !self.ended {
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                return self.poll_deadline(cx);
            };
            let data = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref());
            let came = data.map_or(0, Bytes::len);
            self.pace.iter().for_each(|pace| pace.came(came));
            match frame {
                Some(Ok(frame)) => {
                    self.deadline = None;
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    self.received += bytes.len() as u64;
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Err(source)) => return self.fail(BodyError::Disconnected(source)),
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.pace.as_ref().is_some_and(|pace| pace.waits(cx)) {
            return self.fail(BodyError::GaveWay);
        }
        let idle = self.idle;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + idle)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => self.fail(BodyError::Stalled(idle)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_bytes(cx)
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("received", &self.received)
            .field("ended", &self.ended)
            .finish()
    }
}

/// An answer's body that is all here.
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    ResponseBody::Whole(bytes.into())
}

/// An answer without a body.
pub fn empty() -> ResponseBody {
    ResponseBody::Whole(Bytes::new())
}

/// What HEAD gets of the answer to GET: its headers, the length among them, and no body. A 304 has no length of its own.
pub fn without_body(answer: Response<ResponseBody>) -> Response<ResponseBody> {
    let (mut head, body) = answer.into_parts();
    if head.status != StatusCode::NOT_MODIFIED
        && !head.headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::StreamBody;

    fn body_of(parts: Vec<&'static str>) -> RequestBody {
        let frames = parts
            .into_iter()
            .map(|part| Ok::<_, io::Error>(Frame::data(Bytes::from(part))));
        RequestBody::new(
            StreamBody::new(stream::iter(frames)),
            Duration::from_secs(30),
        )
    }

    #[tokio::test]
    async fn a_body_is_collected_up_to_its_limit() {
        let documents = Documents::default();
        let collected = body_of(vec!["ab", "cd"]).collect(4, &documents).await;
        assert_eq!(collected.unwrap(), "abcd");
        let refused = body_of(vec!["ab", "cd"]).collect(3, &documents).await;
        assert!(matches!(refused, Err(BodyError::TooLarge { max_bytes: 3 })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_stalls_and_one_that_goes_on_does_not() {
        let slow = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_secs(if n < 3 { 20 } else { 40 })).await;
            Some((
                Ok::<_, io::Error>(Frame::data(Bytes::from_static(b"x"))),
                n + 1,
            ))
        });
        let mut body = RequestBody::new(StreamBody::new(Box::pin(slow)), Duration::from_secs(30));
        for _ in 0..3 {
            assert!(matches!(body.next_bytes().await, Some(Ok(_))));
        }
        assert!(matches!(
            body.next_bytes().await,
            Some(Err(BodyError::Stalled(_)))
        ));
        assert_eq!(body.received(), 3);
    }

    #[tokio::test]
    async fn draining_stops_at_its_bound() {
        assert!(
            body_of(vec!["ab", "cd"])
                .drain(100, Duration::from_secs(1))
                .await
        );
        assert!(
            !body_of(vec!["ab", "cd", "ef"])
                .drain(3, Duration::from_secs(1))
                .await
        );
    }
}
