//! Objects opened for serving: descriptors are kept, and bytes in the page cache are read without leaving the event loop.

use std::collections::HashMap;
use std::fs::File;
use std::io;
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

    /// Appends exactly `length` bytes from `offset` to `to`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
    pub async fn read(&self, id: ObjectId, offset: u64, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let file = self.open(id)?;
        let start = to.len();
        to.resize(start + length, 0);
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let rest = to.get_mut(start + done..).unwrap_or_default();
            let mut slices = [io::IoSliceMut::new(rest)];
            match rustix::io::preadv2(&file, &mut slices, at, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                // Not in the page cache (or a file system that can't tell): wait for the disk on another thread.
                Err(Errno::AGAIN | Errno::NOTSUP | Errno::NOSYS) => {
                    let file = file.clone();
                    let wanted = length - done;
                    let bytes = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
                        use std::os::unix::fs::FileExt as _;
                        let mut bytes = vec![0; wanted];
                        file.read_exact_at(&mut bytes, at)?;
                        Ok(bytes)
                    });
                    let bytes = bytes.await.map_err(io::Error::other)??;
                    to.truncate(start + done);
                    to.extend_from_slice(&bytes);
                    done = length;
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(())
    }
}

/// Distance of the places at which a range is asked for. The kernel reads ahead and evicts in larger pieces than pages; a
/// hole between two places costs one wait on the event loop, and nothing worse.
const STRIDE: usize = 64 * 1024;

/// Waits, off the event loop, until a range of a file is in the page cache: what sendfile(2) can't be told to insist on.
///
/// # Errors
/// `UnexpectedEof` when the object is shorter than its index says: the disk lost bytes.
pub async fn warm(file: &Arc<File>, offset: u64, length: usize) -> io::Result<()> {
    let is_there = |at: u64| -> io::Result<bool> {
        let mut byte = [0];
        match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::NOTSUP | Errno::NOSYS | Errno::INTR) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    };
    let last = offset + length.saturating_sub(1) as u64;
    for at in (offset..last).step_by(STRIDE).chain([last]) {
        if !is_there(at)? {
            let file = file.clone();
            let read = move || -> io::Result<()> {
                use std::os::unix::fs::FileExt as _;
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, offset)
            };
            return tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
        }
    }
    Ok(())
}
