//! The process deck: real binaries on loopback, driven through the client library.

mod abuse;
mod accident;
mod away;
mod balance;
mod attempts;
mod cells;
mod clocks;
mod coordinator_waits;
mod cut;
mod damage;
mod data;
mod demo;
mod differing;
mod directories;
mod doctor;
mod ends;
#[path = "../harness/mod.rs"]
mod harness;
mod gone;
mod identities;
mod kills;
mod leaders;
mod levels;
mod many;
mod members;
mod moves;
mod older;
mod outcomes;
mod quorum;
mod requests;
mod signals;
mod restore;
mod retries;
mod rolling;
mod several;
mod sizes;
mod stages;
mod streams;
#[cfg(feature = "otlp")]
mod traces;
mod trouble;
mod waits;
mod voters;
mod unfit;
mod watches;
mod workload;
