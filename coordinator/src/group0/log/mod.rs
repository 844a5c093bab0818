//! The log: entries, vote and committed index, durable before they are acknowledged.
//!
//! `record` is the form of what is written, `verify` tells a torn tail from damage before the log
//! is opened, `store` is what Raft talks to.

#[cfg(test)]
mod fuzz;
mod record;
mod store;
mod verify;

pub(super) use record::MAX_ENTRY_BYTES;
pub(super) use store::LogStore;
