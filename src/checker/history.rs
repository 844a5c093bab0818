//! The form of a history: one object a line, in any order.
//!
//! ```text
//! {"op":"put","key":"k","value":"v1","began_us":5,"ended_us":9,"outcome":"ok"}
//! {"op":"delete","key":"k","began_us":10,"ended_us":12,"outcome":"unknown"}
//! {"op":"get","key":"k","value":null,"began_us":10,"ended_us":12,"outcome":"ok"}
//! {"op":"replicas","tablet":7,"nodes":["n1","n2","n4"]}
//! {"op":"read","tablet":7,"node":"n1"}
//! {"op":"copy","tablet":7,"node":"n1","key":"k","time":"8","router":"…","value":"v1"}
//! {"op":"digest","tablet":7,"node":"n1","sum":"…"}
//! {"op":"held","node":"n1","tablets":[7]}
//! ```
//!
//! Times are microseconds of one clock; values stand there as their marks.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

/// Values up to this long are their own mark.
const MARK_BYTES: usize = 48;

/// What a client asked for, and for a read what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Store this value.
    Put(String),
    /// Delete the key.
    Delete,
    /// Read; with what was found.
    Get(Option<String>),
}

/// What a client knows of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done.
    Ok,
    /// It may have been done, or may yet show up until a newer one is acknowledged.
    Unknown,
    /// It was not done.
    Failed,
}

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) what: What,
    pub(crate) key: String,
    /// When it was asked for.
    pub(crate) began_us: u64,
    /// When it was answered, or given up.
    pub(crate) ended_us: u64,
    pub(crate) outcome: Outcome,
}

/// What one replica held of a key at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) tablet: u64,
    pub(crate) node: String,
    pub(crate) key: String,
    /// The timestamp, newest wins: the time, then the router's id in hexadecimal.
    pub(crate) timestamp: (u64, String),
    /// `None` is a tombstone.
    pub(crate) value: Option<String>,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Operation(Operation),
    /// The replicas of a tablet at the end.
    Replicas(u64, Vec<String>),
    /// A replica of a tablet was read to its end, on this node.
    Read(u64, String),
    Copy(Copy),
    /// The sum over what a replica holds; empty if it could not say.
    Digest(u64, String, String),
    /// Tablets that have data on a node.
    Held(String, Vec<u64>),
}

/// A whole history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    pub(crate) replicas: BTreeMap<u64, Vec<String>>,
    pub(crate) read: BTreeSet<(u64, String)>,
    pub(crate) copies: Vec<Copy>,
    pub(crate) digests: Vec<(u64, String, String)>,
    pub(crate) held: BTreeMap<String, Vec<u64>>,
}

/// What stands for a value: itself if it is short, else its beginning, length and FNV-1a hash.
pub(crate) fn mark(value: &[u8]) -> String {
    if value.len() <= MARK_BYTES {
        return String::from_utf8_lossy(value).into_owned();
    }
    let hash = value.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let beginning = String::from_utf8_lossy(&value[..MARK_BYTES / 2]);
    format!("{beginning}…{}:{hash:016x}", value.len())
}

impl History {
    /// Reads one; an error names the line.
    pub(crate) fn read(lines: impl BufRead) -> anyhow::Result<History> {
        let mut history = History::default();
        for (index, line) in lines.lines().enumerate() {
            let parsed = Line::parse(&line?).with_context(|| format!("line {}", index + 1))?;
            history.add(parsed);
        }
        Ok(history)
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: Line) {
        match line {
            Line::Operation(operation) => self.operations.push(operation),
            Line::Replicas(tablet, nodes) => drop(self.replicas.insert(tablet, nodes)),
            Line::Read(tablet, node) => drop(self.read.insert((tablet, node))),
            Line::Copy(copy) => self.copies.push(copy),
            Line::Digest(tablet, node, sum) => self.digests.push((tablet, node, sum)),
            Line::Held(node, tablets) => drop(self.held.insert(node, tablets)),
        }
    }
}

