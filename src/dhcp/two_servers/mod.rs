//! Two servers on one state: their DHCP and their machines, step by step in an order that a seed says. Commits are made and
//! answered apart, watches lag as long as they like, answers are lost, and the state is out of reach now and then.
//!
//! After every step, by what is in the state: an address has one lease, a NIC one machine, a machine at most three pins and
//! each plan a later time than the one before; a mounted root ends for a later one or by release alone. By what clients are
//! told: no address is acknowledged to two NICs at once, and a boot that is told was written. Whenever everything has come to
//! rest, both servers know what the state has.
//!
//! `ONEROOT_STEPS=100000 ONEROOT_SEED=1 cargo test -p oneroot --bins two_servers`

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use oneroot_bootconf::again::Ask;
use oneroot_bootconf::pins::{MOST, Pin};
use oneroot_bootconf::{MachineRecord, Site, load_str};
use oneroot_dhcp::{Lease, LeaseChange, Now, ProbeResult, Received, Reply, Step};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_machines::planner::Planner;
use oneroot_machines::planner::renderer::Here;
use oneroot_machines::{HandleKeys, Host, MACHINES, Machines, PINS, ProgressReport, Resource, Via, guest};
use oneroot_state::{Backend as _, Change, Event, Memory, State, Table, Trouble, Txn, Watch};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Ref, RefKind, Stage, Store};

mod checks;
mod host;
mod operations;

use super::leasing::Leasing;
use super::rules::Rules;
use super::store::{self, Written};
use host::*;

const LEASES: Table<Lease> = Table::new("leases");
const BEGIN: u64 = 1_800_000_000;
/// Of the site: two machines, one of them with two NICs.
const NAMED: u8 = 3;
const NICS: u8 = 9;
const LEASE: u64 = 600;

/// A lease on its way to the state, or back.
struct Commit {
    token: u64,
    change: LeaseChange,
    txn: Txn,
}

struct Server {
    machines: Arc<Machines>,
    leasing: Leasing,
    watches: [Watch; 2],
    asked: Vec<Commit>,
    answered: VecDeque<(Commit, Written)>,
}

/// What a client knows.
#[derive(Default, Clone)]
struct Nic {
    /// Of its present conversation: an answer to an earlier one is none to it (RFC 2131 §4.4.1).
    xid: u8,
    offered: Option<Ipv4Addr>,
    held: Option<(Ipv4Addr, u64)>,
    /// The path of its root, and the boot.
    told: Option<(String, BootId, ViewId)>,
}

/// What is in the state, as an observer has it that misses nothing.
#[derive(Default)]
struct Seen {
    machines: BTreeMap<MachineId, MachineRecord>,
    pins: BTreeMap<BootId, Pin>,
    leases: BTreeMap<Mac, Lease>,
    released: BTreeSet<MachineId>,
    /// Every boot that ever had a pin, and every one whose root was ever mounted.
    ever: [BTreeSet<BootId>; 2],
}

