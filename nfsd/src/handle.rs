//! File handles: how a node is named on the wire, for ever (docs/decisions/0004).
//!
//! 44 bytes: format version 1, key id 1, view id 16, layer 2, inode number 8 (both big endian), tag 16. The
//! tag is the front of keyed BLAKE3 over all that stands before it. Nothing in a handle depends on the
//! process, the host or the order of anything, so the same bytes are good after a restart, an upgrade, and on
//! another server with the same key. These bytes are final: a client holds them as long as it runs.

use std::fmt;

use oneroot_ids::same;

use crate::tags::{self, BODY_LEN, Body, LANES, TAG_LEN, Tag};
use crate::xdr::halves;
use crate::{Error, NodeId};

/// Names a view: the front of its stack object's hash. Given by the shell, opaque here.
pub type ViewId = [u8; 16];

/// Bytes in a handle; RFC 1813 §2.4 allows 64.
pub const HANDLE_LEN: usize = BODY_LEN + TAG_LEN;

/// Handles that are sealed at once.
pub(crate) const BATCH: usize = LANES;

const VERSION: u8 = 1;

/// Keeps handle tags apart from anything else that the same secret may come to key. Part of the format.
const KEY_CONTEXT: &str = "oneroot nfs handle v1";

/// A handle that was opened: its tag is good, so these numbers were written by a holder of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    /// The view that the node is seen in.
    pub view: ViewId,
    /// The node.
    pub node: NodeId,
}

/// The keys that handles are sealed and opened with. Which old keys are kept is the shell's business: as long
/// as a machine runs on handles of theirs.
#[derive(Clone)]
pub struct Keyring {
    /// The first one seals; all of them open. Seldom more than two, so a scan beats a table.
    keys: Vec<(u8, [u8; 32])>,
}

impl Keyring {
    /// A ring that seals and opens with one key. `secret` must be 32 random bytes that outlive the process.
    pub fn new(id: u8, secret: &[u8; 32]) -> Self {
        Keyring { keys: vec![(id, blake3::derive_key(KEY_CONTEXT, secret))] }
    }

    /// Adds a key that opens, but no longer seals.
    ///
    /// # Errors
    /// [`Error::KeyIdTaken`] when a key on the ring has this id.
    pub fn with_old(mut self, id: u8, secret: &[u8; 32]) -> Result<Self, Error> {
        if self.keys.iter().any(|(taken, _)| *taken == id) {
            return Err(Error::KeyIdTaken(id));
        }
        self.keys.push((id, blake3::derive_key(KEY_CONTEXT, secret)));
        Ok(self)
    }

    /// The wire bytes of a handle, sealed with the current key.
    pub fn seal(&self, handle: Handle) -> [u8; HANDLE_LEN] {
        let (id, key) = self.current();
        let body = body(id, &handle.view, handle.node);
        joined(&body, &tags::one(key, &body))
    }

    /// The wire bytes of many handles of one view, each as [`seal`](Self::seal) has it: for the pages of directories.
    pub(crate) fn seal_batch(&self, view: &ViewId, nodes: &[NodeId; BATCH]) -> [[u8; HANDLE_LEN]; BATCH] {
        let (id, key) = self.current();
        let mut bodies = [Body::default(); BATCH];
        for (to, node) in bodies.iter_mut().zip(nodes) {
            *to = body(id, view, *node);
        }
        let mut handles = [[0; HANDLE_LEN]; BATCH];
        let tags = tags::eight(key, &bodies);
        for (handle, (body, tag)) in handles.iter_mut().zip(bodies.iter().zip(&tags)) {
            *handle = joined(body, tag);
        }
        handles
    }

    /// The key that seals. A ring is never empty: `new` puts a key on it, and none is ever taken off.
    fn current(&self) -> (u8, &[u8; 32]) {
        self.keys.first().map_or((0, &[0; 32]), |(id, key)| (*id, key))
    }

    /// What a handle names, or `None` when no key of this ring sealed these bytes: wrong length, version, key
    /// or tag.
    pub fn open(&self, bytes: &[u8]) -> Option<Handle> {
        let bytes: &[u8; HANDLE_LEN] = bytes.try_into().ok()?;
        let (&[version, id], rest) = bytes.split_first_chunk::<2>()?;
        if version != VERSION {
            return None;
        }
        let (_, key) = self.keys.iter().find(|(known, _)| *known == id)?;
        let (view, rest) = rest.split_first_chunk::<16>()?;
        let (layer, rest) = rest.split_first_chunk::<2>()?;
        let ino = rest.first_chunk::<8>()?;
        let node = NodeId { layer: u16::from_be_bytes(*layer), ino: u64::from_be_bytes(*ino) };
        let handle = Handle { view: *view, node };
        let body = body(id, &handle.view, handle.node);
        same(&joined(&body, &tags::one(key, &body)), bytes).then_some(handle)
    }
}

