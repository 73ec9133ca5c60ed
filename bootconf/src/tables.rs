//! One table of a site file at a time: what a person typed (strings, TOML's types) becomes a checked value, or mistakes.
//! What needs more than one table is [`crate::compare`]'s.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnetwork::Ipv4Network;

use crate::args::Initramfs;
use crate::identity::Mac;
use crate::report::Spot;
use crate::section::{At, Mistakes, Section};
use crate::site::{Machine, Network, Profile, Server, Source, Workload};

/// A lease shorter than this would make every client renew all the time, in seconds.
const SHORTEST_LEASE: u32 = 60;
/// One that is longer is a slip of the fingers.
const LONGEST_LEASE: u32 = 365 * 86_400;
/// TCP port of the portmapper, which klibc's nfsmount can't do without (protocols.md §3.2).
const PORTMAP: u16 = 111;
/// Words that say how the root is found. A second one would win over ours, and the machine hang for no visible reason.
const OURS: [&str; 8] =
    ["root", "nfsroot", "nfsaddrs", "boot", "BOOTIF", "init", "systemd.machine_id", "oneroot.boot"];

/// A checked table, with the places of those values that are compared with other tables.
#[derive(Debug)]
pub(crate) struct Table<T> {
    pub(crate) value: T,
    pub(crate) spot: Spot,
    places: HashMap<(&'static str, String), Spot>,
}

impl<T> Table<T> {
    /// Where `key` says `value`; the table's own place for a value that no file says.
    pub(crate) fn place(&self, key: &'static str, value: &impl ToString) -> &Spot {
        self.places.get(&(key, value.to_string())).unwrap_or(&self.spot)
    }
}

/// The places collected while a table is read.
#[derive(Default)]
struct Places(HashMap<(&'static str, String), Spot>);

impl Places {
    fn keep<T: ToString>(&mut self, key: &'static str, at: At<T>) -> T {
        self.0.insert((key, at.value.to_string()), at.spot);
        at.value
    }
}

/// Names become files' and hosts' names.
pub(crate) fn good_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    first && name.len() <= 63 && name.bytes().all(allowed)
}

/// A path on the server, relative to the site file.
fn path(at: At<String>, home: &Path, mistakes: &mut Mistakes) -> Option<PathBuf> {
    let checked = at.check(mistakes, |text| {
        let good = !text.is_empty() && !text.contains('\0');
        if good { Ok(home.join(text)) } else { Err("is no path") }
    });
    checked.map(|at| at.value)
}

fn paths(list: Vec<At<String>>, home: &Path, mistakes: &mut Mistakes) -> Vec<PathBuf> {
    list.into_iter().filter_map(|at| path(at, home, mistakes)).collect()
}

/// Arguments go into the kernel's command line and into an iPXE script: one word each, and nothing that either of the
/// two would take for its own.
fn arguments(list: Vec<At<String>>, mistakes: &mut Mistakes) -> Vec<String> {
    let checked = list.into_iter().filter_map(|argument| {
        argument.check(mistakes, |text| {
            let name = text.split('=').next().unwrap_or_default();
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                Err(format!("{text:?} is not one kernel argument: it has to be printable, without spaces"))
            } else if text.contains("${") || text == "||" || text == "&&" {
                Err(format!("{text:?} means something to iPXE"))
            } else if OURS.contains(&name) {
                let instead = if name == "init" { "; say oneroot.init= for the init to run" } else { "" };
                Err(format!("{name}= is oneroot's own argument{instead}"))
            } else {
                Ok(text)
            }
        })
    });
    checked.map(|at| at.value).collect()
}

/// The `[server]` table.
pub(crate) fn server(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Server> {
    let address = section.parsed::<IpAddr>(mistakes, "address", "an IP address");
    section.missing(mistakes, "address", "the address that machines are told, such as \"192.168.77.1\"");
    let address = address.and_then(|address| {
        address.check(mistakes, |address| match address {
            IpAddr::V4(v4) if is_host(v4) => Ok(address),
            IpAddr::V4(_) => Err("is no address of a host"),
            IpAddr::V6(_) => Err("must be IPv4: firmware and klibc mount no root over IPv6"),
        })
    });
    let interface = section.string(mistakes, "interface");
    section.missing(mistakes, "interface", "the interface on which DHCP is answered, such as \"eth0\"");
    let interface = interface.and_then(|interface| {
        interface.check(mistakes, |name| {
            // What the kernel's dev_valid_name() takes.
            let graphic = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
            let good = !name.is_empty() && name.len() < 16 && graphic && name != "." && name != "..";
            if good { Ok(name) } else { Err("is no interface's name; see `ip link`") }
        })
    });
    let mut directory = |key, default: &str| -> PathBuf {
        let said = section.string(mistakes, key).and_then(|at| path(at, home, mistakes));
        said.unwrap_or_else(|| home.join(default))
    };
    let store = directory("store", "/var/lib/oneroot/store");
    let state = directory("state", "/var/lib/oneroot/state");
    let loaders = directory("loaders", "/usr/lib/ipxe");
    let http = section.port(mistakes, "http_port");
    let nfs = section.port(mistakes, "nfs_port");
    let http_port = http.as_ref().map_or(80, |at| at.value);
    let nfs_port = nfs.as_ref().map_or(2049, |at| at.value);
    for at in [&http, &nfs].into_iter().flatten().filter(|at| at.value == PORTMAP) {
        mistakes.note(&at.spot, format!("port {PORTMAP} is the portmapper's, which machines look for there"));
    }
    if let (true, Some(at)) = (http_port == nfs_port, nfs.or(http)) {
        mistakes
            .note(&at.spot, format!("port {nfs_port} is for HTTP and for NFS; one of them needs another"));
    }
    let unprivileged = section.boolean(mistakes, "allow_unprivileged_nfs_ports");
    section.finish(mistakes);
    Some(Server {
        address: address?.value,
        interface: interface?.value,
        store,
        state,
        http_port,
        nfs_port,
        loaders,
        unprivileged_nfs_ports: unprivileged.is_some_and(|at| at.value),
    })
}

fn is_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
}

/// A `[[network]]` table.
pub(crate) fn network(mut section: Section<'_>, mistakes: &mut Mistakes) -> Option<Table<Network>> {
    let spot = section.spot.clone();
    let mut places = Places::default();
    let subnet = section.parsed::<Ipv4Network>(mistakes, "subnet", "a network such as 192.168.77.0/24");
    section.missing(mistakes, "subnet", "the network's addresses, such as \"192.168.77.0/24\"");
    let subnet = subnet.and_then(|subnet| {
        subnet.check(mistakes, |subnet| match subnet {
            _ if subnet.network() != subnet.ip() => {
                Err(format!("has host bits; the network is {}/{}", subnet.network(), subnet.prefix()))
            }
            _ if !(8..=30).contains(&subnet.prefix()) => Err("must be of /8 to /30".to_owned()),
            _ => Ok(subnet),
        })
    });
    let pool = section.string(mistakes, "pool").and_then(|pool| pool.check(mistakes, |text| pool_of(&text)));
    let router = section.parsed::<Ipv4Addr>(mistakes, "router", "an IPv4 address");
    let dns = section.strings(mistakes, "dns", true).into_iter().filter_map(|text| {
        text.check(mistakes, |text| match text.parse::<Ipv4Addr>() {
            Ok(address) if is_host(address) => Ok(address),
            _ => Err(format!("{text:?} is not an IPv4 address of a name server")),
        })
    });
    let dns: Vec<Ipv4Addr> = dns.map(|at| at.value).collect();
    let domain = section.string(mistakes, "domain").and_then(|domain| {
        domain.check(mistakes, |text| {
            let good = text.len() <= 253 && !text.is_empty() && text.split('.').all(good_name);
            if good { Ok(text) } else { Err("is no domain name, such as \"lab.example\"") }
        })
    });
    let lease =
        section.string(mistakes, "lease").and_then(|lease| lease.check(mistakes, |text| lease_of(&text)));
    section.finish(mistakes);
    let subnet = places.keep("subnet", subnet?);
    let inside = |address: Ipv4Addr| {
        subnet.contains(address) && address != subnet.network() && address != subnet.broadcast()
    };
    if let Some(pool) = &pool
        && !(inside(pool.value.0) && inside(pool.value.1))
    {
        mistakes.note(&pool.spot, format!("is not inside {subnet}"));
    }
    if let Some(router) = &router {
        if !inside(router.value) {
            mistakes.note(&router.spot, format!("is not inside {subnet}"));
        }
        if pool.as_ref().is_some_and(|pool| (pool.value.0..=pool.value.1).contains(&router.value)) {
            mistakes.note(&router.spot, "is inside the pool; it would be given to a machine");
        }
    }
    let pool = pool.map(|at| {
        let (first, last) = at.value;
        places.0.insert(("pool", String::new()), at.spot);
        (first, last)
    });
    let network = Network {
        subnet,
        pool,
        router: router.map(|at| at.value),
        dns,
        domain: domain.map(|at| at.value),
        lease: lease.map_or(86_400, |at| at.value),
    };
    Some(Table { value: network, spot, places: places.0 })
}

fn pool_of(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match ends {
        Some((first, last)) if first <= last => Ok((first, last)),
        Some(_) => Err("ends before it begins".to_owned()),
        None => Err(format!("{text:?} is not a range such as \"192.168.77.100-192.168.77.199\"")),
    }
}

/// `90s`, `15m`, `12h`, `7d`.
fn lease_of(text: &str) -> Result<u32, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let said = units.into_iter().find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)));
    let number = said.and_then(|(digits, unit)| Some((digits.parse::<u32>().ok()?, unit)));
    let Some((number, unit)) = number else {
        return Err(format!("{text:?} is not a time such as \"12h\" (s, m, h, d)"));
    };
    match number.checked_mul(unit) {
        Some(seconds) if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} must be from one minute to 365 days")),
    }
}

