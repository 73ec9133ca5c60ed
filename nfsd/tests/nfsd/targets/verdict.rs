//! One message and what came back: compared with `model` byte for byte where the header decides, with `files` where the
//! tree does, and unpacked by nfs3_types, which shares nothing with the crate.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use nfs3_types::mount::{exports, mountlist, mountres3};
use nfs3_types::portmap::pmaplist;
use nfs3_types::rpc::rpc_msg;
use nfs3_types::xdr_codec::{Pack, Unpack};
use oneroot_nfsd::{
    Error, MAX_READ, MountCall, MountError, MountGrant, Policy, Replies, Segment, Service, Step, Transport,
};
use oneroot_testkit::Tape;

use super::files;
use super::model::{Due, Who, due};
use crate::wire::{opaque, u32s};
use crate::world::{self, OWN, Site, World};

pub(crate) static WORLD: LazyLock<Arc<World>> = LazyLock::new(|| Arc::new(World::new()));
static STRICT: LazyLock<Service<Site>> = LazyLock::new(|| world::service(&WORLD, Policy::default()));
static LENIENT: LazyLock<Service<Site>> =
    LazyLock::new(|| world::service(&WORLD, Policy { allow_unprivileged_ports: true }));

/// Who sends, from where, over what, to a service of which policy.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    lenient: bool,
}

impl Door {
    /// The first choice is machine 7 as it should be, over TCP.
    pub(crate) fn choose(tape: &mut Tape<'_>) -> Self {
        let byte = tape.byte();
        let ip = ["10.0.0.7", "::ffff:10.0.0.7", "10.0.0.8", "10.0.0.9", "fe80::7"][usize::from(byte % 5)];
        let port = [700, 1023, 1024, 40_000][usize::from(byte / 5 % 4)];
        Door {
            peer: SocketAddr::new(ip.parse().unwrap(), port),
            transport: if byte < 200 { Transport::Tcp } else { Transport::Udp },
            lenient: byte / 20 % 2 == 1,
        }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    pub(crate) fn is_own(&self) -> bool {
        self.ip().to_string() == "10.0.0.7"
    }

    pub(crate) fn privileged(&self) -> bool {
        self.lenient || self.peer.port() < 1024
    }

    pub(crate) fn service(&self) -> &'static Service<Site> {
        if self.lenient { &LENIENT } else { &STRICT }
    }
}

/// Sends a message, checks all that must hold, and gives the reply for those who want more of it.
pub(crate) fn exchange(door: &Door, message: &[u8]) -> Replies {
    let mut out = Replies::new();
    let step = door.service().call(door.peer, door.transport, message, &mut out);
    assert_eq!(step == Step::Answered, !out.is_empty(), "answered, and so something to send");
    let xid = message.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    match (due(door, message), step) {
        (Due::Silence, Step::Ignore) | (Due::Close, Step::Close(Error::ShortHeader)) => {}
        (Due::Reply(reply), Step::Answered) => {
            let body = unframed(door, message, &out);
            assert_eq!(body, reply);
            decode_reply(message, &body);
        }
        (Due::Mount { path, who }, Step::Mount(call)) => mounted(door, xid, &path, &who, &call, &mut out),
        (Due::Files { acl, procedure, args, who }, Step::Answered) => {
            let body = unframed(door, message, &out);
            assert_eq!(body[..24], u32s(&[xid, 1, 0, 0, 0, 0]), "success");
            head(&body);
            let range = out.ranges().first().map(|(_, range)| *range);
            files::judge(door, acl, procedure, &args, &who, &body[24..], range);
        }
        (due, step) => panic!("due was {due:?}, and it did {step:?}"),
    }
    out
}

