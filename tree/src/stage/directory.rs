//! A directory as a source: a chroot, a layer in an admin's home, an overlayfs upper directory.
//!
//! Every file is opened below a held directory and through no link ([`crate::confine`]), then described from the open
//! file itself, so a name that changes under the walk can't smuggle anything in. What is left out is told by name: the
//! server's own directories, whose store would swallow itself; what the kernel mounts, for a chroot often has `/proc` mounted;
//! and other file systems, unless the source says otherwise.
//!
//! First all names; then the contents of the files that are not known, while the nodes take their places.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::assemble::Assembly;
use super::contents::Stored;
use super::walk::{Borders, Entry, LeftOut, Listing, Unchanged, described, joined, walk};
use super::{Stage, Tally};
use crate::confine::Dir;
use crate::disk::attributes;
use crate::error::{Error, Result};
use crate::node::Meta;
use crate::parallel::{at_work, both};
use crate::store::stat_cache::{Mark, StatCache};

/// What becomes of a file's bytes when they are read, on whichever thread.
pub(super) trait Reads: Sync {
    /// Reads all of an open file. `buffer` is the caller's, and `source` names the file in messages.
    fn file(&self, from: &File, size: u64, buffer: &mut Vec<u8>, source: &[u8]) -> Result<Stored>;
}

/// What reading a file gave.
pub(super) struct Read {
    pub trusted: bool,
    pub mark: Mark,
    pub meta: Meta,
    pub stored: Stored,
}

/// What an admin should hear of a directory that was staged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Directories with another file system on them, which was left out.
    pub file_systems: Vec<String>,
    /// The server's own directories, which were left out.
    pub own: Vec<String>,
    /// Files that have a GiB of holes or more, and how many bytes of holes: they are read like any other bytes.
    pub sparse: Vec<(String, u64)>,
}

impl Noted {
    fn left_out(&mut self, path: &[u8], why: Option<LeftOut>) {
        let list = match why {
            None => return,
            Some(LeftOut::Own) => &mut self.own,
            Some(LeftOut::FileSystem) => &mut self.file_systems,
        };
        list.push(format!("/{}", path.escape_ascii()));
    }
}

impl Stage<'_> {
    /// Whether other file systems that are mounted in a directory are left out, as they are unless this says otherwise. Those of
    /// the kernel always are.
    pub fn one_file_system(&mut self, one: bool) {
        self.borders.one_file_system = one;
    }

    /// Leaves one of the server's own directories out of what is staged, wherever it lies in it. The store always is.
    pub fn leave_out(&mut self, directory: &Path) {
        // What is not there can't be in the way.
        let stat = rustix::fs::stat(directory);
        self.borders.own.extend(stat.ok().map(|stat| (stat.st_dev, stat.st_ino)));
    }

    fn borders(&mut self, device: u64) -> Borders {
        self.leave_out(self.store.path());
        Borders { device, ..self.borders.clone() }
    }

    /// Reads a whole directory tree into the stage.
    ///
    /// # Errors
    /// The system's, or [`Error::Entry`].
    pub fn directory(&mut self, root: &Path) -> Result<()> {
        let dir = Dir::open(root).map_err(Error::io("open", root))?;
        let device = rustix::fs::fstat(&dir).map_err(Error::io("stat", root))?.st_dev;
        let seen = self.memory.map(|(now, afresh)| StatCache::recall(self.store, root, device, now, afresh));
        let borders = self.borders(device);
        let Tally { progress, report } = &mut self.tally;
        let so_far = progress.entries;
        let mut listings = walk(&dir, &borders, seen.as_ref(), &mut |entries| {
            progress.entries = so_far + entries;
            report(*progress);
        })?;
        // The root is in no listing.
        progress.entries += 1;
        for listing in &listings {
            self.noted.left_out(&listing.path, listing.left_out);
        }
        let files = unread(&mut listings, device);
        let mut assembly = Assembly::new(&mut self.builder, self.owner, device, seen.as_ref());
        let (contents, tally) = (&self.contents, &mut self.tally);
        let (planted, read) =
            both(|| assembly.plant(listings), || read_all(&dir, seen.as_ref(), &files, contents, tally));
        let mut read = planted.and(read)?;
        self.tally.progress.unread += assembly.marks.len() as u64;
        for (node, number) in std::mem::take(&mut assembly.unread) {
            let read = read.get_mut(number as usize).and_then(Option::take);
            let read = read.ok_or(Error::Mistake("a file was not read"))?;
            let mark = read.trusted.then_some(read.mark);
            assembly.grown(node, read.meta, read.stored.content(), mark)?;
        }
        let marks = assembly.marks;
        self.seen = seen.map(|seen| (seen, marks));
        Ok(())
    }
}

/// Reads files, in any order; the results are in theirs.
pub(super) fn read_all(
    root: &Dir,
    seen: Option<&StatCache>,
    files: &[Vec<u8>],
    contents: &impl Reads,
    tally: &mut Tally<'_>,
) -> Result<Vec<Option<Read>>> {
    let mut all: Vec<Option<Read>> = files.iter().map(|_| None).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let taken = || std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    let work = || {
        let mut buffer = Vec::new();
        while let Some((number, path)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            files.get(number).map(|path| (number, path))
        } {
            let result = read(root, path, seen, contents, &mut buffer);
            if result.is_err() {
                // Nobody needs the others any more.
                next.store(files.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    let mut failed = None;
    at_work(files.len(), work, || {
        for (number, result) in taken() {
            match result {
                Ok(result) => {
                    tally.stored(result.stored);
                    if let Some(place) = all.get_mut(number) {
                        *place = Some(result);
                    }
                }
                Err(cause) => failed = Some(cause),
            }
        }
    });
    failed.map_or(Ok(all), Err)
}

/// The paths of the files that must be read, which get their numbers by it; one path of each that has several.
pub(super) fn unread(listings: &mut [Listing], device: u64) -> Vec<Vec<u8>> {
    let mut linked = HashSet::new();
    let mut paths = Vec::new();
    for Listing { path, names, entries, .. } in listings {
        for (name, what) in names.iter().zip(entries) {
            match what {
                Entry::Unchanged(Unchanged { linked: Some(number), .. }) => {
                    linked.insert((device, *number));
                }
                Entry::Unread(file) if file.linked.is_none_or(|key| linked.insert(key)) => {
                    file.number = u32::try_from(paths.len()).ok();
                    paths.push(joined(path, name));
                }
                _ => {}
            }
        }
    }
    paths
}

/// Reads one file, described from what is open and not from what the name was.
fn read(
    root: &Dir,
    path: &[u8],
    seen: Option<&StatCache>,
    contents: &impl Reads,
    buffer: &mut Vec<u8>,
) -> Result<Read> {
    let here = || root.path().join(std::ffi::OsStr::from_bytes(path));
    let file = root.file(path).map_err(|cause| Error::io("open", here())(cause))?;
    let stat = rustix::fs::fstat(&file).map_err(|cause| Error::io("stat", here())(cause))?;
    let attributes = attributes(&file).map_err(|cause| Error::io("read attributes of", here())(cause))?;
    let stored = contents.file(&file, u64::try_from(stat.st_size).unwrap_or(0), buffer, path)?;
    let trusted = seen.is_some_and(|seen| seen.is_trusted(&stat));
    Ok(Read { trusted, mark: Mark::of(&stat), meta: described(&stat, attributes), stored })
}
