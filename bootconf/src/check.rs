//! From site files to a checked [`Site`], or to all that is wrong with them at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnetwork::Ipv4Network;
use toml::de::DeTable;

use crate::args::Initramfs;
use crate::identity::Mac;
use crate::report::{Problem, Report, Spot, line_and_column, nearest};
use crate::section::{At, Mistakes, Section};
use crate::site::{Machine, Network, Profile, Server, Site, Source, Workload};

/// A site file that is larger was not written by a person.
const LARGEST: u64 = 16 * 1024 * 1024;
/// A lease shorter than this would make every client renew all the time.
const SHORTEST_LEASE: u32 = 60;

/// One file of a site.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads `site.toml` at `path` and the files of `machines.d` beside it.
///
/// # Errors
/// A [`Report`] with every mistake.
pub fn load(path: &Path) -> Result<Site, Report> {
    let home = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names = vec![path.to_owned()];
    if let Ok(entries) = fs::read_dir(home.join("machines.d")) {
        let mut more: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        more.retain(|path| path.extension().is_some_and(|end| end == "toml"));
        more.sort();
        names.extend(more);
    }
    let mut files = Vec::new();
    let mut unreadable = Vec::new();
    for name in names {
        let shown = name.display().to_string();
        match read(&name) {
            Ok(text) => files.push(File { name: shown, text }),
            Err(reason) => {
                unreadable.push(Problem {
                    file: shown,
                    line: 0,
                    column: 0,
                    key: String::new(),
                    reason,
                    hint: None,
                });
            }
        }
    }
    let site = check(&files, home);
    if unreadable.is_empty() {
        return site;
    }
    unreadable.extend(site.err().unwrap_or_default().problems);
    Err(Report { problems: unreadable })
}

/// Reads a site from text, with relative paths taken from `home`; for tests.
///
/// # Errors
/// A [`Report`] with every mistake.
pub fn load_str(name: &str, text: &str, home: &Path) -> Result<Site, Report> {
    check(&[File { name: name.to_owned(), text: text.to_owned() }], home)
}

fn read(path: &Path) -> Result<String, String> {
    let meta = fs::metadata(path).map_err(|cause| format!("cannot be read: {cause}"))?;
    if !meta.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|cause| format!("cannot be opened: {cause}"))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|cause| format!("cannot be read: {cause}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err("is larger than 16 MiB, which is no site file".to_owned());
    }
    String::from_utf8(bytes).map_err(|cause| {
        format!("is not UTF-8 from byte {} on; save it as UTF-8", cause.utf8_error().valid_up_to())
    })
}

/// All tables of all files, before they are compared with each other.
#[derive(Default)]
struct Draft {
    server: Option<Server>,
    networks: Vec<At<Network>>,
    profiles: BTreeMap<String, At<Profile>>,
    workloads: BTreeMap<String, At<Workload>>,
    machines: BTreeMap<String, At<Machine>>,
    unknown: Option<At<String>>,
}

fn check(files: &[File], home: &Path) -> Result<Site, Report> {
    let mut mistakes = Mistakes::default();
    let mut draft = Draft::default();
    let mut whole = true;
    for (number, file) in files.iter().enumerate() {
        let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
        let skipped = file.text.len() - text.len();
        let spot = Spot { file: number, span: 0..0, key: String::new() };
        if skipped > 0 {
            mistakes.note(&spot, "begins with a byte order mark; save it without one");
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let spot = Spot { span: error.span().unwrap_or(0..0), ..spot.clone() };
            mistakes.note(&spot, error.message().to_owned());
        }
        // What the parser could make of a broken file would only give rise to more complaints.
        whole &= errors.is_empty();
        if errors.is_empty() {
            draft.read(Section::new(root.get_ref(), spot), home, number == 0, &mut mistakes);
        }
    }
    if whole {
        crate::compare::compare(
            &draft.networks,
            &draft.profiles,
            &draft.workloads,
            &draft.machines,
            &mut mistakes,
        );
        draft.compare_server(&mut mistakes);
    }
    let mut problems: Vec<(usize, Problem)> = mistakes
        .0
        .into_iter()
        .map(|(spot, reason, hint)| {
            let file = files.get(spot.file);
            let (line, column) = file.map_or((0, 0), |file| line_and_column(&file.text, spot.span.start));
            let name = file.map_or(String::new(), |file| file.name.clone());
            (spot.file, Problem { file: name, line, column, key: spot.key, reason, hint })
        })
        .collect();
    problems.sort_by_key(|(file, problem)| (*file, problem.line, problem.column));
    match (draft.server, problems.is_empty()) {
        (Some(server), true) => Ok(Site {
            server,
            networks: draft.networks.into_iter().map(|network| network.value).collect(),
            profiles: plain(draft.profiles),
            workloads: plain(draft.workloads),
            machines: plain(draft.machines),
            unknown: draft.unknown.map(|unknown| unknown.value),
        }),
        _ => Err(Report { problems: problems.into_iter().map(|(_, problem)| problem).collect() }),
    }
}

