//! `palisade doctor`: what is wrong with a cluster, each thing with its remedy. Pure: verdicts about
//! what was seen of it, no I/O. What is asked of whom, `commands/doctor.rs` decides.

mod builds;
mod group0;
mod moves;
mod nodes;
mod tablets;
#[cfg(test)]
mod tests;

use client::{Introduced, Validity};
use proto::admin::v1 as pb;
use proto::types::v1::Settings;

/// So many things of one kind are named; of others it is said how many there are.
const NAMED: usize = 8;

/// One coordinator, asked by itself.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Where.
    pub(crate) address: String,
    /// Its name, where the membership names one there.
    pub(crate) name: Option<String>,
    /// What it said, or why nothing was heard.
    pub(crate) answer: Result<Introduced, String>,
}

/// What was seen of a cluster. Where something could not be had: why.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// When, by this machine: milliseconds since 1970.
    pub(crate) now_ms: u64,
    /// Each coordinator that is known of.
    pub(crate) asked: Vec<Asked>,
    /// The leader's picture.
    pub(crate) status: Result<pb::GetStatusResponse, String>,
    pub(crate) settings: Result<Settings, String>,
    pub(crate) tablets: Result<Vec<pb::Tablet>, String>,
    /// Those that run.
    pub(crate) migrations: Result<Vec<pb::Migration>, String>,
    pub(crate) barriers: Result<Vec<pb::Barrier>, String>,
    pub(crate) orphans: Result<pb::ListOrphansResponse, String>,
    /// Whether it was asked over TLS.
    pub(crate) has_tls: bool,
    /// Of one's own certificate.
    pub(crate) own: Option<Validity>,
    /// The version of this program.
    pub(crate) build: &'static str,
    /// The highest feature level that it can read.
    pub(crate) feature_level: u32,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth a look; nothing is at stake yet.
    Warn,
    /// What it is about could not be had.
    Unknown,
    /// Wrong.
    Fail,
}

impl Verdict {
    /// For programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Unknown => "unknown",
            Verdict::Fail => "fail",
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// What is seen, in one line.
    pub(crate) seen: String,
    /// The next command, or a page; empty if there is nothing to do.
    pub(crate) remedy: String,
}

impl Finding {
    fn ok(seen: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, seen: seen.into(), remedy: String::new() }
    }

    fn warn(seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Warn, seen: seen.into(), remedy: remedy.into() }
    }

    fn fail(seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, seen: seen.into(), remedy: remedy.into() }
    }

    fn unknown(why: &str) -> Finding {
        let remedy = "see the checks that have failed: this one needs an answer of the leader";
        Finding { verdict: Verdict::Unknown, seen: why.to_owned(), remedy: remedy.to_owned() }
    }
}

/// A check, by name, with what it has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) finding: Finding,
}

type Examine = fn(&Seen) -> Finding;

/// All checks, what hangs on nothing else first.
const CHECKS: &[(&str, Examine)] = &[
    ("coordinators", group0::coordinators),
    ("leader", group0::leader),
    ("quorum", group0::quorum),
    ("members", group0::members),
    ("states", group0::states),
    ("clocks", group0::clocks),
    ("nodes", nodes::nodes),
    ("fitness", nodes::fitness),
    ("disks", nodes::disks),
    ("majorities", tablets::majorities),
    ("copies", tablets::copies),
    ("replicas", tablets::replicas),
    ("orphans", tablets::orphans),
    ("migrations", moves::migrations),
    ("attempts", moves::attempts),
    ("barriers", moves::barriers),
    ("pause", moves::pause),
    ("balancing", moves::balancing),
    ("builds", builds::builds),
    ("feature level", builds::feature_level),
    ("certificates", builds::certificates),
];

/// Examines what was seen.
pub(crate) fn examine(seen: &Seen) -> Vec<Check> {
    CHECKS.iter().map(|(name, examine)| Check { name, finding: examine(seen) }).collect()
}

/// Things by name, of many the first ones.
fn named(things: &[String]) -> String {
    let hidden = things.len().saturating_sub(NAMED);
    let shown = things.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if hidden == 0 { shown } else { format!("{shown} and {hidden} more") }
}

/// A page about an alert.
fn page(alert: &str) -> String {
    format!("docs/runbooks/Palisade{alert}.md")
}
