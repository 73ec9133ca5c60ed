//! Kernel, initrd and modules of one profile's tree, as a layer over another tree that has none: an application's image.
//!
//! All three come from one view, so they match. The layer's `/boot` and its modules hide what the tree below has of them.
//! Modules go where the tree below looks for them: `/lib` is a directory in some, and a link to `/usr/lib` in others.

use super::made::Made;
use crate::error::{Error, Result};
use oneroot_bootconf::boot_files::{BOOT, INITRD_LINKS, KERNEL_LINKS};
use oneroot_ids::GenerationId;
use oneroot_tree::node::{Content, Meta, TreePath};
use oneroot_tree::{Stage, View, Views};

/// Layers remembered.
const MOST_REMEMBERED: usize = 1_000;

/// Layers made so far, by the lender's generations and those that it lends to.
pub struct Kernels(Made<(Vec<GenerationId>, Vec<GenerationId>)>);

impl Default for Kernels {
    fn default() -> Self {
        Self(Made::at_most(MOST_REMEMBERED))
    }
}

impl Kernels {
    /// The layer that lends `below` the kernel of `lender`; both are stacks, bottom first. Blocks on the disk.
    pub fn borrowed(
        &self,
        views: &Views,
        lender: &[GenerationId],
        below: &[GenerationId],
    ) -> Result<GenerationId> {
        let key = (lender.to_vec(), below.to_vec());
        self.0.or_make(views.store(), key, |(lender, below)| {
            let view = |stack: &[GenerationId]| views.load(views.store().put_stack(stack)?);
            let lender = view(lender).map_err(Error::Lender)?;
            let below = if below.is_empty() { None } else { Some(view(below)?) };
            let mut stage = Stage::begin(views.store(), |_| {})?;
            lay(&mut stage, &lender, below.as_deref())?;
            Ok(stage.finish()?.generation)
        })
    }
}

fn lay(stage: &mut Stage<'_>, lender: &View, below: Option<&View>) -> Result<()> {
    let lib = below.map_or_else(|| b"usr/lib".to_vec(), lib_of);
    let modules = [lib.as_slice(), b"/modules"].concat();
    let boot = BOOT.trim_start_matches('/').as_bytes();
    for (from, to) in [(BOOT.as_bytes(), boot), (b"/lib/modules", &modules)] {
        let Some(node) = lender.follow(from) else { continue };
        keep_the_way(stage, below, to)?;
        stage.copy(lender, node, to)?;
        let meta = lender.inode(node).map(|inode| inode.meta()).unwrap_or_default();
        // Hides the tree's own kernels and modules: which one boots must not depend on which is newer.
        stage.insert(&TreePath::parse(to)?, meta, Content::Directory { opaque: true })?;
    }
    // Firmware is the devices', not the kernel's: what the tree has of it stays.
    if let Some(node) = lender.follow(b"/lib/firmware") {
        let to = [lib.as_slice(), b"/firmware"].concat();
        keep_the_way(stage, below, &to)?;
        stage.copy(lender, node, &to)?;
    }
    let ([kernel, _], [initrd, ..]) = (KERNEL_LINKS, INITRD_LINKS);
    for link in [kernel, initrd].map(|link| link.trim_start_matches('/').as_bytes()) {
        let path = TreePath::parse(link)?;
        match lender.resolve(&path) {
            Some(node) => stage.copy(lender, node, link)?,
            None if below.is_some_and(|below| below.resolve(&path).is_some()) => {
                stage.insert(&path, Meta::default(), Content::Whiteout)?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Where a tree's `/lib` really is.
fn lib_of(view: &View) -> Vec<u8> {
    let lib = TreePath::parse(b"lib").ok().and_then(|path| view.resolve(&path));
    let target = lib.and_then(|lib| view.target(lib)).and_then(|text| TreePath::parse(text).ok());
    let led =
        target.filter(|path| view.resolve(path).is_some_and(|node| view.entries(node).next().is_some()));
    led.map_or_else(|| b"lib".to_vec(), |path| path.names().join(&b'/'))
}

/// A merged directory is the upper layer's, so the directories on the way have here what they have below.
fn keep_the_way(stage: &mut Stage<'_>, below: Option<&View>, to: &[u8]) -> Result<()> {
    let Some(below) = below else { return Ok(()) };
    let to = TreePath::parse(to)?;
    for depth in 0..to.names().len() {
        let way = to.names().get(..depth).unwrap_or_default().join(&b'/');
        let way = TreePath::parse(&way)?;
        let there = below.resolve(&way).and_then(|node| below.inode(node));
        if let Some(inode) = there.filter(|inode| inode.kind().is_directory()) {
            stage.insert(&way, inode.meta(), Content::Directory { opaque: false })?;
        }
    }
    Ok(())
}
