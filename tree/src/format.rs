//! The bytes of an index, twice: as they are hashed and as they lie on the disk.
//!
//! The *logical* form is what a generation is named by, and is for ever: bump [`LOGICAL`] and every name changes. The
//! *disk* form may change under the same name: fixed-width records that are read in place, so that a view costs its
//! file's size in memory and no allocation per node. All numbers are little-endian. Names come before inodes in both,
//! ordered by directory number, then by name, so a directory's names are one run.

use crate::error::{Error, Result};
use crate::node::{Content, Kind, Meta};
use oneroot_ids::GenerationId;

/// Opens the logical form; its number is the format's version.
const LOGICAL: &[u8] = b"oneroot generation 1\n";
/// First bytes of the disk form, with its version.
pub(crate) const MAGIC: &[u8; 8] = b"1root\0\0\x01";

/// Header: magic 8, inodes 4, names 4, whiteouts 4, reserved 4, heap 8, generation 32, checksum of the rest 32.
pub(crate) const HEADER: usize = 96;
/// One inode, see the `I_` offsets.
pub(crate) const INODE: usize = 88;
/// One name: heap offset 4, inode 4, length 2, reserved 2.
pub(crate) const NAME: usize = 12;

pub(crate) const I_KIND: usize = 0;
pub(crate) const I_FLAGS: usize = 1;
pub(crate) const I_MODE: usize = 2;
pub(crate) const I_UID: usize = 4;
pub(crate) const I_GID: usize = 8;
pub(crate) const I_NLINK: usize = 12;
pub(crate) const I_SIZE: usize = 16;
pub(crate) const I_MTIME: usize = 24;
/// Device major; first name of a directory; heap offset of a link's text.
pub(crate) const I_A: usize = 32;
/// Device minor; names of a directory; length of a link's text.
pub(crate) const I_B: usize = 36;
pub(crate) const I_XATTR: usize = 40;
pub(crate) const I_XATTR_LEN: usize = 44;
pub(crate) const I_OBJECT: usize = 48;
pub(crate) const I_PARENT: usize = 80;
/// Place of a directory's own name in the table of names.
pub(crate) const I_OWN_NAME: usize = 84;

/// In a directory's flags: one of its names is a whiteout, so its names can't be served as they stand.
pub(crate) const HOLDS_WHITEOUT: u8 = 1;

/// Bytes that a name has room for, before the heap has to grow.
const USUAL: usize = 16;

/// The logical form, hashed as it is written: in batches, for BLAKE3 takes many bytes at once by the vector and single fields
/// one block after the other.
#[derive(Default)]
struct Logical {
    hasher: blake3::Hasher,
    pending: Vec<u8>,
}

impl Logical {
    const BATCH: usize = 64 * 1024;

    fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= Self::BATCH {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
        self
    }

    fn finish(mut self) -> GenerationId {
        self.hasher.update(&self.pending);
        GenerationId(*self.hasher.finalize().as_bytes())
    }
}

/// Takes names, then inodes, in canonical order.
pub(crate) struct Encoder {
    logical: Logical,
    names: Vec<u8>,
    /// The header, which is filled in last, and the inodes.
    file: Vec<u8>,
    heap: Vec<u8>,
    /// By directory number less one: first name and number of names.
    runs: Vec<(u32, u32)>,
    /// By inode number less one: parent and own name, of the first name met.
    homes: Vec<(u32, u32)>,
    whiteouts: Vec<u32>,
    name_count: u32,
    inode_count: u32,
}

impl Encoder {
    /// With room for so many nodes, with a name of usual length each.
    pub(crate) fn with_room_for(nodes: usize) -> Self {
        let mut logical = Logical::default();
        logical.update(LOGICAL);
        let mut homes = Vec::with_capacity(nodes);
        // The root is its own parent, and has no name.
        homes.push((1, u32::MAX));
        let mut file = Vec::with_capacity(HEADER + nodes * (INODE + NAME + USUAL));
        file.resize(HEADER, 0);
        Self {
            logical,
            names: Vec::with_capacity(nodes * NAME),
            file,
            heap: Vec::with_capacity(nodes * USUAL),
            runs: Vec::new(),
            homes,
            whiteouts: Vec::new(),
            name_count: 0,
            inode_count: 0,
        }
    }

    /// One name; directories and names come in order.
    pub(crate) fn name(&mut self, directory: u32, inode: u32, name: &[u8]) -> Result<()> {
        let length =
            u16::try_from(name.len()).map_err(|_| Error::entry(name, "a name is longer than 255 bytes"))?;
        self.logical
            .update(b"n")
            .update(&u64::from(directory).to_le_bytes())
            .update(&u64::from(inode).to_le_bytes());
        self.logical.update(&length.to_le_bytes()).update(name);
        let offset = self.push_to_heap(name)?;
        self.names.extend_from_slice(&offset.to_le_bytes());
        self.names.extend_from_slice(&inode.to_le_bytes());
        self.names.extend_from_slice(&length.to_le_bytes());
        self.names.extend_from_slice(&[0; 2]);
        let place = self.name_count;
        let run = at(&mut self.runs, directory, (0, 0));
        if run.1 == 0 {
            run.0 = place;
        }
        run.1 += 1;
        let home = at(&mut self.homes, inode, (0, u32::MAX));
        if home.0 == 0 {
            *home = (directory, place);
        }
        self.name_count = self.name_count.checked_add(1).ok_or(Error::TooLarge("names"))?;
        Ok(())
    }

