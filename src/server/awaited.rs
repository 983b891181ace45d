//! The body of a request, on its way in.
//!
//! Owns: [`Awaited`], which tells its connection's [`Activity`](super::activity::Activity) when it waits for the peer, and when enough came to be
//! called a sign of life.
//!
//! Never does: wait with a limit (`RequestBody` does), or judge who sends too slowly; `activity.rs` and `admission.rs` do.
//!
//! Invariant: what came is handed on as it came.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::Busy;

/// Bytes of a request's body that count as a sign of life; who sends one at a time is as good as silent.
const MOVED_BYTES: usize = 1024;

/// A request's body that says when it waits for the peer, and when enough came to call that a sign of life.
#[derive(Debug)]
pub(super) struct Awaited<B> {
    body: B,
    busy: Arc<Busy>,
    moved_bytes: usize,
}

impl<B> Awaited<B> {
    pub(super) fn new(body: B, busy: Arc<Busy>) -> Self {
        Self {
            body,
            busy,
            moved_bytes: 0,
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.busy.came(bytes);
        self.moved_bytes += bytes;
        if self.moved_bytes >= MOVED_BYTES {
            self.moved_bytes = 0;
            self.busy.moved();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Awaited<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => self.busy.receiving(),
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|f| f.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.moved(bytes);
                self.busy.received();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::activity::tests::LIMITS;
    use super::super::activity::{Activity, Patience, Quiet};
    use super::super::owed::Owed;
    use super::*;
    use crate::api::body::full;
    use http_body_util::BodyExt;

    /// A body of which so many bytes come each second.
    fn trickling(
        bytes: usize,
        busy: &Arc<Busy>,
    ) -> Awaited<impl Body<Data = Bytes, Error = std::io::Error> + Unpin + use<>> {
        let piece = Bytes::from(vec![b'x'; bytes]);
        let trickle = futures_util::stream::unfold(piece, |piece| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Frame::data(piece.clone())), piece))
        });
        let body = http_body_util::StreamBody::new(Box::pin(trickle));
        Awaited::new(body, Arc::clone(busy))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_keeps_no_answer_that_nobody_takes_and_one_that_moves_does() {
        for (bytes, stays) in [(1, false), (100, false), (4 << 10, true)] {
            let activity = Arc::new(Activity::new());
            let _held = Owed::new(full("answer"), 64, Arc::new(activity.begin()));
            let busy = Arc::new(activity.begin());
            let mut body = trickling(bytes, &busy);
            let reading = async {
                for _ in 0..100 {
                    assert!(body.frame().await.is_some());
                }
            };
            tokio::select! {
                () = reading => assert!(stays, "{bytes} bytes a second keep it"),
                quiet = activity.quiet(LIMITS) => {
                    assert_eq!(quiet, Quiet::Stalled);
                    assert!(!stays, "{bytes} bytes a second do not keep it");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_trickles_is_as_quiet_as_who_is_silent() {
        const PATIENCE: Patience = Patience {
            idle: IDLE,
            standing: STANDING,
            unproven: STANDING,
            sending: Duration::from_secs(60),
        };
        const IDLE: Duration = Duration::from_secs(1);
        const STANDING: Duration = Duration::from_secs(2);
        let activity = Arc::new(Activity::new());
        let busy = Arc::new(activity.begin());
        let mut body = trickling(1, &busy);
        assert_eq!(activity.quiet_for(PATIENCE), None, "it is our turn");
        for _ in 0..3 {
            assert!(body.frame().await.is_some());
        }
        let waiting = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
        assert!(waiting.is_err());
        let quiet = activity.quiet_for(PATIENCE).map(|quiet| quiet.as_secs());
        assert_eq!(quiet, Some(3));
        body.moved(MOVED_BYTES);
        assert_eq!(activity.quiet_for(PATIENCE), None, "it has moved");
        tokio::time::sleep(STANDING).await;
        assert_eq!(activity.quiet_for(PATIENCE), Some(STANDING));
        drop((body, busy));
        assert_eq!(activity.quiet_for(PATIENCE), None, "it may ask more");
        tokio::time::sleep(IDLE).await;
        assert_eq!(activity.quiet_for(PATIENCE), Some(IDLE));
    }
}
