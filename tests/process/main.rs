//! The process deck: real binaries on loopback, driven through the client library.

mod accident;
mod balance;
mod attempts;
mod clocks;
mod cut;
mod data;
mod demo;
#[path = "../harness/mod.rs"]
mod harness;
mod gone;
mod kills;
mod many;
mod members;
mod moves;
mod requests;
mod signals;
mod restore;
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
mod workload;
