//! Whose an address is: pins, reservations, leases, offers, and what rests. engine.rs has the table that this follows.

use std::net::Ipv4Addr;

use crate::asked::Asked;
use crate::commits::Commits;
use crate::declined::Declined;
use crate::lease::Leases;
use crate::mac::Mac;
use crate::offers::Offers;

/// All that is known of addresses, pins and reservations apart: those are the policy's.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) leases: Leases,
    pub(crate) offers: Offers,
    pub(crate) commits: Commits,
    pub(crate) declined: Declined,
}

impl Addresses {
    /// The address for a client that looks for one: its own, else one from the pool.
    pub(crate) fn find(&self, asked: &Asked<'_>) -> Option<Ipv4Addr> {
        self.known(asked).or_else(|| self.pooled(asked))
    }

    /// The address that is this client's by pin, reservation, lease or offer.
    pub(crate) fn known(&self, asked: &Asked<'_>) -> Option<Ipv4Addr> {
        let mac = asked.client.mac;
        let boots = asked.client.boots();
        let held = asked.policy.held_by(mac);
        let reserved = asked.machine.as_ref().and_then(|machine| machine.address);
        let leased = self.leased(mac);
        let offered = self.offers.of(mac, asked.now.mono);
        let order = if boots { [reserved, held, leased, offered] } else { [held, reserved, leased, offered] };
        let subnet = &asked.place.subnet;
        let fits = |address: &Ipv4Addr| {
            let is = |other: Option<Ipv4Addr>| other == Some(*address);
            // A running root can't leave its address, so it neither rests nor minds what has become of the pool.
            let runs = !boots && is(held);
            let given = is(reserved) || subnet.gives(*address) || (!boots && is(leased));
            subnet.usable(*address)
                && (runs || (given && !self.declined.rests(*address, asked.now.mono)))
                && !self.taken(*address, asked)
        };
        order.into_iter().flatten().find(fits)
    }

    pub(crate) fn leased(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.leases.of(mac).map(|(lease, _)| lease.address)
    }

    fn pooled(&self, asked: &Asked<'_>) -> Option<Ipv4Addr> {
        let subnet = &asked.place.subnet;
        let (first, last) = subnet.pool.map(|(first, last)| (u32::from(first), u32::from(last)))?;
        let size = u64::from(last.checked_sub(first)?) + 1;
        let start = hash(asked.client.mac) % size;
        let nth =
            |n: u64| u32::try_from((start + n) % size).ok().map(|offset| Ipv4Addr::from(first + offset));
        let free = |address: &Ipv4Addr| {
            subnet.gives(*address)
                && !self.declined.rests(*address, asked.now.mono)
                && !self.taken(*address, asked)
        };
        let mut ended: Option<(u64, Ipv4Addr)> = None;
        for address in (0..size).filter_map(nth).filter(free) {
            match self.leases.at(address) {
                None => return Some(address),
                // The first of equals wins, which is the nearest to where the hash points.
                Some((lease, _)) if ended.is_none_or(|(expires, _)| lease.expires < expires) => {
                    ended = Some((lease.expires, address));
                }
                Some(_) => {}
            }
        }
        ended.map(|(_, address)| address)
    }

    /// Whether an address is somebody else's, so that this client can't have it.
    pub(crate) fn taken(&self, address: Ipv4Addr, asked: &Asked<'_>) -> bool {
        let mac = asked.client.mac;
        let others = |owner: Option<Mac>| {
            owner.is_some_and(|owner| owner != mac && !asked.policy.replaced(owner, mac))
        };
        let runs_on = |expires: u64| expires > asked.now.wall;
        let leased = self.leases.at(address).filter(|(lease, _)| runs_on(lease.expires));
        others(asked.policy.holder(address))
            || others(asked.policy.reserved(address))
            || others(leased.map(|(lease, _)| lease.mac))
            || others(self.offers.holder(address, asked.now.mono))
            || others(self.commits.at(address))
    }
}

/// FNV-1a: spreads neighbouring MACs over the pool, the same on every server and for ever.
fn hash(mac: Mac) -> u64 {
    mac.bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
