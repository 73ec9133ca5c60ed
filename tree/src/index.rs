//! A generation's index, read in place: two tables and a heap (docs/decisions/0004).
//!
//! Inode numbers start at 1, which is the root. An index file is checked once, when it is read: magic, sizes and a
//! checksum over all of it. After that every access is bounds-checked anyway; a wrong offset reads as nothing.

use std::cmp::Ordering;

use crate::format::{self as f, ReadAt};
use crate::node::{Content, Kind, Meta};
use oneroot_ids::{GenerationId, ObjectId};

/// Number of the root directory in every index.
pub const ROOT: u32 = 1;

/// An index in memory, in its disk form. Cheap to look into; share it with an `Arc`.
pub struct Index {
    bytes: Box<[u8]>,
    inodes: usize,
    names: usize,
    /// Where the table of names and the heap begin.
    names_at: usize,
    heap_at: usize,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name: 1 to 255 bytes, no `/`, no NUL.
    pub name: &'a [u8],
    /// The inode it names.
    pub inode: u32,
}

impl Index {
    /// Checks the bytes of an index file.
    ///
    /// # Errors
    /// Says in a few words what is wrong.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, &'static str> {
        if bytes.get(..8) != Some(f::MAGIC.as_slice()) {
            return Err("not an index of this format version");
        }
        let index = Self::trusted(bytes);
        let heap = usize::try_from(index.bytes.u64_at(24)).map_err(|_| "the index is torn")?;
        if index.heap_at.checked_add(heap) != Some(index.bytes.len()) || index.inodes == 0 {
            return Err("the index is torn");
        }
        let body = index.bytes.get(f::HEADER..).unwrap_or_default();
        if blake3::hash(body).as_bytes() != &index.bytes.array::<32>(64) {
            return Err("the index is damaged");
        }
        Ok(index)
    }

    /// Takes bytes that the encoder has just made.
    pub(crate) fn trusted(bytes: Vec<u8>) -> Self {
        let inodes = bytes.u32_at(8) as usize;
        let names = bytes.u32_at(12) as usize;
        let names_at = f::HEADER + inodes * f::INODE;
        Self { inodes, names, names_at, heap_at: names_at + names * f::NAME, bytes: bytes.into_boxed_slice() }
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its generation: the hash of the logical index.
    #[must_use]
    pub fn generation(&self) -> GenerationId {
        GenerationId(self.bytes.array(32))
    }

    /// Number of inodes; the highest inode number.
    #[must_use]
    pub fn inodes(&self) -> u32 {
        self.bytes.u32_at(8)
    }

    /// Number of paths, the root's too: a file that has two names counts twice.
    #[must_use]
    pub fn paths(&self) -> u64 {
        self.names as u64 + 1
    }

    /// Bytes in all regular files.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        let sizes =
            (1..=self.inodes()).filter_map(|number| self.inode(number)).filter(|i| i.kind() == Kind::Regular);
        sizes.fold(0, |sum, inode| sum.saturating_add(inode.size()))
    }

    /// Number of whiteouts.
    #[must_use]
    pub fn whiteouts(&self) -> u32 {
        self.bytes.u32_at(16)
    }

    /// Every node with its path, the root left out: one with several names once for each.
    pub fn each(&self, visit: &mut dyn FnMut(&[u8], &Inode<'_>)) {
        let mut todo = vec![(ROOT, Vec::new())];
        while let Some((directory, path)) = todo.pop() {
            let (first, count) = self.inode(directory).map_or((0, 0), |inode| inode.run());
            for entry in (first..first.saturating_add(count)).filter_map(|place| self.entry(place)) {
                let Some(inode) = self.inode(entry.inode) else { continue };
                let below = match path.as_slice() {
                    [] => entry.name.to_vec(),
                    path => [path, b"/", entry.name].concat(),
                };
                visit(&below, &inode);
                if inode.kind().is_directory() {
                    todo.push((entry.inode, below));
                }
            }
        }
    }

    /// The inode with this number.
    #[must_use]
    #[inline]
    pub fn inode(&self, number: u32) -> Option<Inode<'_>> {
        let place = (number as usize).checked_sub(1).filter(|place| *place < self.inodes)?;
        let start = f::HEADER + place * f::INODE;
        let record = self.bytes.get(start..)?.first_chunk()?;
        Some(Inode { index: self, record, kind: f::kind_of(record)? })
    }

    /// The name at a place in the table of names.
    #[must_use]
    #[inline]
    pub fn entry(&self, place: u32) -> Option<Entry<'_>> {
        if place as usize >= self.names {
            return None;
        }
        let start = self.names_at + place as usize * f::NAME;
        let record = self.bytes.get(start..start + f::NAME)?;
        Some(Entry {
            name: self.heap(record.u32_at(0), u32::from(record.u16_at(8)))?,
            inode: record.u32_at(4),
        })
    }

    /// Where in a directory's run of names this name stands.
    #[must_use]
    pub fn find(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let (mut low, count) = self.inode(directory)?.run();
        let mut high = low.checked_add(count)?;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)?.name.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    #[inline]
    fn heap(&self, offset: u32, length: u32) -> Option<&[u8]> {
        let start = self.heap_at.checked_add(offset as usize)?;
        self.bytes.get(start..start.checked_add(length as usize)?)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({}, {} inodes, {} names)", self.generation(), self.inodes, self.names)
    }
}

