//! From entries in any order to one canonical index.
//!
//! Two stagings of the same input must give the same generation, so nothing of the order or of the host enters: inodes
//! are numbered breadth-first with names in byte order, and a hard link has the number of its first name.

use std::collections::{HashMap, HashSet};

use crate::children::Children;
use crate::error::{Error, Result};
use crate::format::Encoder;
use crate::index::Index;
use crate::node::{Content, Kind, Meta, TreePath};

/// A node while its tree is being built. Only good for the builder that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeRef(usize);

impl NodeRef {
    /// Its place among its builder's nodes, from 0.
    pub(crate) fn place(self) -> usize {
        self.0
    }
}

struct Node {
    meta: Meta,
    content: Content,
    children: Children<NodeRef>,
}

/// Collects a tree's entries, in any order; [`finish`](Self::finish) makes the index.
pub struct IndexBuilder {
    nodes: Vec<Node>,
    /// By directory, the names that have a whiteout as well as a file, which hides what is below by itself: should a
    /// directory come in its place, that one is opaque. Hardly ever any.
    hidden: HashMap<NodeRef, HashSet<Box<[u8]>>>,
}

const ROOT: NodeRef = NodeRef(0);

impl Default for IndexBuilder {
    fn default() -> Self {
        Self { nodes: vec![Node::directory(Meta::implied_directory())], hidden: HashMap::new() }
    }
}

impl Node {
    fn directory(meta: Meta) -> Self {
        Self { meta, content: Content::Directory { opaque: false }, children: Children::default() }
    }
}

impl Content {
    /// Whether lower layers stay hidden though something else comes in its place.
    fn hides_what_is_below(&self) -> bool {
        matches!(self, Self::Whiteout | Self::Directory { opaque: true })
    }
}

impl IndexBuilder {
    /// An empty tree: a root directory with mode 0755.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a node at `path`, making the directories on the way. What was there gives way, but a directory that meets a
    /// directory keeps its children: archives list a directory again to set its mode.
    ///
    /// OCI's whiteout names are understood here, so that every source speaks them: `.wh.NAME` hides `NAME`, and
    /// `.wh..wh..opq` makes its directory opaque. Whiteouts hide what lower layers have and never what their own has
    /// (image-spec, *whiteouts*), in whichever order the two come: a directory beside its own whiteout is an opaque one.
    ///
    /// # Errors
    /// [`Error::Entry`] when the path runs through something that is no directory.
    pub fn insert(&mut self, path: &TreePath<'_>, meta: Meta, content: Content) -> Result<()> {
        let Some((name, parents)) = path.names().split_last() else { return self.set_root(meta, &content) };
        if is_aufs_own(parents)? {
            return Ok(());
        }
        let parent = self.directory_at(parents)?;
        self.insert_in(parent, name, meta, content).map(drop)
    }

    /// The same, for a name in a directory that is there; the node, where the name stands for one.
    pub(crate) fn insert_in(
        &mut self,
        parent: NodeRef,
        name: &[u8],
        meta: Meta,
        content: Content,
    ) -> Result<Option<NodeRef>> {
        match name.strip_prefix(b".wh.".as_slice()) {
            Some(b".wh..opq") => {
                self.node_mut(parent)?.content = Content::Directory { opaque: true };
                Ok(None)
            }
            // aufs kept its own bookkeeping under this prefix; it was never part of anybody's tree.
            Some(rest) if rest.starts_with(b".wh.") => Ok(None),
            Some(b"") => Err(Error::entry(name, "a whiteout without a name")),
            Some(hidden) => self.place(parent, hidden, Meta::default(), Content::Whiteout).map(|_| None),
            // However a source spells a whiteout, it is the same one: its own owner and time say nothing.
            None if content == Content::Whiteout => {
                self.place(parent, name, Meta::default(), content).map(Some)
            }
            None => self.place(parent, name, meta, content).map(Some),
        }
    }

