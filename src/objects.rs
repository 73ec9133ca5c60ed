//! Objects opened for serving: descriptors are kept, and bytes in the page cache are read without leaving the event loop.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_tree::{ObjectId, Store};
use rustix::io::{Errno, ReadWriteFlags};

/// Descriptors kept open at most, over all connections.
const KEPT: usize = 512;

/// The store's objects, as servers read them.
pub struct Objects {
    store: Arc<Store>,
    open: Mutex<HashMap<ObjectId, Arc<File>>>,
}

impl Objects {
    /// Nothing is open yet.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, open: Mutex::default() }
    }

    /// Opens an object, or finds it open.
    pub fn open(&self, id: ObjectId) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&id) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.store.object(id)?);
        // Objects are opened again in a few microseconds, so which ones are dropped hardly matters: half, at random by
        // hash order, keeps the cost of a full table off the common path.
        if open.len() >= KEPT {
            let mut keep = false;
            open.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        open.insert(id, file.clone());
        Ok(file)
    }

    /// Appends exactly `length` bytes from `offset` to `to`, if they are in the page cache; else appends nothing, and gives
    /// the file to read them [from the disk](read_from_disk).
    ///
    /// # Errors
    /// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
    pub fn read_cached(
        &self,
        id: ObjectId,
        offset: u64,
        length: usize,
        to: &mut Vec<u8>,
    ) -> io::Result<Result<(), Arc<File>>> {
        let file = self.open(id)?;
        let start = to.len();
        to.resize(start + length, 0);
        let mut done = 0;
        while done < length {
            let rest = to.get_mut(start + done..).unwrap_or_default();
            match cached(&file, offset + done as u64, rest)? {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(count) => done += count,
                None => {
                    to.truncate(start);
                    return Ok(Err(file));
                }
            }
        }
        Ok(Ok(()))
    }
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

/// Appends exactly `length` bytes from `offset` to `to`, waiting for the disk on another thread.
pub async fn read_from_disk(file: Arc<File>, offset: u64, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
    let read = move || -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    };
    to.extend_from_slice(&tokio::task::spawn_blocking(read).await.map_err(io::Error::other)??);
    Ok(())
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
    let read = move || -> io::Result<()> {
        let mut piece = vec![0; STRIDE.min(length)];
        let mut done = 0;
        while done < length {
            let rest = piece.get_mut(..STRIDE.min(length - done)).unwrap_or_default();
            file.read_exact_at(rest, offset + done as u64)?;
            done += rest.len();
        }
        Ok(())
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
