//! What of a tree a user may have who is not root: his own files with their bytes, modes and times. What he could not read himself
//! could not be compared the next time, so he may read all of it.

use std::sync::Arc;

use super::joined;
use crate::build::{IndexBuilder, NodeRef};
use crate::disk::{Lack, Lacks};
use crate::error::{Error, Result};
use crate::index::{Index, ROOT};
use crate::node::{Content, Kind, Meta};

/// setuid and setgid.
const SET_ID: u16 = 0o6000;

/// The tree as this user and group may have it, and what is left out of it: other owners, devices, attributes that are root's.
///
/// # Errors
/// [`Error::TooLarge`] past what an index can hold.
pub fn as_far_as(uid: u32, gid: u32, index: &Index) -> Result<(Arc<Index>, Lacks)> {
    let (mut builder, mut lacks) = (IndexBuilder::new(), Lacks::default());
    let mut made: Vec<Option<NodeRef>> = vec![None; index.inodes() as usize + 1];
    let root = index.inode(ROOT).map(|inode| inode.meta()).unwrap_or_default();
    let mut root = own(root, Kind::Directory, (uid, gid), b"", &mut lacks);
    read_by_himself(&mut root, Kind::Directory, b"", &mut lacks);
    builder.describe_root(root)?;
    let mut todo = vec![(ROOT, IndexBuilder::root(), Vec::new())];
    while let Some((directory, there, path)) = todo.pop() {
        let (first, count) = index.inode(directory).map_or((0, 0), |inode| inode.run());
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            let Some(inode) = index.inode(entry.inode) else { continue };
            let here = joined(&path, entry.name);
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
            let mut meta = own(inode.meta(), inode.kind(), (uid, gid), &here, &mut lacks);
            read_by_himself(&mut meta, inode.kind(), &here, &mut lacks);
            let node = builder.place(there, entry.name, meta, content)?;
            *made.get_mut(entry.inode as usize).ok_or(Error::TooLarge("files"))? = Some(node);
            if is_directory {
                todo.push((entry.inode, node, here));
            }
        }
    }
    Ok((Arc::new(builder.finish()?), lacks))
}

fn read_by_himself(meta: &mut Meta, kind: Kind, path: &[u8], lacks: &mut Lacks) {
    let bits = match kind {
        Kind::Directory => 0o700,
        Kind::Regular => 0o400,
        _ => 0,
    };
    if meta.mode & bits != bits {
        meta.mode |= bits;
        lacks.note(Lack::Mode, path);
    }
}

fn own(mut meta: Meta, kind: Kind, (uid, gid): (u32, u32), path: &[u8], lacks: &mut Lacks) -> Meta {
    if (meta.uid, meta.gid) != (uid, gid) {
        (meta.uid, meta.gid) = (uid, gid);
        lacks.note(Lack::Owner, path);
        // A program of root's that was to run as root must not run as whoever has copied it.
        if kind == Kind::Regular && meta.mode & SET_ID != 0 {
            meta.mode &= !SET_ID;
            lacks.note(Lack::Mode, path);
        }
    }
    let all = meta.xattrs.len();
    meta.xattrs.retain(|(name, _)| name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_"));
    if meta.xattrs.len() != all {
        lacks.note(Lack::Attribute, path);
    }
    meta
}
