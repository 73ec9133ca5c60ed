//! A generation's index on its way to another host: small, and smaller still where that host has an older one.
//!
//! An [index](crate::index) is fixed-width records full of numbers that all move when one name is added. Here nothing is
//! numbered but hard links, and those by how far back they lie, so a tree that has changed in one place has a stream that has
//! changed in one place; little more than that is told to one who has the older one.
//!
//! ```text
//! the stream    root's node, then each directory in the order of inode numbers:
//!   directory   number of names, then for each, in byte order:
//!     name      length, bytes; 0 and a node for a file that is met first, else how many inodes back it was
//!     node      kind (1), mode (2), owner, group, mtime (8), then
//!               a file's size and object (32); a link's length and text; a device's major and minor
//!               attributes: how many, then length and bytes of name and value each
//! on the wire   0 and the stream, or 1, the generation (32) that it is told against, and what is told; from there on by zstd
//! ```
//! Numbers without a width are LEB128. What arrives is another host's word: nothing is taken from it that no directory of a disk
//! could be, it is encoded as a stage's is (`format.rs`), for its order is the canonical one, and that index has the name that was
//! asked for or is none. And it takes memory only as far as it took the other host bytes to send it.

mod against;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock};

use oneroot_ids::{GenerationId, ObjectId};

use crate::error::{Error, Result};
use crate::format::Encoder;
use crate::index::{Index, Inode, ROOT};
use crate::node::{Attributes, Content, Kind, Meta, NAME_MAX, PATH_MAX};
use crate::objects::{ByObject, ObjectMap};

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
/// What a file without bytes is called.
static EMPTY: LazyLock<[u8; 32]> = LazyLock::new(|| *blake3::hash(b"").as_bytes());

/// Packs an index of a tree as it is seen, without whiteouts, against an older one where the other side has that.
///
/// # Errors
/// The system's, for want of memory.
pub fn pack(index: &Index, have: Option<&Index>) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let told = match have {
        None => {
            packed.push(0);
            Laid::out(index).bytes
        }
        Some(have) => {
            // 1 was another way to pack it.
            packed.push(2);
            packed.extend_from_slice(&have.generation().0);
            against::tell(index, have)
        }
    };
    let mut zstd = zstd::stream::write::Encoder::new(packed, LEVEL).map_err(Error::Stream)?;
    zstd.write_all(&told).map_err(Error::Stream)?;
    zstd.finish().map_err(Error::Stream)
}

