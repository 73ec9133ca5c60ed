//! The site's interfaces as they are now: who needs to know asks here, and nobody remembers a number or a hardware address.
//!
//! An interface is known by its name, as the site has it. One that goes and comes again (a bridge that was restarted, a
//! VLAN, a USB NIC) has another number then, and often another hardware address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};

use ipnetwork::Ipv4Network;
use oneroot_bootconf::Site;
use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::routing::{Address, Link};

/// What hinders an interface, worst last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing is connected to it. It serves as soon as something is.
    NoCarrier,
    /// It has no address in a network of the site. DHCP is answered where it is clear which network it is on, and to
    /// relays; so this is as it should be where only their messages come.
    NoAddress,
    /// Its sockets could not be bound to it; why.
    NotBound(String),
    /// It is switched off.
    Down,
    /// It has no hardware address of six bytes.
    NotEthernet,
    /// No interface has its name.
    NotThere,
}

impl Trouble {
    /// For programs.
    fn word(&self) -> &'static str {
        match self {
            Self::NoCarrier => "no-carrier",
            Self::NoAddress => "no-address",
            Self::NotBound(_) => "not-bound",
            Self::Down => "down",
            Self::NotEthernet => "not-ethernet",
            Self::NotThere => "not-there",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCarrier => write!(f, "serves, and nothing is connected to it"),
            Self::NoAddress => write!(f, "has no address in a network of the site"),
            Self::NotBound(cause) => write!(f, "cannot be listened on: {cause}"),
            Self::Down => write!(f, "is down: no machine is answered there until it is up"),
            Self::NotEthernet => write!(f, "is not an Ethernet interface: no machine is answered there"),
            Self::NotThere => write!(f, "is not there: no machine is answered there until it is"),
        }
    }
}

/// What is known of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// None when there is none of its name.
    pub link: Option<Link>,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Our addresses there, one in each of the site's networks that is on this wire; none while it has none, or where only
    /// relays' messages come. They are worked out when something has changed, and not for each message.
    pub via: Vec<Ipv4Addr>,
    /// Why its sockets are not bound to it.
    pub unbound: Option<String>,
}

impl Seen {
    /// What hinders it most.
    pub fn trouble(&self) -> Option<Trouble> {
        let Some(link) = &self.link else { return Some(Trouble::NotThere) };
        match &self.unbound {
            _ if link.mac.is_none() => Some(Trouble::NotEthernet),
            _ if !link.up => Some(Trouble::Down),
            Some(cause) => Some(Trouble::NotBound(cause.clone())),
            None if self.via.is_empty() => Some(Trouble::NoAddress),
            None => (!link.carrier).then_some(Trouble::NoCarrier),
        }
    }
}

/// One interface, for `oneroot status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// As the site's `interface` has it.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its IPv4 addresses.
    pub addresses: Vec<String>,
    /// `serving`, or what hinders it: `no-carrier`, `no-address`, `not-bound`, `down`, `not-ethernet`, `not-there`.
    pub state: String,
    /// The same for people.
    pub trouble: Option<String>,
}

/// All interfaces of the site.
#[derive(Debug, Default)]
pub struct Interfaces {
    seen: RwLock<BTreeMap<String, Arc<Seen>>>,
    /// All addresses of this host, whichever interface has them.
    host: RwLock<Vec<Address>>,
}

impl Interfaces {
    /// What is known of an interface.
    pub fn seen(&self, name: &str) -> Arc<Seen> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(name).cloned().unwrap_or_default()
    }

    /// Notes what an interface is now.
    pub fn put(&self, name: &str, now: Seen) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned(), Arc::new(now));
    }

    /// Notes which addresses this host has now.
    pub fn put_host(&self, addresses: Vec<Address>) {
        *self.host.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// All addresses of this host.
    pub fn host(&self) -> Vec<Ipv4Addr> {
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        host.iter().map(|one| one.address).collect()
    }

    /// Whether an address is one of this host's.
    pub fn is_here(&self, address: IpAddr) -> bool {
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        host.iter().any(|one| IpAddr::V4(one.address) == address)
    }

    /// What hinders an interface, if anything does.
    pub fn trouble(&self, name: &str) -> Option<Trouble> {
        self.seen(name).trouble()
    }

    /// Each of them, in the site's order.
    pub fn status(&self, site: &Site) -> Vec<InterfaceStatus> {
        let one = |name: &String| {
            let seen = self.seen(name);
            let trouble = seen.trouble();
            let mac = seen.link.as_ref().and_then(|link| link.mac).and_then(Mac::new);
            InterfaceStatus {
                name: name.clone(),
                mac: mac.map(|mac| mac.to_string()),
                addresses: seen.addresses.iter().map(ToString::to_string).collect(),
                state: trouble.as_ref().map_or("serving", Trouble::word).to_owned(),
                trouble: trouble.map(|trouble| trouble.to_string()),
            }
        };
        site.server.interfaces.iter().map(one).collect()
    }

    /// Addresses that machines are told and this host does not have.
    pub fn missing(&self, site: &Site) -> Vec<IpAddr> {
        site.server_addresses().into_iter().filter(|address| !self.is_here(*address)).collect()
    }
}

/// Our addresses on an interface with these, one in each of the site's networks.
pub fn via(name: &str, own: &[Ipv4Addr], site: &Site) -> Vec<Ipv4Addr> {
    let networks = || site.networks.iter().map(|network| network.subnet);
    let its: Vec<Ipv4Addr> = networks()
        .filter_map(|subnet| own.iter().copied().find(|address| subnet.contains(*address)))
        .collect();
    if !its.is_empty() {
        return its;
    }
    // Its first host stands for all of the network: a route to one is a route to each.
    let borrowed = |subnet: Ipv4Network| address_on(name, subnet.nth(1)?).filter(|its| subnet.contains(*its));
    networks().find_map(borrowed).into_iter().collect()
}

/// The address from which this host would send to `to` by an interface: one that has none of its own borrows another's.
/// Nothing is sent: the kernel is asked for a route.
fn address_on(interface: &str, to: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    SockRef::from(&socket).bind_device(Some(interface.as_bytes())).ok()?;
    socket.connect((to, 67)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    }
}