fn plain<T>(table: BTreeMap<String, At<T>>) -> BTreeMap<String, T> {
    table.into_iter().map(|(name, at)| (name, at.value)).collect()
}

impl Draft {
    fn read(&mut self, mut root: Section<'_>, home: &Path, main: bool, mistakes: &mut Mistakes) {
        for (name, table) in root.named(mistakes, "machine") {
            let machine = machine(table, home, mistakes);
            self.add("machine", &name, machine, |draft| &mut draft.machines, mistakes);
        }
        if main {
            root.missing(mistakes, "server", "a site begins with a [server] table");
            let server = root.section(mistakes, "server");
            self.server = server.and_then(|section| self::server(section, home, mistakes));
            for section in root.sections(mistakes, "network") {
                self.networks.extend(network(section, mistakes));
            }
            for (name, table) in root.named(mistakes, "profile") {
                let profile = profile(table, home, mistakes);
                self.add("profile", &name, profile, |draft| &mut draft.profiles, mistakes);
            }
            for (name, mut table) in root.named(mistakes, "workload") {
                let workload = Workload {
                    layers: paths(table.strings(mistakes, "layers", false), home),
                    args: arguments(table.strings(mistakes, "args", false), mistakes),
                };
                table.finish(mistakes);
                self.add("workload", &name, Some(workload), |draft| &mut draft.workloads, mistakes);
            }
            if let Some(mut section) = root.section(mistakes, "unknown") {
                self.unknown = section.string(mistakes, "profile");
                section.missing(mistakes, "profile", "the profile that unknown machines boot");
                section.finish(mistakes);
            }
        }
        root.finish(mistakes);
    }

    fn add<T>(
        &mut self,
        kind: &str,
        name: &At<String>,
        value: Option<T>,
        table: impl Fn(&mut Self) -> &mut BTreeMap<String, At<T>>,
        mistakes: &mut Mistakes,
    ) {
        if !good_name(&name.value) {
            mistakes.note(
                &name.spot,
                "a name has 1 to 63 of a-z, 0-9, '-', '_' and '.', and begins with a letter or digit: it becomes a file's and a host's name",
            );
        }
        let Some(value) = value else { return };
        let at = At { value, spot: name.spot.clone() };
        if table(self).insert(name.value.clone(), at).is_some() {
            mistakes.note(&name.spot, format!("there is another {kind} of this name"));
        }
    }

    fn compare_server(&self, mistakes: &mut Mistakes) {
        if let Some(unknown) = &self.unknown
            && !self.profiles.contains_key(&unknown.value)
        {
            let hint = nearest(&unknown.value, self.profiles.keys().map(String::as_str));
            mistakes.note_with(&unknown.spot, format!("there is no profile {:?}", unknown.value), hint);
        }
        let Some(Server { address: IpAddr::V4(address), .. }) = &self.server else { return };
        for network in &self.networks {
            if network.value.pool.is_some_and(|(first, last)| (first..=last).contains(address)) {
                mistakes
                    .note(&network.spot, format!("the pool has the server's own address {address} in it"));
            }
        }
    }
}

pub(crate) fn good_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    first && name.len() <= 63 && name.bytes().all(allowed)
}

fn paths(list: Vec<At<String>>, home: &Path) -> Vec<PathBuf> {
    list.into_iter().map(|path| home.join(path.value)).collect()
}

/// Arguments go into the kernel's command line and into an iPXE script: one word each, and nothing that either of the
/// two would take for its own.
fn arguments(list: Vec<At<String>>, mistakes: &mut Mistakes) -> Vec<String> {
    let mut arguments = Vec::new();
    for argument in list {
        let text = &argument.value;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            mistakes.note(
                &argument.spot,
                format!("{text:?} is not one kernel argument: it has to be printable, without spaces"),
            );
        } else if text.contains("${") || text == "||" || text == "&&" {
            mistakes.note(&argument.spot, format!("{text:?} means something to iPXE"));
        } else {
            arguments.push(argument.value);
        }
    }
    arguments
}

