//! One connection: the TLS handshake, the protocol, the deadlines, the end.
//!
//! Owns: how long each wait on a peer may take. The handshake has its own limit. For HTTP/1.1 hyper watches the header
//! (which is also the limit of idleness) and the socket wrapper cuts a write that makes no progress. For HTTP/2 hyper has no
//! limit for a connection that never sends its preface or opens no stream, and in neither protocol for a peer that takes next to nothing of its
//! answers, so that is watched here. The wait for a byte of a request's body belongs to `RequestBody`.
//!
//! Never does: look into a request.
//!
//! The roads that a connection can take are boxed, or each would be as large as the largest.
//!
//! Invariants: the protocol is chosen by ALPN, plain TCP is HTTP/1.1 only (hyper's automatic choice waits without a
//! limit). When the server stops, a connection ends after the answers it owes.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_io_timeout::TimeoutStream;
use tokio_util::io::InspectWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{Activity, Busy, Limits, Quiet};
use super::awaited::Awaited;
use super::crowd::Seat;
use super::listener::Accepted;
use super::owed::Owed;
use super::{Life, Shared, capacity, reading};
use crate::api::app::Connection;
use crate::api::body::RequestBody;

/// Most bytes of a request's header, in either protocol.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Most header fields of a request (HTTP/1.1).
const MAX_HEADERS: usize = 100;

/// Bytes of a body that an HTTP/2 client may send ahead, on one stream: the first while there are many connections, the last while there are few.
const STREAM_WINDOW_BYTES: RangeInclusive<u32> = 64 * 1024..=4 * 1024 * 1024;

/// Bytes of all bodies that an HTTP/2 client may send ahead, on one connection.
const CONNECTION_WINDOW_BYTES: RangeInclusive<u32> = 256 * 1024..=16 * 1024 * 1024;

/// Bytes that may be sent ahead on all connections together, as far as the smallest window allows.
const ALL_WINDOWS_BYTES: usize = 32 * 1024 * 1024;

/// Streams whose windows a connection has room for: one that nobody reads is not to hold up the others.
const STREAMS_AHEAD: u32 = 4;

/// Bytes of answers that wait to be sent, on one HTTP/2 stream: the first while there are many, the last while there are few.
const SEND_BUFFER_BYTES: RangeInclusive<usize> = 16 * 1024..=256 * 1024;

/// Bytes of answers that wait to be sent on all streams together, as far as the smallest buffer allows.
const ALL_SEND_BUFFERS_BYTES: usize = 16 * 1024 * 1024;

/// Time between two pings on a silent HTTP/2 connection.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Longest wait for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Most bytes of an answer handed to HTTP/2 at once. It takes a whole piece as soon as the peer has room for one byte, so
/// this bounds what is held for a peer that takes no more, and what may be unsent when an answer counts as sent.
const STREAM_PIECE_BYTES: usize = 64 * 1024;

/// When the server stops: how long a connection that it has already taken, and that asked nothing yet, may still begin.
const GOODBYE: Duration = Duration::from_secs(1);

/// Which of the application's doors a socket leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Public,
    Admin,
    Control,
}

/// What all requests of one connection share.
struct Conversation {
    shared: Arc<Shared>,
    door: Door,
    from: Connection,
    activity: Arc<Activity>,
}

