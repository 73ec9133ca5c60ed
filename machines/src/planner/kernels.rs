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
        self.0.or_make(views.store(), &key, |(lender, below)| {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use oneroot_bootconf::asked::{Asked, Catalogue};
    use oneroot_bootconf::assignment::{Assignment, Mapped, Signed};
    use oneroot_bootconf::decision::decide;
    use oneroot_bootconf::facts::Facts;
    use oneroot_bootconf::{Site, load_str};
    use oneroot_ids::{GenerationId, Mac};
    use oneroot_tree::store::{How, Staged};
    use oneroot_tree::{Ref, RefKind, Stage, Store};

    use crate::guest;
    use crate::planner::Planner;
    use crate::planner::renderer::Here;

    const SITE: &str = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
        [[network]]\nsubnet = \"10.0.0.0/24\"\n[profile.debian]\nsource = { directory = \"debian\" }\n\
        [profile.app]\nsource = { directory = \"app\" }\nkernel_from = \"debian\"\n\
        [machine.m]\nmac = \"52:54:00:00:00:0a\"\naddress = \"10.0.0.10\"\nprofile = \"app\"\n";

    fn staged(store: &Arc<Store>, home: &Path, profile: &str, at: u64) -> GenerationId {
        let mut stage = Stage::begin(store, |_| {}).unwrap();
        stage.directory(&home.join(profile)).unwrap();
        let generation = stage.finish().unwrap().generation;
        let name = Ref::new(RefKind::Profile, profile).unwrap();
        store.stage_head(&name, Staged { generation, at, how: How::Staged }).unwrap();
        generation
    }

    #[test]
    fn who_is_assigned_a_generation_of_the_lender_boots_its_kernel_and_nobody_else_does() {
        let home = tempfile::tempdir().unwrap();
        let site = load_str("site.toml", SITE, home.path()).unwrap();
        let store = Store::open(&site.server.store).unwrap();
        let guest = guest::stage(&store, 0).unwrap();
        fs::create_dir_all(home.path().join("app/etc")).unwrap();
        staged(&store, home.path(), "app", 1);
        let boot = home.path().join("debian/boot");
        let generations = ["1", "2"].map(|version| {
            let _ = fs::remove_dir_all(&boot);
            fs::create_dir_all(&boot).unwrap();
            fs::write(boot.join(format!("vmlinuz-{version}")), version).unwrap();
            fs::write(boot.join(format!("initrd.img-{version}")), version).unwrap();
            staged(&store, home.path(), "debian", 1)
        });
        let planner = Planner::new(store, guest, Arc::new(Here));
        let kernel = |site: &Site| {
            let asked = Asked::by("52:54:00:00:00:0a".parse::<Mac>().unwrap());
            let catalogue = Catalogue::of(site);
            let decision = decide(&catalogue, &asked).unwrap().into_profile().unwrap();
            let facts = Facts::of(&catalogue, &decision, &asked);
            planner.stack(home.path(), &decision, &facts).unwrap().loaded.unwrap().kernel
        };
        let assigned = |generation: GenerationId| {
            let signed = Signed { by: "ada".to_owned(), at: 1 };
            let generations = [("debian".to_owned(), generation)].into();
            let assigned = Some(Assignment { generations, ..Assignment::empty(signed) });
            site.with_assigned(&Mapped { assigned, ..Mapped::of("m") })
        };
        assert_eq!(kernel(&site), "/boot/vmlinuz-2");
        assert_eq!(kernel(&assigned(generations[0])), "/boot/vmlinuz-1");
        assert_eq!(kernel(&assigned(generations[1])), "/boot/vmlinuz-2");
        assert_eq!(kernel(&site), "/boot/vmlinuz-2", "what was made for one is no other's");
    }
}
