//! The call that is being answered: who makes it, and what the audit log is to say of it.

use crate::identity::{Identity, Kind};
use crate::incoming::Peer;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::Status;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// A call that is being answered.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Peer,
    pub(crate) method: String,
    noted: Mutex<Noted>,
}

/// What those who answer it know, and the layer before them does not.
#[derive(Debug, Default, Clone)]
pub(crate) struct Noted {
    /// The request's id.
    pub(crate) request: Option<String>,
    /// The version at which it took effect.
    pub(crate) version: Option<String>,
    /// Nothing is to be done.
    pub(crate) is_trial: bool,
}

impl Call {
    pub(crate) fn new(caller: Peer, method: &str) -> Call {
        Call { caller, method: method.to_owned(), noted: Mutex::default() }
    }

    pub(crate) fn noted(&self) -> Noted {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn within<F: Future>(
    call: Arc<Call>,
    answer: F,
) -> tokio::task::futures::TaskLocalFuture<Arc<Call>, F> {
    CALL.scope(call, answer)
}

/// Who makes the call that this task answers; none outside of one, and none without TLS.
pub fn caller() -> Option<Caller> {
    CALL.try_with(|call| {
        let identity = call.caller.identity.clone()?;
        Some(Caller { identity, call: Arc::clone(call) })
    })
    .ok()
    .flatten()
}

/// Has the audit log name the request.
pub fn note_request(id: impl Display) {
    note(|noted| noted.request = Some(id.to_string()));
}

/// Has the audit log name the version at which the call took effect.
pub fn note_version(version: impl Display) {
    note(|noted| noted.version = Some(version.to_string()));
}

/// Has the audit log say that the call asks what would become of a change, and makes none.
pub fn note_trial() {
    note(|noted| noted.is_trial = true);
}

fn note(note: impl FnOnce(&mut Noted)) {
    // Outside of a call there is nothing to say.
    let _ = CALL.try_with(|call| {
        note(&mut call.noted.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

/// Somebody who calls, by a certificate.
#[derive(Debug, Clone)]
pub struct Caller {
    identity: Identity,
    call: Arc<Call>,
}

impl Caller {
    /// By what it is told from everybody else, over all its connections.
    pub fn name(&self) -> String {
        self.identity.to_string()
    }

    /// Refuses an agent that would act for another node than its own; one line of the audit log
    /// then. Callers of other kinds are not agents, and are refused like it.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED`.
    pub fn must_be_node(&self, name: &str) -> Result<(), Status> {
        self.must_be(Kind::Agent, name)
    }

    /// The same of a coordinator that would speak for another one.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED`.
    pub fn must_be_coordinator(&self, name: &str) -> Result<(), Status> {
        self.must_be(Kind::Coordinator, name)
    }

    fn must_be(&self, kind: Kind, name: &str) -> Result<(), Status> {
        if self.identity.kind == kind && self.identity.name == name {
            return Ok(());
        }
        let Call { caller, method, .. } = &*self.call;
        let reason = Reason::PermissionDenied;
        tracing::warn!(target: "audit", who = %self.identity, peer = %caller.address, %method,
            acts_for = name, result = reason.name());
        let message = format!("{} may not act for {kind} {name:?}", self.identity);
        Err(Refusal::new(reason, message).into())
    }
}
