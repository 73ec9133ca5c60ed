//! Bytes become objects: hashed, and written under the stage's own directory unless the store has them already.
//!
//! Shared by all threads of a stage. What fits into one buffer is hashed before anything is written, so a file that is
//! there already costs a read and no write; a larger one is cloned where the file system can (`FICLONE`), else copied.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::directory::Reads;
use crate::error::{Error, Result};
use crate::node::Content;
use crate::store::{StagingDir, Store, disk_space, make_directory};
use oneroot_ids::ObjectId;

/// Bytes moved at a time; what is smaller is hashed before it is written.
pub(super) const CHUNK: usize = 256 * 1024;
/// Bytes of zeros, 256 KiB at a time, that one stage reads at most. They are hashed like any other bytes, a few seconds for
/// ten GiB, and there is no shortcut: BLAKE3 counts its chunks, so that no two of them are the same (its paper, 7.5). An archive
/// of a few KiB can say that it has a hole of 2 TiB, and so can a user's file in a directory.
const MOST_HOLES: u64 = 64 << 30;
/// Holes of one file that are told, in bytes: a log of last logins by uid has a terabyte of them, and a disk's image some GiB.
const TOLD_HOLES: u64 = 1 << 30;
/// What a hole reads as.
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// The objects of a stage under way.
pub(super) struct Contents<'s> {
    store: &'s Arc<Store>,
    /// Made with the first file that is written: what writes nothing new must not need a disk that takes anything.
    place: OnceLock<StagingDir>,
    /// Held while it is made.
    making: Mutex<()>,
    /// New objects, and the number of the file that holds each.
    new: Mutex<HashMap<ObjectId, u64>>,
    files: AtomicU64,
    /// Cleared by the first clone that the file system refuses.
    clones: AtomicBool,
    /// Zeros read so far.
    holes: AtomicU64,
    most_holes: u64,
    /// The objects that the store has are looked at before they are taken for what their names say; these were good.
    distrusted: Option<Mutex<HashSet<ObjectId>>>,
    /// Objects of the store that were damaged, and are written anew.
    mended: AtomicU64,
    /// Files with many holes, and how many bytes.
    sparse: Mutex<Vec<(String, u64)>>,
    told_holes: u64,
}

/// What became of one file's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub object: ObjectId,
    pub size: u64,
    /// Whether the store did not have it yet.
    pub new: bool,
}

impl Stored {
    pub(super) fn content(&self) -> Content {
        Content::Regular { object: self.object, size: self.size }
    }
}

impl<'s> Contents<'s> {
    /// With nothing in it.
    pub(super) fn begin(store: &'s Arc<Store>) -> Self {
        Self {
            store,
            place: OnceLock::new(),
            making: Mutex::default(),
            new: Mutex::default(),
            files: AtomicU64::new(0),
            clones: AtomicBool::new(true),
            holes: AtomicU64::new(0),
            most_holes: MOST_HOLES,
            distrusted: None,
            mended: AtomicU64::new(0),
            sparse: Mutex::default(),
            told_holes: TOLD_HOLES,
        }
    }

    /// From here on, an object that the store has counts as there only when it has the bytes that its name says.
    pub(super) fn distrust(&mut self) {
        self.distrusted.get_or_insert_default();
    }

    /// Files of a directory that have a GiB of holes or more, in the order of their names.
    pub(super) fn sparse(&self) -> Vec<(String, u64)> {
        let mut all = self.sparse.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort();
        all
    }

    /// Objects of the store that were damaged, and are written anew.
    pub(super) fn mended(&self) -> u64 {
        self.mended.load(Ordering::Relaxed)
    }

