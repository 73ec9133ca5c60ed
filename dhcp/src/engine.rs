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
//! Nobody gets an address that another machine holds, is reserved for, or has a lease on that has not ended. From the
//! pool comes the address that the MAC's hash points at, or the next free one: the same after a restart. Leases that have
//! ended are reused when no address is left that nobody has had, the longest ended first. DHCP never touches a pin.
//!
//! | the address | firmware or iPXE | the system that runs |
//! |---|---|---|
//! | is in an exclusion, or no more in the pool | gets another, unless it is reserved for it | keeps its pin's or its lease's |
//! | rests, for this client declined it | gets another, also instead of a reserved one | gets another, unless its pin holds it |
//!
//! A reserved address that was declined rests like any: the machine comes up on one from the pool, and the admin is told.
//! One that its own pin holds does not rest: the root runs on it, conflict or not, and could not leave it.
//!
//! Which messages are answered (RFC 2131 §4.3), in networks that are not a proxy's (proxy.rs):
//!
//! | message | answer |
//! |---|---|
//! | any, another's server-id | silence; our offer is forgotten |
//! | DISCOVER | OFFER; silence if no address is free |
//! | REQUEST in SELECTING | ACK for the address that is this client's, else NAK |
//! | in INIT-REBOOT | its address: ACK; another is its, or wrong network: NAK; nothing known: silence, NAK if authoritative |
//! | in RENEWING, REBINDING | its address: ACK; another is its: NAK; nothing known, or wrong network: silence, NAK if authoritative |
//! | any REQUEST, for the address that its root runs on | ACK or silence, never NAK |
//! | INFORM | ACK to ciaddr, without an address or a lease |
//! | RELEASE of its own lease | the lease ends, once that is durable; while a running pin holds the address, nothing |
//! | DECLINE of its own address | nothing; the address rests |
//! | BOOTP | nothing; counted by itself |

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::addresses::Addresses;
use crate::asked::Asked;
use crate::lease::{Lease, Revision};
use crate::mac::Mac;
use crate::policy::Policy;
use crate::rates::Rates;
use crate::step::{CommitError, DropReason, Now, Received, Step};
use crate::subnets::{Place, Subnet, Subnets};
use crate::wire::Request;
use crate::{proxy, states};

/// A DHCP server without sockets.
pub struct Engine {
    subnets: Subnets,
    addresses: Addresses,
    rates: Rates,
    counters: HashMap<DropReason, u64>,
}

impl Engine {
    /// A server for these networks that remembers these leases.
    #[must_use]
    pub fn new(subnets: Vec<Subnet>, leases: impl IntoIterator<Item = (Lease, Revision)>) -> Self {
        let mut addresses = Addresses::default();
        leases.into_iter().for_each(|(lease, revision)| addresses.leases.put(lease, revision));
        Self { subnets: Subnets::new(subnets), addresses, rates: Rates::default(), counters: HashMap::new() }
    }

    /// The site has other networks now. Leases, offers and commits under way stay.
    pub fn set_subnets(&mut self, subnets: Vec<Subnet>) {
        self.subnets = Subnets::new(subnets);
    }

    /// How often each reason has cost a message its answer.
    pub fn counters(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.counters.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Addresses that rest, for somebody else uses them, and the client that said so.
    pub fn declined(&self, now: Now) -> impl Iterator<Item = (Ipv4Addr, Mac)> + '_ {
        self.addresses.declined.resting(now.mono)
    }

    /// Takes one datagram from port 67. Never blocks, never panics, whatever the bytes.
    pub fn handle(&mut self, now: Now, policy: &dyn Policy, received: Received<'_>) -> Step {
        let step = self.parse(now, received.payload).and_then(|request| {
            let place = self.subnets.place(&request, received.via).ok_or(DropReason::NoSubnet)?;
            let proxied = place.subnet.proxy;
            let asked = Asked::new(now, policy, &request, place)?;
            if proxied { proxy::offer(&asked) } else { states::answer(&mut self.addresses, &asked) }
        });
        self.counted(step.unwrap_or_else(Step::Dropped))
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
        let step = self.parse(now, received.payload).and_then(|request| {
            let subnet = self.subnets.with(*from.ip()).ok_or(DropReason::NoSubnet)?.clone();
            let asked = Asked::new(now, policy, &request, Place { subnet, local: false })?;
            proxy::boot_server(&asked, from)
        });
        self.counted(step.unwrap_or_else(Step::Dropped))
    }

    /// A commit has come back: with its revision, or with the reason why not.
    pub fn committed(&mut self, token: u64, result: Result<Revision, CommitError>) -> Step {
        let book = &mut self.addresses;
        let Some(done) = book.commits.take(token) else { return Step::Dropped(DropReason::Pending) };
        let step = match result {
            Ok(revision) => {
                done.evict.into_iter().for_each(|mac| book.leases.remove(mac));
                book.offers.forget(done.lease.mac);
                book.leases.put(done.lease, revision);
                done.reply.map_or(Step::Dropped(DropReason::Noted), Step::Reply)
            }
            Err(CommitError::Conflict | CommitError::Failed) => Step::Dropped(DropReason::NotDurable),
        };
        self.counted(step)
    }

    /// Another server, or an admin, has changed a lease: this is what the store has now.
    pub fn learn(&mut self, mac: Mac, lease: Option<(Lease, Revision)>) {
        match lease {
            Some((lease, revision)) => self.addresses.leases.put(lease, revision),
            None => self.addresses.leases.remove(mac),
        }
    }

    fn parse(&mut self, now: Now, payload: &[u8]) -> Result<Request, DropReason> {
        let request = Request::parse(payload).map_err(DropReason::Refused)?;
        if self.rates.too_many(request.mac, now.mono) { Err(DropReason::TooMany) } else { Ok(request) }
    }

    fn counted(&mut self, step: Step) -> Step {
        if let Step::Dropped(reason) = step {
            *self.counters.entry(reason).or_default() += 1;
        }
        step
    }
}
