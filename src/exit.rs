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

/// The exit code of a refusal.
fn exit_of(reason: Reason) -> Exit {
    match reason {
        Reason::NotFound => Exit::NotFound,
        Reason::RequestIdExpired => Exit::OutcomeUnknown,
        reason => match reason.code() {
            tonic::Code::FailedPrecondition | tonic::Code::AlreadyExists | tonic::Code::Aborted => {
                Exit::Refused
            }
            tonic::Code::InvalidArgument => Exit::Usage,
            tonic::Code::Unavailable => Exit::Unreachable,
            _ => Exit::Failed,
        },
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let particulars: String = refusal.metadata.iter().fold(String::new(), |text, (name, value)| {
        if name == "address" { text } else { format!("{text}, {name} {value}") }
    });
    let next = match (refusal.reason, &refusal.resource) {
        (Reason::TabletBusy, Some((_, migration))) => {
            format!("palisade migration wait {migration}     then try again")
        }
        (Reason::NotFound, Some((kind, _))) if matches!(kind.as_str(), "migration" | "node") => {
            format!("palisade {kind} list")
        }
        (reason, _) => reason.next_step().to_owned(),
    };
    Failure::new(exit_of(refusal.reason), refusal.message.clone())
        .why(format!("{}{particulars}", refusal.reason))
        .next(next)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = error.to_string();
        match error {
            ClientError::Refused(refusal) => refused(&refusal),
            ClientError::OutcomeUnknown { request_id, .. } => {
                Failure::new(Exit::OutcomeUnknown, message)
                    .now("it may have taken effect, or may yet")
                    .why("the answer was lost after the request was sent")
                    .next(format!(
                        "run the same command again with --request-id {request_id}: it takes \
                         effect once at most"
                    ))
            }
            ClientError::Unreachable { .. } => Failure::new(Exit::Unreachable, message)
                .now("nothing was changed; tablets go on being served without a leader")
                .next("palisade status --coordinators HOST:PORT,…     with the right addresses"),
            ClientError::DeadlineExceeded { .. } => Failure::new(Exit::Unreachable, message)
                .now("nothing was changed")
                .next("palisade status"),
            ClientError::Unexpected { .. } | ClientError::Malformed(_) => {
                Failure::new(Exit::Failed, message)
                    .why("what answered there does not speak as a coordinator of this build does")
                    .next("palisade version     here and there; look at the addresses")
            }
            ClientError::NotARequestId => Failure::new(Exit::Usage, message)
                .now("nothing was changed")
                .next("leave --request-id out: a fresh one is made"),
        }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        let message = error.to_string();
        match error {
            DataError::NoSuchTable(_) => Failure::new(Exit::NotFound, message)
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
            DataError::Invalid(_) => Failure::new(Exit::Usage, message).now("nothing was changed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_an_exit_code_that_is_no_success() {
        for reason in Reason::ALL {
            assert_ne!(exit_of(*reason), Exit::Done, "{reason}");
        }
        assert_eq!(exit_of(Reason::TabletBusy).code(), 3);
        assert_eq!(exit_of(Reason::NotFound).code(), 4);
        assert_eq!(exit_of(Reason::NoLeader).code(), 5);
        assert_eq!(exit_of(Reason::RequestIdExpired).code(), 6);
    }

    #[test]
    fn an_unknown_outcome_names_its_id_and_a_busy_tablet_its_migration() {
        let request_id = client::new_request_id();
        let unknown = ClientError::OutcomeUnknown { request_id, detail: "reset".to_owned() };
        let failure = Failure::from(unknown);
        assert_eq!(failure.exit.code(), 6);
        assert!(failure.next.is_some_and(|next| next.contains(&request_id.to_string())));
        let busy = Refusal::new(Reason::TabletBusy, "busy").of_resource("migration", "9f2c");
        let failure = Failure::from(ClientError::Refused(Box::new(busy)));
        assert!(failure.next.is_some_and(|next| next.contains("migration wait 9f2c")));
    }
}
