//! Staging: a source becomes objects, an index, and a generation with a name.
//!
//! Everything is written under `staging/` first. [`Stage::finish`] syncs the whole file system once, then gives the names
//! (store: *durable before named*). A crash before that leaves only litter, which the next stage sweeps.

mod archive;
mod directory;
pub mod oci;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::build::IndexBuilder;
use crate::confine::Dir;
use crate::error::{Error, Result};
use crate::id::{GenerationId, ObjectId};
use crate::index::Index;
use crate::node::{Content, Meta, TreePath};
use crate::store::Store;

/// Bytes moved at a time.
const CHUNK: usize = 256 * 1024;

/// How far a stage is, for a progress bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries seen.
    pub entries: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Objects that the store did not have yet.
    pub new_objects: u64,
    /// Bytes of those.
    pub new_bytes: u64,
}

/// A stage under way. Dropped without [`finish`](Self::finish), it leaves the store as it was.
pub struct Stage<'s> {
    store: &'s Arc<Store>,
    builder: IndexBuilder,
    dir: Dir,
    /// Held locked, so that another process can tell a running stage from litter.
    _lock: File,
    new: HashSet<ObjectId>,
    unnamed: u64,
    owner: Option<(u32, u32)>,
    progress: Progress,
    report: Box<dyn FnMut(Progress) + 's>,
}

impl<'s> Stage<'s> {
    /// Begins a stage; `report` is called as it goes on.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(store: &'s Arc<Store>, report: impl FnMut(Progress) + 's) -> Result<Self> {
        sweep(store)?;
        let home = store.path().join("staging");
        for attempt in 0u32.. {
            let path = home.join(format!("{}-{attempt}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(cause) => return Err(Error::io("create", &path)(cause)),
            }
            let dir = Dir::open(&path).map_err(Error::io("open", &path))?;
            let lock = File::open(&path).map_err(Error::io("open", &path))?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(Error::io("lock", &path))?;
            return Ok(Self {
                store,
                builder: IndexBuilder::new(),
                dir,
                _lock: lock,
                new: HashSet::new(),
                unnamed: 0,
                owner: None,
                progress: Progress::default(),
                report: Box::new(report),
            });
        }
        Err(Error::TooLarge("running stages"))
    }

    /// Gives every node from here on this owner and group. A layer in an admin's checkout belongs to the admin, and a
    /// merged directory takes its owner from the upper layer: without this, `/etc` would become the admin's.
    pub fn own_all(&mut self, uid: u32, gid: u32) {
        self.owner = Some((uid, gid));
    }

    /// Adds one node; see [`IndexBuilder::insert`].
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn insert(&mut self, path: &TreePath<'_>, mut meta: Meta, content: Content) -> Result<()> {
        (meta.uid, meta.gid) = self.owner.unwrap_or((meta.uid, meta.gid));
        self.progress.entries += 1;
        if self.progress.entries.is_multiple_of(64) {
            (self.report)(self.progress);
        }
        self.builder.insert(path, meta, content)
    }

    /// Adds a second name for a node; see [`IndexBuilder::link`].
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub fn link(&mut self, path: &TreePath<'_>, target: &TreePath<'_>) -> Result<()> {
        self.progress.entries += 1;
        self.builder.link(path, target)
    }

    /// Reads a file's bytes into an object and says how many there were.
    ///
    /// # Errors
    /// `source` names the file in messages; the system's.
    pub fn object(&mut self, mut from: impl Read, source: &[u8]) -> Result<Content> {
        let name = format!("o{}", self.unnamed);
        self.unnamed += 1;
        let path = self.dir.path().join(&name);
        let mut file = self.dir.create(name.as_bytes()).map_err(Error::io("create", &path))?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0u64;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => {
                    return Err(Error::io("read", PathBuf::from(source.escape_ascii().to_string()))(cause));
                }
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            hasher.update(bytes);
            file.write_all(bytes).map_err(Error::io("write", &path))?;
            size += bytes.len() as u64;
            self.progress.bytes += bytes.len() as u64;
            (self.report)(self.progress);
        }
        let object = ObjectId(*hasher.finalize().as_bytes());
        if self.new.contains(&object) || self.store.keep_object(object) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        } else {
            let unnamed = self.dir.path().join(object.to_string());
            fs::rename(&path, &unnamed).map_err(Error::io("rename", &unnamed))?;
            self.new.insert(object);
            self.progress.new_objects += 1;
            self.progress.new_bytes += size;
        }
        Ok(Content::Regular { object, size })
    }

    /// Makes all durable, then gives the names. The generation is in the store when this returns.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or the system's; the store is as it was then.
    pub fn finish(self) -> Result<Finished> {
        let index = self.builder.finish()?;
        if !self.new.is_empty() {
            sync(&self.dir)?;
            for object in &self.new {
                let (from, to) = (self.dir.path().join(object.to_string()), self.store.object_path(*object));
                name_object(&from, &to)?;
            }
            // The names themselves must last before an index promises them.
            sync(&self.dir)?;
        }
        let generation = self.store.put_generation(&index)?;
        fs::remove_dir_all(self.dir.path()).map_err(Error::io("remove", self.dir.path()))?;
        Ok(Finished { generation, index, progress: self.progress })
    }
}

/// What a stage has made.
#[derive(Debug)]
pub struct Finished {
    /// The generation's name.
    pub generation: GenerationId,
    /// Its index.
    pub index: Index,
    /// What was read and written on the way.
    pub progress: Progress,
}

/// One sync for the whole stage, not one for each file.
fn sync(dir: &Dir) -> Result<()> {
    rustix::fs::syncfs(dir).map_err(Error::io("sync", dir.path()))
}

fn name_object(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            }
            fs::rename(from, to).map_err(Error::io("rename", to))
        }
        other => other.map_err(Error::io("rename", to)),
    }
}

/// Removes what crashed stages left: every directory whose lock nobody holds.
fn sweep(store: &Store) -> Result<()> {
    let home = store.path().join("staging");
    for entry in fs::read_dir(&home).map_err(Error::io("list", &home))?.flatten() {
        let path = entry.path();
        let Ok(dir) = File::open(&path) else { continue };
        if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Another sweeper may be at it too; what is gone is gone.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}
