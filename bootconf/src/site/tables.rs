//! One table of a site file at a time: what a person typed (strings, TOML's types) becomes a checked value, or mistakes.
//! What needs more than one table is [`crate::site::validate`]'s.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::boot_files::name_in_boot;
use crate::root::{self, Drivers, Initramfs, NIC, OwnInitrd, Root};
use crate::site::directories::{Directory, apart};
use crate::site::gives::Gives;
use crate::site::layers::layers;
use crate::site::log_place::LogPlace;
use crate::site::menu_tables::boots;
use crate::site::mounts::mounts;
use crate::site::networks::{NO_HOST, is_host, seconds_of};
use crate::site::secrets::secrets;
use crate::site::section::{Diagnostics, Located, Section};
use crate::site::sources::source_of;
use crate::site::table::{Places, Table, placed};
use crate::site::{Certificate, Confinement, Https, Machine, Profile, Server, Vars, Workload};
use oneroot_ids::Mac;
use oneroot_initrd::settings::MOST_SERVERS;

/// Where the state is, unless the site says otherwise.
pub(crate) const STATE: &str = "/var/lib/oneroot/state";
/// TCP port of the portmapper, which klibc's nfsmount can't do without (docs/boot-story.md).
const PORTMAP: u16 = 111;
/// What is said to a site that gives it to another service.
const PORTMAPS: &str = "port 111 is the portmapper's, which machines look for there";
/// Initrds of one boot: microcode, a driver or two, the initrd itself.
const MOST_INITRDS: usize = 8;
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

/// What is said to a kernel that gets no root from here: only these would be said twice.
const OURS_WITHOUT_ROOT: [&str; 2] = ["BOOTIF", "initrd"];

/// Checked arguments.
pub(crate) fn arguments(list: Vec<Located<String>>, diagnostics: &mut Diagnostics) -> Vec<String> {
    arguments_of(Root::Nfs, list, diagnostics)
}

/// The same for a kernel whose root comes from there.
fn arguments_of(root: Root, list: Vec<Located<String>>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let checked = list
        .into_iter()
        .filter_map(|at| at.check(diagnostics, |text| argument_of(root, &text).map(|()| text)));
    checked.map(|at| at.value).collect()
}

/// An argument goes into the kernel's command line and into an iPXE script: one word, and nothing that either of the two
/// would take for its own.
pub(crate) fn argument(text: &str) -> Result<(), String> {
    argument_of(Root::Nfs, text)
}

/// One that gets no root from here may be told of another.
fn argument_of(root: Root, text: &str) -> Result<(), String> {
    let is_ours = |name: &str| match root {
        Root::Nfs => OURS.contains(&name),
        Root::None => OURS_WITHOUT_ROOT.contains(&name) && text != NIC,
    };
    // The kernel takes quotation marks around a word away.
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let (name, value) = (name.trim_start_matches('"').replace('-', "_"), value.trim_matches('"'));
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(format!("{text:?} is not one kernel argument: it has to be printable, without spaces"))
    } else if text.contains("${") || text == "||" || text == "&&" {
        Err(format!("{text:?} means something to iPXE"))
    } else if is_ours(&name) {
        let instead = match name.as_str() {
            "init" => "; say oneroot.init= for the init to run",
            NIC => "; without a value it is the NIC that boots, where `root = \"none\"`",
            "initrd" => "; say `initrd = \"/boot/…\"` in the profile",
            "rw" => "; what the machine may write lies over its root",
            _ => "",
        };
        let equals = if text.contains('=') { "=" } else { "" };
        Err(format!("{name}{equals} is oneroot's own argument{instead}"))
    } else if name == "ip" && root == Root::Nfs && !names_a_nic(value) {
        Err("ip= is oneroot's own argument; only dracut's ip=NIC:METHOD, for a NIC that ifname= names, adds to it".to_owned())
    } else {
        Ok(())
    }
}

/// dracut's `ip=NIC:METHOD`. All else would replace the address by which the root is mounted.
fn names_a_nic(value: &str) -> bool {
    let mut fields = value.split(':');
    let first = fields.next().unwrap_or_default();
    let is_name = first.starts_with(|letter: char| letter.is_ascii_alphabetic());
    is_name && fields.next().is_some() && fields.next().is_none_or(|mtu| mtu.parse::<u16>().is_ok())
}