/// A `[profile.NAME]` table.
pub(crate) fn profile(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Table<Profile> {
    let spot = section.spot.clone();
    let mut places = Places::default();
    let source = section.section(mistakes, "source").and_then(|source| self::source(source, home, mistakes));
    let kernel = section.string(mistakes, "kernel").and_then(|at| in_tree(at, mistakes));
    let initrd = section.string(mistakes, "initrd").and_then(|at| in_tree(at, mistakes));
    let initramfs = section.string(mistakes, "initramfs").and_then(|word| {
        word.check(mistakes, |word| {
            let found = Initramfs::ALL.into_iter().find(|initramfs| initramfs.as_str() == word);
            found.ok_or_else(|| {
                let all = Initramfs::ALL.map(|initramfs| format!("{:?}", initramfs.as_str())).join(", ");
                format!("{word:?} is none of {all}")
            })
        })
    });
    let extends = section.string(mistakes, "extends").map(|at| places.keep("extends", at));
    if extends.is_none() {
        section.missing(mistakes, "source", "a profile has a source, or extends a profile that has one");
    }
    let profile = Profile {
        source,
        extends,
        layers: paths(section.strings(mistakes, "layers", false), home, mistakes),
        kernel,
        initrd,
        initramfs: initramfs.map(|at| at.value),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
    };
    section.finish(mistakes);
    Table { value: profile, spot, places: places.0 }
}

fn source(mut source: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Source> {
    let tar = source.string(mistakes, "tar");
    let directory = source.string(mistakes, "directory");
    let spot = source.spot.clone();
    source.finish(mistakes);
    match (tar, directory) {
        (Some(tar), None) => path(tar, home, mistakes).map(Source::Tar),
        (None, Some(directory)) => path(directory, home, mistakes).map(Source::Directory),
        _ => {
            mistakes.note(&spot, "must say one of `tar` and `directory`");
            None
        }
    }
}

/// A path in the tree, or a pattern for a name in `/boot`.
fn in_tree(at: At<String>, mistakes: &mut Mistakes) -> Option<String> {
    let checked = at.check(mistakes, |text| {
        let stars = text.matches('*').count();
        let in_boot = text.strip_prefix("/boot/").is_some_and(|name| !name.contains('/'));
        if !text.starts_with('/') || text.ends_with('/') || text.split('/').any(|part| part == "..") {
            Err("must be a path in the tree, from /")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err("must be printable, without spaces")
        } else if stars > 1 || stars == 1 && !in_boot {
            Err("may have one `*`, in a name in /boot")
        } else {
            Ok(text)
        }
    });
    checked.map(|at| at.value)
}

/// A `[workload.NAME]` table.
pub(crate) fn workload(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Table<Workload> {
    let spot = section.spot.clone();
    let workload = Workload {
        layers: paths(section.strings(mistakes, "layers", false), home, mistakes),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
    };
    section.finish(mistakes);
    Table { value: workload, spot, places: HashMap::new() }
}

/// A `[machine.NAME]` table.
pub(crate) fn machine(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Table<Machine> {
    let spot = section.spot.clone();
    let mut places = Places::default();
    let typed = section.strings(mistakes, "mac", true);
    if typed.is_empty() {
        section.required(mistakes, "mac", "a machine is known by its MAC address");
    }
    let macs: Vec<At<Mac>> =
        typed.into_iter().filter_map(|text| text.check(mistakes, |text| text.parse::<Mac>())).collect();
    for (number, mac) in macs.iter().enumerate() {
        if macs.iter().take(number).any(|other| other.value == mac.value) {
            mistakes.note(&mac.spot, format!("MAC {} is twice in this machine", mac.value));
        }
    }
    let address = section.parsed::<Ipv4Addr>(mistakes, "address", "an IPv4 address");
    let profile = section.string(mistakes, "profile");
    section.missing(mistakes, "profile", "what the machine boots");
    let workloads = section.strings(mistakes, "workloads", false);
    for (number, workload) in workloads.iter().enumerate() {
        if workloads.iter().take(number).any(|other| other.value == workload.value) {
            mistakes.note(&workload.spot, format!("workload {:?} is twice in this machine", workload.value));
        }
    }
    let vars = section.section(mistakes, "vars").map(|vars| variables(vars, mistakes));
    let machine = Machine {
        macs: macs.into_iter().map(|at| places.keep("mac", at)).collect(),
        address: address.map(|at| places.keep("address", at)),
        profile: profile.map_or(String::new(), |at| places.keep("profile", at)),
        workloads: workloads.into_iter().map(|at| places.keep("workloads", at)).collect(),
        layer: section.string(mistakes, "layer").and_then(|at| path(at, home, mistakes)),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
        vars: vars.unwrap_or_default(),
    };
    section.finish(mistakes);
    Table { value: machine, spot, places: places.0 }
}

/// Names and strings for templates. A value with a line break would write lines of its own into a rendered file
/// (hostile-inputs C5), so it is refused here and not at boot time.
fn variables(section: Section<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, String> {
    let mut vars = BTreeMap::new();
    for (name, value) in section.all_strings(mistakes) {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            mistakes.note(&value.spot, "is no name for a variable: letters, digits and `_`");
        }
        if value.value.chars().any(char::is_control) {
            mistakes.note(&value.spot, "has a control character in it");
        }
        vars.insert(name, value.value);
    }
    vars
}
