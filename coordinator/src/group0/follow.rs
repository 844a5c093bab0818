//! Follows Raft: who leads, and whether it still can.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::metrics::RaftMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Instant as _, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::StateMachine;
use super::apply::State;
use super::error::FatalReason;
use super::transport::Links;
use super::types::{Group0Types, LogId, Member, StoredMembership};

/// One time of leading by one process. Equal only to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leadership {
    /// The Raft term. At most one coordinator leads in it.
    pub term: u64,
    /// Raft id of the leader: this coordinator.
    pub node: u64,
    /// Drawn when this process began to lead.
    pub number: u64,
}

/// What a coordinator is in group0 right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not a voter, or not initialised.
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks to be elected.
    Candidate,
    /// Leads, as far as it knows.
    Leader,
    /// Has stopped.
    Stopped,
}

/// Where group0 stands here. Log positions are indexes; none means nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Raft id of this coordinator.
    pub node: u64,
    /// The current term.
    pub term: u64,
    /// What this coordinator is.
    pub role: Role,
    /// Raft id of the leader it knows.
    pub leader: Option<u64>,
    /// Last entry in the log.
    pub last_log: Option<u64>,
    /// Last entry known to be committed.
    pub committed: Option<u64>,
    /// Last entry applied.
    pub applied: Option<u64>,
    /// Last entry in the current snapshot.
    pub snapshot: Option<u64>,
    /// Last entry taken off the log's beginning.
    pub purged: Option<u64>,
    /// Raft ids of the voters.
    pub voters: Vec<u64>,
}

/// A member of group0, with what this member knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its name and addresses.
    pub member: Member,
    /// It has a vote.
    pub voter: bool,
    /// It leads, as far as this member knows.
    pub leads: bool,
    /// Last entry that its log is known to share with the leader's; none unless this member leads.
    pub matched: Option<u64>,
    /// How long ago it was heard from; none unless this member leads and has heard from it.
    pub silent: Option<Duration>,
    /// The entry as of which it was found to have another state than this member: INV-16 is broken.
    /// None unless this member leads.
    pub state_differs_at: Option<u64>,
    /// By how many milliseconds its wall clock is ahead of this member's, at the least; less than 0:
    /// behind. None unless this member leads and knows. Its own: 0.
    pub clock_ahead_ms: Option<i64>,
}

pub(super) fn standings(membership: &StoredMembership, metrics: &Metrics) -> Vec<Standing> {
    let leads = metrics.state == ServerState::Leader;
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let matched = |id: u64| match id == metrics.id {
        true => metrics.last_log_index.filter(|_| leads),
        false => metrics.replication.as_ref()?.get(&id)?.as_ref().map(LogId::index),
    };
    let silent = |id: u64| match id == metrics.id {
        true => leads.then_some(Duration::ZERO),
        false => metrics.heartbeat.as_ref()?.get(&id)?.as_ref().map(|heard| heard.elapsed()),
    };
    let standing = |(id, member): (&u64, &Member)| Standing {
        raft_id: *id,
        member: member.clone(),
        voter: voters.contains(id),
        leads: metrics.current_leader == Some(*id),
        matched: matched(*id),
        silent: silent(*id),
        state_differs_at: None,
        clock_ahead_ms: None,
    };
    membership.nodes().map(standing).collect()
}

pub(super) type Metrics = RaftMetrics<Group0Types>;
pub(super) type MetricsReceiver = WatchReceiverOf<Group0Types, Metrics>;

pub(super) fn status(metrics: &Metrics) -> Status {
    let index = |id: &Option<super::types::LogId>| id.as_ref().map(|id| id.index());
    Status {
        node: metrics.id,
        term: metrics.current_term,
        role: match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
            (_, ServerState::Learner) => Role::Learner,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Leader) => Role::Leader,
        },
        leader: metrics.current_leader,
        last_log: metrics.last_log_index,
        committed: index(&metrics.local_committed),
        applied: index(&metrics.last_applied),
        snapshot: index(&metrics.snapshot),
        purged: index(&metrics.purged),
        voters: metrics.membership_config.voter_ids().collect(),
    }
}

/// Publishes this process's leadership, Raft's failure, and where members are, until `stop`.
pub(super) async fn follow<S: StateMachine>(
    mut metrics: MetricsReceiver,
    leadership: watch::Sender<Option<Leadership>>,
    state: Arc<State<S>>,
    links: Arc<Links>,
    stop: CancellationToken,
) {
    let mut membership = None;
    loop {
        let (leads, failed) = {
            let seen = metrics.borrow_watched();
            if membership != *seen.membership_config.log_id() {
                membership = *seen.membership_config.log_id();
                links.keep(seen.membership_config.membership().nodes());
            }
            (leading_term(&seen).map(|term| (term, seen.id)), failure(&seen))
        };
        leadership.send_if_modified(|current| renew(current, leads));
        if let Some(reason) = failed {
            state.fail(reason);
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            changed = metrics.changed() => if changed.is_err() {
                state.fail(FatalReason::Panicked("Raft has ended by itself".into()));
                break;
            }
        }
    }
    leadership.send_replace(None);
}

/// The term that this coordinator leads in, once an entry of that term is applied here: all that
/// earlier leaders have committed is then applied too.
fn leading_term(metrics: &Metrics) -> Option<u64> {
    let applied = metrics.last_applied.as_ref()?.committed_leader_id().term;
    let leads = metrics.running_state.is_ok()
        && metrics.state == ServerState::Leader
        && applied == metrics.current_term;
    leads.then_some(metrics.current_term)
}

fn failure(metrics: &Metrics) -> Option<FatalReason> {
    match &metrics.running_state {
        Ok(()) | Err(Fatal::Stopped) => None,
        Err(fatal) => Some(reason(fatal)),
    }
}

/// Why Raft has ended.
pub(super) fn reason(fatal: &Fatal<Group0Types>) -> FatalReason {
    match fatal {
        Fatal::StorageError(error) => FatalReason::Storage(error.to_string()),
        Fatal::Panicked => FatalReason::Panicked("Raft".into()),
        Fatal::Stopped => FatalReason::Panicked("Raft has ended by itself".into()),
    }
}

/// Whether the leadership changed. It keeps its number for as long as it lasts.
fn renew(current: &mut Option<Leadership>, leads: Option<(u64, u64)>) -> bool {
    if current.map(|known| (known.term, known.node)) == leads {
        return false;
    }
    *current =
        leads.map(|(term, node)| Leadership { term, node, number: Uuid::new_v4().as_u64_pair().0 });
    true
}
