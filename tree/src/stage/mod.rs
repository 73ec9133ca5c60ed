//! Staging: a source becomes objects, an index, and a generation with a name.
//!
//! Everything is written under `staging/` first. [`Stage::finish`] syncs the whole file system, then gives the names
//! (store: *durable before named*). A crash before that leaves only litter, which the next stage sweeps.

pub(crate) mod archive;
mod assemble;
mod contents;
mod decompress;
mod directory;
mod header;
mod members;
pub mod oci;
mod pax;
#[cfg(test)]
mod restage;
mod survey;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use decompress::decompress;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::build::{IndexBuilder, NodeRef};
use crate::error::Result;
use crate::index::Index;
use crate::node::{Content, Meta, TreePath};
use crate::parallel::both;
use crate::store::Store;
pub use crate::store::stat_cache::forget;
use crate::store::stat_cache::{Mark, StatCache};
use crate::view::{Node, View};
use contents::{Contents, Stored};
pub use directory::Noted;
use oneroot_ids::GenerationId;
pub(crate) use survey::mounts_below;
pub use survey::{Survey, survey};
use walk::Borders;
pub(crate) use walk::described;

/// How far a stage is, for a progress bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries seen.
    pub entries: u64,
    /// Files that were not read, for they are as they were at the last stage.
    pub unread: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects that the store did not have yet.
    pub new_objects: u64,
    /// Objects that the store had damaged, and that were written anew; only with [`Stage::distrust`].
    pub mended: u64,
    /// Bytes of new objects, as long as their contents are.
    pub new_bytes: u64,
    /// Bytes that those take of the disk, where holes take none. Only known when the stage is finished.
    pub new_on_disk: u64,
}

/// A stage under way. Dropped without [`finish`](Self::finish), it leaves the store as it was.
pub struct Stage<'s> {
    store: &'s Arc<Store>,
    builder: IndexBuilder,
    contents: Contents<'s>,
    buffer: Vec<u8>,
    owner: Option<(u32, u32)>,
    /// The time since 1970, and whether to read all the same, when directories are to be remembered.
    memory: Option<(Duration, bool)>,
    seen: Option<(StatCache, Vec<(NodeRef, Mark)>)>,
    borders: Borders,
    noted: Noted,
    tally: Tally<'s>,
}

/// What has been done, and who hears of it.
struct Tally<'s> {
    progress: Progress,
    report: Box<dyn FnMut(Progress) + 's>,
}

impl Tally<'_> {
    fn entry(&mut self) {
        self.progress.entries += 1;
        if self.progress.entries.is_multiple_of(64) {
            (self.report)(self.progress);
        }
    }

    fn stored(&mut self, stored: Stored) {
        self.progress.bytes += stored.size;
        if stored.new {
            self.progress.new_objects += 1;
            self.progress.new_bytes += stored.size;
        }
        (self.report)(self.progress);
    }
}

impl<'s> Stage<'s> {
    /// Begins a stage; `report` is called as it goes on. Nothing is written before there is something that the store does not
    /// have, so what has been staged before can be staged again on a full disk.
    ///
    /// # Errors
    /// [`crate::Error::StoreMoved`], or the system's.
    pub fn begin(store: &'s Arc<Store>, report: impl FnMut(Progress) + 's) -> Result<Self> {
        store.in_place()?;
        Ok(Self {
            store,
            builder: IndexBuilder::new(),
            contents: Contents::begin(store),
            buffer: Vec::new(),
            owner: None,
            memory: None,
            seen: None,
            borders: Borders { one_file_system: true, ..Borders::default() },
            noted: Noted::default(),
            tally: Tally { progress: Progress::default(), report: Box::new(report) },
        })
    }

    /// The store that it goes into.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Gives every node from here on this owner and group. A layer in an admin's checkout belongs to the admin, and a
    /// merged directory takes its owner from the upper layer: without this, `/etc` would become the admin's.
    pub fn own_all(&mut self, uid: u32, gid: u32) {
        self.owner = Some((uid, gid));
    }

    /// Lets the next [`directory`](Self::directory) read only what has changed since it was staged last, and remembers it
    /// for the next time. `now` is the time since 1970. With `afresh` everything is read, and then remembered.
    pub fn remember(&mut self, now: Duration, afresh: bool) {
        self.memory = Some((now, afresh));
    }