struct World {
    seed: u64,
    step: usize,
    chance: Chance,
    clock: Arc<Clock>,
    state: Arc<State>,
    servers: [Server; 2],
    nics: Vec<Nic>,
    /// To whom each address was acknowledged, and until when.
    acknowledged: BTreeMap<Ipv4Addr, (Mac, u64)>,
    observer: Watch,
    seen: Seen,
    /// What was done, for whoever reads a failure.
    log: VecDeque<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl World {
    async fn new(home: &Path, seed: u64) -> Self {
        let site = site(home);
        let clock = Arc::new(Clock { now: AtomicU64::new(BEGIN), random: AtomicU64::new(1 << 40) });
        let state = Arc::new(State::from(Memory::default()));
        let servers = [server(&site, &state, &clock).await, server(&site, &state, &clock).await];
        let observer = state.watch("").await.unwrap();
        Self {
            seed,
            step: 0,
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            clock,
            state,
            servers,
            nics: vec![Nic::default(); usize::from(NICS)],
            acknowledged: BTreeMap::new(),
            observer,
            seen: Seen::default(),
            log: VecDeque::new(),
            counts: BTreeMap::new(),
        }
    }

    fn memory(&self) -> &Memory {
        match self.state.as_ref() {
            State::Memory(memory) => memory,
            State::Disk(_) => panic!("a disk"),
        }
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn note(&mut self, what: &'static str, more: &str) {
        *self.counts.entry(what).or_default() += 1;
        if self.log.len() > 3000 {
            self.log.pop_front();
        }
        self.log.push_back(format!("{} at {}: {what} {more}", self.step, self.now() - BEGIN));
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let log: Vec<&str> = self.log.iter().map(String::as_str).collect();
        panic!("ONEROOT_SEED={}, step {}: {what}\n{}", self.seed, self.step, log.join("\n"));
    }

    async fn one_step(&mut self) {
        self.step += 1;
        match self.chance.below(20) {
            0..7 => self.client_asks().await,
            7..10 => self.commit().await,
            10..13 => self.answer(),
            13..15 => self.watch(),
            15..18 => self.operate().await,
            18 => self.time_passes().await,
            _ => self.trouble(),
        }
        self.observe();
    }

    /// A client sends something, which one of the servers hears.
    async fn client_asks(&mut self) {
        let (at, number) = (self.chance.below(2), self.chance.below(self.nics.len()));
        let (mac, nic) = (mac(u8::try_from(number).unwrap()), self.nics[number].clone());
        let held = nic.held.map(|(address, _)| address);
        let class: &[u8] = if self.chance.one_in(2) { b"PXEClient:Arch:00007" } else { b"Linux" };
        let kind = match (held, nic.offered) {
            (Some(_), _) if self.chance.one_in(12) && number >= usize::from(NAMED) => 7,
            (Some(_), _) if !self.chance.one_in(4) => 3,
            (None, Some(_)) if !self.chance.one_in(4) => 3,
            _ => 1,
        };
        let xid = if kind == 3 { nic.xid } else { nic.xid.wrapping_add(1) };
        self.nics[number].xid = xid;
        let server = [10, 0, 0, 1];
        let bytes = match (kind, held, nic.offered) {
            (3, Some(address), _) => packet(mac, xid, Some(address), &[(53, &[3]), (60, class)]),
            (3, None, Some(address)) => {
                packet(mac, xid, None, &[(53, &[3]), (60, class), (50, &address.octets()), (54, &server)])
            }
            (7, Some(address), _) => packet(mac, xid, Some(address), &[(53, &[7]), (54, &server)]),
            _ => packet(mac, xid, None, &[(53, &[1]), (60, class)]),
        };
        self.note("sends", &format!("NIC {number} {kind} to {at}, has {held:?}, offered {:?}", nic.offered));
        if kind == 7 {
            // It is switched off, for longer than all that it has asked for takes, and for longer than a watch lags: what a
            // server has in memory of its lease is acknowledged without a look at the state.
            self.settle().await;
            self.nics[number] = Nic { xid, ..Nic::default() };
            self.acknowledged.retain(|_, (whose, _)| *whose != mac);
        }
        let step = self.handle(at, &bytes);
        self.follow(at, step);
        if kind == 7 {
            self.settle().await;
        }
    }

    fn handle(&mut self, at: usize, payload: &[u8]) -> Step {
        let now = self.dhcp_now();
        let server = &mut self.servers[at];
        let rules = Rules(&server.machines, server.machines.site());
        server.leasing.engine.handle(now, &rules, Received { payload, via: &[Ipv4Addr::new(10, 0, 0, 1)] })
    }

    fn dhcp_now(&self) -> Now {
        Now { wall: self.now(), sure_since: 0, mono: (self.now() - BEGIN + 1) * 1000 }
    }

    fn follow(&mut self, at: usize, step: Step) {
        match step {
            Step::Reply(reply) => self.hears(&reply),
            Step::Commit { token, change } => {
                if let Some(txn) = self.servers[at].leasing.transaction(token, &change) {
                    self.servers[at].asked.push(Commit { token, change, txn });
                }
            }
            Step::Probe { token, .. } => {
                let now = self.dhcp_now();
                let server = &mut self.servers[at];
                let rules = Rules(&server.machines, server.machines.site());
                let step = server.leasing.engine.probed(now, &rules, token, ProbeResult::Silent);
                self.follow(at, step);
            }
            Step::Dropped(_) => {}
        }
    }

    fn hears(&mut self, reply: &Reply) {
        let number = usize::from(reply.mac.bytes()[5] - 10);
        if reply.payload.get(7) != Some(&self.nics[number].xid) {
            return;
        }
        match (option(reply, 53), reply.address) {
            (Some([2]), Some(address)) => self.nics[number].offered = Some(address),
            (Some([5]), Some(address)) => {
                let secs = option(reply, 51).map_or(0, |secs| u32::from_be_bytes(secs.try_into().unwrap()));
                self.acknowledges(number, address, u64::from(secs));
            }
            (Some([6]), _) => {
                self.note("NAK", &format!("to NIC {number}"));
                self.nics[number] = Nic { xid: self.nics[number].xid, ..Nic::default() };
                self.acknowledged.retain(|_, (whose, _)| *whose != reply.mac);
            }
            _ => {}
        }
    }

    fn acknowledges(&mut self, number: usize, address: Ipv4Addr, secs: u64) {
        let (now, mac) = (self.now(), mac(u8::try_from(number).unwrap()));
        self.note("ACK", &format!("of {address} to NIC {number} for {secs} s"));
        if let Some((other, until)) = self.acknowledged.get(&address)
            && (*other != mac && *until > now)
        {
            self.fail(&format!("{address} is {other}'s for {} s more, and {mac}'s", until - now));
        }
        let owner =
            self.seen.machines.values().find(|record| record.macs.contains(&mac)).map(|record| record.id);
        if let Some(pin) = self.seen.pins.values().find(|pin| pin.is_mounted() && pin.address == address)
            && (Some(pin.machine) != owner)
        {
            self.fail(&format!(
                "{mac} has {address}, with which the boot {} of another machine runs",
                pin.boot
            ));
        }
        // A NIC has one address: it has left the other.
        self.acknowledged.retain(|_, (whose, _)| *whose != mac);
        self.acknowledged.insert(address, (mac, now + secs));
        self.nics[number].held = Some((address, now + secs));
        self.nics[number].offered = None;
    }

    /// One lease reaches the state, or does not.
    async fn commit(&mut self) {
        let at = self.chance.below(2);
        if self.servers[at].asked.is_empty() {
            return;
        }
        let which = self.chance.below(self.servers[at].asked.len());
        let commit = self.servers[at].asked.swap_remove(which);
        let answer = self.state.commit(commit.txn.clone()).await;
        let (mac, txn) = (commit.change.put.mac, Arc::new(commit.txn.clone()));
        let written = store::outcome(self.state.as_ref(), mac, txn, answer).await;
        self.note("commits", &format!("{} at {at}", commit.change.put.mac));
        self.servers[at].answered.push_back((commit, written));
    }

    /// One answer comes back.
    fn answer(&mut self) {
        let at = self.chance.below(2);
        let Some((commit, written)) = self.servers[at].answered.pop_front() else { return };
        let step = self.servers[at].leasing.came_back(commit.token, &commit.change.put, written);
        self.follow(at, step);
    }

    /// One event is heard.
    fn watch(&mut self) {
        let (at, which) = (self.chance.below(2), self.chance.below(2));
        self.hear_of(at, which);
    }

    fn hear_of(&mut self, at: usize, which: usize) -> bool {
        let server = &mut self.servers[at];
        let Some(event) = ready(&mut server.watches[which]) else { return false };
        if which == 0 {
            server.leasing.state_changed(event);
        } else {
            server.machines.state_changed(event);
        }
        true
    }

    fn drain(&mut self) {
        for (at, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            while self.hear_of(at, which) {}
        }
    }

    async fn time_passes(&mut self) {
        let secs = match self.chance.below(24) {
            0 => LEASE / 2 + 1,
            1 => LEASE + 1,
            _ => 1 + self.chance.below(20) as u64,
        };
        if secs > 60 {
            // No watch lags for as long as a lease is, and no commit hangs so long.
            self.settle().await;
        }
        self.clock.now.fetch_add(secs, Ordering::SeqCst);
        let now = self.now();
        for nic in &mut self.nics {
            nic.held = nic.held.filter(|(_, until)| *until > now);
            if nic.held.is_none() {
                nic.told = None;
            }
        }
        self.note("time", &format!("{secs} s"));
    }

    fn trouble(&mut self) {
        let some = |chance: &mut Chance| match chance.below(6) {
            0 => Some(Trouble::Unavailable),
            1 => Some(Trouble::AnswerLost),
            2 => Some(Trouble::RequestLost),
            _ => None,
        };
        let next = [some(&mut self.chance), some(&mut self.chance)];
        let unreachable = self.chance.one_in(4);
        self.memory().trouble(next);
        self.memory().set_unreachable(unreachable);
        self.note("trouble", &format!("{next:?}, unreachable: {unreachable}"));
    }

    /// Everything that is under way comes to its end.
    async fn settle(&mut self) {
        self.memory().set_unreachable(false);
        while self.memory().end_trouble() {}
        for at in [0, 1] {
            // What comes back may ask for more.
            for _ in 0..50 {
                for commit in std::mem::take(&mut self.servers[at].asked) {
                    let mac = commit.change.put.mac;
                    let answer = self.state.commit(commit.txn.clone()).await;
                    let txn = Arc::new(commit.txn.clone());
                    let written = store::outcome(self.state.as_ref(), mac, txn, answer).await;
                    self.servers[at].answered.push_back((commit, written));
                }
                self.observe();
                while let Some((commit, written)) = self.servers[at].answered.pop_front() {
                    let step = self.servers[at].leasing.came_back(commit.token, &commit.change.put, written);
                    self.follow(at, step);
                }
            }
        }
        self.drain();
        self.agree().await;
    }
}

fn wanted(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn two_servers_on_one_state_give_no_address_twice_and_lose_no_pin() {
    let steps = wanted("ONEROOT_STEPS").unwrap_or(8_000);
    let (mut seed, mut done, mut counts) = (wanted("ONEROOT_SEED").unwrap_or(1), 0, BTreeMap::new());
    while done < steps {
        // What is new to both servers is so at the beginning alone, and what has gone on for long is another matter.
        let each = if seed % 10 == 0 { 5_000 } else { 300 };
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut world = World::new(home.path(), seed).await;
        for _ in 0..each {
            world.one_step().await;
            if world.step.is_multiple_of(200) {
                world.settle().await;
            }
        }
        world.settle().await;
        world.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_insert(0) += count);
        (seed, done) = (seed + 1, done + each);
    }
    let least = |what, share| counts.get(what).is_some_and(|count| *count as u64 >= done / share);
    assert!(least("ACK", 20) && least("boots", 100) && least("mounts", 200), "{done} steps: {counts:?}");
}
