//! A tar stream as a source: POSIX.1-2001 (PAX), GNU and ustar, plain or compressed with gzip,
//! xz or zstd.
//!
//! Nothing is unpacked: names go into the index and bytes into objects, so neither root nor a check of what lies on the
//! disk is needed, and an archive can't write anywhere (RUSTSEC-2026-0067 is the class that this avoids).

use std::io::{self, Read};

use tar::EntryType;

use super::Stage;
use super::packed::decompress;
use super::records::{Records, Stream};
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

const XATTR: &[u8] = b"SCHILY.xattr.";
/// ACLs as text (star(5)), with names of users that this host may not have, so they can't become the kernel's attributes:
/// such a record is an attribute under its own name, and leaves as a record again.
pub(crate) const ACL: &str = "SCHILY.acl.";
/// The same ACLs, where an archive has them as attributes.
const POSIX_ACL: &[u8] = b"system.posix_acl_";
/// What comes after it says where a file's holes are. GNU's older format says so in headers, which are understood.
const SPARSE: &[u8] = b"GNU.sparse.";

impl Stage<'_> {
    /// Reads a whole tar stream into the stage.
    ///
    /// # Errors
    /// [`Error::Archive`] for a broken stream, [`Error::Entry`] for an entry that no tree can have.
    pub fn archive(&mut self, stream: impl Read) -> Result<()> {
        let (mut archive, records) = Stream::new(decompress(stream).map_err(Error::Archive)?);
        let mut seen = 0u64;
        for entry in archive.entries().map_err(Error::Archive)? {
            self.archive_entry(entry.map_err(Error::Archive)?, &records.take())?;
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

    fn archive_entry<R: Read>(&mut self, entry: tar::Entry<'_, R>, records: &Records) -> Result<()> {
        let raw = path_of(&entry, records);
        let path = TreePath::parse(&raw)?;
        match self.read_tar_entry(entry, records, &raw)? {
            Some(Brings::Node(meta, content)) => self.insert(&path, meta, content),
            Some(Brings::Link(target)) => self.link(&path, &TreePath::parse(&target)?),
            None => Ok(()),
        }
    }

    /// Describes one entry, with a file's bytes in an object already; nothing for an entry that is no part of a tree.
    pub(super) fn read_tar_entry<R: Read>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        records: &Records,
        raw: &[u8],
    ) -> Result<Option<Brings>> {
        let meta = meta(&entry, records).map_err(Error::Archive)?;
        if records.iter().any(|(key, _)| key.starts_with(SPARSE)) {
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
            EntryType::Symlink => Content::Symlink(target(&entry, records, raw)?),
            EntryType::Link => return Ok(Some(Brings::Link(target(&entry, records, raw)?))),
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
            EntryType::GNUSparse => {
                // In the archive it takes less than the file has, by its holes.
                let held = header.entry_size().map_err(Error::Archive)?;
                self.contents.expect_hole(entry.size().saturating_sub(held), raw)?;
                self.object(&mut entry, raw)?
            }
            EntryType::Regular | EntryType::Continuous => self.object(&mut entry, raw)?,
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

/// An entry's name in its archive.
pub(super) fn path_of<R: Read>(entry: &tar::Entry<'_, R>, records: &Records) -> Vec<u8> {
    records.with_newline(b"path").map_or_else(|| entry.path_bytes().into_owned(), <[u8]>::to_vec)
}

fn target<R: Read>(entry: &tar::Entry<'_, R>, records: &Records, raw: &[u8]) -> Result<Vec<u8>> {
    let plain = || entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    let target = records.with_newline(b"linkpath").map(<[u8]>::to_vec).or_else(plain);
    target.filter(|text| !text.is_empty()).ok_or_else(|| Error::entry(raw, "a link without a target"))
}

/// Owner, mode and time from the header, and from the PAX records that override it.
fn meta<R: Read>(entry: &tar::Entry<'_, R>, records: &Records) -> io::Result<Meta> {
    let header = entry.header();
    let narrow = |number: u64, what: &str| {
        u32::try_from(number)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{what} over 32 bits")))
    };
    let mut meta = Meta {
        mode: u16::try_from(header.mode()? & 0o7777).unwrap_or(0),
        uid: narrow(header.uid()?, "a uid")?,
        gid: narrow(header.gid()?, "a gid")?,
        // GNU tar writes a time before 1970 in two's complement.
        mtime: header.mtime()?.cast_signed().saturating_mul(1_000_000_000),
        xattrs: Vec::new(),
    };
    for (key, value) in records.iter() {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match key {
            b"uid" => meta.uid = number().unwrap_or(meta.uid),
            b"gid" => meta.gid = number().unwrap_or(meta.gid),
            b"mtime" => meta.mtime = nanoseconds(value).unwrap_or(meta.mtime),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    meta.xattrs.push((name.to_vec(), value.to_vec()));
                } else if key.starts_with(ACL.as_bytes()) && says_more_than_a_mode(key, value) {
                    meta.xattrs.push((key.to_vec(), value.to_vec()));
                }
            }
        }
    }
    // tar says an ACL twice when it is asked for both, and with both it would be another tree than with one.
    let kernels = |name: &[u8]| name.strip_prefix(POSIX_ACL).map(<[u8]>::to_vec);
    let twice: Vec<Vec<u8>> = meta.xattrs.iter().filter_map(|(name, _)| kernels(name)).collect();
    meta.xattrs.retain(|(name, _)| {
        let kind = name.strip_prefix(ACL.as_bytes());
        kind.is_none_or(|kind| !twice.iter().any(|known| known == kind))
    });
    meta.xattrs.sort();
    Ok(meta)
}

/// GNU tar gives a directory with a default ACL one for access, too, whatever the directory has: often only its mode.
fn says_more_than_a_mode(key: &[u8], acl: &[u8]) -> bool {
    let more = |entry: &[u8]| {
        let mut fields = entry.split(|byte| *byte == b':');
        fields.next() == Some(b"mask") || fields.next().is_some_and(|who| !who.is_empty())
    };
    acl.split(|byte| matches!(byte, b'\n' | b',')).any(more) || !key.ends_with(b".access") && !acl.is_empty()
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
