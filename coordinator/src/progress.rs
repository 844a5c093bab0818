//! How migrations have gone on since the leader last looked: a line in the log for each change of
//! stage, what is counted of it, and its trace. For those who look; nothing is decided by it.

use crate::machine::Change;
use crate::metrics::Metrics;
use migrations::id::{MigrationId, TabletId};
use migrations::tablet::{FinishedMigration, StageRecord};
use migrations::topology::Topology;
use migrations::version::TopologyVersion;
use process::traces::{self, Span, Step};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// A migration has entered a stage.
struct Advanced {
    tablet: TabletId,
    migration: MigrationId,
    kind: &'static str,
    /// What it left, and how long it had been there.
    left: Option<(StageRecord, Duration)>,
    entered: StageRecord,
}

/// Gathered under the lock of the topology, told outside of it.
#[derive(Default)]
pub(crate) struct Progress {
    advanced: Vec<Advanced>,
    ended: Vec<FinishedMigration>,
    /// Migrations whose last tablet is over.
    over: BTreeSet<MigrationId>,
}

impl Progress {
    /// What has happened above `seen`. `changes`: what is known to have changed since then.
    pub(crate) fn since(
        topology: &Topology,
        seen: TopologyVersion,
        changes: Option<&[Change]>,
    ) -> Progress {
        let mut progress = Progress::default();
        let touched: BTreeSet<TabletId> = match changes {
            Some(changes) => changes.iter().flat_map(|c| c.touched.iter().copied()).collect(),
            None => topology.in_transition().collect(),
        };
        let ended = topology.state().finished.iter().rev();
        progress.ended = ended.take_while(|over| over.version > seen).cloned().collect();
        progress.ended.reverse();
        for over in &progress.ended {
            let kind = over.kind.name();
            let advanced = advanced(over.tablet, over.migration, kind, &over.stages, seen);
            progress.advanced.extend(advanced);
            if topology.tablets_of(over.migration).next().is_none() {
                progress.over.insert(over.migration);
            }
        }
        for id in touched {
            let Some(transition) = topology.transition(id) else { continue };
            let (migration, kind) = (transition.record.migration, transition.record.kind.name());
            progress.advanced.extend(advanced(id, migration, kind, &transition.stages, seen));
        }
        progress
    }

    /// Writes the lines, and counts.
    pub(crate) fn tell(mut self, metrics: &Metrics, term: u64) {
        for Advanced { tablet, migration, kind, left, entered } in self.advanced {
            let (version, attempt) = (entered.version, entered.attempt);
            let stage = entered.stage.name();
            let from = left.as_ref().map(|(left, _)| left.stage.name());
            let error = left.as_ref().and_then(|(left, _)| left.failure);
            let error = error.map(tracing::field::display);
            tracing::info!(%tablet, %migration, kind, from, stage, %version, attempt, term, error,
                "stage advanced");
            if let Some((left, after)) = left {
                metrics.stage_left(left.stage, after);
            }
        }
        for over in self.ended {
            let last = over.stages.last();
            let stage = last.map(|last| last.stage.name());
            let reason = over.reason.map(tracing::field::debug);
            tracing::info!(tablet = %over.tablet, migration = %over.migration,
                kind = over.kind.name(), stage, version = %over.version, attempt = over.attempt,
                term, ending = ?over.ending, reason, "migration ended");
            if let Some(last) = last {
                metrics.stage_left(last.stage, between(last.entered_ms, over.ended_ms));
            }
            trace_stages(&over);
            // A drop is one migration of many tablets: it is counted with the last of them.
            if self.over.remove(&over.migration) {
                let began_ms = over.stages.first().map_or(over.ended_ms, |first| first.entered_ms);
                let after = between(began_ms, over.ended_ms);
                metrics.migration_ended(over.kind, over.ending, after);
                trace_migration(&over);
            }
        }
    }
}

/// The stages of a migration that were entered above `seen`, each with what was left for it.
fn advanced(
    tablet: TabletId,
    migration: MigrationId,
    kind: &'static str,
    stages: &[StageRecord],
    seen: TopologyVersion,
) -> Vec<Advanced> {
    let entered = stages.iter().enumerate().filter(|(_, stage)| stage.version > seen);
    let advanced = entered.map(|(number, entered)| {
        let left = number.checked_sub(1).and_then(|before| stages.get(before));
        let left = left.map(|left| (left.clone(), between(left.entered_ms, entered.entered_ms)));
        Advanced { tablet, migration, kind, left, entered: entered.clone() }
    });
    advanced.collect()
}

/// Tells of a tablet's stages, of which several leaders may have seen a part each: all of them stand
/// in its record.
fn trace_stages(over: &FinishedMigration) {
    let ends = over.stages.iter().skip(1).map(|next| next.entered_ms).chain([over.ended_ms]);
    for (stage, ended_ms) in over.stages.iter().zip(ends) {
        traces::tell(|| {
            let version = (stage.version.era(), stage.version.counter());
            let migration = over.migration.as_uuid().into_bytes();
            Span {
                step: Step::stage(migration, over.tablet.as_u64(), version),
                name: stage.stage.name().to_owned(),
                began: at(stage.entered_ms),
                ended: at(ended_ms),
                failure: stage.failure.map(|failure| failure.to_string()),
                facts: vec![
                    ("tablet", over.tablet.to_string()),
                    ("version", stage.version.to_string()),
                    ("attempt", stage.attempt.to_string()),
                ],
            }
        });
    }
}

/// Tells of a migration whose last tablet is over.
fn trace_migration(over: &FinishedMigration) {
    traces::tell(|| {
        let failure = over.reason.map(|reason| format!("{:?}: {reason:?}", over.ending));
        Span {
            step: Step::migration(over.migration.as_uuid().into_bytes()),
            name: over.kind.name().to_owned(),
            began: at(over.started_ms),
            ended: at(over.ended_ms),
            failure,
            facts: vec![
                ("migration", over.migration.to_string()),
                ("table", over.table_name.clone()),
                ("tablet", over.tablet.to_string()),
                ("attempt", over.attempt.to_string()),
                ("ending", format!("{:?}", over.ending)),
            ],
        }
    });
}

fn at(unix_ms: u64) -> SystemTime {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms));
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// By the clocks of proposers, which may differ: never less than nothing.
fn between(from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(to_ms.saturating_sub(from_ms))
}
