//! The server floor: sockets, TLS, deadlines, systemd, drain. It knows connections, not requests.
//!
//! Owns: [`Server`], which accepts on every socket it is given, hands each request to the application, and drains.
//! `listener.rs` accepts, `capacity.rs` says how many, `crowd.rs` finds room, `connection.rs` drives one connection, `reading.rs` says how
//! much it reads at a time, `activity.rs` knows how busy it is and `taking.rs` how fast its peer takes the answers that `owed.rs` hands on, `tls.rs` holds the certificate, `signals.rs` waits for the
//! operator, `sweeper.rs` calls the store's sweep, `control.rs` is the socket the command line talks to, `systemd.rs` speaks
//! to the service manager, `telemetry.rs` sets up the log.
//!
//! Never does: look at a path, a header or a token. That is the application's business.
//!
//! Invariants: every wait on a peer has a deadline; every connection holds a seat; after a drain no task of ours touches
//! the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::app::{App, Clock};
use crate::store::{MAX_CLOSE_WAIT, Store};

mod activity;
mod awaited;
mod capacity;
mod connection;
pub mod control;
mod crowd;
mod listener;
mod owed;
mod reading;
mod signals;
mod sweeper;
pub mod systemd;
mod taking;
pub mod telemetry;
pub mod tls;

pub use capacity::raise_file_limit;
pub use listener::{bind, local_url};
pub use signals::{Hangup, Signals};

use capacity::Capacity;
use connection::Door;
use crowd::Crowd;
use listener::Socket;
use signals::Event;
use tls::Tls;

/// Longest wait for the store to close after the drain: 5 s longer than the store itself waits for what is under way, so that it can still
/// note how it was left.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(MAX_CLOSE_WAIT.as_secs() + 5);

/// What a sweep that has begun, and the last jobs, may take beside that.
const LAST_STEPS: Duration = Duration::from_secs(30);

/// What the server floor is told by the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most public connections at once; for another one the quietest is let go, and while none is quiet, more wait in the
    /// kernel's queue. Fewer where the limit of open files has no room for them.
    pub max_connections: usize,
    /// Longest wait for a request's whole header; also how long a connection may sit idle between requests.
    pub header_timeout: Duration,
    /// Longest wait for the next byte of a body, in either direction.
    pub body_idle_timeout: Duration,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// How long requests may go on after the signal to stop.
    pub shutdown_timeout: Duration,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(5),
        }
    }
}

/// A public socket.
#[derive(Debug)]
pub struct PublicSocket {
    /// Where connections come from.
    pub listener: TcpListener,
    /// Whether they begin with a TLS handshake.
    pub tls: bool,
}

/// Every socket that is accepted on.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The public listener; several when systemd hands in several.
    pub public: Vec<PublicSocket>,
    /// The admin listener.
    pub admin: Vec<TcpListener>,
    /// The socket that the command line talks to.
    pub control: Option<UnixListener>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    app: Arc<App>,
    options: Options,
    tls: Option<Tls>,
    life: Life,
}

/// How the parts of a server learn that it ends.
#[derive(Clone, Debug, Default)]
struct Life {
    /// Cancelled first: accept nothing new, finish what runs.
    stopping: CancellationToken,
    /// Cancelled last: let go of everything.
    aborting: CancellationToken,
    /// Every connection and every HTTP/2 stream.
    tracker: TaskTracker,
}

/// A server that is ready to accept.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    clock: Clock,
    sockets: Sockets,
}

impl Server {
    /// A server for `app`, whose sweeps run on `store` by `clock`.
    pub fn new(
        app: Arc<App>,
        store: Arc<dyn Store>,
        clock: Clock,
        options: Options,
        tls: Option<Tls>,
        sockets: Sockets,
    ) -> Self {
        let life = Life::default();
        let shared = Arc::new(Shared {
            app,
            options,
            tls,
            life,
        });
        Self {
            shared,
            store,
            clock,
            sockets,
        }
    }

    /// Accepts until a signal says stop, drains, calls `drained`, and closes the store, whose lock a successor waits for. A second signal
    /// ends the drain at once.
    pub async fn run(mut self, mut signals: Signals, drained: impl FnOnce()) {
        self.accept_all();
        let sweeper = sweeper::spawn(
            Arc::clone(&self.store),
            self.clock.clone(),
            self.shared.options.sweep_interval,
            self.shared.life.stopping.clone(),
        );
        let watchdog = systemd::spawn_watchdog();
        systemd::ready();
        while signals.next().await == Event::Reload {
            self.reload();
        }
        let patience = systemd::stopping();
        self.drain(&mut signals).await;
        drop(patience);
        // Asked for once: what hangs now is for the service manager to end.
        systemd::may_take(CLOSE_TIMEOUT + LAST_STEPS);
        drained();
        if let Err(error) = sweeper.await {
            tracing::error!(%error, "the sweeper failed");
        }
        self.close_store(&mut signals).await;
        watchdog.abort();
    }

    fn accept_all(&mut self) {
        let sockets = std::mem::take(&mut self.sockets);
        let capacity = Capacity::now(self.shared.options.max_connections);
        let crowd = Crowd::new(capacity.public);
        for PublicSocket { listener, tls } in sockets.public {
            self.accept(Socket::Tcp { listener, tls }, Door::Public, &crowd);
        }
        let crowd = Crowd::new(capacity.admin);
        for listener in sockets.admin {
            let socket = Socket::Tcp {
                listener,
                tls: false,
            };
            self.accept(socket, Door::Admin, &crowd);
        }
        if let Some(listener) = sockets.control {
            let crowd = Crowd::new(capacity.control);
            self.accept(Socket::Unix(listener), Door::Control, &crowd);
        }
    }

    fn accept(&self, socket: Socket, door: Door, crowd: &Arc<Crowd>) {
        let shared = Arc::clone(&self.shared);
        let accepting = listener::accept_loop(shared, socket, door, Arc::clone(crowd));
        self.shared.life.tracker.spawn(accepting);
    }

    fn reload(&self) {
        let _reloading = systemd::reloading();
        match self.shared.tls.as_ref().map(Tls::reload) {
            Some(Ok(())) => tracing::info!("certificate reloaded"),
            Some(Err(error)) => {
                tracing::error!(%error, "the new certificate is not usable; the old one stays");
            }
            None => tracing::info!("nothing to reload: no certificate is configured"),
        }
    }

    async fn drain(&self, signals: &mut Signals) {
        let life = &self.shared.life;
        tracing::info!("stopping: requests under way may finish");
        life.stopping.cancel();
        life.tracker.close();
        tokio::select! {
            () = life.tracker.wait() => {}
            () = tokio::time::sleep(self.shared.options.shutdown_timeout) => {
                tracing::warn!("requests were still running at the end of shutdown_timeout and are cut off");
            }
            () = signals.stop() => tracing::warn!("second signal: cutting off what still runs"),
        }
        life.aborting.cancel();
        life.tracker.wait().await;
    }

    async fn close_store(&self, signals: &mut Signals) {
        tokio::select! {
            closed = self.store.close() => match closed {
                Ok(()) => tracing::info!("stopped"),
                Err(error) => tracing::error!(%error, "the store did not close cleanly"),
            },
            () = tokio::time::sleep(CLOSE_TIMEOUT) => tracing::error!("the store took too long to close"),
            () = signals.stop() => tracing::warn!("not waiting for the store"),
        }
    }
}