fn server(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Server> {
    let address = section.parsed::<IpAddr>(mistakes, "address", "an IP address");
    section.missing(mistakes, "address", "the address that machines are told, such as \"192.168.77.1\"");
    let address = address.and_then(|address| {
        address.check(mistakes, |address| match address {
            IpAddr::V4(v4) if !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast() => Ok(address),
            IpAddr::V4(_) => Err("is no address of a host"),
            IpAddr::V6(_) => Err("must be IPv4: firmware and klibc mount no root over IPv6"),
        })
    });
    let interface = section.string(mistakes, "interface");
    section.missing(mistakes, "interface", "the interface on which DHCP is answered, such as \"eth0\"");
    let interface = interface.and_then(|interface| {
        interface.check(mistakes, |name| {
            let good = !name.is_empty() && name.len() < 16 && !name.contains(['/', ' ']) && name.is_ascii();
            if good { Ok(name) } else { Err("is no interface's name; see `ip link`") }
        })
    });
    let mut path = |key, default: &str| -> PathBuf {
        home.join(section.string(mistakes, key).map_or(default.to_owned(), |path| path.value))
    };
    let store = path("store", "/var/lib/oneroot/store");
    let state = path("state", "/var/lib/oneroot/state");
    let loaders = path("loaders", "/usr/lib/ipxe");
    let http_port = section.port(mistakes, "http_port").unwrap_or(80);
    let nfs_port = section.port(mistakes, "nfs_port").unwrap_or(2049);
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

fn network(mut section: Section<'_>, mistakes: &mut Mistakes) -> Option<At<Network>> {
    let spot = section.spot.clone();
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
        text.check(mistakes, |text| {
            text.parse::<Ipv4Addr>().map_err(|_| format!("{text:?} is not an IPv4 address"))
        })
    });
    let dns: Vec<Ipv4Addr> = dns.map(|at| at.value).collect();
    let domain = section.string(mistakes, "domain").and_then(|domain| {
        domain.check(mistakes, |text| {
            let good = text.len() <= 253
                && !text.is_empty()
                && text.split('.').all(|label| good_name(label) && label.len() < 64);
            if good { Ok(text) } else { Err("is no domain name, such as \"lab.example\"") }
        })
    });
    let lease =
        section.string(mistakes, "lease").and_then(|lease| lease.check(mistakes, |text| lease_of(&text)));
    section.finish(mistakes);
    let subnet = subnet?.value;
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
    let network = Network {
        subnet,
        pool: pool.map(|at| at.value),
        router: router.map(|at| at.value),
        dns,
        domain: domain.map(|at| at.value),
        lease: lease.map_or(86_400, |at| at.value),
    };
    Some(At { value: network, spot })
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
    let bad = || format!("{text:?} is not a time such as \"12h\" (s, m, h, d)");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(bad()),
    };
    let number: u32 = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
    match number.checked_mul(unit) {
        Some(seconds) if (SHORTEST_LEASE..=365 * 86_400).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} must be from one minute to 365 days")),
    }
}

fn profile(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Profile> {
    let source = section.section(mistakes, "source").and_then(|mut source| {
        let tar = source.string(mistakes, "tar").map(|path| Source::Tar(home.join(path.value)));
        let directory =
            source.string(mistakes, "directory").map(|path| Source::Directory(home.join(path.value)));
        let spot = source.spot.clone();
        source.finish(mistakes);
        match (tar, directory) {
            (Some(one), None) | (None, Some(one)) => Some(one),
            _ => {
                mistakes.note(&spot, "must say one of `tar` and `directory`");
                None
            }
        }
    });
    let absolute = |path: Option<At<String>>, mistakes: &mut Mistakes| {
        path.and_then(|path| {
            path.check(mistakes, |path| {
                if path.starts_with('/') { Ok(path) } else { Err("must be a path in the tree, from /") }
            })
        })
    };
    let kernel = section.string(mistakes, "kernel");
    let kernel = absolute(kernel, mistakes).map(|at| at.value);
    let initrd = section.string(mistakes, "initrd");
    let initrd = absolute(initrd, mistakes).map(|at| at.value);
    let initramfs = section.string(mistakes, "initramfs").and_then(|word| {
        word.check(mistakes, |word| {
            let found =
                Initramfs::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, initramfs)| initramfs);
            found.ok_or_else(|| format!("{word:?} is none of \"initramfs-tools\", \"dracut\", \"none\""))
        })
    });
    let extends = section.string(mistakes, "extends").map(|at| at.value);
    if extends.is_none() {
        section.missing(mistakes, "source", "a profile has a source, or extends a profile that has one");
    }
    let profile = Profile {
        source,
        extends,
        layers: paths(section.strings(mistakes, "layers", false), home),
        kernel,
        initrd,
        initramfs: initramfs.map(|at| at.value),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
    };
    section.finish(mistakes);
    Some(profile)
}

fn machine(mut section: Section<'_>, home: &Path, mistakes: &mut Mistakes) -> Option<Machine> {
    section.missing(mistakes, "mac", "a machine is known by its MAC address");
    let macs = section
        .strings(mistakes, "mac", true)
        .into_iter()
        .filter_map(|text| text.check(mistakes, |text| text.parse::<Mac>()));
    let macs: Vec<Mac> = macs.map(|at| at.value).collect();
    let address = section.parsed::<Ipv4Addr>(mistakes, "address", "an IPv4 address");
    let profile = section.string(mistakes, "profile");
    section.missing(mistakes, "profile", "what the machine boots");
    let machine = Machine {
        macs,
        address: address.map(|at| at.value),
        profile: profile.map_or(String::new(), |at| at.value),
        workloads: section.strings(mistakes, "workloads", false).into_iter().map(|at| at.value).collect(),
        layer: section.string(mistakes, "layer").map(|at| home.join(at.value)),
        args: arguments(section.strings(mistakes, "args", false), mistakes),
    };
    section.finish(mistakes);
    Some(machine)
}
