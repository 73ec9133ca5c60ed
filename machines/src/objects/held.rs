//! Contents of small files, held in memory: half of a root's files are smaller than a page or two, and opening one costs
//! more than sending it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oneroot_ids::ObjectId;

/// Bytes of the largest file that is held.
pub const LARGEST: usize = 32 * 1024;
/// Bytes held altogether, at most.
const MOST: usize = 64 * 1024 * 1024;
/// Parts with a lock each, so that threads seldom meet at one.
const PARTS: usize = 16;
/// What an entry takes beside its contents: key, pointer, counts, the table's and the allocator's slack.
const ENTRY: usize = 160;

/// The contents that are held.
pub struct Held([Mutex<Part>; PARTS]);

#[derive(Default)]
struct Part {
    bytes: usize,
    contents: HashMap<ObjectId, Arc<[u8]>, BuildHasherDefault<Front>>,
}

impl Held {
    /// None yet.
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// The contents of an object, if they are held.
    pub fn get(&self, id: ObjectId) -> Option<Arc<[u8]>> {
        self.part(id).contents.get(&id).cloned()
    }

    /// Holds the contents of an object, of [`LARGEST`] bytes at most, from now on.
    pub fn put(&self, id: ObjectId, contents: &[u8]) -> Arc<[u8]> {
        let contents = Arc::<[u8]>::from(contents);
        let mut part = self.part(id);
        if part.bytes > MOST / PARTS - LARGEST - ENTRY {
            super::halve(&mut part.contents);
            part.bytes = part.contents.values().map(|contents| contents.len() + ENTRY).sum();
        }
        if part.contents.insert(id, contents.clone()).is_none() {
            part.bytes += contents.len() + ENTRY;
        }
        contents
    }

    fn part(&self, id: ObjectId) -> MutexGuard<'_, Part> {
        let [first, ..] = id.0;
        let [start, ..] = &self.0;
        let part = self.0.get(usize::from(first) % PARTS).unwrap_or(start);
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of an object's id is its hash in the table: an id is a BLAKE3 already, and none is a client's choice.
#[derive(Default)]
struct Front(u64);

impl Hasher for Front {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A length may be written before the bytes; the last eight of those are what counts.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*last);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ObjectId {
        ObjectId(std::array::from_fn(|at| number.to_le_bytes()[at % 4]))
    }

    #[test]
    fn what_is_put_is_there_and_is_its_own() {
        let held = Held::new();
        for number in 0..1000 {
            held.put(id(number), &number.to_le_bytes());
        }
        for number in 0..1000 {
            assert_eq!(&held.get(id(number)).unwrap()[..], number.to_le_bytes());
        }
        assert!(held.get(id(1000)).is_none());
    }

    #[test]
    fn no_more_is_held_than_was_said_and_some_always_is() {
        let held = Held::new();
        let contents = vec![7; LARGEST];
        for number in 0..10_000 {
            held.put(id(number), &contents);
            let part = held.part(id(number));
            assert!(part.bytes <= MOST / PARTS);
            let real: usize = part.contents.values().map(|contents| contents.len() + ENTRY).sum();
            assert_eq!(part.bytes, real);
        }
        let all: usize = held.0.iter().map(|part| part.lock().unwrap().contents.len()).sum();
        assert!(all > MOST / LARGEST / 3, "{all} held");
    }

    #[test]
    fn contents_that_are_put_twice_count_once() {
        let held = Held::new();
        held.put(id(1), b"x");
        held.put(id(1), b"x");
        assert_eq!(held.part(id(1)).bytes, 1 + ENTRY);
    }
}
