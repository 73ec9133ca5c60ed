//! What the site says and the tree of a profile has nothing for: its machines would come up, and that would be missing.
//!
//! | what the site says | what has to be in the tree |
//! |---|---|
//! | a mount at `/home/*` or alike | automount(8), which reads the map that is written for it |
//! | a mount of a file server, homes and `lasts` among them | mount.nfs(8): mount(8) hands it what is NFS, and the kernel by itself knows no names of servers |
//! | `log = "http://…"` | systemd-journal-upload(8) |
//! | `log = "syslog://…"` | rsyslogd(8) |
//! | `kernel`, `initrd` | the file |
//!
//! It may be in any layer that a machine has over the tree. Nothing is said of what can't be known: where a part is not staged, or where
//! the tree keeps its programs elsewhere than nearly all do.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oneroot_bootconf::decision::{Decision, Part, Provenance};
use oneroot_bootconf::kernels::{self, Tree as Seen};
use oneroot_bootconf::log_place::LogPlace;
use oneroot_bootconf::mounts::{HOMES, Mount, What};
use oneroot_bootconf::root::Root;
use oneroot_machines::planner::reference;
use oneroot_tree::View;
use oneroot_tree::confine::Dir;
use rustix::fs::{AtFlags, FileType};

use super::lacks::{PLACES, Tree, alone};
use super::over::{kernel_of, tree_of};

/// Places that are named in one line, each with one of the tables that say so.
const MOST_NAMED: usize = 5;

/// A program that the tree has to have.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    name: &'static str,
    places: &'static [&'static str],
    /// What it would do, where its object comes next.
    does: &'static str,
    /// What has it, as distributions call that.
    package: &'static str,
}

const AUTOMOUNT: Program = Program { name: "automount", places: &PLACES, does: "mounts", package: "autofs" };
const MOUNT_NFS: Program =
    Program { name: "mount.nfs", places: &PLACES, does: "mounts", package: "nfs-common or nfs-utils" };
const UPLOAD: Program = Program {
    name: "systemd-journal-upload",
    places: &["/usr/lib/systemd", "/lib/systemd"],
    does: "sends logs to",
    package: "systemd-journal-remote",
};
const RSYSLOG: Program =
    Program { name: "rsyslogd", places: &PLACES, does: "sends logs to", package: "rsyslog" };
/// Has every tree that keeps its programs where others do.
const MOUNT: Program = Program { name: "mount", places: &PLACES, does: "mounts", package: "mount" };
const BUSYBOX: Program = Program { name: "busybox", places: &PLACES, does: "mounts", package: "busybox" };

/// What the tree has to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Program(&'static Program),
    /// A path, or a pattern, as a profile names a kernel or an initrd.
    Loaded(String),
}

impl Program {
    fn paths(&self) -> impl Iterator<Item = String> {
        self.places.iter().map(|place| format!("{place}/{}", self.name))
    }
}

impl Thing {
    fn is_in(&self, seen: &Seen<'_>) -> bool {
        match self {
            Self::Program(program) => program.paths().any(|path| (seen.exists)(&path)),
            Self::Loaded(named) => kernels::has_named(named, seen),
        }
    }

    /// Whether it may lie at or below this place, from `/`.
    fn may_be_below(&self, at: &str) -> bool {
        let is_below = |path: &str| path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
        match self {
            Self::Program(program) => program.paths().any(|path| is_below(&path)),
            Self::Loaded(named) => is_below(named),
        }
    }
}

/// What is said where it is not there; behind it comes for whom.
impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(Program { name, does, .. }) => write!(f, "no {name}, so nothing {does}"),
            Self::Loaded(named) => write!(f, "no {named}, which its machines are to load:"),
        }
    }
}

