//! A whole tree, one node after the other: for what copies a view or a part of it elsewhere.

use std::collections::HashMap;

use super::{Node, View};
use crate::build::IndexBuilder;
use crate::error::Result;
use crate::node::{Content, Kind, TreePath};

/// Nodes below a directory, in the order of a depth-first walk: a directory before what it holds, names in byte order.
pub struct Walk<'v> {
    view: &'v View,
    todo: Vec<(Vec<u8>, Node)>,
}

impl Iterator for Walk<'_> {
    /// The path below where the walk began, without a leading `/`, and the node.
    type Item = (Vec<u8>, Node);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.todo.pop()?;
        if self.view.inode(node).is_some_and(|inode| inode.kind().is_directory()) {
            self.push(&path, node);
        }
        Some((path, node))
    }
}

impl Walk<'_> {
    fn push(&mut self, path: &[u8], directory: Node) {
        let begin = self.todo.len();
        for (name, node) in self.view.entries(directory) {
            let path = if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') };
            self.todo.push((path, node));
        }
        if let Some(added) = self.todo.get_mut(begin..) {
            added.reverse();
        }
    }
}

impl View {
    /// All that lies below a directory, without the directory itself.
    #[must_use]
    pub fn walk(&self, directory: Node) -> Walk<'_> {
        let mut walk = Walk { view: self, todo: Vec::new() };
        walk.push(b"", directory);
        walk
    }

    /// Copies a node, and all that lies below it, to `to` in a new tree. Hard links between them stay.
    ///
    /// # Errors
    /// [`crate::Error::Entry`] when `to` runs through something that is no directory.
    pub fn copy(&self, from: Node, to: &[u8], into: &mut IndexBuilder) -> Result<()> {
        self.copy_one(from, to, into)?;
        let mut first: HashMap<Node, Vec<u8>> = HashMap::new();
        let directory = self.inode(from).is_some_and(|inode| inode.kind().is_directory());
        for (path, node) in directory.then(|| self.walk(from)).into_iter().flatten() {
            let path = [to, path.as_slice()].join(&b'/');
            let linked =
                self.inode(node).is_some_and(|inode| !inode.kind().is_directory() && inode.nlink() > 1);
            if linked {
                if let Some(first) = first.get(&node) {
                    into.link(&TreePath::parse(&path)?, &TreePath::parse(first)?)?;
                    continue;
                }
                first.insert(node, path.clone());
            }
            self.copy_one(node, &path, into)?;
        }
        Ok(())
    }

    fn copy_one(&self, node: Node, to: &[u8], into: &mut IndexBuilder) -> Result<()> {
        let Some(inode) = self.inode(node) else { return Ok(()) };
        let content = match inode.kind() {
            // What was opaque in its layer has hidden what it had to; in the view it is a directory like any other.
            Kind::Directory | Kind::OpaqueDirectory => Content::Directory { opaque: false },
            _ => inode.content(),
        };
        into.insert(&TreePath::parse(to)?, inode.meta(), content)
    }
}
