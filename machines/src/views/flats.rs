//! Trees as they are told to other hosts: one index each, packed, and the list of objects that both sides count by.
//!
//! Ten thousand machines with one profile ask for one index: what was made for one is kept for the next, as far as the room
//! goes, and what several ask for at once is made once. A tree's name costs next to nothing and is remembered longer than the
//! tree: who has it already hears so without it being made again.

use std::sync::Arc;

use oneroot_ids::{GenerationId, ObjectId, ViewId};
use oneroot_tree::{Index, Store, View, replica, stream};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use crate::error::Result;
use crate::index::copies::Holder;

/// Bytes of indexes and of packed ones that are held, each.
const MOST: u64 = 128 * 1024 * 1024;
/// About as many as that is.
const USUAL: usize = 64;
/// Looks into the store, and plans, at once: moments of a disk.
const TURNS: usize = 4;
/// Trees that are made into an index or packed at once: each takes a processor, and memory for a whole tree.
const ROOMS: usize = 2;
/// Views whose trees' names are remembered, and names of which is remembered who was told them.
const NAMES: usize = 20_000;
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
    /// A view is named by what it is made of, so the name of its tree is always the same.
    names: Cache<ViewId, GenerationId>,
    /// Which view is this tree: for indexes that are in no store.
    views: Cache<GenerationId, ViewId>,
    /// Who has been told of which tree.
    told: Cache<(Holder, GenerationId), ()>,
    /// Who asks for a tree has a turn before a thread: hundreds that wait for one would take those that boots need.
    pub turns: Arc<Semaphore>,
    /// The same for what takes a processor. Who is only told that nothing has changed needs none of these.
    pub rooms: Arc<Semaphore>,
}

impl Flats {
    /// None yet.
    pub fn new() -> Self {
        Self {
            flats: Cache::with_weighter(USUAL, MOST, Bytes),
            packed: Cache::with_weighter(USUAL, MOST, Bytes),
            names: Cache::new(NAMES),
            views: Cache::new(NAMES),
            told: Cache::new(NAMES),
            turns: Arc::new(Semaphore::new(TURNS)),
            rooms: Arc::new(Semaphore::new(ROOMS)),
        }
    }

    /// The name of a view's tree, if that was made before.
    pub fn name(&self, view: ViewId) -> Option<GenerationId> {
        self.names.get(&view)
    }

    /// A view as one tree, if it is held.
    pub fn held(&self, view: ViewId) -> Option<Arc<Flat>> {
        self.flats.get(&view)
    }

    /// A tree's packed index against another one, if it is held.
    pub fn packed_before(&self, tree: GenerationId, against: Option<GenerationId>) -> Option<Arc<[u8]>> {
        self.packed.get(&(tree, against))
    }

    /// A view as one tree; who comes while somebody makes it waits for that one. Takes a moment.
    pub fn of(&self, view: &View) -> Result<Arc<Flat>> {
        self.flats.get_or_insert_with(&view.id(), || {
            let index = view.flat()?;
            let objects = replica::objects(&index).collect();
            self.names.insert(view.id(), index.generation());
            self.views.insert(index.generation(), view.id());
            Ok(Arc::new(Flat { index, objects }))
        })
    }

    /// Somebody makes this one, and does not end before what is given goes.
    #[cfg(test)]
    pub fn held_up(&self, view: ViewId) -> impl Sized + '_ {
        self.flats.get_value_or_guard(&view, None)
    }

    /// A tree's packed index: against an older one that the other side has and may know of, where that is known here. Takes a
    /// moment.
    pub fn packed(&self, store: &Store, flat: &Flat, have: Option<GenerationId>) -> Result<Arc<[u8]>> {
        let generation = flat.index.generation();
        if let Some(packed) = self.packed_before(generation, have) {
            return Ok(packed);
        }
        let older = have.and_then(|have| self.known(store, have));
        // Who makes a name up has what everybody has who has nothing.
        let against = older.as_ref().map(|older| older.generation());
        let pack = || Ok(stream::pack(&flat.index, older.as_deref())?.into());
        self.packed.get_or_insert_with(&(generation, against), pack)
    }

    fn known(&self, store: &Store, generation: GenerationId) -> Option<Arc<Index>> {
        if let Some(flat) = self.views.get(&generation).and_then(|view| self.flats.get(&view)) {
            return Some(flat.index.clone());
        }
        let index = store.generation(generation).ok()?;
        // One with whiteouts is a layer, and nobody has been told it as it stands.
        (index.whiteouts() == 0).then(|| Arc::new(index))
    }

    /// Somebody is told of a tree: its name is nothing new to him from now on.
    pub fn tell(&self, holder: &Holder, tree: GenerationId) {
        self.told.insert((holder.clone(), tree), ());
    }

    /// Whether somebody was told of a tree.
    pub fn has_told(&self, holder: &Holder, tree: GenerationId) -> bool {
        self.told.get(&(holder.clone(), tree)).is_some()
    }
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
