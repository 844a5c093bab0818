//! What can go wrong in group0, by what the caller knows afterwards.

use std::io;
use std::path::{Path, PathBuf};

use super::types::Member;

/// Something on disk or in the log was written by a newer build. This build stops at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("written by a newer build: {found}; this build knows {known}. Start the newer build")]
pub struct FormatTooNew {
    /// What was found, with its version: "entry format 3".
    pub found: String,
    /// The newest that this build knows: "entry format 2".
    pub known: String,
}

/// Bytes that can't have been written as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged: {0}")]
pub struct Damaged(pub String);

/// Why a snapshot can't be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Its bytes are wrong.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A newer build wrote it.
    #[error(transparent)]
    TooNew(#[from] FormatTooNew),
    /// The disk doesn't give them.
    #[error("can't be read: {0}")]
    Unread(String),
}

impl From<io::Error> for RestoreError {
    fn from(error: io::Error) -> RestoreError {
        RestoreError::Unread(error.to_string())
    }
}

/// Why the state wasn't saved as a file.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Leadership isn't confirmed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file can't be written. group0 goes on.
    #[error("can't write a snapshot: {0}")]
    Disk(#[from] io::Error),
}

/// Why group0 can't be opened. Nothing is served, and nothing but a torn tail has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("group0's options: {0}")]
    Options(String),
    /// A file or directory can't be read or written.
    #[error(
        "can't {doing} {}: {source}. Check its owner, its permissions and the space left",
        path.display()
    )]
    Io {
        /// What was tried: "create the directory".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error(
        "{} is in use by another coordinator. Stop it, or give this one a directory of its own",
        path.display()
    )]
    AlreadyRunning {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory's layout is newer than this build.
    #[error("{}: {source}", path.display())]
    FormatTooNew {
        /// The file that says so.
        path: PathBuf,
        /// Both versions.
        source: FormatTooNew,
    },
    /// The directory belongs to another member.
    #[error(
        "{} belongs to Raft id {found}, not {asked}. Start it with its own directory",
        path.display()
    )]
    OtherRaftId {
        /// The data directory.
        path: PathBuf,
        /// The id on record.
        found: u64,
        /// The id in the options.
        asked: u64,
    },
    /// The directory belongs to a coordinator of another name.
    #[error(
        "{} belongs to coordinator {found}, not {asked}. Start it with its own --name or directory",
        path.display()
    )]
    OtherName {
        /// The data directory.
        path: PathBuf,
        /// The name on record.
        found: String,
        /// The name in the options.
        asked: String,
    },
    /// The format file can't be read as one.
    #[error("{} is damaged: {detail}. Restore the directory from a snapshot", path.display())]
    FormatDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The log is damaged before its end: entries that were acknowledged can't be read.
    #[error(
        "the log {} is damaged: {detail}. \
         Restore the directory from a snapshot, or rejoin as a new member",
        path.display()
    )]
    LogDamaged {
        /// The file or directory.
        path: PathBuf,
        /// Where and how.
        detail: String,
    },
    /// No snapshot can be read that the log goes on from.
    #[error(
        "the snapshot {} is damaged: {detail}. \
         Restore the directory from a snapshot, or rejoin as a new member",
        path.display()
    )]
    SnapshotDamaged {
        /// The newest damaged file.
        path: PathBuf,
        /// Where and how.
        detail: String,
    },
    /// The log begins after the newest snapshot: what is between them is missing.
    #[error(
        "the log begins after entry {purged}, but the newest snapshot ends at {snapshot:?}. \
         Restore the directory from a snapshot, or rejoin as a new member"
    )]
    Gap {
        /// Last entry that was taken off the log.
        purged: u64,
        /// Last entry in the newest snapshot; none if there is no snapshot.
        snapshot: Option<u64>,
    },
    /// A directory that is to be made is there, and something is in it.
    #[error("{} is not empty: choose a directory that is, or isn't there yet", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Raft didn't start.
    #[error("group0 doesn't start: {0}")]
    Raft(String),
}

