//! Every name of a directory tree with what `stat` says of it, by as many threads as there are processors.
//!
//! Each directory is opened from the root, below it and through no link, so the walk holds one descriptor for each thread,
//! however deep the tree is; and it is a list of directories, not of calls.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Stat};

use super::seen::{Mark, Seen, nanoseconds};
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::node::{Attributes, Content, Meta};

/// More threads than this gain nothing on one file system.
const MOST_THREADS: usize = 8;
/// How often somebody hears how far the walk is.
const TOLD: Duration = Duration::from_millis(100);

/// How many threads work on one directory tree.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

/// One directory, listed. A directory's number is higher than its parent's; the root's is 0.
pub(super) struct Listing {
    number: usize,
    pub path: Vec<u8>,
    pub meta: Meta,
    /// In byte order of the names.
    pub entries: Vec<Entry>,
}

/// One name in a directory.
pub(super) struct Entry {
    pub name: Vec<u8>,
    pub what: What,
}

/// What a name stands for.
pub(super) enum What {
    /// The directory with this number.
    Directory(usize),
    /// Anything that has no content.
    Node(Meta, Content),
    /// A regular file.
    File(File),
}

/// A regular file, before it is read.
pub(super) struct File {
    pub meta: Meta,
    pub mark: Mark,
    /// Device and inode number, where it has more than one name.
    pub linked: Option<(u64, u64)>,
    /// Its content, where it is as it was at the last stage.
    pub known: Option<Content>,
}

/// A directory's place among the entries of another, and its inode in the last generation.
type Below = (usize, Option<u32>);

/// A directory that is to be listed, and its inode in the last generation.
struct Task {
    number: usize,
    path: Vec<u8>,
    known: Option<u32>,
}

struct Queue {
    todo: Vec<Task>,
    busy: usize,
    next: usize,
    entries: u64,
    done: Vec<Listing>,
    failed: Option<Error>,
}

/// A walk under way.
struct Walk<'w> {
    root: &'w Dir,
    device: u64,
    seen: Option<&'w Seen>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Lists all directories of a tree, by number. `report` hears the entries seen so far.
pub(super) fn walk(
    root: &Dir,
    device: u64,
    seen: Option<&Seen>,
    report: &mut dyn FnMut(u64),
) -> Result<Vec<Listing>> {
    let first = Task { number: 0, path: Vec::new(), known: seen.and_then(Seen::root) };
    let queue = Queue { todo: vec![first], busy: 0, next: 1, entries: 0, done: Vec::new(), failed: None };
    let walk = Walk { root, device, seen, queue: Mutex::new(queue), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| walk.work());
        }
        let mut queue = walk.queue();
        while !queue.is_done() {
            (queue, _) = walk.changed.wait_timeout(queue, TOLD).unwrap_or_else(PoisonError::into_inner);
            report(queue.entries);
        }
    });
    let queue = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failed) = queue.failed {
        return Err(failed);
    }
    let mut done = queue.done;
    done.sort_unstable_by_key(|listing| listing.number);
    Ok(done)
}

impl Queue {
    fn is_done(&self) -> bool {
        self.failed.is_some() || (self.todo.is_empty() && self.busy == 0)
    }
}

