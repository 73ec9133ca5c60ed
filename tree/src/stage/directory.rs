//! A directory as a source: a chroot, a layer in an admin's home, an overlayfs upper directory.
//!
//! Every file is opened below a held directory and through no link ([`crate::confine`]), then described from the open
//! file itself, so a name that changes under the walk can't smuggle anything in. Other file systems mounted inside are
//! left out, as `--one-file-system` does: a chroot often has `/proc` mounted.
//!
//! First all names; then the contents of the files that are not known; both by as many threads as there are processors.
//! Then the index, by one.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::archive::{opaque, without_overlay_marks};
use super::contents::{Contents, Stored};
use super::seen::{Mark, Seen};
use super::walk::{Entry, Listing, What, described, joined, threads, walk, xattrs};
use super::{Progress, Stage};
use crate::build::{IndexBuilder, NodeRef};
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::node::{Content, Meta};

/// What reading a file gave.
struct Read {
    trusted: bool,
    mark: Mark,
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
        let device = rustix::fs::fstat(&dir).map_err(Error::io("stat", root))?.st_dev;
        let seen = self.memory.map(|(now, afresh)| Seen::recall(self.store, root, device, now, afresh));
        let so_far = self.tally.progress;
        let mut listings = walk(&dir, device, seen.as_ref(), &mut |entries| {
            (self.tally.report)(Progress { entries: so_far.entries + entries, ..so_far });
        })?;
        let files = unread(&listings);
        let mut read = self.read_all(&dir, seen.as_ref(), &files)?.into_iter();
        let metas: Vec<Meta> = listings.iter_mut().map(|listing| std::mem::take(&mut listing.meta)).collect();
        let mut marks = Vec::new();
        let mut nodes: Vec<Option<NodeRef>> = vec![None; listings.len()];
        if let (Some(node), Some(meta)) = (nodes.first_mut(), metas.first()) {
            *node = Some(IndexBuilder::root());
            let meta = without_overlay_marks(meta.clone());
            self.insert(&crate::node::TreePath::default(), meta, Content::Directory { opaque: false })?;
        }
        let mut linked: HashMap<(u64, u64), NodeRef> = HashMap::new();
        for (number, listing) in listings.into_iter().enumerate() {
            let Some(parent) = nodes.get(number).copied().flatten() else { continue };
            for Entry { name, what } in listing.entries {
                match what {
                    What::Directory(below) => {
                        let Some(meta) = metas.get(below) else { continue };
                        let content = Content::Directory { opaque: opaque(meta) };
                        let node = self.put(parent, &name, meta.clone(), content)?;
                        if let Some(place) = nodes.get_mut(below) {
                            *place = node;
                        }
                    }
                    What::Node(meta, content) => drop(self.put(parent, &name, meta, content)?),
                    What::File(file) => {
                        if let Some(first) = file.linked.and_then(|key| linked.get(&key)) {
                            self.tally.entry();
                            self.builder.link_in(parent, &name, *first)?;
                            continue;
                        }
                        let (meta, content, mark) = match file.known {
                            Some(content) => {
                                self.tally.progress.unread += 1;
                                (file.meta, content, Some(file.mark))
                            }
                            None => {
                                let Some(read) = read.next().flatten() else { continue };
                                (read.meta, read.stored.content(), read.trusted.then_some(read.mark))
                            }
                        };
                        let node = self.put(parent, &name, meta, content)?;
                        marks.extend(node.zip(mark));
                        linked.extend(file.linked.zip(node));
                    }
                }
            }
        }
        self.seen = seen.map(|seen| (seen, marks));
        Ok(())
    }

    /// Adds one name in a directory that is there.
    fn put(&mut self, parent: NodeRef, name: &[u8], meta: Meta, content: Content) -> Result<Option<NodeRef>> {
        let mut meta = without_overlay_marks(meta);
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        self.tally.entry();
        self.builder.insert_in(parent, name, meta, content)
    }

    /// Reads files, in any order; the results are in theirs.
    fn read_all(&mut self, root: &Dir, seen: Option<&Seen>, files: &[Vec<u8>]) -> Result<Vec<Option<Read>>> {
        let mut all: Vec<Option<Read>> = files.iter().map(|_| None).collect();
        let next = AtomicUsize::new(0);
        let (contents, tally) = (&self.contents, &mut self.tally);
        let so_far = tally.progress.entries;
        std::thread::scope(|scope| {
            let (told, results) = mpsc::channel();
            for _ in 0..threads().min(files.len()) {
                let (told, next) = (told.clone(), &next);
                scope.spawn(move || {
                    let mut buffer = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(path) = files.get(number) else { return };
                        // Nobody listens any more when another file has failed.
                        if told.send((number, read(root, path, seen, contents, &mut buffer))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(told);
            for (number, result) in results {
                let result = result?;
                tally.progress.entries += 1;
                tally.stored(result.stored);
                if let Some(place) = all.get_mut(number) {
                    *place = Some(result);
                }
            }
            Ok(())
        })?;
        // They are counted again with all others, when they are inserted.
        tally.progress.entries = so_far;
        Ok(all)
    }
}

/// The paths of the files that must be read, in the order of the listings; one path of each that has several.
fn unread(listings: &[Listing]) -> Vec<Vec<u8>> {
    let mut linked = HashSet::new();
    let mut paths = Vec::new();
    for listing in listings {
        for Entry { name, what } in &listing.entries {
            let What::File(file) = what else { continue };
            let another = file.linked.is_some_and(|key| !linked.insert(key));
            if !another && file.known.is_none() {
                paths.push(joined(&listing.path, name));
            }
        }
    }
    paths
}

/// Reads one file, described from what is open and not from what the name was.
fn read(
    root: &Dir,
    path: &[u8],
    seen: Option<&Seen>,
    contents: &Contents<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Read> {
    let here = || root.path().join(std::ffi::OsStr::from_bytes(path));
    let file = root.file(path).map_err(|cause| Error::io("open", here())(cause))?;
    let stat = rustix::fs::fstat(&file).map_err(|cause| Error::io("stat", here())(cause))?;
    let attributes = xattrs(&file).map_err(|cause| Error::io("read attributes of", here())(cause))?;
    let stored = contents.file(&file, u64::try_from(stat.st_size).unwrap_or(0), buffer, path)?;
    let trusted = seen.is_some_and(|seen| seen.is_trusted(&stat));
    Ok(Read { trusted, mark: Mark::of(&stat), meta: described(&stat, attributes), stored })
}
