//! What is said: lists, screens, failures, the progress of a migration. Pure: texts and JSON from
//! messages, no I/O.

mod balance;
mod board;
mod cluster;
mod doctor;
mod explain;
mod json;
mod list;
mod paint;
mod progress;
mod screens;
mod settings;
mod snapshot;
mod words;
mod yaml;

pub(crate) use balance::{balance, plan};
pub(crate) use board::{Board, board};
pub(crate) use cluster::{raft, status, status_line};
pub(crate) use doctor::{findings, findings_value};
pub(crate) use explain::{Known, explain};
pub(crate) use json::{Described, json};
pub(crate) use list::{Row, list, scope};
pub(crate) use paint::{Paint, cut};
pub(crate) use progress::{Progress, headline, verdict};
pub(crate) use screens::{migration, node, orphans, purge, table, tablet};
pub(crate) use settings::{Setting, all as all_settings, settings, with_setting};
pub(crate) use snapshot::{contents, parse_orphan, restored};
pub(crate) use words::{short_id, stage, utc};

use crate::args::Output;
use crate::exit::Failure;
use serde_json::Value;

/// A value for programs: as YAML if that was asked for, otherwise as JSON.
pub(crate) fn value(output: Output, value: &Value) -> String {
    match output {
        Output::Yaml => yaml::yaml(value),
        Output::Table | Output::Wide | Output::Json | Output::Name => format!("{value:#}\n"),
    }
}

/// A value of a watch: one line of JSON, or one document of YAML.
pub(crate) fn watched(output: Output, value: &Value) -> String {
    match output {
        Output::Yaml => format!("---\n{}", yaml::yaml(value)),
        Output::Table | Output::Wide | Output::Json | Output::Name => format!("{value}\n"),
    }
}

/// A failure in its four parts.
pub(crate) fn failure(failure: &Failure, paint: Paint) -> String {
    let mut text = format!("{} {}\n", paint.bad("error:"), failure.error);
    let parts = [("now: ", &failure.now), ("why: ", &failure.why), ("next:", &failure.next)];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!("  {}  {part}\n", paint.bold(name)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_failure_has_four_parts() {
        let shown = failure(
            &Failure::new(Exit::Refused, "n4 cannot take orders/17")
                .now("nothing was changed; n1, n2, n3 are serving")
                .why("PLACEMENT_VIOLATION")
                .next("palisade node list"),
            Paint::PLAIN,
        );
        let expected = "error: n4 cannot take orders/17\n  \
            now:   nothing was changed; n1, n2, n3 are serving\n  \
            why:   PLACEMENT_VIOLATION\n  \
            next:  palisade node list\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_part_that_nobody_knows_is_left_out() {
        assert_eq!(failure(&Failure::new(Exit::Failed, "x"), Paint::PLAIN), "error: x\n");
    }
}
