//! The index of free addresses against what it stands for: a plain scan of the pool, which looks at every address and asks
//! every table. Whatever has happened, both find the same address, or none.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use oneroot_dhcp::{
    BootFile, Claim, Client, CommitError, Engine, Lease, Now, Policy, ProbeResult, Received, Reservation,
    Revision, Step, Subnet,
};
use oneroot_ids::Mac;
use proptest::prelude::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const LEASE: u64 = 600;
const OFFER: u64 = 60;

/// What the site says, and the pins.
#[derive(Default)]
struct Site {
    named: BTreeMap<Mac, Option<Ipv4Addr>>,
    claims: HashMap<Ipv4Addr, Claim>,
    moved: RefCell<Vec<Ipv4Addr>>,
    asked: Cell<u64>,
}

impl Policy for Site {
    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        self.named.get(&mac).map(|address| Reservation { address: *address, hostname: None })
    }
    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.asked.set(self.asked.get() + 1);
        self.named.iter().find(|(_, own)| **own == Some(address)).map(|(mac, _)| *mac)
    }
    fn serve_unknown(&self) -> bool {
        true
    }
    fn boot(&self, _: &Client, _: Ipv4Addr) -> Option<BootFile> {
        None
    }
    fn claim(&self, address: Ipv4Addr) -> Option<Claim> {
        self.asked.set(self.asked.get() + 1);
        self.claims.get(&address).copied()
    }
    fn moved(&self) -> Vec<Ipv4Addr> {
        self.moved.take()
    }
    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.claims.iter().find(|(_, claim)| **claim == Claim::Runs(mac)).map(|(address, _)| *address)
    }
    fn replaced(&self, _: Mac, _: Mac) -> bool {
        false
    }
}

impl Site {
    fn subnet(&self, pool: (Ipv4Addr, Ipv4Addr)) -> Subnet {
        Subnet {
            network: "10.0.0.0/8".parse().unwrap(),
            server: SERVER,
            router: None,
            dns: vec![],
            ntp: vec![],
            domain: None,
            pool: Some(pool),
            exclude: vec![(at(3), at(4))],
            reserved: self.named.values().flatten().copied().collect(),
            named: u32::try_from(self.named.values().filter(|own| own.is_none()).count()).unwrap(),
            lease_secs: u32::try_from(LEASE).unwrap(),
            mtu: 1500,
            authoritative: false,
            proxy: false,
        }
    }
}

/// The pool's addresses, by number.
fn at(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a01_0000 + number)
}

const LAST: u32 = 11;

fn mac(number: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, number]).unwrap()
}

