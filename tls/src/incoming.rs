//! Connections that arrive: a bounded number, each of which has to say soon who it is, and to ask
//! for something that it may ask for. None outlives the certificate that was shown on it.

use crate::door::{Door, GivenUp, Place};
use crate::files::Tls;
use crate::identity::Identity;
use crate::validity;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
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
    /// Most at a time of those that have asked nothing yet, or nothing that they may. One more
    /// ends the oldest.
    pub strangers: usize,
    /// Most at a time of the others, an eighth of them (16 at least) of one identity. Calls over
    /// one more are refused.
    pub known: usize,
    /// How long one may take from its arrival until it is no stranger any more.
    pub greeting: Duration,
}

impl Peer {
    /// Has its connection be none of a stranger's; whether it is none.
    pub fn make_known(&self) -> bool {
        self.place.make_known(self.identity.as_ref())
    }
}

impl Bounds {
    /// The same for a port that may have no more than so many connections: a process has only so
    /// many descriptors. A third of them are for strangers.
    #[must_use]
    pub fn at_most(self, connections: usize) -> Bounds {
        let strangers = self.strangers.min(connections / 3);
        Bounds { strangers, known: self.known.min(connections - strangers), ..self }
    }
}

/// The other end of a connection, as a request's extension.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// Who it is; nobody says without TLS.
    pub identity: Option<Identity>,
    pub(crate) place: Arc<Place>,
}

/// A connection that has arrived.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    peer: Peer,
    stay: Stay,
    /// Once the caller's certificate has run out; for ever without TLS.
    expiry: Option<Pin<Box<Sleep>>>,
}

/// How long a stranger may stay.
#[derive(Debug)]
struct Stay {
    given_up: GivenUp,
    until: Pin<Box<Sleep>>,
}

impl Stay {
    /// Ready once it is over.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let over = |kind, what| Poll::Ready(io::Error::new(kind, what));
        if Pin::new(&mut self.given_up).poll(context).is_ready() {
            return over(io::ErrorKind::ConnectionAborted, "it gave way to others");
        }
        if self.until.as_mut().poll(context).is_ready() {
            return over(io::ErrorKind::TimedOut, "it has not said in time what it wants");
        }
        Poll::Pending
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections to a port, for tonic's `serve_with_incoming`, behind [`Permit`](crate::Permit),
/// which makes strangers known. A handshake holds up nobody else; one that fails is a line in the
/// log `audit`, and no connection.
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
    let door = Door::new(bounds.strangers, bounds.known);
    loop {
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
        let (place, given_up) = door.enter(address);
        let until = Box::pin(sleep_until(Instant::now() + bounds.greeting));
        let mut stay = Stay { given_up, until };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let greeted = tokio::select! {
                greeted = greet(stream, tls) => greeted,
                over = std::future::poll_fn(|context| stay.poll_over(context)) => Err(over),
            };
            match greeted {
                Ok((stream, shown)) => {
                    let (identity, expiry) = shown.unzip();
                    let expiry = expiry.flatten().map(|expiry| Box::pin(sleep_until(expiry)));
                    let peer = Peer { address, identity, place };
                    // Who serves no more takes no more.
                    let _gone = ready.send(Ok(Incoming { stream, peer, stay, expiry })).await;
                }
                // All of those are one line.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => tracing::warn!(target: "audit", peer = %address, %error,
                    "a connection was refused"),
            }
        });
    }
}

/// Who somebody is, and until when that is so, if a certificate ends at any time that counts.
type Shown = (Identity, Option<Instant>);

async fn greet(stream: TcpStream, tls: Option<Tls>) -> io::Result<(Stream, Option<Shown>)> {
    // Answers are small and waited for.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok((Stream::Plain(stream), None));
    };
    let stream = TlsAcceptor::from(tls.server()).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| io::Error::other("it showed no certificate"))?;
    // Verified in the handshake, and read once more: it is the connection's from here on.
    let identity = crate::verify::identity(shown).map_err(io::Error::other)?;
    let expiry =
        validity::of(shown).and_then(|validity| Instant::now().checked_add(validity.rest()));
    Ok((Stream::Tls(Box::new(stream)), Some((identity, expiry))))
}

impl Connected for Incoming {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Incoming {
    /// The stream, as long as the connection may stay: also one that takes no bytes any more.
    fn poll_stream(&mut self, context: &mut Context<'_>) -> io::Result<&mut Stream> {
        if !self.peer.place.is_known()
            && let Poll::Ready(over) = self.stay.poll_over(context)
        {
            return Err(over);
        }
        if let Some(expiry) = &mut self.expiry
            && expiry.as_mut().poll(context).is_ready()
        {
            return Err(io::Error::other("the certificate that was shown has run out"));
        }
        Ok(&mut self.stream)
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut().poll_stream(context)? {
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
        match self.get_mut().poll_stream(context)? {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut().poll_stream(context)? {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    // A frame's head and what follows go out together: else each is a packet, or a record, of its own.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().poll_stream(context)? {
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
