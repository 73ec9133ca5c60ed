//! A site as the rest of the program uses it: everything in here has been checked.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnetwork::Ipv4Network;

use crate::hardware::Location;
use crate::root::{Initramfs, OwnInitrd, Root};
use crate::site::assignment::{Assignment, Signed};
use crate::site::gives::{Boots, Gives};
use crate::site::groups::Group;
use crate::site::layers::Layer;
use crate::site::log_place::LogPlace;
use crate::site::menus::Menu;
use crate::site::mounts::{Mounts, What};
use crate::site::program::Program;
use crate::site::rules::Rule;
use crate::site::secrets::Secrets;
use crate::site::sources::Source;
use oneroot_ids::Mac;

/// A whole site: `site.toml` with what lies beside it in `machines.d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The directory of its file, from which relative paths are taken.
    pub home: PathBuf,
    /// The server itself.
    pub server: Server,
    /// The networks on which it answers.
    pub networks: Vec<Network>,
    /// Root trees, by name.
    pub profiles: BTreeMap<String, Profile>,
    /// Bundles of layers and arguments, by name.
    pub workloads: BTreeMap<String, Workload>,
    /// Groups, in the order of the file, with their names.
    pub groups: Vec<(String, Group)>,
    /// Rules, in the order of the file: the first that fits a machine counts.
    pub rules: Vec<Rule>,
    /// Known machines, by name.
    pub machines: BTreeMap<String, Machine>,
    /// Menus, by name.
    pub menus: BTreeMap<String, Menu>,
    /// What machines boot that no table names; where nothing is said they are held.
    pub unknown: Option<Boots>,
    /// The program that says what machines boot of which nothing nearer does.
    pub decide: Option<Program>,
    /// The program that makes machines' secrets of the kind that it makes.
    pub make_secrets: Option<Program>,
    /// What templates may say on every machine; profiles, workloads and machines may say otherwise.
    pub vars: Vars,
    /// Where machines are found by what they send.
    pub(crate) lookup: Lookup,
}

/// Names and values for templates.
pub type Vars = BTreeMap<String, String>;

/// Machines by what they are known by: asked with every packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Lookup {
    by_mac: HashMap<Mac, String>,
    by_address: HashMap<Ipv4Addr, Mac>,
    /// NICs without an address of their own.
    without_address: usize,
}

impl Lookup {
    pub(crate) fn of(machines: &BTreeMap<String, Machine>) -> Self {
        let mut lookup = Self::default();
        for (name, machine) in machines {
            lookup.without_address += machine.without_address();
            for mac in &machine.macs {
                lookup.by_mac.insert(*mac, name.clone());
            }
            for (mac, address) in machine.macs.iter().zip(&machine.addresses) {
                lookup.by_address.insert(*address, *mac);
            }
        }
        lookup
    }
}

/// The `[server]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address that clients are told: server-id, siaddr, URLs, nfsroot.
    pub address: IpAddr,
    /// More addresses of it, or of others with the same store and state: oneroot's own init tries them in their order.
    pub more_addresses: Vec<Ipv4Addr>,
    /// The interfaces on which DHCP is answered.
    pub interfaces: Vec<String>,
    /// Where objects, generations and stacks are kept.
    pub store: PathBuf,
    /// Where leases, pins and keys are kept.
    pub state: PathBuf,
    /// Port for boot files.
    pub http_port: u16,
    /// Port for NFS and MOUNT.
    pub nfs_port: u16,
    /// HTTPS, where the site has it.
    pub https: Option<Https>,
    /// Whether the services are listened on over IPv6 too, where nobody boots.
    pub ipv6: bool,
    /// Whether an interface or an address that is not there at the start is waited for, while the rest is served.
    pub wait_for_interfaces: bool,
    /// Where iPXE's binaries are: the first directory that has one of a name counts.
    pub loaders: Vec<PathBuf>,
    /// Whether NFS is answered to ports from 1024 on, which any user of a machine can use.
    pub unprivileged_nfs_ports: bool,
    /// Whether the server gives up what it has no need of.
    pub confinement: Confinement,
    /// Whether every machine is asked for the facts of its hardware, where nothing of the site goes by them.
    pub facts: bool,
}

/// HTTPS, beside HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Https {
    /// Its port.
    pub port: u16,
    /// What clients are shown; one that the server makes itself where the site names none.
    pub certificate: Option<Certificate>,
}

/// A certificate and its key: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, and the chain below it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the server takes from itself when it starts: rights over the host's files, system calls, privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// All that the kernel can take; what it can't is said.
    #[default]
    Auto,
    /// All of it, or the server does not start.
    Require,
    /// Nothing: for debuggers and core dumps.
    Off,
}

