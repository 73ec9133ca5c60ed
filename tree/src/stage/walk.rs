//! Every name of a directory tree with what `stat` says of it, by as many threads as there are processors.
//!
//! Each directory is opened from the root, below it and through no link, so the walk holds one descriptor for each thread,
//! however deep the tree is; and it is a list of directories, not of calls.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, RawDir, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::confine::Dir;
use crate::disk::{attributes, is_described_as, nanoseconds};
use crate::error::{Error, Result};
use crate::node::{Attributes, Content, Kind, Meta};
use crate::parallel::at_work;
use crate::store::stat_cache::StatCache;

/// Bytes that the kernel fills with names at once.
const NAMES: usize = 64 * 1024;

/// What is left out of a directory tree, though it lies in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Borders {
    /// The root's file system.
    pub device: u64,
    /// Whether other file systems are left out. Those of the kernel always are.
    pub one_file_system: bool,
    /// The server's own directories, by device and inode number.
    pub own: Vec<(u64, u64)>,
    /// Paths that are passed over, as if nothing had these names.
    pub kept: BTreeSet<Vec<u8>>,
    /// Whether names and devices that mean something in layers are taken for what they are on a disk.
    pub as_is: bool,
}

/// File systems that have no files of anybody's: proc, sysfs, cgroup, cgroup2, devpts, debugfs, tracefs, securityfs, efivarfs,
/// bpf, pstore, configfs, mqueue, hugetlbfs, autofs, binfmt_misc (linux/magic.h).
const KERNELS: [u32; 16] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xde5e_81e4,
    0xcafe_4a11,
    0x6165_676c,
    0x6265_6570,
    0x1980_0202,
    0x9584_58f6,
    0x0187,
    0x4249_4e4d,
];

impl Borders {
    /// Why what is in a directory is left out; nothing for most.
    fn left_out(&self, dir: &Dir, stat: &Stat, is_root: bool) -> Option<LeftOut> {
        if self.own.contains(&(stat.st_dev, stat.st_ino)) {
            return Some(LeftOut::Own);
        }
        if stat.st_dev == self.device {
            // The same file system may be mounted again; kernels before 5.8 don't tell.
            return (self.as_is && !is_root && is_mount(dir)).then_some(LeftOut::FileSystem);
        }
        let is_kernels = || {
            let kind = rustix::fs::fstatfs(dir).ok().and_then(|stat| u32::try_from(stat.f_type).ok());
            kind.is_some_and(|kind| KERNELS.contains(&kind))
        };
        (self.one_file_system || is_kernels()).then_some(LeftOut::FileSystem)
    }
}

fn is_mount(dir: &Dir) -> bool {
    let found = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Why a directory is empty in the index that is none on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It is the server's own.
    Own,
    /// Another file system is mounted there.
    FileSystem,
}

/// One directory, listed. A directory's number is higher than its parent's; the root's is 0.
pub(super) struct Listing {
    number: usize,
    pub path: Vec<u8>,
    pub meta: Meta,
    pub names: Names,
    /// What the names stand for, in their order.
    pub entries: Vec<Entry>,
    /// What was in it and is not here.
    pub left_out: Option<LeftOut>,
    /// Whether all that is told of it here is as it was in the last generation.
    pub is_as_seen: bool,
}

/// The names in a directory, in byte order.
#[derive(Default)]
pub(super) struct Names {
    /// All of them, each with a NUL behind it, as the kernel gave them.
    bytes: Box<[u8]>,
    /// Where each begins, and its length.
    places: Box<[(usize, usize)]>,
}

/// What a name stands for.
pub(super) enum Entry {
    /// The directory with this number.
    Directory(usize),
    /// A regular file that is as it was.
    Unchanged(Unchanged),
    /// A regular file that must be read.
    Unread(Unread),
    /// Anything that has no content, with device and inode number where it has more than one name.
    Node(Box<(Meta, Content)>, Option<(u64, u64)>),
}

