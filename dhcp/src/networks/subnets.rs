//! Networks, and which of them a message is from.
//!
//! | the message | its network |
//! |---|---|
//! | straight from a proxy network's link, from a client without an address | that link's, whatever it asks for |
//! | option 82.5, link selection (RFC 3527) | the one with that address, or none |
//! | option 118, subnet selection (RFC 3011) | the one with that address, or none |
//! | through a relay | the one with giaddr, or none |
//! | from a client that has an address of ours | the one with ciaddr: a renewal comes by unicast, from anywhere |
//! | from a NIC whose own address is in a network of the wire by which it came | that one |
//! | else | the one with the (first) address of the interface by which it came |
//!
//! "Or none" is silence: an address of another network than the one that was asked for would be of no use.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnetwork::Ipv4Network;

use crate::wire::message::Request;

/// A network on which machines boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its addresses.
    pub network: Ipv4Network,
    /// The address that clients are told: server-id and siaddr.
    pub server: Ipv4Addr,
    /// Default gateway. Without one, a relay with an address in the network is taken for it.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// First and last address for machines without one of their own.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// First and last addresses that the pool does not give.
    pub exclude: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Addresses in the pool that are kept for one machine each.
    pub reserved: Vec<Ipv4Addr>,
    /// NICs that the site names and that have no address of their own. Any of them may come here, so the pool has room for
    /// all of them that no stranger is given.
    pub named: u32,
    /// Lease time in seconds.
    pub lease_secs: u32,
    /// Largest IP datagram of the link.
    pub mtu: u16,
    /// No other server gives addresses here, so a client that asks for one that we know nothing of is told no.
    pub authoritative: bool,
    /// Another server gives the addresses; ours only says what to boot.
    pub proxy: bool,
}

impl Subnet {
    /// Whether the pool may give this address.
    pub(crate) fn gives(&self, address: Ipv4Addr) -> bool {
        let within = |(first, last): &(Ipv4Addr, Ipv4Addr)| (*first..=*last).contains(&address);
        self.pool.as_ref().is_some_and(within) && !self.exclude.iter().any(within) && self.usable(address)
    }

    /// Whether a client can have this address at all.
    pub(crate) fn usable(&self, address: Ipv4Addr) -> bool {
        // RFC 3021: a /31 has neither network nor broadcast address.
        let edge = self.network.prefix() < 31
            && (address == self.network.network() || address == self.network.broadcast());
        self.network.contains(address) && address != self.server && Some(address) != self.router && !edge
    }
}

/// A message's network.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) subnet: Arc<Subnet>,
    /// Whether the message came by an interface in that network: a client's own address can be reached there.
    pub(crate) local: bool,
}

/// The site's networks.
#[derive(Debug, Default)]
pub(crate) struct Subnets(Vec<Arc<Subnet>>);

impl Subnets {
    pub(crate) fn new(subnets: Vec<Subnet>) -> Self {
        Self(subnets.into_iter().map(Arc::new).collect())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Subnet> {
        self.0.iter().map(Arc::as_ref)
    }

    pub(crate) fn with(&self, address: Ipv4Addr) -> Option<&Arc<Subnet>> {
        self.0.iter().find(|subnet| subnet.network.contains(address))
    }

    /// `via` are our addresses on the interface by which the message came, if that is known; `own` is the address that the
    /// site keeps for its NIC.
    pub(crate) fn place(&self, request: &Request, via: &[Ipv4Addr], own: Option<Ipv4Addr>) -> Option<Place> {
        let links: Vec<&Arc<Subnet>> = match via {
            [] => self.only_link().into_iter().collect(),
            all => all.iter().filter_map(|address| self.with(*address)).collect(),
        };
        // Two networks on one wire: neither says which is meant, so the site does.
        let kept = own.and_then(|own| links.iter().find(|link| link.network.contains(own)));
        // So does a client that had an address in one of them: a NAK is told by the server of that network.
        let had = request.requested.and_then(|had| links.iter().find(|link| link.network.contains(had)));
        let link = kept.or(had).or(links.first()).copied();
        let chosen = if request.giaddr.is_unspecified() {
            let fresh = request.ciaddr.is_unspecified();
            match link.filter(|link| link.proxy && fresh) {
                Some(link) => Some(link),
                None => self.direct(request, link),
            }
        } else {
            let context = request.link_selection.or(request.subnet_selection).unwrap_or(request.giaddr);
            self.with(context).filter(|_| self.relays(request.giaddr, via))
        };
        let subnet = chosen?.clone();
        let local = links.into_iter().any(|link| Arc::ptr_eq(link, &subnet));
        Some(Place { subnet, local })
    }

    fn direct<'a>(&'a self, request: &Request, link: Option<&'a Arc<Subnet>>) -> Option<&'a Arc<Subnet>> {
        match request.link_selection.or(request.subnet_selection) {
            Some(context) => self.with(context),
            None => self.with(request.ciaddr).filter(|_| !request.ciaddr.is_unspecified()).or(link),
        }
    }

    /// The network that the server has an address in, if there is no doubt which.
    fn only_link(&self) -> Option<&Arc<Subnet>> {
        let mut links = self.0.iter().filter(|subnet| subnet.network.contains(subnet.server));
        links.next().filter(|_| links.next().is_none())
    }

    /// Whether replies may be sent to this relay: ours, everybody's and nobody's addresses are made up.
    fn relays(&self, giaddr: Ipv4Addr, via: &[Ipv4Addr]) -> bool {
        let ours = via.contains(&giaddr) || self.0.iter().any(|subnet| subnet.server == giaddr);
        let all = |subnet: &Arc<Subnet>| subnet.network.prefix() < 31 && subnet.network.broadcast() == giaddr;
        let nobody = giaddr.is_loopback() || giaddr.is_multicast() || giaddr.is_broadcast();
        !(ours || nobody || self.with(giaddr).is_some_and(all))
    }
}
