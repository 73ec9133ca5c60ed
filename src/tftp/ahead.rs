//! What a transfer sends, read ahead of it: one call for many blocks, and none that waits for the disk.

use std::cell::RefCell;
use std::io;

use oneroot_machines::Resource;
use oneroot_tftp::Content;

/// Bytes that a transfer has in memory. Blocks are of 1.4 KB mostly: a call for each costs more than to copy them once more.
pub const AHEAD: usize = 32 * 1024;
/// The same before the client has answered anything: its address may be made up.
const AT_FIRST: usize = 4 * 1024;

/// A resource, and the part of it that is in memory.
pub struct Ahead {
    resource: Resource,
    part: RefCell<Part>,
}

#[derive(Default)]
struct Part {
    start: u64,
    bytes: Vec<u8>,
}

impl Part {
    /// What there is from `offset` on.
    fn from(&self, offset: u64) -> &[u8] {
        let skipped = offset.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.bytes.get(skipped..)).unwrap_or_default()
    }
}

impl Ahead {
    /// Nothing is in memory yet.
    pub fn new(resource: Resource) -> Self {
        Self { resource, part: RefCell::default() }
    }

    /// The same, with what follows `start` in memory, from the disk if need be: the caller may have to wait.
    ///
    /// # Errors
    /// What the disk says, and `UnexpectedEof` when the file has become shorter.
    pub fn read(resource: Resource, start: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        resource.read_at(start, length(&resource, start, AHEAD), &mut bytes)?;
        Ok(Self { resource, part: RefCell::new(Part { start, bytes }) })
    }
}

impl Content for Ahead {
    fn len(&self) -> u64 {
        self.resource.len()
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        if let Resource::Bytes(_) = &self.resource {
            return self.resource.fill(offset, to);
        }
        let mut part = self.part.borrow_mut();
        if part.from(offset).is_empty() {
            let most = if offset == 0 { AT_FIRST.max(to.len()) } else { AHEAD };
            part.start = offset;
            part.bytes.resize(length(&self.resource, offset, most), 0);
            match self.resource.fill_now(offset, &mut part.bytes) {
                Ok(true) => {}
                other => {
                    part.bytes = Vec::new();
                    return other.and(Err(io::ErrorKind::WouldBlock.into()));
                }
            }
        }
        let from = part.from(offset);
        let count = from.len().min(to.len());
        // A copy of the whole in one piece, where a loop would be one of bytes.
        if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// What there is to be read from `start` on, at most so much.
fn length(resource: &Resource, start: u64, most: usize) -> usize {
    usize::try_from(resource.len().saturating_sub(start)).unwrap_or(usize::MAX).min(most)
}
