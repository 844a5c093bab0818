//! Palisade client.
