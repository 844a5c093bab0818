//! How a command ended: the exit code, and for a failure its four parts: what, the state now, why,
//! the next command.

use client::{ClientError, DataError};
use proto::reasons::Reason;
use proto::status::Refusal;

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// The command line says something that can't be meant.
    Usage,
    /// Refused by a precondition.
    Refused,
    /// Not found.
    NotFound,
    /// Unreachable, or no leader.
    Unreachable,
    /// It is not known what became of it.
    OutcomeUnknown,
    /// The wait timed out; the job goes on.
    TimedOut,
    /// Detached by Ctrl-C; the job goes on.
    Detached,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::NotFound => 4,
            Exit::Unreachable => 5,
            Exit::OutcomeUnknown => 6,
            Exit::TimedOut => 124,
            Exit::Detached => 130,
        }
    }
}

/// Why a command has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What went wrong, in one sentence.
    pub(crate) error: String,
    /// How things stand.
    pub(crate) now: Option<String>,
    /// The rule or reason.
    pub(crate) why: Option<String>,
    /// The command to go on with.
    pub(crate) next: Option<String>,
}

impl Failure {
    /// A failure with nothing but its sentence.
    pub(crate) fn new(exit: Exit, error: impl Into<String>) -> Failure {
        Failure { exit, error: error.into(), now: None, why: None, next: None }
    }

    /// With how things stand.
    pub(crate) fn now(mut self, now: impl Into<String>) -> Failure {
        self.now = Some(now.into());
        self
    }

    /// With the rule or reason.
    pub(crate) fn why(mut self, why: impl Into<String>) -> Failure {
        self.why = Some(why.into());
        self
    }

    /// With what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Failure {
        self.next = Some(next.into());
        self
    }
}

impl Failure {
    /// With more words after the command that is to be run next: what was read, and not said.
    pub(crate) fn also(mut self, words: &[String]) -> Failure {
        if let Some(next) = &mut self.next {
            words.iter().for_each(|word| next.push_str(&format!(" {}", quoted(word))));
        }
        self
    }
}

/// The exit code of a refusal, decided for each reason.
fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::NotFound => Exit::NotFound,
        Reason::InvalidField => Exit::Usage,
        Reason::NotLeader
        | Reason::NoLeader
        | Reason::LeaderTransferring
        | Reason::ShuttingDown
        | Reason::QueueTimeout
        | Reason::QuorumUnavailable
        | Reason::VersionAhead
        | Reason::StreamStalled
        | Reason::PeerClosed => Exit::Unreachable,
        Reason::LeadershipLost | Reason::CommitTimeout | Reason::RequestIdExpired => {
            Exit::OutcomeUnknown
        }
        Reason::TabletBusy
        | Reason::PlacementViolation
        | Reason::NodeNotReady
        | Reason::NodeDraining
        | Reason::NodeFenced
        | Reason::NodeFull
        | Reason::PastPointOfNoReturn
        | Reason::LossNotNamed
        | Reason::NotInTransition
        | Reason::StaleVersion
        | Reason::NotReplica
        | Reason::TimestampBehind
        | Reason::TimestampAhead
        | Reason::SessionUnknown
        | Reason::SessionClosing
        | Reason::LeaseExpired
        | Reason::StreamProtocol
        | Reason::ClusterMismatch
        | Reason::NodeMismatch
        | Reason::FormatTooNew
        | Reason::UpgradeRequired
        | Reason::AlreadyExists
        | Reason::RequestIdReused
        | Reason::RequestIdAhead => Exit::Refused,
        Reason::Overloaded
        | Reason::Compacted
        | Reason::ChecksumMismatch
        | Reason::DigestMismatch
        | Reason::DiskError
        | Reason::DiskFull
        | Reason::DataDamaged
        | Reason::InvariantBroken
        | Reason::Unauthenticated
        | Reason::PermissionDenied => Exit::Failed,
    }
}

/// Particulars that say nothing that the sentence does not, or nothing to people.
const UNSAID: [&str; 2] = ["address", "rule"];

fn refused(refusal: &Refusal) -> Failure {
    let said = refusal.metadata.iter().filter(|(name, _)| !UNSAID.contains(&name.as_str()));
    let particulars: String = said.map(|(name, value)| format!(", {name} {value}")).collect();
    let why = match refusal.get("rule") {
        Some(rule) => format!("rule {rule} ({})", refusal.reason),
        None => format!("{}{particulars}", refusal.reason),
    };
    let next = match (refusal.reason, &refusal.resource) {
        (Reason::TabletBusy, Some((_, migration))) => {
            format!("palisade migration wait {migration}     then try again")
        }
        (Reason::NotFound, Some((kind, _)))
            if matches!(kind.as_str(), "migration" | "node" | "table" | "tablet") =>
        {
            format!("palisade {kind} list")
        }
        (reason, _) => reason.next_step().to_owned(),
    };
    Failure::new(exit_of(refusal.reason), refusal.message.clone()).why(why).next(next)
}