/// The `[server]` table.
pub(crate) fn server(mut section: Section<'_>, home: &Path, diagnostics: &mut Diagnostics) -> Option<Server> {
    let address = server_address(&mut section, diagnostics);
    let more_addresses = more_addresses(&mut section, address.as_ref(), diagnostics);
    let interfaces = interfaces(&mut section, diagnostics);
    let mut directory = |key, default: &str| -> Directory {
        let said = section.string(diagnostics, key).and_then(|at| placed(at, home, diagnostics));
        Directory::new(said, home.join(default))
    };
    let store = directory("store", "/var/lib/oneroot/store");
    let state = directory("state", STATE);
    apart(&store, &state, &section.span, diagnostics);
    let loaders = section.strings(diagnostics, "loaders", true);
    let loaders: Vec<PathBuf> = match loaders.is_empty() {
        true => vec![PathBuf::from("/usr/lib/ipxe")],
        false => loaders.into_iter().filter_map(|at| Some(placed(at, home, diagnostics)?.value)).collect(),
    };
    let (http_port, nfs_port) = ports(&mut section, diagnostics);
    let https = https(&mut section, home, [(http_port, "HTTP"), (nfs_port, "NFS")], diagnostics);
    let ipv6 = section.boolean(diagnostics, "ipv6");
    let wait = section.boolean(diagnostics, "wait_for_interfaces");
    let unprivileged = section.boolean(diagnostics, "allow_unprivileged_nfs_ports");
    let facts = section.boolean(diagnostics, "facts");
    let confinement = one_of(&mut section, diagnostics, "confinement", Confinement::ALL, Confinement::as_str);
    section.finish(diagnostics);
    Some(Server {
        address: address?.value,
        more_addresses,
        interfaces,
        store: store.path,
        state: state.path,
        http_port,
        nfs_port,
        https,
        ipv6: ipv6.is_none_or(|at| at.value),
        wait_for_interfaces: wait.is_some_and(|at| at.value),
        loaders,
        unprivileged_nfs_ports: unprivileged.is_some_and(|at| at.value),
        confinement: confinement.map(|at| at.value).unwrap_or_default(),
        facts: facts.is_some_and(|at| at.value),
    })
}

