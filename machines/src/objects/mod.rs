//! Objects as servers read them: small ones are held in memory, descriptors of others are kept, and what the page cache has
//! is read without leaving the event loop.

mod held;
pub mod lent;
mod vouched;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use held::ContentCache;
use lent::{Lending, Lent};
use oneroot_ids::ObjectId;
use oneroot_tree::Store;
use quick_cache::sync::Cache;
use rustix::io::{Errno, ReadWriteFlags};
use vouched::Vouched;

/// Descriptors kept open at most, over all connections.
const KEPT: usize = 512;

/// The store's objects, as servers read them.
pub struct Objects {
    store: Arc<Store>,
    open: Cache<ObjectId, Arc<File>>,
    held: ContentCache,
    vouched: Vouched,
    lending: Lending,
}

/// Contents that must come from the disk before they can be appended.
pub struct OnDisk {
    id: ObjectId,
    file: Arc<File>,
    /// Small enough to be held.
    whole: Option<usize>,
}

impl Objects {
    /// Nothing is open yet.
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            open: Cache::new(KEPT),
            held: ContentCache::new(),
            vouched: Vouched::default(),
            lending: Lending::default(),
        }
    }

    /// Serves these bytes as an object for as long as what comes back is held.
    pub fn lend(&self, bytes: &[u8]) -> Lent {
        self.lending.lend(bytes)
    }

    /// Opens an object, or finds it open.
    pub fn open(&self, id: ObjectId) -> io::Result<Arc<File>> {
        match self.kept(id) {
            Some(file) => Ok(file),
            None => Ok(self.keep(id, self.store.object(id)?)),
        }
    }

    /// [`Objects::open`], once its bytes are known to be those that it is named by. It may take as long as reading all of it.
    ///
    /// # Errors
    /// `InvalidData` when they are others: the disk has changed them.
    pub async fn open_good(&self, id: ObjectId) -> io::Result<Arc<File>> {
        let file = self.open(id)?;
        if self.vouched.is_good(id, &file).await? {
            return Ok(file);
        }
        self.forget(id);
        Err(changed())
    }

    /// [`Objects::open`], with at least so many bytes in it.
    ///
    /// # Errors
    /// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
    pub fn open_to(&self, id: ObjectId, end: u64) -> io::Result<Arc<File>> {
        let file = self.open(id)?;
        if file.metadata()?.len() < end {
            self.forget(id);
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(file)
    }

    /// Opens it anew next time: what is damaged may be put right by another file of this name.
    fn forget(&self, id: ObjectId) {
        self.open.remove(&id);
    }

    /// Says what the store has lost.
    pub fn complain(id: ObjectId, cause: &io::Error) {
        tracing::error!(object = %id, %cause, "what a file contains cannot be read: `oneroot verify` says what is lost");
    }

    /// A descriptor that is open already. Where another file has the name by now, it is that one's: what was damaged was put
    /// right, by a file that took its place.
    fn kept(&self, id: ObjectId) -> Option<Arc<File>> {
        let kept = self.open.get(&id)?;
        if kept.metadata().is_ok_and(|found| found.nlink() > 0) {
            return Some(kept);
        }
        // One whose name is gone altogether still has what it is asked for.
        self.store.object(id).map_or(Some(kept), |file| Some(self.keep(id, file)))
    }

    fn keep(&self, id: ObjectId, file: File) -> Arc<File> {
        let file = Arc::new(file);
        self.open.insert(id, file.clone());
        file
    }

    /// Appends exactly `length` bytes from `offset` to `to`, if that takes no waiting; else appends nothing, and says what to
    /// [wait for](Objects::append_from_disk).
    ///
    /// # Errors
    /// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
    pub fn append(
        &self,
        id: ObjectId,
        offset: u64,
        length: usize,
        to: &mut Vec<u8>,
    ) -> io::Result<Option<OnDisk>> {
        if let Some(contents) = self.held.get(id) {
            to.extend_from_slice(part(&contents, offset, length)?);
            return Ok(None);
        }
        let (file, whole) = match self.kept(id) {
            Some(file) => (file, None),
            None => {
                if let Some(contents) = self.lending.get(id) {
                    to.extend_from_slice(part(&contents, offset, length)?);
                    return Ok(None);
                }
                let file = self.store.object(id)?;
                let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
                // A small one is held in memory from now on, and needs no descriptor.
                if size <= held::LARGEST { (Arc::new(file), Some(size)) } else { (self.keep(id, file), None) }
            }
        };
        let start = to.len();
        // A small one is put together where its part will be, and moved there.
        let (from, count) = whole.map_or((offset, length), |size| (0, size));
        to.resize(start + count, 0);
        let bytes = to.get_mut(start..).unwrap_or_default();
        match read_cached(&file, from, bytes) {
            Ok(true) => {}
            other => {
                to.truncate(start);
                if other.is_err() {
                    self.forget(id);
                }
                return other.map(|_| Some(OnDisk { id, file, whole }));
            }
        }
        if whole.is_some() {
            let contents = self.hold(id, bytes);
            // An error is told only once `to` is as it was before.
            to.truncate(start);
            to.extend_from_slice(part(&contents?, offset, length)?);
        }
        Ok(None)
    }

    /// [`Objects::append`], from the disk: it is waited for on another thread.
    pub async fn append_from_disk(
        &self,
        from: OnDisk,
        offset: u64,
        length: usize,
        to: &mut Vec<u8>,
    ) -> io::Result<()> {
        let OnDisk { id, file, whole } = from;
        let (start, count) = whole.map_or((offset, length), |size| (0, size));
        let read = move || -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, start)?;
            Ok(bytes)
        };
        let bytes = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??;
        if whole.is_some() {
            to.extend_from_slice(part(&self.hold(id, &bytes)?, offset, length)?);
        } else {
            to.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

impl Objects {
    /// Holds what an object has, once that is known to be what it should have: a damaged one that is put right must not be
    /// remembered as it was.
    fn hold(&self, id: ObjectId, bytes: &[u8]) -> io::Result<Arc<[u8]>> {
        if *blake3::hash(bytes).as_bytes() != id.0 {
            return Err(changed());
        }
        Ok(self.held.put(id, bytes))
    }
}

/// A store that does not have what it should.
pub fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not what its name says")
}