/// The command line once more, with this request id.
fn again(line: impl IntoIterator<Item = String>, request_id: &str) -> String {
    let mut words = line.into_iter().skip(1);
    let mut text = "palisade".to_owned();
    while let Some(word) = words.next() {
        if word == "--request-id" {
            words.next();
        } else if !word.starts_with("--request-id=") {
            text.push_str(&format!(" {}", quoted(&word)));
        }
    }
    format!("{text} --request-id {request_id}")
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = error.to_string();
        match error {
            ClientError::Refused(refusal) => refused(&refusal),
            ClientError::OutcomeUnknown { request_id, .. } => {
                Failure::new(Exit::OutcomeUnknown, message)
                    .now("it may have taken effect, or may yet; run again it does so once at most")
                    .why("the answer was lost after the request was sent")
                    .next(again(std::env::args(), &request_id.to_string()))
            }
            ClientError::Unreachable { .. } => Failure::new(Exit::Unreachable, message)
                .now("nothing was changed; tablets go on being served without a leader")
                .why("nobody answers there, or nobody there knows a leader")
                .next("palisade status --coordinators HOST:PORT,…     with the right addresses"),
            ClientError::DeadlineExceeded { .. } => Failure::new(Exit::Unreachable, message)
                .now("nothing was changed")
                .why("somebody is there, but did not answer in the time that --deadline gives")
                .next("palisade status"),
            ClientError::Unexpected { code: tonic::Code::Unimplemented, .. } => {
                Failure::new(Exit::Failed, "this coordinator has no such request")
                    .now("nothing was changed")
                    .why("its build is older than this one")
                    .next("upgrade the coordinators")
            }
            ClientError::Unexpected { .. } | ClientError::Malformed(_) => {
                Failure::new(Exit::Failed, message)
                    .why("what answered there does not speak as a coordinator of this build does")
                    .next("palisade version     here and there; look at the addresses")
            }
            ClientError::NotARequestId => Failure::new(Exit::Usage, message)
                .now("nothing was changed")
                .why("the cluster tells by its time whether it can still know it")
                .next("leave --request-id out: a fresh one is made"),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        let message = error.to_string();
        match error {
            DataError::NoSuchTable(_) => Failure::new(Exit::NotFound, message)
                .now("nothing was changed")
                .why(Reason::NotFound.name())
                .next("palisade table list"),
            DataError::Unavailable { outcome_unknown: true, .. } => {
                Failure::new(Exit::OutcomeUnknown, message)
                    .now("the write may show up until a newer one of its key is acknowledged")
                    .why(Reason::QuorumUnavailable.name())
                    .next("run it again; palisade node list     shows who is away")
            }
            DataError::Unavailable { outcome_unknown: false, .. } => {
                Failure::new(Exit::Unreachable, message)
                    .now("nothing was changed")
                    .why(Reason::QuorumUnavailable.name())
                    .next("palisade status     shows who is away")
            }
            DataError::Refused(refusal) => refused(&refusal),
            DataError::Invalid(_) => Failure::new(Exit::Usage, message)
                .now("nothing was changed")
                .next("palisade kv --help"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_the_exit_code_that_the_interface_says() {
        for reason in Reason::ALL {
            let failure = Failure::from(ClientError::Refused(Box::new(Refusal::new(*reason, "x"))));
            let expected = match (reason, reason.code()) {
                (Reason::NotFound, _) => 4,
                (Reason::RequestIdExpired, _) | (_, tonic::Code::Unknown) => 6,
                (Reason::CommitTimeout, _) => 6,
                (_, tonic::Code::InvalidArgument) => 2,
                (_, tonic::Code::FailedPrecondition | tonic::Code::AlreadyExists) => 3,
                (_, tonic::Code::Unavailable | tonic::Code::DeadlineExceeded) => 5,
                _ => 1,
            };
            assert_eq!(failure.exit.code(), expected, "{reason}");
            assert!(failure.why.is_some_and(|why| why.contains(reason.name())), "{reason}");
            assert!(failure.next.is_some_and(|next| !next.is_empty()), "{reason}");
        }
    }

    #[test]
    fn a_refused_placement_names_its_rule() {
        let refusal = Refusal::new(Reason::PlacementViolation, "n4 cannot take it")
            .with("rule", "one-replica-per-rack")
            .with("node", "n4");
        let failure = Failure::from(ClientError::Refused(Box::new(refusal)));
        let why = failure.why.as_deref();
        assert_eq!(why, Some("rule one-replica-per-rack (PLACEMENT_VIOLATION)"));
    }

    #[test]
    fn a_command_is_said_again_with_its_request_id() {
        let line = "/bin/palisade migrate orders/1 --reason".split(' ').map(str::to_owned);
        let said = again(line.chain(["it's full".to_owned()]), "0198");
        assert_eq!(said, r"palisade migrate orders/1 --reason 'it'\''s full' --request-id 0198");
        let line = "palisade table drop a --request-id 1".split(' ').map(str::to_owned);
        assert_eq!(again(line, "1"), "palisade table drop a --request-id 1");
    }

    #[test]
    fn an_unknown_outcome_names_its_id_and_a_busy_tablet_its_migration() {
        let request_id = client::new_request_id();
        let unknown = ClientError::OutcomeUnknown { request_id, detail: "reset".to_owned() };
        let failure = Failure::from(unknown).also(&["--dead".to_owned(), "n 1".to_owned()]);
        assert_eq!(failure.exit.code(), 6);
        assert!(failure.next.as_ref().is_some_and(|next| next.ends_with(" --dead 'n 1'")));
        assert!(failure.next.is_some_and(|next| next.contains(&request_id.to_string())));
        let busy = Refusal::new(Reason::TabletBusy, "busy").of_resource("migration", "9f2c");
        let failure = Failure::from(ClientError::Refused(Box::new(busy)));
        assert!(failure.next.is_some_and(|next| next.contains("migration wait 9f2c")));
    }
}
