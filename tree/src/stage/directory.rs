//! A directory as a source: a chroot, a layer in an admin's home, an overlayfs upper directory.
//!
//! Every file is opened below a held directory and through no link ([`crate::confine`]), then described from the open
//! file itself, so a name that changes under the walk can't smuggle anything in. Other file systems mounted inside are
//! left out, as `--one-file-system` does: a chroot often has `/proc` mounted.
//!
//! First all names, by one thread; then the contents of the files that are not known, by as many as there are processors;
//! then the index, in the order of the walk.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use rustix::fs::{AtFlags, FileType, Stat};

use super::Stage;
use super::archive::{opaque, without_overlay_marks};
use super::contents::{Contents, Stored};
use super::seen::{Mark, Seen};
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

/// More threads than this gain nothing on one file system.
const MOST_THREADS: usize = 8;

/// One name that the walk has met.
struct Found {
    path: Vec<u8>,
    what: What,
}

enum What {
    /// All that there is to know.
    Node(Meta, Content),
    /// A regular file that is as it was, and its mark.
    Known(Meta, Content, Mark),
    /// A regular file that must be read; the number of its result.
    File(usize),
    /// Another name for the file first met under this one.
    Link(Vec<u8>),
}

/// A walk under way.
struct Walk<'d> {
    root: &'d Dir,
    device: u64,
    seen: Option<Seen>,
    found: Vec<Found>,
    /// Places in `found` of the files that must be read.
    files: Vec<usize>,
    /// First names of files that have more than one, by device and inode number.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Directories still to be listed, with their inode in the last generation. A stack of paths, not of calls: a deep
    /// tree must not end the process. Each is opened from the root, so the walk holds few descriptors, however deep it is.
    todo: Vec<(Vec<u8>, Option<u32>)>,
}

/// What reading a file gave.
struct Read {
    stat: Stat,
    meta: Meta,
    stored: Stored,
}

