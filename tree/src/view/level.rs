//! One level of a stack: a layer laid over the levels below it, with the spine that this makes.
//!
//! overlayfs' rules: the topmost name wins; a directory over a directory merges, and takes owner, mode and time from the
//! upper one; a whiteout hides the name; an opaque directory hides all below it; anything else over anything hides it.
//!
//! Only a directory that merges, or that has whiteouts to leave out, needs a [`Merged`] of its own: the *spine*.
//! Everything else passes through to one layer. Levels are shared: a thousand machines with one profile below their own
//! layers hold the profile's spine once.

use std::sync::Arc;

use super::names::{Gathered, NameRef, Names, Run};
use crate::index::{Entry, Index, ROOT};
use crate::node::Kind;

/// A node of a view: the layer's place in the stack, and the inode's number there. A merged directory is named by its
/// topmost layer and inode, never by a number that the merge makes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// 0 is the bottom of the stack.
    pub layer: u16,
    /// From 1; the root of each layer is 1.
    pub inode: u32,
}

/// A directory that no single layer has: one of the spine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merged {
    /// Its inode in the topmost layer that has it.
    directory: u32,
    /// Its names: so many runs of the level's from here on.
    first: u32,
    runs: u32,
    names: u32,
    pub(super) subdirectories: u32,
}

/// A layer over all levels below it.
pub struct Level {
    pub(super) index: Arc<Index>,
    /// The levels below, bottom first; empty for the bottom one.
    pub(super) below: Vec<Arc<Level>>,
    /// Sum of the inode counts of the layers below: what makes file ids dense and exact.
    pub(super) fileid_base: u64,
    /// Bytes in the regular files of this layer and those below.
    pub(super) bytes: u64,
    /// By directory inode of this layer, ascending.
    spine: Box<[Merged]>,
    /// The names of all of them: one list, because a machine has a spine of its own, and ten thousand have many small lists.
    runs: Box<[Run]>,
}

impl Level {
    /// Lays `index` over the levels `below`, of which there are fewer than 65535.
    #[must_use]
    pub fn new(index: Arc<Index>, below: Vec<Arc<Level>>) -> Self {
        let fileid_base = below.last().map_or(0, |level| level.fileid_base + u64::from(level.index.inodes()));
        let bytes = index.content_bytes().saturating_add(below.last().map_or(0, |level| level.bytes));
        let mut level = Self { index, below, fileid_base, bytes, spine: Box::new([]), runs: Box::new([]) };
        (level.spine, level.runs) = Spine::of(&level);
        level
    }

    /// This level's place in the stack.
    #[inline]
    pub(super) fn place(&self) -> u16 {
        u16::try_from(self.below.len()).unwrap_or(u16::MAX)
    }

    /// The level at a place of the stack, this one included.
    #[inline]
    pub(super) fn at(&self, layer: u16) -> Option<&Self> {
        match self.below.get(usize::from(layer)) {
            Some(level) => Some(level),
            None => (layer == self.place()).then_some(self),
        }
    }

    #[inline]
    pub(super) fn merged(&self, directory: u32) -> Option<&Merged> {
        let place = self.spine.binary_search_by_key(&directory, |merged| merged.directory).ok()?;
        self.spine.get(place)
    }

    /// The names of one of this level's merged directories.
    pub(super) fn names_of(&self, merged: &Merged) -> Names<'_> {
        let (first, count) = (merged.first as usize, merged.runs as usize);
        let runs = first.checked_add(count).and_then(|end| self.runs.get(first..end));
        Names::merged(runs.unwrap_or_default(), merged.names)
    }

    /// The name that an entry of a merged directory stands for.
    pub(super) fn entry(&self, name: NameRef) -> Option<Entry<'_>> {
        self.at(name.layer)?.index.entry(name.place)
    }

    /// Number of merged directories: what this level costs beyond its index.
    #[must_use]
    pub fn spine_len(&self) -> usize {
        self.spine.len()
    }

    /// The names of a directory as seen at this level.
    pub(super) fn names(&self, node: Node) -> Names<'_> {
        let level = self.at(node.layer);
        if let Some((level, merged)) = level.and_then(|level| Some((level, level.merged(node.inode)?))) {
            return level.names_of(merged);
        }
        let (first, count) =
            level.and_then(|level| level.index.inode(node.inode)).map_or((0, 0), |inode| inode.run());
        Names::plain(NameRef { layer: node.layer, place: first }, count)
    }

    /// Directories in a directory as seen at this level.
    fn subdirectories(&self, node: Node) -> u32 {
        let Some(level) = self.at(node.layer) else { return 0 };
        let own = || level.index.inode(node.inode).map_or(0, |inode| inode.nlink().saturating_sub(2));
        level.merged(node.inode).map_or_else(own, |merged| merged.subdirectories)
    }
}

