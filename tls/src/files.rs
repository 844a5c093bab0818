//! Certificate, key and authority in files, read again when they change.

use crate::identity::{Identity, Kind};
use crate::validity::{self, Validity};
use crate::verify::{Called, Callers, identity};
use arc_swap::ArcSwap;
use clap::Args;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often files are looked at: by servers, and before somebody is dialled. A new certificate is
/// in use within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What is spoken inside.
const ALPN: &[u8] = b"h2";

/// Where a process finds who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct TlsArgs {
    /// PEM file with the authorities that sign this cluster's certificates.
    #[arg(id = "tls_cacert", long = "cacert", env = "PALISADE_CACERT", value_name = "FILE")]
    #[arg(global = true, help_heading = "TLS")]
    pub cacert: Option<PathBuf>,

    /// PEM file with this process' certificate, and those between it and the authority.
    #[arg(id = "tls_cert", long = "cert", env = "PALISADE_CERT", value_name = "FILE")]
    #[arg(global = true, help_heading = "TLS")]
    pub cert: Option<PathBuf>,

    /// PEM file with the key of the certificate.
    #[arg(id = "tls_key", long = "key", env = "PALISADE_KEY", value_name = "FILE")]
    #[arg(global = true, help_heading = "TLS")]
    pub key: Option<PathBuf>,
}

/// Certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not all of them are named.
    #[error("--cacert, --cert and --key go together: name all three, or none")]
    Incomplete,
    /// A file can't be read.
    #[error("can't read {path}: {source}. Choose another file with {flag}")]
    File {
        /// Which.
        path: PathBuf,
        /// By which flag it was chosen.
        flag: &'static str,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The files don't go together, or aren't what they should be.
    #[error("{cert} can't be used: {why}. Have the cluster's authority issue a new one")]
    Unusable {
        /// The certificate.
        cert: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is the certificate of something else.
    #[error("{cert} is the certificate of {found}; this process needs that of {expected}")]
    NotOurs {
        /// The certificate.
        cert: PathBuf,
        /// Whose it is.
        found: Identity,
        /// What it should be, without the cluster.
        expected: String,
    },
}

/// A certificate that is in use.
struct Current {
    /// The three files' bytes, to see a change by.
    bytes: Vec<u8>,
    identity: Identity,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    server: Arc<ServerConfig>,
}

struct Files {
    cacert: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

struct Inner {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Current>,
    /// When the files were looked at for the last time.
    looked: Mutex<Instant>,
}

/// Who this process is, for all its connections. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.identity())
    }
}

impl TlsArgs {
    /// The identity of a server of this kind and name, kept up to date from now on; none if no
    /// files are named.
    ///
    /// # Errors
    ///
    /// Every [`TlsError`].
    pub fn serve_as(&self, kind: Kind, name: &str) -> Result<Option<Tls>, TlsError> {
        let Some(tls) = self.load()? else { return Ok(None) };
        let found = tls.identity();
        if (found.kind, found.name.as_str()) != (kind, name) {
            let expected = format!("{kind}/{name}");
            return Err(TlsError::NotOurs { cert: tls.0.files.cert.clone(), found, expected });
        }
        tokio::spawn(tls.clone().keep_new());
        Ok(Some(tls))
    }

    /// Reads the files, if they were named. Whoever dials with them looks whether there are newer
    /// ones.
    ///
    /// # Errors
    ///
    /// Every [`TlsError`]: each says what to do.
    pub fn load(&self) -> Result<Option<Tls>, TlsError> {
        let (cacert, cert, key) = match (&self.cacert, &self.cert, &self.key) {
            (None, None, None) => return Ok(None),
            (Some(cacert), Some(cert), Some(key)) => (cacert.clone(), cert.clone(), key.clone()),
            _ => return Err(TlsError::Incomplete),
        };
        Tls::load(Files { cacert, cert, key }).map(Some)
    }
}

