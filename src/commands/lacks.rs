//! What a profile's tree lacks, so that its machines would not come up, or not as they should: told to who can do
//! something about it, when it is staged and by `check`.

use std::io;
use std::sync::Arc;

use oneroot_bootconf::decision::{Decision, Part};
use oneroot_bootconf::initrd::Initrd;
use oneroot_bootconf::kernels::{self, Loaded, Own};
use oneroot_bootconf::root::Initramfs;
use oneroot_bootconf::{Profile, Site};
use oneroot_ids::ObjectId;
use oneroot_machines::initrds::{self, Programs};
use oneroot_tree::{Store, View, initrd};

use super::host_keys;
use super::over::{self, Over, tree_of};

/// What our init calls before any program of the tree's own choice runs (docs/decisions/0010), each with a package.
const CALLED: [(&str, &str); 4] =
    [("sh", "dash or busybox"), ("mount", "mount"), ("chroot", "coreutils"), ("env", "coreutils")];
/// Initrds that are looked into at once: each takes a second.
const MOST: usize = 4;
/// Where a shell would find them.
pub const PLACES: [&str; 4] = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
/// What a kernel starts, in its order (Linux, init/main.c).
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// How many initrds may still be looked into.
pub struct Budget {
    left: usize,
    /// Of one tree, so that the first profile does not take the others' share.
    each: usize,
}

impl Budget {
    /// Where one tree is looked into.
    pub const fn of_one() -> Self {
        Self { left: MOST, each: MOST }
    }

    /// Where all of a site's are.
    pub fn shared_by(profiles: usize) -> Self {
        Self { left: MOST, each: (MOST / profiles.max(1)).max(1) }
    }

    /// How many of a tree's `count` initrds are looked into.
    fn take(&mut self, count: usize) -> usize {
        let taken = count.min(self.each).min(self.left);
        self.left -= taken;
        taken
    }
}

/// A profile's own tree.
pub struct Tree<'t> {
    pub site: &'t Site,
    /// The profile.
    pub name: &'t str,
    pub profile: &'t Profile,
    pub view: &'t View,
    pub store: &'t Arc<Store>,
    /// What is decided of those who boot a kernel of it.
    pub booted: &'t [Decision],
    pub over: &'t Over,
}

/// Every word of it, for a profile's own tree. A layer over it may bring what is missing, so none of it is a mistake.
pub fn of(tree: &Tree<'_>, budget: &mut Budget) -> Vec<String> {
    let mut initrds = initrds_of(tree);
    let own = tree.booted.iter().filter(|decision| tree_of(decision) == Some(tree.name));
    let mut told = programs(tree.view, boot_by_ours_alone(own, !initrds.is_empty()));
    told.extend(host_keys::of(tree.name, tree.view, tree.over));
    told.extend(of_modules(tree));
    if boot_by_ours_alone(tree.booted.iter(), !initrds.is_empty()) {
        // No other mounts anybody's root.
        initrds.clear();
    }
    let (looked_into, passed_over) = initrds.split_at(budget.take(initrds.len()));
    told.extend(looked_into.iter().flat_map(|(path, object)| of_initrd(tree, path, *object)));
    if !passed_over.is_empty() {
        let paths: Vec<&str> = passed_over.iter().map(|(path, _)| path.as_str()).collect();
        told.push(format!(
            "not looked into, for it takes a second each: {}; whether they can mount the root is not known",
            paths.join(", ")
        ));
    }
    told
}

/// Whether machines mount a profile's tree on their own, and none boots it: of programs alone, it has neither kernel nor init.
pub fn is_only_mounted(site: &Site, profile: &str) -> bool {
    let parts: Vec<Part> = over::decisions(site).flat_map(|who| who.decision.parts).collect();
    let is_it = |part: &Part| matches!(part, Part::Profile { name } if name == profile);
    let is_in = |part: &Part| matches!(part, Part::Mounted { parts, .. } if parts.iter().any(is_it));
    parts.iter().any(is_in) && !parts.iter().any(is_it)
}

/// Whether all these boot by an initrd of oneroot's own. `has_initrds` says whether any kernel of their tree has one.
pub fn boot_by_ours_alone<'d>(mut decisions: impl Iterator<Item = &'d Decision>, has_initrds: bool) -> bool {
    decisions.all(|decision| decision.initramfs.map_or(!has_initrds, |told| told == Initramfs::Oneroot))
}

