//! Trees as they are told to other hosts: one index each, packed, and the list of objects that both sides count by.
//!
//! Ten thousand machines with one profile ask for one index: what was made for one is kept for the next, as far as the room
//! goes, and what several ask for at once is made once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oneroot_ids::{GenerationId, ObjectId, ViewId};
use oneroot_tree::{Index, Store, View, replica, stream};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::error::Result;

/// Bytes of indexes and of packed ones that are held, each.
const MOST: u64 = 128 * 1024 * 1024;
/// About as many as that is.
const USUAL: usize = 64;
/// Trees that are planned, made into an index or packed at once.
const TURNS: usize = 2;
/// Bytes of one entry of the list of objects.
const ENTRY: u64 = 40;

/// A view as one tree.
pub struct Flat {
    /// Its index, which names it.
    pub index: Arc<Index>,
    /// Its objects and their sizes, in the order in which both sides count them.
    pub objects: Objects,
}

/// A tree's objects and their sizes, in the order in which both sides count them.
pub type Objects = Arc<[(ObjectId, u64)]>;

#[derive(Clone)]
struct Bytes;

impl Weighter<ViewId, Arc<Flat>> for Bytes {
    fn weight(&self, _: &ViewId, flat: &Arc<Flat>) -> u64 {
        flat.index.bytes().len() as u64 + flat.objects.len() as u64 * ENTRY
    }
}

impl Weighter<(GenerationId, Option<GenerationId>), Arc<[u8]>> for Bytes {
    fn weight(&self, _: &(GenerationId, Option<GenerationId>), packed: &Arc<[u8]>) -> u64 {
        packed.len() as u64 + 128
    }
}

/// What was made so far.
pub struct Flats {
    flats: Cache<ViewId, Arc<Flat>, Bytes>,
    packed: Cache<(GenerationId, Option<GenerationId>), Arc<[u8]>, Bytes>,
    /// Which view is this tree: for indexes that are in no store.
    views: Mutex<HashMap<GenerationId, ViewId>>,
    /// One is made at a time: it takes a processor, and who waits for the same one has it then.
    making: Mutex<()>,
    /// Who asks for a tree has a turn before a thread: hundreds that wait for one would take those that boots need.
    pub turns: Arc<Semaphore>,
}

impl Flats {
    /// None yet.
    pub fn new() -> Self {
        Self {
            flats: Cache::with_weighter(USUAL, MOST, Bytes),
            packed: Cache::with_weighter(USUAL, MOST, Bytes),
            views: Mutex::default(),
            making: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// A view as one tree. Takes a moment.
    pub fn of(&self, view: &View) -> Result<Arc<Flat>> {
        if let Some(flat) = self.flats.get(&view.id()) {
            return Ok(flat);
        }
        let _making = lock(&self.making);
        if let Some(flat) = self.flats.get(&view.id()) {
            return Ok(flat);
        }
        let index = view.flat()?;
        let objects = replica::objects(&index).collect();
        let flat = Arc::new(Flat { index, objects });
        self.flats.insert(view.id(), flat.clone());
        let mut views = lock(&self.views);
        // Those whose trees were let go of are forgotten with them.
        if views.len() >= 4 * USUAL {
            views.retain(|_, view| self.flats.peek(view).is_some());
        }
        views.insert(flat.index.generation(), view.id());
        Ok(flat)
    }

    /// A tree's packed index: against an older one that the other side has, where that is known here. Takes a moment.
    pub fn packed(&self, store: &Store, flat: &Flat, have: Option<GenerationId>) -> Result<Arc<[u8]>> {
        let generation = flat.index.generation();
        let made = |have| self.packed.get(&(generation, have));
        if let Some(packed) = made(have) {
            return Ok(packed);
        }
        let _making = lock(&self.making);
        let older = have.and_then(|have| self.known(store, have));
        // Who makes a name up has what everybody has who has nothing.
        let against = older.as_ref().map(|older| older.generation());
        if let Some(packed) = made(against) {
            return Ok(packed);
        }
        let packed: Arc<[u8]> = stream::pack(&flat.index, older.as_deref())?.into();
        self.packed.insert((generation, against), packed.clone());
        Ok(packed)
    }

    fn known(&self, store: &Store, generation: GenerationId) -> Option<Arc<Index>> {
        let view = lock(&self.views).get(&generation).copied();
        if let Some(flat) = view.and_then(|view| self.flats.get(&view)) {
            return Some(flat.index.clone());
        }
        let index = store.generation(generation).ok()?;
        // One with whiteouts is a layer, and nobody has been told it as it stands.
        (index.whiteouts() == 0).then(|| Arc::new(index))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oneroot_tree::IndexBuilder;

    #[test]
    fn whatever_nobody_knows_is_packed_once_and_as_for_one_who_has_nothing() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("store")).unwrap();
        let flat = Flat { index: Arc::new(IndexBuilder::new().finish().unwrap()), objects: Arc::new([]) };
        let flats = Flats::new();
        let first = flats.packed(&store, &flat, None).unwrap();
        for made_up in 1..100 {
            let packed = flats.packed(&store, &flat, Some(GenerationId([made_up; 32]))).unwrap();
            assert!(Arc::ptr_eq(&packed, &first));
        }
        assert_eq!(flats.packed.len(), 1);
    }
}
