//! An answer on its way to the protocol.
//!
//! Owns: [`Owed`], the body of an answer that says when it waits for the peer and when for us, and how large the pieces are in which it is handed
//! on. What was handed on is out of our sight, in buffers of the protocol and of the kernel.
//! Never does: send, or end a connection.
//!
//! Invariants: an answer is owed until its last piece is handed on; a document, which is in memory whole, until the last of its bytes is dropped,
//! for the protocol keeps pieces of it while the socket is full.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::Busy;
use crate::api::body::{ResponseBody, full};
use crate::api::documents::SMALL_DOCUMENT_BYTES;

/// From this many bytes handed to the connection at once its answer counts as large.
const MUCH_BYTES: usize = 32 << 10;

/// Bytes of a document that are handed on at once, a frame of HTTP/2: each counts as taken when it is gone.
const DOCUMENT_PIECE_BYTES: usize = 16 << 10;

/// A document that is owed while any of its bytes is here.
struct OnItsWay {
    bytes: Bytes,
    busy: Arc<Busy>,
}

impl OnItsWay {
    fn bytes(bytes: Bytes, busy: Arc<Busy>) -> Bytes {
        busy.document(bytes.len());
        Bytes::from_owner(Self { bytes, busy })
    }
}

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.busy.document_gone(self.bytes.len());
    }
}

/// A piece of a document, which the peer has taken when it is dropped.
struct Piece {
    bytes: Bytes,
    busy: Arc<Busy>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.busy.document_took(self.bytes.len());
    }
}

/// An answer's body that keeps its connection busy until it is sent. Between two polls it waits for the peer to make room;
/// after a poll that found nothing yet, it waits for us.
#[derive(Debug)]
pub(super) struct Owed {
    body: ResponseBody,
    /// Of a frame that was longer than a piece.
    rest: Bytes,
    piece_bytes: usize,
    is_document: bool,
    busy: Arc<Busy>,
}

impl Owed {
    /// A body that is handed on in pieces of at most `piece_bytes`.
    pub(super) fn new(body: ResponseBody, piece_bytes: usize, busy: Arc<Busy>) -> Self {
        busy.set_working(false);
        let (body, piece_bytes, is_document) = match body {
            ResponseBody::Whole(bytes) if bytes.len() > SMALL_DOCUMENT_BYTES => (
                full(OnItsWay::bytes(bytes, Arc::clone(&busy))),
                piece_bytes.min(DOCUMENT_PIECE_BYTES),
                true,
            ),
            other => (other, piece_bytes, false),
        };
        Self {
            body,
            rest: Bytes::new(),
            piece_bytes,
            is_document,
            busy,
        }
    }

    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        if self.rest.is_empty() {
            return None;
        }
        let length = self.rest.len().min(self.piece_bytes);
        let much = match self.is_document {
            true => self.rest.len(),
            false => length,
        };
        if much >= MUCH_BYTES {
            self.busy.sends_much();
        }
        let bytes = self.rest.split_to(length);
        Some(Frame::data(match self.is_document {
            true => {
                let busy = Arc::clone(&self.busy);
                Bytes::from_owner(Piece { bytes, busy })
            }
            false => bytes,
        }))
    }
}

impl Body for Owed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(piece) = self.next_piece() {
            self.busy.set_working(false);
            return Poll::Ready(Some(Ok(piece)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.busy.set_working(polled.is_pending());
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                let piece = self.next_piece();
                piece.unwrap_or_else(|| Frame::data(Bytes::new()))
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::activity::Activity;
    use super::*;
    use crate::api::body::full;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_answer_is_handed_on_in_pieces_and_whole() {
        let activity = Arc::new(Activity::new());
        let mut body = Owed::new(full("0123456789"), 4, Arc::new(activity.begin()));
        assert_eq!(body.size_hint().exact(), Some(10));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "0123");
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(6));
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "456789");
    }

    #[tokio::test]
    async fn a_document_is_handed_on_in_small_pieces_whatever_the_protocol() {
        let activity = Arc::new(Activity::new());
        let document = full(vec![7; 3 * DOCUMENT_PIECE_BYTES]);
        let mut body = Owed::new(document, usize::MAX, Arc::new(activity.begin()));
        for _ in 0..3 {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), DOCUMENT_PIECE_BYTES);
        }
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_of_a_document_makes_up_for_time_and_what_is_kept_of_it_does_not() {
        for (keeps, millis, stays) in [(false, 400, true), (false, 600, false), (true, 100, false)]
        {
            let activity = Arc::new(Activity::new());
            let document = full(vec![7; 30 * DOCUMENT_PIECE_BYTES]);
            let mut body = Owed::new(document, usize::MAX, Arc::new(activity.begin()));
            let taking = async {
                let mut kept = Vec::new();
                for _ in 0..30 {
                    kept.push(body.frame().await);
                    activity.took(DOCUMENT_PIECE_BYTES);
                    if !keeps {
                        kept.clear();
                    }
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
            };
            tokio::select! {
                () = taking => assert!(stays, "{keeps} {millis}"),
                () = activity.overdue() => assert!(!stays, "{keeps} {millis}"),
            }
        }
    }
}
