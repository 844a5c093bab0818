//! Connections that arrive: a bounded number, each of which has to say soon who it is.

use crate::files::Tls;
use crate::identity::Identity;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Connections that have shown who they are and wait to be served.
const READY: usize = 64;
/// The pause after a connection that could not be taken: the process may be out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections of one port may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most at a time; more wait to be taken.
    pub connections: usize,
    /// How long one may take to show who it is.
    pub handshake: Duration,
}

/// The other end of a connection, as a request's extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Who it is; nobody says without TLS.
    pub identity: Option<Identity>,
}

/// A connection that has arrived.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections to a port, for tonic's `serve_with_incoming`. A handshake holds up nobody else;
/// one that fails is a line in the log `audit`, and no connection.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
) -> impl futures::Stream<Item = io::Result<Incoming>> {
    let (ready, connections) = mpsc::channel(READY);
    tokio::spawn(accept(listener, tls, bounds, ready));
    tokio_stream::wrappers::ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    bounds: Bounds,
    ready: mpsc::Sender<io::Result<Incoming>>,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let place = tokio::select! {
            place = place => place,
            () = ready.closed() => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            match timeout(bounds.handshake, greet(stream, address, tls)).await {
                Ok(Ok((stream, peer))) => {
                    let connection = Incoming { stream, peer, _place: place };
                    // Who serves no more takes no more.
                    let _gone = ready.send(Ok(connection)).await;
                }
                Ok(Err(error)) => tracing::warn!(target: "audit", peer = %address, %error,
                    "a connection was refused"),
                Err(_) => tracing::warn!(target: "audit", peer = %address,
                    after = ?bounds.handshake, "a connection that did not say who it is was ended"),
            }
        });
    }
}

async fn greet(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Tls>,
) -> io::Result<(Stream, Peer)> {
    // Answers are small and waited for.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok((Stream::Plain(stream), Peer { address, identity: None }));
    };
    let stream = TlsAcceptor::from(tls.server()).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| io::Error::other("it showed no certificate"))?;
    // Verified in the handshake, and read once more: it is the connection's from here on.
    let identity = crate::verify::identity(shown).map_err(io::Error::other)?;
    let peer = Peer { address, identity: Some(identity) };
    Ok((Stream::Tls(Box::new(stream)), peer))
}

impl Connected for Incoming {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
