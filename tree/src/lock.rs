//! Who may write in a place (`flock(2)`): held until it is dropped, or until the process ends, however that ends.
//!
//! The kernel locks an open file for whoever has it open, and a program that another thread starts has all that this process has
//! open, from its `fork` to its `exec`. To close the file would leave the lock with that one for a moment, and whoever asks then
//! would be told that somebody else is at work; so the lock itself is given back.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};

/// A file, or a directory, that this process has locked.
pub(crate) struct Lock(File);

impl Lock {
    /// Locks it against everybody else, where nobody has it now.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] where somebody has it, or the system's.
    pub(crate) fn now(file: File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    /// Waits until it is locked against everybody else.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn alone(file: File) -> io::Result<Self> {
        Self::wait(file, File::lock)
    }

    /// Waits until it is locked against those who want it [alone](Self::alone).
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn shared(file: File) -> io::Result<Self> {
        Self::wait(file, File::lock_shared)
    }

    fn wait(file: File, lock: impl Fn(&File) -> io::Result<()>) -> io::Result<Self> {
        loop {
            match lock(&file) {
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Self(file)),
            }
        }
    }

    /// The file that is locked.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Where the system refuses, it goes with the file.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_dropped_is_free_at_once_whoever_still_has_the_file_open() {
        let home = tempfile::tempdir().unwrap();
        let open = || File::open(home.path()).unwrap();
        let lock = Lock::now(open()).unwrap();
        // As a program that another thread starts has it, until its `exec`.
        let inherited = lock.file().try_clone().unwrap();
        assert_eq!(Lock::now(open()).map(|_| ()).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock);
        Lock::now(open()).unwrap();
        Lock::alone(open()).unwrap();
        Lock::shared(open()).unwrap();
        drop(inherited);
    }
}
