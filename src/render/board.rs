//! A migration on a terminal: all of its stages in one block that is drawn again and again. Those
//! that are done with who acknowledged them, the running one with what it does or waits for, those
//! to come, and who is read and written meanwhile.

use super::list::{kind, way};
use super::paint::Paint;
use super::progress::{STAGE_WIDTH, over};
use super::words::{bytes, bytes_of, millis, short_id, stage as stage_name};
use migrations::stage::{Reads, Stage, Writes};
use proto::admin::v1 as pb;
use std::collections::BTreeMap;

/// Whoever waits no longer than this is not held up by anybody.
const PATIENCE_MS: u64 = 2_000;

/// What a block says beside the migration itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// The nodes' racks, where they are known.
    pub(crate) racks: BTreeMap<String, String>,
    /// After this, guards are ended by force; `None` where it is not known.
    pub(crate) drain_deadline_ms: Option<u64>,
    /// The request that began it; empty if somebody else did.
    pub(crate) request_id: String,
}

/// The block of a migration, a line each.
pub(crate) fn board(
    board: &Board,
    migration: &pb::Migration,
    now_ms: u64,
    paint: Paint,
) -> Vec<String> {
    let mut lines = vec![headline(board, migration, paint), String::new()];
    let is_running = migration.state() == pb::MigrationState::Running;
    for (index, history) in migration.stages.iter().enumerate() {
        // An attempt that was made again is told of in the line of the newest one.
        if migration.stages[index + 1..].iter().any(|later| later.stage == history.stage) {
            continue;
        }
        match migration.stages.get(index + 1).map(|next| next.entered_ms) {
            None if is_running => lines.extend(running(board, migration, history, now_ms, paint)),
            left_ms => {
                let line = over(history, left_ms.unwrap_or(migration.ended_ms));
                let line = format!("{line}{}", opened(migration, history));
                let colour = if history.failure.is_empty() { Paint::good } else { Paint::bad };
                lines.push(colour(paint, &line));
            }
        }
    }
    if is_running {
        lines.extend(to_come(migration).into_iter().map(|line| paint.dim(&line)));
        lines.push(String::new());
        let sets = sets(migration);
        lines.push(format!("  {sets}      Ctrl-C detaches; the migration goes on"));
    }
    lines
}

fn headline(board: &Board, migration: &pb::Migration, paint: Paint) -> String {
    let named = |node: &str| match board.racks.get(node) {
        Some(rack) if !rack.is_empty() => format!("{node} (rack {rack})"),
        _ => node.to_owned(),
    };
    let way = match (migration.from.as_str(), migration.to.as_str()) {
        ("", _) | (_, "") => way(migration),
        (from, to) => format!("{} → {}", named(from), named(to)),
    };
    let (id, tablet) = (short_id(&migration.id), &migration.tablet_name);
    let mut line = format!("migration {id}  {}  {}  {way}", paint.bold(tablet), kind(migration));
    if !board.request_id.is_empty() {
        line.push_str(&format!("   request {}", board.request_id));
    }
    line
}

fn core(stage: i32) -> Option<Stage> {
    proto::convert::stage("stage", stage).ok()
}

/// The session that a stage has opened, and on how many agents.
fn opened(migration: &pb::Migration, history: &pb::StageHistory) -> String {
    let opens = matches!(core(history.stage), Some(Stage::WriteBothReadOld | Stage::OpenRepair));
    if !opens || migration.session.is_empty() {
        return String::new();
    }
    format!("   session {}… open", short_id(&migration.session))
}

/// The running stage: one line, and what it waits for below.
fn running(
    board: &Board,
    migration: &pb::Migration,
    history: &pb::StageHistory,
    now_ms: u64,
    paint: Paint,
) -> Vec<String> {
    let (name, since_ms) = (stage_name(history.stage()), now_ms.saturating_sub(history.entered_ms));
    let head = paint.bold(&format!("  ▶ {name:STAGE_WIDTH$}  {:>8}", millis(since_ms)));
    let mut line = format!("{head}{}", streaming(&migration.streams));
    if history.attempt > 1 {
        line.push_str(&format!("   attempt {}{}", history.attempt, earlier(migration)));
    }
    if migration.waiting_for.is_empty() {
        return vec![line];
    }
    let nodes = migration.waiting_for.join(" ");
    line.push_str(&paint.warn(&format!("   waiting for {nodes}{}", drain(migration))));
    let mut lines = vec![line];
    if since_ms >= PATIENCE_MS || !migration.holders.is_empty() {
        lines.extend(held(board, migration));
    }
    lines
}