/// Reads what [`pack`] made into the index of this generation. `have` gives an older one that the other side was told of.
///
/// # Errors
/// [`Error::Stream`] and [`Error::Entry`] for what is no stream, [`Error::OtherIndex`] when it is another generation's.
pub fn unpack(
    from: impl Read,
    generation: GenerationId,
    have: impl FnOnce(GenerationId) -> Result<Arc<Index>>,
) -> Result<Index> {
    let sent = Cell::new(0);
    let mut from = Sent { from, sent: &sent };
    let [how] = array(&mut from)?;
    let older = match how {
        0 => None,
        2 => Some(have(GenerationId(array(&mut from)?))?),
        _ => return Err(malformed("it is packed in a way that this oneroot does not know")),
    };
    let prefix = older.as_ref().map(|older| Laid::out(older).bytes);
    let zstd = zstd::stream::read::Decoder::new(from).map_err(Error::Stream)?;
    let most = SPARE + prefix.as_ref().map_or(0, |prefix| 2 * prefix.len() as u64);
    let unpacked = Unpacked { from: zstd.take(LONGEST), sent: &sent, most, bytes: 0 };
    let mut stream = io::BufReader::with_capacity(128 * 1024, unpacked);
    let nodes = older.as_ref().map_or(0, |older| older.inodes() as usize);
    let index = match &prefix {
        None => read(&mut stream, nodes)?,
        Some(prefix) => {
            let most = || LONGEST.min(most.saturating_add(sent.get().saturating_mul(PACKS)));
            read(&mut against::put_together(&mut stream, prefix, most)?.as_slice(), nodes)?
        }
    };
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

/// The stream of an index, not packed, and where in it what is.
struct Laid {
    bytes: Vec<u8>,
    /// Where the root's node ends.
    root: usize,
    /// By inode number, where a directory says how many names it has.
    heads: Vec<(usize, usize)>,
    /// By place in the index's table, where a name is with what it stands for.
    names: Vec<(usize, usize)>,
}

impl Laid {
    fn out(index: &Index) -> Self {
        let (inodes, names) = (index.inodes() as usize, usize::try_from(index.paths()).unwrap_or(0));
        let mut to = Vec::with_capacity(inodes * 80);
        let (mut heads, mut places) = (vec![(0, 0); inodes + 1], vec![(0, 0); names]);
        let mut met = ROOT;
        if let Some(root) = index.inode(ROOT) {
            node(&mut to, &root);
        }
        let root = to.len();
        for inode in 1..=index.inodes() {
            let Some(directory) = index.inode(inode).filter(|inode| inode.kind().is_directory()) else {
                continue;
            };
            let (first, count) = directory.run();
            let begin = to.len();
            number(&mut to, u64::from(count));
            if let Some(head) = heads.get_mut(inode as usize) {
                *head = (begin, to.len());
            }
            for place in first..first.saturating_add(count) {
                let Some(entry) = index.entry(place) else { continue };
                let begin = to.len();
                text(&mut to, entry.name);
                if entry.inode <= met {
                    number(&mut to, u64::from(met - entry.inode + 1));
                } else {
                    met = entry.inode;
                    number(&mut to, 0);
                    if let Some(inode) = index.inode(entry.inode) {
                        node(&mut to, &inode);
                    }
                }
                if let Some(name) = places.get_mut(place as usize) {
                    *name = (begin, to.len());
                }
            }
        }
        Self { bytes: to, root, heads, names: places }
    }
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
struct Met {
    meta: Meta,
    content: Content,
    links: u32,
    /// Bytes of its path.
    path: u16,
}

/// What is being read.
struct Reading {
    encoder: Encoder,
    /// Nodes in the order in which they were met, which is that of their numbers; directories are taken from the front.
    met: Vec<Met>,
    /// The size of each content: it has one.
    sizes: ObjectMap<u64>,
    /// The name that is being read, and the one before it in its directory; empty for the first.
    name: Vec<u8>,
    before: Vec<u8>,
}

/// Reads a stream to its end, of about so many nodes.
fn read(from: &mut impl Read, nodes: usize) -> Result<Index> {
    let (meta, content) = read_node(from)?;
    if !content.kind().is_directory() {
        return Err(malformed("its root is no directory"));
    }
    let mut met = Vec::with_capacity(nodes);
    met.push(Met { meta, content, links: 2, path: 0 });
    let sizes = ObjectMap::with_capacity_and_hasher(nodes, ByObject::default());
    let encoder = Encoder::with_room_for(nodes);
    let mut reading = Reading { encoder, met, sizes, name: Vec::new(), before: Vec::new() };
    let mut next = 0;
    while let Some(directory) = reading.met.get(next) {
        let path = directory.path;
        let is_directory = directory.content.kind().is_directory();
        next += 1;
        if !is_directory {
            continue;
        }
        reading.before.clear();
        for _ in 0..read_number(from)? {
            reading.name(from, (next, path))?;
            std::mem::swap(&mut reading.name, &mut reading.before);
        }
    }
    if from.read(&mut [0]).map_err(Error::Stream)? > 0 {
        return Err(malformed("more follows behind its end"));
    }
    let Reading { mut encoder, met, .. } = reading;
    met.iter().try_for_each(|Met { meta, content, links, .. }| encoder.inode(meta, content, *links))?;
    Ok(Index::trusted(encoder.finish()))
}

impl Reading {
    /// Reads a name of a directory, which has this number and so many bytes in its path, and what it stands for.
    fn name(&mut self, from: &mut impl Read, (directory, path): (usize, u16)) -> Result<()> {
        read_text(from, NAME_MAX as u64, &mut self.name)?;
        let name = self.name.as_slice();
        let odd = matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
        if odd || name.starts_with(b".wh.") {
            return Err(Error::entry(name, "no file can have this name"));
        }
        if name <= self.before.as_slice() {
            return Err(Error::entry(name, "the name is there twice, or not in its place"));
        }
        let path = usize::from(path) + 1 + name.len();
        let path = u16::try_from(path).ok().filter(|path| usize::from(*path) < PATH_MAX);
        let path = path.ok_or_else(|| Error::entry(name, "no path can be so long"))?;
        let place = match read_number(from)? {
            0 => self.node(from, directory, path)?,
            back => {
                let place = usize::try_from(back).ok().and_then(|back| self.met.len().checked_sub(back));
                let file = place.and_then(|place| self.met.get_mut(place).map(|met| (place, met)));
                let Some((place, met)) = file.filter(|(_, met)| !met.content.kind().is_directory()) else {
                    return Err(Error::entry(&self.name, "a hard link to no file"));
                };
                met.links = met.links.checked_add(1).ok_or(Error::TooLarge("names"))?;
                place
            }
        };
        let number = |place: usize| u32::try_from(place).map_err(|_| Error::TooLarge("files"));
        self.encoder.name(number(directory)?, number(place + 1)?, &self.name)
    }

    /// Reads a node that is met for the first time; its place.
    fn node(&mut self, from: &mut impl Read, directory: usize, path: u16) -> Result<usize> {
        let (meta, content) = read_node(from)?;
        if let Content::Regular { object, size } = content
            && *self.sizes.entry(object).or_insert(size) != size
        {
            return Err(Error::entry(&self.name, "its content has two sizes"));
        }
        let mut links = 1;
        if content.kind().is_directory() {
            // Its own name, that in itself, and one in each that it holds.
            links = 2;
            if let Some(above) = self.met.get_mut(directory - 1) {
                above.links = above.links.saturating_add(1);
            }
        }
        self.met.push(Met { meta, content, links, path });
        Ok(self.met.len() - 1)
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
            let is_empty = object.0 == *EMPTY;
            // off_t ends there, and with it every file.
            if i64::try_from(size).is_err() || is_empty != (size == 0) {
                return Err(malformed("a file has a size that it can't have"));
            }
            Content::Regular { size, object }
        }
        Some(Kind::Directory) => Content::Directory { opaque: false },
        Some(Kind::Symlink) => {
            let mut target = Vec::new();
            read_text(from, PATH_MAX as u64 - 1, &mut target)?;
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
        let (mut name, mut value) = (Vec::new(), Vec::new());
        read_text(from, ATTRIBUTE_NAME, &mut name)?;
        let is_next = attributes.last().is_none_or(|(before, _)| *before < name);
        if name.is_empty() || name.contains(&0) || !is_next {
            return Err(malformed("an attribute has a name that it can't have, or is there twice"));
        }
        read_text(from, ATTRIBUTE, &mut value)?;
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

/// Reads a text of at most so many bytes, which are few.
fn read_text(from: &mut impl Read, most: u64, to: &mut Vec<u8>) -> Result<()> {
    let length = read_number(from)?;
    if length > most {
        return Err(malformed("a name, a link or an attribute is too long"));
    }
    to.clear();
    to.resize(usize::try_from(length).unwrap_or(0), 0);
    from.read_exact(to).map_err(Error::Stream)
}

fn array<const N: usize>(from: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(Error::Stream)?;
    Ok(bytes)
}
