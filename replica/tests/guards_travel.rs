//! A7: the handler of a call goes away while a blocking write runs. The guard must live as long as
//! the write, not as long as who asked for it.

mod agent;

use agent::*;
use futures::poll;
use migrations::row::Merged;
use migrations::stage::Stage;
use palisade_replica::guard::TopologyGuard;
use std::pin::pin;
use std::sync::{Arc, mpsc};

/// A blocking write that begins when it is told to.
struct Held {
    agent: Arc<Agent>,
    go: mpsc::Receiver<()>,
    began: tokio::sync::oneshot::Sender<()>,
}

impl Held {
    /// Waits, then writes a row as one chunk of a call.
    fn write(self, guard: &TopologyGuard) -> bool {
        self.began.send(()).expect("the test waits");
        self.go.recv().expect("the test tells");
        let rows = [(b"k".to_vec(), row(3, Some(b"late")))];
        let ingested = self.agent.pull(guard, 1, &rows);
        ingested.is_ok_and(|ingested| ingested.merged == [Merged::Stored])
    }
}

#[tokio::test]
async fn a7_the_guard_lives_until_the_write_is_over_and_the_drain_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Arc::new(receiving(dir.path()).await);
    let (tell, go) = mpsc::sync_channel(1);
    let (began, begun) = tokio::sync::oneshot::channel();
    let (done, outcome) = tokio::sync::oneshot::channel();
    let held = Held { agent: Arc::clone(&agent), go, began };
    let guard = agent.enter(session(1)).expect("open");
    let handler = tokio::spawn(async move {
        let write = tokio::task::spawn_blocking(move || {
            let stored = held.write(&guard);
            drop(guard);
            done.send(stored).expect("the test waits");
        });
        write.await.expect("it doesn't panic");
    });
    begun.await.expect("the write begins");
    handler.abort(); // The client has gone away.
    assert!(handler.await.expect_err("aborted").is_cancelled());

    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadNew, None))).await;
    let mut drain = pin!(agent.tablets.drain(tablet(), version(7)));
    assert!(poll!(&mut drain).is_pending(), "the write runs: the barrier waits for it");
    tell.send(()).expect("the write waits");
    drain.await;
    let stored = outcome.await.expect("over before the drain was");
    assert!(!stored, "and the store refused it, since its session was closed");
    let read = agent.at(7).expect("current");
    assert_eq!(agent.store.get(&read, b"k"), Ok(None));
}

/// The control: the guard belongs to the handler's future, and the write has none that a barrier
/// knows of. INV-2 is broken: the drain returns, and then the write lands.
#[cfg(feature = "faults")]
#[tokio::test]
async fn a7_control_a_guard_owned_by_the_handler_lets_the_write_land_after_the_drain() {
    let dir = tempfile::tempdir().expect("a directory");
    let agent = Arc::new(receiving(dir.path()).await);
    let (tell, go) = mpsc::sync_channel(1);
    let (began, begun) = tokio::sync::oneshot::channel();
    let (done, outcome) = tokio::sync::oneshot::channel();
    let held = Held { agent: Arc::clone(&agent), go, began };
    let guard = agent.enter(session(1)).expect("open");
    let handler = tokio::spawn(async move {
        let _guard = guard; // Dropped with this future, whatever the write does.
        let write = tokio::task::spawn_blocking(move || {
            done.send(held.write_hollow()).expect("the test waits");
        });
        write.await.expect("it doesn't panic");
    });
    begun.await.expect("the write begins");
    handler.abort();
    assert!(handler.await.expect_err("aborted").is_cancelled());

    agent.take_on(&Arc::new(moving(7, 5, Stage::WriteBothReadNew, None))).await;
    agent.tablets.drain(tablet(), version(7)).await;
    let read = agent.at(7).expect("current");
    assert_eq!(agent.store.get(&read, b"k"), Ok(None), "nothing yet, and the drain is over");
    tell.send(()).expect("the write waits");
    assert!(outcome.await.expect("it ends"));
    assert_eq!(agent.store.get(&read, b"k"), Ok(Some(row(3, Some(b"late")))), "INV-2 is broken");
}

#[cfg(feature = "faults")]
impl Held {
    /// The same, under a guard that no barrier knows of: without any it would not compile.
    fn write_hollow(self) -> bool {
        self.began.send(()).expect("the test waits");
        self.go.recv().expect("the test tells");
        self.agent.sessions.set_guard_check(false);
        let hollow = self.agent.enter(session(1)).expect("the check is off");
        let rows = [(b"k".to_vec(), row(3, Some(b"late")))];
        self.agent.chunk(&hollow, 1, &Default::default(), &rows).is_ok()
    }
}
