//! Palisade replica.
