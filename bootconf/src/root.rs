//! How a machine gets its root: where it comes from, and what mounts it. Each may go with any of the other.

use serde::{Deserialize, Serialize};

/// How a machine gets its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// Over NFS, from the view.
    #[default]
    Nfs,
    /// Not from here: a kernel and its initrds are all that is handed out, as installers, memtest and rescue systems are.
    None,
}

impl Root {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Nfs, Self::None];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nfs => "nfs",
            Self::None => "none",
        }
    }
}

/// What a site says where a kernel without a root of ours is to be told the NIC that booted, as PXELINUX's IPAPPEND 2 does.
pub(crate) const NIC: &str = "BOOTIF";

/// Which program of the initramfs mounts the root, and so which grammar the arguments have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// Debian's and Ubuntu's: klibc nfsmount.
    #[default]
    InitramfsTools,
    /// dracut: mount.nfs.
    Dracut,
    /// None: the kernel mounts its root itself.
    None,
}

impl Initramfs {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::InitramfsTools, Self::Dracut, Self::None];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
            Self::None => "none",
        }
    }
}