impl Confinement {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Require, Self::Off];

    /// As a site file spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

/// A `[[network]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its addresses.
    pub subnet: Ipv4Network,
    /// The server's address as this network's machines are told it, where it is not the `[server]` table's.
    pub server: Option<Ipv4Addr>,
    /// Another DHCP server gives the addresses here; ours only says what to boot.
    pub proxy: bool,
    /// There is no other DHCP server here: clients that nobody knows are told so.
    pub authoritative: bool,
    /// First and last address given to machines that have no address of their own.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// First and last addresses in the pool that are given to nobody.
    pub exclude: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// Lease time in seconds.
    pub lease: u32,
}

/// A `[profile.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its tree; none for one that only extends another.
    pub source: Option<Source>,
    /// The profile below it.
    pub extends: Option<String>,
    /// Directories laid over its tree.
    pub layers: Vec<Layer>,
    /// The profile whose kernel, initrd and modules it boots with, where its own tree has none.
    pub kernel_from: Option<String>,
    /// Path of the kernel in the tree, where the usual place is not it; with a `*`, the newest in `/boot` that fits.
    pub kernel: Option<String>,
    /// Paths of the initrds in the tree, likewise, in the order in which the kernel unpacks them.
    pub initrds: Vec<String>,
    /// Where the root comes from; unless it says so, from where the profile below it has it, else over NFS.
    pub root: Option<Root>,
    /// What mounts the root.
    pub initramfs: Option<Initramfs>,
    /// What it says of an initrd of oneroot's own.
    pub own: OwnInitrd,
    /// What its machines mount.
    pub mounts: Mounts,
    /// Which secrets they have.
    pub secrets: Secrets,
    /// Where their logs go.
    pub log: Option<LogPlace>,
    /// Kernel arguments.
    pub args: Vec<String>,
    /// What templates may say on its machines.
    pub vars: Vars,
}

/// A `[workload.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Directories laid over the profile.
    pub layers: Vec<Layer>,
    /// What its machines mount.
    pub mounts: Mounts,
    /// Which secrets they have.
    pub secrets: Secrets,
    /// Kernel arguments.
    pub args: Vec<String>,
    /// What templates may say on its machines.
    pub vars: Vars,
}

/// A `[machine.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its MAC addresses.
    pub macs: Vec<Mac>,
    /// Its NICs' addresses, in the order of the MACs; a NIC without one takes it from the pool.
    pub addresses: Vec<Ipv4Addr>,
    /// What its own table gives it; no layers, but the one below.
    pub gives: Gives,
    /// The directory of its own files.
    pub layer: Option<PathBuf>,
    /// Who has adopted it, or given it other NICs than its table says; none for what the files say themselves.
    pub adopted: Option<Signed>,
    /// What the state says over its table.
    pub assigned: Option<Assignment>,
    /// What the state says over both, for a time or once.
    pub for_now: Option<Assignment>,
}

impl Site {
    /// The machine that has a MAC, with its name.
    #[must_use]
    pub fn machine(&self, mac: Mac) -> Option<(&str, &Machine)> {
        let found = self.machines.get_key_value(self.lookup.by_mac.get(&mac)?)?;
        Some((found.0.as_str(), found.1))
    }

