//! TLS: the certificate, and how it is replaced while connections live.
//!
//! Owns: [`Tls`]: TLS 1.2 and 1.3 by rustls with the ring provider, ALPN `h2` and `http/1.1`, the certificate behind a
//! pointer that a reload swaps.
//!
//! Never does: trust a key it cannot match to its certificate; log key material.
//!
//! Invariant: a failed reload changes nothing; connections that are open keep what they began with.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Most certificates of a chain.
const MAX_CHAIN: usize = 16;

/// Most bytes of a key's file that are searched for why it holds no key.
const MAX_SEARCHED_BYTES: u64 = 64 << 10;

/// Where the certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub private_key: PathBuf,
}

/// Why a certificate is not usable.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    File {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: PemError,
    },
    /// There is no certificate in this file.
    NoCertificate(PathBuf),
    /// There is no private key in this file.
    NoKey(PathBuf),
    /// The private key in this file is encrypted: a server that starts by itself has nobody to ask for the passphrase.
    EncryptedKey(PathBuf),
    /// More certificates than a chain may have.
    ChainTooLong(PathBuf),
    /// The key does not fit the certificate, or is of a kind that is not supported.
    Unusable(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => {
                write!(f, "{}: ", path.display())?;
                match source {
                    PemError::MissingSectionEnd { end_marker } => {
                        let name = end_marker.escape_ascii();
                        write!(f, "it is cut off: -----END {name}----- is missing")
                    }
                    source => write!(f, "{source}"),
                }
            }
            Self::NoCertificate(path) => {
                write!(f, "{}: it holds no certificate in PEM", path.display())
            }
            Self::NoKey(path) => write!(
                f,
                "{}: it holds no private key in PEM (PKCS #8, PKCS #1 or SEC1)",
                path.display()
            ),
            Self::EncryptedKey(path) => write!(
                f,
                "{}: the private key is encrypted with a passphrase, which is not supported; decrypt it with \
                 `umask 077; openssl pkey -in {path:?} -out FILE`, and set tls.private_key to that FILE",
                path.display()
            ),
            Self::ChainTooLong(path) => {
                write!(f, "{}: more than {MAX_CHAIN} certificates", path.display())
            }
            Self::Unusable(source) => write!(f, "certificate and key: {source}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The server's side of TLS.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let key = read(&files, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(key)));
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files,
            current,
            config: Arc::new(config),
        })
    }

    /// Reads the files again; new handshakes then see the new certificate.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let key = read(&self.files, self.config.crypto_provider())?;
        self.current.0.store(Arc::new(key));
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let in_certificate = |source| TlsError::File {
        path: files.certificate.clone(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .map_err(in_certificate)?
        .take(MAX_CHAIN + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(in_certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(files.certificate.clone()));
    }
    if chain.len() > MAX_CHAIN {
        return Err(TlsError::ChainTooLong(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key);
    let key = key.map_err(|source| no_key(&files.private_key, source))?;
    warn_when_public(files);
    CertifiedKey::from_der(chain, key, provider).map_err(TlsError::Unusable)
}

/// Why there is no key in a file: one that is encrypted is passed over, or looks like wrong base64.
fn no_key(path: &Path, source: PemError) -> TlsError {
    let path = path.to_owned();
    match source {
        _ if is_encrypted(&path) => TlsError::EncryptedKey(path),
        PemError::NoItemsFound => TlsError::NoKey(path),
        source => TlsError::File { path, source },
    }
}

/// Whether a file says so: in the name of a section (PKCS #8), or in a header of one (RFC 1421, as older programs write it).
fn is_encrypted(path: &Path) -> bool {
    let mut text = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_SEARCHED_BYTES).read_to_end(&mut text));
    let says_so = |line: &[u8]| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || line.starts_with(b"Proc-Type:") && line.trim_ascii().ends_with(b"ENCRYPTED")
    };
    read.is_ok() && text.split(|byte| *byte == b'\n').any(says_so)
}

/// A key that every user of the machine can read is no secret; it still works, so that a test setup is not refused.
fn warn_when_public(files: &TlsFiles) {
    let path = &files.private_key;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o007 != 0
    {
        tracing::warn!(path = %path.display(), "the private key is open to every user; take the rights of others away (chmod o-rwx)");
    }
}
