//! What every fuzz target shares: its corpus, and bent copies of valid inputs.
//!
//! A target is a function over bytes that panics where a promise is broken, and a list of valid
//! inputs. [`target!`](crate::target) makes a test of it that replays the corpus, then bends the
//! valid inputs in ways that a number repeats, then tries what bolero draws. Targets stand beside
//! what they attack: `tests/` here for what crates make public, a module `fuzz` in a crate for
//! what they don't.

mod bend;

pub use bend::{bend, splice};
pub use bolero;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// How many inputs bolero draws where `BOLERO_RANDOM_ITERATIONS` doesn't say.
pub const DRAWN: usize = 256;

/// How many bent inputs are tried where `PALISADE_ROUNDS` doesn't multiply them.
const BENT: u64 = 2_000;

/// The least that a corpus has: fewer, and somebody has forgotten to make it.
const CORPUS_FILES: usize = 24;

/// The most that is made for a corpus.
const CORPUS_MADE: usize = 36;

/// Makes a test of a target: `target!(name, check, examples)`, where `check` is a `fn(&[u8])` and
/// `examples` a `fn() -> Vec<Vec<u8>>`. The corpus is `__fuzz__/<name>/corpus` beside the file.
#[macro_export]
macro_rules! target {
    ($name:ident, $check:expr, $examples:expr) => {
        #[test]
        fn $name() {
            let check: fn(&[u8]) = $check;
            let examples: Vec<Vec<u8>> = $examples();
            let of_target = (env!("CARGO_MANIFEST_DIR"), file!(), stringify!($name));
            $crate::Corpus::of(of_target).prove(&examples, check);
            $crate::bolero::check!(name = stringify!($name))
                .with_iterations($crate::DRAWN)
                .for_each(|bytes: &[u8]| check(bytes));
        }
    };
}

/// The files of one target.
#[derive(Debug)]
pub struct Corpus(PathBuf);

impl Corpus {
    /// The corpus of a target: the directory of its crate, its file, its name.
    pub fn of((manifest, file, name): (&str, &str, &str)) -> Corpus {
        let found = Path::new(manifest).ancestors().map(|above| above.join(file));
        let file = found.into_iter().find(|path| path.is_file());
        let file = file.expect("the compiler has read it there");
        Corpus(file.parent().unwrap_or(&file).join("__fuzz__").join(name))
    }

    /// Makes the corpus if `UPDATE_CORPUS` is set, sees that there is one, and tries bent inputs.
    /// What breaks a promise is kept in `crashes/`, which is replayed first from then on.
    ///
    /// # Panics
    ///
    /// There is no corpus, or `check` panics.
    pub fn prove(&self, examples: &[Vec<u8>], check: fn(&[u8])) {
        assert!(!examples.is_empty(), "a target has valid inputs");
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            self.make(examples).expect("its directory can be written");
        }
        let corpus = self.0.join("corpus");
        let files = std::fs::read_dir(&corpus).map_or(0, Iterator::count);
        assert!(files >= CORPUS_FILES, "{files} files in {}", corpus.display());
        for example in examples {
            self.tried(example, check);
        }
        let rounds = std::env::var("PALISADE_ROUNDS").ok().and_then(|said| said.parse().ok());
        for round in 0..BENT * rounds.unwrap_or(1) {
            self.tried(&bent(examples, round), check);
        }
    }

    fn tried(&self, input: &[u8], check: fn(&[u8])) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) else { return };
        match write_into(&self.0.join("crashes"), input) {
            Ok(kept) => eprintln!("kept as {}", kept.display()),
            Err(error) => eprintln!("could not be kept: {error}; it is {input:?}"),
        }
        resume_unwind(panic)
    }

    /// Valid inputs spread over the list, then bent ones. The same each time; what is there stays,
    /// since what an earlier build wrote is worth reading too.
    fn make(&self, examples: &[Vec<u8>]) -> std::io::Result<()> {
        let corpus = self.0.join("corpus");
        let apart = examples.len().div_ceil(CORPUS_MADE / 2);
        let valid = examples.iter().step_by(apart).cloned();
        let mut made: Vec<Vec<u8>> = valid.collect();
        made.dedup();
        let more = (0..).map(|round| bent(examples, u64::MAX - round));
        made.extend(more.take(CORPUS_MADE.saturating_sub(made.len())));
        made.iter().try_for_each(|input| write_into(&corpus, input).map(drop))
    }
}

/// A valid input, bent by the number, in places with a piece of another one.
fn bent(examples: &[Vec<u8>], round: u64) -> Vec<u8> {
    let count = examples.len() as u64;
    let input = &examples[(round % count) as usize];
    let seed = xxh3_64(&round.to_le_bytes());
    let other = &examples[(seed % count) as usize];
    bend(input, other, seed)
}

/// Writes a file that is called by its contents.
fn write_into(directory: &Path, contents: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{:016x}", xxh3_64(contents)));
    std::fs::write(&path, contents)?;
    Ok(path)
}
