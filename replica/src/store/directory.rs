//! A data directory: who has it, in which format it is, whose it is.
//!
//! ```text
//! lock       locked while a process has the directory; its device and inode are part of the proof
//! format     the number of the format; a greater one once it was brought over to another cluster
//! identity   directory id, node name, and what an admission left: see `identity`
//! rows/      the row store: see `binding`
//! manifest   what the row store must have: see `manifest`
//! ballast    given up when the disk is full
//! ```

use super::error::StoreError;
use super::identity::Identity;
use crate::limits::TOKENS;
use crate::lock::{Mutex, locked};
use migrations::id::{AdmissionToken, ClusterId, DirectoryId, NodeId};
use migrations::version::Incarnation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The format of a directory that was never brought over to another cluster.
const FORMAT: u32 = 3;
/// That of one that was, and the newest that this program reads: an older one would take what is
/// set aside in it for copies of its own, and drop them.
const FORMAT_ADOPTED: u32 = 4;
/// The oldest that this program reads: in older ones a copy's tally is not of that copy alone, and
/// each would be taken for damaged, and given up.
const FORMAT_OLDEST: u32 = 3;

/// What shows that an earlier process of a directory is gone: the same directory, on the same
/// boot of the machine, whose lock file this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessProof {
    /// Which directory.
    pub directory: DirectoryId,
    /// Which boot of the machine.
    pub boot: Uuid,
    /// The device of the lock file.
    pub lock_device: u64,
    /// The inode of the lock file.
    pub lock_inode: u64,
}

/// A data directory that this process has, until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: File,
    identity: Mutex<Identity>,
}

