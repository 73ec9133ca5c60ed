//! What the engine asks about machines and pins, with every packet.

use std::net::Ipv4Addr;

use crate::wire::client::Client;
use oneroot_ids::Mac;

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

/// Whose an address is by a pin, whatever its lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The machine with this NIC runs with it.
    Runs(Mac),
    /// The machine with this NIC boots with it, or ran with it until lately: nobody else gets it before this moment, in
    /// seconds of site time.
    Kept(Mac, u64),
}

impl Claim {
    /// The NIC whose it is.
    pub(crate) fn mac(self) -> Mac {
        match self {
            Self::Runs(mac) | Self::Kept(mac, _) => mac,
        }
    }

    /// Whether it is good now, in seconds of site time.
    pub(crate) fn holds(self, now: u64) -> bool {
        match self {
            Self::Runs(_) => true,
            Self::Kept(_, until) => until > now,
        }
    }
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
    /// What the link of this NIC's machine carries, where the site says it. Asked for those alone that want to know.
    fn mtu(&self, _mac: Mac) -> Option<u16> {
        None
    }
    /// Whose this address is by a pin.
    fn claim(&self, address: Ipv4Addr) -> Option<Claim>;
    /// Addresses of which [`Policy::claim`] says something else than when this was asked last; all that have one, the first
    /// time. What is not told here is noticed only when the address is about to be given.
    fn moved(&self) -> Vec<Ipv4Addr>;
    /// The address that this NIC's machine runs with.
    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr>;
    /// Whether `new` has taken the place of `old` in one machine, and `old` is no machine's any more. Its lease and its
    /// pin's address are `new`'s to have, or a machine with a new NIC would wait for the old one's lease to end.
    fn replaced(&self, old: Mac, new: Mac) -> bool;
}
