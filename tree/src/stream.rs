//! A generation's index on its way to another host: small, and smaller still where that host has an older one.
//!
//! An [index](crate::index) is fixed-width records full of numbers that all move when one name is added. Here nothing is
//! numbered but hard links, and those by how far back they lie, so a tree that has changed in one place has a stream that has
//! changed in one place; zstd, told what the other side has, then sends little more than that (its `--patch-from`).
//!
//! ```text
//! the stream    root's node, then each directory in the order of inode numbers:
//!   directory   number of names, then for each, in byte order:
//!     name      length, bytes; 0 and a node for a file that is met first, else how many inodes back it was
//!     node      kind (1), mode (2), owner, group, mtime (8), then
//!               a file's size and object (32); a link's length and text; a device's major and minor
//!               attributes: how many, then length and bytes of name and value each
//! on the wire   0, or 1 and the generation (32) that it is told against; then the stream by zstd
//! ```
//! Numbers without a width are LEB128. What arrives is another host's word: nothing is taken from it that no directory of a disk
//! could be, it is read through the [builder](crate::build), and that index has the name that was asked for or is none. And it
//! takes memory only as far as it took the other host bytes to send it.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read, Write};

use oneroot_ids::{GenerationId, ObjectId};

use crate::build::{IndexBuilder, NodeRef};
use crate::error::{Error, Result};
use crate::index::{Index, Inode, ROOT};
use crate::node::{Attributes, Content, Kind, Meta, NAME_MAX, PATH_MAX, TreePath};

/// Bytes of a stream at most, unpacked: some 15 million files. What says that it is longer is not read on.
const LONGEST: u64 = 1 << 30;
/// What a stream may be unpacked, whatever was sent for it.
const SPARE: u64 = 4 << 20;
/// Bytes of a stream for each that was sent. A name that is hardly more than a number has some 16, of which zstd leaves some 3.
const PACKS: u64 = 128;
/// Bytes of all attributes of one node at most, as Linux lets a node have.
const ATTRIBUTES: u64 = 4 << 20;
/// Bytes of one attribute, and of its name: Linux's `XATTR_SIZE_MAX` and `XATTR_NAME_MAX`.
const ATTRIBUTE: u64 = 64 << 10;
const ATTRIBUTE_NAME: u64 = 255;
/// How hard zstd tries; more gains little on hashes.
const LEVEL: i32 = 3;
/// The window that both sides hold, 2^28 bytes at most: an older stream and this one must fit, or matches are missed.
const WINDOW: u32 = 28;

/// Packs an index of a tree as it is seen, without whiteouts, against an older one where the other side has that.
///
/// # Errors
/// The system's, for want of memory.
pub fn pack(index: &Index, have: Option<&Index>) -> Result<Vec<u8>> {
    let (stream, prefix) = (plain(index), have.map(plain));
    let mut packed = Vec::new();
    match have {
        None => packed.push(0),
        Some(have) => {
            packed.push(1);
            packed.extend_from_slice(&have.generation().0);
        }
    }
    let mut zstd = match &prefix {
        None => zstd::stream::write::Encoder::new(packed, LEVEL),
        Some(prefix) => zstd::stream::write::Encoder::with_ref_prefix(packed, LEVEL, prefix),
    }
    .map_err(Error::Stream)?;
    if let Some(prefix) = &prefix {
        let both = (prefix.len() + stream.len()).next_power_of_two().trailing_zeros();
        zstd.window_log(both.clamp(10, WINDOW)).map_err(Error::Stream)?;
        zstd.long_distance_matching(true).map_err(Error::Stream)?;
    }
    zstd.write_all(&stream).map_err(Error::Stream)?;
    zstd.finish().map_err(Error::Stream)
}

/// Reads what [`pack`] made into the index of this generation. `have` gives an older one that the other side was told of.
///
/// # Errors
/// [`Error::Stream`] and [`Error::Entry`] for what is no stream, [`Error::OtherIndex`] when it is another generation's.
pub fn unpack(
    from: impl Read,
    generation: GenerationId,
    have: impl FnOnce(GenerationId) -> Result<Index>,
) -> Result<Index> {
    let sent = Cell::new(0);
    let mut from = Sent { from, sent: &sent };
    let [how] = array(&mut from)?;
    let prefix = match how {
        0 => Vec::new(),
        1 => plain(&have(GenerationId(array(&mut from)?))?),
        _ => return Err(malformed("it is packed in a way that this oneroot does not know")),
    };
    let mut zstd = zstd::stream::read::Decoder::with_ref_prefix(io::BufReader::new(from), &prefix)
        .map_err(Error::Stream)?;
    zstd.window_log_max(WINDOW).map_err(Error::Stream)?;
    let most = SPARE + 2 * prefix.len() as u64;
    let unpacked = Unpacked { from: zstd.take(LONGEST), sent: &sent, most, bytes: 0 };
    let mut stream = io::BufReader::with_capacity(128 * 1024, unpacked);
    let index = read(&mut stream)?;
    if stream.read(&mut [0]).map_err(Error::Stream)? > 0 {
        return Err(malformed("more follows behind its end"));
    }
    if index.generation() != generation {
        return Err(Error::OtherIndex { wanted: generation, found: index.generation() });
    }
    Ok(index)
}

