//! What the operator says by signals.
//!
//! Owns: SIGTERM and SIGINT (stop), SIGHUP (reload, or stop where nothing can be reloaded).
//!
//! Never does: act on them; the server does.
//!
//! Invariant: a second signal to stop is not waited for: it stops at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// Read the certificate again: a service.
    Reloads,
    /// Stop: a program on a terminal that was closed.
    Stops,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Stop,
    Reload,
}

/// Receives signals from the moment it is made.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    meaning: Hangup,
    must_reload: bool,
}

impl Signals {
    /// Takes the signals over from their defaults.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn new(meaning: Hangup) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            meaning,
            must_reload: false,
        })
    }

    pub(super) async fn next(&mut self) -> Event {
        match std::mem::take(&mut self.must_reload) {
            true => Event::Reload,
            false => self.event().await,
        }
    }

    async fn event(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.hangup.recv() => match self.meaning {
                Hangup::Reloads => Event::Reload,
                Hangup::Stops => Event::Stop,
            },
        }
    }

    /// Waits for a signal that says stop; one that says reload is kept for whoever serves next.
    pub async fn stop(&mut self) {
        while self.event().await != Event::Stop {
            self.must_reload = true;
        }
    }
}
