//! Forged handles, ten million of them: none is taken.
//!
//! What a forger has is good handles, its own and, if it listens, other machines'. So each forgery starts from those:
//! bits flipped, fields and tags exchanged, cut, stretched, moved; and some from nothing. ONEROOT_HANDLES is how many,
//! ONEROOT_SEED which.

use oneroot_nfsd::{HANDLE_LEN, Handle, Keyring, NodeId};

/// What a test run tries unless it is told otherwise: about six seconds of CPU time in a debug build.
const MANY: u64 = 10_000_000;

/// The fields of a handle: version, key id, view, layer, inode, tag.
const FIELDS: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 18), (18, 20), (20, 28), (28, HANDLE_LEN)];

/// SplitMix64: enough to choose by, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Good handles of 16 machines' views, four layers, 16 inodes near each other, under three keys. The third key is on no
/// ring: what another site's server has sealed.
fn good_handles() -> Vec<[u8; HANDLE_LEN]> {
    let mut found = Vec::new();
    for (key, secret) in [(1, [0x11; 32]), (2, [0x22; 32]), (3, [0x33; 32])] {
        let ring = Keyring::new(key, &secret);
        for at in 0..16 * 4 * 16_u64 {
            let (machine, layer, ino) = (at / 64, (at / 16 % 4) as u16, 1 + at % 16);
            let mut view = *b"view of machine ";
            view[15] = machine as u8;
            found.push(ring.seal(Handle { view, node: NodeId { layer, ino } }));
        }
    }
    found
}

/// One forgery, written to the front of `to`; its length is returned.
fn forge(random: &mut Random, good: &[[u8; HANDLE_LEN]], to: &mut [u8; 128]) -> usize {
    let one = &good[random.below(good.len())];
    let two = &good[random.below(good.len())];
    to[..HANDLE_LEN].copy_from_slice(one);
    match random.below(9) {
        // One bit to eight.
        0 => {
            for _ in 0..1 + random.below(8) {
                let bit = random.below(HANDLE_LEN * 8);
                to[bit / 8] ^= 1 << (bit % 8);
            }
        }
        // Any number of bits.
        1 => {
            for byte in &mut to[..HANDLE_LEN] {
                *byte ^= (random.next() & random.next() & random.next()) as u8;
            }
        }
        // One field of another good handle, or several.
        2 => {
            let chosen = 1 + random.below(62);
            for (_, (from, end)) in FIELDS.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1) {
                to[*from..*end].copy_from_slice(&two[*from..*end]);
            }
        }
        // The tag of one with the body of the other.
        3 => to[28..HANDLE_LEN].copy_from_slice(&two[28..]),
        // Cut, or stretched with what the forger likes.
        4 => {
            random.fill(&mut to[HANDLE_LEN..]);
            return random.below(128);
        }
        // Made up.
        5 => random.fill(&mut to[..HANDLE_LEN]),
        // A good front, and a tag that is guessed.
        6 => random.fill(&mut to[28..HANDLE_LEN]),
        // The neighbour's inode or layer.
        7 => {
            let (_, end) = FIELDS[3 + random.below(2)];
            to[end - 1] = to[end - 1].wrapping_add(1 + random.below(255) as u8);
        }
        // Bytes moved within.
        _ => to[..HANDLE_LEN].rotate_left(1 + random.below(HANDLE_LEN - 1)),
    }
    HANDLE_LEN
}

#[test]
fn none_of_ten_million_forged_handles_is_taken() {
    let good = good_handles();
    let ring = Keyring::new(1, &[0x11; 32]).with_old(2, &[0x22; 32]).unwrap();
    let taken = good.iter().filter(|handle| ring.open(&handle[..]).is_some()).count();
    assert_eq!((good.len(), taken), (3 * 1024, 2 * 1024), "the good ones are good");
    let (count, seed) = (number("ONEROOT_HANDLES", MANY), number("ONEROOT_SEED", 1));
    let (mut random, mut bytes) = (Random(seed), [0; 128]);
    let (mut forged, mut unchanged) = (0, 0_u64);
    while forged < count {
        let len = forge(&mut random, &good, &mut bytes);
        // A field exchanged for an equal one, a bit flipped twice: no forgery. Nothing else may open.
        match ring.open(&bytes[..len]) {
            Some(_) if good.iter().any(|handle| handle[..] == bytes[..len]) => unchanged += 1,
            Some(handle) => panic!("seed {seed}: {:02x?} opens as {handle:?}", &bytes[..len]),
            None => forged += 1,
        }
    }
    println!("{forged} forged handles, none taken; {unchanged} more were good ones after all (seed {seed})");
    assert!(unchanged < count / 20, "forgeries are forgeries");
}
