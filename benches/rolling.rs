//! What clients see of a rolling restart of three coordinators:
//! `cargo bench --bench rolling [-- ROUNDS]`.
//!
//! Three coordinators with the durations of real clusters (heartbeat 200 ms, election 0.8 to
//! 1.6 s), one agent; twenty clients, each with a connection of its own, change and read what
//! group0 holds, in turn, without pause. In each round each coordinator is told to stop (SIGTERM)
//! and started again. An operation that fails with all its tries within ten seconds ends the bench.
#![allow(clippy::print_stdout)]

#[path = "../tests/harness/mod.rs"]
#[allow(dead_code, unused_imports)]
mod harness;

use harness::load::{Load, share};
use harness::{Cluster, Shape};
use rustix::process::Signal;
use std::time::Duration;

const CLIENTS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(10);
/// Operations between one restart and the next.
const BETWEEN: u64 = 2_000;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    tokio::runtime::Runtime::new()?.block_on(measure(rounds.unwrap_or(5)))
}

async fn measure(rounds: usize) -> Result<(), Failed> {
    let shape = Shape { coordinators: 3, agents: 1, profile: "standard", ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let load = Load::start(&cluster, CLIENTS, DEADLINE);
    load.proceed(BETWEEN).await;
    report("without a restart", &load.stop().await?);
    let load = Load::start(&cluster, CLIENTS, DEADLINE);
    for _ in 0..rounds {
        for name in cluster.coordinators() {
            cluster.agent(&name).signal(Signal::TERM);
            if !cluster.ends(&name).await {
                return Err(format!("{name} did not end in order").into());
            }
            cluster.restart(&name);
            load.proceed(BETWEEN).await;
        }
    }
    report(&format!("{} restarts", rounds * 3), &load.stop().await?);
    Ok(())
}

fn report(what: &str, took: &[Duration]) {
    let millis = |part: f64| share(took, part).as_secs_f64() * 1e3;
    println!(
        "{what:<20} {:>7} operations: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.0} ms, longest {:.0} ms",
        took.len(),
        millis(0.5),
        millis(0.99),
        millis(0.999),
        millis(1.0),
    );
}