impl Stage<'_> {
    /// Reads a whole directory tree into the stage.
    ///
    /// # Errors
    /// The system's, or [`Error::Entry`].
    pub fn directory(&mut self, root: &Path) -> Result<()> {
        let dir = Dir::open(root).map_err(Error::io("open", root))?;
        let stat = rustix::fs::fstat(&dir).map_err(Error::io("stat", root))?;
        let meta = described(&stat, xattrs(&dir).map_err(Error::io("read attributes of", root))?);
        self.insert(&TreePath::default(), without_overlay_marks(meta), Content::Directory { opaque: false })?;
        let seen = self.memory.map(|(now, afresh)| Seen::recall(self.store, root, stat.st_dev, now, afresh));
        let mut walk = Walk {
            root: &dir,
            device: stat.st_dev,
            found: Vec::new(),
            files: Vec::new(),
            links: HashMap::new(),
            todo: vec![(Vec::new(), seen.as_ref().and_then(Seen::root))],
            seen,
        };
        while let Some((path, inode)) = walk.todo.pop() {
            walk.list(&path, inode)?;
            (self.report)(super::Progress {
                entries: self.progress.entries + walk.found.len() as u64,
                ..self.progress
            });
        }
        let mut read = self.read_all(&dir, &walk)?;
        let mut marks = Vec::new();
        for Found { path, what } in walk.found {
            let path = TreePath::parse(&path)?;
            let (meta, content, mark) = match what {
                What::Node(meta, content) => (meta, content, None),
                What::Known(meta, content, mark) => {
                    self.progress.unread += 1;
                    (meta, content, Some(mark))
                }
                What::File(number) => {
                    let Some(Read { stat, meta, stored }) = read.get_mut(number).and_then(Option::take)
                    else {
                        continue;
                    };
                    let trusted = walk.seen.as_ref().is_some_and(|seen| seen.is_trusted(&stat));
                    (meta, stored.content(), trusted.then(|| Mark::of(&stat)))
                }
                What::Link(first) => {
                    self.link(&path, &TreePath::parse(&first)?)?;
                    continue;
                }
            };
            self.insert(&path, without_overlay_marks(meta), content)?;
            if let Some(mark) = mark {
                marks.extend(self.builder.find(&path).map(|node| (node, mark)));
            }
        }
        self.seen = walk.seen.map(|seen| (seen, marks));
        Ok(())
    }

    /// Reads the files that the walk does not know, with as many threads as there are processors.
    fn read_all(&mut self, root: &Dir, walk: &Walk<'_>) -> Result<Vec<Option<Read>>> {
        let mut all: Vec<Option<Read>> = walk.files.iter().map(|_| None).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let next = AtomicUsize::new(0);
        let entries = self.progress.entries;
        std::thread::scope(|scope| {
            let (told, results) = mpsc::channel();
            for _ in 0..threads.min(walk.files.len()) {
                let (told, next, contents) = (told.clone(), &next, &self.contents);
                scope.spawn(move || {
                    let mut buffer = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(found) = walk.files.get(number).and_then(|place| walk.found.get(*place))
                        else {
                            return;
                        };
                        let result = read(root, &found.path, contents, &mut buffer);
                        // Nobody listens any more when another file has failed.
                        if told.send((number, result)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(told);
            for (number, result) in results {
                let result = result?;
                self.progress.entries += 1;
                self.progress.bytes += result.stored.size;
                self.progress.new_objects += u64::from(result.stored.new);
                self.progress.new_bytes += if result.stored.new { result.stored.size } else { 0 };
                (self.report)(self.progress);
                if let Some(place) = all.get_mut(number) {
                    *place = Some(result);
                }
            }
            Ok(())
        })?;
        // They are counted again with all others, when they are inserted.
        self.progress.entries = entries;
        Ok(all)
    }
}

impl Walk<'_> {
    fn list(&mut self, path: &[u8], inode: Option<u32>) -> Result<()> {
        let here = || self.root.path().join(std::ffi::OsStr::from_bytes(path));
        let dir = self.root.dir(if path.is_empty() { b"." } else { path });
        let dir = dir.map_err(|cause| Error::io("open", here())(cause))?;
        let listing = rustix::fs::Dir::read_from(&dir).map_err(|cause| Error::io("list", here())(cause))?;
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(|cause| Error::io("list", here())(cause))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        // In order, so that which of a file's names comes first does not depend on the host's directory order.
        names.sort_unstable();
        for name in names {
            let full = if path.is_empty() { name.clone() } else { [path, name.as_slice()].join(&b'/') };
            let known = self.seen.as_ref().and_then(|seen| seen.child(inode, &name));
            let what = self.entry(&dir, &name, &full, known)?;
            if matches!(what, What::File(_)) {
                self.files.push(self.found.len());
            }
            self.found.push(Found { path: full, what });
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Dir, name: &[u8], full: &[u8], known: Option<u32>) -> Result<What> {
        let here = || dir.path().join(std::ffi::OsStr::from_bytes(name));
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|cause| Error::io("stat", here())(cause))?;
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let child = dir.dir(name).map_err(|cause| Error::io("open", here())(cause))?;
                if stat.st_dev == self.device {
                    self.todo.push((full.to_vec(), known));
                }
                let attributes =
                    xattrs(&child).map_err(|cause| Error::io("read attributes of", here())(cause))?;
                let meta = described(&stat, attributes);
                let opaque = opaque(&meta);
                return Ok(What::Node(meta, Content::Directory { opaque }));
            }
            FileType::RegularFile => return Ok(self.regular(&stat, full, known)),
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(dir, name, Vec::new());
                Content::Symlink(text.map_err(|cause| Error::io("read link", here())(cause))?.into_bytes())
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => Content::Whiteout,
            FileType::CharacterDevice => {
                Content::Character(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            FileType::BlockDevice => {
                Content::Block(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Unknown => return Err(Error::entry(full, "a file of unknown type")),
        };
        Ok(What::Node(described(&stat, Vec::new()), content))
    }

    fn regular(&mut self, stat: &Stat, full: &[u8], known: Option<u32>) -> What {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return What::Link(first.clone());
            }
            self.links.insert((stat.st_dev, stat.st_ino), full.to_vec());
        }
        let unchanged = self.seen.as_ref().filter(|_| stat.st_dev == self.device);
        match unchanged.and_then(|seen| seen.unchanged(known, stat)) {
            // Mode and owner as they are now; its attributes are as they were, for its ctime is.
            Some((content, was)) => What::Known(described(stat, was.xattrs), content, Mark::of(stat)),
            None => What::File(self.files.len()),
        }
    }
}

/// Reads one file, described from what is open and not from what the name was.
fn read(root: &Dir, path: &[u8], contents: &Contents<'_>, buffer: &mut Vec<u8>) -> Result<Read> {
    let here = || root.path().join(std::ffi::OsStr::from_bytes(path));
    let file = root.file(path).map_err(|cause| Error::io("open", here())(cause))?;
    let stat = rustix::fs::fstat(&file).map_err(|cause| Error::io("stat", here())(cause))?;
    let attributes = xattrs(&file).map_err(|cause| Error::io("read attributes of", here())(cause))?;
    let stored = contents.file(&file, u64::try_from(stat.st_size).unwrap_or(0), buffer, path)?;
    Ok(Read { stat, meta: described(&stat, attributes), stored })
}

fn described(stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Meta {
    Meta {
        mode: u16::try_from(stat.st_mode & 0o7777).unwrap_or(0),
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: super::seen::nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        xattrs,
    }
}

/// All extended attributes of an open file; none where the file system has none.
fn xattrs(fd: &impl std::os::fd::AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
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
