//! A server over two networks and a proxy's, told anything in any order: requests, time that passes, writes and probes that
//! come back, another site.
//!
//! Input: the networks, then events. What must hold of every reply: it is read as a reply by its client and as no request by
//! another server, fits what its client takes, gives an address of that network that is no server's and no exclusion's, and
//! while a lease runs nobody else gets its address.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

use oneroot_dhcp::{
    BootFile, Claim, Client, CommitError, Engine, MessageType, Now, Overheard, Policy, ProbeResult, Received,
    Reply, Request, Reservation, Revision, Step, Subnet,
};
use oneroot_ids::Mac;
use oneroot_testkit::Tape;

use super::packets::{message, option, plain, some_option};

/// Events of one input at most.
const EVENTS: usize = 200;
/// What may be under way at a time; what comes back late comes back in any order.
const UNDER_WAY: usize = 4096;

/// A site with an answer to everything, and long ones.
struct Site {
    serve_unknown: bool,
}

impl Policy for Site {
    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        let [.., last] = mac.bytes();
        let address = (last == 1).then_some(Ipv4Addr::new(10, 0, 2, 1));
        (last < 3).then(|| Reservation { address, hostname: Some("x".repeat(usize::from(last) * 100)) })
    }
    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        (address == Ipv4Addr::new(10, 0, 2, 1)).then(|| mac(1))
    }
    fn serve_unknown(&self) -> bool {
        self.serve_unknown
    }
    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        let length = if client.ipxe { 200 } else { 20 };
        client.boots().then(|| BootFile { server, file: "y".repeat(length) })
    }
    fn claim(&self, _: Ipv4Addr) -> Option<Claim> {
        None
    }
    fn moved(&self) -> Vec<Ipv4Addr> {
        vec![]
    }
    fn held_by(&self, _: Mac) -> Option<Ipv4Addr> {
        None
    }
    fn replaced(&self, _: Mac, _: Mac) -> bool {
        false
    }
}

fn mac(last: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, last]).unwrap()
}

fn subnet(number: u8, bits: u8) -> Subnet {
    Subnet {
        network: format!("10.{number}.0.0/16").parse().unwrap(),
        server: Ipv4Addr::new(10, number, 0, 1),
        router: None,
        dns: vec![Ipv4Addr::new(10, 0, 0, 1); usize::from(bits & 1) * 60],
        ntp: vec![],
        domain: (bits & 2 != 0).then(|| "x".repeat(200)),
        // Six addresses but for the exclusion, and more macs than that.
        pool: Some((Ipv4Addr::new(10, number, 1, 0), Ipv4Addr::new(10, number, 1, 7))),
        exclude: vec![(Ipv4Addr::new(10, number, 1, 3), Ipv4Addr::new(10, number, 1, 4))],
        reserved: vec![],
        named: u32::from(bits & 4 != 0),
        lease_secs: 600,
        mtu: if bits & 8 != 0 { 576 } else { 1500 },
        authoritative: bits & 16 != 0,
        proxy: number == 2,
    }
}

fn subnets(tape: &mut Tape<'_>) -> Vec<Subnet> {
    (0..=tape.byte() % 3).map(|number| subnet(number, tape.byte())).collect()
}

struct World {
    engine: Engine,
    site: Site,
    now: Now,
    /// Writes that are under way: of whose lease, and when that is over.
    commits: VecDeque<(u64, Mac, u64)>,
    probes: VecDeque<u64>,
    revision: u64,
    /// Addresses by the last ACK: whose, and until when.
    given: HashMap<Ipv4Addr, (Mac, u64)>,
    /// The requests that wait for a write or a probe, for their replies: the latest of each NIC.
    asked: HashMap<Mac, Request>,
}

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let site = Site { serve_unknown: tape.byte() & 1 == 0 };
    let mut world = World {
        engine: Engine::new(subnets(&mut tape), []),
        site,
        now: Now { wall: 1_000_000, sure_since: 0, mono: 0 },
        commits: VecDeque::new(),
        probes: VecDeque::new(),
        revision: 0,
        given: HashMap::new(),
        asked: HashMap::new(),
    };
    for _ in 0..EVENTS {
        if tape.is_empty() {
            break;
        }
        world.event(&mut tape);
        assert!(world.commits.len() + world.probes.len() <= UNDER_WAY);
    }
}

