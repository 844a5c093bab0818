//! A migration as it goes on: one line a stage, and who is waited for when it does not.

use super::list::{kind, standing, way};
use super::words::{bytes, millis, short_id, stage};
use proto::admin::v1 as pb;

/// Width of the longest stage's name.
pub(super) const STAGE_WIDTH: usize = 28;

/// What was said of a migration so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The newest stage that was said to be over, by its version.
    over: Option<(u32, u64)>,
    /// The newest stage that was said to have begun.
    begun: Option<(u32, u64)>,
}

/// The line above all others.
pub(crate) fn headline(migration: &pb::Migration, request_id: &str) -> String {
    let mut line = format!(
        "migration {}  {}  {} {}",
        short_id(&migration.id),
        migration.tablet_name,
        kind(migration),
        way(migration),
    );
    if !request_id.is_empty() {
        line.push_str(&format!("   request {request_id}"));
    }
    line
}

/// The line below all others: how it ended and who is serving, or where it stands.
pub(crate) fn verdict(migration: &pb::Migration) -> String {
    let serving = match migration.state() {
        pb::MigrationState::Running | pb::MigrationState::Unspecified => {
            return format!("reached {}; the migration goes on", standing(migration));
        }
        pb::MigrationState::Done => &migration.after,
        pb::MigrationState::Reverted | pb::MigrationState::Cancelled => &migration.before,
    };
    let began_ms = migration.stages.first().map_or(migration.ended_ms, |stage| stage.entered_ms);
    let took = millis(migration.ended_ms.saturating_sub(began_ms));
    format!("{} after {took}; {} are serving", standing(migration), serving.join(" "))
}

fn place(stage: &pb::StageHistory) -> Option<(u32, u64)> {
    stage.version.map(|version| (version.era, version.counter))
}

impl Progress {
    /// What is new: a line for each stage that is over, and one for the stage that has begun.
    pub(crate) fn changes(&mut self, migration: &pb::Migration) -> Vec<String> {
        let is_over = migration.state() != pb::MigrationState::Running;
        let mut lines = Vec::new();
        for (index, history) in migration.stages.iter().enumerate() {
            let place = place(history);
            let next = migration.stages.get(index + 1).map(|next| next.entered_ms);
            let left_ms = next.or(is_over.then_some(migration.ended_ms));
            match left_ms {
                Some(left_ms) if place > self.over => {
                    lines.push(over(history, left_ms));
                    self.over = place;
                }
                None if place > self.begun => {
                    lines.push(begun(history, migration));
                    self.begun = place;
                }
                Some(_) | None => {}
            }
        }
        lines
    }

    /// Who is waited for, and who holds it up there; the streams, where that is what goes on.
    pub(crate) fn waiting(migration: &pb::Migration, now_ms: u64) -> Vec<String> {
        let entered = migration.stages.last().map_or(now_ms, |stage| stage.entered_ms);
        let since = millis(now_ms.saturating_sub(entered));
        let name = stage(migration.stage());
        let mut lines = Vec::new();
        let what = match migration.waiting_for.as_slice() {
            [] => "goes on".to_owned(),
            nodes => format!("waiting for {}", nodes.join(" ")),
        };
        lines.push(format!("  ▶ {name:STAGE_WIDTH$}  {since}   {what}"));
        for stream in &migration.streams {
            let pause = if stream.paused { "   waits for bandwidth" } else { "" };
            lines.push(format!(
                "      {} → {}: {}, {}/s{pause}",
                stream.source,
                stream.receiver,
                bytes(stream.bytes),
                bytes(stream.bytes_per_second),
            ));
        }
        for held in &migration.holders {
            let holder = held.holder.clone().unwrap_or_default();
            lines.push(format!(
                "      {}: {} for {}, held {}, {} so far",
                held.node,
                holder.operation,
                holder.peer,
                millis(holder.held_ms),
                bytes(holder.bytes),
            ));
        }
        if !migration.waiting_for.is_empty() {
            let tablet = &migration.tablet_name;
            lines.push(format!("      look:   palisade barrier holders --tablet {tablet}"));
        }
        lines
    }
}

pub(super) fn over(history: &pb::StageHistory, left_ms: u64) -> String {
    let name = stage(history.stage());
    let took_ms = left_ms.saturating_sub(history.entered_ms);
    if !history.failure.is_empty() {
        let (attempt, failure, took) = (history.attempt, &history.failure, millis(took_ms));
        return format!("  ✘ {name:STAGE_WIDTH$}  {took:>8}   attempt {attempt}: {failure}");
    }
    let mut line = format!("  ✔ {name:STAGE_WIDTH$}  {:>8}", millis(took_ms));
    if !history.acknowledged.is_empty() {
        let nodes: Vec<&str> = history.acknowledged.iter().map(|said| said.node.as_str()).collect();
        line.push_str(&format!("   acknowledged by {}", nodes.join(" ")));
    }
    if !history.streams.is_empty() {
        let all: u64 = history.streams.iter().map(|stream| stream.bytes).sum();
        let rows: u64 = history.streams.iter().map(|stream| stream.rows).sum();
        let rate = all.saturating_mul(1_000) / took_ms.max(1);
        line.push_str(&format!("   {rows} rows, {}   {}/s", bytes(all), bytes(rate)));
    }
    line
}

