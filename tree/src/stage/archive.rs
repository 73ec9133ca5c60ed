//! A tar stream as a source: POSIX.1-2001 (PAX), GNU and ustar, plain or compressed with gzip,
//! xz or zstd.
//!
//! Nothing is unpacked: names go into the index and bytes into objects, so neither root nor a check of what lies on the
//! disk is needed, and an archive can't write anywhere (RUSTSEC-2026-0067 is the class that this avoids).

use std::borrow::Cow;
use std::io::{self, Read};

use super::Stage;
use super::decompress::decompress;
use super::header::Format;
use super::header::{Field, GID, Header, MAJOR, MINOR, MODE, MTIME, UID};
use super::members::{Kind, Member, Members};
use super::pax::Records;
use crate::error::{Error, Result};
use crate::node::{Content, Meta, TreePath};

const XATTR: &[u8] = b"SCHILY.xattr.";
/// ACLs as text (star(5)), with names of users that this host may not have, so they can't become the kernel's attributes:
/// such a record is an attribute under its own name, and leaves as a record again.
pub(crate) const ACL: &str = "SCHILY.acl.";
/// The same ACLs, where an archive has them as attributes.
const POSIX_ACL: &[u8] = b"system.posix_acl_";

impl Stage<'_> {
    /// Reads a whole tar stream into the stage.
    ///
    /// # Errors
    /// [`Error::Archive`] for a broken stream, [`Error::Entry`] for an entry that no tree can have.
    pub fn archive(&mut self, stream: impl Read) -> Result<()> {
        let mut members = Members::new(decompress(stream).map_err(Error::Archive)?);
        let mut is_empty = true;
        while let Some(member) = members.next()? {
            self.archive_entry(&mut members, &member)?;
            is_empty = false;
        }
        if is_empty {
            return Err(Error::Archive(io::Error::new(io::ErrorKind::UnexpectedEof, "it has no entries")));
        }
        members.finish()
    }

    fn archive_entry<R: Read>(&mut self, members: &mut Members<R>, member: &Member) -> Result<()> {
        let path = member.path()?;
        if member.kind == Kind::Label {
            // It is no file's, but what it says has to make sense.
            return meta(&member.header, &member.records)
                .map(drop)
                .map_err(|reason| Error::entry(&member.name, reason));
        }
        let brings = self.read_member(members, member)?;
        let there = self.builder.kind(&path).map(crate::node::Kind::is_directory);
        let is_directory = matches!(brings, Brings::Node(_, Content::Directory { .. }));
        let hides = matches!(brings, Brings::Node(_, Content::Whiteout));
        // GNU tar replaces an empty one and gives the file the directory's owner and mode; tarfile refuses.
        if !is_directory && !hides && there == Some(true) {
            return Err(Error::entry(
                &member.name,
                "it is not a directory, and an earlier entry of this name is one",
            ));
        }
        if is_directory && there == Some(false) && member.name.ends_with(b"/.") {
            return Err(Error::entry(&member.name, "an earlier entry of this name is not a directory"));
        }
        match brings {
            Brings::Node(meta, content) => self.insert(&path, meta, content),
            Brings::Link(target) => self.link(&path, &TreePath::parse(&target)?),
        }
    }

    /// Describes one entry, with a file's bytes in an object already.
    pub(super) fn read_member<R: Read>(
        &mut self,
        members: &mut Members<R>,
        member: &Member,
    ) -> Result<Brings> {
        let refused = |reason| Error::entry(&member.name, reason);
        let meta = meta(&member.header, &member.records).map_err(refused)?;
        let content = match &member.kind {
            Kind::Directory => Content::Directory { opaque: opaque(&meta) },
            Kind::Symlink => Content::Symlink(member.target()?),
            Kind::HardLink => return Ok(Brings::Link(member.target()?)),
            Kind::Character => match device(&member.header).map_err(refused)? {
                // overlayfs' whiteout.
                (0, 0) => Content::Whiteout,
                (major, minor) => Content::Character(major, minor),
            },
            Kind::Block => {
                let (major, minor) = device(&member.header).map_err(refused)?;
                Content::Block(major, minor)
            }
            Kind::Fifo => Content::Fifo,
            Kind::Sparse(places) => {
                // In the archive it takes less than the file has, by its holes.
                let held: u64 = places.iter().map(|(_, length)| *length).sum();
                self.contents.expect_hole(member.size.saturating_sub(held), &member.name)?;
                self.content(members, member)?
            }
            Kind::Regular => self.content(members, member)?,
            Kind::Label => return Err(refused("a volume label, which is not a file".into())),
        };
        Ok(Brings::Node(without_overlay_marks(meta), content))
    }

    fn content<R: Read>(&mut self, members: &mut Members<R>, member: &Member) -> Result<Content> {
        self.object(members.body(member), &member.name).map_err(|cause| match cause {
            Error::Io { doing: "read", cause, .. } => {
                Error::entry(&member.name, format!("its content cannot be read: {cause}"))
            }
            other => other,
        })
    }
}

