//! `oneroot edit`: a command runs in a copy of a profile's tree, and what it leaves is the profile's next generation.
//!
//! The copy is in the store's file system (cloned, where that can clone) and is gone afterwards. The command has mounts
//! and processes of its own, so nothing that it starts stays behind, and no machine sees anything of it before its next
//! boot. Only what the command changed is read and hashed: the copy's marks are remembered as a stage's are.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::decision::Part;
use oneroot_tree::diff::{Counts, diff};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Stage, Store, Views, export};
use serde_json::json;

use super::names::short;
use super::process_group::{fresh, is_here};
use super::stage::spinner;
use super::{meant, tell};
use crate::cli::Exit;
use crate::clock;
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

/// `oneroot edit PROFILE [-- COMMAND]`.
pub fn run(site: &Site, profile: &str, command: &[String], json: bool) -> Result<Exit> {
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
    let store = Store::open(&site.server.store)?;
    let reference = reference(&site.home, &Part::Profile { name: profile.to_owned() })?;
    let head = store
        .head(&reference)?
        .with_context(|| format!("profile {profile} is not staged; run `oneroot stage {profile}`"))?;
    let copy = store.staging_dir()?;
    let root = copy.path().join("root");
    std::fs::create_dir(&root)?;
    let view = Views::new(store.clone()).load(store.put_stack(&[head.generation])?)?;
    let bar = spinner(&format!("copy {profile}"), json);
    let exported = export::directory(&view, &store, &root, &mut |progress| {
        bar.set_message(format!("{} entries, {}", progress.entries, HumanBytes(progress.bytes)));
    });
    bar.finish_and_clear();
    exported.with_context(|| format!("cannot copy {profile}"))?.remember(&store, &root, head.generation);
    std::thread::sleep(TICK);

    let shell = ["/bin/sh".to_owned(), "-l".to_owned()];
    let words = if command.is_empty() { &shell } else { command };
    ensure!(is_here("unshare"), "there is no unshare here; install the package util-linux");
    let mut program = fresh("unshare");
    if json {
        // Standard output is the document's alone.
        program.stdout(std::io::stderr());
    }
    let done = program
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--uts",
            "--ipc",
            "--",
            "sh",
            "-ec",
            INSIDE,
            "edit",
        ])
        .arg(&root)
        .args(words)
        .status()
        .context("cannot run env; install the package coreutils")?;
    if !done.success() {
        let how =
            done.signal().map_or_else(|| done.to_string(), |signal| format!("was killed by signal {signal}"));
        bail!("the command ended with {how}; nothing is changed");
    }
    let finished = stage(&store, &root, profile, json)?;
    oneroot_tree::stage::forget(&store, &root);
    let changes = diff(&store.generation(head.generation)?, &finished.index);
    let counts = Counts::of(&changes);
    let document = json!({
        "name": profile,
        "generation": finished.generation.to_string(),
        "changed": !changes.is_empty(),
        "changes": counts,
    });
    if changes.is_empty() {
        return tell(json, &document, "nothing was changed");
    }
    // Somebody may have staged meanwhile; what they made is no longer what this began with.
    let staged = Staged { generation: finished.generation, at: clock::now(), how: How::Edited };
    ensure!(
        store.move_head(&reference, head, staged)?,
        "profile {profile} was staged or rolled back meanwhile; the result is generation {}, `oneroot rollback` takes it no more; edit again",
        finished.generation
    );
    let words = format!(
        "profile {profile} is {} for new boots: {counts}; `oneroot rollback {profile}` takes it back",
        short(finished.generation),
    );
    tell(json, &document, words)
}

fn stage(
    store: &std::sync::Arc<Store>,
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
