//! A TCP proxy between any two parties, that can do to a connection what networks do.
//!
//! Its mode can be changed while connections run, for all of them or for one. Its upstream can be
//! told later, or anew: a process that was restarted listens elsewhere.
//!
//! Not here: what the bytes mean.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Pieces that may be on their way in one direction.
const PIECES_IN_FLIGHT: usize = 1_024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From who has connected to who listens.
    ToServer,
    /// The answers.
    ToClient,
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bytes and ends go through.
    Pass,
    /// The same, so much later, in order.
    Delay(Duration),
    /// Nobody is accepted, nothing is read: whoever sends fills the buffers on the way.
    Stall,
    /// After so many more bytes in this direction the connection is reset at both ends.
    CutAfter(Direction, u64),
    /// The same, but it is closed in order, as by a process that ends: whoever reads finds the end
    /// in the middle of what it waits for.
    CloseAfter(Direction, u64),
    /// Neither bytes nor ends go through, and nobody is told.
    HalfOpen,
    /// What the server answers is lost; what the client says arrives.
    EatAnswers,
    /// What the client says is lost; what the server says arrives.
    EatQuestions,
}

impl Mode {
    fn loses(self, direction: Direction) -> bool {
        match self {
            Mode::HalfOpen => true,
            Mode::EatAnswers => direction == Direction::ToClient,
            Mode::EatQuestions => direction == Direction::ToServer,
            Mode::Pass
            | Mode::Delay(_)
            | Mode::Stall
            | Mode::CutAfter(..)
            | Mode::CloseAfter(..) => false,
        }
    }
}

/// One connection through the proxy.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    mode: watch::Sender<Mode>,
    cut: CancellationToken,
    /// Bytes or an end were lost: whatever came after them would make no sense.
    is_broken: Arc<AtomicBool>,
    passed: Arc<[AtomicU64; 2]>,
}

impl Connection {
    fn new(mode: Mode) -> Connection {
        Connection {
            mode: watch::Sender::new(mode),
            cut: CancellationToken::new(),
            is_broken: Arc::default(),
            passed: Arc::default(),
        }
    }

    /// Does this to the connection from now on. One that has lost something can't be mended: it is
    /// reset as soon as it would pass bytes again, as by a peer that has forgotten it.
    pub(crate) fn set(&self, mode: Mode) {
        let is_mended = !mode.loses(Direction::ToClient) && !mode.loses(Direction::ToServer);
        if is_mended && self.is_broken.load(Ordering::Acquire) {
            self.cut();
        }
        self.mode.send_replace(mode);
    }

