//! Each call is held against the table of who may call what, before anything else sees it. Who asks
//! for what it may ask for, and is served at this port, is no stranger any more.
//!
//! Not here: whether a caller may act for the node, or the tablet, that its message names. Those who
//! take the message know that, and look at [`Peer`].

use crate::arriving::{Arriving, Budget, Held, Messages};
use crate::call::{Call, Noted, within};
use crate::identity::{Identity, Kind};
use crate::incoming::Peer;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use proto::access::{Access, Machine, access, service};
use proto::reasons::Reason;
use proto::status::{ChangeOutcome, Refusal, set_outcome};
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::transport::Server;
use tonic::{Code, Status};
use tower_layer::{Layer, Stack};
use tower_service::Service;

/// The result, in the audit log, of a call that has had no answer.
const UNANSWERED: &str = "UNANSWERED";

/// The layer: for tonic's `Server::layer`. The server's connections have to come from
/// [`incoming`](crate::incoming); calls over others are refused.
#[derive(Debug, Clone)]
pub struct Permit {
    services: Arc<[&'static str]>,
    budget: Budget,
}

impl Permit {
    /// For a port that serves these, each as `package.Service`.
    pub fn to(services: &[&'static str]) -> Permit {
        Permit { services: services.into(), budget: Budget::default() }
    }
}

/// What stands behind it.
#[derive(Debug, Clone)]
pub struct Permitted<S> {
    inner: S,
    permit: Permit,
}

impl<S> Layer<S> for Permit {
    type Service = Permitted<S>;

    fn layer(&self, inner: S) -> Permitted<S> {
        Permitted { inner, permit: self.clone() }
    }
}

impl<S, R> Service<Request<Body>> for Permitted<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(caller) = request.extensions().get::<Peer>().cloned() else {
            let refusal = Refusal::new(Reason::Unauthenticated, "nobody knows who calls");
            return async { Ok(refusing(refusal.into())) }.boxed();
        };
        let call = Arc::new(Call::new(caller, request.uri().path()));
        let is_audited = match permitted(&call) {
            Ok(is_audited) => is_audited,
            Err(status) => return async { Ok(refusing(status)) }.boxed(),
        };
        if self.permit.serves(&call.method) && !call.caller.make_known() {
            let refusal = Refusal::new(Reason::Overloaded, "too many connections at a time");
            return async { Ok(refusing(refusal.into())) }.boxed();
        }
        let (budget, held) = (self.permit.budget.clone(), Held::default());
        let streams = access(&call.method).is_some_and(|access| access.streams);
        let messages = if streams { Messages::Stream } else { Messages::One };
        let arriving = |body| Arriving::new(body, budget, messages, held.clone());
        let request = request.map(|body| Body::new(arriving(body)));
        let answer = within(Arc::clone(&call), self.inner.call(request));
        let unanswered = Unanswered(Some(call).filter(|_| is_audited));
        async move {
            let answer = answer.await;
            drop(held);
            if let Ok(response) = &answer {
                unanswered.told(response.headers());
            }
            answer
        }
        .boxed()
    }
}

impl Permit {
    /// Whether there is such a method at this port. A call of another one is answered, and leaves
    /// its caller the stranger that it was: else anybody would have a place for ever by it.
    fn serves(&self, path: &str) -> bool {
        self.services.contains(&service(path)) && access(path).is_some()
    }
}

/// The answer to a call that nobody else has seen: so it has changed nothing.
fn refusing<R: Default>(mut status: Status) -> Response<R> {
    set_outcome(status.metadata_mut(), ChangeOutcome::NotApplied);
    status.into_http()
}

/// A call that the audit log has to tell of, and has not yet. Who hangs up before there is an
/// answer is told of as well: what he has asked for may be under way, and goes on.
struct Unanswered(Option<Arc<Call>>);

impl Unanswered {
    fn told(mut self, headers: &HeaderMap) {
        let status = Status::from_header_map(headers);
        let refusal = status.as_ref().and_then(Refusal::from_status);
        let result = match (&refusal, &status) {
            (Some(refusal), _) => refusal.reason.name(),
            (None, Some(status)) if status.code() != Code::Ok => status.code().description(),
            (None, _) => "OK",
        };
        self.tell(result);
    }

    /// The line. What it says of the request is its id: no keys, no values.
    fn tell(&mut self, result: &str) {
        let Some(call) = self.0.take() else { return };
        let Noted { request, version, is_trial } = call.noted();
        let who = call.caller.identity.as_ref().map(Identity::to_string);
        let validate_only = is_trial.then_some(true);
        tracing::info!(target: "audit", who, peer = %call.caller.address, method = call.method,
            request, version, validate_only, result);
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.tell(UNANSWERED);
    }
}

/// A server behind it.
pub type PermittedServer = Server<Stack<Permit, tower_layer::Identity>>;

/// Whether a call that may be made is to be told of, also if it succeeds; or why it may not be
/// made, of which the audit log has a line.
fn permitted(call: &Call) -> Result<bool, Status> {
    let access = access(&call.method);
    let is_audited = access.is_some_and(|access| access.audited);
    // Without TLS nobody has a name. Then a server is reached from its own machine alone, or its
    // operator has insisted.
    let Some(caller) = &call.caller.identity else { return Ok(is_audited) };
    if access.is_some_and(|access| may(caller, &access)) {
        return Ok(is_audited);
    }
    let (reason, method) = (Reason::PermissionDenied, &call.method);
    tracing::warn!(target: "audit", who = %caller, peer = %call.caller.address, %method,
        result = reason.name());
    let needs = match access {
        None => "nobody may".to_owned(),
        Some(access) => format!("it is for {}", whom(&access)),
    };
    let message = format!("{caller} may not call {method}: {needs}");
    Err(Refusal::new(reason, message).into())
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

#[cfg(test)]
mod tests;