/// One inode of an index.
#[derive(Clone, Copy)]
pub struct Inode<'a> {
    index: &'a Index,
    record: &'a [u8; f::INODE],
    kind: Kind,
}

impl<'a> Inode<'a> {
    /// File, directory, link, device, FIFO, socket or whiteout.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Permission bits with setuid, setgid and sticky.
    #[must_use]
    #[inline]
    pub fn mode(&self) -> u16 {
        self.record.u16_at(f::I_MODE)
    }

    /// Owner.
    #[must_use]
    #[inline]
    pub fn uid(&self) -> u32 {
        self.record.u32_at(f::I_UID)
    }

    /// Group.
    #[must_use]
    #[inline]
    pub fn gid(&self) -> u32 {
        self.record.u32_at(f::I_GID)
    }

    /// Names of a file; 2 and the subdirectories of a directory, in this layer alone.
    #[must_use]
    #[inline]
    pub fn nlink(&self) -> u32 {
        self.record.u32_at(f::I_NLINK)
    }

    /// Bytes of a file or of a link's text; 0 for all else.
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        self.record.u64_at(f::I_SIZE)
    }

    /// Modification time, nanoseconds since 1970.
    #[must_use]
    #[inline]
    pub fn mtime(&self) -> i64 {
        i64::from_le_bytes(self.record.array(f::I_MTIME))
    }

    /// Device number: major, minor; zeros for what is no device.
    #[must_use]
    #[inline]
    pub fn rdev(&self) -> (u32, u32) {
        match self.kind {
            Kind::Character | Kind::Block => (self.record.u32_at(f::I_A), self.record.u32_at(f::I_B)),
            _ => (0, 0),
        }
    }

    /// Content of a regular file.
    #[must_use]
    pub fn object(&self) -> Option<ObjectId> {
        (self.kind == Kind::Regular).then(|| ObjectId(self.record.array(f::I_OBJECT)))
    }

    /// Text of a symbolic link.
    #[must_use]
    pub fn target(&self) -> Option<&'a [u8]> {
        if self.kind != Kind::Symlink {
            return None;
        }
        self.index.heap(self.record.u32_at(f::I_A), self.record.u32_at(f::I_B))
    }

    /// A directory's run in the table of names: first place and number; empty for all else.
    #[must_use]
    pub fn run(&self) -> (u32, u32) {
        match self.kind {
            Kind::Directory | Kind::OpaqueDirectory => {
                // Never past the table: whoever walks a run may count on its end.
                let (first, count) = (self.record.u32_at(f::I_A), self.record.u32_at(f::I_B));
                (first, count.min(self.index.bytes.u32_at(12).saturating_sub(first)))
            }
            _ => (0, 0),
        }
    }

    /// Whether one of a directory's names is a whiteout.
    #[must_use]
    pub fn holds_whiteout(&self) -> bool {
        self.record.array::<1>(f::I_FLAGS)[0] & f::HOLDS_WHITEOUT != 0
    }

    /// The directory that has its (first) name; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> u32 {
        self.record.u32_at(f::I_PARENT)
    }

    /// Its (first) name; the root has none.
    #[must_use]
    pub fn name(&self) -> Option<&'a [u8]> {
        self.index.entry(self.record.u32_at(f::I_OWN_NAME)).map(|entry| entry.name)
    }

    /// Extended attributes, sorted by name.
    #[must_use]
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let all = self.index.heap(self.record.u32_at(f::I_XATTR), self.record.u32_at(f::I_XATTR_LEN));
        let mut rest = all.unwrap_or_default();
        let mut part = || -> Option<Vec<u8>> {
            let length = rest.get(..4)?.u32_at(0) as usize;
            let bytes = rest.get(4..4 + length)?.to_vec();
            rest = rest.get(4 + length..)?;
            Some(bytes)
        };
        std::iter::from_fn(|| Some((part()?, part()?))).collect()
    }

    /// Owner, mode, time and attributes together, as a builder takes them.
    #[must_use]
    pub fn meta(&self) -> Meta {
        Meta {
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            mtime: self.mtime(),
            xattrs: self.xattrs(),
        }
    }

    /// Kind and what only it has, as a builder takes it.
    #[must_use]
    pub fn content(&self) -> Content {
        let (major, minor) = self.rdev();
        match self.kind {
            Kind::Regular => {
                Content::Regular { object: ObjectId(self.record.array(f::I_OBJECT)), size: self.size() }
            }
            Kind::Directory => Content::Directory { opaque: false },
            Kind::OpaqueDirectory => Content::Directory { opaque: true },
            Kind::Symlink => Content::Symlink(self.target().unwrap_or_default().to_vec()),
            Kind::Character => Content::Character(major, minor),
            Kind::Block => Content::Block(major, minor),
            Kind::Fifo => Content::Fifo,
            Kind::Socket => Content::Socket,
            Kind::Whiteout => Content::Whiteout,
        }
    }
}
