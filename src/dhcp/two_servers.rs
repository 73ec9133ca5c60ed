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
use oneroot_dhcp::{Found, Lease, LeaseChange, Now, Received, Reply, Step};
use oneroot_ids::{BootId, Mac, MachineId, ViewId};
use oneroot_machines::planner::Planner;
use oneroot_machines::planner::renderer::Here;
use oneroot_machines::{Host, MACHINES, Machines, PINS, Resource, Saying, Via, guest};
use oneroot_state::{Backend as _, Change, Event, Memory, State, Table, Trouble, Txn, Watch};
use oneroot_tree::store::{How, Staged};
use oneroot_tree::{Ref, RefKind, Stage, Store};

use super::leasing::Leasing;
use super::rules::Rules;
use super::store::{self, Written};

const LEASES: Table<Lease> = Table::new("leases");
const BEGIN: u64 = 1_800_000_000;
/// Of the site: two machines, one of them with two NICs.
const NAMED: u8 = 3;
const NICS: u8 = 9;
const LEASE: u64 = 600;

/// A host whose time is the scheduler's.
struct Clock {
    now: AtomicU64,
    random: AtomicU64,
}

impl Host for Clock {
    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    fn shown(&self, time: u64) -> u64 {
        time
    }

    fn sure_since(&self) -> u64 {
        0
    }

    fn shown_ms(&self) -> u64 {
        self.now() * 1000
    }

    fn coarse(&self) -> u64 {
        self.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let next = self.random.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        bytes.iter_mut().zip(next.iter().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

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

/// Not in a row: those of neighbours have addresses of their own to begin with.
fn mac(number: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, number * number, number * 29, 10 + number]).unwrap()
}

fn site(home: &Path) -> Arc<Site> {
    std::fs::create_dir_all(home.join("root/boot")).unwrap();
    std::fs::write(home.join("root/boot/vmlinuz-1"), "kernel").unwrap();
    std::fs::write(home.join("root/boot/initrd.img-1"), "initrd").unwrap();
    let text = "[server]\naddress = \"10.0.0.1\"\ninterface = \"eth0\"\nstore = \"store\"\nstate = \"state\"\n\
        [[network]]\nsubnet = \"10.0.0.0/24\"\npool = \"10.0.0.10-10.0.0.17\"\nlease = \"10m\"\n\
        [unknown]\nprofile = \"a\"\n[profile.a]\nsource = { directory = \"root\" }\n\
        [machine.alpha]\nmac = [\"ALPHA\", \"SECOND\"]\nprofile = \"a\"\n\
        [machine.beta]\nmac = \"BETA\"\nprofile = \"a\"\n";
    let named = [("ALPHA", 0), ("SECOND", 1), ("BETA", 2)];
    let text =
        named.iter().fold(text.to_owned(), |text, (name, at)| text.replace(name, &mac(*at).to_string()));
    let site = load_str("site.toml", &text, home).unwrap();
    let store = Store::open(&site.server.store).unwrap();
    let mut stage = Stage::begin(&store, |_| {}).unwrap();
    stage.directory(&home.join("root")).unwrap();
    let generation = stage.finish().unwrap().generation;
    let name = Ref::new(RefKind::Profile, "a").unwrap();
    store.stage_head(&name, Staged { generation, at: BEGIN, how: How::Staged }).unwrap();
    Arc::new(site)
}

async fn server(site: &Arc<Site>, state: &Arc<State>, clock: &Arc<Clock>) -> Server {
    let store = Store::open(&site.server.store).unwrap();
    let guest = guest::stage(&store, BEGIN).unwrap();
    let (said, _) = tokio::sync::mpsc::channel(1);
    let planner = Planner::new(store, guest, Arc::new(Here));
    let opened = Machines::open(site.clone(), state.clone(), clock.clone(), planner, &[7; 32], said);
    let machines = opened.await.unwrap();
    let leasing = Leasing::open(machines.clone()).await.unwrap();
    let watches = [state.watch("").await.unwrap(), state.watch("").await.unwrap()];
    Server { machines, leasing, watches, asked: Vec::new(), answered: VecDeque::new() }
}

/// The next event, if it is there.
fn ready(watch: &mut Watch) -> Option<Event> {
    // Whatever a test's task may do at a stretch, what is there is told.
    let next = pin!(tokio::task::unconstrained(watch.next()));
    match next.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event.ok(),
        Poll::Pending => None,
    }
}