/// Key ids only: a log line must not give the keys away.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

/// All of a handle but its tag: its bytes in order, four by four. In words, because each name of a page comes here, and bytes
/// that are written one by one and read as words have the processor wait.
#[inline]
fn body(id: u8, view: &ViewId, node: NodeId) -> Body {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *view;
    let [q, r] = node.layer.to_be_bytes();
    let [high, low] = halves(node.ino);
    let words = [[VERSION, id, a, b], [c, d, e, f], [g, h, i, j], [k, l, m, n], [o, p, q, r]];
    let [v, w, x, y, z] = words.map(u32::from_le_bytes);
    [v, w, x, y, z, high.swap_bytes(), low.swap_bytes()]
}

#[inline]
fn joined(body: &Body, tag: &Tag) -> [u8; HANDLE_LEN] {
    let mut bytes = [0; HANDLE_LEN];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(body.iter().chain(tag)) {
        *to = word.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [0x5a; 32];
    const NODE: Handle =
        Handle { view: *b"0123456789abcdef", node: NodeId { layer: 3, ino: 0x0102_0304_0506_0708 } };

    /// Handles are on running clients: if this fails, the format has changed, and they all would go stale.
    #[test]
    fn the_bytes_of_a_handle_never_change() {
        let hex: String =
            Keyring::new(7, &SECRET).seal(NODE).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            &hex[..56],
            "0107303132333435363738396162636465660003\
                                0102030405060708"
        );
        assert_eq!(&hex[56..], "5d251e2714b68c0d8f9d11413efeced2");
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let ring = Keyring::new(7, &SECRET);
        let good = ring.seal(NODE);
        assert_eq!(ring.open(&good), Some(NODE));
        for bit in 0..HANDLE_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring.open(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let ring = Keyring::new(7, &SECRET);
        let long = [&ring.seal(NODE)[..], &[0; 84]].concat();
        for len in (0..=long.len()).filter(|len| *len != HANDLE_LEN) {
            assert_eq!(ring.open(&long[..len]), None, "{len} bytes");
        }
    }

    /// Half of them keep a good front (version, key id, view), so that only the tag can refuse them.
    #[test]
    fn none_of_a_hundred_thousand_random_handles_is_taken() {
        let ring = Keyring::new(7, &SECRET);
        let good = ring.seal(NODE);
        let mut random = blake3::Hasher::new().update(b"random handles").finalize_xof();
        for round in 0..100_000 {
            let mut bytes = [0; HANDLE_LEN];
            random.fill(&mut bytes);
            if round % 2 == 0 {
                bytes[..18].copy_from_slice(&good[..18]);
            }
            assert_eq!(ring.open(&bytes), None);
        }
    }

    #[test]
    fn an_old_key_opens_and_no_longer_seals() {
        let old = Keyring::new(1, &SECRET);
        let new = Keyring::new(2, &[9; 32]).with_old(1, &SECRET).unwrap();
        assert_eq!(new.open(&old.seal(NODE)), Some(NODE));
        assert_eq!(old.open(&new.seal(NODE)), None);
        assert_eq!(new.with_old(2, &SECRET).unwrap_err(), Error::KeyIdTaken(2));
    }

    #[test]
    fn the_same_key_under_another_id_seals_other_handles() {
        assert_eq!(Keyring::new(1, &SECRET).open(&Keyring::new(2, &SECRET).seal(NODE)), None);
    }

    /// A newer server with the same key may come to seal another format; its numbers would mean something
    /// else here.
    #[test]
    fn another_format_is_refused_though_its_tag_is_good() {
        let ring = Keyring::new(7, &SECRET);
        let mut bytes = ring.seal(NODE);
        bytes[0] = 2;
        let words = bytes.as_chunks().0.first_chunk().unwrap().map(u32::from_le_bytes);
        bytes = joined(&words, &tags::one(&ring.keys[0].1, &words));
        assert_eq!(ring.open(&bytes), None);
    }

    #[test]
    fn a_batch_has_the_bytes_of_handles_that_are_sealed_one_by_one() {
        let ring = Keyring::new(7, &SECRET);
        let mut random = blake3::Hasher::new().update(b"random nodes").finalize_xof();
        for _ in 0..1000 {
            let nodes = [(); BATCH].map(|()| {
                let mut bytes = [0; 10];
                random.fill(&mut bytes);
                let [a, b, ino @ ..] = bytes;
                NodeId { layer: u16::from_be_bytes([a, b]), ino: u64::from_be_bytes(ino) }
            });
            let one_by_one = nodes.map(|node| ring.seal(Handle { view: NODE.view, node }));
            assert_eq!(ring.seal_batch(&NODE.view, &nodes), one_by_one);
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", Keyring::new(7, &SECRET)), "[7]");
    }
}
