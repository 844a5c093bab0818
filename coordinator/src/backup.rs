//! Snapshot files in people's hands: what is in one, and a new cluster that begins with it.
//!
//! Offline: no coordinator runs on what is made here. What a restored state is, is the core's to
//! say (`migrations::restore`). How a file is made stands in `admin/snapshots_api.rs`.

use crate::driving::fresh_session;
use crate::group0::{Member, OpenError, Remains, RestoreError, SnapshotFile};
use crate::group0::{begin_restored, read_remains};
use crate::machine::Machine;
use crate::now::wall_millis;
use migrations::id::{ClusterId, RequestId};
use migrations::restore::{self, NotRestored, Restoration};
use migrations::state::{FEATURE_LEVEL, State};
use migrations::topology::Topology;
use proto::storage;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What is in a snapshot file. All of it has been checked: digest, form and invariants.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The file's size.
    pub bytes: u64,
    /// XXH3-128 of the file but for its first 24 bytes, in hexadecimal digits.
    pub digest: String,
    /// The last entry of the log that it covers: term and index.
    pub last: Option<(u64, u64)>,
    /// The names of the coordinators of that moment.
    pub coordinators: Vec<String>,
    /// All that group0 held.
    pub state: State,
}

/// Why a file can't be read, or nothing can begin with it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is damaged, or a newer build wrote it.
    #[error("{} can't be used: {source}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RestoreError,
    },
    /// The core refuses it.
    #[error("{} can't be restored: {source}", path.display())]
    NotRestored {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NotRestored,
    },
    /// No directory was named.
    #[error("no directory of a coordinator was named")]
    Nothing,
    /// The directories are not of one cluster.
    #[error("{} is of another cluster than the others", path.display())]
    OtherCluster {
        /// One of them.
        path: PathBuf,
    },
    /// Nothing is lost: they can elect a leader.
    #[error("{left} of {voters} coordinators are left, which is a majority: start them")]
    Majority {
        /// How many voters are left.
        left: usize,
        /// How many there are.
        voters: usize,
    },
    /// A data directory can't be made, or read.
    #[error(transparent)]
    Directory(#[from] OpenError),
}

/// Looks at a file. Blocks.
///
/// # Errors
///
/// [`BackupError::Io`], [`BackupError::Unfit`].
pub fn inspect(path: &Path) -> Result<Contents, BackupError> {
    let opened = File::open(path);
    let file = opened.map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
    let contents = SnapshotFile::verify(file).and_then(|file| contents(&file));
    contents.map_err(|source| BackupError::Unfit { path: path.to_owned(), source })
}

fn contents(file: &SnapshotFile) -> Result<Contents, RestoreError> {
    let state = storage::read_snapshot(file.body(), FEATURE_LEVEL)
        .map_err(|error| crate::machine::restore_error(&error))?;
    let broken = |broken: migrations::invariant::Broken| {
        RestoreError::Damaged(crate::group0::Damaged(broken.to_string()))
    };
    let state = Topology::from_state(state).map_err(broken)?.state().clone();
    Ok(Contents {
        bytes: file.bytes(),
        digest: format!("{:032x}", file.digest()),
        last: file.last(),
        coordinators: file.voters(),
        state,
    })
}

/// What is left of a cluster that has lost its majority of coordinators for good.
#[derive(Debug, Clone)]
pub struct Survivor {
    /// The directory that has the most.
    pub path: PathBuf,
    /// The name of its coordinator.
    pub name: String,
    /// How many voters there were.
    pub voters: usize,
    /// How many of them are left.
    pub left: usize,
    /// All that its log holds, applied.
    pub contents: Contents,
}

