//! One table of a site file at a time: what a person typed (strings, TOML's types) becomes a checked value, or mistakes.
//! What needs more than one table is [`crate::compare`]'s.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::args::Initramfs;
use crate::directories::{Directory, apart};
use crate::networks::{NO_HOST, is_host};
use crate::section::{At, Mistakes, Section};
use crate::site::{Confinement, Machine, Profile, Server, Vars, Workload};
use crate::sources::source_of;
use crate::table::{Places, Table, placed};
use oneroot_ids::Mac;

/// Where the state is, unless the site says otherwise.
pub(crate) const STATE: &str = "/var/lib/oneroot/state";
/// TCP port of the portmapper, which klibc's nfsmount can't do without (docs/boot-story.md).
const PORTMAP: u16 = 111;
/// Words that say how the root is found. A second one would win over ours, and the machine hang for no visible reason. With
/// `_` for each `-`: systemd takes one for the other.
const OURS: [&str; 13] = [
    "root",
    "netroot",
    "nfsroot",
    "nfsaddrs",
    "boot",
    "BOOTIF",
    "init",
    "initrd",
    "noinitrd",
    "rd.neednet",
    "rw",
    "systemd.machine_id",
    "oneroot.boot",
];

/// Layers, whose places are kept.
fn layers(
    list: Vec<At<String>>,
    key: &'static str,
    home: &Path,
    places: &mut Places,
    mistakes: &mut Mistakes,
) -> Vec<PathBuf> {
    let placed = list.into_iter().filter_map(|at| placed(at, home, mistakes));
    placed
        .map(|at| {
            places.0.insert((key, at.value.display().to_string()), at.spot);
            at.value
        })
        .collect()
}

/// Arguments go into the kernel's command line and into an iPXE script: one word each, and nothing that either of the
/// two would take for its own.
fn arguments(list: Vec<At<String>>, mistakes: &mut Mistakes) -> Vec<String> {
    let checked = list.into_iter().filter_map(|argument| {
        argument.check(mistakes, |text| {
            // The kernel takes quotation marks around a word away.
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let (name, value) = (name.trim_start_matches('"').replace('-', "_"), value.trim_matches('"'));
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                Err(format!("{text:?} is not one kernel argument: it has to be printable, without spaces"))
            } else if text.contains("${") || text == "||" || text == "&&" {
                Err(format!("{text:?} means something to iPXE"))
            } else if OURS.contains(&name.as_str()) {
                let instead = match name.as_str() {
                    "init" => "; say oneroot.init= for the init to run",
                    "initrd" => "; say `initrd = \"/boot/…\"` in the profile",
                    "rw" => "; what the machine may write lies over its root",
                    _ => "",
                };
                let equals = if text.contains('=') { "=" } else { "" };
                Err(format!("{name}{equals} is oneroot's own argument{instead}"))
            } else if name == "ip" && !names_a_nic(value) {
                Err("ip= is oneroot's own argument; only dracut's ip=NIC:METHOD, for a NIC that ifname= names, adds to it".to_owned())
            } else {
                Ok(text)
            }
        })
    });
    checked.map(|at| at.value).collect()
}

/// dracut's `ip=NIC:METHOD`. All else would replace the address by which the root is mounted.
fn names_a_nic(value: &str) -> bool {
    let mut fields = value.split(':');
    let first = fields.next().unwrap_or_default();
    let is_name = first.starts_with(|letter: char| letter.is_ascii_alphabetic());
    is_name && fields.next().is_some() && fields.next().is_none_or(|mtu| mtu.parse::<u16>().is_ok())
}

