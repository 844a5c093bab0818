//! Snapshots from file to file: in bounded memory, whole or not at all, and nothing is left of what
//! does not arrive.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _, iter};
use proto::raft::v1 as pb;
use proto::raft::v1::install_snapshot_request::Part;
use proto::reasons::Reason;
use proto::status::Refusal;
use tempfile::{TempDir, tempdir};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::apply::SnapshotData;
use super::super::directory::{self, Lock};
use super::super::snapshot::{FULL, Snapshots};
use super::super::types::{SnapshotMeta, Vote, log_id};
use super::CHUNK_BYTES;
use super::receive::receive;
use super::snapshot::{Whole, parts};

const PATIENCE: Duration = Duration::from_secs(90);
/// That of a million tablets, about.
const LARGE: usize = (64 << 20) + 17;

/// A member's snapshots.
pub(super) struct Place {
    dir: TempDir,
    lock: Arc<Lock>,
    pub(super) snapshots: Arc<Snapshots>,
}

fn opened(dir: &TempDir, lock: &Arc<Lock>) -> Arc<Snapshots> {
    let path = dir.path().join("snapshots");
    let opened = Snapshots::open(path, Arc::clone(lock), None, |_| Ok(()));
    Arc::new(opened.expect("it opens").0)
}

impl Place {
    pub(super) fn new() -> Place {
        let dir = tempdir().expect("a directory");
        let lock = Arc::new(directory::open(dir.path()).expect("its own").0);
        let snapshots = opened(&dir, &lock);
        Place { dir, lock, snapshots }
    }

    /// The files that are there.
    fn names(&self) -> Vec<String> {
        let listed = fs::read_dir(self.dir.path().join("snapshots")).expect("listed");
        let mut names: Vec<String> = listed
            .map(|item| item.expect("listed").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    /// A snapshot with a body of so many bytes.
    fn made(&self, length: usize) -> SnapshotData {
        let meta = SnapshotMeta { last_log_id: Some(log_id(3, 9)), ..Default::default() };
        let made = self.snapshots.make(&meta, |out| {
            let piece: Vec<u8> = (0..CHUNK_BYTES - 1).map(|at| (at % 251) as u8).collect();
            let mut left = length;
            while left > 0 {
                let now = left.min(piece.len());
                out.write_all(&piece[..now])?;
                left -= now;
            }
            Ok(())
        });
        made.expect("made")
    }
}

type Request = pb::InstallSnapshotRequest;

fn requests(file: SnapshotData) -> impl Stream<Item = Request> + Send + 'static {
    let parts = parts(pb::Addressee::default(), &Vote::new_committed(3, 1), file);
    parts.expect("not too large")
}

/// All parts of a snapshot.
pub(super) fn sent(file: SnapshotData) -> Vec<Request> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(requests(file).collect())
}

/// What comes of these parts at this member.
async fn received(
    parts: impl Stream<Item = Request> + Send,
    at: &Place,
) -> Result<(Vote, Whole), Status> {
    let mut parts = Box::pin(parts.map(Ok));
    let first = parts.next().await.expect("the head comes first");
    let Some(Part::Head(head)) = first.expect("it came").part else { panic!("no head") };
    receive(head, parts, Arc::clone(&at.snapshots)).await
}

fn reason(status: &Status) -> Option<Reason> {
    Refusal::from_status(status).map(|refusal| refusal.reason)
}

fn body(file: &SnapshotData) -> Vec<u8> {
    let mut body = Vec::new();
    file.body().read_to_end(&mut body).expect("read");
    body
}

/// Bytes of chunks that are in memory.
#[derive(Debug, Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Counted {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

