//! Runs a conversation written as text. tests/conversations/README.md describes the language.

use std::net::SocketAddr;
use std::sync::Arc;

use oneroot_nfsd::{MountCall, MountError, MountGrant, Policy, Replies, Service, Step, Transport, Tree};

use crate::wire::{self, Cred, fattr, opaque, u32s};
use crate::world::{self, DROPPED, OTHER, OWN, Site, World};

const NFS: [&str; 22] = [
    "NULL",
    "GETATTR",
    "SETATTR",
    "LOOKUP",
    "ACCESS",
    "READLINK",
    "READ",
    "WRITE",
    "CREATE",
    "MKDIR",
    "SYMLINK",
    "MKNOD",
    "REMOVE",
    "RMDIR",
    "RENAME",
    "LINK",
    "READDIR",
    "READDIRPLUS",
    "FSSTAT",
    "FSINFO",
    "PATHCONF",
    "COMMIT",
];
const MOUNT: [&str; 6] = ["NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT"];
const PORTMAP: [&str; 6] = ["NULL", "SET", "UNSET", "GETPORT", "DUMP", "CALLIT"];

const STATUS: [(&str, u32); 15] = [
    ("OK", 0),
    ("NOENT", 2),
    ("IO", 5),
    ("ACCES", 13),
    ("NOTDIR", 20),
    ("ISDIR", 21),
    ("INVAL", 22),
    ("ROFS", 30),
    ("NAMETOOLONG", 63),
    ("STALE", 70),
    ("BADHANDLE", 10001),
    ("BAD_COOKIE", 10003),
    ("TOOSMALL", 10005),
    ("SERVERFAULT", 10006),
    ("JUKEBOX", 10008),
];

const AUTH_STAT: [(&str, u32); 4] = [("badcred", 1), ("rejectedcred", 2), ("badverf", 3), ("tooweak", 5)];

struct Conversation {
    world: Arc<World>,
    service: Service<Site>,
    peer: SocketAddr,
    transport: Transport,
    cred: Cred,
    xid: u32,
    step: Option<Step>,
    waiting: Option<MountCall>,
    replies: Replies,
}

/// Runs all lines; panics at the first one that does not hold, with its number.
pub(crate) fn run(name: &str, text: &str) {
    let world = Arc::new(World::new());
    let mut talk = Conversation {
        service: world::service(&world, Policy::default()),
        world,
        peer: "10.0.0.7:700".parse().unwrap(),
        transport: Transport::Tcp,
        cred: Cred::sys(0, 0, &[]),
        xid: 1,
        step: None,
        waiting: None,
        replies: Replies::new(),
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
            Some((word, rest)) => {
                assert!(talk.step.is_none(), "{at}: the step before was not checked");
                talk.act(word, rest, &at);
            }
        }
    }
    assert!(talk.step.is_none(), "{name}: the last step is not checked");
    assert!(checks > 0, "{name} checks nothing");
}