impl Conversation {
    /// What hyper asks; each answer goes out in pieces of at most so many bytes.
    fn service(
        self: &Arc<Self>,
        piece_bytes: usize,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Owed>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Owed>, Infallible>> + Send + use<>,
    > + use<> {
        let conversation = Arc::clone(self);
        service_fn(move |request| {
            let busy = conversation.activity.begin();
            Arc::clone(&conversation).answer(busy, request, piece_bytes)
        })
    }

    async fn answer(
        self: Arc<Self>,
        busy: Busy,
        request: Request<Incoming>,
        piece_bytes: usize,
    ) -> Result<Response<Owed>, Infallible> {
        let idle = self.shared.options.body_idle_timeout;
        let busy = Arc::new(busy);
        let request =
            request.map(|body| RequestBody::new(Awaited::new(body, Arc::clone(&busy)), idle));
        let app = &self.shared.app;
        let response = match self.door {
            Door::Public => app.handle(request, self.from).await,
            Door::Admin => app.handle_admin(request).await,
            Door::Control => app.handle_control(request).await,
        };
        Ok(response.map(|body| Owed::new(body, piece_bytes, busy)))
    }
}

/// Serves one connection to its end, or until it must go.
pub(super) async fn drive(shared: Arc<Shared>, accepted: Accepted, door: Door, seat: Seat) {
    let conversation = |peer, tls| {
        Arc::new(Conversation {
            shared: Arc::clone(&shared),
            door,
            from: Connection { peer, tls },
            activity: Arc::clone(&seat.activity),
        })
    };
    let serving = async {
        match accepted {
            Accepted::Unix(stream) => {
                Box::pin(serve_http1(&conversation(None, false), stream)).await;
            }
            Accepted::Tcp { stream, peer, tls } => {
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(shared.options.body_idle_timeout));
                let conversation = conversation(Some(peer), tls);
                Box::pin(serve_tcp(&conversation, Box::pin(stream))).await;
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = shared.life.aborting.cancelled() => {}
        () = seat.leave.cancelled() => tracing::debug!("let go: others waited for its place or for its room"),
        () = make_room(door, |goes| shared.app.lets_one_go(goes), &seat) => {}
    }
}

/// Has somebody go for each who found no room for a document, while this connection is too slow for its own: whoever keeps most from others, maybe
/// this one.
async fn make_room(door: Door, lets_one_go: impl Fn(&dyn Fn() -> bool), seat: &Seat) {
    // What the admin listener answers has no room, and what our own command prints may wait in a pager.
    if door != Door::Public {
        return pending().await;
    }
    loop {
        seat.activity.overdue().await;
        lets_one_go(&|| seat.crowd.let_go_of_the_largest());
    }
}

async fn serve_tcp<S>(conversation: &Arc<Conversation>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if !conversation.from.tls {
        return Box::pin(serve_http1(conversation, stream)).await;
    }
    let shared = &conversation.shared;
    let Some(tls) = &shared.tls else {
        return tracing::error!("a TLS socket without a certificate");
    };
    let handshake = tls.acceptor().accept(stream);
    let limited = tokio::time::timeout(shared.options.handshake_timeout, handshake);
    let stream = tokio::select! {
        done = limited => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => return tracing::debug!("TLS handshake took too long"),
        },
        () = goodbye(shared) => return,
    };
    conversation.activity.touch();
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(serve_http2(conversation, stream)).await;
    } else {
        Box::pin(serve_http1(conversation, stream)).await;
    }
}

async fn serve_http1<S>(conversation: &Arc<Conversation>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shared = &conversation.shared;
    let stream = reading::Sharing::new(stream, &shared.life.tracker);
    let stream = watched(stream, &conversation.activity);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.options.header_timeout)
        .max_buf_size(*reading::READ_BYTES.end())
        .max_header_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), conversation.service(usize::MAX));
    let limits = match conversation.door {
        // What our own command prints may wait in a pager.
        Door::Control => Limits::none(),
        Door::Public | Door::Admin => Limits::of_answers(&shared.options),
    };
    supervise(conversation, connection, limits).await;
}

/// Every write that the peer made room for counts.
fn watched<S: AsyncWrite>(
    stream: S,
    activity: &Arc<Activity>,
) -> InspectWriter<S, impl FnMut(&[u8]) + use<S>> {
    let activity = Arc::clone(activity);
    InspectWriter::new(stream, move |written: &[u8]| {
        activity.took(written.len());
    })
}

/// The windows of a stream and of a connection that comes to so many others. What the disk has no time for yet waits here, in memory: 512 uploads
/// with 4 MiB each would be 2 GiB.
fn window_bytes(connections: usize) -> (u32, u32) {
    let share = ALL_WINDOWS_BYTES / connections.max(1);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    let within = |share: u32, range: RangeInclusive<u32>| share.clamp(*range.start(), *range.end());
    (
        within(share / STREAMS_AHEAD, STREAM_WINDOW_BYTES),
        within(share, CONNECTION_WINDOW_BYTES),
    )
}

/// The bytes of answers that wait to be sent on each stream of a connection that comes to so many others.
fn send_buffer_bytes(connections: usize) -> usize {
    let streams = capacity::streams(connections) as usize;
    let share = ALL_SEND_BUFFERS_BYTES / connections.max(1) / streams;
    share.clamp(*SEND_BUFFER_BYTES.start(), *SEND_BUFFER_BYTES.end())
}

async fn serve_http2<S>(conversation: &Arc<Conversation>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shared = &conversation.shared;
    let service = conversation.service(STREAM_PIECE_BYTES);
    let others = shared.life.tracker.len();
    let (of_stream, of_connection) = window_bytes(others);
    let stream = watched(stream, &conversation.activity);
    let connection = http2::Builder::new(Streams::of(&shared.life))
        .timer(TokioTimer::new())
        .max_concurrent_streams(capacity::streams(others))
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(of_stream)
        .initial_connection_window_size(of_connection)
        .max_send_buf_size(send_buffer_bytes(others))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let limits = Limits::of(&shared.options);
    supervise(conversation, connection, limits).await;
}

/// Runs a connection; ends it when it is quiet for too long, and gracefully when the server stops.
async fn supervise<C>(conversation: &Conversation, connection: C, limits: Limits)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let (shared, activity) = (&conversation.shared, &conversation.activity);
    let mut connection = pin!(connection);
    let mut leaving = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = shared.life.stopping.cancelled(), if !leaving => {
                if !asks(connection.as_mut(), activity).await {
                    return;
                }
            }
            quiet = activity.quiet(limits) => {
                if leaving || quiet != Quiet::Idle {
                    return tracing::debug!(?quiet, "connection ended: it was quiet for too long");
                }
            }
        }
        // From here the connection ends by itself once its answers are sent.
        leaving = true;
        activity.touch();
        connection.as_mut().graceful_shutdown();
    }
}