/// What keeps an initrd of oneroot's own from being made of the tree, or from mounting the root: of each profile that boots a kernel of
/// it, by the kernel and the settings that are its own.
fn of_modules(tree: &Tree<'_>) -> Vec<String> {
    let exists =
        |path: &str| tree.view.follow(path.as_bytes()).and_then(|node| tree.view.object(node)).is_some();
    let names = |directory: &str| tree.view.listed(directory);
    let seen = kernels::Tree { names: &names, exists: &exists };
    let programs = Programs::beside(&tree.site.server.loaders);
    let mut of_kernels: Vec<(Own, Vec<String>)> = Vec::new();
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for decision in tree.booted {
        let found = match kernels::kernel_and_initrds(decision, &seen) {
            Ok(Loaded { own: Some(own), .. }) => {
                let known = of_kernels.iter().find(|(looked, _)| *looked == own);
                let mut found = match known {
                    Some((_, found)) => found.clone(),
                    None => {
                        let found = initrds::findings(tree.store, tree.view, &own, &programs);
                        of_kernels.push((own.clone(), found.clone()));
                        found
                    }
                };
                found.extend(initrds::unmet_by(tree.store, tree.view, &own, &decision.own));
                found
            }
            // That there is no kernel at all, or one without modules, is said already.
            Ok(_) | Err(_) => continue,
        };
        for line in found {
            match told.iter_mut().find(|(known, _)| *known == line) {
                Some((_, profiles)) => profiles.push(decision.profile.clone()),
                None => told.push((line, vec![decision.profile.clone()])),
            }
        }
    }
    let whose = |(line, profiles): (String, Vec<String>)| match profiles.as_slice() {
        _ if profiles.iter().any(|name| name == tree.name) => line,
        [name] => format!("of profile {name}: {line}"),
        _ => format!("of profiles {}: {line}", profiles.join(", ")),
    };
    told.into_iter().map(whose).collect()
}

/// What keeps an initrd from mounting the root.
fn of_initrd(tree: &Tree<'_>, path: &str, object: ObjectId) -> Vec<String> {
    let found = match tree.store.object(object).map_err(io::Error::other).and_then(look) {
        Ok(found) => found,
        Err(cause) => {
            return vec![format!(
                "{path} can't be looked into ({cause}), so it may lack what mounts the root"
            )];
        }
    };
    // Whoever boots this tree says how; only what is wrong for all of them is.
    let told = tree.booted.iter().map(|decision| decision.initramfs.unwrap_or_default());
    let each: Vec<Vec<String>> = told.map(|told| found.problems(path, tree.name, told)).collect();
    if each.iter().all(|problems| !problems.is_empty()) {
        each.into_iter().next().unwrap_or_default()
    } else {
        Vec::new()
    }
}

fn look(file: std::fs::File) -> io::Result<Initrd> {
    let mut found = Initrd::default();
    initrd::files(file, &|path| path.ends_with("modules.builtin"), &mut |path, content| {
        found.note(path);
        if let Some(content) = content {
            found.built_in(&String::from_utf8_lossy(content));
        }
    })?;
    Ok(found)
}

/// The initrds that machines may get, that of the best kernel first.
fn initrds_of(tree: &Tree<'_>) -> Vec<(String, ObjectId)> {
    let object = |path: &str| tree.view.object(tree.view.follow(path.as_bytes())?);
    let names = |directory: &str| tree.view.listed(directory);
    let seen = kernels::Tree { names: &names, exists: &|path| object(path).is_some() };
    let Profile { kernel, initrds, .. } = tree.profile;
    let paths = kernels::initrds(kernel.as_deref(), initrds, &seen);
    paths.into_iter().filter_map(|path| object(&path).map(|object| (path, object))).collect()
}

fn programs(view: &View, is_ours: bool) -> Vec<String> {
    let is_there = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    // Ours needs no program of the tree's.
    let called = if is_ours { &[][..] } else { &CALLED };
    let missing =
        called.iter().filter(|(name, _)| !PLACES.iter().any(|place| is_there(&format!("{place}/{name}"))));
    let mut told: Vec<String> = missing
        .map(|(name, package)| {
            format!("no {name}, which oneroot's init needs: the machine stops before its own init; install {package}")
        })
        .collect();
    let is_link = |path: &str| {
        let node = oneroot_tree::node::TreePath::parse(path.trim_start_matches('/').as_bytes()).ok();
        node.and_then(|path| view.resolve(&path)).is_some_and(|node| view.target(node).is_some())
    };
    // But for the shell, which a kernel starts for want of an init: nothing comes up by it.
    if !INITS.iter().take(3).any(|path| is_there(path) || is_link(path)) {
        told.push(
            "no /sbin/init, so nothing is started; install systemd-sysv, or whatever is to be its init"
                .to_owned(),
        );
    }
    told
}

/// The view of one generation alone.
pub fn alone(store: &Arc<Store>, generation: oneroot_ids::GenerationId) -> anyhow::Result<Arc<View>> {
    let views = oneroot_tree::Views::new(store.clone());
    Ok(views.of(&[generation])?)
}
