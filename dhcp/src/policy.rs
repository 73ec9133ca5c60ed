//! What the engine has to be told: the networks, once; machines and pins, with every packet.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::client::Client;
use crate::mac::Mac;

/// A network on which addresses are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// Its addresses.
    pub network: Ipv4Network,
    /// The address that clients are told: server-id and siaddr.
    pub server: Ipv4Addr,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain name.
    pub domain: Option<String>,
    /// First and last address for machines without one of their own.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Lease time in seconds.
    pub lease_secs: u32,
    /// Largest IP datagram of the link.
    pub mtu: u16,
}

/// What the site has for a machine that it knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reservation {
    /// Its address; from the pool without one.
    pub address: Option<Ipv4Addr>,
    /// Its name.
    pub hostname: Option<String>,
}

/// What a client is told to load next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// From where; siaddr.
    pub server: Ipv4Addr,
    /// A file name for TFTP, or a URL.
    pub file: String,
}

/// Asked with every packet. Must answer from memory.
pub trait Policy {
    /// The machine that the site knows by this MAC.
    fn reservation(&self, mac: Mac) -> Option<Reservation>;
    /// The MAC for which the site keeps an address.
    fn reserved(&self, address: Ipv4Addr) -> Option<Mac>;
    /// Whether machines that the site does not know get addresses.
    fn serve_unknown(&self) -> bool;
    /// What this client loads next; `None` for one that boots from elsewhere.
    fn boot(&self, client: &Client) -> Option<BootFile>;
    /// The NIC whose machine runs with this address by a pin: nobody else may get it, whatever became of the lease.
    fn holder(&self, address: Ipv4Addr) -> Option<Mac>;
    /// The address that this NIC's machine runs with.
    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr>;
}
