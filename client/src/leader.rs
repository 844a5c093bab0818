//! Calls to the leader: finding it, trying again, and for changes knowing what became of them.
//! The next try of a change is decided by the core from the outcome that the answer names.

use crate::backoff::Backoff;
use crate::channel::{endpoint, timed};
use crate::error::ClientError;
use crate::limits::{
    ADMIN_DEADLINE, ADMIN_PAUSE, ADMIN_PAUSE_MAX, ADMIN_TRY, HINTS_IN_A_ROW, IDLE_ANSWER,
    IDLE_CHECKED, LEARNED_MAX,
};
use crate::reasons::is_passing;
use migrations::id::RequestId;
use migrations::retry::{ChangeOutcome, NextTry};
use proto::admin::v1 as pb;
use proto::admin::v1::cluster_service_client::ClusterServiceClient;
use proto::reasons::Reason;
use proto::status::{Refusal, outcome_of};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tls::{Dial, Kind, Tls};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use uuid::Uuid;

/// Bounds of an admin client.
#[derive(Debug, Clone, Copy)]
pub struct AdminOptions {
    /// For a call in all, with every try.
    pub deadline: Duration,
    /// For one try of it.
    pub try_timeout: Duration,
}

impl Default for AdminOptions {
    fn default() -> AdminOptions {
        AdminOptions { deadline: ADMIN_DEADLINE, try_timeout: ADMIN_TRY }
    }
}

/// A fresh request id: a UUIDv7.
pub fn new_request_id() -> RequestId {
    RequestId::from_uuid(Uuid::now_v7()).expect("a v7 UUID has its version bits and is not nil")
}

/// Where the leader is thought to be, with the connection there. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    state: Arc<Mutex<State>>,
    pub(crate) options: AdminOptions,
    /// Whom it is used by, for TLS.
    pub(crate) tls: Option<Tls>,
}

#[derive(Debug)]
struct State {
    endpoints: Vec<String>,
    /// How many of them were given, and come first.
    given: usize,
    /// Which endpoint is tried after the current address.
    next: usize,
    address: Option<String>,
    channel: Option<Channel>,
    /// When something came over it last.
    heard: Option<Instant>,
    /// Raised whenever the connection is given up, so that of many callers one does it.
    generation: u64,
}

/// A connection, and which one it was.
#[derive(Debug, Clone)]
pub(crate) struct Connected {
    pub(crate) channel: Channel,
    address: String,
    generation: u64,
    /// Nobody has heard anything over it for a while.
    is_idle: bool,
}

/// What one failed try says about the next.
struct Failed {
    error: ClientError,
    next: NextTry,
    is_unknown: bool,
    /// This try has surely done nothing; an earlier one may have.
    is_not_applied: bool,
    hint: Option<Hint>,
    retry_after: Option<Duration>,
}

/// Where another one leads, by the word of one that doesn't.
#[derive(Debug, Clone)]
struct Hint {
    address: String,
    /// 0 if it has not said.
    term: u64,
}

impl Leader {
    pub(crate) fn new(endpoints: Vec<String>, options: AdminOptions, tls: Option<Tls>) -> Leader {
        let given = endpoints.len();
        let state = State {
            endpoints,
            given,
            next: 0,
            address: None,
            channel: None,
            heard: None,
            generation: 0,
        };
        Leader { state: Arc::new(Mutex::new(state)), options, tls }
    }

    /// Coordinators that have come since, by their own word: tried after those that were given.
    pub(crate) fn learn(&self, live: Vec<String>) {
        let mut state = self.state();
        // One that says nothing of it is of an earlier build.
        if live.is_empty() || state.endpoints.is_empty() {
            return;
        }
        let given = state.given;
        state.endpoints.truncate(given);
        let known: Vec<String> = live
            .into_iter()
            .filter(|address| !state.endpoints.contains(address))
            .take(LEARNED_MAX)
            .collect();
        state.endpoints.extend(known);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change of it is a single assignment: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to where the leader is thought to be. A connection is made before anything
    /// is sent, so that a failure to connect is known to have changed nothing.
    pub(crate) async fn connected(&self) -> Result<Connected, ClientError> {
        let (address, generation) = {
            let mut state = self.state();
            if state.endpoints.is_empty() {
                let detail = "no coordinator's address was given".to_owned();
                return Err(ClientError::Unreachable { detail });
            }
            let next = state.endpoints[state.next % state.endpoints.len()].clone();
            let address = state.address.get_or_insert(next).clone();
            if let Some(channel) = state.channel.clone() {
                let is_idle = state.heard.is_none_or(|heard| heard.elapsed() >= IDLE_CHECKED);
                return Ok(Connected { channel, address, generation: state.generation, is_idle });
            }
            (address, state.generation)
        };
        let unreachable = |detail: String| ClientError::Unreachable { detail };
        let endpoint = match endpoint(&address, self.tls.is_some()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.give_up(generation, None);
                return Err(unreachable(error.to_string()));
            }
        };
        let dial = Dial::new(self.tls.clone(), Kind::Coordinator);
        match dial.connect(&endpoint).await {
            Ok(channel) => {
                let mut state = self.state();
                if state.generation == generation {
                    state.channel = Some(channel.clone());
                    state.heard = Some(Instant::now());
                }
                Ok(Connected { channel, address, generation, is_idle: false })
            }
            Err(error) => {
                self.give_up(generation, None);
                Err(unreachable(format!("{address}: {}", tls::causes(&error))))
            }
        }
    }