/// Looks at the directories of all coordinators that are left, none of which runs, for the one that
/// has the most. Blocks.
///
/// # Errors
///
/// [`BackupError::Directory`], [`BackupError::Unfit`], [`BackupError::OtherCluster`],
/// [`BackupError::Majority`]; [`BackupError::Nothing`] without a directory.
pub fn survey(directories: &[PathBuf]) -> Result<Survivor, BackupError> {
    let read = directories.iter().map(|path| {
        let remains = read_remains(path, &Machine::default())?;
        Ok::<_, BackupError>((path.clone(), remains))
    });
    let all: Vec<(PathBuf, Remains)> = read.collect::<Result<_, _>>()?;
    let (path, most) =
        all.iter().max_by_key(|(_, remains)| remains.last).ok_or(BackupError::Nothing)?;
    if let Some((path, _)) = all.iter().find(|(_, remains)| remains.cluster != most.cluster) {
        return Err(BackupError::OtherCluster { path: path.clone() });
    }
    let is_left = |voter: &&u64| all.iter().any(|(_, remains)| remains.raft_id == **voter);
    let (voters, left) = (most.voters.len(), most.voters.iter().filter(is_left).count());
    if left > voters / 2 {
        return Err(BackupError::Majority { left, voters });
    }
    let contents =
        contents(&most.file).map_err(|source| BackupError::Unfit { path: path.clone(), source })?;
    Ok(Survivor { path: path.clone(), name: most.name.clone(), voters, left, contents })
}

/// Where a restored coordinator is to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its data directory: empty, or not there yet.
    pub data: PathBuf,
    /// Its name.
    pub name: String,
    /// The era that is asked for; otherwise see [`restore::new_era`].
    pub era: Option<u32>,
}

/// A new cluster, which begins when its coordinator is started.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Its id.
    pub cluster: ClusterId,
    /// The Raft id of its one coordinator.
    pub raft_id: u64,
    /// Its state.
    pub state: State,
    /// What it was made of.
    pub from: Contents,
    /// How many transitions end without having done anything: they could still turn back, and the
    /// leader finds no nodes to go on with.
    pub turned_back: usize,
}

/// Makes the data directory of a coordinator that is a new cluster of its own, with the state that
/// was saved. Blocks.
///
/// # Errors
///
/// Every [`BackupError`]. The directory is then as it was.
pub fn restore(path: &Path, place: &Place) -> Result<Restored, BackupError> {
    begin(inspect(path)?, path, place)
}

/// The same with contents that were looked at; `path` is for errors.
///
/// # Errors
///
/// [`BackupError::NotRestored`], [`BackupError::Directory`]. The directory is then as it was.
pub fn begin(from: Contents, path: &Path, place: &Place) -> Result<Restored, BackupError> {
    let refused = |source| BackupError::NotRestored { path: path.to_owned(), source };
    let now_ms = wall_millis();
    let era = restore::new_era(&from.state, now_ms, place.era).map_err(refused)?;
    let anew = restore::sessions_of(&from.state);
    let turned_back = restore::turned_back(&from.state);
    let restoration = Restoration {
        cluster: new_cluster(),
        era,
        horizon: newest_request(now_ms),
        sessions: anew.into_iter().map(|tablet| (tablet, fresh_session())).collect(),
        now_ms,
    };
    let state = restore::restore(from.state.clone(), &restoration).map_err(refused)?;
    let cluster = restoration.cluster;
    // Where it listens is not known yet; it says so itself when it runs.
    let member = Member { name: place.name.clone(), ..Member::default() };
    let raft_id = begin_restored(&place.data, &member, cluster.as_uuid(), |out| {
        storage::write_snapshot(&state, out)
    })?;
    Ok(Restored { cluster, raft_id, state, from, turned_back })
}

fn new_cluster() -> ClusterId {
    loop {
        if let Some(cluster) = ClusterId::from_uuid(Uuid::new_v4()) {
            return cluster;
        }
    }
}

