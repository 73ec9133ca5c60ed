//! Whose an address is: pins, reservations, leases, offers, and what rests. engine.rs has the table that this follows.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::addresses::commits::Commits;
use crate::addresses::declined::Declined;
use crate::addresses::offers::Offers;
use crate::addresses::probes::Probes;
use crate::addresses::rates::Rates;
use crate::context::Context;
use crate::leases::later::Later;
use crate::leases::lease::Leases;
use crate::leases::pool::{Choice, Pool, Pools, Standing};
use crate::networks::subnets::{Subnet, Subnets};
use crate::now::Now;
use crate::policy::{Claim, Policy};
use oneroot_ids::Mac;

/// Addresses that turn out to be somebody's, before a client is told that none is free. Each is put right on the way.
const TRIES: usize = 64;
/// Seconds for which a stranger is given an address while [`Pool::is_tight`].
const SHORT: u32 = 600;

/// All that is known of addresses, pins and reservations apart: those are the policy's.
#[derive(Debug, Default)]
pub(crate) struct Allocator {
    pub(crate) leases: Leases,
    pub(crate) offers: Offers,
    pub(crate) commits: Commits,
    pub(crate) declined: Declined,
    pub(crate) probes: Probes,
    pub(crate) later: Later,
    /// What strangers cost that lasts.
    pub(crate) costs: Rates,
    /// What is said and shown of each client.
    pub(crate) notes: Rates,
    pools: Option<Pools>,
    /// Addresses that a pin was last seen to claim.
    claimed: HashSet<Ipv4Addr>,
}

impl Allocator {
    /// The pools are other ones now: they are made anew with the next message.
    pub(crate) fn forget_pools(&mut self) {
        self.pools = None;
    }

