//! One trace a migration, told when a step of it is over.
//!
//! Nothing of a trace is kept anywhere: a migration's id, which stands in group0's record, *is* the
//! id of its trace, and a step's id is made of what names the step. So a leader goes on with the
//! trace that another one began, an agent's steps find their place in it without being told of it,
//! and a step that two leaders tell is one step.
//!
//! Sent to a collector by OTLP in builds with the feature `otlp`, where an endpoint is given;
//! otherwise nothing is made and nothing is sent. Keys and values of users are never told.

use std::time::SystemTime;
use xxhash_rust::xxh3::xxh3_64;

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
mod silent;

#[cfg(feature = "otlp")]
pub use otlp::{TraceArgs, Traces, tell};
#[cfg(not(feature = "otlp"))]
pub use silent::{TraceArgs, Traces, tell};

/// Names one step of a migration, the same in every process and after every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    migration: [u8; 16],
    parent: Option<u64>,
    id: u64,
}

impl Step {
    /// The whole migration.
    pub fn migration(id: [u8; 16]) -> Step {
        Step { migration: id, parent: None, id: named(&id, &[]) }
    }

    /// A stage of it: of this tablet, at the version (era and counter) that entered it.
    pub fn stage(migration: [u8; 16], tablet: u64, version: (u32, u64)) -> Step {
        Step::migration(migration).below(&[tablet, version.0.into(), version.1])
    }

    /// A stream in a stage, as its receiver sees it.
    pub fn stream(self, source: u64, receiver: u64) -> Step {
        self.below(&[source, receiver])
    }

    fn below(self, parts: &[u64]) -> Step {
        let within = self.id.to_be_bytes();
        Step { migration: self.migration, parent: Some(self.id), id: named(&within, parts) }
    }
}

/// Never 0, which is no id in a trace.
fn named(within: &[u8], parts: &[u64]) -> u64 {
    let mut name = within.to_vec();
    parts.iter().for_each(|part| name.extend(part.to_be_bytes()));
    xxh3_64(&name).max(1)
}

/// A step that is over.
#[derive(Debug)]
pub struct Span {
    /// Which.
    pub step: Step,
    /// What was done: few different texts.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// When it ended; taken as `began` if it is before.
    pub ended: SystemTime,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// More of it, under the keys of the logs.
    pub facts: Vec<(&'static str, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_same_name_in_every_process() {
        let stage = Step::stage([7; 16], 3, (0, 41));
        assert_eq!(stage, Step::stage([7; 16], 3, (0, 41)));
        assert_eq!(stage.parent, Some(Step::migration([7; 16]).id));
        assert_eq!(stage.stream(1, 2).parent, Some(stage.id));
    }

    #[test]
    fn steps_of_one_migration_differ() {
        let stage = Step::stage([7; 16], 3, (0, 41));
        let all = [
            Step::migration([7; 16]),
            stage,
            Step::stage([7; 16], 3, (0, 42)),
            Step::stage([7; 16], 3, (1, 41)),
            Step::stage([7; 16], 4, (0, 41)),
            Step::stage([8; 16], 3, (0, 41)),
            stage.stream(1, 2),
            stage.stream(2, 1),
        ];
        let ids: std::collections::BTreeSet<u64> = all.iter().map(|step| step.id).collect();
        assert_eq!(ids.len(), all.len());
    }
}
