//! Group commit: commands of many tablets and callers go into one entry, and each submitter gets
//! the outcome of its own.
//!
//! While one entry is being committed the next ones gather; so the busier, the larger the batches.

use crate::group0::{Group0, ProposeError};
use crate::limits::{
    ENTRY_BYTES, ENTRY_COMMANDS, PROPOSAL_DEADLINE, PROPOSALS_IN_FLIGHT, PROPOSALS_QUEUED,
    QUEUE_DEADLINE,
};
use crate::machine::Machine;
use crate::metrics::{self, Metrics, Purpose};
use crate::now::wall_millis;
use migrations::command::{Command, Entry, Outcome};
use proto::storage;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What came of a command that was committed.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) outcome: Outcome,
}

/// Why a command has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum SubmitError {
    /// **Not applied.** Too many wait already.
    #[error("too many proposals wait")]
    Overloaded,
    /// As group0 says.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

struct Submission {
    command: Command,
    bytes: usize,
    submitted: Instant,
    answer: oneshot::Sender<Result<Committed, ProposeError>>,
}

/// Submits commands. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Submission>,
    metrics: Arc<Metrics>,
}

impl Proposer {
    /// Begins to gather. Ends with `stop`, or with the last handle.
    pub(crate) fn start(
        group0: Group0<Machine>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Proposer {
        let (queue, submissions) = mpsc::channel(PROPOSALS_QUEUED);
        tokio::spawn(gather(group0, Arc::clone(&metrics), submissions, stop));
        Proposer { queue, metrics }
    }

    /// Submits one command and waits for its outcome. It goes on if the caller hangs up.
    pub(crate) async fn submit(&self, command: Command) -> Result<Committed, SubmitError> {
        let (purpose, began) = (purpose(&command), Instant::now());
        let submitted = self.submit_uncounted(command).await;
        self.metrics.proposed(purpose, outcome(&submitted), began.elapsed());
        submitted
    }

    async fn submit_uncounted(&self, command: Command) -> Result<Committed, SubmitError> {
        let (answer, outcome) = oneshot::channel();
        let bytes = storage::command_len(&command);
        if bytes > ENTRY_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit: ENTRY_BYTES }.into());
        }
        let submission = Submission { command, bytes, submitted: Instant::now(), answer };
        match self.queue.try_send(submission) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SubmitError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(ProposeError::ShuttingDown.into());
            }
        }
        // A batch answers all of its submissions; one that is dropped unanswered was never
        // proposed, because its gatherer has stopped.
        outcome.await.unwrap_or(Err(ProposeError::ShuttingDown)).map_err(SubmitError::from)
    }
}

/// What a command is for, where that is counted apart.
fn purpose(command: &Command) -> Purpose {
    match command {
        Command::Fence { .. } => Purpose::Fence,
        Command::Admit(_) => Purpose::Admission,
        _ => Purpose::Other,
    }
}

fn outcome(submitted: &Result<Committed, SubmitError>) -> metrics::Outcome {
    match submitted {
        Ok(Committed { outcome: Ok(_) }) => metrics::Outcome::Applied,
        Ok(Committed { outcome: Err(_) }) => metrics::Outcome::Rejected,
        Err(SubmitError::Propose(error)) if error.outcome_unknown() => metrics::Outcome::Unknown,
        Err(_) => metrics::Outcome::NotApplied,
    }
}

async fn gather(
    group0: Group0<Machine>,
    metrics: Arc<Metrics>,
    mut submissions: mpsc::Receiver<Submission>,
    stop: CancellationToken,
) {
    let in_flight = Arc::new(Semaphore::new(PROPOSALS_IN_FLIGHT));
    let mut carried = None;
    loop {
        let Ok(place) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let first = match carried.take() {
            Some(first) => first,
            None => tokio::select! {
                () = stop.cancelled() => return,
                next = submissions.recv() => match next {
                    Some(first) => first,
                    None => return,
                },
            },
        };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < ENTRY_COMMANDS {
            let Ok(next) = submissions.try_recv() else { break };
            if bytes + next.bytes > ENTRY_BYTES {
                carried = Some(next);
                break;
            }
            bytes += next.bytes;
            batch.push(next);
        }
        metrics.entry(batch.len());
        let group0 = group0.clone();
        tokio::spawn(async move {
            propose(&group0, batch).await;
            drop(place);
        });
    }
}

async fn propose(group0: &Group0<Machine>, mut batch: Vec<Submission>) {
    // Who has waited too long for a place is told so: nothing of it was proposed.
    for late in batch.extract_if(.., |waiting| waiting.submitted.elapsed() > QUEUE_DEADLINE) {
        let _ = late.answer.send(Err(ProposeError::TooLate));
    }
    if batch.is_empty() {
        return;
    }
    let (commands, answers): (Vec<Command>, Vec<_>) =
        batch.into_iter().map(|submission| (submission.command, submission.answer)).unzip();
    let entry = Entry { proposed_ms: wall_millis(), commands };
    let deadline = Instant::now() + PROPOSAL_DEADLINE;
    match group0.propose(storage::encode_entry(&entry), deadline).await {
        Ok(response) => {
            for (answer, outcome) in answers.into_iter().zip(response.outcomes) {
                // Whoever hung up doesn't want to know.
                let _ = answer.send(Ok(Committed { outcome }));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}
