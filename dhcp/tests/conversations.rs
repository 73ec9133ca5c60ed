//! Scripted conversations: `conversations/*.txt` say what comes in, what must go out, what the store answers, and how
//! time passes. Replies are read with dhcproto's own decoder, which shares no code with our encoder.
//!
//! ```text
//! subnet 10.0.0.0/24 server=10.0.0.1 [router=A] [dns=A,A] [ntp=A,A] [domain=D] [pool=A-A] [exclude=A-A,A-A] [lease=S]
//!        [authoritative] [proxy]     on one line; after the first message, with the lines beside it: a reload
//! no-subnets                         forget them, before the lines of a reload
//! machine MAC NAME [ADDRESS]         the site knows it
//! mtu MAC N                          what its link carries
//! unknown no                         machines that the site does not know get nothing
//! hold MAC ADDRESS | let-go MAC      a running pin
//! keep MAC ADDRESS +60s              a pin that boots, or one that has ended: nobody else gets the address so long
//! replace MAC MAC                    the site has the second NIC in the place of the first
//! > KIND mac=MAC [requested=A] [server=A] [ciaddr=A] [giaddr=A] [via=A,A|none] [flags=8000] [hops=N] [ipxe] [pxe] [http]
//!   [arch=N,N] [class=WORDS] [opt.N=HEX] [from=A:PORT]    via is the first subnet's server if nothing is said; from: came to port 4011
//! > hex BYTES                        anything at all
//! < KIND [yiaddr=A] [ciaddr=A] [siaddr=A] [file=F] [flags=8000] [size=N] [from=A] [route=broadcast|direct:MAC:A|relay:A:P|back:A:P]
//!   [opt.N=HEX|-] [last=N]           last: the option before the end mark
//! < commit MAC ADDRESS [ended] [evict=MAC]    and then: commit ok | commit fail | commit conflict
//!                                    with MAC ADDRESS behind it where it is not the last one, and ends no lease
//! learn MAC ADDRESS +60s | learn MAC nothing    what the store has, before a conflict
//! < probe ADDRESS                    and then: found MAC | found somebody | found nobody | found nothing-out
//! < dropped WORDS                    the reason has these words
//! later                              what was acknowledged and is to be written now: < commit, or: < nothing
//! restarted                          the host was off for an unknown time, just now
//! resting [MAC:A ...]                addresses that were declined
//! time +60s
//! 100x                               the lines from here to `end`, so often
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at its first surprise"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::{Decodable as _, v4};
use oneroot_dhcp::{
    BootFile, Claim, Client, CommitError, Engine, Lease, Now, Policy, ProbeResult, Received, Reservation,
    Revision, Route, Step, Subnet,
};
use oneroot_ids::Mac;

#[derive(Default)]
struct Site {
    machines: HashMap<Mac, Reservation>,
    held: HashMap<Mac, Ipv4Addr>,
    kept: HashMap<Ipv4Addr, (Mac, u64)>,
    moved: RefCell<Vec<Ipv4Addr>>,
    /// The NICs that were taken out, and what took their place.
    replaced: HashMap<Mac, Mac>,
    mtus: HashMap<Mac, u16>,
    refuse_unknown: bool,
}

impl Policy for Site {
    fn mtu(&self, mac: Mac) -> Option<u16> {
        self.mtus.get(&mac).copied()
    }

    fn reservation(&self, mac: Mac) -> Option<Reservation> {
        self.machines.get(&mac).cloned()
    }

    fn reserved(&self, address: Ipv4Addr) -> Option<Mac> {
        self.machines.iter().find(|(_, machine)| machine.address == Some(address)).map(|(mac, _)| *mac)
    }

    fn serve_unknown(&self) -> bool {
        !self.refuse_unknown
    }