impl World {
    fn event(&mut self, tape: &mut Tape<'_>) {
        match tape.below(12) {
            0..=5 => self.datagram(&made(tape), tape),
            6 => self.datagram(tape.counted(), tape),
            7 => {
                let seconds = tape.pick(&[1, 5, 61, 301, 601, 100_000]);
                self.now.wall += seconds;
                self.now.mono += seconds * 1000;
            }
            8 | 9 => self.written(tape),
            10 => {
                let Some(token) = self.probes.pop_front() else { return };
                let found = tape.pick(&[
                    ProbeResult::Silent,
                    ProbeResult::Answered,
                    ProbeResult::Unable,
                    ProbeResult::Mac(mac(1)),
                ]);
                let step = self.engine.probed(self.now, &self.site, token, found);
                self.take(step);
            }
            _ => {
                if tape.byte() & 1 == 0 {
                    self.engine.set_subnets(subnets(tape));
                } else if let Some(step) = self.engine.overdue(self.now) {
                    self.take(step);
                }
            }
        }
    }

    fn datagram(&mut self, payload: &[u8], tape: &mut Tape<'_>) {
        let links = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)];
        let link = tape.below(4);
        let received = Received { payload, via: links.get(link..=link).unwrap_or_default() };
        let request = Request::parse(payload).ok();
        if let Some(request) = &request {
            // Who gives an address back, or says that another has it, may see it given on.
            if matches!(request.kind, MessageType::Release | MessageType::Decline) {
                self.given.retain(|_, (whose, _)| *whose != request.mac);
            }
            self.asked.insert(request.mac, request.clone());
        }
        let on_4011 = tape.byte() % 8 == 7;
        let step = if on_4011 {
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, tape.byte()), 4011);
            self.engine.handle_4011(self.now, &self.site, received, from)
        } else {
            self.engine.handle(self.now, &self.site, received)
        };
        if request.is_none() {
            assert!(matches!(step, Step::Dropped(_)), "an answer to what is no request: {step:?}");
        }
        self.take(step);
    }

    /// A write has come back. What was in its way is told first, as the engine asks for it.
    fn written(&mut self, tape: &mut Tape<'_>) {
        let Some((token, mac, over)) = self.commits.pop_front() else { return };
        self.revision += 1;
        let result = match tape.below(4) {
            0 => Err(CommitError::Failed),
            1 => {
                self.given.retain(|_, (whose, _)| *whose != mac);
                self.engine.learn(mac, None);
                Err(CommitError::Conflict)
            }
            _ => Ok(Revision(self.revision)),
        };
        let step = self.engine.committed(token, result);
        self.take(step);
        // A client counts from when it asked (RFC 2131 §4.4.1), which may be long ago where a disk was slow.
        for (_, until) in self.given.values_mut().filter(|(whose, _)| *whose == mac) {
            *until = over.min(*until);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Reply(reply) => self.judge(&reply),
            Step::Commit { token, change } => {
                assert!(self.commits.iter().all(|(other, ..)| *other != token), "a token twice");
                self.commits.push_back((token, change.put.mac, change.put.expires));
            }
            Step::Probe { token, .. } => {
                assert!(!self.probes.contains(&token), "a token twice");
                self.probes.push_back(token);
            }
            Step::Dropped(_) => {}
        }
    }

    fn judge(&mut self, reply: &Reply) {
        let bytes = &reply.payload;
        let plain = plain(bytes).unwrap();
        assert!(plain.whole && plain.op == 2, "a reply that is none, or without its end");
        assert_eq!(plain.mac, reply.mac.bytes());
        let heard = Overheard::parse(bytes).unwrap();
        assert_eq!(heard.mac, reply.mac);
        // Another server, or this one, hears it.
        assert!(Request::parse(bytes).is_err(), "a reply that is a request");
        let received = Received { payload: bytes, via: &[] };
        let answer = self.engine.handle(self.now, &self.site, received);
        assert!(matches!(answer, Step::Dropped(_)), "an answer to an answer");
        let takes = self.asked[&reply.mac].max_size.unwrap_or(576).clamp(576, 1500) - 28;
        assert!((300..=usize::from(takes)).contains(&bytes.len()), "{} bytes", bytes.len());
        let kind = plain.once(53).unwrap();
        let yiaddr = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        if kind == [6] || yiaddr.is_unspecified() {
            assert!(yiaddr.is_unspecified(), "a NAK with an address");
            return;
        }
        self.judge_address(reply.mac, yiaddr, kind == [5], plain.once(51));
    }

    fn judge_address(&mut self, whose: Mac, yiaddr: Ipv4Addr, is_ack: bool, lease: Option<&[u8]>) {
        let [ten, number, third, last] = yiaddr.octets();
        assert!(ten == 10 && number < 2, "{yiaddr} is in no network that gives addresses");
        let pooled = third == 1 && last < 8 && !matches!(last, 3 | 4);
        assert!(pooled || (yiaddr, whose) == (Ipv4Addr::new(10, 0, 2, 1), mac(1)), "{yiaddr} is nobody's");
        if let Some((other, until)) = self.given.get(&yiaddr) {
            assert!(*other == whose || *until <= self.now.wall, "{yiaddr} is {other}'s, and {whose} gets it");
        }
        if is_ack {
            let secs = u32::from_be_bytes(lease.unwrap().try_into().unwrap());
            // A NIC has one lease.
            self.given.retain(|_, (other, _)| *other != whose);
            self.given.insert(yiaddr, (whose, self.now.wall + u64::from(secs)));
        }
    }
}