/// The `[server]` table.
pub(crate) fn server(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Server> {
    let address = section.parsed::<IpAddr>(mistakes, "address", "an IP address");
    section.missing(mistakes, "address", "the address that machines are told, such as \"192.168.77.1\"");
    let address = address.and_then(|address| {
        address.check(mistakes, |address| match address {
            IpAddr::V4(v4) if is_host(v4) => Ok(address),
            IpAddr::V4(_) => Err(NO_HOST),
            IpAddr::V6(_) => Err("must be IPv4: firmware and klibc mount no root over IPv6"),
        })
    });
    let interfaces = section.strings(mistakes, "interface", true);
    if interfaces.is_empty() {
        section.required(mistakes, "interface", "the interface on which DHCP is answered, such as \"eth0\"");
    }
    let interfaces: Vec<At<String>> = interfaces
        .into_iter()
        .filter_map(|at| {
            at.check(mistakes, |name| {
                // What the kernel's dev_valid_name() takes.
                let graphic =
                    name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
                let good = !name.is_empty() && name.len() < 16 && graphic && name != "." && name != "..";
                if good { Ok(name) } else { Err("is not an interface's name; see `ip link`") }
            })
        })
        .collect();
    for (number, interface) in interfaces.iter().enumerate() {
        if interfaces.iter().take(number).any(|other| other.value == interface.value) {
            mistakes.note(&interface.spot, format!("interface {} is there twice", interface.value));
        }
    }
    let mut directory = |key, default: &str| -> Directory {
        let said = section.string(mistakes, key).and_then(|at| placed(at, home, mistakes));
        Directory::new(said, home.join(default))
    };
    let store = directory("store", "/var/lib/oneroot/store");
    let state = directory("state", STATE);
    apart(&store, &state, &section.spot, mistakes);
    let loaders = section.strings(mistakes, "loaders", true);
    let loaders: Vec<PathBuf> = match loaders.is_empty() {
        true => vec![PathBuf::from("/usr/lib/ipxe")],
        false => loaders.into_iter().filter_map(|at| Some(placed(at, home, mistakes)?.value)).collect(),
    };
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
    let ipv6 = section.boolean(mistakes, "ipv6");
    let wait = section.boolean(mistakes, "wait_for_interfaces");
    let unprivileged = section.boolean(mistakes, "allow_unprivileged_nfs_ports");
    let confinement = one_of(&mut section, mistakes, "confinement", Confinement::ALL, Confinement::as_str);
    section.finish(mistakes);
    Some(Server {
        address: address?.value,
        interfaces: interfaces.into_iter().map(|at| at.value).collect(),
        store: store.path,
        state: state.path,
        http_port,
        nfs_port,
        ipv6: ipv6.is_none_or(|at| at.value),
        wait_for_interfaces: wait.is_some_and(|at| at.value),
        loaders,
        unprivileged_nfs_ports: unprivileged.is_some_and(|at| at.value),
        confinement: confinement.map(|at| at.value).unwrap_or_default(),
    })
}

/// A key whose value is one of a few words.
fn one_of<T: Copy, const N: usize>(
    section: &mut Section<'_>,
    mistakes: &mut Mistakes,
    key: &'static str,
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> Option<At<T>> {
    section.string(mistakes, key)?.check(mistakes, |word| {
        all.into_iter().find(|one| as_str(*one) == word).ok_or_else(|| {
            let all = all.map(|one| format!("{:?}", as_str(one))).join(", ");
            format!("{word:?} is none of {all}")
        })
    })
}

/// A `[profile.NAME]` table.
pub(crate) fn profile(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Table<Profile> {
    let spot = section.spot.clone();
    let mut places = Places::default();
    let source = section.section(mistakes, "source").and_then(|source| {
        places.0.insert(("source", String::new()), source.spot.clone());
        source_of(source, home, mistakes)
    });
    let kernel_from = section.string(mistakes, "kernel_from").map(|at| places.keep("kernel_from", at));
    if kernel_from.is_some() {
        for key in ["kernel", "initrd", "initramfs"] {
            if let Some(at) = section.string(mistakes, key) {
                mistakes.note(&at.spot, "cannot be set here: the kernel comes from another profile");
            }
        }
    }
    let kernel = section.string(mistakes, "kernel").and_then(|at| in_tree(at, mistakes));
    let initrd = section.string(mistakes, "initrd").and_then(|at| in_tree(at, mistakes));
    let initramfs = one_of(&mut section, mistakes, "initramfs", Initramfs::ALL, Initramfs::as_str);
    let extends = section.string(mistakes, "extends").map(|at| places.keep("extends", at));
    if extends.is_none() {
        section.missing(mistakes, "source", "a profile has a source, or extends a profile that has one");
    }
    let profile = Profile {
        source,
        extends,
        layers: layers(section.strings(mistakes, "layers", false), "layers", home, &mut places, mistakes),
        kernel_from,
        kernel,
        initrd,
        initramfs: initramfs.map(|at| at.value),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
        vars: section.section(mistakes, "vars").map(|vars| variables(vars, mistakes)).unwrap_or_default(),
    };
    section.finish(mistakes);
    Table { value: profile, spot, places: places.0 }
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
    let mut places = Places::default();
    let workload = Workload {
        layers: layers(section.strings(mistakes, "layers", false), "layers", home, &mut places, mistakes),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
        vars: section.section(mistakes, "vars").map(|vars| variables(vars, mistakes)).unwrap_or_default(),
    };
    section.finish(mistakes);
    Table { value: workload, spot, places: places.0 }
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
            mistakes.note(&mac.spot, format!("MAC {} is listed twice", mac.value));
        }
    }
    let addresses: Vec<At<Ipv4Addr>> = section
        .strings(mistakes, "address", true)
        .into_iter()
        .filter_map(|at| {
            at.check(mistakes, |text| text.parse().map_err(|_| format!("{text:?} is not an IPv4 address")))
        })
        .collect();
    if let Some(more) = addresses.get(macs.len()).filter(|_| !macs.is_empty()) {
        mistakes.note(&more.spot, "has no NIC: the addresses are the MACs', in the same order");
    }
    for (number, address) in addresses.iter().enumerate() {
        if addresses.iter().take(number).any(|other| other.value == address.value) {
            mistakes.note(&address.spot, format!("address {} is listed twice", address.value));
        }
    }
    let profile = section.string(mistakes, "profile");
    section.missing(mistakes, "profile", "what the machine boots");
    let workloads = section.strings(mistakes, "workloads", false);
    for (number, workload) in workloads.iter().enumerate() {
        if workloads.iter().take(number).any(|other| other.value == workload.value) {
            mistakes.note(&workload.spot, format!("workload {:?} is listed twice", workload.value));
        }
    }
    let vars = section.section(mistakes, "vars").map(|vars| variables(vars, mistakes));
    let machine = Machine {
        macs: macs.into_iter().map(|at| places.keep("mac", at)).collect(),
        addresses: addresses.into_iter().map(|at| places.keep("address", at)).collect(),
        profile: profile.map_or(String::new(), |at| places.keep("profile", at)),
        workloads: workloads.into_iter().map(|at| places.keep("workloads", at)).collect(),
        layer: layers(
            section.string(mistakes, "layer").into_iter().collect(),
            "layer",
            home,
            &mut places,
            mistakes,
        )
        .pop(),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
        vars: vars.unwrap_or_default(),
    };
    section.finish(mistakes);
    Table { value: machine, spot, places: places.0 }
}

/// Names and strings for templates. A value with a line break would write lines of its own into a rendered file,
/// so it is refused here and not at boot time.
pub(crate) fn variables(section: Section<'_>, mistakes: &mut Mistakes) -> Vars {
    let mut vars = BTreeMap::new();
    for (name, value) in section.all_strings(mistakes) {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            mistakes.note(&value.spot, "is not a valid variable name: use letters, digits and `_`");
        }
        if value.value.chars().any(char::is_control) {
            mistakes.note(&value.spot, "has a control character in it");
        }
        vars.insert(name, value.value);
    }
    vars
}
