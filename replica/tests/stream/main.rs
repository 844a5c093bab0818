//! Streams between agents over loopback: two real stores, or one and a source that misbehaves.

mod accident;
mod agents;
mod faulty;
mod gated;
mod refusals;
mod room;
mod whole;
