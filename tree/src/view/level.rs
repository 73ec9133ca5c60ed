//! One level of a stack: a layer laid over the levels below it, with the spine that this makes.
//!
//! overlayfs' rules: the topmost name wins; a directory over a directory merges, and takes owner, mode and time from the
//! upper one; a whiteout hides the name; an opaque directory hides all below it; anything else over anything hides it.
//!
//! Only a directory that merges, or that has whiteouts to leave out, needs a [`Merged`] of its own: the *spine*.
//! Everything else passes through to one layer. Levels are shared: a thousand machines with one profile below their own
//! layers hold the profile's spine once.

use std::sync::Arc;

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

/// Where an entry of a merged directory comes from: the layer, and the place in its table of names.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameRef {
    pub(super) layer: u16,
    pub(super) place: u32,
}

/// The names of a directory that no single layer has.
pub(super) struct Merged {
    pub(super) entries: Box<[NameRef]>,
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
    spine: Box<[(u32, Merged)]>,
}

impl Level {
    /// Lays `index` over the levels `below`, of which there are fewer than 65535.
    #[must_use]
    pub fn new(index: Arc<Index>, below: Vec<Arc<Level>>) -> Self {
        let fileid_base = below.last().map_or(0, |level| level.fileid_base + u64::from(level.index.inodes()));
        let bytes = index.content_bytes().saturating_add(below.last().map_or(0, |level| level.bytes));
        let mut level = Self { index, below, fileid_base, bytes, spine: Box::new([]) };
        level.spine = Spine::of(&level);
        level
    }

    /// This level's place in the stack.
    pub(super) fn place(&self) -> u16 {
        u16::try_from(self.below.len()).unwrap_or(u16::MAX)
    }

    /// The level at a place of the stack, this one included.
    pub(super) fn at(&self, layer: u16) -> Option<&Self> {
        match self.below.get(usize::from(layer)) {
            Some(level) => Some(level),
            None => (layer == self.place()).then_some(self),
        }
    }

    pub(super) fn merged(&self, directory: u32) -> Option<&Merged> {
        let place = self.spine.binary_search_by_key(&directory, |(inode, _)| *inode).ok()?;
        self.spine.get(place).map(|(_, merged)| merged)
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

    /// The names of a directory as seen at this level, in byte order.
    pub(super) fn names(&self, node: Node) -> impl Iterator<Item = NameRef> + '_ {
        let level = self.at(node.layer);
        let merged = level.and_then(|level| level.merged(node.inode));
        let run = match (level, merged) {
            (Some(level), None) => level.index.inode(node.inode).map_or((0, 0), |inode| inode.run()),
            _ => (0, 0),
        };
        let own = (run.0..run.0.saturating_add(run.1)).map(move |place| NameRef { layer: node.layer, place });
        merged.into_iter().flat_map(|merged| merged.entries.iter().copied()).chain(own)
    }
}

/// Makes a level's spine.
struct Spine<'a> {
    level: &'a Level,
    layer: u16,
    merged: Vec<(u32, Merged)>,
    /// Directories that merge, still to be done: in this layer, and what they lie over.
    todo: Vec<(u32, Node)>,
}

impl<'a> Spine<'a> {
    fn of(level: &'a Level) -> Box<[(u32, Merged)]> {
        let mut spine = Self { level, layer: level.place(), merged: Vec::new(), todo: Vec::new() };
        let opaque = level.index.inode(ROOT).is_some_and(|root| root.kind() == Kind::OpaqueDirectory);
        if let (Some(top), false) = (level.below.last(), opaque) {
            spine.todo.push((ROOT, Node { layer: top.place(), inode: ROOT }));
        }
        while let Some((directory, below)) = spine.todo.pop() {
            spine.merge(directory, below);
        }
        spine.leave_out_whiteouts();
        spine.merged.sort_unstable_by_key(|(inode, _)| *inode);
        spine.merged.into_boxed_slice()
    }

    /// One pass over two sorted lists of names.
    fn merge(&mut self, directory: u32, below: Node) {
        let Some(under) = self.level.below.last() else { return };
        let mut lower = under.names(below).filter_map(|from| Some((from, under.entry(from)?))).peekable();
        let mut entries = Vec::new();
        for from in self.level.names(Node { layer: self.layer, inode: directory }) {
            let Some(upper) = self.level.index.entry(from.place) else { continue };
            while let Some((from, _)) = lower.next_if(|(_, entry)| entry.name < upper.name) {
                entries.push(from);
            }
            let hidden = lower.next_if(|(_, entry)| entry.name == upper.name);
            match self.kind(upper.inode) {
                Some(Kind::Whiteout) | None => continue,
                Some(Kind::Directory) => {
                    let beneath = hidden.map(|(from, entry)| Node { layer: from.layer, inode: entry.inode });
                    if let Some(beneath) = beneath.filter(|node| is_directory(under, *node)) {
                        self.todo.push((upper.inode, beneath));
                    }
                }
                Some(_) => {}
            }
            entries.push(from);
        }
        entries.extend(lower.map(|(from, _)| from));
        self.push(directory, entries);
    }

    /// A directory that nothing lies under may still have whiteouts, which are never served.
    fn leave_out_whiteouts(&mut self) {
        if self.level.index.whiteouts() == 0 {
            return;
        }
        let mut done: Vec<u32> = self.merged.iter().map(|(inode, _)| *inode).collect();
        done.sort_unstable();
        for directory in 1..=self.level.index.inodes() {
            let holds = self.level.index.inode(directory).is_some_and(|inode| inode.holds_whiteout());
            if !holds || done.binary_search(&directory).is_ok() {
                continue;
            }
            let names = self.level.names(Node { layer: self.layer, inode: directory });
            let entries = names.filter(|from| {
                let entry = self.level.index.entry(from.place);
                !matches!(entry.map(|entry| self.kind(entry.inode)), None | Some(None | Some(Kind::Whiteout)))
            });
            let entries = entries.collect();
            self.push(directory, entries);
        }
    }

    fn push(&mut self, directory: u32, entries: Vec<NameRef>) {
        let is_subdirectory = |from: &&NameRef| {
            let entry = self.level.entry(**from);
            entry
                .is_some_and(|entry| is_directory(self.level, Node { layer: from.layer, inode: entry.inode }))
        };
        let subdirectories =
            u32::try_from(entries.iter().filter(is_subdirectory).count()).unwrap_or(u32::MAX - 2);
        self.merged.push((directory, Merged { entries: entries.into_boxed_slice(), subdirectories }));
    }

    fn kind(&self, inode: u32) -> Option<Kind> {
        self.level.index.inode(inode).map(|inode| inode.kind())
    }
}

fn is_directory(level: &Level, node: Node) -> bool {
    let inode = level.at(node.layer).and_then(|level| level.index.inode(node.inode));
    inode.is_some_and(|inode| inode.kind().is_directory())
}