fn begun(history: &pb::StageHistory, migration: &pb::Migration) -> String {
    let mut line = format!("  ▶ {}", stage(history.stage()));
    if history.attempt > 1 {
        line.push_str(&format!("   attempt {}", history.attempt));
    }
    if !migration.session.is_empty() {
        line.push_str(&format!("   session {}", short_id(&migration.session)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1::{Stage, TopologyVersion};

    fn history(stage: Stage, counter: u64, entered_ms: u64) -> pb::StageHistory {
        pb::StageHistory {
            stage: stage.into(),
            version: Some(TopologyVersion { era: 0, counter }),
            attempt: 1,
            entered_ms,
            ..Default::default()
        }
    }

    fn running(stages: Vec<pb::StageHistory>) -> pb::Migration {
        pb::Migration {
            tablet_name: "orders/17".to_owned(),
            state: pb::MigrationState::Running.into(),
            stage: stages.last().map_or(0, |stage| stage.stage),
            stages,
            ..Default::default()
        }
    }

    #[test]
    fn each_stage_is_said_once() {
        let mut progress = Progress::default();
        let mut first = history(Stage::AllowWriteBothReadOld, 5, 1_000);
        let begun = progress.changes(&running(vec![first.clone()]));
        assert_eq!(begun, ["  ▶ allow_write_both_read_old"]);
        assert_eq!(progress.changes(&running(vec![first.clone()])), [""; 0]);
        first.acknowledged = ["n1", "n4"]
            .map(|node| proto::admin::v1::BarrierAcknowledgement {
                node: node.to_owned(),
                at_ms: 0,
            })
            .into();
        let second = history(Stage::WriteBothReadOld, 6, 1_008);
        let said = progress.changes(&running(vec![first.clone(), second.clone()]));
        assert_eq!(said.len(), 2);
        assert_eq!(said[0], "  ✔ allow_write_both_read_old         8 ms   acknowledged by n1 n4");
        assert_eq!(progress.changes(&running(vec![first.clone(), second.clone()])), [""; 0]);
        let mut ended = running(vec![first, second]);
        ended.state = pb::MigrationState::Done.into();
        ended.ended_ms = 1_020;
        assert_eq!(progress.changes(&ended).len(), 1);
    }

    #[test]
    fn the_last_line_says_who_is_serving() {
        let mut done = running(vec![history(Stage::EndMigration, 9, 1_000)]);
        done.state = pb::MigrationState::Done.into();
        done.ended_ms = 1_040;
        done.after = vec!["n2".to_owned(), "n4".to_owned()];
        assert_eq!(verdict(&done), "done after 40 ms; n2 n4 are serving");
    }

    #[test]
    fn an_attempt_that_failed_says_why() {
        let mut failed = history(Stage::Streaming, 7, 1_000);
        failed.failure = "PEER_CLOSED".to_owned();
        let again = pb::StageHistory { attempt: 2, ..history(Stage::WriteBothReadOld, 8, 5_000) };
        let said = Progress::default().changes(&running(vec![failed, again]));
        assert!(said[0].starts_with("  ✘ streaming"), "{said:?}");
        assert!(said[0].ends_with("4.0 s   attempt 1: PEER_CLOSED"), "{said:?}");
        assert_eq!(said[1], "  ▶ write_both_read_old   attempt 2");
    }

    #[test]
    fn a_wait_names_who_holds_it_up_and_where_to_look() {
        let mut waits = running(vec![history(Stage::WriteBothReadNew, 9, 1_000)]);
        waits.waiting_for = vec!["n4".to_owned()];
        let holder = proto::agent::v1::Holder {
            operation: "stream".to_owned(),
            peer: "n1".to_owned(),
            held_ms: 11_600,
            ..Default::default()
        };
        let holder =
            pb::BarrierHolder { node: "n4".to_owned(), holder: Some(holder), ..Default::default() };
        waits.holders = vec![holder];
        let said = Progress::waiting(&waits, 13_000);
        assert!(said[0].ends_with("12.0 s   waiting for n4"), "{said:?}");
        assert_eq!(said[1], "      n4: stream for n1, held 11.6 s, 0 B so far");
        assert_eq!(said[2], "      look:   palisade barrier holders --tablet orders/17");
    }
}
