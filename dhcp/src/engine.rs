//! The server: a datagram and the time in, steps out.
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
//! Which requests are answered (RFC 2131 §4.3.2):
//!
//! | state | answer |
//! |---|---|
//! | SELECTING, our server-id | ACK for the address that is this client's, else NAK |
//! | SELECTING, another's | silence; our offer is forgotten |
//! | INIT-REBOOT | wrong network: NAK; its address: ACK; another is its: NAK; nothing known of it: silence |
//! | RENEWING, REBINDING | its address: ACK; another is its: NAK; nothing known of it: silence |

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::client::Client;
use crate::encode::{Answer, Kind};
use crate::lease::{Lease, LeaseChange, Leases, Revision};
use crate::mac::Mac;
use crate::offers::Offers;
use crate::policy::{Policy, Subnet};
use crate::wire::{MessageType, Refused, Request};

/// Commits that may be under way at once. A store that hangs costs its own clients, not memory.
const MOST_PENDING: usize = 4096;
/// Time after which a commit that never came back is given up, milliseconds.
const PENDING_FOR: u64 = 30_000;
/// Messages of one MAC in [`WINDOW`] that are answered (hostile-inputs D13). A whole boot sends about ten.
const MOST_FROM_ONE: u32 = 30;
/// Milliseconds.
const WINDOW: u64 = 5_000;
/// MACs whose rate is watched.
const MOST_WATCHED: usize = 8192;
/// Milliseconds for which a declined address is given to nobody.
const QUARANTINE: u64 = 600_000;
/// Declined addresses that are remembered.
const MOST_DECLINED: usize = 256;

/// The time, twice: leases must make sense after a restart, offers must not depend on a clock that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970.
    pub wall: u64,
    /// Milliseconds since any fixed moment.
    pub mono: u64,
}

/// A datagram that came to port 67.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Its bytes.
    pub payload: &'a [u8],
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Reply(Reply),
    /// Make this durable, then call [`Engine::committed`] with the token.
    Commit {
        /// Which commit.
        token: u64,
        /// What to write.
        change: LeaseChange,
    },
    /// Nothing; counted.
    Dropped(DropReason),
}

/// A datagram to send from port 67.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Where it goes.
    pub route: Route,
    /// The client, for the log.
    pub mac: Mac,
    /// The address that the client is told, for the log; none in a NAK.
    pub address: Option<Ipv4Addr>,
    /// Whether it is an ACK with a lease behind it.
    pub leased: bool,
    /// Whether firmware or iPXE asked: a boot begins here.
    pub boots: bool,
}

/// Where a reply goes (RFC 2131 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To everybody on the link.
    Broadcast,
    /// To this hardware address on the link, as this IP address, without asking by ARP.
    Direct(Mac, Ipv4Addr),
    /// Through the relay that brought the request.
    Relay(SocketAddrV4),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DropReason {
    /// No request.
    #[error("{0}")]
    Refused(Refused),
    /// From a network that is not ours.
    #[error("from a network that the site does not have")]
    NoSubnet,
    /// The site does not know the machine, and gives unknown ones no address.
    #[error("from a machine that the site does not know")]
    Unknown,
    /// No address is free.
    #[error("no address is free; make the pool larger or release machines that are gone")]
    PoolFull,
    /// The client has chosen another server.
    #[error("for another server")]
    OtherServer,
    /// A client that we know nothing of asks for its old address.
    #[error("from a client that is not in our records")]
    NoRecord,
    /// Too many messages.
    #[error("too many messages from one client")]
    TooMany,
    /// Its commit is under way already, or too many are.
    #[error("the lease is being written")]
    Pending,
    /// The lease could not be made durable.
    #[error("the lease could not be written")]
    NotDurable,
    /// Noted; no answer is due.
    #[error("noted")]
    Noted,
}

/// Why a commit did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitError {
    /// The store has something else; the client will ask again, and be decided anew.
    Conflict,
    /// The store did not take it.
    Failed,
}

struct Pending {
    lease: Lease,
    evict: Option<Mac>,
    reply: Reply,
    since: u64,
}

