//! How a cluster begins: group0 first, then its first command, by which the cluster has its id.

use crate::group0::{Group0, Member, NotYet};
use crate::limits::{BEGIN_INTERVAL, IDENTIFY_DEADLINE};
use crate::machine::Machine;
use crate::options::{CoordinatorArgs, Profile};
use crate::proposer::Proposer;
use crate::server::ServeError;
use migrations::command::{Bootstrap, Command};
use migrations::id::ClusterId;
use migrations::settings::Settings;
use std::collections::BTreeMap;

/// What a coordinator is to begin with: raft addresses by name.
pub(crate) type Expected = BTreeMap<String, String>;

/// Whom to begin with, if this coordinator belongs to no group; `None` if it does.
///
/// # Errors
///
/// [`ServeError::NotBootstrapped`], [`ServeError::Peers`].
pub(crate) async fn expected(
    args: &CoordinatorArgs,
    group0: &Group0<Machine>,
) -> Result<Option<Expected>, ServeError> {
    let failed = |error: crate::group0::BootstrapError| ServeError::Bootstrap(error.to_string());
    if group0.is_initialized().await.map_err(failed)? {
        let known = group0.read(|machine| machine.topology.state().cluster);
        if let Some(cluster) = known {
            group0.bind(cluster.as_uuid()).await.map_err(failed)?;
        }
        return Ok(None);
    }
    if args.join {
        let Member { name, raft_address, .. } = group0.member();
        tracing::info!("waits to be taken in: palisade raft add {name} --raft {raft_address}");
        return Ok(None);
    }
    let Some(count) = args.bootstrap_expect else {
        return Err(ServeError::NotBootstrapped(args.data.clone()));
    };
    let own = group0.member();
    if count == 1 {
        return Ok(Some(Expected::from([(own.name.clone(), own.raft_address.clone())])));
    }
    let peers: Expected =
        args.peers.iter().map(|peer| (peer.name.clone(), peer.address.clone())).collect();
    let wrong = |problem: String| Err(ServeError::Peers(problem));
    if peers.len() != usize::from(count) || args.peers.len() != peers.len() {
        return wrong(format!("--bootstrap-expect {count} needs {count} different --peers"));
    }
    if !peers.contains_key(&own.name) {
        return wrong(format!("{} itself is not among --peers", own.name));
    }
    group0.expect(&peers);
    Ok(Some(peers))
}

/// Begins a group if it is this coordinator's to do, and sees to it that the cluster has its id.
/// Returns once that is applied here.
///
/// # Errors
///
/// [`ServeError::Bootstrap`].
pub(crate) async fn run(
    expected: Option<Expected>,
    profile: Profile,
    group0: &Group0<Machine>,
    proposer: &Proposer,
) -> Result<(), ServeError> {
    if let Some(expected) = expected {
        begin(&expected, group0).await?;
    }
    let mut leadership = group0.leadership();
    let mut applied = group0.applied();
    while group0.read(|machine| machine.topology.state().cluster).is_none() {
        if leadership.borrow_and_update().is_some() {
            name_cluster(profile, group0, proposer).await?;
            continue;
        }
        let alive = tokio::select! {
            changed = leadership.changed() => changed,
            changed = applied.changed() => changed,
        };
        if alive.is_err() {
            return Err(ServeError::Bootstrap("group0 has ended".to_owned()));
        }
    }
    Ok(())
}

/// Tries until there is a group: begun by this coordinator, or by the one whose task it is.
async fn begin(expected: &Expected, group0: &Group0<Machine>) -> Result<(), ServeError> {
    let mut said = None;
    loop {
        match group0.begin(expected, IDENTIFY_DEADLINE).await {
            Ok(()) => return Ok(()),
            Err(NotYet::Bootstrap(error)) => return Err(ServeError::Bootstrap(error.to_string())),
            Err(not_yet) => {
                // Once for each reason, not for each try.
                if said.as_ref() != Some(&not_yet) {
                    tracing::info!(reason = %not_yet, "waits to begin a cluster");
                    said = Some(not_yet);
                }
            }
        }
        tokio::time::sleep(BEGIN_INTERVAL).await;
    }
}

/// Proposes the first command. Whoever leads does it while it is missing; the first one counts,
/// and all propose the id to which the members are bound already.
async fn name_cluster(
    profile: Profile,
    group0: &Group0<Machine>,
    proposer: &Proposer,
) -> Result<(), ServeError> {
    let failed = |error: &dyn std::fmt::Display| ServeError::Bootstrap(error.to_string());
    let Some(cluster) = group0.cluster().and_then(ClusterId::from_uuid) else {
        return Err(failed(&"this coordinator leads, but knows no cluster"));
    };
    let settings = match profile {
        Profile::Standard => Settings::DEFAULT,
        Profile::Fast => Settings::FAST,
    };
    match proposer.submit(Command::Bootstrap(Bootstrap { cluster, settings })).await {
        Ok(committed) if committed.outcome.is_ok() => {
            tracing::info!(%cluster, "a new cluster begins");
        }
        // Somebody else's counts.
        Ok(_) => {}
        Err(error) => {
            tracing::info!(%error, "the cluster's id is not committed yet");
            tokio::time::sleep(BEGIN_INTERVAL).await;
        }
    }
    Ok(())
}
