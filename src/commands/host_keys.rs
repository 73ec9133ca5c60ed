//! SSH host keys: a machine is told from any other by its own (sshd(8)), and what is in a tree is every machine's. To take them
//! out of the tree does not last, for an installer makes new ones each time; so they are hidden by a layer.

use std::path::Path;

use oneroot_bootconf::asked::Catalogue;
use oneroot_bootconf::decided::profiles_of;
use oneroot_bootconf::decision::Part;
use oneroot_bootconf::{Site, stacks};
use oneroot_tree::View;

const PLACE: &str = "etc/ssh";
/// The key that a machine is advised to have.
const ADVISED: &str = "ssh_host_ed25519_key";

/// What is to be said of a profile's own tree, with the layers that its machines have over it.
pub fn of(site: &Site, profile: &str, view: &View) -> Option<String> {
    let is_there = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    if !is_there("/usr/sbin/sshd") {
        return None;
    }
    let keys: Vec<String> =
        view.listed(&format!("/{PLACE}")).into_iter().filter(|name| is_key(name)).collect();
    let stacks = over(site, profile);
    if keys.is_empty() {
        let has = |stack: &Vec<Part>| stack.iter().filter_map(directory).any(has_key);
        return (!stacks.iter().all(has)).then(|| {
            format!(
                "sshd has no host keys, so it does not start; give each machine its own by its layer \
                 (ssh-keygen -t ed25519 -N '' -f layers/NAME/{PLACE}/{ADVISED})"
            )
        });
    }
    // One machine whose layers leave a key to be seen is enough.
    let is_shared = |key: &&String| stacks.iter().any(|stack| !stack.iter().any(|part| covers(part, key)));
    let shared: Vec<&str> = keys.iter().filter(is_shared).map(String::as_str).collect();
    (!shared.is_empty()).then(|| told(&shared))
}

fn told(shared: &[&str]) -> String {
    let keys: Vec<String> = shared.iter().map(|key| format!("/{PLACE}/{key}")).collect();
    // A key of the same name hides it as well.
    let hidden: Vec<String> =
        shared.iter().filter(|key| **key != ADVISED).map(|key| format!("{PLACE}/.wh.{key}")).collect();
    let hide = if hidden.is_empty() {
        ", which hides the tree's".to_owned()
    } else {
        format!(
            ", and hide the others by empty files in that layer or in one of the profile's: {}",
            hidden.join(", ")
        )
    };
    format!(
        "SSH host keys are in the tree, so all its machines have the same, and root of one can pass for any other: {}; \
         give each machine its own by its layer ({PLACE}/{ADVISED}, mode 0600){hide}",
        keys.join(", ")
    )
}

fn is_key(name: &str) -> bool {
    name.starts_with("ssh_host_") && name.ends_with("_key")
}

/// What lies over a profile's tree: for each machine that boots it, or for each profile where none does yet.
fn over(site: &Site, profile: &str) -> Vec<Vec<Part>> {
    let is_under = |stack: &Vec<Part>| {
        stack.iter().any(|part| matches!(part, Part::Profile { name } if name == profile))
    };
    let catalogue = Catalogue::of(site);
    let decisions = catalogue.everybody().filter_map(|(_, asked)| profiles_of(&catalogue, &asked).ok());
    let booted: Vec<Vec<Part>> =
        decisions.flatten().map(|decision| decision.parts).filter(is_under).collect();
    if booted.is_empty() { stacks(site).into_iter().filter(is_under).collect() } else { booted }
}

fn directory(part: &Part) -> Option<&Path> {
    match part {
        Part::Layer { path } | Part::Machine { path, .. } => Some(path),
        Part::Profile { .. } | Part::Kernel { .. } | Part::Mounted { .. } => None,
    }
}

/// Whether a layer hides the tree's key, or has the machine's own of that name.
fn covers(part: &Part, key: &str) -> bool {
    let is_there = |name: &str| {
        directory(part).is_some_and(|layer| layer.join(PLACE).join(name).symlink_metadata().is_ok())
    };
    is_there(&format!(".wh.{key}")) || (matches!(part, Part::Machine { .. }) && is_there(key))
}

fn has_key(layer: &Path) -> bool {
    let names = std::fs::read_dir(layer.join(PLACE)).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| is_key(&name))
}
