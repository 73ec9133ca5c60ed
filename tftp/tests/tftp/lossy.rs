//! Clients of several schools fetch files over a network that drops, doubles and reorders packets. A fetch ends with
//! the file as it is or with a failure that both sides know of; and with nothing dropped it ends with the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use oneroot_tftp::{Content, Engine, Now, Outcome, Peer, SessionId, Step};
use proptest::prelude::*;

use crate::files::{self, Cold, Made};
use crate::wire::{self, Answer};

/// How a fetch goes wrong, and who fetches.
#[derive(Debug, Clone)]
struct Trial {
    size: u64,
    options: Vec<(&'static str, u32)>,
    /// Of a thousand packets.
    dropped: u64,
    doubled: u64,
    /// No more packets are doubled after so many.
    doubled_until: u64,
    /// Longest way through the network in milliseconds; the shortest is 1.
    slowest: u64,
    /// EDK2 answers every block out of order, RFC 7440 one per gap.
    answers_all: bool,
    /// What of the file is in memory at a time, all of it if nothing is said. The disk is as slow as the network.
    memory: Option<u64>,
    seed: u64,
}

fn trial(dropped: impl Strategy<Value = u64>) -> impl Strategy<Value = Trial> {
    let option = |name, range| proptest::option::of((Just(name), range));
    let options =
        (option("blksize", 8_u32..1500), option("windowsize", 1_u32..80), option("timeout", 1_u32..4));
    // A block at least, for a block goes out as a whole.
    let memory = proptest::option::of(1500_u64..9_000);
    let moods = (any::<bool>(), memory, any::<u64>());
    (0_u64..40_000, options, dropped, 0_u64..200, 1_u64..300, moods).prop_map(
        |(size, (blksize, windowsize, timeout), dropped, doubled, slowest, (answers_all, memory, seed))| {
            let blocks = size / blksize.map_or(512, |(_, blksize)| u64::from(blksize));
            Trial {
                // Thousands of packets through a lossy network show no more than hundreds.
                size: if blocks > 600 { size / 60 } else { size },
                options: [blksize, windowsize, timeout].into_iter().flatten().collect(),
                dropped,
                doubled,
                doubled_until: u64::MAX,
                slowest,
                answers_all,
                memory,
                seed,
            }
        },
    )
}

/// Xorshift: a network's moods that can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    ToClient(SessionId, Vec<u8>),
    /// To port 69, or to a transfer's port.
    ToServer(Option<SessionId>, Vec<u8>),
    /// What the transfer has asked for from this place on.
    FromDisk(SessionId, u64),
}

struct Network {
    dice: Dice,
    now: u64,
    /// By time of arrival; the number keeps equal times in order.
    under_way: BinaryHeap<Reverse<(u64, u64, Packet)>>,
    count: u64,
}

impl Network {
    fn send(&mut self, trial: &Trial, packet: impl Fn() -> Packet) {
        let doubled = self.count < trial.doubled_until && self.dice.below(1000) < trial.doubled;
        let copies = if doubled { 2 } else { 1 };
        for _ in 0..copies {
            self.count += 1;
            if self.dice.below(1000) >= trial.dropped {
                let arrival = self.now + 1 + self.dice.below(trial.slowest);
                self.under_way.push(Reverse((arrival, self.count, packet())));
            }
        }
    }
}

impl Network {
    fn read(&mut self, trial: &Trial, session: SessionId, offset: u64) {
        self.count += 1;
        let done = self.now + self.dice.below(trial.slowest);
        self.under_way.push(Reverse((done, self.count, Packet::FromDisk(session, offset))));
    }
}

struct Client {
    request: Vec<u8>,
    /// Fixed by the first packet that arrives (RFC 1350 §4).
    session: Option<SessionId>,
    blksize: usize,
    windowsize: u64,
    got: Vec<u8>,
    blocks: u64,
    /// Blocks since the last ACK.
    unanswered: u64,
    gap_told: bool,
    tries: u32,
    patience: u64,
    done: Option<bool>,
}

