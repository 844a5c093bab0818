//! What can go wrong, typed: for changes, whether it is known what became of them.

use migrations::id::RequestId;
use proto::Malformed;
use proto::reasons::Reason;
use proto::status::Refusal;

/// Why an admin call has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// The cluster has refused, and trying again would not change that.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// A change may have taken effect or not: run it again with the same request id.
    #[error("it is not known whether request {request_id} took effect: {detail}")]
    OutcomeUnknown {
        /// The id to run it again with.
        request_id: RequestId,
        /// What happened last.
        detail: String,
    },
    /// No coordinator could be reached, or none of them knows a leader. Nothing was done.
    #[error("no leader could be reached: {detail}")]
    Unreachable {
        /// What happened last.
        detail: String,
    },
    /// There was no answer in time, though somebody was there. Nothing was changed.
    #[error("no answer in time: {detail}")]
    DeadlineExceeded {
        /// What happened last.
        detail: String,
    },
    /// A refusal by something that is not Palisade: a proxy, another program at that address.
    #[error("an unexpected answer ({code:?}): {message}")]
    Unexpected {
        /// The code of gRPC.
        code: tonic::Code,
        /// What it said.
        message: String,
    },
    /// An answer that does not say what its form promises.
    #[error("a malformed answer: {0}")]
    Malformed(#[from] Malformed),
    /// A request id that is not a UUID.
    #[error("a request id has to be a UUID, version 7")]
    NotARequestId,
}

impl ClientError {
    /// The reason, if it is a refusal.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            ClientError::Refused(refusal) => Some(refusal.reason),
            ClientError::OutcomeUnknown { .. }
            | ClientError::Unreachable { .. }
            | ClientError::DeadlineExceeded { .. }
            | ClientError::Unexpected { .. }
            | ClientError::Malformed(_)
            | ClientError::NotARequestId => None,
        }
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason() == Some(Reason::NotFound)
    }

    /// Whether a change may have taken effect all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            ClientError::OutcomeUnknown { .. } => true,
            ClientError::Refused(refusal) => refusal.reason == Reason::RequestIdExpired,
            // Without our own words for it nobody knows how far it got.
            ClientError::Unexpected { .. } | ClientError::Malformed(_) => true,
            ClientError::Unreachable { .. }
            | ClientError::DeadlineExceeded { .. }
            | ClientError::NotARequestId => false,
        }
    }
}

/// Why a router could not do an operation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DataError {
    /// There is no such table, or it is being dropped.
    #[error("there is no table {0:?}")]
    NoSuchTable(String),
    /// No majority could be had in time: `QUORUM_UNAVAILABLE`.
    #[error("no majority of the replicas in time: {detail}")]
    Unavailable {
        /// Whether a write may have taken effect, or may yet.
        outcome_unknown: bool,
        /// What stood in the way last.
        detail: String,
    },
    /// A replica has refused, and trying again would not change that.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// The key or value is too large, or empty where it must not be.
    #[error("{0}")]
    Invalid(&'static str),
}

impl DataError {
    /// Whether a write may have taken effect all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            DataError::Unavailable { outcome_unknown, .. } => *outcome_unknown,
            DataError::NoSuchTable(_) | DataError::Refused(_) | DataError::Invalid(_) => false,
        }
    }
}
