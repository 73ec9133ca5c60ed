//! A boot plan: all that a machine was told at one boot, and what it is made of: kernel and initrds of a tree, arguments, the
//! script, the files that the machine is given.

pub mod args;
pub mod drivers;
pub mod export;
pub mod firmware;
pub mod given;
pub mod initrd;
pub mod kernels;
mod lasts;
pub mod microcode;
pub mod mounts;
mod own;
pub mod screens;
pub mod script;
pub mod secrets;
mod version;

use std::collections::BTreeMap;
use std::fmt;

use oneroot_ids::{BootId, GenerationId, Mac, MachineId, ViewId};
use serde::{Deserialize, Serialize};

use crate::decide::decision::{Decision, Provenance};
use crate::decide::facts::Facts;
use crate::plan::args::{Boot, arguments};
use crate::plan::export::{Export, SEAL};
use crate::plan::kernels::Loaded;
use crate::plan::own::settings;
use crate::root::{Initramfs, Root};
use crate::site::Site;
use crate::site::assignment::Signed;
use crate::site::log_place::LogPlace;
use crate::site::mounts::Mounts;
use crate::site::secrets::Secrets;

/// Generations, bottom first, by the places where they are mounted.
pub type Mounted = BTreeMap<String, Vec<GenerationId>>;

/// Everything that a machine was told at one boot; durable before the first byte leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPlan {
    /// This boot.
    pub boot: BootId,
    /// The machine.
    pub machine: MachineId,
    /// The NIC that booted.
    pub mac: Mac,
    /// What people call it: its name, or its MAC.
    pub name: String,
    /// Its profile.
    pub profile: String,
    /// What somebody has chosen for that in its menu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Its workloads.
    pub workloads: Vec<String>,
    /// Its root.
    pub view: ViewId,
    /// Its kernel.
    pub kernel: BootFile,
    /// Its initrds, in the order in which the kernel unpacks them.
    #[serde(rename = "initrd", default, with = "one_or_many")]
    pub initrds: Vec<BootFile>,
    /// Its kernel arguments.
    pub args: Vec<String>,
    /// How it gets its root.
    #[serde(default)]
    pub root: Root,
    /// What mounts that root, where there is one; boots of before 0.5 did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initramfs: Option<Initramfs>,
    /// What it mounts, by the places.
    #[serde(default, skip_serializing_if = "Mounts::is_empty")]
    pub mounts: Mounts,
    /// Where its log goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogPlace>,
    /// Which secrets it may ask for, by their names.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// Of the profiles that it mounts: the generations that it has of each, bottom first, by the places.
    #[serde(default, skip_serializing_if = "Mounted::is_empty")]
    pub mounted: Mounted,
    /// The assignment that it was decided by, where there was one: who made it, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Signed>,
    /// What its templates were rendered from.
    #[serde(default)]
    pub facts: Option<Facts>,
    /// Where all that came from.
    pub why: Vec<Provenance>,
}

/// All that a plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    /// The site.
    pub site: &'t Site,
    /// What it decided.
    pub decision: &'t Decision,
    /// The machine's facts.
    pub facts: &'t Facts,
    /// What it loads.
    pub loaded: &'t Loaded,
    /// Its root.
    pub view: ViewId,
    /// What that has of the profiles that it mounts.
    pub mounted: &'t Mounted,
    /// The NIC that boots.
    pub mac: Mac,
    /// The machine.
    pub machine: MachineId,
    /// This boot.
    pub boot: BootId,
    /// What vouches for the boot, where its address does not.
    pub seal: Option<[u8; SEAL]>,
}

impl BootPlan {
    /// What a machine is told on these terms.
    #[must_use]
    pub fn of(terms: &Terms<'_>) -> Self {
        let Terms { site, decision, mac, boot, machine, view, .. } = *terms;
        let root = decision.root;
        let args = arguments(&Boot {
            root,
            initramfs: terms.loaded.initramfs,
            server: terms.facts.site.server,
            port: site.server.nfs_port,
            export: Export::of(view, boot, terms.seal),
            mac,
            machine,
            boot,
            overlay: decision.own.overlay,
            restart: decision.own.restart,
            extra: &decision.args,
        });
        let mut initrds: Vec<BootFile> = terms.loaded.initrds.iter().cloned().map(BootFile::View).collect();
        // Last, so that what it has counts: the program that runs, and the settings. But for what a kernel looks for before it unpacks
        // anything, which it finds at the very beginning alone.
        if let Some(own) = &terms.loaded.own {
            let mut parts = own.parts.clone();
            if !initrds.is_empty() {
                let early = parts.drain(..parts.len().saturating_sub(1));
                initrds.splice(0..0, early.map(BootFile::View));
            }
            initrds.push(BootFile::Joined { parts, settings: settings(terms).to_string() });
        }
        Self {
            boot,
            machine,
            mac,
            name: decision.name.clone().unwrap_or_else(|| mac.to_string()),
            profile: decision.profile.clone(),
            choice: decision.choice.clone(),
            workloads: decision.workloads.clone(),
            view,
            kernel: BootFile::View(terms.loaded.kernel.clone()),
            initrds,
            args,
            root,
            initramfs: (root == Root::Nfs).then_some(terms.loaded.initramfs),
            mounts: decision.mounts.clone(),
            log: decision.log.clone(),
            secrets: decision.secrets.clone(),
            mounted: terms.mounted.clone(),
            assigned: decision.assigned.clone(),
            facts: Some(terms.facts.clone()),
            why: decision.why.clone(),
        }
    }

    /// The files that the machine loads, with the names under which it asks for them: `kernel`, `initrd`, `initrd2` and so on.
    pub fn files(&self) -> impl Iterator<Item = (String, &BootFile)> {
        let initrds = self.initrds.iter().zip(1_usize..);
        let named = initrds.map(|(file, number)| {
            (if number == 1 { INITRD.to_owned() } else { format!("{INITRD}{number}") }, file)
        });
        [(KERNEL.to_owned(), &self.kernel)].into_iter().chain(named)
    }

    /// The file that the machine asks for by a name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&BootFile> {
        self.files().find_map(|(known, file)| (known == name).then_some(file))
    }
}

/// Under which name a machine asks for its kernel.
pub const KERNEL: &str = "kernel";
/// Under which name it asks for its first initrd.
pub const INITRD: &str = "initrd";

/// A file that a machine loads before it has a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BootFile {
    /// A path in the boot's view.
    View(String),
    /// An initrd that is made for one boot.
    Joined {
        /// Paths in the boot's view, one behind the other.
        parts: Vec<String>,
        /// What comes behind them, as an archive: the settings of this boot, frozen with it
        /// ([`oneroot_initrd::settings::Settings`]).
        settings: String,
    },
}

impl fmt::Display for BootFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(path) => f.write_str(path),
            Self::Joined { parts, .. } => write!(f, "{} and this boot's settings", parts.join(" ")),
        }
    }
}

/// Most boots have one initrd, and records of before 0.5 know no more: one is written as itself, none as null.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use super::BootFile;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(BootFile),
        Many(Vec<BootFile>),
    }

    pub fn serialize<S: Serializer>(files: &[BootFile], serializer: S) -> Result<S::Ok, S::Error> {
        match files {
            [] => serializer.serialize_none(),
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<BootFile>, D::Error> {
        Ok(match Option::<Written>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(Written::One(file)) => vec![file],
            Some(Written::Many(files)) => files,
        })
    }
}
