//! What becomes of calls: over no socket, before a server that the test is.

use super::*;
use crate::door::{Door, GivenUp};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::sync::watch;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const ATTACH: &str = "/palisade.agent.v1.AgentService/Attach";

/// A server that answers once it may.
#[derive(Clone)]
struct Answers(watch::Receiver<bool>);

impl Service<Request<Body>> for Answers {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut may = self.0.clone();
        async move {
            may.wait_for(|may| *may).await.expect("the test goes on");
            Ok(Status::unimplemented("nothing is served").into_http())
        }
        .boxed()
    }
}

fn answering() -> Answers {
    Answers(watch::channel(true).1)
}

/// A connection of somebody's to a port with one place for others than strangers.
fn connection(who: Option<&str>) -> (Peer, GivenUp) {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let (place, given_up) = Door::new(8, 1).enter(address);
    let identity = who.map(|who| who.parse().expect("an identity"));
    (Peer { address, identity, place }, given_up)
}

fn request(peer: &Peer, path: &'static str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path");
    request.extensions_mut().insert(peer.clone());
    request
}

async fn called(permit: &Permit, peer: &Peer, path: &'static str) -> Code {
    let answer = permit.layer(answering()).call(request(peer, path)).await.expect("an answer");
    Status::from_header_map(answer.headers()).expect("a status").code()
}

/// A server answers what it doesn't offer, `UNIMPLEMENTED`. That gives nobody a place.
#[tokio::test]
async fn what_is_not_served_makes_nobody_known() {
    let permit = Permit::to(&["palisade.agent.v1.AgentService"]);
    for who in [Some("spiffe://prod/user/viewer/bob"), None] {
        let (peer, _given_up) = connection(who);
        assert_eq!(called(&permit, &peer, HEALTH).await, Code::Unimplemented);
        assert!(!peer.place.is_known(), "{who:?} has asked for what is not served");
    }
    let (nobody, _given_up) = connection(None);
    let unheard = "/palisade.agent.v1.AgentService/Nothing";
    assert_eq!(called(&permit, &nobody, unheard).await, Code::Unimplemented);
    assert!(!nobody.place.is_known(), "there is no such method");
    let (agent, _given_up) = connection(Some("spiffe://prod/agent/n1"));
    called(&permit, &agent, ATTACH).await;
    assert!(agent.place.is_known());
    // Where it is served it does.
    let (viewer, _given_up) = connection(Some("spiffe://prod/user/viewer/bob"));
    called(&Permit::to(&proto::access::FOREIGN_SERVICES), &viewer, HEALTH).await;
    assert!(viewer.place.is_known());
}

/// The lines of the log, as long as this lives.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn told(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panicked").clone()).expect("text")
    }
}

/// Whoever asks for a change and hangs up has asked for it all the same.
#[tokio::test]
async fn a_change_whose_caller_hangs_up_is_told_of() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (peer, _given_up) = connection(Some("spiffe://prod/user/admin/alice"));
    let permit = Permit::to(&["palisade.admin.v1.TableService"]);
    let (_never, waits) = watch::channel(false);
    let mut server = permit.layer(Answers(waits));
    let drop_table = || request(&peer, "/palisade.admin.v1.TableService/DropTable");
    let mut answer = server.call(drop_table());
    assert!(futures::poll!(&mut answer).is_pending());
    assert_eq!(lines.told(), "", "it is under way");
    drop(answer);
    let told = lines.told();
    for part in ["UNANSWERED", "TableService/DropTable", "spiffe://prod/user/admin/alice"] {
        assert_eq!(told.matches(part).count(), 1, "{part}: {told}");
    }
    // What is answered is told of once, and what only looks is not.
    permit.layer(answering()).call(drop_table()).await.expect("an answer");
    assert_eq!(lines.told().lines().count(), 2, "{}", lines.told());
    let list = request(&peer, "/palisade.admin.v1.TableService/ListTables");
    drop(server.call(list));
    assert_eq!(lines.told().lines().count(), 2, "{}", lines.told());
}
