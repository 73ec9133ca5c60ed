//! A site as the rest of the program uses it: everything in here has been checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnetwork::Ipv4Network;

use crate::args::Initramfs;
use crate::identity::Mac;

/// A whole site: `site.toml` with what lies beside it in `machines.d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The server itself.
    pub server: Server,
    /// The networks on which it answers.
    pub networks: Vec<Network>,
    /// Root trees, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Bundles of layers and arguments, by name.
    pub workloads: BTreeMap<String, Workload>,
    /// Known machines, by name.
    pub machines: BTreeMap<String, Machine>,
    /// Profile of machines that no table names; without one they get an address and no boot.
    pub unknown: Option<String>,
}

/// The `[server]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address that clients are told: server-id, siaddr, URLs, nfsroot.
    pub address: IpAddr,
    /// The interface on which DHCP is answered.
    pub interface: String,
    /// Where objects, generations and stacks are kept.
    pub store: PathBuf,
    /// Where leases, pins and keys are kept.
    pub state: PathBuf,
    /// Port for boot files.
    pub http_port: u16,
    /// Port for NFS and MOUNT.
    pub nfs_port: u16,
    /// Where iPXE's binaries are.
    pub loaders: PathBuf,
    /// Whether NFS is answered to ports from 1024 on, which any user of a machine can use.
    pub unprivileged_nfs_ports: bool,
}

/// A `[[network]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its addresses.
    pub subnet: Ipv4Network,
    /// First and last address given to machines that have no address of their own.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// Lease time in seconds.
    pub lease: u32,
}

/// Where a profile's tree comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory, such as a chroot.
    Directory(PathBuf),
    /// A tar archive, plain or compressed.
    Tar(PathBuf),
}

/// A `[profile.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its tree; none for one that only extends another.
    pub source: Option<Source>,
    /// The profile below it.
    pub extends: Option<String>,
    /// Directories laid over its tree.
    pub layers: Vec<PathBuf>,
    /// Path of the kernel in the tree, where the usual place is not it; with a `*`, the newest in `/boot` that fits.
    pub kernel: Option<String>,
    /// Path of the initrd in the tree, likewise.
    pub initrd: Option<String>,
    /// What mounts the root.
    pub initramfs: Option<Initramfs>,
    /// Kernel arguments.
    pub args: Vec<String>,
}

/// A `[workload.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Directories laid over the profile.
    pub layers: Vec<PathBuf>,
    /// Kernel arguments.
    pub args: Vec<String>,
}

/// A `[machine.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its MAC addresses.
    pub macs: Vec<Mac>,
    /// Its address; from the pool without one.
    pub address: Option<Ipv4Addr>,
    /// Its profile.
    pub profile: String,
    /// Its workloads, bottom first.
    pub workloads: Vec<String>,
    /// The directory of its own files.
    pub layer: Option<PathBuf>,
    /// Kernel arguments.
    pub args: Vec<String>,
    /// What templates may say of it: names and values.
    pub vars: BTreeMap<String, String>,
}

impl Site {
    /// The machine that has a MAC, with its name.
    #[must_use]
    pub fn machine(&self, mac: Mac) -> Option<(&str, &Machine)> {
        let found = self.machines.iter().find(|(_, machine)| machine.macs.contains(&mac));
        found.map(|(name, machine)| (name.as_str(), machine))
    }

    /// The network that an address is in.
    #[must_use]
    pub fn network(&self, address: Ipv4Addr) -> Option<&Network> {
        self.networks.iter().find(|network| network.subnet.contains(address))
    }

    /// A profile and those it extends, bottom first. Cycles were refused when the site was read.
    #[must_use]
    pub fn chain<'s>(&'s self, profile: &'s str) -> Vec<(&'s str, &'s Profile)> {
        let mut chain = Vec::new();
        let mut next = Some(profile);
        while let Some((name, profile)) = next.and_then(|name| self.profiles.get_key_value(name)) {
            chain.push((name.as_str(), profile));
            next = profile.extends.as_deref();
        }
        chain.reverse();
        chain
    }
}
