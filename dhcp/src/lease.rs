//! Leases: what must be durable before an ACK leaves.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// One NIC's address. There is one for a MAC, whatever client-ids it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The NIC.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// When it was given or last renewed, seconds since 1970.
    pub start: u64,
    /// When it ends, seconds since 1970.
    pub expires: u64,
    /// The relay that brought the request. A renewal comes past it, and must still be told the way out of the network:
    /// systemd-networkd takes a default route away that an ACK does not repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Ipv4Addr>,
}

/// A record's place in the store's history; opaque here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What a commit writes, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseChange {
    /// The lease: new, renewed, or ended by its client.
    pub put: Lease,
    /// What the store must have for this MAC: nothing, or this revision.
    pub expected: Option<Revision>,
    /// The lease that gives way: it has ended, and had the address.
    pub evict: Option<(Mac, Revision)>,
}

/// All leases, by MAC and by address.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_mac: HashMap<Mac, (Lease, Revision)>,
    by_address: HashMap<Ipv4Addr, Mac>,
}

impl Leases {
    pub(crate) fn put(&mut self, lease: Lease, revision: Revision) {
        self.remove(lease.mac);
        if let Some(other) = self.by_address.insert(lease.address, lease.mac) {
            self.by_mac.remove(&other);
        }
        self.by_mac.insert(lease.mac, (lease, revision));
    }

    pub(crate) fn remove(&mut self, mac: Mac) {
        if let Some((lease, _)) = self.by_mac.remove(&mac) {
            self.by_address.remove(&lease.address);
        }
    }

    pub(crate) fn of(&self, mac: Mac) -> Option<&(Lease, Revision)> {
        self.by_mac.get(&mac)
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&(Lease, Revision)> {
        self.by_mac.get(self.by_address.get(&address)?)
    }
}
