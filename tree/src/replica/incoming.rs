//! Objects on their way: each is checked by its hash before it has its name, and what has come stays for the next run.
//!
//! ```text
//! incoming/ab/<object>        whole, and right when it was written
//! incoming/ab/<object>.part   the beginning of one, which the next run goes on with
//! incoming/made, made-<n>     what is being made of them, before it has its name
//! ```
//! In 256 directories by their first byte, as in a store: a file system gives the files of one directory places near each other, and
//! looks longer for each the more there are.
//!
//! Nothing here is synced before all of it is used, so after a power cut a file may be other than its name says: whoever opens the
//! directory again reads all that is left there once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arriving::{Cut, small, written};
use crate::confine::{Dir, open_file};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::objects::ObjectSet;
use crate::store::make_directory;
use oneroot_ids::ObjectId;

/// Bytes of an object that are moved at a time.
const CHUNK: usize = 256 * 1024;
/// What is being made has a name that begins so, before it has its own.
pub(super) const MADE: &str = "made";
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A directory of objects that have come.
pub struct Incoming {
    path: PathBuf,
    /// The same, held open: objects are named from here. All of its directories would be more descriptors than some may have.
    pub(super) held: Arc<Dir>,
    whole: ObjectSet,
    /// Those that this run has described as the one file that is made of them.
    described: ObjectSet,
    /// The one of which only the beginning is here, and how much.
    begun: Option<Begun>,
    buffer: Vec<u8>,
    /// Held: another that writes here would write over what is being read.
    _lock: Lock,
}

