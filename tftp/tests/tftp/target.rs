//! What the fuzzer runs (`tftp` of fuzz/), and `corpus` replays: clients, strangers and a shell, in any order.
//!
//! Input: events. What must hold: whoever has shown nothing yet is sent at most three datagrams of 516 bytes for each of its
//! requests, nothing that the server says is answered by a server, what a client gets is the file's own bytes, a name
//! that is asked for stays below the top, and every transfer ends.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use oneroot_testkit::Tape;
use oneroot_tftp::{Engine, Limits, MAX_RESENDS_UNPROVEN, Now, Outcome, Peer, SessionId, Step, TftpError};

use super::files::{self, Made};
use super::wire::{Answer, decode};

const EVENTS: usize = 300;
const LIMITS: Limits = Limits { mtu: 1500, windowsize: 16, sessions: 6, per_address: 3 };
/// The largest datagram: a block, and what stands before it.
const LARGEST: usize = 4 + 1468;
/// What goes to an address that may be forged: a block of 512 bytes at most.
const LARGEST_UNPROVEN: usize = 516;

#[derive(Default)]
struct World {
    now: u64,
    ids: Vec<(SessionId, Peer)>,
    /// Of those that live: requests so far, datagrams to the peer, and whether it has answered one.
    alive: HashMap<SessionId, (usize, usize, bool)>,
    /// Those that the shell has opened, and so can't refuse any more.
    opened: HashSet<SessionId>,
    /// Block sizes that were ever granted: a request that is repeated may change it.
    blksizes: HashMap<SessionId, Vec<usize>>,
}

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let mut engine = Engine::with_limits(LIMITS);
    let mut world = World::default();
    for _ in 0..EVENTS {
        if tape.is_empty() {
            break;
        }
        world.event(&mut engine, &mut tape);
        assert_eq!(engine.sessions(), world.alive.len());
        assert!(engine.sessions() <= LIMITS.sessions);
    }
    while let Some(due) = engine.next_deadline() {
        world.now = world.now.max(due.0);
        let steps = engine.expire(Now(world.now));
        world.take(&mut engine, steps);
    }
    assert!(world.alive.is_empty(), "a transfer that never ends");
}

impl World {
    fn event(&mut self, engine: &mut Engine, tape: &mut Tape<'_>) {
        let now = Now(self.now);
        let steps = match tape.below(10) {
            0 | 1 => {
                let peer = Peer { remote: client(tape.byte()), local: [10, 0, 0, 1].into() };
                let bytes = request(tape);
                self.asked(peer);
                engine.request(now, peer, &bytes)
            }
            2..=5 => {
                let Some((id, peer)) = self.nth(tape) else { return };
                let from = if tape.byte() < 230 { peer.remote } else { client(tape.byte()) };
                let bytes = inside(tape);
                // Whoever answers is there: an acknowledgement cannot come from a forged address.
                if let Some((_, _, proven)) = self.alive.get_mut(&id).filter(|_| from == peer.remote) {
                    *proven |= bytes.starts_with(&[0, 4]);
                }
                engine.packet(now, id, from, &bytes)
            }
            6 | 7 => {
                let Some((id, _)) = self.nth(tape) else { return };
                let size = tape.pick(&[0, 1, 511, 512, 513, 70_000, 40_000_000, u64::MAX]);
                let made = Made::new(size);
                if tape.byte() == 1 {
                    made.readable.store(size / 2, std::sync::atomic::Ordering::Relaxed);
                }
                self.opened.insert(id);
                engine.opened(now, id, Box::new(made))
            }
            8 => {
                let Some((id, _)) = self.nth(tape).filter(|(id, _)| !self.opened.contains(id)) else {
                    return;
                };
                engine.refused(now, id, tape.pick(&[TftpError::Access, TftpError::NotFound]))
            }
            _ => {
                self.now += tape.pick(&[1, 500, 1_000, 2_001, 8_000, 31_000]);
                engine.expire(Now(self.now))
            }
        };
        self.take(engine, steps);
    }

    /// The n-th transfer, counted from the newest; living or over.
    fn nth(&self, tape: &mut Tape<'_>) -> Option<(SessionId, Peer)> {
        self.ids.iter().rev().nth(usize::from(tape.byte() % 8)).copied()
    }

    /// A repeated request starts its transfer anew, which is worth a datagram.
    fn asked(&mut self, peer: Peer) {
        for (id, its) in &self.ids {
            if *its == peer
                && let Some((requests, ..)) = self.alive.get_mut(id)
            {
                *requests += 1;
            }
        }
    }

