//! The `[[network]]` tables: which addresses there are, who gives them, and to whom.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::replies::fits;
use crate::section::{Diagnostics, Located, Section};
use crate::site::Network;
use crate::table::{Places, Table, good_name};

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

/// A `[[network]]` table.
pub(crate) fn network(mut section: Section<'_>, diagnostics: &mut Diagnostics) -> Option<Table<Network>> {
    let span = section.span.clone();
    let mut places = Places::default();
    let subnet = section.parsed::<Ipv4Network>(diagnostics, "subnet", "a network such as 192.168.77.0/24");
    section.missing(diagnostics, "subnet", "the network's addresses, such as \"192.168.77.0/24\"");
    let subnet = subnet.and_then(|subnet| {
        subnet.check(diagnostics, |subnet| match subnet {
            _ if subnet.network() != subnet.ip() => {
                Err(format!("has host bits; the network is {}/{}", subnet.network(), subnet.prefix()))
            }
            _ if !(8..=30).contains(&subnet.prefix()) => Err("must be of /8 to /30".to_owned()),
            _ if !is_host(subnet.ip()) => Err("is not a network of hosts".to_owned()),
            _ => Ok(subnet),
        })
    });
    let server = section.parsed::<Ipv4Addr>(diagnostics, "server", "an IPv4 address");
    let server = server
        .and_then(|at| at.check(diagnostics, |address| is_host(address).then_some(address).ok_or(NO_HOST)));
    let proxy = section.boolean(diagnostics, "proxy");
    let authoritative = section.boolean(diagnostics, "authoritative");
    let exclude: Vec<Located<(Ipv4Addr, Ipv4Addr)>> = section
        .strings(diagnostics, "exclude", true)
        .into_iter()
        .filter_map(|at| {
            at.check(diagnostics, |text| text.parse().map(|one| (one, one)).or_else(|_| pool_of(&text)))
        })
        .collect();
    let pool =
        section.string(diagnostics, "pool").and_then(|pool| pool.check(diagnostics, |text| pool_of(&text)));
    let router = section.parsed::<Ipv4Addr>(diagnostics, "router", "an IPv4 address");
    // Each machine may have a name server of its own.
    let dns = hosts(&mut section, diagnostics, "dns", "a name server", Ipv4Addr::is_loopback);
    let ntp = hosts(&mut section, diagnostics, "ntp", "a time server", |_| false);
    let domain = section.string(diagnostics, "domain").and_then(|domain| {
        domain.check(diagnostics, |text| {
            let good = text.len() <= 253 && !text.is_empty() && text.split('.').all(good_name);
            if good { Ok(text) } else { Err("is not a domain name, such as \"lab.example\"") }
        })
    });
    fits(&dns, &ntp, domain.as_ref(), &span, diagnostics);
    let lease = section
        .string(diagnostics, "lease")
        .and_then(|lease| lease.check(diagnostics, |text| lease_of(&text)));
    section.finish(diagnostics);
    let subnet = places.keep("subnet", subnet?);
    let inside = |address: Ipv4Addr| {
        subnet.contains(address) && address != subnet.network() && address != subnet.broadcast()
    };
    if let Some(pool) = &pool
        && !(inside(pool.value.0) && inside(pool.value.1))
    {
        diagnostics.note(&pool.span, format!("is not inside {subnet}"));
    }
    let excluded = |address: Ipv4Addr| exclude.iter().any(|at| (at.value.0..=at.value.1).contains(&address));
    for at in &exclude {
        let in_pool = |(first, last): (Ipv4Addr, Ipv4Addr)| first <= at.value.0 && at.value.1 <= last;
        if !pool.as_ref().is_some_and(|pool| in_pool(pool.value)) {
            diagnostics.note(&at.span, "is not inside the pool; there is nothing to exclude it from");
        }
    }
    if let (Some(pool), Some(last)) = (&pool, exclude.last())
        && is_covered(pool.value, exclude.iter().map(|at| at.value).collect())
    {
        diagnostics
            .note(&last.span, "leaves nothing of the pool; leave `pool` out where no address is to be given");
    }
    if let Some(server) = &server {
        if subnet.contains(server.value) && !inside(server.value) {
            diagnostics.note(&server.span, format!("is not a host address in {subnet}"));
        }
        if pool.as_ref().is_some_and(|pool| (pool.value.0..=pool.value.1).contains(&server.value))
            && !excluded(server.value)
        {
            diagnostics.note(&server.span, "is inside the pool; it would be given to a machine");
        }
    }
    if let (Some(proxy), Some(at)) = (&proxy, &pool)
        && proxy.value
    {
        diagnostics.note(
            &at.span,
            "is for addresses, which a proxy does not give; the other DHCP server has the pool",
        );
    }
    if let Some(router) = &router {
        if !inside(router.value) {
            diagnostics.note(&router.span, format!("is not inside {subnet}"));
        }
        if pool.as_ref().is_some_and(|pool| (pool.value.0..=pool.value.1).contains(&router.value))
            && !excluded(router.value)
        {
            diagnostics.note(&router.span, "is inside the pool; it would be given to a machine");
        }
    }
    for at in dns.iter().chain(&ntp) {
        if pool.as_ref().is_some_and(|pool| (pool.value.0..=pool.value.1).contains(&at.value))
            && !excluded(at.value)
        {
            diagnostics
                .note(&at.span, format!("{} is inside the pool; it would be given to a machine", at.value));
        }
    }
    let pool = pool.map(|at| {
        let (first, last) = at.value;
        places.0.insert(("pool", String::new()), at.span);
        (first, last)
    });
    let network = Network {
        subnet,
        server: server.map(|at| places.keep("server", at)),
        proxy: proxy.is_some_and(|at| at.value),
        authoritative: authoritative.is_some_and(|at| at.value),
        pool,
        exclude: exclude.into_iter().map(|at| at.value).collect(),
        router: router.map(|at| at.value),
        dns: dns.into_iter().map(|at| at.value).collect(),
        ntp: ntp.into_iter().map(|at| at.value).collect(),
        domain: domain.map(|at| at.value),
        lease: lease.map_or(86_400, |at| at.value),
    };
    Some(Table { value: network, span, places: places.0 })
}

/// Whether ranges have all of a pool.
fn is_covered((first, last): (Ipv4Addr, Ipv4Addr), mut ranges: Vec<(Ipv4Addr, Ipv4Addr)>) -> bool {
    ranges.sort_unstable();
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
