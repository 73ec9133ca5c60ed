//! What a tree is made of: nodes with their metadata, and checked paths to them.

use crate::error::{Error, Result};
use oneroot_ids::ObjectId;

/// Longest name of one entry, in bytes: Linux's `NAME_MAX`, and what NFS clients are told.
pub const NAME_MAX: usize = 255;
/// Longest path inside a tree, in bytes: Linux's `PATH_MAX`.
pub const PATH_MAX: usize = 4096;

/// Extended attributes: names and values, sorted by name.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// Owner, mode, time and extended attributes, as they are served; the disk's own do not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `07777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime: i64,
    /// Extended attributes, sorted by name. NFSv3 can't carry them; sync and images can.
    pub xattrs: Attributes,
}

impl Meta {
    /// A directory that a source implies and does not list.
    #[must_use]
    pub fn implied_directory() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }
}

/// What kind of node it is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file with bytes.
    Regular {
        /// The object of the store that has them.
        object: ObjectId,
        /// Bytes, holes included.
        size: u64,
    },
    /// A directory. An opaque one hides all that lower layers have at its place.
    Directory {
        /// Whether it is opaque.
        opaque: bool,
    },
    /// A symbolic link and its text, which only the client resolves.
    Symlink(Vec<u8>),
    /// A character device: major, minor.
    Character(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Hides the name in lower layers. Never served.
    Whiteout,
}

/// A kind as an index writes it. The numbers are part of the generation's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Regular file.
    Regular = 1,
    /// Directory.
    Directory = 2,
    /// Directory that hides what lies below it.
    OpaqueDirectory = 3,
    /// Symbolic link.
    Symlink = 4,
    /// Character device.
    Character = 5,
    /// Block device.
    Block = 6,
    /// Named pipe.
    Fifo = 7,
    /// Socket.
    Socket = 8,
    /// Whiteout.
    Whiteout = 9,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::OpaqueDirectory,
            4 => Self::Symlink,
            5 => Self::Character,
            6 => Self::Block,
            7 => Self::Fifo,
            8 => Self::Socket,
            9 => Self::Whiteout,
            _ => return None,
        })
    }

    /// Whether it is a directory, opaque or not.
    #[must_use]
    pub fn is_directory(self) -> bool {
        matches!(self, Self::Directory | Self::OpaqueDirectory)
    }
}

impl Content {
    /// The kind alone.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Regular { .. } => Kind::Regular,
            Self::Directory { opaque: false } => Kind::Directory,
            Self::Directory { opaque: true } => Kind::OpaqueDirectory,
            Self::Symlink(_) => Kind::Symlink,
            Self::Character(..) => Kind::Character,
            Self::Block(..) => Kind::Block,
            Self::Fifo => Kind::Fifo,
            Self::Socket => Kind::Socket,
            Self::Whiteout => Kind::Whiteout,
        }
    }
}

/// A path below a tree's root: names without `.`, `..`, empty ones, `/` or NUL. The root is the empty path.
///
/// A leading `/` or `./` means the tree's root: nothing is ever unpacked to a disk, so an absolute name can't escape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreePath<'a>(Vec<&'a [u8]>);

impl<'a> TreePath<'a> {
    /// Checks a path as an archive or an admin writes it.
    ///
    /// # Errors
    /// [`Error::Entry`] names what is wrong with it.
    pub fn parse(raw: &'a [u8]) -> Result<Self> {
        if raw.len() > PATH_MAX {
            return Err(Error::entry(raw.get(..80).unwrap_or(raw), "the path is longer than 4096 bytes"));
        }
        let mut names = Vec::new();
        for name in raw.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => return Err(Error::entry(raw, "the path has '..' in it")),
                _ if name.len() > NAME_MAX => {
                    return Err(Error::entry(raw, "a name is longer than 255 bytes"));
                }
                _ if name.contains(&0) => return Err(Error::entry(raw, "a name has a NUL in it")),
                _ => names.push(name),
            }
        }
        Ok(Self(names))
    }

    /// The directory that the path lies in, and the last name; nothing for the root.
    #[must_use]
    pub(crate) fn split_last(&self) -> Option<(Self, &'a [u8])> {
        self.0.split_last().map(|(name, parents)| (Self(parents.to_vec()), *name))
    }

    /// Every directory on the way, from the top down: `a`, `a/b` for `a/b/c`.
    pub(crate) fn parents(&self) -> impl Iterator<Item = Self> {
        (1..self.0.len()).filter_map(|length| self.0.get(..length)).map(|names| Self(names.to_vec()))
    }

    /// The path of a name in this directory; the caller knows that it is one name.
    #[must_use]
    pub(crate) fn join(mut self, name: &'a [u8]) -> Self {
        self.0.push(name);
        self
    }

    /// The names from the root down.
    #[must_use]
    pub fn names(&self) -> &[&'a [u8]] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_out_of_the_tree_is_refused() {
        for raw in ["..", "a/../b", "a/..", "/..", "./../x"] {
            assert!(TreePath::parse(raw.as_bytes()).is_err(), "{raw}");
        }
        assert!(TreePath::parse(b"a\0b").is_err());
        assert!(TreePath::parse(&[b'x'; 256]).is_err());
    }

    #[test]
    fn every_spelling_of_a_place_is_one_path() {
        let plain = TreePath::parse(b"usr/bin").unwrap();
        for raw in ["/usr/bin", "./usr/bin", "usr//bin/", "/./usr/./bin"] {
            assert_eq!(TreePath::parse(raw.as_bytes()).unwrap(), plain, "{raw}");
        }
        assert!(TreePath::parse(b"./").unwrap().names().is_empty());
    }
}
