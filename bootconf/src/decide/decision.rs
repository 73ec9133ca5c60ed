//! Which machine gets which boot, and why: a pure function of the catalogue and of who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use oneroot_ids::GenerationId;
use serde::{Deserialize, Serialize};

use crate::decide::asked::{Asked, Catalogue, Who};
use crate::decide::decided::{Decided, Other, Way};
pub use crate::decide::no_plan::NoPlan;
use crate::decide::voices::Voice;
use crate::hardware::Claims;
use crate::root::{Initramfs, OwnInitrd, Root};
use crate::site::assignment::Signed;
use crate::site::gives::Boots;
use crate::site::layers::Layer;
use crate::site::log_place::LogPlace;
use crate::site::mounts::{Mounts, What};
use crate::site::secrets::{SecretKind, Secrets};
use crate::site::when::Case;
use crate::site::{Profile, Site, Source, Vars};

/// One part of a machine's stack, before it is a generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A profile's own tree.
    Profile {
        /// The profile.
        name: String,
    },
    /// Kernel, initrd and modules out of another profile's tree.
    Kernel {
        /// That profile.
        profile: String,
        /// What its root is made of, bottom first.
        parts: Vec<Part>,
    },
    /// Another profile's tree, mounted on a directory.
    Mounted {
        /// The directory, from `/`.
        at: String,
        /// That profile.
        profile: String,
        /// What its root is made of, bottom first.
        parts: Vec<Part>,
    },
    /// A directory of a profile or workload.
    Layer {
        /// Where it is.
        path: PathBuf,
    },
    /// A machine's own files.
    Machine {
        /// The machine.
        name: String,
        /// Where they are.
        path: PathBuf,
    },
}

/// Where one thing in a plan came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Which part of the plan: `profile`, `menu`, `boot`, `group`, `layer`, `argument`, `kernel`, `initrd`, `root`, `initramfs`, `workload`,
    /// `var`, `name`, `mount`, `lasts`, `log`.
    pub what: String,
    /// What it is.
    pub value: String,
    /// The table of the site that says so, or the rule.
    pub from: String,
    /// Whether another table, which is nearer to the machine, says otherwise, so that this does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// What the site says of a machine's boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// The machine's name; none for one that the site does not know, and that no rule has given one.
    pub name: Option<String>,
    /// Whether a rule has given it: then it follows from what the machine tells, and is its own only where nobody else has it.
    pub is_claimed: bool,
    /// Its profile.
    pub profile: String,
    /// What somebody has chosen for that in its menu.
    pub choice: Option<String>,
    /// Its workloads, bottom first.
    pub workloads: Vec<String>,
    /// The groups that it is in, in the order of the site.
    pub groups: Vec<String>,
    /// What its root is made of, bottom first.
    pub parts: Vec<Part>,
    /// Kernel path, where the site says one.
    pub kernel: Option<String>,
    /// Initrd paths, where the site says any, in the order in which a kernel unpacks them.
    pub initrds: Vec<String>,
    /// Where its root comes from.
    pub root: Root,
    /// What mounts the root, where the site says it.
    pub initramfs: Option<Initramfs>,
    /// How an initrd of oneroot's own is made, and what it does.
    pub own: OwnInitrd,
    /// Kernel arguments: profiles bottom first, workloads, machine.
    pub args: Vec<String>,
    /// Where its log goes, where that is not lost with the machine.
    pub log: Option<LogPlace>,
    /// What it mounts: of each place, what the nearest table says.
    pub mounts: Mounts,
    /// Which secrets it has: of each name, what the nearest table says.
    pub secrets: Secrets,
    /// Where it asks for them.
    pub nfs_port: u16,
    /// Where it tells what it has found out about itself.
    pub http_port: u16,
    /// And at which more addresses of the site's servers.
    pub more_addresses: Vec<Ipv4Addr>,
    /// What its templates may say: the site's, profiles' bottom first, workloads', the machine's; the later word counts.
    pub vars: Vars,
    /// Of profiles, generations that it boots instead of their heads.
    pub generations: BTreeMap<String, GenerationId>,
    /// Who assigned it and when, where somebody did.
    pub assigned: Option<Signed>,
    /// Where it all came from.
    pub why: Vec<Provenance>,
}

