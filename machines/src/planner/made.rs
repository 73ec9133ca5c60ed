//! Generations that the planner has made, remembered by what they were made of, so that a machine that boots again costs no
//! stage.

use std::hash::Hash;

use oneroot_ids::GenerationId;
use oneroot_tree::Store;
use quick_cache::sync::Cache;

use crate::error::Result;

/// What was made, by what it was made of.
pub struct Made<K>(Cache<K, GenerationId>);

impl<K: Eq + Hash> Made<K> {
    /// Nothing yet, and no more than `most`: what was used least goes.
    pub fn at_most(most: usize) -> Self {
        Self(Cache::new(most))
    }

    /// The generation that was made of `from`; made now, where there is none.
    pub fn or_make(
        &self,
        store: &Store,
        from: K,
        make: impl FnOnce(&K) -> Result<GenerationId>,
    ) -> Result<GenerationId> {
        // No reference names it, so a collection may have taken it since.
        if let Some(known) = self.0.get(&from).filter(|known| store.keep_generation(*known)) {
            return Ok(known);
        }
        let generation = make(&from)?;
        self.0.insert(from, generation);
        Ok(generation)
    }
}
