//! A directory's listings become nodes of the tree that is being built.
//!
//! Files that must be read have their places before anybody has read them: that goes on at the same time.

use std::collections::HashMap;

use super::archive::{opaque, without_overlay_marks};
use super::seen::{Mark, Seen};
use super::walk::{Known, Listing, What};
use crate::build::{IndexBuilder, NodeRef};
use crate::error::Result;
use crate::id::ObjectId;
use crate::node::{Content, Meta, TreePath};

/// What a file is until it has been read.
const UNREAD: Content = Content::Regular { object: ObjectId([0; 32]), size: 0 };

/// Puts the nodes of one directory tree into a builder.
pub(super) struct Planting<'p> {
    builder: &'p mut IndexBuilder,
    /// Whose everything is, where the source does not say.
    owner: Option<(u32, u32)>,
    seen: Option<&'p Seen>,
    linked: HashMap<u64, NodeRef>,
    /// The marks of files that are as they were.
    pub marks: Vec<(NodeRef, Mark)>,
    /// The places of the files that are read meanwhile, in the order of the listings. One that stands for something else
    /// than a file has none.
    pub unread: Vec<Option<NodeRef>>,
}

impl<'p> Planting<'p> {
    pub(super) fn new(
        builder: &'p mut IndexBuilder,
        owner: Option<(u32, u32)>,
        seen: Option<&'p Seen>,
    ) -> Self {
        Self { builder, owner, seen, linked: HashMap::new(), marks: Vec::new(), unread: Vec::new() }
    }

    /// Puts all in place. A listing's number is its place in the list.
    pub(super) fn plant(&mut self, mut listings: Vec<Listing>) -> Result<()> {
        let metas: Vec<Meta> = listings.iter_mut().map(|listing| std::mem::take(&mut listing.meta)).collect();
        let mut nodes: Vec<Option<NodeRef>> = vec![None; listings.len()];
        if let (Some(node), Some(meta)) = (nodes.first_mut(), metas.first()) {
            *node = Some(IndexBuilder::root());
            let meta = self.owned(meta.clone());
            self.builder.insert(&TreePath::default(), meta, Content::Directory { opaque: false })?;
        }
        for (number, listing) in listings.into_iter().enumerate() {
            let Some(parent) = nodes.get(number).copied().flatten() else { continue };
            for (name, what) in listing.names.iter().zip(listing.entries) {
                match what {
                    What::Directory(below) => {
                        let Some(meta) = metas.get(below) else { continue };
                        let content = Content::Directory { opaque: opaque(meta) };
                        let node = self.put(parent, name, meta.clone(), content)?;
                        if let Some(place) = nodes.get_mut(below) {
                            *place = node;
                        }
                    }
                    What::Node(node) => drop(self.put(parent, name, node.0, node.1)?),
                    What::Known(file) => self.known(parent, name, &file)?,
                    What::Unread(linked) => {
                        if !self.link(parent, name, linked)? {
                            let node = self.put(parent, name, Meta::default(), UNREAD)?;
                            self.unread.push(node);
                            self.linked.extend(linked.zip(node));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What a file that had its place turned out to be.
    pub(super) fn grown(
        &mut self,
        node: NodeRef,
        meta: Meta,
        content: Content,
        mark: Option<Mark>,
    ) -> Result<()> {
        let meta = self.owned(meta);
        self.marks.extend(mark.map(|mark| (node, mark)));
        self.builder.replace(node, meta, content)
    }

    fn known(&mut self, parent: NodeRef, name: &[u8], file: &Known) -> Result<()> {
        let Some((inode, mark)) = self.seen.and_then(|seen| seen.inode(file.inode)) else { return Ok(()) };
        if self.link(parent, name, file.linked)? {
            return Ok(());
        }
        let meta = Meta { mode: file.mode, uid: file.uid, gid: file.gid, ..inode.meta() };
        let node = self.put(parent, name, meta, inode.content())?;
        self.marks.extend(node.map(|node| (node, mark)));
        self.linked.extend(file.linked.zip(node));
        Ok(())
    }

    /// Gives a file that has its place already another name; false for one that has none yet.
    fn link(&mut self, parent: NodeRef, name: &[u8], linked: Option<u64>) -> Result<bool> {
        match linked.and_then(|number| self.linked.get(&number)) {
            Some(first) => self.builder.link_in(parent, name, *first).map(|()| true),
            None => Ok(false),
        }
    }

    /// Adds one name in a directory that is there.
    fn put(&mut self, parent: NodeRef, name: &[u8], meta: Meta, content: Content) -> Result<Option<NodeRef>> {
        let meta = self.owned(meta);
        self.builder.insert_in(parent, name, meta, content)
    }

    fn owned(&self, meta: Meta) -> Meta {
        let mut meta = without_overlay_marks(meta);
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        meta
    }
}
