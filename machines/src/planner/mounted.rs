//! Another profile's tree on a directory of a machine's own view: a profile that is mounted (docs/decisions/0022).
//!
//! To the machine it is a part of its root: pinned with it, read through the same mount, and no server is asked for another. In
//! the store it is a generation whose names lie below that directory, made once for all machines that mount it there.

use super::made::Made;
use crate::error::{Error, Result};
use oneroot_ids::GenerationId;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, View, Views};

/// Layers remembered.
const MOST_REMEMBERED: usize = 1_000;

/// What one is made of: the profile's stack, where it is mounted, and the directories on the way there.
type From = (Vec<GenerationId>, String, Vec<Meta>);

/// Layers made so far.
pub struct MountedTrees(Made<From>);

impl Default for MountedTrees {
    fn default() -> Self {
        Self(Made::at_most(MOST_REMEMBERED))
    }
}

impl MountedTrees {
    /// The layer that has the tree of `lender`, a stack, on the directory `at` of what is `below`. Blocks on the disk.
    pub fn mounted(
        &self,
        views: &Views,
        lender: &[GenerationId],
        at: &str,
        below: Option<&View>,
    ) -> Result<GenerationId> {
        let way = way(below, at)?;
        self.0.or_make(views.store(), &(lender.to_vec(), at.to_owned(), way), |(lender, at, way)| {
            let from = views.store().put_stack(lender).and_then(|stack| views.load(stack));
            let from = from.map_err(|cause| Error::NotMounted { at: at.clone(), cause })?;
            let mut stage = Stage::begin(views.store(), |_| {})?;
            let path = TreePath::parse(at.trim_start_matches('/').as_bytes())?;
            for (depth, meta) in way.iter().enumerate() {
                let above = above(&path, depth);
                stage.insert(
                    &TreePath::parse(&above)?,
                    meta.clone(),
                    Content::Directory { opaque: false },
                )?;
            }
            let root = from.root();
            stage.copy(&from, root, at.trim_start_matches('/').as_bytes())?;
            // A mount hides what is below it.
            let meta = from.inode(root).map(|inode| inode.meta()).unwrap_or_default();
            stage.insert(&path, meta, Content::Directory { opaque: true })?;
            Ok(stage.finish()?.generation)
        })
    }
}

/// The first names of a path.
fn above(path: &TreePath<'_>, depth: usize) -> Vec<u8> {
    path.names().get(..depth).unwrap_or_default().join(&b'/')
}

/// The directories above a place, from the root on, as they are below: a merged directory is the upper layer's. What is not there yet
/// is made as a mount's own directory would be.
fn way(below: Option<&View>, at: &str) -> Result<Vec<Meta>> {
    let path = TreePath::parse(at.trim_start_matches('/').as_bytes())?;
    let mut way = Vec::new();
    for depth in 0..=path.names().len() {
        let name = above(&path, depth);
        let parsed = TreePath::parse(&name)?;
        let node = below.and_then(|below| Some((below, below.resolve(&parsed)?)));
        let inode = node.and_then(|(below, node)| below.inode(node));
        if let Some(inode) = &inode
            && !inode.kind().is_directory()
        {
            let other = format!("/{}", String::from_utf8_lossy(&name));
            return Err(Error::NoPlaceForMount { at: at.to_owned(), other });
        }
        if depth < path.names().len() {
            way.push(inode.map_or_else(Meta::implied_directory, |inode| inode.meta()));
        }
    }
    Ok(way)
}
