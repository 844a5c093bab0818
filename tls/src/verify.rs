//! What a certificate has to be: signed by the cluster's authority, valid now, with exactly one
//! identity, of this cluster.

use crate::identity::{Identity, Kind, NotAnIdentity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use std::sync::Arc;
use webpki::EndEntityCert;

/// A certificate whose identity is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unaccepted {
    /// It can't be read.
    #[error("a certificate that can't be read")]
    Unreadable,
    /// It names nobody, or several.
    #[error("a certificate with {0} URIs among its subject alternative names; expected one")]
    Count(usize),
    /// It names somebody oddly.
    #[error(transparent)]
    Odd(#[from] NotAnIdentity),
    /// It is of another cluster.
    #[error("{0} belongs to another cluster")]
    Cluster(Identity),
    /// Somebody else was expected there.
    #[error("{found} answers where a {expected} was expected")]
    Kind { found: Identity, expected: Kind },
    /// Not whom we look for.
    #[error("{found} answers where {expected:?} was expected")]
    Name { found: Identity, expected: String },
}

impl From<Unaccepted> for Error {
    fn from(unaccepted: Unaccepted) -> Error {
        let why = OtherError(Arc::new(unaccepted));
        Error::InvalidCertificate(CertificateError::Other(why))
    }
}

/// The one identity in a certificate.
pub(crate) fn identity(certificate: &CertificateDer<'_>) -> Result<Identity, Unaccepted> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|_| Unaccepted::Unreadable)?;
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    match uris[..] {
        [uri] => Ok(uri.parse()?),
        _ => Err(Unaccepted::Count(uris.len())),
    }
}

fn of_cluster(certificate: &CertificateDer<'_>, cluster: &str) -> Result<Identity, Unaccepted> {
    let identity = identity(certificate)?;
    if identity.cluster == cluster { Ok(identity) } else { Err(Unaccepted::Cluster(identity)) }
}

/// What a server demands of those who call it.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) chain: Arc<dyn ClientCertVerifier>,
    pub(crate) cluster: String,
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        of_cluster(end_entity, &self.cluster)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// What a client demands of the server that it has dialled. Not a name in DNS: servers are found
/// at addresses that change, and are who their certificate says.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) cluster: String,
    pub(crate) kind: Kind,
    /// Any, if none.
    pub(crate) name: Option<String>,
}

impl ServerCertVerifier for Called {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let found = of_cluster(end_entity, &self.cluster)?;
        if found.kind != self.kind {
            return Err(Unaccepted::Kind { found, expected: self.kind }.into());
        }
        if let Some(expected) = self.name.clone().filter(|name| *name != found.name) {
            return Err(Unaccepted::Name { found, expected }.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
