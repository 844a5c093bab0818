//! What a demonstration has measured, for people and for programs.

use crate::checker::{End, Verdict, line};
use proto::admin::v1 as pb;
use proto::types::v1::{Stage, TransitionKind};
use serde_json::{Value, json};

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    pub(super) seed: u64,
    pub(super) duration_s: f64,
    pub(super) coordinators: u8,
    pub(super) agents: u8,
    pub(super) faults: Vec<&'static str>,
    pub(super) rows: usize,
    pub(super) verdict: Verdict,
    pub(super) moves: Moves,
    pub(super) stale_chunks_refused: u64,
    pub(super) failovers: u64,
    pub(super) fences: u64,
    /// Whether each fault did what it was played for.
    pub(super) as_played: bool,
}

/// What the history of migrations tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Moves {
    pub(super) done: u64,
    pub(super) reverted: u64,
    /// From the beginning of a stage to the last acknowledgement of its barrier, ordered.
    barriers_ms: Vec<u64>,
    streamed_bytes: u64,
    /// When tablets were in their streaming stage.
    streaming_ms: Vec<(u64, u64)>,
}

impl Moves {
    /// Reads it out of the migrations' stages. Streams count up to a time: that of the first fault.
    pub(super) fn of(migrations: &[pb::Migration], undisturbed_until_ms: u64) -> Moves {
        let mut moves = Moves::default();
        for migration in migrations {
            if migration.kind() == TransitionKind::Migrate {
                let is_done = migration.state() == pb::MigrationState::Done;
                moves.done += u64::from(is_done);
                moves.reverted += u64::from(migration.state() == pb::MigrationState::Reverted);
            }
            for (index, stage) in migration.stages.iter().enumerate() {
                let last = stage.acknowledged.iter().map(|acknowledged| acknowledged.at_ms).max();
                let barrier_ms = last.and_then(|last| last.checked_sub(stage.entered_ms));
                moves.barriers_ms.extend(barrier_ms);
                let next = migration.stages.get(index + 1).map(|next| next.entered_ms);
                if stage.stage() == Stage::Streaming
                    && stage.failure.is_empty()
                    && let Some(next) = next
                    && next <= undisturbed_until_ms
                {
                    moves.streamed_bytes += stage.streams.iter().map(|s| s.bytes).sum::<u64>();
                    moves.streaming_ms.push((stage.entered_ms, next));
                }
            }
        }
        moves.barriers_ms.sort_unstable();
        moves.streaming_ms.sort_unstable();
        moves
    }

    /// The time that so many of a hundred barriers did not exceed; `None` without barriers.
    fn barrier_ms(&self, percent: usize) -> Option<u64> {
        let last = self.barriers_ms.len().checked_sub(1)?;
        self.barriers_ms.get((self.barriers_ms.len() * percent / 100).min(last)).copied()
    }

    /// The bytes of all streams, by the time in which any tablet was in that stage. With few rows
    /// most of that time is the stage's own, not the streams'.
    fn mib_per_s(&self) -> f64 {
        let (mut any_ms, mut upto) = (0, 0);
        for (from, to) in &self.streaming_ms {
            any_ms += to.saturating_sub(upto.max(*from));
            upto = upto.max(*to);
        }
        let mib = self.streamed_bytes as f64 / f64::from(1 << 20);
        mib / (any_ms.max(1) as f64 / 1e3)
    }
}