    /// Gives the node at `target` a second name.
    ///
    /// # Errors
    /// [`Error::Entry`] when there is no such node, or it is a directory.
    pub fn link(&mut self, path: &TreePath<'_>, target: &TreePath<'_>) -> Result<()> {
        let refused = |what: &str| {
            let target = target.names().join(&b'/').escape_ascii().to_string();
            Error::entry(&path.names().join(&b'/'), format!("a hard link to {target}, {what}"))
        };
        let node = self.find(target).ok_or_else(|| refused("which is not there before it"))?;
        if matches!(self.node_mut(node)?.content, Content::Directory { .. }) {
            return Err(refused("which is a directory"));
        }
        let Some((name, parents)) = path.names().split_last() else {
            return Err(Error::entry(b"/", "the root can't be a hard link"));
        };
        if is_aufs_own(parents)? {
            return Ok(());
        }
        let parent = self.directory_at(parents)?;
        self.link_in(parent, name, node)
    }

    /// The same, for a node and a directory that are there.
    pub(crate) fn link_in(&mut self, parent: NodeRef, name: &[u8], node: NodeRef) -> Result<()> {
        if let Some(there) = self.node_mut(parent)?.children.get(name)
            && self.node_mut(there)?.content.hides_what_is_below()
        {
            self.remember_whiteout(parent, name);
        }
        self.node_mut(parent)?.children.insert(name, node);
        Ok(())
    }

    /// Gives a node that is no directory other metadata and content.
    pub(crate) fn replace(&mut self, node: NodeRef, meta: Meta, content: Content) -> Result<()> {
        let node = self.node_mut(node)?;
        (node.meta, node.content) = (meta, content);
        Ok(())
    }

    /// Gives the root directory its owner, mode, time and attributes.
    pub(crate) fn describe_root(&mut self, meta: Meta) -> Result<()> {
        self.set_root(meta, &Content::Directory { opaque: false })
    }

    /// The root directory.
    pub(crate) fn root() -> NodeRef {
        ROOT
    }

    /// Takes a name away, with all below it; other names of the same file stay. A path that is not there is no mistake.
    pub fn remove(&mut self, path: &TreePath<'_>) {
        let Some((name, parents)) = path.names().split_last() else { return };
        let Some(parent) = self.walk(parents) else { return };
        if let Some(node) = self.nodes.get_mut(parent.0) {
            node.children.remove(name);
        }
        if let Some(names) = self.hidden.get_mut(&parent) {
            names.remove(*name);
        }
    }

    /// Takes away all that is in the directory at `path`, if there is one.
    pub fn clear(&mut self, path: &TreePath<'_>) {
        let Some(directory) = self.walk(path.names()) else { return };
        if let Some(node) = self.nodes.get_mut(directory.0) {
            node.children = Children::default();
        }
        self.hidden.remove(&directory);
    }

    /// The node at a path, if it was inserted.
    #[must_use]
    pub fn find(&self, path: &TreePath<'_>) -> Option<NodeRef> {
        self.walk(path.names())
    }

    /// What kind of node is at a path.
    #[must_use]
    pub fn kind(&self, path: &TreePath<'_>) -> Option<Kind> {
        Some(self.nodes.get(self.find(path)?.0)?.content.kind())
    }

    fn walk(&self, names: &[&[u8]]) -> Option<NodeRef> {
        names.iter().try_fold(ROOT, |node, name| self.nodes.get(node.0)?.children.get(name))
    }

    /// Numbers the nodes and writes the index.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past what an index can hold.
    pub fn finish(self) -> Result<Index> {
        self.finish_ordered().map(|(index, _)| index)
    }

