//! Runs a conversation written as text. tests/conversations/README.md describes the language.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use oneroot_tftp::{Content, Engine, Limits, Now, Outcome, Peer, SessionId, Step, TftpError};

use crate::files::{self, Cold, Made};
use crate::wire::{self, Answer};

/// One transfer as its client sees it.
struct Seen {
    client: SocketAddr,
    file: String,
    blksize: usize,
    /// The last block seen, counted from 1 and not wrapped.
    block: u64,
}

struct Conversation {
    engine: Engine,
    limits: Limits,
    now: u64,
    from: SocketAddr,
    files: HashMap<String, Made>,
    /// How much is in memory of a file that has been fetched.
    cold: HashMap<String, u64>,
    /// Where contents are wanted, until they have been fetched.
    wanted: HashMap<SessionId, u64>,
    held: Option<Vec<(SessionId, String)>>,
    sessions: HashMap<SessionId, Seen>,
    ports: HashMap<SocketAddr, SessionId>,
    /// What was sent and not yet checked: to whom, and in words.
    sent: VecDeque<(SocketAddr, String)>,
}

/// Runs all lines; panics at the first one that does not hold, with its number.
pub(crate) fn run(name: &str, text: &str) {
    let mut talk = Conversation {
        engine: Engine::new(),
        limits: Limits::default(),
        now: 1_000_000,
        from: "10.0.0.7:2070".parse().unwrap(),
        files: HashMap::new(),
        cold: HashMap::new(),
        wanted: HashMap::new(),
        held: None,
        sessions: HashMap::new(),
        ports: HashMap::new(),
        sent: VecDeque::new(),
    };
    let mut checks = 0;
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = format!("{name}:{}: {line}", number + 1);
        match words.split_first() {
            None => {}
            Some((word, _)) if word.starts_with('#') => {}
            Some((&"<", expected)) => {
                checks += 1;
                talk.expect(expected, &at);
            }
            Some((&"acks", ["until", until])) => talk.acks(until, &at),
            Some((word, rest)) => {
                assert!(talk.sent.is_empty(), "{at}\n  not checked: {:?}", talk.sent);
                talk.act(word, rest, &at);
            }
        }
    }
    assert!(talk.sent.is_empty(), "{name} ends with packets that are not checked: {:?}", talk.sent);
    assert!(checks > 0, "{name} checks nothing");
}

impl Conversation {
    fn act(&mut self, word: &str, rest: &[&str], at: &str) {
        match (word, rest) {
            ("file", [name, size]) => {
                self.files.insert((*name).into(), Made::new(size.parse().expect(at)));
            }
            ("cold", [name, count]) => {
                self.cold.insert((*name).into(), count.parse().expect(at));
            }
            ("fetched", []) => self.fetched(true, at),
            ("unreadable", []) => self.fetched(false, at),
            ("break", [name]) => self.files.get_mut(*name).expect(at).broken = true,
            ("shrink", [name, size]) => self.files[*name].readable.store(size.parse().expect(at), Relaxed),
            ("limit", [which, value]) => {
                match *which {
                    "mtu" => self.limits.mtu = value.parse().expect(at),
                    "windowsize" => self.limits.windowsize = value.parse().expect(at),
                    "sessions" => self.limits.sessions = value.parse().expect(at),
                    "per-address" => self.limits.per_address = value.parse().expect(at),
                    _ => panic!("{at}: not understood"),
                }
                assert!(self.sessions.is_empty(), "{at}: too late");
                self.engine = Engine::with_limits(self.limits);
            }
            ("from", [client]) => self.from = client.parse().expect(at),
            ("hold", []) => self.held = Some(Vec::new()),
            ("open", []) => {
                for (session, name) in self.held.take().expect(at) {
                    self.open(session, &name);
                }
            }
            ("wait", [milliseconds]) => self.wait(milliseconds.parse().expect(at)),
            (">", ["69", packet @ ..] | packet @ ["rrq" | "wrq", ..]) => {
                let peer = Peer { remote: self.from, local: "10.0.0.1".parse().unwrap() };
                let steps = self.engine.request(Now(self.now), peer, &wire::encode(packet));
                self.take(steps);
            }
            (">", ["at", client, packet @ ..]) => self.inside(client.parse().expect(at), packet, at),
            (">", packet) => self.inside(self.from, packet, at),
            _ => panic!("{at}: not understood"),
        }
    }

