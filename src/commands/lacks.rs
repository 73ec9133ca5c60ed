//! What a profile's tree lacks, so that its machines would not come up, or not as they should: told when it is staged, by whom
//! it is that can do something about it.

use std::io;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::args::Initramfs;
use oneroot_bootconf::initrd::Initrd;
use oneroot_tree::{View, initrd};

/// What our init calls before any program of the tree's own choice runs (docs/decisions/0010), each with a package.
const CALLED: [(&str, &str); 4] =
    [("sh", "dash or busybox"), ("mount", "mount"), ("chroot", "coreutils"), ("env", "coreutils")];
/// Initrds that are looked into: each takes a second.
const MOST: usize = 4;
/// Where a shell would find them.
const PLACES: [&str; 4] = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
/// What a kernel starts, in its order (Linux, init/main.c).
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Every word of it, for a profile's own tree. A layer over it may bring what is missing, so none of it is a mistake.
pub fn of(site: &Site, profile: &str, view: &View, kernels: &[String], open: Open<'_>) -> Vec<String> {
    let mut told = programs(view);
    told.extend(host_keys(view));
    for (path, file) in kernels.iter().filter_map(|kernel| initrd_of(view, kernel)).take(MOST) {
        let found = match open(file).and_then(look) {
            Ok(found) => found,
            Err(cause) => {
                told.push(format!(
                    "{path} can't be looked into ({cause}), so it may lack what mounts the root"
                ));
                continue;
            }
        };
        // Whoever boots this tree says how; only what is wrong for all of them is.
        let each: Vec<Vec<String>> =
            told_to(site, profile).into_iter().map(|told| found.problems(&path, profile, told)).collect();
        if each.iter().all(|problems| !problems.is_empty()) {
            told.extend(each.into_iter().next().unwrap_or_default());
        }
    }
    told
}

/// Opens a file of the view.
pub type Open<'a> = &'a dyn Fn(oneroot_ids::ObjectId) -> io::Result<std::fs::File>;

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

fn initrd_of(view: &View, kernel: &str) -> Option<(String, oneroot_ids::ObjectId)> {
    let names =
        [format!("initrd.img-{kernel}"), format!("initramfs-{kernel}.img"), format!("initrd-{kernel}")];
    names.into_iter().find_map(|name| {
        let path = format!("/boot/{name}");
        let node = view.follow(path.as_bytes())?;
        Some((path, view.object(node)?))
    })
}

/// What mounts the root of those that boot this profile's tree: it, and whoever extends it.
fn told_to(site: &Site, profile: &str) -> Vec<Initramfs> {
    let mut all = Vec::new();
    for name in site.profiles.keys() {
        let (mut told, mut at) = (None, Some(name));
        while let Some(own) = at.and_then(|at| site.profiles.get(at)) {
            told = told.or(own.initramfs);
            if own.source.is_some() {
                break;
            }
            at = own.extends.as_ref();
        }
        if at.is_some_and(|at| at == profile) {
            all.push(told.unwrap_or(Initramfs::InitramfsTools));
        }
    }
    all
}

fn programs(view: &View) -> Vec<String> {
    let is_there = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    let missing =
        CALLED.iter().filter(|(name, _)| !PLACES.iter().any(|place| is_there(&format!("{place}/{name}"))));
    let mut told: Vec<String> = missing
        .map(|(name, package)| {
            format!("no {name}, which oneroot's init needs: the machine stops before its own init; install {package}")
        })
        .collect();
    let is_link = |path: &str| {
        let node = oneroot_tree::node::TreePath::parse(path.trim_start_matches('/').as_bytes()).ok();
        node.and_then(|path| view.resolve(&path)).is_some_and(|node| view.target(node).is_some())
    };
    if !INITS.iter().take(3).any(|path| is_there(path) || is_link(path)) {
        told.push(
            "no /sbin/init, so nothing is started; install systemd-sysv, or whatever is to be its init"
                .to_owned(),
        );
    }
    told
}

/// A machine must be told from any other by its keys, and a tree that has them gives the same to all.
fn host_keys(view: &View) -> Option<String> {
    let is_there = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    if !is_there("/usr/sbin/sshd") {
        return None;
    }
    let has =
        ["rsa", "ecdsa", "ed25519"].iter().any(|kind| is_there(&format!("/etc/ssh/ssh_host_{kind}_key")));
    Some(if has {
        "SSH host keys are in the tree, so all its machines have the same, and root of one can pass for any other; \
         give each machine its own by its layer (etc/ssh/ssh_host_ed25519_key, mode 0600), and remove these"
            .to_owned()
    } else {
        "sshd has no host keys, so it does not start; give each machine its own by its layer \
         (ssh-keygen -t ed25519 -N '' -f layers/NAME/etc/ssh/ssh_host_ed25519_key)"
            .to_owned()
    })
}

/// The view of one generation alone.
pub fn alone(
    store: &Arc<oneroot_tree::Store>,
    generation: oneroot_ids::GenerationId,
) -> anyhow::Result<Arc<View>> {
    let views = oneroot_tree::Views::new(store.clone());
    Ok(views.of(&[generation])?)
}
