//! Wiring: a store, an application, sockets, a server.
//!
//! Owns: the order in which they come to be. The store first (it holds the lock), then the sockets, then the application,
//! then the port file and the ready line, then the accept loops.
//!
//! Never does: decide limits or addresses.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::control::remedy;
use super::ownership::{judge_to_serve, refuse_to_serve_foreign};
use super::{Failure, LAST_WAIT, chain};
use crate::api::app::{App, Clock};
use crate::config::{Config, StoreConfig};
use crate::server::tls::Tls;
use crate::server::{
    Hangup, PublicSocket, Server, Signals, Sockets, bind, control, local_url, raise_file_limit,
    systemd,
};
use crate::store::embedded::{self, EmbeddedStore};
use crate::store::{Store, StoreError};

/// Under which URLs a server is reached from this machine.
pub(super) struct Urls {
    pub(super) public: String,
    pub(super) admin: String,
}

/// Starts a server and serves until a signal says stop. `announce` is called when both listeners accept.
pub(super) async fn launch(
    config: Config,
    hangup: Hangup,
    port_file: Option<PathBuf>,
    announce: impl FnOnce(&Urls) -> Result<(), Failure>,
) -> Result<(), Failure> {
    refuse_to_serve_foreign(&config.store.data)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Before anything else, so that no signal ends the process between here and the drain.
    let mut signals = Signals::new(hangup).map_err(|error| Failure::of("signals", error))?;
    let tls = config.tls.clone().map(Tls::load).transpose();
    let tls = tls.map_err(|error| Failure::of("tls", error))?;
    raise_file_limit(config.server.max_connections);
    let clock = Clock::system();
    let Some(store) = open_unless_stopped(&config.store, &clock, &mut signals).await? else {
        return Ok(());
    };
    let ready = get_ready(
        (&config, &clock),
        &store,
        tls.is_some(),
        port_file.as_deref(),
    )
    .await;
    let ready = ready.and_then(|(app, sockets, urls)| {
        tracing::info!(public = urls.public, admin = urls.admin, "ready");
        announce(&urls).map(|()| (app, sockets))
    });
    let (app, sockets) = match ready {
        Ok(ready) => ready,
        // Nothing was begun, and the next try must not take this for a crash.
        Err(failure) => {
            control::remove(&config.store.data);
            close(store).await;
            return Err(failure);
        }
    };
    Server::new(app, store, clock, config.server, tls, sockets)
        .run(signals, || control::remove(&config.store.data))
        .await;
    Ok(())
}

/// Everything between the open store and the first connection.
async fn get_ready(
    (config, clock): (&Config, &Clock),
    store: &Arc<dyn Store>,
    tls: bool,
    port_file: Option<&Path>,
) -> Result<(Arc<App>, Sockets, Urls), Failure> {
    let mut sockets = open_sockets(config, tls)?;
    sockets.control = Some(bind_control(&config.store.data)?);
    let app = App::start(config.app.clone(), Arc::clone(store), clock.clone())
        .await
        .map_err(|error| Failure::of("cannot start", chain(&error)))?;
    let urls = urls(&sockets)?;
    if let Some(path) = port_file {
        write_port_file(path, &urls)?;
    }
    Ok((app, sockets, urls))
}

/// Lets go of a store that did not come to be served.
pub(super) async fn close(store: Arc<dyn Store>) {
    if let Err(error) = store.close().await {
        tracing::error!(%error, "the store did not close cleanly");
    }
}

/// Opens the store; nothing when a signal said stop before that was done. What is half done then is done again at the next start.
async fn open_unless_stopped(
    config: &StoreConfig,
    clock: &Clock,
    signals: &mut Signals,
) -> Result<Option<Arc<dyn Store>>, Failure> {
    let _patience = systemd::starting();
    let options = embedded::Options {
        judge: judge_to_serve,
        ..config.options()
    };
    let mut opening = pin!(open_store(options, clock));
    tokio::select! {
        store = &mut opening => store.map(Some),
        () = signals.stop() => {
            tracing::info!("stopping before the store is open");
            // Whoever removes the folder next must not meet somebody who still makes it.
            tokio::select! {
                () = opened_and_closed(opening) => {}
                () = tokio::time::sleep(LAST_WAIT) => tracing::warn!("not waiting for the store"),
                () = signals.stop() => tracing::warn!("not waiting for the store"),
            }
            Ok(None)
        }
    }
}