impl Walk<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.queue();
        loop {
            while queue.todo.is_empty() && !queue.is_done() {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.is_done() {
                self.changed.notify_all();
                return;
            }
            let Some(task) = queue.todo.pop() else { continue };
            queue.busy += 1;
            drop(queue);
            let listed = self.list(task);
            queue = self.queue();
            queue.busy -= 1;
            match listed {
                Ok((mut listing, below)) => {
                    queue.entries += listing.entries.len() as u64;
                    for (place, known) in below {
                        let number = queue.next;
                        queue.next += 1;
                        let Some(entry) = listing.entries.get_mut(place) else { continue };
                        entry.what = What::Directory(number);
                        let path = joined(&listing.path, &entry.name);
                        queue.todo.push(Task { number, path, known });
                    }
                    queue.done.push(listing);
                }
                Err(cause) => queue.failed = Some(cause),
            }
            if queue.todo.len() > 1 || queue.is_done() {
                self.changed.notify_all();
            }
        }
    }

    /// A directory's entries, and the places among them of directories, which get their numbers from the queue.
    fn list(&self, task: Task) -> Result<(Listing, Vec<Below>)> {
        let here = || self.root.path().join(std::ffi::OsStr::from_bytes(&task.path));
        let failed = |doing, cause: io::Error| Error::io(doing, here())(cause);
        let dir = self.root.dir(if task.path.is_empty() { b"." } else { &task.path });
        let dir = dir.map_err(|cause| failed("open", cause))?;
        let stat = rustix::fs::fstat(&dir).map_err(|cause| failed("stat", cause.into()))?;
        let xattrs = xattrs(&dir).map_err(|cause| failed("read attributes of", cause))?;
        let meta = described(&stat, xattrs);
        let mut listing = Listing { number: task.number, path: Vec::new(), meta, entries: Vec::new() };
        let mut below = Vec::new();
        // Another file system is mounted here: what is on it is not this tree's.
        if stat.st_dev == self.device {
            let mut names = Vec::new();
            let entries = rustix::fs::Dir::read_from(&dir).map_err(|cause| failed("list", cause.into()))?;
            for entry in entries {
                let entry = entry.map_err(|cause| failed("list", cause.into()))?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push((name.to_vec(), entry.file_type() == FileType::Directory));
                }
            }
            names.sort_unstable();
            for (place, (name, directory)) in names.into_iter().enumerate() {
                let known = self.seen.zip(task.known).and_then(|(seen, inode)| seen.child(inode, &name));
                let what = if directory { None } else { self.entry(&dir, &task.path, &name, known)? };
                if what.is_none() {
                    below.push((place, known));
                }
                listing.entries.push(Entry { name, what: what.unwrap_or(What::Directory(0)) });
            }
        }
        listing.path = task.path;
        Ok((listing, below))
    }

    /// What a name stands for; none for a directory.
    fn entry(&self, dir: &Dir, path: &[u8], name: &[u8], known: Option<u32>) -> Result<Option<What>> {
        let here = || dir.path().join(std::ffi::OsStr::from_bytes(name));
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|cause| Error::io("stat", here())(cause))?;
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(None),
            FileType::RegularFile => return Ok(Some(What::File(self.regular(&stat, name, known)))),
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(dir, name, Vec::new());
                Content::Symlink(text.map_err(|cause| Error::io("read link", here())(cause))?.into_bytes())
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => Content::Whiteout,
            FileType::CharacterDevice => Content::Character(device().0, device().1),
            FileType::BlockDevice => Content::Block(device().0, device().1),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Unknown => return Err(Error::entry(&joined(path, name), "a file of unknown type")),
        };
        Ok(Some(What::Node(described(&stat, Vec::new()), content)))
    }

    fn regular(&self, stat: &Stat, name: &[u8], known: Option<u32>) -> File {
        // A whiteout is a name and no file, however many names its file has.
        let linked = stat.st_nlink > 1 && !name.starts_with(b".wh.");
        let seen = self.seen.filter(|_| stat.st_dev == self.device).zip(known);
        let (known, xattrs) = match seen.and_then(|(seen, inode)| seen.unchanged(inode, stat)) {
            // Its attributes are as they were, for its ctime is; mode and owner are as they are now.
            Some((content, xattrs)) => (Some(content), xattrs),
            None => (None, Vec::new()),
        };
        File {
            meta: described(stat, xattrs),
            mark: Mark::of(stat),
            linked: linked.then_some((stat.st_dev, stat.st_ino)),
            known,
        }
    }
}

/// A name below a path.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}

/// Owner, mode and time as they go into an index.
pub(super) fn described(stat: &Stat, xattrs: Attributes) -> Meta {
    Meta {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        xattrs,
    }
}

/// All extended attributes of an open file; none where the file system has none.
pub(super) fn xattrs(fd: &impl std::os::fd::AsFd) -> io::Result<Attributes> {
    let unsupported = |cause: &rustix::io::Errno| *cause == rustix::io::Errno::NOTSUP;
    // Few files have any: asked for the length alone first.
    match rustix::fs::flistxattr_query(fd) {
        Ok(0) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(cause) if unsupported(&cause) => return Ok(Vec::new()),
        Err(cause) => return Err(cause.into()),
    }
    let mut names = vec![0u8; 64 * 1024];
    let length = rustix::fs::flistxattr(fd, &mut names)?;
    names.truncate(length);
    let mut all = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0u8; 64 * 1024];
        match rustix::fs::fgetxattr(fd, name, &mut value) {
            Ok(length) => value.truncate(length),
            // It went away between the two calls, or is listed and not to be had (system.* on some file systems).
            Err(cause) if unsupported(&cause) || io::Error::from(cause).kind() == ErrorKind::NotFound => {
                continue;
            }
            Err(rustix::io::Errno::NODATA) => continue,
            Err(cause) => return Err(cause.into()),
        }
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}