/// A file that need not be read. Most are, so it is small: memory that is touched for the first time costs about as much as
/// the call that describes the file.
pub(super) struct Unchanged {
    /// Its inode in the last generation, which has all the rest.
    pub inode: u32,
    /// Mode and owner are as they are now: the generation may have been told other owners.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Its inode number, where it has more than one name.
    pub linked: Option<u64>,
}

/// A file that must be read.
pub(super) struct Unread {
    /// Device and inode number, where it has more than one name.
    pub linked: Option<(u64, u64)>,
    /// Its number among those that are read; none for another name of one that is.
    pub number: Option<u32>,
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
    /// Threads that wait for something to do.
    idle: usize,
    next: usize,
    entries: u64,
    done: Vec<Listing>,
    failed: Option<Error>,
}

/// A walk under way.
struct Walk<'w> {
    root: &'w Dir,
    borders: &'w Borders,
    seen: Option<&'w StatCache>,
    queue: Mutex<Queue>,
    /// There is something to do, or it is over.
    more: Condvar,
}

/// Lists all directories of a tree, by number. `report` hears the entries seen so far.
pub(super) fn walk(
    root: &Dir,
    borders: &Borders,
    seen: Option<&StatCache>,
    report: &mut dyn FnMut(u64),
) -> Result<Vec<Listing>> {
    let first = Task { number: 0, path: Vec::new(), known: seen.and_then(StatCache::root) };
    let queue =
        Queue { todo: vec![first], busy: 0, idle: 0, next: 1, entries: 0, done: Vec::new(), failed: None };
    let walk = Walk { root, borders, seen, queue: Mutex::new(queue), more: Condvar::new() };
    let look = || {
        let entries = walk.queue().entries;
        report(entries);
    };
    at_work(usize::MAX, || walk.work(), look);
    let queue = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failed) = queue.failed {
        return Err(failed);
    }
    let mut done = queue.done;
    done.sort_unstable_by_key(|listing| listing.number);
    Ok(done)
}

/// What each thread of a walk has once, not for each directory.
#[derive(Default)]
struct Scratch {
    /// What the kernel fills.
    kernel: Vec<u8>,
    names: Vec<u8>,
    /// Where each name begins, its length, and whether the kernel says that it is a directory.
    places: Vec<(usize, usize, bool)>,
}

