//! The simulation's network under tonic: a connector, and a listener.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{Stream, unfold};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::codegen::http::Uri;
use tonic::transport::server::Connected;
use tower_service::Service;
use turmoil::net::{TcpListener, TcpStream};

/// A connection that can't be made is refused at once by the simulation, in no time at all: who
/// tries again and again would do so for ever within one moment.
const REFUSED_AFTER: Duration = Duration::from_millis(50);

/// Connects over the simulation's network.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Connector;

/// See [`Connector`].
pub(in super::super) fn connector() -> Connector {
    Connector
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(80));
            let connected = TcpStream::connect((host.to_owned(), port)).await;
            if connected.is_err() {
                tokio::time::sleep(REFUSED_AFTER).await;
            }
            connected.map(TokioIo::new)
        })
    }
}

/// To whom answers are lost: connections come about, what is sent over them arrives, and nothing
/// comes back. So it looks where something in between takes connections and loses one way.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Option<IpAddr>>);

impl Losses {
    pub(super) fn set(&self, to: Option<IpAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    fn are_to(&self, peer: IpAddr) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(peer)
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    stream: TcpStream,
    from: IpAddr,
    losses: Arc<Losses>,
}

/// Those who come to this host's port.
pub(super) async fn accepted(
    port: u16,
    losses: Arc<Losses>,
) -> io::Result<impl Stream<Item = io::Result<Accepted>> + Send> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    Ok(unfold((listener, losses), |(listener, losses)| async move {
        let accepted = listener.accept().await.map(|(stream, from)| {
            let (from, losses) = (from.ip(), Arc::clone(&losses));
            Accepted { stream, from, losses }
        });
        Some((accepted, (listener, losses)))
    }))
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.losses.are_to(self.from) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