/// What is said of a machine that nobody has named, where the site says nothing.
const NOBODY: &str = "nobody has named it";

/// How it is shown where a table of that name says it.
const LASTS: &str = "lasts";

/// Decides what boots a machine.
///
/// The first of its [voices](Catalogue::voices) that says what it boots counts. Layers, arguments and variables add up the
/// other way round, so that of a variable the nearest word is the last: profiles bottom first, groups in the order of the
/// site, their workloads, and then each nearer voice, with its workloads before its own. Of kernel and initramfs the topmost
/// profile's word counts; a profile that names a kernel does not inherit an initrd, which would be another kernel's.
///
/// # Errors
/// [`NoPlan::NoProfile`], [`NoPlan::NoSuchProfile`], [`NoPlan::NoSuchMenu`].
pub fn decide(catalogue: &Catalogue<'_>, asked: &Asked) -> Result<Decided, NoPlan> {
    decided(catalogue, asked, For::Boot(None))
}

/// Decides which tree a machine has that keeps one on a disk of its own: the first voice that names a profile counts, whatever
/// nearer ones say of how it boots. So one group may say `boot = "local"`, and another what is to lie on those disks.
///
/// # Errors
/// As [`decide`].
pub fn tree_of(catalogue: &Catalogue<'_>, asked: &Asked) -> Result<Decided, NoPlan> {
    decided(catalogue, asked, For::Tree)
}

/// The same for somebody who has chosen in a menu: the choice is the nearest voice, if that menu has it and is still the one that
/// counts. A word that is no choice of it is as none.
///
/// # Errors
/// As [`decide`].
pub fn chosen(catalogue: &Catalogue<'_>, asked: &Asked, choice: &str) -> Result<Decided, NoPlan> {
    decided(catalogue, asked, For::Boot(Some(choice)))
}

/// What a decision is for.
#[derive(Clone, Copy)]
enum For<'a> {
    /// A boot, and what somebody has chosen for it in a menu.
    Boot(Option<&'a str>),
    /// A copy of a tree.
    Tree,
}

