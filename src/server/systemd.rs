//! The service manager: readiness, reload, watchdog, and sockets that it hands in.
//!
//! Owns: every word of the sd_notify(3) protocol, and the names of inherited sockets (`FileDescriptorName=`): `http` is a
//! public socket without TLS, `https` one with it, `admin` the admin listener.
//!
//! Never does: fail when there is no service manager; then every call does nothing.
//!
//! Invariant: an inherited socket with a name we do not know is an error, never ignored: it would look served.
//! The descriptors are taken over by the `listenfd` crate, which checks LISTEN_PID and that each is a TCP socket; this crate forbids the
//! unsafe call that would be needed here. That they listen is checked here: nothing would ever be accepted from one that does not.

use std::env;
use std::fmt;
use std::io;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{PublicSocket, Sockets};

/// Most sockets that are taken from the service manager.
pub const MAX_INHERITED: usize = 16;

/// Why inherited sockets cannot be used.
#[derive(Debug)]
pub enum InheritError {
    /// A name that is not `http`, `https` or `admin`.
    UnknownName(String),
    /// More than [`MAX_INHERITED`].
    TooMany(usize),
    /// Not a listening TCP socket.
    NotListening {
        /// Its name.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName(name) => write!(
                f,
                "the inherited socket named {name:?} is not known; FileDescriptorName must be http, https or admin"
            ),
            Self::TooMany(count) => {
                write!(f, "{count} sockets inherited, at most {MAX_INHERITED}")
            }
            Self::NotListening { name, source } => {
                write!(
                    f,
                    "the inherited socket named {name:?} cannot be used: {source}; its unit must name a TCP address by ListenStream=, \
                     with Accept=no"
                )
            }
        }
    }
}

impl std::error::Error for InheritError {}

/// Takes the sockets that the service manager opened for this process; none when there are none.
///
/// # Errors
/// [`InheritError`]; nothing is served then.
pub fn inherited() -> Result<Sockets, InheritError> {
    let mut passed = ListenFd::from_env();
    if passed.len() > MAX_INHERITED {
        return Err(InheritError::TooMany(passed.len()));
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = Sockets::default();
    for index in 0..passed.len() {
        // A socket that its unit does not name comes as "unknown", or under the unit's own name: refused, since a guess could put the admin
        // door on a public address.
        let name = names.next().unwrap_or_default().to_owned();
        let taken = passed.take_tcp_listener(index).and_then(into_tokio);
        match taken {
            Ok(Some(listener)) => place(&mut sockets, &name, listener)?,
            Ok(None) => {}
            Err(source) => return Err(InheritError::NotListening { name, source }),
        }
    }
    Ok(sockets)
}

fn into_tokio(socket: Option<std::net::TcpListener>) -> io::Result<Option<TcpListener>> {
    let Some(socket) = socket else {
        return Ok(None);
    };
    if !rustix::net::sockopt::socket_acceptconn(&socket)? {
        let words = "it does not listen for connections";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket).map(Some)
}

fn place(sockets: &mut Sockets, name: &str, listener: TcpListener) -> Result<(), InheritError> {
    match name {
        "http" | "https" => sockets.public.push(PublicSocket {
            listener,
            tls: name == "https",
        }),
        "admin" => sockets.admin.push(listener),
        _ => return Err(InheritError::UnknownName(name.to_owned())),
    }
    Ok(())
}

/// Says that the service is ready.
pub fn ready() {
    notify(&[NotifyState::Ready, NotifyState::Status("accepting")]);
}

/// How often the service manager is asked for patience, and how much more is asked for each time.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(60));

/// Asks for more time than the unit allows for a start, until the answer is dropped: a lost index, or an upload that is being made whole, may
/// take longer.
pub fn starting() -> impl Drop {
    patience()
}

fn patience() -> impl Drop {
    let (every, more) = PATIENCE;
    let asks = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            may_take(more);
        }
    });
    tokio_util::task::AbortOnDropHandle::new(asks)
}

/// Asks for so much time from now on, where the unit allows less.
pub(super) fn may_take(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Says that a reload runs; it is over when the answer is dropped.
pub(super) fn reloading() -> Reloading {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
    Reloading
}

pub(super) struct Reloading;

impl Drop for Reloading {
    fn drop(&mut self) {
        ready();
    }
}

/// Says that the service ends, and asks for more time than the unit allows for that, until the answer is dropped: `server.shutdown_timeout`
/// says how long, and the unit does not know it.
pub fn stopping() -> impl Drop {
    notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    patience()
}

/// Pings the watchdog at half its interval, from the runtime that serves requests, until it is aborted: closing the store takes longer
/// than the interval may.
pub(super) fn spawn_watchdog() -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(limit) = sd_notify::watchdog_enabled() else {
            return;
        };
        let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
        loop {
            ticks.tick().await;
            notify(&[NotifyState::Watchdog]);
        }
    })
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