/// Waits for the first request of a connection; whether there is one, and an answer is owed. HTTP/1 would drop what it has not
/// read yet, and a client that was taken in before the stop must not be turned away.
async fn asks<C: GracefulConnection>(mut connection: Pin<&mut C>, activity: &Activity) -> bool {
    let first = poll_fn(|context| {
        if activity.has_begun() {
            return Poll::Ready(true);
        }
        match connection.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if activity.has_begun() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    });
    tokio::time::timeout(GOODBYE, first).await.unwrap_or(false)
}

/// Returns [`GOODBYE`] after the server was told to stop.
async fn goodbye(shared: &Shared) {
    shared.life.stopping.cancelled().await;
    tokio::time::sleep(GOODBYE).await;
}

/// Runs HTTP/2 streams as tasks that the drain waits for and can cut off.
#[derive(Clone, Debug)]
struct Streams {
    tracker: TaskTracker,
    aborting: CancellationToken,
}

impl Streams {
    fn of(life: &Life) -> Self {
        Self {
            tracker: life.tracker.clone(),
            aborting: life.aborting.clone(),
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let aborting = self.aborting.clone();
        self.tracker.spawn(async move {
            aborting.run_until_cancelled(stream).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::crowd::Crowd;
    use super::super::crowd::tests::hoards;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_honest_client_that_is_slow_with_a_small_list_stays_while_a_hoarder_holds_ten_mebibytes()
     {
        let crowd = Crowd::new(2);
        let (honest, _list) = hoards(&crowd, &[20 << 10]).await;
        // It looks first, and is furthest behind.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (hoarder, _lists) = hoards(&crowd, &[1 << 20; 10]).await;
        let refused = Cell::new(0_u32);
        let lets_one_go = |goes: &dyn Fn() -> bool| {
            let left = refused.get();
            if left > 0 && goes() {
                refused.set(left - 1);
            }
        };
        let watching = async {
            tokio::select! {
                () = make_room(Door::Public, lets_one_go, &honest) => {}
                () = make_room(Door::Public, lets_one_go, &hoarder) => {}
            }
        };
        let asking = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(!hoarder.leave.is_cancelled(), "nobody was refused");
            refused.set(5);
            hoarder.leave.cancelled().await;
            // It goes with all that it holds, which takes a moment.
            tokio::time::sleep(Duration::from_millis(600)).await;
        };
        tokio::select! {
            () = watching => {}
            () = asking => {}
            () = honest.leave.cancelled() => panic!("it went for the hoarder"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_at_another_door_than_the_public_one_goes_for_nobody() {
        for (door, goes) in [
            (Door::Public, true),
            (Door::Admin, false),
            (Door::Control, false),
        ] {
            let crowd = Crowd::new(1);
            let (seat, _list) = hoards(&crowd, &[1 << 20]).await;
            let hour = Duration::from_secs(3600);
            let wanted = |goes: &dyn Fn() -> bool| {
                goes();
            };
            let making = tokio::time::timeout(hour, make_room(door, wanted, &seat));
            assert!(making.await.is_err());
            assert_eq!(seat.leave.is_cancelled(), goes, "{door:?}");
        }
    }

    #[test]
    fn few_connections_of_http_2_have_large_windows_and_many_small_ones() {
        assert_eq!(window_bytes(0), (4 << 20, 16 << 20));
        assert_eq!(window_bytes(4), (2 << 20, 8 << 20));
        assert_eq!(window_bytes(16), (512 << 10, 2 << 20));
        assert_eq!(window_bytes(1000), (64 << 10, 256 << 10));
        assert_eq!(
            [0, 1, 4, 16].map(send_buffer_bytes),
            [256 << 10, 256 << 10, 64 << 10, 16 << 10]
        );
        let buffers =
            (0..200).map(|n| send_buffer_bytes(n) as u64 * u64::from(capacity::streams(n)));
        assert!(
            buffers.sum::<u64>() < 130 << 20,
            "of 200 that came one after another"
        );
        assert_eq!(send_buffer_bytes(1000), 16 << 10);
        let all = |window: fn((u32, u32)) -> u32| -> u64 {
            let windows = (1..=200).map(|n| u64::from(window(window_bytes(n))));
            windows.sum()
        };
        // One upload a connection, and as many as it takes.
        let (of_streams, of_connections) = (all(|both| both.0), all(|both| both.1));
        assert!(of_streams < 50 << 20, "{of_streams} bytes");
        assert!(of_connections < 180 << 20, "{of_connections} bytes");
    }
}
