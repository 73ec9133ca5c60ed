//! The store: objects, generations, stacks and references in one directory, each named by what it is.
//!
//! ```text
//! format               "oneroot store 1"
//! objects/ab/cd…       regular files' contents, by BLAKE3
//! generations/<id>     indexes
//! stacks/<view id>     lists of generations, bottom first
//! refs/<kind>/<name>   the generations that a profile, layer or machine has had, newest first ([`History`])
//! seen/<directory>     what its files were when they were last read ([`crate::stage`])
//! staging/<n>          what is being written and has no name yet; what a crash left is removed when a stage begins
//! ```
//! *Durable before named*: an object or index gets its name only after its bytes are synced, or a power cut would leave
//! an empty file that deduplication then keeps for ever. Nothing with a name is ever written again.

mod gc;
mod history;
mod look;
mod mark;
mod refs;
mod stack;
mod staging;
pub(crate) mod stat_cache;
mod verify;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) use gc::disk_space;
pub use gc::{Collected, Needed, SHORTEST_GRACE};
pub use history::{History, How, Placed, Staged};
pub use mark::FileMark;
pub use refs::{Ref, RefKind};
pub use stack::Views;
pub use staging::{StagingDir, Turn};
pub use verify::{Checked, Damage};

use crate::confine::{Dir, open_file};
use crate::error::{Error, Result};
use crate::index::Index;
use oneroot_ids::{GenerationId, ObjectId};
use staging::TempFile;

const FORMAT: &str = "oneroot store 1\n";
/// The directory itself, and those in it.
const PARTS: [&str; 7] = ["", "objects", "generations", "stacks", "refs", "seen", "staging"];

/// An open store. Cheap to share; all of it may be used from many threads and processes at once.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    home: Dir,
    objects: Dir,
    generations: Dir,
    stacks: Dir,
    /// The store that this one is laid over, to look into it: read, and never written ([`look`]).
    below: Option<Arc<Store>>,
    /// The index that was shared last, as long as anybody has it.
    shared: Mutex<Weak<Index>>,
}

