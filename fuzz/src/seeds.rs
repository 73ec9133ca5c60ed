//! Where the fuzzers begin: inputs that get behind the first parser of each target.

use crate::calls::good_calls;
use crate::wire::{self, Cred, u32s};

/// Each target with its seeds.
pub fn all() -> [(&'static str, Vec<Vec<u8>>); 5] {
    [
        ("record_stream", streams()),
        ("rpc_header", messages()),
        ("mount_call", [choices(5, 8), paths()].concat()),
        ("nfs_call", [choices(27, 6), pages()].concat()),
        ("handle", handles()),
    ]
}

fn mark(last: bool, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap_or_default();
    (len | if last { 0x8000_0000 } else { 0 }).to_be_bytes().to_vec()
}

/// No cuts, and some; whole records, fragments, empty ones, the bounds and what lies beyond.
fn streams() -> Vec<Vec<u8>> {
    let fragment = |last, body: &[u8]| [mark(last, body.len()), body.to_vec()].concat();
    let whole = [fragment(true, b"abcd"), fragment(true, b"efghijkl")].concat();
    let parts = [fragment(false, b"ab"), fragment(false, b""), fragment(true, b"cd")].concat();
    let most = [mark(false, 0).repeat(63), fragment(true, b"abcd")].concat();
    let many = mark(false, 0).repeat(65);
    let bytes = [fragment(false, b"x").repeat(63), fragment(true, b"y")].concat();
    let mut streams =
        vec![whole, parts, most, many, bytes, fragment(true, b""), fragment(false, b"abcd"), vec![0xff; 4]];
    // What `record_stream` stretches: bodies of the longest length and around it, in one fragment and in two.
    for len in [0xffff_u32, 0x1_0000, 0x1_0001] {
        let [_, high, middle, low] = len.to_be_bytes();
        streams.push([vec![0x40, high, middle, low], fragment(true, b"next")].concat());
        for more in [0, 1, 4] {
            let two = [[0x41, high, middle, low], [0x40, 0, 0, more]].concat();
            streams.push([two, fragment(true, b"next")].concat());
        }
    }
    let cuts = [&[0][..], &[4, 1, 2, 3, 4], &[8, 3, 3, 3, 3, 3, 3, 3, 3], &[3, 255, 255, 255]];
    streams.iter().flat_map(|stream| cuts.map(|cuts| [cuts, stream].concat())).collect()
}

/// Every good call: over TCP from its machine, over UDP, from another machine, from a port of any user.
fn messages() -> Vec<Vec<u8>> {
    let good = good_calls();
    let doors = good.iter().flat_map(|call| [0, 200, 2, 10].map(|door| [&[door], &call[..]].concat()));
    doors.chain(credentials().iter().map(|call| [&[0], &call[..]].concat())).collect()
}

/// Credentials at their bounds and beyond: bytes, machine name, groups, what follows them, flavours; and verifiers.
fn credentials() -> Vec<Vec<u8>> {
    let getattr = |cred: &Cred| wire::call(7, [100_003, 3, 1], cred, &wire::opaque(&[1; 44]));
    let sys = |name: usize, gids: usize, more: &[u8]| {
        let head = [u32s(&[1]), wire::opaque(&vec![b'm'; name]), u32s(&[0, 0])].concat();
        let gids: Vec<u32> = (100..).take(gids).collect();
        let count = u32s(&[u32::try_from(gids.len()).unwrap_or_default()]);
        Cred(1, [head, count, u32s(&gids), more.to_vec()].concat())
    };
    let mut creds =
        vec![sys(9, 16, &[]), sys(9, 17, &[]), sys(255, 1, &[]), sys(256, 1, &[]), sys(9, 1, &[0; 4])];
    creds.extend([396, 400, 401, 404].map(|len| Cred(0, vec![0; len])));
    creds.extend([2, 3, 6].map(|flavour| Cred(flavour, vec![0; 8])));
    let mut calls: Vec<Vec<u8>> = creds.iter().map(getattr).collect();
    for len in [4, 400, 401, 404] {
        let head = u32s(&[7, 0, 2, 100_003, 3, 0, 0, 0, 0]);
        calls.push([head, wire::opaque(&vec![0; len])].concat());
    }
    calls
}

/// Door, credential, procedure, and the choices after it, alike and different.
fn choices(procedures: u8, doors: u8) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for procedure in 0..procedures {
        for door in 0..doors {
            let rest: [&[u8]; 2] =
                [&[0, 3, 0, 2, 0, 1, 0, 7], &[5, 9, 1, 200, 2, 0, 0, 0, 0, 0, 1, 1, 64, 40, 7]];
            found.extend(rest.map(|rest| [&[door, door % 6, procedure], rest].concat()));
        }
    }
    found
}

/// MNT of each path and of each length that `mount_call` knows.
fn paths() -> Vec<Vec<u8>> {
    (0..8).flat_map(|at| [vec![0, 0, 2, 0, at], vec![0, 0, 2, 1, at]]).collect()
}

/// The root directory in pages that hold so many entries to the byte, and in pages a word shorter: 104 bytes around them,
/// 28 for each, 140 more with attributes and handle.
fn pages() -> Vec<Vec<u8>> {
    let listing = |procedure, counts: &[u8]| [&[0, 0, procedure, 0, 0, 1, 0, 1, 0], counts].concat();
    let plain = [26, 33, 40, 47].into_iter().flat_map(|words| [words - 1, words]);
    let plus = [26, 68, 110, 152].into_iter().flat_map(|words| [words - 1, words]);
    let plain = plain.map(|words| listing(16, &[1, words]));
    // dircount is as large as it gets: the tenth of the words to pick from.
    plain.chain(plus.map(|words| listing(17, &[0, 9, 1, words]))).collect()
}

/// Handles of three keys, whole, flipped, spliced; and bytes.
fn handles() -> Vec<Vec<u8>> {
    let handle = |key: u8| [&[key][..], b"0123456789abcdef", &[0, 3], &[0, 0, 0, 0, 0, 0, 0, 9]].concat();
    let mut found = vec![vec![0; 45], [&[0, 1, 1][..], &[7; 42]].concat()];
    for key in 0..3 {
        found.push([&[3], &handle(key)[..], &[20, 1]].concat());
        for at in [0, 1, 2, 17, 18, 20, 27, 28, 43] {
            found.push([&[1], &handle(key)[..], &[0x10, at]].concat());
        }
        for (from, to) in [(0, 44), (2, 18), (18, 20), (20, 28), (28, 44), (1, 2), (0, 28)] {
            found.push([&[2], &handle(key)[..], &handle((key + 1) % 3), &[from, to]].concat());
        }
    }
    found
}