impl Directory {
    /// Takes a directory, or makes it. Refuses one that another process has, one of another
    /// node, one of a newer format.
    pub fn open(path: &Path, node_name: &str) -> Result<Directory, StoreError> {
        let io = |error| StoreError::io("open the directory", &error);
        fs::create_dir_all(path).map_err(io)?;
        let lock = take_lock(path)?;
        check_format(path)?;
        let identity = match read_text(path, "identity")? {
            Some(text) => Identity::parse(&text)?,
            None => {
                let identity = Identity::fresh(node_name);
                write_durably(path, "identity", &identity.to_text())?;
                identity
            }
        };
        if identity.node_name != node_name {
            let (bound, given) = (identity.node_name, node_name.to_owned());
            return Err(StoreError::NodeMismatch { bound, given });
        }
        Ok(Directory { path: path.to_owned(), lock, identity: Mutex::new(identity) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its own id, drawn when it was made.
    pub fn id(&self) -> DirectoryId {
        locked(&self.identity).directory
    }

    /// All that it knows of itself.
    pub fn identity(&self) -> Identity {
        locked(&self.identity).clone()
    }

    /// Durably notes which row store it has: one that is durable itself.
    pub(super) fn note_rows(&self, rows: Uuid) -> Result<(), StoreError> {
        if self.identity().rows == Some(rows) {
            return Ok(());
        }
        // Its own entry first: a rename may become durable before what was made earlier.
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| StoreError::io("sync the directory", &error))?;
        self.change(|identity| identity.rows = Some(rows))
    }

    /// Draws a token for this process and makes it durable, before admission is asked for.
    pub fn draw_token(&self) -> Result<AdmissionToken, StoreError> {
        let token = AdmissionToken::from_uuid(Uuid::new_v4()).expect("a v4 UUID is never nil");
        self.change(|identity| {
            if identity.tokens.len() >= TOKENS {
                // The first is the one that is known to have been admitted.
                identity.tokens.remove(1);
            }
            identity.tokens.push(token);
        })?;
        Ok(token)
    }

    /// Durably notes an admission: of the tokens only the admitted one stays.
    pub fn admitted(
        &self,
        cluster: ClusterId,
        node: NodeId,
        incarnation: Incarnation,
        token: AdmissionToken,
    ) -> Result<(), StoreError> {
        self.change(|identity| {
            identity.cluster = Some(cluster);
            identity.node = Some((node, incarnation));
            identity.tokens = vec![token];
        })
    }

    /// Durably notes that the first full state after it was brought over is worked off.
    pub fn worked_off(&self) -> Result<(), StoreError> {
        match self.identity().adopted {
            true => self.change(|identity| identity.adopted = false),
            false => Ok(()),
        }
    }

    /// Brings a directory, which no process has, over to another cluster: the one that was restored
    /// from a snapshot of its own. Nothing else is changed; what it holds is set aside or taken
    /// into use at its first admission there. Answers what it was.
    pub fn adopt(path: &Path, cluster: ClusterId) -> Result<Identity, StoreError> {
        let read = || {
            let text = fs::read_to_string(path.join("identity"));
            text.map_err(|error| StoreError::io("read the identity", &error))
        };
        // Nothing is made where there is none. And again under the lock: a process that ended in
        // between may have been admitted.
        read()?;
        let lock = take_lock(path)?;
        check_format(path)?;
        let identity = Identity::parse(&read()?)?;
        match identity.cluster {
            None => return Err(StoreError::NeverAdmitted(path.to_owned())),
            Some(own) if own == cluster => return Err(StoreError::IsOfCluster(cluster)),
            Some(_) => {}
        }
        let before = identity.clone();
        write_format(path, FORMAT_ADOPTED)?;
        let directory = Directory { path: path.to_owned(), lock, identity: Mutex::new(identity) };
        directory.change(|identity| {
            identity.cluster = Some(cluster);
            identity.adopted = true;
        })?;
        Ok(before)
    }

    /// What shows that an earlier process of this directory is gone.
    pub fn proof(&self) -> Result<ProcessProof, StoreError> {
        let io = |error| StoreError::io("read the boot id", &error);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(io)?;
        let boot = Uuid::parse_str(boot.trim());
        let boot = boot.map_err(|error| StoreError::damaged(format!("boot id: {error}")))?;
        let stat = self.lock.metadata().map_err(|error| StoreError::io("stat the lock", &error))?;
        let (lock_device, lock_inode) = (stat.dev(), stat.ino());
        Ok(ProcessProof { directory: self.id(), boot, lock_device, lock_inode })
    }

    fn change(&self, change: impl FnOnce(&mut Identity)) -> Result<(), StoreError> {
        let mut identity = locked(&self.identity);
        let mut changed = identity.clone();
        change(&mut changed);
        write_durably(&self.path, "identity", &changed.to_text())?;
        *identity = changed;
        Ok(())
    }
}

fn take_lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
    let file = file.map_err(|error| StoreError::io("open the lock", &error))?;
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(&file, exclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::AlreadyRunning(path.to_owned())),
        Err(error) => Err(StoreError::io("lock the directory", &error.into())),
    }
}

fn check_format(path: &Path) -> Result<(), StoreError> {
    match read_text(path, "format")? {
        Some(text) => {
            let found = text.trim().parse();
            let found: u32 = found.map_err(|_| StoreError::damaged("format: not a number"))?;
            if found > FORMAT_ADOPTED {
                return Err(StoreError::FormatTooNew { found, known: FORMAT_ADOPTED });
            }
            if found < FORMAT_OLDEST {
                return Err(StoreError::FormatTooOld { found, oldest: FORMAT_OLDEST });
            }
            Ok(())
        }
        None => write_format(path, FORMAT),
    }
}

/// The text of a small file, if it is there.
fn read_text(directory: &Path, name: &str) -> Result<Option<String>, StoreError> {
    match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StoreError::damaged(format!("{name}: no text")))
        }
        Err(error) => Err(StoreError::io(&format!("read {name}"), &error)),
    }
}

fn write_format(path: &Path, format: u32) -> Result<(), StoreError> {
    write_durably(path, "format", &format!("{format}\n"))
}

/// Writes a file aside, syncs it, renames it into place, syncs the directory: after a crash there
/// is the old one or the new one.
fn write_durably(directory: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let aside = directory.join(format!("{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, directory.join(name))?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| StoreError::io(&format!("write {name}"), &error))
}