fn made(tape: &mut Tape<'_>) -> Vec<u8> {
    let whose = [2, 0, 0, 0, 0, 1 + tape.byte() % 10];
    let kind = tape.pick(&[1, 3, 3, 1, 4, 7, 8, 2]);
    let address = |tape: &mut Tape<'_>| {
        if tape.byte() & 1 == 0 { [0; 4] } else { [10, tape.byte() % 3, 1, tape.byte() % 9] }
    };
    let (ciaddr, giaddr) = (address(tape), address(tape));
    let mut options = option(53, &[kind]);
    // What most clients say: the address that they have or were offered, in this network.
    if tape.byte() & 1 == 1 {
        options.extend(option(50, &[10, tape.byte() % 2, 1, tape.byte() % 8]));
        options.extend(option(54, &[10, tape.byte() % 2, 0, 1]));
    }
    for _ in 0..tape.byte() % 4 {
        options.extend(some_option(tape));
    }
    options.push(255);
    message(whose, ciaddr, giaddr, &options[..options.len().min(1200)])
}

/// Each machine asks, chooses, renews, gives back and declines; then time passes and others come.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut found = vec![];
    for networks in 0..3 {
        for bits in [0, 1, 2, 4, 8, 16, 31] {
            let mut script = vec![bits & 1, networks, bits, bits, bits];
            for machine in 0..10 {
                // DISCOVER, then REQUEST of an address; the write comes back; time passes.
                script.extend([0, machine, 0, 0, 0, 0, 0, 0, 0]);
                script.extend([0, machine, 1, 0, 0, 1, 0, machine % 8, 0, 0, 0, 0]);
                script.extend([8, 2, 7, machine % 6]);
                if machine % 3 == 0 {
                    script.extend([0, machine, 4 + machine % 2, 1, 0, machine % 8, 0, 0, 0, 0, 0]);
                    script.extend([10, machine % 4]);
                }
            }
            found.push(script);
        }
    }
    found
}
