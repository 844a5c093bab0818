//! `sim`: runs seeds of the simulation, and repeats one.

use palisade_sim::batch::{Batch, Failure, seeds, shrink};
use palisade_sim::plan::{Fault, Options};
use palisade_sim::run;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Runs the simulation of a cluster.

  sim [--seeds N] [--from SEED] [--minutes M] [--without FAULT,...]
  sim --seed SEED [--trace] [--without FAULT,...] [--span PER_MILLE]

  --seeds N      that many seeds (1000)
  --from SEED    beginning with this one (1)
  --minutes M    as many seeds as go into that time
  --seed SEED    this one, decimal or 0x...
  --trace        line by line what happens
  --without ...  no faults of these classes
  --span N       a part of the time with faults, in thousandths
  --marks        how many seeds reached each rare state
";

#[derive(Default)]
struct Args {
    seeds: Option<u64>,
    from: Option<u64>,
    minutes: Option<u64>,
    seed: Option<u64>,
    has_marks: bool,
    options: Options,
}

fn number(text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or("a number is missing")?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text}: {error}"))
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut parsed = Args::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => parsed.seeds = Some(number(args.next())?),
            "--from" => parsed.from = Some(number(args.next())?),
            "--minutes" => parsed.minutes = Some(number(args.next())?),
            "--seed" => parsed.seed = Some(number(args.next())?),
            "--span" => parsed.options.span_per_mille = number(args.next())?.min(1_000),
            "--trace" => parsed.options.is_traced = true,
            "--marks" => parsed.has_marks = true,
            "--without" => {
                for name in args.next().unwrap_or_default().split(',') {
                    let fault = Fault::from_name(name).ok_or(format!("no fault: {name}"))?;
                    parsed.options.allowed = parsed.options.allowed.without(fault);
                }
            }
            other => return Err(format!("not known: {other}")),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let args = match parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match args.seed {
        Some(seed) => one(seed, &args.options),
        None => many(&args),
    }
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let outcome = run(seed, options);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    let faults: Vec<&str> = outcome.faults.iter().map(Fault::name).collect();
    let (writes, reads) = outcome.operations;
    println!(
        "seed {seed:#x}: {} events, {} entries, {} migrations, {writes} writes, {reads} reads; \
         faults: {}",
        outcome.events,
        outcome.entries,
        outcome.migrations,
        faults.join(" ")
    );
    match outcome.broken {
        Some(broken) => {
            println!("INV-{}: {}", broken.invariant, broken.what);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn many(args: &Args) -> ExitCode {
    let from = args.from.unwrap_or(1);
    let until = args.minutes.map(|m| Instant::now() + Duration::from_secs(60 * m));
    let count = args.seeds.unwrap_or(if until.is_some() { u64::MAX - from } else { 1_000 });
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|own| {
            let options = args.options;
            std::thread::spawn(move || {
                let its = (from..from + count).skip(own as usize).step_by(threads as usize);
                let is_time = |_: &u64| until.is_none_or(|until| Instant::now() < until);
                seeds(its.take_while(is_time), &options)
            })
        })
        .collect();
    let mut batch = Batch::default();
    for worker in workers {
        match worker.join() {
            Ok(part) => batch.join(part),
            Err(_) => {
                eprintln!("a run panicked");
                return ExitCode::FAILURE;
            }
        }
    }
    tell(&batch, args.has_marks)
}

fn tell(batch: &Batch, has_marks: bool) -> ExitCode {
    let (writes, reads) = batch.operations;
    println!(
        "{} seeds: {} events, {} migrations, {writes} writes, {reads} reads, {} failures",
        batch.seeds,
        batch.events,
        batch.migrations,
        batch.failures.len()
    );
    if has_marks {
        batch.marks.iter().for_each(|(mark, count)| println!("{count:>6} {mark}"));
    }
    for Failure { seed, broken, .. } in &batch.failures {
        println!("seed {seed:#x}: INV-{}: {}", broken.invariant, broken.what);
    }
    if let Some(first) = batch.failures.first() {
        println!("\n{}", first.repeat());
        let smallest = shrink(first);
        println!("with fewer faults:\n{}", smallest.repeat());
        return ExitCode::FAILURE;
    }
    let unreached = batch.unreached();
    // A few seeds can't reach everything.
    if batch.seeds >= 1_000 && !unreached.is_empty() {
        println!("never reached: {}", unreached.join("; "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