impl Names {
    /// Lists an open directory; which of them are directories is in the scratch then, in the same order.
    fn read(dir: &Dir, scratch: &mut Scratch, kept: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        let Scratch { kernel, names, places } = scratch;
        names.clear();
        places.clear();
        kernel.reserve(NAMES);
        let mut entries = RawDir::new(dir, kernel.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                // It was removed just now: it is empty.
                Err(Errno::NOENT) => break,
                other => other?,
            };
            let name = entry.file_name().to_bytes_with_nul();
            if name != b".\0" && name != b"..\0" && !kept(entry.file_name().to_bytes()) {
                places.push((names.len(), name.len() - 1, entry.file_type() == FileType::Directory));
                names.extend_from_slice(name);
            }
        }
        places.sort_unstable_by(|(one, length, _), (other, its, _)| {
            names.get(*one..one + length).cmp(&names.get(*other..other + its))
        });
        let places = places.iter().map(|(start, length, _)| (*start, *length)).collect();
        Ok(Self { bytes: names.as_slice().into(), places })
    }

    fn get(&self, place: usize) -> Option<&[u8]> {
        let (start, length) = *self.places.get(place)?;
        self.bytes.get(start..start + length)
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..).map_while(|place| self.get(place))
    }

    /// The same as the kernel takes them.
    fn terminated(&self) -> impl Iterator<Item = &CStr> {
        let names = self.places.iter().filter_map(|(start, length)| self.bytes.get(*start..=start + length));
        names.filter_map(|name| CStr::from_bytes_with_nul(name).ok())
    }
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
        let _ended = Ended(self);
        let mut scratch = Scratch::default();
        let mut queue = self.queue();
        loop {
            while queue.todo.is_empty() && !queue.is_done() {
                queue.idle += 1;
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
            if queue.is_done() {
                self.more.notify_all();
                return;
            }
            let Some(task) = queue.todo.pop() else { continue };
            queue.busy += 1;
            // Waking a thread costs more than listing a small directory: only who waits is woken, and wakes the next.
            if queue.idle > 0 && !queue.todo.is_empty() {
                self.more.notify_one();
            }
            drop(queue);
            let listed = self.list(task, &mut scratch);
            queue = self.queue();
            queue.busy -= 1;
            match listed {
                Ok((mut listing, below)) => {
                    queue.entries += listing.entries.len() as u64;
                    for (place, known) in below {
                        let number = queue.next;
                        queue.next += 1;
                        let Some(name) = listing.names.get(place) else { continue };
                        let path = joined(&listing.path, name);
                        let Some(what) = listing.entries.get_mut(place) else { continue };
                        *what = Entry::Directory(number);
                        queue.todo.push(Task { number, path, known });
                    }
                    queue.done.push(listing);
                }
                Err(cause) => queue.failed = Some(cause),
            }
        }
    }

    /// A directory's entries, and the places among them of directories, which get their numbers from the queue.
    fn list(&self, task: Task, scratch: &mut Scratch) -> Result<(Listing, Vec<Below>)> {
        let here = || self.root.path().join(std::ffi::OsStr::from_bytes(&task.path));
        let failed = |doing, cause: io::Error| Error::io(doing, here())(cause);
        let dir = self.root.dir(if task.path.is_empty() { b"." } else { &task.path });
        let dir = dir.map_err(|cause| failed("open", cause))?;
        let stat = rustix::fs::fstat(&dir).map_err(|cause| failed("stat", cause.into()))?;
        let xattrs = attributes(&dir).map_err(|cause| failed("read attributes of", cause))?;
        let meta = described(&stat, xattrs);
        let (mut names, mut entries, mut below) = (Names::default(), Vec::new(), Vec::new());
        let mut is_as_seen = false;
        let left_out = self.borders.left_out(&dir, &stat, task.path.is_empty());
        if left_out.is_none() {
            let kept = |name: &[u8]| {
                !self.borders.kept.is_empty() && self.borders.kept.contains(&joined(&task.path, name))
            };
            names = Names::read(&dir, scratch, kept).map_err(|cause| failed("list", cause))?;
            entries.reserve_exact(names.places.len());
            let mut before = self.seen.zip(task.known).and_then(|(seen, inode)| seen.names(inode));
            is_as_seen = before.as_ref().is_some_and(|before| before.is_of(&meta, names.places.len()));
            for (place, (name, (.., directory))) in names.terminated().zip(&scratch.places).enumerate() {
                let known = before.as_mut().and_then(|before| before.find(name.to_bytes()));
                let what = match directory {
                    // A whiteout is its name: what it is and holds, and how many names it has, means nothing. aufs' own
                    // directories are called so too, and are no part of a tree.
                    _ if name.to_bytes().starts_with(b".wh.") && !self.borders.as_is => {
                        Some(Entry::whiteout())
                    }
                    true => None,
                    false => self.entry(&dir, &task.path, name, known)?,
                };
                is_as_seen &=
                    known.zip(self.seen).is_some_and(|(known, seen)| is_as(what.as_ref(), known, seen));
                if what.is_none() {
                    below.push((place, known));
                }
                entries.push(what.unwrap_or(Entry::Directory(0)));
            }
        }
        let listing =
            Listing { number: task.number, path: task.path, meta, names, entries, left_out, is_as_seen };
        Ok((listing, below))
    }

    /// What a name stands for; none for a directory.
    fn entry(&self, dir: &Dir, path: &[u8], name: &CStr, known: Option<u32>) -> Result<Option<Entry>> {
        let here = || dir.path().join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|cause| Error::io("stat", here())(cause))?;
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(None),
            FileType::RegularFile => return Ok(Some(self.regular(&stat, known))),
            // Its text never changes: another one is another link.
            FileType::Symlink if self.is_unchanged(&stat, known, Kind::Symlink) => {
                let inode = known.zip(self.seen).and_then(|(known, seen)| seen.inode(known));
                inode.map_or(Content::Symlink(Vec::new()), |(inode, _)| inode.content())
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(dir, name, Vec::new());
                Content::Symlink(text.map_err(|cause| Error::io("read link", here())(cause))?.into_bytes())
            }
            FileType::CharacterDevice if stat.st_rdev == 0 && !self.borders.as_is => Content::Whiteout,
            FileType::CharacterDevice => Content::Character(device().0, device().1),
            FileType::BlockDevice => Content::Block(device().0, device().1),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Unknown => {
                return Err(Error::entry(&joined(path, name.to_bytes()), "a file of unknown type"));
            }
        };
        // overlayfs makes its whiteouts one file with many names, and each is a whiteout of its own.
        let linked =
            (stat.st_nlink > 1 && content != Content::Whiteout).then_some((stat.st_dev, stat.st_ino));
        Ok(Some(Entry::Node(Box::new((described(&stat, Vec::new()), content)), linked)))
    }

    fn is_unchanged(&self, stat: &Stat, known: Option<u32>, kind: Kind) -> bool {
        // overlayfs may give files another device than their directory's, and then numbers that mean nothing later.
        let seen = self.seen.filter(|_| stat.st_dev == self.borders.device);
        known.zip(seen).is_some_and(|(inode, seen)| seen.is_unchanged(inode, kind, stat))
    }

    fn regular(&self, stat: &Stat, known: Option<u32>) -> Entry {
        let linked = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        match known.filter(|_| self.is_unchanged(stat, known, Kind::Regular)) {
            Some(inode) => Entry::Unchanged(Unchanged {
                inode,
                mode: mode(stat),
                uid: stat.st_uid,
                gid: stat.st_gid,
                linked: linked.map(|(_, number)| number),
            }),
            None => Entry::Unread(Unread { linked, number: None }),
        }
    }
}