fn server_address(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Option<Located<IpAddr>> {
    let address = section.parsed::<IpAddr>(diagnostics, "address", "an IP address");
    section.missing(diagnostics, "address", "the address that machines are told, such as \"192.168.77.1\"");
    address?.check(diagnostics, |address| match address {
        IpAddr::V4(v4) if is_host(v4) => Ok(address),
        IpAddr::V4(_) => Err(NO_HOST),
        IpAddr::V6(_) => Err("must be IPv4: firmware and klibc mount no root over IPv6"),
    })
}

/// Where the root is looked for when the first address does not answer.
fn more_addresses(
    section: &mut Section<'_>,
    first: Option<&Located<IpAddr>>,
    diagnostics: &mut Diagnostics,
) -> Vec<Ipv4Addr> {
    let named = section.strings(diagnostics, "more_addresses", true);
    if let Some(one_more) = named.get(MOST_SERVERS - 1) {
        diagnostics.note(&one_more.span, format!("is one too many: {} at most", MOST_SERVERS - 1));
    }
    let host = |text: String| {
        let address = text.parse::<Ipv4Addr>().map_err(|_| "is no IPv4 address")?;
        match is_host(address) {
            true if first.is_some_and(|first| first.value == address) => {
                Err("is the server's `address`, which comes first")
            }
            true => Ok(address),
            false => Err(NO_HOST),
        }
    };
    let named: Vec<Located<Ipv4Addr>> =
        named.into_iter().filter_map(|at| at.check(diagnostics, host)).collect();
    note_twice(&named, diagnostics, |address| format!("{address} is there twice"));
    named.into_iter().map(|at| at.value).collect()
}

fn interfaces(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let named = section.strings(diagnostics, "interface", true);
    if named.is_empty() {
        let why = "the interface on which DHCP is answered, such as \"eth0\"";
        section.required(diagnostics, "interface", why);
    }
    // What the kernel's dev_valid_name() takes.
    let valid = |name: String| {
        let graphic = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        let good = !name.is_empty() && name.len() < 16 && graphic && name != "." && name != "..";
        if good { Ok(name) } else { Err("is not an interface's name; see `ip link`") }
    };
    let named: Vec<Located<String>> =
        named.into_iter().filter_map(|at| at.check(diagnostics, valid)).collect();
    note_twice(&named, diagnostics, |name| format!("interface {name} is there twice"));
    named.into_iter().map(|at| at.value).collect()
}

/// The ports of HTTP and NFS.
fn ports(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> (u16, u16) {
    let http = section.port(diagnostics, "http_port");
    let nfs = section.port(diagnostics, "nfs_port");
    let http_port = http.as_ref().map_or(80, |at| at.value);
    let nfs_port = nfs.as_ref().map_or(2049, |at| at.value);
    for at in [&http, &nfs].into_iter().flatten().filter(|at| at.value == PORTMAP) {
        diagnostics.note(&at.span, PORTMAPS);
    }
    if let (true, Some(at)) = (http_port == nfs_port, nfs.or(http)) {
        diagnostics
            .note(&at.span, format!("port {nfs_port} is for HTTP and for NFS; one of them needs another"));
    }
    (http_port, nfs_port)
}

/// HTTPS: its port, and the two files that go with it.
fn https(
    section: &mut Section<'_>,
    home: &Path,
    taken: [(u16, &str); 2],
    diagnostics: &mut Diagnostics,
) -> Option<Https> {
    let port = section.number(diagnostics, "https_port", 0..=u16::MAX);
    let mut file = |key| section.string(diagnostics, key).and_then(|at| placed(at, home, diagnostics));
    let (certificate, key) = (file("certificate"), file("key"));
    if let Some(at) = &port {
        if let Some((_, other)) = taken.iter().find(|(taken, _)| *taken == at.value) {
            let told = format!("port {} is for HTTPS and for {other}; one of them needs another", at.value);
            diagnostics.note(&at.span, told);
        }
        if at.value == PORTMAP {
            diagnostics.note(&at.span, PORTMAPS);
        }
    }
    let Some(port) = port.filter(|at| at.value != 0) else {
        for at in [&certificate, &key].into_iter().flatten() {
            diagnostics.note(&at.span, "goes with `https_port`, and there is none");
        }
        return None;
    };
    match (&certificate, &key) {
        (Some(at), None) => diagnostics.note(&at.span, "goes with `key`: the file with its private key"),
        (None, Some(at)) => {
            diagnostics.note(&at.span, "goes with `certificate`: the file that it is the key of");
        }
        _ => {}
    }
    let both = certificate.zip(key);
    let certificate =
        both.map(|(certificate, key)| Certificate { certificate: certificate.value, key: key.value });
    Some(Https { port: port.value, certificate })
}

/// Notes each value of a list that stood there before.
pub(crate) fn note_twice<T: PartialEq>(
    list: &[Located<T>],
    diagnostics: &mut Diagnostics,
    told: impl Fn(&T) -> String,
) {
    for (number, at) in list.iter().enumerate() {
        if list.iter().take(number).any(|other| other.value == at.value) {
            diagnostics.note(&at.span, told(&at.value));
        }
    }
}

/// A key whose value is one of a few words.
fn one_of<T: Copy, const N: usize>(
    section: &mut Section<'_>,
    diagnostics: &mut Diagnostics,
    key: &'static str,
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> Option<Located<T>> {
    section.string(diagnostics, key)?.check(diagnostics, |word| {
        all.into_iter().find(|one| as_str(*one) == word).ok_or_else(|| {
            let all = all.map(|one| format!("{:?}", as_str(one))).join(", ");
            format!("{word:?} is none of {all}")
        })
    })
}

/// A `[profile.NAME]` table.
pub(crate) fn profile(
    mut section: Section<'_>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Table<Profile> {
    let span = section.span.clone();
    let mut places = Places::default();
    let source = section.section(diagnostics, "source").and_then(|source| {
        places.0.insert(("source", String::new()), source.span.clone());
        source_of(source, home, diagnostics)
    });
    let kernel_from = section.string(diagnostics, "kernel_from").map(|at| places.keep("kernel_from", at));
    if kernel_from.is_some() {
        for key in ["kernel", "initrd", "initramfs"] {
            if let Some(at) = section.strings(diagnostics, key, true).first() {
                diagnostics.note(&at.span, "cannot be set here: the kernel comes from another profile");
            }
        }
    }
    let kernel = section.string(diagnostics, "kernel").and_then(|at| in_tree(at, diagnostics));
    let initrds = initrds(section.strings(diagnostics, "initrd", true), diagnostics);
    let root = one_of(&mut section, diagnostics, "root", Root::ALL, Root::as_str);
    let initramfs = one_of(&mut section, diagnostics, "initramfs", Initramfs::ALL, Initramfs::as_str);
    let own = own_initrd(&mut section, diagnostics);
    let (root, root_at) = (root.as_ref().map(|at| at.value), root.map(|at| at.span));
    if let (Some(Root::None), Some(at)) = (root, &initramfs) {
        diagnostics.note(&at.span, "mounts a root, and `root = \"none\"` says that there is none");
    }
    let extends = section.string(diagnostics, "extends").map(|at| places.keep("extends", at));
    if extends.is_none() {
        section.missing(diagnostics, "source", "a profile has a source, or extends a profile that has one");
    }
    let profile = Profile {
        source,
        extends,
        layers: layers(&mut section, home, &mut places, diagnostics),
        kernel_from,
        kernel,
        initrds,
        root,
        initramfs: initramfs.map(|at| at.value),
        own,
        log: section
            .string(diagnostics, "log")
            .and_then(|at| at.check(diagnostics, |text| LogPlace::parse(&text)))
            .map(|at| at.value),
        mounts: mounts(&mut section, &mut places, diagnostics),
        secrets: secrets(&mut section, &mut places, diagnostics),
        args: arguments_of(
            root.unwrap_or_default(),
            section.strings(diagnostics, "args", false),
            diagnostics,
        ),
        vars: own_variables(&mut section, diagnostics),
    };
    places.0.extend(root_at.map(|span| (("root", String::new()), span)));
    section.finish(diagnostics);
    Table { value: profile, span, places: places.0 }
}

/// Each host takes datagrams of 576 bytes (RFC 791), and less than that mounts no root; no Ethernet carries more than a jumbo frame.
const MTUS: std::ops::RangeInclusive<u16> = 576..=9216;
/// 0 and 4095 are none (IEEE 802.1Q).
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

/// What a profile says of an initrd of oneroot's own.
fn own_initrd(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> OwnInitrd {
    let drivers = one_of(section, diagnostics, "drivers", Drivers::ALL, Drivers::as_str);
    let overlay = section.string(diagnostics, "overlay").and_then(|at| {
        at.check(diagnostics, |text| {
            root::overlay(&text).ok_or_else(|| {
                format!("{text:?} is no amount of memory such as \"50%\", \"512M\", \"zram 50%\" or \"zram 2g zstd\"")
            })
        })
    });
    let restart = section.string(diagnostics, "restart_after").and_then(|at| {
        at.check(diagnostics, |text| {
            let seconds = seconds_of(&text)?.filter(|seconds| (60..=86_400).contains(seconds));
            seconds.ok_or_else(|| format!("{text:?} must be from one minute to one day"))
        })
    });
    let mtu = section.number(diagnostics, "mtu", MTUS);
    let vlan = section.number(diagnostics, "vlan", VLANS);
    OwnInitrd {
        drivers: drivers.map(|at| at.value),
        overlay: overlay.map(|at| at.value),
        restart: restart.map(|at| at.value),
        mtu: mtu.map(|at| at.value),
        vlan: vlan.map(|at| at.value),
    }
}

/// The initrds of a profile.
fn initrds(named: Vec<Located<String>>, diagnostics: &mut Diagnostics) -> Vec<String> {
    if let Some(one_more) = named.get(MOST_INITRDS) {
        diagnostics.note(&one_more.span, format!("is one too many: {MOST_INITRDS} at most"));
    }
    named.into_iter().filter_map(|at| in_tree(at, diagnostics)).collect()
}

/// A path in the tree, or a pattern for a name in `/boot`.
fn in_tree(at: Located<String>, diagnostics: &mut Diagnostics) -> Option<String> {
    let checked = at.check(diagnostics, |text| {
        let stars = text.matches('*').count();
        let in_boot = name_in_boot(&text).is_some();
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
pub(crate) fn workload(
    mut section: Section<'_>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Table<Workload> {
    let span = section.span.clone();
    let mut places = Places::default();
    let workload = Workload {
        layers: layers(&mut section, home, &mut places, diagnostics),
        mounts: mounts(&mut section, &mut places, diagnostics),
        secrets: secrets(&mut section, &mut places, diagnostics),
        args: arguments(section.strings(diagnostics, "args", false), diagnostics),
        vars: own_variables(&mut section, diagnostics),
    };
    section.finish(diagnostics);
    Table { value: workload, span, places: places.0 }
}

/// A `[machine.NAME]` table.
pub(crate) fn machine(
    mut section: Section<'_>,
    home: &Path,
    diagnostics: &mut Diagnostics,
) -> Table<Machine> {
    let span = section.span.clone();
    let mut places = Places::default();
    let typed = section.strings(diagnostics, "mac", true);
    if typed.is_empty() {
        section.required(diagnostics, "mac", "a machine is known by its MAC address");
    }
    let macs: Vec<Located<Mac>> =
        typed.into_iter().filter_map(|text| text.check(diagnostics, |text| text.parse::<Mac>())).collect();
    note_twice(&macs, diagnostics, |mac| format!("MAC {mac} is listed twice"));
    let addresses: Vec<Located<Ipv4Addr>> = section
        .strings(diagnostics, "address", true)
        .into_iter()
        .filter_map(|at| {
            at.check(diagnostics, |text| text.parse().map_err(|_| format!("{text:?} is not an IPv4 address")))
        })
        .collect();
    // Where no MAC could be read, it is not known how many addresses there may be.
    if let Some(more) = addresses.get(macs.len()).filter(|_| !macs.is_empty()) {
        diagnostics.note(&more.span, "has no NIC: the addresses are the MACs', in the same order");
    }
    note_twice(&addresses, diagnostics, |address| format!("address {address} is listed twice"));
    let layer = section.string(diagnostics, "layer").and_then(|at| placed(at, home, diagnostics));
    let machine = Machine {
        macs: macs.into_iter().map(|at| places.keep("mac", at)).collect(),
        addresses: addresses.into_iter().map(|at| places.keep("address", at)).collect(),
        layer: layer.map(|at| {
            places.0.insert(("layer", at.value.display().to_string()), at.span);
            at.value
        }),
        gives: gives(&mut section, &mut places, diagnostics),
        adopted: None,
        assigned: None,
        for_now: None,
    };
    section.finish(diagnostics);
    Table { value: machine, span, places: places.0 }
}

/// What a table gives to the machines that it is about, but for layers: a machine's own is of another kind.
pub(crate) fn gives(section: &mut Section<'_>, places: &mut Places, diagnostics: &mut Diagnostics) -> Gives {
    let boots = boots(section, places, diagnostics);
    let workloads = section.strings(diagnostics, "workloads", false);
    note_twice(&workloads, diagnostics, |workload| format!("workload {workload:?} is listed twice"));
    Gives {
        boots,
        workloads: workloads.into_iter().map(|at| places.keep("workloads", at)).collect(),
        layers: Vec::new(),
        mounts: mounts(section, places, diagnostics),
        secrets: secrets(section, places, diagnostics),
        args: arguments(section.strings(diagnostics, "args", false), diagnostics),
        vars: own_variables(section, diagnostics),
    }
}

/// The variables of a table that may have some.
pub(crate) fn own_variables(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Vars {
    section.section(diagnostics, "vars").map(|vars| variables(vars, diagnostics)).unwrap_or_default()
}

/// Names and strings for templates.
pub(crate) fn variables(section: Section<'_>, diagnostics: &mut Diagnostics) -> Vars {
    let mut vars = BTreeMap::new();
    for (name, value) in section.all_strings(diagnostics) {
        for reason in variable(&name, &value.value) {
            diagnostics.note(&value.span, reason);
        }
        vars.insert(name, value.value);
    }
    vars
}

/// What is wrong with a variable. A value with a line break would write lines of its own into a rendered file, so it is
/// refused here and not at boot time.
pub(crate) fn variable(name: &str, value: &str) -> impl Iterator<Item = &'static str> + use<> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let good = first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = (!good).then_some("is not a valid variable name: use letters, digits and `_`");
    let value = value.chars().any(char::is_control).then_some("has a control character in it");
    name.into_iter().chain(value)
}