/// A line for each thing that the tree lacks.
pub fn of(tree: &Tree<'_>) -> Vec<String> {
    let sight = Sight { tree, views: RefCell::default(), layers: RefCell::default() };
    let mut unmet: BTreeMap<Thing, For> = BTreeMap::new();
    for decision in tree.over.widest() {
        let mut wanted = Vec::new();
        if tree_of(decision) == Some(tree.name) && decision.root == Root::Nfs {
            let parts = own_parts(decision);
            if sight.has(&parts, &Thing::Program(&MOUNT)) {
                wanted.push((programs(decision, mounts_nfs_itself(tree.view)), parts));
            }
        }
        if kernel_of(decision) == Some(tree.name) {
            wanted.push((loaded(decision), kernels_parts(decision)));
        }
        for (wants, parts) in wanted {
            for Want { thing, what, from } in wants {
                if !sight.has(&parts, &thing) {
                    unmet.entry(thing).or_default().entry(what).or_default().insert(from);
                }
            }
        }
    }
    unmet.iter().map(|(thing, whose)| told(thing, whose)).collect()
}

/// What something is for, and of each the tables that say so.
type For = BTreeMap<String, BTreeSet<String>>;

/// Something that a decision takes for granted.
struct Want {
    thing: Thing,
    what: String,
    /// The table that says it: of several, the one that counts.
    from: String,
}

impl Want {
    fn of(thing: Thing, what: String, decision: &Decision, said: &dyn Fn(&Provenance) -> bool) -> Self {
        let found = decision.why.iter().rev().find(|why| !why.hidden && said(why));
        Self { thing, what, from: found.map(|why| why.from.clone()).unwrap_or_default() }
    }
}

fn told(thing: &Thing, whose: &For) -> String {
    let some = |all: &mut dyn Iterator<Item = String>, most: usize, count: usize| {
        let named: Vec<String> = all.take(most).collect();
        let more = count - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", named.join(", "))
    };
    let of = |(what, from): (&String, &BTreeSet<String>)| {
        format!("{what} ({})", some(&mut from.iter().cloned(), 1, from.len()))
    };
    let whose = some(&mut whose.iter().map(of), MOST_NAMED, whose.len());
    let remedy = match thing {
        Thing::Program(program) => format!("install {} in the tree", program.package),
        Thing::Loaded(_) => "install it in the tree, or name one that is there".to_owned(),
    };
    format!("{thing} {whose}; {remedy}")
}

/// The programs that a decision takes for granted.
fn programs(decision: &Decision, is_nfs_mounted: bool) -> Vec<Want> {
    let mut programs = Vec::new();
    for (at, mount) in &decision.mounts {
        let said = |why: &Provenance| {
            matches!(why.what.as_str(), "mount" | "lasts") && why.value.split(' ').next() == Some(at)
        };
        let mut want =
            |program| programs.push(Want::of(Thing::Program(program), at.clone(), decision, &said));
        if at.ends_with(HOMES) && matches!(mount.what, What::Nfs(_)) {
            want(&AUTOMOUNT);
        }
        if is_helped(mount) && !is_nfs_mounted {
            want(&MOUNT_NFS);
        }
    }
    if let Some(log) = &decision.log {
        let program = match log {
            LogPlace::Journal(_) => &UPLOAD,
            LogPlace::Syslog(_) => &RSYSLOG,
        };
        let said = |why: &Provenance| why.what == "log";
        programs.push(Want::of(Thing::Program(program), log.to_string(), decision, &said));
    }
    programs
}

/// Whether mount(8) leaves it to mount.nfs. What the kernel has to know of a file server is its address, and some say that themselves.
fn is_helped(mount: &Mount) -> bool {
    let is_nfs = match &mount.what {
        What::Nfs(_) | What::Server(_) => true,
        What::Device { kind, .. } => matches!(kind.as_str(), "nfs" | "nfs4"),
        What::Profile(_) | What::Copied(_) | What::Empty(_) | What::Nothing => false,
    };
    is_nfs && !mount.options.iter().any(|option| option.starts_with("addr="))
}

/// Kernel and initrds that a decision names.
fn loaded(decision: &Decision) -> Vec<Want> {
    let named = |key: &'static str, paths: &[String]| -> Vec<Want> {
        let said = |why: &Provenance| why.what == key;
        let of = |path: &String| Want::of(Thing::Loaded(path.clone()), format!("`{key}`"), decision, &said);
        paths.iter().map(of).collect()
    };
    let mut loaded = named("kernel", decision.kernel.as_slice());
    loaded.extend(named("initrd", &decision.initrds));
    loaded
}