/// What is sent, counted.
struct Sent<'s, R> {
    from: R,
    sent: &'s Cell<u64>,
}

impl<R: Read> Read for Sent<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.sent.set(self.sent.get() + count as u64);
        Ok(count)
    }
}

/// A stream that is no longer than what was sent for it allows.
struct Unpacked<'s, R> {
    from: R,
    sent: &'s Cell<u64>,
    most: u64,
    bytes: u64,
}

impl<R: Read> Read for Unpacked<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.bytes += count as u64;
        if self.bytes > self.most.saturating_add(self.sent.get().saturating_mul(PACKS)) {
            let what = "it unpacks to far more than a tree of its size has";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(count)
    }
}

fn malformed(what: &'static str) -> Error {
    Error::Stream(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// The stream of an index, not packed.
fn plain(index: &Index) -> Vec<u8> {
    let mut to = Vec::with_capacity(index.inodes() as usize * 80);
    let mut met = ROOT;
    if let Some(root) = index.inode(ROOT) {
        node(&mut to, &root);
    }
    for directory in (1..=index.inodes()).filter_map(|number| index.inode(number)) {
        if !directory.kind().is_directory() {
            continue;
        }
        let (first, count) = directory.run();
        number(&mut to, u64::from(count));
        for entry in (first..first.saturating_add(count)).filter_map(|place| index.entry(place)) {
            text(&mut to, entry.name);
            if entry.inode <= met {
                number(&mut to, u64::from(met - entry.inode + 1));
                continue;
            }
            met = entry.inode;
            number(&mut to, 0);
            if let Some(inode) = index.inode(entry.inode) {
                node(&mut to, &inode);
            }
        }
    }
    to
}

fn node(to: &mut Vec<u8>, inode: &Inode<'_>) {
    to.push(inode.kind() as u8);
    to.extend_from_slice(&inode.mode().to_le_bytes());
    number(to, inode.uid().into());
    number(to, inode.gid().into());
    to.extend_from_slice(&inode.mtime().to_le_bytes());
    match inode.content() {
        Content::Regular { object, size } => {
            number(to, size);
            to.extend_from_slice(&object.0);
        }
        Content::Symlink(target) => text(to, &target),
        Content::Character(major, minor) | Content::Block(major, minor) => {
            number(to, major.into());
            number(to, minor.into());
        }
        Content::Directory { .. } | Content::Fifo | Content::Socket | Content::Whiteout => {}
    }
    let xattrs = inode.xattrs();
    number(to, xattrs.len() as u64);
    for (name, value) in &xattrs {
        text(to, name);
        text(to, value);
    }
}

fn number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

fn text(to: &mut Vec<u8>, bytes: &[u8]) {
    number(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// A node that was met.
#[derive(Clone, Copy)]
struct Met {
    node: NodeRef,
    is_directory: bool,
    /// Bytes of its path.
    path: u16,
}

/// What is being read.
struct Reading {
    builder: IndexBuilder,
    /// Nodes in the order in which they were met, which is that of their numbers; directories are taken from the front.
    met: Vec<Met>,
    /// The size of each content: it has one.
    sizes: HashMap<ObjectId, u64>,
}

/// Reads a stream to its end.
fn read(from: &mut impl Read) -> Result<Index> {
    let root = Met { node: IndexBuilder::root(), is_directory: true, path: 0 };
    let mut reading = Reading { builder: IndexBuilder::new(), met: vec![root], sizes: HashMap::new() };
    let (meta, content) = read_node(from)?;
    if !content.kind().is_directory() {
        return Err(malformed("its root is no directory"));
    }
    reading.builder.insert(&TreePath::default(), meta, content)?;
    let mut next = 0;
    while let Some(directory) = reading.met.get(next).copied() {
        next += 1;
        if !directory.is_directory {
            continue;
        }
        let mut before = Vec::new();
        for _ in 0..read_number(from)? {
            before = reading.name(from, directory, &before)?;
        }
    }
    reading.builder.finish()
}

impl Reading {
    /// Reads a name of a directory and what it stands for; `before` is the name before it, empty for the first.
    fn name(&mut self, from: &mut impl Read, directory: Met, before: &[u8]) -> Result<Vec<u8>> {
        let name = read_text(from, NAME_MAX as u64)?;
        let odd =
            matches!(name.as_slice(), b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
        if odd || name.starts_with(b".wh.") {
            return Err(Error::entry(&name, "no file can have this name"));
        }
        if name.as_slice() <= before {
            return Err(Error::entry(&name, "the name is there twice, or not in its place"));
        }
        let path = usize::from(directory.path) + 1 + name.len();
        let path = u16::try_from(path).ok().filter(|path| usize::from(*path) < PATH_MAX);
        let path = path.ok_or_else(|| Error::entry(&name, "no path can be so long"))?;
        match read_number(from)? {
            0 => self.node(from, (directory, &name), path)?,
            back => {
                let place = usize::try_from(back).ok().and_then(|back| self.met.len().checked_sub(back));
                match place.and_then(|place| self.met.get(place)) {
                    Some(Met { node, is_directory: false, .. }) => {
                        self.builder.link_in(directory.node, &name, *node)?;
                    }
                    _ => return Err(Error::entry(&name, "a hard link to no file")),
                }
            }
        }
        Ok(name)
    }

    fn node(&mut self, from: &mut impl Read, (directory, name): (Met, &[u8]), path: u16) -> Result<()> {
        let (meta, content) = read_node(from)?;
        if let Content::Regular { object, size } = content
            && *self.sizes.entry(object).or_insert(size) != size
        {
            return Err(Error::entry(name, "its content has two sizes"));
        }
        let is_directory = content.kind().is_directory();
        let node = self.builder.insert_in(directory.node, name, meta, content)?;
        let node = node.ok_or(Error::Mistake("a name that stands for a file was none"))?;
        self.met.push(Met { node, is_directory, path });
        u32::try_from(self.met.len()).map_err(|_| Error::TooLarge("files"))?;
        Ok(())
    }
}

fn read_node(from: &mut impl Read) -> Result<(Meta, Content)> {
    let [kind] = array(from)?;
    let mode = u16::from_le_bytes(array(from)?);
    if mode > 0o7777 {
        return Err(malformed("a mode has bits that no mode has"));
    }
    let (uid, gid) = (read_u32(from)?, read_u32(from)?);
    let mtime = i64::from_le_bytes(array(from)?);
    let content = match Kind::from_byte(kind) {
        Some(Kind::Regular) => {
            let (size, object) = (read_number(from)?, ObjectId(array(from)?));
            let is_empty = object.0 == *blake3::hash(b"").as_bytes();
            // off_t ends there, and with it every file.
            if i64::try_from(size).is_err() || is_empty != (size == 0) {
                return Err(malformed("a file has a size that it can't have"));
            }
            Content::Regular { size, object }
        }
        Some(Kind::Directory) => Content::Directory { opaque: false },
        Some(Kind::Symlink) => {
            let target = read_text(from, PATH_MAX as u64 - 1)?;
            if target.is_empty() || target.contains(&0) {
                return Err(malformed("a link leads to what no link can lead to"));
            }
            Content::Symlink(target)
        }
        Some(Kind::Character) => Content::Character(read_u32(from)?, read_u32(from)?),
        Some(Kind::Block) => Content::Block(read_u32(from)?, read_u32(from)?),
        Some(Kind::Fifo) => Content::Fifo,
        Some(Kind::Socket) => Content::Socket,
        // They mean something between layers alone, and here is what layers look like together.
        Some(Kind::Whiteout | Kind::OpaqueDirectory) | None => {
            return Err(malformed("a node of no known kind"));
        }
    };
    Ok((Meta { mode, uid, gid, mtime, xattrs: read_attributes(from)? }, content))
}

fn read_attributes(from: &mut impl Read) -> Result<Attributes> {
    let mut attributes: Attributes = Vec::new();
    let mut room = ATTRIBUTES;
    for _ in 0..read_number(from)? {
        let name = read_text(from, ATTRIBUTE_NAME)?;
        let is_next = attributes.last().is_none_or(|(before, _)| *before < name);
        if name.is_empty() || name.contains(&0) || !is_next {
            return Err(malformed("an attribute has a name that it can't have, or is there twice"));
        }
        let value = read_text(from, ATTRIBUTE)?;
        let bytes = name.len() as u64 + value.len() as u64;
        room = room.checked_sub(bytes).ok_or_else(|| malformed("a node has too many attributes"))?;
        attributes.push((name, value));
    }
    Ok(attributes)
}

fn read_u32(from: &mut impl Read) -> Result<u32> {
    u32::try_from(read_number(from)?).map_err(|_| malformed("a number is too large"))
}

fn read_number(from: &mut impl Read) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let [byte] = array(from)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a number is too large"))
}

fn read_text(from: &mut impl Read, most: u64) -> Result<Vec<u8>> {
    let length = read_number(from)?;
    if length > most {
        return Err(malformed("a name, a link or an attribute is too long"));
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes).map_err(Error::Stream)?;
    if bytes.len() as u64 != length {
        return Err(Error::Stream(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(Error::Stream)?;
    Ok(bytes)
}
