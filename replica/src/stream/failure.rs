//! Why a stream failed: network, the other node, this node's disk, what was sent — told apart
//! where it arises, since only a failure of the local disk brings the node's disk policy in.

use crate::fitness::Fitness;
use crate::guard::Revoked;
use crate::sessions::EnterError;
use crate::store::{IngestError, NoRoom, StoreError};
use migrations::evidence::FailureReason;
use proto::Malformed;
use proto::reasons::Reason;
use proto::status::Refusal;
use std::time::Instant;
use tonic::{Code, Status};

/// Where a failure arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Between the two nodes, or the other one is gone.
    Network,
    /// The other end refused, or couldn't go on, and said why.
    Peer,
    /// What the other end said or sent is not what it has to be.
    Data,
    /// This node's session, lease or admission.
    Session,
    /// This node's disk. The only one that is the node's own business.
    LocalDisk,
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Failure {
    /// On the closed list.
    pub reason: FailureReason,
    /// Where it arose.
    pub origin: Origin,
    /// For people. Holds no keys and no values.
    pub detail: String,
}

impl Failure {
    pub(super) fn new(reason: FailureReason, origin: Origin, detail: impl Into<String>) -> Failure {
        Failure { reason, origin, detail: detail.into() }
    }

    /// What was said or sent doesn't belong.
    pub(super) fn protocol(detail: impl Into<String>) -> Failure {
        Failure::new(FailureReason::StreamProtocol, Origin::Data, detail)
    }

    /// The other end, or the network to it, is gone.
    pub(super) fn closed(detail: impl Into<String>) -> Failure {
        Failure::new(FailureReason::PeerClosed, Origin::Network, detail)
    }

    /// This process isn't admitted, or not as whom it was meant.
    pub(super) fn fenced(detail: impl Into<String>) -> Failure {
        Failure::new(FailureReason::NodeFenced, Origin::Session, detail)
    }

    /// The drain that waited for this work has lost its patience.
    pub(super) fn forced() -> Failure {
        let reason = FailureReason::SessionClosing;
        Failure::new(reason, Origin::Session, "forced out: the session closed long ago")
    }

    /// A step in a blocking task has panicked: nothing is known of what it did.
    pub(super) fn panicked(error: &tokio::task::JoinError) -> Failure {
        let detail = format!("the row store: {error}");
        Failure::new(FailureReason::DiskError, Origin::LocalDisk, detail)
    }

    /// A failure of this node's disk is what keeps it from taking more rows on. Room that one stream
    /// would need is not.
    pub(super) fn tell(&self, fitness: &Fitness) {
        if self.origin == Origin::LocalDisk
            && matches!(self.reason, FailureReason::DiskError | FailureReason::DiskFull)
        {
            let refusal = self.refusal();
            fitness.met_as(refusal.reason, &refusal.message, Instant::now());
        }
    }

    /// How the other end, or the network, ended a call.
    pub(super) fn of_status(status: &Status) -> Failure {
        if let Some(refusal) = Refusal::from_status(status) {
            let reason = match refusal.reason {
                Reason::Overloaded | Reason::ShuttingDown => FailureReason::PeerClosed,
                reason => {
                    FailureReason::from_name(reason.name()).unwrap_or(FailureReason::StreamProtocol)
                }
            };
            return Failure::new(reason, Origin::Peer, refusal.message);
        }
        match status.code() {
            // A message that is too long, or a service that the peer doesn't have.
            Code::OutOfRange | Code::Unimplemented | Code::InvalidArgument => {
                Failure::protocol(status.message())
            }
            code => Failure::closed(format!("{code:?}: {}", status.message())),
        }
    }

