//! What is to be said of a generation before a machine boots it: by `stage` of what it has just made, and by `check` of what is
//! staged, in the same words and in documents of the same shape.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::boot_files::Versions;
use oneroot_bootconf::decision::{Part, parts};
use oneroot_bootconf::root::Root;
use oneroot_tree::{Index, Store, View};
use serde::Serialize;

use super::lacks::{self, Budget};
use super::linked;
use super::names::titled;
use super::over::{Over, booted_by};
use super::review;
use super::secrets::KEY_HEAD;
use super::survey::{Paths, Survey, survey};
use super::unmet;
use oneroot_machines::planner::reference;

/// What a part of the site has now, and what is to be said of it. `stage` has these of what it made, and more.
#[derive(Serialize)]
pub struct Staged {
    name: String,
    generation: String,
    pub warnings: Vec<String>,
}

impl Staged {
    /// One line for each thing that is to be said, as `stage` has them.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.warnings.iter().map(|warning| format!("{}: {warning}", self.name))
    }
}

/// The same of all that is staged, where anything is to be said.
pub fn staged(store: &Arc<Store>, site: &Site) -> Vec<Staged> {
    let parts = parts(site);
    let profiles = parts.iter().filter(|(part, _)| matches!(part, Part::Profile { .. })).count();
    let mut budget = Budget::shared_by(profiles);
    let found = parts.iter().filter_map(|(part, _)| {
        let head = store.head(&reference(&site.home, part).ok()?).ok()??;
        let warnings = match store.generation(head.generation) {
            Ok(index) => of(store, site, part, &index, &mut budget),
            Err(cause) => vec![format!("it can't be looked into: {cause}")],
        };
        Some(Staged { name: titled(part), generation: head.generation.to_string(), warnings })
    });
    found.filter(|staged| !staged.warnings.is_empty()).collect()
}

/// All that is to be said of one generation.
pub fn of(store: &Arc<Store>, site: &Site, part: &Part, index: &Index, budget: &mut Budget) -> Vec<String> {
    let head = |object| {
        let mut bytes = Vec::new();
        let read = store.object(object).and_then(|file| file.take(KEY_HEAD as u64).read_to_end(&mut bytes));
        read.is_ok().then_some(bytes)
    };
    let found = survey(index, &head);
    let mut warnings = lost_or_open(&found);
    let Part::Profile { name } = part else { return warnings };
    let Some(profile) = site.profiles.get(name) else { return warnings };
    let view = match lacks::alone(store, index.generation()) {
        Ok(view) => view,
        Err(cause) => {
            warnings.push(format!("it can't be looked into: {cause:#}"));
            return warnings;
        }
    };
    // What is only mounted needs nothing.
    if found.versions.kernels.is_empty() && lacks::is_only_mounted(site, name) {
        return warnings;
    }
    let (booted, over) = (booted_by(site, name), Over::of(site, name));
    let tree = lacks::Tree { site, name, profile, view: &view, store, booted: &booted, over: &over };
    warnings.extend(unmet::of(&tree));
    warnings.extend(linked::of(&tree));
    // One that boots with another's kernel has none of its own, or none that counts. Where nothing of it is mounted, nothing but what is
    // handed out counts.
    if profile.kernel_from.is_some() || site.root_of(name) == Root::None {
        return warnings;
    }
    let has_initrds = !found.versions.initrds.is_empty();
    warnings.extend(kernels(&found.versions, lacks::boot_by_ours_alone(booted.iter(), has_initrds)));
    warnings.extend(lacks::of(&tree, budget));
    let text = |path: &str| text_of(store, &view, path);
    let names = |directory: &str| view.listed(directory);
    let is_placed = |place: &str| site.places().any(|at| Path::new(place).starts_with(at));
    warnings.extend(review::of(&review::Tree { text: &text, names: &names, is_placed: &is_placed }));
    warnings
}

/// What NFSv3 does not carry, and what users of the machines may read or may not enter.
fn lost_or_open(found: &Survey) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut say = |paths: &Paths, what: &str| {
        if paths.count > 0 {
            let more = paths.count - paths.named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            warnings.push(format!("{what}: {}{more}", paths.named.join(", ")));
        }
    };
    say(&found.acls, "files with ACLs, which clients don't see over NFS: only owner, group and mode apply");
    say(
        &found.capabilities,
        "files with capabilities, which NFSv3 does not carry; give them setuid, or their services AmbientCapabilities=",
    );
    say(
        &found.closed,
        "directories that only root may enter, on the machines too, for their modes are taken over; chmod 755 them (umask 077 \
         makes them so), and see to the files in them",
    );
    say(&found.open_keys, "private keys that every user of the machine can read; chmod 600 them");
    if !found.attributes.is_empty() {
        let named: Vec<String> =
            found.attributes.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        warnings.push(format!(
            "attributes that NFSv3 does not carry; they are kept for `oneroot export`: {}",
            named.join(", ")
        ));
    }
    warnings
}

/// Kernels without what belongs to them; `is_ours` says that no initrd of the tree is needed.
fn kernels(found: &Versions, is_ours: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if found.kernels.is_empty() {
        warnings.push(
            "no kernel in /boot or /usr/lib/modules: nothing boots it unless a layer over it brings one"
                .to_owned(),
        );
    }
    for kernel in &found.kernels {
        // Some distributions name a kernel by what it is for (`vmlinuz-lts`); its version stands in it.
        let is_version = kernel.starts_with(|first: char| first.is_ascii_digit());
        if !found.modules.contains(kernel) && (is_version || found.modules.is_empty()) {
            warnings.push(format!("kernel {kernel} has no modules in /usr/lib/modules"));
        }
        if !is_ours && !found.initrds.contains(kernel) {
            warnings.push(format!(
                "kernel {kernel} has no initrd, so it is passed over (but for `initramfs = \"oneroot\"` and `\"none\"`)"
            ));
        }
    }
    warnings
}

/// A configuration file's text; none for what is no such file.
fn text_of(store: &Arc<Store>, view: &View, path: &str) -> Option<String> {
    const LARGEST: u64 = 256 * 1024;
    let object = view.object(view.follow(path.as_bytes())?)?;
    let mut text = String::new();
    store.object(object).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_named_by_what_it_is_for_has_the_trees_modules_whatever_their_version() {
        let of = |kernel: &str, modules: &[&str]| {
            let modules = modules.iter().map(|version| (*version).to_owned()).collect();
            kernels(&Versions { kernels: vec![kernel.to_owned()], modules, ..Versions::default() }, true)
        };
        assert!(of("lts", &["6.12.1-0-lts"]).is_empty());
        assert_eq!(of("lts", &[]), ["kernel lts has no modules in /usr/lib/modules"]);
        assert_eq!(of("6.1", &["6.2"]), ["kernel 6.1 has no modules in /usr/lib/modules"]);
    }
}
