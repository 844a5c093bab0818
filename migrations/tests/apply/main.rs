//! Every command in every state: what `apply` takes, what it refuses, and that a refusal is
//! without effect. Tables where the cases can be listed, random sequences where they can't.

extern crate palisade_migrations as migrations;

mod balancer;
mod cluster;
mod driver;
mod edges;
mod evidence;
mod fitness;
mod leaders;
mod loss;
mod membership;
mod pause;
mod refusals;
mod removal;
mod repair;
mod requests;
mod restore;
mod room;
mod scale;
mod sequences;
mod switches;
mod tables;
