//! The scenarios in the simulation, as directed runs: each bears its number and reads as a story.

mod a;