impl Store {
    /// Opens a store, and makes an empty one where there is nothing yet.
    ///
    /// # Errors
    /// [`Error::StoreFormat`] when the directory is of another format, else the system's.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        for part in PARTS {
            let (top, part) = (part.is_empty(), path.join(part));
            make_directory(&part).map_err(Error::io("create", &part))?;
            closed_to_others(path, part, top)?;
        }
        let format = path.join("format");
        if !has_format(path)? {
            staging::write_whole(&path.join("staging"), &format, FORMAT.as_bytes())?;
        }
        Self::opened(path, None).map(Arc::new)
    }

    /// Opens the directories of a store that is there.
    fn opened(path: &Path, below: Option<Arc<Self>>) -> Result<Self> {
        let dir = |name: &str| Dir::open(&path.join(name)).map_err(Error::io("open", path.join(name)));
        Ok(Self {
            path: path.to_owned(),
            home: Dir::open(path).map_err(Error::io("open", path))?,
            objects: dir("objects")?,
            generations: dir("generations")?,
            stacks: dir("stacks")?,
            below,
            shared: Mutex::default(),
        })
    }

    /// The directory that the site names as `store`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory that was opened still has its name, and its parts theirs. What is read comes from those that were
    /// opened, and what is written goes where the names lead: into another store, a generation would lie without its objects.
    ///
    /// # Errors
    /// [`Error::StoreMoved`], or the system's.
    pub(crate) fn in_place(&self) -> Result<()> {
        let parts = [
            (&self.home, ""),
            (&self.objects, "objects"),
            (&self.generations, "generations"),
            (&self.stacks, "stacks"),
        ];
        for (held, part) in parts {
            let held = rustix::fs::fstat(held).map_err(Error::io("look at", held.path()))?;
            let there = rustix::fs::stat(self.path.join(part));
            if there.is_err()
                || there.is_ok_and(|there| (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino))
            {
                return Err(Error::StoreMoved { path: self.path.clone() });
            }
        }
        self.below.as_ref().map_or(Ok(()), |below| below.in_place())
    }

    /// Opens an object for reading. Its bytes never change.
    ///
    /// # Errors
    /// The system's; `NotFound` when the store lost it.
    pub fn object(&self, id: ObjectId) -> std::io::Result<fs::File> {
        let name = object_name(id);
        self.either(gc::open_wherever(&self.objects, &name), |below| gc::open_wherever(&below.objects, &name))
    }

    /// Whether an object is there.
    #[must_use]
    pub fn has_object(&self, id: ObjectId) -> bool {
        self.object(id).is_ok()
    }

    /// Reads a generation's index.
    ///
    /// # Errors
    /// [`Error::NoGeneration`], [`Error::BadIndex`], or the system's.
    pub fn generation(&self, id: GenerationId) -> Result<Index> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let name = id.to_string();
        let here = gc::open_wherever(&self.generations, &name);
        let opened = self.either(here, |below| gc::open_wherever(&below.generations, &name));
        let read = opened.and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoGeneration(id));
            }
            Err(cause) => return Err(Error::io("read", self.generations.path().join(id.to_string()))(cause)),
        }
        let index = Index::parse(bytes).map_err(|reason| Error::BadIndex { generation: id, reason })?;
        if index.generation() != id {
            return Err(Error::BadIndex { generation: id, reason: "the file holds another generation" });
        }
        Ok(index)
    }

    /// The same, read once for all who have it at one time: checking it takes longer than reading it.
    pub(crate) fn shared_generation(&self, id: GenerationId) -> Result<Arc<Index>> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = shared.upgrade().filter(|index| index.generation() == id) {
            return Ok(index);
        }
        let index = Arc::new(self.generation(id)?);
        *shared = Arc::downgrade(&index);
        Ok(index)
    }

    /// Makes everything that was written on the store's file system last.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.is_look() {
            return Ok(());
        }
        rustix::fs::syncfs(&self.objects).map_err(Error::io("sync", self.objects.path()))
    }

    /// Where an object lies.
    pub(crate) fn object_path(&self, id: ObjectId) -> PathBuf {
        self.path.join("objects").join(object_name(id))
    }

    /// Writes an index, without its name; nothing for one that is there, and reads.
    pub(crate) fn write_generation(&self, index: &Index) -> Result<Option<TempFile>> {
        let id = index.generation();
        if self.keep_generation(id) && self.generation(id).is_ok() {
            return Ok(None);
        }
        let path = self.generations.path().join(id.to_string());
        self.temp_file(&path, index.bytes()).map(Some)
    }

    /// Names a written index, durably.
    pub(crate) fn name_generation(&self, temp: Option<TempFile>) -> Result<()> {
        match temp {
            Some(temp) => temp.put(),
            // Whoever named it may have been killed before the name was synced.
            None => self.sync_names(self.generations.path()),
        }
    }
}

/// Whether a directory is a store of our format; not so where it says nothing of that.
fn has_format(path: &Path) -> Result<bool> {
    let format = path.join("format");
    match open_file(&format).and_then(std::io::read_to_string) {
        Ok(text) if text == FORMAT => Ok(true),
        Ok(_) => Err(Error::StoreFormat { path: path.to_owned() }),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(Error::io("read", &format)(cause)),
    }
}

/// The parts have what only root may read; above them, others may look, and change nothing.
fn closed_to_others(store: &Path, part: PathBuf, is_top: bool) -> Result<()> {
    let mode = fs::metadata(&part).map_err(Error::io("look at", &part))?.permissions().mode();
    if mode & if is_top { 0o022 } else { 0o077 } != 0 {
        return Err(Error::OpenToOthers { store: store.to_owned(), part, mode: mode & 0o7777 });
    }
    Ok(())
}

/// Makes a directory for us alone, with those above it; one that is there stays as it is.
pub(crate) fn make_directory(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Objects lie in 256 directories by their first byte: none grows so large that a file system slows down.
fn object_name(id: ObjectId) -> String {
    let name = id.to_string();
    let (head, tail) = name.split_at(2);
    format!("{head}/{tail}")
}
