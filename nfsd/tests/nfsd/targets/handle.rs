//! Handles: whatever is opened was sealed, byte for byte.
//!
//! Input: which attempt, then its choices. Three keys are about: the current one, an old one, and one that is on no
//! ring.

use std::sync::LazyLock;

use oneroot_nfsd::{HANDLE_LEN, Handle, Keyring, NodeId};
use oneroot_testkit::Tape;

const SECRETS: [(u8, [u8; 32]); 3] = [(1, [0x11; 32]), (2, [0x22; 32]), (3, [0x33; 32])];

/// Rings of one key each: what could have sealed a handle.
static SEALS: LazyLock<[Keyring; 3]> =
    LazyLock::new(|| SECRETS.map(|(id, secret)| Keyring::new(id, &secret)));
static RING: LazyLock<Keyring> =
    LazyLock::new(|| Keyring::new(1, &SECRETS[0].1).with_old(2, &SECRETS[1].1).unwrap());

pub fn run(data: &[u8]) {
    let mut tape = Tape::new(data);
    match tape.byte() % 4 {
        0 => judge(tape.rest()),
        1 => mutated(&mut tape),
        2 => spliced(&mut tape),
        _ => sealed(&mut tape),
    }
}

/// What must hold of any bytes at all: opened means that a key of the ring sealed exactly these.
fn judge(bytes: &[u8]) {
    let Some(handle) = RING.open(bytes) else { return };
    let key = SECRETS.iter().position(|(id, _)| Some(id) == bytes.get(1)).unwrap();
    assert!(key < 2, "a key that is not on the ring opened a handle");
    assert_eq!(SEALS[key].seal(handle)[..], *bytes, "opened, and never sealed");
}

fn any_handle(tape: &mut Tape<'_>) -> (usize, Handle) {
    let key = tape.below(3);
    let mut view = [0; 16];
    let given = tape.take(16);
    view[..given.len()].copy_from_slice(given);
    let layer = u16::from_be_bytes([tape.byte(), tape.byte()]);
    (key, Handle { view, node: NodeId { layer, ino: tape.u64() } })
}

fn sealed(tape: &mut Tape<'_>) {
    let (key, handle) = any_handle(tape);
    let bytes = SEALS[key].seal(handle);
    let due = (key < 2).then_some(handle);
    assert_eq!(RING.open(&bytes), due);
    assert_eq!(RING.open(&bytes[..tape.below(HANDLE_LEN)]), None, "cut");
    assert_eq!(RING.open(&[&bytes[..], &[tape.byte()]].concat()), None, "stretched");
    if key == 0 {
        assert_eq!(RING.seal(handle), bytes, "the first key seals");
    }
}

/// A good handle with any of its bits flipped, as often as the input says.
fn mutated(tape: &mut Tape<'_>) {
    let (key, handle) = any_handle(tape);
    let good = SEALS[key].seal(handle);
    let mut bad = good;
    while !tape.is_empty() {
        let bits = tape.byte();
        bad[tape.below(HANDLE_LEN)] ^= bits;
    }
    judge(&bad);
    assert_eq!(RING.open(&bad).is_some(), bad == good && key < 2, "every bit counts");
}

/// Each byte from one of two good handles: tags, views, inodes and key ids of one in the body of the other.
fn spliced(tape: &mut Tape<'_>) {
    let ((one_key, one), (two_key, two)) = (any_handle(tape), any_handle(tape));
    let (one, two) = (SEALS[one_key].seal(one), SEALS[two_key].seal(two));
    let (from, to) = (tape.below(HANDLE_LEN + 1), tape.below(HANDLE_LEN + 1));
    let mut mixed = one;
    if from < to {
        mixed[from..to].copy_from_slice(&two[from..to]);
    }
    judge(&mixed);
    let whole = (mixed == one && one_key < 2) || (mixed == two && two_key < 2);
    assert_eq!(RING.open(&mixed).is_some(), whole, "bytes {from}..{to} of another handle");
}