    /// Refuses a file whose holes are too many before they are read.
    ///
    /// # Errors
    /// [`Error::Entry`].
    pub(super) fn expect_hole(&self, bytes: u64, source: &[u8]) -> Result<()> {
        if self.holes.load(Ordering::Relaxed).saturating_add(bytes) > self.most_holes {
            return Err(Error::entry(
                source,
                "with it, more than 64 GiB of the source are holes or zeros; leave the file out, or make it shorter",
            ));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn limit_holes(&mut self, most: u64) {
        self.most_holes = most;
    }

    #[cfg(test)]
    pub(super) fn tell_holes(&mut self, from: u64) {
        self.told_holes = from;
    }

    fn hole(&self, bytes: usize, source: &[u8]) -> Result<()> {
        self.expect_hole(bytes as u64, source)?;
        self.holes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the store has an object; if so, it is young.
    fn has(&self, object: ObjectId) -> bool {
        if !self.store.keep_object(object) {
            return false;
        }
        let Some(good) = &self.distrusted else { return true };
        let good = || good.lock().unwrap_or_else(PoisonError::into_inner);
        if good().contains(&object) || self.fresh().contains_key(&object) {
            return true;
        }
        let whole = self.store.hash_object(object, &mut |_| {}).is_ok_and(|hash| hash == object);
        if whole {
            good().insert(object);
        } else {
            self.mended.fetch_add(1, Ordering::Relaxed);
        }
        whole
    }

    /// Where this stage writes; what crashed stages left is swept before it is made.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn place(&self) -> Result<&StagingDir> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let made = self.store.staging_dir()?;
        Ok(self.place.get_or_init(|| made))
    }

    #[cfg(test)]
    pub(super) fn has_place(&self) -> bool {
        self.place.get().is_some()
    }

    /// Whether there is an object that the store does not have.
    pub(super) fn has_new(&self) -> bool {
        !self.fresh().is_empty()
    }

    /// Stores what a stream gives. `buffer` is the caller's, of [`CHUNK`] bytes; `source` names the file in messages.
    pub(super) fn stream(&self, from: &mut dyn Read, buffer: &mut Vec<u8>, source: &[u8]) -> Result<Stored> {
        buffer.resize(CHUNK, 0);
        let head = fill(from, buffer, source)?;
        let bytes = buffer.get(..head).unwrap_or_default();
        if head < CHUNK {
            return self.small(bytes);
        }
        let (number, path, mut file) = self.create()?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0u64;
        let mut filled = head;
        while filled > 0 {
            let bytes = buffer.get(..filled).unwrap_or_default();
            hasher.update(bytes);
            size += bytes.len() as u64;
            // A hole stays a hole: images of disks have gigabytes of them, which would be written and synced.
            if bytes == ZEROS {
                self.hole(bytes.len(), source)?;
                file.seek(SeekFrom::Start(size)).map_err(Error::io("seek in", &path))?;
            } else {
                file.write_all(bytes).map_err(Error::io("write", &path))?;
            }
            filled = fill(from, buffer, source)?;
        }
        file.set_len(size).map_err(Error::io("write", &path))?;
        self.claim(ObjectId(*hasher.finalize().as_bytes()), size, number, &path)
    }

    fn small(&self, bytes: &[u8]) -> Result<Stored> {
        let object = ObjectId(*blake3::hash(bytes).as_bytes());
        let size = bytes.len() as u64;
        let there = || Ok(Stored { object, size, new: false });
        if self.has(object) {
            return there();
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        match self.fresh().entry(object) {
            std::collections::hash_map::Entry::Occupied(_) => return there(),
            std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(number)),
        }
        let (path, mut file) = self.create_numbered(number)?;
        file.write_all(bytes).map_err(Error::io("write", &path))?;
        Ok(Stored { object, size, new: true })
    }

    /// Keeps a written file as this object, or removes it where there is one already.
    fn claim(&self, object: ObjectId, size: u64, number: u64, path: &Path) -> Result<Stored> {
        let new = !self.has(object) && {
            let mut all = self.fresh();
            let vacant = !all.contains_key(&object);
            if vacant {
                all.insert(object, number);
            }
            vacant
        };
        if !new {
            fs::remove_file(path).map_err(Error::io("remove", path))?;
        }
        Ok(Stored { object, size, new })
    }

    /// A stream's bytes as a file that goes with the stage, for what must be read by place.
    pub(super) fn spooled(&self, stream: &mut dyn Read) -> Result<File> {
        let (_, path, mut whole) = self.create()?;
        io::copy(stream, &mut whole).map_err(Error::io("write", &path))?;
        File::open(&path).map_err(Error::io("open", &path))
    }

    fn create(&self) -> Result<(u64, PathBuf, File)> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let (path, file) = self.create_numbered(number)?;
        Ok((number, path, file))
    }

    fn create_numbered(&self, number: u64) -> Result<(PathBuf, File)> {
        let name = format!("o{number}");
        let place = self.place()?;
        let path = place.path().join(&name);
        let file = place.dir().create(name.as_bytes()).map_err(Error::io("create", &path))?;
        Ok((path, file))
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<ObjectId, u64>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// *Durable before named*: one sync for all bytes, then the names, then one sync for those, before an index promises
    /// them. What the new objects take of the disk.
    pub(super) fn name_all(&self) -> Result<u64> {
        let mut new: Vec<(ObjectId, u64)> = self.fresh().drain().collect();
        // By directory, so that each is touched once.
        new.sort_unstable();
        self.sync()?;
        let place = self.place()?;
        let mut on_disk = 0;
        for (object, number) in new {
            let (from, to) = (place.path().join(format!("o{number}")), self.store.object_path(object));
            // Not before the sync: some file systems give out blocks only then.
            let found = fs::symlink_metadata(&from).map_err(Error::io("look at", &from))?;
            on_disk += disk_space(&found);
            name_object(&from, &to)?;
        }
        self.sync()?;
        Ok(on_disk)
    }

    /// Syncs the store's file system.
    pub(super) fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl Reads for Contents<'_> {
    /// Stores what an open file has: a large one by reference, where the file system can do that.
    fn file(&self, from: &File, size: u64, buffer: &mut Vec<u8>, source: &[u8]) -> Result<Stored> {
        if let Some(holes) = holes(from, size).filter(|holes| *holes > 0) {
            self.expect_hole(holes, source)?;
            if holes >= self.told_holes {
                let name = format!("/{}", source.escape_ascii());
                self.sparse.lock().unwrap_or_else(PoisonError::into_inner).push((name, holes));
            }
        }
        let mut from = from;
        if size < CHUNK as u64 || !self.clones.load(Ordering::Relaxed) {
            return self.stream(&mut from, buffer, source);
        }
        let (number, path, file) = self.create()?;
        if rustix::fs::ioctl_ficlone(&file, from).is_err() {
            self.clones.store(false, Ordering::Relaxed);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            return self.stream(&mut from, buffer, source);
        }
        // The clone is hashed, not the source: nobody else can write to it any more.
        let clone = File::open(&path).map_err(Error::io("open", &path))?;
        buffer.resize(CHUNK, 0);
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            let filled = fill(&mut &clone, buffer, source)?;
            if filled == 0 {
                break;
            }
            let bytes = buffer.get(..filled).unwrap_or_default();
            if bytes == ZEROS {
                self.hole(bytes.len(), source)?;
            }
            hasher.update(bytes);
            size += filled as u64;
        }
        self.claim(ObjectId(*hasher.finalize().as_bytes()), size, number, &path)
    }
}

/// Bytes of an open file's holes; none where it has no fewer blocks than bytes, or where nobody can tell. Its offset is at the
/// start again afterwards.
fn holes(file: &File, size: u64) -> Option<u64> {
    use rustix::fs::SeekFrom::{Data, Hole, Start};
    if size < CHUNK as u64 || disk_space(&file.metadata().ok()?) >= size {
        return None;
    }
    let (mut at, mut data) = (0, 0);
    // Where no data follows, the kernel says ENXIO.
    while let Ok(begins) = rustix::fs::seek(file, Data(at)) {
        let Ok(ends) = rustix::fs::seek(file, Hole(begins)) else { break };
        if ends <= begins {
            break;
        }
        data += ends - begins;
        at = ends;
    }
    rustix::fs::seek(file, Start(0)).ok()?;
    Some(size.saturating_sub(data))
}

/// Reads until the buffer is full or the stream ends; how many bytes there are.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut [u8], source: &[u8]) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => {
                return Err(Error::io("read", PathBuf::from(source.escape_ascii().to_string()))(cause));
            }
        }
    }
    Ok(filled)
}

fn name_object(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = to.parent() {
                make_directory(parent).map_err(Error::io("create", parent))?;
            }
            fs::rename(from, to).map_err(Error::io("rename", to))
        }
        other => other.map_err(Error::io("rename", to)),
    }
}
