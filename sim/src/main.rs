//! `sim`: runs seeds of the simulation, and repeats one.

use palisade_sim::batch::{Batch, Failure, is_repeated, seeds, shrink};
use palisade_sim::plan::{Fault, Options, parse_number};
use palisade_sim::run;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
Runs the simulation of a cluster.

  sim [--seeds N] [--from SEED] [--for MINUTES] [--minutes M] [--without FAULT,...] [--with FAULT,...]
  sim --seed SEED [--trace] [--without FAULT,...] [--with FAULT,...] [--span PER_MILLE]

  --seeds N      that many seeds (1000)
  --from SEED    beginning with this one (1)
  --for MINUTES  as many seeds as go into that time
  --minutes M    virtual minutes with faults in each run (15 to 40 seconds, by seed)
  --seed SEED    this one, decimal or 0x...
  --trace        line by line what happens
  --without ...  no faults of these classes
  --with ...     these in every run
  --span N       a part of the time with faults, in thousandths
  --focus purges repairs and purges in every run
  --marks        how many seeds reached each rare state
";

#[derive(Default)]
struct Args {
    seeds: Option<u64>,
    from: Option<u64>,
    real_minutes: Option<u64>,
    seed: Option<u64>,
    has_marks: bool,
    options: Options,
}

fn number(text: Option<String>) -> Result<u64, String> {
    parse_number(&text.ok_or("a number is missing")?)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut parsed = Args::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => parsed.seeds = Some(number(args.next())?),
            "--from" => parsed.from = Some(number(args.next())?),
            "--for" => parsed.real_minutes = Some(number(args.next())?),
            "--seed" => parsed.seed = Some(number(args.next())?),
            "--trace" => parsed.options.is_traced = true,
            "--marks" => parsed.has_marks = true,
            flag => {
                let value = args.next().unwrap_or_default();
                parsed.options.set(flag, &value)?;
            }
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
    let until = args.real_minutes.map(|m| Instant::now() + Duration::from_secs(60 * m));
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
    // Five of them once more: alike to the byte.
    let step = usize::try_from((batch.seeds / 5).max(1)).unwrap_or(usize::MAX);
    let mut again = (from..from + batch.seeds).step_by(step).take(5);
    let unlike = again.find(|seed| !is_repeated(*seed, &args.options));
    if let Some(seed) = unlike {
        println!("seed {seed:#x} runs otherwise a second time");
        return ExitCode::FAILURE;
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