impl Client {
    fn new(trial: &Trial, now: u64) -> Self {
        let mut request = wire::encode(&["rrq", "f", "octet"]);
        for (name, value) in &trial.options {
            request.extend(format!("{name}\0{value}\0").bytes());
        }
        Self {
            request,
            session: None,
            blksize: 512,
            windowsize: 1,
            got: Vec::new(),
            blocks: 0,
            unanswered: 0,
            gap_told: false,
            tries: 0,
            patience: now + 1500,
            done: None,
        }
    }

    fn ack(&mut self) -> Vec<u8> {
        self.unanswered = 0;
        wire::encode(&["ack", &(self.blocks as u16).to_string()])
    }

    /// Answers a packet, or not.
    fn packet(&mut self, trial: &Trial, now: u64, session: SessionId, bytes: &[u8]) -> Option<Vec<u8>> {
        if *self.session.get_or_insert(session) != session {
            return None;
        }
        match wire::decode(bytes) {
            Answer::Error(_) => {
                self.done.get_or_insert(false);
                None
            }
            Answer::Oack(options) if self.blocks == 0 => {
                self.progress(now);
                for pair in options.chunks(2) {
                    let value: u32 = pair[1].parse().unwrap();
                    let asked = trial.options.iter().find(|(name, _)| *name == pair[0]).unwrap().1;
                    assert!(value <= asked, "more than was asked");
                    match pair[0].as_str() {
                        "blksize" => self.blksize = value as usize,
                        "windowsize" => self.windowsize = u64::from(value),
                        _ => {}
                    }
                }
                Some(self.ack())
            }
            Answer::Oack(_) => None,
            Answer::Data(number, data) if number == (self.blocks + 1) as u16 && self.done.is_none() => {
                self.progress(now);
                self.blocks += 1;
                self.unanswered += 1;
                self.gap_told = false;
                self.got.extend(data);
                if data.len() < self.blksize {
                    self.done = Some(true);
                }
                (self.done.is_some() || self.unanswered >= self.windowsize).then(|| self.ack())
            }
            // The last block again: its ACK was lost.
            Answer::Data(..) if self.done.is_some() => Some(self.ack()),
            Answer::Data(..) => {
                let answers = trial.answers_all || !self.gap_told || self.windowsize == 1;
                self.gap_told = true;
                answers.then(|| self.ack())
            }
        }
    }

    fn progress(&mut self, now: u64) {
        self.tries = 0;
        self.patience = now + 1500;
    }

    /// Nothing came for a while: say the last thing again, up to four times.
    fn impatient(&mut self, now: u64) -> Option<Vec<u8>> {
        self.patience = now + 1500;
        self.tries += 1;
        if self.tries > 4 {
            self.done.get_or_insert(false);
            return None;
        }
        Some(if self.session.is_none() { self.request.clone() } else { self.ack() })
    }
}

/// The outcome on both sides, and how many packets the network was given.
fn fetch(trial: &Trial) -> (Client, Vec<Outcome>, u64) {
    let remote: SocketAddr = "10.0.0.7:2070".parse().unwrap();
    let peer = Peer { remote, local: "10.0.0.1".parse().unwrap() };
    let mut engine = Engine::new();
    let mut network = Network { dice: Dice(trial.seed | 1), now: 0, under_way: BinaryHeap::new(), count: 0 };
    let mut client = Client::new(trial, 0);
    let mut outcomes = Vec::new();
    network.send(trial, || Packet::ToServer(None, client.request.clone()));
    loop {
        let arrival = network.under_way.peek().map(|Reverse((at, ..))| *at);
        let timer = engine.next_deadline().map(|due| due.0);
        let patience = client.done.is_none().then_some(client.patience);
        let Some(next) = [arrival, timer, patience].into_iter().flatten().min() else { break };
        assert!(next < 3_600_000, "a fetch that never ends");
        network.now = network.now.max(next);
        let now = Now(network.now);
        let mut steps = Vec::new();
        if arrival == Some(next) {
            match network.under_way.pop().unwrap().0.2 {
                Packet::ToServer(None, bytes) => steps = engine.request(now, peer, &bytes),
                Packet::ToServer(Some(session), bytes) => steps = engine.packet(now, session, remote, &bytes),
                Packet::FromDisk(session, start) => {
                    let memory = start..start + trial.memory.unwrap();
                    let content = Box::new(Cold { file: Made::new(trial.size), memory });
                    steps = engine.fetched(now, session, Some(content));
                }
                Packet::ToClient(session, bytes) => {
                    if let Some(answer) = client.packet(trial, now.0, session, &bytes) {
                        network.send(trial, || Packet::ToServer(client.session, answer.clone()));
                    }
                }
            }
        } else if timer == Some(next) {
            steps = engine.expire(now);
        } else if let Some(words) = client.impatient(now.0) {
            network.send(trial, || Packet::ToServer(client.session, words.clone()));
        }
        let opened = steps.iter().find_map(|step| match step {
            Step::Open { session, .. } => Some(*session),
            _ => None,
        });
        if let Some(session) = opened {
            let file = Made::new(trial.size);
            let content: Box<dyn Content> = match trial.memory {
                Some(_) => Box::new(Cold { file, memory: 0..0 }),
                None => Box::new(file),
            };
            steps.extend(engine.opened(now, session, content));
        }
        for step in steps {
            match step {
                Step::Send { session, datagrams } => {
                    for bytes in datagrams.iter() {
                        network.send(trial, || Packet::ToClient(session, bytes.to_vec()));
                    }
                }
                Step::Fetch { session, offset } => network.read(trial, session, offset),
                Step::Ended { outcome, .. } => outcomes.push(outcome),
                Step::Open { .. } => {}
                Step::Stray { .. } => panic!("there is no stranger"),
            }
        }
    }
    assert_eq!(engine.sessions(), 0);
    (client, outcomes, network.count)
}

