//! Connections to servers.

use crate::files::Tls;
use crate::identity::Kind;
use crate::validity::{self, Validity};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

/// What is read from a connection at a time before it is decrypted: rustls itself reads 4 KiB at a
/// time, and bulk comes to those who dial.
const READ_BYTES: usize = 64 << 10;

/// Dials servers of one kind, with TLS or without. For tonic's `connect_with_connector`.
#[derive(Debug, Clone)]
pub struct Dial {
    tls: Option<Tls>,
    kind: Kind,
    name: Option<String>,
}

/// An error and what caused it, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let cause = cause.to_string();
        // Some tell their cause themselves.
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// A connection that was not made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address has no host or no port.
    #[error("{0} is no address: expected HOST:PORT")]
    Address(Uri),
    /// Nobody is there.
    #[error("can't connect to {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Who is there is not whom we wanted, or doesn't want us.
    #[error("no TLS with {address}: {source}")]
    Handshake {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Our own certificate can't be used.
    #[error("our own certificate can't be used: {0}")]
    Own(#[from] rustls::Error),
}

impl Dial {
    /// Dials servers of this kind.
    pub fn new(tls: Option<Tls>, kind: Kind) -> Dial {
        Dial { tls, kind, name: None }
    }

    /// The same, for the server of this name alone.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Dial {
        Dial { name: Some(name.into()), ..self }
    }

    /// Whether it speaks TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<Dialled>, DialError> {
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(DialError::Address(uri));
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = format!("{host}:{port}");
        let stream = TcpStream::connect((host, port)).await;
        let stream =
            stream.map_err(|source| DialError::Connect { address: address.clone(), source })?;
        // Answers are small and waited for.
        let stream = stream.set_nodelay(true).map(|()| stream);
        let stream =
            stream.map_err(|source| DialError::Connect { address: address.clone(), source })?;
        let Some(tls) = self.tls else { return Ok(TokioIo::new(Dialled::Plain(stream))) };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Address(uri))?;
        tls.renew().await;
        let connector = TlsConnector::from(tls.client(self.kind, self.name)?);
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|source| DialError::Handshake { address, source })?;
        Ok(TokioIo::new(Dialled::Tls(Box::new(stream))))
    }
}

impl Dial {
    /// A connection to where an endpoint says, made when it is first used.
    pub fn lazy(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self.clone())
    }

    /// A connection to where an endpoint says.
    ///
    /// # Errors
    ///
    /// It can't be made: its last cause is a [`DialError`], or says that it took too long.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        endpoint.connect_with_connector(self.clone()).await
    }
}

impl Dial {
    /// From when until when the certificate is good that is shown there; none in the clear, or if
    /// that can't be read.
    ///
    /// # Errors
    ///
    /// Every [`DialError`].
    pub async fn look(&self, uri: &Uri) -> Result<Option<Validity>, DialError> {
        let dialled = self.clone().dial(uri.clone()).await?.into_inner();
        let Dialled::Tls(stream) = dialled else { return Ok(None) };
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.and_then(validity::of))
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Dialled>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub enum Dialled {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

impl AsyncRead for Dialled {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Dialled::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Dialled::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Dialled::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Dialled::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Dialled::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Dialled::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    // A frame's head and what follows go out together: else each is a packet, or a record, of its own.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Dialled::Plain(stream) => Pin::new(stream).poll_flush(context),
            Dialled::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Dialled::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Dialled::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
