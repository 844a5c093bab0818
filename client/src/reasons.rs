//! What the reasons of the closed list mean to a client, decided for each of them.

use migrations::clock::HybridTime;
use migrations::router::Refused;
use migrations::version::TopologyVersion;
use proto::reasons::Reason;
use proto::status::Refusal;

/// Whether another try of an admin call, perhaps elsewhere, may be answered otherwise.
pub(crate) fn is_passing(reason: Reason) -> bool {
    match reason {
        Reason::NotLeader
        | Reason::NoLeader
        | Reason::LeaderTransferring
        | Reason::LeadershipLost
        | Reason::CommitTimeout
        | Reason::QueueTimeout
        | Reason::Overloaded
        | Reason::ShuttingDown => true,
        Reason::Compacted
        | Reason::TabletBusy
        | Reason::PlacementViolation
        | Reason::NodeNotReady
        | Reason::NodeDraining
        | Reason::NodeFenced
        | Reason::NodeFull
        | Reason::PastPointOfNoReturn
        | Reason::LossNotNamed
        | Reason::NotInTransition
        | Reason::StaleVersion
        | Reason::VersionAhead
        | Reason::NotReplica
        | Reason::TimestampBehind
        | Reason::TimestampAhead
        | Reason::QuorumUnavailable
        | Reason::SessionUnknown
        | Reason::SessionClosing
        | Reason::LeaseExpired
        | Reason::StreamProtocol
        | Reason::StreamStalled
        | Reason::ChecksumMismatch
        | Reason::DigestMismatch
        | Reason::PeerClosed
        | Reason::DiskError
        | Reason::DiskFull
        | Reason::DataDamaged
        | Reason::ClusterMismatch
        | Reason::NodeMismatch
        | Reason::FormatTooNew
        | Reason::UpgradeRequired
        | Reason::NotFound
        | Reason::AlreadyExists
        | Reason::InvalidField
        | Reason::RequestIdReused
        | Reason::RequestIdExpired
        | Reason::RequestIdAhead
        | Reason::InvariantBroken
        | Reason::Unauthenticated
        | Reason::PermissionDenied => false,
    }
}

/// What a replica's refusal of an operation under `version` means; `None` if no replica will ever
/// answer otherwise.
pub(crate) fn refused(refusal: &Refusal, version: TopologyVersion) -> Option<Refused> {
    let time = |name: &str| refusal.get(name).and_then(|text| text.parse().ok()).map(HybridTime);
    Some(match refusal.reason {
        Reason::StaleVersion => Refused::StaleVersion,
        Reason::VersionAhead => Refused::VersionAhead,
        // It is of use only if it knows better where the tablet is.
        Reason::NotReplica => match &refusal.record {
            Some(record) if record.version > version => Refused::StaleVersion,
            Some(_) | None => Refused::Unavailable,
        },
        Reason::TimestampBehind => {
            time("highest").map_or(Refused::Unavailable, Refused::TimestampBehind)
        }
        Reason::TimestampAhead => {
            time("clock").map_or(Refused::Unavailable, Refused::TimestampAhead)
        }
        Reason::InvalidField | Reason::Unauthenticated | Reason::PermissionDenied => return None,
        Reason::NotLeader
        | Reason::NoLeader
        | Reason::LeaderTransferring
        | Reason::LeadershipLost
        | Reason::CommitTimeout
        | Reason::QueueTimeout
        | Reason::Overloaded
        | Reason::ShuttingDown
        | Reason::Compacted
        | Reason::TabletBusy
        | Reason::PlacementViolation
        | Reason::NodeNotReady
        | Reason::NodeDraining
        | Reason::NodeFenced
        | Reason::NodeFull
        | Reason::PastPointOfNoReturn
        | Reason::LossNotNamed
        | Reason::NotInTransition
        | Reason::QuorumUnavailable
        | Reason::SessionUnknown
        | Reason::SessionClosing
        | Reason::LeaseExpired
        | Reason::StreamProtocol
        | Reason::StreamStalled
        | Reason::ChecksumMismatch
        | Reason::DigestMismatch
        | Reason::PeerClosed
        | Reason::DiskError
        | Reason::DiskFull
        | Reason::DataDamaged
        | Reason::ClusterMismatch
        | Reason::NodeMismatch
        | Reason::FormatTooNew
        | Reason::UpgradeRequired
        | Reason::NotFound
        | Reason::AlreadyExists
        | Reason::RequestIdReused
        | Reason::RequestIdExpired
        | Reason::RequestIdAhead
        | Reason::InvariantBroken => Refused::Unavailable,
    })
}
