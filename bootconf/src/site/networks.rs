//! The `[[network]]` tables: which addresses there are, who gives them, and to whom.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::site::Network;
use crate::site::replies::fits;
use crate::site::section::{Diagnostics, Located, Section};
use crate::site::table::{Places, Table, good_name};

/// A lease shorter than this would make every client renew all the time, in seconds.
const SHORTEST_LEASE: u32 = 60;
/// One that is longer is a slip of the fingers.
const LONGEST_LEASE: u32 = 365 * 86_400;

/// What is said of an address that [`is_host`] refuses.
pub(crate) const NO_HOST: &str = "is not an address that other hosts can reach";

/// Whether an address can be one host's to others: not 0/8, not loopback, and below the groups and what is reserved above them.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

type Range = (Ipv4Addr, Ipv4Addr);

/// A `[[network]]` table.
pub(crate) fn network(mut section: Section<'_>, diagnostics: &mut Diagnostics) -> Option<Table<Network>> {
    let span = section.span.clone();
    let keys = Keys::read(&mut section, diagnostics);
    section.finish(diagnostics);
    fits(&keys.dns, &keys.ntp, keys.domain.as_ref(), &span, diagnostics);
    keys.note_what_is_outside(diagnostics)?;
    keys.note_what_the_pool_gives_away(diagnostics);
    let (value, places) = keys.into_network()?;
    Some(Table { value, span, places: places.0 })
}

/// The keys of one table, each good by itself.
struct Keys {
    subnet: Option<Located<Ipv4Network>>,
    server: Option<Located<Ipv4Addr>>,
    proxy: Option<Located<bool>>,
    authoritative: Option<Located<bool>>,
    exclude: Vec<Located<Range>>,
    pool: Option<Located<Range>>,
    router: Option<Located<Ipv4Addr>>,
    dns: Vec<Located<Ipv4Addr>>,
    ntp: Vec<Located<Ipv4Addr>>,
    domain: Option<Located<String>>,
    lease: Option<Located<u32>>,
}