    /// A packet to the port of that client's transfer, be it alive or over.
    fn inside(&mut self, client: SocketAddr, packet: &[&str], at: &str) {
        let session = *self.ports.get(&client).unwrap_or_else(|| panic!("{at}: no transfer"));
        let steps = self.engine.packet(Now(self.now), session, self.from, &wire::encode(packet));
        self.take(steps);
    }

    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(due) = self.engine.next_deadline().filter(|due| due.0 <= end) {
            self.now = self.now.max(due.0);
            let steps = self.engine.expire(Now(self.now));
            assert!(
                !steps.is_empty() || self.engine.next_deadline() != Some(due),
                "the deadline stands still"
            );
            self.take(steps);
        }
        self.now = end;
    }

    fn open(&mut self, session: SessionId, name: &str) {
        let steps = match self.files.get(name) {
            Some(file) => {
                let file = file.clone();
                let content: Box<dyn Content> = match self.cold.get(name) {
                    Some(_) => Box::new(Cold { file, memory: 0..0 }),
                    None => Box::new(file),
                };
                self.engine.opened(Now(self.now), session, content)
            }
            None => self.engine.refused(Now(self.now), session, TftpError::NotFound),
        };
        self.take(steps);
    }

    /// What the speaker's transfer has asked for is in memory now, or can't be read.
    fn fetched(&mut self, is_read: bool, at: &str) {
        let session = self.ports[&self.from];
        let start = self.wanted.remove(&session).expect(at);
        let name = &self.sessions[&session].file;
        let (file, count) = (self.files[name].clone(), self.cold[name]);
        let content = Cold { file, memory: start..start + count };
        let content = is_read.then(|| Box::new(content) as Box<dyn Content>);
        let steps = self.engine.fetched(Now(self.now), session, content);
        self.take(steps);
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Open { session, peer, name } => {
                    let client = peer.remote;
                    self.sessions
                        .insert(session, Seen { client, file: name.clone(), blksize: 512, block: 0 });
                    self.ports.insert(client, session);
                    match &mut self.held {
                        Some(held) => held.push((session, name)),
                        None => self.open(session, &name),
                    }
                }
                Step::Send { session, datagrams } => {
                    for bytes in datagrams.iter() {
                        let words = self.words(session, bytes);
                        self.sent.push_back((self.sessions[&session].client, words));
                    }
                }
                Step::Fetch { session, offset } => {
                    let client = self.sessions[&session].client;
                    assert!(self.wanted.insert(session, offset).is_none(), "one part at a time");
                    self.sent.push_back((client, format!("fetch {offset}")));
                }
                Step::Stray { to, bytes } => {
                    let Answer::Error(code) = wire::decode(&bytes) else { panic!("a stray is an ERROR") };
                    self.sent.push_back((to, format!("stray error {code}")));
                }
                Step::Ended { session, outcome } => {
                    let words = match outcome {
                        Outcome::Completed { bytes } => format!("completed {bytes}"),
                        Outcome::Probed => "probed".into(),
                        Outcome::ClientError { code } => format!("client-error {code}"),
                        Outcome::Refused(cause) => format!("refused {}", cause.code()),
                        Outcome::TimedOut { bytes } => format!("timed-out {bytes}"),
                        Outcome::ReadFailed => "read-failed".into(),
                        Outcome::Evicted => "evicted".into(),
                        Outcome::Replaced => "replaced".into(),
                        Outcome::NeverOpened => "never-opened".into(),
                    };
                    self.sent.push_back((self.sessions[&session].client, format!("ended {words}")));
                }
            }
        }
    }

    /// A packet of a transfer in words. The bytes of a block must be those of its place in the file.
    fn words(&mut self, session: SessionId, bytes: &[u8]) -> String {
        let seen = self.sessions.get_mut(&session).unwrap();
        match wire::decode(bytes) {
            Answer::Error(code) => format!("error {code}"),
            Answer::Oack(options) => {
                let blksize = options.chunks(2).find(|pair| pair[0] == "blksize");
                seen.blksize = blksize.map_or(512, |pair| pair[1].parse().unwrap());
                seen.block = 0;
                format!("oack {}", options.join(" "))
            }
            Answer::Data(number, data) => {
                let step = i64::from(number.wrapping_sub(seen.block as u16) as i16);
                seen.block = seen.block.checked_add_signed(step).unwrap();
                let offset = (seen.block - 1) * seen.blksize as u64;
                assert!(data.len() <= seen.blksize, "a block is too long");
                assert!(offset + data.len() as u64 <= self.files[&seen.file].size, "more than the file");
                assert!(data == files::bytes(offset, data.len()), "block {} has wrong bytes", seen.block);
                format!("data {number} {}", data.len())
            }
        }
    }

    /// Acknowledges window after window, until block `until` was sent or (`end`) the transfer has ended.
    fn acks(&mut self, until: &str, at: &str) {
        let session = self.ports[&self.from];
        while self.sent.back().expect(at).1.starts_with("data") {
            let block = self.sessions[&session].block;
            if until != "end" && block >= until.parse().expect(at) {
                return;
            }
            self.sent.clear();
            let steps = self.engine.packet(
                Now(self.now),
                session,
                self.from,
                &wire::encode(&["ack", &(block as u16).to_string()]),
            );
            self.take(steps);
        }
        assert_eq!(until, "end", "{at}: {:?}", self.sent);
    }

    fn expect(&mut self, expected: &[&str], at: &str) {
        let (client, words) = match expected {
            ["nothing"] => return assert!(self.sent.is_empty(), "{at}\n  got {:?}", self.sent),
            ["sessions", count] => return assert_eq!(self.engine.sessions().to_string(), *count, "{at}"),
            ["to", client, words @ ..] => (client.parse().expect(at), words),
            words => (self.from, words),
        };
        let lines = match words {
            // data FIRST-LAST LENGTH
            ["data", blocks, length] if blocks.contains('-') => {
                let (first, last) = blocks.split_once('-').unwrap();
                let (first, last): (u64, u64) = (first.parse().expect(at), last.parse().expect(at));
                (first..=last).map(|block| format!("data {block} {length}")).collect()
            }
            _ => vec![words.join(" ")],
        };
        for line in lines {
            let got = self.sent.pop_front();
            assert_eq!(got, Some((client, line)), "{at}");
        }
    }
}
