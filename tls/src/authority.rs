//! An authority for clusters on one machine: `palisade dev`, the demo, tests. Not for production:
//! its key stands beside what it signs, and there is no way to take a certificate back.

use crate::identity::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file with the authority's certificate, in its directory.
const CACERT: &str = "ca.crt";

/// Signs identities, into files of a directory.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Not put into a file.
    #[error("can't write {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not signed.
    #[error("no certificate could be made: {0}")]
    Sign(#[from] rcgen::Error),
}

/// Where a certificate stands.
#[derive(Debug, Clone)]
pub struct Issued {
    /// For `--cacert`.
    pub cacert: PathBuf,
    /// For `--cert`.
    pub cert: PathBuf,
    /// For `--key`.
    pub key: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.directory.display())
    }
}

impl Authority {
    /// A new one, whose key is only in memory. Its certificate is put into the directory.
    ///
    /// # Errors
    ///
    /// Every [`AuthorityError`].
    pub fn new(directory: &Path) -> Result<Authority, AuthorityError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Palisade on this machine");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(&directory.join(CACERT), &certificate.pem())?;
        Ok(Authority { directory: directory.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Signs an identity, in place of an earlier one of this name.
    ///
    /// # Errors
    ///
    /// Every [`AuthorityError`].
    pub fn issue(&self, identity: &Identity) -> Result<Issued, AuthorityError> {
        let file = format!("{}-{}", identity.kind.path().replace('/', "-"), identity.name);
        let mut params = params(&[&identity.to_string()])?;
        // For clients that go by the name of the host: ours look at the URI alone.
        params.subject_alt_names.push(SanType::DnsName("localhost".try_into()?));
        params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        self.issue_as(&file, params)
    }

    /// Signs whatever is given, into files of this name.
    ///
    /// # Errors
    ///
    /// Every [`AuthorityError`].
    pub fn issue_as(
        &self,
        file: &str,
        params: CertificateParams,
    ) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let path = |end: &str| self.directory.join(format!("{file}.{end}"));
        let (cert, key_file) = (path("crt"), path("key"));
        write(&key_file, &key.serialize_pem())?;
        write(&cert, &certificate.pem())?;
        Ok(Issued { cacert: self.directory.join(CACERT), cert, key: key_file })
    }
}

/// A certificate for both ends with these URIs.
///
/// # Errors
///
/// [`AuthorityError::Sign`] if one of them is no text for a certificate.
pub fn params(uris: &[&str]) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into()?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// Aside and renamed, so that nobody reads half of it; nobody else may read it.
fn write(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let aside = path.with_extension("new");
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&aside, path)
    })();
    written.map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}