fn hash(mac: Mac) -> u64 {
    let bytes = mac.bytes();
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn packet(kind: u8, mac: Mac, ciaddr: Option<Ipv4Addr>, options: &[(u8, Ipv4Addr)]) -> Vec<u8> {
    let mut bytes = vec![1, 1, 6, 0, 0, 0, 0, 7, 0, 0, 0, 0];
    bytes.extend(ciaddr.map_or([0; 4], |address| address.octets()));
    bytes.resize(28, 0);
    bytes.extend(mac.bytes());
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    for (code, address) in options {
        bytes.extend([*code, 4]);
        bytes.extend(address.octets());
    }
    bytes.push(255);
    bytes
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Free {
    New,
    Ended(u64),
    Doubtful(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Offer(Ipv4Addr),
    Probe(Ipv4Addr),
    Nothing,
}

/// All that is known, in lists.
#[derive(Default)]
struct Model {
    leases: BTreeMap<Mac, (Lease, Revision)>,
    /// What was found at addresses whose lease looks ended: whether somebody was there.
    found: HashMap<Mac, bool>,
    offers: BTreeMap<Mac, (Ipv4Addr, u64, bool)>,
    commits: Vec<(u64, Lease, Option<Mac>)>,
    probes: Vec<(u64, Ipv4Addr, Mac)>,
    now: u64,
    sure_since: u64,
}

impl Model {
    fn over(&self, lease: &Lease) -> u64 {
        if lease.start >= self.sure_since {
            return lease.expires;
        }
        lease.expires.max(self.sure_since + lease.expires - lease.start)
    }

    fn lease_at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.leases.values().map(|(lease, _)| lease).find(|lease| lease.address == address)
    }

    fn offered(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.offers.get(&mac).filter(|(_, until, _)| *until > self.now).map(|(address, ..)| *address)
    }

    /// Everybody who has a word in it, but for its lease.
    fn owners(&self, site: &Site, address: Ipv4Addr) -> BTreeSet<Mac> {
        let mut owners = BTreeSet::new();
        match site.claims.get(&address) {
            Some(Claim::Runs(mac)) => drop(owners.insert(*mac)),
            Some(Claim::Kept(mac, until)) if *until > self.now => drop(owners.insert(*mac)),
            _ => {}
        }
        owners.extend(site.named.iter().filter(|(_, own)| **own == Some(address)).map(|(mac, _)| *mac));
        owners.extend(self.offers.keys().filter(|mac| self.offered(**mac) == Some(address)));
        owners.extend(
            self.commits.iter().filter(|commit| commit.1.address == address).map(|commit| commit.1.mac),
        );
        owners
    }

    fn binds(&self, lease: &Lease) -> bool {
        lease.expires > self.now
            || (self.over(lease) > self.now && self.found.get(&lease.mac) != Some(&false))
    }

    fn taken(&self, site: &Site, address: Ipv4Addr, mac: Mac) -> bool {
        let lease = self.lease_at(address).filter(|lease| self.binds(lease));
        lease.is_some_and(|lease| lease.mac != mac)
            || self.owners(site, address).iter().any(|owner| *owner != mac)
    }

    fn gives(address: Ipv4Addr) -> bool {
        (at(0)..=at(LAST)).contains(&address) && ![at(3), at(4)].contains(&address)
    }

    /// How an address can be given to anybody, and whether it was a machine's of the site last.
    fn free(&self, site: &Site, address: Ipv4Addr) -> Option<(Free, bool)> {
        let probed = self.probes.iter().any(|(_, probed, _)| *probed == address);
        if !Self::gives(address) || probed || !self.owners(site, address).is_empty() {
            return None;
        }
        let Some(lease) = self.lease_at(address) else { return Some((Free::New, false)) };
        let named = site.named.get(&lease.mac) == Some(&None);
        if lease.expires > self.now {
            return None;
        }
        if self.over(lease) > self.now {
            return match self.found.get(&lease.mac) {
                None => Some((Free::Doubtful(self.over(lease)), named)),
                Some(true) => None,
                Some(false) => Some((Free::Ended(lease.expires), named)),
            };
        }
        Some((Free::Ended(lease.expires), named))
    }

    fn all() -> impl Iterator<Item = Ipv4Addr> {
        (0..=LAST).map(at)
    }

    fn has_spare(&self, site: &Site) -> bool {
        let free = Self::all().filter(|a| self.free(site, *a).is_some_and(|(_, named)| !named)).count();
        let has = |mac: &Mac| {
            let leased = self.leases.get(mac).map(|(lease, _)| lease.address);
            let reserved = |a: &Ipv4Addr| site.named.values().any(|own| *own == Some(*a));
            let member = |a: &Ipv4Addr| Self::gives(*a) && !reserved(a);
            let coming =
                self.commits.iter().find(|commit| commit.1.mac == *mac).map(|commit| commit.1.address);
            leased.is_some_and(|a| member(&a))
                || (leased.is_none_or(|a| !member(&a))
                    && [coming, self.offered(*mac)].into_iter().flatten().any(|a| member(&a)))
        };
        let homeless = site.named.iter().filter(|(mac, own)| own.is_none() && !has(mac)).count();
        free > homeless
    }

    /// What a DISCOVER of a system is answered.
    fn find(&self, site: &Site, mac: Mac) -> Answer {
        let stranger = !site.named.contains_key(&mac);
        let held = site.held_by(mac);
        let reserved = site.named.get(&mac).copied().flatten();
        let leased = self.leases.get(&mac).map(|(lease, _)| lease.address);
        let coming = self.commits.iter().rfind(|commit| commit.1.mac == mac).map(|commit| commit.1.address);
        for address in [held, reserved, leased, coming.or(self.offered(mac))].into_iter().flatten() {
            let free = self.free(site, address).is_some();
            let given = [held, reserved, leased].contains(&Some(address)) || Self::gives(address);
            if given && !self.taken(site, address, mac) && (!stranger || !free || self.has_spare(site)) {
                return Answer::Offer(address);
            }
        }
        if stranger && !self.has_spare(site) {
            return Answer::Nothing;
        }
        let start = u32::try_from(hash(mac) % u64::from(LAST + 1)).unwrap();
        let order = (0..=LAST).map(|n| at((start + n) % (LAST + 1)));
        let best = order.filter_map(|address| {
            let (free, named) = self.free(site, address)?;
            let rank = match free {
                Free::New => (false, 0, 0),
                Free::Ended(time) => (named, 1, time),
                Free::Doubtful(time) => (named, 2, time),
            };
            (!stranger || !named).then_some((rank, free, address))
        });
        // The first of equals is the nearest to where the hash points.
        match best.min_by_key(|(rank, ..)| *rank) {
            None => Answer::Nothing,
            Some((_, Free::Doubtful(_), address)) => {
                let waits = self.probes.len() >= 16 || self.probes.iter().any(|(.., by)| *by == mac);
                if waits { Answer::Nothing } else { Answer::Probe(address) }
            }
            Some((.., address)) => Answer::Offer(address),
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Discover(u8),
    /// For what it is offered or has.
    Request(u8),
    Release(u8),
    Committed(bool),
    Probed(u8),
    Time(u64),
    Restarted,
    /// Its root runs on its lease's address.
    Runs(u8),
    Keeps(u8, u64),
    LetsGo(u8),
    /// It is named without an address, with one, or not at all.
    Named(u8, u8),
}

fn act(reload: bool) -> impl Strategy<Value = Act> {
    let one = || 0u8..14;
    let common = prop_oneof![
        8 => one().prop_map(Act::Discover),
        8 => one().prop_map(Act::Request),
        1 => one().prop_map(Act::Release),
        8 => prop::bool::weighted(0.9).prop_map(Act::Committed),
        3 => any::<u8>().prop_map(Act::Probed),
        3 => prop_oneof![0u64..5, 20u64..100, 200u64..900].prop_map(Act::Time),
        1 => Just(Act::Restarted),
        2 => one().prop_map(Act::Runs),
        1 => (one(), 0u64..900).prop_map(|(number, time)| Act::Keeps(number, time)),
        2 => one().prop_map(Act::LetsGo),
    ];
    let named = (one(), 0u8..4).prop_map(|(number, how)| Act::Named(number, how));
    if reload { prop_oneof![20 => common, 1 => named].boxed() } else { common.boxed() }
}

struct World {
    site: Site,
    engine: Engine,
    model: Model,
    revision: u64,
}

impl World {
    fn new(named: &[(u8, Option<u32>)]) -> Self {
        let named = named.iter().map(|(number, own)| (mac(*number), own.map(at))).collect();
        let site = Site { named, ..Site::default() };
        let engine = Engine::new(vec![site.subnet((at(0), at(LAST)))], []);
        Self { site, engine, model: Model { now: 10_000, ..Model::default() }, revision: 0 }
    }

    /// The host was off, for a time that nobody knows, and the server is another process: it knows what the disk has.
    fn restart(&mut self) {
        let Model { leases, now, .. } = std::mem::take(&mut self.model);
        self.engine = Engine::new(vec![self.site.subnet((at(0), at(LAST)))], leases.values().cloned());
        self.model = Model { leases, now, sure_since: now, ..Model::default() };
    }

    fn now(&self) -> Now {
        Now { wall: self.model.now, sure_since: self.model.sure_since, mono: self.model.now * 1000 }
    }

    fn say(&mut self, packet: &[u8]) -> Step {
        let received = Received { payload: packet, via: &[SERVER] };
        self.engine.handle(self.now(), &self.site, received)
    }

    /// The model takes over what the engine has decided, unless somebody else has that address.
    fn took(&mut self, step: Step) {
        match step {
            Step::Commit { token, change } => {
                let lease = change.put;
                let ends = lease.expires <= self.model.now;
                assert!(ends || !self.model.taken(&self.site, lease.address, lease.mac), "{lease:?}");
                let revision = |mac: Mac| self.model.leases.get(&mac).map(|(_, revision)| *revision);
                assert_eq!(change.expected, revision(lease.mac));
                let other = self.model.lease_at(lease.address).filter(|other| other.mac != lease.mac);
                assert_eq!(change.evict, other.and_then(|other| Some((other.mac, revision(other.mac)?))));
                self.model.commits.push((token, lease, change.evict.map(|(mac, _)| mac)));
            }
            Step::Reply(reply) => {
                // An OFFER is held for a minute, and for longer only once half of that is over.
                if let (2, Some(address)) = (reply.payload[242], reply.address) {
                    let stranger = !self.site.named.contains_key(&reply.mac);
                    let now = self.model.now;
                    let held = self.model.offers.get(&reply.mac);
                    if held.is_none_or(|held| {
                        (held.0, held.2) != (address, stranger) || held.1 <= now + OFFER / 2
                    }) {
                        self.model.offers.insert(reply.mac, (address, now + OFFER, stranger));
                    }
                }
            }
            Step::Probe { .. } | Step::Dropped(_) => {}
        }
    }

    fn discover(&mut self, mac: Mac) -> Answer {
        let expected = self.model.find(&self.site, mac);
        let step = self.say(&packet(1, mac, None, &[]));
        self.answered(mac, &step, expected);
        self.took(step);
        expected
    }

    fn answered(&mut self, mac: Mac, step: &Step, expected: Answer) {
        let found = match step {
            Step::Reply(reply) => Answer::Offer(reply.address.unwrap()),
            Step::Probe { token, address } => {
                self.model.probes.push((*token, *address, mac));
                Answer::Probe(*address)
            }
            _ => Answer::Nothing,
        };
        assert_eq!(found, expected, "{mac}, {step:?}");
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Discover(number) => {
                self.discover(mac(number));
            }
            Act::Request(number) => {
                let leased = self.model.leases.get(&mac(number)).map(|(lease, _)| lease.address);
                let step = match (self.model.offered(mac(number)), leased) {
                    (Some(address), _) => {
                        self.say(&packet(3, mac(number), None, &[(50, address), (54, SERVER)]))
                    }
                    (None, Some(address)) => self.say(&packet(3, mac(number), Some(address), &[])),
                    (None, None) => return,
                };
                self.took(step);
            }
            Act::Release(number) => {
                let leased = self.model.leases.get(&mac(number)).map(|(lease, _)| lease.address);
                if leased.is_some() {
                    let step = self.say(&packet(7, mac(number), leased, &[(54, SERVER)]));
                    self.took(step);
                }
            }
            Act::Committed(good) => self.committed(good),
            Act::Probed(what) => self.probed(what),
            Act::Time(seconds) => self.model.now += seconds,
            Act::Restarted => self.restart(),
            Act::Runs(number) => self.claims(number, |mac, _| Claim::Runs(mac)),
            Act::Keeps(number, time) => self.claims(number, |mac, now| Claim::Kept(mac, now + time)),
            Act::LetsGo(number) => {
                let its = |claim: &Claim| matches!(claim, Claim::Runs(of) | Claim::Kept(of, _) if *of == mac(number));
                let gone: Vec<_> = self
                    .site
                    .claims
                    .iter()
                    .filter(|(_, claim)| its(claim))
                    .map(|(address, _)| *address)
                    .collect();
                for address in gone {
                    self.site.claims.remove(&address);
                    self.site.moved.borrow_mut().push(address);
                }
            }
            Act::Named(number, how) => {
                let free = |address: &Ipv4Addr| !self.site.named.values().any(|own| *own == Some(*address));
                match how {
                    0 => drop(self.site.named.remove(&mac(number))),
                    1 => {
                        if let Some(address) = Some(at(u32::from(number) % 12)).filter(free) {
                            self.site.named.insert(mac(number), Some(address));
                        }
                    }
                    _ => drop(self.site.named.insert(mac(number), None)),
                }
                self.engine.set_subnets(vec![self.site.subnet((at(0), at(LAST)))]);
            }
        }
    }

    fn claims(&mut self, number: u8, claim: impl Fn(Mac, u64) -> Claim) {
        let lease = self.model.leases.get(&mac(number)).map(|(lease, _)| lease.clone());
        let Some(lease) = lease.filter(|lease| lease.expires > self.model.now) else { return };
        if self.site.held_by(mac(number)).is_none() && !self.site.claims.contains_key(&lease.address) {
            self.site.claims.insert(lease.address, claim(mac(number), self.model.now));
            self.site.moved.borrow_mut().push(lease.address);
        }
    }

    fn committed(&mut self, good: bool) {
        if self.model.commits.is_empty() {
            return;
        }
        let (token, lease, evict) = self.model.commits.remove(0);
        self.revision += 1;
        let revision = Revision(self.revision);
        let step = self.engine.committed(token, if good { Ok(revision) } else { Err(CommitError::Failed) });
        assert!(matches!(step, Step::Reply(_)) || !good || lease.expires <= self.model.now + LEASE);
        if good {
            evict.map(|mac| self.model.leases.remove(&mac));
            evict.map(|mac| self.model.found.remove(&mac));
            // A lease that was given back answers no offer.
            if lease.expires > lease.start {
                self.model.offers.remove(&lease.mac);
            }
            self.model.found.remove(&lease.mac);
            self.model.leases.insert(lease.mac, (lease, revision));
        }
    }

    fn probed(&mut self, what: u8) {
        if self.model.probes.is_empty() {
            return;
        }
        let (token, address, by) = self.model.probes.remove(usize::from(what) % self.model.probes.len());
        let owner = self.model.lease_at(address).map(|lease| lease.mac);
        let (found, there) = match what % 4 {
            0 => (ProbeResult::Unable, None),
            1 => (ProbeResult::Answered, Some(true)),
            2 => (ProbeResult::Mac(mac(99)), Some(true)),
            _ => (ProbeResult::Silent, Some(false)),
        };
        if let (Some(owner), Some(there)) = (owner, there) {
            self.model.found.insert(owner, there);
        }
        let expected = self.model.find(&self.site, by);
        let step = self.engine.probed(self.now(), &self.site, token, found);
        if there == Some(false) {
            self.answered(by, &step, expected);
        }
        self.took(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_plain_scan_finds(acts in prop::collection::vec(act(true), 1..120)) {
        let mut world = World::new(&[(1, None), (2, None), (3, Some(7)), (4, Some(200))]);
        acts.iter().for_each(|act| world.act(act));
        for number in 0..14 {
            world.discover(mac(number));
        }
    }

    #[test]
    fn every_machine_of_the_site_has_room_whatever_strangers_do(acts in prop::collection::vec(act(false), 1..120)) {
        let mut world = World::new(&[(0, None), (1, None), (2, None), (3, Some(7)), (4, Some(200))]);
        for act in &acts {
            world.act(act);
        }
        for number in 0..5 {
            // At worst it is asked first whether the last one there is gone.
            let waits = world.model.probes.iter().any(|(.., by)| *by == mac(number));
            let answer = world.discover(mac(number));
            prop_assert!(waits || answer != Answer::Nothing, "{}", number);
        }
    }
}

/// Questions to the site are what a plain scan asks for each address; the index asks for those that it gives.
#[test]
fn an_address_among_a_million_is_found_without_looking_at_the_others() {
    let (first, last) = (Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 16, 255, 255));
    let total = u32::from(last) - u32::from(first) + 1;
    assert!(total > 1_000_000);
    let stranger = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        Mac::new([2, 1, a, b, c, d]).unwrap()
    };
    let now = Now { wall: 1_000_000, sure_since: 0, mono: 0 };
    let site = Site { named: BTreeMap::from([(mac(1), None)]), ..Site::default() };
    // All but some are given, and every sixteenth has ended; a root runs on a thousand of those that ended.
    let lease = |number: u32| {
        let expires =
            if number.is_multiple_of(16) { now.wall - u64::from(number % 1000) - 1 } else { now.wall + 1 };
        let address = Ipv4Addr::from(u32::from(first) + number);
        let lease = Lease { mac: stranger(number), address, start: 0, expires, relay: None };
        (lease, Revision(u64::from(number)))
    };
    let running = (0..1000).map(|number| lease(number * 16).0);
    let claims: HashMap<_, _> = running.map(|lease| (lease.address, Claim::Runs(lease.mac))).collect();
    let site = Site { moved: RefCell::new(claims.keys().copied().collect()), claims, ..site };
    let mut engine = Engine::new(vec![site.subnet((first, last))], (0..total).map(lease));
    let mut say = |number: u32| {
        let received = Received { payload: &packet(1, stranger(number), None, &[]), via: &[SERVER] };
        let step = engine.handle(now, &site, received);
        assert!(matches!(step, Step::Reply(_)), "{step:?}");
        site.asked.take()
    };
    say(total);
    let most = (1..2000).map(|number| say(total + number)).max().unwrap();
    assert!(most <= 32, "{most} questions for one address");
}