struct Begun {
    object: ObjectId,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Incoming {
    /// Opens the directory in a place, and looks at what was left there. `report` hears the bytes that were read so far.
    ///
    /// # Errors
    /// [`Error::Busy`] where another transfer is under way, or the system's.
    pub fn open(place: &Path, report: &mut dyn FnMut(u64)) -> Result<Self> {
        let path = place.join("incoming");
        make_directory(&path).map_err(Error::io("create", &path))?;
        let held = Dir::open(&path).map_err(Error::io("open", &path))?;
        crate::disk::inherits_nothing(&held).map_err(Error::io("remove the default ACL of", &path))?;
        let lock = File::open(&path).map_err(Error::io("open", &path))?;
        let lock = Lock::now(lock).map_err(Error::busy(place, &path))?;
        // What a run that was killed had half made.
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))?.flatten() {
            if entry.file_name().as_bytes().starts_with(MADE.as_bytes()) {
                remove(&entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        let (whole, described) = (ObjectSet::default(), ObjectSet::default());
        let (begun, buffer, held) = (None, Vec::new(), Arc::new(held));
        let mut incoming = Self { path, held, whole, described, begun, buffer, _lock: lock };
        let mut read = 0;
        for number in 0..=u8::MAX {
            let part = incoming.path.join(format!("{number:02x}"));
            make_directory(&part).map_err(Error::io("create", &part))?;
            let dir = Dir::open(&part).map_err(Error::io("open", &part))?;
            crate::disk::inherits_nothing(&dir).map_err(Error::io("remove the default ACL of", &part))?;
            for entry in fs::read_dir(&part).map_err(Error::io("list", &part))?.flatten() {
                let (name, path) = (entry.file_name(), entry.path());
                let name = name.to_str().unwrap_or_default();
                let own = own(&path).map_err(Error::io("copy", &path))?;
                if !(own
                    && incoming.recall(name, &path, &mut |bytes| {
                        read += bytes;
                        report(read);
                    }))
                {
                    remove(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(incoming)
    }

    /// Whether a file that was left is one that can be used.
    fn recall(&mut self, name: &str, path: &Path, read: &mut dyn FnMut(u64)) -> bool {
        let (hex, part) = match name.strip_suffix(".part") {
            Some(hex) => (hex, true),
            None => (name, false),
        };
        let (Ok(object), Ok(file)) = (hex.parse::<ObjectId>(), open_file(path)) else { return false };
        let mut hasher = blake3::Hasher::new();
        let Ok(bytes) = hash(&file, &mut hasher, read) else { return false };
        if !part {
            let right = hasher.finalize().as_bytes() == &object.0;
            if right {
                self.whole.insert(object);
            }
            return right;
        }
        // There is one at most, unless somebody has put another there.
        let first = self.begun.is_none();
        if first {
            self.begun = Some(Begun { object, bytes, hasher });
        }
        first
    }

    /// Whether all of an object is here.
    #[must_use]
    pub fn has(&self, object: ObjectId) -> bool {
        self.whole.contains(&object)
    }

    /// Bytes of an object of this size that are here already, of which not all are. More than it has are none of it.
    #[must_use]
    pub fn begun(&self, object: ObjectId, size: u64) -> u64 {
        let begun = self.begun.as_ref().filter(|begun| begun.object == object && begun.bytes <= size);
        begun.map_or(0, |begun| begun.bytes)
    }

    /// The object that has begun to come.
    pub(super) fn begun_one(&self) -> Option<ObjectId> {
        self.begun.as_ref().map(|begun| begun.object)
    }

    /// Lets go of what has begun to come of an object.
    pub(crate) fn forget(&mut self, object: ObjectId) {
        if self.begun.take_if(|begun| begun.object == object).is_some() {
            let _ = fs::remove_file(self.path.join(format!("{}.part", name(object))));
        }
    }

    /// Where a whole object lies.
    pub(crate) fn path(&self, object: ObjectId) -> PathBuf {
        self.path.join(name(object))
    }

    /// The directory itself.
    pub(crate) fn place(&self) -> &Path {
        &self.path
    }

    /// The objects that are here.
    pub(crate) fn all(&self) -> impl Iterator<Item = ObjectId> {
        self.whole.iter().copied()
    }

    /// An object has another place from here on.
    pub(crate) fn moved(&mut self, object: ObjectId) {
        self.whole.remove(&object);
    }

    /// An object is here.
    pub(super) fn came(&mut self, object: ObjectId, is_described: bool) {
        self.whole.insert(object);
        if is_described {
            self.described.insert(object);
        }
    }

    /// Whether an object is described already as the one file that is made of it.
    pub(super) fn is_described(&self, object: ObjectId) -> bool {
        self.described.contains(&object)
    }

    /// Takes in an object of so many bytes, or what is not here of the one that was [begun](Self::begun).
    ///
    /// # Errors
    /// As [`receive_all`](Self::receive_all).
    pub fn receive(&mut self, object: ObjectId, size: u64, from: &mut dyn Read) -> Result<()> {
        let Some(size) = small(size).filter(|_| self.begun(object, size) == 0) else {
            return self.large(object, size, from);
        };
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(CHUNK.max(size), 0);
        let received = self.one(object, bytes.get_mut(..size).unwrap_or_default(), from);
        self.buffer = bytes;
        received
    }

    fn one(&mut self, object: ObjectId, bytes: &mut [u8], from: &mut dyn Read) -> Result<()> {
        let (count, cut) = fill(from, bytes);
        if let Some(cut) = cut {
            let came = bytes.get(..count).unwrap_or_default();
            return self.large(object, bytes.len() as u64, &mut came.chain(Cut(Some(cut))));
        }
        let is_described = written(&self.held, object, bytes, &|_| None)?;
        self.came(object, is_described);
        Ok(())
    }

    pub(super) fn large(&mut self, object: ObjectId, size: u64, from: &mut dyn Read) -> Result<()> {
        let path = self.path.join(format!("{}.part", name(object)));
        let failed = |cause: io::Error| Error::io("write", &path)(cause);
        let mut begun = match self.begun.take() {
            Some(begun) if begun.object == object && begun.bytes <= size => begun,
            other => {
                if let Some(other) = other {
                    // It is none that is wanted now: a stream brings them in their order.
                    let _ = fs::remove_file(self.path.join(format!("{}.part", name(other.object))));
                }
                drop(created(&path).map_err(failed)?);
                Begun { object, bytes: 0, hasher: blake3::Hasher::new() }
            }
        };
        let mut file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
        file.seek(SeekFrom::Start(begun.bytes)).map_err(failed)?;
        self.buffer.resize(CHUNK, 0);
        let mut cut = None;
        while begun.bytes < size && cut.is_none() {
            let most = usize::try_from(size - begun.bytes).unwrap_or(CHUNK).min(CHUNK);
            let (count, ended) = fill(from, self.buffer.get_mut(..most).unwrap_or_default());
            cut = ended;
            let bytes = self.buffer.get(..count).unwrap_or_default();
            begun.hasher.update(bytes);
            begun.bytes += count as u64;
            // A hole stays a hole.
            if bytes == ZEROS {
                file.seek(SeekFrom::Start(begun.bytes)).map_err(failed)?;
            } else {
                file.write_all(bytes).map_err(failed)?;
            }
        }
        file.set_len(begun.bytes).map_err(failed)?;
        if let Some(cause) = cut {
            self.begun = Some(begun);
            return Err(Error::Cut(cause));
        }
        if begun.hasher.finalize().as_bytes() != &object.0 {
            fs::remove_file(&path).map_err(failed)?;
            return Err(Error::OtherObject(object));
        }
        fs::rename(&path, self.path(object)).map_err(failed)?;
        self.whole.insert(object);
        Ok(())
    }
}

/// Where an object lies below `incoming/`.
pub(crate) fn name(object: ObjectId) -> String {
    let hex = object.to_string();
    format!("{}/{hex}", hex.get(..2).unwrap_or_default())
}

/// Whether there is a file; then it has this name alone. A run that was cut off may have left it as a name of a file in a tree,
/// and who describes it here would describe that one.
fn own(path: &Path) -> io::Result<bool> {
    let is = fs::symlink_metadata(path)?;
    if is.is_file() && is.nlink() > 1 {
        let copy = path.with_extension("copy");
        let from = open_file(path)?;
        super::apply::copy(&from, &created(&copy)?)?;
        fs::rename(copy, path)?;
    }
    Ok(is.is_file())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// What a file's bytes are called.
pub(super) fn hash_of(file: &File) -> io::Result<ObjectId> {
    let mut hasher = blake3::Hasher::new();
    hash(file, &mut hasher, &mut |_| {})?;
    Ok(ObjectId(*hasher.finalize().as_bytes()))
}

fn created(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc_nofollow())
        .open(path)
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// Reads until the buffer is full; how much there is, and why there is no more.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => return (filled, Some(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return (filled, Some(cause)),
        }
    }
    (filled, None)
}

fn hash(mut file: &File, hasher: &mut blake3::Hasher, report: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let (mut buffer, mut size) = (vec![0; CHUNK], 0);
    loop {
        let (count, ended) = fill(&mut file, &mut buffer);
        hasher.update(buffer.get(..count).unwrap_or_default());
        size += count as u64;
        report(count as u64);
        match ended {
            None => {}
            Some(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(size),
            Some(cause) => return Err(cause),
        }
    }
}
