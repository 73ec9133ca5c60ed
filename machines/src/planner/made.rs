//! Generations that the planner has made, remembered by what they were made of, so that a machine that boots again costs no
//! stage.

use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use oneroot_ids::GenerationId;
use oneroot_tree::Store;
use quick_cache::sync::Cache;

use crate::error::Result;

/// What was made, by what it was made of: by a digest of that, for what machines tell is in it, and the bound is of entries.
pub struct Made<K> {
    known: Cache<[u8; 32], GenerationId>,
    of: PhantomData<fn(&K)>,
}

impl<K: Hash> Made<K> {
    /// Nothing yet, and no more than `most`: what was used least goes.
    pub fn at_most(most: usize) -> Self {
        Self { known: Cache::new(most), of: PhantomData }
    }

    /// The generation that was made of `from`; made now, where there is none.
    pub fn or_make(
        &self,
        store: &Store,
        from: &K,
        make: impl FnOnce(&K) -> Result<GenerationId>,
    ) -> Result<GenerationId> {
        let digest = Digest::of(from);
        // No reference names it, so a collection may have taken it since.
        if let Some(known) = self.known.get(&digest).filter(|known| store.keep_generation(*known)) {
            return Ok(known);
        }
        let generation = make(from)?;
        self.known.insert(digest, generation);
        Ok(generation)
    }
}

/// Makes of a value, as its type says that it is hashed, a name that nobody finds another value for.
struct Digest(blake3::Hasher);

impl Digest {
    fn of(value: &impl Hash) -> [u8; 32] {
        let mut digest = Self(blake3::Hasher::new());
        value.hash(&mut digest);
        digest.0.finalize().into()
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.finalize().as_bytes();
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_equal_have_one_name_and_those_whose_parts_only_join_alike_have_two() {
        let of = |texts: &[&str]| Digest::of(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", "c"]), of(&["ab", "c", ""]));
        assert_ne!(Digest::of(&(Some(1u8), 2u8)), Digest::of(&(None::<u8>, 2u8)));
    }
}
