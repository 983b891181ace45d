//! Sockets: bound, and accepted on.
//!
//! Owns: the accept loop and its back-off. Who may stay is decided by `crowd.rs`.
//!
//! Never does: read a byte.
//!
//! Invariant: at most one accepted connection waits for a seat, so that a server full of work leaves newcomers in the
//! kernel's queue instead of holding memory for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

use super::Shared;
use super::connection::{self, Door};
use super::crowd::{Crowd, Seat};

/// Wait after the system had no descriptor or memory for another connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How often the log says that connections cannot be accepted, while that lasts.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Connections that wait in the kernel until they are accepted.
const BACKLOG: u32 = 1024;

/// Binds a TCP listener; port 0 takes a free one.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The URL under which a client on this machine reaches a listener.
///
/// # Errors
/// When the system does not say where the listener is bound.
pub fn local_url(listener: &TcpListener, tls: bool) -> io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{address}"))
}

/// What is accepted on.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp { listener: TcpListener, tls: bool },
    Unix(UnixListener),
}

/// What was accepted.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp {
        stream: TcpStream,
        peer: SocketAddr,
        tls: bool,
    },
    Unix(UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp { listener, tls } => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp {
                    stream,
                    peer,
                    tls: *tls,
                })
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// Accepts until the server stops; each connection becomes a task of its own.
pub(super) async fn accept_loop(
    shared: Arc<Shared>,
    socket: Socket,
    door: Door,
    crowd: Arc<Crowd>,
) {
    let stopping = shared.life.stopping.clone();
    let mut said = None;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                back_off(&error, &mut said).await;
                continue;
            }
        };
        // Who was accepted waits for a seat also at a stop, where those who have one go.
        match crowd.admit().await {
            Some(seat) => spawn(&shared, accepted, door, seat),
            // Nobody closes the crowd; without it there is no limit, so nothing is accepted.
            None => return,
        }
    }
}

fn spawn(shared: &Arc<Shared>, accepted: Accepted, door: Door, seat: Seat) {
    let task = connection::drive(Arc::clone(shared), accepted, door, seat);
    shared.life.tracker.spawn(task);
}

/// Waits before the next try. The log was told at `said`; it is not told each time, which may be 20 times a second for hours.
async fn back_off(error: &io::Error, said: &mut Option<Instant>) {
    match Errno::from_io_error(error) {
        // The peer went away before it was accepted, or its socket already failed.
        Some(Errno::CONNABORTED | Errno::CONNRESET | Errno::INVAL | Errno::NOTCONN) => {}
        _ => {
            if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                *said = Some(Instant::now());
            }
            tokio::time::sleep(ACCEPT_BACKOFF).await;
        }
    }
}