impl OpenError {
    /// An [`OpenError::Io`] on `path`, as a closure for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// Why a proposal has no response. Each says whether the entry was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// **Not applied.** Another coordinator leads: ask there.
    #[error("not the leader: {} is", leader.name)]
    NotLeader {
        /// The leader; blank if only its Raft id is known.
        leader: Box<Member>,
        /// In which term it leads; 0 if that is not known.
        term: u64,
    },
    /// **Not applied.** Nobody is known to lead. Try again later.
    #[error("group0 has no leader")]
    NoLeader,
    /// **Not applied.** This coordinator leads, and is handing over. Try again in a moment.
    #[error("leadership is being handed over")]
    HandingOver,
    /// **Not applied.** This coordinator stops.
    #[error("this coordinator is shutting down")]
    ShuttingDown,
    /// **Not applied.** The deadline passed before the entry could be proposed.
    #[error("the deadline passed before the entry was proposed")]
    TooLate,
    /// **Not applied.** The entry is larger than group0 takes.
    #[error("an entry of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// **Unknown.** Proposed, then this coordinator stopped leading. Look before a retry.
    #[error("leadership was lost after the entry was proposed: whether it is applied is unknown")]
    LeadershipLost,
    /// **Unknown.** Proposed, but not committed by the deadline. It may be yet.
    #[error("not committed by the deadline: whether the entry is applied is unknown")]
    CommitTimeout,
    /// **Unknown.** This coordinator's storage has failed; it stops.
    #[error("group0 has failed: {0}")]
    Fatal(FatalReason),
}

impl ProposeError {
    /// Whether the entry may be, or become, applied in spite of this error.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::LeadershipLost | Self::CommitTimeout | Self::Fatal(_) => true,
            Self::NotLeader { .. }
            | Self::NoLeader
            | Self::HandingOver
            | Self::ShuttingDown
            | Self::TooLate
            | Self::TooLarge { .. } => false,
        }
    }
}

/// Why leadership couldn't be confirmed, so that a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another coordinator leads: ask there.
    #[error("not the leader: {} is", leader.name)]
    NotLeader {
        /// The leader; blank if only its Raft id is known.
        leader: Box<Member>,
        /// In which term it leads; 0 if that is not known.
        term: u64,
    },
    /// Nobody is known to lead. Try again later.
    #[error("group0 has no leader")]
    NoLeader,
    /// This coordinator leads, and is handing over. Try again in a moment.
    #[error("leadership is being handed over")]
    HandingOver,
    /// A quorum didn't answer, or its answer couldn't be applied in time. Try again later.
    #[error("no quorum of group0 answers")]
    NoQuorum,
    /// This coordinator stops.
    #[error("this coordinator is shutting down")]
    ShuttingDown,
    /// This coordinator's storage has failed; it stops.
    #[error("group0 has failed: {0}")]
    Fatal(FatalReason),
}