    /// Looks at the bytes of each object that the store has already, and writes those anew that are not what their names say: what
    /// the disk has damaged is put right.
    pub fn distrust(&mut self) {
        self.contents.distrust();
    }

    /// Adds one node; see [`IndexBuilder::insert`].
    ///
    /// # Errors
    /// [`crate::Error::Entry`].
    pub fn insert(&mut self, path: &TreePath<'_>, mut meta: Meta, content: Content) -> Result<()> {
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        self.tally.entry();
        self.builder.insert(path, meta, content)
    }

    /// Adds a second name for a node; see [`IndexBuilder::link`].
    ///
    /// # Errors
    /// [`crate::Error::Entry`].
    pub fn link(&mut self, path: &TreePath<'_>, target: &TreePath<'_>) -> Result<()> {
        self.tally.entry();
        self.builder.link(path, target)
    }

    /// Copies a node of a view, and all below it, to a path; see [`View::copy`]. Its objects are in the store already.
    ///
    /// # Errors
    /// [`crate::Error::Entry`].
    pub fn copy(&mut self, view: &View, from: Node, to: &[u8]) -> Result<()> {
        view.copy(from, to, &mut self.builder)
    }

    /// Reads a file's bytes into an object and says how many there were.
    ///
    /// # Errors
    /// `source` names the file in messages; the system's.
    pub fn object(&mut self, mut from: impl Read, source: &[u8]) -> Result<Content> {
        let stored = self.contents.stream(&mut from, &mut self.buffer, source)?;
        self.tally.stored(stored);
        Ok(stored.content())
    }

    /// Makes all durable, then gives the names. The generation is in the store when this returns.
    ///
    /// # Errors
    /// [`crate::Error::TooLarge`], or the system's. Nothing promises the new generation then; objects that have their names
    /// already go with the next collection.
    pub fn finish(self) -> Result<Finished> {
        let Self { store, builder, contents, seen, mut tally, mut noted, .. } = self;
        noted.sparse = contents.sparse();
        store.in_place()?;
        let made = || {
            let (index, order) = builder.finish_ordered()?;
            let aside = store.write_generation(&index)?;
            // That it can't be written is no failure: see `NextCache::keep`.
            let memory = seen.and_then(|(seen, marks)| {
                let place = contents.place().ok()?;
                Some(seen.written(index.generation(), &in_order(&order, &marks), place))
            });
            Ok((index, aside, memory))
        };
        // One thread waits for the disk while the other computes: objects get their names while the index is made and
        // written. Only then, when both last, the index gets its own.
        let has_new = contents.has_new();
        tally.progress.mended = contents.mended();
        let (named, made) = if has_new { both(|| contents.name_all(), made) } else { (Ok(0), made()) };
        tally.progress.new_on_disk = named?;
        let (index, aside, memory) = made?;
        let generation = index.generation();
        let aside = match aside {
            // It was there, and somebody has taken it away meanwhile.
            None if !store.keep_generation(generation) => store.write_generation(&index)?,
            other => other,
        };
        if !has_new && aside.is_some() {
            // Its objects were all there, and may owe their names to a stage that was killed before its sync.
            contents.sync()?;
        }
        store.name_generation(aside)?;
        if let Some(memory) = memory {
            memory.keep();
        }
        Ok(Finished { generation, index, progress: tally.progress, noted })
    }
}

/// Owner, mode, time and attributes of what is open.
pub(crate) fn described_as(fd: &impl std::os::fd::AsFd) -> std::io::Result<Meta> {
    Ok(described(&rustix::fs::fstat(fd)?, crate::disk::attributes(fd)?))
}

/// The marks by inode number.
fn in_order(order: &[NodeRef], marks: &[(NodeRef, Mark)]) -> Vec<Option<Mark>> {
    let mut by_node = vec![None; order.iter().map(|node| node.place() + 1).max().unwrap_or(0)];
    for (node, mark) in marks {
        if let Some(place) = by_node.get_mut(node.place()) {
            *place = Some(*mark);
        }
    }
    order.iter().map(|node| by_node.get(node.place()).copied().flatten()).collect()
}

/// What a stage has made.
#[derive(Debug)]
pub struct Finished {
    /// The generation's name.
    pub generation: GenerationId,
    /// All of its paths with their attributes, as it was written to the store.
    pub index: Index,
    /// What was read and written on the way.
    pub progress: Progress,
    /// What was left out, or is odd.
    pub noted: Noted,
}
