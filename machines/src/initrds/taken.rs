//! Files of the tree that go into an initrd, read as what the tree has. What a disk has spoiled would be packed as if it were right, and
//! a module that does not unpack for that would be taken for the tree's fault for as long as the tree is the same: both are the store's.

use std::io::{self, Read};

use oneroot_ids::ObjectId;
use oneroot_tree::Store;
use oneroot_tree::packed::unpacked;

use crate::error::{Error, Result};
use crate::objects::{Objects, changed};

/// A file's bytes, unpacked where they are packed, at most so many; or why they are none of a good file's.
///
/// # Errors
/// The store's, and [`io::ErrorKind::InvalidData`] where it does not have what the tree has.
pub fn taken(store: &Store, object: ObjectId, most: u64) -> Result<io::Result<Vec<u8>>> {
    let mut from = Hashed { from: store.object(object)?, hasher: blake3::Hasher::new() };
    let bytes = unpacked(&mut from, most);
    // Whoever unpacks need not come to the end; one that is too large is not read for that.
    io::copy(&mut from.by_ref().take(most), &mut io::sink())?;
    let is_all = from.read(&mut [0])? == 0;
    if is_all && from.hasher.finalize().as_bytes() != &object.0 { Err(spoiled(object)) } else { Ok(bytes) }
}

/// The beginning of a file as it lies there, so many bytes of it; all of a shorter one.
///
/// # Errors
/// As [`taken`].
pub fn plain(store: &Store, object: ObjectId, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = store.object(object)?;
    (&mut file).take(most).read_to_end(&mut bytes)?;
    let is_all = (bytes.len() as u64) < most;
    if is_all && blake3::hash(&bytes).as_bytes() != &object.0 { Err(spoiled(object)) } else { Ok(bytes) }
}

/// Says which it is, and what helps.
fn spoiled(object: ObjectId) -> Error {
    let cause = changed();
    Objects::complain(object, &cause);
    cause.into()
}

struct Hashed<R> {
    from: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.hasher.update(to.get(..count).unwrap_or_default());
        Ok(count)
    }
}
