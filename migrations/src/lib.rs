//! *Migrations* are tablet migrations here; there is no SQL.
//!
//! The migration protocol, and nothing else.
//!
//! This crate decides; it never acts. It has no clock, no socket, no file and no random source:
//! whatever it needs to know arrives as an argument, whatever should happen leaves as a value.
//! Modules are declared in order of dependency, which is the order to read them in: each may use
//! those above it and none below.
#![cfg_attr(not(test), no_std)]
extern crate alloc;

pub mod rule;
pub mod id;
pub mod version;
pub mod floor;
pub mod stage;
pub mod replica_set;
pub mod position;
pub mod clock;
pub mod row;
pub mod record;
pub mod gate;
pub mod lease;
pub mod problem;
pub mod settings;
pub mod shared_map;
pub mod evidence;
pub mod request;
pub mod switch;
pub mod node;
pub mod tablet;
pub mod command;
pub mod state;
pub mod invariant;
pub mod topology;
pub mod barrier;
pub mod streams;
pub mod apply;
pub mod restore;
pub mod driver;
pub mod router;
pub mod retry;
pub mod placement;
pub mod room;
pub mod balancer;
pub mod pull;
pub mod agent;
