//! A boot plan: all that a machine was told at one boot.

use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use serde::{Deserialize, Serialize};

use crate::decision::Why;
use crate::facts::Facts;

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
    /// Its workloads.
    pub workloads: Vec<String>,
    /// Its root.
    pub view: ViewId,
    /// Its kernel: a path in the view.
    pub kernel: String,
    /// Its initrd: a path in the view.
    pub initrd: Option<String>,
    /// Its kernel arguments.
    pub args: Vec<String>,
    /// How it gets its root.
    #[serde(default)]
    pub root: Root,
    /// What its templates were rendered from.
    #[serde(default)]
    pub facts: Option<Facts>,
    /// Where all that came from.
    pub why: Vec<Why>,
}

/// How a machine gets its root. More kinds are to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// Over NFS, from the view.
    #[default]
    Nfs,
}
