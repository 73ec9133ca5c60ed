//! SSH host keys: a machine is told from any other by its own (sshd(8)), and what is in a tree is every machine's. To take them
//! out of the tree does not last, for an installer makes new ones each time; so they are hidden by a layer.

use std::path::Path;

use oneroot_bootconf::decision::Part;
use oneroot_bootconf::secrets::Secrets;
use oneroot_tree::View;

use super::over::{Over, Who, has_tree};

const PLACE: &str = "etc/ssh";
/// The key that a machine is advised to have.
const ADVISED: &str = "ssh_host_ed25519_key";

/// What is to be said of a profile's own tree, with the layers that its machines have over it.
pub fn of(profile: &str, view: &View, over: &Over) -> Option<String> {
    let is_there = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    if !is_there("/usr/sbin/sshd") {
        return None;
    }
    let keys: Vec<String> =
        view.listed(&format!("/{PLACE}")).into_iter().filter(|name| is_key(name)).collect();
    let stacks = stacks(over, profile);
    if keys.is_empty() {
        let has = |stack: &Stack<'_>| {
            !stack.own.is_empty() || stack.parts.iter().filter_map(directory).any(has_key)
        };
        return (!stacks.iter().all(has)).then(|| {
            format!(
                "sshd has no host keys, so it does not start; give each machine its own: {}",
                say(profile)
            )
        });
    }
    // One machine whose layers leave a key to be seen is enough.
    let is_own = |stack: &Stack<'_>, key: &String| {
        stack.own.contains(key) || stack.parts.iter().any(|part| covers(part, key))
    };
    let is_shared = |key: &&String| stacks.iter().any(|stack| !is_own(stack, key));
    let shared: Vec<&str> = keys.iter().filter(is_shared).map(String::as_str).collect();
    (!shared.is_empty()).then(|| told(profile, &shared))
}

/// The words of the site that give each machine its own.
fn say(profile: &str) -> String {
    format!("secrets = {{ {ADVISED} = \"ssh-key\" }} in [profile.{profile}]")
}

fn told(profile: &str, shared: &[&str]) -> String {
    let keys: Vec<String> = shared.iter().map(|key| format!("/{PLACE}/{key}")).collect();
    // A key of the same name hides it as well.
    let hidden: Vec<String> =
        shared.iter().filter(|key| **key != ADVISED).map(|key| format!("{PLACE}/.wh.{key}")).collect();
    let hide = if hidden.is_empty() {
        ", which hides the tree's".to_owned()
    } else {
        format!(", and hide the others by empty files in one of the profile's layers: {}", hidden.join(", "))
    };
    format!(
        "SSH host keys are in the tree, so all its machines have the same, and root of one can pass for any other: {}; \
         give each machine its own by {}{hide}",
        keys.join(", "),
        say(profile)
    )
}

fn is_key(name: &str) -> bool {
    name.starts_with("ssh_host_") && name.ends_with("_key")
}

/// What lies over a profile's tree on a machine.
struct Stack<'d> {
    parts: &'d [Part],
    /// Names of keys that are its own by a secret.
    own: Vec<String>,
}

/// For each machine that boots it, or for each profile where none does yet.
fn stacks<'o>(over: &'o Over, profile: &str) -> Vec<Stack<'o>> {
    let of = |whose: &'o [Who]| -> Vec<Stack<'o>> {
        let whose = whose.iter().map(|who| &who.decision).filter(|decision| has_tree(decision, profile));
        whose.map(|decision| Stack { own: keys_in(&decision.secrets), parts: &decision.parts }).collect()
    };
    let booted = of(&over.booted);
    if booted.is_empty() { of(&over.idle) } else { booted }
}

/// The keys of sshd's among secrets, by their names there.
fn keys_in(secrets: &Secrets) -> Vec<String> {
    let places = secrets.values().filter_map(|secret| secret.at.as_deref());
    let names = places.filter_map(|at| at.strip_prefix('/')?.strip_prefix(PLACE)?.strip_prefix('/'));
    names.filter(|name| is_key(name)).map(str::to_owned).collect()
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