fn whole(trial: &Trial) -> Vec<u8> {
    files::bytes(0, trial.size as usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_fetch_ends_with_the_file_or_with_a_failure_that_is_known(trial in trial(0_u64..400)) {
        let (client, outcomes, _) = fetch(&trial);
        let whole = whole(&trial);
        prop_assert!(whole.starts_with(&client.got), "wrong bytes");
        if client.done == Some(true) {
            prop_assert_eq!(client.got.len(), whole.len());
        }
        prop_assert!(client.done.is_some());
        let only_silence = outcomes.iter().all(|outcome| {
            matches!(outcome, Outcome::Completed { bytes } if *bytes == trial.size)
                || matches!(outcome, Outcome::TimedOut { bytes } if *bytes <= trial.size)
        });
        prop_assert!(only_silence, "{:?}", outcomes);
    }

    #[test]
    fn what_is_only_doubled_or_reordered_arrives(trial in trial(Just(0))) {
        let (client, outcomes, _) = fetch(&trial);
        prop_assert_eq!(client.done, Some(true), "{:?}", outcomes);
        prop_assert!(client.got == whole(&trial));
        prop_assert!(outcomes.contains(&Outcome::Completed { bytes: trial.size }), "{:?}", outcomes);
    }

    #[test]
    fn copies_breed_no_copies(mut trial in trial(Just(0))) {
        // A quick network doubles the first packets, and the client answers each block that it did not expect. From
        // then on each block and each ACK must be sent once: no echo goes round and round.
        (trial.slowest, trial.doubled, trial.doubled_until, trial.answers_all) = (1, 500, 8, true);
        trial.memory = None;
        let (client, _, packets) = fetch(&trial);
        prop_assert_eq!(client.done, Some(true));
        let window = client.windowsize;
        let needed = 2 + client.blocks + client.blocks.div_ceil(window);
        prop_assert!(packets <= needed + 20 + 5 * window, "{} packets, {} needed", packets, needed);
    }
}

#[test]
fn a_few_lost_packets_stop_nobody() {
    for seed in 1_u64..200 {
        let trial = Trial {
            size: 30_000,
            options: vec![("blksize", 1000), ("windowsize", if seed % 2 == 0 { 1 } else { 8 })],
            dropped: 50,
            doubled: 20,
            doubled_until: u64::MAX,
            slowest: 20,
            answers_all: seed % 3 == 0,
            memory: (seed % 5 == 0).then_some(1500),
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let (client, outcomes, _) = fetch(&trial);
        assert!(client.got == whole(&trial), "seed {seed}: {outcomes:?}");
        assert!(outcomes.contains(&Outcome::Completed { bytes: 30_000 }), "seed {seed}: {outcomes:?}");
    }
}
