//! The closed list of reasons: why something is refused, with the gRPC code of each and what to do
//! next. What is not on the list is not said.

use std::fmt;
use std::str::FromStr;
use tonic::Code;

macro_rules! reasons {
    ($($name:ident $text:literal $code:ident $next:literal,)*) => {
        /// Why something is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = concat!("`", $text, "`. ", $next)] $name,)*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The name in messages, logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$name => $text,)*
                }
            }

            /// The gRPC code that it comes with.
            pub const fn code(self) -> Code {
                match self {
                    $(Reason::$name => Code::$code,)*
                }
            }

            /// What to do next.
            pub const fn next_step(self) -> &'static str {
                match self {
                    $(Reason::$name => $next,)*
                }
            }
        }
    };
}

reasons! {
    NotLeader "NOT_LEADER" Unavailable
        "Go to the leader that the answer names.",
    NoLeader "NO_LEADER" Unavailable
        "Wait until the coordinators have elected a leader, then try again; `palisade status` tells.",
    LeaderTransferring "LEADER_TRANSFERRING" Unavailable
        "Try again in a moment: leadership is being handed over.",
    LeadershipLost "LEADERSHIP_LOST" Unknown
        "Try again with the same request id: it takes effect once at most.",
    CommitTimeout "COMMIT_TIMEOUT" DeadlineExceeded
        "Try again with the same request id: it takes effect once at most.",
    QueueTimeout "QUEUE_TIMEOUT" DeadlineExceeded
        "Try again, or allow more time.",
    Overloaded "OVERLOADED" ResourceExhausted
        "Try again later, or send less at a time.",
    ShuttingDown "SHUTTING_DOWN" Unavailable
        "Go to another coordinator.",
    Compacted "COMPACTED" OutOfRange
        "Begin the watch anew, without a version.",
    TabletBusy "TABLET_BUSY" FailedPrecondition
        "Wait for the migration that the answer names, or cancel it.",
    PlacementViolation "PLACEMENT_VIOLATION" FailedPrecondition
        "Choose another node: `palisade node list` shows nodes and racks.",
    NodeNotReady "NODE_NOT_READY" FailedPrecondition
        "Wait until the node's agent is admitted; `palisade node list` tells.",
    NodeDraining "NODE_DRAINING" FailedPrecondition
        "Choose another node, or end the drain.",
    NodeFenced "NODE_FENCED" FailedPrecondition
        "Start the node's agent; it is admitted anew by itself.",
    NodeFull "NODE_FULL" FailedPrecondition
        "Free some space on the node, or choose another one.",
    PastPointOfNoReturn "PAST_POINT_OF_NO_RETURN" FailedPrecondition
        "Let it end, then move the tablet back.",
    LossNotNamed "LOSS_NOT_NAMED" FailedPrecondition
        "Look at what is dead now, `palisade tablet explain`; then decide anew.",
    NotInTransition "NOT_IN_TRANSITION" FailedPrecondition
        "Look where it is now: `palisade migration list`.",
    StaleVersion "STALE_VERSION" FailedPrecondition
        "Read the tablet's newer version and begin the operation anew.",
    VersionAhead "VERSION_AHEAD" Unavailable
        "Begin the operation anew at the version that the answer carries.",
    NotReplica "NOT_REPLICA" FailedPrecondition
        "Read where the tablet is now and go there.",
    TimestampBehind "TIMESTAMP_BEHIND" FailedPrecondition
        "Begin anew with a timestamp above the one that the answer names.",
    TimestampAhead "TIMESTAMP_AHEAD" FailedPrecondition
        "Wait until the agent's clock has come so far; look whether clocks are kept in step.",
    QuorumUnavailable "QUORUM_UNAVAILABLE" Unavailable
        "Try again; `palisade tablet describe` shows which replicas are away.",
    SessionUnknown "SESSION_UNKNOWN" FailedPrecondition
        "Nothing: work of an attempt that is over was refused.",
    SessionClosing "SESSION_CLOSING" FailedPrecondition
        "Nothing: the attempt has been ended.",
    LeaseExpired "LEASE_EXPIRED" FailedPrecondition
        "Wait until the node's agent has a lease again; look whether it reaches the leader.",
    StreamProtocol "STREAM_PROTOCOL" FailedPrecondition
        "Look whether both ends run builds that go together.",
    StreamStalled "STREAM_STALLED" Unavailable
        "Look at the source's disk and the network between the two.",
    ChecksumMismatch "CHECKSUM_MISMATCH" DataLoss
        "Look at memory and network of both nodes; the attempt is repeated.",
    DigestMismatch "DIGEST_MISMATCH" DataLoss
        "Look at the disks of both nodes; the attempt is repeated.",
    PeerClosed "PEER_CLOSED" Unavailable
        "Look whether the other node is up; the attempt is repeated.",
    DiskError "DISK_ERROR" Internal
        "Look at the node's disk; move its tablets elsewhere.",
    DiskFull "DISK_FULL" ResourceExhausted
        "Free some space on the node, or choose another one.",
    DataDamaged "DATA_DAMAGED" DataLoss
        "Rebuild the replica from the others.",
    ClusterMismatch "CLUSTER_MISMATCH" FailedPrecondition
        "Look at the addresses: this is another cluster.",
    NodeMismatch "NODE_MISMATCH" FailedPrecondition
        "Start the node on its own directory, or on an empty one under a new name or after its removal.",
    FormatTooNew "FORMAT_TOO_NEW" FailedPrecondition
        "Start the newer build again.",
    UpgradeRequired "UPGRADE_REQUIRED" FailedPrecondition
        "Upgrade this part first.",
    NotFound "NOT_FOUND" NotFound
        "Look at what there is: `palisade table list`, `palisade tablet list`.",
    AlreadyExists "ALREADY_EXISTS" AlreadyExists
        "Choose another name.",
    InvalidField "INVALID_FIELD" InvalidArgument
        "Mend the field that the message names.",
    RequestIdReused "REQUEST_ID_REUSED" FailedPrecondition
        "Make a new request id for each new request.",
    RequestIdExpired "REQUEST_ID_EXPIRED" FailedPrecondition
        "Look whether it took effect: nobody remembers an id that old.",
    RequestIdAhead "REQUEST_ID_AHEAD" FailedPrecondition
        "Set this machine's clock, then make a new request id.",
    InvariantBroken "INVARIANT_BROKEN" Internal
        "Report this: nothing was changed, but it should never be said.",
    Unauthenticated "UNAUTHENTICATED" Unauthenticated
        "Show a certificate that this cluster's authority has signed.",
    PermissionDenied "PERMISSION_DENIED" PermissionDenied
        "Ask somebody whose role allows it.",
}

/// Not a reason on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reason on the closed list")]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;
    fn from_str(name: &str) -> Result<Reason, UnknownReason> {
        Reason::ALL.iter().copied().find(|reason| reason.name() == name).ok_or(UnknownReason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::evidence::FailureReason;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_is_closed_and_each_reason_says_what_to_do() {
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(reason.name().parse(), Ok(*reason));
            assert_ne!(reason.code(), Code::Ok);
            assert!(reason.next_step().ends_with('.'), "{reason}");
        }
        assert_eq!("NO_SUCH_REASON".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn what_streams_fail_with_is_on_the_list() {
        for failure in FailureReason::ALL {
            assert!(failure.name().parse::<Reason>().is_ok(), "{failure}");
        }
    }
}