/// Makes a level's spine.
struct Spine<'a> {
    level: &'a Level,
    layer: u16,
    merged: Vec<Merged>,
    runs: Vec<Run>,
    /// Directories that merge, still to be done: in this layer, and what they lie over.
    todo: Vec<(u32, Node)>,
}

impl<'a> Spine<'a> {
    fn of(level: &'a Level) -> (Box<[Merged]>, Box<[Run]>) {
        let mut spine =
            Self { level, layer: level.place(), merged: Vec::new(), runs: Vec::new(), todo: Vec::new() };
        let opaque = level.index.inode(ROOT).is_some_and(|root| root.kind() == Kind::OpaqueDirectory);
        if let (Some(top), false) = (level.below.last(), opaque) {
            spine.todo.push((ROOT, Node { layer: top.place(), inode: ROOT }));
        }
        while let Some((directory, below)) = spine.todo.pop() {
            spine.merge(directory, below);
        }
        spine.leave_out_whiteouts();
        spine.merged.sort_unstable_by_key(|merged| merged.directory);
        (spine.merged.into_boxed_slice(), spine.runs.into_boxed_slice())
    }

    /// The names of this layer, each put into its place among those below: of a directory below only as many are looked at as
    /// there are names above it, and what is between them is taken whole.
    fn merge(&mut self, directory: u32, below: Node) {
        let Some(under) = self.level.below.last() else { return };
        let (lower, mut names, mut done) = (under.names(below), Gathered::default(), 0);
        let mut subdirectories = under.subdirectories(below);
        for from in self.own(directory) {
            let Some(upper) = self.level.index.entry(from.place) else { continue };
            let found = lower.search(|from| Some(under.entry(from)?.name), upper.name);
            let (at, hidden) = match found {
                Ok(at) => (
                    at,
                    lower
                        .get(at)
                        .and_then(|from| Some(Node { layer: from.layer, inode: under.entry(from)?.inode })),
                ),
                Err(at) => (at, None),
            };
            lower.copy((done, at), &mut names);
            done = if found.is_ok() { at.saturating_add(1) } else { at };
            let hidden = hidden.filter(|node| is_directory(under, *node));
            subdirectories = subdirectories.saturating_sub(hidden.map_or(0, |_| 1));
            let kind = self.kind(upper.inode);
            if let (Some(Kind::Directory), Some(beneath)) = (kind, hidden) {
                self.todo.push((upper.inode, beneath));
            }
            let Some(kind) = kind.filter(|kind| *kind != Kind::Whiteout) else { continue };
            subdirectories = subdirectories.saturating_add(u32::from(kind.is_directory()));
            names.add(from, 1);
        }
        lower.copy((done, lower.len()), &mut names);
        self.push(directory, names, subdirectories);
    }

    /// The names that this layer alone has in a directory of its own.
    fn own(&self, directory: u32) -> impl Iterator<Item = NameRef> + use<> {
        let (first, count) = self.level.index.inode(directory).map_or((0, 0), |inode| inode.run());
        let layer = self.layer;
        (first..first.saturating_add(count)).map(move |place| NameRef { layer, place })
    }

    /// A directory that nothing lies under may still have whiteouts, which are never served.
    fn leave_out_whiteouts(&mut self) {
        if self.level.index.whiteouts() == 0 {
            return;
        }
        let mut done: Vec<u32> = self.merged.iter().map(|merged| merged.directory).collect();
        done.sort_unstable();
        for directory in 1..=self.level.index.inodes() {
            let holds = self.level.index.inode(directory).is_some_and(|inode| inode.holds_whiteout());
            if !holds || done.binary_search(&directory).is_ok() {
                continue;
            }
            let mut names = Gathered::default();
            for from in self.own(directory) {
                let kind = self.level.index.entry(from.place).and_then(|entry| self.kind(entry.inode));
                if kind.is_some_and(|kind| kind != Kind::Whiteout) {
                    names.add(from, 1);
                }
            }
            let subdirectories = self.level.subdirectories(Node { layer: self.layer, inode: directory });
            self.push(directory, names, subdirectories);
        }
    }

    fn push(&mut self, directory: u32, mut names: Gathered, subdirectories: u32) {
        let first = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let (runs, names) = names.put(&mut self.runs);
        self.merged.push(Merged { directory, first, runs, names, subdirectories });
    }

    fn kind(&self, inode: u32) -> Option<Kind> {
        self.level.index.inode(inode).map(|inode| inode.kind())
    }
}

fn is_directory(level: &Level, node: Node) -> bool {
    let inode = level.at(node.layer).and_then(|level| level.index.inode(node.inode));
    inode.is_some_and(|inode| inode.kind().is_directory())
}