    /// The same, with the nodes in the order of their inode numbers.
    pub(crate) fn finish_ordered(self) -> Result<(Index, Vec<NodeRef>)> {
        let mut numbers = vec![0u32; self.nodes.len()];
        let mut links = vec![0u32; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        order.push(ROOT);
        let mut encoder = Encoder::with_room_for(self.nodes.len());
        set(&mut numbers, ROOT, 1);
        // The order is the queue of a breadth-first walk, too. A directory is numbered before any of its names is met.
        let mut place = 0;
        while let Some(&directory) = order.get(place) {
            place += 1;
            let Some(node) = self.nodes.get(directory.0) else { continue };
            if !node.content.kind().is_directory() {
                continue;
            }
            let number = numbers.get(directory.0).copied().unwrap_or(0);
            let mut subdirectories = 0u32;
            for (name, child) in node.children.iter() {
                let kind = self.nodes.get(child.0).map(|node| node.content.kind());
                let mut child_number = numbers.get(child.0).copied().unwrap_or(0);
                if child_number == 0 {
                    order.push(child);
                    child_number = u32::try_from(order.len()).map_err(|_| Error::TooLarge("files"))?;
                    set(&mut numbers, child, child_number);
                }
                if kind.is_some_and(Kind::is_directory) {
                    subdirectories = subdirectories.saturating_add(1);
                } else if let Some(links) = links.get_mut(child.0) {
                    *links = links.saturating_add(1);
                }
                encoder.name(number, child_number, name)?;
            }
            set(&mut links, directory, subdirectories.saturating_add(2));
        }
        for node in &order {
            let Some(Node { meta, content, .. }) = self.nodes.get(node.0) else { continue };
            encoder.inode(meta, content, links.get(node.0).copied().unwrap_or(1))?;
        }
        Ok((Index::trusted(encoder.finish()), order))
    }

    fn set_root(&mut self, meta: Meta, content: &Content) -> Result<()> {
        if !matches!(content, Content::Directory { .. }) {
            return Err(Error::entry(b"/", "the root must be a directory"));
        }
        self.node_mut(ROOT)?.meta = meta;
        Ok(())
    }

    fn directory_at(&mut self, names: &[&[u8]]) -> Result<NodeRef> {
        let mut at = ROOT;
        for name in names {
            let known = self.node_mut(at)?.children.get(name);
            at = match known {
                Some(child) if self.node_mut(child)?.content.kind().is_directory() => child,
                Some(child) if self.node_mut(child)?.content == Content::Whiteout => {
                    let (meta, content) = (Meta::implied_directory(), Content::Directory { opaque: true });
                    self.place(at, name, meta, content)?
                }
                Some(_) => {
                    return Err(Error::entry(&names.join(&b'/'), "the path runs through a file or a link"));
                }
                None => {
                    let child = self.push(Node::directory(Meta::implied_directory()));
                    self.node_mut(at)?.children.insert(name, child);
                    child
                }
            };
        }
        Ok(at)
    }

    /// The same, for a name that is a name and nothing else.
    pub(crate) fn place(
        &mut self,
        parent: NodeRef,
        name: &[u8],
        meta: Meta,
        mut content: Content,
    ) -> Result<NodeRef> {
        if let Some(there) = self.node_mut(parent)?.children.get(name) {
            let old = self.node_mut(there)?;
            match (&mut old.content, &mut content) {
                (Content::Directory { opaque: was }, Content::Directory { opaque: is }) => {
                    *was |= *is;
                    old.meta = meta;
                    return Ok(there);
                }
                (Content::Directory { opaque }, Content::Whiteout) => {
                    *opaque = true;
                    return Ok(there);
                }
                (Content::Whiteout, Content::Whiteout) => return Ok(there),
                (_, Content::Whiteout) => {
                    self.remember_whiteout(parent, name);
                    return Ok(there);
                }
                (Content::Whiteout, Content::Directory { opaque }) => *opaque = true,
                (_, Content::Directory { opaque }) => {
                    *opaque |= self.hidden.get(&parent).is_some_and(|names| names.contains(name));
                }
                (old, _) if old.hides_what_is_below() => self.remember_whiteout(parent, name),
                _ => {}
            }
        }
        let child = self.push(Node { meta, content, children: Children::default() });
        self.node_mut(parent)?.children.insert(name, child);
        Ok(child)
    }

    fn remember_whiteout(&mut self, parent: NodeRef, name: &[u8]) {
        self.hidden.entry(parent).or_default().insert(name.into());
    }

    fn push(&mut self, node: Node) -> NodeRef {
        self.nodes.push(node);
        NodeRef(self.nodes.len() - 1)
    }

    fn node_mut(&mut self, node: NodeRef) -> Result<&mut Node> {
        self.nodes.get_mut(node.0).ok_or(Error::TooLarge("files"))
    }
}

/// Whether a path runs through what aufs kept for itself (`.wh..wh.plnk`), and is left out. Nobody else has a path through
/// a whiteout's name.
pub(crate) fn is_aufs_own(parents: &[&[u8]]) -> Result<bool> {
    let Some(mark) = parents.iter().find(|name| name.starts_with(b".wh.")) else { return Ok(false) };
    if mark.starts_with(b".wh..wh.") {
        return Ok(true);
    }
    Err(Error::entry(&parents.join(&b'/'), "the path runs through a whiteout"))
}

fn set(numbers: &mut [u32], node: NodeRef, value: u32) {
    if let Some(number) = numbers.get_mut(node.0) {
        *number = value;
    }
}
