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
//! Numbers without a width are LEB128. What arrives is another host's word: it is read through the builder (`build.rs`), which
//! makes a sound index of whatever it is told, and that index has the name that was asked for or is none.

use std::io::{self, Read, Write};

use oneroot_ids::{GenerationId, ObjectId};

use crate::build::{IndexBuilder, NodeRef};
use crate::error::{Error, Result};
use crate::index::{Index, Inode, ROOT};
use crate::node::{Content, Kind, Meta, NAME_MAX, TreePath};

/// Bytes of a stream at most, unpacked: some 15 million files. What says that it is longer is not read on.
const LONGEST: u64 = 1 << 30;
/// Bytes of all attributes of one node at most, as Linux lets a node have.
const ATTRIBUTES: u64 = 4 << 20;
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
    mut from: impl Read,
    generation: GenerationId,
    have: impl FnOnce(GenerationId) -> Result<Index>,
) -> Result<Index> {
    let [how] = array(&mut from)?;
    let prefix = match how {
        0 => Vec::new(),
        1 => plain(&have(GenerationId(array(&mut from)?))?),
        _ => return Err(malformed("it is packed in a way that this oneroot does not know")),
    };
    let mut zstd = zstd::stream::read::Decoder::with_ref_prefix(io::BufReader::new(from), &prefix)
        .map_err(Error::Stream)?;
    zstd.window_log_max(WINDOW).map_err(Error::Stream)?;
    let mut stream = io::BufReader::with_capacity(128 * 1024, zstd.take(LONGEST));
    let index = read(&mut stream)?;
    if stream.read(&mut [0]).map_err(Error::Stream)? > 0 {
        return Err(malformed("more follows behind its end"));
    }
    if index.generation() != generation {
        return Err(Error::OtherIndex { wanted: generation, found: index.generation() });
    }
    Ok(index)
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

/// Reads a stream to its end.
fn read(from: &mut impl Read) -> Result<Index> {
    let mut builder = IndexBuilder::new();
    let (meta, content) = read_node(from)?;
    builder.insert(&TreePath::default(), meta, content)?;
    // Nodes in the order in which they were met, which is that of their numbers; directories are taken from the front.
    let mut met: Vec<(NodeRef, bool)> = vec![(IndexBuilder::root(), true)];
    let mut next = 0;
    while let Some((directory, is_directory)) = met.get(next).copied() {
        next += 1;
        if !is_directory {
            continue;
        }
        for _ in 0..read_number(from)? {
            read_name(from, &mut builder, directory, &mut met)?;
        }
    }
    builder.finish()
}

fn read_name(
    from: &mut impl Read,
    builder: &mut IndexBuilder,
    directory: NodeRef,
    met: &mut Vec<(NodeRef, bool)>,
) -> Result<()> {
    let name = read_text(from, NAME_MAX as u64)?;
    let odd =
        matches!(name.as_slice(), b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if odd || name.starts_with(b".wh.") {
        return Err(Error::entry(&name, "no file can have this name"));
    }
    match read_number(from)? {
        0 => {
            let (meta, content) = read_node(from)?;
            let is_directory = content.kind().is_directory();
            let node = builder.insert_in(directory, &name, meta, content)?;
            met.push((node.ok_or(Error::Mistake("a name that stands for a file was none"))?, is_directory));
            u32::try_from(met.len()).map_err(|_| Error::TooLarge("files"))?;
        }
        back => {
            let place = usize::try_from(back).ok().and_then(|back| met.len().checked_sub(back));
            match place.and_then(|place| met.get(place)) {
                Some((node, false)) => builder.link_in(directory, &name, *node)?,
                _ => return Err(Error::entry(&name, "a hard link to no file")),
            }
        }
    }
    Ok(())
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
        Some(Kind::Regular) => Content::Regular { size: read_number(from)?, object: ObjectId(array(from)?) },
        Some(Kind::Directory) => Content::Directory { opaque: false },
        Some(Kind::Symlink) => Content::Symlink(read_text(from, crate::node::PATH_MAX as u64)?),
        Some(Kind::Character) => Content::Character(read_u32(from)?, read_u32(from)?),
        Some(Kind::Block) => Content::Block(read_u32(from)?, read_u32(from)?),
        Some(Kind::Fifo) => Content::Fifo,
        Some(Kind::Socket) => Content::Socket,
        // They mean something between layers alone, and here is what layers look like together.
        Some(Kind::Whiteout | Kind::OpaqueDirectory) | None => {
            return Err(malformed("a node of no known kind"));
        }
    };
    let mut xattrs = Vec::new();
    let mut room = ATTRIBUTES;
    for _ in 0..read_number(from)? {
        let mut part = || {
            let text = read_text(from, room)?;
            room -= text.len() as u64;
            Ok::<_, Error>(text)
        };
        xattrs.push((part()?, part()?));
        room = room.checked_sub(1).ok_or_else(|| malformed("a node has too many attributes"))?;
    }
    Ok((Meta { mode, uid, gid, mtime, xattrs }, content))
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
