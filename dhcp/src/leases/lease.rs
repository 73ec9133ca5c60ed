//! Leases: what must be durable before an ACK leaves.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::leases::pool::Standing;
use crate::now::Now;
use oneroot_ids::Mac;

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

impl Lease {
    /// When it is sure to have ended: `expires`, but for one that began before `sure_since`. How long its host was off is
    /// not known, so that may run for its whole time from there.
    pub(crate) fn over_at(&self, sure_since: u64) -> u64 {
        if self.start >= sure_since {
            return self.expires;
        }
        self.expires.max(sure_since.saturating_add(self.expires.saturating_sub(self.start)))
    }
}

/// What became of asking for a host whose lease only looks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probed {
    /// Nobody has asked.
    No,
    /// Nobody is there: it has ended.
    Silent,
    /// Somebody is: it runs until it is sure to be over.
    There,
}

/// A lease as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) lease: Lease,
    pub(crate) revision: Revision,
    pub(crate) probed: Probed,
}

impl Stored {
    /// Whether its address may be in use by it.
    pub(crate) fn binds(&self, now: Now) -> bool {
        let doubtful = self.probed != Probed::Silent && self.lease.over_at(now.sure_since) > now.wall;
        self.lease.expires > now.wall || doubtful
    }

    pub(crate) fn standing(&self, now: Now) -> Standing {
        let (expires, over) = (self.lease.expires, self.lease.over_at(now.sure_since));
        match self.probed {
            _ if expires > now.wall => Standing::Until(expires),
            Probed::No if over > now.wall => Standing::Doubtful(over),
            Probed::There if over > now.wall => Standing::Until(over),
            _ => Standing::Ended(expires),
        }
    }
}

/// All leases, by MAC and by address.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_mac: HashMap<Mac, Stored>,
    by_address: HashMap<Ipv4Addr, Mac>,
    changed: Vec<Ipv4Addr>,
}

impl Leases {
    /// Takes in what the store has. Of two leases of one address, which only a fault can have made, the first that is put
    /// stays known to its NIC and the last counts.
    pub(crate) fn put(&mut self, lease: Lease, revision: Revision) {
        // With the address of its lease before this one, which may be another.
        self.remove(lease.mac);
        self.changed.push(lease.address);
        self.by_address.insert(lease.address, lease.mac);
        self.by_mac.insert(lease.mac, Stored { lease, revision, probed: Probed::No });
    }

    pub(crate) fn remove(&mut self, mac: Mac) {
        if let Some(Stored { lease, .. }) = self.by_mac.remove(&mac)
            && self.by_address.get(&lease.address) == Some(&mac)
        {
            self.by_address.remove(&lease.address);
            self.changed.push(lease.address);
        }
    }

    /// Notes what was found at an address whose lease looks ended.
    pub(crate) fn found(&mut self, address: Ipv4Addr, probed: Probed) {
        let mac = self.by_address.get(&address);
        if let Some(known) = mac.and_then(|mac| self.by_mac.get_mut(mac)) {
            known.probed = probed;
            self.changed.push(address);
        }
    }

    pub(crate) fn of(&self, mac: Mac) -> Option<&Stored> {
        self.by_mac.get(&mac)
    }

    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&Stored> {
        self.by_mac.get(self.by_address.get(&address)?)
    }

    /// Every address that a lease has, ended or not.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.by_address.keys().copied()
    }

    /// Addresses whose lease has changed.
    pub(crate) fn changed(&mut self) -> Vec<Ipv4Addr> {
        std::mem::take(&mut self.changed)
    }
}