    fn take(&mut self, engine: &mut Engine, steps: Vec<Step>) {
        assert!(steps.len() <= 32 * 2 + 4, "{} steps", steps.len());
        let sent = |step: &Step| if let Step::Send { datagrams, .. } = step { datagrams.count() } else { 1 };
        let sent: usize = steps.iter().map(sent).sum();
        assert!(sent <= 32 * 17 + 4, "{sent} datagrams and steps");
        for step in steps {
            match step {
                Step::Open { session, peer, name } => {
                    let parts = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
                    assert!(parts && !name.contains(['\\', '\0']) && name.len() <= 512, "{name:?}");
                    self.ids.push((session, peer));
                    assert!(self.alive.insert(session, (1, 0, false)).is_none(), "an id is used twice");
                }
                Step::Send { session, datagrams } => {
                    for bytes in datagrams.iter() {
                        self.sent(session, bytes);
                        self.heard(engine, bytes);
                    }
                }
                Step::Fetch { .. } => panic!("all of it is in memory"),
                Step::Stray { bytes, .. } => {
                    assert!(matches!(decode(&bytes), Answer::Error(_)) && bytes.len() <= 128);
                    self.heard(engine, &bytes);
                }
                Step::Ended { session, outcome } => {
                    assert!(self.alive.remove(&session).is_some(), "ended twice");
                    assert!(
                        !matches!(outcome, Outcome::Completed { bytes: u64::MAX }),
                        "more than can be sent"
                    );
                }
            }
        }
    }

    fn sent(&mut self, id: SessionId, bytes: &[u8]) {
        let (requests, datagrams, proven) = self.alive.get_mut(&id).unwrap();
        *datagrams += 1;
        assert!(bytes.len() <= if *proven { LARGEST } else { LARGEST_UNPROVEN }, "{} bytes", bytes.len());
        let most = *requests + usize::from(MAX_RESENDS_UNPROVEN);
        assert!(*proven || *datagrams <= most, "{datagrams} datagrams for {requests} requests");
        match decode(bytes) {
            Answer::Data(block, data) => {
                let granted = self.blksizes.get(&id).into_iter().flatten().copied().chain([512]);
                // Events are too few for a block whose number has more than the wire's 16 bits.
                let is_files = |blksize: usize| {
                    let offset = (u64::from(block) - 1) * blksize as u64;
                    data.len() <= blksize && files::bytes(offset, data.len()) == data
                };
                assert!(granted.into_iter().any(is_files), "block {block} has other bytes than the file");
            }
            Answer::Oack(words) => {
                let granted = words.chunks(2).find(|pair| pair[0] == "blksize");
                self.blksizes
                    .entry(id)
                    .or_default()
                    .extend(granted.map(|pair| pair[1].parse::<usize>().unwrap()));
            }
            Answer::Error(_) => {}
        }
    }

    /// Port 69 of a server hears what a server said.
    fn heard(&self, engine: &mut Engine, bytes: &[u8]) {
        let peer = Peer { remote: client(255), local: [10, 0, 0, 1].into() };
        let answer = engine.request(Now(self.now), peer, bytes);
        assert_eq!(answer, [], "an answer to an answer");
    }
}

fn client(number: u8) -> SocketAddr {
    SocketAddr::new([10, 0, 0, number % 4].into(), 1000 + u16::from(number / 64))
}

fn request(tape: &mut Tape<'_>) -> Vec<u8> {
    if tape.byte() & 7 == 7 {
        return tape.counted().to_vec();
    }
    let name = if tape.byte() & 3 == 3 {
        tape.counted()
    } else {
        tape.pick(&[&b"a"[..], b"/b/../c", b"\\d\\e", b"./f\xff"])
    };
    let mode = tape.pick(&[&b"octet"[..], b"netascii", b"mail", b"OCTET"]);
    let mut bytes = [&[0, tape.pick(&[1, 1, 1, 2])][..], name, b"\0", mode, b"\0"].concat();
    for _ in 0..tape.byte() % 5 {
        let option = tape.pick(&["blksize", "WindowSize", "timeout", "tsize", "x"]);
        let value = tape.pick(&[0, 1, 8, 64, 512, 1024, 1468, 9000, 65_464, 65_535]);
        bytes.extend(format!("{option}\0{value}\0").bytes());
    }
    bytes
}

fn inside(tape: &mut Tape<'_>) -> Vec<u8> {
    match tape.below(8) {
        0..=4 => vec![0, 4, 0, tape.byte()],
        5 => vec![0, 4, tape.byte(), tape.byte()],
        6 => vec![0, 5, 0, tape.byte(), 0],
        _ => tape.counted().to_vec(),
    }
}

/// A request with each option, its transfer opened with each size, acknowledged to the end; then others.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut found = vec![];
    for options in 0..5 {
        for size in 0..8 {
            let mut script = vec![0, 1, 0, 0, 0, 0, 0, options];
            (0..options).for_each(|option| script.extend([option, 3 + size % 5]));
            script.extend([6, 0, size, 0]);
            for block in 0..20 {
                script.extend([2, 0, 0, 0, block]);
            }
            script.extend([9, 3, 0, 65, 7, 2, 0, 1, 9, 5]);
            found.push(script);
        }
    }
    found
}
