//! Group commit: commands of many tablets and callers go into one entry, and each submitter gets
//! the outcome of its own.
//!
//! While one entry is being committed the next ones gather; so the busier, the larger the batches.

use crate::call;
use crate::group0::{FatalReason, Group0, ProposeError};
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
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
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
    claim: Arc<Claim>,
    answer: oneshot::Sender<Result<Committed, ProposeError>>,
}

/// Who has a submission: a batch, or whoever submitted it and takes it back. One of them, for good.
#[derive(Default)]
struct Claim(AtomicU8);

impl Claim {
    const WAITS: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    fn claim(&self, by: u8) -> bool {
        let claimed = self.0.compare_exchange(Claim::WAITS, by, Ordering::SeqCst, Ordering::SeqCst);
        claimed.is_ok()
    }

    /// Into a batch: from here on it may be proposed.
    fn take(&self) -> bool {
        self.claim(Claim::TAKEN)
    }

    /// Back from the queue: it will never be proposed.
    fn withdraw(&self) -> bool {
        self.claim(Claim::WITHDRAWN)
    }
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

    /// Submits one command and waits for its outcome, no longer than the call under way may take.
    /// It goes on if the caller hangs up.
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
        let claim = Arc::new(Claim::default());
        let submission = Submission { command, bytes, claim: Arc::clone(&claim), answer };
        call::proposes();
        match self.queue.try_send(submission) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SubmitError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(ProposeError::ShuttingDown.into());
            }
        }
        Ok(answered(outcome, &claim).await?)
    }
}

/// Waits for a submission's outcome: until it has waited too long for a place in an entry, and from
/// then on until its caller must be told. What is committed in the end is what the entry itself
/// waits for, with a bound of its own.
async fn answered(
    mut outcome: oneshot::Receiver<Result<Committed, ProposeError>>,
    claim: &Claim,
) -> Result<Committed, ProposeError> {
    let now = Instant::now();
    let until = call::until(now + QUEUE_DEADLINE + PROPOSAL_DEADLINE);
    let late = async {
        sleep_until(until.min(now + QUEUE_DEADLINE)).await;
        if claim.withdraw() {
            return ProposeError::TooLate;
        }
        sleep_until(until).await;
        ProposeError::CommitTimeout
    };
    tokio::select! {
        biased;
        answered = &mut outcome => match answered {
            Ok(answered) => answered,
            // A batch answers all of its submissions. One that waits yet has lost its gatherer;
            // one that was taken has lost its batch, which may have been proposed.
            Err(_) if claim.withdraw() => Err(ProposeError::ShuttingDown),
            Err(_) => {
                let reason = FatalReason::Panicked("the task of a batch".into());
                Err(ProposeError::Fatal(reason))
            }
        },
        error = late => Err(error),
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
    // Who has waited too long for a place has taken it back: nothing of it is proposed.
    batch.retain(|waiting| waiting.claim.take());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;

    /// The caller's deadline has come while it waits for a place: it is told that nothing was
    /// done, and that stays true, whichever batch comes to it later.
    #[tokio::test]
    async fn who_is_told_in_the_queue_is_never_proposed() {
        let claim = Claim::default();
        let (_answer, outcome) = oneshot::channel();
        let told = Call::new(Instant::now()).scope(answered(outcome, &claim)).await;
        assert!(matches!(told, Err(ProposeError::TooLate)), "{told:?}");
        assert!(!claim.take(), "no batch gets it any more");
    }

    /// The same once it is in a batch: it may be committed yet.
    #[tokio::test]
    async fn who_is_told_in_a_batch_is_told_that_it_is_unknown() {
        let claim = Claim::default();
        assert!(claim.take());
        let (_answer, outcome) = oneshot::channel();
        let told = Call::new(Instant::now()).scope(answered(outcome, &claim)).await;
        assert!(matches!(told, Err(ProposeError::CommitTimeout)), "{told:?}");
    }

    /// A batch that ends without a word may have been proposed; a queue that does, has not.
    #[tokio::test]
    async fn a_batch_that_is_lost_leaves_its_outcome_unknown() {
        for (is_taken, is_unknown) in [(true, true), (false, false)] {
            let claim = Claim::default();
            assert!(!is_taken || claim.take());
            let (answer, outcome) = oneshot::channel();
            drop(answer);
            let told = answered(outcome, &claim).await.expect_err("nobody answered");
            assert_eq!(told.outcome_unknown(), is_unknown, "{told:?}");
        }
    }
}