/// What one tar entry brings to its path.
pub(super) enum Brings {
    /// A node of its own.
    Node(Meta, Content),
    /// A second name of the node at this path.
    Link(Vec<u8>),
}

impl Member {
    /// Its place in the tree.
    ///
    /// # Errors
    /// A name that no entry of its kind can have.
    pub(super) fn path(&self) -> Result<TreePath<'_>> {
        if self.name.ends_with(b"/.") && self.kind != Kind::Directory {
            return Err(Error::entry(&self.name, "a name that ends in '/.' and is not a directory's"));
        }
        TreePath::parse(&self.name)
    }

    fn target(&self) -> Result<Vec<u8>> {
        match self.link.as_slice() {
            b"" => Err(Error::entry(&self.name, "a link without a target")),
            link if self.kind == Kind::HardLink && (link.ends_with(b"/") || link.ends_with(b"/.")) => {
                Err(Error::entry(&self.name, "a hard link whose target is named as a directory"))
            }
            link if link.contains(&0) => Err(Error::entry(&self.name, "a link whose target has a NUL in it")),
            link => Ok(link.to_vec()),
        }
    }
}

/// A number of a header that the entry needs.
fn number(header: &Header, field: &Field) -> Result<i64, Cow<'static, str>> {
    header.number(field).ok_or_else(|| format!("the {} in its header is not a number", field.what).into())
}

fn narrow(number: impl TryInto<u32>, what: &str) -> Result<u32, Cow<'static, str>> {
    number.try_into().map_err(|_| format!("its {what} is negative or has over 32 bits").into())
}

fn device(header: &Header) -> Result<(u32, u32), Cow<'static, str>> {
    if header.format() == Format::Old {
        return Err("a device in a header of the old format, which has no place for its numbers".into());
    }
    Ok((narrow(number(header, &MAJOR)?, MAJOR.what)?, narrow(number(header, &MINOR)?, MINOR.what)?))
}

/// Owner, mode and time from the header, and from the extended records that override it.
fn meta(header: &Header, records: &Records) -> Result<Meta, Cow<'static, str>> {
    // What stands in the header has to be a number, too, where a record overrides it.
    let owner = |key: &str, field| {
        let own = narrow(number(header, field)?, key)?;
        records.number(key.as_bytes()).map_or(Ok(own), |said| narrow(said, key))
    };
    let mtime = number(header, &MTIME)?;
    let mtime = records.time().or_else(|| mtime.checked_mul(1_000_000_000)).ok_or("a time after 2262")?;
    let mut meta = Meta {
        mode: u16::try_from(number(header, &MODE)? & 0o7777).unwrap_or(0),
        uid: owner("uid", &UID)?,
        gid: owner("gid", &GID)?,
        mtime,
        xattrs: Vec::new(),
    };
    for (key, value) in records.iter() {
        if let Some(name) = key.strip_prefix(XATTR) {
            meta.set_attribute(name, value);
        } else if key.starts_with(ACL.as_bytes()) && says_more_than_a_mode(key, value) {
            meta.set_attribute(key, value);
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

impl Meta {
    /// A record that comes again replaces what it said before.
    fn set_attribute(&mut self, name: &[u8], value: &[u8]) {
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_vec(), value.to_vec()));
    }
}

/// GNU tar gives a directory with a default ACL one for access, too, whatever the directory has: often only its mode.
fn says_more_than_a_mode(key: &[u8], acl: &[u8]) -> bool {
    let more = |entry: &[u8]| {
        let mut fields = entry.split(|byte| *byte == b':');
        fields.next() == Some(b"mask") || fields.next().is_some_and(|who| !who.is_empty())
    };
    acl.split(|byte| matches!(byte, b'\n' | b',')).any(more) || !key.ends_with(b".access") && !acl.is_empty()
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