impl Line {
    /// As it stands in a file.
    pub(crate) fn json(&self) -> Value {
        match self {
            Line::Operation(operation) => operation.json(),
            Line::Replicas(tablet, nodes) => {
                json!({ "op": "replicas", "tablet": tablet, "nodes": nodes })
            }
            Line::Read(tablet, node) => json!({ "op": "read", "tablet": tablet, "node": node }),
            Line::Copy(Copy { tablet, node, key, timestamp: (time, router), value }) => json!({
                "op": "copy", "tablet": tablet, "node": node, "key": key,
                "time": time.to_string(), "router": router, "value": value,
            }),
            Line::Digest(tablet, node, sum) => {
                json!({ "op": "digest", "tablet": tablet, "node": node, "sum": sum })
            }
            Line::Held(node, tablets) => json!({ "op": "held", "node": node, "tablets": tablets }),
        }
    }

    /// Of a line of a file.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Line> {
        let value: Value = serde_json::from_str(line)?;
        let fields = Fields(&value);
        Ok(match fields.text("op")?.as_str() {
            "put" | "delete" | "get" => Line::Operation(Operation::parse(fields)?),
            "replicas" => {
                let nodes = fields.list("nodes")?.iter().map(|node| node.as_str());
                let nodes: Option<Vec<&str>> = nodes.collect();
                let nodes = nodes.context("nodes have names")?;
                Line::Replicas(
                    fields.number("tablet")?,
                    nodes.into_iter().map(Into::into).collect(),
                )
            }
            "read" => Line::Read(fields.number("tablet")?, fields.text("node")?),
            "copy" => Line::Copy(Copy {
                tablet: fields.number("tablet")?,
                node: fields.text("node")?,
                key: fields.text("key")?,
                timestamp: (fields.text("time")?.parse()?, fields.text("router")?),
                value: fields.optional("value")?,
            }),
            "digest" => {
                Line::Digest(fields.number("tablet")?, fields.text("node")?, fields.text("sum")?)
            }
            "held" => {
                let tablets: Option<Vec<u64>> =
                    fields.list("tablets")?.iter().map(Value::as_u64).collect();
                Line::Held(fields.text("node")?, tablets.context("tablets have numbers")?)
            }
            other => bail!("{other:?} is no operation of a history"),
        })
    }
}

impl Operation {
    fn json(&self) -> Value {
        let Operation { what, key, began_us, ended_us, outcome } = self;
        let outcome = match outcome {
            Outcome::Ok => "ok",
            Outcome::Unknown => "unknown",
            Outcome::Failed => "failed",
        };
        let (op, value) = match what {
            What::Put(value) => ("put", json!(value)),
            What::Delete => ("delete", Value::Null),
            What::Get(found) => ("get", json!(found)),
        };
        json!({ "op": op, "key": key, "value": value, "began_us": began_us,
                "ended_us": ended_us, "outcome": outcome })
    }

    fn parse(fields: Fields<'_>) -> anyhow::Result<Operation> {
        let what = match fields.text("op")?.as_str() {
            "put" => What::Put(fields.text("value")?),
            "delete" => What::Delete,
            _ => What::Get(fields.optional("value")?),
        };
        let outcome = match fields.text("outcome")?.as_str() {
            "ok" => Outcome::Ok,
            "unknown" => Outcome::Unknown,
            "failed" => Outcome::Failed,
            other => bail!("{other:?} is no outcome"),
        };
        let (began_us, ended_us) = (fields.number("began_us")?, fields.number("ended_us")?);
        if began_us > ended_us {
            bail!("it ended before it began");
        }
        Ok(Operation { what, key: fields.text("key")?, began_us, ended_us, outcome })
    }
}

/// The fields of a line.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn text(self, name: &str) -> anyhow::Result<String> {
        let text = self.0.get(name).and_then(Value::as_str).map(str::to_owned);
        text.with_context(|| format!("no text {name:?}"))
    }

    fn optional(self, name: &str) -> anyhow::Result<Option<String>> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(name).map(Some),
        }
    }

    fn number(self, name: &str) -> anyhow::Result<u64> {
        let number = self.0.get(name).and_then(Value::as_u64);
        number.with_context(|| format!("no number {name:?}"))
    }

    fn list(self, name: &str) -> anyhow::Result<&'a Vec<Value>> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.with_context(|| format!("no list {name:?}"))
    }
}
