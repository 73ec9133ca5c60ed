//! The server: a datagram and the time in, a step out.
//!
//! Which address a client gets, first that applies:
//!
//! | it is | held by its running pin | reserved for its MAC | leased to it | offered to it | else |
//! |---|---|---|---|---|---|
//! | firmware or iPXE: a boot begins | 2 | 1 | 3 | 4 | 5: from the pool |
//! | anything else: the system runs | 1 | 2 | 3 | 4 | 5: from the pool |
//!
//! So a changed reservation applies when the machine boots again, and never takes the address from under a running root.
//! Nobody gets an address that another machine holds, is reserved for, or has a lease on that has not ended; nor one with
//! which another boots, or ran until lately. DHCP never touches a pin.
//!
//! From the pool (pool.rs) comes the first of these that there is:
//!
//! | an address | a machine that the site names | a stranger |
//! |---|---|---|
//! | that nobody has had, from where the MAC's hash points on: the same after a restart | gets it | gets it, while more is free than has to be kept |
//! | whose lease was a stranger's, the longest ended first | gets it | the same |
//! | the same, but the host was off since it began | gets it when nobody answers there | the same |
//! | whose lease was a named machine's without an address of its own | gets it, in the same two steps | never gets it |
//!
//! What has to be kept is an address for each NIC that the site names, has no address for, and that has none here yet.
//! While three quarters of a pool are given, a stranger's new lease is one of ten minutes, unless its root runs.
//!
//! | the address | firmware or iPXE | the system that runs |
//! |---|---|---|
//! | is in an exclusion, or no more in the pool | gets another, unless it is reserved for it | keeps its pin's or its lease's |
//! | rests, for another host was found there | gets another, also instead of a reserved one | gets another, unless its pin holds it |
//!
//! A reserved address at which another host was found rests like any: the machine comes up on one from the pool where one is left, and the
//! admin is told. One that its own pin holds does not rest: the root runs on it, conflict or not, and could not leave it.
//! What counts as another host is in found.rs.
//!
//! Which messages are answered (RFC 2131 §4.3), in networks that are not a proxy's (proxy.rs):
//!
//! | message | answer |
//! |---|---|
//! | a renewal of its own address, whatever server-id | as without one |
//! | any other, another's server-id | silence; what was offered stays for its minute |
//! | DISCOVER | OFFER; silence if no address is free |
//! | REQUEST in SELECTING | ACK for the address that is this client's; or for one that nobody has, while offers give way to newer ones; else NAK |
//! | in INIT-REBOOT | its address: ACK; another is its, or wrong network: NAK; nothing known: silence, NAK if authoritative |
//! | in RENEWING, REBINDING | its address: ACK; another is its: NAK; nothing known, or wrong network: silence, NAK if authoritative |
//! | any REQUEST, for the address that its root runs on | ACK or silence, never NAK |
//! | INFORM | ACK to ciaddr, without an address or a lease |
//! | RELEASE of its own lease | a stranger's ends, once that is durable; that of a machine of the site, or where a pin runs: nothing |
//! | DECLINE of its own address | nothing; the address is looked at |
//! | BOOTP | nothing; counted by itself |
//!
//! When an ACK waits for the disk is in writes.rs. A repeat of what is a client's already is answered from memory and not
//! counted, whoever says it; what a stranger costs that lasts (an address held anew, a write, a probe) is counted
//! (rates.rs).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::addresses::allocator::Allocator;
use crate::addresses::probes::Purpose;
use crate::addresses::{found, writes};
use crate::answers::{proxy, states};
use crate::context::Context;
use crate::leases::lease::{Lease, Revision};
use crate::networks::subnets::{Place, Subnet, Subnets};
use crate::now::Now;
use crate::policy::Policy;
use crate::step::{CommitError, DropReason, ProbeResult, Received, Step};
use crate::wire::message::{Refused, Request};
use oneroot_ids::Mac;

/// A DHCP server without sockets.
pub struct Engine {
    subnets: Subnets,
    allocator: Allocator,
    counters: HashMap<DropReason, u64>,
}

impl Engine {
    /// A server for these networks that remembers these leases.
    #[must_use]
    pub fn new(subnets: Vec<Subnet>, leases: impl IntoIterator<Item = (Lease, Revision)>) -> Self {
        let mut allocator = Allocator::default();
        let mut leases: Vec<_> = leases.into_iter().collect();
        // Two of one address, which only a fault can have made: the last that was given counts.
        leases.sort_by_key(|(lease, _)| (lease.start, lease.expires));
        leases.into_iter().for_each(|(lease, revision)| allocator.leases.put(lease, revision));
        Self { subnets: Subnets::new(subnets), allocator, counters: HashMap::new() }
    }

    /// Whether a machine that the site does not name would be turned away: the store has as many leases of such to write as it takes
    /// at once. Who can keep their messages for that while does.
    #[must_use]
    pub fn strangers_wait(&self) -> bool {
        self.allocator.commits.is_full_of_strangers()
    }

    /// The site has other networks or machines now. Leases, offers and commits under way stay.
    pub fn set_subnets(&mut self, subnets: Vec<Subnet>) {
        self.subnets = Subnets::new(subnets);
        self.allocator.forget_pools();
    }

    /// Looks at every lease, so that the first message after a start or a reload need not wait for that.
    pub fn prepare(&mut self, now: Now, policy: &dyn Policy) {
        self.allocator.refresh(now, policy, &self.subnets);
    }

    /// How often each reason has cost a message its answer.
    pub fn counters(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.counters.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Addresses that rest, for somebody else uses them, and the client that said so.
    pub fn declined(&self, now: Now) -> impl Iterator<Item = (Ipv4Addr, Mac)> + '_ {
        self.allocator.declined.resting(now.mono)
    }