impl Tls {
    fn load(files: Files) -> Result<Tls, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let current = ArcSwap::from_pointee(files.read(&provider)?);
        let looked = Mutex::new(Instant::now());
        Ok(Tls(Arc::new(Inner { files, provider, current, looked })))
    }

    /// Who this process is now.
    pub fn identity(&self) -> Identity {
        self.0.current.load().identity.clone()
    }

    /// From when until when its certificate is good; none if that can't be read.
    pub fn validity(&self) -> Option<Validity> {
        self.0.current.load().chain.first().and_then(validity::of)
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.current.load().server)
    }

    /// For connections to servers of this kind.
    pub(crate) fn client(
        &self,
        kind: Kind,
        name: Option<String>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let current = self.0.current.load();
        let called = Called {
            roots: Arc::clone(&current.roots),
            provider: Arc::clone(&self.0.provider),
            cluster: current.identity.cluster.clone(),
            kind,
            name,
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(called));
        let chain = current.chain.clone();
        let mut config = config.with_client_auth_cert(chain, current.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection shows its certificate anew.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Reads the files again if they have changed; what is wrong with them is logged, and the old
    /// ones stay in use. A change of identity is no renewal: it needs a restart.
    pub fn reload(&self) {
        let Inner { files, provider, current, .. } = &*self.0;
        let before = current.load();
        if files.bytes() == before.bytes {
            return;
        }
        match files.read(provider) {
            Ok(new) if new.identity == before.identity => {
                tracing::info!(identity = %new.identity, "certificates were read again");
                current.store(Arc::new(new));
            }
            Ok(new) => tracing::error!(old = %before.identity, new = %new.identity,
                "the new certificate is somebody else's, and is not used"),
            Err(error) => tracing::error!(%error, "new certificates are not used"),
        }
    }

    /// Keeps the certificates as new as the files are, for ever.
    pub async fn keep_new(self) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            self.look().await;
        }
    }

    /// Makes sure that the certificates are as new as the files were a moment ago. Whoever serves
    /// nobody has no other way to them.
    pub(crate) async fn renew(&self) {
        let is_due = {
            let mut looked = self.0.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = looked.elapsed() >= LOOK_AGAIN;
            if is_due {
                *looked = Instant::now();
            }
            is_due
        };
        if is_due {
            self.look().await;
        }
    }

    async fn look(&self) {
        let tls = self.clone();
        // Files may be on a disk that hangs.
        if tokio::task::spawn_blocking(move || tls.reload()).await.is_err() {
            tracing::error!("the look at new certificates panicked");
        }
    }
}

impl Files {
    /// Nothing where a file can't be read just now.
    fn bytes(&self) -> Vec<u8> {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        [&self.cacert, &self.cert, &self.key].into_iter().flat_map(|path| read(path)).collect()
    }

    fn read(&self, provider: &Arc<CryptoProvider>) -> Result<Current, TlsError> {
        // First, so that a change while they are read is seen at the next look.
        let bytes = self.bytes();
        let certificates = |path: &PathBuf, flag| {
            let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            all.map_err(|source| TlsError::File { path: path.clone(), flag, source })
        };
        let authorities: Vec<CertificateDer<'static>> = certificates(&self.cacert, "--cacert")?;
        let chain: Vec<CertificateDer<'static>> = certificates(&self.cert, "--cert")?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::File {
            path: self.key.clone(),
            flag: "--key",
            source,
        })?;
        let unusable = |why: String| TlsError::Unusable { cert: self.cert.clone(), why };
        let own = chain.first().ok_or_else(|| unusable("there is none in it".to_owned()))?;
        let identity = identity(own).map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| unusable(format!("--cacert: {error}")))?;
        }
        let roots = Arc::new(roots);
        let callers =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let callers = callers.build().map_err(|error| unusable(format!("--cacert: {error}")))?;
        let callers = Callers { chain: callers, cluster: identity.cluster.clone() };
        let server = server(provider, callers, chain.clone(), key.clone_key());
        let server = server.map_err(|error| unusable(error.to_string()))?;
        Ok(Current { bytes, identity, roots, chain, key, server: Arc::new(server) })
    }
}

fn server(
    provider: &Arc<CryptoProvider>,
    callers: Callers,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(callers))
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![ALPN.to_vec()];
    // Each connection shows its certificate anew.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}
