//! File handles: how a node is named on the wire, for ever (docs/decisions/0004).
//!
//! 44 bytes: format version 1, key id 1, view id 16, layer 2, inode number 8 (both big endian), tag 16. The
//! tag is the front of keyed BLAKE3 over all that stands before it. Nothing in a handle depends on the
//! process, the host or the order of anything, so the same bytes are good after a restart, an upgrade, and on
//! another server with the same key. These bytes are final: a client holds them as long as it runs.

use std::fmt;

use oneroot_ids::same;

use crate::{Error, NodeId};

/// Names a view: the front of its stack object's hash. Given by the shell, opaque here.
pub type ViewId = [u8; 16];

/// Bytes in a handle; RFC 1813 §2.4 allows 64.
pub const HANDLE_LEN: usize = 44;

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;

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
        // A ring is never empty: `new` puts a key on it, and none is ever taken off.
        let (id, key) = self.keys.first().copied().unwrap_or_default();
        let NodeId { layer, ino } = handle.node;
        let mut bytes = [0; HANDLE_LEN];
        // Copies of known length, for each entry of a READDIRPLUS is sealed here.
        if let Some((body, tag)) = bytes.split_last_chunk_mut::<TAG_LEN>() {
            if let Some((front, rest)) = body.split_first_chunk_mut::<2>()
                && let Some((view, rest)) = rest.split_first_chunk_mut::<16>()
                && let Some((place, rest)) = rest.split_first_chunk_mut::<2>()
                && let Some((inode, _)) = rest.split_first_chunk_mut::<8>()
            {
                *front = [VERSION, id];
                *view = handle.view;
                *place = layer.to_be_bytes();
                *inode = ino.to_be_bytes();
            }
            *tag = tag_of(&key, body);
        }
        bytes
    }

    /// What a handle names, or `None` when no key of this ring sealed these bytes: wrong length, version, key
    /// or tag.
    pub fn open(&self, bytes: &[u8]) -> Option<Handle> {
        let bytes: &[u8; HANDLE_LEN] = bytes.try_into().ok()?;
        let (body, tag) = bytes.split_last_chunk::<TAG_LEN>()?;
        let (&[version, id], rest) = body.split_first_chunk::<2>()?;
        if version != VERSION {
            return None;
        }
        let (_, key) = self.keys.iter().find(|(known, _)| *known == id)?;
        if !same(&tag_of(key, body), tag) {
            return None;
        }
        let (view, rest) = rest.split_first_chunk::<16>()?;
        let (layer, rest) = rest.split_first_chunk::<2>()?;
        let ino: &[u8; 8] = rest.try_into().ok()?;
        let node = NodeId { layer: u16::from_be_bytes(*layer), ino: u64::from_be_bytes(*ino) };
        Some(Handle { view: *view, node })
    }
}

/// Key ids only: a log line must not give the keys away.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

fn tag_of(key: &[u8; 32], body: &[u8]) -> [u8; TAG_LEN] {
    let hash = blake3::keyed_hash(key, body);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
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
        let tag = tag_of(&ring.keys[0].1, &bytes[..HANDLE_LEN - TAG_LEN]);
        bytes[HANDLE_LEN - TAG_LEN..].copy_from_slice(&tag);
        assert_eq!(ring.open(&bytes), None);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", Keyring::new(7, &SECRET)), "[7]");
    }
}