    /// Takes one datagram from port 67. Never blocks, never panics, whatever the bytes.
    pub fn handle(&mut self, now: Now, policy: &dyn Policy, received: Received<'_>) -> Step {
        self.take(now, policy, &Request::parse(received.payload), received.via)
    }

    /// The same with one that has been read already.
    pub fn take(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        request: &Result<Request, Refused>,
        via: &[Ipv4Addr],
    ) -> Step {
        let step = request.as_ref().map_err(|refused| DropReason::Refused(*refused)).and_then(|request| {
            let own = policy.reservation(request.mac).and_then(|kept| kept.address);
            let place = self.subnets.place(request, via, own).ok_or(DropReason::NoSubnet)?;
            self.answer(now, policy, request, place)
        });
        self.counted(step.unwrap_or_else(Step::Dropped))
    }

    fn answer(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        request: &Request,
        place: Place,
    ) -> Result<Step, DropReason> {
        let context = Context::new(now, policy, request, place)?;
        if context.place.subnet.proxy {
            return proxy::offer(&context);
        }
        self.allocator.refresh(now, policy, &self.subnets);
        self.allocator.pass_time(now, policy, &context.place.subnet);
        states::answer(&mut self.allocator, &context)
    }

    /// Takes one datagram from port 4011, where PXE firmware asks what to load. `from` is its source, to which the answer
    /// goes; it must be in one of the site's networks.
    pub fn handle_4011(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        received: Received<'_>,
        from: SocketAddrV4,
    ) -> Step {
        self.take_4011(now, policy, &Request::parse(received.payload), from)
    }

    /// The same with one that has been read already.
    pub fn take_4011(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        request: &Result<Request, Refused>,
        from: SocketAddrV4,
    ) -> Step {
        let step = request.as_ref().map_err(|refused| DropReason::Refused(*refused)).and_then(|request| {
            let subnet = self.subnets.with(*from.ip()).ok_or(DropReason::NoSubnet)?.clone();
            let context = Context::new(now, policy, request, Place { subnet, local: false })?;
            proxy::boot_server(&context, from)
        });
        self.counted(step.unwrap_or_else(Step::Dropped))
    }

    /// A commit has come back: with its revision, or with the reason why not. After a conflict, tell what the store has
    /// first ([`Engine::learn`]).
    pub fn committed(&mut self, token: u64, result: Result<Revision, CommitError>) -> Step {
        let allocator = &mut self.allocator;
        let Some(done) = allocator.commits.take(token) else { return Step::Dropped(DropReason::Pending) };
        let step = match result {
            Ok(revision) => {
                // Only the lease that was known then: what has been learned since stays.
                let gone = |(mac, revision)| (allocator.leases.of(mac)?.revision == revision).then_some(mac);
                done.evict.and_then(gone).into_iter().for_each(|mac| allocator.leases.remove(mac));
                // Only where this answers it: its client may have been offered another address since a late write began.
                if done.reply.is_some() {
                    allocator.offers.forget(done.lease.mac);
                }
                allocator.leases.put(done.lease, revision);
                done.reply.map_or(Step::Dropped(DropReason::Noted), Step::Reply)
            }
            Err(cause) => {
                // It is tried again only over what it was meant to be written over.
                let known = allocator.leases.of(done.lease.mac).map(|known| known.revision);
                if done.again && cause == CommitError::Failed && known == done.expected {
                    allocator.later.put_back(done.lease);
                }
                Step::Dropped(DropReason::NotDurable)
            }
        };
        self.counted(step)
    }

    /// A lease that was acknowledged without waiting for the disk, to be written now: asked for every second or so, until
    /// there is none or enough are under way.
    pub fn overdue(&mut self, now: Now) -> Option<Step> {
        writes::overdue(&mut self.allocator, now)
    }

    /// A probe has come back.
    pub fn probed(&mut self, now: Now, policy: &dyn Policy, token: u64, found: ProbeResult) -> Step {
        let Some(probe) = self.allocator.probes.end(token) else { return Step::Dropped(DropReason::Asking) };
        let at = (probe.address, probe.by);
        let step = match probe.purpose {
            Purpose::Declined => Err(found::declined(&mut self.allocator, now, policy, at, found)),
            Purpose::Doubtful(waits) => {
                let (request, place) = *waits;
                if found::doubtful(&mut self.allocator, at, found) {
                    self.answer(now, policy, &request, place)
                } else {
                    Err(DropReason::Asking)
                }
            }
        };
        self.counted(step.unwrap_or_else(Step::Dropped))
    }

    /// Another server, or an admin, has changed a lease: this is what the store has now. It may be one of this engine's own
    /// commits, which a store tells before it answers; what was offered meanwhile stays then.
    pub fn learn(&mut self, mac: Mac, lease: Option<(Lease, Revision)>) {
        let coming = self.allocator.commits.lease_of(mac);
        if coming.is_none() || coming != lease.as_ref().map(|(lease, _)| lease) {
            self.allocator.offers.forget(mac);
            self.allocator.later.forget(mac);
        }
        // An offer is one server's promise, and a lease is everybody's.
        let offered = lease.as_ref().and_then(|(lease, _)| self.allocator.offers.holder(lease.address, 0));
        offered
            .filter(|other| *other != mac)
            .into_iter()
            .for_each(|other| self.allocator.offers.forget(other));
        match lease {
            Some((lease, revision)) => self.allocator.leases.put(lease, revision),
            None => self.allocator.leases.remove(mac),
        }
    }

    fn counted(&mut self, step: Step) -> Step {
        if let Step::Dropped(reason) = step {
            *self.counters.entry(reason).or_default() += 1;
        }
        step
    }
}