/// The greatest id that a request of this moment can have: a UUIDv7 of its millisecond.
fn newest_request(now_ms: u64) -> RequestId {
    let [time_bits, rest] = [(now_ms & 0xffff_ffff_ffff) << 16, u64::MAX >> 2];
    let uuid = Uuid::from_u64_pair(time_bits | 0x7fff, (0b10 << 62) | rest);
    RequestId::from_uuid(uuid).expect("its version bits are not zero")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::{Group0, Options};
    use crate::options::Profile;
    use crate::proposer::Proposer;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn member(name: &str) -> Member {
        let raft_address = "127.0.0.1:7401".to_owned();
        Member { name: name.to_owned(), raft_address, ..Member::default() }
    }

    async fn opened(dir: &Path, name: &str) -> Group0<Machine> {
        let options = Options::new(dir, member(name)).fast();
        Group0::open(options, Machine::default()).await.expect("it opens")
    }

    async fn led(group0: &Group0<Machine>) {
        let mut leadership = group0.leadership();
        let led = tokio::time::timeout(PATIENCE, leadership.wait_for(Option::is_some)).await;
        led.expect("in time").expect("it lives");
    }

    /// A cluster of one, saved; the file.
    async fn saved(dir: &Path) -> PathBuf {
        let group0 = opened(&dir.join("c1"), "c1").await;
        let expected = [("c1".to_owned(), "127.0.0.1:7401".to_owned())].into();
        let stop = CancellationToken::new();
        let metrics = Arc::new(crate::metrics::Metrics::new());
        let proposer = Proposer::start(group0.clone(), metrics, stop.clone());
        crate::bootstrap::run(Some(expected), Profile::Fast, &group0, &proposer)
            .await
            .expect("a cluster");
        let file = group0.save_snapshot().await.expect("it leads");
        let path = dir.join("saved");
        std::fs::write(&path, file.piece(0, usize::MAX).expect("read")).expect("written");
        stop.cancel();
        group0.shutdown().await.expect("it stops");
        path
    }

    /// The restored coordinator leads a group of its own, knows its cluster, and goes on over
    /// restarts.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_restored_coordinator_is_a_cluster_of_its_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved(dir.path()).await;
        let contents = inspect(&path).expect("it is whole");
        assert_eq!(contents.coordinators, ["c1"]);
        let place = Place { data: dir.path().join("c9"), name: "c9".into(), era: None };
        let restored = restore(&path, &place).expect("restored");
        assert_ne!(Some(restored.cluster), contents.state.cluster);
        assert!(restored.state.version.era() > 1_700_000_000);
        for _ in 0..2 {
            let group0 = opened(&place.data, "c9").await;
            assert!(group0.is_initialized().await.expect("it runs"), "it begins no other cluster");
            led(&group0).await;
            let state = group0.linearizable_read(|machine| machine.topology.state().clone()).await;
            assert_eq!(state.expect("it leads"), restored.state);
            assert_eq!(group0.cluster(), Some(restored.cluster.as_uuid()));
            assert_eq!(group0.raft_id(), restored.raft_id);
            group0.shutdown().await.expect("it stops");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_same_file_makes_another_cluster_each_time_and_no_directory_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved(dir.path()).await;
        let place = |name: &str, era| Place { data: dir.path().join(name), name: name.into(), era };
        let first = restore(&path, &place("a", None)).expect("restored");
        let again = restore(&path, &place("a", None)).expect_err("there is one");
        assert!(matches!(again, BackupError::Directory(OpenError::NotEmpty { .. })), "{again}");
        // Far enough above it that the clock doesn't get there.
        let second = restore(&path, &place("b", Some(first.state.version.era() + 1_000_000)));
        let second = second.expect("restored");
        assert_ne!(first.cluster, second.cluster);
        assert!(second.state.version > first.state.version);
        let low = restore(&path, &place("c", Some(0))).expect_err("no era below");
        assert!(matches!(low, BackupError::NotRestored { .. }), "{low}");
        assert!(!dir.path().join("c").exists(), "a refusal makes nothing");
    }

    /// A volume's mount point, a link to a directory, a name with a slash at its end: it is made
    /// where it is to be. What is half made is nobody's.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_restore_makes_the_directory_where_it_is_to_be() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = saved(dir.path()).await;
        let at = |data: PathBuf| Place { data, name: "c9".into(), era: None };
        std::fs::create_dir_all(dir.path().join("volume/lost+found")).expect("made");
        std::fs::create_dir(dir.path().join("linked")).expect("made");
        std::os::unix::fs::symlink("linked", dir.path().join("link")).expect("made");
        std::fs::create_dir(dir.path().join("empty")).expect("made");
        for place in ["volume", "link", "empty/", "new/", "not/there/yet"] {
            let place = at(dir.path().join(place));
            let restored = restore(&path, &place).unwrap_or_else(|e| panic!("{place:?}: {e}"));
            let group0 = opened(&place.data, "c9").await;
            assert_eq!(group0.raft_id(), restored.raft_id);
            group0.shutdown().await.expect("it stops");
            let again = restore(&path, &place).expect_err("there is one");
            assert!(matches!(again, BackupError::Directory(OpenError::NotEmpty { .. })), "{again}");
        }
        let listed = std::fs::read_dir(dir.path()).expect("readable");
        let mut listed: Vec<_> = listed.map(|entry| entry.expect("one").file_name()).collect();
        listed.sort();
        assert_eq!(listed, ["c1", "empty", "link", "linked", "new", "not", "saved", "volume"]);

        std::fs::remove_file(dir.path().join("new/format")).expect("removed");
        let options = Options::new(dir.path().join("new"), member("c9")).fast();
        let half = Group0::open(options, Machine::default()).await.err().expect("half of it");
        assert!(matches!(half, OpenError::FormatDamaged { .. }), "{half}");
        let file = restore(&path, &at(path.clone())).expect_err("a file is in its place");
        assert!(matches!(file, BackupError::Directory(OpenError::Io { .. })), "{file}");
        assert!(inspect(&path).is_ok());
    }

    /// Every bit of the file in turn, and every length.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes = std::fs::read(saved(dir.path()).await).expect("read");
        let path = dir.path().join("damaged");
        let is_refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            matches!(inspect(&path), Err(BackupError::Unfit { .. }))
        };
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&flipped), "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| is_refused(&bytes[..length])));
        assert!(!is_refused(&bytes));
    }

    /// What was acknowledged after the last snapshot is in the log, and comes along; who is alone is
    /// no survivor but a cluster.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_left_of_a_group_is_all_that_its_log_has() {
        let dir = tempfile::tempdir().expect("a directory");
        saved(dir.path()).await;
        let left = dir.path().join("c1");
        let alone = survey(std::slice::from_ref(&left)).expect_err("it is all there ever was");
        assert!(matches!(alone, BackupError::Majority { left: 1, voters: 1 }), "{alone}");
        let none = survey(&[dir.path().join("nothing")]).expect_err("nobody is there");
        assert!(matches!(none, BackupError::Directory(OpenError::Io { .. })), "{none}");
        assert!(!dir.path().join("nothing").exists(), "looking makes nothing");
        let before = opened(&left, "c1").await;
        let state = before.read(|machine| machine.topology.state().clone());
        let running = survey(std::slice::from_ref(&left)).expect_err("it runs");
        assert!(
            matches!(running, BackupError::Directory(OpenError::AlreadyRunning { .. })),
            "{running}"
        );
        before.shutdown().await.expect("it stops");
        let remains = read_remains(&left, &Machine::default()).expect("it is whole");
        assert_eq!(contents(&remains.file).expect("it is whole").state, state);
    }

    #[test]
    fn the_horizon_is_above_every_request_of_its_moment() {
        let now_ms = 1_790_000_000_123;
        let horizon = newest_request(now_ms).as_uuid();
        assert_eq!(horizon.get_version_num(), 7);
        let of = |ms: u64| Uuid::from_u64_pair(ms << 16 | 0x7000, 0b10 << 62);
        assert!(of(now_ms) < horizon && of(now_ms + 1) > horizon);
    }
}
