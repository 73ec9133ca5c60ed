//! Which machine gets which boot, and why: a pure function of site and MAC.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

use crate::args::Initramfs;
use crate::site::{Machine, Profile, Site, Source, Vars};

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
pub struct Why {
    /// Which part of the plan: `profile`, `layer`, `argument`, `kernel`, `initrd`, `initramfs`, `workload`, `var`.
    pub what: String,
    /// What it is.
    pub value: String,
    /// The table of the site that says so, or the rule.
    pub from: String,
}

/// What the site says of a machine's boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The machine's name; none for one that the site does not know.
    pub name: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Its workloads, bottom first.
    pub workloads: Vec<String>,
    /// What its root is made of, bottom first.
    pub parts: Vec<Part>,
    /// Kernel path, where the site says one.
    pub kernel: Option<String>,
    /// Initrd path, where the site says one.
    pub initrd: Option<String>,
    /// What mounts the root.
    pub initramfs: Initramfs,
    /// Kernel arguments: profiles bottom first, workloads, machine.
    pub args: Vec<String>,
    /// What its templates may say: the site's, profiles' bottom first, workloads', the machine's; the later word counts.
    pub vars: Vars,
    /// Where it all came from.
    pub why: Vec<Why>,
}

/// Why a machine gets no boot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// Nobody has named it, and unknown machines get no profile.
    #[error("{0} is not a machine of this site; give it a [machine] table, or unknown machines a profile")]
    Unknown(Mac),
    /// Its tree has no kernel.
    #[error(
        "profile {profile} has no kernel{wanted}; install one in the tree, or say `kernel =` in the profile"
    )]
    NoKernel {
        /// The profile.
        profile: String,
        /// What the site asked for, with a colon before it.
        wanted: String,
    },
    /// Its kernel has no initrd.
    #[error(
        "profile {profile} has no initrd for {kernel}; make one in the tree, or say `initramfs = \"none\"`"
    )]
    NoInitrd {
        /// The profile.
        profile: String,
        /// The kernel.
        kernel: String,
    },
}

/// Decides what boots a machine.
///
/// Layers and arguments add up: profiles bottom first, workloads in the machine's order, the machine. Of kernel and
/// initramfs the topmost profile's word counts; a profile that names a kernel does not inherit an initrd, which would be
/// another kernel's.
///
/// # Errors
/// [`NoPlan::Unknown`].
pub fn decide(site: &Site, mac: Mac) -> Result<Decision, NoPlan> {
    decision(site, site.machine(mac)).ok_or(NoPlan::Unknown(mac))
}

/// The same for a machine that the site does not name, whatever its MAC; none where those get nothing.
#[must_use]
pub fn decide_unknown(site: &Site) -> Option<Decision> {
    decision(site, None)
}

fn decision(site: &Site, known: Option<(&str, &Machine)>) -> Option<Decision> {
    let (profile, from) = match (known, &site.unknown) {
        (Some((name, machine)), _) => (machine.profile.as_str(), format!("[machine.{name}]")),
        (None, Some(profile)) => (profile.as_str(), "[unknown]".to_owned()),
        (None, None) => return None,
    };
    let mut decision = Decision {
        name: known.map(|(name, _)| name.to_owned()),
        profile: profile.to_owned(),
        workloads: known.map_or(Vec::new(), |(_, machine)| machine.workloads.clone()),
        parts: Vec::new(),
        kernel: None,
        initrd: None,
        initramfs: Initramfs::InitramfsTools,
        args: Vec::new(),
        vars: BTreeMap::new(),
        why: Vec::new(),
    };
    decision.because("profile", profile, &from);
    decision.say(&site.vars, "[vars]");
    for (name, profile) in site.chain(profile) {
        let table = format!("[profile.{name}]");
        if profile.source.is_some() {
            decision.lay(Part::Profile { name: name.to_owned() }, name, &table);
        }
        if let Some(lender) = &profile.kernel_from {
            decision.borrow(site, lender, &table);
        }
        decision.add(&profile.layers, &profile.args, &table);
        decision.say(&profile.vars, &table);
        decision.boot_with(profile, &table);
    }
    for name in decision.workloads.clone() {
        decision.because("workload", &name, &from);
        if let Some(workload) = site.workloads.get(&name) {
            let table = format!("[workload.{name}]");
            decision.add(&workload.layers, &workload.args, &table);
            decision.say(&workload.vars, &table);
        }
    }
    if let Some((name, machine)) = known {
        if let Some(path) = &machine.layer {
            let part = Part::Machine { name: name.to_owned(), path: path.clone() };
            decision.lay(part, &path.display().to_string(), &from);
        }
        decision.add(&[], &machine.args, &from);
        decision.say(&machine.vars, &from);
    }
    Some(decision)
}

