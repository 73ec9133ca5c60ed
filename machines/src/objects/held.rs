//! Contents of small files, held in memory: half of a root's files are smaller than a page or two, and opening one costs
//! more than sending it.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use oneroot_ids::ObjectId;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

/// Bytes of the largest file that is held.
pub const LARGEST: usize = 32 * 1024;
/// Bytes held altogether, at most.
const MOST: u64 = 64 * 1024 * 1024;
/// About as many files as that is: of the page or so that most of them have.
const USUAL: usize = 16 * 1024;
/// What an entry takes beside its contents: key, pointer, counts, the table's and the allocator's slack.
const ENTRY: u64 = 160;

/// The contents that are held. Which go when there is no more room, and the locks, are the cache's: what was asked for once goes
/// before what is asked for again, as by a room that boots.
pub struct ContentCache(Cache<ObjectId, Arc<[u8]>, Bytes, BuildHasherDefault<Front>>);

#[derive(Clone)]
struct Bytes;

impl Weighter<ObjectId, Arc<[u8]>> for Bytes {
    fn weight(&self, _: &ObjectId, contents: &Arc<[u8]>) -> u64 {
        contents.len() as u64 + ENTRY
    }
}

impl ContentCache {
    /// None yet.
    pub fn new() -> Self {
        Self(Cache::with(USUAL, MOST, Bytes, BuildHasherDefault::default(), DefaultLifecycle::default()))
    }

    /// The contents of an object, if they are held.
    pub fn get(&self, id: ObjectId) -> Option<Arc<[u8]>> {
        self.0.get(&id)
    }

    /// Holds the contents of an object, of [`LARGEST`] bytes at most, from now on.
    pub fn put(&self, id: ObjectId, contents: &[u8]) -> Arc<[u8]> {
        let contents = Arc::<[u8]>::from(contents);
        self.0.insert(id, contents.clone());
        contents
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
        let held = ContentCache::new();
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
        let held = ContentCache::new();
        let contents = vec![7; LARGEST];
        for number in 0..10_000 {
            held.put(id(number), &contents);
            assert!(held.0.weight() <= MOST);
        }
        let real: u64 = held.0.iter().map(|(_, contents)| contents.len() as u64 + ENTRY).sum();
        assert_eq!(held.0.weight(), real);
        assert!(real > MOST / 3, "{real} bytes held");
    }

    /// A walk through the whole tree, as `find` or a backup does, pushes nothing out that machines ask for again and again.
    #[test]
    fn what_is_asked_for_again_stays_when_all_else_is_read_once() {
        let held = ContentCache::new();
        let contents = vec![7; LARGEST];
        for number in 0..500 {
            held.put(id(number), &contents);
            assert!(held.get(id(number)).is_some());
        }
        for number in 1000..20_000 {
            held.put(id(number), &contents);
        }
        let left = (0..500).filter(|number| held.get(id(*number)).is_some()).count();
        assert!(left > 400, "{left} of 500 are left");
    }

    #[test]
    fn contents_that_are_put_twice_count_once() {
        let held = ContentCache::new();
        held.put(id(1), b"x");
        held.put(id(1), b"x");
        assert_eq!(held.0.weight(), 1 + ENTRY);
    }
}
