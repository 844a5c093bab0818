//! Palisade coordinator.

pub mod group0;
