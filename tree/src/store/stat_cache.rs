//! What a directory's files were when they were last read, so that staging it again reads only what has changed.
//!
//! The rule is git's (its index): same inode number, size, mtime and ctime, and none of the times so near to the moment
//! of reading that a later write could have had the same. Sizes, mtimes, attributes and objects stand in the generation
//! that was made then; only what must not enter it lies here:
//!
//! ```text
//! seen/<hash of the directory's path>
//!   "oneroot seen 1\n\0"   generation (32)   device (8)   then for each inode of the generation: number (8), ctime (8)
//!   BLAKE3 of all that (32)
//! ```
//! It is a memory and no promise: a file that is torn, old or gone means that everything is read. It is bound to its
//! generation, which is made young first, so a collection keeps the objects that are not looked at again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Stat;

use crate::confine::{open_file, read_file};
use crate::disk::{is_described_as, nanoseconds};
use crate::error::{Error, Result};
use crate::format::ReadAt as _;
use crate::index::{Index, Inode, ROOT};
use crate::node::{Kind, Meta};
use crate::store::{StagingDir, Store};
use oneroot_ids::GenerationId;

const MAGIC: &[u8; 16] = b"oneroot seen 1\n\0";
const HEADER: usize = 16 + 32 + 8;
const RECORD: usize = 16;
const CHECKSUM: usize = 32;
/// A file whose times lie nearer to the reading than this is read again next time: file systems count time in ticks.
const TOO_NEAR: Duration = Duration::from_secs(2);

/// A file as its source's file system tells it apart: inode number and ctime in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub number: u64,
    pub ctime: i64,
}

impl Mark {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { number: stat.st_ino, ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec) }
    }
}

/// The last stage of one directory, and what is to be remembered of this one.
pub(crate) struct StatCache {
    path: PathBuf,
    device: u64,
    last: Option<(Arc<Index>, Vec<u8>)>,
    /// Times from here on are too near, nanoseconds since 1970.
    trusted_before: i64,
}

impl StatCache {
    /// Recalls the last stage of the directory at `root` on this device; `now` is the time since 1970. With `afresh`,
    /// nothing is recalled.
    pub(crate) fn recall(store: &Store, root: &Path, device: u64, now: Duration, afresh: bool) -> Self {
        let path = place(store, root);
        let last = if afresh { None } else { recalled(store, &path, device) };
        let trusted_before = i64::try_from(now.saturating_sub(TOO_NEAR).as_nanos()).unwrap_or(i64::MAX);
        Self { path, device, last, trusted_before }
    }

    /// The names that a directory had in the last generation.
    pub(crate) fn names(&self, directory: u32) -> Option<Names<'_>> {
        let (index, _) = self.last.as_ref()?;
        let (place, _) = index.inode(directory)?.run();
        Some(Names { index, directory, place })
    }

    /// The last generation.
    pub(crate) fn index(&self) -> Option<&Arc<Index>> {
        self.last.as_ref().map(|(index, _)| index)
    }

    /// What was remembered of each inode of the last generation.
    pub(crate) fn marks(&self) -> Vec<Option<Mark>> {
        let inodes = self.index().map_or(0, |index| index.inodes());
        (1..=inodes)
            .map(|number| self.inode(number).map(|(_, mark)| mark).filter(|mark| mark.number != 0))
            .collect()
    }

    /// The root's, if there is a last generation.
    pub(crate) fn root(&self) -> Option<u32> {
        self.last.as_ref().map(|_| ROOT)
    }

    /// Whether a regular file, or a link, is as it was when it had this inode in the last generation.
    pub(crate) fn is_unchanged(&self, number: u32, kind: Kind, stat: &Stat) -> bool {
        let Some((inode, mark)) = self.inode(number) else { return false };
        inode.kind() == kind
            && mark == Mark::of(stat)
            && mark.number != 0
            && u64::try_from(stat.st_size) == Ok(inode.size())
            && nanoseconds(stat.st_mtime, stat.st_mtime_nsec) == inode.mtime()
    }

    /// What an inode of the last generation was, and its file's mark.
    pub(crate) fn inode(&self, number: u32) -> Option<(Inode<'_>, Mark)> {
        let (index, marks) = self.last.as_ref()?;
        Some((index.inode(number)?, mark_at(marks, number)))
    }

    /// Whether this file's times are far enough from now to be remembered.
    pub(crate) fn is_trusted(&self, stat: &Stat) -> bool {
        Mark::of(stat).ctime < self.trusted_before
            && nanoseconds(stat.st_mtime, stat.st_mtime_nsec) < self.trusted_before
    }

    /// Writes what is to be remembered for the next time, among the stage's own files, with which it goes if it is not kept.
    /// `marks` has one for each inode of the generation, in order.
    pub(crate) fn written(
        &self,
        generation: GenerationId,
        marks: &[Option<Mark>],
        place: &StagingDir,
    ) -> NextCache {
        let mut bytes = Vec::with_capacity(HEADER + marks.len() * RECORD + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&generation.0);
        bytes.extend_from_slice(&self.device.to_le_bytes());
        for mark in marks {
            let mark = mark.unwrap_or(Mark { number: 0, ctime: 0 });
            bytes.extend_from_slice(&mark.number.to_le_bytes());
            bytes.extend_from_slice(&mark.ctime.to_le_bytes());
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        let temp = place.path().join("seen");
        let made = fs::File::options().write(true).create_new(true).mode(0o600).open(&temp);
        let written = made.and_then(|mut file| file.write_all(&bytes)).is_ok();
        NextCache { path: self.path.clone(), temp: written.then_some(temp) }
    }
}

