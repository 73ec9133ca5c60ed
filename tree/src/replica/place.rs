//! Where sync keeps what is its own: beside the directory, so that nothing in it is not of the tree; inside only where it must.
//!
//! ```text
//! .NAME.oneroot-sync/           beside NAME; NAME/.oneroot-sync where NAME is a mount, or nothing may be written beside it
//!   lock                   held while a sync runs
//!   synced.json            what the directory was made equal to, and the trees before
//!   next, gone/, aside/    while a whole tree takes the directory's name
//!   incoming/              objects on their way
//!   generations/, seen/    indexes, and what the files were when they were last looked at: a small store without objects
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use crate::confine::{lock_file, read_file};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::store::{Store, make_directory};
use oneroot_ids::GenerationId;

/// The name of the place where it lies inside the directory.
pub(super) const INSIDE: &[u8] = b".oneroot-sync";

/// What a tree was made equal to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// What was asked for: a profile, a machine.
    pub what: String,
    /// Of which server.
    pub from: String,
    /// What it is there.
    pub generation: GenerationId,
    /// What it is here: another only where not all of it may be set.
    pub applied: GenerationId,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl Tree {
    /// What was in the directory before it was synced.
    pub(super) fn unknown() -> Self {
        let none = GenerationId([0; 32]);
        Self {
            what: "what was there".to_owned(),
            from: String::new(),
            generation: none,
            applied: none,
            at: 0,
        }
    }
}

/// Inode number and time of birth of a directory: no other one has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    inode: u64,
    seconds: i64,
    nanoseconds: u32,
}

impl Birth {
    /// Of what is at a path; none where there is nothing, or where the file system keeps no such time.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let flags = StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags).ok()?;
        let is_told = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let birth = found.stx_btime;
        is_told.then_some(Self { inode: found.stx_ino, seconds: birth.tv_sec, nanoseconds: birth.tv_nsec })
    }
}

/// The tree in force, and those before it, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the directory is.
    pub current: Option<Tree>,
    /// What `NAME.1`, `NAME.2` and so on are.
    #[serde(default)]
    pub older: Vec<Tree>,
    /// What tells the directories of those from any others of their names.
    #[serde(default)]
    pub marks: Vec<Option<Birth>>,
    /// Whether a program that was to run after a change has not run well since.
    #[serde(default)]
    pub owed: bool,
    /// The turn of names that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Box<Turn>>,
}

/// The place of a directory.
pub(super) struct Place {
    pub path: PathBuf,
    pub is_inside: bool,
    pub memory: Arc<Store>,
    _lock: Lock,
}

impl Place {
    /// Opens the place of a directory, whose path has no links in it, and holds it.
    ///
    /// # Errors
    /// [`Error::Busy`] where another sync holds it, or the system's.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let inside = root.join(std::ffi::OsStr::from_bytes(INSIDE));
        let beside = beside(root).filter(|_| inside.symlink_metadata().is_err());
        let (path, is_inside) = match beside {
            Some(path) => match make_directory(&path) {
                Ok(()) => (path, false),
                Err(cause) if is_closed(&cause) => (inside, true),
                Err(cause) => return Err(Error::io("create", path)(cause)),
            },
            None => (inside, true),
        };
        make_directory(&path).map_err(Error::io("create", &path))?;
        ours(&path)?;
        let lock = lock_file(&path.join("lock")).map_err(Error::io("open", path.join("lock")))?;
        let lock = Lock::now(lock).map_err(Error::busy(root, &path.join("lock")))?;
        Ok(Self { memory: Store::open(&path)?, path, is_inside, _lock: lock })
    }

    /// Whether a directory has one.
    pub(super) fn is_there(root: &Path) -> bool {
        let all = [Some(root.join(std::ffi::OsStr::from_bytes(INSIDE))), beside(root)];
        all.into_iter().flatten().any(|path| path.symlink_metadata().is_ok())
    }

    pub(super) fn record(&self) -> Result<Record> {
        let path = self.path.join("synced.json");
        match read_file(&path) {
            // A record that does not read costs a whole comparison, and nothing else.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Record::default()),
            Err(cause) => Err(Error::io("read", path)(cause)),
        }
    }

    /// Writes the record; it lasts when this returns.
    pub(super) fn write(&self, record: &Record) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(record).map_err(|_| Error::Mistake("a record can't be written"))?;
        self.memory.write_whole(&self.path.join("synced.json"), &text)
    }
}

/// The place must be a directory of this user, which nobody else may write into: it may lie where others can make names, in `/tmp`
/// or in a tree that is theirs, and files are made in it before they have their owners.
fn ours(path: &Path) -> Result<()> {
    let is = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    if is.is_dir() && is.uid() == rustix::process::geteuid().as_raw() && is.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::NotOurs { path: path.to_owned() })
}

/// Whether nothing may be written there.
fn is_closed(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The place beside a directory; none for one that is a file system of its own.
fn beside(root: &Path) -> Option<PathBuf> {
    let (parent, name) = (root.parent()?, root.file_name()?);
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev);
    let mounted = is_mount(root) || device(root).is_ok_and(|its| device(parent) != Ok(its));
    (!mounted).then(|| {
        let mut its = OsString::from(".");
        its.push(name);
        its.push(".oneroot-sync");
        parent.join(its)
    })
}

/// Whether something is mounted right at a path; kernels before 5.8 don't tell.
pub(super) fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(CWD, path, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A directory's path without links; of one that is not there yet, as it will be.
pub(super) fn resolved(directory: &Path) -> Result<PathBuf> {
    match fs::canonicalize(directory) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
        Ok(found) if !found.is_dir() => {
            return Err(Error::io("open", directory)(io::Error::from(ErrorKind::NotADirectory)));
        }
        found => return found.map_err(Error::io("open", directory)),
    }
    let name = directory.file_name().ok_or_else(|| Error::entry(b"/", "the directory has no name"))?;
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = fs::canonicalize(above).map_err(Error::io("open", above))?.join(name);
    // A link that leads nowhere would be exchanged for a tree.
    match path.symlink_metadata() {
        Ok(_) => Err(Error::io("open", directory)(io::Error::from(ErrorKind::NotFound))),
        Err(_) => Ok(path),
    }
}
