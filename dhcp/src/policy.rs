//! What the engine asks about machines and pins, with every packet.

use std::net::Ipv4Addr;

use crate::client::Client;
use crate::mac::Mac;

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
    /// What this client loads next; `None` for one that boots from elsewhere. `server` is the address that its network is
    /// told: the only one of ours that it is sure to reach.
    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile>;
    /// The NIC whose machine runs with this address by a pin: nobody else may get it, whatever became of the lease.
    fn holder(&self, address: Ipv4Addr) -> Option<Mac>;
    /// The address that this NIC's machine runs with.
    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr>;
    /// Whether `new` has taken the place of `old` in one machine, and `old` is no machine's any more. Its lease and its
    /// pin's address are `new`'s to have, or a machine with a new NIC would wait for the old one's lease to end.
    fn replaced(&self, old: Mac, new: Mac) -> bool;
}