    /// The NIC that an address is kept for.
    #[must_use]
    pub fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.lookup.by_address.get(&address).copied()
    }

    /// Every address that no pool gives: it is kept for a NIC, or a network's machines are told of it.
    pub fn all_reserved(&self) -> impl Iterator<Item = Ipv4Addr> {
        let services = self.networks.iter().flat_map(Network::services);
        self.lookup.by_address.keys().copied().chain(services)
    }

    /// How many of the NICs that the site names take their address from a pool.
    #[must_use]
    pub fn without_address(&self) -> usize {
        self.lookup.without_address
    }

    /// The server's address as the machines at `address` are told it.
    #[must_use]
    pub fn server_for(&self, address: IpAddr) -> IpAddr {
        let network = if let IpAddr::V4(address) = address { self.network(address) } else { None };
        network.and_then(|network| network.server).map_or(self.server.address, IpAddr::V4)
    }

    /// Whether another DHCP server gives the addresses of the network that an address is in.
    #[must_use]
    pub fn is_proxied(&self, address: IpAddr) -> bool {
        let network = if let IpAddr::V4(address) = address { self.network(address) } else { None };
        network.is_some_and(|network| network.proxy)
    }

    /// Every address of the server that machines are told, each once.
    #[must_use]
    pub fn server_addresses(&self) -> Vec<IpAddr> {
        let mut all = vec![self.server.address];
        let of_networks = self.networks.iter().filter_map(|network| network.server);
        for address in of_networks.chain(self.server.more_addresses.iter().copied()).map(IpAddr::V4) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// Whether the server starts without this address of its: it need not be this host's yet.
    #[must_use]
    pub fn starts_without(&self, address: IpAddr) -> bool {
        let is_more = self.server.more_addresses.iter().any(|more| IpAddr::V4(*more) == address);
        self.server.wait_for_interfaces || is_more
    }

    /// From where a machine asks, with the network that its address is in.
    #[must_use]
    pub fn located(&self, location: Location, address: IpAddr) -> Location {
        let network = if let IpAddr::V4(address) = address { self.network(address) } else { None };
        Location { network: network.map(|network| network.subnet), ..location }
    }

    /// An address that a machine may have in one of these networks; none where the site gives none there.
    pub(crate) fn first_address_in(&self, wanted: Option<&[Ipv4Network]>) -> Option<Ipv4Addr> {
        let wanted = wanted?;
        let of = |network: &Network| {
            let narrow = wanted.iter().find(|wanted| wanted.overlaps(network.subnet))?;
            let first = network.first_address();
            // Of two networks that overlap one lies in the other, and the one that begins later is the inner.
            Some(if narrow.contains(first) { first } else { narrow.ip().max(network.subnet.ip()) })
        };
        self.networks.iter().find_map(of)
    }

    /// The network that an address is in.
    #[must_use]
    pub fn network(&self, address: Ipv4Addr) -> Option<&Network> {
        self.networks.iter().find(|network| network.subnet.contains(address))
    }

    /// Where the root of a profile's machines comes from.
    #[must_use]
    pub fn root_of(&self, profile: &str) -> Root {
        self.chain(profile).iter().rev().find_map(|(_, profile)| profile.root).unwrap_or_default()
    }

    /// Every layer that more than one machine may get.
    pub fn shared_layers(&self) -> impl Iterator<Item = &Layer> {
        let profiles = self.profiles.values().flat_map(|profile| &profile.layers);
        let workloads = self.workloads.values().flat_map(|workload| &workload.layers);
        let groups = self.groups.iter().flat_map(|(_, group)| &group.gives.layers);
        let rules = self.rules.iter().flat_map(|rule| &rule.gives.layers);
        profiles.chain(workloads).chain(groups).chain(rules)
    }

    /// Every place in a tree where some machine has something else than its writable layer.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        let profiles = self.profiles.values().map(|profile| &profile.mounts);
        let workloads = self.workloads.values().map(|workload| &workload.mounts);
        let groups = self.groups.iter().map(|(_, group)| &group.gives);
        let rules = self.rules.iter().map(|rule| &rule.gives);
        let machines = self.machines.values().map(|machine| &machine.gives);
        let gives = groups.chain(rules).chain(machines).map(|gives| &gives.mounts);
        let all = profiles.chain(workloads).chain(gives).flatten();
        // A profile's tree is a part of the root.
        let others = all.filter(|(_, mount)| !matches!(mount.what, What::Profile(_) | What::Nothing));
        others.map(|(at, _)| at.as_str())
    }

    /// Whether what a machine boots goes by facts that it is asked for.
    #[must_use]
    pub fn goes_by_facts(&self) -> bool {
        !self.rules.is_empty()
            || self.decide.is_some()
            || self.shared_layers().any(|layer| layer.when.is_some())
    }

    /// Whether any profile says what a link carries.
    #[must_use]
    pub fn says_mtu(&self) -> bool {
        self.profiles.values().any(|profile| profile.own.mtu.is_some())
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

impl Network {
    /// An address that one of its machines may have: the pool's first, where it has a pool.
    pub(crate) fn first_address(&self) -> Ipv4Addr {
        self.pool.map_or(self.subnet.ip(), |(first, _)| first)
    }

    /// Addresses of hosts that its machines are told of: nobody else is given one, in whichever network it lies.
    pub fn services(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.dns.iter().chain(&self.ntp).copied()
    }
}

impl Machine {
    /// How many of its NICs take their address from a pool.
    pub(crate) fn without_address(&self) -> usize {
        self.macs.len().saturating_sub(self.addresses.len())
    }

    /// The address that is kept for one of its NICs.
    #[must_use]
    pub fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        let place = self.macs.iter().position(|known| *known == mac)?;
        self.addresses.get(place).copied()
    }
}