impl Conversation {
    fn act(&mut self, word: &str, rest: &[&str], at: &str) {
        match (word, rest) {
            ("from", [peer]) => self.peer = peer.parse().unwrap(),
            ("again", []) => self.xid = self.xid.wrapping_sub(1),
            ("over", ["tcp"]) => self.transport = Transport::Tcp,
            ("over", ["udp"]) => self.transport = Transport::Udp,
            ("policy", ["insecure"]) => {
                self.service = world::service(&self.world, Policy { allow_unprivileged_ports: true });
            }
            ("as", ["nobody"]) => self.cred = Cred(0, Vec::new()),
            ("as", ["flavour", flavour, body @ ..]) => {
                self.cred = Cred(flavour.parse().unwrap(), self.bytes(body, at));
            }
            ("as", ids) => {
                let ids: Vec<u32> = ids.iter().map(|id| id.parse().unwrap()).collect();
                self.cred = Cred::sys(ids[0], ids[1], &ids[2..]);
            }
            (">", ["raw", message @ ..]) => {
                let message = self.bytes(message, at);
                self.send(&message);
            }
            (">", [program, procedure, args @ ..]) => {
                let (name, version) = program.split_once('/').unwrap_or((program, ""));
                let (program, served, names) = match name {
                    "nfs" => (100_003, 3, &NFS[..]),
                    "mount" => (100_005, 3, &MOUNT[..]),
                    "portmap" => (100_000, 2, &PORTMAP[..]),
                    number => (number.parse().unwrap(), 0, &[][..]),
                };
                let version = version.parse().unwrap_or(served);
                let known = names.iter().position(|name| name == procedure);
                let procedure = known.map_or_else(|| procedure.parse().expect(at), |at| at as u32);
                let args = self.bytes(args, at);
                let call = wire::call(self.xid, [program, version, procedure], &self.cred, &args);
                self.send(&call);
            }
            ("decide", [verdict]) => self.decide(verdict, at),
            _ => panic!("{at}: not understood"),
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.replies.clear();
        self.step = Some(self.service.call(self.peer, self.transport, message, &mut self.replies));
    }

    /// Answers the MNT that `< mount` has shown.
    fn decide(&mut self, verdict: &str, at: &str) {
        let call = self.waiting.take().unwrap_or_else(|| panic!("{at}: no MNT is waiting"));
        let result = match verdict {
            "NOENT" => Err(MountError::NoEnt),
            "NOTDIR" => Err(MountError::NotDir),
            "ACCES" => Err(MountError::Acces),
            path if path.starts_with('/') => Ok(MountGrant { view: OWN, root: self.world.find(path) }),
            _ => panic!("{at}: not understood"),
        };
        self.replies.clear();
        self.service.mounted(&call, result, &mut self.replies);
        self.step = Some(Step::Answered);
    }

    fn expect(&mut self, expected: &[&str], at: &str) {
        let step = self.step.take().unwrap_or_else(|| panic!("{at}: nothing was sent"));
        let (kind, rest) = expected.split_first().expect(at);
        let number = |word: &str| word.parse::<u32>().expect(at);
        let accepted = |stat| u32s(&[self.xid, 1, 0, 0, 0, stat]);
        let reply = match *kind {
            "ignored" => return assert_eq!((step, self.replies.len()), (Step::Ignore, 0), "{at}"),
            "closed" => {
                assert!(matches!(step, Step::Close(_)), "{at}: {step:?}");
                return assert!(self.replies.is_empty(), "{at}");
            }
            "mount" => {
                let Step::Mount(call) = step else { panic!("{at}: {step:?}") };
                assert!(self.replies.is_empty(), "{at}: no reply before the decision");
                assert_eq!((call.xid, call.peer), (self.xid, self.peer), "{at}");
                let path =
                    if call.path.is_empty() { "(empty)".into() } else { String::from_utf8_lossy(&call.path) };
                let uid = call.caller.uid().to_string();
                assert_eq!([&*path, "uid", uid.as_str()], *rest, "{at}");
                self.waiting = Some(call);
                return;
            }
            "success" => [accepted(0), self.bytes(rest, at)].concat(),
            "prog_unavail" => accepted(1),
            "prog_mismatch" => [accepted(2), u32s(&[number(rest[0]), number(rest[1])])].concat(),
            "proc_unavail" => accepted(3),
            "garbage_args" => accepted(4),
            "rpc_mismatch" => u32s(&[self.xid, 1, 1, 0, number(rest[0]), number(rest[1])]),
            "auth_error" => u32s(&[self.xid, 1, 1, 1, named(&AUTH_STAT, rest[0], at)]),
            _ => panic!("{at}: not understood"),
        };
        assert_eq!(step, Step::Answered, "{at}");
        let sent = wire::sent(&self.replies);
        let got = match self.transport {
            Transport::Tcp => wire::unmarked(&sent).pop().expect(at),
            Transport::Udp => sent,
        };
        if got != reply {
            panic!("{at}\n  expected {}\n  got      {}", hex(&reply), hex(&got));
        }
        self.xid += 1;
    }

    fn bytes(&self, tokens: &[&str], at: &str) -> Vec<u8> {
        tokens.iter().flat_map(|token| self.token(token, at)).collect()
    }

    /// The bytes of one token.
    fn token(&self, token: &str, at: &str) -> Vec<u8> {
        let (kind, value) = token.split_once(':').unwrap_or((token, ""));
        let attr = |path: &str| self.world.attr(self.world.find(path)).unwrap();
        let present = |path: &str| [u32s(&[1]), fattr(&self.world, &attr(path))].concat();
        match kind {
            "u32" => u32s(&[number(value) as u32]),
            "u64" => number(value).to_be_bytes().to_vec(),
            "str" => opaque(&text(value)),
            "hex" => unhex(value),
            "xid" => u32s(&[self.xid]),
            "status" => u32s(&[named(&STATUS, value, at)]),
            "fh" => opaque(&self.handle(value)),
            "attr" => fattr(&self.world, &attr(value)),
            "post" => present(value),
            "none" => u32s(&[0]),
            "wcc" if value == "none" => u32s(&[0, 0]),
            "wcc" => [u32s(&[0]), present(value)].concat(),
            // name:NAME=/path@COOKIE and plus:NAME=/path@COOKIE
            "name" | "plus" => {
                let (name, rest) = value.split_once('=').expect(at);
                let (path, cookie) = rest.split_once('@').expect(at);
                let mut out = u32s(&[1]);
                out.extend(attr(path).fileid.to_be_bytes());
                out.extend(opaque(&text(name)));
                out.extend(number(cookie).to_be_bytes());
                if kind == "plus" {
                    out.extend(present(path));
                    out.extend(u32s(&[1]));
                    out.extend(opaque(&self.handle(path)));
                }
                out
            }
            // data:/path@OFFSET+LENGTH, as XDR opaque
            "data" => {
                let (path, range) = value.split_once('@').expect(at);
                let (offset, len) = range.split_once('+').expect(at);
                let object = self.world.object(self.world.find(path)).expect(at);
                let (offset, len) = (number(offset), number(len));
                opaque(&(offset..offset + len).map(|i| world::content(object, i)).collect::<Vec<_>>())
            }
            _ => panic!("{at}: no token {token}"),
        }
    }

    fn handle(&self, value: &str) -> Vec<u8> {
        let root = self.world.root();
        match value.split_once(':') {
            Some(("other", path)) => world::handle(OTHER, self.world.find(path)),
            Some(("dropped", path)) => world::handle(DROPPED, self.world.find(path)),
            Some(("length", len)) => {
                let mut bytes = world::handle(OWN, root);
                bytes.resize(number(len) as usize, 0);
                bytes
            }
            None if value == "vanished" => world::handle(OWN, oneroot_nfsd::NodeId { layer: 9, ino: 1 }),
            None if value == "forged" => {
                let mut bytes = world::handle(OWN, root);
                *bytes.last_mut().unwrap() ^= 1;
                bytes
            }
            _ => world::handle(OWN, self.world.find(value)),
        }
    }
}

/// A number: decimal, or hexadecimal after 0x.
fn number(word: &str) -> u64 {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    }
    .unwrap_or_else(|_| panic!("{word} is no number"))
}

/// Text with `%XX` for any byte, and `a*256` for a long run of one letter.
fn text(word: &str) -> Vec<u8> {
    if let Some((letter, count)) = word.split_once('*') {
        return letter.repeat(number(count) as usize).into_bytes();
    }
    let mut parts = word.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        out.extend(unhex(&part[..2]));
        out.extend(part[2..].bytes());
    }
    out
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    let words: Vec<String> =
        bytes.chunks(4).take(200).map(|word| word.iter().map(|b| format!("{b:02x}")).collect()).collect();
    words.join(" ")
}

fn named(table: &[(&str, u32)], name: &str, at: &str) -> u32 {
    table.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{at}: no {name}")).1
}