    /// One inode; they come in order of number, from 1, after all names.
    pub(crate) fn inode(&mut self, meta: &Meta, content: &Content, nlink: u32) -> Result<()> {
        self.inode_count = self.inode_count.checked_add(1).ok_or(Error::TooLarge("files"))?;
        let number = self.inode_count;
        let (parent, own_name) = *at(&mut self.homes, number, (1, u32::MAX));
        let run = *at(&mut self.runs, number, (0, 0));
        let mut object = [0; 32];
        let mut size = 0;
        let (mut a, mut b) = (0, 0);
        match content {
            Content::Regular { object: id, size: bytes } => (object, size) = (id.0, *bytes),
            Content::Directory { .. } => (a, b) = run,
            Content::Symlink(text) => {
                size = text.len() as u64;
                (a, b) = (self.push_to_heap(text)?, length(text)?);
            }
            Content::Character(major, minor) | Content::Block(major, minor) => (a, b) = (*major, *minor),
            Content::Whiteout => self.whiteouts.push(parent),
            Content::Fifo | Content::Socket => {}
        }
        let xattrs = encode_xattrs(&meta.xattrs)?;
        let xattr_offset = if xattrs.is_empty() { 0 } else { self.push_to_heap(&xattrs)? };

        let logical = &mut self.logical;
        logical.update(b"i").update(&[content.kind() as u8]);
        logical
            .update(&meta.mode.to_le_bytes())
            .update(&meta.uid.to_le_bytes())
            .update(&meta.gid.to_le_bytes());
        logical.update(&nlink.to_le_bytes()).update(&size.to_le_bytes()).update(&meta.mtime.to_le_bytes());
        match content {
            Content::Regular { object, .. } => drop(logical.update(&object.0)),
            Content::Symlink(text) => drop(logical.update(text)),
            Content::Character(..) | Content::Block(..) => {
                logical.update(&a.to_le_bytes()).update(&b.to_le_bytes());
            }
            Content::Directory { .. } | Content::Fifo | Content::Socket | Content::Whiteout => {}
        }
        logical.update(&length(&xattrs)?.to_le_bytes()).update(&xattrs);

        let record = &mut self.file;
        record.extend_from_slice(&[content.kind() as u8, 0]);
        record.extend_from_slice(&meta.mode.to_le_bytes());
        for word in [meta.uid, meta.gid, nlink] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        record.extend_from_slice(&size.to_le_bytes());
        record.extend_from_slice(&meta.mtime.to_le_bytes());
        for word in [a, b, xattr_offset, length(&xattrs)?] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        record.extend_from_slice(&object);
        for word in [parent, own_name] {
            record.extend_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    /// The whole file of an index.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let whiteouts = u32::try_from(self.whiteouts.len()).unwrap_or(u32::MAX);
        let heap = self.heap.len() as u64;
        for parent in std::mem::take(&mut self.whiteouts) {
            let flags = HEADER + (parent as usize).saturating_sub(1) * INODE + I_FLAGS;
            if let Some(flags) = self.file.get_mut(flags) {
                *flags |= HOLDS_WHITEOUT;
            }
        }
        let generation = self.logical.finish();
        let mut bytes = self.file;
        bytes.append(&mut self.names);
        bytes.append(&mut self.heap);

        let checksum = blake3::hash(bytes.get(HEADER..).unwrap_or_default());
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        for word in [self.inode_count, self.name_count, whiteouts, 0] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        header.extend_from_slice(&heap.to_le_bytes());
        header.extend_from_slice(&generation.0);
        header.extend_from_slice(checksum.as_bytes());
        bytes.splice(..HEADER, header);
        bytes
    }

    fn push_to_heap(&mut self, bytes: &[u8]) -> Result<u32> {
        let offset = length(&self.heap)?;
        self.heap.extend_from_slice(bytes);
        Ok(offset)
    }
}

fn length(bytes: &[u8]) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| Error::TooLarge("bytes of names"))
}

/// The entry for inode `number`, growing the table to hold it.
fn at<T: Copy>(table: &mut Vec<T>, number: u32, empty: T) -> &mut T {
    let place = (number as usize).saturating_sub(1);
    if table.len() <= place {
        table.resize(place + 1, empty);
    }
    // The table was just made long enough; the last entry stands in so that no index can fail.
    let place = place.min(table.len() - 1);
    #[allow(clippy::indexing_slicing, reason = "place < len, by the line above; len >= 1, by the resize")]
    &mut table[place]
}

/// Attributes sorted by name: length and bytes of name and value each.
fn encode_xattrs(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut sorted: Vec<_> = xattrs.iter().collect();
    sorted.sort();
    let mut bytes = Vec::new();
    for (name, value) in sorted {
        for part in [name, value] {
            bytes.extend_from_slice(&length(part)?.to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    Ok(bytes)
}

/// Reads fixed-width numbers at an offset; what lies outside reads as zero, so no offset can stop the process.
pub(crate) trait ReadAt {
    fn array<const N: usize>(&self, offset: usize) -> [u8; N];

    #[inline]
    fn u16_at(&self, offset: usize) -> u16 {
        u16::from_le_bytes(self.array(offset))
    }

    #[inline]
    fn u32_at(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    #[inline]
    fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }
}

impl ReadAt for [u8] {
    #[inline]
    fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let end = offset.saturating_add(N);
        self.get(offset..end).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }
}

/// Kind and flags of a record.
#[inline]
pub(crate) fn kind_of(record: &[u8]) -> Option<Kind> {
    Kind::from_byte(record.array::<1>(I_KIND)[0])
}
