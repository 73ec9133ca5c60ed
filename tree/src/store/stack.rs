//! Stacks in the store, and the views made from them, shared as far as their layers are the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Store;
use super::gc::{make_young, open_wherever};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::view::{Level, View};
use oneroot_ids::{GenerationId, ViewId};

/// First line of a stack object; its number is the format's version.
const STACK: &str = "oneroot stack 1\n";

/// The bytes of a stack object: a line for each generation, bottom first.
fn stack_object(generations: &[GenerationId]) -> String {
    let lines: String = generations.iter().map(|id| format!("{id}\n")).collect();
    format!("{STACK}{lines}")
}

/// A view's id is the hash of its stack object, cut to 128 bits, for it must fit into a handle of 64 bytes.
fn view_id(generations: &[GenerationId]) -> ViewId {
    let hash = blake3::hash(stack_object(generations).as_bytes());
    let mut id = [0; 16];
    id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    ViewId(id)
}

impl Store {
    /// Names a stack of generations, bottom first, durably.
    ///
    /// # Errors
    /// [`Error::StackHeight`], [`Error::NoGeneration`] for one that is not there, or the system's.
    pub fn put_stack(&self, generations: &[GenerationId]) -> Result<ViewId> {
        if generations.is_empty() || generations.len() > usize::from(u16::MAX) {
            return Err(Error::StackHeight(generations.len()));
        }
        self.in_place()?;
        // Whoever names a stack is about to use it: from here on, a collection finds its generations young.
        let missing = |id: &&GenerationId| !self.keep_generation(**id);
        if let Some(id) = generations.iter().find(missing) {
            return Err(Error::NoGeneration(*id));
        }
        let id = view_id(generations);
        let stacks = self.stacks.path();
        let path = stacks.join(id.to_string());
        if make_young(&path) {
            // Whoever named it may have been killed before the name was synced, and a pin is about to promise it.
            self.sync_names(stacks)?;
        } else {
            self.write_whole(&path, stack_object(generations).as_bytes())?;
        }
        Ok(id)
    }

    /// The generations of a stack, bottom first.
    ///
    /// # Errors
    /// [`Error::NoStack`], or the system's.
    pub fn stack(&self, id: ViewId) -> Result<Vec<GenerationId>> {
        let name = id.to_string();
        let opened =
            self.either(open_wherever(&self.stacks, &name), |below| open_wherever(&below.stacks, &name));
        let text = match opened.and_then(std::io::read_to_string) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Err(Error::NoStack(id)),
            Err(cause) => return Err(Error::io("read", self.stacks.path().join(name))(cause)),
        };
        let lines = text.strip_prefix(STACK).ok_or(Error::NoStack(id))?.lines();
        let generations: Vec<_> =
            lines.map(|line| line.parse().map_err(|_| Error::NoStack(id))).collect::<Result<_>>()?;
        // A name is a hash: what does not hash to it is not what was asked for, whoever wrote it.
        if view_id(&generations) == id { Ok(generations) } else { Err(Error::NoStack(id)) }
    }
}

/// Views in memory. Indexes and lower levels are shared between views, and go when the last view that uses them goes.
pub struct Views {
    store: Arc<Store>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    views: HashMap<ViewId, Weak<View>>,
    indexes: HashMap<GenerationId, Weak<Index>>,
    /// By the id that a stack of the levels up to here would have.
    levels: HashMap<ViewId, Weak<Level>>,
    /// Number of views at which the dead ones are looked for next.
    sweep_at: usize,
}

impl Shared {
    /// Drops the names of what nobody uses any more. Done when the number of views has doubled, so that loading ten
    /// thousand views does not walk ten thousand maps.
    fn forget_the_dead(&mut self) {
        if self.views.len() < self.sweep_at {
            return;
        }
        self.views.retain(|_, view| view.strong_count() > 0);
        self.indexes.retain(|_, index| index.strong_count() > 0);
        self.levels.retain(|_, level| level.strong_count() > 0);
        self.sweep_at = 64 + 2 * self.views.len();
    }
}

/// Whichever of two threads was first: what both have read is in memory once, however long the views live.
fn first<K: Eq + Hash, V>(known: &mut HashMap<K, Weak<V>>, id: K, read: Arc<V>) -> Arc<V> {
    match known.get(&id).and_then(Weak::upgrade) {
        Some(first) => first,
        None => {
            known.insert(id, Arc::downgrade(&read));
            read
        }
    }
}

impl Views {
    /// No views yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, shared: Mutex::default() }
    }

    /// The store that the views come from.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A view that is in memory already.
    #[must_use]
    pub fn loaded(&self, id: ViewId) -> Option<Arc<View>> {
        self.shared().views.get(&id)?.upgrade()
    }

    /// Reads and merges a view, or finds it in memory. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::NoStack`], [`Error::NoGeneration`], [`Error::BadIndex`], or the system's.
    pub fn load(&self, id: ViewId) -> Result<Arc<View>> {
        if let Some(view) = self.loaded(id) {
            return Ok(view);
        }
        self.of(&self.store.stack(id)?)
    }

    /// The view of a stack that may have no name in the store yet: to look into it before anybody is promised it. Blocks on
    /// the disk.
    ///
    /// # Errors
    /// [`Error::StackHeight`], [`Error::NoGeneration`], [`Error::BadIndex`], or the system's.
    pub fn of(&self, generations: &[GenerationId]) -> Result<Arc<View>> {
        let id = view_id(generations);
        if let Some(view) = self.loaded(id) {
            return Ok(view);
        }
        let mut levels: Vec<Arc<Level>> = Vec::with_capacity(generations.len());
        for height in 1..=generations.len() {
            let stack = generations.get(..height).unwrap_or_default();
            let Some(top) = stack.last() else { continue };
            let level = self.level(view_id(stack), *top, &levels)?;
            levels.push(level);
        }
        let top = levels.pop().ok_or(Error::StackHeight(0))?;
        let view = Arc::new(View::new(id, top));
        let mut shared = self.shared();
        shared.forget_the_dead();
        Ok(first(&mut shared.views, id, view))
    }

    fn level(&self, id: ViewId, top: GenerationId, below: &[Arc<Level>]) -> Result<Arc<Level>> {
        if let Some(level) = self.shared().levels.get(&id).and_then(Weak::upgrade) {
            return Ok(level);
        }
        let level = Arc::new(Level::new(self.index(top)?, below.to_vec()));
        Ok(first(&mut self.shared().levels, id, level))
    }

    fn index(&self, id: GenerationId) -> Result<Arc<Index>> {
        if let Some(index) = self.shared().indexes.get(&id).and_then(Weak::upgrade) {
            return Ok(index);
        }
        // Read without the lock: another thread may read the same one meanwhile, and one of the two is dropped.
        let index = Arc::new(self.store.generation(id)?);
        Ok(first(&mut self.shared().indexes, id, index))
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