/// A message of a client (RFC 2131 §2), with these options.
fn packet(mac: Mac, xid: u8, ciaddr: Option<Ipv4Addr>, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&[1, 2, 3, xid]);
    bytes[12..16].copy_from_slice(&ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    bytes[28..34].copy_from_slice(&mac.bytes());
    bytes.extend([99, 130, 83, 99]);
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

fn option(reply: &Reply, code: u8) -> Option<&[u8]> {
    let mut rest = reply.payload.get(240..)?;
    loop {
        match *rest.first()? {
            0 => rest = &rest[1..],
            255 => return None,
            found => {
                let (value, after) = rest.get(2..)?.split_at_checked(usize::from(*rest.get(1)?))?;
                if found == code {
                    return Some(value);
                }
                rest = after;
            }
        }
    }
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

    fn note(&mut self, what: &'static str, more: String) {
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
        self.note("sends", format!("NIC {number} {kind} to {at}, has {held:?}, offered {:?}", nic.offered));
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
                let step = server.leasing.engine.probed(now, &rules, token, Found::Silent);
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
                self.note("NAK", format!("to NIC {number}"));
                self.nics[number] = Nic { xid: self.nics[number].xid, ..Nic::default() };
                self.acknowledged.retain(|_, (whose, _)| *whose != reply.mac);
            }
            _ => {}
        }
    }

    fn acknowledges(&mut self, number: usize, address: Ipv4Addr, secs: u64) {
        let (now, mac) = (self.now(), mac(u8::try_from(number).unwrap()));
        self.note("ACK", format!("of {address} to NIC {number} for {secs} s"));
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
        let written = store::write(self.state.as_ref(), commit.change.put.mac, commit.txn.clone()).await;
        self.note("commits", format!("{} at {at}", commit.change.put.mac));
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
            server.leasing.state_changed(event)
        } else {
            server.machines.state_changed(event)
        }
        true
    }

    fn drain(&mut self) {
        for (at, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            while self.hear_of(at, which) {}
        }
    }

    /// Something is asked of the machines: of one server, or of both at once, whose commits then meet.
    async fn operate(&mut self) {
        let first = self.some_operation();
        if !self.chance.one_in(3) {
            let done = first.clone().make().await;
            self.done(&first, done).await;
            return;
        }
        let second = self.some_operation();
        let (held, pause) = (self.memory().hold().await, self.chance.below(30));
        let both = async { tokio::join!(first.clone().make(), second.clone().make()) };
        let opens = async {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let ((one, two), ()) = tokio::join!(both, opens);
        self.observe();
        if first.number != second.number {
            self.done(&first, one).await;
            self.done(&second, two).await;
        }
    }

    fn some_operation(&mut self) -> Operation {
        let (at, number) = (self.chance.below(2), self.chance.below(self.nics.len()));
        let nic = &self.nics[number];
        let what = match (nic.held, self.chance.below(20)) {
            (Some(_), 0..8) => What::Boot,
            (Some(_), 8..16) if nic.told.is_some() => What::Mount,
            (Some(_), 16..18) if nic.told.is_some() => What::Up,
            (_, 18) => What::Release,
            _ => What::Tick,
        };
        let operation = Operation {
            machines: self.servers[at].machines.clone(),
            what,
            number,
            mac: mac(u8::try_from(number).unwrap()),
            address: nic.held.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| address),
            told: nic.told.clone(),
        };
        if let What::Release = what {
            let is_its = |record: &&MachineRecord| record.macs.contains(&operation.mac);
            self.seen.released.extend(self.seen.machines.values().find(is_its).map(|record| record.id));
        }
        self.note(
            "asks",
            format!("NIC {number} {what:?} at {at}, {:?}", operation.told.as_ref().map(|told| told.1)),
        );
        operation
    }

    /// What a client does with the answer, and what has to be in the state for it.
    async fn done(&mut self, operation: &Operation, told: Option<String>) {
        let Some(told) = told else { return };
        self.observe();
        match operation.what {
            What::Boot => {
                let Some(path) = told.split_once(":/v/").map(|(_, path)| path) else { return };
                let path: String = path.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '.').collect();
                let (view, boot) = path.split_once('.').unwrap();
                let (view, boot): (ViewId, BootId) = (view.parse().unwrap(), boot.parse().unwrap());
                self.note("boots", format!("NIC {}: {boot}", operation.number));
                // One that is told again may have been let go of on the other server, of which the watch will tell.
                if !self.seen.ever[0].contains(&boot) {
                    self.fail(&format!("the boot {boot} was told, and never had a pin"));
                }
                self.nics[operation.number].told = Some((format!("/v/{path}"), boot, view));
            }
            What::Mount => {
                let boot = operation.told.as_ref().unwrap().1;
                self.note("mounts", format!("NIC {}: {boot}", operation.number));
                if !self.seen.ever[1].contains(&boot) {
                    self.fail(&format!("the root of {boot} was mounted, and its pin never ran"));
                }
            }
            What::Up | What::Release | What::Tick => {}
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
        self.note("time", format!("{secs} s"));
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
        self.note("trouble", format!("{next:?}, unreachable: {unreachable}"));
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
                    let written = store::write(self.state.as_ref(), mac, commit.txn.clone()).await;
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

    /// Both servers know what the state has.
    async fn agree(&mut self) {
        let (pins, _) = PINS.list(self.state.as_ref()).await.unwrap();
        let mut due: Vec<(String, String)> =
            pins.iter().map(|(_, pin)| (pin.value.view.to_string(), pin.value.phase.to_string())).collect();
        due.sort();
        for at in [0, 1] {
            let held = self.servers[at].machines.held();
            let mut held: Vec<_> = held.into_iter().map(|held| (held.view, held.phase)).collect();
            held.sort();
            if held != due {
                self.fail(&format!("server {at} has {held:?}, the state {due:?}"));
            }
        }
        for number in 0..NICS {
            let addresses = self.servers.each_ref().map(|server| {
                let address = self.seen.leases.get(&mac(number)).map(|lease| IpAddr::V4(lease.address));
                address.map(|address| {
                    (server.machines.mounts(address).len(), server.machines.has_address(mac(number)))
                })
            });
            if addresses[0] != addresses[1] {
                self.fail(&format!("of NIC {number} the servers know {addresses:?}"));
            }
        }
        self.renewals_are_known();
    }

    /// A lease that has just been given is renewed by either server, without a write.
    fn renewals_are_known(&mut self) {
        let fresh = |lease: &&Lease| lease.expires > self.now() + LEASE * 3 / 4;
        let leases: Vec<Lease> = self.seen.leases.values().filter(fresh).cloned().collect();
        for (at, lease) in [0, 1].into_iter().flat_map(|at| leases.iter().map(move |lease| (at, lease))) {
            let Nic { held, xid, .. } = self.nics[usize::from(lease.mac.bytes()[5] - 10)];
            if held.is_none_or(|(address, _)| address != lease.address) {
                continue;
            }
            let renewal = packet(lease.mac, xid, Some(lease.address), &[(53, &[3])]);
            match self.handle(at, &renewal) {
                Step::Reply(reply) if reply.address == Some(lease.address) => self.hears(&reply),
                other => self.fail(&format!("server {at} does not know {lease:?}: {other:?}")),
            }
        }
    }

    /// Takes in what has happened in the state, each transaction by itself.
    fn observe(&mut self) {
        let was = self.memory().is_unreachable();
        self.memory().set_unreachable(false);
        while let Some(event) = ready(&mut self.observer) {
            match event {
                Event::Snapshot(listing) => {
                    assert!(listing.records.is_empty(), "the observer missed something")
                }
                Event::Changed(changes) => self.transaction(&changes),
            }
        }
        self.memory().set_unreachable(was);
    }

    fn transaction(&mut self, changes: &[Change]) {
        for change in
            changes.iter().filter(|change| change.key.starts_with("leases") || change.key.starts_with("addr"))
        {
            let text = change.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned());
            self.note("state", format!("{} {:?} {text:?}", change.key, change.revision));
        }
        let before = self.seen.pins.clone();
        for change in changes {
            if let Some((_, machine)) = MACHINES.changed(change).unwrap() {
                let id = change.key.split_once('/').unwrap().1.parse().unwrap();
                match machine {
                    Some(machine) => drop(self.seen.machines.insert(id, machine)),
                    None => drop(self.seen.machines.remove(&id)),
                }
            } else if let Some((boot, pin)) = PINS.changed(change).unwrap() {
                match pin {
                    Some(pin) => {
                        self.seen.ever[usize::from(pin.is_mounted())].insert(pin.boot);
                        self.seen.pins.insert(pin.boot, pin);
                    }
                    None => drop(self.seen.pins.remove(&boot.parse().unwrap())),
                }
            } else if let Some((mac, lease)) = LEASES.changed(change).unwrap() {
                match lease {
                    Some(lease) => drop(self.seen.leases.insert(mac.parse().unwrap(), lease)),
                    None => drop(self.seen.leases.remove(&mac.parse().unwrap())),
                }
            }
        }
        self.holds(&before);
    }

    fn holds(&self, before: &BTreeMap<BootId, Pin>) {
        let mut addresses = BTreeMap::new();
        for lease in self.seen.leases.values() {
            if let Some(other) = addresses.insert(lease.address, lease.mac) {
                self.fail(&format!("{} is leased to {other} and to {}", lease.address, lease.mac));
            }
        }
        let mut owners = BTreeMap::new();
        for (mac, id) in
            self.seen.machines.values().flat_map(|record| record.macs.iter().map(|mac| (mac, record.id)))
        {
            if let Some(other) = owners.insert(mac, id) {
                self.fail(&format!("{mac} is in the machines {other} and {id}"));
            }
        }
        let mut of: BTreeMap<MachineId, Vec<&Pin>> = BTreeMap::new();
        self.seen.pins.values().for_each(|pin| of.entry(pin.machine).or_default().push(pin));
        for (machine, pins) in &of {
            let mounted = pins.iter().filter(|pin| pin.is_mounted()).count();
            let made: BTreeSet<u64> = pins.iter().map(|pin| pin.made).collect();
            if mounted > MOST || pins.len() > MOST.max(mounted + 1) {
                self.fail(&format!("{machine} has {} pins, {mounted} of them mounted", pins.len()));
            }
            if made.len() < pins.len() {
                self.fail(&format!("two plans of {machine} have one time: neither is the later"));
            }
            if !self.seen.machines.contains_key(machine) {
                self.fail(&format!("{machine} has pins and no record"));
            }
        }
        for (boot, pin) in
            before.iter().filter(|(boot, pin)| pin.is_mounted() && !self.seen.pins.contains_key(*boot))
        {
            let mounted = of.get(&pin.machine).into_iter().flatten().filter(|pin| pin.is_mounted());
            if mounted.count() == 0 && !self.seen.released.contains(&pin.machine) {
                self.fail(&format!("the mounted root of {boot} is lost, and nobody let go of it"));
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum What {
    Boot,
    Mount,
    Up,
    Release,
    Tick,
}

/// Something that one server is asked.
#[derive(Clone)]
struct Operation {
    machines: Arc<Machines>,
    what: What,
    number: usize,
    mac: Mac,
    address: Ipv4Addr,
    told: Option<(String, BootId, ViewId)>,
}

impl Operation {
    /// What the client is told; nothing where it is refused.
    async fn make(self) -> Option<String> {
        let peer = SocketAddr::new(IpAddr::V4(self.address), 700);
        match (self.what, &self.told) {
            (What::Boot, _) => {
                let name = format!("boot/{}.ipxe", self.mac.dashed());
                match self.machines.resource(peer.ip(), &name, Via::Http(Ask::Whole)).await? {
                    Resource::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok(),
                    Resource::File { .. } => None,
                }
            }
            (What::Mount, Some((path, ..))) => {
                self.machines.mount(peer, path.as_bytes()).await.ok().map(|_| String::new())
            }
            (What::Up, Some((_, boot, view))) => {
                self.machines.heard(&Saying { peer, view: *view, text: format!("{boot}.up") }).await;
                None
            }
            (What::Release, _) => {
                self.machines.release(&self.mac.to_string()).await.ok().map(|_| String::new())
            }
            (What::Tick, _) => {
                self.machines.tick().await;
                None
            }
            _ => None,
        }
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
    println!("{done} steps: {counts:?}");
    let least = |what, share| counts.get(what).is_some_and(|count| *count as u64 >= done / share);
    assert!(least("ACK", 20) && least("boots", 100) && least("mounts", 200), "{counts:?}");
}
