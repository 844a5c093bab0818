//! The process deck: real binaries on loopback, driven through the client library.

mod accident;
mod balance;
mod data;
mod demo;
mod harness;
mod kills;
mod moves;
mod trouble;
mod workload;