    fn boot(&self, client: &Client, server: Ipv4Addr) -> Option<BootFile> {
        let uefi = client.architectures.iter().any(|architecture| [7, 11].contains(architecture));
        let file = match client {
            _ if client.ipxe && !client.without_http => format!("http://{server}/boot/{}.ipxe", client.mac),
            _ if client.http => format!("http://{server}/ipxe.efi"),
            _ if client.pxe && uefi => "ipxe.efi".to_owned(),
            _ if client.is_bios() => "undionly.kpxe".to_owned(),
            _ => return None,
        };
        Some(BootFile { server, file })
    }

    fn claim(&self, address: Ipv4Addr) -> Option<Claim> {
        let runs = self.held.iter().find(|(_, held)| **held == address).map(|(mac, _)| Claim::Runs(*mac));
        runs.or_else(|| self.kept.get(&address).map(|(mac, until)| Claim::Kept(*mac, *until)))
    }

    fn moved(&self) -> Vec<Ipv4Addr> {
        self.moved.take()
    }

    fn held_by(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.held.get(&mac).copied()
    }

    fn replaced(&self, old: Mac, new: Mac) -> bool {
        self.replaced.get(&old) == Some(&new)
    }
}

/// Of `+60s`.
fn seconds(text: &str) -> u64 {
    text.trim_start_matches('+').trim_end_matches('s').parse().unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Words as `key=value`; a word alone has an empty value.
fn words(line: &str) -> Vec<(&str, &str)> {
    line.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect()
}

fn packet(line: &str) -> Vec<u8> {
    if let Some(rest) = line.strip_prefix("hex ") {
        return unhex(rest.split_whitespace().next().unwrap());
    }
    let words = words(line);
    let kind = match words[0].0 {
        "DISCOVER" => 1,
        "REQUEST" => 3,
        "DECLINE" => 4,
        "RELEASE" => 7,
        "INFORM" => 8,
        "BOOTP" => 0,
        other => other.strip_prefix("TYPE-").unwrap().parse().unwrap(),
    };
    let value = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
    let address = |key: &str| value(key).map_or([0; 4], |text| text.parse::<Ipv4Addr>().unwrap().octets());
    let mac: Mac = value("mac").unwrap().parse().unwrap();
    let hops: u8 = value("hops").map_or(0, |text| text.parse().unwrap());
    let mut bytes = vec![1, 1, 6, hops, 0, 0, 0, 42, 0, 0];
    bytes.extend(u16::from_str_radix(value("flags").unwrap_or("0"), 16).unwrap().to_be_bytes());
    bytes.extend(address("ciaddr"));
    bytes.extend([0; 8]);
    bytes.extend(address("giaddr"));
    bytes.extend(mac.bytes());
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    let mut option = |code: u8, data: &[u8]| {
        bytes.extend([code, u8::try_from(data.len()).unwrap()]);
        bytes.extend(data);
    };
    if kind != 0 {
        option(53, &[kind]);
    }
    for (word, value) in &words {
        match *word {
            "requested" => option(50, &address("requested")),
            "server" => option(54, &address("server")),
            "ipxe" => option(77, b"iPXE"),
            "pxe" => option(60, b"PXEClient:Arch:00000:UNDI:002001"),
            "http" => option(60, b"HTTPClient:Arch:00016"),
            "arch" => {
                let all = value.split(',').map(|one| one.parse::<u16>().unwrap().to_be_bytes());
                option(93, all.flatten().collect::<Vec<u8>>().as_slice());
            }
            "class" => option(60, value.as_bytes()),
            word => {
                if let Some(code) = word.strip_prefix("opt.") {
                    option(code.parse().unwrap(), &unhex(value));
                }
            }
        }
    }
    bytes.push(255);
    bytes
}

struct Conversation {
    site: Site,
    subnets: Vec<Subnet>,
    engine: Option<Engine>,
    now: Now,
    step: Option<Step>,
    nothing: bool,
    token: u64,
    /// The tokens of commits, by `MAC ADDRESS`; the last of each.
    commits: HashMap<String, u64>,
    revision: u64,
}

impl Conversation {
    fn line(&mut self, line: &str, at: &str) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let parts: Vec<&str> = rest.split_whitespace().collect();
        match first {
            "subnet" => self.subnet(rest),
            "no-subnets" => self.subnets.clear(),
            "machine" => {
                let address = parts.get(2).map(|address| address.parse().unwrap());
                let machine = Reservation { address, hostname: Some(parts[1].to_owned()) };
                self.site.machines.insert(parts[0].parse().unwrap(), machine);
                self.reload();
            }
            "mtu" => drop(self.site.mtus.insert(parts[0].parse().unwrap(), parts[1].parse().unwrap())),
            "unknown" => self.site.refuse_unknown = rest == "no",
            "replace" => {
                let (old, new) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
                let machine = self.site.machines.remove(&old).unwrap();
                self.site.machines.insert(new, machine);
                self.site.replaced.insert(old, new);
                self.reload();
            }
            "hold" => {
                let address = parts[1].parse().unwrap();
                let before = self.site.held.insert(parts[0].parse().unwrap(), address);
                self.site.moved.borrow_mut().extend(before.into_iter().chain([address]));
            }
            "let-go" => {
                let address = self.site.held.remove(&parts[0].parse().unwrap());
                self.site.moved.borrow_mut().extend(address);
            }
            "keep" => {
                let until = self.now.wall + seconds(parts[2]);
                let address = parts[1].parse().unwrap();
                self.site.kept.insert(address, (parts[0].parse().unwrap(), until));
                self.site.moved.borrow_mut().push(address);
            }
            "restarted" => self.now.sure_since = self.now.wall,
            "time" => {
                self.now.wall += seconds(rest);
                self.now.mono += 1000 * seconds(rest);
            }
            ">" => {
                assert!(self.step.is_none(), "{at}: nobody has looked at {:?}", self.step);
                let subnets = self.subnets();
                let engine = self.engine.get_or_insert_with(|| Engine::new(subnets, []));
                let words = words(rest);
                let value = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
                let via: Vec<Ipv4Addr> = match value("via") {
                    Some("none") => Vec::new(),
                    Some(text) => text.split(',').map(|address| address.parse().unwrap()).collect(),
                    None => self.subnets.first().map(|subnet| subnet.server).into_iter().collect(),
                };
                let packet = packet(rest);
                let received = Received { payload: &packet, via: &via };
                let from: Option<SocketAddrV4> = value("from").map(|text| text.parse().unwrap());
                self.step = Some(match from {
                    Some(from) => engine.handle_4011(self.now, &self.site, received, from),
                    None => engine.handle(self.now, &self.site, received),
                });
            }
            "resting" => {
                let engine = self.engine.as_ref().unwrap();
                let mut found: Vec<_> =
                    engine.declined(self.now).map(|(address, by)| format!("{by}:{address}")).collect();
                found.sort();
                assert_eq!(found, parts, "{at}");
            }
            "commit" => {
                self.revision += 1;
                let (result, which) = rest.split_once(' ').unwrap_or((rest, ""));
                let result = match result {
                    "ok" => Ok(Revision(self.revision)),
                    "fail" => Err(CommitError::Failed),
                    "conflict" => Err(CommitError::Conflict),
                    other => panic!("{at}: what is {other:?}?"),
                };
                let token = if which.is_empty() { self.token } else { self.commits[which] };
                self.step = Some(self.engine.as_mut().unwrap().committed(token, result));
            }
            "learn" => {
                self.revision += 1;
                let mac: Mac = parts[0].parse().unwrap();
                let lease = (parts[1] != "nothing").then(|| {
                    let (start, expires) = (self.now.wall, self.now.wall + seconds(parts[2]));
                    let address = parts[1].parse().unwrap();
                    (Lease { mac, address, start, expires, relay: None }, Revision(self.revision))
                });
                self.engine.as_mut().unwrap().learn(mac, lease);
            }
            "found" => {
                let found = match rest {
                    "nobody" => ProbeResult::Silent,
                    "somebody" => ProbeResult::Answered,
                    "nothing-out" => ProbeResult::Unable,
                    mac => ProbeResult::Mac(mac.parse().unwrap()),
                };
                let engine = self.engine.as_mut().unwrap();
                self.step = Some(engine.probed(self.now, &self.site, self.token, found));
            }
            "later" => {
                self.step = self.engine.as_mut().unwrap().overdue(self.now);
                self.nothing = self.step.is_none();
            }
            "<" if rest == "nothing" => {
                assert!(std::mem::take(&mut self.nothing), "{at}: not nothing, {:?}", self.step);
            }
            "<" => {
                let step = self.step.take().unwrap_or_else(|| panic!("{at}: nothing came in"));
                self.expect(rest, step, at);
            }
            other => panic!("{at}: what is {other:?}?"),
        }
    }

    fn subnet(&mut self, rest: &str) {
        let words = words(rest);
        let value = |key: &str| words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value);
        let addresses = |key: &str| {
            let told = value(key).into_iter().flat_map(|text| text.split(','));
            told.map(|text| text.parse().unwrap()).collect()
        };
        self.subnets.push(Subnet {
            network: words[0].0.parse().unwrap(),
            server: value("server").unwrap().parse().unwrap(),
            router: value("router").map(|text| text.parse().unwrap()),
            dns: addresses("dns"),
            ntp: addresses("ntp"),
            domain: value("domain").map(str::to_owned),
            pool: value("pool").map(|text| {
                let (first, last) = text.split_once('-').unwrap();
                (first.parse().unwrap(), last.parse().unwrap())
            }),
            exclude: value("exclude")
                .into_iter()
                .flat_map(|text| text.split(','))
                .map(|text| text.split_once('-').unwrap())
                .map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()))
                .collect(),
            reserved: vec![],
            named: 0,
            lease_secs: value("lease").unwrap_or("3600").parse().unwrap(),
            mtu: value("mtu").unwrap_or("1500").parse().unwrap(),
            authoritative: value("authoritative").is_some(),
            proxy: value("proxy").is_some(),
        });
        self.reload();
    }

    fn reload(&mut self) {
        let subnets = self.subnets();
        if let Some(engine) = &mut self.engine {
            engine.set_subnets(subnets);
        }
    }

    /// The networks, with what the site keeps in them.
    fn subnets(&self) -> Vec<Subnet> {
        let addresses = || self.site.machines.values().map(|machine| machine.address);
        let named = u32::try_from(addresses().filter(Option::is_none).count()).unwrap();
        let reserved: Vec<Ipv4Addr> = addresses().flatten().collect();
        let kept = |subnet: &Subnet| Subnet { reserved: reserved.clone(), named, ..subnet.clone() };
        self.subnets.iter().map(kept).collect()
    }

    fn expect(&mut self, rest: &str, step: Step, at: &str) {
        let (kind, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match (kind, step) {
            ("dropped", Step::Dropped(reason)) => {
                assert!(reason.to_string().contains(more), "{at}: dropped {reason}, not {more:?}");
            }
            ("probe", Step::Probe { token, address }) => {
                assert_eq!(address.to_string(), more, "{at}");
                self.token = token;
            }
            ("commit", Step::Commit { token, change }) => {
                let words: Vec<&str> = more.split_whitespace().collect();
                assert_eq!(change.put.mac.to_string(), words[0], "{at}");
                assert_eq!(change.put.address.to_string(), words[1], "{at}");
                let ended = (change.put.expires <= self.now.wall).then(|| "ended".to_owned());
                let evicted = change.evict.map(|(mac, _)| format!("evict={mac}"));
                let said: Vec<String> = ended.into_iter().chain(evicted).collect();
                assert_eq!(said, words[2..], "{at}");
                self.token = token;
                if !words[2..].contains(&"ended") {
                    self.commits.insert(words[..2].join(" "), token);
                }
            }
            (_, Step::Reply(reply)) => {
                assert!(reply.payload.len() >= 300, "{at}: short replies are dropped by ROMs and relays");
                let message = v4::Message::from_bytes(&reply.payload).unwrap();
                let code = message.opts().msg_type().unwrap();
                assert_eq!(format!("{code:?}").to_uppercase(), kind, "{at}: {message:?}");
                assert_eq!(message.xid(), 42, "{at}");
                for (key, value) in words(more) {
                    let found = match key {
                        "yiaddr" => message.yiaddr().to_string(),
                        "ciaddr" => message.ciaddr().to_string(),
                        "flags" => hex(&reply.payload[10..12]),
                        "from" => reply.server.to_string(),
                        "last" => last_option(&reply.payload).to_string(),
                        "siaddr" => message.siaddr().to_string(),
                        "file" => {
                            let file = message.fname().unwrap_or_default();
                            String::from_utf8_lossy(file).trim_end_matches('\0').to_owned()
                        }
                        "route" => match reply.route {
                            Route::Broadcast => "broadcast".to_owned(),
                            Route::Direct(mac, address) => format!("direct:{mac}:{address}"),
                            Route::Relay(relay) => format!("relay:{relay}"),
                            Route::Back(client) => format!("back:{client}"),
                        },
                        "size" => reply.payload.len().to_string(),
                        option => {
                            raw_option(&reply.payload, option.strip_prefix("opt.").unwrap().parse().unwrap())
                        }
                    };
                    assert_eq!(found, value, "{at}: {key}");
                }
            }
            (_, step) => panic!("{at}: expected {rest:?}, got {step:?}"),
        }
    }
}