/// A DHCP server without sockets.
pub struct Engine {
    subnets: Vec<Subnet>,
    leases: Leases,
    offers: Offers,
    pending: HashMap<u64, Pending>,
    next_token: u64,
    declined: HashMap<Ipv4Addr, u64>,
    rates: HashMap<Mac, (u64, u32)>,
    counters: HashMap<DropReason, u64>,
}

impl Engine {
    /// A server for these networks that remembers these leases.
    #[must_use]
    pub fn new(subnets: Vec<Subnet>, leases: impl IntoIterator<Item = (Lease, Revision)>) -> Self {
        let mut table = Leases::default();
        leases.into_iter().for_each(|(lease, revision)| table.put(lease, revision));
        Self {
            subnets,
            leases: table,
            offers: Offers::default(),
            pending: HashMap::new(),
            next_token: 0,
            declined: HashMap::new(),
            rates: HashMap::new(),
            counters: HashMap::new(),
        }
    }

    /// How often each reason has cost a message its answer.
    pub fn counters(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        self.counters.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Takes one datagram. Never blocks, never panics, whatever the bytes.
    pub fn handle(&mut self, now: Now, policy: &dyn Policy, received: Received<'_>) -> Step {
        let step = match Request::parse(received.payload) {
            Ok(request) if self.too_many(request.mac, now.mono) => Step::Dropped(DropReason::TooMany),
            Ok(request) => self.answer(now, policy, &request).unwrap_or_else(Step::Dropped),
            Err(refused) => Step::Dropped(DropReason::Refused(refused)),
        };
        self.counted(step)
    }

    /// A commit has come back: with its revision, or with the reason why not.
    pub fn committed(&mut self, token: u64, result: Result<Revision, CommitError>) -> Step {
        let Some(done) = self.pending.remove(&token) else { return Step::Dropped(DropReason::Pending) };
        let step = match result {
            Ok(revision) => {
                done.evict.into_iter().for_each(|mac| self.leases.remove(mac));
                self.offers.forget(done.lease.mac);
                self.leases.put(done.lease, revision);
                Step::Reply(done.reply)
            }
            Err(CommitError::Conflict | CommitError::Failed) => Step::Dropped(DropReason::NotDurable),
        };
        self.counted(step)
    }

    /// Another server, or an admin, has changed a lease: this is what the store has now.
    pub fn learn(&mut self, mac: Mac, lease: Option<(Lease, Revision)>) {
        match lease {
            Some((lease, revision)) => self.leases.put(lease, revision),
            None => self.leases.remove(mac),
        }
    }

    fn counted(&mut self, step: Step) -> Step {
        if let Step::Dropped(reason) = step {
            *self.counters.entry(reason).or_default() += 1;
        }
        step
    }

    fn answer(&mut self, now: Now, policy: &dyn Policy, request: &Request) -> Result<Step, DropReason> {
        let client = Client::of(request);
        let subnet = self.subnet_of(request).ok_or(DropReason::NoSubnet)?.clone();
        if policy.reservation(request.mac).is_none() && !policy.serve_unknown() {
            return Err(DropReason::Unknown);
        }
        match request.kind {
            MessageType::Discover => {
                let address = self.address_for(&subnet, &client, policy, now).ok_or(DropReason::PoolFull)?;
                self.offers.hold(request.mac, address, now.mono);
                Ok(Step::Reply(reply(Kind::Offer, request, &client, &subnet, Some(address), policy)))
            }
            MessageType::Request => self.request(now, policy, request, &client, &subnet),
            MessageType::Inform => Ok(Step::Reply(reply(Kind::Ack, request, &client, &subnet, None, policy))),
            MessageType::Decline => {
                self.decline(request, now);
                Err(DropReason::Noted)
            }
            // The address stays its own until the lease ends: networkd releases on every stop, and comes back.
            MessageType::Release => Err(DropReason::Noted),
        }
    }

    fn request(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        request: &Request,
        client: &Client,
        subnet: &Subnet,
    ) -> Result<Step, DropReason> {
        let selecting = request.server_id.is_some();
        if request.server_id.is_some_and(|server| server != subnet.server) {
            self.offers.forget(request.mac);
            return Err(DropReason::OtherServer);
        }
        let asked = if request.ciaddr.is_unspecified() { request.requested } else { Some(request.ciaddr) };
        let nak = || Ok(Step::Reply(reply(Kind::Nak, request, client, subnet, None, policy)));
        let Some(asked) = asked.filter(|asked| subnet.network.contains(*asked)) else { return nak() };
        let known = self.known_address(subnet, client, policy, now);
        // A lease that runs on is good whatever has been reserved since; the reservation waits for the next boot.
        let leased = self.leases.of(request.mac).map(|(lease, _)| lease.address);
        let renews = !client.boots() && leased == Some(asked) && !self.taken(asked, request.mac, policy, now);
        match known {
            Some(address) if address == asked || renews => {
                self.acknowledge(now, policy, request, client, subnet, asked)
            }
            Some(_) => nak(),
            None if selecting => nak(),
            None => Err(DropReason::NoRecord),
        }
    }

    /// Asks for the lease to be written; its ACK waits.
    fn acknowledge(
        &mut self,
        now: Now,
        policy: &dyn Policy,
        request: &Request,
        client: &Client,
        subnet: &Subnet,
        address: Ipv4Addr,
    ) -> Result<Step, DropReason> {
        let mac = request.mac;
        self.pending.retain(|_, pending| now.mono.saturating_sub(pending.since) < PENDING_FOR);
        let under_way = |pending: &Pending| pending.lease.mac == mac || pending.lease.address == address;
        if self.pending.len() >= MOST_PENDING || self.pending.values().any(under_way) {
            return Err(DropReason::Pending);
        }
        let expires = now.wall.saturating_add(u64::from(subnet.lease_secs));
        let lease = Lease { mac, address, start: now.wall, expires };
        let evict =
            self.leases.at(address).filter(|(lease, _)| lease.mac != mac).map(|(lease, at)| (lease.mac, *at));
        let expected = self.leases.of(mac).map(|(_, revision)| *revision);
        let mut reply = reply(Kind::Ack, request, client, subnet, Some(address), policy);
        reply.leased = true;
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        let evicted = evict.map(|(mac, _)| mac);
        self.pending.insert(token, Pending { lease: lease.clone(), evict: evicted, reply, since: now.mono });
        Ok(Step::Commit { token, change: LeaseChange { put: lease, expected, evict } })
    }

    /// RFC 2131 §3.1: the client has found somebody else at the address. Only its own can be declined.
    fn decline(&mut self, request: &Request, now: Now) {
        let its = self.leases.of(request.mac).map(|(lease, _)| lease.address);
        let offered = self.offers.of(request.mac, now.mono);
        let Some(address) = request.requested.filter(|asked| its == Some(*asked) || offered == Some(*asked))
        else {
            return;
        };
        self.offers.forget(request.mac);
        self.declined.retain(|_, until| *until > now.mono);
        if self.declined.len() < MOST_DECLINED {
            self.declined.insert(address, now.mono.saturating_add(QUARANTINE));
        }
    }

    /// The address that is this client's by pin, reservation, lease or offer.
    fn known_address(
        &self,
        subnet: &Subnet,
        client: &Client,
        policy: &dyn Policy,
        now: Now,
    ) -> Option<Ipv4Addr> {
        let mac = client.mac;
        let held = policy.held_by(mac);
        let reserved = policy.reservation(mac).and_then(|machine| machine.address);
        let leased = self.leases.of(mac).map(|(lease, _)| lease.address);
        let offered = self.offers.of(mac, now.mono);
        let order = if client.boots() {
            [reserved, held, leased, offered]
        } else {
            [held, reserved, leased, offered]
        };
        let free = |address: &Ipv4Addr| {
            subnet.network.contains(*address)
                && !self.taken(*address, mac, policy, now)
                && !self.quarantined(*address, now)
        };
        order.into_iter().flatten().find(free)
    }

    fn address_for(
        &self,
        subnet: &Subnet,
        client: &Client,
        policy: &dyn Policy,
        now: Now,
    ) -> Option<Ipv4Addr> {
        self.known_address(subnet, client, policy, now)
            .or_else(|| self.pool_address(subnet, client.mac, policy, now))
    }

    fn pool_address(&self, subnet: &Subnet, mac: Mac, policy: &dyn Policy, now: Now) -> Option<Ipv4Addr> {
        let (first, last) = subnet.pool.map(|(first, last)| (u32::from(first), u32::from(last)))?;
        let size = u64::from(last.checked_sub(first)?) + 1;
        let start = hash(mac) % size;
        let nth =
            |n: u64| u32::try_from((start + n) % size).ok().map(|offset| Ipv4Addr::from(first + offset));
        let usable = |address: &Ipv4Addr| {
            *address != subnet.server
                && !self.taken(*address, mac, policy, now)
                && !self.quarantined(*address, now)
        };
        let mut ended: Option<(u64, Ipv4Addr)> = None;
        for address in (0..size).filter_map(nth).filter(usable) {
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
    fn taken(&self, address: Ipv4Addr, mac: Mac, policy: &dyn Policy, now: Now) -> bool {
        let others = |owner: Option<Mac>| owner.is_some_and(|owner| owner != mac);
        let leased =
            self.leases.at(address).filter(|(lease, _)| lease.expires > now.wall).map(|(lease, _)| lease.mac);
        let pending = self.pending.values().find(|pending| pending.lease.address == address);
        others(policy.holder(address))
            || others(policy.reserved(address))
            || others(leased)
            || others(self.offers.holder(address, now.mono))
            || others(pending.map(|pending| pending.lease.mac))
    }

    fn quarantined(&self, address: Ipv4Addr, now: Now) -> bool {
        self.declined.get(&address).is_some_and(|until| *until > now.mono)
    }

    /// By relay, by the address that the client has, else the server's own link.
    fn subnet_of(&self, request: &Request) -> Option<&Subnet> {
        let with = |address: Ipv4Addr| self.subnets.iter().find(|subnet| subnet.network.contains(address));
        if !request.giaddr.is_unspecified() {
            return with(request.giaddr);
        }
        if !request.ciaddr.is_unspecified() {
            return with(request.ciaddr);
        }
        self.subnets.iter().find(|subnet| subnet.network.contains(subnet.server))
    }

    fn too_many(&mut self, mac: Mac, now: u64) -> bool {
        if self.rates.len() >= MOST_WATCHED && !self.rates.contains_key(&mac) {
            self.rates.retain(|_, (since, _)| now.saturating_sub(*since) < WINDOW);
            // A flood of made-up MACs: each of them sends little, so none of them is worth watching.
            if self.rates.len() >= MOST_WATCHED {
                return false;
            }
        }
        let (since, count) = self.rates.entry(mac).or_insert((now, 0));
        if now.saturating_sub(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > MOST_FROM_ONE
    }
}

/// FNV-1a: spreads neighbouring MACs over the pool, the same on every server and for ever.
fn hash(mac: Mac) -> u64 {
    mac.bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn reply(
    kind: Kind,
    request: &Request,
    client: &Client,
    subnet: &Subnet,
    yiaddr: Option<Ipv4Addr>,
    policy: &dyn Policy,
) -> Reply {
    let machine = policy.reservation(request.mac);
    let boot = policy.boot(client);
    let lease_secs = yiaddr.map(|_| subnet.lease_secs);
    let hostname = machine.as_ref().and_then(|machine| machine.hostname.as_deref());
    let answer = Answer { kind, request, client, subnet, yiaddr, lease_secs, hostname, boot: boot.as_ref() };
    let route = if !request.giaddr.is_unspecified() {
        Route::Relay(SocketAddrV4::new(request.giaddr, 67))
    } else if kind == Kind::Nak {
        Route::Broadcast
    } else if !request.ciaddr.is_unspecified() {
        Route::Direct(request.mac, request.ciaddr)
    } else {
        match yiaddr {
            Some(address) if request.flags & 0x8000 == 0 => Route::Direct(request.mac, address),
            _ => Route::Broadcast,
        }
    };
    Reply {
        payload: answer.encode(),
        route,
        mac: request.mac,
        address: yiaddr,
        leased: false,
        boots: client.boots(),
    }
}
