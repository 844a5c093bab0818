//! How a member comes up: its directory is opened, and Raft started over it.
//!
//! Not here: what it can be asked afterwards (`handle.rs`).

use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::StateMachine;
use super::apply::{Applier, State};
use super::blocking::blocking;
use super::clocks::Clocks;
use super::directory::{self, Lock};
use super::error::{FatalReason, OpenError};
use super::follow;
use super::handle::{Group0, Inner};
use super::identity::Identity;
use super::log::LogStore;
use super::options::Options;
use super::propose::Proposals;
use super::quorum;
use super::read::{Confirmations, Following};
use super::snapshot::Snapshots;
use super::transport::{Dialler, Links, Pace, Peers};
use super::types::Group0Types;

/// Everything that is open in the data directory.
pub(super) struct Files {
    pub(super) lock: Arc<Lock>,
    pub(super) identity: Arc<Identity>,
    pub(super) log: LogStore,
    pub(super) snapshots: Arc<Snapshots>,
}

impl<S: StateMachine> Group0<S> {
    /// Opens this member's directory and starts Raft. `empty` is the state before any entry.
    ///
    /// When it returns, what was known to be committed is applied. A leader is elected afterwards.
    ///
    /// # Errors
    ///
    /// Every [`OpenError`]. The directory is free again.
    pub async fn open(options: Options, empty: S) -> Result<Self, OpenError> {
        let asked = options.clone();
        let (files, state) = blocking(move || open_files(&asked, &empty))
            .await
            .map_err(|e| OpenError::Raft(e.to_string()))??;
        let log = files.log.clone();
        Self::start(options, files, state, log).await
    }

    /// Starts Raft over what was opened, and this log.
    async fn start(
        options: Options,
        files: Files,
        state: State<S>,
        log: impl RaftLogStorage<Group0Types>,
    ) -> Result<Self, OpenError> {
        let config = Arc::new(options.raft_config()?);
        let state = Arc::new(state);
        let raft_id = files.identity.raft_id();
        let dialler = Dialler::new(options.dial);
        let pace = Pace {
            heartbeat: options.heartbeat,
            connect: options.election_min,
            append: options.election_max,
        };
        let clocks = Arc::new(Clocks::default());
        let links = Arc::new(Links::new(
            Arc::clone(&files.identity),
            pace,
            Arc::clone(state.digests()),
            Arc::clone(&clocks),
            dialler.clone(),
        ));
        let peers = Peers::new(Arc::clone(&links));
        let applier = Applier::new(
            Arc::clone(&state),
            Arc::clone(&files.snapshots),
            Arc::clone(&files.identity),
        );
        let raft =
            openraft::Raft::new(raft_id, config, peers, log, applier).await.map_err(|fatal| {
                match state.fatal().borrow().clone() {
                    Some(FatalReason::FormatTooNew(source)) => {
                        OpenError::FormatTooNew { path: options.data_dir.join("log"), source }
                    }
                    Some(FatalReason::Storage(reason) | FatalReason::Panicked(reason)) => {
                        OpenError::Raft(reason)
                    }
                    Some(removed @ FatalReason::Removed { .. }) => {
                        OpenError::Raft(removed.to_string())
                    }
                    None => OpenError::Raft(fatal.to_string()),
                }
            })?;
        let stop = CancellationToken::new();
        let (leadership_sender, leadership) = watch::channel(None);
        tokio::spawn(follow::follow(
            raft.metrics(),
            leadership_sender,
            Arc::clone(&state),
            Arc::clone(&links),
            stop.clone(),
        ));
        if options.checks_quorum {
            let (metrics, stop) = (raft.metrics(), stop.clone());
            tokio::spawn(quorum::watch(metrics, links, options.election_max, stop));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                clocks,
                proposals: Proposals::new(raft.clone(), Arc::clone(&state)),
                confirmations: Confirmations::start(
                    raft.clone(),
                    Arc::clone(&state),
                    options.election_max,
                ),
                following: Confirmations::of(Following::new(
                    raft.clone(),
                    Arc::clone(&state),
                    Arc::clone(&files.identity),
                    options.election_max,
                    dialler.clone(),
                )),
                dialler,
                raft,
                state,
                files,
                member: options.member,
                heartbeat: options.heartbeat,
                changes: tokio::sync::Mutex::default(),
                election_max: options.election_max,
                feature_level: options.feature_level,
                leadership,
                _stop_on_drop: stop.clone().drop_guard(),
                stop,
            }),
        })
    }
}

#[cfg(test)]
impl<S: StateMachine> Group0<S> {
    /// As [`open`](Self::open), with a log that is not in the directory.
    pub(super) async fn open_with(
        options: Options,
        empty: S,
        log: impl RaftLogStorage<Group0Types>,
    ) -> Result<Self, OpenError> {
        let (files, state) = open_files(&options, &empty)?;
        Self::start(options, files, state, log).await
    }
}

pub(super) fn open_files<S: StateMachine>(
    options: &Options,
    empty: &S,
) -> Result<(Files, State<S>), OpenError> {
    let dir = &options.data_dir;
    let (lock, format) = directory::open(dir)?;
    let lock = Arc::new(lock);
    let (raft_id, name) = (options.raft_id, &options.member.name);
    let identity = Identity::open(dir.clone(), Arc::clone(&lock), format, raft_id, name)?;
    let log = LogStore::open(&dir.join("log"), Arc::clone(&lock), identity.cluster().is_none())?;
    let (snapshots, restored) =
        Snapshots::open(dir.join("snapshots"), Arc::clone(&lock), log.purged(), |body| {
            let mut machine = empty.clone();
            machine.restore(body)?;
            Ok(machine)
        })?;
    let state = match restored {
        Some((meta, machine)) => State::new(machine, meta, options.digest_every),
        None => State::new(empty.clone(), Default::default(), options.digest_every),
    };
    if state.membership().membership().get_node(&identity.raft_id()).is_some() {
        identity.is_member().map_err(|error| OpenError::Raft(error.to_string()))?;
    }
    let (identity, snapshots) = (Arc::new(identity), Arc::new(snapshots));
    Ok((Files { lock, identity, log, snapshots }, state))
}