/// What is streamed, of all streams together.
fn streaming(streams: &[pb::StreamProgress]) -> String {
    if streams.is_empty() {
        return String::new();
    }
    let sum =
        |of: fn(&pb::StreamProgress) -> u64| streams.iter().map(of).fold(0u64, u64::saturating_add);
    let (moved, rate) = (sum(|stream| stream.bytes), sum(|stream| stream.bytes_per_second));
    let pause = match streams.iter().any(|stream| stream.paused) {
        true => "   waits for bandwidth",
        false => "",
    };
    // What isn't known of one of them isn't known of all.
    let is_known = streams.iter().all(|stream| stream.bytes_total > 0);
    if !is_known {
        return format!("   {}   {}/s{pause}", bytes(moved), bytes(rate));
    }
    // Rows that come meanwhile count for those that are streamed only.
    let total = sum(|stream| stream.bytes_total.max(stream.bytes));
    let left = match (total - moved).checked_div(rate) {
        Some(seconds) if pause.is_empty() => format!("   about {} s left", seconds + 1),
        Some(_) | None => String::new(),
    };
    format!("   {}   {}/s{left}{pause}", bytes_of(moved, total), bytes(rate))
}

/// Why earlier attempts have failed.
fn earlier(migration: &pb::Migration) -> String {
    let failed = migration.stages.iter().filter(|stage| !stage.failure.is_empty());
    let why: Vec<String> =
        failed.map(|stage| format!("{}: {}", stage.attempt, stage.failure)).collect();
    if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) }
}

/// Which session is to be drained, if that is what is waited for.
fn drain(migration: &pb::Migration) -> String {
    let of = migration.holders.iter().find_map(|held| held.holder.as_ref()?.session.as_ref());
    of.map_or_else(String::new, |session| {
        format!(" to drain session {}…", short_id(&super::json::uuid(session)))
    })
}

/// Who holds it up, until when, and who goes on serving.
fn held(board: &Board, migration: &pb::Migration) -> Vec<String> {
    let mut lines = Vec::new();
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
    let silent = |node: &&String| !migration.waiting_for.contains(node);
    let serving: Vec<&str> = serving(migration).filter(silent).map(String::as_str).collect();
    let forced = board.drain_deadline_ms.filter(|_| !migration.holders.is_empty());
    let forced = forced.map(|deadline| format!("it is forced out at {}", millis(deadline)));
    let serving = (!serving.is_empty()).then(|| format!("{} go on serving", serving.join(", ")));
    let notes: Vec<String> = forced.into_iter().chain(serving).collect();
    if !notes.is_empty() {
        lines.push(format!("      {}", notes.join("; ")));
    }
    let tablet = &migration.tablet_name;
    lines.push(format!("      look:   palisade barrier holders --tablet {tablet}"));
    lines
}

/// Who is read now.
fn serving(migration: &pb::Migration) -> impl Iterator<Item = &String> {
    let set: &[String] = match core(migration.stage).map(Stage::reads) {
        Some(Reads::New) => &migration.after,
        Some(Reads::Old) => &migration.before,
        Some(Reads::None) | None => &[],
    };
    set.iter()
}