/// What the shell would send, without its record mark. File contents are zeros here: only their length matters.
fn unframed(door: &Door, message: &[u8], out: &Replies) -> Vec<u8> {
    assert!(out.bytes().len() <= 64 * 1024, "{} inline bytes", out.bytes().len());
    assert!(out.ranges().len() <= 1);
    let mut sent = Vec::new();
    for segment in out.segments() {
        match segment {
            Segment::Bytes(bytes) => sent.extend(bytes),
            Segment::File(range) => {
                assert!((1..=MAX_READ).contains(&range.len));
                sent.resize(sent.len() + range.len as usize, 0);
            }
        }
    }
    assert_eq!(sent.len() as u64, out.len(), "len() is what goes on the wire");
    assert_eq!(sent.len() % 4, 0, "XDR comes in fours");
    if door.transport == Transport::Udp {
        assert!(sent.len() <= 4 * message.len(), "{} bytes make {}", message.len(), sent.len());
        return sent;
    }
    let body = sent.split_off(4);
    assert_eq!(
        sent,
        (0x8000_0000 | body.len() as u32).to_be_bytes(),
        "one last fragment, as long as it says"
    );
    body
}

/// Unpacks, and packs again: the bytes must be used up, and nothing in them may be other than its one right form.
pub(crate) fn decoded<T: Pack + Unpack>(bytes: &[u8]) -> T {
    let mut rest = bytes;
    let (value, len) = T::unpack(&mut rest).expect("another's decoder takes it");
    assert!(rest.is_empty() && len == bytes.len(), "{} bytes follow the result", rest.len());
    let mut again = Vec::with_capacity(bytes.len());
    value.pack(&mut again).unwrap();
    assert_eq!(again, bytes, "padding and booleans are in their right form");
    value
}

/// The RPC head of a successful reply.
fn head(body: &[u8]) {
    decoded::<rpc_msg<'_, '_>>(&body[..24]);
}

/// A reply of RPC itself, of the portmapper or of MOUNT.
fn decode_reply(message: &[u8], body: &[u8]) {
    let success = body.len() >= 24 && body[8..12] == [0; 4] && body[20..24] == [0; 4];
    if !success {
        decoded::<rpc_msg<'_, '_>>(body);
        return;
    }
    head(body);
    let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    let results = &body[24..];
    match (word(12), word(20)) {
        (100_000, 1 | 2) => assert!(!decoded::<bool>(results)),
        (100_000, 3) => assert!(u16::try_from(decoded::<u32>(results)).is_ok()),
        (100_000, 4) => drop(decoded::<pmaplist>(results)),
        (100_005, 1) => drop(decoded::<mountres3<'_>>(results)),
        (100_005, 2) => drop(decoded::<mountlist<'_, '_>>(results)),
        (100_005, 5) => drop(decoded::<exports<'_, '_>>(results)),
        _ => assert!(results.is_empty(), "void"),
    }
}

/// MNT: the call that the shell got, and the replies to each decision of its.
fn mounted(door: &Door, xid: u32, path: &[u8], who: &Who, call: &MountCall, out: &mut Replies) {
    let caller = (call.caller.uid(), call.caller.gid(), call.caller.gids());
    assert_eq!(caller, (who.uid, who.gid, &who.gids[..]));
    assert_eq!((call.xid, &call.path[..], call.peer), (xid, path, door.peer));
    let root = WORLD.find("/");
    let decision = match path {
        b"/v/own" if door.is_own() => Ok(MountGrant { view: OWN, root }),
        b"/v/own" | b"/v/old" | b"/v/theirs" => Err((MountError::Acces, 13)),
        b"" => Err((MountError::Inval, 22)),
        b"/" => Err((MountError::NoEnt, 2)),
        _ if path.len().is_multiple_of(2) => Err((MountError::NotDir, 20)),
        _ => Err((MountError::ServerFault, 10_006)),
    };
    door.service().mounted(call, decision.map_err(|(error, _)| error), out);
    let results = match decision {
        Ok(_) => [u32s(&[0]), opaque(&world::handle(OWN, root)), u32s(&[1, 1])].concat(),
        Err((_, status)) => u32s(&[status]),
    };
    let body = unframed(door, &[0; 64], out);
    assert_eq!(body, [u32s(&[xid, 1, 0, 0, 0, 0]), results].concat());
    decoded::<mountres3<'_>>(&body[24..]);
}
