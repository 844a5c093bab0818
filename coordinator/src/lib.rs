//! Palisade coordinator.
