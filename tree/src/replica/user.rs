//! What of a tree a user may have who is not root: his own files with their bytes, modes and times.

use std::sync::Arc;

use crate::build::{IndexBuilder, NodeRef};
use crate::disk::{Lack, Lacks};
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};
use crate::node::{Content, Meta};

/// The tree as this user and group may have it, and what is left out of it: other owners, devices, attributes that are root's.
///
/// # Errors
/// [`Error::TooLarge`] past what an index can hold.
pub fn as_far_as(uid: u32, gid: u32, index: &Index) -> Result<(Arc<Index>, Lacks)> {
    let (mut builder, mut lacks) = (IndexBuilder::new(), Lacks::default());
    let mut made: Vec<Option<NodeRef>> = vec![None; index.inodes() as usize + 1];
    let root = index.inode(ROOT).map(|inode| inode.meta()).unwrap_or_default();
    builder.describe_root(own(root, (uid, gid), b"", &mut lacks))?;
    let mut todo = vec![(ROOT, IndexBuilder::root(), Vec::new())];
    while let Some((directory, there, path)) = todo.pop() {
        let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            let Some(inode) = index.inode(entry.inode) else { continue };
            let here = if path.is_empty() {
                entry.name.to_vec()
            } else {
                [path.as_slice(), b"/", entry.name].concat()
            };
            if let Some(node) = made.get(entry.inode as usize).copied().flatten() {
                builder.link_in(there, entry.name, node)?;
                continue;
            }
            let content = inode.content();
            if matches!(content, Content::Character(..) | Content::Block(..)) {
                lacks.note(Lack::Device, &here);
                continue;
            }
            let is_directory = inode.kind().is_directory();
            let node = builder.place(
                there,
                entry.name,
                own(inode.meta(), (uid, gid), &here, &mut lacks),
                content,
            )?;
            *made.get_mut(entry.inode as usize).ok_or(Error::TooLarge("files"))? = Some(node);
            if is_directory {
                todo.push((entry.inode, node, here));
            }
        }
    }
    Ok((Arc::new(builder.finish()?), lacks))
}

fn own(mut meta: Meta, (uid, gid): (u32, u32), path: &[u8], lacks: &mut Lacks) -> Meta {
    if (meta.uid, meta.gid) != (uid, gid) {
        (meta.uid, meta.gid) = (uid, gid);
        lacks.note(Lack::Owner, path);
    }
    let all = meta.xattrs.len();
    meta.xattrs.retain(|(name, _)| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"));
    if meta.xattrs.len() != all {
        lacks.note(Lack::Attribute, path);
    }
    meta
}
