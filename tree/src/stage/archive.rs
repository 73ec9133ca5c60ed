//! A tar stream as a source: POSIX.1-2001 (PAX), GNU and ustar, plain or compressed with gzip,
//! xz or zstd.
//!
//! Nothing is unpacked: names go into the index and bytes into objects, so neither root nor a check of what lies on the
//! disk is needed, and an archive can't write anywhere (RUSTSEC-2026-0067 is the class that this avoids).

use std::io::{self, Read};

use tar::EntryType;

use super::Stage;
use super::packed::decompress;
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

const XATTR: &[u8] = b"SCHILY.xattr.";
/// What comes after it says where a file's holes are. GNU's older format says so in headers, which are understood.
const SPARSE: &[u8] = b"GNU.sparse.";

impl Stage<'_> {
    /// Reads a whole tar stream into the stage.
    ///
    /// # Errors
    /// [`Error::Archive`] for a broken stream, [`Error::Entry`] for an entry that no tree can have.
    pub fn archive(&mut self, stream: impl Read) -> Result<()> {
        let mut archive = tar::Archive::new(decompress(stream).map_err(Error::Archive)?);
        let mut seen = 0u64;
        for entry in archive.entries().map_err(Error::Archive)? {
            self.archive_entry(entry.map_err(Error::Archive)?)?;
            seen += 1;
        }
        if seen == 0 {
            return Err(Error::Archive(io::Error::new(io::ErrorKind::UnexpectedEof, "it has no entries")));
        }
        // An archive ends before its stream does: the checksum of a compressed one is still to come, and a program that
        // is not read to its end takes the closed pipe for a failure.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(Error::Archive)?;
        Ok(())
    }

    fn archive_entry<R: Read>(&mut self, entry: tar::Entry<'_, R>) -> Result<()> {
        let raw = entry.path_bytes().into_owned();
        let path = TreePath::parse(&raw)?;
        match self.read_tar_entry(entry, &raw)? {
            Some(Brings::Node(meta, content)) => self.insert(&path, meta, content),
            Some(Brings::Link(target)) => self.link(&path, &TreePath::parse(&target)?),
            None => Ok(()),
        }
    }

    /// Describes one entry, with a file's bytes in an object already; nothing for an entry that is no part of a tree.
    pub(super) fn read_tar_entry<R: Read>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        raw: &[u8],
    ) -> Result<Option<Brings>> {
        let meta = meta(&mut entry).map_err(Error::Archive)?;
        if is_sparse(&mut entry).map_err(Error::Archive)? {
            return Err(Error::entry(
                raw,
                "a file with holes as --format=posix writes it, which is not read; pack with --format=gnu, or without --sparse",
            ));
        }
        let header = entry.header();
        let device = || -> io::Result<(u32, u32)> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let content = match header.entry_type() {
            EntryType::Directory => Content::Directory { opaque: opaque(&meta) },
            EntryType::Symlink => Content::Symlink(target(&entry, raw)?),
            EntryType::Link => return Ok(Some(Brings::Link(target(&entry, raw)?))),
            EntryType::Char => match device().map_err(Error::Archive)? {
                // overlayfs' whiteout.
                (0, 0) => Content::Whiteout,
                (major, minor) => Content::Character(major, minor),
            },
            EntryType::Block => {
                let (major, minor) = device().map_err(Error::Archive)?;
                Content::Block(major, minor)
            }
            EntryType::Fifo => Content::Fifo,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.object(&mut entry, raw)?
            }
            EntryType::XGlobalHeader => return Ok(None),
            _ => return Err(Error::entry(raw, "an entry of a type that is no file's")),
        };
        Ok(Some(Brings::Node(without_overlay_marks(meta), content)))
    }
}

/// What one tar entry brings to its path.
pub(super) enum Brings {
    /// A node of its own.
    Node(Meta, Content),
    /// A second name of the node at this path.
    Link(Vec<u8>),
}

fn target<R: Read>(entry: &tar::Entry<'_, R>, raw: &[u8]) -> Result<Vec<u8>> {
    let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).filter(|text| !text.is_empty());
    target.ok_or_else(|| Error::entry(raw, "a link without a target"))
}

/// Owner, mode and time from the header, and from the PAX records that override it.
fn meta<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Meta> {
    let header = entry.header();
    let narrow = |number: u64, what: &str| {
        u32::try_from(number)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{what} over 32 bits")))
    };
    let mut meta = Meta {
        mode: u16::try_from(header.mode()? & 0o7777).unwrap_or(0),
        uid: narrow(header.uid()?, "a uid")?,
        gid: narrow(header.gid()?, "a gid")?,
        mtime: i64::try_from(header.mtime()?).unwrap_or(i64::MAX).saturating_mul(1_000_000_000),
        xattrs: Vec::new(),
    };
    let Some(extensions) = entry.pax_extensions()? else { return Ok(meta) };
    for extension in extensions {
        let extension = extension?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match key {
            b"uid" => meta.uid = number().unwrap_or(meta.uid),
            b"gid" => meta.gid = number().unwrap_or(meta.gid),
            b"mtime" => meta.mtime = nanoseconds(value).unwrap_or(meta.mtime),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    meta.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
    }
    meta.xattrs.sort();
    Ok(meta)
}

/// Whether what follows is a map of the file and not the file.
fn is_sparse<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    Ok(extensions.flatten().any(|extension| extension.key_bytes().starts_with(SPARSE)))
}

/// PAX times are decimal seconds, with a fraction and a sign where they need one.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds: i64 = whole.parse().ok()?;
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let total = seconds.checked_mul(1_000_000_000)?.checked_add(fraction.parse().ok()?)?;
    Some(if negative { -total } else { total })
}

/// overlayfs marks an opaque directory with an attribute; both of its spellings.
pub(super) fn opaque(meta: &Meta) -> bool {
    meta.xattrs.iter().any(|(name, value)| {
        matches!(name.as_slice(), b"trusted.overlay.opaque" | b"user.overlay.opaque") && value == b"y"
    })
}

/// overlayfs' own attributes describe its layers, not the tree.
pub(super) fn without_overlay_marks(mut meta: Meta) -> Meta {
    meta.xattrs
        .retain(|(name, _)| !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay."));
    meta
}