/// The stages to come if all goes well.
fn to_come(migration: &pb::Migration) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = core(migration.stage).and_then(Stage::on_success);
    while let Some(stage) = next {
        next = stage.on_success();
        let is_edge =
            next.is_some_and(|next| next.is_past_no_return() && !stage.is_past_no_return());
        let note = if is_edge { "(point of no return after this)" } else { "" };
        let line = format!("  · {:STAGE_WIDTH$}            {note}", stage.name());
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Who is read and written now.
pub(super) fn sets(migration: &pb::Migration) -> String {
    let (before, after) = (migration.before.join(" "), migration.after.join(" "));
    let stage = core(migration.stage);
    let reads = match stage.map(Stage::reads) {
        Some(Reads::Old) => before.clone(),
        Some(Reads::New) => after.clone(),
        Some(Reads::None) | None => "nobody".to_owned(),
    };
    let writes = match stage.map(Stage::writes) {
        Some(Writes::Old) => before,
        Some(Writes::New) => after,
        Some(Writes::Both) => {
            let is_added = |node: &&String| !migration.before.contains(node);
            let added = migration.after.iter().filter(is_added);
            added.fold(before, |text, node| format!("{text} + {node}"))
        }
        Some(Writes::None) | None => "nobody".to_owned(),
    };
    format!("reads: {reads}   writes: {writes}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1 as types;

    fn history(stage: Stage, attempt: u32, entered_ms: u64) -> pb::StageHistory {
        let stage = types::Stage::from(stage).into();
        pb::StageHistory { stage, attempt, entered_ms, ..Default::default() }
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn migrate(stages: Vec<pb::StageHistory>) -> pb::Migration {
        pb::Migration {
            id: "9f2c61aa-0000-4000-8000-000000000000".to_owned(),
            kind: types::TransitionKind::Migrate.into(),
            tablet_name: "orders/17".to_owned(),
            from: "n1".to_owned(),
            to: "n4".to_owned(),
            before: names("n1 n2 n3"),
            after: names("n2 n3 n4"),
            state: pb::MigrationState::Running.into(),
            stage: stages.last().map_or(0, |stage| stage.stage),
            stages,
            ..Default::default()
        }
    }

    fn drawn(board_of: &Board, migration: &pb::Migration, now_ms: u64) -> String {
        board(board_of, migration, now_ms, Paint::PLAIN).join("\n")
    }

    #[test]
    fn a_second_attempt_streams_and_the_rest_is_to_come() {
        let acknowledged =
            |node: &&str| pb::BarrierAcknowledgement { node: (*node).to_owned(), at_ms: 0 };
        let first = pb::StageHistory {
            acknowledged: ["n1", "n2", "n3", "n4"].iter().map(acknowledged).collect(),
            ..history(Stage::AllowWriteBothReadOld, 1, 1_000)
        };
        let failed = pb::StageHistory {
            failure: "PEER_CLOSED".to_owned(),
            ..history(Stage::Streaming, 1, 1_020)
        };
        let mut migration = migrate(vec![
            first,
            history(Stage::WriteBothReadOld, 1, 1_008),
            failed,
            history(Stage::WriteBothReadOld, 2, 2_000),
            history(Stage::Streaming, 2, 2_011),
        ]);
        migration.session = "5b1e0000-0000-4000-8000-000000000000".to_owned();
        migration.streams = vec![pb::StreamProgress {
            bytes: 1_481_763_717,
            bytes_total: 2_254_857_830,
            bytes_per_second: 412 << 20,
            ..Default::default()
        }];
        let racks = [("n1", "a"), ("n4", "c")];
        let known = Board {
            racks: racks.map(|(node, rack)| (node.to_owned(), rack.to_owned())).into(),
            request_id: "0198".to_owned(),
            ..Board::default()
        };
        let expected = "\
migration 9f2c61aa  orders/17  migrate  n1 (rack a) → n4 (rack c)   request 0198

  ✔ allow_write_both_read_old         8 ms   acknowledged by n1 n2 n3 n4
  ✔ write_both_read_old              11 ms   session 5b1e0000… open
  ▶ streaming                        4.0 s   1.38 / 2.10 GiB   412.00 MiB/s   about 2 s left   attempt 2 (1: PEER_CLOSED)
  · write_both_read_new                     (point of no return after this)
  · use_new
  · cleanup
  · end_migration

  reads: n1 n2 n3   writes: n1 n2 n3 + n4      Ctrl-C detaches; the migration goes on";
        assert_eq!(drawn(&known, &migration, 6_011), expected);
    }

    #[test]
    fn a_wait_says_who_holds_it_up_until_when_and_who_serves() {
        let mut migration = migrate(vec![history(Stage::WriteBothReadNew, 1, 1_000)]);
        migration.waiting_for = names("n4");
        let holder = proto::agent::v1::Holder {
            session: Some(vec![0x5b; 16].into()),
            operation: "stream chunk 8812".to_owned(),
            peer: "n1".to_owned(),
            held_ms: 11_600,
            ..Default::default()
        };
        let held =
            pb::BarrierHolder { node: "n4".to_owned(), holder: Some(holder), ..Default::default() };
        migration.holders = vec![held];
        let known = Board { drain_deadline_ms: Some(30_000), ..Board::default() };
        let expected = "\
migration 9f2c61aa  orders/17  migrate  n1 → n4

  ▶ write_both_read_new             12.0 s   waiting for n4 to drain session 5b5b5b5b…
      n4: stream chunk 8812 for n1, held 11.6 s, 0 B so far
      it is forced out at 30.0 s; n2, n3 go on serving
      look:   palisade barrier holders --tablet orders/17
  · use_new
  · cleanup
  · end_migration

  reads: n2 n3 n4   writes: n1 n2 n3 + n4      Ctrl-C detaches; the migration goes on";
        assert_eq!(drawn(&known, &migration, 13_000), expected);
    }

    #[test]
    fn a_wait_that_has_just_begun_is_nobodys_fault() {
        let mut migration = migrate(vec![history(Stage::UseNew, 1, 1_000)]);
        migration.waiting_for = names("n1 n2 n3 n4");
        let early = drawn(&Board::default(), &migration, 2_900);
        assert!(!early.contains("look:"), "{early}");
        let late = drawn(&Board::default(), &migration, 3_000);
        assert!(late.contains("waiting for n1 n2 n3 n4\n      look:"), "{late}");
    }

    #[test]
    fn what_has_ended_has_nothing_to_come() {
        let mut migration = migrate(vec![history(Stage::EndMigration, 1, 1_000)]);
        migration.state = pb::MigrationState::Done.into();
        migration.ended_ms = 1_040;
        let shown = drawn(&Board::default(), &migration, 9_000);
        assert!(shown.ends_with("✔ end_migration                    40 ms"), "{shown}");
    }
}
