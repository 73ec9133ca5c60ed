//! NFS and NFSACL: calls built around good ones, with handles that are good, another's, forged or nonsense; one to four
//! of them, and then all of them once more in one batch.
//!
//! Input: who calls and how; for each call the credential, the procedure, its arguments, how the message is spoilt.

use oneroot_nfsd::{Replies, Step};
use oneroot_testkit::Tape;

use super::files::{ABSENT, NODES};
use super::verdict::{Door, exchange};
use crate::wire::{self, Cred, opaque, u32s};
use crate::world::{DROPPED, OTHER, OWN, handle};

/// What to find in the world, and what to be refused for.
const NAMES: [&[u8]; 16] = [
    b"passwd",
    b"etc",
    b".",
    b"..",
    b"",
    b"/",
    b"a/b",
    b"nul\0",
    b"ann",
    b"sh",
    b"null",
    b"PASSWD",
    b"lost",
    b"\xff",
    &[b'n'; 255],
    &[b'n'; 256],
];
const WORDS: [u32; 12] = [0, 1, 3, 44, 103, 104, 400, 4096, 0x1_0000, 0x10_0000, 0x7fff_ffff, u32::MAX];
const HYPERS: [u64; 10] =
    [0, 1, 2, 3, 1000, 1001, 3 * 1024 * 1024 - 1, i64::MAX as u64, u64::MAX - 1, u64::MAX];

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    let door = Door::choose(&mut tape);
    let (mut messages, mut apart) = (Vec::new(), Vec::new());
    while messages.is_empty() || (!tape.is_empty() && messages.len() < 4) {
        let message = call(&mut tape);
        apart.push(exchange(&door, &message));
        messages.push(message);
    }
    batched(&door, &messages, &apart);
}

/// A batch is its replies, one after the other: nothing of one call shows in the answer to another.
fn batched(door: &Door, messages: &[Vec<u8>], apart: &[Replies]) {
    let (mut batch, mut bytes, mut ranges) = (Replies::new(), Vec::new(), Vec::new());
    for (message, alone) in messages.iter().zip(apart) {
        if let Step::Mount(_) = door.service().call(door.peer, door.transport, message, &mut batch) {
            continue;
        }
        ranges.extend(alone.ranges().iter().map(|(at, range)| (bytes.len() + at, *range)));
        bytes.extend(alone.bytes());
    }
    assert_eq!((batch.bytes(), batch.ranges()), (&bytes[..], &ranges[..]));
}

fn call(tape: &mut Tape<'_>) -> Vec<u8> {
    let cred = credential(tape);
    let procedure = u32::from(tape.byte() % 27);
    let (program, procedure) = if procedure < 23 { (100_003, procedure) } else { (100_227, procedure - 23) };
    let args = match (program, procedure) {
        (100_003, 3) => [object(tape), name(tape)].concat(),
        (100_003, 4) | (100_227, 1) => [object(tape), word(tape)].concat(),
        (100_003, 6) => [object(tape), hyper(tape), word(tape)].concat(),
        (100_003, 14) => [object(tape), name(tape), object(tape), name(tape)].concat(),
        (100_003, 15) => [object(tape), object(tape), name(tape)].concat(),
        (100_003, 16) => [object(tape), hyper(tape), hyper(tape), word(tape)].concat(),
        (100_003, 17) => [object(tape), hyper(tape), hyper(tape), word(tape), word(tape)].concat(),
        (100_003, 0 | 22) => Vec::new(),
        // What would write has more arguments, and none of them counts.
        (100_003, 2 | 7..=13 | 21) | (100_227, 2) => {
            let len = usize::from(tape.byte() % 32);
            [object(tape), tape.take(len).to_vec()].concat()
        }
        _ => object(tape),
    };
    let mut message = wire::call(7, [program, 3, procedure], &cred, &args);
    spoil(tape, &mut message);
    message
}

pub(crate) fn credential(tape: &mut Tape<'_>) -> Cred {
    match tape.byte() % 6 {
        0 => Cred::sys(0, 0, &[]),
        1 => Cred::sys(1000, 1000, &[4, 24]),
        2 => Cred(0, Vec::new()),
        3 => Cred::sys(1, 1, &[42]),
        4 => {
            let gids: Vec<u32> = (0..tape.byte() % 19).map(u32::from).collect();
            Cred::sys(tape.u32(), tape.u32(), &gids)
        }
        _ => {
            let (flavour, len) = (tape.pick(&[0, 1, 2, 3, 6]), usize::from(tape.byte()) * 2);
            Cred(flavour, tape.take(len).to_vec())
        }
    }
}

fn object(tape: &mut Tape<'_>) -> Vec<u8> {
    let how = tape.byte() % 8;
    let good = handle(OWN, tape.pick(&NODES));
    opaque(&match how {
        0..=3 => good,
        4 => handle(tape.pick(&[OTHER, DROPPED]), tape.pick(&NODES)),
        5 => handle(tape.pick(&[OWN, OTHER, DROPPED]), tape.pick(&ABSENT)),
        6 => {
            let mut bad = good;
            let at = tape.below(bad.len());
            bad[at] ^= tape.byte();
            bad
        }
        _ => {
            let len = tape.pick(&[44, 0, 1, 43, 45, 63, 64, 65, 128]);
            let mut bytes = tape.take(len).to_vec();
            bytes.resize(len, 0);
            bytes
        }
    })
}

fn name(tape: &mut Tape<'_>) -> Vec<u8> {
    match usize::from(tape.byte()) {
        choice @ 0..128 => opaque(NAMES[choice % NAMES.len()]),
        len => opaque(tape.take(len - 128)),
    }
}

fn word(tape: &mut Tape<'_>) -> Vec<u8> {
    u32s(&[match tape.byte() % 3 {
        0 => tape.pick(&WORDS),
        1 => u32::from(tape.byte()) * 4,
        _ => tape.u32(),
    }])
}

fn hyper(tape: &mut Tape<'_>) -> Vec<u8> {
    let value = match tape.byte() % 3 {
        0 => tape.pick(&HYPERS),
        1 => u64::from(tape.byte()),
        _ => tape.u64(),
    };
    value.to_be_bytes().to_vec()
}

/// Most messages stay as they are, so that what lies behind the parsers is reached too.
pub(crate) fn spoil(tape: &mut Tape<'_>, message: &mut Vec<u8>) {
    for _ in 0..tape.byte() / 64 {
        let at = tape.below(message.len() + 1);
        match tape.byte() % 4 {
            0 => message.truncate(at),
            1 => {
                if let Some(byte) = message.get_mut(at) {
                    *byte ^= tape.byte();
                }
            }
            2 => {
                if let Some(slot) = message.get_mut(at / 4 * 4..).and_then(|rest| rest.first_chunk_mut::<4>())
                {
                    *slot = tape.pick(&WORDS).to_be_bytes();
                }
            }
            _ => {
                let more = tape.take(at % 64);
                message.extend(more);
            }
        }
    }
}