impl Held {
    fn count(self: &Arc<Held>, request: Request) -> Request {
        let Some(Part::Chunk(bytes)) = request.part else { return request };
        let now = self.now.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
        self.most.fetch_max(now, Ordering::SeqCst);
        let chunk = Bytes::from_owner(Counted { bytes, held: Arc::clone(self) });
        Request { part: Some(Part::Chunk(chunk)) }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Also the control: of parts that are collected first, all is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_snapshot_is_sent_and_taken_in_bounded_memory() {
    let (from, to) = (Place::new(), Place::new());
    let made = from.made(LARGE);
    let held = Arc::new(Held::default());
    let counts = Arc::clone(&held);
    let streamed = requests(Arc::clone(&made)).map(move |request| counts.count(request));
    let (_, whole) = received(streamed, &to).await.expect("it is whole");
    assert_eq!(whole.snapshot.content(), made.content());
    assert_eq!(whole.snapshot.bytes(), made.bytes());
    assert!((CHUNK_BYTES..=2 * CHUNK_BYTES).contains(&held.most()), "{}", held.most());

    let held = Arc::new(Held::default());
    let counts = Arc::clone(&held);
    let collected: Vec<Request> =
        requests(made).map(|request| counts.count(request)).collect().await;
    received(iter(collected), &to).await.expect("it is whole");
    assert_eq!(held.most(), LARGE, "collected, all of it is held");
}

/// The file is changed behind what has been taken: so it shows what was read ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_read_when_they_are_asked_for_and_damage_is_sent_to_nobody_as_whole() {
    let (from, to) = (Place::new(), Place::new());
    let file = from.made(CHUNK_BYTES * 3 + 1);
    let path = from.dir.path().join("snapshots").join(&from.names()[0]);
    let changed = file.body_at() + 2 * CHUNK_BYTES as u64;
    let mut parts = Box::pin(requests(file));
    let mut taken = vec![parts.next().await.expect("the head")];
    for _ in 0..2 {
        taken.push(parts.next().await.expect("a chunk"));
    }
    let disk = File::options().write(true).open(path).expect("opened");
    disk.write_all_at(&[255], changed).expect("written");
    let third = parts.next().await.expect("a chunk");
    let Some(Part::Chunk(chunk)) = &third.part else { panic!("one head") };
    assert_eq!(chunk[0], 255, "it was read after it was asked for");
    taken.push(third);
    assert_eq!(parts.next().await, None, "its end is not sent");
    let refused = received(iter(taken), &to).await.expect_err("its end is missing");
    assert!(refused.message().contains("bytes of"), "{refused}");
    assert_eq!(to.names(), Vec::<String>::new());
}

/// It goes on being sent though newer ones have come in its place, and its file has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_file_has_gone_is_sent_to_its_end() {
    let (from, to) = (Place::new(), Place::new());
    let file = from.made(CHUNK_BYTES * 2);
    let mut parts = Box::pin(requests(Arc::clone(&file)));
    let head = parts.next().await.expect("the head");
    for index in 10..13 {
        let meta = SnapshotMeta { last_log_id: Some(log_id(3, index)), ..Default::default() };
        from.snapshots.make(&meta, |out| out.write_all(b"newer")).expect("made");
    }
    assert_eq!(from.names().len(), 2, "the newest and the one before it");
    let rest = iter([head]).chain(parts);
    let (_, whole) = received(rest, &to).await.expect("it is whole");
    assert!(body(&whole.snapshot) == body(&file));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_arrives_whole_or_not_at_all() {
    let (from, to) = (Place::new(), Place::new());
    let file = from.made(CHUNK_BYTES * 2 + 17);
    let parts: Vec<Request> = requests(Arc::clone(&file)).collect().await;
    assert_eq!(parts.len(), 4);
    let (vote, whole) = received(iter(parts.clone()), &to).await.expect("it is whole");
    assert_eq!(vote, Vote::new_committed(3, 1));
    assert_eq!(&whole.meta, file.meta());
    assert!(body(&whole.snapshot) == body(&file));
    drop(whole);

    let chunk = |bytes| Request { part: Some(Part::Chunk(Bytes::from_static(bytes))) };
    let mut short = parts.clone();
    short.pop();
    let mut long = parts.clone();
    long.push(chunk(b"x"));
    let mut swapped = parts.clone();
    swapped.swap(1, 2);
    let mut twice = parts.clone();
    twice.insert(2, parts[0].clone());
    for (what, parts) in
        [("bytes of", short), ("more than", long), ("digest", swapped), ("one head", twice)]
    {
        let refused = received(iter(parts), &to).await.expect_err(what);
        assert!(refused.message().contains(what), "{refused}");
        assert_eq!(to.names(), Vec::<String>::new(), "{what}");
    }
    let empty = Place::new().made(0);
    let parts: Vec<Request> = requests(Arc::clone(&empty)).collect().await;
    assert_eq!(parts.len(), 1, "an empty one has a head only");
    let (_, whole) = received(iter(parts), &to).await.expect("it is whole");
    assert_eq!(body(&whole.snapshot), b"");

    to.snapshots.keep(whole.snapshot).expect("kept");
    assert_eq!(to.names(), from.names(), "it has the name that it has there");
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let looked = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_in_the_middle_leaves_nothing_and_the_next_attempt_succeeds() {
    let (from, to) = (Place::new(), Arc::new(Place::new()));
    let file = from.made(CHUNK_BYTES * 3);
    let parts: Vec<Request> = requests(Arc::clone(&file)).collect().await;
    let Some(Part::Head(head)) = parts[0].part.clone() else { panic!("the head comes first") };

    // The stream fails.
    let ended = [Ok(parts[1].clone()), Err(Status::unavailable("gone"))];
    let cut = receive(head.clone(), iter(ended), Arc::clone(&to.snapshots)).await;
    assert_eq!(cut.expect_err("cut").message(), "gone");
    assert_eq!(to.names(), Vec::<String>::new());

    // Nobody waits for its end any more.
    let (say, said) = mpsc::channel(1);
    let receiving =
        tokio::spawn(receive(head, ReceiverStream::new(said), Arc::clone(&to.snapshots)));
    for part in &parts[1..3] {
        say.send(Ok(part.clone())).await.expect("it is taken");
    }
    until("begun", || to.names().len() == 1).await;
    receiving.abort();
    until("gone", || to.names().is_empty()).await;

    let (_, whole) = received(iter(parts), &to).await.expect("it is whole");
    assert!(body(&whole.snapshot) == body(&file));
}

/// A file aside is nobody's: a process ended while it was written.
#[test]
fn what_a_process_left_half_received_goes_when_the_directory_is_opened() {
    let place = Place::new();
    place.made(100);
    let kept = place.names();
    let left = place.dir.path().join("snapshots/0e2f5fd2-8a1b-4a52-9c39-1d5be9c8ab4c.aside");
    fs::write(&left, vec![1; 1_000]).expect("written");
    assert_eq!(place.names().len(), 2);
    let reopened = opened(&place.dir, &place.lock);
    assert_eq!(place.names(), kept);
    let current = reopened.current().expect("open").expect("one is there");
    assert_eq!(current.last(), Some((3, 9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_is_named_and_loses_nothing() {
    let (from, to) = (Place::new(), Place::new());
    let file = from.made(CHUNK_BYTES);
    let before = to.snapshots.make(&SnapshotMeta::default(), |out| out.write_all(b"before"));
    let before = before.expect("made");
    let kept = to.names();
    let full = to.dir.path().join("snapshots").join(FULL);
    File::create(&full).expect("made");
    let refused = received(requests(Arc::clone(&file)), &to).await.expect_err("no room");
    assert_eq!(reason(&refused), Some(Reason::DiskFull), "{refused}");
    assert_eq!(fs::read(&full).expect("read"), b".", "it was tried");
    fs::remove_file(full).expect("removed");
    assert_eq!(to.names(), kept);
    let current = to.snapshots.current().expect("open").expect("one is there");
    assert_eq!(current.content(), before.content());

    let (_, whole) = received(requests(file), &to).await.expect("there is room again");
    let newest = to.snapshots.keep(whole.snapshot).expect("kept");
    assert_eq!(newest.last(), Some((3, 9)));
}
