//! A small HTTP client for the verbs that talk to a server from afar.
//!
//! Owns: one request on one connection, HTTP/1.1, over TCP or TLS (system roots, or the file given by `--cacert`), with
//! deadlines, and an answer that is read up to [`MAX_ANSWER_BYTES`].
//!
//! Never does: follow redirects, keep connections, or retry; `upload.rs` decides what may be sent twice.
//!
//! Invariant: a token is sent only to the URL it was given for.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;

use super::{Failure, chain};

/// What a request carries.
pub(super) type ClientBody = UnsyncBoxBody<Bytes, io::Error>;

/// Largest answer, in bytes: a session with 10,000 chunks is far below it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Longest wait for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the server to take the next bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for an answer beyond the time that its body needs at [`SLOWEST_BYTES_PER_SECOND`].
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A line that is slower than this is not waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 4096;

/// Why there is no answer. All of these are worth another try.
#[derive(Debug)]
pub(super) struct NoAnswer(String);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        Self::new(error.0)
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Sends requests.
#[derive(Clone)]
pub(super) struct Client {
    tls: Arc<ClientConfig>,
}

impl Client {
    /// A client that trusts `cacert`, or the system's roots.
    pub(super) fn new(cacert: Option<&Path>) -> Result<Self, Failure> {
        let roots = match cacert {
            Some(path) => roots_of(path)?,
            None => system_roots(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::of("TLS", error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// No body.
    pub(super) fn empty() -> ClientBody {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    }

    /// A body that is all here.
    pub(super) fn full(bytes: impl Into<Bytes>) -> ClientBody {
        Full::new(bytes.into())
            .map_err(|never| match never {})
            .boxed_unsync()
    }

    /// Sends one request and reads the whole answer. `request` has an absolute URL; a body of unknown size needs a
    /// `Content-Length`.
    pub(super) async fn send(&self, request: Request<ClientBody>) -> Result<Answer, NoAnswer> {
        let uri = request.uri().clone();
        let limit =
            ANSWER_TIMEOUT + Duration::from_secs(length_of(&request) / SLOWEST_BYTES_PER_SECOND);
        let name = |what: String| NoAnswer(format!("{}: {what}", authority(&uri)));
        let secure = uri.scheme_str() == Some("https");
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, connect(&uri)).await;
        let stream = connecting
            .map_err(|_| name("no connection in 15 s".to_owned()))?
            .map_err(|error| name(error.to_string()))?;
        let exchanging = async {
            if secure {
                let stream = self.secure(&uri, stream).await?;
                exchange(stream, request).await
            } else {
                exchange(stream, request).await
            }
        };
        tokio::time::timeout(limit, exchanging)
            .await
            .map_err(|_| name("no answer in time".to_owned()))?
            .map_err(name)
    }

    async fn secure<S>(
        &self,
        uri: &Uri,
        stream: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let host = bare_host(uri);
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector
            .connect(name, stream)
            .await
            .map_err(|error| error.to_string())
    }
}

async fn connect(uri: &Uri) -> io::Result<std::pin::Pin<Box<TimeoutStream<TcpStream>>>> {
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = uri.port_u16().unwrap_or(default);
    let stream = TcpStream::connect((bare_host(uri).as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Ok(Box::pin(stream))
}

async fn exchange<S>(stream: S, mut request: Request<ClientBody>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = authority(request.uri());
    let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let target = target.parse().map_err(|_| "not a URL".to_owned())?;
    *request.uri_mut() = target;
    request.headers_mut().insert(HOST, host);
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchanging = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await;
        let body = body.map_err(|error| chain(error.as_ref()))?.to_bytes();
        Ok(Answer { status, body })
    };
    // The connection is driven here, so that it ends when this future is dropped.
    let mut exchanging = std::pin::pin!(exchanging);
    tokio::select! {
        answer = &mut exchanging => answer,
        _ended = connection => exchanging.await,
    }
}

fn length_of(request: &Request<ClientBody>) -> u64 {
    let named = request.headers().get(http::header::CONTENT_LENGTH);
    let named = named.and_then(|value| value.to_str().ok()?.parse().ok());
    named.unwrap_or_else(|| http_body::Body::size_hint(request.body()).lower())
}

fn authority(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

fn bare_host(uri: &Uri) -> String {
    uri.host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned()
}

fn roots_of(path: &Path) -> Result<RootCertStore, Failure> {
    let failed = |error: &dyn fmt::Display| Failure::of(&path.display().to_string(), error);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"it holds no certificate"));
    }
    Ok(roots)
}

/// What the system trusts; a certificate that cannot be read is left out, as every browser does.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
