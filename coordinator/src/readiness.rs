//! When a coordinator is ready: it knows a leader, itself or another one, and has applied what it
//! knew to be committed when it started.
//!
//! That a leader is known is no word about a quorum; it says that a caller is told where to go.

use crate::group0::Status;

/// What is compared with what a coordinator had at its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readiness {
    committed: Option<u64>,
}

impl Readiness {
    /// As group0 stands at the start.
    pub(crate) fn at_start(status: &Status) -> Readiness {
        Readiness { committed: status.committed }
    }

    /// Whether it is ready now.
    ///
    /// # Errors
    ///
    /// Why not, in a few words.
    pub(crate) fn check(self, status: &Status) -> Result<(), &'static str> {
        if status.leader.is_none() {
            return Err("no leader is known");
        }
        if status.applied < self.committed {
            return Err("what was committed is being applied");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::{Group0, Member, Options, Role};
    use crate::machine::Machine;
    use process::Signals;
    use prometheus_client::registry::Registry;
    use std::collections::BTreeMap;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    fn status(leader: Option<u64>, committed: Option<u64>, applied: Option<u64>) -> Status {
        Status {
            node: 1,
            term: 3,
            role: Role::Follower,
            leader,
            last_log: committed,
            committed,
            applied,
            snapshot: None,
            purged: None,
            voters: vec![1, 2, 3],
        }
    }

    #[test]
    fn it_needs_a_leader_and_all_that_was_committed_at_the_start() {
        let ready = Readiness::at_start(&status(None, Some(7), Some(4)));
        assert!(ready.check(&status(None, Some(7), Some(7))).is_err());
        assert!(ready.check(&status(Some(2), Some(9), Some(6))).is_err());
        assert_eq!(ready.check(&status(Some(2), Some(9), Some(7))), Ok(()));
        let empty = Readiness::at_start(&status(None, None, None));
        assert_eq!(empty.check(&status(Some(1), None, None)), Ok(()));
    }

    async fn code(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        answer.split_whitespace().nth(1).expect("a code").to_owned()
    }

    #[tokio::test]
    async fn readyz_refuses_until_a_leader_is_known_and_livez_never() {
        let directory = tempfile::tempdir().expect("a directory");
        let member = Member { name: "c1".to_owned(), ..Member::default() };
        let options = Options::new(directory.path(), member.clone());
        let group0 = Group0::open(options, Machine::default()).await.expect("it opens");
        let readiness = Readiness::at_start(&group0.metrics());
        let looked = group0.clone();
        let ready = move || readiness.check(&looked.metrics());
        let signals = Signals::new(Registry::default(), || (), ready, Vec::new());
        let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let health = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = http.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(signals.serve(http, health, stop.clone()));
        assert_eq!(code(address, "/livez").await, "200");
        assert_eq!(code(address, "/readyz").await, "503");
        group0.bootstrap(BTreeMap::from([(group0.raft_id(), member)])).await.expect("it begins");
        let mut leadership = group0.leadership();
        let leads = leadership.wait_for(Option::is_some);
        tokio::time::timeout(Duration::from_secs(30), leads).await.expect("soon").expect("it runs");
        assert_eq!(code(address, "/readyz").await, "200");
        assert_eq!(code(address, "/livez").await, "200");
        stop.cancel();
        serving.await.expect("it ends");
        group0.shutdown().await.expect("it stops");
    }
}
