//! A view as one index: what its layers look like together, for hosts that are not to know what they hide.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Node, View};
use crate::build::{IndexBuilder, NodeRef};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::node::{Content, Kind};

impl View {
    /// The index that staging what this view looks like would give: that of its one layer, where it has one that hides nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past what an index can hold.
    pub fn flat(&self) -> Result<Arc<Index>> {
        let index = &self.top.index;
        let opaque = || {
            let inodes = (1..=index.inodes()).filter_map(|number| index.inode(number));
            inodes.into_iter().any(|inode| inode.kind() == Kind::OpaqueDirectory)
        };
        if self.top.place() == 0 && index.whiteouts() == 0 && !opaque() {
            return Ok(index.clone());
        }
        let mut builder = IndexBuilder::new();
        let (mut known, mut todo) =
            (HashMap::<Node, NodeRef>::new(), vec![(self.root(), IndexBuilder::root())]);
        if let Some(root) = self.inode(self.root()) {
            builder.describe_root(root.meta())?;
        }
        while let Some((directory, there)) = todo.pop() {
            for (name, node) in self.entries(directory) {
                let Some(inode) = self.inode(node) else { continue };
                if let Some(first) = known.get(&node) {
                    builder.link_in(there, name, *first)?;
                    continue;
                }
                let is_directory = inode.kind().is_directory();
                // What was opaque in its layer has hidden what it had to.
                let content =
                    if is_directory { Content::Directory { opaque: false } } else { inode.content() };
                let made = builder.insert_in(there, name, inode.meta(), content)?;
                let made = made.ok_or(Error::Mistake("a view shows a whiteout"))?;
                if is_directory {
                    todo.push((node, made));
                } else if inode.nlink() > 1 {
                    known.insert(node, made);
                }
            }
        }
        builder.finish().map(Arc::new)
    }
}
