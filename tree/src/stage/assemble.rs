//! A directory's listings become nodes of the tree that is being built.
//!
//! Files that must be read have their places before anybody has read them: that goes on at the same time.

use std::collections::HashMap;

use super::archive::{opaque, without_overlay_marks};
use super::walk::{Entry, Listing, Unchanged, Unread};
use crate::build::{IndexBuilder, NodeRef};
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};
use crate::store::stat_cache::{Mark, StatCache};
use oneroot_ids::ObjectId;

/// What a file is until it has been read.
const UNREAD: Content = Content::Regular { object: ObjectId([0; 32]), size: 0 };

/// Puts the nodes of one directory tree into a builder.
pub(super) struct Assembly<'p> {
    builder: &'p mut IndexBuilder,
    /// Whose everything is, where the source does not say.
    owner: Option<(u32, u32)>,
    /// Whether what means something in layers is taken for what it is on a disk.
    as_is: bool,
    seen: Option<&'p StatCache>,
    device: u64,
    /// By device and inode number.
    linked: HashMap<(u64, u64), NodeRef>,
    /// The marks of files that are as they were.
    pub marks: Vec<(NodeRef, Mark)>,
    /// The places of the files that are read meanwhile, with their numbers among those.
    pub unread: Vec<(NodeRef, u32)>,
}

impl<'p> Assembly<'p> {
    pub(super) fn new(
        builder: &'p mut IndexBuilder,
        owner: Option<(u32, u32)>,
        device: u64,
        seen: Option<&'p StatCache>,
    ) -> Self {
        let linked = HashMap::new();
        Self { builder, owner, as_is: false, seen, device, linked, marks: Vec::new(), unread: Vec::new() }
    }

    /// Takes every name, device and attribute for what it is on a disk.
    pub(super) fn taken_as_is(mut self) -> Self {
        self.as_is = true;
        self
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
                    Entry::Directory(below) => {
                        let Some(meta) = metas.get(below) else { continue };
                        let content = Content::Directory { opaque: !self.as_is && opaque(meta) };
                        let node = self.put(parent, name, meta.clone(), content)?;
                        if let Some(place) = nodes.get_mut(below) {
                            *place = node;
                        }
                    }
                    Entry::Node(node, linked) => {
                        if !self.link(parent, name, linked)? {
                            let node = self.put(parent, name, node.0, node.1)?;
                            self.linked.extend(linked.zip(node));
                        }
                    }
                    Entry::Unchanged(file) => self.known(parent, name, &file)?,
                    Entry::Unread(Unread { linked, number }) => {
                        if self.link(parent, name, linked)? {
                            continue;
                        }
                        let number = number.ok_or(Error::Mistake("a file was not read"))?;
                        let node = self.put(parent, name, Meta::default(), UNREAD)?;
                        self.unread.extend(node.map(|node| (node, number)));
                        self.linked.extend(linked.zip(node));
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

    fn known(&mut self, parent: NodeRef, name: &[u8], file: &Unchanged) -> Result<()> {
        let known = self.seen.and_then(|seen| seen.inode(file.inode));
        let (inode, mark) = known.ok_or(Error::Mistake("a file that was known is not"))?;
        let linked = file.linked.map(|number| (self.device, number));
        if self.link(parent, name, linked)? {
            return Ok(());
        }
        let meta = Meta { mode: file.mode, uid: file.uid, gid: file.gid, ..inode.meta() };
        let node = self.put(parent, name, meta, inode.content())?;
        self.marks.extend(node.map(|node| (node, mark)));
        self.linked.extend(linked.zip(node));
        Ok(())
    }

    /// Gives a file that has its place already another name; false for one that has none yet.
    fn link(&mut self, parent: NodeRef, name: &[u8], linked: Option<(u64, u64)>) -> Result<bool> {
        match linked.and_then(|key| self.linked.get(&key)) {
            Some(first) => self.builder.link_in(parent, name, *first).map(|()| true),
            None => Ok(false),
        }
    }

    /// Adds one name in a directory that is there.
    fn put(&mut self, parent: NodeRef, name: &[u8], meta: Meta, content: Content) -> Result<Option<NodeRef>> {
        let meta = self.owned(meta);
        if self.as_is {
            return self.builder.place(parent, name, meta, content).map(Some);
        }
        self.builder.insert_in(parent, name, meta, content)
    }

    fn owned(&self, meta: Meta) -> Meta {
        let mut meta = if self.as_is { meta } else { without_overlay_marks(meta) };
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        meta
    }
}
