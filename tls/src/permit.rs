//! Each call is held against the table of who may call what, before anything else sees it.
//!
//! Not here: whether a caller may act for the node, or the tablet, that its message names. Those who
//! take the message know that, and look at [`Peer`].

use crate::identity::{Identity, Kind};
use crate::incoming::Peer;
use futures::future::{Either, Ready, ready};
use proto::access::{Access, Machine, access};
use proto::reasons::Reason;
use proto::status::Refusal;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::codegen::http::{Request, Response};
use tonic::transport::Server;
use tower_layer::{Layer, Stack};
use tower_service::Service;

/// The layer: for tonic's `Server::layer`. The server's connections have to come from
/// [`incoming`](crate::incoming); calls over others are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Permit;

/// What stands behind it.
#[derive(Debug, Clone)]
pub struct Permitted<S> {
    inner: S,
}

impl<S> Layer<S> for Permit {
    type Service = Permitted<S>;

    fn layer(&self, inner: S) -> Permitted<S> {
        Permitted { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Permitted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let refused = match request.extensions().get::<Peer>() {
            None => Some(Refusal::new(Reason::Unauthenticated, "nobody knows who calls")),
            Some(peer) => refused(peer, path),
        };
        match refused {
            None => Either::Left(self.inner.call(request)),
            Some(refusal) => Either::Right(ready(Ok(Status::from(refusal).into_http()))),
        }
    }
}

/// A server behind it.
pub type PermittedServer = Server<Stack<Permit, tower_layer::Identity>>;

/// Why somebody may not call a method; one line of the audit log then.
fn refused(peer: &Peer, path: &str) -> Option<Refusal> {
    // Without TLS nobody has a name. Then a server is reached from its own machine alone, or its
    // operator has insisted.
    let caller = peer.identity.as_ref()?;
    let access = access(path);
    if access.is_some_and(|access| may(caller, &access)) {
        return None;
    }
    tracing::warn!(target: "audit", who = %caller, peer = %peer.address, method = path,
        result = Reason::PermissionDenied.name());
    let needs = match access {
        None => "nobody may".to_owned(),
        Some(access) => format!("it is for {}", whom(&access)),
    };
    let refusal =
        Refusal::new(Reason::PermissionDenied, format!("{caller} may not call {path}: {needs}"));
    Some(refusal)
}

fn may(caller: &Identity, access: &Access) -> bool {
    let machine = match caller.kind {
        Kind::User(role) => return access.role.is_some_and(|least| role >= least),
        Kind::Coordinator => Machine::Coordinator,
        Kind::Agent => Machine::Agent,
        Kind::Router => Machine::Router,
    };
    access.machines.contains(&machine)
}

/// Whom a method is for, in words.
fn whom(access: &Access) -> String {
    let machines = access.machines.iter().map(|machine| match machine {
        Machine::Coordinator => "coordinators",
        Machine::Agent => "agents",
        Machine::Router => "routers",
    });
    let people = access.role.map(|role| match role {
        proto::access::Role::Viewer => "every user",
        proto::access::Role::Operator => "operators",
        proto::access::Role::Admin => "admins",
    });
    people.into_iter().chain(machines).collect::<Vec<&str>>().join(", ")
}