    /// Resets it at both ends.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// How many bytes were passed on in this direction.
    pub(crate) fn passed(&self, direction: Direction) -> u64 {
        self.passed[direction as usize].load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Inner {
    upstream: Mutex<Option<String>>,
    mode: watch::Sender<Mode>,
    connections: Mutex<BTreeMap<u64, Connection>>,
    accepted: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens on loopback and passes what comes on to its upstream, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

impl Proxy {
    /// A proxy in front of an address; connections are refused while there is none.
    pub(crate) async fn start(upstream: Option<&str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let inner = Arc::new(Inner {
            upstream: Mutex::new(upstream.map(str::to_owned)),
            mode: watch::Sender::new(Mode::Pass),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inner)));
        Proxy { address, inner, accepting }
    }

    /// Where it listens, `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Passes new connections on to this address.
    pub(crate) fn set_upstream(&self, upstream: &str) {
        *locked(&self.inner.upstream) = Some(upstream.to_owned());
    }

    /// Does this to all connections, also to those that are yet to come.
    pub(crate) fn set(&self, mode: Mode) {
        self.inner.mode.send_replace(mode);
        for connection in self.connections() {
            connection.set(mode);
        }
    }

    /// Resets all connections that there are.
    pub(crate) fn cut_all(&self) {
        for connection in self.connections() {
            connection.cut();
        }
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> u64 {
        self.inner.accepted.load(Ordering::Relaxed)
    }

    /// The connections that there are, the oldest first.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        locked(&self.inner.connections).values().cloned().collect()
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut mode = inner.mode.subscribe();
    loop {
        if *mode.borrow_and_update() == Mode::Stall {
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let client = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok((client, _)) = client else { return };
        let connection = {
            // Under the lock, so that no change of the mode falls between.
            let mut connections = locked(&inner.connections);
            let connection = Connection::new(*mode.borrow_and_update());
            let number = inner.accepted.fetch_add(1, Ordering::Relaxed);
            connections.insert(number, connection.clone());
            (number, connection)
        };
        let inner = Arc::clone(&inner);
        tokio::spawn(async move {
            let (number, connection) = connection;
            carry(&inner, client, &connection).await;
            locked(&inner.connections).remove(&number);
        });
    }
}

/// Carries one connection until it ends or is cut.
async fn carry(inner: &Inner, mut client: TcpStream, connection: &Connection) {
    let upstream = locked(&inner.upstream).clone();
    let server = match upstream {
        Some(upstream) => TcpStream::connect(upstream).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        let _reset = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let is_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let asks = pump(from_client, to_server, Direction::ToServer, connection);
        let answers = pump(from_server, to_client, Direction::ToClient, connection);
        tokio::select! {
            () = connection.cut.cancelled() => true,
            (asked, answered) = async { tokio::join!(asks, answers) } => {
                asked.is_err() || answered.is_err()
            }
        }
    };
    if is_cut {
        let _reset = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// An end that is not one in order.
#[derive(Debug)]
struct Cut;

/// Carries one direction to its end in order.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    direction: Direction,
    connection: &Connection,
) -> Result<(), Cut> {
    let (pieces, queue) = mpsc::channel(PIECES_IN_FLIGHT);
    let reading = read(from, pieces, direction, connection);
    let writing = write(to, queue, direction, connection);
    let ended = tokio::try_join!(reading, writing);
    if ended.is_err() {
        // The other direction ends with this one.
        connection.cut.cancel();
    }
    ended.map(drop)
}

/// A piece, and when it may arrive; an empty one is the end.
type Piece = (Instant, Vec<u8>);

async fn read(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    direction: Direction,
    connection: &Connection,
) -> Result<(), Cut> {
    let mut changes = connection.mode.subscribe();
    let mut buffer = vec![0; READ_BYTES];
    let mut mode = *changes.borrow_and_update();
    let mut since = 0u64;
    loop {
        let left = match mode {
            Mode::CutAfter(of, bytes) | Mode::CloseAfter(of, bytes) if of == direction => {
                bytes.saturating_sub(since)
            }
            _ => u64::MAX,
        };
        if left == 0 && matches!(mode, Mode::CloseAfter(..)) {
            pieces.send((Instant::now(), Vec::new())).await.map_err(|_| Cut)?;
            // What still comes is read and forgotten: left unread it would be a reset.
            while from.read(&mut buffer).await.map_err(|_| Cut)? > 0 {}
            return Ok(());
        }
        if left == 0 {
            // What was let through arrives before the reset: the writer cuts, in its turn.
            drop(pieces);
            return Ok(());
        }
        let room = READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES));
        let count = tokio::select! {
            biased;
            changed = changes.changed() => {
                changed.map_err(|_| Cut)?;
                mode = *changes.borrow_and_update();
                since = 0;
                continue;
            }
            read = from.read(&mut buffer[..room]), if mode != Mode::Stall => {
                read.map_err(|_| Cut)?
            }
        };
        if mode.loses(direction) {
            connection.is_broken.store(true, Ordering::Release);
            if count == 0 {
                // The end is lost as well: this connection only ends when it is cut.
                return std::future::pending().await;
            }
            continue;
        }
        since += count as u64;
        let delay = if let Mode::Delay(delay) = mode { delay } else { Duration::ZERO };
        let piece = (Instant::now() + delay, buffer[..count].to_vec());
        pieces.send(piece).await.map_err(|_| Cut)?;
        if count == 0 {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::Receiver<Piece>,
    direction: Direction,
    connection: &Connection,
) -> Result<(), Cut> {
    while let Some((due, piece)) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        if piece.is_empty() {
            return to.shutdown().await.map_err(|_| Cut);
        }
        to.write_all(&piece).await.map_err(|_| Cut)?;
        connection.passed[direction as usize].fetch_add(piece.len() as u64, Ordering::Release);
    }
    Err(Cut)
}

#[cfg(test)]
mod tests;