fn decided(catalogue: &Catalogue<'_>, asked: &Asked, purpose: For<'_>) -> Result<Decided, NoPlan> {
    let (site, known) = (catalogue.site(), catalogue.machine(asked.who).map(|(name, _)| name));
    let mut voices = catalogue.voices(asked);
    let choice = if let For::Boot(choice) = purpose { choice } else { None };
    let counts = |boots: &Boots| matches!(purpose, For::Boot(_)) || boots.profile().is_some();
    let first = |voices: &[Voice<'_>]| voices.iter().position(|voice| voice.boots().is_some_and(counts));
    let (mut menu, mut taken) = (None, None);
    if let Some((place, name)) = first(&voices).and_then(|at| Some((at, voices.get(at)?.boots()?.menu()?))) {
        let found = site.menus.get(name).ok_or_else(|| NoPlan::NoSuchMenu(name.to_owned()))?;
        match choice.and_then(|choice| found.choice(choice)) {
            Some(choice) => {
                taken = Some(choice.name.clone());
                // In front of the voice that shows the menu and behind those that are nearer, whose variables count over a
                // choice's.
                voices.insert(place, Voice::chosen(name, choice));
            }
            None => menu = Some((name, found)),
        }
    }
    // The first counts; what is left of them is shown as hidden.
    let mut said = voices
        .iter()
        .filter_map(|voice| Some((voice.boots().filter(|boots| counts(boots))?, voice.from.as_str())));
    let (boots, from) = match said.next() {
        Some(first) => first,
        // Nobody has named it, and nothing is said of such.
        None if known.is_none() => (&Boots::Hold, NOBODY),
        None => return Err(NoPlan::NoProfile(known.unwrap_or_default().to_owned())),
    };
    let profile = match (boots, menu) {
        (Boots::Profile(profile), _) => profile,
        (Boots::Local, _) => return Ok(other(known, &voices, Way::Local, (boots, from), said)),
        (Boots::Menu(_), Some((name, menu))) => {
            let way = Way::Menu(name.to_owned(), menu.clone());
            return Ok(other(known, &voices, way, (boots, from), said));
        }
        (Boots::Hold | Boots::Menu(_), _) => {
            return Ok(other(known, &voices, Way::Hold, (boots, from), said));
        }
    };
    if !site.profiles.contains_key(profile) {
        return Err(NoPlan::NoSuchProfile { profile: profile.clone(), from: from.to_owned() });
    }
    let case = &Weighed { case: catalogue.case(asked), all: asked.supposed.layers };
    let (nfs_port, http_port) = (site.server.nfs_port, site.server.http_port);
    let mut decision = Decision { choice: taken, nfs_port, http_port, ..Decision::empty(known, profile) };
    decision.more_addresses.clone_from(&site.server.more_addresses);
    decision.note_assigned(&voices);
    decision.record("profile", profile, from);
    said.for_each(|(boots, from)| decision.why.push(Provenance::hidden(boots, from)));
    decision.add_all(site, &voices, case);
    voices.iter().rev().for_each(|voice| decision.name_by(voice, catalogue, asked));
    Ok(Decided::Profile(Box::new(decision)))
}

/// A decision for no profile, and what else was said.
fn other<'v>(
    name: Option<&str>,
    voices: &[Voice<'_>],
    way: Way,
    (boots, from): (&Boots, &str),
    hidden: impl Iterator<Item = (&'v Boots, &'v str)>,
) -> Decided {
    let said = Provenance { hidden: false, ..Provenance::hidden(boots, from) };
    let hidden = hidden.map(|(boots, from)| Provenance::hidden(boots, from));
    Decided::Other(Other {
        name: name.map(str::to_owned),
        way,
        groups: voices.iter().filter_map(|voice| voice.group.map(str::to_owned)).collect(),
        why: [said].into_iter().chain(hidden).collect(),
    })
}

impl Provenance {
    /// What a voice says is booted, where a nearer one says otherwise.
    fn hidden(boots: &Boots, from: &str) -> Self {
        let (what, value) = boots.as_said();
        Self { what: what.to_owned(), value: value.to_owned(), from: from.to_owned(), hidden: true }
    }
}

/// Who asks, as far as layers go by it.
struct Weighed<'c> {
    case: Case<'c>,
    /// Whether all conditions are taken for true.
    all: bool,
}

impl Weighed<'_> {
    fn has(&self, layer: &Layer) -> bool {
        self.all || layer.when.as_ref().is_none_or(|when| when.fits(&self.case))
    }
}

impl Decision {
    /// The same for a machine that can't have the name which its rule gives it, for another has it.
    #[must_use]
    pub fn unnamed(mut self) -> Self {
        if self.is_claimed {
            (self.name, self.is_claimed) = (None, false);
            self.why.iter_mut().filter(|why| why.what == "name").for_each(|why| why.hidden = true);
        }
        self
    }

    /// The name that a rule gives to one whom nobody has named. What a client tells never makes it a machine of the site.
    fn name_by(&mut self, voice: &Voice<'_>, catalogue: &Catalogue<'_>, asked: &Asked) {
        let mac = if let Who::Nic(mac) = asked.who { Some(mac) } else { None };
        let naming = voice.rule.and_then(|rule| rule.name.as_ref());
        let Some(name) = naming.and_then(|naming| naming.name(mac, &asked.claims)) else { return };
        if self.name.is_some() || catalogue.site().machines.contains_key(&name) {
            self.record_hidden("name", &name, &voice.from);
        } else {
            self.record("name", &name, &voice.from);
            (self.name, self.is_claimed) = (Some(name), true);
        }
    }

