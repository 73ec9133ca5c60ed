//! Whatever arrives, in whatever order: no panic, bounded answers, bounded state, and it all ends.

use std::collections::HashSet;
use std::net::SocketAddr;

use oneroot_tftp::{Content, Engine, Limits, Now, Peer, SessionId, Step, TftpError};
use proptest::prelude::*;

use crate::files::{Cold, Made};
use crate::wire;

#[derive(Debug, Clone)]
enum Event {
    Request(u8, Vec<u8>),
    /// To the port of the n-th transfer, from this client.
    Packet(usize, u8, Vec<u8>),
    Opened(usize, u64),
    /// A file of which nothing is in memory.
    OpenedCold(usize, u64),
    /// What was asked for, from this place on; or it can't be read.
    Fetched(usize, Option<u64>),
    Refused(usize),
    Wait(u64),
}

fn client(number: u8) -> SocketAddr {
    SocketAddr::new([10, 0, 0, number / 4].into(), 1000 + u16::from(number % 4))
}

/// Mostly almost right, or nothing beyond the first check would be reached.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => proptest::collection::vec(any::<u8>(), 0..600),
        4 => (0_u16..70).prop_map(|block| wire::encode(&["ack", &block.to_string()])),
        1 => any::<u16>().prop_map(|block| wire::encode(&["ack", &block.to_string()])),
        1 => any::<u16>().prop_map(|code| wire::encode(&["error", &code.to_string()])),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![Just("blksize"), Just("WindowSize"), Just("timeout"), Just("tsize"), Just("x")];
    let options = proptest::collection::vec((option, 0_u32..70_000), 0..5);
    prop_oneof![
        1 => datagram(),
        6 => ("[a-c]", options).prop_map(|(name, options)| {
            let mut bytes = wire::encode(&["rrq", &name, "octet"]);
            for (name, value) in options {
                bytes.extend(format!("{name}\0{value}\0").bytes());
            }
            bytes
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..12, request()).prop_map(|(client, bytes)| Event::Request(client, bytes)),
        6 => (0_usize..40, 0_u8..12, datagram()).prop_map(|(n, client, bytes)| Event::Packet(n, client, bytes)),
        3 => (0_usize..40, prop_oneof![0_u64..100_000, any::<u64>()]).prop_map(|(n, size)| Event::Opened(n, size)),
        2 => (0_usize..40, 0_u64..100_000).prop_map(|(n, size)| Event::OpenedCold(n, size)),
        3 => (0_usize..40, proptest::option::weighted(0.9, 0_u64..3_000)).prop_map(|(n, from)| Event::Fetched(n, from)),
        1 => (0_usize..40).prop_map(Event::Refused),
        2 => (0_u64..20_000).prop_map(Event::Wait),
    ]
}

/// A file with two thousand bytes of it in memory.
fn cold(size: u64, from: u64) -> Cold {
    Cold { file: Made::new(size), memory: from..from + 2_000 }
}

#[derive(Default)]
struct Shell {
    ids: Vec<(SessionId, Peer)>,
    alive: usize,
    fetching: HashSet<SessionId>,
}

impl Shell {
    fn take(&mut self, steps: Vec<Step>, most: usize) {
        let sent = |step: &Step| if let Step::Send { datagrams, .. } = step { datagrams.count() } else { 1 };
        let sent: usize = steps.iter().map(sent).sum();
        assert!(sent <= most, "{sent} datagrams and steps");
        for step in steps {
            match step {
                Step::Open { session, peer, .. } => {
                    assert!(self.ids.iter().all(|(id, _)| *id != session), "an id is never used twice");
                    self.ids.push((session, peer));
                    self.alive += 1;
                }
                Step::Send { datagrams, .. } => {
                    assert!(datagrams.iter().all(|bytes| bytes.len() <= 4 + 1468));
                }
                Step::Stray { bytes, .. } => assert!(bytes.len() <= 4 + 1468),
                Step::Fetch { session, .. } => assert!(self.fetching.insert(session), "one part at a time"),
                Step::Ended { .. } => self.alive -= 1,
            }
        }
    }

    /// The n-th transfer, counted from the newest; living or over.
    fn id(&self, n: usize) -> Option<SessionId> {
        self.ids.iter().rev().nth(n).map(|(id, _)| *id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_sequence_of_packets_breaks_the_engine(events in proptest::collection::vec(event(), 0..120)) {
        let limits = Limits { sessions: 8, per_address: 3, ..Limits::default() };
        let mut engine = Engine::with_limits(limits);
        let mut shell = Shell::default();
        let mut now = 0;
        for event in events {
            let steps = match event {
                Event::Request(from, bytes) => {
                    engine.request(Now(now), Peer { remote: client(from), local: [10, 0, 0, 1].into() }, &bytes)
                }
                Event::Packet(n, from, bytes) => match shell.ids.iter().rev().nth(n) {
                    // Mostly the right client: a stranger gets no further than one check.
                    Some((id, peer)) if from < 10 => engine.packet(Now(now), *id, peer.remote, &bytes),
                    Some((id, _)) => engine.packet(Now(now), *id, client(from), &bytes),
                    None => Vec::new(),
                },
                Event::Opened(n, size) => match shell.id(n) {
                    Some(id) => engine.opened(Now(now), id, Box::new(Made::new(size))),
                    None => Vec::new(),
                },
                Event::OpenedCold(n, size) => match shell.id(n) {
                    Some(id) => engine.opened(Now(now), id, Box::new(cold(size, 0))),
                    None => Vec::new(),
                },
                Event::Fetched(n, from) => match shell.id(n) {
                    Some(id) => {
                        shell.fetching.remove(&id);
                        let content = from.map(|from| Box::new(cold(5_000, from)) as Box<dyn Content>);
                        engine.fetched(Now(now), id, content)
                    }
                    None => Vec::new(),
                },
                Event::Refused(n) => match shell.id(n) {
                    Some(id) => engine.refused(Now(now), id, TftpError::Access),
                    None => Vec::new(),
                },
                Event::Wait(milliseconds) => {
                    now += milliseconds;
                    let steps = engine.expire(Now(now));
                    shell.take(steps, 8 * 64);
                    continue;
                }
            };
            shell.take(steps, 64);
            prop_assert_eq!(engine.sessions(), shell.alive);
            prop_assert!(engine.sessions() <= 8);
        }
        while let Some(due) = engine.next_deadline() {
            now = now.max(due.0);
            shell.take(engine.expire(Now(now)), 8 * 64);
        }
        prop_assert_eq!(shell.alive, 0, "every transfer ends, and says so");
    }
}
