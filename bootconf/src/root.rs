//! How a machine gets its root: where it comes from, and what mounts it. Each may go with any of the other.

use oneroot_initrd::settings::{Overlay, size, zram};
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
    /// oneroot's own, made for each boot of the tree's kernel and modules: mount(2).
    Oneroot,
    /// None: the kernel mounts its root itself.
    None,
}

impl Initramfs {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::InitramfsTools, Self::Dracut, Self::Oneroot, Self::None];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut => "dracut",
            Self::Oneroot => "oneroot",
            Self::None => "none",
        }
    }
}

/// Which drivers lie in an initrd of oneroot's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Drivers {
    /// Its NIC's, where that is known.
    #[default]
    Nic,
    /// The common ones.
    Common,
    /// All of Ethernet.
    All,
}

impl Drivers {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Nic, Self::Common, Self::All];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nic => "nic",
            Self::Common => "common",
            Self::All => "all",
        }
    }
}

/// What a profile says of an initrd of oneroot's own: how it is made, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnInitrd {
    /// Which drivers lie in it.
    pub drivers: Option<Drivers>,
    /// What takes what the machine writes.
    pub overlay: Option<Overlay>,
    /// Seconds after which a machine that can't come up is started again.
    pub restart: Option<u32>,
    /// What its link carries.
    pub mtu: Option<u16>,
    /// The VLAN whose frames it has to tag.
    pub vlan: Option<u16>,
}

impl OwnInitrd {
    /// The VLAN that a machine's init makes a link for: other initrds heed none.
    #[must_use]
    pub fn vlan_by(&self, initramfs: Initramfs) -> Option<u16> {
        self.vlan.filter(|_| initramfs == Initramfs::Oneroot)
    }

    /// Whether a machine's init makes a zram disk: other initrds make none.
    #[must_use]
    pub fn zram_by(&self, initramfs: Initramfs) -> bool {
        initramfs == Initramfs::Oneroot && matches!(self.overlay, Some(Overlay::Zram(..)))
    }

    /// Takes in what a nearer profile says, and tells what that is: key and value.
    pub fn take(&mut self, nearer: &Self) -> Vec<(&'static str, String)> {
        let Self { drivers, overlay, restart, mtu, vlan } = nearer;
        self.drivers = drivers.or(self.drivers);
        self.overlay = overlay.or(self.overlay);
        self.restart = restart.or(self.restart);
        self.mtu = mtu.or(self.mtu);
        self.vlan = vlan.or(self.vlan);
        let said = [
            ("drivers", drivers.map(|drivers| drivers.as_str().to_owned())),
            ("overlay", overlay.map(|overlay| overlay.to_string())),
            ("restart_after", restart.map(|seconds| format!("{seconds}s"))),
            ("mtu", mtu.map(|mtu| mtu.to_string())),
            ("vlan", vlan.map(|vlan| vlan.to_string())),
        ];
        said.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// What takes what a machine writes, as a site file spells it: `50%`, `512M`, `zram 50%`, `zram 2g zstd`; none for any other words.
#[must_use]
pub fn overlay(text: &str) -> Option<Overlay> {
    match text.split_once(' ') {
        Some(("zram", words)) => zram(words),
        Some(("tmpfs", amount)) => size(amount).map(Overlay::Tmpfs),
        _ => size(text).map(Overlay::Tmpfs),
    }
}