/// Whether the tree's mount is busybox's, which mounts NFS by itself.
fn mounts_nfs_itself(view: &View) -> bool {
    let object =
        |program: &Program| program.paths().find_map(|path| view.object(view.follow(path.as_bytes())?));
    object(&BUSYBOX).is_some_and(|busybox| object(&MOUNT) == Some(busybox))
}

/// Of what a decision's root is made; a borrowed kernel brings no programs.
fn own_parts(decision: &Decision) -> Vec<&Part> {
    decision.parts.iter().filter(|part| !matches!(part, Part::Kernel { .. })).collect()
}

/// Of what its kernel is looked for in. One that is borrowed hides what is in the trees below it.
fn kernels_parts(decision: &Decision) -> Vec<&Part> {
    let is_tree = |part: &&Part| matches!(part, Part::Profile { .. } | Part::Kernel { .. });
    match decision.parts.iter().rev().find(is_tree) {
        Some(Part::Kernel { parts, .. }) => {
            parts.iter().chain(decision.parts.iter().filter(|part| !is_tree(part))).collect()
        }
        _ => own_parts(decision),
    }
}

/// What can be seen of a site's parts.
struct Sight<'t> {
    tree: &'t Tree<'t>,
    /// Other profiles' trees; none where it can't be looked into.
    views: RefCell<BTreeMap<String, Option<Arc<View>>>>,
    /// Many machines have the same layers.
    layers: RefCell<BTreeMap<(PathBuf, Thing), bool>>,
}

impl Sight<'_> {
    /// Whether one of these has it, or might for all that is known.
    fn has(&self, parts: &[&Part], thing: &Thing) -> bool {
        parts.iter().any(|part| match part {
            Part::Profile { name } if name == self.tree.name => is_in_view(self.tree.view, thing),
            Part::Profile { name } => self.other(name).is_none_or(|view| is_in_view(&view, thing)),
            Part::Layer { path } | Part::Machine { path, .. } => {
                let mut known = self.layers.borrow_mut();
                *known
                    .entry((path.clone(), thing.clone()))
                    .or_insert_with(|| is_in_layer(path, thing).unwrap_or(true))
            }
            Part::Mounted { at, .. } => thing.may_be_below(at),
            Part::Kernel { .. } => false,
        })
    }

    fn other(&self, profile: &str) -> Option<Arc<View>> {
        let look = || {
            let part = Part::Profile { name: profile.to_owned() };
            let head = self.tree.store.head(&reference(&self.tree.site.home, &part).ok()?).ok()??;
            alone(self.tree.store, head.generation).ok()
        };
        self.views.borrow_mut().entry(profile.to_owned()).or_insert_with(look).clone()
    }
}

fn is_in_view(view: &View, thing: &Thing) -> bool {
    let exists = |path: &str| view.follow(path.as_bytes()).and_then(|node| view.object(node)).is_some();
    thing.is_in(&Seen { names: &|directory| view.listed(directory), exists: &exists })
}

/// The same of a directory that is a layer. A link in it is an admin's word that there is something.
fn is_in_layer(layer: &Path, thing: &Thing) -> io::Result<bool> {
    let layer = Dir::open(layer)?;
    let directory = |path: &str| match path.trim_matches('/') {
        "" => layer.again(),
        path => layer.dir(path.as_bytes()),
    };
    let exists = |path: &str| {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let found = directory(above)
            .and_then(|above| Ok(rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?));
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) != FileType::Directory)
    };
    let names = |path: &str| {
        let entries = directory(path).and_then(|found| Ok(rustix::fs::Dir::read_from(&found)?));
        let names = entries.into_iter().flatten().flatten();
        names.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).collect()
    };
    Ok(thing.is_in(&Seen { names: &names, exists: &exists }))
}
