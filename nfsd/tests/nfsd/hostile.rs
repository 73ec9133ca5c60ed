//! Calls that nobody should send: cut, flipped, stretched, arbitrary. Whatever comes, the answer is bounded
//! and whole.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use oneroot_nfsd::{Error, MAX_READ, Policy, Replies, Service, Step, Transport};
use proptest::prelude::*;

use crate::calls::good_calls;
use crate::wire::{self, Cred, opaque, u32s};
use crate::world::{self, OWN, Site, World};

static SERVICE: LazyLock<Service<Site>> =
    LazyLock::new(|| world::service(&Arc::new(World::new()), Policy::default()));

static ROOT: LazyLock<Vec<u8>> = LazyLock::new(|| world::handle(OWN, World::new().find("/")));

fn peer() -> SocketAddr {
    "10.0.0.7:700".parse().unwrap()
}

/// Sends a message and checks what must hold for every one.
fn send(transport: Transport, message: &[u8]) -> (Step, Vec<u8>) {
    let mut out = Replies::new();
    let step = SERVICE.call(peer(), transport, message, &mut out);
    assert!(out.bytes().len() <= 64 * 1024, "{} inline bytes", out.bytes().len());
    assert!(out.ranges().len() <= 1);
    assert!(out.ranges().iter().all(|(_, range)| (1..=MAX_READ).contains(&range.len)));
    assert_eq!(matches!(step, Step::Answered), !out.is_empty());
    if step != Step::Answered {
        return (step, Vec::new());
    }
    let sent = wire::sent(&out);
    let reply = match transport {
        Transport::Tcp => {
            let mut replies = wire::unmarked(&sent);
            assert_eq!(replies.len(), 1);
            replies.remove(0)
        }
        Transport::Udp => {
            assert!(sent.len() <= 4 * message.len(), "{} bytes make {}", message.len(), sent.len());
            sent
        }
    };
    assert_eq!((&reply[..4], &reply[4..8]), (&message[..4], &u32s(&[1])[..]), "the xid, and REPLY");
    // A panic in a procedure is caught, and answered so.
    assert!(reply[8..12] != [0; 4] || accept_stat(&reply) != SYSTEM_ERR, "a panic");
    (step, reply)
}

const SYSTEM_ERR: u32 = 5;

/// accept_stat of an accepted reply.
fn accept_stat(reply: &[u8]) -> u32 {
    assert_eq!(reply[8..12], [0; 4], "accepted");
    u32::from_be_bytes(reply[20..24].try_into().unwrap())
}

#[test]
fn every_procedure_answers_a_good_call() {
    for call in good_calls() {
        match send(Transport::Tcp, &call) {
            (Step::Answered, reply) => assert_eq!(accept_stat(&reply), 0),
            (step, _) => assert!(matches!(step, Step::Mount(_))),
        }
    }
}

/// N17: `send` checks the factor.
#[test]
fn no_answer_over_udp_is_longer_than_four_times_its_call() {
    for (at, mut call) in good_calls().into_iter().enumerate() {
        assert_eq!(send(Transport::Udp, &call).0, Step::Answered, "call {at}");
        // The same as AUTH_NONE: the shortest call there is.
        let body = u32::from_be_bytes(call[28..32].try_into().unwrap()) as usize;
        call.drain(32..32 + body);
        call[24..32].fill(0);
        assert_eq!(send(Transport::Udp, &call).0, Step::Answered, "call {at}");
    }
}

/// N3, N5: inside the header there is nobody to answer; inside the arguments there is.
#[test]
fn a_call_cut_at_any_byte_is_closed_or_called_garbage() {
    const GARBAGE_ARGS: u32 = 4;
    for call in good_calls() {
        let procedure = call[23];
        let header = 24 + 8 + u32::from_be_bytes(call[28..32].try_into().unwrap()) as usize + 8;
        for len in 0..call.len() {
            match send(Transport::Tcp, &call[..len]) {
                (step, _) if len < header => assert_eq!(step, Step::Close(Error::ShortHeader)),
                // Read-only procedures take nothing but their handles, and UMNT, SET and UNSET nothing at
                // all.
                (step, reply) => {
                    assert_eq!(step, Step::Answered);
                    let lazy = matches!(procedure, 1..=3 | 7..=15 | 21);
                    assert!(
                        accept_stat(&reply) == GARBAGE_ARGS || lazy,
                        "procedure {procedure} cut to {len}"
                    );
                }
            }
        }
    }
}

/// N15: the client has lost our answer and asks again. Silence would hang it.
#[test]
fn the_same_call_sent_again_is_answered_again_alike() {
    for call in good_calls() {
        assert_eq!(send(Transport::Tcp, &call), send(Transport::Tcp, &call));
    }
}

/// N7: nothing in an answer depends on the process that gives it.
#[test]
fn another_server_with_the_same_store_and_key_answers_with_the_same_bytes() {
    let other = world::service(&Arc::new(World::new()), Policy::default());
    for call in good_calls() {
        let (mut one, mut two) = (Replies::new(), Replies::new());
        let first = SERVICE.call(peer(), Transport::Tcp, &call, &mut one);
        let second = other.call(peer(), Transport::Tcp, &call, &mut two);
        assert_eq!((first, one.bytes(), one.ranges()), (second, two.bytes(), two.ranges()));
    }
}