    /// What a profile says with those that it extends, whoever boots it; of layers, those without a condition.
    #[must_use]
    pub fn of_profile(site: &Site, profile: &str) -> Self {
        let (mut decision, claims) = (Self::empty(None, profile), Claims::default());
        let case = Case { macs: Vec::new(), addresses: Vec::new(), claims: &claims };
        decision.add_profiles(site, profile, &Weighed { case, all: false });
        decision
    }

    /// Nothing yet but whose it is.
    fn empty(name: Option<&str>, profile: &str) -> Self {
        Self { name: name.map(str::to_owned), profile: profile.to_owned(), ..Self::default() }
    }

    /// All that adds up, farthest first: profiles, groups with their workloads, and then each nearer voice.
    fn add_all(&mut self, site: &Site, voices: &[Voice<'_>], case: &Weighed<'_>) {
        self.merge_vars(&site.vars, "[vars]");
        self.add_profiles(site, &self.profile.clone(), case);
        let trees = self.parts.len();
        let groups = || voices.iter().filter_map(|voice| Some((voice.group?, voice)));
        for (name, voice) in groups() {
            self.groups.push(name.to_owned());
            self.record("group", name, &voice.from);
            self.add(voice, case);
        }
        groups().for_each(|(_, voice)| self.add_workloads(site, voice, case));
        for voice in voices.iter().rev().filter(|voice| voice.group.is_none() && !voice.is_mute) {
            self.add_workloads(site, voice, case);
            if let Some((name, path)) = voice.layer {
                let part = Part::Machine { name: name.to_owned(), path: path.to_owned() };
                self.push_layer(part, &path.display().to_string(), &voice.from);
            }
            self.add(voice, case);
        }
        self.lay_mounted(site, case, trees);
    }

    /// Lays the trees that are mounted over the profile's own, and below all that is a machine's or a group's: so machines that mount the
    /// same share it, whatever else they have, and their layers lie over it as over everything.
    fn lay_mounted(&mut self, site: &Site, case: &Weighed<'_>, trees: usize) {
        self.mounts.retain(|_, mount| mount.what != What::Nothing);
        // Whoever nobody has named could be anybody: a rule's name is a claim.
        let is_named = self.name.is_some() && !self.is_claimed;
        self.secrets.retain(|_, secret| is_named && secret.kind != SecretKind::None);
        let mounted = self.mounts.iter().filter_map(|(at, mount)| match &mount.what {
            What::Profile(profile) => Some(Part::Mounted {
                at: at.clone(),
                profile: profile.clone(),
                parts: lent(site, profile, case),
            }),
            _ => None,
        });
        let mounted: Vec<Part> = mounted.collect();
        self.parts.splice(trees..trees, mounted);
    }

    /// Takes mounts in, over those of the tables before.
    fn merge_mounts(&mut self, mounts: &Mounts, from: &str) {
        for (at, mount) in mounts {
            ["mount", LASTS].iter().for_each(|what| self.hide(what, at));
            let what = if mount.what.is_lasting() { LASTS } else { "mount" };
            self.record(what, &format!("{at} {}", mount.what), from);
            self.mounts.insert(at.clone(), mount.clone());
        }
    }

    /// Takes secrets in, over those of the tables before.
    fn merge_secrets(&mut self, secrets: &Secrets, from: &str) {
        for (name, secret) in secrets {
            self.hide("secret", name);
            self.record("secret", &format!("{name} {}", secret.kind), from);
            self.secrets.insert(name.clone(), secret.clone());
        }
    }

    /// What was said of this before does not count any more.
    fn hide(&mut self, what: &str, name: &str) {
        let is_of = |why: &Provenance| why.what == what && why.value.split(' ').next() == Some(name);
        self.why.iter_mut().filter(|why| is_of(why)).for_each(|why| why.hidden = true);
    }

    /// Who assigned something, and the generations that were.
    fn note_assigned(&mut self, voices: &[Voice<'_>]) {
        // The nearest comes last, so that its word counts.
        let assigned = voices.iter().rev().filter_map(|voice| Some((voice.assigned?, &voice.from)));
        for (assigned, from) in assigned {
            self.assigned = Some(assigned.signed.clone());
            for (profile, generation) in &assigned.generations {
                self.record("generation", &format!("{profile} {generation}"), from);
                self.generations.insert(profile.clone(), *generation);
            }
        }
    }

    /// A profile and those that it extends, bottom first.
    fn add_profiles(&mut self, site: &Site, profile: &str, case: &Weighed<'_>) {
        for (name, profile) in site.chain(profile) {
            let table = format!("[profile.{name}]");
            if profile.source.is_some() {
                self.push_layer(Part::Profile { name: name.to_owned() }, name, &table);
            }
            if let Some(lender) = &profile.kernel_from {
                self.borrow(site, lender, &table, case);
            }
            self.add_parts(&profile.layers, &profile.args, &table, case);
            self.merge_vars(&profile.vars, &table);
            self.merge_mounts(&profile.mounts, &table);
            self.merge_secrets(&profile.secrets, &table);
            if let Some(log) = &profile.log {
                self.log = Some(log.clone());
                self.record("log", &log.to_string(), &table);
            }
            self.boot_with(profile, &table);
            if let Some(root) = profile.root {
                self.root = root;
                self.record("root", root.as_str(), &table);
            }
        }
    }

    /// The workloads that a voice names, bottom first.
    fn add_workloads(&mut self, site: &Site, voice: &Voice<'_>, case: &Weighed<'_>) {
        let from = voice.from.as_str();
        for name in voice.gives.iter().flat_map(|gives| &gives.workloads) {
            if self.workloads.contains(name) {
                self.record_hidden("workload", name, from);
                continue;
            }
            self.record("workload", name, from);
            self.workloads.push(name.clone());
            if let Some(workload) = site.workloads.get(name) {
                let table = format!("[workload.{name}]");
                self.add_parts(&workload.layers, &workload.args, &table, case);
                self.merge_vars(&workload.vars, &table);
                self.merge_mounts(&workload.mounts, &table);
                self.merge_secrets(&workload.secrets, &table);
            }
        }
    }

    /// Notes where one thing comes from.
    fn record(&mut self, what: &str, value: &str, from: &str) {
        self.why.push(Provenance {
            what: what.to_owned(),
            value: value.to_owned(),
            from: from.to_owned(),
            hidden: false,
        });
    }

    /// Notes what would come from a table, were there not a word that counts more.
    fn record_hidden(&mut self, what: &str, value: &str, from: &str) {
        self.record(what, value, from);
        self.why.last_mut().into_iter().for_each(|last| last.hidden = true);
    }

    /// Takes in which kernel and initrd a profile names.
    fn boot_with(&mut self, profile: &Profile, table: &str) {
        if let Some(kernel) = &profile.kernel {
            (self.kernel, self.initrds) = (Some(kernel.clone()), Vec::new());
            self.record("kernel", kernel, table);
        }
        if !profile.initrds.is_empty() {
            self.initrds.clone_from(&profile.initrds);
            self.record("initrd", &profile.initrds.join(" "), table);
        }
        if let Some(initramfs) = profile.initramfs {
            self.initramfs = Some(initramfs);
            self.record("initramfs", initramfs.as_str(), table);
        }
        for (key, value) in self.own.take(&profile.own) {
            self.record(key, &value, table);
        }
    }

    /// Lays another profile's kernel, initrd and modules over what there is, with what that profile says of them.
    fn borrow(&mut self, site: &Site, lender: &str, from: &str, case: &Weighed<'_>) {
        let parts = lent(site, lender, case);
        for (name, profile) in site.chain(lender) {
            self.boot_with(profile, &format!("[profile.{name}]"));
        }
        self.push_layer(
            Part::Kernel { profile: lender.to_owned(), parts },
            &format!("kernel of {lender}"),
            from,
        );
    }

    fn push_layer(&mut self, part: Part, shown: &str, from: &str) {
        self.record("layer", shown, from);
        self.parts.push(part);
    }

    /// Takes variables in, over those of the tables before.
    fn merge_vars(&mut self, vars: &Vars, from: &str) {
        for (name, value) in vars {
            // Of a variable that is said again only the word that counts is shown.
            self.why.retain(|why| why.what != "var" || why.value.split('=').next() != Some(name));
            self.record("var", &format!("{name}={value}"), from);
            self.vars.insert(name.clone(), value.clone());
        }
    }

    /// What a voice gives itself.
    fn add(&mut self, voice: &Voice<'_>, case: &Weighed<'_>) {
        if let Some(gives) = voice.gives {
            self.add_parts(&gives.layers, &gives.args, &voice.from, case);
            self.merge_vars(&gives.vars, &voice.from);
            self.merge_mounts(&gives.mounts, &voice.from);
            self.merge_secrets(&gives.secrets, &voice.from);
        }
    }

    fn add_parts(&mut self, layers: &[Layer], args: &[String], from: &str, case: &Weighed<'_>) {
        for layer in layers {
            let shown = layer.path.display().to_string();
            let when = layer.when.as_ref();
            let from = when.map_or(from.to_owned(), |when| format!("{from}, only when {when}"));
            if case.has(layer) {
                self.push_layer(Part::Layer { path: layer.path.clone() }, &shown, &from);
            } else {
                self.record_hidden("layer", &shown, &from);
            }
        }
        for argument in args {
            self.record("argument", argument, from);
            self.args.push(argument.clone());
        }
    }
}

/// What the root of a profile is made of, for another profile that has a part of it: its trees with their layers, bottom first.
fn lent(site: &Site, profile: &str, case: &Weighed<'_>) -> Vec<Part> {
    let mut parts = Vec::new();
    for (name, profile) in site.chain(profile) {
        if profile.source.is_some() {
            parts.push(Part::Profile { name: name.to_owned() });
        }
        let layers = profile.layers.iter().filter(|layer| case.has(layer));
        parts.extend(layers.map(|layer| Part::Layer { path: layer.path.clone() }));
    }
    parts
}

/// Every part that the site has, with a profile's source, each once: what `oneroot stage` stages.
#[must_use]
pub fn parts(site: &Site) -> Vec<(Part, Source)> {
    let (mut all, mut known): (Vec<(Part, Source)>, _) = (Vec::new(), BTreeSet::new());
    let mut add = |part: Part, source: Source| {
        if known.insert(part.clone()) {
            all.push((part, source));
        }
    };
    let layer = |layer: &Layer| {
        let path = &layer.path;
        (Part::Layer { path: path.clone() }, Source::Directory { path: path.clone(), one_file_system: true })
    };
    for (name, profile) in &site.profiles {
        if let Some(source) = &profile.source {
            add(Part::Profile { name: name.clone() }, source.clone());
        }
        profile.layers.iter().map(layer).for_each(|(part, source)| add(part, source));
    }
    // Those of workloads, groups and rules; whose conditions are true is not known before a machine asks.
    site.shared_layers().map(layer).for_each(|(part, source)| add(part, source));
    for (name, machine) in &site.machines {
        if let Some(path) = &machine.layer {
            add(
                Part::Machine { name: name.clone(), path: path.clone() },
                Source::Directory { path: path.clone(), one_file_system: true },
            );
        }
    }
    all
}