/// Whether this says that the store does not have what it should. Anything else is trouble of the moment (no descriptor, no
/// memory), and a client that asks again may well be answered.
pub fn is_lost(cause: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData];
    kinds.contains(&cause.kind()) || Errno::from_io_error(cause) == Some(Errno::IO)
}

fn part(contents: &[u8], offset: u64, length: usize) -> io::Result<&[u8]> {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let part = offset.checked_add(length).and_then(|end| contents.get(offset..end));
    part.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Fills `to` with what the page cache has from `at` on; false if it has not all of it.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub fn read_cached(file: &File, at: u64, to: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match cached(file, at + done as u64, rest)? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => done += count,
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Reads what the page cache has, 0 at the end of the file; `None` if it takes the disk to know.
fn cached(file: &File, at: u64, to: &mut [u8]) -> io::Result<Option<usize>> {
    match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(to)], at, ReadWriteFlags::NOWAIT) {
        Ok(count) => Ok(Some(count)),
        // Not there, or a file system that can't tell.
        Err(Errno::AGAIN | Errno::NOTSUP | Errno::NOSYS | Errno::INTR) => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// Distance of the places at which a range is asked for. The kernel reads ahead and evicts in larger pieces than pages; a
/// hole between two places costs one wait on the event loop, and nothing worse.
const STRIDE: usize = 64 * 1024;

/// Whether a range of a file is in the page cache: what sendfile(2) can't be told to insist on.
///
/// # Errors
/// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
pub fn is_cached(file: &File, offset: u64, length: usize) -> io::Result<bool> {
    let last = offset + length.saturating_sub(1) as u64;
    for at in (offset..last).step_by(STRIDE).chain([last]) {
        match cached(file, at, &mut [0])? {
            Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => {}
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// Waits, off the event loop, until a range of a file is in the page cache. A piece at a time, for five hundred may wait at
/// once, each with its own buffer.
pub async fn cache(file: &Arc<File>, offset: u64, length: usize) -> io::Result<()> {
    let file = file.clone();
    tokio::task::spawn_blocking(move || load(&file, offset, length)).await.map_err(io::Error::other)?
}

/// Reads a range of a file, so that the page cache has it. Takes as long as the disk does.
///
/// # Errors
/// The system's.
pub fn load(file: &File, offset: u64, length: usize) -> io::Result<()> {
    let mut piece = vec![0; STRIDE.min(length)];
    let mut done = 0;
    while done < length {
        let rest = piece.get_mut(..STRIDE.min(length - done)).unwrap_or_default();
        file.read_exact_at(rest, offset + done as u64)?;
        done += rest.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both have a client's program on the other end: one is told that its file is broken, the other waits a moment.
    #[test]
    fn want_of_descriptors_or_memory_is_no_lost_file() {
        let is_lost = |errno: Errno| is_lost(&errno.into());
        assert!(is_lost(Errno::NOENT) && is_lost(Errno::IO));
        assert!(!is_lost(Errno::MFILE) && !is_lost(Errno::NFILE) && !is_lost(Errno::NOMEM));
    }
}
