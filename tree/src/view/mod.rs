//! A view: what a stack of layers looks like as one tree. Computed from the indexes alone, in memory, without a lock.

mod flat;
mod level;
mod names;
mod provenance;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

pub use level::{Level, Node};
pub use provenance::{Origin, Presence};
pub use walk::Walk;

use crate::index::{Inode, ROOT};
use crate::node::{Kind, TreePath};
use oneroot_ids::{ObjectId, ViewId};

/// A directory's size as it is served. Its real one is the host's business and would differ between two stagings.
const DIRECTORY_SIZE: u64 = 4096;

/// The merged tree of a stack.
pub struct View {
    id: ViewId,
    top: Arc<Level>,
}

/// What a node looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Kind; never [`Kind::Whiteout`] or [`Kind::OpaqueDirectory`].
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Names of a file in its layer; 2 and the subdirectories of a directory.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file or of a link's text; 4096 for a directory.
    pub size: u64,
    /// Device number: major, minor.
    pub rdev: (u32, u32),
    /// Unique in the view, dense, the same on every server: the inode counts of the layers below and the inode number.
    pub fileid: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
}

impl View {
    /// The view of a stack whose topmost level this is.
    #[must_use]
    pub fn new(id: ViewId, top: Arc<Level>) -> Self {
        Self { id, top }
    }

    /// Its id: the hash of the stack.
    #[must_use]
    pub fn id(&self) -> ViewId {
        self.id
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Node {
        Node { layer: self.top.place(), inode: ROOT }
    }

    /// Number of inodes in all layers: an upper bound of what can be seen, and the highest file id.
    #[must_use]
    pub fn inodes(&self) -> u64 {
        self.top.fileid_base + u64::from(self.top.index.inodes())
    }

    /// Bytes in the regular files of all layers, hidden ones too: what `df` shows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.top.bytes
    }

    /// Number of merged directories over all levels.
    #[must_use]
    pub fn spine_len(&self) -> usize {
        self.top.below.iter().map(|level| level.spine_len()).sum::<usize>() + self.top.spine_len()
    }

    /// The inode behind a node, in its layer.
    #[must_use]
    #[inline]
    pub fn inode(&self, node: Node) -> Option<Inode<'_>> {
        self.top.at(node.layer)?.index.inode(node.inode).filter(|inode| inode.kind() != Kind::Whiteout)
    }

    /// What a node looks like; `None` if there is none.
    #[must_use]
    #[inline]
    pub fn stat(&self, node: Node) -> Option<Stat> {
        let level = self.top.at(node.layer)?;
        let inode = self.inode(node)?;
        let directory = inode.kind().is_directory();
        let merged = if directory { level.merged(node.inode) } else { None };
        Some(Stat {
            kind: if directory { Kind::Directory } else { inode.kind() },
            mode: inode.mode(),
            nlink: merged.map_or(inode.nlink(), |merged| merged.subdirectories + 2),
            uid: inode.uid(),
            gid: inode.gid(),
            size: if directory { DIRECTORY_SIZE } else { inode.size() },
            rdev: inode.rdev(),
            fileid: level.fileid_base + u64::from(node.inode),
            mtime: inode.mtime(),
        })
    }

    /// The node that a directory has under this name; not for `.` and `..`.
    #[must_use]
    pub fn lookup(&self, directory: Node, name: &[u8]) -> Option<Node> {
        let level = self.top.at(directory.layer)?;
        let Some(merged) = level.merged(directory.inode) else {
            let entry = level.index.entry(level.index.find(directory.inode, name)?)?;
            return Some(Node { layer: directory.layer, inode: entry.inode });
        };
        let names = level.names_of(merged);
        let from = names.get(names.search(|from| Some(level.entry(from)?.name), name).ok()?)?;
        Some(Node { layer: from.layer, inode: level.entry(from)?.inode })
    }

    /// A directory's entries, in byte order of names; `.` and `..` are not among them.
    pub fn entries(&self, directory: Node) -> impl Iterator<Item = (&[u8], Node)> + '_ {
        self.entries_from(directory, 0)
    }

    /// A directory's entries from this number on, of which the first is 0. A number never changes.
    pub fn entries_from(&self, directory: Node, number: u64) -> impl Iterator<Item = (&[u8], Node)> + '_ {
        let begin = u32::try_from(number).unwrap_or(u32::MAX);
        let runs = self.top.at(directory.layer).map(|level| level.names(directory).between(begin, u32::MAX));
        let entries = runs.into_iter().flatten().flat_map(|(from, count)| {
            let index = self.top.at(from.layer).map(|level| &level.index);
            (from.place..from.place.saturating_add(count)).map(move |place| {
                let entry = index?.entry(place)?;
                Some((entry.name, Node { layer: from.layer, inode: entry.inode }))
            })
        });
        // A name that can't be read ends the directory, wherever a caller began.
        entries.map_while(|entry| entry)
    }

    /// The directory that holds a directory; the root's is the root.
    #[must_use]
    pub fn parent(&self, directory: Node) -> Option<Node> {
        let index = &self.top.at(directory.layer)?.index;
        let mut names = Vec::new();
        let mut inode = directory.inode;
        while inode != ROOT {
            let at = index.inode(inode)?;
            names.push(at.name()?);
            // Numbers are given breadth-first, so a way up goes to lower ones. In an index that no builder has made it could go
            // in a circle.
            let parent = at.parent();
            if parent >= inode {
                return None;
            }
            inode = parent;
        }
        // The parent may have a part in a higher layer, which then names it: so down again from the top.
        names.iter().skip(1).rev().try_fold(self.root(), |node, name| self.lookup(node, name))
    }

    /// Follows a path from the root, name by name and without following links.
    #[must_use]
    pub fn resolve(&self, path: &TreePath<'_>) -> Option<Node> {
        path.names().iter().try_fold(self.root(), |node, name| self.lookup(node, name))
    }

    /// The names in a directory, where links lead; none where there is no such directory. What is no text is left out.
    #[must_use]
    pub fn listed(&self, directory: &str) -> Vec<String> {
        let directory = self.follow(directory.as_bytes());
        let is_directory = |node: &Node| self.stat(*node).is_some_and(|stat| stat.kind.is_directory());
        let names = directory.filter(is_directory).into_iter().flat_map(|node| self.entries(node));
        names.filter_map(|(name, _)| std::str::from_utf8(name).ok()).map(str::to_owned).collect()
    }

    /// Follows a path and the symbolic links on it, which are taken from the view's own root; at most 40, as Linux does.
    #[must_use]
    pub fn follow(&self, path: &[u8]) -> Option<Node> {
        let mut links = 0;
        let mut todo: Vec<Vec<u8>> = split_reversed(path);
        let mut trail = vec![self.root()];
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if trail.len() > 1 {
                        trail.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let node = self.lookup(*trail.last()?, &name)?;
            match self.inode(node)?.target() {
                Some(text) => {
                    links += 1;
                    if links > 40 {
                        return None;
                    }
                    if text.starts_with(b"/") {
                        trail.truncate(1);
                    }
                    todo.extend(split_reversed(text));
                }
                None => trail.push(node),
            }
        }
        trail.last().copied()
    }

    /// Text of a symbolic link.
    #[must_use]
    pub fn target(&self, node: Node) -> Option<&[u8]> {
        self.inode(node)?.target()
    }

    /// Content of a regular file.
    #[must_use]
    pub fn object(&self, node: Node) -> Option<ObjectId> {
        self.inode(node)?.object()
    }
}

fn split_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}
