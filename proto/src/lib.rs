//! Palisade proto.