/// Codes and values as they lie on the wire.
fn raw_options(payload: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = vec![];
    let mut rest = &payload[240..];
    while let [code, length, tail @ ..] = rest {
        match code {
            0 => rest = &rest[1..],
            255 => break,
            code => {
                let (value, tail) = tail.split_at(usize::from(*length));
                found.push((*code, value));
                rest = tail;
            }
        }
    }
    found
}

/// An option's value in hexadecimal; `-` when it is not there.
fn raw_option(payload: &[u8], wanted: u8) -> String {
    let found = raw_options(payload).into_iter().find(|(code, _)| *code == wanted);
    found.map_or("-".to_owned(), |(_, value)| hex(value))
}

fn last_option(payload: &[u8]) -> u8 {
    raw_options(payload).last().unwrap().0
}

/// The lines that say something, with their numbers, as often as they are said.
fn lines(text: &str) -> Vec<(usize, &str)> {
    let mut said = vec![];
    let mut again: Option<(usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(times) = line.strip_suffix('x') {
            again = Some((times.parse().unwrap(), said.len()));
        } else if line == "end" {
            let (times, from) = again.take().unwrap();
            let body: Vec<_> = said.drain(from..).collect();
            (0..times).for_each(|_| said.extend_from_slice(&body));
        } else {
            said.push((number + 1, line));
        }
    }
    assert!(again.is_none(), "no end");
    said
}

#[test]
fn every_conversation_goes_as_it_is_written() {
    let (mut seen, mut failed) = (0, vec![]);
    for entry in std::fs::read_dir("tests/conversations").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let site = Site::default();
        let now = Now { wall: 1_000_000, sure_since: 0, mono: 5_000 };
        let mut talk = Conversation {
            site,
            subnets: vec![],
            engine: None,
            now,
            step: None,
            nothing: false,
            token: 0,
            commits: HashMap::new(),
            revision: 0,
        };
        let went = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, line) in lines(&std::fs::read_to_string(&path).unwrap()) {
                talk.line(line, &format!("{name}:{number}"));
            }
            assert!(talk.step.is_none(), "{name}: nobody has looked at {:?}", talk.step);
        }));
        if went.is_err() {
            failed.push(name);
        }
        seen += 1;
    }
    assert!(failed.is_empty(), "not as it is written: {failed:?}");
    assert!(seen >= 30, "the conversations were not found");
}