impl Entry {
    fn whiteout() -> Self {
        Self::Node(Box::new((Meta::default(), Content::Whiteout)), None)
    }
}

/// Whether what a name stands for, which is a directory where there is nothing, is as it was with an inode of the last generation.
fn is_as(what: Option<&Entry>, known: u32, seen: &StatCache) -> bool {
    let Some((inode, _)) = seen.inode(known) else { return false };
    match what {
        None => inode.kind() == Kind::Directory,
        Some(Entry::Unchanged(file)) => {
            file.inode == known && (file.mode, file.uid, file.gid) == (inode.mode(), inode.uid(), inode.gid())
        }
        Some(Entry::Node(node, linked)) => {
            let alone = linked.is_none() && inode.nlink() == 1;
            alone && node.1 == inode.content() && is_described_as(&node.0, &inode)
        }
        Some(Entry::Unread(_) | Entry::Directory(_)) => false,
    }
}

/// A thread that ends by a panic must not be waited for.
struct Ended<'w>(&'w Walk<'w>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().failed = Some(Error::Mistake("a thread of the walk has panicked"));
            self.0.more.notify_all();
        }
    }
}

/// A name below a path.
pub(super) fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}

/// Owner, mode and time as they go into an index.
pub(crate) fn described(stat: &Stat, xattrs: Attributes) -> Meta {
    Meta {
        mode: mode(stat),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        xattrs,
    }
}

fn mode(stat: &Stat) -> u16 {
    u16::try_from(stat.st_mode & 0o7777).unwrap_or(0)
}
