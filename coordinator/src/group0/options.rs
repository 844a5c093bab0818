//! What group0 is opened with.

use std::path::PathBuf;
use std::time::Duration;

use super::error::OpenError;
use super::transport::APPEND_ENTRIES;
use super::types::Member;
use crate::limits::SNAPSHOT_DEADLINE;
use tls::{Dial, Kind};

/// Each time it takes a core for as long as a snapshot does.
pub(crate) const DIGEST_EVERY: u64 = 8_192;

/// How many entries one snapshot is made from the next.
pub(crate) const SNAPSHOT_EVERY: u64 = 5_000;

/// What group0 is opened with. [`Options::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory that holds everything of this member. Created if it is missing.
    pub data_dir: PathBuf,
    /// Raft id of this member. The directory keeps it; another is refused. None: the directory's,
    /// or one drawn at random if it is empty.
    pub raft_id: Option<u64>,
    /// This member. The directory keeps its name; another is refused.
    pub member: Member,
    /// Time between a leader's heartbeats.
    pub heartbeat: Duration,
    /// The least time without a heartbeat after which an election begins.
    pub election_min: Duration,
    /// The most.
    pub election_max: Duration,
    /// A snapshot is made each time this many entries have been committed since the last.
    pub snapshot_every: u64,
    /// The members compare their states each time this many entries have been applied.
    pub digest_every: u64,
    /// Entries kept in the log though a snapshot has them, for members that lag.
    pub keep: u64,
    /// Whether a leader that no quorum answers falls silent, so that another one is elected. Off in
    /// the control of that alone.
    pub checks_quorum: bool,
    /// The highest feature level that this member can read.
    pub feature_level: u32,
    /// How others are dialled.
    pub dial: Dial,
}

impl Options {
    /// Options with the default durations: heartbeat 200 ms, election 0.8 to 1.6 s, a snapshot
    /// every 5000 entries, 1000 kept; states are compared every 8192.
    pub fn new(data_dir: impl Into<PathBuf>, member: Member) -> Self {
        Self {
            data_dir: data_dir.into(),
            raft_id: None,
            member,
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(800),
            election_max: Duration::from_millis(1600),
            snapshot_every: SNAPSHOT_EVERY,
            digest_every: DIGEST_EVERY,
            keep: SNAPSHOT_EVERY / 5,
            checks_quorum: true,
            feature_level: 0,
            dial: Dial::new(None, Kind::Coordinator),
        }
    }

    /// The same with short durations, for tests on one machine: heartbeat 50 ms, election 0.2 to
    /// 0.4 s.
    #[must_use]
    pub fn fast(self) -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            ..self
        }
    }

    /// Raft's own configuration.
    pub(super) fn raft_config(&self) -> Result<openraft::Config, OpenError> {
        if self.heartbeat * 3 >= self.election_min {
            return Err(OpenError::Options(format!(
                "3 heartbeats ({:?}) must be less than the least election time ({:?})",
                self.heartbeat * 3,
                self.election_min
            )));
        }
        if self.snapshot_every == 0 {
            return Err(OpenError::Options("snapshot_every must not be 0".into()));
        }
        if self.digest_every == 0 {
            return Err(OpenError::Options("digest_every must not be 0".into()));
        }
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        // Raft's follower waits for its leader's lease, which lasts as long as its longest election
        // timeout, and then for a drawn timeout on top of it. What is promised here is the sum.
        let lease = self.election_max / 2;
        let drawn_min = self.election_min.saturating_sub(lease).max(self.heartbeat * 5 / 4);
        openraft::Config {
            cluster_name: "group0".into(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(drawn_min),
            election_timeout_max: millis(lease),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.keep,
            max_payload_entries: APPEND_ENTRIES,
            install_snapshot_timeout: millis(SNAPSHOT_DEADLINE),
            replication_lag_threshold: self.snapshot_every.saturating_add(self.keep),
            enable_pre_vote: Some(true),
            // A restarted leader gets a term of its own, so that a term never spans two processes
            // and the blank entry that begins it proves that all before it is applied.
            enable_leader_restore: Some(false),
            ..Default::default()
        }
        .validate()
        .map_err(|e| OpenError::Options(e.to_string()))
    }
}