    /// Brings the pools up to date with all that has happened since the last message.
    pub(crate) fn refresh(&mut self, now: Now, policy: &dyn Policy, subnets: &Subnets) {
        let mut changed = policy.moved();
        changed.extend(self.leases.changed());
        changed.extend(self.offers.changed(now.mono));
        changed.extend(self.commits.changed());
        changed.extend(self.declined.changed(now.mono));
        changed.extend(self.probes.changed());
        if self.pools.is_none() {
            self.pools = Some(Pools::of(subnets.all()));
            changed = self.claimed.iter().copied().chain(changed).collect();
            changed.extend(self.leases.addresses());
            changed.extend(self.offers.addresses());
            changed.extend(self.commits.addresses());
            changed.extend(self.declined.resting(now.mono).map(|(address, _)| address));
        }
        // One exchange changes several tables' word about one address.
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|address| self.settle(address, now, policy));
    }

    /// The same with what has changed in one network by time alone.
    pub(crate) fn pass_time(&mut self, now: Now, policy: &dyn Policy, subnet: &Subnet) {
        let due = self.pool(subnet).map(|pool| pool.due(now.wall)).unwrap_or_default();
        due.into_iter().for_each(|address| self.settle(address, now, policy));
    }

    /// Puts an address where it belongs in its pool.
    fn settle(&mut self, address: Ipv4Addr, now: Now, policy: &dyn Policy) {
        let claim = policy.claim(address).filter(|claim| claim.holds(now.wall));
        if claim.is_some() {
            self.claimed.insert(address);
        } else {
            self.claimed.remove(&address);
        }
        let known = self.leases.at(address);
        let has_room = self.has_room_at(address, now, policy);
        let taken = policy.reserved(address).is_some()
            || self.offers.holder(address, now.mono).is_some()
            || self.commits.at(address).is_some()
            || self.declined.rests(address, now.mono)
            || self.probes.settles(address);
        let standing = match claim {
            _ if taken => Standing::Taken,
            Some(Claim::Runs(_)) => Standing::Taken,
            Some(Claim::Kept(_, until)) => Standing::Until(until),
            None => known.map_or(Standing::New, |known| known.standing(now)),
        };
        if let Some(pool) = self.pools.as_mut().and_then(|pools| pools.with_mut(address)) {
            pool.place(address, standing, has_room);
        }
    }

    /// Whether one of the NICs for which room is kept has it at this address: by its lease, ended or not; else by what it is
    /// offered or about to have, where it has no lease in this pool.
    fn has_room_at(&self, address: Ipv4Addr, now: Now, policy: &dyn Policy) -> bool {
        let named = |mac: Mac| policy.reservation(mac).is_some_and(|machine| machine.address.is_none());
        if let Some(known) = self.leases.at(address)
            && named(known.lease.mac)
        {
            return true;
        }
        let pool = |address| self.pools.as_ref()?.with(address)?.known_by(address);
        let coming = self.commits.at(address).or_else(|| self.offers.holder(address, now.mono));
        let elsewhere = |mac: Mac| {
            let its = self.leased(mac).or_else(|| self.commits.of(mac).filter(|coming| *coming != address));
            its.is_some_and(|its| pool(its).is_some() && pool(its) == pool(address))
        };
        coming.is_some_and(|mac| named(mac) && !elsewhere(mac))
    }

    fn pool(&self, subnet: &Subnet) -> Option<&Pool> {
        self.pools.as_ref()?.in_subnet(subnet)
    }

    /// The address for a client that looks for one: its own, else one from the pool.
    pub(crate) fn find(&mut self, context: &Context<'_>) -> Option<Choice> {
        match self.known(context) {
            Some(address) => Some(Choice::Give(address)),
            None => self.pooled(context),
        }
    }

    /// Whether an address of the pool is nobody's, and may have been offered to this client: its offer has given way to newer
    /// ones, if there was one.
    pub(crate) fn is_left(&self, address: Ipv4Addr, context: &Context<'_>) -> bool {
        let subnet = &context.place.subnet;
        let free = self.pool(subnet).is_some_and(|pool| pool.is_free(address));
        free && self.offers.gave_way(context.now.mono)
            && subnet.gives(address)
            && !self.declined.rests(address, context.now.mono)
            && !self.probes.settles(address)
            && !self.taken(address, context)
            && self.spares(address, context)
    }

    /// The address that is this client's by pin, reservation, lease or offer.
    pub(crate) fn known(&self, context: &Context<'_>) -> Option<Ipv4Addr> {
        let mac = context.client.mac;
        let boots = context.client.boots();
        let held = context.policy.held_by(mac);
        let reserved = context.machine.as_ref().and_then(|machine| machine.address);
        let leased = self.leased(mac);
        let (first, second) = if boots { (reserved, held) } else { (held, reserved) };
        let coming = self.commits.of(mac).or_else(|| self.offers.of(mac, context.now.mono));
        let order = [first, second, leased, coming];
        let subnet = &context.place.subnet;
        let fits = |address: &Ipv4Addr| {
            let is = |other: Option<Ipv4Addr>| other == Some(*address);
            // A running root can't leave its address, so it neither rests nor minds what has become of the pool.
            let runs = !boots && is(held);
            let given = is(reserved) || subnet.gives(*address) || (!boots && is(leased));
            subnet.usable(*address)
                && (runs || (given && !self.declined.rests(*address, context.now.mono)))
                && !self.taken(*address, context)
                && self.spares(*address, context)
        };
        order.into_iter().flatten().find(fits)
    }

    pub(crate) fn leased(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.leases.of(mac).map(|known| known.lease.address)
    }

    /// Whether room for the machines of the site is left, once this client has this address.
    pub(crate) fn spares(&self, address: Ipv4Addr, context: &Context<'_>) -> bool {
        let pool = self.pools.as_ref().and_then(|pools| pools.with(address));
        let uses = |pool: &Pool| context.is_unknown() && pool.is_free(address);
        pool.is_none_or(|pool| !uses(pool) || pool.has_spare())
    }

    /// Whether addresses are free where this client is, and all of them are kept for machines of the site.
    pub(crate) fn has_only_room(&self, context: &Context<'_>) -> bool {
        self.pool(&context.place.subnet).is_some_and(|pool| !pool.has_spare() && !pool.is_empty())
    }

    fn pooled(&mut self, context: &Context<'_>) -> Option<Choice> {
        let subnet = context.place.subnet.clone();
        for _ in 0..TRIES {
            let choice = self.pool(&subnet)?.choose(hash(context.client.mac), context.is_unknown())?;
            let address = choice.address();
            let free = match choice {
                Choice::Give(address) => !self.taken(address, context),
                Choice::Probe(address) => !self.claimed(address, context),
            };
            if free && subnet.gives(address) && !self.declined.rests(address, context.now.mono) {
                return Some(choice);
            }
            self.settle(address, context.now, context.policy);
        }
        None
    }

    /// Seconds for which this client would be given an address now.
    pub(crate) fn lease_secs(&self, context: &Context<'_>) -> u32 {
        let subnet = &context.place.subnet;
        let short = context.is_unknown()
            && context.policy.held_by(context.client.mac).is_none()
            && self.pool(subnet).is_some_and(Pool::is_tight);
        if short { subnet.lease_secs.min(SHORT) } else { subnet.lease_secs }
    }

    /// Whether an address is somebody else's, so that this client can't have it.
    pub(crate) fn taken(&self, address: Ipv4Addr, context: &Context<'_>) -> bool {
        let lease = self.leases.at(address).filter(|known| known.binds(context.now));
        lease.is_some_and(|known| others(known.lease.mac, context)) || self.claimed(address, context)
    }

    /// The same, but for its lease.
    fn claimed(&self, address: Ipv4Addr, context: &Context<'_>) -> bool {
        let claim = context.policy.claim(address).filter(|claim| claim.holds(context.now.wall));
        let owners = [
            claim.map(Claim::mac),
            context.policy.reserved(address),
            self.offers.holder(address, context.now.mono),
            self.commits.at(address),
        ];
        owners.into_iter().flatten().any(|owner| others(owner, context))
    }
}

/// Whether an owner is another than the client, whose place the client has not taken.
fn others(owner: Mac, context: &Context<'_>) -> bool {
    owner != context.client.mac && !context.policy.replaced(owner, context.client.mac)
}

/// FNV-1a: spreads neighbouring MACs over the pool, the same on every server and for ever.
fn hash(mac: Mac) -> u64 {
    mac.bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
