//! `oneroot edit`: a command runs in a copy of a profile's tree, and what it leaves is the profile's next generation.
//!
//! The copy is in the store's file system (cloned, where that can clone) and is gone afterwards. The command has mounts
//! and processes of its own, so nothing that it starts stays behind, and no machine sees anything of it before its next
//! boot. Only what the command changed is read and hashed: the copy's marks are remembered as a stage's are.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::decision::Part;
use oneroot_ids::GenerationId;
use oneroot_sources::program::fresh;
use oneroot_tree::diff::{Counts, diff};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Stage, Store, Views, export};
use serde::Serialize;

use super::names::first;
use super::progress::spinner;
use super::{host, meant};
use crate::clock;
use crate::print::{Document, Page};
use oneroot_machines::planner::reference;

/// Runs in the new namespaces. `$1` is the copy; the rest is the command. What is mounted goes with the namespace, and
/// what is put over a file of the tree is not in the tree.
const INSIDE: &str = r#"
root=$1; shift
mount --bind "$root" "$root"
cd "$root"
for place in proc sys dev run tmp; do [ -d "$place" ] || [ -e "$place" ] || mkdir "$place"; done
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# Names are looked up as this host does it. A link leads elsewhere in the tree, or into /run, which is empty here.
if [ -f etc/resolv.conf ] && [ ! -L etc/resolv.conf ] && [ -e /etc/resolv.conf ]; then
    mount --bind "$(readlink -f /etc/resolv.conf)" etc/resolv.conf
fi
# Debian's packages start their services when they are installed, unless this says no.
if [ -d usr/sbin ] && [ ! -e usr/sbin/policy-rc.d ]; then
    touch -r usr/sbin run/before
    printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d && chmod 755 usr/sbin/policy-rc.d
    touch -r usr/sbin run/since
    policy=1
fi
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root ONEROOT_EDIT=1
code=0
chroot . "$@" || code=$?
if [ "${policy:-}" ]; then
    same=; [ usr/sbin -nt run/since ] || same=1
    rm -f usr/sbin/policy-rc.d
    [ -z "$same" ] || touch -r run/before usr/sbin
fi
exit "$code"
"#;
/// Longer than a tick of any file system's clock: a write of the command's has another ctime than the copy.
const TICK: Duration = Duration::from_millis(50);

/// What a command has made of a profile's tree.
#[derive(Serialize)]
pub struct Edited {
    name: String,
    generation: String,
    changed: bool,
    changes: Counts,
}

impl Document for Edited {
    fn page(&self) -> Page {
        let Self { name, generation, changed, changes } = self;
        if !changed {
            return Page::of_line("nothing was changed");
        }
        Page::of_line(format_args!(
            "profile {name} is {} for new boots: {changes}; `oneroot rollback {name}` takes it back",
            first(generation),
        ))
    }
}

/// `oneroot edit PROFILE [-- COMMAND]`.
pub fn edit(site: &Site, profile: &str, command: &[String], quiet: bool) -> Result<Edited> {
    refuse(site, profile)?;
    let store = Store::open(&site.server.store)?;
    let reference = reference(&site.home, &Part::Profile { name: profile.to_owned() })?;
    let head = store
        .head(&reference)?
        .with_context(|| format!("profile {profile} is not staged; run `oneroot stage {profile}`"))?;
    let place = store.staging_dir()?;
    let root = place.path().join("root");
    copy(&store, head.generation, &root, profile, quiet)?;
    ensure!(host(site).has("unshare"), "there is no unshare here; install the package util-linux");
    work(&root, command, quiet)?;
    let finished = stage(&store, &root, profile, quiet)?;
    oneroot_tree::stage::forget(&store, &root);
    let changes = diff(&store.generation(head.generation)?, &finished.index);
    let edited = Edited {
        name: profile.to_owned(),
        generation: finished.generation.to_string(),
        changed: !changes.is_empty(),
        changes: Counts::of(&changes),
    };
    // Somebody may have staged meanwhile; what they made is no longer what this began with.
    let staged = Staged { generation: finished.generation, at: clock::now(), how: How::Edited };
    ensure!(
        !edited.changed || store.move_head(&reference, head, staged)?,
        "profile {profile} was staged or rolled back meanwhile; the result is generation {}, `oneroot rollback` takes it no more; edit again",
        finished.generation
    );
    Ok(edited)
}

/// What can't be edited, and who can't edit.
fn refuse(site: &Site, profile: &str) -> Result<()> {
    let known = site.profiles.get(profile).with_context(|| {
        format!("the site has no profile {profile:?}{}", meant(profile, site.profiles.keys().cloned()))
    })?;
    ensure!(
        known.source.is_some(),
        "profile {profile} has no tree of its own; edit the one that it extends, or give it a layer"
    );
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can give files their owners and mount what a command needs; run this as root"
    );
    Ok(())
}

/// A generation as a directory, remembered as it is: what the command leaves alone is not read again.
fn copy(store: &Arc<Store>, generation: GenerationId, root: &Path, profile: &str, quiet: bool) -> Result<()> {
    std::fs::create_dir(root)?;
    let view = Views::new(store.clone()).load(store.put_stack(&[generation])?)?;
    let bar = spinner(&format!("copy {profile}"), quiet);
    let exported = export::directory(&view, store, root, &mut |progress| {
        bar.set_message(format!("{} entries, {}", progress.entries, HumanBytes(progress.bytes)));
    });
    bar.finish_and_clear();
    exported.with_context(|| format!("cannot copy {profile}"))?.remember(store, root, generation);
    std::thread::sleep(TICK);
    Ok(())
}

/// Runs the command in the copy, in namespaces of its own.
fn work(root: &Path, command: &[String], quiet: bool) -> Result<()> {
    const APART: [&str; 6] = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc"];
    let shell = ["/bin/sh".to_owned(), "-l".to_owned()];
    let words = if command.is_empty() { &shell } else { command };
    let mut program = fresh("unshare");
    if quiet {
        // Standard output is the document's alone.
        program.stdout(std::io::stderr());
    }
    program.args(APART).args(["--", "sh", "-ec", INSIDE, "edit"]).arg(root).args(words);
    let done = program.status().context("cannot run env; install the package coreutils")?;
    if !done.success() {
        let how =
            done.signal().map_or_else(|| done.to_string(), |signal| format!("was killed by signal {signal}"));
        bail!("the command ended with {how}; nothing is changed");
    }
    Ok(())
}

fn stage(
    store: &Arc<Store>,
    root: &Path,
    profile: &str,
    quiet: bool,
) -> Result<oneroot_tree::stage::Finished> {
    let bar = spinner(&format!("profile {profile}"), quiet);
    let mut stage = Stage::begin(store, |progress| bar.set_message(format!("{} entries", progress.entries)))?;
    stage.remember(clock::since_1970(), false);
    stage.directory(root)?;
    let finished = stage.finish()?;
    bar.finish_and_clear();
    Ok(finished)
}