    /// As a refusal that the other end understands.
    pub(super) fn refusal(&self) -> Refusal {
        let reason = self.reason.name().parse().unwrap_or(Reason::InvariantBroken);
        Refusal::new(reason, self.detail.clone())
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Failure {
        Failure::protocol(malformed.to_string())
    }
}

impl From<Revoked> for Failure {
    fn from(revoked: Revoked) -> Failure {
        let reason = match revoked {
            Revoked::SessionClosing => FailureReason::SessionClosing,
            Revoked::LeaseExpired => FailureReason::LeaseExpired,
        };
        Failure::new(reason, Origin::Session, revoked.to_string())
    }
}

impl From<EnterError> for Failure {
    fn from(error: EnterError) -> Failure {
        let reason = match error {
            EnterError::SessionUnknown(_) => FailureReason::SessionUnknown,
            EnterError::SessionClosing(_) => FailureReason::SessionClosing,
            EnterError::NodeFenced => FailureReason::NodeFenced,
            EnterError::LeaseExpired => FailureReason::LeaseExpired,
        };
        Failure::new(reason, Origin::Session, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let reason = match error {
            StoreError::DiskFull { .. } => FailureReason::DiskFull,
            StoreError::Damaged { .. } => FailureReason::DataDamaged,
            StoreError::Disk { .. }
            | StoreError::AlreadyRunning(_)
            | StoreError::NodeMismatch { .. }
            | StoreError::NeverAdmitted(_)
            | StoreError::IsOfCluster(_)
            | StoreError::FormatTooOld { .. }
            | StoreError::FormatTooNew { .. } => FailureReason::DiskError,
        };
        Failure::new(reason, Origin::LocalDisk, error.to_string())
    }
}

impl From<NoRoom> for Failure {
    fn from(error: NoRoom) -> Failure {
        match error {
            NoRoom::Short { .. } => {
                Failure::new(FailureReason::NodeFull, Origin::LocalDisk, error.to_string())
            }
            NoRoom::Store(error) => error.into(),
        }
    }
}

impl From<IngestError> for Failure {
    fn from(error: IngestError) -> Failure {
        let detail = error.to_string();
        match error {
            IngestError::Revoked(revoked) => revoked.into(),
            IngestError::Store(store) => store.into(),
            // Whoever asks the store holds a guard, so the session was open: the tablet's record
            // has gone on, and the session's close is a moment away. One reason for both moments.
            IngestError::SessionUnknown(_) | IngestError::WrongCopy { .. } => {
                Failure::new(FailureReason::SessionClosing, Origin::Session, detail)
            }
            // Another call of the same stream, or none, is the current one.
            IngestError::WrongCall { .. } => {
                Failure::new(FailureReason::StreamProtocol, Origin::Session, detail)
            }
            IngestError::OutOfRange | IngestError::TooLarge(_) => Failure::protocol(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d3_what_the_network_does_is_not_the_disks() {
        for code in [Code::Unavailable, Code::Cancelled, Code::Unknown, Code::Internal] {
            let failure = Failure::of_status(&Status::new(code, "connection reset"));
            assert_eq!(failure.reason, FailureReason::PeerClosed, "{code:?}");
            assert_eq!(failure.origin, Origin::Network);
        }
        let io = Failure::from(StoreError::Disk { detail: "EIO".into() });
        assert_eq!((io.reason, io.origin), (FailureReason::DiskError, Origin::LocalDisk));
        let full = Failure::from(StoreError::DiskFull { detail: "ENOSPC".into() });
        assert_eq!((full.reason, full.origin), (FailureReason::DiskFull, Origin::LocalDisk));
    }

    #[test]
    fn a_peer_whose_disk_failed_says_so_and_it_stays_the_peers() {
        let theirs = Failure::from(StoreError::Disk { detail: "EIO".into() });
        let heard = Failure::of_status(&Status::from(theirs.refusal()));
        assert_eq!((heard.reason, heard.origin), (FailureReason::DiskError, Origin::Peer));
    }

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in FailureReason::ALL {
            let failure = Failure::new(reason, Origin::Session, "detail");
            let heard = Failure::of_status(&Status::from(failure.refusal()));
            assert_eq!((heard.reason, heard.origin), (reason, Origin::Peer));
        }
    }
}
