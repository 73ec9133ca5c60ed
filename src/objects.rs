//! Objects opened for serving: descriptors are kept, and bytes in the page cache are read without leaving the event loop.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use oneroot_tree::{ObjectId, Store};
use rustix::io::{Errno, ReadWriteFlags};

/// Descriptors kept open at most, over all connections.
const KEPT: usize = 512;

/// How far apart the page cache is looked at.
const STEP: u64 = 128 * 1024;

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

    /// Opens an object when these bytes of it are in the page cache, so that sending them waits for no disk. Looked at in
    /// steps of [`STEP`]: the kernel reads ahead and lets go by more than that.
    pub fn open_if_cached(&self, id: ObjectId, offset: u64, length: usize) -> io::Result<Option<Arc<File>>> {
        let file = self.open(id)?;
        let last = offset + (length as u64).saturating_sub(1);
        let mut at = offset;
        loop {
            let mut byte = [0];
            match rustix::io::preadv2(&file, &mut [io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
                Ok(1) => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
                Err(cause) => return Err(cause.into()),
            }
            if at == last {
                return Ok(Some(file));
            }
            at = last.min(at + STEP);
        }
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
