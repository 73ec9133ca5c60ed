//! Tables by object. An object's name is a hash already, so it is not hashed as a text is; but another host says which names there
//! are, so a key that it does not know decides where each has its place.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use oneroot_ids::ObjectId;

/// Something for each object.
pub type ObjectMap<T> = HashMap<ObjectId, T, ByObject>;
/// Some objects.
pub type ObjectSet = HashSet<ObjectId, ByObject>;

/// How objects have their places in a table.
#[derive(Debug, Clone)]
pub struct ByObject([u64; 2]);

impl Default for ByObject {
    fn default() -> Self {
        let random = RandomState::new();
        // Odd, so that no bit is lost.
        Self([random.hash_one(0), random.hash_one(1) | 1])
    }
}

impl BuildHasher for ByObject {
    type Hasher = Place;

    fn build_hasher(&self) -> Place {
        Place { key: self.0, state: 0 }
    }
}

/// An object's place, while it is found.
#[derive(Debug)]
pub struct Place {
    key: [u64; 2],
    state: u64,
}

impl Place {
    /// Both halves of a product, so that each bit of both words counts.
    fn fold(&mut self, one: u64, other: u64) {
        let product = u128::from(self.state ^ one ^ self.key[0]) * u128::from(other ^ self.key[1]);
        let bytes = product.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        let word = |half: &[u8]| half.try_into().map_or(0, u64::from_le_bytes);
        self.state = word(low) ^ word(high);
    }
}

impl Hasher for Place {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(16) {
            let mut words = [0; 16];
            words.iter_mut().zip(pair).for_each(|(word, byte)| *word = *byte);
            let [a, b, c, d, e, f, g, h, rest @ ..] = words;
            self.fold(u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest));
        }
    }

    /// How long a name is says nothing: all are as long.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_one_byte_have_places_apart() {
        let by = ByObject::default();
        let places: HashSet<u64> = (0..32u8)
            .flat_map(|at| (1..=255u8).map(move |byte| (at, byte)))
            .map(|(at, byte)| {
                let mut name = [0; 32];
                name[usize::from(at)] = byte;
                by.hash_one(ObjectId(name)) >> 48
            })
            .collect();
        // 8,160 names over 65,536 places: about 7,680 of them are taken if it is by chance.
        assert!(places.len() > 7000, "{}", places.len());
    }
}