impl Report {
    /// Whether everything held, and every fault was played as it should be.
    pub(super) fn is_ok(&self) -> bool {
        self.verdict.holds() && self.verdict.end == End::Whole && self.as_played
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let mut all = self.verdict.json();
        let measured = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seed": self.seed,
            "duration_s": (self.duration_s * 10.0).round() / 10.0,
            "coordinators": self.coordinators,
            "agents": self.agents,
            "faults": self.faults,
            "rows": self.rows,
            "migrations_done": self.moves.done,
            "migrations_reverted": self.moves.reverted,
            "stale_chunks_refused": self.stale_chunks_refused,
            "leader_failovers": self.failovers,
            "fences": self.fences,
            "barrier_p50_ms": self.moves.barrier_ms(50),
            "barrier_p99_ms": self.moves.barrier_ms(99),
            "stream_mib_per_s": (self.moves.mib_per_s() * 100.0).round() / 100.0,
            "ok": self.is_ok(),
        });
        if let Value::Object(measured) = measured {
            all.extend(measured);
        }
        Value::Object(all)
    }

    /// A table, with the verdict below it.
    pub(super) fn table(&self) -> String {
        let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let mut text =
            format!("\n{}{}", line("rows", &self.rows.to_string()), self.verdict.table());
        for (name, value) in [
            ("moves done", self.moves.done.to_string()),
            ("moves reverted", self.moves.reverted.to_string()),
            ("stale chunks refused", self.stale_chunks_refused.to_string()),
            ("leader failovers", self.failovers.to_string()),
            ("fences", self.fences.to_string()),
            ("barrier, median", ms(self.moves.barrier_ms(50))),
            ("barrier, 99 of 100", ms(self.moves.barrier_ms(99))),
            ("streams", format!("{:.2} MiB/s", self.moves.mib_per_s())),
            ("took", format!("{:.1} s", self.duration_s)),
        ] {
            text.push_str(&line(name, &value));
        }
        if !self.as_played {
            text.push_str("  a fault was played, and nothing was seen of what it should cause\n");
        }
        text.push_str(if self.is_ok() {
            "\nEverything held.\n"
        } else {
            "\nNOT everything held.\n"
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(stage: Stage, entered_ms: u64, acknowledged_ms: &[u64]) -> pb::StageHistory {
        let acknowledged = acknowledged_ms
            .iter()
            .map(|at| pb::BarrierAcknowledgement { node: "n".into(), at_ms: *at });
        let acknowledged = acknowledged.collect();
        let stage = stage.into();
        pb::StageHistory { stage, entered_ms, acknowledged, ..Default::default() }
    }

    fn moved() -> pb::Migration {
        let mut streaming = stage(Stage::Streaming, 1_100, &[]);
        streaming.streams = vec![pb::StreamProgress { bytes: 1 << 20, ..Default::default() }];
        let barrier = stage(Stage::AllowWriteBothReadOld, 1_000, &[1_030, 1_040, 1_020]);
        pb::Migration {
            kind: TransitionKind::Migrate.into(),
            state: pb::MigrationState::Done.into(),
            stages: vec![barrier, streaming, stage(Stage::WriteBothReadNew, 1_600, &[1_602])],
            ..Default::default()
        }
    }

    fn report(verdict: Verdict) -> Report {
        Report {
            seed: 1,
            duration_s: 1.25,
            coordinators: 3,
            agents: 4,
            faults: vec!["stale_chunk"],
            rows: 10,
            verdict,
            moves: Moves::of(&[moved()], u64::MAX),
            stale_chunks_refused: 1,
            failovers: 0,
            fences: 0,
            as_played: true,
        }
    }

    #[test]
    fn numbers_come_out_of_the_stages() {
        let moves = Moves::of(&[moved()], 1_600);
        assert_eq!((moves.done, moves.reverted), (1, 0));
        assert_eq!((moves.barrier_ms(0), moves.barrier_ms(99)), (Some(2), Some(40)));
        assert_eq!(moves.mib_per_s(), 2.0);
        assert_eq!(Moves::of(&[moved(), moved()], 1_600).mib_per_s(), 4.0, "at the same time");
        assert_eq!(Moves::of(&[moved()], 1_599).mib_per_s(), 0.0, "not over yet");
        assert_eq!(Moves::of(&[], 0).barrier_ms(50), None);
    }

    #[test]
    fn it_is_ok_only_if_the_verdict_and_the_faults_are() {
        let clean = Verdict { end: End::Whole, ..Verdict::default() };
        assert_eq!(report(clean.clone()).json()["ok"], true);
        assert_eq!(report(Verdict::default()).json()["ok"], false);
        let back = Verdict { resurrected: ["k".to_owned()].into(), ..clean.clone() };
        let report_of_back = report(back);
        assert_eq!(report_of_back.json()["ok"], false);
        assert_eq!(report_of_back.json()["resurrected_deletes"], 1);
        assert!(report_of_back.table().contains("NOT everything held"));
        let unplayed = Report { as_played: false, ..report(clean) };
        assert_eq!(unplayed.json()["ok"], false);
    }
}