/// N15: many calls answered into one batch come out as many replies, in order.
#[test]
fn a_thousand_pipelined_calls_make_one_batch_of_whole_replies() {
    let world = World::new();
    let args = [opaque(&world::handle(OWN, world.find("/etc/passwd"))), u32s(&[0, 0, 999])].concat();
    let mut out = Replies::new();
    for xid in 0..1000 {
        let call = wire::call(xid, [100_003, 3, 6], &Cred::sys(0, 0, &[]), &args);
        assert_eq!(SERVICE.call(peer(), Transport::Tcp, &call, &mut out), Step::Answered);
    }
    let replies = wire::unmarked(&wire::sent(&out));
    let xids: Vec<u32> =
        replies.iter().map(|reply| u32::from_be_bytes(reply[..4].try_into().unwrap())).collect();
    assert_eq!(xids, (0..1000).collect::<Vec<_>>());
    assert!(replies.windows(2).all(|pair| pair[0][4..] == pair[1][4..]), "the same read, the same contents");
    out.clear();
    assert_eq!((out.len(), out.segments().count()), (0, 0));
}

/// A tree that is broken at one node. The panic must not take back what the batch holds already.
#[test]
fn a_panic_in_one_call_costs_that_call_alone() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let world = World::new();
    let lookup = |name: &[u8]| {
        let args = [opaque(&world::handle(OWN, world.find("/etc"))), opaque(name)].concat();
        wire::call(9, [100_003, 3, 3], &Cred::sys(0, 0, &[]), &args)
    };
    let mut out = Replies::new();
    for name in [&b"passwd"[..], world::CURSED, b"passwd"] {
        assert_eq!(SERVICE.call(peer(), Transport::Tcp, &lookup(name), &mut out), Step::Answered);
    }
    std::panic::set_hook(quiet);
    let replies = wire::unmarked(&wire::sent(&out));
    assert_eq!(replies.iter().map(|reply| accept_stat(reply)).collect::<Vec<_>>(), [0, SYSTEM_ERR, 0]);
    assert_eq!((&replies[0], replies[1].len()), (&replies[2], 24));
}

/// klibc's nfsmount reads its whole MNT and GETPORT replies with one read of at most 100 bytes.
#[test]
fn what_klibc_reads_at_once_fits_in_a_hundred_bytes() {
    let mut out = Replies::new();
    let mnt = wire::call(1, [100_005, 3, 1], &Cred(0, vec![]), &opaque(b"/v/own"));
    let Step::Mount(call) = SERVICE.call(peer(), Transport::Tcp, &mnt, &mut out) else { panic!() };
    let root = oneroot_nfsd::NodeId { layer: 2, ino: 1 };
    SERVICE.mounted(&call, Ok(oneroot_nfsd::MountGrant { view: OWN, root }), &mut out);
    assert!(out.len() <= 100, "{} bytes", out.len());
    assert_eq!(out.segments().count(), 1);
}

/// One way to spoil a call.
#[derive(Debug, Clone)]
enum Spoil {
    Flip(usize, u8),
    Word(usize, u32),
    Cut(usize),
    Grow(Vec<u8>),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let extreme = prop_oneof![
        Just(0),
        Just(1),
        Just(3),
        Just(44),
        Just(400),
        Just(401),
        Just(0x7fff_fffc),
        Just(u32::MAX),
        any::<u32>()
    ];
    prop_oneof![
        (any::<usize>(), 1..=255_u8).prop_map(|(at, bits)| Spoil::Flip(at, bits)),
        (any::<usize>(), extreme).prop_map(|(at, word)| Spoil::Word(at, word)),
        any::<usize>().prop_map(Spoil::Cut),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Spoil::Grow),
    ]
}

fn apply(call: &mut Vec<u8>, spoil: Spoil) {
    let len = call.len().max(1);
    match spoil {
        Spoil::Flip(at, bits) => {
            if let Some(byte) = call.get_mut(at % len) {
                *byte ^= bits;
            }
        }
        Spoil::Word(at, word) => {
            if let Some(slot) = call.get_mut(at % len / 4 * 4..).and_then(|rest| rest.first_chunk_mut::<4>())
            {
                *slot = word.to_be_bytes();
            }
        }
        Spoil::Cut(at) => call.truncate(at % len),
        Spoil::Grow(more) => call.extend(more),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_good_call_that_was_spoilt_never_panics_and_its_answer_is_bounded(
        which in any::<prop::sample::Index>(),
        spoils in prop::collection::vec(spoil(), 1..4),
        udp in any::<bool>(),
    ) {
        static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(good_calls);
        let mut call = which.get(&GOOD[..]).clone();
        for spoil in spoils {
            apply(&mut call, spoil);
        }
        send(if udp { Transport::Udp } else { Transport::Tcp }, &call);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_their_answer_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        send(Transport::Tcp, &bytes);
    }

    /// Behind a good header, so that the argument parsers see all of it.
    #[test]
    fn arbitrary_arguments_never_panic_and_their_answer_is_bounded(
        procedure in 0_u32..24,
        program in prop::sample::select(vec![[100_003, 3], [100_005, 3], [100_000, 2]]),
        handle in any::<bool>(),
        args in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..200),
    ) {
        let front = if handle { opaque(&ROOT[..]) } else { Vec::new() };
        let args = [front, args].concat();
        send(Transport::Tcp, &wire::call(1, [program[0], program[1], procedure], &Cred::sys(0, 0, &[]), &args));
    }
}
