//! The way back: a view as a tar archive or a directory, as `cp -a` and `tar` would have made them.
//!
//! What is exported and staged again has the same generation, but for sockets, which an archive can't hold.

mod archive;
mod directory;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use archive::archive;
pub use directory::{Exported, directory};

use crate::node::{Kind, Meta};
use crate::stage::Progress;
use crate::view::{Node, View};
use oneroot_ids::ObjectId;

/// One node on its way out.
struct Item<'v> {
    path: Vec<u8>,
    node: Node,
    kind: Kind,
    meta: Meta,
    rdev: (u32, u32),
    target: Option<&'v [u8]>,
    /// Object and size of a regular file.
    content: Option<(ObjectId, u64)>,
    /// The name under which a file with several names has come already.
    first: Option<Vec<u8>>,
}

/// The nodes of a view, the root first, with hard links found.
fn items(view: &View) -> impl Iterator<Item = Item<'_>> {
    let mut names: HashMap<Node, Vec<u8>> = HashMap::new();
    std::iter::once((Vec::new(), view.root())).chain(view.walk(view.root())).filter_map(
        move |(path, node)| {
            let inode = view.inode(node)?;
            let linked = !inode.kind().is_directory() && inode.nlink() > 1;
            let first = linked.then(|| names.get(&node).cloned()).flatten();
            if linked && first.is_none() {
                names.insert(node, path.clone());
            }
            Some(Item {
                path,
                node,
                kind: inode.kind(),
                meta: inode.meta(),
                rdev: inode.rdev(),
                target: inode.target(),
                content: inode.object().map(|object| (object, inode.size())),
                first,
            })
        },
    )
}

/// Counts an item, and tells how far it is.
fn count(progress: &mut Progress, item: &Item<'_>, report: &mut dyn FnMut(Progress)) {
    progress.entries += 1;
    progress.bytes += item.content.filter(|_| item.first.is_none()).map_or(0, |(_, size)| size);
    if progress.entries.is_multiple_of(64) {
        report(*progress);
    }
}