impl Decision {
    fn because(&mut self, what: &str, value: &str, from: &str) {
        self.why.push(Why { what: what.to_owned(), value: value.to_owned(), from: from.to_owned() });
    }

    /// Takes in which kernel and initrd a profile names.
    fn boot_with(&mut self, profile: &Profile, table: &str) {
        if let Some(kernel) = &profile.kernel {
            (self.kernel, self.initrd) = (Some(kernel.clone()), None);
            self.because("kernel", kernel, table);
        }
        if let Some(initrd) = &profile.initrd {
            self.initrd = Some(initrd.clone());
            self.because("initrd", initrd, table);
        }
        if let Some(initramfs) = profile.initramfs {
            self.initramfs = initramfs;
            self.because("initramfs", initramfs.as_str(), table);
        }
    }

    /// Lays another profile's kernel, initrd and modules over what there is, with what that profile says of them.
    fn borrow(&mut self, site: &Site, lender: &str, from: &str) {
        let mut parts = Vec::new();
        for (name, profile) in site.chain(lender) {
            if profile.source.is_some() {
                parts.push(Part::Profile { name: name.to_owned() });
            }
            parts.extend(profile.layers.iter().map(|path| Part::Layer { path: path.clone() }));
            self.boot_with(profile, &format!("[profile.{name}]"));
        }
        self.lay(Part::Kernel { profile: lender.to_owned(), parts }, &format!("kernel of {lender}"), from);
    }

    fn lay(&mut self, part: Part, shown: &str, from: &str) {
        self.because("layer", shown, from);
        self.parts.push(part);
    }

    /// Takes variables in, over those of the tables before.
    fn say(&mut self, vars: &Vars, from: &str) {
        for (name, value) in vars {
            self.why.retain(|why| why.what != "var" || why.value.split('=').next() != Some(name));
            self.because("var", &format!("{name}={value}"), from);
            self.vars.insert(name.clone(), value.clone());
        }
    }

    fn add(&mut self, layers: &[PathBuf], args: &[String], from: &str) {
        for path in layers {
            self.lay(Part::Layer { path: path.clone() }, &path.display().to_string(), from);
        }
        for argument in args {
            self.because("argument", argument, from);
            self.args.push(argument.clone());
        }
    }
}

/// Every part that the site has, with a profile's source, each once: what `oneroot stage` stages.
#[must_use]
pub fn parts(site: &Site) -> Vec<(Part, Source)> {
    let mut all: Vec<(Part, Source)> = Vec::new();
    let mut add = |part: Part, source: Source| {
        if !all.iter().any(|(known, _)| *known == part) {
            all.push((part, source));
        }
    };
    let layer = |path: &PathBuf| {
        (Part::Layer { path: path.clone() }, Source::Directory { path: path.clone(), one_file_system: true })
    };
    for (name, profile) in &site.profiles {
        if let Some(source) = &profile.source {
            add(Part::Profile { name: name.clone() }, source.clone());
        }
        profile.layers.iter().map(layer).for_each(|(part, source)| add(part, source));
    }
    for workload in site.workloads.values() {
        workload.layers.iter().map(layer).for_each(|(part, source)| add(part, source));
    }
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
