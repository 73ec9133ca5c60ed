//! Files made up by rule, of any size, that can shrink or fail while they are read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use oneroot_tftp::Content;

/// A file of `size` bytes, of which only the first `readable` can be read.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) size: u64,
    pub(crate) readable: Arc<AtomicU64>,
    pub(crate) broken: bool,
}

impl Made {
    pub(crate) fn new(size: u64) -> Self {
        Self { size, readable: Arc::new(AtomicU64::new(size)), broken: false }
    }
}

impl Content for Made {
    fn len(&self) -> u64 {
        self.size
    }

    /// Gives at most 40,000 bytes in one go: the engine has to ask again for more.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::Error::other("/secret/path: input/output error"));
        }
        let left = self.readable.load(Relaxed).saturating_sub(offset);
        let count = left.min(40_000).min(buf.len() as u64) as usize;
        fill(offset, &mut buf[..count]);
        Ok(count)
    }
}

/// A file of which only a part is in memory: nothing to begin with, and then what was fetched last.
#[derive(Clone)]
pub(crate) struct Cold {
    pub(crate) file: Made,
    pub(crate) memory: std::ops::Range<u64>,
}

impl Content for Cold {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if !self.memory.contains(&offset) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buf.len().min((self.memory.end - offset) as usize);
        self.file.read_at(offset, &mut buf[..count])
    }
}

/// Bytes of a made file: no two places of 2 KiB are alike within 512 KiB, and large blocks are quick to make.
pub(crate) fn fill(offset: u64, buf: &mut [u8]) {
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let page = at / 2039;
        let count = (2039 - at % 2039).min(rest.len() as u64) as usize;
        let (now, later) = rest.split_at_mut(count);
        now.fill((page ^ (page >> 8)) as u8 ^ 0x5a);
        at += count as u64;
        rest = later;
    }
}

pub(crate) fn bytes(offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fill(offset, &mut out);
    out
}