impl Keys {
    fn read(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Self {
        let subnet = subnet(section, diagnostics);
        let server = section.parsed::<Ipv4Addr>(diagnostics, "server", "an IPv4 address");
        let reachable = |address| is_host(address).then_some(address).ok_or(NO_HOST);
        let server = server.and_then(|at| at.check(diagnostics, reachable));
        let range = |text: String| text.parse().map(|one| (one, one)).or_else(|_| pool_of(&text));
        let exclude = section.strings(diagnostics, "exclude", true).into_iter();
        Self {
            subnet,
            server,
            proxy: section.boolean(diagnostics, "proxy"),
            authoritative: section.boolean(diagnostics, "authoritative"),
            exclude: exclude.filter_map(|at| at.check(diagnostics, range)).collect(),
            pool: section
                .string(diagnostics, "pool")
                .and_then(|pool| pool.check(diagnostics, |text| pool_of(&text))),
            router: section.parsed::<Ipv4Addr>(diagnostics, "router", "an IPv4 address"),
            // Each machine may have a name server of its own.
            dns: hosts(section, diagnostics, "dns", "a name server", Ipv4Addr::is_loopback),
            ntp: hosts(section, diagnostics, "ntp", "a time server", |_| false),
            domain: domain(section, diagnostics),
            lease: section
                .string(diagnostics, "lease")
                .and_then(|lease| lease.check(diagnostics, |text| lease_of(&text))),
        }
    }

    /// Notes addresses that are not the network's, or not a host's in it; none where it is not known what is.
    fn note_what_is_outside(&self, diagnostics: &mut Diagnostics) -> Option<()> {
        let subnet = self.subnet.as_ref()?.value;
        let inside = |address: Ipv4Addr| {
            subnet.contains(address) && address != subnet.network() && address != subnet.broadcast()
        };
        if let Some(Located { value: (first, last), span }) = &self.pool
            && !(inside(*first) && inside(*last))
        {
            diagnostics.note(span, format!("is not inside {subnet}"));
        }
        for at in &self.exclude {
            let in_pool = |(first, last): Range| first <= at.value.0 && at.value.1 <= last;
            if !self.pool.as_ref().is_some_and(|pool| in_pool(pool.value)) {
                diagnostics.note(&at.span, "is not inside the pool; there is nothing to exclude it from");
            }
        }
        if let Some(server) = &self.server
            && subnet.contains(server.value)
            && !inside(server.value)
        {
            diagnostics.note(&server.span, format!("is not a host address in {subnet}"));
        }
        if let Some(router) = &self.router
            && !inside(router.value)
        {
            diagnostics.note(&router.span, format!("is not inside {subnet}"));
        }
        Some(())
    }

    /// Notes addresses that a machine would be given though somebody else has them, and a pool that gives nothing.
    fn note_what_the_pool_gives_away(&self, diagnostics: &mut Diagnostics) {
        let Some(pool) = &self.pool else { return };
        if let Some(last) = self.exclude.last()
            && is_covered(pool.value, self.exclude.iter().map(|at| at.value).collect())
        {
            diagnostics.note(
                &last.span,
                "leaves nothing of the pool; leave `pool` out where no address is to be given",
            );
        }
        let holds = |(first, last): Range, address| (first..=last).contains(&address);
        let excluded = |address| self.exclude.iter().any(|at| holds(at.value, address));
        let given = |at: &&Located<Ipv4Addr>| holds(pool.value, at.value) && !excluded(at.value);
        for at in self.server.iter().chain(&self.router).filter(given) {
            diagnostics.note(&at.span, "is inside the pool; it would be given to a machine");
        }
        for at in self.dns.iter().chain(&self.ntp).filter(given) {
            let told = format!("{} is inside the pool; it would be given to a machine", at.value);
            diagnostics.note(&at.span, told);
        }
        if self.proxy.as_ref().is_some_and(|proxy| proxy.value) {
            diagnostics.note(
                &pool.span,
                "is for addresses, which a proxy does not give; the other DHCP server has the pool",
            );
        }
    }

    /// The network, and where what other tables are compared with stands.
    fn into_network(self) -> Option<(Network, Places)> {
        let mut places = Places::default();
        let bare = |list: Vec<Located<Ipv4Addr>>| list.into_iter().map(|at| at.value).collect();
        let network = Network {
            subnet: places.keep("subnet", self.subnet?),
            server: self.server.map(|at| places.keep("server", at)),
            proxy: self.proxy.is_some_and(|at| at.value),
            authoritative: self.authoritative.is_some_and(|at| at.value),
            pool: self.pool.map(|at| {
                places.0.insert(("pool", String::new()), at.span);
                at.value
            }),
            exclude: self.exclude.into_iter().map(|at| at.value).collect(),
            router: self.router.map(|at| at.value),
            dns: bare(self.dns),
            ntp: bare(self.ntp),
            domain: self.domain.map(|at| at.value),
            lease: self.lease.map_or(86_400, |at| at.value),
        };
        Some((network, places))
    }
}

fn subnet(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Option<Located<Ipv4Network>> {
    let subnet = section.parsed::<Ipv4Network>(diagnostics, "subnet", "a network such as 192.168.77.0/24");
    section.missing(diagnostics, "subnet", "the network's addresses, such as \"192.168.77.0/24\"");
    subnet?.check(diagnostics, |subnet| match without_host_bits(subnet)? {
        _ if !(8..=30).contains(&subnet.prefix()) => Err("must be of /8 to /30".to_owned()),
        _ if !is_host(subnet.ip()) => Err("is not a network of hosts".to_owned()),
        _ => Ok(subnet),
    })
}

/// A network as it is meant, and no host's address in it.
pub(crate) fn without_host_bits(network: Ipv4Network) -> Result<Ipv4Network, String> {
    if network.network() == network.ip() {
        return Ok(network);
    }
    Err(format!("has host bits; the network is {}/{}", network.network(), network.prefix()))
}

fn domain(section: &mut Section<'_>, diagnostics: &mut Diagnostics) -> Option<Located<String>> {
    section.string(diagnostics, "domain")?.check(diagnostics, |text| {
        let good = text.len() <= 253 && !text.is_empty() && text.split('.').all(good_name);
        if good { Ok(text) } else { Err("is not a domain name, such as \"lab.example\"") }
    })
}

/// Whether ranges have all of a pool.
fn is_covered((first, last): Range, mut ranges: Vec<Range>) -> bool {
    ranges.sort_unstable();
    // Wider than an address, for behind 255.255.255.255 comes none.
    let mut next = u64::from(u32::from(first));
    for (from, to) in ranges {
        if u64::from(u32::from(from)) <= next {
            next = next.max(u64::from(u32::from(to)) + 1);
        }
    }
    next > u64::from(u32::from(last))
}

/// A list of servers' addresses; `too` are those that may stand for one though no other host has them.
fn hosts(
    section: &mut Section<'_>,
    diagnostics: &mut Diagnostics,
    key: &'static str,
    what: &str,
    too: impl Fn(&Ipv4Addr) -> bool,
) -> Vec<Located<Ipv4Addr>> {
    let told = section.strings(diagnostics, key, true).into_iter().filter_map(|text| {
        text.check(diagnostics, |text| match text.parse::<Ipv4Addr>() {
            Ok(address) if is_host(address) || too(&address) => Ok(address),
            _ => Err(format!("{text:?} is not an IPv4 address of {what}")),
        })
    });
    told.collect()
}

fn pool_of(text: &str) -> Result<Range, String> {
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
    match ends {
        Some((first, last)) if first <= last => Ok((first, last)),
        Some(_) => Err("ends before it begins".to_owned()),
        None => Err(format!("{text:?} is not a range such as \"192.168.77.100-192.168.77.199\"")),
    }
}

fn lease_of(text: &str) -> Result<u32, String> {
    let seconds = seconds_of(text)?.filter(|seconds| (SHORTEST_LEASE..=LONGEST_LEASE).contains(seconds));
    seconds.ok_or_else(|| format!("{text:?} must be from one minute to 365 days"))
}

/// `90s`, `15m`, `12h`, `7d`; none where that is more seconds than can be counted.
pub(crate) fn seconds_of(text: &str) -> Result<Option<u32>, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let said = units.into_iter().find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)));
    let number = said.and_then(|(digits, unit)| Some((digits.parse::<u32>().ok()?, unit)));
    match number {
        Some((number, unit)) => Ok(number.checked_mul(unit)),
        None => Err(format!("{text:?} is not a time such as \"12h\" (s, m, h, d)")),
    }
}