    /// Drops a connection that did not serve, and turns to the hinted address or the next one.
    pub(crate) fn give_up(&self, generation: u64, hint: Option<String>) {
        let mut state = self.state();
        if state.generation != generation {
            return;
        }
        state.generation += 1;
        state.channel = None;
        if hint.is_none() {
            state.next = state.next.wrapping_add(1);
        }
        state.address = hint;
    }

    /// The same for the connection itself.
    pub(crate) fn leave(&self, connected: &Connected, hint: Option<String>) {
        self.give_up(connected.generation, hint);
    }

    /// The connection for a change: one over which nothing has come for a while has to show first
    /// that somebody is there, or is made anew.
    async fn connected_for_change(&self) -> Result<Connected, ClientError> {
        let connected = self.connected().await?;
        if !connected.is_idle || is_alive(connected.channel.clone()).await {
            return Ok(connected);
        }
        tracing::debug!(address = connected.address, "an idle connection has died; a new one");
        self.leave(&connected, Some(connected.address.clone()));
        self.connected().await
    }

    /// Something came over a connection.
    fn heard(&self, connected: &Connected) {
        let mut state = self.state();
        if state.generation == connected.generation {
            state.heard = Some(Instant::now());
        }
    }

    /// A call that changes nothing, tried until it is answered or the deadline has come.
    pub(crate) async fn read<T, F, Fut>(
        &self,
        try_timeout: Duration,
        call: F,
    ) -> Result<T, ClientError>
    where
        F: Fn(Channel, Duration) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.tried(None, try_timeout, call).await
    }

    /// A change, tried under one request id until it is known what became of it.
    pub(crate) async fn change<T, F, Fut>(&self, id: RequestId, call: F) -> Result<T, ClientError>
    where
        F: Fn(Channel, Duration) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.tried(Some(id), self.options.try_timeout, call).await
    }

    async fn tried<T, F, Fut>(
        &self,
        change: Option<RequestId>,
        try_timeout: Duration,
        call: F,
    ) -> Result<T, ClientError>
    where
        F: Fn(Channel, Duration) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.options.deadline;
        let mut backoff = Backoff::new(ADMIN_PAUSE, ADMIN_PAUSE_MAX);
        // Once one try may have taken effect, no later failure makes the outcome known again.
        let mut is_unknown = false;
        let mut hints = 0;
        // Who has not heard of a newer leader sends one back to the older.
        let mut newest_term = 0;
        loop {
            let tried = self.one_try(change, deadline, try_timeout, newest_term, &call).await;
            let failed = match tried {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            newest_term = failed.hint.as_ref().map_or(newest_term, |hint| hint.term);
            if failed.next == NextTry::Tell {
                let is_stranger = matches!(failed.error, ClientError::Unexpected { .. });
                return Err(match (change, is_unknown && (failed.is_not_applied || is_stranger)) {
                    // This try did nothing, or nobody of ours answered it; an earlier one may have.
                    (Some(request_id), true) => {
                        let detail = failed.error.to_string();
                        ClientError::OutcomeUnknown { request_id, detail }
                    }
                    _ => failed.error,
                });
            }
            is_unknown |= failed.is_unknown;
            let pause = match failed.hint {
                Some(_) if hints < HINTS_IN_A_ROW => {
                    hints += 1;
                    Duration::ZERO
                }
                Some(_) | None => {
                    hints = 0;
                    backoff.pause_at_least(failed.retry_after)
                }
            };
            tracing::debug!(error = %failed.error, ?pause, "admin call is tried again");
            if Instant::now() + pause >= deadline {
                return Err(match (change, is_unknown) {
                    (Some(request_id), true) => {
                        let detail = failed.error.to_string();
                        ClientError::OutcomeUnknown { request_id, detail }
                    }
                    (Some(_) | None, _) => at_deadline(failed.error),
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn one_try<T, F, Fut>(
        &self,
        change: Option<RequestId>,
        deadline: Instant,
        try_timeout: Duration,
        newest_term: u64,
        call: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(Channel, Duration) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let connecting = async {
            match change {
                Some(_) => self.connected_for_change().await,
                None => self.connected().await,
            }
        };
        let connected = timeout_at(deadline, connecting).await;
        let connected = connected.unwrap_or_else(|_| {
            Err(ClientError::Unreachable { detail: "no connection in time".to_owned() })
        });
        let connected = connected.map_err(|error| Failed {
            error,
            next: NextTry::Again,
            is_unknown: false,
            is_not_applied: true,
            hint: None,
            retry_after: None,
        })?;
        let try_until = deadline.min(Instant::now() + try_timeout);
        let left = try_until.saturating_duration_since(Instant::now());
        let answered = timeout_at(try_until, call(connected.channel.clone(), left)).await;
        let status = match answered {
            Ok(Ok(response)) => {
                self.heard(&connected);
                return Ok(response.into_inner());
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("{} did not answer", connected.address)),
        };
        let mut failed = judge(&status, change.is_some());
        failed.hint = failed.hint.filter(|hint| hint.term >= newest_term);
        self.react(&connected, &failed, &status);
        Err(failed)
    }

    /// Keeps a connection only if its other end is the leader, as far as it knows itself, and no
    /// late answer can be on it.
    fn react(&self, connected: &Connected, failed: &Failed, status: &Status) {
        let refusal = Refusal::from_status(status);
        let is_overloaded = refusal.is_some_and(|refusal| {
            matches!(refusal.reason, Reason::Overloaded | Reason::QueueTimeout)
        });
        match failed.next {
            NextTry::Tell => {}
            NextTry::Again if is_overloaded => {}
            NextTry::Again | NextTry::AgainOnNewConnection => {
                let hint = failed.hint.as_ref().map(|hint| hint.address.clone());
                self.leave(connected, hint);
            }
        }
    }
}

/// Whether anybody answers over a connection, whatever the answer.
async fn is_alive(channel: Channel) -> bool {
    let ask = pb::GetSettingsRequest { stale: true };
    let mut client = ClusterServiceClient::new(channel);
    match timeout(IDLE_ANSWER, client.get_settings(timed(ask, IDLE_ANSWER))).await {
        Ok(Ok(_)) => true,
        Ok(Err(status)) => {
            status.code() == Code::Unimplemented || Refusal::from_status(&status).is_some()
        }
        Err(_) => false,
    }
}

/// What a failed try means. What became of a change is read here: an answer without a message has
/// its trailers in the status, and what bears none is unknown. One that was done needs no look.
fn judge(status: &Status, is_change: bool) -> Failed {
    let refusal = Refusal::from_status(status);
    let is_final = match &refusal {
        Some(refusal) => !is_passing(refusal.reason),
        None => is_final_code(status.code()),
    };
    let hint = refusal.as_ref().filter(|refusal| refusal.reason == Reason::NotLeader);
    let hint = hint.and_then(|refusal| {
        let address = refusal.get("address").filter(|address| !address.is_empty())?.to_owned();
        let term = refusal.get("term").and_then(|term| term.parse().ok()).unwrap_or(0);
        Some(Hint { address, term })
    });
    let outcome = outcome_of(status);
    let next = match is_change {
        true => outcome.next_try(is_final),
        false if is_final => NextTry::Tell,
        false => NextTry::Again,
    };
    Failed {
        next,
        is_unknown: is_change && outcome == ChangeOutcome::Unknown,
        is_not_applied: is_change && outcome == ChangeOutcome::NotApplied,
        hint,
        retry_after: refusal.as_ref().and_then(|refusal| refusal.retry_after),
        error: match refusal {
            Some(refusal) => ClientError::Refused(Box::new(refusal)),
            None => ClientError::Unexpected {
                code: status.code(),
                message: status.message().to_owned(),
            },
        },
    }
}

/// Codes of a stranger that another try won't change.
fn is_final_code(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => false,
    }
}

/// What is told when time is up and nothing was changed.
fn at_deadline(last: ClientError) -> ClientError {
    match last {
        ClientError::Refused(refusal) => match refusal.reason {
            Reason::Overloaded | Reason::QueueTimeout | Reason::CommitTimeout => {
                ClientError::DeadlineExceeded { detail: refusal.message }
            }
            _ => ClientError::Unreachable { detail: refusal.message },
        },
        // The transport calls its own timeouts "cancelled".
        ClientError::Unexpected { code: Code::DeadlineExceeded | Code::Cancelled, .. } => {
            let detail = "the coordinator takes connections, but does not answer".to_owned();
            ClientError::DeadlineExceeded { detail }
        }
        ClientError::Unexpected { code, message } => {
            ClientError::Unreachable { detail: format!("{code:?}: {message}") }
        }
        other => other,
    }
}
