//! group0 against real files: openraft's storage suite, restarts, damage, the handle's promises.

mod begin;
mod damage;
mod deck;
mod digests;
mod failover;
mod handle;
mod members;
mod reads;
mod restart;
mod suite;
mod transfer;
mod voters;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{FormatTooNew, Group0, Leadership, Member, Options, RestoreError, StateMachine};

/// Nothing here takes this long unless something is broken, also where many tests share few cores.
const PATIENCE: Duration = Duration::from_secs(90);

/// Keeps every entry in order, and answers how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Journal(pub(super) Vec<Vec<u8>>);

/// An entry that this build doesn't know.
const NEWER: &[u8] = b"newer";
/// An entry that the state machine panics at.
const PANIC: &[u8] = b"panic";

impl StateMachine for Journal {
    type Response = usize;

    fn apply(&mut self, entry: &[u8]) -> Result<usize, FormatTooNew> {
        if entry == NEWER {
            return Err(FormatTooNew { found: "entry 2".into(), known: "entry 1".into() });
        }
        assert!(entry != PANIC, "asked to panic");
        self.0.push(entry.to_vec());
        Ok(self.0.len())
    }

    fn snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.0 {
            out.write_all(&u32::try_from(entry.len()).expect("small").to_be_bytes())?;
            out.write_all(entry)?;
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &mut dyn BufRead) -> Result<(), RestoreError> {
        self.0.clear();
        while !snapshot.fill_buf()?.is_empty() {
            let mut length = [0; 4];
            snapshot.read_exact(&mut length)?;
            let mut entry = vec![0; u32::from_be_bytes(length) as usize];
            snapshot.read_exact(&mut entry)?;
            self.0.push(entry);
        }
        Ok(())
    }
}

fn options(dir: &Path) -> Options {
    Options { raft_id: Some(1), ..Options::new(dir, member("c1", "127.0.0.1:7401")).fast() }
}

pub(super) fn member(name: &str, raft_address: &str) -> Member {
    Member {
        name: name.into(),
        raft_address: raft_address.into(),
        admin_address: format!("{name}:7400"),
        agents_address: format!("{name}:7402"),
    }
}

/// Opens, begins a group of one if there is none, and waits until it leads.
async fn leader(options: Options) -> Group0<Journal> {
    let members = BTreeMap::from([(1, options.member.clone())]);
    let group0 = Group0::open(options, Journal::default()).await.expect("it opens");
    group0.bootstrap(members).await.expect("it begins");
    leadership(&group0).await;
    group0
}

async fn leadership(group0: &Group0<Journal>) -> Leadership {
    let mut leadership = group0.leadership();
    let found = timeout(PATIENCE, leadership.wait_for(Option::is_some)).await;
    found.expect("in time").expect("it lives").expect("some")
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn entry(number: usize) -> Vec<u8> {
    format!("entry number {number}").into_bytes()
}

async fn propose(group0: &Group0<Journal>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let count = group0.propose(entry(number), soon()).await.expect("it is applied");
        assert_eq!(count, number + 1);
    }
}

fn journal(group0: &Group0<Journal>) -> Vec<Vec<u8>> {
    group0.read(|journal| journal.0.clone())
}

fn entries(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(entry).collect()
}

/// Copies a directory as it is on disk now: what a killed process leaves behind.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for item in fs::read_dir(from).expect("listed") {
        let item = item.expect("listed").path();
        let target = to.join(item.file_name().expect("named"));
        if item.is_dir() {
            copy(&item, &target);
        } else {
            fs::copy(&item, &target).expect("copied");
        }
    }
}