/// A directory's names in the last generation, for names that are looked for in byte order.
pub(crate) struct Names<'i> {
    index: &'i Index,
    directory: u32,
    /// Where the next is expected.
    place: u32,
}

impl Names<'_> {
    /// Whether the directory was described like this, and had so many names.
    pub(crate) fn is_of(&self, meta: &Meta, names: usize) -> bool {
        self.index.inode(self.directory).is_some_and(|inode| {
            inode.kind() == Kind::Directory
                && inode.run().1 as usize == names
                && is_described_as(meta, &inode)
        })
    }

    /// The inode that a name stood for. Where nothing has come or gone, one comparison finds it.
    pub(crate) fn find(&mut self, name: &[u8]) -> Option<u32> {
        let (first, count) = self.index.inode(self.directory)?.run();
        let expected = (first..first.saturating_add(count)).contains(&self.place);
        let next = self.index.entry(self.place).filter(|entry| expected && entry.name == name);
        let place = if next.is_some() { self.place } else { self.index.find(self.directory, name)? };
        self.place = place.saturating_add(1);
        Some(self.index.entry(place)?.inode)
    }
}

/// What is to be remembered, not in force yet.
pub(crate) struct NextCache {
    path: PathBuf,
    temp: Option<PathBuf>,
}

impl NextCache {
    /// Remembers. That nothing could be written costs the next stage time and is no failure of this one. Nor is it synced:
    /// the checksum tells whether it came to the disk whole, and nothing is lost with it.
    pub(crate) fn keep(self) {
        if let Some(temp) = self.temp {
            let _ = fs::rename(temp, self.path);
        }
    }
}

/// Forgets a directory that will not be staged again.
pub fn forget(store: &Store, root: &Path) {
    // What is left costs a few bytes until the next collection.
    let _ = fs::remove_file(place(store, root));
}

/// Forgets what was remembered with generations that are gone.
pub(crate) fn forget_the_dead(store: &Store) -> Result<()> {
    let home = store.path().join("seen");
    for entry in fs::read_dir(&home).map_err(Error::io("list", &home))?.flatten() {
        let mut head = [0; HEADER];
        let read = open_file(&entry.path()).and_then(|mut file| file.read_exact(&mut head));
        if read.is_err() || store.generation(GenerationId(head.array(16))).is_err() {
            // One that cannot be removed is a memory that serves no one, and no failure of a collection.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn place(store: &Store, root: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    store.path().join("seen").join(blake3::hash(root.as_os_str().as_bytes()).to_hex().as_str())
}

fn mark_at(marks: &[u8], inode: u32) -> Mark {
    let at = (inode as usize).saturating_sub(1).saturating_mul(RECORD);
    Mark { number: marks.u64_at(at), ctime: i64::from_le_bytes(marks.array(at + 8)) }
}

fn recalled(store: &Store, path: &Path, device: u64) -> Option<(Arc<Index>, Vec<u8>)> {
    let mut bytes = read_file(path).ok()?;
    let body = bytes.len().checked_sub(CHECKSUM)?;
    let (said, checksum) = bytes.split_at_checked(body)?;
    let good = blake3::hash(said).as_bytes().as_slice() == checksum
        && said.starts_with(MAGIC)
        && said.get(48..HEADER)?.u64_at(0) == device;
    let generation = GenerationId(said.get(16..48)?.array(0));
    if !good || !store.keep_generation(generation) {
        return None;
    }
    let index = store.shared_generation(generation).ok()?;
    bytes.truncate(body);
    let marks = bytes.split_off(HEADER);
    (marks.len() == index.inodes() as usize * RECORD).then_some((index, marks))
}