/// Why the members were not changed, or leadership not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// Leadership isn't confirmed. Nothing was done.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// As it says itself.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Nobody answers at the address.
    #[error("{address}: {detail}")]
    Silent {
        /// The raft address.
        address: String,
        /// What went wrong.
        detail: String,
    },
    /// Another coordinator answers at the address.
    #[error("{address} is {found}, not {name}")]
    OtherName {
        /// The name that was expected.
        name: String,
        /// The raft address.
        address: String,
        /// Who answered.
        found: String,
    },
    /// It belongs to another cluster.
    #[error("{name} belongs to another cluster, {cluster}")]
    OtherCluster {
        /// Its name.
        name: String,
        /// Its cluster.
        cluster: uuid::Uuid,
    },
    /// It was a member before: a Raft id is never used again.
    #[error("{name} was taken in before, and removed: it comes in again on an empty directory")]
    WasRemoved {
        /// Its name.
        name: String,
    },
    /// A member has this name.
    #[error("a member is called {name} already, with Raft id {raft_id}: remove it first")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        raft_id: u64,
    },
    /// There are as many as there may be.
    #[error("there are {0} coordinators already")]
    TooMany(usize),
    /// There is no such member.
    #[error("no coordinator is called {0}")]
    NotFound(String),
    /// Those who are left would be without a majority.
    #[error("without {name} only {alive} of {voters} voters would be alive: no majority")]
    LosesQuorum {
        /// Who was to go.
        name: String,
        /// How many of those who are left are alive.
        alive: usize,
        /// How many are left.
        voters: usize,
    },
    /// Nobody would be left.
    #[error("{name} is the only coordinator with a vote")]
    LastVoter {
        /// Its name.
        name: String,
    },
    /// The member that is to lead can't.
    #[error("{name} can't lead: {why}")]
    CantLead {
        /// Its name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// There is nobody else who could lead.
    #[error("no other coordinator with a vote is heard from")]
    NobodyElse,
    /// Another one leads by now than the one that was to hand over.
    #[error("{leads} leads by now, and {to} was to take over from another one: look again")]
    Moved {
        /// Who leads.
        leads: String,
        /// Who was to lead.
        to: String,
    },
    /// The coordinator that is to come in waits to begin a cluster with others.
    #[error("{name} waits to begin a cluster with {expected}, none of whom is a member here")]
    ExpectsOthers {
        /// Its name.
        name: String,
        /// With whom, by name.
        expected: String,
    },
    /// Its build is older than what the cluster needs.
    #[error("{name} reads feature level {reads}, and the cluster is at {needed}")]
    TooOld {
        /// Its name.
        name: String,
        /// What its build can do.
        reads: u32,
        /// What the cluster needs.
        needed: u32,
    },
    /// **Unknown.** Leadership was handed over, and the one that was to lead doesn't yet.
    #[error("nobody has taken leadership over yet")]
    NotTaken,
}

impl MemberError {
    /// Whether the change may be, or become, made in spite of this error. All that is refused here
    /// is refused before anything of it is proposed; and since these changes are not remembered, a
    /// refusal says nothing of an earlier try.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Propose(error) => error.outcome_unknown(),
            Self::NotTaken => true,
            Self::Read(_)
            | Self::Silent { .. }
            | Self::OtherName { .. }
            | Self::OtherCluster { .. }
            | Self::WasRemoved { .. }
            | Self::NameTaken { .. }
            | Self::TooMany(_)
            | Self::NotFound(_)
            | Self::LosesQuorum { .. }
            | Self::LastVoter { .. }
            | Self::CantLead { .. }
            | Self::NobodyElse
            | Self::Moved { .. }
            | Self::ExpectsOthers { .. }
            | Self::TooOld { .. } => false,
        }
    }
}

/// Why a group couldn't be begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    /// This member isn't among the voters.
    #[error("Raft id {raft_id} is not among the members to begin with")]
    NotAMember {
        /// This member's Raft id.
        raft_id: u64,
    },
    /// This member belongs to another cluster already.
    #[error("this coordinator belongs to cluster {0} already")]
    OtherCluster(uuid::Uuid),
    /// This coordinator's storage has failed, or it has stopped.
    #[error("group0 has failed: {0}")]
    Fatal(FatalReason),
}

/// Why this coordinator has to end its process: group0 can't go on in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatalReason {
    /// Log, vote or snapshot couldn't be written or read.
    #[error("storage: {0}")]
    Storage(String),
    /// A committed entry is newer than this build.
    #[error("{0}")]
    FormatTooNew(FormatTooNew),
    /// The state machine or Raft panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// This member was removed from its group.
    #[error(
        "coordinator {name} was removed from its cluster. To have it back, start it with --join \
         on an empty directory, then: palisade raft add {name} --raft {address}"
    )]
    Removed {
        /// Its name.
        name: String,
        /// Its raft address.
        address: String,
    },
}