async fn opened_and_closed(opening: impl Future<Output = Result<Arc<dyn Store>, Failure>>) {
    match opening.await {
        Ok(store) => close(store).await,
        Err(failure) => tracing::error!("{}", failure.message),
    }
}

/// Opens the store; only one process can.
pub(super) async fn open_store(
    options: embedded::Options,
    clock: &Clock,
) -> Result<Arc<dyn Store>, Failure> {
    let data = options.data.clone();
    let opened = EmbeddedStore::open(options, clock.now()).await;
    let store = opened.map_err(|error| of_store("store", &data, &error))?;
    Ok(Arc::new(store))
}

/// Why nothing could be done with the store in `data`, with a remedy where the words of the system have none.
pub(super) fn of_store(what: &str, data: &Path, error: &StoreError) -> Failure {
    let remedy = error.system_kind().map(|kind| remedy(data, kind));
    let remedy = remedy.unwrap_or_default();
    Failure::new(format!("{what} {}: {error}{remedy}", data.display()))
}

/// Sockets that the service manager passed; what it did not pass is bound here.
fn open_sockets(config: &Config, tls: bool) -> Result<Sockets, Failure> {
    let mut sockets =
        systemd::inherited().map_err(|error| Failure::of("socket activation", error))?;
    if sockets.public.iter().any(|socket| socket.tls) && !tls {
        return Err(Failure::new(
            "a socket named https was passed, but tls.certificate is not set",
        ));
    }
    let bound = |key: &str, address| {
        bind(address).map_err(|error| Failure::of(&format!("{key} {address}"), error))
    };
    if sockets.public.is_empty() {
        let listener = bound("server.listen", config.listen)?;
        sockets.public.push(PublicSocket { listener, tls });
    }
    warn_of_plain(&sockets.public, tls);
    if sockets.admin.is_empty() {
        sockets
            .admin
            .push(bound("server.admin_listen", config.admin_listen)?);
    }
    Ok(sockets)
}

/// Says what strangers on the way can read.
fn warn_of_plain(sockets: &[PublicSocket], tls: bool) {
    let plain = sockets.iter().filter(|socket| !socket.tls);
    for listen in plain.filter_map(|socket| socket.listener.local_addr().ok()) {
        if !listen.ip().is_loopback() {
            tracing::warn!(
                %listen,
                "plain HTTP on a public address: tokens and uploads can be read on the way; set tls.certificate, \
                 or keep it behind a proxy that speaks TLS"
            );
        }
    }
    if tls && sockets.iter().all(|socket| !socket.tls) {
        tracing::warn!("tls.certificate is set, but no socket that was passed is named https");
    }
}

fn bind_control(data: &Path) -> Result<tokio::net::UnixListener, Failure> {
    control::bind(data)
        .map_err(|error| Failure::of(&format!("control socket in {}", data.display()), error))
}

fn urls(sockets: &Sockets) -> Result<Urls, Failure> {
    let failed = |error| Failure::of("listener", error);
    let public = sockets.public.first();
    let public = public.map(|socket| local_url(&socket.listener, socket.tls));
    let admin = sockets.admin.first().map(|socket| local_url(socket, false));
    Ok(Urls {
        public: public.transpose().map_err(failed)?.unwrap_or_default(),
        admin: admin.transpose().map_err(failed)?.unwrap_or_default(),
    })
}

/// Writes the URLs, one a line, whole or not at all: whoever waits for the file may read it at once.
fn write_port_file(path: &Path, urls: &Urls) -> Result<(), Failure> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = NamedTempFile::new_in(folder)?;
        writeln!(file, "{}\n{}", urls.public, urls.admin)?;
        file.persist(path).map_err(|error| error.error)
    };
    write()
        .map(drop)
        .map_err(|error| Failure::of(&format!("port file {}", path.display()), error))
}
