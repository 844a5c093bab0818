//! What the proxy does to a connection, seen from both of its ends.

use super::*;
use crate::harness::soon;

/// A connection through a proxy: both ends in hand.
async fn pair() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let upstream = listener.local_addr().expect("bound").to_string();
    let proxy = Proxy::start(Some(&upstream)).await;
    let client = TcpStream::connect(proxy.address()).await.expect("it listens");
    let (server, _) = soon("the upstream", listener.accept()).await.expect("it is dialled");
    (proxy, client, server)
}

async fn get(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut got = vec![0; count];
    soon("bytes", stream.read_exact(&mut got)).await.expect("they come");
    got
}

/// How a connection ends: how many bytes still came, and whether it ended in order.
async fn end(stream: &mut TcpStream) -> (usize, bool) {
    let mut rest = Vec::new();
    let ended = soon("the end", stream.read_to_end(&mut rest)).await;
    (rest.len(), ended.is_ok())
}

#[tokio::test]
async fn bytes_and_ends_go_through() {
    let (_proxy, mut client, mut server) = pair().await;
    client.write_all(b"question").await.expect("sent");
    assert_eq!(get(&mut server, 8).await, b"question");
    client.shutdown().await.expect("half of it is closed");
    assert_eq!(end(&mut server).await, (0, true));
    server.write_all(b"answer").await.expect("the other half is open");
    drop(server);
    assert_eq!(end(&mut client).await, (6, true));
}

#[tokio::test]
async fn what_is_delayed_comes_later_and_in_order() {
    let (proxy, mut client, mut server) = pair().await;
    let delay = Duration::from_millis(60);
    proxy.set(Mode::Delay(delay));
    let began = Instant::now();
    for byte in 0..20u8 {
        client.write_all(&[byte]).await.expect("sent");
    }
    assert_eq!(get(&mut server, 20).await, (0..20).collect::<Vec<u8>>());
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stalled_connection_keeps_what_was_sent() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Mode::Stall);
    // More than all buffers on the way: it can't be taken.
    let much = vec![7; 64 << 20];
    let sending = tokio::spawn(async move {
        client.write_all(&much).await.expect("sent at last");
        client
    });
    let stalled = tokio::time::timeout(Duration::from_millis(50), server.read_u8()).await;
    assert!(stalled.is_err(), "nothing comes through");
    assert!(!sending.is_finished());
    proxy.set(Mode::Pass);
    assert_eq!(get(&mut server, 64 << 20).await.len(), 64 << 20);
    soon("the sender", sending).await.expect("no panic");
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    let (proxy, mut client, mut server) = pair().await;
    client.write_all(b"before").await.expect("sent");
    get(&mut server, 6).await;
    proxy.set(Mode::CutAfter(Direction::ToServer, 5));
    server.write_all(b"answers don't count").await.expect("sent");
    get(&mut client, 19).await;
    client.write_all(b"0123456789").await.expect("sent");
    assert_eq!(get(&mut server, 5).await, b"01234");
    assert_eq!(end(&mut server).await, (0, false), "reset");
    assert_eq!(end(&mut client).await, (0, false), "reset");
}

#[tokio::test]
async fn a_close_comes_in_order_after_exactly_so_many_bytes() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Mode::CloseAfter(Direction::ToClient, 5));
    server.write_all(b"0123456789").await.expect("sent");
    assert_eq!(end(&mut client).await, (5, true), "an end, and no reset");
    drop(client);
    assert_eq!(end(&mut server).await, (0, true), "the client has gone");
}

#[tokio::test]
async fn a_half_open_connection_says_nothing_and_is_reset_once_it_heals() {
    let (proxy, mut client, mut server) = pair().await;
    client.write_all(b"x").await.expect("sent");
    get(&mut server, 1).await;
    proxy.set(Mode::HalfOpen);
    client.write_all(b"lost").await.expect("the kernel takes it");
    server.shutdown().await.expect("its end is lost, too");
    let silent = Duration::from_millis(50);
    assert!(tokio::time::timeout(silent, server.read_u8()).await.is_err());
    assert!(tokio::time::timeout(silent, client.read_u8()).await.is_err());
    proxy.set(Mode::Pass);
    assert_eq!(end(&mut client).await, (0, false), "reset");
    let mut again = TcpStream::connect(proxy.address()).await.expect("a new one is taken");
    again.write_all(b"x").await.expect("and passes");
}

#[tokio::test]
async fn eaten_answers_are_lost_while_questions_arrive() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Mode::EatAnswers);
    client.write_all(b"question").await.expect("sent");
    assert_eq!(get(&mut server, 8).await, b"question");
    server.write_all(b"answer").await.expect("the kernel takes it");
    let lost = tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(lost.is_err());
    let connection = proxy.connections().remove(0);
    assert_eq!(connection.passed(Direction::ToServer), 8);
    assert_eq!(connection.passed(Direction::ToClient), 0);
}

#[tokio::test]
async fn eaten_questions_are_lost_while_the_server_is_heard() {
    let (proxy, mut client, mut server) = pair().await;
    proxy.set(Mode::EatQuestions);
    server.write_all(b"news").await.expect("sent");
    assert_eq!(get(&mut client, 4).await, b"news");
    client.write_all(b"question").await.expect("the kernel takes it");
    let lost = tokio::time::timeout(Duration::from_millis(50), server.read_u8()).await;
    assert!(lost.is_err());
    let connection = proxy.connections().remove(0);
    assert_eq!(connection.passed(Direction::ToServer), 0);
    assert_eq!(connection.passed(Direction::ToClient), 4);
    proxy.set(Mode::EatAnswers);
    assert!(!connection.cut.is_cancelled(), "it is not mended yet");
    proxy.set(Mode::Pass);
    assert_eq!(end(&mut client).await, (0, false), "reset");
}

#[tokio::test]
async fn one_connection_can_be_treated_alone() {
    let (proxy, mut client, mut server) = pair().await;
    let first = proxy.connections().remove(0);
    let mut other = TcpStream::connect(proxy.address()).await.expect("taken");
    first.cut();
    assert_eq!(end(&mut client).await, (0, false));
    assert_eq!(end(&mut server).await, (0, false));
    other.write_all(b"x").await.expect("the other one goes on");
}

#[tokio::test]
async fn without_an_upstream_connections_are_reset() {
    let proxy = Proxy::start(None).await;
    let mut client = TcpStream::connect(proxy.address()).await.expect("taken");
    assert_eq!(end(&mut client).await, (0, false));
}