/// How many addresses a network's pool can give: not those that are kept for one NIC or have a service, nor
/// the server's or the router's.
pub(crate) fn pool_size(
    network: &Network,
    server: Option<Ipv4Addr>,
    kept: impl IntoIterator<Item = Ipv4Addr>,
) -> u64 {
    let Some((first, last)) = network.pool.map(|(first, last)| (u32::from(first), u32::from(last))) else {
        return 0;
    };
    let single = kept.into_iter().chain(network.router).chain(network.server.or(server));
    let mut outside: Vec<(u32, u32)> = single.map(|address| (address.into(), address.into())).collect();
    outside.extend(network.exclude.iter().map(|(from, to)| (u32::from(*from), u32::from(*to))));
    outside.sort_unstable();
    let (mut next, mut size) = (u64::from(first), 0);
    for (from, to) in outside.into_iter().filter(|(from, to)| *to >= first && *from <= last) {
        size += u64::from(from).saturating_sub(next);
        next = next.max(u64::from(to) + 1);
    }
    size + (u64::from(last) + 1).saturating_sub(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_what_is_in_it_and_can_be_given() {
        let at = |last: u8| Ipv4Addr::new(10, 0, 0, last);
        let network = Network {
            subnet: "10.0.0.0/24".parse().unwrap(),
            server: None,
            proxy: false,
            authoritative: false,
            pool: Some((at(10), at(29))),
            exclude: vec![(at(12), at(14)), (at(14), at(15)), (at(28), at(29))],
            router: Some(at(10)),
            dns: Vec::new(),
            ntp: Vec::new(),
            domain: None,
            lease: 3600,
        };
        assert_eq!(pool_size(&network, None, []), 20 - 4 - 2 - 1);
        assert_eq!(pool_size(&network, Some(at(20)), [at(9), at(12), at(21), at(30)]), 20 - 4 - 2 - 1 - 2);
        let all = Network { exclude: vec![(at(0), at(255))], ..network.clone() };
        assert_eq!(pool_size(&all, None, []), 0);
        assert_eq!(pool_size(&Network { pool: None, ..network }, None, []), 0);
    }
}
